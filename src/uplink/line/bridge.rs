//! Carries bytes between rumqttc and a stream that it cannot make itself.
//!
//! rumqttc 0.25 connects on its own and takes no stream from outside. But it connects to Unix
//! sockets, so each such connection gets one: a socket without a file, under a name that is drawn
//! for it, which accepts one peer, this very process, and then stops listening. All of it is polled
//! by the task that polls rumqttc, and ends with it.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use super::{
    dial::Stream,
    fault::Fault,
    websocket::{Control, Decoder, Encoder, Wrong},
};

/// How many bytes are read at once, each way. A window of records is a few of these.
const CHUNK: usize = 16 * 1024;

/// How many bytes may wait to be written to the broker before nothing more is read from it: what a
/// server's pings can make us remember.
const MOST_WAITING: usize = 4 * CHUNK;

/// A name that no other connection has.
#[derive(Clone, Debug)]
pub(super) struct Name(String);

/// A socket that waits for rumqttc, and a stream to the broker.
pub(super) struct Bridge {
    listener: UnixListener,
    stream: Box<dyn Stream>,
    web: bool,
}

/// Translates between what MQTT says and what is on the stream.
enum Form {
    /// They are the same.
    Plain,
    /// Frames of a WebSocket.
    Web { encoder: Encoder, decoder: Decoder },
}

// === impl Name ===

impl Name {
    /// Draws a name. It need not be secret, see [`accept`].
    pub(super) fn draw() -> Self {
        // A name that begins with a zero byte has no file (unix(7), "abstract").
        Self(format!("\0beacon-gateway-{:032x}", fastrand::u128(..)))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl Bridge ===

impl Bridge {
    /// Waits for rumqttc under this name.
    pub(super) fn new(name: &Name, stream: Box<dyn Stream>, web: bool) -> io::Result<Self> {
        Ok(Self { listener: UnixListener::bind(name.as_str())?, stream, web })
    }

    /// Carries until one of the two ends, and says why it did. When rumqttc has hung up, what it
    /// said is delivered first, and the broker is taken leave of.
    pub(super) async fn carry(self) -> Fault {
        let Self { listener, stream, web } = self;
        let near = match accept(&listener).await {
            Ok(near) => near,
            Err(error) => return Fault::Cut(error),
        };
        drop(listener);
        let form = if web {
            Form::Web { encoder: Encoder::new(), decoder: Decoder::default() }
        } else {
            Form::Plain
        };
        match carry(near, stream, form).await {
            Ok(()) => Fault::Closed,
            Err(fault) => fault,
        }
    }
}

/// Waits for this process. The names of such sockets are public (`/proc/net/unix`), so another
/// process may come first; it gets nothing.
async fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    let ours = i32::try_from(std::process::id()).ok();
    loop {
        let (near, _) = listener.accept().await?;
        if near.peer_cred()?.pid() == ours {
            return Ok(near);
        }
    }
}

/// Carries in both directions at once. `Ok` is an end in good order, by either side.
async fn carry(near: UnixStream, far: Box<dyn Stream>, mut form: Form) -> Result<(), Fault> {
    let (mut near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = tokio::io::split(far);
    let (mut from_near, mut from_far) = (vec![0; CHUNK], vec![0; CHUNK]);
    // What was read and is not yet written.
    let (mut to_far, mut to_near) = (Vec::new(), Vec::new());
    let mut controls = Vec::new();
    let (mut near_ended, mut far_ended, mut flushed) = (false, false, true);
    loop {
        let is_over = near_ended || far_ended;
        if is_over && to_far.is_empty() && flushed && (near_ended || to_near.is_empty()) {
            break;
        }
        tokio::select! {
            count = near_in.read(&mut from_near), if !is_over && to_far.is_empty() => {
                // rumqttc drops its end without ceremony.
                let bytes = from_near.get(..count.unwrap_or(0)).unwrap_or_default();
                near_ended = bytes.is_empty();
                if near_ended {
                    form.close(&mut to_far).map_err(wrong)?;
                } else {
                    form.wrap(bytes, &mut to_far).map_err(wrong)?;
                }
            }
            count = far_in.read(&mut from_far),
                if !is_over && to_near.is_empty() && to_far.len() < MOST_WAITING =>
            {
                let count = count.map_err(far_broke)?;
                let bytes = from_far.get(..count).unwrap_or_default();
                far_ended = bytes.is_empty();
                form.unwrap(bytes, &mut to_near, &mut controls).map_err(wrong)?;
                for control in controls.drain(..) {
                    far_ended |= control == Control::Close;
                    form.answer(&control, &mut to_far).map_err(wrong)?;
                }
            }
            count = push(&mut far_out, &to_far), if !to_far.is_empty() || !flushed => {
                flushed = to_far.is_empty();
                to_far.drain(..count.map_err(far_broke)?);
            }
            count = near_out.write(&to_near), if !to_near.is_empty() && !near_ended => {
                match count {
                    Ok(count @ 1..) => drop(to_near.drain(..count)),
                    Ok(0) | Err(_) => to_near.clear(),
                }
            }
        }
    }
    if near_ended {
        // The broker is told that nothing more comes; it may be gone already.
        far_out.shutdown().await.ok();
    }
    Ok(())
}

/// Writes as much as is taken at once, or flushes when there is nothing to write: TLS holds back
/// what it has not encrypted. May be cancelled.
async fn push<W: AsyncWrite + Unpin>(out: &mut W, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        out.flush().await?;
        return Ok(0);
    }
    match out.write(bytes).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

/// The stream to the broker broke.
fn far_broke(error: io::Error) -> Fault {
    match error.kind() {
        // TLS was cut off without its own goodbye, which many servers leave out.
        io::ErrorKind::UnexpectedEof => Fault::Closed,
        _ => Fault::from_io(error),
    }
}

fn wrong(Wrong(why): Wrong) -> Fault {
    Fault::Protocol(format!("its WebSocket carries {why}"))
}

// === impl Form ===

impl Form {
    fn wrap(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
        match self {
            Self::Plain => out.extend_from_slice(bytes),
            Self::Web { encoder, .. } => encoder.message(bytes, out)?,
        }
        Ok(())
    }

    fn unwrap(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        controls: &mut Vec<Control>,
    ) -> Result<(), Wrong> {
        match self {
            Self::Plain => out.extend_from_slice(bytes),
            Self::Web { decoder, .. } => decoder.push(bytes, out, controls)?,
        }
        Ok(())
    }

    fn answer(&self, control: &Control, out: &mut Vec<u8>) -> Result<(), Wrong> {
        match self {
            Self::Plain => Ok(()),
            Self::Web { encoder, .. } => encoder.answer(control, out),
        }
    }

    fn close(&self, out: &mut Vec<u8>) -> Result<(), Wrong> {
        match self {
            Self::Plain => Ok(()),
            Self::Web { encoder, .. } => encoder.close(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        time::Duration,
    };

    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    struct Stage {
        near: UnixStream,
        far: DuplexStream,
        end: tokio::task::JoinHandle<Fault>,
    }

    /// A bridge with both of its ends, the far one of which takes so many bytes at once.
    async fn stage(web: bool, room: usize) -> Stage {
        let name = Name::draw();
        let (stream, far) = duplex(room);
        let bridge = Bridge::new(&name, Box::new(stream), web).unwrap();
        let end = tokio::spawn(bridge.carry());
        let near = UnixStream::connect(name.as_str()).await.unwrap();
        Stage { near, far, end }
    }

    async fn soon<T>(what: impl Future<Output = T>) -> T {
        tokio::time::timeout(DEADLINE, pin!(what)).await.unwrap()
    }

    #[tokio::test]
    async fn bytes_arrive_in_both_directions_through_a_narrow_stream() {
        let Stage { near, far, end } = stage(false, 10).await;
        let sent: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let (mut near_in, mut near_out) = near.into_split();
        let (mut far_in, mut far_out) = tokio::io::split(far);
        let (mut at_far, mut at_near) = (vec![0; sent.len()], vec![0; sent.len()]);
        soon(async {
            let (a, b, c, d) = tokio::join!(
                near_out.write_all(&sent),
                far_out.write_all(&sent),
                far_in.read_exact(&mut at_far),
                near_in.read_exact(&mut at_near),
            );
            a.unwrap();
            b.unwrap();
            c.unwrap();
            d.unwrap();
        })
        .await;
        assert!(at_far == sent && at_near == sent);
        // What rumqttc says last is delivered before the end.
        near_out.write_all(b"DISCONNECT").await.unwrap();
        drop((near_in, near_out));
        let mut last = Vec::new();
        soon(far_in.read_to_end(&mut last)).await.unwrap();
        assert_eq!(last, b"DISCONNECT");
        assert!(matches!(soon(end).await.unwrap(), Fault::Closed));
    }

    #[tokio::test]
    async fn a_websocket_answers_pings_and_the_close_and_passes_the_rest_on_before_the_end() {
        let Stage { mut near, mut far, end } = stage(true, 1000).await;
        far.write_all(&[0x89, 2, b'h', b'i', 0x82, 3, 1, 2, 3, 0x88, 0]).await.unwrap();
        let mut data = Vec::new();
        soon(near.read_to_end(&mut data)).await.unwrap();
        assert_eq!(data, [1, 2, 3]);
        let mut answers = Vec::new();
        soon(far.read_to_end(&mut answers)).await.unwrap();
        assert!(answers.len() == 8 + 8, "a pong and a close: {answers:02x?}");
        assert_eq!((answers[0], answers[1], answers[8], answers[9]), (0x8A, 0x82, 0x88, 0x82));
        assert!(matches!(soon(end).await.unwrap(), Fault::Closed));
    }

    #[tokio::test]
    async fn what_is_wrong_on_the_websocket_ends_it_with_the_reason() {
        let Stage { mut near, mut far, end } = stage(true, 1000).await;
        far.write_all(&[0x81, 1, b'x']).await.unwrap();
        let fault = soon(end).await.unwrap();
        assert!(fault.to_string().contains("a text, where MQTT is binary"), "{fault}");
        let mut data = Vec::new();
        soon(near.read_to_end(&mut data)).await.unwrap();
        assert!(data.is_empty());
    }

    #[tokio::test]
    async fn a_server_that_pings_and_never_reads_is_not_read_for_ever() {
        let Stage { near, far, end } = stage(true, 1000).await;
        let (_far_in, mut far_out) = tokio::io::split(far);
        let pings = [[0x89_u8, 125].as_slice(), &[0; 125]].concat();
        let flood = async {
            let mut sent = 0_usize;
            while sent < 100 * MOST_WAITING {
                far_out.write_all(&pings).await.unwrap();
                sent += pings.len();
            }
        };
        // It stops taking, so the flood does not come through.
        let mut flood = pin!(flood);
        let taken = done_at_rest(&mut flood).await;
        assert!(!taken, "everything was read");
        drop(near);
        end.abort();
    }

    /// Whether a future is done as soon as everybody else has nothing left to do.
    async fn done_at_rest(future: &mut Pin<&mut impl Future<Output = ()>>) -> bool {
        for _ in 0..10_000 {
            tokio::select! {
                biased;
                () = future.as_mut() => return true,
                () = tokio::task::yield_now() => {}
            }
        }
        false
    }
}

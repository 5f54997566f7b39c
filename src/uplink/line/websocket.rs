//! WebSocket as a client speaks it (RFC 6455), as far as MQTT needs it: the opening request out,
//! the answer in; bytes of MQTT into frames, frames into bytes. No I/O but for the opening.
//!
//! MQTT goes in binary messages under the subprotocol `mqtt`, and its packets need not be aligned
//! with them (MQTT 5.0, 6.0). So a message is never put together here: its bytes are passed on as
//! they come, whatever length its frame claims, and memory is bounded by what is read at once.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::head::{self, Head, HeadError};
use crate::uplink::broker::Broker;

/// What a server puts behind the key before it hashes it (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The longest payload of a control frame, in bytes (RFC 6455, 5.5).
const LONGEST_CONTROL: u64 = 125;

/// Kinds of frames (RFC 6455, 5.2).
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// The last frame of a message.
const FINAL: u8 = 0x80;

/// What a client sends is masked.
const MASKED: u8 = 0x80;

/// The length follows, in two bytes or in eight.
const LENGTH_16: u8 = 0x7E;
const LENGTH_64: u8 = 0x7F;

/// Why there is no WebSocket.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// The connection broke, or what came is not HTTP.
    Head(HeadError),
    /// The server answered with this status.
    Refused(u16),
    /// The server agreed, to something else.
    Wrong(&'static str),
    /// The operating system gives no random numbers.
    NoChance,
}

/// The server sent what no server may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Wrong(pub(super) &'static str);

/// What is to be answered to a control frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Control {
    /// With a pong of the same payload.
    Ping(Vec<u8>),
    /// With a close frame, and then with silence.
    Close,
}

/// Takes frames apart, however they are cut up.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a frame's header.
    header: Vec<u8>,
    /// The frame whose payload is coming.
    frame: Option<Frame>,
    /// A message has begun and not ended.
    in_message: bool,
    /// The server has closed; nothing counts any more.
    closed: bool,
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    /// How much of the payload is still to come.
    left: u64,
    /// The payload of a control frame.
    control: Vec<u8>,
}

/// Puts bytes into frames.
#[derive(Debug)]
pub(super) struct Encoder {
    random: SystemRandom,
}

/// Asks the web server at the other end for a WebSocket that carries MQTT. When this succeeds, the
/// next byte is the first of a frame.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    broker: &Broker,
) -> Result<(), NotOpened> {
    let mut key = [0; 16];
    SystemRandom::new().fill(&mut key).map_err(|_| NotOpened::NoChance)?;
    let key = STANDARD.encode(key);
    let path = broker.path.as_deref().unwrap_or("/");
    // The port is left out where it is the scheme's own: some servers compare the field literally.
    let authority = broker.authority();
    let own = if broker.tls { ":443" } else { ":80" };
    let host = authority.strip_suffix(own).unwrap_or(&authority);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    let cut = |error| NotOpened::Head(HeadError::Io(error));
    stream.write_all(request.as_bytes()).await.map_err(cut)?;
    stream.flush().await.map_err(cut)?;
    let head = head::read(stream).await.map_err(NotOpened::Head)?;
    check(&head, &key)
}

/// Looks whether the answer agrees to what was asked (RFC 6455, 4.1).
fn check(head: &Head, key: &str) -> Result<(), NotOpened> {
    if head.status != 101 {
        return Err(NotOpened::Refused(head.status));
    }
    let is = |name, value: &str| head.field(name).is_some_and(|it| it.eq_ignore_ascii_case(value));
    let upgrades = head
        .field("connection")
        .is_some_and(|it| it.split(',').any(|it| it.trim().eq_ignore_ascii_case("upgrade")));
    if !is("upgrade", "websocket") || !upgrades {
        return Err(NotOpened::Wrong("it does not change to a WebSocket"));
    }
    if head.field("sec-websocket-accept") != Some(accept(key).as_str()) {
        return Err(NotOpened::Wrong("its answer does not belong to our request"));
    }
    if head.field("sec-websocket-extensions").is_some_and(|it| !it.is_empty()) {
        return Err(NotOpened::Wrong("it wants an extension that nobody asked for"));
    }
    if !is("sec-websocket-protocol", "mqtt") {
        return Err(NotOpened::Wrong("it does not offer the subprotocol `mqtt`"));
    }
    Ok(())
}

/// What a server answers to a key (RFC 6455, 4.2.2). SHA-1 keeps nothing secret here.
fn accept(key: &str) -> String {
    let hash = digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        [key.as_bytes(), GUID.as_bytes()].concat().as_slice(),
    );
    STANDARD.encode(hash)
}

// === impl Decoder ===

impl Decoder {
    /// Takes what has come. Bytes of messages are put behind `data`, and what control frames want
    /// behind `controls`.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        data: &mut Vec<u8>,
        controls: &mut Vec<Control>,
    ) -> Result<(), Wrong> {
        while !self.closed {
            let Some(frame) = &mut self.frame else {
                let Some((first, rest)) = bytes.split_first() else { return Ok(()) };
                self.header.push(*first);
                bytes = rest;
                self.frame = self.begin()?;
                continue;
            };
            let count = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
            if count == 0 && frame.left > 0 {
                return Ok(());
            }
            let (payload, rest) = bytes.split_at(count);
            bytes = rest;
            // `count` is at most `left`, so it is lossless and nothing is taken off too much.
            frame.left = frame.left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
            let into = if frame.kind & CLOSE == 0 { &mut *data } else { &mut frame.control };
            into.extend_from_slice(payload);
            if frame.left == 0
                && let Some(Frame { kind, control, .. }) = self.frame.take()
            {
                match kind {
                    PING => controls.push(Control::Ping(control)),
                    CLOSE => {
                        controls.push(Control::Close);
                        self.closed = true;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Looks whether the header is complete, and whether it may be so.
    fn begin(&mut self) -> Result<Option<Frame>, Wrong> {
        let Some((&[first, second], extended)) = self.header.split_first_chunk::<2>() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Wrong("a frame of an extension"));
        }
        if second & MASKED != 0 {
            return Err(Wrong("a masked frame"));
        }
        let left = match (second & 0x7F, extended) {
            (LENGTH_16, bytes) => match bytes.try_into() {
                Ok(bytes) => u64::from(u16::from_be_bytes(bytes)),
                Err(_) => return Ok(None),
            },
            (LENGTH_64, bytes) => match bytes.try_into() {
                Ok(bytes) => u64::from_be_bytes(bytes),
                Err(_) => return Ok(None),
            },
            (short, _) => u64::from(short),
        };
        if left >> 63 != 0 {
            return Err(Wrong("a frame of an impossible length"));
        }
        let (kind, is_final) = (first & 0x0F, first & FINAL != 0);
        match kind {
            CONTINUATION if !self.in_message => return Err(Wrong("a continuation of nothing")),
            BINARY if self.in_message => return Err(Wrong("a message inside a message")),
            CONTINUATION | BINARY => self.in_message = !is_final,
            TEXT => return Err(Wrong("a text, where MQTT is binary")),
            CLOSE | PING | PONG if is_final && left <= LONGEST_CONTROL => {}
            CLOSE | PING | PONG => return Err(Wrong("a control frame that is too long")),
            _ => return Err(Wrong("a frame of an unknown kind")),
        }
        self.header.clear();
        Ok(Some(Frame { kind, left, control: Vec::new() }))
    }
}

// === impl Encoder ===

impl Encoder {
    pub(super) fn new() -> Self {
        Self { random: SystemRandom::new() }
    }

    /// Puts a message behind `out`. Fails when there are no random numbers.
    pub(super) fn message(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
        self.frame(BINARY, payload, out)
    }

    /// Puts the answer to a control frame behind `out`.
    pub(super) fn answer(&self, control: &Control, out: &mut Vec<u8>) -> Result<(), Wrong> {
        match control {
            Control::Ping(payload) => self.frame(PONG, payload, out),
            Control::Close => self.close(out),
        }
    }

    /// Puts a close frame behind `out`: the ordinary one (1000, RFC 6455, 7.4.1).
    pub(super) fn close(&self, out: &mut Vec<u8>) -> Result<(), Wrong> {
        self.frame(CLOSE, &1000_u16.to_be_bytes(), out)
    }

    fn frame(&self, kind: u8, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
        let mut mask = [0; 4];
        // Unpredictable for whoever can choose the payload (RFC 6455, 10.3).
        let no_chance = |_| Wrong("nothing, but this machine has no random numbers");
        self.random.fill(&mut mask).map_err(no_chance)?;
        out.push(FINAL | kind);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length @ ..=125), _) => out.push(MASKED | length),
            (_, Ok(length)) => {
                out.push(MASKED | LENGTH_16);
                out.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                out.push(MASKED | LENGTH_64);
                let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            short @ ..126 => out.push(u8::try_from(short).unwrap()),
            long @ ..65_536 => {
                out.push(126);
                out.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
            longer => {
                out.push(127);
                out.extend(u64::try_from(longer).unwrap().to_be_bytes());
            }
        }
        out.extend(payload);
        out
    }

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<Control>), Wrong> {
        let (mut data, mut controls) = (Vec::new(), Vec::new());
        let mut decoder = Decoder::default();
        for piece in pieces {
            decoder.push(piece, &mut data, &mut controls)?;
        }
        Ok((data, controls))
    }

    #[test]
    fn the_answer_to_a_key_is_that_of_the_specification() {
        // RFC 6455, 1.3.
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn messages_are_passed_on_however_they_are_framed_and_cut() {
        let long = vec![7; 70_000];
        let stream = [
            frame(0x82, b"one"),
            frame(0x02, b"tw"),
            frame(0x89, b"are you there"),
            frame(0x80, b"o"),
            frame(0x82, b""),
            frame(0x82, &vec![6; 300]),
            frame(0x82, &long),
            frame(0x8A, b""),
            frame(0x88, &[3, 232]),
            frame(0x82, b"behind the end"),
        ]
        .concat();
        let expected = [&b"onetwo"[..], &[6; 300], &long].concat();
        for piece in [1, 2, 3, 7, 1000, stream.len()] {
            let pieces: Vec<_> = stream.chunks(piece).collect();
            let (data, controls) = decode(&pieces).unwrap();
            assert!(data == expected, "in pieces of {piece}");
            assert_eq!(controls, [Control::Ping(b"are you there".to_vec()), Control::Close]);
        }
    }

    #[test]
    fn what_no_server_may_send_is_an_error() {
        for wrong in [
            frame(0x81, b"text"),
            frame(0xC2, b"compressed"),
            frame(0x80, b"continues nothing"),
            frame(0x83, b"of a kind to come"),
            frame(0x09, b"a ping in parts"),
            frame(0x89, &[0; 126]),
            [frame(0x02, b"begun"), frame(0x82, b"begun again")].concat(),
            vec![0x82, 0x83, 1, 2, 3, 4, 0, 0, 0],
            vec![0x82, 127, 0xFF, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(decode(&[&wrong]).is_err(), "{wrong:02x?}");
        }
    }

    #[test]
    fn whatever_comes_takes_no_more_memory_than_it_has_bytes_and_does_not_panic() {
        let mut random = fastrand::Rng::with_seed(6);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = frame(0x82, b"a beginning");
            bytes.extend((0..random.usize(0..40)).map(|_| random.u8(..)));
            let at = random.usize(0..bytes.len());
            bytes[at] = random.u8(..);
            let (mut data, mut controls) = (Vec::new(), Vec::new());
            let mut decoder = Decoder::default();
            for piece in bytes.chunks(random.usize(1..20)) {
                if decoder.push(piece, &mut data, &mut controls).is_err() {
                    break;
                }
            }
            assert!(data.len() + decoder.header.len() <= bytes.len());
        }
    }

    #[test]
    fn what_we_send_is_masked_anew_each_time_and_says_its_length() {
        let encoder = Encoder::new();
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..=255).cycle().take(length).collect();
            let (mut out, mut other) = (Vec::new(), Vec::new());
            encoder.message(&payload, &mut out).unwrap();
            encoder.message(&payload, &mut other).unwrap();
            let header = match length {
                ..=125 => 2,
                126..=65_535 => 4,
                _ => 10,
            };
            assert_eq!(out.len(), header + 4 + length);
            assert_ne!(out[header..header + 4], other[header..header + 4], "the same mask");
            let mask: Vec<u8> = out[header..header + 4].to_vec();
            let clear: Vec<u8> =
                out[header + 4..].iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
            assert_eq!(clear, payload);
            // Without mask it is what a server would send, so our own decoder can read it.
            out[1] &= 0x7F;
            out.drain(header..header + 4);
            out.splice(header.., payload.clone());
            assert_eq!(decode(&[&out]).unwrap().0, payload);
        }
    }

    async fn knock(answer: impl FnOnce(&str) -> String) -> (String, Result<(), NotOpened>) {
        use tokio::io::{AsyncReadExt, duplex};

        let broker = crate::uplink::BrokerUrl::new("wss://b.example.org/x").parse().unwrap();
        let (mut ours, mut theirs) = duplex(4096);
        let serve = async {
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                request.push(char::from(theirs.read_u8().await.unwrap()));
            }
            let key = request.lines().find_map(|it| it.strip_prefix("Sec-WebSocket-Key: "));
            let answer = answer(key.unwrap());
            theirs.write_all(answer.as_bytes()).await.unwrap();
            request
        };
        tokio::join!(serve, open(&mut ours, &broker))
    }

    #[tokio::test]
    async fn a_websocket_is_opened_only_when_the_server_agrees_to_all_of_it() {
        let good = |key: &str| {
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
                 Connection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: {}\r\n\
                 Sec-WebSocket-Protocol: mqtt\r\n\r\n",
                accept(key)
            )
        };
        let (request, opened) = knock(good).await;
        assert!(opened.is_ok(), "{opened:?}");
        assert!(request.starts_with("GET /x HTTP/1.1\r\nHost: b.example.org\r\n"), "{request}");
        for (from, to) in [
            ("Upgrade: WebSocket", "Upgrade: h2c"),
            ("keep-alive, Upgrade", "close"),
            ("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x"),
            ("Protocol: mqtt", "Protocol: mqttv3.1"),
            ("Sec-WebSocket-Protocol: mqtt", "Sec-WebSocket-Extensions: permessage-deflate"),
        ] {
            let (_, opened) = knock(|key| good(key).replace(from, to)).await;
            assert!(matches!(opened, Err(NotOpened::Wrong(_))), "{to}: {opened:?}");
        }
        let (_, opened) = knock(|_| "HTTP/1.1 404 Not Found\r\n\r\n".to_owned()).await;
        assert!(matches!(opened, Err(NotOpened::Refused(404))), "{opened:?}");
    }
}

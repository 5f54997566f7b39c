//! A web server whose every WebSocket carries MQTT: what is in it goes to the port of a broker.
//! It sends its frames as awkwardly as a server may: in fragments, with pings between them.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]
#![expect(
    clippy::indexing_slicing,
    reason = "what the uplink sends is well-formed, or a test fails"
)]

use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest;
use rumqttc::tokio_rustls::TlsAcceptor;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A running web server.
pub(crate) struct Web {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What was seen of the clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The heads of their requests.
    pub(crate) requests: Vec<String>,
    /// How many pongs came, each with the payload of its ping.
    pub(crate) pongs: u64,
    /// How many said goodbye.
    pub(crate) closes: u64,
}

impl Web {
    /// Leads to a port of this machine, with TLS if it is told how.
    pub(crate) async fn start(to: u16, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Seen>>::default();
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (tls, log) = (tls.clone(), Arc::clone(&log));
                tokio::spawn(async move {
                    match tls {
                        None => serve(client, to, log).await,
                        Some(config) => {
                            if let Ok(client) = TlsAcceptor::from(config).accept(client).await {
                                assert_eq!(
                                    client.get_ref().1.alpn_protocol(),
                                    Some(&b"http/1.1"[..])
                                );
                                serve(client, to, log).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, seen, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    to: u16,
    seen: Arc<Mutex<Seen>>,
) {
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        request.push(char::from(byte));
    }
    seen.lock().unwrap().requests.push(request.clone());
    let key = request.lines().find_map(|it| it.strip_prefix("Sec-WebSocket-Key: "));
    let Some(key) = key.filter(|_| request.starts_with("GET /mqtt ")) else {
        client.write_all(b"HTTP/1.1 404 Not here\r\nContent-Length: 0\r\n\r\n").await.ok();
        return;
    };
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
        STANDARD.encode(hash)
    );
    client.write_all(answer.as_bytes()).await.ok();
    client.flush().await.ok();
    let Ok(broker) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let (broker_in, broker_out) = broker.into_split();
    let (client_in, client_out) = tokio::io::split(client);
    let there = tokio::spawn(unwrap(client_in, broker_out, seen));
    wrap(broker_in, client_out).await;
    there.abort();
}

/// Frames of the client to the broker.
async fn unwrap(
    mut client: impl AsyncRead + Unpin,
    mut broker: impl AsyncWrite + Unpin,
    seen: Arc<Mutex<Seen>>,
) {
    loop {
        let Ok(first) = client.read_u8().await else { return };
        let second = client.read_u8().await.unwrap();
        assert!(second & 0x80 != 0, "a client masks");
        let length = match second & 0x7F {
            126 => usize::from(client.read_u16().await.unwrap()),
            127 => usize::try_from(client.read_u64().await.unwrap()).unwrap(),
            short => usize::from(short),
        };
        let mut mask = [0; 4];
        client.read_exact(&mut mask).await.unwrap();
        let mut payload = vec![0; length];
        client.read_exact(&mut payload).await.unwrap();
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match first {
            0x82 if broker.write_all(&payload).await.is_ok() => {}
            0x8A => {
                assert_eq!(payload, b"there?");
                seen.lock().unwrap().pongs += 1;
            }
            0x88 => {
                seen.lock().unwrap().closes += 1;
                return;
            }
            _ => return,
        }
    }
}

/// What the broker says to the client, in frames.
async fn wrap(mut broker: impl AsyncRead + Unpin, mut client: impl AsyncWrite + Unpin) {
    let mut bytes = vec![0; 1000];
    while let Ok(length @ 1..) = broker.read(&mut bytes).await {
        let (begin, end) = bytes[..length].split_at(length / 2);
        let mut frames = vec![0x02];
        put(begin, &mut frames);
        frames.push(0x89);
        put(b"there?", &mut frames);
        frames.push(0x80);
        put(end, &mut frames);
        if client.write_all(&frames).await.is_err() || client.flush().await.is_err() {
            return;
        }
    }
    client.write_all(&[0x88, 0]).await.ok();
    client.shutdown().await.ok();
}

fn put(payload: &[u8], frames: &mut Vec<u8>) {
    if let Ok(length @ ..=125) = u8::try_from(payload.len()) {
        frames.push(length);
    } else {
        frames.push(126);
        frames.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    }
    frames.extend(payload);
}

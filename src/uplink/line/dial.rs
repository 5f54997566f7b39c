//! Settings in, a stream of bytes to the broker out: name lookup, TCP, the proxy's tunnel, TLS, and
//! the WebSocket, one inside the other.
//!
//! rumqttc makes the plain connections (`mqtt`, `mqtts`, without a proxy) by itself; the others are
//! made here, and so is every probe.

use std::{io, pin::Pin, sync::Arc};

use rumqttc::tokio_rustls::TlsConnector;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::Sleep,
};

use super::{
    fault::Fault,
    head::HeadError,
    proxy::{self, NoTunnel, Proxy},
    refusal::Refusal,
    websocket::{self, NotOpened},
};
use crate::uplink::{access::Access, broker::Broker};

/// Bytes, both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Everything that has to be known to make one connection.
#[derive(Debug)]
pub(super) struct Dial {
    broker: Broker,
    proxy: Option<Proxy>,
    tls: Option<Arc<ClientConfig>>,
}

impl Dial {
    pub(super) fn new(access: &Access, broker: &Broker) -> Self {
        let tls = access.tls_for(broker);
        Self { broker: broker.clone(), proxy: access.proxy().cloned(), tls }
    }

    /// It takes more than TCP and TLS.
    pub(super) fn is_roundabout(&self) -> bool {
        self.proxy.is_some() || self.broker.path.is_some()
    }

    /// What is carried goes in frames of a WebSocket.
    pub(super) fn is_web(&self) -> bool {
        self.broker.path.is_some()
    }

    /// Makes the connection, in the time that `limit` leaves.
    pub(super) async fn connect(
        &self,
        limit: &mut Pin<Box<Sleep>>,
    ) -> Result<Box<dyn Stream>, Fault> {
        let Self { broker, proxy, tls } = self;
        let mut stream: Box<dyn Stream> = match proxy {
            None => {
                let tcp = reach(&broker.host, broker.port);
                Box::new(
                    within(limit, tcp, Fault::HandshakeTimeout)
                        .await?
                        .map_err(Fault::Unreachable)?,
                )
            }
            Some(proxy) => {
                let tcp = within(limit, reach(&proxy.host, proxy.port), Fault::ProxySilent).await?;
                let mut tcp = tcp.map_err(Fault::ProxyUnreachable)?;
                let tunnel = proxy::tunnel(&mut tcp, proxy, &broker.host, broker.port);
                within(limit, tunnel, Fault::ProxySilent).await?.map_err(no_tunnel)?;
                Box::new(tcp)
            }
        };
        if let Some(config) = tls {
            // The address was checked when it was read.
            let name = ServerName::try_from(broker.host.clone())
                .map_err(|error| Fault::Tls(error.to_string()))?;
            let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
            let tls = within(limit, handshake, Fault::HandshakeTimeout).await?;
            stream = Box::new(tls.map_err(tls_failed)?);
        }
        if self.is_web() {
            let opening = websocket::open(&mut stream, broker);
            within(limit, opening, Fault::HandshakeTimeout).await?.map_err(not_opened)?;
        }
        Ok(stream)
    }
}

/// Tries each address of a name until one answers.
async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Waits for a step, or until time is up.
async fn within<T>(
    limit: &mut Pin<Box<Sleep>>,
    step: impl Future<Output = T>,
    late: Fault,
) -> Result<T, Fault> {
    tokio::select! {
        done = step => Ok(done),
        () = limit.as_mut() => Err(late),
    }
}

fn no_tunnel(why: NoTunnel) -> Fault {
    match why {
        NoTunnel::Head(HeadError::Io(error)) => Fault::ProxyUnreachable(error),
        NoTunnel::Head(HeadError::NotHttp) => Fault::NoProxy,
        NoTunnel::Refused(status) => Fault::ProxyRefused(status),
    }
}

fn tls_failed(error: io::Error) -> Fault {
    match error.kind() {
        // The other side went away in the middle of the handshake, without a reason.
        io::ErrorKind::UnexpectedEof => Fault::Closed,
        _ => Fault::from_io(error),
    }
}

fn not_opened(why: NotOpened) -> Fault {
    match why {
        NotOpened::Head(HeadError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Fault::Closed
        }
        NotOpened::Head(HeadError::Io(error)) => Fault::from_io(error),
        NotOpened::Head(HeadError::NotHttp) => Fault::NoWebSocket("what answers is no web server"),
        NotOpened::Refused(status) => Fault::WebRefused(status),
        NotOpened::Wrong(why) => Fault::NoWebSocket(why),
        NotOpened::NoChance => {
            Fault::Refused(Refusal::passing("this machine has no random numbers yet"))
        }
    }
}

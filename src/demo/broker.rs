//! A real MQTT broker inside the process: nothing in, two ports on loopback out.
//!
//! Promises: when [`EmbeddedBroker::start`] returns, both ports accept connections; when the broker
//! is dropped, they are closed and all connections with them. Nothing is kept on disk. The broker's
//! own router thread has no way to end: it stays parked until the process does.

use std::{
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    pin::pin,
    sync::mpsc::{SyncSender, sync_channel},
    task::Poll,
    thread::{self, JoinHandle},
    time::Duration,
};

use rumqttd::{
    ConnectionSettings, LinkType, Router, RouterConfig, Server, ServerSettings,
    protocol::{v4::V4, v5::V5},
};
use thiserror::Error;
use tokio::sync::oneshot;
use tracing::{Metadata, subscriber::NoSubscriber};

/// Largest packet in either direction, in bytes; the contract with its schemas is the largest.
pub const MAX_PACKET: usize = 1 << 20;

/// How often to look for other ports when somebody else was quicker.
const ATTEMPTS: u32 = 10;

/// How long a connection to our own loopback may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A broker that listens on loopback, on ports that the system chose.
#[derive(Debug)]
pub struct EmbeddedBroker {
    v4: SocketAddr,
    v5: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is no broker.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// The system has no free port on loopback.
    #[error("cannot find a free port on 127.0.0.1 for the demo's broker")]
    NoFreePort(#[source] io::Error),
    /// There is no thread for it.
    #[error("cannot start the thread of the demo's broker")]
    NoThread(#[source] io::Error),
    /// It could not listen, however often it was tried.
    #[error("the demo's broker cannot listen on 127.0.0.1: {reason}")]
    CannotListen {
        /// What the broker said last.
        reason: String,
    },
}

/// Whether a span or event comes from the broker and not from the gateway.
///
/// The broker starts a thread of its own that only heeds the process-wide subscriber: whoever
/// installs one while a broker runs filters these out.
pub fn is_brokers(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target == "rumqttd" || target.starts_with("rumqttd::")
}

// === impl EmbeddedBroker ===

impl EmbeddedBroker {
    /// Starts a broker. Blocks for the few milliseconds that this takes.
    pub fn start() -> Result<Self, BrokerError> {
        let mut reason = String::new();
        for _ in 0..ATTEMPTS {
            match Self::listen() {
                // The broker can only be told numbers, and between finding a free one and
                // listening on it somebody else may have taken it.
                Err(BrokerError::CannotListen { reason: latest }) => reason = latest,
                other => return other,
            }
        }
        Err(BrokerError::CannotListen { reason })
    }

    /// Where clients of MQTT 3.1.1 connect.
    pub fn v4(&self) -> SocketAddr {
        self.v4
    }

    /// Where clients of MQTT 5 connect.
    pub fn v5(&self) -> SocketAddr {
        self.v5
    }

    fn listen() -> Result<Self, BrokerError> {
        let [v4, v5] = free_ports().map_err(BrokerError::NoFreePort)?;
        let (stop, stopped) = oneshot::channel();
        let (ready, listening) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("demo-broker".to_owned())
            .spawn(move || {
                // What the broker has to say about its connections is of no interest here.
                tracing::subscriber::with_default(NoSubscriber::default(), || {
                    serve(v4, v5, stopped, &ready);
                });
            })
            .map_err(BrokerError::NoThread)?;
        let broker = Self { v4, v5, stop: Some(stop), thread: Some(thread) };
        match listening.recv() {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Err(BrokerError::CannotListen { reason }),
            Err(_) => {
                return Err(BrokerError::CannotListen { reason: "its thread ended".to_owned() });
            }
        }
        for port in [v4, v5] {
            TcpStream::connect_timeout(&port, CONNECT_TIMEOUT)
                .map_err(|error| BrokerError::CannotListen { reason: error.to_string() })?;
        }
        Ok(broker)
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        // Dropping the sender is the signal.
        self.stop.take();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::warn!("The demo's broker ended in a panic.");
        }
    }
}

/// Two different ports that are free at the moment.
fn free_ports() -> io::Result<[SocketAddr; 2]> {
    let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let two = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok([one.local_addr()?, two.local_addr()?])
}

/// Runs the broker until the other end of `stopped` is dropped; says on `ready` whether it listens.
fn serve(
    v4: SocketAddr,
    v5: SocketAddr,
    stopped: oneshot::Receiver<()>,
    ready: &SyncSender<Result<(), String>>,
) {
    let tell = |outcome| {
        // Nobody is left to be told only when the starting thread panicked.
        drop(ready.send(outcome));
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tell(Err(error.to_string())),
    };
    let router = Router::new(0, router_config()).spawn();
    let mut v4 = Server::new(server("v4", v4), router.clone(), V4);
    let mut v5 = Server::new(server("v5", v5), router, V5);
    runtime.block_on(async {
        let mut v4 = pin!(v4.start(LinkType::Remote));
        let mut v5 = pin!(v5.start(LinkType::Remote));
        // The first poll of each goes as far as waiting for a connection, or fails to listen.
        let first = poll_fn(|cx| Poll::Ready((v4.as_mut().poll(cx), v5.as_mut().poll(cx)))).await;
        match first {
            (Poll::Pending, Poll::Pending) => tell(Ok(())),
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => {
                return tell(Err(error.to_string()));
            }
            (Poll::Ready(Ok(())), _) | (_, Poll::Ready(Ok(()))) => {
                return tell(Err("it stopped listening at once".to_owned()));
            }
        }
        tokio::select! {
            _ = v4 => {}
            _ = v5 => {}
            _ = stopped => {}
        }
    });
}

fn router_config() -> RouterConfig {
    RouterConfig {
        // The gateway, its subscriber, and whoever else wants to look.
        max_connections: 100,
        max_outgoing_packet_count: 200,
        // The broker keeps this much of each topic for subscribers who lag behind.
        max_segment_size: 10 << 20,
        max_segment_count: 10,
        ..RouterConfig::default()
    }
}

fn server(name: &str, listen: SocketAddr) -> ServerSettings {
    ServerSettings {
        name: name.to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 5000,
            max_payload_size: MAX_PACKET,
            max_inflight_count: 200,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    }
}

//! How a connection to a broker is made and kept, the same for events and for commands, and for
//! both versions of the protocol: which options rumqttc gets, by what way it comes to the broker,
//! and what it means when it ends.
//!
//! | file | what it holds |
//! |---|---|
//! | `dial` | TCP, proxy, TLS and WebSocket, one inside the other |
//! | `proxy`, `websocket`, `head` | the tunnel of a proxy; MQTT in frames; the answer of either |
//! | `bridge` | how rumqttc comes to a stream that it did not make |
//! | `fault`, `refusal` | why a connection ended, or was not made, in words |
//!
//! rumqttc can go through a WebSocket or a proxy by itself, as features. For that it brings 52
//! crates (to 50) and 290 kB (to 1.7 MB) into a client with TLS, and what goes wrong on the way is
//! lost among its errors. What stands here brings no crate.

mod bridge;
mod dial;
mod fault;
mod head;
mod proxy;
mod refusal;
mod websocket;

use std::{
    future::Future,
    pin::{Pin, pin},
    time::Duration,
};

use rumqttc::{
    MqttOptions, NetworkOptions, StateError, TlsConfiguration, Transport,
    mqttbytes::Error as Bytes4,
    v5::{
        self,
        mqttbytes::{Error as Bytes5, v5::ConnAckProperties},
    },
};
use tokio::time::Sleep;
use tracing::debug;

pub(crate) use self::fault::{Fault, Lesson};
pub use self::proxy::ProxyUrl;
pub(super) use self::proxy::{Credentials, Proxy};
pub(crate) use self::refusal::{unpublished, unsubscribed};
use self::{
    bridge::{Bridge, Name},
    dial::Dial,
};
use super::{access::Access, broker::Broker, settings::Settings};

/// How long a roundabout way may take to deliver our last words.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where to knock, and with what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door<'a> {
    /// The brokers, and what it takes to be let in.
    pub(crate) access: &'a Access,
    /// Times and the rest.
    pub(crate) settings: &'a Settings,
    /// Which of the brokers.
    pub(crate) place: usize,
}

/// The way from a door to a line.
pub(crate) struct Approach {
    network: NetworkOptions,
    way: Way,
}

/// rumqttc's event loop, of one version of the protocol or the other.
pub(crate) trait Loop: Send {
    /// What it reports.
    type Event: Send;
    /// Why it ended.
    type Error: Into<Fault> + Send;

    /// Waits for the next event. Not to be cancelled while the connection is to live on.
    fn poll(&mut self) -> impl Future<Output = Result<Self::Event, Self::Error>> + Send;

    /// Events that were read and not yet taken.
    fn rest(&mut self) -> Vec<Self::Event>;

    /// Our DISCONNECT was written.
    fn is_farewell(event: &Self::Event) -> bool;

    /// The stream ended, and that is all that is known.
    fn is_cut(error: &Self::Error) -> bool;

    /// Which server the broker named as it said goodbye.
    fn reference(&self) -> Option<String>;
}

/// One connection. It is made by the first poll.
pub(crate) struct Line<L> {
    /// Gone after our DISCONNECT.
    event_loop: Option<L>,
    way: Way,
    /// When the broker must have said welcome; gone once it has.
    limit: Option<Pin<Box<Sleep>>>,
}

/// How rumqttc comes to the broker.
enum Way {
    /// By itself.
    Direct,
    /// Over a stream that is still to be made.
    Dialing { dial: Dial, name: Name },
    /// Over a stream that was made.
    Bridged(Pin<Box<dyn Future<Output = Fault> + Send>>),
    /// That stream has ended.
    Ended(Option<Fault>),
}

/// Why a line ended.
pub(crate) enum Broken<E> {
    /// The way to the broker broke.
    Fault(Fault),
    /// rumqttc says so; and the server that the broker named, if it sent us elsewhere.
    Loop(E, Option<String>),
}

/// Whether a broker can be reached as far as that goes without a word of MQTT: TCP, the proxy, TLS
/// and the WebSocket.
pub(crate) async fn probe(door: Door<'_>) -> Result<(), Fault> {
    let dial = Dial::new(door.access, door.broker());
    let mut limit = Box::pin(tokio::time::sleep(door.settings.connect_timeout.0));
    dial.connect(&mut limit).await.map(drop)
}

// === impl Door ===

impl<'a> Door<'a> {
    /// The broker behind it.
    pub(crate) fn broker(&self) -> &'a Broker {
        self.access.broker_at(self.place)
    }

    /// What an MQTT 3.1.1 client is told about connection and login.
    pub(crate) fn v4(&self, client_id: &str) -> (MqttOptions, Approach) {
        let (address, transport, approach) = self.approach();
        let mut options = MqttOptions::new(client_id, address, self.broker().port);
        options.set_keep_alive(self.settings.keep_alive.0).set_transport(transport);
        if let Some((username, password)) = self.access.login() {
            options.set_credentials(username, password);
        }
        (options, approach)
    }

    /// What an MQTT 5 client is told about connection and login.
    pub(crate) fn v5(&self, client_id: &str) -> (v5::MqttOptions, Approach) {
        let (address, transport, approach) = self.approach();
        let mut options = v5::MqttOptions::new(client_id, address, self.broker().port);
        options
            .set_keep_alive(self.settings.keep_alive.0)
            .set_connection_timeout(self.connect_seconds())
            .set_transport(transport);
        options.set_network_options(approach.network.clone());
        if let Some((username, password)) = self.access.login() {
            options.set_credentials(username, password);
        }
        (options, approach)
    }

    /// The address for rumqttc, by what transport, and what is to be done besides.
    fn approach(&self) -> (String, Transport, Approach) {
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(self.connect_seconds());
        network.set_tcp_nodelay(true);
        let broker = self.broker();
        let dial = Dial::new(self.access, broker);
        if dial.is_roundabout() {
            let name = Name::draw();
            let address = name.as_str().to_owned();
            let way = Way::Dialing { dial, name };
            return (address, Transport::Unix, Approach { network, way });
        }
        let transport = match self.access.tls_for(broker) {
            Some(tls) => Transport::Tls(TlsConfiguration::Rustls(tls)),
            None => Transport::Tcp,
        };
        (broker.host.clone(), transport, Approach { network, way: Way::Direct })
    }

    /// rumqttc counts in whole seconds.
    fn connect_seconds(&self) -> u64 {
        let timeout = self.settings.connect_timeout.0;
        timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0)
    }
}

// === impl Approach ===

impl Approach {
    /// The line, from the event loop that was made with the options.
    pub(crate) fn v4(
        self,
        mut event_loop: rumqttc::EventLoop,
        settings: &Settings,
    ) -> Line<rumqttc::EventLoop> {
        event_loop.set_network_options(self.network);
        Line::new(event_loop, self.way, settings)
    }

    /// The line, from the event loop that was made with the options.
    pub(crate) fn v5(self, event_loop: v5::EventLoop, settings: &Settings) -> Line<v5::EventLoop> {
        Line::new(event_loop, self.way, settings)
    }
}

// === impl Line ===

impl<L: Loop> Line<L> {
    fn new(event_loop: L, way: Way, settings: &Settings) -> Self {
        // For a direct way rumqttc has a limit of its own.
        let limit = match way {
            Way::Direct => None,
            _ => Some(Box::pin(tokio::time::sleep(settings.connect_timeout.0))),
        };
        Self { event_loop: Some(event_loop), way, limit }
    }

    /// The event loop, unless it is gone.
    pub(crate) fn event_loop(&mut self) -> Option<&mut L> {
        self.event_loop.as_mut()
    }

    /// Waits for the next event. Not to be cancelled while the connection is to live on; after an
    /// error nothing but [`rest`](Self::rest) may be called.
    pub(crate) async fn event(&mut self) -> Result<L::Event, Broken<L::Error>> {
        if let (Way::Dialing { dial, name }, Some(limit)) = (&self.way, &mut self.limit) {
            let stream = dial.connect(limit).await.map_err(Broken::Fault)?;
            let bridge = Bridge::new(name, stream, dial.is_web());
            let bridge = bridge.map_err(|error| Broken::Fault(Fault::Unreachable(error)))?;
            self.way = Way::Bridged(Box::pin(bridge.carry()));
        }
        let Some(event_loop) = &mut self.event_loop else {
            return Err(Broken::Fault(Fault::Closed));
        };
        let polled = {
            let mut poll = pin!(event_loop.poll());
            loop {
                match (&mut self.way, &mut self.limit) {
                    (Way::Bridged(carry), Some(limit)) => tokio::select! {
                        polled = &mut poll => break polled,
                        fault = carry.as_mut() => self.way = Way::Ended(Some(fault)),
                        () = limit.as_mut() => return Err(Broken::Fault(Fault::HandshakeTimeout)),
                    },
                    (Way::Bridged(carry), None) => tokio::select! {
                        polled = &mut poll => break polled,
                        fault = carry.as_mut() => self.way = Way::Ended(Some(fault)),
                    },
                    _ => break poll.as_mut().await,
                }
            }
        };
        match polled {
            Ok(event) => {
                self.limit = None;
                if L::is_farewell(&event) {
                    self.see_off().await;
                }
                Ok(event)
            }
            Err(error) => {
                // Of a stream that it did not make, rumqttc knows only that it ended.
                if let Way::Ended(fault) = &mut self.way
                    && L::is_cut(&error)
                    && let Some(fault) = fault.take()
                {
                    return Err(Broken::Fault(fault));
                }
                let reference = self.event_loop.as_ref().and_then(L::reference);
                Err(Broken::Loop(error, reference))
            }
        }
    }

    /// What was read and not yet taken when the connection ended.
    pub(crate) fn rest(&mut self) -> Vec<L::Event> {
        self.event_loop.as_mut().map(L::rest).unwrap_or_default()
    }

    /// Waits until our last words are with the broker. rumqttc has written them, which for a
    /// direct way is enough.
    async fn see_off(&mut self) {
        if let Way::Bridged(carry) = &mut self.way {
            self.event_loop = None;
            tokio::time::timeout(FAREWELL, carry.as_mut()).await.ok();
        }
    }
}

impl<E: Into<Fault>> From<Broken<E>> for Fault {
    fn from(broken: Broken<E>) -> Self {
        match broken {
            Broken::Fault(fault) => fault,
            Broken::Loop(error, reference) => error.into().with_reference(reference),
        }
    }
}

impl Line<v5::EventLoop> {
    /// Makes sure that the link is tested as often as we want, and as often as the broker wants.
    ///
    /// rumqttc takes the broker's keep-alive over (MQTT 5.0, 3.2.2.3.14), which only says when the
    /// broker hangs up: a longer one, or 0 for none, keeps nobody from testing the link more often.
    /// With 0 rumqttc would ping without pause. With a longer one only its first ping comes late:
    /// its timer is set before anybody is asked.
    pub(crate) fn respect_keep_alive(&mut self, properties: &ConnAckProperties, ours: Duration) {
        let Some(theirs) = properties.server_keep_alive else { return };
        let theirs = Duration::from_secs(theirs.into());
        let Some(event_loop) = self.event_loop() else { return };
        if theirs.is_zero() || theirs > ours {
            event_loop.options.set_keep_alive(ours);
        }
        debug!(?theirs, ?ours, "The broker has a keep-alive of its own.");
    }
}

// === impl Loop ===

impl Loop for rumqttc::EventLoop {
    type Event = rumqttc::Event;
    type Error = rumqttc::ConnectionError;

    fn poll(&mut self) -> impl Future<Output = Result<Self::Event, Self::Error>> + Send {
        Self::poll(self)
    }

    fn rest(&mut self) -> Vec<Self::Event> {
        self.state.events.drain(..).collect()
    }

    fn is_farewell(event: &Self::Event) -> bool {
        matches!(event, rumqttc::Event::Outgoing(rumqttc::Outgoing::Disconnect))
    }

    fn is_cut(error: &Self::Error) -> bool {
        use rumqttc::ConnectionError as E;
        matches!(
            error,
            E::Io(_)
                | E::MqttState(
                    StateError::Io(_)
                        | StateError::ConnectionAborted
                        | StateError::Deserialization(Bytes4::Io(_))
                )
        )
    }

    /// 3.1.1 knows no such thing.
    fn reference(&self) -> Option<String> {
        None
    }
}

impl Loop for v5::EventLoop {
    type Event = v5::Event;
    type Error = v5::ConnectionError;

    fn poll(&mut self) -> impl Future<Output = Result<Self::Event, Self::Error>> + Send {
        Self::poll(self)
    }

    fn rest(&mut self) -> Vec<Self::Event> {
        self.state.events.drain(..).collect()
    }

    fn is_farewell(event: &Self::Event) -> bool {
        matches!(event, v5::Event::Outgoing(rumqttc::Outgoing::Disconnect))
    }

    fn is_cut(error: &Self::Error) -> bool {
        use v5::{ConnectionError as E, StateError as S};
        matches!(
            error,
            E::Io(_)
                | E::MqttState(S::Io(_) | S::ConnectionAborted | S::Deserialization(Bytes5::Io(_)))
        )
    }

    fn reference(&self) -> Option<String> {
        use v5::mqttbytes::v5::Packet;
        self.state.events.iter().rev().find_map(|event| match event {
            v5::Event::Incoming(Packet::Disconnect(goodbye)) => {
                goodbye.properties.as_ref()?.server_reference.clone()
            }
            _ => None,
        })
    }
}

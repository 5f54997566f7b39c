//! The platform's side: a broker's address in, whatever the gateway publishes out.
//!
//! An ordinary MQTT 3.1.1 client over TCP, so that what it receives is what anybody would receive.

use std::{net::SocketAddr, time::Duration};

use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Packet, QoS};
use thiserror::Error;
use tokio::{sync::mpsc, task::AbortHandle};

/// Everything that any gateway publishes.
pub const FILTER: &str = "beacon/v1/#";

/// Largest packet in either direction, in bytes; the client's own limit is 10 KiB.
const MAX_PACKET: usize = 1 << 20;

/// How long connecting and subscribing may take together.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Received and not yet taken. When it is full the client waits, and the broker with it.
const BOUND: usize = 256;

/// One message as the broker delivered it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// The topic it was published to.
    pub topic: String,
    /// What was published.
    pub payload: Vec<u8>,
    /// Whether the broker had kept it from before the subscription.
    pub retain: bool,
}

/// A subscription to [`FILTER`].
#[derive(Debug)]
pub struct Subscriber {
    received: mpsc::Receiver<Result<Received, SubscriberError>>,
    task: AbortHandle,
}

/// Why nothing more is received.
#[derive(Debug, Error)]
pub enum SubscriberError {
    /// The broker cannot be reached, or the connection broke.
    #[error("the subscriber's connection to the broker failed")]
    Connection(#[source] Box<ConnectionError>),
    /// The subscription could not be asked for.
    #[error("the subscriber cannot ask for its subscription")]
    Request(#[source] rumqttc::ClientError),
    /// The broker did not answer in time.
    #[error("the broker did not answer the subscriber within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The broker refused the subscription.
    #[error("the broker refused the subscription to `{FILTER}`")]
    Refused,
}

// === impl Received ===

impl Received {
    /// Whether it is an event, by its topic `beacon/v1/{tenant}/{store}/{gateway}/event/…`.
    pub fn is_event(&self) -> bool {
        self.part() == Some("event")
    }

    /// What the topic is about: `event`, `state`, `metrics`, `contract`.
    pub fn part(&self) -> Option<&str> {
        self.topic.strip_prefix("beacon/v1/")?.split('/').nth(3)
    }

    /// Family and kind of an event, by its topic: `zone` and `entered`.
    pub fn kind(&self) -> Option<(&str, &str)> {
        let mut levels = self.topic.strip_prefix("beacon/v1/")?.split('/').skip(3);
        let event = levels.next()? == "event";
        Some((levels.next()?, levels.next()?)).filter(|_| event)
    }
}

// === impl Subscriber ===

impl Subscriber {
    /// Connects to the MQTT 3.1.1 port of a broker and subscribes; what is published from then on
    /// is received.
    pub async fn connect(broker: SocketAddr) -> Result<Self, SubscriberError> {
        let host = broker.ip().to_string();
        let mut options = MqttOptions::new("beacon-gateway-demo-subscriber", host, broker.port());
        options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
        options.set_clean_session(true);
        let (client, mut events) = AsyncClient::new(options, 10);
        let mut early = Vec::new();
        match tokio::time::timeout(TIMEOUT, subscribe(&client, &mut events, &mut early)).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(SubscriberError::Timeout),
        }

        let (sender, received) = mpsc::channel(BOUND);
        let task = tokio::spawn(async move {
            // The client must outlive the loop: without it the loop ends.
            let _client = client;
            for message in early {
                if sender.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            loop {
                let message = match events.poll().await {
                    Ok(event) => match publish(event) {
                        Some(message) => Ok(message),
                        None => continue,
                    },
                    Err(error) => Err(SubscriberError::Connection(Box::new(error))),
                };
                let over = message.is_err();
                if sender.send(message).await.is_err() || over {
                    return;
                }
            }
        });
        Ok(Self { received, task: task.abort_handle() })
    }

    /// The next message; an error once when the connection breaks, then `None`. Can be awaited in
    /// a `select!` without losing anything.
    pub async fn next(&mut self) -> Option<Result<Received, SubscriberError>> {
        self.received.recv().await
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until the subscription stands. What the broker had kept may come before it says so.
async fn subscribe(
    client: &AsyncClient,
    events: &mut EventLoop,
    early: &mut Vec<Received>,
) -> Result<(), SubscriberError> {
    client.try_subscribe(FILTER, QoS::AtLeastOnce).map_err(SubscriberError::Request)?;
    loop {
        let event =
            events.poll().await.map_err(|error| SubscriberError::Connection(Box::new(error)))?;
        if let Event::Incoming(Packet::SubAck(answer)) = &event {
            let refused = |code: &_| matches!(code, rumqttc::SubscribeReasonCode::Failure);
            if answer.return_codes.iter().any(refused) {
                return Err(SubscriberError::Refused);
            }
            return Ok(());
        }
        early.extend(publish(event));
    }
}

fn publish(event: Event) -> Option<Received> {
    match event {
        Event::Incoming(Packet::Publish(publish)) => Some(Received {
            topic: publish.topic,
            payload: publish.payload.to_vec(),
            retain: publish.retain,
        }),
        _ => None,
    }
}

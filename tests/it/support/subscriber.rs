//! Who listens at the broker, and remembers.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use beacon_gateway::uplink::Protocol;
use tokio::task::JoinHandle;

use super::eventually;

/// How often a broker that is away is tried.
const RETRY: Duration = Duration::from_millis(5);

/// What arrived, in the order it did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) content_type: Option<String>,
    pub(crate) user_properties: Vec<(String, String)>,
    pub(crate) expiry: Option<u32>,
}

/// A subscription that renews itself when the broker comes back.
pub(crate) struct Subscriber {
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

type Listen = Box<dyn FnMut(Message) + Send>;

#[derive(Default)]
struct Seen {
    messages: Mutex<Vec<Message>>,
    /// Gets the messages, if they are not to be kept.
    listen: Mutex<Option<Listen>>,
    subscribed: AtomicU64,
}

impl Subscriber {
    /// Subscribes, and returns when the broker has confirmed it.
    pub(crate) async fn start(protocol: Protocol, port: u16, filter: &str) -> Self {
        Self::begin(protocol, port, filter, None).await
    }

    /// The same, but keeps nothing: each message is handed over.
    pub(crate) async fn listen(
        protocol: Protocol,
        port: u16,
        filter: &str,
        listen: impl FnMut(Message) + Send + 'static,
    ) -> Self {
        Self::begin(protocol, port, filter, Some(Box::new(listen))).await
    }

    async fn begin(protocol: Protocol, port: u16, filter: &str, listen: Option<Listen>) -> Self {
        let seen = Arc::new(Seen { listen: Mutex::new(listen), ..Seen::default() });
        let id = format!("subscriber-{}", fastrand::u64(..));
        let filter = filter.to_owned();
        let task = match protocol {
            Protocol::V311 => tokio::spawn(listen_v4(id, port, filter, Arc::clone(&seen))),
            Protocol::V5 => tokio::spawn(listen_v5(id, port, filter, Arc::clone(&seen))),
        };
        let subscriber = Self { seen, task };
        subscriber.subscribed(1).await;
        subscriber
    }

    /// Waits until the subscription has been confirmed so many times.
    pub(crate) async fn subscribed(&self, times: u64) {
        let subscribed = || self.seen.subscribed.load(Ordering::Relaxed) >= times;
        eventually("a confirmed subscription", subscribed).await;
    }

    /// What has arrived so far.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.seen.messages.lock().unwrap().clone()
    }

    /// What has arrived so far on topics that end so.
    pub(crate) fn on(&self, suffix: &str) -> Vec<Message> {
        let mut messages = self.messages();
        messages.retain(|message| message.topic.ends_with(suffix));
        messages
    }

    /// Looks at what has arrived so far.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&[Message]) -> T) -> T {
        look(&self.seen.messages.lock().unwrap())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn message(&self, message: Message) {
        match &mut *self.listen.lock().unwrap() {
            Some(listen) => listen(message),
            None => self.messages.lock().unwrap().push(message),
        }
    }

    fn subscribed(&self) {
        self.subscribed.fetch_add(1, Ordering::Relaxed);
    }
}

async fn listen_v4(id: String, port: u16, filter: String, seen: Arc<Seen>) {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    options.set_max_packet_size(1 << 20, 1 << 20).set_keep_alive(Duration::from_secs(30));
    let (client, mut event_loop) = AsyncClient::new(options, 10);
    let mut retry = tokio::time::interval(RETRY);
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                client.try_subscribe(&filter, QoS::AtLeastOnce).unwrap();
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => seen.subscribed(),
            Ok(Event::Incoming(Packet::Publish(publish))) => seen.message(Message {
                topic: publish.topic,
                payload: String::from_utf8_lossy(&publish.payload).into_owned(),
                qos: publish.qos as u8,
                retain: publish.retain,
                ..Message::default()
            }),
            Ok(_) => {}
            Err(_) => {
                retry.tick().await;
            }
        }
    }
}

async fn listen_v5(id: String, port: u16, filter: String, seen: Arc<Seen>) {
    use rumqttc::v5::{
        AsyncClient, Event, MqttOptions,
        mqttbytes::{QoS, v5::Packet},
    };
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    options.set_max_packet_size(Some(1 << 20)).set_keep_alive(Duration::from_secs(30));
    let (client, mut event_loop) = AsyncClient::new(options, 10);
    let mut retry = tokio::time::interval(RETRY);
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                client.try_subscribe(&filter, QoS::AtLeastOnce).unwrap();
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => seen.subscribed(),
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let properties = publish.properties.unwrap_or_default();
                seen.message(Message {
                    topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                    payload: String::from_utf8_lossy(&publish.payload).into_owned(),
                    qos: publish.qos as u8,
                    retain: publish.retain,
                    content_type: properties.content_type,
                    user_properties: properties.user_properties,
                    expiry: properties.message_expiry_interval,
                });
            }
            Ok(_) => {}
            Err(_) => {
                retry.tick().await;
            }
        }
    }
}

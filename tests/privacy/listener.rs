//! Who listens at the broker to everything, and remembers when it came.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    engine::{UnixTime, Uptime},
};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::Value;

use crate::support::{Outcome, text};

/// One message.
#[derive(Clone)]
pub(crate) struct Message {
    /// When it came, on the test's clock.
    pub(crate) at: UnixTime,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

/// A subscription to everything that renews itself when the broker comes back.
pub(crate) struct Listener {
    client: AsyncClient,
    heard: Arc<Heard>,
}

/// What became of a command.
#[derive(Clone)]
pub(crate) struct CommandResult {
    /// When that was heard, on the test's clock.
    pub(crate) at: UnixTime,
    /// All that the gateway said.
    pub(crate) said: Value,
}

#[derive(Default)]
struct Heard {
    messages: Mutex<Vec<Message>>,
    subscribed: AtomicU64,
    /// How often the gateway said that it follows the platform's commands.
    following: AtomicU64,
    /// What was published for the registry.
    orders: AtomicU64,
    /// What the gateway said that it had done, by the command's name and number.
    results: Mutex<BTreeMap<(String, u64), CommandResult>>,
    /// By how much somebody who only waited was woken too late at most, in milliseconds of the
    /// world.
    late: AtomicU64,
}

/// How often a broker that is away is tried.
const RETRY: Duration = Duration::from_millis(5);

/// How often it is measured how late who waits is woken.
const BEAT: Duration = Duration::from_millis(20);

/// How long a broker may take to confirm a subscription, and a gateway to do as it is told.
const PATIENCE: Duration = Duration::from_secs(30);

impl Listener {
    /// Subscribes, and returns when the broker has confirmed it.
    pub(crate) async fn start(port: u16, clock: Clock) -> Outcome<Self> {
        let heard = Arc::<Heard>::default();
        let mut options = MqttOptions::new("recorder", "127.0.0.1", port);
        options.set_max_packet_size(1 << 20, 1 << 20).set_keep_alive(Duration::from_mins(1));
        let (client, event_loop) = AsyncClient::new(options, 10);
        tokio::spawn(listen(client.clone(), event_loop, clock, Arc::clone(&heard)));
        tokio::spawn(beat(Arc::clone(&heard)));
        let listener = Self { client, heard };
        listener.subscribed(1).await?;
        Ok(listener)
    }

    /// How many times the subscription has been confirmed.
    pub(crate) fn subscriptions(&self) -> u64 {
        self.heard.subscribed.load(Ordering::SeqCst)
    }

    /// Waits until the subscription has been confirmed so many times.
    pub(crate) async fn subscribed(&self, times: u64) -> Outcome<()> {
        let waiting = async {
            let mut look = tokio::time::interval(RETRY);
            while self.subscriptions() < times {
                look.tick().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.map_err(|_| "the broker does not confirm a subscription".to_owned())
    }

    /// Waits until the gateway has said that it follows the platform's commands. What is published
    /// before it has a session at the broker is lost to it.
    pub(crate) async fn followed(&self) -> Outcome<()> {
        let followed = || (self.heard.following.load(Ordering::SeqCst) > 0).then_some(());
        until(followed).await.ok_or_else(|| "the gateway does not follow commands".to_owned())
    }

    /// Publishes something for the registry, and returns when the broker has passed it on.
    pub(crate) async fn order(&self, topic: &str, retain: bool, payload: Vec<u8>) -> Outcome<()> {
        let before = self.heard.orders.load(Ordering::SeqCst);
        self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).map_err(text)?;
        let passed_on = || (self.heard.orders.load(Ordering::SeqCst) > before).then_some(());
        until(passed_on).await.ok_or_else(|| format!("the broker does not pass on `{topic}`"))
    }

    /// What the gateway said when it had carried a command out.
    pub(crate) async fn result(&self, command: &str, number: u64) -> Outcome<CommandResult> {
        let key = (command.to_owned(), number);
        let said = || lock(&self.heard.results).get(&key).cloned();
        until(said).await.ok_or_else(|| format!("there is no result of {command} {number}"))
    }

    /// By how much somebody who only waited was woken too late at most, in milliseconds of the world.
    pub(crate) fn late(&self) -> i64 {
        i64::try_from(self.heard.late.load(Ordering::SeqCst)).unwrap_or(i64::MAX)
    }

    /// What came since the last time.
    pub(crate) fn take(&self) -> Vec<Message> {
        std::mem::take(&mut lock(&self.heard.messages))
    }
}

async fn listen(client: AsyncClient, mut event_loop: EventLoop, clock: Clock, heard: Arc<Heard>) {
    let mut retry = tokio::time::interval(RETRY);
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                client.try_subscribe("#", QoS::AtLeastOnce).expect("its queue is empty");
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                heard.subscribed.fetch_add(1, Ordering::SeqCst);
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let (topic, payload) = (publish.topic, publish.payload.to_vec());
                let message = Message { at: clock.wall().unix, topic, payload };
                if message.topic.contains("/registry/") {
                    heard.orders.fetch_add(1, Ordering::SeqCst);
                }
                heard.note_state(&message);
                heard.note_result(&message);
                lock(&heard.messages).push(message);
            }
            Ok(_) => {}
            Err(_) => {
                retry.tick().await;
            }
        }
    }
}

impl Heard {
    /// Counts when the gateway says that it follows commands.
    fn note_state(&self, message: &Message) {
        let state = message.topic.ends_with("/state");
        let said = serde_json::from_slice::<Value>(&message.payload).unwrap_or_default();
        if state && said["commands"] == "caught_up" {
            self.following.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Remembers that a command was carried out.
    fn note_result(&self, message: &Message) {
        let Some((_, command)) = message.topic.split_once("/command-result/") else { return };
        let Ok(said) = serde_json::from_slice::<Value>(&message.payload) else { return };
        if let (Some("done"), Some(number)) = (said["outcome"].as_str(), said["number"].as_u64()) {
            let result = CommandResult { at: message.at, said };
            // The first time it was said is when it had taken effect.
            lock(&self.results).entry((command.to_owned(), number)).or_insert(result);
        }
    }
}

/// Does nothing but wait, and measures how much longer than asked for that takes.
async fn beat(heard: Arc<Heard>) {
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let clock = Clock::start();
        ticks.tick().await;
        let late = clock.now().since(Uptime::ZERO).saturating_sub(BEAT).as_millis();
        heard.late.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

/// Waits until there is something.
async fn until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let waiting = async {
        let mut again = tokio::time::interval(RETRY);
        loop {
            again.tick().await;
            if let Some(found) = look() {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.ok()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

//! Who listens at the broker to everything, and remembers when it came.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use beacon_gateway::{clock::Clock, engine::UnixTime};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use crate::support::Outcome;

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
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    messages: Mutex<Vec<Message>>,
    subscribed: AtomicU64,
}

/// How often a broker that is away is tried.
const RETRY: Duration = Duration::from_millis(5);

/// How long a broker may take to confirm a subscription.
const PATIENCE: Duration = Duration::from_secs(30);

impl Listener {
    /// Subscribes, and returns when the broker has confirmed it.
    pub(crate) async fn start(port: u16, clock: Clock) -> Outcome<Self> {
        let heard = Arc::<Heard>::default();
        tokio::spawn(listen(port, clock, Arc::clone(&heard)));
        let listener = Self { heard };
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

    /// What came since the last time.
    pub(crate) fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.heard.messages.lock().expect("nobody panics while holding it"))
    }
}

async fn listen(port: u16, clock: Clock, heard: Arc<Heard>) {
    let mut options = MqttOptions::new("recorder", "127.0.0.1", port);
    options.set_max_packet_size(1 << 20, 1 << 20).set_keep_alive(Duration::from_mins(1));
    let (client, mut event_loop) = AsyncClient::new(options, 10);
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
                heard.messages.lock().expect("nobody panics while holding it").push(message);
            }
            Ok(_) => {}
            Err(_) => {
                retry.tick().await;
            }
        }
    }
}

//! The platform: a subscriber with QoS 1 and a session that lasts, which in this cluster is a quorum
//! queue. It acknowledges what it has booked, and connects anew whenever its connection breaks.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use beacon_gateway::clock::Clock;
use rumqttc::{AsyncClient, Event as Happened, EventLoop, MqttOptions, Packet, QoS};
use tokio::task::JoinHandle;

use crate::{
    ledger::{Event, Ledger},
    node::USER,
    support::{Outcome, PATIENCE, text},
};

/// Its name at the broker, of which the queue's is made.
pub(crate) const CLIENT: &str = "platform";

/// What every gateway of every shop says.
const EVERYTHING: &str = "beacon/v1/#";

/// A topic that nobody subscribes to.
const NOBODYS: &str = "nobody/listens/here";

/// How often a broker that is away is tried.
const RETRY: Duration = Duration::from_millis(200);

/// A running platform.
pub(crate) struct Platform {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What it knows.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) ledger: Ledger,
    /// Connections whose subscription was confirmed, and how many of them found their session.
    pub(crate) subscribed: u64,
    pub(crate) resumed: u64,
    /// Last wills: states that a broker published for a gateway that had vanished.
    pub(crate) wills: u64,
    /// The largest document of each kind beside the events, in bytes.
    pub(crate) state_bytes: usize,
    pub(crate) metrics_bytes: usize,
    /// What came and was no event.
    pub(crate) unreadable: Option<String>,
}

impl Platform {
    /// Starts to consume from here.
    pub(crate) fn start(broker: SocketAddr, clock: Clock) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let task = tokio::spawn(consume(broker, clock, Arc::clone(&seen)));
        Self { seen, task }
    }

    /// Looks at what it knows.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody panics holding it")
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection after the other, each with a client of its own: rumqttc would carry
/// acknowledgements over from one to the next.
async fn consume(broker: SocketAddr, clock: Clock, seen: Arc<Mutex<Seen>>) {
    let mut retry = tokio::time::interval(RETRY);
    retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        retry.tick().await;
        let (client, mut line) = connect(CLIENT, broker, false);
        while let Ok(happened) = line.poll().await {
            let mut seen = seen.lock().expect("nobody panics holding it");
            match happened {
                Happened::Incoming(Packet::ConnAck(welcome)) => {
                    seen.resumed += u64::from(welcome.session_present);
                    // An error ends the connection, and the next poll says so.
                    client.try_subscribe(EVERYTHING, QoS::AtLeastOnce).ok();
                }
                Happened::Incoming(Packet::SubAck(_)) => seen.subscribed += 1,
                Happened::Incoming(Packet::Publish(publish)) => {
                    seen.take_in(clock, &publish.topic, &publish.payload);
                    client.try_ack(&publish).ok();
                }
                _ => {}
            }
        }
    }
}

impl Seen {
    fn take_in(&mut self, clock: Clock, topic: &str, payload: &[u8]) {
        if topic.contains("/event/") {
            let event = serde_json::from_slice::<Event>(payload).map_err(text);
            let booked = event.and_then(|event| self.ledger.book(clock.now(), &event));
            if let Err(why) = booked {
                self.unreadable.get_or_insert(why);
            }
        } else if topic.ends_with("/state") {
            let state = serde_json::from_slice::<serde_json::Value>(payload).unwrap_or_default();
            self.wills += u64::from(state["state"] == "offline" && state["clean"] == false);
            self.state_bytes = self.state_bytes.max(payload.len());
        } else if topic.ends_with("/metrics") {
            self.metrics_bytes = self.metrics_bytes.max(payload.len());
        }
    }
}

/// A client that is about to connect.
fn connect(id: &str, broker: SocketAddr, clean: bool) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
    options
        .set_credentials(USER, USER)
        .set_clean_session(clean)
        .set_manual_acks(true)
        // A silent broker is noticed after twice this.
        .set_keep_alive(Duration::from_secs(5))
        .set_max_packet_size(1 << 20, 1 << 20);
    AsyncClient::new(options, 1000)
}

/// What a broker gives somebody who comes now and wants to know this topic's last word.
///
/// It answers one request after the other, so when it has acknowledged a publish that follows the
/// subscription, what was retained has come.
pub(crate) async fn retained(broker: SocketAddr, topic: &str) -> Outcome<Option<String>> {
    let (client, mut line) = connect("somebody-new", broker, true);
    let ask = async {
        loop {
            match line.poll().await.map_err(text)? {
                Happened::Incoming(Packet::ConnAck(_)) => {
                    client.try_subscribe(topic, QoS::AtLeastOnce).map_err(text)?;
                }
                Happened::Incoming(Packet::SubAck(_)) => {
                    let nothing = "";
                    client.try_publish(NOBODYS, QoS::AtLeastOnce, false, nothing).map_err(text)?;
                }
                Happened::Incoming(Packet::Publish(publish)) if publish.retain => {
                    return Ok(Some(String::from_utf8_lossy(&publish.payload).into_owned()));
                }
                Happened::Incoming(Packet::PubAck(_)) => return Ok(None),
                _ => {}
            }
        }
    };
    let asked = tokio::time::timeout(PATIENCE, ask).await;
    asked.map_err(|_| format!("{broker} does not answer"))?
}

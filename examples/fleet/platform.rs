//! The platform: a subscriber with `QoS` 1 and a session that lasts, which counts every event once.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde::Deserialize;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{gateway::TENANT, lock};

/// How often a broker that is away is tried.
const RETRY: Duration = Duration::from_millis(100);

/// A running platform.
pub(crate) struct Platform {
    received: Arc<Mutex<Received>>,
    task: JoinHandle<()>,
}

/// What has arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrived {
    /// Events, each counted once.
    pub(crate) events: u64,
    /// Repetitions of one that had arrived.
    pub(crate) again: u64,
    /// Bytes of all payloads of events.
    pub(crate) bytes: u64,
}

#[derive(Default)]
struct Received {
    ids: HashSet<String>,
    arrived: Arrived,
}

/// The one thing of an event that is needed here.
#[derive(Deserialize)]
struct Id {
    id: String,
}

impl Platform {
    /// Connects, and returns when the broker has confirmed the subscription.
    pub(crate) async fn subscribe(broker: SocketAddr) -> anyhow::Result<Self> {
        let received = Arc::<Mutex<Received>>::default();
        let (subscribed, wait) = oneshot::channel();
        let task = tokio::spawn(consume(broker, Arc::clone(&received), subscribed));
        let wait = tokio::time::timeout(Duration::from_secs(30), wait).await;
        wait.with_context(|| format!("no subscription at {broker}"))??;
        Ok(Self { received, task })
    }

    pub(crate) fn arrived(&self) -> Arrived {
        lock(&self.received).arrived
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn connect(broker: SocketAddr) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new("fleet-platform", broker.ip().to_string(), broker.port());
    options
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_keep_alive(Duration::from_secs(30))
        .set_max_packet_size(1 << 20, 1 << 20);
    AsyncClient::new(options, 1000)
}

async fn consume(
    broker: SocketAddr,
    received: Arc<Mutex<Received>>,
    subscribed: oneshot::Sender<()>,
) {
    let mut subscribed = Some(subscribed);
    let mut retry = tokio::time::interval(RETRY);
    loop {
        retry.tick().await;
        // A client of its own for each connection: rumqttc would carry acknowledgements over.
        let (client, mut line) = connect(broker);
        while let Ok(event) = line.poll().await {
            match event {
                Event::Incoming(Packet::ConnAck(_)) => {
                    let events = format!("beacon/v1/{TENANT}/+/+/event/#");
                    // An error ends the connection, and the next poll says so.
                    client.try_subscribe(events, QoS::AtLeastOnce).ok();
                }
                Event::Incoming(Packet::SubAck(_)) => {
                    // Only the first is waited for.
                    subscribed.take().and_then(|subscribed| subscribed.send(()).ok());
                }
                Event::Incoming(Packet::Publish(publish)) => {
                    lock(&received).take_in(&publish.payload);
                    client.try_ack(&publish).ok();
                }
                _ => {}
            }
        }
    }
}

impl Received {
    fn take_in(&mut self, payload: &[u8]) {
        let Ok(Id { id }) = serde_json::from_slice(payload) else { return };
        self.arrived.bytes += payload.len() as u64;
        if self.ids.insert(id) {
            self.arrived.events += 1;
        } else {
            self.arrived.again += 1;
        }
    }
}

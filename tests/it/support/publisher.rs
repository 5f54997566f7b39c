//! The platform's end at the broker: publishes, and knows when the broker has it.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};

/// The largest packet it writes.
const LARGEST: usize = 64 * 1024 * 1024;

/// A connection that publishes one message after the other.
pub(crate) struct Publisher {
    client: AsyncClient,
    event_loop: EventLoop,
}

impl Publisher {
    pub(crate) fn new(port: u16) -> Self {
        let id = format!("platform-{}", fastrand::u64(..));
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_max_packet_size(LARGEST, LARGEST).set_keep_alive(Duration::from_mins(1));
        let (client, event_loop) = AsyncClient::new(options, 10);
        Self { client, event_loop }
    }

    /// Publishes with `QoS` 1 and returns when the broker has acknowledged it.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.send(topic, payload, false).await;
    }

    /// The same, and the broker keeps it for who comes later.
    pub(crate) async fn retain(&mut self, topic: &str, payload: &[u8]) {
        self.send(topic, payload, true).await;
    }

    async fn send(&mut self, topic: &str, payload: &[u8], retain: bool) {
        self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).unwrap();
        let acknowledged = async {
            while !matches!(
                self.event_loop.poll().await.unwrap(),
                Event::Incoming(Packet::PubAck(_))
            ) {}
        };
        tokio::time::timeout(super::DEADLINE, acknowledged).await.unwrap();
    }
}

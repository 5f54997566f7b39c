//! Who reads along at the broker: every message on every topic, byte for byte.
#![expect(clippy::indexing_slicing, reason = "a JSON value has a null wherever it has nothing")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use tokio::{sync::oneshot, task::JoinHandle};

/// The largest packet it reads.
const LARGEST: usize = 4 * 1024 * 1024;

/// Topics and payloads, in the order in which they came.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

pub(crate) struct Recorder {
    seen: Seen,
    task: JoinHandle<()>,
}

impl Recorder {
    pub(crate) async fn start(port: u16) -> Self {
        let id = format!("recorder-{}", fastrand::u64(..));
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_max_packet_size(LARGEST, LARGEST).set_keep_alive(Duration::from_mins(1));
        let (client, mut event_loop) = AsyncClient::new(options, 10);
        client.try_subscribe("#", QoS::AtMostOnce).unwrap();
        let seen = Seen::default();
        let (subscribed, listening) = oneshot::channel();
        let notes = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut subscribed = Some(subscribed);
            // The client lives as long as this.
            let _client = client;
            while let Ok(event) = event_loop.poll().await {
                match event {
                    Event::Incoming(Packet::Publish(it)) => {
                        notes.lock().unwrap().push((it.topic, it.payload.to_vec()));
                    }
                    Event::Incoming(Packet::SubAck(_)) => {
                        subscribed.take().map(|told| told.send(()));
                    }
                    _ => {}
                }
            }
        });
        tokio::time::timeout(crate::support::DEADLINE, listening).await.unwrap().unwrap();
        Self { seen, task }
    }

    /// How many messages came on a topic.
    pub(crate) fn count(&self, topic: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|(it, _)| it == topic).count()
    }

    /// What came on a topic.
    pub(crate) fn payloads(&self, topic: &str) -> Vec<Vec<u8>> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(it, _)| it == topic).map(|(_, payload)| payload.clone()).collect()
    }

    /// The events of a gateway of a kind about somebody; an empty name is about anybody.
    pub(crate) fn events(&self, gateway: &str, kind: &str, subject: &str) -> Vec<Value> {
        let prefix = format!("beacon/v1/t/s/{gateway}/event/{kind}");
        let seen = self.seen.lock().unwrap();
        let events = seen.iter().filter(|(topic, _)| topic.starts_with(&prefix));
        let events = events.map(|(_, payload)| serde_json::from_slice::<Value>(payload).unwrap());
        events.filter(|it| subject.is_empty() || it["subject"] == *subject).collect()
    }

    /// What a gateway last said of itself.
    pub(crate) fn state(&self, gateway: &str) -> Option<Value> {
        self.last(&format!("beacon/v1/t/s/{gateway}/state"))
    }

    /// What a gateway last counted.
    pub(crate) fn metrics(&self, gateway: &str) -> Option<Value> {
        self.last(&format!("beacon/v1/t/s/{gateway}/metrics"))
    }

    /// What a gateway last said of one of its receivers.
    pub(crate) fn receiver(&self, gateway: &str, receiver: &str) -> Option<Value> {
        let state = self.state(gateway)?;
        state["receivers"].as_array()?.iter().find(|it| it["receiver"] == *receiver).cloned()
    }

    /// Fails when anything that passed, a topic included, has one of these in it.
    pub(crate) fn has_none_of(&self, needles: &[Vec<u8>]) {
        self.has_none_of_on("", needles);
    }

    /// The same, on topics that begin so.
    pub(crate) fn has_none_of_on(&self, prefix: &str, needles: &[Vec<u8>]) {
        let seen = self.seen.lock().unwrap();
        let mut looked_at = 0;
        for (topic, payload) in seen.iter().filter(|(topic, _)| topic.starts_with(prefix)) {
            looked_at += 1;
            let all = [topic.as_bytes(), payload].concat().to_ascii_lowercase();
            for needle in needles {
                let found = all.windows(needle.len()).any(|it| it == needle.to_ascii_lowercase());
                assert!(!found, "{topic} has {needle:x?}");
            }
        }
        assert!(looked_at > 0, "nothing passed");
    }

    fn last(&self, topic: &str) -> Option<Value> {
        let seen = self.seen.lock().unwrap();
        let (_, payload) = seen.iter().rev().find(|(it, _)| it == topic)?;
        serde_json::from_slice(payload).ok()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

//! The platform: signs commands, hears what becomes of them, and keeps its own account of every
//! event in the plainest way there is, which the subscribers' are compared with.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use beacon_gateway::clock::Clock;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::MissedTickBehavior};

/// The private half of the key that all commands here are signed with.
pub(crate) const SEED: [u8; 32] = [7; 32];

const GATEWAY: &str = "acme/berlin-03/gw1";

/// The platform.
pub(crate) struct Platform {
    key: Ed25519KeyPair,
    client: AsyncClient,
    /// The number of the last change of the registry, and of the last command to the gateway.
    changes: u64,
    commands: i64,
    heard: Arc<Mutex<Heard>>,
    listening: JoinHandle<()>,
}

/// Everything that was heard of the gateway.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The numbers of all events.
    pub(crate) seen: BTreeSet<u64>,
    /// The numbers that the gateway says are lost, by the reason.
    pub(crate) told: BTreeMap<String, BTreeSet<u64>>,
    /// For each key of order the number of its last event that was not sent again by command.
    newest: BTreeMap<String, u64>,
    /// Events that came behind a newer one of the same key, for the first time.
    pub(crate) disordered: Vec<String>,
    /// Whether those are counted: not while dead letters are brought back.
    pub(crate) order_matters: bool,
    /// Events that were heard again.
    pub(crate) again: u64,
    pub(crate) replayed: u64,
    pub(crate) results: Vec<Value>,
    pub(crate) state: Value,
    /// What could not be understood.
    pub(crate) strange: Vec<String>,
}

impl Platform {
    /// Listens at a broker of this machine, for ever.
    pub(crate) fn start(port: u16) -> Result<Self, String> {
        let key = Ed25519KeyPair::from_seed_unchecked(&SEED).map_err(|error| error.to_string())?;
        let mut options = MqttOptions::new("platform", "127.0.0.1", port);
        options
            .set_clean_session(false)
            .set_max_packet_size(1 << 20, 1 << 20)
            .set_keep_alive(Duration::from_secs(30));
        let (client, event_loop) = AsyncClient::new(options, 1000);
        let heard = Arc::new(Mutex::new(Heard { order_matters: true, ..Heard::default() }));
        let listening = tokio::spawn(listen(event_loop, client.clone(), Arc::clone(&heard)));
        Ok(Self { key, client, changes: 0, commands: 0, heard, listening })
    }

    /// The public half of the key, for `trusted_keys`.
    pub(crate) fn trusted(&self) -> String {
        let key = URL_SAFE_NO_PAD.encode(self.key.public_key());
        format!("{{ id = \"k\", key = \"{key}\" }}")
    }

    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a change of the registry. Returns what its result has to be like.
    pub(crate) fn change(&mut self, name: &str, body: &Value) -> Result<Value, String> {
        self.changes += 1;
        let token = self.sign("acme/berlin-03", name, self.changes, body);
        self.publish(&format!("beacon/v1/acme/berlin-03/registry/{name}"), token)?;
        Ok(json!({"command": name, "number": self.changes, "outcome": "done"}))
    }

    /// Publishes a command to the gateway. Returns what its result has to be like.
    pub(crate) fn ask(&mut self, name: &str, body: &Value) -> Result<Value, String> {
        let now = Clock::start().wall().unix.as_millis();
        self.commands = now.max(self.commands + 1);
        let number = u64::try_from(self.commands).map_err(|error| error.to_string())?;
        let token = self.sign(GATEWAY, name, number, body);
        self.publish(&format!("beacon/v1/{GATEWAY}/command/{name}"), token)?;
        Ok(json!({"command": name, "number": number}))
    }

    /// The result that is like this, if it has come.
    pub(crate) fn result(&self, like: &Value) -> Option<Value> {
        let is_like = |result: &&Value| {
            let fields = like.as_object().into_iter().flatten();
            fields.into_iter().all(|(name, value)| result.get(name) == Some(value))
        };
        self.heard().results.iter().find(is_like).cloned()
    }

    fn publish(&self, topic: &str, payload: Vec<u8>) -> Result<(), String> {
        let published = self.client.try_publish(topic, QoS::AtLeastOnce, false, payload);
        published.map_err(|error| error.to_string())
    }

    fn sign(&self, audience: &str, name: &str, number: u64, body: &Value) -> Vec<u8> {
        let now = Clock::start().wall().unix.as_millis() / 1000;
        let header = json!({"alg": "EdDSA", "kid": "k"});
        let claims = json!({"aud": audience, "iat": now, "exp": now + 3600, "num": number,
                            "cmd": name, "body": body});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()));
        format!("{message}.{signature}").into_bytes()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(mut event_loop: EventLoop, client: AsyncClient, heard: Arc<Mutex<Heard>>) {
    let mut retry = tokio::time::interval(Duration::from_millis(50));
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                // Each time: a broker that was killed has lost the session.
                for topic in ["event/#", "state", "command-result/+"] {
                    let filter = format!("beacon/v1/{GATEWAY}/{topic}");
                    client.try_subscribe(filter, QoS::AtLeastOnce).ok();
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                if heard.note(&publish.topic, &publish.payload).is_none() {
                    heard.strange.push(publish.topic);
                }
            }
            Ok(_) => {}
            Err(_) => {
                retry.tick().await;
            }
        }
    }
}

impl Heard {
    /// `None` for what is not as the contract says.
    fn note(&mut self, topic: &str, payload: &[u8]) -> Option<()> {
        let document: Value = serde_json::from_slice(payload).ok()?;
        if topic.ends_with("/state") {
            self.state = document;
        } else if topic.contains("/command-result/") {
            self.results.push(document);
        } else {
            let number: u64 = document.get("sequence")?.as_str()?.parse().ok()?;
            let data = document.get("data")?;
            let replayed = document.get("replayed").is_some_and(|replayed| *replayed == true);
            self.replayed += u64::from(replayed);
            if !self.seen.insert(number) {
                self.again += 1;
                return Some(());
            }
            let key = document.get("partitionkey")?.as_str()?;
            let newest = self.newest.entry(key.to_owned()).or_insert(0);
            if self.order_matters && !replayed && number < *newest {
                self.disordered.push(format!("{number} of {key} behind {newest}"));
            }
            *newest = number.max(*newest);
            if topic.ends_with("/gateway/records_dropped") {
                let why = data.get("why")?.as_str()?;
                let told = self.told.entry(why.to_owned()).or_default();
                for range in data.get("ranges")?.as_array()? {
                    let end = |at: usize| range.get(at)?.as_str()?.parse::<u64>().ok();
                    told.extend(end(0)?..=end(1)?);
                }
            }
        }
        Some(())
    }
}

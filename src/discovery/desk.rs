//! What is to be sent next: the latest of every fixture and what the broker answers in, one message after
//! the other out. Pure.
//!
//! What is outdated goes first, then descriptions, then values. A message is sent again only when it
//! differs from the one of its topic that this connection has had answered; a new connection begins with
//! none, since the broker may be another one, or have lost what it kept.
//!
//! A broker says no in its answer, or by closing the connection, or both. Either way the message is put
//! aside, and others go on; after three in a row the room rests.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use super::{
    board::{BATTERY, Latest, Told},
    entity::Entity,
    memory::Memory,
    message::{Names, state},
};
use crate::engine::{Uptime, frame::Kind};

/// A fixture of the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// Its id.
    pub id: String,
    /// The zone it stands in.
    pub zone: Option<String>,
    /// The rules of its alerts.
    pub rules: Vec<String>,
}

/// A retained message; an empty one takes back what was kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

/// The decider.
#[derive(Debug)]
pub(super) struct Desk {
    on: bool,
    names: Names,
    places: BTreeMap<String, Place>,
    memory: Memory,
    latest: Latest,
    /// What this connection has had answered, by the sum of its payload.
    sent: HashMap<String, u64>,
    pending: BTreeMap<(Rank, String), Vec<u8>>,
    waiting: Option<Message>,
    /// What a broker would not take, and until when it is left in peace with that.
    aside: BTreeMap<String, Uptime>,
    /// So many were not taken since one was.
    refused: u32,
    /// Something must be written down before the next message.
    ahead: bool,
    /// Something is to be written down when there is time.
    behind: bool,
    left_out: u64,
}

/// What goes first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Rank {
    Outdated,
    Description,
    Value,
}

/// For how long a broker is left in peace with what it would not take.
pub(super) const REST: Duration = Duration::from_mins(10);

/// After so many refusals in a row nothing else is tried for as long.
const PATIENCE: u32 = 3;

/// How many things of one fixture are shown. The richest sensor in the table tells fewer than 20.
const MOST_ENTITIES: usize = 64;

impl Desk {
    /// Begins with what is remembered. Off, all of it is taken back.
    pub(super) fn new(
        on: bool,
        names: Names,
        places: BTreeMap<String, Place>,
        mut memory: Memory,
    ) -> Self {
        memory.fixtures.retain(|id, _| on && places.contains_key(id));
        for (id, known) in &mut memory.fixtures {
            let rules = places.get(id).map_or(&[][..], |place| &place.rules);
            known.keep_alerts(|alert| alert == BATTERY || rules.iter().any(|rule| rule == alert));
        }
        let mut desk = Self {
            on,
            names,
            places,
            memory,
            latest: Latest::new(),
            sent: HashMap::new(),
            pending: BTreeMap::new(),
            waiting: None,
            aside: BTreeMap::new(),
            refused: 0,
            ahead: false,
            behind: false,
            left_out: 0,
        };
        desk.begin(Uptime::ZERO);
        desk
    }

    /// A connection stands, of which nothing is known.
    pub(super) fn begin(&mut self, now: Uptime) {
        self.aside.retain(|_, until| *until > now);
        self.sent.clear();
        self.pending.clear();
        self.waiting = None;
        let mut wanted = BTreeSet::new();
        if self.on && !self.memory.fixtures.is_empty() {
            let topic = self.names.gateway_topic();
            wanted.insert(topic.clone());
            self.offer(Rank::Description, topic, self.names.gateway_config());
        }
        let ids: Vec<String> = self.memory.fixtures.keys().cloned().collect();
        for id in &ids {
            wanted.extend(self.offer_fixture(id));
        }
        let outdated: Vec<String> = self.memory.topics.difference(&wanted).cloned().collect();
        for topic in outdated {
            self.offer(Rank::Outdated, topic, Vec::new());
        }
    }

    /// Takes in the latest of every fixture.
    pub(super) fn look(&mut self, latest: &Latest) {
        let before = std::mem::replace(&mut self.latest, latest.clone());
        let was_empty = self.memory.fixtures.is_empty();
        for (id, told) in latest {
            if before.get(id).is_some_and(|before| Arc::ptr_eq(before, told)) || !self.on {
                continue;
            }
            let Some(place) = self.places.get(id) else { continue };
            let known = self.memory.fixtures.entry(id.clone()).or_default();
            for entity in entities(place, told) {
                if known.contains(&entity) {
                    continue;
                }
                if known.len() < MOST_ENTITIES {
                    known.insert(entity);
                    self.ahead = true;
                } else {
                    self.left_out += 1;
                }
            }
            if let Some(product) = &told.product {
                self.behind |= known.learn(product);
            }
            self.offer_fixture(id);
        }
        if was_empty && !self.memory.fixtures.is_empty() {
            let (topic, config) = (self.names.gateway_topic(), self.names.gateway_config());
            self.offer(Rank::Description, topic, config);
        }
    }

    /// What is to be written down now: before the next message, or because there is time.
    pub(super) fn poll_memory(&mut self) -> Option<&Memory> {
        let idle = self.pending.is_empty() && self.waiting.is_none();
        if !(self.ahead || self.behind && idle) {
            return None;
        }
        (self.ahead, self.behind) = (false, false);
        Some(&self.memory)
    }

    /// The next message, when the one before was answered.
    pub(super) fn poll(&mut self) -> Option<Message> {
        if self.waiting.is_some() || self.ahead {
            return None;
        }
        let ((_, topic), payload) = self.pending.pop_first()?;
        let message = Message { topic, payload };
        self.waiting = Some(message.clone());
        Some(message)
    }

    /// The broker has the message that waited. Returns which.
    pub(super) fn accepted(&mut self) -> Option<Message> {
        let message = self.waiting.take()?;
        self.refused = 0;
        if message.payload.is_empty() {
            self.behind |= self.memory.topics.remove(&message.topic);
        }
        self.sent.insert(message.topic.clone(), sum(&message.payload));
        Some(message)
    }

    /// The broker will not take the message that waited, or the connection broke of it or beside it.
    /// Returns which.
    pub(super) fn refused(&mut self, now: Uptime) -> Option<Message> {
        let message = self.waiting.take()?;
        self.refused += 1;
        self.aside.insert(message.topic.clone(), now + REST);
        self.pending.retain(|(_, topic), _| *topic != message.topic);
        Some(message)
    }

    /// Whether so much was refused that the broker is to be left in peace.
    pub(super) fn wants_rest(&self) -> bool {
        self.refused >= PATIENCE
    }

    /// The same; after the rest everything is tried again.
    pub(super) fn take_rest(&mut self) -> bool {
        let rests = self.wants_rest();
        if rests {
            self.refused = 0;
            self.aside.clear();
        }
        rests
    }

    /// How many quantities, buttons and alerts were left out since it was asked last.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    /// Offers everything of a fixture; tells its topics.
    fn offer_fixture(&mut self, id: &str) -> Vec<String> {
        let (Some(place), Some(known)) = (self.places.get(id), self.memory.fixtures.get(id)) else {
            return Vec::new();
        };
        let product = known.product();
        let mut messages: Vec<_> = known
            .entities()
            .map(|entity| {
                let config = self.names.config(place, product.as_ref(), &entity);
                (Rank::Description, self.names.config_topic(id, &entity), config)
            })
            .collect();
        let told = self.latest.get(id).map(Arc::as_ref);
        messages.push((Rank::Value, self.names.state_topic(id), state(place, told)));
        let topics = messages.iter().map(|(_, topic, _)| topic.clone()).collect();
        for (rank, topic, payload) in messages {
            self.offer(rank, topic, payload);
        }
        topics
    }

    /// Sends a message when its turn comes, unless the broker has it.
    fn offer(&mut self, rank: Rank, topic: String, payload: Vec<u8>) {
        if rank != Rank::Outdated && self.memory.topics.insert(topic.clone()) {
            self.ahead = true;
        }
        let waits = self.waiting.as_ref().filter(|message| message.topic == topic);
        let has = match waits {
            _ if self.aside.contains_key(&topic) => true,
            Some(message) => message.payload == payload,
            None => self.sent.get(&topic) == Some(&sum(&payload)),
        };
        let key = (rank, topic);
        if has {
            self.pending.remove(&key);
        } else {
            self.pending.insert(key, payload);
        }
    }
}

/// All that there is of a fixture: what it has told, and its alerts.
fn entities<'a>(place: &'a Place, told: &'a Told) -> impl Iterator<Item = Entity> + use<'a> {
    let readings = told.readings.keys().filter(|(quantity, _)| quantity.kind() != Kind::Event);
    let readings = readings.map(|&(quantity, instance)| Entity::Reading(quantity, instance));
    let buttons = told.buttons.iter().copied().map(Entity::Button);
    let alerts = place.rules.iter().chain(told.alerts.keys()).cloned().map(Entity::Alert);
    readings.chain(buttons).chain(alerts)
}

fn sum(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::engine::frame::Quantity;

    fn at(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    fn names(prefix: &str) -> Names {
        let name = |text: &str| text.parse().unwrap();
        Names::new((name("t"), name("s"), name("g")), prefix)
    }

    fn places(ids: &[&str]) -> BTreeMap<String, Place> {
        let place =
            |id: &&str| Place { id: (*id).to_owned(), zone: None, rules: vec!["warm".to_owned()] };
        ids.iter().map(place).map(|place| (place.id.clone(), place)).collect()
    }

    fn told(value: f64) -> Arc<Told> {
        let readings = [((Quantity::TemperatureC, 0), value)].into();
        Arc::new(Told { readings, ..Told::default() })
    }

    fn latest(fixtures: &[(&str, Arc<Told>)]) -> Latest {
        fixtures.iter().map(|(id, told)| ((*id).to_owned(), Arc::clone(told))).collect()
    }

    /// Sends all there is, and tells the topics; those of what was taken back with a `-`.
    fn send_all(desk: &mut Desk) -> Vec<String> {
        let mut sent = Vec::new();
        loop {
            desk.poll_memory();
            let Some(message) = desk.poll() else { return sent };
            assert!(desk.poll().is_none(), "one waits for its answer");
            let removed = if message.payload.is_empty() { "-" } else { "" };
            sent.push(format!("{removed}{}", message.topic));
            desk.accepted().unwrap();
        }
    }

    const STATE: &str = "beacon/v1/t/s/g/state/sensor/fridge";
    const TEMPERATURE: &str = "ha/sensor/s_g_fridge/temperature_c_0/config";
    const WARM: &str = "ha/binary_sensor/s_g_fridge/alert_warm/config";
    const GATEWAY: &str = "ha/binary_sensor/s_g/connection/config";

    #[test]
    fn a_fixture_is_described_once_it_has_told_something_and_then_its_values_alone_are_sent() {
        let mut desk = Desk::new(true, names("ha"), places(&["fridge"]), Memory::default());
        assert_eq!(send_all(&mut desk), [""; 0]);
        desk.look(&latest(&[("fridge", told(4.0))]));
        assert!(desk.poll().is_none(), "it is written down first");
        let topics = desk.poll_memory().unwrap().topics.clone();
        assert_eq!(topics, [STATE, TEMPERATURE, WARM, GATEWAY].map(str::to_owned).into());
        assert_eq!(send_all(&mut desk), [GATEWAY, WARM, TEMPERATURE, STATE]);
        desk.look(&latest(&[("fridge", told(5.0))]));
        assert_eq!(send_all(&mut desk), [STATE]);
        desk.look(&latest(&[("fridge", told(5.0))]));
        assert_eq!(send_all(&mut desk), [""; 0], "the same");
        desk.begin(at(0));
        assert_eq!(send_all(&mut desk), [GATEWAY, WARM, TEMPERATURE, STATE], "another broker");
    }

    #[test]
    fn after_a_restart_what_was_described_is_again_and_its_values_are_not_known() {
        let mut before = Desk::new(true, names("ha"), places(&["fridge"]), Memory::default());
        before.look(&latest(&[("fridge", told(4.0))]));
        send_all(&mut before);
        let mut desk = Desk::new(true, names("ha"), places(&["fridge"]), before.memory.clone());
        let mut messages = Vec::new();
        while let Some(message) = desk.poll() {
            desk.accepted();
            messages.push(message);
        }
        assert_eq!(messages.len(), 4);
        let state: Value = serde_json::from_slice(&messages[3].payload).unwrap();
        assert_eq!(state["heard"], false);
    }

    #[test]
    fn what_is_outdated_is_taken_back_and_remembered_until_then() {
        let mut before =
            Desk::new(true, names("ha"), places(&["fridge", "door"]), Memory::default());
        before.look(&latest(&[("fridge", told(4.0)), ("door", told(20.0))]));
        assert_eq!(send_all(&mut before).len(), 7);
        let memory = before.memory.clone();

        // A fixture is gone from the configuration.
        let mut desk = Desk::new(true, names("ha"), places(&["fridge"]), memory.clone());
        let sent = send_all(&mut desk);
        assert_eq!(
            sent[..3],
            [
                "-beacon/v1/t/s/g/state/sensor/door",
                "-ha/binary_sensor/s_g_door/alert_warm/config",
                "-ha/sensor/s_g_door/temperature_c_0/config",
            ]
        );
        assert_eq!(sent[3..], [GATEWAY, WARM, TEMPERATURE, STATE]);
        assert_eq!(desk.memory.topics.len(), 4);

        // Another prefix.
        let mut desk = Desk::new(true, names("new"), places(&["fridge", "door"]), memory.clone());
        let sent = send_all(&mut desk);
        assert_eq!(sent.iter().filter(|topic| topic.starts_with("-ha/")).count(), 5);
        assert_eq!(sent.iter().filter(|topic| topic.starts_with("new/")).count(), 5);

        // Switched off; the broker does not take everything at first.
        let mut desk = Desk::new(false, names("ha"), places(&["fridge", "door"]), memory);
        desk.look(&latest(&[("fridge", told(9.0))]));
        desk.poll().unwrap();
        desk.refused(at(0));
        let sent = send_all(&mut desk);
        assert!(sent.len() == 6 && sent.iter().all(|topic| topic.starts_with('-')), "{sent:?}");
        assert_eq!(desk.memory.topics.len(), 1, "the one that was refused");
        desk.begin(at(599));
        assert_eq!(send_all(&mut desk), [""; 0], "it is left in peace for a while");
        desk.begin(at(600));
        assert_eq!(send_all(&mut desk).len(), 1);
        assert!(desk.memory.topics.is_empty());
    }

    #[test]
    fn what_a_broker_refuses_is_put_aside_and_after_three_in_a_row_the_room_rests() {
        let mut desk = Desk::new(true, names("ha"), places(&["fridge"]), Memory::default());
        desk.look(&latest(&[("fridge", told(1.0))]));
        desk.poll_memory();
        for refused in [GATEWAY, WARM] {
            assert_eq!(desk.poll().unwrap().topic, refused);
            assert_eq!(desk.refused(at(1)).unwrap().topic, refused);
            assert!(!desk.take_rest());
        }
        // One that is taken shows that not all is refused.
        assert_eq!(send_all(&mut desk), [TEMPERATURE, STATE]);
        desk.begin(at(2));
        assert_eq!(send_all(&mut desk), [TEMPERATURE, STATE]);
        desk.begin(at(700));
        for _ in 0..3 {
            assert!(!desk.take_rest());
            desk.poll().unwrap();
            desk.refused(at(700)).unwrap();
        }
        assert!(desk.refused(at(700)).is_none(), "nothing waited");
        assert!(desk.take_rest() && !desk.take_rest());
        desk.begin(at(701));
        assert_eq!(send_all(&mut desk).len(), 4, "everything is tried again");
    }

    #[test]
    fn a_value_that_changes_while_it_waits_is_sent_as_it_is_last() {
        let mut desk = Desk::new(true, names("ha"), places(&["fridge"]), Memory::default());
        desk.look(&latest(&[("fridge", told(1.0))]));
        send_all(&mut desk);
        desk.look(&latest(&[("fridge", told(2.0))]));
        let first = desk.poll().unwrap();
        desk.look(&latest(&[("fridge", told(3.0))]));
        desk.look(&latest(&[("fridge", told(4.0))]));
        desk.accepted();
        let second = desk.poll().unwrap();
        let value = |message: &Message| -> Value {
            let document: Value = serde_json::from_slice(&message.payload).unwrap();
            document["readings"]["temperature_c_0"].clone()
        };
        assert_eq!((value(&first), value(&second)), (2.0.into(), 4.0.into()));
        desk.accepted();
        assert!(desk.poll().is_none());
    }

    #[test]
    fn a_fixture_that_tells_too_much_is_cut_and_one_that_nobody_listed_is_nothing() {
        let mut desk = Desk::new(true, names("ha"), places(&["fridge"]), Memory::default());
        let readings = (0..100).map(|instance| ((Quantity::TemperatureC, instance), 1.0)).collect();
        let told = Arc::new(Told { readings, ..Told::default() });
        desk.look(&latest(&[("fridge", Arc::clone(&told)), ("other", told)]));
        let sent = send_all(&mut desk);
        assert_eq!(sent.len(), MOST_ENTITIES + 2);
        assert!(sent.iter().all(|topic| !topic.contains("other")));
        // The alert comes last.
        assert_eq!((desk.take_left_out(), desk.take_left_out()), (37, 0));
    }
}

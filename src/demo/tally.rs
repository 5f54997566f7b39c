//! What the subscriber received, counted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::subscriber::Received;

/// Counts events by kind, and tells new ones from those delivered again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    kinds: BTreeMap<String, u64>,
    ids: BTreeSet<String>,
    repeated: u64,
}

impl Tally {
    /// Counts one event; anything else is passed over. The same id is one event, however often it
    /// is delivered.
    pub fn count(&mut self, received: &Received) {
        if !received.is_event() {
            return;
        }
        let event: Value = serde_json::from_slice(&received.payload).unwrap_or_default();
        if let Some(id) = event.get("id").and_then(Value::as_str)
            && !self.ids.insert(id.to_owned())
        {
            self.repeated += 1;
            return;
        }
        let (family, kind) = received.kind().unwrap_or(("event", "unknown"));
        *self.kinds.entry(format!("{family}.{kind}")).or_default() += 1;
    }

    /// How many different events there were, by kind.
    pub fn kinds(&self) -> &BTreeMap<String, u64> {
        &self.kinds
    }

    /// How many different events there were.
    pub fn total(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// How many deliveries repeated an event.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(topic: &str, payload: &str) -> Received {
        Received { topic: topic.to_owned(), payload: payload.into(), retain: false }
    }

    #[test]
    fn an_event_delivered_twice_is_counted_once() {
        let mut tally = Tally::default();
        let event = received("beacon/v1/acme/s1/g1/event/zone/entered", r#"{"id":"s1-g1-1-1"}"#);
        tally.count(&event);
        tally.count(&event);
        tally.count(&received("beacon/v1/acme/s1/g1/event/zone/entered", r#"{"id":"s1-g1-1-2"}"#));
        tally.count(&received("beacon/v1/acme/s1/g1/state", r#"{"id":"s1-g1-1-3"}"#));
        assert_eq!((tally.total(), tally.repeated()), (2, 1));
        assert_eq!(tally.kinds().get("zone.entered"), Some(&2));
    }

    #[test]
    fn an_event_that_cannot_be_read_is_still_one() {
        let mut tally = Tally::default();
        tally.count(&received("beacon/v1/acme/s1/g1/event/zone/exited", "not JSON"));
        tally.count(&received("beacon/v1/acme/s1/g1/event", "[]"));
        assert_eq!(tally.total(), 2);
    }
}

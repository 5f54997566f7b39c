//! Requests, packet identifiers and acknowledgements in; which record may be deleted out. Pure.
//!
//! rumqttc's `publish` does not say which packet identifier it will use (bytebeamio/rumqtt#349).
//! The event loop says so later, in the order of the requests, so a queue is enough to pair them.
//! That holds while one task makes every `QoS` 1 publish of a connection and polls that connection.
//! One value belongs to one connection and is dropped with it: identifiers mean nothing after.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{engine::Uptime, outbox::Sequence};

/// MQTT packet identifier (MQTT 5.0 and 3.1.1, section 2.2.1 and 2.3.1); never 0 for `QoS` 1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PacketId(pub u16);

/// What a `QoS` 1 publish carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parcel {
    /// A record of the outbox.
    Record(Sequence),
    /// A record that was delivered once, and is sent again on order.
    Again(Sequence),
    /// The state document; the outbox knows nothing of it.
    State,
}

/// What awaits an acknowledgement on one connection.
#[derive(Debug, Default)]
pub struct InFlight {
    /// Handed to the client, not yet written. In order.
    requested: VecDeque<Waiting>,
    /// Written, and not yet acknowledged.
    sent: BTreeMap<PacketId, Waiting>,
    /// How many of both are records.
    records: usize,
    /// When the last acknowledgement came, or when waiting began.
    quiet_since: Option<Uptime>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    parcel: Parcel,
    since: Uptime,
}

impl InFlight {
    /// A publish was handed to the client.
    pub fn requested(&mut self, parcel: Parcel, now: Uptime) {
        if self.is_empty() {
            self.quiet_since = Some(now);
        }
        if parcel != Parcel::State {
            self.records += 1;
        }
        self.requested.push_back(Waiting { parcel, since: now });
    }

    /// The event loop wrote a publish with this identifier. Returns what it carried.
    ///
    /// A retransmission carries an identifier already known, and changes nothing: consuming the
    /// next request for it would pair every later identifier with the wrong record.
    pub fn sent(&mut self, packet_id: PacketId) -> Option<Parcel> {
        if self.sent.contains_key(&packet_id) {
            return None;
        }
        let waiting = self.requested.pop_front()?;
        self.sent.insert(packet_id, waiting);
        Some(waiting.parcel)
    }

    /// The broker answered this identifier. Returns what it carried and how long the answer took;
    /// nothing for an identifier that is not in flight, so that a stray answer deletes nothing.
    #[must_use]
    pub fn answered(&mut self, packet_id: PacketId, now: Uptime) -> Option<(Parcel, Duration)> {
        let waiting = self.sent.remove(&packet_id)?;
        if waiting.parcel != Parcel::State {
            self.records = self.records.saturating_sub(1);
        }
        self.quiet_since = (!self.is_empty()).then_some(now);
        Some((waiting.parcel, now.since(waiting.since)))
    }

    /// Everything that awaits an acknowledgement, requested or sent.
    pub fn len(&self) -> usize {
        self.requested.len() + self.sent.len()
    }

    /// Nothing awaits an acknowledgement.
    pub fn is_empty(&self) -> bool {
        self.requested.is_empty() && self.sent.is_empty()
    }

    /// The records among what awaits an acknowledgement, those sent again included.
    pub fn records(&self) -> usize {
        self.records
    }

    /// The records that were written for the first time since they are pending, and await an
    /// acknowledgement.
    pub fn written(&self) -> impl Iterator<Item = Sequence> {
        self.sent.values().filter_map(|waiting| match waiting.parcel {
            Parcel::Record(sequence) => Some(sequence),
            Parcel::Again(_) | Parcel::State => None,
        })
    }

    /// The record in flight when there is exactly one and it was written, so that a fault can be
    /// laid at its door.
    pub fn only_record(&self) -> Option<Sequence> {
        if self.records == 1 { self.written().next() } else { None }
    }

    /// The state document awaits an acknowledgement.
    pub fn holds_state(&self) -> bool {
        self.len() > self.records
    }

    /// The broker has stopped acknowledging: nothing came for `patience` while something waited,
    /// or one publish has been passed over for twice as long while later ones were acknowledged.
    pub fn is_stalled(&self, now: Uptime, patience: Duration) -> bool {
        let quiet = self.quiet_since.is_some_and(|since| now.since(since) >= patience);
        let passed_over = || {
            let mut waiting = self.sent.values().chain(&self.requested);
            waiting.any(|waiting| now.since(waiting.since) >= patience.saturating_mul(2))
        };
        quiet || passed_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    fn record(sequence: u64) -> Parcel {
        Parcel::Record(Sequence(sequence))
    }

    fn answered(in_flight: &mut InFlight, packet_id: u16) -> Option<Parcel> {
        in_flight.answered(PacketId(packet_id), at(1)).map(|(parcel, _)| parcel)
    }

    #[test]
    fn answers_are_joined_to_the_record_they_carried_in_whatever_order_they_come() {
        let mut in_flight = InFlight::default();
        in_flight.requested(record(7), at(0));
        in_flight.requested(record(8), at(0));
        assert_eq!(in_flight.sent(PacketId(1)), Some(record(7)));
        assert_eq!(in_flight.sent(PacketId(2)), Some(record(8)));
        assert_eq!(answered(&mut in_flight, 2), Some(record(8)));
        assert_eq!(answered(&mut in_flight, 1), Some(record(7)));
        assert!(in_flight.is_empty());
    }

    #[test]
    fn a_retransmission_does_not_consume_the_next_record() {
        let mut in_flight = InFlight::default();
        in_flight.requested(record(7), at(0));
        in_flight.sent(PacketId(1));
        in_flight.requested(record(8), at(0));
        assert_eq!(in_flight.sent(PacketId(1)), None);
        assert_eq!(in_flight.sent(PacketId(2)), Some(record(8)));
        assert_eq!(answered(&mut in_flight, 2), Some(record(8)));
    }

    #[test]
    fn an_answer_for_an_identifier_that_is_not_in_flight_deletes_nothing() {
        let mut in_flight = InFlight::default();
        assert_eq!(answered(&mut in_flight, 9), None);
        in_flight.requested(record(7), at(0));
        assert_eq!(answered(&mut in_flight, 1), None, "requested, but not written yet");
        in_flight.sent(PacketId(1));
        assert_eq!(answered(&mut in_flight, 1), Some(record(7)));
        assert_eq!(answered(&mut in_flight, 1), None, "an answer counts once");
    }

    #[test]
    fn a_publish_that_collided_is_paired_when_it_is_written_at_last() {
        // Identifier 1 is unanswered when it comes round again: rumqttc holds the new publish back,
        // takes no further request, and writes it with identifier 1 after the answer.
        let mut in_flight = InFlight::default();
        in_flight.requested(record(7), at(0));
        in_flight.sent(PacketId(1));
        in_flight.requested(record(8), at(0));
        in_flight.requested(record(9), at(0));
        assert_eq!(answered(&mut in_flight, 1), Some(record(7)));
        assert_eq!(in_flight.sent(PacketId(1)), Some(record(8)));
        assert_eq!(in_flight.sent(PacketId(2)), Some(record(9)));
        assert_eq!(answered(&mut in_flight, 1), Some(record(8)));
    }

    #[test]
    fn what_is_left_in_the_event_queue_after_an_error_is_still_paired() {
        let mut in_flight = InFlight::default();
        for sequence in 1..=4 {
            in_flight.requested(record(sequence), at(0));
        }
        in_flight.sent(PacketId(1));
        // The connection broke here; the queue still holds two writes and two answers.
        in_flight.sent(PacketId(2));
        assert_eq!(answered(&mut in_flight, 1), Some(record(1)));
        in_flight.sent(PacketId(3));
        assert_eq!(answered(&mut in_flight, 2), Some(record(2)));
        assert_eq!(in_flight.records(), 2, "3 was written, 4 was not: both must be sent again");
    }

    #[test]
    fn an_unrequested_write_is_ignored() {
        let mut in_flight = InFlight::default();
        assert_eq!(in_flight.sent(PacketId(1)), None);
        assert!(in_flight.is_empty());
    }

    #[test]
    fn the_state_document_takes_a_place_but_is_not_a_record() {
        let mut in_flight = InFlight::default();
        in_flight.requested(Parcel::State, at(0));
        in_flight.requested(record(7), at(0));
        assert_eq!((in_flight.len(), in_flight.records()), (2, 1));
        assert!(in_flight.holds_state());
        in_flight.sent(PacketId(1));
        assert_eq!(in_flight.only_record(), None, "not yet written");
        in_flight.sent(PacketId(2));
        assert_eq!(in_flight.only_record(), Some(Sequence(7)));
        assert_eq!(answered(&mut in_flight, 1), Some(Parcel::State));
        assert!(!in_flight.holds_state());
        in_flight.requested(record(8), at(0));
        assert_eq!(in_flight.only_record(), None, "two are in flight");
    }

    #[test]
    fn silence_is_measured_from_the_last_answer_or_the_first_request() {
        let mut in_flight = InFlight::default();
        assert!(!in_flight.is_stalled(at(1000), PATIENCE), "nothing waits");
        in_flight.requested(record(1), at(100));
        in_flight.requested(record(2), at(120));
        in_flight.sent(PacketId(1));
        assert!(!in_flight.is_stalled(at(129), PATIENCE));
        assert!(in_flight.is_stalled(at(130), PATIENCE));
        let (_, took) = in_flight.answered(PacketId(1), at(129)).unwrap();
        assert_eq!(took, Duration::from_secs(29));
        assert!(!in_flight.is_stalled(at(158), PATIENCE));
        assert!(in_flight.is_stalled(at(159), PATIENCE));
    }

    #[test]
    fn one_publish_passed_over_is_noticed_though_others_are_answered() {
        let mut in_flight = InFlight::default();
        in_flight.requested(record(1), at(0));
        in_flight.sent(PacketId(1));
        for step in 1..=6_u16 {
            let now = at(i64::from(step) * 10);
            in_flight.requested(record(u64::from(step) + 1), now);
            in_flight.sent(PacketId(step + 1));
            assert!(in_flight.answered(PacketId(step + 1), now).is_some());
            assert_eq!(in_flight.is_stalled(now, PATIENCE), step == 6, "after {step} answers");
        }
    }
}

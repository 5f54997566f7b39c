//! What a gateway that makes events tells the other one: changes in, messages' contents out, and the whole
//! picture whenever it is asked for. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::form::{Key, LARGEST, Message};
use crate::engine::{Pseudonym, Uptime};

/// A message is full at this many bytes of content.
const FULL: usize = LARGEST / 8;

/// How many events that the platform may not have are remembered for the other one. More are only there while
/// the platform is away, and then they are safe on the disk.
const MOST_RECORDS: usize = 1024;

/// What happened since the record was handed to the outbox is long enough for it to be in its books.
const SETTLED: Duration = Duration::from_secs(1);

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    visits: BTreeMap<Pseudonym, Kept>,
    /// What is remembered of fixtures, by slot.
    fixtures: BTreeMap<Vec<u8>, Vec<u8>>,
    records: VecDeque<Unsent>,
    number: u64,
    delivered: u64,
    /// Visits of the other one that this one went on with, open or not.
    pub(super) known: BTreeSet<Key>,
}

#[derive(Debug)]
struct Unsent {
    number: u64,
    made: Uptime,
    bytes: Vec<u8>,
}

/// A visit's name, and its checkpoint.
type Kept = (Key, Vec<u8>);

/// What changed at once.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) visits: Vec<(Pseudonym, Option<Kept>)>,
    pub(super) records: Vec<Vec<u8>>,
    /// What is remembered of fixtures, by slot.
    pub(super) fixtures: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        self.visits.is_empty() && self.records.is_empty() && self.fixtures.is_empty()
    }
}

impl Ledger {
    /// Enters a change, and tells it.
    pub(super) fn enter(&mut self, now: Uptime, change: Change) -> Vec<Message> {
        let mut parts = Parts::default();
        // Events first: that a visit is over is told by its last event.
        for bytes in change.records {
            self.number += 1;
            parts.record(self.number, &bytes);
            self.records.push_back(Unsent { number: self.number, made: now, bytes });
            if self.records.len() > MOST_RECORDS {
                self.records.pop_front();
            }
        }
        for (subject, visit) in change.visits {
            parts.visit(&subject, visit.as_ref().map(|(_, value)| value));
            match visit {
                Some(visit) => drop(self.visits.insert(subject, visit)),
                None => drop(self.visits.remove(&subject)),
            }
        }
        for (slot, record) in change.fixtures {
            parts.fixture(&slot, record.as_ref());
            match record {
                Some(record) => drop(self.fixtures.insert(slot, record)),
                None => drop(self.fixtures.remove(&slot)),
            }
        }
        parts.into()
    }

    /// The platform has everything that was made a second ago.
    pub(super) fn all_delivered(&mut self, now: Uptime) {
        while let Some(unsent) = self.records.pop_front_if(|it| now.since(it.made) > SETTLED) {
            self.delivered = unsent.number;
        }
    }

    /// Up to which number the platform has what was told.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Everything.
    pub(super) fn picture(&self) -> Vec<Message> {
        let mut parts = Parts::default();
        for (subject, (_, value)) in &self.visits {
            parts.visit(subject, Some(value));
        }
        for (slot, record) in &self.fixtures {
            parts.fixture(slot, Some(record));
        }
        for unsent in &self.records {
            parts.record(unsent.number, &unsent.bytes);
        }
        let open: BTreeSet<&Key> = self.visits.values().map(|(key, _)| key).collect();
        for key in self.known.iter().filter(|key| !open.contains(key)) {
            parts.closed(key);
        }
        let mut messages: Vec<Message> = parts.into();
        if messages.is_empty() {
            messages.push(Message::default());
        }
        if let Some(first) = messages.first_mut() {
            first.base = true;
        }
        if let Some(last) = messages.last_mut() {
            last.whole = true;
        }
        messages
    }

    /// When open visits were last true.
    pub(super) fn seen<'a>(visits: impl Iterator<Item = (&'a Pseudonym, Uptime)>) -> Vec<Message> {
        let mut parts = Parts::default();
        for (subject, at) in visits {
            parts.seen(subject, at);
        }
        parts.into()
    }

    /// Forgets everything, as the other one goes on. Numbers go on, too.
    pub(super) fn clear(&mut self) {
        self.visits.clear();
        self.fixtures.clear();
        self.records.clear();
        self.known.clear();
        self.delivered = self.number;
    }
}

/// Contents, cut into messages.
#[derive(Default)]
struct Parts {
    parts: Vec<Message>,
    bytes: usize,
}

impl Parts {
    fn visit(&mut self, subject: &Pseudonym, value: Option<&Vec<u8>>) {
        let name = subject.as_str().to_owned();
        let room = name.len() + value.map_or(0, Vec::len) + 8;
        self.part(room).visits.push((name, value.cloned()));
    }

    fn fixture(&mut self, slot: &[u8], record: Option<&Vec<u8>>) {
        let room = slot.len() + record.map_or(0, Vec::len) + 8;
        self.part(room).fixtures.push((slot.to_vec(), record.cloned()));
    }

    fn record(&mut self, number: u64, bytes: &[u8]) {
        self.part(bytes.len() + 16).records.push((number, bytes.to_vec()));
    }

    fn closed(&mut self, key: &Key) {
        self.part(key.gateway.len() + 32).closed.push(key.clone());
    }

    fn seen(&mut self, subject: &Pseudonym, at: Uptime) {
        let name = subject.as_str().to_owned();
        self.part(name.len() + 16).seen.push((name, at.as_micros()));
    }

    /// The message that has room for so much.
    fn part(&mut self, room: usize) -> &mut Message {
        let full = self.bytes.saturating_add(room) > FULL;
        self.bytes = if full { room } else { self.bytes.saturating_add(room) };
        if full || self.parts.is_empty() {
            self.parts.push(Message::default());
        }
        let last = self.parts.len().saturating_sub(1);
        #[expect(clippy::indexing_slicing, reason = "one was pushed if there was none")]
        &mut self.parts[last]
    }
}

impl From<Parts> for Vec<Message> {
    fn from(parts: Parts) -> Self {
        parts.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        Key { gateway: "gw1".to_owned(), visit: (1, 1, number) }
    }

    fn s(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    fn opened(number: u64, bytes: usize) -> Change {
        let subject = Pseudonym::new(&format!("s{number}"));
        Change {
            visits: vec![(subject, Some((key(number), vec![1; bytes])))],
            records: vec![vec![2; bytes]],
            fixtures: vec![(b"fixture/x".to_vec(), Some(vec![3; bytes]))],
        }
    }

    #[test]
    fn a_large_picture_comes_in_parts_of_which_the_first_begins_and_the_last_ends_it() {
        let mut ledger = Ledger::default();
        for number in 0..100 {
            let told = ledger.enter(s(0), opened(number, 1000));
            assert_eq!((told.len(), told[0].records[0].0), (1, number + 1));
        }
        let picture = ledger.picture();
        assert!(picture.len() > 10);
        let marks: Vec<_> = picture.iter().map(|it| (it.base, it.whole)).collect();
        assert_eq!((marks[0], marks[marks.len() - 1]), ((true, false), (false, true)));
        assert!(marks[1..marks.len() - 1].iter().all(|it| *it == (false, false)));
        assert_eq!(picture.iter().map(|it| it.visits.len()).sum::<usize>(), 100);
        assert_eq!(picture.iter().map(|it| it.fixtures.len()).sum::<usize>(), 1, "of one fixture");
        assert_eq!(picture.iter().map(|it| it.records.len()).sum::<usize>(), 100);
        let largest = picture.iter().map(|it| postcard::to_stdvec(it).unwrap().len()).max();
        assert!(largest < Some(LARGEST / 4), "{largest:?}");
        let empty = Ledger::default().picture();
        assert_eq!((empty.len(), empty[0].base, empty[0].whole), (1, true, true));
    }

    #[test]
    fn what_the_platform_has_is_not_told_again_and_a_visit_that_is_over_is_closed() {
        let mut ledger = Ledger::default();
        ledger.known.extend([key(1), key(9)]);
        ledger.enter(s(0), opened(1, 1));
        ledger.enter(s(5), opened(2, 1));
        ledger.all_delivered(s(5));
        assert_eq!(ledger.delivered(), 1, "what was made just now may not be in the books yet");
        let picture = ledger.picture();
        assert_eq!((picture[0].records.len(), picture[0].closed.clone()), (1, vec![key(9)]));
        ledger.clear();
        assert_eq!((ledger.delivered(), ledger.picture()[0].visits.len()), (2, 0));
    }
}

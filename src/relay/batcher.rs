//! Decides what is sent to the lead, and when: who was heard and time in, messages out. Pure: `session.rs`
//! seals and sends them.
//!
//! Promises that no message has more than [`MOST_SIGHTINGS`], that none waits longer than
//! [`TOGETHER`], that there is one at least every [`HEARTBEAT`], and that what waited when the
//! registry changed is not sent.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    Item,
    form::{Batch, MOST_SIGHTINGS, Run, Seen},
    proofs::{Proof, Proofs},
};
use crate::engine::{ClockQuality, ReceiverId, Spotted, Uptime, WallClock};

/// How long a sighting waits for others. A quarter of a second is nothing beside the seconds by which
/// signals are smoothed.
const TOGETHER: Duration = Duration::from_millis(250);

/// A message at least this often, so that silence is noticed: an absence is proven to a second.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What is sent next, and when.
#[derive(Debug)]
pub struct Batcher {
    run: Run,
    radios: BTreeMap<ReceiverId, Radio>,
    ready: VecDeque<Parcel>,
    /// By which registry everything here was made.
    registry: u64,
}

#[derive(Debug)]
struct Radio {
    counter: u64,
    waiting: Vec<Spotted>,
    /// When the first of them came.
    since: Option<Uptime>,
    /// When the last message was made.
    last: Uptime,
    /// What was shown then.
    proof: Proof,
}

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Parcel {
    /// Of which radio.
    pub receiver: ReceiverId,
    /// When it was made.
    pub at: Uptime,
    run: Run,
    counter: u64,
    vouches: bool,
    leaving: bool,
    sightings: Vec<Spotted>,
}

impl Batcher {
    /// Starts at `now` with nothing to say of these radios.
    pub fn new(run: Run, receivers: Vec<ReceiverId>, now: Uptime) -> Self {
        let radio = || Radio {
            counter: 0,
            waiting: Vec::new(),
            since: None,
            last: now,
            proof: Proof::default(),
        };
        let radios = receivers.into_iter().map(|receiver| (receiver, radio())).collect();
        Self { run, radios, ready: VecDeque::new(), registry: 0 }
    }

    /// A radio heard somebody.
    pub fn spotted(&mut self, now: Uptime, item: Item, proofs: &Proofs) {
        self.forget(proofs);
        let Item { receiver, spotted, registry } = item;
        if registry != self.registry {
            return;
        }
        // The receivers are known from the start; nothing comes of another one.
        let Some(radio) = self.radios.get_mut(&receiver) else { return };
        radio.waiting.push(spotted);
        radio.since.get_or_insert(now);
        if radio.waiting.len() >= MOST_SIGHTINGS {
            self.ready.push_back(radio.parcel(self.run, &receiver, now, proofs, false));
        }
    }

    /// When who is enrolled has changed, what waits may be about somebody who no longer is.
    fn forget(&mut self, proofs: &Proofs) {
        let registry = proofs.registry();
        if std::mem::replace(&mut self.registry, registry) == registry {
            return;
        }
        for radio in self.radios.values_mut() {
            radio.waiting.clear();
            radio.since = None;
        }
        for parcel in &mut self.ready {
            parcel.sightings.clear();
        }
    }

    /// Makes what is due at `now`.
    pub fn handle_timeout(&mut self, now: Uptime, proofs: &Proofs) {
        self.forget(proofs);
        for (receiver, radio) in &mut self.radios {
            if radio.due() <= now {
                self.ready.push_back(radio.parcel(self.run, receiver, now, proofs, false));
            }
        }
    }

    /// Says goodbye, with what waits.
    pub fn leave(&mut self, now: Uptime, proofs: &Proofs) {
        self.forget(proofs);
        for (receiver, radio) in &mut self.radios {
            self.ready.push_back(radio.parcel(self.run, receiver, now, proofs, true));
        }
    }

    /// When [`Self::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Uptime> {
        self.radios.values().map(Radio::due).min()
    }

    /// What is to be sent next.
    pub fn poll(&mut self, proofs: &Proofs) -> Option<Parcel> {
        self.forget(proofs);
        self.ready.pop_front()
    }
}

impl Radio {
    fn due(&self) -> Uptime {
        let heartbeat = self.last + HEARTBEAT;
        self.since.map_or(heartbeat, |since| heartbeat.min(since + TOGETHER))
    }

    fn parcel(
        &mut self,
        run: Run,
        receiver: &ReceiverId,
        now: Uptime,
        proofs: &Proofs,
        leaving: bool,
    ) -> Parcel {
        let proof = proofs.of(receiver);
        let vouches = proof.vouches_since(&std::mem::replace(&mut self.proof, proof));
        self.counter = self.counter.saturating_add(1);
        self.since = None;
        self.last = now;
        let mut sightings = std::mem::take(&mut self.waiting);
        sightings.sort_by_key(|spotted| spotted.heard);
        let (receiver, counter) = (receiver.clone(), self.counter);
        Parcel { receiver, at: now, run, counter, vouches, leaving, sightings }
    }
}

impl Parcel {
    /// How many sightings it has.
    pub fn count(&self) -> usize {
        self.sightings.len()
    }

    /// As it is sent, by the wall clock, which may be off by so many microseconds.
    pub fn batch(self, wall: &WallClock, error_us: Option<u64>) -> Batch {
        let Self { at, run, counter, vouches, leaving, sightings, .. } = self;
        let error_us = match wall.quality {
            ClockQuality::Synced => Some(u32::try_from(error_us.unwrap_or(0)).unwrap_or(u32::MAX)),
            ClockQuality::Unsynced => None,
        };
        let seen = |spotted: Spotted| Seen {
            whose: spotted.whose,
            tag: spotted.tag,
            rssi: spotted.rssi,
            age: at.since(spotted.heard),
            wide_window: spotted.wide_window,
        };
        Batch {
            run,
            counter,
            sent_us: wall.unix_at(at).as_millis().saturating_mul(1000),
            error_us,
            vouches,
            leaving,
            sightings: sightings.into_iter().map(seen).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Pseudonym, UnixTime, Whose};

    fn ms(millis: i64) -> Uptime {
        Uptime::from_micros(millis * 1000)
    }

    fn local() -> ReceiverId {
        ReceiverId::new("local")
    }

    fn somebody(heard: Uptime) -> Item {
        let whose = Whose::Subject(Pseudonym::new("m"));
        let spotted = Spotted { whose, tag: 0, rssi: None, heard, wide_window: false };
        Item { receiver: local(), spotted, registry: 0 }
    }

    fn start() -> (Batcher, Proofs) {
        let run = Run { epoch: 1, sequence: 7, mark: 9 };
        (Batcher::new(run, vec![local()], ms(0)), Proofs::new([local()]))
    }

    fn ready(batcher: &mut Batcher, proofs: &Proofs) -> Vec<Parcel> {
        std::iter::from_fn(|| batcher.poll(proofs)).collect()
    }

    #[test]
    fn sightings_wait_for_each_other_a_quarter_of_a_second_and_no_longer() {
        let (mut batcher, proofs) = start();
        proofs.heard(&local());
        batcher.spotted(ms(100), somebody(ms(99)), &proofs);
        batcher.spotted(ms(300), somebody(ms(90)), &proofs);
        assert_eq!(batcher.poll_timeout(), Some(ms(350)));
        batcher.handle_timeout(ms(349), &proofs);
        assert_eq!(ready(&mut batcher, &proofs), []);
        batcher.handle_timeout(ms(360), &proofs);
        let [parcel] = &ready(&mut batcher, &proofs)[..] else { panic!("one message") };
        assert_eq!((parcel.counter, parcel.vouches, parcel.leaving), (1, true, false));
        let heard: Vec<_> = parcel.sightings.iter().map(|it| it.heard).collect();
        assert_eq!(heard, [ms(90), ms(99)], "in the order of time");
        assert_eq!(batcher.poll_timeout(), Some(ms(1360)), "then a heartbeat");
    }

    #[test]
    fn as_many_as_fit_go_at_once() {
        let (mut batcher, proofs) = start();
        for _ in 0..=2 * MOST_SIGHTINGS {
            batcher.spotted(ms(5), somebody(ms(5)), &proofs);
        }
        let sizes: Vec<_> = ready(&mut batcher, &proofs).iter().map(Parcel::count).collect();
        assert_eq!(sizes, [MOST_SIGHTINGS, MOST_SIGHTINGS]);
        assert_eq!(batcher.poll_timeout(), Some(ms(255)), "the last one waits");
    }

    #[test]
    fn silence_is_told_once_a_second_and_vouched_for_only_by_a_radio_that_hears() {
        let (mut batcher, proofs) = start();
        let mut told = Vec::new();
        for second in 1..=4 {
            if second % 2 == 0 {
                proofs.heard(&local());
            }
            batcher.handle_timeout(ms(second * 1000 - 1), &proofs);
            batcher.handle_timeout(ms(second * 1000), &proofs);
            told.extend(ready(&mut batcher, &proofs).iter().map(|it| (it.counter, it.vouches)));
        }
        assert_eq!(told, [(1, false), (2, true), (3, false), (4, true)]);
    }

    #[test]
    fn what_waits_when_the_registry_changes_is_not_sent() {
        let (mut batcher, proofs) = start();
        for _ in 0..MOST_SIGHTINGS + 3 {
            batcher.spotted(ms(5), somebody(ms(5)), &proofs);
        }
        proofs.registry_changed();
        // What was recognised by the registry before is on its way still.
        batcher.spotted(ms(6), somebody(ms(6)), &proofs);
        batcher.handle_timeout(ms(2000), &proofs);
        let parcels = ready(&mut batcher, &proofs);
        assert_eq!(parcels.iter().map(Parcel::count).collect::<Vec<_>>(), [0, 0]);
        assert_eq!(parcels[1].counter, 2, "and no number is left out");
        batcher.spotted(ms(2001), Item { registry: 1, ..somebody(ms(2001)) }, &proofs);
        batcher.handle_timeout(ms(3000), &proofs);
        assert_eq!(ready(&mut batcher, &proofs)[0].count(), 1);
    }

    #[test]
    fn a_goodbye_comes_with_what_waits() {
        let (mut batcher, proofs) = start();
        batcher.spotted(ms(5), somebody(ms(5)), &proofs);
        batcher.leave(ms(6), &proofs);
        let [parcel] = &ready(&mut batcher, &proofs)[..] else { panic!("one message") };
        assert!(parcel.leaving && parcel.count() == 1);
    }

    #[test]
    fn a_message_says_when_it_was_made_and_how_sure_that_is() {
        let (mut batcher, proofs) = start();
        batcher.spotted(ms(100), somebody(ms(40)), &proofs);
        let another = Item { receiver: ReceiverId::new("another"), ..somebody(ms(40)) };
        batcher.spotted(ms(100), another, &proofs);
        batcher.handle_timeout(ms(400), &proofs);
        let parcel = batcher.poll(&proofs).unwrap();
        assert_eq!(batcher.poll(&proofs), None, "of a radio that is not known nothing is told");
        let mut wall = WallClock {
            at: ms(1000),
            unix: UnixTime::from_millis(1_700_000_001_000),
            quality: ClockQuality::Synced,
        };
        let batch = parcel.clone().batch(&wall, Some(1500));
        assert_eq!((batch.sent_us, batch.error_us), (1_700_000_000_400_000, Some(1500)));
        assert_eq!(batch.sightings[0].age, Duration::from_millis(360));
        assert_eq!(parcel.clone().batch(&wall, Some(u64::MAX)).error_us, Some(u32::MAX));
        wall.quality = ClockQuality::Unsynced;
        assert_eq!(parcel.batch(&wall, Some(1500)).error_us, None);
    }
}

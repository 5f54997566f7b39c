//! What is remembered about strangers: that an address was tried, and how many there were.
//!
//! Fingerprints in; neither memory nor a core image gives an address back.

use std::{collections::VecDeque, time::Duration};

use super::{ADDRESS_LIFE, Uptime};

/// Addresses that no key has made, so that the keys need not be tried again.
///
/// Holds 40 bits of a keyed hash of each and no address. Bounded: a newcomer takes the place of
/// whoever was there. A flood can make it forget strangers, which are then tried again within the
/// budget; it is not asked about addresses that are known to be members'. A member's new address
/// is taken for a stranger's when the same 40 bits are there already: with every place taken,
/// once in 2^24 new addresses; a shop with 1,000 members a day and four new addresses of each sees
/// it once in eleven years, for half an hour at most.
#[derive(Debug)]
pub(super) struct StrangerCache {
    /// 24 bits of hash, a mark and 7 bits of era in each; the index is 16 bits more of the hash.
    slots: Box<[u32]>,
    era: u8,
    started: Uptime,
}

/// How many different strangers' resolvable addresses a day brings. Counts only.
#[derive(Clone, Debug, Default)]
pub(super) struct StrangerRate {
    /// Number of the hour since start, and addresses counted in it; at most 24.
    hours: VecDeque<(u64, u32)>,
}

// === impl StrangerCache ===

impl StrangerCache {
    const SLOTS: usize = 1 << 16;
    /// Entries are forgotten after one or two eras.
    const ERA: Duration = ADDRESS_LIFE;
    /// Marks an era's number: the keys have to be tried again.
    const AGAIN: u32 = 0x80;

    pub(super) fn new() -> Self {
        Self { slots: Box::default(), era: 1, started: Uptime::ZERO }
    }

    pub(super) fn contains(&mut self, now: Uptime, fingerprint: u64) -> bool {
        self.age(now);
        let (index, tag) = Self::place(fingerprint);
        self.slots
            .get(index)
            .is_some_and(|slot| slot >> 8 == tag && slot & 0xff != 0 && slot & Self::AGAIN == 0)
    }

    /// Notes that every key was tried. True when the address was not known before.
    pub(super) fn insert(&mut self, now: Uptime, fingerprint: u64) -> bool {
        if self.slots.is_empty() {
            self.slots = vec![0; Self::SLOTS].into();
        }
        self.age(now);
        let (index, tag) = Self::place(fingerprint);
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let before = std::mem::replace(slot, tag << 8 | u32::from(self.era));
        before >> 8 != tag || before == tag << 8
    }

    /// Among the keys is one that was not tried yet: everyone is tried again, and not counted
    /// again.
    pub(super) fn try_again(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| **slot != 0) {
            *slot |= Self::AGAIN;
        }
    }

    /// Forgets what is two eras old.
    fn age(&mut self, now: Uptime) {
        if now.since(self.started) < Self::ERA {
            return;
        }
        let long_gone = now.since(self.started) >= Self::ERA * 2;
        let last = self.era;
        for slot in &mut self.slots {
            if long_gone || *slot & 0x7f != u32::from(last) {
                *slot = 0;
            }
        }
        self.era = if last == 1 { 2 } else { 1 };
        self.started = now;
    }

    const fn place(fingerprint: u64) -> (usize, u32) {
        ((fingerprint & 0xffff) as usize, (fingerprint >> 16 & 0xff_ffff) as u32)
    }
}

// === impl StrangerRate ===

impl StrangerRate {
    const HOUR: u64 = 3600;

    pub(super) fn count(&mut self, now: Uptime) {
        let hour = Self::hour(now);
        match self.hours.back_mut() {
            Some((last, count)) if *last == hour => *count = count.saturating_add(1),
            _ => self.hours.push_back((hour, 1)),
        }
        while self.hours.front().is_some_and(|(first, _)| first + 24 <= hour) {
            self.hours.pop_front();
        }
    }

    /// The last 24 hours' count; in the first 24 hours at least what was assumed beforehand.
    pub(super) fn per_day(&self, now: Uptime, assumed: f64) -> f64 {
        let hour = Self::hour(now);
        let counted: u64 = self
            .hours
            .iter()
            .filter(|(at, _)| at + 24 > hour)
            .map(|&(_, count)| u64::from(count))
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "24 counts of 32 bits fit exactly")]
        let counted = counted as f64;
        if hour < 24 { counted.max(assumed) } else { counted }
    }

    fn hour(now: Uptime) -> u64 {
        now.since(Uptime::ZERO).as_secs() / Self::HOUR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_remembered_for_a_quarter_of_an_hour_and_forgotten_within_half_an_hour() {
        let mut strangers = StrangerCache::new();
        let fingerprint = 0x1234_5678_9abc_def0;
        assert!(!strangers.contains(Uptime::ZERO, fingerprint));
        strangers.insert(Uptime::ZERO, fingerprint);
        assert!(strangers.contains(Uptime::ZERO + ADDRESS_LIFE, fingerprint));
        assert!(!strangers.contains(Uptime::ZERO + ADDRESS_LIFE * 2, fingerprint));
        assert!(strangers.slots.iter().all(|&slot| slot == 0), "no trace is left");
    }

    #[test]
    fn whoever_is_tried_again_is_not_counted_again() {
        let mut strangers = StrangerCache::new();
        assert!(strangers.insert(Uptime::ZERO, 7));
        strangers.try_again();
        assert!(!strangers.contains(Uptime::ZERO, 7));
        assert!(!strangers.insert(Uptime::ZERO, 7));
        assert!(strangers.contains(Uptime::ZERO, 7));
        strangers.try_again();
        assert!(strangers.insert(Uptime::ZERO + ADDRESS_LIFE * 2, 7), "forgotten all the same");
    }

    #[test]
    fn strangers_are_counted_by_the_hour_and_forgotten_after_a_day() {
        let mut rate = StrangerRate::default();
        let hour = |n: u64| Uptime::ZERO + Duration::from_hours(n);
        for n in 0..48 {
            rate.count(hour(n));
            rate.count(hour(n));
        }
        assert!((rate.per_day(hour(47), 0.0) - 48.0).abs() < 1e-9);
        assert!((rate.per_day(hour(60), 0.0) - 22.0).abs() < 1e-9);
        assert!((StrangerRate::default().per_day(hour(2), 20_000.0) - 20_000.0).abs() < 1e-9);
    }
}

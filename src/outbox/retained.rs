//! Which acknowledged records are still to be held, should the platform ask for them again. Pure.
//!
//! Counted from when they were acknowledged, on the monotonic clock, and remembered in memory: what
//! is found acknowledged in a store that was just opened is held as long again.

use std::{collections::VecDeque, time::Duration};

use crate::engine::Uptime;

use super::{Ranges, Sequence};

/// What is acknowledged in one part of the whole time expires together, so that few ranges have to
/// be remembered.
const PARTS: u32 = 64;

/// The records that were acknowledged, by when.
#[derive(Debug)]
pub(super) struct Retained {
    keep: Duration,
    /// Since when records are held, and which: the oldest first.
    recent: VecDeque<(Uptime, Ranges)>,
    /// What has expired and was not removed yet.
    expired: VecDeque<(Sequence, Sequence)>,
    /// When what was found in the store expires; `None` once all of it has gone.
    found: Option<Uptime>,
}

impl Retained {
    /// Holds records for `keep` from now on.
    pub(super) fn new(keep: Duration, now: Uptime) -> Self {
        let (recent, expired) = (VecDeque::new(), VecDeque::new());
        Self { keep, recent, expired, found: Some(now + keep) }
    }

    /// Whether acknowledged records are held at all.
    pub(super) fn holds(&self) -> bool {
        !self.keep.is_zero()
    }

    /// A record was acknowledged.
    pub(super) fn note(&mut self, sequence: Sequence, now: Uptime) {
        let part = self.keep / PARTS;
        match self.recent.back_mut() {
            Some((since, ranges)) if now.since(*since) < part => ranges.add(sequence),
            _ => self.recent.push_back((now, Ranges::from_iter([sequence]))),
        }
    }

    /// Whether a record that is held as acknowledged must still be held.
    pub(super) fn is_recent(&self, sequence: Sequence) -> bool {
        self.recent.iter().any(|(_, ranges)| ranges.contains(sequence))
    }

    /// When something expires.
    pub(super) fn due(&self, now: Uptime) -> Option<Uptime> {
        if !self.expired.is_empty() {
            return Some(now);
        }
        let recent = self.recent.front().map(|(since, _)| self.ends(*since));
        [recent, self.found].into_iter().flatten().min()
    }

    /// Takes at most `most` of what has expired.
    pub(super) fn expired(&mut self, now: Uptime, most: usize) -> Vec<Sequence> {
        while let Some((since, _)) = self.recent.front()
            && self.ends(*since) <= now
        {
            let ranges = self.recent.pop_front().map(|(_, ranges)| ranges).unwrap_or_default();
            self.expired.extend(ranges.iter());
        }
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((first, last)) = self.expired.pop_front()
        {
            taken.push(first);
            if first < last {
                self.expired.push_front((Sequence(first.0 + 1), last));
            }
        }
        taken
    }

    /// Whether what was found acknowledged when the store was opened has expired, and has to be
    /// looked for there.
    pub(super) fn must_search(&self, now: Uptime) -> bool {
        self.found.is_some_and(|found| found <= now)
    }

    /// Nothing more of that was found.
    pub(super) fn searched(&mut self) {
        self.found = None;
    }

    /// A store was opened, perhaps the same one anew.
    pub(super) fn reopened(&mut self, now: Uptime) {
        self.found = Some(now + self.keep);
    }

    /// The numbers are those of another store.
    pub(super) fn forget(&mut self) {
        self.recent.clear();
        self.expired.clear();
    }

    fn ends(&self, since: Uptime) -> Uptime {
        since + self.keep + self.keep / PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn what_was_acknowledged_expires_after_its_time_and_not_before() {
        let mut retained = Retained::new(Duration::from_secs(6400), at(0));
        for n in 1..=5000_u64 {
            retained.note(Sequence(n), at(i64::try_from(n).unwrap()));
        }
        assert!(retained.recent.len() <= 65, "{}", retained.recent.len());
        assert_eq!(retained.due(at(5000)), Some(at(6400)), "what was found");
        retained.searched();
        assert_eq!(retained.due(at(5000)), Some(at(6501)));
        assert_eq!(retained.expired(at(6500), 9), []);
        let gone = retained.expired(at(6501), 60);
        assert_eq!(gone, (1..=60).map(Sequence).collect::<Vec<_>>());
        assert_eq!(retained.due(at(6501)), Some(at(6501)), "there is more");
        assert_eq!(retained.expired(at(6501), 999).len(), 40);
        assert!(!retained.is_recent(Sequence(100)) && retained.is_recent(Sequence(101)));
    }

    #[test]
    fn what_is_found_in_a_store_is_held_as_long_again() {
        let mut retained = Retained::new(Duration::from_hours(1), at(100));
        assert!(!retained.must_search(at(3699)) && retained.must_search(at(3700)));
        retained.searched();
        assert!(!retained.must_search(at(9999)));
        retained.note(Sequence(1), at(9998));
        retained.forget();
        assert!(!retained.is_recent(Sequence(1)));
        retained.reopened(at(9999));
        assert!(!retained.must_search(at(13_598)) && retained.must_search(at(13_599)));
    }
}

//! What was heard since the other gateway's last word, while nothing is made of it: resolved sightings in, and
//! out again for presence once this gateway makes events. Pure, bounded; there is no stranger in it.

use std::collections::VecDeque;

use crate::engine::{Overheard, Uptime, Whose};

/// How many sightings are kept: a crowd of sixty whose tags are heard by three receivers twice a second, for
/// three minutes, which is longer than a broker takes to tell a last will (one and a half keep-alives).
pub(super) const MOST: usize = 65_536;

/// Sightings since the last word, in the order of time.
#[derive(Debug, Default)]
pub(super) struct Gap {
    heard: VecDeque<Overheard>,
    /// How many were dropped for want of room since the last word.
    dropped: u64,
}

impl Gap {
    /// Keeps one; without room for it the oldest goes.
    pub(super) fn push(&mut self, overheard: Overheard) {
        if self.heard.len() >= MOST {
            self.heard.pop_front();
            self.dropped += 1;
        }
        self.heard.push_back(overheard);
    }

    /// The other one has made something of what was heard before.
    pub(super) fn trim(&mut self, before: Uptime) {
        self.dropped = 0;
        while self.heard.front().is_some_and(|it| it.spotted.heard < before) {
            self.heard.pop_front();
        }
    }

    /// Forgets whoever is not one of these any more.
    pub(super) fn retain(&mut self, is_enrolled: impl Fn(&str) -> bool) {
        self.heard.retain(|it| match &it.spotted.whose {
            Whose::Subject(subject) => is_enrolled(subject.as_str()),
            Whose::Fixture { .. } => true,
        });
    }

    /// When the oldest was heard.
    pub(super) fn since(&self) -> Option<Uptime> {
        Some(self.heard.front()?.spotted.heard)
    }

    /// Takes them all, and how many are missing.
    pub(super) fn take(&mut self) -> (Vec<Overheard>, u64) {
        // Several receivers' sightings come a little out of order.
        let mut heard: Vec<Overheard> = std::mem::take(&mut self.heard).into();
        heard.sort_by_key(|it| it.spotted.heard);
        (heard, std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Pseudonym, ReceiverId, Spotted};

    fn heard(millis: i64) -> Overheard {
        let whose = Whose::Subject(Pseudonym::new(if millis % 2 == 0 { "even" } else { "odd" }));
        let heard = Uptime::from_micros(millis * 1000);
        let spotted = Spotted { whose, tag: 0, rssi: None, heard, wide_window: false };
        Overheard { receiver: ReceiverId::new("r"), spotted }
    }

    fn taken(gap: &mut Gap) -> Vec<i64> {
        gap.take().0.iter().map(|it| it.spotted.heard.as_micros() / 1000).collect()
    }

    #[test]
    fn what_was_heard_before_the_last_word_goes_and_the_rest_comes_in_order() {
        let mut gap = Gap::default();
        for at in [1, 2, 5, 4, 7] {
            gap.push(heard(at));
        }
        gap.trim(Uptime::from_micros(2000));
        assert_eq!(gap.since(), Some(Uptime::from_micros(2000)));
        gap.retain(|subject| subject == "odd");
        assert_eq!(taken(&mut gap), [5, 7]);
        assert!(taken(&mut gap).is_empty());
    }

    #[test]
    fn without_room_the_oldest_goes_and_is_counted() {
        let mut gap = Gap::default();
        let most = i64::try_from(MOST).unwrap();
        (0..most + 3).for_each(|at| gap.push(heard(at)));
        let (left, dropped) = gap.take();
        assert_eq!((left.len(), dropped), (MOST, 3));
        assert_eq!(left[0], heard(3));
    }
}

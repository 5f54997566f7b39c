//! Broken connections and the record that was on them in; which records to set aside for a while
//! out. Pure.
//!
//! A broker may answer a publish it dislikes by closing the connection without a word (3.1.1 gives
//! it no other way). The record would then be the oldest of every connection to come, and nothing
//! behind it would ever leave the shop. It may also be innocent, so it is never deleted for this:
//! it becomes a dead letter, others go first, and later it is brought back and tried again.

use std::{collections::BTreeMap, time::Duration};

use crate::{engine::Uptime, outbox::Sequence};

/// So many connections in a row must break with the same single record on them. A bad link does
/// that by chance now and then; a broker that means this record does it always.
const STRIKES: u32 = 8;

/// How long a record stays aside. An administrator may have changed the broker's mind by then.
const ASIDE: Duration = Duration::from_hours(1);

/// How many records may be aside. When there are more it is not about single records: then the
/// oldest is tried for ever, and the outbox's limits decide.
const MOST_ASIDE: usize = 16;

/// Who is suspected.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    current: Option<(Sequence, u32)>,
    aside: BTreeMap<Sequence, Uptime>,
}

impl Suspects {
    /// A connection broke with this one record on it. Returns whether it has been set aside now.
    pub(super) fn broke_with(&mut self, record: Sequence, now: Uptime) -> bool {
        let strikes = match self.current {
            Some((suspect, strikes)) if suspect == record => strikes.saturating_add(1),
            _ => 1,
        };
        let condemned = strikes >= STRIKES && self.aside.len() < MOST_ASIDE;
        self.current = if condemned { None } else { Some((record, strikes)) };
        if condemned {
            self.aside.insert(record, now + ASIDE);
        }
        condemned
    }

    /// This record has left the outbox.
    pub(super) fn forget(&mut self, record: Sequence) {
        self.aside.remove(&record);
        if self.current.is_some_and(|(suspect, _)| suspect == record) {
            self.current = None;
        }
    }

    /// When the first of those aside is to be tried again.
    pub(super) fn next_release(&self) -> Option<Uptime> {
        self.aside.values().min().copied()
    }

    /// Takes those whose time has come.
    pub(super) fn release(&mut self, now: Uptime) -> Vec<Sequence> {
        self.aside.extract_if(.., |_, until| *until <= now).map(|(record, _)| record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(suspects: &mut Suspects, record: u64, times: u32) -> bool {
        (0..times).fold(false, |_, _| suspects.broke_with(Sequence(record), Uptime::ZERO))
    }

    #[test]
    fn a_record_is_set_aside_after_eight_connections_in_a_row_broke_with_it() {
        let mut suspects = Suspects::default();
        assert!(!struck(&mut suspects, 7, 7));
        assert!(struck(&mut suspects, 7, 1));
    }

    #[test]
    fn another_record_in_between_starts_the_count_again() {
        let mut suspects = Suspects::default();
        struck(&mut suspects, 7, 7);
        struck(&mut suspects, 8, 1);
        assert!(!struck(&mut suspects, 7, 7));
        suspects.forget(Sequence(7));
        assert!(!struck(&mut suspects, 7, 7), "it had been acknowledged in between");
    }

    #[test]
    fn what_is_aside_is_tried_again_after_an_hour() {
        let mut suspects = Suspects::default();
        struck(&mut suspects, 7, 8);
        let release = suspects.next_release().unwrap();
        assert_eq!(release, Uptime::ZERO + ASIDE);
        assert_eq!(suspects.release(Uptime::ZERO), []);
        assert_eq!(suspects.release(release), [Sequence(7)]);
        assert_eq!(suspects.next_release(), None);
    }

    #[test]
    fn no_more_than_sixteen_are_set_aside() {
        let mut suspects = Suspects::default();
        for record in 0..16 {
            assert!(struck(&mut suspects, record, 8));
        }
        assert!(!struck(&mut suspects, 16, 100));
        suspects.forget(Sequence(3));
        assert!(struck(&mut suspects, 16, 1), "there is room again");
    }
}

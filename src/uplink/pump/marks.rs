//! How far the outbox was when in; which records are still new out. Pure.
//!
//! New is what became durable within the last minute: after that the platform calls it history
//! anyhow (`uplink.historical_after`). It is about time and not about connections, so that an event
//! does not fall behind a week of backlog because the link broke for a second just then.

use std::{collections::VecDeque, time::Duration};

use crate::{engine::Uptime, outbox::Sequence};

/// How long a record is new.
const NEW_FOR: Duration = Duration::from_mins(1);

/// How often the outbox's progress is written down: it makes 61 marks at the most.
const STEP: Duration = Duration::from_secs(1);

/// When the outbox was how far.
#[derive(Debug, Default)]
pub(in crate::uplink) struct Marks {
    /// In order. All but the first are younger than [`NEW_FOR`].
    marks: VecDeque<(Uptime, Sequence)>,
}

impl Marks {
    /// The outbox has come so far.
    pub(in crate::uplink) fn note(&mut self, now: Uptime, durable: Sequence) {
        if self.marks.back().is_some_and(|(_, last)| *last > durable) {
            // Another store has taken its place.
            self.marks.clear();
        }
        if self.marks.back().is_none_or(|(at, _)| now.since(*at) >= STEP) {
            self.marks.push_back((now, durable));
        }
        while self.marks.get(1).is_some_and(|(at, _)| now.since(*at) >= NEW_FOR) {
            self.marks.pop_front();
        }
    }

    /// Everything up to here is old: it was there a minute ago, or when this began.
    pub(in crate::uplink) fn old(&self) -> Sequence {
        self.marks.front().map_or(Sequence(0), |(_, durable)| *durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn what_was_there_at_the_start_is_old_and_what_comes_is_new_for_a_minute() {
        let mut marks = Marks::default();
        assert_eq!(marks.old(), Sequence(0));
        for second in 0..200_u32 {
            marks.note(at(second.into()), Sequence(1000 + u64::from(second)));
            assert_eq!(marks.old().0, 1000 + u64::from(second.saturating_sub(60)), "at {second}");
            assert!(marks.marks.len() <= 61);
        }
    }

    #[test]
    fn after_a_pause_what_came_in_it_counts_as_new() {
        let mut marks = Marks::default();
        marks.note(at(0), Sequence(10));
        marks.note(at(500), Sequence(20));
        assert_eq!(marks.old(), Sequence(10), "nobody knows when in that time it came");
        marks.note(at(560), Sequence(30));
        assert_eq!(marks.old(), Sequence(20));
    }

    #[test]
    fn a_store_that_begins_again_is_new() {
        let mut marks = Marks::default();
        marks.note(at(0), Sequence(10));
        marks.note(at(5), Sequence(3));
        assert_eq!(marks.old(), Sequence(3));
    }
}

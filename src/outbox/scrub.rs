//! When the files of the store are to be freed of what was erased from it. Pure.
//!
//! The whole store is written anew for it, about four bytes for each byte it holds, so it is not
//! done for each erasure: those of one moment share one, and after one there is a rest. What was
//! erased is gone from the files within [`DELAY`], the longest rest and the time that two scrubs
//! take (one may have begun just before). For 100,000 records waiting that is a minute, for none of
//! them a second.

use std::time::Duration;

use crate::engine::Uptime;

/// Commands come in bursts: after an outage, all withdrawals of that time at once.
const DELAY: Duration = Duration::from_secs(1);

/// The rest is so many times as long as the scrub before it, but no longer than the longest: the
/// card and the processor are there for the shop's events.
const REST: u32 = 10;
const LONGEST_REST: Duration = Duration::from_mins(15);

/// When one failed, because the disk is full as a rule. Not sooner: what sled holds in memory of a
/// failed store is lost to this process.
const AFTER_FAILURE: Duration = Duration::from_hours(12);

/// When to scrub.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// There is a debt, and it is paid from then on.
    due: Option<Uptime>,
    /// The rest of the one before is over by then.
    rested: Uptime,
    /// The one that is under way began then.
    began: Option<Uptime>,
}

impl Schedule {
    /// Takes note of whether there is a debt.
    pub(super) fn note(&mut self, owed: bool, now: Uptime) {
        if !owed {
            self.due = None;
            self.began = None;
        } else if self.due.is_none() {
            self.due = Some(self.rested.max(now + DELAY));
        }
    }

    /// When there is something to do; `None` as long as there is no debt.
    pub(super) fn due(&self) -> Option<Uptime> {
        self.due
    }

    /// A part is being done.
    pub(super) fn begin(&mut self, now: Uptime) {
        self.began.get_or_insert(now);
    }

    /// It is done; says how long it took.
    pub(super) fn done(&mut self, now: Uptime) -> Duration {
        let took = self.began.take().map_or(Duration::ZERO, |began| now.since(began));
        self.rested = now + took.saturating_mul(REST).min(LONGEST_REST);
        self.due = None;
        took
    }

    /// It failed.
    pub(super) fn failed(&mut self, now: Uptime) {
        self.began = None;
        self.rested = now + AFTER_FAILURE;
        self.due = Some(self.rested);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_burst_of_erasures_shares_one_scrub_a_second_after_the_first() {
        let mut schedule = Schedule::default();
        schedule.note(false, at(99));
        assert_eq!(schedule.due(), None);
        schedule.note(true, at(100));
        schedule.note(true, at(101));
        assert_eq!(schedule.due(), Some(at(101)));
    }

    #[test]
    fn after_a_long_scrub_comes_a_longer_rest_but_never_more_than_a_quarter_of_an_hour() {
        let mut schedule = Schedule::default();
        schedule.note(true, at(0));
        schedule.begin(at(1));
        schedule.begin(at(4));
        assert_eq!(schedule.done(at(7)), Duration::from_secs(6));
        schedule.note(true, at(8));
        assert_eq!(schedule.due(), Some(at(67)));
        schedule.begin(at(67));
        schedule.done(at(667));
        schedule.note(true, at(668));
        assert_eq!(schedule.due(), Some(at(667 + 900)));
        schedule.begin(at(1567));
        schedule.done(at(1567));
        schedule.note(true, at(9000));
        assert_eq!(schedule.due(), Some(at(9001)), "the rest is long over");
    }

    #[test]
    fn after_a_failure_there_is_half_a_day_of_peace() {
        let mut schedule = Schedule::default();
        schedule.note(true, at(0));
        schedule.begin(at(1));
        schedule.failed(at(2));
        schedule.note(true, at(3));
        assert_eq!(schedule.due(), Some(at(2 + 12 * 3600)));
        schedule.note(false, at(4));
        assert_eq!(schedule.due(), None, "the store became empty, and small");
    }
}

//! How many keys may be tried: the passing of time in, checks out.
//!
//! A flood of made-up addresses costs the gateway no more than its operator allows, and what is
//! left over is not saved up for longer than a tenth of a second.

use std::time::Duration;

use super::Uptime;

/// A check is one key tried against one address. Counted in millionths, because time is in
/// microseconds.
const CHECK: u64 = 1_000_000;

/// The allowance that is saved up at most.
const DEPTH: Duration = Duration::from_millis(100);

/// The part of it that only what cannot wait may touch: a quarter.
const KEPT_BACK: u64 = 4;

/// One call does at most this much of a second's checks: at a fifth of a core, two thirds of a
/// millisecond of work, after which the next advertisement has its turn.
const SLICES_A_SECOND: u64 = 300;

/// Smaller slices would cost more in calls than in checks; larger ones would be noticed.
const SLICE: std::ops::RangeInclusive<u64> = 256..=65_536;

/// Fewer checks a second than this make no sense: a tenth of a second has to hold a slice.
const LEAST: u64 = 10_000;

/// What is left of the allowance.
#[derive(Debug)]
pub(super) struct Budget {
    /// Checks a second, which is also millionths of checks a microsecond.
    rate: u64,
    left: u64,
    /// When it was last topped up.
    at: Option<Uptime>,
}

// === impl Budget ===

impl Budget {
    pub(super) fn new(checks_per_second: u32) -> Self {
        let rate = u64::from(checks_per_second).max(LEAST);
        let mut budget = Self { rate, left: 0, at: None };
        budget.left = budget.depth();
        budget
    }

    /// How many checks one call may make.
    pub(super) fn slice(&self) -> usize {
        let slice = (self.rate / SLICES_A_SECOND).clamp(*SLICE.start(), *SLICE.end());
        usize::try_from(slice).unwrap_or(usize::MAX)
    }

    /// How many checks a second there are.
    pub(super) fn per_second(&self) -> usize {
        usize::try_from(self.rate).unwrap_or(usize::MAX)
    }

    /// Time has passed.
    pub(super) fn top_up(&mut self, now: Uptime) {
        let elapsed = self.at.map_or(DEPTH, |at| now.since(at)).min(DEPTH);
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.left = self.left.saturating_add(micros.saturating_mul(self.rate)).min(self.depth());
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
    }

    /// Spends checks on what cannot wait. False when there are not enough.
    pub(super) fn spend(&mut self, checks: usize) -> bool {
        self.spend_above(checks, 0)
    }

    /// Spends checks on what can wait. False when there are not enough.
    pub(super) fn spend_spare(&mut self, checks: usize) -> bool {
        self.spend_above(checks, self.depth() / KEPT_BACK)
    }

    /// When so many checks may be spent on what can wait, if nothing else is spent until then.
    pub(super) fn spare_at(&self, checks: usize) -> Uptime {
        let wanted = cost(checks).saturating_add(self.depth() / KEPT_BACK);
        let missing = wanted.saturating_sub(self.left);
        let at = self.at.unwrap_or_default();
        at + Duration::from_micros(missing.div_ceil(self.rate))
    }

    fn spend_above(&mut self, checks: usize, floor: u64) -> bool {
        let rest = self.left.checked_sub(cost(checks)).filter(|rest| *rest >= floor);
        if let Some(rest) = rest {
            self.left = rest;
        }
        rest.is_some()
    }

    fn depth(&self) -> u64 {
        let micros = u64::try_from(DEPTH.as_micros()).unwrap_or(u64::MAX);
        self.rate.saturating_mul(micros)
    }
}

fn cost(checks: usize) -> u64 {
    u64::try_from(checks).unwrap_or(u64::MAX).saturating_mul(CHECK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_checks_than_it_may_and_a_busy_one_has_nearly_as_many() {
        let mut budget = Budget::new(600_000);
        let mut spent = 0;
        // Asked every 100 µs for ten seconds, after a tenth of a second was saved up.
        for step in 0..100_000 {
            budget.top_up(Uptime::from_micros(step * 100));
            while budget.spend_spare(budget.slice()) {
                spent += budget.slice();
            }
        }
        assert!((5_990_000..=6_060_000).contains(&spent), "{spent}");
    }

    #[test]
    fn what_can_wait_leaves_something_for_what_cannot() {
        let mut budget = Budget::new(600_000);
        budget.top_up(Uptime::ZERO);
        while budget.spend_spare(1000) {}
        assert!(budget.spend(15_000), "a quarter of a tenth of a second");
        assert!(!budget.spend(1));
    }

    #[test]
    fn the_promised_moment_is_when_there_is_enough_and_not_before() {
        let mut budget = Budget::new(600_000);
        budget.top_up(Uptime::ZERO);
        while budget.spend(1) {}
        let at = budget.spare_at(2000);
        budget.top_up(at - Duration::from_micros(1));
        assert!(!budget.spend_spare(2000));
        budget.top_up(at);
        assert!(budget.spend_spare(2000));
    }

    #[test]
    fn time_that_stands_still_or_goes_back_gives_nothing() {
        let mut budget = Budget::new(600_000);
        budget.top_up(Uptime::from_micros(1_000_000));
        while budget.spend(100) {}
        budget.top_up(Uptime::ZERO);
        budget.top_up(Uptime::from_micros(1_000_000));
        assert!(!budget.spend(100));
    }

    #[test]
    fn the_least_and_the_largest_allowance_hold_a_slice() {
        for rate in [0, 10_000, 600_000, u32::MAX] {
            let mut budget = Budget::new(rate);
            assert!(budget.spend_spare(budget.slice()), "{rate}");
        }
    }
}

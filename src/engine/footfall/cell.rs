//! One zone's counts in one bin. Marks in, figures out that may be told.

use std::time::Duration;

use super::{
    ROUNDED_TO,
    salt::Mark,
    sketch::{Sketch, Tally},
};
use crate::engine::Uptime;

/// A zone within the present bin.
#[derive(Debug)]
pub(super) struct Cell {
    minute: Sketch,
    /// All minutes before the present one.
    bin: Sketch,
    busiest: Tally,
    deafness: Deafness,
}

/// For how long a receiver of the zone could not hear.
#[derive(Clone, Copy, Debug)]
struct Deafness {
    since: Option<Uptime>,
    /// Deafness before this is accounted for.
    until: Uptime,
    total: Duration,
}

/// What a bin has come to.
pub(super) struct Told {
    pub(super) addresses: Tally,
    pub(super) busiest_minute: Tally,
    pub(super) deaf: Duration,
}

// === impl Cell ===

impl Default for Cell {
    fn default() -> Self {
        Self {
            minute: Sketch::new(),
            bin: Sketch::new(),
            busiest: Tally::default(),
            deafness: Deafness {
                since: None,
                until: Uptime::from_micros(i64::MIN),
                total: Duration::ZERO,
            },
        }
    }
}

impl Cell {
    pub(super) fn add(&mut self, mark: Mark) {
        self.minute.add(mark);
    }

    /// A minute is over.
    pub(super) fn end_minute(&mut self) {
        let tally = self.minute.tally();
        if tally.estimate > self.busiest.estimate {
            self.busiest = tally;
        }
        self.bin.join(&self.minute);
        self.minute.clear();
    }

    /// Whether a receiver of the zone is deaf, from a moment on.
    pub(super) fn set_deaf(&mut self, is_deaf: bool, at: Uptime) {
        let deafness = &mut self.deafness;
        match (deafness.since, is_deaf) {
            (None, true) => deafness.since = Some(at.max(deafness.until)),
            (Some(_), false) => {
                deafness.account(at);
                deafness.since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// The bin is over. Tells what it came to, and forgets it.
    pub(super) fn close(&mut self, began: Uptime, at: Uptime) -> Told {
        self.end_minute();
        let addresses = self.bin.tally();
        self.bin.clear();
        let deafness = &mut self.deafness;
        // A receiver is called deaf after a while, and from when it was last heard: perhaps since
        // before this bin.
        deafness.since = deafness.since.map(|since| since.max(began));
        deafness.account(at);
        let deaf = std::mem::take(&mut deafness.total);
        Told { addresses, busiest_minute: std::mem::take(&mut self.busiest), deaf }
    }
}

impl Deafness {
    /// Adds what has passed since it began, up to a moment from which it goes on.
    fn account(&mut self, at: Uptime) {
        if let Some(since) = self.since {
            self.total += at.since(since);
            self.since = Some(at);
        }
        self.until = self.until.max(at);
    }
}

// === impl Tally ===

impl Tally {
    /// The figure as it may be told: nothing below `k`, and rounded.
    ///
    /// No register is touched without a device, so `k` touched registers are `k` devices for
    /// certain, whatever the estimate.
    pub(super) fn figure(self, k: u32) -> Option<u32> {
        if u32::try_from(self.touched).unwrap_or(u32::MAX) < k {
            return None;
        }
        let step = f64::from(ROUNDED_TO);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the estimate is positive, and no shop holds four thousand million devices"
        )]
        let steps = (self.estimate / step).round() as u32;
        Some(steps.saturating_mul(ROUNDED_TO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    fn figure(touched: usize, estimate: f64, k: u32) -> Option<u32> {
        Tally { touched, estimate }.figure(k)
    }

    #[test]
    fn a_figure_below_k_is_not_told_whatever_the_estimate() {
        assert_eq!(figure(0, 0.0, 10), None);
        assert_eq!(figure(9, 9.01, 10), None);
        assert_eq!(figure(9, 500.0, 10), None);
        assert_eq!(figure(10, 10.01, 10), Some(10));
        assert_eq!(figure(20, 20.0, 25), None);
    }

    #[test]
    fn a_figure_is_rounded_to_five() {
        let told = [12.4, 12.6, 17.4, 17.6, 102.0, 103.0].map(|estimate| figure(12, estimate, 10));
        assert_eq!(told, [10, 15, 15, 20, 100, 105].map(Some));
        assert_eq!(figure(4096, f64::MAX, 10), Some(u32::MAX));
    }

    #[test]
    fn deafness_is_told_once_wherever_it_begins_and_ends() {
        let mut cell = Cell::default();
        let mut deaf = |began: i64, ends: i64, changes: &[(bool, i64)]| {
            for &(is_deaf, at) in changes {
                cell.set_deaf(is_deaf, s(at));
            }
            cell.close(s(began), s(ends)).deaf.as_secs()
        };
        assert_eq!(deaf(0, 100, &[]), 0);
        assert_eq!(deaf(100, 200, &[(true, 120), (true, 125), (false, 150), (false, 160)]), 30);
        assert_eq!(deaf(200, 300, &[(true, 190)]), 100, "from the beginning, and it goes on");
        assert_eq!(deaf(300, 400, &[]), 100);
        assert_eq!(deaf(400, 500, &[(false, 410), (true, 405), (false, 420)]), 20, "overlapping");
    }
}

//! Failures in, delays out. Pure: chance is handed in, so a test can choose it.

use std::time::Duration;

/// How long to wait before the next attempt: doubling from `min` to `max`, half of it jittered so
/// that a thousand gateways do not return to a restarted broker in the same instant.
///
/// Half, not all: whom an outage has already scattered (see `route.rs`) all of it would scatter no
/// further, and the last would be back twice as late: simulated, of 1,000 gateways after an outage
/// of 5 seconds, 29 s instead of 16 s later, with 150 connects a second at most instead of some 115.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts without a failure. A `max` under `min` counts as `min`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), failures: 0 }
    }

    /// Counts a failure and says how long to wait: between half and the whole of the doubled
    /// delay, as `chance` (0 to 1, what lies outside is clamped) decides.
    pub fn failed(&mut self, chance: f64) -> Duration {
        let factor = 2_u32.checked_pow(self.failures).unwrap_or(u32::MAX);
        let whole = self.min.saturating_mul(factor).min(self.max);
        self.failures = self.failures.saturating_add(1);
        between(whole / 2, whole, chance)
    }

    /// The next failure's bound is at least this: so many fail at the same time that short waits
    /// would only gather them again.
    pub fn at_least(&mut self, bound: Duration) {
        let reached = |failures: u32| {
            let factor = 2_u32.checked_pow(failures).unwrap_or(u32::MAX);
            self.min.saturating_mul(factor) >= bound.min(self.max)
        };
        // Thirty-two doublings reach any bound, unless there is nothing to double.
        let enough = (self.failures..32).find(|failures| reached(*failures));
        self.failures = enough.unwrap_or(self.failures);
    }

    /// A wait without regard to what failed: between half the least and the least.
    pub fn shortest(&self, chance: f64) -> Duration {
        between(self.min / 2, self.min, chance)
    }

    /// A wait for somebody to do something: between half the longest and the longest.
    pub fn longest(&self, chance: f64) -> Duration {
        between(self.max / 2, self.max, chance)
    }

    /// What was attempted has proved itself: the next failure counts as the first again.
    pub fn proved(&mut self) {
        self.failures = 0;
    }

    /// How often in a row it failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// A moment between these two.
pub(super) fn between(least: Duration, most: Duration, chance: f64) -> Duration {
    let chance = if chance.is_nan() { 1.0 } else { chance.clamp(0.0, 1.0) };
    least + most.saturating_sub(least).mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_mins(2);

    #[test]
    fn delays_double_up_to_the_maximum_and_stay_there() {
        let mut backoff = Backoff::new(MIN, MAX);
        let seconds: Vec<u64> = (0..9).map(|_| backoff.failed(1.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        for _ in 0..100 {
            assert_eq!(backoff.failed(1.0), MAX, "the exponent must not overflow");
        }
    }

    #[test]
    fn chance_moves_a_delay_between_its_half_and_its_whole() {
        for (chance, millis) in
            [(0.0, 500), (0.5, 750), (1.0, 1000), (-3.0, 500), (7.0, 1000), (f64::NAN, 1000)]
        {
            let mut backoff = Backoff::new(MIN, MAX);
            let expected = Duration::from_millis(millis);
            assert_eq!(backoff.failed(chance), expected, "chance {chance}");
            assert_eq!(backoff.failed(chance), expected * 2, "chance {chance}");
            assert_eq!(backoff.shortest(chance), expected);
            assert_eq!(backoff.longest(chance), expected * 120);
        }
    }

    #[test]
    fn only_a_proof_brings_the_first_delay_back() {
        let mut backoff = Backoff::new(MIN, MAX);
        backoff.failed(1.0);
        backoff.failed(1.0);
        assert_eq!(backoff.failed(1.0), Duration::from_secs(4));
        assert_eq!(backoff.failures(), 3);
        backoff.proved();
        assert_eq!(backoff.failures(), 0);
        assert_eq!(backoff.failed(1.0), MIN);
    }

    #[test]
    fn a_bound_is_skipped_to_and_never_back_from() {
        let mut backoff = Backoff::new(MIN, MAX);
        backoff.at_least(Duration::from_secs(10));
        assert_eq!(backoff.failed(1.0), Duration::from_secs(16));
        backoff.at_least(Duration::from_secs(10));
        assert_eq!(backoff.failed(1.0), Duration::from_secs(32));
        backoff.at_least(Duration::MAX);
        assert_eq!(backoff.failed(1.0), MAX);
        let mut nothing = Backoff::new(Duration::ZERO, Duration::ZERO);
        nothing.at_least(MAX);
        assert_eq!(nothing.failed(1.0), Duration::ZERO);
    }

    #[test]
    fn a_maximum_under_the_minimum_counts_as_the_minimum() {
        let mut backoff = Backoff::new(MAX, MIN);
        assert_eq!(backoff.failed(1.0), MAX);
        assert_eq!(backoff.failed(1.0), MAX);
    }
}

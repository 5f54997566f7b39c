//! Failures in, delays out. Pure: chance is handed in, so a test can choose it.

use std::time::Duration;

/// How long to wait before the next attempt: doubling from `min` to `max`, half of it jittered so
/// that a thousand gateways do not return to a restarted broker in the same instant.
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
        let half = whole / 2;
        let chance = if chance.is_nan() { 1.0 } else { chance.clamp(0.0, 1.0) };
        half + whole.saturating_sub(half).mul_f64(chance)
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
            let delay = Backoff::new(MIN, MAX).failed(chance);
            assert_eq!(delay, Duration::from_millis(millis), "chance {chance}");
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
    fn a_maximum_under_the_minimum_counts_as_the_minimum() {
        let mut backoff = Backoff::new(MAX, MIN);
        assert_eq!(backoff.failed(1.0), MAX);
        assert_eq!(backoff.failed(1.0), MAX);
    }
}

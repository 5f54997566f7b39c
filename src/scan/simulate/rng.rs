//! What a shop draws from [`chance`]: a seed in, the same numbers out on every run.

use std::{f64::consts::TAU, ops::RangeInclusive, time::Duration};

use crate::chance;

/// What is drawn for a shop: places, times, strengths, octets.
#[derive(Clone, Debug)]
pub(super) struct Rng(chance::Rng);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(chance::Rng::new(seed))
    }

    /// An independent source: what is drawn from it does not shift what is drawn from this one.
    pub(super) fn fork(&mut self) -> Self {
        Self::new(self.0.bits())
    }

    /// Uniform in 0 (included) to 1 (excluded), in steps of 2^-32.
    pub(super) fn unit(&mut self) -> f64 {
        self.0.unit()
    }

    /// Uniform between two numbers.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.unit() * (high - low)
    }

    /// Uniform in 0 to `bound - 1`; 0 when there is nothing to choose from.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.below(u64::try_from(bound).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    /// True with the given probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Normally distributed with mean 0 and standard deviation 1 (Box and Muller, 1958).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// Uniform between two durations; their order does not matter.
    pub(super) fn duration(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let (low, high) = (*range.start().min(range.end()), *range.start().max(range.end()));
        low + high.saturating_sub(low).mul_f64(self.unit())
    }

    /// Random octets.
    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.0.bits().to_le_bytes();
            for (octet, drawn) in chunk.iter_mut().zip(drawn) {
                *octet = drawn;
            }
        }
        bytes
    }

    /// Changes the order at random (Fisher and Yates).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_numbers_are_normal() {
        let mut rng = Rng::new(1);
        let drawn: Vec<f64> = (0..20_000).map(|_| rng.normal()).collect();
        let mean = drawn.iter().sum::<f64>() / 20_000.0;
        let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        let tail = drawn.iter().filter(|x| 1.96 < x.abs()).count();
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        assert!((800..1200).contains(&tail), "{tail} of 20000 beyond 1.96; 1000 were expected");
    }

    #[test]
    fn a_fork_does_not_shift_its_parent() {
        let (mut one, mut two) = (Rng::new(7), Rng::new(7));
        let mut child = one.fork();
        two.fork();
        for _ in 0..10 {
            child.unit();
        }
        assert_eq!(one.bytes::<16>(), two.bytes::<16>());
        assert_ne!(child.bytes::<16>(), two.bytes::<16>());
    }
}

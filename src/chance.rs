//! Chance from a seed: a number in, the same sequence out on every machine and in every version.
//!
//! Made-up shops are built from it, those of `simulate` and of evaluation as those of tests, and what
//! is documented about them holds because the sequence of a seed never changes. The sums of the
//! outbox's store depend on it, too. Where that does not matter, `fastrand` is used. Far too weak for keys, salts and whatever else protects anything.

use std::f32::consts::TAU;

/// `SplitMix64` (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// What the state grows by: 2^64 over the golden ratio, made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// A source whose state begins at the seed, as in the paper.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A source for seeds that are counted: those of neighbours begin far from each other.
    pub const fn scattered(seed: u64) -> Self {
        Self(seed.wrapping_mul(STEP) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0 to `bound - 1`; 0 when there is nothing to choose from.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound.max(1)
    }

    /// Uniform in 0 (included) to 1 (excluded), in steps of 2^-32.
    pub fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.bits() >> 32).unwrap_or(0)) / 4_294_967_296.0
    }

    /// Uniform in 0 (included) to 1 (excluded), in steps of 2^-16.
    pub fn unit_f32(&mut self) -> f32 {
        f32::from(u16::try_from(self.bits() >> 48).unwrap_or(0)) / 65_536.0
    }

    /// Uniform between two numbers, in 2^16 steps.
    pub fn between_f32(&mut self, low: f32, high: f32) -> f32 {
        low + self.unit_f32() * (high - low)
    }

    /// Normally distributed with mean 0 and standard deviation 1 (Box and Muller, 1958).
    pub fn normal_f32(&mut self) -> f32 {
        (-2.0 * (1.0 - self.unit_f32()).ln()).sqrt() * (TAU * self.unit_f32()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_published_generator() {
        // The first numbers of the seed 1234567, as implementations of SplitMix64 agree on them.
        let mut rng = Rng::new(1_234_567);
        let drawn = [rng.bits(), rng.bits(), rng.bits()];
        assert_eq!(
            drawn,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn nothing_to_choose_from_is_nothing() {
        assert_eq!(Rng::new(1).below(0), 0);
    }
}

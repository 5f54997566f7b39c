//! How many different devices there were, without knowing any: `HyperLogLog`.
//!
//! Marks in, an estimate of how many differ out. Source: Flajolet, Fusy, Gandouet and Meunier,
//! 2007 (`HyperLogLog`), with 64-bit hashes (Heule, Nunkesser and Hall, 2013) and the estimator of
//! Ertl, "New cardinality estimation algorithms for `HyperLogLog` sketches", 2017, algorithm 6, which
//! is unbiased from zero up and needs no tables of corrections.

use super::salt::Mark;

/// 2^12 registers of one octet: 4 KiB. The standard error is 1.04 / sqrt(4096) = 1.6 % of a crowd,
/// and 1.1 % of up to a thousand; below 450 devices that is less than the rounding to 5 takes.
const BITS: u32 = 12;
const REGISTERS: usize = 1 << BITS;

/// A mark's remaining bits; a register holds 0 to this and one more.
const REST: usize = 64 - BITS as usize;

/// A set of marks that can be counted and joined, and nothing else: no mark can be had from it.
pub(super) struct Sketch {
    registers: Box<[u8; REGISTERS]>,
}

/// How many different marks there were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// How many registers were touched: never more than there were different marks.
    pub(super) touched: usize,
    /// The estimate.
    pub(super) estimate: f64,
}

impl Sketch {
    pub(super) fn new() -> Self {
        Self { registers: Box::new([0; REGISTERS]) }
    }

    /// Takes in a mark. The same one again changes nothing.
    pub(super) fn add(&mut self, mark: Mark) {
        let bits = mark.spend();
        // The first bits choose the register, the others how rare the mark is.
        let chosen = usize::try_from(bits >> REST).unwrap_or_default();
        let rarity = ((bits << BITS).leading_zeros() as usize).min(REST) + 1;
        if let Some(register) = self.registers.get_mut(chosen) {
            *register = (*register).max(u8::try_from(rarity).unwrap_or(u8::MAX));
        }
    }

    /// Takes in all that another one did.
    pub(super) fn join(&mut self, other: &Self) {
        for (register, other) in self.registers.iter_mut().zip(other.registers.iter()) {
            *register = (*register).max(*other);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.registers.fill(0);
    }

    /// How many different marks were taken in.
    pub(super) fn tally(&self) -> Tally {
        let mut holding = [0_u32; REST + 2];
        for register in self.registers.iter() {
            if let Some(count) = holding.get_mut(usize::from(*register)) {
                *count += 1;
            }
        }
        let [untouched, middle @ .., full] = holding;
        let all = f64::from(1_u32 << BITS);
        let mut z = all * tau(1.0 - f64::from(full) / all);
        for count in middle.iter().rev() {
            z = 0.5 * (z + f64::from(*count));
        }
        z += all * sigma(f64::from(untouched) / all);
        Tally {
            touched: REGISTERS - usize::try_from(untouched).unwrap_or(REGISTERS),
            estimate: all * all / (2.0 * std::f64::consts::LN_2 * z),
        }
    }
}

/// Shows only how many there are.
impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sketch").finish_non_exhaustive()
    }
}

/// x + x^2 + 2 x^4 + 4 x^8 + …, as far as it changes anything; infinite at 1.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut sum, mut weight) = (x, 1.0);
    loop {
        x *= x;
        let before = sum;
        sum += x * weight;
        weight *= 2.0;
        // It grows until it no longer does; written so that it ends whatever the input.
        if sum <= before || !sum.is_finite() {
            return sum;
        }
    }
}

/// A third of 1 - x - (1 - x^(1/2))^2 / 2 - (1 - x^(1/4))^2 / 4 - …
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut sum, mut weight) = (1.0 - x, 1.0);
    loop {
        x = x.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - x).powi(2) * weight;
        if sum >= before || !sum.is_finite() {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::salt::{FootfallSeed, Salt, mark_of},
        *,
    };

    fn sketch(salt: &Salt, devices: impl Iterator<Item = u32>) -> Sketch {
        let mut sketch = Sketch::new();
        devices.for_each(|device| sketch.add(mark_of(salt, device)));
        sketch
    }

    /// The mean and the standard deviation of the relative error over so many salts.
    fn error(count: u32, salts: u32) -> (f64, f64) {
        let mut salt = Salt::new(FootfallSeed::new([1; 16]));
        let errors: Vec<f64> = (0..salts)
            .map(|_| {
                salt.turn();
                let estimate = sketch(&salt, 0..count).tally().estimate;
                estimate / f64::from(count) - 1.0
            })
            .collect();
        let mean = errors.iter().sum::<f64>() / f64::from(salts);
        let squares = errors.iter().map(|error| (error - mean).powi(2)).sum::<f64>();
        (mean, (squares / f64::from(salts - 1)).sqrt())
    }

    #[test]
    fn the_estimate_is_unbiased_and_as_precise_as_it_claims_from_ten_to_twenty_thousand() {
        for (count, salts, claimed) in [
            (10, 60, 0.016),
            (100, 60, 0.012),
            (1000, 60, 0.012),
            (6000, 20, 0.016),
            (20_000, 10, 0.016),
        ] {
            let (mean, deviation) = error(count, salts);
            // The mean of n samples strays by sigma / sqrt(n), their deviation by a part of
            // 1 / sqrt(2 n - 2): three times that is allowed.
            let biased = 3.0 * claimed / f64::from(salts).sqrt();
            let imprecise = claimed * (1.0 + 3.0 / f64::from(2 * salts - 2).sqrt());
            assert!(mean.abs() < biased, "{count}: biased by {mean}");
            assert!(deviation < imprecise, "{count}: strays by {deviation}");
        }
    }

    #[test]
    fn nothing_is_nothing_and_the_same_again_changes_nothing() {
        let salt = Salt::new(FootfallSeed::new([1; 16]));
        assert_eq!(Sketch::new().tally(), Tally { touched: 0, estimate: 0.0 });
        let once = sketch(&salt, 0..50).tally();
        let often = sketch(&salt, (0..50).cycle().take(5000)).tally();
        assert_eq!(once, often);
    }

    #[test]
    fn no_more_registers_are_touched_than_there_are_devices() {
        let mut salt = Salt::new(FootfallSeed::new([1; 16]));
        for count in (0..200).chain([5000]) {
            salt.turn();
            let tally = sketch(&salt, 0..count).tally();
            assert!(tally.touched <= count as usize, "{count}: {tally:?}");
        }
    }

    #[test]
    fn two_sketches_joined_are_the_sketch_of_both() {
        let salt = Salt::new(FootfallSeed::new([1; 16]));
        let mut joined = sketch(&salt, 0..600);
        joined.join(&sketch(&salt, 400..1000));
        assert_eq!(joined.tally(), sketch(&salt, 0..1000).tally());
        joined.clear();
        assert_eq!(joined.tally().touched, 0);
    }

    #[test]
    fn the_rarest_marks_are_counted_and_nothing_overflows() {
        let mut full = Sketch::new();
        full.registers.fill(u8::try_from(REST + 1).unwrap());
        assert!(full.tally().estimate > 1e15);
        assert_eq!(full.tally().touched, REGISTERS);
    }
}

//! A sum over a store: which commit wrote the value at each spot.
//!
//! The head has it. So a store in which any value is missing or older than it should be is known when
//! it is read through, whoever lost it. Values that are changed are known by their seal; this needs to
//! tell apart only what was once written, so it is no cryptographic sum. It is changed with each value
//! without looking at the others.

use super::frame::Spot;
use crate::chance::Rng;

/// The sum of a mixture for each spot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Sum(pub(super) u128);

impl Sum {
    /// A value was written to a spot by a commit.
    pub(super) fn add(&mut self, spot: Spot, commit: u64) {
        self.0 = self.0.wrapping_add(mixture(spot, commit));
    }

    /// A value that was written by a commit is there no more.
    pub(super) fn take(&mut self, spot: Spot, commit: u64) {
        self.0 = self.0.wrapping_sub(mixture(spot, commit));
    }
}

fn mixture(spot: Spot, commit: u64) -> u128 {
    let (kind, number) = match spot {
        Spot::Head => (1, 0),
        Spot::Standings(chunk) => (2, u128::from(chunk)),
        Spot::Kept(name) => (3, u128::from_be_bytes(name)),
        Spot::Block(number) => (4, u128::from(number)),
    };
    let half = |number: u128| u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
    let words = [kind, half(number), half(number >> 64), commit];
    let one = words.into_iter().fold(0x6265_6163, mix);
    let other = words.into_iter().rev().fold(0x6f6e_2e2e, mix);
    u128::from(one) << 64 | u128::from(other)
}

/// Spreads each bit over all. Stands on disk, in every sum.
fn mix(state: u64, word: u64) -> u64 {
    Rng::new(state ^ word).bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_change_changes_it_and_what_is_taken_back_does_not() {
        let mut sum = Sum::default();
        let mut before = vec![sum];
        for commit in 1..50 {
            for spot in [Spot::Standings(1), Spot::Block(1), Spot::Kept([1; 16]), Spot::Block(2)] {
                sum.add(spot, commit);
                assert!(!before.contains(&sum));
                before.push(sum);
            }
        }
        for commit in (1..50).rev() {
            for spot in [Spot::Block(2), Spot::Kept([1; 16]), Spot::Block(1), Spot::Standings(1)] {
                sum.take(spot, commit);
            }
        }
        assert_eq!(sum, Sum::default());
    }
}

//! Sets of sequences, as the ranges that they usually are.

use super::Sequence;

/// Sequences, as ranges in order that neither overlap nor touch.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ranges(Vec<(Sequence, Sequence)>);

impl Ranges {
    /// None at all.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one.
    pub fn add(&mut self, sequence: Sequence) {
        self.add_range(sequence, sequence);
    }

    /// Adds all from `first` to `last`, both included.
    pub fn add_range(&mut self, first: Sequence, last: Sequence) {
        if last < first {
            return;
        }
        // Those before `from` end before anything that touches; those behind `to` begin after it.
        let from = self.0.partition_point(|range| range.1.0.saturating_add(1) < first.0);
        let to = self.0.partition_point(|range| range.0.0 <= last.0.saturating_add(1));
        let mut joined = (first, last);
        for range in self.0.drain(from..to.max(from)) {
            joined = (joined.0.min(range.0), joined.1.max(range.1));
        }
        self.0.insert(from, joined);
    }

    /// Adds all that others have.
    pub fn extend_from(&mut self, others: &Self) {
        for (first, last) in others.iter() {
            self.add_range(first, last);
        }
    }

    /// Whether it has one.
    pub fn contains(&self, sequence: Sequence) -> bool {
        let at = self.0.partition_point(|range| range.1 < sequence);
        self.0.get(at).is_some_and(|range| range.0 <= sequence)
    }

    /// First and last of each range, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Sequence, Sequence)> + '_ {
        self.0.iter().copied()
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many sequences there are.
    pub fn count(&self) -> u64 {
        let lengths = self.0.iter().map(|(first, last)| (last.0 - first.0).saturating_add(1));
        lengths.fold(0, u64::saturating_add)
    }

    /// The first of all.
    pub fn first(&self) -> Option<Sequence> {
        self.0.first().map(|range| range.0)
    }

    /// The last of all.
    pub fn last(&self) -> Option<Sequence> {
        self.0.last().map(|range| range.1)
    }
}

impl Extend<Sequence> for Ranges {
    fn extend<T: IntoIterator<Item = Sequence>>(&mut self, sequences: T) {
        sequences.into_iter().for_each(|sequence| self.add(sequence));
    }
}

impl FromIterator<Sequence> for Ranges {
    fn from_iter<T: IntoIterator<Item = Sequence>>(sequences: T) -> Self {
        let mut ranges = Self::new();
        ranges.extend(sequences);
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ranges_are_the_set_that_was_put_in_whatever_the_order() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let (mut ranges, mut set) = (Ranges::new(), BTreeSet::new());
            for _ in 0..random.usize(0..20) {
                let first = random.u64(0..60);
                let last = first + random.u64(0..8);
                ranges.add_range(Sequence(first), Sequence(last));
                set.extend(first..=last);
            }
            assert_eq!(ranges.count(), u64::try_from(set.len()).unwrap());
            assert_eq!(ranges.first().map(|first| first.0), set.first().copied());
            assert_eq!(ranges.last().map(|last| last.0), set.last().copied());
            for n in 0..80 {
                assert_eq!(ranges.contains(Sequence(n)), set.contains(&n));
            }
            let apart = ranges.0.windows(2).all(|pair| pair[0].1.0 + 1 < pair[1].0.0);
            assert!(apart, "{ranges:?}");
        }
    }

    #[test]
    fn the_last_number_there_is_does_not_overflow() {
        let mut ranges = Ranges::new();
        ranges.add(Sequence(u64::MAX));
        ranges.add(Sequence(u64::MAX - 1));
        assert_eq!((ranges.len(), ranges.count()), (1, 2));
        assert!(ranges.contains(Sequence(u64::MAX)));
        ranges.add_range(Sequence(0), Sequence(u64::MAX));
        assert_eq!((ranges.len(), ranges.count()), (1, u64::MAX));
    }
}

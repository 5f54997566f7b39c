//! Numbers in, ranges out: what was seen of a gateway, in as little memory as it has gaps.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included},
};

use serde::{Deserialize, Serialize};

/// Whole numbers, as sorted, disjoint, inclusive ranges that do not touch: a month without a gap is
/// one range.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a range; those that touch it become one with it.
    pub(crate) fn add(&mut self, mut first: u64, mut last: u64) {
        if last < first {
            return;
        }
        while let Some((&from, &to)) = self.0.range(..=last.saturating_add(1)).next_back() {
            if to < first.saturating_sub(1) {
                break;
            }
            (first, last) = (first.min(from), last.max(to));
            self.0.remove(&from);
        }
        self.0.insert(first, last);
    }

    /// Adds all that is in the other.
    pub(crate) fn join(&mut self, other: &Self) {
        for (first, last) in other.iter() {
            self.add(first, last);
        }
    }

    /// Takes the lowest range out.
    pub(crate) fn take_lowest(&mut self) -> Option<(u64, u64)> {
        self.0.pop_first()
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, &last)| number <= last)
    }

    /// The ranges, lowest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(&first, &last)| (first, last))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many ranges there are.
    pub(crate) fn ranges(&self) -> usize {
        self.0.len()
    }

    /// How many numbers there are.
    pub(crate) fn count(&self) -> u64 {
        self.iter()
            .fold(0, |sum: u64, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// What is in here and not in the other.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for (first, last) in self.iter() {
            let mut next = Some(first);
            let before = other.0.range(..=first).next_back();
            let inside = other.0.range((Excluded(first), Included(last)));
            for (&from, &to) in before.into_iter().chain(inside) {
                let Some(at) = next else { break };
                if let Some(end) = from.checked_sub(1) {
                    rest.add(at, end);
                }
                next = to.max(at.saturating_sub(1)).checked_add(1);
            }
            if let Some(at) = next {
                rest.add(at, last);
            }
        }
        rest
    }

    /// The same, with gaps of less than so many numbers filled.
    pub(crate) fn bridged(&self, gap: u64) -> Self {
        let mut last = None;
        let with_gap = self.iter().flat_map(|(from, to)| {
            let before =
                last.replace(to).filter(|last| from - last <= gap).map(|last| (last, from));
            before.into_iter().chain([(from, to)])
        });
        with_gap.collect()
    }

    /// What is in both.
    pub(crate) fn within(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }
}

impl FromIterator<(u64, u64)> for Ranges {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(ranges: I) -> Self {
        let mut all = Self::default();
        for (first, last) in ranges {
            all.add(first, last);
        }
        all
    }
}

impl From<Vec<(u64, u64)>> for Ranges {
    fn from(ranges: Vec<(u64, u64)>) -> Self {
        ranges.into_iter().collect()
    }
}

impl From<Ranges> for Vec<(u64, u64)> {
    fn from(ranges: Ranges) -> Self {
        ranges.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(numbers: &BTreeSet<u64>) -> Ranges {
        numbers.iter().map(|&number| (number, number)).collect()
    }

    fn numbers(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.iter().flat_map(|(first, last)| first..=last).collect()
    }

    #[test]
    fn ranges_are_sets_of_numbers() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..500 {
            let mut set = || -> BTreeSet<u64> { (0..12).map(|_| random.u64(0..30)).collect() };
            let (a, b) = (set(), set());
            let (here, there) = (of(&a), of(&b));
            assert_eq!(numbers(&here), a);
            assert_eq!(here.count(), a.len() as u64);
            assert!((0..32).all(|number| here.contains(number) == a.contains(&number)));
            assert_eq!(numbers(&here.minus(&there)), &a - &b);
            assert_eq!(numbers(&here.within(&there)), &a & &b);
            let near = |n: &u64| (n - 1..=n + 1).all(|m| a.contains(&m) || m == *n);
            let filled = (1..30).filter(|n| a.contains(n) || near(n)).collect();
            assert_eq!(numbers(&here.bridged(2)), &a | &filled);
            let apart =
                here.iter().zip(here.iter().skip(1)).all(|(left, right)| left.1 + 1 < right.0);
            assert!(apart, "{here:?}");
        }
    }

    #[test]
    fn the_largest_numbers_do_no_harm() {
        let mut all = Ranges::default();
        all.add(0, u64::MAX);
        all.add(u64::MAX, u64::MAX);
        all.add(5, 4);
        assert_eq!((all.ranges(), all.count()), (1, u64::MAX));
        assert_eq!(all.minus(&all), Ranges::default());
        let top: Ranges = [(u64::MAX, u64::MAX)].into_iter().collect();
        assert_eq!(all.minus(&top).iter().next(), Some((0, u64::MAX - 1)));
    }
}

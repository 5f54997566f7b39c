//! Who has a key of one kind: owners come and go without anyone else's place moving.
//!
//! A key has a place, numbered from zero, for as long as it is enrolled. Newcomers get the next
//! number, so that who works through the places in their order reaches them last, and whoever has
//! left leaves a place that belongs to nobody.

use std::{collections::HashMap, hash::Hash};

use rustc_hash::FxBuildHasher;
use zeroize::Zeroize;

use super::SubjectIndex;

/// Keys, and whose they are: `W` is who may have one.
#[derive(Debug)]
pub(in crate::engine::identity) struct Roster<T, W = SubjectIndex> {
    places: Vec<Place<T, W>>,
    /// Each owner's place, the last that it was given.
    last_of: HashMap<W, u32, FxBuildHasher>,
    vacant: usize,
}

#[derive(Debug)]
struct Place<T, W> {
    what: T,
    /// Nobody once the key is withdrawn.
    whose: Option<W>,
    /// Another place of the same owner.
    another: Option<Another>,
}

/// A place's number plus one, which leaves zero for none: four octets instead of eight.
type Another = std::num::NonZeroU32;

/// So few places are not worth moving anyone for.
const FEW: usize = 1024;

impl<T, W> Default for Roster<T, W> {
    fn default() -> Self {
        Self { places: Vec::new(), last_of: HashMap::default(), vacant: 0 }
    }
}

impl<T: Default + Zeroize, W: Copy + Eq + Hash> Roster<T, W> {
    /// Gives somebody's key a place.
    pub(in crate::engine::identity) fn insert(&mut self, whose: W, what: T) {
        // A gateway has no room for 2^32 keys of 32 octets each.
        let Ok(place) = u32::try_from(self.places.len()) else { return };
        let before = self.last_of.insert(whose, place);
        let another = before.and_then(|place| Another::new(place.wrapping_add(1)));
        if self.places.len() == self.places.capacity() {
            // By an eighth and not by the double, which would be megabytes for nothing.
            self.places.reserve_exact(self.places.len() / 8 + 64);
        }
        self.places.push(Place { what, whose: Some(whose), another });
    }

    /// Withdraws what somebody has and `goes` names; nothing of it stays.
    pub(in crate::engine::identity) fn remove(
        &mut self,
        whose: W,
        mut goes: impl FnMut(&T) -> bool,
    ) {
        let mut next = self.last_of.remove(&whose);
        while let Some(number) = next {
            let Some(place) = self.places.get_mut(number as usize) else { break };
            next = place.another.take().map(|another| another.get() - 1);
            if goes(&place.what) {
                place.whose = None;
                place.what.zeroize();
                self.vacant += 1;
            } else {
                let before = self.last_of.insert(whose, number);
                place.another = before.and_then(|before| Another::new(before.wrapping_add(1)));
            }
        }
    }

    /// Closes the gaps once they outnumber the enrolled. True when places have moved: whatever was
    /// derived from them must be derived again.
    pub(in crate::engine::identity) fn compact(&mut self) -> bool {
        if self.vacant <= FEW.max(self.places.len() / 2) {
            return false;
        }
        let places = std::mem::take(&mut self.places);
        *self = Self::default();
        for place in places {
            if let Some(whose) = place.whose {
                self.insert(whose, place.what);
            }
        }
        true
    }

    /// The key at a place, and whose it is.
    pub(in crate::engine::identity) fn get(&self, place: usize) -> Option<(W, &T)> {
        let place = self.places.get(place)?;
        Some((place.whose?, &place.what))
    }

    /// The key at a place, to be changed.
    pub(in crate::engine::identity) fn get_mut(&mut self, place: usize) -> Option<(W, &mut T)> {
        let place = self.places.get_mut(place)?;
        Some((place.whose?, &mut place.what))
    }

    /// All keys.
    pub(in crate::engine::identity) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter(|place| place.whose.is_some()).map(|place| &place.what)
    }

    /// How many places there are, taken or not.
    pub(in crate::engine::identity) fn places(&self) -> usize {
        self.places.len()
    }

    /// How many keys there are.
    pub(in crate::engine::identity) fn len(&self) -> usize {
        self.places.len() - self.vacant
    }

    /// The octets it takes.
    #[cfg(test)]
    pub(in crate::engine::identity) fn octets(&self) -> usize {
        // A hash table has an octet of control beside each bucket, and buckets by powers of two.
        let buckets = (self.last_of.capacity() * 8 / 7).next_power_of_two();
        self.places.capacity() * size_of::<Place<T, W>>() + buckets * (size_of::<(W, u32)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::identity::rotating::tests::subjects;

    #[test]
    fn whoever_leaves_leaves_a_gap_and_nobody_else_moves() {
        let [a, b, c] = subjects();
        let mut roster = Roster::default();
        for (subject, key) in [(a, 1), (b, 2), (a, 3), (c, 4), (a, 5)] {
            roster.insert(subject, key);
        }
        let left = |roster: &Roster<u32>| -> Vec<_> {
            (0..roster.places()).map(|place| roster.get(place).map(|(_, key)| *key)).collect()
        };
        roster.remove(a, |key| *key != 3);
        assert_eq!(left(&roster), [None, Some(2), Some(3), Some(4), None]);
        assert_eq!(roster.len(), 3);
        assert_eq!(roster.get(2).map(|(subject, _)| subject), Some(a));
        roster.insert(a, 6);
        roster.remove(a, |_| true);
        assert_eq!(left(&roster), [None, Some(2), None, Some(4), None, None]);
        roster.remove(a, |_| true);
        assert_eq!(roster.len(), 2);
    }

    #[test]
    fn gaps_are_closed_once_they_outnumber_the_enrolled() {
        let [a, b, c] = subjects();
        let mut roster = Roster::default();
        roster.insert(b, 7);
        for key in 0..2 * FEW {
            roster.insert(a, key);
        }
        roster.insert(c, 9);
        assert!(!roster.compact());
        roster.remove(a, |_| true);
        assert!(roster.compact());
        assert_eq!(roster.places(), 2);
        assert_eq!(roster.get(0), Some((b, &7)));
        roster.remove(c, |_| true);
        assert_eq!(roster.len(), 1);
        assert!(!roster.compact());
    }
}

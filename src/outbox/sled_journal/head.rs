//! The head of a store: what it is, and how far it has counted. Written with every commit.
//!
//! In clear: version 1 and the layout (u16), the same in every layout; then a sealed value with the
//! epoch (u32), the last sequence (u64), the floor (u64, all chunks before it are gone), the number of
//! the commit before (u64), whether a scrub is owed (1) and whether the following is there (2) (u8):
//! the sum of what is in the store (u128, see `sum`), and in how many ranges of sequences something
//! was erased since the last scrub, for each the first, how many more follow, and the commit (numbers
//! as in `octets`). Layout 3 did not have that. At last a list of where epochs began (sequence u64,
//! epoch u32), the last being this store's own.

use zeroize::Zeroizing;

use crate::{
    outbox::{Ranges, Sequence},
    seal::{SealError, StoreKey},
};

use super::{
    frame::{self, Spot},
    octets::{Rest, put},
    standings::BITS,
    sum::Sum,
};

/// The layout that is written. A store of a higher one is left alone.
pub(crate) const LAYOUT: u16 = 4;

/// The first layout that was sealed; it is read as it is, and the next commit makes it one of now.
pub(super) const SEALED: u16 = 3;

/// What one byte of it says.
const OWES_SCRUB: u8 = 1;
const SUMMED: u8 = 2;

/// The key of the head in every layout.
pub(super) const HEAD: &[u8] = b"h";

const VERSION: u8 = 1;

/// How many epochs of records that were saved from earlier stores are remembered: one more would
/// take a store that was damaged as often, with records of every time still waiting.
const MOST_EPOCHS: usize = 16;

/// How many ranges of what was erased are remembered as they are, and how many when they are rounded
/// to whole chunks: less than 6 KiB, so that the head stays below [`frame::LONGEST`].
const MOST_ERASED: usize = 128;
const MOST_ROUNDED: usize = 384;

/// Sequences of which some were erased.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Erased {
    pub(super) first: u64,
    pub(super) last: u64,
    /// The commit that erased them. What is from before must not come back, unless where the records
    /// stand is known from then or later.
    pub(super) commit: u64,
}

/// What identifies a store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) epoch: u32,
    /// The last sequence ever given. Kept apart from the records: an emptied store must not start
    /// again at one.
    pub(super) last: u64,
    /// All chunks of sequences before this one are gone.
    pub(super) floor: u64,
    /// The number of the commit that was durable before this one began. So a head anywhere in the
    /// log proves that the disk once had that commit, even if sled finds none of it any more.
    pub(super) previous: u64,
    /// Whether something was removed that has to vanish from the files too.
    pub(super) owes_scrub: bool,
    /// What is in the store; `None` when that was not written down.
    pub(super) sum: Option<Sum>,
    /// What was erased and may still be in the files.
    pub(super) erased: Vec<Erased>,
    /// From which sequence on each epoch counted, in order; the last is this store's own.
    pub(super) epochs: Vec<(u64, u32)>,
}

impl Head {
    /// Of a store that begins to count behind `last`.
    pub(super) fn beginning(epoch: u32, last: u64) -> Self {
        Self { epoch, last, epochs: vec![(last.saturating_add(1), epoch)], ..Self::default() }
    }

    /// Of a store that takes the place of one with this head.
    pub(super) fn succeeding(&self, epoch: u32, last: u64) -> Self {
        let mut epochs = self.epochs.clone();
        epochs.push((last.saturating_add(1), epoch));
        let too_many = epochs.len().saturating_sub(MOST_EPOCHS);
        epochs.drain(..too_many);
        Self { epoch, last, epochs, ..Self::default() }
    }

    /// Notes what a commit has erased.
    pub(super) fn erase(&mut self, ranges: &Ranges, commit: u64) {
        let new =
            ranges.iter().map(|(first, last)| Erased { first: first.0, last: last.0, commit });
        self.erased.extend(new);
        if self.erased.len() > MOST_ERASED {
            for erased in &mut self.erased {
                erased.first = erased.first >> BITS << BITS;
                erased.last |= (1 << BITS) - 1;
            }
            self.erased.sort_by_key(|erased| (erased.first, erased.last));
            self.join(0);
        }
        // Rather too much is left out of what is saved than anything comes back.
        let mut gap = 1 << BITS;
        while self.erased.len() > MOST_ROUNDED {
            self.join(gap);
            gap = gap.saturating_mul(2);
        }
    }

    /// Joins those, in order, that are not further apart than `gap`.
    fn join(&mut self, gap: u64) {
        let mut joined: Vec<Erased> = Vec::new();
        for erased in self.erased.drain(..) {
            match joined.last_mut() {
                Some(last) if erased.first <= last.last.saturating_add(1).saturating_add(gap) => {
                    last.last = last.last.max(erased.last);
                    last.commit = last.commit.max(erased.commit);
                }
                _ => joined.push(erased),
            }
        }
        self.erased = joined;
    }

    /// The first sequence of this store's own epoch.
    pub(super) fn first(&self) -> Sequence {
        Sequence(self.epochs.last().map_or(1, |(first, _)| *first))
    }

    /// Under which epoch a sequence was given.
    pub(super) fn epoch_of(&self, sequence: Sequence) -> u32 {
        let begun = self.epochs.iter().rev().find(|(first, _)| *first <= sequence.0);
        begun.or(self.epochs.first()).map_or(self.epoch, |(_, epoch)| *epoch)
    }

    pub(super) fn seal(&self, key: &StoreKey, commit: u64) -> Result<Vec<u8>, SealError> {
        let mut plain = Zeroizing::new(Vec::with_capacity(64));
        plain.extend(self.epoch.to_be_bytes());
        plain.extend(self.last.to_be_bytes());
        plain.extend(self.floor.to_be_bytes());
        plain.extend(self.previous.to_be_bytes());
        let owes_scrub = if self.owes_scrub { OWES_SCRUB } else { 0 };
        plain.push(owes_scrub | if self.sum.is_some() { SUMMED } else { 0 });
        if let Some(Sum(sum)) = self.sum {
            plain.extend(sum.to_be_bytes());
            put(&mut plain, u64::try_from(self.erased.len()).unwrap_or(u64::MAX));
            for erased in &self.erased {
                put(&mut plain, erased.first);
                put(&mut plain, erased.last.saturating_sub(erased.first));
                put(&mut plain, erased.commit);
            }
        }
        for (first, epoch) in &self.epochs {
            plain.extend(first.to_be_bytes());
            plain.extend(epoch.to_be_bytes());
        }
        let mut value = vec![VERSION];
        value.extend(LAYOUT.to_be_bytes());
        value.extend(frame::seal(key, Spot::Head, commit, &plain)?);
        Ok(value)
    }

    /// The head and the number of its commit.
    pub(super) fn open(key: &StoreKey, value: &[u8]) -> Option<(Self, u64)> {
        let (commit, plain) = frame::open_at(key, Spot::Head, value.get(3..)?)?;
        Some((Self::decode(&plain)?, commit))
    }

    pub(super) fn decode(plain: &[u8]) -> Option<Self> {
        let mut rest = Rest(plain);
        let epoch = rest.u32()?;
        let (last, floor, previous) = (rest.u64()?, rest.u64()?, rest.u64()?);
        let flags = rest.u8()?;
        let (mut sum, mut erased) = (None, Vec::new());
        if flags & SUMMED > 0 {
            sum = Some(Sum(u128::from_be_bytes(rest.take()?)));
            for _ in 0..rest.number()? {
                let (first, more, commit) = (rest.number()?, rest.number()?, rest.number()?);
                erased.push(Erased { first, last: first.checked_add(more)?, commit });
            }
        }
        let mut epochs = Vec::new();
        while !rest.0.is_empty() {
            epochs.push((rest.u64()?, rest.u32()?));
        }
        let owes_scrub = flags & OWES_SCRUB > 0;
        Some(Self { epoch, last, floor, previous, owes_scrub, sum, erased, epochs })
    }
}

/// The layout that a head of whichever layout names.
pub(super) fn layout(value: &[u8]) -> Option<u16> {
    let (_, rest) = value.split_first()?;
    rest.first_chunk().map(|layout| u16::from_be_bytes(*layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_only_with_its_key() {
        let key = StoreKey::fresh().unwrap();
        let head = Head { floor: 3, previous: 98, owes_scrub: true, ..Head::beginning(4, 17) };
        let value = head.seal(&key, 99).unwrap();
        assert_eq!(layout(&value), Some(LAYOUT));
        assert_eq!(Head::open(&key, &value), Some((head.clone(), 99)), "as layout 3 had it");
        let mut head = Head { sum: Some(Sum(u128::MAX - 7)), ..head };
        head.erase(&[3, 4, 9].map(Sequence).into_iter().collect(), 98);
        let value = head.seal(&key, 99).unwrap();
        assert_eq!(Head::open(&key, &value), Some((head, 99)));
        assert_eq!(Head::open(&StoreKey::fresh().unwrap(), &value), None);
        assert_eq!((layout(&[9, 0, 7, 1]), layout(&[1])), (Some(7), None));
    }

    #[test]
    fn each_sequence_is_of_the_epoch_it_was_given_under() {
        let head = Head::beginning(2, 0).succeeding(3, 100).succeeding(7, 100).succeeding(9, 150);
        let epochs = [1, 100, 101, 150, 151, u64::MAX].map(|n| head.epoch_of(Sequence(n)));
        assert_eq!(epochs, [2, 2, 7, 7, 9, 9]);
        assert_eq!((head.first(), Head::default().first()), (Sequence(151), Sequence(1)));
    }

    #[test]
    fn whatever_is_erased_stays_named_and_the_head_fits_into_a_value() {
        let key = StoreKey::fresh().unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let mut head = Head { sum: Some(Sum::default()), ..Head::beginning(1, 0) };
        let mut all = Vec::new();
        for commit in 1..2000 {
            let erased: Ranges = (0..5).map(|_| Sequence(random.u64(1..4_000_000_000))).collect();
            all.extend(erased.iter().map(|(first, _)| (first.0, commit)));
            head.erase(&erased, commit);
            if commit == 20 {
                assert!(head.erased.iter().all(|erased| erased.first == erased.last), "exactly");
            }
        }
        assert!(head.seal(&key, u64::MAX >> 16).unwrap().len() < frame::LONGEST);
        let names = |(sequence, commit): &(u64, u64)| {
            let mut erased = head.erased.iter();
            erased.any(|it| (it.first..=it.last).contains(sequence) && it.commit >= *commit)
        };
        assert!(all.iter().all(names));
    }
}

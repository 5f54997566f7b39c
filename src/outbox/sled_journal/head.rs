//! The head of a store: what it is, and how far it has counted. Written with every commit.
//!
//! In clear: version 1 and the layout (u16), the same in every layout; then a sealed value with the
//! epoch (u32), the last sequence (u64), the floor (u64, all chunks before it are gone), the number of
//! the commit before (u64), whether a scrub is owed (u8), and a list of where epochs began (sequence
//! u64, epoch u32), the last being this store's own.

use zeroize::Zeroizing;

use crate::{
    outbox::Sequence,
    seal::{SealError, StoreKey},
};

use super::{
    frame::{self, Spot},
    octets::Rest,
};

/// The layout that is written. A store of a higher one is left alone.
pub(crate) const LAYOUT: u16 = 3;

/// The key of the head in every layout.
pub(super) const HEAD: &[u8] = b"h";

const VERSION: u8 = 1;

/// How many epochs of records that were saved from earlier stores are remembered: one more would
/// take a store that was damaged as often, with records of every time still waiting.
const MOST_EPOCHS: usize = 16;

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
        plain.push(self.owes_scrub.into());
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
        let owes_scrub = rest.u8()? > 0;
        let mut epochs = Vec::new();
        while !rest.0.is_empty() {
            epochs.push((rest.u64()?, rest.u32()?));
        }
        Some(Self { epoch, last, floor, previous, owes_scrub, epochs })
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
}

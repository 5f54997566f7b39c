//! How a value of the store looks: in clear what it is and where it belongs, the rest sealed.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | a mark, the same for all |
//! | 1 | the kind |
//! | 2 | the length of all of it |
//! | 6 | the number of the commit |
//! | 0 to 16 | where it belongs, see [`Spot`] |
//! | 24 | the nonce |
//! | the rest | the sealed contents, with a tag of 16 bytes |
//!
//! Numbers are big-endian. All that is in clear is authenticated: a value that was altered, or put
//! elsewhere in the store, does not open. It says by itself where it ends and what it is, so that it
//! is found again in a log that sled can no longer read (see `salvage`).

use zeroize::Zeroizing;

use crate::seal::{SealError, StoreKey};

/// What every value begins with.
pub(super) const MARK: [u8; 4] = [0xbe, b'G', 0xa3, 3];

/// Mark, kind, length and commit.
const FIXED: usize = 13;

/// The longest value: a head, a block with the longest record, or a kept value with its name are
/// well below. Leaves of sled hold up to 17 of them, and must stay below 128 KiB.
pub(super) const LONGEST: usize = 7 << 10;

/// Where a value belongs, and so what it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Spot {
    /// The head of the store.
    Head,
    /// Where the records of a chunk stand.
    Standings(u64),
    /// A kept value, by the keyed hash of its name.
    Kept([u8; 16]),
    /// A block of records, in this slot.
    Block(u32),
}

/// What a value says before it is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Label {
    pub(super) spot: Spot,
    /// The number of the commit that wrote it. Of two for one spot the higher is the newer.
    pub(super) commit: u64,
    /// The length of the value, in bytes.
    pub(super) length: usize,
    clear: usize,
}

impl Spot {
    fn kind(self) -> u8 {
        match self {
            Self::Head => 1,
            Self::Standings(_) => 2,
            Self::Kept(_) => 3,
            Self::Block(_) => 4,
        }
    }

    /// The key of the value in sled.
    pub(super) fn key(self) -> Vec<u8> {
        match self {
            Self::Head => b"h".to_vec(),
            Self::Standings(chunk) => [b"c".as_slice(), &chunk.to_be_bytes()].concat(),
            Self::Kept(name) => [b"k".as_slice(), &name].concat(),
            Self::Block(slot) => [b"r".as_slice(), &slot.to_be_bytes()].concat(),
        }
    }

    fn put(self, value: &mut Vec<u8>) {
        match self {
            Self::Head => {}
            Self::Standings(chunk) => value.extend(chunk.to_be_bytes()),
            Self::Kept(name) => value.extend(name),
            Self::Block(slot) => value.extend(slot.to_be_bytes()),
        }
    }

    fn read(kind: u8, rest: &[u8]) -> Option<(Self, usize)> {
        Some(match kind {
            1 => (Self::Head, 0),
            2 => (Self::Standings(u64::from_be_bytes(*rest.first_chunk()?)), 8),
            3 => (Self::Kept(*rest.first_chunk()?), 16),
            4 => (Self::Block(u32::from_be_bytes(*rest.first_chunk()?)), 4),
            _ => return None,
        })
    }
}

/// Seals a value for a spot.
pub(super) fn seal(
    key: &StoreKey,
    spot: Spot,
    commit: u64,
    plain: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut value = Vec::with_capacity(FIXED + 16 + StoreKey::OVERHEAD + plain.len());
    value.extend(MARK);
    value.push(spot.kind());
    let mut clear = Vec::with_capacity(16);
    spot.put(&mut clear);
    let length = FIXED + clear.len() + StoreKey::OVERHEAD + plain.len();
    let length = u16::try_from(length).map_err(|_| SealError::TooLong)?;
    value.extend(length.to_be_bytes());
    value.extend(commit.to_be_bytes().iter().skip(2));
    value.extend(clear);
    key.seal(value, plain)
}

/// Reads what a value says in clear; `bytes` may go on behind it.
pub(super) fn label(bytes: &[u8]) -> Option<Label> {
    let rest = bytes.strip_prefix(&MARK)?;
    let (&kind, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (commit, rest) = rest.split_first_chunk::<6>()?;
    let mut wide = [0; 8];
    wide.iter_mut().skip(2).zip(commit).for_each(|(to, from)| *to = *from);
    let (spot, more) = Spot::read(kind, rest)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let clear = FIXED + more;
    (length >= clear + StoreKey::OVERHEAD && length <= LONGEST).then_some(Label {
        spot,
        commit: u64::from_be_bytes(wide),
        length,
        clear,
    })
}

/// Opens a value; `bytes` may go on behind it.
pub(super) fn open(key: &StoreKey, bytes: &[u8]) -> Option<(Label, Zeroizing<Vec<u8>>)> {
    let label = label(bytes)?;
    let (clear, sealed) = bytes.get(..label.length)?.split_at_checked(label.clear)?;
    key.open(clear, sealed).ok().map(|plain| (label, plain))
}

/// Opens a value that was found at a spot.
pub(super) fn open_at(
    key: &StoreKey,
    spot: Spot,
    bytes: &[u8],
) -> Option<(u64, Zeroizing<Vec<u8>>)> {
    let (label, plain) = open(key, bytes)?;
    (label.spot == spot && label.length == bytes.len()).then_some((label.commit, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_at_its_spot_and_nowhere_else() {
        let key = StoreKey::fresh().unwrap();
        for spot in [Spot::Head, Spot::Standings(7), Spot::Kept([3; 16]), Spot::Block(9)] {
            let value = seal(&key, spot, 0x1234_5678_9abc, b"plain").unwrap();
            let (commit, plain) = open_at(&key, spot, &value).unwrap();
            assert_eq!((commit, plain.as_slice()), (0x1234_5678_9abc, b"plain".as_slice()));
            assert!(open_at(&key, Spot::Block(10), &value).is_none());
            let more = [value.as_slice(), b"more"].concat();
            assert!(open_at(&key, spot, &more).is_none());
            assert_eq!(open(&key, &more).unwrap().0.length, value.len());
        }
    }

    #[test]
    fn no_bit_can_be_changed_and_no_byte_left_out() {
        let key = StoreKey::fresh().unwrap();
        let value = seal(&key, Spot::Block(1), 5, b"x").unwrap();
        for bit in 0..value.len() * 8 {
            let mut altered = value.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, &altered).is_none(), "bit {bit}");
        }
        for length in 0..value.len() {
            assert!(open(&key, &value[..length]).is_none(), "{length} bytes");
        }
    }
}

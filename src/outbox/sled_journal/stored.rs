//! How records, kept values and the head look inside the store.
//!
//! | key | value |
//! |---|---|
//! | `h` | the head: version 1, layout (u16), epoch (u32), last sequence (u64), records (u64) |
//! | `k` and the slot's name | version 1, the kept value |
//! | `r` and the sequence (u64) | version 1, made (i64), notice or not (u8), the notice, the record |
//!
//! Numbers are big-endian: sled orders keys as bytes, so that is the order of the sequence. A time
//! is in milliseconds since the Unix epoch, `i64::MIN` where it is unknown. A notice is its count,
//! first and last sequence (u64 each), their two times, and the reason (u8, u64).

use crate::{
    engine::UnixTime,
    outbox::{DropReason, Dropped, Held, Sequence},
};

/// The layout described above. A store of a higher layout is left alone.
pub(crate) const LAYOUT: u16 = 1;

/// The key of the head.
pub(super) const HEAD: &[u8] = b"h";
/// What the keys of kept values begin with.
pub(super) const KEPT: &[u8] = b"k";
/// What the keys of records begin with.
pub(super) const RECORD: &[u8] = b"r";

const VERSION: u8 = 1;
const UNKNOWN: i64 = i64::MIN;

/// What identifies a store, written with every commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) layout: u16,
    pub(super) epoch: u32,
    /// The last sequence ever given. Kept apart from the records: an emptied store must not start
    /// again at one.
    pub(super) last: u64,
    /// How many records there are, to notice when some are not.
    pub(super) records: u64,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut value = vec![VERSION];
        value.extend(self.layout.to_be_bytes());
        value.extend(self.epoch.to_be_bytes());
        value.extend(self.last.to_be_bytes());
        value.extend(self.records.to_be_bytes());
        value
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut rest = Rest(value);
        let version = rest.u8()?;
        let layout = u16::from_be_bytes(rest.take()?);
        if version != VERSION || layout != LAYOUT {
            // Only the first three bytes mean the same in every layout.
            return Some(Self { layout, epoch: 0, last: 0, records: 0 });
        }
        let epoch = u32::from_be_bytes(rest.take()?);
        Some(Self { layout, epoch, last: rest.u64()?, records: rest.u64()? })
    }
}

pub(super) fn kept_key(slot: &[u8]) -> Vec<u8> {
    [KEPT, slot].concat()
}

pub(super) fn encode_kept(value: &[u8]) -> Vec<u8> {
    [&[VERSION], value].concat()
}

pub(super) fn decode_kept(value: &[u8]) -> Option<&[u8]> {
    value.split_first().filter(|(version, _)| **version == VERSION).map(|(_, value)| value)
}

pub(super) fn record_key(sequence: Sequence) -> [u8; 9] {
    let mut key = [0; 9];
    let (prefix, number) = key.split_at_mut(RECORD.len());
    prefix.copy_from_slice(RECORD);
    number.copy_from_slice(&sequence.0.to_be_bytes());
    key
}

pub(super) fn decode_record_key(key: &[u8]) -> Option<Sequence> {
    let number = key.strip_prefix(RECORD)?.try_into().ok()?;
    Some(Sequence(u64::from_be_bytes(number)))
}

pub(super) fn encode_record(held: &Held) -> Vec<u8> {
    let mut value = Vec::with_capacity(10 + held.bytes.len());
    value.push(VERSION);
    put_time(&mut value, held.made);
    match &held.notice {
        None => value.push(0),
        Some(dropped) => {
            value.push(1);
            for number in [dropped.count, dropped.first.0, dropped.last.0] {
                value.extend(number.to_be_bytes());
            }
            put_time(&mut value, dropped.first_made);
            put_time(&mut value, dropped.last_made);
            let (why, bytes) = match dropped.why {
                DropReason::Full => (0, 0),
                DropReason::TooBig(bytes) => (1, u64::try_from(bytes).unwrap_or(u64::MAX)),
                DropReason::TooOld => (2, 0),
            };
            value.push(why);
            value.extend(bytes.to_be_bytes());
        }
    }
    value.extend(&held.bytes);
    value
}

pub(super) fn decode_record(sequence: Sequence, value: &[u8]) -> Option<Held> {
    let (made, notice, bytes) = split_record(value)?;
    Some(Held { sequence, made, notice, bytes: bytes.to_vec() })
}

/// The length of the record inside a stored value.
pub(super) fn record_size(value: &[u8]) -> Option<usize> {
    split_record(value).map(|(_, _, bytes)| bytes.len())
}

/// When a record was made, the losses it tells of if it is a notice, and its bytes.
fn split_record(value: &[u8]) -> Option<(Option<UnixTime>, Option<Dropped>, &[u8])> {
    let mut rest = Rest(value);
    if rest.u8()? != VERSION {
        return None;
    }
    let made = known(rest.i64()?);
    let notice = match rest.u8()? {
        0 => None,
        1 => Some(decode_notice(&mut rest)?),
        _ => return None,
    };
    Some((made, notice, rest.0))
}

fn decode_notice(rest: &mut Rest<'_>) -> Option<Dropped> {
    let count = rest.u64()?;
    let (first, last) = (Sequence(rest.u64()?), Sequence(rest.u64()?));
    let (first_made, last_made) = (known(rest.i64()?), known(rest.i64()?));
    let (why, bytes) = (rest.u8()?, rest.u64()?);
    let why = match why {
        0 => DropReason::Full,
        1 => DropReason::TooBig(usize::try_from(bytes).unwrap_or(usize::MAX)),
        2 => DropReason::TooOld,
        _ => return None,
    };
    Some(Dropped { count, first, last, first_made, last_made, why })
}

fn put_time(value: &mut Vec<u8>, time: Option<UnixTime>) {
    value.extend(time.map_or(UNKNOWN, UnixTime::as_millis).to_be_bytes());
}

/// The part of a value that was not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }
}

fn known(millis: i64) -> Option<UnixTime> {
    (millis != UNKNOWN).then(|| UnixTime::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(notice: Option<Dropped>, made: Option<UnixTime>) -> Held {
        Held { sequence: Sequence(7), made, notice, bytes: b"a record".to_vec() }
    }

    #[test]
    fn records_are_read_back_as_they_were_written() {
        let notice = Dropped {
            count: 3,
            first: Sequence(1),
            last: Sequence(5),
            first_made: None,
            last_made: Some(UnixTime::from_millis(-1)),
            why: DropReason::TooBig(70_000),
        };
        for held in [
            held(None, None),
            held(None, Some(UnixTime::from_millis(1_700_000_000_000))),
            held(Some(notice), None),
        ] {
            let value = encode_record(&held);
            assert_eq!(decode_record(held.sequence, &value).as_ref(), Some(&held));
            assert_eq!(record_size(&value), Some(8));
            assert_eq!(decode_record_key(&record_key(held.sequence)), Some(held.sequence));
        }
    }

    #[test]
    fn keys_are_in_the_order_of_the_sequence() {
        let keys = [1, 2, 255, 256, u64::MAX - 1, u64::MAX].map(|n| record_key(Sequence(n)));
        assert!(keys.is_sorted());
    }

    #[test]
    fn a_head_of_a_later_layout_still_tells_its_layout() {
        let head = Head { layout: LAYOUT, epoch: 3, last: 9, records: 4 };
        assert_eq!(Head::decode(&head.encode()), Some(head));
        let newer = [9, 0, 7, 1];
        assert_eq!(Head::decode(&newer).map(|head| head.layout), Some(7));
        assert_eq!(Head::decode(&[1]), None);
    }

    #[test]
    fn no_value_however_short_or_strange_panics() {
        let value = encode_record(&held(None, None));
        for end in 0..10 {
            assert_eq!(decode_record(Sequence(1), &value[..end]), None);
        }
        let mut strange = value;
        strange[9] = 2;
        assert_eq!(decode_record(Sequence(1), &strange), None);
        assert_eq!(decode_kept(&[]), None);
        assert_eq!(decode_kept(&[2, 1]), None);
    }
}

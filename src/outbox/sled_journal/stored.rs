//! How records, kept values and the head look inside the store.
//!
//! | key | value |
//! |---|---|
//! | `h` | the head: version 1, layout (u16), epoch (u32), last sequence (u64), records (u64), scrub owed or not (u8) |
//! | `k` and the slot's name | version 1, the kept value |
//! | `r` and the sequence (u64) | version 3, made (i64), notice or not (u8), about (u8), the tag (u64), class (u8), standing (u8), the notice, the record |
//!
//! Numbers are big-endian: sled orders keys as bytes, so that is the order of the sequence. A time
//! is in milliseconds since the Unix epoch, `i64::MIN` where it is unknown. A notice is the length
//! (u16) and the form of what was lost. A record is about nobody (0), about the subject whose tag
//! follows (1), or about who knows whom (2).
//!
//! Layout 1 had a head without the debt of a scrub, and records of version 1, without the two
//! fields that say whom they are about; records of version 2 lack class and standing, and both say
//! less exactly what a notice tells of. All are read.

use crate::{
    engine::UnixTime,
    outbox::{About, Class, DropReason, Dropped, Held, Sequence, Standing, Tag},
};

/// The layout described above. A store of a higher layout is left alone.
pub(crate) const LAYOUT: u16 = 2;

/// The oldest layout that is still read.
const OLDEST_LAYOUT: u16 = 1;

/// The key of the head.
pub(super) const HEAD: &[u8] = b"h";
/// What the keys of kept values begin with.
pub(super) const KEPT: &[u8] = b"k";
/// What the keys of records begin with.
pub(super) const RECORD: &[u8] = b"r";

const VERSION: u8 = 1;
const TAGGED_VERSION: u8 = 2;
const RECORD_VERSION: u8 = 3;
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
    /// Whether something was removed that has to vanish from the files too.
    pub(super) owes_scrub: bool,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut value = vec![VERSION];
        value.extend(self.layout.to_be_bytes());
        value.extend(self.epoch.to_be_bytes());
        value.extend(self.last.to_be_bytes());
        value.extend(self.records.to_be_bytes());
        value.push(self.owes_scrub.into());
        value
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut rest = Rest(value);
        let version = rest.u8()?;
        let layout = u16::from_be_bytes(rest.take()?);
        if version != VERSION || !(OLDEST_LAYOUT..=LAYOUT).contains(&layout) {
            // Only the first three bytes mean the same in every layout.
            return Some(Self { layout, epoch: 0, last: 0, records: 0, owes_scrub: false });
        }
        let epoch = u32::from_be_bytes(rest.take()?);
        let (last, records) = (rest.u64()?, rest.u64()?);
        let owes_scrub = layout > OLDEST_LAYOUT && rest.u8()? > 0;
        Some(Self { layout, epoch, last, records, owes_scrub })
    }

    /// Whether it is of a layout that this program reads.
    pub(super) fn is_readable(&self) -> bool {
        (OLDEST_LAYOUT..=LAYOUT).contains(&self.layout)
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
    let mut value = Vec::with_capacity(19 + held.bytes.len());
    value.push(RECORD_VERSION);
    put_time(&mut value, held.made);
    value.push(held.notice.is_some().into());
    match held.about {
        About::Nobody => value.push(0),
        About::Subject(tag) => {
            value.push(1);
            value.extend(tag.0.to_be_bytes());
        }
        About::Unknown => value.push(2),
    }
    value.push(class_number(held.class));
    value.push(standing_number(held.standing));
    if let Some(dropped) = &held.notice {
        let notice = dropped.encode();
        value.extend(u16::try_from(notice.len()).unwrap_or(u16::MAX).to_be_bytes());
        value.extend(notice);
    }
    value.extend(&held.bytes);
    value
}

pub(super) fn decode_record(sequence: Sequence, value: &[u8]) -> Option<Held> {
    let Parts { about, class, standing, made, notice, bytes } = split_record(value)?;
    Some(Held { sequence, made, notice, about, class, standing, bytes: bytes.to_vec() })
}

/// What is to be known of a record without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Gist {
    pub(super) about: About,
    pub(super) class: Class,
    pub(super) standing: Standing,
    /// The length of the record, in bytes.
    pub(super) size: usize,
}

/// The gist of a stored value.
pub(super) fn record_gist(value: &[u8]) -> Option<Gist> {
    let Parts { about, class, standing, bytes, .. } = split_record(value)?;
    Some(Gist { about, class, standing, size: bytes.len() })
}

/// A stored value, taken apart.
struct Parts<'a> {
    about: About,
    class: Class,
    standing: Standing,
    made: Option<UnixTime>,
    notice: Option<Dropped>,
    bytes: &'a [u8],
}

fn split_record(value: &[u8]) -> Option<Parts<'_>> {
    let mut rest = Rest(value);
    let version = rest.u8()?;
    let made = known(rest.i64()?);
    let is_notice = match rest.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let about = match version {
        // Of the gateway's own notices it is known.
        VERSION if is_notice => About::Nobody,
        VERSION => About::Unknown,
        TAGGED_VERSION | RECORD_VERSION => match rest.u8()? {
            0 => About::Nobody,
            1 => About::Subject(Tag(rest.u64()?)),
            2 => About::Unknown,
            _ => return None,
        },
        _ => return None,
    };
    let (class, standing) = match version {
        RECORD_VERSION => (class_of(rest.u8()?)?, standing_of(rest.u8()?)?),
        _ if is_notice => (Class::Gateway, Standing::Pending),
        _ => (Class::Presence, Standing::Pending),
    };
    let notice = match (is_notice, version) {
        (false, _) => None,
        (true, RECORD_VERSION) => {
            let length = u16::from_be_bytes(rest.take()?);
            let (notice, bytes) = rest.0.split_at_checked(length.into())?;
            rest.0 = bytes;
            Some(Dropped::decode(notice)?)
        }
        (true, _) => Some(decode_old_notice(&mut rest)?),
    };
    Some(Parts { about, class, standing, made, notice, bytes: rest.0 })
}

fn class_number(class: Class) -> u8 {
    match class {
        Class::Gateway => 0,
        Class::Moment => 1,
        Class::Presence => 2,
        Class::Sensor => 3,
        Class::Count => 4,
    }
}

fn class_of(number: u8) -> Option<Class> {
    Class::ALL.into_iter().find(|class| class_number(*class) == number)
}

fn standing_number(standing: Standing) -> u8 {
    match standing {
        Standing::Pending => 0,
        Standing::Acknowledged => 1,
        Standing::SetAside => 2,
    }
}

fn standing_of(number: u8) -> Option<Standing> {
    let all = [Standing::Pending, Standing::Acknowledged, Standing::SetAside];
    all.into_iter().find(|standing| standing_number(*standing) == number)
}

/// What earlier versions wrote down of a loss. They did not say exactly which records were lost.
fn decode_old_notice(rest: &mut Rest<'_>) -> Option<Dropped> {
    let (count, _first, _last) = (rest.u64()?, rest.u64()?, rest.u64()?);
    let (first_made, last_made) = (known(rest.i64()?), known(rest.i64()?));
    let (why, _bytes) = (rest.u8()?, rest.u64()?);
    let why = match why {
        0 => DropReason::Full,
        1 => DropReason::TooBig,
        2 => DropReason::TooOld,
        _ => return None,
    };
    Some(Dropped { first_made, last_made, ..Dropped::unnumbered(why, count) })
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
        Held {
            sequence: Sequence(7),
            made,
            notice,
            about: About::Nobody,
            class: Class::Presence,
            standing: Standing::Pending,
            bytes: b"a record".to_vec(),
        }
    }

    #[test]
    fn records_are_read_back_as_they_were_written() {
        let notice = Dropped {
            last_made: Some(UnixTime::from_millis(-1)),
            unnumbered: 3,
            ..Dropped::one(DropReason::TooBig, Sequence(5), None)
        };
        for held in [
            held(None, None),
            held(None, Some(UnixTime::from_millis(1_700_000_000_000))),
            held(Some(notice), None),
            Held { about: About::Subject(Tag(u64::MAX)), ..held(None, None) },
            Held { about: About::Unknown, ..held(None, None) },
            Held { class: Class::Count, standing: Standing::SetAside, ..held(None, None) },
        ] {
            let value = encode_record(&held);
            assert_eq!(decode_record(held.sequence, &value).as_ref(), Some(&held));
            let (about, class, standing) = (held.about, held.class, held.standing);
            assert_eq!(record_gist(&value), Some(Gist { about, class, standing, size: 8 }));
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
        let head = Head { layout: LAYOUT, epoch: 3, last: 9, records: 4, owes_scrub: true };
        assert_eq!(Head::decode(&head.encode()), Some(head));
        let newer = [9, 0, 7, 1];
        assert_eq!(Head::decode(&newer).map(|head| head.layout), Some(7));
        assert_eq!(Head::decode(&[1]), None);
    }

    #[test]
    fn what_layout_1_wrote_is_read_and_may_be_about_anybody() {
        let head = [[1, 0, 1].as_slice(), &[0, 0, 0, 3], &[0; 7], &[9], &[0; 7], &[4]].concat();
        let read = Head { layout: 1, epoch: 3, last: 9, records: 4, owes_scrub: false };
        assert_eq!(Head::decode(&head), Some(read));
        let record = [[1].as_slice(), &[0; 7], &[5], &[0], b"a record"].concat();
        let made = Some(UnixTime::from_millis(5));
        let read = Held { about: About::Unknown, ..held(None, made) };
        assert_eq!(decode_record(Sequence(7), &record), Some(read));
        let notice = [[1].as_slice(), &[0; 8], &[1], &[0; 49], b"a record"].concat();
        assert_eq!(decode_record(Sequence(7), &notice).map(|held| held.about), Some(About::Nobody));
    }

    #[test]
    fn no_value_however_short_or_strange_panics() {
        let value = encode_record(&held(None, None));
        for end in 0..11 {
            assert_eq!(decode_record(Sequence(1), &value[..end]), None);
        }
        let mut strange = value;
        strange[9] = 3;
        assert_eq!(decode_record(Sequence(1), &strange), None);
        assert_eq!(decode_kept(&[]), None);
        assert_eq!(decode_kept(&[2, 1]), None);
    }
}

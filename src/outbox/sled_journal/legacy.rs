//! Stores of layouts 1 and 2, which were not sealed: read once, to be written anew.
//!
//! | key | value |
//! |---|---|
//! | `h` | the head: version 1, layout (u16), epoch (u32), last sequence (u64), records (u64), and in layout 2 whether a scrub is owed (u8) |
//! | `k` and the slot's name | version 1, the kept value |
//! | `r` and the sequence (u64) | version, made (i64), notice or not (u8), in version 2 about (u8) and the tag (u64), the notice, the record |
//!
//! Numbers are big-endian. A time is in milliseconds since the Unix epoch, `i64::MIN` where it is
//! unknown. A notice is its count, first and last sequence (u64 each), their two times, and the
//! reason (u8, u64). A record is about nobody (0), about the subject whose tag follows (1), or about
//! who knows whom (2); version 1 did not say.

use crate::{
    engine::UnixTime,
    outbox::{
        About, Class, DropReason, Dropped, Held, Kept, Sequence, Standing, Tag, record::Record,
    },
};

use super::{guard::Guarded, head::HEAD, octets::Rest, volume::Cause};

const VERSION: u8 = 1;
const TAGGED_VERSION: u8 = 2;
const UNKNOWN: i64 = i64::MIN;

/// A store of an older layout that was opened and read through.
pub(super) struct Legacy {
    db: Guarded,
    pub(super) epoch: u32,
    /// The last sequence ever given.
    pub(super) last: u64,
    pub(super) owes_scrub: bool,
    /// The oldest record.
    pub(super) first: Option<Sequence>,
    /// How many records there should be and are not.
    pub(super) missing: u64,
}

impl Legacy {
    pub(super) fn read_through(db: sled::Db) -> Result<Self, Cause> {
        let db = Guarded::from(db);
        let head = db.get(HEAD)?.ok_or("it has no head")?;
        let head = Head::decode(&head).ok_or("its head cannot be understood")?;
        let (mut first, mut count) = (None, 0);
        for item in db.scan_prefix(b"r") {
            let (key, value) = item?;
            let sequence = sequence(&key).ok_or("it has a strange key")?;
            if sequence.0 == 0 || sequence.0 > head.last {
                return Err("it has a record that was never given a sequence".into());
            }
            decode(sequence, &value).ok_or("a record cannot be understood")?;
            first.get_or_insert(sequence);
            count += 1;
        }
        let Head { epoch, last, records, owes_scrub } = head;
        let missing = records.saturating_sub(count);
        Ok(Self { db, epoch, last, owes_scrub, first, missing })
    }

    /// The oldest records behind `after`, at most `limit`.
    pub(super) fn records(
        &self,
        after: Option<Sequence>,
        limit: usize,
    ) -> Result<Vec<Held>, Cause> {
        let from = after.map_or(0, |after| after.0.saturating_add(1));
        let range = [b"r".as_slice(), &from.to_be_bytes()].concat()
            ..=[b"r".as_slice(), &u64::MAX.to_be_bytes()].concat();
        let records = self.db.range(range).take(limit).map(|item| {
            let (key, value) = item?;
            let sequence = sequence(&key).ok_or("a strange key")?;
            Ok(decode(sequence, &value).ok_or("a strange record")?)
        });
        records.collect()
    }

    pub(super) fn kept(&self) -> Result<Vec<Kept>, Cause> {
        let kept = self.db.scan_prefix(b"k").map(|item| {
            let (key, value) = item?;
            let slot = key.get(1..).unwrap_or_default().to_vec();
            let value = value.strip_prefix(&[VERSION]).ok_or("a strange value")?.to_vec();
            Ok(Kept { slot, value })
        });
        kept.collect()
    }
}

struct Head {
    epoch: u32,
    last: u64,
    records: u64,
    owes_scrub: bool,
}

impl Head {
    fn decode(value: &[u8]) -> Option<Self> {
        let mut rest = Rest(value);
        rest.u8().filter(|version| *version == VERSION)?;
        let layout = u16::from_be_bytes(rest.take()?);
        let epoch = rest.u32()?;
        let (last, records) = (rest.u64()?, rest.u64()?);
        let owes_scrub = layout > 1 && rest.u8()? > 0;
        Some(Self { epoch, last, records, owes_scrub })
    }
}

fn sequence(key: &[u8]) -> Option<Sequence> {
    let number = key.strip_prefix(b"r")?.try_into().ok()?;
    Some(Sequence(u64::from_be_bytes(number)))
}

fn decode(sequence: Sequence, value: &[u8]) -> Option<Held> {
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
        TAGGED_VERSION => match rest.u8()? {
            0 => About::Nobody,
            1 => About::Subject(Tag(rest.u64()?)),
            2 => About::Unknown,
            _ => return None,
        },
        _ => return None,
    };
    let notice = if is_notice { Some(decode_notice(&mut rest)?) } else { None };
    let bytes = rest.0.to_vec();
    // They had no classes then.
    let class = match (&notice, Record::decode(&bytes)) {
        (Some(_), _) => Class::Gateway,
        (None, Ok(record)) => record.class(),
        (None, Err(_)) => Class::Presence,
    };
    Some(Held { sequence, made, notice, about, class, standing: Standing::Pending, bytes })
}

/// What was written down of a loss then. It was not said exactly which records were lost.
fn decode_notice(rest: &mut Rest<'_>) -> Option<Dropped> {
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

fn known(millis: i64) -> Option<UnixTime> {
    (millis != UNKNOWN).then(|| UnixTime::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_layout_1_wrote_is_read_and_may_be_about_anybody() {
        let head = [[1, 0, 1].as_slice(), &[0, 0, 0, 3], &[0; 7], &[9], &[0; 7], &[4]].concat();
        let head = Head::decode(&head).unwrap();
        assert_eq!((head.epoch, head.last, head.records, head.owes_scrub), (3, 9, 4, false));
        let record = [[1].as_slice(), &[0; 7], &[5], &[0], b"a record"].concat();
        let found = decode(Sequence(7), &record).unwrap();
        assert_eq!((found.about, found.bytes.as_slice()), (About::Unknown, b"a record".as_slice()));
        assert_eq!(found.made, Some(UnixTime::from_millis(5)));
        let notice = [[1].as_slice(), &[0; 8], &[1], &[0; 7], &[6], &[0; 41], b"it"].concat();
        let found = decode(Sequence(7), &notice).unwrap();
        assert_eq!((found.about, found.class), (About::Nobody, Class::Gateway));
        assert_eq!(found.notice.map(|notice| notice.count()), Some(6));
    }

    #[test]
    fn what_layout_2_wrote_is_read() {
        let head = [[1, 0, 2].as_slice(), &[0; 20], &[1]].concat();
        assert!(Head::decode(&head).unwrap().owes_scrub);
        let record = [[2].as_slice(), &[0x80], &[0; 7], &[0, 1], &[9; 8], b"x"].concat();
        let found = decode(Sequence(1), &record).unwrap();
        assert_eq!((found.made, found.about), (None, About::Subject(Tag(0x0909_0909_0909_0909))));
        for end in 0..record.len() - 1 {
            assert_eq!(decode(Sequence(1), &record[..end]), None);
        }
    }
}

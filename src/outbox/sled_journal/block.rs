//! Records in a block: several of one commit share a value of the store, and so one seal.
//!
//! What is sealed is the block squeezed (see `squeeze`). A block is its records one after the other, in the order of their sequences. Each is
//!
//! | what | as |
//! |---|---|
//! | class (3 bits), about (2 bits), whether it is a notice, whether it is known when it was made | 1 byte |
//! | how far its sequence is behind the one before | number |
//! | how many milliseconds later it was made than the one before, where that is known | signed number |
//! | the tag, if it is about somebody | 8 bytes, or where in the block the same tag stands first |
//! | the losses it tells of, if it is a notice | counted bytes |
//! | the record | counted bytes |
//!
//! Numbers take as few bytes as they need (see `octets`). About is nobody (0), a tag (1), who knows
//! whom (2), or a tag that stood before (3).

use crate::{
    engine::UnixTime,
    outbox::{About, Class, Dropped, Held, Sequence, Standing, Tag},
};

use super::{
    octets::{Rest, put, put_counted, put_signed},
    squeeze::{expand, squeeze},
};

/// A block is closed as soon as it has so many bytes: large enough that what is sealed with it and
/// sled's share of it hardly count, small enough that with the longest record, even if it cannot be
/// squeezed, it stays below [`super::frame::LONGEST`], and that reading one of its records costs
/// little.
const CLOSED_AT: usize = 3072;

/// The longest block: a record of 2 KiB that is a notice of 1.5 KiB follows on one that was not
/// closed.
const LONGEST: usize = CLOSED_AT + (4 << 10);

const CLASS: u8 = 0b0000_0111;
const ABOUT: u32 = 3;
const NOTICE: u8 = 0b0010_0000;
const MADE: u8 = 0b0100_0000;

/// A block in the making.
#[derive(Debug, Default)]
pub(super) struct Block {
    bytes: Vec<u8>,
    sequence: u64,
    made: i64,
    tags: Vec<Tag>,
    records: usize,
}

impl Block {
    /// Adds a record, which must have a higher sequence than those before.
    pub(super) fn push(&mut self, held: &Held) {
        let known = match held.about {
            About::Subject(tag) => self.tags.iter().position(|known| *known == tag),
            _ => None,
        };
        let about = match (held.about, known) {
            (About::Nobody, _) => 0,
            (About::Subject(_), None) => 1,
            (About::Unknown, _) => 2,
            (About::Subject(_), Some(_)) => 3,
        };
        let bytes = &mut self.bytes;
        bytes.push(
            class_number(held.class)
                | about << ABOUT
                | if held.notice.is_some() { NOTICE } else { 0 }
                | if held.made.is_some() { MADE } else { 0 },
        );
        put(bytes, held.sequence.0.wrapping_sub(self.sequence));
        self.sequence = held.sequence.0;
        if let Some(made) = held.made {
            put_signed(bytes, made.as_millis().wrapping_sub(self.made));
            self.made = made.as_millis();
        }
        match (held.about, known) {
            (About::Subject(_), Some(known)) => put(bytes, known.try_into().unwrap_or(u64::MAX)),
            (About::Subject(tag), None) => {
                bytes.extend(tag.0.to_be_bytes());
                self.tags.push(tag);
            }
            _ => {}
        }
        if let Some(dropped) = &held.notice {
            put_counted(bytes, &dropped.encode());
        }
        put_counted(bytes, &held.bytes);
        self.records += 1;
    }

    /// Whether there should be no more in it.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= CLOSED_AT
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The block as it is sealed.
    pub(super) fn squeezed(&self) -> Vec<u8> {
        squeeze(&self.bytes)
    }
}

/// A record as it lies in a block. Where it stands is not in it.
pub(super) struct Laid<'a> {
    pub(super) sequence: Sequence,
    pub(super) made: Option<UnixTime>,
    pub(super) notice: Option<Dropped>,
    pub(super) about: About,
    pub(super) class: Class,
    pub(super) bytes: &'a [u8],
}

/// The records of a block, all said to be pending.
pub(super) fn decode(squeezed: &[u8]) -> Option<Vec<Held>> {
    let mut records = Vec::new();
    each(squeezed, |laid| {
        let Laid { sequence, made, notice, about, class, bytes } = laid;
        let (standing, bytes) = (Standing::Pending, bytes.to_vec());
        records.push(Held { sequence, made, notice, about, class, standing, bytes });
    })?;
    Some(records)
}

/// Shows each record of a block. `None` if it is not one; some may have been shown before.
pub(super) fn each(squeezed: &[u8], mut show: impl FnMut(Laid<'_>)) -> Option<()> {
    let bytes = expand(squeezed, LONGEST)?;
    let mut rest = Rest(&bytes);
    let mut tags = Vec::new();
    let (mut sequence, mut made) = (0_u64, 0_i64);
    while !rest.0.is_empty() {
        let flags = rest.u8()?;
        let class = class_of(flags & CLASS)?;
        sequence = sequence.checked_add(rest.number()?)?;
        let made = if flags & MADE > 0 {
            made = made.wrapping_add(rest.signed()?);
            Some(UnixTime::from_millis(made))
        } else {
            None
        };
        let about = match (flags >> ABOUT) & 3 {
            0 => About::Nobody,
            1 => {
                let tag = Tag(rest.u64()?);
                tags.push(tag);
                About::Subject(tag)
            }
            2 => About::Unknown,
            _ => About::Subject(*tags.get(usize::try_from(rest.number()?).ok()?)?),
        };
        let notice =
            if flags & NOTICE > 0 { Some(Dropped::decode(rest.counted()?)?) } else { None };
        let bytes = rest.counted()?;
        show(Laid { sequence: Sequence(sequence), made, notice, about, class, bytes });
    }
    Some(())
}

pub(super) fn class_number(class: Class) -> u8 {
    match class {
        Class::Gateway => 0,
        Class::Moment => 1,
        Class::Presence => 2,
        Class::Sensor => 3,
        Class::Count => 4,
    }
}

pub(super) fn class_of(number: u8) -> Option<Class> {
    Class::ALL.into_iter().find(|class| class_number(*class) == number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::{DropReason, MAX_RECORD};

    fn held(random: &mut fastrand::Rng, sequence: u64) -> Held {
        let made = random.bool().then(|| UnixTime::from_millis(random.i64(..)));
        let notice = (random.u8(..) < 30).then(|| Dropped {
            last_made: made,
            ..Dropped::one(DropReason::TooBig, Sequence(random.u64(..)), None)
        });
        let about = match random.u8(0..4) {
            0 => About::Nobody,
            1 => About::Unknown,
            _ => About::Subject(Tag(random.u64(0..3))),
        };
        let class = *random.choice(&Class::ALL).unwrap();
        let bytes = vec![random.u8(..); random.usize(0..300)];
        let standing = Standing::Pending;
        Held { sequence: Sequence(sequence), made, notice, about, class, standing, bytes }
    }

    #[test]
    fn records_are_read_back_as_they_were_put_in() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let mut sequence = 0_u64;
            let (mut block, mut records) = (Block::default(), Vec::new());
            while !block.is_full() {
                let gap = 1 << random.u32(1..40);
                sequence += random.u64(1..gap);
                let held = held(&mut random, sequence);
                block.push(&held);
                records.push(held);
            }
            assert_eq!(decode(&block.squeezed()), Some(records));
        }
    }

    #[test]
    fn the_largest_block_fits_into_a_value() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut block = Block::default();
        let mut sequence = 0;
        while block.bytes.len() < CLOSED_AT - 310 {
            sequence += 1;
            block.push(&held(&mut random, sequence));
        }
        let mut notice = Dropped::none(DropReason::Full);
        for _ in 0..64 {
            notice.ranges.add(Sequence(random.u64(..)));
        }
        let notice = Some(notice);
        let bytes = (0..MAX_RECORD).map(|_| random.u8(..)).collect();
        block.push(&Held { notice, bytes, ..held(&mut random, u64::MAX) });
        let squeezed = block.squeezed();
        assert!(squeezed.len() + 200 < super::super::frame::LONGEST, "{}", squeezed.len());
        assert!(decode(&squeezed).is_some());
    }

    #[test]
    fn no_bytes_however_strange_panic() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut block = Block::default();
        for sequence in 1..8 {
            block.push(&held(&mut random, sequence));
        }
        for end in 0..block.bytes.len() {
            // It may be whole by chance, at the end of a record.
            if let Some(records) = decode(&squeeze(&block.bytes[..end])) {
                assert!(records.len() < 7);
            }
        }
        for round in 0..2000 {
            let mut bytes = block.bytes.clone();
            if round % 2 > 0 {
                bytes = squeeze(&bytes);
            }
            for _ in 0..random.usize(1..5) {
                let at = random.usize(0..bytes.len());
                bytes[at] = random.u8(..);
            }
            drop(decode(&if round % 2 > 0 { bytes } else { squeeze(&bytes) }));
        }
    }
}

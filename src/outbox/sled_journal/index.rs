//! All records of the store, in memory, in twelve bytes each: where they lie, where they stand, and
//! whom they may be about.
//!
//! It is built while the store is read through, which opening does anyway. With it "the oldest that
//! waits", "the oldest of a class" and "all about somebody" cost the records that are found and no
//! scan; keys for it on disk would wear the card with each record. Of each tag it knows 24 bits, so
//! it names a few records too many (one in 16 million for each tag asked for); whoever asks has the
//! whole tag when it has read the record.

use std::collections::{BTreeMap, BTreeSet};

use crate::outbox::{About, Class, Held, Sequence, Standing, Tag};

use super::{
    block::{Laid, class_number, class_of},
    standings::{BITS, CHUNK, State},
};

/// How much of a tag is kept.
const TAG_BITS: u32 = 24;
const TAG_MASK: u32 = (1 << TAG_BITS) - 1;

/// Stand for a record about nobody, and for one that may be about anybody. A tag that happens to
/// begin like either is kept as [`ANYBODY`], which is looked at each time.
const NOBODY: u32 = 0;
const ANYBODY: u32 = 1;

/// Bits for the size of a record, which is at most 2048.
const SIZE_BITS: u32 = 12;

const STANDINGS: usize = 3;
const CLASSES: usize = Class::ALL.len();

/// What is known of a record without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Gist {
    pub(super) about: u32,
    pub(super) class: Class,
    pub(super) standing: Standing,
    /// The length of the record, in bytes.
    pub(super) size: usize,
    /// The slot of its block.
    pub(super) slot: u32,
}

/// A gist and the place in the chunk, as few bits.
#[derive(Clone, Copy, Debug)]
struct Item {
    /// Tag, class, standing.
    what: u32,
    /// Place in the chunk, size.
    place: u32,
    slot: u32,
}

#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// In order.
    items: Vec<Item>,
    counts: [[u16; CLASSES]; STANDINGS],
}

/// All records, in the order of their sequences.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By the upper bits of the sequence. In chunks, so that a record in the middle can go, and so
    /// that many records of which none is wanted are passed over together.
    chunks: BTreeMap<u64, Chunk>,
}

// === impl Gist ===

impl Gist {
    pub(super) fn of(held: &Held, slot: u32) -> Self {
        let Held { about, class, standing, ref bytes, .. } = *held;
        Self { about: short_of(about), class, standing, size: bytes.len(), slot }
    }

    /// Of a record in the block of a slot.
    pub(super) fn laid(laid: &Laid<'_>, standing: Standing, slot: u32) -> Self {
        let Laid { about, class, bytes, .. } = *laid;
        Self { about: short_of(about), class, standing, size: bytes.len(), slot }
    }

    /// Whether it may be about one of these, given by [`shorts`].
    pub(super) fn may_concern(&self, shorts: &BTreeSet<u32>) -> bool {
        shorts.contains(&self.about)
    }
}

/// The tags as the index knows them, for [`Gist::may_concern`].
pub(super) fn shorts(who: &BTreeSet<Tag>) -> BTreeSet<u32> {
    let mut shorts: BTreeSet<u32> = who.iter().map(|tag| short(*tag)).collect();
    if !shorts.is_empty() {
        shorts.insert(ANYBODY);
    }
    shorts
}

// === impl Item ===

impl Item {
    fn new(offset: u32, gist: &Gist) -> Self {
        let class = u32::from(class_number(gist.class));
        let standing = u32::try_from(row(gist.standing)).unwrap_or(0);
        let size = u32::try_from(gist.size).unwrap_or(u32::MAX).min((1 << SIZE_BITS) - 1);
        Self {
            what: gist.about & TAG_MASK | class << TAG_BITS | standing << (TAG_BITS + 3),
            place: offset << SIZE_BITS | size,
            slot: gist.slot,
        }
    }

    fn offset(&self) -> u32 {
        self.place >> SIZE_BITS
    }

    fn gist(&self) -> Gist {
        let class = u8::try_from(self.what >> TAG_BITS & 7).ok().and_then(class_of);
        Gist {
            about: self.what & TAG_MASK,
            class: class.unwrap_or(Class::Gateway),
            standing: match self.what >> (TAG_BITS + 3) {
                0 => Standing::Pending,
                1 => Standing::Acknowledged,
                _ => Standing::SetAside,
            },
            size: usize::try_from(self.place & ((1 << SIZE_BITS) - 1)).unwrap_or(0),
            slot: self.slot,
        }
    }
}

// === impl Chunk ===

impl Chunk {
    /// How many of its records stand there.
    pub(super) fn standing(&self, standing: Standing) -> usize {
        let counts = self.counts.get(row(standing)).into_iter().flatten();
        counts.map(|count| usize::from(*count)).sum()
    }

    /// How many of its records of a class are pending.
    pub(super) fn pending_of(&self, class: Class) -> usize {
        let [pending, ..] = &self.counts;
        pending.get(usize::from(class_number(class))).map_or(0, |count| usize::from(*count))
    }

    fn find(&self, offset: u32) -> Result<usize, usize> {
        // Nearly always behind the last.
        match self.items.last() {
            Some(last) if last.offset() < offset => Err(self.items.len()),
            _ => self.items.binary_search_by_key(&offset, Item::offset),
        }
    }

    fn count(&mut self, gist: &Gist, add: bool) {
        let counts = self.counts.get_mut(row(gist.standing));
        let class = usize::from(class_number(gist.class));
        if let Some(count) = counts.and_then(|counts| counts.get_mut(class)) {
            *count = if add { count.saturating_add(1) } else { count.saturating_sub(1) };
        }
    }
}

// === impl Index ===

impl Index {
    /// Adds a record, and returns what was known of it before if it was there already.
    pub(super) fn insert(&mut self, sequence: Sequence, gist: &Gist) -> Option<Gist> {
        let (chunk, offset) = place(sequence);
        let chunk = self.chunks.entry(chunk).or_default();
        let item = Item::new(offset, gist);
        let before = match chunk.find(offset) {
            Ok(at) => chunk.items.get_mut(at).map(|known| std::mem::replace(known, item).gist()),
            Err(at) => {
                chunk.items.insert(at, item);
                if chunk.items.len() == CHUNK {
                    chunk.items.shrink_to_fit();
                }
                None
            }
        };
        if let Some(before) = &before {
            chunk.count(before, false);
        }
        chunk.count(gist, true);
        before
    }

    pub(super) fn remove(&mut self, sequence: Sequence) -> Option<Gist> {
        let (number, offset) = place(sequence);
        let chunk = self.chunks.get_mut(&number)?;
        let at = chunk.find(offset).ok()?;
        let gist = chunk.items.remove(at).gist();
        chunk.count(&gist, false);
        if chunk.items.is_empty() {
            self.chunks.remove(&number);
        } else if chunk.items.len() <= chunk.items.capacity() / 4 {
            chunk.items.shrink_to_fit();
        }
        Some(gist)
    }

    pub(super) fn get(&self, sequence: Sequence) -> Option<Gist> {
        let (chunk, offset) = place(sequence);
        let chunk = self.chunks.get(&chunk)?;
        let at = chunk.find(offset).ok()?;
        chunk.items.get(at).map(Item::gist)
    }

    /// Changes where a record stands.
    pub(super) fn stand(&mut self, sequence: Sequence, standing: Standing) {
        if let Some(gist) = self.get(sequence) {
            self.insert(sequence, &Gist { standing, ..gist });
        }
    }

    /// The records from `from` to `to`, in order, without the chunks that need not be looked at.
    pub(super) fn walk(
        &self,
        from: Sequence,
        to: Sequence,
        look_at: impl Fn(u64, &Chunk) -> bool,
    ) -> impl Iterator<Item = (Sequence, Gist)> {
        let (first, last) = (from.0 >> BITS, (to.0 >> BITS).max(from.0 >> BITS));
        self.chunks
            .range(first..=last)
            .filter(move |(number, chunk)| look_at(**number, chunk))
            .flat_map(move |(number, chunk)| {
                let start = number << BITS;
                let begin = from.0.saturating_sub(start).min(u64::from(u32::MAX));
                let begin = u32::try_from(begin).unwrap_or(u32::MAX);
                let at = chunk.items.partition_point(|item| item.offset() < begin);
                let items = chunk.items.get(at..).unwrap_or_default();
                items.iter().map(move |item| (Sequence(start | u64::from(item.offset())), item))
            })
            .take_while(move |(sequence, _)| *sequence <= to)
            .map(|(sequence, item)| (sequence, item.gist()))
    }

    /// All records that lie in one slot. Looks at every record there is.
    pub(super) fn in_slot(&self, slot: u32) -> impl Iterator<Item = Sequence> {
        let all = self.walk(Sequence(0), Sequence(u64::MAX), |_, _| true);
        all.filter(move |(_, gist)| gist.slot == slot).map(|(sequence, _)| sequence)
    }

    /// The first chunk that has a record.
    pub(super) fn first_chunk(&self) -> Option<u64> {
        self.chunks.first_key_value().map(|(number, _)| *number)
    }

    /// How many records a chunk has.
    pub(super) fn count(&self, chunk: u64) -> usize {
        self.chunks.get(&chunk).map_or(0, |chunk| chunk.items.len())
    }

    /// The states of a chunk, in order: where its records stand, and gone for all others.
    pub(super) fn states(&self, chunk: u64) -> Vec<State> {
        let mut states = vec![State::Gone; CHUNK];
        let items = self.chunks.get(&chunk).map(|chunk| chunk.items.as_slice());
        for item in items.unwrap_or_default() {
            let at = usize::try_from(item.offset()).unwrap_or(usize::MAX);
            if let Some(state) = states.get_mut(at) {
                *state = State::Held(item.gist().standing);
            }
        }
        states
    }
}

fn place(Sequence(sequence): Sequence) -> (u64, u32) {
    let offset = sequence & ((1 << BITS) - 1);
    (sequence >> BITS, u32::try_from(offset).unwrap_or(0))
}

fn row(standing: Standing) -> usize {
    match standing {
        Standing::Pending => 0,
        Standing::Acknowledged => 1,
        Standing::SetAside => 2,
    }
}

fn short_of(about: About) -> u32 {
    match about {
        About::Nobody => NOBODY,
        About::Subject(tag) => short(tag),
        About::Unknown => ANYBODY,
    }
}

fn short(Tag(tag): Tag) -> u32 {
    let [_, a, b, c, ..] = tag.to_be_bytes();
    match u32::from_be_bytes([0, a, b, c]) {
        NOBODY => ANYBODY,
        short => short,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: u64) -> Tag {
        Tag(number << 32 | 7)
    }

    fn gist(about: About, random: &mut fastrand::Rng) -> Gist {
        let standings = [Standing::Pending, Standing::Acknowledged, Standing::SetAside];
        let held = Held {
            sequence: Sequence(1),
            made: None,
            notice: None,
            about,
            class: *random.choice(&Class::ALL).unwrap(),
            standing: *random.choice(&standings).unwrap(),
            bytes: vec![0; random.usize(0..=2048)],
        };
        Gist::of(&held, random.u32(..))
    }

    fn about(index: &Index, who: &[Tag], after: u64) -> Vec<u64> {
        let shorts = shorts(&who.iter().copied().collect());
        let Some(from) = after.checked_add(1) else { return Vec::new() };
        let all = index.walk(Sequence(from), Sequence(u64::MAX), |_, _| true);
        all.filter(|(_, gist)| gist.may_concern(&shorts)).map(|(sequence, _)| sequence.0).collect()
    }

    #[test]
    fn it_is_what_a_plain_map_is_through_200_000_changes() {
        let mut random = fastrand::Rng::with_seed(5);
        let (mut index, mut model) = (Index::default(), BTreeMap::new());
        let mut last = 0;
        for _ in 0..200_000 {
            last += random.u64(1..4);
            let new = gist(About::Subject(tag(random.u64(2..40))), &mut random);
            assert_eq!(index.insert(Sequence(last), &new), None);
            model.insert(last, new);
            // As the uplink does, mostly the oldest.
            let oldest = if random.bool() { model.keys().next().copied() } else { None };
            let sequence = oldest.unwrap_or_else(|| random.u64(0..=last));
            if random.u8(..) < 200 {
                assert_eq!(index.remove(Sequence(sequence)), model.remove(&sequence));
            } else {
                index.stand(Sequence(sequence), Standing::SetAside);
                if let Some(known) = model.get_mut(&sequence) {
                    known.standing = Standing::SetAside;
                }
            }
        }
        for _ in 0..200 {
            let (from, to) = (random.u64(0..=last), random.u64(0..=last));
            let found: Vec<_> = index.walk(Sequence(from), Sequence(to), |_, _| true).collect();
            let expected = model.range(from..=to.max(from)).take_while(|(key, _)| **key <= to);
            let expected: Vec<_> = expected.map(|(key, gist)| (Sequence(*key), *gist)).collect();
            assert_eq!(found, expected);
        }
        for (number, chunk) in &index.chunks {
            let range = (number << BITS)..((number + 1) << BITS);
            let of = |class, standing| {
                let records = model.range(range.clone()).map(|(_, gist)| gist);
                records.filter(|gist| gist.class == class && gist.standing == standing).count()
            };
            for class in Class::ALL {
                assert_eq!(chunk.pending_of(class), of(class, Standing::Pending));
            }
            let aside: usize = Class::ALL.map(|class| of(class, Standing::SetAside)).iter().sum();
            assert_eq!(chunk.standing(Standing::SetAside), aside);
            let states = index.states(*number);
            let held = states.iter().filter(|state| **state != State::Gone).count();
            assert_eq!((states.len(), held), (CHUNK, index.count(*number)));
        }
        for sequence in model.keys() {
            index.remove(Sequence(*sequence));
        }
        assert!(index.chunks.is_empty());
    }

    #[test]
    fn what_may_be_about_anybody_is_always_named_and_what_is_about_nobody_never() {
        let mut random = fastrand::Rng::with_seed(6);
        let mut index = Index::default();
        for (sequence, whom) in [
            (1, About::Nobody),
            (2, About::Unknown),
            (3, About::Subject(Tag(5))),
            (u64::MAX, About::Subject(tag(9))),
        ] {
            index.insert(Sequence(sequence), &gist(whom, &mut random));
        }
        assert_eq!(about(&index, &[tag(9)], 0), [2, 3, u64::MAX], "3 has a tag that says nothing");
        assert_eq!(about(&index, &[tag(8), tag(7)], 0), [2, 3]);
        assert_eq!(about(&index, &[], 0), [0; 0]);
        assert_eq!(about(&index, &[tag(9)], u64::MAX), [0; 0], "nothing lies behind that");
    }

    #[test]
    fn a_million_records_cost_little_more_than_twelve_bytes_each_and_what_is_left_of_them_too() {
        // What a chunk costs beside its items, roughly, in bytes.
        const CHUNK_COST: usize = 2 * (size_of::<u64>() + size_of::<Chunk>());
        let bytes = |index: &Index| -> usize {
            let items = index.chunks.values().map(|chunk| chunk.items.capacity() * 12 + CHUNK_COST);
            items.sum()
        };
        let mut random = fastrand::Rng::with_seed(7);
        let mut index = Index::default();
        for sequence in 1..=1_000_000_u64 {
            index.insert(Sequence(sequence), &gist(About::Nobody, &mut random));
        }
        assert_eq!(size_of::<Item>(), 12);
        assert!(bytes(&index) < 12_500_000, "{} bytes", bytes(&index));
        for sequence in (1..=1_000_000).filter(|sequence| sequence % 50 > 0) {
            index.remove(Sequence(sequence));
        }
        assert!(bytes(&index) < 20_000 * 64, "{} bytes for 20,000", bytes(&index));
    }
}

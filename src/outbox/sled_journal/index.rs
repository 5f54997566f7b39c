//! Which records may be about somebody, in memory, in about four bytes a record.
//!
//! It is built while the store is read through, which opening does anyway: keys for it on disk
//! would wear the card with each record, to serve a question that is asked a few times a day. It
//! knows 24 bits of each tag, so it names a few records too many (one in 16 million for each tag
//! asked for); whoever asks has the whole tag when it has read the record.

use std::collections::{BTreeMap, BTreeSet};

use crate::outbox::{About, Sequence, Tag};

/// So many bits of a sequence are kept beside the bits of the tag; the others name the chunk.
const OFFSET_BITS: u32 = 8;

/// How much of a tag is kept.
const TAG_BITS: u32 = 24;

/// The bits of an entry that are the tag's.
const TAG_MASK: u32 = (1 << TAG_BITS) - 1;

/// Stands for a record that may be about anybody; and for tags that happen to begin like this,
/// which then are looked at each time.
const ANYBODY: u32 = 0;

/// Records about subjects.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By the upper bits of the sequence: the lower bits and those of the tag, in order. In chunks,
    /// so that a record in the middle can go, and a few old ones cost no more than they are.
    chunks: BTreeMap<u64, Vec<u32>>,
}

impl Index {
    pub(super) fn insert(&mut self, sequence: Sequence, about: About) {
        let tag = match about {
            About::Nobody => return,
            About::Subject(tag) => short(tag),
            About::Unknown => ANYBODY,
        };
        let (chunk, offset) = place(sequence);
        let entries = self.chunks.entry(chunk).or_default();
        // Nearly always at the end.
        let at = entries.partition_point(|entry| offset_of(*entry) < offset);
        entries.insert(at, offset << TAG_BITS | tag);
    }

    pub(super) fn remove(&mut self, sequence: Sequence) {
        let (chunk, offset) = place(sequence);
        let Some(entries) = self.chunks.get_mut(&chunk) else { return };
        if let Ok(at) = entries.binary_search_by_key(&offset, |entry| offset_of(*entry)) {
            entries.remove(at);
        }
        if entries.is_empty() {
            self.chunks.remove(&chunk);
        } else if entries.len() <= entries.capacity() / 4 {
            entries.shrink_to_fit();
        }
    }

    /// The records behind `after` that may be about one of these, oldest first.
    pub(super) fn candidates(
        &self,
        who: &BTreeSet<Tag>,
        after: Option<Sequence>,
    ) -> impl Iterator<Item = Sequence> {
        let first = after.map_or(0, |after| after.0.saturating_add(1));
        let mut shorts: Vec<u32> = who.iter().map(|tag| short(*tag)).collect();
        if !shorts.is_empty() {
            shorts.push(ANYBODY);
        }
        shorts.sort_unstable();
        self.chunks
            .range(first >> OFFSET_BITS..)
            .flat_map(|(chunk, entries)| entries.iter().map(move |entry| (*chunk, *entry)))
            .filter(move |(_, entry)| shorts.binary_search(&(entry & TAG_MASK)).is_ok())
            .map(|(chunk, entry)| chunk << OFFSET_BITS | u64::from(offset_of(entry)))
            .filter(move |sequence| *sequence >= first)
            .map(Sequence)
    }
}

fn place(Sequence(sequence): Sequence) -> (u64, u32) {
    let [.., offset] = sequence.to_be_bytes();
    (sequence >> OFFSET_BITS, offset.into())
}

fn offset_of(entry: u32) -> u32 {
    entry >> TAG_BITS
}

fn short(Tag(tag): Tag) -> u32 {
    let [_, a, b, c, ..] = tag.to_be_bytes();
    u32::from_be_bytes([0, a, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: u64) -> Tag {
        Tag(number << 32 | 7)
    }

    fn about(index: &Index, who: &[Tag], after: u64) -> Vec<u64> {
        let who = who.iter().copied().collect();
        index.candidates(&who, Some(Sequence(after))).map(|sequence| sequence.0).collect()
    }

    #[test]
    fn it_finds_exactly_what_a_plain_map_finds_through_600_000_changes() {
        let mut random = fastrand::Rng::with_seed(5);
        let (mut index, mut model) = (Index::default(), BTreeMap::new());
        let mut last = 0;
        for _ in 0..300_000 {
            last += random.u64(1..4);
            let subject = random.u64(1..40);
            index.insert(Sequence(last), About::Subject(tag(subject)));
            model.insert(last, subject);
            // As the uplink does, mostly the oldest.
            let gone = if random.bool() { model.keys().next().copied() } else { None };
            let gone = gone.unwrap_or_else(|| random.u64(0..=last));
            index.remove(Sequence(gone));
            model.remove(&gone);
        }
        for subject in 0..41 {
            let after = random.u64(0..=last);
            let expected = model.range(after + 1..).filter(|(_, whose)| **whose == subject);
            let expected: Vec<u64> = expected.map(|(sequence, _)| *sequence).collect();
            assert_eq!(about(&index, &[tag(subject)], after), expected);
        }
        for sequence in model.keys() {
            index.remove(Sequence(*sequence));
        }
        assert!(index.chunks.is_empty());
    }

    #[test]
    fn what_may_be_about_anybody_is_always_named_and_what_is_about_nobody_never() {
        let mut index = Index::default();
        index.insert(Sequence(1), About::Nobody);
        index.insert(Sequence(2), About::Unknown);
        index.insert(Sequence(u64::MAX), About::Subject(tag(9)));
        assert_eq!(about(&index, &[tag(9)], 0), [2, u64::MAX]);
        assert_eq!(about(&index, &[tag(8), tag(7)], 0), [2]);
        assert_eq!(about(&index, &[], 0), [0; 0]);
        assert_eq!(about(&index, &[tag(9)], u64::MAX), [u64::MAX], "nothing lies behind that");
    }

    #[test]
    fn a_million_records_cost_little_more_than_four_bytes_each_and_what_is_left_of_them_too() {
        // What a vector and its place in the map cost beside its contents, roughly, in bytes.
        const CHUNK: usize = 16 + 2 * (size_of::<u64>() + size_of::<Vec<u32>>());
        let bytes = |index: &Index| -> usize {
            let entries = index.chunks.values().map(|entries| entries.capacity() * 4 + CHUNK);
            entries.sum()
        };
        let mut index = Index::default();
        for sequence in 1..=1_000_000_u64 {
            index.insert(Sequence(sequence), About::Subject(tag(sequence % 100_000)));
        }
        assert!(bytes(&index) < 4_500_000, "{} bytes", bytes(&index));
        for sequence in (1..=1_000_000).filter(|sequence| sequence % 50 > 0) {
            index.remove(Sequence(sequence));
        }
        assert!(bytes(&index) < 20_000 * 32, "{} bytes for 20,000", bytes(&index));
    }
}

//! A hash table for values that nobody can choose: 32 bits of a value in, whose it may be out.
//!
//! Eight octets an entry and a third of them to spare. The values are outputs of a cipher or a hash
//! under secret keys, so their first bits are their hash, and no stranger can crowd a place. Two
//! values that agree in 32 bits are told apart by whoever asks, by deriving the value again.

use std::fmt;

/// An entry's place is in proportion to its tag, and the next free one after it (linear probing).
///
/// `Debug` shows its size only: the entries are parts of what members send.
#[derive(Default)]
pub(in crate::engine::identity) struct Table<T> {
    entries: Vec<Entry<T>>,
    used: usize,
}

/// A tag of zero marks a free place; a value whose tag is zero gets one.
#[derive(Clone, Copy, Default)]
struct Entry<T> {
    tag: u32,
    what: T,
}

impl<T: Copy + Default> Table<T> {
    /// A table with room for so many entries and a few more.
    pub(in crate::engine::identity) fn with_room(entries: usize) -> Self {
        let places = entries.saturating_add(entries / 3).saturating_add(8);
        Self { entries: vec![Entry::default(); places], used: 0 }
    }

    /// Adds an entry, whether or not there is another with the same tag.
    pub(in crate::engine::identity) fn insert(&mut self, tag: u32, what: T) {
        // Beyond seven eighths the runs of taken places grow long.
        if (self.used + 1) * 8 > self.entries.len() * 7 {
            self.grow();
        }
        let tag = tag.max(1);
        let start = self.start(tag);
        let (before, after) = self.entries.split_at_mut(start);
        if let Some(free) = after.iter_mut().chain(before).find(|entry| entry.tag == 0) {
            *free = Entry { tag, what };
            self.used += 1;
        }
    }

    /// What was added with this tag.
    pub(in crate::engine::identity) fn find(&self, tag: u32) -> impl Iterator<Item = T> {
        let tag = tag.max(1);
        let (before, after) = self.entries.split_at(self.start(tag));
        let run = after.iter().chain(before).take_while(|entry| entry.tag != 0);
        run.filter(move |entry| entry.tag == tag).map(|entry| entry.what)
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(in crate::engine::identity) fn len(&self) -> usize {
        self.used
    }

    /// The octets it takes.
    #[cfg(test)]
    pub(in crate::engine::identity) fn octets(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<T>>()
    }

    fn grow(&mut self) {
        let larger = Self::with_room(self.entries.len().max(64));
        let entries = std::mem::replace(self, larger).entries;
        for entry in entries.into_iter().filter(|entry| entry.tag != 0) {
            self.insert(entry.tag, entry.what);
        }
    }

    /// Where the search for a tag begins; never beyond the end.
    fn start(&self, tag: u32) -> usize {
        let places = self.entries.len() as u128;
        usize::try_from((u128::from(tag) * places) >> 32).unwrap_or(0)
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("used", &self.used).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_and_nothing_else() {
        let mut table = Table::with_room(2);
        // Far more than it was made for, at both ends, twice the same, and a tag of zero.
        let tags = (0..5000).map(|n: u32| n.wrapping_mul(0x9e37_79b9)).chain([u32::MAX, 1, 0]);
        for (n, tag) in (0_u32..).zip(tags.clone()) {
            table.insert(tag, n);
        }
        for (n, tag) in (0_u32..).zip(tags) {
            assert!(table.find(tag).any(|found| found == n), "{tag:x}");
        }
        assert_eq!(table.len(), 5003);
        assert_eq!(table.find(0).count(), 3, "0, 0 and 1 share a tag");
        assert_eq!(table.find(2).count(), 0);
    }

    #[test]
    fn a_run_at_the_end_goes_on_at_the_beginning() {
        let mut table = Table::with_room(8);
        for n in 0..6 {
            table.insert(u32::MAX, n);
        }
        assert_eq!(table.find(u32::MAX).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_table_shows_nothing_of_what_is_in_it() {
        let mut table = Table::with_room(1);
        table.insert(0xabcd_ef01, 7);
        assert_eq!(format!("{table:?}"), "Table { used: 1, .. }");
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        assert_eq!(Table::<u32>::default().find(7).count(), 0);
    }
}

//! Records at hand in, the next one to send out. It keeps the order of what is about the same. Pure.
//!
//! Of records about the same subject, fixture or zone only so many are under way at once, usually
//! one: whatever the broker does with it (accept, refuse, lose it with the connection), the next
//! one has not been sent. Records about different ones, and those about nothing in particular, do
//! not wait for each other.

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::outbox::{Sequence, Stored, Tag};

/// What goes first, and who put it on the shelf. Between equals the older record goes first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Rank {
    /// New, with nothing older about the same left behind.
    Live,
    /// What something new has to wait for.
    Older,
    /// What waited while there was no connection.
    Backlog,
}

/// Records that were fetched, and what is under way of them.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// How many about the same may be under way at once.
    each: usize,
    /// Those about somebody or something, each in order.
    lines: FxHashMap<Tag, Line>,
    /// The lines whose first record may go.
    ready: BTreeSet<(Rank, Sequence, Tag)>,
    /// Those about nothing in particular, in the order of their lane.
    loose_live: VecDeque<Stored>,
    loose_backlog: VecDeque<Stored>,
    /// What is on the shelf.
    held: FxHashSet<Sequence>,
    /// How many of them were put there as each.
    counts: Counts,
    /// What was taken from the shelf and is not settled, and whom it is about.
    under_way: FxHashMap<Sequence, Option<Tag>>,
}

/// Records about the same.
#[derive(Debug)]
struct Line {
    rank: Rank,
    /// In order, with the rank they were put there with.
    records: VecDeque<(Rank, Stored)>,
    under_way: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    live: usize,
    older: usize,
    backlog: usize,
}

impl Shelf {
    /// An empty one, for so many under way about the same, at least one.
    pub(super) fn new(each: usize) -> Self {
        Self { each: each.max(1), ..Self::default() }
    }

    /// Puts a record on the shelf, behind older ones about the same. Returns whether it was new:
    /// not on the shelf, and not under way.
    pub(super) fn put(&mut self, stored: Stored, rank: Rank) -> bool {
        let sequence = stored.sequence;
        if self.under_way.contains_key(&sequence) || !self.held.insert(sequence) {
            return false;
        }
        let Some(tag) = stored.about else {
            // Nothing older belongs to it.
            let rank = if rank == Rank::Older { Rank::Live } else { rank };
            *self.counts.of(rank) += 1;
            let lane = match rank {
                Rank::Live | Rank::Older => &mut self.loose_live,
                Rank::Backlog => &mut self.loose_backlog,
            };
            insert(lane, stored, |stored| stored.sequence);
            return true;
        };
        *self.counts.of(rank) += 1;
        self.unready(tag);
        let line = self.lines.entry(tag).or_insert_with(|| Line {
            rank,
            records: VecDeque::new(),
            under_way: 0,
        });
        // What is older about the same goes first, so it becomes as urgent.
        line.rank = line.rank.min(rank);
        insert(&mut line.records, (rank, stored), |(_, stored)| stored.sequence);
        self.make_ready(tag);
        true
    }

    /// Says how urgent the records about somebody are from now on.
    pub(super) fn rank(&mut self, tag: Tag, rank: Rank) {
        self.unready(tag);
        if let Some(line) = self.lines.get_mut(&tag) {
            line.rank = rank;
        }
        self.make_ready(tag);
    }

    /// Takes the next record. It is under way until it is [settled](Self::settle).
    pub(super) fn next(&mut self) -> Option<Stored> {
        let ready = self.ready.first().copied();
        let newest = self.loose_live.front().map(|first| (Rank::Live, first.sequence));
        let oldest = self.loose_backlog.front().map(|first| (Rank::Backlog, first.sequence));
        let loose = newest.or(oldest);
        let (rank, stored) = match (ready, loose) {
            (Some((rank, sequence, tag)), loose)
                if loose.is_none_or(|loose| (rank, sequence) < loose) =>
            {
                self.unready(tag);
                let line = self.lines.get_mut(&tag)?;
                let taken = line.records.pop_front()?;
                line.under_way += 1;
                self.make_ready(tag);
                taken
            }
            (_, Some((Rank::Backlog, _))) => (Rank::Backlog, self.loose_backlog.pop_front()?),
            (_, Some(_)) => (Rank::Live, self.loose_live.pop_front()?),
            (_, None) => return None,
        };
        self.forget(stored.sequence, rank);
        self.under_way.insert(stored.sequence, stored.about);
        Some(stored)
    }

    /// Whether there is a record that may go.
    pub(super) fn has_next(&self) -> bool {
        !(self.ready.is_empty() && self.loose_live.is_empty() && self.loose_backlog.is_empty())
    }

    /// What was under way is no longer: it has left the outbox, or it will be fetched again.
    pub(super) fn settle(&mut self, sequence: Sequence) {
        let Some(Some(tag)) = self.under_way.remove(&sequence) else { return };
        self.unready(tag);
        if let Some(line) = self.lines.get_mut(&tag) {
            line.under_way = line.under_way.saturating_sub(1);
            if line.under_way == 0 && line.records.is_empty() {
                self.lines.remove(&tag);
            }
        }
        self.make_ready(tag);
    }

    /// Takes everything about somebody off the shelf. Returns how many records that were.
    pub(super) fn drop_line(&mut self, tag: Tag) -> usize {
        self.unready(tag);
        let Some(line) = self.lines.get_mut(&tag) else { return 0 };
        let dropped = std::mem::take(&mut line.records);
        if line.under_way == 0 {
            self.lines.remove(&tag);
        }
        for (rank, stored) in &dropped {
            self.forget(stored.sequence, *rank);
        }
        dropped.len()
    }

    /// Takes everything off the shelf. What is under way stays under way.
    pub(super) fn clear(&mut self) {
        self.ready.clear();
        self.loose_live.clear();
        self.loose_backlog.clear();
        self.held.clear();
        self.counts = Counts::default();
        self.lines.retain(|_, line| {
            line.records.clear();
            line.rank = Rank::Backlog;
            line.under_way > 0
        });
    }

    /// Whom something under way is about.
    pub(super) fn whose(&self, sequence: Sequence) -> Option<Tag> {
        self.under_way.get(&sequence).copied().flatten()
    }

    /// How many records are on it.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// How many of these were put there with this rank.
    pub(super) fn len_as(&self, rank: Rank) -> usize {
        let Counts { live, older, backlog } = self.counts;
        match rank {
            Rank::Live => live,
            Rank::Older => older,
            Rank::Backlog => backlog,
        }
    }

    /// How many there are about somebody.
    pub(super) fn len_of(&self, tag: Tag) -> usize {
        self.lines.get(&tag).map_or(0, |line| line.records.len())
    }

    /// The oldest that is on it or under way.
    pub(super) fn oldest(&self) -> Option<Sequence> {
        self.held.iter().chain(self.under_way.keys()).min().copied()
    }

    fn forget(&mut self, sequence: Sequence, rank: Rank) {
        if self.held.remove(&sequence) {
            let count = self.counts.of(rank);
            *count = count.saturating_sub(1);
        }
    }

    /// To be called before anything about a line changes.
    fn unready(&mut self, tag: Tag) {
        if let Some(entry) = self.entry(tag) {
            self.ready.remove(&entry);
        }
    }

    /// To be called after it has changed.
    fn make_ready(&mut self, tag: Tag) {
        let each = self.each;
        if let Some(entry) = self.entry(tag)
            && self.lines.get(&tag).is_some_and(|line| line.under_way < each)
        {
            self.ready.insert(entry);
        }
    }

    fn entry(&self, tag: Tag) -> Option<(Rank, Sequence, Tag)> {
        let line = self.lines.get(&tag)?;
        let (_, first) = line.records.front()?;
        Some((line.rank, first.sequence, tag))
    }
}

impl Counts {
    fn of(&mut self, rank: Rank) -> &mut usize {
        match rank {
            Rank::Live => &mut self.live,
            Rank::Older => &mut self.older,
            Rank::Backlog => &mut self.backlog,
        }
    }
}

/// Puts a record where it belongs: nearly always at the end.
fn insert<T>(lane: &mut VecDeque<T>, record: T, sequence: impl Fn(&T) -> Sequence) {
    let new = sequence(&record);
    if lane.back().is_none_or(|last| sequence(last) < new) {
        lane.push_back(record);
    } else {
        let at = lane.partition_point(|other| sequence(other) < new);
        lane.insert(at, record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Class;

    fn stored(sequence: u64, about: u64) -> Stored {
        let about = (about > 0).then_some(Tag(about));
        let (sequence, class) = (Sequence(sequence), Class::Presence);
        Stored { sequence, about, class, epoch: None, bytes: Vec::new() }
    }

    fn take(shelf: &mut Shelf) -> Vec<u64> {
        std::iter::from_fn(|| shelf.next()).map(|stored| stored.sequence.0).collect()
    }

    #[test]
    fn what_is_about_the_same_goes_one_after_the_other_and_others_do_not_wait_for_it() {
        let mut shelf = Shelf::new(1);
        for (sequence, about) in [(1, 7), (2, 7), (3, 8), (4, 0), (5, 0), (6, 7)] {
            assert!(shelf.put(stored(sequence, about), Rank::Backlog));
        }
        assert_eq!(take(&mut shelf), [1, 3, 4, 5]);
        shelf.settle(Sequence(3));
        assert_eq!(take(&mut shelf), [0; 0], "2 waits for 1 and for nothing else");
        shelf.settle(Sequence(1));
        assert_eq!(take(&mut shelf), [2]);
        shelf.settle(Sequence(2));
        assert_eq!(take(&mut shelf), [6]);
        shelf.settle(Sequence(6));
        assert!(shelf.lines.is_empty(), "nothing is kept about whom nothing is left");
    }

    #[test]
    fn more_about_the_same_are_under_way_where_that_is_allowed() {
        let mut shelf = Shelf::new(2);
        for sequence in 1..=5 {
            shelf.put(stored(sequence, 7), Rank::Backlog);
        }
        assert_eq!(take(&mut shelf), [1, 2]);
        shelf.settle(Sequence(2));
        assert_eq!(take(&mut shelf), [3]);
    }

    #[test]
    fn the_urgent_goes_first_and_with_it_what_is_older_about_the_same() {
        let mut shelf = Shelf::new(1);
        shelf.put(stored(1, 7), Rank::Backlog);
        shelf.put(stored(2, 8), Rank::Backlog);
        shelf.put(stored(3, 0), Rank::Backlog);
        shelf.put(stored(90, 9), Rank::Live);
        shelf.put(stored(91, 0), Rank::Live);
        shelf.put(stored(92, 8), Rank::Live);
        shelf.rank(Tag(8), Rank::Older);
        assert_eq!(take(&mut shelf), [90, 91, 2, 1, 3]);
        shelf.settle(Sequence(2));
        assert_eq!(take(&mut shelf), [92]);
    }

    #[test]
    fn nothing_is_on_the_shelf_twice_nor_while_it_is_under_way() {
        let mut shelf = Shelf::new(1);
        assert!(shelf.put(stored(1, 7), Rank::Backlog));
        assert!(!shelf.put(stored(1, 7), Rank::Live));
        assert_eq!(take(&mut shelf), [1]);
        assert!(!shelf.put(stored(1, 7), Rank::Backlog));
        shelf.settle(Sequence(1));
        assert!(shelf.put(stored(1, 7), Rank::Backlog));
        assert_eq!((shelf.len(), shelf.len_as(Rank::Backlog)), (1, 1));
    }

    #[test]
    fn a_cleared_shelf_still_knows_what_is_under_way() {
        let mut shelf = Shelf::new(1);
        for sequence in 1..=4 {
            shelf.put(stored(sequence, 7), Rank::Backlog);
        }
        take(&mut shelf);
        shelf.clear();
        assert_eq!(
            (shelf.len(), shelf.len_as(Rank::Backlog), shelf.oldest()),
            (0, 0, Some(Sequence(1)))
        );
        shelf.put(stored(2, 7), Rank::Backlog);
        shelf.put(stored(1, 7), Rank::Backlog);
        assert_eq!(take(&mut shelf), [0; 0]);
        shelf.settle(Sequence(1));
        assert_eq!(take(&mut shelf), [2]);
    }

    #[test]
    fn a_dropped_line_is_gone_and_the_others_stay() {
        let mut shelf = Shelf::new(1);
        for (sequence, about) in [(1, 7), (2, 7), (3, 7), (4, 8)] {
            shelf.put(stored(sequence, about), Rank::Backlog);
        }
        assert_eq!(shelf.next().map(|stored| stored.sequence), Some(Sequence(1)));
        assert_eq!((shelf.whose(Sequence(1)), shelf.drop_line(Tag(7))), (Some(Tag(7)), 2));
        shelf.settle(Sequence(1));
        assert_eq!((take(&mut shelf), shelf.len_as(Rank::Backlog)), (vec![4], 0));
    }
}

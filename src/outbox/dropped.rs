//! What the outbox says when records are lost: which, how many, and why; and the form in which it
//! keeps that.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::UnixTime;

use super::{Ranges, Sequence};

/// The form that is written and read.
const FORM: u8 = 1;

/// Records that left the outbox in another way than having been delivered, all for one reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dropped {
    /// Why.
    pub why: DropReason,
    /// Exactly which.
    pub ranges: Ranges,
    /// How many more there were that never had a sequence, or of which it is not known.
    pub unnumbered: u64,
    /// When the oldest of them was made, as far as that is known. Where one account was told in
    /// several notices, this is said of all of it.
    pub first_made: Option<UnixTime>,
    /// When the newest of them was made, as far as that is known.
    pub last_made: Option<UnixTime>,
}

/// Why records left the outbox without having been delivered.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum DropReason {
    /// The outbox held all that it may; these made room.
    Full,
    /// They were older than `max_age`.
    TooOld,
    /// They had more bytes than [`MAX_RECORD`](super::MAX_RECORD).
    TooBig,
    /// They may no longer be sent: the consent they were made under has ended.
    Erased,
    /// The broker refuses them for good. They are held as dead letters, and may yet be delivered.
    SetAside,
    /// They could not be read.
    Unreadable,
    /// The store was damaged; they were in it.
    Damaged,
    /// The disk was away, and there was no more room in memory.
    Disk,
}

/// Makes the record that tells the platform of a loss. The outbox stores bytes and does not know
/// what a record looks like, so whoever starts it says how to word this one.
pub type Notice = Box<dyn FnMut(&Dropped) -> Vec<u8> + Send>;

/// A [`Dropped`] as it is kept on the disk.
#[derive(Deserialize, Serialize)]
struct Form {
    version: u8,
    why: u8,
    unnumbered: u64,
    first_made: Option<i64>,
    last_made: Option<i64>,
    /// Of each range, how far its first is behind the last of the one before, and how many follow.
    ranges: Vec<(u64, u64)>,
}

// === impl Dropped ===

impl Dropped {
    /// No loss yet.
    pub const fn none(why: DropReason) -> Self {
        Self { why, ranges: Ranges::new(), unnumbered: 0, first_made: None, last_made: None }
    }

    /// A loss of one record.
    pub fn one(why: DropReason, sequence: Sequence, made: Option<UnixTime>) -> Self {
        let mut dropped = Self::none(why);
        dropped.ranges.add(sequence);
        (dropped.first_made, dropped.last_made) = (made, made);
        dropped
    }

    /// A loss of so many records of which nobody knows the sequences.
    pub fn unnumbered(why: DropReason, count: u64) -> Self {
        Self { unnumbered: count, ..Self::none(why) }
    }

    /// How many records were lost.
    pub fn count(&self) -> u64 {
        self.ranges.count().saturating_add(self.unnumbered)
    }

    /// Takes over what another account tells of, keeping this one's reason.
    pub fn absorb(&mut self, other: &Self) {
        self.ranges.extend_from(&other.ranges);
        self.unnumbered = self.unnumbered.saturating_add(other.unnumbered);
        let times = || [self.first_made, self.last_made, other.first_made, other.last_made];
        let (oldest, newest) =
            (times().into_iter().flatten().min(), times().into_iter().flatten().max());
        (self.first_made, self.last_made) = (oldest, newest);
    }

    /// Takes the first `most` ranges out, and all that has no sequence.
    #[must_use]
    pub(super) fn split_off(&mut self, most: usize) -> Self {
        let mut rest = Ranges::new();
        let mut part = Self { ranges: Ranges::new(), ..*self };
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let ranges = if at < most { &mut part.ranges } else { &mut rest };
            ranges.add_range(first, last);
        }
        (self.ranges, self.unnumbered) = (rest, 0);
        part
    }

    /// The form for the disk.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut behind = 0;
        let ranges = self.ranges.iter().map(|(first, last)| {
            let range = (first.0.saturating_sub(behind), last.0.saturating_sub(first.0));
            behind = last.0;
            range
        });
        let form = Form {
            version: FORM,
            why: self.why.number(),
            unnumbered: self.unnumbered,
            first_made: self.first_made.map(UnixTime::as_millis),
            last_made: self.last_made.map(UnixTime::as_millis),
            ranges: ranges.collect(),
        };
        postcard::to_extend(&form, Vec::new()).unwrap_or_default()
    }

    /// Reads the form from the disk; `None` when it is not one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let form: Form =
            postcard::from_bytes(bytes).ok().filter(|form: &Form| form.version == FORM)?;
        let mut dropped = Self::none(DropReason::of_number(form.why)?);
        let mut behind = 0_u64;
        for (gap, more) in form.ranges {
            let first = behind.checked_add(gap)?;
            behind = first.checked_add(more)?;
            dropped.ranges.add_range(Sequence(first), Sequence(behind));
        }
        dropped.unnumbered = form.unnumbered;
        dropped.first_made = form.first_made.map(UnixTime::from_millis);
        dropped.last_made = form.last_made.map(UnixTime::from_millis);
        Some(dropped)
    }
}

// === impl DropReason ===

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Full,
        Self::TooOld,
        Self::TooBig,
        Self::Erased,
        Self::SetAside,
        Self::Unreadable,
        Self::Damaged,
        Self::Disk,
    ];

    /// As it stands in events and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::TooOld => "too_old",
            Self::TooBig => "too_big",
            Self::Erased => "erased",
            Self::SetAside => "set_aside",
            Self::Unreadable => "unreadable",
            Self::Damaged => "damaged",
            Self::Disk => "disk",
        }
    }

    /// As it stands on the disk.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Full => 0,
            Self::TooOld => 1,
            Self::TooBig => 2,
            Self::Erased => 3,
            Self::SetAside => 4,
            Self::Unreadable => 5,
            Self::Damaged => 6,
            Self::Disk => 7,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.number() == number)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> UnixTime {
        UnixTime::from_millis(millis)
    }

    fn account(ranges: &[(u64, u64)]) -> Dropped {
        let mut dropped = Dropped::none(DropReason::Full);
        for &(first, last) in ranges {
            dropped.ranges.add_range(Sequence(first), Sequence(last));
        }
        dropped
    }

    #[test]
    fn an_account_that_absorbs_another_tells_of_exactly_both() {
        let mut later = Dropped::one(DropReason::TooOld, Sequence(90), Some(at(900)));
        let earlier =
            Dropped { unnumbered: 2, first_made: Some(at(30)), ..account(&[(3, 9), (89, 89)]) };
        later.absorb(&earlier);
        let both = Dropped {
            why: DropReason::TooOld,
            unnumbered: 2,
            first_made: Some(at(30)),
            last_made: Some(at(900)),
            ..account(&[(3, 9), (89, 90)])
        };
        assert_eq!((later.count(), later), (11, both));
    }

    #[test]
    fn an_account_that_is_split_loses_nothing() {
        let mut rest = Dropped { unnumbered: 4, ..account(&[(1, 1), (3, 5), (9, 9)]) };
        let part = rest.split_off(2);
        assert_eq!(part, Dropped { unnumbered: 4, ..account(&[(1, 1), (3, 5)]) });
        assert_eq!(rest, account(&[(9, 9)]));
        assert_eq!(rest.split_off(2), account(&[(9, 9)]));
        assert_eq!(rest.count(), 0);
    }

    #[test]
    fn what_is_kept_is_read_back_and_nothing_else_is_taken_for_it() {
        for why in DropReason::ALL {
            let all = account(&[(0, 0), (7, 9), (1 << 40, u64::MAX - 3), (u64::MAX, u64::MAX)]);
            let dropped = Dropped { why, unnumbered: 5, first_made: Some(at(-1)), ..all };
            let bytes = dropped.encode();
            assert_eq!(Dropped::decode(&bytes), Some(dropped));
            for length in 0..bytes.len() {
                assert_eq!(Dropped::decode(&bytes[..length]), None);
            }
        }
        assert_eq!(Dropped::decode(b"\x02\x00\x00\x00\x00\x00"), None, "another form");
        let beyond = [1, 0, 0, 0, 0, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1];
        assert_eq!(Dropped::decode(&beyond), None, "a number that there is not");
    }
}

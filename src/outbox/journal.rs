//! What the room needs of a store, and nothing about sled.

use std::collections::BTreeSet;

use crate::engine::UnixTime;

use super::{About, Class, Dropped, Entry, OutboxError, Ranges, Sequence, Standing, Tag};

/// The largest record, in bytes. sled keeps nodes above a quarter of a segment (128 KiB) in files
/// that it never syncs; a leaf holds up to 17 blocks of records, which have at most 7 KiB if a record
/// has 2 KiB.
pub const MAX_RECORD: usize = 2048;

/// The longest name of a kept value, in bytes. The value itself may have [`MAX_RECORD`] bytes.
pub const MAX_SLOT: usize = 200;

/// A durable queue of records with numbers that are never reused.
///
/// Everything changed is volatile until [`sync`](Self::sync), which makes all of it durable in one
/// step: after a power cut there is either all of a commit or nothing of it. The methods block.
///
/// Four of the verbs are the queue: `append`, `sync`, `oldest`, `remove`. `keep` and `kept` hold
/// small named values, and are here because of that one step: the checkpoint of an open visit says
/// "this is what has been told about the visit so far", and must never be newer or older on disk
/// than the records it speaks of. In a file of its own it would be either.
///
/// The rest is for people who withdraw: `oldest_about` finds what is about them, `replace` takes
/// out of a record what is no longer covered, and `owe_scrub` and `scrub` see to it that what was
/// removed does not stay behind in the files, where a store may keep it long after.
pub trait Journal {
    /// Which life of the store this is. A store that was started afresh has another one, and only
    /// the pair of epoch and sequence names a record.
    fn epoch(&self) -> u32;

    /// The first sequence of this epoch. A store that takes the place of another goes on counting
    /// where that one ended, if it could be read so far.
    fn first(&self) -> Sequence {
        Sequence(1)
    }

    /// Under which epoch a sequence was given. That is another one for records that were saved from
    /// a store that could not be read any more: a fresh store goes on counting where that one ended,
    /// so a sequence still names one record only.
    fn epoch_of(&self, _sequence: Sequence) -> u32 {
        self.epoch()
    }

    /// Takes a record in; it may still be lost. `notice` is given for a record that tells of
    /// losses: should it be dropped in its turn, the losses can be told again.
    fn append(&mut self, entry: Entry, notice: Option<Dropped>) -> Result<Sequence, OutboxError>;

    /// Makes everything that was changed survive a power cut. Returns the last sequence ever
    /// given to a durable record, `None` before the first. An error is final: nobody knows what
    /// the disk has, so the journal refuses all further work and has to be opened again.
    fn sync(&mut self) -> Result<Option<Sequence>, OutboxError>;

    /// The oldest records behind `after` that would survive a power cut, at most `limit`. A record
    /// that is about to be removed is not shown.
    fn oldest(&mut self, after: Option<Sequence>, limit: usize) -> Result<Vec<Held>, OutboxError>;

    /// The oldest records behind `after`, in whichever standing, that are about one of these or of
    /// which that is not known; at most `limit`.
    fn oldest_about(
        &mut self,
        who: &BTreeSet<Tag>,
        after: Option<Sequence>,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError>;

    /// Puts other bytes in the place of a record's; all else about it stays as it is. They are
    /// shown from now on. `false` when the record is not there (any more).
    fn replace(&mut self, sequence: Sequence, bytes: Vec<u8>) -> Result<bool, OutboxError>;

    /// Changes where a record stands. `false` when it is not there (any more), or stands there
    /// already.
    fn stand(&mut self, sequence: Sequence, standing: Standing) -> Result<bool, OutboxError>;

    /// The oldest pending records of a class that would survive a power cut, at most `limit`.
    fn oldest_of(&mut self, class: Class, limit: usize) -> Result<Vec<Held>, OutboxError>;

    /// The oldest records of a standing that would survive a power cut, at most `limit`.
    fn oldest_standing(
        &mut self,
        standing: Standing,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError>;

    /// What is held from `from` to `to`, in whichever standing, and would survive a power cut; at
    /// most `limit`, oldest first.
    fn range(
        &mut self,
        from: Sequence,
        to: Sequence,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError>;

    /// Forgets a record, wherever it stands. `false` when it is not there (any more).
    fn remove(&mut self, sequence: Sequence) -> Result<bool, OutboxError>;

    /// Keeps a small value under a name until it is replaced, or with `None` forgets it.
    fn keep(&mut self, slot: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), OutboxError>;

    /// The kept values that would survive a power cut, by name.
    fn kept(&self) -> Result<Vec<Kept>, OutboxError>;

    /// How much waits to be sent, counting what has been changed but not synced.
    fn pending(&self) -> Pending {
        Class::ALL.iter().fold(Pending::default(), |sum, class| sum.and(self.pending_of(*class)))
    }

    /// The same, for one class.
    fn pending_of(&self, class: Class) -> Pending;

    /// How much is held in a standing, counting what has been changed but not synced.
    fn standing(&self, standing: Standing) -> Pending;

    /// Sequences whose records were found to be lost or damaged since this was asked last. With the
    /// next sync they are gone; until then they are found again after a power cut. So they are to be
    /// accounted for with that same sync.
    fn damaged(&mut self) -> Result<Ranges, OutboxError> {
        Ok(Ranges::new())
    }

    /// Notes that whatever was removed or replaced up to the next sync must also vanish from the
    /// files. With that sync it becomes a debt that survives a power cut.
    fn owe_scrub(&mut self);

    /// Whether there is such a debt.
    fn owes_scrub(&self) -> bool;

    /// How many bytes were written to the disk since the journal was opened, as far as that can be
    /// told; 0 where there is no disk.
    fn written(&self) -> u64 {
        0
    }

    /// Pays a part of the debt, in about the time of a commit. Between two parts the journal may
    /// be used as ever.
    fn scrub(&mut self) -> Result<Scrub, OutboxError>;
}

/// How far a scrub has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scrub {
    /// There is more to do.
    Underway,
    /// Nothing of what was removed before it began is in the files any more. There may be a new
    /// debt, from what was removed since.
    Done,
    /// It could not be done, and the store is as it was before; the debt stays.
    Failed,
}

/// A durable record with all that the outbox knows about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// Its place in the outbox.
    pub sequence: Sequence,
    /// When it was made, if the clock was synced then.
    pub made: Option<UnixTime>,
    /// The losses it tells of, if it is a notice.
    pub notice: Option<Dropped>,
    /// Whom it is about.
    pub about: About,
    /// What it is worth when there is not room for all.
    pub class: Class,
    /// Where it stands.
    pub standing: Standing,
    /// The encoded record.
    pub bytes: Vec<u8>,
}

/// A kept value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Its name.
    pub slot: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// How much an outbox holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pending {
    /// Records.
    pub records: u64,
    /// Bytes of these records as they were given, before they are squeezed: on disk they take
    /// about as much.
    pub bytes: u64,
}

impl Pending {
    pub(super) fn add(&mut self, record: usize) {
        self.records = self.records.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::try_from(record).unwrap_or(u64::MAX));
    }

    /// The sum of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_add(other.records),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    pub(super) fn replace(&mut self, old: usize, new: usize) {
        self.take(old);
        self.add(new);
    }

    pub(super) fn take(&mut self, record: usize) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::try_from(record).unwrap_or(u64::MAX));
    }
}

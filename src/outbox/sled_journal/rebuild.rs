//! A store written anew from what is in it, so that nothing else is in its files.
//!
//! sled appends. What is removed or overwritten stays in its log until the whole segment around it
//! (512 KiB) has been moved away and is written over, which in a quiet store may be never; so a
//! removed record can be read from the card with `strings`. The one way to be rid of it is a new
//! log. It is written in parts beside the live store, which goes on being used: what is committed
//! there meanwhile is repeated here. When the new one is complete and synced it gets the next
//! number, and the old directory is deleted. A crash leaves either the old one or both, and then the
//! one with the higher number is live and complete.
//!
//! What this cannot reach is the card itself: the blocks of deleted files hold their bytes until
//! the file system hands them out again, and a flash card keeps copies that nobody can ask for.

use std::{collections::BTreeMap, error::Error, fs, mem, path::PathBuf};

use crate::outbox::{Held, OutboxError, Sequence};

use super::{
    StoreOptions, open,
    place::Place,
    stored::{self, HEAD, Head, KEPT},
};

/// How much is copied in one part, in records and in bytes: sled writes about four times as much,
/// which takes a slow card a tenth of a second.
const PART: usize = 512;
const PART_BYTES: usize = 256 << 10;

/// A store in the making.
pub(super) struct Rebuild {
    db: sled::Db,
    path: PathBuf,
    /// The first record that was not copied yet.
    next: Sequence,
    /// Something that was copied has been removed or replaced since, so the new log is not free of
    /// it.
    pub(super) stale: bool,
    /// And since then something had to vanish, which may be that.
    pub(super) owes_scrub: bool,
}

type Cause = Box<dyn Error + Send + Sync>;

impl Rebuild {
    /// Begins in the workshop.
    pub(super) fn begin(place: &Place, options: &StoreOptions) -> Result<Self, Cause> {
        let path = place.workshop()?;
        let db = open::config(&path, options.cache).open()?;
        Ok(Self { db, path, next: Sequence(0), stale: false, owes_scrub: false })
    }

    /// Copies the next part. Returns whether that was the last. The outer error is about the old
    /// store, the inner one about this one.
    pub(super) fn copy(&mut self, old: &sled::Db) -> Result<Result<bool, Cause>, OutboxError> {
        let mut batch = sled::Batch::default();
        let (mut records, mut bytes) = (0, 0);
        let range = stored::record_key(self.next)..=stored::record_key(Sequence(u64::MAX));
        let mut complete = true;
        for item in old.range(range) {
            if records >= PART || bytes >= PART_BYTES {
                complete = false;
                break;
            }
            let (key, value) = item.map_err(|error| OutboxError::Read(error.into()))?;
            if let Some(Sequence(sequence)) = stored::decode_record_key(&key) {
                self.next = Sequence(sequence.saturating_add(1));
            }
            (records, bytes) = (records + 1, bytes + value.len());
            batch.insert(key, value);
        }
        Ok(self.db.apply_batch(batch).map(|()| complete).map_err(Into::into))
    }

    /// Repeats a commit of the live store as far as it concerns what was copied. Kept values are
    /// copied at the very end, and new records lie behind everything.
    pub(super) fn repeat<'a>(
        &mut self,
        removals: impl Iterator<Item = &'a Sequence>,
        replaced: &BTreeMap<Sequence, Held>,
        owes_scrub: bool,
    ) -> Result<(), Cause> {
        let mut batch = sled::Batch::default();
        let mut changed = false;
        for sequence in removals.filter(|sequence| **sequence < self.next) {
            batch.remove(&stored::record_key(*sequence));
            changed = true;
        }
        for (sequence, held) in replaced.range(..self.next) {
            batch.insert(&stored::record_key(*sequence), stored::encode_record(held));
            changed = true;
        }
        self.stale |= changed;
        self.owes_scrub |= owes_scrub && self.stale;
        if changed { Ok(self.db.apply_batch(batch)?) } else { Ok(()) }
    }

    /// Adds what is not a record, and makes the store durable and live under a number. All records
    /// must have been copied. Errors are as above.
    pub(super) fn finish(
        self,
        old: &sled::Db,
        head: Head,
        place: &Place,
        number: u64,
    ) -> Result<Result<sled::Db, Cause>, OutboxError> {
        let mut batch = sled::Batch::default();
        for item in old.scan_prefix(KEPT) {
            let (key, value) = item.map_err(|error| OutboxError::Read(error.into()))?;
            batch.insert(key, value);
        }
        batch.insert(HEAD, head.encode());
        match self.install(batch, place, number) {
            // The handle goes on: sled holds its files by descriptors, and uses the path for blobs
            // only, of which there are none.
            Ok(()) => Ok(Ok(self.db)),
            Err(cause) if place.store(number).exists() => {
                // It has its name, and nobody knows whether it will have it after a power cut. The
                // old one must not be written to any more.
                mem::forget(self.db);
                Err(OutboxError::Commit(cause))
            }
            Err(cause) => {
                self.abandon();
                Ok(Err(cause))
            }
        }
    }

    fn install(&self, batch: sled::Batch, place: &Place, number: u64) -> Result<(), Cause> {
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        Ok(place.install(number)?)
    }

    /// Gives up. Nothing of it is left but a little memory.
    pub(super) fn abandon(self) {
        // sled would write once more when dropped, and panic if that fails. It keeps the file open,
        // so the file is emptied before its name goes.
        drop(
            fs::OpenOptions::new().write(true).open(self.path.join("db")).map(|log| log.set_len(0)),
        );
        drop(fs::remove_dir_all(&self.path));
        mem::forget(self.db);
    }
}

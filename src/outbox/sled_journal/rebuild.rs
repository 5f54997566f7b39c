//! A store written anew from what is in it, so that nothing else is in its files.
//!
//! sled appends. What is removed or overwritten stays in its log until the whole segment around it
//! (512 KiB) has been moved away and is written over, which in a quiet store may be never. The one
//! way to be rid of it is a new log. It is written in parts beside the live store, which goes on
//! being used: what is committed there meanwhile is repeated here. When the new one is complete and
//! synced it gets the next number, and the old directory is deleted. A crash leaves either the old
//! one or both, and then the one with the higher number is live and complete.
//!
//! The new store has a key of its own, and the old key is deleted with the old store. So what the
//! card keeps of deleted files, in blocks that nobody can ask for, cannot be opened any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use crate::{
    outbox::{Class, Held, Kept, OutboxError, Sequence, Standing, staged::Staged},
    seal::{KeySource, StoreKey},
};

use super::{
    StoreOptions, guard,
    head::Head,
    open,
    place::Place,
    standings::BITS,
    volume::{Cause, Changes, Volume},
};

/// How much is copied in one part, in records and in bytes: sled writes about four times as much,
/// which takes a slow card a tenth of a second.
const PART: usize = 1024;
const PART_BYTES: usize = 256 << 10;

/// A store in the making, in the workshop.
pub(super) struct Workshop {
    volume: Volume,
    path: PathBuf,
}

/// A store that is written anew beside the live one.
pub(super) struct Rebuild {
    workshop: Workshop,
    /// The first record that was not copied yet.
    next: Sequence,
    /// Something that was copied has been removed or replaced since, so the new log is not free of
    /// it.
    pub(super) stale: bool,
    /// And since then something had to vanish, which may be that.
    pub(super) owes_scrub: bool,
    /// Records that could not be read, and are not in the new store.
    pub(super) unreadable: BTreeMap<Sequence, (Class, Standing, usize)>,
}

// === impl Workshop ===

impl Workshop {
    /// Begins a store, with a key of its own, whose first record will be `first`.
    pub(super) fn begin(
        place: &Place,
        options: &StoreOptions,
        head: &Head,
        first: u64,
    ) -> Result<Self, Cause> {
        let path = place.workshop()?;
        let head = Head {
            last: first.saturating_sub(1),
            floor: first >> BITS,
            erased: Vec::new(),
            ..head.clone()
        };
        let key = StoreKey::fresh()?;
        let db = guard::catch(|| open::config(&path, options.cache).open())??;
        Ok(Self { volume: Volume::new(db, key, head), path })
    }

    /// A store in the workshop that was opened there.
    pub(super) fn of(volume: Volume, path: PathBuf) -> Self {
        Self { volume, path }
    }

    pub(super) fn volume(&mut self) -> &mut Volume {
        &mut self.volume
    }

    /// Adds records, which lie behind those that were added before, and have been given up to
    /// `last`.
    pub(super) fn add(&mut self, records: &[Held], last: u64) -> Result<(), Cause> {
        self.apply(&Changes {
            last,
            records: records.iter().collect(),
            stood: &BTreeMap::new(),
            removals: &BTreeSet::new(),
            keeps: &BTreeMap::new(),
            owes_scrub: false,
            lost_is_told: false,
            erases: false,
        })
    }

    fn apply(&mut self, changes: &Changes<'_>) -> Result<(), Cause> {
        guard::catch(|| self.volume.apply(changes))?
    }

    /// Adds what is not a record, and makes the store complete. `None` in its place when that
    /// failed, and then nothing is left of it.
    fn complete(&mut self, kept: Vec<Kept>, last: u64, owes_scrub: bool) -> Result<(), Cause> {
        let keeps = kept.into_iter().map(|kept| (kept.slot, Some(kept.value))).collect();
        self.apply(&Changes {
            last,
            records: Vec::new(),
            stood: &BTreeMap::new(),
            removals: &BTreeSet::new(),
            keeps: &keeps,
            owes_scrub,
            lost_is_told: false,
            erases: false,
        })?;
        guard::catch(|| self.volume.flush())?
    }

    /// Makes the store durable and live under a number, and returns it, still open. The outer error
    /// says that nobody knows which store is live now.
    pub(super) fn install(
        mut self,
        (kept, last, owes_scrub): (Vec<Kept>, u64, bool),
        place: &Place,
        number: u64,
        keys: &KeySource,
    ) -> Result<Result<Volume, Cause>, OutboxError> {
        match self.complete(kept, last, owes_scrub) {
            Ok(()) => self.settle(place, number, keys),
            Err(cause) => {
                self.abandon();
                Ok(Err(cause))
            }
        }
    }

    /// The same for a store that is complete.
    pub(super) fn settle(
        self,
        place: &Place,
        number: u64,
        keys: &KeySource,
    ) -> Result<Result<Volume, Cause>, OutboxError> {
        let wrapped = keys.wrap(&place.key(number), self.volume.key()).map_err(Cause::from);
        match wrapped.and_then(|()| Ok(place.install(number)?)) {
            // The handle goes on: sled holds its files by descriptors, and uses the path for blobs
            // only, of which there are none.
            Ok(()) => Ok(Ok(self.volume)),
            Err(cause) if place.store(number).exists() => {
                // It has its name, and nobody knows whether it will have it after a power cut. The
                // old one must not be written to any more.
                drop(self.volume);
                Err(OutboxError::Commit(cause))
            }
            Err(cause) => {
                self.abandon();
                Ok(Err(cause))
            }
        }
    }

    /// Gives up. Nothing of it is left.
    pub(super) fn abandon(self) {
        // sled writes once more when it is closed. It keeps the file open, so the file is emptied
        // before: the reason may be that the disk is full.
        drop(
            fs::OpenOptions::new().write(true).open(self.path.join("db")).map(|log| log.set_len(0)),
        );
        drop(self.volume);
        drop(fs::remove_dir_all(&self.path));
    }
}

// === impl Rebuild ===

impl Rebuild {
    pub(super) fn begin(
        place: &Place,
        options: &StoreOptions,
        old: &Volume,
    ) -> Result<Self, Cause> {
        // The sequence 0 was never given.
        let first = (old.head.floor << BITS).max(1);
        let mut workshop = Workshop::begin(place, options, &old.head, first)?;
        workshop.volume.set_lost(old.lost().clone());
        let (next, unreadable) = (Sequence(first), BTreeMap::new());
        Ok(Self { workshop, next, stale: false, owes_scrub: false, unreadable })
    }

    /// Copies the next part. Returns whether that was the last. The outer error is about the old
    /// store, the inner one about this one.
    pub(super) fn copy(&mut self, old: &mut Volume) -> Result<Result<bool, Cause>, OutboxError> {
        let range = old.index.walk(self.next, Sequence(u64::MAX), |_, _| true);
        let part: Vec<_> = range.take(PART).collect();
        let mut complete = part.len() < PART;
        let (mut records, mut bytes) = (Vec::with_capacity(part.len()), 0);
        let mut lost = old.lost().clone();
        let before = lost.count();
        for (sequence, gist) in part {
            if bytes >= PART_BYTES {
                complete = false;
                break;
            }
            self.next = Sequence(sequence.0.saturating_add(1));
            bytes += gist.size;
            let read = guard::catch(|| old.record(sequence, &gist));
            let read = read.map_err(Into::into).and_then(|read| read);
            if let Some(held) = read.map_err(OutboxError::Read)? {
                records.push(held);
            } else {
                self.unreadable.insert(sequence, (gist.class, gist.standing, gist.size));
                lost.add(sequence);
            }
        }
        if lost.count() > before || !self.unreadable.is_empty() {
            lost.extend(self.unreadable.keys().copied());
            self.workshop.volume.set_lost(lost);
        }
        let end = self.next.0.saturating_sub(1);
        Ok(self.workshop.add(&records, end).map(|()| complete))
    }

    /// Repeats a commit of the live store as far as it concerns what was copied. Kept values are
    /// copied at the very end, and new records lie behind everything.
    pub(super) fn repeat(&mut self, staged: &Staged, lost_is_told: bool) -> Result<(), Cause> {
        let removals: BTreeSet<_> = staged.removals.range(..self.next).copied().collect();
        let stood: BTreeMap<_, _> =
            staged.stood.range(..self.next).map(|(sequence, it)| (*sequence, *it)).collect();
        let records: Vec<_> = staged.replaced.range(..self.next).map(|(_, held)| held).collect();
        self.stale |= !(removals.is_empty() && records.is_empty());
        self.owes_scrub |= staged.owes_scrub && self.stale;
        if removals.is_empty() && stood.is_empty() && records.is_empty() && !lost_is_told {
            return Ok(());
        }
        self.unreadable.retain(|sequence, _| !removals.contains(sequence));
        self.workshop.apply(&Changes {
            last: self.next.0.saturating_sub(1),
            records,
            stood: &stood,
            removals: &removals,
            keeps: &BTreeMap::new(),
            owes_scrub: false,
            lost_is_told,
            erases: staged.owes_scrub,
        })
    }

    /// Adds what is not a record, and makes the store durable and live under a number. All records
    /// must have been copied. Errors are as above.
    pub(super) fn finish(
        self,
        old: &Volume,
        place: &Place,
        number: u64,
        keys: &KeySource,
    ) -> Result<Result<Volume, Cause>, OutboxError> {
        let kept = guard::catch(|| old.kept()).map_err(Into::into).and_then(|kept| kept);
        let kept = kept.map_err(OutboxError::Read)?;
        self.workshop.install((kept, old.head.last, self.owes_scrub), place, number, keys)
    }

    pub(super) fn abandon(self) {
        self.workshop.abandon();
    }
}

//! The journal over sled 0.34: appends, removals and kept values are collected in memory, and a
//! sync writes them as one atomic batch and waits until the disk has it.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tracing::{error, warn};

use crate::clock::Clock;

use super::{
    Class, Dropped, Entry, Held, Journal, Kept, Opened, OutboxError, Pending, Scrub, Sequence,
    Standing, Tag, disk, staged::Staged,
};

mod begin;
mod filter;
mod index;
mod open;
mod place;
mod rebuild;
mod renew;
mod stored;

use begin::{adopt, begin, set_aside};
use index::Index;
use open::{Found, Trouble};
pub(super) use place::LOCK;
use place::Place;
use renew::Renewal;
pub(super) use stored::LAYOUT;
use stored::{HEAD, Head, KEPT};

/// A journal in a directory of its own. To be opened, used and dropped by one thread.
pub struct SledJournal {
    place: Place,
    options: StoreOptions,
    /// The number of the live store.
    number: u64,
    /// Its directory.
    path: PathBuf,
    /// What the store's head says.
    head: Head,
    db: sled::Db,
    /// sled's data file, where we are the ones who sync it.
    log: Option<File>,
    /// Files beside the log that were there when the store was opened, and synced then.
    blobs: usize,
    /// Whom the durable records are about.
    index: Index,
    staged: Staged,
    /// Whether the log may hold anything that was removed or overwritten.
    stale: bool,
    renewal: Renewal,
    failed: bool,
    /// What the process had written when the store was opened.
    written_before: u64,
}

/// How to open a [`SledJournal`].
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Memory for pages, in bytes.
    pub cache: u64,
    /// Who makes a flush durable.
    pub durability: Durability,
    /// An emptied store whose log is larger than this, in bytes, is replaced by a fresh file:
    /// sled reuses its log but never shrinks it, and remembers every page it ever had.
    pub shrink_above: u64,
    /// The epoch of a store in a directory that knows of no earlier one, from 1.
    pub first_epoch: u32,
}

/// Who makes a flush durable. See `filter` for what sled does by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// sled, by `fsync` after each write: the system call it would use instead is taken from it.
    /// Where that is impossible, as [`Durability::AfterFlush`], with a warning.
    BySled,
    /// We do, by `fdatasync` after each flush.
    AfterFlush,
    /// Nobody. For the test that must find out.
    Nobody,
}

// === impl StoreOptions ===

impl StoreOptions {
    /// What the gateway uses, with this much memory for pages.
    pub fn with_cache(cache: u64) -> Self {
        Self {
            cache,
            durability: Durability::BySled,
            // A week of an ordinary shop stays below.
            shrink_above: 64 << 20,
            first_epoch: 1,
        }
    }
}

// === impl SledJournal ===

impl SledJournal {
    /// Opens the journal in `dir`, making it if there is none.
    ///
    /// A store that cannot be read is set aside and a fresh one begun, under another epoch; of
    /// those set aside the latest three are kept. Whatever else is wrong is an error, and leaves
    /// everything as it was.
    ///
    /// With [`Durability::BySled`] the calling thread, and the threads and processes it starts
    /// later, lose the system call `sync_file_range` and the ability to gain privileges.
    pub fn open(
        dir: &Path,
        options: StoreOptions,
        clock: Clock,
    ) -> Result<Opened<Self>, OutboxError> {
        let by_us = take_charge(options.durability);
        let place = Place::enter(dir)?;
        let live = place.live()?;
        let (found, number, quarantined) = match live {
            None => (None, 1, None),
            Some(live) => match open::open(dir, &place.store(live), options.cache) {
                Ok(found) => (Some(found), live, None),
                Err(Trouble::Around(error)) => return Err(error),
                Err(Trouble::Store(cause)) => {
                    let quarantined = set_aside(&place, live, clock, cause.as_ref())?;
                    (None, live + 1, Some(quarantined))
                }
            },
        };
        let found = match found {
            Some(found) => adopt(&place, found)?,
            None => begin(&place, number, &options, clock, quarantined.is_some())?,
        };
        place.clean(number);
        let missing = found.head.records.saturating_sub(found.holdings.all().records);
        if missing > 0 {
            error!(records = missing, "Records have vanished from the outbox; check the disk.");
        }
        let journal = Self::assemble(place, options, number, found, by_us)?;
        Ok(Opened { journal, quarantined, missing })
    }

    /// Opens what is in `dir` to look at it. Makes nothing and sets nothing aside.
    pub(super) fn open_existing(dir: &Path, options: StoreOptions) -> Result<Self, OutboxError> {
        let by_us = take_charge(options.durability);
        let place = Place::enter_existing(dir)?;
        let number = place.live()?.ok_or_else(|| OutboxError::Absent { dir: dir.to_owned() })?;
        match open::open(dir, &place.store(number), options.cache) {
            Ok(found) => Self::assemble(place, options, number, found, by_us),
            Err(Trouble::Around(error)) => Err(error),
            Err(Trouble::Store(source)) => {
                Err(OutboxError::Damaged { dir: dir.to_owned(), source })
            }
        }
    }

    fn assemble(
        place: Place,
        options: StoreOptions,
        number: u64,
        found: Found,
        by_us: bool,
    ) -> Result<Self, OutboxError> {
        let path = place.store(number);
        let log = by_us.then(|| File::open(path.join("db"))).transpose();
        let log = log.map_err(place::at(&place.dir))?;
        let blobs = count_blobs(&path).map_err(place::at(&place.dir))?;
        Ok(Self {
            place,
            options,
            number,
            path,
            head: found.head,
            db: found.db,
            log,
            blobs,
            index: found.index,
            staged: Staged::after(found.head.last, found.holdings),
            // Nobody knows what it was through.
            stale: true,
            renewal: Renewal::Idle,
            failed: false,
            written_before: disk::written().unwrap_or(0),
        })
    }

    /// The size of the store's log, in bytes.
    pub fn size_on_disk(&self) -> io::Result<u64> {
        Ok(fs::metadata(self.path.join("db"))?.len())
    }

    fn commit(&mut self) -> Result<(), OutboxError> {
        let mut batch = sled::Batch::default();
        for (&sequence, held) in &self.staged.appends {
            batch.insert(&stored::record_key(sequence), stored::encode_record(held));
        }
        for (&sequence, held) in &self.staged.replaced {
            batch.insert(&stored::record_key(sequence), stored::encode_record(held));
        }
        for &sequence in &self.staged.removals {
            batch.remove(&stored::record_key(sequence));
        }
        for (slot, value) in &self.staged.keeps {
            match value {
                Some(value) => batch.insert(stored::kept_key(slot), stored::encode_kept(value)),
                None => batch.remove(stored::kept_key(slot)),
            }
        }
        let head = self.next_head();
        batch.insert(HEAD, head.encode());
        self.db.apply_batch(batch).map_err(|error| OutboxError::Commit(error.into()))?;
        self.db.flush().map_err(|error| OutboxError::Commit(error.into()))?;
        if let Some(log) = &self.log {
            log.sync_data().map_err(|error| OutboxError::Commit(error.into()))?;
        }
        let blobs = count_blobs(&self.path).map_err(|error| OutboxError::Commit(error.into()))?;
        if blobs > self.blobs {
            return Err(OutboxError::Blob { dir: self.path.join("blobs") });
        }
        self.head = head;
        self.repeat_in_renewal();
        for sequence in &self.staged.removals {
            self.index.remove(*sequence);
        }
        for (sequence, held) in &self.staged.appends {
            self.index.insert(*sequence, held.about);
        }
        self.staged.settle();
        Ok(())
    }

    /// The durable records from `from` to `to` that are to be shown, at most `limit`.
    fn search(
        &self,
        from: Sequence,
        to: Sequence,
        limit: usize,
        wanted: impl Fn(&Held) -> bool,
    ) -> Result<Vec<Held>, OutboxError> {
        let mut records = Vec::new();
        if to < from {
            return Ok(records);
        }
        for item in self.db.range(stored::record_key(from)..=stored::record_key(to)) {
            if records.len() >= limit {
                break;
            }
            let (key, value) = item.map_err(|error| OutboxError::Read(error.into()))?;
            let sequence = stored::decode_record_key(&key);
            let sequence = sequence.ok_or_else(|| OutboxError::Read("a strange key".into()))?;
            records.extend(self.staged.shown(decode(sequence, &value)?).filter(&wanted));
        }
        Ok(records)
    }

    /// The head that says what is staged.
    fn next_head(&mut self) -> Head {
        let Staged { last, holdings, replaced, removals, keeps, owes_scrub, .. } = &self.staged;
        self.stale |= !(replaced.is_empty() && removals.is_empty() && keeps.is_empty());
        Head {
            layout: LAYOUT,
            epoch: self.head.epoch,
            last: *last,
            records: holdings.all().records,
            // In a log that holds nothing else there is nothing to scrub.
            owes_scrub: self.head.owes_scrub || (*owes_scrub && self.stale),
        }
    }
}

impl Journal for SledJournal {
    fn epoch(&self) -> u32 {
        self.head.epoch
    }

    fn append(&mut self, entry: Entry, notice: Option<Dropped>) -> Result<Sequence, OutboxError> {
        self.staged.append(entry, notice)
    }

    fn sync(&mut self) -> Result<Option<Sequence>, OutboxError> {
        if self.failed {
            return Err(OutboxError::Unusable);
        }
        if self.staged.changed {
            self.failed = true;
            self.commit()?;
            self.shrink()?;
            self.failed = false;
        }
        Ok(Some(Sequence(self.staged.last)).filter(|last| last.0 > 0))
    }

    fn oldest(&mut self, after: Option<Sequence>, limit: usize) -> Result<Vec<Held>, OutboxError> {
        let from = Sequence(after.map_or(0, |after| after.0.saturating_add(1)));
        let pending = |held: &Held| held.standing == Standing::Pending;
        self.search(from, Sequence(u64::MAX), limit, pending)
    }

    fn oldest_about(
        &mut self,
        who: &BTreeSet<Tag>,
        after: Option<Sequence>,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        let mut records = Vec::new();
        for sequence in self.index.candidates(who, after) {
            if records.len() >= limit {
                break;
            }
            let held = read(&self.db, sequence)?.filter(|held| held.about.concerns(who));
            records.extend(held.and_then(|held| self.staged.shown(held)));
        }
        Ok(records)
    }

    fn replace(&mut self, sequence: Sequence, bytes: Vec<u8>) -> Result<bool, OutboxError> {
        self.staged.replace(sequence, bytes, || read(&self.db, sequence))
    }

    fn remove(&mut self, sequence: Sequence) -> Result<bool, OutboxError> {
        let db = &self.db;
        self.staged.remove(sequence, || {
            let value = db.get(stored::record_key(sequence));
            let value = value.map_err(|error| OutboxError::Read(error.into()))?;
            let gist = value.and_then(|value| stored::record_gist(&value));
            Ok(gist.map(|gist| (gist.class, gist.standing, gist.size)))
        })
    }

    fn keep(&mut self, slot: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), OutboxError> {
        self.staged.keep(slot, value)
    }

    fn kept(&self) -> Result<Vec<Kept>, OutboxError> {
        let kept = self.db.scan_prefix(KEPT).map(|item| {
            let (key, value) = item.map_err(|error| OutboxError::Read(error.into()))?;
            let strange = || OutboxError::Read("a strange value".into());
            let slot = key.strip_prefix(KEPT).ok_or_else(strange)?.to_vec();
            let value = stored::decode_kept(&value).ok_or_else(strange)?.to_vec();
            Ok(Kept { slot, value })
        });
        kept.collect()
    }

    fn stand(&mut self, sequence: Sequence, standing: Standing) -> Result<bool, OutboxError> {
        self.staged.stand(sequence, standing, || read(&self.db, sequence))
    }

    fn oldest_of(&mut self, class: Class, limit: usize) -> Result<Vec<Held>, OutboxError> {
        let pending = |held: &Held| held.standing == Standing::Pending && held.class == class;
        self.search(Sequence(0), Sequence(u64::MAX), limit, pending)
    }

    fn oldest_standing(
        &mut self,
        standing: Standing,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        self.search(Sequence(0), Sequence(u64::MAX), limit, |held| held.standing == standing)
    }

    fn range(
        &mut self,
        from: Sequence,
        to: Sequence,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        self.search(from, to, limit, |_| true)
    }

    fn pending_of(&self, class: Class) -> Pending {
        self.staged.holdings.pending_of(class)
    }

    fn standing(&self, standing: Standing) -> Pending {
        self.staged.holdings.standing(standing)
    }

    fn owe_scrub(&mut self) {
        self.staged.owe_scrub();
    }

    fn owes_scrub(&self) -> bool {
        self.head.owes_scrub
    }

    /// What the whole process has written: beside the outbox that is next to nothing.
    fn written(&self) -> u64 {
        disk::written().unwrap_or(0).saturating_sub(self.written_before)
    }

    fn scrub(&mut self) -> Result<Scrub, OutboxError> {
        self.renew_a_part()
    }
}

impl fmt::Debug for SledJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // sled would show all that it holds.
        f.debug_struct("SledJournal").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The durable record with this sequence.
fn read(db: &sled::Db, sequence: Sequence) -> Result<Option<Held>, OutboxError> {
    let value = db.get(stored::record_key(sequence));
    let value = value.map_err(|error| OutboxError::Read(error.into()))?;
    value.map(|value| decode(sequence, &value)).transpose()
}

fn decode(sequence: Sequence, value: &[u8]) -> Result<Held, OutboxError> {
    let held = stored::decode_record(sequence, value);
    held.ok_or_else(|| OutboxError::Read("a strange record".into()))
}

/// Sees to it that flushes will be durable. Returns whether we have to sync after them ourselves.
fn take_charge(durability: Durability) -> bool {
    match durability {
        Durability::Nobody => false,
        Durability::AfterFlush => true,
        Durability::BySled => match filter::refuse_sync_file_range() {
            Ok(()) => false,
            Err(error) => {
                warn!(
                    error,
                    "The kernel does not let us make sled sync; syncing after each flush instead."
                );
                true
            }
        },
    }
}

/// How many nodes sled has put into files of their own.
fn count_blobs(path: &Path) -> io::Result<usize> {
    Ok(fs::read_dir(path.join("blobs"))?.count())
}

//! The journal over sled 0.34: appends, removals and kept values are collected in memory, and a
//! sync writes them as one atomic batch and waits until the disk has it.
//!
//! | part | what it does |
//! |---|---|
//! | `place`, `begin` | the directory; which store is live, and how one begins and ends |
//! | `survey`, `open`, `guard`, `filter` | sled, with all that it may do wrong |
//! | `volume`, `index`, `reader` | one store: what is in it, on disk and in memory; how it is read through |
//! | `frame`, `head`, `sum`, `block`, `squeeze`, `standings`, `octets` | how values look |
//! | `rebuild`, `renew` | a store written anew, and when |
//! | `salvage`, `legacy` | stores that cannot be read any more, and those of older versions |

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tracing::{error, warn};

use crate::{clock::Clock, seal::KeySource};

use super::{
    Class, Dropped, Entry, Held, Journal, Kept, Opened, OutboxError, Pending, Ranges, Scrub,
    Sequence, Standing, Tag, disk, staged::Staged,
};

mod begin;
mod block;
mod filter;
mod frame;
mod guard;
mod head;
mod index;
mod legacy;
mod octets;
mod open;
mod place;
mod reader;
mod rebuild;
mod renew;
mod salvage;
mod squeeze;
mod standings;
mod sum;
mod survey;
mod volume;

#[cfg(test)]
mod tests;

use begin::behind;
pub(super) use head::LAYOUT;
use index::{Chunk, Gist};
use open::{Found, Purpose, Trouble};
pub(super) use place::LOCK;
use place::Place;
use renew::Renewal;
use volume::{Cause, Changes, Volume};

/// How many records are looked for in the index together.
const PART: usize = 512;

/// A journal in a directory of its own. To be opened, used and dropped by one thread.
///
/// After an error of the disk it can be dropped, and the directory opened again by the same process.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and none excludes another"
)]
pub struct SledJournal {
    // Dropped in this order: the lock on the directory goes last.
    renewal: Renewal,
    volume: Volume,
    options: StoreOptions,
    keys: KeySource,
    /// The number of the live store.
    number: u64,
    /// Its directory.
    path: PathBuf,
    /// sled's data file, where we are the ones who sync it.
    log: Option<File>,
    /// Files beside the log that were there when the store was opened, and synced then.
    blobs: usize,
    staged: Staged,
    /// Records whose blocks were found not to open.
    damaged: BTreeSet<Sequence>,
    /// Whether what was lost was told since the last commit.
    lost_is_told: bool,
    /// Whether the files may hold anything that was removed or overwritten.
    stale: bool,
    failed: bool,
    /// Whether anything was committed since it was opened.
    committed: bool,
    /// What the process had written when the store was opened.
    written_before: u64,
    place: Place,
}

/// How to open a [`SledJournal`].
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Memory for pages, in bytes.
    pub cache: u64,
    /// Who makes a flush durable.
    pub durability: Durability,
    /// A store whose log is larger than this, in bytes, and which holds less than a quarter of it, is
    /// written anew: sled reuses its log but never shrinks it, and remembers every page it ever had.
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
    /// Opens the journal in `dir`, making it if there is none, with the keys of the key file there
    /// (see [`KeySource`]).
    pub fn open(
        dir: &Path,
        options: StoreOptions,
        clock: Clock,
    ) -> Result<Opened<Self>, OutboxError> {
        Self::open_with(dir, KeySource::new(dir, None), options, clock)
    }

    /// Opens the journal in `dir`, making it if there is none. `keys` are the gateway's: with them
    /// the key of the store is opened.
    ///
    /// A store that cannot be read is set aside and a fresh one begun under another epoch, with what
    /// could be saved; of those set aside the latest three are kept. A store of an older layout is
    /// written anew. Whatever else is wrong is an error, and leaves everything as it was; that is so
    /// for a key that is missing or another, too.
    ///
    /// With [`Durability::BySled`] the calling thread, and the threads and processes it starts
    /// later, lose the system call `sync_file_range` and the ability to gain privileges.
    pub fn open_with(
        dir: &Path,
        keys: KeySource,
        options: StoreOptions,
        clock: Clock,
    ) -> Result<Opened<Self>, OutboxError> {
        let by_us = take_charge(options.durability);
        let place = Place::enter(dir)?;
        let (mut quarantined, mut missing) = (None, 0);
        let (volume, number) = match place.live()? {
            None => begin::begin(&place, &options, &keys, clock)?,
            Some(live) => match open::open(&place, live, &keys, options.cache, Purpose::Use) {
                Ok(Found::Volume(volume, number)) => {
                    begin::adopt(&place, volume.head.epoch)?;
                    (*volume, number)
                }
                Ok(Found::Legacy(legacy)) => {
                    missing = legacy.missing;
                    begin::migrate(&place, live, &legacy, &options, &keys)?
                }
                Err(Trouble::Around(error)) => return Err(error),
                Err(Trouble::Store(cause)) => {
                    let cause = &*cause as &dyn Error;
                    let (live, aside) =
                        begin::succeed(&place, live, &options, &keys, clock, cause)?;
                    quarantined = Some(aside);
                    live
                }
            },
        };
        place.clean(number);
        missing += volume.lost().count();
        if missing > 0 {
            error!(records = missing, "Records have vanished from the outbox; check the disk.");
        }
        let journal = Self::assemble(place, options, keys, (volume, number), by_us)?;
        Ok(Opened { journal, quarantined, missing })
    }

    /// Opens what is in `dir` to look at it. Makes nothing and sets nothing aside.
    pub(super) fn open_existing(
        dir: &Path,
        keys: KeySource,
        options: StoreOptions,
    ) -> Result<Self, OutboxError> {
        let by_us = take_charge(options.durability);
        let place = Place::enter_existing(dir)?;
        let number = place.live()?.ok_or_else(|| OutboxError::Absent { dir: dir.to_owned() })?;
        match open::open(&place, number, &keys, options.cache, Purpose::Look) {
            Ok(Found::Volume(volume, number)) => {
                Self::assemble(place, options, keys, (*volume, number), by_us)
            }
            Ok(Found::Legacy(_)) => Err(OutboxError::OlderLayout { dir: dir.to_owned() }),
            Err(trouble) => Err(begin::refused(&place, trouble)),
        }
    }

    fn assemble(
        place: Place,
        options: StoreOptions,
        keys: KeySource,
        (volume, number): begin::Live,
        by_us: bool,
    ) -> Result<Self, OutboxError> {
        let path = place.store(number);
        let log = by_us.then(|| File::open(path.join("db"))).transpose();
        let log = log.map_err(place::at(&place.dir))?;
        let blobs = count_blobs(&path).map_err(place::at(&place.dir))?;
        Ok(Self {
            renewal: Renewal::Idle,
            options,
            keys,
            number,
            path,
            log,
            blobs,
            staged: Staged::after(volume.head.last, volume.holdings()),
            volume,
            damaged: BTreeSet::new(),
            lost_is_told: false,
            // Nobody knows what it was through.
            stale: true,
            failed: false,
            committed: false,
            written_before: disk::written().unwrap_or(0),
            place,
        })
    }

    /// The size of the store's log, in bytes.
    pub fn size_on_disk(&self) -> io::Result<u64> {
        Ok(fs::metadata(self.path.join("db"))?.len())
    }

    fn commit(&mut self) -> Result<(), OutboxError> {
        let staged = &self.staged;
        let overwrites =
            !(staged.replaced.is_empty() && staged.removals.is_empty() && staged.keeps.is_empty());
        self.stale |= overwrites;
        let changes = Changes {
            last: staged.last,
            // What is new lies behind all that was there.
            records: staged.replaced.values().chain(staged.appends.values()).collect(),
            stood: &staged.stood,
            removals: &staged.removals,
            keeps: &staged.keeps,
            // In files that hold nothing else there is nothing to scrub.
            owes_scrub: self.volume.head.owes_scrub || (staged.owes_scrub && self.stale),
            lost_is_told: self.lost_is_told,
            erases: staged.owes_scrub && self.stale,
        };
        let volume = &mut self.volume;
        attempt(|| volume.apply(&changes).and_then(|()| volume.flush()))
            .map_err(OutboxError::Commit)?;
        if let Some(log) = &self.log {
            log.sync_data().map_err(|error| OutboxError::Commit(error.into()))?;
        }
        let blobs = count_blobs(&self.path).map_err(|error| OutboxError::Commit(error.into()))?;
        if blobs > self.blobs {
            return Err(OutboxError::Blob { dir: self.path.join("blobs") });
        }
        self.repeat_in_renewal();
        self.staged.settle();
        self.lost_is_told = false;
        self.committed = true;
        Ok(())
    }

    /// A commit that changes nothing: from now on the log proves that the one before was durable. Of
    /// the last one before a power cut it cannot.
    fn seal_off(&mut self) -> Result<(), Cause> {
        let head = &self.volume.head;
        let changes = Changes {
            last: head.last,
            records: Vec::new(),
            stood: &BTreeMap::new(),
            removals: &BTreeSet::new(),
            keeps: &BTreeMap::new(),
            owes_scrub: head.owes_scrub,
            lost_is_told: false,
            erases: false,
        };
        let volume = &mut self.volume;
        attempt(|| volume.apply(&changes).and_then(|()| volume.flush()))?;
        if let Some(log) = &self.log {
            log.sync_data()?;
        }
        Ok(())
    }

    /// The durable records from `from` to `to` that are to be shown and wanted, at most `limit`.
    /// Chunks that need not be looked at are passed over.
    fn search(
        &mut self,
        (from, to): (Sequence, Sequence),
        limit: usize,
        look_at: impl Fn(&Chunk) -> bool,
        wanted: impl Fn(&Gist) -> bool,
    ) -> Result<Vec<Held>, OutboxError> {
        let mut records = Vec::new();
        let mut next = from;
        while records.len() < limit && next <= to {
            let Self { volume, staged, damaged, .. } = self;
            // A chunk in which a record is about to stand elsewhere is looked at.
            let look_at = |number: u64, chunk: &Chunk| {
                let first = Sequence(number << standings::BITS);
                let last = Sequence(first.0 | ((1 << standings::BITS) - 1));
                look_at(chunk) || staged.stood.range(first..=last).next().is_some()
            };
            let found = volume.index.walk(next, to, look_at).map(|(sequence, gist)| {
                let standing = staged.standing_of(sequence).unwrap_or(gist.standing);
                (sequence, Gist { standing, ..gist })
            });
            let found = found.filter(|(sequence, gist)| {
                wanted(gist) && !staged.removals.contains(sequence) && !damaged.contains(sequence)
            });
            let found: Vec<_> = found.take(PART.min(limit - records.len())).collect();
            let Some((last, _)) = found.last() else { break };
            let end = last.0 == u64::MAX;
            next = Sequence(last.0.saturating_add(1));
            for (sequence, gist) in found {
                records.extend(self.read(sequence, &gist)?.and_then(|it| self.staged.shown(it)));
            }
            if end {
                break;
            }
        }
        Ok(records)
    }

    /// A durable record; `None` when it is damaged, which is noted.
    fn read(&mut self, sequence: Sequence, gist: &Gist) -> Result<Option<Held>, OutboxError> {
        let volume = &mut self.volume;
        let held = attempt(|| volume.record(sequence, gist)).map_err(OutboxError::Read)?;
        if held.is_none() && self.damaged.insert(sequence) {
            let lost = self.volume.index.in_slot(gist.slot);
            self.damaged.extend(lost);
            error!(
                sequence = sequence.0,
                records = self.damaged.len(),
                "A block of records is damaged; they are lost, and will be told of."
            );
        }
        Ok(held)
    }

    fn gist(&self, sequence: Sequence) -> Option<(Class, Standing, usize)> {
        let gist = self.volume.index.get(sequence)?;
        Some((gist.class, gist.standing, gist.size))
    }
}

impl Journal for SledJournal {
    fn epoch(&self) -> u32 {
        self.volume.head.epoch
    }

    fn first(&self) -> Sequence {
        self.volume.head.first()
    }

    fn epoch_of(&self, sequence: Sequence) -> u32 {
        self.volume.head.epoch_of(sequence)
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
        let pending = Standing::Pending;
        self.search(
            (behind(after), Sequence(u64::MAX)),
            limit,
            |chunk| chunk.standing(pending) > 0,
            |gist| gist.standing == pending,
        )
    }

    fn oldest_about(
        &mut self,
        who: &BTreeSet<Tag>,
        after: Option<Sequence>,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        let shorts = index::shorts(who);
        let (mut from, mut records) = (behind(after), Vec::new());
        loop {
            let missing = limit.saturating_sub(records.len());
            let range = (from, Sequence(u64::MAX));
            let found = self.search(range, missing, |_| true, |gist| gist.may_concern(&shorts))?;
            let Some(last) = found.last().map(|held| held.sequence) else { return Ok(records) };
            // The index does not know all of a tag.
            records.extend(found.into_iter().filter(|held| held.about.concerns(who)));
            if last.0 == u64::MAX {
                return Ok(records);
            }
            from = behind(Some(last));
        }
    }

    fn replace(&mut self, sequence: Sequence, bytes: Vec<u8>) -> Result<bool, OutboxError> {
        let known = self.staged.replaced.contains_key(&sequence);
        let durable = match self.volume.index.get(sequence) {
            Some(gist) if !known => self.read(sequence, &gist)?,
            _ => None,
        };
        self.staged.replace(sequence, bytes, || Ok(durable))
    }

    fn stand(&mut self, sequence: Sequence, standing: Standing) -> Result<bool, OutboxError> {
        let durable = self.gist(sequence);
        self.staged.stand(sequence, standing, || Ok(durable))
    }

    fn oldest_of(&mut self, class: Class, limit: usize) -> Result<Vec<Held>, OutboxError> {
        self.search(
            (Sequence(0), Sequence(u64::MAX)),
            limit,
            |chunk| chunk.pending_of(class) > 0,
            |gist| gist.standing == Standing::Pending && gist.class == class,
        )
    }

    fn oldest_standing(
        &mut self,
        standing: Standing,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        self.search(
            (Sequence(0), Sequence(u64::MAX)),
            limit,
            |chunk| chunk.standing(standing) > 0,
            |gist| gist.standing == standing,
        )
    }

    fn range(
        &mut self,
        from: Sequence,
        to: Sequence,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        self.search((from, to), limit, |_| true, |_| true)
    }

    fn standings(
        &mut self,
        from: Sequence,
        limit: usize,
    ) -> Result<Vec<(Sequence, Class, Standing)>, OutboxError> {
        let Self { volume, staged, damaged, .. } = self;
        let all = volume.index.walk(from, Sequence(u64::MAX), |_, _| true);
        let held = all.filter(|(sequence, _)| {
            !staged.removals.contains(sequence) && !damaged.contains(sequence)
        });
        let standings = held.map(|(sequence, gist)| {
            let standing = staged.standing_of(sequence).unwrap_or(gist.standing);
            (sequence, gist.class, standing)
        });
        Ok(standings.take(limit).collect())
    }

    fn remove(&mut self, sequence: Sequence) -> Result<bool, OutboxError> {
        let durable = self.gist(sequence);
        self.staged.remove(sequence, || Ok(durable))
    }

    fn keep(&mut self, slot: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), OutboxError> {
        self.staged.keep(slot, value)
    }

    fn kept(&self) -> Result<Vec<Kept>, OutboxError> {
        attempt(|| self.volume.kept()).map_err(OutboxError::Read)
    }

    fn pending_of(&self, class: Class) -> Pending {
        self.staged.holdings.pending_of(class)
    }

    fn standing(&self, standing: Standing) -> Pending {
        self.staged.holdings.standing(standing)
    }

    fn damaged(&mut self) -> Result<Ranges, OutboxError> {
        let mut ranges = Ranges::new();
        if !self.lost_is_told && !self.volume.lost().is_empty() {
            ranges = self.volume.lost().clone();
            self.lost_is_told = true;
            self.staged.changed = true;
        }
        for sequence in std::mem::take(&mut self.damaged) {
            if self.remove(sequence)? {
                ranges.add(sequence);
            }
        }
        Ok(ranges)
    }

    fn owe_scrub(&mut self) {
        self.staged.owe_scrub();
    }

    fn owes_scrub(&self) -> bool {
        self.volume.head.owes_scrub
    }

    /// What the whole process has written: beside the outbox that is next to nothing.
    fn written(&self) -> u64 {
        disk::written().unwrap_or(0).saturating_sub(self.written_before)
    }

    fn scrub(&mut self) -> Result<Scrub, OutboxError> {
        self.renew_a_part()
    }
}

impl Drop for SledJournal {
    fn drop(&mut self) {
        if self.committed && !self.failed {
            // Nothing is lost if it fails.
            self.seal_off().ok();
        }
    }
}

impl fmt::Debug for SledJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // sled would show all that it holds.
        f.debug_struct("SledJournal").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Runs what sled might panic in.
fn attempt<T>(run: impl FnOnce() -> Result<T, Cause>) -> Result<T, Cause> {
    guard::catch(run)?
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

//! Looks into an outbox that no gateway is using, for `beacon-gateway outbox stat` and `list`.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

use crate::{engine::UnixTime, seal::KeySource};

use super::{
    Held, Journal, Kept, OutboxError, Pending, Sequence,
    sled_journal::{Durability, LOCK, SledJournal, StoreOptions},
};

/// How many records are fetched together.
const CHUNK: usize = 256;

/// Memory for pages: whoever looks goes through the store once.
const CACHE: u64 = 2 << 20;

/// What an outbox holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stats {
    /// Which life of the store this is.
    pub epoch: u32,
    /// The last sequence ever given.
    pub last: Option<Sequence>,
    /// What waits to be sent.
    pub pending: Pending,
    /// The sequence of the oldest record.
    pub oldest: Option<Sequence>,
    /// When it was made, if the clock was synced then.
    pub oldest_made: Option<UnixTime>,
    /// How many values are kept: checkpoints of open visits.
    pub kept: usize,
    /// The size of the store on disk, in bytes.
    pub disk_bytes: u64,
}

/// An outbox that is being looked at. As long as this lives no gateway can open it.
#[derive(Debug)]
pub struct Inspection {
    stats: Stats,
    journal: SledJournal,
}

/// Whether another process uses the outbox in `dir`, most likely a gateway. Whoever begins to use it
/// in the very moment of asking waits for the answer.
pub fn in_use(dir: &Path) -> io::Result<bool> {
    match File::open(dir.join(LOCK)) {
        Ok(lock) => match lock.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens the outbox in `dir` to look at it, with the keys of the key file there.
pub fn inspect(dir: &Path) -> Result<Inspection, OutboxError> {
    inspect_with(dir, KeySource::new(dir, None))
}

/// Opens the outbox in `dir` to look at it, with the gateway's keys. Nothing that it means is
/// changed: no record, no sequence, no epoch. sled may renew its snapshot.
pub fn inspect_with(dir: &Path, keys: KeySource) -> Result<Inspection, OutboxError> {
    // Nothing will be committed, so the thread that looks may keep all its system calls.
    let durability = Durability::AfterFlush;
    let options = StoreOptions { durability, ..StoreOptions::with_cache(CACHE) };
    let mut journal = SledJournal::open_existing(dir, keys, options)?;
    let oldest = journal.oldest(None, 1)?.pop();
    let stats = Stats {
        epoch: journal.epoch(),
        last: journal.sync()?,
        pending: journal.pending(),
        oldest: oldest.as_ref().map(|held| held.sequence),
        oldest_made: oldest.and_then(|held| held.made),
        kept: journal.kept()?.len(),
        disk_bytes: journal.size_on_disk().map_err(|error| OutboxError::Read(error.into()))?,
    };
    Ok(Inspection { stats, journal })
}

impl Inspection {
    /// What the outbox holds, in numbers.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Its kept values: checkpoints of open visits.
    pub fn kept(&self) -> Result<Vec<Kept>, OutboxError> {
        self.journal.kept()
    }

    /// Its records, oldest first.
    pub fn records(&mut self) -> impl Iterator<Item = Result<Held, OutboxError>> {
        let mut after = None;
        let mut chunk = Vec::new().into_iter();
        let journal = &mut self.journal;
        std::iter::from_fn(move || {
            if chunk.len() == 0 {
                match journal.oldest(after, CHUNK) {
                    Ok(records) => chunk = records.into_iter(),
                    Err(error) => return Some(Err(error)),
                }
            }
            let held: Held = chunk.next()?;
            after = Some(held.sequence);
            Some(Ok(held))
        })
    }
}

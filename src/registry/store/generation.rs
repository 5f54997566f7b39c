//! One generation of the registry: a sled store and its salts, opened with suspicion and written
//! through to the disk.
//!
//! sled 0.34 does not sync by itself on Linux, can fail to open after a kill, and panics on some
//! damage (see `outbox::sled_journal`). Here every commit is followed by our own `fdatasync`: commits
//! are few, and the process that makes them, often the command line, keeps all its system calls.

use std::{
    any::Any,
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io, mem,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tracing::warn;

use super::{
    error::{Cause, RegistryStoreError},
    layout::{self, HEAD, META, SUBJECT, TOMBSTONE},
    place::{at, sync_tree},
    salts::Salts,
};
use crate::seal;

/// sled's default. Pages above a quarter of it would become files that sled never syncs.
const SEGMENT_SIZE: usize = 512 << 10;

/// Memory for pages, in bytes: the store is read or written from one end to the other.
const CACHE: u64 = 1 << 20;

/// How many values are written together while a generation is made.
const BATCH: usize = 512;

/// How long to wait for sled's threads to let go of a store that was closed.
const RELEASE: Duration = Duration::from_secs(5);
const RELEASE_STEP: Duration = Duration::from_millis(2);

/// The sled store in a generation's directory.
const SLED: &str = "sled";

/// A generation that is open.
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) salts: Salts,
    db: sled::Db,
    /// sled's data file.
    log: File,
    path: PathBuf,
    failed: bool,
}

/// A generation in the making.
pub(super) struct Draft {
    db: sled::Db,
    path: PathBuf,
    batch: sled::Batch,
    batched: usize,
}

/// What a generation turned out to hold.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Survey {
    pub(super) subjects: u64,
    pub(super) tombstones: u64,
    /// The numbers of the keys that it was sealed with.
    pub(super) keys: BTreeSet<u32>,
}

/// Why a generation was not opened.
pub(super) enum Trouble {
    /// It cannot be read and never will be: set it aside.
    Store(Cause),
    /// Something around it is wrong, and a human has to look.
    Around(RegistryStoreError),
}

// === impl Generation ===

impl Generation {
    /// Opens a generation. What sled can do without, its snapshots and its `conf`, is removed when
    /// it does not open with them.
    pub(super) fn open(path: &Path, number: u64) -> Result<Self, Trouble> {
        let sled = path.join(SLED);
        let db = match attempt(&sled) {
            Err(Trouble::Store(cause)) => {
                warn!(cause, "The registry did not open; trying without its snapshots.");
                let removed =
                    remove_files(&sled, |name| name.starts_with("snap.") || name == "conf");
                removed.map_err(|error| trouble(path, error))?;
                attempt(&sled)?
            }
            other => other?,
        };
        let around = |error| trouble(path, error);
        sync_tree(&sled).map_err(around)?;
        let salts = Salts::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Trouble::Store("its salts are missing".into()),
            _ => around(error),
        })?;
        let log = File::open(sled.join("db")).map_err(around)?;
        Ok(Self { number, salts, db, log, path: sled, failed: false })
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, RegistryStoreError> {
        self.db.get(key).map_err(|error| RegistryStoreError::Read(error.into()))
    }

    /// What is stored under keys that begin with `prefix`, in the order of the keys.
    pub(super) fn scan(
        &self,
        prefix: u8,
    ) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), RegistryStoreError>> {
        let items = self.db.scan_prefix([prefix]);
        items.map(|item| item.map_err(|error| RegistryStoreError::Read(error.into())))
    }

    /// Goes through all of it, and notes which slots are in use. The inner error says what does not
    /// add up.
    pub(super) fn survey(&mut self) -> Result<Result<Survey, &'static str>, RegistryStoreError> {
        let mut survey = Survey::default();
        for item in self.db.iter() {
            let (key, value) = item.map_err(|error| RegistryStoreError::Read(error.into()))?;
            let sealed = match key.first() {
                Some(&SUBJECT) => match layout::split_subject(&value) {
                    Some((slot, sealed)) => {
                        survey.subjects += 1;
                        // A salt that is gone makes one value unreadable, not the store.
                        if self.salts.get(slot).is_some() && !self.salts.mark(slot) {
                            return Ok(Err("two values share a salt"));
                        }
                        sealed
                    }
                    None => return Ok(Err("a value cannot be understood")),
                },
                Some(&TOMBSTONE) => {
                    survey.tombstones += 1;
                    &value
                }
                _ if *key == *HEAD => continue,
                _ if *key == *META => &value,
                _ => return Ok(Err("it has a strange key")),
            };
            survey.keys.extend(seal::key_number(sealed));
        }
        Ok(Ok(survey))
    }

    /// Writes a batch, all of it or nothing, and waits until the disk has it.
    pub(super) fn commit(&mut self, batch: sled::Batch) -> Result<(), RegistryStoreError> {
        self.usable()?;
        self.failed = true;
        let failed = |cause: Cause| RegistryStoreError::Write(cause);
        self.db.apply_batch(batch).map_err(|error| failed(error.into()))?;
        self.db.flush().map_err(|error| failed(error.into()))?;
        self.log.sync_data().map_err(|error| failed(error.into()))?;
        refuse_blobs(&self.path).map_err(failed)?;
        self.failed = false;
        Ok(())
    }

    /// Does something that may leave disk and memory at odds when it fails.
    pub(super) fn with_salts<T>(
        &mut self,
        change: impl FnOnce(&mut Salts) -> io::Result<T>,
    ) -> Result<T, RegistryStoreError> {
        self.usable()?;
        self.failed = true;
        let changed = change(&mut self.salts);
        let changed = changed.map_err(|error| RegistryStoreError::Write(error.into()))?;
        self.failed = false;
        Ok(changed)
    }

    fn usable(&self) -> Result<(), RegistryStoreError> {
        if self.failed { Err(RegistryStoreError::Unusable) } else { Ok(()) }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if self.failed {
            // sled would flush once more, and panic if that fails too. Leave it alone.
            mem::forget(self.db.clone());
        }
    }
}

// === impl Draft ===

impl Draft {
    /// Begins a store in an empty directory.
    pub(super) fn begin(path: &Path) -> Result<Self, Cause> {
        let path = path.join(SLED);
        let db = config(&path).open()?;
        Ok(Self { db, path, batch: sled::Batch::default(), batched: 0 })
    }

    pub(super) fn put(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), Cause> {
        self.batch.insert(key, value);
        self.batched += 1;
        if self.batched >= BATCH {
            self.write()?;
        }
        Ok(())
    }

    /// Ends it: closed, though not synced yet.
    pub(super) fn finish(mut self) -> Result<(), Cause> {
        self.write()?;
        self.db.flush()?;
        refuse_blobs(&self.path)?;
        let Self { db, path, .. } = self;
        drop(db);
        Ok(wait_for_release(&path)?)
    }

    fn write(&mut self) -> Result<(), Cause> {
        self.batched = 0;
        Ok(self.db.apply_batch(mem::take(&mut self.batch))?)
    }
}

fn config(path: &Path) -> sled::Config {
    sled::Config::new()
        .path(path)
        .cache_capacity(CACHE)
        .segment_size(SEGMENT_SIZE)
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace)
}

fn attempt(path: &Path) -> Result<sled::Db, Trouble> {
    prepare(path).map_err(|error| trouble(path, error))?;
    // The hook of panics prints where it was; what it was is told here.
    let opened = panic::catch_unwind(AssertUnwindSafe(|| {
        let db = config(path).open()?;
        // Every page is read once, so that one that cannot be is found now.
        db.iter().try_for_each(|item| item.map(drop))?;
        Ok(db)
    }));
    match opened {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(error))) => Err(trouble(path, error)),
        Ok(Err(error)) => Err(Trouble::Store(error.into())),
        Err(panic) => Err(Trouble::Store(message(panic.as_ref()).into())),
    }
}

fn prepare(path: &Path) -> io::Result<()> {
    // A snapshot that was not finished is read as the newest one, and ruins the store for good; one
    // of another user cannot be read at all.
    remove_files(path, |name| {
        let forbidden = || match File::open(path.join(name)) {
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
            Ok(_) => false,
        };
        name.starts_with("snap.") && (name.ends_with(".generating") || forbidden())
    })?;
    wait_for_release(path)?;
    // sled makes a durable snapshot of what it reads now; so that must be durable first.
    File::open(path.join("db"))?.sync_all()
}

fn trouble(path: &Path, error: io::Error) -> Trouble {
    use io::ErrorKind::{
        OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull, WouldBlock,
    };
    let around = matches!(
        error.kind(),
        OutOfMemory
            | PermissionDenied
            | QuotaExceeded
            | ReadOnlyFilesystem
            | StorageFull
            | WouldBlock
    ) || matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
    if around { Trouble::Around(at(path)(error)) } else { Trouble::Store(error.into()) }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

fn remove_files(path: &Path, which: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if which(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// No value is large enough for that; should one be some day, a power cut would lose it.
fn refuse_blobs(path: &Path) -> Result<(), Cause> {
    let blobs = path.join("blobs");
    match fs::read_dir(&blobs)?.next() {
        None => Ok(()),
        Some(_) => Err(format!("sled put a value into {}", blobs.display()).into()),
    }
}

/// Waits until sled's own threads have let go of a store that this process has closed.
fn wait_for_release(path: &Path) -> io::Result<()> {
    let db = File::open(path.join("db"))?;
    let mut waited = Duration::ZERO;
    loop {
        match db.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if waited >= RELEASE => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Err(TryLockError::WouldBlock) => {
                thread::sleep(RELEASE_STEP);
                waited += RELEASE_STEP;
            }
        }
    }
}

//! Opens and makes sled stores, guarding against all that a bad one can do: errors, panics, and
//! contents that do not add up.

use std::{
    any::Any,
    cell::Cell,
    error::Error,
    fs::{self, File, TryLockError},
    io,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use tracing::warn;

use crate::outbox::{OutboxError, class::Holdings};

use super::{
    index::Index,
    place::{at, sync_tree},
    stored::{self, HEAD, Head, LAYOUT, RECORD},
};

/// sled's default. Nodes above a quarter of it (128 KiB) would become files of their own that sled
/// never syncs; with smaller segments records come near that.
const SEGMENT_SIZE: usize = 512 << 10;

/// How long to wait for threads of an earlier store in this process to let go of its files.
const RELEASE: Duration = Duration::from_secs(5);
const RELEASE_STEP: Duration = Duration::from_millis(5);

/// A store that was opened and read through.
pub(super) struct Found {
    pub(super) db: sled::Db,
    pub(super) head: Head,
    pub(super) holdings: Holdings,
    pub(super) index: Index,
}

/// Why a store was not opened.
pub(super) enum Trouble {
    /// It cannot be read and never will be: set it aside.
    Store(Cause),
    /// Something around it is wrong, and a human has to look.
    Around(OutboxError),
}

type Cause = Box<dyn Error + Send + Sync>;

/// Opens a store and reads all of it. On failure tries once more without the files that sled can
/// do without: its snapshots are a cache, and its `conf` says what we tell it anyway.
///
/// Reading everything takes a second for some hundred thousand records. It makes the count exact,
/// and a store whose pages cannot be read is found now, when it can be set aside, and not again
/// and again after each restart.
pub(super) fn open(dir: &Path, path: &Path, cache: u64) -> Result<Found, Trouble> {
    match attempt(dir, path, cache) {
        Err(Trouble::Store(cause)) => {
            warn!(cause, store = %path.display(), "The outbox store did not open; trying without its snapshots.");
            remove_files(path, |name| name.starts_with("snap.") || name == "conf")
                .map_err(|error| Trouble::Around(at(dir)(error)))?;
            attempt(dir, path, cache)
        }
        result => result,
    }
}

/// Makes an empty store at `path` and closes it again.
pub(super) fn create(path: &Path, head: Head) -> Result<(), Cause> {
    // What it is opened with the next time is what counts; nothing is read here.
    let db = config(path, 256 << 10).open()?;
    db.insert(HEAD, head.encode())?;
    db.flush()?;
    drop(db);
    Ok(wait_for_release(path)?)
}

pub(super) fn config(path: &Path, cache: u64) -> sled::Config {
    sled::Config::new()
        .path(path)
        .cache_capacity(cache)
        .segment_size(SEGMENT_SIZE)
        // We say when to flush. It also means that sled never rewrites old parts of its log; in a
        // queue they empty by themselves.
        .flush_every_ms(None)
        // 0.34.7 reads this nowhere; it states what we would want.
        .mode(sled::Mode::LowSpace)
}

fn attempt(dir: &Path, path: &Path, cache: u64) -> Result<Found, Trouble> {
    prepare(path).map_err(|error| Trouble::Around(at(dir)(error)))?;
    match catch(|| read_through(dir, path, cache)) {
        Ok(result) => result,
        Err(panic) => Err(Trouble::Store(panic.into())),
    }
}

fn prepare(path: &Path) -> io::Result<()> {
    // A snapshot that was not finished is read as the newest one, and ruins the store for good. One
    // that we may not read was made when another user, such as root, looked into the store.
    remove_files(path, |name| {
        let forbidden = || is_forbidden(&File::open(path.join(name)));
        name.starts_with("snap.") && (name.ends_with(".generating") || forbidden())
    })?;
    wait_for_release(path)?;
    match File::open(path.join("db")) {
        // sled will write a durable snapshot of what it reads now; so that must be durable first.
        Ok(db) => db.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn read_through(dir: &Path, path: &Path, cache: u64) -> Result<Found, Trouble> {
    let trouble = |error| trouble(dir, error);
    let db = config(path, cache).open().map_err(trouble)?;
    let head = db.get(HEAD).map_err(trouble)?.ok_or("it has no head")?;
    let head = Head::decode(&head).ok_or("its head cannot be understood")?;
    if head.layout > LAYOUT {
        let dir = dir.to_owned();
        return Err(Trouble::Around(OutboxError::NewerLayout { dir, found: head.layout }));
    }
    if !head.is_readable() {
        return Err("its layout does not exist".into());
    }
    let (mut holdings, mut index) = (Holdings::default(), Index::default());
    for item in db.scan_prefix(RECORD) {
        let (key, value) = item.map_err(trouble)?;
        let sequence = stored::decode_record_key(&key).ok_or("it has a strange key")?;
        if sequence.0 == 0 || sequence.0 > head.last {
            return Err("it has a record that was never given a sequence".into());
        }
        let gist = stored::record_gist(&value).ok_or("a record cannot be understood")?;
        holdings.of(gist.class, gist.standing).add(gist.size);
        index.insert(sequence, gist.about);
    }
    sync_tree(path).map_err(|error| Trouble::Around(at(dir)(error)))?;
    Ok(Found { db, head, holdings, index })
}

fn is_forbidden(opened: &io::Result<File>) -> bool {
    matches!(opened, Err(error) if error.kind() == io::ErrorKind::PermissionDenied)
}

fn trouble(dir: &Path, error: sled::Error) -> Trouble {
    match error {
        sled::Error::Io(error) if is_around(&error) => Trouble::Around(at(dir)(error)),
        error => Trouble::Store(error.into()),
    }
}

/// Whether an error has nothing to do with what the store contains.
fn is_around(error: &io::Error) -> bool {
    use io::ErrorKind::{
        OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    matches!(
        error.kind(),
        OutOfMemory | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
    ) || matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

impl From<&'static str> for Trouble {
    fn from(what: &'static str) -> Self {
        Self::Store(what.into())
    }
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

/// Waits until nobody holds sled's lock on a store. No other process can, as ours is on the whole
/// directory; but sled's own threads may let go of a closed store a little later.
fn wait_for_release(path: &Path) -> io::Result<()> {
    let db = match File::open(path.join("db")) {
        Ok(db) => db,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
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

thread_local! {
    /// Whether this thread's panics are expected, and told by whoever catches them.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs something that may panic, and returns the panic's message instead of printing it.
fn catch<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    let hook = Arc::new(panic::take_hook());
    let usual = Arc::clone(&hook);
    panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            usual(info);
        }
    }));
    QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    panic::set_hook(Box::new(move |info| hook(info)));
    result.map_err(|payload| message(payload.as_ref()))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_message_and_later_ones_are_seen_again() {
        assert_eq!(catch(|| 7), Ok(7));
        assert_eq!(catch(|| panic!("a plain one")), Err::<(), _>("a plain one".to_owned()));
        let number = 3;
        assert_eq!(catch(|| panic!("number {number}")), Err::<(), _>("number 3".to_owned()));
        assert!(!QUIET.get());
    }

    #[test]
    fn a_full_disk_or_missing_rights_are_not_the_stores_fault() {
        let around = |kind: io::ErrorKind| {
            let trouble = trouble(Path::new("outbox"), sled::Error::Io(kind.into()));
            matches!(trouble, Trouble::Around(_))
        };
        assert!(around(io::ErrorKind::StorageFull));
        assert!(around(io::ErrorKind::PermissionDenied));
        assert!(around(io::ErrorKind::ReadOnlyFilesystem));
        assert!(!around(io::ErrorKind::UnexpectedEof));
        let corrupt = sled::Error::ReportableBug("a bug".to_owned());
        assert!(matches!(trouble(Path::new("outbox"), corrupt), Trouble::Store(_)));
    }
}

//! Opens and makes sled stores, guarding against all that a bad one can do: errors, panics, and
//! contents that do not add up.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
    thread,
    time::Duration,
};

use tracing::{info, warn};

use crate::{
    outbox::{DiskState, OutboxError},
    seal::{KeySource, StoreKey},
};

use super::{
    guard::catch,
    head::{self, HEAD, LAYOUT, SEALED},
    legacy::Legacy,
    place::{Place, at, sync_tree},
    rebuild::Workshop,
    salvage,
    survey::survey,
    volume::{Cause, Volume, Wholeness},
};

/// sled's default. Nodes above a quarter of it (128 KiB) would become files of their own that sled
/// never syncs; with smaller segments records come near that.
pub(super) const SEGMENT_SIZE: usize = 512 << 10;

/// How long to wait for threads of an earlier store in this process to let go of its files.
const RELEASE: Duration = Duration::from_secs(5);
const RELEASE_STEP: Duration = Duration::from_millis(5);

/// A store that was opened and read through.
pub(super) enum Found {
    /// One of this layout, and the number under which it is now.
    Volume(Box<Volume>, u64),
    /// One of an older layout, to be written anew.
    Legacy(Legacy),
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// To be used.
    Use,
    /// To be looked at: nothing is made or moved for it.
    Look,
}

/// Why a store was not opened.
pub(super) enum Trouble {
    /// It cannot be read and never will be: set it aside. Its log is as it was found, unless sled
    /// failed on one in which nothing was wrong.
    Store(Cause),
    /// Something around it is wrong, and a human has to look.
    Around(OutboxError),
}

/// Opens a store and reads all of it. On failure tries once more without the files that sled can
/// do without: its snapshots are a cache, and its `conf` says what we tell it anyway.
///
/// Before, its log is looked at (see `survey`). Where sled would cut off what was durable, or pass over
/// something, it opens a copy; if that turns out to be all that the store was, it takes its place: a
/// power cut can leave what looks like damage. If not, what is to be saved is saved from the log as it
/// was, and again after a power cut.
///
/// Reading everything takes half a second for a million records. It makes the count exact, and a
/// store whose pages cannot be read is found now, when it can be set aside, and not again and again
/// after each restart.
pub(super) fn open(
    place: &Place,
    number: u64,
    keys: &KeySource,
    cache: u64,
    purpose: Purpose,
) -> Result<Found, Trouble> {
    let around = |error| Trouble::Around(at(&place.dir)(error));
    let path = place.store(number);
    let log = path.join("db");
    let Some(key) = key(place, number, keys).map_err(Trouble::Around)? else {
        // It was made before stores were sealed. Or its key is gone, which is for a human to see to.
        if salvage::is_sealed(&log).map_err(around)? {
            return Err(Trouble::Around(OutboxError::KeyMissing { path: place.key(number) }));
        }
        return in_its_place(place, number, keys, cache, 0);
    };
    let survey = survey(&log, &key).map_err(around)?;
    match survey.doubt {
        None => in_its_place(place, number, keys, cache, survey.proven),
        Some(why) if purpose == Purpose::Use => {
            in_a_copy(place, number, keys, cache, survey.proven, why)
        }
        Some(why) => Err(why.into()),
    }
}

fn in_its_place(
    place: &Place,
    number: u64,
    keys: &KeySource,
    cache: u64,
    proven: u64,
) -> Result<Found, Trouble> {
    let path = place.store(number);
    let attempt = || match attempt(place, number, &path, keys, cache, proven)? {
        Found::Volume(volume, _) if volume.wholeness == Wholeness::Stale => {
            Err("it is not as its last commit left it".into())
        }
        found => Ok(found),
    };
    match attempt() {
        Err(Trouble::Store(cause)) => {
            warn!(cause, store = %path.display(), "The outbox store did not open; trying without its snapshots.");
            remove_files(&path, |name| name.starts_with("snap.") || name == "conf")
                .map_err(|error| Trouble::Around(at(&place.dir)(error)))?;
            attempt()
        }
        result => result,
    }
}

/// Lets sled open a copy of a store, which takes its place if nothing is missing in it.
fn in_a_copy(
    place: &Place,
    number: u64,
    keys: &KeySource,
    cache: u64,
    proven: u64,
    why: &'static str,
) -> Result<Found, Trouble> {
    let path = place.copy(number).map_err(|error| Trouble::Around(at(&place.dir)(error)))?;
    let volume = match attempt(place, number, &path, keys, cache, proven) {
        Ok(Found::Volume(volume, _)) => volume,
        Ok(Found::Legacy(_)) => return Err(why.into()),
        Err(trouble) => {
            fs::remove_dir_all(&path).ok();
            return Err(trouble);
        }
    };
    let is_whole = match volume.wholeness {
        Wholeness::Whole => true,
        Wholeness::Unknown => volume.lost().is_empty(),
        Wholeness::Damaged | Wholeness::Stale => false,
    };
    let workshop = Workshop::of(*volume, path);
    if !is_whole {
        workshop.abandon();
        return Err(why.into());
    }
    let number = number.saturating_add(1);
    let settled = workshop.settle(place, number, keys).map_err(Trouble::Around)?;
    let failed = |source| OutboxError::Create { dir: place.dir.clone(), source };
    let volume = settled.map_err(|cause| Trouble::Around(failed(cause)))?;
    info!(why, "The outbox was left in disorder, by a power cut as a rule; nothing of it is lost.");
    Ok(Found::Volume(Box::new(volume), number))
}

/// The key of a store; `None` when there is no file for it.
pub(super) fn key(
    place: &Place,
    number: u64,
    keys: &KeySource,
) -> Result<Option<StoreKey>, OutboxError> {
    let dir = || place.dir.clone();
    keys.unwrap(&place.key(number)).map_err(|source| OutboxError::Key { dir: dir(), source })
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

fn attempt(
    place: &Place,
    number: u64,
    path: &Path,
    keys: &KeySource,
    cache: u64,
    proven: u64,
) -> Result<Found, Trouble> {
    prepare(path).map_err(|error| Trouble::Around(at(&place.dir)(error)))?;
    match catch(|| read_through(place, number, path, keys, cache, proven)) {
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

fn read_through(
    place: &Place,
    number: u64,
    path: &Path,
    keys: &KeySource,
    cache: u64,
    proven: u64,
) -> Result<Found, Trouble> {
    let trouble = |cause| trouble(&place.dir, cause);
    let db = config(path, cache).open().map_err(|error| trouble(error.into()))?;
    let head = db.get(HEAD).map_err(|error| trouble(error.into()))?.ok_or("it has no head")?;
    let layout = head::layout(&head).ok_or("its head cannot be understood")?;
    let found = match layout {
        SEALED..=LAYOUT => {
            let key = key(place, number, keys).map_err(Trouble::Around)?;
            let missing = || OutboxError::KeyMissing { path: place.key(number) };
            let key = key.ok_or_else(missing).map_err(Trouble::Around)?;
            let volume = Volume::read_through(db, key).map_err(trouble)?;
            if proven > volume.durable() {
                return Err("commits have vanished from the end of it".into());
            }
            Found::Volume(Box::new(volume), number)
        }
        1 | 2 => Found::Legacy(Legacy::read_through(db).map_err(trouble)?),
        0 => return Err("its layout does not exist".into()),
        found => {
            let dir = place.dir.clone();
            return Err(Trouble::Around(OutboxError::NewerLayout { dir, found }));
        }
    };
    sync_tree(path).map_err(|error| Trouble::Around(at(&place.dir)(error)))?;
    Ok(found)
}

fn is_forbidden(opened: &io::Result<File>) -> bool {
    matches!(opened, Err(error) if error.kind() == io::ErrorKind::PermissionDenied)
}

fn trouble(dir: &Path, cause: Cause) -> Trouble {
    match cause.downcast::<sled::Error>().map(|error| *error) {
        Ok(sled::Error::Io(error)) if is_around(&error) => Trouble::Around(at(dir)(error)),
        Ok(error) => Trouble::Store(error.into()),
        Err(cause) => Trouble::Store(cause),
    }
}

/// Whether an error has nothing to do with what the store contains.
fn is_around(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, PermissionDenied};
    DiskState::of(error).is_some()
        || matches!(error.kind(), OutOfMemory | PermissionDenied)
        // No more files, or no more threads.
        || matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::EAGAIN))
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
pub(super) fn wait_for_release(path: &Path) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_or_missing_rights_are_not_the_stores_fault() {
        let around = |kind: io::ErrorKind| {
            let trouble = trouble(Path::new("outbox"), sled::Error::Io(kind.into()).into());
            matches!(trouble, Trouble::Around(_))
        };
        assert!(around(io::ErrorKind::StorageFull));
        assert!(around(io::ErrorKind::PermissionDenied));
        assert!(around(io::ErrorKind::ReadOnlyFilesystem));
        assert!(!around(io::ErrorKind::UnexpectedEof));
        let broken = sled::Error::Io(io::Error::from_raw_os_error(libc::EIO));
        assert!(matches!(trouble(Path::new("outbox"), broken.into()), Trouble::Around(_)));
        let corrupt = sled::Error::ReportableBug("a bug".to_owned());
        assert!(matches!(trouble(Path::new("outbox"), corrupt.into()), Trouble::Store(_)));
    }
}

//! The outbox directory: who may use it, which store in it is the live one, and which epochs were.
//!
//! | entry | what it is |
//! |---|---|
//! | `lock` | locked by the process that uses the directory |
//! | `epoch` | the highest epoch ever begun here, as a decimal number |
//! | `store-N` | a sled store; the one with the highest number is live |
//! | `store-N.sealed-key` | the key of that store, wrapped with the gateway's |
//! | `new` | a store in the making; worthless after a crash |
//! | `corrupt-T`, `corrupt-T.sealed-key` | a store set aside at Unix time T because it could not be read, and its key |
//!
//! A store is made complete and synced under the name `new` before it is given its real one, in one
//! step that either happens or does not. So there is never a half-made store to be found. Its key is
//! there before it is.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tracing::warn;

use crate::{
    engine::UnixTime,
    outbox::OutboxError,
    seal::{WRAPPED, WRAPPED_NEW},
};

pub(in crate::outbox) const LOCK: &str = "lock";
const EPOCH: &str = "epoch";
const EPOCH_NEW: &str = "epoch.new";
const NEW: &str = "new";
const STORE: &str = "store-";
const CORRUPT: &str = "corrupt-";

/// How many stores that could not be read are kept: enough to see what goes on, few enough not to
/// fill the card. The oldest go first.
const KEEP_CORRUPT: usize = 3;

/// How long to wait for whoever only asks whether the outbox is in use, which takes a moment: a
/// gateway that starts in that moment is not to be sent away. Another gateway stays longer.
const PATIENCE: Duration = Duration::from_millis(500);
const PATIENCE_STEP: Duration = Duration::from_millis(5);

/// How large those before the latest may be together, in bytes: the latest has what there is to be
/// found out, and a full one of them may have 300 MB.
const KEEP_CORRUPT_BYTES: u64 = 64 << 20;

/// A directory that this process has for itself, as long as this value lives.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes possession of a directory, making it if need be.
    pub(super) fn enter(dir: &Path) -> Result<Self, OutboxError> {
        let missing = dir.ancestors().take_while(|dir| !dir.exists()).count();
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        let made_in = dir.ancestors().skip(1).take(missing);
        made_in.into_iter().try_for_each(sync_dir).map_err(at(dir))?;
        Self::take(dir)
    }

    /// Takes possession of a directory that has an outbox.
    pub(super) fn enter_existing(dir: &Path) -> Result<Self, OutboxError> {
        match dir.join(LOCK).try_exists() {
            Ok(true) => Self::take(dir),
            Ok(false) => Err(OutboxError::Absent { dir: dir.to_owned() }),
            Err(error) => Err(at(dir)(error)),
        }
    }

    fn take(dir: &Path) -> Result<Self, OutboxError> {
        refuse_foreign(dir)?;
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).read(true).write(true);
        let lock = lock.open(dir.join(LOCK)).map_err(at(dir))?;
        let mut waited = Duration::ZERO;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { dir: dir.to_owned(), _lock: lock }),
                Err(TryLockError::Error(error)) => return Err(at(dir)(error)),
                Err(TryLockError::WouldBlock) if waited >= PATIENCE => {
                    return Err(OutboxError::InUse { dir: dir.to_owned() });
                }
                Err(TryLockError::WouldBlock) => {
                    thread::sleep(PATIENCE_STEP);
                    waited += PATIENCE_STEP;
                }
            }
        }
    }

    /// The number of the live store.
    pub(super) fn live(&self) -> Result<Option<u64>, OutboxError> {
        let numbers = names(&self.dir).map_err(at(&self.dir))?;
        Ok(numbers.iter().filter_map(|name| store_number(name)).max())
    }

    pub(super) fn store(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{STORE}{number}"))
    }

    /// Where the wrapped key of a store is.
    pub(super) fn key(&self, number: u64) -> PathBuf {
        key_of(&self.store(number))
    }

    /// Where to make a store. Nothing is there.
    pub(super) fn workshop(&self) -> io::Result<PathBuf> {
        let path = self.dir.join(NEW);
        remove_all(&path)?;
        Ok(path)
    }

    /// Makes what is in the workshop the live store. It must be complete and closed.
    pub(super) fn install(&self, number: u64) -> io::Result<()> {
        sync_tree(&self.dir.join(NEW))?;
        fs::rename(self.dir.join(NEW), self.store(number))?;
        sync_dir(&self.dir)
    }

    /// Removes what is left of earlier stores and of unfinished work. Returns whether all of it is
    /// gone.
    pub(super) fn clean(&self, live: u64) -> bool {
        let cleaned = names(&self.dir).and_then(|names| {
            let stale = names.iter().filter(|name| {
                let store = name.strip_suffix(WRAPPED_NEW).or(name.strip_suffix(WRAPPED));
                match (store_number(name), store.map(|store| (store_number(store), store))) {
                    (Some(number), _) => number < live,
                    // The key of a store that never came to be has a higher number.
                    (None, Some((Some(number), _))) => number != live,
                    (None, Some((None, store))) => !names.iter().any(|name| name == store),
                    (None, None) => *name == NEW || *name == EPOCH_NEW,
                }
            });
            stale.map(|name| self.dir.join(name)).try_for_each(|path| remove_all(&path))
        });
        if let Err(error) = &cleaned {
            warn!(%error, dir = %self.dir.display(), "Old files were left in the outbox.");
        }
        cleaned.is_ok()
    }

    /// Sets a store aside that cannot be read, and forgets the oldest of those set aside before.
    pub(super) fn set_aside(&self, number: u64, now: UnixTime) -> io::Result<PathBuf> {
        let seconds = now.as_millis().div_euclid(1000);
        let aside = (0..u32::MAX)
            .map(|again| match again {
                0 => self.dir.join(format!("{CORRUPT}{seconds}")),
                again => self.dir.join(format!("{CORRUPT}{seconds}-{again}")),
            })
            .find(|path| !path.exists())
            .ok_or(io::ErrorKind::AlreadyExists)?;
        match fs::rename(self.key(number), key_of(&aside)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::rename(self.store(number), &aside)?,
        }
        sync_dir(&self.dir)?;
        if let Err(error) = self.forget_corrupt(&aside) {
            warn!(%error, "Stores that were set aside earlier could not be removed.");
        }
        Ok(aside)
    }

    /// Copies a store to where stores are made, and returns where that is.
    pub(super) fn copy(&self, number: u64) -> io::Result<PathBuf> {
        let path = self.workshop()?;
        copy_all(&self.store(number), &path).inspect_err(|_| drop(remove_all(&path)))?;
        Ok(path)
    }

    /// Removes all but the latest of the stores set aside, and never the one just set aside: the
    /// clock may have been wrong.
    fn forget_corrupt(&self, latest: &Path) -> io::Result<()> {
        let mut aside: Vec<PathBuf> = names(&self.dir)?
            .iter()
            .filter(|name| name.starts_with(CORRUPT) && !name.ends_with(WRAPPED))
            .map(|name| self.dir.join(name))
            .filter(|path| path != latest)
            .collect();
        aside.sort_by_key(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name.len(), name)
        });
        let too_many = (aside.len() + 1).saturating_sub(KEEP_CORRUPT);
        let mut bytes = 0_u64;
        let small = aside.iter().rev().take_while(|path| {
            bytes = bytes.saturating_add(size(path).unwrap_or(0));
            bytes <= KEEP_CORRUPT_BYTES
        });
        let too_large = aside.len() - small.count();
        aside.iter().take(too_many.max(too_large)).try_for_each(|path| {
            remove_all(path)?;
            remove_all(&key_of(path))
        })
    }

    /// Removes all stores that were set aside, and says how many: nobody can find out what they
    /// hold, so they cannot be kept when something has to vanish.
    pub(super) fn forget_aside(&self) -> io::Result<usize> {
        let names = names(&self.dir)?;
        let aside = names.iter().filter(|name| name.starts_with(CORRUPT));
        let removed = aside.map(|name| {
            remove_all(&self.dir.join(name))?;
            Ok(usize::from(!name.ends_with(WRAPPED)))
        });
        removed.sum()
    }

    /// The highest epoch ever begun here; `Err` with what is written there if that is no number.
    pub(super) fn epoch(&self) -> io::Result<Result<Option<u32>, String>> {
        match fs::read(self.dir.join(EPOCH)) {
            Ok(text) => {
                let text = String::from_utf8_lossy(&text);
                Ok(text.trim().parse().map(Some).map_err(|_| text.into_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ok(None)),
            Err(error) => Err(error),
        }
    }

    /// Remembers that an epoch was begun.
    pub(super) fn set_epoch(&self, epoch: u32) -> io::Result<()> {
        let new = self.dir.join(EPOCH_NEW);
        let mut file = File::create(&new)?;
        file.write_all(format!("{epoch}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(new, self.dir.join(EPOCH))?;
        sync_dir(&self.dir)
    }
}

/// Says what an error of the file system means for the outbox in `dir`.
pub(super) fn at(dir: &Path) -> impl Fn(io::Error) -> OutboxError {
    move |source| {
        let dir = dir.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => OutboxError::Forbidden { dir, source },
            io::ErrorKind::WouldBlock => OutboxError::InUse { dir },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                OutboxError::DiskFull { dir, source: source.into() }
            }
            _ => OutboxError::Directory { dir, source },
        }
    }
}

/// What others of this program keep in the state directory: the registry and its key may be made
/// before the first outbox is.
const NEIGHBOURS: &str = "registry";

/// Refuses a directory that has something in it but nothing of ours.
fn refuse_foreign(dir: &Path) -> Result<(), OutboxError> {
    let names = names(dir).map_err(at(dir))?;
    let ours = |name: &String| {
        [LOCK, EPOCH, EPOCH_NEW, NEW].contains(&name.as_str())
            || name.starts_with(STORE)
            || name.starts_with(CORRUPT)
            || name.starts_with(NEIGHBOURS)
    };
    if names.iter().any(ours) {
        return Ok(());
    }
    // A disk of its own has this directory in its root.
    match names.into_iter().find(|name| name != "lost+found") {
        Some(found) => Err(OutboxError::Foreign { dir: dir.to_owned(), found }),
        None => Ok(()),
    }
}

fn key_of(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(WRAPPED);
    name.into()
}

fn store_number(name: &str) -> Option<u64> {
    // Whoever made a larger one was not us.
    name.strip_prefix(STORE)?.parse().ok().map(|number: u32| number.into())
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    fs::read_dir(dir)?.map(name).collect()
}

fn remove_all(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies a directory with all that is in it.
fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// How many bytes the files in a directory have together.
fn size(dir: &Path) -> io::Result<u64> {
    let lengths = fs::read_dir(dir)?.map(|entry| Ok(entry?.metadata()?.len()));
    lengths.sum()
}

/// Makes the names in a directory survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    // An empty path is what `parent` calls the current directory.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

/// Makes everything in a directory survive a power cut, its own name excepted.
pub(super) fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_begins_to_use_it_waits_for_whoever_only_asks_and_not_for_another_user() {
        let dir = tempfile::tempdir().unwrap();
        drop(Place::enter(dir.path()).unwrap());
        let asking = File::open(dir.path().join(LOCK)).unwrap();
        asking.try_lock_shared().unwrap();
        let (entered_tx, entered) = std::sync::mpsc::sync_channel(1);
        let path = dir.path();
        thread::scope(|scope| {
            scope.spawn(move || drop(entered_tx.send(Place::enter(path))));
            let early = entered.recv_timeout(PATIENCE / 10);
            assert!(early.is_err(), "it does not wait: {early:?}");
            drop(asking);
            let first = entered.recv().unwrap().unwrap();
            let second = Place::enter(path);
            assert!(matches!(second, Err(OutboxError::InUse { .. })), "{second:?}");
            drop(first);
        });
    }

    #[test]
    fn an_error_of_the_file_system_is_told_with_what_to_do() {
        let message = |kind: io::ErrorKind| at(Path::new("/state/outbox"))(kind.into()).to_string();
        assert!(message(io::ErrorKind::PermissionDenied).contains("chown"));
        assert!(message(io::ErrorKind::StorageFull).contains("free some space"));
        assert!(message(io::ErrorKind::WouldBlock).contains("systemctl stop"));
        assert!(message(io::ErrorKind::NotADirectory).contains("check that the path is right"));
    }

    #[test]
    fn only_our_own_numbers_are_numbers_of_stores() {
        assert_eq!(store_number("store-17"), Some(17));
        for name in
            ["store-", "store-x", "store-99999999999", "corrupt-17", "17", "store-17.sealed-key"]
        {
            assert_eq!(store_number(name), None, "{name}");
        }
    }
}

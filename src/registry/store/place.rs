//! The registry's directory: who may use it, which store in it is live, and what became of others.
//!
//! | entry | what it is |
//! |---|---|
//! | `lock` | locked by the process that has the registry open |
//! | `store-N` | generation N; the one with the highest number is live |
//! | `new` | a generation in the making; worthless after a crash |
//! | `corrupt-T` | a store set aside at Unix time T because it could not be read; there until another is |
//! | `lost` | why: a store was set aside, and nothing has taken its place yet |
//! | `changed` | how often the registry was changed, in decimal: what the daemon looks at |
//!
//! A generation is made complete and synced under the name `new` before it is given its real one,
//! in one step that either happens or does not. That is the head write: before it everything is as
//! it was, after it everything is new, and what is left over is cleared away by the next one to come.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, lchown},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tracing::warn;

use super::{error::RegistryStoreError, salts};
use crate::engine::UnixTime;

const LOCK: &str = "lock";
const NEW: &str = "new";
const STORE: &str = "store-";
const CORRUPT: &str = "corrupt-";
const LOST: &str = "lost";
const CHANGED: &str = "changed";
/// What the names of small files end with while they are written.
const UNFINISHED: &str = ".new";

/// The name of the directory in the state directory.
pub(super) const DIRECTORY: &str = "registry";

/// How many stores that could not be read are kept, for whoever wants to know why.
const KEEP_CORRUPT: usize = 3;

/// How long to wait for another process to finish: an import of a large chain's registry on a slow
/// card takes this long.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_STEP: Duration = Duration::from_millis(20);

/// A directory that this process has for itself, as long as this value lives.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes possession of the registry's directory in a state directory, making both if need be.
    pub(super) fn enter(state_dir: &Path) -> Result<Self, RegistryStoreError> {
        let dir = state_dir.join(DIRECTORY);
        make(&dir).map_err(at(&dir))?;
        Self::take(dir)
    }

    /// Takes possession of a directory if it is there.
    pub(super) fn enter_existing(state_dir: &Path) -> Result<Option<Self>, RegistryStoreError> {
        let dir = state_dir.join(DIRECTORY);
        match dir.join(LOCK).try_exists() {
            Ok(true) => Self::take(dir).map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(at(&dir)(error)),
        }
    }

    fn take(dir: PathBuf) -> Result<Self, RegistryStoreError> {
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let lock = options.open(dir.join(LOCK)).map_err(at(&dir))?;
        let mut waited = Duration::ZERO;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { dir, _lock: lock }),
                Err(TryLockError::Error(error)) => return Err(at(&dir)(error)),
                Err(TryLockError::WouldBlock) if waited >= PATIENCE => {
                    return Err(RegistryStoreError::InUse { dir });
                }
                Err(TryLockError::WouldBlock) => {
                    thread::sleep(PATIENCE_STEP);
                    waited += PATIENCE_STEP;
                }
            }
        }
    }

    /// The number of the live generation.
    pub(super) fn live(&self) -> Result<Option<u64>, RegistryStoreError> {
        let numbers = names(&self.dir).map_err(at(&self.dir))?;
        Ok(numbers.iter().filter_map(|name| store_number(name)).max())
    }

    pub(super) fn store(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{STORE}{number}"))
    }

    /// An empty directory in which to make a generation.
    pub(super) fn workshop(&self) -> io::Result<PathBuf> {
        let path = self.dir.join(NEW);
        remove(&path)?;
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(path)
    }

    /// Makes what is in the workshop the live generation. It must be complete and closed.
    pub(super) fn install(&self, number: u64) -> io::Result<()> {
        sync_tree(&self.dir.join(NEW))?;
        fs::rename(self.dir.join(NEW), self.store(number))?;
        sync_dir(&self.dir)
    }

    /// Removes what is left of earlier generations and of unfinished work, so that it is gone for
    /// good.
    pub(super) fn clean(&self, live: u64) {
        let cleaned = names(&self.dir).and_then(|names| {
            let stale = names.iter().filter(|name| match store_number(name) {
                Some(number) => number < live,
                None => *name == NEW || name.strip_suffix(UNFINISHED).is_some(),
            });
            stale.map(|name| self.dir.join(name)).try_for_each(|path| remove(&path))
        });
        if let Err(error) = cleaned {
            warn!(%error, dir = %self.dir.display(), "Old files were left beside the registry.");
        }
    }

    /// Sets the live store aside because it cannot be read, and notes that it is lost.
    pub(super) fn set_aside(&self, number: u64, now: UnixTime, why: &str) -> io::Result<PathBuf> {
        let seconds = now.as_millis().div_euclid(1000);
        let aside = (0..u32::MAX)
            .map(|again| match again {
                0 => self.dir.join(format!("{CORRUPT}{seconds}")),
                again => self.dir.join(format!("{CORRUPT}{seconds}-{again}")),
            })
            .find(|path| !path.exists())
            .ok_or(io::ErrorKind::AlreadyExists)?;
        // First the note: there must be no moment at which the registry just looks empty.
        self.put(LOST, &format!("generation {number} was damaged ({why})\n"), true)?;
        fs::rename(self.store(number), &aside)?;
        sync_dir(&self.dir)?;
        if let Err(error) = self.forget_corrupt(&aside) {
            warn!(%error, "Registries that were set aside earlier could not be removed.");
        }
        Ok(aside)
    }

    fn forget_corrupt(&self, latest: &Path) -> io::Result<()> {
        let mut aside: Vec<PathBuf> = names(&self.dir)?
            .iter()
            .filter(|name| name.starts_with(CORRUPT))
            .map(|name| self.dir.join(name))
            .filter(|path| path != latest)
            .collect();
        aside.sort();
        let too_many = (aside.len() + 1).saturating_sub(KEEP_CORRUPT);
        aside.iter().take(too_many).try_for_each(|path| remove(path))
    }

    /// What was noted when a store was set aside; `None` when nothing is lost.
    pub(super) fn lost(&self) -> Result<Option<String>, RegistryStoreError> {
        match fs::read(self.dir.join(LOST)) {
            Ok(note) => Ok(Some(String::from_utf8_lossy(&note).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&self.dir)(error)),
        }
    }

    /// Something has taken the place of what was lost. What was set aside is removed: it may have
    /// people in it who withdrew.
    pub(super) fn found_again(&self) -> io::Result<()> {
        fs::remove_file(self.dir.join(LOST))?;
        sync_dir(&self.dir)?;
        let names = names(&self.dir)?;
        let aside = names.iter().filter(|name| name.starts_with(CORRUPT));
        aside.map(|name| self.dir.join(name)).try_for_each(|path| remove(&path))
    }

    /// The number for the next generation in a directory without a live one: none that was used.
    pub(super) fn next_after_loss(&self) -> Result<u64, RegistryStoreError> {
        let note = self.lost()?.unwrap_or_default();
        let last = note.split(' ').nth(1).and_then(|number| number.parse().ok());
        Ok(last.map_or(1, |last: u32| u64::from(last) + 1))
    }

    /// Tells the daemon that something changed. Not synced: whoever starts anew reads everything.
    pub(super) fn announce(&self, changes: u64) {
        if let Err(error) = self.put(CHANGED, &format!("{changes}\n"), false) {
            warn!(
                %error,
                "The gateway could not be told that the registry changed; `systemctl reload` it."
            );
        }
    }

    fn put(&self, name: &str, text: &str, sync: bool) -> io::Result<()> {
        let new = self.dir.join(format!("{name}{UNFINISHED}"));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(new, self.dir.join(name))?;
        if sync { sync_dir(&self.dir) } else { Ok(()) }
    }
}

impl Drop for Place {
    /// What root made in here belongs to the user whose state directory it is: the service must be
    /// able to open it.
    fn drop(&mut self) {
        let owner = self.dir.parent().and_then(|state_dir| fs::metadata(state_dir).ok());
        let Some(owner) = owner else { return };
        if let Err(error) = hand_over(&self.dir, (owner.uid(), owner.gid())) {
            warn!(%error, dir = %self.dir.display(), "The registry's files could not be given to the service's user.");
        }
    }
}

/// How often the registry in a state directory was changed; `None` when there is none. Costs one
/// read of a small file, so that it can be asked every second.
pub fn stamp(state_dir: &Path) -> Option<u64> {
    let text = fs::read_to_string(state_dir.join(DIRECTORY).join(CHANGED)).ok()?;
    text.trim().parse().ok()
}

/// Says what an error of the file system means for the registry in `dir`.
pub(super) fn at(dir: &Path) -> impl Fn(io::Error) -> RegistryStoreError {
    move |source| {
        let dir = dir.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => RegistryStoreError::Forbidden { dir, source },
            io::ErrorKind::WouldBlock => RegistryStoreError::InUse { dir },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                RegistryStoreError::DiskFull { dir, source: source.into() }
            }
            _ => RegistryStoreError::Directory { dir, source },
        }
    }
}

fn make(dir: &Path) -> io::Result<()> {
    let missing = dir.ancestors().take_while(|dir| !dir.exists()).count();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    dir.ancestors().skip(1).take(missing).try_for_each(sync_dir)
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

/// Removes a generation or a file. The salts go first and are overwritten: without them nothing
/// opens what the freed blocks of the disk still have.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            salts::erase_file(path)?;
            fs::remove_dir_all(path)
        }
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn hand_over(path: &Path, owner: (u32, u32)) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.uid() != owner.0 {
        match lchown(path, Some(owner.0), Some(owner.1)) {
            // Only root may. Somebody else who may write here has been let in on purpose.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => (),
        }
    }
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            hand_over(&entry?.path(), owner)?;
        }
    }
    Ok(())
}

/// Makes the names in a directory survive a power cut.
fn sync_dir(dir: &Path) -> io::Result<()> {
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

//! Where the keys come from: systemd's credential `registry-key`, else the file `registry.key` in
//! the state directory, made at its first use.
//!
//! Where both are there, both open and the credential's highest number seals: so one can move from
//! the one to the other. Loaded anew whenever a store is opened, because the command line may have
//! rotated the keys since.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{KeyRing, RingProblem, Sealer, key_ring::LONGEST, wrapped::rewrap_all};

/// The name of systemd's credential.
pub const CREDENTIAL: &str = "registry-key";
/// The name of the file in the state directory.
pub const KEY_FILE: &str = "registry.key";
/// The file while it is being written; worthless after a crash.
const KEY_FILE_NEW: &str = "registry.key.new";

/// Where to look for keys.
#[derive(Clone, Debug)]
pub struct KeySource {
    state_dir: PathBuf,
    credentials: Option<PathBuf>,
}

/// Keys, and where they were found.
#[derive(Debug)]
pub struct Keys {
    /// Seals and opens with them.
    pub sealer: Sealer,
    /// Where they were found.
    pub origin: KeyOrigin,
}

/// Where keys were found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyOrigin {
    /// In the key file alone.
    File,
    /// In systemd's credential alone.
    Credential,
    /// In both. `covered` says that the credential has every key of the file, which can then go.
    Both {
        /// Whether the file has nothing that the credential lacks.
        covered: bool,
    },
}

/// Keys that cannot be had.
#[derive(Debug, Error)]
pub enum KeyError {
    /// They cannot be read.
    #[error(
        "failed to read the keys in {}: run this as the service's user \
         (`sudo -u beacon-gateway …`) or as root", path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read them.
    #[error(
        "failed to trust the keys in {}: other users may read them; run `chmod 600` on the file, \
         and `beacon-gateway registry rotate-key` if anybody may have", path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It holds no keys.
    #[error(
        "failed to understand the keys in {}: {problem}; put the right file back, from a copy if \
         need be: what was sealed with a key that is lost cannot be opened again", path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: RingProblem,
    },
    /// The credential and the file have different keys of one number.
    #[error(
        "failed to join the keys of the credential `{CREDENTIAL}` and of {}: key number {number} \
         differs; give the credential's key a number that the file does not have", path.display()
    )]
    Conflict {
        /// The file.
        path: PathBuf,
        /// The number.
        number: u32,
    },
    /// A store's key is there, and no key to open it with.
    #[error(
        "failed to open the store key in {}: there are no keys to open it with; put the key file \
         `{KEY_FILE}` or the credential `{CREDENTIAL}` back that was there before", path.display()
    )]
    NoKeys {
        /// The file.
        path: PathBuf,
    },
    /// A store's key was wrapped with a key that is not here.
    #[error(
        "failed to open the store key in {}: it needs key number {number}, which is not there; put \
         the key file `{KEY_FILE}` or the credential `{CREDENTIAL}` back that has it",
        path.display()
    )]
    OtherKey {
        /// The file.
        path: PathBuf,
        /// The number of the key.
        number: u32,
    },
    /// A store's key does not open with the key of its number.
    #[error(
        "failed to open the store key in {}: it is damaged, or was wrapped with another key of \
         number {number}; put the file back from a copy, or the key that was there before",
        path.display()
    )]
    Altered {
        /// The file.
        path: PathBuf,
        /// The number of the key.
        number: u32,
    },
    /// The key file cannot be written.
    #[error(
        "failed to write the keys to {}: check the disk and the rights of the state directory; run \
         this as the service's user (`sudo -u beacon-gateway …`) or as root", path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system gave no randomness.
    #[error("failed to make a key: the system gave no random bytes")]
    Random,
    /// There is no number left.
    #[error("failed to make a key: there is no number above those of the ring")]
    NoNumber,
}

// === impl KeySource ===

impl KeySource {
    /// Keys for what lies in `state_dir`. `credentials` is the directory in which systemd puts what
    /// `LoadCredential=` loads (the variable `CREDENTIALS_DIRECTORY`).
    pub fn new(state_dir: &Path, credentials: Option<&Path>) -> Self {
        Self { state_dir: state_dir.to_owned(), credentials: credentials.map(Path::to_owned) }
    }

    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The key file, whether it is there or not.
    pub fn key_file(&self) -> PathBuf {
        self.state_dir.join(KEY_FILE)
    }

    /// The keys that there are; makes none.
    pub fn load(&self) -> Result<Option<Keys>, KeyError> {
        let credential = self.credentials.as_ref().map(|dir| read(&dir.join(CREDENTIAL)));
        let credential = credential.transpose()?.flatten();
        let path = self.key_file();
        let file = read(&path)?;
        let (ring, origin) = match (credential, file) {
            (None, None) => return Ok(None),
            (None, Some(file)) => (file, KeyOrigin::File),
            (Some(credential), None) => (credential, KeyOrigin::Credential),
            (Some(mut ring), Some(file)) => {
                let covered = ring.covers(&file);
                ring.join(&file).map_err(|number| KeyError::Conflict { path, number })?;
                (ring, KeyOrigin::Both { covered })
            }
        };
        Ok(Some(Keys { sealer: Sealer::new(ring), origin }))
    }

    /// The keys that there are; where there are none, a key file with one key. For when there is
    /// nothing yet that was sealed with others. The state directory must be there.
    pub fn load_or_make(&self) -> Result<Keys, KeyError> {
        if let Some(keys) = self.load()? {
            return Ok(keys);
        }
        // Whoever else comes here at the same time waits, and then finds what we have made.
        let _lock = self.lock()?;
        if let Some(keys) = self.load()? {
            return Ok(keys);
        }
        let ring = KeyRing::of(fresh()?);
        self.write(&ring)?;
        Ok(Keys { sealer: Sealer::new(ring), origin: KeyOrigin::File })
    }

    /// Adds a key to the key file, which becomes the current one.
    pub fn add_key(&self) -> Result<(), KeyError> {
        let _lock = self.lock()?;
        let mut ring = self.file()?;
        if !ring.add(fresh()?) {
            return Err(KeyError::NoNumber);
        }
        self.write(&ring)
    }

    /// Leaves only the current key in the key file. For when nothing is sealed with the others but
    /// keys of stores, which are wrapped anew before.
    pub fn drop_older(&self) -> Result<(), KeyError> {
        let _lock = self.lock()?;
        let mut ring = self.file()?;
        let keys = Sealer::new(ring.clone());
        rewrap_all(&self.state_dir, &[&keys], &keys)?;
        ring.keep_current();
        self.write(&ring)
    }

    /// Overwrites and removes the key file. For when nothing is sealed with its keys, or the
    /// credential has them all. Keys of stores are wrapped with the credential's before.
    pub fn remove_file(&self) -> Result<(), KeyError> {
        let _lock = self.lock()?;
        // They may contradict each other, so each is asked by itself.
        let credential = self.credentials.as_ref().map(|dir| read(&dir.join(CREDENTIAL)));
        if let Some(credential) = credential.transpose()?.flatten() {
            let (file, credential) = (Sealer::new(self.file()?), Sealer::new(credential));
            rewrap_all(&self.state_dir, &[&credential, &file], &credential)?;
        }
        let path = self.key_file();
        let removed = overwrite(&path).and_then(|()| fs::remove_file(&path));
        removed
            .and_then(|()| sync_dir(&self.state_dir))
            .map_err(|source| write_error(&path, source))
    }

    fn file(&self) -> Result<KeyRing, KeyError> {
        let path = self.key_file();
        let absent =
            || KeyError::Read { path: path.clone(), source: io::ErrorKind::NotFound.into() };
        read(&path)?.ok_or_else(absent)
    }

    pub(super) fn lock(&self) -> Result<File, KeyError> {
        let lock = File::open(&self.state_dir).and_then(|dir| dir.lock().map(|()| dir));
        lock.map_err(|source| write_error(&self.key_file(), source))
    }

    /// Replaces the key file: there is always the old one or the new one, complete and synced.
    fn write(&self, ring: &KeyRing) -> Result<(), KeyError> {
        let path = self.key_file();
        let new = self.state_dir.join(KEY_FILE_NEW);
        let written = (|| {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (),
            }
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            owned_like_its_directory(&new, &self.state_dir)?;
            file.write_all(ring.text().as_bytes())?;
            file.sync_all()?;
            let old = File::options().write(true).open(&path).ok();
            fs::rename(&new, &path)?;
            sync_dir(&self.state_dir)?;
            // The old file has no name any more; its blocks might still have its keys.
            old.map_or(Ok(()), |old| blank(&old))
        })();
        written.map_err(|source| write_error(&path, source))
    }
}

/// Root makes a file for the one whose directory it is.
pub(super) fn owned_like_its_directory(path: &Path, dir: &Path) -> io::Result<()> {
    let (owner, made) = (fs::metadata(dir)?, fs::symlink_metadata(path)?);
    if (owner.uid(), owner.gid()) == (made.uid(), made.gid()) {
        return Ok(());
    }
    lchown(path, Some(owner.uid()), Some(owner.gid())).or_else(forgiven)
}

/// Only root may give a file away. Whoever is not root and may write here is the group's.
fn forgiven(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::PermissionDenied { Ok(()) } else { Err(error) }
}

fn read(path: &Path) -> Result<Option<KeyRing>, KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    // systemd gives credentials the mode 0400, or 0440 with an access list.
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned() });
    }
    let length = usize::try_from(metadata.len().min(LONGEST)).unwrap_or_default();
    let mut text = Zeroizing::new(Vec::with_capacity(length + 1));
    file.take(LONGEST + 1).read_to_end(&mut text).map_err(failed)?;
    let ring = KeyRing::parse(&text);
    ring.map(Some).map_err(|problem| KeyError::Form { path: path.to_owned(), problem })
}

fn fresh() -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut octets = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut octets[..]).map_err(|_| KeyError::Random)?;
    Ok(octets)
}

fn overwrite(path: &Path) -> io::Result<()> {
    blank(&File::options().write(true).open(path)?)
}

fn blank(mut file: &File) -> io::Result<()> {
    let length = usize::try_from(file.metadata()?.len().min(LONGEST)).unwrap_or_default();
    file.write_all(&vec![0; length])?;
    file.sync_all()
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(super) fn write_error(path: &Path, source: io::Error) -> KeyError {
    KeyError::Write { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn put(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn line(number: u32, digit: char) -> String {
        format!("{number}:{}\n", digit.to_string().repeat(64))
    }

    #[test]
    fn a_key_file_is_made_once_for_its_owner_alone() {
        let dir = TempDir::new().unwrap();
        let source = KeySource::new(dir.path(), None);
        assert!(source.load().unwrap().is_none());
        assert!(!source.key_file().exists(), "looking makes nothing");
        let first = source.load_or_make().unwrap();
        let mode = fs::metadata(source.key_file()).unwrap().permissions().mode();
        assert_eq!((first.origin, mode & 0o777), (KeyOrigin::File, 0o600));
        let again = source.load_or_make().unwrap();
        assert_eq!(first.sealer.proof(1), again.sealer.proof(1));
        let other = TempDir::new().unwrap();
        let other = KeySource::new(other.path(), None).load_or_make().unwrap();
        assert_ne!(first.sealer.proof(1), other.sealer.proof(1), "every machine has its own");
    }

    #[test]
    fn two_that_make_the_key_at_once_get_the_same() {
        let dir = TempDir::new().unwrap();
        let source = KeySource::new(dir.path(), None);
        let proofs: Vec<_> = std::thread::scope(|scope| {
            let make = || source.load_or_make().unwrap().sealer.proof(1);
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(proofs.iter().all(|proof| proof.is_some() && *proof == proofs[0]));
    }

    #[test]
    fn the_credential_seals_and_the_file_still_opens() {
        let (dir, credentials) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let source = KeySource::new(dir.path(), Some(credentials.path()));
        let path = credentials.path().join(CREDENTIAL);
        put(&path, &line(2, 'b'), 0o400);
        assert_eq!(source.load_or_make().unwrap().origin, KeyOrigin::Credential);
        assert!(!source.key_file().exists());
        put(&source.key_file(), &line(3, 'c'), 0o600);
        let both = source.load().unwrap().unwrap();
        assert_eq!(both.origin, KeyOrigin::Both { covered: false });
        assert_eq!((both.sealer.current(), both.sealer.numbers().count()), (2, 2));
        put(&source.key_file(), &line(2, 'b'), 0o600);
        let both = source.load().unwrap().unwrap();
        assert_eq!(both.origin, KeyOrigin::Both { covered: true });
        put(&source.key_file(), &line(2, 'c'), 0o600);
        let error = source.load().unwrap_err();
        assert!(matches!(error, KeyError::Conflict { number: 2, .. }));
        source.remove_file().unwrap();
        assert_eq!(source.load().unwrap().unwrap().origin, KeyOrigin::Credential);
    }

    #[test]
    fn keys_that_others_may_read_are_refused_with_what_to_do() {
        let dir = TempDir::new().unwrap();
        let source = KeySource::new(dir.path(), None);
        put(&source.key_file(), &line(1, 'a'), 0o604);
        let message = source.load_or_make().unwrap_err().to_string();
        assert!(message.contains("chmod 600") && message.contains("rotate-key"), "{message}");
        put(&source.key_file(), "1:nonsense", 0o600);
        let message = source.load_or_make().unwrap_err().to_string();
        assert!(message.contains("line 1") && !message.contains("nonsense"), "{message}");
    }

    #[test]
    fn a_key_is_added_and_the_older_ones_dropped() {
        let dir = TempDir::new().unwrap();
        let source = KeySource::new(dir.path(), None);
        let old = source.load_or_make().unwrap().sealer.seal(b"", b"v").unwrap();
        // What a crash left behind does not get in the way.
        put(&dir.path().join(KEY_FILE_NEW), "half", 0o600);
        source.add_key().unwrap();
        let both = source.load().unwrap().unwrap().sealer;
        assert_eq!((both.current(), both.open(b"", &old).is_ok()), (2, true));
        source.drop_older().unwrap();
        let new = source.load().unwrap().unwrap().sealer;
        assert_eq!((new.current(), new.open(b"", &old).is_ok()), (2, false));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

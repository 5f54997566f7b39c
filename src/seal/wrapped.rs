//! Keys of stores, wrapped with the keys of the gateway, each in a small file of its own.
//!
//! The files lie in the state directory, and their names end in [`WRAPPED`]. Whoever wraps does so
//! with the current key and holds the same lock as whoever changes the keys; and before a key is
//! dropped all files that were wrapped with it are wrapped anew. So there is always a key for each.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::{
    KeyError, KeySource, SealError, Sealer, StoreKey, key_number,
    source::{owned_like_its_directory, sync_dir, write_error},
};

/// What the names of these files end in.
pub const WRAPPED: &str = ".sealed-key";

/// What the name of such a file ends in while it is written; worthless after a crash.
pub const WRAPPED_NEW: &str = ".sealed-key.new";

impl KeySource {
    /// Wraps a store's key with the current key, and makes that durable. Makes no keys: those that
    /// there were may only be away.
    pub fn wrap(&self, path: &Path, key: &StoreKey) -> Result<(), KeyError> {
        let _lock = self.lock()?;
        // Loaded anew: they may have been changed until just now.
        let keys = self.load()?.ok_or_else(|| KeyError::NoKeys { path: path.to_owned() })?;
        wrap_with(path, key, &keys.sealer)
    }

    /// The key that is wrapped in a file; `None` when there is no such file. When it was wrapped
    /// with an older key, it is wrapped anew if that can be done now.
    pub fn unwrap(&self, path: &Path) -> Result<Option<StoreKey>, KeyError> {
        let failed = |source| KeyError::Read { path: path.to_owned(), source };
        if !path.try_exists().map_err(failed)? {
            return Ok(None);
        }
        let no_keys = || KeyError::NoKeys { path: path.to_owned() };
        let sealer = self.load()?.ok_or_else(no_keys)?.sealer;
        let wrapped = fs::read(path).map_err(failed)?;
        let number = key_number(&wrapped).unwrap_or_default();
        let key = StoreKey::unwrap(&wrapped, &sealer).map_err(|error| match error {
            SealError::NoKey { number } => KeyError::OtherKey { path: path.to_owned(), number },
            _ => KeyError::Altered { path: path.to_owned(), number },
        })?;
        if number != sealer.current() {
            // It is done at the latest when the older key is dropped; a disk that is full or cannot
            // be written to is no reason not to read.
            self.rewrap().ok();
        }
        Ok(Some(key))
    }

    /// Wraps anew what is not wrapped with the current key.
    pub fn rewrap(&self) -> Result<(), KeyError> {
        let _lock = self.lock()?;
        match self.load()? {
            Some(keys) => rewrap_all(self.state_dir(), &[&keys.sealer], &keys.sealer),
            None => Ok(()),
        }
    }
}

/// Wraps all files anew that are not wrapped with the current key of `to`; `from` open them. What
/// none of these opens is left as it is: dropping a key takes nothing from it.
pub(super) fn rewrap_all(dir: &Path, from: &[&Sealer], to: &Sealer) -> Result<(), KeyError> {
    let failed = |source| KeyError::Read { path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !path.to_string_lossy().ends_with(WRAPPED) {
            continue;
        }
        let wrapped = match fs::read(&path) {
            Ok(wrapped) => wrapped,
            // The store was replaced just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(KeyError::Read { path, source }),
        };
        let is_current = key_number(&wrapped) == Some(to.current());
        if is_current && StoreKey::unwrap(&wrapped, to).is_ok() {
            continue;
        }
        if let Some(key) = from.iter().find_map(|from| StoreKey::unwrap(&wrapped, from).ok()) {
            wrap_with(&path, &key, to)?;
        }
    }
    Ok(())
}

/// Replaces a file: there is always the old one or the new one, complete and synced.
fn wrap_with(path: &Path, key: &StoreKey, sealer: &Sealer) -> Result<(), KeyError> {
    let wrapped = key.wrap(sealer).map_err(|_| KeyError::Random)?;
    let new = path.with_extension(WRAPPED_NEW.trim_start_matches('.'));
    let dir = path.parent().unwrap_or(Path::new("."));
    let written = (|| {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        owned_like_its_directory(&new, dir)?;
        file.write_all(&wrapped)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_dir(dir)
    })();
    written.map_err(|source| write_error(path, source))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_store_key_outlives_the_keys_it_was_wrapped_with() {
        let dir = TempDir::new().unwrap();
        let source = KeySource::new(dir.path(), None);
        let path = dir.path().join("store-1.sealed-key");
        source.load_or_make().unwrap();
        assert!(source.unwrap(&path).unwrap().is_none());
        let key = StoreKey::fresh().unwrap();
        source.wrap(&path, &key).unwrap();
        let name = |key: Option<StoreKey>| key.map(|key| key.pseudonym(b"x"));
        assert_eq!(name(source.unwrap(&path).unwrap()), Some(key.pseudonym(b"x")));

        source.add_key().unwrap();
        source.drop_older().unwrap();
        assert_eq!(source.load().unwrap().unwrap().sealer.numbers().collect::<Vec<_>>(), [2]);
        assert_eq!(name(source.unwrap(&path).unwrap()), Some(key.pseudonym(b"x")));
        assert_eq!(key_number(&fs::read(&path).unwrap()), Some(2));

        // What somebody else's key wrapped does not keep a key from being dropped.
        let other = TempDir::new().unwrap();
        let others = KeySource::new(other.path(), None);
        others.load_or_make().unwrap();
        others.wrap(&dir.path().join("corrupt-1.sealed-key"), &key).unwrap();
        source.add_key().unwrap();
        source.drop_older().unwrap();
        assert_eq!(name(source.unwrap(&path).unwrap()), Some(key.pseudonym(b"x")));
    }

    #[test]
    fn it_is_wrapped_anew_as_soon_as_it_is_read_with_a_newer_key() {
        let dir = TempDir::new().unwrap();
        let source = KeySource::new(dir.path(), None);
        let path = dir.path().join("store-1.sealed-key");
        source.load_or_make().unwrap();
        source.wrap(&path, &StoreKey::fresh().unwrap()).unwrap();
        source.add_key().unwrap();
        source.unwrap(&path).unwrap().unwrap();
        assert_eq!(key_number(&fs::read(&path).unwrap()), Some(2));
    }

    #[test]
    fn without_the_right_key_it_says_what_to_do() {
        let dir = TempDir::new().unwrap();
        let source = KeySource::new(dir.path(), None);
        let path = dir.path().join("store-1.sealed-key");
        source.load_or_make().unwrap();
        source.wrap(&path, &StoreKey::fresh().unwrap()).unwrap();
        fs::remove_file(source.key_file()).unwrap();
        let message = source.unwrap(&path).unwrap_err().to_string();
        assert!(message.contains("put the key file") && message.contains("back"), "{message}");
        source.load_or_make().unwrap();
        let message = source.unwrap(&path).unwrap_err().to_string();
        assert!(message.contains("another key of number 1"), "{message}");
        source.add_key().unwrap();
        source.remove_file().unwrap();
        fs::write(source.key_file(), format!("7:{}", "a".repeat(64))).unwrap();
        fs::set_permissions(source.key_file(), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        let message = source.unwrap(&path).unwrap_err().to_string();
        assert!(message.contains("key number 1"), "{message}");
    }
}

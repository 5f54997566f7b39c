//! New keys: everything is sealed anew, and only then is the old key forgotten.
//!
//! Interrupted at any point, both keys are there and everything opens with the one or the other;
//! doing it again completes it.

use super::{RegistryStore, RegistryStoreError};
use crate::seal::{KeyOrigin, KeySource, Sealer};

/// What became of the keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rotation {
    /// Everything is sealed with a new key, and the old one is gone from the key file.
    Done {
        /// The number of the new key.
        key: u32,
        /// How many subjects were sealed anew.
        resealed: u64,
        /// How many could not be read, and are gone.
        unreadable: u64,
        /// Whether this completed what an earlier attempt began.
        completed: bool,
        /// Where the keys are now.
        now: KeyOrigin,
    },
    /// The key is a credential, which only its maker can change: it needs another line, with this
    /// number.
    NewKeyNeeded {
        /// The number that the new key must have.
        number: u32,
    },
}

impl RegistryStore {
    /// Changes to a new key. `keys` must be where this store's keys come from.
    pub fn rotate(
        &mut self,
        keys: &KeySource,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Rotation, RegistryStoreError> {
        let found = self.reload(keys)?;
        // More keys than one mean that somebody began: this program, or who made the credential. So
        // do two places with keys.
        let completed =
            self.sealer.numbers().count() > 1 || matches!(found, KeyOrigin::Both { .. });
        if !completed {
            if found == KeyOrigin::Credential {
                let number = self.sealer.current().saturating_add(1);
                return Ok(Rotation::NewKeyNeeded { number });
            }
            keys.add_key()?;
            self.reload(keys)?;
        }
        let current = self.sealer.current();
        let unreadable = if self.keys.iter().eq([&current]) { 0 } else { self.reseal(progress)? };
        // Nothing needs the older keys from here on.
        match found {
            KeyOrigin::File => keys.drop_older()?,
            KeyOrigin::Both { .. } => keys.remove_file()?,
            KeyOrigin::Credential => keys.rewrap()?,
        }
        let now = self.reload(keys)?;
        let resealed = self.meta.subjects;
        Ok(Rotation::Done { key: current, resealed, unreadable, completed, now })
    }

    fn reload(&mut self, keys: &KeySource) -> Result<KeyOrigin, RegistryStoreError> {
        // The keys that the store is sealed with must be among them, and be the same.
        let knows = |sealer: &Sealer| {
            self.keys.iter().all(|&number| {
                let known = sealer.proof(number);
                known.is_some() && known == self.sealer.proof(number)
            })
        };
        let found = keys.load()?.filter(|found| knows(&found.sealer));
        let found = found.ok_or_else(|| RegistryStoreError::WrongKey {
            dir: self.place.dir.clone(),
            number: self.sealer.current(),
            other: false,
        })?;
        self.sealer = found.sealer;
        Ok(found.origin)
    }
}

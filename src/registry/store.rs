//! The registry at rest: subjects and withdrawals in, sealed in a sled store of their own; subjects
//! out, to whoever has the key.
//!
//! The store lies in `{state_dir}/registry`. Whoever reads or changes it opens it for a moment and
//! closes it again, so that the daemon and the command line can both; [`stamp`] tells the one that
//! the other changed something. It promises that
//!
//! - a change is on the disk, all of it, when its call returns; after a crash in between there is
//!   all of it or nothing. Single changes are one batch; a new generation, which an import, a
//!   snapshot, and new keys make, is written beside the old and takes its place in one step;
//! - without the key the disk shows how many are enrolled and how many withdrew, and nothing about
//!   whom. A value that was altered or moved is noticed, and its subject is not recognised;
//! - who withdrew, or was enrolled differently before, can no longer be read from the disk's blocks,
//!   even with the key: their salt is overwritten (see `salts`). What remains is a keyed hash of the
//!   pseudonym, with the time, so that no older file enrols them again;
//! - a registry that is lost is never an empty one: it is an error until another takes its place.
//!
//! `entry` opens it, `change` changes it, `order` is what both are told and answer; what is read of it
//! stands here.
//!
//! What it cannot notice is a disk that is put back whole to an earlier state, with its key.

mod change;
mod contents;
mod entry;
mod error;
mod generation;
mod layout;
mod order;
mod place;
mod plain;
mod rotate;
mod salts;

#[cfg(test)]
mod tests;

pub use error::RegistryStoreError;
pub use layout::MAX_PLATFORM_STATE;
pub use order::{Applied, Change, Loaded, Order, Replaced, Source, Verified, Version, Withdrawal};
pub use place::stamp;
pub use rotate::Rotation;

use std::{collections::BTreeSet, fmt};

use tracing::error;

use crate::{clock::Clock, engine::Subject, seal::Sealer};
use generation::Generation;
use layout::{Hash, Meta, SUBJECT, Tombstone};
use place::Place;

/// The registry's store, open. Others wait until it is dropped, so do not keep it.
pub struct RegistryStore {
    // Dropped in this order: the lock on the directory goes last.
    generation: Generation,
    meta: Meta,
    keys: BTreeSet<u32>,
    sealer: Sealer,
    /// Whether a store was lost, and this one has not taken its place yet.
    lost: bool,
    clock: Clock,
    place: Place,
}

// === impl RegistryStore ===

impl RegistryStore {
    /// Everyone who is enrolled. `progress` is told how many were read so far.
    pub fn load(&self, progress: &mut dyn FnMut(u64)) -> Result<Loaded, RegistryStoreError> {
        let count = usize::try_from(self.meta.subjects).unwrap_or_default();
        let mut subjects = Vec::with_capacity(count);
        let unreadable = self.for_each(&mut |subject, _| {
            subjects.push(subject);
            progress(u64::try_from(subjects.len()).unwrap_or(u64::MAX));
        })?;
        if unreadable > 0 {
            error!(
                entries = unreadable,
                "Entries of the registry cannot be read; those subjects are not recognised until \
                 they are enrolled again. See `beacon-gateway registry verify`."
            );
        }
        Ok(Loaded { subjects, unreadable })
    }

    /// Hands over everyone who is enrolled, with who enrolled them. Returns how many entries could
    /// not be read.
    pub fn for_each(
        &self,
        take: &mut dyn FnMut(Subject, Source),
    ) -> Result<u64, RegistryStoreError> {
        let mut unreadable = 0;
        for item in self.generation.scan(SUBJECT) {
            let (key, value) = item?;
            let opened = Hash::of_key(&key).and_then(|hash| self.subject(hash, &value));
            match opened {
                Some((subject, source)) => take(subject, source),
                None => unreadable += 1,
            }
        }
        Ok(unreadable)
    }

    /// Hands over everyone who is enrolled, each as a line of the registry file that
    /// [`subject_from_line`](crate::registry::subject_from_line) reads. Returns how many entries could not be unsealed.
    pub fn for_each_line(&self, take: &mut dyn FnMut(&[u8])) -> Result<u64, RegistryStoreError> {
        let mut unreadable = 0;
        for item in self.generation.scan(SUBJECT) {
            let (key, value) = item?;
            let opened = Hash::of_key(&key)
                .and_then(|hash| plain::open(&self.generation, hash, &value, &self.sealer).ok());
            match opened {
                Some(plain) => take(plain::line(&plain)),
                None => unreadable += 1,
            }
        }
        Ok(unreadable)
    }

    /// One subject, and who enrolled it; `None` when it is not enrolled, or cannot be read.
    pub fn get(&self, pseudonym: &str) -> Result<Option<(Subject, Source)>, RegistryStoreError> {
        let hash = self.meta.hash(pseudonym);
        let value = self.generation.get(&hash.subject())?;
        Ok(value.and_then(|value| self.subject(hash, &value)))
    }

    fn subject(&self, hash: Hash, value: &[u8]) -> Option<(Subject, Source)> {
        let plain = plain::open(&self.generation, hash, value, &self.sealer).ok()?;
        plain::decode(&plain)
    }

    /// Whether somebody withdrew, and has not been enrolled expressly since.
    pub fn withdrawal(&self, pseudonym: &str) -> Result<Option<Withdrawal>, RegistryStoreError> {
        let hash = self.meta.hash(pseudonym);
        let Some(value) = self.generation.get(&hash.tombstone())? else { return Ok(None) };
        let opened = Tombstone::open(&value, self.generation.number, hash, &self.sealer);
        Ok(Some(opened.map_or(Withdrawal::UNREADABLE, Withdrawal::from)))
    }

    /// All withdrawals that are remembered.
    pub fn withdrawn(&self) -> Result<Vec<Withdrawal>, RegistryStoreError> {
        let tombstones = contents::tombstones(&self.generation, &self.sealer)?;
        Ok(tombstones.into_values().map(Withdrawal::from).collect())
    }

    /// What whoever takes the platform's commands has remembered here; empty at first.
    pub fn platform(&self) -> &[u8] {
        &self.meta.platform
    }

    /// Where the registry stands.
    pub fn version(&self) -> Version {
        Version {
            generation: self.generation.number,
            changes: self.meta.changes,
            command: self.meta.command,
            subjects: self.meta.subjects,
            withdrawn: self.meta.withdrawn,
            key: self.sealer.current(),
        }
    }

    /// Opens every value. `progress` is told how many were read so far.
    pub fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<Verified, RegistryStoreError> {
        let mut found = Verified::default();
        let mut subjects = 0;
        for item in self.generation.scan(SUBJECT) {
            let (key, value) = item?;
            let hash = Hash::of_key(&key);
            let opened = hash.and_then(|hash| self.subject(hash, &value));
            let named = opened.map(|(subject, _)| self.meta.hash(subject.pseudonym.as_str()));
            if named.is_some() && named == hash {
                found.subjects += 1;
            } else {
                found.unreadable += 1;
            }
            subjects += 1;
            progress(subjects);
        }
        for item in self.generation.scan(layout::TOMBSTONE) {
            let (key, value) = item?;
            let opened = Hash::of_key(&key).and_then(|hash| {
                Tombstone::open(&value, self.generation.number, hash, &self.sealer).ok()
            });
            if opened.is_some() {
                found.withdrawn += 1;
            } else {
                found.unreadable += 1;
            }
        }
        let read = found.subjects + found.withdrawn + found.unreadable;
        found.missing = (self.meta.subjects + self.meta.withdrawn).saturating_sub(read);
        Ok(found)
    }
}

impl fmt::Debug for RegistryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryStore").field("version", &self.version()).finish_non_exhaustive()
    }
}

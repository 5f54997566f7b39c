//! What keys and values look like in the store.
//!
//! | key | value |
//! |---|---|
//! | `h` | layout (u16), key number (u32), what that key shows of itself (16 bytes) |
//! | `m` | sealed: the [`Meta`] |
//! | `s` and a hash | the slot of its salt (u32), then, sealed: source (u8) and the subject as in the registry file |
//! | `t` and a hash | sealed: the [`Tombstone`] |
//!
//! Numbers are big-endian. The hash is the first half of HMAC-SHA256 of the pseudonym, under a random
//! key that is in the sealed `m`: whoever has the disk and no key can neither read a pseudonym nor
//! find out whether one they know is there. The place that a value is sealed for is the generation
//! and its key.

use ring::hmac;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::salts::Slot;
use crate::{
    engine::{ClockQuality, UnixTime, WallClock},
    seal::{self, SealError, Sealer},
};

/// The layout described above. A store of a higher layout is left alone.
pub(super) const LAYOUT: u16 = 1;

pub(super) const HEAD: &[u8] = b"h";
pub(super) const META: &[u8] = b"m";
pub(super) const SUBJECT: u8 = b's';
pub(super) const TOMBSTONE: u8 = b't';

/// The largest value, in bytes. sled puts up to 17 values on a page, and pages above 128 KiB into
/// files of their own that it never syncs.
pub(super) const MOST: usize = 6 << 10;

/// The largest state blob, in bytes: it shares a value with the rest of the store's own.
pub const MAX_PLATFORM_STATE: usize = 4 << 10;

/// A pseudonym's place in the store.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Hash(pub(super) [u8; 16]);

/// What is known about the registry as a whole. No `Debug`: it has a key.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Meta {
    /// How often the registry was changed.
    pub(super) changes: u64,
    /// The last command of the platform that was applied.
    pub(super) command: Option<u64>,
    /// What whoever takes the platform's commands wants to remember with them.
    pub(super) platform: Vec<u8>,
    /// How many subjects there are.
    pub(super) subjects: u64,
    /// How many withdrawals are remembered.
    pub(super) withdrawn: u64,
    /// What pseudonyms are hashed with.
    pub(super) index_key: [u8; 32],
}

/// A withdrawal that is remembered.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Tombstone {
    pub(super) when_ms: i64,
    pub(super) synced: bool,
    pub(super) command: Option<u64>,
}

/// The head: with which key the rest can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) layout: u16,
    pub(super) key: u32,
    pub(super) proof: [u8; 16],
}

// === impl Hash ===

impl Hash {
    pub(super) fn subject(self) -> [u8; 17] {
        self.key(SUBJECT)
    }

    pub(super) fn tombstone(self) -> [u8; 17] {
        self.key(TOMBSTONE)
    }

    fn key(self, prefix: u8) -> [u8; 17] {
        let mut key = [prefix; 17];
        if let Some((_, hash)) = key.split_first_mut() {
            hash.copy_from_slice(&self.0);
        }
        key
    }

    /// The hash in a key of a subject or a tombstone.
    pub(super) fn of_key(key: &[u8]) -> Option<Self> {
        let (_, hash) = key.split_first()?;
        hash.try_into().ok().map(Self)
    }
}

// === impl Meta ===

impl Meta {
    /// Of a registry in which nobody was ever enrolled.
    pub(super) fn new(sealer: &Sealer) -> Result<Self, SealError> {
        let mut index_key = [0; 32];
        sealer.fill(&mut index_key)?;
        Ok(Self {
            changes: 0,
            command: None,
            platform: Vec::new(),
            subjects: 0,
            withdrawn: 0,
            index_key,
        })
    }

    pub(super) fn hash(&self, pseudonym: &str) -> Hash {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.index_key);
        let tag = hmac::sign(&key, pseudonym.as_bytes());
        Hash(tag.as_ref().first_chunk().copied().unwrap_or_default())
    }

    pub(super) fn seal(&self, generation: u64, sealer: &Sealer) -> Result<Vec<u8>, SealError> {
        let plain = Zeroizing::new(postcard::to_stdvec(self).unwrap_or_default());
        sealer.seal(&place(generation, META), &plain)
    }

    pub(super) fn open(value: &[u8], generation: u64, sealer: &Sealer) -> Result<Self, SealError> {
        let plain = sealer.open(&place(generation, META), value)?;
        postcard::from_bytes(&plain).map_err(|_| SealError::Form)
    }
}

// === impl Tombstone ===

impl Tombstone {
    pub(super) fn new(now: &WallClock, command: Option<u64>) -> Self {
        let synced = now.quality == ClockQuality::Synced;
        Self { when_ms: now.unix.as_millis(), synced, command }
    }

    pub(super) fn seal(
        &self,
        generation: u64,
        hash: Hash,
        sealer: &Sealer,
    ) -> Result<Vec<u8>, SealError> {
        let plain = postcard::to_stdvec(self).unwrap_or_default();
        sealer.seal(&place(generation, &hash.tombstone()), &plain)
    }

    pub(super) fn open(
        value: &[u8],
        generation: u64,
        hash: Hash,
        sealer: &Sealer,
    ) -> Result<Self, SealError> {
        let plain = sealer.open(&place(generation, &hash.tombstone()), value)?;
        postcard::from_bytes(&plain).map_err(|_| SealError::Form)
    }

    pub(super) fn when(&self) -> UnixTime {
        UnixTime::from_millis(self.when_ms)
    }
}

// === impl Head ===

impl Head {
    pub(super) fn of(sealer: &Sealer) -> Self {
        let key = sealer.current();
        Self { layout: LAYOUT, key, proof: sealer.proof(key).unwrap_or_default() }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.layout.to_be_bytes()[..], &self.key.to_be_bytes(), &self.proof].concat()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (layout, rest) = value.split_first_chunk()?;
        let layout = u16::from_be_bytes(*layout);
        if layout != LAYOUT {
            // Only the first two bytes mean the same in every layout.
            return Some(Self { layout, key: 0, proof: [0; 16] });
        }
        let (key, rest) = rest.split_first_chunk()?;
        Some(Self { layout, key: u32::from_be_bytes(*key), proof: rest.try_into().ok()? })
    }
}

/// What a value is sealed for: that it is the registry's, of this generation, under this key.
pub(super) fn place(generation: u64, key: &[u8]) -> Vec<u8> {
    [b"beacon-gateway registry\0", &generation.to_be_bytes()[..], key].concat()
}

/// Seals a subject with the salt of a slot.
pub(super) fn seal_subject(
    (generation, hash): (u64, Hash),
    (slot, salt): (Slot, &[u8]),
    plain: &[u8],
    sealer: &Sealer,
) -> Result<Vec<u8>, SealError> {
    let text = sealer.seal_salted(&place(generation, &hash.subject()), salt, plain)?;
    Ok([&slot.to_be_bytes()[..], &text].concat())
}

/// The slot of a subject's salt, and the sealed rest.
pub(super) fn split_subject(value: &[u8]) -> Option<(Slot, &[u8])> {
    let (slot, sealed) = value.split_first_chunk()?;
    seal::key_number(sealed)?;
    Some((Slot::from_be_bytes(*slot), sealed))
}

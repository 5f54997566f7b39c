//! Salts by slot: 32 random bytes for each sealed subject, in a file beside the store.
//!
//! sled's log keeps old values until it writes over them, which may be never. So a subject's value
//! is sealed with a key that takes its salt to make, and to forget the value is to overwrite the
//! salt, in place: a write of 32 bytes instead of the whole store. A slot of zeros is free.
//!
//! In place means: at the same address of the block device. What a flash card keeps of it inside,
//! where only its maker can look, and what a file system keeps that copies on write, is sealed still.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use crate::seal::Sealer;

const FILE: &str = "salts";
const SALT: usize = 32;

/// How many zeros are written at a time.
const CHUNK: usize = 64 << 10;

/// A number for a slot, from 0.
pub(super) type Slot = u32;

/// The salts of one generation. No `Debug`: whoever knows a salt is halfway to a key.
pub(super) struct Salts {
    file: File,
    bytes: Zeroizing<Vec<u8>>,
    used: Vec<bool>,
    /// Free slots, the lowest last.
    free: Vec<Slot>,
}

impl Salts {
    /// Makes `slots` salts in a directory, all in use. Not synced.
    pub(super) fn create(dir: &Path, slots: usize, sealer: &Sealer) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(dir.join(FILE))?;
        let mut bytes = Zeroizing::new(vec![0; slots.saturating_mul(SALT)]);
        sealer.fill(&mut bytes).map_err(io::Error::other)?;
        file.write_all_at(&bytes, 0)?;
        Ok(Self { file, bytes, used: vec![true; slots], free: Vec::new() })
    }

    /// Reads the salts in a directory; none counts as used yet.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(dir.join(FILE))?;
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // A slot that was not written whole was never used.
        let slots = length / SALT;
        let mut bytes = Zeroizing::new(vec![0; slots * SALT]);
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Self { file, bytes, used: vec![false; slots], free: Vec::new() })
    }

    /// A slot's salt; `None` for one that is free or does not exist.
    pub(super) fn get(&self, slot: Slot) -> Option<&[u8]> {
        let from = usize::try_from(slot).ok()?.checked_mul(SALT)?;
        let salt = self.bytes.get(from..from.checked_add(SALT)?)?;
        salt.iter().any(|&byte| byte != 0).then_some(salt)
    }

    /// Notes that a slot is in use; false when another value has it already, or it is free.
    pub(super) fn mark(&mut self, slot: Slot) -> bool {
        let known = self.get(slot).is_some();
        let used = usize::try_from(slot).ok().and_then(|slot| self.used.get_mut(slot));
        used.is_some_and(|used| known && !std::mem::replace(used, true))
    }

    /// Overwrites every slot that is not in use: what a crash left of a change.
    pub(super) fn erase_unused(&mut self) -> io::Result<()> {
        let unused = (0..).zip(&self.used).filter(|(_, used)| !**used).map(|(slot, _)| slot);
        let (stale, mut free): (Vec<Slot>, Vec<Slot>) =
            unused.partition(|&slot| self.get(slot).is_some());
        free.reverse();
        self.free = free;
        self.erase(&stale)
    }

    /// Takes free slots and gives them fresh salts, durably.
    pub(super) fn take(&mut self, count: usize, sealer: &Sealer) -> io::Result<Vec<Slot>> {
        let mut slots = Vec::with_capacity(count);
        for _ in 0..count {
            let slot = match self.free.pop() {
                Some(slot) => slot,
                None => Slot::try_from(self.used.len()).map_err(io::Error::other)?,
            };
            let mut salt = Zeroizing::new([0; SALT]);
            sealer.fill(&mut salt[..]).map_err(io::Error::other)?;
            self.put(slot, &salt)?;
            slots.push(slot);
        }
        if !slots.is_empty() {
            self.file.sync_data()?;
        }
        Ok(slots)
    }

    /// Overwrites slots, durably. What was sealed with them can never be opened again.
    pub(super) fn erase(&mut self, slots: &[Slot]) -> io::Result<()> {
        for &slot in slots {
            self.put(slot, &[0; SALT])?;
            self.free.push(slot);
        }
        if slots.is_empty() { Ok(()) } else { self.file.sync_data() }
    }

    fn put(&mut self, slot: Slot, salt: &[u8; SALT]) -> io::Result<()> {
        let index = usize::try_from(slot).map_err(io::Error::other)?;
        let from = index.checked_mul(SALT).ok_or(io::ErrorKind::FileTooLarge)?;
        self.file.write_all_at(salt, u64::try_from(from).map_err(io::Error::other)?)?;
        if self.used.len() <= index {
            self.grow(index + 1);
        }
        if let Some(place) = self.bytes.get_mut(from..from + SALT) {
            place.copy_from_slice(salt);
        }
        if let Some(used) = self.used.get_mut(index) {
            *used = salt.iter().any(|&byte| byte != 0);
        }
        Ok(())
    }

    /// Into fresh memory, so that the old is cleared and not just let go.
    fn grow(&mut self, slots: usize) {
        let slots = slots.max(self.used.len() + self.used.len() / 8);
        let mut bytes = Zeroizing::new(Vec::with_capacity(slots * SALT));
        bytes.extend_from_slice(&self.bytes);
        bytes.resize(slots * SALT, 0);
        self.bytes = bytes;
        // The slots in between were never used.
        let first = self.used.len() + 1;
        self.free.extend((first..slots).rev().filter_map(|slot| Slot::try_from(slot).ok()));
        self.used.resize(slots, false);
    }
}

/// Overwrites the salts of a generation that is about to be removed. A generation that has none is
/// none to forget.
pub(super) fn erase_file(dir: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).open(dir.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let (zeros, length) = (vec![0; CHUNK], file.metadata()?.len());
    let mut from = 0;
    while from < length {
        let left = usize::try_from(length - from).unwrap_or(CHUNK).min(CHUNK);
        let zeros = zeros.get(..left).unwrap_or_default();
        file.write_all_at(zeros, from)?;
        from += u64::try_from(left).unwrap_or(u64::MAX);
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::seal::KeyRing;

    fn sealer() -> Sealer {
        Sealer::new(KeyRing::parse(format!("1:{}", "ab".repeat(32)).as_bytes()).unwrap())
    }

    #[test]
    fn erased_slots_are_zero_on_disk_and_taken_again_before_the_file_grows() {
        let dir = tempfile::tempdir().unwrap();
        let mut salts = Salts::create(dir.path(), 3, &sealer()).unwrap();
        let old = salts.get(1).unwrap().to_vec();
        salts.erase(&[1]).unwrap();
        let on_disk = fs::read(dir.path().join(FILE)).unwrap();
        assert_eq!((&on_disk[SALT..2 * SALT], salts.get(1)), (&[0; SALT][..], None));
        let taken = salts.take(3, &sealer()).unwrap();
        assert_eq!(taken, [1, 3, 4]);
        assert_ne!(salts.get(1).unwrap(), old);
        let on_disk = fs::read(dir.path().join(FILE)).unwrap();
        for slot in 0..5 {
            let from = usize::try_from(slot).unwrap() * SALT;
            assert_eq!(salts.get(slot).unwrap(), &on_disk[from..from + SALT]);
        }
        assert_eq!(salts.get(5), None);
    }

    #[test]
    fn what_nobody_uses_is_erased_when_the_file_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        drop(Salts::create(dir.path(), 4, &sealer()).unwrap());
        let mut salts = Salts::open(dir.path()).unwrap();
        assert!(salts.mark(0) && salts.mark(2));
        assert!(!salts.mark(2), "two values cannot share a slot");
        assert!(!salts.mark(4), "there is no such slot");
        salts.erase_unused().unwrap();
        let on_disk = fs::read(dir.path().join(FILE)).unwrap();
        let zero: Vec<bool> =
            on_disk.chunks(SALT).map(|salt| salt.iter().all(|&byte| byte == 0)).collect();
        assert_eq!(zero, [false, true, false, true]);
        erase_file(dir.path()).unwrap();
        assert!(fs::read(dir.path().join(FILE)).unwrap().iter().all(|&byte| byte == 0));
    }
}

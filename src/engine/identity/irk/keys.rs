//! The enrolled keys, ready to be tried: addresses in, the keys that made them out.
//!
//! The key schedules are made once. All addresses that are being looked for are tried against one
//! key before the next key is fetched: with AES instructions, eight blocks fill their pipeline;
//! without, four blocks cost as much as one (`aes` works on four at a time then).

use aes::{
    Aes128Enc, Block,
    cipher::{BlockEncrypt, KeyInit},
};
use zeroize::Zeroize;

use super::{DeviceAddress, Key, SubjectIndex};
use crate::forget;

/// How many addresses are tried at once.
pub(super) const LANES: usize = 8;

/// So many keys are tried before it is looked whether any of them fits.
const WITHOUT_A_LOOK: usize = 32;

/// What an address says about the key that made it: 24 random bits, and 24 bits of their hash.
#[derive(Clone, Copy)]
pub(super) struct Probe {
    random: u32,
    /// As [`hash_in`] reads it.
    hash: u32,
}

/// The keys, in no particular order, each at a place.
///
/// A schedule has room for what either kind of processor needs: with AES instructions 176 octets of
/// 704 mean something, and on drop `aes` clears those. The others are what lay on the stack when the
/// schedule was made. So nobody else's key may lie there then, and whoever leaves leaves no octet.
#[derive(Default)]
pub(super) struct KeyRing {
    schedules: Vec<Aes128Enc>,
    owners: Vec<SubjectIndex>,
}

// === impl Probe ===

impl Probe {
    /// The upper half of an address is random, its two top bits say that it is resolvable, and the
    /// lower half is the hash (Core Specification 5.4, Vol 6 Part B 1.3.2.2).
    pub(super) fn of(address: DeviceAddress) -> Self {
        let [p2, p1, p0, h2, h1, h0] = address.octets();
        Self {
            random: u32::from_be_bytes([0, p2, p1, p0]),
            hash: u32::from_le_bytes([h2, h1, h0, 0]),
        }
    }

    fn block(self) -> Block {
        u128::from(self.random).to_be_bytes().into()
    }
}

impl Zeroize for Probe {
    fn zeroize(&mut self) {
        self.random.zeroize();
        self.hash.zeroize();
    }
}

// === impl KeyRing ===

impl KeyRing {
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self { schedules: Vec::with_capacity(keys), owners: Vec::with_capacity(keys) }
    }

    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Whose key stands at a place.
    pub(super) fn owner(&self, place: usize) -> Option<SubjectIndex> {
        self.owners.get(place).copied()
    }

    /// Takes in a key, at the last place.
    pub(super) fn insert(&mut self, owner: SubjectIndex, key: &Key) {
        if self.schedules.len() == self.schedules.capacity() {
            // By an eighth: twice the room would be half of it empty, at up to 704 octets a key.
            self.schedules.reserve_exact(self.schedules.len() / 8 + 8);
        }
        // Another's key may have been looked at before; this one's schedule is kept as it is made.
        forget::burn_stack_above();
        self.push(key);
        self.owners.push(owner);
    }

    /// Not part of its caller, which clears the stack that this uses.
    #[inline(never)]
    fn push(&mut self, key: &Key) {
        self.schedules.push(Aes128Enc::new(&key.0.into()));
    }

    /// Takes a key out, if it is its owner's. The last key takes its place, which is returned.
    pub(super) fn remove(&mut self, owner: SubjectIndex, key: &Key) -> Option<usize> {
        // Which of the owner's keys it is, only what it makes can tell: the schedules tell nothing.
        let wanted = Aes128Enc::new(&key.0.into());
        let makes = |schedule: &Aes128Enc| {
            let mut block = Block::default();
            schedule.encrypt_block(&mut block);
            block
        };
        let place =
            self.owners.iter().zip(&self.schedules).position(|(other, schedule)| {
                *other == owner && makes(schedule) == makes(&wanted)
            })?;
        let last = self.owners.len().checked_sub(1)?;
        self.owners.swap_remove(place);
        // Not `swap_remove`, which would leave the last schedule's octets behind it.
        self.schedules.swap(place, last);
        self.schedules.truncate(last);
        forget::clear_behind(&mut self.schedules, 1);
        Some(place)
    }

    /// Tries the keys of a range of places against up to [`LANES`] addresses; tells which address
    /// fits the key at which place.
    pub(super) fn try_range(
        &self,
        places: std::ops::Range<usize>,
        probes: &[Probe],
        fits: impl FnMut(usize, usize),
    ) {
        let keys = self.schedules.get(places.clone()).unwrap_or_default();
        match probes.len() {
            0 => {}
            1 => sweep::<1>(keys, places.start, probes, fits),
            2..=4 => sweep::<4>(keys, places.start, probes, fits),
            _ => sweep::<LANES>(keys, places.start, probes, fits),
        }
    }

    /// Tries one address against the keys at some places, in order, until one fits.
    pub(super) fn try_places(
        &self,
        places: impl Iterator<Item = usize>,
        probe: Probe,
    ) -> Option<usize> {
        for place in places {
            let mut found = None;
            self.try_range(place..place.saturating_add(1), &[probe], |_, place| {
                found = Some(place);
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// The inner loop: one key after the other against `N` blocks. The first key stands at `first`.
fn sweep<const N: usize>(
    keys: &[Aes128Enc],
    first: usize,
    probes: &[Probe],
    mut fits: impl FnMut(usize, usize),
) {
    let mut plain = [Block::default(); N];
    // A lane without an address waits for a hash that has more than 24 bits.
    let mut wanted = [u32::MAX; N];
    for ((plain, wanted), probe) in plain.iter_mut().zip(&mut wanted).zip(probes) {
        (*plain, *wanted) = (probe.block(), probe.hash);
    }
    for (number, keys) in keys.chunks(WITHOUT_A_LOOK).enumerate() {
        // A fit is one in 16 million, so it is worth no branch for each key.
        let mut any = false;
        for key in keys {
            let made = encrypt(key, plain);
            for (made, wanted) in made.iter().zip(&wanted) {
                any |= hash_in(made) == *wanted;
            }
        }
        if !any {
            continue;
        }
        for (place, key) in (first + number * WITHOUT_A_LOOK..).zip(keys) {
            for (lane, (made, wanted)) in encrypt(key, plain).iter().zip(&wanted).enumerate() {
                if hash_in(made) == *wanted {
                    fits(lane, place);
                }
            }
        }
    }
    for block in &mut plain {
        block.as_mut_slice().zeroize();
    }
    wanted.zeroize();
}

fn encrypt<const N: usize>(key: &Aes128Enc, mut blocks: [Block; N]) -> [Block; N] {
    match blocks.as_mut_slice() {
        [alone] => key.encrypt_block(alone),
        several => key.encrypt_blocks(several),
    }
    blocks
}

/// The last three octets: `ah` (Core Specification 5.4, Vol 3 Part H 2.2.2). They are only compared,
/// so they are read in the order that takes the least work.
fn hash_in(block: &Block) -> u32 {
    let last = block.as_slice().last_chunk().copied().unwrap_or_default();
    u32::from_le_bytes(last) >> 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::identity::rotating::tests::subjects,
        forget::debugger::{self, Debugger},
    };

    const SCHEDULE: usize = size_of::<Aes128Enc>();
    const KEYS: usize = 20;

    /// What is put among the schedules is cleared even where it has no meaning; see [`KeyRing`].
    #[test]
    fn a_schedule_takes_nothing_along_from_the_stack_and_leaves_nothing_where_it_was() {
        let (debugger, [owner, other, _]) = (Debugger::new(), subjects());
        let mut ring = KeyRing::default();
        for n in 0..20 {
            debugger::soil();
            ring.insert(if n == 7 { other } else { owner }, &Key::new([n + 1; 16]));
        }
        assert_eq!(ring.len(), KEYS);
        let place = ring.schedules.as_ptr().addr();
        assert_eq!(debugger.marks::<{ KEYS * SCHEDULE }>(place), 0, "something came along");
        for left in [19, 18] {
            debugger::soil();
            let taken = if left == 19 { (other, 8) } else { (owner, 3) };
            assert!(ring.remove(taken.0, &Key::new([taken.1; 16])).is_some());
            let behind = debugger.octets::<SCHEDULE>(place + left * SCHEDULE);
            assert!(behind == [0; SCHEDULE], "something is left behind {left}");
        }
        assert_eq!(debugger.marks::<{ KEYS * SCHEDULE }>(place), 0);
        assert_eq!(ring.remove(other, &Key::new([8; 16])), None);
    }
}

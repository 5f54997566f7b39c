//! The one place in which a stranger's address is looked at to be counted.
//!
//! An address in, a [`Mark`] out: 64 bits that mean nothing without the salt, and the salt lasts one
//! bin. A mark cannot be copied, compared, shown or stored: it can only be put into a sketch, which
//! uses it up.

use std::fmt;

use aes::{
    Aes128,
    cipher::{BlockEncrypt, KeyInit},
};
use zeroize::{Zeroize, Zeroizing};

use crate::engine::DeviceAddress;

/// Where the salts begin. Drawn once at start, from the operating system's random numbers.
///
/// `Debug` is redacted, and it is cleared when it is dropped.
pub struct FootfallSeed(Zeroizing<[u8; 16]>);

impl FootfallSeed {
    /// Wraps sixteen octets; outside tests they must be random and are never written down.
    pub fn new(octets: [u8; 16]) -> Self {
        Self(Zeroizing::new(octets))
    }
}

impl fmt::Debug for FootfallSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FootfallSeed(redacted)")
    }
}

/// The salt of the present bin, and what the next one is made of.
///
/// A forward-secure generator (Bellare and Yee, "Forward-security in private-key cryptography", 2003,
/// section 3): the state is an AES-128 key; what it makes of 0 replaces it, what it makes of 1 is the
/// salt. Going back would mean to find an AES key, so whoever reads the memory learns nothing about
/// the bins before.
pub(in crate::engine) struct Salt {
    state: Zeroizing<[u8; 16]>,
    cipher: Aes128,
}

/// A device within one bin: its address, encrypted under the bin's salt, cut to 64 bits.
pub(in crate::engine) struct Mark(u64);

// === impl Salt ===

impl Salt {
    pub(super) fn new(seed: FootfallSeed) -> Self {
        let mut salt = Self { cipher: Aes128::new(&(*seed.0).into()), state: seed.0 };
        // The seed itself salts nothing.
        salt.turn();
        salt
    }

    /// A new bin begins: a new salt, and no way back to the old one.
    pub(super) fn turn(&mut self) {
        let generator = Aes128::new(&(*self.state).into());
        let block = |number: u8| {
            let mut block = aes::Block::default();
            if let Some(last) = block.last_mut() {
                *last = number;
            }
            generator.encrypt_block(&mut block);
            Zeroizing::new(<[u8; 16]>::from(block))
        };
        let (state, salt) = (block(0), block(1));
        self.state.copy_from_slice(&*state);
        self.cipher = Aes128::new(&(*salt).into());
    }

    /// What an address is within this bin.
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "a stranger's address is copied to as few places as can be"
    )]
    pub(in crate::engine) fn mark(&self, address: &DeviceAddress) -> Mark {
        let mut block = aes::Block::default();
        let plain = std::iter::once(address.kind() as u8).chain(address.octets());
        block.iter_mut().zip(plain).for_each(|(place, octet)| *place = octet);
        self.cipher.encrypt_block(&mut block);
        let octets: [u8; 16] = block.into();
        block.as_mut_slice().zeroize();
        let [high @ .., _, _, _, _, _, _, _, _] = octets;
        Mark(u64::from_be_bytes(high))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(redacted)")
    }
}

// === impl Mark ===

impl Mark {
    /// The 64 bits, for the sketch that uses them up.
    pub(super) fn spend(self) -> u64 {
        self.0
    }
}

/// The mark of one of many devices, for tests of what marks are put into.
#[cfg(test)]
pub(super) fn mark_of(salt: &Salt, device: u32) -> Mark {
    let [a, b, c, d] = device.to_be_bytes();
    salt.mark(&DeviceAddress::new([0x40, 0, a, b, c, d], crate::engine::AddressKind::Random))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::AddressKind;

    fn marks(salt: &Salt) -> Vec<u64> {
        (0..100).map(|device| mark_of(salt, device).spend()).collect()
    }

    #[test]
    fn one_address_has_one_mark_in_a_bin_and_another_in_the_next() {
        let mut salt = Salt::new(FootfallSeed::new([7; 16]));
        let first = marks(&salt);
        assert_eq!(first, marks(&salt), "within a bin");
        let mut all = first;
        for _ in 0..50 {
            salt.turn();
            all.extend(marks(&salt));
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "no mark of a bin is a mark of another");
    }

    #[test]
    fn the_salts_differ_from_the_seed_and_between_seeds() {
        let of = |seed| marks(&Salt::new(FootfallSeed::new([seed; 16])));
        assert_ne!(of(1), of(2));
        let mut block = aes::Block::from([0; 16]);
        let salt = Salt::new(FootfallSeed::new([0; 16]));
        Aes128::new(&[0; 16].into()).encrypt_block(&mut block);
        assert_eq!(*salt.state, <[u8; 16]>::from(block), "the seed is gone at once");
    }

    #[test]
    fn the_kind_of_an_address_tells_two_devices_apart() {
        let salt = Salt::new(FootfallSeed::new([7; 16]));
        let of = |kind| salt.mark(&DeviceAddress::new([1; 6], kind)).spend();
        assert_ne!(of(AddressKind::Public), of(AddressKind::Random));
    }

    #[test]
    fn neither_seed_nor_salt_shows_itself() {
        let shown = format!("{:?}", FootfallSeed::new([0xab; 16]));
        assert_eq!(shown, "FootfallSeed(redacted)");
        let shown = format!("{:?}", Salt::new(FootfallSeed::new([0xab; 16])));
        assert_eq!(shown, "Salt(redacted)");
    }
}

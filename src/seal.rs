//! Sealing what is personal at rest: bytes and their place in, sealed bytes out, and back.
//!
//! A sealed value is
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the form, 1 |
//! | 4 | the number of the key, big-endian |
//! | 24 | the nonce, from the system's randomness |
//! | the rest | what XChaCha20-Poly1305 makes of the plain bytes, with a tag of 16 bytes |
//!
//! (draft-irtf-cfrg-xchacha-03, 2.3). The first five bytes and the value's *place*, which is not
//! stored with it, are associated data: a value that was altered, or moved to another place, does
//! not open. The key of the cipher is HMAC-SHA256 (RFC 2104) of the key that the number names over
//! a label and a *salt*. The salt is empty for most values. A value that must be forgettable one by
//! one has its own, kept elsewhere: once that is overwritten nothing opens the value again, whatever
//! old copies of it a log-structured store still has.
//!
//! A store that wants a key of its own has a [`StoreKey`], which is kept wrapped: sealed like this.
//!
//! Keys are never shown by `Debug`, an error or a log line, and are cleared when they are dropped.

mod key_ring;
mod source;
mod store_key;
mod wrapped;

pub use key_ring::{KeyRing, RingProblem};
pub use source::{CREDENTIAL, KEY_FILE, KeyError, KeyOrigin, KeySource, Keys};
pub use store_key::StoreKey;
pub use wrapped::{WRAPPED, WRAPPED_NEW};

use std::fmt;

use chacha20poly1305::{
    Key as CipherKey, XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use key_ring::SealKey;
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use thiserror::Error;
use zeroize::Zeroizing;

/// The form described above.
const FORM: u8 = 1;

/// Form and key number.
const HEADER: usize = 5;
const NONCE: usize = 24;
const TAG: usize = 16;

/// How much longer a value is when it is sealed, in bytes.
pub const OVERHEAD: usize = HEADER + NONCE + TAG;

/// What the keys of the cipher are derived for.
const SEAL_LABEL: &[u8] = b"beacon-gateway seal 1\0";
/// What tells one key from another without giving anything away about it.
const PROOF_LABEL: &[u8] = b"beacon-gateway key proof 1\0";

/// Seals and opens values with a ring of keys.
pub struct Sealer {
    keys: KeyRing,
    random: SystemRandom,
}

/// Why a value was not sealed or not opened. Never says what is in it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SealError {
    /// The system gave no randomness.
    #[error("failed to get random bytes from the system; nothing can be sealed without")]
    Random,
    /// The value is longer than the cipher allows (256 GiB).
    #[error("failed to seal a value: it is too long")]
    TooLong,
    /// It is no sealed value, or one of a later form.
    #[error("failed to open a sealed value: its form is not known")]
    Form,
    /// It was sealed with a key that is not here.
    #[error("failed to open a sealed value: it needs key number {number}, which is not there")]
    NoKey {
        /// The number of that key.
        number: u32,
    },
    /// It was altered, is somewhere else than it was put, or was sealed with another key of that
    /// number.
    #[error("failed to open a sealed value: it is damaged, or sealed with another key")]
    Damaged,
}

// === impl Sealer ===

impl Sealer {
    /// Seals with the current key of a ring, and opens with all of them.
    pub fn new(keys: KeyRing) -> Self {
        Self { keys, random: SystemRandom::new() }
    }

    /// Seals a value for a place. Sealing the same again gives other bytes.
    pub fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal_salted(place, &[], plain)
    }

    /// Seals a value that is to be forgotten by forgetting `salt`: 32 random bytes of its own.
    pub fn seal_salted(
        &self,
        place: &[u8],
        salt: &[u8],
        plain: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let (number, key) = self.keys.current();
        let mut nonce = [0; NONCE];
        self.fill(&mut nonce)?;
        let header = header(number);
        let aad = [&header, place].concat();
        let payload = Payload { msg: plain, aad: &aad };
        let text = cipher(key, salt)
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| SealError::TooLong)?;
        Ok([&header[..], &nonce, &text].concat())
    }

    /// Opens what [`Self::seal`] made for the same place.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.open_salted(place, &[], sealed)
    }

    /// Opens what [`Self::seal_salted`] made for the same place with the same salt.
    pub fn open_salted(
        &self,
        place: &[u8],
        salt: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let number = key_number(sealed).ok_or(SealError::Form)?;
        let rest = sealed.get(HEADER..).ok_or(SealError::Form)?;
        let (nonce, text) = rest.split_at_checked(NONCE).ok_or(SealError::Form)?;
        let key = self.keys.get(number).ok_or(SealError::NoKey { number })?;
        let aad = [&header(number), place].concat();
        cipher(key, salt)
            .decrypt(XNonce::from_slice(nonce), Payload { msg: text, aad: &aad })
            .map(Zeroizing::new)
            .map_err(|_| SealError::Damaged)
    }

    /// The number of the key that new values are sealed with.
    pub fn current(&self) -> u32 {
        self.keys.current().0
    }

    /// The numbers of all keys, in ascending order.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.keys.numbers()
    }

    /// What a key shows of itself: the same for the same key, and of no use to find it. Tells a
    /// value that was damaged from one that was sealed with another key of the same number.
    pub fn proof(&self, number: u32) -> Option<[u8; 16]> {
        let tag = hmac::sign(&hmac_key(self.keys.get(number)?), PROOF_LABEL);
        tag.as_ref().first_chunk().copied()
    }

    /// Fills `bytes` from the system's randomness.
    pub fn fill(&self, bytes: &mut [u8]) -> Result<(), SealError> {
        self.random.fill(bytes).map_err(|_| SealError::Random)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// The number of the key that a value was sealed with; `None` for what is no sealed value.
pub fn key_number(sealed: &[u8]) -> Option<u32> {
    let (&form, rest) = sealed.split_first()?;
    let number = u32::from_be_bytes(*rest.first_chunk()?);
    (form == FORM && sealed.len() >= OVERHEAD).then_some(number)
}

fn header(number: u32) -> [u8; HEADER] {
    let [a, b, c, d] = number.to_be_bytes();
    [FORM, a, b, c, d]
}

fn cipher(key: &SealKey, salt: &[u8]) -> XChaCha20Poly1305 {
    let mut context = hmac::Context::with_key(&hmac_key(key));
    context.update(SEAL_LABEL);
    context.update(salt);
    let tag = context.sign();
    XChaCha20Poly1305::new(CipherKey::from_slice(tag.as_ref()))
}

fn hmac_key(key: &SealKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.octets())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Sealer {
        Sealer::new(KeyRing::parse(text.as_bytes()).unwrap())
    }

    fn one(number: u32, digit: char) -> String {
        format!("{number}:{}\n", digit.to_string().repeat(64))
    }

    #[test]
    fn what_was_sealed_opens_in_its_place_and_nowhere_else() {
        let ours = with(&one(1, 'a'));
        let sealed = ours.seal(b"here", b"a secret").unwrap();
        assert_eq!(sealed.len(), b"a secret".len() + OVERHEAD);
        assert_eq!(ours.open(b"here", &sealed).unwrap().as_slice(), b"a secret");
        assert_eq!(ours.open(b"there", &sealed), Err(SealError::Damaged));
        assert_ne!(ours.seal(b"here", b"a secret").unwrap(), sealed, "each has its own nonce");
        assert!(!sealed.windows(8).any(|bytes| bytes == b"a secret"));
    }

    #[test]
    fn a_value_does_not_open_when_a_single_bit_of_it_is_changed_or_missing() {
        let ours = with(&one(1, 'a'));
        let sealed = ours.seal(b"", b"x").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(ours.open(b"", &altered).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(ours.open(b"", &sealed[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn older_keys_of_the_ring_still_open_and_the_newest_seals() {
        let old = with(&one(1, 'a')).seal(b"p", b"v").unwrap();
        let both = with(&(one(1, 'a') + &one(2, 'b')));
        assert_eq!((both.current(), key_number(&old)), (2, Some(1)));
        assert_eq!(both.open(b"p", &old).unwrap().as_slice(), b"v");
        let new = both.seal(b"p", b"v").unwrap();
        assert_eq!(key_number(&new), Some(2));
        assert_eq!(with(&one(1, 'a')).open(b"p", &new), Err(SealError::NoKey { number: 2 }));
        assert_eq!(with(&one(2, 'c')).open(b"p", &new), Err(SealError::Damaged));
        assert_eq!(both.proof(1), with(&one(1, 'a')).proof(1));
        assert_ne!(both.proof(2), with(&one(2, 'c')).proof(2));
    }

    #[test]
    fn without_its_salt_a_value_is_gone() {
        let ours = with(&one(1, 'a'));
        let sealed = ours.seal_salted(b"p", &[7; 32], b"v").unwrap();
        assert_eq!(ours.open_salted(b"p", &[7; 32], &sealed).unwrap().as_slice(), b"v");
        for salt in [&[0; 32][..], &[]] {
            assert_eq!(ours.open_salted(b"p", salt, &sealed), Err(SealError::Damaged));
        }
    }

    #[test]
    fn no_key_is_shown() {
        let shown = format!("{:?}", with(&one(7, 'a')));
        assert!(shown.contains('7') && !shown.contains("aa"), "{shown}");
    }
}

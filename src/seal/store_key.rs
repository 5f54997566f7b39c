//! The key of one store: made with the store, forgotten with it.
//!
//! What is sealed with it cannot be opened once it is gone, whatever copies of the store's files a
//! flash card still has. It is kept wrapped, which is sealed with the keys of the gateway (see
//! `wrapped`), so that these can change without the store being written anew.

use std::fmt;

use chacha20poly1305::{
    Key as CipherKey, XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

use super::{SealError, Sealer};

const NONCE: usize = 24;
const TAG: usize = 16;

/// What the two keys are derived for that are made of the one.
const CIPHER_LABEL: &[u8] = b"beacon-gateway store cipher 1\0";
const NAME_LABEL: &[u8] = b"beacon-gateway store names 1\0";

/// Where a wrapped key belongs.
const PLACE: &[u8] = b"beacon-gateway store key 1\0";

/// Seals and opens what is in one store. Cleared when dropped; `Debug` does not show it.
pub struct StoreKey {
    octets: Zeroizing<[u8; 32]>,
    cipher: XChaCha20Poly1305,
    names: hmac::Key,
    random: SystemRandom,
}

impl StoreKey {
    /// How much longer a value is when it is sealed, in bytes: a nonce and a tag.
    pub const OVERHEAD: usize = NONCE + TAG;

    /// A new one, from the system's randomness.
    pub fn fresh() -> Result<Self, SealError> {
        let mut octets = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut octets[..]).map_err(|_| SealError::Random)?;
        Ok(Self::of(octets))
    }

    fn of(octets: Zeroizing<[u8; 32]>) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, &octets[..]);
        let cipher = hmac::sign(&master, CIPHER_LABEL);
        let names = hmac::sign(&master, NAME_LABEL);
        Self {
            octets,
            cipher: XChaCha20Poly1305::new(CipherKey::from_slice(cipher.as_ref())),
            names: hmac::Key::new(hmac::HMAC_SHA256, names.as_ref()),
            random: SystemRandom::new(),
        }
    }

    /// This key, sealed with the current key of a gateway.
    pub fn wrap(&self, with: &Sealer) -> Result<Vec<u8>, SealError> {
        with.seal(PLACE, &self.octets[..])
    }

    /// What [`Self::wrap`] had wrapped.
    pub fn unwrap(wrapped: &[u8], with: &Sealer) -> Result<Self, SealError> {
        let plain = with.open(PLACE, wrapped)?;
        let octets = plain.as_slice().try_into().map_err(|_| SealError::Form)?;
        Ok(Self::of(Zeroizing::new(octets)))
    }

    /// Appends the sealed form of `plain` to `place`, which is in clear and cannot be altered.
    pub fn seal(&self, mut place: Vec<u8>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        self.random.fill(&mut nonce).map_err(|_| SealError::Random)?;
        let payload = Payload { msg: plain, aad: &place };
        let text = self
            .cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| SealError::TooLong)?;
        place.extend(nonce);
        place.extend(text);
        Ok(place)
    }

    /// Opens what [`Self::seal`] has appended to `place`.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, text) = sealed.split_at_checked(NONCE).ok_or(SealError::Form)?;
        self.cipher
            .decrypt(XNonce::from_slice(nonce), Payload { msg: text, aad: place })
            .map(Zeroizing::new)
            .map_err(|_| SealError::Damaged)
    }

    /// A name in place of `name`: the same for the same in this store, another in every other, and
    /// without the key of no use to find it.
    pub fn pseudonym(&self, name: &[u8]) -> [u8; 16] {
        let tag = hmac::sign(&self.names, name);
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::KeyRing;

    fn sealer(digit: &str) -> Sealer {
        Sealer::new(KeyRing::parse(format!("1:{}", digit.repeat(64)).as_bytes()).unwrap())
    }

    #[test]
    fn what_a_store_sealed_opens_with_the_same_key_in_the_same_place_only() {
        let key = StoreKey::fresh().unwrap();
        let sealed = key.seal(b"here".to_vec(), b"a secret").unwrap();
        let (place, text) = sealed.split_at(4);
        assert_eq!((place, text.len()), (b"here".as_slice(), 8 + StoreKey::OVERHEAD));
        assert_eq!(key.open(place, text).unwrap().as_slice(), b"a secret");
        assert_eq!(key.open(b"HERE", text), Err(SealError::Damaged));
        assert_eq!(StoreKey::fresh().unwrap().open(place, text), Err(SealError::Damaged));
        for end in 0..text.len() {
            assert!(key.open(place, &text[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn a_wrapped_key_is_the_same_when_it_is_unwrapped_and_shows_nothing() {
        let key = StoreKey::fresh().unwrap();
        let wrapped = key.wrap(&sealer("a")).unwrap();
        let again = StoreKey::unwrap(&wrapped, &sealer("a")).unwrap();
        assert_eq!(again.pseudonym(b"visit/ada"), key.pseudonym(b"visit/ada"));
        assert_ne!(key.pseudonym(b"visit/ada"), key.pseudonym(b"visit/bob"));
        let other = StoreKey::fresh().unwrap();
        assert_ne!(other.pseudonym(b"visit/ada"), key.pseudonym(b"visit/ada"));
        assert!(StoreKey::unwrap(&wrapped, &sealer("b")).is_err());
        assert_eq!(format!("{key:?}"), "StoreKey { .. }");
    }
}

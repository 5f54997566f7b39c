//! The registration of an Eddystone-EID beacon: the resolver's private key and the beacon's public
//! key in, the identity key that the two agreed on out.
//!
//! Source: google/eddystone, `eddystone-eid/eid-computation.md`, "Computing the identity key";
//! X25519 is RFC 7748, HKDF-SHA256 is RFC 5869. Promises: a public key that leads nowhere is told
//! from one that leads to a key; of the secrets nothing stays behind.

use ring::hkdf;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zeroize::Zeroizing;

use crate::engine::Key;

/// The length of an identity key, as HKDF wants to know it: an AES-128 key.
struct IdentityKey;

impl hkdf::KeyType for IdentityKey {
    fn len(&self) -> usize {
        16
    }
}

/// The key of a beacon with this public key that was registered with a resolver with this private
/// key. `None` for a public key of small order, with which everybody would agree on the same.
pub(super) fn identity_key(service_private: &[u8; 32], beacon_public: [u8; 32]) -> Option<Key> {
    let service_public = x25519(*service_private, X25519_BASEPOINT_BYTES);
    let shared = Zeroizing::new(x25519(*service_private, beacon_public));
    if *shared == [0; 32] {
        return None;
    }
    let salt = [service_public, beacon_public].concat();
    let material = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(&*shared);
    let mut key = Zeroizing::new([0; 16]);
    // It fails only for more than 8,160 octets.
    material.expand(&[], IdentityKey).ok()?.fill(&mut *key).ok()?;
    Some(Key::new(*key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_lead_nowhere_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        // Two of the points of small order of RFC 7748, section 6.1, in which multiplication ends.
        for public in [[0; 32], one] {
            assert!(identity_key(&[7; 32], public).is_none());
        }
        assert!(identity_key(&[7; 32], X25519_BASEPOINT_BYTES).is_some());
    }
}

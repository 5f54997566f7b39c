//! Trusted public keys in, verified signatures out: Ed25519 (RFC 8032) for a JWS (RFC 7515, RFC
//! 8037), by jsonwebtoken, with ring for the arithmetic.

use std::{collections::BTreeMap, fmt};

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    crypto::{self, CryptoProvider, JwkUtils, JwtVerifier},
    errors::{ErrorKind, Result},
    signature::{Error, Verifier},
};
use ring::signature::{ED25519, UnparsedPublicKey};

/// What jsonwebtoken is to verify with. It signs nothing, and knows one algorithm.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: verifier,
    jwk_utils: JwkUtils::new_unimplemented(),
};

/// The trusted keys, by their names.
#[derive(Clone, Default)]
pub struct Keyring {
    keys: BTreeMap<String, DecodingKey>,
}

/// Verifies with one key.
struct Ed25519(UnparsedPublicKey<Vec<u8>>);

// === impl Keyring ===

impl Keyring {
    /// Trusts a key; returns whether its name was free.
    pub(super) fn insert(&mut self, id: &str, octets: &[u8; 32]) -> bool {
        // Whoever comes later finds it installed; nobody in this program installs another.
        RING.install_default().ok();
        self.keys.insert(id.to_owned(), DecodingKey::from_ed_der(octets)).is_none()
    }

    /// Nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key of a name.
    pub(super) fn key(&self, id: &str) -> Option<&DecodingKey> {
        self.keys.get(id)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

/// Whether a signature, as base64url, is that of the key under the message.
pub(super) fn verify(key: &DecodingKey, message: &[u8], signature: &str) -> Result<bool> {
    crypto::verify(signature, message, key, Algorithm::EdDSA)
}

// === impl Ed25519 ===

#[expect(clippy::trivially_copy_pass_by_ref, reason = "jsonwebtoken asks for this signature")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if *algorithm != Algorithm::EdDSA || key.family() != AlgorithmFamily::Ed {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(Ed25519(UnparsedPublicKey::new(&ED25519, key.as_bytes().to_vec()))))
}

impl Verifier<Vec<u8>> for Ed25519 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        self.0.verify(message, signature).map_err(|_| Error::new())
    }
}

impl JwtVerifier for Ed25519 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_8037_is_verified() {
        let mut keyring = Keyring::default();
        let octets =
            hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert!(keyring.insert("a", &octets.unwrap().try_into().unwrap()));
        let key = keyring.key("a").unwrap();
        // RFC 8037, A.4.
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert!(verify(key, message, signature).unwrap());
        assert!(!verify(key, b"eyJhbGciOiJFZERTQSJ9.", signature).unwrap());
        assert!(!verify(key, message, "AAAA").unwrap());
        assert!(verify(key, message, "no base64url!").is_err());
        let other = DecodingKey::from_secret(b"secret");
        assert!(verify(&other, message, signature).is_err(), "a key of another kind");
    }
}

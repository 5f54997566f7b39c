//! Bytes from anybody in; the claims of somebody trusted out, or why not.
//!
//! A command is a JWS in compact serialisation (RFC 7515, 7.1) whose payload is a set of claims
//! (RFC 7519). What the header says is believed only as far as it chooses among keys of ours: one
//! algorithm, no key or address of a key out of the token itself (RFC 8725, 3.1 and 3.10).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::{
    keyring::{self, Keyring},
    reason::Reason,
};

/// The largest command, in bytes: a thousand subjects are a quarter of it. Larger registries are
/// told in parts.
pub const LARGEST_COMMAND: usize = 1024 * 1024;

/// The only algorithm (RFC 8037, 3.1).
const ALGORITHM: &str = "EdDSA";

/// What a command says. No `Debug`: the body holds identifiers.
#[derive(Deserialize)]
pub(super) struct Claims {
    /// To whom: one address or several.
    pub(super) aud: Audience,
    /// When it was issued.
    pub(super) iat: Seconds,
    /// From when on it must not be accepted.
    pub(super) exp: Seconds,
    /// Its number.
    pub(super) num: u64,
    /// Its name.
    pub(super) cmd: String,
    /// What it is about.
    pub(super) body: Value,
}

/// One address or several (RFC 7519, 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Seconds since 1970 (RFC 7519, 2: `NumericDate`, which may have a fraction; it is cut off).
#[derive(Clone, Copy)]
pub(super) struct Seconds(pub(super) i64);

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Present, whatever is in it.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// Reads and verifies a command.
pub(super) fn open(keyring: &Keyring, bytes: &[u8]) -> Result<Claims, Reason> {
    if bytes.len() > LARGEST_COMMAND {
        return Err(Reason::TooLarge);
    }
    let text = str::from_utf8(bytes).map_err(|_| Reason::Unsigned)?;
    let mut parts = text.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Reason::Unsigned);
    };
    if header.is_empty() || signature.is_empty() {
        return Err(Reason::Unsigned);
    }
    let Header { alg, kid, crit } = decode(header).ok_or(Reason::Malformed)?;
    if alg != ALGORITHM {
        return Err(Reason::Algorithm);
    }
    if crit {
        return Err(Reason::CriticalHeader);
    }
    let key = kid.and_then(|kid| keyring.key(&kid)).ok_or(Reason::UnknownKey)?;
    let (message, _) = text.rsplit_once('.').ok_or(Reason::Unsigned)?;
    match keyring::verify(key, message.as_bytes(), signature) {
        Ok(true) => {}
        Ok(false) => return Err(Reason::Signature),
        Err(_) => return Err(Reason::Malformed),
    }
    decode(payload).ok_or(Reason::Claims)
}

fn decode<T: de::DeserializeOwned>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    de::IgnoredAny::deserialize(deserializer)?;
    Ok(true)
}

impl Audience {
    /// It is among the addresses.
    pub(super) fn names(&self, address: &str) -> bool {
        match self {
            Self::One(one) => one == address,
            Self::Several(several) => several.iter().any(|one| one == address),
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NumericDate {
            Whole(i64),
            Fraction(f64),
        }
        match NumericDate::deserialize(deserializer)? {
            NumericDate::Whole(seconds) => Ok(Self(seconds)),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the fraction is to be cut off, and what is too large becomes the largest"
            )]
            NumericDate::Fraction(seconds) => Ok(Self(seconds as i64)),
        }
    }
}

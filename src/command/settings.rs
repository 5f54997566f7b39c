//! Section `[command]` of the configuration: whose commands are obeyed.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::keyring::Keyring;
use crate::settings::Span;

/// The longest name of a key.
const LONGEST_ID: usize = 64;

/// Section `[command]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The public keys whose commands are obeyed. Empty: there are no commands; nothing is
    /// connected for them. Several keys, so that one can be replaced by the next without a pause.
    pub trusted_keys: Vec<TrustedKey>,
    /// For how long the broker is asked to keep what could not be delivered, 1h to 365d (MQTT 5;
    /// with 3.1.1 the broker decides). Longer than a shop is ever closed.
    pub session_expiry: Span,
}

/// A public key of Ed25519 (RFC 8032), and the name by which a command refers to it (`kid`).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// Its name: 1 to 64 printable characters.
    pub id: String,
    /// Its 32 octets: 43 characters of base64url, or 64 hexadecimal digits.
    pub key: String,
}

/// A value in `[command]` that cannot work.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{key}` is {found}; allowed: {allowed}")]
pub struct SettingsError {
    /// The key, with its section.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What may stand there.
    pub allowed: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self { trusted_keys: Vec::new(), session_expiry: Span::secs(90 * 86_400) }
    }
}

impl Settings {
    /// Nobody is trusted, so there is no room for commands.
    pub fn is_off(&self) -> bool {
        self.trusted_keys.is_empty()
    }

    /// Checks every value, and returns the keys.
    pub fn validate(&self) -> Result<Keyring, SettingsError> {
        let mut keyring = Keyring::default();
        for (n, trusted) in self.trusted_keys.iter().enumerate() {
            let wrong = |key: &str, found: String, allowed| SettingsError {
                key: format!("command.trusted_keys[{n}].{key}"),
                found,
                allowed,
            };
            let sound = (1..=LONGEST_ID).contains(&trusted.id.chars().count())
                && !trusted.id.chars().any(char::is_control);
            if !sound {
                let found = format!("{:?}", trusted.id);
                return Err(wrong("id", found, "1 to 64 printable characters"));
            }
            let Some(octets) = octets(&trusted.key) else {
                let found = format!("{} characters", trusted.key.chars().count());
                let allowed = "the 32 octets of an Ed25519 public key, as 43 characters of \
                               base64url or 64 hexadecimal digits";
                return Err(wrong("key", found, allowed));
            };
            if !keyring.insert(&trusted.id, &octets) {
                let found = format!("{:?}, which is taken", trusted.id);
                return Err(wrong("id", found, "a name of its own for each key"));
            }
        }
        let (least, most) = (Span::secs(3600), Span::secs(365 * 86_400));
        if !(least..=most).contains(&self.session_expiry) {
            return Err(SettingsError {
                key: "command.session_expiry".to_owned(),
                found: format!("\"{}\"", self.session_expiry),
                allowed: "\"1h\" to \"365d\"",
            });
        }
        Ok(keyring)
    }
}

fn octets(text: &str) -> Option<[u8; 32]> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let octets = match text.len() {
        64 => hex::decode(text).ok()?,
        _ => URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?,
    };
    octets.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(id: &str, key: &str) -> Settings {
        let key = TrustedKey { id: id.to_owned(), key: key.to_owned() };
        Settings { trusted_keys: vec![key], ..Settings::default() }
    }

    // The public key of RFC 8037, A.2.
    const BASE64: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const HEX: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn a_key_is_read_as_base64url_and_as_hexadecimal_digits() {
        assert_eq!(octets(BASE64), octets(HEX));
        assert!(octets(BASE64).is_some());
        for key in [BASE64, HEX, &HEX.to_uppercase(), &format!("{BASE64}=")] {
            assert!(with("k1", key).validate().is_ok(), "{key}");
        }
        assert!(Settings::default().validate().is_ok() && Settings::default().is_off());
    }

    #[test]
    fn every_refusal_names_key_found_and_allowed() {
        let refused = |settings: Settings| settings.validate().unwrap_err().to_string();
        for key in ["", "short", &HEX[2..], &format!("{HEX}00"), &HEX.replace('d', "x")] {
            let message = refused(with("k1", key));
            assert!(message.starts_with("`command.trusted_keys[0].key` is"), "{message}");
            assert!(message.contains("64 hexadecimal digits"), "{message}");
        }
        for id in ["", "a\nb", &"x".repeat(65)] {
            assert!(refused(with(id, HEX)).contains("1 to 64 printable"));
        }
        let mut twice = with("k1", HEX);
        twice.trusted_keys.extend(with("k1", BASE64).trusted_keys);
        let message = refused(twice);
        assert!(message.starts_with("`command.trusted_keys[1].id` is \"k1\""), "{message}");
        for session_expiry in [Span::secs(60), Span::secs(366 * 86_400)] {
            let message = refused(Settings { session_expiry, ..Settings::default() });
            assert!(message.contains("\"1h\" to \"365d\""), "{message}");
        }
    }
}

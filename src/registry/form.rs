//! A subject as a line of the registry file: the other direction of reading it.
//!
//! The only places where identifiers and keys become text again: the sealed store, and what a
//! subject is shown of itself.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::engine::{Consent, Identifier, Key, MemberKey, Subject, UnixTime};

/// Whether keys are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyMaterial {
    /// As they are: whoever reads them can recognise the device, or imitate it.
    Shown,
    /// Only that there is one.
    Hidden,
}

/// What stands where a key is not shown.
const HIDDEN: &str = "(not shown)";

#[derive(Serialize)]
struct SubjectForm<'a> {
    subject: &'a str,
    kind: &'static str,
    identifiers: Vec<IdentifierForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<ConsentForm<'a>>,
}

#[derive(Serialize)]
struct ConsentForm<'a> {
    purposes: Vec<&'static str>,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    proof: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum IdentifierForm {
    Address(String),
    Ibeacon { uuid: String, major: u16, minor: u16 },
    Altbeacon(String),
    EddystoneUid { namespace: String, instance: String },
    EddystoneEid { identity_key: String, rotation_exponent: u8, clock_zero: String },
    Irk(String),
    ServiceToken(String),
    RollingUuid(String),
}

/// Appends a subject's line to `text`, without the line's end.
pub fn write(subject: &Subject, text: &mut Vec<u8>) {
    let form = SubjectForm::of(subject, KeyMaterial::Shown);
    let written = serde_json::to_writer(text, &form);
    debug_assert!(written.is_ok(), "text and numbers are always JSON");
}

/// A subject as JSON.
pub fn to_json(subject: &Subject, keys: KeyMaterial) -> Value {
    serde_json::to_value(SubjectForm::of(subject, keys)).unwrap_or_default()
}

/// A time as the registry file writes it.
pub fn time(unix: UnixTime) -> String {
    let time = Timestamp::from_millisecond(unix.as_millis());
    time.map(|time| time.to_string()).unwrap_or_default()
}

impl<'a> SubjectForm<'a> {
    fn of(subject: &'a Subject, keys: KeyMaterial) -> Self {
        let identifiers = subject.identifiers.iter();
        Self {
            subject: subject.pseudonym.as_str(),
            kind: subject.kind.name(),
            identifiers: identifiers.map(|it| IdentifierForm::of(it, keys)).collect(),
            consent: subject.consent.as_ref().map(ConsentForm::of),
        }
    }
}

impl<'a> ConsentForm<'a> {
    fn of(consent: &'a Consent) -> Self {
        Self {
            purposes: consent.purposes.iter().map(crate::engine::Purpose::name).collect(),
            from: time(consent.from),
            until: consent.until.map(time),
            proof: &consent.proof,
        }
    }
}

impl IdentifierForm {
    fn of(identifier: &Identifier, keys: KeyMaterial) -> Self {
        let secret = |octets: &[u8]| match keys {
            KeyMaterial::Shown => hex::encode(octets),
            KeyMaterial::Hidden => HIDDEN.to_owned(),
        };
        let key = |key: &Key| secret(key.expose());
        let member_key = |key: &MemberKey| secret(key.expose());
        match identifier {
            Identifier::Address(octets) => {
                Self::Address(octets.map(|octet| format!("{octet:02X}")).join(":"))
            }
            Identifier::IBeacon { proximity_uuid, major, minor } => Self::Ibeacon {
                uuid: uuid::Uuid::from_bytes(*proximity_uuid).to_string(),
                major: *major,
                minor: *minor,
            },
            Identifier::AltBeacon(octets) => Self::Altbeacon(hex::encode(octets)),
            Identifier::EddystoneUid { namespace, instance } => Self::EddystoneUid {
                namespace: hex::encode(namespace),
                instance: hex::encode(instance),
            },
            Identifier::EddystoneEid { identity_key, rotation_exponent, clock_zero } => {
                Self::EddystoneEid {
                    identity_key: key(identity_key),
                    rotation_exponent: *rotation_exponent,
                    clock_zero: time(*clock_zero),
                }
            }
            Identifier::Irk(irk) => Self::Irk(key(irk)),
            Identifier::ServiceToken(token) => Self::ServiceToken(member_key(token)),
            Identifier::RollingUuid(uuid) => Self::RollingUuid(member_key(uuid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLES: &str = include_str!("../../config/registry.example.jsonl");

    #[test]
    fn every_example_is_written_as_something_that_reads_the_same() {
        let subjects = crate::registry::parse(EXAMPLES).unwrap();
        assert!(subjects.len() >= 8);
        for subject in subjects {
            let mut line = Vec::new();
            write(&subject, &mut line);
            let line = String::from_utf8(line).unwrap();
            let again = crate::registry::parse(&line).unwrap().remove(0);
            assert_eq!(
                (&again.pseudonym, again.kind, &again.consent),
                (&subject.pseudonym, subject.kind, &subject.consent)
            );
            assert!(again.identifiers == subject.identifiers, "{line}");
        }
    }

    #[test]
    fn keys_are_written_only_when_they_are_asked_for() {
        let keys = [
            "ec0234a357c8ad05341010a60a397d9b",
            "0102030405060708090a111213141516",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
        ];
        let subjects = crate::registry::parse(EXAMPLES).unwrap();
        let all = |keys| {
            let lines = subjects.iter().map(|subject| to_json(subject, keys).to_string());
            lines.collect::<String>()
        };
        let (shown, hidden) = (all(KeyMaterial::Shown), all(KeyMaterial::Hidden));
        for key in keys {
            assert!(shown.contains(key), "{key}");
            assert!(!hidden.contains(&key[..16]), "{key}");
        }
        assert!(hidden.contains("C0:11:22:33:44:55"), "what a device sends to everybody is no key");
    }
}

//! The registry file: JSON Lines on disk in, enrolled [`Subject`]s out.
//!
//! One line is one subject, with all its identifiers and its consent; `config/registry.example.jsonl`
//! shows each form. Errors name the line and say what is allowed, and never repeat an identifier.

mod eddystone;
pub mod form;
pub mod import;
pub mod store;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    engine::{
        Consent, Identifier, Key, MemberKey, Pseudonym, Purpose, Purposes, Subject, SubjectKind,
        UnixTime, ephemeral_id, parse_octets,
    },
    forget,
};

/// Longest pseudonym and longest proof, in bytes, so that a record keeps to its 2 KiB.
const MAX_NAME: usize = 64;
const MAX_PROOF: usize = 128;

/// Why the registry could not be read.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The file could not be read at all.
    #[error("cannot read the registry `{}`; check `identity.registry` and the file's permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// One of its lines is wrong.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it and what is allowed.
        problem: LineProblem,
    },
}

/// What is wrong with a line, and what is allowed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum LineProblem {
    /// It is no JSON, or not in the form of a subject.
    #[error("{0}")]
    Form(String),
    /// A name or a proof is too long, empty, or has characters that do not belong there.
    #[error("`{key}` must be 1 to {max} printable characters without spaces")]
    Name {
        /// Which.
        key: &'static str,
        /// How long it may be.
        max: usize,
    },
    /// An identifier is not in its form.
    #[error("`{kind}`: {allowed}")]
    Identifier {
        /// Which kind of identifier.
        kind: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// There is no way to recognise the subject.
    #[error("`identifiers` is empty; a subject needs at least one")]
    NoIdentifier,
    /// A person is enrolled without consent.
    #[error("`consent` is missing; only an `asset` may be enrolled without")]
    NoConsent,
    /// A consent permits nothing.
    #[error(
        "`consent.purposes` is empty; name at least one of `presence`, `journey`, `engagement`"
    )]
    NoPurpose,
    /// A purpose that does not exist.
    #[error("`{0}` is no purpose; allowed are `presence`, `journey`, `engagement`")]
    UnknownPurpose(String),
    /// A time that is none.
    #[error("`{key}` is not a time; write it like `2026-01-31T00:00:00Z`")]
    Time {
        /// Which.
        key: &'static str,
    },
    /// A consent that ends before it begins.
    #[error("`consent.until` is not after `consent.from`")]
    EndsBeforeItBegins,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectLine {
    subject: String,
    kind: KindWord,
    identifiers: Vec<IdentifierEntry>,
    consent: Option<ConsentEntry>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindWord {
    Customer,
    Staff,
    Asset,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsentEntry {
    purposes: Vec<String>,
    from: String,
    until: Option<String>,
    proof: String,
}

/// One way to recognise a device, as it is written in the registry file and in the configuration.
///
/// No `Debug`: it holds identifiers and keys as text.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum IdentifierEntry {
    /// `"C0:11:22:33:44:55"`.
    Address(String),
    /// `{"uuid": "…", "major": 1, "minor": 2}`.
    Ibeacon(IBeaconEntry),
    /// 40 hexadecimal digits.
    Altbeacon(String),
    /// `{"namespace": "<20 hex>", "instance": "<12 hex>"}`.
    EddystoneUid(EddystoneUidEntry),
    /// `{"identity_key": "<32 hex>", "rotation_exponent": 10, "clock_zero": "<time>"}`, or with a
    /// `registration` in place of the key.
    EddystoneEid(EddystoneEidEntry),
    /// 32 hexadecimal digits, most significant first.
    Irk(String),
    /// 64 hexadecimal digits.
    ServiceToken(String),
    /// 64 hexadecimal digits.
    RollingUuid(String),
}

/// An iBeacon, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IBeaconEntry {
    /// The proximity UUID.
    pub uuid: String,
    /// 0 to 65535.
    pub major: u16,
    /// 0 to 65535.
    pub minor: u16,
}

/// An Eddystone-UID, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EddystoneUidEntry {
    /// 20 hexadecimal digits.
    pub namespace: String,
    /// 12 hexadecimal digits.
    pub instance: String,
}

/// An Eddystone-EID beacon, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EddystoneEidEntry {
    /// 32 hexadecimal digits.
    pub identity_key: Option<String>,
    /// What the key is made of, where the beacon's registration left that and not the key.
    pub registration: Option<RegistrationEntry>,
    /// 0 to 15.
    pub rotation_exponent: u8,
    /// The wall time at which the beacon's clock read zero; the Unix epoch unless said otherwise.
    pub clock_zero: Option<String>,
}

/// What two parties know after a beacon was registered, as it is written. The identity key is made
/// of it when it is read; nothing else of it is kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationEntry {
    /// The private key of the resolver with which the beacon was registered: 64 hexadecimal digits.
    pub service_private: String,
    /// The beacon's public key: 64 hexadecimal digits.
    pub beacon_public: String,
    /// The beacon's clock when it was registered, in seconds; together with `eid`.
    pub counter: Option<u32>,
    /// What it sent then, 16 hexadecimal digits: proves that the key is the right one.
    pub eid: Option<String>,
}

/// Reads the registry file.
pub fn read(path: &Path) -> Result<Vec<Subject>, RegistryError> {
    let text = fs::read_to_string(path)
        .map_err(|source| RegistryError::Unreadable { path: path.to_owned(), source })?;
    parse(&text).map_err(|(line, problem)| RegistryError::Line {
        path: path.to_owned(),
        line,
        problem,
    })
}

/// Reads the registry from a text; the error says in which line, from 1. Empty lines and lines
/// that begin with `#` are passed over.
pub fn parse(text: &str) -> Result<Vec<Subject>, (usize, LineProblem)> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|(number, line)| subject(line).map_err(|problem| (number, problem)))
        .collect()
}

/// Reads one subject, in the form of a line of the registry.
pub fn subject_from_value(value: &serde_json::Value) -> Result<Subject, LineProblem> {
    subject(&value.to_string())
}

/// One subject from its line as [`form::write`] has written it; `None` for what this version does
/// not understand.
pub fn subject_from_line(line: &[u8]) -> Option<Subject> {
    subject(std::str::from_utf8(line).ok()?).ok()
}

/// The keys of whoever was read before are not to be in the room that this one does not use.
fn subject(line: &str) -> Result<Subject, LineProblem> {
    forget::burn_stack();
    read_subject(line)
}

/// Not part of its caller, which clears the stack that this uses.
#[inline(never)]
fn read_subject(line: &str) -> Result<Subject, LineProblem> {
    let line: SubjectLine = serde_json::from_str(line).map_err(|error| form(&error))?;
    let pseudonym = Pseudonym::new(name(&line.subject, "subject", MAX_NAME)?);
    if line.identifiers.is_empty() {
        return Err(LineProblem::NoIdentifier);
    }
    let consent = line.consent.map(consent).transpose()?;
    let kind = match line.kind {
        KindWord::Customer => SubjectKind::Customer,
        KindWord::Staff => SubjectKind::Staff,
        KindWord::Asset => SubjectKind::Asset,
    };
    if consent.is_none() && kind != SubjectKind::Asset {
        return Err(LineProblem::NoConsent);
    }
    // Last, so that nothing of them was on the stack when the rest was made: a consent is kept where
    // identifiers are not.
    let identifiers = line.identifiers.iter().map(identifier).collect::<Result<_, _>>()?;
    Ok(Subject { pseudonym, kind, identifiers, consent })
}

/// serde's message, unless it repeats a value: that may be an identifier or a key.
fn form(error: &serde_json::Error) -> LineProblem {
    let message = error.to_string();
    let told = message.split(" at line ").next().unwrap_or_default();
    let repeats_names_alone = ["missing field", "unknown field", "unknown variant"]
        .iter()
        .any(|start| message.starts_with(start));
    LineProblem::Form(if error.is_syntax() || error.is_eof() {
        // The parser's words are its own; it repeats nothing.
        format!("the line is not JSON: {told} (column {})", error.column())
    } else if repeats_names_alone {
        import::harmless(told).into_owned()
    } else {
        format!(
            "the line is not one subject in JSON (column {}); `config/registry.example.jsonl` shows the form",
            error.column()
        )
    })
}

fn consent(entry: ConsentEntry) -> Result<Consent, LineProblem> {
    let purposes = entry.purposes.iter().map(|purpose| {
        Purpose::from_name(purpose)
            .ok_or_else(|| LineProblem::UnknownPurpose(import::harmless(purpose).into_owned()))
    });
    let purposes: Purposes = purposes.collect::<Result<_, _>>()?;
    if purposes.is_empty() {
        return Err(LineProblem::NoPurpose);
    }
    let from = time(&entry.from, "consent.from")?;
    let until = entry.until.map(|until| time(&until, "consent.until")).transpose()?;
    if until.is_some_and(|until| until <= from) {
        return Err(LineProblem::EndsBeforeItBegins);
    }
    let proof = Arc::from(name(&entry.proof, "consent.proof", MAX_PROOF)?);
    Ok(Consent { purposes, from, until, proof })
}

/// Reads one identifier; the error never repeats it.
pub fn identifier(entry: &IdentifierEntry) -> Result<Identifier, LineProblem> {
    let wrong = |kind, allowed| LineProblem::Identifier { kind, allowed };
    match entry {
        IdentifierEntry::Address(text) => {
            parse_octets(text).map(Identifier::Address).map_err(|_| {
                wrong("address", "write six hexadecimal octets, like `C0:11:22:33:44:55`")
            })
        }
        IdentifierEntry::Ibeacon(beacon) => {
            let uuid = uuid::Uuid::try_parse(&beacon.uuid).map_err(|_| {
                wrong(
                    "ibeacon",
                    "`uuid` must be a UUID, like `e2c56db5-dffb-48d2-b060-d0f5a71096e0`",
                )
            })?;
            Ok(Identifier::IBeacon {
                proximity_uuid: uuid.into_bytes(),
                major: beacon.major,
                minor: beacon.minor,
            })
        }
        IdentifierEntry::Altbeacon(text) => {
            octets(text).map(Identifier::AltBeacon).ok_or_else(|| {
                wrong("altbeacon", "write the 20-byte identifier as 40 hexadecimal digits")
            })
        }
        IdentifierEntry::EddystoneUid(beacon) => {
            let namespace = octets(&beacon.namespace).ok_or_else(|| {
                wrong("eddystone_uid", "`namespace` must be 20 hexadecimal digits")
            })?;
            let instance = octets(&beacon.instance).ok_or_else(|| {
                wrong("eddystone_uid", "`instance` must be 12 hexadecimal digits")
            })?;
            Ok(Identifier::EddystoneUid { namespace, instance })
        }
        IdentifierEntry::EddystoneEid(beacon) => {
            if beacon.rotation_exponent > 15 {
                return Err(wrong("eddystone_eid", "`rotation_exponent` must be 0 to 15"));
            }
            let identity_key =
                identity_key(beacon).map_err(|allowed| wrong("eddystone_eid", allowed))?;
            let clock_zero = match &beacon.clock_zero {
                Some(text) => time(text, "clock_zero")?,
                None => UnixTime::default(),
            };
            Ok(Identifier::EddystoneEid {
                identity_key,
                rotation_exponent: beacon.rotation_exponent,
                clock_zero,
            })
        }
        IdentifierEntry::Irk(text) => {
            octets(text).map(|octets| Identifier::Irk(Key::new(octets))).ok_or_else(|| {
                wrong("irk", "write the key as 32 hexadecimal digits, most significant first")
            })
        }
        IdentifierEntry::ServiceToken(text) => octets(text)
            .map(|octets| Identifier::ServiceToken(MemberKey::new(octets)))
            .ok_or_else(|| wrong("service_token", "write the member key as 64 hexadecimal digits")),
        IdentifierEntry::RollingUuid(text) => octets(text)
            .map(|octets| Identifier::RollingUuid(MemberKey::new(octets)))
            .ok_or_else(|| wrong("rolling_uuid", "write the member key as 64 hexadecimal digits")),
    }
}

/// The key of an Eddystone-EID beacon, or what is allowed.
fn identity_key(beacon: &EddystoneEidEntry) -> Result<Key, &'static str> {
    let registration = match (&beacon.identity_key, &beacon.registration) {
        (Some(key), None) => {
            let key = octets(key).ok_or("`identity_key` must be 32 hexadecimal digits")?;
            return Ok(Key::new(key));
        }
        (None, Some(registration)) => registration,
        _ => return Err("give it either an `identity_key` or a `registration`"),
    };
    let private = octets(&registration.service_private).map(Zeroizing::new);
    let private = private.ok_or("`registration.service_private` must be 64 hexadecimal digits")?;
    let public = octets(&registration.beacon_public)
        .ok_or("`registration.beacon_public` must be 64 hexadecimal digits")?;
    let key = eddystone::identity_key(&private, public)
        .ok_or("`registration.beacon_public` is no public key: nothing secret comes of it")?;
    match (registration.counter, &registration.eid) {
        (None, None) => Ok(key),
        (Some(counter), Some(eid)) => {
            let sent = octets(eid).ok_or("`registration.eid` must be 16 hexadecimal digits")?;
            if ephemeral_id(&key, beacon.rotation_exponent, counter) == sent {
                Ok(key)
            } else {
                Err("with these keys the beacon would not have sent `registration.eid` when its \
                     clock read `registration.counter`; check both keys and `rotation_exponent`")
            }
        }
        _ => Err("give `registration.counter` and `registration.eid` both, or neither"),
    }
}

/// Hexadecimal digits, with colons, dashes or spaces between if anyone likes.
fn octets<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | ' ')).collect();
    let mut octets = [0; N];
    hex::decode_to_slice(digits, &mut octets).ok()?;
    Some(octets)
}

fn time(text: &str, key: &'static str) -> Result<UnixTime, LineProblem> {
    let time: Timestamp = text.parse().map_err(|_| LineProblem::Time { key })?;
    Ok(UnixTime::from_millis(time.as_millisecond()))
}

fn name<'a>(text: &'a str, key: &'static str, max: usize) -> Result<&'a str, LineProblem> {
    let sound =
        (1..=max).contains(&text.len()) && text.chars().all(|c| !c.is_control() && c != ' ');
    if sound { Ok(text) } else { Err(LineProblem::Name { key, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forget::debugger::{self, Debugger};

    const CONSENT: &str = r#""consent":{"purposes":["presence"],"from":"2026-01-01T00:00:00Z","until":"2027-01-01T00:00:00Z","proof":"form-1"}"#;

    fn line(kind: &str, identifiers: &str, consent: &str) -> String {
        format!(r#"{{"subject":"s","kind":"{kind}","identifiers":[{identifiers}],{consent}}}"#)
    }

    #[test]
    fn a_line_takes_nothing_along_of_what_was_read_before() {
        const WHOLE: usize = size_of::<Identifier>();
        let debugger = Debugger::new();
        let line = line("customer", r#"{"address":"C0:11:22:33:44:55"}"#, CONSENT);
        for _ in 0..4 {
            let begin = debugger::soil();
            assert!(debugger.soil_left::<8192>(begin) > 900, "the test looks elsewhere");
            let subject = subject_from_line(line.as_bytes()).unwrap();
            let place = subject.identifiers.as_ptr().addr();
            // Six octets of it mean something.
            assert_eq!(debugger.marks::<WHOLE>(place), 0);
            assert_eq!(debugger.soil_left::<8192>(begin), 0);
        }
    }

    #[test]
    fn every_kind_of_identifier_is_read() {
        for (kind, identifier) in [
            ("address", r#"{"address":"C0:11:22:33:44:55"}"#),
            (
                "ibeacon",
                r#"{"ibeacon":{"uuid":"e2c56db5-dffb-48d2-b060-d0f5a71096e0","major":1,"minor":2}}"#,
            ),
            ("altbeacon", r#"{"altbeacon":"00112233445566778899aabbccddeeff00010002"}"#),
            (
                "eddystone_uid",
                r#"{"eddystone_uid":{"namespace":"00112233445566778899","instance":"aabbccddeeff"}}"#,
            ),
            (
                "eddystone_eid",
                r#"{"eddystone_eid":{"identity_key":"00112233445566778899aabbccddeeff","rotation_exponent":10}}"#,
            ),
            ("irk", r#"{"irk":"00112233445566778899aabbccddeeff"}"#),
            (
                "service_token",
                r#"{"service_token":"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"}"#,
            ),
            (
                "rolling_uuid",
                r#"{"rolling_uuid":"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"}"#,
            ),
        ] {
            let subjects = parse(&line("customer", identifier, CONSENT)).unwrap();
            assert_eq!(subjects[0].identifiers[0].kind(), kind);
        }
    }

    #[test]
    fn a_problem_names_its_line_and_what_is_allowed_and_repeats_no_identifier() {
        let secret = "00112233445566778899aabbccddeef";
        let irk = format!(r#"{{"irk":"{secret}"}}"#);
        let uuid = format!(r#"{{"ibeacon":{{"uuid":"{secret}","major":1,"minor":2}}}}"#);
        let token = format!(r#"{{"service_token":"{secret}"}}"#);
        let rolling = format!(r#"{{"rolling_uuid":"{secret}"}}"#);
        let eid = |key: &str| format!(r#"{{"eddystone_eid":{{"rotation_exponent":10{key}}}}}"#);
        let registered = |private: &str, public: &str, more: &str| {
            eid(&format!(
                r#","registration":{{"service_private":"{private}","beacon_public":"{public}"{more}}}"#
            ))
        };
        let (private, public) = ("07".repeat(32), format!("09{}", "00".repeat(31)));
        let proof = r#","counter":0,"eid":"0123456789abcdef""#;
        let address = r#"{"address":"C0:11:22:33:44:55"}"#;
        for (text, expected) in [
            (line("customer", &irk, CONSENT), "32 hexadecimal digits"),
            (line("customer", &uuid, CONSENT), "must be a UUID"),
            (line("customer", &token, CONSENT), "64 hexadecimal digits"),
            (line("customer", &rolling, CONSENT), "64 hexadecimal digits"),
            (line("customer", address, r#""consent":null"#), "`consent` is missing"),
            (line("customer", "", CONSENT), "at least one"),
            (line("guest", address, CONSENT), "unknown variant `guest`"),
            (line("customer", &format!(r#"{{"{secret}":1}}"#), CONSENT), "unknown variant `…`"),
            (line("customer", address, &CONSENT.replace("presence", secret)), "`…` is no purpose"),
            (
                line("customer", address, &CONSENT.replace("\"presence\"", "")),
                "name at least one of",
            ),
            (
                line("customer", address, &CONSENT.replace("presence", "profit")),
                "`profit` is no purpose",
            ),
            (line("customer", address, &CONSENT.replace("2027", "2025")), "not after"),
            (line("customer", address, &CONSENT.replace("2027-01", "tomorrow")), "not a time"),
            (line("customer", &format!(r#"{{"irk":{secret}}}"#), CONSENT), ""),
            (line("customer", &eid(""), CONSENT), "either an `identity_key` or a `registration`"),
            (
                line("customer", &eid(&format!(r#","identity_key":"{secret}""#)), CONSENT),
                "must be 32 hexadecimal digits",
            ),
            (
                line("customer", &registered(secret, &public, ""), CONSENT),
                "`registration.service_private` must be 64",
            ),
            (
                line("customer", &registered(&private, secret, ""), CONSENT),
                "`registration.beacon_public` must be 64",
            ),
            (
                line("customer", &registered(&private, &"00".repeat(32), ""), CONSENT),
                "is no public key",
            ),
            (
                line("customer", &registered(&private, &public, r#","counter":0"#), CONSENT),
                "both, or neither",
            ),
            (
                line("customer", &registered(&private, &public, proof), CONSENT),
                "would not have sent",
            ),
            ("no json".to_owned(), "expected"),
        ] {
            let (number, problem) = parse(&format!("# a comment\n\n{text}\n")).unwrap_err();
            assert_eq!(number, 3);
            let message = problem.to_string();
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains(&secret[..8]), "{message}");
        }
    }

    #[test]
    fn a_thing_needs_no_consent() {
        let text = r#"{"subject":"trolley-7","kind":"asset","identifiers":[{"address":"C0:11:22:33:44:55"}]}"#;
        assert_eq!(parse(text).unwrap().len(), 1);
    }
}

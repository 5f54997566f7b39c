//! The registry and the fixtures of the simulated shop in the file formats of the real ones.

use std::{fmt::Write, sync::Arc};

use serde::Serialize;

use crate::engine::{DeviceAddress, UnixTime};

/// One line of the registry.
///
/// No `Debug`: the identifiers hold keys.
#[derive(Serialize)]
pub(super) struct Enrolment {
    pub(super) subject: Arc<str>,
    pub(super) kind: &'static str,
    pub(super) identifiers: Vec<Identifier>,
    pub(super) consent: Consent,
}

/// What a subject agreed to.
#[derive(Serialize)]
pub(super) struct Consent {
    pub(super) purposes: &'static [&'static str],
    pub(super) from: String,
    pub(super) until: String,
    pub(super) proof: String,
}

/// What a subject is recognised by. Octets are written in hexadecimal, most significant first.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Identifier {
    Address(String),
    Ibeacon { uuid: String, major: u16, minor: u16 },
    Altbeacon(String),
    EddystoneUid { namespace: String, instance: String },
    EddystoneEid { identity_key: String, rotation_exponent: u8, clock_zero: String },
    Irk(String),
}

/// One of the shop's own sensors.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fixture {
    /// Its name in every event.
    pub id: Arc<str>,
    /// The address it sends from.
    pub address: DeviceAddress,
    /// The zone it stands in.
    pub zone: String,
}

// === impl Consent ===

impl Consent {
    /// A consent that began and ends so many days from a day.
    pub(super) fn days(
        purposes: &'static [&'static str],
        today: UnixTime,
        from: i64,
        until: i64,
        proof: String,
    ) -> Self {
        const DAY_MS: i64 = 86_400_000;
        let midnight = today.as_millis().div_euclid(DAY_MS).saturating_mul(DAY_MS);
        let day = |days: i64| rfc3339(midnight.saturating_add(days.saturating_mul(DAY_MS)));
        Self { purposes, from: day(from), until: day(until), proof }
    }
}

// === impl Fixture ===

/// The registry as JSON Lines.
pub(super) fn registry_jsonl(enrolments: &[Enrolment]) -> String {
    let mut lines = String::new();
    for enrolment in enrolments {
        match serde_json::to_string(enrolment) {
            Ok(line) => {
                lines.push_str(&line);
                lines.push('\n');
            }
            Err(error) => unreachable!("strings and numbers can always be written: {error}"),
        }
    }
    lines
}

/// The `[[fixture]]` tables of a configuration file.
pub(super) fn fixtures_toml(fixtures: &[Fixture]) -> String {
    let mut tables = String::new();
    for Fixture { id, address, zone } in fixtures {
        // A JSON string is a TOML basic string too, as long as it holds no control characters.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let (id, address, zone) = (quoted(id), quoted(&written(*address)), quoted(zone));
        match writeln!(tables, "[[fixture]]\nid = {id}\naddress = {address}\nzone = {zone}\n") {
            Ok(()) => {}
            Err(error) => unreachable!("a String takes any text: {error}"),
        }
    }
    tables
}

/// An address as a technician copies it into a file. Only for the simulation's own devices.
pub(super) fn written(address: DeviceAddress) -> String {
    address.octets().map(|octet| format!("{octet:02X}")).join(":")
}

/// A point in time, to the second, as the registry file states it.
pub(super) fn rfc3339(unix_ms: i64) -> String {
    jiff::Timestamp::from_second(unix_ms.div_euclid(1000)).unwrap_or_default().to_string()
}

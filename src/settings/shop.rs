//! `[[zone]]` and `[[fixture]]`: the shop, as its operator describes it.

mod alert;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use alert::AlertSettings;

use jiff::{Timestamp, civil::Weekday};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    Invalid, Span, ZoneKind, between, bind_key,
    floor::{place_of, single},
};
use crate::{
    engine::{
        Fixture, FixtureIdentifier, Hangs, Identifier, Key, ReportPolicy, UnixTime, Zone, ZoneId,
        frame::{
            Quantity,
            sensor::{Serial, SerialNumber, families_with_serials},
        },
    },
    registry::{self, EddystoneUidEntry, IBeaconEntry, IdentifierEntry},
    uplink::payload::OpeningHours,
};

/// How high a sensor stands above the floor when nobody says, in metres: on a shelf, at a door.
const SHELF_HEIGHT: f64 = 1.2;

/// The longest name that a device may have (Core Specification 5.4, Vol 3 Part C 12.1), in octets.
const LONGEST_NAME: usize = 248;

/// The longest id of a zone or fixture, in bytes, so that a record keeps to its 2 KiB.
const MAX_ID: usize = 64;

/// `[[zone]]`: a named area, recognised by how loud a tag is heard there.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZoneSettings {
    /// Its name in the events.
    pub id: String,
    /// At least this loud to enter, in dBm.
    pub enter_rssi: Option<f64>,
    /// Below this to leave, in dBm.
    pub exit_rssi: Option<f64>,
    /// After how long a stay is reported as dwelling.
    pub loitering: Option<Vec<Span>>,
    /// The receivers whose surroundings it is; empty means every receiver.
    pub receivers: Vec<String>,
    /// What it is for.
    pub kind: ZoneKind,
    /// Its corners on the floor plan, in metres, in the order in which one walks around it.
    pub polygon: Vec<[f64; 2]>,
    /// The zones to which people can go from it directly, where zones have no polygons; empty means
    /// to all.
    pub neighbours: Vec<String>,
}

/// `[[fixture]]`: one of the shop's own sensors or reference beacons. One identifier each.
///
/// No `Debug` for what identifies it.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FixtureSettings {
    /// Its name in the events.
    pub id: String,
    /// The zone it stands in.
    pub zone: Option<String>,
    /// Where it is on the floor plan, `[x, y]` or `[x, y, height]` in metres: then it tells how the
    /// receivers' hearing changes.
    pub position: Option<Vec<f64>>,
    /// Its Bluetooth address.
    pub address: Option<String>,
    /// Its iBeacon.
    pub ibeacon: Option<IBeaconEntry>,
    /// Its AltBeacon identifier.
    pub altbeacon: Option<String>,
    /// Its Eddystone-UID.
    pub eddystone_uid: Option<EddystoneUidEntry>,
    /// Its Eddystone-EID, whose identity key is in the file of `bind_key_file`.
    pub eddystone_eid: Option<EidEntry>,
    /// Its complete local name, which any device could have.
    pub name: Option<String>,
    /// The number that it gives itself in its frames, in families that have one.
    pub sensor: Option<SensorEntry>,
    /// The file with the key that decrypts what it sends; left out, systemd's credential
    /// `fixture-key-ID` is, where there is one.
    pub bind_key_file: PathBuf,
    /// A key that stands where everybody reads it: refused.
    pub bind_key: Option<IgnoredAny>,
    /// How often it sends: from the first day on it is missed when it was not heard for four times as
    /// long, `1s` to `12h`; left out, its silence is news once its interval was learned.
    pub expected_interval: Option<Span>,
    /// Whether it must be heard: its silence tells a deaf radio from a quiet shop.
    pub canary: bool,
    /// When its readings are worth an event.
    pub report: ReportSettings,
    /// What is wrong with its readings.
    pub alert: Vec<AlertSettings>,
}

/// `sensor` of a fixture: what it calls itself.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensorEntry {
    /// The family, as in payloads.
    pub family: String,
    /// The number, in hexadecimal digits, most significant first.
    pub serial: String,
}

/// `eddystone_eid` of a fixture: how its identifier changes.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EidEntry {
    /// The identifier changes every 2^n seconds; 0 to 15.
    pub rotation_exponent: u8,
    /// The wall time at which the beacon's clock read zero; 1970 unless said otherwise.
    pub clock_zero: Option<String>,
    /// A key that stands where everybody reads it: refused.
    pub identity_key: Option<IgnoredAny>,
}

/// `report` of a fixture: when its readings are worth an event.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportSettings {
    /// A changed reading is reported at most this often.
    pub at_most_every: Span,
    /// An unchanged reading is reported at least this often.
    pub at_least_every: Span,
    /// By how much a quantity must change, in its own unit: `{ temperature_c = 0.5 }`.
    pub change: BTreeMap<String, f64>,
    /// After how long its silence is news; left out for several times the longest usual gap, zero for
    /// never.
    pub silent_after: Option<Span>,
    /// So many days before its battery will be empty somebody is told; zero for never.
    pub battery_days: f64,
}

/// Opening hours as people write them: `mon-sat 08:00-20:00`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub struct OpeningHoursText(pub String);

impl Default for ReportSettings {
    fn default() -> Self {
        let policy = ReportPolicy::default();
        Self {
            at_most_every: Span(policy.at_most_every),
            at_least_every: Span(policy.at_least_every),
            change: BTreeMap::new(),
            silent_after: policy.silent_after.map(Span),
            battery_days: policy.battery_days,
        }
    }
}

impl std::fmt::Debug for FixtureSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FixtureSettings")
            .field("id", &self.id)
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

impl FixtureSettings {
    /// Builds the n-th fixture, or says what is wrong with it.
    pub(super) fn build(&self, n: usize, zones: &[Zone]) -> Result<Fixture, Invalid> {
        let key = |key: &str| format!("fixture[{n}].{key}");
        check_id(&key("id"), &self.id)?;
        let shown = match &self.eddystone_eid {
            Some(EidEntry { identity_key: Some(_), .. }) => Some("eddystone_eid.identity_key"),
            _ => self.bind_key.is_some().then_some("bind_key"),
        };
        if let Some(shown) = shown {
            let allowed = "a configuration is read by many: write the key to a file of its own with mode \
                           0600 and name that in `bind_key_file`, or give systemd's credential \
                           `fixture-key-ID`; and give the sensor a new key if anybody may have it";
            return Err(Invalid::new(&key(shown), "a key", allowed));
        }
        let identifier = self.identifier(n)?;
        if let Some(zone) = &self.zone
            && !zones.iter().any(|known| known.id.as_str() == zone)
        {
            let known: Vec<&str> = zones.iter().map(|zone| zone.id.as_str()).collect();
            let allowed = format!("the zones are: {}", known.join(", "));
            return Err(Invalid::new(&key("zone"), format!("`{zone}`"), &allowed));
        }
        let position = self.position.as_deref();
        let (position, height) = place_of(&key("position"), position, SHELF_HEIGHT)?;
        if let Some(interval) = self.expected_interval {
            between(&key("expected_interval"), interval, Span::secs(1), Span::secs(12 * 3600))?;
        }
        let mut change = BTreeMap::new();
        for (name, &by) in &self.report.change {
            let Some(quantity) = Quantity::from_name(name) else {
                let allowed = "write a quantity, like `temperature_c` or `humidity_percent`";
                return Err(Invalid::new(&key("report.change"), format!("`{name}`"), allowed));
            };
            if !(by.is_finite() && by >= 0.0) {
                let name = key(&format!("report.change.{name}"));
                return Err(Invalid::new(&name, by.to_string(), "write a number from 0 up"));
            }
            change.insert(quantity, by);
        }
        Ok(Fixture {
            id: self.id.clone(),
            zone: self.zone.as_deref().map(ZoneId::new),
            hangs: position.map(|at| Hangs { at, height: single(height) }),
            canary: self.canary,
            identifier,
            key: None,
            report: ReportPolicy {
                at_most_every: self.report.at_most_every.0,
                at_least_every: self.report.at_least_every.0,
                change,
                alerts: alert::build_all(&key("alert"), &self.alert)?,
                silent_after: self.report.silent_after.map(|span| span.0),
                expected_interval: self.expected_interval.map(|span| span.0),
                battery_days: alert::number(
                    &key("report.battery_days"),
                    Some(self.report.battery_days),
                    0.0..=3650.0,
                    "days",
                )?,
            },
        })
    }

    /// Reads the key of the n-th fixture, if it has one, and gives it to what was built. Blocks.
    pub(super) fn give_key(
        &self,
        n: usize,
        credentials: Option<&Path>,
        built: &mut Fixture,
    ) -> Result<(), Invalid> {
        let path = bind_key::path(&self.bind_key_file, credentials, &self.id);
        let key = format!("fixture[{n}].bind_key_file");
        built.key = path.map(|path| bind_key::load(&key, &path)).transpose()?;
        if let FixtureIdentifier::Unkeyed { rotation_exponent, clock_zero } = built.identifier {
            let octets = built.key.as_ref().map(|key| <[u8; 16]>::try_from(key.octets()));
            let found = match octets {
                Some(Ok(octets)) => {
                    let identity_key = Key::new(octets);
                    built.identifier =
                        Identifier::EddystoneEid { identity_key, rotation_exponent, clock_zero }
                            .into();
                    return Ok(());
                }
                Some(Err(_)) => "a key of 12 octets",
                None => "nothing, and no credential",
            };
            let allowed = "an Eddystone-EID beacon is known by its identity key alone: write it as 32 \
                           hexadecimal digits into a file of its own with mode 0600, and name that";
            return Err(Invalid::new(&key, found, allowed));
        }
        Ok(())
    }

    fn identifier(&self, n: usize) -> Result<FixtureIdentifier, Invalid> {
        let mut given: Vec<IdentifierEntry> = Vec::new();
        given.extend(self.address.clone().map(IdentifierEntry::Address));
        given.extend(self.altbeacon.clone().map(IdentifierEntry::Altbeacon));
        given.extend(self.ibeacon.as_ref().map(|beacon| {
            let IBeaconEntry { uuid, major, minor } = beacon;
            IdentifierEntry::Ibeacon(IBeaconEntry {
                uuid: uuid.clone(),
                major: *major,
                minor: *minor,
            })
        }));
        given.extend(self.eddystone_uid.as_ref().map(|beacon| {
            let EddystoneUidEntry { namespace, instance } = beacon;
            IdentifierEntry::EddystoneUid(EddystoneUidEntry {
                namespace: namespace.clone(),
                instance: instance.clone(),
            })
        }));
        match (given.as_slice(), &self.name, &self.sensor, &self.eddystone_eid) {
            ([one], None, None, None) => {
                registry::identifier(one).map(FixtureIdentifier::Device).map_err(|problem| {
                    Invalid::new(&format!("fixture[{n}]"), "not recognisable", &problem.to_string())
                })
            }
            ([], Some(name), None, None) => local_name(n, name),
            ([], None, Some(sensor), None) => sensor.build(n),
            ([], None, None, Some(eid)) => eid.build(n),
            (others, name, sensor, eid) => {
                let given = others.len() + usize::from(name.is_some()) + usize::from(eid.is_some());
                let allowed = "write exactly one of `address`, `ibeacon`, `altbeacon`, `eddystone_uid`, \
                               `eddystone_eid`, `name`, `sensor`";
                Err(Invalid::new(
                    &format!("fixture[{n}]"),
                    format!("given {} identifiers", given + usize::from(sensor.is_some())),
                    allowed,
                ))
            }
        }
    }
}

impl EidEntry {
    fn build(&self, n: usize) -> Result<FixtureIdentifier, Invalid> {
        let key = |key: &str| format!("fixture[{n}].eddystone_eid.{key}");
        let rotation_exponent = self.rotation_exponent;
        if rotation_exponent > 15 {
            let key = key("rotation_exponent");
            return Err(Invalid::new(&key, rotation_exponent.to_string(), "write 0 to 15"));
        }
        let clock_zero = match &self.clock_zero {
            None => UnixTime::default(),
            Some(text) => {
                let time = text.parse::<Timestamp>().map_err(|_| {
                    let allowed = "write a time, like `2026-01-01T00:00:00Z`";
                    Invalid::new(&key("clock_zero"), format!("`{text}`"), allowed)
                })?;
                UnixTime::from_millis(time.as_millisecond())
            }
        };
        Ok(FixtureIdentifier::Unkeyed { rotation_exponent, clock_zero })
    }
}

impl SensorEntry {
    fn build(&self, n: usize) -> Result<FixtureIdentifier, Invalid> {
        let key = |key: &str| format!("fixture[{n}].sensor.{key}");
        let known = families_with_serials();
        let Some(family) = known.iter().find(|family| **family == self.family) else {
            let allowed = format!("the families whose frames tell one are: {}", known.join(", "));
            return Err(Invalid::new(&key("family"), format!("`{}`", self.family), &allowed));
        };
        let serial = Serial::parse(&self.serial).ok_or_else(|| {
            let found = format!("{} characters", self.serial.chars().count());
            let allowed = "write one to eight octets as two hexadecimal digits each, like \
                           `A4C138012345`; `beacon-gateway scan --sensors` shows them";
            Invalid::new(&key("serial"), found, allowed)
        })?;
        Ok(FixtureIdentifier::Serial(SerialNumber { family, serial }))
    }
}

/// A fixture's name is not empty, and no longer than advertising has room for.
fn local_name(n: usize, name: &str) -> Result<FixtureIdentifier, Invalid> {
    if (1..=LONGEST_NAME).contains(&name.len()) {
        return Ok(FixtureIdentifier::Name(name.into()));
    }
    let allowed = format!("write the sensor's whole name, 1 to {LONGEST_NAME} octets");
    Err(Invalid::new(&format!("fixture[{n}].name"), format!("{} octets", name.len()), &allowed))
}

impl OpeningHoursText {
    /// Reads days and times; `None` when it is neither.
    pub(super) fn parse(&self) -> Option<OpeningHours> {
        let (days, times) = self.0.trim().split_once(' ')?;
        let (from_day, to_day) = days.split_once('-').unwrap_or((days, days));
        let (opens, closes) = times.trim().split_once('-')?;
        let (opens, closes) = (minutes(opens)?, minutes(closes)?);
        let (from_day, to_day) = (weekday(from_day)?, weekday(to_day)?);
        (opens < closes).then_some(OpeningHours { from_day, to_day, opens, closes })
    }
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "mon" => Weekday::Monday,
        "tue" => Weekday::Tuesday,
        "wed" => Weekday::Wednesday,
        "thu" => Weekday::Thursday,
        "fri" => Weekday::Friday,
        "sat" => Weekday::Saturday,
        "sun" => Weekday::Sunday,
        _ => return None,
    })
}

fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let total = hours.checked_mul(60)?.checked_add(minutes)?;
    (minutes < 60 && total <= 24 * 60).then_some(total)
}

/// Checks a name that the operator chose and that stands in events.
pub(crate) fn check_id(key: &str, id: &str) -> Result<(), Invalid> {
    let sound = (1..=MAX_ID).contains(&id.len())
        && id.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if sound {
        return Ok(());
    }
    let allowed = format!("write 1 to {MAX_ID} letters, digits, `-`, `_` or `.`");
    Err(Invalid::new(key, format!("`{id}`"), &allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_hours_are_read_as_people_write_them() {
        let read = |text: &str| OpeningHoursText(text.to_owned()).parse();
        assert_eq!(
            read("mon-sat 08:00-20:30"),
            Some(OpeningHours {
                from_day: Weekday::Monday,
                to_day: Weekday::Saturday,
                opens: 480,
                closes: 1230,
            })
        );
        assert!(read("Sun 0:00-24:00").is_some());
        for wrong in
            ["", "mon", "mon 8-20", "mon 20:00-08:00", "day 08:00-20:00", "mon 08:60-20:00"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

//! Who is enrolled, which fixtures there are, and the tables that find them by what they send.

mod enrolment;
mod lookup;
mod mark;
mod store;

use std::{collections::BTreeMap, fmt, time::Duration};

use thiserror::Error;
use zeroize::Zeroize;

pub use enrolment::{Enrolment, EnrolmentReport, Refusal};
pub(super) use lookup::{Lookup, Target};
pub use mark::DeviceMark;
pub(super) use store::{Leaver, Upserted};
pub use store::{Registry, RegistryBuilder};

use super::{
    Consent, ConsentLedger, DeviceAddress, Frame, Key, MemberKey, Pseudonym, Purposes, UnixTime,
};
use crate::engine::{
    AlertRule, Uptime, WallClock, ZoneId,
    frame::{
        Quantity,
        sensor::{BindKey, SerialNumber},
    },
    place::Point,
};

/// One way to recognise a device.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Identifier {
    /// A public or static random address, most significant octet first.
    Address([u8; 6]),
    /// An iBeacon, whole.
    IBeacon {
        /// The fleet.
        proximity_uuid: [u8; 16],
        /// The group.
        major: u16,
        /// The beacon.
        minor: u16,
    },
    /// An AltBeacon, by its 20-byte identifier.
    AltBeacon([u8; 20]),
    /// An Eddystone-UID, whole.
    EddystoneUid {
        /// The fleet.
        namespace: [u8; 10],
        /// The beacon.
        instance: [u8; 6],
    },
    /// An Eddystone-EID beacon, by its key.
    EddystoneEid {
        /// The key shared with the beacon.
        identity_key: Key,
        /// The identifier changes every 2^exponent seconds; 0 to 15.
        rotation_exponent: u8,
        /// The wall time at which the beacon's clock read zero.
        clock_zero: UnixTime,
    },
    /// A device with resolvable private addresses, by its identity resolving key.
    Irk(Key),
    /// An app that sends a token as service data, by its member key.
    ServiceToken(MemberKey),
    /// An app that names a service anew every 15 minutes, by its member key.
    RollingUuid(MemberKey),
}

impl Identifier {
    /// The name of the way, as the registry file writes it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::IBeacon { .. } => "ibeacon",
            Self::AltBeacon(_) => "altbeacon",
            Self::EddystoneUid { .. } => "eddystone_uid",
            Self::EddystoneEid { .. } => "eddystone_eid",
            Self::Irk(_) => "irk",
            Self::ServiceToken(_) => "service_token",
            Self::RollingUuid(_) => "rolling_uuid",
        }
    }

    /// What makes the device: the same key is the same device, whatever else is said about it.
    const fn device(self) -> Self {
        match self {
            Self::EddystoneEid { identity_key, .. } => Self::EddystoneEid {
                identity_key,
                rotation_exponent: 0,
                clock_zero: UnixTime::from_millis(0),
            },
            other => other,
        }
    }
}

impl Zeroize for Identifier {
    fn zeroize(&mut self) {
        match self {
            Self::Address(octets) => octets.zeroize(),
            Self::IBeacon { proximity_uuid, major, minor } => {
                proximity_uuid.zeroize();
                major.zeroize();
                minor.zeroize();
            }
            Self::AltBeacon(id) => id.zeroize(),
            Self::EddystoneUid { namespace, instance } => {
                namespace.zeroize();
                instance.zeroize();
            }
            Self::EddystoneEid { identity_key: key, .. } | Self::Irk(key) => key.zeroize(),
            Self::ServiceToken(key) | Self::RollingUuid(key) => key.zeroize(),
        }
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identifier({}, redacted)", self.kind())
    }
}

/// What a subject is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SubjectKind {
    /// An enrolled person.
    Customer,
    /// An employee's badge.
    Staff,
    /// A thing: a trolley, a pallet.
    Asset,
}

impl SubjectKind {
    /// The name used in the registry and in payloads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Staff => "staff",
            Self::Asset => "asset",
        }
    }
}

/// Somebody or something enrolled.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The name used outside.
    pub pseudonym: Pseudonym,
    /// What it is.
    pub kind: SubjectKind,
    /// How it is recognised.
    pub identifiers: Vec<Identifier>,
    /// What the person agreed to; `None` only for an asset, which needs no consent.
    pub consent: Option<Consent>,
}

impl Subject {
    /// What the consent covers at a moment.
    pub fn purposes_at(&self, unix: UnixTime) -> Purposes {
        match &self.consent {
            Some(consent) => consent.purposes_at(unix),
            None if self.kind == SubjectKind::Asset => Purposes::ALL,
            None => Purposes::NONE,
        }
    }

    /// What may be made of what happened at `at`, as far as the clock can tell.
    pub fn purposes_made_at(&self, wall: &WallClock, at: Uptime) -> Purposes {
        match &self.consent {
            Some(consent) => consent.purposes_made_at(wall, at),
            None if self.kind == SubjectKind::Asset => Purposes::ALL,
            None => Purposes::NONE,
        }
    }

    /// Overwrites the identifiers and keys where they lie, before the memory is given back.
    fn scrub(&mut self) {
        self.identifiers.iter_mut().for_each(Zeroize::zeroize);
    }
}

/// One way to recognise a fixture. A person's device is never known by its name, nor by what a sensor
/// calls itself.
#[derive(Clone, Eq, Hash, PartialEq)]
pub enum FixtureIdentifier {
    /// As any device.
    Device(Identifier),
    /// By its complete local name, which anybody can take.
    Name(Box<str>),
    /// By the number that it gives itself in its frames.
    Serial(SerialNumber),
    /// As an Eddystone-EID beacon whose key nobody has read yet: it is not recognised.
    Unkeyed {
        /// The identifier changes every 2^exponent seconds; 0 to 15.
        rotation_exponent: u8,
        /// The wall time at which the beacon's clock read zero.
        clock_zero: UnixTime,
    },
}

impl FixtureIdentifier {
    /// The name of the way, as the configuration writes it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Device(identifier) => identifier.kind(),
            Self::Name(_) => "name",
            Self::Serial(_) => "sensor",
            Self::Unkeyed { .. } => "eddystone_eid",
        }
    }
}

impl From<Identifier> for FixtureIdentifier {
    fn from(identifier: Identifier) -> Self {
        Self::Device(identifier)
    }
}

impl fmt::Debug for FixtureIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FixtureIdentifier({}, redacted)", self.kind())
    }
}

/// One of the shop's own sensors or reference beacons.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Its name in the configuration.
    pub id: String,
    /// In which zone it is.
    pub zone: Option<ZoneId>,
    /// Where it is on the floor plan, for who wants to know how well it is heard from there.
    pub hangs: Option<Hangs>,
    /// How it is recognised.
    pub identifier: FixtureIdentifier,
    /// What decrypts what it sends; with it, nothing else is believed.
    pub key: Option<BindKey>,
    /// Whether it must be heard: its silence tells a deaf radio from a quiet shop.
    pub canary: bool,
    /// When its readings are worth an event.
    pub report: ReportPolicy,
}

impl Fixture {
    /// Its address, most significant octet first, where it is recognised by that.
    pub fn address(&self) -> Option<[u8; 6]> {
        match self.identifier {
            FixtureIdentifier::Device(Identifier::Address(octets)) => Some(octets),
            _ => None,
        }
    }

    /// Whether it is an Eddystone-EID beacon.
    pub fn has_eid(&self) -> bool {
        matches!(self.identifier, FixtureIdentifier::Device(Identifier::EddystoneEid { .. }))
    }

    /// Whether it is one whose key nobody has read, so that nothing makes it known.
    pub fn is_unkeyed(&self) -> bool {
        matches!(self.identifier, FixtureIdentifier::Unkeyed { .. })
    }

    /// Whether it is the same device under the same name, with the same key.
    pub fn is_same_device(&self, other: &Self) -> bool {
        let Self { id, identifier, key, .. } = other;
        (&self.id, &self.identifier, &self.key) == (id, identifier, key)
    }
}

/// A known place on the floor plan that does not change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hangs {
    /// Where on the plan.
    pub at: Point,
    /// How high above the floor, in metres.
    pub height: f32,
}

/// When a fixture's reading is worth an event.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportPolicy {
    /// A changed reading is reported at most this often.
    pub at_most_every: Duration,
    /// An unchanged reading is reported at least this often.
    pub at_least_every: Duration,
    /// By how much a quantity must differ from what was last reported, in its own unit, where it
    /// is not the built-in amount.
    pub change: BTreeMap<Quantity, f64>,
    /// What is wrong with its readings.
    pub alerts: Vec<AlertRule>,
    /// After how long its silence is news; none for several times the longest gap that is usual, zero
    /// for never.
    pub silent_after: Option<Duration>,
    /// How often the sensor sends, as long as nothing was learned of that.
    pub expected_interval: Option<Duration>,
    /// So many days before its battery will be empty somebody should know; zero for never.
    pub battery_days: f64,
}

impl Default for ReportPolicy {
    fn default() -> Self {
        Self {
            at_most_every: Duration::from_secs(10),
            at_least_every: Duration::from_mins(10),
            change: BTreeMap::new(),
            alerts: Vec::new(),
            silent_after: None,
            expected_interval: None,
            battery_days: 14.0,
        }
    }
}

/// A subject's place in the registry. Only this room makes one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SubjectIndex(u32);

/// A fixture's place in the registry. Only this room makes one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FixtureIndex(u32);

#[cfg(test)]
impl FixtureIndex {
    pub(super) const FIRST: Self = Self(0);
}

/// Two entries of the registry cannot be told apart. The identifier itself is not repeated.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AmbiguousRegistry {
    /// Two subjects share a name.
    #[error(
        "subject `{0}` is enrolled twice; give each subject one entry with all its identifiers"
    )]
    Pseudonym(String),
    /// Two fixtures share a name.
    #[error("fixture `{0}` is configured twice; give each fixture an id of its own")]
    FixtureId(String),
    /// Two entries share an identifier.
    #[error(
        "`{first}` and `{second}` have the same {kind} identifier; an identifier can belong to one of them only"
    )]
    Identifier {
        /// The entry that has it first.
        first: String,
        /// The entry that repeats it.
        second: String,
        /// The kind of identifier.
        kind: &'static str,
    },
}

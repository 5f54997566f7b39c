//! Who is enrolled, which fixtures there are, and the tables that find them by what they send.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::Duration,
};

use rustc_hash::FxBuildHasher;
use thiserror::Error;

use super::{
    Consent, ConsentLedger, DeviceAddress, Frame, Key, MemberKey, Pseudonym, Purposes, UnixTime,
};
use crate::engine::{ZoneId, frame::Quantity};

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
    /// What may be done at a moment.
    pub fn purposes_at(&self, unix: UnixTime) -> Purposes {
        match &self.consent {
            Some(consent) => consent.purposes_at(unix),
            None if self.kind == SubjectKind::Asset => Purposes::ALL,
            None => Purposes::NONE,
        }
    }
}

/// One of the shop's own sensors or reference beacons.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Its name in the configuration.
    pub id: String,
    /// Where it is.
    pub zone: Option<ZoneId>,
    /// How it is recognised.
    pub identifier: Identifier,
    /// Whether it must be heard: its silence tells a deaf radio from a quiet shop.
    pub canary: bool,
    /// When its readings are worth an event.
    pub report: ReportPolicy,
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
}

impl Default for ReportPolicy {
    fn default() -> Self {
        Self {
            at_most_every: Duration::from_secs(10),
            at_least_every: Duration::from_mins(10),
            change: BTreeMap::new(),
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

/// Everyone and everything that can be recognised.
#[derive(Debug, Default)]
pub struct Registry {
    subjects: Vec<Subject>,
    fixtures: Vec<Fixture>,
}

// === impl Registry ===

impl Registry {
    /// Checks that no two entries can be confused.
    pub fn new(subjects: Vec<Subject>, fixtures: Vec<Fixture>) -> Result<Self, AmbiguousRegistry> {
        let mut names = BTreeSet::new();
        let mut taken = HashMap::with_hasher(FxBuildHasher);
        let mut take = |identifier: Identifier, name: String| {
            // The same key is the same device, whatever else is said about it.
            let same = match identifier {
                Identifier::EddystoneEid { identity_key, .. } => Identifier::EddystoneEid {
                    identity_key,
                    rotation_exponent: 0,
                    clock_zero: UnixTime::default(),
                },
                other => other,
            };
            match taken.insert(same, name.clone()) {
                None => Ok(()),
                Some(first) => Err(AmbiguousRegistry::Identifier {
                    first,
                    second: name,
                    kind: identifier.kind(),
                }),
            }
        };
        for subject in &subjects {
            let name = subject.pseudonym.to_string();
            if !names.insert(name.clone()) {
                return Err(AmbiguousRegistry::Pseudonym(name));
            }
            for &identifier in &subject.identifiers {
                take(identifier, name.clone())?;
            }
        }
        let mut ids = BTreeSet::new();
        for fixture in &fixtures {
            if !ids.insert(&fixture.id) {
                return Err(AmbiguousRegistry::FixtureId(fixture.id.clone()));
            }
            take(fixture.identifier, fixture.id.clone())?;
        }
        Ok(Self { subjects, fixtures })
    }

    /// How many subjects are enrolled.
    pub fn subject_count(&self) -> usize {
        self.subjects.len()
    }

    /// How many fixtures are configured.
    pub fn fixture_count(&self) -> usize {
        self.fixtures.len()
    }

    /// Everyone enrolled.
    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// Everything configured.
    pub fn fixtures(&self) -> &[Fixture] {
        &self.fixtures
    }

    /// One subject.
    pub fn subject(&self, index: SubjectIndex) -> Option<&Subject> {
        self.subjects.get(index.0 as usize)
    }

    /// One fixture.
    pub fn fixture(&self, index: FixtureIndex) -> Option<&Fixture> {
        self.fixtures.get(index.0 as usize)
    }

    /// Finds subjects by name, for what was remembered under another registry.
    pub(crate) fn by_pseudonym(&self) -> BTreeMap<Pseudonym, SubjectIndex> {
        self.indexed().map(|(index, subject)| (subject.pseudonym.clone(), index)).collect()
    }

    /// True while any purpose of the subject's consent is live.
    pub fn is_live(&self, subject: SubjectIndex, unix: UnixTime) -> bool {
        self.subject(subject).is_some_and(|subject| !subject.purposes_at(unix).is_empty())
    }

    /// Who agreed to what, without identifiers.
    pub fn ledger(&self) -> ConsentLedger {
        ConsentLedger::new(
            self.subjects
                .iter()
                .map(|subject| (subject.pseudonym.clone(), subject.consent.clone())),
        )
    }

    /// Every subject's identifiers.
    pub(super) fn identifiers(&self) -> impl Iterator<Item = (SubjectIndex, &Identifier)> {
        self.indexed().flat_map(|(index, subject)| {
            subject.identifiers.iter().map(move |identifier| (index, identifier))
        })
    }

    fn indexed(&self) -> impl Iterator<Item = (SubjectIndex, &Subject)> {
        (0..).map(SubjectIndex).zip(&self.subjects)
    }
}

/// Who is behind a fixed identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Target {
    Subject(SubjectIndex),
    Fixture(FixtureIndex),
}

/// The tables for identifiers that never change.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    addresses: HashMap<[u8; 6], Target, FxBuildHasher>,
    ibeacons: HashMap<([u8; 16], u16, u16), Target, FxBuildHasher>,
    altbeacons: HashMap<[u8; 20], Target, FxBuildHasher>,
    eddystone_uids: HashMap<([u8; 10], [u8; 6]), Target, FxBuildHasher>,
}

// === impl Lookup ===

impl Lookup {
    pub(super) fn new(registry: &Registry) -> Self {
        let mut lookup = Self::default();
        for (subject, identifier) in registry.identifiers() {
            lookup.insert(identifier, Target::Subject(subject));
        }
        for (index, fixture) in (0..).map(FixtureIndex).zip(&registry.fixtures) {
            lookup.insert(&fixture.identifier, Target::Fixture(index));
        }
        lookup
    }

    fn insert(&mut self, identifier: &Identifier, target: Target) {
        match *identifier {
            Identifier::Address(octets) => {
                self.addresses.insert(octets, target);
            }
            Identifier::IBeacon { proximity_uuid, major, minor } => {
                self.ibeacons.insert((proximity_uuid, major, minor), target);
            }
            Identifier::AltBeacon(id) => {
                self.altbeacons.insert(id, target);
            }
            Identifier::EddystoneUid { namespace, instance } => {
                self.eddystone_uids.insert((namespace, instance), target);
            }
            Identifier::EddystoneEid { .. }
            | Identifier::Irk(_)
            | Identifier::ServiceToken(_)
            | Identifier::RollingUuid(_) => {}
        }
    }

    pub(super) fn by_address(&self, address: DeviceAddress) -> Option<Target> {
        self.addresses.get(&address.octets()).copied()
    }

    pub(super) fn by_frame(&self, frame: &Frame<'_>) -> Option<Target> {
        match frame {
            Frame::IBeacon(beacon) => {
                self.ibeacons.get(&(beacon.proximity_uuid, beacon.major, beacon.minor)).copied()
            }
            Frame::AltBeacon(beacon) => self.altbeacons.get(&beacon.id).copied(),
            Frame::EddystoneUid(beacon) => {
                self.eddystone_uids.get(&(beacon.namespace, beacon.instance)).copied()
            }
            _ => None,
        }
    }
}

//! The tables for identifiers that never change: an address or a frame in, who sent it out.
//!
//! Each costs one look, however many are enrolled. What is taken out is overwritten.

use std::{
    fmt,
    hash::{BuildHasher, Hash},
};

use hashbrown::HashTable;
use rustc_hash::{FxBuildHasher, FxHashMap};
use zeroize::Zeroize;

use super::{
    DeviceAddress, FixtureIdentifier, FixtureIndex, Frame, Identifier, Registry, SerialNumber,
    SubjectIndex,
};
use crate::engine::frame::sensor::{self, Heard};

/// Who is behind a fixed identifier.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::engine::identity) enum Target {
    Subject(SubjectIndex),
    Fixture(FixtureIndex),
}

impl From<SubjectIndex> for Target {
    fn from(subject: SubjectIndex) -> Self {
        Self::Subject(subject)
    }
}

impl From<FixtureIndex> for Target {
    fn from(fixture: FixtureIndex) -> Self {
        Self::Fixture(fixture)
    }
}

/// The tables for identifiers that never change.
#[derive(Default)]
pub(in crate::engine::identity) struct Lookup {
    addresses: Table<[u8; 6]>,
    ibeacons: Table<([u8; 16], u16, u16)>,
    altbeacons: Table<[u8; 20]>,
    eddystone_uids: Table<([u8; 10], [u8; 6])>,
    /// Of fixtures, which the configuration names to everybody who reads it.
    names: FxHashMap<Box<[u8]>, FixtureIndex>,
    serials: FxHashMap<SerialNumber, FixtureIndex>,
}

/// A hash table that leaves nothing behind where an entry was.
struct Table<K>(HashTable<(K, Target)>);

// === impl Lookup ===

impl Lookup {
    pub(in crate::engine::identity) fn new(registry: &Registry) -> Self {
        let mut lookup = Self::default();
        for (subject, identifier) in registry.identifiers() {
            lookup.insert(identifier, Target::Subject(subject));
        }
        for (index, fixture) in registry.fixtures_by_index() {
            match &fixture.identifier {
                FixtureIdentifier::Device(identifier) => {
                    lookup.insert(identifier, Target::Fixture(index));
                }
                FixtureIdentifier::Name(name) => {
                    lookup.names.insert(name.as_bytes().into(), index);
                }
                FixtureIdentifier::Serial(serial) => {
                    lookup.serials.insert(*serial, index);
                }
                FixtureIdentifier::Unkeyed { .. } => {}
            }
        }
        lookup
    }

    /// Takes in an identifier; passes over one that changes with time.
    pub(in crate::engine::identity) fn insert(&mut self, identifier: &Identifier, target: Target) {
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

    /// Takes an identifier out.
    pub(in crate::engine::identity) fn remove(&mut self, identifier: &Identifier) {
        match identifier {
            Identifier::Address(octets) => self.addresses.remove(octets),
            &Identifier::IBeacon { proximity_uuid, major, minor } => {
                self.ibeacons.remove(&(proximity_uuid, major, minor));
            }
            Identifier::AltBeacon(id) => self.altbeacons.remove(id),
            &Identifier::EddystoneUid { namespace, instance } => {
                self.eddystone_uids.remove(&(namespace, instance));
            }
            Identifier::EddystoneEid { .. }
            | Identifier::Irk(_)
            | Identifier::ServiceToken(_)
            | Identifier::RollingUuid(_) => {}
        }
    }

    pub(in crate::engine::identity) fn by_address(&self, address: DeviceAddress) -> Option<Target> {
        if address.is_unknown() { None } else { self.addresses.get(&address.octets()) }
    }

    /// By what a sensor calls itself, and by its name: neither is looked at while no fixture is known by
    /// one.
    pub(in crate::engine::identity) fn by_data(&self, data: &[u8]) -> Option<Target> {
        let mut found = None;
        if !self.serials.is_empty() {
            let is_sought = |family: &str| self.serials.keys().any(|it| it.family == family);
            let mut serials = sensor::serials(data, is_sought);
            found = serials.find_map(|serial| self.serials.get(&serial));
        }
        if found.is_none() && !self.names.is_empty() {
            found = Heard::new(data).complete_name().and_then(|name| self.names.get(name));
        }
        found.copied().map(Target::Fixture)
    }

    pub(in crate::engine::identity) fn by_frame(&self, frame: &Frame<'_>) -> Option<Target> {
        match frame {
            Frame::IBeacon(beacon) => {
                self.ibeacons.get(&(beacon.proximity_uuid, beacon.major, beacon.minor))
            }
            Frame::AltBeacon(beacon) => self.altbeacons.get(&beacon.id),
            Frame::EddystoneUid(beacon) => {
                self.eddystone_uids.get(&(beacon.namespace, beacon.instance))
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup(redacted)")
    }
}

// === impl Table ===

impl<K: Copy + Eq + Hash + Zeroize> Table<K> {
    fn get(&self, key: &K) -> Option<Target> {
        let found = self.0.find(FxBuildHasher.hash_one(key), |(other, _)| other == key);
        found.map(|(_, target)| *target)
    }

    fn insert(&mut self, key: K, target: Target) {
        self.remove(&key);
        let hasher = |(key, _): &(K, Target)| FxBuildHasher.hash_one(key);
        self.0.insert_unique(FxBuildHasher.hash_one(key), (key, target), hasher);
    }

    fn remove(&mut self, key: &K) {
        let hash = FxBuildHasher.hash_one(key);
        if let Ok(mut entry) = self.0.find_entry(hash, |(other, _)| other == key) {
            // Overwritten where it lies, because a table only marks an entry's place as free.
            entry.get_mut().0.zeroize();
            entry.remove();
        }
    }
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

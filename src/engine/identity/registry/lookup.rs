//! The tables for identifiers that never change: an address or a frame in, who sent it out.
//!
//! Each costs one look, however many are enrolled.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use super::{DeviceAddress, FixtureIndex, Frame, Identifier, Registry, SubjectIndex};

/// Who is behind a fixed identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::engine::identity) enum Target {
    Subject(SubjectIndex),
    Fixture(FixtureIndex),
}

/// The tables for identifiers that never change.
#[derive(Debug, Default)]
pub(in crate::engine::identity) struct Lookup {
    addresses: HashMap<[u8; 6], Target, FxBuildHasher>,
    ibeacons: HashMap<([u8; 16], u16, u16), Target, FxBuildHasher>,
    altbeacons: HashMap<[u8; 20], Target, FxBuildHasher>,
    eddystone_uids: HashMap<([u8; 10], [u8; 6]), Target, FxBuildHasher>,
}

// === impl Lookup ===

impl Lookup {
    pub(in crate::engine::identity) fn new(registry: &Registry) -> Self {
        let mut lookup = Self::default();
        for (subject, identifier) in registry.identifiers() {
            lookup.insert(identifier, Target::Subject(subject));
        }
        for (index, fixture) in (0..).map(FixtureIndex).zip(registry.fixtures()) {
            lookup.insert(&fixture.identifier, Target::Fixture(index));
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
            Identifier::EddystoneEid { .. } | Identifier::Irk(_) => {}
        }
    }

    /// Takes an identifier out.
    pub(in crate::engine::identity) fn remove(&mut self, identifier: &Identifier) {
        match identifier {
            Identifier::Address(octets) => drop(self.addresses.remove(octets)),
            &Identifier::IBeacon { proximity_uuid, major, minor } => {
                self.ibeacons.remove(&(proximity_uuid, major, minor));
            }
            Identifier::AltBeacon(id) => drop(self.altbeacons.remove(id)),
            &Identifier::EddystoneUid { namespace, instance } => {
                self.eddystone_uids.remove(&(namespace, instance));
            }
            Identifier::EddystoneEid { .. } | Identifier::Irk(_) => {}
        }
    }

    pub(in crate::engine::identity) fn by_address(&self, address: DeviceAddress) -> Option<Target> {
        self.addresses.get(&address.octets()).copied()
    }

    pub(in crate::engine::identity) fn by_frame(&self, frame: &Frame<'_>) -> Option<Target> {
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

//! Room 3. A frame and its address in; an enrolled subject, a fixture or nobody out.
//!
//! After this room no radio identifier exists: [`SubjectIndex`] and [`FixtureIndex`] can only be had
//! from [`Identity::resolve`], and [`Resolution::Anonymous`] carries nothing to leak.

mod consent;
mod eid;
mod irk;
mod registry;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

pub use consent::{Consent, ConsentLedger, Grant, Purpose, Purposes, Standing};
pub use irk::AddressSeed;
pub use registry::{
    AmbiguousRegistry, Enrolment, EnrolmentReport, Fixture, FixtureIndex, Identifier, Refusal,
    Registry, ReportPolicy, Subject, SubjectIndex, SubjectKind,
};

use super::{DeviceAddress, UnixTime, Uptime, WallClock, frame::Frame};
use eid::EidTable;
pub(super) use irk::Effort;
use irk::IrkResolver;
use registry::{Leaver, Lookup, Target, Upserted};

/// The name under which a subject is known outside: never an address, never a person's name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Pseudonym(Arc<str>);

impl Pseudonym {
    /// Wraps a pseudonym.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The pseudonym.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Pseudonym {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A 128-bit secret of a device: an identity resolving key or an Eddystone-EID identity key.
///
/// `Debug` is redacted, and only the registry can have the octets outside this room.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key([u8; 16]);

impl Key {
    /// Wraps sixteen octets, most significant first.
    pub const fn new(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// The octets, for the registry, which seals them and shows them to the subject alone.
    pub(crate) const fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

/// How identities that rotate are recognised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IdentitySettings {
    /// False recognitions a day that one matching resolvable address may be expected to cause.
    /// While the expectation is higher, a second address must confirm the first.
    pub irk_max_false_per_day: f64,
    /// Strangers' resolvable addresses a day to reckon with until a whole day was measured.
    pub irk_strangers_per_day: f64,
    /// How many identity resolving keys may be tried a second, each against one address; at least
    /// 10,000.
    pub irk_checks_per_second: u32,
    /// How far an Eddystone-EID beacon's clock may be off, to either side.
    pub eid_window: Duration,
}

impl Default for IdentitySettings {
    fn default() -> Self {
        Self {
            irk_max_false_per_day: 0.1,
            irk_strangers_per_day: 20_000.0,
            // A Raspberry Pi 4, which has no AES instructions, does 2.9 million: a fifth of a core.
            irk_checks_per_second: 600_000,
            eid_window: Duration::from_mins(10),
        }
    }
}

/// Whose advertisement it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resolution {
    /// An enrolled subject with a live consent.
    Subject(SubjectIndex),
    /// One of the shop's own sensors or reference beacons.
    Fixture(FixtureIndex),
    /// Anyone else. Dropped here.
    Anonymous,
}

/// The room: the registry and everything derived from it.
#[derive(Debug)]
pub struct Identity {
    registry: Registry,
    lookup: Lookup,
    eids: EidTable,
    irks: IrkResolver,
}

impl Identity {
    /// Prepares the tables for a registry.
    pub fn new(registry: Registry, settings: IdentitySettings, seed: AddressSeed) -> Self {
        let lookup = Lookup::new(&registry);
        let eids = EidTable::new(&registry, settings.eid_window);
        let irks = IrkResolver::new(&registry, settings, seed);
        Self { registry, lookup, eids, irks }
    }

    /// Replaces the registry. What was learned about addresses is forgotten.
    pub(super) fn replace(&mut self, registry: Registry) {
        self.lookup = Lookup::new(&registry);
        self.eids = self.eids.rebuilt(&registry);
        self.irks = self.irks.rebuilt(&registry);
        self.registry = registry;
    }

    /// Enrols a subject, or replaces what is known of one; tells its place, and whether it is new.
    /// What was learned about identifiers that stay is kept.
    pub(super) fn upsert(
        &mut self,
        subject: Subject,
    ) -> Result<(SubjectIndex, bool), AmbiguousRegistry> {
        let Upserted { index, before } = self.registry.upsert(subject)?;
        let Self { registry, lookup, eids, irks } = self;
        let is_new = before.is_none();
        let before: &[Identifier] = before.as_ref().map_or(&[], Leaver::identifiers);
        let after = registry.subject(index).map_or(&[][..], |subject| &subject.identifiers);
        let (old, new): (HashSet<_>, HashSet<_>) =
            (before.iter().collect(), after.iter().collect());
        for identifier in old.difference(&new) {
            lookup.remove(identifier);
            eids.remove(index, identifier);
            irks.remove(index, identifier);
        }
        for identifier in new.difference(&old) {
            lookup.insert(identifier, Target::Subject(index));
            eids.insert(index, identifier);
            irks.insert(index, identifier);
        }
        Ok((index, is_new))
    }

    /// Takes a subject out of the registry and of every table, and tells the place it had. Nothing
    /// that was learned about it stays.
    pub(super) fn withdraw(&mut self, name: &Pseudonym) -> Option<SubjectIndex> {
        let (index, leaver) = self.registry.withdraw(name)?;
        for identifier in leaver.identifiers() {
            self.lookup.remove(identifier);
            self.eids.remove(index, identifier);
            self.irks.remove(index, identifier);
        }
        Some(index)
    }

    /// The subject is known to be here by other means than an address.
    pub(super) fn vouch(&mut self, now: Uptime, subject: SubjectIndex) {
        let identifiers = self.registry.subject(subject).map(|subject| &subject.identifiers);
        let is_irk = |identifier: &Identifier| matches!(identifier, Identifier::Irk(_));
        if identifiers.is_some_and(|identifiers| identifiers.iter().any(is_irk)) {
            self.irks.confirm(now, subject);
        }
    }

    /// Goes on with what a call does not do at once.
    pub(super) fn work(&mut self, now: Uptime) {
        self.irks.work(now);
    }

    /// When [`Identity::work`] has something to do.
    pub(super) fn next_work(&self) -> Option<Uptime> {
        self.irks.next_work()
    }

    /// What trying keys has cost so far.
    pub(super) fn effort(&self) -> Effort {
        self.irks.effort()
    }

    /// The registry in force.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Says whose advertisement it is. `frames` may be empty: an address alone can be enough.
    pub fn resolve(
        &mut self,
        now: Uptime,
        wall: &WallClock,
        address: DeviceAddress,
        frames: &[Frame<'_>],
    ) -> Resolution {
        let unix = wall.unix_at(now);
        let target = self.by_frames(frames, unix).or_else(|| self.lookup.by_address(address));
        let target = match target {
            Some(Target::Subject(subject)) => {
                self.vouch(now, subject);
                target
            }
            Some(Target::Fixture(_)) => target,
            None => self.irks.resolve(now, address).map(Target::Subject),
        };
        match target {
            Some(Target::Fixture(fixture)) => Resolution::Fixture(fixture),
            Some(Target::Subject(subject)) if self.registry.is_live(subject, wall, now) => {
                Resolution::Subject(subject)
            }
            _ => Resolution::Anonymous,
        }
    }

    fn by_frames(&mut self, frames: &[Frame<'_>], unix: UnixTime) -> Option<Target> {
        frames.iter().find_map(|frame| match frame {
            Frame::EddystoneEid(eid) => self.eids.resolve(eid.eid, unix).map(Target::Subject),
            other => self.lookup.by_frame(other),
        })
    }
}

#[cfg(test)]
mod changes;

/// The place of the first fixture, for tests of the rooms behind this one.
#[cfg(test)]
pub(super) fn first_fixture() -> FixtureIndex {
    FixtureIndex::FIRST
}

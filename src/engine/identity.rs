//! Room 3. A frame and its address in; an enrolled subject, a fixture or nobody out.
//!
//! After this room no radio identifier exists: [`SubjectIndex`] and [`FixtureIndex`] can only be had
//! from [`Identity::resolve`], and [`Resolution::Anonymous`] carries nothing to leak.

mod company;
mod consent;
mod doubles;
mod eid;
mod irk;
mod registry;
mod rolling;
mod rotating;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use zeroize::Zeroize;

pub use consent::{Consent, ConsentLedger, Grant, Purpose, Purposes, Standing};
pub use eid::ephemeral_id;
pub use irk::AddressSeed;
pub use registry::{
    AmbiguousRegistry, DeviceMark, Enrolment, EnrolmentReport, Fixture, FixtureIdentifier,
    FixtureIndex, Hangs, Identifier, Refusal, Registry, RegistryBuilder, ReportPolicy, Subject,
    SubjectIndex, SubjectKind,
};
pub use rolling::{EPOCH_SECONDS, RollingForm, Tenant};

use super::{
    DeviceAddress, UnixTime, Uptime, WallClock,
    frame::{
        Context, Frame, TokenUuid, rolling_uuids,
        sensor::{BeaconClock, OwnDecoders},
    },
};
use crate::forget;
use doubles::{Doubles, Sent};
pub(super) use irk::Effort;
use irk::IrkResolver;
use registry::{Leaver, Lookup, Target, Upserted};
use rotating::Rotating;

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
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
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

impl Zeroize for Key {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

/// A 256-bit secret that an app and the operator share: what its rotating values are made of.
///
/// `Debug` is redacted, and only the registry can have the octets outside this room.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MemberKey([u8; 32]);

impl MemberKey {
    /// Wraps 32 octets, in the order in which they are written.
    pub const fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets, for the registry, which seals them and shows them to the subject alone.
    pub(crate) const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Zeroize for MemberKey {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for MemberKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemberKey(redacted)")
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
    /// How far our own clock may be off while nothing says that it is right, to either side.
    pub wide_window: Duration,
    /// The operator whose apps are recognised.
    pub tenant: Tenant,
    /// The operator's own 16-bit UUID for service tokens, if there is one.
    pub token_uuid: Option<TokenUuid>,
    /// The operator's own decoders of sensors.
    pub decoders: OwnDecoders,
}

impl Default for IdentitySettings {
    fn default() -> Self {
        Self {
            irk_max_false_per_day: 0.1,
            irk_strangers_per_day: 20_000.0,
            // A Raspberry Pi 4, which has no AES instructions, does 2.9 million: a fifth of a core.
            irk_checks_per_second: 600_000,
            eid_window: Duration::from_mins(10),
            wide_window: Duration::from_hours(24),
            tenant: Tenant::default(),
            token_uuid: None,
            decoders: OwnDecoders::default(),
        }
    }
}

/// Whose advertisement it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resolution {
    /// An enrolled subject with a live consent.
    Subject(Recognition),
    /// One of the shop's own sensors or reference beacons.
    Fixture(FixtureIndex),
    /// Anyone else. Dropped here.
    Anonymous,
}

/// A subject that was recognised, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Recognition {
    /// Who.
    pub subject: SubjectIndex,
    /// By which of their identifiers: its place among them, the last place of all for those beyond.
    /// Two of a kind that rotates (IRK, EID, tokens) count as the first of them.
    pub tag: u8,
    /// The clock was not synced, and it took the wider window that is searched then: a recording
    /// as old as that window would have been recognised as well.
    pub wide_window: bool,
}

/// The room: the registry and everything derived from it.
///
/// Whatever looks at keys here clears the stack before it returns: a value is moved with the room
/// that it does not use, so the next that is made to last would take a key along to where nobody
/// looks for it. The work itself is in functions of its own, in whose frames the keys were.
#[derive(Debug)]
pub struct Identity {
    registry: Registry,
    lookup: Lookup,
    rotating: Rotating,
    irks: IrkResolver,
    doubles: Doubles,
    settings: IdentitySettings,
}

/// Whose an identifier is.
#[derive(Clone, Copy)]
struct Match {
    target: Target,
    wide_window: bool,
    /// A key was looked at to find it.
    by_key: bool,
    /// What was sent; nothing when the address itself is the identifier.
    sent: Option<Sent>,
}

impl Identity {
    /// Prepares the tables for a registry.
    pub fn new(registry: Registry, settings: IdentitySettings, seed: AddressSeed) -> Self {
        cleanly(|| Self::prepared(registry, settings, seed))
    }

    fn prepared(registry: Registry, settings: IdentitySettings, seed: AddressSeed) -> Self {
        let lookup = cleanly(|| Lookup::new(&registry));
        let rotating = cleanly(|| Rotating::new(&registry, &settings));
        let irks = cleanly(|| IrkResolver::new(&registry, settings, seed));
        Self { registry, lookup, rotating, irks, doubles: Doubles::new(seed), settings }
    }

    /// Replaces the registry. What was learned about addresses is forgotten.
    pub(super) fn replace(&mut self, registry: Registry) {
        self.lookup = cleanly(|| Lookup::new(&registry));
        self.rotating = cleanly(|| self.rotating.rebuilt(&registry, &self.settings));
        self.irks = cleanly(|| self.irks.rebuilt(&registry));
        cleanly(|| self.registry = registry);
    }

    /// Enrols a subject, or replaces what is known of one; tells its place, and whether it is new.
    /// What was learned about identifiers that stay is kept.
    pub(super) fn upsert(
        &mut self,
        subject: Subject,
    ) -> Result<(SubjectIndex, bool), AmbiguousRegistry> {
        cleanly(|| self.enrol(subject))
    }

    fn enrol(&mut self, subject: Subject) -> Result<(SubjectIndex, bool), AmbiguousRegistry> {
        let Upserted { index, before } = self.registry.upsert(subject)?;
        let Self { registry, lookup, rotating, irks, .. } = self;
        let is_new = before.is_none();
        let before: &[Identifier] = before.as_ref().map_or(&[], Leaver::identifiers);
        let after = registry.subject(index).map_or(&[][..], |subject| &subject.identifiers);
        let (old, new): (HashSet<_>, HashSet<_>) =
            (before.iter().collect(), after.iter().collect());
        for identifier in old.difference(&new) {
            lookup.remove(identifier);
            rotating.remove(index, identifier);
            irks.remove(index, identifier);
        }
        for identifier in new.difference(&old) {
            lookup.insert(identifier, Target::Subject(index));
            rotating.insert(index, identifier);
            irks.insert(index, identifier);
        }
        Ok((index, is_new))
    }

    /// Takes a subject out of the registry and of every table, and tells the place it had. Nothing
    /// that was learned about it stays.
    pub(super) fn withdraw(&mut self, name: &Pseudonym) -> Option<SubjectIndex> {
        cleanly(|| self.strike(name))
    }

    fn strike(&mut self, name: &Pseudonym) -> Option<SubjectIndex> {
        let (index, leaver) = self.registry.withdraw(name)?;
        for identifier in leaver.identifiers() {
            self.lookup.remove(identifier);
            self.rotating.remove(index, identifier);
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
    pub(super) fn work(&mut self, now: Uptime, wall: &WallClock) {
        let derived = self.rotating.work(now, wall);
        if self.irks.work(now) || derived {
            forget::burn_stack();
        }
    }

    /// When [`Identity::work`] has something to do.
    pub(super) fn next_work(&self) -> Option<Uptime> {
        [self.rotating.next_work(), self.irks.next_work()].into_iter().flatten().min()
    }

    /// What trying keys has cost so far.
    pub(super) fn effort(&self) -> Effort {
        self.irks.effort()
    }

    /// The registry in force.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What is known beside an advertisement's data.
    pub(super) fn context(&self) -> Context<'static> {
        let IdentitySettings { token_uuid, decoders: own, .. } = self.settings;
        Context { token_uuid, own, ..Context::default() }
    }

    /// How often a subject's identifier came back to an address that it had left.
    pub(super) fn implausible_doubles(&self) -> u64 {
        self.doubles.count()
    }

    /// Says whose advertisement it is, as far as [`Identity::work`] has come, which is to be called
    /// first; and whether it comes from somebody who is enrolled, with a consent that is live or without
    /// one. `frames`, which were read from the data, may be empty: an address alone can be enough.
    pub(super) fn resolve(
        &mut self,
        now: Uptime,
        wall: &WallClock,
        address: DeviceAddress,
        frames: &[Frame<'_>],
        data: &[u8],
    ) -> (Resolution, bool) {
        let found = self.find(now, address, frames, data);
        if found.is_some_and(|found| found.by_key) {
            forget::burn_stack();
        }
        let is_subjects = found.is_some_and(|found| matches!(found.target, Target::Subject(_)));
        let resolution = match found {
            Some(Match { target: Target::Fixture(fixture), .. }) => Resolution::Fixture(fixture),
            Some(Match { target: Target::Subject(subject), wide_window, sent, .. })
                if self.registry.is_live(subject, wall, now) =>
            {
                if let Some(sent) = sent.filter(|_| !address.is_unknown()) {
                    self.doubles.observe(now, subject, sent, address);
                }
                let tag = self.tag(subject, sent, address);
                Resolution::Subject(Recognition { subject, tag, wide_window })
            }
            _ => Resolution::Anonymous,
        };
        (resolution, is_subjects)
    }

    /// Takes in what another gateway resolved, for what it tells of the clock of a fixture's beacon.
    pub(super) fn overhear(&mut self, now: Uptime, frames: &[Frame<'_>]) {
        let eids = frames.iter().filter_map(|frame| match frame {
            Frame::EddystoneEid(eid) => Some(eid.eid),
            _ => None,
        });
        let mut looked = false;
        for eid in eids {
            looked |= self.rotating.by_eid(now, DeviceAddress::UNKNOWN, eid).is_some();
        }
        if looked {
            forget::burn_stack();
        }
    }

    /// What the clock of a fixture's beacon may read, after one of its identifiers was heard.
    pub(super) fn beacon_clock(&self, now: Uptime, fixture: FixtureIndex) -> Option<BeaconClock> {
        self.rotating.seen(fixture)?.clock(now)
    }

    /// Whether an identifier of a fixture's beacon, which only who has its key can make, was heard at
    /// this moment.
    pub(super) fn is_proven(&self, now: Uptime, fixture: FixtureIndex) -> bool {
        self.rotating.seen(fixture).is_some_and(|seen| seen.at == now)
    }

    /// Which of a subject's identifiers was heard: by what was sent, else by the address.
    fn tag(&self, subject: SubjectIndex, sent: Option<Sent>, address: DeviceAddress) -> u8 {
        let identifiers = self.registry.subject(subject).map_or(&[][..], |it| &it.identifiers);
        if identifiers.len() < 2 {
            return 0;
        }
        let octets = address.octets();
        let is_heard = |identifier: &Identifier| match sent {
            Some(sent) => sent.is_of(identifier),
            None => matches!(identifier, Identifier::Address(its) if *its == octets),
        };
        let resolved = |identifier: &Identifier| matches!(identifier, Identifier::Irk(_));
        let place = identifiers.iter().position(is_heard);
        let place = place.or_else(|| identifiers.iter().position(resolved));
        u8::try_from(place.unwrap_or_default()).unwrap_or(u8::MAX)
    }

    /// Not part of its caller, which clears the stack that this uses.
    #[inline(never)]
    fn find(
        &mut self,
        now: Uptime,
        address: DeviceAddress,
        frames: &[Frame<'_>],
        data: &[u8],
    ) -> Option<Match> {
        let plain = |target| Match { target, wide_window: false, by_key: false, sent: None };
        let found = self
            .by_frames(now, address, frames)
            .or_else(|| self.by_uuids(rolling_uuids(data)))
            .or_else(|| self.lookup.by_address(address).map(plain))
            .or_else(|| self.lookup.by_data(data).map(plain))
            .or_else(|| self.rotating.by_company(now, address).map(Target::Fixture).map(plain));
        match found {
            Some(Match { target: Target::Subject(subject), .. }) => {
                self.vouch(now, subject);
                found
            }
            Some(_) => found,
            None => {
                let before = self.irks.effort().checks;
                let subject = self.irks.resolve(now, address)?;
                let by_key = self.irks.effort().checks != before;
                Some(Match { by_key, ..plain(Target::Subject(subject)) })
            }
        }
    }

    fn by_frames(
        &mut self,
        now: Uptime,
        address: DeviceAddress,
        frames: &[Frame<'_>],
    ) -> Option<Match> {
        frames.iter().find_map(|frame| {
            let rotating = match frame {
                Frame::EddystoneEid(eid) => {
                    let found = self.rotating.by_eid(now, address, eid.eid);
                    found.map(|found| (found.whose, found.wide_window))
                }
                Frame::ServiceToken(token) => {
                    let found = self.rotating.by_token(token.token);
                    found.map(|found| (Target::Subject(found.subject), found.wide_window))
                }
                _ => None,
            };
            let (target, wide_window) = match rotating {
                Some(found) => found,
                None => (self.lookup.by_frame(frame)?, false),
            };
            let by_key = rotating.is_some();
            Some(Match { target, wide_window, by_key, sent: Sent::of(frame) })
        })
    }

    fn by_uuids(&self, mut uuids: impl Iterator<Item = [u8; 16]>) -> Option<Match> {
        uuids.find_map(|uuid| {
            let found = self.rotating.by_uuid(uuid)?;
            let (target, wide_window) = (Target::Subject(found.subject), found.wide_window);
            let sent = Some(Sent::RollingUuid(uuid));
            Some(Match { target, wide_window, by_key: true, sent })
        })
    }
}

/// Does something with keys, in a frame of its own, and clears the stack that it used.
fn cleanly<T>(work: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn apart<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    let done = apart(work);
    forget::burn_stack();
    done
}

#[cfg(test)]
mod changes;
#[cfg(test)]
mod forgetting;

/// The place of the first fixture, for tests of the rooms behind this one.
#[cfg(test)]
pub(super) fn first_fixture() -> FixtureIndex {
    FixtureIndex::FIRST
}

//! The identifiers that change with time, and the work of deriving what they are now.
//!
//! What is needed and what will be is derived in slices: one at every call that is due, so that no
//! advertisement waits for more than one. At start, and after the clock was stepped, slices follow
//! each other every millisecond, what is needed now first: a shop's worth of a few dozen keys is
//! complete with the first call, 70,000 keys take about two thousand calls, two to three seconds;
//! until its turn has come, a device is not recognised, and it is heard again a second later.
//! What is built ahead comes every ten milliseconds, and never takes more than a few per cent of a
//! small computer's time.

mod roster;
mod table;

use std::time::Duration;

pub(super) use roster::Roster;
pub(super) use table::Table;

use super::{
    DeviceAddress, FixtureIdentifier, FixtureIndex, Identifier, IdentitySettings, Registry,
    RollingForm, SubjectIndex, Uptime, WallClock,
    company::{Company, Seen},
    eid::{Beaconed, EidTables},
    registry::Target,
    rolling::{Found, Rolling},
};
use crate::{engine::ClockQuality, forget};

/// How many values of each kind are derived in a slice: three HMACs of four blocks each, or four
/// AES key schedules, take a Raspberry Pi 4 two to three microseconds, a slice about a millisecond.
const SLICE: usize = 96;

/// The pause after a slice when more is needed now.
const SOON: Duration = Duration::from_millis(1);

/// The pause after a slice when more will be needed later.
const LATER: Duration = Duration::from_millis(10);

/// Before any time at which anything is done.
const AT_ONCE: Uptime = Uptime::from_micros(i64::MIN);

/// What is left to derive.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Pending {
    /// All is there.
    Nothing,
    /// Only what will be needed later.
    Ahead,
    /// What is needed now.
    Needed,
}

/// Every enrolled identifier that rotates.
#[derive(Debug)]
pub(super) struct Rotating {
    tokens: Rolling,
    uuids: Rolling,
    eids: EidTables,
    /// What fixtures' beacons send beside their identifiers.
    company: Company,
    /// When the next slice is due.
    due: Option<Uptime>,
}

impl Rotating {
    /// Takes in a registry. Nothing is derived yet.
    pub(super) fn new(registry: &Registry, settings: &IdentitySettings) -> Self {
        let (tenant, wide) = (settings.tenant, settings.wide_window);
        let mut rotating = Self {
            tokens: Rolling::new(RollingForm::ServiceToken, tenant, wide),
            uuids: Rolling::new(RollingForm::RollingUuid, tenant, wide),
            eids: EidTables::new(settings.eid_window, wide),
            company: Company::default(),
            due: None,
        };
        for (subject, identifier) in registry.identifiers() {
            rotating.insert(subject, identifier);
        }
        for (index, fixture) in registry.fixtures_by_index() {
            if let FixtureIdentifier::Device(identifier) = &fixture.identifier {
                rotating.insert(index, identifier);
            }
        }
        // The first look at the clock begins it all.
        rotating.due = None;
        rotating
    }

    /// The same for another registry. What was learned about beacons' clocks stays true.
    pub(super) fn rebuilt(&self, registry: &Registry, settings: &IdentitySettings) -> Self {
        let mut rotating = Self::new(registry, settings);
        rotating.eids.learn_from(&self.eids);
        rotating.due = (!rotating.is_empty()).then_some(AT_ONCE);
        rotating
    }

    /// Enrols one identifier of a subject, or that of a fixture; nothing happens when it is none that
    /// rotates.
    pub(super) fn insert(&mut self, whose: impl Into<Target>, identifier: &Identifier) {
        let rotates = matches!(
            identifier,
            Identifier::ServiceToken(_)
                | Identifier::RollingUuid(_)
                | Identifier::EddystoneEid { .. }
        );
        if rotates {
            // Another's key may have been looked at before, and what follows is kept as it is made.
            forget::burn_stack_above();
            self.enter(whose.into(), identifier);
        }
    }

    /// Not part of its caller, which clears the stack that this uses.
    #[inline(never)]
    fn enter(&mut self, whose: Target, identifier: &Identifier) {
        match (*identifier, whose) {
            (Identifier::ServiceToken(key), Target::Subject(subject)) => {
                self.tokens.insert(subject, key);
            }
            (Identifier::RollingUuid(key), Target::Subject(subject)) => {
                self.uuids.insert(subject, key);
            }
            (Identifier::EddystoneEid { identity_key, rotation_exponent, clock_zero }, _) => {
                self.eids.insert(whose, identity_key, rotation_exponent, clock_zero);
            }
            _ => return,
        }
        // What is new is to be derived at once.
        self.due = Some(AT_ONCE);
    }

    /// Withdraws one identifier of a subject. What was derived from it belongs to nobody from now on.
    pub(super) fn remove(&mut self, subject: SubjectIndex, identifier: &Identifier) {
        match *identifier {
            Identifier::ServiceToken(key) => self.tokens.remove(subject, key),
            Identifier::RollingUuid(key) => self.uuids.remove(subject, key),
            Identifier::EddystoneEid { identity_key, .. } => {
                self.eids.remove(subject, identity_key);
            }
            _ => {}
        }
    }

    /// Brings what is derived up to the time, and derives a slice more when one is due. True when
    /// keys were looked at for it. Not part of its caller, so that what was left on the stack can be
    /// cleared from here.
    #[inline(never)]
    pub(super) fn work(&mut self, now: Uptime, wall: &WallClock) -> bool {
        if self.is_empty() {
            self.due = None;
            return false;
        }
        let (unix, synced) = (wall.unix_at(now), wall.quality == ClockQuality::Synced);
        let turned = [
            self.tokens.turn(unix, synced),
            self.uuids.turn(unix, synced),
            self.eids.turn(now, unix, synced),
        ];
        if !turned.contains(&true) && self.due.is_none_or(|due| now < due) {
            return false;
        }
        // What was looked at before may be a stranger's, and the tables last.
        forget::burn_stack();
        let pending = self.tokens.build(SLICE).max(self.uuids.build(SLICE));
        self.due = match pending.max(self.eids.build(SLICE)) {
            Pending::Nothing => None,
            Pending::Ahead => Some(now + LATER),
            Pending::Needed => Some(now + SOON),
        };
        true
    }

    /// When [`Rotating::work`] has something to do although nothing is heard, maybe in the past; what
    /// the clock brings comes with the clock.
    pub(super) fn next_work(&self) -> Option<Uptime> {
        self.due
    }

    /// Whose app sends this token now.
    pub(super) fn by_token(&self, token: [u8; 12]) -> Option<Found> {
        let mut value = [0; 16];
        if let Some(first) = value.first_chunk_mut() {
            *first = token;
        }
        self.tokens.resolve(u128::from_be_bytes(value))
    }

    /// Whose app names this service now.
    pub(super) fn by_uuid(&self, uuid: [u8; 16]) -> Option<Found> {
        self.uuids.resolve(u128::from_be_bytes(uuid))
    }

    /// Whose beacon sends this identifier now. What else comes from the same address is a fixture's, if
    /// that is whose it is.
    pub(super) fn by_eid(
        &mut self,
        now: Uptime,
        address: DeviceAddress,
        eid: [u8; 8],
    ) -> Option<Beaconed> {
        let found = self.eids.resolve(eid)?;
        if let Target::Fixture(index) = found.whose {
            let Beaconed { period, exponent, .. } = found;
            self.company.note(index, address, Seen { at: now, period, exponent });
        }
        Some(found)
    }

    /// The fixture whose beacon's identifier was heard from that address just now.
    pub(super) fn by_company(&self, now: Uptime, address: DeviceAddress) -> Option<FixtureIndex> {
        self.company.whose(now, address)
    }

    /// What was heard last of the identifiers of a fixture's beacon.
    pub(super) fn seen(&self, fixture: FixtureIndex) -> Option<&Seen> {
        self.company.seen(fixture)
    }

    fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.uuids.is_empty() && self.eids.is_empty()
    }
}

#[cfg(test)]
pub(super) mod tests;

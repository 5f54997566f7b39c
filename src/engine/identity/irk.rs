//! Resolvable private addresses: which enrolled key, if any, made this address.
//!
//! Addresses and the passing of time in; a subject, at once or for the next advertisement of the
//! same address, out. Source: Core Specification 5.4, Vol 3 Part H 2.2.2 (`ah`) and Vol 6 Part B
//! 1.3.2.2 (layout). The hash has 24 bits, so strangers match by chance: expected false matches a
//! day = keys x strangers' addresses a day / 2^24.
//!
//! Trying keys is the one thing here whose cost grows with the number of members. So what was found
//! out about an address is remembered; a few keys are tried at once, many in slices; and all of it
//! within a budget of checks a second. What the budget does not reach is counted.

mod budget;
mod keys;
mod members;
mod searches;
mod strangers;

use std::{collections::hash_map::DefaultHasher, hash::Hasher, time::Duration};

use super::{DeviceAddress, Identifier, IdentitySettings, Key, Registry, SubjectIndex, Uptime};
use crate::forget;
use budget::Budget;
use keys::{KeyRing, Probe};
use members::Members;
use searches::{Ended, Found, Searches};
use strangers::{StrangerCache, StrangerRate};

/// Makes the resolver's memory of addresses worthless outside this process. Drawn once at start.
#[derive(Clone, Copy, Default)]
pub struct AddressSeed(u64);

impl AddressSeed {
    /// Wraps a number; outside tests it must be random and is never written down.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Begins a keyed hash.
    pub(super) fn hasher(self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

impl std::fmt::Debug for AddressSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AddressSeed(redacted)")
    }
}

/// What trying keys has cost, and what it has left undone. Counted since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::engine) struct Effort {
    /// Keys tried, each against one address.
    pub(in crate::engine) checks: u64,
    /// Advertisements whose address was not tried, because the budget was spent.
    pub(in crate::engine) untried: u64,
}

/// A resolvable address lives about 15 minutes (Core Specification, Vol 3 Part C, App. A:
/// `T_GAP(private_addr_int)`); nothing is remembered about a stranger's for longer than two of them.
const ADDRESS_LIFE: Duration = Duration::from_mins(15);

/// The number of different hashes (24 bits).
const HASHES: f64 = 16_777_216.0;

/// A phone's new address follows its old one, so the keys that were found last are tried first:
/// as many as a busy shop has members in it at a time.
const RECENT: usize = 128;

/// Recognises addresses made with enrolled keys.
pub(super) struct IrkResolver {
    settings: IdentitySettings,
    seed: AddressSeed,
    keys: KeyRing,
    /// Places of the keys that were found last, at most [`RECENT`], the latest at the end. Not an
    /// array in here: the part of it that is not in use would keep what lay on the stack when it
    /// was made, which is keys.
    recent: Vec<usize>,
    members: Members,
    strangers: StrangerCache,
    rate: StrangerRate,
    searches: Searches,
    budget: Budget,
    effort: Effort,
    /// The keys are not the same as when the strangers and the searches last met them.
    changed: bool,
}

// === impl IrkResolver ===

impl IrkResolver {
    pub(super) fn new(registry: &Registry, settings: IdentitySettings, seed: AddressSeed) -> Self {
        let is_irk = |identifier: &Identifier| matches!(identifier, Identifier::Irk(_));
        let count = registry.identifiers().filter(|(_, identifier)| is_irk(identifier)).count();
        let mut resolver = Self {
            settings,
            seed,
            keys: KeyRing::with_capacity(count),
            recent: Vec::with_capacity(RECENT),
            members: Members::default(),
            strangers: StrangerCache::new(),
            rate: StrangerRate::default(),
            searches: Searches::new(),
            budget: Budget::new(settings.irk_checks_per_second),
            effort: Effort::default(),
            changed: false,
        };
        for (subject, identifier) in registry.identifiers() {
            resolver.insert(subject, identifier);
        }
        resolver
    }

    /// The same for another registry. What was measured and counted stays true.
    pub(super) fn rebuilt(&self, registry: &Registry) -> Self {
        let (rate, effort) = (self.rate.clone(), self.effort);
        Self { rate, effort, ..Self::new(registry, self.settings, self.seed) }
    }

    /// Takes in a subject's key; passes over other identifiers.
    pub(super) fn insert(&mut self, subject: SubjectIndex, identifier: &Identifier) {
        if let Identifier::Irk(key) = identifier {
            self.keys.insert(subject, key);
            self.changed = true;
        }
    }

    /// Takes a subject's key out, and forgets whatever was recognised by the subject's keys.
    pub(super) fn remove(&mut self, subject: SubjectIndex, identifier: &Identifier) {
        let Identifier::Irk(key) = identifier else { return };
        if let Some(place) = self.keys.remove(subject, key) {
            let moved = self.keys.len();
            self.recent.retain(|recent| *recent != place);
            for recent in self.recent.iter_mut().filter(|recent| **recent == moved) {
                *recent = place;
            }
        }
        self.members.forget(subject);
        self.changed = true;
    }

    /// Whose address it is. `None` for strangers, for matches that still want confirming, and while
    /// the address is being looked for.
    pub(super) fn resolve(&mut self, now: Uptime, address: DeviceAddress) -> Option<SubjectIndex> {
        if self.keys.is_empty() || !address.is_resolvable() {
            return None;
        }
        self.take_over_keys();
        let fingerprint = self.fingerprint(address);
        if let Some(subject) = self.members.find(now, fingerprint) {
            return self.is_trusted(subject, now).then_some(subject);
        }
        if self.strangers.contains(now, fingerprint) || self.searches.contains(fingerprint) {
            return None;
        }
        self.budget.top_up(now);
        let found = self.search(fingerprint, Probe::of(address))?;
        let subject = self.conclude(now, Ended { fingerprint, found })?;
        self.is_trusted(subject, now).then_some(subject)
    }

    /// The subject was recognised beyond doubt by another identifier.
    pub(super) fn confirm(&mut self, now: Uptime, subject: SubjectIndex) {
        if !self.keys.is_empty() {
            self.members.confirm(now, subject);
        }
    }

    /// Goes on with the searches that were not ended at once, for one slice. True when keys were
    /// tried.
    pub(super) fn work(&mut self, now: Uptime) -> bool {
        if self.searches.is_empty() {
            return false;
        }
        self.take_over_keys();
        self.budget.top_up(now);
        let allowed = self.slice();
        let tries = self.budget.spend_spare(allowed);
        if tries {
            let (made, ended) = self.searches.advance(&self.keys, allowed);
            self.count(made);
            for ended in ended {
                self.conclude(now, ended);
            }
        }
        tries
    }

    /// When [`IrkResolver::work`] has something to do and the budget for it.
    pub(super) fn next_work(&self) -> Option<Uptime> {
        (!self.searches.is_empty()).then(|| self.budget.spare_at(self.slice()))
    }

    /// What trying keys has cost so far.
    pub(super) fn effort(&self) -> Effort {
        self.effort
    }

    /// How much is done of what waits, in one call.
    fn slice(&self) -> usize {
        self.budget.slice().min(self.searches.checks_left())
    }

    /// Looks for an address at once, if that is little work, or lets it wait for its turn.
    fn search(&mut self, fingerprint: u64, probe: Probe) -> Option<Found> {
        let keys = self.keys.len();
        if keys <= self.budget.slice() && self.budget.spend(keys) {
            self.count(keys);
            let mut found = Found::Nobody;
            self.keys.try_range(0..keys, &[probe], |_, place| {
                found = found.and(place, &self.keys);
            });
            return Some(found);
        }
        // That another key fits as well has odds of keys / 2^24, one in 1,700 for 10,000 keys; and
        // then it is still more likely the one who was here a moment ago.
        if self.budget.spend(self.recent.len()) {
            self.count(self.recent.len());
            let latest_first = self.recent.iter().rev().copied();
            if let Some(place) = self.keys.try_places(latest_first, probe) {
                return Some(Found::At(place));
            }
        }
        // Nobody's address is held for much longer than a second.
        let waits = self.searches.checks_left().saturating_add(keys);
        let in_time = self.searches.is_empty() || waits <= self.budget.per_second();
        if !in_time || !self.searches.push(fingerprint, probe, keys) {
            self.effort.untried += 1;
        }
        None
    }

    /// Remembers what came of a search.
    fn conclude(&mut self, now: Uptime, ended: Ended) -> Option<SubjectIndex> {
        let place = match ended.found {
            Found::At(place) => Some(place),
            Found::Nobody | Found::TooMany => None,
        };
        let Some((place, subject)) = place.and_then(|at| Some((at, self.keys.owner(at)?))) else {
            if self.strangers.insert(now, ended.fingerprint) {
                self.rate.count(now);
            }
            return None;
        };
        self.recent.retain(|recent| *recent != place);
        if self.recent.len() >= RECENT {
            self.recent.remove(0);
        }
        self.recent.push(place);
        // Keys were tried, and what is remembered now lasts.
        forget::burn_stack();
        self.members.note(now, ended.fingerprint, subject);
        Some(subject)
    }

    /// Whether a match may be believed now.
    fn is_trusted(&self, subject: SubjectIndex, now: Uptime) -> bool {
        let strangers = self.rate.per_day(now, self.settings.irk_strangers_per_day);
        #[expect(clippy::cast_precision_loss, reason = "there are far fewer than 2^52 keys")]
        let expected = self.keys.len() as f64 * strangers / HASHES;
        expected < self.settings.irk_max_false_per_day || self.members.is_confirmed(now, subject)
    }

    /// After a change of the keys, whoever was a stranger may be none, and no search is right that
    /// is under way.
    fn take_over_keys(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.strangers.try_again();
            self.searches.restart(self.keys.len());
        }
    }

    fn count(&mut self, checks: usize) {
        self.effort.checks += u64::try_from(checks).unwrap_or(u64::MAX);
    }

    fn fingerprint(&self, address: DeviceAddress) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed.0);
        hasher.write(&address.octets());
        hasher.finish()
    }
}

impl std::fmt::Debug for IrkResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IrkResolver").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

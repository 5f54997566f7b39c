//! Everyone and everything that can be recognised, in slots that keep their number.
//!
//! Subjects in, one at a time or all at once; who is behind a [`SubjectIndex`], a pseudonym or an
//! identifier out. Promises: no two entries can be confused; a change that is refused changes
//! nothing; what leaves is overwritten.
//!
//! For 100,000 subjects the two indexes hold slot numbers and hashes and no second copy of a name
//! or a key: 5 and 12 octets a place, so about 3 MB together.

use std::{
    collections::{HashMap, HashSet, hash_map::DefaultHasher},
    hash::{BuildHasher, BuildHasherDefault},
    sync::Arc,
};

use hashbrown::HashTable;
use zeroize::Zeroize;

use crate::engine::{Uptime, WallClock};

use super::{
    AmbiguousRegistry, ConsentLedger, Fixture, FixtureIdentifier, FixtureIndex, Identifier,
    Pseudonym, Subject, SubjectIndex, Target,
};

/// Everyone and everything that can be recognised.
#[derive(Debug, Default)]
pub struct Registry {
    /// A slot is empty once its subject was withdrawn, until somebody else gets it. Each lies in a
    /// block of its own, which is cleared when it is given back: what is moved out of a slot leaves
    /// its octets there, and takes along what lay on the stack.
    subjects: Vec<Option<Box<Subject>>>,
    /// The empty slots.
    free: Vec<SubjectIndex>,
    fixtures: Vec<Fixture>,
    /// The slots by their subject's pseudonym.
    names: HashTable<SubjectIndex>,
    /// Whose device it is, by its identifier.
    devices: HashTable<Owner>,
}

/// A registry in the making: subjects come one by one, so that a chain's are never held twice.
#[derive(Debug, Default)]
pub struct RegistryBuilder {
    registry: Registry,
    /// Many grants have one proof, such as the edition of a form: it is kept once.
    proofs: HashSet<Arc<str>>,
}

/// Whose device it is. Which of the owner's identifiers this stands for, only the hash knows.
#[derive(Clone, Copy, Debug)]
struct Owner {
    target: Target,
    hash: u32,
}

/// A subject was enrolled, or changed.
#[derive(Debug)]
pub(in crate::engine::identity) struct Upserted {
    /// The subject's slot.
    pub(in crate::engine::identity) index: SubjectIndex,
    /// What was known before, of somebody who was enrolled already.
    pub(in crate::engine::identity) before: Option<Leaver>,
}

/// A subject that is not in the registry any more. Its identifiers are overwritten on drop.
#[derive(Debug)]
pub(in crate::engine::identity) struct Leaver(Box<Subject>);

/// What is hashed comes from elsewhere, so that the hash must be hard to steer.
const HASHER: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::new();

// === impl Registry ===

impl Registry {
    /// Checks that no two entries can be confused.
    pub fn new(subjects: Vec<Subject>, fixtures: Vec<Fixture>) -> Result<Self, AmbiguousRegistry> {
        let mut builder = RegistryBuilder::default();
        subjects.into_iter().try_for_each(|subject| builder.enrol(subject))?;
        builder.finish(fixtures)
    }

    /// How many subjects are enrolled.
    pub fn subject_count(&self) -> usize {
        self.subjects.len() - self.free.len()
    }

    /// How many fixtures are configured.
    pub fn fixture_count(&self) -> usize {
        self.fixtures.len()
    }

    /// Everyone enrolled, in no particular order.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.subjects.iter().flatten().map(AsRef::as_ref)
    }

    /// Everything configured.
    pub fn fixtures(&self) -> &[Fixture] {
        &self.fixtures
    }

    /// Everything configured, with its place.
    pub fn fixtures_by_index(&self) -> impl Iterator<Item = (FixtureIndex, &Fixture)> {
        (0..).map(FixtureIndex).zip(&self.fixtures)
    }

    /// One subject.
    pub fn subject(&self, index: SubjectIndex) -> Option<&Subject> {
        self.subjects.get(index.0 as usize)?.as_deref()
    }

    /// One fixture.
    pub fn fixture(&self, index: FixtureIndex) -> Option<&Fixture> {
        self.fixtures.get(index.0 as usize)
    }

    /// The fixture of that name, and its place.
    pub fn fixture_named(&self, id: &str) -> Option<(FixtureIndex, &Fixture)> {
        let (place, fixture) = (0..).zip(&self.fixtures).find(|(_, fixture)| fixture.id == id)?;
        Some((FixtureIndex(place), fixture))
    }

    /// The subject of that name.
    pub fn by_pseudonym(&self, name: &str) -> Option<SubjectIndex> {
        let named = |index: &SubjectIndex| self.name(*index) == Some(name);
        self.names.find(HASHER.hash_one(name), named).copied()
    }

    /// True while any purpose of the subject's consent is live.
    pub fn is_live(&self, subject: SubjectIndex, wall: &WallClock, at: Uptime) -> bool {
        self.subject(subject).is_some_and(|subject| !subject.purposes_made_at(wall, at).is_empty())
    }

    /// Who agreed to what, without identifiers.
    pub fn ledger(&self) -> ConsentLedger {
        let grants =
            self.subjects().map(|subject| (subject.pseudonym.clone(), subject.consent.clone()));
        ConsentLedger::new(grants)
    }

    /// Every subject's identifiers.
    pub(in crate::engine::identity) fn identifiers(
        &self,
    ) -> impl Iterator<Item = (SubjectIndex, &Identifier)> {
        (0..).map(SubjectIndex).zip(&self.subjects).flat_map(|(index, subject)| {
            let identifiers = subject.iter().flat_map(|subject| &subject.identifiers);
            identifiers.map(move |identifier| (index, identifier))
        })
    }

    /// Enrols a subject, or replaces what is known of one that keeps its slot.
    pub(in crate::engine::identity) fn upsert(
        &mut self,
        mut subject: Subject,
    ) -> Result<Upserted, AmbiguousRegistry> {
        subject.identifiers.shrink_to_fit();
        match self.by_pseudonym(subject.pseudonym.as_str()) {
            Some(index) => self.change(index, subject),
            None => self.add(subject),
        }
    }

    /// Takes a subject out. Its slot may be somebody else's from the next change on.
    pub(in crate::engine::identity) fn withdraw(
        &mut self,
        name: &Pseudonym,
    ) -> Option<(SubjectIndex, Leaver)> {
        let index = self.by_pseudonym(name.as_str())?;
        let hash = HASHER.hash_one(name.as_str());
        if let Ok(entry) = self.names.find_entry(hash, |named| *named == index) {
            entry.remove();
        }
        Some((index, self.vacate(index, usize::MAX)?))
    }

    fn add(&mut self, subject: Subject) -> Result<Upserted, AmbiguousRegistry> {
        let hash = HASHER.hash_one(subject.pseudonym.as_str());
        let index = self.free.pop().unwrap_or_else(|| {
            if self.subjects.len() == self.subjects.capacity() {
                // By an eighth: twice the room would be half of it empty.
                self.subjects.reserve_exact(self.subjects.len() / 8 + 8);
            }
            self.subjects.push(None);
            SubjectIndex(slot_number(self.subjects.len() - 1))
        });
        if let Some(slot) = self.subjects.get_mut(index.0 as usize) {
            *slot = Some(Box::new(subject));
        }
        if let Err(ambiguous) = self.claim(Target::Subject(index)) {
            self.vacate(index, 0);
            return Err(ambiguous);
        }
        let subjects = &self.subjects;
        self.names.insert_unique(hash, index, |index| {
            let subject = subjects.get(index.0 as usize).and_then(Option::as_ref);
            subject.map_or(0, |subject| HASHER.hash_one(subject.pseudonym.as_str()))
        });
        Ok(Upserted { index, before: None })
    }

    fn change(
        &mut self,
        index: SubjectIndex,
        subject: Subject,
    ) -> Result<Upserted, AmbiguousRegistry> {
        let target = Target::Subject(index);
        self.release(target, usize::MAX);
        let before = self.exchange(index, Box::new(subject));
        match self.claim(target) {
            Ok(()) => Ok(Upserted { index, before: before.map(Leaver) }),
            Err(ambiguous) => {
                if let Some(before) = before {
                    drop(self.exchange(index, before).map(Leaver));
                    // They were this subject's a moment ago, so nobody else has them.
                    self.claim(target)?;
                }
                Err(ambiguous)
            }
        }
    }

    fn exchange(&mut self, index: SubjectIndex, subject: Box<Subject>) -> Option<Box<Subject>> {
        self.subjects.get_mut(index.0 as usize)?.replace(subject)
    }

    /// Empties a slot whose first `claimed` identifiers are in the index.
    fn vacate(&mut self, index: SubjectIndex, claimed: usize) -> Option<Leaver> {
        self.release(Target::Subject(index), claimed);
        let leaver = self.subjects.get_mut(index.0 as usize)?.take()?;
        self.free.push(index);
        Some(Leaver(leaver))
    }

    /// Notes that an entry's identifiers are its own. On a conflict none of them is.
    fn claim(&mut self, target: Target) -> Result<(), AmbiguousRegistry> {
        for number in 0.. {
            let Some(identifier) = self.identifiers_of(target).get(number).copied() else { break };
            let hash = hash_of(identifier);
            let holds = |owner: &Owner| owner.hash == hash && self.has(owner.target, identifier);
            if let Some(owner) = self.devices.find(spread(hash), holds) {
                let ambiguous = AmbiguousRegistry::Identifier {
                    first: self.name_of(owner.target),
                    second: self.name_of(target),
                    kind: identifier.kind(),
                };
                self.release(target, number);
                return Err(ambiguous);
            }
            let owner = Owner { target, hash };
            self.devices.insert_unique(spread(hash), owner, |owner| spread(owner.hash));
        }
        Ok(())
    }

    /// Forgets that an entry's first identifiers are its own.
    fn release(&mut self, target: Target, count: usize) {
        for number in 0..count {
            let Some(identifier) = self.identifiers_of(target).get(number) else { break };
            let hash = hash_of(*identifier);
            let its = |owner: &Owner| owner.hash == hash && owner.target == target;
            if let Ok(entry) = self.devices.find_entry(spread(hash), its) {
                entry.remove();
            }
        }
    }

    fn identifiers_of(&self, target: Target) -> &[Identifier] {
        match target {
            Target::Subject(index) => {
                self.subject(index).map_or(&[], |subject| &subject.identifiers)
            }
            Target::Fixture(index) => {
                let identifier = self.fixture(index).map(|fixture| &fixture.identifier);
                match identifier {
                    Some(FixtureIdentifier::Device(identifier)) => std::slice::from_ref(identifier),
                    _ => &[],
                }
            }
        }
    }

    fn has(&self, target: Target, identifier: Identifier) -> bool {
        let device = identifier.device();
        self.identifiers_of(target).iter().any(|other| other.device() == device)
    }

    fn name(&self, index: SubjectIndex) -> Option<&str> {
        self.subject(index).map(|subject| subject.pseudonym.as_str())
    }

    fn name_of(&self, target: Target) -> String {
        let name = match target {
            Target::Subject(index) => self.name(index),
            Target::Fixture(index) => self.fixture(index).map(|fixture| fixture.id.as_str()),
        };
        name.unwrap_or_default().to_owned()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.subjects.iter_mut().flatten().for_each(|subject| subject.scrub());
        for fixture in &mut self.fixtures {
            if let FixtureIdentifier::Device(identifier) = &mut fixture.identifier {
                identifier.zeroize();
            }
        }
    }
}

// === impl RegistryBuilder ===

impl RegistryBuilder {
    /// Takes in a subject. After an error the rest is worth nothing.
    pub fn enrol(&mut self, mut subject: Subject) -> Result<(), AmbiguousRegistry> {
        if let Some(consent) = &mut subject.consent {
            match self.proofs.get(&consent.proof) {
                Some(proof) => consent.proof = Arc::clone(proof),
                None => drop(self.proofs.insert(Arc::clone(&consent.proof))),
            }
        }
        if self.registry.by_pseudonym(subject.pseudonym.as_str()).is_some() {
            return Err(AmbiguousRegistry::Pseudonym(subject.pseudonym.to_string()));
        }
        self.registry.upsert(subject).map(drop)
    }

    /// Takes in the fixtures, and that is all.
    pub fn finish(self, fixtures: Vec<Fixture>) -> Result<Registry, AmbiguousRegistry> {
        let mut registry = self.registry;
        let mut ids = HashSet::new();
        for fixture in &fixtures {
            if !ids.insert(&fixture.id) {
                return Err(AmbiguousRegistry::FixtureId(fixture.id.clone()));
            }
        }
        let mut others: HashMap<&FixtureIdentifier, &str> = HashMap::new();
        for fixture in &fixtures {
            // Those that a person's device may have, too, are compared with all others below.
            let is_own = matches!(
                fixture.identifier,
                FixtureIdentifier::Name(_) | FixtureIdentifier::Serial(_)
            );
            if is_own && let Some(first) = others.insert(&fixture.identifier, &fixture.id) {
                return Err(AmbiguousRegistry::Identifier {
                    first: first.to_owned(),
                    second: fixture.id.clone(),
                    kind: fixture.identifier.kind(),
                });
            }
        }
        registry.fixtures = fixtures;
        for number in 0..registry.fixtures.len() {
            registry.claim(Target::Fixture(FixtureIndex(slot_number(number))))?;
        }
        Ok(registry)
    }
}

// === impl Leaver ===

impl Leaver {
    /// How the subject was recognised.
    pub(in crate::engine::identity) fn identifiers(&self) -> &[Identifier] {
        &self.0.identifiers
    }
}

impl Drop for Leaver {
    fn drop(&mut self) {
        self.0.scrub();
    }
}

/// A slot's number. A gateway's memory ends long before the numbers do.
fn slot_number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;

/// Half of the hash is as good as the whole, and half as large.
fn hash_of(identifier: Identifier) -> u32 {
    let hash = HASHER.hash_one(identifier.device());
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default()
}

/// The table looks at the lowest and at the highest bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

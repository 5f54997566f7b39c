//! The registry at rest: subjects and withdrawals in, sealed in a sled store of their own; subjects
//! out, to whoever has the key.
//!
//! The store lies in `{state_dir}/registry`. Whoever reads or changes it opens it for a moment and
//! closes it again, so that the daemon and the command line can both; [`stamp`] tells the one that
//! the other changed something. It promises that
//!
//! - a change is on the disk, all of it, when its call returns; after a crash in between there is
//!   all of it or nothing. Single changes are one batch; a new generation, which an import, a
//!   snapshot, and new keys make, is written beside the old and takes its place in one step;
//! - without the key the disk shows how many are enrolled and how many withdrew, and nothing about
//!   whom. A value that was altered or moved is noticed, and its subject is not recognised;
//! - who withdrew, or was enrolled differently before, can no longer be read from the disk's blocks,
//!   even with the key: their salt is overwritten (see `salts`). What remains is a keyed hash of the
//!   pseudonym, with the time, so that no older file enrols them again;
//! - a registry that is lost is never an empty one: it is an error until another takes its place.
//!
//! What it cannot notice is a disk that is put back whole to an earlier state, with its key.

mod contents;
mod error;
mod generation;
mod layout;
mod place;
mod plain;
mod rotate;
mod salts;

#[cfg(test)]
mod tests;

pub use error::RegistryStoreError;
pub use layout::MAX_PLATFORM_STATE;
pub use place::stamp;
pub use rotate::Rotation;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use tracing::error;

use crate::{
    clock::Clock,
    engine::{ClockQuality, Pseudonym, Subject, UnixTime},
    seal::{KeySource, SealError, Sealer},
};
use contents::{Contents, Item};
use error::Cause as Why;
use generation::{Generation, Survey, Trouble};
use layout::{HEAD, Hash, Head, LAYOUT, META, Meta, SUBJECT, Tombstone};
use place::{Place, at};

/// Up to this many changes are made in place; more are cheaper, and as safe, as a new generation.
const MOST_IN_PLACE: usize = 256;

/// The registry's store, open. Others wait until it is dropped, so do not keep it.
pub struct RegistryStore {
    // Dropped in this order: the lock on the directory goes last.
    generation: Generation,
    meta: Meta,
    keys: BTreeSet<u32>,
    sealer: Sealer,
    /// Whether a store was lost, and this one has not taken its place yet.
    lost: bool,
    clock: Clock,
    place: Place,
}

/// One change of who is enrolled.
#[derive(Clone, Debug)]
pub enum Change {
    /// Enrols somebody, or replaces everything that was known about them. Said expressly, so it
    /// counts also after a withdrawal.
    Upsert(Subject),
    /// Forgets somebody, and remembers that they withdrew.
    Withdraw(Pseudonym),
}

/// Who enrolled a subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// A file, by the command line.
    File,
    /// The platform, by a command.
    Platform,
}

/// On whose behalf something is changed, and what is to be remembered with the change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// Who enrols.
    pub source: Source,
    /// The number of the platform's command, if it is one: the last one that was applied.
    pub command: Option<u64>,
    /// Takes the place of what [`RegistryStore::platform`] gives, at most [`MAX_PLATFORM_STATE`].
    pub platform: Option<Vec<u8>>,
    /// Whether a replacement enrols also those who withdrew: they agreed anew, somebody says.
    pub again: bool,
}

/// What a change did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    /// Subjects that were not enrolled before.
    pub added: u64,
    /// Subjects that were enrolled already.
    pub updated: u64,
    /// Subjects that are no longer enrolled because they withdrew.
    pub withdrawn: u64,
    /// Withdrawals of subjects that were not enrolled; they are remembered like the others.
    pub unknown: u64,
}

/// What a replacement did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Replaced {
    /// How many of those given are now enrolled.
    pub enrolled: u64,
    /// How many are no longer enrolled, without having withdrawn.
    pub removed: u64,
    /// How many stay because somebody else enrolled them: a snapshot leaves what came from files,
    /// and a file what came from the platform.
    pub kept: u64,
    /// Those given that withdrew, and were therefore passed over.
    pub passed_over: Vec<Pseudonym>,
}

/// A withdrawal that is remembered. Whose it is can be asked, not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Withdrawal {
    /// When it reached this gateway; `None` when it can no longer be read.
    pub when: Option<UnixTime>,
    /// How far the clock could be trusted then.
    pub clock: ClockQuality,
    /// The command of the platform, if it came by one.
    pub command: Option<u64>,
}

/// Where the registry stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Version {
    /// Which generation it is, from 1: how often it was written anew.
    pub generation: u64,
    /// How often it was changed.
    pub changes: u64,
    /// The last command of the platform that was applied.
    pub command: Option<u64>,
    /// How many subjects are enrolled.
    pub subjects: u64,
    /// How many withdrawals are remembered.
    pub withdrawn: u64,
    /// The number of the key that new values are sealed with.
    pub key: u32,
}

/// Everyone who is enrolled.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The subjects, in no particular order.
    pub subjects: Vec<Subject>,
    /// How many entries could not be read: damaged. They are not recognised.
    pub unreadable: u64,
}

/// What going through all of a store found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Verified {
    /// Subjects that can be read.
    pub subjects: u64,
    /// Withdrawals that can be read.
    pub withdrawn: u64,
    /// Values that cannot be read.
    pub unreadable: u64,
    /// Values that should be there and are not.
    pub missing: u64,
}

/// What to do when there is no store.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Absent {
    /// Nothing.
    Leave,
    /// Begin one, unless one was lost.
    Begin,
    /// Begin one also after a loss.
    BeginAfterLoss,
}

// === impl RegistryStore ===

impl RegistryStore {
    /// Opens the registry in a state directory; begins an empty one, and makes a key if there is
    /// none, where there was never a registry. Waits up to half a minute for another process.
    ///
    /// A store that cannot be read is set aside, which is an error, now and each time until another
    /// has taken its place.
    pub fn open(
        state_dir: &Path,
        keys: &KeySource,
        clock: Clock,
    ) -> Result<Self, RegistryStoreError> {
        let place = Place::enter(state_dir)?;
        Self::enter(place, state_dir, keys, clock, Absent::Begin)
    }

    /// Like [`Self::open`], also where a registry was lost. It is empty, and stays an error to
    /// everybody else until [`Self::replace`] has filled it.
    pub fn open_after_loss(
        state_dir: &Path,
        keys: &KeySource,
        clock: Clock,
    ) -> Result<Self, RegistryStoreError> {
        let place = Place::enter(state_dir)?;
        Self::enter(place, state_dir, keys, clock, Absent::BeginAfterLoss)
    }

    /// Opens the registry if there is one; makes nothing, and sets nothing aside.
    pub fn open_existing(
        state_dir: &Path,
        keys: &KeySource,
        clock: Clock,
    ) -> Result<Option<Self>, RegistryStoreError> {
        let Some(place) = Place::enter_existing(state_dir)? else { return Ok(None) };
        if place.lost()?.is_none() && place.live()?.is_none() {
            return Ok(None);
        }
        Self::enter(place, state_dir, keys, clock, Absent::Leave).map(Some)
    }

    fn enter(
        place: Place,
        state_dir: &Path,
        keys: &KeySource,
        clock: Clock,
        absent: Absent,
    ) -> Result<Self, RegistryStoreError> {
        let lost = place.lost()?;
        if let (Some(why), false) = (&lost, absent == Absent::BeginAfterLoss) {
            return Err(RegistryStoreError::Lost { dir: place.dir.clone(), why: why.clone() });
        }
        if let Some(number) = place.live()? {
            return Self::adopt(place, (number, absent), keys, clock, lost.is_some());
        }
        let sealer = keys.load_or_make()?.sealer;
        let mut meta = Meta::new(&sealer).map_err(RegistryStoreError::Seal)?;
        meta.changes = stamp(state_dir).unwrap_or_default();
        let number = place.next_after_loss()?;
        let empty = Contents::empty();
        let (generation, _) =
            contents::write(&place, (None, number), &empty, &mut meta, &sealer, &mut |_| ())?;
        place.clean(number);
        let keys = BTreeSet::from([sealer.current()]);
        Ok(Self { generation, meta, keys, sealer, lost: lost.is_some(), clock, place })
    }

    fn adopt(
        place: Place,
        (number, absent): (u64, Absent),
        keys: &KeySource,
        clock: Clock,
        lost: bool,
    ) -> Result<Self, RegistryStoreError> {
        let opened = match Generation::open(&place.store(number), number) {
            Ok(generation) => read_through(generation, &place.dir, keys),
            Err(trouble) => Err(trouble),
        };
        let (generation, meta, survey, sealer) = match opened {
            Ok(opened) => opened,
            Err(Trouble::Around(error)) => return Err(error),
            Err(Trouble::Store(source)) if absent == Absent::Leave => {
                return Err(RegistryStoreError::Unreadable { dir: place.dir.clone(), source });
            }
            Err(Trouble::Store(why)) => return Err(set_aside(&place, number, clock, why)),
        };
        place.clean(number);
        Ok(Self { generation, meta, keys: survey.keys, sealer, lost, clock, place })
    }

    /// Everyone who is enrolled. `progress` is told how many were read so far.
    pub fn load(&self, progress: &mut dyn FnMut(u64)) -> Result<Loaded, RegistryStoreError> {
        let count = usize::try_from(self.meta.subjects).unwrap_or_default();
        let mut subjects = Vec::with_capacity(count);
        let unreadable = self.for_each(&mut |subject, _| {
            subjects.push(subject);
            progress(u64::try_from(subjects.len()).unwrap_or(u64::MAX));
        })?;
        if unreadable > 0 {
            error!(
                entries = unreadable,
                "Entries of the registry cannot be read; those subjects are not recognised until \
                 they are enrolled again. See `beacon-gateway registry verify`."
            );
        }
        Ok(Loaded { subjects, unreadable })
    }

    /// Hands over everyone who is enrolled, with who enrolled them. Returns how many entries could
    /// not be read.
    pub fn for_each(
        &self,
        take: &mut dyn FnMut(Subject, Source),
    ) -> Result<u64, RegistryStoreError> {
        let mut unreadable = 0;
        for item in self.generation.scan(SUBJECT) {
            let (key, value) = item?;
            let opened = Hash::of_key(&key).and_then(|hash| self.subject(hash, &value));
            match opened {
                Some((subject, source)) => take(subject, source),
                None => unreadable += 1,
            }
        }
        Ok(unreadable)
    }

    /// Hands over everyone who is enrolled, each as a line of the registry file that
    /// [`subject_from_line`](crate::registry::subject_from_line) reads. Returns how many entries could not be unsealed.
    pub fn for_each_line(&self, take: &mut dyn FnMut(&[u8])) -> Result<u64, RegistryStoreError> {
        let mut unreadable = 0;
        for item in self.generation.scan(SUBJECT) {
            let (key, value) = item?;
            let opened = Hash::of_key(&key)
                .and_then(|hash| plain::open(&self.generation, hash, &value, &self.sealer).ok());
            match opened {
                Some(plain) => take(plain::line(&plain)),
                None => unreadable += 1,
            }
        }
        Ok(unreadable)
    }

    /// One subject, and who enrolled it; `None` when it is not enrolled, or cannot be read.
    pub fn get(&self, pseudonym: &str) -> Result<Option<(Subject, Source)>, RegistryStoreError> {
        let hash = self.meta.hash(pseudonym);
        let value = self.generation.get(&hash.subject())?;
        Ok(value.and_then(|value| self.subject(hash, &value)))
    }

    fn subject(&self, hash: Hash, value: &[u8]) -> Option<(Subject, Source)> {
        let plain = plain::open(&self.generation, hash, value, &self.sealer).ok()?;
        plain::decode(&plain)
    }

    /// Whether somebody withdrew, and has not been enrolled expressly since.
    pub fn withdrawal(&self, pseudonym: &str) -> Result<Option<Withdrawal>, RegistryStoreError> {
        let hash = self.meta.hash(pseudonym);
        let Some(value) = self.generation.get(&hash.tombstone())? else { return Ok(None) };
        let opened = Tombstone::open(&value, self.generation.number, hash, &self.sealer);
        Ok(Some(opened.map_or(Withdrawal::UNREADABLE, Withdrawal::from)))
    }

    /// All withdrawals that are remembered.
    pub fn withdrawn(&self) -> Result<Vec<Withdrawal>, RegistryStoreError> {
        let tombstones = contents::tombstones(&self.generation, &self.sealer)?;
        Ok(tombstones.into_values().map(Withdrawal::from).collect())
    }

    /// What whoever takes the platform's commands has remembered here; empty at first.
    pub fn platform(&self) -> &[u8] {
        &self.meta.platform
    }

    /// Where the registry stands.
    pub fn version(&self) -> Version {
        Version {
            generation: self.generation.number,
            changes: self.meta.changes,
            command: self.meta.command,
            subjects: self.meta.subjects,
            withdrawn: self.meta.withdrawn,
            key: self.sealer.current(),
        }
    }

    /// Opens every value. `progress` is told how many were read so far.
    pub fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<Verified, RegistryStoreError> {
        let mut found = Verified::default();
        let mut subjects = 0;
        for item in self.generation.scan(SUBJECT) {
            let (key, value) = item?;
            let hash = Hash::of_key(&key);
            let opened = hash.and_then(|hash| self.subject(hash, &value));
            let named = opened.map(|(subject, _)| self.meta.hash(subject.pseudonym.as_str()));
            if named.is_some() && named == hash {
                found.subjects += 1;
            } else {
                found.unreadable += 1;
            }
            subjects += 1;
            progress(subjects);
        }
        for item in self.generation.scan(layout::TOMBSTONE) {
            let (key, value) = item?;
            let opened = Hash::of_key(&key).and_then(|hash| {
                Tombstone::open(&value, self.generation.number, hash, &self.sealer).ok()
            });
            if opened.is_some() {
                found.withdrawn += 1;
            } else {
                found.unreadable += 1;
            }
        }
        let read = found.subjects + found.withdrawn + found.unreadable;
        found.missing = (self.meta.subjects + self.meta.withdrawn).saturating_sub(read);
        Ok(found)
    }

    /// Makes changes, all of them or none. Of several about one subject the last counts. An empty
    /// list only remembers what the order says.
    pub fn apply(
        &mut self,
        changes: &[Change],
        order: &Order,
    ) -> Result<Applied, RegistryStoreError> {
        self.apply_with(changes, order, &mut |_| ())
    }

    /// Like [`Self::apply`], for very many: `progress` is told how many entries were written.
    pub fn apply_with(
        &mut self,
        changes: &[Change],
        order: &Order,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Applied, RegistryStoreError> {
        let meta = self.ordered(order)?;
        let mut last = BTreeMap::new();
        for change in changes {
            let hash = meta.hash(change.pseudonym().as_str());
            last.insert(hash, change);
        }
        let mut applied = Applied::default();
        for (hash, change) in &last {
            let known = self.generation.get(&hash.subject())?.is_some();
            *match (change, known) {
                (Change::Upsert(_), true) => &mut applied.updated,
                (Change::Upsert(_), false) => &mut applied.added,
                (Change::Withdraw(_), true) => &mut applied.withdrawn,
                (Change::Withdraw(_), false) => &mut applied.unknown,
            } += 1;
        }
        if last.len() <= MOST_IN_PLACE {
            self.apply_in_place(&last, order, meta)?;
        } else {
            let mut contents = Contents::of(&self.generation, &self.sealer)?;
            let tombstone = Tombstone::new(&self.clock.wall(), order.command);
            for (hash, change) in last {
                match change {
                    Change::Upsert(subject) => {
                        contents.subjects.insert(hash, Item::Given(subject, order.source));
                        contents.tombstones.remove(&hash);
                    }
                    Change::Withdraw(_) => {
                        contents.subjects.remove(&hash);
                        contents.tombstones.insert(hash, tombstone);
                    }
                }
            }
            self.write(&contents, meta, progress)?;
        }
        Ok(applied)
    }

    fn apply_in_place(
        &mut self,
        changes: &BTreeMap<Hash, &Change>,
        order: &Order,
        mut meta: Meta,
    ) -> Result<(), RegistryStoreError> {
        let mut plains = BTreeMap::new();
        for (&hash, change) in changes {
            if let Change::Upsert(subject) = change {
                plains.insert(hash, plain::encode(subject, order.source)?);
            }
        }
        let Self { generation, sealer, .. } = self;
        let mut slots = generation.with_salts(|salts| salts.take(plains.len(), sealer))?;
        let tombstone = Tombstone::new(&self.clock.wall(), order.command);
        let number = generation.number;
        let mut batch = sled::Batch::default();
        let mut stale = Vec::new();
        for &hash in changes.keys() {
            let before = generation.get(&hash.subject())?;
            stale.extend(
                before.as_ref().and_then(|value| layout::split_subject(value)).map(|it| it.0),
            );
            let withdrawn = generation.get(&hash.tombstone())?.is_some();
            meta.subjects -= u64::from(before.is_some()).min(meta.subjects);
            meta.withdrawn -= u64::from(withdrawn).min(meta.withdrawn);
            if let Some(plain) = plains.get(&hash) {
                let slot = slots.pop().unwrap_or_default();
                let salt = generation.salts.get(slot).unwrap_or_default();
                let value = layout::seal_subject((number, hash), (slot, salt), plain, sealer);
                batch.insert(&hash.subject(), value.map_err(RegistryStoreError::Seal)?);
                batch.remove(&hash.tombstone());
                meta.subjects += 1;
            } else {
                let value = tombstone.seal(number, hash, sealer);
                batch.insert(&hash.tombstone(), value.map_err(RegistryStoreError::Seal)?);
                batch.remove(&hash.subject());
                meta.withdrawn += 1;
            }
        }
        batch.insert(META, meta.seal(number, sealer).map_err(RegistryStoreError::Seal)?);
        batch.insert(HEAD, Head::of(sealer).encode());
        generation.commit(batch)?;
        // From here on the change counts. A crash before the next line leaves slots that nobody
        // uses; they are overwritten when the store is opened again.
        generation.with_salts(|salts| salts.erase(&stale))?;
        self.keys.insert(sealer.current());
        self.meta = meta;
        self.place.announce(self.meta.changes);
        Ok(())
    }

    /// Replaces everyone whom the order's source had enrolled, and remembers more withdrawals: an
    /// import as a whole, or the platform's snapshot. `progress` is told how many were written.
    ///
    /// Who withdrew is passed over, with these exceptions. A snapshot enrols again who withdrew by
    /// an earlier command, because the platform knows of that; and who gave a consent that begins
    /// after the withdrawal. (Who wants to enrol somebody all the same says it with an upsert.)
    pub fn replace(
        &mut self,
        subjects: &[Subject],
        withdrawn: &[Pseudonym],
        order: &Order,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Replaced, RegistryStoreError> {
        let meta = self.ordered(order)?;
        let mut contents = Contents::of(&self.generation, &self.sealer)?;
        let before = contents.subjects.len();
        let mut others = BTreeMap::new();
        self.for_each(&mut |subject, source| {
            if source != order.source {
                others.insert(meta.hash(subject.pseudonym.as_str()), Item::Kept);
            }
        })?;
        let others_before = others.len();
        contents.subjects = others;
        let tombstone = Tombstone::new(&self.clock.wall(), order.command);
        for pseudonym in withdrawn {
            let hash = meta.hash(pseudonym.as_str());
            contents.subjects.remove(&hash);
            contents.tombstones.entry(hash).or_insert(tombstone);
        }
        let mut replaced = Replaced::default();
        let named: BTreeSet<&Pseudonym> = withdrawn.iter().collect();
        let mut again = 0;
        for subject in subjects {
            let hash = meta.hash(subject.pseudonym.as_str());
            let gone = contents.tombstones.get(&hash);
            let anew = |gone: &Tombstone| order.again || gone.is_outlived_by(subject, order);
            if named.contains(&subject.pseudonym) || gone.is_some_and(|gone| !anew(gone)) {
                replaced.passed_over.push(subject.pseudonym.clone());
                continue;
            }
            contents.tombstones.remove(&hash);
            let known = self.generation.get(&hash.subject())?.is_some();
            let taken = contents.subjects.insert(hash, Item::Given(subject, order.source));
            again += usize::from(known && taken.is_none());
        }
        let given = |item: &&Item<'_>| matches!(item, Item::Given(..));
        let enrolled = contents.subjects.values().filter(given).count();
        let kept = contents.subjects.len() - enrolled;
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        replaced.enrolled = count(enrolled);
        replaced.kept = count(kept);
        replaced.removed = count((before - others_before).saturating_sub(again));
        self.write(&contents, meta, progress)?;
        Ok(replaced)
    }

    /// Writes everything anew with the current key. Returns how many entries could not be read, and
    /// are gone.
    fn reseal(&mut self, progress: &mut dyn FnMut(u64)) -> Result<u64, RegistryStoreError> {
        let contents = Contents::of(&self.generation, &self.sealer)?;
        let meta = self.meta.clone();
        self.write(&contents, meta, progress)
    }

    /// Writes a new generation, which takes the place of this one.
    fn write(
        &mut self,
        contents: &Contents<'_>,
        mut meta: Meta,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, RegistryStoreError> {
        let (place, sealer) = (&self.place, &self.sealer);
        let number = self.generation.number + 1;
        let from = (Some(&self.generation), number);
        let (generation, unreadable) =
            contents::write(place, from, contents, &mut meta, sealer, progress)?;
        self.generation = generation;
        self.meta = meta;
        self.keys = BTreeSet::from([self.sealer.current()]);
        self.place.clean(number);
        self.place.announce(self.meta.changes);
        if std::mem::take(&mut self.lost) {
            self.place.found_again().map_err(at(&self.place.dir))?;
        }
        Ok(unreadable)
    }

    /// What will be remembered about the registry with the next change.
    fn ordered(&self, order: &Order) -> Result<Meta, RegistryStoreError> {
        let mut meta = self.meta.clone();
        meta.changes += 1;
        meta.command = order.command.or(meta.command);
        if let Some(platform) = &order.platform {
            let found = platform.len();
            if found > MAX_PLATFORM_STATE {
                let what = "the platform's state".to_owned();
                return Err(RegistryStoreError::TooBig { what, found, most: MAX_PLATFORM_STATE });
            }
            meta.platform.clone_from(platform);
        }
        Ok(meta)
    }
}

impl fmt::Debug for RegistryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryStore").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// Reads everything that must be right before anybody relies on a store.
fn read_through(
    mut generation: Generation,
    dir: &Path,
    keys: &KeySource,
) -> Result<(Generation, Meta, Survey, Sealer), Trouble> {
    let head = generation.get(HEAD)?.ok_or("it has no head")?;
    let head = Head::decode(&head).ok_or("its head cannot be understood")?;
    if head.layout > LAYOUT {
        let dir = dir.to_owned();
        return Err(RegistryStoreError::NewerLayout { dir, found: head.layout }.into());
    }
    if head.layout < LAYOUT {
        return Err("its layout does not exist".into());
    }
    let wrong_key = |number, other| {
        Trouble::Around(RegistryStoreError::WrongKey { dir: dir.to_owned(), number, other })
    };
    let keys = keys.load().map_err(RegistryStoreError::from)?;
    let sealer = keys.ok_or_else(|| wrong_key(head.key, false))?.sealer;
    match sealer.proof(head.key) {
        None => return Err(wrong_key(head.key, false)),
        Some(proof) if proof != head.proof => return Err(wrong_key(head.key, true)),
        Some(_) => (),
    }
    let meta = generation.get(META)?.ok_or("what it is about is missing")?;
    let meta = match Meta::open(&meta, generation.number, &sealer) {
        Ok(meta) => meta,
        Err(SealError::NoKey { number }) => return Err(wrong_key(number, false)),
        Err(error) => return Err(Trouble::Store(error.into())),
    };
    let survey = generation.survey()??;
    let unknown = survey.keys.iter().find(|&&number| sealer.proof(number).is_none());
    if let Some(&number) = unknown {
        return Err(wrong_key(number, false));
    }
    if survey.tombstones < meta.withdrawn {
        return Err("withdrawals have vanished from it".into());
    }
    if survey.subjects < meta.subjects {
        let missing = meta.subjects - survey.subjects;
        error!(missing, "Subjects have vanished from the registry; check the disk.");
    }
    generation.with_salts(salts::Salts::erase_unused)?;
    Ok((generation, meta, survey, sealer))
}

fn set_aside(place: &Place, number: u64, clock: Clock, why: Why) -> RegistryStoreError {
    match place.set_aside(number, clock.wall().unix, &why.to_string()) {
        Ok(aside) => {
            error!(
                why,
                path = %aside.display(),
                "The registry could not be read and was set aside; nobody is recognised until \
                 there is another."
            );
            RegistryStoreError::Damaged { aside, source: why }
        }
        Err(error) => at(&place.dir)(error),
    }
}

// === impl Change, Source, Order, Withdrawal, Tombstone, Trouble ===

impl Change {
    /// Whom it is about.
    pub fn pseudonym(&self) -> &Pseudonym {
        match self {
            Self::Upsert(subject) => &subject.pseudonym,
            Self::Withdraw(pseudonym) => pseudonym,
        }
    }
}

impl Source {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Platform => "platform",
        }
    }

    const fn octet(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Platform => 2,
        }
    }

    fn of(octet: u8) -> Option<Self> {
        [Self::File, Self::Platform].into_iter().find(|source| source.octet() == octet)
    }
}

impl Order {
    /// By the operator of this gateway.
    pub const fn local() -> Self {
        Self { source: Source::File, command: None, platform: None, again: false }
    }

    /// By a command of the platform.
    pub const fn platform(command: u64) -> Self {
        let (source, command) = (Source::Platform, Some(command));
        Self { source, command, platform: None, again: false }
    }
}

impl Withdrawal {
    const UNREADABLE: Self = Self { when: None, clock: ClockQuality::Unsynced, command: None };
}

impl From<Tombstone> for Withdrawal {
    fn from(tombstone: Tombstone) -> Self {
        if tombstone.when_ms == i64::MAX {
            return Self::UNREADABLE;
        }
        let clock = if tombstone.synced { ClockQuality::Synced } else { ClockQuality::Unsynced };
        Self { when: Some(tombstone.when()), clock, command: tombstone.command }
    }
}

impl Tombstone {
    /// Whether an entry of a snapshot is newer than this withdrawal.
    fn is_outlived_by(&self, subject: &Subject, order: &Order) -> bool {
        let (Source::Platform, Some(now)) = (order.source, order.command) else { return false };
        let known_there = self.command.is_some_and(|then| then < now);
        let given_since =
            self.synced && subject.consent.as_ref().is_some_and(|it| it.from > self.when());
        known_there || given_since
    }
}

impl From<RegistryStoreError> for Trouble {
    fn from(error: RegistryStoreError) -> Self {
        Self::Around(error)
    }
}

impl From<&'static str> for Trouble {
    fn from(what: &'static str) -> Self {
        Self::Store(what.into())
    }
}

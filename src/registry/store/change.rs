//! How the store is changed: in place where few entries change, by a new generation otherwise. Either
//! way all of it is on the disk when a call returns, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Applied, Change, MAX_PLATFORM_STATE, Order, RegistryStore, RegistryStoreError, Replaced,
    Source,
    contents::{self, Contents, Item},
    layout::{self, HEAD, Hash, Head, META, Meta, Tombstone},
    place::at,
    plain,
};
use crate::engine::{Pseudonym, Subject};

/// Up to this many changes are made in place; more are cheaper, and as safe, as a new generation.
const MOST_IN_PLACE: usize = 256;

impl RegistryStore {
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
    pub(super) fn reseal(
        &mut self,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, RegistryStoreError> {
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

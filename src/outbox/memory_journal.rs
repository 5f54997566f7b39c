//! A journal in memory whose power can be cut: for tests of the room, and for the demo.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Class, Dropped, Entry, Held, Journal, Kept, OutboxError, Pending, Scrub, Sequence, Standing,
    Tag, class::Holdings, staged::Staged,
};

/// Keeps records in memory. Appends, removals, kept values and the sequence counter all stay
/// volatile until [`Journal::sync`], as they do on a disk.
#[derive(Clone, Debug)]
pub struct MemoryJournal {
    epoch: u32,
    durable: State,
    staged: Staged,
    /// How many more syncs succeed, when not all of them do.
    syncs_left: Option<u32>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// The last sequence given. Kept apart from the records: an empty store must not start again
    /// at one.
    last: u64,
    records: BTreeMap<Sequence, Held>,
    kept: BTreeMap<Vec<u8>, Vec<u8>>,
    holdings: Holdings,
    owes_scrub: bool,
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new(epoch: u32) -> Self {
        Self { epoch, durable: State::default(), staged: Staged::default(), syncs_left: None }
    }

    /// Loses everything that was not synced. A journal that had failed works again, as it would
    /// after a restart.
    pub fn cut_power(&mut self) {
        self.staged = Staged::after(self.durable.last, self.durable.holdings);
        self.syncs_left = None;
    }

    fn held(&self, after: Option<Sequence>) -> impl Iterator<Item = Held> {
        let from = Sequence(after.map_or(0, |after| after.0.saturating_add(1)));
        let durable = self.durable.records.range(from..);
        durable.filter_map(|(_, held)| self.staged.shown(held.clone()))
    }

    /// Lets that many more syncs succeed and fails from then on.
    pub fn fail_after(&mut self, syncs: u32) {
        self.syncs_left = Some(syncs);
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Journal for MemoryJournal {
    fn epoch(&self) -> u32 {
        self.epoch
    }

    fn append(&mut self, entry: Entry, notice: Option<Dropped>) -> Result<Sequence, OutboxError> {
        self.staged.append(entry, notice)
    }

    fn sync(&mut self) -> Result<Option<Sequence>, OutboxError> {
        match &mut self.syncs_left {
            Some(0) => return Err(OutboxError::Commit("the journal was told to fail".into())),
            Some(left) => *left -= 1,
            None => {}
        }
        let Self { durable, staged, .. } = self;
        durable.last = staged.last;
        durable.holdings = staged.holdings;
        durable.owes_scrub |= staged.owes_scrub;
        durable.records.append(&mut staged.appends);
        durable.records.append(&mut staged.replaced);
        for (sequence, standing) in &staged.stood {
            if let Some(held) = durable.records.get_mut(sequence) {
                held.standing = *standing;
            }
        }
        for sequence in &staged.removals {
            durable.records.remove(sequence);
        }
        for (slot, value) in std::mem::take(&mut staged.keeps) {
            match value {
                Some(value) => durable.kept.insert(slot, value),
                None => durable.kept.remove(&slot),
            };
        }
        staged.settle();
        Ok(Some(Sequence(durable.last)).filter(|last| last.0 > 0))
    }

    fn oldest(&mut self, after: Option<Sequence>, limit: usize) -> Result<Vec<Held>, OutboxError> {
        let pending = self.held(after).filter(|held| held.standing == Standing::Pending);
        Ok(pending.take(limit).collect())
    }

    fn oldest_about(
        &mut self,
        who: &BTreeSet<Tag>,
        after: Option<Sequence>,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        Ok(self.held(after).filter(|held| held.about.concerns(who)).take(limit).collect())
    }

    fn replace(&mut self, sequence: Sequence, bytes: Vec<u8>) -> Result<bool, OutboxError> {
        let durable = &self.durable.records;
        self.staged.replace(sequence, bytes, || Ok(durable.get(&sequence).cloned()))
    }

    fn remove(&mut self, sequence: Sequence) -> Result<bool, OutboxError> {
        let durable = &self.durable.records;
        self.staged.remove(sequence, || Ok(gist(durable, sequence)))
    }

    fn keep(&mut self, slot: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), OutboxError> {
        self.staged.keep(slot, value)
    }

    fn kept(&self) -> Result<Vec<Kept>, OutboxError> {
        let kept = self.durable.kept.iter();
        Ok(kept.map(|(slot, value)| Kept { slot: slot.clone(), value: value.clone() }).collect())
    }

    fn stand(&mut self, sequence: Sequence, standing: Standing) -> Result<bool, OutboxError> {
        let durable = &self.durable.records;
        self.staged.stand(sequence, standing, || Ok(gist(durable, sequence)))
    }

    fn oldest_of(&mut self, class: Class, limit: usize) -> Result<Vec<Held>, OutboxError> {
        let pending = |held: &Held| held.standing == Standing::Pending && held.class == class;
        Ok(self.held(None).filter(pending).take(limit).collect())
    }

    fn oldest_standing(
        &mut self,
        standing: Standing,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        Ok(self.held(None).filter(|held| held.standing == standing).take(limit).collect())
    }

    fn range(
        &mut self,
        from: Sequence,
        to: Sequence,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        let after = from.0.checked_sub(1).map(Sequence);
        Ok(self.held(after).take_while(|held| held.sequence <= to).take(limit).collect())
    }

    fn pending_of(&self, class: Class) -> Pending {
        self.staged.holdings.pending_of(class)
    }

    fn standing(&self, standing: Standing) -> Pending {
        self.staged.holdings.standing(standing)
    }

    fn owe_scrub(&mut self) {
        self.staged.owe_scrub();
    }

    fn owes_scrub(&self) -> bool {
        self.durable.owes_scrub
    }

    /// Memory has no files; the debt is paid at once.
    fn scrub(&mut self) -> Result<Scrub, OutboxError> {
        self.durable.owes_scrub = false;
        Ok(Scrub::Done)
    }
}

fn gist(
    records: &BTreeMap<Sequence, Held>,
    sequence: Sequence,
) -> Option<(Class, Standing, usize)> {
    let held = records.get(&sequence)?;
    Some((held.class, held.standing, held.bytes.len()))
}

//! What was changed since the last sync: the part that every journal keeps in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Class, Dropped, Entry, Held, MAX_RECORD, MAX_SLOT, OutboxError, Sequence, Standing,
    class::Holdings,
};

/// Changes that are not durable yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Staged {
    /// The last sequence given, durable or not.
    pub(super) last: u64,
    /// What will be held once the changes are durable.
    pub(super) holdings: Holdings,
    /// New records.
    pub(super) appends: BTreeMap<Sequence, Held>,
    /// Durable records with the bytes they are to have.
    pub(super) replaced: BTreeMap<Sequence, Held>,
    /// Where durable records are to stand.
    pub(super) stood: BTreeMap<Sequence, Standing>,
    /// Durable records that are to go.
    pub(super) removals: BTreeSet<Sequence>,
    /// New values of slots, `None` for those that are to go.
    pub(super) keeps: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Whether what goes must also vanish from the files.
    pub(super) owes_scrub: bool,
    /// Whether anything was changed, even if it was taken back: a sequence that was given and
    /// whose record is gone again still has to become durable.
    pub(super) changed: bool,
}

impl Staged {
    /// Nothing changed yet, on top of what is durable.
    pub(super) fn after(last: u64, holdings: Holdings) -> Self {
        Self { last, holdings, ..Self::default() }
    }

    pub(super) fn append(
        &mut self,
        entry: Entry,
        notice: Option<Dropped>,
    ) -> Result<Sequence, OutboxError> {
        at_most(MAX_RECORD, &entry.bytes)?;
        let last = self.last.checked_add(1).ok_or(OutboxError::Unusable)?;
        let sequence = Sequence(last);
        self.last = last;
        self.changed = true;
        let standing = Standing::Pending;
        let Entry { bytes, made, about, class } = entry;
        self.holdings.of(class, standing).add(bytes.len());
        let held = Held { sequence, made, notice, about: about.into(), class, standing, bytes };
        self.appends.insert(sequence, held);
        Ok(sequence)
    }

    /// Stages other bytes for a record; `durable` reads the durable record, if there is one.
    pub(super) fn replace(
        &mut self,
        sequence: Sequence,
        bytes: Vec<u8>,
        durable: impl FnOnce() -> Result<Option<Held>, OutboxError>,
    ) -> Result<bool, OutboxError> {
        at_most(MAX_RECORD, &bytes)?;
        if self.removals.contains(&sequence) {
            return Ok(false);
        }
        let length = bytes.len();
        let staged = self.appends.get_mut(&sequence).or_else(|| self.replaced.get_mut(&sequence));
        let (class, standing, old) = if let Some(held) = staged {
            let old = std::mem::replace(&mut held.bytes, bytes);
            (held.class, held.standing, old.len())
        } else if let Some(held) = durable()? {
            let standing = self.standing_of(sequence).unwrap_or(held.standing);
            let was = (held.class, standing, held.bytes.len());
            self.replaced.insert(sequence, Held { standing, bytes, ..held });
            was
        } else {
            return Ok(false);
        };
        self.holdings.of(class, standing).replace(old, length);
        self.changed = true;
        Ok(true)
    }

    /// Stages another standing for a record; `durable` says what the durable record is, if there is
    /// one: its class, its standing, and how many bytes it has.
    pub(super) fn stand(
        &mut self,
        sequence: Sequence,
        standing: Standing,
        durable: impl FnOnce() -> Result<Option<(Class, Standing, usize)>, OutboxError>,
    ) -> Result<bool, OutboxError> {
        if self.removals.contains(&sequence) {
            return Ok(false);
        }
        let new = self.appends.contains_key(&sequence);
        let staged = self.appends.get_mut(&sequence).or_else(|| self.replaced.get_mut(&sequence));
        let (class, before, size) = match staged {
            Some(held) => {
                let before = std::mem::replace(&mut held.standing, standing);
                (held.class, before, held.bytes.len())
            }
            None => match durable()? {
                Some((class, before, size)) => {
                    (class, self.standing_of(sequence).unwrap_or(before), size)
                }
                None => return Ok(false),
            },
        };
        if before == standing {
            return Ok(false);
        }
        if !new {
            self.stood.insert(sequence, standing);
        }
        self.holdings.of(class, before).take(size);
        self.holdings.of(class, standing).add(size);
        self.changed = true;
        Ok(true)
    }

    /// Where a durable record is to stand, if that is to change.
    pub(super) fn standing_of(&self, sequence: Sequence) -> Option<Standing> {
        self.stood.get(&sequence).copied()
    }

    /// The durable record as it is to be shown: not when it is about to go, and with its new bytes
    /// when it is about to be replaced.
    pub(super) fn shown(&self, durable: Held) -> Option<Held> {
        let sequence = durable.sequence;
        match self.replaced.get(&sequence) {
            Some(held) => Some(held.clone()),
            None if self.removals.contains(&sequence) => None,
            None => {
                let standing = self.standing_of(sequence).unwrap_or(durable.standing);
                Some(Held { standing, ..durable })
            }
        }
    }

    /// Stages a removal; `durable` says what the durable record is, if there is one: its class, its
    /// standing, and how many bytes it has.
    pub(super) fn remove(
        &mut self,
        sequence: Sequence,
        durable: impl FnOnce() -> Result<Option<(Class, Standing, usize)>, OutboxError>,
    ) -> Result<bool, OutboxError> {
        let gist = |held: Held| (held.class, held.standing, held.bytes.len());
        let (class, standing, size) = if let Some(held) = self.appends.remove(&sequence) {
            gist(held)
        } else if self.removals.contains(&sequence) {
            return Ok(false);
        } else if let Some(held) = self.replaced.remove(&sequence) {
            self.removals.insert(sequence);
            gist(held)
        } else if let Some((class, standing, size)) = durable()? {
            self.removals.insert(sequence);
            (class, self.standing_of(sequence).unwrap_or(standing), size)
        } else {
            return Ok(false);
        };
        self.changed = true;
        self.stood.remove(&sequence);
        self.holdings.of(class, standing).take(size);
        Ok(true)
    }

    pub(super) fn keep(
        &mut self,
        slot: Vec<u8>,
        value: Option<Vec<u8>>,
    ) -> Result<(), OutboxError> {
        at_most(MAX_SLOT, &slot)?;
        at_most(MAX_RECORD, value.as_deref().unwrap_or_default())?;
        self.changed = true;
        self.keeps.insert(slot, value);
        Ok(())
    }

    pub(super) fn owe_scrub(&mut self) {
        self.changed = true;
        self.owes_scrub = true;
    }

    /// Forgets the changes because they have become durable.
    pub(super) fn settle(&mut self) {
        self.appends.clear();
        self.replaced.clear();
        self.stood.clear();
        self.removals.clear();
        self.keeps.clear();
        self.owes_scrub = false;
        self.changed = false;
    }
}

fn at_most(most: usize, bytes: &[u8]) -> Result<(), OutboxError> {
    match bytes.len() {
        found if found > most => Err(OutboxError::TooBig { found, most }),
        _ => Ok(()),
    }
}

//! One store, open: blocks of records, where they stand, kept values and the head, sealed, in sled.
//!
//! | key in sled | value (see `frame`) |
//! |---|---|
//! | `h` | the head (see `head`) |
//! | `c` and a chunk (u64) | where the records of the chunk stand (see `standings`) |
//! | `k` and a keyed hash (16 bytes) | a kept value: its name, counted, and the value |
//! | `r` and a slot (u32) | a block of records (see `block`) |
//!
//! Records are written once, several to a block. That they were acknowledged or are gone is written
//! for a thousand at a time, apart from them. A block of which all records are gone is not deleted:
//! its slot is used again. All of that is for the card's sake. sled writes a leaf of up to 17 values
//! anew when it splits, merges, or has had ten changes; overwriting one slot after the other it
//! writes about twice what is appended, instead of five to ten times.
//!
//! A record whose bytes change is written again, in a newer block; of two the one of the later
//! commit counts. Every sequence up to the last is in a block or written down as gone; one that is
//! neither was lost by the disk, and is known by its number.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    mem,
    sync::Arc,
};

use zeroize::Zeroizing;

use crate::{
    outbox::{Held, Kept, Ranges, Sequence, Standing, class::Holdings},
    seal::StoreKey,
};

use super::{
    block::{self, Block},
    frame::{self, Spot},
    guard::Guarded,
    head::{HEAD, Head},
    index::{Gist, Index},
    octets::{Rest, put_counted},
    reader::{self, LET_GO_EVERY},
    standings::{self, BITS, CHUNK, State},
    sum::Sum,
};

pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// How far the numbers of commits are ahead after opening, at most: those of commits that a power
/// cut undid are not given again, so that of two values the newer is known also in a broken log.
const AHEAD: u64 = 1 << 20;

/// A store that was opened and read through.
pub(super) struct Volume {
    db: Guarded,
    key: Arc<StoreKey>,
    pub(super) head: Head,
    pub(super) index: Index,
    /// The number of the last commit.
    commit: u64,
    /// The number of the last one that is durable.
    durable: u64,
    /// Which commit wrote what is in each slot, 0 for none, and the same for all that is no block.
    written: Vec<u64>,
    others: BTreeMap<Spot, u64>,
    sum: Sum,
    /// Whether the store is what its head says.
    pub(super) wholeness: Wholeness,
    /// How many records lie in each slot that are not gone.
    slots: Vec<u16>,
    /// How many slots have none.
    free: usize,
    /// Where the next free slot is looked for.
    cursor: usize,
    /// Sequences that were lost, and are not written down as gone yet.
    lost: Ranges,
    /// The block that was read last.
    read: Option<(u32, Vec<Held>)>,
    /// How many blocks were read.
    reads: usize,
}

/// Whether a store that was read through is as its last commit left it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wholeness {
    /// It is.
    Whole,
    /// Its head does not say; one of layout 3.
    Unknown,
    /// There are values that do not open.
    Damaged,
    /// Values are missing, or older than they should be.
    Stale,
}

/// What one commit changes.
pub(super) struct Changes<'a> {
    /// The last sequence given.
    pub(super) last: u64,
    /// Records that are new, or have other bytes than before, in order.
    pub(super) records: Vec<&'a Held>,
    /// Where records stand from now on.
    pub(super) stood: &'a BTreeMap<Sequence, Standing>,
    /// Records that are gone.
    pub(super) removals: &'a BTreeSet<Sequence>,
    /// Values by name, `None` for those that are to go.
    pub(super) keeps: &'a BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Whether a scrub is owed.
    pub(super) owes_scrub: bool,
    /// Whether what was lost is written down as gone.
    pub(super) lost_is_told: bool,
    /// Whether what is removed or has other bytes must not come back, whatever happens to the log.
    pub(super) erases: bool,
}

impl Volume {
    /// An empty one, in an empty store.
    pub(super) fn new(db: impl Into<Guarded>, key: StoreKey, head: Head) -> Self {
        Self {
            db: db.into(),
            key: Arc::new(key),
            head,
            index: Index::default(),
            commit: 0,
            durable: 0,
            written: Vec::new(),
            others: BTreeMap::new(),
            sum: Sum::default(),
            wholeness: Wholeness::Whole,
            slots: Vec::new(),
            free: 0,
            cursor: 0,
            lost: Ranges::new(),
            read: None,
            reads: 0,
        }
    }

    /// Reads a store through. An error means that it cannot be relied upon as a whole; a block that
    /// does not open costs its records only.
    pub(super) fn read_through(db: sled::Db, key: StoreKey) -> Result<Self, Cause> {
        let db = Guarded::from(db);
        let head = db.get(HEAD)?.ok_or("it has no head")?;
        let (head, commit) = Head::open(&key, &head).ok_or("its head does not open")?;
        let mut random = [0; 4];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
            .map_err(|_| "the system gave no random bytes")?;
        let ahead = 1 + u64::from(u32::from_be_bytes(random)) % AHEAD;
        let mut volume = Self::new(db, key, head);
        (volume.commit, volume.durable) = (commit + ahead, commit);
        let states = volume.read_states()?;
        volume.read_blocks(&states)?;
        volume.read_names()?;
        volume.find_lost(&states)?;
        volume.wholeness = match volume.head.sum {
            None => Wholeness::Unknown,
            Some(sum) if sum == volume.sum => Wholeness::Whole,
            Some(_) if volume.wholeness == Wholeness::Damaged => Wholeness::Damaged,
            Some(_) => Wholeness::Stale,
        };
        Ok(volume)
    }

    /// Notes which commit wrote the value at a spot; 0 that there is none any more.
    fn note(&mut self, spot: Spot, commit: u64) {
        let before = match spot {
            Spot::Block(number) => {
                let at = usize::try_from(number).unwrap_or(usize::MAX);
                if at == self.written.len() {
                    self.written.push(0);
                } else if at > self.written.len() {
                    self.written.resize(at.saturating_add(1), 0);
                }
                self.written.get_mut(at).map_or(0, |known| mem::replace(known, commit))
            }
            _ if commit == 0 => self.others.remove(&spot).unwrap_or(0),
            _ => self.others.insert(spot, commit).unwrap_or(0),
        };
        if before > 0 {
            self.sum.take(spot, before);
        }
        if commit > 0 {
            self.sum.add(spot, commit);
        }
    }

    /// Reads which values are kept.
    fn read_names(&mut self) -> Result<(), Cause> {
        let db = sled::Db::clone(&self.db);
        for item in db.scan_prefix(b"k") {
            let (key, value) = item?;
            match (key.get(1..).and_then(|name| name.try_into().ok()), frame::label(&value)) {
                (Some(name), Some(label)) => self.note(Spot::Kept(name), label.commit),
                _ => self.wholeness = Wholeness::Damaged,
            }
        }
        Ok(())
    }

    fn read_states(&mut self) -> Result<BTreeMap<u64, Zeroizing<Vec<u8>>>, Cause> {
        let mut states = BTreeMap::new();
        let db = sled::Db::clone(&self.db);
        for item in db.scan_prefix(b"c") {
            let (key, value) = item?;
            let number = key.get(1..).and_then(|number| number.try_into().ok());
            let chunk = u64::from_be_bytes(number.ok_or("it has a strange key")?);
            let opened = frame::open_at(&self.key, Spot::Standings(chunk), &value);
            let (commit, runs) = opened.ok_or("where its records stand does not open")?;
            self.note(Spot::Standings(chunk), commit);
            states.insert(chunk, runs);
        }
        Ok(states)
    }

    fn read_blocks(&mut self, states: &BTreeMap<u64, Zeroizing<Vec<u8>>>) -> Result<(), Cause> {
        let (db, key) = (sled::Db::clone(&self.db), Arc::clone(&self.key));
        let mut known = (u64::MAX, Vec::new());
        let mut laid = Vec::new();
        reader::read(&db, &key, |reader::Read { slot, opened }| {
            let at = usize::try_from(slot)?;
            if at >= self.slots.len() {
                self.slots.resize(at + 1, 0);
            }
            laid.clear();
            let Some(commit) = opened.and_then(|(commit, plain)| {
                block::each(&plain, |record| {
                    laid.push((record.sequence, Gist::laid(&record, Standing::Pending, slot)));
                })?;
                Some(commit)
            }) else {
                self.wholeness = Wholeness::Damaged;
                return Ok(());
            };
            self.note(Spot::Block(slot), commit);
            for (sequence, gist) in &laid {
                let chunk = sequence.0 >> BITS;
                if sequence.0 == 0 || sequence.0 > self.head.last {
                    return Err("it has a record that was never given a sequence".into());
                }
                if chunk < self.head.floor {
                    continue;
                }
                if chunk != known.0 {
                    let runs = states.get(&chunk).map_or(&[][..], |runs| runs.as_slice());
                    let runs = standings::decode(runs).ok_or("where records stand is unclear")?;
                    known = (chunk, runs);
                }
                let Some(State::Held(standing)) = state(&known.1, *sequence) else { continue };
                let other = self.index.get(*sequence);
                let newer = |gist: &Gist| {
                    let at = usize::try_from(gist.slot).unwrap_or(usize::MAX);
                    self.written.get(at).is_some_and(|known| *known > commit)
                };
                if other.as_ref().is_some_and(newer) {
                    continue;
                }
                self.place(*sequence, &Gist { standing, ..*gist });
            }
            Ok(())
        })?;
        self.free = self.slots.iter().filter(|live| **live == 0).count();
        Ok(())
    }

    /// Finds the sequences that are neither in a block nor gone.
    fn find_lost(&mut self, states: &BTreeMap<u64, Zeroizing<Vec<u8>>>) -> Result<(), Cause> {
        for chunk in self.head.floor..=self.head.last >> BITS {
            let runs = states.get(&chunk).map_or(&[][..], |runs| runs.as_slice());
            let runs = standings::decode(runs).ok_or("where records stand is unclear")?;
            let held = runs.iter().take(given(chunk, self.head.last));
            let expected = held.filter(|state| **state != State::Gone).count();
            // Nobody was ever given the sequence 0.
            if expected - usize::from(chunk == 0).min(expected) <= self.index.count(chunk) {
                continue;
            }
            let found = self.index.states(chunk);
            let numbers = (chunk << BITS..=self.head.last).zip(runs.iter().zip(&found));
            for (number, (state, found)) in numbers {
                if number > 0 && *state != State::Gone && *found == State::Gone {
                    self.lost.add(Sequence(number));
                }
            }
        }
        Ok(())
    }

    /// Changes the store; it may still be lost. An error leaves this value unusable.
    pub(super) fn apply(&mut self, changes: &Changes<'_>) -> Result<(), Cause> {
        self.commit += 1;
        let mut batch = sled::Batch::default();
        let mut dirty: BTreeSet<u64> = BTreeSet::new();
        if changes.erases {
            let replaced = changes.records.iter().map(|held| held.sequence);
            let replaced = replaced.filter(|sequence| sequence.0 <= self.head.last);
            let erased: Ranges = changes.removals.iter().copied().chain(replaced).collect();
            // So that where they stand is known from now on, and what is written down is as well.
            dirty.extend(erased.iter().flat_map(|(first, last)| first.0 >> BITS..=last.0 >> BITS));
            self.head.erase(&erased, self.commit);
        }
        for sequence in changes.removals {
            if let Some(gist) = self.index.remove(*sequence) {
                self.release(gist.slot);
            }
            dirty.insert(sequence.0 >> BITS);
        }
        for (sequence, standing) in changes.stood {
            self.index.stand(*sequence, *standing);
            dirty.insert(sequence.0 >> BITS);
        }
        if changes.lost_is_told {
            for (first, last) in mem::take(&mut self.lost).iter() {
                dirty.extend(first.0 >> BITS..=last.0 >> BITS);
            }
        }
        let mut new = 0;
        let (mut block, mut members) = (Block::default(), Vec::new());
        for held in &changes.records {
            new += u64::from(held.sequence.0 > self.head.last);
            if held.standing != Standing::Pending {
                dirty.insert(held.sequence.0 >> BITS);
            }
            block.push(held);
            members.push(*held);
            if block.is_full() {
                self.write(&mut batch, &mem::take(&mut block), &mem::take(&mut members))?;
            }
        }
        if !block.is_empty() {
            self.write(&mut batch, &block, &members)?;
        }
        let before = mem::replace(&mut self.head.last, changes.last);
        let floor = self.raise_floor(&mut batch);
        if changes.last.saturating_sub(before) > new {
            // Some were given and are gone already.
            dirty.extend(((before + 1) >> BITS).max(floor)..=changes.last >> BITS);
        }
        for chunk in dirty.range(floor..) {
            self.write_states(&mut batch, *chunk, changes.erases)?;
        }
        for (name, value) in changes.keeps {
            let spot = Spot::Kept(self.key.pseudonym(name));
            if let Some(value) = value {
                let mut plain = Zeroizing::new(Vec::with_capacity(2 + name.len() + value.len()));
                put_counted(&mut plain, name);
                plain.extend(value);
                let value = frame::seal(&self.key, spot, self.commit, &plain)?;
                batch.insert(spot.key(), value);
                self.note(spot, self.commit);
            } else {
                batch.remove(spot.key());
                self.note(spot, 0);
            }
        }
        self.head.owes_scrub = changes.owes_scrub;
        self.head.previous = self.durable;
        self.head.sum = Some(self.sum);
        batch.insert(HEAD, self.head.seal(&self.key, self.commit)?);
        Ok(self.db.apply_batch(batch)?)
    }

    /// Puts records into a slot.
    fn write(
        &mut self,
        batch: &mut sled::Batch,
        block: &Block,
        members: &[&Held],
    ) -> Result<(), Cause> {
        let slot = self.free_slot()?;
        let value = frame::seal(&self.key, Spot::Block(slot), self.commit, &block.squeezed())?;
        batch.insert(Spot::Block(slot).key(), value);
        self.note(Spot::Block(slot), self.commit);
        if self.read.as_ref().is_some_and(|(read, _)| *read == slot) {
            self.read = None;
        }
        for held in members {
            self.place(held.sequence, &Gist::of(held, slot));
        }
        Ok(())
    }

    /// A slot that has no record, counted as used.
    fn free_slot(&mut self) -> Result<u32, Cause> {
        if self.free == 0 {
            let slot = u32::try_from(self.slots.len())?;
            self.slots.push(0);
            return Ok(slot);
        }
        let (before, behind) = self.slots.split_at(self.cursor.min(self.slots.len()));
        let free = |live: &u16| *live == 0;
        let at = match behind.iter().position(free) {
            Some(at) => before.len() + at,
            None => before.iter().position(free).ok_or("a free slot is not found")?,
        };
        self.cursor = at + 1;
        self.free -= 1;
        Ok(u32::try_from(at)?)
    }

    /// Notes that a record lies in a slot, and not where it lay before.
    fn place(&mut self, sequence: Sequence, gist: &Gist) {
        if let Some(live) = self.slots.get_mut(usize::try_from(gist.slot).unwrap_or(usize::MAX)) {
            *live = live.saturating_add(1);
        }
        if let Some(before) = self.index.insert(sequence, gist) {
            self.release(before.slot);
        }
    }

    /// Notes that one record less lies in a slot.
    fn release(&mut self, slot: u32) {
        let live = self.slots.get_mut(usize::try_from(slot).unwrap_or(usize::MAX));
        if let Some(live) = live.filter(|live| **live > 0) {
            *live -= 1;
            self.free += usize::from(*live == 0);
        }
    }

    /// Forgets where records stood in chunks at the beginning that are gone as a whole.
    fn raise_floor(&mut self, batch: &mut sled::Batch) -> u64 {
        let next = self.head.last.saturating_add(1) >> BITS;
        let lost = self.lost.first().map(|first| first.0 >> BITS);
        let floor = [self.index.first_chunk(), lost].into_iter().flatten().fold(next, u64::min);
        for chunk in self.head.floor..floor {
            batch.remove(Spot::Standings(chunk).key());
            self.note(Spot::Standings(chunk), 0);
        }
        self.head.floor = floor.max(self.head.floor);
        self.head.floor
    }

    /// Writes where the records of a chunk stand; `always` also when there is nothing to say.
    fn write_states(
        &mut self,
        batch: &mut sled::Batch,
        chunk: u64,
        always: bool,
    ) -> Result<(), Cause> {
        let mut states = self.index.states(chunk);
        let first = chunk << BITS;
        for (at, state) in states.iter_mut().enumerate() {
            let sequence = Sequence(first | u64::try_from(at)?);
            if sequence.0 == 0 || (*state == State::Gone && self.lost.contains(sequence)) {
                *state = State::Held(Standing::Pending);
            }
        }
        let mut runs = standings::encode(states.into_iter().take(given(chunk, self.head.last)));
        if always && runs.is_empty() {
            runs = standings::NOTHING.to_vec();
        }
        let spot = Spot::Standings(chunk);
        if runs.is_empty() {
            batch.remove(spot.key());
            self.note(spot, 0);
        } else {
            batch.insert(spot.key(), frame::seal(&self.key, spot, self.commit, &runs)?);
            self.note(spot, self.commit);
        }
        Ok(())
    }

    /// Waits until sled has written everything.
    pub(super) fn flush(&mut self) -> Result<(), Cause> {
        self.db.flush()?;
        self.durable = self.commit;
        Ok(())
    }

    /// The number of the last commit that is durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// The record with this sequence, which lies in this slot; `None` when its block is damaged.
    /// Where it stands is for the index to say.
    pub(super) fn record(
        &mut self,
        sequence: Sequence,
        gist: &Gist,
    ) -> Result<Option<Held>, Cause> {
        let slot = gist.slot;
        if self.read.as_ref().is_none_or(|(read, _)| *read != slot) {
            self.read = self.block(slot)?.map(|records| (slot, records));
            self.reads = self.reads.wrapping_add(1);
            if self.reads.is_multiple_of(LET_GO_EVERY) {
                reader::let_go_of(&self.db, &Spot::Block(slot).key());
            }
        }
        let Some((_, records)) = &self.read else { return Ok(None) };
        let at = records.binary_search_by_key(&sequence, |held| held.sequence);
        let found = at.ok().and_then(|at| records.get(at));
        Ok(found.map(|held| Held { standing: gist.standing, ..held.clone() }))
    }

    fn block(&self, slot: u32) -> Result<Option<Vec<Held>>, Cause> {
        let place = Spot::Block(slot);
        let Some(value) = self.db.get(place.key())? else { return Ok(None) };
        let opened = frame::open_at(&self.key, place, &value);
        Ok(opened.and_then(|(_, plain)| block::decode(&plain)))
    }

    /// The kept values, by name. One that does not open is left out.
    pub(super) fn kept(&self) -> Result<Vec<Kept>, Cause> {
        let mut kept = Vec::new();
        for item in self.db.scan_prefix(b"k") {
            let (key, value) = item?;
            let Some(name) = key.get(1..).and_then(|name| name.try_into().ok()) else { continue };
            let opened = frame::open_at(&self.key, Spot::Kept(name), &value);
            kept.extend(opened.and_then(|(_, plain)| decode_kept(&plain)));
        }
        kept.sort_by(|one: &Kept, other| one.slot.cmp(&other.slot));
        Ok(kept)
    }

    /// How much is held.
    pub(super) fn holdings(&self) -> Holdings {
        let mut holdings = Holdings::default();
        for (_, gist) in self.index.walk(Sequence(0), Sequence(u64::MAX), |_, _| true) {
            holdings.of(gist.class, gist.standing).add(gist.size);
        }
        holdings
    }

    /// What was lost and is not written down as gone yet.
    pub(super) fn lost(&self) -> &Ranges {
        &self.lost
    }

    /// Says what was lost in a store before this one, to which this one succeeds.
    pub(super) fn set_lost(&mut self, lost: Ranges) {
        self.lost = lost;
    }

    /// Whether what is held would take less than a quarter of `size` bytes in a fresh store: two of
    /// sled's segments, and for each block of about 2 KiB twice that.
    pub(super) fn is_sparse(&self, size: u64) -> bool {
        let live = self.slots.len().saturating_sub(self.free);
        let live = u64::try_from(live).unwrap_or(u64::MAX).saturating_mul(4 << 10);
        live == 0 || live.saturating_add(1 << 20) < size / 4
    }

    /// How many slots there are.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The value at a spot, as it lies in sled.
    #[cfg(test)]
    pub(super) fn raw(&self, spot: Spot) -> Vec<u8> {
        self.db.get(spot.key()).unwrap().unwrap().to_vec()
    }

    /// Puts a value at a spot without anybody knowing.
    #[cfg(test)]
    pub(super) fn put_raw(&self, spot: Spot, value: Vec<u8>) {
        self.db.insert(spot.key(), value).unwrap();
    }

    /// Puts something into a slot that does not open.
    #[cfg(test)]
    pub(super) fn spoil(&mut self, slot: u32) {
        self.db.insert(Spot::Block(slot).key(), b"spoiled").unwrap();
        self.read = None;
    }

    /// The key of the store.
    pub(super) fn key(&self) -> &StoreKey {
        &self.key
    }
}

/// How many sequences of a chunk were given, the last being `last`.
fn given(chunk: u64, last: u64) -> usize {
    let count = last.saturating_sub(chunk << BITS).saturating_add(1);
    usize::try_from(count).unwrap_or(CHUNK).min(CHUNK)
}

fn state(states: &[State], sequence: Sequence) -> Option<State> {
    let at = usize::try_from(sequence.0 & ((1 << BITS) - 1)).ok()?;
    states.get(at).copied()
}

pub(super) fn decode_kept(plain: &[u8]) -> Option<Kept> {
    let mut rest = Rest(plain);
    let slot = rest.counted()?.to_vec();
    Some(Kept { slot, value: rest.0.to_vec() })
}

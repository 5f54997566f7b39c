//! Saves what can be saved from a store that sled cannot read, or of which it would cut off a part
//! (see `survey`).
//!
//! Every value says by itself what it is and where it ends, and opens only if it is whole (see
//! `frame`). So the log is gone through byte by byte, without sled, and every value in it is tried.
//! Of several for one spot the one of the latest commit counts. What was removed is known by where
//! the records stood; where the newest value of that is damaged too, some records are sent again
//! that were delivered, under the same ids, and are counted. What was erased stays away even then:
//! the head says it too, as long as anything of it is in the log (see `head`).
//!
//! It ends: the log is read once, and values that do not open are tried until they have more bytes
//! together than a few logs would.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, BufRead as _, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use zeroize::Zeroizing;

use crate::{
    outbox::{Held, Kept, Ranges, Sequence, Standing, losses::RESERVED},
    seal::StoreKey,
};

use super::{
    block,
    frame::{self, LONGEST, MARK, Spot},
    head::Head,
    rebuild::Workshop,
    standings::{self, BITS, State},
    volume::{self, Cause},
};

/// How much of the log is looked at together.
const WINDOW: usize = 1 << 20;

/// How often the length of the log may be tried in vain.
const TRIES: u64 = 4;

/// How many records are saved in one part.
const PART: usize = 1024;

/// What was found in a log.
pub(super) struct Carved {
    log: File,
    key: StoreKey,
    pub(super) head: Option<Head>,
    head_commit: u64,
    states: BTreeMap<u64, (u64, Zeroizing<Vec<u8>>)>,
    /// The commit of each record, and where in the log its block is.
    records: BTreeMap<Sequence, (u64, u64)>,
    kept: BTreeMap<[u8; 16], (u64, Kept)>,
    blocks: HashSet<(u32, u64)>,
    /// The latest commit of a value that says where the records of a chunk stand, and is damaged.
    newer: BTreeMap<u64, u64>,
    /// How many more bytes may be tried in vain.
    patience: u64,
}

/// Whether a log has a sealed value in it.
pub(super) fn is_sealed(log: &Path) -> io::Result<bool> {
    let mut found = false;
    let file = match File::open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    scan(&file, |_, bytes| {
        found |= frame::label(bytes).is_some();
        !found
    })?;
    Ok(found)
}

/// Goes through a log, which sled must not have opened: it would have overwritten some of it.
pub(super) fn carve(log: &Path, key: StoreKey) -> io::Result<Carved> {
    let file = File::open(log)?;
    let mut carved = Carved {
        patience: file.metadata()?.len().saturating_mul(TRIES),
        log: file.try_clone()?,
        key,
        head: None,
        head_commit: 0,
        states: BTreeMap::new(),
        records: BTreeMap::new(),
        kept: BTreeMap::new(),
        blocks: HashSet::new(),
        newer: BTreeMap::new(),
    };
    scan(&file, |offset, bytes| {
        carved.look_at(offset, bytes);
        carved.patience > 0
    })?;
    // They were to know what had been looked at.
    carved.blocks = HashSet::new();
    carved.leave_out_erased();
    Ok(carved)
}

/// Calls `look_at` with the place of each mark and what follows it, until it says no.
fn scan(file: &File, mut look_at: impl FnMut(u64, &[u8]) -> bool) -> io::Result<()> {
    let mut file = file;
    let (mut window, mut start) = (Vec::with_capacity(WINDOW + LONGEST), 0_u64);
    loop {
        let before = window.len();
        let limit = u64::try_from(WINDOW).unwrap_or(u64::MAX);
        let read = read_whole(&mut file, limit, &mut window)?;
        let last = window.len() == before || read < WINDOW;
        // What begins behind this may not be whole yet.
        let end = if last { window.len() } else { window.len().saturating_sub(LONGEST) };
        let mut at = 0;
        while let Some(found) = window.get(at..).and_then(find_mark).map(|found| at + found) {
            if found >= end {
                break;
            }
            let bytes = window.get(found..).unwrap_or_default();
            let place = start + u64::try_from(found).unwrap_or(u64::MAX);
            if !look_at(place, bytes) {
                return Ok(());
            }
            at = found + 1;
        }
        if last {
            return Ok(());
        }
        start += u64::try_from(end).unwrap_or(u64::MAX);
        window.drain(..end);
    }
}

/// Reads up to `limit` bytes. A part of the disk that answers with errors ends the log, rather than
/// all that was found before it.
fn read_whole(file: &mut &File, limit: u64, window: &mut Vec<u8>) -> io::Result<usize> {
    let before = window.len();
    match file.take(limit).read_to_end(window) {
        Ok(read) => Ok(read),
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(window.len() - before),
        Err(error) => Err(error),
    }
}

/// Where the first mark is.
pub(super) fn find_mark(bytes: &[u8]) -> Option<usize> {
    let [first, ..] = MARK;
    let mut rest = bytes;
    loop {
        // The fastest search for a byte that the standard library has. It goes to the end where
        // there is none.
        rest.skip_until(first).ok().filter(|passed| *passed > 0)?;
        let found = bytes.len() - rest.len() - 1;
        if bytes.get(found..)?.starts_with(&MARK) {
            return Some(found);
        }
    }
}

impl Carved {
    fn look_at(&mut self, offset: u64, bytes: &[u8]) {
        let Some(label) = frame::label(bytes) else { return };
        let known = match label.spot {
            Spot::Head => self.head.as_ref().map(|_| self.head_commit),
            Spot::Standings(chunk) => self.states.get(&chunk).map(|(commit, _)| *commit),
            Spot::Kept(name) => self.kept.get(&name).map(|(commit, _)| *commit),
            Spot::Block(slot) => {
                self.blocks.contains(&(slot, label.commit)).then_some(label.commit)
            }
        };
        if known.is_some_and(|known| known >= label.commit) {
            return;
        }
        let Some((_, plain)) = frame::open(&self.key, bytes) else {
            let tried = u64::try_from(label.length).unwrap_or(u64::MAX);
            self.patience = self.patience.saturating_sub(tried);
            if let Spot::Standings(chunk) = label.spot {
                let newer = self.newer.entry(chunk).or_default();
                *newer = label.commit.max(*newer);
            }
            return;
        };
        match label.spot {
            Spot::Head => {
                if let Some(head) = Head::decode(&plain) {
                    (self.head, self.head_commit) = (Some(head), label.commit);
                }
            }
            Spot::Standings(chunk) => {
                self.states.insert(chunk, (label.commit, plain));
            }
            Spot::Kept(name) => {
                if let Some(kept) = volume::decode_kept(&plain) {
                    self.kept.insert(name, (label.commit, kept));
                }
            }
            Spot::Block(slot) => {
                self.blocks.insert((slot, label.commit));
                for held in block::decode(&plain).unwrap_or_default() {
                    let found = (label.commit, offset);
                    let known = self.records.entry(held.sequence).or_insert(found);
                    if known.0 < label.commit {
                        *known = found;
                    }
                }
            }
        }
    }

    /// All records that were found, whether they still count or not.
    #[cfg(test)]
    pub(super) fn sequences(&self) -> impl Iterator<Item = Sequence> {
        self.records.keys().copied()
    }

    /// The first sequence that is looked at.
    pub(super) fn first(&self) -> u64 {
        let first = self.records.keys().next().map_or_else(
            // There is nothing; the fresh store begins behind the last.
            || self.last().saturating_add(1),
            |first| first.0,
        );
        match &self.head {
            Some(head) => (head.floor << BITS).max(1).min(self.last().saturating_add(1)),
            None => first,
        }
    }

    /// The last sequence that was given, as far as it can be found out.
    pub(super) fn last(&self) -> u64 {
        let last = self.records.keys().next_back().map_or(0, |last| last.0);
        self.head.as_ref().map_or(0, |head| head.last).max(last)
    }

    /// Writes what was found into a fresh store, and says what else is to be kept there and how many
    /// records there are.
    pub(super) fn save_into(
        mut self,
        workshop: &mut Workshop,
    ) -> Result<(Vec<Kept>, usize), Cause> {
        let (first, last) = (self.first(), self.last());
        workshop.volume().set_lost(self.lost(first, last));
        let (mut part, mut count) = (Vec::new(), 0);
        let mut read = (u64::MAX, Vec::new());
        let mut states = (u64::MAX, Vec::new());
        for (sequence, (_, offset)) in std::mem::take(&mut self.records) {
            if sequence.0 < first {
                continue;
            }
            let standing = match self.state(&mut states, sequence) {
                State::Held(standing) => standing,
                State::Gone => continue,
            };
            if read.0 != offset {
                read = (offset, self.block(offset)?);
            }
            let held = read.1.iter().find(|held| held.sequence == sequence);
            part.extend(held.map(|held| Held { standing, ..held.clone() }));
            if part.len() >= PART {
                count += part.len();
                workshop.add(&part, sequence.0)?;
                part.clear();
            }
        }
        count += part.len();
        workshop.add(&part, last)?;
        // Whether a visit is still open is not known: what was forgotten since is in the log as well.
        let kept = self.kept.into_values().map(|(_, kept)| kept);
        Ok((kept.filter(|kept| kept.slot.starts_with(RESERVED)).collect(), count))
    }

    /// Whether something that was removed has to vanish. Where no head is left, that may be; where
    /// nothing at all was found, the key may be the wrong one, and the store must stay.
    pub(super) fn owes_scrub(&self) -> bool {
        self.head.as_ref().map_or(!self.records.is_empty(), |head| head.owes_scrub)
    }

    /// How many of the records that wait may have been sent before: those of chunks of which the
    /// newest value that says where they stand is damaged.
    pub(super) fn doubtful(&self) -> usize {
        let stale = self.newer.iter().filter(|(chunk, newer)| {
            self.states.get(chunk).is_none_or(|(commit, _)| *commit < **newer)
        });
        let records = stale.map(|(chunk, _)| {
            let first = chunk << BITS;
            self.records.range(Sequence(first)..=Sequence(first | ((1 << BITS) - 1))).count()
        });
        records.sum()
    }

    /// Leaves out what was erased. Where records stand says so; the head says it again, until nothing
    /// of them is in the log any more, so that a single place that is damaged brings nothing back.
    fn leave_out_erased(&mut self) {
        for erased in self.head.iter().flat_map(|head| &head.erased) {
            let range = Sequence(erased.first)..=Sequence(erased.last);
            let old = self.records.range(range).filter(|(sequence, (commit, _))| {
                let known = self.states.get(&(sequence.0 >> BITS)).map_or(0, |(commit, _)| *commit);
                *commit < erased.commit && known < erased.commit
            });
            let old: Vec<Sequence> = old.map(|(sequence, _)| *sequence).collect();
            for sequence in old {
                self.records.remove(&sequence);
            }
        }
    }

    /// What is neither gone nor found.
    fn lost(&self, first: u64, last: u64) -> Ranges {
        let mut ranges = Ranges::new();
        let mut states = (u64::MAX, Vec::new());
        let mut found = self.records.range(Sequence(first)..).map(|(sequence, _)| *sequence);
        let mut next = found.next();
        for sequence in (first.max(1)..=last).map(Sequence) {
            if next == Some(sequence) {
                next = found.next();
            } else if self.state(&mut states, sequence) != State::Gone {
                ranges.add(sequence);
            }
        }
        ranges
    }

    /// The state of a sequence; `known` has those of the chunk that was asked for last.
    fn state(&self, known: &mut (u64, Vec<State>), sequence: Sequence) -> State {
        let chunk = sequence.0 >> BITS;
        if known.0 != chunk {
            let runs = self.states.get(&chunk).map_or(&[][..], |(_, runs)| runs.as_slice());
            *known = (chunk, standings::decode(runs).unwrap_or_default());
        }
        let at = usize::try_from(sequence.0 & ((1 << BITS) - 1)).unwrap_or(usize::MAX);
        known.1.get(at).copied().unwrap_or(State::Held(Standing::Pending))
    }

    fn block(&self, offset: u64) -> Result<Vec<Held>, Cause> {
        let mut bytes = vec![0; LONGEST];
        let mut length = 0;
        while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match self.log.read_at(rest, offset + u64::try_from(length)?)? {
                0 => break,
                read => length += read,
            }
        }
        let (_, plain) = frame::open(&self.key, bytes.get(..length).unwrap_or_default())
            .ok_or("a part of the log changed while it was read")?;
        Ok(block::decode(&plain).ok_or("a block cannot be understood")?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn every_mark_is_found_once_wherever_it_lies() {
        let mut file = tempfile::tempfile().unwrap();
        let places = [0, 5, WINDOW - LONGEST - 2, WINDOW - 7, WINDOW - 1, 2 * WINDOW + 77];
        let mut bytes = vec![0xbe; 2 * WINDOW + 81];
        for place in places {
            bytes[place..place + 4].copy_from_slice(&MARK);
        }
        file.write_all(&bytes).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let mut found = Vec::new();
        scan(&file, |place, bytes| {
            assert!(bytes.starts_with(&MARK));
            found.push(usize::try_from(place).unwrap());
            true
        })
        .unwrap();
        assert_eq!(found, places);
    }
}

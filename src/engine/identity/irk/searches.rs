//! The addresses that are being looked for: a bounded queue, searched in slices.
//!
//! Addresses in; whose key made each out, once every key was tried. The first few of the queue are
//! searched together, each from wherever the sweep over the keys stands when its turn comes until
//! it stands there again. An address is held while it waits and is overwritten when its search
//! ends; nothing here shows it.

use std::fmt;

use arrayvec::ArrayVec;
use zeroize::Zeroize;

use super::keys::{KeyRing, LANES, Probe};
use crate::forget;

/// So many addresses wait at the most. A busy shop brings a new one a second.
pub(super) const WAITING: usize = 64;

/// The addresses that are being looked for, oldest first.
pub(super) struct Searches {
    /// Never longer than [`WAITING`], and never moved, so that no copy stays behind.
    queue: Vec<Search>,
    /// The next key to try.
    cursor: usize,
}

struct Search {
    fingerprint: u64,
    probe: Probe,
    /// How many keys have not been tried.
    left: usize,
    found: Found,
}

/// What has been found so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// No key fits.
    Nobody,
    /// The key at this place fits.
    At(usize),
    /// Keys of two subjects fit, so neither is believed.
    TooMany,
}

/// A search that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) fingerprint: u64,
    pub(super) found: Found,
}

// === impl Searches ===

impl Searches {
    pub(super) fn new() -> Self {
        Self { queue: Vec::new(), cursor: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn contains(&self, fingerprint: u64) -> bool {
        self.queue.iter().any(|search| search.fingerprint == fingerprint)
    }

    /// How many checks it takes to end every search.
    pub(super) fn checks_left(&self) -> usize {
        self.queue.iter().fold(0, |sum, search| sum.saturating_add(search.left))
    }

    /// Takes in an address. False when the queue is full.
    pub(super) fn push(&mut self, fingerprint: u64, probe: Probe, keys: usize) -> bool {
        if self.queue.len() >= WAITING {
            return false;
        }
        if self.queue.capacity() == 0 {
            self.queue.reserve_exact(WAITING);
        }
        self.queue.push(Search { fingerprint, probe, left: keys, found: Found::Nobody });
        true
    }

    /// Makes up to so many checks. Tells how many it made and which searches ended.
    pub(super) fn advance(
        &mut self,
        keys: &KeyRing,
        allowed: usize,
    ) -> (usize, ArrayVec<Ended, WAITING>) {
        let (mut made, mut ended) = (0, ArrayVec::new());
        while made < allowed && !self.queue.is_empty() {
            made += self.sweep(keys, allowed - made);
            self.collect(&mut ended);
        }
        (made, ended)
    }

    /// The keys are not the same any more: every search begins anew. Without any, none does.
    pub(super) fn restart(&mut self, keys: usize) {
        self.cursor = 0;
        for search in &mut self.queue {
            (search.left, search.found) = (keys, Found::Nobody);
        }
        if keys == 0 {
            let gone = self.queue.len();
            self.queue.clear();
            forget::clear_behind(&mut self.queue, gone);
        }
    }

    /// Tries some keys against the first of the queue.
    fn sweep(&mut self, keys: &KeyRing, allowed: usize) -> usize {
        let count = self.queue.len().min(LANES);
        let Some(lanes) = self.queue.get_mut(..count) else { return allowed };
        let least_left = lanes.iter().map(|search| search.left).min().unwrap_or(0);
        let ahead = keys.len().saturating_sub(self.cursor);
        let run = (allowed / count).max(1).min(least_left).min(ahead);
        if run == 0 {
            return allowed;
        }
        let mut probes: ArrayVec<Probe, LANES> = lanes.iter().map(|search| search.probe).collect();
        keys.try_range(self.cursor..self.cursor + run, &probes, |lane, place| {
            if let Some(search) = lanes.get_mut(lane) {
                search.found = search.found.and(place, keys);
            }
        });
        probes.iter_mut().for_each(Zeroize::zeroize);
        for search in lanes {
            search.left -= run;
        }
        self.cursor = (self.cursor + run) % keys.len().max(1);
        run * count
    }

    /// Takes out the searches that have tried every key.
    fn collect(&mut self, ended: &mut ArrayVec<Ended, WAITING>) {
        while let Some(place) = self.queue.iter().position(|search| search.left == 0) {
            let Some(rest) = self.queue.get_mut(place..) else { return };
            if let Some(search) = rest.first_mut() {
                ended.push(Ended { fingerprint: search.fingerprint, found: search.found });
                search.wipe();
            }
            // Overwritten before it is moved behind the others and dropped; and then once more, with
            // what came along from the stack in the room that it did not use.
            rest.rotate_left(1);
            self.queue.pop();
            forget::clear_behind(&mut self.queue, 1);
        }
    }
}

impl Drop for Searches {
    fn drop(&mut self) {
        self.queue.iter_mut().for_each(Search::wipe);
    }
}

impl fmt::Debug for Searches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Searches").field("waiting", &self.queue.len()).finish_non_exhaustive()
    }
}

// === impl Search ===

impl Search {
    fn wipe(&mut self) {
        self.fingerprint.zeroize();
        self.probe.zeroize();
    }
}

// === impl Found ===

impl Found {
    /// What is found when the key at one more place fits.
    pub(super) fn and(self, place: usize, keys: &KeyRing) -> Self {
        match self {
            Self::Nobody => Self::At(place),
            // Two keys of one subject are no contradiction.
            Self::At(other) if keys.owner(other) == keys.owner(place) => self,
            Self::At(_) | Self::TooMany => Self::TooMany,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{
            AddressKind, DeviceAddress,
            identity::{Key, rotating::tests::subjects},
        },
        forget::debugger::{self, Debugger},
    };

    const SEARCH: usize = size_of::<Search>();

    #[test]
    fn a_search_that_has_ended_leaves_nothing_where_it_was() {
        let (debugger, [owner, ..]) = (Debugger::new(), subjects());
        let mut keys = KeyRing::default();
        keys.insert(owner, &Key::new([7; 16]));
        let stranger = DeviceAddress::new([0x42, 1, 2, 3, 4, 5], AddressKind::Random);
        for ends in [true, false] {
            let mut searches = Searches::new();
            for fingerprint in 1..=3 {
                debugger::soil();
                assert!(searches.push(fingerprint, Probe::of(stranger), 1));
            }
            let place = searches.queue.as_ptr().addr();
            assert!(debugger.octets::<{ 3 * SEARCH }>(place) != [0; 3 * SEARCH]);
            if ends {
                let (_, ended) = searches.advance(&keys, 100);
                assert_eq!(ended.len(), 3);
            } else {
                searches.restart(0);
            }
            assert!(searches.is_empty());
            assert!(debugger.octets::<{ 3 * SEARCH }>(place) == [0; 3 * SEARCH], "{ends}");
        }
    }
}

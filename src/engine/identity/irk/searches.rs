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
            if keys == 0 {
                search.wipe();
            }
        }
        if keys == 0 {
            self.queue.clear();
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
            // Overwritten before it is moved behind the others and dropped.
            rest.rotate_left(1);
            self.queue.pop();
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

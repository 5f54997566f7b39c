//! What the room counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::reason::Reason;

/// Counted since the start, readable while the room runs.
#[derive(Debug, Default)]
pub struct Counters {
    received: AtomicU64,
    carried: AtomicU64,
    noted: AtomicU64,
    failed: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
    asked: AtomicU64,
    connections: AtomicU64,
    faults: AtomicU64,
    discarded: AtomicU64,
    online: AtomicBool,
}

/// One reading of the [`Counters`]: `received = carried + noted + failed + refused`, once nothing is
/// under way.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Messages judged; the room's own are not among them.
    pub received: u64,
    /// Orders carried out.
    pub carried: u64,
    /// Messages that were sound and changed nothing.
    pub noted: u64,
    /// Orders that could not be carried out; the broker brings them again.
    pub failed: u64,
    /// Messages refused, by reason; only reasons there were.
    pub refused: Vec<(Reason, u64)>,
    /// Times a snapshot was asked for.
    pub asked: u64,
    /// Connections the broker accepted.
    pub connections: u64,
    /// Connections that failed or broke.
    pub faults: u64,
    /// Times what waited at the broker was discarded, because it could not be read.
    pub discarded: u64,
    /// There is a connection.
    pub online: bool,
}

impl Counters {
    /// Reads all counters. They are read one after the other, while they may move on.
    pub fn totals(&self) -> Totals {
        let refused = Reason::ALL.into_iter().zip(&self.refused);
        Totals {
            received: self.received.load(Relaxed),
            carried: self.carried.load(Relaxed),
            noted: self.noted.load(Relaxed),
            failed: self.failed.load(Relaxed),
            refused: refused
                .map(|(reason, count)| (reason, count.load(Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            asked: self.asked.load(Relaxed),
            connections: self.connections.load(Relaxed),
            faults: self.faults.load(Relaxed),
            discarded: self.discarded.load(Relaxed),
            online: self.online.load(Relaxed),
        }
    }

    pub(super) fn received(&self) {
        self.received.fetch_add(1, Relaxed);
    }

    pub(super) fn carried(&self) {
        self.carried.fetch_add(1, Relaxed);
    }

    pub(super) fn noted(&self) {
        self.noted.fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self, reason: Reason) {
        if let Some(count) = self.refused.get(reason.index()) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn asked(&self) {
        self.asked.fetch_add(1, Relaxed);
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
        self.online.store(true, Relaxed);
    }

    pub(super) fn disconnected(&self) {
        self.online.store(false, Relaxed);
    }

    pub(super) fn faulted(&self) {
        self.faults.fetch_add(1, Relaxed);
    }

    pub(super) fn discarded(&self) {
        self.discarded.fetch_add(1, Relaxed);
    }
}

impl Totals {
    /// Messages refused for a reason.
    pub fn refused_for(&self, reason: Reason) -> u64 {
        self.refused.iter().find(|(it, _)| *it == reason).map_or(0, |(_, count)| *count)
    }

    /// Messages refused for any reason.
    pub fn refused_in_all(&self) -> u64 {
        self.refused.iter().map(|(_, count)| count).sum()
    }
}

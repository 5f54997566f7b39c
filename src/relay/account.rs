//! What the way to the lead counts, for the metrics and the state document.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counters of the room.
#[derive(Debug, Default)]
pub struct RelayCounters {
    pub(super) messages: AtomicU64,
    pub(super) sightings: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) online: AtomicBool,
}

/// One reading.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RelayTotals {
    /// Messages handed to the broker's line.
    pub messages: u64,
    /// Sightings in them.
    pub sightings: u64,
    /// Sightings that were not sent: there was no line, or it or the room was behind.
    pub dropped: u64,
    /// Connections that were not made, or that broke.
    pub faults: u64,
    /// There is a line.
    pub online: bool,
}

impl RelayCounters {
    /// Sightings were dropped before they came to the room.
    pub fn drop_sightings(&self, count: u64) {
        self.dropped.fetch_add(count, Relaxed);
    }

    /// What was counted so far.
    pub fn totals(&self) -> RelayTotals {
        RelayTotals {
            messages: self.messages.load(Relaxed),
            sightings: self.sightings.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            faults: self.faults.load(Relaxed),
            online: self.online.load(Relaxed),
        }
    }
}

//! What the room counts, for the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counters of the room.
#[derive(Debug, Default)]
pub struct DiscoveryCounters {
    pub(super) published: AtomicU64,
    pub(super) removed: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) left_out: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) online: AtomicBool,
}

/// One reading.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DiscoveryTotals {
    /// Messages that a broker keeps, or kept until the next one of their topic.
    pub published: u64,
    /// Messages that were taken back.
    pub removed: u64,
    /// Messages that a broker did not take.
    pub refused: u64,
    /// Quantities, buttons and alerts of fixtures that have too many of them.
    pub left_out: u64,
    /// Connections that were not made, or that broke.
    pub faults: u64,
    /// There is a line.
    pub online: bool,
}

impl DiscoveryCounters {
    /// What was counted so far.
    pub fn totals(&self) -> DiscoveryTotals {
        DiscoveryTotals {
            published: self.published.load(Relaxed),
            removed: self.removed.load(Relaxed),
            refused: self.refused.load(Relaxed),
            left_out: self.left_out.load(Relaxed),
            faults: self.faults.load(Relaxed),
            online: self.online.load(Relaxed),
        }
    }
}

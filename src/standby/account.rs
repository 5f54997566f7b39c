//! What a pair of gateways counts, for the metrics and the state document.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::inbox::Refusal;

/// Counters of the room.
#[derive(Debug, Default)]
pub struct StandbyCounters {
    pub(super) sent: AtomicU64,
    pub(super) unsent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) online: AtomicBool,
    refused: [AtomicU64; Refusal::ALL.len()],
}

/// One reading.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StandbyTotals {
    /// Messages handed to the broker's line.
    pub sent: u64,
    /// Messages that were not sent, as there was no line or it was behind.
    pub unsent: u64,
    /// Messages taken.
    pub received: u64,
    /// Connections that were not made, or that broke.
    pub faults: u64,
    /// There is a line.
    pub online: bool,
    /// Messages that were not taken, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
}

impl StandbyCounters {
    /// Counts a message that was not taken; says whether it was the first for this reason.
    pub(super) fn refuse(&self, refusal: Refusal) -> bool {
        let counters = Refusal::ALL.into_iter().zip(&self.refused);
        let mut found = counters.filter(|(it, _)| *it == refusal).map(|(_, counter)| counter);
        found.next().is_some_and(|counter| counter.fetch_add(1, Relaxed) == 0)
    }

    /// What was counted so far.
    pub fn totals(&self) -> StandbyTotals {
        StandbyTotals {
            sent: self.sent.load(Relaxed),
            unsent: self.unsent.load(Relaxed),
            received: self.received.load(Relaxed),
            faults: self.faults.load(Relaxed),
            online: self.online.load(Relaxed),
            refused: self.refused.each_ref().map(|counter| counter.load(Relaxed)),
        }
    }
}

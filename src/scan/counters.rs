//! What the scan room counts, for the metrics, the closing table and the view of a technician.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use super::silence::Step;
use crate::{engine::ReceiverId, remote::RemoteCounters};

/// Where the data of a scan comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Plane {
    /// Events over the message bus, by btleplug: a few hundred a second.
    Dbus,
    /// The kernel's monitor of what controllers say, while bluetoothd owns the scan.
    Monitor,
    /// A controller of our own, through the kernel's user channel.
    Hci,
}

/// What a source counts.
#[derive(Debug, Default)]
pub struct ScanCounters {
    /// Advertisements of a recording or a simulation handed on.
    pub heard: AtomicU64,
    /// Advertisements of a simulation dropped because the engine was behind.
    pub dropped: AtomicU64,
    /// A recording's packets that carried no usable advertisement.
    pub unusable: AtomicU64,
    /// The live receivers.
    pub receivers: Vec<Arc<ReceiverCounters>>,
    /// The remote ones.
    pub remotes: Vec<Arc<RemoteCounters>>,
}

/// What one live receiver counts, and how it stands.
#[derive(Debug)]
pub struct ReceiverCounters {
    /// Its name.
    pub id: ReceiverId,
    /// Advertisements handed on.
    pub heard: AtomicU64,
    /// Advertisements dropped because what comes after the radio was behind: in the kernel's queue
    /// on the planes that have one, else in this program's.
    pub dropped: AtomicU64,
    /// Reports that carried no usable advertisement.
    pub unusable: AtomicU64,
    /// Steps of the recovery ladder that were tried, in the order of [`Step::ALL`].
    pub steps: [AtomicU64; Step::ALL.len()],
    /// Bytes waiting in the kernel's queue, its own overhead included.
    pub queue_bytes: AtomicU64,
    /// How long the advertisement that was handed on last had waited, in microseconds.
    pub age_us: AtomicU64,
    /// The plane in use: its place, from 1; 0 while there is none.
    plane: AtomicU8,
}

/// One reading of all counters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ScanTotals {
    /// Advertisements handed on.
    pub heard: u64,
    /// Advertisements dropped.
    pub dropped: u64,
    /// What carried no usable advertisement.
    pub unusable: u64,
    /// Steps of the recovery ladder tried.
    pub steps: u64,
}

// === impl Plane ===

impl Plane {
    const ALL: [Self; 3] = [Self::Dbus, Self::Monitor, Self::Hci];

    /// The name used in the configuration, in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dbus => "dbus",
            Self::Monitor => "monitor",
            Self::Hci => "hci",
        }
    }
}

// === impl ScanCounters ===

impl ScanCounters {
    /// Counters for live receivers.
    pub fn for_receivers(ids: impl IntoIterator<Item = ReceiverId>) -> Self {
        let receivers = ids.into_iter().map(|id| Arc::new(ReceiverCounters::new(id))).collect();
        Self { receivers, ..Self::default() }
    }

    /// The same, and counters for remote receivers.
    #[must_use]
    pub fn with_remotes(mut self, remotes: impl IntoIterator<Item = RemoteCounters>) -> Self {
        self.remotes = remotes.into_iter().map(Arc::new).collect();
        self
    }

    /// Everything together.
    pub fn totals(&self) -> ScanTotals {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut totals = ScanTotals {
            heard: load(&self.heard),
            dropped: load(&self.dropped),
            unusable: load(&self.unusable),
            steps: 0,
        };
        for receiver in &self.receivers {
            totals.heard += load(&receiver.heard);
            totals.dropped += load(&receiver.dropped);
            totals.unusable += load(&receiver.unusable);
            totals.steps += receiver.steps.iter().map(load).sum::<u64>();
        }
        for remote in &self.remotes {
            totals.heard += load(&remote.heard);
            totals.dropped += load(&remote.dropped);
            totals.unusable += remote.refused_in_all();
        }
        totals
    }
}

// === impl ReceiverCounters ===

impl ReceiverCounters {
    /// Counters at zero.
    pub fn new(id: ReceiverId) -> Self {
        Self {
            id,
            heard: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            unusable: AtomicU64::new(0),
            steps: Default::default(),
            queue_bytes: AtomicU64::new(0),
            age_us: AtomicU64::new(0),
            plane: AtomicU8::new(0),
        }
    }

    /// The plane in use; none while there is no scan.
    pub fn plane(&self) -> Option<Plane> {
        let place = self.plane.load(Ordering::Relaxed);
        Plane::ALL.get(usize::from(place).checked_sub(1)?).copied()
    }

    /// How often a step was tried.
    pub fn tried(&self, step: Step) -> u64 {
        self.steps.get(step.place()).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    pub(super) fn set_plane(&self, plane: Option<Plane>) {
        let number = match plane {
            None => 0,
            Some(Plane::Dbus) => 1,
            Some(Plane::Monitor) => 2,
            Some(Plane::Hci) => 3,
        };
        self.plane.store(number, Ordering::Relaxed);
    }

    pub(super) fn count(&self, step: Step) {
        if let Some(counter) = self.steps.get(step.place()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_is_told_as_it_was_set() {
        let counters = ReceiverCounters::new(ReceiverId::default());
        assert_eq!(counters.plane(), None);
        for plane in Plane::ALL {
            counters.set_plane(Some(plane));
            assert_eq!(counters.plane(), Some(plane));
        }
    }

    #[test]
    fn totals_are_those_of_all_receivers() {
        let counters = ScanCounters::for_receivers(["a", "b"].map(ReceiverId::new));
        for (n, receiver) in (1..).zip(&counters.receivers) {
            receiver.heard.store(n * 10, Ordering::Relaxed);
            receiver.dropped.store(n, Ordering::Relaxed);
            receiver.count(Step::Reset);
            assert_eq!((receiver.tried(Step::Reset), receiver.tried(Step::Rebuild)), (1, 0));
        }
        assert_eq!(counters.totals(), ScanTotals { heard: 30, dropped: 3, unusable: 0, steps: 2 });
    }
}

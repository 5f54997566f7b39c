//! What the uplink tells about itself: the state of the link, and what it counted.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{access::Access, broker::Broker, tls::Expiries};
use crate::{engine::Uptime, outbox::Sequence};

/// The state of the link to the broker.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum LinkState {
    /// The first attempt is on its way.
    #[default]
    Connecting,
    /// The broker has accepted us.
    Online {
        /// When it did.
        since: Uptime,
    },
    /// There is no connection; it is tried again, now and then.
    Offline {
        /// When the last connection ended, or when the first attempt failed.
        since: Uptime,
        /// Why the last attempt failed, in words for a technician.
        why: String,
    },
}

/// Counted since the start, readable while the room runs.
#[derive(Debug, Default)]
pub struct Counters {
    published: AtomicU64,
    acknowledged: AtomicU64,
    redelivered: AtomicU64,
    rejected: AtomicU64,
    unreadable: AtomicU64,
    erased: AtomicU64,
    refused: AtomicU64,
    passed_over: AtomicU64,
    connections: AtomicU64,
    faults: AtomicU64,
    moves: AtomicU64,
    tried: Mutex<Option<Tried>>,
    last_round_trip_micros: AtomicU64,
    replayed: AtomicU64,
    dead_letter: Mutex<Option<DeadLetter>>,
}

/// The last record that was set aside, and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeadLetter {
    /// Which.
    pub sequence: Sequence,
    /// Why, in words for an operator.
    pub why: &'static str,
    /// When.
    pub at: Uptime,
}

/// The broker that is tried or used, and the access it is tried with.
#[derive(Debug)]
struct Tried {
    place: usize,
    access: Access,
}

/// Which broker is used, or tried, and what the connection depends on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LineStatus {
    /// The broker; nothing before the first attempt.
    pub broker: Option<Broker>,
    /// Its place in the list; 0 is the preferred one.
    pub place: usize,
    /// When certificates end.
    pub expiries: Expiries,
}

/// One reading of the [`Counters`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Records written to a connection, repetitions included.
    pub published: u64,
    /// Records the broker has acknowledged, and that were deleted for it.
    pub acknowledged: u64,
    /// Records written again, because an earlier connection broke before their acknowledgement or
    /// the broker put them off.
    pub redelivered: u64,
    /// Records set aside: the broker refused them for good, or broke connections for them. They are
    /// kept, as dead letters.
    pub rejected: u64,
    /// Records taken out of the line because they could not be read.
    pub unreadable: u64,
    /// Records deleted because they might no longer be sent.
    pub erased: u64,
    /// Times the broker put a record off; it was kept.
    pub refused: u64,
    /// Times a record was passed over because it cannot be sent yet; it was kept.
    pub passed_over: u64,
    /// Connections the broker accepted.
    pub connections: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Connections that failed or broke.
    pub faults: u64,
    /// Times another broker was tried than before.
    pub moves: u64,
    /// The time between the last acknowledged request and its acknowledgement.
    pub last_round_trip: Duration,
    /// Records acknowledged that were sent again on order.
    pub replayed: u64,
    /// The last record that was set aside.
    pub dead_letter: Option<DeadLetter>,
}

impl Counters {
    /// Reads all counters. They are read one after the other, while they may move on.
    pub fn totals(&self) -> Totals {
        let connections = self.connections.load(Relaxed);
        Totals {
            published: self.published.load(Relaxed),
            acknowledged: self.acknowledged.load(Relaxed),
            redelivered: self.redelivered.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            unreadable: self.unreadable.load(Relaxed),
            erased: self.erased.load(Relaxed),
            refused: self.refused.load(Relaxed),
            passed_over: self.passed_over.load(Relaxed),
            connections,
            reconnects: connections.saturating_sub(1),
            faults: self.faults.load(Relaxed),
            moves: self.moves.load(Relaxed),
            last_round_trip: Duration::from_micros(self.last_round_trip_micros.load(Relaxed)),
            replayed: self.replayed.load(Relaxed),
            // It is one assignment, which cannot be half done.
            dead_letter: *self.dead_letter.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Which broker is used, or tried.
    pub fn line(&self) -> LineStatus {
        let tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.as_ref().map_or_else(LineStatus::default, |Tried { place, access }| LineStatus {
            broker: Some(access.broker_at(*place).clone()),
            place: *place,
            expiries: access.expiries(),
        })
    }

    /// A broker is tried.
    pub(super) fn trying(&self, access: &Access, place: usize) {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.as_ref().is_some_and(|tried| tried.place != place) {
            self.moves.fetch_add(1, Relaxed);
        }
        *tried = Some(Tried { place, access: access.clone() });
    }

    pub(super) fn published(&self, again: bool) {
        self.published.fetch_add(1, Relaxed);
        if again {
            self.redelivered.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn acknowledged(&self, round_trip: Duration) {
        let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.last_round_trip_micros.store(micros, Relaxed);
        self.acknowledged.fetch_add(1, Relaxed);
    }

    pub(super) fn rejected(&self, letter: DeadLetter) {
        self.rejected.fetch_add(1, Relaxed);
        *self.dead_letter.lock().unwrap_or_else(PoisonError::into_inner) = Some(letter);
    }

    pub(super) fn replayed(&self) {
        self.replayed.fetch_add(1, Relaxed);
    }

    pub(super) fn unreadable(&self) {
        self.unreadable.fetch_add(1, Relaxed);
    }

    pub(super) fn erased(&self) {
        self.erased.fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn passed_over(&self, records: u64) {
        self.passed_over.fetch_add(records, Relaxed);
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(super) fn faulted(&self) {
        self.faults.fetch_add(1, Relaxed);
    }
}

impl LinkState {
    /// The broker has accepted us, and the connection stands.
    pub fn is_online(&self) -> bool {
        matches!(self, Self::Online { .. })
    }
}

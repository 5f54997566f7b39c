//! Room 6. Situations in, durable records out; deleted only once acknowledged.

use tokio::sync::oneshot;

use crate::engine::UnixTime;

/// Position of a record in the outbox, from 1. Never reused within an epoch.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sequence(pub u64);

/// A record on its way in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The encoded record, at most 2 KiB.
    pub bytes: Vec<u8>,
    /// When it was made, for `max_age`; `None` while the clock is not synced (then it never ages).
    pub made: Option<UnixTime>,
}

/// A durable record on its way out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Its place in the outbox.
    pub sequence: Sequence,
    /// The encoded record.
    pub bytes: Vec<u8>,
}

/// What the engine's side asks of the outbox.
#[derive(Debug)]
pub enum Write {
    /// Keeps a record until it is acknowledged.
    Append(Entry),
    /// Keeps (or with `None` forgets) a small named value in the same commit as the records
    /// around it: the checkpoint of an open visit.
    Keep {
        /// Names the value; at most 200 bytes.
        slot: Vec<u8>,
        /// The value, at most 2 KiB.
        value: Option<Vec<u8>>,
    },
}

/// What the uplink asks of the outbox.
#[derive(Debug)]
pub enum Read {
    /// The oldest durable records behind `after`, at most `limit`.
    Oldest {
        /// Only records with a greater sequence.
        after: Option<Sequence>,
        /// At most this many.
        limit: usize,
        /// Where to send them.
        reply: oneshot::Sender<Vec<Stored>>,
    },
    /// Forgets records.
    Remove {
        /// Which; those already gone are passed over.
        sequences: Vec<Sequence>,
        /// Why, for the accounts.
        why: Removal,
    },
}

/// Why a record leaves the outbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Removal {
    /// The broker has it.
    Acknowledged,
    /// It may no longer be sent: the consent it was made under has ended.
    Erased,
    /// It can never be delivered: the broker refuses it for good, or it cannot be read.
    Rejected,
}

//! Room 6. Situations in, durable records out; deleted only once acknowledged.
//!
//! What comes in are records as bytes ([`Write`]) and the uplink's requests ([`Read`]); what goes
//! out are [`Stored`] records, oldest first, and a [`Status`] after every commit. The room does not
//! know what a record means. It promises that
//!
//! - a record it hands out would survive a power cut at that moment, and so would its sequence;
//! - a sequence names one record for as long as the epoch lasts, also after the store was emptied;
//! - a record leaves only because it was acknowledged, or was lost in one of the ways that
//!   [`DropReason`] names. Every loss is booked in the commit that makes it and told by a notice that
//!   is itself a record, so that every number is delivered, pending, a dead letter or told; and the
//!   books balance ([`Status::conserves`]);
//! - a disk that is full, read-only or failing is lived through: what comes waits in memory, in its
//!   order, and is on the disk when it is back; what memory has no room for is counted and told;
//! - what was erased is gone from the store at once and for good, and a while later, which is
//!   bounded, also from the files of the store.
//!
//! | part | what it does |
//! |---|---|
//! | `serve`, `start` | keeps the room going, with a journal and without; on a thread of its own |
//! | `room` | the room with an open journal: changes, group commit, answers, work in parts |
//! | `books` | what is known beside the journal, and made again when a commit was lost |
//! | `backlog`, `disk` | what waits in memory; how the disk is, and when it is tried again |
//! | `caps`, `retained` | whose turn it is to go when the store is full; what is held for replay |
//! | `losses` | what was lost and not told yet |
//! | `erase`, `scrub` | erases what is about somebody, and then the traces of it |
//! | [`Journal`] | what the room needs of a store; [`SledJournal`] and [`MemoryJournal`] have it |
//! | `inspect` | looks into a store that no gateway is using |
//!
//! A commit that fails may have reached the disk or not. The journal is opened again, and what it
//! holds says which: the commit is one step, so it holds what it held before, or all that was
//! expected. In the first case the changes are made again, in their order.

pub mod record;

mod about;
pub use about::{About, Tag};

use tokio::sync::oneshot;

use crate::engine::UnixTime;

mod backlog;

mod books;

mod caps;

mod class;
pub use class::{Class, Standing};

mod disk;
pub use disk::DiskState;
pub(crate) use disk::{Patience, probe};

mod dropped;
pub use dropped::{DropReason, Dropped, Notice};

mod erase;
pub use erase::{Erased, Judge, Verdict};

mod error;
pub use error::OutboxError;

mod inspect;
pub use inspect::{Inspection, Stats, in_use, inspect, inspect_with};

mod journal;
pub use journal::{Held, Journal, Kept, MAX_RECORD, MAX_SLOT, Pending, Scrub};

mod losses;

mod memory_journal;
pub use memory_journal::MemoryJournal;

mod ranges;
pub use ranges::Ranges;

mod retained;

mod room;

mod scrub;

mod serve;
pub use serve::{Ends, serve};

mod settings;
pub use settings::{InvalidSetting, Settings, Shares};

mod sled_journal;
pub use sled_journal::{Durability, SledJournal, StoreOptions};

mod staged;

mod start;
pub use start::{Opened, Opening, Quarantined, start};

mod status;
pub use status::{Status, Totals};

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
    /// Whom or what it is about, so that it is found when that person withdraws, and sent in order
    /// with all that is about the same; `None` when it is about nothing in particular.
    pub about: Option<Tag>,
    /// What it is worth when there is not room for all.
    pub class: Class,
}

/// A durable record on its way out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Its place in the outbox.
    pub sequence: Sequence,
    /// Whom or what it is about, as far as that is known.
    pub about: Option<Tag>,
    /// What it is worth.
    pub class: Class,
    /// Under which epoch it was given its sequence, if that was another one than the outbox was first
    /// opened under: it was saved from a store that could not be read any more, or the store was begun
    /// anew since. Its id is made with this one.
    pub epoch: Option<u32>,
    /// The encoded record.
    pub bytes: Vec<u8>,
}

/// What the engine's side asks of the outbox.
#[derive(Debug)]
pub enum Write {
    /// Keeps a record until it is acknowledged.
    Append(Entry),
    /// Keeps (or with `None` forgets) a small named value: the checkpoint of an open visit. To be
    /// sent [together](Self::Together) with the records that it speaks of.
    Keep {
        /// Names the value; at most 200 bytes.
        slot: Vec<u8>,
        /// The value, at most 2 KiB.
        value: Option<Vec<u8>>,
    },
    /// Several of these that belong together: after a power cut there are either all of them or
    /// none. Separate writes share a commit only by chance. An [erasure](Self::Erase) in here is a
    /// border: what stands before it is committed first.
    Together(Vec<Write>),
    /// Lets a judge look at records that were written before this, and erases or narrows them.
    ///
    /// Notices and kept values are left alone. A power cut leaves some of it done; the same order,
    /// given again, does the rest. Other requests are served meanwhile.
    Erase {
        /// Only records about one of these, and those that do not say whom they are about because
        /// an earlier version of this program wrote them. `None` for all records.
        who: Option<Vec<Tag>>,
        /// Says of each what is to become of it.
        judge: Judge,
        /// Told when all of it is durable.
        reply: oneshot::Sender<Erased>,
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
    /// The oldest pending durable records about any of these, and those of which it is not known whom
    /// they are about.
    OldestAbout {
        /// About whom.
        who: Vec<Tag>,
        /// Only records with a greater sequence.
        after: Option<Sequence>,
        /// Only records with a smaller sequence.
        before: Option<Sequence>,
        /// At most this many.
        limit: usize,
        /// Where to send them.
        reply: oneshot::Sender<Vec<Stored>>,
    },
    /// What is held in any standing, oldest first.
    Range {
        /// The first sequence.
        from: Sequence,
        /// The last sequence.
        to: Sequence,
        /// At most this many.
        limit: usize,
        /// Where to send them.
        reply: oneshot::Sender<Vec<(Stored, Standing)>>,
    },
    /// Puts dead letters back into the line.
    BringBack {
        /// The first sequence.
        from: Sequence,
        /// The last sequence.
        to: Sequence,
        /// Told how many there were, once that is durable.
        reply: oneshot::Sender<u64>,
    },
    /// Says where every number is.
    Account {
        /// Where to say it.
        reply: oneshot::Sender<Account>,
    },
    /// Moves records out of the line.
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
    /// The broker has it, and what it said must not stay behind in the files.
    AcknowledgedForGood,
    /// It may no longer be sent: the consent it was made under has ended.
    Erased,
    /// The broker refuses it for good. It is set aside: held, but no longer in the line.
    Rejected,
    /// It cannot be read.
    Unreadable,
}

/// Where every number of this epoch is, as far as anything is known of it. A number up to `last`
/// that is nowhere in here was delivered and is no longer held, or was lost, which was told.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Account {
    /// Which life of the store this is.
    pub epoch: u32,
    /// The first sequence of it.
    pub first: Option<Sequence>,
    /// The last sequence that was ever given, durably.
    pub last: Option<Sequence>,
    /// What waits to be acknowledged.
    pub pending: Ranges,
    /// What was acknowledged and can be sent again.
    pub acknowledged: Ranges,
    /// Dead letters.
    pub set_aside: Ranges,
    /// What was lost, and is told by a notice that is still held.
    pub told: Ranges,
    /// What was lost and is not yet told by a record.
    pub untold: Ranges,
}

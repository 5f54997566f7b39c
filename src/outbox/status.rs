//! What the outbox tells the rest of the gateway after every commit.

use std::time::Duration;

use crate::engine::UnixTime;

use super::{Pending, Sequence};

/// The state of the outbox as of the last commit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// Which life of the store this is.
    pub epoch: u32,
    /// The last sequence that was made durable; `None` before the first. A reader who has seen a
    /// smaller one has something to fetch.
    pub durable_up_to: Option<Sequence>,
    /// What waits to be acknowledged.
    pub pending: Pending,
    /// When the oldest pending record was made, if the clock was synced then.
    pub oldest_made: Option<UnixTime>,
    /// How long the last commit took: the disk's health at a glance.
    pub commit_took: Duration,
    /// Whether something that was erased may still be in the files of the store. That is so for a
    /// bounded while; when it lasts, the disk is full or failing.
    pub owes_scrub: bool,
    /// What happened to the records since the outbox was opened.
    pub totals: Totals,
}

/// The accounts of the outbox since it was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Records that were pending when it was opened.
    pub recovered: u64,
    /// Records taken in, the outbox's own notices included.
    pub appended: u64,
    /// Records removed because the broker has them.
    pub acknowledged: u64,
    /// Records removed because they may no longer be sent.
    pub erased: u64,
    /// Records of which a part was taken out, because it may no longer be sent.
    pub narrowed: u64,
    /// Times the files were freed of what was erased.
    pub scrubs: u64,
    /// Records removed because they can never be delivered.
    pub rejected: u64,
    /// Dead letters brought back into the line.
    pub brought_back: u64,
    /// Records lost for want of room, by age or by size.
    pub dropped: u64,
    /// Commits.
    pub commits: u64,
}

impl Status {
    /// Whether every record is accounted for:
    /// `recovered + appended = acknowledged + pending + dropped + erased`.
    pub fn conserves(&self) -> bool {
        let Totals { recovered, appended, acknowledged, erased, rejected, dropped, .. } =
            self.totals;
        recovered + appended == acknowledged + self.pending.records + dropped + erased + rejected
    }
}

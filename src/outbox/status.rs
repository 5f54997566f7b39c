//! What the outbox tells the rest of the gateway after every commit.

use std::time::Duration;

use crate::engine::UnixTime;

use super::{DiskState, Pending, Sequence};

/// The state of the outbox as of the last commit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// Which life of the store this is.
    pub epoch: u32,
    /// The first sequence of it; `None` before the store was opened.
    pub first: Option<Sequence>,
    /// How the disk is.
    pub disk: DiskState,
    /// The last sequence that was made durable; `None` before the first. A reader who has seen a
    /// smaller one has something to fetch.
    pub durable_up_to: Option<Sequence>,
    /// What waits to be acknowledged.
    pub pending: Pending,
    /// What was acknowledged and is held a while longer.
    pub acknowledged: Pending,
    /// Dead letters.
    pub set_aside: Pending,
    /// What waits in memory, because the disk is away: records, and bytes of all that waits.
    pub queued: Pending,
    /// When the oldest pending record was made, if the clock was synced then.
    pub oldest_made: Option<UnixTime>,
    /// How long the last commit took: the disk's health at a glance.
    pub commit_took: Duration,
    /// Whether something that was erased may still be in the files of the store. That is so for a
    /// bounded while; when it lasts, the disk is full or failing.
    pub owes_scrub: bool,
    /// Lost records that no notice tells of yet.
    pub untold: u64,
    /// What happened to the records since the outbox was opened.
    pub totals: Totals,
}

/// The accounts of the outbox since the room was entered, over all journals it has had since.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Records that were pending when it was opened, or were found again later.
    pub recovered: u64,
    /// Records taken in, each with a sequence; the outbox's own notices included.
    pub appended: u64,
    /// Dead letters put back into the line.
    pub brought_back: u64,
    /// Pending records that the broker has.
    pub acknowledged: u64,
    /// Pending records that became dead letters: the broker refuses them for good.
    pub set_aside: u64,
    /// Pending records removed because they may no longer be sent.
    pub erased: u64,
    /// Pending records removed because they cannot be read.
    pub unreadable: u64,
    /// Pending records lost for want of room, by age, by size, or with a part of the store.
    pub dropped: u64,
    /// Dead letters that were there when it was opened, or were found again later.
    pub dead_recovered: u64,
    /// Dead letters that went: erased, too old, for want of room, or acknowledged after all.
    pub dead_gone: u64,
    /// Acknowledged records that went, after their time or for want of room.
    pub expired: u64,
    /// Records lost in memory while the disk was away. They never had a sequence, and are no part
    /// of `appended`.
    pub lost: u64,
    /// Records of which a part was taken out, because it may no longer be sent.
    pub narrowed: u64,
    /// Times the files were freed of what was erased.
    pub scrubs: u64,
    /// Commits.
    pub commits: u64,
    /// Bytes written to the disk, as far as the system tells.
    pub written: u64,
    /// Times the journal was lost and had to be opened again.
    pub outages: u64,
}

impl Status {
    /// Whether every record is accounted for, in the line and among the dead letters:
    ///
    /// - `recovered + appended + brought_back = pending + acknowledged + set_aside + erased +
    ///   unreadable + dropped`
    /// - `dead_recovered + set_aside = dead letters held + brought_back + dead_gone`
    pub fn conserves(&self) -> bool {
        let Totals { acknowledged, set_aside, erased, unreadable, dropped, brought_back, .. } =
            self.totals;
        let came = self.totals.recovered + self.totals.appended + brought_back;
        let went = acknowledged + set_aside + erased + unreadable + dropped;
        let died = self.totals.dead_recovered + set_aside;
        let buried = self.set_aside.records + brought_back + self.totals.dead_gone;
        came == self.pending.records + went && died == buried
    }
}

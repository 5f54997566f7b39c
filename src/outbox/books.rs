//! What the room knows besides the journal, and still knows when it has lost it.

use std::{collections::VecDeque, time::Duration};

use tokio::sync::{oneshot, watch};

use crate::{clock::Clock, engine::Uptime};

use super::{
    Account, DiskState, Notice, Pending, Sequence, Settings, Status, Totals,
    backlog::Change,
    caps::{Caps, Mark},
    erase::Erasure,
    losses::Losses,
    retained::Retained,
    scrub::Schedule,
};

/// What the room knows besides the journal.
pub(super) struct Books {
    pub(super) clock: Clock,
    pub(super) commit_records: usize,
    pub(super) commit_interval: Duration,
    pub(super) status: watch::Sender<Status>,
    pub(super) disk: DiskState,
    pub(super) caps: Caps,
    pub(super) losses: Losses,
    pub(super) retained: Retained,
    pub(super) scrubs: Schedule,
    /// Under way is the first of each.
    pub(super) erasures: VecDeque<Erasure>,
    pub(super) returns: VecDeque<Return>,
    pub(super) accounts: VecDeque<Accounting>,
    /// The epoch of the first journal, which was told to everybody.
    pub(super) epoch: Option<u32>,
    /// The last sequence given, durable or not.
    pub(super) last: u64,
    /// The accounts, including what is staged.
    pub(super) totals: Totals,
    /// What a power cut would leave; `None` before the first journal was looked at.
    pub(super) durable: Option<Durable>,
    /// What the journal will hold if the commit that is being made comes about.
    pub(super) expected: Option<Mark>,
    /// The changes since the last commit, to be made again if there will not be another.
    pub(super) unsettled: Vec<Change>,
    pub(super) staged: Staged,
    pub(super) next_look_at_age: Uptime,
}

/// What was true at the last commit.
#[derive(Clone, Copy)]
pub(super) struct Durable {
    pub(super) mark: Mark,
    pub(super) totals: Totals,
}

/// What waits for the next commit.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) records: usize,
    /// What sled will have to write, roughly, in bytes.
    pub(super) writes: u64,
    /// When it has to be committed; `None` when nothing waits.
    pub(super) due: Option<Uptime>,
}

/// Dead letters that are to be put back into the line.
#[derive(Debug)]
pub(super) struct Return {
    pub(super) to: Sequence,
    pub(super) reply: oneshot::Sender<u64>,
    pub(super) now: Returned,
    /// As of the last commit.
    pub(super) durable: Returned,
}

/// How far a return has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Returned {
    /// Where to go on.
    pub(super) next: Sequence,
    /// How many were put back.
    pub(super) count: u64,
}

/// An account that is being drawn up.
#[derive(Debug)]
pub(super) struct Accounting {
    pub(super) account: Account,
    /// Where to go on.
    pub(super) next: Sequence,
    pub(super) reply: oneshot::Sender<Account>,
}

/// What a key and a header add to a record, roughly, in bytes.
const KEY: u64 = 32;

impl Books {
    pub(super) fn new(
        settings: &Settings,
        clock: Clock,
        status: watch::Sender<Status>,
        notice: Notice,
    ) -> Self {
        let now = clock.now();
        Self {
            clock,
            commit_records: settings.commit_records,
            commit_interval: settings.commit_interval.0,
            status,
            disk: DiskState::Ok,
            caps: Caps::new(settings),
            losses: Losses::new(notice),
            retained: Retained::new(settings.keep_acknowledged.0, now),
            scrubs: Schedule::default(),
            erasures: VecDeque::new(),
            returns: VecDeque::new(),
            accounts: VecDeque::new(),
            epoch: None,
            last: 0,
            totals: Totals::default(),
            durable: None,
            expected: None,
            unsettled: Vec::new(),
            staged: Staged::default(),
            next_look_at_age: now,
        }
    }

    /// Everything that was staged is durable.
    pub(super) fn settle(&mut self, mark: Mark) {
        self.unsettled.clear();
        self.erasures.iter_mut().for_each(|erasure| erasure.settle(mark.last));
        self.returns.iter_mut().for_each(|it| it.durable = it.now);
        self.begin_at(mark);
    }

    /// Nothing is staged on top of this.
    pub(super) fn begin_at(&mut self, mark: Mark) {
        self.expected = None;
        self.staged = Staged::default();
        self.last = mark.last;
        self.durable = Some(Durable { mark, totals: self.totals });
    }

    /// What was staged has not become durable.
    pub(super) fn undo(&mut self) {
        self.expected = None;
        self.staged = Staged::default();
        self.erasures.iter_mut().for_each(Erasure::undo);
        self.returns.iter_mut().for_each(|it| it.now = it.durable);
        if let Some(durable) = &self.durable {
            // These happened all the same.
            let Totals { lost, outages, written, .. } = self.totals;
            self.totals = Totals { lost, written, outages, ..durable.totals };
        }
    }

    /// Says how things stand while there is no journal.
    pub(super) fn publish_outage(&self, queued: Pending) {
        let totals = self.durable.map(|durable| durable.totals).unwrap_or_default();
        let Totals { lost, outages, written, .. } = self.totals;
        self.status.send_if_modified(|status| {
            let before = *status;
            status.disk = self.disk;
            status.queued = queued;
            status.totals = Totals { lost, written, outages, ..totals };
            before != *status
        });
    }
}

impl Staged {
    /// Books what a change will make sled write, and when it has to be durable at the latest.
    pub(super) fn book(&mut self, factor: u64, bytes: usize, due: Uptime) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(KEY);
        self.writes = self.writes.saturating_add(bytes.saturating_mul(factor));
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }
}

//! An outbox in memory: answers what the uplink asks, and remembers what became of each record.
#![expect(clippy::unwrap_used, reason = "a poisoned lock means that the test has failed already")]

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex},
};

use beacon_gateway::outbox::{Account, Class, Read, Removal, Sequence, Standing, Stored, Tag};
use tokio::sync::{mpsc, watch};

/// How many requests may wait for the outbox.
const REQUESTS: usize = 4;

/// The test's end of it.
pub(crate) struct MemoryOutbox {
    shared: Arc<Mutex<Contents>>,
    durable: watch::Sender<Option<Sequence>>,
}

/// The uplink's ends of it.
pub(crate) struct Ends {
    pub(crate) requests: mpsc::Sender<Read>,
    pub(crate) durable: watch::Receiver<Option<Sequence>>,
}

#[derive(Default)]
struct Contents {
    last: u64,
    records: BTreeMap<Sequence, (Stored, Standing)>,
    pending: usize,
    /// What is acknowledged is held all the same.
    keeps: bool,
    removed: Vec<(Sequence, Removal)>,
    removals: usize,
}

impl MemoryOutbox {
    /// Starts an empty one, which ends when the uplink's end is dropped.
    pub(crate) fn start() -> (Self, Ends) {
        let shared = Arc::<Mutex<Contents>>::default();
        let (requests, mut receiver) = mpsc::channel(REQUESTS);
        let (durable, durable_receiver) = watch::channel(None);
        let task_shared = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Some(read) = receiver.recv().await {
                task_shared.lock().unwrap().answer(read);
            }
        });
        (Self { shared, durable }, Ends { requests, durable: durable_receiver })
    }

    /// Keeps records about nobody, and makes them durable together.
    pub(crate) fn append(&self, records: impl IntoIterator<Item = Vec<u8>>) {
        self.append_about(records.into_iter().map(|bytes| (None, bytes)));
    }

    /// The same with whom they are about.
    pub(crate) fn append_about(&self, records: impl IntoIterator<Item = (Option<Tag>, Vec<u8>)>) {
        let last = {
            let mut contents = self.shared.lock().unwrap();
            for (about, bytes) in records {
                contents.last += 1;
                contents.pending += 1;
                let sequence = Sequence(contents.last);
                let class = Class::Presence;
                let stored = Stored { sequence, about, class, epoch: None, bytes };
                contents.records.insert(sequence, (stored, Standing::Pending));
            }
            Sequence(contents.last)
        };
        self.durable.send_replace(Some(last));
    }

    /// Holds from now on what is acknowledged.
    pub(crate) fn keep_acknowledged(&self) {
        self.shared.lock().unwrap().keeps = true;
    }

    /// How many records wait to be sent.
    pub(crate) fn pending(&self) -> usize {
        self.shared.lock().unwrap().pending
    }

    /// How many are dead letters.
    pub(crate) fn set_aside(&self) -> usize {
        let contents = self.shared.lock().unwrap();
        let aside = contents.records.values();
        aside.filter(|(_, standing)| *standing == Standing::SetAside).count()
    }

    /// Brings dead letters back, as a command does. The uplink is to be told.
    pub(crate) fn bring_back(&self, from: u64, to: u64) -> u64 {
        self.shared.lock().unwrap().bring_back(Sequence(from), Sequence(to))
    }

    /// The records that have left for this reason, in the order they left.
    pub(crate) fn removed(&self, why: Removal) -> Vec<u64> {
        let contents = self.shared.lock().unwrap();
        let left = contents.removed.iter().filter(|(_, reason)| *reason == why);
        left.map(|(sequence, _)| sequence.0).collect()
    }

    /// How many requests it took to remove them.
    pub(crate) fn removals(&self) -> usize {
        self.shared.lock().unwrap().removals
    }
}

impl Contents {
    fn answer(&mut self, read: Read) {
        // The uplink may have begun anew in the meantime, and want no answer any more.
        match read {
            Read::Oldest { after, limit, reply } => {
                reply.send(self.oldest(after, limit, |_| true)).ok();
            }
            Read::OldestAbout { who, after, before, limit, reply } => {
                let wanted = |stored: &Stored| {
                    before.is_none_or(|before| stored.sequence < before)
                        && stored.about.is_some_and(|about| who.contains(&about))
                };
                reply.send(self.oldest(after, limit, wanted)).ok();
            }
            Read::Range { from, to, limit, reply } => {
                let held = self.records.range(from..=to).take(limit);
                reply.send(held.map(|(_, held)| held.clone()).collect()).ok();
            }
            Read::BringBack { from, to, reply } => {
                reply.send(self.bring_back(from, to)).ok();
            }
            Read::Account { reply } => {
                let standing = |wanted| {
                    let held = self.records.values();
                    let held = held.filter(|(_, standing)| *standing == wanted);
                    held.map(|(stored, _)| stored.sequence).collect()
                };
                let account = Account {
                    epoch: 1,
                    last: Some(Sequence(self.last)).filter(|last| last.0 > 0),
                    pending: standing(Standing::Pending),
                    acknowledged: standing(Standing::Acknowledged),
                    set_aside: standing(Standing::SetAside),
                    ..Account::default()
                };
                reply.send(account).ok();
            }
            Read::Remove { sequences, why } => {
                self.removals += 1;
                for sequence in sequences {
                    self.remove(sequence, why);
                }
            }
        }
    }

    fn oldest(
        &self,
        after: Option<Sequence>,
        limit: usize,
        wanted: impl Fn(&Stored) -> bool,
    ) -> Vec<Stored> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let held = self.records.range((start, Bound::Unbounded)).map(|(_, held)| held);
        let pending = held.filter(|(_, standing)| *standing == Standing::Pending);
        pending
            .map(|(stored, _)| stored)
            .filter(|stored| wanted(stored))
            .take(limit)
            .cloned()
            .collect()
    }

    fn bring_back(&mut self, from: Sequence, to: Sequence) -> u64 {
        let mut count = 0;
        for (_, standing) in self.records.range_mut(from..=to).map(|(_, held)| held) {
            if *standing == Standing::SetAside {
                *standing = Standing::Pending;
                count += 1;
            }
        }
        self.pending += usize::try_from(count).unwrap();
        count
    }

    fn remove(&mut self, sequence: Sequence, why: Removal) {
        let Some((_, standing)) = self.records.get_mut(&sequence) else { return };
        if *standing != Standing::Pending {
            return;
        }
        self.pending -= 1;
        self.removed.push((sequence, why));
        match why {
            Removal::Rejected => *standing = Standing::SetAside,
            Removal::Acknowledged if self.keeps => *standing = Standing::Acknowledged,
            _ => {
                self.records.remove(&sequence);
            }
        }
    }
}

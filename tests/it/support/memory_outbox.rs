//! An outbox in memory: answers what the uplink asks, and remembers what became of each record.
#![expect(clippy::unwrap_used, reason = "a poisoned lock means that the test has failed already")]

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex},
};

use beacon_gateway::outbox::{Account, Read, Removal, Sequence, Standing, Stored};
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
    records: BTreeMap<Sequence, Vec<u8>>,
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

    /// Keeps records, and makes them durable together.
    pub(crate) fn append(&self, records: impl IntoIterator<Item = Vec<u8>>) {
        let last = {
            let mut contents = self.shared.lock().unwrap();
            for bytes in records {
                contents.last += 1;
                let sequence = Sequence(contents.last);
                contents.records.insert(sequence, bytes);
            }
            Sequence(contents.last)
        };
        self.durable.send_replace(Some(last));
    }

    /// How many records are left.
    pub(crate) fn pending(&self) -> usize {
        self.shared.lock().unwrap().records.len()
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
        match read {
            Read::Oldest { after, limit, reply } => {
                let start = after.map_or(Bound::Unbounded, Bound::Excluded);
                let oldest = self.records.range((start, Bound::Unbounded)).take(limit);
                let oldest = oldest
                    .map(|(sequence, bytes)| Stored { sequence: *sequence, bytes: bytes.clone() });
                // The uplink may have begun anew in the meantime.
                reply.send(oldest.collect()).ok();
            }
            Read::OldestAbout { reply, .. } => {
                // These records say nothing of whom they are about.
                reply.send(Vec::new()).ok();
            }
            Read::Range { from, to, limit, reply } => {
                let held = self.records.range(from..=to).take(limit);
                let held = held.map(|(sequence, bytes)| {
                    let stored = Stored { sequence: *sequence, bytes: bytes.clone() };
                    (stored, Standing::Pending)
                });
                reply.send(held.collect()).ok();
            }
            Read::BringBack { reply, .. } => {
                reply.send(0).ok();
            }
            Read::Account { reply } => {
                let pending = self.records.keys().copied().collect();
                let last = Some(Sequence(self.last)).filter(|last| last.0 > 0);
                reply.send(Account { epoch: 1, last, pending, ..Account::default() }).ok();
            }
            Read::Remove { sequences, why } => {
                self.removals += 1;
                for sequence in sequences {
                    if self.records.remove(&sequence).is_some() {
                        self.removed.push((sequence, why));
                    }
                }
            }
        }
    }
}

//! A small outbox that is always full, whose power is cut: everything is accounted for.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use beacon_gateway::{
    clock::Clock,
    outbox::{
        Class, Dropped, Entry, Held, Journal, Kept, MAX_RECORD, MemoryJournal, OutboxError,
        Pending, Read, Removal, Scrub, Sequence, Settings, Standing, Status, Stored, Tag, Write,
        serve,
    },
    settings::ByteSize,
};
use tokio::sync::{mpsc, oneshot, watch};

#[tokio::test(start_paused = true)]
async fn whatever_is_lost_is_told_and_everything_is_accounted_for_across_power_cuts() {
    for seed in 0..60 {
        let mut shop = Shop::open(seed);
        for _ in 0..12 {
            shop.live().await;
        }
        shop.close();
    }
}

/// A journal that outlives the room that uses it, as a disk does.
#[derive(Clone, Default)]
pub(super) struct Disk(pub(super) Rc<RefCell<MemoryJournal>>);

impl Journal for Disk {
    fn epoch(&self) -> u32 {
        self.0.borrow().epoch()
    }
    fn append(&mut self, entry: Entry, notice: Option<Dropped>) -> Result<Sequence, OutboxError> {
        self.0.borrow_mut().append(entry, notice)
    }
    fn sync(&mut self) -> Result<Option<Sequence>, OutboxError> {
        self.0.borrow_mut().sync()
    }
    fn oldest(&mut self, after: Option<Sequence>, limit: usize) -> Result<Vec<Held>, OutboxError> {
        self.0.borrow_mut().oldest(after, limit)
    }
    fn remove(&mut self, sequence: Sequence) -> Result<bool, OutboxError> {
        self.0.borrow_mut().remove(sequence)
    }
    fn keep(&mut self, slot: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), OutboxError> {
        self.0.borrow_mut().keep(slot, value)
    }
    fn kept(&self) -> Result<Vec<Kept>, OutboxError> {
        self.0.borrow().kept()
    }
    fn pending_of(&self, class: Class) -> Pending {
        self.0.borrow().pending_of(class)
    }
    fn standing(&self, standing: Standing) -> Pending {
        self.0.borrow().standing(standing)
    }
    fn stand(&mut self, sequence: Sequence, standing: Standing) -> Result<bool, OutboxError> {
        self.0.borrow_mut().stand(sequence, standing)
    }
    fn oldest_of(&mut self, class: Class, limit: usize) -> Result<Vec<Held>, OutboxError> {
        self.0.borrow_mut().oldest_of(class, limit)
    }
    fn oldest_standing(
        &mut self,
        standing: Standing,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        self.0.borrow_mut().oldest_standing(standing, limit)
    }
    fn range(
        &mut self,
        from: Sequence,
        to: Sequence,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        self.0.borrow_mut().range(from, to, limit)
    }
    fn oldest_about(
        &mut self,
        who: &BTreeSet<Tag>,
        after: Option<Sequence>,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        self.0.borrow_mut().oldest_about(who, after, limit)
    }
    fn replace(&mut self, sequence: Sequence, bytes: Vec<u8>) -> Result<bool, OutboxError> {
        self.0.borrow_mut().replace(sequence, bytes)
    }
    fn owe_scrub(&mut self) {
        self.0.borrow_mut().owe_scrub();
    }
    fn owes_scrub(&self) -> bool {
        self.0.borrow().owes_scrub()
    }
    fn scrub(&mut self) -> Result<Scrub, OutboxError> {
        self.0.borrow_mut().scrub()
    }
}

/// The rooms on both sides of the outbox, and their own books.
struct Shop {
    random: fastrand::Rng,
    settings: Settings,
    disk: Disk,
    clock: Clock,
    /// Losses told by notices that were sent.
    told: BTreeMap<u64, u64>,
    /// Over all lives of the room.
    appended: u64,
    gone: u64,
    dropped: u64,
}

impl Shop {
    fn open(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let commit_records = random.usize(1..6);
        let settings = Settings {
            commit_records,
            max_records: random.u64(2 * commit_records as u64..40),
            max_bytes: ByteSize(random.u64(2 * (commit_records * MAX_RECORD) as u64..40_000)),
            ..Settings::default()
        };
        let (told, clock) = (BTreeMap::new(), Clock::start());
        let disk = Disk::default();
        Self { random, settings, disk, clock, told, appended: 0, gone: 0, dropped: 0 }
    }

    /// Runs the room until it ends, or somebody pulls the plug.
    async fn live(&mut self) {
        let (writes_tx, writes_rx) = mpsc::channel(8);
        let (reads_tx, reads_rx) = mpsc::channel(8);
        let (status_tx, status_rx) = watch::channel(Status::default());
        let notice = Box::new(|dropped: &Dropped| dropped.count().to_string().into_bytes());
        let (settings, clock) = (self.settings.clone(), self.clock);
        let room =
            serve(self.disk.clone(), settings, clock, writes_rx, reads_rx, status_tx, notice);
        let day = Day { writes: writes_tx, reads: reads_tx, status: status_rx };
        tokio::select! {
            biased;
            ended = room => panic!("the room ended: {:?}", ended.map(drop)),
            () = self.business(&day) => {}
        }
        // The room is gone in the middle of what it was doing.
        self.disk.0.borrow_mut().cut_power();
        let status = *day.status.borrow();
        self.balance(&status);
    }

    async fn business(&mut self, day: &Day) {
        for _ in 0..self.random.usize(1..6) {
            let hurry = self.random.u8(..) < 30;
            if self.random.bool() {
                self.produce(day, hurry).await;
            } else {
                self.send(day, hurry).await;
            }
            if hurry {
                return;
            }
        }
    }

    /// Hands records to the room and, unless in a hurry, waits until they are durable.
    async fn produce(&mut self, day: &Day, hurry: bool) {
        for _ in 0..self.random.u64(1..60) {
            let length = match self.random.u8(..) {
                0..4 => MAX_RECORD + self.random.usize(1..100),
                4..20 => MAX_RECORD,
                _ => self.random.usize(0..500),
            };
            let entry = Entry {
                bytes: vec![b'x'; length],
                made: None,
                about: None,
                class: Class::Presence,
            };
            day.writes.send(Write::Append(entry)).await.unwrap();
        }
        if !hurry {
            // Time only passes once the room has nothing left to do.
            tokio::time::sleep(self.settings.commit_interval.0 * 2).await;
        }
    }

    /// Takes the oldest records and removes some of them, as the uplink does.
    async fn send(&mut self, day: &Day, hurry: bool) {
        let limit = self.random.usize(1..20);
        let records = day.oldest(limit).await;
        let why = if self.random.bool() { Removal::Acknowledged } else { Removal::Erased };
        let sequences: Vec<_> = records.iter().map(|stored| stored.sequence).collect();
        day.reads.send(Read::Remove { sequences: sequences.clone(), why }).await.unwrap();
        if hurry {
            return;
        }
        tokio::time::sleep(self.settings.commit_interval.0 * 2).await;
        for stored in records {
            if stored.bytes.first().is_some_and(u8::is_ascii_digit) {
                self.told.insert(stored.sequence.0, count(&stored.bytes));
            }
        }
        let left = day.oldest(usize::MAX).await;
        assert!(left.iter().all(|stored| !sequences.contains(&stored.sequence)));
    }

    /// Closes the books of one life of the room.
    fn balance(&mut self, status: &Status) {
        assert!(status.conserves(), "{status:?}");
        assert_eq!(status.pending, self.disk.pending(), "what was said is not what is on the disk");
        assert!(status.pending.records <= self.settings.max_records, "{status:?}");
        assert!(status.pending.bytes <= self.settings.max_bytes.0, "{status:?}");
        let totals = status.totals;
        self.appended += totals.appended;
        self.gone += totals.acknowledged + totals.erased;
        self.dropped += totals.dropped;
    }

    /// Compares what was told with what was lost.
    fn close(&mut self) {
        let held = self.disk.0.borrow_mut().oldest(None, usize::MAX).unwrap();
        assert_eq!(self.appended, self.gone + self.dropped + held.len() as u64);
        for held in &held {
            if let Some(dropped) = &held.notice {
                assert_eq!(count(&held.bytes), dropped.count());
                self.told.insert(held.sequence.0, dropped.count());
            }
        }
        assert_eq!(self.told.values().sum::<u64>(), self.dropped, "told is not what was lost");
    }
}

/// The ends of the room's channels.
struct Day {
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
    status: watch::Receiver<Status>,
}

impl Day {
    async fn oldest(&self, limit: usize) -> Vec<Stored> {
        let (reply, answer) = oneshot::channel();
        self.reads.send(Read::Oldest { after: None, limit, reply }).await.unwrap();
        answer.await.unwrap()
    }
}

fn count(notice: &[u8]) -> u64 {
    std::str::from_utf8(notice).unwrap().parse().unwrap()
}

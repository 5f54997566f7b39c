//! A small outbox that is always full, whose power is cut and whose disk fails: every number that
//! was ever given is delivered, waits, is a dead letter, or was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    outbox::{
        Class, DropReason, Dropped, Entry, Judge, MAX_RECORD, Ranges, Read, Removal, Sequence,
        Settings, Standing, Status, Stored, Tag, Verdict, Write, serve,
    },
    settings::{ByteSize, Span},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{ends, faulty::Disk};

/// How many shops are lived through; more of them for a longer run.
fn shops() -> u64 {
    std::env::var("OUTBOX_SHOPS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

#[tokio::test(start_paused = true)]
async fn every_number_is_delivered_waiting_a_dead_letter_or_told_across_cuts_and_faults() {
    for seed in 0..shops() {
        let mut shop = Shop::open(seed);
        for _ in 0..12 {
            shop.live(false).await;
        }
        // A calm day at last, on which everything is told that was not yet.
        shop.live(true).await;
        shop.close();
    }
}

/// The rooms on both sides of the outbox, and their own books.
struct Shop {
    seed: u64,
    random: fastrand::Rng,
    settings: Settings,
    disk: Disk,
    clock: Clock,
    /// What the platform has: records by number, and the losses it was told of.
    delivered: BTreeSet<u64>,
    told: BTreeMap<u64, Dropped>,
    /// Numbers that were seen, and with what; none may come again with something else.
    seen: BTreeMap<u64, Vec<u8>>,
    made: u64,
    /// What the outbox still has to tell, by its own account.
    untold: Ranges,
}

impl Shop {
    fn open(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let commit_records = random.usize(1..6);
        let settings = Settings {
            commit_records,
            max_records: random.u64(2 * commit_records as u64..60),
            max_bytes: ByteSize(random.u64(2 * (commit_records * MAX_RECORD) as u64..60_000)),
            keep_acknowledged: *random.choice(&[Span::secs(0), Span::secs(60)]).unwrap(),
            memory_records: 16,
            ..Settings::default()
        };
        Self {
            seed,
            random,
            settings,
            disk: Disk::default(),
            clock: Clock::start(),
            delivered: BTreeSet::new(),
            told: BTreeMap::new(),
            seen: BTreeMap::new(),
            made: 0,
            untold: Ranges::new(),
        }
    }

    /// Runs the room until somebody pulls the plug, or for a calm day.
    async fn live(&mut self, calm: bool) {
        let (writes_tx, writes_rx) = mpsc::channel(8);
        let (reads_tx, reads_rx) = mpsc::channel(8);
        let (status_tx, status_rx) = watch::channel(Status::default());
        let notice = Box::new(|lost: &Dropped| spell(lost).into_bytes());
        let (settings, clock) = (self.settings.clone(), self.clock);
        let ends = ends(writes_rx, reads_rx, status_tx, notice);
        let (disk, opener) = (self.disk.clone(), self.disk.opener());
        let room = serve(disk.into(), opener, settings, clock, ends);
        let day = Day { writes: writes_tx, reads: reads_tx, status: status_rx };
        tokio::select! {
            biased;
            ended = room => panic!("the room ended: {:?}", ended.map(drop)),
            () = self.business(&day, calm) => {}
        }
        // The room is gone in the middle of what it was doing.
        self.disk.cut_power();
        let status = *day.status.borrow();
        assert!(status.conserves(), "seed {}: {status:?}", self.seed);
        if calm {
            assert_eq!(status.pending, self.disk.pending());
            let held = status.pending.and(status.acknowledged).and(status.set_aside);
            // A few notices may be too many where there is room for a few records only.
            assert!(held.records <= self.settings.max_records + 8, "{status:?}");
        }
    }

    async fn business(&mut self, day: &Day, calm: bool) {
        if calm {
            tokio::time::sleep(Duration::from_hours(2)).await;
            let (reply, answer) = oneshot::channel();
            day.reads.send(Read::Account { reply }).await.unwrap();
            // Where there is no room for notices, they push each other out.
            self.untold = answer.await.unwrap().untold;
            return;
        }
        for _ in 0..self.random.usize(1..6) {
            if self.random.u8(..) < 60 {
                let errno = *self.random.choice(&[5, 28, 30]).unwrap();
                self.disk.fail_after(self.random.u32(0..200), errno, self.random.bool());
                self.disk.stay_away(self.random.u32(0..4));
            }
            let hurry = self.random.u8(..) < 30;
            match self.random.u8(0..10) {
                0..5 => self.produce(day, hurry).await,
                5..8 => self.send(day, hurry).await,
                8 => self.erase(day, hurry).await,
                _ => self.bring_back(day, hurry).await,
            }
            if hurry {
                return;
            }
        }
        // Nobody pulls the plug while the disk is away.
        tokio::time::sleep(Duration::from_mins(3)).await;
    }

    /// Hands records to the room and, unless in a hurry, waits until they are durable.
    async fn produce(&mut self, day: &Day, hurry: bool) {
        for _ in 0..self.random.u64(1..60) {
            let length = match self.random.u8(..) {
                0..4 => MAX_RECORD + self.random.usize(1..100),
                4..20 => MAX_RECORD,
                _ => self.random.usize(10..500),
            };
            self.made += 1;
            let mut bytes = format!("{:09} ", self.made).into_bytes();
            bytes.resize(length, b'x');
            let about = Some(Tag(self.random.u64(0..4) << 40));
            let class = *self.random.choice(&Class::ALL).unwrap();
            day.writes
                .send(Write::Append(Entry { bytes, made: None, about, class }))
                .await
                .unwrap();
        }
        if !hurry {
            // Time only passes once the room has nothing left to do.
            tokio::time::sleep(self.settings.commit_interval.0 * 2).await;
        }
    }

    /// Takes the oldest records and gives them to the platform, as the uplink does; or finds that
    /// they cannot be.
    async fn send(&mut self, day: &Day, hurry: bool) {
        let limit = self.random.usize(1..20);
        let records = day.oldest(limit).await;
        let why = *self
            .random
            .choice(&[
                Removal::Acknowledged,
                Removal::Acknowledged,
                Removal::AcknowledgedForGood,
                Removal::Erased,
                Removal::Rejected,
                Removal::Unreadable,
            ])
            .unwrap();
        for stored in &records {
            let before = self.seen.insert(stored.sequence.0, stored.bytes.clone());
            assert!(before.is_none_or(|before| before == stored.bytes), "a number came twice");
            if matches!(why, Removal::Acknowledged | Removal::AcknowledgedForGood) {
                self.delivered.insert(stored.sequence.0);
                if let Some(lost) = read(&stored.bytes) {
                    self.told.insert(stored.sequence.0, lost);
                }
            }
        }
        let sequences: Vec<_> = records.iter().map(|stored| stored.sequence).collect();
        day.reads.send(Read::Remove { sequences: sequences.clone(), why }).await.unwrap();
        if hurry {
            return;
        }
        tokio::time::sleep(Duration::from_secs(6)).await;
        let left = day.oldest(usize::MAX).await;
        assert!(left.iter().all(|stored| !sequences.contains(&stored.sequence)));
    }

    async fn erase(&mut self, day: &Day, hurry: bool) {
        let who = Tag(self.random.u64(0..4) << 40);
        let (reply, answer) = oneshot::channel();
        let judge = Judge::new(|bytes: &[u8]| match bytes.len() % 3 {
            0 => Verdict::Keep,
            _ => Verdict::Erase,
        });
        day.writes.send(Write::Erase { who: Some(vec![who]), judge, reply }).await.unwrap();
        if !hurry {
            answer.await.unwrap();
        }
    }

    async fn bring_back(&mut self, day: &Day, hurry: bool) {
        let (reply, answer) = oneshot::channel();
        let (from, to) = (Sequence(self.random.u64(0..500)), Sequence(self.random.u64(0..5000)));
        day.reads.send(Read::BringBack { from, to, reply }).await.unwrap();
        if !hurry {
            answer.await.unwrap();
        }
    }

    /// Looks for every number there ever was.
    fn close(&mut self) {
        let seed = self.seed;
        let (mut waiting, mut aside) = (Ranges::new(), Ranges::new());
        let mut last = self.seen.keys().max().copied().unwrap_or(0);
        for held in self.disk.held() {
            match held.standing {
                Standing::Pending => waiting.add(held.sequence),
                Standing::SetAside => aside.add(held.sequence),
                Standing::Acknowledged => {
                    assert!(self.delivered.contains(&held.sequence.0), "seed {seed}");
                }
            }
            if held.standing != Standing::Acknowledged
                && let Some(lost) = held.notice
            {
                assert_eq!(read(&held.bytes).as_ref(), Some(&lost));
                self.told.insert(held.sequence.0, lost);
            }
            last = last.max(held.sequence.0);
        }
        let mut told = Ranges::new();
        for lost in self.told.values() {
            assert!(lost.ranges.len() <= 64, "seed {seed}");
            for (first, last) in lost.ranges.iter() {
                told.add_range(first, last);
                if !matches!(lost.why, DropReason::SetAside) {
                    for n in first.0..=last.0 {
                        let held = waiting.contains(Sequence(n)) || aside.contains(Sequence(n));
                        assert!(!held, "seed {seed}: {n} is held and told as {}", lost.why);
                    }
                }
            }
        }
        for number in 1..=last {
            let sequence = Sequence(number);
            let found = self.delivered.contains(&number)
                || waiting.contains(sequence)
                || aside.contains(sequence)
                || told.contains(sequence)
                || self.untold.contains(sequence);
            assert!(found, "seed {seed}: nobody knows of {number}");
        }
        for (first, last) in self.untold.iter() {
            let held = (first.0..=last.0).find(|n| waiting.contains(Sequence(*n)));
            assert_eq!(held, None, "seed {seed}: it waits, and is to be told as lost");
        }
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

/// A notice in words.
fn spell(lost: &Dropped) -> String {
    let ranges = lost.ranges.iter().map(|(first, last)| format!(" {}-{}", first.0, last.0));
    format!("! {} {}{}", lost.why, lost.unnumbered, ranges.collect::<String>())
}

/// What a notice says; `None` when the record is none.
fn read(bytes: &[u8]) -> Option<Dropped> {
    let text = std::str::from_utf8(bytes).unwrap().strip_prefix("! ")?;
    let mut words = text.split(' ');
    let why = words.next().unwrap();
    let why = DropReason::ALL.into_iter().find(|reason| reason.name() == why).unwrap();
    let mut lost = Dropped::unnumbered(why, words.next().unwrap().parse().unwrap());
    for word in words {
        let (from, to) = word.split_once('-').unwrap();
        let number = |text: &str| Sequence(text.parse().unwrap());
        lost.ranges.add_range(number(from), number(to));
    }
    Some(lost)
}

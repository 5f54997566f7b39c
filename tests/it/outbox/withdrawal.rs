//! One of 500 people withdraws while 100,000 records wait: how long it takes, what it costs the card,
//! and what is left.
#![expect(clippy::print_stderr, reason = "time and bytes are results of the test")]

use std::{fs, time::Duration};

use beacon_gateway::{
    clock::Clock,
    engine::Uptime,
    outbox::{
        Class, Dropped, Entry, Erased, Journal, Judge, Read, Sequence, Settings, SledJournal,
        Status, StoreOptions, Stored, Tag, Verdict, Write, start,
    },
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{ends, scrubbing::files_with};

const RECORDS: u64 = 100_000;
const SUBJECTS: u64 = 500;

/// The size of an ordinary record, in bytes.
const RECORD: usize = 400;

/// systemd's watchdog waits for a minute, and nobody should have to wait for the outbox for more
/// than a moment of that.
const PATIENCE: Duration = Duration::from_secs(2);

fn name(subject: u64) -> String {
    format!("cust_{subject:03}_")
}

fn record(n: u64) -> Entry {
    let name = name(n % SUBJECTS);
    let mut bytes = format!("{name} {n}").into_bytes();
    bytes.resize(RECORD, b'.');
    Entry { bytes, made: None, about: Some(Tag::of(&name)), class: Class::Presence }
}

/// All bytes this process has handed to the kernel for writing, if the kernel counts them.
fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// The ends of the room's channels, and a clock to time it with.
struct Room {
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
    status: watch::Receiver<Status>,
    clock: Clock,
    since: Uptime,
    bytes: u64,
}

impl Room {
    /// Time and bytes since this was last asked.
    fn lap(&mut self) -> String {
        let (now, bytes) = (self.clock.now(), written());
        let (took, wrote) = (now.since(self.since), bytes - self.bytes);
        (self.since, self.bytes) = (now, bytes);
        format!("{:.3} s, {} KiB written", took.as_secs_f64(), wrote / 1024)
    }

    async fn erase(&self, who: &str) -> Erased {
        let (reply, answer) = oneshot::channel();
        let prefix = who.as_bytes().to_vec();
        let judge =
            Judge::new(
                move |bytes: &[u8]| {
                    if bytes.starts_with(&prefix) { Verdict::Erase } else { Verdict::Keep }
                },
            );
        let order = Write::Erase { who: Some(vec![Tag::of(who)]), judge, reply };
        self.writes.send(order).await.unwrap();
        answer.await.unwrap()
    }

    async fn oldest(&self, after: Option<Sequence>, limit: usize) -> Vec<Stored> {
        let (reply, answer) = oneshot::channel();
        self.reads.send(Read::Oldest { after, limit, reply }).await.unwrap();
        answer.await.unwrap()
    }

    /// Asks it small things until it says that the files are scrubbed; returns the longest wait.
    async fn until_scrubbed(&self) -> Duration {
        let mut longest = Duration::ZERO;
        // Not without pause: it is to work, too.
        let mut turns = tokio::time::interval(Duration::from_millis(5));
        while self.status.borrow().owes_scrub {
            let asked = self.clock.now();
            self.oldest(None, 1).await;
            longest = longest.max(self.clock.now().since(asked));
            turns.tick().await;
        }
        longest
    }
}

#[tokio::test]
async fn a_withdrawal_reaches_100_000_waiting_records_of_500_subjects_and_the_bytes_on_the_card() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::start();
    let (writes, writes_rx) = mpsc::channel(512);
    let (reads, reads_rx) = mpsc::channel(8);
    let (status_tx, status) = watch::channel(Status::default());
    let path = directory.path().to_owned();
    let open = move || {
        let mut opened = SledJournal::open(&path, StoreOptions::with_cache(2 << 20), clock)?;
        for n in 0..RECORDS {
            opened.journal.append(record(n), None)?;
            if n % 256 == 0 {
                opened.journal.sync()?;
            }
        }
        opened.journal.sync()?;
        Ok(opened)
    };
    let notice = Box::new(|_: &Dropped| Vec::new());
    let settings = Settings::default();
    let (opening, end) =
        start(open, settings, clock, ends(writes_rx, reads_rx, status_tx, notice)).await.unwrap();
    assert_eq!(opening.pending.records, RECORDS);
    let now = clock.now();
    let mut room = Room { writes, reads, status, clock, since: now, bytes: written() };
    eprintln!("{RECORDS} records of {RECORD} bytes, {SUBJECTS} subjects");

    let gone = name(7);
    let erased = room.erase(&gone).await;
    eprintln!("erased {} of {} examined: {}", erased.erased, erased.examined, room.lap());
    assert_eq!((erased.erased, erased.examined), (RECORDS / SUBJECTS, RECORDS / SUBJECTS));
    assert_eq!(room.status.borrow().totals.erased, RECORDS / SUBJECTS);
    assert!(room.status.borrow().conserves());

    // Two more at once, as after an outage; one scrub is enough for all three.
    for subject in [8, 9] {
        room.erase(&name(subject)).await;
    }
    let longest = room.until_scrubbed().await;
    eprintln!("scrubbed, longest wait for it {longest:?}: {}", room.lap());
    assert_eq!(room.status.borrow().totals.scrubs, 1);
    assert!(longest < PATIENCE, "nobody was served for {longest:?}");
    for subject in [7, 8, 9] {
        assert_eq!(files_with(directory.path(), &name(subject)), 0, "of subject {subject}");
    }

    let mut left = Vec::new();
    loop {
        let chunk = room.oldest(left.last().map(|stored: &Stored| stored.sequence), 4096).await;
        if chunk.is_empty() {
            break;
        }
        left.extend(chunk);
    }
    // What was erased is told behind them.
    left.retain(|stored| stored.sequence.0 <= RECORDS);
    let expected = (0..RECORDS).filter(|n| !(7..=9).contains(&(n % SUBJECTS)));
    let expected = expected.map(|n| {
        let Entry { about, class, bytes, .. } = record(n);
        Stored { sequence: Sequence(n + 1), about, class, epoch: None, bytes }
    });
    assert!(left.iter().eq(expected.collect::<Vec<_>>().iter()), "others are touched, or moved");

    drop((room.writes, room.reads));
    end.await.unwrap().unwrap();
    let opened = SledJournal::open(directory.path(), StoreOptions::with_cache(2 << 20), clock);
    let mut opened = opened.unwrap();
    assert_eq!((opened.quarantined, opened.missing), (None, 0));
    let held = opened.journal.range(Sequence(1), Sequence(RECORDS), usize::MAX).unwrap();
    assert_eq!(held.len(), left.len());
}

//! The room at work, on a paused clock.

use std::time::Duration;

use beacon_gateway::{
    clock::Clock,
    outbox::{
        Class, DropReason, Dropped, Durability, Entry, Journal, MAX_RECORD, MemoryJournal, Notice,
        OutboxError, Read, Removal, Sequence, Settings, SledJournal, Status, StoreOptions, Stored,
        Write, serve, start,
    },
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// A room that is running, and the ends of its channels.
struct Running {
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
    status: watch::Receiver<Status>,
    room: JoinHandle<Result<MemoryJournal, OutboxError>>,
}

fn run(journal: MemoryJournal, settings: Settings) -> Running {
    let (writes_tx, writes_rx) = mpsc::channel(1024);
    let (reads_tx, reads_rx) = mpsc::channel(16);
    let (status_tx, status_rx) = watch::channel(Status::default());
    let clock = Clock::start();
    let room = serve(journal, settings, clock, writes_rx, reads_rx, status_tx, notice());
    Running { writes: writes_tx, reads: reads_tx, status: status_rx, room: tokio::spawn(room) }
}

fn notice() -> Notice {
    Box::new(|dropped: &Dropped| format!("{dropped:?}").into_bytes())
}

fn record(text: &str) -> Write {
    Write::Append(Entry {
        bytes: text.as_bytes().to_vec(),
        made: None,
        about: None,
        class: Class::Presence,
    })
}

impl Running {
    async fn append(&self, text: &str) {
        self.writes.send(record(text)).await.unwrap();
    }

    async fn oldest(&self, after: Option<u64>, limit: usize) -> Vec<Stored> {
        let (reply, answer) = oneshot::channel();
        let after = after.map(Sequence);
        self.reads.send(Read::Oldest { after, limit, reply }).await.unwrap();
        answer.await.unwrap()
    }

    async fn texts(&self) -> Vec<String> {
        let records = self.oldest(None, usize::MAX).await;
        records.into_iter().map(|stored| String::from_utf8(stored.bytes).unwrap()).collect()
    }

    async fn remove(&self, sequences: &[u64], why: Removal) {
        let sequences = sequences.iter().copied().map(Sequence).collect();
        self.reads.send(Read::Remove { sequences, why }).await.unwrap();
    }

    /// Closes both ends and waits for the room.
    async fn close(self) -> Result<MemoryJournal, OutboxError> {
        drop((self.writes, self.reads));
        self.room.await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_record_is_durable_after_the_commit_interval_and_not_seen_before() {
    let mut running = run(MemoryJournal::default(), Settings::default());
    running.append("alone").await;
    tokio::time::sleep(Duration::from_millis(99)).await;
    assert_eq!(running.texts().await, [""; 0]);
    running.status.mark_unchanged();
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(running.texts().await, ["alone"]);
    assert!(running.status.has_changed().unwrap());
    let status = *running.status.borrow();
    assert_eq!((status.durable_up_to, status.totals.commits), (Some(Sequence(1)), 1));
}

#[tokio::test(start_paused = true)]
async fn enough_records_are_committed_at_once() {
    let settings = Settings { commit_records: 3, ..Settings::default() };
    let mut running = run(MemoryJournal::default(), settings);
    let clock = Clock::start();
    for text in ["a", "b", "c", "d"] {
        running.append(text).await;
    }
    running.status.wait_for(|status| status.durable_up_to.is_some()).await.unwrap();
    assert_eq!(running.texts().await, ["a", "b", "c"]);
    assert_eq!(clock.now().as_micros(), 0, "nobody waited");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_are_given_in_order_behind_what_the_reader_has() {
    let running = run(MemoryJournal::default(), Settings::default());
    for n in 1..=9 {
        running.append(&n.to_string()).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sequences: Vec<u64> =
        running.oldest(Some(3), 4).await.iter().map(|stored| stored.sequence.0).collect();
    assert_eq!(sequences, [4, 5, 6, 7]);
    assert_eq!(running.oldest(Some(9), 4).await, []);
}

#[tokio::test(start_paused = true)]
async fn removed_records_are_not_shown_again_and_are_booked_by_reason_once() {
    let running = run(MemoryJournal::default(), Settings::default());
    for n in 1..=5 {
        running.append(&n.to_string()).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    running.remove(&[1, 2, 2, 77], Removal::Acknowledged).await;
    running.remove(&[2, 4], Removal::Erased).await;
    assert_eq!(running.texts().await, ["3", "5"], "not even before the commit");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = *running.status.borrow();
    assert_eq!((status.totals.acknowledged, status.totals.erased), (2, 1));
    assert_eq!((status.pending.records, status.pending.bytes), (2, 2));
    assert_eq!(status.totals.commits, 2, "removals share a commit");
}

#[tokio::test(start_paused = true)]
async fn closing_both_ends_makes_what_was_accepted_durable() {
    let running = run(MemoryJournal::default(), Settings::default());
    for n in 0..500 {
        running.append(&n.to_string()).await;
    }
    let mut journal = running.close().await.unwrap();
    journal.cut_power();
    assert_eq!(journal.oldest(None, usize::MAX).unwrap().len(), 500);
}

#[tokio::test(start_paused = true)]
async fn one_open_end_keeps_the_room_open() {
    let running = run(MemoryJournal::default(), Settings::default());
    running.append("late").await;
    drop(running.writes);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!running.room.is_finished());
    drop(running.reads);
    let mut journal = running.room.await.unwrap().unwrap();
    assert_eq!(journal.oldest(None, 9).unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_commit_the_room_ends_and_claims_nothing() {
    let mut journal = MemoryJournal::default();
    // The first sync is that of the room entering.
    journal.fail_after(2);
    let mut running = run(journal, Settings::default());
    running.append("safe").await;
    running.status.wait_for(|status| status.durable_up_to.is_some()).await.unwrap();
    running.append("doomed").await;
    let ended = running.room.await.unwrap();
    assert!(matches!(ended, Err(OutboxError::Commit(_))), "{ended:?}");
    assert_eq!(running.status.borrow().durable_up_to, Some(Sequence(1)));
    assert!(running.writes.send(record("too late")).await.is_err(), "the writer is told");
}

#[tokio::test(start_paused = true)]
async fn a_record_too_big_is_replaced_by_its_notice() {
    let running = run(MemoryJournal::default(), Settings::default());
    running.append("before").await;
    running.append(&"x".repeat(MAX_RECORD + 1)).await;
    running.append("after").await;
    let status = running.status.clone();
    let mut journal = running.close().await.unwrap();
    let records = journal.oldest(None, 9).unwrap();
    let sequences: Vec<u64> = records.iter().map(|held| held.sequence.0).collect();
    assert_eq!(sequences, [1, 2, 3], "no gap is left");
    let dropped = records[1].notice.as_ref().unwrap();
    assert_eq!(*dropped, Dropped::one(DropReason::TooBig, Sequence(2), None));
    let totals = status.borrow().totals;
    assert_eq!((totals.appended, totals.dropped), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_drops_its_oldest_in_chunks_and_says_so() {
    let settings = Settings { max_records: 1000, commit_records: 10, ..Settings::default() };
    let running = run(MemoryJournal::default(), settings);
    for n in 0..3000 {
        running.append(&n.to_string()).await;
    }
    let status = running.status.clone();
    let mut journal = running.close().await.unwrap();
    let records = journal.oldest(None, usize::MAX).unwrap();
    let status = *status.borrow();
    assert!(records.len() <= 1000 && status.conserves(), "{status:?}");
    let told: u64 =
        records.iter().filter_map(|held| held.notice.as_ref()).map(Dropped::count).sum();
    assert_eq!(told, status.totals.dropped, "also by notices that were dropped themselves");
    let notices = status.totals.appended - 3000;
    assert!((100..200).contains(&notices), "{notices} notices for 2000 losses in 200 commits");
    assert_eq!(records.last().unwrap().sequence.0, status.totals.appended);
}

#[tokio::test(start_paused = true)]
async fn an_outbox_opened_with_lower_limits_is_brought_down_to_them() {
    let mut journal = MemoryJournal::default();
    for n in 0..10_000_u32 {
        journal
            .append(
                Entry {
                    bytes: n.to_be_bytes().to_vec(),
                    made: None,
                    about: None,
                    class: Class::Presence,
                },
                None,
            )
            .unwrap();
    }
    journal.sync().unwrap();
    let settings = Settings { max_records: 600, ..Settings::default() };
    let running = run(journal, settings);
    let mut status = running.status.clone();
    status.wait_for(|status| status.totals.dropped > 9400).await.unwrap();
    let status = *status.borrow();
    assert_eq!((status.totals.recovered, status.pending.records <= 600), (10_000, true));
}

#[tokio::test(start_paused = true)]
async fn values_are_kept_with_the_records_and_one_too_big_is_forgotten() {
    let running = run(MemoryJournal::default(), Settings::default());
    let keep = |slot: &str, value: Option<Vec<u8>>| Write::Keep { slot: slot.into(), value };
    for write in [
        keep("a", Some(vec![1])),
        keep("b", Some(vec![2])),
        keep("c", Some(vec![3])),
        keep("b", None),
        keep("c", Some(vec![0; MAX_RECORD + 1])),
        keep(&"long".repeat(100), Some(vec![4])),
    ] {
        running.writes.send(write).await.unwrap();
    }
    let journal = running.close().await.unwrap();
    let kept: Vec<_> = journal.kept().unwrap().into_iter().map(|k| (k.slot, k.value)).collect();
    assert_eq!(kept, [(b"a".to_vec(), vec![1])]);
}

#[tokio::test(start_paused = true)]
async fn writes_that_belong_together_are_in_one_commit_however_many() {
    let settings = Settings { commit_records: 2, ..Settings::default() };
    let running = run(MemoryJournal::default(), settings);
    let keep = Write::Keep { slot: b"visit".to_vec(), value: Some(vec![9]) };
    let writes = (0..5).map(|n| record(&n.to_string())).chain([keep]).collect();
    running.writes.send(Write::Together(writes)).await.unwrap();
    let mut status = running.status.clone();
    status.wait_for(|status| status.durable_up_to.is_some()).await.unwrap();
    let journal = running.close().await.unwrap();
    assert_eq!((status.borrow().totals.commits, journal.pending().records), (1, 5));
    assert_eq!(journal.kept().unwrap().len(), 1);
}

#[tokio::test]
async fn the_thread_opens_the_store_serves_it_and_closes_it() {
    let directory = tempfile::tempdir().unwrap();
    for life in 0..3_u64 {
        let (writes_tx, writes_rx) = mpsc::channel(8);
        let (reads_tx, reads_rx) = mpsc::channel(8);
        let (status_tx, _status_rx) = watch::channel(Status::default());
        let clock = Clock::start();
        let path = directory.path().to_owned();
        let open = move || SledJournal::open(&path, StoreOptions::with_cache(1 << 20), clock);
        let settings = Settings::default();
        let (opening, end) =
            start(open, settings, clock, writes_rx, reads_rx, status_tx, notice()).await.unwrap();
        assert_eq!((opening.epoch, opening.pending.records), (1, life));
        assert_eq!(opening.kept.len(), usize::from(life > 0));
        writes_tx.send(record("one more")).await.unwrap();
        let keep = Write::Keep { slot: b"life".to_vec(), value: Some(vec![1]) };
        writes_tx.send(keep).await.unwrap();
        drop((writes_tx, reads_tx));
        end.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_store_that_does_not_open_is_told_to_whoever_starts_it() {
    let directory = tempfile::tempdir().unwrap();
    let options =
        StoreOptions { durability: Durability::AfterFlush, ..StoreOptions::with_cache(1 << 20) };
    let _first = SledJournal::open(directory.path(), options, Clock::start()).unwrap();
    let (_writes_tx, writes_rx) = mpsc::channel(8);
    let (_reads_tx, reads_rx) = mpsc::channel(8);
    let (status_tx, _status_rx) = watch::channel(Status::default());
    let (clock, path) = (Clock::start(), directory.path().to_owned());
    let open = move || SledJournal::open(&path, options, clock);
    let started =
        start(open, Settings::default(), clock, writes_rx, reads_rx, status_tx, notice()).await;
    assert!(matches!(started, Err(OutboxError::InUse { .. })));
}

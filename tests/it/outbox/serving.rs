//! The room at work, on a paused clock.

use std::time::Duration;

use beacon_gateway::{
    clock::Clock,
    outbox::{
        Class, DropReason, Dropped, Durability, Entry, Journal, MAX_RECORD, MemoryJournal, Notice,
        OutboxError, Ranges, Read, Removal, Sequence, Settings, SledJournal, Standing, Status,
        StoreOptions, Stored, Write, serve, start,
    },
    settings::Span,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::ends;

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
    let ends = ends(writes_rx, reads_rx, status_tx, notice());
    let room = serve(journal.into(), || Err(OutboxError::Unusable), settings, clock, ends);
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
    let interval = Settings::default().commit_interval.0;
    let mut running = run(MemoryJournal::default(), Settings::default());
    running.append("alone").await;
    tokio::time::sleep(interval.saturating_sub(Duration::from_millis(1))).await;
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
    tokio::time::sleep(Duration::from_secs(9)).await;
    let sequences: Vec<u64> =
        running.oldest(Some(3), 4).await.iter().map(|stored| stored.sequence.0).collect();
    assert_eq!(sequences, [4, 5, 6, 7]);
    assert_eq!(running.oldest(Some(9), 4).await, []);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_wait_is_committed_at_once_and_takes_along_what_can() {
    for class in [Class::Gateway, Class::Moment] {
        let mut running = run(MemoryJournal::default(), Settings::default());
        let clock = Clock::start();
        running.append("a count").await;
        let bytes = b"a receipt".to_vec();
        let urgent = Entry { bytes, made: None, about: None, class };
        running.writes.send(Write::Append(urgent)).await.unwrap();
        running.status.wait_for(|status| status.durable_up_to.is_some()).await.unwrap();
        assert_eq!(running.texts().await, ["a count", "a receipt"]);
        assert_eq!(clock.now().as_micros(), 0, "nobody waited");
    }
}

#[tokio::test(start_paused = true)]
async fn removed_records_are_not_shown_again_and_are_booked_by_reason_once() {
    let commit_interval = Span::millis(100);
    let settings = Settings { commit_interval, ..Settings::default() };
    let running = run(MemoryJournal::default(), settings);
    for n in 1..=7 {
        running.append(&n.to_string()).await;
    }
    tokio::time::sleep(Duration::from_secs(9)).await;
    running.remove(&[1, 2, 2, 77], Removal::Acknowledged).await;
    running.remove(&[2, 4], Removal::Erased).await;
    running.remove(&[6, 6], Removal::Rejected).await;
    running.remove(&[7], Removal::Unreadable).await;
    assert_eq!(running.texts().await, ["3", "5"], "not even before the commit");
    let mut status = running.status.clone();
    status.wait_for(|status| status.totals.commits == 2).await.unwrap();
    let status = *status.borrow();
    let totals = status.totals;
    assert_eq!((totals.acknowledged, totals.erased), (2, 1));
    assert_eq!((totals.set_aside, totals.unreadable), (1, 1));
    assert_eq!((status.pending.records, status.pending.bytes), (2, 2));
    assert_eq!((status.acknowledged.records, status.set_aside.records), (1, 1), "2 was erased");
    assert_eq!(status.untold, 3, "nobody has to be told of what was delivered");
    assert!(status.conserves());
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_have_no_commit_of_their_own_while_something_is_appended() {
    let running = run(MemoryJournal::default(), Settings::default());
    for n in 0..20 {
        running.append(&n.to_string()).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        running.remove(&[n + 1], Removal::Acknowledged).await;
    }
    assert_eq!(running.status.borrow().totals.commits, 20);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(running.status.borrow().totals.commits, 20, "it waits for company");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = *running.status.borrow();
    assert_eq!((status.totals.commits, status.totals.acknowledged), (21, 20));
    let journal = running.close().await.unwrap();
    assert_eq!(journal.standing(Standing::Acknowledged).records, 20);
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_held_for_a_day_and_can_be_read_until_then() {
    let mut journal = MemoryJournal::default();
    for text in ["old", "older"] {
        let bytes = text.as_bytes().to_vec();
        let entry = Entry { bytes, made: None, about: None, class: Class::Presence };
        let sequence = journal.append(entry, None).unwrap();
        journal.stand(sequence, Standing::Acknowledged).unwrap();
    }
    journal.sync().unwrap();
    let running = run(journal, Settings::default());
    tokio::time::sleep(Duration::from_hours(1)).await;
    running.append("new").await;
    running.append("waiting").await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    running.remove(&[3], Removal::Acknowledged).await;
    let held = async || {
        let (reply, answer) = oneshot::channel();
        let (from, to) = (Sequence(1), Sequence(99));
        running.reads.send(Read::Range { from, to, limit: 99, reply }).await.unwrap();
        let held = answer.await.unwrap().into_iter();
        held.map(|(stored, standing)| (stored.sequence.0, standing)).collect::<Vec<_>>()
    };
    let (there, waits) = (Standing::Acknowledged, Standing::Pending);
    assert_eq!(held().await, [(1, there), (2, there), (3, there), (4, waits)]);
    tokio::time::sleep(Duration::from_hours(23)).await;
    assert_eq!(held().await, [(3, there), (4, waits)], "found when it was opened, a day ago");
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!(held().await, [(4, waits)]);
    let status = *running.status.borrow();
    assert_eq!((status.totals.expired, status.untold), (3, 0));
    assert!(status.conserves());
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_brought_back_into_the_line_and_the_account_says_where_everything_is() {
    let running = run(MemoryJournal::default(), Settings::default());
    for n in 1..=9 {
        running.append(&n.to_string()).await;
    }
    tokio::time::sleep(Duration::from_secs(9)).await;
    running.remove(&[1, 2], Removal::Acknowledged).await;
    running.remove(&[3, 4, 5], Removal::Rejected).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    let account = async || {
        let (reply, answer) = oneshot::channel();
        running.reads.send(Read::Account { reply }).await.unwrap();
        answer.await.unwrap()
    };
    let ranges = |ranges: &Ranges| ranges.iter().map(|(a, b)| (a.0, b.0)).collect::<Vec<_>>();
    let told = account().await;
    assert_eq!((told.epoch, told.last), (1, Some(Sequence(10))), "with a notice");
    assert_eq!(ranges(&told.pending), [(6, 10)]);
    assert_eq!((ranges(&told.acknowledged), ranges(&told.set_aside)), (vec![(1, 2)], vec![(3, 5)]));
    assert_eq!((ranges(&told.told), ranges(&told.untold)), (vec![(3, 5)], vec![]));
    let (reply, answer) = oneshot::channel();
    let (from, to) = (Sequence(4), Sequence(u64::MAX));
    running.reads.send(Read::BringBack { from, to, reply }).await.unwrap();
    assert_eq!(answer.await.unwrap(), 2);
    assert_eq!(running.oldest(None, 2).await[0].sequence, Sequence(4));
    assert_eq!(ranges(&account().await.set_aside), [(3, 3)]);
    let status = *running.status.borrow();
    assert_eq!((status.totals.brought_back, status.set_aside.records), (2, 1));
    assert!(status.conserves());
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
async fn a_record_too_big_leaves_its_number_and_is_told() {
    let running = run(MemoryJournal::default(), Settings::default());
    running.append("before").await;
    running.append(&"x".repeat(MAX_RECORD + 1)).await;
    running.append("after").await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    let status = running.status.clone();
    let mut journal = running.close().await.unwrap();
    let records = journal.oldest(None, 9).unwrap();
    let sequences: Vec<u64> = records.iter().map(|held| held.sequence.0).collect();
    assert_eq!(sequences, [1, 3, 4]);
    let dropped = records[2].notice.as_ref().unwrap();
    assert_eq!(*dropped, Dropped::one(DropReason::TooBig, Sequence(2), None));
    let totals = status.borrow().totals;
    assert_eq!((totals.appended, totals.dropped), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_drops_its_oldest_in_chunks_and_says_which() {
    let settings = Settings { max_records: 1000, commit_records: 10, ..Settings::default() };
    let running = run(MemoryJournal::default(), settings);
    for n in 0..3000 {
        running.append(&n.to_string()).await;
    }
    tokio::time::sleep(Duration::from_secs(9)).await;
    let status = running.status.clone();
    let mut journal = running.close().await.unwrap();
    let records = journal.oldest(None, usize::MAX).unwrap();
    let status = *status.borrow();
    assert!(records.len() <= 1000 && status.conserves(), "{status:?}");
    let mut told = Ranges::new();
    for (first, last) in
        records.iter().filter_map(|held| held.notice.as_ref()).flat_map(|it| it.ranges.iter())
    {
        told.add_range(first, last);
    }
    assert_eq!((told.count(), status.untold), (status.totals.dropped, 0), "once each");
    assert!(records.iter().all(|held| !told.contains(held.sequence)));
    assert_eq!(told.count() + records.len() as u64, status.totals.appended);
    assert!(status.totals.appended < 3010, "many losses share a notice");
}

#[tokio::test(start_paused = true)]
async fn when_room_is_needed_each_class_keeps_its_share() {
    let settings = Settings { max_records: 1000, commit_records: 10, ..Settings::default() };
    let running = run(MemoryJournal::default(), settings);
    let mut random = fastrand::Rng::with_seed(4);
    for class in [Class::Count, Class::Sensor, Class::Presence, Class::Moment] {
        for _ in 0..800 {
            let bytes = vec![0; random.usize(0..100)];
            let entry = Entry { bytes, made: None, about: None, class };
            running.writes.send(Write::Append(entry)).await.unwrap();
        }
    }
    let journal = running.close().await.unwrap();
    let held = Class::ALL.map(|class| journal.pending_of(class).records);
    // The shares are 10, 20, 40, 20 and 10 in a hundred; the moments have what is left.
    let [_, moments, presence, sensor, count] = held;
    assert!((90..=100).contains(&count) && (185..=200).contains(&sensor), "{held:?}");
    assert!((385..=400).contains(&presence) && (285..=320).contains(&moments), "{held:?}");
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
            start(open, settings, clock, ends(writes_rx, reads_rx, status_tx, notice()))
                .await
                .unwrap();
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
        start(open, Settings::default(), clock, ends(writes_rx, reads_rx, status_tx, notice()))
            .await;
    assert!(matches!(started, Err(OutboxError::InUse { .. })));
}

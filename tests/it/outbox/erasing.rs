//! Erasing what is about somebody, on a paused clock: what goes, what stays, and what is counted.

use std::time::Duration;

use beacon_gateway::{
    clock::Clock,
    outbox::{
        Class, DropReason, Dropped, Entry, Erased, Journal, Judge, MAX_RECORD, MemoryJournal,
        OutboxError, Read, Removal, Sequence, Settings, Status, Tag, Verdict, Write, serve,
    },
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{ends, faulty::Disk};

struct Running {
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
    status: watch::Receiver<Status>,
    room: JoinHandle<Result<MemoryJournal, OutboxError>>,
}

fn run(journal: MemoryJournal) -> Running {
    let (writes_tx, writes_rx) = mpsc::channel(16);
    let (reads_tx, reads_rx) = mpsc::channel(16);
    let (status_tx, status) = watch::channel(Status::default());
    let notice = Box::new(|dropped: &Dropped| format!("notice {}", dropped.count()).into_bytes());
    let (clock, settings) = (Clock::start(), Settings::default());
    let ends = ends(writes_rx, reads_rx, status_tx, notice);
    let room = serve(journal.into(), || Err(OutboxError::Unusable), settings, clock, ends);
    Running { writes: writes_tx, reads: reads_tx, status, room: tokio::spawn(room) }
}

fn entry(text: &str, about: Option<&str>) -> Entry {
    Entry {
        bytes: text.as_bytes().to_vec(),
        made: None,
        about: about.map(Tag::of),
        class: Class::Presence,
    }
}

/// Erases the records that begin with this.
fn judge(gone: &'static str) -> Judge {
    Judge::new(
        move |bytes: &[u8]| {
            if bytes.starts_with(gone.as_bytes()) { Verdict::Erase } else { Verdict::Keep }
        },
    )
}

/// What is told about two subjects, and by a sensor that is nobody's.
fn journal(rounds: u32) -> MemoryJournal {
    let mut journal = MemoryJournal::default();
    for n in 0..rounds {
        for (who, about) in [("ada", Some("ada")), ("bob", Some("bob")), ("sensor", None)] {
            journal.append(entry(&format!("{who} {n}"), about), None).unwrap();
        }
    }
    journal.sync().unwrap();
    journal
}

impl Running {
    async fn erase(&self, who: Option<&[&str]>, judge: Judge) -> Erased {
        let (reply, answer) = oneshot::channel();
        let who = who.map(|who| who.iter().map(|name| Tag::of(name)).collect());
        self.writes.send(Write::Erase { who, judge, reply }).await.unwrap();
        answer.await.unwrap()
    }

    async fn texts(&self) -> Vec<String> {
        let (reply, answer) = oneshot::channel();
        let request = Read::Oldest { after: None, limit: usize::MAX, reply };
        self.reads.send(request).await.unwrap();
        let records = answer.await.unwrap().into_iter();
        records.map(|stored| String::from_utf8(stored.bytes).unwrap()).collect()
    }

    async fn close(self) -> (MemoryJournal, Status) {
        drop((self.writes, self.reads));
        let journal = self.room.await.unwrap().unwrap();
        (journal, *self.status.borrow())
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_about_one_subject_goes_and_everything_else_stays_as_it_was() {
    let running = run(journal(3));
    let keep = Write::Keep { slot: b"visit/ada".to_vec(), value: Some(vec![1]) };
    running.writes.send(keep).await.unwrap();
    let erased = running.erase(Some(&["ada"]), judge("ada")).await;
    let expected = Erased {
        examined: 3,
        erased: 3,
        narrowed: 0,
        first: Some(Sequence(1)),
        last: Some(Sequence(7)),
        bytes: 15,
    };
    assert_eq!(erased, expected);
    let left = ["bob 0", "sensor 0", "bob 1", "sensor 1", "bob 2", "sensor 2"];
    assert_eq!(running.texts().await, left);
    let (mut journal, status) = running.close().await;
    journal.cut_power();
    let left = journal.oldest(None, 99).unwrap();
    assert_eq!(left.len(), 6, "it was durable before it was told");
    let visits = journal.kept().unwrap().into_iter().filter(|kept| kept.slot.starts_with(b"visit"));
    assert_eq!(visits.count(), 1);
    assert_eq!((status.totals.recovered, status.totals.erased), (9, 3));
    assert!(status.conserves());
}

#[tokio::test(start_paused = true)]
async fn what_still_waits_for_its_commit_is_found_and_what_is_written_after_is_not_looked_at() {
    let running = run(MemoryJournal::default());
    let (reply, answer) = oneshot::channel();
    let order = Write::Erase { who: None, judge: judge(""), reply };
    let append = |text| Write::Append(entry(text, Some("ada")));
    running.writes.send(Write::Together(vec![append("a"), order, append("b")])).await.unwrap();
    assert_eq!(answer.await.unwrap().erased, 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(running.texts().await, ["b", "notice 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_erased_is_erased_once_whoever_says_so_again() {
    let running = run(journal(2));
    running.erase(Some(&["ada"]), judge("ada")).await;
    // The uplink had them on its shelf, and one of them in flight.
    for (sequence, why) in [(1, Removal::Erased), (4, Removal::Acknowledged)] {
        let sequences = vec![Sequence(sequence)];
        running.reads.send(Read::Remove { sequences, why }).await.unwrap();
    }
    assert_eq!(running.erase(Some(&["ada"]), judge("ada")).await, Erased::default());
    let (_, status) = running.close().await;
    assert_eq!((status.totals.erased, status.totals.acknowledged), (2, 0));
    assert!(status.conserves());
}

#[tokio::test(start_paused = true)]
async fn without_names_everything_but_notices_is_looked_at_and_may_be_narrowed() {
    let mut journal = journal(1);
    let dropped = Dropped::one(DropReason::Full, Sequence(1), None);
    journal.append(entry("notice", None), Some(dropped)).unwrap();
    journal.sync().unwrap();
    let running = run(journal);
    let judge = Judge::new(|bytes: &[u8]| match bytes.first() {
        Some(b'a') => Verdict::Replace(b"a".to_vec()),
        Some(b'b') => Verdict::Replace(vec![b'b'; MAX_RECORD + 1]),
        Some(b's') => Verdict::Replace(bytes.to_vec()),
        _ => Verdict::Erase,
    });
    let erased = running.erase(None, judge).await;
    assert_eq!((erased.examined, erased.erased, erased.narrowed), (3, 1, 1), "b became too big");
    assert_eq!(running.texts().await, ["a", "sensor 0", "notice"]);
    let (journal, status) = running.close().await;
    assert_eq!((status.totals.narrowed, status.totals.erased), (1, 1));
    assert_eq!(journal.pending(), status.pending);
}

#[tokio::test(start_paused = true)]
async fn the_files_are_scrubbed_once_for_a_burst_of_erasures_and_for_those_of_the_uplink() {
    let mut running = run(journal(2));
    for name in ["ada", "bob", "nobody"] {
        running.erase(Some(&[name]), judge(name)).await;
    }
    assert!(running.status.borrow().owes_scrub);
    running.status.wait_for(|status| !status.owes_scrub).await.unwrap();
    assert_eq!(running.status.borrow().totals.scrubs, 1);
    let sequences = vec![Sequence(3)];
    running.reads.send(Read::Remove { sequences, why: Removal::Erased }).await.unwrap();
    running.status.wait_for(|status| status.totals.scrubs == 2).await.unwrap();
    running.erase(None, judge("nothing")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(running.status.borrow().totals.scrubs, 2, "nothing was erased");
}

#[tokio::test(start_paused = true)]
async fn an_erasure_that_was_cut_short_loses_nothing_else_and_is_completed_by_giving_it_again() {
    let mut cut_short = 0;
    for syncs in 1..=9 {
        let disk = Disk::of(journal(2000));
        // About 3,000 of so small records go in one commit.
        disk.fail_after_syncs(syncs);
        disk.stay_away(u32::MAX);
        let (told, status) = order_everything_but("sensor", &disk).await;
        disk.cut_power();
        let left = disk.sensors_and_others();
        assert_eq!(told.is_some(), left == 2000, "told when it was durable, and only then");
        assert!(status.conserves(), "{status:?}");
        cut_short += u32::from(left > 2000 && left < 6000);
        disk.stay_away(0);
        let (told, status) = order_everything_but("sensor", &disk).await;
        assert_eq!(told.unwrap().erased, left - 2000);
        assert_eq!((status.totals.erased, disk.sensors_and_others()), (left - 2000, 2000));
    }
    assert!(cut_short > 0, "none was cut in its middle");
}

#[tokio::test(start_paused = true)]
async fn an_erasure_that_loses_its_disk_goes_on_when_it_is_back() {
    for syncs in 1..=9 {
        let disk = Disk::of(journal(2000));
        disk.fail_after_syncs(syncs);
        let (told, status) = order_everything_but("sensor", &disk).await;
        assert_eq!(told.unwrap().erased, 4000, "each was counted once");
        assert_eq!((status.totals.erased, disk.sensors_and_others()), (4000, 2000));
        assert!(status.conserves(), "{status:?}");
    }
}

/// Runs a room on a disk until it has carried out one order, or a while has passed.
async fn order_everything_but(kept: &'static str, disk: &Disk) -> (Option<Erased>, Status) {
    let (writes_tx, writes_rx) = mpsc::channel(1);
    let (reads_tx, reads_rx) = mpsc::channel(1);
    let (status_tx, status) = watch::channel(Status::default());
    let notice = Box::new(|_: &Dropped| Vec::new());
    let (clock, settings) = (Clock::start(), Settings::default());
    let ends = ends(writes_rx, reads_rx, status_tx, notice);
    let room = serve(disk.clone().into(), disk.opener(), settings, clock, ends);
    let judge =
        Judge::new(
            move |bytes: &[u8]| {
                if bytes.starts_with(kept.as_bytes()) { Verdict::Keep } else { Verdict::Erase }
            },
        );
    let order = async move {
        let (reply, answer) = oneshot::channel();
        writes_tx.send(Write::Erase { who: None, judge, reply }).await.ok()?;
        let told = tokio::time::timeout(Duration::from_mins(1), answer).await;
        drop((writes_tx, reads_tx));
        told.ok()?.ok()
    };
    let (_, told) = tokio::join!(room, order);
    (told, *status.borrow())
}

#[tokio::test(start_paused = true)]
async fn closing_both_ends_completes_an_erasure() {
    let running = run(journal(2000));
    let (reply, answer) = oneshot::channel();
    let order = Write::Erase { who: None, judge: judge("ada"), reply };
    running.writes.send(order).await.unwrap();
    let (journal, status) = running.close().await;
    assert_eq!(answer.await.unwrap().erased, 2000);
    let left = journal.pending().records + status.totals.erased - status.totals.appended;
    assert_eq!((left, status.totals.erased), (6000, 2000));
}

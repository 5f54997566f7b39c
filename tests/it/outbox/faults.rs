//! The disk under the room fails, at every call in turn and for every reason; it stays away, and
//! comes back. On a paused clock.

use std::{collections::BTreeMap, time::Duration};

use beacon_gateway::{
    clock::Clock,
    outbox::{
        Class, DiskState, DropReason, Dropped, Entry, Erased, Journal, Judge, MemoryJournal,
        OutboxError, Read, Removal, Sequence, Settings, Standing, Status, Stored, Tag, Verdict,
        Write, serve,
    },
    settings::ByteSize,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{ends, faulty::Disk};

const FULL: i32 = 28;
const READ_ONLY: i32 = 30;
const FAILING: i32 = 5;

/// The others' ends of a running room.
struct Day {
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
    status: watch::Receiver<Status>,
    clock: Clock,
}

/// Runs a room on a disk for as long as the business takes.
async fn with_room<T>(
    disk: &Disk,
    settings: Settings,
    business: impl AsyncFnOnce(&Day) -> T,
) -> (Result<(), OutboxError>, T) {
    let (writes_tx, writes_rx) = mpsc::channel(16);
    let (reads_tx, reads_rx) = mpsc::channel(16);
    let (status_tx, status) = watch::channel(Status::default());
    let clock = Clock::start();
    let notice = Box::new(|lost: &Dropped| format!("! {} {}", lost.why, lost.count()).into_bytes());
    let ends = ends(writes_rx, reads_rx, status_tx, notice);
    let room = serve(disk.clone().into(), disk.opener(), settings, clock, ends);
    let day = Day { writes: writes_tx, reads: reads_tx, status, clock };
    let business = async {
        let result = business(&day).await;
        drop(day);
        result
    };
    let (ended, result) = tokio::join!(room, business);
    (ended.map(drop), result)
}

fn entry(text: &str, class: Class) -> Entry {
    let about = text.split(' ').next().map(Tag::of);
    Entry { bytes: text.as_bytes().to_vec(), made: None, about, class }
}

impl Day {
    async fn append(&self, text: &str, class: Class) {
        self.writes.send(Write::Append(entry(text, class))).await.unwrap();
    }

    async fn keep(&self, slot: &str, value: u8) {
        let keep = Write::Keep { slot: slot.into(), value: Some(vec![value]) };
        self.writes.send(keep).await.unwrap();
    }

    async fn oldest(&self) -> Vec<Stored> {
        let (reply, answer) = oneshot::channel();
        self.reads.send(Read::Oldest { after: None, limit: 99, reply }).await.unwrap();
        answer.await.unwrap()
    }

    async fn remove(&self, sequences: &[Sequence], why: Removal) {
        let sequences = sequences.to_vec();
        self.reads.send(Read::Remove { sequences, why }).await.unwrap();
    }

    async fn erase(&self, who: &'static str) -> Erased {
        let (reply, answer) = oneshot::channel();
        let judge = Judge::new(move |bytes: &[u8]| {
            if bytes.starts_with(who.as_bytes()) { Verdict::Erase } else { Verdict::Keep }
        });
        let who = Some(vec![Tag::of(who)]);
        self.writes.send(Write::Erase { who, judge, reply }).await.unwrap();
        answer.await.unwrap()
    }

    async fn bring_back(&self) -> u64 {
        let (reply, answer) = oneshot::channel();
        let (from, to) = (Sequence(1), Sequence(u64::MAX));
        self.reads.send(Read::BringBack { from, to, reply }).await.unwrap();
        answer.await.unwrap()
    }

    async fn a_while(&self) {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }

    async fn until(&self, is: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.status.clone();
        *status.wait_for(is).await.unwrap()
    }
}

/// A bit of everything, and what it has to lead to.
async fn a_bit_of_everything(day: &Day) {
    for (text, class) in [
        ("bob 1", Class::Presence),
        ("ada 2", Class::Presence),
        ("eve 3", Class::Moment),
        ("kim 4", Class::Sensor),
        ("ada 5", Class::Count),
        ("bob 6", Class::Gateway),
    ] {
        day.append(text, class).await;
        day.keep("last", text.bytes().last().unwrap()).await;
    }
    day.a_while().await;
    let records = day.oldest().await;
    let sequence = |text: &str| {
        let found = records.iter().find(|stored| stored.bytes == text.as_bytes());
        found.unwrap_or_else(|| panic!("{text} is not among {records:?}")).sequence
    };
    day.remove(&[sequence("bob 1")], Removal::Acknowledged).await;
    day.remove(&[sequence("eve 3")], Removal::Rejected).await;
    day.remove(&[sequence("kim 4")], Removal::Unreadable).await;
    assert_eq!(day.erase("ada").await.erased, 2);
    day.a_while().await;
    assert_eq!(day.bring_back().await, 1);
    day.append("bob 7", Class::Presence).await;
    day.append(&"x".repeat(3000), Class::Presence).await;
    day.a_while().await;
    assert_eq!(day.until(|status| status.disk == DiskState::Ok).await.queued.records, 0);
}

/// What is left of it, and what was told.
fn check(disk: &Disk, at: &str) {
    let (mut texts, mut told, mut acknowledged) = (Vec::new(), BTreeMap::new(), Vec::new());
    for held in disk.held() {
        let text = String::from_utf8(held.bytes).unwrap();
        match (held.notice, held.standing) {
            (Some(dropped), Standing::Pending) => {
                assert!(text.starts_with(&format!("! {}", dropped.why)), "{at}");
                *told.entry(dropped.why).or_insert(0) += dropped.count();
            }
            (None, Standing::Pending) => texts.push(text),
            (None, Standing::Acknowledged) => acknowledged.push(text),
            other => panic!("{at}: {other:?}"),
        }
    }
    assert_eq!(texts, ["eve 3", "bob 6", "bob 7"], "{at}");
    assert_eq!(acknowledged, ["bob 1"], "{at}");
    let expected = [
        (DropReason::TooBig, 1),
        (DropReason::Erased, 2),
        (DropReason::SetAside, 1),
        (DropReason::Unreadable, 1),
    ];
    assert_eq!(told, BTreeMap::from(expected), "{at}");
    let kept: Vec<_> = disk.kept().into_iter().map(|kept| (kept.slot, kept.value)).collect();
    assert_eq!(kept, [(b"last".to_vec(), vec![b'6'])], "{at}");
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_call_loses_nothing_doubles_nothing_and_is_lived_through() {
    for (errno, keeps) in
        [(FULL, false), (FULL, true), (READ_ONLY, false), (FAILING, false), (FAILING, true)]
    {
        let mut calls = 0;
        loop {
            let disk = Disk::default();
            disk.fail_after(calls, errno, keeps);
            disk.stay_away(calls % 3);
            let (ended, ()) = with_room(&disk, Settings::default(), a_bit_of_everything).await;
            let at = format!("error {errno} at call {calls}, keeps {keeps}");
            assert!(ended.is_ok(), "{at}: {ended:?}");
            check(&disk, &at);
            if disk.is_to_fail() {
                break;
            }
            assert!(disk.opened() > 0, "{at}");
            calls += 1;
        }
        assert!(calls > 40, "only {calls} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn faults_that_come_again_and_again_are_lived_through() {
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..200 {
        let disk = Disk::default();
        let again = disk.clone();
        let (every, keeps) = (random.u32(3..60), random.bool());
        let (ended, ()) = with_room(&disk, Settings::default(), async |day| {
            let trouble = async {
                for _ in 0..6 {
                    again.fail_after(every, FAILING, keeps);
                    tokio::time::sleep(Duration::from_secs(7)).await;
                }
                again.cut_short();
            };
            tokio::join!(trouble, a_bit_of_everything(day));
            day.a_while().await;
        })
        .await;
        let at = format!("round {round}, every {every} calls");
        assert!(ended.is_ok(), "{at}: {ended:?}");
        check(&disk, &at);
    }
}

#[tokio::test(start_paused = true)]
async fn the_status_says_at_once_how_the_disk_is_and_memory_keeps_what_comes_in_order() {
    for (errno, state) in
        [(FULL, DiskState::Full), (READ_ONLY, DiskState::ReadOnly), (FAILING, DiskState::Failing)]
    {
        let disk = Disk::default();
        let (ended, ()) = with_room(&disk, Settings::default(), async |day| {
            day.append("bob before", Class::Presence).await;
            day.a_while().await;
            disk.fail_after(0, errno, false);
            disk.stay_away(7);
            day.append("bob urgent", Class::Gateway).await;
            let status = day.until(|status| status.disk != DiskState::Ok).await;
            assert_eq!((status.disk, status.queued.records), (state, 1));
            assert!(status.conserves());
            let since = day.clock.now();
            for n in 0..100 {
                day.append(&format!("bob {n}"), Class::Presence).await;
            }
            let status = day.until(|status| status.queued.records == 101).await;
            assert_eq!((status.pending.records, status.totals.lost), (1, 0));
            // Whoever asks waits, and is answered from the disk.
            assert_eq!(day.oldest().await.len(), 99);
            // 1, 2, 4, 8, 16, 32, 60 and 60 seconds.
            let took = day.clock.now().since(since).as_secs();
            assert!((180..186).contains(&took), "{took} seconds");
            let status = day.until(|status| status.disk == DiskState::Ok).await;
            assert_eq!((status.pending.records, status.totals.outages), (102, 1));
            assert_eq!(status.queued.records, 0);
        })
        .await;
        assert!(ended.is_ok());
        let texts: Vec<_> =
            disk.held().into_iter().map(|held| String::from_utf8(held.bytes).unwrap()).collect();
        let mut expected = vec!["bob before".to_owned(), "bob urgent".to_owned()];
        expected.extend((0..100).map(|n| format!("bob {n}")));
        assert_eq!(texts, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_memory_has_no_room_for_is_counted_and_told_and_the_least_valuable_goes() {
    let disk = Disk::default();
    let settings =
        Settings { memory_records: 50, memory_bytes: ByteSize(1 << 20), ..Settings::default() };
    let (ended, ()) = with_room(&disk, settings, async |day| {
        disk.fail_after(0, FULL, false);
        disk.stay_away(5);
        day.append("bob first", Class::Gateway).await;
        day.until(|status| status.disk == DiskState::Full).await;
        for n in 0..40 {
            day.append(&format!("kim {n}"), Class::Sensor).await;
            day.append(&format!("bob {n}"), Class::Moment).await;
        }
        let status = day.until(|status| status.totals.lost == 30).await;
        assert!(status.conserves(), "{status:?}");
        day.until(|status| status.disk == DiskState::Ok).await;
        day.a_while().await;
        let status = *day.status.borrow();
        assert_eq!((status.totals.lost, status.untold), (30, 0));
        assert!(status.conserves(), "{status:?}");
    })
    .await;
    assert!(ended.is_ok());
    let held = disk.held();
    let count = |class| held.iter().filter(|held| held.class == class).count();
    assert_eq!((count(Class::Moment), count(Class::Sensor), count(Class::Gateway)), (40, 10, 2));
    let told = held.iter().find_map(|held| held.notice.clone()).unwrap();
    assert_eq!(told, Dropped::unnumbered(DropReason::Disk, 30));
}

#[tokio::test(start_paused = true)]
async fn an_erasure_is_not_confirmed_before_it_is_durable_and_keeps_its_place() {
    let disk = Disk::default();
    let (ended, ()) = with_room(&disk, Settings::default(), async |day| {
        day.append("ada 1", Class::Presence).await;
        day.a_while().await;
        disk.fail_after(0, READ_ONLY, false);
        disk.stay_away(3);
        day.append("ada 2", Class::Presence).await;
        day.until(|status| status.disk == DiskState::ReadOnly).await;
        let since = day.clock.now();
        let later = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            day.append("ada 3", Class::Presence).await;
        };
        let (erased, ()) = tokio::join!(day.erase("ada"), later);
        assert_eq!(erased.erased, 2, "what was written after it is not looked at");
        assert!(day.clock.now().since(since) > Duration::from_secs(10));
        disk.cut_power();
    })
    .await;
    assert!(ended.is_ok());
    let texts: Vec<_> = disk.held().into_iter().filter(|held| held.notice.is_none()).collect();
    assert!(texts.iter().all(|held| held.bytes != b"ada 1" && held.bytes != b"ada 2"));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_never_comes_back_is_said_when_the_room_is_closed() {
    let disk = Disk::default();
    let (ended, ()) = with_room(&disk, Settings::default(), async |day| {
        disk.fail_after(0, FAILING, false);
        disk.stay_away(u32::MAX);
        day.append("bob", Class::Gateway).await;
        day.until(|status| status.disk == DiskState::Failing).await;
        tokio::time::sleep(Duration::from_hours(9)).await;
        assert_eq!(day.status.borrow().queued.records, 1);
    })
    .await;
    assert!(matches!(ended, Err(OutboxError::Commit(_))), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_knows_less_than_was_durable_is_not_gone_on_with() {
    let disk = Disk::default();
    let (ended, ()) = with_room(&disk, Settings::default(), async |day| {
        for n in 0..3 {
            day.append(&format!("bob {n}"), Class::Gateway).await;
        }
        day.a_while().await;
        let right = disk.clone_journal();
        // Another disk is mounted there, or an old copy was put in its place.
        disk.replace(MemoryJournal::default());
        disk.fail_after(0, FAILING, false);
        day.append("bob 3", Class::Gateway).await;
        tokio::time::sleep(Duration::from_mins(9)).await;
        let status = *day.status.borrow();
        assert_eq!((status.disk, status.queued.records), (DiskState::Failing, 1));
        disk.replace(right);
        day.until(|status| status.disk == DiskState::Ok).await;
        assert_eq!(day.oldest().await.len(), 4);
    })
    .await;
    assert!(ended.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_fresh_store_that_counts_on_where_the_damaged_one_ended_is_gone_on_with() {
    let disk = Disk::default();
    let (ended, ()) = with_room(&disk, Settings::default(), async |day| {
        for n in 0..5 {
            day.append(&format!("bob {n}"), Class::Presence).await;
        }
        day.a_while().await;
        // Of five records one could be saved.
        let mut fresh = MemoryJournal::new(2);
        for n in 0..5 {
            let sequence = fresh.append(entry(&format!("bob {n}"), Class::Presence), None).unwrap();
            if n > 0 {
                fresh.remove(sequence).unwrap();
            }
        }
        fresh.sync().unwrap();
        disk.replace(fresh);
        disk.fail_after(0, FAILING, false);
        day.append("bob 5", Class::Presence).await;
        day.until(|status| status.disk == DiskState::Failing).await;
        let status = day.until(|status| status.disk == DiskState::Ok).await;
        assert_eq!((status.epoch, status.totals.dropped), (2, 4));
        day.remove(&[Sequence(1)], Removal::Acknowledged).await;
        day.a_while().await;
    })
    .await;
    assert!(ended.is_ok(), "{ended:?}");
    let held = disk.held();
    assert_eq!((held[0].sequence, held[0].standing), (Sequence(1), Standing::Acknowledged));
    assert_eq!((held[1].sequence, held[1].bytes.as_slice()), (Sequence(6), b"bob 5".as_slice()));
    let told = held[2].notice.clone().unwrap();
    assert_eq!(told, Dropped::unnumbered(DropReason::Damaged, 4));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_begun_anew_takes_what_was_in_memory_and_is_told_of_what_is_gone() {
    let disk = Disk::default();
    let (ended, ()) = with_room(&disk, Settings::default(), async |day| {
        for n in 0..5 {
            day.append(&format!("bob {n}"), Class::Presence).await;
        }
        day.a_while().await;
        let mut fresh = MemoryJournal::new(2);
        fresh.sync().unwrap();
        disk.replace(fresh);
        disk.fail_after(0, FAILING, false);
        day.append("bob 5", Class::Presence).await;
        day.writes.closed().await;
    })
    .await;
    assert!(matches!(ended, Err(OutboxError::Renewed)), "{ended:?}");
    // The next life of the room tells what this one has booked.
    let (ended, ()) = with_room(&disk, Settings::default(), async |day| day.a_while().await).await;
    assert!(ended.is_ok());
    let held = disk.held();
    assert_eq!(held[0].bytes, b"bob 5");
    let told = held[1].notice.clone().unwrap();
    assert_eq!(told, Dropped::unnumbered(DropReason::Damaged, 5));
}

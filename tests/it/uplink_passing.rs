//! Records that cannot be sent yet are passed over: others go on, and what is about one subject
//! arrives in order all the same.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    engine::Uptime,
    outbox::{Removal, Stored},
    settings::Span,
    uplink::{Courier, Dispatch, Protocol, Settings},
};

use crate::support::{
    cutter::Cutter,
    eventually,
    mosquitto::Mosquitto,
    rig::{Rig, about, number, numbered, settings, verbatim},
    subscriber::Subscriber,
};

const SUBJECTS: u64 = 10;

/// Of ten subjects three depend on something that is known now and then.
fn depends(number: u64) -> bool {
    number % SUBJECTS < 3
}

/// Knows what is so, and has a view of it that it changes only when asked to.
struct Patient<C> {
    known: Arc<AtomicBool>,
    view: bool,
    verbatim: C,
}

impl<C: Courier> Courier for Patient<C> {
    fn reconsider(&mut self) -> bool {
        let before = self.view;
        self.view = self.known.load(Relaxed);
        self.view && !before
    }

    fn dispatch(&mut self, stored: &Stored) -> Dispatch {
        if depends(stored.sequence.0) && !self.view {
            return Dispatch::Later;
        }
        self.verbatim.dispatch(stored)
    }
}

fn patient() -> (Arc<AtomicBool>, impl Courier + 'static) {
    let known = Arc::new(AtomicBool::new(false));
    (Arc::clone(&known), Patient { known, view: false, verbatim: verbatim() })
}

/// Checks that of each subject every number came, the first time in order. Returns all numbers in
/// the order they came.
fn in_order_by_subject(subscriber: &Subscriber, records: u64) -> Vec<u64> {
    let mut newest = BTreeMap::<u64, u64>::new();
    let mut numbers = Vec::new();
    for message in subscriber.on("/entered") {
        let number = number(&message.payload);
        numbers.push(number);
        let newest = newest.entry(number % SUBJECTS).or_default();
        if number > *newest {
            let before = if *newest == 0 { number % SUBJECTS } else { *newest + SUBJECTS };
            let first = if before == 0 { SUBJECTS } else { before };
            assert_eq!(number, first, "after {newest}");
            *newest = number;
        }
    }
    assert_eq!(newest.len() as u64, SUBJECTS);
    assert!(newest.values().all(|newest| newest + SUBJECTS > records), "{newest:?}");
    numbers
}

#[tokio::test]
async fn what_cannot_be_sent_yet_is_passed_over_once_and_sent_when_it_can_be() {
    let mosquitto = Mosquitto::start("");
    let subscriber =
        Subscriber::start(Protocol::V5, mosquitto.port(), "beacon/v1/+/+/+/event/#").await;
    let (known, courier) = patient();
    let rig = Rig::start_with(settings(Protocol::V5, mosquitto.port()), courier);
    rig.outbox.append_about(about(SUBJECTS, 1..=1000));
    eventually("what does not depend on it", || rig.outbox.pending() == 300).await;
    // New ones do not bring the old ones up again, nor do changes of something else.
    rig.reconsider.send_replace(());
    rig.outbox.append_about(about(SUBJECTS, 1001..=1100));
    eventually("the new ones", || rig.outbox.pending() == 330).await;
    assert_eq!(rig.totals().passed_over, 330);

    known.store(true, Relaxed);
    rig.reconsider.send_replace(());
    rig.delivered().await;
    eventually("every event", || subscriber.on("/entered").len() == 1100).await;
    let numbers = in_order_by_subject(&subscriber, 1100);
    let (first, last) = numbers.split_at(770);
    assert!(!first.iter().any(|number| depends(*number)));
    assert!(last.iter().all(|number| depends(*number)));
    let (totals, outbox) = rig.stop().await;
    assert_eq!((totals.published, totals.redelivered, totals.faults), (1100, 0, 0));
    assert_eq!(outbox.removed(Removal::Acknowledged).len(), 1100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_holds_while_the_conditions_change_all_the_time_and_the_link_is_cut() {
    const RECORDS: u64 = 6000;
    let mosquitto = Mosquitto::start("");
    let subscriber =
        Subscriber::start(Protocol::V5, mosquitto.port(), "beacon/v1/+/+/+/event/#").await;
    let cutter = Cutter::start(mosquitto.port(), Duration::from_millis(1), 11).await;
    let (known, courier) = patient();
    let rig = Rig::start_with(settings(Protocol::V5, cutter.port()), courier);
    let mut random = fastrand::Rng::with_seed(11);
    let mut appended = 0;
    let mut turns = tokio::time::interval(Duration::from_millis(3));
    while appended < RECORDS {
        let next = (appended + random.u64(1..30)).min(RECORDS);
        rig.outbox.append_about(about(SUBJECTS, appended + 1..=next));
        appended = next;
        known.store(random.bool(), Relaxed);
        if random.bool() {
            rig.reconsider.send_replace(());
        }
        turns.tick().await;
    }
    known.store(true, Relaxed);
    rig.reconsider.send_replace(());
    rig.delivered().await;
    let complete = || {
        let mut numbers: Vec<u64> =
            subscriber.on("/entered").iter().map(|message| number(&message.payload)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.len() as u64 == RECORDS
    };
    eventually("every event", complete).await;
    in_order_by_subject(&subscriber, RECORDS);
    let totals = rig.totals();
    assert!(totals.passed_over > 0 && totals.reconnects > 0, "{totals:?}");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_what_is_passed_over_nor_does_another_connection_ask_again() {
    let mut mosquitto = Mosquitto::start("");
    let (_known, courier) = patient();
    let drain_timeout = Span::secs(60);
    let settings = Settings { drain_timeout, ..settings(Protocol::V311, mosquitto.port()) };
    let mut rig = Rig::start_with(settings, courier);
    rig.outbox.append(numbered(1..=1000));
    eventually("what does not depend on it", || rig.outbox.pending() == 300).await;
    mosquitto.kill();
    rig.offline().await;
    assert!(mosquitto.start_again());
    rig.online().await;
    rig.outbox.append(numbered(1001..=1010));
    eventually("the new ones", || rig.outbox.pending() == 303).await;
    let clock = Clock::start();
    let (totals, outbox) = rig.stop().await;
    let took = clock.now().since(Uptime::ZERO);
    assert!(took < drain_timeout.0 / 2, "it waited for {took:?}");
    assert_eq!((totals.passed_over, outbox.pending()), (303, 303));
}

//! In which order records go: what is new before a backlog, what is older about the same before what
//! is new, what was sent before behind everything; and what the broker refuses in its own place.

use std::collections::{BTreeMap, BTreeSet};

use beacon_gateway::{
    outbox::{Removal, Sequence, Stored, Tag},
    uplink::{Courier, Dispatch, Protocol, Replay, Settings},
};

use crate::support::{
    eventually,
    fake_broker::{FakeBroker, Packet, Say, connack, puback_with, well_behaved},
    mosquitto::Mosquitto,
    rig::{Rig, about, number, numbered, settings, verbatim},
    subscriber::Subscriber,
};

/// The numbers of the events that the broker was sent, in order.
fn events(broker: &FakeBroker) -> Vec<u64> {
    broker.events().iter().map(|(_, payload)| number(payload)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_does_not_wait_for_a_backlog_unless_something_older_is_about_the_same() {
    const BACKLOG: u64 = 20_000;
    const SUBJECTS: u64 = 1000;
    for protocol in [Protocol::V5, Protocol::V311] {
        let broker = FakeBroker::start(|_, packet| well_behaved(packet)).await;
        let mut rig = Rig::start(Settings { window: 16, ..settings(protocol, broker.port()) });
        rig.outbox.append_about(about(SUBJECTS, 1..=BACKLOG));
        rig.online().await;
        eventually("the first of the backlog", || rig.totals().acknowledged > 100).await;
        let before = rig.totals().published;
        // One about somebody new, one about somebody who has waited, one about nobody.
        let bytes = |n| numbered(BACKLOG + n..=BACKLOG + n).next().unwrap();
        rig.outbox.append_about([
            (Some(Tag(SUBJECTS + 1)), bytes(1)),
            (Some(Tag(7)), bytes(2)),
            (None, bytes(3)),
        ]);
        let left = rig.outbox.pending();
        rig.delivered().await;
        let events = events(&broker);
        let at = |number| events.iter().position(|event| *event == number).unwrap() as u64;
        assert!(left > 10_000, "only {left} of the backlog were left");
        for number in [BACKLOG + 1, BACKLOG + 2, BACKLOG + 3] {
            let passed = at(number).saturating_sub(before);
            assert!(passed < 3000, "MQTT {protocol}: {number} came after {passed} others");
        }
        let about_seven = |n: &u64| *n % SUBJECTS == 7 || *n == BACKLOG + 2;
        let about_seven: Vec<u64> = events.iter().copied().filter(about_seven).collect();
        assert!(about_seven.is_sorted() && about_seven.last() == Some(&(BACKLOG + 2)));
        assert_eq!(events.len() as u64, BACKLOG + 3, "each once");
    }
}

#[tokio::test]
async fn the_order_of_each_subject_holds_whatever_the_broker_puts_off_and_whenever_it_hangs_up() {
    const RECORDS: u64 = 1500;
    const SUBJECTS: u64 = 7;
    let mut random = fastrand::Rng::with_seed(13);
    let mut refused = BTreeMap::<u64, u32>::new();
    let (taken, broker_took) = std::sync::mpsc::sync_channel(100_000);
    let broker = FakeBroker::start(move |_, packet| match packet {
        Packet::Publish { packet_id, payload, .. } if packet.is_event() => {
            let refused = refused.entry(number(payload)).or_default();
            match random.u32(0..100) {
                // Twice each at most: one that is refused for longer waits for a minute.
                0..6 if *refused < 2 => {
                    *refused += 1;
                    vec![puback_with(*packet_id, *random.choice(&[0x97, 0x87, 0x83]).unwrap())]
                }
                6 => vec![Say::HangUp],
                _ => {
                    taken.send(number(payload)).unwrap();
                    well_behaved(packet)
                }
            }
        }
        packet => well_behaved(packet),
    })
    .await;
    let rig = Rig::start(settings(Protocol::V5, broker.port()));
    let mut appended = RECORDS / 2;
    rig.outbox.append_about(about(SUBJECTS, 1..=appended));
    eventually("all of them", || {
        let next = (appended + 10).min(RECORDS);
        if next > appended {
            rig.outbox.append_about(about(SUBJECTS, appended + 1..=next));
            appended = next;
        }
        rig.outbox.pending() == 0 && appended == RECORDS
    })
    .await;
    let mut newest = BTreeMap::<u64, u64>::new();
    let mut seen = BTreeSet::new();
    for number in broker_took.try_iter().filter(|number| seen.insert(*number)) {
        let newest = newest.entry(number % SUBJECTS).or_default();
        assert!(number > *newest, "{number} after {newest}");
        *newest = number;
    }
    assert_eq!(seen.len() as u64, RECORDS);
    let totals = rig.totals();
    assert!(totals.refused > 20 && totals.reconnects > 3, "{totals:?}");
}

#[tokio::test]
async fn a_right_that_is_missing_for_one_subject_holds_nobody_else_up() {
    let broker = FakeBroker::start(|_, packet| match packet {
        Packet::Publish { packet_id, payload, .. }
            if packet.is_event() && number(payload) % 10 == 3 =>
        {
            vec![puback_with(*packet_id, 0x87)]
        }
        packet => well_behaved(packet),
    })
    .await;
    let rig = Rig::start(settings(Protocol::V5, broker.port()));
    rig.outbox.append_about(about(10, 1..=200));
    eventually("the others", || rig.outbox.pending() == 20).await;
    rig.outbox.append_about(about(10, 201..=300));
    eventually("the others that are new", || rig.outbox.pending() == 30).await;
    let refused = events(&broker).into_iter().filter(|number| number % 10 == 3);
    assert_eq!(refused.collect::<BTreeSet<_>>(), BTreeSet::from([3]), "only the first was tried");
    assert_eq!(rig.totals().rejected, 0);
}

#[tokio::test]
async fn what_is_too_large_comes_back_over_a_connection_that_grants_more() {
    // Property 0x27: the maximum packet size, 600 bytes and then 4,096.
    let broker = FakeBroker::start(|connection, packet| match packet {
        Packet::Connect { .. } if connection == 1 => vec![connack(&[0x27, 0, 0, 0x02, 0x58])],
        Packet::Connect { .. } => vec![connack(&[0x27, 0, 0, 0x10, 0])],
        Packet::Publish { payload, .. } if connection == 1 && payload.starts_with("6 ") => {
            vec![Say::HangUp]
        }
        packet => well_behaved(packet),
    })
    .await;
    let rig = Rig::start(settings(Protocol::V5, broker.port()));
    let mut large = b"3 ".to_vec();
    large.resize(700, b'.');
    rig.outbox.append(numbered(1..=2).chain([large]).chain(numbered(4..=5)));
    eventually("the small ones", || rig.outbox.pending() == 0).await;
    assert_eq!((rig.outbox.set_aside(), rig.totals().rejected), (1, 1));
    rig.outbox.append(numbered(6..=6));
    eventually("the large one", || rig.outbox.set_aside() == 0 && rig.outbox.pending() == 0).await;
    assert!(events(&broker).contains(&3));
}

#[tokio::test]
async fn a_dead_letter_that_was_brought_back_is_sent_though_the_line_had_long_passed_it() {
    let mut refuse = true;
    let broker = FakeBroker::start(move |_, packet| match packet {
        Packet::Publish { packet_id, payload, .. }
            if packet.is_event() && number(payload) == 3 && std::mem::take(&mut refuse) =>
        {
            vec![puback_with(*packet_id, 0x99)]
        }
        packet => well_behaved(packet),
    })
    .await;
    let rig = Rig::start(settings(Protocol::V5, broker.port()));
    rig.outbox.append_about(about(10, 1..=100));
    rig.delivered().await;
    assert_eq!((rig.outbox.set_aside(), rig.outbox.bring_back(1, 100)), (1, 1));
    rig.brought_back.send_replace(1);
    rig.delivered().await;
    let events = events(&broker);
    assert_eq!((events.last(), events.len()), (Some(&3), 101));
    let letter = rig.totals().dead_letter.unwrap();
    assert_eq!((letter.sequence, letter.why), (Sequence(3), "0x99 payload format invalid"));
}

/// Marks what is sent again, and keeps to itself what ends in 7.
struct Marking<C>(C);

impl<C: Courier> Courier for Marking<C> {
    fn dispatch(&mut self, stored: &Stored) -> Dispatch {
        self.0.dispatch(stored)
    }

    fn replay(&mut self, stored: &Stored) -> Dispatch {
        if stored.sequence.0 % 10 == 7 {
            return Dispatch::Erase;
        }
        let bytes = [&stored.bytes, &b" replayed"[..]].concat();
        self.0.dispatch(&Stored { bytes, ..stored.clone() })
    }
}

#[tokio::test]
async fn what_is_asked_for_again_is_sent_again_marked_and_once() {
    let mosquitto = Mosquitto::start("");
    let subscriber =
        Subscriber::start(Protocol::V5, mosquitto.port(), "beacon/v1/+/+/+/event/#").await;
    let rig = Rig::start_with(settings(Protocol::V5, mosquitto.port()), Marking(verbatim()));
    rig.outbox.keep_acknowledged();
    rig.outbox.append_about(about(10, 1..=300));
    rig.delivered().await;
    for (from, to) in [(95, 190), (200, 300)] {
        rig.replay.send(Replay { from: Sequence(from), to: Sequence(to) }).await.unwrap();
    }
    rig.outbox.append_about(about(10, 301..=400));
    rig.delivered().await;
    let again = || (95..=190).chain(200..=300).filter(|number| number % 10 != 7);
    let wanted = again().count();
    eventually("the repetitions", || rig.totals().replayed == wanted as u64).await;
    eventually("them at the subscriber", || subscriber.messages().len() == 400 + wanted).await;
    let replayed: Vec<u64> = subscriber
        .messages()
        .iter()
        .filter(|message| message.payload.ends_with(" replayed"))
        .map(|message| number(&message.payload))
        .collect();
    assert_eq!(replayed, again().collect::<Vec<_>>(), "in order");
    let acknowledged = rig.outbox.removed(Removal::Acknowledged);
    assert_eq!(acknowledged.len(), 400, "they count as delivered once");
}

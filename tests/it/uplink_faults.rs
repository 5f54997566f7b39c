//! What the uplink makes of a broker that breaks connections, falls silent, or breaks the protocol.

use std::{collections::BTreeSet, time::Duration};

use beacon_gateway::{
    clock::Clock,
    engine::Uptime,
    outbox::Removal,
    settings::Span,
    uplink::{Protocol, Settings},
};
use tokio::sync::watch;

use crate::support::{
    eventually,
    fake_broker::{FakeBroker, Packet, Say, connack, disconnect, puback, well_behaved},
    rig::{Rig, number, numbered, offline_because, settings},
};

const BOTH: [Protocol; 2] = [Protocol::V311, Protocol::V5];

/// Settings for tests that wait for a missing acknowledgement.
fn impatient(protocol: Protocol, port: u16) -> Settings {
    Settings { ack_timeout: Span::secs(1), ..settings(protocol, port) }
}

#[tokio::test]
async fn acknowledgements_read_just_before_the_connection_ended_count_for_their_own_records_alone()
{
    // The broker acknowledges the state and the first two records and hangs up at once, so that
    // the acknowledgements and the end arrive together; rumqttc would hand some of them out after
    // the next CONNACK, when their numbers belong to other records. After that it acknowledges
    // nothing.
    for protocol in BOTH {
        let broker = FakeBroker::start(|connection, packet| match packet {
            Packet::Publish { packet_id: 1 | 2, .. } if connection == 1 => vec![],
            Packet::Publish { packet_id: 3, .. } if connection == 1 => {
                vec![Say::Bytes(vec![0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3]), Say::HangUp]
            }
            Packet::Publish { .. } => vec![],
            packet => well_behaved(packet),
        })
        .await;
        let rig = Rig::start(settings(protocol, broker.port()));
        rig.outbox.append(numbered(1..=10));
        eventually("the second connection's records", || {
            broker.events().iter().any(|(connection, _)| *connection == 2)
        })
        .await;
        let again = broker.events().into_iter().find(|(connection, _)| *connection == 2);
        assert_eq!(again.map(|(_, payload)| number(&payload)), Some(3), "the oldest that is left");
        assert_eq!(rig.outbox.removed(Removal::Acknowledged), [1, 2]);
        let outbox = rig.crash().await;
        assert_eq!(outbox.removed(Removal::Acknowledged), [1, 2]);
        assert_eq!(outbox.pending(), 8);
    }
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_never_sent_deletes_nothing() {
    for protocol in BOTH {
        let broker = FakeBroker::start(|connection, packet| match packet {
            // Right behind the welcome, as a stale one would come; then of a number out of range.
            Packet::Connect { .. } if connection == 1 => {
                [well_behaved(packet), vec![puback(2), puback(40)]].concat()
            }
            Packet::Connect { .. } if connection == 2 => {
                [well_behaved(packet), vec![puback(60_000)]].concat()
            }
            Packet::Publish { .. } => vec![],
            packet => well_behaved(packet),
        })
        .await;
        let rig = Rig::start(settings(protocol, broker.port()));
        eventually("three connections", || broker.connections() >= 3).await;
        rig.outbox.append(numbered(1..=3));
        eventually("events", || broker.events().len() >= 3).await;
        assert_eq!(rig.outbox.pending(), 3);
        let outbox = rig.crash().await;
        assert!(outbox.removed(Removal::Acknowledged).is_empty());
    }
}

#[tokio::test]
async fn a_broker_that_stops_acknowledging_is_connected_to_anew() {
    for protocol in BOTH {
        let broker = FakeBroker::start(|connection, packet| match packet {
            Packet::Publish { payload, .. } if connection == 1 && number_is(payload, 4) => vec![],
            Packet::Publish { .. } if connection == 1 && packet.is_event() => {
                let Packet::Publish { packet_id, payload, .. } = packet else { return vec![] };
                if number(payload) < 4 { vec![puback(*packet_id)] } else { vec![] }
            }
            packet => well_behaved(packet),
        })
        .await;
        let mut rig = Rig::start(impatient(protocol, broker.port()));
        rig.outbox.append(numbered(1..=10));
        offline_because(&mut rig, "unacknowledged").await;
        rig.delivered().await;
        let (totals, outbox) = rig.stop().await;
        assert_eq!(outbox.removed(Removal::Acknowledged), (1..=10).collect::<Vec<_>>());
        assert_eq!((totals.faults, totals.reconnects, totals.redelivered), (1, 1, 7));
    }
}

fn number_is(payload: &str, expected: u64) -> bool {
    payload.split(' ').next() == Some(&expected.to_string())
}

#[tokio::test]
async fn one_record_passed_over_is_sent_again_though_the_others_are_acknowledged() {
    let broker = FakeBroker::start(|connection, packet| match packet {
        Packet::Publish { payload, .. } if connection == 1 && number_is(payload, 2) => vec![],
        packet => well_behaved(packet),
    })
    .await;
    let rig = Rig::start(impatient(Protocol::V5, broker.port()));
    let mut appended = 0;
    let mut interval = tokio::time::interval(Duration::from_millis(50));
    // New records keep coming, so that there is always an acknowledgement.
    while broker.connections() < 2 {
        interval.tick().await;
        appended += 1;
        assert!(appended < 1000, "record 2 is never missed");
        rig.outbox.append(numbered(appended..=appended));
    }
    rig.delivered().await;
    let (totals, outbox) = rig.stop().await;
    assert_eq!(outbox.removed(Removal::Acknowledged).len(), usize::try_from(appended).unwrap());
    assert_eq!(totals.faults, 1);
}

#[tokio::test]
async fn a_broker_that_reads_nothing_any_more_is_noticed() {
    // The socket fills up and rumqttc waits inside its flush, where no keep-alive is looked at.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let broker = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut kept = Vec::new();
        for connection in 1.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut connect = [0; 64];
            let read = stream.read(&mut connect).await.unwrap();
            assert!(read > 0);
            stream.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
            kept.push(stream);
            if connection == 2 {
                return;
            }
        }
    });
    let settings = Settings { window: 4096, ..impatient(Protocol::V5, port) };
    let mut rig = Rig::start(settings);
    rig.outbox.append((0..6000).map(|_| vec![b'x'; 2048]));
    offline_because(&mut rig, "unacknowledged").await;
    let reconnected = tokio::time::timeout(crate::support::DEADLINE, broker).await;
    assert!(matches!(reconnected, Ok(Ok(()))), "it connects again");
    let outbox = rig.crash().await;
    assert_eq!(outbox.pending(), 6000);
}

#[tokio::test]
async fn nothing_is_left_out_when_the_session_is_woken_while_it_waits_to_write() {
    // rumqttc loses a packet when its `poll` is cancelled while the socket is full. So the broker
    // stops reading, and meanwhile the session is woken all the time.
    const RECORDS: u64 = 6000;
    for protocol in BOTH {
        let (go_on, stalled) = watch::channel(false);
        let broker = FakeBroker::start(move |_, packet| match packet {
            Packet::Publish { packet_id, payload, .. } if number_is(payload, 1) => {
                vec![Say::Stall(stalled.clone()), puback(*packet_id)]
            }
            packet => well_behaved(packet),
        })
        .await;
        let rig = Rig::start(Settings { window: 4096, ..settings(protocol, broker.port()) });
        rig.outbox.append(numbered(1..=RECORDS).map(|mut record| {
            record.resize(4096, b'.');
            record
        }));
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        let mut before = 0;
        let mut stuck = 0;
        // Woken for as long as anything is still written, and 100 times after.
        while stuck < 100 {
            interval.tick().await;
            rig.metrics.send_replace(b"{}".to_vec());
            let published = rig.totals().published;
            stuck = if published > before { 0 } else { stuck + 1 };
            before = published;
        }
        assert!(rig.outbox.pending() as u64 == RECORDS && before < 4096, "{before} were written");
        go_on.send_replace(true);
        rig.delivered().await;
        let (totals, _) = rig.stop().await;
        assert_eq!((totals.acknowledged, totals.redelivered, totals.faults), (RECORDS, 0, 0));
        let events: Vec<u64> = broker.events().iter().map(|(_, payload)| number(payload)).collect();
        assert_eq!(events, (1..=RECORDS).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_session_taken_over_is_told_and_backed_off_from() {
    let broker = FakeBroker::start(|_, packet| match packet {
        Packet::Publish { .. } if packet.is_event() => {
            [well_behaved(packet), disconnect(0x8E)].concat()
        }
        packet => well_behaved(packet),
    })
    .await;
    let settings = Settings {
        backoff_min: Span::millis(10),
        backoff_max: Span::secs(1),
        ..settings(Protocol::V5, broker.port())
    };
    let mut rig = Rig::start(settings);
    rig.outbox.append(numbered(1..=1));
    offline_because(&mut rig, "took the session over").await;
    let clock = Clock::start();
    rig.outbox.append(numbered(2..=2));
    eventually("the second takeover", || broker.events().len() >= 2).await;
    let second = clock.now();
    rig.outbox.append(numbered(3..=3));
    eventually("the third takeover", || broker.events().len() >= 3).await;
    let wait = clock.now().since(second);
    // Half of the longest wait or more, from the first time on: records were acknowledged, and yet
    // whoever comes back soon only throws the other gateway out.
    assert!(wait >= Duration::from_millis(500), "{wait:?}");
    rig.stop().await;
}

#[tokio::test]
async fn never_more_is_in_flight_than_the_broker_grants() {
    // Property 0x21: the receive maximum, here 5. Acknowledgements come only in fives, or when
    // nothing else can come.
    let mut unanswered = BTreeSet::new();
    let broker = FakeBroker::start(move |_, packet| match packet {
        Packet::Connect { .. } => vec![connack(&[0x21, 0, 5])],
        Packet::Publish { packet_id, .. } => {
            assert!(unanswered.insert(*packet_id), "identifier {packet_id} is in use");
            assert!(unanswered.len() <= 5, "{unanswered:?} are in flight");
            if packet.is_event() && unanswered.len() < 4 {
                return vec![];
            }
            // The newest first: a broker need not answer in order.
            std::iter::from_fn(|| unanswered.pop_last()).map(puback).collect()
        }
        packet => well_behaved(packet),
    })
    .await;
    let rig = Rig::start(settings(Protocol::V5, broker.port()));
    rig.outbox.append(numbered(1..=400));
    rig.delivered().await;
    assert_eq!(broker.connections(), 1);
    let events: Vec<u64> = broker.events().iter().map(|(_, payload)| number(payload)).collect();
    assert_eq!(events, (1..=400).collect::<Vec<_>>());
    rig.crash().await;
}

#[tokio::test]
async fn identifiers_that_come_round_while_still_unanswered_are_joined_to_the_right_record() {
    // The first record's identifier stays unanswered until the numbers have come round (20 for a
    // window of 5) and rumqttc holds the next publish back; then it is answered.
    for protocol in BOTH {
        let mut first = None;
        let mut events = 0;
        let broker = FakeBroker::start(move |_, packet| match packet {
            Packet::Publish { packet_id, .. } if packet.is_event() => {
                events += 1;
                match events {
                    1 => {
                        first = Some(*packet_id);
                        vec![]
                    }
                    20 => first.into_iter().chain([*packet_id]).map(puback).collect(),
                    _ => vec![puback(*packet_id)],
                }
            }
            packet => well_behaved(packet),
        })
        .await;
        let rig = Rig::start(Settings { window: 5, ..settings(protocol, broker.port()) });
        rig.outbox.append(numbered(1..=100));
        rig.delivered().await;
        let (totals, outbox) = rig.stop().await;
        assert_eq!((totals.faults, totals.acknowledged, totals.redelivered), (0, 100, 0));
        let removed = outbox.removed(Removal::Acknowledged);
        assert_eq!(removed.iter().collect::<BTreeSet<_>>().len(), 100);
        assert_eq!(removed.iter().position(|sequence| *sequence == 1), Some(18), "{removed:?}");
    }
}

#[tokio::test]
async fn a_broker_that_turns_keep_alive_off_keeps_its_connection() {
    // Property 0x13: server keep-alive, here 0.
    let broker = FakeBroker::start(|_, packet| match packet {
        Packet::Connect { .. } => vec![connack(&[0x13, 0, 0])],
        packet => well_behaved(packet),
    })
    .await;
    let rig = Rig::start(settings(Protocol::V5, broker.port()));
    for number in 1..=200 {
        rig.outbox.append(numbered(number..=number));
        rig.delivered().await;
    }
    let pings = broker.heard().iter().filter(|(_, packet)| *packet == Packet::Ping).count();
    assert!(pings <= 1, "{pings} pings");
    let (totals, _) = rig.stop().await;
    assert_eq!((totals.faults, broker.connections()), (0, 1));
}

#[tokio::test]
async fn a_stop_ends_though_nothing_is_acknowledged_and_leaves_the_will_to_speak() {
    let broker = FakeBroker::start(|_, packet| match packet {
        Packet::Publish { .. } => vec![],
        packet => well_behaved(packet),
    })
    .await;
    let settings =
        Settings { drain_timeout: Span::millis(100), ..settings(Protocol::V5, broker.port()) };
    let rig = Rig::start(settings);
    rig.outbox.append(numbered(1..=100));
    eventually("a full window", || broker.events().len() == 64).await;
    let clock = Clock::start();
    let (totals, outbox) = rig.stop().await;
    let took = clock.now().since(Uptime::ZERO);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!((totals.published, totals.acknowledged, outbox.pending()), (64, 0, 100));
}

#[tokio::test]
async fn garbage_from_the_broker_ends_the_connection_and_nothing_else() {
    let mut random = fastrand::Rng::with_seed(11);
    for protocol in BOTH {
        let mut bytes = random.fork();
        let broker = FakeBroker::start(move |connection, packet| match packet {
            Packet::Publish { .. } if connection <= 100 && packet.is_event() => {
                // Every kind of packet, with random flags, length and contents.
                let length = bytes.u8(0..40);
                let mut garbage = vec![bytes.u8(..), length];
                garbage.extend(std::iter::repeat_with(|| bytes.u8(..)).take(length.into()));
                vec![Say::Bytes(garbage), Say::HangUp]
            }
            packet => well_behaved(packet),
        })
        .await;
        let rig = Rig::start(settings(protocol, broker.port()));
        rig.outbox.append(numbered(1..=30));
        eventually("the good connection", || broker.connections() > 100).await;
        let (_, outbox) = rig.stop().await;
        let kept = outbox.pending() + outbox.removed(Removal::Acknowledged).len();
        assert_eq!(kept + outbox.removed(Removal::Rejected).len(), 30);
    }
}

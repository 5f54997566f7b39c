//! What the uplink makes of a broker that refuses publishes or connections.

use std::{
    io,
    sync::{Arc, Mutex},
};

use beacon_gateway::{
    outbox::Removal,
    settings::Span,
    uplink::{Protocol, Settings},
};

use crate::support::{
    eventually,
    fake_broker::{
        FakeBroker, Packet, Say, connack, disconnect, puback_with, refuse, well_behaved,
    },
    mosquitto::Mosquitto,
    rig::{Rig, numbered, offline_because, settings},
};

/// A broker that answers the events with these numbers so, the first so many times, and behaves
/// otherwise.
async fn refusing(numbers: &'static [&'static str], reason: u8, mut times: usize) -> FakeBroker {
    FakeBroker::start(move |_, packet| match packet {
        Packet::Publish { packet_id, payload, .. }
            if times > 0
                && packet.is_event()
                && numbers.contains(&payload.split(' ').next().unwrap_or_default()) =>
        {
            times -= 1;
            vec![puback_with(*packet_id, reason)]
        }
        packet => well_behaved(packet),
    })
    .await
}

#[tokio::test]
async fn a_record_the_broker_puts_off_is_kept_and_sent_again_over_the_same_connection() {
    for reason in [0x97, 0x87, 0x80, 0x83, 0x91] {
        let broker = refusing(&["3"], reason, 4).await;
        let rig = Rig::start(settings(Protocol::V5, broker.port()));
        rig.outbox.append(numbered(1..=10));
        rig.delivered().await;
        let (totals, outbox) = rig.stop().await;
        let mut removed = outbox.removed(Removal::Acknowledged);
        removed.sort_unstable();
        assert_eq!(removed, (1..=10).collect::<Vec<_>>(), "reason {reason:#x}");
        assert_eq!((totals.refused, totals.redelivered), (4, 4), "reason {reason:#x}");
        assert_eq!((totals.rejected, totals.faults, broker.connections()), (0, 0, 1));
    }
}

#[tokio::test]
async fn a_broker_that_puts_everything_off_is_asked_with_one_record_and_ever_less_often() {
    let broker = FakeBroker::start(|_, packet| match packet {
        Packet::Publish { packet_id, .. } if packet.is_event() => {
            vec![puback_with(*packet_id, 0x97)]
        }
        packet => well_behaved(packet),
    })
    .await;
    let settings = Settings {
        window: 8,
        backoff_min: Span::millis(100),
        backoff_max: Span::secs(3600),
        ..settings(Protocol::V5, broker.port())
    };
    let rig = Rig::start(settings);
    rig.outbox.append(numbered(1..=100));
    eventually("three probes", || broker.events().len() >= 11).await;
    let events: Vec<String> =
        broker.events().iter().map(|(_, payload)| payload.trim_end_matches('.').into()).collect();
    assert_eq!(
        events,
        ["1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "7 ", "8 ", "1 ", "1 ", "1 "],
        "a window, then the oldest alone"
    );
    let (totals, outbox) = rig.stop().await;
    assert_eq!((totals.acknowledged, outbox.pending(), broker.connections()), (0, 100, 1));
}

#[tokio::test]
async fn a_record_the_broker_refuses_for_good_is_counted_and_set_aside() {
    for reason in [0x90, 0x99] {
        let broker = refusing(&["3", "5"], reason, usize::MAX).await;
        let rig = Rig::start(settings(Protocol::V5, broker.port()));
        rig.outbox.append(numbered(1..=10));
        rig.delivered().await;
        let (totals, outbox) = rig.stop().await;
        assert_eq!(outbox.removed(Removal::Rejected), [3, 5], "reason {reason:#x}");
        assert_eq!(outbox.set_aside(), 2, "they are kept");
        assert_eq!(outbox.removed(Removal::Acknowledged), [1, 2, 4, 6, 7, 8, 9, 10]);
        assert_eq!((totals.rejected, totals.acknowledged, totals.faults), (2, 8, 0));
    }
}

#[tokio::test]
async fn no_matching_subscribers_is_as_good_as_success() {
    let broker = refusing(&["3"], 0x10, usize::MAX).await;
    let rig = Rig::start(settings(Protocol::V5, broker.port()));
    rig.outbox.append(numbered(1..=5));
    rig.delivered().await;
    let (totals, outbox) = rig.stop().await;
    assert_eq!(outbox.removed(Removal::Acknowledged), [1, 2, 3, 4, 5]);
    assert_eq!((totals.refused, totals.rejected), (0, 0));
}

#[tokio::test]
async fn a_record_larger_than_the_broker_announces_is_removed_without_breaking_the_connection() {
    // Property 0x27: the maximum packet size, here 600 bytes.
    let broker = FakeBroker::start(|_, packet| match packet {
        Packet::Connect { .. } => vec![connack(&[0x27, 0, 0, 0x02, 0x58])],
        packet => well_behaved(packet),
    })
    .await;
    let rig = Rig::start(settings(Protocol::V5, broker.port()));
    rig.outbox.append(numbered(1..=2).chain([vec![b'x'; 600]]).chain(numbered(4..=5)));
    rig.delivered().await;
    let (totals, outbox) = rig.stop().await;
    assert_eq!(outbox.removed(Removal::Rejected), [3]);
    assert_eq!((totals.acknowledged, totals.faults, broker.connections()), (4, 0, 1));
}

#[tokio::test]
async fn a_payload_above_mosquittos_limit_does_not_block_what_comes_after_it() {
    // mosquitto announces no limit and answers PUBACK 0x95, which rumqttc cannot read.
    let mosquitto = Mosquitto::start("message_size_limit 1000");
    let rig = Rig::start(settings(Protocol::V5, mosquitto.port()));
    rig.outbox.append(numbered(1..=20).chain([vec![b'x'; 1500]]).chain(numbered(22..=40)));
    rig.delivered().await;
    let (totals, outbox) = rig.stop().await;
    assert_eq!(outbox.removed(Removal::Rejected), [21]);
    assert_eq!((totals.rejected, totals.acknowledged), (1, 39));
}

#[tokio::test]
async fn a_record_the_broker_names_when_it_disconnects_is_removed_once_it_was_sent_alone() {
    let broker = FakeBroker::start(|_, packet| match packet {
        Packet::Publish { payload, .. } if payload.starts_with("5 ") => disconnect(0x99),
        packet => well_behaved(packet),
    })
    .await;
    let rig = Rig::start(settings(Protocol::V5, broker.port()));
    rig.outbox.append(numbered(1..=10));
    rig.delivered().await;
    let (_, outbox) = rig.stop().await;
    assert_eq!(outbox.removed(Removal::Rejected), [5]);
    assert_eq!(outbox.removed(Removal::Acknowledged).len(), 9);
}

#[tokio::test]
async fn a_disconnect_that_may_be_about_a_document_costs_no_record() {
    // The broker dislikes the state, or the metrics; the record was only there as well.
    for topic in ["/state", "/metrics"] {
        let broker = FakeBroker::start(move |_, packet| match packet {
            Packet::Publish { topic: published, .. } if published.ends_with(topic) => {
                disconnect(0x90)
            }
            Packet::Publish { .. } if packet.is_event() => vec![],
            packet => well_behaved(packet),
        })
        .await;
        let rig = Rig::start(settings(Protocol::V5, broker.port()));
        rig.outbox.append(numbered(1..=1));
        eventually("thirty connections", || {
            rig.metrics.send_replace(b"{}".to_vec());
            broker.connections() >= 30
        })
        .await;
        let (totals, outbox) = rig.stop().await;
        assert_eq!((totals.rejected, outbox.pending()), (0, 1), "{topic}");
    }
}

#[tokio::test]
async fn a_record_for_which_the_broker_hangs_up_becomes_a_dead_letter() {
    let broker = FakeBroker::start(|_, packet| match packet {
        Packet::Publish { payload, .. } if payload.starts_with("5 ") => vec![Say::HangUp],
        packet => well_behaved(packet),
    })
    .await;
    for protocol in [Protocol::V5, Protocol::V311] {
        let rig = Rig::start(settings(protocol, broker.port()));
        rig.outbox.append(numbered(1..=10));
        rig.delivered().await;
        let (totals, outbox) = rig.stop().await;
        let mut removed = outbox.removed(Removal::Acknowledged);
        removed.sort_unstable();
        assert_eq!(removed, [1, 2, 3, 4, 6, 7, 8, 9, 10]);
        assert_eq!(
            (totals.rejected, outbox.set_aside()),
            (1, 1),
            "nothing is deleted on suspicion"
        );
        let letter = totals.dead_letter.unwrap();
        assert_eq!(letter.sequence.0, 5);
        assert!(letter.why.contains("connections broke"), "{}", letter.why);
    }
}

/// Everything that was logged.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<u8>>>);

impl io::Write for Journal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_line_of_the_log_holds_a_payload_or_the_password() {
    let journal = Journal::default();
    let writer = journal.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let dir = tempfile::TempDir::new().unwrap();
    let password_file = dir.path().join("password");
    std::fs::write(&password_file, "s3cret").unwrap();
    // Each record meets another fate, and so does each of the first connections.
    let broker = FakeBroker::start(|connection, packet| match packet {
        Packet::Connect { .. } if connection == 1 => refuse(5, 0x87),
        Packet::Publish { packet_id, payload, .. } if packet.is_event() => {
            match (connection, payload.split(' ').next()) {
                (2, Some("1")) => vec![Say::HangUp],
                (3, Some("1")) => disconnect(0x8E),
                (4, Some("2")) => vec![puback_with(*packet_id, 0x97)],
                (_, Some("3")) => vec![puback_with(*packet_id, 0x90)],
                (_, Some("4")) => disconnect(0x99),
                _ => well_behaved(packet),
            }
        }
        packet => well_behaved(packet),
    })
    .await;
    let settings = Settings {
        username: "gateway".to_owned(),
        password_file,
        ..settings(Protocol::V5, broker.port())
    };
    let rig = Rig::start(settings);
    rig.outbox.append(numbered(1..=10));
    rig.delivered().await;
    rig.stop().await;
    let log = String::from_utf8(journal.0.lock().unwrap().clone()).unwrap();
    for told in [
        "access rules (0x87)",
        "the broker closed the connection",
        "took the session over",
        "0x97 quota exceeded",
        "0x90 topic name invalid",
        "0x99 payload format invalid",
        "Connected to the broker.",
        "The uplink has stopped.",
    ] {
        assert!(log.contains(told), "{told} is not in the log:\n{log}");
    }
    assert!(!log.contains("s3cret") && !log.contains("......"), "{log}");
}

#[tokio::test]
async fn a_refused_connection_says_what_to_change() {
    for (protocol, version, reason, says) in [
        (Protocol::V311, 4, 1, "uplink.protocol"),
        (Protocol::V311, 4, 2, "uplink.client_id"),
        (Protocol::V311, 4, 3, "not available"),
        (Protocol::V311, 4, 4, "uplink.username"),
        (Protocol::V311, 4, 5, "not authorised"),
        (Protocol::V5, 5, 0x84, "uplink.protocol"),
        (Protocol::V5, 5, 0x85, "uplink.client_id"),
        (Protocol::V5, 5, 0x86, "uplink.username"),
        (Protocol::V5, 5, 0x87, "access rules"),
        (Protocol::V5, 5, 0x89, "busy"),
        (Protocol::V5, 5, 0x9A, "retained"),
    ] {
        let broker = FakeBroker::start(move |_, _| refuse(version, reason)).await;
        let mut rig = Rig::start(settings(protocol, broker.port()));
        offline_because(&mut rig, says).await;
        let (totals, _) = rig.stop().await;
        assert_eq!(totals.connections, 0);
    }
}

#[tokio::test]
async fn a_broker_without_qos_1_or_retained_messages_is_told_apart_from_a_bad_link() {
    // Properties 0x24 (maximum QoS) and 0x25 (retain available), both 0; receive maximum 0 is a
    // protocol error.
    for (properties, says) in [
        (&[0x24, 0][..], "does not support QoS 1"),
        (&[0x25, 0], "does not support retained messages"),
        (&[0x21, 0, 0], "broke the protocol"),
    ] {
        let broker = FakeBroker::start(move |_, packet| match packet {
            Packet::Connect { .. } => vec![connack(properties)],
            packet => well_behaved(packet),
        })
        .await;
        let mut rig = Rig::start(settings(Protocol::V5, broker.port()));
        offline_because(&mut rig, says).await;
        rig.stop().await;
    }
}

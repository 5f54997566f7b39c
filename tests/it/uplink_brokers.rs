//! Several brokers, certificates that are renewed, and what else may be a reason to connect anew.

use std::fs;

use beacon_gateway::{
    command,
    outbox::Removal,
    settings::Span,
    uplink::{BrokerUrl, Protocol, Settings},
};

use crate::{
    command::rig::{Corridor, Rig as CommandRig},
    support::{
        authority::Authority,
        eventually,
        fake_broker::{FakeBroker, Packet, Say, connack, disconnect, well_behaved},
        free_port,
        mosquitto::Mosquitto,
        rig::{ONLINE, Rig, STOPPED, number, numbered, settings},
        signer::Signer,
        subscriber::Subscriber,
    },
};

const BOTH: [Protocol; 2] = [Protocol::V311, Protocol::V5];

fn url(port: u16) -> BrokerUrl {
    BrokerUrl::new(format!("mqtt://127.0.0.1:{port}"))
}

#[tokio::test]
async fn the_next_broker_serves_while_the_first_is_away_and_the_first_is_returned_to() {
    for protocol in BOTH {
        let (mut first, second) = (Mosquitto::start(""), Mosquitto::start(""));
        let watching = Subscriber::start(protocol, second.port(), "beacon/v1/#").await;
        let rig = Rig::start(Settings {
            fallback_brokers: vec![url(free_port()), url(second.port())],
            return_to_first: Span::secs(1),
            ..settings(protocol, first.port())
        });
        rig.outbox.append(numbered(1..=100));
        rig.delivered().await;
        assert_eq!(rig.counters.line().place, 0);
        first.kill();
        rig.outbox.append(numbered(101..=200));
        rig.delivered().await;
        let line = rig.counters.line();
        assert_eq!(line.place, 2);
        assert_eq!(line.broker.unwrap().to_string(), url(second.port()).to_string());
        // The broker may thank the gateway before it has handed everything on.
        eventually("the events", || watching.on("/entered").len() >= 100).await;
        let events: Vec<u64> =
            watching.on("/entered").iter().map(|event| number(&event.payload)).collect();
        assert_eq!(events, (101..=200).collect::<Vec<_>>());
        let faults = rig.totals().faults;
        assert!(first.start_again());
        eventually("a return", || rig.counters.line().place == 0).await;
        let back = Subscriber::start(protocol, first.port(), "beacon/v1/#").await;
        eventually("the state at the first", || {
            back.on("/state").iter().any(|state| state.payload == ONLINE)
        })
        .await;
        // It was parted from in good order: nothing failed, and nobody is told that we vanished.
        eventually("the farewell", || {
            watching.on("/state").last().is_some_and(|state| state.payload == STOPPED)
        })
        .await;
        rig.outbox.append(numbered(201..=300));
        rig.delivered().await;
        let (totals, outbox) = rig.stop().await;
        assert_eq!(totals.faults, faults);
        assert!(totals.moves >= 3, "{totals:?}");
        assert_eq!(outbox.removed(Removal::Acknowledged), (1..=300).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn commands_find_the_next_broker_and_return_as_events_do() {
    for protocol in BOTH {
        let (mut first, second) = (Mosquitto::start(""), Mosquitto::start(""));
        let signer = Signer::new("platform", 3);
        let corridor = Corridor::default();
        let uplink = Settings {
            fallback_brokers: vec![url(second.port())],
            return_to_first: Span::secs(1),
            ..settings(protocol, first.port())
        };
        let trusted_keys = vec![signer.trusted()];
        let command = command::Settings { trusted_keys, ..command::Settings::default() };
        let rig = CommandRig::start_over(uplink, command, &corridor);
        rig.caught_up().await;
        first.kill();
        eventually("the second broker", || rig.totals().connections == 2).await;
        rig.caught_up().await;
        assert!(first.start_again());
        eventually("a return", || rig.totals().connections == 3).await;
        rig.caught_up().await;
        let totals = rig.stop().await;
        assert!(totals.faults >= 2, "{totals:?}");
    }
}

#[tokio::test]
async fn a_broker_that_sends_us_elsewhere_is_obeyed_within_the_list() {
    let third = FakeBroker::start(|_, packet| well_behaved(packet)).await;
    let second = FakeBroker::start(|_, packet| well_behaved(packet)).await;
    let reference = format!("127.0.0.1:{}", third.port());
    let first = FakeBroker::start(move |_, packet| match packet {
        Packet::Publish { .. } => {
            // Use another server, and a server reference (MQTT 5.0, 3.14.2.2.5).
            let text = reference.as_bytes();
            let length = u8::try_from(text.len()).unwrap();
            let head = [0xE0, length + 5, 0x9C, length + 3, 0x1C, 0, length];
            vec![Say::Bytes([&head, text].concat()), Say::HangUp]
        }
        packet => well_behaved(packet),
    })
    .await;
    let rig = Rig::start(Settings {
        fallback_brokers: vec![url(second.port()), url(third.port())],
        ..settings(Protocol::V5, first.port())
    });
    rig.outbox.append(numbered(1..=3));
    rig.delivered().await;
    rig.stop().await;
    assert_eq!((first.connections(), second.connections(), third.connections()), (1, 0, 1));
}

#[tokio::test]
async fn a_refused_connection_takes_the_next_broker_without_the_wait_of_a_round() {
    let refusing = FakeBroker::start(|_, packet| match packet {
        Packet::Connect { .. } => crate::support::fake_broker::refuse(5, 0x89),
        packet => well_behaved(packet),
    })
    .await;
    let serving = FakeBroker::start(|_, packet| well_behaved(packet)).await;
    // Whoever waits for a round here waits for an hour.
    let rig = Rig::start(Settings {
        fallback_brokers: vec![url(serving.port())],
        backoff_min: Span::millis(10),
        backoff_max: Span::secs(3600),
        ..settings(Protocol::V5, refusing.port())
    });
    rig.outbox.append(numbered(1..=1));
    rig.delivered().await;
    rig.stop().await;
    assert_eq!((refusing.connections(), serving.connections()), (1, 1));
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_fault_and_nothing_is_sent_twice() {
    let authority = Authority::new();
    authority.vouch_for_days("gw1", "DNS:gw1", 1);
    let mosquitto = authority.mosquitto("require_certificate true");
    let rig = Rig::start(Settings {
        certificate_file: authority.path("gw1.pem"),
        key_file: authority.path("gw1.key"),
        renewal_check: Span::secs(1),
        ..authority.settings(&mosquitto)
    });
    rig.outbox.append(numbered(1..=100));
    rig.delivered().await;
    let before = rig.counters.line().expiries;
    assert!(before.client < before.authority && before.broker > before.client, "{before:?}");
    let day_ms = 24 * 60 * 60 * 1000;
    let apart = before.broker.unwrap().as_millis() - before.client.unwrap().as_millis();
    assert!((day_ms - 120_000..day_ms + 120_000).contains(&apart), "one day and two: {apart}");
    // Half of it: a key that does not belong to the certificate is not used.
    authority.vouch_for_days("other", "DNS:gw1", 20);
    fs::copy(authority.path("other.key"), authority.path("gw1.key")).unwrap();
    rig.outbox.append(numbered(101..=200));
    rig.delivered().await;
    assert_eq!(rig.totals().connections, 1);
    fs::copy(authority.path("other.pem"), authority.path("gw1.pem")).unwrap();
    eventually("a connection with the new one", || rig.totals().connections == 2).await;
    rig.outbox.append(numbered(201..=300));
    rig.delivered().await;
    let after = rig.counters.line().expiries;
    assert!(after.client > before.client, "{after:?}");
    let (totals, _) = rig.stop().await;
    assert_eq!((totals.faults, totals.redelivered, totals.acknowledged), (0, 0, 300));
}

#[tokio::test]
async fn certificates_that_end_soon_are_warned_about() {
    use beacon_gateway::{clock::Clock, uplink::Access};

    let authority = Authority::new();
    let with = |days: u32| {
        authority.vouch_for_days("gw1", "DNS:gw1", days);
        let settings = Settings {
            broker: BrokerUrl::new("wss://broker.example.org"),
            ca_file: authority.path("ca.pem"),
            certificate_file: authority.path("gw1.pem"),
            key_file: authority.path("gw1.key"),
            ..Settings::default()
        };
        let expiries = Access::load(&settings, None).unwrap().expiries();
        let warnings = expiries.warnings(Clock::start().wall().unix);
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let soon = with(20);
    assert_eq!(soon.len(), 2, "{soon:?}");
    assert!(
        soon[0].starts_with("every authority in `uplink.ca_file` expires in 1 days"),
        "{soon:?}"
    );
    assert!(soon[1].contains("(`uplink.certificate_file`) expires in 19 days, on 2"), "{soon:?}");
    assert_eq!(with(40).len(), 1, "only the authority");
}

#[tokio::test]
async fn a_broker_that_forgets_its_topic_aliases_gets_none_any_more() {
    let broker = FakeBroker::start(|connection, packet| match packet {
        // Topic alias maximum (MQTT 5.0, 3.2.2.3.8): 5.
        Packet::Connect { .. } => vec![connack(&[0x22, 0, 5])],
        Packet::Publish { topic, .. } if topic.is_empty() && connection == 1 => disconnect(0x94),
        packet => well_behaved(packet),
    })
    .await;
    let rig = Rig::start(settings(Protocol::V5, broker.port()));
    rig.outbox.append(numbered(1..=20));
    rig.delivered().await;
    rig.stop().await;
    let nameless = |(connection, packet): &(usize, Packet)| match packet {
        Packet::Publish { topic, .. } if topic.is_empty() => Some(*connection),
        _ => None,
    };
    let nameless: Vec<_> = broker.heard().iter().filter_map(nameless).collect();
    assert!(!nameless.is_empty() && nameless.iter().all(|it| *it == 1), "{nameless:?}");
}

#[tokio::test]
async fn a_broker_that_wants_more_pings_gets_them() {
    let broker = FakeBroker::start(|_, packet| match packet {
        // Server keep-alive (MQTT 5.0, 3.2.2.3.14): one second, where we would wait for thirty.
        Packet::Connect { .. } => vec![connack(&[0x13, 0, 1])],
        packet => well_behaved(packet),
    })
    .await;
    let mut rig = Rig::start(settings(Protocol::V5, broker.port()));
    rig.online().await;
    eventually("three pings", || {
        broker.heard().iter().filter(|(_, packet)| *packet == Packet::Ping).count() >= 3
    })
    .await;
    rig.stop().await;
    assert_eq!(broker.connections(), 1);
}

//! Records go in, events come out at real brokers, in both versions of the protocol.

use beacon_gateway::{
    clock::Clock,
    engine::Uptime,
    outbox::{Removal, Stored},
    uplink::{Courier, Dispatch, LinkState, Protocol, Topic},
};

#[cfg(feature = "demo")]
use crate::support::rumqttd;
use crate::support::{
    eventually,
    mosquitto::Mosquitto,
    rig::{self, ONLINE, Rig, STOPPED, VANISHED, number, numbered, settings, topics, verbatim},
    subscriber::{Message, Subscriber},
};

const EVERYTHING: &str = "beacon/v1/#";

async fn everything_arrives_once_and_in_order(protocol: Protocol, port: u16) {
    let subscriber = Subscriber::start(protocol, port, EVERYTHING).await;
    let rig = Rig::start(settings(protocol, port));
    rig.outbox.append(numbered(1..=500));
    rig.delivered().await;
    rig.outbox.append(numbered(501..=1000));
    rig.delivered().await;
    eventually("1,000 events", || subscriber.on("/entered").len() >= 1000).await;
    let (totals, outbox) = rig.stop().await;
    let events = subscriber.on("/event/zone/entered");
    let numbers: Vec<u64> = events.iter().map(|event| number(&event.payload)).collect();
    assert_eq!(numbers, (1..=1000).collect::<Vec<_>>());
    for event in &events {
        assert_eq!((event.qos, event.retain), (1, false));
        assert_eq!(event.topic, "beacon/v1/acme/berlin-03/gw1/event/zone/entered");
        assert_eq!(event.payload.len(), 400);
    }
    assert_eq!((totals.published, totals.acknowledged, totals.redelivered), (1000, 1000, 0));
    assert_eq!((totals.connections, totals.reconnects, totals.faults), (1, 0, 0));
    assert!(!totals.last_round_trip.is_zero());
    assert_eq!(outbox.removed(Removal::Acknowledged), (1..=1000).collect::<Vec<_>>());
    assert!(outbox.removals() < 300, "{} requests for 1,000 records", outbox.removals());
}

#[tokio::test]
async fn everything_arrives_once_and_in_order_at_mosquitto_over_mqtt_5() {
    let mosquitto = Mosquitto::start("");
    everything_arrives_once_and_in_order(Protocol::V5, mosquitto.port()).await;
}

#[tokio::test]
async fn everything_arrives_once_and_in_order_at_mosquitto_over_mqtt_3() {
    let mosquitto = Mosquitto::start("");
    everything_arrives_once_and_in_order(Protocol::V311, mosquitto.port()).await;
}

#[cfg(feature = "demo")]
#[tokio::test]
async fn everything_arrives_once_and_in_order_at_the_embedded_broker_over_mqtt_5() {
    let (_, port) = rumqttd::start();
    everything_arrives_once_and_in_order(Protocol::V5, port).await;
}

#[cfg(feature = "demo")]
#[tokio::test]
async fn everything_arrives_once_and_in_order_at_the_embedded_broker_over_mqtt_3() {
    let (port, _) = rumqttd::start();
    everything_arrives_once_and_in_order(Protocol::V311, port).await;
}

#[tokio::test]
async fn mqtt_5_carries_content_type_properties_and_expiry() {
    let mosquitto = Mosquitto::start("");
    let subscriber = Subscriber::start(Protocol::V5, mosquitto.port(), EVERYTHING).await;
    let rig = Rig::start(settings(Protocol::V5, mosquitto.port()));
    rig.outbox.append(numbered(1..=1));
    rig.delivered().await;
    eventually("an event", || !subscriber.on("/entered").is_empty()).await;
    let event = subscriber.on("/entered").remove(0);
    assert_eq!(event.content_type.as_deref(), Some("application/cloudevents+json"));
    assert_eq!(event.user_properties, [("tenant".to_owned(), "acme".to_owned())]);
    assert!(matches!(event.expiry, Some(1..=3600)), "{:?}", event.expiry);
    rig.stop().await;
}

#[tokio::test]
async fn a_record_of_100_kib_passes_in_both_versions_of_the_protocol() {
    // rumqttc's own limit for MQTT 3.1.1 is 10 KiB.
    let mosquitto = Mosquitto::start("");
    for protocol in [Protocol::V311, Protocol::V5] {
        let rig = Rig::start(settings(protocol, mosquitto.port()));
        rig.outbox.append([vec![b'x'; 100 * 1024]]);
        rig.delivered().await;
        let (totals, _) = rig.stop().await;
        assert_eq!((totals.acknowledged, totals.faults), (1, 0), "MQTT {protocol}");
    }
}

async fn latest_state(protocol: Protocol, port: u16, expected: &str) -> Message {
    let filter = topics().spell(Topic::State);
    let late = Subscriber::start(protocol, port, &filter).await;
    let is_it = || late.messages().last().is_some_and(|message| message.payload == expected);
    eventually(&format!("the state {expected}"), is_it).await;
    late.messages().remove(0)
}

async fn the_state_is_kept_for_who_comes_later(protocol: Protocol, port: u16) {
    let mut rig = Rig::start(settings(protocol, port));
    rig.online().await;
    let message = latest_state(protocol, port, ONLINE).await;
    assert!(message.retain);
    rig.crash().await;
    latest_state(protocol, port, VANISHED).await;

    let mut rig = Rig::start(settings(protocol, port));
    rig.online().await;
    latest_state(protocol, port, ONLINE).await;
    let link = rig.link.clone();
    rig.stop().await;
    latest_state(protocol, port, STOPPED).await;
    assert!(matches!(&*link.borrow(), LinkState::Offline { why, .. } if why == "stopped"));
}

#[tokio::test]
async fn online_vanished_and_stopped_are_kept_by_mosquitto_over_mqtt_5() {
    let mosquitto = Mosquitto::start("");
    the_state_is_kept_for_who_comes_later(Protocol::V5, mosquitto.port()).await;
}

#[tokio::test]
async fn online_vanished_and_stopped_are_kept_by_mosquitto_over_mqtt_3() {
    let mosquitto = Mosquitto::start("");
    the_state_is_kept_for_who_comes_later(Protocol::V311, mosquitto.port()).await;
}

#[cfg(feature = "demo")]
#[tokio::test]
async fn online_vanished_and_stopped_are_kept_by_the_embedded_broker() {
    let (v4, v5) = rumqttd::start();
    the_state_is_kept_for_who_comes_later(Protocol::V5, v5).await;
    the_state_is_kept_for_who_comes_later(Protocol::V311, v4).await;
}

#[tokio::test]
async fn a_state_that_changes_all_the_time_is_published_at_most_once_a_second_and_the_last_counts()
{
    let mosquitto = Mosquitto::start("");
    let subscriber = Subscriber::start(Protocol::V5, mosquitto.port(), EVERYTHING).await;
    let mut rig = Rig::start(settings(Protocol::V5, mosquitto.port()));
    rig.online().await;
    let clock = Clock::start();
    for number in 1..=1000 {
        rig.state.send_replace(format!("{{\"number\":{number}}}").into_bytes());
        tokio::task::yield_now().await;
    }
    let last = || subscriber.on("/state").last().is_some_and(|m| m.payload.contains(":1000}"));
    eventually("the last state", last).await;
    let published = subscriber.on("/state").len() as u64;
    // One when it came online, one a second since, one for the second that has begun.
    let seconds = clock.now().since(Uptime::ZERO).as_secs();
    assert!(published <= seconds + 2, "{published} publishes in {seconds} s");
    rig.stop().await;
}

#[tokio::test]
async fn metrics_are_published_when_they_change_and_an_empty_document_never() {
    let mosquitto = Mosquitto::start("");
    let subscriber = Subscriber::start(Protocol::V5, mosquitto.port(), EVERYTHING).await;
    let mut rig = Rig::start(settings(Protocol::V5, mosquitto.port()));
    rig.online().await;
    for number in 1..=3 {
        rig.metrics.send_replace(Vec::new());
        rig.metrics.send_replace(format!("{{\"number\":{number}}}").into_bytes());
        eventually("the metrics", || subscriber.on("/metrics").len() == number).await;
    }
    for message in subscriber.on("/metrics") {
        assert_eq!((message.qos, message.retain), (0, false));
        assert_eq!(message.content_type.as_deref(), Some("application/json"));
    }
    rig.stop().await;
    assert_eq!(subscriber.on("/metrics").len(), 3);
}

/// Erases what the number says, and cannot read what has none.
fn choosy() -> impl Courier + 'static {
    let mut verbatim = verbatim();
    move |stored: &Stored| match stored.sequence.0 % 10 {
        3 => Dispatch::Erase,
        7 => Dispatch::Unreadable,
        9 => Dispatch::Publish {
            topic: "beacon/v1/acme/+/gw1/event/zone/entered".to_owned(),
            payload: vec![],
            content_type: "",
            user_properties: vec![],
            expiry: None,
        },
        _ => verbatim.dispatch(stored),
    }
}

#[tokio::test]
async fn what_may_not_be_sent_cannot_be_read_or_has_no_topic_leaves_and_the_rest_arrives() {
    let mosquitto = Mosquitto::start("");
    let subscriber = Subscriber::start(Protocol::V5, mosquitto.port(), EVERYTHING).await;
    let rig = Rig::start_with(settings(Protocol::V5, mosquitto.port()), choosy());
    rig.outbox.append(numbered(1..=100));
    rig.delivered().await;
    eventually("70 events", || subscriber.on("/entered").len() >= 70).await;
    let (totals, outbox) = rig.stop().await;
    let ending_in = |digits: &[u64]| -> Vec<u64> {
        (1..=100).filter(|number| digits.contains(&(number % 10))).collect()
    };
    assert_eq!(outbox.removed(Removal::Erased), ending_in(&[3]));
    assert_eq!(outbox.removed(Removal::Unreadable), ending_in(&[7]));
    assert_eq!(outbox.removed(Removal::Rejected), ending_in(&[9]));
    assert_eq!(outbox.removed(Removal::Acknowledged), ending_in(&[0, 1, 2, 4, 5, 6, 8]));
    assert_eq!((totals.erased, totals.unreadable, totals.rejected), (10, 10, 10));
    assert_eq!((totals.acknowledged, totals.faults), (70, 0));
    let numbers: Vec<u64> =
        subscriber.on("/entered").iter().map(|event| number(&event.payload)).collect();
    assert_eq!(numbers, ending_in(&[0, 1, 2, 4, 5, 6, 8]));
}

#[tokio::test]
async fn a_stop_delivers_what_is_durable_before_it_disconnects() {
    let mosquitto = Mosquitto::start("");
    let subscriber = Subscriber::start(Protocol::V5, mosquitto.port(), EVERYTHING).await;
    let mut rig = Rig::start(settings(Protocol::V5, mosquitto.port()));
    rig.online().await;
    rig.outbox.keep_acknowledged();
    rig.outbox.append(numbered(1..=2000));
    let (totals, outbox) = rig.stop().await;
    assert_eq!((totals.acknowledged, outbox.pending()), (2000, 0));
    eventually("all events and the state", || subscriber.on("/state").len() >= 2).await;
    let messages = subscriber.messages();
    assert_eq!(messages.last().unwrap().payload, STOPPED, "the farewell comes last");
    assert_eq!(subscriber.on("/entered").len(), 2000);
}

#[tokio::test]
async fn a_broker_that_goes_and_comes_back_misses_nothing() {
    let mut mosquitto = Mosquitto::start("");
    let subscriber = Subscriber::start(Protocol::V5, mosquitto.port(), EVERYTHING).await;
    let mut rig = Rig::start(settings(Protocol::V5, mosquitto.port()));
    rig.outbox.append(numbered(1..=200));
    rig.delivered().await;
    eventually("200 events", || subscriber.on("/entered").len() == 200).await;

    mosquitto.kill();
    let why = rig.offline().await;
    assert!(why.contains("broke") || why.contains("closed"), "{why}");
    rig.outbox.append(numbered(201..=400));
    rig::offline_because(&mut rig, "cannot be reached").await;
    assert_eq!(rig.outbox.pending(), 200);

    assert!(mosquitto.start_again());
    // Who subscribes only after the events came cannot have them: wait before going on.
    subscriber.subscribed(2).await;
    rig.delivered().await;
    rig.outbox.append(numbered(401..=600));
    rig.delivered().await;
    let (totals, outbox) = rig.stop().await;
    assert_eq!(outbox.removed(Removal::Acknowledged), (1..=600).collect::<Vec<_>>());
    assert_eq!((totals.acknowledged, totals.redelivered), (600, 0));
    assert!(totals.reconnects >= 1 && totals.faults >= 2, "{totals:?}");
}

#[tokio::test]
async fn a_stop_while_there_is_no_broker_keeps_the_records_and_does_not_wait() {
    let mut mosquitto = Mosquitto::start("");
    mosquitto.kill();
    let mut rig = Rig::start(settings(Protocol::V5, mosquitto.port()));
    rig.outbox.append(numbered(1..=10));
    rig.offline().await;
    let (totals, outbox) = rig.stop().await;
    assert_eq!((totals.published, outbox.pending()), (0, 10));
}

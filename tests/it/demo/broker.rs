//! The embedded broker and the subscriber, with publishers of both versions of MQTT.

use std::{net::TcpStream, time::Duration};

use beacon_gateway::demo::{
    broker::{self, EmbeddedBroker},
    subscriber::{Received, Subscriber, SubscriberError},
};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, v5};

/// Far longer than anything on loopback takes.
const DEADLINE: Duration = Duration::from_secs(20);

const EVENT: &str = "beacon/v1/acme/b/gw1/event/zone/entered";
const STATE: &str = "beacon/v1/acme/b/gw1/state";

async fn next(subscriber: &mut Subscriber) -> Received {
    tokio::time::timeout(DEADLINE, subscriber.next())
        .await
        .expect("the message arrives in time")
        .expect("the subscription goes on")
        .unwrap()
}

/// Publishes and waits for the acknowledgement.
async fn publish(
    client: &AsyncClient,
    events: &mut EventLoop,
    topic: &str,
    retain: bool,
    payload: &[u8],
) {
    client.try_publish(topic, QoS::AtLeastOnce, retain, payload).unwrap();
    let acknowledged = async {
        loop {
            if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, acknowledged).await.expect("the broker acknowledges in time");
}

async fn publish_v5(
    client: &v5::AsyncClient,
    events: &mut v5::EventLoop,
    topic: &str,
    payload: &[u8],
) {
    let qos = v5::mqttbytes::QoS::AtLeastOnce;
    client.try_publish(topic, qos, false, payload.to_vec()).unwrap();
    let acknowledged = async {
        loop {
            let event = events.poll().await.unwrap();
            if let v5::Event::Incoming(v5::mqttbytes::v5::Packet::PubAck(_)) = event {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, acknowledged).await.expect("the broker acknowledges in time");
}

#[tokio::test]
async fn what_publishers_of_both_versions_publish_arrives_at_the_subscriber_as_it_was() {
    let broker = EmbeddedBroker::start().unwrap();
    let mut subscriber = Subscriber::connect(broker.v4()).await.unwrap();

    let mut options = MqttOptions::new("publisher-4", "127.0.0.1", broker.v4().port());
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, 10);
    let large = vec![b'x'; 200_000];
    publish(&client, &mut events, EVENT, false, b"{\"by\":4}").await;
    publish(&client, &mut events, "elsewhere", false, b"not for us").await;
    publish(&client, &mut events, EVENT, false, &large).await;

    let options = v5::MqttOptions::new("publisher-5", "127.0.0.1", broker.v5().port());
    let (client, mut events) = v5::AsyncClient::new(options, 10);
    for number in 0..100 {
        let payload = format!("{{\"by\":5,\"number\":{number}}}");
        publish_v5(&client, &mut events, EVENT, payload.as_bytes()).await;
    }

    let first = next(&mut subscriber).await;
    let wanted =
        Received { topic: EVENT.to_owned(), payload: b"{\"by\":4}".to_vec(), retain: false };
    assert_eq!(first, wanted);
    assert!(first.is_event());
    assert_eq!(next(&mut subscriber).await.payload, large);
    for number in 0..100 {
        let received = next(&mut subscriber).await;
        let text = String::from_utf8(received.payload).unwrap();
        assert_eq!(text, format!("{{\"by\":5,\"number\":{number}}}"));
    }
}

#[tokio::test]
async fn a_subscriber_that_comes_late_gets_what_was_retained() {
    let broker = EmbeddedBroker::start().unwrap();
    let options = MqttOptions::new("publisher", "127.0.0.1", broker.v4().port());
    let (client, mut events) = AsyncClient::new(options, 10);
    publish(&client, &mut events, STATE, true, b"{\"status\":\"online\"}").await;

    let mut subscriber = Subscriber::connect(broker.v4()).await.unwrap();
    let received = next(&mut subscriber).await;
    assert_eq!((received.topic.as_str(), received.retain), (STATE, true));
    assert_eq!(received.part(), Some("state"));
    assert!(!received.is_event());
}

#[tokio::test]
async fn a_dropped_broker_closes_its_ports_and_the_subscriber_says_so_once() {
    let broker = EmbeddedBroker::start().unwrap();
    let (v4, v5) = (broker.v4(), broker.v5());
    assert!(v4.ip().is_loopback() && v5.ip().is_loopback() && v4 != v5);
    let mut subscriber = Subscriber::connect(v4).await.unwrap();
    drop(broker);
    for port in [v4, v5] {
        assert!(TcpStream::connect_timeout(&port, DEADLINE).is_err(), "{port} is still open");
    }
    let last = tokio::time::timeout(DEADLINE, subscriber.next()).await.expect("in time");
    assert!(matches!(last, Some(Err(SubscriberError::Connection(_)))), "{last:?}");
    assert!(subscriber.next().await.is_none());

    let refused = Subscriber::connect(v4).await;
    assert!(matches!(refused, Err(SubscriberError::Connection(_))), "{refused:?}");
}

#[test]
fn several_brokers_run_side_by_side() {
    let brokers: Vec<EmbeddedBroker> = (0..4).map(|_| EmbeddedBroker::start().unwrap()).collect();
    let mut ports: Vec<u16> =
        brokers.iter().flat_map(|broker| [broker.v4().port(), broker.v5().port()]).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 8);
}

#[test]
fn what_the_broker_logs_can_be_told_from_what_the_gateway_logs() {
    struct Metadata(std::sync::Mutex<Vec<(String, bool)>>);
    impl tracing::Subscriber for Metadata {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            let entry = (metadata.target().to_owned(), broker::is_brokers(metadata));
            self.0.lock().unwrap().push(entry);
            false
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    let seen = std::sync::Arc::new(Metadata(std::sync::Mutex::new(Vec::new())));
    tracing::subscriber::with_default(std::sync::Arc::clone(&seen), || {
        tracing::info!(target: "rumqttd::router::routing", "Of the broker.");
        tracing::info!(target: "rumqttd", "Of the broker.");
        tracing::info!(target: "rumqttdish", "Of somebody else.");
        tracing::info!("Of the gateway.");
    });
    let seen = seen.0.lock().unwrap();
    let judged: Vec<bool> = seen.iter().map(|(_, brokers)| *brokers).collect();
    assert_eq!(judged, [true, true, false, false], "{seen:?}");
}

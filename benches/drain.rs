//! How fast a full outbox drains to a broker, against the same client library publishing the same
//! payloads from memory, in one run: `cargo bench --bench drain`.
//!
//! Both sides have the same number of publishes in flight, the same broker (mosquitto on loopback)
//! and nobody subscribed. The bare client is rumqttc as its documentation uses it: one task hands
//! over, another polls and counts acknowledgements. Rounds alternate, and the median counts.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set its stage up has failed")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

#[path = "../tests/it/support/memory_outbox.rs"]
#[expect(dead_code, reason = "tests look at more of it")]
mod memory_outbox;
#[path = "../tests/it/support/mosquitto.rs"]
mod mosquitto;

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    engine::Uptime,
    outbox::{Stored, Tag},
    uplink::{
        self, Access, BrokerUrl, Counters, Dispatch, Documents, LinkState, Protocol, Settings,
        Topic, Topics, Uplink,
    },
};
use memory_outbox::{Ends, MemoryOutbox};
use mosquitto::Mosquitto;
use tokio::sync::{mpsc, oneshot, watch};

const RECORDS: u32 = 100_000;
const ROUNDS: usize = 5;
const PAYLOAD: usize = 400;
const SUBJECTS: u32 = 300;
const TOPIC: &str = "beacon/v1/acme/berlin-03/gw1/event/zone/entered";

/// For the helper that starts mosquitto.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn main() {
    // `cargo test --all-targets` starts this as well, and then asks for no measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // What mosquitto grants to an MQTT 5 client is what limits it; one place is for the state.
    let eager = Mosquitto::start("max_inflight_messages 1000");
    let stock = Mosquitto::start("");
    println!("{RECORDS} records of {PAYLOAD} bytes, median of {ROUNDS} alternating rounds");
    println!("protocol  in flight  bare client/s  uplink/s  ratio");
    for (protocol, broker, window) in [
        (Protocol::V5, &stock, 19),
        (Protocol::V5, &eager, 64),
        (Protocol::V5, &eager, 256),
        (Protocol::V311, &eager, 64),
        (Protocol::V311, &eager, 256),
    ] {
        let mut bare = Vec::new();
        let mut ours = Vec::new();
        for _ in 0..ROUNDS {
            bare.push(runtime.block_on(bare_client(protocol, broker.port(), window)));
            ours.push(runtime.block_on(drain(protocol, broker.port(), window)));
        }
        let (bare, ours) = (median(bare), median(ours));
        println!(
            "{:<8}  {window:>9}  {bare:>13.0}  {ours:>8.0}  {:>4.0} %",
            protocol.to_string(),
            100.0 * ours / bare
        );
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

fn rate(began: Uptime, clock: Clock) -> f64 {
    f64::from(RECORDS) / clock.now().since(began).as_secs_f64()
}

/// Time from the first request of a connected uplink to the last record leaving the outbox.
async fn drain(protocol: Protocol, port: u16, window: u16) -> f64 {
    let settings = Settings {
        broker: BrokerUrl::new(format!("mqtt://127.0.0.1:{port}")),
        protocol,
        window,
        ..Settings::default()
    };
    let names = |text: &str| text.parse().unwrap();
    let topics = Topics::new(names("acme"), names("berlin-03"), names("gw1"));
    assert_eq!(topics.spell(Topic::Event { family: "zone", kind: "entered" }), TOPIC);
    let (outbox, Ends { requests, durable }) = MemoryOutbox::start();
    let (_state, state) = watch::channel(b"{}".to_vec());
    let (_metrics, metrics) = watch::channel(Vec::new());
    let (_reconsider, reconsider) = watch::channel(());
    let (_replays, replays) = mpsc::channel(1);
    let (_brought_back, brought_back) = watch::channel(0);
    let (link, mut online) = watch::channel(LinkState::default());
    let (stop, stop_receiver) = oneshot::channel();
    let courier = |stored: &Stored| Dispatch::Publish {
        topic: TOPIC.to_owned(),
        payload: stored.bytes.clone(),
        content_type: "application/cloudevents+json",
        user_properties: Vec::new(),
        expiry: None,
    };
    let room = Uplink {
        access: Access::load(&settings, None).unwrap(),
        settings,
        credentials: None,
        client_id: "drain".to_owned(),
        topics,
        courier,
        outbox: requests,
        durable,
        reconsider,
        replays,
        brought_back,
        documents: Documents { state, vanished: b"{}".to_vec(), stopped: Vec::new(), metrics },
        link,
        counters: Arc::<Counters>::default(),
        clock: Clock::start(),
        chance: Box::new(|| 0.0),
    };
    let task = tokio::spawn(uplink::run(room, stop_receiver));
    online.wait_for(LinkState::is_online).await.unwrap();
    let clock = Clock::start();
    // As many different people and sensors as a shop has in a few minutes, in turn.
    let records = (0..RECORDS).map(|n| (Some(Tag((n % SUBJECTS).into())), vec![b'x'; PAYLOAD]));
    outbox.append_about(records);
    let began = clock.now();
    let mut interval = tokio::time::interval(Duration::from_millis(1));
    while outbox.pending() > 0 {
        interval.tick().await;
    }
    let rate = rate(began, clock);
    drop(stop);
    let totals = task.await.unwrap();
    assert_eq!((totals.acknowledged, totals.faults), (u64::from(RECORDS), 0));
    rate
}

/// Time from the first request of a connected client to the last acknowledgement.
async fn bare_client(protocol: Protocol, port: u16, window: u16) -> f64 {
    match protocol {
        Protocol::V311 => bare_v4(port, window).await,
        Protocol::V5 => bare_v5(port, window).await,
    }
}

#[expect(clippy::disallowed_methods, reason = "another task polls")]
async fn bare_v4(port: u16, window: u16) -> f64 {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
    let mut options = MqttOptions::new("bare", "127.0.0.1", port);
    options.set_inflight(window);
    let (client, mut event_loop) = AsyncClient::new(options, usize::from(window));
    event_loop.network_options.set_tcp_nodelay(true);
    while !matches!(event_loop.poll().await.unwrap(), Event::Incoming(Packet::ConnAck(_))) {}
    let clock = Clock::start();
    let began = clock.now();
    let publisher = tokio::spawn(async move {
        for _ in 0..RECORDS {
            let payload = vec![b'x'; PAYLOAD];
            client.publish(TOPIC, QoS::AtLeastOnce, false, payload).await.unwrap();
        }
        client
    });
    let mut acknowledged = 0;
    while acknowledged < RECORDS {
        if let Event::Incoming(Packet::PubAck(_)) = event_loop.poll().await.unwrap() {
            acknowledged += 1;
        }
    }
    drop(publisher.await.unwrap());
    rate(began, clock)
}

#[expect(clippy::disallowed_methods, reason = "another task polls")]
async fn bare_v5(port: u16, window: u16) -> f64 {
    use rumqttc::{
        NetworkOptions,
        v5::{
            AsyncClient, Event, MqttOptions,
            mqttbytes::{QoS, v5::Packet},
        },
    };
    let mut options = MqttOptions::new("bare", "127.0.0.1", port);
    options.set_outgoing_inflight_upper_limit(window);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut event_loop) = AsyncClient::new(options, usize::from(window));
    while !matches!(event_loop.poll().await.unwrap(), Event::Incoming(Packet::ConnAck(_))) {}
    let clock = Clock::start();
    let began = clock.now();
    let publisher = tokio::spawn(async move {
        for _ in 0..RECORDS {
            let payload = vec![b'x'; PAYLOAD];
            client.publish(TOPIC, QoS::AtLeastOnce, false, payload).await.unwrap();
        }
        client
    });
    let mut acknowledged = 0;
    while acknowledged < RECORDS {
        if let Event::Incoming(Packet::PubAck(_)) = event_loop.poll().await.unwrap() {
            acknowledged += 1;
        }
    }
    drop(publisher.await.unwrap());
    rate(began, clock)
}

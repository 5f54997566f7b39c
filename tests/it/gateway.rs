//! The whole gateway: a source of bytes, the real store, the real broker.

use std::{collections::BTreeMap, net::Ipv4Addr, path::Path, sync::Arc};

use beacon_gateway::{
    clock::Clock,
    engine::{AddressKind, Advertisement, DeviceAddress, ReceiverId, Rssi, Uptime},
    gateway::{self, GatewayError, Outcome, Request, Source, Status},
    scan::{Heard, SourceEnds},
    settings::{Loader, Settings},
    uplink::Protocol,
};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use crate::support::{
    eventually, free_port,
    mosquitto::Mosquitto,
    subscriber::{Message, Subscriber},
};

const HOUR: i64 = 3600;
const EVENTS: &str = "beacon/v1/t/s/g/event/#";

#[tokio::test]
async fn ten_hours_without_a_broker_arrive_once_in_everybodys_order_and_marked_historical() {
    let mosquitto = Mosquitto::start("");
    let subscriber = Subscriber::start(Protocol::V5, mosquitto.port(), EVENTS).await;
    let shop = Shop::new(20);
    let broker = free_port();

    // Nobody listens on the broker's port while ten hours of visits happen, a minute apart.
    let running = shop.start(broker, visits(-10 * HOUR, 0, 60, 20));
    running.heard_everything().await;
    let relay = relay(broker, mosquitto.port()).await;
    let kinds = |subscriber: &Subscriber, kind: &str| {
        subscriber.look(|all| all.iter().filter(|it| it.topic.ends_with(kind)).count())
    };
    // The last visits are still open: nothing heard since has proven them over.
    eventually("the visits", || kinds(&subscriber, "visit/ended") >= 595).await;
    eventually("the zones", || kinds(&subscriber, "zone/entered") >= 600).await;
    let outcome = running.stop().await.unwrap();
    relay.abort();

    let events: Vec<Value> =
        subscriber.messages().iter().map(|it| serde_json::from_str(&it.payload).unwrap()).collect();
    let number = |it: &Value| it["sequence"].as_str().unwrap().parse::<u64>().unwrap();
    let mut numbers: Vec<u64> = events.iter().map(number).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=events.len() as u64), "without a gap, once");
    let mut last = BTreeMap::new();
    for event in &events {
        let before = last.insert(event["partitionkey"].to_string(), number(event));
        assert!(before < Some(number(event)), "what is about one subject is in order: {event}");
    }
    for event in &events {
        let id =
            format!("s-g-1-{:012}", event["sequence"].as_str().unwrap().parse::<u64>().unwrap());
        assert_eq!(event["id"], id.as_str());
        if event["subject"].is_string() && event["time"].as_str() < Some(&an_hour_ago()) {
            assert_eq!(event["data"]["historical"], true, "{event}");
        }
    }
    let late = events.iter().filter(|it| it["data"]["historical"] == true).count();
    assert!(late >= 2000, "{late} of {} were late", events.len());
    let started = events.iter().filter(|it| it["type"] == "io.beacon-gateway.visit.started.v1");
    assert_eq!(started.count(), 600, "one visit a minute");
    assert_eq!(outcome.outbox.pending.records, 0, "{outcome:?}");
    assert!(outcome.outbox.conserves());
    assert_eq!(outcome.outbox.totals.appended, outcome.counts.situations + 1, "and `started`");
}

#[tokio::test]
async fn a_restart_resumes_the_open_visit_and_the_sequence() {
    let mosquitto = Mosquitto::start("");
    let subscriber = Subscriber::start(Protocol::V311, mosquitto.port(), EVENTS).await;
    let shop = Shop::new(1);
    for events in [3, 4] {
        let running = shop.start(mosquitto.port(), visits(0, 1, 1, 1));
        running.heard_everything().await;
        eventually("the events of this run", || subscriber.messages().len() >= events).await;
        running.stop().await.unwrap();
    }
    let events: Vec<Value> =
        subscriber.messages().iter().map(|it| serde_json::from_str(&it.payload).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().map(|it| it["type"].as_str().unwrap()).collect();
    let kind = |name: &str| format!("io.beacon-gateway.{name}.v1");
    let expected = [
        kind("gateway.started"),
        kind("visit.started"),
        kind("zone.entered"),
        kind("gateway.started"),
    ];
    assert_eq!(kinds, expected, "the visit is neither ended nor begun anew");
    assert_eq!(events[3]["data"]["store"], "resumed");
    assert_eq!(events[3]["data"]["visits_restored"], 1);
    assert_eq!(events[3]["sequence"], "4");
    assert_eq!(events[3]["epoch"], 1);
}

#[tokio::test]
async fn a_restart_goes_on_with_an_alert_and_clears_it_when_it_is_over() {
    let mosquitto = Mosquitto::start("");
    let subscriber = Subscriber::start(Protocol::V5, mosquitto.port(), EVENTS).await;
    let shop = Shop::new(1);
    let fridge = r#"
        [[fixture]]
        id = "fridge"
        address = "C0:00:00:00:00:07"
        [[fixture.alert]]
        id = "too_warm"
        quantity = "temperature_c"
        above = 8.0
    "#;
    std::fs::write(shop.path("fixtures.toml"), fridge).unwrap();
    let runs = [(vec![bthome(-60, 9)], 3), (vec![bthome(0, 9)], 5), (vec![bthome(0, 4)], 8)];
    for (heard, events) in runs {
        let running = shop.start(mosquitto.port(), heard);
        running.heard_everything().await;
        eventually("the events of this run", || subscriber.messages().len() >= events).await;
        running.stop().await.unwrap();
    }
    let events: Vec<Value> =
        subscriber.messages().iter().map(|it| serde_json::from_str(&it.payload).unwrap()).collect();
    let kinds: Vec<&str> = events
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .map(|kind| kind.strip_prefix("io.beacon-gateway.").unwrap().strip_suffix(".v1").unwrap())
        .collect();
    let started = ["gateway.started", "sensor.measured"];
    let expected = [&started[..], &["sensor.alerted"], &started, &started, &["sensor.cleared"]];
    assert_eq!(kinds, expected.concat());
    assert_eq!(events[7]["data"]["alert"], "too_warm");

    // A fixture that is gone from the configuration is told to be over, and forgotten.
    for (text, heard, events) in
        [(fridge, vec![bthome(0, 9)], 11), ("", vec![], 13), (fridge, vec![], 14)]
    {
        std::fs::write(shop.path("fixtures.toml"), text).unwrap();
        let running = shop.start(mosquitto.port(), heard);
        running.heard_everything().await;
        eventually("the events of this run", || subscriber.messages().len() >= events).await;
        running.stop().await.unwrap();
    }
    let kinds = subscriber.messages();
    let kinds: Vec<&str> = kinds.iter().map(|it| it.topic.rsplit('/').next().unwrap()).collect();
    let over: Value = serde_json::from_str(&subscriber.messages()[12].payload).unwrap();
    let (what, value) = (&over["data"]["quantity"], &over["data"]["value"]);
    assert_eq!((what.as_str(), value.is_null()), (Some("temperature_c"), true));
    assert_eq!(kinds[8..], ["started", "measured", "alerted", "started", "cleared", "started"]);
}

#[tokio::test]
async fn a_withdrawal_reaches_what_waits_for_the_broker() {
    let mosquitto = Mosquitto::start("");
    let subscriber = Subscriber::start(Protocol::V5, mosquitto.port(), EVENTS).await;
    let shop = Shop::new(2);
    let broker = free_port();
    let running = shop.start(broker, visits(-HOUR, 0, 60, 2));
    running.heard_everything().await;

    // `s0` is struck from the registry, and the registry read again, before anything was sent.
    shop.enrol(1..2);
    running.requests.send(Request::Reload).await.unwrap();
    let erased = || {
        let status = Status::read(&shop.path("state")).unwrap();
        status.and_then(|it| it.counters["outbox"]["erased"].as_u64()).unwrap_or(0)
    };
    eventually("the erasure", || erased() > 100).await;
    let relay = relay(broker, mosquitto.port()).await;
    let ended = |all: &[Message]| all.iter().filter(|it| it.topic.ends_with("visit/ended")).count();
    eventually("the visits of the other", || subscriber.look(ended) >= 28).await;
    let outcome = running.stop().await.unwrap();
    relay.abort();
    let said = subscriber.messages();
    let receipt = |it: &&Message| it.topic.ends_with("consent_withdrawn");
    let about_s0 = said.iter().filter(|it| it.payload.contains("\"s0\""));
    let (receipts, others): (Vec<_>, Vec<_>) = about_s0.partition(receipt);
    assert_eq!(receipts.len(), 1);
    assert!(receipts[0].payload.contains(r#""cause":"not_enrolled""#), "{}", receipts[0].payload);
    assert_eq!(others, Vec::<&Message>::new(), "nothing about `s0` was sent");
    assert!(said.iter().any(|it| it.payload.contains("\"s1\"")));
    assert!(outcome.outbox.totals.erased > 100, "{:?}", outcome.outbox.totals);
    assert!(outcome.outbox.conserves());
}

#[tokio::test]
async fn a_store_that_another_process_has_open_is_an_error_that_says_so() {
    let shop = Shop::new(1);
    let running = shop.start(free_port(), visits(0, 1, 1, 1));
    running.heard_everything().await;
    let second = shop.start(free_port(), visits(0, 1, 1, 1));
    let error = second.task.await.unwrap().unwrap_err();
    let said = gateway::chain(&error);
    assert!(said.contains("another"), "{said}");
    running.stop().await.unwrap();
}

/// An hour before now, as events write it; times of one form compare as texts.
fn an_hour_ago() -> String {
    let now = Clock::start().wall().unix.as_millis();
    let then = beacon_gateway::engine::UnixTime::from_millis(now - 3_600_000);
    beacon_gateway::uplink::payload::utc(then)
}

/// One subject a step comes near for ten seconds; seconds of uptime, which may be negative.
fn visits(from_s: i64, until_s: i64, step_s: i64, subjects: u16) -> Vec<Advertisement> {
    let mut heard = Vec::new();
    for (n, start) in (from_s..until_s).step_by(usize::try_from(step_s).unwrap()).enumerate() {
        let minor = u16::try_from(n % usize::from(subjects)).unwrap();
        for second in 0..10 {
            heard.push(ibeacon(minor, Uptime::from_micros((start + second) * 1_000_000)));
        }
    }
    heard
}

/// A fridge's thermometer at a second of uptime.
fn bthome(second: i64, celsius: i16) -> Advertisement {
    let mut data = vec![2, 1, 6, 7, 0x16, 0xd2, 0xfc, 0x40, 0x02];
    data.extend((celsius * 100).to_le_bytes());
    let address = DeviceAddress::new([0xc0, 0, 0, 0, 0, 7], AddressKind::Random);
    let heard = Uptime::from_micros(second * 1_000_000);
    Advertisement::new(heard, ReceiverId::default(), address, Some(Rssi(-60)), &data)
}

fn ibeacon(minor: u16, heard: Uptime) -> Advertisement {
    let mut data = vec![26, 0xff, 0x4c, 0x00, 0x02, 0x15];
    data.extend([0xab; 16]);
    data.extend([0, 1]);
    data.extend(minor.to_be_bytes());
    data.push(0xc5);
    let address = DeviceAddress::new([0xc0; 6], AddressKind::Random);
    Advertisement::new(heard, ReceiverId::default(), address, Some(Rssi(-60)), &data)
}

/// A directory with the files of one gateway.
struct Shop(tempfile::TempDir);

/// A gateway that runs.
struct Running {
    task: JoinHandle<Result<Outcome, GatewayError>>,
    requests: mpsc::Sender<Request>,
    heard: Arc<Notify>,
}

impl Shop {
    fn new(subjects: u16) -> Self {
        let shop = Self(tempfile::tempdir().unwrap());
        shop.enrol(0..subjects);
        shop
    }

    fn enrol(&self, subjects: std::ops::Range<u16>) {
        let line = |minor| {
            format!(
                r#"{{"subject":"s{minor}","kind":"customer","identifiers":[{{"ibeacon":{{"uuid":"{}","major":1,"minor":{minor}}}}}],"consent":{{"purposes":["presence","journey"],"from":"2020-01-01T00:00:00Z","proof":"p"}}}}
"#,
                "ab".repeat(16)
            )
        };
        std::fs::write(self.path("registry.jsonl"), subjects.map(line).collect::<String>())
            .unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        let directory: &Path = self.0.path();
        directory.join(name)
    }

    fn settings(&self, broker: u16) -> Settings {
        let fixtures = Some(self.path("fixtures.toml")).filter(|file| file.exists());
        Loader::files(fixtures)
            .set("gateway.tenant", "t")
            .set("gateway.store", "s")
            .set("gateway.name", "g")
            .set("gateway.state_dir", &self.path("state").display().to_string())
            .set("identity.registry", &self.path("registry.jsonl").display().to_string())
            // Each time somebody comes near is to be a visit of its own.
            .set("presence.merge_gap", "0s")
            .set("outbox.commit_interval", "5ms")
            .set("health.metrics_interval", "100ms")
            .set("uplink.broker", &format!("mqtt://127.0.0.1:{broker}"))
            .set("uplink.backoff_min", "10ms")
            .set("uplink.backoff_max", "50ms")
            .load()
            .unwrap()
    }

    fn start(&self, broker: u16, advertisements: Vec<Advertisement>) -> Running {
        let heard = Arc::new(Notify::new());
        let told = Arc::clone(&heard);
        let source: Source = Box::new(move |ends| {
            let SourceEnds { heard, mut stop, .. } = ends;
            Box::pin(async move {
                for advertisement in advertisements {
                    heard.send(Heard::Advertisement(advertisement)).await.unwrap();
                }
                told.notify_one();
                stop.wait_for(|&stop| stop).await.unwrap();
            })
        });
        let (requests, receiver) = mpsc::channel(1);
        let settings = self.settings(broker);
        let task = tokio::spawn(gateway::run(settings, Clock::start(), source, receiver, || ()));
        Running { task, requests, heard }
    }
}

impl Running {
    async fn heard_everything(&self) {
        self.heard.notified().await;
    }

    async fn stop(self) -> Result<Outcome, GatewayError> {
        self.requests.send(Request::Stop).await.unwrap();
        self.task.await.unwrap()
    }
}

/// From now on the broker can be reached under this port, too.
async fn relay(port: u16, to: u16) -> JoinHandle<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let mut there =
                tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
            tokio::spawn(async move {
                tokio::io::copy_bidirectional(&mut here, &mut there).await.ok();
            });
        }
    })
}

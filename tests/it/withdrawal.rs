//! The whole gateway and a real broker: who is enrolled and withdrawn by the platform's signed
//! commands, and what becomes of what the gateway had made of them.
#![expect(clippy::indexing_slicing, reason = "a JSON value has a null wherever it has nothing")]

use std::path::Path;

use beacon_gateway::{
    clock::Clock,
    engine::{AddressKind, Advertisement, DeviceAddress, ReceiverId, Rssi, parse_octets},
    gateway::{self, GatewayError, Outcome, Request, Source},
    scan::{Heard, SourceEnds},
    settings::{ClockTrust, Loader, Settings},
    uplink::Protocol,
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::support::{
    eventually, free_port,
    mosquitto::Mosquitto,
    publisher::Publisher,
    signer::{ADDRESS, Signer},
    subscriber::{Message, Subscriber},
};

const REGISTRY: &str = "beacon/v1/acme/berlin-03/registry";
const ALL: &str = "beacon/v1/acme/berlin-03/#";
const ANN: &str = "cust_ann_7f3a";
const BOB: &str = "cust_bob_7f3a";

#[tokio::test]
async fn a_member_is_recognised_from_enrolment_to_withdrawal_and_a_receipt_tells_what_went() {
    for protocol in [Protocol::V5, Protocol::V311] {
        let mosquitto = Mosquitto::start("");
        let heard_by_all = Subscriber::start(protocol, mosquitto.port(), ALL).await;
        let mut platform = Publisher::new(mosquitto.port());
        let shop = Shop::new();
        let signer = Signer::new("platform-1", 7);
        let running = shop.start(mosquitto.port(), protocol, &signer);
        eventually("an open line", || about(&heard_by_all, "caught_up", "/state") > 0).await;

        let enrol = signer.upsert(1, &[ANN, BOB]);
        platform.publish(&format!("{REGISTRY}/upsert"), &enrol).await;
        let result = result(&heard_by_all, 1).await;
        assert_eq!(result["added"], 1, "{result}");
        let refused = json!([{"subject": BOB, "reason": "identifier_taken"}]);
        assert_eq!(result["refused"], refused, "two cannot have one device: {result}");

        running.hear().await;
        eventually("the visit", || about(&heard_by_all, ANN, "visit/started") == 1).await;

        let withdraw = signer.withdraw(2, &[ANN]);
        platform.publish(&format!("{REGISTRY}/withdraw"), &withdraw).await;
        let receipt = receipt(&heard_by_all).await;
        assert_eq!(receipt["subjects"], json!([ANN]));
        assert_eq!(receipt["cause"], "withdrawn");
        assert_eq!(receipt["command"], "2");
        assert_eq!(receipt["visits_closed"], 1);

        // Heard again, and again enrolled: the events in between would have come before these.
        running.hear().await;
        platform.publish(&format!("{REGISTRY}/upsert"), &signer.upsert(3, &[BOB])).await;
        eventually("another result", || results(&heard_by_all, 3) == 1).await;
        running.hear().await;
        eventually("the other visit", || about(&heard_by_all, BOB, "visit/started") == 1).await;
        let outcome = running.stop().await.unwrap();
        assert_eq!(about(&heard_by_all, ANN, "visit/started"), 1);
        assert_eq!(about(&heard_by_all, ANN, "visit/ended"), 0, "closed without an event");
        assert!(outcome.outbox.conserves(), "{outcome:?}");
        // Nothing that could recognise anybody has left the gateway's memory in clear.
        let address = ADDRESS.replace(':', "");
        for message in heard_by_all.messages() {
            assert!(!message.payload.to_uppercase().contains(&address), "{}", message.topic);
            assert!(!message.payload.contains(ADDRESS), "{}", message.topic);
        }
        assert!(!in_files(shop.0.path(), ADDRESS.as_bytes()));
        assert!(!in_files(shop.0.path(), &parse_octets(ADDRESS).unwrap()));
    }
}

#[tokio::test]
async fn a_withdrawal_that_came_while_the_gateway_was_off_is_carried_out_before_anything_is_sent() {
    let mosquitto = Mosquitto::start("");
    let heard_by_all = Subscriber::start(Protocol::V5, mosquitto.port(), ALL).await;
    let mut platform = Publisher::new(mosquitto.port());
    let shop = Shop::new();
    let signer = Signer::new("platform-1", 7);

    let running = shop.start(mosquitto.port(), Protocol::V5, &signer);
    eventually("an open line", || about(&heard_by_all, "caught_up", "/state") > 0).await;
    platform.publish(&format!("{REGISTRY}/upsert"), &signer.upsert(1, &[ANN])).await;
    result(&heard_by_all, 1).await;
    running.stop().await.unwrap();

    // Without a broker: what happens waits on the disk.
    let running = shop.start(free_port(), Protocol::V5, &signer);
    running.hear().await;
    let outcome = running.stop().await.unwrap();
    let waiting = outcome.outbox.pending.records;
    assert!(waiting >= 3, "started, a visit and a zone: {outcome:?}");

    platform.publish(&format!("{REGISTRY}/withdraw"), &signer.withdraw(2, &[ANN])).await;
    let running = shop.start(mosquitto.port(), Protocol::V5, &signer);
    let receipt = receipt(&heard_by_all).await;
    assert_eq!(receipt["records_erased"], 2, "{receipt}");
    let outcome = running.stop().await.unwrap();
    assert_eq!(outcome.outbox.pending.records, 0, "{outcome:?}");
    assert!(outcome.outbox.conserves(), "{outcome:?}");
    assert_eq!(about(&heard_by_all, ANN, "/event/visit/"), 0);
    assert_eq!(about(&heard_by_all, ANN, "/event/zone/"), 0);
}

#[tokio::test]
async fn who_was_struck_from_the_registry_while_the_gateway_was_off_is_erased_with_a_receipt() {
    let mosquitto = Mosquitto::start("");
    let heard_by_all = Subscriber::start(Protocol::V5, mosquitto.port(), ALL).await;
    let shop = Shop::new();
    shop.enrol_by_file();
    let signer = Signer::new("platform-1", 7);
    let running = shop.start(free_port(), Protocol::V5, &signer);
    running.hear().await;
    let outcome = running.stop().await.unwrap();
    assert!(outcome.outbox.pending.records >= 3, "{outcome:?}");
    let named = || in_files(shop.0.path().join("state").as_path(), ANN.as_bytes());
    assert!(!named(), "what waits is sealed");

    std::fs::remove_file(shop.0.path().join("registry.jsonl")).unwrap();
    let running = shop.start(mosquitto.port(), Protocol::V5, &signer);
    let receipt = receipt(&heard_by_all).await;
    assert_eq!(receipt["subjects"], json!([ANN]));
    assert_eq!(
        (&receipt["cause"], &receipt["records_erased"]),
        (&"not_enrolled".into(), &2.into())
    );
    running.stop().await.unwrap();
    assert!(!named(), "nor does the receipt leave her name behind");
    assert_eq!(about(&heard_by_all, ANN, "/event/zone/"), 0);
}

#[tokio::test]
async fn without_the_line_for_withdrawals_nothing_about_anybody_is_sent_and_the_rest_is() {
    // Whoever may not read the store's commands does not hear of withdrawals.
    let rules = tempfile::NamedTempFile::new().unwrap();
    let gateway = "beacon/v1/acme/berlin-03/gw1";
    let lines = ["event/#", "state", "metrics", "command-result/#"]
        .map(|topic| format!("topic readwrite {gateway}/{topic}\n"));
    std::fs::write(&rules, lines.concat()).unwrap();
    let mosquitto = Mosquitto::start(&format!("acl_file {}", rules.path().display()));
    let events = format!("{gateway}/event/#");
    let heard_by_all = Subscriber::start(Protocol::V5, mosquitto.port(), &events).await;
    let shop = Shop::new();
    shop.enrol_by_file();
    let signer = Signer::new("platform-1", 7);
    let running = shop.start(mosquitto.port(), Protocol::V5, &signer);
    running.hear().await;
    eventually("the start", || about(&heard_by_all, "", "gateway/started") == 1).await;
    let outcome = running.stop().await.unwrap();
    assert_eq!(about(&heard_by_all, ANN, "/event/"), 0);
    assert_eq!(outcome.outbox.pending.records, 2, "they wait: {outcome:?}");
}

// --- the stage ---

/// A directory with the state of one gateway.
struct Shop(tempfile::TempDir);

/// A gateway that runs.
struct Running {
    task: JoinHandle<Result<Outcome, GatewayError>>,
    requests: mpsc::Sender<Request>,
    air: mpsc::Sender<()>,
}

impl Shop {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn enrol_by_file(&self) {
        let line = json!({"subject": ANN, "kind": "customer", "identifiers": [{"address": ADDRESS}],
            "consent": {"purposes": ["presence"], "from": "2026-01-01T00:00:00Z", "proof": "p"}});
        std::fs::write(self.0.path().join("registry.jsonl"), line.to_string()).unwrap();
    }

    fn settings(&self, broker: u16, protocol: Protocol, signer: &Signer) -> Settings {
        let file = self.0.path().join("registry.jsonl");
        let file = if file.exists() { file.display().to_string() } else { String::new() };
        let mut settings = Loader::files([])
            .set("gateway.tenant", "acme")
            .set("gateway.store", "berlin-03")
            .set("gateway.name", "gw1")
            .set("gateway.state_dir", &self.0.path().join("state").display().to_string())
            .set("identity.registry", &file)
            .set("outbox.commit_interval", "5ms")
            .set("uplink.broker", &format!("mqtt://127.0.0.1:{broker}"))
            .set("uplink.backoff_min", "10ms")
            .set("uplink.backoff_max", "50ms")
            .load()
            .unwrap();
        settings.uplink.protocol = protocol;
        settings.gateway.clock = ClockTrust::Always;
        settings.command.trusted_keys = vec![signer.trusted()];
        settings
    }

    fn start(&self, broker: u16, protocol: Protocol, signer: &Signer) -> Running {
        let (air, mut waves) = mpsc::channel(1);
        let source: Source = Box::new(move |ends| {
            let SourceEnds { clock, heard, mut stop, .. } = ends;
            Box::pin(async move {
                loop {
                    let wave = tokio::select! {
                        wave = waves.recv() => wave,
                        changed = stop.changed() => changed.ok().filter(|()| !*stop.borrow()),
                    };
                    if wave.is_none() {
                        return;
                    }
                    heard.send(Heard::Advertisement(advertisement(clock))).await.unwrap();
                }
            })
        });
        let (requests, receiver) = mpsc::channel(1);
        let settings = self.settings(broker, protocol, signer);
        let task = tokio::spawn(gateway::run(settings, Clock::start(), source, receiver, || ()));
        Running { task, requests, air }
    }
}

impl Running {
    /// The device advertises, and the engine gets to hear it before this returns a second time.
    async fn hear(&self) {
        for _ in 0..3 {
            self.air.send(()).await.unwrap();
        }
    }

    async fn stop(self) -> Result<Outcome, GatewayError> {
        self.requests.send(Request::Stop).await.unwrap();
        self.task.await.unwrap()
    }
}

fn advertisement(clock: Clock) -> Advertisement {
    let address = DeviceAddress::new(parse_octets(ADDRESS).unwrap(), AddressKind::Random);
    let receiver = ReceiverId::default();
    Advertisement::new(clock.now(), receiver, address, Some(Rssi(-50)), &[2, 0x01, 0x06])
}

// --- what was heard at the broker ---

fn about(subscriber: &Subscriber, name: &str, topic: &str) -> usize {
    let fits = |it: &&Message| it.topic.contains(topic) && it.payload.contains(name);
    subscriber.look(|all| all.iter().filter(fits).count())
}

fn bodies(subscriber: &Subscriber, topic: &str) -> Vec<Value> {
    let messages = subscriber.messages();
    let fit = messages.iter().filter(|it| it.topic.contains(topic));
    fit.filter_map(|it| serde_json::from_str(&it.payload).ok()).collect()
}

fn results(subscriber: &Subscriber, number: u64) -> usize {
    let ours = |it: &&Value| it["number"] == number && it["outcome"] == "done";
    bodies(subscriber, "/command-result/").iter().filter(ours).count()
}

/// What the gateway said became of a command.
async fn result(subscriber: &Subscriber, number: u64) -> Value {
    eventually("a result", || results(subscriber, number) == 1).await;
    let all = bodies(subscriber, "/command-result/");
    all.into_iter().find(|it| it["number"] == number).unwrap()
}

/// The first receipt.
async fn receipt(subscriber: &Subscriber) -> Value {
    let receipts = || bodies(subscriber, "/event/gateway/consent_withdrawn");
    eventually("a receipt", || !receipts().is_empty()).await;
    receipts().swap_remove(0)["data"].clone()
}

/// Whether some bytes stand in any file of a directory.
fn in_files(directory: &Path, bytes: &[u8]) -> bool {
    // A file that goes while we look is one that the gateway has done with.
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return in_files(&path, bytes);
        }
        let contents = std::fs::read(&path).unwrap_or_default();
        contents.windows(bytes.len()).any(|window| window == bytes)
    })
}

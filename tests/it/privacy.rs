//! `privacy report`, by the real binary, with and without a gateway that runs.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use beacon_gateway::{
    clock::Clock,
    engine::{AddressKind, Advertisement, DeviceAddress, ReceiverId, Rssi, Uptime},
    gateway::{self, Request, Source},
    scan::{Heard, SourceEnds},
    settings::Loader,
};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::support::{eventually, free_port};

#[test]
fn without_a_gateway_the_report_says_so_and_still_tells_the_settings() {
    let shop = Shop::new();
    let report = shop.report();
    assert_eq!(report["state"], "never");
    assert_eq!(report["counters"], Value::Null);
    assert_eq!(report["gateway"]["store"], "s");
    let footfall = &report["footfall"];
    assert_eq!((&footfall["enabled"], &footfall["k"]), (&Value::from(true), &Value::from(12)));
    assert_eq!(report["registry"]["enrolled"]["kinds"]["customer"], 1);
    assert_eq!(report["registry"]["enrolled"]["live"]["presence"]["customer"], 1);
    assert_eq!(report["registry"]["sealed"], false);
    assert_eq!(report["retention"]["outbox_max_age"], "30d");
    let never = report["never_processed"].as_array().unwrap();
    for what in ["Exposure Notification", "Apple Find My", "Blood Pressure"] {
        assert!(never.iter().any(|it| it["what"] == what), "{what}");
    }
    let said = said(&shop.command().output().unwrap());
    assert!(said.contains("No gateway is running, and none has left counters here."), "{said}");
    assert!(said.contains("counting everybody") && said.contains("service 0xFD6F"), "{said}");
}

// The gateway has a thread of its own: this one waits for the reports.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_gateway_proves_with_its_counters_what_it_forgot() {
    let shop = Shop::new();
    let (requests, receiver) = mpsc::channel(1);
    let settings = Loader::files([shop.path("gateway.toml")]).load().unwrap();
    let source: Source = Box::new(|ends| {
        let SourceEnds { heard, mut stop, .. } = ends;
        Box::pin(async move {
            for n in 0..50 {
                heard.send(Heard::Advertisement(stranger(n))).await.unwrap();
            }
            stop.wait_for(|&stop| stop).await.unwrap();
        })
    });
    let task = tokio::spawn(gateway::run(settings, Clock::start(), source, receiver, || ()));
    // Its counters are shown once a second and written at the first interval after that.
    let running = || {
        let output = shop.command().arg("--json").output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        report["state"] == "running" && report["counters"]["values"]["engine"]["received"] == 50
    };
    eventually("the counters of the running gateway", running).await;
    let report = shop.report();
    let engine = &report["counters"]["values"]["engine"];
    assert_eq!((&engine["unknown"], &engine["refused"]), (&Value::from(50), &Value::from(25)));
    for law in report["laws"].as_array().unwrap() {
        assert_eq!(law["holds"], true, "{law}");
    }
    assert!(report["counters"]["age_s"].as_i64().unwrap() < 60);

    requests.send(Request::Stop).await.unwrap();
    task.await.unwrap().unwrap();
    let report = shop.report();
    assert_eq!(report["state"], "stopped");
    assert_eq!(report["counters"]["values"]["engine"]["received"], 50);
    let said = said(&shop.command().output().unwrap());
    assert!(said.contains("No gateway is running; it stopped in order."), "{said}");
    assert!(said.contains("of these never processed"), "{said}");
}

#[test]
fn the_report_names_nobody() {
    let shop = Shop::new();
    for output in [shop.command().output().unwrap(), shop.command().arg("--json").output().unwrap()]
    {
        let said = said(&output).to_lowercase();
        for secret in ["cust_1", "proof-7", "c0ffee", "c0:ff:ee"] {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }
}

/// Half of them carry an exposure notification.
fn stranger(n: u8) -> Advertisement {
    let data = if n.is_multiple_of(2) { vec![3, 0x03, 0x6f, 0xfd] } else { vec![2, 0x01, 0x06] };
    let address = DeviceAddress::new([0x40, 1, 2, 3, 4, n], AddressKind::Random);
    let rssi = Some(Rssi(-60));
    Advertisement::new(Uptime::ZERO, ReceiverId::default(), address, rssi, &data)
}

/// A directory with the files of one gateway.
struct Shop(tempfile::TempDir);

impl Shop {
    fn new() -> Self {
        let shop = Self(tempfile::tempdir().unwrap());
        let consent =
            r#"{"purposes":["presence"],"from":"2020-01-01T00:00:00Z","proof":"proof-7"}"#;
        let subject = format!(
            r#"{{"subject":"cust_1","kind":"customer","identifiers":[{{"address":"C0:FF:EE:00:00:01"}}],"consent":{consent}}}"#
        );
        std::fs::write(shop.path("registry.jsonl"), subject).unwrap();
        let toml = format!(
            "[gateway]\ntenant = \"t\"\nstore = \"s\"\nname = \"g\"\nstate_dir = \"{state}\"\n\
             [identity]\nregistry = \"{registry}\"\n\
             [footfall]\nenabled = true\nk = 12\n\
             [health]\nmetrics_interval = \"1s\"\n\
             [uplink]\nbroker = \"mqtt://127.0.0.1:{port}\"\n",
            state = shop.path("state").display(),
            registry = shop.path("registry.jsonl").display(),
            port = free_port(),
        );
        std::fs::write(shop.path("gateway.toml"), toml).unwrap();
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
        command.args(["privacy", "report", "--config"]).arg(self.path("gateway.toml"));
        command
    }

    fn report(&self) -> Value {
        let output = self.command().arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn said(output: &Output) -> String {
    let both = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8(both).unwrap()
}

//! What a newcomer sees: a recording of several receivers, a configuration that says where they hang,
//! and `replay`.

use std::{fmt::Write as _, fs, path::Path, process::Command, time::Duration};

use beacon_gateway::{
    engine::{AddressKind, UnixTime, Uptime},
    scan::simulate::{Plan, Settings, Shop},
};
use serde_json::Value;

/// 2026-11-21T10:15:00Z.
const STARTED: UnixTime = UnixTime::from_millis(1_795_256_100_000);

fn recording(shop: &mut Shop) -> String {
    let mut text =
        "{\"beacon_gateway_recording\":1,\"started\":\"2026-11-21T10:15:00Z\"}\n".to_owned();
    while let Some(reception) = shop.next_reception() {
        let heard = reception.advertisement;
        let seconds = heard.heard.since(Uptime::ZERO).as_secs_f64();
        let octets = heard.address().octets().map(|octet| format!("{octet:02X}")).join(":");
        let kind = if heard.address().kind() == AddressKind::Public { "public" } else { "random" };
        let (receiver, rssi) = (heard.receiver.as_str(), heard.rssi.unwrap().0);
        let adv = hex::encode(heard.data());
        writeln!(
            text,
            "{{\"t\":{seconds:.6},\"receiver\":\"{receiver}\",\"address\":\"{octets}\",\
             \"kind\":\"{kind}\",\"rssi\":{rssi},\"adv\":\"{adv}\"}}"
        )
        .unwrap();
    }
    text
}

fn config(plan: &Plan, registry: &Path) -> String {
    let mut text = format!(
        "[gateway]\ntenant = \"demo\"\nstore = \"shop\"\nname = \"gateway\"\n\
         [identity]\nregistry = \"{}\"\n\
         [presence]\nenter_rssi = -82.0\nexit_rssi = -88.0\nexit_timeout = \"5s\"\nmerge_gap = \"0s\"\n",
        registry.display()
    );
    for receiver in &plan.receivers {
        let (id, at) = (receiver.id.as_str(), receiver.at);
        writeln!(
            text,
            "[[receiver]]\nid = \"{id}\"\nposition = [{:?}, {:?}, {:?}]",
            at.x, at.y, at.z
        )
        .unwrap();
    }
    for zone in &plan.zones {
        let (x, y) = (&zone.x, &zone.y);
        let kind = if zone.name == "snacks" { "private" } else { "shelf" };
        writeln!(
            text,
            "[[zone]]\nid = \"{}\"\nkind = \"{kind}\"\n\
             polygon = [[{a:?}, {c:?}], [{b:?}, {c:?}], [{b:?}, {d:?}], [{a:?}, {d:?}]]",
            zone.name,
            a = x.start,
            b = x.end,
            c = y.start,
            d = y.end
        )
        .unwrap();
    }
    text
}

#[test]
fn a_recording_of_several_receivers_is_replayed_on_the_plan() {
    let plan = Plan::default().with_a_receiver_in_each_zone();
    let mut shop = Shop::new(
        2,
        &Settings {
            started: STARTED,
            length: Some(Duration::from_mins(2)),
            plan: plan.clone(),
            ..Settings::default()
        },
    );
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let registry = write("registry.jsonl", &shop.registry_jsonl());
    let walk = write("walk.jsonl", &recording(&mut shop));
    let config = write("gateway.toml", &config(&plan, &registry));
    let output = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"))
        .args(["replay", "--json", "--config"])
        .args([&config, &walk])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("snacks\",\"r") && !text.contains("\"snacks\""), "a private zone");
    let entered: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|event: &Value| event["type"] == "io.beacon-gateway.zone.entered.v1")
        .collect();
    assert!(entered.len() > 10, "{} entries", entered.len());
    assert!(entered.iter().all(|event| event["data"]["reason"] == "placed"));
    let zones = ["entrance", "checkout", "wine", "dairy"];
    for zone in zones {
        let named = entered.iter().filter(|event| event["data"]["zone"] == zone).count();
        assert!(named > 0, "nobody was placed in {zone}");
    }
}

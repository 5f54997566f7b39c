//! `scan --sensors` through the binary, with what remote receivers hear.

use std::{
    fs,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::support::{mosquitto::Mosquitto, publisher::Publisher};

const FIXTURE: &str = "A4:C1:38:00:00:01";
const NEW: &str = "A4:C1:38:5A:6B:7C";
const SEALED: &str = "A4:C1:38:5A:6B:7D";
const PHONE: &str = "D4:3A:2C:9E:51:7B";

const TEMPERATURE: &str = r#""servicedatauuid":"fcd2","servicedata":"4002ca09""#;
const ENCRYPTED: &str =
    r#""servicedatauuid":"fcd2","servicedata":"41a47266c95f730011223378237214""#;
const HANDOFF: &str = r#""manufacturerdata":"4c001005c0ffee""#;

/// Publishes what a foreign gateway hears, for as long as a process runs.
async fn until_it_ends(mut process: Child, port: u16) -> Output {
    let mut publisher = Publisher::new(port);
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    while process.try_wait().unwrap().is_none() {
        pace.tick().await;
        for (address, rssi, data) in [
            (FIXTURE, -70, TEMPERATURE),
            (NEW, -41, TEMPERATURE),
            (SEALED, -52, ENCRYPTED),
            (PHONE, -30, HANDOFF),
        ] {
            let topic = format!("home/west/BTtoMQTT/{}", address.replace(':', ""));
            let payload = format!(r#"{{"id":"{address}","rssi":{rssi},"mac_type":0,{data}}}"#);
            publisher.publish(&topic, payload.as_bytes()).await;
        }
    }
    process.wait_with_output().unwrap()
}

fn configuration(port: u16) -> String {
    format!(
        "[gateway]\ntenant = \"t\"\nstore = \"s\"\nname = \"g\"\n[scan]\nbackend = \"none\"\n\
         [uplink]\nbroker = \"mqtt://127.0.0.1:1\"\n[[zone]]\nid = \"cellar\"\n\
         [[fixture]]\nid = \"fridge\"\nzone = \"cellar\"\naddress = \"{FIXTURE}\"\n\
         [[remote]]\nid = \"west\"\nformat = \"theengs\"\ntopics = [\"home/west/BTtoMQTT/+\"]\n\
         broker = \"mqtt://127.0.0.1:{port}\"\n"
    )
}

#[tokio::test]
async fn a_technician_finds_the_new_sensor_pastes_its_lines_and_it_is_known() {
    let broker = Mosquitto::start("");
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (config, recording) = (path("gateway.toml"), path("heard.jsonl"));
    fs::write(&config, configuration(broker.port())).unwrap();
    let scan = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
        command.args(["scan", "--sensors", "--for", "3s", "--config", &config]).args(more);
        command.env_remove("CREDENTIALS_DIRECTORY").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };

    let output = until_it_ends(scan(&["--record", &recording]), broker.port()).await;
    let (said, log) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{log}");
    let table: Vec<&str> = said.lines().take_while(|line| !line.is_empty()).collect();
    assert!(table[1].contains("new") && table[1].contains("temperature_c 25.06 °C"), "{said}");
    assert!(table[2].contains("encrypted: needs its key"), "{said}");
    assert!(table[3].contains("fridge") && table[3].contains("-70"), "{said}");
    let (_, pasted) = said.split_once("where it is:\n").unwrap();
    assert!(pasted.contains(NEW) && pasted.contains("fixture-key-bthome-2"), "{said}");
    assert!(!said.contains(FIXTURE), "a fixture has a name: {said}");
    // Neither a phone's address nor that of a sensor goes anywhere else.
    let recorded = fs::read_to_string(&recording).unwrap();
    for needle in [PHONE, "D43A2C", "d43a2c", "C0FFEE", "c0ffee"] {
        assert!(!said.contains(needle) && !recorded.contains(needle), "{needle}: {said}");
    }
    for needle in [NEW, SEALED] {
        assert!(!recorded.contains(needle) && !log.contains(needle), "{needle}: {log}");
    }
    assert!(recorded.contains(FIXTURE), "fixtures are recorded as they are");

    fs::write(&config, configuration(broker.port()) + pasted).unwrap();
    let output = until_it_ends(scan(&["--json"]), broker.port()).await;
    let said = text(&output.stdout);
    let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let sensors = last["sensors"].as_array().unwrap();
    let ids: Vec<&Value> = sensors.iter().map(|sensor| &sensor["fixture"]).collect();
    assert_eq!(ids, ["bthome-1", "bthome-2", "fridge"], "{said}");
    let reading = &sensors[0]["readings"][0];
    assert_eq!((&reading["quantity"], &reading["unit"]), (&"temperature_c".into(), &"°C".into()));
    assert!(sensors.iter().all(|sensor| sensor["toml"].is_null()), "nothing is new: {said}");
    assert!(last["others"].as_u64().unwrap() > 0 && !said.contains("A4:C1:38"), "{said}");
}

#[test]
fn without_a_receiver_there_is_nothing_to_listen_with() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.toml");
    let alone = configuration(1);
    fs::write(&path, alone.split_once("[[remote]]").unwrap().0).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
    let output = command.args(["scan", "--sensors", "--config"]).arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("no receiver to listen with"));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

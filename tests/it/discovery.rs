//! What Home Assistant is told, by the real binary at a real mosquitto, as Home Assistant would see it:
//! retained, to whoever comes later.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use beacon_gateway::uplink::Protocol;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::support::{
    eventually, mosquitto::Mosquitto, publisher::Publisher, subscriber::Subscriber,
};

const FRIDGE: &str = "A4:C1:38:00:00:01";
const DOOR: &str = "A4:C1:38:00:00:02";

/// A directory with the files of one gateway, which hears a foreign one.
struct Shop {
    dir: tempfile::TempDir,
    broker: Mosquitto,
    protocol: Protocol,
}

/// A gateway that runs.
struct Daemon(Child);

impl Shop {
    fn new(protocol: Protocol, broker: &str) -> Self {
        let (dir, broker) = (tempfile::tempdir().unwrap(), Mosquitto::start(broker));
        Self { dir, broker, protocol }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, fixtures: &[(&str, &str)], on: bool) -> Daemon {
        let mut config = format!(
            "[gateway]\ntenant = \"t\"\nstore = \"s\"\nname = \"g\"\nstate_dir = {:?}\n\
             clock = \"always\"\n[scan]\nbackend = \"none\"\n[outbox]\ncommit_interval = \"5ms\"\n\
             [health]\nmetrics_interval = \"100ms\"\nstate_interval = \"100ms\"\n\
             [uplink]\nbroker = \"mqtt://127.0.0.1:{port}\"\nprotocol = \"{}\"\nbackoff_min = \"10ms\"\n\
             backoff_max = \"50ms\"\n[discovery]\nhome_assistant = {on}\n\
             [[zone]]\nid = \"dairy\"\n\
             [[remote]]\nid = \"west\"\nformat = \"theengs\"\ntopics = [\"home/west/BTtoMQTT/+\"]\n",
            self.path("state").display().to_string(),
            self.protocol,
            port = self.broker.port(),
        );
        for (id, address) in fixtures {
            write!(
                config,
                "[[fixture]]\nid = \"{id}\"\nzone = \"dairy\"\naddress = \"{address}\"\n\
                 report = {{ at_most_every = \"0s\" }}\n\
                 [[fixture.alert]]\nid = \"too_warm\"\nquantity = \"temperature_c\"\nabove = 8.0\n"
            )
            .unwrap();
        }
        fs::write(self.path("gateway.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
        command.args(["run", "--config"]).arg(self.path("gateway.toml"));
        command.env_remove("STATE_DIRECTORY").env_remove("CREDENTIALS_DIRECTORY");
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        Daemon(command.stdin(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// What somebody who subscribes now gets: topics and what the broker keeps there.
    async fn kept(&self, filter: &str) -> BTreeMap<String, Value> {
        let subscriber = Subscriber::start(self.protocol, self.broker.port(), filter).await;
        // What is kept comes before what is published after the subscription.
        let mark = format!("mark/{}", fastrand::u64(..));
        let marked = Subscriber::start(self.protocol, self.broker.port(), &mark).await;
        Publisher::new(self.broker.port()).publish(&mark, b"1").await;
        eventually("a mark", || !marked.messages().is_empty()).await;
        let kept = subscriber.messages().into_iter().filter(|message| message.retain);
        kept.map(|it| (it.topic, serde_json::from_str(&it.payload).unwrap())).collect()
    }

    /// Waits until the broker keeps what is wanted.
    async fn keeps(
        &self,
        what: &str,
        filter: &str,
        is: impl Fn(&BTreeMap<String, Value>) -> bool,
    ) -> BTreeMap<String, Value> {
        for _ in 0..200 {
            let kept = self.kept(filter).await;
            if is(&kept) {
                return kept;
            }
        }
        let log = fs::read_to_string(self.path("log")).unwrap();
        panic!("{what}: {:#?}\n{log}", self.kept(filter).await);
    }

    /// What a foreign gateway hears.
    async fn heard(&self, address: &str, service_data: &str) {
        let topic = format!("home/west/BTtoMQTT/{}", address.replace(':', ""));
        let payload = format!(
            r#"{{"id":"{address}","rssi":-60,"servicedatauuid":"fcd2","servicedata":"{service_data}"}}"#
        );
        Publisher::new(self.broker.port()).publish(&topic, payload.as_bytes()).await;
    }

    /// Has a fixture heard until the broker keeps what is wanted of it: the first times the gateway may
    /// not listen yet.
    async fn heard_until(
        &self,
        address: &str,
        data: &str,
        topic: &str,
        is: impl Fn(&Value) -> bool,
    ) {
        let has = |kept: &BTreeMap<String, Value>| kept.get(topic).is_some_and(&is);
        for _ in 0..200 {
            self.heard(address, data).await;
            if has(&self.kept(topic).await) {
                return;
            }
        }
        let log = fs::read_to_string(self.path("log")).unwrap();
        panic!("{topic}: {:#?}\n{log}", self.kept("#").await);
    }
}

impl Daemon {
    fn stop(mut self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

const STATE: &str = "beacon/v1/t/s/g/state/sensor/fridge";
const DOOR_STATE: &str = "beacon/v1/t/s/g/state/sensor/door";

/// BTHome, 25.06 °C and 4 °C, and a door that is open (bthome.io/format).
const WARM: &str = "4002ca09";
const COLD: &str = "40029001";
const OPEN: &str = "401a01";

#[tokio::test]
async fn home_assistant_finds_fixtures_their_latest_and_nothing_of_those_that_are_gone() {
    for protocol in [Protocol::V5, Protocol::V311] {
        let shop = Shop::new(protocol, "");
        let both = [("fridge", FRIDGE), ("door", DOOR)];
        let daemon = shop.start(&both, true);
        shop.heard_until(FRIDGE, COLD, STATE, |it| it["readings"]["temperature_c_0"] == 4.0).await;
        shop.heard_until(DOOR, OPEN, DOOR_STATE, |it| it["readings"]["door_open_0"] == 1.0).await;
        // The alert stands, and so does the value.
        let warm = |it: &Value| it["alerts"]["too_warm"] == true;
        shop.heard_until(FRIDGE, WARM, STATE, warm).await;
        let state = shop.kept(STATE).await.remove(STATE).unwrap();
        assert_eq!(state["readings"]["temperature_c_0"], 25.06);
        assert_eq!((&state["heard"], &state["zone"]), (&true.into(), &"dairy".into()));

        let described = shop.kept("homeassistant/#").await;
        let topics: Vec<&str> = described.keys().map(String::as_str).collect();
        assert_eq!(
            topics,
            [
                "homeassistant/binary_sensor/s_g/connection/config",
                "homeassistant/binary_sensor/s_g_door/alert_too_warm/config",
                "homeassistant/binary_sensor/s_g_door/door_open_0/config",
                "homeassistant/binary_sensor/s_g_fridge/alert_too_warm/config",
                "homeassistant/sensor/s_g_fridge/temperature_c_0/config",
            ]
        );
        let temperature = &described["homeassistant/sensor/s_g_fridge/temperature_c_0/config"];
        assert_eq!(temperature["state_topic"], STATE);
        assert_eq!(temperature["device_class"], "temperature");
        assert_eq!(temperature["unit_of_measurement"], "°C");
        assert_eq!(temperature["device"]["suggested_area"], "dairy");
        let gateway = &described["homeassistant/binary_sensor/s_g/connection/config"];
        assert_eq!(temperature["device"]["via_device"], gateway["device"]["identifiers"][0]);
        // Where availability comes from is there.
        let availability = temperature["availability"].as_array().unwrap();
        for topic in availability.iter().map(|it| it["topic"].as_str().unwrap()) {
            assert_eq!(shop.kept(topic).await.len(), 1, "{topic}");
        }
        daemon.stop();

        // A fixture that is gone from the configuration is gone from the broker.
        let daemon = shop.start(&both[..1], true);
        let gone = |kept: &BTreeMap<String, Value>| kept.len() == 3;
        let kept = shop.keeps("no door", "homeassistant/#", gone).await;
        assert!(kept.keys().all(|topic| !topic.contains("door")), "{kept:#?}");
        shop.keeps("no state of the door", DOOR_STATE, BTreeMap::is_empty).await;
        // It has not been heard since the start, so nothing is known of it.
        shop.keeps("nothing known", STATE, |it| it[STATE]["heard"] == false).await;
        shop.heard_until(FRIDGE, WARM, STATE, |it| it["heard"] == true).await;
        daemon.stop();

        // Switched off, nothing is left, and nothing is remembered.
        let daemon = shop.start(&both[..1], false);
        shop.keeps("nothing described", "homeassistant/#", BTreeMap::is_empty).await;
        shop.keeps("no state", "beacon/v1/t/s/g/state/sensor/#", BTreeMap::is_empty).await;
        let file = shop.path("state").join("discovery.json");
        eventually("nothing to remember", || !file.exists()).await;
        daemon.stop();
    }
}

#[tokio::test]
async fn a_broker_that_refuses_discovery_still_gets_every_event() {
    let dir = tempfile::tempdir().unwrap();
    let acl = dir.path().join("acl");
    fs::write(
        &acl,
        "topic readwrite beacon/v1/#\ntopic readwrite home/#\ntopic readwrite mark/#\n",
    )
    .unwrap();
    let shop = Shop::new(Protocol::V5, &format!("acl_file {}", acl.display()));
    let events = Subscriber::start(Protocol::V5, shop.broker.port(), "beacon/v1/t/s/g/#").await;
    let daemon = shop.start(&[("fridge", FRIDGE)], true);
    for value in (0..200_u8).cycle().map(|value| format!("4002{value:02x}09")) {
        shop.heard(FRIDGE, &value).await;
        let told = events.on("/metrics").into_iter().any(|metrics| {
            let metrics: Value = serde_json::from_str(&metrics.payload).unwrap();
            // Three descriptions; then the broker is left in peace.
            metrics["discovery"]["refused"] == 3 && metrics["discovery"]["online"] == false
        });
        if told && events.on("/event/sensor/measured").len() > 10 {
            break;
        }
    }
    let log = fs::read_to_string(shop.path("log")).unwrap();
    for said in ["does not take a message for Home Assistant", "left in peace"] {
        assert_eq!(log.matches(said).count(), 1, "{said}: {log}");
    }
    daemon.stop();
}

//! What foreign gateways publish, in the forms that their projects document: a member's iBeacon, and a
//! stranger.

use base64::{Engine, engine::general_purpose::STANDARD};
use beacon_gateway::clock::Clock;

use crate::support::publisher::Publisher;

/// The UUID of the members' beacons; each format's member has its place as the minor number.
pub(super) const UUID: &str = "abababababababababababababababab";

/// Parts of the stranger's address and data, in lower case, as any format writes them.
pub(super) const NEEDLES: [&str; 6] =
    ["d4:3a:2c", "d43a2c", "9e:51:7b", "9e517b", "c0ffee00", "wp/ua"];

const STRANGER: &str = "D4:3A:2C:9E:51:7B";
/// Manufacturer data of nobody's company.
const STRANGERS_DATA: &str = "ffffc0ffee00112233";

/// One foreign gateway.
#[derive(Clone, Copy)]
pub(super) struct Foreign {
    pub(super) name: &'static str,
    pub(super) format: &'static str,
    /// What is subscribed to.
    pub(super) filter: &'static str,
    /// Where it may publish anything.
    pub(super) topic: &'static str,
    /// It has a broker of its own, not the platform's.
    pub(super) own_broker: bool,
    pub(super) protocol: &'static str,
    minor: u16,
}

const fn foreign(
    name: &'static str,
    filter: &'static str,
    topic: &'static str,
    minor: u16,
) -> Foreign {
    Foreign { name, format: name, filter, topic, own_broker: true, protocol: "5", minor }
}

pub(super) const FOREIGN: [Foreign; 6] = [
    foreign("openmqttgateway", "home/OMG/BTtoMQTT/#", "home/OMG/BTtoMQTT/D43A2C9E517B", 1),
    foreign(
        "theengs",
        "home/TheengsGateway/BTtoMQTT/+",
        "home/TheengsGateway/BTtoMQTT/D43A2C9E517B",
        2,
    ),
    foreign(
        "espresense",
        "espresense/devices/+/kitchen",
        "espresense/devices/d43a2c9e517b/kitchen",
        3,
    ),
    Foreign {
        own_broker: false,
        ..foreign(
            "ruuvi",
            "ruuvi/C8:25:2D:8E:9C:2C/+",
            "ruuvi/C8:25:2D:8E:9C:2C/D4:3A:2C:9E:51:7B",
            4,
        )
    },
    foreign("shelly", "shellyblugwg3-a/events/rpc", "shellyblugwg3-a/events/rpc", 5),
    Foreign {
        protocol: "3.1.1",
        ..foreign("minew", "/gw/ac233fc00001/status", "/gw/ac233fc00001/status", 6)
    },
];

pub(super) fn named(name: &str) -> Foreign {
    FOREIGN.into_iter().find(|it| it.name == name).unwrap()
}

/// Seconds since 1970, now.
fn now() -> String {
    let millis = Clock::start().wall().unix.as_millis();
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// One of Minew's lists of so many devices, which nobody is.
pub(super) fn strangers(count: u64) -> String {
    let entry = |n: u64| format!(r#"{{"mac":"D43A2C{n:06X}","rssi":-50,"rawData":"020106"}}"#);
    format!("[{}]", (0..count).map(entry).collect::<Vec<_>>().join(","))
}

impl Foreign {
    /// The number that the member's beacon has.
    pub(super) fn minor(&self) -> u16 {
        self.minor
    }

    pub(super) async fn publish_member(&self, publisher: &mut Publisher) {
        let minor = self.minor;
        let beacon = format!("4c000215{UUID}0001{minor:04x}c5");
        let id = format!("iBeacon:abababab-abab-abab-abab-abababababab-1-{minor}");
        let payload = self.payload("C0:11:22:33:44:55", &beacon, &id);
        publisher.publish(&self.about("C0:11:22:33:44:55", &id), payload.as_bytes()).await;
    }

    pub(super) async fn publish_stranger(&self, publisher: &mut Publisher) {
        let id = "d43a2c9e517b";
        let payload = self.payload(STRANGER, STRANGERS_DATA, id);
        publisher.publish(&self.about(STRANGER, id), payload.as_bytes()).await;
    }

    /// The topic of a device, where it has one.
    fn about(&self, address: &str, id: &str) -> String {
        match self.format {
            "openmqttgateway" => format!("home/OMG/BTtoMQTT/{}", address.replace(':', "")),
            "theengs" => format!("home/TheengsGateway/BTtoMQTT/{}", address.replace(':', "")),
            "espresense" => format!("espresense/devices/{id}/kitchen"),
            "ruuvi" => format!("ruuvi/C8:25:2D:8E:9C:2C/{address}"),
            _ => self.topic.to_owned(),
        }
    }

    /// An advertisement with manufacturer data, given as hexadecimal.
    fn payload(&self, address: &str, data: &str, id: &str) -> String {
        let raw = format!("020106{:02x}ff{data}", data.len() / 2 + 1);
        let short = address.replace(':', "");
        let now = now();
        match self.format {
            "openmqttgateway" => format!(
                r#"{{"id":"{address}","mac_type":1,"adv_type":0,"name":"{address}","manufacturerdata":"{data}","rssi":-50,"distance":1.2}}"#
            ),
            "theengs" => {
                format!(r#"{{"manufacturerdata":"{data}","id":"{address}","rssi":-50}}"#)
            }
            "espresense" => format!(
                r#"{{"mac":"{}","id":"{id}","rssi@1m":-59,"rssi":-50.25,"rxAdj":20,"rssiVar":1.84,"distance":0.42,"var":0.21,"int":1032}}"#,
                short.to_lowercase()
            ),
            "ruuvi" => format!(
                r#"{{"gw_mac":"C8:25:2D:8E:9C:2C","rssi":-50,"aoa":[],"gwts":"{now}","ts":"{now}","data":"{}","coords":""}}"#,
                raw.to_uppercase()
            ),
            "shelly" => format!(
                r#"{{"src":"shellyblugwg3-a","dst":"shellyblugwg3-a/events","method":"NotifyEvent","params":{{"ts":{now},"events":[{{"component":"script:1","id":1,"event":"ble.scan_result","data":[2,[["{}",-50,"{}",""]]],"ts":{now}}}]}}}}"#,
                address.to_lowercase(),
                STANDARD.encode(hex::decode(raw).unwrap())
            ),
            "minew" => format!(
                r#"[{{"timestamp":{now},"type":"Gateway","mac":"AC233FC00001","gatewayFree":98,"gatewayLoad":0.05}},{{"timestamp":{now},"type":"Unknown","mac":"{short}","bleName":"","rssi":-50,"rawData":"{}"}}]"#,
                raw.to_uppercase()
            ),
            other => panic!("there is no format {other}"),
        }
    }
}

//! `ESPresense`: `espresense/devices/<id>/<room>`, one device a message, named by an identifier.
//!
//! `ESPresense/ESPresense`, `src/BleFingerprint.cpp` (`fingerprint…`, `setId`, `fill`) and
//! `src/main.cpp` (`sendTelemetry`). There are no advertising data in its messages. What is put back:
//!
//! | identifier | is |
//! |---|---|
//! | `iBeacon:<uuid>-<major>-<minor>` | the iBeacon |
//! | `eddy:<namespace>-<instance>` | the Eddystone-UID; it writes the fifth octet of the namespace twice |
//! | `known:<address>`, `<address>` | the address alone |
//! | `irk:<key>` | the address alone, from `mac`: our own registry resolves it. The key is not read |
//! | `exp:`, `smarttag:`, `apple:findmy`, `apple:12…` | what is never processed |
//! | everything else (`name:`, `md:`, `sd:`, an alias, …) | the address alone, from `mac` |
//!
//! `altBeacon:` is among everything else: it is given only to what is no `AltBeacon`, because the
//! company identifier is compared with the beacon code.

use serde::Deserialize;

use super::{
    format::{Message, Refusal, Sighting, Sign},
    json,
    structures::{Never, Structures},
};
use crate::engine::DeviceAddress;

/// What is used of a message. `irk`, which some have, is a secret and not among it.
#[derive(Deserialize)]
struct Published {
    id: Option<String>,
    mac: Option<String>,
    /// The median of some seconds, with the node's own adjustment.
    rssi: Option<f64>,
    /// The loudness at one metre.
    #[serde(rename = "rssi@1m")]
    power: Option<f64>,
}

#[derive(Deserialize)]
struct Telemetry {
    /// How many advertisements were seen.
    adverts: Option<u64>,
}

/// The loudness at one metre of a beacon that claims none.
const COMMON_POWER: i8 = -59;

/// What Eddystone's power, at no distance, is above that at one metre, in dB (its specification of
/// UID frames).
const EDDYSTONE_AT_ZERO: i8 = 41;

pub(super) fn read(topic: &str, payload: &[u8]) -> Result<Message, Refusal> {
    let levels: Vec<&str> = topic.rsplitn(4, '/').collect();
    match levels.as_slice() {
        [_room, id, "devices", ..] => heard(id, payload),
        ["telemetry", _room, "rooms", ..] => {
            let telemetry: Telemetry = json::object(payload)?;
            Ok(telemetry.adverts.map(Sign::Count).map(Message::sign).unwrap_or_default())
        }
        ["status", _room, "rooms", ..] => {
            Ok(Sign::read(payload).map(Message::sign).unwrap_or_default())
        }
        _ => Ok(Message::default()),
    }
}

fn heard(id: &str, payload: &[u8]) -> Result<Message, Refusal> {
    let published: Published = json::object(payload)?;
    let id = published.id.as_deref().unwrap_or(id);
    let data = data(id, published.power)?;
    let address = match (&published.mac, id.strip_prefix("known:").unwrap_or(id)) {
        (Some(mac), _) => json::address(mac, None)?,
        (None, id) => match json::address(id, None) {
            Ok(address) => address,
            Err(_) if !data.is_empty() => DeviceAddress::UNKNOWN,
            Err(refusal) => return Err(refusal),
        },
    };
    Sighting::new(address, published.rssi, data, None).map(Message::one)
}

/// Rebuilds what an identifier names.
fn data(id: &str, power: Option<f64>) -> Result<Vec<u8>, Refusal> {
    let mut data = Structures::default();
    let (kind, name) = id.split_once(':').unwrap_or((id, ""));
    match kind {
        "iBeacon" => {
            let mut parts = name.rsplitn(3, '-');
            let (minor, major, uuid) = (parts.next(), parts.next(), parts.next());
            let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
            let numbers = number(major).zip(number(minor)).ok_or(Refusal::Data)?;
            let uuid = json::uuid(uuid.ok_or(Refusal::Data)?)?;
            data.ibeacon(uuid, numbers, whole(power).unwrap_or(COMMON_POWER))?;
        }
        "eddy" => {
            let (namespace, instance) = name.split_once('-').ok_or(Refusal::Data)?;
            let instance = json::octets(instance)?.try_into().map_err(|_| Refusal::Data)?;
            let power = whole(power).unwrap_or(COMMON_POWER);
            let power = power.saturating_add(EDDYSTONE_AT_ZERO);
            data.eddystone_uid(&eddystone_namespace(namespace)?, instance, power)?;
        }
        "exp" => data.never(Never::Exposure)?,
        "smarttag" => data.never(Never::SmartTag)?,
        "apple" if name == "findmy" || name.starts_with("12") => data.never(Never::FindMy)?,
        _ => {}
    }
    Ok(data.finish())
}

/// Ten octets, or eleven of which the fifth and the sixth are the same one.
fn eddystone_namespace(text: &str) -> Result<[u8; 10], Refusal> {
    let mut octets = json::octets(text)?;
    if let [_, _, _, _, fifth, again, _, _, _, _, _] = octets.as_slice()
        && fifth == again
    {
        octets.remove(5);
    }
    octets.try_into().map_err(|_| Refusal::Data)
}

#[expect(clippy::cast_possible_truncation, reason = "what does not fit is left out")]
fn whole(power: Option<f64>) -> Option<i8> {
    let power = power.filter(|dbm| (-127.0..=20.0).contains(dbm))?;
    Some(power.round() as i8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        AddressKind,
        frame::{self, Frame, never_processed},
        parse_octets,
    };

    fn on(id: &str) -> String {
        format!("espresense/devices/{id}/kitchen")
    }

    fn one(id: &str, payload: &str) -> Sighting {
        let mut message = read(&on(id), payload.as_bytes()).unwrap();
        assert!(message.refused.is_empty());
        message.sightings.pop().unwrap()
    }

    #[test]
    fn an_ibeacon_is_rebuilt_from_its_identifier() {
        // Fields and their order as `fill` writes them.
        let id = "iBeacon:1d4b2e16-481e-4579-8b35-ffc32e4a1758-100-1";
        let it = one(
            id,
            &format!(
                r#"{{"mac":"5a3f1c9d0e42","id":"{id}","name":"tag","rssi@1m":-59,"rssi":-72.35,"rxAdj":20,"rssiVar":1.84,"distance":3.42,"var":0.21,"int":1032}}"#
            ),
        );
        assert_eq!(it.rssi, Some(-72.35));
        let octets = parse_octets("5a3f1c9d0e42").unwrap();
        assert_eq!(it.address, DeviceAddress::new(octets, AddressKind::Random));
        let expected = "1aff4c0002151d4b2e16481e45798b35ffc32e4a175800640001c5";
        assert_eq!(hex::encode(it.data), expected);
    }

    #[test]
    fn an_older_node_says_no_address_and_its_beacon_is_known_all_the_same() {
        let id = "iBeacon:e2c56db5-dffb-48d2-b060-d0f5a71096e0-1-65535";
        let it = one(id, r#"{"rssi@1m":-65,"rssi":-99,"raw":9.36,"distance":8.88,"speed":0.1}"#);
        assert_eq!(it.address, DeviceAddress::UNKNOWN);
        assert!(matches!(
            frame::decode(&it.data).unwrap().as_slice(),
            [Frame::IBeacon(beacon)] if beacon.minor == 65535 && beacon.measured_power == -65
        ));
    }

    #[test]
    fn an_eddystone_uid_is_rebuilt_although_an_octet_is_written_twice() {
        for namespace in ["0102030405060708090a", "010203040505060708090a"] {
            let id = format!("eddy:{namespace}-0b0c0d0e0f10");
            let it = one(&id, &format!(r#"{{"id":"{id}","mac":"aabbccddeeff","rssi":-70}}"#));
            let frames = frame::decode(&it.data).unwrap();
            let [Frame::EddystoneUid(uid)] = frames.as_slice() else { panic!("{namespace}") };
            assert_eq!(uid.namespace, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
            assert_eq!(uid.instance, [11, 12, 13, 14, 15, 16]);
        }
    }

    #[test]
    fn of_other_identifiers_the_address_remains_and_no_key_is_read() {
        let irk = "irk:00112233445566778899aabbccddeeff";
        let with_mac =
            r#"{"mac":"5a3f1c9d0e42","rssi":-60,"irk":"00112233445566778899aabbccddeeff"}"#;
        for id in [irk, "name:watch", "md:0157:24", "apple:1005:9-20", "tile:5a3f1c9d0e42", "joe"] {
            let it = one(id, with_mac);
            assert_eq!((it.address.octets()[0], it.data.len()), (0x5a, 0), "{id}");
        }
        for id in ["c01122334455", "known:c01122334455"] {
            assert_eq!(one(id, r#"{"rssi":-60}"#).address.octets()[0], 0xc0, "{id}");
        }
    }

    #[test]
    fn what_is_never_processed_is_handed_on_as_what_it_is() {
        for id in ["exp:20", "smarttag:20", "apple:findmy", "apple:1219:29", "apple:1202:6-8"] {
            let it = one(id, r#"{"mac":"5a3f1c9d0e42","rssi":-60}"#);
            assert!(never_processed(&it.data), "{id}");
        }
    }

    #[test]
    fn telemetry_counts_and_status_is_a_word() {
        let sign = |topic: &str, payload: &str| read(topic, payload.as_bytes()).unwrap().sign;
        let telemetry = r#"{"ip":"192.168.1.9","uptime":99,"rssi":-50,"adverts":1234,"seen":9}"#;
        assert_eq!(sign("espresense/rooms/kitchen/telemetry", telemetry), Some(Sign::Count(1234)));
        assert_eq!(sign("espresense/rooms/kitchen/telemetry", "{}"), None);
        assert_eq!(sign("espresense/rooms/kitchen/status", "online"), Some(Sign::Online));
        assert_eq!(sign("espresense/rooms/kitchen/status", "offline"), Some(Sign::Offline));
        let nothing = Ok(Message::default());
        assert_eq!(read("espresense/rooms/kitchen/max_distance", b"16.00"), nothing);
        assert_eq!(read("espresense/devices/c01122334455/kitchen/battery", b"{}"), nothing);
        assert_eq!(read("", b""), nothing);
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        let refused = |id: &str, payload: &str| read(&on(id), payload.as_bytes()).unwrap_err();
        assert_eq!(refused("c01122334455", "online"), Refusal::NotJson);
        assert_eq!(refused("c01122334455", "[]"), Refusal::Shape);
        assert_eq!(refused("c01122334455", r#"{"rssi":"-60"}"#), Refusal::Shape);
        assert_eq!(refused("c01122334455", r#"{"rssi":60}"#), Refusal::Rssi);
        assert_eq!(refused("c01122334455", r#"{"mac":"c011","rssi":-60}"#), Refusal::Address);
        for id in ["irk:00112233445566778899aabbccddeeff", "name:watch", "joe"] {
            assert_eq!(refused(id, r#"{"rssi":-60}"#), Refusal::Address, "{id}");
        }
        let uuid = "e2c56db5-dffb-48d2-b060-d0f5a71096e0";
        for id in [
            "iBeacon:",
            "iBeacon:1-2",
            &format!("iBeacon:{uuid}-1-65536"),
            &format!("iBeacon:{uuid}x-1-2"),
            "eddy:",
            "eddy:0102-0304",
            "eddy:010203040506070809 0a-0b0c0d0e0f10",
        ] {
            assert_eq!(refused(id, r#"{"mac":"c01122334455","rssi":-60}"#), Refusal::Data, "{id}");
        }
    }
}

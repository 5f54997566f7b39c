//! `OpenMQTTGateway` and Theengs Gateway: `…/BTtoMQTT/<address>`, one advertisement a message.
//!
//! Fields: `1technophile/OpenMQTTGateway`, `main/ZgatewayBT.cpp` (`procBLETask`,
//! `PublishDeviceData`, `stateBTMeasures`) and `docs/use/ble.md`; `theengs/gateway`,
//! `TheengsGateway/ble_gateway.py`. With `pubadvdata` (there) or `publish_advdata` (here) a message
//! carries manufacturer data and service data as they were sent, and they are put back. Without, it
//! carries what the decoder of those projects made of them: an iBeacon is rebuilt from that
//! (`theengs/decoder`, `src/devices/iBeacon_json.h`), of everything else the address remains.

use serde::Deserialize;
use serde_json::Value;

use super::{
    format::{Message, Refusal, Sighting, Sign},
    json::{self, Stamp, When},
    structures::{Never, Service, Structures},
};
use crate::engine::AddressKind;

/// What is used of a message. Fields whose type depends on the device are values.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Published {
    id: Option<String>,
    /// The address, when `id` is a beacon's UUID (`presuseuuid`).
    mac: Option<String>,
    /// 0 public, 1 random, 2 and 3 the same, resolved by the controller (`NimBLEAddress.h`).
    mac_type: Option<Value>,
    rssi: Option<f64>,
    manufacturerdata: Option<String>,
    servicedata: Option<String>,
    servicedatauuid: Option<String>,
    model_id: Option<Value>,
    uuid: Option<Value>,
    major: Option<Value>,
    minor: Option<Value>,
    /// The loudness at one metre that an iBeacon claims, by its newer and older names.
    txpower: Option<Value>,
    power: Option<Value>,
    unixtime: When,
    #[serde(rename = "UTCtime")]
    utctime: When,
    /// How many scans found anything.
    scnct: Option<u64>,
}

/// The loudness at one metre of a beacon that claims none: what Apple's own transmit.
const COMMON_POWER: i8 = -59;

pub(super) fn read(_topic: &str, payload: &[u8]) -> Result<Message, Refusal> {
    if let Some(sign) = Sign::read(payload) {
        return Ok(Message::sign(sign));
    }
    let published: Published = json::object(payload)?;
    // What has no loudness was not heard just now: answers to commands, trackers that are away.
    // What has no `id` is about the gateway itself, whose own `mac` is in there, too.
    let (Some(id), Some(rssi)) = (&published.id, published.rssi) else {
        return Ok(published.scnct.map(Sign::Count).map(Message::sign).unwrap_or_default());
    };
    let address = json::address(published.mac.as_ref().unwrap_or(id), published.kind())?;
    let data = published.data()?;
    let sighting = Sighting::new(address, Some(rssi), data, published.stamp())?;
    Ok(Message::one(sighting))
}

impl Published {
    fn kind(&self) -> Option<AddressKind> {
        match self.mac_type.as_ref()?.as_u64()? {
            0 | 2 => Some(AddressKind::Public),
            1 | 3 => Some(AddressKind::Random),
            _ => None,
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        self.unixtime.0.or(self.utctime.0)
    }

    fn data(&self) -> Result<Vec<u8>, Refusal> {
        let mut data = Structures::default();
        if let Some(manufacturer) = &self.manufacturerdata {
            data.manufacturer(&json::octets(manufacturer)?)?;
        }
        // Older versions leave the UUID out; without it nobody knows what the data says.
        if let (Some(service), Some(uuid)) = (&self.servicedata, &self.servicedatauuid) {
            data.service(Service::read(uuid)?, &json::octets(service)?)?;
        }
        if self.manufacturerdata.is_none() && self.servicedata.is_none() {
            self.rebuild(&mut data)?;
        }
        Ok(data.finish())
    }

    /// Puts back what the decoder took apart.
    fn rebuild(&self, data: &mut Structures) -> Result<(), Refusal> {
        match self.model_id.as_ref().and_then(Value::as_str) {
            // `theengs/decoder`, `src/devices/GAEN_json.h`.
            Some("GAEN") => data.never(Never::Exposure),
            Some("IBEACON") => {
                let uuid = self.uuid.as_ref().and_then(Value::as_str).ok_or(Refusal::Data)?;
                let numbers = (number(self.major.as_ref())?, number(self.minor.as_ref())?);
                let power = self.txpower.as_ref().or(self.power.as_ref());
                let power = power.and_then(Value::as_i64).and_then(|it| i8::try_from(it).ok());
                data.ibeacon(json::uuid(uuid)?, numbers, power.unwrap_or(COMMON_POWER))
            }
            _ => Ok(()),
        }
    }
}

fn number(value: Option<&Value>) -> Result<u16, Refusal> {
    let number = value.and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok());
    number.ok_or(Refusal::Data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{DeviceAddress, parse_octets};

    fn one(payload: &str) -> Sighting {
        let mut message = read("home/OMG/BTtoMQTT/x", payload.as_bytes()).unwrap();
        assert!(message.refused.is_empty());
        message.sightings.pop().unwrap()
    }

    fn refused(payload: &str) -> Refusal {
        read("home/OMG/BTtoMQTT/x", payload.as_bytes()).unwrap_err()
    }

    #[test]
    fn manufacturer_data_comes_back_as_it_was_sent() {
        // Field names as in `procBLETask`; the iBeacon of a Minew tag.
        let it = one(r#"{"id":"AC:23:3F:A0:31:FA","mac_type":0,"adv_type":0,"name":"tag",
            "manufacturerdata":"4c000215fda50693a4e24fb1afcfc6eb0764782527124200c5",
            "rssi":-74,"distance":3.1}"#);
        assert_eq!(it.rssi, Some(-74.0));
        let octets = parse_octets("AC233FA031FA").unwrap();
        assert_eq!(it.address, DeviceAddress::new(octets, AddressKind::Public));
        let expected = "1aff4c000215fda50693a4e24fb1afcfc6eb0764782527124200c5";
        assert_eq!(hex::encode(it.data), expected);
    }

    #[test]
    fn service_data_comes_back_under_its_uuid_in_either_projects_spelling() {
        for uuid in ["0xfcd2", "fcd2", "0000fcd2-0000-1000-8000-00805f9b34fb"] {
            let it = one(&format!(
                r#"{{"id":"a4:c1:38:56:53:84","mac_type":1,"rssi":-60,
                    "servicedatauuid":"{uuid}","servicedata":"4002ca09"}}"#
            ));
            assert_eq!(hex::encode(it.data), "0716d2fc4002ca09");
            assert_eq!(it.address.kind(), AddressKind::Random, "as the gateway says");
        }
    }

    #[test]
    fn an_ibeacon_is_rebuilt_from_what_the_decoder_made_of_it() {
        // `docs/use/ble.md` of OpenMQTTGateway, "use iBeacon UUID for presence", both forms.
        let plain = one(
            r#"{"id":"60:87:57:4C:9B:C2","mac_type":1,"rssi":-78,"distance":7.85288,"brand":"GENERIC","model":"iBeacon","model_id":"IBEACON","mfid":"4c00","uuid":"1de4b189115e45f6b44e509352269977","major":0,"minor":0,"txpower":-66}"#,
        );
        let by_uuid = one(
            r#"{"id":"1de4b189115e45f6b44e509352269977","mac_type":1,"rssi":-78,"distance":7.85288,"brand":"GENERIC","model":"iBeacon","model_id":"IBEACON","mfid":"4c00","uuid":"1de4b189115e45f6b44e509352269977","major":0,"minor":0,"txpower":-66,"mac":"60:87:57:4C:9B:C2"}"#,
        );
        assert_eq!(plain, by_uuid);
        let expected = "1aff4c0002151de4b189115e45f6b44e50935226997700000000be";
        assert_eq!(hex::encode(plain.data), expected);
    }

    #[test]
    fn of_what_was_decoded_otherwise_the_address_remains() {
        let it = one(r#"{"id":"4C:65:A8:D0:6D:C8","rssi":-52,"model_id":"LYWSD03MMC_ATC",
            "tempc":21.4,"hum":53,"power":12.5,"uuid":7,"unixtime":1679015107}"#);
        assert!(it.data.is_empty());
        assert_eq!(it.stamp, Some(Stamp::from_micros(1_679_015_107_000_000)));
        // The first example of `docs/use/ble.md`: service data without its UUID.
        let it = one(r#"{"id":"45:e1:74:12:6e:00","rssi":-89,"distance":21.51847,
            "servicedata":"fe0000000000000000000000000000000000000000"}"#);
        assert!(it.data.is_empty());
    }

    #[test]
    fn an_exposure_notification_is_still_known_for_what_it_is_when_it_was_decoded() {
        let it = one(r#"{"id":"4C:65:A8:D0:6D:C8","rssi":-52,"model_id":"GAEN","type":"RMAC",
            "rpi":"e7c6d34c71e48baf278bd99be74685bc","aem":"a78126ab"}"#);
        assert!(crate::engine::frame::never_processed(&it.data));
    }

    #[test]
    fn what_is_about_the_gateway_is_a_sign_or_nothing() {
        let sign = |payload: &str| read("home/OMG/LWT", payload.as_bytes()).unwrap().sign;
        assert_eq!(sign("online"), Some(Sign::Online));
        assert_eq!(sign("offline"), Some(Sign::Offline));
        // `stateBTMeasures`, and the gateway's own state with its own address.
        assert_eq!(
            sign(r#"{"bleconnect":true,"interval":55555,"scnct":42}"#),
            Some(Sign::Count(42))
        );
        let own = r#"{"uptime":12,"version":"v1.8","mac":"24:0A:C4:00:00:01","rssi":-50}"#;
        assert_eq!(read("home/OMG/SYStoMQTT", own.as_bytes()), Ok(Message::default()));
        let answer = r#"{"id":"AA:BB:CC:DD:EE:FF","service":"x","write":"TEST","success":true}"#;
        assert_eq!(read("home/OMG/BTtoMQTT/x", answer.as_bytes()), Ok(Message::default()));
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        assert_eq!(refused(""), Refusal::NotJson);
        assert_eq!(refused(r#"{"id":"AA:BB:CC:DD:EE:FF","rssi":-5"#), Refusal::NotJson);
        assert_eq!(refused(r#"["id"]"#), Refusal::Shape);
        assert_eq!(refused(r#"{"id":["AA"],"rssi":-60}"#), Refusal::Shape);
        assert_eq!(refused(r#"{"id":"tag","rssi":-60}"#), Refusal::Address);
        assert_eq!(refused(r#"{"id":"AA:BB:CC:DD:EE:FF","rssi":-600}"#), Refusal::Rssi);
        let with = |rest: &str| refused(&format!(r#"{{"id":"AABBCCDDEEFF","rssi":-60,{rest}}}"#));
        assert_eq!(with(r#""manufacturerdata":"4c0""#), Refusal::Data);
        assert_eq!(with(r#""servicedata":"zz","servicedatauuid":"fcd2""#), Refusal::Data);
        assert_eq!(with(r#""servicedata":"00","servicedatauuid":"fcd""#), Refusal::Data);
        assert_eq!(with(r#""model_id":"IBEACON","uuid":"12","major":1,"minor":2"#), Refusal::Data);
        let uuid = "00".repeat(16);
        let numbers = format!(r#""model_id":"IBEACON","uuid":"{uuid}","major":65536,"minor":2"#);
        assert_eq!(with(&numbers), Refusal::Data);
    }
}

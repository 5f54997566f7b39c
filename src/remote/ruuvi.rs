//! Ruuvi Gateway: `<prefix>/<gateway>/<address>`, one advertisement a message, data as sent.
//!
//! `ruuvi/docs`, `gw-data-formats/mqtt-time-stamped-data-from-bluetooth-sensors.md`,
//! `mqtt-data-from-bluetooth-sensors-without-timestamps.md` and `gw-examples/mqtt-examples.md`.
//! `ts` is when it was heard, `gwts` when it was relayed.

use serde::Deserialize;

use super::{
    format::{Message, Refusal, Sighting, Sign},
    json::{self, When},
};

#[derive(Deserialize)]
struct Published {
    rssi: Option<f64>,
    data: String,
    #[serde(default)]
    ts: When,
    #[serde(default)]
    gwts: When,
}

#[derive(Deserialize)]
struct Status {
    state: Option<String>,
}

pub(super) fn read(topic: &str, payload: &[u8]) -> Result<Message, Refusal> {
    let last = topic.rsplit('/').next().unwrap_or_default();
    if last == "gw_status" {
        return Ok(status(payload).map(Message::sign).unwrap_or_default());
    }
    let address = json::address(last, None)?;
    let published: Published = json::object(payload)?;
    let data = json::octets(&published.data)?;
    let sighting = Sighting::new(address, published.rssi, data, published.ts.0)?;
    Ok(Message { sent: published.gwts.0, ..Message::one(sighting) })
}

/// A word, or an object that has it.
fn status(payload: &[u8]) -> Option<Sign> {
    if let Some(sign) = Sign::read(payload) {
        return Some(sign);
    }
    let status: Status = json::object(payload).ok()?;
    Sign::read(status.state?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{super::json::Stamp, *};
    use crate::engine::frame::{self, Frame};

    const TOPIC: &str = "ruuvi/C8:25:2D:8E:9C:2C/F4:1F:0C:28:CB:D6";

    #[test]
    fn the_documented_message_is_read_with_and_without_times() {
        // The examples of both schemas.
        let with = br#"{"gw_mac":"C8:25:2D:8E:9C:2C","rssi":-26,"aoa":[],"gwts":"1653668028","ts":"1653668027","data":"0201061BFF99040515AE4C6DC6D7000CFFF803F4ADB6AD697FF41F0C28CBD6","coords":""}"#;
        let message = read(TOPIC, with).unwrap();
        let [it] = message.sightings.as_slice() else { panic!("{message:?}") };
        assert_eq!((it.rssi, it.data.len()), (Some(-26.0), 31));
        assert_eq!(it.stamp, Some(Stamp::from_micros(1_653_668_027_000_000)));
        assert_eq!(message.sent, Some(Stamp::from_micros(1_653_668_028_000_000)));
        assert_eq!(it.address.octets(), [0xf4, 0x1f, 0x0c, 0x28, 0xcb, 0xd6]);
        assert!(matches!(frame::decode(&it.data).unwrap().as_slice(), [Frame::Ruuvi(_)]));

        let without = br#"{"gw_mac":"C8:25:2D:8E:9C:2C","rssi":-25,"aoa":[],"cnt":"338","data":"0201061BFF990405166455D5C6DE0008FFF403F0AE760F2A8BF41F0C28CBD6","coords":""}"#;
        let message = read(TOPIC, without).unwrap();
        assert_eq!((message.sightings[0].stamp, message.sent), (None, None));
    }

    #[test]
    fn its_status_is_a_sign() {
        let sign = |payload: &str| {
            read("ruuvi/C8:25:2D:8E:9C:2C/gw_status", payload.as_bytes()).unwrap().sign
        };
        assert_eq!(sign(r#"{"state":"online"}"#), Some(Sign::Online));
        assert_eq!(sign(r#"{"state":"offline"}"#), Some(Sign::Offline));
        assert_eq!(sign("offline"), Some(Sign::Offline));
        assert_eq!(sign("{"), None);
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        let refused = |payload: &str| read(TOPIC, payload.as_bytes()).unwrap_err();
        assert_eq!(refused("{"), Refusal::NotJson);
        assert_eq!(refused(r#"{"rssi":-26}"#), Refusal::Shape);
        assert_eq!(refused(r#"{"rssi":-26,"data":7}"#), Refusal::Shape);
        assert_eq!(refused(r#"{"rssi":-26,"data":"020"}"#), Refusal::Data);
        assert_eq!(refused(r#"{"rssi":-260,"data":""}"#), Refusal::Rssi);
        assert_eq!(read("ruuvi/gw/tag", br#"{"rssi":-26,"data":""}"#), Err(Refusal::Address));
        let long = format!(r#"{{"rssi":-26,"data":"{}"}}"#, "00".repeat(1651));
        assert_eq!(refused(&long), Refusal::Data);
    }
}

//! Minew gateways (G1, MG3, MG4; G2 for `JSON-RAW`): a list of what was heard in an interval.
//!
//! `JSON-LONG`: the gateway first, `{"timestamp","type":"Gateway","mac",…}`, then each device with
//! `timestamp`, `type`, `mac`, `rssi` and `rawData` (AD structures in hexadecimal), or what the
//! gateway decoded: an iBeacon (`ibeaconUuid`, `ibeaconMajor`, `ibeaconMinor`, `ibeaconTxPower`),
//! which is rebuilt, or a sensor, of which the address remains. `JSON-RAW`: the gateway as
//! `{"gateway":…}`, then devices without data. Known from `reelyactive/barnowl-minew`,
//! `lib/jsonlongpacketdecoder.js` and `lib/jsonrawpacketdecoder.js`, and from published recordings. The
//! binary forms are not read.

use serde::Deserialize;

use super::{
    format::{MOST_ENTRIES, Message, Refusal, Sighting, Sign},
    json::{self, AtMost, When},
    structures::Structures,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    timestamp: When,
    r#type: Option<String>,
    gateway: Option<String>,
    mac: Option<String>,
    rssi: Option<f64>,
    raw_data: Option<String>,
    ibeacon_uuid: Option<String>,
    ibeacon_major: Option<u64>,
    ibeacon_minor: Option<u64>,
    ibeacon_tx_power: Option<i64>,
}

/// The loudness at one metre of a beacon that claims none.
const COMMON_POWER: i8 = -59;

pub(super) fn read(payload: &[u8]) -> Result<Message, Refusal> {
    // The gateway stands in the list, too.
    let AtMost(entries) = json::read::<AtMost<Entry, { MOST_ENTRIES + 1 }>>(payload)?;
    let mut message = Message::default();
    for entry in entries {
        if entry.is_gateway() {
            message.sign = Some(Sign::Interval);
            message.sent = entry.timestamp.0;
        } else {
            message.take(entry.sighting());
        }
    }
    Ok(message)
}

impl Entry {
    fn is_gateway(&self) -> bool {
        self.r#type.as_deref() == Some("Gateway") || self.gateway.is_some()
    }

    fn sighting(&self) -> Result<Sighting, Refusal> {
        let address = json::address(self.mac.as_deref().ok_or(Refusal::Shape)?, None)?;
        Sighting::new(address, self.rssi, self.data()?, self.timestamp.0)
    }

    fn data(&self) -> Result<Vec<u8>, Refusal> {
        if let Some(raw) = &self.raw_data {
            return json::octets(raw);
        }
        let mut data = Structures::default();
        if let Some(uuid) = &self.ibeacon_uuid {
            let number = |number: Option<u64>| number.and_then(|it| u16::try_from(it).ok());
            let numbers = number(self.ibeacon_major).zip(number(self.ibeacon_minor));
            let power = self.ibeacon_tx_power.and_then(|power| i8::try_from(power).ok());
            let power = power.unwrap_or(COMMON_POWER);
            data.ibeacon(json::uuid(uuid)?, numbers.ok_or(Refusal::Data)?, power)?;
        }
        Ok(data.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::json::Stamp, *};

    #[test]
    fn a_list_of_raw_and_decoded_devices_is_read() {
        // The forms of a G1: gateway, raw, iBeacon, sensor.
        let payload = br#"[
            {"timestamp":"2019-08-13T06:06:21Z","type":"Gateway","mac":"AC233FC001EA","gatewayFree":98,"gatewayLoad":0.05},
            {"timestamp":"2019-08-13T06:06:20Z","type":"Unknown","mac":"AC233FA031FA","bleName":"","rssi":-63,"rawData":"0201060303E1FF0D16E1FFA1026401FA31A03F23AC"},
            {"timestamp":"2019-08-13T06:06:21Z","type":"iBeacon","mac":"1918FC051F5B","bleName":"","ibeaconUuid":"FDA50693A4E24FB1AFCFC6EB07647825","ibeaconMajor":10002,"ibeaconMinor":5208,"rssi":-74,"ibeaconTxPower":-59,"battery":0},
            {"timestamp":"2019-08-13T06:06:21Z","type":"S1","mac":"AC233FA018E7","bleName":"S1","rssi":-55,"battery":100,"temperature":27.1,"humidity":57.91}]"#;
        let message = read(payload).unwrap();
        assert_eq!((message.sign, message.refused.len()), (Some(Sign::Interval), 0));
        assert_eq!(message.sent, Some(Stamp::from_micros(1_565_676_381_000_000)));
        let [raw, ibeacon, sensor] = message.sightings.as_slice() else { panic!("{message:?}") };
        assert_eq!((raw.data.len(), raw.rssi), (21, Some(-63.0)));
        assert_eq!(raw.stamp, Some(Stamp::from_micros(1_565_676_380_000_000)));
        assert_eq!(
            hex::encode(&ibeacon.data),
            "1aff4c000215fda50693a4e24fb1afcfc6eb0764782527121458c5"
        );
        assert_eq!((sensor.address.octets()[5], sensor.data.len()), (0xe7, 0));
    }

    #[test]
    fn a_list_without_data_brings_addresses() {
        let payload = br#"[{"gateway":"ac233fc00001"},
            {"mac":"ac233fa018e7","no":37,"rssi":-55,"timestamp":1674000000123}]"#;
        let message = read(payload).unwrap();
        let [it] = message.sightings.as_slice() else { panic!("{message:?}") };
        assert_eq!(it.stamp, Some(Stamp::from_micros(1_674_000_000_123_000)));
        assert_eq!((it.data.len(), message.sign), (0, Some(Sign::Interval)));
    }

    #[test]
    fn an_interval_in_which_nothing_was_heard_says_so() {
        let message = read(br#"[{"type":"Gateway","mac":"AC233FC001EA"}]"#).unwrap();
        assert_eq!((message.sign, message.sightings.len()), (Some(Sign::Interval), 0));
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        assert_eq!(read(b"[").unwrap_err(), Refusal::NotJson);
        assert_eq!(read(b"\xbb\x00\x01").unwrap_err(), Refusal::NotJson, "a binary form");
        assert_eq!(read(b"{}").unwrap_err(), Refusal::Shape);
        assert_eq!(read(b"[7]").unwrap_err(), Refusal::Shape);
        assert_eq!(read(br#"[{"mac":7}]"#).unwrap_err(), Refusal::Shape);
        let many = format!("[{}]", vec!["{}"; MOST_ENTRIES + 2].join(","));
        assert_eq!(read(many.as_bytes()).unwrap_err(), Refusal::TooMany);
        let entry = |entry: &str| read(format!("[{{{entry}}}]").as_bytes()).unwrap().refused;
        assert_eq!(entry(r#""rssi":-50"#), [Refusal::Shape]);
        assert_eq!(entry(r#""mac":"AC23","rssi":-50"#), [Refusal::Address]);
        assert_eq!(entry(r#""mac":"AC233FA018E7","rssi":99"#), [Refusal::Rssi]);
        assert_eq!(entry(r#""mac":"AC233FA018E7","rawData":"02010""#), [Refusal::Data]);
        let uuid = "00".repeat(16);
        assert_eq!(
            entry(&format!(r#""mac":"AC233FA018E7","ibeaconUuid":"{uuid}","ibeaconMajor":1"#)),
            [Refusal::Data]
        );
    }
}

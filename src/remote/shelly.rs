//! Shelly devices, generation 2 and later: `<prefix>/events/rpc`, advertisements as sent.
//!
//! A notification frame (shelly-api-docs.shelly.cloud, gen2/General/Notifications, with `rpc_ntf` on)
//! whose event is `ble.scan_result`. That event is made by the script which Home Assistant installs
//! (`home-assistant-libs/aioshelly`, `aioshelly/ble/const.py`); its form 1 is one advertisement,
//! `[1, address, rssi, data, scan response]`, its form 2 a list of them, both with data in base64.
//! The decoded values that other scripts publish are not taken: they are not what was sent.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;

use super::{
    format::{LONGEST_DATA, MOST_ENTRIES, Message, Refusal, Sighting, Sign},
    json::{self, AtMost, Stamp, When},
    structures::significant,
};

#[derive(Deserialize)]
struct Notification {
    method: Option<String>,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    events: Option<AtMost<Event, MOST_ENTRIES>>,
    #[serde(default)]
    ts: When,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "event")]
    name: Option<String>,
    data: Option<Value>,
    #[serde(default)]
    ts: When,
}

pub(super) fn read(topic: &str, payload: &[u8]) -> Result<Message, Refusal> {
    if topic.ends_with("/online") {
        return Ok(Sign::read(payload).map(Message::sign).unwrap_or_default());
    }
    if !topic.ends_with("/events/rpc") {
        return Ok(Message::default());
    }
    let notification: Notification = json::object(payload)?;
    let mut message = Message::default();
    let Some(Params { events: Some(AtMost(events)), ts }) =
        notification.params.filter(|_| notification.method.as_deref() == Some("NotifyEvent"))
    else {
        return Ok(message);
    };
    message.sent = ts.0;
    for event in events.into_iter().filter(|it| it.name.as_deref() == Some("ble.scan_result")) {
        scan_result(event, ts.0, &mut message)?;
    }
    Ok(message)
}

fn scan_result(event: Event, sent: Option<Stamp>, message: &mut Message) -> Result<(), Refusal> {
    let stamp = event.ts.0.or(sent);
    let Some(Value::Array(data)) = event.data else { return Err(Refusal::Shape) };
    let [version, entry @ ..] = data.as_slice() else { return Err(Refusal::Shape) };
    match (version.as_u64(), entry) {
        (Some(1), entry) => message.take(advertisement(entry, stamp)),
        (Some(2), [Value::Array(entries)]) => {
            if message.sightings.len() + message.refused.len() + entries.len() > MOST_ENTRIES {
                return Err(Refusal::TooMany);
            }
            for entry in entries {
                let entry = entry.as_array().map(Vec::as_slice).unwrap_or_default();
                message.take(advertisement(entry, stamp));
            }
        }
        _ => return Err(Refusal::Shape),
    }
    Ok(())
}

fn advertisement(entry: &[Value], stamp: Option<Stamp>) -> Result<Sighting, Refusal> {
    let [address, rssi, data, response] = entry else { return Err(Refusal::Shape) };
    let address = json::address(address.as_str().ok_or(Refusal::Shape)?, None)?;
    let rssi = match rssi {
        Value::Null => None,
        rssi => Some(rssi.as_f64().ok_or(Refusal::Shape)?),
    };
    let (data, response) = (octets(data)?, octets(response)?);
    let data = [significant(&data), significant(&response)].concat();
    if data.len() > LONGEST_DATA {
        return Err(Refusal::Data);
    }
    Sighting::new(address, rssi, data, stamp)
}

fn octets(value: &Value) -> Result<Vec<u8>, Refusal> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) if text.len() <= LONGEST_DATA / 3 * 4 + 4 => {
            STANDARD.decode(text).map_err(|_| Refusal::Data)
        }
        _ => Err(Refusal::Data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "shellyblugwg3-aacdb0784278/events/rpc";

    fn event(data: &str) -> String {
        format!(
            r#"{{"src":"shellyblugwg3-aacdb0784278","dst":"shellyblugwg3-aacdb0784278/events","method":"NotifyEvent","params":{{"ts":1736605194.11,"events":[{{"component":"script:1","id":1,"event":"ble.scan_result","data":{data},"ts":1736605194.10}}]}}}}"#
        )
    }

    /// Flags and an iBeacon, in base64.
    fn beacon() -> String {
        let data = hex::decode("0201061aff4c000215").unwrap();
        STANDARD.encode([data, vec![0xab; 16], vec![0, 1, 0, 2, 0xc5]].concat())
    }

    #[test]
    fn both_forms_of_the_scripts_event_are_read() {
        let data = beacon();
        let one = event(&format!(r#"[1,"5c:c7:c1:f2:e4:7c",-76,"{data}",""]"#));
        let two = event(&format!(
            r#"[2,[["5c:c7:c1:f2:e4:7c",-76,"{data}",""],["C0:11:22:33:44:55",-50,"AgEG","AwP6/g=="]]]"#
        ));
        let one = read(TOPIC, one.as_bytes()).unwrap();
        let two = read(TOPIC, two.as_bytes()).unwrap();
        assert_eq!(one.sightings[0], two.sightings[0]);
        assert_eq!((one.sightings[0].rssi, one.sightings[0].data.len()), (Some(-76.0), 30));
        assert_eq!(one.sightings[0].stamp, Some(Stamp::from_micros(1_736_605_194_100_000)));
        assert_eq!(one.sent, Some(Stamp::from_micros(1_736_605_194_110_000)));
        assert_eq!(hex::encode(&two.sightings[1].data), "0201060303fafe", "with scan response");
    }

    #[test]
    fn padding_does_not_hide_the_scan_response() {
        let padded = STANDARD.encode([2, 1, 6, 0, 0, 0]);
        let data = event(&format!(r#"[1,"C0:11:22:33:44:55",-50,"{padded}","AwP6/g=="]"#));
        let message = read(TOPIC, data.as_bytes()).unwrap();
        assert_eq!(hex::encode(&message.sightings[0].data), "0201060303fafe");
    }

    #[test]
    fn one_bad_entry_does_not_spoil_the_others() {
        let data =
            event(r#"[2,[["nobody",-50,"","",1],["C0:11:22:33:44:55",-50,"",""],["?",1,"",""]]]"#);
        let message = read(TOPIC, data.as_bytes()).unwrap();
        assert_eq!(message.sightings.len(), 1);
        assert_eq!(message.refused, [Refusal::Shape, Refusal::Address]);
    }

    #[test]
    fn other_notifications_say_nothing_and_the_will_is_a_sign() {
        let nothing = |payload: &str| {
            let message = read(TOPIC, payload.as_bytes()).unwrap();
            message.sightings.is_empty() && message.refused.is_empty() && message.sign.is_none()
        };
        assert!(nothing(r#"{"src":"x","method":"NotifyStatus","params":{"ts":1.0,"sys":{}}}"#));
        assert!(nothing(
            r#"{"method":"NotifyEvent","params":{"ts":1.0,"events":[{"event":"shelly-blu","data":{"rssi":-50,"address":"c0:11:22:33:44:55"}}]}}"#
        ));
        let sign = |payload: &[u8]| read("shellyblugwg3-x/online", payload).unwrap().sign;
        assert_eq!((sign(b"true"), sign(b"false")), (Some(Sign::Online), Some(Sign::Offline)));
        assert_eq!(read("shellyblugwg3-x/status/wifi", b"{"), Ok(Message::default()));
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        let refused = |payload: &str| read(TOPIC, payload.as_bytes()).unwrap_err();
        assert_eq!(refused("{"), Refusal::NotJson);
        assert_eq!(refused(r#"{"method":"NotifyEvent","params":[1]}"#), Refusal::Shape);
        for data in ["null", "[]", "[3,[]]", "[2]", "[2,7]", r#"["1"]"#, "{}"] {
            assert_eq!(refused(&event(data)), Refusal::Shape, "{data}");
        }
        let many = format!("[2,[{}]]", vec!["[]"; MOST_ENTRIES + 1].join(","));
        assert_eq!(refused(&event(&many)), Refusal::TooMany);
        let entry = |entry: &str| {
            let message = read(TOPIC, event(&format!("[1,{entry}]")).as_bytes()).unwrap();
            message.refused.first().copied()
        };
        assert_eq!(entry(r#""C0:11:22:33:44:55",-50,"A","""#), Some(Refusal::Data));
        assert_eq!(entry(r#""C0:11:22:33:44:55",-50,7,"""#), Some(Refusal::Data));
        assert_eq!(entry(r#""C0:11:22:33:44:55",200,"","""#), Some(Refusal::Rssi));
        assert_eq!(entry(r#""C0:11:22:33:44:55","-50","","""#), Some(Refusal::Shape));
        assert_eq!(entry(r#""C0:11:22:33:44",-50,"","""#), Some(Refusal::Address));
        assert_eq!(entry("7"), Some(Refusal::Shape));
    }
}

//! Advertising data in, the answer out as it is printed.

use std::fmt::Display;

use serde::{Serialize, Serializer, ser::SerializeMap};
use uuid::Uuid;

use super::input::{Input, Rejected};
use crate::engine::frame::{
    self, Context, Frame, Frames, Reading, Undecoded,
    sensor::{Encryption, Measured, OwnDecoders, Refusal, families},
};

/// The answer to one line.
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack; a box would cost more")]
pub(super) enum Answer<'a> {
    /// At least one frame.
    Decoded(Frames<'a>),
    /// No frame in a format we speak.
    Unknown,
    /// A frame of a family that is one of ours, encrypted, and why it stays so.
    Encrypted(&'static str, &'static str),
    /// No frame, and service UUIDs that may be an app's: only who holds its key can tell.
    MaybeRolling(Vec<Uuid>),
    /// The line is no advertising data, or a frame in it breaks the rules of its format.
    Malformed(String),
}

impl<'a> Answer<'a> {
    pub(super) fn of(input: &'a Result<Input, Rejected>, own: OwnDecoders) -> Self {
        let decoded = input.as_ref().map(|Input { data, address, key, clock }| {
            let (address, clock) = (*address, *clock);
            let context = Context { own, address, key: key.as_ref(), clock, token_uuid: None };
            ((data, context), frame::decode_in(data, context))
        });
        match decoded {
            Ok((_, Ok(frames))) => Self::Decoded(frames),
            Ok(((data, _), Err(Undecoded::Unknown))) => {
                let uuids: Vec<_> = frame::rolling_uuids(data).map(Uuid::from_bytes).collect();
                if uuids.is_empty() { Self::Unknown } else { Self::MaybeRolling(uuids) }
            }
            Ok(((_, context), Err(Undecoded::Encrypted { family, why }))) => {
                Self::Encrypted(family, reason(family, why, context))
            }
            Ok((_, Err(Undecoded::Refused))) => Self::Unknown,
            Ok((_, Err(Undecoded::Malformed { format }))) => {
                Self::Malformed(format!("{format}: {}", rule(format)))
            }
            Err(rejected) => Self::Malformed(rejected.to_string()),
        }
    }
}

/// Why an encrypted frame stays so, in words.
fn reason(family: &str, why: Refusal, context: Context<'_>) -> &'static str {
    let is = |encryption| {
        let mut families = families().into_iter();
        families.any(|about| about.family == family && about.encryption == encryption)
    };
    match why {
        Refusal::WrongKey => "the key does not fit",
        Refusal::Truncated => "the frame is cut off",
        Refusal::NoKey if is(Encryption::Closed) => "frames of this kind cannot be opened",
        Refusal::NoKey if context.key.is_none() => "no key",
        Refusal::NoKey if is(Encryption::WithClock) => "no clock",
        Refusal::NoKey => "no address",
    }
}

/// The rule that a malformed frame of a format broke.
fn rule(format: &str) -> &'static str {
    match format {
        "iBeacon" => "21 octets must follow 02 15: UUID, major, minor, measured power",
        "AltBeacon" => {
            "exactly 22 octets must follow BE AC: identifier, reference RSSI, one of the \
             manufacturer's own"
        }
        "Eddystone" => "a frame type must follow the service UUID",
        "Eddystone-UID" => "the frame must have 18 octets, or 20 with the two reserved ones",
        "Eddystone-URL" => {
            "a power, a scheme of 0 to 3 and up to 17 octets must follow the frame type, each \
             octet 00 to 0D or a printable ASCII character"
        }
        "Eddystone-TLM" => "the frame must have exactly 14 octets",
        "Eddystone-EID" => "the frame must have exactly 10 octets",
        "BTHome" => {
            "a device information octet must follow the service UUID, and the last object must \
             not be cut off"
        }
        "service token" => {
            "13 octets must follow the service UUID: 01 and the token; or 14 with the transmit power"
        }
        "Ruuvi" => "data format 3 has 14 octets, 5 has 24, 6 has 20 and E1 has 40",
        _ => "the frame is cut off, or none of its values can be",
    }
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Decoded(frames) => {
                // A beacon beside a sensor is what the sensor's maker puts there.
                let sensor = frames.iter().find(|frame| matches!(frame, Frame::Sensor(_)));
                if let Some(first) = sensor.or(frames.first()) {
                    FrameObject(first).write(&mut map)?;
                }
                if frames.len() > 1 {
                    let all: Vec<_> = frames.iter().map(FrameObject).collect();
                    map.serialize_entry("frames", &all)?;
                }
            }
            Self::Unknown => map.serialize_entry("unknown", &true)?,
            Self::Encrypted(family, why) => {
                map.serialize_entry("unknown", &true)?;
                map.serialize_entry("family", family)?;
                map.serialize_entry("encrypted", &true)?;
                map.serialize_entry("why", why)?;
            }
            Self::MaybeRolling(uuids) => {
                map.serialize_entry("unknown", &true)?;
                map.serialize_entry("family", "rolling_uuid")?;
                map.serialize_entry("uuids", &uuids.iter().map(Shown).collect::<Vec<_>>())?;
            }
            Self::Malformed(why) => map.serialize_entry("malformed", why)?,
        }
        map.end()
    }
}

/// A frame as a JSON object.
struct FrameObject<'a>(&'a Frame<'a>);

impl FrameObject<'_> {
    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("family", self.0.family())?;
        if let Frame::Sensor(sensor) = self.0 {
            return Self::write_measured(&sensor.measured(), map);
        }
        if let Some(model) = self.0.model() {
            map.serialize_entry("model", model)?;
        }
        map.serialize_entry("readings", &Readings(self.0))?;
        match self.0 {
            Frame::IBeacon(beacon) => {
                map.serialize_entry("uuid", &Shown(Uuid::from_bytes(beacon.proximity_uuid)))?;
                map.serialize_entry("major", &beacon.major)?;
                map.serialize_entry("minor", &beacon.minor)?;
                map.serialize_entry("measured_power", &beacon.measured_power)?;
            }
            Frame::AltBeacon(beacon) => {
                map.serialize_entry("company", &Shown(format_args!("{:04x}", beacon.company)))?;
                map.serialize_entry("id", &hex::encode(beacon.id))?;
                map.serialize_entry("reference_rssi", &beacon.reference_rssi)?;
                map.serialize_entry("manufacturer_reserved", &beacon.manufacturer_reserved)?;
            }
            Frame::EddystoneUid(uid) => {
                map.serialize_entry("namespace", &hex::encode(uid.namespace))?;
                map.serialize_entry("instance", &hex::encode(uid.instance))?;
                map.serialize_entry("tx_power", &uid.tx_power)?;
            }
            Frame::EddystoneUrl(url) => {
                map.serialize_entry("url", &Shown(url))?;
                map.serialize_entry("tx_power", &url.tx_power)?;
            }
            Frame::EddystoneEid(eid) => {
                map.serialize_entry("eid", &hex::encode(eid.eid))?;
                map.serialize_entry("tx_power", &eid.tx_power)?;
            }
            Frame::EddystoneTlm(_) | Frame::Sensor(_) => {}
            Frame::BtHome(bthome) => {
                if let Some(packet_id) = bthome.packet_id() {
                    map.serialize_entry("packet_id", &packet_id)?;
                }
                map.serialize_entry("trigger_based", &bthome.trigger_based())?;
                if bthome.texts().next().is_some() {
                    map.serialize_entry("text", &bthome.texts().collect::<Vec<_>>())?;
                }
                if bthome.raws().next().is_some() {
                    map.serialize_entry(
                        "raw",
                        &bthome.raws().map(hex::encode).collect::<Vec<_>>(),
                    )?;
                }
                if let Some(device_type) = bthome.device_type() {
                    map.serialize_entry("device_type", &device_type)?;
                }
                if let Some(firmware) = bthome.firmware() {
                    map.serialize_entry("firmware", &Shown(firmware))?;
                }
            }
            Frame::ServiceToken(token) => {
                map.serialize_entry("token", &hex::encode(token.token))?;
                if let Some(power) = token.tx_power {
                    map.serialize_entry("tx_power", &power)?;
                }
            }
            Frame::Ruuvi(ruuvi) => {
                map.serialize_entry("data_format", &Shown(format_args!("{:X}", ruuvi.format())))?;
            }
        }
        Ok(())
    }

    /// The rest of a sensor's frame, which is read once for it.
    fn write_measured<M: SerializeMap>(measured: &Measured, map: &mut M) -> Result<(), M::Error> {
        if let Some(model) = measured.model {
            map.serialize_entry("model", model)?;
        }
        let readings: Vec<_> = measured.readings.iter().copied().map(ReadingObject).collect();
        map.serialize_entry("readings", &readings)?;
        if let Some(counter) = measured.counter {
            map.serialize_entry("counter", &counter)?;
        }
        if measured.sealed {
            map.serialize_entry("sealed", &true)?;
        }
        if let Some(freshness) = measured.freshness {
            map.serialize_entry("freshness", &freshness)?;
        }
        if measured.event {
            map.serialize_entry("event", &true)?;
        }
        if measured.dropped > 0 {
            map.serialize_entry("dropped", &measured.dropped)?;
        }
        Ok(())
    }
}

impl Serialize for FrameObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write(&mut map)?;
        map.end()
    }
}

/// A frame's readings as a JSON list.
struct Readings<'a>(&'a Frame<'a>);

impl Serialize for Readings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.readings().map(ReadingObject))
    }
}

/// A reading as a JSON object. The instance is told from the second of its quantity on.
struct ReadingObject(Reading);

impl Serialize for ReadingObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(reading) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("quantity", reading.quantity.name())?;
        map.serialize_entry("value", &Number(reading.value))?;
        map.serialize_entry("unit", reading.quantity.unit())?;
        if reading.instance > 0 {
            map.serialize_entry("instance", &reading.instance)?;
        }
        if let Some(action) = reading.action() {
            map.serialize_entry("event", action.name())?;
        }
        map.end()
    }
}

/// A number, without a fraction of zero: 97 and not 97.0.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Beyond 2^53 a double no longer tells whole numbers apart; no reading gets near it.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let Self(value) = *self;
        if value.fract() == 0.0 && value.abs() < EXACT {
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
            let whole = value as i64;
            serializer.serialize_i64(whole)
        } else {
            serializer.serialize_f64(value)
        }
    }
}

/// Whatever is displayed, as a JSON string.
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_rule_of_its_own() {
        let service = |body: &[u8]| [&[0x16][..], body].concat();
        for (content, format) in [
            (vec![0xff, 0x4c, 0x00, 0x02, 0x15], "iBeacon"),
            (vec![0xff, 0x4c, 0x00, 0xbe, 0xac], "AltBeacon"),
            (vec![0xff, 0x99, 0x04, 0x05], "Ruuvi"),
            (service(&[0xd2, 0xfc]), "BTHome"),
            (service(&[0xaa, 0xfe]), "Eddystone"),
            (service(&[0xaa, 0xfe, 0x00]), "Eddystone-UID"),
            (service(&[0xaa, 0xfe, 0x10]), "Eddystone-URL"),
            (service(&[0xaa, 0xfe, 0x20]), "Eddystone-TLM"),
            (service(&[0xaa, 0xfe, 0x30]), "Eddystone-EID"),
            (hex::decode("21dcb2a19049b74cba6343b969cd48714c01").unwrap(), "service token"),
        ] {
            let length = u8::try_from(content.len()).unwrap();
            let data = [&[length][..], &content].concat();
            let data = Ok(Input { data, ..Input::default() });
            let Answer::Malformed(why) = Answer::of(&data, OwnDecoders::default()) else {
                panic!("{format}")
            };
            let (told, rule_told) = why.split_once(": ").unwrap();
            assert_eq!(told, format);
            assert_ne!(rule_told, rule(""), "{format}");
        }
    }

    #[test]
    fn whole_numbers_have_no_fraction() {
        let shown = |value| serde_json::to_string(&Number(value)).unwrap();
        assert_eq!(shown(97.0), "97");
        assert_eq!(shown(-22.0), "-22");
        assert_eq!(shown(4_294_967_295.0), "4294967295");
        assert_eq!(shown(25.06), "25.06");
        assert_eq!(shown(-0.5), "-0.5");
    }
}

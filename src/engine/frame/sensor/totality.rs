//! Frames whose meaning is published, and what they must be read as.

use super::{Carrier, Measured};
use crate::engine::frame::{Context, Frame, Undecoded, decode_in};

/// Advertising data of one structure, and of a name where there is one.
pub(super) fn advertisement(carrier: Carrier, name: &str, data: &[u8]) -> Vec<u8> {
    let (kind, identifier) = match carrier {
        Carrier::Company(id) => (0xff, id.to_le_bytes().to_vec()),
        Carrier::Service(id) => (0x16, id.to_le_bytes().to_vec()),
        Carrier::LongService(id) => (0x21, id.to_le_bytes().to_vec()),
        Carrier::Named | Carrier::Listed(_) | Carrier::LongListed(_) => (0xff, Vec::new()),
    };
    let mut advertisement = Vec::new();
    let mut push = |kind: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        advertisement.push(u8::try_from(content.len() + 1).unwrap());
        advertisement.push(kind);
        advertisement.extend(content);
    };
    if let Carrier::Listed(service) = carrier {
        push(0x03, &[&service.to_le_bytes()]);
    }
    if let Carrier::LongListed(service) = carrier {
        push(0x07, &[&service.to_le_bytes()]);
    }
    push(kind, &[&identifier, data]);
    if !name.is_empty() {
        push(0x09, &[name.as_bytes()]);
    }
    advertisement
}

fn told(carrier: Carrier, name: &str, data: &str) -> String {
    let data = advertisement(carrier, name, &hex::decode(data).unwrap());
    let frames = decode_in(&data, Context::default()).unwrap();
    let sensor = frames.iter().find_map(|frame| match frame {
        Frame::Sensor(sensor) => Some(sensor),
        _ => None,
    });
    let sensor = sensor.unwrap();
    let Measured { model, readings, .. } = sensor.measured();
    let readings = readings.iter().map(|r| format!("{} {}", r.quantity.name(), r.value));
    let mut words = vec![format!("{} {}", sensor.family(), model.unwrap_or("-"))];
    words.extend(readings);
    words.join(", ")
}

/// The frames are those that govee-ble has recorded.
#[test]
fn what_is_encrypted_with_a_key_that_is_sent_along_needs_none() {
    const COMPANY: Carrier = Carrier::Company(0xef88);
    for (data, expected) in [
        (
            "59940000f0b91937ae50b6372c866ac2f3d061e717c02cef",
            "govee H5121, motion 1, battery_percent 100",
        ),
        (
            "f30a0000648248e86020622588c02fd258cb3f1b8544d930",
            "govee H5122, button 1, battery_percent 100",
        ),
        (
            "3dec0000de4377d55e55f991496e36bdc67f8b2c27067497",
            "govee H5123, open 1, battery_percent 100",
        ),
        (
            "3dec000159db6bd9bed7aff72a26aa4bd72dfa94573e5be9",
            "govee H5123, open 0, battery_percent 100",
        ),
        (
            "2eaf0000fb0ec968d7056caf2af31be877f1e1e8e3a7f8c6",
            "govee H5125, button 1, battery_percent 100",
        ),
        (
            "01c400016b98d35dcbbc1316c4c93f2bf92bec8659ce2040",
            "govee H5126, button 1, battery_percent 100",
        ),
    ] {
        assert_eq!(told(COMPANY, "", data), expected);
        let data = hex::decode(data).unwrap();
        for bit in 0..data.len() * 8 {
            let mut changed = data.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            // The first two octets tell one sensor from another.
            let answer =
                decode_in(&advertisement(COMPANY, "", &changed), Context::default()).is_ok();
            assert_eq!(answer, bit < 16, "bit {bit}");
        }
    }
}

/// From the PTM 215B user manual.
#[test]
fn the_key_that_a_switch_tells_when_it_is_put_into_service_is_no_reading() {
    let data = hex::decode("71010000ab4b9a91852b70b8a652a05e92bb12a09f1b000015e2").unwrap();
    let data = advertisement(Carrier::Company(0x03da), "", &data);
    assert_eq!(decode_in(&data, Context::default()), Err(Undecoded::Unknown));
}

#[test]
fn a_sensor_of_two_halves_is_read_once() {
    // Product and battery in the service data, the state in the maker's.
    let service = advertisement(Carrier::Service(0xfd3d), "", &[0x64, 0x00, 0x64]);
    let maker = [0xc7, 0xba, 0x0d, 0x11, 0x22, 0x33, 0x01, 0x10, 0, 0, 0, 0, 0x03];
    let maker = advertisement(Carrier::Company(0x0969), "", &maker);
    for data in [[&service[..], &maker].concat(), [&maker[..], &service].concat()] {
        let frames = decode_in(&data, Context::default()).unwrap();
        assert_eq!((frames.len(), frames[0].model()), (1, Some("Contact Sensor")));
        let told: Vec<_> = frames[0].readings().map(|r| (r.quantity.name(), r.value)).collect();
        let expected = [
            ("door_open", 1.0),
            ("motion", 0.0),
            ("light", 0.0),
            ("press_count", 3.0),
            ("battery_percent", 100.0),
        ];
        assert_eq!(told, expected);
    }
}

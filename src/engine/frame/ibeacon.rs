//! Manufacturer data in, [`IBeacon`] out ("Getting Started with iBeacon", Apple, 2014).

use std::fmt;

use super::Announced;

pub(super) const FORMAT: &str = "iBeacon";

const APPLE: [u8; 2] = 0x004c_u16.to_le_bytes();
/// Apple's message type for iBeacon, and the 21 octets that follow it.
const TYPE_AND_LENGTH: [u8; 2] = [0x02, 0x15];

/// Apple iBeacon: a proximity UUID and two numbers.
///
/// `Debug` is redacted: the three together may name somebody's tag.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct IBeacon {
    /// Names the fleet.
    pub proximity_uuid: [u8; 16],
    /// Names a group in the fleet.
    pub major: u16,
    /// Names one beacon in the group.
    pub minor: u16,
    /// Expected RSSI at one metre, in dBm.
    pub measured_power: i8,
}

impl fmt::Debug for IBeacon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IBeacon")
            .field("measured_power", &self.measured_power)
            .finish_non_exhaustive()
    }
}

impl IBeacon {
    /// Reads manufacturer data, company identifier first.
    ///
    /// Octets after the iBeacon are tolerated. Apple's data is a list of messages, each with its
    /// own length, so the length of 21 says where this one ends; tags in the field use the rest of
    /// the structure for an octet of their own, most often a battery level.
    pub(super) fn decode(data: &[u8]) -> Announced<Self> {
        let body = data.strip_prefix(&APPLE)?.strip_prefix(&TYPE_AND_LENGTH)?;
        Some(Self::decode_body(body).ok_or(FORMAT))
    }

    fn decode_body(body: &[u8]) -> Option<Self> {
        let (proximity_uuid, rest) = body.split_first_chunk()?;
        let (major, rest) = rest.split_first_chunk()?;
        let (minor, rest) = rest.split_first_chunk()?;
        let (measured_power, _) = rest.split_first_chunk()?;
        Some(Self {
            proximity_uuid: *proximity_uuid,
            major: u16::from_be_bytes(*major),
            minor: u16::from_be_bytes(*minor),
            measured_power: i8::from_be_bytes(*measured_power),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: [u8; 25] = [
        0x4c, 0x00, 0x02, 0x15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x01, 0x02,
        0xff, 0xfe, 0xc5,
    ];

    #[test]
    fn an_ibeacon_is_read_in_network_byte_order() {
        let beacon = IBeacon::decode(&VALID).unwrap().unwrap();
        assert_eq!(beacon.proximity_uuid, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!((beacon.major, beacon.minor, beacon.measured_power), (0x0102, 0xfffe, -59));
    }

    #[test]
    fn an_octet_of_the_tags_own_after_the_ibeacon_is_tolerated_and_a_missing_one_is_not() {
        let with_battery = [&VALID[..], &[100]].concat();
        assert_eq!(IBeacon::decode(&with_battery), IBeacon::decode(&VALID));
        assert_eq!(IBeacon::decode(&VALID[..24]), Some(Err(FORMAT)));
        assert_eq!(IBeacon::decode(&VALID[..4]), Some(Err(FORMAT)));
    }

    #[test]
    fn other_companies_and_other_apple_messages_are_not_ibeacons() {
        assert_eq!(IBeacon::decode(&[0x4d, 0x00, 0x02, 0x15]), None);
        assert_eq!(IBeacon::decode(&[0x4c, 0x00, 0x02, 0x14]), None);
        assert_eq!(IBeacon::decode(&[0x4c, 0x00, 0x10, 0x05]), None);
        assert_eq!(IBeacon::decode(&[0x4c]), None);
    }

    #[test]
    fn an_ibeacon_never_shows_whom_it_names() {
        let shown = format!("{:?}", IBeacon::decode(&VALID).unwrap().unwrap());
        assert_eq!(shown, "IBeacon { measured_power: -59, .. }");
    }
}

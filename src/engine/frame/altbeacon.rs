//! Manufacturer data in, [`AltBeacon`] out (AltBeacon Protocol Specification 1.0, altbeacon.org).

use std::fmt;

use super::Announced;

pub(super) const FORMAT: &str = "AltBeacon";

/// Follows the company identifier, most significant octet first.
const BEACON_CODE: [u8; 2] = [0xbe, 0xac];

/// AltBeacon: a 20-byte beacon identifier, by convention 16 bytes of organisation and 4 of unit.
///
/// `Debug` is redacted: the identifier may name somebody's tag.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct AltBeacon {
    /// Bluetooth SIG company identifier of the manufacturer.
    pub company: u16,
    /// Names the beacon.
    pub id: [u8; 20],
    /// Expected RSSI at one metre, in dBm.
    pub reference_rssi: i8,
    /// One byte of the manufacturer's own.
    pub manufacturer_reserved: u8,
}

impl fmt::Debug for AltBeacon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AltBeacon")
            .field("company", &self.company)
            .field("reference_rssi", &self.reference_rssi)
            .finish_non_exhaustive()
    }
}

impl AltBeacon {
    /// Reads manufacturer data, company identifier first.
    ///
    /// Every manufacturer may send it, so the beacon code's two octets are all that announces it.
    /// The specification fixes the length; it is held to that, or other manufacturers' data would
    /// be taken for a beacon too easily.
    pub(super) fn decode(data: &[u8]) -> Announced<Self> {
        let (company, rest) = data.split_first_chunk()?;
        let body = rest.strip_prefix(&BEACON_CODE)?;
        Some(Self::decode_body(u16::from_le_bytes(*company), body).ok_or(FORMAT))
    }

    fn decode_body(company: u16, body: &[u8]) -> Option<Self> {
        let (id, rest) = body.split_first_chunk()?;
        let &[reference_rssi, manufacturer_reserved] = rest else { return None };
        Some(Self {
            company,
            id: *id,
            reference_rssi: reference_rssi.cast_signed(),
            manufacturer_reserved,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Vec<u8> {
        [&[0x18, 0x01, 0xbe, 0xac][..], &[7; 20], &[0xc5, 0x42]].concat()
    }

    #[test]
    fn an_altbeacon_is_read_whoever_made_it() {
        let mut data = valid();
        let beacon = AltBeacon::decode(&data).unwrap().unwrap();
        assert_eq!((beacon.company, beacon.id), (0x0118, [7; 20]));
        assert_eq!((beacon.reference_rssi, beacon.manufacturer_reserved), (-59, 0x42));
        data[0] = 0x4c;
        data[1] = 0x00;
        assert_eq!(AltBeacon::decode(&data).unwrap().unwrap().company, 0x004c);
    }

    #[test]
    fn another_length_is_malformed() {
        let data = valid();
        assert_eq!(AltBeacon::decode(&data[..25]), Some(Err(FORMAT)));
        assert_eq!(AltBeacon::decode(&[&data[..], &[0]].concat()), Some(Err(FORMAT)));
        assert_eq!(AltBeacon::decode(&data[..4]), Some(Err(FORMAT)));
    }

    #[test]
    fn another_code_is_another_format() {
        assert_eq!(AltBeacon::decode(&[0x18, 0x01, 0xac, 0xbe]), None);
        assert_eq!(AltBeacon::decode(&[0x18, 0x01, 0xbe]), None);
        assert_eq!(AltBeacon::decode(&[0xbe, 0xac]), None);
    }

    #[test]
    fn an_altbeacon_never_shows_whom_it_names() {
        let shown = format!("{:?}", AltBeacon::decode(&valid()).unwrap().unwrap());
        assert_eq!(shown, "AltBeacon { company: 280, reference_rssi: -59, .. }");
    }
}

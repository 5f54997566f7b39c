//! Fields that BlueZ took out of advertisements in, advertising data out: the AD structures that
//! the fields came from (Core Specification Supplement 12, Part A 1; types from Assigned Numbers,
//! 2.3), so that one parser reads every source. Total: what does not fit in a structure is left
//! out.

use uuid::Uuid;

use crate::engine::Rssi;

const NAME: u8 = 0x09;
const TX_POWER: u8 = 0x0a;
const MANUFACTURER_DATA: u8 = 0xff;

/// Advertising data under construction.
#[derive(Default)]
pub(super) struct AdvertisingData(Vec<u8>);

/// A service's UUID in its shortest form, octets as they go over the air, least significant first.
enum Short {
    Bits16([u8; 2]),
    Bits32([u8; 4]),
    Bits128([u8; 16]),
}

/// The most octets that advertising data can have (Core Specification 5.4, Vol 4 Part E 7.8.57).
const LONGEST: usize = 1650;

impl AdvertisingData {
    /// Adds manufacturer specific data of one company.
    pub(super) fn manufacturer(&mut self, company: u16, data: &[u8]) {
        self.push(MANUFACTURER_DATA, &company.to_le_bytes(), data);
    }

    /// Adds the data of one service.
    pub(super) fn service_data(&mut self, service: Uuid, data: &[u8]) {
        match Short::from(service) {
            Short::Bits16(uuid) => self.push(0x16, &uuid, data),
            Short::Bits32(uuid) => self.push(0x20, &uuid, data),
            Short::Bits128(uuid) => self.push(0x21, &uuid, data),
        }
    }

    /// Adds the services that the device named, as lists that may be incomplete: BlueZ does not say
    /// which of them stood together.
    pub(super) fn services(&mut self, services: &[Uuid]) {
        let [mut bits16, mut bits32, mut bits128] = [const { Vec::new() }; 3];
        for service in services {
            match Short::from(*service) {
                Short::Bits16(uuid) => bits16.extend(uuid),
                Short::Bits32(uuid) => bits32.extend(uuid),
                Short::Bits128(uuid) => bits128.extend(uuid),
            }
        }
        for (ad_type, uuids) in [(0x02, bits16), (0x04, bits32), (0x06, bits128)] {
            if !uuids.is_empty() {
                self.push(ad_type, &[], &uuids);
            }
        }
    }

    /// Adds the device's name.
    pub(super) fn name(&mut self, name: &str) {
        self.push(NAME, &[], name.as_bytes());
    }

    /// Adds the power that the device says it sends with.
    pub(super) fn tx_power(&mut self, power: Rssi) {
        self.push(TX_POWER, &[], &power.0.to_le_bytes());
    }

    /// The finished data.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn push(&mut self, ad_type: u8, head: &[u8], tail: &[u8]) {
        let Ok(length) = u8::try_from(1 + head.len() + tail.len()) else { return };
        if self.0.len() + 1 + usize::from(length) > LONGEST {
            return;
        }
        self.0.extend([length, ad_type]);
        self.0.extend_from_slice(head);
        self.0.extend_from_slice(tail);
    }
}

impl From<Uuid> for Short {
    /// Services that the Bluetooth SIG numbers are written as
    /// `xxxxxxxx-0000-1000-8000-00805f9b34fb` (Core Specification 5.4, Vol 3 Part B 2.5.1).
    fn from(uuid: Uuid) -> Self {
        const BASE: u128 = 0x0000_1000_8000_0080_5f9b_34fb;
        let value = uuid.as_u128();
        if value << 32 >> 32 != BASE {
            return Self::Bits128(value.to_le_bytes());
        }
        let [first, second, third, fourth, ..] = value.to_be_bytes();
        match [first, second] {
            [0, 0] => Self::Bits16([fourth, third]),
            _ => Self::Bits32([fourth, third, second, first]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(build: impl FnOnce(&mut AdvertisingData)) -> String {
        let mut data = AdvertisingData::default();
        build(&mut data);
        hex::encode(data.finish())
    }

    fn uuid(text: &str) -> Uuid {
        text.parse().unwrap()
    }

    #[test]
    fn fields_become_the_structures_they_came_from() {
        assert_eq!(built(|data| data.manufacturer(0x004c, &[0x02, 0x15])), "05ff4c000215");
        assert_eq!(built(|data| data.name("Té")), "040954c3a9");
        assert_eq!(built(|data| data.tx_power(Rssi(-18))), "020aee");
    }

    #[test]
    fn services_have_the_length_they_were_numbered_with() {
        let of = |text| built(|data| data.service_data(uuid(text), &[0xee]));
        assert_eq!(of("0000feaa-0000-1000-8000-00805f9b34fb"), "0416aafeee");
        assert_eq!(of("12345678-0000-1000-8000-00805f9b34fb"), "062078563412ee");
        assert_eq!(
            of("00112233-4455-6677-8899-aabbccddeeff"),
            "1221ffeeddccbbaa99887766554433221100ee"
        );
        assert_eq!(
            built(|data| data.services(&[
                uuid("0000feaa-0000-1000-8000-00805f9b34fb"),
                uuid("00001809-0000-1000-8000-00805f9b34fb")
            ])),
            "0502aafe0918"
        );
    }

    #[test]
    fn what_is_too_long_for_a_structure_or_for_the_whole_is_left_out() {
        assert_eq!(built(|data| data.manufacturer(1, &[0; 253])), "");
        assert_eq!(built(|data| data.manufacturer(1, &[0; 252])).len(), 2 * 256);
        let mut data = AdvertisingData::default();
        for company in 0..100 {
            data.manufacturer(company, &[0; 200]);
        }
        let whole = data.finish();
        assert!(whole.len() <= LONGEST && whole.len() > LONGEST - 204);
    }
}

//! What a foreign gateway took out of an advertisement in, AD structures out, as they were sent
//! (Core Specification 5.4, Vol 3 Part C 11; formats of the data in its Supplement, Part A).
//!
//! Only what can be put back faithfully is: manufacturer data and service data with their UUID.
//! Names are left out, because nobody is known by one.

use super::format::{LONGEST_DATA, Refusal};

/// AD types (Assigned Numbers, 2.3).
const SERVICE_DATA_16: u8 = 0x16;
const SERVICE_DATA_32: u8 = 0x20;
const SERVICE_DATA_128: u8 = 0x21;
const MANUFACTURER_DATA: u8 = 0xff;

/// Apple's company identifier, its message type for an iBeacon, and the length of what follows
/// ("Getting Started with iBeacon", Apple, 2014).
const IBEACON: [u8; 4] = [0x4c, 0x00, 0x02, 0x15];
/// Apple's message type for Find My.
const FIND_MY: [u8; 3] = [0x4c, 0x00, 0x12];
/// Eddystone's service, and its frame type for UID (github.com/google/eddystone).
const EDDYSTONE: [u8; 2] = [0xaa, 0xfe];
const UID: u8 = 0x00;
/// Exposure Notification and Samsung's `SmartTag`, by their services.
const EXPOSURE: [u8; 2] = [0x6f, 0xfd];
const SMART_TAG: [u8; 2] = [0x5a, 0xfd];

/// The last twelve octets of a UUID that has a shorter form (Core Specification 5.4, Vol 3 Part B
/// 2.5.1).
const BASE: [u8; 12] = [0x00, 0x00, 0x10, 0x00, 0x80, 0x00, 0x00, 0x80, 0x5f, 0x9b, 0x34, 0xfb];

/// Advertising data in the making.
#[derive(Default)]
pub(super) struct Structures(Vec<u8>);

/// A service's UUID in its shortest form, least significant octet first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Service {
    Short([u8; 2]),
    Wide([u8; 4]),
    Full([u8; 16]),
}

/// What is never processed, when only its name was published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Never {
    Exposure,
    FindMy,
    SmartTag,
}

/// Data up to where its significant part ends early; an advertisement and its scan response can be
/// put together then.
pub(super) fn significant(data: &[u8]) -> &[u8] {
    let mut at = 0;
    while let Some(&length) = data.get(at).filter(|length| **length > 0) {
        at += 1 + usize::from(length);
    }
    data.get(..at).unwrap_or(data)
}

impl Structures {
    /// Manufacturer data, company identifier first.
    pub(super) fn manufacturer(&mut self, data: &[u8]) -> Result<(), Refusal> {
        self.push(MANUFACTURER_DATA, &[data])
    }

    /// Service data.
    pub(super) fn service(&mut self, service: Service, data: &[u8]) -> Result<(), Refusal> {
        match &service {
            Service::Short(uuid) => self.push(SERVICE_DATA_16, &[uuid, data]),
            Service::Wide(uuid) => self.push(SERVICE_DATA_32, &[uuid, data]),
            Service::Full(uuid) => self.push(SERVICE_DATA_128, &[uuid, data]),
        }
    }

    /// An iBeacon; `power` is what it says to be its loudness at one metre, in dBm.
    pub(super) fn ibeacon(
        &mut self,
        uuid: [u8; 16],
        (major, minor): (u16, u16),
        power: i8,
    ) -> Result<(), Refusal> {
        let numbers = [major.to_be_bytes(), minor.to_be_bytes()];
        self.push(
            MANUFACTURER_DATA,
            &[&IBEACON, &uuid, numbers.as_flattened(), &power.to_be_bytes()],
        )
    }

    /// An Eddystone-UID.
    pub(super) fn eddystone_uid(
        &mut self,
        namespace: &[u8; 10],
        instance: [u8; 6],
        power: i8,
    ) -> Result<(), Refusal> {
        let [power] = power.to_be_bytes();
        self.push(SERVICE_DATA_16, &[&EDDYSTONE, &[UID, power], namespace, &instance])
    }

    /// Says what it was, so that the room that drops it does so, and counts it.
    pub(super) fn never(&mut self, what: Never) -> Result<(), Refusal> {
        match what {
            Never::Exposure => self.push(SERVICE_DATA_16, &[&EXPOSURE]),
            Never::SmartTag => self.push(SERVICE_DATA_16, &[&SMART_TAG]),
            Never::FindMy => self.push(MANUFACTURER_DATA, &[&FIND_MY]),
        }
    }

    /// The data.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn push(&mut self, ad_type: u8, parts: &[&[u8]]) -> Result<(), Refusal> {
        let content: usize = parts.iter().map(|part| part.len()).sum();
        let length = u8::try_from(content + 1).map_err(|_| Refusal::Data)?;
        if self.0.len() + content + 2 > LONGEST_DATA {
            return Err(Refusal::Data);
        }
        self.0.extend([length, ad_type]);
        for part in parts {
            self.0.extend_from_slice(part);
        }
        Ok(())
    }
}

impl Service {
    /// Reads a UUID as gateways write it: `0xfcd2`, `fcd2`, eight digits, or the whole.
    pub(super) fn read(text: &str) -> Result<Self, Refusal> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        // What would be read as a number has signs, too.
        if digits.starts_with(['+', '-']) {
            return Err(Refusal::Data);
        }
        match digits.len() {
            4 => {
                let uuid = u16::from_str_radix(digits, 16).map_err(|_| Refusal::Data)?;
                Ok(Self::Short(uuid.to_le_bytes()))
            }
            8 => {
                let uuid = u32::from_str_radix(digits, 16).map_err(|_| Refusal::Data)?;
                Ok(Self::of(uuid))
            }
            _ => {
                let mut uuid = super::json::uuid(digits)?;
                if let Some((head, tail)) = uuid.split_first_chunk::<4>()
                    && *tail == BASE
                {
                    return Ok(Self::of(u32::from_be_bytes(*head)));
                }
                uuid.reverse();
                Ok(Self::Full(uuid))
            }
        }
    }

    fn of(uuid: u32) -> Self {
        match u16::try_from(uuid) {
            Ok(short) => Self::Short(short.to_le_bytes()),
            Err(_) => Self::Wide(uuid.to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::frame::{self, Frame, never_processed};

    #[test]
    fn a_uuid_is_written_in_its_shortest_form() {
        let whole = |head: &str| format!("{head}-0000-1000-8000-00805F9B34FB");
        for text in ["0xfcd2", "fcd2", "FCD2", "0000fcd2", &whole("0000fcd2")] {
            assert_eq!(Service::read(text), Ok(Service::Short([0xd2, 0xfc])), "{text}");
        }
        assert_eq!(Service::read("0x12345678"), Ok(Service::Wide([0x78, 0x56, 0x34, 0x12])));
        assert_eq!(Service::read(&whole("12345678")), Service::read("12345678"));
        let Ok(Service::Full(full)) = Service::read("4c7148cd-69b9-4363-ba4c-b74990a1b2dc") else {
            panic!("it has no shorter form");
        };
        assert_eq!((full[0], full[15]), (0xdc, 0x4c));
        for text in ["", "0x", "fcd", "fcdx", "+cd2", "12345", "no-uuid-at-all"] {
            assert_eq!(Service::read(text), Err(Refusal::Data), "{text}");
        }
    }

    #[test]
    fn rebuilt_frames_are_read_like_those_that_were_heard() {
        let mut data = Structures::default();
        data.ibeacon([0xab; 16], (1, 0x0203), -59).unwrap();
        data.eddystone_uid(&[1; 10], [2; 6], -40).unwrap();
        let data = data.finish();
        let frames = frame::decode(&data).unwrap();
        let [Frame::IBeacon(ibeacon), Frame::EddystoneUid(uid)] = frames.as_slice() else {
            panic!("{frames:?}");
        };
        assert_eq!((ibeacon.proximity_uuid, ibeacon.major), ([0xab; 16], 1));
        assert_eq!((ibeacon.minor, ibeacon.measured_power), (0x0203, -59));
        assert_eq!((uid.namespace, uid.instance, uid.tx_power), ([1; 10], [2; 6], -40));
    }

    #[test]
    fn what_is_never_processed_says_so_by_itself() {
        for what in [Never::Exposure, Never::FindMy, Never::SmartTag] {
            let mut data = Structures::default();
            data.never(what).unwrap();
            assert!(never_processed(&data.finish()), "{what:?}");
        }
    }

    #[test]
    fn what_does_not_fit_into_a_structure_is_refused() {
        let mut data = Structures::default();
        assert_eq!(data.manufacturer(&[0; 254]), Ok(()));
        assert_eq!(data.manufacturer(&[0; 255]), Err(Refusal::Data));
        assert_eq!(data.service(Service::Short([0; 2]), &[0; 253]), Err(Refusal::Data));
        while data.manufacturer(&[0; 254]).is_ok() {}
        assert!(data.finish().len() <= LONGEST_DATA);
    }

    #[test]
    fn padding_is_cut_off() {
        assert_eq!(significant(&[2, 1, 6, 0, 0]), [2, 1, 6]);
        assert_eq!(significant(&[2, 1, 6]), [2, 1, 6]);
        assert_eq!(significant(&[2, 1, 6, 9, 1]), [2, 1, 6, 9, 1], "what is cut short stays");
        assert_eq!(significant(&[0, 1, 2]), [0; 0]);
        assert_eq!(significant(&[]), [0; 0]);
    }
}

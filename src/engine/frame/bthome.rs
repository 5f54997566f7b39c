//! Service data of 0xFCD2 in, [`BtHome`] out: BTHome version 2 (bthome.io/format). What is encrypted is
//! opened elsewhere (`sensor`), and its objects read here.

mod object;
pub(super) mod shelly;
mod table;

use std::fmt;

use super::{Action, Announced, Quantity, Reading};
use object::{End, Object};

/// The BTHome service, as it stands in service data.
pub(super) const SERVICE: [u8; 2] = 0xfcd2_u16.to_le_bytes();

pub(super) const FORMAT: &str = "BTHome";

/// Bits of the device information octet.
mod info {
    pub(super) const ENCRYPTED: u8 = 1 << 0;
    /// The sender's address follows. Reserved today; devices of BTHome 2's first months set it.
    pub(super) const ADDRESS_FOLLOWS: u8 = 1 << 1;
    pub(super) const TRIGGER_BASED: u8 = 1 << 2;
    /// Bits 5 to 7.
    pub(super) const fn version(octet: u8) -> u8 {
        octet >> 5
    }
}

const VERSION: u8 = 2;

/// BTHome version 2 service data.
///
/// Validated when it was decoded, read lazily after that. `Debug` is redacted: what a stranger's
/// sensor tells is the stranger's.
#[derive(Clone, Copy, PartialEq)]
pub struct BtHome<'a> {
    trigger_based: bool,
    /// Whole objects of known ids, and nothing else.
    objects: &'a [u8],
    /// The product, where the rest of the advertisement tells it.
    model: Option<&'static str>,
}

/// A device's firmware version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Firmware<'a> {
    /// Three or four parts, the most significant last.
    parts: &'a [u8],
}

impl<'a> BtHome<'a> {
    /// Reads the service data that follows the UUID.
    pub(super) fn decode(data: &'a [u8]) -> Announced<Self> {
        let Some((&octet, rest)) = data.split_first() else { return Some(Err(FORMAT)) };
        if info::version(octet) != VERSION || octet & info::ENCRYPTED != 0 {
            return None;
        }
        Some(Self::decode_objects(octet, rest).ok_or(FORMAT))
    }

    fn decode_objects(octet: u8, rest: &'a [u8]) -> Option<Self> {
        let payload = match octet & info::ADDRESS_FOLLOWS {
            0 => rest,
            _ => rest.split_first_chunk::<6>()?.1,
        };
        Self::decrypted(octet, payload)
    }

    /// Reads the objects of a frame that was encrypted, whose device information is given. `None` where
    /// the last of them is cut off.
    pub(super) fn decrypted(octet: u8, payload: &'a [u8]) -> Option<Self> {
        let mut unread = payload;
        loop {
            match object::take(unread) {
                Ok((_, rest)) => unread = rest,
                Err(End::Truncated) => return None,
                Err(End::Here) => break,
            }
        }
        Some(Self {
            trigger_based: octet & info::TRIGGER_BASED != 0,
            objects: payload.get(..payload.len().checked_sub(unread.len())?)?,
            model: None,
        })
    }

    /// The same frame, of a product.
    pub(super) const fn of(self, model: Option<&'static str>) -> Self {
        Self { model, ..self }
    }

    /// The product, where the advertisement tells it.
    pub const fn model(self) -> Option<&'static str> {
        self.model
    }

    fn objects(self) -> impl Iterator<Item = Object<'a>> {
        let mut unread = self.objects;
        std::iter::from_fn(move || {
            let (object, rest) = object::take(unread).ok()?;
            unread = rest;
            Some(object)
        })
    }

    /// What was measured and what happened, in the order in which it stands.
    ///
    /// Readings of one quantity are numbered across object ids: 0.01 °C and 0.1 °C are both a
    /// temperature. A button to which nothing happened has no reading but keeps its number.
    pub fn readings(self) -> impl Iterator<Item = Reading> + use<'a> {
        let mut seen = [0_u8; Quantity::ALL.len()];
        self.objects().filter_map(move |object| {
            let (quantity, value) = match object {
                Object::Value(quantity, value) => (quantity, Some(value)),
                Object::Event(quantity, action) => (quantity, action.map(Action::value)),
                _ => return None,
            };
            let seen = seen.get_mut(quantity as usize)?;
            let instance = *seen;
            *seen = seen.saturating_add(1);
            Some(Reading { quantity, value: value?, instance })
        })
    }

    /// Changes with every change of the data, so that repetitions can be told; wraps at 255.
    pub fn packet_id(self) -> Option<u8> {
        self.objects().find_map(|object| match object {
            Object::PacketId(id) => Some(id),
            _ => None,
        })
    }

    /// True when the device advertises only when something happens, not at an interval.
    pub const fn trigger_based(self) -> bool {
        self.trigger_based
    }

    /// Tells a manufacturer's products apart.
    pub fn device_type(self) -> Option<u16> {
        self.objects().find_map(|object| match object {
            Object::DeviceType(device_type) => Some(device_type),
            _ => None,
        })
    }

    /// The firmware version.
    pub fn firmware(self) -> Option<Firmware<'a>> {
        self.objects().find_map(|object| match object {
            Object::Firmware(parts) => Some(Firmware { parts }),
            _ => None,
        })
    }

    /// Texts; those that are not UTF-8 are left out.
    pub fn texts(self) -> impl Iterator<Item = &'a str> {
        self.objects().filter_map(|object| match object {
            Object::Text(text) => text,
            _ => None,
        })
    }

    /// Raw octets, of the device's own meaning.
    pub fn raws(self) -> impl Iterator<Item = &'a [u8]> {
        self.objects().filter_map(|object| match object {
            Object::Raw(raw) => Some(raw),
            _ => None,
        })
    }
}

impl fmt::Debug for BtHome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BtHome")
            .field("trigger_based", &self.trigger_based)
            .field("octets", &self.objects.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Firmware<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, part) in self.parts.iter().rev().enumerate() {
            let dot = if n == 0 { "" } else { "." };
            write!(f, "{dot}{part}")?;
        }
        Ok(())
    }
}

/// What an object of version 1 tells.
pub(super) enum Told {
    Value(Quantity, f64),
    Event(Quantity, Action),
    PacketId(u8),
}

/// Reads an object of version 1, beside which stand its length and what kind of number it is; its
/// identifiers are those of version 2. `None` for what is no reading or is not known.
pub(super) fn version_1(id: u8, value: &[u8], number: Option<f64>) -> Option<Told> {
    match object::read_as(id, value, number)? {
        Object::Value(quantity, value) => Some(Told::Value(quantity, value)),
        Object::Event(quantity, action) => Some(Told::Event(quantity, action?)),
        Object::PacketId(id) => Some(Told::PacketId(id)),
        _ => None,
    }
}

/// Whether the address follows a device information octet.
pub(super) const fn repeats_address(octet: u8) -> bool {
    octet & info::ADDRESS_FOLLOWS != 0
}

/// True for version 2 service data that only the holder of the bind key can read.
pub(super) fn is_encrypted(data: &[u8]) -> bool {
    data.first()
        .is_some_and(|&octet| info::version(octet) == VERSION && octet & info::ENCRYPTED != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bthome(data: &[u8]) -> BtHome<'_> {
        BtHome::decode(data).unwrap().unwrap()
    }

    fn told(data: &[u8]) -> Vec<String> {
        let told = |r: Reading| format!("{} {} {}", r.quantity.name(), r.instance, r.value);
        bthome(data).readings().map(told).collect()
    }

    #[test]
    fn readings_of_one_quantity_are_numbered_across_object_ids() {
        assert_eq!(
            told(&[0x40, 0x02, 0xca, 0x09, 0x03, 0xbf, 0x13, 0x45, 0x11, 0x01, 0x58, 0xea]),
            [
                "temperature_c 0 25.06",
                "humidity_percent 0 50.55",
                "temperature_c 1 27.3",
                "temperature_c 2 -7.7",
            ]
        );
    }

    #[test]
    fn objects_are_read_in_any_order() {
        let told = told(&[0x40, 0x03, 0xbf, 0x13, 0x02, 0xca, 0x09]);
        assert_eq!(told, ["humidity_percent 0 50.55", "temperature_c 0 25.06"]);
    }

    #[test]
    fn an_unknown_object_ends_the_reading_and_keeps_what_came_before() {
        let data = [0x40, 0x01, 0x5d, 0xfe, 0x5d, 0x09, 0x03, 0xb7, 0x18];
        assert_eq!(told(&data), ["battery_percent 0 93"]);
        assert_eq!(told(&[0x40, 0xfe, 0xca, 0x09]), [""; 0]);
    }

    #[test]
    fn a_truncated_object_is_malformed_and_so_is_no_device_information() {
        assert_eq!(BtHome::decode(&[0x40, 0x02, 0xca, 0x09, 0x03, 0xbf]), Some(Err(FORMAT)));
        assert_eq!(BtHome::decode(&[0x40, 0x53]), Some(Err(FORMAT)));
        assert_eq!(BtHome::decode(&[0x40, 0x53, 2, b'a']), Some(Err(FORMAT)));
        assert_eq!(BtHome::decode(&[]), Some(Err(FORMAT)));
        assert_eq!(told(&[0x40]), [""; 0], "no object at all is a beacon without a sensor");
    }

    #[test]
    fn encrypted_and_other_versions_are_not_spoken_here() {
        assert_eq!(BtHome::decode(&[0x41, 0xa4, 0x72]), None);
        assert_eq!(BtHome::decode(&[0x20, 0x02]), None);
        assert_eq!(BtHome::decode(&[0x00]), None);
        assert_eq!(BtHome::decode(&[0xe1, 0x02]), None);
        assert!(is_encrypted(&[0x41]) && is_encrypted(&[0x45]));
        assert!(!is_encrypted(&[0x40]) && !is_encrypted(&[0x21]) && !is_encrypted(&[]));
    }

    #[test]
    fn a_device_that_repeats_its_address_is_read_without_it() {
        let data = [0x42, 0xb2, 0x18, 0x8d, 0x38, 0xc1, 0xa4, 0x04, 0x13, 0x8a, 0x01];
        assert_eq!(told(&data), ["pressure_pa 0 100883"]);
        assert_eq!(BtHome::decode(&data[..6]), Some(Err(FORMAT)));
    }

    #[test]
    fn events_say_what_happened_and_nothing_keeps_its_number() {
        let data = [0x44, 0x3a, 0x00, 0x3a, 0x01, 0x3a, 0xfe, 0x3a, 0x80, 0x3c, 0x01, 0x03];
        let data = [&data[..], &[0x3c, 0x00, 0x00, 0x3c, 0x02, 0x0a]].concat();
        let events: Vec<_> =
            bthome(&data).readings().map(|r| (r.instance, r.action().unwrap())).collect();
        assert_eq!(
            events,
            [
                (1, Action::Press),
                (3, Action::HoldPress),
                (0, Action::RotateLeft(3)),
                (2, Action::RotateRight(10)),
            ]
        );
        assert!(bthome(&data).trigger_based());
    }

    #[test]
    fn what_is_not_a_reading_is_told_too() {
        let data = [
            0x40, 0x00, 0x09, 0x53, 2, b'H', b'i', 0x53, 1, 0x87, 0x54, 1, 0x87, 0xf0, 0x01, 0x02,
            0xf1, 0x00, 0x01, 0x02, 0x04,
        ];
        let bthome = bthome(&data);
        assert_eq!(bthome.packet_id(), Some(9));
        assert_eq!(bthome.texts().collect::<Vec<_>>(), ["Hi"]);
        assert_eq!(bthome.raws().collect::<Vec<_>>(), [[0x87]]);
        assert_eq!(bthome.device_type(), Some(0x0201));
        assert_eq!(bthome.firmware().unwrap().to_string(), "4.2.1.0");
        assert_eq!(bthome.readings().count(), 0);
    }
}

//! One BTHome object at a time out of a payload.

use super::table::{Shape, shape};
use crate::engine::frame::{Action, Quantity, reading::scaled};

/// One object of a payload, read.
#[derive(Clone, Copy)]
pub(super) enum Object<'a> {
    /// A measurement or a switch.
    Value(Quantity, f64),
    /// An event; `None` where the object only keeps its place ("nothing happened to this button")
    /// or says something that BTHome does not know.
    Event(Quantity, Option<Action>),
    /// Text; `None` when it is not UTF-8.
    Text(Option<&'a str>),
    Raw(&'a [u8]),
    PacketId(u8),
    DeviceType(u16),
    /// Three or four parts, the most significant last.
    Firmware(&'a [u8]),
}

/// Why no further object can be read.
pub(super) enum End {
    /// The payload is over, or goes on with an object id that is not in the table: readers stop
    /// there, because they cannot know how long it is (bthome.io, BTHome Data format).
    Here,
    /// The payload ends within an object.
    Truncated,
}

/// Takes the first object off a payload.
pub(super) fn take(payload: &[u8]) -> Result<(Object<'_>, &[u8]), End> {
    let (&id, rest) = payload.split_first().ok_or(End::Here)?;
    let shape = shape(id).ok_or(End::Here)?;
    let (octets, rest) = match shape {
        Shape::Text | Shape::Raw => {
            let (&length, rest) = rest.split_first().ok_or(End::Truncated)?;
            (length, rest)
        }
        Shape::Number { octets, .. } | Shape::Firmware { octets } => (octets, rest),
        Shape::Switch(_) | Shape::Button | Shape::PacketId => (1, rest),
        Shape::Dimmer | Shape::DeviceType => (2, rest),
    };
    let (value, rest) = rest.split_at_checked(usize::from(octets)).ok_or(End::Truncated)?;
    Ok((read(shape, value), rest))
}

/// Reads a value whose number was read elsewhere.
pub(super) fn read_as(id: u8, value: &[u8], number: Option<f64>) -> Option<Object<'_>> {
    match (shape(id)?, number) {
        (Shape::Number { quantity, times, per, .. }, Some(number)) => {
            Some(Object::Value(quantity, scaled(number, times, per)))
        }
        // A moment has a kind of its own.
        (shape @ Shape::Number { octets, .. }, None) if value.len() == usize::from(octets) => {
            Some(read(shape, value))
        }
        (Shape::Number { .. }, _) => None,
        (shape, _) => Some(read(shape, value)),
    }
}

/// Reads a value, whose length is that of its shape.
fn read(shape: Shape, value: &[u8]) -> Object<'_> {
    match shape {
        Shape::Number { quantity, signed, times, per, .. } => {
            let word = little_endian(value, signed);
            let raw = if signed { f64::from(word.cast_signed()) } else { f64::from(word) };
            Object::Value(quantity, scaled(raw, times, per))
        }
        Shape::Switch(quantity) => {
            let on = little_endian(value, false) != 0;
            Object::Value(quantity, f64::from(u8::from(on)))
        }
        Shape::Button => Object::Event(Quantity::Button, press(value)),
        Shape::Dimmer => Object::Event(Quantity::DimmerSteps, turn(value)),
        Shape::Text => Object::Text(str::from_utf8(value).ok()),
        Shape::Raw => Object::Raw(value),
        Shape::PacketId => Object::PacketId(value.first().copied().unwrap_or_default()),
        Shape::DeviceType => Object::DeviceType(
            value.first_chunk().map(|chunk| u16::from_le_bytes(*chunk)).unwrap_or_default(),
        ),
        Shape::Firmware { .. } => Object::Firmware(value),
    }
}

/// Up to four octets, filled up with the sign.
fn little_endian(value: &[u8], signed: bool) -> u32 {
    let negative = signed && value.last().is_some_and(|&octet| octet >= 0x80);
    let mut word = [if negative { 0xff } else { 0 }; 4];
    for (slot, &octet) in word.iter_mut().zip(value) {
        *slot = octet;
    }
    u32::from_le_bytes(word)
}

fn press(value: &[u8]) -> Option<Action> {
    Some(match value {
        [0x01] => Action::Press,
        [0x02] => Action::DoublePress,
        [0x03] => Action::TriplePress,
        [0x04] => Action::LongPress,
        [0x05] => Action::LongDoublePress,
        [0x06] => Action::LongTriplePress,
        [0x80] => Action::HoldPress,
        _ => return None,
    })
}

fn turn(value: &[u8]) -> Option<Action> {
    match *value {
        [0x01, steps @ 1..=u8::MAX] => Some(Action::RotateLeft(steps)),
        [0x02, steps @ 1..=u8::MAX] => Some(Action::RotateRight(steps)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read_at_both_ends_of_its_range_and_not_when_truncated() {
        // Object id, octets, lowest and highest value; from bthome.io, Supported data types.
        let numbers: [(u8, usize, &str, &str); 60] = [
            (0x01, 1, "0", "255"),
            (0x02, 2, "-327.68", "327.67"),
            (0x03, 2, "0", "655.35"),
            (0x04, 3, "0", "16777215"),
            (0x05, 3, "0", "167772.15"),
            (0x06, 2, "0", "655.35"),
            (0x07, 2, "0", "297.2617596795"),
            (0x08, 2, "-327.68", "327.67"),
            (0x09, 1, "0", "255"),
            (0x0a, 3, "0", "16777.215"),
            (0x0b, 3, "0", "167772.15"),
            (0x0c, 2, "0", "65.535"),
            (0x0d, 2, "0", "65535"),
            (0x0e, 2, "0", "65535"),
            (0x12, 2, "0", "65535"),
            (0x13, 2, "0", "65535"),
            (0x14, 2, "0", "655.35"),
            (0x2e, 1, "0", "255"),
            (0x2f, 1, "0", "255"),
            (0x3d, 2, "0", "65535"),
            (0x3e, 4, "0", "4294967295"),
            (0x3f, 2, "-3276.8", "3276.7"),
            (0x40, 2, "0", "65.535"),
            (0x41, 2, "0", "6553.5"),
            (0x42, 3, "0", "16777.215"),
            (0x43, 2, "0", "65.535"),
            (0x44, 2, "0", "655.35"),
            (0x45, 2, "-3276.8", "3276.7"),
            (0x46, 1, "0", "25.5"),
            (0x47, 2, "0", "6553.5"),
            (0x48, 2, "0", "65.535"),
            (0x49, 2, "0", "65.535"),
            (0x4a, 2, "0", "6553.5"),
            (0x4b, 3, "0", "16777.215"),
            (0x4c, 4, "0", "4294967.295"),
            (0x4d, 4, "0", "4294967.295"),
            (0x4e, 4, "0", "4294967.295"),
            (0x4f, 4, "0", "4294967.295"),
            (0x50, 4, "0", "4294967295"),
            (0x51, 2, "0", "65.535"),
            (0x52, 2, "0", "65.535"),
            (0x55, 4, "0", "4294967.295"),
            (0x56, 2, "0", "65535"),
            (0x57, 1, "-128", "127"),
            (0x58, 1, "-44.8", "44.45"),
            (0x59, 1, "-128", "127"),
            (0x5a, 2, "-32768", "32767"),
            (0x5b, 4, "-2147483648", "2147483647"),
            (0x5c, 4, "-21474836.48", "21474836.47"),
            (0x5d, 2, "-32.768", "32.767"),
            (0x5e, 2, "0", "655.35"),
            (0x5f, 2, "0", "6553.5"),
            (0x60, 1, "0", "255"),
            (0x61, 2, "0", "65535"),
            (0x62, 4, "-2147.483648", "2147.483647"),
            (0x63, 4, "-2147.483648", "2147.483647"),
            (0x64, 1, "0", "255"),
            (0x0f, 1, "0", "1"),
            (0x1f, 1, "0", "1"),
            (0x2d, 1, "0", "1"),
        ];
        for (id, octets, lowest, highest) in numbers {
            let signed = lowest.starts_with('-');
            let mut low = vec![0; octets];
            let mut high = vec![0xff; octets];
            if signed {
                low[octets - 1] = 0x80;
                high[octets - 1] = 0x7f;
            }
            for (value, expected) in [(low, lowest), (high, highest)] {
                let data = [&[id], &value[..]].concat();
                let Ok((Object::Value(_, value), [])) = take(&data) else { panic!("{id:#04x}") };
                assert_eq!(value.to_string(), expected, "{id:#04x}");
                assert!(matches!(take(&data[..octets]), Err(End::Truncated)), "{id:#04x}");
            }
        }
    }

    #[test]
    fn the_table_has_the_ids_that_bthome_defines_and_no_others() {
        let defined: Vec<u8> = (0..=u8::MAX).filter(|&id| shape(id).is_some()).collect();
        let expected: Vec<u8> =
            (0x00..=0x2f).chain([0x3a]).chain(0x3c..=0x64).chain(0xf0..=0xf2).collect();
        assert_eq!(defined, expected);
    }
}

//! What an advertisement tells of the Shelly BLU device that sent it.
//!
//! Source: shelly-api-docs.shelly.cloud, docs-ble (devices and common features: short device names, and the
//! model in the manufacturer data of a device that is being paired), and `github.com/home-assistant-libs/aioshelly`
//! (`ble/manufacturer_data.py`).

use crate::engine::frame::sensor::Heard;

/// Allterco Robotics.
const COMPANY: u16 = 0x0ba9;

/// The products, for the documentation.
pub(in crate::engine::frame) const MODELS: &[&str] = &[
    "SBBT-002C",
    "SBBT-004CEU",
    "SBBT-004CUS",
    "SBBT-102C",
    "SBBT-104CEU",
    "SBBT-104CUS",
    "SBDI-003E",
    "SBDW-002C",
    "SBDW-103C",
    "SBHT-003C",
    "SBHT-103C",
    "SBHT-203C",
    "SBMO-003Z",
    "SBMO-103Z",
    "SBRC-005B",
    "SBTR-001AEU",
    "SBWS-90CM",
];

/// Names to which four digits of the address are added, and so are shorter.
pub(in crate::engine::frame) const SHORT_NAMES: &[(&str, &str)] = &[
    ("SBBT-2C", "SBBT-002C"),
    ("SBBT-EU", "SBBT-004CEU"),
    ("SBBT-US", "SBBT-004CUS"),
    ("SBDW-2C", "SBDW-002C"),
    ("SBHT-3C", "SBHT-003C"),
    ("SBMO-3Z", "SBMO-003Z"),
];

const NUMBERS: &[(u16, &str)] = &[
    (0x01, "SBBT-002C"),
    (0x02, "SBDW-002C"),
    (0x03, "SBHT-003C"),
    (0x05, "SBMO-003Z"),
    (0x06, "SBBT-004CEU"),
    (0x07, "SBBT-004CUS"),
    (0x08, "SBTR-001AEU"),
    (0x0c, "SBHT-103C"),
    (0x15, "SBBT-104CEU"),
];

/// The product, by its name or by the number in its manufacturer data.
pub(in crate::engine::frame) fn model(heard: &Heard<'_>) -> Option<&'static str> {
    let name = heard.name();
    let begins = |start: &str| name.starts_with(start.as_bytes());
    let by_name = MODELS.iter().copied().find(|model| begins(model));
    let by_short_name =
        || SHORT_NAMES.iter().find(|(start, _)| begins(start)).map(|(_, model)| *model);
    by_name.or_else(by_short_name).or_else(|| numbered(heard.manufacturer(COMPANY)?))
}

/// Blocks: kind, value, of a length that the kind tells.
fn numbered(mut blocks: &[u8]) -> Option<&'static str> {
    while let [kind, rest @ ..] = blocks {
        blocks = match (kind, rest) {
            (0x0b, [low, high, ..]) => {
                let number = u16::from_le_bytes([*low, *high]);
                return NUMBERS.iter().find(|(known, _)| *known == number).map(|(_, model)| *model);
            }
            // Flags, address.
            (0x01, rest) => rest.get(2..)?,
            (0x0a, rest) => rest.get(6..)?,
            _ => return None,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &[u8], maker: &[u8]) -> Option<&'static str> {
        let mut data = vec![u8::try_from(name.len() + 1).unwrap(), 0x09];
        data.extend(name);
        data.extend([u8::try_from(maker.len() + 3).unwrap(), 0xff, 0xa9, 0x0b]);
        data.extend(maker);
        model(&Heard::new(&data))
    }

    #[test]
    fn a_product_is_known_by_its_name_long_or_short_and_by_its_number() {
        assert_eq!(told(b"SBDW-002C", &[]), Some("SBDW-002C"));
        assert_eq!(told(b"SBHT-3C12ab", &[]), Some("SBHT-003C"));
        assert_eq!(told(b"SBWS-90CM", &[]), Some("SBWS-90CM"));
        let number = [0x01, 0x00, 0x00, 0x0b, 0x05, 0x00, 0x0a, 1, 2, 3, 4, 5, 6];
        assert_eq!(told(b"", &number), Some("SBMO-003Z"));
        assert_eq!(told(b"", &[0x0a, 1, 2, 3, 4, 5, 6, 0x0b, 0x99, 0x00]), None);
        assert_eq!(told(b"Lamp", &[0x07, 0x0b, 0x01, 0x00]), None);
        assert_eq!(told(b"Lamp", &[0x01, 0x00]), None);
    }
}

//! The numbers that some sensors give themselves in their frames: an advertisement in, family and
//! number out.
//!
//! They stand in the clear where the rest is encrypted, and stay as they are where a radio address
//! changes. Nobody's is looked at unless a fixture of the shop is known by one.
//!
//! Sources: those of the families; Ruuvi (docs.ruuvi.com, data formats 5, 6 and E1); Estimote's telemetry
//! packet (github.com/Estimote/estimote-specs); pySwitchbot (manufacturer data); Efento (docs.efento.io,
//! Bluetooth advertisement decoding).

use std::fmt;

use super::{Carrier, Heard, Test};

/// What a sensor calls itself, most significant octet first: mostly its address at the factory.
///
/// `Debug` is redacted.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Serial {
    octets: [u8; Self::LONGEST],
    length: usize,
}

/// A sensor's number, which is its own within its family.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SerialNumber {
    /// The family, as in payloads.
    pub family: &'static str,
    /// The number.
    pub serial: Serial,
}

/// Where the frames of a family have it.
struct Place {
    family: &'static str,
    carrier: Carrier,
    /// How many octets the data has, at least and at most.
    length: (usize, usize),
    when: &'static [Test],
    /// Where it stands; from the end of the data where it stands there.
    at: At,
    octets: usize,
    /// The least significant octet comes first.
    reversed: bool,
}

#[derive(Clone, Copy)]
enum At {
    Octet(usize),
    End,
}

// === the places ===

const fn place(family: &'static str, carrier: Carrier, length: usize, at: usize) -> Place {
    let (length, at) = ((length, length), At::Octet(at));
    Place { family, carrier, length, when: &[], at, octets: 6, reversed: false }
}

impl Place {
    const fn at_least(self, octets: usize) -> Self {
        Self { length: (octets, usize::MAX), ..self }
    }

    const fn when(self, when: &'static [Test]) -> Self {
        Self { when, ..self }
    }

    const fn octets(self, octets: usize) -> Self {
        Self { octets, ..self }
    }

    const fn reversed(self) -> Self {
        Self { reversed: true, ..self }
    }

    const fn at_the_end(self) -> Self {
        Self { at: At::End, ..self }
    }
}

const fn minew(kind: &'static [Test], length: usize) -> Place {
    place("minew", Carrier::Service(0xffe1), length, 0).when(kind).at_the_end().reversed()
}

const fn thermobeacon(product: u16) -> Place {
    place("thermobeacon", Carrier::Company(product), 18, 2).reversed()
}

const fn ruuvi(format: &'static [Test], length: usize, at: usize) -> Place {
    place("ruuvi", Carrier::Company(0x0499), length, at).when(format)
}

static PLACES: &[Place] = &[
    place("atc", Carrier::Service(0x181a), 13, 0),
    place("atc", Carrier::Service(0x181a), 15, 0).reversed(),
    place("efento", Carrier::Company(0x026c), 24, 1).when(&[Test::is(0, 0x03)]),
    place("estimote", Carrier::Service(0xfe9a), 20, 1).when(&[Test::bits(0, 0x0f, 2)]).octets(8),
    place("holyiot", Carrier::Service(0x5242), 13, 2),
    place("jaalee", Carrier::Service(0xf51c), 11, 1).reversed(),
    place("jaalee", Carrier::Service(0xf525), 11, 1).reversed(),
    place("laird", Carrier::Company(0x0077), 24, 6)
        .when(&[Test::is(0, 1), Test::is(1, 0)])
        .reversed(),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x01)], 13),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x02)], 10),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x03)], 15),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x05)], 11),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x11)], 11),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x12)], 11),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x13)], 11),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x15)], 20),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x16)], 15),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x17)], 13),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x18)], 14),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x20)], 10),
    minew(&[Test::is(0, 0xa1), Test::is(1, 0x21)], 10),
    // Behind the battery, before the name.
    place("minew", Carrier::Service(0xffe1), 0, 3)
        .at_least(9)
        .when(&[Test::is(0, 0xa1), Test::is(1, 0x08)])
        .reversed(),
    // The last three octets of its address, which stand on it.
    place("mopeka", Carrier::Company(0x0059), 10, 5).octets(3),
    place("qingping", Carrier::Service(0xfdcd), 0, 2).at_least(8).reversed(),
    place("qingping", Carrier::Service(0xfff9), 0, 2).at_least(8).reversed(),
    ruuvi(&[Test::is(0, 5)], 24, 18),
    // The last three octets.
    ruuvi(&[Test::is(0, 6)], 20, 17).octets(3),
    ruuvi(&[Test::is(0, 0xe1)], 40, 34),
    place("switchbot", Carrier::Company(0x0969), 0, 0).at_least(6),
    thermobeacon(0x10),
    thermobeacon(0x11),
    thermobeacon(0x14),
    thermobeacon(0x15),
    thermobeacon(0x18),
    thermobeacon(0x1b),
    thermobeacon(0x30),
    // Where the control says so, and whether the rest is encrypted or not.
    place("xiaomi", Carrier::Service(0xfe95), 0, 5)
        .at_least(11)
        .when(&[Test::bits(0, 0x10, 0x10)])
        .reversed(),
];

impl Place {
    fn of(&self, data: &[u8]) -> Option<SerialNumber> {
        let (least, most) = self.length;
        let fits = (least..=most).contains(&data.len());
        if !fits || !self.when.iter().all(|test| test.holds(data)) {
            return None;
        }
        let at = match self.at {
            At::Octet(at) => at,
            At::End => data.len().checked_sub(self.octets)?,
        };
        let octets = data.get(at..at.checked_add(self.octets)?)?;
        let serial = if self.reversed {
            Serial::new(octets.iter().rev().copied())
        } else {
            Serial::new(octets.iter().copied())
        };
        Some(SerialNumber { family: self.family, serial: serial? })
    }
}

/// The families whose frames have a number of their own, in the order of their names.
pub fn families_with_serials() -> Vec<&'static str> {
    let mut families: Vec<_> = PLACES.iter().map(|place| place.family).collect();
    families.dedup();
    families
}

/// What the frames of an advertisement say that their sender is called, of some families.
pub fn serials<'a>(
    data: &'a [u8],
    of: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = SerialNumber> + 'a {
    let heard = Heard::new(data);
    PLACES.iter().filter(move |place| of(place.family)).filter_map(move |place| {
        let data = match place.carrier {
            Carrier::Company(company) => heard.manufacturer(company),
            Carrier::Service(service) => heard.service_data(service),
            Carrier::LongService(_)
            | Carrier::Named
            | Carrier::Listed(_)
            | Carrier::LongListed(_) => None,
        };
        place.of(data?)
    })
}

// === impl Serial ===

impl Serial {
    /// The most octets that one has.
    pub const LONGEST: usize = 8;

    fn new(from: impl Iterator<Item = u8>) -> Option<Self> {
        let (mut octets, mut length) = ([0; Self::LONGEST], 0);
        for octet in from {
            *octets.get_mut(length)? = octet;
            length += 1;
        }
        (length > 0).then_some(Self { octets, length })
    }

    /// Reads two hexadecimal digits an octet, most significant first, with or without `:` or `-` between
    /// octets; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|octet| !matches!(octet, b':' | b'-')).collect();
        Self::new(hex::decode(digits).ok()?.into_iter())
    }

    /// Its octets, most significant first: for who looks for a sensor to configure.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serial(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::families, *};

    fn told(data: &str) -> Vec<String> {
        let data = hex::decode(data.replace(' ', "")).unwrap();
        let told = serials(&data, |_| true);
        told.map(|it| format!("{} {}", it.family, hex::encode(it.serial.octets()))).collect()
    }

    #[test]
    fn a_sensor_that_tells_its_number_is_known_by_it_whichever_octet_comes_first() {
        // atc1441 and pvvx, as their readmes describe them; Ruuvi's own vector.
        assert_eq!(told("10161a18 a4c1380123450 0f0 32 64 0bb8 07"), ["atc a4c138012345"]);
        assert_eq!(told("12161a18 4523 0138c1a4 f000 2003 b80b 64 07 00"), ["atc a4c138012345"]);
        assert_eq!(
            told("1bff9904 05 12fc5394c37c0004fffc040cac364200cd cbb8334c884f"),
            ["ruuvi cbb8334c884f"]
        );
        assert_eq!(told("1016e1ff a101 64 15c0 2e3b 0d8340 3f23ac"), ["minew ac233f40830d"]);
    }

    #[test]
    fn an_encrypted_frame_tells_its_number_as_a_plain_one_does() {
        assert_eq!(
            told("1816 95fe 5858 5b05 01 cdab563412e4 aabbccdd00112233445566"),
            ["xiaomi e4123456abcd"]
        );
        let without = "1216 95fe 4858 5b05 01 aabbccdd001122334455";
        assert_eq!(told(without), [""; 0]);
    }

    #[test]
    fn a_number_is_written_as_people_write_it_and_does_not_show_itself() {
        let serial = Serial::parse("A4:C1:38:01:23:45").unwrap();
        assert_eq!(Serial::parse("a4c138012345"), Some(serial));
        assert_eq!(serial.octets(), [0xa4, 0xc1, 0x38, 1, 0x23, 0x45]);
        for text in ["", "a", "a4c", "xyz", "a4c1380123451122 33", "a4c138012345112233"] {
            assert_eq!(Serial::parse(text), None, "{text}");
        }
        assert_eq!(format!("{serial:?}"), "Serial(redacted)");
    }

    #[test]
    fn every_family_that_has_one_is_a_family_and_stands_in_the_documentation() {
        let with = families_with_serials();
        assert!(with.is_sorted(), "{with:?}");
        for family in &with {
            assert!(families().iter().any(|about| about.family == *family), "{family}");
        }
        let line = format!("`{}`", with.join("`, `"));
        let document = include_str!("../../../../docs/sensors.md").replace('\n', " ");
        assert!(document.contains(&line), "docs/sensors.md wants: {line}");
    }
}

//! Ruuvi tags with their oldest firmware, which put the values behind a link: data formats 2 and 4.
//!
//! Source: Ruuvi, `github.com/ruuvi/ruuvi-sensor-protocols` (broadcast formats, data format 2 and 4,
//! Eddystone-URL).

use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Heard, Measured, Stop, Test},
};

/// The name of the family that the other formats have.
const FAMILY: &str = "ruuvi";

/// Eddystone's service.
const SERVICE: u16 = 0xfeaa;

pub(super) const DECODERS: &[Decoder] = &[Decoder::service(FAMILY, SERVICE)
    .at_least(18)
    // A URL, its power, `https://`.
    .when(LINK)
    .model("RuuviTag")
    .code(link)];

const LINK: &[Test] = &[
    Test::is(0, 0x10),
    Test::is(2, 0x03),
    Test::is(3, b'r'),
    Test::is(4, b'u'),
    Test::is(5, b'u'),
    Test::is(6, b'.'),
    Test::is(7, b'v'),
    Test::is(8, b'i'),
    Test::is(9, b'/'),
    Test::is(10, b'#'),
];

/// Format, humidity in half percents, temperature, pressure over 500 hPa; and an identifier, of which
/// one letter is there in format 4.
fn link(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let letters = data.get(11..19).ok_or(Stop::Malformed)?;
    let mut packed = 0_u64;
    for letter in letters {
        packed = packed << 6 | u64::from(sextet(*letter).ok_or(Stop::Malformed)?);
    }
    // 48 bits in the last six of eight octets.
    let octets = packed.to_be_bytes();
    let octets = octets.get(2..).unwrap_or_default();
    if !matches!(octets.first(), Some(2 | 4)) {
        return Err(Stop::Malformed);
    }
    let number = |bits: Bits| bits.number(octets).map(exact).ok_or(Stop::Malformed);
    // The sign is a bit of its own; the second octet counts hundredths, and these formats have none.
    let degrees = number(Bits::le(2, 1).part(0, 7))?;
    let below = number(Bits::le(2, 1).part(7, 1))? > 0.0;
    measured.push(Q::TemperatureC, if below { -degrees } else { degrees });
    measured.push(Q::HumidityPercent, number(Bits::le(1, 1))? / 2.0);
    measured.push(Q::PressurePa, number(Bits::be(4, 2))? + 50_000.0);
    Ok(())
}

/// What a letter of the alphabet for URLs stands for (RFC 4648, section 5).
const fn sextet(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'-' | b'+' => Some(62),
        b'_' | b'/' => Some(63),
        _ => None,
    }
}

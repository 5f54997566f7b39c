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
    .when(&[Test::is(0, 0x10), Test::is(2, 0x03)])
    .model("RuuviTag")
    .code(link)];

const HOST: &[u8] = b"ruu.vi/#";

/// Format, humidity in half percents, temperature, pressure over 500 hPa; and an identifier, of which
/// one letter is there in format 4.
fn link(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let text = data.get(3..).and_then(|url| url.strip_prefix(HOST)).ok_or(Stop::NotMine)?;
    let letters = text.get(..8).ok_or(Stop::NotMine)?;
    let mut packed = 0_u64;
    for letter in letters {
        packed = packed << 6 | u64::from(sextet(*letter).ok_or(Stop::NotMine)?);
    }
    // 48 bits in the last six of eight octets.
    let octets = packed.to_be_bytes();
    let octets = octets.get(2..).unwrap_or_default();
    if !matches!(octets.first(), Some(2 | 4)) {
        return Err(Stop::NotMine);
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

//! What brewers hang into their tanks and under their taps: Tilt, RAPT Pill, Kegtron.
//!
//! Sources: the parsers of Home Assistant (pypi.org/project/tilt-ble, pypi.org/project/rapt-ble,
//! pypi.org/project/kegtron-ble), for Kegtron also that of `github.com/custom-components/ble_monitor`.

use super::{About, about};
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Heard, Measured, Model, Stop, Test},
};

const TILT: &str = "tilt";
const RAPT: &str = "rapt";
const KEGTRON: &str = "kegtron";

pub(super) const ABOUT: &[About] = &[
    about(
        TILT,
        "Tilt hydrometers, Pro too",
        &[
            "Red",
            "Green",
            "Black",
            "Purple",
            "Orange",
            "Blue",
            "Yellow",
            "Pink",
            "Pro Red",
            "Pro Green",
            "Pro Black",
            "Pro Purple",
            "Pro Orange",
            "Pro Blue",
            "Pro Yellow",
            "Pro Pink",
        ],
        &[Q::TemperatureC, Q::SpecificGravity],
        "tilt-ble; ble_monitor",
    ),
    about(
        RAPT,
        "RAPT Pill hydrometers",
        &["RAPT Pill"],
        &[Q::TemperatureC, Q::SpecificGravity, Q::BatteryPercent],
        "rapt-ble",
    ),
    about(
        KEGTRON,
        "Kegtron keg monitors",
        &["KT-100", "KT-200"],
        &[Q::VolumeL, Q::VolumeStorageL],
        "kegtron-ble; ble_monitor",
    ),
];

/// The fifth octet of the UUID, behind kind and length.
const COLOURS: &[(u8, &str)] = &[
    (0x10, "Red"),
    (0x20, "Green"),
    (0x30, "Black"),
    (0x40, "Purple"),
    (0x50, "Orange"),
    (0x60, "Blue"),
    (0x70, "Yellow"),
    (0x80, "Pink"),
];

const PRO_COLOURS: &[(u8, &str)] = &[
    (0x10, "Pro Red"),
    (0x20, "Pro Green"),
    (0x30, "Pro Black"),
    (0x40, "Pro Purple"),
    (0x50, "Pro Orange"),
    (0x60, "Pro Blue"),
    (0x70, "Pro Yellow"),
    (0x80, "Pro Pink"),
];

pub(super) const DECODERS: &[Decoder] = &[
    // An iBeacon whose UUID is one of eight, and whose major and minor are the values.
    Decoder::company(TILT, 0x004c)
        .at_least(23)
        .when(TILT_UUID)
        .models(Model::ByOctet(5, COLOURS))
        .code(tilt),
    // "RA" stands where the company identifier should be.
    Decoder::company(RAPT, 0x4152)
        .length(23)
        .when(&[Test::is(0, b'P'), Test::is(1, b'T')])
        .model("RAPT Pill")
        .code(rapt),
    Decoder::company(KEGTRON, 0xffff).length(27).when(KEGTRON_NAME).code(kegtron),
];

/// Kind and length; then the UUID, in which one octet says the colour.
const TILT_UUID: &[Test] = &[
    Test::is(0, 0x02),
    Test::is(1, 0x15),
    Test::is(2, 0xa4),
    Test::is(3, 0x95),
    Test::is(4, 0xbb),
    Test::bits(5, 0x0f, 0),
    Test::is(6, 0xc5),
    Test::is(7, 0xb1),
    Test::is(8, 0x4b),
    Test::is(9, 0x44),
    Test::is(10, 0xb5),
    Test::is(11, 0x12),
    Test::is(12, 0x13),
    Test::is(13, 0x70),
    Test::is(14, 0xf0),
    Test::is(15, 0x2d),
    Test::is(16, 0x74),
    Test::is(17, 0xde),
];

/// ASCII, and one of two taps.
const KEGTRON_NAME: &[Test] = &[
    Test::bits(6, 0xae, 0),
    Test::bits(7, 0x80, 0),
    Test::bits(8, 0x80, 0),
    Test::bits(9, 0x80, 0),
    Test::bits(10, 0x80, 0),
    Test::bits(11, 0x80, 0),
    Test::bits(12, 0x80, 0),
    Test::bits(13, 0x80, 0),
    Test::bits(14, 0x80, 0),
    Test::bits(15, 0x80, 0),
    Test::bits(16, 0x80, 0),
    Test::bits(17, 0x80, 0),
    Test::bits(18, 0x80, 0),
    Test::bits(19, 0x80, 0),
    Test::bits(20, 0x80, 0),
    Test::bits(21, 0x80, 0),
    Test::bits(22, 0x80, 0),
    Test::bits(23, 0x80, 0),
    Test::bits(24, 0x80, 0),
    Test::bits(25, 0x80, 0),
    Test::bits(26, 0x80, 0),
];

/// Degrees Fahrenheit and thousandths; ten times as fine from a Tilt Pro, whose numbers are larger than
/// any of the others.
fn tilt(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    if measured.model.is_none() {
        return Err(Stop::NotMine);
    }
    let number = |at| Bits::be(at, 2).signed().number(data).ok_or(Stop::Malformed);
    let (fahrenheit, gravity) = (number(18)?, number(20)?);
    let pro = gravity >= 5_000;
    if pro {
        measured.model = Model::ByOctet(5, PRO_COLOURS).of(heard, data);
    }
    let finer = if pro { 10 } else { 1 };
    let celsius = exact((fahrenheit - 32 * finer) * 5) / exact(9 * finer);
    measured.push(Q::TemperatureC, (celsius * 100.0).round() / 100.0);
    measured.push(Q::SpecificGravity, exact(gravity) / exact(1_000 * finer));
    Ok(())
}

/// The second version has no address and tells how fast the gravity changes; what is read here stands
/// in both at the same place.
fn rapt(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    match data.get(2) {
        Some(1) if heard.address.is_none_or(|address| data.get(3..9) == Some(&address)) => {}
        Some(2) if data.get(3) == Some(&0) => {}
        _ => return Err(Stop::NotMine),
    }
    let kelvin = Bits::be(9, 2).number(data).ok_or(Stop::Malformed)?;
    let celsius = exact(kelvin) / 128.0 - 273.15;
    measured.push(Q::TemperatureC, (celsius * 100.0).round() / 100.0);
    if let Some(octets) = data.get(11..).and_then(<[u8]>::first_chunk) {
        let gravity = f64::from(f32::from_be_bytes(*octets)) / 1_000.0;
        measured.push(Q::SpecificGravity, (gravity * 10_000.0).round() / 10_000.0);
    }
    let battery = Bits::be(21, 2).number(data).ok_or(Stop::Malformed)?;
    measured.push(Q::BatteryPercent, (exact(battery) / 256.0).round());
    Ok(())
}

/// Size of the keg, what was in it, what flowed out of it, all in millilitres; then which tap, and its name,
/// which is not kept. The identifier is the one for tests, so the name has to be text.
fn kegtron(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let name = data.get(7..).unwrap_or_default();
    let text = name.iter().take_while(|octet| matches!(octet, b' '..=b'~')).count();
    if name.get(text..).is_none_or(|rest| rest.iter().any(|octet| *octet != 0)) {
        return Err(Stop::Malformed);
    }
    let number = |at| Bits::be(at, 2).number(data).ok_or(Stop::Malformed);
    let (started, dispensed) = (number(2)?, number(4)?);
    let tap = data.get(6).copied().ok_or(Stop::Malformed)?;
    measured.model = Some(if tap & 0x40 == 0 { "KT-100" } else { "KT-200" });
    let instance = tap >> 4 & 1;
    measured.push_at(Q::VolumeL, instance, exact(dispensed) / 1_000.0);
    if started >= dispensed {
        measured.push_at(Q::VolumeStorageL, instance, exact(started - dispensed) / 1_000.0);
    }
    Ok(())
}

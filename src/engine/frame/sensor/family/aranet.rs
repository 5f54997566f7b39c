//! Aranet4, Aranet2, Aranet Radiation and Aranet Radon, with "Smart Home integrations" switched on.
//!
//! Source: `github.com/Anrijs/Aranet4-Python` (client.py, advertisement), which the manufacturer
//! recommends.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Stop, Test},
};

const FAMILY: &str = "aranet";

const COMPANY: u16 = 0x0702;

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "Aranet",
    models: &["Aranet4", "Aranet2", "Aranet Radiation", "AranetRn"],
    quantities: &[
        Q::Co2Ppm,
        Q::TemperatureC,
        Q::HumidityPercent,
        Q::PressurePa,
        Q::BatteryPercent,
        Q::RadonBqM3,
        Q::RadiationUsvH,
        Q::RadiationDoseUsv,
        Q::DurationS,
    ],
    encryption: Encryption::Never,
    active_scan: ActiveScan::No,
    source: "github.com/Anrijs/Aranet4-Python",
};

// The other products tell their kind first; the Aranet4 begins with the flags.
pub(super) const DECODERS: &[Decoder] = &[
    Decoder::company(FAMILY, COMPANY)
        .length(22)
        .when(&[Test::bits(0, 0x20, 0x20)])
        .model("Aranet4")
        .counter(Bits::le(21, 1))
        .code(co2),
    Decoder::company(FAMILY, COMPANY)
        .at_least(24)
        .when(&[Test::is(0, 1), Test::bits(1, 0x20, 0x20)])
        .model("Aranet2")
        .counter(Bits::le(23, 1))
        .code(climate),
    Decoder::company(FAMILY, COMPANY)
        .at_least(23)
        .when(&[Test::is(0, 2), Test::bits(1, 0x20, 0x20)])
        .model("Aranet Radiation")
        .counter(Bits::le(22, 1))
        .fields(&[
            Field::le(Q::RadiationUsvH, 14, 2).per(1000),
            Field::le(Q::RadiationDoseUsv, 6, 4).per(1000),
            Field::le(Q::DurationS, 10, 4),
            Field::octet(Q::BatteryPercent, 17),
        ]),
    Decoder::company(FAMILY, COMPANY)
        .at_least(24)
        .when(&[Test::is(0, 3), Test::bits(1, 0x20, 0x20)])
        .model("AranetRn")
        .counter(Bits::le(23, 1))
        .code(radon),
];

fn co2(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    // The highest bit says that it is calibrating, or has no value.
    number(Q::Co2Ppm, data, 8, |raw| (raw < 0x8000).then(|| exact(raw)), measured);
    temperature(data, 10, measured);
    pressure(data, 12, measured);
    Field::octet(Q::HumidityPercent, 14).read(data, measured);
    Field::octet(Q::BatteryPercent, 15).read(data, measured);
    Ok(())
}

fn climate(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    temperature(data, 10, measured);
    tenths_of_humidity(data, measured);
    Field::octet(Q::BatteryPercent, 17).read(data, measured);
    Ok(())
}

/// Those without a sensor of climate tell 0 there.
fn radon(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    // From 0x1F00 on: an error, no value yet, too humid inside.
    number(Q::RadonBqM3, data, 8, |raw| (raw < 0x1f00).then(|| exact(raw)), measured);
    if data.get(10..12) != Some(&[0; 2]) {
        temperature(data, 10, measured);
    }
    pressure(data, 12, measured);
    if data.get(14..16) != Some(&[0; 2]) {
        tenths_of_humidity(data, measured);
    }
    Field::octet(Q::BatteryPercent, 17).read(data, measured);
    Ok(())
}

/// Steps of 0.05 °C. Bit 14 without bit 15 says that there is no value.
fn temperature(data: &[u8], at: usize, measured: &mut Measured) {
    let value = |raw: i64| {
        let signed = if raw >= 0xc000 { raw - 0x1_0000 } else { raw };
        (raw >> 14 != 1).then(|| exact(signed) / 20.0)
    };
    number(Q::TemperatureC, data, at, value, measured);
}

fn pressure(data: &[u8], at: usize, measured: &mut Measured) {
    number(Q::PressurePa, data, at, |raw| (raw < 0x8000).then(|| exact(raw * 10)), measured);
}

fn tenths_of_humidity(data: &[u8], measured: &mut Measured) {
    let value = |raw| (raw < 0x8000).then(|| exact(raw) / 10.0);
    number(Q::HumidityPercent, data, 14, value, measured);
}

fn number(
    quantity: Q,
    data: &[u8],
    at: usize,
    value: impl Fn(i64) -> Option<f64>,
    measured: &mut Measured,
) {
    if let Some(value) = Bits::le(at, 2).number(data).and_then(value) {
        measured.push(quantity, value);
    }
}

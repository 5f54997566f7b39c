//! Thermometers and hygrometers whose format fits into a few lines: Sensirion, `SensorPush`,
//! Jaalee.
//!
//! Sources: Sensirion, `github.com/Sensirion/arduino-ble-gadget` (sample types); `SensorPush`, the parser
//! of Home Assistant (pypi.org/project/sensorpush-ble); Jaalee, the parser of
//! `github.com/custom-components/ble_monitor`.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Stop, Test},
};

const SENSIRION: &str = "sensirion";
const SENSORPUSH: &str = "sensorpush";
const JAALEE: &str = "jaalee";

pub(super) const ABOUT: &[About] = &[
    About {
        family: SENSIRION,
        name: "Sensirion gadgets",
        models: &["SHT3x", "SHT4x", "MyCO2"],
        quantities: &[Q::TemperatureC, Q::HumidityPercent, Q::Co2Ppm],
        encryption: Encryption::Never,
        active_scan: ActiveScan::No,
        source: "github.com/Sensirion/arduino-ble-gadget; sensirion-ble",
    },
    About {
        family: SENSORPUSH,
        name: "SensorPush",
        models: &["HT1", "HT.w", "HTP.xw", "TC.x"],
        quantities: &[Q::TemperatureC, Q::HumidityPercent, Q::PressurePa],
        encryption: Encryption::Never,
        active_scan: ActiveScan::Yes,
        source: "sensorpush-ble",
    },
    About {
        family: JAALEE,
        name: "Jaalee",
        models: &["JHT"],
        quantities: &[Q::TemperatureC, Q::HumidityPercent, Q::BatteryPercent],
        encryption: Encryption::Never,
        active_scan: ActiveScan::No,
        source: "ble_monitor",
    },
];

const CELSIUS: Field = Field::be(Q::TemperatureC, 0, 2).scaled(175, -45 * 65_535, 65_535);

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::company(SENSIRION, 0x06d5).at_least(8).when(&[Test::is(0, 0)]).code(gadget),
    Decoder::named(SENSORPUSH, &["SensorPush", "HTP.xw", "HT.w", "TC", "s"]).at_least(3).code(push),
    // An iBeacon whose UUID ends in F525, and whose major and minor are the values.
    Decoder::company(JAALEE, 0x004c)
        .length(24)
        .when(&[Test::is(0, 0x02), Test::is(16, 0xf5), Test::is(17, 0x25)])
        .model("JHT")
        .fields(&[
            sht(Q::TemperatureC, 18),
            Field::be(Q::HumidityPercent, 20, 2).scaled(100, 0, 65_535),
            Field::octet(Q::BatteryPercent, 23),
        ]),
    jaalee(0xf51c),
    jaalee(0xf525),
];

/// A 16-bit number of the whole range of a sensor by Sensirion.
const fn sht(quantity: Q, at: usize) -> Field {
    Field { quantity, bits: Bits::be(at, 2), ..CELSIUS }
}

/// Battery, address, values.
const fn jaalee(service: u16) -> Decoder {
    Decoder::service(JAALEE, service).length(11).model("JHT").fields(JHT)
}

const JHT: &[Field] = &[
    sht(Q::TemperatureC, 7),
    Field::be(Q::HumidityPercent, 9, 2).scaled(100, 0, 65_535),
    Field::octet(Q::BatteryPercent, 0),
];

/// Kind of the sample, identifier of the device, then the samples, rounded to what the sensor tells.
fn gadget(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let ticks = |at| Bits::le(at, 2).number(data).map(exact).ok_or(Stop::Malformed);
    let (temperature, humidity) = (ticks(4)? * 175.0 / 65_535.0 - 45.0, ticks(6)?);
    let (model, humidity, decimals) = match data.get(1) {
        Some(4) => ("SHT3x", humidity * 100.0 / 65_535.0, 10.0),
        Some(6) => ("SHT4x", humidity * 125.0 / 65_535.0 - 6.0, 100.0),
        Some(8) => ("MyCO2", humidity * 100.0 / 65_535.0, 10.0),
        _ => return Err(Stop::NotMine),
    };
    measured.model = Some(model);
    measured.push(Q::TemperatureC, rounded(temperature, decimals));
    measured.push(Q::HumidityPercent, rounded(humidity.max(0.0), decimals));
    if model == "MyCO2" {
        measured.push(Q::Co2Ppm, ticks(8)?);
    }
    Ok(())
}

fn rounded(value: f64, decimals: f64) -> f64 {
    (value * decimals).round() / decimals
}

/// The service that the HT1 lists.
const HT1: u128 = 0xef09_0000_11d6_42ba_93b8_9dd7_ec09_0aa9;

fn push(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    if heard.name() == b"s" {
        return if heard.lists_long(HT1) { ht1(data, measured) } else { Err(Stop::NotMine) };
    }
    // A page of 0 has the values; the product stands above it.
    let product = match data.first() {
        Some(page) if page.trailing_zeros() >= 2 => page >> 2,
        _ => return Err(Stop::NotMine),
    };
    let packed = data.get(1..).unwrap_or_default();
    if packed.len() > 7 {
        return Err(Stop::NotMine);
    }
    let mut packed =
        packed.iter().rev().fold(0_i64, |number, octet| number << 8 | i64::from(*octet));
    // The values are digits of one number, each with as many steps as its range has.
    let mut digit = |steps: i64| {
        let digit = packed % steps;
        packed /= steps;
        digit
    };
    let hundredths = |steps: i64, size: f64, zero: f64| rounded(exact(steps) / size + zero, 100.0);
    match product {
        0 => {
            measured.model = Some("HTP.xw");
            measured.push(Q::TemperatureC, hundredths(digit(72_001), 400.0, -40.0));
            measured.push(Q::HumidityPercent, hundredths(digit(40_001), 400.0, 0.0));
            measured.push(Q::PressurePa, exact(digit(95_001) + 30_000));
        }
        1 => {
            measured.model = Some("HT.w");
            measured.push(Q::TemperatureC, hundredths(digit(66_001), 400.0, -40.0));
            measured.push(Q::HumidityPercent, hundredths(digit(40_001), 400.0, 0.0));
        }
        2 => {
            measured.model = Some("TC.x");
            measured.push(Q::TemperatureC, hundredths(digit(32_001), 16.0, -200.0));
        }
        _ => return Err(Stop::NotMine),
    }
    Ok(())
}

/// Raw numbers of an `SHT2x`: 12 bits of humidity, 14 of temperature, 5 of the product.
fn ht1(data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let part = |shift, width| Bits::le(0, 4).part(shift, width).number(data);
    if part(26, 5) != Some(1) {
        return Err(Stop::NotMine);
    }
    let (humidity, temperature) =
        (part(0, 12).ok_or(Stop::Malformed)?, part(12, 14).ok_or(Stop::Malformed)?);
    measured.model = Some("HT1");
    let celsius = exact(temperature) * 175.72 / 16_384.0 - 46.85;
    measured.push(Q::TemperatureC, rounded(celsius, 100.0));
    let percent = (exact(humidity) * 125.0 / 4_096.0 - 6.0).clamp(0.0, 100.0);
    measured.push(Q::HumidityPercent, rounded(percent, 100.0));
    Ok(())
}

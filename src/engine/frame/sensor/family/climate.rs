//! Thermometers and hygrometers whose format fits into a few lines: Sensirion, `SensorPush`,
//! Jaalee.
//!
//! Sources: Sensirion, `github.com/Sensirion/ble-services` (advertisement sample types); `SensorPush`, the parser
//! of Home Assistant (pypi.org/project/sensorpush-ble); Jaalee, the parser of
//! `github.com/custom-components/ble_monitor`.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Carrier, Decoder, Field, Heard, Measured, Stop, Test},
};

const SENSIRION: &str = "sensirion";
const SENSORPUSH: &str = "sensorpush";
const JAALEE: &str = "jaalee";

pub(super) const ABOUT: &[About] = &[
    About {
        family: SENSIRION,
        name: "Sensirion gadgets",
        models: &["SHT3x", "SHT4x", "MyCO2", "SEN54", "SEN55", "SEN63C", "SEN66"],
        quantities: &[
            Q::TemperatureC,
            Q::HumidityPercent,
            Q::Co2Ppm,
            Q::Pm2p5UgM3,
            Q::VocIndex,
            Q::NoxIndex,
            Q::FormaldehydeUgM3,
        ],
        encryption: Encryption::Never,
        active_scan: ActiveScan::No,
        source: "github.com/Sensirion/ble-services; sensirion-ble",
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

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::company(SENSIRION, 0x06d5).at_least(8).when(&[Test::is(0, 0)]).code(gadget),
    Decoder::named(SENSORPUSH, &["SensorPush", "HTP.xw", "HT.w", "TC", "s"]).at_least(3).code(push),
    Decoder::new(SENSORPUSH, Carrier::LongListed(SECOND)).at_least(3).code(push),
    // An iBeacon whose UUID ends in F525, and whose major and minor are the values.
    Decoder::company(JAALEE, 0x004c)
        .length(24)
        .when(&[Test::is(0, 0x02), Test::is(16, 0xf5), Test::is(17, 0x25)])
        .model("JHT")
        .code(|_: &Heard<'_>, data: &[u8], measured: &mut Measured| jht(data, 18, 23, measured)),
    jaalee(0xf51c),
    jaalee(0xf525),
];

/// Battery, address, values.
const fn jaalee(service: u16) -> Decoder {
    Decoder::service(JAALEE, service)
        .length(11)
        .model("JHT")
        .code(|_: &Heard<'_>, data: &[u8], measured: &mut Measured| jht(data, 7, 0, measured))
}

/// Two numbers of the whole range of a sensor by Sensirion, and the battery.
fn jht(data: &[u8], at: usize, battery: usize, measured: &mut Measured) -> Result<(), Stop> {
    let ticks = |at| Bits::be(at, 2).number(data).map(exact).ok_or(Stop::Malformed);
    measured.push(Q::TemperatureC, rounded(celsius(ticks(at)?), 100.0));
    measured.push(Q::HumidityPercent, rounded(ticks(at + 2)? * 100.0 / 65_535.0, 100.0));
    Field::octet(Q::BatteryPercent, battery).read(data, measured);
    Ok(())
}

fn celsius(ticks: f64) -> f64 {
    ticks * 175.0 / 65_535.0 - 45.0
}

/// What stands behind temperature and humidity, by the kind of the sample, and who sends it.
type Sample = (u8, Option<&'static str>, &'static [Q]);

const SAMPLES: &[Sample] = &[
    (0x03, None, &[Q::VocIndex]),
    (0x04, Some("SHT3x"), &[]),
    (0x06, Some("SHT4x"), &[]),
    (0x08, Some("MyCO2"), &[Q::Co2Ppm]),
    (0x0a, Some("MyCO2"), &[Q::Co2Ppm]),
    (0x0c, Some("SEN63C"), &[Q::Co2Ppm, Q::Pm2p5UgM3]),
    (0x0e, None, &[Q::FormaldehydeUgM3]),
    (0x10, Some("SEN54"), &[Q::VocIndex, Q::Pm2p5UgM3]),
    (0x14, None, &[Q::Co2Ppm, Q::VocIndex, Q::Pm2p5UgM3, Q::FormaldehydeUgM3]),
    (0x16, None, &[Q::VocIndex, Q::NoxIndex]),
    (0x18, Some("SEN55"), &[Q::VocIndex, Q::NoxIndex, Q::Pm2p5UgM3]),
    (0x1a, Some("SEN66"), &[Q::Co2Ppm, Q::VocIndex, Q::NoxIndex, Q::Pm2p5UgM3]),
    (0x1c, None, &[Q::Co2Ppm, Q::Pm2p5UgM3]),
    (0x1e, None, &[Q::VocIndex, Q::Pm2p5UgM3]),
    (0x20, None, &[Q::Co2Ppm, Q::VocIndex, Q::Pm2p5UgM3, Q::FormaldehydeUgM3]),
];

/// From this kind on particles are in tenths; before, in 65,535ths of 1,000.
const TENTHS: u8 = 0x18;

/// Kind of the sample, identifier of the device, then the samples, rounded to what the sensor tells.
fn gadget(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let ticks = |at| Bits::le(at, 2).number(data).map(exact).ok_or(Stop::Malformed);
    let kind = data.get(1).copied().ok_or(Stop::Malformed)?;
    let sample = SAMPLES.iter().find(|(known, ..)| *known == kind).ok_or(Stop::NotMine)?;
    let (_, model, more) = *sample;
    measured.model = model;
    let fine = kind == 0x06;
    let decimals = if fine { 100.0 } else { 10.0 };
    let humidity = ticks(6)?;
    let humidity = if fine { humidity * 1.25 - 6.0 * 655.35 } else { humidity } / 655.35;
    measured.push(Q::TemperatureC, rounded(celsius(ticks(4)?), decimals));
    measured.push(Q::HumidityPercent, rounded(humidity.max(0.0), decimals));
    for (quantity, at) in more.iter().zip((8..).step_by(2)) {
        let value = match quantity {
            Q::Pm2p5UgM3 if kind >= TENTHS => ticks(at)? / 10.0,
            Q::Pm2p5UgM3 => rounded(ticks(at)? * 1_000.0 / 65_535.0, 10.0),
            // Fifths of a part in a billion, of which one is 1.228 µg/m³ at 25 °C.
            Q::FormaldehydeUgM3 => rounded(ticks(at)? * 1.228 / 5.0, 100.0),
            _ => ticks(at)?,
        };
        measured.push(*quantity, value);
    }
    Ok(())
}

fn rounded(value: f64, decimals: f64) -> f64 {
    (value * decimals).round() / decimals
}

/// The service that the HT1 lists.
const HT1: u128 = 0xef09_0000_11d6_42ba_93b8_9dd7_ec09_0aa9;

/// The one that the later ones list.
const SECOND: u128 = 0xef09_0000_11d6_42ba_93b8_9dd7_ec09_0ab0;

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

//! iNode energy meters and care sensors.
//!
//! Source: the parser of `github.com/custom-components/ble_monitor`, after the manufacturer's description
//! of the frames (iNode, ramki rozgłoszeniowe). The high octet of the company identifier is the product.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Stop},
};

const FAMILY: &str = "inode";

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "iNode",
    models: &[
        "Energy Meter",
        "Care Sensor 1",
        "Care Sensor 2",
        "Care Sensor 3",
        "Care Sensor 4",
        "Care Sensor 5",
        "Care Sensor 6",
        "Care Sensor T",
        "Care Sensor HT",
        "Care Sensor PT",
        "Care Sensor PHT",
    ],
    quantities: &[
        Q::EnergyKwh,
        Q::PowerW,
        Q::VolumeL,
        Q::VolumeFlowM3H,
        Q::Count,
        Q::TemperatureC,
        Q::HumidityPercent,
        Q::PressurePa,
        Q::Moving,
        Q::BatteryPercent,
        Q::BatteryV,
    ],
    encryption: Encryption::Never,
    active_scan: ActiveScan::No,
    source: "ble_monitor",
};

/// Products, and how each counts degrees.
const CARE: &[(u8, &str, Celsius)] = &[
    (0x91, "Care Sensor 1", Celsius::Whole),
    (0x92, "Care Sensor 2", Celsius::Sixteenths),
    (0x93, "Care Sensor 3", Celsius::Sht),
    (0x94, "Care Sensor 4", Celsius::Whole),
    (0x95, "Care Sensor 5", Celsius::Whole),
    (0x96, "Care Sensor 6", Celsius::Whole),
    (0x9a, "Care Sensor T", Celsius::Sixteenths),
    (0x9b, "Care Sensor HT", Celsius::Sht),
    (0x9c, "Care Sensor PT", Celsius::Barometer),
    (0x9d, "Care Sensor PHT", Celsius::Sht),
];

#[derive(Clone, Copy)]
enum Celsius {
    Whole,
    Sixteenths,
    Sht,
    Barometer,
}

/// The low octet: with the second one the meter or sensor sends on its own.
const LOW: [u8; 2] = [0x90, 0xa0];

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which stops at a panic")]
const TABLE: [Decoder; 2 + 2 * CARE.len()] = {
    let meter = Decoder::company(FAMILY, 0).length(11).model("Energy Meter").code(meter);
    let mut table = [meter; 2 + 2 * CARE.len()];
    let mut n = 0;
    while n < LOW.len() {
        let at = n * (1 + CARE.len());
        table[at] = Decoder { carrier: carrier(0x82, LOW[n]), ..meter };
        let mut product = 0;
        while product < CARE.len() {
            let (high, model, _) = CARE[product];
            let care = Decoder::company(FAMILY, 0).length(22).model(model).code(care);
            table[at + 1 + product] = Decoder { carrier: carrier(high, LOW[n]), ..care };
            product += 1;
        }
        n += 1;
    }
    table
};

const fn carrier(high: u8, low: u8) -> crate::engine::frame::sensor::Carrier {
    crate::engine::frame::sensor::Carrier::Company(u16::from_le_bytes([low, high]))
}

pub(super) const DECODERS: &[Decoder] = &TABLE;

/// Pulses in the last minute and in all, how many of them are a unit, battery, the day before.
fn meter(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let number = |bits: Bits| bits.number(data).ok_or(Stop::Malformed);
    let (minute, all) = (number(Bits::le(0, 2))?, number(Bits::le(2, 4))?);
    let given = number(Bits::le(6, 2).part(0, 14))?;
    let a_unit = |default| exact(if given == 0 { default } else { given });
    match number(Bits::le(6, 2).part(14, 2))? {
        0 => {
            measured.push(Q::EnergyKwh, exact(all) / a_unit(100));
            measured.push(Q::PowerW, exact(minute * 60_000) / a_unit(100));
        }
        // Cubic metres, of water or of gas.
        1 => {
            measured.push(Q::VolumeL, exact(all * 1_000) / a_unit(1_000));
            measured.push(Q::VolumeFlowM3H, exact(minute * 60) / a_unit(1_000));
        }
        _ => measured.push(Q::Count, exact(all) / a_unit(1)),
    }
    battery(number(Bits::le(8, 1).part(4, 4))?, measured);
    Ok(())
}

/// Groups and battery, alarms, pressure or position, temperature, humidity, time, signature.
fn care(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let number = |bits: Bits| bits.number(data).ok_or(Stop::Malformed);
    let (high, model, celsius) =
        CARE.iter().find(|(_, model, _)| Some(*model) == measured.model).ok_or(Stop::NotMine)?;
    let raw = number(Bits::le(6, 2))?;
    let degrees = match celsius {
        Celsius::Whole => exact(number(Bits::le(6, 2).part(0, 13).signed())?),
        Celsius::Sixteenths => exact(number(Bits::le(6, 2).part(0, 13).signed())?) / 16.0,
        Celsius::Sht => exact(raw) * 4.0 * 175.72 / 65_536.0 - 46.85,
        Celsius::Barometer => 42.5 + exact(number(Bits::le(6, 2).signed())?) / 480.0,
    };
    // What it is made for; it counts on beyond.
    measured.push(Q::TemperatureC, hundredths(degrees.clamp(-30.0, 70.0)));
    if model.contains('H') || *high == 0x93 {
        let percent = exact(number(Bits::le(8, 2))?) * 4.0 * 125.0 / 65_536.0 - 6.0;
        measured.push(Q::HumidityPercent, hundredths(percent.clamp(1.0, 100.0)));
    }
    if model.contains('P') {
        Field::le(Q::PressurePa, 4, 2).scaled(100, 0, 16).read(data, measured);
    }
    if *high < 0x9a {
        Field::bit(Q::Moving, 5, 7).read(data, measured);
    }
    battery(number(Bits::le(1, 1).part(4, 4))?, measured);
    Ok(())
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Steps of ten percent, from 1; 1 itself says that it is full, or on a cable.
fn battery(step: i64, measured: &mut Measured) {
    let percent = if step == 1 { 100 } else { 10 * (step.min(11) - 1) };
    measured.push(Q::BatteryPercent, exact(percent));
    if percent > 0 {
        measured.push(Q::BatteryV, exact(18_000 + (percent - 10) * 120) / 10_000.0);
    }
}

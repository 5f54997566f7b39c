//! `ThermoPro` thermometers. Where the company identifier should be stands a part of the value, so the
//! name tells that it is one.
//!
//! Source: the parser of Home Assistant (pypi.org/project/thermopro-ble).

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Model, Stop},
};

const FAMILY: &str = "thermopro";

const MODELS: &[(&str, &str)] = &[
    ("TP350S", "TP350S"),
    ("TP350", "TP350"),
    ("TP351", "TP351"),
    ("TP352", "TP352"),
    ("TP353", "TP353"),
    ("TP354", "TP354"),
    ("TP355", "TP355"),
    ("TP356", "TP356"),
    ("TP357S", "TP357S"),
    ("TP357", "TP357"),
    ("TP358S", "TP358S"),
    ("TP358", "TP358"),
    ("TP359S", "TP359S"),
    ("TP359", "TP359"),
    ("TP390", "TP390"),
    ("TP393", "TP393"),
    ("TP397", "TP397"),
    ("TP960R", "TP960R"),
    ("TP962R", "TP962R"),
    ("TP96", "TP96"),
    ("TP972S", "TP972S"),
    ("TP972", "TP972"),
    ("TP970R", "TP970R"),
    ("TP970", "TP970"),
    ("TP97", "TP97"),
];

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "ThermoPro",
    models: &[
        "TP350S", "TP350", "TP351", "TP352", "TP353", "TP354", "TP355", "TP356", "TP357S", "TP357",
        "TP358S", "TP358", "TP359S", "TP359", "TP390", "TP393", "TP397", "TP960R", "TP962R",
        "TP96", "TP972S", "TP972", "TP970R", "TP970", "TP97",
    ],
    quantities: &[Q::TemperatureC, Q::HumidityPercent, Q::BatteryPercent],
    encryption: Encryption::Never,
    active_scan: ActiveScan::Sometimes,
    source: "thermopro-ble",
};

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::named(FAMILY, &["TP35", "TP39"])
        .at_least(6)
        .models(Model::ByName(MODELS))
        .code(climate),
    probe(7),
    probe(13),
    Decoder::named(FAMILY, &["TP97"]).length(23).models(Model::ByName(MODELS)).code(three_in_one),
];

const fn probe(octets: usize) -> Decoder {
    Decoder::named(FAMILY, &["TP96", "TP97"])
        .length(octets)
        .models(Model::ByName(MODELS))
        .code(spike)
}

const BATTERY: Field =
    Field::octet(Q::BatteryPercent, 4).part(0, 2).map(&[(0, 1.0), (1, 50.0), (2, 100.0)]);

fn climate(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    if data.get(1..4) != Some(&[0xff; 3]) {
        Field::le(Q::TemperatureC, 1, 2).signed().per(10).read(data, measured);
        Field::octet(Q::HumidityPercent, 3).read(data, measured);
    }
    BATTERY.read(data, measured);
    Ok(())
}

/// A probe for meat: within and around it, in °C over -30. The battery's voltage is not linear in its
/// charge; the curve is the one of the source.
fn spike(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let number = |at| Bits::le(at, 2).number(data).ok_or(Stop::Malformed);
    let probe = data.first().map_or(0, |probe| probe.saturating_mul(2));
    measured.push_at(Q::TemperatureC, probe, exact(number(1)? - 30));
    measured.push_at(Q::TemperatureC, probe.saturating_add(1), exact(number(5)? - 30));
    measured.push_at(Q::BatteryPercent, probe / 2, charge(number(3)?));
    Ok(())
}

fn charge(millivolts: i64) -> f64 {
    let charge = 52.317_286_f64
        .mul_add((exact(millivolts) / 273.624_277_936 - 8.764_854_394_39).tanh(), 51.069_25);
    charge.clamp(0.0, 100.0).round()
}

/// At the tip, in the middle and at the end, then around it, all in °F over -54; the first three are
/// numbers of single precision.
fn three_in_one(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let number = |at| Bits::le(at, 2).number(data).ok_or(Stop::Malformed);
    let first = data.first().map_or(0, |probe| probe.saturating_mul(4));
    let celsius = |fahrenheit: f64| ((fahrenheit - 54.0 - 32.0) * 50.0 / 9.0).round() / 10.0;
    for (probe, at) in [(0, 5), (1, 9), (2, 13)] {
        let octets = data.get(at..).and_then(<[u8]>::first_chunk).ok_or(Stop::Malformed)?;
        let inside = celsius(f64::from(f32::from_le_bytes(*octets)));
        measured.push_at(Q::TemperatureC, first.saturating_add(probe), inside);
    }
    let around = celsius(exact(number(1)?)).trunc();
    measured.push_at(Q::TemperatureC, first.saturating_add(3), around);
    measured.push_at(Q::BatteryPercent, first / 4, charge(number(3)?));
    Ok(())
}

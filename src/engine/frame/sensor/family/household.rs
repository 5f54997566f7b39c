//! Sensors of single products: b-parasite, Moat, `SmartDry`, Blustream, HHCC, Almendo, Hörmann, Jinou, Oras.
//!
//! Source: the parsers of `github.com/custom-components/ble_monitor`, and for b-parasite
//! `github.com/rbaron/b-parasite` (docs).

use super::{About, about};
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Carrier, Decoder, Field, Heard, Measured, Stop, Test},
};

const B_PARASITE: &str = "b_parasite";
const MOAT: &str = "moat";
const SMARTDRY: &str = "smartdry";
const BLUSTREAM: &str = "blustream";
const HHCC: &str = "hhcc";
const ALMENDO: &str = "almendo";
const HORMANN: &str = "hormann";
const JINOU: &str = "jinou";
const ORAS: &str = "oras";
const GARNET: &str = "garnet";

pub(super) const ABOUT: &[About] = &[
    about(
        B_PARASITE,
        "b-parasite",
        &["b-parasite V1.0.0", "b-parasite V1.1.0"],
        &[Q::TemperatureC, Q::HumidityPercent, Q::MoisturePercent, Q::IlluminanceLx, Q::BatteryV],
        "ble_monitor",
    ),
    about(
        MOAT,
        "Moat",
        &["S2"],
        &[Q::TemperatureC, Q::HumidityPercent, Q::BatteryV, Q::BatteryPercent],
        "ble_monitor",
    ),
    about(
        SMARTDRY,
        "SmartDry",
        &["SmartDry cloth dryer"],
        &[Q::TemperatureC, Q::HumidityPercent, Q::Running],
        "ble_monitor",
    ),
    about(
        BLUSTREAM,
        "Blustream",
        &["Blustream"],
        &[Q::TemperatureC, Q::HumidityPercent],
        "ble_monitor",
    ),
    about(
        HHCC,
        "HHCC Flower Care (Tuya)",
        &["HHCCJCY10"],
        &[
            Q::TemperatureC,
            Q::MoisturePercent,
            Q::IlluminanceLx,
            Q::ConductivityUsCm,
            Q::BatteryPercent,
        ],
        "ble_monitor",
    ),
    about(
        ALMENDO,
        "Almendo bluSensor",
        &["bluSensor Mini"],
        &[Q::TemperatureC, Q::HumidityPercent, Q::Co2Ppm, Q::VocPpb],
        "ble_monitor",
    ),
    about(
        HORMANN,
        "Hörmann garage doors",
        &["Supramatic E4 BS"],
        &[Q::GarageDoorOpen, Q::LevelPercent],
        "ble_monitor",
    ),
    about(JINOU, "Jinou", &["BEC07-5"], &[Q::TemperatureC, Q::HumidityPercent], "ble_monitor"),
    about(ORAS, "Oras", &["Electra Washbasin Faucet"], &[Q::BatteryPercent], "ble_monitor"),
    about(
        GARNET,
        "Garnet SeeLevel (tanks of vehicles)",
        &["SeeLevel 709-BT"],
        &[Q::LevelPercent, Q::VoltageV, Q::Problem],
        "ble_monitor",
    ),
];

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::service(B_PARASITE, 0x181a)
        .length(16)
        .model("b-parasite V1.0.0")
        .counter(Bits::be(1, 1))
        .fields(PLANT),
    Decoder::service(B_PARASITE, 0x181a)
        .length(18)
        .model("b-parasite V1.1.0")
        .counter(Bits::be(1, 1))
        .fields(PLANT),
    Decoder::company(MOAT, 0x1000).length(18).model("S2").code(moat),
    Decoder::service(MOAT, 0x1000).at_least(16).names(&["Moat", "moat"]).model("S2").code(moat),
    Decoder::company(SMARTDRY, 0x01ae).length(12).model("SmartDry cloth dryer").code(smartdry),
    Decoder::company(BLUSTREAM, 0x0194).length(9).model("Blustream").fields(&[
        Field::be(Q::TemperatureC, 7, 2).signed().per(100),
        Field::be(Q::HumidityPercent, 5, 2).per(100),
    ]),
    Decoder::service(HHCC, 0xfd50).length(9).model("HHCCJCY10").fields(&[
        Field::be(Q::TemperatureC, 1, 2).per(10),
        Field::octet(Q::MoisturePercent, 0),
        Field::be(Q::IlluminanceLx, 3, 3),
        Field::be(Q::ConductivityUsCm, 7, 2),
        Field::octet(Q::BatteryPercent, 6),
    ]),
    Decoder::company(ALMENDO, 0x06e8)
        .at_least(16)
        .when(&[Test::is(0, 1), Test::is(2, 0x0a)])
        .model("bluSensor Mini")
        .fields(&[
            Field::le(Q::TemperatureC, 7, 2).signed().per(100),
            Field::le(Q::HumidityPercent, 9, 2).per(100),
            Field::le(Q::Co2Ppm, 11, 2),
            Field::le(Q::VocPpb, 13, 2),
        ]),
    Decoder::company(HORMANN, 0x07b4).length(17).model("Supramatic E4 BS").code(hormann),
    Decoder::new(JINOU, Carrier::Listed(0xaa20)).length(13).model("BEC07-5").code(jinou),
    Decoder::company(ORAS, 0x0131)
        .length(18)
        .model("Electra Washbasin Faucet")
        .fields(&[Field::octet(Q::BatteryPercent, 1)]),
    Decoder::company(GARNET, 0x0131).length(14).model("SeeLevel 709-BT").code(garnet),
];

// Protocol, counter, battery, the values, address. Version 2 of the protocol has hundredths.
const PLANT: &[Field] = &[
    Field::be(Q::TemperatureC, 4, 2).signed().per(100).when(&[Test::bits(0, 0xf0, 0x20)]),
    Field::be(Q::TemperatureC, 4, 2).signed().per(1000).when(&[Test::bits(0, 0xf0, 0x10)]),
    Field::be(Q::HumidityPercent, 6, 2).scaled(100, 0, 65_536),
    Field::be(Q::MoisturePercent, 8, 2).scaled(100, 0, 65_536),
    Field::be(Q::BatteryV, 2, 2).per(1000),
    // The first version has none, and ends before it.
    Field::be(Q::IlluminanceLx, 16, 2),
];

/// Raw numbers of an `SHT2x`.
fn moat(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let ticks = |at| Bits::le(at, 2).number(data).map(exact).ok_or(Stop::Malformed);
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    measured.push(Q::TemperatureC, rounded(ticks(10)? * 175.72 / 65_536.0 - 46.85));
    measured.push(Q::HumidityPercent, rounded(ticks(12)? * 125.0 / 65_536.0 - 6.0));
    let millivolts = ticks(14)?;
    measured.push(Q::BatteryV, millivolts / 1000.0);
    // Straight lines, as the source has them; steeper towards the end.
    let charge = match millivolts {
        3000.0.. => 100.0,
        2900.0.. => 42.0 + (millivolts - 2900.0) * 0.58,
        2740.0.. => 18.0 + (millivolts - 2740.0) * 0.15,
        2440.0.. => 6.0 + (millivolts - 2440.0) * 0.04,
        2100.0.. => (millivolts - 2100.0) * 6.0 / 340.0,
        _ => 0.0,
    };
    measured.push(Q::BatteryPercent, (charge * 10.0).round() / 10.0);
    Ok(())
}

/// Two numbers of single precision, and whether it is awake (6).
fn smartdry(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    for (quantity, at) in [(Q::TemperatureC, 0), (Q::HumidityPercent, 4)] {
        let octets = data.get(at..).and_then(<[u8]>::first_chunk).ok_or(Stop::Malformed)?;
        measured.push(quantity, f64::from(f32::from_le_bytes(*octets)));
    }
    Field::octet(Q::Running, 11).map(&[(0, 0.0), (6, 1.0)]).read(data, measured);
    Ok(())
}

/// How far it is open, in half percents.
fn hormann(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let half_percents = Bits::le(1, 1).number(data).ok_or(Stop::Malformed)?;
    measured.flag(Q::GarageDoorOpen, half_percents > 0);
    measured.push(Q::LevelPercent, exact(half_percents) / 2.0);
    Ok(())
}

/// Where the company identifier should be stand the sign and the degrees.
fn jinou(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let &[sign @ 0..=1, degrees, tenths @ 0..=9, _, percent, percent_tenths @ 0..=9, ..] = data
    else {
        return Err(Stop::NotMine);
    };
    let celsius = i64::from(degrees) * 10 + i64::from(tenths);
    measured.push(Q::TemperatureC, exact(if sign == 1 { -celsius } else { celsius }) / 10.0);
    let humidity = i64::from(percent) * 10 + i64::from(percent_tenths);
    measured.push(Q::HumidityPercent, exact(humidity) / 10.0);
    Ok(())
}

/// Its identifier, which sensor, then digits: value, volume, total, alarm. The instance is the sensor's
/// number: 0 fresh, 1 black, 2 grey, 3 and 4 gas, 5 and 6 galley, 11 and 12 chemical.
fn garnet(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let [_, _, _, sensor @ 0..=13, a, b, c, volumes @ .., alarm @ b'0'..=b'9'] = data else {
        return Err(Stop::NotMine);
    };
    if !volumes.iter().all(|octet| matches!(octet, b' ' | b'0'..=b'9')) {
        return Err(Stop::NotMine);
    }
    // Letters where the sensor has failed.
    let value = [*a, *b, *c];
    let value = str::from_utf8(&value).ok().and_then(|digits| digits.trim().parse::<i16>().ok());
    let value = f64::from(value.ok_or(Stop::Malformed)?);
    match *sensor {
        0..=6 | 11 | 12 => measured.push_at(Q::LevelPercent, *sensor, value),
        13 => measured.push(Q::VoltageV, value / 10.0),
        // Temperatures, whose unit is not published.
        _ => {}
    }
    measured.push_at(Q::Problem, *sensor, f64::from(u8::from(*alarm != b'0')));
    Ok(())
}

//! Sensors for buildings: `EnOcean`, Laird, `HibouAir`, Estimote.
//!
//! Sources: `EnOcean`, STM 550B and PTM 215B user manuals (`EnOcean` BLE sensor protocol, and the signature
//! that each telegram ends with, which is checked where the sensor's key is known); Laird
//! Connectivity, BT510 and BT610 user guides (advertisement format); Smart Sensor Devices, `HibouAir` API;
//! the last three as decoded by reelyActive (MIT), `github.com/reelyactive/advlib-ble-manufacturers`;
//! Estimote, `github.com/Estimote/estimote-specs` (estimote-telemetry.js).

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Action, Quantity as Q,
    ad::ad_type,
    reading::exact,
    sensor::{
        Bits, Decoder, Field, Heard, Measured, Stop, Test,
        cipher::{self, TAG, reversed},
    },
};

const ENOCEAN: &str = "enocean";
const ENOCEAN_COMPANY: u16 = 0x03da;
const SWITCH: &str = "PTM 215B";
/// How the addresses of all switches begin.
const SWITCHES: [u8; 2] = [0xe2, 0x15];
const LAIRD: &str = "laird";
const HIBOUAIR: &str = "hibouair";
const ESTIMOTE: &str = "estimote";

pub(super) const ABOUT: &[About] = &[
    About {
        family: ENOCEAN,
        name: "EnOcean BLE",
        models: &[SWITCH, "STM 550B, EMDCB"],
        quantities: &[
            Q::Button,
            Q::TemperatureC,
            Q::HumidityPercent,
            Q::PressurePa,
            Q::IlluminanceLx,
            Q::Motion,
            Q::Open,
            Q::Moving,
            Q::AccelerationXMS2,
            Q::AccelerationYMS2,
            Q::AccelerationZMS2,
            Q::BatteryV,
            Q::BatteryPercent,
        ],
        encryption: Encryption::Signed,
        active_scan: ActiveScan::No,
        source: "EnOcean, user manuals of PTM 215B and STM 550B; advlib-ble-manufacturers",
    },
    About {
        family: LAIRD,
        name: "Laird Connectivity (Ezurio)",
        models: &["BT510", "BT610"],
        quantities: &[
            Q::TemperatureC,
            Q::DoorOpen,
            Q::Moving,
            Q::BatteryV,
            Q::VoltageV,
            Q::CurrentA,
            Q::DistanceM,
            Q::PressurePa,
            Q::Tamper,
        ],
        encryption: Encryption::Never,
        active_scan: ActiveScan::No,
        source: "Laird Connectivity, user guides; advlib-ble-manufacturers",
    },
    About {
        family: HIBOUAIR,
        name: "HibouAir (Smart Sensor Devices)",
        models: &["HibouAir PM", "HibouAir CO2", "HibouAir CO2 Noise"],
        quantities: &[
            Q::TemperatureC,
            Q::HumidityPercent,
            Q::PressurePa,
            Q::IlluminanceLx,
            Q::SoundLevelDb,
            Q::VocPpb,
            Q::Pm1UgM3,
            Q::Pm2p5UgM3,
            Q::Pm10UgM3,
            Q::Co2Ppm,
        ],
        encryption: Encryption::Never,
        active_scan: ActiveScan::No,
        source: "Smart Sensor Devices; advlib-ble-manufacturers",
    },
    About {
        family: ESTIMOTE,
        name: "Estimote telemetry",
        models: &[],
        quantities: &[
            Q::AccelerationXMS2,
            Q::AccelerationYMS2,
            Q::AccelerationZMS2,
            Q::Moving,
            Q::IlluminanceLx,
            Q::TemperatureC,
            Q::BatteryV,
            Q::BatteryPercent,
        ],
        encryption: Encryption::Never,
        active_scan: ActiveScan::No,
        source: "github.com/Estimote/estimote-specs",
    },
];

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::company(ENOCEAN, ENOCEAN_COMPANY)
        .length(9)
        .counter(Bits::le(0, 4))
        .model(SWITCH)
        .code(switch),
    Decoder::company(ENOCEAN, ENOCEAN_COMPANY)
        .at_least(10)
        .counter(Bits::le(0, 4))
        .model("STM 550B, EMDCB")
        .code(telegram),
    Decoder::company(LAIRD, 0x0077)
        .length(24)
        .when(&[Test::is(0, 1), Test::is(1, 0)])
        .counter(Bits::le(13, 2))
        .code(record),
    Decoder::company(HIBOUAIR, 0x075b).length(24).when(&[Test::is(0, 5)]).code(hibouair),
    Decoder::service(ESTIMOTE, 0xfe9a)
        .length(20)
        .when(&[Test::bits(0, 0x0f, 2), Test::bits(9, 0x03, 0)])
        .fields(&[
            acceleration(Q::AccelerationXMS2, 10),
            acceleration(Q::AccelerationYMS2, 11),
            acceleration(Q::AccelerationZMS2, 12),
            Field::octet(Q::Moving, 15).part(0, 2).one_of(&[1]),
        ]),
    Decoder::service(ESTIMOTE, 0xfe9a)
        .length(20)
        .when(&[Test::bits(0, 0x0f, 2), Test::bits(9, 0x03, 1)])
        .code(estimote),
];

/// Whole 127ths of two times standard gravity.
const fn acceleration(quantity: Q, at: usize) -> Field {
    Field::octet(quantity, at).signed().scaled(2 * 980_665, 0, 127 * 100_000)
}

/// Checks the signature of a telegram, where the sender's key is known: all of the AD structure before it
/// is signed, and the nonce is the address, the counter and zeros.
fn signed(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    if heard.key.is_none() {
        return Ok(());
    }
    let (key, address) = heard.secrets()?;
    let length = u8::try_from(data.len() + 3).map_err(|_| Stop::Malformed)?;
    let (message, signature) = data.split_last_chunk::<TAG>().ok_or(cipher::TRUNCATED)?;
    let counter = message.first_chunk::<4>().ok_or(cipher::TRUNCATED)?;
    let [low, high] = ENOCEAN_COMPANY.to_le_bytes();
    let start = [length, ad_type::MANUFACTURER_DATA, low, high];
    let nonce: [&[u8]; 3] = [&reversed(address), counter, &[0; 3]];
    cipher::verify(key, &nonce, &[&start, message], *signature)?;
    measured.sealed = true;
    measured.freshness = Some(u32::from_le_bytes(*counter));
    Ok(())
}

/// Rockers A0, A1, B0 and B1, and whether they were pressed or let go.
fn switch(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let status = data.get(4).copied().filter(|status| status & 0xe0 == 0).ok_or(Stop::NotMine)?;
    signed(heard, data, measured)?;
    measured.event = true;
    if status & 1 == 1 {
        for rocker in 0..4 {
            if status >> (rocker + 1) & 1 == 1 {
                measured.action(Q::Button, rocker, Action::Press);
            }
        }
    }
    Ok(())
}

/// Counter, items, signature of four octets.
fn telegram(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    match (data.len(), heard.address) {
        // A switch that is put into service tells its key and its address, and nothing else.
        (26, _) if data.ends_with(&[SWITCHES[1], SWITCHES[0]]) => return Err(Stop::NotMine),
        // One that adds an owner's data to each telegram is told from the others by its address.
        (10 | 11 | 13, Some([high, low, ..])) if [high, low] == SWITCHES => {
            measured.model = Some(SWITCH);
            return switch(heard, data, measured);
        }
        _ => {}
    }
    let end = data.len().checked_sub(4).ok_or(Stop::Malformed)?;
    let mut rest = data.get(4..end).ok_or(Stop::Malformed)?;
    // From 0x30 on the telegram is about putting into service.
    if rest.first().is_some_and(|descriptor| descriptor & 0x3f >= 0x30) {
        return Err(Stop::NotMine);
    }
    signed(heard, data, measured)?;
    while let [descriptor, tail @ ..] = rest {
        let (octets, tail) = match (descriptor >> 6, tail) {
            (size @ 0..=2, tail) => (1 << size, tail),
            (_, [octets, tail @ ..]) => (usize::from(*octets), tail),
            (_, []) => return Err(Stop::Malformed),
        };
        let Some((value, tail)) = tail.split_at_checked(octets) else {
            return Err(Stop::Malformed);
        };
        item(descriptor & 0x3f, value, measured);
        rest = tail;
    }
    Ok(())
}

/// Numbers that say "out of range" and "not valid".
const NOT_16: &[i64] = &[32_767, -32_768];
const NOT_16_UNSIGNED: &[i64] = &[0xffff, 0xfffe];
const NOT_8: &[i64] = &[0xff, 0xfe];

fn item(kind: u8, value: &[u8], measured: &mut Measured) {
    let field = match kind {
        0x00 => Field::le(Q::TemperatureC, 0, 2).signed().per(100).invalid(NOT_16),
        0x01 => Field::le(Q::BatteryV, 0, 2).signed().per(2000).invalid(NOT_16),
        0x02 => Field::octet(Q::BatteryPercent, 0).per(2).invalid(NOT_8),
        // By the solar cell, and by a sensor of its own.
        0x04 | 0x05 => Field::le(Q::IlluminanceLx, 0, 2).invalid(NOT_16_UNSIGNED),
        0x06 => Field::octet(Q::HumidityPercent, 0).per(2).invalid(NOT_8),
        0x07 => Field::le(Q::PressurePa, 0, 2).scaled(100, 0, 1).invalid(NOT_16_UNSIGNED),
        0x0a => {
            // Three times ten bits; the status says why it was sent, or that it is switched off.
            let part = |shift, width| Bits::le(0, 4).part(shift, width).number(value);
            let status = part(30, 2);
            if status == Some(3) {
                return;
            }
            for (quantity, shift) in
                [(Q::AccelerationXMS2, 0), (Q::AccelerationYMS2, 10), (Q::AccelerationZMS2, 20)]
            {
                if let Some(number) = part(shift, 10) {
                    measured.push(quantity, exact((number - 512) * 980_665) / 10_000_000.0);
                }
            }
            if let Some(status) = status {
                measured.flag(Q::Moving, status == 2);
            }
            return;
        }
        0x20 => Field::octet(Q::Motion, 0).map(&[(1, 0.0), (2, 1.0)]),
        0x23 => Field::octet(Q::Open, 0).map(&[(1, 1.0), (2, 0.0)]),
        _ => return,
    };
    field.read(value, measured);
}

/// Network, flags, address, kind and number of the record, time, value.
fn record(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let kind = data.get(12).copied().ok_or(Stop::Malformed)?;
    let value = data.get(19..23).ok_or(Stop::Malformed)?;
    let float = || value.first_chunk().map(|octets| f64::from(f32::from_le_bytes(*octets)));
    measured.model = Some(if kind < 18 { "BT510" } else { "BT610" });
    let mut push = |quantity, instance: u8, factor: f64| {
        if let Some(value) = float() {
            // What single precision knows.
            measured.push_at(quantity, instance, (value * factor * 1e6).round() / 1e6);
        }
    };
    match kind {
        // With its alarms.
        1 | 4..=10 => Field::le(Q::TemperatureC, 0, 2).signed().per(100).read(value, measured),
        2 => Field::octet(Q::DoorOpen, 0).map(&[(0, 0.0), (1, 1.0)]).read(value, measured),
        3 => {
            measured.event = true;
            measured.flag(Q::Moving, true);
        }
        12 | 13 | 16 => Field::le(Q::BatteryV, 0, 4).per(1000).read(value, measured),
        18..=21 => push(Q::TemperatureC, kind - 18, 1.0),
        // Millivolts, amperes, millimetres, pounds on a square inch.
        22..=25 => push(Q::VoltageV, kind - 22, 0.001),
        26..=29 => push(Q::CurrentA, kind - 26, 1.0),
        30 => push(Q::DistanceM, 0, 0.001),
        31 | 32 => push(Q::PressurePa, kind - 31, 6_894.757),
        38 => Field::octet(Q::Tamper, 0).part(0, 1).read(value, measured),
        _ => return Err(Stop::NotMine),
    }
    Ok(())
}

fn hibouair(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let board = data.get(1).copied().ok_or(Stop::Malformed)?;
    measured.model = match board {
        0x03 => Some("HibouAir PM"),
        0x04 => Some("HibouAir CO2"),
        0x09 => Some("HibouAir CO2 Noise"),
        _ => None,
    };
    let brightness_or_noise = match board {
        // How far below 120 dB it is.
        0x09 => Field::be(Q::SoundLevelDb, 5, 2).scaled(-1, 120, 1),
        _ => Field::le(Q::IlluminanceLx, 5, 2),
    };
    for field in [
        Field::le(Q::TemperatureC, 9, 2).signed().per(10),
        Field::le(Q::HumidityPercent, 11, 2).per(10),
        Field::le(Q::PressurePa, 7, 2).scaled(10, 0, 1),
        brightness_or_noise,
        // Hundredths of a part per million.
        Field::le(Q::VocPpb, 13, 2).scaled(10, 0, 1),
    ] {
        field.read(data, measured);
    }
    let more: &[Field] = match board {
        0x03 => &[
            Field::le(Q::Pm1UgM3, 15, 2).per(10),
            Field::le(Q::Pm2p5UgM3, 17, 2).per(10),
            Field::le(Q::Pm10UgM3, 19, 2).per(10),
        ],
        0x04 | 0x09 => &[Field::be(Q::Co2Ppm, 21, 2)],
        _ => &[],
    };
    Field::read_all(more, data, measured);
    Ok(())
}

/// The second half of the telemetry.
fn estimote(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let part = |at, octets, shift, width| {
        Bits::le(at, octets).part(shift, width).number(data).ok_or(Stop::Malformed)
    };
    // A power of two, times a mantissa, times 0.72 lx.
    let (power, mantissa) = (part(13, 1, 4, 4)?, part(13, 1, 0, 4)?);
    // All ones: this beacon does not measure it.
    if (power, mantissa) != (15, 15) {
        measured.push(Q::IlluminanceLx, exact((mantissa << power) * 72) / 100.0);
    }
    let celsius = Bits::le(15, 3).part(6, 12).signed().number(data).ok_or(Stop::Malformed)?;
    measured.push(Q::TemperatureC, exact(celsius) / 16.0);
    let millivolts = part(17, 2, 2, 14)?;
    if millivolts != 0x3fff {
        measured.push(Q::BatteryV, exact(millivolts) / 1000.0);
    }
    // Told since version 1 of the protocol.
    if data.first().is_some_and(|octet| octet >> 4 >= 1) {
        Field::octet(Q::BatteryPercent, 19).invalid(&[0xff]).read(data, measured);
    }
    Ok(())
}

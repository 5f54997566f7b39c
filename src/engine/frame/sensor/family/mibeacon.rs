//! Xiaomi `MiBeacon`, versions 2 to 5.
//!
//! Source: Xiaomi, `MiBeacon` protocol (iot.mi.com), and the parsers of Home Assistant
//! (pypi.org/project/xiaomi-ble) and of `github.com/custom-components/ble_monitor`. Encrypted frames are
//! known for what they are; their objects are those of plain ones.

mod later;
mod models;

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Action, Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Refusal, Stop},
};

use models::MODELS;

const FAMILY: &str = "xiaomi";

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "Xiaomi MiBeacon",
    models: models::NAMES,
    quantities: &[
        Q::TemperatureC,
        Q::HumidityPercent,
        Q::IlluminanceLx,
        Q::MoisturePercent,
        Q::ConductivityUsCm,
        Q::FormaldehydeUgM3,
        Q::BatteryPercent,
        Q::BatteryLow,
        Q::PowerOn,
        Q::Motion,
        Q::Light,
        Q::DoorOpen,
        Q::Leak,
        Q::Smoke,
        Q::Occupancy,
        Q::LevelPercent,
        Q::Tamper,
        Q::Button,
    ],
    encryption: Encryption::Sometimes,
    active_scan: ActiveScan::No,
    source: "Xiaomi, MiBeacon protocol; xiaomi-ble; ble_monitor",
};

pub(super) const DECODERS: &[Decoder] =
    &[Decoder::service(FAMILY, 0xfe95).at_least(5).counter(Bits::le(4, 1)).code(beacon)];

/// Bits of the frame control.
mod control {
    pub(super) const ENCRYPTED: i64 = 1 << 3;
    pub(super) const ADDRESS: i64 = 1 << 4;
    pub(super) const CAPABILITY: i64 = 1 << 5;
    pub(super) const OBJECTS: i64 = 1 << 6;
    pub(super) const MESH: i64 = 1 << 7;
}

/// Frame control, product, counter; then, as the control says, address, capability and objects.
fn beacon(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let control = Bits::le(0, 2).number(data).ok_or(Stop::Malformed)?;
    let product = Bits::le(2, 2).number(data).ok_or(Stop::Malformed)?;
    let has = |bit| control & bit != 0;
    if has(control::MESH) || control >> 12 < 2 {
        return Err(Stop::NotMine);
    }
    let known = u16::try_from(product)
        .ok()
        .and_then(|product| MODELS.iter().find(|(id, _)| *id == product).map(|(_, model)| *model));
    measured.model = known;
    let mut at = 5;
    if has(control::ADDRESS) {
        let reversed = data.get(at..at + 6).ok_or(Stop::Malformed)?;
        if heard.address.is_some_and(|address| !reversed.iter().rev().eq(&address)) {
            return Err(Stop::NotMine);
        }
        at += 6;
    }
    if has(control::CAPABILITY) {
        let capability = data.get(at).ok_or(Stop::Malformed)?;
        // Input and output are told in one more octet.
        at += if capability & 0x20 == 0 { 1 } else { 2 };
    }
    let content = data.get(at..).ok_or(Stop::Malformed)?;
    match (has(control::OBJECTS), has(control::ENCRYPTED)) {
        // A sign of life.
        (false, _) => Ok(()),
        (true, true) => Err(Stop::Encrypted(Refusal::NoKey)),
        (true, false) => objects(content, measured),
    }
}

/// Identifier, length, value, one object after the other.
pub(super) fn objects(mut rest: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    while let [low, high, length, tail @ ..] = rest {
        let Some((value, tail)) = tail.split_at_checked(usize::from(*length)) else {
            return Err(Stop::Malformed);
        };
        object(u16::from_le_bytes([*low, *high]), value, measured);
        rest = tail;
    }
    if rest.is_empty() { Ok(()) } else { Err(Stop::Malformed) }
}

const TENTHS_CELSIUS: Field = Field::le(Q::TemperatureC, 0, 2).signed().per(10);
const BATTERY: Field = Field::octet(Q::BatteryPercent, 0);

fn object(id: u16, value: &[u8], measured: &mut Measured) {
    let model = measured.model;
    let fields: &[Field] = match (id, value.len()) {
        (0x0003, 1..) => {
            measured.event = true;
            measured.flag(Q::Motion, true);
            &[]
        }
        (0x000f, 3) => {
            measured.event = true;
            measured.flag(Q::Motion, true);
            match model {
                // Night lights only tell whether it is dark.
                Some("MJYD02YL" | "RTCGQ02LM") => {
                    let bright = Bits::le(0, 3).number(value).is_some_and(|lux| lux >= 100);
                    measured.flag(Q::Light, bright);
                    &[]
                }
                _ => &[Field::le(Q::IlluminanceLx, 0, 3)],
            }
        }
        (0x1001, 3) => return button(value, measured),
        (0x1004, 2) => &[TENTHS_CELSIUS],
        (0x1005, 2) => &[Field::octet(Q::PowerOn, 0).not_zero(), Field::octet(Q::TemperatureC, 1)],
        // Of these two the last digit means nothing.
        (0x1006, 2) if matches!(model, Some("LYWSD03MMC" | "MHO-C401")) => {
            if let Some(tenths) = Bits::le(0, 2).number(value) {
                measured.push(Q::HumidityPercent, exact(tenths / 10));
            }
            &[]
        }
        (0x1006, 2) => &[Field::le(Q::HumidityPercent, 0, 2).per(10)],
        (0x1007, 3) if matches!(model, Some("MJYD02YL" | "MCCGQ02HL")) => {
            &[Field::le(Q::Light, 0, 3).one_of(&[100])]
        }
        (0x1007, 3) => &[Field::le(Q::IlluminanceLx, 0, 3)],
        (0x1008, 1) => &[Field::octet(Q::MoisturePercent, 0)],
        (0x1009, 2) => &[Field::le(Q::ConductivityUsCm, 0, 2)],
        (0x100a | 0x4803 | 0x4c03 | 0x5003, 1..) => &[BATTERY],
        (0x100d, 4) => &[TENTHS_CELSIUS, Field::le(Q::HumidityPercent, 2, 2).per(10)],
        // Hundredths of a milligram.
        (0x1010, 2) => &[Field::le(Q::FormaldehydeUgM3, 0, 2).scaled(10, 0, 1)],
        (0x1012, 1..) => &[Field::octet(Q::PowerOn, 0).not_zero()],
        (0x1013, 1..) => &[Field::octet(Q::LevelPercent, 0)],
        (0x1014 | 0x4806, 1..) => &[Field::octet(Q::Leak, 0).not_zero()],
        (0x1015, 1..) => &[Field::octet(Q::Smoke, 0).not_zero()],
        // Seconds since something moved.
        (0x1017, 4) => {
            if let Some(seconds) = Bits::le(0, 4).number(value) {
                measured.flag(Q::Motion, seconds <= 30);
            }
            &[]
        }
        (0x4818, 2) => {
            if let Some(seconds) = Bits::le(0, 2).number(value) {
                measured.flag(Q::Motion, seconds <= 30);
            }
            &[]
        }
        (0x1018, 1..) => &[Field::octet(Q::Light, 0).not_zero()],
        // 0 open, 1 shut, 2 left open.
        (0x1019, 1..) => &[Field::octet(Q::DoorOpen, 0).map(&[(0, 1.0), (1, 0.0), (2, 1.0)])],
        (0x101b, _) => {
            measured.flag(Q::Motion, false);
            &[]
        }
        (0x4802 | 0x4c02, 1..) => &[Field::octet(Q::HumidityPercent, 0)],
        (0x4804 | 0x4a12, 1..) => &[Field::octet(Q::DoorOpen, 0).map(&[(1, 1.0), (2, 0.0)])],
        (0x483c, 1) => &[Field::octet(Q::Occupancy, 0).not_zero()],
        (0x4a01 | 0x4e01, 1..) => &[Field::octet(Q::BatteryLow, 0).not_zero()],
        (0x4a0f, 1..) => &[Field::octet(Q::Tamper, 0).one_of(&[1])],
        (0x4a1a, 1..) => &[Field::octet(Q::DoorOpen, 0).map(&[(1, 1.0)])],
        (0x4a08, 4) => {
            measured.event = true;
            measured.flag(Q::Motion, true);
            return float(Q::IlluminanceLx, value, 100.0, measured);
        }
        (0x4805, 4) => return float(Q::IlluminanceLx, value, 100.0, measured),
        (0x4801, 4) => return float(Q::TemperatureC, value, 10.0, measured),
        (0x4c01, 4) => return float(Q::TemperatureC, value, 100.0, measured),
        (0x4808, 4) => return float(Q::HumidityPercent, value, 10.0, measured),
        (0x4c08, 4) => return float(Q::HumidityPercent, value, 100.0, measured),
        _ => return later::object(id, value, measured),
    };
    Field::read_all(fields, value, measured);
}

/// A single-precision number, rounded to what the sensor knows.
fn float(quantity: Q, value: &[u8], decimals: f64, measured: &mut Measured) {
    if let Some(octets) = value.first_chunk() {
        let value = f64::from(f32::from_le_bytes(*octets));
        measured.push(quantity, (value * decimals).round() / decimals);
    }
}

/// Which button or how far, and how it was pressed.
fn button(value: &[u8], measured: &mut Measured) {
    let &[number, steps, how] = value else { return };
    measured.event = true;
    let action = match how {
        0 => Action::Press,
        1 => Action::DoublePress,
        2 => Action::LongPress,
        3 => Action::TriplePress,
        // A dimmer's knob, to either side.
        4 if number == 0 => {
            let steps = steps.cast_signed();
            let turned = match steps {
                1.. => Action::RotateRight(steps.unsigned_abs()),
                ..=-1 => Action::RotateLeft(steps.unsigned_abs()),
                0 => return,
            };
            return measured.action(Q::DimmerSteps, 0, turned);
        }
        _ => return,
    };
    measured.action(Q::Button, number, action);
}

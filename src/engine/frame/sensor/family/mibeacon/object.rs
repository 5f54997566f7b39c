//! The objects of `MiBeacon` frames: what the sensors say.

use super::later;
use crate::engine::frame::{
    Action, Quantity as Q,
    reading::exact,
    sensor::{Bits, Field, Measured},
};

const TENTHS_CELSIUS: Field = Field::le(Q::TemperatureC, 0, 2).signed().per(10);
const BATTERY: Field = Field::octet(Q::BatteryPercent, 0);

/// Reads one object. What is not known tells nothing.
pub(super) fn object(id: u16, value: &[u8], measured: &mut Measured) {
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
        // 0 open, 1 shut, 2 left open, 3 somebody knocks, 4 forced, 5 stuck.
        (0x0007, 1..) => &[
            Field::octet(Q::DoorOpen, 0).map(&[
                (0, 1.0),
                (1, 0.0),
                (2, 1.0),
                (3, 0.0),
                (4, 1.0),
                (5, 0.0),
            ]),
            Field::octet(Q::Tamper, 0).map(&[(4, 1.0)]),
        ],
        (0x1001, 3) => return button(model, value, measured),
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

const DIMMER: &str = "YLKG07YL/YLKG08YL";

/// Which button or how far, and how it was pressed.
fn button(model: Option<&str>, value: &[u8], measured: &mut Measured) {
    let &[number, steps, how] = value else { return };
    measured.event = true;
    // Switches in a wall tell which of their buttons were pressed at once, the leftmost first, and have
    // the two numbers the other way round.
    let together: &[u8] = match (model, number) {
        (Some("K9B-1BTN" | "K9B-2BTN" | "K9B-3BTN"), 0) => &[0],
        (Some("K9B-2BTN" | "K9B-3BTN"), 1) => &[1],
        (Some("K9B-2BTN"), 2) | (Some("K9B-3BTN"), 3) => &[0, 1],
        (Some("K9B-3BTN"), 2) => &[2],
        (Some("K9B-3BTN"), 4) => &[1, 2],
        (Some("K9B-3BTN"), 5) => &[0, 2],
        (Some("K9B-3BTN"), 6) => &[0, 1, 2],
        (Some("K9B-1BTN" | "K9B-2BTN" | "K9B-3BTN"), _) => return,
        _ => &[],
    };
    let action = match (how, model) {
        (0, _) => Action::Press,
        (1, _) if !together.is_empty() => Action::LongPress,
        (2, _) if !together.is_empty() => Action::DoublePress,
        (1, _) => Action::DoublePress,
        (2, _) => Action::LongPress,
        // A dimmer has one knob, and says in the number how it was pressed.
        (3, Some(DIMMER)) => {
            let action = match number {
                0 => Action::Press,
                1 => Action::LongPress,
                _ => return,
            };
            return measured.action(Q::Button, 0, action);
        }
        (3, _) => Action::TriplePress,
        // A dimmer's knob, to either side.
        (4, _) if number == 0 => {
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
    if together.is_empty() {
        return measured.action(Q::Button, number, action);
    }
    for button in together {
        measured.action(Q::Button, *button, action);
    }
}

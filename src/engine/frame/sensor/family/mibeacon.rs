//! Xiaomi `MiBeacon`, versions 2 to 5.
//!
//! Source: Xiaomi, `MiBeacon` protocol (iot.mi.com), and the parsers of Home Assistant
//! (pypi.org/project/xiaomi-ble) and of `github.com/custom-components/ble_monitor`. The objects of encrypted
//! frames are those of plain ones.
//!
//! Up to version 3 a frame has one octet of authentication (found in published frames: the public parsers
//! do not check it), so a wrong key fits once in 256 times. Such a frame counts only if its content is
//! objects from the beginning to the end, each known, of its length and with a value that can be: of what
//! a wrong key makes that is one or two in a million. Together it is one in 100 million.
//!
//! From version 4 on three octets beside the counter are part of the nonce. Xiaomi's own examples fill them
//! at random; the LYWSD03MMC counts on in them (`github.com/Magalex2x14/LYWSD03MMC-info`), and only of it
//! they are told as freshness.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Action, Quantity as Q,
    reading::exact,
    sensor::{
        Bits, Decoder, Field, Heard, Measured, Stop,
        cipher::{self, Plain, TAG},
    },
};

const FAMILY: &str = "xiaomi";

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "Xiaomi MiBeacon",
    models: &[
        "CGC1",
        "CGD1",
        "CGDK2",
        "CGDK3",
        "CGG1",
        "CGH1",
        "CGPR1",
        "ES3",
        "GCLS002",
        "HHCCJCY01",
        "HHCCPOT002",
        "JQJCY01YM",
        "JTYJGD03MI",
        "LYWSD02",
        "LYWSD02MMC",
        "LYWSD03MMC",
        "LYWSDCGQ",
        "MBS17",
        "MCCGQ02HL",
        "MHO-C303",
        "MHO-C401",
        "MJWSD05MMC",
        "MJWSD06MMC",
        "MJYD02YL",
        "MUE4094RT",
        "RTCGQ02LM",
        "SJWS01LM",
        "SJWS02LM",
        "V-SK152",
        "WX08ZM",
        "XMMF01JQD",
        "XMOSB01XS",
        "XMPIRO2SXS",
        "XMWSDJ04MMC",
        "XMWXKG01LM",
        "XMWXKG01YL",
        "YLAI003",
        "YLKG07YL/YLKG08YL",
        "YLYK01YL",
        "YM-K1501",
        "YM-K1501EU",
    ],
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

/// Product identifiers.
const MODELS: &[(u16, &str)] = &[
    (0x0083, "YM-K1501"),
    (0x0098, "HHCCJCY01"),
    (0x0113, "YM-K1501EU"),
    (0x0153, "YLYK01YL"),
    (0x015d, "HHCCPOT002"),
    (0x01aa, "LYWSDCGQ"),
    (0x02df, "JQJCY01YM"),
    (0x0347, "CGG1"),
    (0x0387, "MHO-C401"),
    (0x03b6, "YLKG07YL/YLKG08YL"),
    (0x03bc, "GCLS002"),
    (0x03d6, "CGH1"),
    (0x03dd, "MUE4094RT"),
    (0x040a, "WX08ZM"),
    (0x045b, "LYWSD02"),
    (0x045c, "V-SK152"),
    (0x04e1, "XMMF01JQD"),
    (0x055b, "LYWSD03MMC"),
    (0x0576, "CGD1"),
    (0x066f, "CGDK2"),
    (0x06d3, "MHO-C303"),
    (0x07bf, "YLAI003"),
    (0x07f6, "MJYD02YL"),
    (0x0863, "SJWS01LM"),
    (0x098b, "MCCGQ02HL"),
    (0x0997, "JTYJGD03MI"),
    (0x0a83, "CGPR1"),
    (0x0a8d, "RTCGQ02LM"),
    (0x0b48, "CGG1"),
    (0x0c3c, "CGC1"),
    (0x1203, "XMWSDJ04MMC"),
    (0x16e4, "LYWSD02MMC"),
    (0x1949, "XMWXKG01YL"),
    (0x2387, "XMWXKG01LM"),
    (0x2542, "LYWSD02MMC"),
    (0x2832, "MJWSD05MMC"),
    (0x3531, "XMPIRO2SXS"),
    (0x4683, "XMOSB01XS"),
    (0x4c47, "MJWSD05MMC"),
    (0x4f59, "CGDK3"),
    (0x50fb, "ES3"),
    (0x55b5, "MJWSD06MMC"),
    (0x5bea, "MJWSD06MMC"),
    (0x5db1, "MBS17"),
    (0x6375, "SJWS02LM"),
];

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
    let (mut at, mut heard) = (5, *heard);
    if has(control::ADDRESS) {
        let tail = data.get(at..).ok_or(Stop::Malformed)?;
        let [a, b, c, d, e, f] = *tail.first_chunk().ok_or(Stop::Malformed)?;
        let address = [f, e, d, c, b, a];
        if *heard.address.get_or_insert(address) != address {
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
        (true, true) if control >> 12 < 4 => early(&heard, data, content, measured),
        (true, true) => sealed(&heard, data, content, measured),
        (true, false) => objects(content, measured),
    }
}

/// The one octet that is associated with all content.
const ASSOCIATED: &[u8] = &[0x11];

/// Versions 4 and 5: objects, the rest of the nonce, tag.
fn sealed(
    heard: &Heard<'_>,
    data: &[u8],
    content: &[u8],
    measured: &mut Measured,
) -> Result<(), Stop> {
    let (key, [a, b, c, d, e, f]) = heard.secrets()?;
    let (content, tag) = content.split_last_chunk::<TAG>().ok_or(cipher::TRUNCATED)?;
    let (content, extended) = content.split_last_chunk::<3>().ok_or(cipher::TRUNCATED)?;
    let head = data.get(2..5).ok_or(Stop::Malformed)?;
    let nonce: [&[u8]; 3] = [&[f, e, d, c, b, a], head, extended];
    let plain = cipher::open(key, &nonce, ASSOCIATED, content, *tag)?;
    measured.sealed = true;
    if let (Some("LYWSD03MMC"), [.., count], [low, middle, high]) =
        (measured.model, head, *extended)
    {
        measured.freshness = Some(u32::from_le_bytes([*count, low, middle, high]));
    }
    objects(&plain, measured)
}

/// Versions 2 and 3: objects, the rest of the nonce, tag of one octet.
fn early(
    heard: &Heard<'_>,
    data: &[u8],
    content: &[u8],
    measured: &mut Measured,
) -> Result<(), Stop> {
    let (key, [_, b, c, d, e, f]) = heard.secrets()?;
    let (content, [counter @ .., tag]) =
        content.split_last_chunk::<4>().ok_or(cipher::TRUNCATED)?;
    let head = data.get(..5).ok_or(Stop::Malformed)?;
    let nonce: [&[u8]; 3] = [head, counter, &[f, e, d, c, b]];
    let plain = cipher::open_early(key, &nonce, ASSOCIATED, content, *tag)?;
    measured.sealed = true;
    if is_plausible(&plain, measured) { Ok(()) } else { Err(cipher::WRONG_KEY) }
}

/// Whether every object tells something, and nothing is left over; reads them.
fn is_plausible(plain: &Plain, measured: &mut Measured) -> bool {
    let mut rest = plain.as_slice();
    while let [low, high, length, tail @ ..] = rest {
        let Some((value, tail)) = tail.split_at_checked(usize::from(*length)) else {
            return false;
        };
        let before = measured.readings.len();
        object(u16::from_le_bytes([*low, *high]), value, measured);
        if measured.readings.len() == before {
            return false;
        }
        rest = tail;
    }
    rest.is_empty() && !plain.is_empty() && measured.dropped == 0
}

/// Identifier, length, value, one object after the other.
fn objects(mut rest: &[u8], measured: &mut Measured) -> Result<(), Stop> {
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
            return float(Q::IlluminanceLx, value, 1.0, measured);
        }
        (0x4805, 4) => return float(Q::IlluminanceLx, value, 1.0, measured),
        (0x4801, 4) => return float(Q::TemperatureC, value, 10.0, measured),
        (0x4c01, 4) => return float(Q::TemperatureC, value, 100.0, measured),
        (0x4808, 4) => return float(Q::HumidityPercent, value, 10.0, measured),
        (0x4c08, 4) => return float(Q::HumidityPercent, value, 100.0, measured),
        _ => &[],
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
    let action = match (how, model) {
        (0, _) => Action::Press,
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
    measured.action(Q::Button, number, action);
}

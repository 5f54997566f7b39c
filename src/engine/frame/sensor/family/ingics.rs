//! Ingics iBS and iRS tags.
//!
//! Source: the vendor's own parser, `github.com/ingics/ingics-message-parser-py` (MIT), igsparser/msd.py.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    sensor::{Decoder, Field, Heard, Measured, Stop, Test},
};

const FAMILY: &str = "ingics";

/// The identifiers of the chips' makers, and in the end their own.
const COMPANIES: [u16; 3] = [0x0059, 0x000d, 0x082c];

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "Ingics",
    models: &[
        "iBS01",
        "iBS01H",
        "iBS01T",
        "iBS01G",
        "iBS01RG",
        "iBS02PIR2",
        "iBS02IR2",
        "iBS02M2",
        "iBS03",
        "iBS03P",
        "iBS03R",
        "iBS03T",
        "iBS03G",
        "iBS03TP",
        "iBS03RS",
        "iBS03F",
        "iBS03Q",
        "iBS03QY",
        "iBS03RG",
        "iBS03GP",
        "iBS03AD-NTC",
        "iBS03AD-V",
        "iBS03AD-D",
        "iBS03AD-A",
        "iBS04",
        "iBS04i",
        "iBS05",
        "iBS05H",
        "iBS05T",
        "iBS05G",
        "iBS05CO2",
        "iBS05i",
        "iBS05RG",
        "iBS06",
        "iBS06i",
        "iBS07",
        "iBS08",
        "iBS08T",
        "iBS08R",
        "iBS08PS",
        "iBS08PIR",
        "iRS02",
        "iRS02TP",
        "iRS02RG",
        "iWS01",
    ],
    quantities: &[
        Q::TemperatureC,
        Q::HumidityPercent,
        Q::Co2Ppm,
        Q::IlluminanceLx,
        Q::PressurePa,
        Q::DistanceM,
        Q::Count,
        Q::VoltageV,
        Q::CurrentA,
        Q::Button,
        Q::Moving,
        Q::Magnet,
        Q::Falling,
        Q::Motion,
        Q::Presence,
        Q::On,
        Q::BatteryV,
    ],
    encryption: Encryption::Never,
    active_scan: ActiveScan::No,
    source: "github.com/ingics/ingics-message-parser-py",
};

pub(super) const DECODERS: &[Decoder] = &[
    tag(COMPANIES[0], &[Test::is(0, 0x80), Test::is(1, 0xbc)], 15).code(first),
    tag(COMPANIES[1], &[Test::is(0, 0x83), Test::is(1, 0xbc)], 15).code(by_kind),
    tag(COMPANIES[2], &[Test::is(0, 0x83), Test::is(1, 0xbc)], 15).code(by_kind),
    tag(COMPANIES[0], &[Test::is(0, 0x81), Test::is(1, 0xbc)], 22).model("iBS01RG").fields(&MOVING),
    tag(COMPANIES[1], &[Test::is(0, 0x81), Test::is(1, 0xbc)], 22).model("iBS03RG").fields(&MOVING),
    tag(COMPANIES[2], &[Test::is(0, 0x86), Test::is(1, 0xbc)], 22).model("iBS05RG").fields(&MOVING),
    // Fiftieths of a hectopascal.
    tag(COMPANIES[1], &[Test::is(0, 0x85), Test::is(1, 0xbc)], 24).model("iBS03GP").fields(&[
        MOVING[0],
        MOVING[1],
        MOVING[2],
        Field::le(Q::PressurePa, 22, 2).scaled(2, 0, 1),
    ]),
    tag(COMPANIES[2], &[Test::is(0, 0x87), Test::is(1, 0xbc), Test::is(17, 0x50)], 19)
        .model("iBS07")
        .fields(&[TEMPERATURE, HUMIDITY, Field::le(Q::IlluminanceLx, 9, 2), BUTTON, BATTERY]),
    tag(COMPANIES[2], &[Test::is(0, 0x87), Test::is(1, 0xbc), Test::is(17, 0x39)], 19)
        .model("iWS01")
        .fields(&[TEMPERATURE, TENTHS, BUTTON, BATTERY]),
];

const fn tag(company: u16, code: &'static [Test], octets: usize) -> Decoder {
    Decoder::company(FAMILY, company).at_least(octets).when(code)
}

/// No thermometer, and nothing measured yet.
const NO_TEMPERATURE: &[i64] = &[-0x5556];
const NOTHING: &[i64] = &[0xffff];

const BATTERY: Field = Field::le(Q::BatteryV, 2, 2).per(100);
const TEMPERATURE: Field =
    Field::le(Q::TemperatureC, 5, 2).signed().per(100).invalid(NO_TEMPERATURE);
/// Of a probe on a cable.
const PROBE: Field =
    Field::le(Q::TemperatureC, 7, 2).signed().per(100).invalid(NO_TEMPERATURE).instance(1);
const HUMIDITY: Field = Field::le(Q::HumidityPercent, 7, 2).invalid(NOTHING);
const TENTHS: Field = Field::le(Q::HumidityPercent, 7, 2).per(10).invalid(NOTHING);
const RANGE: Field = Field::le(Q::DistanceM, 7, 2).per(1000).invalid(NOTHING);
const COUNT: Field = Field::le(Q::Count, 7, 2).invalid(NOTHING);

/// What happened, one bit each; several products have several.
const BUTTON: Field = Field::octet(Q::Button, 4).part(0, 1).map(&[(1, 1.0)]);
const MOVES: Field = Field::bit(Q::Moving, 4, 1);
const MAGNET: Field = Field::bit(Q::Magnet, 4, 2);
const FALL: Field = Field::bit(Q::Falling, 4, 3);
const PIR: Field = Field::bit(Q::Motion, 4, 4);
const NEAR: Field = Field::bit(Q::Presence, 4, 5);
const INPUT: Field = Field::bit(Q::On, 4, 6);
const INPUT_2: Field = Field::bit(Q::On, 4, 3);

/// Battery and what happened share two octets; accelerations follow, whose scale is not published.
const MOVING: [Field; 3] = [
    Field::bit(Q::Moving, 3, 4),
    Field::octet(Q::Button, 3).part(5, 1).map(&[(1, 1.0)]),
    Field::le(Q::BatteryV, 2, 2).part(0, 12).per(100),
];

/// A kind of tag: its number, its name, its values.
type Kind = (u8, &'static str, &'static [Field]);

const FIRST: &[Kind] = &[
    (0x03, "iBS01", &[]),
    (0x04, "iBS01H", &[MAGNET]),
    (0x05, "iBS01T", &[TEMPERATURE, HUMIDITY]),
    (0x06, "iBS01G", &[MOVES, FALL]),
    (0x07, "iBS01T", &[TEMPERATURE]),
];

const KINDS: &[Kind] = &[
    (0x01, "iBS02PIR2", &[PIR]),
    (0x02, "iBS02IR2", &[COUNT, NEAR]),
    (0x04, "iBS02M2", &[COUNT, INPUT]),
    (0x10, "iBS03", &[BUTTON, MAGNET]),
    (0x12, "iBS03P", &[PROBE]),
    (0x13, "iBS03R", &[RANGE]),
    (0x14, "iBS03T", &[TEMPERATURE, HUMIDITY, BUTTON]),
    (0x15, "iBS03T", &[TEMPERATURE, BUTTON]),
    (0x16, "iBS03G", &[BUTTON, MOVES, FALL]),
    (0x17, "iBS03TP", &[TEMPERATURE, PROBE]),
    (0x18, "iBS04i", &[BUTTON]),
    (0x19, "iBS04", &[BUTTON]),
    (0x1a, "iBS03RS", &[RANGE]),
    (0x1b, "iBS03F", &[COUNT, INPUT]),
    (0x1c, "iBS03Q", &[COUNT, INPUT]),
    (0x1d, "iBS03QY", &[COUNT, INPUT, INPUT_2]),
    (0x20, "iRS02", &[TEMPERATURE, MAGNET]),
    (0x21, "iRS02TP", &[TEMPERATURE, PROBE, MAGNET]),
    (0x22, "iRS02RG", &[MAGNET]),
    (0x23, "iBS03AD-NTC", &[PROBE]),
    (0x24, "iBS03AD-V", &[Field::le(Q::VoltageV, 7, 2).per(1000).invalid(NOTHING)]),
    (0x25, "iBS03AD-D", &[COUNT, INPUT]),
    (0x26, "iBS03AD-A", &[Field::le(Q::CurrentA, 7, 2).per(1_000_000).invalid(NOTHING)]),
    (0x30, "iBS05", &[BUTTON]),
    (0x31, "iBS05H", &[BUTTON, MAGNET]),
    (0x32, "iBS05T", &[TEMPERATURE, BUTTON]),
    (0x33, "iBS05G", &[BUTTON, MOVES]),
    (0x34, "iBS05CO2", &[Field::le(Q::Co2Ppm, 7, 2).invalid(NOTHING), BUTTON]),
    (0x35, "iBS05i", &[BUTTON]),
    (0x36, "iBS06i", &[BUTTON]),
    (0x39, "iWS01", &[TEMPERATURE, TENTHS, BUTTON]),
    (0x40, "iBS06", &[]),
    (0x41, "iBS08T", &[TEMPERATURE, TENTHS, BUTTON]),
    (0x42, "iBS08R", &[RANGE]),
    (0x43, "iBS08PS", &[COUNT, NEAR]),
    (0x44, "iBS08PIR", &[PIR]),
    // Around it, then of what it looks at.
    (
        0x48,
        "iBS08",
        &[
            TEMPERATURE,
            Field::le(Q::TemperatureC, 7, 2).signed().per(100).invalid(NO_TEMPERATURE),
            NEAR,
        ],
    ),
];

fn read(kind: &Kind, data: &[u8], measured: &mut Measured) {
    let (_, name, fields) = kind;
    measured.model = Some(name);
    Field::read_all(fields, data, measured);
    BATTERY.read(data, measured);
    measured.event = measured.readings.iter().any(|reading| reading.quantity == Q::Button);
}

fn by_kind(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let number = data.get(11).ok_or(Stop::NotMine)?;
    let kind = KINDS.iter().find(|(kind, ..)| kind == number).ok_or(Stop::NotMine)?;
    read(kind, data, measured);
    Ok(())
}

/// The oldest do not say what they are: those with a thermometer have values, the others ones.
fn first(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let number = data.get(11).ok_or(Stop::NotMine)?;
    let unknown = matches!(number, 0 | 0xff);
    let kind = match FIRST.iter().find(|(kind, ..)| kind == number) {
        Some(kind) => *kind,
        None if unknown && data.get(5..7) != Some(&[0xff; 2]) => {
            (0, "iBS01T", &[TEMPERATURE, HUMIDITY] as &[Field])
        }
        None if unknown => (0, "iBS01", &[BUTTON, MOVES, MAGNET, FALL] as &[Field]),
        None => return Err(Stop::NotMine),
    };
    read(&kind, data, measured);
    Ok(())
}

//! Govee thermometers, presence sensors and meat probes.
//!
//! Source: the parsers of Home Assistant (pypi.org/project/govee-ble) and of
//! `github.com/custom-components/ble_monitor`. Products are told apart by name, then by company
//! identifier, then by length; the identifiers are not Govee's own. Those from H5121 to H5130 encrypt what
//! they say with a key that they send along: that is no secret, and needs no key of ours.

mod probes;

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Action, Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Stop, cipher},
};

const FAMILY: &str = "govee";

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "Govee",
    models: &[
        "H5051",
        "H5052",
        "H5055",
        "H5071",
        "H5072",
        "H5074",
        "H5075",
        "H5072/H5075",
        "H5100",
        "H5101",
        "H5102",
        "H5103",
        "H5104",
        "H5105",
        "H5106",
        "H5108",
        "H5110",
        "H5112",
        "H5121",
        "H5122",
        "H5123",
        "H5124",
        "H5125",
        "H5126",
        "H5127",
        "H5129",
        "H5130",
        "H5140",
        "H5174",
        "H5177",
        "H5178",
        "H5178-REMOTE",
        "H5179",
        "GV5179",
        "H5181",
        "H5182",
        "H5183",
        "H5184",
        "H5185",
        "H5191",
        "H5198",
    ],
    quantities: &[
        Q::TemperatureC,
        Q::HumidityPercent,
        Q::BatteryPercent,
        Q::Co2Ppm,
        Q::Pm2p5UgM3,
        Q::Presence,
        Q::Motion,
        Q::Vibration,
        Q::Open,
        Q::Button,
    ],
    encryption: Encryption::Never,
    active_scan: ActiveScan::Sometimes,
    source: "govee-ble; ble_monitor",
};

const APPLE: u16 = 0x004c;
const H507X: u16 = 0xec88;
const H510X: u16 = 0x0001;
const H5179: u16 = 0x8801;
const H5127: [u16; 2] = [0x8803, 0x8843];
/// Of those that send a key along.
const WRAPPED: u16 = 0xef88;

pub(super) const DECODERS: &[Decoder] = &[
    company(H507X),
    company(H510X),
    company(H5179),
    company(H5127[0]),
    company(H5127[1]),
    Decoder::company(FAMILY, WRAPPED).length(24).counter(Bits::be(2, 4)).code(wrapped),
    Decoder::named(FAMILY, &["GV", "Govee_", "ihoment_", "B5178"]).at_least(2).code(named),
];

/// Probes for meat, whose names are often their owners'.
pub(super) const PROBES: &[Decoder] = &probes::TABLE;

const fn company(company: u16) -> Decoder {
    let code = match company {
        H507X => |h: &Heard<'_>, d: &[u8], m: &mut Measured| govee(h, H507X, d, m),
        H510X => |h: &Heard<'_>, d: &[u8], m: &mut Measured| govee(h, H510X, d, m),
        H5179 => |h: &Heard<'_>, d: &[u8], m: &mut Measured| govee(h, H5179, d, m),
        _ => |h: &Heard<'_>, d: &[u8], m: &mut Measured| govee(h, H5127[0], d, m),
    };
    Decoder::company(FAMILY, company).at_least(6).code(code)
}

fn named(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let (company, data) = data.split_first_chunk().ok_or(Stop::NotMine)?;
    govee(heard, u16::from_le_bytes(*company), data, measured)
}

/// Names of products that send temperature and humidity in three octets from the third on.
const THREE: &[(&str, &str)] = &[
    ("H5108", "H5108"),
    ("H5100", "H5100"),
    ("H5101", "H5101"),
    ("H5102", "H5102"),
    ("H5103", "H5103"),
    ("H5104", "H5104"),
    ("H5105", "H5105"),
    ("H5174", "H5174"),
    ("H5177", "H5177"),
    ("H5110", "H5110"),
    ("GV5179", "GV5179"),
];

const PLAIN: [Field; 3] = plain(1);
const PLAIN_H5179: [Field; 3] = plain(4);

const fn plain(at: usize) -> [Field; 3] {
    [
        Field::le(Q::TemperatureC, at, 2).signed().per(100),
        Field::le(Q::HumidityPercent, at + 2, 2).per(100),
        Field::octet(Q::BatteryPercent, at + 4),
    ]
}

fn govee(
    heard: &Heard<'_>,
    company: u16,
    data: &[u8],
    measured: &mut Measured,
) -> Result<(), Stop> {
    let name = heard.name();
    let is = |model: &str| name.windows(model.len()).any(|part| part == model.as_bytes());
    // An iBeacon's text is glued to the end of some frames.
    let data = match data.len().checked_sub(25) {
        Some(end) if end > 0 && data.windows(13).any(|part| part == b"INTELLI_ROCKS") => {
            data.get(..end).unwrap_or_default()
        }
        _ => data,
    };
    if company == APPLE {
        return Err(Stop::NotMine);
    }
    let model = match data.len() {
        6 if data.starts_with(&[0xec, 0x00])
            && matches!(data.get(2..4), Some([1 | 2, 1]))
            && (is("H5127") || H5127.contains(&company)) =>
        {
            presence(data, measured);
            "H5127"
        }
        6 if is("H5106") => {
            air(data, measured);
            "H5106"
        }
        6 if is("H5072") || is("H5075") || is("H5129") || company == H507X => {
            packed(data, 1, measured);
            match () {
                () if is("H5072") => "H5072",
                () if is("H5075") => "H5075",
                () if is("H5129") => "H5129",
                () => "H5072/H5075",
            }
        }
        8 if is("5112") => {
            let probe = match data.last() {
                Some(0x41) => 0,
                Some(0x82) => 1,
                _ => return Err(Stop::Malformed),
            };
            packed_probe(data, 2, probe, probe == 0, measured);
            "H5112"
        }
        8 if is("5140") => {
            if data.last() == Some(&0) {
                climate(data, 2, 0, true, measured);
                if !measured.readings.is_empty() {
                    Field::be(Q::Co2Ppm, 5, 2).read(data, measured);
                }
            }
            "H5140"
        }
        6 | 8
            if THREE.iter().any(|(part, _)| is(part)) || (company == H510X && data.len() == 8) =>
        {
            packed(data, 2, measured);
            let known = THREE.iter().find(|(part, _)| is(part)).map(|(_, model)| *model);
            if data.len() == 8 { "H5108" } else { known.unwrap_or("H5108") }
        }
        7 if is("H5074") || company == H507X => {
            Field::read_all(&PLAIN, data, measured);
            "H5074"
        }
        9 if is("H5179") || company == H5179 => {
            Field::read_all(&PLAIN_H5179, data, measured);
            "H5179"
        }
        9 if company == H507X || is("H5051") || is("H5052") || is("H5071") => {
            Field::read_all(&PLAIN, data, measured);
            match () {
                () if is("H5071") => "H5071",
                () if is("H5052") => "H5052",
                () => "H5051",
            }
        }
        9 if is("5178") || company == H510X => {
            packed(data, 3, measured);
            if data.get(2) == Some(&1) { "H5178-REMOTE" } else { "H5178" }
        }
        length => probes::read(heard, company, length, data, measured)?,
    };
    measured.model = Some(model);
    Ok(())
}

/// Three octets hold both: the sign, then ten thousand times the temperature, whose last three
/// decimals are ten times the humidity.
fn climate(data: &[u8], at: usize, probe: u8, humidity: bool, measured: &mut Measured) {
    let Some(number) = Bits::be(at, 3).number(data) else { return };
    let (negative, both) = (number & 0x80_0000 != 0, number & 0x7f_ffff);
    let tenths = if negative { -(both / 1000) } else { both / 1000 };
    // Colder or hotter than that is a sensor that is not there.
    if (-400..=1000).contains(&tenths) {
        measured.push_at(Q::TemperatureC, probe, exact(tenths) / 10.0);
        if humidity {
            let humidity = exact(both % 1000) / 10.0;
            measured.push_at(Q::HumidityPercent, probe, humidity);
        }
    }
}

fn packed(data: &[u8], at: usize, measured: &mut Measured) {
    packed_probe(data, at, 0, true, measured);
}

/// Temperature and humidity in three octets; then the battery, whose highest bit tells an error.
fn packed_probe(data: &[u8], at: usize, probe: u8, humidity: bool, measured: &mut Measured) {
    let error = Bits::le(at + 3, 1).part(7, 1).number(data) == Some(1);
    if !error {
        climate(data, at, probe, humidity, measured);
    }
    Field::octet(Q::BatteryPercent, at + 3).part(0, 7).read(data, measured);
}

/// Two octets, four of the key, a block, its checksum. Key and block are written from their end.
fn wrapped(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let (Some(key), Some(block), Some(sum)) = (
        data.get(2..6).and_then(<[u8]>::first_chunk::<4>),
        data.get(6..22).and_then(<[u8]>::first_chunk::<16>),
        data.last_chunk(),
    ) else {
        return Err(Stop::NotMine);
    };
    if checksum(block) != u16::from_be_bytes(*sum) {
        return Err(Stop::NotMine);
    }
    let mut whole = [0; 16];
    for (slot, octet) in whole.iter_mut().rev().zip(key) {
        *slot = *octet;
    }
    let mut block = *block;
    block.reverse();
    let mut plain = cipher::decrypt_block(&whole, block);
    plain.reverse();
    let [1, _, product, 2, battery, value, zeros @ ..] = plain else {
        return Err(Stop::NotMine);
    };
    if zeros != [0; 10] {
        return Err(Stop::NotMine);
    }
    measured.model = Some(match product {
        2 => "H5123",
        3 => "H5121",
        8 => "H5122",
        9 => "H5124",
        10 => "H5125",
        11 => "H5126",
        13 => "H5130",
        _ => return Err(Stop::NotMine),
    });
    match product {
        2 if matches!(value, 1 | 2) => measured.flag(Q::Open, value == 2),
        3 => measured.flag(Q::Motion, value == 1),
        9 => measured.flag(Q::Vibration, value == 1),
        8 | 10 | 11 => measured.action(Q::Button, value, Action::Press),
        _ => {}
    }
    measured.event = matches!(product, 3 | 9) && value == 1 || matches!(product, 8 | 10 | 11);
    measured.push(Q::BatteryPercent, f64::from(battery));
    Ok(())
}

/// CRC-16 with the polynomial 0x1021, begun with 0x1D0F.
fn checksum(octets: &[u8]) -> u16 {
    octets.iter().fold(0x1d0f, |sum, octet| {
        (0..8).fold(sum ^ u16::from(*octet) << 8, |sum: u16, _| {
            sum << 1 ^ if sum & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    })
}

fn presence(data: &[u8], measured: &mut Measured) {
    Field::octet(Q::Presence, 4).one_of(&[1]).read(data, measured);
    Field::octet(Q::Motion, 5).one_of(&[0x11]).read(data, measured);
}

/// Four octets hold three: the sign, then temperature, humidity and particles, three digits each.
fn air(data: &[u8], measured: &mut Measured) {
    let Some(number) = Bits::be(2, 4).number(data) else { return };
    let (negative, all) = (number & 0x8000_0000 != 0, number & 0x7fff_ffff);
    let tenths = if negative { -(all / 1_000_000) } else { all / 1_000_000 };
    measured.push(Q::TemperatureC, exact(tenths) / 10.0);
    measured.push(Q::HumidityPercent, exact(all % 1_000_000 / 1000) / 10.0);
    measured.push(Q::Pm2p5UgM3, exact(all % 1000));
}

//! Victron Energy: chargers, inverters, batteries. All frames are encrypted; the key is
//! shown by the maker's app, one for each device.
//!
//! Sources: Victron Energy, extra manufacturer data (2022), and `github.com/keshavdv/victron-ble`.
//!
//! The cipher is AES-128 in counter mode. Nothing authenticates a frame: its first octet is that of the
//! key, so a wrong key is found out 255 times in 256, and who changes a frame is not.

use aes::{
    Aes128Enc, Block,
    cipher::{BlockEncrypt, KeyInit},
};

use super::{About, ActiveScan, Encryption};
use crate::{
    engine::frame::{
        Quantity as Q,
        sensor::{BindKey, Bits, Decoder, Field, Heard, Measured, Refusal, Stop, Test},
    },
    forget,
};

const FAMILY: &str = "victron";

const COMPANY: u16 = 0x02e1;

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "Victron Energy (instant readout)",
    models: &[
        "Solar charger",
        "Battery monitor",
        "Smart Battery Sense",
        "Inverter",
        "DC-DC converter",
        "Smart Lithium",
        "AC charger",
        "Smart Battery Protect",
        "DC energy meter",
    ],
    quantities: &[
        Q::VoltageV,
        Q::CurrentA,
        Q::PowerW,
        Q::EnergyKwh,
        Q::LevelPercent,
        Q::TemperatureC,
        Q::PowerOn,
    ],
    encryption: Encryption::Sometimes,
    active_scan: ActiveScan::No,
    source: "Victron Energy, extra manufacturer data; github.com/keshavdv/victron-ble",
};

pub(super) const DECODERS: &[Decoder] =
    &[Decoder::company(FAMILY, COMPANY).at_least(9).when(&[Test::is(0, 0x10)]).code(readout)];

/// A kind of record, its name, its values.
type Record = (u8, &'static str, &'static [Field]);

const BLOCK: usize = 16;

/// Not available, of so many bits.
const NOT_16: &[i64] = &[0xffff];
const NOT_15: &[i64] = &[0x7fff];
/// Hundredths of a volt: of the battery, of the input.
const fn volts(at: usize) -> Field {
    Field::le(Q::VoltageV, at, 2).signed().per(100).invalid(NOT_15).instance(0)
}

/// One of a charger's outputs: 13 bits of hundredths, 11 of tenths.
const fn output_volts(output: u8) -> Field {
    let at = 2 + 3 * output as usize;
    Field::le(Q::VoltageV, at, 2).part(0, 13).per(100).invalid(&[0x1fff]).instance(output)
}

const fn output_amperes(output: u8) -> Field {
    let at = 3 + 3 * output as usize;
    Field::le(Q::CurrentA, at, 2).part(5, 11).per(10).invalid(&[0x7ff]).instance(output)
}

const RECORDS: &[Record] = &[
    (
        0x01,
        "Solar charger",
        &[
            volts(2),
            Field::le(Q::CurrentA, 4, 2).signed().per(10).invalid(NOT_15).instance(0),
            // Of today.
            Field::le(Q::EnergyKwh, 6, 2).per(100).invalid(NOT_16),
            Field::le(Q::PowerW, 8, 2).invalid(NOT_16),
            // Of what is connected to it.
            Field::le(Q::CurrentA, 10, 2).part(0, 9).per(10).invalid(&[0x1ff]).instance(1),
        ],
    ),
    (0x02, BATTERY_MONITOR, MONITOR),
    (
        0x03,
        "Inverter",
        &[
            volts(3),
            Field::le(Q::VoltageV, 7, 2).part(0, 15).per(100).invalid(NOT_15).instance(1),
            Field::le(Q::CurrentA, 8, 3).part(7, 11).per(10).invalid(&[0x7ff]),
        ],
    ),
    (
        0x04,
        "DC-DC converter",
        &[Field::le(Q::VoltageV, 2, 2).per(100).invalid(NOT_16).instance(0), volts(4).instance(1)],
    ),
    (
        0x05,
        "Smart Lithium",
        &[
            // 40 degrees less.
            Field::le(Q::TemperatureC, 15, 1).part(0, 7).scaled(1, -40, 1).invalid(&[0x7f]),
            Field::le(Q::VoltageV, 13, 2).part(0, 12).per(100).invalid(&[0xfff]),
        ],
    ),
    (
        0x08,
        "AC charger",
        &[
            output_volts(0),
            output_amperes(0),
            output_volts(1),
            output_amperes(1),
            output_volts(2),
            output_amperes(2),
            // What it takes.
            Field::le(Q::CurrentA, 11, 2).part(7, 9).per(10).invalid(&[0x1ff]).instance(3),
            Field::octet(Q::TemperatureC, 11).part(0, 7).scaled(1, -40, 1).invalid(&[0x7f]),
        ],
    ),
    (
        0x09,
        "Smart Battery Protect",
        &[
            Field::octet(Q::PowerOn, 1).map(&[(0, 0.0), (1, 1.0), (4, 0.0)]),
            volts(7),
            Field::le(Q::VoltageV, 9, 2).per(100).invalid(NOT_16).instance(1),
        ],
    ),
    (0x0d, "DC energy meter", MONITOR),
];

const BATTERY_MONITOR: &str = "Battery monitor";

/// Minutes left, voltage, alarm, what is at the auxiliary input and which kind that is, current, used
/// charge, state of charge.
const MONITOR: &[Field] = &[
    volts(2),
    Field::le(Q::CurrentA, 8, 3).part(2, 22).signed().per(1000).invalid(&[-1, 0x1f_ffff]),
    // A starter's battery, or the middle of a bank.
    Field::le(Q::VoltageV, 6, 2).signed().per(100).instance(1).when(&[Test::bits(8, 3, 0)]),
    Field::le(Q::VoltageV, 6, 2).per(100).instance(1).when(&[Test::bits(8, 3, 1)]),
    // Hundredths of a kelvin.
    Field::le(Q::TemperatureC, 6, 2)
        .scaled(1, -27_315, 100)
        .invalid(NOT_16)
        .when(&[Test::bits(8, 3, 2)]),
];
const CHARGE: Field = Field::le(Q::LevelPercent, 13, 2).part(4, 10).per(10).invalid(&[0x3ff]);

/// Prefix, product, kind of record, counter, first octet of the key; then what is encrypted.
fn readout(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let kind = data.get(4).ok_or(Stop::NotMine)?;
    let record = RECORDS.iter().find(|(known, ..)| known == kind).ok_or(Stop::NotMine)?;
    let (_, model, fields) = *record;
    let product = Bits::le(2, 2).number(data);
    let sense = matches!(product, Some(0xa3a4 | 0xa3a5));
    measured.model = Some(if sense { "Smart Battery Sense" } else { model });
    let key = heard.key.ok_or(Stop::Encrypted(Refusal::NoKey))?;
    let (counter, first, content) = match data.get(5..) {
        Some([low, high, first, content @ ..]) => {
            (u16::from_le_bytes([*low, *high]), first, content)
        }
        _ => return Err(Stop::Encrypted(Refusal::Truncated)),
    };
    if key.octets().first() != Some(first) {
        return Err(Stop::Encrypted(Refusal::WrongKey));
    }
    let mut plain = [0; 2 * BLOCK];
    let plain = plain.get_mut(..content.len()).ok_or(Stop::Malformed)?;
    plain.copy_from_slice(content);
    decrypt(key, counter, plain)?;
    measured.sealed = true;
    measured.counter = Some(u32::from(counter));
    Field::read_all(fields, plain, measured);
    if model == BATTERY_MONITOR && !sense {
        CHARGE.read(plain, measured);
    }
    Ok(())
}

/// The counter is a little-endian number of 128 bits.
fn decrypt(key: &BindKey, counter: u16, content: &mut [u8]) -> Result<(), Stop> {
    let cipher =
        Aes128Enc::new_from_slice(key.octets()).map_err(|_| Stop::Encrypted(Refusal::WrongKey))?;
    for (count, part) in (u128::from(counter)..).zip(content.chunks_mut(BLOCK)) {
        let mut pad = Block::from(count.to_le_bytes());
        cipher.encrypt_block(&mut pad);
        for (octet, pad) in part.iter_mut().zip(pad) {
            *octet ^= pad;
        }
    }
    drop(cipher);
    forget::burn_stack_above();
    Ok(())
}

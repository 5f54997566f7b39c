//! BTHome version 1: the objects of version 2, each behind an octet with its length and kind.
//!
//! Source: bthome.io/v1. Version 1 under 0x181C is plain, under 0x181E encrypted: AES-CCM, whose nonce is
//! the address, the UUID and the counter, and whose associated data is one octet.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q, bthome,
    reading::exact,
    sensor::{
        Bits, Decoder, Heard, Measured, Stop,
        cipher::{self, TAG},
    },
};

const FAMILY: &str = "bthome_v1";

/// Where what is encrypted stands.
const ENCRYPTED: u16 = 0x181e;

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "BTHome version 1",
    models: &[],
    quantities: &Q::ALL,
    encryption: Encryption::Sometimes,
    active_scan: ActiveScan::No,
    source: "bthome.io/v1",
};

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::service(FAMILY, 0x181c).at_least(3).code(objects),
    Decoder::service(FAMILY, ENCRYPTED).code(encrypted),
];

/// Objects, counter, tag.
fn encrypted(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let (key, address) = heard.secrets()?;
    let (sealed, tag) = data.split_last_chunk::<TAG>().ok_or(cipher::TRUNCATED)?;
    let (content, counter) = sealed.split_last_chunk::<4>().ok_or(cipher::TRUNCATED)?;
    let nonce: [&[u8]; 3] = [&address, &ENCRYPTED.to_le_bytes(), counter];
    let plain = cipher::open(key, &nonce, &[0x11], content, *tag)?;
    let counter = u32::from_le_bytes(*counter);
    (measured.sealed, measured.freshness) = (true, Some(counter));
    // Unless there is a packet id among the objects.
    measured.counter = Some(counter);
    objects(heard, &plain, measured)
}

/// What the upper three bits of an object's first octet say of its value.
mod kind {
    pub(super) const UNSIGNED: u8 = 0;
    pub(super) const SIGNED: u8 = 1;
    pub(super) const FLOAT: u8 = 2;
}

fn objects(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let mut rest = data;
    while let [control, tail @ ..] = rest {
        let length = usize::from(control & 0x1f);
        let Some((object, tail)) = tail.split_at_checked(length) else {
            return Err(Stop::Malformed);
        };
        let Some((&id, value)) = object.split_first() else { return Err(Stop::Malformed) };
        let number = match (control >> 5, value) {
            (kind::FLOAT, value) => float(value),
            (kind::UNSIGNED, value) => Bits::le(0, value.len()).number(value).map(exact),
            (kind::SIGNED, value) => Bits::le(0, value.len()).signed().number(value).map(exact),
            _ => None,
        };
        match bthome::version_1(id, value, number) {
            Some(bthome::Told::Value(quantity, value)) => measured.push(quantity, value),
            Some(bthome::Told::Event(quantity, action)) => {
                measured.event = true;
                measured.push(quantity, action.value());
            }
            Some(bthome::Told::PacketId(id)) => measured.counter = Some(u32::from(id)),
            None => {}
        }
        rest = tail;
    }
    Ok(())
}

/// A number of half, single or double precision.
fn float(value: &[u8]) -> Option<f64> {
    match *value {
        [low, high] => {
            let part = |shift, width| Bits::le(0, 2).part(shift, width).number(&[low, high]);
            let (fraction, exponent) =
                (exact(part(0, 10)?) / 1024.0, i32::try_from(part(10, 5)?).ok()?);
            let magnitude = match exponent {
                0 => fraction * 2_f64.powi(-14),
                31 => return None,
                _ => (1.0 + fraction) * 2_f64.powi(exponent - 15),
            };
            Some(if high >> 7 == 1 { -magnitude } else { magnitude })
        }
        [a, b, c, d] => Some(f64::from(f32::from_le_bytes([a, b, c, d]))),
        _ => value.try_into().ok().map(f64::from_le_bytes),
    }
}

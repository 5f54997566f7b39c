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

mod later;
mod models;
mod object;

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    sensor::{
        Bits, Decoder, Heard, Measured, Stop,
        cipher::{self, Plain, TAG, reversed},
    },
};
use models::MODELS;
use object::object;

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
        Q::DimmerSteps,
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
    let (mut at, mut heard) = (5, *heard);
    if has(control::ADDRESS) {
        let tail = data.get(at..).ok_or(Stop::Malformed)?;
        let address = reversed(*tail.first_chunk().ok_or(Stop::Malformed)?);
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
    let (key, address) = heard.secrets()?;
    let (content, tag) = content.split_last_chunk::<TAG>().ok_or(cipher::TRUNCATED)?;
    let (content, extended) = content.split_last_chunk::<3>().ok_or(cipher::TRUNCATED)?;
    let start = data.get(2..5).ok_or(Stop::Malformed)?;
    let nonce: [&[u8]; 3] = [&reversed(address), start, extended];
    let plain = cipher::open(key, &nonce, ASSOCIATED, content, *tag)?;
    measured.sealed = true;
    if let (Some("LYWSD03MMC"), [.., count], [low, middle, high]) =
        (measured.model, start, *extended)
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
    let (key, address) = heard.secrets()?;
    let (content, [counter @ .., tag]) =
        content.split_last_chunk::<4>().ok_or(cipher::TRUNCATED)?;
    let start = data.get(..5).ok_or(Stop::Malformed)?;
    let [end @ .., _] = &reversed(address);
    let nonce: [&[u8]; 3] = [start, counter, end];
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

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

mod object;

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    sensor::{
        Bits, Decoder, Heard, Measured, Stop,
        cipher::{self, Plain, TAG, reversed},
    },
};
use object::object;

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
        "ES5BB",
        "ESM787",
        "GCLS002",
        "HHCCJCY01",
        "HHCCPOT002",
        "HS1BB(MI)",
        "JQJCY01YM",
        "JTYJGD03MI",
        "K9B-1BTN",
        "K9B-2BTN",
        "K9B-3BTN",
        "K9BB-1BTN",
        "KS2BB",
        "LYWSD02",
        "LYWSD02MMC",
        "LYWSD03MMC",
        "LYWSDCGQ",
        "MBS17",
        "MC-COMM",
        "MCCGQ02HL",
        "MHO-C303",
        "MHO-C401",
        "MJWSD05MMC",
        "MJWSD06MMC",
        "MJYD02YL",
        "MS1BB(MI)",
        "MUE4094RT",
        "PS1BB",
        "PTX_YK1_QMIMB",
        "RS1BB(MI)",
        "RTCGQ02LM",
        "SJWS01LM",
        "SJWS02LM",
        "V-SK152",
        "WX08ZM",
        "XMMF01JQD",
        "XMOSB01XS",
        "XMPIRO2GSXS",
        "XMPIRO2SXS",
        "XMWSDJ04MMC",
        "XMWXKG01LM",
        "XMWXKG01YL",
        "YLAI003",
        "YLKG07YL/YLKG08YL",
        "YLYB01YL-BHFRC",
        "YLYK01YL",
        "YLYK01YL-FANCL",
        "YLYK01YL-VENFAN",
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
        Q::DimmerSteps,
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
    (0x03bf, "YLYB01YL-BHFRC"),
    (0x03d6, "CGH1"),
    (0x03dd, "MUE4094RT"),
    (0x040a, "WX08ZM"),
    (0x045b, "LYWSD02"),
    (0x045c, "V-SK152"),
    (0x04e1, "XMMF01JQD"),
    (0x04e6, "YLYK01YL-VENFAN"),
    (0x055b, "LYWSD03MMC"),
    (0x0576, "CGD1"),
    (0x066f, "CGDK2"),
    (0x068e, "YLYK01YL-FANCL"),
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
    (0x0dfd, "K9B-3BTN"),
    (0x1203, "XMWSDJ04MMC"),
    (0x1568, "K9B-1BTN"),
    (0x1569, "K9B-2BTN"),
    (0x16e4, "LYWSD02MMC"),
    (0x1889, "MS1BB(MI)"),
    (0x1949, "XMWXKG01YL"),
    (0x1c10, "K9BB-1BTN"),
    (0x2387, "XMWXKG01LM"),
    (0x2542, "LYWSD02MMC"),
    (0x2832, "MJWSD05MMC"),
    (0x2aeb, "HS1BB(MI)"),
    (0x3531, "XMPIRO2SXS"),
    (0x38bb, "PTX_YK1_QMIMB"),
    (0x3f0f, "RS1BB(MI)"),
    (0x3f4c, "PS1BB"),
    (0x4683, "XMOSB01XS"),
    (0x4c47, "MJWSD05MMC"),
    (0x4c60, "XMPIRO2GSXS"),
    (0x4f59, "CGDK3"),
    (0x50fb, "ES3"),
    (0x520b, "KS2BB"),
    (0x55b5, "MJWSD06MMC"),
    (0x5bea, "MJWSD06MMC"),
    (0x5db1, "MBS17"),
    (0x6375, "SJWS02LM"),
    (0x6a0f, "ES5BB"),
    (0x78d1, "MC-COMM"),
    (0x78db, "ESM787"),
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

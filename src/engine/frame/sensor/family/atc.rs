//! Xiaomi thermometers with firmware of their owners': the formats of atc1441 and of pvvx.
//!
//! Source: the readmes of `github.com/atc1441/ATC_MiThermometer` (Advertising format) and of
//! `github.com/pvvx/ATC_MiThermometer` (Bluetooth advertising formats; `custom_beacon.c` for what is
//! encrypted, which has 11 or 8 octets). The address, which both repeat where they are plain, is not kept.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    ad::ad_type,
    sensor::{
        Bits, Code, Decoder, Field, Heard, Measured, Stop,
        cipher::{self, TAG, reversed},
    },
};

const FAMILY: &str = "atc";

/// Environmental Sensing, under which both put their data.
const SERVICE: u16 = 0x181a;

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "ATC and PVVX firmware (LYWSD03MMC, MHO-C401, CGG1, CGDK2, MJWSD05MMC and others)",
    models: &["atc1441", "pvvx"],
    quantities: &[
        Q::TemperatureC,
        Q::HumidityPercent,
        Q::BatteryPercent,
        Q::BatteryV,
        Q::On,
        Q::Open,
    ],
    encryption: Encryption::Sometimes,
    active_scan: ActiveScan::No,
    source: "readmes of github.com/atc1441/ATC_MiThermometer and github.com/pvvx/ATC_MiThermometer",
};

pub(super) const DECODERS: &[Decoder] = &[
    // Address, six octets; all that follows is big-endian.
    Decoder::service(FAMILY, SERVICE).length(13).model("atc1441").counter(Bits::be(12, 1)).fields(
        &[
            Field::be(Q::TemperatureC, 6, 2).signed().per(10),
            Field::octet(Q::HumidityPercent, 8),
            Field::octet(Q::BatteryPercent, 9),
            Field::be(Q::BatteryV, 10, 2).per(1000),
        ],
    ),
    // Address, reversed; all that follows is little-endian. Of the flags, bit 0 is the input (a reed
    // switch, closed where it is 0), bit 1 the output, and bits 2 and 3 say what triggers it.
    Decoder::service(FAMILY, SERVICE).length(15).model("pvvx").counter(Bits::le(13, 1)).fields(&[
        Field::le(Q::TemperatureC, 6, 2).signed().per(100),
        Field::le(Q::HumidityPercent, 8, 2).per(100),
        Field::le(Q::BatteryV, 10, 2).per(1000),
        Field::octet(Q::BatteryPercent, 12),
        Field::bit(Q::On, 14, 1),
        Field::bit(Q::Open, 14, 0),
    ]),
    encrypted(11, "pvvx", |heard, data, measured| open(heard, data, &PVVX, measured)),
    encrypted(8, "atc1441", |heard, data, measured| open(heard, data, &ATC1441, measured)),
];

const fn encrypted(octets: usize, model: &'static str, code: Code) -> Decoder {
    Decoder::service(FAMILY, SERVICE).length(octets).model(model).counter(Bits::le(0, 1)).code(code)
}

const PVVX: [Field; 5] = [
    Field::le(Q::TemperatureC, 0, 2).signed().per(100),
    Field::le(Q::HumidityPercent, 2, 2).per(100),
    Field::octet(Q::BatteryPercent, 4),
    Field::bit(Q::On, 5, 1),
    Field::bit(Q::Open, 5, 0),
];

/// Half degrees from -40 °C on, halves of a percent, and the output above the battery.
const ATC1441: [Field; 4] = [
    Field::octet(Q::TemperatureC, 0).scaled(1, -80, 2),
    Field::octet(Q::HumidityPercent, 1).per(2),
    Field::octet(Q::BatteryPercent, 2).part(0, 7),
    Field::bit(Q::On, 2, 7),
];

/// Counter, values, tag. The nonce is the address and the AD structure up to the counter.
fn open(
    heard: &Heard<'_>,
    data: &[u8],
    fields: &[Field],
    measured: &mut Measured,
) -> Result<(), Stop> {
    let (key, address) = heard.secrets()?;
    let ([counter], sealed) = data.split_first_chunk().ok_or(cipher::TRUNCATED)?;
    let (content, tag) = sealed.split_last_chunk::<TAG>().ok_or(cipher::TRUNCATED)?;
    let length = u8::try_from(data.len() + 3).map_err(|_| Stop::Malformed)?;
    let [low, high] = SERVICE.to_le_bytes();
    let start = [length, ad_type::SERVICE_DATA_16, low, high, *counter];
    let plain = cipher::open(key, &[&reversed(address), &start], &[0x11], content, *tag)?;
    measured.sealed = true;
    Field::read_all(fields, &plain, measured);
    Ok(())
}

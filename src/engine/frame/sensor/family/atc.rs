//! Xiaomi thermometers with firmware of their owners': the formats of atc1441 and of pvvx.
//!
//! Source: the readmes of `github.com/atc1441/ATC_MiThermometer` (Advertising format) and of
//! `github.com/pvvx/ATC_MiThermometer` (Bluetooth advertising formats). The address, which both repeat,
//! is not kept. What is encrypted (pvvx) has 11 or 8 octets.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    sensor::{Bits, Decoder, Field, Heard, Measured, Refusal, Stop},
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
    Decoder::service(FAMILY, SERVICE).length(11).model("pvvx").code(encrypted),
    Decoder::service(FAMILY, SERVICE).length(8).model("atc1441").code(encrypted),
];

fn encrypted(_: &Heard<'_>, _: &[u8], _: &mut Measured) -> Result<(), Stop> {
    Err(Stop::Encrypted(Refusal::NoKey))
}

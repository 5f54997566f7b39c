//! Blue Maestro Tempo Discs.
//!
//! Source: Blue Maestro, Temperature Humidity Data Logger Commands and API (bluemaestro.com), and for
//! the Maxi discs the parser of Home Assistant (pypi.org/project/bluemaestro-ble).

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    sensor::{Decoder, Field, Test},
};

const FAMILY: &str = "bluemaestro";

const COMPANY: u16 = 0x0133;

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "Blue Maestro",
    models: &[
        "Temperature Sensor v8",
        "Tempo Disc T",
        "Tempo Disc THD",
        "Tempo Disc THPD",
        "Tempo Disc Maxi T",
        "Tempo Disc Maxi THD",
        "Tempo Disc Maxi THPD",
    ],
    quantities: &[
        Q::TemperatureC,
        Q::HumidityPercent,
        Q::DewPointC,
        Q::PressurePa,
        Q::BatteryPercent,
    ],
    encryption: Encryption::Never,
    active_scan: ActiveScan::No,
    source: "Blue Maestro, Commands and API; bluemaestro-ble",
};

// Version, battery, logging interval, record counter, then the values.
const BATTERY: Field = Field::octet(Q::BatteryPercent, 1);
const TEMPERATURE: Field = Field::be(Q::TemperatureC, 6, 2).signed().per(10);
const HUMIDITY: Field = Field::be(Q::HumidityPercent, 8, 2).per(10);
const T: &[Field] = &[TEMPERATURE, BATTERY];
const THD: &[Field] =
    &[TEMPERATURE, HUMIDITY, Field::be(Q::DewPointC, 10, 2).signed().per(10), BATTERY];
// Tenths of a hectopascal.
const THPD: &[Field] =
    &[TEMPERATURE, HUMIDITY, Field::be(Q::PressurePa, 10, 2).scaled(10, 0, 1), BATTERY];
const MAXI_TEMPERATURE: Field = Field::le(Q::TemperatureC, 15, 2).signed().per(100);
const MAXI_HUMIDITY: Field = Field::le(Q::HumidityPercent, 17, 2).per(100);
const MAXI_T: &[Field] = &[MAXI_TEMPERATURE, BATTERY];
const MAXI_THD: &[Field] = &[MAXI_TEMPERATURE, MAXI_HUMIDITY, BATTERY];
// Hundredths of a hectopascal.
const MAXI_THPD: &[Field] =
    &[MAXI_TEMPERATURE, MAXI_HUMIDITY, Field::le(Q::PressurePa, 19, 4), BATTERY];

pub(super) const DECODERS: &[Decoder] = &[
    disc("Temperature Sensor v8", &[Test::is(0, 0x08)], 8, T),
    disc("Tempo Disc T", &[Test::is(0, 0x0d)], 8, T),
    disc("Tempo Disc THD", &[Test::is(0, 0x16)], 12, THD),
    disc("Tempo Disc THD", &[Test::is(0, 0x17)], 12, THD),
    disc("Tempo Disc THPD", &[Test::is(0, 0x1b)], 12, THPD),
    disc("Tempo Disc Maxi T", &[Test::is(0, 0x29)], 17, MAXI_T),
    disc("Tempo Disc Maxi THD", &[Test::is(0, 0x2a)], 19, MAXI_THD),
    disc("Tempo Disc Maxi THPD", &[Test::is(0, 0x2b)], 23, MAXI_THPD),
];

const fn disc(
    model: &'static str,
    version: &'static [Test],
    octets: usize,
    fields: &'static [Field],
) -> Decoder {
    Decoder::company(FAMILY, COMPANY).at_least(octets).when(version).model(model).fields(fields)
}

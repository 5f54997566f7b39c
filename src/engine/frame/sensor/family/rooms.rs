//! Sensors in rooms and on shelves: Acconeer, Grundfos, Gicisky, Kontakt.io, SG Wireless.
//!
//! Sources: Acconeer and Grundfos, the parsers of `github.com/custom-components/ble_monitor`; Gicisky,
//! `github.com/eigger/hass-gicisky` (MIT); Kontakt.io, developer.kontakt.io, Packets, Telemetry; SG Wireless,
//! `github.com/particle-iot/beacon-scanner-library` (Apache-2.0).

use super::{About, ActiveScan, about};
use crate::engine::frame::{
    Quantity as Q,
    sensor::{Bits, Decoder, Field, Heard, Measured, Model, Stop, Test},
};

const ACCONEER: &str = "acconeer";
const GRUNDFOS: &str = "grundfos";
const GICISKY: &str = "gicisky";
const KONTAKT: &str = "kontakt";
const SG_WIRELESS: &str = "sg_wireless";

pub(super) const ABOUT: &[About] = &[
    about(
        ACCONEER,
        "Acconeer radar sensors",
        &["XM122", "XM126", "XM126 Distance"],
        &[Q::TemperatureC, Q::Motion, Q::DistanceM, Q::BatteryPercent],
        "ble_monitor",
    ),
    about(
        GRUNDFOS,
        "Grundfos Alpha Reader (pumps for heating)",
        &["MI401"],
        &[Q::TemperatureC],
        "ble_monitor",
    ),
    about(
        GICISKY,
        "Gicisky price tags",
        &["TFT 2.1", "EPD 2.1", "EPD 2.9", "EPD 4.2", "EPD 7.5", "EPD 10.2"],
        &[Q::BatteryV],
        "github.com/eigger/hass-gicisky",
    ),
    about(
        KONTAKT,
        "Kontakt.io telemetry",
        &[],
        &[Q::TemperatureC, Q::HumidityPercent, Q::BatteryPercent],
        "developer.kontakt.io",
    ),
    About {
        active_scan: ActiveScan::Sometimes,
        ..about(
            SG_WIRELESS,
            "SG Wireless",
            &["SGW8130"],
            &[Q::TemperatureC, Q::HumidityPercent, Q::BatteryPercent],
            "github.com/particle-iot/beacon-scanner-library",
        )
    },
];

/// Kind, battery, temperature, what it measures; the rest is reserved.
const ACCONEER_CLIMATE: [Field; 2] =
    [Field::le(Q::BatteryPercent, 1, 2), Field::le(Q::TemperatureC, 3, 2).signed()];
const PRESENCE: &[Field] =
    &[ACCONEER_CLIMATE[1], Field::le(Q::Motion, 5, 2).not_zero(), ACCONEER_CLIMATE[0]];

const fn acconeer(kind: &'static [Test], model: &'static str, fields: &'static [Field]) -> Decoder {
    Decoder::company(ACCONEER, 0xacc0).length(15).when(kind).model(model).fields(fields)
}

pub(super) const DECODERS: &[Decoder] = &[
    acconeer(&[Test::is(0, 0x80)], "XM122", PRESENCE),
    acconeer(&[Test::is(0, 0x91)], "XM126", PRESENCE),
    acconeer(
        &[Test::is(0, 0x90)],
        "XM126 Distance",
        &[ACCONEER_CLIMATE[1], Field::le(Q::DistanceM, 5, 2).per(1000), ACCONEER_CLIMATE[0]],
    ),
    // Of its flow and its pressure the scale is not known for certain.
    Decoder::company(GRUNDFOS, 0xf214)
        .length(19)
        .when(&[Test::is(0, 0x30)])
        .model("MI401")
        .counter(Bits::le(2, 1))
        .fields(&[Field::octet(Q::TemperatureC, 12)]),
    // Of the product, two more bits stand in the last octet.
    Decoder::company(GICISKY, 0x5053)
        .length(5)
        .when(&[Test::bits(4, 0x3f, 0)])
        .models(Model::ByOctet(
            0,
            &[
                (0xa0, "TFT 2.1"),
                (0x0b, "EPD 2.1"),
                (0x33, "EPD 2.9"),
                (0x4b, "EPD 4.2"),
                (0x2b, "EPD 7.5"),
                (0x8b, "EPD 10.2"),
            ],
        ))
        .code(gicisky),
    Decoder::service(KONTAKT, 0xfe6a).at_least(3).when(&[Test::is(0, 0x03)]).code(kontakt),
    Decoder::company(SG_WIRELESS, 0x0059).at_least(5).names(&["SGW8130"]).model("SGW8130").fields(
        &[
            Field::le(Q::TemperatureC, 0, 2).signed().per(100),
            Field::le(Q::HumidityPercent, 2, 2).per(100),
            Field::octet(Q::BatteryPercent, 4).invalid(&[0xff]),
        ],
    ),
];

fn gicisky(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    if measured.model.is_none() {
        return Err(Stop::NotMine);
    }
    Field::octet(Q::BatteryV, 1).per(10).read(data, measured);
    Ok(())
}

/// Items: length, kind, value. Those that a tag may be set to send and that are known to the bit are read.
fn kontakt(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let mut rest = data.get(1..).unwrap_or_default();
    while let [length, kind, tail @ ..] = rest {
        let octets = usize::from(*length).checked_sub(1).ok_or(Stop::Malformed)?;
        let (value, tail) = tail.split_at_checked(octets).ok_or(Stop::Malformed)?;
        let field = match (kind, octets) {
            // The time, and the battery.
            (0x01, 5) => Some(Field::octet(Q::BatteryPercent, 4)),
            // Light, and the temperature.
            (0x05, 2) => Some(Field::octet(Q::TemperatureC, 1).signed()),
            (0x0b, 1) => Some(Field::octet(Q::TemperatureC, 0).signed()),
            (0x0c, 1) => Some(Field::octet(Q::BatteryPercent, 0)),
            (0x12, 1) => Some(Field::octet(Q::HumidityPercent, 0)),
            _ => None,
        };
        if let Some(field) = field {
            field.read(value, measured);
        }
        rest = tail;
    }
    if rest.is_empty() { Ok(()) } else { Err(Stop::Malformed) }
}

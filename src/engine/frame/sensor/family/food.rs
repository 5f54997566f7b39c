//! Where food is kept and heated: Mocreo, Chef iQ, Combustion, T&D.
//!
//! Sources: Mocreo and Chef iQ, the parsers of `github.com/custom-components/ble_monitor`; Combustion,
//! `github.com/combustion-inc/combustion-documentation` (`probe_ble_specification`); T&D, the parsers of obniz
//! (MIT, npmjs.com/package/obniz).

use super::{About, ActiveScan, about};
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Model, Stop, Test},
};

const MOCREO: &str = "mocreo";
const CHEF_IQ: &str = "chef_iq";
const COMBUSTION: &str = "combustion";
const T_AND_D: &str = "t_and_d";

pub(super) const ABOUT: &[About] = &[
    about(
        MOCREO,
        "Mocreo",
        &["ST5", "ST6", "ST8", "ST9", "ST10", "SW2", "MS1", "MS2", "SD1", "MS3"],
        &[Q::TemperatureC, Q::HumidityPercent, Q::Leak, Q::DoorOpen, Q::BatteryPercent],
        "ble_monitor",
    ),
    about(CHEF_IQ, "Chef iQ", &["CQ60"], &[Q::TemperatureC, Q::BatteryPercent], "ble_monitor"),
    about(
        COMBUSTION,
        "Combustion",
        &["Predictive Thermometer"],
        &[Q::TemperatureC, Q::BatteryLow],
        "github.com/combustion-inc/combustion-documentation",
    ),
    About {
        active_scan: ActiveScan::Sometimes,
        ..about(
            T_AND_D,
            "T&D (TR4 and RTR500B)",
            &["TR4", "RTR500B"],
            &[Q::TemperatureC, Q::HumidityPercent],
            "npmjs.com/package/obniz",
        )
    },
];

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::named(MOCREO, &["MOCREO"]).length(18).whole().code(mocreo),
    // Tenths but for one, which has whole degrees; a probe that is not there tells the largest number.
    Decoder::company(CHEF_IQ, 0x05cd).length(18).when(&[Test::is(0, 0x01)]).model("CQ60").fields(
        &[
            tenths(0, 6),
            tenths(1, 8),
            tenths(2, 10),
            tenths(3, 12),
            Field::octet(Q::TemperatureC, 3).invalid(&[0xff]).instance(4),
            tenths(5, 14),
            Field::octet(Q::BatteryPercent, 2),
        ],
    ),
    Decoder::company(COMBUSTION, 0x09c7)
        .at_least(20)
        .when(&[Test::is(0, 0x01)])
        .model("Predictive Thermometer")
        .code(combustion),
    // Serial number, code, states, values.
    Decoder::company(T_AND_D, 0x0392)
        .length(18)
        .names(&["TR4"])
        .model("TR4")
        .counter(Bits::le(5, 1))
        .fields(VALUES),
    Decoder::company(T_AND_D, 0x0392).length(18).names(&["RTR"]).model("RTR500B").fields(VALUES),
    Decoder::company(T_AND_D, 0x0392)
        .length(24)
        .when(&[Test::is(5, 0x01), Test::is(10, 0x05)])
        .model("TR4")
        .fields(&[Field::le(Q::TemperatureC, 6, 2).scaled(1, -1000, 10).invalid(&[0xeeee])]),
];

const fn tenths(instance: u8, at: usize) -> Field {
    Field::le(Q::TemperatureC, at, 2)
        .signed()
        .per(10)
        .invalid(&[-1, 0x7fff, -0x8000])
        .instance(instance)
}

/// Tenths over 100; one number tells an error, and 0 that there is no second sensor.
const VALUES: &[Field] = &[
    Field::le(Q::TemperatureC, 8, 2).scaled(1, -1000, 10).invalid(&[0xeeee]),
    Field::le(Q::HumidityPercent, 10, 2).scaled(1, -1000, 10).invalid(&[0xeeee, 0]),
];

const MODELS: Model = Model::ByOctet(
    1,
    &[
        (0x81, "ST5"),
        (0x82, "SW2"),
        (0x83, "ST6"),
        (0x84, "ST8"),
        (0x86, "ST9"),
        (0x87, "ST10"),
        (0x8b, "MS1"),
        (0x8d, "MS2"),
        (0x94, "MS2"),
        (0x95, "SD1"),
        (0x96, "MS3"),
    ],
);

/// The product stands where the company identifier should be.
fn mocreo(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let model = MODELS.of(heard, data).ok_or(Stop::NotMine)?;
    measured.model = Some(model);
    let temperature = Field::le(Q::TemperatureC, 6, 2).signed().per(100);
    match data.get(1) {
        Some(0x82) => Field::bit(Q::Leak, 10, 0).read(data, measured),
        Some(0x83 | 0x86 | 0x8d) => {
            temperature.read(data, measured);
            Field::le(Q::HumidityPercent, 8, 2).per(100).read(data, measured);
        }
        // With a second thermometer, and a door.
        Some(0x95) => {
            temperature.read(data, measured);
            Field::le(Q::TemperatureC, 8, 2).signed().per(100).read(data, measured);
            Field::bit(Q::DoorOpen, 10, 2).read(data, measured);
        }
        _ => temperature.read(data, measured),
    }
    Field::octet(Q::BatteryPercent, 4).part(0, 7).read(data, measured);
    Ok(())
}

/// Eight sensors from the tip to the handle, 13 bits each, in steps of 0.05 °C over -20. While it is read
/// at once, only the first of them counts; in an error none.
fn combustion(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let count = match Bits::le(18, 1).part(0, 2).number(data) {
        Some(0) => 8,
        Some(1) => 1,
        _ => 0,
    };
    for (sensor, bit) in (0..count).zip((0_u32..).step_by(13)) {
        let at = 5 + usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let raw = Bits::le(at, 3).part(bit % 8, 13).number(data).ok_or(Stop::Malformed)?;
        measured.push_at(Q::TemperatureC, sensor, exact(raw - 400) / 20.0);
    }
    Field::bit(Q::BatteryLow, 19, 0).read(data, measured);
    Ok(())
}

//! Qingping (Cleargrass) monitors, in their own format.
//!
//! Source: the parsers of Home Assistant (pypi.org/project/qingping-ble) and of
//! `github.com/custom-components/ble_monitor`. What they send as Xiaomi's is read there.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    sensor::{Decoder, Field, Heard, Measured, Model, Stop},
};

const FAMILY: &str = "qingping";

const MODELS: &[(u8, &str)] = &[
    (0x01, "CGG1"),
    (0x04, "CGH1"),
    (0x07, "CGG1"),
    (0x09, "CGP1W"),
    (0x0c, "CGD1"),
    (0x0e, "CGDN1"),
    (0x0f, "CGM1"),
    (0x10, "CGDK2"),
    (0x12, "CGPR1"),
    (0x15, "CGF1W"),
    (0x16, "CGG1"),
    (0x18, "CGP23W"),
    (0x1e, "CGC1"),
    (0x24, "CGDN1"),
    (0x26, "CGP23W"),
    (0x33, "CGP22C"),
    (0x4f, "CGG3"),
    (0x52, "CGR1PC"),
    (0x5d, "CGP22C"),
    (0x62, "CGR1PC"),
];

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "Qingping",
    models: &[
        "CGG1", "CGH1", "CGP1W", "CGD1", "CGDN1", "CGM1", "CGDK2", "CGPR1", "CGF1W", "CGP23W",
        "CGC1", "CGP22C", "CGG3", "CGR1PC",
    ],
    quantities: &[
        Q::TemperatureC,
        Q::HumidityPercent,
        Q::PressurePa,
        Q::BatteryPercent,
        Q::DoorOpen,
        Q::Motion,
        Q::IlluminanceLx,
        Q::Light,
        Q::Pm2p5UgM3,
        Q::Pm10UgM3,
        Q::Co2Ppm,
        Q::VocIndex,
        Q::SoundLevelDb,
    ],
    encryption: Encryption::Never,
    active_scan: ActiveScan::No,
    source: "qingping-ble; ble_monitor",
};

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::service(FAMILY, 0xfdcd).at_least(8).models(Model::ByOctet(1, MODELS)).code(items),
    Decoder::service(FAMILY, 0xfff9).at_least(8).models(Model::ByOctet(1, MODELS)).code(items),
];

/// Bit 6 of the first octet: something happened.
const EVENT: u8 = 0x40;

/// Frame control, product, address; then items: kind, length, value.
fn items(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    if measured.model.is_none() {
        return Err(Stop::NotMine);
    }
    measured.event = data.first().is_some_and(|control| control & EVENT != 0);
    let mut rest = data.get(8..).unwrap_or_default();
    while let [kind, length, tail @ ..] = rest {
        let Some((value, tail)) = tail.split_at_checked(usize::from(*length)) else { break };
        item(*kind, value, measured);
        rest = tail;
    }
    Ok(())
}

fn item(kind: u8, value: &[u8], measured: &mut Measured) {
    let fields: &[Field] = match (kind, value.len()) {
        (0x01, 4) => &[
            Field::le(Q::TemperatureC, 0, 2).signed().per(10),
            Field::le(Q::HumidityPercent, 2, 2).per(10),
        ],
        // 255 says that it runs on a cable.
        (0x02, 1) if value == [0xff] => &[Field::octet(Q::BatteryPercent, 0).map(&[(0xff, 100.0)])],
        (0x02, 1) => &[Field::octet(Q::BatteryPercent, 0)],
        // 0 open, 1 shut, 2 left open.
        (0x04, 1) => &[Field::octet(Q::DoorOpen, 0).one_of(&[0, 2])],
        (0x07, 2) => &[Field::le(Q::PressurePa, 0, 2).scaled(10, 0, 1)],
        // In a frame that tells of an event, what follows the motion is no illuminance.
        (0x08, 4) if measured.event => &[Field::octet(Q::Motion, 0).not_zero()],
        (0x08, 4) => &[Field::octet(Q::Motion, 0).not_zero(), Field::le(Q::IlluminanceLx, 1, 3)],
        (0x09, 4) => &[Field::le(Q::IlluminanceLx, 0, 4)],
        (0x0f, 1) => {
            measured.counter = value.first().map(|id| u32::from(*id));
            &[]
        }
        (0x11, 1) => &[Field::octet(Q::Light, 0).not_zero()],
        (0x12, 4) => &[Field::le(Q::Pm2p5UgM3, 0, 2), Field::le(Q::Pm10UgM3, 2, 2)],
        (0x13, 2) => &[Field::le(Q::Co2Ppm, 0, 2)],
        (0x15, 2) => &[Field::le(Q::VocIndex, 0, 2)],
        (0x19, 1) => &[Field::octet(Q::SoundLevelDb, 0)],
        _ => &[],
    };
    Field::read_all(fields, value, measured);
}

//! Mopeka tank sensors.
//!
//! Source: `github.com/spbrogan/mopeka_pro_check` and the parser of Home Assistant
//! (pypi.org/project/mopeka-iot-ble).

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Action, Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Model, Stop},
};

const FAMILY: &str = "mopeka";

const MODELS: &[(u8, &str)] = &[
    (0x03, "Pro Check"),
    (0x04, "Pro-200"),
    (0x05, "Pro Check H2O"),
    (0x06, "Lippert BottleCheck"),
    (0x08, "Pro Plus"),
    (0x09, "Pro Plus with Cellular"),
    (0x0a, "TD40/TD200"),
    (0x0b, "TD40/TD200 with Cellular"),
    (0x0c, "Pro Check Universal"),
    (0x12, "Pro-200B"),
];

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "Mopeka (level of propane)",
    models: &[
        "Pro Check",
        "Pro-200",
        "Pro Check H2O",
        "Lippert BottleCheck",
        "Pro Plus",
        "Pro Plus with Cellular",
        "TD40/TD200",
        "TD40/TD200 with Cellular",
        "Pro Check Universal",
        "Pro-200B",
    ],
    quantities: &[Q::DistanceM, Q::TemperatureC, Q::BatteryV, Q::BatteryPercent, Q::Button],
    encryption: Encryption::Never,
    active_scan: ActiveScan::No,
    source: "mopeka_pro_check; mopeka-iot-ble",
};

pub(super) const DECODERS: &[Decoder] = &[Decoder::company(FAMILY, 0x0059)
    .length(10)
    .lists(0xfee5)
    .models(Model::ByOctet(0, MODELS))
    .code(tank)];

fn tank(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    if measured.model.is_none() {
        return Err(Stop::NotMine);
    }
    let number = |bits: Bits| bits.number(data).map(exact).ok_or(Stop::Malformed);
    let celsius = number(Bits::le(2, 1).part(0, 7))?;
    // An echo of the lowest quality is none.
    if data.get(4).is_some_and(|octet| octet >> 6 > 0) {
        // How fast sound is in propane, by its temperature over -40 °C, in mm for each of the echo's
        // steps.
        let step = 0.573_045 - 0.002_822 * celsius - 0.000_005_35 * celsius * celsius;
        let millimetres = (number(Bits::le(3, 2).part(0, 14))? * step).trunc();
        measured.push(Q::DistanceM, millimetres / 1000.0);
    }
    measured.push(Q::TemperatureC, celsius - 40.0);
    // The highest bit is reserved.
    let battery = number(Bits::le(1, 1).part(0, 7))?;
    measured.push(Q::BatteryV, battery / 32.0);
    let percent = ((battery / 32.0 - 2.2) / 0.65 * 100.0).clamp(0.0, 100.0);
    measured.push(Q::BatteryPercent, (percent * 10.0).round() / 10.0);
    if Field::bit(Q::Button, 2, 7).bits.number(data) == Some(1) {
        measured.event = true;
        measured.action(Q::Button, 0, Action::Press);
    }
    Ok(())
}

//! `ThermoBeacon` hygrometers, and the ones that are sold as Brifit, `SensorPro` or ORIA.
//!
//! Source: the parsers of Home Assistant (pypi.org/project/thermobeacon-ble,
//! pypi.org/project/sensorpro-ble) and of `github.com/custom-components/ble_monitor`.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Action, Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Model, Stop, Test},
};

const FAMILY: &str = "thermobeacon";
const BRIFIT: &str = "brifit";

pub(super) const ABOUT: &[About] = &[
    About {
        family: FAMILY,
        name: "ThermoBeacon (ORIA, SensorBlue, Thermoplus)",
        models: &["Lanyard/mini hygrometer", "Smart hygrometer"],
        quantities: &[
            Q::TemperatureC,
            Q::HumidityPercent,
            Q::BatteryV,
            Q::BatteryPercent,
            Q::UptimeS,
            Q::Button,
        ],
        encryption: Encryption::Never,
        active_scan: ActiveScan::No,
        source: "thermobeacon-ble; ble_monitor",
    },
    About {
        family: BRIFIT,
        name: "Brifit (SensorPro)",
        models: &["T201", "T301"],
        quantities: &[Q::TemperatureC, Q::HumidityPercent, Q::BatteryV, Q::BatteryPercent],
        encryption: Encryption::Never,
        active_scan: ActiveScan::No,
        source: "sensorpro-ble; ble_monitor",
    },
];

/// A service that they all list.
const SERVICE: u16 = 0xfff0;

pub(super) const DECODERS: &[Decoder] = &[
    beacon(0x10, "Lanyard/mini hygrometer"),
    beacon(0x11, "Smart hygrometer"),
    beacon(0x14, "Smart hygrometer"),
    beacon(0x15, "Smart hygrometer"),
    beacon(0x18, "Smart hygrometer"),
    beacon(0x1b, "Smart hygrometer"),
    beacon(0x30, "Smart hygrometer"),
    Decoder::company(BRIFIT, 0xaa55)
        .at_least(15)
        // Behind the product stands the address, and all of them begin with the same octets.
        .when(&[Test::is(0, 1), Test::bits(1, !4, 1), Test::is(2, 0xa4), Test::is(3, 0xc1)])
        .models(Model::ByOctet(1, &[(1, "T201"), (5, "T301")]))
        .fields(&[
            Field::be(Q::TemperatureC, 10, 2).signed().per(100),
            Field::be(Q::HumidityPercent, 12, 2).per(100),
            Field::be(Q::BatteryV, 8, 2).per(100),
            Field::octet(Q::BatteryPercent, 14),
        ]),
];

/// The identifier is the product's and no company's. Twenty octets more are maxima and minima.
const fn beacon(product: u16, model: &'static str) -> Decoder {
    Decoder::company(FAMILY, product).length(18).model(model).code(hygrometer)
}

fn hygrometer(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    // The address, reversed, is told in the frame, too.
    let repeated = heard.address.is_some_and(|mut address| {
        address.reverse();
        data.get(2..8) == Some(&address)
    });
    if !repeated && !heard.lists(SERVICE) {
        return Err(Stop::NotMine);
    }
    // Sixteenths, up to 100 both.
    if Bits::le(10, 2).signed().number(data) > Some(1600)
        || Bits::le(12, 2).number(data) > Some(1600)
    {
        return Err(Stop::Malformed);
    }
    Field::le(Q::TemperatureC, 10, 2).signed().per(16).read(data, measured);
    Field::le(Q::HumidityPercent, 12, 2).per(16).read(data, measured);
    Field::le(Q::BatteryV, 8, 2).per(1000).read(data, measured);
    if let Some(millivolts) = Bits::le(8, 2).number(data) {
        measured.push(Q::BatteryPercent, coin_cell(millivolts).round_ties_even());
    }
    Field::le(Q::UptimeS, 14, 4).read(data, measured);
    if data.get(1).is_some_and(|flags| flags & 0x80 != 0) {
        measured.event = true;
        measured.action(Q::Button, 0, Action::Press);
    }
    Ok(())
}

/// The charge of a lithium cell of 3 V by its voltage: straight lines, steeper towards the end.
fn coin_cell(millivolts: i64) -> f64 {
    match millivolts {
        3000.. => 100.0,
        2600.. => 60.0 + exact(millivolts - 2600) / 10.0,
        2500.. => 40.0 + exact(millivolts - 2500) / 5.0,
        2450.. => 20.0 + exact(millivolts - 2450) * 2.0 / 5.0,
        _ => 0.0,
    }
}

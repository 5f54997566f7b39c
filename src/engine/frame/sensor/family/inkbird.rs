//! Inkbird thermometers and hygrometers. Where the company identifier should be stands the
//! temperature, so the name tells that it is one.
//!
//! Source: the parsers of Home Assistant (pypi.org/project/inkbird-ble) and of
//! `github.com/custom-components/ble_monitor`.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    sensor::{Bits, Decoder, Field, Heard, Measured, Stop, Test},
};

const FAMILY: &str = "inkbird";

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "Inkbird",
    models: &[
        "IBS-TH",
        "IBS-TH2/P01B",
        "IBS-P02B",
        "ITH-11-B",
        "ITH-13-B",
        "ITH-21-B",
        "IAM-T2",
        "iBBQ-1",
        "iBBQ-2",
        "iBBQ-4",
        "iBBQ-6",
    ],
    quantities: &[Q::TemperatureC, Q::HumidityPercent, Q::BatteryPercent, Q::Co2Ppm],
    encryption: Encryption::Never,
    active_scan: ActiveScan::Sometimes,
    source: "inkbird-ble; ble_monitor",
};

/// The company identifier of the IAM-T2, and how its address begins, which follows.
const IAM_T2: u16 = 0x3254;

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::named(FAMILY, &["sps", "SPS", "tps", "TPS"]).length(9).whole().code(small),
    eighteen("IBS-P02B", &["IBS-P02B", "ibs-p02b", "Ibs-p02b"]),
    eighteen("ITH-11-B", &["ITH-11-B", "ith-11-b"]),
    eighteen("ITH-13-B", &["ITH-13-B", "ith-13-b"]),
    eighteen("ITH-21-B", &["ITH-21-B", "ith-21-b"]),
    barbecue("iBBQ-1", 12, &[PROBES[0]]),
    barbecue("iBBQ-2", 14, &[PROBES[0], PROBES[1]]),
    barbecue("iBBQ-4", 18, &[PROBES[0], PROBES[1], PROBES[2], PROBES[3]]),
    barbecue("iBBQ-6", 22, &PROBES),
    // Address, one unknown, status, then the values. The battery's scale is not known.
    Decoder::company(FAMILY, IAM_T2)
        .length(15)
        .when(&[Test::is(0, 0x00), Test::is(1, 0x62)])
        .model("IAM-T2")
        .whole()
        .fields(&[
            Field::be(Q::TemperatureC, 8, 2).signed().per(10).when(&[Test::bits(7, 0x02, 0)]),
            // Tenths of a degree Fahrenheit.
            Field::be(Q::TemperatureC, 8, 2)
                .signed()
                .scaled(5, -1600, 90)
                .when(&[Test::bits(7, 0x02, 0x02)]),
            Field::be(Q::HumidityPercent, 10, 2).per(10),
            Field::be(Q::Co2Ppm, 12, 2),
        ]),
];

const fn eighteen(model: &'static str, names: &'static [&'static str]) -> Decoder {
    Decoder::named(FAMILY, names).length(18).whole().model(model).fields(EIGHTEEN)
}

const EIGHTEEN: &[Field] = &[
    Field::le(Q::TemperatureC, 6, 2).signed().per(10),
    // None where it has no such sensor.
    Field::le(Q::HumidityPercent, 8, 2).per(10).invalid(&[0]),
    Field::octet(Q::BatteryPercent, 10),
];

const fn barbecue(model: &'static str, octets: usize, probes: &'static [Field]) -> Decoder {
    Decoder::named(FAMILY, &["iBBQ", "xBBQ", "ibbq", "xbbq"])
        .length(octets)
        .model(model)
        .fields(probes)
}

const PROBES: [Field; 6] = [probe(0), probe(1), probe(2), probe(3), probe(4), probe(5)];

/// A probe that is not plugged in tells all ones.
const fn probe(n: u8) -> Field {
    let at = 10 + 2 * n as usize;
    Field::le(Q::TemperatureC, at, 2).signed().per(10).invalid(&[-1]).instance(n)
}

const TEMPERATURE: Field = Field::le(Q::TemperatureC, 0, 2).signed().per(100);
const HUMIDITY: Field = Field::le(Q::HumidityPercent, 2, 2).per(100);
const BATTERY: Field = Field::octet(Q::BatteryPercent, 7);

/// Nine octets: the IBS-TH ("sps") has both sensors, of the others ("tps") some have one.
fn small(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let both = match heard.name() {
        b"sps" | b"SPS" => true,
        b"tps" | b"TPS" => !matches!(Bits::le(2, 2).number(data), Some(0 | 0xffff)),
        _ => return Err(Stop::NotMine),
    };
    measured.model =
        Some(if heard.name().eq_ignore_ascii_case(b"sps") { "IBS-TH" } else { "IBS-TH2/P01B" });
    TEMPERATURE.read(data, measured);
    if both {
        HUMIDITY.read(data, measured);
    }
    BATTERY.read(data, measured);
    Ok(())
}

//! Inkbird thermometers and hygrometers. Where the company identifier should be stands the
//! temperature, so the name tells that it is one.
//!
//! Source: the parsers of Home Assistant (pypi.org/project/inkbird-ble) and of
//! `github.com/custom-components/ble_monitor`.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    sensor::{Bits, Carrier, Decoder, Field, Heard, Measured, Stop, Test},
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

/// A service that they all list.
const SERVICE: u16 = 0xfff0;

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::named(FAMILY, &["sps", "SPS", "tps", "TPS"]).length(9).whole().code(small),
    Decoder::named(FAMILY, &["I", "i"]).length(18).whole().code(eighteen),
    // One that does not say what it is.
    Decoder::company(FAMILY, 0x2449)
        .length(16)
        .lists(SERVICE)
        .when(&[Test::is(13, 0), Test::is(14, 0), Test::is(15, 0)])
        .whole()
        .fields(&[
            Field::le(Q::TemperatureC, 4, 2).signed().per(10),
            Field::le(Q::HumidityPercent, 6, 2).per(10).invalid(&[0]),
            Field::octet(Q::BatteryPercent, 8),
        ]),
    Decoder::named(FAMILY, &["I", "i", "X", "x"]).at_least(12).code(barbecue),
    // Without a name it is known by what it repeats.
    Decoder::new(FAMILY, Carrier::Listed(SERVICE))
        .at_least(12)
        .when(&[Test::bits(0, 0xfe, 0), Test::is(1, 0), Test::is(2, 0), Test::is(3, 0)])
        .code(barbecue),
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

/// The name tells the product, in any case.
fn eighteen(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    const MODELS: [&str; 4] = ["IBS-P02B", "ITH-11-B", "ITH-13-B", "ITH-21-B"];
    let is = |model: &&str| heard.name().eq_ignore_ascii_case(model.as_bytes());
    measured.model = Some(MODELS.into_iter().find(is).ok_or(Stop::NotMine)?);
    Field::read_all(EIGHTEEN, data, measured);
    Ok(())
}

const EIGHTEEN: &[Field] = &[
    Field::le(Q::TemperatureC, 6, 2).signed().per(10),
    // None where it has no such sensor.
    Field::le(Q::HumidityPercent, 8, 2).per(10).invalid(&[0]),
    Field::octet(Q::BatteryPercent, 10),
];

/// Two octets and the address before the probes.
fn barbecue(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let name = heard.name().get(..4).unwrap_or_default();
    let named = name.eq_ignore_ascii_case(b"iBBQ") || name.eq_ignore_ascii_case(b"xBBQ");
    let repeats = || heard.address.is_none_or(|address| data.get(4..10) == Some(&address));
    if !(named || heard.name().is_empty() && repeats()) {
        return Err(Stop::NotMine);
    }
    measured.model = Some(match data.len() {
        12 => "iBBQ-1",
        14 => "iBBQ-2",
        18 => "iBBQ-4",
        22 => "iBBQ-6",
        _ => return Err(Stop::NotMine),
    });
    Field::read_all(&PROBES, data, measured);
    Ok(())
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

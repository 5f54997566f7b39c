//! KKM sensors, also sold as Blue Charm.
//!
//! Sources: the vendor's library (`github.com/kkmhogen`, `KBeacon`, `KBAdvPacketSensor`), and the parser of
//! `github.com/custom-components/ble_monitor` for what a fraction is.

use super::{About, ActiveScan, Encryption, industrial::milli_g};
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Stop, Test},
};

const FAMILY: &str = "kkm";

/// Eddystone's service, with frame types of their own.
const SERVICE: u16 = 0xfeaa;

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "KKM (Blue Charm)",
    models: &["K6"],
    quantities: &[
        Q::TemperatureC,
        Q::HumidityPercent,
        Q::AccelerationXMS2,
        Q::AccelerationYMS2,
        Q::AccelerationZMS2,
        Q::Motion,
        Q::IlluminanceLx,
        Q::VocIndex,
        Q::NoxIndex,
        Q::Co2Ppm,
        Q::BatteryV,
    ],
    encryption: Encryption::Never,
    active_scan: ActiveScan::No,
    source: "github.com/kkmhogen (KBeacon); ble_monitor",
};

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::service(FAMILY, SERVICE)
        .length(15)
        .when(&[Test::is(0, 0x21), Test::is(1, 0x01), Test::is(2, 0x0f)])
        .model("K6")
        .code(by_mask),
    Decoder::service(FAMILY, SERVICE).at_least(5).when(&[Test::is(0, 0x21)]).code(by_mask),
    Decoder::service(FAMILY, SERVICE).at_least(5).when(&[Test::is(0, 0x24)]).code(items),
];

/// The bits of the mask that are known; with any other the frame may be something else.
const KNOWN: i64 = 0x07ff;

/// A mask says which values follow, each of its own length.
fn by_mask(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let mask = Bits::be(1, 2).number(data).filter(|mask| mask & !KNOWN == 0 && mask & 1 != 0);
    let mask = mask.ok_or(Stop::NotMine)?;
    let has = |bit: u32| mask >> bit & 1 != 0;
    let mut at = 3;
    let mut next = |octets: usize| {
        let here = at;
        at += octets;
        data.get(here..at).ok_or(Stop::Malformed)
    };
    let battery = next(2)?;
    let temperature = if has(1) { Some(next(2)?) } else { None };
    let humidity = if has(2) { Some(next(2)?) } else { None };
    let acceleration = if has(3) { Some(next(6)?) } else { None };
    if has(4) {
        next(1)?;
    }
    let motion = if has(5) { Some(next(1)?) } else { None };
    let light = if has(6) { Some(next(2)?) } else { None };
    let gases = if has(7) { Some(next(5)?) } else { None };
    let co2 = if has(9) { Some(next(3)?) } else { None };
    if has(10) {
        next(3)?;
    }
    if at != data.len() {
        return Err(Stop::Malformed);
    }
    // A negative humidity says that the temperature is of a probe beyond 127 °C, or of none.
    let probe = humidity.and_then(<[u8]>::first).is_some_and(|whole| *whole > 127);
    if let Some(value) = temperature.filter(|_| !probe) {
        hundredths(Q::TemperatureC, value, measured)?;
    }
    if let Some(value) = humidity.filter(|_| !probe) {
        hundredths(Q::HumidityPercent, value, measured)?;
    }
    axes(acceleration, measured);
    read(Field::octet(Q::Motion, 0).not_zero(), motion, measured);
    read(Field::be(Q::IlluminanceLx, 0, 2), light, measured);
    gas(gases, measured);
    read(Field::be(Q::Co2Ppm, 1, 2), co2, measured);
    Field::be(Q::BatteryV, 0, 2).per(1000).read(battery, measured);
    Ok(())
}

/// Whole numbers and hundredths. Two publications differ in whether the second octet counts hundredths or
/// 256ths; a published measurement says hundredths. What cannot be hundredths is not told.
fn hundredths(quantity: Q, value: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let whole = Bits::le(0, 1).signed().number(value).ok_or(Stop::Malformed)?;
    let hundredths = Bits::le(1, 1).number(value).ok_or(Stop::Malformed)?;
    if whole >= 0 && hundredths < 100 {
        measured.push(quantity, exact(whole * 100 + hundredths) / 100.0);
    }
    Ok(())
}

fn read(field: Field, value: Option<&[u8]>, measured: &mut Measured) {
    if let Some(value) = value {
        field.read(value, measured);
    }
}

fn axes(value: Option<&[u8]>, measured: &mut Measured) {
    read(milli_g(Q::AccelerationXMS2, Bits::be(0, 2)), value, measured);
    read(milli_g(Q::AccelerationYMS2, Bits::be(2, 2)), value, measured);
    read(milli_g(Q::AccelerationZMS2, Bits::be(4, 2)), value, measured);
}

/// How long ago, then both indices.
fn gas(value: Option<&[u8]>, measured: &mut Measured) {
    read(Field::be(Q::VocIndex, 1, 2), value, measured);
    read(Field::be(Q::NoxIndex, 3, 2), value, measured);
}

/// Model, battery, the chip's own temperature; then items: length, kind, value.
fn items(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let mut rest = data.get(5..).unwrap_or_default();
    while let [length, kind, tail @ ..] = rest {
        let octets = usize::from(*length).checked_sub(1).ok_or(Stop::Malformed)?;
        let (value, tail) = tail.split_at_checked(octets).ok_or(Stop::Malformed)?;
        let value = Some(value);
        match kind {
            0x02 => {
                read(Field::be(Q::TemperatureC, 0, 2).signed().per(10), value, measured);
            }
            0x03 => {
                read(Field::be(Q::TemperatureC, 0, 2).signed().per(10), value, measured);
                read(Field::octet(Q::HumidityPercent, 2), value, measured);
            }
            0x04 => axes(value, measured),
            0x06 => read(Field::octet(Q::Motion, 0).not_zero(), value, measured),
            0x07 => read(Field::be(Q::IlluminanceLx, 0, 2), value, measured),
            0x08 => gas(value, measured),
            0x09 => read(Field::be(Q::Co2Ppm, 1, 2), value, measured),
            _ => {}
        }
        rest = tail;
    }
    if !rest.is_empty() {
        return Err(Stop::Malformed);
    }
    Field::be(Q::BatteryV, 2, 2).per(1000).read(data, measured);
    Ok(())
}

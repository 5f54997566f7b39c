//! Sensors for industry and logistics: ELA, Teltonika, Efento, MOKO, `MikroTik`, Holyiot.
//!
//! Sources: ELA Innovation, Blue COIN/PUCK/LITE data format (2nd generation) and reelyActive's
//! elainnovation.js (MIT); Teltonika, EYE sensor, Bluetooth frame parsing; Efento, BLE advertising data
//! and reelyActive's efento.js (MIT); reelyActive's mokotechnology.js and nordicsemiconductor.js; the
//! parsers of `github.com/custom-components/ble_monitor` for `MikroTik` and Holyiot.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Action, Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Model, Refusal, Stop, Test},
};

const ELA: &str = "ela";
const TELTONIKA: &str = "teltonika";
const EFENTO: &str = "efento";
const MOKO: &str = "moko";
const MIKROTIK: &str = "mikrotik";
const HOLYIOT: &str = "holyiot";

pub(super) const ABOUT: &[About] = &[
    About {
        family: ELA,
        name: "ELA Innovation, both generations (also sold by Teltonika as Blue Coin and Blue Puck)",
        models: &["Blue Coin T", "Blue Puck T", "Blue Puck RHT"],
        quantities: &[
            Q::TemperatureC,
            Q::HumidityPercent,
            Q::Magnet,
            Q::Moving,
            Q::MovementCount,
            Q::On,
            Q::Motion,
            Q::Button,
            Q::PressCount,
            Q::Count,
            Q::AccelerationXMS2,
            Q::AccelerationYMS2,
            Q::AccelerationZMS2,
            Q::BatteryPercent,
            Q::BatteryV,
        ],
        encryption: Encryption::Never,
        active_scan: ActiveScan::No,
        source: "ELA Innovation, data format; advlib-ble-manufacturers; ble_monitor",
    },
    About {
        family: TELTONIKA,
        name: "Teltonika EYE",
        models: &["EYE Sensor"],
        quantities: &[
            Q::TemperatureC,
            Q::HumidityPercent,
            Q::Magnet,
            Q::Moving,
            Q::MovementCount,
            Q::PitchDeg,
            Q::RollDeg,
            Q::BatteryLow,
            Q::BatteryV,
        ],
        encryption: Encryption::Never,
        active_scan: ActiveScan::Sometimes,
        source: "Teltonika, EYE sensor, Bluetooth frame parsing; ble_monitor",
    },
    About {
        family: EFENTO,
        name: "Efento",
        models: &[],
        quantities: &[
            Q::TemperatureC,
            Q::HumidityPercent,
            Q::PressurePa,
            Q::DifferentialPressurePa,
            Q::BatteryLow,
        ],
        encryption: Encryption::Never,
        active_scan: ActiveScan::Sometimes,
        source: "Efento, BLE advertising data; advlib-ble-manufacturers",
    },
    About {
        family: MOKO,
        name: "MOKO",
        models: &["P1", "ToF"],
        quantities: &[Q::Magnet, Q::Moving, Q::DistanceM, Q::BatteryV],
        encryption: Encryption::Never,
        active_scan: ActiveScan::No,
        source: "advlib-ble-manufacturers",
    },
    About {
        family: MIKROTIK,
        name: "MikroTik",
        models: &["TG-BT5-IN", "TG-BT5-OUT"],
        quantities: &[
            Q::TemperatureC,
            Q::AccelerationXMS2,
            Q::AccelerationYMS2,
            Q::AccelerationZMS2,
            Q::UptimeS,
            Q::BatteryPercent,
            Q::Magnet,
            Q::Tilted,
            Q::Falling,
            Q::Impact,
        ],
        encryption: Encryption::Closed,
        active_scan: ActiveScan::No,
        source: "MikroTik, TG-BT5 manual; ble_monitor",
    },
    About {
        family: HOLYIOT,
        name: "Holyiot",
        models: &["BLE tracker"],
        quantities: &[
            Q::TemperatureC,
            Q::HumidityPercent,
            Q::PressurePa,
            Q::Vibration,
            Q::Button,
            Q::BatteryPercent,
        ],
        encryption: Encryption::Never,
        active_scan: ActiveScan::No,
        source: "ble_monitor",
    },
];

const ELA_COMPANY: u16 = 0x0757;
const TEMPERATURE: Field = Field::le(Q::TemperatureC, 1, 2).signed().per(100);
const ELA_NAMES: &[(&str, &str)] = &[
    ("PUCK_TH", "Blue Puck RHT"),
    ("PUCK_T1", "Blue Puck T"),
    ("C T", "Blue Coin T"),
    ("P T", "Blue Puck T"),
    ("P RHT", "Blue Puck RHT"),
];

/// A state in the lowest bit, and how often it came about.
const fn ela(kind: &'static [Test], octets: usize, fields: &'static [Field]) -> Decoder {
    Decoder::company(ELA, ELA_COMPANY)
        .length(octets)
        .when(kind)
        .models(Model::ByName(ELA_NAMES))
        .fields(fields)
}

/// Thousandths of standard gravity.
pub(super) const fn milli_g(quantity: Q, bits: Bits) -> Field {
    Field::new(quantity, bits.signed()).scaled(980_665, 0, 100_000_000)
}

/// Standard gravity with eight binary digits behind the point.
const fn fixed_g(quantity: Q, at: usize) -> Field {
    Field::le(quantity, at, 2).signed().scaled(980_665, 0, 25_600_000)
}

const fn count(quantity: Q) -> Field {
    Field::le(quantity, 1, 2).part(1, 15)
}

pub(super) const DECODERS: &[Decoder] = &[
    ela(&[Test::is(0, 0x12)], 3, &[TEMPERATURE]),
    ela(
        &[Test::is(0, 0x21)],
        5,
        &[
            Field::octet(Q::HumidityPercent, 1),
            Field::le(Q::TemperatureC, 3, 2).signed().per(100).when(&[Test::is(2, 0x12)]),
        ],
    ),
    ela(&[Test::is(0, 0x32)], 3, &[Field::bit(Q::Magnet, 1, 0), count(Q::Count)]),
    ela(&[Test::is(0, 0x42)], 3, &[Field::bit(Q::Moving, 1, 0), count(Q::MovementCount)]),
    ela(
        &[Test::is(0, 0x56)],
        7,
        &[
            milli_g(Q::AccelerationXMS2, Bits::le(1, 2)),
            milli_g(Q::AccelerationYMS2, Bits::le(3, 2)),
            milli_g(Q::AccelerationZMS2, Bits::le(5, 2)),
        ],
    ),
    ela(&[Test::is(0, 0x62)], 3, &[Field::bit(Q::On, 1, 0), count(Q::Count)]),
    ela(&[Test::is(0, 0x92)], 3, &[Field::bit(Q::Motion, 1, 0), count(Q::Count)]),
    ela(
        &[Test::is(0, 0xb2)],
        3,
        &[Field::octet(Q::Button, 1).part(0, 1).map(&[(1, 1.0)]), count(Q::PressCount)],
    ),
    ela(&[Test::is(0, 0xf1)], 2, &[Field::octet(Q::BatteryPercent, 1)]),
    ela(&[Test::is(0, 0xf2)], 3, &[Field::le(Q::BatteryV, 1, 2).per(1000)]),
    // The first generation says the same under the UUIDs of characteristics; humidity in one octet.
    first_generation(0x2a6e, 2),
    first_generation(0x2a6f, 1),
    Decoder::company(TELTONIKA, 0x089a)
        .at_least(2)
        .when(&[Test::is(0, 0x01)])
        .model("EYE Sensor")
        .code(eye),
    Decoder::company(EFENTO, 0x026c)
        .length(24)
        .when(&[Test::is(0, 0x02)])
        .counter(Bits::be(4, 4))
        .code(efento_slots),
    Decoder::company(EFENTO, 0x026c)
        .at_least(6)
        .when(&[Test::is(0, 0x04)])
        .code(efento_scan_response),
    // Its values are in the scan response.
    Decoder::company(EFENTO, 0x026c).length(24).when(&[Test::is(0, 0x03)]).fields(&[Field::octet(
        Q::BatteryLow,
        9,
    )
    .part(0, 1)
    .map(&[(0, 1.0), (1, 0.0)])]),
    // Two kinds of frames say which octets follow.
    Decoder::company(MOKO, 0x0a62)
        .length(23)
        .when(&[Test::is(0, 0x02), Test::is(1, 0x15)])
        .model("P1")
        .fields(&[
            Field::octet(Q::Magnet, 2).part(3, 1).map(&[(0, 1.0), (1, 0.0)]),
            Field::bit(Q::Moving, 2, 0),
            Field::be(Q::BatteryV, 16, 2).per(1000),
        ]),
    Decoder::company(MOKO, 0x0059)
        .length(15)
        .when(&[Test::is(0, 0x07), Test::is(1, 0x6c), Test::is(11, 0x01)])
        .model("ToF")
        .fields(&[Field::le(Q::DistanceM, 7, 2).per(1000), Field::le(Q::BatteryV, 2, 2).per(1000)]),
    Decoder::company(MIKROTIK, 0x094f).length(18).code(mikrotik),
    Decoder::service(HOLYIOT, 0x5242).length(13).model("BLE tracker").code(holyiot),
];

const fn first_generation(service: u16, octets: usize) -> Decoder {
    Decoder::service(ELA, service)
        .length(octets)
        .names(&["PUCK_T", "C T", "P T", "P RHT"])
        .models(Model::ByName(ELA_NAMES))
        .code(ela_first)
}

fn ela_first(heard: &Heard<'_>, _: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    if let Some(data) = heard.service_data(0x2a6e) {
        Field::le(Q::TemperatureC, 0, 2).signed().per(100).read(data, measured);
    }
    if let Some(data @ [_]) = heard.service_data(0x2a6f) {
        Field::octet(Q::HumidityPercent, 0).read(data, measured);
    }
    Ok(())
}

/// Flags say which values follow, each of its own length.
fn eye(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let flags = data.get(1).copied().ok_or(Stop::Malformed)?;
    let has = |bit: u8| flags & 1 << bit != 0;
    let mut at = 2;
    let mut next = |octets: usize| {
        let here = at;
        at += octets;
        if at <= data.len() { Ok(here) } else { Err(Stop::Malformed) }
    };
    if has(0) {
        Field::be(Q::TemperatureC, next(2)?, 2).signed().per(100).read(data, measured);
    }
    if has(1) {
        Field::octet(Q::HumidityPercent, next(1)?).read(data, measured);
    }
    if has(2) {
        measured.flag(Q::Magnet, has(3));
    }
    if has(4) {
        let at = next(2)?;
        Field::bit(Q::Moving, at, 7).read(data, measured);
        Field::be(Q::MovementCount, at, 2).part(0, 15).read(data, measured);
    }
    if has(5) {
        let at = next(3)?;
        Field::octet(Q::PitchDeg, at).signed().read(data, measured);
        Field::be(Q::RollDeg, at + 1, 2).signed().read(data, measured);
    }
    measured.flag(Q::BatteryLow, has(6));
    if has(7) {
        Field::octet(Q::BatteryV, next(1)?).scaled(1, 200, 100).read(data, measured);
    }
    Ok(())
}

/// Three kinds, then three values.
fn efento_slots(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    for slot in 0..3 {
        if let Some(kind) = data.get(11 + slot) {
            efento(*kind, data, 14 + 2 * slot, measured);
        }
    }
    Field::octet(Q::BatteryLow, 3).part(0, 1).map(&[(0, 1.0), (1, 0.0)]).read(data, measured);
    Ok(())
}

/// Kind and value, one after the other, and a checksum.
fn efento_scan_response(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let items = data.get(1..data.len().saturating_sub(2)).unwrap_or_default();
    for item in items.chunks_exact(3) {
        if let [kind, ..] = item {
            efento(*kind, item, 1, measured);
        }
    }
    Ok(())
}

fn efento(kind: u8, data: &[u8], at: usize, measured: &mut Measured) {
    let Some(number) = Bits::be(at, 2).number(data) else { return };
    // Numbers beyond these tell errors.
    match (kind, number) {
        (0x01, ..=30_000) => measured.push(Q::TemperatureC, exact(number - 15_000) / 100.0),
        (0x02, ..=100) => measured.push(Q::HumidityPercent, exact(number)),
        (0x03, ..=65_279) => measured.push(Q::PressurePa, exact(number * 10)),
        (0x04, 256..=65_279) => {
            measured.push(Q::DifferentialPressurePa, exact(number - 0x8000));
        }
        _ => {}
    }
}

/// The one for indoors has none, and says so with -128 °C.
const NO_THERMOMETER: i64 = -0x8000;

/// Version, flags of the owner, salt, then the values, all little-endian.
///
/// Encrypted they are one block of AES in ECB mode, says the manual: nothing in it would tell a wrong key
/// from the right one often enough, and no such frame is published to check it with.
fn mikrotik(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    if data.get(1).is_some_and(|flags| flags & 1 != 0) {
        return Err(Stop::Encrypted(Refusal::NoKey));
    }
    let outdoors = Bits::le(10, 2).signed().number(data) != Some(NO_THERMOMETER);
    measured.model = Some(if outdoors { "TG-BT5-OUT" } else { "TG-BT5-IN" });
    for field in [
        Field::le(Q::TemperatureC, 10, 2).signed().per(256).invalid(&[NO_THERMOMETER]),
        fixed_g(Q::AccelerationXMS2, 4),
        fixed_g(Q::AccelerationYMS2, 6),
        fixed_g(Q::AccelerationZMS2, 8),
        Field::le(Q::UptimeS, 12, 4),
        Field::octet(Q::BatteryPercent, 17),
        Field::bit(Q::Magnet, 16, 0),
        Field::bit(Q::Tilted, 16, 1),
        Field::bit(Q::Falling, 16, 2),
        Field::octet(Q::Impact, 16).part(3, 3).one_of(&[1, 2, 3, 4, 5, 6, 7]),
    ] {
        field.read(data, measured);
    }
    Ok(())
}

/// Battery, address, then one value and its kind.
fn holyiot(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    if heard.address.is_some_and(|address| data.get(2..8) != Some(&address)) {
        return Err(Stop::NotMine);
    }
    match data.get(10..) {
        // The hundredths have the sign of the degrees.
        Some([1, degrees, hundredths @ ..=99]) => {
            let (degrees, hundredths) = (i16::from(degrees.cast_signed()), i16::from(*hundredths));
            let both = degrees * 100 + if degrees < 0 { -hundredths } else { hundredths };
            measured.push(Q::TemperatureC, f64::from(both) / 100.0);
        }
        Some([2, high, low]) => {
            let pascals = 80_000 + u32::from(u16::from_be_bytes([*high, *low]));
            measured.push(Q::PressurePa, f64::from(pascals));
        }
        Some([3, percent, _]) => measured.push(Q::HumidityPercent, f64::from(*percent)),
        Some([4, on, _]) => measured.flag(Q::Vibration, *on != 0),
        Some([6, 1..=u8::MAX, _]) => {
            measured.event = true;
            measured.action(Q::Button, 0, Action::Press);
        }
        _ => {}
    }
    Field::octet(Q::BatteryPercent, 1).read(data, measured);
    Ok(())
}

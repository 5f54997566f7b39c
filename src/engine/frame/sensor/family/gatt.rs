//! Values under the UUIDs of GATT characteristics, in service data: what home-made sensors and some
//! products send.
//!
//! Source: Bluetooth SIG, GATT Specification Supplement, one section for each characteristic. A value
//! of all ones (or the lowest signed one) says "not known" there.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Stop, Test},
};

const FAMILY: &str = "gatt";

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "GATT characteristics in service data",
    models: &[],
    quantities: &[
        Q::TxPowerDbm,
        Q::BatteryPercent,
        Q::ElevationM,
        Q::PressurePa,
        Q::TemperatureC,
        Q::HumidityPercent,
        Q::UvIndex,
        Q::DewPointC,
        Q::MassKg,
        Q::MagneticFieldXUt,
        Q::MagneticFieldYUt,
        Q::MagneticFieldZUt,
        Q::On,
        Q::Count,
        Q::CurrentA,
        Q::EnergyKwh,
        Q::LevelPercent,
        Q::IlluminanceLx,
        Q::PowerW,
        Q::VoltageV,
        Q::Co2Ppm,
        Q::AmmoniaUgM3,
        Q::CarbonMonoxideUgM3,
        Q::MethanePpm,
        Q::NitrogenDioxideUgM3,
        Q::SoundLevelDb,
        Q::VocPpb,
    ],
    encryption: Encryption::Never,
    active_scan: ActiveScan::No,
    source: "Bluetooth SIG, GATT Specification Supplement",
};

/// A characteristic: its UUID, its octets, its values.
struct Characteristic(u16, usize, Meaning);

enum Meaning {
    Fields(&'static [Field]),
    /// A 16-bit floating-point number (IEEE 11073-20601), times a power of ten.
    Float(Q, i32),
}
use Meaning::{Fields, Float};

/// What a packet id stands under: Report, of the HID service. Home-made sensors count there.
const PACKET_ID: u16 = 0x2a4d;

const CHARACTERISTICS: &[Characteristic] = &[
    Characteristic(0x2a07, 1, Fields(&[Field::octet(Q::TxPowerDbm, 0).signed()])),
    Characteristic(0x2a19, 1, Fields(&[Field::octet(Q::BatteryPercent, 0)])),
    Characteristic(0x2a6c, 3, Fields(&[Field::le(Q::ElevationM, 0, 3).signed().per(100)])),
    Characteristic(0x2a6d, 4, Fields(&[Field::le(Q::PressurePa, 0, 4).per(10)])),
    Characteristic(
        0x2a6e,
        2,
        Fields(&[Field::le(Q::TemperatureC, 0, 2).signed().per(100).invalid(&[-0x8000])]),
    ),
    Characteristic(
        0x2a6f,
        2,
        Fields(&[Field::le(Q::HumidityPercent, 0, 2).per(100).invalid(&[0xffff])]),
    ),
    Characteristic(0x2a76, 1, Fields(&[Field::octet(Q::UvIndex, 0).invalid(&[0xff])])),
    Characteristic(0x2a7b, 1, Fields(&[Field::octet(Q::DewPointC, 0).signed().invalid(&[-0x80])])),
    // Steps of 5 g, or of 0.01 lb of 0.45359237 kg.
    Characteristic(
        0x2a98,
        3,
        Fields(&[
            Field::le(Q::MassKg, 1, 2).per(200).when(&[Test::bits(0, 1, 0)]),
            Field::le(Q::MassKg, 1, 2)
                .scaled(45_359_237, 0, 10_000_000_000)
                .when(&[Test::bits(0, 1, 1)]),
        ]),
    ),
    Characteristic(
        0x2aa1,
        6,
        Fields(&[
            Field::le(Q::MagneticFieldXUt, 0, 2).signed().per(10),
            Field::le(Q::MagneticFieldYUt, 2, 2).signed().per(10),
            Field::le(Q::MagneticFieldZUt, 4, 2).signed().per(10),
        ]),
    ),
    Characteristic(0x2ae2, 1, Fields(&[Field::octet(Q::On, 0).part(0, 1)])),
    Characteristic(0x2aea, 2, Fields(&[Field::le(Q::Count, 0, 2).invalid(&[0xffff])])),
    Characteristic(0x2aeb, 3, Fields(&[Field::le(Q::Count, 0, 3).invalid(&[0xff_ffff])])),
    Characteristic(0x2aee, 2, Fields(&[Field::le(Q::CurrentA, 0, 2).per(100).invalid(&[0xffff])])),
    Characteristic(
        0x2af2,
        4,
        Fields(&[Field::le(Q::EnergyKwh, 0, 4).per(1000).invalid(&[0xffff_ffff])]),
    ),
    Characteristic(0x2af9, 2, Fields(&[Field::le(Q::LevelPercent, 0, 2).scaled(100, 0, 65_535)])),
    Characteristic(
        0x2afb,
        3,
        Fields(&[Field::le(Q::IlluminanceLx, 0, 3).per(100).invalid(&[0xff_ffff])]),
    ),
    Characteristic(0x2b05, 3, Fields(&[Field::le(Q::PowerW, 0, 3).per(10).invalid(&[0xff_ffff])])),
    Characteristic(0x2b18, 2, Fields(&[Field::le(Q::VoltageV, 0, 2).per(64).invalid(&[0xffff])])),
    Characteristic(0x2b8c, 2, Fields(&[Field::le(Q::Co2Ppm, 0, 2).invalid(&[0xffff])])),
    // These four in kg/m³, methane in parts per billion.
    Characteristic(0x2bcf, 2, Float(Q::AmmoniaUgM3, 9)),
    Characteristic(0x2bd0, 2, Float(Q::CarbonMonoxideUgM3, 9)),
    Characteristic(0x2bd1, 2, Float(Q::MethanePpm, -3)),
    Characteristic(0x2bd2, 2, Float(Q::NitrogenDioxideUgM3, 9)),
    Characteristic(0x2be4, 1, Fields(&[Field::octet(Q::SoundLevelDb, 0).invalid(&[0xff])])),
    Characteristic(0x2be7, 2, Fields(&[Field::le(Q::VocPpb, 0, 2).invalid(&[0xffff])])),
];

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which stops at a panic")]
const TABLE: [Decoder; CHARACTERISTICS.len()] = {
    let mut table = [Decoder::service(FAMILY, 0).code(all); CHARACTERISTICS.len()];
    let mut n = 0;
    while n < CHARACTERISTICS.len() {
        let Characteristic(uuid, octets, _) = CHARACTERISTICS[n];
        table[n] = Decoder::service(FAMILY, uuid).length(octets).code(all);
        n += 1;
    }
    table
};

pub(super) const DECODERS: &[Decoder] = &TABLE;

/// Reads all characteristics of an advertisement at once: they stand in structures of their own.
fn all(heard: &Heard<'_>, _: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    if let Some([id]) = heard.service_data(PACKET_ID) {
        measured.counter = Some(u32::from(*id));
    }
    for Characteristic(uuid, octets, meaning) in CHARACTERISTICS {
        let Some(data) = heard.service_data(*uuid).filter(|data| data.len() == *octets) else {
            continue;
        };
        match meaning {
            Fields(fields) => Field::read_all(fields, data, measured),
            Float(quantity, power) => {
                if let Some(value) = float(data, *power) {
                    measured.push(*quantity, value);
                }
            }
        }
    }
    // One that says of all its values that they are not known says nothing.
    if measured.readings.is_empty() && measured.dropped == 0 { Err(Stop::NotMine) } else { Ok(()) }
}

/// A 16-bit floating-point number times a power of ten; `None` for those that are no number.
fn float(data: &[u8], power: i32) -> Option<f64> {
    let mantissa = Bits::le(0, 2).part(0, 12).signed().number(data)?;
    let exponent = i32::try_from(Bits::le(0, 2).part(12, 4).signed().number(data)?).ok()? + power;
    // Not a number, not at this resolution, infinities, and one that is reserved.
    if exponent == power && matches!(mantissa, 0x7fe..=0x7ff | -0x800..=-0x7fe) {
        return None;
    }
    let ten = exact(10_i64.checked_pow(exponent.unsigned_abs())?);
    Some(if exponent < 0 { exact(mantissa) / ten } else { exact(mantissa) * ten })
}

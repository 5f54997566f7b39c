//! Minew: E-series and S1 in service data, S3, S4 and the Connect V3 frames (MBT, MSP, MSR, MST) in
//! manufacturer data.
//!
//! Source: Minew's frame definitions as decoded by reelyActive (MIT),
//! `github.com/reelyactive/advlib-ble-services` and `advlib-ble-manufacturers`, minew.js. The address in
//! each frame is not kept. How MBT frames are encrypted that say so is not published.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    sensor::{Bits, Decoder, Field, Heard, Measured, Model, Refusal, Stop, Test},
};

const FAMILY: &str = "minew";

const COMPANY: u16 = 0x0639;
const SERVICE: u16 = 0xffe1;

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "Minew",
    models: &["S3", "S4", "MSE01", "MSE02", "MTB02", "MSP01", "MSR01"],
    quantities: &[
        Q::TemperatureC,
        Q::HumidityPercent,
        Q::BatteryPercent,
        Q::BatteryV,
        Q::TxPowerDbm,
        Q::Light,
        Q::IlluminanceLx,
        Q::AccelerationXMS2,
        Q::AccelerationYMS2,
        Q::AccelerationZMS2,
        Q::GyroscopeDegS,
        Q::MagneticFieldXUt,
        Q::MagneticFieldYUt,
        Q::MagneticFieldZUt,
        Q::PressurePa,
        Q::VocPpb,
        Q::Motion,
        Q::Vibration,
        Q::Tamper,
        Q::Leak,
        Q::DoorOpen,
        Q::PeopleInCount,
        Q::PeopleOutCount,
        Q::PeopleCount,
        Q::DistanceM,
        Q::LevelPercent,
        Q::Button,
        Q::Moving,
        Q::Open,
        Q::Presence,
        Q::BatteryLow,
    ],
    encryption: Encryption::Closed,
    active_scan: ActiveScan::No,
    source: "Minew's frame definitions; advlib-ble-services, advlib-ble-manufacturers",
};

const BATTERY: Field = Field::octet(Q::BatteryPercent, 2);

/// Degrees with eight binary digits behind the point, as most of their values.
const fn fixed(quantity: Q, at: usize) -> Field {
    Field::be(quantity, at, 2).signed().per(256)
}

/// The same in units of standard gravity.
const fn gravity(quantity: Q, at: usize) -> Field {
    Field::be(quantity, at, 2).signed().scaled(980_665, 0, 25_600_000)
}

const fn service(kind: &'static [Test], octets: usize, fields: &'static [Field]) -> Decoder {
    Decoder::service(FAMILY, SERVICE).length(octets).when(kind).fields(fields)
}

const fn connect(kind: &'static [Test], fields: &'static [Field]) -> Decoder {
    Decoder::company(FAMILY, COMPANY).length(24).when(kind).fields(fields)
}

pub(super) const DECODERS: &[Decoder] = &[
    service(
        &[Test::is(0, 0xa1), Test::is(1, 0x01)],
        13,
        &[fixed(Q::TemperatureC, 3), fixed(Q::HumidityPercent, 5), BATTERY],
    ),
    service(&[Test::is(0, 0xa1), Test::is(1, 0x02)], 10, &[Field::bit(Q::Light, 3, 0), BATTERY]),
    service(
        &[Test::is(0, 0xa1), Test::is(1, 0x03)],
        15,
        &[
            gravity(Q::AccelerationXMS2, 3),
            gravity(Q::AccelerationYMS2, 5),
            gravity(Q::AccelerationZMS2, 7),
            BATTERY,
        ],
    ),
    service(
        &[Test::is(0, 0xa1), Test::is(1, 0x05)],
        11,
        &[Field::be(Q::IlluminanceLx, 3, 2), BATTERY],
    ),
    // A firmware that waits to be replaced, and a name.
    service(&[Test::is(0, 0xa1), Test::is(1, 0x07)], 8, &[]),
    Decoder::service(FAMILY, SERVICE)
        .at_least(9)
        .when(&[Test::is(0, 0xa1), Test::is(1, 0x08)])
        .fields(&[BATTERY]),
    Decoder::service(FAMILY, SERVICE)
        .length(11)
        .when(&[Test::is(0, 0xa1), Test::is(1, 0x11)])
        .model("MSP01")
        .fields(&[Field::bit(Q::Motion, 4, 0), BATTERY]),
    service(&[Test::is(0, 0xa1), Test::is(1, 0x12)], 11, &[Field::be(Q::VocPpb, 3, 2), BATTERY]),
    service(&[Test::is(0, 0xa1), Test::is(1, 0x13)], 11, &[fixed(Q::TemperatureC, 3), BATTERY]),
    service(
        &[Test::is(0, 0xa1), Test::is(1, 0x15)],
        20,
        &[
            gravity(Q::AccelerationXMS2, 2),
            gravity(Q::AccelerationYMS2, 4),
            gravity(Q::AccelerationZMS2, 6),
            Field::be(Q::GyroscopeDegS, 8, 2).signed().per(100),
            Field::be(Q::GyroscopeDegS, 10, 2).signed().per(100),
            Field::be(Q::GyroscopeDegS, 12, 2).signed().per(100),
        ],
    ),
    service(
        &[Test::is(0, 0xa1), Test::is(1, 0x16)],
        15,
        &[
            fixed(Q::MagneticFieldXUt, 3),
            fixed(Q::MagneticFieldYUt, 5),
            fixed(Q::MagneticFieldZUt, 7),
            BATTERY,
        ],
    ),
    // Hectopascals with sixteen binary digits behind the point.
    service(
        &[Test::is(0, 0xa1), Test::is(1, 0x17)],
        13,
        &[Field::be(Q::PressurePa, 3, 4).scaled(100, 0, 65_536), BATTERY],
    ),
    service(
        &[Test::is(0, 0xa1), Test::is(1, 0x18)],
        14,
        &[Field::bit(Q::Vibration, 7, 0), BATTERY],
    ),
    service(&[Test::is(0, 0xa1), Test::is(1, 0x20)], 10, &[Field::bit(Q::Tamper, 3, 0), BATTERY]),
    service(&[Test::is(0, 0xa1), Test::is(1, 0x21)], 10, &[Field::bit(Q::Leak, 3, 0), BATTERY]),
    // A level between two marks, of 12 bits.
    Decoder::company(FAMILY, COMPANY)
        .at_least(7)
        .when(&[Test::is(0, 0x51), Test::is(1, 0x01)])
        .model("MSE01")
        .counter(Bits::le(2, 1))
        .fields(LEVEL),
    Decoder::company(FAMILY, COMPANY)
        .at_least(7)
        .when(&[Test::is(0, 0x51), Test::is(1, 0x02)])
        .model("MSE02")
        .counter(Bits::le(2, 1))
        .fields(LEVEL),
    Decoder::company(FAMILY, COMPANY)
        .length(16)
        .when(&[Test::is(0, 0xa3), Test::is(1, 0x03)])
        .model("S3")
        .fields(&[fixed(Q::TemperatureC, 3), fixed(Q::HumidityPercent, 5), BATTERY]),
    Decoder::company(FAMILY, COMPANY)
        .length(15)
        .when(&[Test::is(0, 0xa4), Test::is(1, 0x01)])
        .model("S4")
        .fields(&[
            Field::octet(Q::DoorOpen, 3).not_zero(),
            Field::octet(Q::Tamper, 4).not_zero(),
            BATTERY,
        ]),
    // What they are, and nothing measured.
    Decoder::company(FAMILY, COMPANY)
        .length(20)
        .when(&[Test::is(0, 0xa3), Test::is(1, 0x01)])
        .model("S3"),
    Decoder::company(FAMILY, COMPANY)
        .length(18)
        .when(&[Test::is(0, 0xa4), Test::is(1, 0x00)])
        .model("S4"),
    connect(&[Test::is(0, 0xca), Test::is(1, 0x00)], &[Field::octet(Q::BatteryPercent, 8)]),
    Decoder::company(FAMILY, COMPANY)
        .at_least(6)
        .when(&[Test::is(0, 0xca), Test::is(1, 0x03)])
        .code(blocks),
    connect(
        &[Test::is(0, 0xca), Test::is(1, 0x05)],
        &[fixed(Q::TemperatureC, 5), fixed(Q::HumidityPercent, 7).when(&[Test::bits(3, 0x02, 0)])],
    ),
    connect(
        &[Test::is(0, 0xca), Test::is(1, 0x18), Test::is(2, 0x00)],
        &[Field::le(Q::PeopleInCount, 4, 2), Field::le(Q::PeopleOutCount, 6, 2)],
    )
    .model("MSR01"),
    connect(
        &[Test::is(0, 0xca), Test::is(1, 0x18), Test::is(2, 0x01)],
        &[Field::octet(Q::PeopleCount, 4).part(0, 4)],
    )
    .model("MSR01"),
    connect(
        &[Test::is(0, 0xca), Test::is(1, 0x1b), Test::bits(2, 0x80, 0)],
        &[
            fixed(Q::TemperatureC, 14),
            Field::be(Q::BatteryV, 12, 2).per(1000),
            Field::octet(Q::TxPowerDbm, 17).signed(),
        ],
    )
    .models(Model::ByOctet(4, &[(0x07, "MTB02")])),
    connect(&[Test::is(0, 0xca), Test::is(1, 0x1b), Test::bits(2, 0x80, 0x80)], &[])
        .code(encrypted),
    connect(
        &[Test::is(0, 0xca), Test::is(1, 0x1e)],
        &[
            Field::le(Q::DistanceM, 4, 2).per(1000),
            Field::bit(Q::Presence, 6, 2),
            Field::bit(Q::Moving, 6, 1),
            Field::bit(Q::Tamper, 6, 0),
            Field::bit(Q::BatteryLow, 6, 3),
        ],
    ),
];

const LEVEL: &[Field] = &[
    Field::octet(Q::Button, 4).part(5, 1).map(&[(1, 1.0)]).instance(0),
    Field::octet(Q::Button, 4).part(6, 1).map(&[(1, 1.0)]).instance(1),
    Field::bit(Q::Moving, 4, 1),
    Field::bit(Q::Open, 4, 0),
    Field::le(Q::LevelPercent, 5, 2).part(0, 12).scaled(100, 0, 4095),
    Field::octet(Q::BatteryPercent, 3),
];

fn encrypted(_: &Heard<'_>, _: &[u8], _: &mut Measured) -> Result<(), Stop> {
    Err(Stop::Encrypted(Refusal::NoKey))
}

/// Blocks of known length, one after the other, and four octets at the end.
fn blocks(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    const ACCELERATION: &[Field] = &[
        gravity(Q::AccelerationXMS2, 0),
        gravity(Q::AccelerationYMS2, 2),
        gravity(Q::AccelerationZMS2, 4),
    ];
    let end = data.len().saturating_sub(4);
    let mut rest = data.get(2..end).unwrap_or_default();
    while let [kind, tail @ ..] = rest {
        let (octets, fields): (_, &[Field]) = match kind {
            0x03 => (6, ACCELERATION),
            0x21 => (1, &[Field::octet(Q::BatteryPercent, 0)]),
            0x22 => (1, &[Field::octet(Q::Tamper, 0).not_zero()]),
            _ => break,
        };
        let Some((block, tail)) = tail.split_at_checked(octets) else {
            return Err(Stop::Malformed);
        };
        Field::read_all(fields, block, measured);
        rest = tail;
    }
    Ok(())
}

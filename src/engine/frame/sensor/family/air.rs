//! What people breathe: Air Mentor, Omron, Relsib, Ratoc, Air Mier, Logtta.
//!
//! Sources: Air Mentor and Relsib, the parsers of `github.com/custom-components/ble_monitor`; Omron,
//! `github.com/omron-devhub/2jciebl-bu-ble-raspberrypi` and the user's manual of the 2JCIE-BU (A279), Data
//! types; Ratoc, Air Mier and Logtta, the parsers of obniz (MIT, npmjs.com/package/obniz).

use super::{About, ActiveScan, about};
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Stop, Test},
};

const AIR_MENTOR: &str = "air_mentor";
const OMRON: &str = "omron";
const RELSIB: &str = "relsib";
const RATOC: &str = "ratoc";
const AIR_MIER: &str = "air_mier";
const LOGTTA: &str = "logtta";

pub(super) const ABOUT: &[About] = &[
    about(
        AIR_MENTOR,
        "Air Mentor",
        &["Air Mentor Pro 2", "Air Mentor 2S"],
        &[
            Q::TemperatureC,
            Q::HumidityPercent,
            Q::Co2Ppm,
            Q::Pm2p5UgM3,
            Q::Pm10UgM3,
            Q::VocPpb,
            Q::FormaldehydeUgM3,
            Q::IaqIndex,
        ],
        "ble_monitor",
    ),
    about(
        OMRON,
        "Omron environment sensors",
        &["2JCIE-BU", "2JCIE-BL"],
        &[
            Q::TemperatureC,
            Q::HumidityPercent,
            Q::IlluminanceLx,
            Q::UvIndex,
            Q::PressurePa,
            Q::SoundLevelDb,
            Q::VocPpb,
            Q::Co2Ppm,
            Q::BatteryV,
        ],
        "github.com/omron-devhub; Omron, A279",
    ),
    about(
        RELSIB,
        "Relsib",
        &["EClerk Eco"],
        &[Q::TemperatureC, Q::HumidityPercent, Q::Co2Ppm, Q::BatteryPercent],
        "ble_monitor",
    ),
    About {
        active_scan: ActiveScan::Sometimes,
        ..about(
            RATOC,
            "Ratoc environment sensors",
            &["RS-BTEVS1"],
            &[
                Q::TemperatureC,
                Q::HumidityPercent,
                Q::Co2Ppm,
                Q::Pm1UgM3,
                Q::Pm2p5UgM3,
                Q::Pm4UgM3,
                Q::Pm10UgM3,
            ],
            "npmjs.com/package/obniz",
        )
    },
    about(
        AIR_MIER,
        "Kanki Air Mier",
        &["Kanki Air Mier"],
        &[Q::TemperatureC, Q::HumidityPercent, Q::Co2Ppm],
        "npmjs.com/package/obniz",
    ),
    about(
        LOGTTA,
        "Logtta (Uni-Electronics)",
        &["Logtta TH", "Logtta CO2"],
        &[Q::TemperatureC, Q::HumidityPercent, Q::Co2Ppm, Q::BatteryPercent],
        "npmjs.com/package/obniz",
    ),
];

pub(super) const DECODERS: &[Decoder] = &[
    // The identifier says what the frame is about.
    Decoder::company(AIR_MENTOR, 0x2111).length(8).model("Air Mentor Pro 2").fields(&GASES),
    Decoder::company(AIR_MENTOR, 0x2121).length(8).model("Air Mentor Pro 2").fields(&GASES),
    Decoder::company(AIR_MENTOR, 0x2112).length(8).model("Air Mentor Pro 2").code(climate),
    Decoder::company(AIR_MENTOR, 0x2122).length(8).model("Air Mentor Pro 2").code(climate),
    Decoder::company(AIR_MENTOR, 0x6111).length(12).model("Air Mentor 2S").fields(MORE_GASES),
    Decoder::company(AIR_MENTOR, 0x6121).length(12).model("Air Mentor 2S").fields(MORE_GASES),
    usb(&[Test::is(0, 0x01)]),
    usb(&[Test::is(0, 0x03)]),
    Decoder::company(OMRON, 0x02d5)
        .at_least(20)
        .names(&["EP", "IM"])
        .model("2JCIE-BL")
        .counter(Bits::le(0, 1))
        .fields(&[
            Field::le(Q::TemperatureC, 1, 2).signed().per(100),
            Field::le(Q::HumidityPercent, 3, 2).per(100),
            Field::le(Q::IlluminanceLx, 5, 2),
            Field::le(Q::UvIndex, 7, 2).per(100),
            Field::le(Q::PressurePa, 9, 2).scaled(10, 0, 1),
            Field::le(Q::SoundLevelDb, 11, 2).per(100),
            Field::octet(Q::BatteryV, 19).scaled(1, 100, 100),
        ]),
    relsib(0xaa20, 4),
    relsib(0xaa21, 0),
    relsib(0xaa22, 0),
    // "BT" tells the older firmware, which has whole degrees.
    Decoder::named(RATOC, &["BTEVS-", "BTEVS_"]).length(11).model("RS-BTEVS1").whole().fields(&[
        Field::octet(Q::TemperatureC, 8),
        Field::octet(Q::HumidityPercent, 9),
        DUST[0],
        DUST[1],
        DUST[2],
        DUST[3],
        DUST[4],
    ]),
    Decoder::named(RATOC, &["EVS-", "EVS_"]).length(11).model("RS-BTEVS1").whole().fields(&[
        Field::le(Q::TemperatureC, 8, 2).signed().per(10),
        Field::octet(Q::HumidityPercent, 10),
        DUST[0],
        DUST[1],
        DUST[2],
        DUST[3],
        DUST[4],
    ]),
    Decoder::company(AIR_MIER, 0x099e)
        .length(27)
        .when(&[Test::is(0, 0x01), Test::is(7, 0xfe), Test::is(8, 0x02), Test::is(9, 0x00)])
        .model("Kanki Air Mier")
        .counter(Bits::le(10, 1).part(5, 3))
        .fields(&[
            Field::le(Q::TemperatureC, 3, 2).signed().per(10),
            Field::le(Q::HumidityPercent, 5, 2).per(10),
            Field::le(Q::Co2Ppm, 1, 2),
        ]),
    Decoder::company(LOGTTA, 0x0510).length(24).when(&[Test::is(0, 0x01)]).code(logtta),
    Decoder::company(LOGTTA, 0x0510)
        .length(24)
        .when(&[Test::is(0, 0x02)])
        .model("Logtta CO2")
        .fields(&[Field::be(Q::Co2Ppm, 1, 2), Field::octet(Q::BatteryPercent, 5)]),
];

const GASES: [Field; 3] =
    [Field::be(Q::Co2Ppm, 0, 2), Field::be(Q::Pm2p5UgM3, 2, 2), Field::be(Q::Pm10UgM3, 4, 2)];

/// One part of formaldehyde in a billion is 1.228 µg/m³ at 25 °C.
const MORE_GASES: &[Field] =
    &[GASES[0], GASES[1], GASES[2], Field::be(Q::FormaldehydeUgM3, 8, 2).scaled(1228, 0, 1000)];

const DUST: [Field; 5] = [
    Field::le(Q::Co2Ppm, 2, 2),
    Field::octet(Q::Pm1UgM3, 4),
    Field::octet(Q::Pm2p5UgM3, 5),
    Field::octet(Q::Pm4UgM3, 6),
    Field::octet(Q::Pm10UgM3, 7),
];

const fn usb(kind: &'static [Test]) -> Decoder {
    Decoder::company(OMRON, 0x02d5)
        .length(19)
        .when(kind)
        .model("2JCIE-BU")
        .counter(Bits::le(1, 1))
        .fields(USB)
}

/// The last octet is reserved.
const USB: &[Field] = &[
    Field::le(Q::TemperatureC, 2, 2).signed().per(100),
    Field::le(Q::HumidityPercent, 4, 2).per(100),
    Field::le(Q::IlluminanceLx, 6, 2),
    // Thousandths of a hectopascal.
    Field::le(Q::PressurePa, 8, 4).per(10),
    Field::le(Q::SoundLevelDb, 12, 2).per(100),
    Field::le(Q::VocPpb, 14, 2),
    Field::le(Q::Co2Ppm, 16, 2),
];

/// Three kinds of frames, one of them with two more values before and the battery behind.
const fn relsib(service: u16, at: usize) -> Decoder {
    const NOTHING: &[i64] = &[0x8000];
    const SHORT: &[Field] = &[
        Field::le(Q::TemperatureC, 0, 2).signed().per(100).invalid(&[-0x8000]),
        Field::le(Q::HumidityPercent, 2, 2).per(100).invalid(NOTHING),
        Field::le(Q::Co2Ppm, 4, 2).invalid(NOTHING),
    ];
    const LONG: &[Field] = &[
        Field::le(Q::TemperatureC, 4, 2).signed().per(100).invalid(&[-0x8000]),
        Field::le(Q::HumidityPercent, 6, 2).per(100).invalid(NOTHING),
        Field::le(Q::Co2Ppm, 8, 2).invalid(NOTHING),
        // The highest bit says that it is on a cable.
        Field::octet(Q::BatteryPercent, 13).part(0, 7).when(&[Test::bits(13, 0x80, 0)]),
        Field::bit(Q::BatteryPercent, 13, 7).map(&[(1, 100.0)]).when(&[Test::bits(13, 0x80, 0x80)]),
    ];
    let decoder = Decoder::service(RELSIB, service).length(22).names(&["ECo"]).model("EClerk Eco");
    if at == 0 { decoder.fields(SHORT) } else { decoder.fields(LONG) }
}

/// It is warmer than the room, and says by how much: both temperatures are told, the room's first.
/// Relative humidity is lower where it is warmer; what it would be in the room is by the formula of Magnus.
fn climate(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let number = |bits: Bits| bits.number(data).map(exact).ok_or(Stop::Malformed);
    let rounded = |value: f64| (value * 100.0).round() / 100.0;
    let inside = (number(Bits::be(2, 2))? - 4_000.0) / 100.0;
    let room = inside - number(Bits::le(4, 1))? / 10.0;
    let magnus = |celsius: f64| (17.62 * celsius / (celsius + 243.12)).exp();
    measured.push(Q::TemperatureC, rounded(room));
    measured.push(Q::TemperatureC, rounded(inside));
    let humidity = number(Bits::le(5, 1))? * magnus(inside) / magnus(room);
    measured.push(Q::HumidityPercent, rounded(humidity));
    measured.push(Q::VocPpb, number(Bits::be(0, 2))?);
    measured.push(Q::IaqIndex, number(Bits::be(6, 2))?);
    Ok(())
}

/// Raw numbers of an `SHT2x`.
fn logtta(_: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let ticks = |at| Bits::be(at, 2).number(data).map(exact).ok_or(Stop::Malformed);
    let rounded = |value: f64| (value * 100.0).round() / 100.0;
    measured.model = Some("Logtta TH");
    measured.push(Q::TemperatureC, rounded(ticks(1)? * 175.72 / 65_536.0 - 46.85));
    measured.push(Q::HumidityPercent, rounded(ticks(3)? * 125.0 / 65_536.0 - 6.0));
    Field::octet(Q::BatteryPercent, 5).read(data, measured);
    Ok(())
}

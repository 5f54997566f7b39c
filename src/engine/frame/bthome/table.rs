//! The objects that bthome.io/format defines: sizes, factors and what they measure.

use crate::engine::frame::Quantity;

/// What an object id announces: the size of its value and how to read it.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A little-endian integer of so many octets, times one number, divided by another.
    Number {
        quantity: Quantity,
        octets: u8,
        signed: bool,
        times: f64,
        per: f64,
    },
    /// One octet, 0 or 1.
    Switch(Quantity),
    /// One octet, which says how it was pressed.
    Button,
    /// Two octets, the direction and the steps.
    Dimmer,
    /// A length and so many octets of UTF-8.
    Text,
    /// A length and so many octets.
    Raw,
    PacketId,
    DeviceType,
    /// A version number of so many octets, the least significant part first.
    Firmware {
        octets: u8,
    },
}

const fn unsigned(quantity: Quantity, octets: u8, per: f64) -> Shape {
    Shape::Number { quantity, octets, signed: false, times: 1.0, per }
}

const fn signed(quantity: Quantity, octets: u8, per: f64) -> Shape {
    Shape::Number { quantity, octets, signed: true, times: 1.0, per }
}

/// What an object id announces; `None` for an id that is not defined.
///
/// Each line has the object id, quantity, octets, and the divisor that gives the quantity's unit.
#[expect(clippy::too_many_lines, reason = "a table: one line for each object id")]
pub(super) const fn shape(id: u8) -> Option<Shape> {
    use Quantity as Q;
    use Shape::Switch;
    Some(match id {
        0x00 => Shape::PacketId,
        0x01 => unsigned(Q::BatteryPercent, 1, 1.0),
        0x02 => signed(Q::TemperatureC, 2, 100.0),
        0x03 => unsigned(Q::HumidityPercent, 2, 100.0),
        // 0.01 hPa is 1 Pa.
        0x04 => unsigned(Q::PressurePa, 3, 1.0),
        0x05 => unsigned(Q::IlluminanceLx, 3, 100.0),
        0x06 => unsigned(Q::MassKg, 2, 100.0),
        // 0.01 lb; the international pound is 0.45359237 kg by definition.
        0x07 => Shape::Number {
            quantity: Q::MassKg,
            octets: 2,
            signed: false,
            times: 45_359_237.0,
            per: 10_000_000_000.0,
        },
        0x08 => signed(Q::DewPointC, 2, 100.0),
        0x09 => unsigned(Q::Count, 1, 1.0),
        0x0a => unsigned(Q::EnergyKwh, 3, 1000.0),
        0x0b => unsigned(Q::PowerW, 3, 100.0),
        0x0c => unsigned(Q::VoltageV, 2, 1000.0),
        0x0d => unsigned(Q::Pm2p5UgM3, 2, 1.0),
        0x0e => unsigned(Q::Pm10UgM3, 2, 1.0),
        0x0f => Switch(Q::On),
        0x10 => Switch(Q::PowerOn),
        0x11 => Switch(Q::Open),
        0x12 => unsigned(Q::Co2Ppm, 2, 1.0),
        0x13 => unsigned(Q::VocUgM3, 2, 1.0),
        0x14 => unsigned(Q::MoisturePercent, 2, 100.0),
        0x15 => Switch(Q::BatteryLow),
        0x16 => Switch(Q::BatteryCharging),
        0x17 => Switch(Q::CarbonMonoxide),
        0x18 => Switch(Q::Cold),
        0x19 => Switch(Q::Connected),
        0x1a => Switch(Q::DoorOpen),
        0x1b => Switch(Q::GarageDoorOpen),
        0x1c => Switch(Q::Gas),
        0x1d => Switch(Q::Heat),
        0x1e => Switch(Q::Light),
        0x1f => Switch(Q::Unlocked),
        0x20 => Switch(Q::Leak),
        0x21 => Switch(Q::Motion),
        0x22 => Switch(Q::Moving),
        0x23 => Switch(Q::Occupancy),
        0x24 => Switch(Q::PluggedIn),
        0x25 => Switch(Q::Presence),
        0x26 => Switch(Q::Problem),
        0x27 => Switch(Q::Running),
        0x28 => Switch(Q::Safe),
        0x29 => Switch(Q::Smoke),
        0x2a => Switch(Q::Sound),
        0x2b => Switch(Q::Tamper),
        0x2c => Switch(Q::Vibration),
        0x2d => Switch(Q::WindowOpen),
        0x2e => unsigned(Q::HumidityPercent, 1, 1.0),
        0x2f => unsigned(Q::MoisturePercent, 1, 1.0),
        0x3a => Shape::Button,
        0x3c => Shape::Dimmer,
        0x3d => unsigned(Q::Count, 2, 1.0),
        0x3e => unsigned(Q::Count, 4, 1.0),
        0x3f => signed(Q::RotationDeg, 2, 10.0),
        // Millimetres.
        0x40 => unsigned(Q::DistanceM, 2, 1000.0),
        0x41 => unsigned(Q::DistanceM, 2, 10.0),
        0x42 => unsigned(Q::DurationS, 3, 1000.0),
        0x43 => unsigned(Q::CurrentA, 2, 1000.0),
        0x44 => unsigned(Q::SpeedMS, 2, 100.0),
        0x45 => signed(Q::TemperatureC, 2, 10.0),
        0x46 => unsigned(Q::UvIndex, 1, 10.0),
        0x47 => unsigned(Q::VolumeL, 2, 10.0),
        // Millilitres.
        0x48 => unsigned(Q::VolumeL, 2, 1000.0),
        0x49 => unsigned(Q::VolumeFlowM3H, 2, 1000.0),
        0x4a => unsigned(Q::VoltageV, 2, 10.0),
        0x4b => unsigned(Q::GasM3, 3, 1000.0),
        0x4c => unsigned(Q::GasM3, 4, 1000.0),
        0x4d => unsigned(Q::EnergyKwh, 4, 1000.0),
        0x4e => unsigned(Q::VolumeL, 4, 1000.0),
        0x4f => unsigned(Q::WaterL, 4, 1000.0),
        0x50 => unsigned(Q::UnixTimeS, 4, 1.0),
        0x51 => unsigned(Q::AccelerationMS2, 2, 1000.0),
        0x52 => unsigned(Q::GyroscopeDegS, 2, 1000.0),
        0x53 => Shape::Text,
        0x54 => Shape::Raw,
        0x55 => unsigned(Q::VolumeStorageL, 4, 1000.0),
        0x56 => unsigned(Q::ConductivityUsCm, 2, 1.0),
        0x57 => signed(Q::TemperatureC, 1, 1.0),
        // Steps of 0.35 °C.
        0x58 => Shape::Number {
            quantity: Q::TemperatureC,
            octets: 1,
            signed: true,
            times: 35.0,
            per: 100.0,
        },
        0x59 => signed(Q::Count, 1, 1.0),
        0x5a => signed(Q::Count, 2, 1.0),
        0x5b => signed(Q::Count, 4, 1.0),
        0x5c => signed(Q::PowerW, 4, 100.0),
        0x5d => signed(Q::CurrentA, 2, 1000.0),
        0x5e => unsigned(Q::DirectionDeg, 2, 100.0),
        // 0.1 mm since May 2025; 1 mm for the four months before.
        0x5f => unsigned(Q::PrecipitationMm, 2, 10.0),
        0x60 => unsigned(Q::Channel, 1, 1.0),
        0x61 => unsigned(Q::RotationalSpeedRpm, 2, 1.0),
        0x62 => signed(Q::SpeedMS, 4, 1_000_000.0),
        0x63 => signed(Q::AccelerationMS2, 4, 1_000_000.0),
        0x64 => unsigned(Q::LightLevel, 1, 1.0),
        0xf0 => Shape::DeviceType,
        0xf1 => Shape::Firmware { octets: 4 },
        0xf2 => Shape::Firmware { octets: 3 },
        _ => return None,
    })
}

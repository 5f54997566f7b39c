//! `SwitchBot` meters, contact, motion, presence and leak sensors, hubs and plugs.
//!
//! Source: `github.com/OpenWonderLabs/SwitchBotAPI-BLE` and the parser of Home Assistant
//! (pypi.org/project/PySwitchbot). The service data, which names the product, is in the scan response;
//! the values are in the manufacturer data of the advertisement, or in both.

use super::{About, ActiveScan, Encryption};
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Decoder, Field, Heard, Measured, Stop},
};

const FAMILY: &str = "switchbot";

pub(super) const ABOUT: About = About {
    family: FAMILY,
    name: "SwitchBot",
    models: &[
        "Meter",
        "Meter Plus",
        "Indoor/Outdoor Thermo-Hygrometer",
        "Meter Pro",
        "Meter Pro CO2",
        "Contact Sensor",
        "Motion Sensor",
        "Presence Sensor",
        "Leak Detector",
        "Hub 2",
        "Hub 3",
        "HubMini Matter",
        "Plug Mini (US)",
        "Plug Mini (JP)",
        "Plug Mini (EU)",
        "Relay Switch 1",
        "Relay Switch 1PM",
        "Relay Switch 2PM",
        "Garage Door Opener",
        "Remote",
        "Weather Station",
        "Climate Panel",
        "Smart Thermostat Radiator",
    ],
    quantities: &[
        Q::TemperatureC,
        Q::HumidityPercent,
        Q::Co2Ppm,
        Q::BatteryPercent,
        Q::BatteryLow,
        Q::DoorOpen,
        Q::GarageDoorOpen,
        Q::Motion,
        Q::Light,
        Q::LightLevel,
        Q::IlluminanceLx,
        Q::PressCount,
        Q::Leak,
        Q::Tamper,
        Q::PowerOn,
        Q::PowerW,
    ],
    encryption: Encryption::Never,
    active_scan: ActiveScan::Yes,
    source: "SwitchBotAPI-BLE; PySwitchbot",
};

const COMPANY: u16 = 0x0969;
const SERVICES: [u16; 2] = [0xfd3d, 0x0d00];

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::service(FAMILY, SERVICES[0]).at_least(1).code(product),
    Decoder::service(FAMILY, SERVICES[1]).at_least(1).code(product),
];

fn product(heard: &Heard<'_>, service: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let maker = heard.manufacturer(COMPANY).unwrap_or_default();
    let product = service.first().map(|octet| octet & 0x7f).ok_or(Stop::NotMine)?;
    let model = match product {
        b'T' | b't' => climate(service, maker, "Meter", measured),
        b'I' | b'i' => climate(service, maker, "Meter Plus", measured),
        b'W' | b'w' => climate(service, maker, "Indoor/Outdoor Thermo-Hygrometer", measured),
        b'4' | 0x14 => climate(service, maker, "Meter Pro", measured),
        b'5' | 0x15 => {
            let model = climate(service, maker, "Meter Pro CO2", measured);
            // It measures from 400 to 9,999 ppm.
            if let Some(ppm @ 0..=9_999) = Bits::be(13, 2).number(maker) {
                measured.push(Q::Co2Ppm, exact(ppm));
            }
            model
        }
        b'D' | b'd' => contact(service, maker, measured)?,
        b'S' | b's' => motion(service, maker, measured),
        b'&' | 0x06 => leak(maker, measured)?,
        b'V' | b'v' => hub(maker, "Hub 2", &HUB_2, 0x1f, measured)?,
        b'%' | 0x05 => {
            thermometer(maker.get(13..).unwrap_or_default(), measured);
            "HubMini Matter"
        }
        b'G' | b'g' => plug(maker, "Plug Mini (US)", measured)?,
        b'J' | b'j' => plug(maker, "Plug Mini (JP)", measured)?,
        b'?' => relay(maker, "Plug Mini (EU)", &[ON, POWER], measured)?,
        b';' => relay(maker, "Relay Switch 1", &[ON], measured)?,
        b'<' => relay(maker, "Relay Switch 1PM", &[ON, POWER], measured)?,
        b'=' => relay(maker, "Relay Switch 2PM", &[ON, POWER, ON_2, POWER_2], measured)?,
        b'>' => relay(maker, "Garage Door Opener", &[DOOR], measured)?,
        b'B' | b'b' => {
            BATTERY.read(service, measured);
            "Remote"
        }
        _ => by_suffix(service, maker, measured)?,
    };
    measured.model = Some(model);
    Ok(())
}

/// Of later products the last four octets of the service data tell.
fn by_suffix(service: &[u8], maker: &[u8], measured: &mut Measured) -> Result<&'static str, Stop> {
    let ends = |suffix: &[u8; 3]| {
        let here = |end: &[u8]| matches!(end, [0 | 1, rest @ ..] if rest == suffix);
        service.len() > 5
            && (service.last_chunk::<4>().is_some_and(|end| here(end))
                || service.last_chunk::<5>().and_then(|end| end.get(..4)).is_some_and(here))
    };
    if ends(&[0x10, 0xcc, 0xc8]) {
        return presence(service, maker, measured);
    }
    if ends(&[0x10, 0xb9, 0x40]) {
        Field::bit(Q::Motion, 16, 7).read(maker, measured);
        return hub(maker, "Hub 3", &HUB_3, 0x0f, measured);
    }
    if ends(&[0x10, 0x53, 0xb0]) {
        thermometer(maker.get(8..).or(service.get(3..)).unwrap_or_default(), measured);
        Field::octet(Q::BatteryPercent, 7).part(0, 7).read(maker, measured);
        return Ok("Weather Station");
    }
    if ends(&[0x10, 0xf3, 0xd8]) && maker.len() >= 16 {
        measured.counter = maker.get(6).map(|number| u32::from(*number));
        thermometer(maker.get(8..).unwrap_or_default(), measured);
        Field::octet(Q::BatteryPercent, 7).part(0, 7).read(maker, measured);
        Field::bit(Q::Motion, 15, 7).read(maker, measured);
        Field::octet(Q::Light, 15).part(1, 2).one_of(&[2]).read(maker, measured);
        return Ok("Climate Panel");
    }
    if ends(&[0x11, 0x36, 0x40]) {
        let [tenths, degrees] = *maker.get(8..10).unwrap_or_default() else {
            return Err(Stop::NotMine);
        };
        measured.counter = maker.get(6).map(|number| u32::from(*number));
        measured.push(Q::TemperatureC, celsius(tenths, degrees));
        Field::octet(Q::BatteryPercent, 7).part(0, 7).read(maker, measured);
        return Ok("Smart Thermostat Radiator");
    }
    Err(Stop::NotMine)
}

const BATTERY: Field = Field::octet(Q::BatteryPercent, 2).part(0, 7);

fn climate(
    service: &[u8],
    maker: &[u8],
    model: &'static str,
    measured: &mut Measured,
) -> &'static str {
    // Both halves say it, where both have room for it.
    let values = if service.len() >= 6 { service.get(3..) } else { maker.get(8..) };
    thermometer(values.unwrap_or_default(), measured);
    // A meter that knows nothing yet says nothing of its battery, either.
    if !matches!(service.get(2..), Some([0, 0, 0, 0, ..])) {
        BATTERY.read(service, measured);
    }
    model
}

/// Three octets: tenths, sign (1 is plus) and degrees, humidity.
fn thermometer(data: &[u8], measured: &mut Measured) {
    let [tenths, degrees, humidity, ..] = *data else { return };
    let humidity = humidity & 0x7f;
    // Both 0: it has not measured yet.
    if (tenths & 0x0f, degrees & 0x7f, humidity) == (0, 0, 0) {
        return;
    }
    measured.push(Q::TemperatureC, celsius(tenths, degrees));
    measured.push(Q::HumidityPercent, f64::from(humidity));
}

fn celsius(tenths: u8, degrees: u8) -> f64 {
    let magnitude = i64::from(degrees & 0x7f) * 10 + i64::from(tenths & 0x0f);
    exact(if degrees & 0x80 == 0 { -magnitude } else { magnitude }) / 10.0
}

fn contact(service: &[u8], maker: &[u8], measured: &mut Measured) -> Result<&'static str, Stop> {
    // Left open is open, too.
    if maker.len() >= 13 {
        Field::octet(Q::DoorOpen, 7).part(4, 2).one_of(&[1, 2, 3]).read(maker, measured);
        Field::bit(Q::Motion, 7, 7).read(maker, measured);
        Field::bit(Q::Light, 7, 6).read(maker, measured);
        Field::octet(Q::PressCount, 12).part(0, 4).read(maker, measured);
    } else if service.len() >= 9 {
        Field::octet(Q::DoorOpen, 3).part(1, 2).one_of(&[1, 2, 3]).read(service, measured);
        Field::bit(Q::Motion, 1, 6).read(service, measured);
        Field::bit(Q::Light, 3, 0).read(service, measured);
        Field::octet(Q::PressCount, 8).part(0, 4).read(service, measured);
    } else {
        return Err(Stop::NotMine);
    }
    BATTERY.read(service, measured);
    Ok("Contact Sensor")
}

fn motion(service: &[u8], maker: &[u8], measured: &mut Measured) -> &'static str {
    if maker.len() >= 8 {
        Field::bit(Q::Motion, 7, 6).read(maker, measured);
        Field::bit(Q::Light, 7, 5).read(maker, measured);
    } else if service.len() >= 6 {
        Field::bit(Q::Motion, 1, 6).read(service, measured);
        Field::bit(Q::Light, 5, 1).read(service, measured);
    }
    if service.len() >= 6 {
        BATTERY.read(service, measured);
    }
    "Motion Sensor"
}

fn presence(service: &[u8], maker: &[u8], measured: &mut Measured) -> Result<&'static str, Stop> {
    if maker.len() < 12 {
        return Err(Stop::NotMine);
    }
    measured.counter = maker.get(6).map(|number| u32::from(*number));
    Field::bit(Q::Motion, 7, 6).read(maker, measured);
    Field::octet(Q::LightLevel, 11).part(0, 5).read(maker, measured);
    BATTERY.read(service, measured);
    Ok("Presence Sensor")
}

fn leak(maker: &[u8], measured: &mut Measured) -> Result<&'static str, Stop> {
    if maker.len() < 9 {
        return Err(Stop::NotMine);
    }
    Field::bit(Q::Leak, 8, 0).read(maker, measured);
    Field::bit(Q::Tamper, 8, 1).read(maker, measured);
    Field::octet(Q::BatteryPercent, 7).part(0, 7).read(maker, measured);
    Field::bit(Q::BatteryLow, 7, 7).read(maker, measured);
    Ok("Leak Detector")
}

/// Illuminance by step, from step 1 on.
const HUB_2: [u16; 21] = [
    0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 105, 205, 317, 416, 510, 610, 707, 801, 897, 1023, 1091,
];
const HUB_3: [u16; 10] = [0, 50, 90, 205, 317, 510, 610, 707, 801, 1023];

fn hub(
    maker: &[u8],
    model: &'static str,
    steps: &[u16],
    mask: u8,
    measured: &mut Measured,
) -> Result<&'static str, Stop> {
    let status = maker.get(12).ok_or(Stop::NotMine)?;
    thermometer(maker.get(13..).unwrap_or_default(), measured);
    let step = usize::from(status & mask);
    if let Some(lux) = step.checked_sub(1).and_then(|step| steps.get(step)) {
        measured.push(Q::IlluminanceLx, f64::from(*lux));
    }
    Ok(model)
}

fn plug(maker: &[u8], model: &'static str, measured: &mut Measured) -> Result<&'static str, Stop> {
    if maker.len() < 12 {
        return Err(Stop::NotMine);
    }
    Field::octet(Q::PowerOn, 7).one_of(&[0x80]).read(maker, measured);
    Field::be(Q::PowerW, 10, 2).part(0, 15).per(10).read(maker, measured);
    Ok(model)
}

const ON: Field = Field::bit(Q::PowerOn, 7, 7);
const ON_2: Field = Field::bit(Q::PowerOn, 7, 6).instance(1);
const POWER: Field = Field::be(Q::PowerW, 10, 2);
const POWER_2: Field = Field::be(Q::PowerW, 12, 2).instance(1);
/// A set bit says that it is shut.
const DOOR: Field = Field::octet(Q::GarageDoorOpen, 7).part(5, 1).one_of(&[0]);

/// Counter, states, then powers in watts.
fn relay(
    maker: &[u8],
    model: &'static str,
    fields: &[Field],
    measured: &mut Measured,
) -> Result<&'static str, Stop> {
    if maker.len() < 14 {
        return Err(Stop::NotMine);
    }
    measured.counter = maker.get(6).map(|number| u32::from(*number));
    Field::read_all(fields, maker, measured);
    Ok(model)
}

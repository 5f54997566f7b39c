//! Eddystone-TLM: unencrypted telemetry.

use crate::engine::frame::{Quantity, Reading, reading::scaled};

/// Stands for a temperature that the beacon cannot measure: -128 °C in 8.8 fixed point.
const NO_TEMPERATURE: i16 = i16::MIN;

/// Eddystone-TLM: a beacon's own health.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EddystoneTlm {
    /// Battery, in volts; `None` when the beacon has no battery to measure.
    pub battery_v: Option<f64>,
    /// Temperature, in degrees Celsius; `None` when it cannot tell.
    pub temperature_c: Option<f64>,
    /// Advertisements sent since power-on.
    pub advertisements: u32,
    /// Time since power-on, in seconds, in steps of 0.1 s.
    pub uptime_s: f64,
}

impl EddystoneTlm {
    /// Reads what follows the version octet. The specification fixes the length.
    pub(in crate::engine::frame) fn decode(body: &[u8]) -> Option<Self> {
        let (battery_mv, rest) = body.split_first_chunk()?;
        let (temperature, rest) = rest.split_first_chunk()?;
        let (advertisements, uptime) = rest.split_first_chunk()?;
        let battery_mv = u16::from_be_bytes(*battery_mv);
        let temperature = i16::from_be_bytes(*temperature);
        Some(Self {
            battery_v: (battery_mv != 0).then(|| scaled(battery_mv, 1.0, 1000.0)),
            temperature_c: (temperature != NO_TEMPERATURE).then(|| scaled(temperature, 1.0, 256.0)),
            advertisements: u32::from_be_bytes(*advertisements),
            uptime_s: scaled(u32::from_be_bytes(uptime.try_into().ok()?), 1.0, 10.0),
        })
    }

    pub(in crate::engine::frame) fn readings(self) -> [Option<Reading>; 4] {
        [
            self.battery_v.map(|v| Reading::only(Quantity::BatteryV, v)),
            self.temperature_c.map(|c| Reading::only(Quantity::TemperatureC, c)),
            Some(Reading::only(Quantity::AdvertisementCount, f64::from(self.advertisements))),
            Some(Reading::only(Quantity::UptimeS, self.uptime_s)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: [u8; 12] = [0x0b, 0xb8, 0xf0, 0x80, 0, 0, 0, 69, 0, 0, 0x02, 0x59];

    #[test]
    fn telemetry_is_read_in_volts_degrees_and_seconds() {
        let tlm = EddystoneTlm::decode(&BODY).unwrap();
        assert_eq!(tlm.battery_v, Some(3.0));
        assert_eq!(tlm.temperature_c, Some(-15.5));
        assert_eq!(tlm.advertisements, 69);
        assert_eq!(tlm.uptime_s.to_string(), "60.1");
    }

    #[test]
    fn what_the_beacon_cannot_measure_is_absent() {
        let mut body = BODY;
        body[..4].copy_from_slice(&[0x00, 0x00, 0x80, 0x00]);
        let tlm = EddystoneTlm::decode(&body).unwrap();
        assert_eq!((tlm.battery_v, tlm.temperature_c), (None, None));
        let told: Vec<_> = tlm.readings().into_iter().flatten().map(|r| r.quantity).collect();
        assert_eq!(told, [Quantity::AdvertisementCount, Quantity::UptimeS]);
    }

    #[test]
    fn another_length_is_malformed() {
        assert_eq!(EddystoneTlm::decode(&BODY[..11]), None);
        assert_eq!(EddystoneTlm::decode(&[&BODY[..], &[0]].concat()), None);
        assert_eq!(EddystoneTlm::decode(&[]), None);
    }
}

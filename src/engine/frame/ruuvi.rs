//! Manufacturer data of Ruuvi Innovations in, [`Ruuvi`] out: data formats 3, 5, 6 and E1
//! (docs.ruuvi.com, Bluetooth advertisements), read by `ruuvi-sensor-protocol`.

use ruuvi_sensor_protocol::{
    Acceleration, AccelerationVector, BatteryPotential, Calibration, CarbonDioxide, Humidity,
    Luminosity, MeasurementSequenceNumber, MovementCounter, NitrogenOxides, ParseError,
    ParticulateMatter, Pressure, SensorValues, Temperature, TransmitterPower,
    VolatileOrganicCompounds,
};

use super::{Announced, Quantity, Reading, reading::scaled};

pub(super) const FORMAT: &str = "Ruuvi";

const COMPANY: u16 = 0x0499;

/// A RuuviTag's or Ruuvi Air's measurements. The device's address, which some formats repeat, is
/// not kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ruuvi {
    format: u8,
    temperature_mc: Option<i32>,
    humidity_ppm: Option<u32>,
    pressure_pa: Option<u32>,
    acceleration_mg: Option<[i16; 3]>,
    battery_mv: Option<u16>,
    tx_power_dbm: Option<i8>,
    movements: Option<u32>,
    measurements: Option<u32>,
    particles_ng_m3: [Option<u32>; 4],
    co2_ppm: Option<u16>,
    voc_index: Option<u16>,
    nox_index: Option<u16>,
    illuminance_mlx: Option<u32>,
    calibrating: Option<bool>,
}

impl Ruuvi {
    /// Reads manufacturer data, company identifier first.
    pub(super) fn decode(data: &[u8]) -> Announced<Self> {
        let (company, body) = data.split_first_chunk()?;
        let company = u16::from_le_bytes(*company);
        if company != COMPANY {
            return None;
        }
        let &format = body.first()?;
        match SensorValues::from_manufacturer_specific_data(company, body) {
            Ok(values) => Some(Ok(Self::keep(format, &values))),
            Err(ParseError::InvalidValueLength(..)) => Some(Err(FORMAT)),
            Err(_) => None,
        }
    }

    fn keep(format: u8, values: &SensorValues) -> Self {
        Self {
            format,
            temperature_mc: values.temperature_as_millicelsius(),
            humidity_ppm: values.humidity_as_ppm(),
            pressure_pa: values.pressure_as_pascals(),
            acceleration_mg: values
                .acceleration_vector_as_milli_g()
                .map(|AccelerationVector(x, y, z)| [x, y, z]),
            battery_mv: values.battery_potential_as_millivolts(),
            tx_power_dbm: values.tx_power_as_dbm(),
            movements: values.movement_counter(),
            measurements: values.measurement_sequence_number(),
            particles_ng_m3: [
                values.pm1_0_as_nanograms_per_cubic_meter(),
                values.pm2_5_as_nanograms_per_cubic_meter(),
                values.pm4_0_as_nanograms_per_cubic_meter(),
                values.pm10_0_as_nanograms_per_cubic_meter(),
            ],
            co2_ppm: values.carbon_dioxide_as_ppm(),
            voc_index: values.voc_index().map(nine_bits),
            nox_index: values.nox_index().map(nine_bits),
            illuminance_mlx: values.luminosity_as_millilux(),
            calibrating: values.calibration_in_progress(),
        }
    }

    /// The data format: 3, 5, 6 or 0xE1.
    pub const fn format(&self) -> u8 {
        self.format
    }

    /// The product that sends this format.
    pub const fn model(&self) -> &'static str {
        match self.format {
            3 | 5 => "RuuviTag",
            _ => "Ruuvi Air",
        }
    }

    pub(super) fn readings(self) -> [Option<Reading>; 19] {
        let told = |quantity: Quantity, value: Option<f64>| {
            value.map(|value| Reading::only(quantity, value))
        };
        let milli = |value: f64| scaled(value, 1.0, 1000.0);
        let [x, y, z] = match self.acceleration_mg {
            // Standard gravity is 9.80665 m/s² by definition.
            Some(axes) => axes.map(|mg| Some(scaled(mg, 980_665.0, 100_000_000.0))),
            None => [None; 3],
        };
        let [pm1, pm2_5, pm4, pm10] = self.particles_ng_m3.map(|ng| ng.map(f64::from).map(milli));
        [
            told(Quantity::TemperatureC, self.temperature_mc.map(f64::from).map(milli)),
            told(Quantity::HumidityPercent, self.humidity_ppm.map(|v| scaled(v, 1.0, 10_000.0))),
            told(Quantity::PressurePa, self.pressure_pa.map(f64::from)),
            told(Quantity::Co2Ppm, self.co2_ppm.map(f64::from)),
            told(Quantity::Pm1UgM3, pm1),
            told(Quantity::Pm2p5UgM3, pm2_5),
            told(Quantity::Pm4UgM3, pm4),
            told(Quantity::Pm10UgM3, pm10),
            told(Quantity::VocIndex, self.voc_index.map(f64::from)),
            told(Quantity::NoxIndex, self.nox_index.map(f64::from)),
            told(Quantity::IlluminanceLx, self.illuminance_mlx.map(f64::from).map(milli)),
            told(Quantity::AccelerationXMS2, x),
            told(Quantity::AccelerationYMS2, y),
            told(Quantity::AccelerationZMS2, z),
            told(Quantity::BatteryV, self.battery_mv.map(f64::from).map(milli)),
            told(Quantity::TxPowerDbm, self.tx_power_dbm.map(f64::from)),
            told(Quantity::MovementCount, self.movements.map(f64::from)),
            told(Quantity::MeasurementCount, self.measurements.map(f64::from)),
            told(Quantity::Calibrating, self.calibrating.map(|on| f64::from(u8::from(on)))),
        ]
    }
}

/// Puts the flag bit of the VOC and NOX indices where it belongs.
///
/// Ruuvi keeps the *least* significant of nine bits in the flags (data formats 6 and E1, "VOC,
/// NOX"; its own test vector has an octet of 5 for an index of 10). Version 0.7.0 of
/// `ruuvi-sensor-protocol` takes it for the most significant one. "Not available" is all nine
/// bits set, which both readings agree on.
const fn nine_bits(misplaced: u16) -> u16 {
    (misplaced & 0xff) << 1 | misplaced >> 8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The readings of a payload, as they print.
    fn told(payload: &str) -> Vec<String> {
        let data = [&[0x99, 0x04][..], &hex::decode(payload).unwrap()].concat();
        let ruuvi = Ruuvi::decode(&data).unwrap().unwrap();
        let readings = ruuvi.readings().into_iter().flatten();
        readings.map(|r| format!("{} {}", r.quantity.name(), r.value)).collect()
    }

    // The payloads below are the test vectors of docs.ruuvi.com.

    #[test]
    fn data_format_3_is_read() {
        assert_eq!(
            told("03291A1ECE1EFC18F94202CA0B53"),
            [
                "temperature_c 26.3",
                "humidity_percent 20.5",
                "pressure_pa 102766",
                "acceleration_x_m_s2 -9.80665",
                "acceleration_y_m_s2 -16.9262779",
                "acceleration_z_m_s2 7.0019481",
                "battery_v 2.899",
            ]
        );
    }

    #[test]
    fn data_format_5_is_read_and_its_address_is_not_kept() {
        assert_eq!(
            told("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"),
            [
                "temperature_c 24.3",
                "humidity_percent 53.49",
                "pressure_pa 100044",
                "acceleration_x_m_s2 0.0392266",
                "acceleration_y_m_s2 -0.0392266",
                "acceleration_z_m_s2 10.1596894",
                "battery_v 2.977",
                "tx_power_dbm 4",
                "movement_count 66",
                "measurement_count 205",
            ]
        );
        assert_eq!(
            told("058001000000008001800180010000000000CBB8334C884F")[0],
            "temperature_c -163.835"
        );
        assert_eq!(
            told("057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F")[1],
            "humidity_percent 163.835"
        );
    }

    #[test]
    fn data_format_6_is_read_with_its_nine_bit_indices() {
        assert_eq!(
            told("06170C5668C79E007000C90501D9FFCD004C884F"),
            [
                "temperature_c 29.5",
                "humidity_percent 55.3",
                "pressure_pa 101102",
                "co2_ppm 201",
                "pm2_5_ug_m3 11.2",
                "voc_index 10",
                "nox_index 2",
                "illuminance_lx 13026.67",
                "measurement_count 205",
                "calibrating 0",
            ]
        );
        let with_odd_indices = told("06170C5668C79E007000C90501D9FFCDC04C884F");
        assert!(with_odd_indices.contains(&"voc_index 11".to_owned()), "{with_odd_indices:?}");
        assert!(with_odd_indices.contains(&"nox_index 3".to_owned()), "{with_odd_indices:?}");
        let most = told("067FFF9C40FFFE27109C40FAFAFEFFFF074C8F4F");
        assert!(most.contains(&"voc_index 500".to_owned()), "{most:?}");
        assert!(most.contains(&"illuminance_lx 65535".to_owned()), "{most:?}");
    }

    #[test]
    fn data_format_e1_is_read() {
        assert_eq!(
            told(
                "E1170C5668C79E0065007004BD11CA00C90A0213E0ACFFFFFFDECDEE10FFFFFFFFFFCBB8334C884F"
            ),
            [
                "temperature_c 29.5",
                "humidity_percent 55.3",
                "pressure_pa 101102",
                "co2_ppm 201",
                "pm1_ug_m3 10.1",
                "pm2_5_ug_m3 11.2",
                "pm4_ug_m3 121.3",
                "pm10_ug_m3 455.4",
                "voc_index 20",
                "nox_index 4",
                "illuminance_lx 13027",
                "measurement_count 14601710",
                "calibrating 0",
            ]
        );
    }

    #[test]
    fn what_a_sensor_marks_as_invalid_is_absent() {
        let none: [&str; 0] = [];
        assert_eq!(told("058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF"), none);
        assert_eq!(
            told("068000FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"),
            ["measurement_count 255", "calibrating 1"]
        );
        let e1 = format!("E18000{}", "FF".repeat(37));
        assert_eq!(told(&e1), ["calibrating 1"]);
    }

    #[test]
    fn another_length_is_malformed_and_another_format_unknown() {
        assert_eq!(Ruuvi::decode(&[0x99, 0x04, 0x05, 0x12]), Some(Err(FORMAT)));
        assert_eq!(Ruuvi::decode(&[&[0x99, 0x04, 0x05][..], &[0; 24]].concat()), Some(Err(FORMAT)));
        assert_eq!(Ruuvi::decode(&[0x99, 0x04, 0x08, 0x12]), None, "encrypted format 8");
        assert_eq!(Ruuvi::decode(&[0x99, 0x04]), None);
        assert_eq!(Ruuvi::decode(&[0x98, 0x04, 0x05]), None);
        assert_eq!(Ruuvi::decode(&[0x99]), None);
    }
}

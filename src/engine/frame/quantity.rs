//! The closed vocabulary of what a sensor can tell: one line of the table for each quantity.
//!
//! A quantity's name carries its unit last (`temperature_c`), so a value can be read without a
//! second field. Switches, events, counters and indices have no unit. Units are those of the SI or
//! in common use beside it (°C, %, L, kWh); formats that speak hPa, pounds or millimetres are
//! converted where they are decoded, so that one physical thing has one name.

/// How the values of a quantity behave over time, for whoever decides when a change is worth telling.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// A continuous value that wanders: worth telling when it has moved far enough.
    Measurement,
    /// 0 or 1: worth telling when it flips.
    Switch,
    /// Something that happened, said in the value: worth telling each time, once.
    Event,
    /// A whole number that counts up (and may wrap or restart): its increase is what matters.
    Counter,
}

/// Writes the enum and everything that is known about each member from one table.
macro_rules! quantities {
    ($( $(#[$doc:meta])+ $variant:ident, $name:literal, $unit:literal, $kind:ident; )+) => {
        /// What a [`Reading`](super::Reading) measures.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Quantity {
            $( $(#[$doc])+ $variant, )+
        }

        impl Quantity {
            /// Every quantity, in the order of the table.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name used in payloads and in the configuration, unit last: `temperature_c`.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => $name, )+
                }
            }

            /// The quantity of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $( $name => Some(Self::$variant), )+
                    _ => None,
                }
            }

            /// The unit as people write it (`°C`, `%`, `Pa`); empty where there is none.
            pub const fn unit(self) -> &'static str {
                match self {
                    $( Self::$variant => $unit, )+
                }
            }

            /// How its values behave over time.
            pub const fn kind(self) -> Kind {
                match self {
                    $( Self::$variant => Kind::$kind, )+
                }
            }
        }
    };
}

quantities! {
    // Air and surfaces.
    /// Temperature.
    TemperatureC, "temperature_c", "°C", Measurement;
    /// Temperature at which the air's moisture would condense.
    DewPointC, "dew_point_c", "°C", Measurement;
    /// Relative humidity of air.
    HumidityPercent, "humidity_percent", "%", Measurement;
    /// Moisture of soil or another material.
    MoisturePercent, "moisture_percent", "%", Measurement;
    /// Air pressure.
    PressurePa, "pressure_pa", "Pa", Measurement;
    /// Pressure on one side over that on the other.
    DifferentialPressurePa, "differential_pressure_pa", "Pa", Measurement;
    /// Carbon dioxide.
    Co2Ppm, "co2_ppm", "ppm", Measurement;
    /// Volatile organic compounds, by mass.
    VocUgM3, "voc_ug_m3", "µg/m³", Measurement;
    /// Volatile organic compounds, by their share of the air.
    VocPpb, "voc_ppb", "ppb", Measurement;
    /// Volatile organic compounds, 0 to 500, relative to the room's own average of 100.
    VocIndex, "voc_index", "", Measurement;
    /// Nitrogen oxides, 0 to 500, relative to the room's own base of 1.
    NoxIndex, "nox_index", "", Measurement;
    /// Quality of indoor air, 0 (best) to 500.
    IaqIndex, "iaq_index", "", Measurement;
    /// Formaldehyde.
    FormaldehydeUgM3, "formaldehyde_ug_m3", "µg/m³", Measurement;
    /// Carbon monoxide, by mass.
    CarbonMonoxideUgM3, "carbon_monoxide_ug_m3", "µg/m³", Measurement;
    /// Nitrogen dioxide, by mass.
    NitrogenDioxideUgM3, "nitrogen_dioxide_ug_m3", "µg/m³", Measurement;
    /// Ammonia, by mass.
    AmmoniaUgM3, "ammonia_ug_m3", "µg/m³", Measurement;
    /// Methane.
    MethanePpm, "methane_ppm", "ppm", Measurement;
    /// Radon: decays a second in each cubic metre.
    RadonBqM3, "radon_bq_m3", "Bq/m³", Measurement;
    /// Rate of an ionising radiation's dose.
    RadiationUsvH, "radiation_usv_h", "µSv/h", Measurement;
    /// Dose of ionising radiation since the sensor began to count.
    RadiationDoseUsv, "radiation_dose_usv", "µSv", Measurement;
    /// Sound pressure level.
    SoundLevelDb, "sound_level_db", "dB", Measurement;
    /// Particles up to 1 µm.
    Pm1UgM3, "pm1_ug_m3", "µg/m³", Measurement;
    /// Particles up to 2.5 µm.
    Pm2p5UgM3, "pm2_5_ug_m3", "µg/m³", Measurement;
    /// Particles up to 4 µm.
    Pm4UgM3, "pm4_ug_m3", "µg/m³", Measurement;
    /// Particles up to 10 µm.
    Pm10UgM3, "pm10_ug_m3", "µg/m³", Measurement;
    /// Rain or other precipitation.
    PrecipitationMm, "precipitation_mm", "mm", Measurement;

    // Light.
    /// Illuminance.
    IlluminanceLx, "illuminance_lx", "lx", Measurement;
    /// Light in three steps: 0 dark, 1 twilight, 2 bright.
    LightLevel, "light_level", "", Measurement;
    /// Ultraviolet index.
    UvIndex, "uv_index", "", Measurement;

    // Electricity.
    /// Charge of the sensor's own battery.
    BatteryPercent, "battery_percent", "%", Measurement;
    /// Voltage of the sensor's own battery.
    BatteryV, "battery_v", "V", Measurement;
    /// Voltage.
    VoltageV, "voltage_v", "V", Measurement;
    /// Current.
    CurrentA, "current_a", "A", Measurement;
    /// Electrical power.
    PowerW, "power_w", "W", Measurement;
    /// Electrical energy.
    EnergyKwh, "energy_kwh", "kWh", Measurement;
    /// Electrical conductivity, of soil or water.
    ConductivityUsCm, "conductivity_us_cm", "µS/cm", Measurement;
    /// Transmission power of the sensor's own radio.
    TxPowerDbm, "tx_power_dbm", "dBm", Measurement;

    // Motion and place.
    /// Acceleration, along one axis or in all.
    AccelerationMS2, "acceleration_m_s2", "m/s²", Measurement;
    /// Acceleration along the sensor's X axis.
    AccelerationXMS2, "acceleration_x_m_s2", "m/s²", Measurement;
    /// Acceleration along the sensor's Y axis.
    AccelerationYMS2, "acceleration_y_m_s2", "m/s²", Measurement;
    /// Acceleration along the sensor's Z axis.
    AccelerationZMS2, "acceleration_z_m_s2", "m/s²", Measurement;
    /// Angular speed, from a gyroscope.
    GyroscopeDegS, "gyroscope_deg_s", "°/s", Measurement;
    /// Angle of rotation.
    RotationDeg, "rotation_deg", "°", Measurement;
    /// Angle between the sensor's X axis and the horizon.
    PitchDeg, "pitch_deg", "°", Measurement;
    /// Angle around the sensor's X axis.
    RollDeg, "roll_deg", "°", Measurement;
    /// Magnetic flux density along the sensor's X axis.
    MagneticFieldXUt, "magnetic_field_x_ut", "µT", Measurement;
    /// Magnetic flux density along the sensor's Y axis.
    MagneticFieldYUt, "magnetic_field_y_ut", "µT", Measurement;
    /// Magnetic flux density along the sensor's Z axis.
    MagneticFieldZUt, "magnetic_field_z_ut", "µT", Measurement;
    /// Height above sea level.
    ElevationM, "elevation_m", "m", Measurement;
    /// Compass direction, of wind for example.
    DirectionDeg, "direction_deg", "°", Measurement;
    /// Revolutions per minute.
    RotationalSpeedRpm, "rotational_speed_rpm", "rpm", Measurement;
    /// Speed.
    SpeedMS, "speed_m_s", "m/s", Measurement;
    /// Distance.
    DistanceM, "distance_m", "m", Measurement;
    /// How full or how far on something is, of its whole range.
    LevelPercent, "level_percent", "%", Measurement;

    // Matter.
    /// Mass.
    MassKg, "mass_kg", "kg", Measurement;
    /// Density of a liquid over that of water.
    SpecificGravity, "specific_gravity", "", Measurement;
    /// Volume that passed.
    VolumeL, "volume_l", "L", Measurement;
    /// Volume that is in store.
    VolumeStorageL, "volume_storage_l", "L", Measurement;
    /// Volume per time.
    VolumeFlowM3H, "volume_flow_m3_h", "m³/h", Measurement;
    /// Volume of gas that passed.
    GasM3, "gas_m3", "m³", Measurement;
    /// Volume of water that passed.
    WaterL, "water_l", "L", Measurement;

    // Time.
    /// A duration.
    DurationS, "duration_s", "s", Measurement;
    /// Time since the sensor was powered on.
    UptimeS, "uptime_s", "s", Measurement;
    /// A moment, in seconds since 1970-01-01 00:00 UTC.
    UnixTimeS, "unix_time_s", "s", Measurement;
    /// Which of a remote control's channels is chosen.
    Channel, "channel", "", Measurement;

    // Switches: the name says what 1 means.
    /// Something without a name of its own is on.
    On, "on", "", Switch;
    /// Power is on.
    PowerOn, "power_on", "", Switch;
    /// Something that opens is open.
    Open, "open", "", Switch;
    /// A door is open.
    DoorOpen, "door_open", "", Switch;
    /// A garage door is open.
    GarageDoorOpen, "garage_door_open", "", Switch;
    /// A window is open.
    WindowOpen, "window_open", "", Switch;
    /// A lock is unlocked.
    Unlocked, "unlocked", "", Switch;
    /// The sensor's battery is low.
    BatteryLow, "battery_low", "", Switch;
    /// The sensor's battery is being charged.
    BatteryCharging, "battery_charging", "", Switch;
    /// Carbon monoxide was detected.
    CarbonMonoxide, "carbon_monoxide", "", Switch;
    /// Gas was detected.
    Gas, "gas", "", Switch;
    /// Smoke was detected.
    Smoke, "smoke", "", Switch;
    /// It is too cold.
    Cold, "cold", "", Switch;
    /// It is too hot.
    Heat, "heat", "", Switch;
    /// It is wet where it should be dry.
    Leak, "leak", "", Switch;
    /// Light was detected.
    Light, "light", "", Switch;
    /// Sound was detected.
    Sound, "sound", "", Switch;
    /// Something moves before the sensor.
    Motion, "motion", "", Switch;
    /// The sensor itself is being moved.
    Moving, "moving", "", Switch;
    /// The sensor is being shaken.
    Vibration, "vibration", "", Switch;
    /// The sensor was hit.
    Impact, "impact", "", Switch;
    /// The sensor falls, or fell just now.
    Falling, "falling", "", Switch;
    /// The sensor is tilted.
    Tilted, "tilted", "", Switch;
    /// A magnet is near.
    Magnet, "magnet", "", Switch;
    /// A room or a seat is occupied.
    Occupancy, "occupancy", "", Switch;
    /// Somebody or something is here.
    Presence, "presence", "", Switch;
    /// A device is connected.
    Connected, "connected", "", Switch;
    /// A plug is plugged in.
    PluggedIn, "plugged_in", "", Switch;
    /// A machine is running.
    Running, "running", "", Switch;
    /// There is a problem.
    Problem, "problem", "", Switch;
    /// It is safe.
    Safe, "safe", "", Switch;
    /// Somebody tampers with the sensor.
    Tamper, "tamper", "", Switch;
    /// The sensor is still calibrating, so its values are not yet accurate.
    Calibrating, "calibrating", "", Switch;

    // Events: the value says what happened; see `Action`.
    /// A button was pressed.
    Button, "button", "", Event;
    /// A dimmer was turned: steps to the right, or to the left where negative.
    DimmerSteps, "dimmer_steps", "", Event;

    // Counters.
    /// A count of something without a name of its own; some sensors count down, too.
    Count, "count", "", Counter;
    /// People counted.
    PeopleCount, "people_count", "", Counter;
    /// People who came in.
    PeopleInCount, "people_in_count", "", Counter;
    /// People who went out.
    PeopleOutCount, "people_out_count", "", Counter;
    /// How often a button was pressed.
    PressCount, "press_count", "", Counter;
    /// How often the sensor was moved.
    MovementCount, "movement_count", "", Counter;
    /// How often the sensor measured.
    MeasurementCount, "measurement_count", "", Counter;
    /// How often the beacon advertised since it was powered on.
    AdvertisementCount, "advertisement_count", "", Counter;
}

impl Quantity {
    /// The values that can be, from and to, in its unit.
    ///
    /// Wide enough for every sensor in the table and its test vectors, and too narrow for what a
    /// flipped bit or a misread frame yields most of the time: all ones, a temperature below
    /// absolute zero.
    #[expect(
        clippy::match_same_arms,
        reason = "one line a quantity reads better than one a number"
    )]
    pub const fn bounds(self) -> (f64, f64) {
        match self {
            // Thermocouples reach 1,800 °C.
            Self::TemperatureC => (-273.15, 2_000.0),
            Self::DewPointC => (-100.0, 100.0),
            // A sensor on which water condenses tells a little over 100. The highest value that the
            // documentation of a sensor calls valid is 163.835 (Ruuvi, data format 5).
            Self::HumidityPercent => (0.0, 164.0),
            Self::MoisturePercent | Self::BatteryPercent | Self::LevelPercent => (0.0, 100.0),
            // From 30 km above the sea to a pressure vessel.
            Self::PressurePa => (0.0, 100_000_000.0),
            Self::DifferentialPressurePa => (-100_000.0, 100_000.0),
            Self::Co2Ppm | Self::MethanePpm => (0.0, 1_000_000.0),
            Self::VocPpb => (0.0, 1_000_000_000.0),
            Self::VocIndex | Self::NoxIndex => (0.0, 511.0),
            Self::IaqIndex => (0.0, 500.0),
            Self::VocUgM3
            | Self::Pm1UgM3
            | Self::Pm2p5UgM3
            | Self::Pm4UgM3
            | Self::Pm10UgM3
            | Self::FormaldehydeUgM3 => (0.0, 1_000_000.0),
            // A cubic metre of the pure gas has less than 2 kg.
            Self::CarbonMonoxideUgM3 | Self::NitrogenDioxideUgM3 | Self::AmmoniaUgM3 => {
                (0.0, 2_000_000_000.0)
            }
            Self::RadonBqM3 => (0.0, 1_000_000.0),
            Self::RadiationUsvH => (0.0, 10_000_000.0),
            Self::RadiationDoseUsv => (0.0, 1e12),
            Self::SoundLevelDb => (0.0, 200.0),
            Self::PrecipitationMm => (0.0, 10_000.0),
            // The sun is at 130,000 lx; sensors near lamps saturate higher.
            Self::IlluminanceLx => (0.0, 1_000_000.0),
            Self::LightLevel => (0.0, 255.0),
            Self::UvIndex => (0.0, 50.0),
            Self::BatteryV => (0.0, 100.0),
            Self::VoltageV => (-100_000.0, 100_000.0),
            Self::CurrentA => (-100_000.0, 100_000.0),
            Self::PowerW => (-100_000_000.0, 100_000_000.0),
            Self::EnergyKwh => (0.0, 1e9),
            Self::ConductivityUsCm => (0.0, 1_000_000.0),
            Self::TxPowerDbm => (-128.0, 127.0),
            Self::AccelerationMS2
            | Self::AccelerationXMS2
            | Self::AccelerationYMS2
            | Self::AccelerationZMS2 => (-10_000.0, 10_000.0),
            Self::GyroscopeDegS => (-100_000.0, 100_000.0),
            Self::RotationDeg => (-3_600.0, 3_600.0),
            Self::PitchDeg | Self::RollDeg => (-360.0, 360.0),
            Self::DirectionDeg => (0.0, 660.0),
            Self::MagneticFieldXUt | Self::MagneticFieldYUt | Self::MagneticFieldZUt => {
                (-1_000_000.0, 1_000_000.0)
            }
            Self::ElevationM => (-12_000.0, 100_000.0),
            Self::RotationalSpeedRpm => (0.0, 1_000_000.0),
            Self::SpeedMS => (-10_000.0, 10_000.0),
            Self::DistanceM => (0.0, 1_000_000.0),
            Self::MassKg => (-1_000.0, 1_000_000.0),
            // From light spirits to mercury.
            Self::SpecificGravity => (0.5, 14.0),
            Self::VolumeL | Self::VolumeStorageL | Self::WaterL => (0.0, 1e12),
            Self::VolumeFlowM3H => (0.0, 1_000_000.0),
            Self::GasM3 => (0.0, 1e9),
            Self::DurationS | Self::UptimeS | Self::UnixTimeS => (0.0, 1e11),
            Self::Channel => (0.0, 255.0),
            Self::Button => (1.0, 255.0),
            Self::DimmerSteps => (-255.0, 255.0),
            Self::Count => (-2_147_483_648.0, 4_294_967_295.0),
            _ => match self.kind() {
                Kind::Switch => (0.0, 1.0),
                // All that 48 bits can count.
                _ => (0.0, 281_474_976_710_655.0),
            },
        }
    }

    /// Whether a value can be; nothing that is not a number can.
    pub fn is_plausible(self, value: f64) -> bool {
        let (least, most) = self.bounds();
        (least..=most).contains(&value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quantity_has_bounds_and_a_measurement_has_its_own() {
        for quantity in Quantity::ALL {
            let (least, most) = quantity.bounds();
            assert!(least < most, "{}", quantity.name());
            let widest = 281_474_976_710_655.0;
            let own = quantity.kind() == Kind::Counter || most < widest;
            assert!(own, "{} has no bounds of its own", quantity.name());
            assert!(quantity.is_plausible(least) && quantity.is_plausible(most));
            assert!(!quantity.is_plausible(f64::NAN) && !quantity.is_plausible(f64::INFINITY));
        }
    }

    #[test]
    fn every_name_leads_back_to_its_quantity_and_is_fit_for_a_key() {
        for quantity in Quantity::ALL {
            let name = quantity.name();
            assert_eq!(Quantity::from_name(name), Some(quantity), "{name}");
            assert!(
                name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')),
                "{name} is not lower case, digits and underscores"
            );
        }
        assert_eq!(Quantity::from_name("temperature"), None);
        assert_eq!(Quantity::from_name("TEMPERATURE_C"), None);
    }

    #[test]
    fn only_measurements_have_a_unit_and_their_name_ends_in_it() {
        for quantity in Quantity::ALL {
            let suffix = match quantity.unit() {
                "" => continue,
                "°C" => "_c",
                "%" => "_percent",
                "µg/m³" => "_ug_m3",
                "µS/cm" => "_us_cm",
                "m/s²" => "_m_s2",
                "°/s" => "_deg_s",
                "°" => "_deg",
                "m/s" => "_m_s",
                "m³/h" => "_m3_h",
                "m³" => "_m3",
                "Bq/m³" => "_bq_m3",
                "µSv/h" => "_usv_h",
                "µSv" => "_usv",
                "µT" => "_ut",
                unit => &format!("_{}", unit.to_lowercase()),
            };
            assert_eq!(quantity.kind(), Kind::Measurement, "{}", quantity.name());
            assert!(quantity.name().ends_with(suffix), "{} in {suffix}", quantity.name());
        }
    }
}

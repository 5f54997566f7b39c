//! What each quantity is to Home Assistant: component, class, unit, and how it behaves. Pure.
//!
//! Sources, in the repository home-assistant/core: `components/sensor/const.py` (device classes, the units
//! and state classes that each allows) and `components/binary_sensor/__init__.py` (device classes, and
//! what `on` means to each). A quantity of which Home Assistant knows no class, or not with our unit,
//! goes without a class.

use crate::engine::frame::{Kind, Quantity};

/// One thing about a fixture that Home Assistant shows.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Entity {
    /// A quantity, by its instance.
    Reading(Quantity, u8),
    /// Whether an alert stands, by its rule.
    Alert(String),
    /// What is done with a button.
    Button(u8),
}

/// What a quantity is to Home Assistant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shown {
    /// A `sensor`.
    Sensor {
        /// `device_class`, where there is one for the quantity in our unit.
        class: Option<&'static str>,
        /// `state_class`; none for what says nothing as a curve.
        state: Option<&'static str>,
    },
    /// A `binary_sensor`.
    Binary {
        /// `device_class`.
        class: Option<&'static str>,
        /// Which of our values is its `on`: 1, but for what Home Assistant says the other way round.
        on: u8,
    },
    /// An `event`: something happens, and has no state.
    Event,
}

const MEASUREMENT: Option<&str> = Some("measurement");
const TOTAL: Option<&str> = Some("total");
/// Falls to zero when a sensor starts anew, which is not taken for a loss.
const INCREASING: Option<&str> = Some("total_increasing");

impl Shown {
    /// What a quantity is.
    #[expect(clippy::match_same_arms, reason = "in the order of the quantities, by what they are")]
    #[expect(clippy::too_many_lines, reason = "one line a quantity")]
    pub(super) const fn of(quantity: Quantity) -> Self {
        use Quantity as Q;
        match quantity {
            Q::TemperatureC | Q::DewPointC => measured("temperature"),
            Q::HumidityPercent => measured("humidity"),
            Q::MoisturePercent => measured("moisture"),
            Q::PressurePa | Q::DifferentialPressurePa => measured("pressure"),
            Q::Co2Ppm => measured("carbon_dioxide"),
            Q::VocUgM3 => measured("volatile_organic_compounds"),
            Q::VocPpb => measured("volatile_organic_compounds_parts"),
            Q::NitrogenDioxideUgM3 => measured("nitrogen_dioxide"),
            Q::SoundLevelDb => measured("sound_pressure"),
            Q::Pm1UgM3 => measured("pm1"),
            Q::Pm2p5UgM3 => measured("pm25"),
            Q::Pm10UgM3 => measured("pm10"),
            Q::PrecipitationMm => measured("precipitation"),
            Q::IlluminanceLx => measured("illuminance"),
            Q::BatteryPercent => measured("battery"),
            Q::BatteryV | Q::VoltageV => measured("voltage"),
            Q::CurrentA => measured("current"),
            Q::PowerW => measured("power"),
            Q::EnergyKwh => sensor(Some("energy"), INCREASING),
            Q::ConductivityUsCm => measured("conductivity"),
            Q::TxPowerDbm => measured("signal_strength"),
            Q::SpeedMS => measured("speed"),
            Q::DistanceM => measured("distance"),
            Q::MassKg => measured("weight"),
            Q::VolumeL => sensor(Some("volume"), TOTAL),
            Q::VolumeStorageL => measured("volume_storage"),
            Q::VolumeFlowM3H => measured("volume_flow_rate"),
            Q::GasM3 => sensor(Some("gas"), INCREASING),
            Q::WaterL => sensor(Some("water"), INCREASING),
            Q::DurationS => measured("duration"),
            Q::UptimeS => sensor(Some("duration"), INCREASING),
            Q::RadiationDoseUsv => sensor(None, INCREASING),
            Q::UnixTimeS => sensor(None, None),
            // `carbon_monoxide` is in ppm alone, `pm4` is in newer versions alone, `aqi` is another
            // index, and directions are the wind's.
            Q::VocIndex
            | Q::NoxIndex
            | Q::IaqIndex
            | Q::FormaldehydeUgM3
            | Q::CarbonMonoxideUgM3
            | Q::AmmoniaUgM3
            | Q::MethanePpm
            | Q::RadonBqM3
            | Q::RadiationUsvH
            | Q::Pm4UgM3
            | Q::LightLevel
            | Q::UvIndex
            | Q::AccelerationMS2
            | Q::AccelerationXMS2
            | Q::AccelerationYMS2
            | Q::AccelerationZMS2
            | Q::GyroscopeDegS
            | Q::RotationDeg
            | Q::PitchDeg
            | Q::RollDeg
            | Q::MagneticFieldXUt
            | Q::MagneticFieldYUt
            | Q::MagneticFieldZUt
            | Q::ElevationM
            | Q::DirectionDeg
            | Q::RotationalSpeedRpm
            | Q::SpecificGravity
            | Q::LevelPercent
            | Q::Channel => sensor(None, MEASUREMENT),

            Q::PowerOn => binary("power"),
            Q::Open => binary("opening"),
            Q::DoorOpen => binary("door"),
            Q::GarageDoorOpen => binary("garage_door"),
            Q::WindowOpen => binary("window"),
            Q::Unlocked => binary("lock"),
            Q::BatteryLow => binary("battery"),
            Q::BatteryCharging => binary("battery_charging"),
            Q::CarbonMonoxide => binary("carbon_monoxide"),
            Q::Gas => binary("gas"),
            Q::Smoke => binary("smoke"),
            Q::Cold => binary("cold"),
            Q::Heat => binary("heat"),
            Q::Leak => binary("moisture"),
            Q::Light => binary("light"),
            Q::Sound => binary("sound"),
            Q::Motion => binary("motion"),
            Q::Moving => binary("moving"),
            Q::Vibration => binary("vibration"),
            Q::Occupancy => binary("occupancy"),
            Q::Presence => binary("presence"),
            Q::Connected => binary("connectivity"),
            Q::PluggedIn => binary("plug"),
            Q::Running => binary("running"),
            Q::Problem => binary("problem"),
            // There `on` is unsafe.
            Q::Safe => Self::Binary { class: Some("safety"), on: 0 },
            Q::Tamper => binary("tamper"),
            Q::On | Q::Impact | Q::Falling | Q::Tilted | Q::Magnet | Q::Calibrating => {
                Self::Binary { class: None, on: 1 }
            }

            Q::Button | Q::DimmerSteps => Self::Event,

            // These two go down as well.
            Q::Count | Q::PeopleCount => sensor(None, MEASUREMENT),
            Q::PeopleInCount
            | Q::PeopleOutCount
            | Q::PressCount
            | Q::MovementCount
            | Q::MeasurementCount
            | Q::AdvertisementCount => sensor(None, INCREASING),
        }
    }

    /// The name of the component, as it stands in the topic.
    pub(super) const fn component(self) -> &'static str {
        match self {
            Self::Sensor { .. } => "sensor",
            Self::Binary { .. } => "binary_sensor",
            Self::Event => "event",
        }
    }
}

const fn measured(class: &'static str) -> Shown {
    sensor(Some(class), MEASUREMENT)
}

const fn sensor(class: Option<&'static str>, state: Option<&'static str>) -> Shown {
    Shown::Sensor { class, state }
}

const fn binary(class: &'static str) -> Shown {
    Shown::Binary { class: Some(class), on: 1 }
}

/// Whether it is about the sensor itself rather than about what it watches.
pub(super) const fn is_diagnostic(quantity: Quantity) -> bool {
    use Quantity as Q;
    matches!(
        quantity,
        Q::BatteryPercent
            | Q::BatteryV
            | Q::BatteryLow
            | Q::BatteryCharging
            | Q::TxPowerDbm
            | Q::UptimeS
            | Q::UnixTimeS
            | Q::Channel
            | Q::Calibrating
            | Q::MeasurementCount
            | Q::AdvertisementCount
    )
}

/// What people call it: `temperature_c` is `Temperature`, and of the second one `Temperature 2`.
pub(super) fn name_of(quantity: Quantity, instance: u8) -> String {
    let name = quantity.name();
    let has_unit = quantity.kind() == Kind::Measurement && !quantity.unit().is_empty();
    let bare = UNITS.iter().find_map(|unit| name.strip_suffix(unit)).filter(|_| has_unit);
    let bare = bare.unwrap_or(name).replace("pm2_5", "pm2.5").replace('_', " ");
    let words = bare.split(' ').map(|word| match word {
        "co2" | "voc" | "iaq" | "uv" | "x" | "y" | "z" | "pm1" | "pm2.5" | "pm4" | "pm10" => {
            word.to_uppercase()
        }
        "nox" => "NOx".to_owned(),
        "tx" => "transmit".to_owned(),
        word => word.to_owned(),
    });
    let name = capital(&words.collect::<Vec<_>>().join(" "));
    if instance == 0 { name } else { format!("{name} {}", u16::from(instance) + 1) }
}

/// The same with a capital letter first.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// How units stand in the names of quantities; of two that end alike the longer one first.
const UNITS: [&str; 30] = [
    "_percent", "_ug_m3", "_us_cm", "_deg_s", "_bq_m3", "_usv_h", "_m3_h", "_m_s2", "_usv", "_deg",
    "_dbm", "_kwh", "_rpm", "_ppm", "_ppb", "_m_s", "_m3", "_pa", "_db", "_mm", "_lx", "_kg",
    "_ut", "_c", "_v", "_a", "_w", "_l", "_m", "_s",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Device classes of `sensor` with the units that we have of each, and the state classes that each
    /// allows (`DEVICE_CLASS_UNITS` and `DEVICE_CLASS_STATE_CLASSES` of
    /// home-assistant/core, `homeassistant/components/sensor/const.py`).
    const SENSORS: &[(&str, &[&str], &[&str])] = &[
        ("battery", &["%"], &["measurement"]),
        ("carbon_dioxide", &["ppm"], &["measurement"]),
        ("conductivity", &["µS/cm"], &["measurement"]),
        ("current", &["A"], &["measurement"]),
        ("distance", &["m"], &["measurement", "total", "total_increasing"]),
        ("duration", &["s"], &["measurement", "total", "total_increasing"]),
        ("energy", &["kWh"], &["total", "total_increasing"]),
        ("gas", &["m³"], &["total", "total_increasing"]),
        ("humidity", &["%"], &["measurement"]),
        ("illuminance", &["lx"], &["measurement"]),
        ("moisture", &["%"], &["measurement"]),
        ("nitrogen_dioxide", &["µg/m³"], &["measurement"]),
        ("pm1", &["µg/m³"], &["measurement"]),
        ("pm10", &["µg/m³"], &["measurement"]),
        ("pm25", &["µg/m³"], &["measurement"]),
        ("power", &["W"], &["measurement"]),
        ("precipitation", &["mm"], &["measurement", "total", "total_increasing"]),
        ("pressure", &["Pa"], &["measurement"]),
        ("signal_strength", &["dB", "dBm"], &["measurement"]),
        ("sound_pressure", &["dB", "dBA"], &["measurement"]),
        ("speed", &["m/s"], &["measurement"]),
        ("temperature", &["°C"], &["measurement"]),
        ("volatile_organic_compounds", &["µg/m³"], &["measurement"]),
        ("volatile_organic_compounds_parts", &["ppb", "ppm"], &["measurement"]),
        ("voltage", &["V"], &["measurement"]),
        ("volume", &["L", "m³"], &["total", "total_increasing"]),
        ("volume_flow_rate", &["m³/h"], &["measurement"]),
        ("volume_storage", &["L", "m³"], &["measurement"]),
        ("water", &["L", "m³"], &["total", "total_increasing"]),
        ("weight", &["kg"], &["measurement", "total", "total_increasing"]),
    ];

    /// Device classes of `binary_sensor` (`BinarySensorDeviceClass` of home-assistant/core,
    /// `homeassistant/components/binary_sensor/__init__.py`).
    const BINARY_SENSORS: &[&str] = &[
        "battery",
        "battery_charging",
        "carbon_monoxide",
        "cold",
        "connectivity",
        "door",
        "garage_door",
        "gas",
        "heat",
        "light",
        "lock",
        "moisture",
        "motion",
        "moving",
        "occupancy",
        "opening",
        "plug",
        "power",
        "presence",
        "problem",
        "running",
        "safety",
        "smoke",
        "sound",
        "tamper",
        "update",
        "vibration",
        "window",
    ];

    #[test]
    fn every_quantity_has_a_component_of_its_kind_and_a_class_that_knows_its_unit() {
        for quantity in Quantity::ALL {
            let name = quantity.name();
            match (quantity.kind(), Shown::of(quantity)) {
                (Kind::Measurement | Kind::Counter, Shown::Sensor { class, state }) => {
                    if let Some(class) = class {
                        let known = SENSORS.iter().find(|(known, ..)| *known == class);
                        let (_, units, states) = known.unwrap_or_else(|| panic!("{name}: {class}"));
                        assert!(units.contains(&quantity.unit()), "{name}: {}", quantity.unit());
                        assert!(state.is_none_or(|state| states.contains(&state)), "{name}");
                    }
                    // Else it would be text, and an empty one would be shown.
                    assert!(state.is_some() || !quantity.unit().is_empty(), "{name} is no number");
                }
                (Kind::Switch, Shown::Binary { class, on }) => {
                    let known = class.is_none_or(|class| BINARY_SENSORS.contains(&class));
                    assert!(known, "{name}: {class:?}");
                    assert_eq!(on == 0, quantity == Quantity::Safe, "{name}");
                }
                (Kind::Event, Shown::Event) => {}
                (kind, shown) => panic!("{name} is {kind:?} and {shown:?}"),
            }
        }
    }

    #[test]
    fn units_are_written_as_home_assistant_writes_them() {
        // The micro sign, U+00B5, as in its constants; newer versions read it as the Greek letter.
        for quantity in Quantity::ALL {
            assert!(!quantity.unit().contains('\u{3bc}'), "{}", quantity.name());
        }
    }

    #[test]
    fn names_are_words_without_their_unit() {
        use Quantity as Q;
        for (quantity, instance, name) in [
            (Q::TemperatureC, 0, "Temperature"),
            (Q::TemperatureC, 1, "Temperature 2"),
            (Q::DewPointC, 0, "Dew point"),
            (Q::Co2Ppm, 0, "CO2"),
            (Q::Pm2p5UgM3, 0, "PM2.5"),
            (Q::VocIndex, 0, "VOC index"),
            (Q::NoxIndex, 0, "NOx index"),
            (Q::AccelerationXMS2, 0, "Acceleration X"),
            (Q::TxPowerDbm, 0, "Transmit power"),
            (Q::VolumeFlowM3H, 0, "Volume flow"),
            (Q::DoorOpen, 0, "Door open"),
            (Q::PeopleInCount, 255, "People in count 256"),
        ] {
            assert_eq!(name_of(quantity, instance), name);
        }
        for quantity in Quantity::ALL {
            let name = name_of(quantity, 0);
            assert!(name.starts_with(char::is_uppercase) && !name.contains('_'), "{name}");
            let unit = quantity.name().rsplit('_').next().unwrap().to_owned();
            let has_unit = quantity.kind() == Kind::Measurement && !quantity.unit().is_empty();
            assert!(!has_unit || !name.to_lowercase().ends_with(&format!(" {unit}")), "{name}");
        }
    }
}

//! Values in words: fields of an event in, short phrases out. Tolerant: what is missing or of
//! another form than expected is left out, and nothing that is received can steer the terminal.

use serde_json::{Map, Value};

/// Readings shown of one fixture; a tag may send a dozen.
const MAX_READINGS: usize = 4;

/// Readings of a zone's sensors shown beside what people do there.
const MAX_SURROUNDINGS: usize = 2;

/// Fields shown of an event of a kind that nobody here knows.
const MAX_FIELDS: usize = 4;

/// Zones of a path that are shown; a long walk is cut in the middle.
const MAX_PATH: usize = 6;

/// Quantities of which the unit says enough.
const SPEAKING_UNITS: [&str; 5] = ["°C", "W", "hPa", "lx", "ppm"];

/// Units by the end of a quantity's name, where the event does not state them; longer ends first.
const UNITS: [(&str, &str); 24] = [
    ("_percent", "%"),
    ("_ug_m3", "µg/m³"),
    ("_us_cm", "µS/cm"),
    ("_deg_s", "°/s"),
    ("_m_s2", "m/s²"),
    ("_m3_h", "m³/h"),
    ("_m_s", "m/s"),
    ("_kwh", "kWh"),
    ("_ppm", "ppm"),
    ("_dbm", "dBm"),
    ("_rpm", "rpm"),
    ("_deg", "°"),
    ("_pa", "Pa"),
    ("_lx", "lx"),
    ("_mm", "mm"),
    ("_kg", "kg"),
    ("_m3", "m³"),
    ("_c", "°C"),
    ("_v", "V"),
    ("_a", "A"),
    ("_w", "W"),
    ("_l", "L"),
    ("_m", "m"),
    ("_s", "s"),
];

/// Quantities without a unit that are numbers all the same, by the end of their names. The others
/// are switches, on or off.
const NUMBERS: [&str; 6] = ["count", "index", "level", "steps", "channel", "button"];

/// A text without anything that a terminal would act on.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A field that is a text and not empty.
pub(super) fn text(object: &Value, key: &str) -> Option<String> {
    let text = object.get(key)?.as_str()?;
    (!text.is_empty()).then(|| clean(text))
}

/// A field that is a number, as people write it.
pub(super) fn number(object: &Value, key: &str) -> Option<String> {
    object.get(key)?.as_f64().map(decimal)
}

/// A number with no more digits than anybody reads.
pub(super) fn decimal(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 1000.0 || value.fract().abs() < 0.005 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let mut text = format!("{value:.digits$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    if text == "-0" { "0".to_owned() } else { text }
}

/// A number of seconds: `12 s`, `5 min 12 s`, `2 h 5 min`.
pub(super) fn seconds(object: &Value, key: &str) -> Option<String> {
    let seconds = object.get(key)?.as_f64()?.max(0.0).round();
    let (hours, minutes) = ((seconds / 3600.0).floor(), (seconds % 3600.0 / 60.0).floor());
    Some(if hours > 0.0 {
        format!("{hours:.0} h {minutes:.0} min")
    } else if minutes > 0.0 {
        format!("{minutes:.0} min {:.0} s", seconds % 60.0)
    } else {
        format!("{seconds:.0} s")
    })
}

/// A name written in one word, with its underscores as spaces.
pub(super) fn spaced(text: &str) -> String {
    text.replace('_', " ")
}

/// What the sensors of a zone say about it: `21.4 °C, humidity 48 %`.
pub(super) fn sensors(context: &Value) -> Option<String> {
    let sensors = context.get("sensors")?.as_object()?;
    let mut phrases: Vec<(Rank, String)> = sensors
        .iter()
        .filter_map(|(quantity, sensor)| {
            let value = sensor.get("value").unwrap_or(sensor).as_f64()?;
            let unit = sensor.get("unit").and_then(Value::as_str);
            Some((Rank::of(quantity), reading(quantity, value, unit)))
        })
        .filter(|(rank, _)| *rank != Rank::Sensor)
        .collect();
    phrases.sort_by_key(|(rank, _)| *rank);
    phrases.truncate(MAX_SURROUNDINGS);
    list(phrases.into_iter().map(|(_, phrase)| phrase).collect(), MAX_SURROUNDINGS)
}

/// What a fixture measured, the most telling first.
pub(super) fn readings(data: &Value) -> Option<String> {
    let readings = data.get("readings")?.as_array()?;
    let mut phrases: Vec<(Rank, String)> = readings
        .iter()
        .filter_map(|entry| {
            let quantity = entry.get("quantity")?.as_str()?;
            let unit = entry.get("unit").and_then(Value::as_str);
            let phrase = match entry.get("value")? {
                Value::Number(value) => reading(quantity, value.as_f64()?, unit),
                Value::Bool(value) => reading(quantity, f64::from(u8::from(*value)), unit),
                other => format!("{} {}", spaced(&clean(quantity)), scalar(other)?),
            };
            Some((Rank::of(quantity), phrase))
        })
        .collect();
    phrases.sort_by_key(|(rank, _)| *rank);
    list(phrases.into_iter().map(|(_, phrase)| phrase).collect(), MAX_READINGS)
}

/// What people want to read first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Rank {
    Temperature,
    Humidity,
    Rest,
    /// The sensor's own health.
    Sensor,
}

impl Rank {
    fn of(quantity: &str) -> Self {
        let own = ["battery", "tx_power", "uptime", "acceleration", "movement", "voltage"];
        match quantity {
            "temperature_c" => Self::Temperature,
            "humidity_percent" => Self::Humidity,
            "measurement_count" | "advertisement_count" => Self::Sensor,
            other if own.iter().any(|start| other.starts_with(start)) => Self::Sensor,
            _ => Self::Rest,
        }
    }
}

fn reading(quantity: &str, value: f64, unit: Option<&str>) -> String {
    let suffix = UNITS.iter().find(|(suffix, _)| quantity.ends_with(suffix));
    let name = suffix.and_then(|(suffix, _)| quantity.strip_suffix(suffix)).unwrap_or(quantity);
    let unit = unit.filter(|unit| !unit.is_empty()).or(suffix.map(|(_, unit)| *unit));
    // Air pressure in pascals has more digits than anybody says.
    let (value, unit) = match unit {
        Some("Pa") => (value / 100.0, Some("hPa")),
        other => (value, other),
    };
    let switch = value.abs() < f64::EPSILON || (value - 1.0).abs() < f64::EPSILON;
    let on = value > 0.5;
    let words = spaced(&clean(name));
    match (unit, words.strip_suffix("open")) {
        (Some(unit), _) if SPEAKING_UNITS.contains(&unit) => format!("{} {unit}", decimal(value)),
        (Some(unit), _) => format!("{words} {} {}", decimal(value), clean(unit)),
        (None, Some(what)) if switch => format!("{what}{}", if on { "open" } else { "closed" }),
        (None, _) if switch && !NUMBERS.iter().any(|end| name.ends_with(end)) => {
            format!("{words} {}", if on { "yes" } else { "no" })
        }
        (None, _) => format!("{words} {}", decimal(value)),
    }
}

fn list(mut phrases: Vec<String>, most: usize) -> Option<String> {
    let more = phrases.len().saturating_sub(most);
    phrases.truncate(most);
    if more > 0 {
        phrases.push(format!("{more} more"));
    }
    (!phrases.is_empty()).then(|| phrases.join(", "))
}

/// The way through the shop: `entrance → wine → checkout`. Zones are texts or objects with `zone`.
pub(super) fn path(data: &Value) -> Option<String> {
    let stays = data.get("path")?.as_array()?.iter();
    let mut zones: Vec<String> =
        stays.filter_map(|stay| stay.as_str().map(clean).or_else(|| text(stay, "zone"))).collect();
    if zones.len() > MAX_PATH {
        zones.splice(MAX_PATH / 2..zones.len() - MAX_PATH / 2, ["…".to_owned()]);
    }
    (!zones.is_empty()).then(|| zones.join(" → "))
}

/// Simple fields as `name value`, but for those named.
pub(super) fn fields(object: &Map<String, Value>, but: &[&str]) -> Option<String> {
    let phrases: Vec<String> = object
        .iter()
        .filter(|(key, _)| !but.contains(&key.as_str()))
        .filter_map(|(key, value)| Some(format!("{} {}", spaced(&clean(key)), scalar(value)?)))
        .collect();
    list(phrases, MAX_FIELDS)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bool(true) => Some("yes".to_owned()),
        Value::Bool(false) => Some("no".to_owned()),
        Value::Number(number) => number.as_f64().map(decimal),
        Value::String(text) if !text.is_empty() => Some(clean(text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_times_are_as_short_as_people_write_them() {
        for (value, written) in [
            (0.0, "0"),
            (-0.001, "0"),
            (4.256, "4.26"),
            (4.5, "4.5"),
            (21.44, "21.4"),
            (-12.0, "-12"),
            (101_325.4, "101325"),
        ] {
            assert_eq!(decimal(value), written);
        }
        for (value, written) in [
            (0.0, "0 s"),
            (3.25, "3 s"),
            (41.7, "42 s"),
            (312.0, "5 min 12 s"),
            (7500.0, "2 h 5 min"),
        ] {
            assert_eq!(seconds(&json!({"x": value}), "x").as_deref(), Some(written));
        }
        assert_eq!(seconds(&json!({"x": "12"}), "x"), None);
    }

    #[test]
    fn a_quantity_is_named_where_its_unit_does_not_say_enough() {
        let say = |quantity: &str, value: f64, unit: Option<&str>| reading(quantity, value, unit);
        assert_eq!(say("temperature_c", 21.44, Some("°C")), "21.4 °C");
        assert_eq!(say("temperature_c", 21.44, None), "21.4 °C");
        assert_eq!(say("battery_percent", 87.0, Some("%")), "battery 87 %");
        assert_eq!(say("pressure_pa", 101_132.0, None), "1011 hPa");
        assert_eq!(say("acceleration_x_m_s2", -0.04, None), "acceleration x -0.04 m/s²");
        assert_eq!(say("pm2_5_ug_m3", 7.25, None), "pm2 5 7.25 µg/m³");
        assert_eq!(say("door_open", 1.0, Some("")), "door open");
        assert_eq!(say("open", 0.0, Some("")), "closed");
        assert_eq!(say("motion", 1.0, None), "motion yes");
        assert_eq!(say("people_count", 1.0, None), "people count 1");
    }

    #[test]
    fn of_many_readings_the_telling_ones_are_shown() {
        let readings_of = |names: &[&str]| {
            let all = names.iter().map(|name| json!({"quantity": name, "value": 2.0}));
            readings(&json!({"readings": all.collect::<Vec<_>>()})).expect("readings")
        };
        let shown = readings_of(&[
            "battery_v",
            "movement_count",
            "pressure_pa",
            "humidity_percent",
            "temperature_c",
        ]);
        assert_eq!(shown, "2 °C, humidity 2 %, 0.02 hPa, battery 2 V, 1 more");

        let context = json!({"sensors": {
            "advertisement_count": {"value": 7}, "co2_ppm": {"value": 640}, "power_w": {"value": 3},
            "temperature_c": {"value": 21.44},
        }});
        assert_eq!(sensors(&context).as_deref(), Some("21.4 °C, 640 ppm"));
    }

    #[test]
    fn a_long_path_is_cut_in_the_middle() {
        let zones: Vec<String> = (1..=9).map(|number| format!("z{number}")).collect();
        let shown = path(&json!({ "path": zones })).expect("zones");
        assert_eq!(shown, "z1 → z2 → z3 → … → z7 → z8 → z9");
    }

    #[test]
    fn nothing_received_can_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        let data = json!({"no\u{7}te": "\u{1b}]0;title\u{7}"});
        let shown = fields(data.as_object().expect("an object"), &[]).expect("a field");
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
}

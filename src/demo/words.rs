//! Values in words: fields of an event in, short phrases out. Tolerant: what is missing or of
//! another form than expected is left out, and nothing that is received can steer the terminal.

use serde_json::{Map, Value};

/// Readings shown of one fixture; a tag may send a dozen.
const MAX_READINGS: usize = 4;

/// Zones of a path that are shown; a long walk is cut in the middle.
const MAX_PATH: usize = 6;

/// Quantities of which the unit says enough.
const SPEAKING_UNITS: [&str; 6] = ["°C", "W", "hPa", "Pa", "lx", "ppm"];

/// Units by the end of a quantity's name, where the event does not state them.
const UNITS: [(&str, &str); 14] = [
    ("_c", "°C"),
    ("_pct", "%"),
    ("_hpa", "hPa"),
    ("_pa", "Pa"),
    ("_mv", "mV"),
    ("_v", "V"),
    ("_w", "W"),
    ("_wh", "Wh"),
    ("_kwh", "kWh"),
    ("_lx", "lx"),
    ("_ppm", "ppm"),
    ("_ppb", "ppb"),
    ("_dbm", "dBm"),
    ("_s", "s"),
];

/// Quantities that are open or closed rather than 1 or 0.
const OPENINGS: [&str; 5] = ["door", "window", "opening", "garage_door", "garage"];

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
    let seconds = object.get(key)?.as_f64()?.max(0.0);
    if seconds < 60.0 {
        return Some(format!(
            "{} s",
            decimal(if seconds < 10.0 { seconds } else { seconds.round() })
        ));
    }
    let whole = seconds.round();
    let (hours, minutes) = ((whole / 3600.0).floor(), (whole % 3600.0 / 60.0).floor());
    Some(if hours > 0.0 {
        format!("{hours:.0} h {minutes:.0} min")
    } else {
        format!("{minutes:.0} min {:.0} s", whole % 60.0)
    })
}

/// A name written in one word, with its underscores as spaces.
pub(super) fn spaced(text: &str) -> String {
    text.replace('_', " ")
}

/// What the sensors of a zone say: `21.4 °C, humidity 48 %`.
pub(super) fn sensors(context: &Value) -> Option<String> {
    let sensors = context.get("sensors")?.as_object()?;
    let phrases = sensors.iter().filter_map(|(quantity, sensor)| {
        let value = sensor.get("value").unwrap_or(sensor).as_f64()?;
        Some(reading(quantity, value, sensor.get("unit").and_then(Value::as_str)))
    });
    list(phrases.collect())
}

/// What a fixture measured.
pub(super) fn readings(data: &Value) -> Option<String> {
    let readings = data.get("readings")?.as_array()?;
    let phrases = readings.iter().filter_map(|entry| {
        let quantity = entry.get("quantity")?.as_str()?;
        let unit = entry.get("unit").and_then(Value::as_str);
        Some(match entry.get("value")? {
            Value::Number(value) => reading(quantity, value.as_f64()?, unit),
            Value::Bool(value) => reading(quantity, f64::from(u8::from(*value)), unit),
            other => format!("{} {}", spaced(&clean(quantity)), scalar(other)?),
        })
    });
    list(phrases.collect())
}

fn reading(quantity: &str, value: f64, unit: Option<&str>) -> String {
    let suffix = UNITS.iter().find(|(suffix, _)| quantity.ends_with(suffix));
    let name = suffix.and_then(|(suffix, _)| quantity.strip_suffix(suffix)).unwrap_or(quantity);
    let unit = unit.filter(|unit| !unit.is_empty()).or(suffix.map(|(_, unit)| *unit));
    let name = spaced(&clean(name));
    match unit {
        Some(unit) if SPEAKING_UNITS.contains(&unit) => format!("{} {unit}", decimal(value)),
        Some(unit) => format!("{name} {} {}", decimal(value), clean(unit)),
        None if OPENINGS.contains(&quantity) => {
            format!("{name} {}", if value > 0.0 { "open" } else { "closed" })
        }
        None => format!("{name} {}", decimal(value)),
    }
}

fn list(mut phrases: Vec<String>) -> Option<String> {
    let more = phrases.len().saturating_sub(MAX_READINGS);
    phrases.truncate(MAX_READINGS);
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
    list(phrases)
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
            (3.25, "3.25 s"),
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
        assert_eq!(say("battery_pct", 87.0, Some("%")), "battery 87 %");
        assert_eq!(say("door", 1.0, Some("")), "door open");
        assert_eq!(say("movement_count", 7.0, None), "movement count 7");
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

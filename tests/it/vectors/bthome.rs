//! The vectors of bthome-ble: service data, and what its Home Assistant parser makes of it.

use serde_json::{Value, json};

use super::{Outcome, answer, is_frameless, same, service_data};

/// Cases whose key is not that of their payloads; the last of them is about something else, and its tag
/// is another one with that key.
const NOT_ITS_KEY: [&str; 3] = ["_wrong", "_can_be_unset", "_downgrade_detected_flag_v2"];

/// Where a case of version 1 tells no address: that of bthome.io's example.
const ADDRESS: &str = "54:48:E6:8F:80:A5";

/// Checks one case.
pub(super) fn check(case: &Value) -> Outcome {
    let payloads = payloads(case);
    let service = if case["service_uuid"] == "fcd2" { "fcd2" } else { "181c" };
    // Encrypted data of version 1 begins with its first ciphertext, which all of them share.
    let of_version_1 = |payload: &str| service == "181c" && payload.starts_with("fba435");
    let of_version_2 = |payload: &str| service == "fcd2" && is_encrypted(payload);
    let encrypted: Vec<_> =
        payloads.iter().filter(|payload| of_version_1(payload) || of_version_2(payload)).collect();
    if !encrypted.is_empty() {
        let service = if service == "181c" { "181e" } else { service };
        let answers: Vec<_> =
            encrypted.iter().map(|payload| with_key(case, service, payload)).collect();
        return check_encrypted(case, &answers).map_or_else(Outcome::Failed, |()| Outcome::Passed);
    }
    if !case["bindkey"].is_null() {
        return plain_with_key(case, service);
    }
    let answers: Vec<Value> =
        payloads.iter().map(|payload| service_data(service, payload)).collect();
    let expected = expected(case);
    if expected.is_empty() {
        return check_by_name(case["test"].as_str().unwrap_or_default(), &answers);
    }
    let checked = expected
        .iter()
        .try_for_each(|(key, value)| check_value(case, key, value, &answers))
        .and_then(|()| check_nothing_else(expected.len(), &answers));
    checked.map_or_else(Outcome::Failed, |()| Outcome::Passed)
}

/// What is expected of a case. The signal strength is the radio's word, not the payload's.
fn expected(case: &Value) -> Vec<(&String, &Value)> {
    let expected = case["expected"].as_object().expect("expectations are an object");
    expected.iter().filter(|(key, _)| !key.ends_with("|Signal Strength")).collect()
}

/// The answer to a payload with the key and the address of its case.
fn with_key(case: &Value, service: &str, payload: &str) -> Value {
    let mut line = json!({ "service_data": { service: payload } });
    line["address"] = case["address"].as_str().unwrap_or(ADDRESS).into();
    if let Some(key) = case["bindkey"].as_str() {
        line["key"] = key.into();
    }
    answer(&line)
}

/// What becomes of encrypted payloads: the name of a case says whether its key is the right one.
fn check_encrypted(case: &Value, answers: &[Value]) -> Result<(), String> {
    let name = case["test"].as_str().unwrap_or_default();
    let why = match case["bindkey"].as_str().map(str::len) {
        None => Some("no key"),
        Some(32) if NOT_ITS_KEY.iter().any(|end| name.ends_with(end)) => {
            Some("the key does not fit")
        }
        Some(32) if name.contains("_too_short_") => Some("the frame is cut off"),
        Some(32) => None,
        Some(_) => {
            let told = answers.iter().all(|answer| answer["malformed"].is_string());
            return if told { Ok(()) } else { Err(format!("a key of that length: {answers:?}")) };
        }
    };
    for answer in answers {
        let right = match why {
            Some(why) => {
                answer["encrypted"] == true && answer["why"] == why && answer["readings"].is_null()
            }
            None => answer["sealed"] == true && answer["readings"].is_array(),
        };
        if !right {
            return Err(format!("came out as {answer}"));
        }
    }
    // What they keep of the counter of the first payload, by which they tell a replay.
    let asserts = case["asserts"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut counters = asserts.filter_map(|assert| assert.split_once("encryption_counter == "));
    if let (Some((_, counter)), Some(answer)) = (counters.next(), answers.first()) {
        let told = answer["freshness"].to_string();
        if told != counter {
            return Err(format!("counter {told} where {counter} is expected"));
        }
    }
    expected(case).iter().try_for_each(|(key, value)| check_value(case, key, value, answers))
}

fn payloads(case: &Value) -> Vec<&str> {
    let payloads = case["service_data_hex"].as_array().expect("payloads are a list");
    payloads.iter().map(|payload| payload.as_str().expect("a payload is hex")).collect()
}

/// Version 2 (bits 5 to 7) with the encryption flag (bit 0).
fn is_encrypted(payload: &str) -> bool {
    let info = u8::from_str_radix(&payload[..2], 16).expect("a payload is hex");
    info >> 5 == 2 && info & 1 == 1
}

/// Plain payloads of a sensor whose key is known: they are read, and not said to be sealed. Whether they
/// count is the receiver's policy.
fn plain_with_key(case: &Value, service: &str) -> Outcome {
    for payload in payloads(case) {
        let answer = with_key(case, service, payload);
        if !answer["readings"].is_array() || !answer["sealed"].is_null() {
            return Outcome::Failed(format!("{payload} came out as {answer}"));
        }
    }
    Outcome::NotCovered("BTHome, plain where a key is known (a receiver's policy)")
}

/// Cases whose expectation is not a value; each says in words here what it is.
fn check_by_name(name: &str, answers: &[Value]) -> Outcome {
    let [answer] = answers else { return Outcome::Failed("one payload was expected".to_owned()) };
    let no_reading = answer["readings"].as_array().is_some_and(Vec::is_empty);
    let right = match name {
        "test_encryption_no_key_needed" => answer["readings"][0]["value"] == 100_883,
        "test_sleepy_device" => answer["trigger_based"] == true,
        "test_no_sleepy_device" => answer["trigger_based"] == false,
        "test_has_incorrect_version" | "test_incorrect_bthome_version" => {
            answer["unknown"] == true && is_frameless(answer)
        }
        "test_bthome_wrong_object_id" | "test_bthome_invalid_button_event" => no_reading,
        "test_bthome_text_invalid" => no_reading && answer["text"].is_null(),
        "test_bthome_not_sending_object_ids_in_numerical_order" => {
            answer["readings"][0]["value"] == 50.55 && answer["readings"][1]["value"] == 25.06
        }
        "test_bthome_invalid_object_payload_data_length" => answer["malformed"].is_string(),
        _ => return Outcome::NotCovered("expects no value, and these tests have never met it"),
    };
    if right { Outcome::Passed } else { Outcome::Failed(format!("came out as {answer}")) }
}

/// Checks one expected value. A case of several payloads is a device that changes its mind; some
/// expect what a receiver with a memory keeps, so a value may come from any of them.
fn check_value(case: &Value, key: &str, value: &Value, answers: &[Value]) -> Result<(), String> {
    let (id, name) = key.split_once('|').ok_or("a key names its value")?;
    let (name, instance) = match name.rsplit_once(' ') {
        Some((name, number)) if number.parse::<usize>().is_ok() => {
            (name, number.parse::<usize>().unwrap_or_default() - 1)
        }
        _ => (name, 0),
    };
    let told = answers.iter().any(|answer| match name {
        "Packet Id" => ["packet_id", "counter"]
            .iter()
            .any(|name| value.as_str() == Some(&answer[*name].to_string())),
        "Text" => {
            answer["text"][0].as_str().map(|text| format!("'{text}'")).as_deref() == value.as_str()
        }
        "Raw" => {
            answer["raw"][0].as_str().map(|raw| format!("'{raw}'")).as_deref() == value.as_str()
        }
        _ => is_read(case, id, name, instance, value, answer),
    });
    if told { Ok(()) } else { Err(format!("{key} is not {value} in {answers:?}")) }
}

fn is_read(
    case: &Value,
    id: &str,
    name: &str,
    instance: usize,
    value: &Value,
    answer: &Value,
) -> bool {
    let (quantity, per_unit) = quantity(case, id, name);
    let readings = answer["readings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(reading) = readings.iter().find(|reading| {
        reading["quantity"] == quantity
            && reading["instance"].as_u64().unwrap_or(0) == instance as u64
    }) else {
        return false;
    };
    let Some(number) = reading["value"].as_f64() else { return false };
    match value {
        Value::Array(event) => is_event(event, reading, number),
        Value::String(text) => match text.as_str() {
            "True" => same(number, 1.0),
            "False" => same(number, 0.0),
            text if text.starts_with("datetime(") => same(number, unix_time(text)),
            text => text.parse().is_ok_and(|expected| same(number * per_unit, expected)),
        },
        _ => false,
    }
}

/// `["'long_press'", "None"]` or `["'rotate_left'", "{'steps': 3}"]`.
fn is_event(event: &[Value], reading: &Value, number: f64) -> bool {
    let [kind, details] = event else { return false };
    let named =
        kind.as_str() == Some(&format!("'{}'", reading["event"].as_str().unwrap_or_default()));
    let steps = match details.as_str() {
        Some("None") => true,
        details => details == Some(&format!("{{'steps': {}}}", number.abs())),
    };
    named && steps
}

/// `datetime(2023, 5, 14, 19, 41, 17, tzinfo=timezone.utc)` in seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "a time stamp is far below 2^53")]
fn unix_time(text: &str) -> f64 {
    let numbers: Vec<i16> = text
        .trim_start_matches("datetime(")
        .split(", ")
        .map_while(|number| number.parse().ok())
        .collect();
    let [year, month, day, hour, minute, second] = numbers[..] else { return f64::NAN };
    let small = |number: i16| i8::try_from(number).expect("a part of a date is small");
    let time = jiff::civil::DateTime::new(
        year,
        small(month),
        small(day),
        small(hour),
        small(minute),
        small(second),
        0,
    );
    let utc = time.and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC));
    utc.map_or(f64::NAN, |zoned| zoned.timestamp().as_second() as f64)
}

/// Our quantity for one of theirs, and how many of their units one of ours is.
fn quantity(case: &Value, id: &str, name: &str) -> (&'static str, f64) {
    let test = case["test"].as_str().unwrap_or_default();
    let binary = id.starts_with("KEY_BINARY_");
    match name {
        "Acceleration" => ("acceleration_m_s2", 1.0),
        "Battery" => ("battery_percent", 1.0),
        "Button" => ("button", 1.0),
        "Carbon Dioxide" => ("co2_ppm", 1.0),
        "Channel" => ("channel", 1.0),
        "Conductivity" => ("conductivity_us_cm", 1.0),
        "Count" => ("count", 1.0),
        "Current" => ("current_a", 1.0),
        "Dew Point" => ("dew_point_c", 1.0),
        "Dimmer" => ("dimmer_steps", 1.0),
        "Direction" => ("direction_deg", 1.0),
        "Distance" if test.contains("millimeters") => ("distance_m", 1000.0),
        "Distance" => ("distance_m", 1.0),
        "Duration" => ("duration_s", 1.0),
        "Energy" => ("energy_kwh", 1.0),
        "Gas" => ("gas_m3", 1.0),
        "Generic" => ("on", 1.0),
        "Gyroscope" => ("gyroscope_deg_s", 1.0),
        "Humidity" => ("humidity_percent", 1.0),
        "Illuminance" => ("illuminance_lx", 1.0),
        "Light" => ("light", 1.0),
        "Light Level" => ("light_level", 1.0),
        "Mass" if test.contains("pounds") => ("mass_kg", 1.0 / 0.453_592_37),
        "Mass" => ("mass_kg", 1.0),
        "Moisture" => ("moisture_percent", 1.0),
        "Motion" => ("motion", 1.0),
        "Opening" => ("open", 1.0),
        "Pm10" => ("pm10_ug_m3", 1.0),
        "Pm25" => ("pm2_5_ug_m3", 1.0),
        "Power" if binary => ("power_on", 1.0),
        "Power" => ("power_w", 1.0),
        "Precipitation" => ("precipitation_mm", 1.0),
        "Pressure" => ("pressure_pa", 0.01),
        "Rotation" => ("rotation_deg", 1.0),
        "Rotational Speed" => ("rotational_speed_rpm", 1.0),
        "Speed" => ("speed_m_s", 1.0),
        "Temperature" => ("temperature_c", 1.0),
        "Timestamp" => ("unix_time_s", 1.0),
        "Uv Index" => ("uv_index", 1.0),
        "Volatile Organic Compounds" => ("voc_ug_m3", 1.0),
        "Voltage" => ("voltage_v", 1.0),
        "Volume" if test.contains("milliliters") => ("volume_l", 1000.0),
        "Volume" => ("volume_l", 1.0),
        "Volume Flow Rate" => ("volume_flow_m3_h", 1.0),
        "Volume Storage" => ("volume_storage_l", 1.0),
        "Water" => ("water_l", 1.0),
        "Window" => ("window_open", 1.0),
        _ => ("no quantity of ours", 1.0),
    }
}

/// A single payload must hold as many values as are expected, and no more.
fn check_nothing_else(expected: usize, answers: &[Value]) -> Result<(), String> {
    let [answer] = answers else { return Ok(()) };
    let others =
        ["packet_id", "counter", "text", "raw"].iter().filter(|name| !answer[**name].is_null());
    let told = answer["readings"].as_array().map_or(0, Vec::len) + others.count();
    if told == expected {
        Ok(())
    } else {
        Err(format!("{told} values where {expected} are expected: {answer}"))
    }
}

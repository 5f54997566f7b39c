//! The vectors of advlib-ble-services and advlib-ble-manufacturers: a payload, and the properties
//! that their libraries make of it.

use serde_json::{Value, json};

use super::{Outcome, answer, is_frameless, same, service_data};

/// Standard gravity, in m/s².
const G: f64 = 9.806_65;

/// Checks one case; says its family, too.
pub(super) fn check(case: &Value) -> (&'static str, Outcome) {
    let function = case["fn"].as_str().expect("a case names its function");
    let args: Vec<&str> = case["args"]
        .as_array()
        .expect("a case has arguments")
        .iter()
        .map(|arg| arg.as_str().unwrap_or_default())
        .collect();
    let payload = args.first().copied().unwrap_or_default();
    let not_covered = |reason| ("", Outcome::NotCovered(reason));
    match function.split_once(".js").map_or(function, |(module, _)| module) {
        "bthome" if is_encrypted_bthome(payload) => {
            ("", encrypted(&service_data("fcd2", payload), "bthome", "BTHome v2, encrypted"))
        }
        "bthome" => ("bthome", compare(case, &service_data("fcd2", payload))),
        "eddystone" if payload.starts_with("2001") => (
            "",
            encrypted(&service_data("feaa", payload), "eddystone_tlm", "Eddystone-TLM, encrypted"),
        ),
        "eddystone" if payload.starts_with('4') => {
            ("", unknown(&service_data("feaa", payload), "Find Hub (Eddystone's UUID)"))
        }
        "eddystone" => ("eddystone", compare(case, &service_data("feaa", payload))),
        "advlibbleservices" => {
            let line = match args[..] {
                [] => json!({ "service_data": {} }),
                [service] => json!({ "service_data": { service: "" } }),
                [service, payload, ..] => json!({ "service_data": { service: payload } }),
            };
            ("eddystone", compare(case, &answer(&line)))
        }
        "advlibblemanufacturers" => {
            let company = case["args"][0].as_u64().map(|company| format!("{company:04x}"));
            let line = match (company, args[..].get(1)) {
                (None, _) => json!({ "manufacturer_data": {} }),
                (Some(company), payload) => {
                    json!({ "manufacturer_data": { company: payload.copied().unwrap_or_default() } })
                }
            };
            ("ibeacon", compare(case, &answer(&line)))
        }
        "apple" => ("ibeacon", compare(case, &manufacturer_data("004c", payload))),
        "ruuvi" => ("ruuvi", compare(case, &manufacturer_data("0499", payload))),
        "exposurenotification" => {
            ("", unknown(&service_data("fd6f", payload), "Exposure Notification, never processed"))
        }
        "gatt" => match args[..] {
            [_, "2a37" | "2a67" | "2aa2"] => {
                not_covered("GATT: heart rate, location and language, which are a person's")
            }
            [payload, uuid] => ("gatt", compare(case, &service_data(uuid, payload))),
            _ => ("gatt", compare(case, &service_data("2a6e", payload))),
        },
        "hewlettpackardenterprise" => {
            not_covered("Hewlett Packard Enterprise, where an access point is")
        }
        "minew" if payload.starts_with("a119") => {
            not_covered("Minew, photoresistance, a number of no unit")
        }
        "minew" if case["file"].as_str().is_some_and(|file| file.contains("services")) => {
            ("minew", compare(case, &service_data("ffe1", payload)))
        }
        "minew" => ("minew", compare(case, &manufacturer_data("0639", payload))),
        "wiliot" => not_covered("Wiliot, sealed for their cloud"),
        "codebluecommunications" => not_covered("Code Blue Communications, who is near whom"),
        "efento" => ("efento", compare(case, &manufacturer_data("026c", payload))),
        "elainnovation" if payload.starts_with("06") => not_covered("ELA Innovation, identifiers"),
        "elainnovation" => ("ela", compare(case, &manufacturer_data("0757", payload))),
        "enocean" => ("enocean", compare(case, &manufacturer_data("03da", payload))),
        "lairdconnectivity" if payload.starts_with("81ff") => {
            not_covered("Laird Connectivity, contact tracing of people")
        }
        "lairdconnectivity" => ("laird", compare(case, &manufacturer_data("0077", payload))),
        "mokotechnology" => ("moko", compare(case, &manufacturer_data("0a62", payload))),
        "nordicsemiconductor" => ("moko", compare(case, &manufacturer_data("0059", payload))),
        "pur3ltd" => not_covered("Pur3, a name"),
        "smartsensordevices" => ("hibouair", compare(case, &manufacturer_data("075b", payload))),
        _ => not_covered("a family that these tests have never met"),
    }
}

fn manufacturer_data(company: &str, hex: &str) -> Value {
    answer(&json!({ "manufacturer_data": { company: hex } }))
}

/// Version 2 (bits 5 to 7) with the encryption flag (bit 0).
fn is_encrypted_bthome(payload: &str) -> bool {
    let info = payload.get(..2).and_then(|octet| u8::from_str_radix(octet, 16).ok());
    info.is_some_and(|info| info >> 5 == 2 && info & 1 == 1)
}

fn encrypted(answer: &Value, family: &str, reason: &'static str) -> Outcome {
    let told = answer["family"] == family && answer["encrypted"] == true;
    if told && answer["readings"].is_null() && answer["why"].is_string() {
        Outcome::NotCovered(reason)
    } else {
        Outcome::Failed(format!("an encrypted frame came out as {answer}"))
    }
}

fn unknown(answer: &Value, reason: &'static str) -> Outcome {
    if *answer == json!({ "unknown": true }) {
        Outcome::NotCovered(reason)
    } else {
        Outcome::Failed(format!("a frame that is not ours came out as {answer}"))
    }
}

/// Checks every property that is expected.
fn compare(case: &Value, answer: &Value) -> Outcome {
    let Some(expected) = case["expected"].as_object() else {
        let why = format!("no frame was expected, and it came out as {answer}");
        return if is_frameless(answer) { Outcome::Passed } else { Outcome::Failed(why) };
    };
    if !answer["readings"].is_array() {
        return Outcome::Failed(format!("no frame: {answer}"));
    }
    for (name, value) in expected {
        if !is_told(case, name, value, answer) {
            return Outcome::Failed(format!("{name} is not {value} in {answer}"));
        }
    }
    Outcome::Passed
}

/// The values of the quantities, in the order of the readings.
fn values(answer: &Value, quantities: &[&str]) -> Vec<f64> {
    let readings = answer["readings"].as_array().map(Vec::as_slice).unwrap_or_default();
    readings
        .iter()
        .filter(|reading| reading["quantity"].as_str().is_some_and(|q| quantities.contains(&q)))
        .filter_map(|reading| reading["value"].as_f64())
        .collect()
}

/// The value of one instance of a quantity.
fn instance(answer: &Value, quantity: &str, instance: usize) -> Option<f64> {
    let readings = answer["readings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let reading = readings.iter().find(|reading| {
        reading["quantity"] == quantity
            && reading["instance"].as_u64().unwrap_or_default() == instance as u64
    })?;
    reading["value"].as_f64()
}

#[expect(clippy::too_many_lines, reason = "one line a property")]
fn is_told(case: &Value, name: &str, value: &Value, answer: &Value) -> bool {
    let one = |quantity: &str, factor: f64| {
        let values = values(answer, &[quantity]);
        matches!((&values[..], value.as_f64()), (&[ours], Some(theirs)) if same(ours * factor, theirs))
    };
    let list = |quantities: &[&str], factor: f64| {
        let ours = values(answer, quantities);
        let theirs: Vec<_> =
            value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours * factor, theirs))
    };
    // A list with a place for each instance, empty where nothing was told.
    let by_instance = |quantity: &str, factor: f64| {
        value.as_array().is_some_and(|theirs| {
            theirs.iter().enumerate().all(|(n, theirs)| {
                match (instance(answer, quantity, n), theirs.as_f64()) {
                    (Some(ours), Some(theirs)) => same(ours * factor, theirs),
                    (ours, theirs) => ours.is_none() && theirs.is_none(),
                }
            })
        })
    };
    let switches = |quantities: &[&str], on_means: bool| {
        let ours = values(answer, quantities).into_iter();
        let ours: Vec<_> = ours.map(|value| (value > 0.0) == on_means).collect();
        *value == json!(ours)
    };
    let family = answer["family"].as_str().unwrap_or_default();
    match name {
        "acceleration" if family != "bthome" => {
            list(&["acceleration_x_m_s2", "acceleration_y_m_s2", "acceleration_z_m_s2"], 1.0 / G)
        }
        // Object 0x63 is in m/s² (bthome.io); they forget to make g of it, as they do of 0x51.
        "acceleration" if case["args"][0].as_str().is_some_and(|p| p.starts_with("4063")) => {
            list(&["acceleration_m_s2"], 1.0)
        }
        "acceleration" => list(&["acceleration_m_s2"], 1.0 / G),
        "ammoniaConcentration" => one("ammonia_ug_m3", 1e-6),
        "amperages" => by_instance("current_a", 1.0),
        "amperage" => one("current_a", 1.0),
        "angleOfRotation" => one("rotation_deg", 1.0),
        "angularVelocity" => {
            list(&["gyroscope_deg_s"], 1.0)
                || one("gyroscope_deg_s", 1.0)
                || one("rotational_speed_rpm", 360.0 / 60.0)
        }
        "batteryPercentage" if family == "efento" => values(answer, &["battery_low"]) == [0.0],
        "batteryPercentage" => one("battery_percent", 1.0),
        "batteryVoltage" => one("battery_v", 1.0),
        "carbonDioxideConcentration" => one("co2_ppm", 1.0),
        "carbonMonoxideConcentration" => one("carbon_monoxide_ug_m3", 1e-6),
        "count" => one("count", 1.0),
        "deviceIds" => *value == json!(device_ids(family, answer, value)),
        "deviceType" => value.as_str() == Some(&answer["device_type"].to_string()),
        "distance" => one("distance_m", 1.0),
        "duration" => one("duration_s", 1000.0),
        "elevation" => one("elevation_m", 1.0),
        "energy" => one("energy_kwh", 1.0),
        "firmwareVersion" => *value == answer["firmware"],
        "heading" => one("direction_deg", 1.0),
        // Of two sensors they tell the last.
        "illuminance" => values(answer, &["illuminance_lx"])
            .last()
            .zip(value.as_f64())
            .is_some_and(|(ours, theirs)| same(*ours, theirs)),
        "isButtonPressed" if family == "bthome" => switches(&["button"], true),
        "isButtonPressed" => value.as_array().is_some_and(|buttons| {
            let pressed = |n| instance(answer, "button", n).is_some();
            buttons.iter().enumerate().all(|(n, button)| pressed(n) == (*button == true))
        }),
        "isCarbonMonoxideDetected" => switches(&["carbon_monoxide"], true),
        "isContactDetected" => {
            switches(&["open", "door_open", "garage_door_open", "window_open"], false)
                || switches(&["magnet", "on"], true)
                || switches(&["tamper"], false)
        }
        "isGasDetected" => switches(&["gas"], true),
        "isBatteryLow" => json!([value]) == json!([values(answer, &["battery_low"]) == [1.0]]),
        "isHealthy" => json!([value]) == json!([values(answer, &["problem"]) == [0.0]]),
        "isLightDetected" => switches(&["light"], true),
        "isLiquidDetected" => switches(&["leak"], true),
        "isMotionDetected" => switches(&["motion", "moving", "vibration"], true),
        "isOccupancyDetected" => switches(&["occupancy", "presence"], true),
        "isSmokeDetected" => switches(&["smoke"], true),
        "isTamperDetected" => switches(&["tamper"], true),
        "levelPercentage" => one("level_percent", 1.0),
        "magneticField" => {
            list(&["magnetic_field_x_ut", "magnetic_field_y_ut", "magnetic_field_z_ut"], 0.01)
        }
        "methaneConcentration" => one("methane_ppm", 1.0),
        "nitrogenDioxideConcentration" => one("nitrogen_dioxide_ug_m3", 1e-6),
        "numberOfOccupants" => one("people_count", 1.0),
        "passageCounts" => list(&["people_in_count", "people_out_count"], 1.0),
        "nitrogenOxideIndex" => one("nox_index", 1.0),
        "pm1.0" => one("pm1_ug_m3", 1.0),
        "pm10" => one("pm10_ug_m3", 1.0),
        "pm2.5" => one("pm2_5_ug_m3", 1.0),
        "power" => one("power_w", 1.0),
        "pressure" => one("pressure_pa", 1.0),
        "pressures" => by_instance("pressure_pa", 1.0),
        "raw" => json!([value]) == answer["raw"],
        "relativeHumidity" => one("humidity_percent", 1.0),
        "soundPressure" => one("sound_level_db", 1.0),
        "speed" => one("speed_m_s", 1.0),
        "temperature" => one("temperature_c", 1.0),
        "temperatures" => list(&["temperature_c"], 1.0) || by_instance("temperature_c", 1.0),
        "text" => json!([value]) == answer["text"],
        "txCount" | "recordNumber" if !answer["counter"].is_null() => *value == answer["counter"],
        "txCount" => one("measurement_count", 1.0) || one("advertisement_count", 1.0),
        "txCycle" => *value == answer["packet_id"],
        "txPower" if ["ruuvi", "gatt", "minew"].contains(&family) => one("tx_power_dbm", 1.0),
        "txPower" if family == "ibeacon" => *value == answer["measured_power"],
        "txPower" => *value == answer["tx_power"],
        "uptime" => one("uptime_s", 1000.0),
        "uri" if family == "eddystone_url" => *value == answer["url"],
        // A link into their encyclopedia of products.
        "uri" => value.as_str().is_some_and(|uri| uri.starts_with("https://sniffypedia.org/")),
        "volatileOrganicCompoundsConcentration" => is_voc(value, answer),
        "voltage" => one("voltage_v", 1.0),
        "voltages" => by_instance("voltage_v", 1.0),
        // What a device is, and what nobody measured.
        "boardId"
        | "distanceCycle"
        | "flags"
        | "isMarked"
        | "measurementPeriodSeconds"
        | "name"
        | "networkId"
        | "numberOfOccupantsCycle"
        | "occupancyDetectionCycle"
        | "passageCountsCycle"
        | "securitySignature"
        | "tamperCycle"
        | "timestamp"
        | "version" => true,
        _ => false,
    }
}

/// Their identifiers, of our fields.
fn device_ids(family: &str, answer: &Value, theirs: &Value) -> Vec<String> {
    let field = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| answer[name].as_u64().unwrap_or_default();
    match family {
        "eddystone_uid" => vec![format!("{}/{}", field("namespace"), field("instance"))],
        // The number after the slash is their kind of identifier.
        "eddystone_eid" => vec![format!("{}/0", field("eid"))],
        "ibeacon" => {
            let uuid = field("uuid").replace('-', "");
            vec![format!("{uuid}/{:04x}/{:04x}", number("major"), number("minor"))]
        }
        // The address that a sensor repeats in its payload: it must not be told.
        _ => theirs
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|id| {
                let address = id.split('/').next().unwrap_or_default();
                !answer.to_string().to_lowercase().contains(address)
            })
            .map(str::to_owned)
            .collect(),
    }
}

/// They make a concentration of what a sensor tells, each time by a rule of thumb.
fn is_voc(theirs: &Value, answer: &Value) -> bool {
    let Some(theirs) = theirs.as_f64() else { return false };
    if let [ppb] = values(answer, &["voc_ppb"])[..] {
        return same(ppb / 1000.0, theirs);
    }
    match (&values(answer, &["voc_ug_m3"])[..], &values(answer, &["voc_index"])[..]) {
        // Parts per billion, from µg/m³.
        (&[mass], []) => same((mass / 4.5).round(), theirs),
        // Parts per million of ethanol, from an index.
        ([], &[index]) => same(((501.0 - index).ln() - 6.24) * -0.221_542_6, theirs),
        _ => false,
    }
}

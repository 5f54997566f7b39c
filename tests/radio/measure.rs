//! The rounds that measure: they print the tables of `docs/radio.md`, and check what the tables are
//! to show.

pub(crate) mod day;
pub(crate) mod flood;
pub(crate) mod memory;
pub(crate) mod ramp;
pub(crate) mod share;

use serde_json::Value;

use crate::stand::Stand;

/// What the scan room has counted, by the daemon's own names: `rebuilds 3, dropped 0`.
fn metrics_of_scan(stand: &Stand) -> String {
    let metrics = stand.broker.latest("/metrics").unwrap_or_default();
    let mut told = Vec::new();
    numbers("", metrics.get("scan").unwrap_or(&Value::Null), &mut told);
    told.join(", ")
}

fn numbers(name: &str, value: &Value, told: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                numbers(&format!("{name} {field}"), value, told);
            }
        }
        Value::Array(items) => {
            for item in items {
                numbers(name, item, told);
            }
        }
        Value::Number(number) => told.push(format!("{} {number}", name.trim_start())),
        _ => {}
    }
}

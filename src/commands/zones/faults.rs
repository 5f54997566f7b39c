//! `zones evaluate --faults`: what faults of receivers cost, as a table or as JSON.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{numbers, round};
use crate::evaluate::{Cost, write_faults};

/// For people, if it was asked for. `name` says what a receiver is called by its place on the plan.
pub(super) fn write(
    out: &mut impl Write,
    costs: Option<&[Cost]>,
    name: impl Fn(usize) -> String,
) -> io::Result<()> {
    let Some(costs) = costs else { return Ok(()) };
    let behind = if costs.iter().any(|cost| cost.worst.is_some()) {
        "each in turn, and behind it the one whose fault costs most"
    } else {
        "another with each seed"
    };
    writeln!(out, "\nOne receiver at a time, {behind}:\n")?;
    write_faults(out, costs, name)
}

/// For scripts.
pub(super) fn document(costs: &[Cost], name: impl Fn(usize) -> String) -> Value {
    let costs = costs.iter().map(|Cost { fault, all, worst }| {
        let worst =
            worst.map(|(place, right)| json!({ "receiver": name(place), "right": round(right) }));
        json!({ "receiver_that": fault.name(), "all": numbers(all), "worst": worst })
    });
    costs.collect()
}

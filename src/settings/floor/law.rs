//! How signals fall with distance, in the shop (`[floor]`) and for one receiver (`[[receiver]]`).

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Invalid, single};
use crate::engine::place::PathLoss;

/// `[floor]`: the law of distance as it was measured in this shop. `zones calibrate` measures it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FloorSection {
    /// How fast signals fall with distance, 1 to 6.
    pub exponent: Option<f64>,
    /// Signal strength one metre from a tag that a person carries, in dBm, -100 to -20.
    pub reference_dbm: Option<f64>,
    /// Spread of readings about the law, in dB, 1 to 15.
    pub spread_db: Option<f64>,
}

/// 2 in the open, 1.6 along aisles, up to 6 through floors (Rappaport, table 4.2).
const EXPONENTS: RangeInclusive<f64> = 1.0..=6.0;
const REFERENCES: RangeInclusive<f64> = -100.0..=-20.0;
const SPREADS: RangeInclusive<f64> = 1.0..=15.0;

/// Checks what was measured; `section` is what stands before each key.
pub(super) fn build(
    section: &str,
    exponent: Option<f64>,
    reference_dbm: Option<f64>,
    spread_db: Option<f64>,
) -> Result<PathLoss, Invalid> {
    let within = |key: &str, value: Option<f64>, range: RangeInclusive<f64>, allowed: &str| {
        let wrong = value.filter(|value| !range.contains(value));
        wrong.map_or(Ok(value.map(single)), |wrong| {
            Err(Invalid::new(&format!("{section}.{key}"), wrong.to_string(), allowed))
        })
    };
    Ok(PathLoss {
        exponent: within("exponent", exponent, EXPONENTS, "allowed are 1 to 6")?,
        reference_dbm: within(
            "reference_dbm",
            reference_dbm,
            REFERENCES,
            "allowed are -100 to -20 dBm, one metre from a tag",
        )?,
        spread_db: within("spread_db", spread_db, SPREADS, "allowed are 1 to 15 dB")?,
    })
}

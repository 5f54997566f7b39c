//! When readings are worth an event: by how far they have changed, and how long nothing was said.

use super::{
    super::{
        ReportPolicy, Uptime,
        frame::{Kind, Quantity},
    },
    Readings,
};

/// What was last said about one fixture outside.
#[derive(Debug)]
pub(super) struct Reported {
    at: Uptime,
    values: Readings,
}

impl Reported {
    pub(super) fn new(at: Uptime, values: Readings) -> Self {
        Self { at, values }
    }

    /// Whether readings are worth an event; if so they are what was last said.
    pub(super) fn take(&mut self, now: Uptime, policy: &ReportPolicy, readings: &Readings) -> bool {
        let due = self.is_due(now, policy, readings);
        if due {
            self.at = now;
            self.values.extend(readings.iter().map(|(&key, &value)| (key, value)));
        }
        due
    }

    fn is_due(&self, now: Uptime, policy: &ReportPolicy, readings: &Readings) -> bool {
        let age = now.since(self.at);
        if age >= policy.at_least_every {
            return true;
        }
        let changed = |(key, value): (&(Quantity, u8), &f64)| match self.values.get(key) {
            Some(before) => {
                let change = policy.change.get(&key.0).copied();
                // A tolerance, so that a step of exactly the threshold counts in binary, too; a
                // threshold of nothing still wants a change.
                let threshold = change.unwrap_or_else(|| default_change(key.0)) * (1.0 - 1e-9);
                threshold.max(f64::MIN_POSITIVE) <= (value - before).abs()
            }
            None => true,
        };
        // A switch is a moment; it does not wait.
        let switched = readings.iter().filter(|(key, _)| key.0.kind() == Kind::Switch).any(changed);
        switched || (age >= policy.at_most_every && readings.iter().any(changed))
    }
}

/// Quantities that change with every advertisement.
const COUNTS_BY_ITSELF: [Quantity; 4] = [
    Quantity::AdvertisementCount,
    Quantity::MeasurementCount,
    Quantity::UptimeS,
    Quantity::UnixTimeS,
];

/// The smallest change that is worth an event where the operator names none: about what a person
/// in the shop would notice, and above the noise of common sensors. In the quantity's own unit.
fn default_change(quantity: Quantity) -> f64 {
    match (quantity.kind(), quantity.unit()) {
        // What counts by itself tells only that the sensor lives.
        _ if COUNTS_BY_ITSELF.contains(&quantity) => f64::INFINITY,
        (Kind::Measurement, "°C") => 0.2,
        (Kind::Measurement, "%" | "dB" | "dBA" | "m/s²") => 1.0,
        (Kind::Measurement, "Pa") => 50.0,
        (Kind::Measurement, "V") => 0.05,
        (Kind::Measurement, "ppm") => 25.0,
        (Kind::Measurement, "lx") => 20.0,
        (Kind::Measurement, "µg/m³") => 2.0,
        // Anything else: whatever differs, as often as the policy allows.
        _ => 0.0,
    }
}

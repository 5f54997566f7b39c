//! What the shop's own sensors last said, and when that is worth an event.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    Fixture, FixtureIndex, ReportPolicy, Uptime, ZoneId,
    frame::{Quantity, Reading},
};

/// Readings, by what they measure.
pub type Readings = BTreeMap<(Quantity, u8), f64>;

/// What a zone's sensors last said: the value and when it was heard.
type ZoneReadings = BTreeMap<Quantity, (f64, Uptime)>;

/// A reading older than this says nothing about now.
const STALE: Duration = Duration::from_mins(30);

/// The latest readings of every fixture and every zone.
#[derive(Debug, Default)]
pub(super) struct Sensors {
    fixtures: HashMap<FixtureIndex, Reported>,
    zones: BTreeMap<ZoneId, ZoneReadings>,
}

/// What was last said about one fixture outside.
#[derive(Debug)]
struct Reported {
    at: Uptime,
    values: Readings,
}

impl Sensors {
    /// Takes in readings; gives them back when they are worth an event.
    pub(super) fn observe(
        &mut self,
        now: Uptime,
        index: FixtureIndex,
        fixture: &Fixture,
        readings: impl Iterator<Item = Reading>,
    ) -> Option<Readings> {
        let readings: Readings = readings
            .filter(|reading| reading.value.is_finite())
            .map(|reading| ((reading.quantity, reading.instance), reading.value))
            .collect();
        if readings.is_empty() {
            return None;
        }
        if let Some(zone) = &fixture.zone {
            let latest = self.zones.entry(zone.clone()).or_default();
            latest.extend(readings.iter().map(|(&(quantity, _), &value)| (quantity, (value, now))));
        }
        match self.fixtures.get_mut(&index) {
            Some(reported) if !reported.is_due(now, &fixture.report, &readings) => None,
            Some(reported) => {
                reported.at = now;
                reported.values.extend(readings.iter().map(|(&key, &value)| (key, value)));
                Some(readings)
            }
            None => {
                self.fixtures.insert(index, Reported { at: now, values: readings.clone() });
                Some(readings)
            }
        }
    }

    /// What the sensors of a zone last said, unless it is stale.
    pub(super) fn of_zone(
        &self,
        zone: &ZoneId,
        now: Uptime,
    ) -> impl Iterator<Item = (Quantity, f64, Duration)> {
        let readings = self.zones.get(zone).into_iter().flatten();
        readings
            .map(move |(&quantity, &(value, at))| (quantity, value, now.since(at)))
            .filter(|(.., age)| *age <= STALE)
    }
}

impl Reported {
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
                let threshold = change.unwrap_or_else(|| key.0.report_change()) * (1.0 - 1e-9);
                threshold.max(f64::MIN_POSITIVE) <= (value - before).abs()
            }
            None => true,
        };
        // A switch is a moment; it does not wait.
        let switched = readings.iter().filter(|(key, _)| key.0.is_switch()).any(changed);
        switched || (age >= policy.at_most_every && readings.iter().any(changed))
    }
}

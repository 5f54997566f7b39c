//! What the shop's own sensors last said, and when that is worth an event.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    Fixture, FixtureIndex, ReportPolicy, Uptime, ZoneId,
    frame::{Kind, Quantity, Reading},
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Identifier;

    fn fixture() -> Fixture {
        Fixture {
            id: "fridge".to_owned(),
            zone: Some(ZoneId::new("dairy")),
            hangs: None,
            identifier: Identifier::Address([0; 6]),
            canary: false,
            report: ReportPolicy::default(),
        }
    }

    /// Readings at seconds; which of them are worth an event?
    fn worth(readings: &[(u64, Quantity, f64)]) -> Vec<u64> {
        let (mut sensors, fixture) = (Sensors::default(), fixture());
        let index = crate::engine::identity::first_fixture();
        let told = |&(second, quantity, value): &(u64, Quantity, f64)| {
            let now = Uptime::ZERO + Duration::from_secs(second);
            let reading = Reading { quantity, value, instance: 0 };
            sensors.observe(now, index, &fixture, [reading].into_iter()).map(|_| second)
        };
        readings.iter().filter_map(told).collect()
    }

    #[test]
    fn a_measurement_is_told_when_it_moved_far_enough_and_not_too_often() {
        let t = Quantity::TemperatureC;
        let readings = [
            (0, t, 5.0),
            (5, t, 9.0),
            (15, t, 5.1),
            (20, t, 5.2),
            (25, t, 5.3),
            (31, t, 5.3),
            (40, t, 5.5),
        ];
        assert_eq!(worth(&readings), [0, 20, 40]);
    }

    #[test]
    fn an_unchanged_measurement_is_told_every_ten_minutes() {
        let readings: Vec<_> = (0..30).map(|n| (n * 60, Quantity::TemperatureC, 5.0)).collect();
        assert_eq!(worth(&readings), [0, 600, 1200]);
    }

    #[test]
    fn a_switch_does_not_wait() {
        let door = Quantity::DoorOpen;
        assert_eq!(
            worth(&[(0, door, 0.0), (1, door, 1.0), (2, door, 1.0), (3, door, 0.0)]),
            [0, 1, 3]
        );
    }

    #[test]
    fn what_counts_by_itself_is_no_news() {
        let readings: Vec<_> = (0..500_u32)
            .map(|n| (u64::from(n), Quantity::AdvertisementCount, f64::from(n)))
            .collect();
        assert_eq!(worth(&readings), [0]);
    }
}

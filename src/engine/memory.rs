//! What the engine knows of fixtures across a restart: what changed of that out, what an earlier run has written
//! down in.
//!
//! Promises that what is remembered of a fixture that is gone, or is another device now, is forgotten, and that
//! the alerts that stood about it are told to be over.

use super::{
    DeviceMark, Engine, Fixture, FixtureIndex, FixtureRecord, Registry, Remembered, StandingAlert,
    Uptime,
};

/// A change in what must be remembered of a fixture across a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct FixtureCheckpoint {
    /// The fixture, by its name in the configuration.
    pub fixture: String,
    /// What replaces what was remembered of the kind; `None` when all of it is forgotten.
    pub remembered: Option<Remembered>,
}

impl Engine {
    /// The next change to remember of a fixture. Of each there is at most one of a kind, however long nobody
    /// asks.
    #[must_use]
    pub fn poll_fixture(&mut self) -> Option<FixtureCheckpoint> {
        if let Some(fixture) = self.fixtures_gone.pop_first() {
            return Some(FixtureCheckpoint { fixture, remembered: None });
        }
        loop {
            let (index, is_battery) = self.sensors.next_to_write()?;
            let Some(fixture) = self.identity.registry().fixture(index) else { continue };
            let remembered = if is_battery {
                self.sensors.battery(index, fixture.mark()).map(Remembered::Battery)
            } else {
                self.sensors.state(self.now, (index, fixture)).map(Remembered::State)
            };
            if remembered.is_some() {
                return Some(FixtureCheckpoint { fixture: fixture.id.clone(), remembered });
            }
        }
    }

    /// Goes on with what an earlier run has written down of fixtures, in uptimes of this one. That nobody
    /// listened meanwhile is no silence of theirs.
    pub fn handle_remembered(&mut self, now: Uptime, remembered: Vec<(String, Remembered)>) {
        if remembered.is_empty() {
            return;
        }
        let now = self.advance(now);
        let (mut states, mut batteries) = (Vec::new(), Vec::new());
        for (id, remembered) in remembered {
            match remembered {
                Remembered::State(record) => states.push((id, record)),
                Remembered::Battery(record) => batteries.push((id, record)),
            }
        }
        for (id, record) in states {
            self.recall(now, &id, record);
        }
        for (id, record) in batteries {
            match same_device(self.identity.registry(), &id, record.device) {
                Some((index, _)) => self.sensors.recall_battery(index, record),
                None => drop(self.fixtures_gone.insert(id)),
            }
        }
    }

    /// Goes on with what another gateway knows of fixtures; of those that are not the same device here nothing is
    /// made. Whoever follows this one is to know all of it.
    pub(super) fn adopt_fixtures(&mut self, now: Uptime, fixtures: Vec<(String, Remembered)>) {
        let is_here = |(id, remembered): &(String, Remembered)| {
            let device = match remembered {
                Remembered::State(record) => record.device,
                Remembered::Battery(record) => record.device,
            };
            same_device(self.identity.registry(), id, device).is_some()
        };
        let here = fixtures.into_iter().filter(is_here).collect();
        self.handle_remembered(now, here);
        self.sensors.write_all();
    }

    /// The alerts that stand, by fixture.
    pub fn standing_alerts(&self) -> impl Iterator<Item = (&str, Vec<StandingAlert>)> {
        self.identity.registry().fixtures_by_index().filter_map(|(index, fixture)| {
            let alerts = self.sensors.standing(index, fixture);
            (!alerts.is_empty()).then_some((fixture.id.as_str(), alerts))
        })
    }

    /// Everything that there is to remember of fixtures.
    pub(super) fn remember_fixtures(&mut self) -> Vec<(String, Remembered)> {
        let mut all = Vec::new();
        for (index, fixture) in self.identity.registry().fixtures_by_index() {
            let state = self.sensors.state(self.now, (index, fixture)).map(Remembered::State);
            let battery = self.sensors.battery(index, fixture.mark()).map(Remembered::Battery);
            let both = state.into_iter().chain(battery);
            all.extend(both.map(|remembered| (fixture.id.clone(), remembered)));
        }
        all
    }

    fn recall(&mut self, now: Uptime, id: &str, record: FixtureRecord) {
        let registry = self.identity.registry();
        let zone = registry.fixture_named(id).and_then(|(_, fixture)| fixture.zone.clone());
        let over = if let Some(same) = same_device(registry, id, record.device) {
            let over = self.sensors.recall(now, same, record);
            if !over.is_empty() {
                self.sensors.turned(same.0);
            }
            over
        } else {
            self.fixtures_gone.insert(id.to_owned());
            record.alerts
        };
        for alert in over {
            self.situations.said(now, id.to_owned(), zone.clone(), alert.ended(now));
        }
    }
}

/// The fixture of that name, if it is the device of which something is remembered.
fn same_device<'a>(
    registry: &'a Registry,
    id: &str,
    device: DeviceMark,
) -> Option<(FixtureIndex, &'a Fixture)> {
    registry.fixture_named(id).filter(|(_, fixture)| fixture.mark() == device)
}

#[cfg(test)]
mod tests;

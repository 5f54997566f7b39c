//! What the shop's own sensors say, and when that is worth an event.
//!
//! | part | in → out |
//! |---|---|
//! | `known` | what one fixture measures → what of that is worth an event |
//! | `report` | readings → those that have changed far enough, or are due |
//! | `alert` | one value, one rule → an alert and its end |
//! | `silence` | when a fixture was heard → from when on its silence is news |
//! | `battery` | charge day by day → how many days are left |
//! | `trust` | frames → those that are believed |
//! | `memory` | all of these ↔ what outlives a restart, and when that is to be written down |
//!
//! Promises: an alert begins once and ends once; nothing is made of silence while the receiver that
//! heard the fixture cannot hear; a press is told once, however often it was sent and heard.

mod alert;
mod battery;
mod known;
mod memory;
mod report;
mod silence;
mod trust;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

pub use alert::{AlertRule, Condition};
pub use battery::BatteryDays;
pub use memory::{BatteryRecord, FixtureRecord, Remembered, RhythmRecord, StandingAlert};
pub(super) use trust::{Belief, Told};
pub use trust::{FixtureTally, Rejection, Rejections};

use super::{
    Fixture, FixtureIndex, ReceiverId, Registry, Uptime, ZoneId,
    frame::{Action, Kind, Quantity, Reading},
};
use known::Known;
use memory::Diary;
use silence::Unheard;
use trust::Trust;

/// Readings, by what they measure.
pub type Readings = BTreeMap<(Quantity, u8), f64>;

/// What a zone's sensors last said: the value and when it was heard.
type ZoneReadings = BTreeMap<Quantity, (f64, Uptime)>;

/// A reading older than this says nothing about now.
const STALE: Duration = Duration::from_mins(30);

/// Something about a fixture that somebody should look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// The rule, by its name; `silent`, `battery` and `refused` are built in.
    pub rule: String,
    /// What is wrong with it, in the word of the payload: `above`, `silent`.
    pub condition: &'static str,
    /// What is measured, and which of several; none for silence and for what was refused.
    pub quantity: Option<(Quantity, u8)>,
    /// The last value, in the quantity's unit.
    pub value: Option<f64>,
    /// The limit of the rule, in the quantity's unit.
    pub limit: Option<f64>,
    /// Since when it had been so: wrong for an alert, right again for its end.
    pub since: Uptime,
    /// Days until the battery is empty, where that can be told.
    pub days_left: Option<f64>,
}

/// What is worth an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Readings.
    Measured(Readings),
    /// Somebody pressed or turned something.
    Pressed {
        /// Which of several buttons, from 0.
        button: u8,
        /// What was done.
        action: Action,
    },
    /// Something is wrong.
    Alerted(Alarm),
    /// It is right again.
    Cleared {
        /// What was wrong.
        alarm: Alarm,
        /// For how long the alert stood.
        lasted: Duration,
    },
    /// A fixture is not heard any more. Its end is a [`Said::Cleared`] of the rule `silent`.
    Silent {
        /// When it was heard last.
        heard: Uptime,
        /// The longest gap that was usual, where that is known.
        usual: Option<Duration>,
    },
}

/// What is worth an event, about which fixture, and when that came to be.
pub(super) type News = (Uptime, FixtureIndex, Said);

/// The latest of every fixture and every zone.
#[derive(Debug, Default)]
pub(super) struct Sensors {
    fixtures: HashMap<FixtureIndex, Known>,
    zones: BTreeMap<ZoneId, ZoneReadings>,
    unheard: Unheard,
    trust: BTreeMap<FixtureIndex, Trust>,
    /// What was refused of fixtures that were others then, and their values out of bounds.
    before: (Rejections, u64),
    /// What of all that is to be written down.
    diary: Diary,
    /// Nothing is due before this.
    due: Option<Uptime>,
}

impl Sensors {
    /// Leaves of what a fixture told what is believed, and says what is wrong with it.
    pub(super) fn admit(
        &mut self,
        now: Uptime,
        (index, fixture): (FixtureIndex, &Fixture),
        told: &mut Told,
    ) -> (Belief, Vec<News>) {
        let silent = self.fixtures.get(&index).and_then(|known| {
            let due = known.silence_due(fixture).map(|due| due <= now);
            if known.silent.is_some() { Some(true) } else { due }
        });
        let trust = self.trust.entry(index).or_default();
        let (belief, said) = trust.admit(now, (fixture.key.is_some(), silent), told);
        (belief, said.into_iter().map(|said| (now, index, said)).collect())
    }

    /// What became of the frames of each fixture of which there is something to tell.
    pub(super) fn tallies(&self) -> impl Iterator<Item = (FixtureIndex, FixtureTally)> {
        self.trust.iter().filter_map(|(index, trust)| Some((*index, trust.tally()?)))
    }

    /// What was refused of all fixtures together, and how many of their values were out of bounds.
    pub(super) fn refused(&self) -> (Rejections, u64) {
        let (mut rejections, mut implausible) = self.before;
        for (refused, dropped) in self.trust.values().map(Trust::counts) {
            rejections.add(refused);
            implausible += dropped;
        }
        (rejections, implausible)
    }

    /// Nothing is listened to any more: silence means nothing, and what was about to be begins anew.
    pub(super) fn rest(&mut self) {
        self.unheard.end();
        self.fixtures.values_mut().for_each(Known::pause);
        self.due = None;
    }

    /// Forgets fixtures that are others from now on.
    pub(super) fn replace(&mut self) {
        let (before, mut unheard) = (self.refused(), std::mem::take(&mut self.unheard));
        unheard.replace();
        *self = Self { unheard, before, ..Self::default() };
    }

    /// What is heard from now on is listened to: a fixture that is expected, or was heard by an earlier run,
    /// may be missed.
    pub(super) fn listen(&mut self, now: Uptime, registry: &Registry) {
        if self.unheard.begin(now, registry, |index| self.fixtures.contains_key(&index)) {
            for known in self.fixtures.values_mut() {
                if known.rhythm.paused && !self.unheard.is_deaf(&known.receiver) {
                    known.rhythm.resume(now);
                }
            }
            let known = self.fixtures.iter();
            let known = known.filter_map(|(index, known)| known.due(registry.fixture(*index)?));
            self.due = known.chain(self.unheard.due(registry)).chain(self.due).min();
        }
    }

    /// Takes in what a fixture told and a receiver heard. `number` is what changes with each new
    /// message of the fixture, where its format has such a thing.
    pub(super) fn observe(
        &mut self,
        now: Uptime,
        (index, fixture): (FixtureIndex, &Fixture),
        receiver: &ReceiverId,
        number: Option<u32>,
        readings: impl Iterator<Item = Reading>,
    ) -> Vec<News> {
        let readings: Readings = readings
            .filter(|reading| reading.value.is_finite())
            .map(|reading| ((reading.quantity, reading.instance), reading.value))
            .collect();
        let (events, readings): (Readings, Readings) =
            readings.into_iter().partition(|((quantity, _), _)| quantity.kind() == Kind::Event);
        if let Some(zone) = fixture.zone.as_ref().filter(|_| !readings.is_empty()) {
            let latest = self.zones.entry(zone.clone()).or_default();
            latest.extend(readings.iter().map(|(&(quantity, _), &value)| (quantity, (value, now))));
        }
        let missed = self.unheard.heard(index);
        let known = self.fixtures.entry(index).or_insert_with(|| Known::new(now, receiver));
        let mut said = known.hear(now, fixture, receiver, &readings);
        said.extend(missed.map(|told| {
            let (alarm, lasted) = (Alarm::never_heard(now), now.since(told));
            (now, Said::Cleared { alarm, lasted })
        }));
        said.extend(known.press(now, number, events));
        said.extend(known.watch(now, fixture, &readings));
        said.extend(known.charge(now, fixture, &readings));
        if let Some(readings) = known.report(now, fixture, readings) {
            // What was measured comes before what was made of it.
            said.insert(0, (now, Said::Measured(readings)));
        }
        self.due = [self.due, known.due(fixture)].into_iter().flatten().min();
        let counter = self.trust.get(&index).and_then(Trust::counter);
        self.diary.heard(now, index, (counter, known.day_over));
        said.into_iter().map(|(at, said)| (at, index, said)).collect()
    }

    /// When [`Sensors::handle_timeout`] should next be called, at the latest.
    pub(super) fn next_deadline(&self) -> Option<Uptime> {
        self.due
    }

    /// Lets time pass: tells what came to be while nothing was heard, in the order in which it did.
    pub(super) fn handle_timeout(&mut self, now: Uptime, registry: &Registry) -> Vec<News> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let missed = self.unheard.settle(now, registry).into_iter();
        let mut news: Vec<_> = missed
            .map(|(at, index, since)| (at, index, Said::Alerted(Alarm::never_heard(since))))
            .collect();
        self.due = self.unheard.due(registry);
        for (&index, known) in &mut self.fixtures {
            let Some(fixture) = registry.fixture(index) else { continue };
            news.extend(known.settle(now, fixture).into_iter().map(|(at, it)| (at, index, it)));
            self.due = [self.due, known.due(fixture)].into_iter().flatten().min();
        }
        news.sort_by_key(|(at, index, _)| (*at, *index));
        news
    }

    /// A receiver cannot be trusted to hear: the silence of what it heard means nothing.
    pub(super) fn deaf(&mut self, receiver: &ReceiverId) {
        self.unheard.deaf(receiver);
        self.fixtures
            .values_mut()
            .filter(|known| known.receiver == *receiver)
            .for_each(Known::pause);
    }

    /// A receiver hears again: the silence of what it heard counts from now on.
    pub(super) fn hears(&mut self, now: Uptime, receiver: &ReceiverId) {
        let mut again = self.unheard.hears(now, receiver);
        let listens = self.unheard.is_listening();
        for known in self.fixtures.values_mut().filter(|_| listens) {
            if known.receiver == *receiver && known.rhythm.paused {
                known.rhythm.resume(now);
                again = true;
            }
        }
        if again {
            // Whatever is due then is found at the next look.
            self.due = Some(self.due.map_or(now, |due| due.min(now)));
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

impl Alarm {
    /// Silence that has ended.
    fn silent(since: Uptime) -> Self {
        Self::of_silence("silent", since)
    }

    /// A fixture is expected and was not heard since it is listened to, or then was.
    fn never_heard(since: Uptime) -> Self {
        Self::of_silence("never_heard", since)
    }

    fn of_silence(condition: &'static str, since: Uptime) -> Self {
        Self {
            rule: "silent".to_owned(),
            condition,
            quantity: None,
            value: None,
            limit: None,
            since,
            days_left: None,
        }
    }
}

#[cfg(test)]
mod tests;

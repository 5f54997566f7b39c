//! What the shop's own sensors say, and when that is worth an event.
//!
//! | part | in → out |
//! |---|---|
//! | `report` | readings → those that have changed far enough, or are due |
//! | `alert` | one value, one rule → an alert and its end |
//! | `silence` | when a fixture was heard → from when on its silence is news |
//! | `battery` | charge day by day → how many days are left |
//! | `trust` | frames → those that are believed |
//!
//! Promises: an alert begins once and ends once; nothing is made of silence while the receiver that
//! heard the fixture cannot hear; a press is told once, however often it was sent and heard.

mod alert;
mod battery;
mod report;
mod silence;
mod trust;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

pub use alert::{AlertRule, Condition};
pub(super) use trust::{Belief, Told};
pub use trust::{FixtureTally, Rejection, Rejections};

use super::{
    Fixture, FixtureIndex, ReceiverId, Registry, Uptime, ZoneId,
    frame::{Action, Kind, Quantity, Reading},
};
use alert::{Turn, Watch};
use battery::{Battery, PERCENT, Scale, VOLTS};
use report::Reported;
use silence::{Expected, Rhythm, Unheard};
use trust::Trust;

/// Readings, by what they measure.
pub type Readings = BTreeMap<(Quantity, u8), f64>;

/// What a zone's sensors last said: the value and when it was heard.
type ZoneReadings = BTreeMap<Quantity, (f64, Uptime)>;

/// A reading older than this says nothing about now.
const STALE: Duration = Duration::from_mins(30);

/// A press that is sent without a number is the same one as long as it is repeated with less than
/// this between: buttons send a press for a second or so.
const SAME_PRESS: Duration = Duration::from_secs(2);

/// A press with the same number is another one after this: numbers come round again.
const SAME_NUMBER: Duration = Duration::from_hours(1);

/// So little charge is low, whatever the trend, in percent.
const LOW_PERCENT: f64 = 10.0;

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
    /// Nothing is due before this.
    due: Option<Uptime>,
}

/// What is known of one fixture.
#[derive(Debug)]
struct Known {
    /// The receiver that heard it last.
    receiver: ReceiverId,
    rhythm: Rhythm,
    /// Since when its silence has been told.
    silent: Option<Uptime>,
    reported: Option<Reported>,
    /// One for each rule and instance.
    watches: BTreeMap<(usize, u8), Watch>,
    /// Charge and voltage.
    batteries: [Battery; 2],
    /// Since when the battery has been told to be low.
    low: Option<Uptime>,
    press: Option<Press>,
}

/// What was last done with a button.
#[derive(Clone, Debug)]
struct Press {
    at: Uptime,
    number: Option<u32>,
    events: Readings,
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

    /// Forgets what fixtures measured and when they were heard; not what they must not tell again.
    pub(super) fn forget(&mut self) {
        let Self { unheard, trust, before, .. } = std::mem::take(self);
        (self.unheard, self.trust, self.before) = (unheard, trust, before);
        self.unheard.end();
        self.trust.values_mut().for_each(Trust::forget_alarms);
    }

    /// Forgets fixtures that are others from now on.
    pub(super) fn replace(&mut self) {
        let (before, mut unheard) = (self.refused(), std::mem::take(&mut self.unheard));
        unheard.end();
        *self = Self { unheard, before, ..Self::default() };
    }

    /// What is heard from now on is listened to: a fixture that is expected may be missed.
    pub(super) fn listen(&mut self, now: Uptime, registry: &Registry) {
        if self.unheard.begin(now, registry) {
            self.due = [self.due, self.unheard.due(registry)].into_iter().flatten().min();
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
        for known in self.fixtures.values_mut() {
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

impl Known {
    fn new(now: Uptime, receiver: &ReceiverId) -> Self {
        Self {
            receiver: receiver.clone(),
            rhythm: Rhythm::new(now),
            silent: None,
            reported: None,
            watches: BTreeMap::new(),
            batteries: Default::default(),
            low: None,
            press: None,
        }
    }

    /// It was heard; its silence ends, if that was told.
    fn hear(
        &mut self,
        now: Uptime,
        fixture: &Fixture,
        receiver: &ReceiverId,
        readings: &Readings,
    ) -> Vec<(Uptime, Said)> {
        // What came to be before this counts first.
        let mut said = self.settle(now, fixture);
        if self.receiver != *receiver {
            self.receiver = receiver.clone();
        }
        let wanders = |quantity: Quantity| {
            quantity.kind() == Kind::Measurement && !OWN_STATE.contains(&quantity)
        };
        self.rhythm.hear(now, readings.keys().any(|(quantity, _)| wanders(*quantity)));
        if let Some(told) = self.silent.take() {
            let (alarm, lasted) = (Alarm::silent(now), now.since(told));
            said.push((now, Said::Cleared { alarm, lasted }));
        }
        said
    }

    fn press(&mut self, now: Uptime, number: Option<u32>, events: Readings) -> Vec<(Uptime, Said)> {
        if events.is_empty() {
            return Vec::new();
        }
        let again = self.press.as_ref().is_some_and(|press| match (press.number, number) {
            (Some(before), Some(number)) => before == number && now.since(press.at) < SAME_NUMBER,
            _ => press.events == events && now.since(press.at) < SAME_PRESS,
        });
        let told = events.iter().filter(|_| !again).filter_map(|(&(quantity, button), &value)| {
            let action = Reading { quantity, value, instance: button }.action()?;
            Some((now, Said::Pressed { button, action }))
        });
        let told = told.collect();
        self.press = Some(Press { at: now, number, events });
        told
    }

    /// Holds the readings against the fixture's rules.
    fn watch(
        &mut self,
        now: Uptime,
        fixture: &Fixture,
        readings: &Readings,
    ) -> Vec<(Uptime, Said)> {
        let mut said = Vec::new();
        for (place, rule) in fixture.report.alerts.iter().enumerate() {
            for (&(_, instance), &value) in
                readings.iter().filter(|((quantity, _), _)| *quantity == rule.quantity)
            {
                let watch = self.watches.entry((place, instance)).or_default();
                if let Some(turn) = watch.observe(rule, now, value) {
                    said.push(turned(rule, instance, value, turn));
                }
            }
        }
        said
    }

    /// Looks after the fixture's own battery.
    fn charge(
        &mut self,
        now: Uptime,
        fixture: &Fixture,
        readings: &Readings,
    ) -> Option<(Uptime, Said)> {
        if fixture.report.battery_days <= 0.0 {
            return None;
        }
        let of = |quantity| readings.get(&(quantity, 0)).copied();
        let (percent, volts) = (of(Quantity::BatteryPercent), of(Quantity::BatteryV));
        let says_low = of(Quantity::BatteryLow);
        let mut changed = says_low.is_some_and(|low| low < 0.5) && percent.is_none();
        let [charge, voltage] = &mut self.batteries;
        let mut days_left: Option<f64> = None;
        let mut feed = |battery: &mut Battery, value: Option<f64>, scale: Scale| {
            if let Some(value) = value {
                changed |= battery.observe(now, value, scale);
            }
            if days_left.is_none() {
                days_left = battery.days_left(scale);
            }
        };
        feed(charge, percent, PERCENT);
        feed(voltage, volts, VOLTS);
        let is_low = says_low.is_some_and(|low| low >= 0.5)
            || percent.is_some_and(|percent| percent <= LOW_PERCENT)
            || days_left.is_some_and(|days| days <= fixture.report.battery_days);
        let (quantity, value) = match (percent, volts) {
            (Some(percent), _) => (Quantity::BatteryPercent, percent),
            (None, Some(volts)) => (Quantity::BatteryV, volts),
            (None, None) => (Quantity::BatteryLow, says_low?),
        };
        let alarm = Alarm {
            rule: "battery".to_owned(),
            condition: "low",
            quantity: Some((quantity, 0)),
            value: Some(value),
            limit: None,
            since: now,
            days_left: days_left.map(f64::round),
        };
        match self.low {
            None if is_low => {
                self.low = Some(now);
                Some((now, Said::Alerted(alarm)))
            }
            Some(told) if changed && !is_low => {
                self.low = None;
                Some((now, Said::Cleared { alarm, lasted: now.since(told) }))
            }
            _ => None,
        }
    }

    /// Gives readings back when they are worth an event.
    fn report(&mut self, now: Uptime, fixture: &Fixture, readings: Readings) -> Option<Readings> {
        if readings.is_empty() {
            return None;
        }
        let Some(reported) = &mut self.reported else {
            self.reported = Some(Reported::new(now, readings.clone()));
            return Some(readings);
        };
        reported.take(now, &fixture.report, &readings).then_some(readings)
    }

    /// Tells what came to be by `now` while nothing was heard.
    fn settle(&mut self, now: Uptime, fixture: &Fixture) -> Vec<(Uptime, Said)> {
        let mut said = Vec::new();
        let silent = self.silence_due(fixture).filter(|due| *due <= now);
        // After that nothing is known of its values.
        let until = silent.unwrap_or(now);
        for (&(place, instance), watch) in &mut self.watches {
            let Some(rule) = fixture.report.alerts.get(place) else { continue };
            if self.rhythm.paused || self.silent.is_some() {
                continue;
            }
            let value = watch.value();
            if let Some(turn) = watch.settle(rule, until) {
                said.push(turned(rule, instance, value, turn));
            }
        }
        if let Some(at) = silent {
            let (heard, usual) = (self.rhythm.heard, self.rhythm.usual());
            self.silent = Some(at);
            self.watches.values_mut().for_each(Watch::pause);
            said.push((at, Said::Silent { heard, usual }));
        }
        said
    }

    fn silence_due(&self, fixture: &Fixture) -> Option<Uptime> {
        if self.silent.is_some() {
            return None;
        }
        self.rhythm.due(Expected::of(&fixture.report))
    }

    /// When something comes to be if nothing is heard.
    fn due(&self, fixture: &Fixture) -> Option<Uptime> {
        if self.silent.is_some() || self.rhythm.paused {
            return None;
        }
        let rules = &fixture.report.alerts;
        let watched = self.watches.iter();
        let watched = watched.filter_map(|((place, _), watch)| watch.due(rules.get(*place)?));
        watched.chain(self.silence_due(fixture)).min()
    }

    /// Nothing is known of the time that passes now.
    fn pause(&mut self) {
        self.rhythm.paused = true;
        self.watches.values_mut().for_each(Watch::pause);
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

/// What the turn of a rule is to the outside.
fn turned(rule: &AlertRule, instance: u8, value: f64, turn: Turn) -> (Uptime, Said) {
    let alarm = |since| Alarm {
        rule: rule.id.to_string(),
        condition: rule.condition.name(),
        quantity: Some((rule.quantity, instance)),
        value: Some(value),
        limit: Some(rule.limit()),
        since,
        days_left: None,
    };
    match turn {
        Turn::Alerted { at, since } => (at, Said::Alerted(alarm(since))),
        Turn::Cleared { at, alerted, since } => {
            (at, Said::Cleared { alarm: alarm(since), lasted: at.since(alerted) })
        }
    }
}

/// What a sensor tells of itself: it says nothing about how often it measures.
const OWN_STATE: [Quantity; 5] = [
    Quantity::BatteryPercent,
    Quantity::BatteryV,
    Quantity::TxPowerDbm,
    Quantity::UptimeS,
    Quantity::UnixTimeS,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Identifier, ReportPolicy};

    fn fixture() -> Fixture {
        Fixture {
            id: "fridge".to_owned(),
            zone: Some(ZoneId::new("dairy")),
            hangs: None,
            identifier: Identifier::Address([0; 6]).into(),
            key: None,
            canary: false,
            report: ReportPolicy::default(),
        }
    }

    fn receiver() -> ReceiverId {
        ReceiverId::new("local")
    }

    /// What a fixture with such a policy says of readings at seconds: when, and what.
    fn said(report: ReportPolicy, told: &[(u64, Option<u32>, Quantity, f64)]) -> Vec<(u64, Said)> {
        let fixture = Fixture { report, ..fixture() };
        let index = crate::engine::identity::first_fixture();
        let mut sensors = Sensors::default();
        let mut all = Vec::new();
        for &(second, number, quantity, value) in told {
            let now = Uptime::ZERO + Duration::from_secs(second);
            let reading = [Reading { quantity, value, instance: 0 }].into_iter();
            let news = sensors.observe(now, (index, &fixture), &receiver(), number, reading);
            all.extend(news.into_iter().map(|(at, _, it)| (at.since(Uptime::ZERO).as_secs(), it)));
        }
        all
    }

    #[test]
    fn a_press_is_told_once_however_often_it_is_sent() {
        let button = Quantity::Button;
        let press = |second, number| (second, number, button, 1.0);
        let pressed = |told: &[_]| -> Vec<u64> {
            said(ReportPolicy::default(), told).into_iter().map(|(second, _)| second).collect()
        };
        let numbered =
            [press(0, Some(7)), press(1, Some(7)), press(9, Some(7)), press(10, Some(8))];
        assert_eq!(pressed(&numbered), [0, 10]);
        let bare = [press(0, None), press(1, None), press(2, None), press(9, None)];
        assert_eq!(pressed(&bare), [0, 9]);
        let another = [press(0, None), (1, None, button, 2.0)];
        assert_eq!(pressed(&another), [0, 1], "pressed, and then pressed twice");
    }

    #[test]
    fn a_low_battery_is_told_once_and_cleared_by_a_new_one() {
        let percent = Quantity::BatteryPercent;
        let told = [(0, None, percent, 12.0), (60, None, percent, 9.0), (120, None, percent, 11.0)];
        let told = told.into_iter().chain([(180, None, percent, 8.0)]);
        let day = 24 * 3600;
        let told = told.chain([(day, None, percent, 8.0), (day + 60, None, percent, 100.0)]);
        let all = said(ReportPolicy::default(), &told.collect::<Vec<_>>());
        let alarms: Vec<_> = all
            .iter()
            .filter_map(|(second, said)| match said {
                Said::Alerted(alarm) => Some((*second, "alerted", alarm.rule.as_str())),
                Said::Cleared { alarm, .. } => Some((*second, "cleared", alarm.rule.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(alarms, [(60, "alerted", "battery"), (day + 60, "cleared", "battery")]);
    }

    /// Readings at seconds; which of them are worth an event?
    fn worth(readings: &[(u64, Quantity, f64)]) -> Vec<u64> {
        let (mut sensors, fixture) = (Sensors::default(), fixture());
        let index = crate::engine::identity::first_fixture();
        let told = |&(second, quantity, value): &(u64, Quantity, f64)| {
            let now = Uptime::ZERO + Duration::from_secs(second);
            let reading = Reading { quantity, value, instance: 0 };
            let readings = [reading].into_iter();
            let said = sensors.observe(now, (index, &fixture), &receiver(), None, readings);
            said.iter().any(|(.., said)| matches!(said, Said::Measured(_))).then_some(second)
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

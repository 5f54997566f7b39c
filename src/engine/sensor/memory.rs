//! What is remembered of fixtures across a restart: what is known of one in, a record out, and back; and when
//! which is worth writing down.
//!
//! Records are plain values in uptimes; whoever keeps them brings the times of an earlier run into this one's.
//! Promises that a record of another device is not believed; that an alert that stood goes on, or is over
//! because nobody watches for it any more, and is never lost; and that nothing is made of the time in
//! which nobody listened.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Alarm, Said, Sensors,
    alert::{Condition, Watch},
    battery::BatteryDays,
    known::Known,
    silence::Rhythm,
    trust::{Rejection, Trust},
};
use crate::engine::{DeviceMark, Fixture, FixtureIndex, ReceiverId, Uptime, frame::Quantity};

/// What is remembered of a fixture. Its battery changes once a day and is the larger part, so it is kept
/// by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Remembered {
    /// What stands and what counts.
    State(FixtureRecord),
    /// The trend of its battery.
    Battery(BatteryRecord),
}

/// What stands about a fixture, and what it is judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct FixtureRecord {
    /// Which device it was.
    pub device: DeviceMark,
    /// The alerts that were told and have not ended; at most 32 are remembered.
    pub alerts: Vec<StandingAlert>,
    /// The greatest counter that was believed.
    pub counter: Option<u32>,
    /// How often it is heard; none of one that was never heard.
    pub rhythm: Option<RhythmRecord>,
}

/// An alert that was told and has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct StandingAlert {
    /// The rule, by its name; `silent`, `battery` and `refused` are built in.
    pub rule: String,
    /// What is wrong, in the word of the payload.
    pub condition: &'static str,
    /// What is measured, and which of several.
    pub quantity: Option<(Quantity, u8)>,
    /// Since when it is told.
    pub told: Uptime,
}

/// How often a fixture is heard.
#[derive(Clone, Debug, PartialEq)]
pub struct RhythmRecord {
    /// The receiver that heard it last.
    pub receiver: ReceiverId,
    /// When it was heard last.
    pub heard: Uptime,
    /// When it was heard first.
    pub first: Uptime,
    /// The longest usual gap.
    pub longest: Duration,
    /// How many gaps that was learned from.
    pub gaps: u32,
    /// It measures something that wanders.
    pub measures: bool,
}

/// The trend of a fixture's battery.
#[derive(Clone, Debug, PartialEq)]
pub struct BatteryRecord {
    /// Which device it was.
    pub device: DeviceMark,
    /// By its charge, and by its voltage.
    pub batteries: [BatteryDays; 2],
}

/// More alerts of one fixture are not remembered: a record is small, and nobody has as many rules.
const MOST_ALERTS: usize = 32;

/// A counter that moved is written down this often: what was recorded in so much time before a power cut can
/// be sent again after it.
const COUNTER_EVERY: Duration = Duration::from_mins(15);

/// What is learned slowly is written down this often. A card bears some thousand writes of each of its
/// blocks.
const SLOWLY: Duration = Duration::from_hours(1);

/// What is to be written down of which fixture.
#[derive(Debug, Default)]
pub(super) struct Diary {
    states: BTreeSet<FixtureIndex>,
    batteries: BTreeSet<FixtureIndex>,
    /// When the state was last written down, and with which counter.
    written: BTreeMap<FixtureIndex, (Uptime, Option<u32>)>,
}

// === impl FixtureRecord ===

impl FixtureRecord {
    fn is_empty(&self) -> bool {
        self.alerts.is_empty() && self.counter.is_none() && self.rhythm.is_none()
    }
}

// === impl StandingAlert ===

impl StandingAlert {
    /// The word of a condition that an alert may have, as [`Self::condition`] has it.
    pub fn word(name: &str) -> Option<&'static str> {
        let built_in = ["silent", "never_heard", "low"].into_iter().find(|word| *word == name);
        let reason = || Rejection::from_word(name).map(Rejection::word);
        built_in.or_else(reason).or_else(|| Condition::word(name))
    }

    /// What is told of it, without the value that nobody remembers.
    pub fn alarm(&self, since: Uptime) -> Alarm {
        Alarm {
            rule: self.rule.clone(),
            condition: self.condition,
            quantity: self.quantity,
            value: None,
            limit: None,
            since,
            days_left: None,
        }
    }

    /// Its end, because nobody watches for it any more.
    pub(in crate::engine) fn ended(&self, now: Uptime) -> Said {
        Said::Cleared { alarm: self.alarm(now), lasted: now.since(self.told) }
    }
}

// === impl Diary ===

impl Diary {
    /// A fixture was heard, with which counter, and perhaps a day of its battery is over.
    pub(super) fn heard(
        &mut self,
        now: Uptime,
        index: FixtureIndex,
        (counter, day_over): (Option<u32>, bool),
    ) {
        if day_over {
            self.batteries.insert(index);
        }
        let is_due = self.written.get(&index).is_none_or(|(at, known)| {
            let every = if counter == *known { SLOWLY } else { COUNTER_EVERY };
            now.since(*at) >= every
        });
        if is_due {
            self.states.insert(index);
        }
    }

    fn wrote(&mut self, now: Uptime, index: FixtureIndex, counter: Option<u32>) {
        self.written.insert(index, (now, counter));
    }
}

// === impl Sensors ===

impl Sensors {
    /// An alert of a fixture was told, or its end: that is written down at once.
    pub(in crate::engine) fn turned(&mut self, index: FixtureIndex) {
        self.diary.states.insert(index);
    }

    /// Everything is to be written down.
    pub(in crate::engine) fn write_all(&mut self) {
        self.diary.states.extend(self.fixtures.keys().chain(self.trust.keys()));
        self.diary.batteries.extend(self.fixtures.keys());
    }

    /// Everything is to be written down for the last time; nothing has changed if nothing was listened to.
    pub(in crate::engine) fn write_last(&mut self) {
        if self.unheard.is_listening() {
            self.write_all();
        }
    }

    /// Of which fixture something is to be written down next: its battery, or else its state.
    pub(in crate::engine) fn next_to_write(&mut self) -> Option<(FixtureIndex, bool)> {
        let battery = self.diary.batteries.pop_first().map(|index| (index, true));
        battery.or_else(|| self.diary.states.pop_first().map(|index| (index, false)))
    }

    /// What is remembered of the battery; nothing where nothing is known of it.
    pub(in crate::engine) fn battery(
        &mut self,
        index: FixtureIndex,
        device: DeviceMark,
    ) -> Option<BatteryRecord> {
        let known = self.fixtures.get_mut(&index)?;
        known.day_over = false;
        let is_known = |battery: &BatteryDays| *battery != BatteryDays::default();
        let batteries = known.batteries.clone();
        batteries.iter().any(is_known).then_some(BatteryRecord { device, batteries })
    }

    /// What else is remembered; nothing where nothing is known. It is taken to be written down now.
    pub(in crate::engine) fn state(
        &mut self,
        now: Uptime,
        (index, fixture): (FixtureIndex, &Fixture),
    ) -> Option<FixtureRecord> {
        let counter = self.trust.get(&index).and_then(Trust::counter);
        self.diary.wrote(now, index, counter);
        let known = self.fixtures.get(&index);
        let rhythm = known.map(|known| known.rhythm.record(&known.receiver));
        let alerts = self.standing(index, fixture);
        let record = FixtureRecord { device: fixture.mark(), alerts, counter, rhythm };
        (!record.is_empty()).then_some(record)
    }

    /// The alerts of a fixture that were told and have not ended.
    pub(in crate::engine) fn standing(
        &self,
        index: FixtureIndex,
        fixture: &Fixture,
    ) -> Vec<StandingAlert> {
        let built_in = |rule: &str, condition, told| StandingAlert {
            rule: rule.to_owned(),
            condition,
            quantity: None,
            told,
        };
        let mut alerts = Vec::new();
        if let Some(known) = self.fixtures.get(&index) {
            alerts.extend(known.silent.map(|told| built_in("silent", "silent", told)));
            alerts.extend(known.low.map(|told| built_in("battery", "low", told)));
            alerts.extend(known.watches.iter().filter_map(|(&(place, instance), watch)| {
                let (rule, told) = (fixture.report.alerts.get(place)?, watch.standing()?);
                let quantity = Some((rule.quantity, instance));
                let condition = rule.condition.name();
                Some(StandingAlert { rule: rule.id.to_string(), condition, quantity, told })
            }));
        }
        let never = self.unheard.standing(index);
        alerts.extend(never.map(|told| built_in("silent", "never_heard", told)));
        let refused = self.trust.get(&index).into_iter().flat_map(Trust::standing);
        alerts.extend(refused.map(|(reason, told)| built_in("refused", reason.word(), told)));
        alerts.truncate(MOST_ALERTS);
        alerts
    }

    /// Goes on with what an earlier run, or another gateway, has written down of a fixture; what stood here is
    /// not so any more. Returns the alerts for which nobody watches any more.
    pub(in crate::engine) fn recall(
        &mut self,
        now: Uptime,
        (index, fixture): (FixtureIndex, &Fixture),
        record: FixtureRecord,
    ) -> Vec<StandingAlert> {
        let FixtureRecord { alerts, counter, rhythm, .. } = record;
        let before = self.fixtures.remove(&index);
        if let Some(record) = rhythm {
            let mut known = Known::new(now, &record.receiver);
            known.rhythm = Rhythm::recalled(&record);
            known.batteries = before.map(|before| before.batteries).unwrap_or_default();
            self.fixtures.insert(index, known);
        }
        self.unheard.forget(index);
        self.diary.wrote(now, index, counter);
        if counter.is_some() || self.trust.contains_key(&index) {
            self.trust.entry(index).or_default().recall(now, counter);
        }
        let over = |alert: &StandingAlert| !self.watch_again(now, (index, fixture), alert);
        alerts.into_iter().filter(over).collect()
    }

    /// Goes on with the trend of the battery of a fixture that an earlier run has heard.
    pub(in crate::engine) fn recall_battery(&mut self, index: FixtureIndex, record: BatteryRecord) {
        if let Some(known) = self.fixtures.get_mut(&index) {
            known.batteries = record.batteries.map(BatteryDays::recalled);
        }
    }

    /// Whether an alert goes on: somebody watches for it.
    fn watch_again(
        &mut self,
        now: Uptime,
        (index, fixture): (FixtureIndex, &Fixture),
        alert: &StandingAlert,
    ) -> bool {
        let StandingAlert { rule, condition, quantity, told } = alert;
        if rule == "refused" {
            let Some(reason) = Rejection::from_word(condition) else { return false };
            self.trust.entry(index).or_default().recall_alarm(now, reason, *told);
            return true;
        }
        if rule == "silent" && *condition == "never_heard" {
            self.unheard.recall(index, *told);
            return true;
        }
        let Some(known) = self.fixtures.get_mut(&index) else { return false };
        let policy = &fixture.report;
        match (rule.as_str(), quantity) {
            ("silent", _) => known.silent = Some(*told),
            ("battery", _) if policy.battery_days > 0.0 => known.low = Some(*told),
            (name, Some((quantity, instance))) => {
                let is_it =
                    |rule: &super::AlertRule| *rule.id == *name && rule.quantity == *quantity;
                let Some(place) = policy.alerts.iter().position(is_it) else { return false };
                known.watches.insert((place, *instance), Watch::recalled(*told));
            }
            _ => return false,
        }
        true
    }
}

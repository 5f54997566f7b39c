//! What is known of one fixture: its readings in, what is worth an event out.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Alarm, Readings, Said,
    alert::{AlertRule, Turn, Watch},
    battery::{BatteryDays, Noted, PERCENT, Scale, VOLTS},
    report::Reported,
    silence::{Expected, Rhythm},
};
use crate::engine::{
    Fixture, ReceiverId, Uptime,
    frame::{Kind, Quantity, Reading},
};

/// A press that is sent without a number is the same one as long as it is repeated with less than
/// this between: buttons send a press for a second or so.
const SAME_PRESS: Duration = Duration::from_secs(2);

/// A press with the same number is another one after this: numbers come round again.
const SAME_NUMBER: Duration = Duration::from_hours(1);

/// So little charge is low, whatever the trend, in percent.
const LOW_PERCENT: f64 = 10.0;

/// What is known of one fixture.
#[derive(Debug)]
pub(super) struct Known {
    /// The receiver that heard it last.
    pub(super) receiver: ReceiverId,
    pub(super) rhythm: Rhythm,
    /// Since when its silence has been told.
    pub(super) silent: Option<Uptime>,
    reported: Option<Reported>,
    /// One for each rule and instance.
    pub(super) watches: BTreeMap<(usize, u8), Watch>,
    /// Charge and voltage.
    pub(super) batteries: [BatteryDays; 2],
    /// A day of one of them is over that was not written down.
    pub(super) day_over: bool,
    /// Since when the battery has been told to be low.
    pub(super) low: Option<Uptime>,
    press: Option<Press>,
}

/// What was last done with a button.
#[derive(Clone, Debug)]
struct Press {
    at: Uptime,
    number: Option<u32>,
    events: Readings,
}

impl Known {
    pub(super) fn new(now: Uptime, receiver: &ReceiverId) -> Self {
        Self {
            receiver: receiver.clone(),
            rhythm: Rhythm::new(now),
            silent: None,
            reported: None,
            watches: BTreeMap::new(),
            batteries: Default::default(),
            day_over: false,
            low: None,
            press: None,
        }
    }

    /// It was heard; its silence ends, if that was told.
    pub(super) fn hear(
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

    pub(super) fn press(
        &mut self,
        now: Uptime,
        number: Option<u32>,
        events: Readings,
    ) -> Vec<(Uptime, Said)> {
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
    pub(super) fn watch(
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
    pub(super) fn charge(
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
        let day_over = &mut self.day_over;
        let mut feed = |battery: &mut BatteryDays, value: Option<f64>, scale: Scale| {
            if let Some(value) = value {
                let noted = battery.observe(now, value, scale);
                changed |= noted == Noted::Fresh;
                *day_over |= noted != Noted::Same;
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
    pub(super) fn report(
        &mut self,
        now: Uptime,
        fixture: &Fixture,
        readings: Readings,
    ) -> Option<Readings> {
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
    pub(super) fn settle(&mut self, now: Uptime, fixture: &Fixture) -> Vec<(Uptime, Said)> {
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

    pub(super) fn silence_due(&self, fixture: &Fixture) -> Option<Uptime> {
        if self.silent.is_some() {
            return None;
        }
        self.rhythm.due(Expected::of(&fixture.report))
    }

    /// When something comes to be if nothing is heard.
    pub(super) fn due(&self, fixture: &Fixture) -> Option<Uptime> {
        if self.silent.is_some() || self.rhythm.paused {
            return None;
        }
        let rules = &fixture.report.alerts;
        let watched = self.watches.iter();
        let watched = watched.filter_map(|((place, _), watch)| watch.due(rules.get(*place)?));
        watched.chain(self.silence_due(fixture)).min()
    }

    /// Nothing is known of the time that passes now.
    pub(super) fn pause(&mut self) {
        self.rhythm.paused = true;
        self.watches.values_mut().for_each(Watch::pause);
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

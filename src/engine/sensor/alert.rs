//! One rule about one reading of a fixture: values and time in, an alert and its end out.
//!
//! An alert begins when every value has been beyond the limit for as long as the rule says, and ends
//! when every value has been well within it for as long as the rule says. In between nothing changes,
//! so a value that plays about the limit makes no second alert.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::super::{Uptime, frame::Quantity};

/// What is wrong with a reading.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRule {
    /// Its name in the events.
    pub id: Arc<str>,
    /// What must be measured.
    pub quantity: Quantity,
    /// When it is wrong.
    pub condition: Condition,
    /// For how long it must be wrong.
    pub hold: Duration,
    /// For how long it must be right again.
    pub clear_after: Duration,
}

/// When a value is wrong. All numbers are in the quantity's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// Above a limit; right again at so much below it.
    Above {
        /// The limit.
        limit: f64,
        /// How far below it is right again, from 0 up.
        hysteresis: f64,
    },
    /// Below a limit; right again at so much above it.
    Below {
        /// The limit.
        limit: f64,
        /// How far above it is right again, from 0 up.
        hysteresis: f64,
    },
    /// A switch is on, or off.
    Is(bool),
    /// By so much more than the least within a span; right again at half of it.
    RisesBy {
        /// By how much.
        by: f64,
        /// The span.
        within: Duration,
    },
    /// By so much less than the most within a span; right again at half of it.
    FallsBy {
        /// By how much.
        by: f64,
        /// The span.
        within: Duration,
    },
}

/// Begin or end of an alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Turn {
    /// It has been wrong for long enough.
    Alerted {
        /// When that was.
        at: Uptime,
        /// Since when it had been wrong.
        since: Uptime,
    },
    /// It has been right for long enough.
    Cleared {
        /// When that was.
        at: Uptime,
        /// When the alert had begun.
        alerted: Uptime,
        /// Since when it had been right.
        since: Uptime,
    },
}

/// What a rule makes of one instance of its quantity.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    phase: Phase,
    value: f64,
    /// Least and most of each slice of the span, newest last.
    slices: VecDeque<(Uptime, f64, f64)>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Right,
    Wrong {
        since: Uptime,
    },
    Alerted {
        at: Uptime,
    },
    Righting {
        at: Uptime,
        since: Uptime,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Wrong,
    /// Within the limit, by less than the hysteresis.
    Near,
    Right,
}

/// A span is cut into so many slices, of which only least and most are kept.
const SLICES: u32 = 32;

// === impl AlertRule ===

impl AlertRule {
    /// The limit that events name: how much, or 1 and 0 for a switch.
    pub fn limit(&self) -> f64 {
        match self.condition {
            Condition::Above { limit, .. } | Condition::Below { limit, .. } => limit,
            Condition::Is(on) => f64::from(u8::from(on)),
            Condition::RisesBy { by, .. } | Condition::FallsBy { by, .. } => by,
        }
    }
}

// === impl Condition ===

impl Condition {
    /// The word of the payload for what is wrong.
    pub fn name(self) -> &'static str {
        match self {
            Self::Above { .. } => "above",
            Self::Below { .. } => "below",
            Self::Is(_) => "is",
            Self::RisesBy { .. } => "rises_by",
            Self::FallsBy { .. } => "falls_by",
        }
    }

    /// The condition's word as [`Condition::name`] gives it.
    pub(super) fn word(name: &str) -> Option<&'static str> {
        ["above", "below", "is", "rises_by", "falls_by"].into_iter().find(|word| *word == name)
    }

    fn span(self) -> Option<Duration> {
        match self {
            Self::RisesBy { within, .. } | Self::FallsBy { within, .. } => Some(within),
            _ => None,
        }
    }

    /// Judges a value by itself and by the least and most of its span.
    fn judge(self, value: f64, least: f64, most: f64) -> Verdict {
        let (over, slack) = match self {
            Self::Above { limit, hysteresis } => (value - limit, hysteresis),
            Self::Below { limit, hysteresis } => (limit - value, hysteresis),
            Self::Is(on) if (value >= 0.5) == on => return Verdict::Wrong,
            Self::Is(_) => return Verdict::Right,
            // So much or more is wrong; less than half of it is right.
            Self::RisesBy { by, .. } if value - least >= by => return Verdict::Wrong,
            Self::RisesBy { by, .. } => (value - least - by, by / 2.0),
            Self::FallsBy { by, .. } if most - value >= by => return Verdict::Wrong,
            Self::FallsBy { by, .. } => (most - value - by, by / 2.0),
        };
        if over > 0.0 {
            Verdict::Wrong
        } else if over > -slack {
            Verdict::Near
        } else {
            Verdict::Right
        }
    }
}

// === impl Watch ===

impl Watch {
    /// Takes in a value; says what came to be by then.
    pub(super) fn observe(&mut self, rule: &AlertRule, now: Uptime, value: f64) -> Option<Turn> {
        let passed = self.settle(rule, now);
        self.value = value;
        let (least, most) = self.span(rule, now);
        let verdict = rule.condition.judge(value, least, most);
        self.phase = match (self.phase, verdict) {
            (Phase::Right, Verdict::Wrong) => Phase::Wrong { since: now },
            (Phase::Wrong { .. }, Verdict::Near | Verdict::Right) => Phase::Right,
            (Phase::Alerted { at }, Verdict::Right) => Phase::Righting { at, since: now },
            (Phase::Righting { at, .. }, Verdict::Wrong | Verdict::Near) => Phase::Alerted { at },
            (phase, _) => phase,
        };
        // Both at once cannot be: what has just passed leaves nothing that is due.
        passed.or_else(|| self.settle(rule, now))
    }

    /// Says what came to be by `now` while nothing changed.
    pub(super) fn settle(&mut self, rule: &AlertRule, now: Uptime) -> Option<Turn> {
        let at = self.due(rule).filter(|due| *due <= now)?;
        match self.phase {
            Phase::Wrong { since } => {
                self.phase = Phase::Alerted { at };
                Some(Turn::Alerted { at, since })
            }
            Phase::Righting { at: alerted, since } => {
                self.phase = Phase::Right;
                Some(Turn::Cleared { at, alerted, since })
            }
            Phase::Right | Phase::Alerted { .. } => None,
        }
    }

    /// When something comes to be if nothing changes.
    pub(super) fn due(&self, rule: &AlertRule) -> Option<Uptime> {
        match self.phase {
            Phase::Wrong { since } => Some(since + rule.hold),
            Phase::Righting { since, .. } => Some(since + rule.clear_after),
            Phase::Right | Phase::Alerted { .. } => None,
        }
    }

    /// Nothing is known of the time that passes now: what was about to be begins anew.
    pub(super) fn pause(&mut self) {
        self.phase = match self.phase {
            Phase::Wrong { .. } => Phase::Right,
            Phase::Righting { at, .. } => Phase::Alerted { at },
            phase => phase,
        };
        self.slices.clear();
    }

    /// Since when its alert is told, if one stands.
    pub(super) fn standing(&self) -> Option<Uptime> {
        match self.phase {
            Phase::Alerted { at } | Phase::Righting { at, .. } => Some(at),
            Phase::Right | Phase::Wrong { .. } => None,
        }
    }

    /// Goes on with an alert that an earlier run told.
    pub(super) fn recalled(at: Uptime) -> Self {
        Self { phase: Phase::Alerted { at }, ..Self::default() }
    }

    /// The last value.
    pub(super) fn value(&self) -> f64 {
        self.value
    }

    /// Takes the value into its span; least and most in it.
    fn span(&mut self, rule: &AlertRule, now: Uptime) -> (f64, f64) {
        let value = self.value;
        let Some(span) = rule.condition.span() else { return (value, value) };
        while self.slices.front().is_some_and(|(from, ..)| now.since(*from) > span) {
            self.slices.pop_front();
        }
        match self.slices.back_mut() {
            Some((from, least, most)) if now.since(*from) < span / SLICES => {
                (*least, *most) = (least.min(value), most.max(value));
            }
            _ => self.slices.push_back((now, value, value)),
        }
        let all = self.slices.iter();
        all.fold((value, value), |(a, b), (_, least, most)| (a.min(*least), b.max(*most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(condition: Condition, hold_s: u64) -> AlertRule {
        let hold = Duration::from_secs(hold_s);
        let id = Arc::from("rule");
        AlertRule { id, quantity: Quantity::TemperatureC, condition, hold, clear_after: hold }
    }

    fn at(second: u64) -> Uptime {
        Uptime::ZERO + Duration::from_secs(second)
    }

    /// When alerts began and ended, by values at seconds.
    fn turns(rule: &AlertRule, values: &[(u64, f64)]) -> Vec<(&'static str, Uptime)> {
        let mut watch = Watch::default();
        let turns = values.iter().filter_map(|&(second, value)| {
            Some(match watch.observe(rule, at(second), value)? {
                Turn::Alerted { at, .. } => ("alerted", at),
                Turn::Cleared { at, .. } => ("cleared", at),
            })
        });
        turns.collect()
    }

    #[test]
    fn a_value_that_stays_above_its_limit_alerts_once_and_is_cleared_once() {
        let rule = rule(Condition::Above { limit: 8.0, hysteresis: 0.5 }, 60);
        let values = [(0, 7.0), (30, 8.1), (60, 9.0), (100, 9.0), (400, 7.4), (500, 7.0)];
        assert_eq!(turns(&rule, &values), [("alerted", at(90)), ("cleared", at(460))]);
    }

    #[test]
    fn a_value_that_plays_about_its_limit_makes_no_second_alert() {
        let rule = rule(Condition::Below { limit: 2.0, hysteresis: 0.5 }, 60);
        let mut values = vec![(0, 1.0), (100, 1.0)];
        values.extend((2..50).map(|n| (n * 50, if n % 2 == 0 { 2.3 } else { 1.8 })));
        assert_eq!(turns(&rule, &values), [("alerted", at(60))]);
    }

    #[test]
    fn a_value_that_is_wrong_only_for_moments_is_no_alert() {
        let rule = rule(Condition::Above { limit: 8.0, hysteresis: 0.5 }, 60);
        let values: Vec<_> =
            (0..100).map(|n| (n * 30, if n % 2 == 0 { 9.0 } else { 7.9 })).collect();
        assert_eq!(turns(&rule, &values), []);
    }

    #[test]
    fn a_switch_that_says_nothing_more_alerts_when_its_time_is_over() {
        let rule = rule(Condition::Is(true), 300);
        let mut watch = Watch::default();
        assert_eq!(watch.observe(&rule, at(10), 1.0), None);
        assert_eq!(watch.due(&rule), Some(at(310)));
        assert_eq!(watch.settle(&rule, at(309)), None);
        let alerted = Turn::Alerted { at: at(310), since: at(10) };
        assert_eq!(watch.settle(&rule, at(320)), Some(alerted));
        assert_eq!((watch.due(&rule), watch.settle(&rule, at(900))), (None, None));
    }

    #[test]
    fn what_was_about_to_be_begins_anew_after_a_time_of_which_nothing_is_known() {
        let rule = rule(Condition::Above { limit: 8.0, hysteresis: 0.5 }, 60);
        let mut watch = Watch::default();
        assert_eq!(watch.observe(&rule, at(0), 9.0), None);
        watch.pause();
        assert_eq!(watch.observe(&rule, at(1000), 7.0), None);
        assert_eq!(watch.observe(&rule, at(1010), 9.0), None);
        assert_eq!(watch.due(&rule), Some(at(1070)));
    }

    #[test]
    fn a_rise_is_measured_from_the_least_of_its_span_and_no_further_back() {
        let rule = rule(Condition::RisesBy { by: 3.0, within: Duration::from_mins(10) }, 0);
        let slow: Vec<_> = (0..100_u32).map(|n| (u64::from(n) * 60, f64::from(n) * 0.2)).collect();
        assert_eq!(turns(&rule, &slow), [], "2 degrees in ten minutes");
        let fast: Vec<_> = (0..20_u32).map(|n| (u64::from(n) * 60, f64::from(n) * 0.5)).collect();
        assert_eq!(turns(&rule, &fast), [("alerted", at(360))]);
        let mut watch = Watch::default();
        for n in 0..100_000_u64 {
            assert_eq!(watch.observe(&rule, at(n), 5.0), None);
        }
        assert!(watch.slices.len() <= SLICES as usize + 2, "{}", watch.slices.len());
    }
}

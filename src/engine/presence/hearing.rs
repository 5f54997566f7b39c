//! Hearing time: uptime without the spans in which the radio was deaf.
//!
//! Radio states and uptime in, a monotonic clock for deadlines out. Nobody leaves while nothing
//! can be heard: deadlines are set in hearing time, and it stands still while the radio is deaf.

use std::time::Duration;

use crate::engine::{RadioState, Uptime};

/// A moment in hearing time.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct HearingTime(Uptime);

impl HearingTime {
    pub(super) fn since(self, earlier: Self) -> Duration {
        self.0.since(earlier.0)
    }
}

impl std::ops::Add<Duration> for HearingTime {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0 + rhs)
    }
}

/// Converts uptime to hearing time.
#[derive(Debug)]
pub(super) struct HearingClock {
    state: RadioState,
    /// How long the radio has been deaf, all told; the present span is not in it.
    deaf: Duration,
    /// When anything at all was last heard.
    evidence: Uptime,
}

impl Default for HearingClock {
    fn default() -> Self {
        let never = Uptime::from_micros(i64::MIN);
        Self { state: RadioState::default(), deaf: Duration::ZERO, evidence: never }
    }
}

impl HearingClock {
    /// Hearing time at an uptime.
    pub(super) fn at(&self, now: Uptime) -> HearingTime {
        let now = self.frozen_since().map_or(now, |since| now.min(since));
        HearingTime(now - self.deaf)
    }

    /// Anything at all was heard, a stranger included.
    pub(super) fn heard(&mut self, now: Uptime) {
        self.evidence = self.evidence.max(now);
    }

    /// The moment up to which an absence is proven: silence may be a deaf radio's.
    pub(super) fn proven(&self, now: Uptime) -> HearingTime {
        match self.state {
            RadioState::Quiet => self.at(now),
            RadioState::Hearing | RadioState::Suspect { .. } | RadioState::Deaf { .. } => {
                self.at(self.evidence)
            }
        }
    }

    /// The uptime at which a deadline can be proven passed without hearing anything more; `None`
    /// when only an advertisement or a change of the radio's state can prove it.
    pub(super) fn uptime_of(&self, deadline: HearingTime) -> Option<Uptime> {
        (self.state == RadioState::Quiet).then(|| deadline.0 + self.deaf)
    }

    /// The radio's state changed.
    pub(super) fn set(&mut self, now: Uptime, state: RadioState) {
        let before = self.frozen_since();
        self.state = state;
        match (before, self.frozen_since()) {
            // What was suspected is confirmed: it began when it was first suspected.
            (Some(since), Some(_)) => self.freeze_at(since),
            (Some(since), None) => {
                self.deaf += now.since(since);
                self.evidence = self.evidence.max(now);
            }
            (None, _) => {}
        }
    }

    /// The radio's state, as last told.
    pub(super) fn state(&self) -> RadioState {
        self.state
    }

    fn frozen_since(&self) -> Option<Uptime> {
        match self.state {
            RadioState::Suspect { since } | RadioState::Deaf { since, .. } => Some(since),
            RadioState::Hearing | RadioState::Quiet => None,
        }
    }

    fn freeze_at(&mut self, earlier: Uptime) {
        match &mut self.state {
            RadioState::Suspect { since } | RadioState::Deaf { since, .. } => *since = earlier,
            RadioState::Hearing | RadioState::Quiet => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::DeafCause;

    fn s(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn hearing_time_stands_still_from_the_last_thing_heard_until_the_radio_hears_again() {
        let mut clock = HearingClock::default();
        clock.heard(s(10));
        clock.set(s(20), RadioState::Suspect { since: s(10) });
        clock.set(s(30), RadioState::Deaf { since: s(12), cause: DeafCause::Daemon });
        assert_eq!(clock.at(s(100)), HearingTime(s(10)));
        clock.set(s(110), RadioState::Hearing);
        assert_eq!(clock.at(s(110)), HearingTime(s(10)));
        assert_eq!(clock.at(s(115)), HearingTime(s(15)));
    }

    #[test]
    fn silence_proves_nothing_unless_the_scan_was_checked() {
        let mut clock = HearingClock::default();
        clock.heard(s(10));
        assert_eq!(clock.proven(s(50)), HearingTime(s(10)));
        clock.set(s(50), RadioState::Quiet);
        assert_eq!(clock.proven(s(50)), HearingTime(s(50)));
    }

    #[test]
    fn before_anything_was_heard_nothing_is_proven_not_even_for_time_before_the_start() {
        let mut clock = HearingClock::default();
        assert!(clock.proven(s(-100)) < HearingTime(s(-1_000_000)));
        clock.heard(s(-50));
        assert_eq!(clock.proven(s(-40)), HearingTime(s(-50)));
    }

    #[test]
    fn only_a_checked_scan_lets_a_timer_decide() {
        let mut clock = HearingClock::default();
        assert_eq!(clock.uptime_of(HearingTime(s(5))), None);
        clock.set(s(0), RadioState::Quiet);
        assert_eq!(clock.uptime_of(HearingTime(s(5))), Some(s(5)));
    }
}

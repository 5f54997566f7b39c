//! Hearing time: uptime without the spans in which a receiver was deaf.
//!
//! Receivers' states and uptime in, a monotonic clock a receiver for deadlines out. Nobody leaves
//! while nothing can be heard: deadlines are set in hearing time, and it stands still while the
//! receiver is deaf.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use crate::engine::{RadioState, ReceiverId, SubjectIndex, Uptime};

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

/// A receiver, by its place among [`Ears`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ear(usize);

impl Ear {
    /// Its place among the [`Ears`], from 0 on.
    pub(super) const fn index(self) -> usize {
        self.0
    }
}

/// The receivers, each with its own hearing time.
#[derive(Debug, Default)]
pub(super) struct Ears {
    receivers: Vec<Receiver>,
    /// The state in which a receiver starts that was not known before.
    first_state: RadioState,
}

#[derive(Debug)]
struct Receiver {
    id: ReceiverId,
    clock: HearingClock,
    /// The visits that this receiver's evidence decides next, by their deadline: each open visit
    /// waits at one receiver.
    deadlines: BinaryHeap<Reverse<(HearingTime, SubjectIndex)>>,
}

/// Converts uptime to hearing time.
#[derive(Debug)]
struct HearingClock {
    state: RadioState,
    /// How long the radio has been deaf, all told; the present span is not in it.
    deaf: Duration,
    /// When anything at all was last heard.
    evidence: Uptime,
    /// Up to when it is known how long it was deaf.
    counted: Uptime,
}

// === impl Ears ===

impl Ears {
    pub(super) fn new(receivers: &[ReceiverId]) -> Self {
        let mut ears = Self::default();
        for id in receivers {
            ears.find(id);
        }
        ears
    }

    /// The receiver of that name; one that is new hears from now on.
    pub(super) fn find(&mut self, id: &ReceiverId) -> Ear {
        let known = self.receivers.iter().position(|receiver| receiver.id == *id);
        Ear(known.unwrap_or_else(|| {
            let clock = HearingClock { state: self.first_state, ..HearingClock::default() };
            let deadlines = BinaryHeap::new();
            self.receivers.push(Receiver { id: id.clone(), clock, deadlines });
            self.receivers.len() - 1
        }))
    }

    /// The receiver of that name, or another one if there is none of that name and others are
    /// known: an adapter may have been replaced.
    pub(super) fn find_or_any(&mut self, id: &ReceiverId) -> Ear {
        let known = self.receivers.iter().any(|receiver| receiver.id == *id);
        if known || self.receivers.is_empty() { self.find(id) } else { Ear(0) }
    }

    /// The receivers' names, by their places.
    pub(super) fn ids(&self) -> impl Iterator<Item = &ReceiverId> {
        self.receivers.iter().map(|receiver| &receiver.id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Ear> + use<> {
        (0..self.receivers.len()).map(Ear)
    }

    /// A receiver's hearing time at an uptime.
    pub(super) fn at(&self, ear: Ear, now: Uptime) -> HearingTime {
        self.clock(ear).map_or(HearingTime(now), |clock| clock.at(now))
    }

    /// Anything at all was heard, a stranger included.
    pub(super) fn heard(&mut self, ear: Ear, now: Uptime) {
        if let Some(receiver) = self.receivers.get_mut(ear.0) {
            receiver.clock.heard(now);
        }
    }

    /// A receiver's state changed. Tells the state with the moment from which it counts.
    pub(super) fn set(&mut self, ear: Ear, now: Uptime, state: RadioState) -> RadioState {
        let Some(receiver) = self.receivers.get_mut(ear.0) else { return state };
        receiver.clock.set(now, state);
        receiver.clock.state
    }

    /// From now on silence means absence, whichever receiver is silent.
    pub(super) fn trust_all(&mut self, now: Uptime) {
        self.first_state = RadioState::Quiet;
        for receiver in &mut self.receivers {
            receiver.clock.set(now, RadioState::Quiet);
        }
    }

    /// The moment up to which a receiver proves an absence: silence may be a deaf radio's.
    pub(super) fn proven(&self, ear: Ear, now: Uptime) -> HearingTime {
        self.clock(ear).map_or(HearingTime(now), |clock| clock.proven(now))
    }

    /// Lets a visit wait until a receiver proves the deadline passed.
    pub(super) fn wait(&mut self, ear: Ear, deadline: HearingTime, subject: SubjectIndex) {
        if let Some(receiver) = self.receivers.get_mut(ear.0) {
            receiver.deadlines.push(Reverse((deadline, subject)));
        }
    }

    /// The next deadline at this receiver that is proven to have passed, and whose visit it decides.
    pub(super) fn pop_due(&mut self, ear: Ear, now: Uptime) -> Option<(HearingTime, SubjectIndex)> {
        let receiver = self.receivers.get_mut(ear.0)?;
        let Reverse(due) = *receiver.deadlines.peek()?;
        (due.0 <= receiver.clock.proven(now)).then(|| {
            receiver.deadlines.pop();
            due
        })
    }

    /// When a deadline can next be proven passed without anything more being heard.
    pub(super) fn next_deadline(&self) -> Option<Uptime> {
        let due = self.receivers.iter().filter_map(|receiver| {
            let Reverse((deadline, _)) = receiver.deadlines.peek()?;
            receiver.clock.uptime_of(*deadline)
        });
        due.min()
    }

    /// Moves every waiting visit to its subject's new place, or forgets it.
    pub(super) fn reindex(&mut self, new_place: impl Fn(SubjectIndex) -> Option<SubjectIndex>) {
        for receiver in &mut self.receivers {
            let deadlines = std::mem::take(&mut receiver.deadlines);
            receiver.deadlines = deadlines
                .into_iter()
                .filter_map(|Reverse((due, subject))| Some(Reverse((due, new_place(subject)?))))
                .collect();
        }
    }

    fn clock(&self, ear: Ear) -> Option<&HearingClock> {
        self.receivers.get(ear.0).map(|receiver| &receiver.clock)
    }
}

// === impl HearingClock ===

impl Default for HearingClock {
    fn default() -> Self {
        let never = Uptime::from_micros(i64::MIN);
        let state = RadioState::default();
        Self { state, deaf: Duration::ZERO, evidence: never, counted: never }
    }
}

impl HearingClock {
    /// Hearing time at an uptime.
    fn at(&self, now: Uptime) -> HearingTime {
        let now = self.frozen_since().map_or(now, |since| now.min(since));
        HearingTime(now - self.deaf)
    }

    /// Anything at all was heard, a stranger included.
    fn heard(&mut self, now: Uptime) {
        self.evidence = self.evidence.max(now);
    }

    /// The moment up to which an absence is proven: silence may be a deaf radio's.
    fn proven(&self, now: Uptime) -> HearingTime {
        match self.state {
            RadioState::Quiet => self.at(now),
            RadioState::Hearing | RadioState::Suspect { .. } | RadioState::Deaf { .. } => {
                self.at(self.evidence)
            }
        }
    }

    /// The uptime at which a deadline can be proven passed without hearing anything more; `None`
    /// when only an advertisement or a change of the radio's state can prove it.
    fn uptime_of(&self, deadline: HearingTime) -> Option<Uptime> {
        (self.state == RadioState::Quiet).then(|| deadline.0 + self.deaf)
    }

    /// The radio's state changed.
    fn set(&mut self, now: Uptime, state: RadioState) {
        let before = self.frozen_since();
        self.state = state;
        match (before, self.frozen_since()) {
            // What was suspected is confirmed: it began when it was first suspected.
            (Some(since), Some(_)) => self.freeze_at(since),
            (Some(since), None) => {
                self.deaf += now.since(since);
                self.evidence = self.evidence.max(now);
                self.counted = now;
            }
            // What is suspected since before it last heard again was counted as deaf already.
            (None, Some(since)) => self.freeze_at(since.max(self.counted)),
            (None, None) => {}
        }
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
    fn what_was_counted_as_deaf_is_not_counted_twice() {
        let mut clock = HearingClock::default();
        clock.heard(s(10));
        // The machine slept from 20 to 7220, which scan takes for silence afterwards.
        clock.set(s(7220), RadioState::Deaf { since: s(20), cause: DeafCause::Suspended });
        clock.set(s(7220), RadioState::Hearing);
        clock.set(s(7222), RadioState::Suspect { since: s(10) });
        assert_eq!(clock.at(s(7230)), HearingTime(s(20)));
        clock.set(s(7230), RadioState::Hearing);
        assert_eq!(clock.at(s(7235)), HearingTime(s(25)));
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

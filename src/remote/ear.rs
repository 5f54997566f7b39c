//! Decides what a remote receiver's silence means: when it was heard from and how the line stands in,
//! its state out. Pure: time is handed in.
//!
//! Nobody can check a foreign gateway's radio from here. So silence is doubted soon, as a local
//! radio's is, and believed only while the receiver proves that it listens and hears nothing of use:
//! a counter of its own that goes on, an interval that it reports as empty. While it is doubted,
//! presence at it stands still; nobody leaves because a receiver fell silent.
//!
//! Promises that every change of state is told once, in order, and that a receiver that stays silent
//! is told to be deaf once.

use std::{collections::VecDeque, time::Duration};

use super::format::Sign;
use crate::engine::{DeafCause, RadioState, Uptime};

/// The times that [`Ear`] goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// Silence after which presence is frozen.
    pub suspect_after: Duration,
    /// Silence after which the receiver is told to be deaf.
    pub silent_after: Duration,
}

/// Watches one remote receiver.
#[derive(Clone, Debug)]
pub struct Ear {
    patience: Patience,
    /// The line to the broker stands, and the broker lets us hear the receiver's topics.
    linked: bool,
    /// It said goodbye.
    offline: bool,
    /// When the last advertisement came.
    heard: Option<Uptime>,
    /// When it last proved that it listens.
    proven: Option<Uptime>,
    /// The time between its last two proofs.
    pace: Duration,
    /// What it last counted.
    count: Option<u64>,
    /// When it was last heard from; before that, when watching began.
    vouched: Uptime,
    told: RadioState,
    news: VecDeque<RadioState>,
}

/// A proof is due again after so many times its usual distance.
const PACES: u32 = 3;

impl Ear {
    /// Starts at `now`, without a line.
    pub fn new(patience: Patience, now: Uptime) -> Self {
        Self {
            patience,
            linked: false,
            offline: false,
            heard: None,
            proven: None,
            pace: Duration::ZERO,
            count: None,
            vouched: now,
            told: RadioState::Hearing,
            news: VecDeque::new(),
        }
    }

    /// The line to the broker stands, or no longer does.
    pub fn link(&mut self, now: Uptime, linked: bool) {
        self.linked = linked;
        self.handle_timeout(now);
    }

    /// An advertisement came.
    pub fn heard(&mut self, now: Uptime) {
        self.heard = Some(now);
        self.came(now);
    }

    /// It said something about itself.
    pub fn sign(&mut self, now: Uptime, sign: Sign) {
        match sign {
            Sign::Offline => {
                self.offline = true;
                self.handle_timeout(now);
            }
            // That it is there does not say that it hears.
            Sign::Online => {
                self.offline = false;
                self.handle_timeout(now);
            }
            Sign::Interval => self.prove(now),
            Sign::Count(count) => {
                let before = self.count.replace(count);
                if count > 0 && before.is_some_and(|before| before != count) {
                    self.prove(now);
                }
            }
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Uptime) {
        let state = self.judge(now);
        if std::mem::discriminant(&self.told) != std::mem::discriminant(&state)
            || matches!((self.told, state), (RadioState::Deaf { cause: was, .. }, RadioState::Deaf { cause, .. }) if was != cause)
        {
            self.told = state;
            self.news.push_back(state);
        }
    }

    /// When [`Self::handle_timeout`] is next due.
    pub fn poll_timeout(&self, now: Uptime) -> Option<Uptime> {
        let Patience { suspect_after, silent_after } = self.patience;
        let times = [
            self.heard.map(|heard| heard + suspect_after),
            self.proven.map(|proven| proven + self.until_next_proof()),
            Some(self.vouched + suspect_after),
            Some(self.vouched + silent_after),
        ];
        times.into_iter().flatten().filter(|time| *time > now).min()
    }

    /// The next change of state, once.
    pub fn poll_change(&mut self) -> Option<RadioState> {
        self.news.pop_front()
    }

    /// When it was last heard from.
    pub fn last_heard(&self) -> Option<Uptime> {
        self.heard.max(self.proven)
    }

    fn prove(&mut self, now: Uptime) {
        if let Some(before) = self.proven.replace(now) {
            self.pace = now.since(before);
        }
        self.came(now);
    }

    fn came(&mut self, now: Uptime) {
        self.offline = false;
        self.vouched = self.vouched.max(now);
        self.handle_timeout(now);
    }

    fn until_next_proof(&self) -> Duration {
        let Patience { suspect_after, silent_after } = self.patience;
        self.pace.saturating_mul(PACES).clamp(suspect_after, silent_after.max(suspect_after))
    }

    fn judge(&self, now: Uptime) -> RadioState {
        let since = self.vouched;
        let silent = now.since(since) >= self.patience.silent_after;
        let within =
            |then: Option<Uptime>, span: Duration| then.is_some_and(|then| now.since(then) < span);
        if self.offline || !self.linked && silent {
            return RadioState::Deaf { since, cause: DeafCause::Unreachable };
        }
        if !self.linked {
            return RadioState::Suspect { since };
        }
        if within(self.heard, self.patience.suspect_after) {
            return RadioState::Hearing;
        }
        if within(self.proven, self.until_next_proof()) {
            return RadioState::Quiet;
        }
        if silent {
            return RadioState::Deaf { since, cause: DeafCause::Silence };
        }
        RadioState::Suspect { since }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { suspect_after: Duration::from_secs(20), silent_after: Duration::from_mins(5) };

    fn s(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    fn linked() -> Ear {
        let mut ear = Ear::new(PATIENCE, s(0));
        ear.link(s(0), true);
        ear.news.clear();
        ear
    }

    /// Lets time pass as a shell does, and tells what changed when.
    fn pass(ear: &mut Ear, mut now: Uptime, until: Uptime) -> Vec<(Uptime, RadioState)> {
        let mut told = Vec::new();
        while let Some(due) = ear.poll_timeout(now).filter(|due| *due <= until) {
            now = due;
            ear.handle_timeout(now);
            told.extend(std::iter::from_fn(|| ear.poll_change()).map(|state| (now, state)));
        }
        told
    }

    const DEAF: fn(i64) -> RadioState =
        |since| RadioState::Deaf { since: s(since), cause: DeafCause::Silence };
    const SUSPECT: fn(i64) -> RadioState = |since| RadioState::Suspect { since: s(since) };

    #[test]
    fn a_receiver_that_falls_silent_is_doubted_then_deaf_and_told_each_once() {
        let mut ear = linked();
        ear.heard(s(10));
        assert_eq!(ear.poll_change(), Some(RadioState::Hearing), "it was not heard before");
        assert_eq!(pass(&mut ear, s(10), s(9999)), [(s(30), SUSPECT(10)), (s(310), DEAF(10))]);
        ear.heard(s(10_000));
        assert_eq!(ear.poll_change(), Some(RadioState::Hearing));
        assert_eq!(ear.poll_change(), None);
    }

    #[test]
    fn a_receiver_that_counts_on_and_brings_nothing_is_quiet() {
        let mut ear = linked();
        ear.heard(s(1));
        ear.poll_change();
        let mut told = Vec::new();
        for n in 0..20 {
            ear.sign(s(1 + n * 15), Sign::Count(100 + u64::try_from(n).unwrap()));
            told.extend(pass(&mut ear, s(1 + n * 15), s(15 + n * 15)));
        }
        assert_eq!(told, [(s(21), RadioState::Quiet)]);
        // It stops counting.
        ear.sign(s(301), Sign::Count(119));
        assert_eq!(pass(&mut ear, s(301), s(9999)), [(s(331), SUSPECT(286)), (s(586), DEAF(286))]);
    }

    #[test]
    fn one_number_alone_and_the_same_again_prove_nothing() {
        let mut ear = linked();
        for second in 0..10 {
            ear.sign(s(second), Sign::Count(7));
            ear.sign(s(second), Sign::Online);
        }
        assert_eq!(ear.last_heard(), None);
        assert_eq!(pass(&mut ear, s(10), s(9999)), [(s(300), DEAF(0))]);
    }

    #[test]
    fn an_empty_interval_is_silence_that_is_believed_for_some_intervals() {
        let mut ear = linked();
        ear.heard(s(0));
        for second in 0..100 {
            ear.sign(s(second), Sign::Interval);
        }
        assert_eq!(ear.told, RadioState::Quiet);
        ear.news.clear();
        assert_eq!(pass(&mut ear, s(99), s(200)), [(s(119), SUSPECT(99))]);
    }

    #[test]
    fn a_line_that_breaks_freezes_at_once_and_is_told_when_it_stays_broken() {
        let mut ear = linked();
        ear.heard(s(10));
        ear.poll_change();
        ear.link(s(12), false);
        assert_eq!(ear.poll_change(), Some(SUSPECT(10)));
        ear.link(s(15), true);
        assert_eq!(ear.poll_change(), Some(RadioState::Hearing), "a short break is none");
        ear.link(s(16), false);
        ear.poll_change();
        let unreachable = RadioState::Deaf { since: s(10), cause: DeafCause::Unreachable };
        assert_eq!(pass(&mut ear, s(16), s(9999)), [(s(310), unreachable)]);
        ear.link(s(400), true);
        assert_eq!(ear.poll_change(), Some(DEAF(10)), "the line alone does not make it hear");
    }

    #[test]
    fn a_goodbye_is_believed_at_once_until_it_is_heard_again() {
        let mut ear = linked();
        ear.heard(s(10));
        ear.poll_change();
        ear.sign(s(11), Sign::Offline);
        let gone = RadioState::Deaf { since: s(10), cause: DeafCause::Unreachable };
        assert_eq!(ear.poll_change(), Some(gone));
        ear.heard(s(13));
        assert_eq!(ear.poll_change(), Some(RadioState::Hearing));
    }
}

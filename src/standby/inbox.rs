//! Which messages of the other gateway are taken: sealed messages in, what they say out. Pure.
//!
//! Promises that a message is taken once, in the order in which it was made, and only from where it belongs;
//! that an old recording is not taken where both clocks are believed; and nothing that the broker has kept.

use std::{collections::VecDeque, time::Duration};

use thiserror::Error;

use super::form::{Bond, Message, Stamp, Unread};
use crate::{
    engine::{ClockQuality, Uptime, WallClock},
    relay::Run,
    seal::Sealer,
};

/// A message that took longer than this, by two clocks that are believed, is an old recording: three times
/// what makes a break.
const MAX_AGE: Duration = Duration::from_secs(10);

/// A gateway may claim at most this error of its clock, in microseconds: one minute.
const MOST_ERROR_US: u32 = 60_000_000;

/// How many starts of the other gateway are remembered.
const RUNS: usize = 16;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Refusal {
    /// It cannot be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// The broker had kept it.
    #[error("the broker had kept it; clear what it holds on that topic")]
    Retained,
    /// It was made too long ago.
    #[error(
        "it was made more than ten seconds ago; look at both clocks, or at who plays a recording"
    )]
    Stale,
    /// It came before, or is of an earlier start.
    #[error("it came before, or is of an earlier start of the other gateway")]
    Replayed,
}

/// Takes the messages of one other gateway.
#[derive(Debug)]
pub struct Inbox {
    sealer: Sealer,
    bond: Bond,
    /// Its starts, the present one last, with the last counter that was taken.
    runs: VecDeque<(Run, u64)>,
}

// === impl Refusal ===

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Unread(Unread::TooLarge),
        Self::Unread(Unread::Form),
        Self::Unread(Unread::NoKey),
        Self::Unread(Unread::Sealed),
        Self::Unread(Unread::Shape),
        Self::Retained,
        Self::Stale,
        Self::Replayed,
    ];

    /// The word used in the metrics and the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unread(Unread::TooLarge) => "too_large",
            Self::Unread(Unread::Form) => "not_sealed",
            Self::Unread(Unread::NoKey) => "no_key",
            Self::Unread(Unread::Sealed) => "sealed",
            Self::Unread(Unread::Shape) => "shape",
            Self::Retained => "retained",
            Self::Stale => "stale",
            Self::Replayed => "replayed",
        }
    }
}

// === impl Inbox ===

impl Inbox {
    /// For what comes of a place.
    pub fn new(sealer: Sealer, bond: Bond) -> Self {
        Self { sealer, bond, runs: VecDeque::new() }
    }

    /// Where its messages are published.
    pub fn topic(&self) -> &str {
        self.bond.topic()
    }

    /// Seals what is told at another place by the same key.
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Takes what came at `now`, or says why not.
    pub fn take(
        &mut self,
        now: Uptime,
        wall: &WallClock,
        payload: &[u8],
        retained: bool,
    ) -> Result<Message, Refusal> {
        if retained {
            return Err(Refusal::Retained);
        }
        let (stamp, message) = Message::open(&self.sealer, &self.bond, payload)?;
        let by_clocks = by_clocks(now, wall, stamp);
        if by_clocks == Some(false) {
            return Err(Refusal::Stale);
        }
        let (run, counter) = (message.start(), message.counter);
        let is_present = self.runs.back().is_some_and(|(last, _)| *last == run);
        let is_known = self.runs.iter().any(|(known, _)| *known == run);
        match self.runs.back_mut() {
            Some((_, last)) if is_present && counter > *last => *last = counter,
            Some(_) if is_known => return Err(Refusal::Replayed),
            // A store that was begun anew under a smaller number is believed by the clocks alone.
            Some((last, _)) if by_clocks.is_none() && !run.is_after(last) => {
                return Err(Refusal::Replayed);
            }
            Some(_) | None => {
                self.runs.push_back((run, counter));
                if self.runs.len() > RUNS {
                    self.runs.pop_front();
                }
            }
        }
        Ok(message)
    }
}

/// Whether it was made just now; `None` when a clock is not believed.
fn by_clocks(now: Uptime, wall: &WallClock, stamp: Stamp) -> Option<bool> {
    let error_us = stamp.error_us?.min(MOST_ERROR_US);
    if wall.quality != ClockQuality::Synced {
        return None;
    }
    let ours_us = wall.unix_at(now).as_millis().saturating_mul(1000);
    let allowed = MAX_AGE + Duration::from_micros(error_us.into());
    Some(u128::from(ours_us.abs_diff(stamp.sent_us)) <= allowed.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::UnixTime, seal::KeyRing, uplink::Topics};

    const NOW_MS: i64 = 1_700_000_000_000;

    fn sealer() -> Sealer {
        Sealer::new(KeyRing::parse(format!("1:{}", "a".repeat(64)).as_bytes()).unwrap())
    }

    fn bond() -> Bond {
        let name = |text: &str| text.parse().unwrap();
        Bond::new(&Topics::new(name("t"), name("s"), name("gw1")))
    }

    fn sealed(run: (u32, u64, u64), counter: u64, sent_ms: i64, believed: bool) -> Vec<u8> {
        let message = Message { run, counter, ..Message::default() };
        let stamp = Stamp { sent_us: sent_ms * 1000, error_us: believed.then_some(1000) };
        message.seal(stamp, &sealer(), &bond()).unwrap()
    }

    fn wall(quality: ClockQuality) -> WallClock {
        WallClock { at: Uptime::ZERO, unix: UnixTime::from_millis(NOW_MS), quality }
    }

    #[test]
    fn a_message_is_taken_once_and_in_order_and_an_earlier_start_is_over() {
        let mut inbox = Inbox::new(sealer(), bond());
        let wall = wall(ClockQuality::Unsynced);
        let mut take = |run, counter| {
            let payload = sealed(run, counter, 0, false);
            inbox.take(Uptime::ZERO, &wall, &payload, false).map(|it| it.counter)
        };
        assert_eq!(take((1, 5, 9), 3), Ok(3));
        assert_eq!(take((1, 5, 9), 3), Err(Refusal::Replayed));
        assert_eq!(take((1, 5, 9), 2), Err(Refusal::Replayed));
        assert_eq!(take((1, 5, 9), 7), Ok(7));
        assert_eq!(take((1, 4, 8), 99), Err(Refusal::Replayed), "never heard of, and older");
        assert_eq!(take((1, 6, 7), 1), Ok(1));
        assert_eq!(take((1, 5, 9), 8), Err(Refusal::Replayed));
    }

    #[test]
    fn by_clocks_that_are_believed_an_old_recording_is_refused_from_the_start() {
        let mut inbox = Inbox::new(sealer(), bond());
        let wall = wall(ClockQuality::Synced);
        let mut take = |sent_ms, retained| {
            let payload = sealed((1, 1, 1), 1, sent_ms, true);
            inbox.take(Uptime::ZERO, &wall, &payload, retained).map(|it| it.counter)
        };
        assert_eq!(take(NOW_MS - 11_000, false), Err(Refusal::Stale));
        assert_eq!(take(NOW_MS + 11_000, false), Err(Refusal::Stale));
        assert_eq!(take(NOW_MS, true), Err(Refusal::Retained));
        assert_eq!(take(NOW_MS - 9000, false), Ok(1));
        let words: std::collections::BTreeSet<_> = Refusal::ALL.map(Refusal::word).into();
        assert_eq!(words.len(), Refusal::ALL.len());
    }
}

//! What another `beacon-gateway` heard and resolved: sealed messages in, sightings of members out. Pure.
//!
//! Promises that a message is taken once, in the order in which it was made, and only from where it
//! belongs; that an old recording is not taken where both clocks are believed; and that what is left
//! out is counted.

use std::{collections::VecDeque, time::Duration};

use super::format::Refusal;
use crate::{
    engine::{ClockQuality, Uptime, WallClock},
    relay::{Batch, Bond, Run, Unread},
    seal::Sealer,
};

/// How many starts of a receiver are remembered, each with the last message that was taken.
const RUNS: usize = 16;

/// A receiver may claim at most this error of its clock, in microseconds: one minute.
const MOST_ERROR_US: u32 = 60_000_000;

/// Opens the messages of one radio of another gateway.
#[derive(Debug)]
pub struct Opener {
    sealer: Sealer,
    bond: Bond,
    max_age: Duration,
    /// The receiver's starts, the present one last, with the last counter that was taken.
    runs: VecDeque<(Run, u64)>,
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// What it says.
    pub batch: Batch,
    /// How many messages before it never came.
    pub missed: u64,
}

impl Opener {
    /// For what comes of a place. By clocks that are both believed, what was made longer than `max_age`
    /// ago is an old recording.
    pub fn new(sealer: Sealer, bond: Bond, max_age: Duration) -> Self {
        Self { sealer, bond, max_age, runs: VecDeque::new() }
    }

    /// Opens what came at `now`.
    pub fn open(
        &mut self,
        now: Uptime,
        wall: &WallClock,
        topic: &str,
        payload: &[u8],
    ) -> Result<Opened, Refusal> {
        if topic != self.bond.topic() {
            return Err(Refusal::Foreign);
        }
        let batch = Batch::open(&self.sealer, &self.bond, payload)?;
        let by_clocks = self.by_clocks(now, wall, &batch);
        if by_clocks == Some(false) {
            return Err(Refusal::Stale);
        }
        let missed = self.advance(&batch, by_clocks == Some(true)).ok_or(Refusal::Replayed)?;
        Ok(Opened { batch, missed })
    }

    /// Whether it was made just now; `None` when a clock is not believed.
    fn by_clocks(&self, now: Uptime, wall: &WallClock, batch: &Batch) -> Option<bool> {
        let error_us = batch.error_us?.min(MOST_ERROR_US);
        if wall.quality != ClockQuality::Synced {
            return None;
        }
        let ours_us = wall.unix_at(now).as_millis().saturating_mul(1000);
        let allowed = self.max_age + Duration::from_micros(error_us.into());
        Some(u128::from(ours_us.abs_diff(batch.sent_us)) <= allowed.as_micros())
    }

    /// Enters a message. Tells how many before it are missing, or nothing when it is no later one.
    fn advance(&mut self, batch: &Batch, is_fresh: bool) -> Option<u64> {
        let known = self.runs.iter().position(|(run, _)| *run == batch.run);
        let present = known.is_some_and(|known| known.saturating_add(1) == self.runs.len());
        match (known, self.runs.back_mut()) {
            (Some(_), Some((_, last))) if present => {
                let before = *last;
                (batch.counter > before).then(|| {
                    *last = batch.counter;
                    batch.counter.abs_diff(before).saturating_sub(1)
                })
            }
            // A start that was followed by another one is over.
            (Some(_), _) => None,
            (None, Some((last, _))) if !is_fresh && !batch.run.is_after(last) => None,
            (None, last) => {
                // What came before the first message that we heard was not for us.
                let missed = if last.is_some() { batch.counter.saturating_sub(1) } else { 0 };
                self.runs.push_back((batch.run, batch.counter));
                if self.runs.len() > RUNS {
                    self.runs.pop_front();
                }
                Some(missed)
            }
        }
    }
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLarge => Self::TooLarge,
            Unread::Form => Self::NotSealed,
            Unread::NoKey => Self::NoKey,
            Unread::Sealed => Self::Sealed,
            Unread::Shape => Self::Shape,
            Unread::TooMany => Self::TooMany,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{engine::UnixTime, seal::KeyRing};

    pub(in crate::remote) const TOPIC: &str = "beacon/v1/t/s/gw2/sighting/local";
    const NOW_MS: i64 = 1_700_000_000_000;

    pub(in crate::remote) fn sealer() -> Sealer {
        Sealer::new(KeyRing::parse(format!("1:{}", "a".repeat(64)).as_bytes()).unwrap())
    }

    pub(in crate::remote) fn bond() -> Bond {
        Bond::of(TOPIC).unwrap()
    }

    fn opener() -> Opener {
        Opener::new(sealer(), bond(), Duration::from_secs(10))
    }

    fn run(epoch: u32, sequence: u64, mark: u64) -> Run {
        Run { epoch, sequence, mark }
    }

    pub(in crate::remote) fn batch(run: Run, counter: u64) -> Batch {
        Batch {
            run,
            counter,
            sent_us: NOW_MS * 1000,
            error_us: None,
            vouches: true,
            leaving: false,
            sightings: Vec::new(),
        }
    }

    fn wall(unix_ms: i64, quality: ClockQuality) -> WallClock {
        WallClock { at: Uptime::ZERO, unix: UnixTime::from_millis(unix_ms), quality }
    }

    fn missed(opener: &mut Opener, wall: &WallClock, batch: &Batch) -> Result<u64, Refusal> {
        let sealed = batch.seal(&sealer(), &bond()).unwrap();
        opener.open(Uptime::ZERO, wall, TOPIC, &sealed).map(|opened| opened.missed)
    }

    #[test]
    fn a_message_is_taken_once_and_in_order_and_what_is_left_out_is_counted() {
        let (mut opener, wall) = (opener(), wall(NOW_MS, ClockQuality::Unsynced));
        let run = run(1, 5, 0);
        let mut take = |counter| missed(&mut opener, &wall, &batch(run, counter));
        assert_eq!(take(40), Ok(0), "what came before we listened is not missed");
        assert_eq!(
            (take(41), take(41), take(40)),
            (Ok(0), Err(Refusal::Replayed), Err(Refusal::Replayed))
        );
        assert_eq!((take(45), take(44), take(46)), (Ok(3), Err(Refusal::Replayed), Ok(0)));
        assert_eq!(take(u64::MAX), Ok(u64::MAX - 47));
    }

    #[test]
    fn a_start_that_was_followed_by_another_is_over() {
        let (mut opener, wall) = (opener(), wall(NOW_MS, ClockQuality::Unsynced));
        let mut take = |run, counter| missed(&mut opener, &wall, &batch(run, counter));
        assert_eq!(take(run(1, 5, 0), 7), Ok(0));
        assert_eq!(take(run(1, 9, 0), 3), Ok(2));
        assert_eq!(take(run(1, 5, 0), 8), Err(Refusal::Replayed));
        assert_eq!(take(run(1, 7, 0), 1), Err(Refusal::Replayed), "nor one in between");
        assert_eq!(take(run(1, 9, 1), 1), Err(Refusal::Replayed), "nor another of the same place");
        assert_eq!(take(run(2, 0, 0), 1), Ok(0));
        for sequence in 1..100 {
            assert_eq!(take(run(2, sequence, 0), 1), Ok(0));
        }
    }

    #[test]
    fn by_clocks_that_are_believed_an_old_recording_is_known() {
        let mut opener = opener();
        let sure = wall(NOW_MS + 10_500, ClockQuality::Synced);
        let of = |error_us| Batch { error_us, ..batch(run(1, 5, 0), 1) };
        assert_eq!(missed(&mut opener, &sure, &of(Some(1000))), Err(Refusal::Stale));
        assert_eq!(missed(&mut opener, &sure, &of(Some(600_000))), Ok(0), "within the error");
        let early = Batch { sent_us: (NOW_MS + 60_000) * 1000, ..of(Some(0)) };
        assert_eq!(missed(&mut opener, &sure, &Batch { counter: 2, ..early }), Err(Refusal::Stale));
        // Nobody may claim an error that makes everything fresh.
        let late = wall(NOW_MS + 100_000, ClockQuality::Synced);
        let claims = Batch { counter: 3, ..of(Some(u32::MAX)) };
        assert_eq!(missed(&mut opener, &late, &claims), Err(Refusal::Stale));
        // Where one clock is not believed, only the order decides.
        let unsure = wall(0, ClockQuality::Unsynced);
        assert_eq!(missed(&mut opener, &unsure, &Batch { counter: 4, ..of(Some(0)) }), Ok(2));
        assert_eq!(missed(&mut opener, &late, &Batch { counter: 5, ..of(None) }), Ok(0));
    }

    #[test]
    fn a_receiver_whose_store_was_begun_anew_is_believed_by_the_clocks_alone() {
        let mut opener = opener();
        let sure = wall(NOW_MS, ClockQuality::Synced);
        let fresh = |run, counter| Batch { error_us: Some(0), ..batch(run, counter) };
        assert_eq!(missed(&mut opener, &sure, &fresh(run(1, 900, 1), 5)), Ok(0));
        assert_eq!(missed(&mut opener, &sure, &batch(run(1, 0, 2), 1)), Err(Refusal::Replayed));
        assert_eq!(missed(&mut opener, &sure, &fresh(run(1, 0, 2), 1)), Ok(0));
        let before = fresh(run(1, 900, 1), 6);
        assert_eq!(missed(&mut opener, &sure, &before), Err(Refusal::Replayed), "that one is over");
    }

    #[test]
    fn what_belongs_elsewhere_is_refused() {
        let (mut opener, wall) = (opener(), WallClock::default());
        let sealed = batch(run(1, 1, 1), 1).seal(&sealer(), &bond()).unwrap();
        let elsewhere = "beacon/v1/t/s/gw2/sighting/other";
        let open = |opener: &mut Opener, topic, payload: &[u8]| {
            opener.open(Uptime::ZERO, &wall, topic, payload).map(|opened| opened.missed)
        };
        assert_eq!(open(&mut opener, elsewhere, &sealed), Err(Refusal::Foreign));
        let other = Bond::of(elsewhere).unwrap();
        let moved = batch(run(1, 1, 1), 1).seal(&sealer(), &other).unwrap();
        assert_eq!(open(&mut opener, TOPIC, &moved), Err(Refusal::Sealed));
        assert_eq!(open(&mut opener, TOPIC, b"{\"rssi\":-70}"), Err(Refusal::NotSealed));
        assert_eq!(open(&mut opener, TOPIC, &sealed), Ok(0));
    }
}

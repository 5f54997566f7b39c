//! How far a receiver's clock is from ours: when its messages came and when it says to have sent them
//! in, the date of what it heard out. Pure.
//!
//! A message cannot come before it was sent, so the least difference between our time at its arrival
//! and its stamp is the difference of the clocks, but for the shortest way of a message: milliseconds
//! in a shop. Late ones have a larger difference, which is how late they are. Stamps in whole seconds
//! are cut, not rounded, so the least difference is right for them as well, to a second.
//!
//! Robust: one wild stamp changes nothing. A difference that is far from the others is believed only
//! when the next messages agree with it: a clock that was set forward when three do, one that was
//! set back (which looks like messages that are late) when they do for some time, because a backlog
//! catches up and a clock does not.

use std::{collections::VecDeque, time::Duration};

use super::json::Stamp;
use crate::engine::Uptime;

/// The least difference is looked for in this time: long enough that some message came without a
/// detour, short enough that a cheap clock (100 ppm) drifts by 60 ms.
const WINDOW: Duration = Duration::from_mins(10);

/// The window moves by this.
const BUCKET: Duration = Duration::from_mins(1);

/// More than this from the estimate, in microseconds: the clock was set, or the message is late.
const FAR: i64 = 2_000_000;

/// Differences of one clock are within this, in microseconds: a second by which stamps are cut, and
/// half of one for the network.
const AGREE: i64 = 1_500_000;

/// How many messages must agree on a clock that was set forward.
const FORWARD: u32 = 3;

/// How many, and for how long, on one that was set back.
const BACK: u32 = 5;
const BACK_FOR: Duration = Duration::from_secs(20);

/// Estimates the difference.
#[derive(Clone, Debug, Default)]
pub struct SenderClock {
    /// The least difference of each minute, oldest first; the last one stays however old it is.
    least: VecDeque<(Uptime, i64)>,
    rival: Option<Rival>,
}

/// Another difference, that may be the right one from now on.
#[derive(Clone, Copy, Debug)]
struct Rival {
    /// What it was at first: a backlog that catches up does not stay near it.
    first: i64,
    least: i64,
    since: Uptime,
    count: u32,
}

impl SenderClock {
    /// A message arrived that was sent then, by the sender's clock.
    pub fn observe(&mut self, arrived: Uptime, sent: Stamp) {
        let offset = arrived.as_micros().saturating_sub(sent.as_micros());
        let Some(estimate) = self.offset() else {
            self.least.push_back((arrived, offset));
            return;
        };
        let far = offset.saturating_sub(estimate);
        if (-FAR..=FAR).contains(&far) {
            self.rival = None;
            self.note(arrived, offset);
            return;
        }
        let rival = match self.rival {
            Some(rival) if (-AGREE..=AGREE).contains(&offset.saturating_sub(rival.first)) => {
                let (least, count) = (rival.least.min(offset), rival.count.saturating_add(1));
                Rival { least, count, ..rival }
            }
            _ => Rival { first: offset, least: offset, since: arrived, count: 1 },
        };
        let settled = if far < 0 {
            rival.count >= FORWARD
        } else {
            rival.count >= BACK && arrived.since(rival.since) >= BACK_FOR
        };
        if settled {
            self.rival = None;
            self.least.clear();
            self.least.push_back((arrived, rival.least));
        } else {
            self.rival = Some(rival);
        }
    }

    /// When something was heard that the sender stamped so: never after it arrived. Without an
    /// estimate, when it arrived.
    pub fn date(&self, arrived: Uptime, stamp: Stamp) -> Uptime {
        let Some(offset) = self.offset() else { return arrived };
        Uptime::from_micros(stamp.as_micros().saturating_add(offset)).min(arrived)
    }

    /// Our uptime less its time, in microseconds; none before anything was stamped.
    pub fn offset(&self) -> Option<i64> {
        self.least.iter().map(|(_, offset)| *offset).min()
    }

    fn note(&mut self, arrived: Uptime, offset: i64) {
        match self.least.back_mut() {
            Some((began, least)) if arrived.since(*began) < BUCKET => *least = offset.min(*least),
            _ => self.least.push_back((arrived, offset)),
        }
        while self.least.len() > 1
            && self.least.front().is_some_and(|(began, _)| arrived.since(*began) >= WINDOW)
        {
            self.least.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sender's clock reads this at our uptime zero.
    const THEIRS: i64 = 1_700_000_000_000_000;

    fn ms(millis: i64) -> Uptime {
        Uptime::from_micros(millis * 1000)
    }

    fn stamp(millis: i64) -> Stamp {
        Stamp::from_micros(THEIRS + millis * 1000)
    }

    /// A message a second from zero on, each with so many milliseconds on the way.
    fn settled(delays: &[i64]) -> SenderClock {
        let mut clock = SenderClock::default();
        for (second, delay) in (0..).zip(delays) {
            clock.observe(ms(second * 1000 + delay), stamp(second * 1000));
        }
        clock
    }

    #[test]
    fn a_late_message_is_dated_to_when_it_was_heard_and_none_to_the_future() {
        let clock = settled(&[40, 5, 300, 20, 900, 6]);
        assert_eq!(clock.date(ms(20_000), stamp(12_000)), ms(12_005));
        assert_eq!(clock.date(ms(20_000), stamp(19_999)), ms(20_000), "not after it arrived");
        assert_eq!(clock.date(ms(20_000), stamp(999_999)), ms(20_000));
        assert_eq!(SenderClock::default().date(ms(7), stamp(0)), ms(7));
    }

    #[test]
    fn stamps_in_whole_seconds_are_right_to_a_second() {
        let mut clock = SenderClock::default();
        for tenth in 0..300 {
            let now = tenth * 370;
            clock.observe(ms(now + 10), stamp(now / 1000 * 1000));
        }
        for now in [120_000, 120_400, 120_990] {
            let dated = clock.date(ms(200_000), stamp(now / 1000 * 1000));
            let early = ms(now).since(dated);
            assert!(dated <= ms(now + 20) && early <= Duration::from_secs(1), "{early:?}");
        }
    }

    #[test]
    fn one_wild_stamp_changes_nothing() {
        let mut clock = settled(&[5; 10]);
        let before = clock.offset();
        for wild in [i64::MAX / 1000 - THEIRS / 1000, -THEIRS / 1000, 86_400_000, -86_400_000] {
            clock.observe(ms(10_500), stamp(wild));
            clock.observe(ms(11_005), stamp(11_000));
        }
        assert_eq!(clock.offset(), before);
    }

    #[test]
    fn a_clock_that_is_set_forward_is_followed_after_three_messages() {
        let mut clock = settled(&[5; 10]);
        for second in 10..13 {
            let now = second * 1000;
            assert_eq!(clock.date(ms(now + 5), stamp(now + 3_600_000)), ms(now + 5), "{second}");
            clock.observe(ms(now + 5), stamp(now + 3_600_000));
        }
        assert_eq!(clock.date(ms(20_000), stamp(3_600_000 + 15_000)), ms(15_005));
    }

    #[test]
    fn a_clock_that_is_set_back_is_followed_after_a_while() {
        let mut clock = settled(&[5; 10]);
        for second in 10..=30 {
            let now = second * 1000;
            clock.observe(ms(now + 5), stamp(now - 60_000));
        }
        assert_eq!(clock.date(ms(40_000), stamp(35_000 - 60_000)), ms(35_005));
    }

    #[test]
    fn a_backlog_that_catches_up_is_no_clock_that_was_set_back() {
        let clock = settled(&[5; 10]);
        let before = clock.offset();
        // An outage of a minute; then a minute's messages in ten seconds, or in fifty.
        for step in [170, 830] {
            let mut clock = clock.clone();
            for n in 0..60 {
                clock.observe(ms(70_000 + n * step), stamp((10 + n) * 1000));
                assert_eq!(clock.offset(), before, "{n} of those at {step} ms");
            }
            assert_eq!(clock.date(ms(75_000), stamp(40_000)), ms(40_005));
        }
    }

    #[test]
    fn a_clock_that_drifts_is_followed() {
        let mut clock = SenderClock::default();
        let hours = 6 * 3600;
        for second in 0..hours {
            let now = second * 1000;
            // 100 ppm slow.
            clock.observe(ms(now + 5), Stamp::from_micros(THEIRS + now * 1000 - second * 100));
        }
        let sent = hours * 1000;
        let dated =
            clock.date(ms(sent + 9000), Stamp::from_micros(THEIRS + sent * 1000 - hours * 100));
        assert!(ms(sent + 5).since(dated) < Duration::from_millis(100), "{dated:?}");
        assert!(dated <= ms(sent + 5));
    }

    #[test]
    fn silence_for_hours_does_not_make_it_forget() {
        let mut clock = settled(&[5; 3]);
        clock.observe(ms(7_200_000 + 5), stamp(7_200_000));
        assert_eq!(clock.date(ms(7_300_000), stamp(7_250_000)), ms(7_250_005));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut clock = SenderClock::default();
        for arrived in [i64::MIN, i64::MAX, 0] {
            for sent in [i64::MIN, i64::MAX, 0] {
                clock.observe(Uptime::from_micros(arrived), Stamp::from_micros(sent));
                let dated = clock.date(Uptime::from_micros(arrived), Stamp::from_micros(sent));
                assert!(dated <= Uptime::from_micros(arrived));
            }
        }
    }
}

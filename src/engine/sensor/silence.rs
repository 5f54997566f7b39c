//! How often a fixture is heard, and from when on its silence is news.
//!
//! Every sensor has an interval of its own, and walls lengthen it: what counts is the longest gap that
//! was usual. A door that tells only when it is opened has none, so a fixture that measures nothing
//! has to be heard for a day before anything is made of its silence, and one that measures for an
//! hour.

use std::time::Duration;

use super::super::Uptime;

/// When a fixture was heard, and how often it usually is.
#[derive(Clone, Debug)]
pub(super) struct Rhythm {
    pub(super) heard: Uptime,
    /// From when its silence counts.
    from: Uptime,
    first: Uptime,
    /// The longest usual gap, in seconds: longer ones raise it at once, time lowers it slowly.
    longest: f64,
    gaps: u32,
    measures: bool,
    /// Nobody hears at present.
    pub(super) paused: bool,
    /// Nobody heard since it was heard last.
    resumed: bool,
}

/// Silent for so many of its longest usual gaps.
const GAPS: f64 = 4.0;

/// Nothing is silent sooner than this, however often it was heard: somebody stands before it.
const LEAST: Duration = Duration::from_mins(2);

/// Something that is heard less often than this is never missed, unless it was told to be.
const MOST: Duration = Duration::from_hours(48);

/// So many gaps must have been seen…
const ENOUGH: u32 = 20;

/// … in so much time, of something that measures…
const LEARNS_MEASURING: Duration = Duration::from_hours(1);

/// … and of something that only tells what happens.
const LEARNS_EVENTS: Duration = Duration::from_hours(24);

/// The longest gap is halved in so much time without another as long, in seconds: crowds come daily.
const HALVES_S: f64 = 12.0 * 3600.0;

impl Rhythm {
    pub(super) fn new(now: Uptime) -> Self {
        Self {
            heard: now,
            from: now,
            first: now,
            longest: 0.0,
            gaps: 0,
            measures: false,
            paused: false,
            resumed: false,
        }
    }

    /// It was heard; `measures` when it told anything that wanders.
    pub(super) fn hear(&mut self, now: Uptime, measures: bool) {
        self.measures |= measures;
        let gap = now.since(self.heard);
        (self.heard, self.from) = (now, now);
        // The same advertisement, heard by another receiver or sent on another channel.
        let again = gap < Duration::from_millis(500);
        let unheard = std::mem::take(&mut self.paused) | std::mem::take(&mut self.resumed);
        if unheard || again {
            return;
        }
        let gap = gap.as_secs_f64();
        self.longest = (self.longest * (-gap / HALVES_S).exp2()).max(gap);
        self.gaps = self.gaps.saturating_add(1);
    }

    /// From now on its silence counts.
    pub(super) fn resume(&mut self, now: Uptime) {
        self.from = now;
        // The gap that began while nobody heard is none.
        self.resumed = true;
        self.paused = false;
    }

    /// The longest usual gap; none while it is not known.
    pub(super) fn usual(&self) -> Option<Duration> {
        let learns = if self.measures { LEARNS_MEASURING } else { LEARNS_EVENTS };
        let known = self.gaps >= ENOUGH && self.heard.since(self.first) >= learns;
        known.then(|| Duration::from_secs_f64(self.longest))
    }

    /// When its silence will be news. `silent_after` is what the operator said: nothing at all, or
    /// zero for never.
    pub(super) fn due(&self, silent_after: Option<Duration>) -> Option<Uptime> {
        if self.paused {
            return None;
        }
        let after = match silent_after {
            Some(Duration::ZERO) => return None,
            Some(after) => after,
            None => {
                let usual = self.usual()?;
                let after = usual.mul_f64(GAPS).max(LEAST);
                (after <= MOST).then_some(after)?
            }
        };
        Some(self.from + after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Uptime {
        Uptime::ZERO + Duration::from_secs(second)
    }

    fn heard(seconds: impl Iterator<Item = u64>, measures: bool) -> Rhythm {
        let mut rhythm = Rhythm::new(at(0));
        seconds.for_each(|second| rhythm.hear(at(second), measures));
        rhythm
    }

    #[test]
    fn silence_is_measured_by_the_sensors_own_interval() {
        let every = |step: usize| heard((0..40_000).step_by(step), true);
        assert_eq!(every(10).due(None), Some(every(10).heard + Duration::from_mins(2)));
        assert_eq!(every(600).due(None), Some(every(600).heard + Duration::from_mins(40)));
        assert_eq!(every(10).due(Some(Duration::from_secs(30))), Some(at(39_990 + 30)));
        assert_eq!(every(10).due(Some(Duration::ZERO)), None);
    }

    #[test]
    fn a_gap_that_was_usual_is_no_silence() {
        let often_lost = heard((0..20_000).step_by(10).filter(|n| n % 1000 < 700), true);
        let due = often_lost.due(None).unwrap();
        assert!(due > often_lost.heard + Duration::from_mins(15), "gaps of five minutes are usual");
    }

    #[test]
    fn nothing_is_made_of_silence_before_the_interval_is_known() {
        assert_eq!(heard((0..3000).step_by(10), true).due(None), None, "not for an hour yet");
        let door = heard((0..7200).step_by(60), false);
        assert_eq!(door.due(None), None, "a busy door says nothing about the night");
        let door = heard((0..100_000).step_by(60), false);
        assert!(door.due(None).is_some());
    }

    #[test]
    fn while_no_receiver_hears_nothing_is_learned_and_nothing_is_due() {
        let mut rhythm = heard((0..7200).step_by(10), true);
        let before = rhythm.longest;
        rhythm.paused = true;
        assert_eq!(rhythm.due(None), None);
        rhythm.hear(at(20_000), true);
        assert!((rhythm.longest - before).abs() < 1.0);
        assert_eq!(rhythm.due(None), Some(at(20_120)));
    }
}

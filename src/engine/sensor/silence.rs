//! How often a fixture is heard, and from when on its silence is news.
//!
//! Every sensor has an interval of its own, and walls lengthen it: what counts is the longest gap that
//! was usual. A door that tells only when it is opened has none, so a fixture that measures nothing
//! has to be heard for a day before anything is made of its silence, and one that measures for an
//! hour. Until then what the operator expects counts, also of a fixture that was never heard.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    super::{Fixture, FixtureIndex, ReceiverId, Registry, ReportPolicy, Uptime},
    RhythmRecord,
};

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

/// No gap is remembered as longer than this, whatever was on the disk.
const LONGEST: Duration = Duration::from_hours(365 * 24);

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

    /// Goes on with what an earlier run has learned, as of its last look; nobody listens yet.
    pub(super) fn recalled(record: &RhythmRecord) -> Self {
        let RhythmRecord { heard, first, longest, gaps, measures, .. } = *record;
        let longest = longest.min(LONGEST).as_secs_f64();
        let (from, paused, resumed) = (heard, true, false);
        Self { heard, from, first, longest, gaps, measures, paused, resumed }
    }

    /// What of it outlives a restart, of a fixture that this receiver heard.
    pub(super) fn record(&self, receiver: &ReceiverId) -> RhythmRecord {
        let Self { heard, first, longest, gaps, measures, .. } = *self;
        let longest = Duration::from_secs_f64(longest.max(0.0)).min(LONGEST);
        RhythmRecord { receiver: receiver.clone(), heard, first, longest, gaps, measures }
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

    /// When its silence will be news.
    pub(super) fn due(&self, said: Expected) -> Option<Uptime> {
        if self.paused {
            return None;
        }
        let after = match (said.silent_after, self.usual()) {
            (None, Some(usual)) => {
                let after = several(usual);
                (after <= MOST).then_some(after)?
            }
            _ => said.after()?,
        };
        Some(self.from + after)
    }
}

/// What an operator says of a fixture's silence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    /// After how long it is news: nothing at all, or zero for never.
    pub(super) silent_after: Option<Duration>,
    /// How often the sensor sends.
    pub(super) interval: Option<Duration>,
}

impl Expected {
    pub(super) fn of(report: &ReportPolicy) -> Self {
        Self { silent_after: report.silent_after, interval: report.expected_interval }
    }

    /// After how long silence is news while nothing was learned.
    pub(super) fn after(self) -> Option<Duration> {
        match self.silent_after {
            Some(Duration::ZERO) => None,
            Some(after) => Some(after),
            None => self.interval.map(several),
        }
    }
}

fn several(gap: Duration) -> Duration {
    gap.mul_f64(GAPS).max(LEAST)
}

/// Fixtures that somebody expects and that were not heard yet.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    /// What has begun to be listened to: from when on, and since when that is told.
    fixtures: Option<BTreeMap<FixtureIndex, (Uptime, Option<Uptime>)>>,
    /// Nobody knows which receiver would hear them, so all must.
    deaf: BTreeSet<ReceiverId>,
    /// Of which an earlier run has told that they were never heard, and since when.
    recalled: BTreeMap<FixtureIndex, Uptime>,
}

impl Unheard {
    /// Something is listened to from now on, which what is known already is not waited for.
    pub(super) fn begin(
        &mut self,
        now: Uptime,
        registry: &Registry,
        is_known: impl Fn(FixtureIndex) -> bool,
    ) -> bool {
        let begins = self.fixtures.is_none();
        if begins {
            let is_expected = |(index, fixture): &(FixtureIndex, &Fixture)| {
                fixture.report.expected_interval.is_some() && !is_known(*index)
            };
            let expected = registry.fixtures_by_index().filter(is_expected);
            let mut fixtures: BTreeMap<_, _> =
                expected.map(|(index, _)| (index, (now, None))).collect();
            let recalled = std::mem::take(&mut self.recalled);
            fixtures.extend(recalled.into_iter().map(|(index, told)| (index, (now, Some(told)))));
            self.fixtures = Some(fixtures);
        }
        begins
    }

    /// What was told of a fixture is not so any more.
    pub(super) fn forget(&mut self, index: FixtureIndex) {
        self.recalled.remove(&index);
        if let Some((_, told)) = self.fixtures.as_mut().and_then(|it| it.get_mut(&index)) {
            *told = None;
        }
    }

    /// Goes on with what an earlier run has told of a fixture.
    pub(super) fn recall(&mut self, index: FixtureIndex, told: Uptime) {
        self.recalled.insert(index, told);
    }

    /// Since when it is told that a fixture was never heard, if it is.
    pub(super) fn standing(&self, index: FixtureIndex) -> Option<Uptime> {
        let told = self.fixtures.as_ref().and_then(|fixtures| fixtures.get(&index)?.1);
        told.or_else(|| self.recalled.get(&index).copied())
    }

    /// Whether something is listened to.
    pub(super) fn is_listening(&self) -> bool {
        self.fixtures.is_some()
    }

    /// Whether it is known that a receiver cannot hear.
    pub(super) fn is_deaf(&self, receiver: &ReceiverId) -> bool {
        self.deaf.contains(receiver)
    }

    /// The fixtures are others from now on.
    pub(super) fn replace(&mut self) {
        self.fixtures = None;
        self.recalled.clear();
    }

    /// Nothing is listened to any more; what was told stands.
    pub(super) fn end(&mut self) {
        let told =
            |(index, (_, told)): (FixtureIndex, (Uptime, Option<Uptime>))| Some((index, told?));
        self.recalled.extend(self.fixtures.take().into_iter().flatten().filter_map(told));
    }

    /// A fixture was heard; says since when it was told that it never was.
    pub(super) fn heard(&mut self, index: FixtureIndex) -> Option<Uptime> {
        let listed = self.fixtures.as_mut().and_then(|fixtures| fixtures.remove(&index)?.1);
        self.recalled.remove(&index).or(listed)
    }

    /// A receiver cannot hear.
    pub(super) fn deaf(&mut self, receiver: &ReceiverId) {
        self.deaf.insert(receiver.clone());
    }

    /// A receiver hears, perhaps again: then what could not be heard is waited for anew.
    pub(super) fn hears(&mut self, now: Uptime, receiver: &ReceiverId) -> bool {
        let again = self.deaf.remove(receiver);
        if again {
            self.fixtures.iter_mut().flatten().for_each(|(_, (from, _))| *from = now);
        }
        again
    }

    /// Whose silence is news by `now`: which, when it came to be, and since when it was listened to.
    pub(super) fn settle(
        &mut self,
        now: Uptime,
        registry: &Registry,
    ) -> Vec<(Uptime, FixtureIndex, Uptime)> {
        let mut news = Vec::new();
        for (index, at, from) in self.pending(registry).collect::<Vec<_>>() {
            if at <= now
                && let Some((_, told)) = self.fixtures.as_mut().and_then(|it| it.get_mut(&index))
            {
                *told = Some(at);
                news.push((at, index, from));
            }
        }
        news
    }

    /// When there is something to tell if nothing is heard.
    pub(super) fn due(&self, registry: &Registry) -> Option<Uptime> {
        self.pending(registry).map(|(_, at, _)| at).min()
    }

    fn pending(&self, registry: &Registry) -> impl Iterator<Item = (FixtureIndex, Uptime, Uptime)> {
        let fixtures = self.fixtures.iter().flatten().filter(|_| self.deaf.is_empty());
        fixtures.filter_map(|(&index, &(from, told))| {
            let after = Expected::of(&registry.fixture(index)?.report).after()?;
            told.is_none().then_some((index, from + after, from))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Uptime {
        Uptime::ZERO + Duration::from_secs(second)
    }

    fn after(seconds: u64) -> Expected {
        Expected { silent_after: Some(Duration::from_secs(seconds)), interval: None }
    }

    #[test]
    fn what_is_expected_counts_until_the_interval_is_known() {
        let interval =
            |seconds| Expected { silent_after: None, interval: Some(Duration::from_secs(seconds)) };
        let young = heard((0..600).step_by(60), true);
        assert_eq!(young.due(Expected::default()), None);
        assert_eq!(young.due(interval(10)), Some(at(540 + 120)), "at least two minutes");
        assert_eq!(young.due(interval(60)), Some(at(540 + 240)));
        let known = heard((0..7200).step_by(60), true);
        assert_eq!(known.due(interval(3600)), Some(known.heard + Duration::from_mins(4)));
        assert_eq!(
            Expected { interval: Some(Duration::from_mins(1)), ..after(30) }.after(),
            Some(Duration::from_secs(30))
        );
        assert_eq!(Expected { interval: Some(Duration::from_mins(1)), ..after(0) }.after(), None);
    }

    fn heard(seconds: impl Iterator<Item = u64>, measures: bool) -> Rhythm {
        let mut rhythm = Rhythm::new(at(0));
        seconds.for_each(|second| rhythm.hear(at(second), measures));
        rhythm
    }

    #[test]
    fn silence_is_measured_by_the_sensors_own_interval() {
        let every = |step: usize| heard((0..40_000).step_by(step), true);
        assert_eq!(
            every(10).due(Expected::default()),
            Some(every(10).heard + Duration::from_mins(2))
        );
        assert_eq!(
            every(600).due(Expected::default()),
            Some(every(600).heard + Duration::from_mins(40))
        );
        assert_eq!(every(10).due(after(30)), Some(at(39_990 + 30)));
        assert_eq!(every(10).due(after(0)), None);
    }

    #[test]
    fn a_gap_that_was_usual_is_no_silence() {
        let often_lost = heard((0..20_000).step_by(10).filter(|n| n % 1000 < 700), true);
        let due = often_lost.due(Expected::default()).unwrap();
        assert!(due > often_lost.heard + Duration::from_mins(15), "gaps of five minutes are usual");
    }

    #[test]
    fn nothing_is_made_of_silence_before_the_interval_is_known() {
        assert_eq!(
            heard((0..3000).step_by(10), true).due(Expected::default()),
            None,
            "not for an hour yet"
        );
        let door = heard((0..7200).step_by(60), false);
        assert_eq!(door.due(Expected::default()), None, "a busy door says nothing about the night");
        let door = heard((0..100_000).step_by(60), false);
        assert!(door.due(Expected::default()).is_some());
    }

    #[test]
    fn while_no_receiver_hears_nothing_is_learned_and_nothing_is_due() {
        let mut rhythm = heard((0..7200).step_by(10), true);
        let before = rhythm.longest;
        rhythm.paused = true;
        assert_eq!(rhythm.due(Expected::default()), None);
        rhythm.hear(at(20_000), true);
        assert!((rhythm.longest - before).abs() < 1.0);
        assert_eq!(rhythm.due(Expected::default()), Some(at(20_120)));
    }
}

//! What a fixture with a key is believed: its frames in, which of them count and what was refused out.
//!
//! Without a key whatever a fixture sends is believed, but for what stays encrypted. With one, only
//! what the key opened is, once: a counter that the key vouches for must grow.
//!
//! One bad frame is no alarm where the air or a neighbour can make it; a plain frame or an old one is.
//! An alarm ends with a good frame after a while without bad ones, so that who forges between good frames
//! makes one alarm and not a thousand.

use std::{collections::BTreeMap, time::Duration};

use arrayvec::ArrayVec;

use super::{Alarm, Said};
use crate::engine::{
    Product, Uptime,
    frame::{
        Frame, MAX_FRAMES, Reading,
        sensor::{MAX_READINGS, Measured, Refusal},
    },
};

/// Why something that a fixture seemed to send is not believed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Rejection {
    /// It is encrypted, and there is no key, or nobody told the address or the clock that belong to it.
    NoKey,
    /// The key does not open it.
    WrongKey,
    /// It ends before its authentication does.
    Truncated,
    /// Its counter is not greater than the last one.
    Replayed,
    /// It is not encrypted, from a fixture that has a key.
    Plain,
}

/// How much was refused, by reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rejections([u64; Rejection::ALL.len()]);

/// What became of a fixture's frames.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FixtureTally {
    /// How many of its frames were refused, by reason.
    pub refused: Rejections,
    /// How many values of frames that were believed were out of their quantity's bounds.
    pub implausible: u64,
    /// For which reasons somebody should look after it.
    pub alerted: Vec<Rejection>,
}

/// What one advertisement of a fixture told.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Told {
    /// Its frames that measure something.
    pub(in crate::engine) measured: ArrayVec<Measured, MAX_FRAMES>,
    /// Family and product of the first of them that has a value.
    pub(in crate::engine) product: Option<Product>,
    /// Why something in it stayed encrypted.
    pub(in crate::engine) refused: Option<Refusal>,
    /// It has something in it that only the fixture can have made, beside what it measures.
    pub(in crate::engine) proven: bool,
}

/// What is made of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::engine) enum Belief {
    /// It was heard, and what is left of what it told is so.
    New,
    /// The same was heard before.
    Known,
    /// Anybody could have sent it.
    Doubted,
}

/// What is known of one fixture.
#[derive(Debug, Default)]
pub(super) struct Trust {
    newest: Option<Newest>,
    standings: BTreeMap<Rejection, Standing>,
    refused: Rejections,
    implausible: u64,
}

/// The frame with the greatest counter so far.
#[derive(Debug)]
struct Newest {
    counter: u32,
    at: Uptime,
    /// What it measured; nothing is known of that where an earlier run heard it.
    readings: Option<ArrayVec<Reading, MAX_READINGS>>,
}

/// How it stands with one reason.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// How many frames in a row.
    row: u32,
    /// When the first of them came, and the last.
    first: Uptime,
    last: Uptime,
    alerted: Option<Uptime>,
}

/// So many frames in a row that do not open are no accident.
const IN_A_ROW: u32 = 3;

/// An alarm ends when for so long nothing was refused for its reason.
const CALM: Duration = Duration::from_mins(10);

/// A frame that is older by so few counters…
const BEHIND: u32 = 16;

/// … and came so soon after the newest was heard by another receiver, which told it late.
const LATE: Duration = Duration::from_mins(1);

/// The same where the counter is a time in tenths of a second: as much as is late.
const BEHIND_TENTHS: u32 = 600;

/// A counter that began anew is still below this: whoever changes a battery is not long about it.
const ANEW: u32 = 100;

/// A fixture of which nobody knows when its silence would be news is taken to have been silent after
/// so much.
const LONG: Duration = Duration::from_hours(1);

/// The same frame is heard by several receivers, and counts once towards an alarm.
const SAME: Duration = Duration::from_secs(1);

/// What is made of one frame.
enum Verdict {
    /// It is believed.
    New,
    /// It was believed before.
    Known,
    /// It says nothing, or nothing any more.
    Moot,
    Rejected(Rejection),
}

// === impl Rejection ===

impl Rejection {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::NoKey, Self::WrongKey, Self::Truncated, Self::Replayed, Self::Plain];

    /// The reason of that word.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }

    /// The word of payloads and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::WrongKey => "wrong_key",
            Self::Truncated => "truncated",
            Self::Replayed => "replayed",
            Self::Plain => "plain",
        }
    }

    /// How many frames in a row are worth an alarm.
    const fn patience(self) -> u32 {
        match self {
            Self::NoKey | Self::WrongKey | Self::Truncated => IN_A_ROW,
            Self::Replayed | Self::Plain => 1,
        }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoKey => Self::NoKey,
            Refusal::WrongKey => Self::WrongKey,
            Refusal::Truncated => Self::Truncated,
        }
    }
}

// === impl Rejections ===

impl Rejections {
    /// How much was refused for a reason.
    pub fn of(&self, rejection: Rejection) -> u64 {
        self.0.get(rejection as usize).copied().unwrap_or_default()
    }

    /// By reason.
    pub fn iter(&self) -> impl Iterator<Item = (Rejection, u64)> {
        Rejection::ALL.into_iter().zip(self.0)
    }

    /// In all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
    }

    fn count(&mut self, rejection: Rejection) {
        self.0.get_mut(rejection as usize).into_iter().for_each(|count| *count += 1);
    }
}

// === impl Told ===

impl Told {
    /// What frames tell, each read once.
    pub(in crate::engine) fn new(frames: &[Frame<'_>], refused: Option<Refusal>) -> Self {
        let mut told = Self { refused, ..Self::default() };
        let measured = frames.iter().filter_map(|frame| Some((frame, frame.measured()?)));
        for (frame, measured) in measured.take(MAX_FRAMES) {
            if told.product.is_none() && !measured.readings.is_empty() {
                told.product = Some((frame.family(), measured.model));
            }
            told.measured.push(measured);
        }
        told
    }
}

// === impl Trust ===

impl Trust {
    /// Leaves of what was told what is believed. `silent` says whether the fixture has not been heard
    /// for so long that its silence is news; `None` where nobody knows how long that would be.
    pub(super) fn admit(
        &mut self,
        now: Uptime,
        (has_key, silent): (bool, Option<bool>),
        told: &mut Told,
    ) -> (Belief, Vec<Said>) {
        let mut said = Vec::new();
        let refusal = told.refused.map(Rejection::from);
        said.extend(refusal.and_then(|refusal| self.reject(now, refusal)));
        let is_doubted = has_key && !told.proven;
        let mut belief = if is_doubted { Belief::Doubted } else { Belief::New };
        if has_key {
            for measured in std::mem::take(&mut told.measured) {
                match self.judge(now, &measured, silent) {
                    Verdict::New => {
                        belief = Belief::New;
                        told.measured.push(measured);
                    }
                    Verdict::Known if belief == Belief::Doubted => belief = Belief::Known,
                    Verdict::Known | Verdict::Moot => {}
                    Verdict::Rejected(reason) => said.extend(self.reject(now, reason)),
                }
            }
        }
        let dropped = told.measured.iter().map(|measured| u64::from(measured.dropped));
        self.implausible += dropped.sum::<u64>();
        if refusal.is_none() && !told.measured.is_empty() {
            said.extend(self.calm(now));
        }
        (belief, said)
    }

    /// What became of its frames; nothing where there is nothing to tell.
    pub(super) fn tally(&self) -> Option<FixtureTally> {
        let alerted = self.standings.iter().filter(|(_, standing)| standing.alerted.is_some());
        let alerted: Vec<_> = alerted.map(|(reason, _)| *reason).collect();
        let is_told = self.refused.total() > 0 || self.implausible > 0;
        let Self { refused, implausible, .. } = *self;
        is_told.then_some(FixtureTally { refused, implausible, alerted })
    }

    /// How much was refused, and how many values were out of bounds.
    pub(super) fn counts(&self) -> (Rejections, u64) {
        (self.refused, self.implausible)
    }

    /// The greatest counter that was believed.
    pub(super) fn counter(&self) -> Option<u32> {
        self.newest.as_ref().map(|newest| newest.counter)
    }

    /// The alarms that stand: for which reasons, and since when that is told.
    pub(super) fn standing(&self) -> impl Iterator<Item = (Rejection, Uptime)> {
        let standings = self.standings.iter();
        standings.filter_map(|(reason, standing)| Some((*reason, standing.alerted?)))
    }

    /// Goes on from the counter of an earlier run, without an alarm. For how long there was nothing newer while
    /// nobody listened nobody knows, so that time does not count.
    pub(super) fn recall(&mut self, now: Uptime, counter: Option<u32>) {
        self.standings.clear();
        if let Some(counter) = counter {
            self.newest = Some(Newest { counter, at: now, readings: None });
        }
    }

    /// Goes on with an alarm that an earlier run told; as if its reason had just been there.
    pub(super) fn recall_alarm(&mut self, now: Uptime, reason: Rejection, told: Uptime) {
        let row = reason.patience();
        let standing = Standing { row, first: told, last: now, alerted: Some(told) };
        self.standings.insert(reason, standing);
    }

    fn judge(&mut self, now: Uptime, measured: &Measured, silent: Option<bool>) -> Verdict {
        let Measured { sealed, freshness, opens_for, readings, .. } = measured;
        if !sealed {
            // A sign of life without a word has nothing in it that could be forged.
            let is_mute = readings.is_empty();
            return if is_mute { Verdict::Moot } else { Verdict::Rejected(Rejection::Plain) };
        }
        let Some(counter) = *freshness else { return Verdict::New };
        if let Some(newest) = &self.newest
            && counter <= newest.counter
        {
            let age = now.since(newest.at);
            let behind = newest.counter - counter;
            if behind == 0 && newest.readings.as_ref().is_none_or(|known| known == readings) {
                return Verdict::Known;
            }
            // What could be heard again does not open any more.
            let is_out_of_reach = opens_for.is_some_and(|tenths| behind > tenths);
            let began_anew =
                is_out_of_reach || (behind > 0 && counter < ANEW && silent.unwrap_or(age >= LONG));
            if !began_anew {
                let most = opens_for.map_or(BEHIND, |_| BEHIND_TENTHS);
                let is_late = (1..=most).contains(&behind) && age < LATE;
                return if is_late {
                    Verdict::Moot
                } else {
                    Verdict::Rejected(Rejection::Replayed)
                };
            }
        }
        self.newest = Some(Newest { counter, at: now, readings: Some(readings.clone()) });
        Verdict::New
    }

    fn reject(&mut self, now: Uptime, reason: Rejection) -> Option<Said> {
        self.refused.count(reason);
        let standing = self.standings.entry(reason).or_default();
        if standing.row == 0 {
            standing.first = now;
        }
        if standing.row == 0 || now.since(standing.last) >= SAME {
            standing.row = standing.row.saturating_add(1);
            standing.last = now;
        }
        if standing.alerted.is_some() || standing.row < reason.patience() {
            return None;
        }
        standing.alerted = Some(now);
        Some(Said::Alerted(alarm(reason, standing.first)))
    }

    /// A good frame came.
    fn calm(&mut self, now: Uptime) -> Vec<Said> {
        let mut said = Vec::new();
        self.standings.retain(|reason, standing| {
            let Some(alerted) = standing.alerted else { return false };
            let is_over = now.since(standing.last) >= CALM;
            if is_over {
                let lasted = now.since(alerted);
                said.push(Said::Cleared { alarm: alarm(*reason, now), lasted });
            }
            !is_over
        });
        said
    }
}

fn alarm(reason: Rejection, since: Uptime) -> Alarm {
    Alarm {
        rule: "refused".to_owned(),
        condition: reason.word(),
        quantity: None,
        value: None,
        limit: None,
        since,
        days_left: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::frame::Quantity;

    const SEALED: Option<bool> = Some(false);

    fn at(second: u64) -> Uptime {
        Uptime::ZERO + Duration::from_secs(second)
    }

    fn frame(sealed: bool, freshness: Option<u32>, celsius: f64) -> Told {
        let mut measured = Measured { sealed, freshness, ..Measured::default() };
        measured.push(Quantity::TemperatureC, celsius);
        Told { measured: [measured].into_iter().collect(), ..Told::default() }
    }

    fn refused(refusal: Refusal) -> Told {
        Told { refused: Some(refusal), ..Told::default() }
    }

    /// What comes of frames at seconds from a fixture with a key: what is believed, and the alarms.
    fn told(trust: &mut Trust, frames: Vec<(u64, Told)>) -> (Vec<f64>, Vec<(u64, String)>) {
        let (mut believed, mut alarms) = (Vec::new(), Vec::new());
        for (second, mut told) in frames {
            let (belief, said) = trust.admit(at(second), (true, SEALED), &mut told);
            assert_eq!(belief == Belief::New, !told.measured.is_empty());
            let readings = told.measured.iter().flat_map(|measured| &measured.readings);
            believed.extend(readings.map(|reading| reading.value));
            alarms.extend(said.into_iter().map(|said| match said {
                Said::Alerted(alarm) => (second, format!("{} {}", alarm.rule, alarm.condition)),
                Said::Cleared { alarm, .. } => (second, format!("cleared {}", alarm.condition)),
                _ => unreachable!(),
            }));
        }
        (believed, alarms)
    }

    #[test]
    fn with_a_key_only_what_it_opened_is_believed_and_each_counter_once() {
        let mut trust = Trust::default();
        let frames = vec![
            (0, frame(true, Some(1000), 1.0)),
            (1, frame(true, Some(1000), 1.0)),
            (10, frame(true, Some(1001), 2.0)),
            (11, frame(false, None, 90.0)),
            (20, frame(true, Some(1002), 3.0)),
            (99, frame(true, Some(1000), 1.0)),
            (100, frame(true, Some(1002), 4.0)),
            (101, frame(true, Some(u32::MAX), 5.0)),
        ];
        let alarms = vec![(11, "refused plain".to_owned()), (99, "refused replayed".to_owned())];
        assert_eq!(told(&mut trust, frames), (vec![1.0, 2.0, 3.0, 5.0], alarms));
        let tally = trust.tally().unwrap();
        assert_eq!((tally.refused.of(Rejection::Plain), tally.refused.total()), (1, 3));
        assert_eq!(tally.alerted, [Rejection::Replayed, Rejection::Plain]);
    }

    #[test]
    fn a_frame_that_another_receiver_told_late_is_neither_read_nor_an_alarm() {
        let mut trust = Trust::default();
        let late = vec![
            (0, frame(true, Some(1000), 1.0)),
            (1, frame(true, Some(1002), 3.0)),
            (2, frame(true, Some(1001), 2.0)),
            (3, frame(true, Some(1000), 1.0)),
        ];
        assert_eq!(told(&mut trust, late), (vec![1.0, 3.0], vec![]));
        assert_eq!(trust.tally(), None);
    }

    #[test]
    fn a_counter_begins_anew_only_after_silence_and_only_from_the_beginning() {
        let after = |silent, second, counter| {
            let mut trust = Trust::default();
            trust.admit(at(0), (true, SEALED), &mut frame(true, Some(5000), 1.0));
            let mut told = frame(true, Some(counter), 2.0);
            trust.admit(at(second), (true, silent), &mut told).0
        };
        assert_eq!(after(Some(false), 100_000, 7), Belief::Doubted);
        assert_eq!(after(Some(true), 300, 7), Belief::New);
        assert_eq!(after(Some(true), 300, 100), Belief::Doubted);
        assert_eq!(after(None, 3599, 7), Belief::Doubted, "nobody knows how long is long");
        assert_eq!(after(None, 3600, 7), Belief::New);
    }

    #[test]
    fn one_frame_that_does_not_open_is_no_alarm_and_many_are_one() {
        let wrong = |second| (second, refused(Refusal::WrongKey));
        let good = |second, n| (second, frame(true, Some(n), 1.0));
        let mut trust = Trust::default();
        let accidents = vec![wrong(0), wrong(1), good(2, 1), wrong(3), good(4, 2), wrong(5)];
        assert_eq!(told(&mut trust, accidents).1, []);
        let heard_by_many = vec![good(6, 3), wrong(7), wrong(7), wrong(7), good(8, 4)];
        assert_eq!(told(&mut trust, heard_by_many).1, []);
        let mut forged: Vec<_> = (10..500).map(wrong).collect();
        forged.insert(100, good(110, 5));
        forged.extend([good(500, 6), good(1098, 7), good(1099, 8), wrong(1100), good(1101, 9)]);
        let alarms = told(&mut trust, forged).1;
        let expected = [(12, "refused wrong_key"), (1099, "cleared wrong_key")];
        assert_eq!(alarms, expected.map(|(second, word)| (second, word.to_owned())));
    }

    #[test]
    fn without_a_key_everything_is_believed_but_what_stays_encrypted() {
        let mut trust = Trust::default();
        let mut admit = |second, mut told| trust.admit(at(second), (false, None), &mut told).0;
        assert_eq!(admit(0, frame(false, None, 1.0)), Belief::New);
        assert_eq!(admit(1, refused(Refusal::NoKey)), Belief::New, "it was heard");
        assert_eq!(trust.tally().unwrap().refused.of(Rejection::NoKey), 1);
    }

    #[test]
    fn values_that_cannot_be_are_counted() {
        let mut trust = Trust::default();
        let mut told = frame(false, None, -300.0);
        trust.admit(at(0), (false, None), &mut told);
        assert_eq!(trust.tally().unwrap().implausible, 1);
    }
}

//! One tag of a subject: its readings in; how loud it is, whether it moves and where it is out.
//!
//! A subject may carry two tags, and may leave one behind. Each has its own signal, so that two
//! places are not taken for one in between.

use std::time::Duration;

use super::{
    Ear, Moment, PresenceSettings,
    floor::{Floor, Told},
    track::smoothed,
};
use crate::engine::{Rssi, Uptime, place};

/// One tag, by its place among the subject's identifiers.
#[derive(Debug)]
pub(super) struct Tag {
    pub(super) number: u8,
    pub(super) heard: Moment,
    /// How each receiver hears it, by the receiver's ear.
    levels: Vec<Level>,
    /// When the present block of readings began, and the most readings of one receiver in it.
    block: (Uptime, u16),
    /// Whether there was a block before, with which to compare.
    compares: bool,
    /// For how long it was heard since it was last seen to move.
    still: Duration,
    /// When it was last seen to move, or first heard.
    pub(super) moved: Uptime,
    /// It was left behind: nothing is made of it until it moves.
    pub(super) resting: bool,
    place: Option<place::Track>,
    /// Where it is; none when nobody can tell.
    pub(super) told: Option<Told>,
}

/// How one receiver hears a tag.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// Smoothed, in dBm.
    smoothed: Option<f64>,
    heard: Option<Moment>,
    /// Of the present block.
    sum_dbm: f32,
    count: u16,
    /// The mean of the blocks before, the newer ones more.
    usual_dbm: Option<f32>,
}

/// How many tags of a subject are told apart; more are taken for the last of these. People carry a
/// phone, keys and a card.
const MOST_TAGS: u8 = 4;

/// Readings are compared in blocks at least this long: a passer-by shadows for a few seconds, and
/// moves a minute's mean by a decibel or two.
const BLOCK: Duration = Duration::from_mins(1);

/// A block has at least so many readings of one receiver: their mean is then within 1.4 dB for a
/// fading of 5.5 dB.
const BLOCK_READINGS: u16 = 16;

/// A receiver with fewer readings in a block is not compared.
const COMPARED_READINGS: u16 = 8;

/// A mean that is this much off what was usual is not noise, in dB: more than three times the spread
/// of a block's mean, and less than turning around with the tag on one's body makes (10 to 20 dB).
const MOVED_DB: f32 = 5.0;

/// How much one block moves what is usual: the last eight minutes or so count.
const USUAL_WEIGHT: f32 = 0.125;

/// A tag that has been still for this long follows nobody who walks: two blocks.
const LIES_AFTER: Duration = Duration::from_mins(2);

impl Tag {
    fn new(number: u8, heard: Moment) -> Self {
        Self {
            number,
            heard,
            levels: Vec::new(),
            block: (heard.now, 0),
            compares: false,
            still: Duration::ZERO,
            moved: heard.now,
            resting: false,
            place: None,
            told: None,
        }
    }

    /// The tag of that number among a subject's; a new one is put at their end.
    pub(super) fn of(tags: &mut Vec<Self>, number: u8, heard: Moment) -> Option<&mut Self> {
        let number = number.min(MOST_TAGS - 1);
        let known = tags.iter().position(|tag| tag.number == number);
        let place = known.unwrap_or_else(|| {
            tags.push(Self::new(number, heard));
            tags.len() - 1
        });
        tags.get_mut(place)
    }

    /// Takes in a reading. Says how loud the tag now is to this receiver, in dBm; none when the
    /// controller never could tell.
    pub(super) fn hear(
        &mut self,
        moment: Moment,
        rssi: Option<Rssi>,
        settings: &PresenceSettings,
    ) -> Option<f64> {
        let gap = moment.since(&self.heard);
        self.heard = moment;
        if gap > settings.exit_timeout_max {
            // A tag that lies does not fall silent for so long: it was away, and was brought back.
            self.stir(moment.now);
        } else {
            self.still += gap;
        }
        let place = moment.ear.index();
        if self.levels.len() <= place {
            self.levels.resize(place + 1, Level::default());
        }
        let level = self.levels.get_mut(place)?;
        let Some(Rssi(reading)) = rssi else { return level.smoothed };
        let before = level.smoothed.zip(level.heard.replace(moment));
        let dbm = f64::from(reading);
        let smoothed = before.map_or(dbm, |(before, heard)| {
            smoothed(before, dbm, moment.since(&heard).as_secs_f64(), settings)
        });
        level.smoothed = Some(smoothed);
        level.sum_dbm += f32::from(reading);
        level.count = level.count.saturating_add(1);
        self.block.1 = self.block.1.max(level.count);
        if self.block.1 >= BLOCK_READINGS && moment.now.since(self.block.0) >= BLOCK {
            self.compare(moment.now);
        }
        Some(smoothed)
    }

    /// Compares a block with those before: who moves is heard differently by most receivers, while a
    /// trolley that is parked before one of them changes that one.
    fn compare(&mut self, now: Uptime) {
        let (mut compared, mut changed) = (0_u32, 0_u32);
        for level in self.levels.iter().filter(|level| level.count >= COMPARED_READINGS) {
            compared += 1;
            let mean = level.sum_dbm / f32::from(level.count);
            let same = level.usual_dbm.is_some_and(|usual| (mean - usual).abs() <= MOVED_DB);
            changed += u32::from(!same);
        }
        let moved = self.compares && changed * 2 >= compared;
        if moved {
            self.still = Duration::ZERO;
            self.moved = now;
            self.resting = false;
        }
        for level in &mut self.levels {
            if level.count >= COMPARED_READINGS {
                let mean = level.sum_dbm / f32::from(level.count);
                let usual = level.usual_dbm.filter(|_| !moved).unwrap_or(mean);
                level.usual_dbm = Some(usual + USUAL_WEIGHT * (mean - usual));
            }
            (level.sum_dbm, level.count) = (0.0, 0);
        }
        self.block = (now, 0);
        self.compares = true;
    }

    /// It has moved, and what was usual is so no longer.
    fn stir(&mut self, now: Uptime) {
        self.still = Duration::ZERO;
        self.moved = now;
        self.resting = false;
        self.compares = false;
        self.block = (now, 0);
        for level in &mut self.levels {
            *level = Level { smoothed: level.smoothed, heard: level.heard, ..Level::default() };
        }
    }

    /// Whether it was heard for so long without moving; never for no time at all.
    pub(super) fn is_still_for(&self, least: Duration) -> bool {
        !least.is_zero() && self.still >= least
    }

    /// Whether it lies, rather than being carried.
    pub(super) fn lies(&self) -> bool {
        self.is_still_for(LIES_AFTER)
    }

    /// Lets the estimator have a reading. The steps before it must have been taken.
    pub(super) fn follow(&mut self, floor: &mut Floor, ear: Ear, rssi: Option<Rssi>) {
        let Some(Rssi(dbm)) = rssi else { return };
        let track = self.place.get_or_insert_with(|| floor.track());
        floor.observe(track, self.heard.now, ear, f32::from(dbm));
    }

    /// Takes the estimator's next step that has ended by `now`; says whether there was one.
    pub(super) fn step(&mut self, floor: &mut Floor, now: Uptime) -> bool {
        let Some(track) = &mut self.place else { return false };
        let Some(step) = floor.step(track, now) else { return false };
        if let Some(change) = step.change {
            self.told = floor.told(change);
        }
        true
    }

    /// Whether the estimator has more steps to take, whatever is heard.
    pub(super) fn is_followed(&self) -> bool {
        self.place.as_ref().is_some_and(|track| track.next_step().is_some())
    }

    /// It was away for a moment: wherever it is now, it is there since now.
    pub(super) fn is_back(&mut self, now: Uptime) {
        if let Some(told) = &mut self.told {
            told.since = told.since.max(now);
        }
    }

    /// It was left behind.
    pub(super) fn rest(&mut self) {
        self.resting = true;
        self.place = None;
        self.told = None;
    }
}

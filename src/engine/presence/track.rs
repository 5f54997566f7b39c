//! One subject's signal: how loud it is, how often it comes, and by which tags.

use std::time::Duration;

use super::{Ear, HearingTime, PresenceSettings, Visit, tag::Tag};
use crate::engine::{Rssi, Uptime};

/// What is known about one subject's signal, visit or no visit.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// Smoothed signal strength, in dBm.
    pub(super) smoothed: Option<f64>,
    pub(super) last_heard: Option<Moment>,
    /// Mean time between advertisements that arrive, in seconds.
    interval_s: Option<f64>,
    /// The tags that were heard in this visit, or were left behind.
    pub(super) tags: Vec<Tag>,
    pub(super) visit: Option<Visit>,
}

/// When something was heard, and by which receiver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) ear: Ear,
    /// In the receiver's hearing time.
    pub(super) at: HearingTime,
    pub(super) now: Uptime,
}

/// How much one new gap moves the mean of the gaps: an eighth, as in RFC 6298 section 2.
const GAP_WEIGHT: f64 = 0.125;

/// A first-order low pass: the weight of a reading after `gap` seconds, so that the smoothing is one
/// of time and not of the number of advertisements.
pub(super) fn smoothed(before: f64, dbm: f64, gap: f64, settings: &PresenceSettings) -> f64 {
    let weight = gap / (gap + settings.smoothing.as_secs_f64());
    // Of two readings at once without any smoothing the weight is not a number.
    if weight.is_finite() { before + weight * (dbm - before) } else { dbm }
}

// === impl Moment ===

impl Moment {
    /// Time since an earlier moment: hearing time when the same receiver heard both.
    pub(super) fn since(&self, earlier: &Self) -> Duration {
        if self.ear == earlier.ear {
            self.at.since(earlier.at)
        } else {
            self.now.since(earlier.now)
        }
    }
}

// === impl Track ===

impl Track {
    /// Takes in one advertisement.
    pub(super) fn observe(
        &mut self,
        moment: Moment,
        rssi: Option<Rssi>,
        settings: &PresenceSettings,
    ) {
        let gap = self.last_heard.map(|last| moment.since(&last).as_secs_f64());
        self.last_heard = Some(moment);
        if let Some(gap) = gap
            && gap <= settings.exit_timeout_max.as_secs_f64()
        {
            let mean = self.interval_s.unwrap_or(gap);
            self.interval_s = Some(mean + GAP_WEIGHT * (gap - mean));
        }
        if let Some(Rssi(dbm)) = rssi {
            let dbm = f64::from(dbm);
            self.smoothed = Some(match (self.smoothed, gap) {
                (Some(before), Some(gap)) => smoothed(before, dbm, gap, settings),
                _ => dbm,
            });
        }
    }

    /// How long this subject may be silent before it has left: several of its own intervals.
    pub(super) fn exit_timeout(&self, settings: &PresenceSettings) -> Duration {
        let own = self.interval_s.unwrap_or(0.0) * f64::from(settings.exit_after_missed);
        Duration::try_from_secs_f64(own)
            .unwrap_or(settings.exit_timeout_max)
            .max(settings.exit_timeout)
            .min(settings.exit_timeout_max)
    }

    /// Whether all tags that are heard were left behind, and if so, when the subject was last seen to
    /// move or to be anywhere else: with the last of its other tags, it has left.
    pub(super) fn left_behind(&self, now: Uptime, settings: &PresenceSettings) -> Option<Uptime> {
        let after = settings.left_behind_after;
        let heard = |tag: &Tag| now.since(tag.heard.now) <= settings.exit_timeout_max;
        let still = |tag: &&Tag| tag.is_still_for(after);
        let mut active = self.tags.iter().filter(|tag| !tag.resting && heard(tag)).peekable();
        active.peek()?;
        active.all(|tag| still(&tag)).then_some(())?;
        let last = |tag: &Tag| if tag.is_still_for(after) { tag.moved } else { tag.heard.now };
        self.tags.iter().filter(|tag| !tag.resting).map(last).max()
    }

    /// The visit is over because the tags were left behind: those that were are remembered.
    pub(super) fn rest(&mut self, settings: &PresenceSettings) {
        for tag in self.tags.iter_mut().filter(|tag| tag.is_still_for(settings.left_behind_after)) {
            tag.rest();
        }
        self.forget_tags();
    }

    /// The visit is over: nothing is remembered of tags but which ones were left behind.
    pub(super) fn forget_tags(&mut self) {
        self.tags.retain(|tag| tag.resting);
        self.tags.shrink_to_fit();
    }
}

/// One visit that is going on.
#[derive(Debug)]
pub(super) struct OpenStay {
    /// Index of the zone.
    pub(super) zone: usize,
    pub(super) entered: Uptime,
    /// How many of the zone's loitering delays were reported.
    pub(super) dwelled: usize,
    /// Since when the signal has been below the exit threshold.
    pub(super) faint_since: Option<Moment>,
}

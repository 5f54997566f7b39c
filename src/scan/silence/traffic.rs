//! How busy the air was. Advertisements heard in; whether a silence can be chance out. Pure.

use std::{collections::VecDeque, time::Duration};

use crate::engine::Uptime;

/// How many devices were heard lately: each counts once in ten seconds, so that one beacon that
/// leaves is no event, however often it used to speak.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    /// Counts by ten seconds, oldest first; at most [`Traffic::BINS`].
    bins: VecDeque<(i64, u32)>,
    started: Option<Uptime>,
    last: Uptime,
}

// === impl Traffic ===

impl Traffic {
    /// Twelve times ten seconds.
    const BINS: usize = 12;
    const BIN: Duration = Duration::from_secs(10);
    /// Silence is implausible when its probability is below one in a million: with independent
    /// devices at a rate of r a second, e^(-r·t), so r·t above ln 10^6.
    const LN_MILLION: f64 = 13.8;
    /// After this long, what was heard before says nothing about now: shops close.
    const FORGOTTEN: Duration = Duration::from_mins(10);

    /// Something was heard; `fresh` when its device was not heard in the ten seconds before.
    pub(super) fn count(&mut self, now: Uptime, fresh: bool) {
        if now.since(self.last) >= Self::FORGOTTEN {
            *self = Self::default();
        }
        self.started.get_or_insert(now);
        self.last = now;
        let bin = Self::bin(now);
        if self.bins.back().is_none_or(|(last, _)| *last != bin) {
            self.bins.push_back((bin, 0));
        }
        while self.bins.len() > Self::BINS {
            self.bins.pop_front();
        }
        if let Some((_, count)) = self.bins.back_mut() {
            *count = count.saturating_add(u32::from(fresh));
        }
    }

    /// Begins to count anew; when anything was last heard stays known.
    pub(super) fn forget(&mut self) {
        *self = Self { last: self.last, ..Self::default() };
    }

    /// When anything was last heard.
    pub(super) const fn last_heard(&self) -> Uptime {
        self.last
    }

    /// True when so many devices were heard that they cannot all have left by chance.
    pub(super) fn makes_implausible(&self, now: Uptime) -> bool {
        let silence = now.since(self.last);
        if silence >= Self::FORGOTTEN {
            return false;
        }
        // A shop that has been emptying for half a minute counts as what it was then, not before.
        let rate = self.rate(3).min(self.rate(Self::BINS));
        rate * silence.as_secs_f64() > Self::LN_MILLION
    }

    /// Devices a second over the last so many bins before the silence.
    fn rate(&self, bins: usize) -> f64 {
        let Some(started) = self.started else { return 0.0 };
        let reach = i64::try_from(bins).unwrap_or(i64::MAX);
        let oldest = Self::bin(self.last).saturating_sub(reach);
        let count: u32 =
            self.bins.iter().filter(|(bin, _)| *bin > oldest).map(|(_, count)| *count).sum();
        let window = Self::BIN.as_secs_f64() * f64::from(u32::try_from(bins).unwrap_or(u32::MAX));
        let observed = self.last.since(started).as_secs_f64();
        // Short of observation, the rate is assumed low: a false alarm is dearer than a late one.
        f64::from(count) / observed.clamp(Self::BIN.as_secs_f64() * 3.0, window)
    }

    fn bin(at: Uptime) -> i64 {
        let micros = i64::try_from(Self::BIN.as_micros()).unwrap_or(i64::MAX);
        at.as_micros().div_euclid(micros)
    }
}

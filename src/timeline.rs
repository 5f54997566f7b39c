//! When things happened, in whichever run of the program: what is known of this run's clocks, and
//! was known of those before. Pure, and a form on disk.
//!
//! A record says when it happened by the uptime of its run, and what the wall clock said of it
//! then. The latter may have been wrong. What was believed of the wall clock in each run is kept
//! in the outbox (one small value, written when it changes), and dates its records later:
//!
//! - runs in one boot of the machine share its uptime, so what one of them learns dates the others;
//! - what another boot learned before it ended dates its own records;
//! - a boot that ended without learning anything leaves records that nobody can date.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    clock::{Account, Anchor, Boot, Step},
    engine::{ClockQuality, UnixTime, Uptime, WallClock},
    outbox::{Kept, MAX_RECORD, Write, record::RunId},
};

/// The kept value's name.
const SLOT: &[u8] = b"clock/runs";

/// The form that this program writes.
const VERSION: u8 = 1;

/// How many runs are remembered, this one included: more than that are started within one boot only
/// by a machine on which nothing works.
const MOST_RUNS: usize = 32;

/// How much the offset of the wall clock may move until that is written down, in microseconds.
const MOVED: i64 = 1_000_000;

/// How often it is written down that the clock goes on being believed. It costs a card 200 KB a
/// day, and is only there to show next time that a clock has been here before.
const REFRESH: Duration = Duration::from_hours(1);

/// The runs of the program, the present one last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    runs: Vec<Run>,
    /// What is on disk of the present one.
    written: Option<Run>,
}

/// One run of the program.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    id: RunId,
    boot: Option<Boot>,
    /// When the machine was booted, in this run's uptime.
    booted: Uptime,
    /// What was last believed of the wall clock.
    anchor: Option<Anchor>,
    /// How that changed.
    steps: Vec<Step>,
}

/// When something happened, as far as it is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// When.
    pub unix: UnixTime,
    /// How that is known.
    pub mark: Mark,
}

/// How a time is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mark {
    /// The wall clock said so, and was believed then.
    Synced,
    /// The wall clock was wrong then, and is corrected by what is known now.
    Corrected,
    /// The wall clock said so, and nobody knows whether it was right.
    Unsynced,
}

/// When something happened by the clocks of the run that saw it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Told {
    /// In which run.
    pub run: RunId,
    /// At which uptime of it.
    pub at: Uptime,
    /// What the wall clock said of it.
    pub unix: UnixTime,
    /// Whether that was believed.
    pub synced: bool,
}

/// The forms on disk.
#[derive(Deserialize, Serialize)]
struct StoredRun {
    run: u64,
    boot: Option<u128>,
    booted_us: i64,
    /// Origin, last confirmed, error; all in microseconds.
    anchor: Option<(i64, i64, u64)>,
    /// Since, at, by, origin; all in microseconds.
    steps: Vec<(Option<i64>, i64, i64, i64)>,
}

// === impl Timeline ===

impl Timeline {
    /// What is kept of earlier runs; nothing, where nothing is or nobody understands it.
    pub fn of(kept: &[Kept]) -> Self {
        let value = kept.iter().find(|kept| kept.slot == SLOT).map(|kept| kept.value.as_slice());
        let stored: Vec<StoredRun> = match value.and_then(<[u8]>::split_first) {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).unwrap_or_default(),
            _ => Vec::new(),
        };
        Self { runs: stored.into_iter().map(Run::from).collect(), written: None }
    }

    /// A kept value that is this room's, and no open visit.
    pub fn is_slot(slot: &[u8]) -> bool {
        slot == SLOT
    }

    /// A run begins, in this boot of the machine, which began at this uptime of it.
    pub fn begin(&mut self, run: RunId, boot: Option<Boot>, booted: Uptime) {
        let excess = (self.runs.len() + 1).saturating_sub(MOST_RUNS);
        self.runs.drain(..excess);
        self.runs.push(Run { id: run, boot, booted, anchor: None, steps: Vec::new() });
    }

    /// What an earlier run believed of the wall clock in the present boot, in the present run's
    /// uptime.
    pub fn recalled(&self) -> Option<Anchor> {
        let (now, earlier) = self.runs.split_last()?;
        let (run, anchor) = latest_anchor(earlier.iter().filter(|run| run.shares_boot(now)))?;
        let shift = run.shift_to(now);
        Some(Anchor {
            origin_us: anchor.origin_us.saturating_sub(shift),
            at: shifted(anchor.at, shift),
            ..anchor
        })
    }

    /// The last time that was believed in any earlier run.
    pub fn newest(&self) -> Option<UnixTime> {
        let (_, anchor) = latest_anchor(self.runs.iter())?;
        Some(unix(anchor.origin_us.saturating_add(anchor.at.as_micros())))
    }

    /// Takes down what the present run knows of its clock. Says whether that should be
    /// [written](Self::write).
    pub fn note(&mut self, account: &Account) -> bool {
        let Some(now) = self.runs.last_mut() else { return false };
        now.anchor = account.anchor;
        now.steps.clone_from(&account.steps);
        let Some(written) = &self.written else { return true };
        let moved = match (written.anchor, now.anchor) {
            (Some(then), Some(now)) => {
                now.origin_us.saturating_sub(then.origin_us).saturating_abs() >= MOVED
                    || now.at.since(then.at) >= REFRESH
            }
            (then, now) => then != now,
        };
        moved || written.steps != now.steps
    }

    /// The value to be kept.
    pub fn write(&mut self) -> Write {
        self.written = self.runs.last().cloned();
        let mut runs = self.runs.as_slice();
        let value = loop {
            let stored: Vec<StoredRun> = runs.iter().map(StoredRun::from).collect();
            let bytes = postcard::to_extend(&stored, vec![VERSION]).unwrap_or_default();
            match runs.split_first() {
                // The oldest have the least to say.
                Some((_, fewer)) if bytes.len() > MAX_RECORD => runs = fewer,
                _ => break bytes,
            }
        };
        Write::Keep { slot: SLOT.to_vec(), value: Some(value) }
    }

    /// When something happened, by all that is known. `now` is a reading of the present run.
    pub fn stamp(&self, present: RunId, told: Told, now: &WallClock) -> Stamp {
        if told.synced {
            return match self.change_since(told) {
                0 => Stamp { unix: told.unix, mark: Mark::Synced },
                by_us => {
                    let unix_us = told.unix.as_millis().saturating_mul(1000).saturating_add(by_us);
                    Stamp { unix: unix(unix_us), mark: Mark::Corrected }
                }
            };
        }
        match self.found_out(present, told, now) {
            Some(unix) => Stamp { unix, mark: Mark::Corrected },
            None => Stamp { unix: told.unix, mark: Mark::Unsynced },
        }
    }

    /// An uptime of another run as an uptime of the present one, if they share a boot.
    pub fn uptime_here(&self, run: RunId, at: Uptime) -> Option<Uptime> {
        let now = self.runs.last()?;
        let run = self.find(run).filter(|run| run.shares_boot(now))?;
        Some(shifted(at, run.shift_to(now)))
    }

    /// By how much what was believed has changed since, in microseconds.
    ///
    /// Since when? An event may be made long after it happened (somebody has left half a minute
    /// ago), and so be dated by a belief that is younger than it is. Which one it was shows in the
    /// difference between its two times.
    fn change_since(&self, told: Told) -> i64 {
        let Some(run) = self.find(told.run) else { return 0 };
        let others = self.runs.iter().filter(|other| other.shares_boot(run));
        let steps: Vec<Step> = others
            .flat_map(|other| {
                let shift = other.shift_to(run);
                other.steps.iter().map(move |step| Step {
                    since: step.since.map(|since| shifted(since, shift)),
                    at: shifted(step.at, shift),
                    by_us: step.by_us,
                    origin_us: step.origin_us.saturating_sub(shift),
                })
            })
            .collect();
        let Some(first) = steps.first() else { return 0 };
        let unix_us = told.unix.as_millis().saturating_mul(1000);
        let used = unix_us.saturating_sub(told.at.as_micros());
        // What was believed before the first step, and after each; from when it happened on.
        let oldest = first.origin_us.saturating_sub(first.by_us);
        let beliefs = std::iter::once(oldest).chain(steps.iter().map(|step| step.origin_us));
        let before = steps.iter().take_while(|step| step.at <= told.at).count();
        let nearest = beliefs
            .enumerate()
            .skip(before)
            .min_by_key(|(_, origin)| origin.saturating_sub(used).saturating_abs())
            .map_or(before, |(steps, _)| steps);
        let concerned = steps
            .iter()
            .skip(nearest)
            .filter(|step| told.at < step.at && step.since.is_none_or(|since| since < told.at));
        concerned.fold(0, |sum, step| sum.saturating_add(step.by_us))
    }

    /// When something happened of which the wall clock did not know.
    fn found_out(&self, present: RunId, told: Told, now: &WallClock) -> Option<UnixTime> {
        if now.quality == ClockQuality::Synced {
            let knows_present = self.runs.last().is_some_and(|last| last.id == present);
            let here = match told.run == present {
                true => Some(told.at),
                false if knows_present => self.uptime_here(told.run, told.at),
                false => None,
            };
            if let Some(here) = here {
                return Some(now.unix_at(here));
            }
        }
        let run = self.find(told.run)?;
        let (other, anchor) = latest_anchor(self.runs.iter().filter(|it| it.shares_boot(run)))?;
        let there = shifted(told.at, run.shift_to(other));
        Some(unix(anchor.origin_us.saturating_add(there.as_micros())))
    }

    fn find(&self, run: RunId) -> Option<&Run> {
        self.runs.iter().rev().find(|known| known.id == run)
    }
}

// === impl Run ===

impl Run {
    /// Whether two runs were in the same boot of the machine; a run and itself always were.
    fn shares_boot(&self, other: &Self) -> bool {
        self.id == other.id || (self.boot.is_some() && self.boot == other.boot)
    }

    /// What is to be added to an uptime of this run to get that of another in the same boot, in
    /// microseconds.
    fn shift_to(&self, other: &Self) -> i64 {
        other.booted.as_micros().saturating_sub(self.booted.as_micros())
    }
}

/// The newest belief among runs.
fn latest_anchor<'a>(runs: impl DoubleEndedIterator<Item = &'a Run>) -> Option<(&'a Run, Anchor)> {
    runs.rev().find_map(|run| Some((run, run.anchor?)))
}

fn shifted(at: Uptime, by_us: i64) -> Uptime {
    Uptime::from_micros(at.as_micros().saturating_add(by_us))
}

fn unix(micros: i64) -> UnixTime {
    UnixTime::from_millis(micros.div_euclid(1000))
}

// === impl Mark ===

impl Mark {
    /// The name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Corrected => "corrected",
            Self::Unsynced => "unsynced",
        }
    }
}

// === impl StoredRun ===

impl From<&Run> for StoredRun {
    fn from(run: &Run) -> Self {
        let anchor = run.anchor;
        let step = |step: &Step| {
            (step.since.map(Uptime::as_micros), step.at.as_micros(), step.by_us, step.origin_us)
        };
        Self {
            run: run.id.0,
            boot: run.boot.map(|Boot(id)| id),
            booted_us: run.booted.as_micros(),
            anchor: anchor.map(|it| (it.origin_us, it.at.as_micros(), it.max_error_us)),
            steps: run.steps.iter().map(step).collect(),
        }
    }
}

impl From<StoredRun> for Run {
    fn from(stored: StoredRun) -> Self {
        let anchor = |(origin_us, at, max_error_us)| Anchor {
            origin_us,
            at: Uptime::from_micros(at),
            max_error_us,
        };
        let step = |(since, at, by_us, origin_us): (Option<i64>, i64, i64, i64)| Step {
            since: since.map(Uptime::from_micros),
            at: Uptime::from_micros(at),
            by_us,
            origin_us,
        };
        Self {
            id: RunId(stored.run),
            boot: stored.boot.map(Boot),
            booted: Uptime::from_micros(stored.booted_us),
            anchor: stored.anchor.map(anchor),
            steps: stored.steps.into_iter().map(step).collect(),
        }
    }
}

#[cfg(test)]
mod tests;

//! What the machine says of its clocks in; what time it is believed to be, and why, out. Pure.
//!
//! On Linux the difference between wall clock and uptime changes only when somebody sets the wall
//! clock: what a time daemon does to its pace, it does to both. So an offset that was right once
//! stays right but for drift, a step is seen as a changed offset, and what happened before a step
//! can be dated by the offset after it.

use std::{fmt, time::Duration};

use crate::{
    engine::{ClockQuality, UnixTime, Uptime, WallClock},
    settings::ClockTrust,
};

/// One look at the clocks.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Uptime.
    pub at: Uptime,
    /// The wall clock, in microseconds since 1970.
    pub unix_us: i64,
    /// What the kernel says of it.
    pub discipline: Discipline,
}

/// What the kernel says of the wall clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Discipline {
    /// Whether it follows a time source.
    pub followed: bool,
    /// How far it may be off, in microseconds: grows by 500 a second while no source is heard, to
    /// 16 s at the most.
    pub max_error_us: u64,
}

/// On what terms a wall clock is believed.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Whether a time source is needed.
    pub trust: ClockTrust,
    /// For how long the last belief holds when its source has gone.
    pub holdover: Duration,
    /// This program did not exist before.
    pub built: UnixTime,
}

/// An offset of the wall clock that was believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Anchor {
    /// What time it was at uptime zero, in microseconds since 1970.
    pub origin_us: i64,
    /// When it was last confirmed.
    pub at: Uptime,
    /// How far off it may have been then, in microseconds.
    pub max_error_us: u64,
}

/// The belief has changed: what happened before is to be dated anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    /// Only what happened after this is concerned; `None` for everything.
    pub since: Option<Uptime>,
    /// Only what happened before this is concerned.
    pub at: Uptime,
    /// By how much later it happened than was said, in microseconds.
    pub by_us: i64,
    /// What time it was at uptime zero, by the new belief, in microseconds since 1970.
    pub origin_us: i64,
}

/// The wall clock was set, by whomever, and believed or not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Jump {
    /// When.
    pub at: Uptime,
    /// By how much, in microseconds.
    pub by_us: i64,
}

/// Why the wall clock is believed, or not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Basis {
    /// It follows a time source.
    Followed,
    /// It follows none, and the configuration says that it need not.
    Trusted,
    /// It followed one a while ago; the time is reckoned from then.
    Held,
    /// It follows none.
    #[default]
    Unfollowed,
    /// It says a time at which this program did not exist.
    BeforeBuild,
    /// It says a time that has been here before.
    BeforeRecords,
}

/// All that was seen of the wall clock.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Account {
    /// When this was true.
    pub at: Uptime,
    /// Why it is believed, or not.
    pub basis: Basis,
    /// The last offset that was believed.
    pub anchor: Option<Anchor>,
    /// How often the belief has changed, newest last: what is needed to date what happened before.
    pub steps: Vec<Step>,
    /// How often the wall clock was set, counted from [`STEP`].
    pub jumps: u64,
    /// The last time it was.
    pub last_jump: Option<Jump>,
    /// How far off the time may be; `None` while it is not believed.
    pub error_us: Option<u64>,
}

/// Judges the wall clock.
#[derive(Clone, Debug)]
pub struct Belief {
    /// On what terms.
    pub terms: Terms,
    /// The newest time that was believed in earlier runs, until it is known better.
    newest: Option<UnixTime>,
    /// Since when the kernel says without a break that a source is followed.
    followed_since: Option<Uptime>,
    /// The last offset, believed or not.
    last_origin_us: Option<i64>,
    account: Account,
}

/// Smaller than this is no step, in microseconds. Time daemons correct up to a second that way, and
/// a leap second is one second, after which the times before it are as right as they were.
pub const STEP: i64 = 1_500_000;

/// How many steps are remembered. A clock that is believed and steps more often than this within
/// one run is not worth more.
const MOST_STEPS: usize = 8;

/// How long a time source may insist on a time that has been here before until it is believed, and
/// what was written then is taken for wrong.
const INSISTENCE: Duration = Duration::from_mins(10);

/// How fast a crystal may drift that nobody disciplines, in millionths: what Linux reckons with.
const DRIFT_PPM: u64 = 500;

/// When Rust 1.95 came out, which it takes to build this program: no copy of it is older. A build
/// for release says more exactly when it was, by `SOURCE_DATE_EPOCH` in seconds since 1970.
/// 2026-04-16T00:00:00Z.
const OLDEST_COMPILER: i64 = 1_776_297_600;

// === impl Terms ===

impl Default for Terms {
    fn default() -> Self {
        Self { trust: ClockTrust::Synced, holdover: Duration::from_hours(7 * 24), built: built() }
    }
}

/// When this program was built, as far as it knows.
fn built() -> UnixTime {
    let told = option_env!("SOURCE_DATE_EPOCH").and_then(|text| text.trim().parse().ok());
    UnixTime::from_millis(told.unwrap_or(OLDEST_COMPILER).max(OLDEST_COMPILER).saturating_mul(1000))
}

// === impl Basis ===

impl Basis {
    /// The name in the state document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Followed => "followed",
            Self::Trusted => "trusted",
            Self::Held => "held",
            Self::Unfollowed => "unfollowed",
            Self::BeforeBuild => "before_build",
            Self::BeforeRecords => "before_records",
        }
    }

    /// What follows from it.
    pub const fn quality(self) -> ClockQuality {
        match self {
            Self::Followed | Self::Trusted | Self::Held => ClockQuality::Synced,
            Self::Unfollowed | Self::BeforeBuild | Self::BeforeRecords => ClockQuality::Unsynced,
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Followed => "it follows a time source",
            Self::Trusted => "it follows no time source, and need not",
            Self::Held => "it followed a time source a while ago",
            Self::Unfollowed => "it follows no time source",
            Self::BeforeBuild => "it says a time at which this program did not exist",
            Self::BeforeRecords => "it says a time that is before what the outbox holds",
        })
    }
}

// === impl Belief ===

impl Belief {
    /// Nothing was seen yet.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            newest: None,
            followed_since: None,
            last_origin_us: None,
            account: Account::default(),
        }
    }

    /// What an earlier run believed in the same boot. If the clock was set while nobody looked on,
    /// the next reading tells.
    pub fn recall(&mut self, anchor: Anchor) {
        self.account.anchor = Some(anchor);
        self.last_origin_us = Some(anchor.origin_us);
    }

    /// The wall clock has been here before: while it says less, it is wrong. That holds until
    /// somebody sets it, or a time source insists.
    pub fn not_before(&mut self, unix: UnixTime) {
        self.newest = Some(unix);
    }

    /// Takes a reading; gives what time it is believed to be.
    pub fn read(&mut self, reading: &Reading) -> WallClock {
        let origin_us = reading.unix_us.saturating_sub(reading.at.as_micros());
        self.look_for_jump(reading.at, origin_us);
        let followed = reading.discipline.followed;
        self.followed_since = followed.then(|| self.followed_since.unwrap_or(reading.at));
        let basis = self.judge(reading);
        if matches!(basis, Basis::Followed | Basis::Trusted) {
            self.take_over(reading, origin_us);
        }
        self.account.at = reading.at;
        self.account.basis = basis;
        self.account.error_us = self.error_us(reading, basis);
        let believed = self.account.anchor.map_or(origin_us, |anchor| anchor.origin_us);
        let unix_us = believed.saturating_add(reading.at.as_micros());
        WallClock {
            at: reading.at,
            unix: UnixTime::from_millis(unix_us.div_euclid(1000)),
            quality: basis.quality(),
        }
    }

    /// What was seen so far.
    pub fn account(&self) -> Account {
        self.account.clone()
    }

    fn look_for_jump(&mut self, at: Uptime, origin_us: i64) {
        let before = self.last_origin_us.replace(origin_us);
        let by_us = before.map_or(0, |before| origin_us.saturating_sub(before));
        if by_us.saturating_abs() >= STEP {
            self.account.jumps = self.account.jumps.saturating_add(1);
            self.account.last_jump = Some(Jump { at, by_us });
            // Whoever sets a clock while we look on knows better than the last run did.
            self.newest = None;
        }
    }

    fn judge(&mut self, reading: &Reading) -> Basis {
        let unix = UnixTime::from_millis(reading.unix_us.div_euclid(1000));
        let followed = reading.discipline.followed;
        let insists =
            self.followed_since.is_some_and(|since| reading.at.since(since) >= INSISTENCE);
        if insists {
            self.newest = None;
        }
        let why_not = if unix < self.terms.built {
            Basis::BeforeBuild
        } else if self.newest.is_some_and(|newest| unix < newest) {
            Basis::BeforeRecords
        } else if followed {
            return Basis::Followed;
        } else if self.terms.trust == ClockTrust::Always {
            return Basis::Trusted;
        } else {
            Basis::Unfollowed
        };
        let is_held = |anchor: Anchor| reading.at.since(anchor.at) <= self.terms.holdover;
        if self.account.anchor.is_some_and(is_held) { Basis::Held } else { why_not }
    }

    /// The wall clock is believed. If it says something else than it would by the last belief, what
    /// happened before is dated anew: all of it where the clock was set, what happened since its
    /// source was lost where it has drifted.
    fn take_over(&mut self, reading: &Reading, origin_us: i64) {
        let at = reading.at;
        if let Some(before) = self.account.anchor {
            let by_us = origin_us.saturating_sub(before.origin_us);
            if by_us.saturating_abs() >= STEP {
                let by_drift = drift_us(at.since(before.at)).saturating_add(STEP.unsigned_abs());
                let since = (by_us.unsigned_abs() <= by_drift && at.since(before.at) > INSISTENCE)
                    .then_some(before.at);
                if self.account.steps.len() >= MOST_STEPS {
                    self.account.steps.remove(0);
                }
                self.account.steps.push(Step { since, at, by_us, origin_us });
            }
        }
        let max_error_us = reading.discipline.max_error_us;
        self.account.anchor = Some(Anchor { origin_us, at, max_error_us });
        // What is believed now is as good as what was.
        self.newest = None;
    }

    fn error_us(&self, reading: &Reading, basis: Basis) -> Option<u64> {
        let anchor = self.account.anchor?;
        match basis {
            Basis::Followed | Basis::Trusted => Some(reading.discipline.max_error_us),
            Basis::Held => {
                let drift = drift_us(reading.at.since(anchor.at));
                Some(anchor.max_error_us.saturating_add(drift))
            }
            Basis::Unfollowed | Basis::BeforeBuild | Basis::BeforeRecords => None,
        }
    }
}

/// How far a clock may drift on its own meanwhile, in microseconds.
fn drift_us(time: Duration) -> u64 {
    time.as_secs().saturating_mul(DRIFT_PPM)
}

#[cfg(test)]
mod tests;

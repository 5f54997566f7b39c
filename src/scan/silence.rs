//! Decides what silence means and what to try against it. When advertisements were heard and how an
//! attempt went come in; the receiver's state and the next step to try go out. Pure: time is handed
//! in.
//!
//! Scans die without saying so, and a shop may be empty: both are silent. After a while of silence
//! the recovery ladder is climbed, from the step that disturbs least to the one that disturbs most,
//! one step at a time, and the effect of each is awaited. If a step cannot be done the radio is
//! deaf. When all were done and the air stays silent, the silence is believed, and checked again at
//! growing distance; but never while a canary, a reference beacon that was heard until then, is
//! silent too. An exit waits for that long, and is dated to when presence was last true. The radio
//! is called deaf meanwhile only if many devices fell silent together.
//!
//! In a shop that may merely have emptied, the strong steps are taken once in a while only: a hung
//! radio looks just the same, but others may use the adapter.
//!
//! Promises that every change of state is told once, in order; that presence never runs for longer
//! than `suspect_after` on a silence that was not checked; and that attempts never stop and never
//! follow one another without a pause.

mod traffic;

use std::{collections::VecDeque, time::Duration};

use self::traffic::Traffic;
use crate::engine::{DeafCause, RadioState, Uptime};

/// What can be tried on a silent radio, in this order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// Stop the scan and start it again. Costs some milliseconds of air time.
    RestartScan,
    /// Switch the adapter off and on again. Costs other users of the adapter their connections.
    PowerCycle,
    /// Drop everything and start from nothing: bus, Bluetooth daemon, adapter, scan.
    Rebuild,
    /// Reset the controller itself, as if it had been pulled out and plugged in.
    Reset,
}

/// The times that [`Silence`] goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Silence after which presence is frozen.
    pub suspect_after: Duration,
    /// Silence after which the ladder is climbed; at least `suspect_after`.
    pub silence_timeout: Duration,
    /// How long to wait after a failed attempt; doubled with each further one, up to 3 s.
    pub retry_delay: Duration,
    /// How long an attempt may take before the radio is called deaf; the attempt goes on.
    pub patience: Duration,
    /// How long the effect of each step is awaited, in the order of [`Step::ALL`]; zero leaves the
    /// step out.
    pub effects: [Duration; Step::ALL.len()],
    /// How long a canary that was heard may be silent.
    pub canary_timeout: Duration,
}

/// Watches for silence and vouches for the radio.
#[derive(Clone, Debug)]
pub struct Silence {
    limits: Limits,
    /// Until when a machine that is still starting is forgiven that it has no scan yet.
    starting_until: Option<Uptime>,
    phase: Phase,
    told: RadioState,
    news: VecDeque<RadioState>,
    wanted: Option<Step>,
    /// Until when the radio is known to have heard whatever there was.
    vouched: Uptime,
    traffic: Traffic,
    /// When a canary was last heard.
    canary: Option<Uptime>,
    failures: u32,
    /// Since when every attempt has failed, and which step may be tried next against that.
    failing: Option<(Uptime, Step)>,
    /// The step that is next when silence goes on; none when all were tried.
    next: Option<Step>,
    /// A scan that had been heard from fell silent, and the steps follow one another. A scan that
    /// was just built gets one check.
    climbing: bool,
    /// When each step was last taken.
    taken: [Option<Uptime>; Step::ALL.len()],
    /// How long to believe in an empty shop before the next check.
    gap: Duration,
    /// Another cause than the one told, and since when it has been the answer.
    other_cause: Option<(DeafCause, Uptime)>,
}

/// What is being done about the scan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// There is no scan; one is to be built at this time. Entered at the start, when an attempt
    /// failed, and when a scan was lost.
    Waiting { until: Uptime },
    /// A step is being tried. Left when its outcome is known.
    Trying { step: Step, since: Uptime },
    /// A step was just done and nothing has been heard since.
    Checking { until: Uptime },
    /// The scan was heard from, or it was checked and the shop is empty.
    Trusting { until: Uptime },
}

/// On a small computer the adapter shows up, and is switched on, some seconds after everything else.
/// What fails before the first scan is no outage until this time has passed.
const STARTING: Duration = Duration::from_secs(10);

/// The longest pause between attempts, unless more is configured: whatever comes back should be
/// heard within seconds, and an attempt that fails costs milliseconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The longest time between two checks of an empty shop.
const LONGEST_GAP: Duration = Duration::from_mins(10);

/// While a daemon restarts, one failure follows another in quick succession (no daemon, no adapter,
/// not powered, busy); another cause is told when it has been the answer for this long.
const CAUSE_SETTLES: Duration = Duration::from_secs(15);

/// How often a strong step is taken at the most while nothing but silence speaks for it.
const STRONG_EVERY: Duration = Duration::from_mins(10);

/// How long starting a scan may be refused before a stronger step is tried. bluetoothd refuses for
/// up to 10.24 s, a scan window of the kernel, after it was killed.
const REFUSED_TOO_LONG: Duration = Duration::from_secs(20);

// === impl Step ===

impl Step {
    /// The ladder.
    pub const ALL: [Self; 4] = [Self::RestartScan, Self::PowerCycle, Self::Rebuild, Self::Reset];

    /// The name used in the configuration, in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RestartScan => "restart_scan",
            Self::PowerCycle => "power_cycle",
            Self::Rebuild => "rebuild",
            Self::Reset => "reset",
        }
    }

    /// Whether it disturbs others who use the adapter.
    const fn is_strong(self) -> bool {
        matches!(self, Self::PowerCycle | Self::Reset)
    }

    /// Its place on the ladder.
    pub const fn place(self) -> usize {
        match self {
            Self::RestartScan => 0,
            Self::PowerCycle => 1,
            Self::Rebuild => 2,
            Self::Reset => 3,
        }
    }
}

// === impl Limits ===

impl Limits {
    /// How long the effect of a step is awaited; nothing when it is left out.
    fn effect(&self, step: Step) -> Option<Duration> {
        self.effects.get(step.place()).copied().filter(|effect| !effect.is_zero())
    }

    /// The mildest step from this one on that is not left out.
    fn from(&self, step: Step) -> Option<Step> {
        Step::ALL.into_iter().filter(|it| *it >= step).find(|step| self.effect(*step).is_some())
    }

    /// The next stronger step that is not left out.
    fn after(&self, step: Step) -> Option<Step> {
        let stronger = Step::ALL.get(step.place() + 1)?;
        self.from(*stronger)
    }
}

// === impl Silence ===

impl Silence {
    /// Starts without a scan, at `now`, wanting one.
    pub fn new(limits: Limits, now: Uptime) -> Self {
        Self {
            limits,
            starting_until: Some(now + STARTING),
            phase: Phase::Waiting { until: now },
            told: RadioState::Hearing,
            news: VecDeque::new(),
            wanted: None,
            vouched: now,
            traffic: Traffic::default(),
            canary: None,
            failures: 0,
            failing: None,
            next: limits.from(Step::RestartScan),
            climbing: false,
            taken: [None; Step::ALL.len()],
            gap: limits.silence_timeout,
            other_cause: None,
        }
    }

    /// An advertisement was heard. `fresh` says that its device was not heard in the ten seconds
    /// before, or that nobody remembers.
    pub fn heard(&mut self, now: Uptime, fresh: bool) {
        // What the old scan still delivers while a new one is built proves nothing about the new
        // one.
        if matches!(self.phase, Phase::Waiting { .. } | Phase::Trying { .. }) {
            return;
        }
        self.traffic.count(now, fresh);
        self.vouched = now;
        self.failures = 0;
        self.next = self.limits.from(Step::RestartScan);
        self.gap = self.limits.silence_timeout;
        self.phase = Phase::Trusting { until: now + self.limits.silence_timeout };
        self.tell(RadioState::Hearing);
    }

    /// A canary was heard at that time.
    pub fn canary(&mut self, heard: Uptime) {
        self.canary = self.canary.max(Some(heard));
    }

    /// The step that was wanted was done, and a scan runs.
    pub fn done(&mut self, now: Uptime) {
        self.starting_until = None;
        self.failing = None;
        let effect = match self.phase {
            Phase::Trying { step, .. } => self.limits.effect(step),
            _ => None,
        };
        let effect = effect.unwrap_or(Self::LEAST_EFFECT);
        self.phase = Phase::Checking { until: now + effect };
    }

    /// The step that was wanted could not be done, and no scan runs.
    pub fn failed(&mut self, now: Uptime, cause: DeafCause) {
        self.wait_and_retry(now);
        match cause {
            // Only a scan that is refused on an adapter that is there and on is worth a stronger
            // step; everything else waits for a person or for a daemon to come back.
            DeafCause::ScanRefused => {
                self.failing.get_or_insert((now + REFUSED_TOO_LONG, Step::PowerCycle));
            }
            _ => self.failing = None,
        }
        self.deaf(now, cause);
    }

    /// The scan is gone: its stream ended, the adapter changed its power state or no longer
    /// answers. Whether that is an outage shows when the scan is rebuilt, which is wanted at once.
    pub fn lost(&mut self, now: Uptime) {
        match self.phase {
            Phase::Trusting { .. } => {
                self.climbing = false;
                self.phase = Phase::Waiting { until: now };
            }
            // A scan that is lost before it heard anything must not be rebuilt in a tight circle.
            _ => self.wait_and_retry(now),
        }
        if !matches!(self.told, RadioState::Deaf { .. }) {
            self.tell(RadioState::Suspect { since: self.vouched });
        }
        self.handle_timeout(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Uptime) {
        if matches!(self.told, RadioState::Hearing) && now >= self.suspect_at() {
            self.tell(RadioState::Suspect { since: self.vouched });
        }
        match self.phase {
            Phase::Waiting { until } if now >= until => self.build(now),
            Phase::Trying { since, .. } if now >= since + self.limits.patience => {
                self.deaf(now, DeafCause::Daemon);
            }
            Phase::Checking { until } if now >= until => self.checked_in_vain(now),
            Phase::Trusting { until } if now >= until => {
                if self.is_implausible(now) {
                    self.deaf(now, DeafCause::Silence);
                }
                // An empty shop that is only checked again gets one step at a time.
                self.climbing = self.told != RadioState::Quiet;
                self.climb(now);
            }
            _ => {}
        }
    }

    /// When [`Self::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Uptime> {
        let phase = match self.phase {
            Phase::Waiting { until } | Phase::Trusting { until } | Phase::Checking { until } => {
                Some(until)
            }
            Phase::Trying { since, .. } => Some(since + self.limits.patience)
                .filter(|_| !matches!(self.told, RadioState::Deaf { .. })),
        };
        let suspect = matches!(self.told, RadioState::Hearing).then(|| self.suspect_at());
        [phase, suspect].into_iter().flatten().min()
    }

    /// The next change of state, once.
    pub fn poll_change(&mut self) -> Option<RadioState> {
        self.news.pop_front()
    }

    /// The step to try now, once. The outcome is owed to [`Self::done`] or [`Self::failed`].
    pub fn poll_step(&mut self) -> Option<Step> {
        self.wanted.take()
    }

    /// The least time in which a scan is believed to hear nothing: beacons advertise at least every
    /// ten seconds, and the longest scan window of BlueZ and the kernel is 10.24 s.
    const LEAST_EFFECT: Duration = Duration::from_secs(10);

    fn suspect_at(&self) -> Uptime {
        self.vouched + self.limits.suspect_after
    }

    fn wait_and_retry(&mut self, now: Uptime) {
        self.climbing = false;
        let least = self.limits.retry_delay;
        let delay = least
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .clamp(least, LONGEST_PAUSE.max(least));
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting { until: now + delay };
    }

    /// Wants a scan where there is none; by a stronger step when that was refused for too long.
    fn build(&mut self, now: Uptime) {
        let stronger = self.failing.filter(|(due, _)| now >= *due);
        let step = stronger.and_then(|(_, step)| self.limits.from(step)).unwrap_or(Step::Rebuild);
        if let Some((due, _)) = stronger {
            let next = Step::ALL.get(step.place() + 1).copied().unwrap_or(Step::PowerCycle);
            self.failing = Some((due + REFUSED_TOO_LONG, next));
        }
        self.want(now, step);
    }

    /// Wants the next step of the ladder; the first again when all were tried.
    fn climb(&mut self, now: Uptime) {
        let step = self.upcoming(now).or_else(|| {
            self.next = self.limits.from(Step::RestartScan);
            self.upcoming(now)
        });
        let step = step.unwrap_or(Step::Rebuild);
        self.next = self.limits.after(step);
        self.want(now, step);
    }

    /// The next step that may be taken now, if any is left.
    fn upcoming(&self, now: Uptime) -> Option<Step> {
        let certain = self.is_implausible(now);
        let mut step = self.next;
        while let Some(candidate) = step {
            let taken = self.taken.get(candidate.place()).copied().flatten();
            let rested = taken.is_none_or(|taken| now.since(taken) >= STRONG_EVERY);
            if certain || rested || !candidate.is_strong() {
                break;
            }
            step = self.limits.after(candidate);
        }
        step
    }

    fn want(&mut self, now: Uptime, step: Step) {
        self.phase = Phase::Trying { step, since: now };
        self.wanted = Some(step);
        if let Some(taken) = self.taken.get_mut(step.place()) {
            *taken = Some(now);
        }
    }

    fn checked_in_vain(&mut self, now: Uptime) {
        let certain = self.is_implausible(now);
        if certain {
            self.deaf(now, DeafCause::Silence);
        }
        if (self.climbing || certain) && self.upcoming(now).is_some() {
            return self.climb(now);
        }
        if certain && self.canary_is_missing(now) {
            // All was tried, and the canary says that it was in vain: again, after a pause.
            self.phase = Phase::Trusting { until: now + self.widened_gap() };
            return;
        }
        // From here on the shop is empty, and it is no surprise that it stays so.
        self.traffic.forget();
        self.vouched = now;
        self.failures = 0;
        self.phase = Phase::Trusting { until: now + self.widened_gap() };
        self.tell(RadioState::Quiet);
    }

    /// The gap until the next check; the one after it is twice as long.
    fn widened_gap(&mut self) -> Duration {
        let gap = self.gap;
        self.gap = (gap * 2).min(LONGEST_GAP.max(self.limits.silence_timeout));
        gap
    }

    /// True when so many devices were heard that they cannot all have left by chance, or when one
    /// that never leaves is not heard any more.
    fn is_implausible(&self, now: Uptime) -> bool {
        self.traffic.makes_implausible(now) || self.canary_is_missing(now)
    }

    /// True when a canary was heard up to the time when everything fell silent. One that fell
    /// silent before, while others were heard, is broken and proves nothing.
    fn canary_is_missing(&self, now: Uptime) -> bool {
        let timeout = self.limits.canary_timeout;
        let last = self.traffic.last_heard();
        self.canary
            .is_some_and(|canary| last.since(canary) <= timeout && now.since(canary) > timeout)
    }

    fn deaf(&mut self, now: Uptime, cause: DeafCause) {
        if self.starting_until.is_some_and(|until| now < until) {
            return self.tell(RadioState::Suspect { since: self.vouched });
        }
        if let RadioState::Deaf { since, cause: told } = self.told {
            if told == cause || cause == DeafCause::Silence {
                self.other_cause = None;
                return;
            }
            let first = match self.other_cause {
                Some((other, first)) if other == cause => first,
                _ => now,
            };
            self.other_cause = Some((cause, first));
            // Silence is what is known before anything is known.
            if told == DeafCause::Silence || now.since(first) >= CAUSE_SETTLES {
                self.tell(RadioState::Deaf { since, cause });
            }
        } else {
            self.tell(RadioState::Deaf { since: self.vouched, cause });
        }
    }

    fn tell(&mut self, state: RadioState) {
        if state != self.told {
            self.told = state;
            self.other_cause = None;
            self.news.push_back(state);
        }
    }
}

#[cfg(test)]
mod tests;

//! Watches the clock, once a second: what it has learned is kept for later runs, told in the log,
//! and passed on to whoever waits for a clock that is right.
//!
//! A second is soon enough: nothing goes by the wall clock but stamps, which are set when a record
//! is sent, and consents, which are asked for then as well. (The kernel would wake us when somebody
//! sets its clock, by `TFD_TIMER_CANCEL_ON_SET` of a timer's descriptor; but not when a time source
//! takes over a clock that happens to be right, so it would have to be asked all the same.)

use std::time::Duration;

use tracing::{info, warn};

use crate::{
    clock::{Account, Clock, Step},
    engine::{ClockQuality, Uptime, WallClock},
    outbox::Write,
    timeline::Timeline,
};

/// How often it is logged that somebody sets the clock.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// A machine that slept for less has missed nothing: presence bears that much silence.
const NAP: Duration = Duration::from_secs(2);

/// What is known of the clock, and how it was when it was last looked at.
pub(super) struct ClockWatch {
    clock: Clock,
    timeline: Timeline,
    quality: ClockQuality,
    steps: Vec<Step>,
    jumps: u64,
    jumps_told: Option<Uptime>,
    slept: Duration,
}

/// What a look at the clock has shown.
pub(super) struct Look {
    pub(super) wall: WallClock,
    /// What was passed over because of the clock may be sent now.
    pub(super) changed: bool,
    /// What is to be kept for later runs.
    pub(super) write: Option<Write>,
}

// === impl ClockWatch ===

impl ClockWatch {
    pub(super) fn new(clock: Clock, timeline: Timeline) -> Self {
        let Account { basis, steps, jumps, .. } = clock.account();
        let (quality, slept) = (basis.quality(), clock.slept());
        Self { clock, timeline, quality, steps, jumps, jumps_told: None, slept }
    }

    /// What is to be kept of this run from the beginning on, and at its end.
    pub(super) fn write(&mut self) -> Write {
        self.timeline.note(&self.clock.account());
        self.timeline.write()
    }

    pub(super) fn look(&mut self) -> Look {
        let wall = self.clock.wall();
        let account = self.clock.account();
        let quality = account.basis.quality();
        let changed = quality != self.quality || account.steps != self.steps;
        self.tell(&account);
        let write = self.timeline.note(&account).then(|| self.timeline.write());
        self.quality = quality;
        self.steps = account.steps;
        Look { wall, changed, write }
    }

    /// For how long the machine has slept since this was last asked, if that is worth a word.
    pub(super) fn slept(&mut self) -> Option<Duration> {
        let slept = self.clock.slept();
        let by = slept.saturating_sub(self.slept);
        if by < NAP {
            return None;
        }
        self.slept = slept;
        info!(seconds = by.as_secs(), "The machine has slept, and heard nothing meanwhile.");
        Some(by)
    }

    fn tell(&mut self, account: &Account) {
        let basis = account.basis.name();
        match (self.quality, account.basis.quality()) {
            (ClockQuality::Unsynced, ClockQuality::Synced) => {
                info!(basis, "The clock is believed now; what was made before is dated anew.");
            }
            (ClockQuality::Synced, ClockQuality::Unsynced) => warn!(
                basis,
                "The clock is not believed any more; until it is, nothing is sent about anybody \
                 whose consent has an end."
            ),
            _ => {}
        }
        let told = self.jumps_told.is_some_and(|told| account.at.since(told) < LOG_EVERY);
        if account.jumps != self.jumps && !told {
            let by_s = account.last_jump.map(|jump| jump.by_us / 1_000_000);
            let times = account.jumps.saturating_sub(self.jumps);
            warn!(by_s, times, basis, "Somebody has set the wall clock.");
            (self.jumps, self.jumps_told) = (account.jumps, Some(account.at));
        }
    }
}

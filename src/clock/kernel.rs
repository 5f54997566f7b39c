//! What Linux says of time: uptime that goes on while the machine sleeps, whether somebody
//! disciplines the wall clock, and which boot this is. Has the only unsafe code about clocks.

use std::{
    fs,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::Duration,
};

use super::{Boot, Discipline};
use crate::engine::Uptime;

/// The clocks of this machine.
///
/// Uptime is tokio's clock, which is `CLOCK_MONOTONIC` outside of tests, and what the machine has
/// slept since: what `CLOCK_BOOTTIME` is ahead of `CLOCK_MONOTONIC`, of which the kernel changes
/// nothing but on waking up (`clock_getres(2)`).
#[derive(Debug)]
pub(super) struct Kernel {
    started: tokio::time::Instant,
    /// `CLOCK_BOOTTIME` at uptime zero, in microseconds.
    started_us: i64,
    /// How far it was ahead of `CLOCK_MONOTONIC` then.
    slept_before_us: i64,
    /// The most that it was seen to be ahead since, beyond that.
    slept_us: AtomicI64,
}

/// A sleep is never shorter, in microseconds; what looks shorter is the time between two readings.
const SHORTEST_SLEEP_US: i64 = 10_000;

/// How often the two clocks are read at the start, to see how far they are apart. The nearest pair
/// counts.
const PAIRS: usize = 8;

// === impl Kernel ===

impl Kernel {
    pub(super) fn start(started: tokio::time::Instant) -> Self {
        let ahead = (0..PAIRS).map(|_| ahead_us()).max().unwrap_or_default();
        let started_us = micros(libc::CLOCK_BOOTTIME);
        Self { started, started_us, slept_before_us: ahead, slept_us: AtomicI64::new(0) }
    }

    pub(super) fn now(&self) -> Uptime {
        Uptime::ZERO + self.started.elapsed() + self.slept()
    }

    pub(super) fn instant(&self, at: Uptime) -> tokio::time::Instant {
        self.started + at.since(Uptime::ZERO + self.slept())
    }

    pub(super) fn started_us(&self) -> i64 {
        self.started_us
    }

    /// How long the machine has slept since the start. Never less than before: what is read is a
    /// lower bound, and the highest counts.
    pub(super) fn slept(&self) -> Duration {
        let seen = ahead_us().saturating_sub(self.slept_before_us);
        let known = self.slept_us.load(Relaxed);
        let slept = if seen.saturating_sub(known) >= SHORTEST_SLEEP_US {
            self.slept_us.fetch_max(seen, Relaxed).max(seen)
        } else {
            known
        };
        Duration::from_micros(u64::try_from(slept).unwrap_or(0))
    }
}

/// How far `CLOCK_BOOTTIME` is ahead of `CLOCK_MONOTONIC` at least, in microseconds: the latter is
/// read last.
fn ahead_us() -> i64 {
    let boottime = micros(libc::CLOCK_BOOTTIME);
    boottime.saturating_sub(micros(libc::CLOCK_MONOTONIC))
}

/// One of the kernel's clocks, in microseconds.
#[expect(unsafe_code, reason = "clock_gettime has no safe binding; it fills in our own struct")]
#[allow(clippy::useless_conversion, reason = "the fields are narrower on machines of 32 bits")]
fn micros(clock: libc::clockid_t) -> i64 {
    // SAFETY: an all-zero `timespec` is a valid value, and the call writes nothing else.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(clock, &raw mut time);
        time
    };
    i64::from(time.tv_sec).saturating_mul(1_000_000) + i64::from(time.tv_nsec) / 1000
}

/// Asks whether a time source disciplines the wall clock (`adjtimex(2)`: state `TIME_ERROR`, 5,
/// means that none does, because of `STA_UNSYNC` or of a fault of a pulse-per-second signal), and
/// how far off it may be.
#[expect(unsafe_code, reason = "adjtimex has no safe binding; it reads into a struct of our own")]
pub(super) fn discipline() -> Discipline {
    // SAFETY: an all-zero `timex` is a valid value, and with `modes` 0 the call only reads.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        let state = libc::adjtimex(&raw mut timex);
        (state, timex)
    };
    let followed = !matches!(state, libc::TIME_ERROR | -1) && timex.status & libc::STA_UNSYNC == 0;
    Discipline { followed, max_error_us: u64::try_from(timex.maxerror).unwrap_or(0) }
}

/// The number that the kernel draws when it starts (`random(4)`, `boot_id`).
pub(super) fn boot() -> Option<Boot> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    uuid::Uuid::parse_str(text.trim()).ok().map(|id| Boot(id.as_u128()))
}

//! A machine whose clocks are in somebody's hand: for tests, and for simulations of days in minutes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Boot, Clock, Discipline, Terms};
use crate::engine::UnixTime;

/// The clocks of a simulated machine. Copies are the same machine.
///
/// Time passes with tokio's, `rate` times as fast, and besides in leaps: what the machine did
/// [meanwhile](Machine::pass), and what it [slept](Machine::suspend). Its wall clock behaves as
/// Linux's does: whoever sets it marks it as following nobody, until a time source says otherwise.
#[derive(Clone, Debug)]
pub struct Machine(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rate: u32,
    boot: u128,
    /// When the machine was booted, or its rate changed.
    since: tokio::time::Instant,
    /// Time that passed in leaps, awake.
    passed: Duration,
    slept: Duration,
    /// What the wall clock said when the machine was booted, in microseconds since 1970.
    origin_us: i64,
    discipline: Discipline,
}

/// What the kernel says of the error while nobody disciplines its clock: `NTP_PHASE_LIMIT`, 16 s.
const NO_IDEA_US: u64 = 16_000_000;

/// What a time source leaves of it.
const DISCIPLINED_US: u64 = 2_000;

// === impl Machine ===

impl Machine {
    /// A machine that is switched on now, with a wall clock that says `unix` and follows nobody.
    #[expect(clippy::disallowed_methods, reason = "a clock begins to run now")]
    pub fn new(unix: UnixTime) -> Self {
        Self(Arc::new(Mutex::new(State {
            rate: 1,
            boot: 1,
            since: tokio::time::Instant::now(),
            passed: Duration::ZERO,
            slept: Duration::ZERO,
            origin_us: unix.as_millis().saturating_mul(1000),
            discipline: Discipline { followed: false, max_error_us: NO_IDEA_US },
        })))
    }

    /// The same machine, on which time passes `rate` times as fast; 0 is taken for 1.
    #[must_use]
    pub fn at_rate(self, rate: u32) -> Self {
        self.state().rate = rate.max(1);
        self
    }

    /// Starts a clock on this machine: a program that is started on it.
    pub fn clock(&self) -> Clock {
        Clock::on(self.clone(), Terms::default())
    }

    /// Lets time pass at once.
    pub fn pass(&self, time: Duration) {
        let mut state = self.state();
        state.passed = state.passed.saturating_add(time);
    }

    /// Lets the machine sleep for a while.
    pub fn suspend(&self, time: Duration) {
        let mut state = self.state();
        state.slept = state.slept.saturating_add(time);
    }

    /// Sets the wall clock, as `date -s` does.
    pub fn set(&self, unix: UnixTime) {
        let now_us = self.unix_us();
        let to_us = unix.as_millis().saturating_mul(1000);
        self.step_us(to_us.saturating_sub(now_us));
    }

    /// Moves the wall clock by so many milliseconds, as `clock_settime(2)` does.
    pub fn step(&self, millis: i64) {
        self.step_us(millis.saturating_mul(1000));
    }

    fn step_us(&self, micros: i64) {
        let mut state = self.state();
        state.origin_us = state.origin_us.saturating_add(micros);
        state.discipline = Discipline { followed: false, max_error_us: NO_IDEA_US };
    }

    /// A time source takes the wall clock over, or has been away for too long.
    pub fn follow(&self, followed: bool) {
        let max_error_us = if followed { DISCIPLINED_US } else { NO_IDEA_US };
        self.state().discipline = Discipline { followed, max_error_us };
    }

    /// A time source sets the wall clock and follows it from then on.
    pub fn sync(&self, unix: UnixTime) {
        self.set(unix);
        self.follow(true);
    }

    /// Switches the machine off and on again. Its wall clock goes on from where it was, as one with
    /// a battery does, and follows nobody.
    #[expect(clippy::disallowed_methods, reason = "a clock begins to run now")]
    pub fn reboot(&self) {
        let origin_us = self.unix_us();
        let mut state = self.state();
        *state = State {
            rate: state.rate,
            boot: state.boot.wrapping_add(1),
            since: tokio::time::Instant::now(),
            passed: Duration::ZERO,
            slept: Duration::ZERO,
            origin_us,
            discipline: Discipline { followed: false, max_error_us: NO_IDEA_US },
        };
    }

    /// What the wall clock says.
    pub fn unix(&self) -> UnixTime {
        UnixTime::from_millis(self.unix_us().div_euclid(1000))
    }

    fn unix_us(&self) -> i64 {
        self.both_us().1
    }

    /// How long it has been up, and what the wall clock says, of one and the same moment: where time
    /// passes thousands of times as fast, two readings would lie seconds apart.
    #[expect(clippy::disallowed_methods, reason = "this is a clock")]
    pub(super) fn both_us(&self) -> (i64, i64) {
        let up_us = self.up_us_at(tokio::time::Instant::now());
        (up_us, self.state().origin_us.saturating_add(up_us))
    }

    /// How long it has been up, asleep or not, in microseconds.
    #[expect(clippy::disallowed_methods, reason = "this is a clock")]
    pub(super) fn up_us(&self) -> i64 {
        self.up_us_at(tokio::time::Instant::now())
    }

    pub(super) fn up_us_at(&self, now: tokio::time::Instant) -> i64 {
        let state = self.state();
        let awake = now.saturating_duration_since(state.since).saturating_mul(state.rate);
        let up = awake.saturating_add(state.passed).saturating_add(state.slept);
        i64::try_from(up.as_micros()).unwrap_or(i64::MAX)
    }

    pub(super) fn rate(&self) -> u32 {
        self.state().rate
    }

    pub(super) fn slept(&self) -> Duration {
        self.state().slept
    }

    pub(super) fn boot(&self) -> Boot {
        Boot(self.state().boot)
    }

    pub(super) fn discipline(&self) -> Discipline {
        self.state().discipline
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

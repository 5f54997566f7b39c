//! The only module that asks the operating system what time it is.
//!
//! Two kinds of time come out. *Uptime* is monotonic and goes on while the machine sleeps; all
//! arithmetic is done with it. *Wall time* is what people and events need; it is judged by
//! [`belief`](Belief) before anybody sees it, because a machine without a battery starts in 1970,
//! operators set clocks by hand, and time daemons step them.
//!
//! Timers are tokio's, whose clock stands still while the machine sleeps: whoever waits computes
//! [`Clock::instant`] anew at least once a second, so that a timer is late by that at the most.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    engine::{ClockQuality, UnixTime, Uptime, WallClock},
    settings::ClockTrust,
};

mod belief;
mod kernel;
mod machine;

pub use belief::{Account, Anchor, Basis, Belief, Discipline, Jump, Reading, STEP, Step, Terms};
pub use machine::Machine;

use kernel::Kernel;

/// Reads monotonic time relative to the moment the clock was started, and the wall clock.
///
/// A small value that is copied to whoever needs it. What it has seen of the wall clock is shared
/// by all copies and lives as long as the process: a program starts one clock, not many.
#[derive(Clone, Copy, Debug)]
pub struct Clock(&'static Shared);

#[derive(Debug)]
struct Shared {
    source: Source,
    belief: Mutex<Belief>,
}

/// Whose clocks are read.
#[derive(Debug)]
enum Source {
    Kernel(Kernel),
    Machine {
        machine: Machine,
        boot: Boot,
        /// How long the machine had been up at uptime zero, in microseconds.
        started_us: i64,
        /// How long it had slept by then.
        slept: Duration,
    },
}

/// Names the time between two starts of the machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Boot(pub u128);

/// How old a packet from the kernel can be at most. Its buffer holds some seconds; a stamp that
/// looks older is from before the wall clock was set.
pub const OLDEST_STAMP: Duration = Duration::from_secs(10);

/// How far apart two readings of uptime may be for the wall clock to be read between them. A thread
/// that was put aside meanwhile reads again.
const WINDOW: Duration = Duration::from_millis(1);

/// How often it is read again.
const READINGS: usize = 5;

/// How long a clock must have stood until what is too old by it is thrown away.
const SETTLED: Duration = Duration::from_hours(1);

// === impl Clock ===

impl Clock {
    /// Starts a clock; its first reading is [`Uptime::ZERO`].
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]
    pub fn start() -> Self {
        let kernel = Kernel::start(tokio::time::Instant::now());
        Self::new(Source::Kernel(kernel), Terms::default())
    }

    /// Starts a clock on which time passes `rate` times as fast (0 is taken for 1) as on the
    /// machine's, and on which it is now `begin`, as if a time source said so.
    ///
    /// For simulations of days in minutes. Presence, consent and all that is about people go by
    /// this clock; what waits for a network or a disk takes the time it takes.
    pub fn accelerated(rate: u32, begin: UnixTime) -> Self {
        let machine = Machine::new(begin).at_rate(rate);
        machine.follow(true);
        // Whoever simulates chooses the year.
        let terms = Terms { built: UnixTime::from_millis(i64::MIN), ..Terms::default() };
        Self::on(machine, terms)
    }

    /// Starts a clock on a simulated machine.
    fn on(machine: Machine, terms: Terms) -> Self {
        let (boot, started_us, slept) = (machine.boot(), machine.up_us(), machine.slept());
        Self::new(Source::Machine { machine, boot, started_us, slept }, terms)
    }

    fn new(source: Source, terms: Terms) -> Self {
        let belief = Mutex::new(Belief::new(terms));
        // Never given back, which is what lets a clock be a value that everybody may copy.
        Self(Box::leak(Box::new(Shared { source, belief })))
    }

    /// The same clock, believed on these terms from now on, by whoever has a copy.
    #[must_use]
    pub fn trusting(self, trust: ClockTrust) -> Self {
        self.belief().terms.trust = trust;
        self
    }

    /// The same clock, that goes on being believed for so long after its time source was last seen.
    #[must_use]
    pub fn holding(self, holdover: Duration) -> Self {
        self.belief().terms.holdover = holdover;
        self
    }

    /// Reads monotonic time.
    pub fn now(&self) -> Uptime {
        match &self.0.source {
            Source::Kernel(kernel) => kernel.now(),
            Source::Machine { machine, started_us, .. } => {
                Uptime::from_micros(machine.up_us().saturating_sub(*started_us))
            }
        }
    }

    /// The moment at which this clock will read `at`, for timers, unless the machine sleeps.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]
    pub fn instant(&self, at: Uptime) -> tokio::time::Instant {
        match &self.0.source {
            Source::Kernel(kernel) => kernel.instant(at),
            Source::Machine { machine, started_us, .. } => {
                let now = tokio::time::Instant::now();
                let up = machine.up_us_at(now).saturating_sub(*started_us);
                let wait = at.since(Uptime::from_micros(up));
                // Rounded up: a timer that comes early would be set again, and again.
                now + wait / machine.rate() + Duration::from_nanos(1)
            }
        }
    }

    /// How long the machine has slept since this clock was started.
    pub fn slept(&self) -> Duration {
        match &self.0.source {
            Source::Kernel(kernel) => kernel.slept(),
            Source::Machine { machine, slept, .. } => machine.slept().saturating_sub(*slept),
        }
    }

    /// Which boot of the machine this is; `None` where nobody says.
    pub fn boot(&self) -> Option<Boot> {
        match &self.0.source {
            Source::Kernel(_) => kernel::boot(),
            Source::Machine { boot, .. } => Some(*boot),
        }
    }

    /// When the machine was booted: an uptime before zero. Two runs of the program in one boot
    /// agree on that moment, and so can compare their uptimes.
    pub fn booted(&self) -> Uptime {
        let started_us = match &self.0.source {
            Source::Kernel(kernel) => kernel.started_us(),
            Source::Machine { started_us, .. } => *started_us,
        };
        Uptime::from_micros(started_us.saturating_neg())
    }

    /// The uptime of a moment that was stamped with the wall clock, as time since 1970: the time at
    /// which the kernel took a packet from the radio.
    ///
    /// Neither in the future nor more than [`OLDEST_STAMP`] ago, however the wall clock was set in
    /// between.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]
    pub fn uptime_of(&self, stamp: Duration) -> Uptime {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let age = age(wall.unwrap_or_default(), stamp);
        match &self.0.source {
            Source::Kernel(kernel) => kernel.now() - age,
            Source::Machine { machine, .. } => self.now() - age.saturating_mul(machine.rate()),
        }
    }

    /// Reads the wall clock, and says how far to trust it.
    pub fn wall(&self) -> WallClock {
        // Read under the lock, so that readings come in their order and no step is seen twice.
        let mut belief = self.belief();
        let reading = self.read();
        belief.read(&reading)
    }

    /// The same, for whoever throws something away because of its age: a clock that was set a
    /// moment ago, whoever set it, may be put right in the next, so it is believed once it has
    /// stood for an hour.
    pub fn settled(&self) -> WallClock {
        let wall = self.wall();
        let is_new = |jump: Jump| wall.at.since(jump.at) < SETTLED;
        if self.account().last_jump.is_some_and(is_new) {
            return WallClock { quality: ClockQuality::Unsynced, ..wall };
        }
        wall
    }

    /// What was seen of the wall clock so far, and what it is believed for. Reads it first.
    pub fn account(&self) -> Account {
        let mut belief = self.belief();
        let reading = self.read();
        belief.read(&reading);
        belief.account()
    }

    /// What an earlier run of the program believed in this boot of the machine, in this clock's
    /// uptime.
    pub fn recall(&self, anchor: Anchor) {
        self.belief().recall(anchor);
    }

    /// The wall clock has been here before: while it says less, it is wrong.
    pub fn not_before(&self, unix: UnixTime) {
        self.belief().not_before(unix);
    }

    fn read(self) -> Reading {
        let mut reading = self.read_once();
        for _ in 1..READINGS {
            if reading.1 <= WINDOW {
                break;
            }
            reading = self.read_once();
        }
        reading.0
    }

    /// One reading, and how long it took.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]
    fn read_once(self) -> (Reading, Duration) {
        let before = self.now();
        let (unix_us, discipline) = match &self.0.source {
            Source::Machine { machine, started_us, .. } => {
                let (up_us, unix_us) = machine.both_us();
                let at = Uptime::from_micros(up_us.saturating_sub(*started_us));
                let discipline = machine.discipline();
                return (Reading { at, unix_us, discipline }, Duration::ZERO);
            }
            Source::Kernel(_) => {
                let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let us = |since: Duration| i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
                let unix_us = match wall {
                    Ok(since) => us(since),
                    Err(error) => us(error.duration()).saturating_neg(),
                };
                (unix_us, kernel::discipline())
            }
        };
        let took = self.now().since(before);
        (Reading { at: before + took / 2, unix_us, discipline }, took)
    }

    fn belief(&self) -> MutexGuard<'_, Belief> {
        // Every change of it is complete before anything in it could panic.
        self.0.belief.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long before `wall` a packet was stamped, as far as that can be.
fn age(wall: Duration, stamp: Duration) -> Duration {
    wall.saturating_sub(stamp).min(OLDEST_STAMP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_accelerated_clock_runs_ahead_and_its_timers_are_never_early() {
        let begin = UnixTime::from_millis(1_790_000_000_000);
        let clock = Clock::accelerated(4000, begin);
        assert_eq!(clock.now(), Uptime::ZERO);
        for seconds in [1, 7, 86_400, 604_800] {
            let at = Uptime::from_micros(seconds * 1_000_000 + 1);
            tokio::time::sleep_until(clock.instant(at)).await;
            let late = clock.now().since(at);
            // The timers of tokio tick in milliseconds.
            assert!(clock.now() >= at && late <= Duration::from_secs(8), "{late:?}");
        }
        let wall = clock.wall();
        assert_eq!(wall.quality, ClockQuality::Synced);
        let days = (wall.unix.as_millis() - begin.as_millis()) / 86_400_000;
        assert_eq!((days, wall.at), (7, clock.now()));
    }

    #[tokio::test(start_paused = true)]
    async fn uptime_goes_on_while_the_machine_sleeps_and_timers_are_set_by_what_is_left() {
        let machine = Machine::new(UnixTime::from_millis(0));
        let clock = machine.clock();
        let at = Uptime::from_micros(10_000_000);
        let first = clock.instant(at);
        machine.suspend(Duration::from_secs(4));
        assert_eq!(clock.now(), Uptime::from_micros(4_000_000));
        assert_eq!(clock.slept(), Duration::from_secs(4));
        assert_eq!(first - clock.instant(at), Duration::from_secs(4));
        machine.suspend(Duration::from_mins(1));
        assert!(clock.instant(at) <= first, "what is overdue is due");
        assert_eq!(clock.wall().unix, UnixTime::from_millis(64_000), "the wall clock went on, too");
    }

    #[tokio::test(start_paused = true)]
    async fn two_runs_in_one_boot_agree_on_when_it_began() {
        let machine = Machine::new(UnixTime::from_millis(0));
        machine.pass(Duration::from_secs(7));
        let first = machine.clock();
        machine.pass(Duration::from_secs(5));
        let second = machine.clock();
        assert_eq!(first.boot(), second.boot());
        assert_eq!(first.now().since(first.booted()), second.now().since(second.booted()));
        machine.reboot();
        assert_ne!(machine.clock().boot(), first.boot());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_too_old_by_a_clock_that_was_set_a_moment_ago() {
        let machine = Machine::new(UnixTime::from_millis(1_790_000_000_000));
        machine.follow(true);
        let clock = machine.clock();
        assert_eq!(clock.settled().quality, ClockQuality::Synced);
        machine.sync(UnixTime::from_millis(2_100_000_000_000));
        assert_eq!(clock.wall().quality, ClockQuality::Synced);
        assert_eq!(clock.settled().quality, ClockQuality::Unsynced);
        machine.pass(SETTLED);
        assert_eq!(clock.settled(), clock.wall());
    }

    #[test]
    fn the_machines_own_clock_does_not_go_backwards_and_knows_its_boot() {
        let clock = Clock::start();
        let mut last = clock.now();
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now >= last, "{now:?} is before {last:?}");
            last = now;
        }
        assert_eq!(clock.slept(), Duration::ZERO);
        assert!(clock.booted() < Uptime::ZERO);
        assert_eq!(clock.boot(), Clock::start().boot());
        assert!(clock.boot().is_some(), "Linux tells");
    }

    #[test]
    fn a_stamp_is_neither_from_the_future_nor_absurdly_old() {
        let wall = Duration::from_secs(1_700_000_000);
        assert_eq!(age(wall, wall), Duration::ZERO);
        assert_eq!(age(wall + Duration::from_millis(3), wall), Duration::from_millis(3));
        // The clock was set back, or forward.
        assert_eq!(age(wall, wall + Duration::from_hours(1)), Duration::ZERO);
        assert_eq!(age(wall + Duration::from_hours(1), wall), OLDEST_STAMP);
        assert_eq!(age(Duration::ZERO, Duration::MAX), Duration::ZERO);
        assert_eq!(age(Duration::MAX, Duration::ZERO), OLDEST_STAMP);
    }
}

//! The only module that asks the operating system what time it is.

use std::time::Duration;

use crate::{
    engine::{ClockQuality, UnixTime, Uptime, WallClock},
    settings::ClockTrust,
};

/// Reads monotonic time relative to the moment the clock was started, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: tokio::time::Instant,
    trust: ClockTrust,
    simulated: Option<Simulated>,
}

/// A time that is not the machine's.
#[derive(Clone, Copy, Debug)]
struct Simulated {
    /// Seconds that pass in one of the machine's; at least 1.
    rate: u32,
    /// The wall time at uptime zero.
    begin: UnixTime,
}

/// How old a packet from the kernel can be at most. Its buffer holds some seconds; a stamp that
/// looks older is from before the wall clock was set.
pub const OLDEST_STAMP: Duration = Duration::from_secs(10);

impl Clock {
    /// Starts a clock; its first reading is [`Uptime::ZERO`].
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]
    pub fn start() -> Self {
        let started = tokio::time::Instant::now();
        Self { started, trust: ClockTrust::Synced, simulated: None }
    }

    /// Starts a clock on which time passes `rate` times as fast (0 is taken for 1) as on the
    /// machine's, and on which it is now `begin`, as if a time source said so.
    ///
    /// For simulations of days in minutes. Presence, consent and all that is about people go by
    /// this clock; what waits for a network or a disk takes the time it takes.
    pub fn accelerated(rate: u32, begin: UnixTime) -> Self {
        let simulated = Simulated { rate: rate.max(1), begin };
        Self { simulated: Some(simulated), ..Self::start() }
    }

    /// The same clock, believed on these terms.
    #[must_use]
    pub fn trusting(self, trust: ClockTrust) -> Self {
        Self { trust, ..self }
    }

    /// Reads monotonic time.
    pub fn now(&self) -> Uptime {
        Uptime::ZERO + self.accelerate(self.started.elapsed())
    }

    /// The moment at which this clock will read `at`, for timers.
    pub fn instant(&self, at: Uptime) -> tokio::time::Instant {
        let since = at.since(Uptime::ZERO);
        self.started
            + match self.simulated {
                None => since,
                // Rounded up: a timer that comes early would be set again, and again.
                Some(Simulated { rate, .. }) => since / rate + Duration::from_nanos(1),
            }
    }

    /// The uptime of a moment that was stamped with the wall clock, as time since 1970: the time at
    /// which the kernel took a packet from the radio.
    ///
    /// Neither in the future nor more than [`OLDEST_STAMP`] ago, however the wall clock was set in
    /// between.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]
    pub fn uptime_of(&self, stamp: Duration) -> Uptime {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        self.now() - self.accelerate(age(wall.unwrap_or_default(), stamp))
    }

    /// Reads the wall clock, and whether it follows a time source.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]
    pub fn wall(&self) -> WallClock {
        if let Some(Simulated { begin, .. }) = self.simulated {
            let at = self.now();
            let wall = WallClock { at: Uptime::ZERO, unix: begin, quality: ClockQuality::Synced };
            return WallClock { at, unix: wall.unix_at(at), ..wall };
        }
        let unix = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(_) => 0,
        };
        let quality = match self.trust {
            ClockTrust::Synced => quality(),
            ClockTrust::Always => ClockQuality::Synced,
        };
        WallClock { at: self.now(), unix: UnixTime::from_millis(unix), quality }
    }

    /// How much passes on this clock while so much passes on the machine's.
    fn accelerate(&self, machine: Duration) -> Duration {
        self.simulated.map_or(machine, |simulated| machine.saturating_mul(simulated.rate))
    }
}

/// How long before `wall` a packet was stamped, as far as that can be.
fn age(wall: Duration, stamp: Duration) -> Duration {
    wall.saturating_sub(stamp).min(OLDEST_STAMP)
}

/// Asks the kernel whether a time source disciplines its clock (`adjtimex(2)`: state `TIME_ERROR`,
/// 5, means that it does not).
#[expect(unsafe_code, reason = "adjtimex has no safe binding; it reads into a struct of our own")]
fn quality() -> ClockQuality {
    // SAFETY: an all-zero `timex` is a valid value, and with `modes` 0 the call only reads.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut timex)
    };
    match state {
        libc::TIME_ERROR | -1 => ClockQuality::Unsynced,
        _ => ClockQuality::Synced,
    }
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

//! The only module that asks the operating system what time it is.

use std::time::Duration;

use crate::engine::{ClockQuality, UnixTime, Uptime, WallClock};

/// Reads monotonic time relative to the moment the clock was started, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: tokio::time::Instant,
}

/// How old a packet from the kernel can be at most. Its buffer holds some seconds; a stamp that
/// looks older is from before the wall clock was set.
pub const OLDEST_STAMP: Duration = Duration::from_secs(10);

impl Clock {
    /// Starts a clock; its first reading is [`Uptime::ZERO`].
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]
    pub fn start() -> Self {
        Self { started: tokio::time::Instant::now() }
    }

    /// Reads monotonic time.
    pub fn now(&self) -> Uptime {
        Uptime::ZERO + self.started.elapsed()
    }

    /// The moment at which this clock will read `at`, for timers.
    pub fn instant(&self, at: Uptime) -> tokio::time::Instant {
        self.started + at.since(Uptime::ZERO)
    }

    /// The uptime of a moment that was stamped with the wall clock, as time since 1970: the time at
    /// which the kernel took a packet from the radio.
    ///
    /// Neither in the future nor more than [`OLDEST_STAMP`] ago, however the wall clock was set in
    /// between.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]
    pub fn uptime_of(&self, stamp: Duration) -> Uptime {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        self.now() - age(wall.unwrap_or_default(), stamp)
    }

    /// Reads the wall clock, and whether it follows a time source.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]
    pub fn wall(&self) -> WallClock {
        let unix = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(_) => 0,
        };
        WallClock { at: self.now(), unix: UnixTime::from_millis(unix), quality: quality() }
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

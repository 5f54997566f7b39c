//! The engine's idea of time: monotonic, handed in from outside.

use std::{fmt, ops, time::Duration};

/// Monotonic time relative to the moment this run of the gateway started, in microseconds.
///
/// Negative values lie before the start: a visit that was open when the gateway was restarted
/// began before this run did.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Uptime(i64);

impl Uptime {
    /// The moment the gateway started.
    pub const ZERO: Self = Self(0);

    /// Wraps microseconds since (or, negative, before) the start.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since (or, negative, before) the start.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl ops::Add<Duration> for Uptime {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(micros(rhs)))
    }
}

impl ops::Sub<Duration> for Uptime {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(micros(rhs)))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Wall-clock time: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixTime(i64);

impl UnixTime {
    /// Wraps milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

/// How far the wall clock can be trusted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClockQuality {
    /// The operating system says that its clock follows a time source.
    Synced,
    /// Nobody has set the clock since power-on. A Raspberry Pi has no clock of its own.
    #[default]
    Unsynced,
}

/// One reading of both clocks: what the wall clock said at an uptime, and how far to trust it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WallClock {
    /// When the reading was taken.
    pub at: Uptime,
    /// What the wall clock said.
    pub unix: UnixTime,
    /// How far to trust it.
    pub quality: ClockQuality,
}

impl WallClock {
    /// The wall time of an uptime before or after this reading.
    pub fn unix_at(&self, at: Uptime) -> UnixTime {
        let elapsed_micros = at.0.saturating_sub(self.at.0);
        UnixTime(self.unix.0.saturating_add(elapsed_micros.div_euclid(1000)))
    }

    /// The uptime of a wall time before or after this reading.
    pub fn uptime_of(&self, unix: UnixTime) -> Uptime {
        let elapsed_millis = unix.0.saturating_sub(self.unix.0);
        Uptime(self.at.0.saturating_add(elapsed_millis.saturating_mul(1000)))
    }
}

impl fmt::Display for ClockQuality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Synced => "synced",
            Self::Unsynced => "unsynced",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_before_the_start_is_ordinary_time() {
        let earlier = Uptime::ZERO - Duration::from_secs(5);
        assert!(earlier < Uptime::ZERO);
        assert_eq!(Uptime::ZERO.since(earlier), Duration::from_secs(5));
        assert_eq!(earlier.since(Uptime::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_reading_of_the_wall_clock_converts_both_ways() {
        let reading = WallClock {
            at: Uptime::from_micros(2_000_000),
            unix: UnixTime::from_millis(1_000_000),
            quality: ClockQuality::Synced,
        };
        assert_eq!(reading.unix_at(Uptime::ZERO), UnixTime::from_millis(998_000));
        assert_eq!(reading.uptime_of(UnixTime::from_millis(998_000)), Uptime::ZERO);
    }
}

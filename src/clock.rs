//! The only module that asks the operating system what time it is.

use crate::engine::{ClockQuality, UnixTime, Uptime, WallClock};

/// Reads monotonic time relative to the moment the clock was started, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: tokio::time::Instant,
}

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

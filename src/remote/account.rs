//! What is counted of each remote receiver, for the state document, the metrics and a technician.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use super::format::{Format, Refusal};
use crate::engine::{ReceiverId, Uptime, WallClock};

/// What one remote receiver counts, and how it stands.
#[derive(Debug)]
pub struct RemoteCounters {
    /// Its name.
    pub id: ReceiverId,
    /// Whose form its messages have.
    pub format: Format,
    /// Messages on its topics.
    pub messages: AtomicU64,
    /// Advertisements handed on.
    pub heard: AtomicU64,
    /// Advertisements dropped because the engine was behind.
    pub dropped: AtomicU64,
    /// Sealed messages that never came, by the numbers of those that did.
    pub missed: AtomicU64,
    /// The broker lets us hear its topics now.
    linked: AtomicBool,
    /// Messages and entries refused, in the order of [`Refusal::ALL`].
    refused: [AtomicU64; Refusal::ALL.len()],
    /// When it was last heard from, in microseconds of uptime; [`NEVER`] before.
    last_heard: AtomicI64,
    /// Our uptime less its time, in microseconds; [`NEVER`] while that is not known.
    offset: AtomicI64,
}

/// No time at all.
const NEVER: i64 = i64::MIN;

impl RemoteCounters {
    /// Counters at zero.
    pub fn new(id: ReceiverId, format: Format) -> Self {
        Self {
            id,
            format,
            messages: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            linked: AtomicBool::new(false),
            refused: Default::default(),
            last_heard: AtomicI64::new(NEVER),
            offset: AtomicI64::new(NEVER),
        }
    }

    /// Whether the broker lets us hear its topics now.
    pub fn is_linked(&self) -> bool {
        self.linked.load(Relaxed)
    }

    /// How many messages and entries were refused for that reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused.get(refusal.place()).map_or(0, |count| count.load(Relaxed))
    }

    /// How many messages and entries were refused in all.
    pub fn refused_in_all(&self) -> u64 {
        self.refused.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// When it was last heard from.
    pub fn last_heard(&self) -> Option<Uptime> {
        Some(self.last_heard.load(Relaxed)).filter(|at| *at != NEVER).map(Uptime::from_micros)
    }

    /// How far its clock is ahead of ours, in milliseconds, if it tells the time.
    pub fn ahead_ms(&self, wall: &WallClock) -> Option<i64> {
        let offset = Some(self.offset.load(Relaxed)).filter(|offset| *offset != NEVER)?;
        // What it reads at our uptime zero, and what our wall clock does.
        let theirs = offset.saturating_neg().div_euclid(1000);
        Some(theirs.saturating_sub(wall.unix_at(Uptime::ZERO).as_millis()))
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        if let Some(count) = self.refused.get(refusal.place()) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn set_linked(&self, linked: bool) {
        self.linked.store(linked, Relaxed);
    }

    pub(super) fn set_last_heard(&self, at: Option<Uptime>) {
        self.last_heard.store(at.map_or(NEVER, Uptime::as_micros), Relaxed);
    }

    pub(super) fn set_offset(&self, offset: Option<i64>) {
        self.offset.store(offset.unwrap_or(NEVER), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ClockQuality, UnixTime};

    #[test]
    fn how_far_its_clock_is_ahead_is_told_by_our_wall_clock() {
        let counters = RemoteCounters::new(ReceiverId::new("shelf"), Format::Ruuvi);
        let wall = WallClock {
            at: Uptime::from_micros(5_000_000),
            unix: UnixTime::from_millis(1_700_000_005_000),
            quality: ClockQuality::Synced,
        };
        assert_eq!(counters.ahead_ms(&wall), None);
        // At our uptime zero it reads three seconds more than we do.
        counters.set_offset(Some(-1_700_000_003_000_000));
        assert_eq!(counters.ahead_ms(&wall), Some(3000));
    }

    #[test]
    fn refusals_are_counted_by_their_reason() {
        let counters = RemoteCounters::new(ReceiverId::new("shelf"), Format::Minew);
        for refusal in [Refusal::Data, Refusal::Data, Refusal::TooOld] {
            counters.refuse(refusal);
        }
        assert_eq!((counters.refused(Refusal::Data), counters.refused(Refusal::TooOld)), (2, 1));
        assert_eq!(counters.refused_in_all(), 3);
    }
}

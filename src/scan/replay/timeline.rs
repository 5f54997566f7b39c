//! Recorded time, made fit for an engine: begins at zero and never goes back.

use crate::engine::{UnixTime, Uptime};

/// When a packet was recorded, in microseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stamp {
    /// Since 1970.
    Unix(i64),
    /// Since some moment that nobody knows.
    Elapsed(i64),
    /// Not said: as late as the packet before.
    Unknown,
}

/// A packet that is this much earlier than the one before it, or less, was merely written late: it
/// is taken to come at the same time. One that is earlier by more comes after the recorder's clock
/// was set back: time goes on from there.
const DISORDER_MICROS: i64 = 1_000_000;

/// Places packets on the time of their recording.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timeline {
    /// What the stamps count from, so that the recording begins at zero.
    origin: Option<i64>,
    /// The wall time of the beginning.
    started: Option<UnixTime>,
    /// What the clock's steps back add up to.
    regained: i64,
    last: i64,
    steps: u64,
}

impl Timeline {
    /// For stamps that count from the beginning already.
    pub(super) fn begun(started: Option<UnixTime>) -> Self {
        Self { origin: Some(0), started, ..Self::default() }
    }

    /// The wall time of zero, once known.
    pub(super) fn started(&self) -> Option<UnixTime> {
        self.started
    }

    /// How often the recorder's clock was set back.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// When the last packet was recorded.
    pub(super) fn position(&self) -> Uptime {
        Uptime::from_micros(self.last)
    }

    /// Places the next packet.
    pub(super) fn place(&mut self, stamp: Stamp) -> Uptime {
        let micros = match stamp {
            Stamp::Unix(micros) | Stamp::Elapsed(micros) => micros,
            Stamp::Unknown => return self.position(),
        };
        if let (None, Stamp::Unix(micros)) = (self.origin, stamp) {
            self.started = Some(UnixTime::from_millis(micros.div_euclid(1000)));
        }
        let origin = *self.origin.get_or_insert(micros);
        let at = micros.saturating_sub(origin).saturating_add(self.regained);
        let behind = self.last.saturating_sub(at);
        if behind > DISORDER_MICROS {
            self.regained = self.regained.saturating_add(behind);
            self.steps += 1;
        }
        self.last = self.last.max(at);
        self.position()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(stamps: &[Stamp]) -> (Vec<i64>, Timeline) {
        let mut timeline = Timeline::default();
        (stamps.iter().map(|stamp| timeline.place(*stamp).as_micros()).collect(), timeline)
    }

    #[test]
    fn a_recording_begins_at_zero_and_knows_the_wall_time_of_that() {
        let (placed, timeline) =
            place(&[Stamp::Unix(7_000_900), Stamp::Unix(7_001_000), Stamp::Unknown]);
        assert_eq!(placed, [0, 100, 100]);
        assert_eq!(timeline.started(), Some(UnixTime::from_millis(7000)));
        assert_eq!(place(&[Stamp::Elapsed(5)]).1.started(), None);
    }

    #[test]
    fn packets_written_late_do_not_turn_time_back() {
        let stamps = [10, 2_000_000, 1_500_000, 2_000_001].map(Stamp::Unix);
        let (placed, timeline) = place(&stamps);
        assert_eq!(placed, [0, 1_999_990, 1_999_990, 1_999_991]);
        assert_eq!(timeline.steps(), 0);
    }

    #[test]
    fn time_goes_on_after_the_clock_was_set_back() {
        let stamps = [100_000_000, 160_000_000, 20_000_000, 21_000_000].map(Stamp::Unix);
        let (placed, timeline) = place(&stamps);
        assert_eq!(placed, [0, 60_000_000, 60_000_000, 61_000_000]);
        assert_eq!(timeline.steps(), 1);
    }

    #[test]
    fn no_stamp_overflows() {
        let stamps = [i64::MIN, i64::MAX, i64::MIN, 0, i64::MAX];
        let (placed, _) = place(&stamps.map(Stamp::Unix));
        assert!(placed.is_sorted(), "{placed:?}");
    }
}

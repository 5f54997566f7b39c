//! What has to go when the outbox holds all that it may, and what is too old. Pure.
//!
//! How much is held in, whose turn it is out. What was delivered goes first: nothing is lost with
//! it. Then dead letters, which were told as such. Then the oldest of the lowest class that holds
//! more than the share that it is sure of; when none does, of the lowest that holds anything.

use std::time::Duration;

use crate::engine::{ClockQuality, WallClock};

use super::{Class, Held, Journal, MAX_RECORD, Pending, Sequence, Settings, Standing};

/// A full store makes room for more than the next record: one in so many of what it may hold, so
/// that it does not make room in each commit.
const ROOM: u64 = 64;

/// The limits of the outbox.
#[derive(Clone, Debug)]
pub(super) struct Caps {
    most: Pending,
    /// What each class is sure of.
    shares: [(Class, Pending); Class::ALL.len()],
    max_age: Duration,
}

/// How much a journal holds, with what is staged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Mark {
    /// Which life of the store it is.
    pub(super) epoch: u32,
    /// The last sequence given.
    pub(super) last: u64,
    /// What waits of each class.
    pub(super) classes: [Pending; Class::ALL.len()],
    pub(super) acknowledged: Pending,
    pub(super) set_aside: Pending,
}

/// Whose oldest record has to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Victim {
    /// Of those that no longer wait.
    Standing(Standing),
    /// Of those that wait.
    Class(Class),
}

// === impl Mark ===

impl Mark {
    pub(super) fn of(journal: &impl Journal, last: u64) -> Self {
        Self {
            epoch: journal.epoch(),
            last,
            classes: Class::ALL.map(|class| journal.pending_of(class)),
            acknowledged: journal.standing(Standing::Acknowledged),
            set_aside: journal.standing(Standing::SetAside),
        }
    }

    /// What waits.
    pub(super) fn pending(&self) -> Pending {
        self.classes.into_iter().fold(Pending::default(), Pending::and)
    }

    /// Everything.
    pub(super) fn held(&self) -> Pending {
        self.pending().and(self.acknowledged).and(self.set_aside)
    }
}

// === impl Caps ===

impl Caps {
    pub(super) fn new(settings: &Settings) -> Self {
        let most = Pending { records: settings.max_records, bytes: settings.max_bytes.0 };
        let shares = Class::ALL.map(|class| {
            let percent = u64::from(settings.shares.of(class));
            let part = |all: u64| all / 100 * percent + all % 100 * percent / 100;
            (class, Pending { records: part(most.records), bytes: part(most.bytes) })
        });
        Self { most, shares, max_age: settings.max_age.0 }
    }

    /// Whether more is held than may be.
    pub(super) fn exceeded(&self, mark: &Mark) -> bool {
        let held = mark.held();
        held.records > self.most.records || held.bytes > self.most.bytes
    }

    /// Whose oldest record goes next; nobody's once there is room again, for a notice of what was
    /// lost, and for a while to come.
    pub(super) fn victim(&self, mark: &Mark) -> Option<Victim> {
        let records = self.most.records.saturating_sub((self.most.records / ROOM).max(1));
        let bytes = (self.most.bytes / ROOM).max(MAX_RECORD as u64);
        let bytes = self.most.bytes.saturating_sub(bytes);
        let held = mark.held();
        let (many, large) = (held.records > records, held.bytes > bytes);
        if !many && !large {
            return None;
        }
        for (standing, held) in
            [(Standing::Acknowledged, mark.acknowledged), (Standing::SetAside, mark.set_aside)]
        {
            if held.records > 0 {
                return Some(Victim::Standing(standing));
            }
        }
        let lowest_first = || self.shares.iter().zip(&mark.classes).rev();
        let greedy = lowest_first().find(|((_, share), held)| {
            (many && held.records > share.records) || (large && held.bytes > share.bytes)
        });
        let any = || lowest_first().find(|(_, held)| held.records > 0);
        greedy.or_else(any).map(|((class, _), _)| Victim::Class(*class))
    }

    /// Whether a record is provably too old: its making and the present are both known.
    pub(super) fn is_too_old(&self, held: &Held, now: &WallClock) -> bool {
        now.quality == ClockQuality::Synced
            && held.made.is_some_and(|made| {
                let age = now.unix.as_millis().saturating_sub(made.as_millis());
                u128::try_from(age).is_ok_and(|age| age > self.max_age.as_millis())
            })
    }
}

/// The oldest of those whose turn it is.
pub(super) fn oldest(
    journal: &mut impl Journal,
    victim: Victim,
    limit: usize,
) -> Result<Vec<Held>, super::OutboxError> {
    match victim {
        Victim::Standing(standing) => journal.oldest_standing(standing, limit),
        Victim::Class(class) => journal.oldest_of(class, limit),
    }
}

/// The record with this sequence, as it would survive a power cut.
pub(super) fn one(
    journal: &mut impl Journal,
    sequence: Sequence,
) -> Result<Option<Held>, super::OutboxError> {
    Ok(journal.range(sequence, sequence, 1)?.pop())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{UnixTime, Uptime},
        outbox::About,
        settings::{ByteSize, Span},
    };

    const DAY: i64 = 86_400_000;

    /// A thousand records of a kilobyte each.
    fn caps() -> Caps {
        let settings =
            Settings { max_records: 1000, max_bytes: ByteSize(1_000_000), ..Settings::default() };
        Caps::new(&settings)
    }

    fn pending(records: u64) -> Pending {
        Pending { records, bytes: records * 100 }
    }

    fn mark(classes: [u64; 5]) -> Mark {
        Mark { classes: classes.map(pending), ..Mark::default() }
    }

    #[test]
    fn a_store_that_is_not_full_gives_nothing_up() {
        assert_eq!(caps().victim(&mark([0, 0, 0, 0, 985])), None);
        assert!(!caps().exceeded(&mark([0, 0, 0, 0, 1000])));
        assert!(caps().exceeded(&mark([0, 0, 0, 0, 1001])));
    }

    #[test]
    fn what_was_delivered_goes_first_and_dead_letters_go_next() {
        let full = mark([0, 0, 1000, 0, 0]);
        let mut mark = Mark { acknowledged: pending(1), set_aside: pending(1), ..full };
        let caps = caps();
        assert_eq!(caps.victim(&mark), Some(Victim::Standing(Standing::Acknowledged)));
        mark.acknowledged = pending(0);
        assert_eq!(caps.victim(&mark), Some(Victim::Standing(Standing::SetAside)));
    }

    #[test]
    fn the_lowest_class_beyond_its_share_goes_and_one_within_it_is_spared() {
        let victim = |classes| match caps().victim(&mark(classes)) {
            Some(Victim::Class(class)) => class,
            other => panic!("{other:?}"),
        };
        // The shares are 100, 200, 400, 200 and 100.
        assert_eq!(victim([0, 0, 900, 0, 101]), Class::Count);
        assert_eq!(victim([0, 0, 900, 0, 100]), Class::Presence);
        assert_eq!(victim([0, 600, 100, 201, 100]), Class::Sensor);
        assert_eq!(victim([600, 200, 100, 50, 50]), Class::Gateway, "it took what was free");
        // Everybody is within its share, and still it is too much.
        assert_eq!(victim([95, 200, 400, 195, 100]), Class::Count);
        assert_eq!(victim([100, 200, 400, 200, 90]), Class::Count);
        assert_eq!(victim([1000, 0, 0, 0, 0]), Class::Gateway);
    }

    #[test]
    fn bytes_are_compared_when_it_is_bytes_that_are_too_many() {
        // Many small counts, few large sensor readings.
        let mut mark = mark([0, 0, 0, 0, 300]);
        mark.classes[3] = Pending { records: 500, bytes: 980_000 };
        assert_eq!(caps().victim(&mark), Some(Victim::Class(Class::Sensor)));
        mark.classes[3] = Pending { records: 700, bytes: 900_000 };
        assert_eq!(caps().victim(&mark), Some(Victim::Class(Class::Count)), "records are");
    }

    #[test]
    fn only_what_is_provably_too_old_is() {
        let caps = Caps::new(&Settings { max_age: Span::secs(86_400), ..Settings::default() });
        let held = |made: Option<i64>| Held {
            sequence: Sequence(1),
            made: made.map(UnixTime::from_millis),
            notice: None,
            about: About::Nobody,
            class: Class::Presence,
            standing: Standing::Pending,
            bytes: Vec::new(),
        };
        let on_day = |day: i64, quality| WallClock {
            at: Uptime::ZERO,
            unix: UnixTime::from_millis(day * DAY),
            quality,
        };
        let now = on_day(10, ClockQuality::Synced);
        for (made, too_old) in
            [(Some(DAY), true), (None, false), (Some(9 * DAY - 1), true), (Some(9 * DAY), false)]
        {
            assert_eq!(caps.is_too_old(&held(made), &now), too_old, "{made:?}");
        }
        let unsynced = on_day(20_000, ClockQuality::Unsynced);
        assert!(!caps.is_too_old(&held(Some(DAY)), &unsynced));
        let set_back = on_day(0, ClockQuality::Synced);
        assert!(!caps.is_too_old(&held(Some(500 * DAY)), &set_back));
    }
}

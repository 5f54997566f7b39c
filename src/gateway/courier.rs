//! Decides, record by record, what may still be sent, and renders it.
//!
//! Consent is asked for a second time here: it may have ended while the record waited.

use std::time::Duration;

use tokio::sync::watch;

use super::consent::{Ledger, Ruling};
use crate::{
    clock::{Account, Clock},
    engine::{ClockQuality, Uptime, WallClock},
    outbox::{
        Class, Stored,
        record::{Body, Record, RunId},
    },
    uplink::{
        Courier, Dispatch, Topic, Topics,
        payload::{CONTENT_TYPE, Origin, Sending},
    },
};

/// The gateway's courier.
pub(super) struct ConsentingCourier {
    origin: Origin,
    topics: Topics,
    ledger: Ledger,
    clock: Clock,
    /// Whether every withdrawal that the platform has sent so far was carried out. While that is
    /// not known, or a change is being carried out, nothing about anybody is sent.
    caught_up: watch::Receiver<bool>,
    /// For how long a moment is one; `None` for ever.
    moment_expiry: Option<Duration>,
    view: View,
}

/// What is left of a record's time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Left {
    /// All there is: it is good for ever.
    Forever,
    /// So much.
    Some(Duration),
    /// Nothing.
    Nothing,
}

/// What was true when it was last looked: records are not sent by a milder view before those that
/// were passed over by the stricter one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct View {
    synced: bool,
    caught_up: bool,
    revision: u64,
    /// How often the belief in the clock has changed.
    steps: usize,
}

impl ConsentingCourier {
    pub(super) fn new(
        (origin, topics): (Origin, Topics),
        ledger: Ledger,
        clock: Clock,
        caught_up: watch::Receiver<bool>,
        moment_expiry: Option<Duration>,
    ) -> Self {
        let view = View { synced: false, caught_up: false, revision: 0, steps: 0 };
        Self { origin, topics, ledger, clock, caught_up, moment_expiry, view }
    }

    fn is_caught_up(&self) -> bool {
        *self.caught_up.borrow() && !self.ledger.is_held()
    }

    fn look(&self, account: &Account) -> View {
        View {
            synced: account.basis.quality() == ClockQuality::Synced,
            caught_up: self.is_caught_up(),
            revision: self.ledger.revision(),
            steps: account.steps.len(),
        }
    }
}

impl Courier for ConsentingCourier {
    fn reconsider(&mut self) -> bool {
        let account = self.clock.account();
        self.origin.timeline.note(&account);
        let now = self.look(&account);
        let before = std::mem::replace(&mut self.view, now);
        (now.synced && !before.synced)
            || (now.caught_up && !before.caught_up)
            || now.revision != before.revision
            || now.steps != before.steps
    }

    fn dispatch(&mut self, stored: &Stored) -> Dispatch {
        self.decide(stored, false)
    }

    /// Whoever asks for what is past wants it whenever it comes: it has no expiry.
    fn replay(&mut self, stored: &Stored) -> Dispatch {
        self.decide(stored, true)
    }

    /// A receipt names who has withdrawn; nobody else has to know that once the platform does.
    fn leaves_no_trace(&self, stored: &Stored) -> bool {
        let record = Record::decode(&stored.bytes);
        record.is_ok_and(|record| matches!(record.body, Body::ConsentWithdrawn(_)))
    }
}

impl ConsentingCourier {
    fn decide(&self, stored: &Stored, replayed: bool) -> Dispatch {
        let Ok(record) = Record::decode(&stored.bytes) else { return Dispatch::Unreadable };
        let mut now = self.clock.wall();
        if !self.view.synced {
            now.quality = ClockQuality::Unsynced;
        }
        let (caught_up, revision) = (self.is_caught_up(), self.ledger.revision());
        let may_go = self.view.caught_up && caught_up && revision == self.view.revision;
        if record.subject().is_some() && !may_go {
            return Dispatch::Later;
        }
        let record = match self.ledger.rule(&self.origin, &record, &now) {
            Ruling::Erase => return Dispatch::Erase,
            Ruling::Wait => return Dispatch::Later,
            Ruling::Send => record,
            Ruling::SendNarrowed(narrowed) => *narrowed,
        };
        let age = age(&record, self.origin.run, &now);
        let left = self.moment_expiry.map_or(Left::Forever, |most| left(stored.class, age, most));
        let sending = Sending { replayed, late: left == Left::Nothing };
        let event = match stored.epoch {
            None => self.origin.render_as(sending, stored.sequence, &record, &now),
            // Saved from an earlier store: it keeps the id it has there.
            Some(epoch) => {
                let origin = Origin { epoch, ..self.origin.clone() };
                origin.render_as(sending, stored.sequence, &record, &now)
            }
        };
        Dispatch::Publish {
            topic: self.topics.spell(Topic::Event { family: event.family, kind: event.kind }),
            payload: event.json,
            content_type: CONTENT_TYPE,
            user_properties: Vec::new(),
            expiry: match left {
                Left::Some(left) if !replayed => Some(left),
                _ => None,
            },
        }
    }
}

/// How old a record is, if that can be known: by the clock of the run that made it, or by a wall
/// clock that was right then and is now.
fn age(record: &Record, run: RunId, now: &WallClock) -> Option<Duration> {
    if record.run == run {
        return Some(now.at.since(Uptime::from_micros(record.uptime_us)));
    }
    if !(record.synced && now.quality == ClockQuality::Synced) {
        return None;
    }
    let age_ms = now.unix_at(now.at).as_millis().saturating_sub(record.unix_ms);
    Some(Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)))
}

/// Only moments lose their worth. One of an unknown age is from an earlier run: its moment has passed.
fn left(class: Class, age: Option<Duration>, most: Duration) -> Left {
    if class != Class::Moment {
        return Left::Forever;
    }
    let left = age.and_then(|age| most.checked_sub(age)).filter(|left| !left.is_zero());
    left.map_or(Left::Nothing, Left::Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::UnixTime;

    const MOST: Duration = Duration::from_mins(5);

    fn at(seconds: i64, quality: ClockQuality) -> WallClock {
        let unix = UnixTime::from_millis(1_790_000_000_000 + seconds * 1000);
        WallClock { at: Uptime::from_micros(seconds * 1_000_000), unix, quality }
    }

    fn record(quality: ClockQuality) -> Record {
        let body = Body::RadioDeaf { receiver: "local".to_owned(), cause: "silent".to_owned() };
        Record::new(body, Uptime::from_micros(100_000_000), RunId(1), &at(100, quality))
    }

    #[test]
    fn a_moment_has_what_is_left_of_its_time_and_nothing_else_has_an_end() {
        let seconds = |age| Some(Duration::from_secs(age));
        assert_eq!(left(Class::Moment, seconds(0), MOST), Left::Some(MOST));
        assert_eq!(left(Class::Moment, seconds(299), MOST), Left::Some(Duration::from_secs(1)));
        assert_eq!(left(Class::Moment, seconds(300), MOST), Left::Nothing);
        assert_eq!(left(Class::Moment, seconds(9999), MOST), Left::Nothing);
        assert_eq!(left(Class::Moment, None, MOST), Left::Nothing);
        for class in Class::ALL.into_iter().filter(|class| *class != Class::Moment) {
            assert_eq!(left(class, seconds(9999), MOST), Left::Forever);
        }
    }

    #[test]
    fn the_age_is_told_by_the_clock_that_can_be_trusted() {
        use ClockQuality::{Synced, Unsynced};
        let age = |made, run, now, seconds| {
            age(&record(made), RunId(run), &at(seconds, now)).map(|age| age.as_secs())
        };
        assert_eq!(age(Unsynced, 1, Unsynced, 130), Some(30), "the same run");
        assert_eq!(age(Synced, 2, Synced, 130), Some(30));
        assert_eq!(age(Synced, 2, Unsynced, 130), None);
        assert_eq!(age(Unsynced, 2, Synced, 130), None);
        assert_eq!(age(Synced, 2, Synced, 50), Some(0), "a clock that was set back");
    }
}

//! Decides, record by record, what may still be sent, and renders it.
//!
//! Consent is asked for a second time here: it may have ended while the record waited.

use tokio::sync::watch;

use super::consent::{Ledger, Ruling};
use crate::{
    clock::{Account, Clock},
    engine::ClockQuality,
    outbox::{
        Stored,
        record::{Body, Record},
    },
    uplink::{
        Courier, Dispatch, Topic, Topics,
        payload::{CONTENT_TYPE, Origin},
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
    view: View,
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
    ) -> Self {
        let view = View { synced: false, caught_up: false, revision: 0, steps: 0 };
        Self { origin, topics, ledger, clock, caught_up, view }
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
        let event = match stored.epoch {
            None => self.origin.render(stored.sequence, &record, &now),
            // Saved from an earlier store: it keeps the id it has there.
            Some(epoch) => {
                let origin = Origin { epoch, ..self.origin.clone() };
                origin.render(stored.sequence, &record, &now)
            }
        };
        Dispatch::Publish {
            topic: self.topics.spell(Topic::Event { family: event.family, kind: event.kind }),
            payload: event.json,
            content_type: CONTENT_TYPE,
            user_properties: Vec::new(),
            expiry: None,
        }
    }

    /// A receipt names who has withdrawn; nobody else has to know that once the platform does.
    fn leaves_no_trace(&self, stored: &Stored) -> bool {
        let record = Record::decode(&stored.bytes);
        record.is_ok_and(|record| matches!(record.body, Body::ConsentWithdrawn(_)))
    }
}

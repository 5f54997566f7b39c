//! Decides, record by record, what may still be sent, and renders it.
//!
//! Consent is asked for a second time here: it may have ended while the record waited.

use tokio::sync::watch;

use super::consent::{Ledger, Ruling};
use crate::{
    clock::Clock,
    outbox::{Stored, record::Record},
    uplink::{
        Courier, Dispatch, Topic, Topics,
        payload::{CONTENT_TYPE, Origin},
    },
};

/// The gateway's courier.
pub(super) struct ConsentingCourier {
    pub(super) origin: Origin,
    pub(super) topics: Topics,
    pub(super) ledger: Ledger,
    pub(super) clock: Clock,
    /// Whether every withdrawal that the platform has sent so far was carried out. While that is
    /// not known nothing about anybody is sent.
    pub(super) caught_up: watch::Receiver<bool>,
}

impl Courier for ConsentingCourier {
    fn dispatch(&mut self, stored: &Stored) -> Dispatch {
        let Ok(record) = Record::decode(&stored.bytes) else { return Dispatch::Unreadable };
        let now = self.clock.wall();
        let record = match self.ledger.rule(&self.origin, &record, &now) {
            Ruling::Erase => return Dispatch::Erase,
            Ruling::Wait => return Dispatch::Later,
            _ if record.subject().is_some() && !*self.caught_up.borrow() => return Dispatch::Later,
            Ruling::Send => record,
            Ruling::SendNarrowed(narrowed) => *narrowed,
        };
        let event = self.origin.render(stored.sequence, &record, &now);
        Dispatch::Publish {
            topic: self.topics.spell(Topic::Event { family: event.family, kind: event.kind }),
            payload: event.json,
            content_type: CONTENT_TYPE,
            user_properties: Vec::new(),
            expiry: None,
        }
    }
}

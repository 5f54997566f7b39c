//! Decides, record by record, what may still be sent, and renders it.
//!
//! Consent is asked for a second time here: it may have ended while the record waited.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    clock::Clock,
    engine::{ConsentLedger, WallClock},
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
    pub(super) ledger: watch::Receiver<Arc<ConsentLedger>>,
    pub(super) clock: Clock,
}

impl Courier for ConsentingCourier {
    fn dispatch(&mut self, stored: &Stored) -> Dispatch {
        dispatch(&self.origin, &self.topics, &self.ledger.borrow(), &self.clock.wall(), stored)
    }
}

/// Decides about one record at a moment.
fn dispatch(
    origin: &Origin,
    topics: &Topics,
    ledger: &ConsentLedger,
    wall: &WallClock,
    stored: &Stored,
) -> Dispatch {
    let Ok(record) = Record::decode(&stored.bytes) else { return Dispatch::Unreadable };
    if let Some((subject, purpose)) = record.subject()
        && !ledger.may_send(subject, purpose, wall.unix_at(wall.at))
    {
        return Dispatch::Erase;
    }
    let event = origin.render(stored.sequence, &record, wall);
    Dispatch::Publish {
        topic: topics.spell(Topic::Event { family: event.family, kind: event.kind }),
        payload: event.json,
        content_type: CONTENT_TYPE,
        user_properties: Vec::new(),
        expiry: None,
    }
}

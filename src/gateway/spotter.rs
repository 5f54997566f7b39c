//! What stands in the place of presence in a receiver: the engine says whose an advertisement is, and that goes
//! to the room that tells the lead. A stranger ends here.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{
    engine::{Advertisement, Engine, RadioState, ReceiverId},
    relay::{Item, Proofs, RelayCounters},
};

/// The engine's task's end of the way to the lead.
pub(super) struct Spotter {
    pub(super) items: mpsc::Sender<Item>,
    pub(super) proofs: Arc<Proofs>,
    pub(super) counters: Arc<RelayCounters>,
}

impl Spotter {
    /// Takes one advertisement. When the room is behind, a sighting is dropped and counted: another one
    /// comes in a second.
    pub(super) fn hear(&self, engine: &mut Engine, advertisement: &Advertisement) {
        self.proofs.heard(&advertisement.receiver);
        let Some(spotted) = engine.spot(advertisement) else { return };
        let (receiver, registry) = (advertisement.receiver.clone(), self.proofs.registry());
        if self.items.try_send(Item { receiver, spotted, registry }).is_err() {
            self.counters.drop_sightings(1);
        }
    }

    /// A radio's state changed.
    pub(super) fn radio(&self, receiver: &ReceiverId, state: RadioState) {
        self.proofs.radio(receiver, state);
    }
}

//! How a session sends again what the platform has asked for. `replay.rs` decides what.

use tokio::sync::mpsc::Permit;
use tracing::info;

use super::{Open, Session, Stage};
use crate::{
    engine::Uptime,
    outbox::{Read, Standing, Stored},
    uplink::{
        courier::{Courier, Dispatch},
        in_flight::Parcel,
        replay::Replaying,
        wire::{Fault, Sender},
    },
};

impl<C: Courier> Session<'_, C> {
    /// Sends what may be sent now.
    pub(super) fn send_again(
        &mut self,
        sender: &Sender,
        open: Open,
        now: Uptime,
    ) -> Result<(), Fault> {
        if !matches!(self.stage, Stage::Open(_)) {
            return Ok(());
        }
        while self.pump.may_repeat()
            && let Some(replaying) = &mut self.carried.replaying
            && let Some(stored) = replaying.next()
        {
            let sequence = stored.sequence;
            match self.uplink.courier.replay(&stored).into_publication() {
                Ok(publication) => {
                    if publication.flaw(open.welcome).is_some() {
                        replaying.refused(sequence);
                        continue;
                    }
                    sender.publish(publication).map_err(|_| Fault::Overfull)?;
                    self.pump.in_flight.requested(Parcel::Again(sequence), now);
                }
                Err(Dispatch::Later) => replaying.withheld(sequence),
                Err(Dispatch::Erase) => replaying.erased(sequence),
                Err(_) => replaying.refused(sequence),
            }
        }
        if self.carried.replaying.as_ref().is_some_and(Replaying::is_done)
            && let Some(replaying) = self.carried.replaying.take()
        {
            let done = replaying.done();
            info!(
                sent = done.sent,
                pending = done.pending,
                set_aside = done.set_aside,
                erased = done.erased,
                withheld = done.withheld,
                refused = done.refused,
                missing = done.missing,
                "What the platform had asked for was sent again."
            );
        }
        Ok(())
    }

    /// Asks for more of it, if there is to be more.
    pub(super) fn ask_for_held(&mut self, permit: Permit<'_, Read>, now: Uptime) {
        if let Some(replaying) = &mut self.carried.replaying {
            permit.send(replaying.fetch(now));
        }
    }

    /// Whether more of it is to be asked for now.
    pub(super) fn wants_held(&self, now: Uptime) -> bool {
        let wants = self.carried.replaying.as_ref().is_some_and(|again| again.wants_fetch(now));
        wants && matches!(self.stage, Stage::Open(_))
    }
}

/// Waits for what is held of it; for ever when nothing was asked.
pub(super) async fn held(replaying: &mut Option<Replaying>) -> Option<Vec<(Stored, Standing)>> {
    match replaying {
        Some(replaying) => replaying.fetched().await,
        None => std::future::pending().await,
    }
}

//! How a session parts from its connection so that it can be made anew: at a calm moment, with
//! nothing under way, so that nothing is delivered twice for it.

use tracing::info;

use super::{FAREWELL, Session, Stage};
use crate::{
    engine::Uptime,
    uplink::{
        courier::Courier,
        lookout::Leave,
        wire::{Fault, Sender},
    },
};

/// A moment without anything under way is waited for so long; then one is made, by sending nothing
/// new. A backlog of days may take longer than the old certificate lasts.
const PATIENCE: std::time::Duration = std::time::Duration::from_hours(1);

impl<C: Courier> Session<'_, C> {
    /// Parts, if there is a reason to and this is the moment. Returns whether it does.
    pub(super) fn leave(&mut self, sender: &Sender, now: Uptime) -> Result<bool, Fault> {
        let Some(why) = *self.carried.leave.borrow() else { return Ok(false) };
        let since = *self.leave_since.get_or_insert(now);
        let durable = *self.uplink.durable.borrow();
        if !self.pump.is_idle(durable) || self.pump.in_flight.holds_state() {
            if now.since(since) >= PATIENCE && self.pump.held_until().is_none() {
                let until = now + self.uplink.settings.ack_timeout.0;
                self.pump.hold(until, None, &mut self.carried.apart);
            }
            return Ok(false);
        }
        match why {
            // The broker is to forget the last will, and the state stays as it is: the next
            // connection follows at once.
            Leave::Renewed => {
                sender.disconnect().map_err(|_| Fault::Overfull)?;
                self.stage = Stage::Parting { disconnecting: true, until: now + FAREWELL };
            }
            // Here nobody may ever correct the state, if the other broker does not share it.
            Leave::Return => self.part(sender, now)?,
        }
        self.left = Some(why);
        info!(?why, "The connection is parted from, to be made anew.");
        Ok(true)
    }
}

//! What a session does without waiting: publishes, asks the outbox, parts from the broker.

use tokio::sync::mpsc::error::TrySendError;
use tracing::{error, warn};

use super::{End, FAREWELL, Open, Pending, STATE_INTERVAL, Session, Stage};
use crate::{
    engine::Uptime,
    outbox::Sequence,
    uplink::{
        courier::{Courier, Dispatch},
        in_flight::Parcel,
        topic::Topic,
        wire::{Fault, Publication, Sender, Welcome},
    },
};

impl<C: Courier> Session<'_, C> {
    /// Does everything that can be done without waiting. Returns whether the outbox had no room
    /// for a request.
    pub(super) fn act(&mut self, sender: &Sender) -> Result<bool, End> {
        let now = self.uplink.clock.now();
        let open = match self.stage {
            Stage::Connecting => return Ok(false),
            Stage::Open(open) => open,
            Stage::Draining { open, until } => {
                if now >= until || self.pump.is_idle(*self.uplink.durable.borrow()) {
                    self.part(sender, now).map_err(End::Broke)?;
                    return Ok(false);
                }
                open
            }
            Stage::Parting { disconnecting, until } => {
                if disconnecting && now >= until {
                    return Err(End::Stopped);
                }
                if !disconnecting && (now >= until || !self.pump.in_flight.holds_state()) {
                    sender.disconnect().map_err(|_| End::Broke(Fault::Overfull))?;
                    self.stage = Stage::Parting { disconnecting: true, until: now + FAREWELL };
                }
                return Ok(false);
            }
        };
        let is_open = matches!(self.stage, Stage::Open(_));
        if is_open && self.leave(sender, now).map_err(End::Broke)? {
            return Ok(false);
        }
        let patience = self.uplink.settings.ack_timeout.0;
        if now >= self.look_at {
            self.look_at = now + patience / 2;
            if self.pump.in_flight.is_stalled(now, patience) {
                return Err(End::Broke(Fault::Unacknowledged(patience)));
            }
        }
        self.pump.resume(now);
        if self.carried.suspects.release(now) {
            // Sent alone, and not before what is in flight has been answered.
            self.pump.begin_again();
            self.pump.hold(now, None);
        }
        if self.uplink.courier.reconsider() {
            self.pump.reconsider();
        }
        self.publish_documents(sender, open, now).map_err(End::Broke)?;
        self.publish_records(sender, open, now).map_err(End::Broke)?;
        self.ask_outbox()
    }

    fn publish_documents(&mut self, sender: &Sender, open: Open, now: Uptime) -> Result<(), Fault> {
        let Pending { state, metrics, metrics_requested, .. } = self.documents;
        let can_publish = !self.pump.in_flight.holds_state() && self.pump.has_room();
        if state.is_some_and(|due| due <= now) && can_publish {
            self.documents.state = None;
            self.documents.state_again = now + STATE_INTERVAL;
            let payload = self.uplink.documents.state.borrow_and_update().clone();
            let document = self.document(Topic::State, payload, true);
            if is_publishable(&document, open.welcome, "state") {
                sender.publish(document).map_err(|_| Fault::Overfull)?;
                self.pump.in_flight.requested(Parcel::State, now);
            }
        }
        if metrics && !metrics_requested {
            self.documents.metrics = false;
            let payload = self.uplink.documents.metrics.borrow_and_update().clone();
            let document = self.document(Topic::Metrics, payload, false);
            if is_publishable(&document, open.welcome, "metrics") {
                sender.publish(document).map_err(|_| Fault::Overfull)?;
                self.documents.metrics_requested = true;
                self.documents.metrics_published = true;
            }
        }
        Ok(())
    }

    /// The state is retained and acknowledged, so that it is there for who subscribes later; of
    /// the metrics the next document is as good as a lost one.
    fn document(&self, topic: Topic<'_>, payload: Vec<u8>, keep: bool) -> Publication {
        Publication {
            topic: self.uplink.topics.spell(topic),
            payload,
            acknowledged: keep,
            retain: keep,
            content_type: "application/json",
            user_properties: Vec::new(),
            expiry: None,
        }
    }

    fn publish_records(&mut self, sender: &Sender, open: Open, now: Uptime) -> Result<(), Fault> {
        while let Some(stored) = self.pump.next_record() {
            let sequence = stored.sequence;
            match self.uplink.courier.dispatch(&stored) {
                Dispatch::Publish { topic, payload, content_type, user_properties, expiry } => {
                    let publication = Publication {
                        topic,
                        payload,
                        acknowledged: true,
                        retain: false,
                        content_type,
                        user_properties,
                        expiry,
                    };
                    match publication.flaw(open.welcome) {
                        None => {
                            sender.publish(publication).map_err(|_| Fault::Overfull)?;
                            self.pump.requested(sequence, now);
                            if self.uplink.courier.leaves_no_trace(&stored) {
                                self.pump.leaves_no_trace(sequence);
                            }
                        }
                        Some(flaw) => self.reject(sequence, flaw),
                    }
                }
                Dispatch::Later => {
                    self.pump.pass_over();
                    self.uplink.counters.passed_over();
                }
                Dispatch::Erase => {
                    self.carried.suspects.forget(sequence);
                    self.pump.erased(sequence);
                    self.uplink.counters.erased();
                }
                Dispatch::Unreadable => {
                    self.carried.suspects.forget(sequence);
                    self.pump.rejected(sequence);
                    self.uplink.counters.unreadable();
                    error!(sequence = sequence.0, "A record could not be read and is lost.");
                }
            }
        }
        Ok(())
    }

    fn ask_outbox(&mut self) -> Result<bool, End> {
        let durable = *self.uplink.durable.borrow_and_update();
        while self.pump.has_request(durable) {
            match self.uplink.outbox.try_reserve() {
                Ok(permit) => {
                    if let Some(request) = self.pump.next_request(durable) {
                        permit.send(request);
                    }
                }
                Err(TrySendError::Full(())) => return Ok(true),
                Err(TrySendError::Closed(())) => return Err(End::Stopped),
            }
        }
        Ok(false)
    }

    pub(super) fn part(&mut self, sender: &Sender, now: Uptime) -> Result<(), Fault> {
        let payload = self.uplink.documents.stopped.clone();
        if !payload.is_empty() {
            let farewell = self.document(Topic::State, payload, true);
            sender.publish(farewell).map_err(|_| Fault::Overfull)?;
            self.pump.in_flight.requested(Parcel::State, now);
        }
        self.stage = Stage::Parting { disconnecting: false, until: now + FAREWELL };
        Ok(())
    }

    pub(super) fn reject(&mut self, sequence: Sequence, why: &'static str) {
        self.carried.suspects.forget(sequence);
        self.pump.rejected(sequence);
        self.uplink.counters.rejected();
        error!(sequence = sequence.0, why, "A record can never be delivered and is lost.");
    }

    /// When to act without being woken. What is due and waits for an answer is left out: the
    /// answer will wake us, and an alarm in the past would ring without pause.
    pub(super) fn next_alarm(&self) -> Option<Uptime> {
        match self.stage {
            Stage::Connecting => None,
            Stage::Parting { until, .. } => Some(until),
            Stage::Open(_) | Stage::Draining { .. } => {
                let until = match self.stage {
                    Stage::Draining { until, .. } => Some(until),
                    _ => None,
                };
                let idle = self.pump.in_flight.records() == 0;
                let held = self.pump.held_until().filter(|_| idle);
                let can_publish = !self.pump.in_flight.holds_state() && self.pump.has_room();
                let state = self.documents.state.filter(|_| can_publish);
                let release = self.carried.suspects.next_release();
                [until, held, state, release, Some(self.look_at)].into_iter().flatten().min()
            }
        }
    }
}

/// Says whether a document can go out; nothing can be done about one that cannot but say so.
fn is_publishable(document: &Publication, welcome: Welcome, what: &'static str) -> bool {
    if document.payload.is_empty() {
        return false;
    }
    let flaw = document.flaw(welcome);
    if let Some(why) = flaw {
        warn!(what, why, "A document was not published.");
    }
    flaw.is_none()
}

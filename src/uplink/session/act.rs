//! What a session does without waiting: publishes, asks the outbox, parts from the broker.

use tokio::sync::mpsc::error::TrySendError;
use tracing::{error, warn};

use super::{End, FAREWELL, Open, Pending, STATE_INTERVAL, Session, Stage};
use crate::{
    engine::Uptime,
    outbox::{Removal, Sequence},
    uplink::{
        Carried,
        account::DeadLetter,
        courier::{Courier, Dispatch},
        in_flight::Parcel,
        replay::Replaying,
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
        let durable = *self.uplink.durable.borrow_and_update();
        self.look_around(durable, now);
        self.publish_documents(sender, open, now).map_err(End::Broke)?;
        self.publish_records(sender, open, now).map_err(End::Broke)?;
        self.send_again(sender, open, now).map_err(End::Broke)?;
        self.ask_outbox(durable, now)
    }

    /// Sees whether anything about what may be sent has changed.
    fn look_around(&mut self, durable: Option<Sequence>, now: Uptime) {
        let Carried { marks, apart, suspects, .. } = &mut *self.carried;
        if let Some(durable) = durable {
            marks.note(now, durable);
            self.pump.look(durable, marks.old(), apart, now);
        }
        self.pump.resume(now);
        let released = suspects.release(now);
        if !released.is_empty() {
            for record in released {
                self.pump.bring_back(record, record);
            }
            // Sent alone, and not before what is in flight has been answered.
            self.pump.begin_again(apart, now);
            self.pump.hold(now, None, apart);
        }
        if self.pump.held_until().is_none() && self.pump.is_idle(durable) {
            apart.nobody_else();
        }
        apart.release(now);
        if apart.has_freed() || std::mem::take(&mut self.brought_back) {
            self.pump.begin_again(apart, now);
        }
        if self.uplink.courier.reconsider() {
            self.pump.reconsider(apart, now);
        }
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
            match self.uplink.courier.dispatch(&stored).into_publication() {
                Ok(publication) => match publication.flaw(open.welcome) {
                    None => {
                        sender.publish(publication).map_err(|_| Fault::Overfull)?;
                        self.pump.requested(sequence, now);
                        if self.uplink.courier.leaves_no_trace(&stored) {
                            self.pump.leaves_no_trace(sequence);
                        }
                    }
                    Some(flaw) => {
                        if publication.size() > open.welcome.largest_packet {
                            self.carried.oversize.refused(sequence, publication.size());
                        }
                        self.reject(sequence, flaw);
                    }
                },
                Err(Dispatch::Erase) => {
                    self.carried.suspects.forget(sequence);
                    self.pump.leave(sequence, Removal::Erased);
                    self.uplink.counters.erased();
                }
                Err(Dispatch::Later) => self.pump.pass_over(sequence),
                Err(_) => {
                    self.carried.suspects.forget(sequence);
                    self.pump.leave(sequence, Removal::Unreadable);
                    self.uplink.counters.unreadable();
                    error!(sequence = sequence.0, "A record cannot be read and is lost.");
                }
            }
        }
        self.uplink.counters.passed_over(self.pump.take_passed());
        Ok(())
    }

    fn ask_outbox(&mut self, durable: Option<Sequence>, now: Uptime) -> Result<bool, End> {
        loop {
            let (pump, again) = (self.pump.has_request(durable), self.wants_held(now));
            if !(pump || again) {
                break;
            }
            let outbox = self.uplink.outbox.clone();
            match outbox.try_reserve() {
                Ok(permit) if pump => {
                    if let Some(request) = self.pump.next_request(durable) {
                        permit.send(request);
                    }
                }
                Ok(permit) => self.ask_for_held(permit, now),
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

    /// The broker will not take a record.
    pub(super) fn reject(&mut self, sequence: Sequence, why: &'static str) {
        self.carried.suspects.forget(sequence);
        self.set_aside(sequence, why);
    }

    /// Makes a record a dead letter.
    pub(super) fn set_aside(&mut self, sequence: Sequence, why: &'static str) {
        self.pump.leave(sequence, Removal::Rejected);
        let at = self.uplink.clock.now();
        self.uplink.counters.rejected(DeadLetter { sequence, why, at });
        error!(
            sequence = sequence.0,
            why, "A record cannot be delivered; it is kept as a dead letter, and others go on."
        );
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
                let apart = self.carried.apart.next_release();
                let replaying = self.carried.replaying.as_ref().and_then(Replaying::due);
                // While a request waits for room in the outbox, that wakes us.
                let again = replaying.filter(|due| *due > self.uplink.clock.now());
                let ask = self.pump.ask_from();
                let times = [until, held, state, release, apart, again, ask, Some(self.look_at)];
                times.into_iter().flatten().min()
            }
        }
    }
}

impl Dispatch {
    /// What is to be published, if anything is.
    pub(super) fn into_publication(self) -> Result<Publication, Self> {
        match self {
            Self::Publish { topic, payload, content_type, user_properties, expiry } => {
                let (acknowledged, retain) = (true, false);
                Ok(Publication {
                    topic,
                    payload,
                    acknowledged,
                    retain,
                    content_type,
                    user_properties,
                    expiry,
                })
            }
            other => Err(other),
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

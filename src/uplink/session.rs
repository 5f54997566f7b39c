//! One connection's life: made, pumped, drained, parted from. `pump.rs` decides what is sent;
//! this carries it out.
//!
//! One task makes every publish and polls the line. The future that polls is kept until it is
//! ready, whatever else happens meanwhile: rumqttc's `poll` may have read an acknowledgement, or
//! written half a packet, when it is cancelled. It is dropped unfinished only together with the
//! connection.

use std::{pin::pin, time::Duration};

use tokio::sync::{mpsc::error::TrySendError, watch};
use tracing::{debug, error, info, warn};

use super::{
    Carried, Stop, Uplink,
    account::LinkState,
    courier::{Courier, Dispatch},
    in_flight::Parcel,
    pump::{OutboxGone, Pump},
    topic::Topic,
    wire::{self, Answer, Fault, Line, Plan, Publication, Sender, Signal, Welcome},
};
use crate::{
    engine::Uptime,
    outbox::{Sequence, Stored},
};

/// The state document changes with every counter in it; a fleet's broker need not see each.
const STATE_INTERVAL: Duration = Duration::from_secs(1);

/// How long the farewell document, and then the DISCONNECT, may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a connection ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Why.
    pub(super) why: End,
    /// It has shown that the next one may be tried soon.
    pub(super) proved: bool,
    /// The broker had accepted it.
    pub(super) was_online: bool,
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// We were told to stop, or the outbox has ended.
    Stopped,
    /// It was not made, or it broke.
    Broke(Fault),
}

/// One connection.
pub(super) struct Session<'a, C> {
    uplink: &'a mut Uplink<C>,
    carried: &'a mut Carried,
    pump: Pump,
    stage: Stage,
    documents: Pending,
    /// A record was accepted.
    accepted: bool,
    /// When to look whether acknowledgements still come.
    look_at: Uptime,
}

/// Where a connection stands. From `Connecting` to `Open` by the broker's welcome, to `Draining`
/// when told to stop, to `Parting` when there is nothing left to deliver or time is up.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Connecting,
    Open(Open),
    Draining { open: Open, until: Uptime },
    Parting { disconnecting: bool, until: Uptime },
}

#[derive(Clone, Copy, Debug)]
struct Open {
    since: Uptime,
    welcome: Welcome,
}

/// Documents that wait to be published.
#[derive(Debug)]
struct Pending {
    /// When the state may be published, if it has to be.
    state: Option<Uptime>,
    /// When it may be published again.
    state_again: Uptime,
    metrics: bool,
    /// One document of metrics is with the client, unwritten; no other is handed over.
    metrics_requested: bool,
    /// Metrics were published over this connection.
    metrics_published: bool,
}

/// What woke the session.
enum Wake {
    Signal(Result<Signal, Fault>),
    Fetched(Result<Vec<Stored>, OutboxGone>),
    State,
    Metrics,
    Stop,
    /// Something to look at again: more is durable, the outbox has room, a time has come.
    Look,
}

impl<'a, C: Courier> Session<'a, C> {
    pub(super) fn new(uplink: &'a mut Uplink<C>, carried: &'a mut Carried) -> Self {
        let pump = Pump::new(carried.careful);
        // Whatever was measured while there was no connection is old; the next document will do.
        uplink.documents.metrics.mark_unchanged();
        let documents = Pending {
            state: Some(Uptime::ZERO),
            state_again: Uptime::ZERO,
            metrics: false,
            metrics_requested: false,
            metrics_published: false,
        };
        let stage = Stage::Connecting;
        Self { uplink, carried, pump, stage, documents, accepted: false, look_at: Uptime::ZERO }
    }

    /// Lives it to its end.
    pub(super) async fn live(mut self, stop: &mut Stop) -> Ended {
        let (sender, mut line) = wire::open(&Plan {
            access: &self.uplink.access,
            settings: &self.uplink.settings,
            client_id: &self.uplink.client_id,
            will_topic: &self.uplink.topics.spell(Topic::State),
            will: &self.uplink.documents.vanished,
        });
        let why = self.converse(&sender, &mut line, stop).await;
        let was_online = !matches!(self.stage, Stage::Connecting);
        // What the connection had still to tell belongs to the records that were sent over it.
        for signal in line.rest() {
            if !matches!(signal, Signal::Welcome(_)) {
                self.note(signal);
            }
        }
        drop((sender, line));
        let proved = self.judge(&why);
        while let Some(removal) = self.pump.last_removal() {
            if self.uplink.outbox.send(removal).await.is_err() {
                break;
            }
        }
        Ended { why, proved, was_online }
    }

    async fn converse(&mut self, sender: &Sender, line: &mut Line, stop: &mut Stop) -> End {
        let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
        let mut armed = None;
        loop {
            let mut next = pin!(line.next());
            loop {
                let outbox_full = match self.act(sender) {
                    Ok(outbox_full) => outbox_full,
                    Err(end) => return end,
                };
                let alarm_at = self.next_alarm();
                if armed != alarm_at {
                    armed = alarm_at;
                    let delay = alarm_at.map(|at| at.since(self.uplink.clock.now()));
                    alarm.set(tokio::time::sleep(delay.unwrap_or_default()));
                }
                let stopping = stop.is_told();
                let Uplink { durable, documents, outbox, .. } = &mut *self.uplink;
                let wake = tokio::select! {
                    signal = &mut next => Wake::Signal(signal),
                    batch = self.pump.fetched() => Wake::Fetched(batch),
                    () = changed(durable) => Wake::Look,
                    () = changed(&mut documents.state) => Wake::State,
                    () = changed(&mut documents.metrics) => Wake::Metrics,
                    () = stop.told(), if !stopping => Wake::Stop,
                    _ = outbox.reserve(), if outbox_full => Wake::Look,
                    () = alarm.as_mut(), if armed.is_some() => {
                        armed = None;
                        Wake::Look
                    }
                };
                match wake {
                    Wake::Signal(Err(fault)) => return End::Broke(fault),
                    Wake::Signal(Ok(signal)) => {
                        if self.note(signal) {
                            return End::Stopped;
                        }
                        break;
                    }
                    Wake::Fetched(Ok(batch)) => {
                        let suspects = &self.carried.suspects;
                        self.pump.shelve(batch, |sequence| suspects.is_aside(sequence));
                    }
                    Wake::Fetched(Err(OutboxGone)) => return End::Stopped,
                    Wake::State => self.documents.state = Some(self.documents.state_again),
                    Wake::Metrics => self.documents.metrics = true,
                    Wake::Stop => {
                        if self.stop() {
                            return End::Stopped;
                        }
                    }
                    Wake::Look => {}
                }
            }
        }
    }

    /// Begins to stop. Returns whether there is nothing to wait for.
    fn stop(&mut self) -> bool {
        let until = self.uplink.clock.now() + self.uplink.settings.drain_timeout.0;
        match self.stage {
            Stage::Connecting => return true,
            Stage::Open(open) => self.stage = Stage::Draining { open, until },
            Stage::Draining { .. } | Stage::Parting { .. } => {}
        }
        false
    }

    // === acting ===

    /// Does everything that can be done without waiting. Returns whether the outbox had no room
    /// for a request.
    fn act(&mut self, sender: &Sender) -> Result<bool, End> {
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
        let patience = self.uplink.settings.ack_timeout.0;
        if now >= self.look_at {
            self.look_at = now + patience / 2;
            if self.pump.in_flight.is_stalled(now, patience) {
                return Err(End::Broke(Fault::Unacknowledged(patience)));
            }
        }
        self.pump.resume(now);
        if self.carried.suspects.release(now) {
            self.pump.restart();
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
                        }
                        Some(flaw) => self.reject(sequence, flaw),
                    }
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

    fn part(&mut self, sender: &Sender, now: Uptime) -> Result<(), Fault> {
        let payload = self.uplink.documents.stopped.clone();
        if !payload.is_empty() {
            let farewell = self.document(Topic::State, payload, true);
            sender.publish(farewell).map_err(|_| Fault::Overfull)?;
            self.pump.in_flight.requested(Parcel::State, now);
        }
        self.stage = Stage::Parting { disconnecting: false, until: now + FAREWELL };
        Ok(())
    }

    fn reject(&mut self, sequence: Sequence, why: &'static str) {
        self.carried.suspects.forget(sequence);
        self.pump.rejected(sequence);
        self.uplink.counters.rejected();
        error!(sequence = sequence.0, why, "A record can never be delivered and is lost.");
    }

    /// When to act without being woken. What is due and waits for an answer is left out: the
    /// answer will wake us, and an alarm in the past would ring without pause.
    fn next_alarm(&self) -> Option<Uptime> {
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

    // === noting ===

    /// Takes note of a signal. Returns whether the connection has been parted from.
    fn note(&mut self, signal: Signal) -> bool {
        let now = self.uplink.clock.now();
        match signal {
            Signal::Welcome(welcome) => self.welcomed(welcome, now),
            Signal::Sent(packet_id) => {
                if let Some(Parcel::Record(sequence)) = self.pump.in_flight.sent(packet_id) {
                    // Records go out in order: what is not beyond the last was sent before.
                    let again = Some(sequence) <= self.carried.last_sent;
                    self.carried.last_sent = self.carried.last_sent.max(Some(sequence));
                    self.uplink.counters.published(again);
                }
            }
            Signal::SentUnacknowledged => self.documents.metrics_requested = false,
            Signal::Answered(packet_id, answer) => {
                match self.pump.in_flight.answered(packet_id, now) {
                    Some((Parcel::Record(sequence), took)) => match answer {
                        Answer::Accepted => {
                            self.accepted = true;
                            self.carried.suspects.forget(sequence);
                            self.uplink.counters.acknowledged(took);
                            if self.pump.accepted(sequence) {
                                self.carried.careful = false;
                                self.carried.put_off.proved();
                            }
                        }
                        Answer::NotNow(why) => self.put_off(sequence, why, now),
                        Answer::Never(why) => self.reject(sequence, why),
                    },
                    Some((Parcel::State, _)) => {
                        if let Answer::NotNow(why) | Answer::Never(why) = answer {
                            warn!(why, "The broker does not take the state document.");
                            // Without the farewell, the last will must speak: no DISCONNECT.
                            return matches!(self.stage, Stage::Parting { .. });
                        }
                    }
                    None => debug!(packet_id = packet_id.0, "Ignored an unknown answer."),
                }
            }
            Signal::Disconnected => return true,
        }
        false
    }

    fn welcomed(&mut self, welcome: Welcome, now: Uptime) {
        self.stage = Stage::Open(Open { since: now, welcome });
        self.look_at = now + self.uplink.settings.ack_timeout.0 / 2;
        self.pump.open(self.uplink.settings.window, welcome);
        self.uplink.counters.connected();
        self.uplink.link.send_replace(LinkState::Online { since: now });
        info!(
            broker = %self.uplink.access.broker(),
            protocol = %self.uplink.settings.protocol,
            window = self.pump.limit(),
            "Connected to the broker."
        );
    }

    fn put_off(&mut self, sequence: Sequence, why: &'static str, now: Uptime) {
        self.uplink.counters.refused();
        if self.pump.held_until().is_some() {
            return;
        }
        let delay = self.carried.put_off.failed((self.uplink.chance)());
        self.pump.hold(now + delay);
        self.carried.careful = true;
        warn!(
            sequence = sequence.0,
            why,
            delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "The broker does not take a record for now; it is kept and sent again later."
        );
    }

    // === the end ===

    /// Draws the lessons for the next connection, and says whether this one proved itself.
    fn judge(&mut self, end: &End) -> bool {
        let End::Broke(fault) = end else { return true };
        let (Stage::Open(open) | Stage::Draining { open, .. }) = self.stage else { return false };
        let now = self.uplink.clock.now();
        let taken_over = matches!(fault, Fault::TakenOver);
        let culprit = self.culprit().filter(|_| !taken_over);
        if let (Some(why), Some(sequence)) = (fault.blames_publish(), culprit) {
            self.reject(sequence, why);
        } else if let (Some(sequence), false) = (culprit, self.accepted)
            && self.carried.suspects.broke_with(sequence, now)
        {
            error!(
                sequence = sequence.0,
                "The connection breaks whenever this record is sent; it is set aside for an hour, \
                 and others go first."
            );
        }
        let in_flight = self.pump.in_flight.records() > 0;
        if in_flight && (!self.accepted || fault.blames_publish().is_some()) {
            self.carried.careful = true;
        }
        let lasted = now.since(open.since) >= self.uplink.settings.backoff_max.0;
        (self.accepted || lasted) && !taken_over
    }

    /// The record the connection can have broken of, when nothing else was unanswered: neither
    /// another record, nor the state, nor metrics, to which there is no answer at all.
    fn culprit(&self) -> Option<Sequence> {
        let others = self.pump.in_flight.holds_state() || self.documents.metrics_published;
        self.pump.in_flight.only_record().filter(|_| !others)
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

/// Waits for a new value; for ever when there will be none.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

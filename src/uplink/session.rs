//! One connection's life: made, pumped, drained, parted from. `pump.rs` decides what is sent;
//! this carries it out.
//!
//! One task makes every publish and polls the line. The future that polls is kept until it is
//! ready, whatever else happens meanwhile: rumqttc's `poll` may have read an acknowledgement, or
//! written half a packet, when it is cancelled. It is dropped unfinished only together with the
//! connection.

mod act;
mod again;
mod leave;
mod note;

use std::{pin::pin, time::Duration};

use super::{
    Carried, Leave, Stop, Uplink,
    courier::Courier,
    line::Door,
    pump::{Fetched, Pump, Start},
    replay::{Replay, Replaying},
    topic::Topic,
    wire::{self, Fault, Line, Plan, Sender, Signal, Welcome},
};
use crate::{
    engine::Uptime,
    outbox::{Sequence, Standing, Stored},
};
use tokio::sync::watch;

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
    /// It was parted from in good order, to be made anew.
    Again(Leave),
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
    /// Dead letters are back in the line.
    brought_back: bool,
    /// When to look whether acknowledgements still come.
    look_at: Uptime,
    /// Since when there has been a reason to make the connection anew.
    leave_since: Option<Uptime>,
    /// The reason for which it was parted from.
    left: Option<Leave>,
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
    Fetched(Fetched),
    /// What is held of what is to be sent again.
    Held(Option<Vec<(Stored, Standing)>>),
    /// There is something to be sent again.
    Replay(Replay),
    State,
    Metrics,
    Stop,
    /// Something to look at again: more is durable, the outbox has room, a time has come, or the
    /// courier may have another view of things.
    Look,
}

impl<'a, C: Courier> Session<'a, C> {
    pub(super) fn new(uplink: &'a mut Uplink<C>, carried: &'a mut Carried) -> Self {
        let pump = Pump::new(
            Start {
                careful: carried.careful,
                each: usize::from(uplink.settings.window_per_subject),
                floor: carried.floor,
                old: carried.marks.old(),
            },
            &mut carried.apart,
        );
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
        let brought_back = uplink.brought_back.has_changed().unwrap_or(false);
        uplink.brought_back.mark_unchanged();
        Self {
            uplink,
            carried,
            pump,
            stage,
            documents,
            accepted: false,
            brought_back,
            look_at: Uptime::ZERO,
            leave_since: None,
            left: None,
        }
    }

    /// Lives it to its end.
    pub(super) async fn live(mut self, stop: &mut Stop) -> Ended {
        let (sender, mut line) = wire::open(&Plan {
            door: Door {
                access: &self.uplink.access,
                settings: &self.uplink.settings,
                place: self.carried.place,
            },
            aliases: self.carried.aliases,
            client_id: &self.uplink.client_id,
            will_topic: &self.uplink.topics.spell(Topic::State),
            will: &self.uplink.documents.vanished,
        });
        let why = match (self.converse(&sender, &mut line, stop).await, self.left) {
            (End::Stopped, Some(why)) if !stop.is_told() => End::Again(why),
            (why, _) => why,
        };
        let was_online = !matches!(self.stage, Stage::Connecting);
        // What the connection had still to tell belongs to the records that were sent over it.
        for signal in line.rest() {
            if !matches!(signal, Signal::Welcome(_)) {
                self.note(signal);
            }
        }
        drop((sender, line));
        let proved = self.judge(&why);
        self.carried.remember_unanswered(self.pump.in_flight.written());
        self.carried.floor = self.pump.floor();
        if let Some(replaying) = &mut self.carried.replaying {
            replaying.broke();
        }
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
                let idle = self.carried.replaying.is_none();
                let Uplink {
                    durable, documents, outbox, reconsider, replays, brought_back, ..
                } = &mut *self.uplink;
                let Carried { replaying, leave, .. } = &mut *self.carried;
                let wake = tokio::select! {
                    signal = &mut next => Wake::Signal(signal),
                    fetched = self.pump.fetched() => Wake::Fetched(fetched),
                    held = again::held(replaying) => Wake::Held(held),
                    Some(replay) = replays.recv(), if idle => Wake::Replay(replay),
                    () = changed(durable) => Wake::Look,
                    () = changed(brought_back) => {
                        self.brought_back = true;
                        Wake::Look
                    }
                    () = changed(reconsider) => Wake::Look,
                    () = changed(leave) => Wake::Look,
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
                    Wake::Fetched(fetched) => {
                        if !fetched.is_answer() && self.uplink.outbox.is_closed() {
                            return End::Stopped;
                        }
                        self.pump.shelve(fetched, self.uplink.clock.now());
                    }
                    Wake::Held(held) => {
                        if let Some(replaying) = &mut self.carried.replaying {
                            replaying.take(held);
                        }
                    }
                    Wake::Replay(replay) => {
                        let last = *self.uplink.durable.borrow();
                        self.carried.replaying = Some(Replaying::begin(replay, last));
                    }
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

    /// Draws the lessons for the next connection, and says whether this one proved itself.
    fn judge(&mut self, end: &End) -> bool {
        let End::Broke(fault) = end else { return true };
        let (Stage::Open(open) | Stage::Draining { open, .. }) = self.stage else { return false };
        let now = self.uplink.clock.now();
        let taken_over = matches!(fault, Fault::TakenOver);
        let culprit = self.culprit().filter(|_| !taken_over);
        if let (Some(why), Some(sequence)) = (fault.blames_publish(), culprit) {
            if fault.is_about_size() {
                // The limit is not known, only that this broker announced less than it enforces.
                let more = open.welcome.largest_packet.saturating_add(1);
                self.carried.oversize.refused(sequence, more);
            }
            self.reject(sequence, why);
        } else if let (Some(sequence), false) = (culprit, self.accepted)
            && self.carried.suspects.broke_with(sequence, now)
        {
            self.set_aside(sequence, "connections broke whenever it was sent");
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

/// Waits for a new value; for ever when there will be none.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

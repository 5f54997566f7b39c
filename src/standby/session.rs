//! The line to the broker by way of which two gateways tell each other how they stand, for as long as the gateway
//! runs: connects, listens and sends, and connects again. The doer to the decider in `partner.rs`.
//!
//! Promises never to wait for the broker before it takes what is to be told, to send nothing that is older than
//! the connection, to end once nothing more can be told, and never to log what was told.

use std::{path::PathBuf, pin::pin, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::{
    Standby, StandbyCounters, Word,
    book::Echo,
    duty::PeerState,
    form::{Bond, Message, Stamp},
    inbox::Inbox,
};
use crate::{
    clock::Clock,
    engine::ClockQuality,
    remote::wire::{self, Publication, Sender, Signal},
    uplink::{
        self, Access, Door, Ending, Fault, Leave, Lookout, Repeats, Route, Topic, Topics,
        accompanied,
    },
};

/// What the line is made of.
pub(super) struct Session {
    settings: uplink::Settings,
    access: Access,
    credentials: Option<PathBuf>,
    client_id: String,
    clock: Clock,
    counters: Arc<StandbyCounters>,
    ours: Bond,
    inbox: Inbox,
    /// The other gateway's topics: what it tells, its state, its events.
    heard: [String; 4],
    out: mpsc::Receiver<Message>,
    words: mpsc::Sender<Word>,
    /// The broker has accepted the subscription.
    online: bool,
    repeats: Repeats,
}

/// Why a connection ended.
enum End {
    /// Nothing more can be told.
    Stopped,
    /// It is to be made anew.
    Again(Leave),
    /// It was not made, or it broke.
    Broke(Fault),
}

/// What is read of a gateway's state document.
#[derive(Deserialize)]
struct StateDocument {
    state: String,
}

impl Session {
    pub(super) fn new(
        standby: Standby,
        out: mpsc::Receiver<Message>,
        words: mpsc::Sender<Word>,
    ) -> Self {
        let Standby { line, access, credentials, client_id, sealer, .. } = standby;
        let theirs = Bond::new(&standby.theirs);
        let events = |family| standby.theirs.spell(Topic::Event { family, kind: "+" });
        let heard = [
            theirs.topic().to_owned(),
            standby.theirs.spell(Topic::State),
            events("visit"),
            events("zone"),
        ];
        Self {
            settings: line,
            access,
            credentials,
            client_id,
            clock: standby.clock,
            counters: standby.counters,
            ours: Bond::new(&standby.ours),
            inbox: Inbox::new(sealer, theirs),
            heard,
            out,
            words,
            online: false,
            repeats: Repeats::of("No line to the other gateway"),
        }
    }

    /// Runs until nothing more can be told.
    pub(super) async fn run(mut self) {
        let mut route = Route::new(self.access.brokers(), &self.settings);
        let credentials = self.credentials.clone();
        let mut lookout =
            Lookout::new(&self.settings, credentials.as_deref(), &self.access, self.clock, false);
        let (leave, mut leaving) = watch::channel(None);
        loop {
            let (began, place) = (self.clock.now(), route.place());
            leave.send_replace(None);
            let mut proved = false;
            let beside = lookout.beside(place, fastrand::f64());
            let live = self.live(place, &mut leaving, &mut proved);
            let end = Box::pin(accompanied(live, beside, &leave)).await;
            if self.set_online(false).await.is_err() {
                break;
            }
            let delay = match end {
                End::Stopped => break,
                End::Again(why) => {
                    if why == Leave::Return {
                        route.return_to_first();
                    }
                    Duration::ZERO
                }
                End::Broke(fault) => {
                    self.counters.faults.fetch_add(1, Relaxed);
                    let stood = self.clock.now().since(began);
                    let ending = Ending { lesson: fault.lesson(), proved, stood };
                    let delay = route.ended(&ending, fastrand::f64());
                    self.repeats.tell(&fault, delay, self.clock.now());
                    delay
                }
            };
            leave.send_replace(None);
            let over = pin!(tokio::time::sleep(delay));
            if self.wait(over, &mut leaving, None).await.is_err() {
                break;
            }
            self.access = lookout.reload().await;
        }
    }

    /// Lives one connection.
    async fn live(
        &mut self,
        place: usize,
        leaving: &mut watch::Receiver<Option<Leave>>,
        proved: &mut bool,
    ) -> End {
        let door = Door { access: &self.access, settings: &self.settings, place };
        let (sender, mut line) = wire::open(door, &self.client_id);
        let end = loop {
            let signal = {
                let mut next = pin!(line.next());
                match self.wait(next.as_mut(), leaving, Some(&sender)).await {
                    Ok(signal) => signal,
                    Err(end) => break end,
                }
            };
            match signal {
                Ok(Signal::Welcome) => {
                    if sender.subscribe(&self.heard).is_err() {
                        return End::Broke(Fault::Overfull);
                    }
                }
                Ok(Signal::Subscribed(answers)) => {
                    *proved = true;
                    self.repeats.forget();
                    self.look_at(&answers);
                    if self.set_online(true).await.is_err() {
                        break End::Stopped;
                    }
                }
                Ok(Signal::Arrived(publication)) => {
                    if let Some(word) = self.read(&publication)
                        && self.words.send(word).await.is_err()
                    {
                        break End::Stopped;
                    }
                }
                Ok(Signal::Answered(_) | Signal::Disconnected) => {}
                Err(fault) => return End::Broke(fault),
            }
        };
        wire::part(&sender, &mut line).await;
        end
    }

    /// Waits for what comes next on the line, and meanwhile sends what is to be told.
    async fn wait<T>(
        &mut self,
        mut next: impl Future<Output = T> + Unpin,
        leaving: &mut watch::Receiver<Option<Leave>>,
        sender: Option<&Sender>,
    ) -> Result<T, End> {
        loop {
            tokio::select! {
                biased;
                why = leaving.wait_for(Option::is_some) => {
                    // Who would say so lives as long as this.
                    if let Some(why) = why.ok().and_then(|why| *why) {
                        return Err(End::Again(why));
                    }
                }
                message = self.out.recv() => match message {
                    Some(message) => self.send(&message, sender),
                    None => return Err(End::Stopped),
                },
                next = &mut next => return Ok(next),
            }
        }
    }

    /// Hands a message to the line, if there is one. One that is lost is missed by its number.
    fn send(&self, message: &Message, sender: Option<&Sender>) {
        let sent = sender.filter(|_| self.online).and_then(|sender| {
            let wall = self.clock.wall();
            let error_us = self.clock.account().error_us.unwrap_or(0);
            let stamp = Stamp {
                sent_us: wall.unix_at(self.clock.now()).as_millis().saturating_mul(1000),
                error_us: (wall.quality == ClockQuality::Synced)
                    .then(|| u32::try_from(error_us).unwrap_or(u32::MAX)),
            };
            let sealed = message.seal(stamp, self.inbox.sealer(), &self.ours).ok()?;
            sender.publish(self.ours.topic(), sealed).ok()
        });
        let counter = if sent.is_some() { &self.counters.sent } else { &self.counters.unsent };
        counter.fetch_add(1, Relaxed);
    }

    /// What a publication says, if anything.
    fn read(&mut self, publication: &Publication) -> Option<Word> {
        let Publication { topic, payload, retained } = publication;
        if topic == self.inbox.topic() {
            let (now, wall) = (self.clock.now(), self.clock.wall());
            return match self.inbox.take(now, &wall, payload, *retained) {
                Ok(message) => {
                    self.counters.received.fetch_add(1, Relaxed);
                    Some(Word::Told(Box::new(message)))
                }
                Err(refusal) => {
                    if self.counters.refuse(refusal) {
                        let reason = refusal.word();
                        let what = "A message of the other gateway was refused; further ones are only \
                                    counted.";
                        warn!(reason, %refusal, "{what}");
                    }
                    None
                }
            };
        }
        if self.heard.get(1) == Some(topic) {
            let document: Option<StateDocument> = serde_json::from_slice(payload).ok();
            return Some(Word::State(match document {
                Some(document) if document.state == "offline" => PeerState::Offline,
                Some(_) => PeerState::Online,
                None => PeerState::Unknown,
            }));
        }
        let is_event = matches!(Topics::read(topic), Ok((_, Topic::Event { .. })));
        let echo = Echo::of_event(payload).filter(|_| is_event && !retained)?;
        Some(Word::Echo(echo))
    }

    /// Says which of the other gateway's topics the broker keeps from us.
    fn look_at(&self, answers: &[Option<&'static str>]) {
        let peer = &self.heard;
        info!(topic = peer[0], "Listening to the other gateway of the pair.");
        for (place, (topic, why)) in self.heard.iter().zip(answers).enumerate() {
            let Some(why) = why else { continue };
            if place < 2 {
                let what = "The broker does not let us hear the other gateway; the two cannot stand by \
                            for each other.";
                error!(topic, why, "{what}");
            } else {
                let what = "The broker does not let us hear the other gateway's events; after a takeover \
                            some may be told twice.";
                warn!(topic, why, "{what}");
            }
        }
    }

    async fn set_online(&mut self, online: bool) -> Result<(), mpsc::error::SendError<Word>> {
        if self.online == online {
            return Ok(());
        }
        self.online = online;
        self.counters.online.store(online, Relaxed);
        self.words.send(Word::Linked(online)).await
    }
}

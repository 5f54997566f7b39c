//! What is done on the line by way of which two gateways tell each other how they stand: listens, and sends
//! what is to be told. The doer to the decider in `partner.rs`.
//!
//! Promises never to wait for the broker before it takes what is to be told, to send nothing that is older than
//! the connection, to end once nothing more can be told, and never to log what was told.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use serde::Deserialize;
use tokio::sync::mpsc;
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
    remote::wire::{Cease, Lasting, On, Over, Proof, Publication, Sender, Signal, Work},
    uplink::{Fault, Topic, Topics},
};

/// What the two tell each other, in and out.
pub(super) struct Session {
    clock: Clock,
    counters: Arc<StandbyCounters>,
    ours: Bond,
    inbox: Inbox,
    /// The other gateway's topics: what it tells, its state, its events.
    heard: [String; 4],
    out: mpsc::Receiver<Message>,
    /// What is told next.
    ready: Option<Message>,
    words: mpsc::Sender<Word>,
    /// The broker has accepted the subscription.
    online: bool,
}

/// What is read of a gateway's state document.
#[derive(Deserialize)]
struct StateDocument {
    state: String,
}

impl Session {
    /// The line, and what is done on it.
    pub(super) fn new(
        standby: Standby,
        out: mpsc::Receiver<Message>,
        words: mpsc::Sender<Word>,
    ) -> (Lasting, Self) {
        let Standby { line, sealer, clock, .. } = standby;
        let theirs = Bond::new(&standby.theirs);
        let events = |family| standby.theirs.spell(Topic::Event { family, kind: "+" });
        let heard = [
            theirs.topic().to_owned(),
            standby.theirs.spell(Topic::State),
            events("visit"),
            events("zone"),
        ];
        let session = Self {
            clock,
            counters: standby.counters,
            ours: Bond::new(&standby.ours),
            inbox: Inbox::new(sealer, theirs),
            heard,
            out,
            ready: None,
            words,
            online: false,
        };
        (line, session)
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

    async fn set_online(&mut self, online: bool) -> Result<(), Over> {
        if self.online == online {
            return Ok(());
        }
        self.online = online;
        self.counters.online.store(online, Relaxed);
        self.words.send(Word::Linked(online)).await.map_err(|_| Over)
    }
}

impl Work for Session {
    async fn hear(&mut self, signal: Signal, on: On<'_>) -> Result<Proof, Cease> {
        match signal {
            Signal::Welcome => on.sender.subscribe(&self.heard)?,
            Signal::Subscribed(answers) => {
                self.look_at(&answers);
                self.set_online(true).await?;
                return Ok(Proof::Given);
            }
            Signal::Arrived(publication) => {
                if let Some(word) = self.read(&publication) {
                    self.words.send(word).await.map_err(|_| Over)?;
                }
            }
            Signal::Answered(_) | Signal::Disconnected => {}
        }
        Ok(Proof::Open)
    }

    async fn prepare(&mut self, sender: Option<&Sender>) -> Result<(), Cease> {
        if let Some(message) = self.ready.take() {
            self.send(&message, sender);
        }
        Ok(())
    }

    async fn turn(&mut self) -> Result<(), Cease> {
        self.ready = Some(self.out.recv().await.ok_or(Over)?);
        Ok(())
    }

    async fn lost(&mut self, fault: Option<&Fault>) -> Result<Option<Duration>, Over> {
        self.counters.faults.fetch_add(u64::from(fault.is_some()), Relaxed);
        self.set_online(false).await?;
        Ok(None)
    }
}

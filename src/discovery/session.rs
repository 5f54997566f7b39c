//! What is done on the line by which Home Assistant is told: sends one message after the other. The doer
//! to the decider in `desk.rs`.
//!
//! Promises to end once the engine has, and that whatever a broker keeps of ours was written down before
//! it was sent.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    DiscoveryCounters, Latest,
    desk::{Desk, REST},
    memory::MemoryFile,
};
use crate::{
    clock::Clock,
    engine::Uptime,
    remote::wire::{Cease, On, Over, Proof, Sender, Signal, Work},
    uplink::Fault,
};

/// What there is to tell, and what was.
pub(super) struct Session {
    pub(super) desk: Desk,
    pub(super) file: MemoryFile,
    pub(super) latest: watch::Receiver<Latest>,
    pub(super) clock: Clock,
    pub(super) counters: Arc<DiscoveryCounters>,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// The broker has accepted the connection.
    pub(super) online: bool,
    /// It has taken something on this connection.
    pub(super) proved: bool,
    /// Since when a message waits for its answer.
    pub(super) asked: Option<Uptime>,
}

impl Work for Session {
    async fn hear(&mut self, signal: Signal, on: On<'_>) -> Result<Proof, Cease> {
        match signal {
            Signal::Welcome => {
                self.desk.begin(self.clock.now());
                self.set_online(true);
            }
            Signal::Answered(None) => {
                if !self.proved {
                    let broker = on.broker;
                    info!(%broker, "Home Assistant is told of the fixtures by this broker.");
                    self.proved = true;
                }
                self.accepted();
                return Ok(Proof::Given);
            }
            Signal::Answered(Some(why)) => {
                self.refused(Some(why));
                if self.desk.wants_rest() {
                    return Err(Cease::Pause);
                }
            }
            Signal::Subscribed(_) | Signal::Arrived(_) | Signal::Disconnected => {}
        }
        Ok(Proof::Open)
    }

    /// Hands the next message to the line, if there is one and it is its turn.
    async fn prepare(&mut self, sender: Option<&Sender>) -> Result<(), Cease> {
        let Some(sender) = sender.filter(|_| self.online) else { return Ok(()) };
        self.remember().await;
        if let Some(message) = self.desk.poll() {
            sender.retain(&message.topic, message.payload)?;
            self.asked = Some(self.clock.now());
        }
        Ok(())
    }

    async fn turn(&mut self) -> Result<(), Cease> {
        let late = self.asked.map(|asked| self.clock.instant(asked + self.patience));
        let late = async {
            match late {
                Some(late) => tokio::time::sleep_until(late).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.latest.changed() => {
                changed.map_err(|_| Over)?;
                let latest = self.latest.borrow_and_update().clone();
                self.desk.look(&latest);
                self.counters.left_out.fetch_add(self.desk.take_left_out(), Relaxed);
                Ok(())
            }
            () = late => Err(Cease::Broke(Fault::Unacknowledged(self.patience))),
        }
    }

    async fn lost(&mut self, fault: Option<&Fault>) -> Result<Option<Duration>, Over> {
        self.set_online(false);
        self.proved = false;
        if fault.is_some() {
            self.counters.faults.fetch_add(1, Relaxed);
            // Some brokers refuse a message by hanging up.
            self.refused(None);
        }
        if !self.desk.take_rest() {
            return Ok(None);
        }
        let what = "The broker refused three messages for Home Assistant in a row, or hung up at them; it is \
                    left in peace with them for a while. Look at its access rules.";
        warn!(rest_s = REST.as_secs(), "{what}");
        Ok(Some(REST))
    }
}

impl Session {
    fn accepted(&mut self) {
        self.asked = None;
        let Some(message) = self.desk.accepted() else { return };
        let removed = message.payload.is_empty();
        let counter = if removed { &self.counters.removed } else { &self.counters.published };
        counter.fetch_add(1, Relaxed);
    }

    /// The message that waits was not taken; `why` is what the broker said, if anything.
    fn refused(&mut self, why: Option<&'static str>) {
        self.asked = None;
        let Some(message) = self.desk.refused(self.clock.now()) else { return };
        // Each of hundreds may be refused for the same reason; the counter tells how many.
        if self.counters.refused.fetch_add(1, Relaxed) == 0 {
            let (topic, why) = (message.topic, why.unwrap_or("it hung up"));
            let what = "The broker does not take a message for Home Assistant; further ones are only \
                        counted.";
            warn!(topic, why, "{what}");
        }
    }

    /// Writes down what is to be, without holding up anybody else.
    pub(super) async fn remember(&mut self) {
        let Some(memory) = self.desk.poll_memory().cloned() else { return };
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || file.write(&memory)).await;
        if let Err(error) = written.unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)))
        {
            let what = "What the broker keeps for Home Assistant cannot be written down; it may have to \
                        be taken back by hand.";
            warn!(%error, "{what}");
        }
    }

    fn set_online(&mut self, online: bool) {
        self.online = online;
        self.asked = None;
        self.counters.online.store(online, Relaxed);
    }
}

//! What is done on the line by way of which the lead hears us: sends what was heard. The doer to the
//! decider in `batcher.rs`.
//!
//! Promises never to wait for the broker before it takes what was heard, to send nothing that is older
//! than the connection, and to end once nothing more can be heard.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::mpsc;
use tracing::info;

use super::{
    Item, RelayCounters,
    batcher::{Batcher, Parcel},
    form::{Bond, LARGEST_BATCH},
    proofs::Proofs,
};
use crate::{
    clock::Clock,
    remote::wire::{Cease, On, Over, Proof, Sender, Signal, Work},
    seal::Sealer,
    uplink::{Fault, Topics},
};

/// What was heard, on its way to the lead.
pub(super) struct Session {
    pub(super) sealer: Sealer,
    pub(super) topics: Topics,
    pub(super) clock: Clock,
    pub(super) counters: Arc<RelayCounters>,
    pub(super) batcher: Batcher,
    pub(super) items: mpsc::Receiver<Item>,
    pub(super) proofs: Arc<Proofs>,
    /// The broker has accepted the connection.
    pub(super) online: bool,
}

impl Work for Session {
    async fn hear(&mut self, signal: Signal, on: On<'_>) -> Result<Proof, Cease> {
        if !matches!(signal, Signal::Welcome) {
            return Ok(Proof::Open);
        }
        self.set_online(true);
        let broker = on.broker;
        info!(%broker, "Telling the lead who of the members is heard here.");
        Ok(Proof::Given)
    }

    async fn prepare(&mut self, sender: Option<&Sender>) -> Result<(), Cease> {
        self.send(sender);
        Ok(())
    }

    async fn turn(&mut self) -> Result<(), Cease> {
        let due = self.batcher.poll_timeout().map(|due| self.clock.instant(due));
        let due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What is heard all the time must not keep a batch from being closed.
            biased;
            () = due => self.batcher.handle_timeout(self.clock.now(), &self.proofs),
            item = self.items.recv() => {
                let item = item.ok_or(Over)?;
                self.batcher.spotted(self.clock.now(), item, &self.proofs);
            }
        }
        Ok(())
    }

    fn take_leave(&mut self, sender: &Sender) {
        if self.online {
            self.batcher.leave(self.clock.now(), &self.proofs);
            self.send(Some(sender));
        }
    }

    async fn lost(&mut self, fault: Option<&Fault>) -> Result<Option<Duration>, Over> {
        self.counters.faults.fetch_add(u64::from(fault.is_some()), Relaxed);
        self.set_online(false);
        Ok(None)
    }
}

impl Session {
    /// Hands what is ready to the line, if there is one.
    fn send(&mut self, sender: Option<&Sender>) {
        while let Some(parcel) = self.batcher.poll(&self.proofs) {
            let count = u64::try_from(parcel.count()).unwrap_or(u64::MAX);
            match sender.filter(|_| self.online).and_then(|sender| self.publish(parcel, sender)) {
                Some(()) => {
                    self.counters.messages.fetch_add(1, Relaxed);
                    self.counters.sightings.fetch_add(count, Relaxed);
                }
                None => self.counters.drop_sightings(count),
            }
        }
    }

    fn publish(&self, parcel: Parcel, sender: &Sender) -> Option<()> {
        // Names that cannot be in a topic were refused when the configuration was read.
        let bond = Bond::new(&self.topics, &parcel.receiver)?;
        let batch = parcel.batch(&self.clock.wall(), self.clock.account().error_us);
        let sealed = batch.seal(&self.sealer, &bond).ok()?;
        if sealed.len() > LARGEST_BATCH {
            return None;
        }
        sender.publish(bond.topic(), sealed).ok()
    }

    fn set_online(&mut self, online: bool) {
        self.online = online;
        self.counters.online.store(online, Relaxed);
    }
}

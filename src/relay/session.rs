//! The line to the broker by way of which the lead hears us, for as long as the gateway runs: connects,
//! sends, and connects again. The doer to the decider in `batcher.rs`.
//!
//! Promises never to wait for the broker before it takes what was heard, to send nothing that is older
//! than the connection, and to end once nothing more can be heard.

use std::{path::PathBuf, pin::pin, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::sync::{mpsc, watch};
use tracing::info;

use super::{
    Item, RelayCounters,
    batcher::{Batcher, Parcel},
    form::{Bond, LARGEST_BATCH},
    proofs::Proofs,
};
use crate::{
    clock::Clock,
    remote::wire::{self, Sender, Signal},
    seal::Sealer,
    uplink::{
        self, Access, Door, Ending, Fault, Leave, Lookout, Repeats, Route, Topics, accompanied,
    },
};

/// What the line is made of.
pub(super) struct Session {
    pub(super) settings: uplink::Settings,
    pub(super) access: Access,
    /// The directory of systemd's credentials, if they belong to this broker.
    pub(super) credentials: Option<PathBuf>,
    pub(super) client_id: String,
    pub(super) sealer: Sealer,
    pub(super) topics: Topics,
    pub(super) clock: Clock,
    pub(super) counters: Arc<RelayCounters>,
    pub(super) batcher: Batcher,
    pub(super) items: mpsc::Receiver<Item>,
    pub(super) proofs: Arc<Proofs>,
    /// The broker has accepted the connection.
    pub(super) online: bool,
    pub(super) chance: fn() -> f64,
    pub(super) repeats: Repeats,
}

/// Why a connection ended.
enum End {
    /// Nothing more can be heard.
    Stopped,
    /// It is to be made anew.
    Again(Leave),
    /// It was not made, or it broke.
    Broke(Fault),
}

impl Session {
    /// Runs until nothing more can be heard.
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
            let (beside, chance) = (lookout.beside(place, (self.chance)()), self.chance);
            let live = self.live(place, &mut leaving, &mut proved);
            let end = Box::pin(accompanied(live, beside, &leave)).await;
            self.set_online(false);
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
                    let delay =
                        route.ended(&Ending { lesson: fault.lesson(), proved, stood }, chance());
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
                    *proved = true;
                    self.repeats.forget();
                    self.set_online(true);
                    let broker = self.access.broker_at(place);
                    info!(%broker, "Telling the lead who of the members is heard here.");
                }
                Ok(_) => {}
                Err(fault) => return End::Broke(fault),
            }
        };
        if matches!(end, End::Stopped) && self.online {
            self.batcher.leave(self.clock.now(), &self.proofs);
            self.send(Some(&sender));
        }
        wire::part(&sender, &mut line).await;
        end
    }

    /// Waits for what comes next on the line, and meanwhile sends what is due.
    async fn wait<T>(
        &mut self,
        mut next: impl Future<Output = T> + Unpin,
        leaving: &mut watch::Receiver<Option<Leave>>,
        sender: Option<&Sender>,
    ) -> Result<T, End> {
        loop {
            self.send(sender);
            let due = self.batcher.poll_timeout().map(|due| self.clock.instant(due));
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                why = leaving.wait_for(Option::is_some) => {
                    // Who would say so lives as long as this.
                    if let Some(why) = why.ok().and_then(|why| *why) {
                        return Err(End::Again(why));
                    }
                }
                () = due => self.batcher.handle_timeout(self.clock.now(), &self.proofs),
                next = &mut next => return Ok(next),
                item = self.items.recv() => match item {
                    Some(item) => self.batcher.spotted(self.clock.now(), item, &self.proofs),
                    None => return Err(End::Stopped),
                },
            }
        }
    }

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

//! The line by which Home Assistant is told, for as long as the gateway runs: connects, sends one message
//! after the other, and connects again. The doer to the decider in `desk.rs`.
//!
//! Promises to end once the engine has, and that whatever a broker keeps of ours was written down before
//! it was sent.

use std::{
    path::PathBuf,
    pin::pin,
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
    remote::wire::{self, Sender, Signal},
    uplink::{self, Access, Door, Ending, Fault, Leave, Lookout, Repeats, Route, accompanied},
};

/// What the line is made of.
pub(super) struct Session {
    pub(super) settings: uplink::Settings,
    pub(super) access: Access,
    pub(super) credentials: Option<PathBuf>,
    pub(super) client_id: String,
    pub(super) desk: Desk,
    pub(super) file: MemoryFile,
    pub(super) latest: watch::Receiver<Latest>,
    pub(super) clock: Clock,
    pub(super) counters: Arc<DiscoveryCounters>,
    /// The broker has accepted the connection.
    pub(super) online: bool,
    /// Since when a message waits for its answer.
    pub(super) asked: Option<Uptime>,
    pub(super) chance: fn() -> f64,
    pub(super) repeats: Repeats,
}

/// Why a connection ended.
enum End {
    /// The engine has ended.
    Stopped,
    /// It is to be made anew.
    Again(Leave),
    /// The broker refuses what it is sent.
    Rests,
    /// It was not made, or it broke.
    Broke(Fault),
}

impl Session {
    /// Runs until the engine has ended.
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
                End::Rests => Duration::ZERO,
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
                    // Some brokers refuse a message by hanging up.
                    self.refused(None);
                    delay
                }
            };
            let delay = if self.desk.take_rest() {
                let what = "The broker refused three messages for Home Assistant in a row, or hung up at \
                            them; it is left in peace with them for a while. Look at its access rules.";
                warn!(rest_s = REST.as_secs(), "{what}");
                REST
            } else {
                delay
            };
            leave.send_replace(None);
            let over = pin!(tokio::time::sleep(delay));
            if matches!(self.wait(over, &mut leaving, None).await, Err(End::Stopped)) {
                break;
            }
            self.access = lookout.reload().await;
        }
        // What was answered last is not to be taken back once more at the next start.
        self.remember().await;
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
                    self.desk.begin(self.clock.now());
                    self.set_online(true);
                }
                Ok(Signal::Answered(None)) => {
                    if !*proved {
                        let broker = self.access.broker_at(place);
                        info!(%broker, "Home Assistant is told of the fixtures by this broker.");
                    }
                    *proved = true;
                    self.repeats.forget();
                    self.accepted();
                }
                Ok(Signal::Answered(Some(why))) => {
                    self.refused(Some(why));
                    if self.desk.wants_rest() {
                        break End::Rests;
                    }
                }
                Ok(_) => {}
                Err(fault) => return End::Broke(fault),
            }
        };
        wire::part(&sender, &mut line).await;
        end
    }

    /// Waits for what comes next on the line, and meanwhile sends what there is.
    async fn wait<T>(
        &mut self,
        mut next: impl Future<Output = T> + Unpin,
        leaving: &mut watch::Receiver<Option<Leave>>,
        sender: Option<&Sender>,
    ) -> Result<T, End> {
        loop {
            self.send(sender).await?;
            let patience = self.settings.ack_timeout.0;
            let late = self.asked.map(|asked| self.clock.instant(asked + patience));
            let late = async {
                match late {
                    Some(late) => tokio::time::sleep_until(late).await,
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
                next = &mut next => return Ok(next),
                changed = self.latest.changed() => {
                    if changed.is_err() {
                        return Err(End::Stopped);
                    }
                    let latest = self.latest.borrow_and_update().clone();
                    self.desk.look(&latest);
                    self.counters.left_out.fetch_add(self.desk.take_left_out(), Relaxed);
                }
                () = late => return Err(End::Broke(Fault::Unacknowledged(patience))),
            }
        }
    }

    /// Hands the next message to the line, if there is one and it is its turn.
    async fn send(&mut self, sender: Option<&Sender>) -> Result<(), End> {
        let Some(sender) = sender.filter(|_| self.online) else { return Ok(()) };
        self.remember().await;
        if let Some(message) = self.desk.poll() {
            if sender.retain(&message.topic, message.payload).is_err() {
                return Err(End::Broke(Fault::Overfull));
            }
            self.asked = Some(self.clock.now());
        }
        Ok(())
    }

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
    async fn remember(&mut self) {
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

//! One broker's line, for as long as the gateway runs: connects, listens, and connects again. The doer
//! to the decider in `desk.rs`.
//!
//! Promises never to end by itself while the engine listens, never to wait for the broker before it
//! looks at the time again, and never to log an address, data or a topic that was published on.

use std::{path::PathBuf, pin::pin, time::Duration};

use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior, interval},
};
use tracing::{debug, error, info, warn};

use super::{
    desk::{Desk, Note},
    outlet::{Closed, Fate, Outlet},
    wire::{self, Publication, Sender, Signal},
};
use crate::{
    clock::Clock,
    engine::RadioState,
    scan::Heard,
    uplink::{self, Access, Door, Ending, Fault, Leave, Lookout, Repeats, Route, accompanied},
};

/// How often the time is looked at. States change after tens of seconds.
const TICK: Duration = Duration::from_secs(1);

/// What one line is made of.
pub(super) struct Session {
    pub(super) settings: uplink::Settings,
    pub(super) access: Access,
    /// The directory of systemd's credentials, if they belong to this broker.
    pub(super) credentials: Option<PathBuf>,
    pub(super) client_id: String,
    pub(super) clock: Clock,
    pub(super) desk: Desk,
    pub(super) outlet: Outlet,
    pub(super) chance: fn() -> f64,
    pub(super) repeats: Repeats,
}

/// What is looked at while a line, or the end of a pause, is waited for.
struct Watch<'a> {
    stop: &'a mut watch::Receiver<bool>,
    /// Why the connection is to be made anew, if it is.
    leaving: watch::Receiver<Option<Leave>>,
    ticks: Interval,
}

/// Why a connection ended.
enum End {
    /// We were told to stop, or nobody listens any more.
    Stopped,
    /// It is to be made anew.
    Again(Leave),
    /// It was not made, or it broke.
    Broke(Fault),
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        Self::Stopped
    }
}

impl Session {
    /// Runs until told to stop, or until nobody listens.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut route = Route::new(self.access.brokers(), &self.settings);
        let credentials = self.credentials.clone();
        let mut lookout =
            Lookout::new(&self.settings, credentials.as_deref(), &self.access, self.clock, false);
        let (leave, leaving) = watch::channel(None);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Watch { stop: &mut stop, leaving, ticks };
        loop {
            let (began, place) = (self.clock.now(), route.place());
            leave.send_replace(None);
            let mut subscribed = false;
            let (beside, chance) = (lookout.beside(place, (self.chance)()), self.chance);
            let live = self.live(place, &mut watch, &mut subscribed);
            let end = Box::pin(accompanied(live, beside, &leave)).await;
            self.desk.handle_break(self.clock.now());
            let delay = match end {
                End::Stopped => break,
                End::Again(why) => {
                    if why == Leave::Return {
                        route.return_to_first();
                    }
                    Duration::ZERO
                }
                End::Broke(fault) => {
                    let stood = self.clock.now().since(began);
                    let lesson = fault.lesson();
                    let ending = Ending { lesson, proved: subscribed, stood };
                    let delay = route.ended(&ending, chance());
                    self.repeats.tell(&fault, delay, self.clock.now());
                    delay
                }
            };
            // A reason to make a connection anew is none while there is no connection.
            leave.send_replace(None);
            let over = pin!(tokio::time::sleep(delay));
            if self.wait(over, &mut watch).await.is_err() {
                break;
            }
            self.access = lookout.reload().await;
        }
    }

    /// Lives one connection.
    async fn live(&mut self, place: usize, watch: &mut Watch<'_>, subscribed: &mut bool) -> End {
        let door = Door { access: &self.access, settings: &self.settings, place };
        let (sender, mut line) = wire::open(door, &self.client_id);
        let end = loop {
            let signal = {
                let mut next = pin!(line.next());
                match self.wait(next.as_mut(), watch).await {
                    Ok(signal) => signal,
                    Err(end) => break end,
                }
            };
            match signal {
                Ok(signal) => {
                    if let Err(end) = self.note(signal, &sender, place, subscribed) {
                        break end;
                    }
                }
                Err(fault) => return End::Broke(fault),
            }
        };
        wire::part(&sender, &mut line).await;
        end
    }

    /// Waits for what comes next on the line, and meanwhile does what is due.
    async fn wait<T>(
        &mut self,
        mut next: impl Future<Output = T> + Unpin,
        watch: &mut Watch<'_>,
    ) -> Result<T, End> {
        loop {
            self.deliver().await?;
            tokio::select! {
                // A flood must not keep the clock from being looked at, nor the order to stop.
                biased;
                _ = watch.stop.wait_for(|stop| *stop) => return Err(End::Stopped),
                _ = watch.ticks.tick() => {
                    self.desk.handle_clock(self.clock.wall());
                    self.desk.handle_timeout(self.clock.now());
                    if let Some(why) = *watch.leaving.borrow() {
                        return Err(End::Again(why));
                    }
                }
                result = self.outlet.relieve(), if !self.outlet.is_empty() => result?,
                next = &mut next => return Ok(next),
            }
        }
    }

    fn note(
        &mut self,
        signal: Signal,
        sender: &Sender,
        place: usize,
        subscribed: &mut bool,
    ) -> Result<(), End> {
        match signal {
            Signal::Welcome => {
                let topics: Vec<String> =
                    self.desk.topics().map(|topic| topic.as_str().to_owned()).collect();
                if sender.subscribe(&topics).is_err() {
                    return Err(End::Broke(Fault::Overfull));
                }
            }
            Signal::Subscribed(answers) => {
                *subscribed = true;
                self.repeats.forget();
                let broker = self.access.broker_at(place);
                info!(%broker, "Listening to remote receivers.");
                for (topic, why) in self.desk.topics().zip(&answers) {
                    if let Some(why) = why {
                        let topic = topic.as_str();
                        let what = "The broker does not let us hear a remote receiver's topic.";
                        error!(%broker, topic, why, "{what}");
                    }
                }
                let granted: Vec<bool> = answers.iter().map(Option::is_none).collect();
                self.desk.handle_subscribed(self.clock.now(), &granted);
            }
            Signal::Arrived(Publication { topic, payload, retained }) => {
                self.desk.handle_message(self.clock.now(), &topic, &payload, retained);
            }
            Signal::Answered(_) | Signal::Disconnected => {}
        }
        Ok(())
    }

    /// Hands on what the desk has made, and says what is worth a word.
    async fn deliver(&mut self) -> Result<(), Closed> {
        while let Some(heard) = self.desk.poll_heard() {
            let what = match &heard {
                Heard::Advertisement(advertisement) => Some((advertisement.receiver.clone(), 1)),
                Heard::Relayed(relayed) => {
                    Some((relayed.receiver.clone(), relayed.sightings.len()))
                }
                Heard::Radio(..) | Heard::Recording => None,
            };
            let fate = self.outlet.put(heard).await?;
            if let Some((receiver, count)) = what {
                let count = u64::try_from(count).unwrap_or(u64::MAX);
                self.desk.count(&receiver, count, fate == Fate::HandedOn);
            }
        }
        while let Some(note) = self.desk.poll_note() {
            say(&note);
        }
        Ok(())
    }
}

fn say(note: &Note) {
    match note {
        Note::State(receiver, state) => {
            let receiver = receiver.as_str();
            match state {
                RadioState::Hearing => info!(receiver, "The remote receiver is heard from."),
                RadioState::Quiet => {
                    debug!(receiver, "The remote receiver listens and hears nothing of use.");
                }
                RadioState::Suspect { .. } => {
                    debug!(receiver, "Nothing comes from the remote receiver; presence waits.");
                }
                RadioState::Deaf { cause, .. } => {
                    let cause = cause.name();
                    let what = "The remote receiver is silent; presence there is frozen until it is \
                                heard from again.";
                    warn!(receiver, cause, "{what}");
                }
            }
        }
        Note::Refused(receiver, refusal) => {
            let (receiver, reason) = (receiver.as_str(), refusal.word());
            let what = "A remote receiver's message was refused; further ones are only counted.";
            warn!(receiver, reason, %refusal, "{what}");
        }
    }
}

//! What is done on one broker's line: subscribes, and gives the desk what arrives. The doer to the
//! decider in `desk.rs`.
//!
//! Promises never to wait for the broker before it looks at the time again, and never to log an address,
//! data or a topic that was published on.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior, interval},
};
use tracing::{debug, error, info, warn};

use super::{
    desk::{Desk, Note},
    outlet::{Closed, Fate, Outlet},
    wire::{Cease, On, Over, Proof, Publication, Sender, Signal, Work},
};
use crate::{clock::Clock, engine::RadioState, scan::Heard, uplink::Fault};

/// How often the time is looked at. States change after tens of seconds.
const TICK: Duration = Duration::from_secs(1);

/// Desk and outlet of one line.
pub(super) struct Session {
    clock: Clock,
    desk: Desk,
    outlet: Outlet,
    stop: watch::Receiver<bool>,
    ticks: Interval,
}

impl From<Closed> for Cease {
    fn from(_: Closed) -> Self {
        Self::Over
    }
}

impl Session {
    /// Ends when it is told to stop, or when nobody listens.
    pub(super) fn new(
        clock: Clock,
        desk: Desk,
        outlet: Outlet,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { clock, desk, outlet, stop, ticks }
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

impl Work for Session {
    async fn hear(&mut self, signal: Signal, on: On<'_>) -> Result<Proof, Cease> {
        match signal {
            Signal::Welcome => {
                let topics: Vec<String> =
                    self.desk.topics().map(|topic| topic.as_str().to_owned()).collect();
                on.sender.subscribe(&topics)?;
            }
            Signal::Subscribed(answers) => {
                let broker = on.broker;
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
                return Ok(Proof::Given);
            }
            Signal::Arrived(Publication { topic, payload, retained }) => {
                self.desk.handle_message(self.clock.now(), &topic, &payload, retained);
            }
            Signal::Answered(_) | Signal::Disconnected => {}
        }
        Ok(Proof::Open)
    }

    async fn prepare(&mut self, _: Option<&Sender>) -> Result<(), Cease> {
        Ok(self.deliver().await?)
    }

    async fn turn(&mut self) -> Result<(), Cease> {
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => Err(Cease::Over),
            _ = self.ticks.tick() => {
                self.desk.handle_clock(self.clock.wall());
                self.desk.handle_timeout(self.clock.now());
                Ok(())
            }
            result = self.outlet.relieve(), if !self.outlet.is_empty() => Ok(result?),
        }
    }

    async fn lost(&mut self, _: Option<&Fault>) -> Result<Option<Duration>, Over> {
        self.desk.handle_break(self.clock.now());
        Ok(None)
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

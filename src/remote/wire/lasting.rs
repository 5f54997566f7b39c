//! A line to a broker for as long as there is work on it: connects, works, and connects again. What is
//! done on it, a [`Work`] says; remote receivers, the line to a lead and that of a pair each have theirs.
//!
//! Promises never to end by itself before the work is over, to take the order of [`crate::uplink::Route`]
//! with its pauses, to see to the work while it pauses, and to log each reason once.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use tokio::sync::watch;

use super::{Sender, Signal, open, part};
use crate::{
    clock::Clock,
    uplink::{
        self, Access, Broker, Door, Ending, Fault, Leave, Lookout, Repeats, Route, UplinkError,
        accompanied,
    },
};

/// What a line is made of.
#[derive(Debug)]
pub(crate) struct Lasting {
    settings: uplink::Settings,
    access: Access,
    credentials: Option<PathBuf>,
    client_id: String,
    clock: Clock,
    repeats: Repeats,
}

/// What is done on a line. Without a sender there is no connection.
pub(crate) trait Work {
    /// The broker said something. Tells whether that proves that it lets us do what the line is for.
    async fn hear(&mut self, signal: Signal, on: On<'_>) -> Result<Proof, Cease>;

    /// Does what is ready, before anything is waited for.
    async fn prepare(&mut self, sender: Option<&Sender>) -> Result<(), Cease>;

    /// Waits for the next thing to do, and does it. Loses nothing when it is dropped while it waits.
    async fn turn(&mut self) -> Result<(), Cease>;

    /// The last words, when the work is over while the connection stands.
    fn take_leave(&mut self, _: &Sender) {}

    /// There is no connection any more; with a fault when it broke or was not made. May ask for a pause
    /// of its own, in the place of the line's.
    async fn lost(&mut self, fault: Option<&Fault>) -> Result<Option<Duration>, Over>;
}

/// The connection on which something was heard.
#[derive(Clone, Copy)]
pub(crate) struct On<'a> {
    pub(crate) sender: &'a Sender,
    pub(crate) broker: &'a Broker,
}

/// Whether a signal proves that the line is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Proof {
    /// It does: the next pause is the shortest again.
    Given,
    /// It says nothing about that.
    Open,
}

/// There is no work any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Over;

/// Why a connection is given up.
#[derive(Debug)]
pub(crate) enum Cease {
    /// There is no work any more.
    Over,
    /// It is to be made anew, after the pause that is asked for when it is lost.
    Pause,
    /// It is of no use.
    Broke(Fault),
}

/// Why a connection ended.
enum End {
    /// There is no work any more.
    Over,
    /// It is to be made anew; why, unless the work wants it.
    Again(Option<Leave>),
    /// It was not made, or it broke.
    Broke(Fault),
}

impl From<Over> for Cease {
    fn from(Over: Over) -> Self {
        Self::Over
    }
}

impl From<super::NotTaken> for Cease {
    fn from(_: super::NotTaken) -> Self {
        Self::Broke(Fault::Overfull)
    }
}

impl From<Cease> for End {
    fn from(cease: Cease) -> Self {
        match cease {
            Cease::Over => Self::Over,
            Cease::Pause => Self::Again(None),
            Cease::Broke(fault) => Self::Broke(fault),
        }
    }
}

impl Lasting {
    /// Reads what it takes to be let in, and connects to nobody yet. `credentials` is the directory of
    /// systemd's credentials, if they belong to this broker; `repeats` says what is missing without it.
    pub(crate) fn load(
        settings: uplink::Settings,
        credentials: Option<&Path>,
        client_id: String,
        clock: Clock,
        repeats: Repeats,
    ) -> Result<Self, UplinkError> {
        let access = Access::load(&settings, credentials)?;
        let credentials = credentials.map(Path::to_owned);
        Ok(Self { settings, access, credentials, client_id, clock, repeats })
    }

    /// What was found when it was read.
    pub(crate) const fn access(&self) -> &Access {
        &self.access
    }

    /// Runs until the work is over, and gives it back.
    pub(crate) async fn run<W: Work>(mut self, mut work: W) -> W {
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
            let live = self.live(place, &mut work, &mut leaving, &mut proved);
            let end = Box::pin(accompanied(live, beside, &leave)).await;
            let fault = if let End::Broke(fault) = &end { Some(fault) } else { None };
            let Ok(pause) = work.lost(fault).await else { return work };
            let delay = match end {
                End::Over => return work,
                End::Again(why) => {
                    if why == Some(Leave::Return) {
                        route.return_to_first();
                    }
                    Duration::ZERO
                }
                End::Broke(fault) => {
                    let stood = self.clock.now().since(began);
                    let ending = Ending { lesson: fault.lesson(), proved, stood };
                    let delay = route.ended(&ending, fastrand::f64());
                    self.repeats.tell(&fault, delay, self.clock.now());
                    delay
                }
            };
            // A reason to make a connection anew is none while there is no connection.
            leave.send_replace(None);
            let over = pin!(tokio::time::sleep(pause.unwrap_or(delay)));
            if let Err(End::Over) = wait(over, &mut work, &mut leaving, None).await {
                return work;
            }
            self.access = lookout.reload().await;
        }
    }

    /// Lives one connection.
    async fn live<W: Work>(
        &mut self,
        place: usize,
        work: &mut W,
        leaving: &mut watch::Receiver<Option<Leave>>,
        proved: &mut bool,
    ) -> End {
        let door = Door { access: &self.access, settings: &self.settings, place };
        let (sender, mut line) = open(door, &self.client_id);
        let end = loop {
            let signal = {
                let mut next = pin!(line.next());
                match wait(next.as_mut(), work, leaving, Some(&sender)).await {
                    Ok(Ok(signal)) => signal,
                    Ok(Err(fault)) => return End::Broke(fault),
                    Err(end) => break end,
                }
            };
            let on = On { sender: &sender, broker: self.access.broker_at(place) };
            match work.hear(signal, on).await {
                Ok(Proof::Given) => {
                    *proved = true;
                    self.repeats.forget();
                }
                Ok(Proof::Open) => {}
                Err(cease) => break cease.into(),
            }
        };
        match end {
            End::Over => work.take_leave(&sender),
            End::Again(_) => {}
            // Whoever does not take what it is sent takes no farewell either.
            End::Broke(_) => return end,
        }
        part(&sender, &mut line).await;
        end
    }
}

/// Waits for what comes next, and meanwhile works. A flood on either side keeps nobody from the other.
async fn wait<T, W: Work>(
    mut next: impl Future<Output = T> + Unpin,
    work: &mut W,
    leaving: &mut watch::Receiver<Option<Leave>>,
    sender: Option<&Sender>,
) -> Result<T, End> {
    loop {
        work.prepare(sender).await?;
        tokio::select! {
            why = leaving.wait_for(Option::is_some) => {
                // Who would say so lives as long as this.
                if let Some(why) = why.ok().and_then(|why| *why) {
                    return Err(End::Again(Some(why)));
                }
            }
            done = work.turn() => done?,
            next = &mut next => return Ok(next),
        }
    }
}

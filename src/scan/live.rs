//! The live source: one supervisor for each receiver. Sessions' reports in; advertisements and the
//! receivers' states out.
//!
//! The decider is [`Silence`]; here is its doer. A session is one scan, from finding the adapter to
//! giving up, on a thread of its own; a supervisor starts them, one at a time, for as long as it
//! runs. Promises never to end by itself, never to wait for the bus, a controller or a full edge
//! before it looks at the time again, and never to log an address or data.

mod error;
mod log;
mod outlet;
mod queue;
mod session;
mod settings;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, error};

pub use self::{
    error::LiveError,
    settings::{Backend, LiveSettings, ReceiverSettings},
};
use self::{
    log::Log,
    outlet::{Closed, Outlet},
    session::Session,
};
pub(super) use self::{
    queue::QueueWatch,
    session::{Ends, Fresh, Order, Report},
};
use super::{
    CanarySightings, ReceiverCounters, SourceEnds,
    silence::{Silence, Step},
};
use crate::clock::Clock;

/// How long a session may take to stop its scan before it is left to itself.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// One receiver's supervisor.
struct Supervisor {
    settings: LiveSettings,
    receiver: ReceiverSettings,
    clock: Clock,
    silence: Silence,
    outlet: Outlet,
    session: Session,
    log: Log,
    counters: Arc<ReceiverCounters>,
    /// The adapter was switched off by us, and not on again.
    owes_power: Arc<AtomicBool>,
}

/// Scans with every receiver until told to stop, or until nobody listens.
///
/// What happens when `ends.heard` is full: on the planes that have a queue in the kernel, what is
/// heard waits there, and the kernel drops and counts the newest when that is full, too; on the
/// D-Bus plane the newest is dropped and counted here. A change of a receiver's state waits, and
/// nothing overtakes it.
pub async fn run(settings: &LiveSettings, ends: SourceEnds) {
    let SourceEnds { clock, heard, counters, canaries, mut stop } = ends;
    if settings.receivers.is_empty() {
        // A gateway with remote receivers only. Whoever could say stop may be gone, which means the
        // same.
        stop.wait_for(|stop| *stop).await.ok();
        return;
    }
    let mut supervisors = JoinSet::new();
    for (receiver, counters) in settings.receivers.iter().zip(&counters.receivers) {
        let supervisor = Supervisor {
            settings: settings.clone(),
            receiver: receiver.clone(),
            clock,
            silence: Silence::new(settings.limits(), clock.now()),
            outlet: Outlet::new(receiver.id.clone(), heard.clone(), Arc::clone(counters)),
            session: Session::none(),
            log: Log::new(receiver.id.clone()),
            counters: Arc::clone(counters),
            owes_power: Arc::default(),
        };
        supervisors.spawn(supervisor.run(canaries.clone(), stop.clone()));
    }
    drop(heard);
    while let Some(end) = supervisors.join_next().await {
        if end.is_err() {
            // The others go on. Nothing restarts this one: a defect is for systemd to see.
            error!("A receiver's supervisor panicked; restart the gateway.");
        }
    }
}

impl Supervisor {
    async fn run(
        mut self,
        mut canaries: watch::Receiver<CanarySightings>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            self.silence.handle_timeout(self.clock.now());
            self.tell_changes();
            if let Some(step) = self.silence.poll_step() {
                self.take(step);
            }
            let due = self.silence.poll_timeout().map(|due| due.since(self.clock.now()));
            tokio::select! {
                report = self.session.next(), if self.outlet.has_room() => {
                    if let Err(Closed) = self.report(report) {
                        break;
                    }
                }
                result = self.outlet.relieve(), if !self.outlet.is_empty() => {
                    if let Err(Closed) = result {
                        break;
                    }
                }
                Ok(()) = canaries.changed() => {
                    let heard = canaries.borrow_and_update().get(&self.receiver.id).copied();
                    if let Some(heard) = heard {
                        self.silence.canary(heard);
                    }
                }
                () = sleep(due.unwrap_or_default()), if due.is_some() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        if timeout(STOP_TIMEOUT, self.session.stop()).await.is_err() {
            debug!("The scan did not stop in time and is left to itself.");
        }
    }

    fn report(&mut self, report: Report) -> Result<(), Closed> {
        let now = self.clock.now();
        match report {
            Report::Running { adapter, plane } => {
                self.counters.set_plane(Some(plane));
                self.log.running(&adapter, plane);
                self.silence.done(now);
            }
            Report::Heard(batch) => {
                if let Some(Fresh { advertisement, .. }) = batch.first() {
                    let age = now.since(advertisement.heard).as_micros();
                    let age = u64::try_from(age).unwrap_or(u64::MAX);
                    self.counters.age_us.store(age, Ordering::Relaxed);
                }
                for Fresh { advertisement, fresh } in batch {
                    self.silence.heard(now, fresh);
                    self.tell_changes();
                    self.outlet.advertisement(advertisement)?;
                }
            }
            Report::Failed(error) => {
                debug!(receiver = self.receiver.id.as_str(), %error, "An attempt to scan failed.");
                self.counters.set_plane(None);
                self.silence.failed(now, error.cause());
                self.log.trouble(error);
            }
            Report::Lost(why) => {
                debug!(receiver = self.receiver.id.as_str(), why, "The scan was lost.");
                self.counters.set_plane(None);
                self.silence.lost(now);
            }
        }
        Ok(())
    }

    fn tell_changes(&mut self) {
        while let Some(state) = self.silence.poll_change() {
            self.log.state(state);
            self.outlet.state(state);
        }
    }

    /// Takes a step of the ladder. A running session can start its scan again; with every other step
    /// a new session begins.
    fn take(&mut self, step: Step) {
        let first = !self.session.was_started();
        if !first {
            self.log.step(step);
            self.counters.count(step);
        }
        if step == Step::RestartScan && self.session.restart_scan() {
            return;
        }
        let order = Order {
            step: (!first).then_some(step),
            receiver: self.receiver.clone(),
            call_timeout: self.settings.call_timeout,
            clock: self.clock,
            counters: Arc::clone(&self.counters),
            owes_power: Arc::clone(&self.owes_power),
        };
        let session = std::mem::replace(&mut self.session, Session::none());
        self.session = session.replace(order);
    }
}

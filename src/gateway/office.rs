//! Where the corridor is watched from: requests, documents, the watchdog, and the closing.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
};
use tracing::{info, warn};

use super::{
    GatewayError, Outcome, PairView, Pulse, Request,
    drive::{Driven, OutboxGone},
    house::House,
    status::StatusFile,
};
use crate::{
    engine::{Counts, RadioState, Uptime},
    health,
    outbox::{self, DiskState, OutboxError, Sequence},
    uplink::LinkState,
};

/// How often systemd is told the status when it keeps no watchdog.
pub(super) const UNWATCHED: Duration = Duration::from_secs(15);

/// How a room ended.
pub(super) enum RoomEnd {
    Scan,
    Command,
    Registrar,
    Relay,
    Standby,
    Discovery,
    Engine(Result<Driven, OutboxGone>),
    Uplink,
    Outbox(Result<Result<(), OutboxError>, oneshot::error::RecvError>),
}

/// What closes the rooms, in the order in which the data walks through them.
pub(super) struct Stops {
    pub(super) scan: watch::Sender<bool>,
    pub(super) command: Option<oneshot::Sender<()>>,
    pub(super) uplink: Option<oneshot::Sender<()>>,
}

/// Where the corridor is watched from: requests, documents, the watchdog, and the closing.
pub(super) struct Office {
    pub(super) house: House,
    pub(super) requests: mpsc::Receiver<Request>,
    /// Asks the registrar to read the registry again.
    pub(super) asks: mpsc::Sender<()>,
    pub(super) pulse: watch::Receiver<Pulse>,
    /// Up to where the uplink may read.
    pub(super) durable: watch::Receiver<Option<Sequence>>,
    pub(super) link: watch::Receiver<LinkState>,
    pub(super) state: watch::Sender<Vec<u8>>,
    pub(super) metrics: watch::Sender<Vec<u8>>,
    pub(super) status: StatusFile,
}

// === impl Office ===

impl Office {
    /// Watches until there is a reason to stop, then closes the rooms in order.
    pub(super) async fn run(
        mut self,
        mut rooms: JoinSet<RoomEnd>,
        mut stops: Stops,
    ) -> Result<Outcome, GatewayError> {
        let mut closing = Closing::default();
        if let Some(end) = self.watch(&mut rooms).await {
            closing.note(end, &mut stops);
        }
        health::stopping();
        info!("The gateway stops.");
        stops.scan.send_replace(true);
        stops.command.take();
        let grace = self.house.settings.gateway.shutdown_grace.0;
        let drained = tokio::time::timeout(grace, async {
            loop {
                tokio::select! {
                    end = rooms.join_next() => match end {
                        Some(end) => closing.note(end, &mut stops),
                        None => break,
                    },
                    () = kept(&mut self.house.status, &mut self.durable, closing.appended), if stops.uplink.is_some() => {
                        // Everything that was made is durable: the uplink drains that, and ends.
                        stops.uplink.take();
                    }
                }
            }
        });
        if drained.await.is_err() {
            warn!("The grace period is over; what is not delivered is left to the next start.");
            rooms.abort_all();
        }
        let mut last = self.pulse.borrow().clone();
        if closing.appended.is_some() {
            last.counts = closing.counts;
        }
        self.status.finish(&self.house.report(last).status(true)).await;
        if let Some(failure) = closing.failure {
            return Err(failure);
        }
        let outcome = Outcome {
            counts: closing.counts,
            outbox: *self.house.status.borrow(),
            uplink: self.house.uplink.totals(),
            dropped: self.house.scan.totals().dropped,
        };
        info!(pending = outcome.outbox.pending.records, "The gateway has stopped.");
        Ok(outcome)
    }

    /// Serves the operator and systemd. Returns how a room ended, or nothing when asked to stop.
    async fn watch(&mut self, rooms: &mut JoinSet<RoomEnd>) -> Option<Result<RoomEnd, JoinError>> {
        let health = &self.house.settings.health;
        let mut states = tokio::time::interval(health.state_interval.0);
        let mut metrics = tokio::time::interval(health.metrics_interval.0);
        let watched = health::watchdog_interval().unwrap_or(UNWATCHED);
        let mut watchdog = tokio::time::interval(watched);
        let mut last = Uptime::from_micros(i64::MIN);
        let mut told = None;
        let mut caught_up = self.house.caught_up.clone();
        let mut outbox = self.house.status.clone();
        let mut disk = DiskState::Ok;
        loop {
            let pulse = self.pulse.borrow().clone();
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(Request::Reload) => self.reload(),
                    Some(Request::Stop) | None => return None,
                },
                end = rooms.join_next() => return end,
                _ = states.tick() => { self.state.send_replace(self.house.report(pulse).state()); }
                _ = metrics.tick() => {
                    let report = self.house.report(pulse);
                    self.metrics.send_replace(report.metrics());
                    self.status.write(&report.status(false)).await;
                }
                _ = watchdog.tick() => {
                    if pulse.at != last {
                        health::alive();
                        last = pulse.at;
                    }
                    let link = self.link.borrow().clone();
                    health::status(&self.house.report(pulse).line(&link));
                }
                () = changes(&mut caught_up) => states.reset_immediately(),
                () = changes_to(&mut outbox, |status| status.disk != disk) => {
                    disk = outbox.borrow_and_update().disk;
                    states.reset_immediately();
                    watchdog.reset_immediately();
                }
                changed = self.pulse.changed() => {
                    if changed.is_err() {
                        // The engine has ended; how, its task will tell.
                        return rooms.join_next().await;
                    }
                    let radios = self.pulse.borrow().radios.values().map(RadioState::name).collect();
                    let clock = self.house.clock.account();
                    let stands = |it: PairView| (it.acting, it.hears_peer, it.followed);
                    let pair = self.pulse.borrow().pair.map(stands);
                    let now: Option<(Vec<_>, _, _, _)> =
                        Some((radios, clock.basis, clock.jumps, pair));
                    if told != now {
                        told = now;
                        states.reset_immediately();
                    }
                }
            }
        }
    }

    /// Has the registry read again.
    fn reload(&self) {
        // One that is asked for already, and not begun, will do.
        self.asks.try_send(()).ok();
    }
}

/// Waits until a value changes; for ever when it will not any more.
async fn changes<T>(value: &mut watch::Receiver<T>) {
    if value.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until a value is as wanted; for ever when it will not be any more.
async fn changes_to<T>(value: &mut watch::Receiver<T>, is: impl FnMut(&T) -> bool) {
    if value.wait_for(is).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until all of so many records are durable; for ever while it is not known how many.
async fn kept(
    status: &mut watch::Receiver<outbox::Status>,
    durable: &mut watch::Receiver<Option<Sequence>>,
    appended: Option<u64>,
) {
    let Some(appended) = appended else { return std::future::pending().await };
    // An outbox that has ended keeps nothing more, and says so itself.
    let all = status
        .wait_for(|status| status.totals.appended.saturating_add(status.totals.lost) >= appended)
        .await;
    if let Ok(reached) = all.map(|status| status.durable_up_to) {
        // The uplink must know, too, or it would drain only what it knows.
        durable.wait_for(|durable| *durable >= reached).await.ok();
    }
}

/// What is known so far of how the rooms ended.
#[derive(Default)]
struct Closing {
    counts: Counts,
    /// Records that the engine handed to the outbox in all, once it has ended.
    appended: Option<u64>,
    failure: Option<GatewayError>,
}

impl Closing {
    /// A room has ended; lets the next one end.
    fn note(&mut self, end: Result<RoomEnd, JoinError>, stops: &mut Stops) {
        let failure = match end {
            Ok(
                RoomEnd::Scan
                | RoomEnd::Command
                | RoomEnd::Registrar
                | RoomEnd::Relay
                | RoomEnd::Standby
                | RoomEnd::Discovery
                | RoomEnd::Uplink
                | RoomEnd::Outbox(Ok(Ok(()))),
            ) => None,
            Ok(RoomEnd::Engine(result)) => {
                // A failed outbox tells itself why.
                let Driven { counts, appended } = result.unwrap_or_default();
                self.counts = counts;
                self.appended = Some(appended);
                None
            }
            Ok(RoomEnd::Outbox(Ok(Err(error)))) => Some(error.into()),
            Ok(RoomEnd::Outbox(Err(_))) => Some(GatewayError::Panicked("outbox")),
            Err(error) if error.is_cancelled() => None,
            Err(_) => {
                let rooms = "scan, engine, command, registrar, relay, standby, discovery or uplink";
                Some(GatewayError::Panicked(rooms))
            }
        };
        if let Some(failure) = failure {
            stops.scan.send_replace(true);
            stops.command.take();
            stops.uplink.take();
            self.failure.get_or_insert(failure);
        }
    }
}

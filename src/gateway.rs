//! The corridor: it alone creates channels, starts rooms, and closes them in order.
//!
//! | edge | bound | when full | why |
//! |---|---|---|---|
//! | scan → engine | [`HEARD_BOUND`] | drop newest, count | the air cannot be told to wait; another advertisement comes in a second |
//! | engine → outbox | [`WRITES_BOUND`] | wait | the disk is local; losing a situation is losing the product |
//! | outbox on disk | records, bytes, age | drop oldest, count, report | weeks offline must not fill the card |
//! | outbox → uplink | the window in flight | wait | the broker's pace is the pace |
//!
//! Shutdown is closing the first channel: each room drains what it was given, then drops its own
//! sender, so the stop takes the path the data takes.

mod courier;
mod drive;
mod report;

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
};
use tracing::{error, info, warn};

pub use drive::Pulse;

use crate::{
    checkpoint,
    clock::Clock,
    engine::{
        AddressSeed, AmbiguousRegistry, ConsentLedger, Counts, Engine, Identity, Pseudonym,
        RadioState, Registry, UnixTime, Uptime, VisitId, VisitRecord, WallClock,
    },
    health,
    outbox::{
        self, Dropped, Opening, OutboxError, Sequence, SledJournal, StoreOptions,
        record::{Body, DroppedRecords, Record, RunId, Started},
    },
    registry::{self, RegistryError},
    scan::{ScanCounters, SourceEnds},
    settings::{GatewaySettings, Invalid, Settings},
    uplink::{self, Access, Documents, LinkState, Uplink, UplinkError, payload::Origin},
};
use courier::ConsentingCourier;
use drive::{Drive, OutboxGone};
use report::{Report, ScanTotals};

/// How many advertisements may wait for the engine: half a second of a busy shop.
const HEARD_BOUND: usize = 256;

/// How many situations may wait for the disk: two commits.
const WRITES_BOUND: usize = 512;

/// How many questions the uplink may have at the outbox: it waits for each answer.
const READS_BOUND: usize = 8;

/// How often systemd is told the status when it keeps no watchdog.
const UNWATCHED: Duration = Duration::from_secs(15);

/// A source of advertisements: it gets where to put them, counters, and a sign to stop.
pub type Source = Box<dyn FnOnce(SourceEnds) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What the operator asks of a running gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    /// Read the registry again.
    Reload,
    /// Stop, cleanly.
    Stop,
}

/// Why the gateway did not start or did not go on.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Settings(#[from] Invalid),
    /// The registry cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Two entries cannot be told apart.
    #[error("{0}")]
    Ambiguous(#[from] AmbiguousRegistry),
    /// The uplink cannot start.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// The outbox could not be opened, or the disk failed.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// A part of the program panicked.
    #[error("the {0} room panicked; this is an error in the program")]
    Panicked(&'static str),
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Start again after a while.
    Retry,
    /// Somebody must change the configuration first.
    Reconfigure,
    /// It is an error in the program; systemd restarts it.
    Bug,
}

impl GatewayError {
    /// What the supervisor should do.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Settings(_) | Self::Registry(_) | Self::Ambiguous(_) | Self::Uplink(_) => {
                Fate::Reconfigure
            }
            Self::Outbox(_) => Fate::Retry,
            Self::Panicked(_) => Fate::Bug,
        }
    }
}

/// How a run of the gateway ended: every counter, for the log and the demo's closing table.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What the engine saw.
    pub counts: crate::engine::Counts,
    /// What became of the records.
    pub outbox: outbox::Status,
    /// What the uplink did.
    pub uplink: uplink::Totals,
    /// Advertisements dropped because the engine was behind.
    pub dropped: u64,
}

/// Reads the registry that the settings name, and joins it with the fixtures.
pub fn load_registry(settings: &Settings) -> Result<Registry, GatewayError> {
    let path = &settings.identity.registry;
    let subjects = if path.as_os_str().is_empty() { Vec::new() } else { registry::read(path)? };
    Ok(Registry::new(subjects, settings.fixtures()?)?)
}

/// The identity room for a registry, with a seed that nobody else knows.
pub fn identity(settings: &Settings, registry: Registry) -> Identity {
    Identity::new(registry, settings.identity(), AddressSeed::new(fastrand::u64(..)))
}

/// Runs a gateway until it is asked to stop, its source ends, or a room fails.
///
/// `ready` is called once everything is up.
pub async fn run(
    settings: Settings,
    clock: Clock,
    source: Source,
    requests: mpsc::Receiver<Request>,
    ready: impl FnOnce(),
) -> Result<Outcome, GatewayError> {
    settings.check_gateway()?;
    let registry = load_registry(&settings)?;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let access = Access::load(&settings.uplink, credentials.as_deref())?;
    for advisory in access.advisories() {
        warn!("{advisory}");
    }

    // The outbox opens first: the others need its epoch.
    let run = RunId(fastrand::u64(..));
    let (reads_tx, reads_rx) = mpsc::channel(READS_BOUND);
    let (writes_tx, writes_rx) = mpsc::channel(WRITES_BOUND);
    let (status_tx, status) = watch::channel(outbox::Status::default());
    let options = StoreOptions::with_cache(settings.outbox.cache.0);
    let directory = settings.gateway.state_dir.clone();
    let (opening, outbox_end) = outbox::start(
        move || SledJournal::open(&directory, options, clock),
        settings.outbox.clone(),
        clock,
        writes_rx,
        reads_rx,
        status_tx,
        notice(clock, run),
    )
    .await?;
    if let Some(old) = &opening.quarantined {
        let path = old.path.display();
        error!(%path, why = old.why, "The store was damaged and is set aside; what it held was not sent.");
    }

    let first_sequence = status.borrow().durable_up_to.map_or(0, |sequence| sequence.0);
    let house = House {
        clock,
        run,
        wall: clock.wall(),
        first_sequence,
        enrolled: registry.subject_count(),
        fixtures: registry.fixture_count(),
        settings,
        opening,
        status,
        scan: Arc::default(),
        uplink: Arc::default(),
    };

    // Then the rooms, the last one first, so that nothing is made that nobody takes.
    let mut rooms = JoinSet::new();
    let (ledger_tx, ledger) = watch::channel(Arc::new(registry.ledger()));
    let (pulse_tx, pulse) = watch::channel(Pulse::default());
    let (registries_tx, registries) = mpsc::channel(1);
    let (heard_tx, heard) = mpsc::channel(HEARD_BOUND);
    let (scan_stop, scan_stop_rx) = watch::channel(false);
    let (uplink_stop, uplink_stop_rx) = oneshot::channel();
    let (state_tx, state) = watch::channel(house.report(Pulse::default()).state());
    let (metrics_tx, metrics) = watch::channel(Vec::new());
    let (link_tx, link) = watch::channel(LinkState::default());

    rooms.spawn(async move { RoomEnd::Outbox(outbox_end.await) });
    let (durable_tx, durable) = watch::channel(None);
    tokio::spawn(follow(house.status.clone(), durable_tx));
    let uplink = Uplink {
        settings: house.settings.uplink.clone(),
        access,
        credentials,
        client_id: house.client_id(),
        topics: house.settings.topics()?,
        courier: house.courier(ledger)?,
        outbox: reads_tx,
        durable,
        documents: Documents {
            state,
            vanished: report::offline(false),
            stopped: report::offline(true),
            metrics,
        },
        link: link_tx,
        counters: Arc::clone(&house.uplink),
        clock,
        chance: Box::new(fastrand::f64),
    };
    rooms.spawn(async move {
        uplink::run(uplink, uplink_stop_rx).await;
        RoomEnd::Uplink
    });
    let engine = house.engine(registry);
    let records = house.first_records();
    let drive = Drive {
        clock,
        run,
        heard,
        registries,
        writes: writes_tx,
        pulse: pulse_tx,
        ledger: ledger_tx,
    };
    rooms.spawn(async move { RoomEnd::Engine(drive.run(engine, records).await) });
    let ends = SourceEnds {
        clock,
        heard: heard_tx,
        counters: Arc::clone(&house.scan),
        stop: scan_stop_rx,
    };
    let source = source(ends);
    rooms.spawn(async move {
        source.await;
        RoomEnd::Scan
    });

    info!(
        enrolled = house.enrolled,
        fixtures = house.fixtures,
        epoch = house.opening.epoch,
        "The gateway is up."
    );
    ready();

    let office = Office {
        house,
        requests,
        registries: registries_tx,
        pulse,
        link,
        state: state_tx,
        metrics: metrics_tx,
    };
    office.run(rooms, Stops { scan: scan_stop, uplink: Some(uplink_stop) }).await
}

/// How a room ended.
enum RoomEnd {
    Scan,
    Engine(Result<Counts, OutboxGone>),
    Uplink,
    Outbox(Result<Result<(), OutboxError>, oneshot::error::RecvError>),
}

/// What closes the rooms, in the order in which the data walks through them.
struct Stops {
    scan: watch::Sender<bool>,
    uplink: Option<oneshot::Sender<()>>,
}

/// What is known about the gateway as a whole.
struct House {
    clock: Clock,
    run: RunId,
    /// The wall clock when the gateway started.
    wall: WallClock,
    /// The last sequence that was in the store when it was opened.
    first_sequence: u64,
    enrolled: usize,
    fixtures: usize,
    settings: Settings,
    opening: Opening,
    status: watch::Receiver<outbox::Status>,
    scan: Arc<ScanCounters>,
    uplink: Arc<uplink::Counters>,
}

/// Where the corridor is watched from: requests, documents, the watchdog, and the closing.
struct Office {
    house: House,
    requests: mpsc::Receiver<Request>,
    registries: mpsc::Sender<Registry>,
    pulse: watch::Receiver<Pulse>,
    link: watch::Receiver<LinkState>,
    state: watch::Sender<Vec<u8>>,
    metrics: watch::Sender<Vec<u8>>,
}

// === impl House ===

impl House {
    /// The engine, with the visits that were open when the gateway last stopped.
    fn engine(&self, registry: Registry) -> Engine {
        let next_visit = VisitId { epoch: self.opening.epoch, run: self.first_sequence, number: 1 };
        let identity = identity(&self.settings, registry);
        let mut engine = Engine::new(identity, self.settings.presence(), next_visit);
        engine.handle_clock(self.wall);
        engine.handle_restored(self.clock.now(), self.restored());
        engine
    }

    fn restored(&self) -> Vec<(Pseudonym, VisitRecord)> {
        let kept = self.opening.kept.iter();
        kept.filter_map(|kept| checkpoint::read(&kept.slot, &kept.value, &self.wall)).collect()
    }

    /// What the gateway says first.
    fn first_records(&self) -> Vec<Record> {
        let started = Started {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: match (&self.opening.quarantined, self.first_sequence) {
                (Some(_), _) => "quarantined",
                (None, 0) => "new",
                (None, _) => "resumed",
            }
            .to_owned(),
            pending: self.opening.pending.records,
            visits_restored: u32::try_from(self.restored().len()).unwrap_or(u32::MAX),
        };
        vec![Record::new(Body::Started(started), self.clock.now(), self.run, &self.wall)]
    }

    /// The client identifier at the broker: unique there, and always the same. Only dashes of
    /// ours, because some brokers refuse other characters; a dash in a name is doubled, so that
    /// no two gateways get the same.
    fn client_id(&self) -> String {
        let GatewaySettings { tenant, store, name, .. } = &self.settings.gateway;
        match self.settings.uplink.client_id.as_str() {
            "" => {
                let names = [tenant, store, name].map(|name| name.replace('-', "--"));
                format!("beacon-gateway-{}", names.join("-"))
            }
            given => given.to_owned(),
        }
    }

    fn courier(
        &self,
        ledger: watch::Receiver<Arc<ConsentLedger>>,
    ) -> Result<ConsentingCourier, Invalid> {
        let gateway = &self.settings.gateway;
        let historical_after = self.settings.uplink.historical_after.0.as_millis();
        let origin = Origin {
            tenant: gateway.tenant.clone(),
            store: gateway.store.clone(),
            gateway: gateway.name.clone(),
            epoch: self.opening.epoch,
            run: self.run,
            time_zone: self.settings.time_zone()?,
            opening_hours: self.settings.opening_hours()?,
            historical_after_ms: i64::try_from(historical_after).unwrap_or(i64::MAX),
        };
        let topics = self.settings.topics()?;
        Ok(ConsentingCourier { origin, topics, ledger, clock: self.clock })
    }

    fn report(&self, pulse: Pulse) -> Report<'_> {
        Report {
            wall: self.clock.wall(),
            started: uplink::payload::utc(self.wall.unix),
            pulse,
            outbox: *self.status.borrow(),
            uplink: self.uplink.totals(),
            scan: ScanTotals {
                heard: self.scan.heard.load(Relaxed),
                dropped: self.scan.dropped.load(Relaxed),
                rebuilds: self.scan.rebuilds.load(Relaxed),
                unusable: self.scan.unusable.load(Relaxed),
            },
            enrolled: self.enrolled,
            fixtures: self.fixtures,
            quarantined: self.opening.quarantined.as_ref().map(|old| old.why.as_str()),
        }
    }
}

// === impl Office ===

impl Office {
    /// Watches until there is a reason to stop, then closes the rooms in order.
    async fn run(
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
        let grace = self.house.settings.gateway.shutdown_grace.0;
        let drained = tokio::time::timeout(grace, async {
            while let Some(end) = rooms.join_next().await {
                closing.note(end, &mut stops);
            }
        });
        if drained.await.is_err() {
            warn!("The grace period is over; what is not delivered is left to the next start.");
            rooms.abort_all();
        }
        if let Some(failure) = closing.failure {
            return Err(failure);
        }
        let outcome = Outcome {
            counts: closing.counts,
            outbox: *self.house.status.borrow(),
            uplink: self.house.uplink.totals(),
            dropped: self.house.scan.dropped.load(Relaxed),
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
        let mut radio = RadioState::default();
        loop {
            let pulse = *self.pulse.borrow();
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(Request::Reload) => self.reload().await,
                    Some(Request::Stop) | None => return None,
                },
                end = rooms.join_next() => return end,
                _ = states.tick() => { self.state.send_replace(self.house.report(pulse).state()); }
                _ = metrics.tick() => {
                    self.metrics.send_replace(self.house.report(pulse).metrics());
                }
                _ = watchdog.tick() => {
                    if pulse.at != last {
                        health::alive();
                        last = pulse.at;
                    }
                    let link = self.link.borrow().clone();
                    health::status(&self.house.report(pulse).line(&link));
                }
                changed = self.pulse.changed() => {
                    if changed.is_err() {
                        // The engine has ended; how, its task will tell.
                        return rooms.join_next().await;
                    }
                    let now = self.pulse.borrow().radio;
                    if std::mem::discriminant(&now) != std::mem::discriminant(&radio) {
                        radio = now;
                        states.reset_immediately();
                    }
                }
            }
        }
    }

    /// Reads the registry again. A registry that cannot be read changes nothing.
    async fn reload(&mut self) {
        match load_registry(&self.house.settings) {
            Ok(registry) => {
                self.house.enrolled = registry.subject_count();
                info!(enrolled = self.house.enrolled, "The registry was read again.");
                if self.registries.send(registry).await.is_err() {
                    warn!("The gateway is stopping; the registry is not taken over.");
                }
            }
            Err(error) => {
                error!(
                    error = chain(&error),
                    "The registry could not be read again; the one in force stays."
                );
            }
        }
    }
}

/// What is known so far of how the rooms ended.
#[derive(Default)]
struct Closing {
    counts: Counts,
    failure: Option<GatewayError>,
}

impl Closing {
    /// A room has ended; lets the next one end.
    fn note(&mut self, end: Result<RoomEnd, JoinError>, stops: &mut Stops) {
        let failure = match end {
            Ok(RoomEnd::Scan | RoomEnd::Uplink | RoomEnd::Outbox(Ok(Ok(())))) => None,
            Ok(RoomEnd::Engine(result)) => {
                // A failed outbox tells itself why.
                self.counts = result.unwrap_or_default();
                stops.uplink.take();
                None
            }
            Ok(RoomEnd::Outbox(Ok(Err(error)))) => Some(error.into()),
            Ok(RoomEnd::Outbox(Err(_))) => Some(GatewayError::Panicked("outbox")),
            Err(error) if error.is_cancelled() => None,
            Err(_) => Some(GatewayError::Panicked("scan, engine or uplink")),
        };
        if let Some(failure) = failure {
            stops.scan.send_replace(true);
            stops.uplink.take();
            self.failure.get_or_insert(failure);
        }
    }
}

/// Tells the uplink how far it may read.
async fn follow(
    mut status: watch::Receiver<outbox::Status>,
    durable: watch::Sender<Option<Sequence>>,
) {
    loop {
        let reached = status.borrow_and_update().durable_up_to;
        durable.send_if_modified(|durable| std::mem::replace(durable, reached) != reached);
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// How the outbox words a loss.
fn notice(clock: Clock, run: RunId) -> outbox::Notice {
    Box::new(move |dropped: &Dropped| {
        let body = Body::RecordsDropped(DroppedRecords {
            count: dropped.count,
            first: dropped.first.0,
            last: dropped.last.0,
            why: dropped.why.to_string(),
            first_made_ms: dropped.first_made.map(UnixTime::as_millis),
            last_made_ms: dropped.last_made.map(UnixTime::as_millis),
        });
        Record::new(body, clock.now(), run, &clock.wall()).encode()
    })
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

//! The corridor: it alone creates channels, starts rooms, and closes them in order.
//!
//! | edge | bound | when full | why |
//! |---|---|---|---|
//! | scan → engine | `HEARD_BOUND` | drop newest, count | the air cannot be told to wait; another advertisement comes in a second |
//! | engine → outbox | `WRITES_BOUND` | wait | the disk is local; losing a situation is losing the product |
//! | outbox on disk | records, bytes, age | drop oldest, count, report | weeks offline must not fill the card |
//! | outbox → uplink | the window in flight | wait | the broker's pace is the pace |
//!
//! Shutdown is closing the first channel: each room drains what it was given, then drops its own
//! sender, so the stop takes the path the data takes.

mod courier;
mod drive;
mod error;
mod house;
mod office;
mod report;

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tracing::{error, info, warn};

pub use drive::Pulse;
pub use error::{Fate, GatewayError, chain};

use crate::{
    clock::Clock,
    engine::{AddressSeed, Identity, Registry, UnixTime},
    outbox::{
        self, Dropped, Opening, OutboxError, Read, Sequence, SledJournal, StoreOptions, Write,
        record::{Body, DroppedRecords, Record, RunId},
    },
    registry,
    scan::{CanarySightings, SourceEnds},
    settings::Settings,
    uplink::{self, Access, Documents, LinkState, Uplink, UplinkError},
};
use drive::Drive;
use house::House;
use office::{Office, RoomEnd, Stops};

/// How many advertisements may wait for the engine: half a second of a busy shop.
const HEARD_BOUND: usize = 256;

/// How many situations may wait for the disk: two commits.
const WRITES_BOUND: usize = 512;

/// How many questions the uplink may have at the outbox: it waits for each answer.
const READS_BOUND: usize = 8;

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
    let access = access(&settings, credentials.as_deref())?;

    // The outbox opens first: the others need its epoch.
    let run = RunId(fastrand::u64(..));
    let store = open_store(&settings, clock, run).await?;
    let house =
        House::new((clock, run), settings, &registry, (store.opening, store.status.clone()));

    // Then the rooms, the last one first, so that nothing is made that nobody takes.
    let mut rooms = JoinSet::new();
    let (ledger_tx, ledger) = watch::channel(Arc::new(registry.ledger()));
    let (pulse_tx, pulse) = watch::channel(Pulse::default());
    let (registries_tx, registries) = mpsc::channel(1);
    let (heard_tx, heard) = mpsc::channel(HEARD_BOUND);
    let (scan_stop, scan_stop_rx) = watch::channel(false);
    let (canaries_tx, canaries) = watch::channel(CanarySightings::new());
    let (uplink_stop, uplink_stop_rx) = oneshot::channel();
    let (state_tx, state) = watch::channel(house.report(Pulse::default()).state());
    let (metrics_tx, metrics) = watch::channel(Vec::new());
    let (link_tx, link) = watch::channel(LinkState::default());
    let (_reconsider_tx, reconsider) = watch::channel(());

    let (durable_tx, durable) = watch::channel(None);
    let outbox_end = store.end;
    rooms.spawn(async move { RoomEnd::Outbox(outbox_end.await) });
    tokio::spawn(follow(store.status, durable_tx));
    let uplink = Uplink {
        settings: house.settings.uplink.clone(),
        access,
        credentials,
        client_id: house.client_id(),
        topics: house.settings.topics()?,
        courier: house.courier(ledger)?,
        outbox: store.reads,
        durable: durable.clone(),
        reconsider,
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
        writes: store.writes,
        pulse: pulse_tx,
        ledger: ledger_tx,
        canaries: canaries_tx,
        appended: 0,
    };
    rooms.spawn(async move { RoomEnd::Engine(drive.run(engine, records).await) });
    let source = source(SourceEnds {
        clock,
        heard: heard_tx,
        counters: Arc::clone(&house.scan),
        canaries,
        stop: scan_stop_rx,
    });
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
        durable,
        link,
        state: state_tx,
        metrics: metrics_tx,
    };
    office.run(rooms, Stops { scan: scan_stop, uplink: Some(uplink_stop) }).await
}

/// What it takes to be let in by the broker; warns of what should be changed about it.
fn access(settings: &Settings, credentials: Option<&Path>) -> Result<Access, UplinkError> {
    let access = Access::load(&settings.uplink, credentials)?;
    for advisory in access.advisories() {
        warn!("{advisory}");
    }
    Ok(access)
}

/// The open outbox, seen from outside.
struct Store {
    opening: Opening,
    end: oneshot::Receiver<Result<(), OutboxError>>,
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
    status: watch::Receiver<outbox::Status>,
}

async fn open_store(settings: &Settings, clock: Clock, run: RunId) -> Result<Store, OutboxError> {
    let (reads, reads_rx) = mpsc::channel(READS_BOUND);
    let (writes, writes_rx) = mpsc::channel(WRITES_BOUND);
    let (status_tx, status) = watch::channel(outbox::Status::default());
    let options = StoreOptions::with_cache(settings.outbox.cache.0);
    let directory = settings.gateway.state_dir.clone();
    let (opening, end) = outbox::start(
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
        let (path, why) = (old.path.display(), &old.why);
        error!(%path, why, "The store was damaged and is set aside; what it held was not sent.");
    }
    if opening.missing > 0 {
        let missing = opening.missing;
        error!(missing, "The disk has lost records that it had confirmed.");
    }
    Ok(Store { opening, end, writes, reads, status })
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

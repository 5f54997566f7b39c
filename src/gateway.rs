//! The corridor: it alone creates channels, starts rooms, and closes them in order.
//!
//! | edge | bound | when full | why |
//! |---|---|---|---|
//! | scan → engine | `HEARD_BOUND` | drop newest, count | the air cannot be told to wait; another advertisement comes in a second |
//! | remote → engine | the same | drop newest, count | neither can a foreign gateway |
//! | engine → outbox | `WRITES_BOUND` | wait | the disk is local; losing a situation is losing the product |
//! | outbox on disk | records, bytes, age | drop what is worth least, report which | weeks offline must not fill the card |
//! | outbox without a disk | records, bytes | drop what is worth least, report how many | the disk may come back, the air does not |
//! | engine → relay, in a receiver | `ITEMS_BOUND` | drop newest, count | what was not told now is of no use later |
//! | engine → the other gateway of a pair | `WORDS_BOUND` | drop newest | it sees by the number what is missing, and asks for everything |
//! | engine → discovery | the latest of each fixture | the latest replaces the one before | a dashboard shows what is, not what was |
//! | the other gateway of a pair → engine | `WORDS_BOUND` | wait | the line waits, the engine does not |
//! | outbox → uplink | the window in flight | wait | the broker's pace is the pace |
//! | command → registrar → engine | one change | wait | the broker keeps what is not acknowledged |
//! | registrar → uplink, to send again | `REPLAYS_BOUND` | refuse | whoever asks may ask again |
//!
//! Shutdown is closing the first channel: each room drains what it was given, then drops its own
//! sender, so the stop takes the path the data takes.

mod clerk;
mod clockwatch;
mod consent;
mod courier;
mod drive;
mod enrolment;
mod error;
mod house;
mod lobby;
mod office;
mod pair;
mod registrar;
mod report;
mod spotter;
mod status;
mod sweep;

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tracing::{error, info, warn};
use zeroize::Zeroizing;

pub use drive::{Pulse, append};
pub use enrolment::{
    StoreWork,
    steward::{STEWARD, StewardError, serve as serve_as_steward},
};
pub use error::{Fate, GatewayError, chain};
pub(crate) use house::{client_id, scan_counters};
pub use pair::PairView;
pub(crate) use report::engine as engine_counts;
pub use status::{Status, StatusError};

use crate::{
    clock::Clock,
    command,
    discovery::{self, Board},
    engine::{AddressSeed, ClockQuality, Engine, FootfallSeed, Identity, Registry, UnixTime},
    forget,
    outbox::{
        self, Dropped, Opening, OutboxError, Read, Sequence, SledJournal, StoreOptions, Write,
        record::{Body, DroppedRecords, Record, RunId},
    },
    registry::store,
    relay, remote,
    scan::{CanarySightings, SourceEnds},
    seal::KeySource,
    settings::{Role, Settings},
    standby,
    uplink::{self, Access, LinkState, REPLAYS_BOUND, UplinkError},
};
use clerk::Clerk;
use clockwatch::ClockWatch;
use drive::Drive;
use enrolment::Keeper;
use house::{House, UplinkEnds};
use lobby::{Lobby, Stage};
use office::{Office, RoomEnd, Stops};
use registrar::Registrar;
use spotter::Spotter;
use status::StatusFile;

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

/// Everyone who is enrolled, in the store and in the registry file, and the fixtures.
pub fn load_registry(settings: &Settings, clock: Clock) -> Result<Registry, GatewayError> {
    let credentials = credentials();
    let mut keeper = Keeper::new(settings, credentials.as_deref(), clock, StoreWork::Here)?;
    Ok(keeper.read()?.registry)
}

/// Where the registry's store stands, if there is one.
pub fn registry_version(
    settings: &Settings,
    clock: Clock,
) -> Result<Option<store::Version>, GatewayError> {
    let credentials = credentials();
    Ok(Keeper::new(settings, credentials.as_deref(), clock, StoreWork::Here)?.version()?)
}

/// Where systemd puts what `LoadCredential=` loads.
fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The identity room for a registry, with a seed that nobody else knows.
pub fn identity(settings: &Settings, registry: Registry) -> Identity {
    Identity::new(registry, settings.identity(), AddressSeed::new(fastrand::u64(..)))
}

/// The engine, which counts everybody if the settings want that.
pub fn with_footfall(settings: &Settings, engine: Engine) -> Engine {
    let Some(footfall) = settings.footfall.build() else { return engine };
    let mut seed = Zeroizing::new([0; 16]);
    // A salt that could be guessed would be none, so without random numbers nobody is counted.
    if SystemRandom::new().fill(&mut *seed).is_err() {
        error!("The operating system gives no random numbers; nobody is counted.");
        return engine;
    }
    engine.with_footfall(footfall, FootfallSeed::new(*seed))
}

/// Runs a gateway in this process alone until it is asked to stop, its source ends, or a room fails.
///
/// `ready` is called once everything is up.
pub async fn run(
    settings: Settings,
    clock: Clock,
    source: Source,
    requests: mpsc::Receiver<Request>,
    ready: impl FnOnce(),
) -> Result<Outcome, GatewayError> {
    // What a gateway is made of is too much for the stack of whoever waits for it.
    Box::pin(run_with(StoreWork::Here, settings, clock, source, requests, ready)).await
}

/// Runs a gateway as [`run`] does, with a say in who opens the registry's store.
#[expect(
    clippy::too_many_lines,
    reason = "every channel is made and every room started here, in order"
)]
pub async fn run_with(
    store_work: StoreWork,
    settings: Settings,
    clock: Clock,
    source: Source,
    mut requests: mpsc::Receiver<Request>,
    ready: impl FnOnce(),
) -> Result<Outcome, GatewayError> {
    settings.check_gateway()?;
    let clock = clock.trusting(settings.gateway.clock).holding(settings.gateway.clock_holdover.0);
    let credentials = credentials();
    let access = access(&settings, credentials.as_deref())?;
    check_keys(&settings, credentials.as_deref())?;
    let run = RunId(fastrand::u64(..));
    let entry = (access.clone(), credentials.clone());
    let lobby = Lobby::new(&settings, clock, run, entry, store_work);
    let mut ready = Some(ready);
    // The outbox opens first: the others need its epoch.
    let Some(Stage { keeper, enrolled, store }) = lobby.enter(&mut requests, &mut ready).await?
    else {
        return Ok(Outcome::default());
    };
    let (caught_up_tx, caught_up) = watch::channel(settings.command.is_off());
    let house = House::new(
        (clock, run),
        settings,
        &enrolled,
        caught_up,
        (store.opening, store.status.clone()),
    );
    let remote = house.remote(credentials.as_deref())?;
    let relay = house.relay(credentials.as_deref())?;
    let standby = house.standby(credentials.as_deref())?;
    let discovery = house.discovery(credentials.as_deref())?;
    let receipts = sweep::sweep(&house, &store.writes).await?;

    // Then the rooms, the last one first, so that nothing is made that nobody takes.
    let mut rooms = JoinSet::new();
    let (pulse_tx, pulse) = watch::channel(Pulse::default());
    let (enrolments_tx, enrolments) = mpsc::channel(1);
    let (orders_tx, orders) = mpsc::channel(1);
    let (asks_tx, asks) = mpsc::channel(1);
    let (reconsider_tx, reconsider) = watch::channel(());
    let (replays_tx, replays) = mpsc::channel(REPLAYS_BOUND);
    let (heard_tx, heard) = mpsc::channel(HEARD_BOUND);
    let (scan_stop, scan_stop_rx) = watch::channel(false);
    let (canaries_tx, canaries) = watch::channel(CanarySightings::new());
    let (command_stop, command_stop_rx) = oneshot::channel();
    let (uplink_stop, uplink_stop_rx) = oneshot::channel();
    let (state_tx, state) = watch::channel(house.report(Pulse::default()).state());
    let (metrics_tx, metrics) = watch::channel(Vec::new());
    let (link_tx, link) = watch::channel(LinkState::default());

    let (durable_tx, durable) = watch::channel(None);
    let (brought_back_tx, brought_back) = watch::channel(0);
    let outbox_end = store.end;
    rooms.spawn(async move { RoomEnd::Outbox(outbox_end.await) });
    tokio::spawn(follow(store.status, durable_tx, brought_back_tx));
    tokio::spawn(forward(house.caught_up.clone(), reconsider_tx.clone()));
    let entry = (access, credentials);
    // Without a trusted key there is no such room: one that ends stops the gateway.
    if !house.settings.command.is_off() {
        let command = house.command(entry.clone(), enrolled.standing, orders_tx, caught_up_tx)?;
        rooms.spawn(async move {
            command::run(command, command_stop_rx).await;
            RoomEnd::Command
        });
    }
    let uplink = house.uplink(
        entry,
        UplinkEnds {
            outbox: store.reads.clone(),
            durable: durable.clone(),
            reconsider,
            replays,
            brought_back,
            state,
            metrics,
            link: link_tx,
        },
    )?;
    rooms.spawn(async move {
        uplink::run(uplink, uplink_stop_rx).await;
        RoomEnd::Uplink
    });
    let registrar = Registrar {
        clock,
        run,
        origin: house.origin()?,
        ledger: house.ledger.clone(),
        keeper: Arc::new(Mutex::new(keeper)),
        clerk: Clerk { outbox: store.reads, replays: replays_tx },
        engine: enrolments_tx,
        writes: store.writes.clone(),
        orders,
        asks,
        reconsider: reconsider_tx.clone(),
    };
    rooms.spawn(async move {
        registrar.run().await;
        RoomEnd::Registrar
    });
    let spotter = relay.map(|relay| {
        let proofs = Arc::new(relay::Proofs::new(house.settings.receiver_ids()));
        let (items_tx, items) = mpsc::channel(relay::ITEMS_BOUND);
        let run = house.mark();
        let ends =
            relay::Ends { items, proofs: Arc::clone(&proofs), durable: durable.clone(), run };
        rooms.spawn(async move {
            relay::run(relay, ends).await;
            RoomEnd::Relay
        });
        Spotter { items: items_tx, proofs, counters: Arc::clone(&house.relay) }
    });
    let restored = house.restored();
    let records = house.first_records(&restored).into_iter().chain(receipts).collect();
    let earlier = restored.iter().filter_map(|it| Some((it.subject.clone(), it.earlier?)));
    let earlier = earlier.collect();
    // With another gateway it is not known yet who goes on with the visits.
    let (restored, left_over) =
        if standby.is_some() { (Vec::new(), restored) } else { (restored, Vec::new()) };
    let pair = match standby {
        Some(standby) => {
            let (words_tx, words) = mpsc::channel(standby::WORDS_BOUND);
            let (out, told) = mpsc::channel(standby::WORDS_BOUND);
            let (durable, mark) = (durable.clone(), house.mark());
            let ends = standby::Ends { out: told, words: words_tx, durable, run: mark };
            rooms.spawn(async move {
                standby::run(standby, ends).await;
                RoomEnd::Standby
            });
            Some(house.pair(left_over, (words, out)))
        }
        None => None,
    };
    let board = discovery.map(|discovery| {
        let (board, latest) = Board::new();
        rooms.spawn(async move {
            discovery::run(discovery, latest).await;
            RoomEnd::Discovery
        });
        board
    });
    let engine = house.engine(enrolled.registry, restored);
    forget::give_back();
    let drive = Drive {
        clock,
        run,
        watch: ClockWatch::new(clock, house.timeline.clone()),
        receivers: house.settings.receiver_ids(),
        earlier,
        heard,
        enrolments,
        writes: store.writes,
        pulse: pulse_tx,
        reconsider: reconsider_tx,
        canaries: canaries_tx,
        spotter,
        pair,
        board,
        acted: false,
        appended: 0,
    };
    rooms.spawn(async move { RoomEnd::Engine(drive.run(engine, records).await) });
    if !house.settings.remote.is_empty() {
        let (heard, stop) = (heard_tx.clone(), scan_stop_rx.clone());
        rooms.spawn(async move {
            remote::run(remote, heard, stop).await;
            RoomEnd::Scan
        });
    }
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
        enrolled = house.ledger.read().count(),
        fixtures = house.fixtures,
        epoch = house.opening.epoch,
        "The gateway is up."
    );
    let basis = clock.account().basis;
    if basis.quality() == ClockQuality::Unsynced {
        warn!(
            basis = basis.name(),
            "The clock is not believed: {basis}. Until it is, nothing is sent about anybody whose \
             consent has an end (see `gateway.clock`)."
        );
    }
    if let Some(ready) = ready {
        ready();
    }

    let office = Office {
        status: StatusFile::new(&house.settings.gateway.state_dir),
        house,
        requests,
        asks: asks_tx,
        pulse,
        durable,
        link,
        state: state_tx,
        metrics: metrics_tx,
    };
    office
        .run(
            rooms,
            Stops { scan: scan_stop, command: Some(command_stop), uplink: Some(uplink_stop) },
        )
        .await
}

/// What it takes to be let in by the broker; warns of what should be changed about it.
fn access(settings: &Settings, credentials: Option<&Path>) -> Result<Access, UplinkError> {
    let access = Access::load(&settings.uplink, credentials)?;
    for advisory in access.advisories() {
        warn!("{advisory}");
    }
    Ok(access)
}

/// Whether what passes between gateways can be sealed and opened; else nothing is started.
fn check_keys(settings: &Settings, credentials: Option<&Path>) -> Result<(), GatewayError> {
    if settings.gateway.role == Role::Receiver {
        relay::load_key(&settings.relay.key_path(credentials))?;
    }
    if settings.standby.is_on() {
        standby::load_shared_key(&settings.standby, credentials)?;
    }
    for remote in &settings.remote {
        remote.opener(credentials)?;
    }
    settings.fixtures_with_keys(credentials)?;
    Ok(())
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
    let keys = KeySource::new(&directory, credentials().as_deref());
    let mut is_first = true;
    let open = move || {
        if !std::mem::take(&mut is_first) {
            // It was lost; what a store that cannot be written leaves in memory is not given back.
            outbox::probe(&directory)?;
        }
        SledJournal::open_with(&directory, keys.clone(), options, clock)
    };
    let ends = outbox::Ends {
        writes: writes_rx,
        reads: reads_rx,
        status: status_tx,
        notice: notice(clock, run),
        chance: Box::new(fastrand::f64),
    };
    let (opening, end) = outbox::start(open, settings.outbox.clone(), clock, ends).await?;
    if let Some(old) = &opening.quarantined {
        let (path, why) = (old.path.display(), &old.why);
        error!(%path, why, "The store was damaged and is set aside; what could be saved is sent.");
    }
    if opening.missing > 0 {
        let missing = opening.missing;
        error!(missing, "The disk has lost records that it had confirmed.");
    }
    Ok(Store { opening, end, writes, reads, status })
}

/// Tells the uplink to look again at what it passed over.
async fn forward(mut caught_up: watch::Receiver<bool>, reconsider: watch::Sender<()>) {
    while caught_up.changed().await.is_ok() {
        reconsider.send_replace(());
    }
}

/// Tells the uplink how far it may read, and when to look again at what lies behind.
async fn follow(
    mut status: watch::Receiver<outbox::Status>,
    durable: watch::Sender<Option<Sequence>>,
    brought_back: watch::Sender<u64>,
) {
    loop {
        let (reached, count) = {
            let status = status.borrow_and_update();
            // What was found again in a store that was opened anew is as old.
            let count = status.totals.brought_back.saturating_add(status.totals.recovered);
            (status.durable_up_to, count)
        };
        durable.send_if_modified(|durable| std::mem::replace(durable, reached) != reached);
        brought_back.send_if_modified(|before| std::mem::replace(before, count) != count);
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// How the outbox words a loss.
pub fn notice(clock: Clock, run: RunId) -> outbox::Notice {
    Box::new(move |dropped: &Dropped| {
        let body = Body::RecordsDropped(DroppedRecords {
            why: dropped.why.to_string(),
            count: dropped.count(),
            ranges: dropped.ranges.iter().map(|(first, last)| (first.0, last.0)).collect(),
            first_made_ms: dropped.first_made.map(UnixTime::as_millis),
            last_made_ms: dropped.last_made.map(UnixTime::as_millis),
        });
        Record::new(body, clock.now(), run, &clock.wall()).encode()
    })
}

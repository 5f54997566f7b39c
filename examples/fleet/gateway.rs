//! One gateway of the fleet: the project's own outbox on a journal in memory, the project's own
//! uplink, and a task that plays the script into the one while the other empties it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context;
use beacon_gateway::{
    clock::Clock,
    gateway,
    outbox::{
        self, MemoryJournal, Sequence, Stored, Write,
        record::{Record, RunId},
    },
    settings::{ByteSize, Span},
    timeline::Timeline,
    uplink::{
        self, Access, BrokerUrl, Counters, Courier, Dispatch, Documents, LinkState, Settings,
        Topic, Topics, Totals, Uplink,
        payload::{CONTENT_TYPE, Origin},
    },
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{Cli, script::Script};

/// The chain that all of them belong to.
pub(crate) const TENANT: &str = "fleet";

/// How many gateways share a shop, so that topics look like those of a chain.
const IN_A_SHOP: u32 = 2;

/// How often a gateway publishes its metrics, as the daemon does by default, and how large they are
/// (measured in the cluster test: 1,308 bytes with one receiver).
const METRICS_EVERY: Duration = Duration::from_mins(1);
const METRICS_BYTES: usize = 1300;

/// Every gateway runs once.
const RUN: RunId = RunId(0);

/// How many events a gateway holds in memory before the oldest are dropped: more than the longest
/// storm brings.
const HELD: u64 = 100_000;

/// A gateway that runs.
pub(crate) struct Gateway {
    pub(crate) appended: Arc<AtomicU64>,
    counters: Arc<Counters>,
    link: watch::Receiver<LinkState>,
    status: watch::Receiver<outbox::Status>,
    stop: Vec<oneshot::Sender<()>>,
    uplink: JoinHandle<Totals>,
    /// Nobody asks for anything again.
    _replays: mpsc::Sender<uplink::Replay>,
}

/// Who a gateway is.
#[derive(Clone, Debug)]
struct Who {
    topics: Topics,
    origin: Origin,
}

impl Gateway {
    /// Starts one. All of it runs on the current runtime.
    pub(crate) fn start(
        number: u32,
        cli: &Cli,
        broker: SocketAddr,
        clock: Clock,
        script: Arc<Script>,
    ) -> anyhow::Result<Self> {
        let who = Who::new(number, clock)?;
        let mut random = fastrand::Rng::with_seed(cli.seed ^ (u64::from(number) << 20));
        let settings = Settings {
            broker: BrokerUrl::new(format!("mqtt://{broker}")),
            protocol: cli.protocol,
            ..Settings::default()
        };

        let (writes, writes_rx) = mpsc::channel(64);
        let (reads, reads_rx) = mpsc::channel(8);
        let (status_tx, status) = watch::channel(outbox::Status::default());
        let limits = outbox::Settings {
            max_records: HELD,
            max_bytes: ByteSize(64 << 20),
            // What was delivered is of no use here, and would fill the memory.
            keep_acknowledged: Span::secs(0),
            ..outbox::Settings::default()
        };
        let mut outbox_chance = random.fork();
        let ends = outbox::Ends {
            writes: writes_rx,
            reads: reads_rx,
            status: status_tx,
            notice: gateway::notice(clock, RUN),
            chance: Box::new(move || outbox_chance.f64()),
        };
        // Memory does not fail; if it did, another life of the store would end the outbox.
        let another = || Ok(MemoryJournal::new(2).into());
        tokio::spawn(outbox::serve(MemoryJournal::new(1).into(), another, limits, clock, ends));
        let (durable_tx, durable) = watch::channel(None);
        tokio::spawn(follow(status.clone(), durable_tx));

        let (link_tx, link) = watch::channel(LinkState::default());
        let (metrics_tx, metrics) = watch::channel(Vec::new());
        let (state_tx, state) = watch::channel(br#"{"state":"online"}"#.to_vec());
        let (reconsider_tx, reconsider) = watch::channel(());
        let (replays_tx, replays) = mpsc::channel(1);
        let (_brought_back, brought_back) = watch::channel(0);
        let counters = Arc::<Counters>::default();
        let mut chance = random.fork();
        let uplink = Uplink {
            access: Access::load(&settings, None)?,
            settings,
            credentials: None,
            client_id: format!("beacon-gateway-{TENANT}-{number}"),
            topics: who.topics.clone(),
            courier: who.courier(clock),
            outbox: reads,
            durable,
            reconsider,
            replays,
            brought_back,
            documents: Documents {
                state,
                vanished: br#"{"state":"offline","clean":false}"#.to_vec(),
                stopped: br#"{"state":"offline","clean":true}"#.to_vec(),
                metrics,
            },
            link: link_tx,
            counters: Arc::clone(&counters),
            clock,
            chance: Box::new(move || chance.f64()),
        };
        let (stop_uplink, uplink_stop) = oneshot::channel();
        let uplink = tokio::spawn(uplink::run(uplink, uplink_stop));

        let appended = Arc::<AtomicU64>::default();
        let (stop_player, player_stop) = oneshot::channel();
        let player = Player {
            place: script.place(random.f64()),
            slower: script.rate() / cli.rate,
            first: Duration::from_secs_f64(random.f64() / cli.rate),
            metrics_in: METRICS_EVERY.mul_f64(random.f64()),
            script,
            clock,
            writes,
            metrics: metrics_tx,
            appended: Arc::clone(&appended),
            // They say that there is nothing new for as long as somebody could.
            _others: (state_tx, reconsider_tx),
        };
        tokio::spawn(player.play(player_stop));
        // The player first: what it has made is still delivered.
        let stop = vec![stop_player, stop_uplink];
        Ok(Self { appended, counters, link, status, stop, uplink, _replays: replays_tx })
    }

    pub(crate) fn is_online(&self) -> bool {
        self.link.borrow().is_online()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.counters.totals()
    }

    /// Records that wait for the broker.
    pub(crate) fn pending(&self) -> u64 {
        self.status.borrow().pending.records
    }

    /// Makes no more events.
    pub(crate) fn rest(&mut self) {
        drop(self.stop.drain(..1.min(self.stop.len())));
    }

    /// Begins to end the session in good order.
    pub(crate) fn leave(&mut self) {
        self.stop.clear();
    }

    /// Waits until it has ended.
    pub(crate) async fn left(self) -> anyhow::Result<Totals> {
        self.uplink.await.context("an uplink has panicked")
    }
}

// === impl Who ===

impl Who {
    fn new(number: u32, clock: Clock) -> anyhow::Result<Self> {
        let mut timeline = Timeline::default();
        timeline.begin(RUN, clock.boot(), clock.booted());
        timeline.note(&clock.account());
        let store = format!("store-{}", number.saturating_sub(1) / IN_A_SHOP + 1);
        let name = format!("gw{number}");
        let topics = Topics::new(TENANT.parse()?, store.parse()?, name.parse()?);
        let origin = Origin {
            tenant: TENANT.to_owned(),
            store,
            gateway: name,
            epoch: 1,
            run: RUN,
            timeline,
            time_zone: jiff::tz::TimeZone::UTC,
            opening_hours: Vec::new(),
            historical_after_ms: 60_000,
        };
        Ok(Self { topics, origin })
    }

    /// Publishes events as the daemon does.
    fn courier(&self, clock: Clock) -> impl Courier + 'static {
        let Self { topics, origin } = self.clone();
        move |stored: &Stored| {
            let Ok(record) = Record::decode(&stored.bytes) else { return Dispatch::Unreadable };
            let event = origin.render(stored.sequence, &record, &clock.wall());
            let topic = Topic::Event { family: event.family, kind: event.kind };
            Dispatch::Publish {
                topic: topics.spell(topic),
                payload: event.json,
                content_type: CONTENT_TYPE,
                user_properties: Vec::new(),
                expiry: None,
            }
        }
    }
}

/// Plays the script.
struct Player {
    script: Arc<Script>,
    place: usize,
    /// How many times as slow as it was written.
    slower: f64,
    /// When it begins.
    first: Duration,
    metrics_in: Duration,
    clock: Clock,
    writes: mpsc::Sender<Write>,
    metrics: watch::Sender<Vec<u8>>,
    appended: Arc<AtomicU64>,
    _others: (watch::Sender<Vec<u8>>, watch::Sender<()>),
}

impl Player {
    /// Until told to stop; then it waits until nobody listens to it any more.
    async fn play(mut self, mut stop: oneshot::Receiver<()>) {
        let mut next = self.clock.instant(self.clock.now()) + self.first;
        let first = self.clock.instant(self.clock.now()) + self.metrics_in;
        let mut metrics = tokio::time::interval_at(first, METRICS_EVERY);
        while let Some((body, after)) = self.script.line(self.place) {
            tokio::select! {
                _ = &mut stop => break,
                _ = metrics.tick() => {
                    self.metrics.send_replace(self.counters());
                    continue;
                }
                () = tokio::time::sleep_until(next) => {}
            }
            let wall = self.clock.wall();
            let record = Record::new(body.clone(), self.clock.now(), RUN, &wall);
            if self.writes.send(gateway::append(record)).await.is_err() {
                return;
            }
            self.appended.fetch_add(1, Relaxed);
            self.place += 1;
            next += after.mul_f64(self.slower);
        }
        // The documents must not end before the uplink does.
        self.metrics.closed().await;
    }

    /// As large as a gateway's metrics, and different each time.
    fn counters(&self) -> Vec<u8> {
        let mut document = format!("{{\"events\":{},\"filler\":\"", self.appended.load(Relaxed));
        while document.len() < METRICS_BYTES - 2 {
            document.push('.');
        }
        document.push_str("\"}");
        document.into_bytes()
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

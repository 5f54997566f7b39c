//! A whole gateway on a disk that becomes full, read-only and broken, and comes back: it goes on,
//! says so within five seconds, and loses nothing.
//!
//! `OUTAGE_SECONDS` (3) is how long each trouble lasts.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    engine::{AddressKind, Advertisement, DeviceAddress, ReceiverId, Rssi},
    gateway::{self, GatewayError, Outcome, Request, Source},
    outbox::DiskState,
    scan::{Heard, SourceEnds},
    settings::{Loader, Settings},
    uplink::Protocol,
};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle, time::MissedTickBehavior};

use crate::{
    fuse::{Mounted, Trouble},
    harness::{describe, number, say},
    support::{DEADLINE, eventually, mosquitto::Mosquitto, subscriber::Subscriber, within},
};

/// How soon the state document has to say how the disk is.
const IN_TIME: Duration = Duration::from_secs(5);

/// How long apart people enter the shop at least: memory has room for a minute and a half of it, each
/// of them being two events.
const APART: Duration = Duration::from_millis(40);

/// How many there are.
const PEOPLE: u16 = 20_000;

/// Runs a test on a runtime of its own.
fn run(test: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(test)
}

pub(crate) fn is_lived_through() -> Result<(), String> {
    run(live_through())
}

pub(crate) fn at_the_start_is_said() -> Result<(), String> {
    run(start_without())
}

async fn live_through() -> Result<(), String> {
    let shop = Shop::open().await?;
    let running = shop.start()?;
    let lasts = Duration::from_secs(number("OUTAGE_SECONDS", 3));
    let troubles = [
        (DiskState::Full, Trouble::None, 0),
        (DiskState::ReadOnly, Trouble::ReadOnly, usize::MAX),
        (DiskState::Failing, Trouble::Failing, usize::MAX),
        (DiskState::Full, Trouble::None, 0),
    ];
    for (state, trouble, room) in troubles {
        let before = shop.events();
        eventually("events", || shop.events() > before + 50).await;
        shop.disk.limit(room);
        shop.disk.trouble(trouble);
        if !within(IN_TIME, || shop.says(state)).await {
            return Err(format!("within {IN_TIME:?} the state did not say {state}"));
        }
        let entered = running.entered.load(Ordering::Relaxed);
        let more = lasts.as_millis() / APART.as_millis();
        let more = u16::try_from(more).map_err(|error| error.to_string())?;
        eventually("people to enter", || {
            running.entered.load(Ordering::Relaxed) >= entered.saturating_add(more)
        })
        .await;
        if !shop.says(state) {
            return Err(format!("the state does not say {state} any more: {}", shop.state()));
        }
        shop.disk.limit(usize::MAX);
        shop.disk.trouble(Trouble::None);
        eventually("the disk to be back", || shop.says(DiskState::Ok)).await;
    }
    let entered = running.entered.load(Ordering::Relaxed);
    if !within(DEADLINE, || shop.visitors() >= usize::from(entered)).await {
        let (visitors, state) = (shop.visitors(), shop.state());
        return Err(format!("{visitors} of {entered} visits were told, the state says {state}"));
    }
    let (outcome, entered) = running.stop().await?;
    let totals = outcome.outbox.totals;
    if !outcome.outbox.conserves() || totals.lost > 0 || totals.outages < 4 {
        return Err(format!("the books say {:?}", outcome.outbox));
    }
    let events = shop.account_for(outcome.outbox.durable_up_to.map_or(0, |last| last.0))?;
    if shop.visitors() < usize::from(entered) {
        return Err(format!("{} of {entered} visits were told", shop.visitors()));
    }
    say(&format!(
        "  {entered} people, {events} events, the disk full, read-only and failing for {lasts:?} \
         each: nothing lost, {} commits",
        totals.commits
    ));
    Ok(())
}

async fn start_without() -> Result<(), String> {
    for (state, trouble) in
        [(DiskState::ReadOnly, Trouble::ReadOnly), (DiskState::Failing, Trouble::Failing)]
    {
        let shop = Shop::open().await?;
        shop.disk.trouble(trouble);
        let running = shop.start()?;
        if !within(IN_TIME, || shop.says(state)).await {
            return Err(format!("within {IN_TIME:?} the state did not say {state}"));
        }
        if running.entered.load(Ordering::Relaxed) > 0 || running.task.is_finished() {
            return Err("it has not waited".to_owned());
        }
        shop.disk.trouble(Trouble::None);
        eventually("the first events", || shop.visitors() > 3).await;
        if !shop.says(DiskState::Ok) {
            return Err(format!("the state says {}", shop.state()));
        }
        let (outcome, _) = running.stop().await?;
        shop.account_for(outcome.outbox.durable_up_to.map_or(0, |last| last.0))?;
        // Asked to stop while it waits, it stops.
        shop.disk.trouble(trouble);
        let running = shop.start()?;
        eventually("the state", || shop.says(state)).await;
        running.stop().await?;
    }
    Ok(())
}

/// A gateway's directories, its broker, and who listens there.
struct Shop {
    // Dropped in this order: what is mounted cannot be removed.
    disk: Mounted,
    mounted: tempfile::TempDir,
    files: tempfile::TempDir,
    broker: Mosquitto,
    subscriber: Subscriber,
    visitors: Mutex<Visitors>,
}

/// Who has entered, as far as the platform's messages were looked through.
#[derive(Default)]
struct Visitors {
    looked_at: usize,
    names: BTreeSet<String>,
}

/// A gateway that runs.
struct Running {
    task: JoinHandle<Result<Outcome, GatewayError>>,
    requests: mpsc::Sender<Request>,
    /// How many have entered the shop.
    entered: Arc<AtomicU16>,
}

impl Shop {
    async fn open() -> Result<Self, String> {
        let mounted = tempfile::tempdir().map_err(|error| error.to_string())?;
        let files = tempfile::tempdir().map_err(|error| error.to_string())?;
        let disk = Mounted::at(mounted.path())?;
        let broker = Mosquitto::start("");
        let subscriber = Subscriber::start(Protocol::V5, broker.port(), "beacon/#").await;
        let line = |minor| {
            format!(
                r#"{{"subject":"s{minor}","kind":"customer","identifiers":[{{"ibeacon":{{"uuid":"{}","major":1,"minor":{minor}}}}}],"consent":{{"purposes":["presence"],"from":"2020-01-01T00:00:00Z","proof":"p"}}}}
"#,
                "ab".repeat(16)
            )
        };
        let registry: String = (0..PEOPLE).map(line).collect();
        std::fs::write(files.path().join("registry.jsonl"), registry)
            .map_err(|error| error.to_string())?;
        let visitors = Mutex::default();
        Ok(Self { disk, mounted, files, broker, subscriber, visitors })
    }

    fn settings(&self) -> Result<Settings, String> {
        let path = |directory: &Path, name: &str| directory.join(name).display().to_string();
        Loader::files([])
            .set("gateway.tenant", "t")
            .set("gateway.store", "s")
            .set("gateway.name", "g")
            .set("gateway.clock", "always")
            .set("gateway.state_dir", &path(self.mounted.path(), "state"))
            .set("identity.registry", &path(self.files.path(), "registry.jsonl"))
            .set("outbox.commit_interval", "50ms")
            .set("uplink.broker", &format!("mqtt://127.0.0.1:{}", self.broker.port()))
            .set("uplink.backoff_min", "10ms")
            .set("uplink.backoff_max", "50ms")
            .load()
            .map_err(|error| describe(&error))
    }

    fn start(&self) -> Result<Running, String> {
        let entered = Arc::new(AtomicU16::new(0));
        let count = Arc::clone(&entered);
        let source: Source = Box::new(move |ends| {
            let SourceEnds { clock, heard, mut stop, .. } = ends;
            Box::pin(async move {
                let mut steps = tokio::time::interval(APART);
                steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
                for minor in 0..PEOPLE {
                    tokio::select! {
                        _ = steps.tick() => {}
                        _ = stop.wait_for(|&stop| stop) => return,
                    }
                    let person = ibeacon(clock, minor);
                    if heard.send(Heard::Advertisement(person)).await.is_err() {
                        return;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
                stop.wait_for(|&stop| stop).await.ok();
            })
        });
        let (requests, receiver) = mpsc::channel(1);
        let run = gateway::run(self.settings()?, Clock::start(), source, receiver, || ());
        Ok(Running { task: tokio::spawn(run), requests, entered })
    }

    /// The last state document.
    fn state(&self) -> String {
        let last = |all: &[crate::support::subscriber::Message]| {
            all.iter().rfind(|it| it.topic.ends_with("/state")).map(|it| it.payload.clone())
        };
        self.subscriber.look(last).unwrap_or_default()
    }

    fn says(&self, disk: DiskState) -> bool {
        let state: Value = serde_json::from_str(&self.state()).unwrap_or_default();
        state["outbox"]["disk"] == disk.name()
    }

    fn events(&self) -> usize {
        self.subscriber.look(|all| all.iter().filter(|it| it.topic.contains("/event/")).count())
    }

    /// How many people the platform knows to have entered.
    fn visitors(&self) -> usize {
        let mut visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        let Visitors { looked_at, names } = &mut *visitors;
        self.subscriber.look(|all| {
            for message in all.iter().skip(*looked_at) {
                if message.topic.ends_with("visit/started")
                    && let Ok(event) = serde_json::from_str::<Value>(&message.payload)
                    && let Some(name) = event["subject"].as_str()
                {
                    names.insert(name.to_owned());
                }
            }
            *looked_at = all.len();
        });
        names.len()
    }

    /// Whether every number up to the last came, or was told, and none came with two contents.
    fn account_for(&self, last: u64) -> Result<usize, String> {
        let mut events = BTreeMap::new();
        let mut told = BTreeSet::new();
        for message in self.subscriber.messages() {
            if !message.topic.contains("/event/") {
                continue;
            }
            let event: Value =
                serde_json::from_str(&message.payload).map_err(|error| error.to_string())?;
            let number = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
            let sequence = number(&event["sequence"]).ok_or("an event without a sequence")?;
            let what = (event["type"].to_string(), event["subject"].to_string());
            if let Some(before) = events.insert(sequence, what.clone())
                && before != what
            {
                return Err(format!("{sequence} came as {before:?} and as {what:?}"));
            }
            for range in event["data"]["ranges"].as_array().into_iter().flatten() {
                let (first, last) = (number(&range[0]), number(&range[1]));
                told.extend(first.ok_or("no range")?..=last.ok_or("no range")?);
            }
        }
        match (1..=last).find(|number| !events.contains_key(number) && !told.contains(number)) {
            Some(number) => Err(format!("nobody knows of {number} (of {last})")),
            None => Ok(events.len()),
        }
    }
}

impl Running {
    async fn stop(self) -> Result<(Outcome, u16), String> {
        self.requests.send(Request::Stop).await.map_err(|error| error.to_string())?;
        let ended = self.task.await.map_err(|error| error.to_string())?;
        let outcome = ended.map_err(|error| describe(&error))?;
        Ok((outcome, self.entered.load(Ordering::Relaxed)))
    }
}

/// Somebody who is near.
fn ibeacon(clock: Clock, minor: u16) -> Advertisement {
    let mut data = vec![26, 0xff, 0x4c, 0x00, 0x02, 0x15];
    data.extend([0xab; 16]);
    data.extend([0, 1]);
    data.extend(minor.to_be_bytes());
    data.push(0xc5);
    let address = DeviceAddress::new([0xc0; 6], AddressKind::Random);
    Advertisement::new(clock.now(), ReceiverId::default(), address, Some(Rssi(-60)), &data)
}

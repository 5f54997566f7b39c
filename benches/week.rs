//! A week without a broker, then it returns while the shop goes on: `cargo bench --bench week`.
//!
//! Two events a second for seven days are in a real store on disk; mosquitto starts, and two events a
//! second go on. Told are: how fast the backlog drains, against the same client library publishing
//! the same payloads from memory to the same broker and subscriber; how long new events take from
//! when they were appended to the subscriber meanwhile; and how much memory it takes.
//! `BEACON_GATEWAY_WEEK` says how many records wait (default 1,209,600).
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set its stage up has failed")]
#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::cast_precision_loss, reason = "counts and sizes are far below 2^52")]

#[path = "../tests/it/support/mosquitto.rs"]
mod mosquitto;

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    engine::Uptime,
    outbox::{
        self, Class, Dropped, Ends, Entry, Sequence, SledJournal, Status, StoreOptions, Stored,
        Tag, Write,
    },
    uplink::{
        self, Access, BrokerUrl, Counters, Dispatch, Documents, LinkState, Settings, Topic, Topics,
        Uplink,
    },
};
use mosquitto::Mosquitto;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};

/// Two a second for seven days.
const WEEK: u64 = 2 * 7 * 86_400;
/// As much as a record of the usual size.
const PAYLOAD: usize = 186;
const WINDOW: u16 = 64;
const BARE: u64 = 200_000;
const EVERY: Duration = Duration::from_millis(500);

/// For the helper that starts mosquitto.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A shop: fifteen people at a time, who come again now and then, and twenty sensors.
struct Shop {
    random: fastrand::Rng,
    present: Vec<u64>,
    newest: u64,
}

/// When a new event was appended, and whether it is the first about somebody.
type News = Arc<Mutex<Vec<(Duration, bool)>>>;

impl Shop {
    fn new() -> Self {
        Self { random: fastrand::Rng::with_seed(1), present: (1000..1015).collect(), newest: 5000 }
    }

    /// The next event: about whom, and whether there can be nothing older about the same.
    fn next(&mut self) -> (Tag, bool) {
        if self.random.u32(0..3) == 0 {
            return (Tag::of_thing("fixture", &self.random.u64(0..20).to_string()), false);
        }
        let at = self.random.usize(0..self.present.len());
        if self.random.u32(0..8) > 0 {
            return (person(self.present.get(at).copied().unwrap()), false);
        }
        // One leaves, and one in three of those who come is new.
        let first = self.random.u32(0..3) == 0;
        self.newest += u64::from(first);
        let next = if first { self.newest } else { self.random.u64(1000..5000) };
        *self.present.get_mut(at).unwrap() = next;
        (person(next), first)
    }
}

fn person(number: u64) -> Tag {
    Tag::of(&format!("cust_{number}"))
}

fn record(about: Tag, made: Option<(Uptime, bool)>) -> Write {
    let mut bytes = match made {
        Some((at, first)) => format!("{} {} ", at.as_micros(), u8::from(first)).into_bytes(),
        None => b"- ".to_vec(),
    };
    bytes.resize(PAYLOAD, b'x');
    Write::Append(Entry { bytes, made: None, about: Some(about), class: Class::Presence })
}

fn main() {
    // `cargo test --all-targets` starts this as well, and then asks for no measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let records = std::env::var("BEACON_GATEWAY_WEEK").map_or(WEEK, |n| n.parse().unwrap());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(week(records));
}

async fn week(records: u64) {
    let clock = Clock::start();
    let directory = TempDir::new().unwrap();
    let (writes, writes_rx) = mpsc::channel(512);
    let (reads, reads_rx) = mpsc::channel(8);
    let (status_tx, status) = watch::channel(Status::default());
    let settings = outbox::Settings::default();
    let path = directory.path().to_owned();
    let options = StoreOptions::with_cache(settings.cache.0);
    let ends = Ends {
        writes: writes_rx,
        reads: reads_rx,
        status: status_tx,
        notice: Box::new(|_: &Dropped| b"- lost".to_vec()),
        chance: Box::new(|| 0.0),
    };
    let open = move || SledJournal::open(&path, options, clock);
    let (_, end) = outbox::start(open, settings, clock, ends).await.unwrap();

    let mut shop = Shop::new();
    let began = clock.now();
    for _ in 0..records {
        writes.send(record(shop.next().0, None)).await.unwrap();
    }
    let kept = |status: &Status| status.totals.dropped > 0 || status.pending.records >= records;
    let dropped = status.clone().wait_for(kept).await.unwrap().totals.dropped;
    assert_eq!(dropped, 0, "the outbox has no room for so many");
    let took = clock.now().since(began).as_secs_f64();
    println!("{records} records of {PAYLOAD} bytes in the store after {took:.0} s");

    let broker = Mosquitto::start("max_inflight_messages 1000");
    let news = News::default();
    let arrived = Arc::<AtomicU64>::default();
    subscribe(broker.port(), clock, Arc::clone(&news), Arc::clone(&arrived)).await;
    let before = bare_client(broker.port()).await;
    arrived.store(0, Relaxed);

    let rest = memory();
    let peak = Arc::new(AtomicU64::new(rest));
    let over = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch_memory(Arc::clone(&peak), Arc::clone(&over)));
    let (room, end_of_it, mut online, counters) =
        uplink(broker.port(), clock, reads, status.clone());
    let task = tokio::spawn(room);
    online.wait_for(LinkState::is_online).await.unwrap();
    let began = clock.now();
    let mut live = tokio::time::interval(EVERY);
    let mut appended = 0;
    while status.borrow().pending.records > 20 {
        live.tick().await;
        let (about, first) = shop.next();
        writes.send(record(about, Some((clock.now(), first)))).await.unwrap();
        appended += 1;
    }
    let took = clock.now().since(began).as_secs_f64();
    over.store(true, Relaxed);
    watcher.await.unwrap();
    let everything = records + appended;
    while arrived.load(Relaxed) < everything {
        live.tick().await;
    }
    drop(end_of_it);
    task.await.unwrap();
    let after = bare_client(broker.port()).await;
    let totals = counters.totals();
    let rate = records as f64 / took;
    let bare = f64::midpoint(before, after);
    println!(
        "drained in {took:.1} s: {rate:.0}/s, {:.0} % of the bare client",
        100.0 * rate / bare
    );
    println!("bare client: {before:.0}/s before, {after:.0}/s after, window {WINDOW}");
    let news = std::mem::take(&mut *news.lock().unwrap());
    tell("new events about somebody new", news.iter().filter(|(_, first)| *first));
    tell("all new events", news.iter());
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let peak = peak.load(Relaxed);
    println!("memory: {:.1} MiB before, {:.1} MiB at most", mib(rest), mib(peak));
    println!("published {}, sent again {}", totals.published, totals.redelivered);
    drop(writes);
    end.await.unwrap().unwrap();
}

fn tell<'a>(what: &str, news: impl Iterator<Item = &'a (Duration, bool)>) {
    let mut delays: Vec<Duration> = news.map(|(delay, _)| *delay).collect();
    delays.sort_unstable();
    let at = |share: usize| delays.get((delays.len() * share / 100).min(delays.len() - 1));
    let ms = |share| at(share).map_or(0.0, |delay: &Duration| delay.as_secs_f64() * 1000.0);
    println!(
        "{what}: {} of them, delay p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
        delays.len(),
        ms(50),
        ms(99),
        ms(100)
    );
}

/// What this process has in memory, in bytes.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

async fn watch_memory(peak: Arc<AtomicU64>, over: Arc<AtomicBool>) {
    let mut interval = tokio::time::interval(Duration::from_millis(50));
    while !over.load(Relaxed) {
        interval.tick().await;
        peak.fetch_max(memory(), Relaxed);
    }
}

type Room = std::pin::Pin<Box<dyn Future<Output = uplink::Totals> + Send>>;

fn uplink(
    port: u16,
    clock: Clock,
    reads: mpsc::Sender<outbox::Read>,
    mut status: watch::Receiver<Status>,
) -> (Room, oneshot::Sender<()>, watch::Receiver<LinkState>, Arc<Counters>) {
    let settings = Settings {
        broker: BrokerUrl::new(format!("mqtt://127.0.0.1:{port}")),
        window: WINDOW,
        ..Settings::default()
    };
    let names = |text: &str| text.parse().unwrap();
    let topics = Topics::new(names("acme"), names("berlin-03"), names("gw1"));
    let topic = topics.spell(Topic::Event { family: "zone", kind: "entered" });
    let (durable_tx, durable) = watch::channel::<Option<Sequence>>(None);
    tokio::spawn(async move {
        loop {
            durable_tx.send_replace(status.borrow_and_update().durable_up_to);
            if status.changed().await.is_err() {
                return;
            }
        }
    });
    let (state_tx, state) = watch::channel(b"{}".to_vec());
    let (metrics_tx, metrics) = watch::channel(Vec::new());
    let (reconsider_tx, reconsider) = watch::channel(());
    let (replays_tx, replays) = mpsc::channel(1);
    let (brought_back_tx, brought_back) = watch::channel(0);
    let (link, online) = watch::channel(LinkState::default());
    let (stop, stop_receiver) = oneshot::channel();
    let counters = Arc::<Counters>::default();
    let courier = move |stored: &Stored| Dispatch::Publish {
        topic: topic.clone(),
        payload: stored.bytes.clone(),
        content_type: "application/cloudevents+json",
        user_properties: Vec::new(),
        expiry: None,
    };
    let room = Uplink {
        access: Access::load(&settings, None).unwrap(),
        settings,
        credentials: None,
        client_id: "week".to_owned(),
        topics,
        courier,
        outbox: reads,
        durable,
        reconsider,
        replays,
        brought_back,
        documents: Documents { state, vanished: b"{}".to_vec(), stopped: Vec::new(), metrics },
        link,
        counters: Arc::clone(&counters),
        clock,
        chance: Box::new(|| 0.0),
    };
    let room = async move {
        let totals = uplink::run(room, stop_receiver).await;
        drop((state_tx, metrics_tx, reconsider_tx, replays_tx, brought_back_tx));
        totals
    };
    (Box::pin(room), stop, online, counters)
}

/// Listens, and notes how long new events took.
async fn subscribe(port: u16, clock: Clock, news: News, arrived: Arc<AtomicU64>) {
    use rumqttc::v5::{
        AsyncClient, Event, MqttOptions,
        mqttbytes::{QoS, v5::Packet},
    };
    let mut options = MqttOptions::new("subscriber", "127.0.0.1", port);
    options.set_max_packet_size(Some(1 << 20)).set_receive_maximum(Some(1000));
    let (client, mut event_loop) = AsyncClient::new(options, 10);
    client.try_subscribe("#", QoS::AtLeastOnce).unwrap();
    while !matches!(event_loop.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    tokio::spawn(async move {
        // Polling would end with the client.
        let _client = client;
        while let Ok(event) = event_loop.poll().await {
            let Event::Incoming(Packet::Publish(publish)) = event else { continue };
            if !publish.topic.ends_with(b"/entered") {
                continue;
            }
            arrived.fetch_add(1, Relaxed);
            let payload = String::from_utf8_lossy(&publish.payload);
            let mut words = payload.split(' ');
            if let Some(made) = words.next().and_then(|made| made.parse().ok()) {
                let delay = clock.now().since(Uptime::from_micros(made));
                news.lock().unwrap().push((delay, words.next() == Some("1")));
            }
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "another task polls")]
async fn bare_client(port: u16) -> f64 {
    use rumqttc::{
        NetworkOptions,
        v5::{
            AsyncClient, Event, MqttOptions,
            mqttbytes::{QoS, v5::Packet},
        },
    };
    let mut options = MqttOptions::new("bare", "127.0.0.1", port);
    options.set_outgoing_inflight_upper_limit(WINDOW);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut event_loop) = AsyncClient::new(options, usize::from(WINDOW));
    while !matches!(event_loop.poll().await.unwrap(), Event::Incoming(Packet::ConnAck(_))) {}
    let clock = Clock::start();
    let publisher = tokio::spawn(async move {
        for _ in 0..BARE {
            let mut payload = b"- ".to_vec();
            payload.resize(PAYLOAD, b'x');
            let topic = "beacon/v1/acme/berlin-03/gw1/event/zone/entered";
            client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        }
        client
    });
    let mut acknowledged = 0;
    while acknowledged < BARE {
        if let Event::Incoming(Packet::PubAck(_)) = event_loop.poll().await.unwrap() {
            acknowledged += 1;
        }
    }
    drop(publisher.await.unwrap());
    BARE as f64 / clock.now().since(Uptime::ZERO).as_secs_f64()
}

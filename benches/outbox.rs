//! How fast the outbox takes records in durably and gives them out again; and what it costs: bytes
//! written to the card, room on it, memory, and time to open.
//!
//! Before criterion's figures a table of the costs is printed, each beside what it may be. Every row
//! is measured in a process of its own, because memory once used is not always given back.
//! `OUTBOX_RECORDS` (1000000) says how large the backlog is.

use std::{env, fs, hint::black_box, io::Write as _, path::Path, process::Command};

use beacon_gateway::{
    clock::Clock,
    engine::{UnixTime, Uptime},
    outbox::{
        Class, Entry, Journal, Sequence, SledJournal, Standing, StoreOptions, Tag,
        record::{Body, Change, Context, Presence, Record, RunId, VisitSummary},
    },
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use tempfile::TempDir;

/// The size of a plain record, in bytes.
const RECORD: usize = 400;

/// How many records the drain starts with.
const BACKLOG: u64 = 20_000;

/// How many records the uplink fetches, and removes, together.
const CHUNK: usize = 512;

/// How many records share a commit when a backlog is made.
const COMMIT: u64 = 256;

/// Events in a second, and seconds of a commit interval, for what is written.
const RATE: u64 = 10;
const INTERVALS: [u64; 4] = [1, 2, 3, 5];

/// How many commits of these are measured, and how many records are held as acknowledged meanwhile:
/// enough that the store goes round.
const COMMITS: u64 = 2000;
const HELD: u64 = 20_000;

fn open(directory: &Path) -> SledJournal {
    let options = StoreOptions::with_cache(2 << 20);
    SledJournal::open(directory, options, Clock::start()).expect("a temporary store").journal
}

fn append(journal: &mut SledJournal, records: u64) {
    for n in 0..records {
        let mut bytes = vec![b'x'; RECORD];
        bytes.truncate(RECORD - usize::try_from(n % 100).unwrap_or(0));
        // Like real ones, they have something of their own.
        bytes.splice(0..8, n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let class = Class::Presence;
        journal
            .append(Entry { bytes, made: None, about: None, class }, None)
            .expect("a small record");
    }
    journal.sync().expect("a working disk");
}

fn append_and_sync(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append+sync");
    for batch in [1, 16, 256] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut journal = open(directory.path());
        group.throughput(Throughput::Elements(batch));
        group.bench_with_input(BenchmarkId::from_parameter(batch), &batch, |bencher, &batch| {
            bencher.iter(|| append(&mut journal, batch));
        });
    }
    group.finish();
}

fn drain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("drain");
    group.throughput(Throughput::Elements(BACKLOG)).sample_size(10);
    let filled = || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut journal = open(directory.path());
        for _ in 0..BACKLOG / 250 {
            append(&mut journal, 250);
        }
        (journal, directory)
    };
    group.bench_function("oldest", |bencher| {
        let (mut journal, _directory) = filled();
        bencher.iter(|| {
            let mut after = None;
            while let Some(last) = fetch(&mut journal, after).pop() {
                after = Some(last);
            }
        });
    });
    group.bench_function("oldest+remove+sync", |bencher| {
        bencher.iter_batched_ref(
            filled,
            |(journal, _)| drain_all(journal),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn drain_all(journal: &mut SledJournal) {
    loop {
        let sequences = fetch(journal, None);
        if sequences.is_empty() {
            break;
        }
        for sequence in sequences {
            journal.remove(sequence).expect("a readable record");
        }
        journal.sync().expect("a working disk");
    }
}

fn fetch(journal: &mut SledJournal, after: Option<Sequence>) -> Vec<Sequence> {
    let records = journal.oldest(after, CHUNK).expect("readable records");
    black_box(&records).iter().map(|held| held.sequence).collect()
}

// --- what it costs ---

/// Events of a shop with eight zones and 400 subjects, a tenth of a second apart.
struct Shop {
    random: fastrand::Rng,
    now_ms: i64,
}

impl Shop {
    fn new() -> Self {
        Self { random: fastrand::Rng::with_seed(7), now_ms: 1_790_000_000_000 }
    }

    /// The next event. Of a hundred 62 are about zones, 9 begin or end a visit, 25 are measurements,
    /// and 4 what the gateway says of itself.
    fn next(&mut self) -> Entry {
        self.now_ms += self.random.i64(20..180);
        let body = match self.random.u8(0..100) {
            0..25 => self.presence(|shop| Change::ZoneEntered {
                zone: shop.zone(),
                reason: "louder".to_owned(),
                confidence: shop.random.f32(),
            }),
            25..50 => self.presence(|shop| Change::ZoneExited {
                zone: shop.zone(),
                reason: "moved".to_owned(),
            }),
            50..62 => {
                self.presence(|shop| Change::ZoneDwelled { zone: shop.zone(), delay_ms: 30_000 })
            }
            62..67 => self.presence(|shop| Change::VisitStarted { receiver: shop.receiver() }),
            67..71 => self.presence(Self::ended),
            71..96 => self.measured(),
            _ => Body::RadioDeaf { receiver: self.receiver(), cause: "silence".to_owned() },
        };
        let unix_ms = self.now_ms;
        let uptime_us = (unix_ms - 1_789_990_000_000) * 1000;
        let record =
            Record { run: RunId(0x5eed_7f3a_19c4_e201), uptime_us, unix_ms, synced: true, body };
        let about = record.subject().map(|(subject, _)| Tag::of(subject));
        let (class, made) = (record.class(), Some(UnixTime::from_millis(unix_ms)));
        Entry { bytes: record.encode(), made, about, class }
    }

    fn presence(&mut self, change: impl FnOnce(&mut Self) -> Change) -> Body {
        let who = self.random.u32(0..400);
        let zones = self.random.usize(0..6);
        let sensors = [("temperature_c", 21.4), ("humidity_percent", 48.25)].into_iter();
        let sensors =
            sensors.map(|(name, value)| (name.to_owned(), value, self.random.u64(0..60_000)));
        let sensors = sensors.collect();
        Body::Presence(Box::new(Presence {
            subject: format!("cust_{:08x}", who.wrapping_mul(2_654_435_761)),
            kind: "customer".to_owned(),
            purpose: "presence".to_owned(),
            proof: format!("consent-2026-{who:06}"),
            purposes: ["presence", "journey", "engagement"].map(str::to_owned).to_vec(),
            wide_window: false,
            visit: (1, 0x5eed_7f3a_19c4_e201, self.random.u64(1..5000)),
            begun_at: None,
            change: change(self),
            context: Context {
                dwell_ms: self.random.u64(0..600_000),
                visit_ms: self.random.u64(0..3_600_000),
                zones_visited: (0..zones).map(|_| self.zone()).collect(),
                zone_occupancy: self.random.u32(0..20),
                staff_in_zone: self.random.u32(0..3),
                sensors,
            },
        }))
    }

    fn ended(&mut self) -> Change {
        let zones: Vec<String> = (0..4).map(|_| self.zone()).collect();
        let path =
            (0..8).map(|n| (n % 4, self.random.u64(0..3_600_000), self.random.u64(0..3_600_000)));
        Change::VisitEnded(Box::new(VisitSummary {
            reason: "silent".to_owned(),
            zones,
            path: path.collect(),
            dwell: (0..4).map(|n| (n, self.random.u64(0..900_000))).collect(),
            path_cut: false,
            first_receiver: self.receiver(),
            last_receiver: self.receiver(),
            sightings: self.random.u32(10..4000),
            mean_rssi: Some(-60.0 - self.random.f32() * 20.0),
            longest_gap_ms: self.random.u64(0..60_000),
        }))
    }

    fn measured(&mut self) -> Body {
        let tenths =
            |random: &mut fastrand::Rng, from: i32, to: i32| f64::from(random.i32(from..to)) / 10.0;
        let readings = vec![
            ("temperature_c".to_owned(), 0, tenths(&mut self.random, 150, 260)),
            ("humidity_percent".to_owned(), 0, tenths(&mut self.random, 300, 700)),
            ("battery_v".to_owned(), 0, 2.9),
        ];
        let fixture = format!("fridge-{}", self.random.u8(1..12));
        Body::Measured { fixture, zone: Some(self.zone()), readings }
    }

    fn zone(&mut self) -> String {
        let zones =
            ["entrance", "dairy", "wine", "bakery", "checkout", "frozen", "fruit", "service"];
        self.random.choice(zones).unwrap_or_default().to_owned()
    }

    fn receiver(&mut self) -> String {
        format!("ceiling-{}", self.random.u8(1..9))
    }
}

/// A figure of this process by `proc(5)`, from a file whose lines are names and numbers.
fn figure(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).expect("a system with /proc");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

fn peak_kib() -> u64 {
    figure("/proc/self/status", "VmHWM:")
}

fn written() -> u64 {
    figure("/proc/self/io", "write_bytes:")
}

/// How much room a directory takes, in KiB.
fn room_kib(directory: &Path) -> u64 {
    let entries =
        fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    let sizes = entries.map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            room_kib(&path)
        } else {
            entry.metadata().map_or(0, |it| it.len() / 1024)
        }
    });
    sizes.sum()
}

/// Measures one row of the table, in this process.
fn measure(what: &str, directory: &Path) -> String {
    let records = env::var("OUTBOX_RECORDS").ok().and_then(|text| text.parse().ok());
    let records: u64 = records.unwrap_or(1_000_000);
    let clock = Clock::start();
    match what {
        "fill" => {
            let mut journal = open(directory);
            let mut shop = Shop::new();
            let mut bytes = 0;
            for n in 1..=records {
                let entry = shop.next();
                bytes += entry.bytes.len();
                journal.append(entry, None).expect("a small record");
                if n % COMMIT == 0 {
                    journal.sync().expect("a working disk");
                }
            }
            journal.sync().expect("a working disk");
            let mean = bytes / usize::try_from(records.max(1)).unwrap_or(1);
            let (memory, rate) =
                (mib(peak_kib()), records / clock.now().since(Uptime::ZERO).as_secs().max(1));
            let room = mib(room_kib(directory));
            row(&format!("room for {records} records of {mean} B"), room, "MiB", 286.1)
                + &row("memory while they came in", memory, "MiB", 64.0)
                + &format!("{:<44} {rate:>10} records/s\n", "taken in")
        }
        "open" => {
            let mut journal = open(directory);
            let took = clock.now().since(Uptime::ZERO).as_secs_f64();
            let oldest = fetch(&mut journal, None).len();
            assert!(oldest > 0, "the backlog is there");
            row("opened again", took, "s", 2.0)
                + &row("memory when open", mib(figure("/proc/self/status", "VmRSS:")), "MiB", 64.0)
                + &row("memory at its peak, with reading", mib(peak_kib()), "MiB", 64.0)
        }
        "drain" => {
            let mut journal = open(directory);
            let begun = clock.now();
            drain_all(&mut journal);
            let rate = records / clock.now().since(begun).as_secs().max(1);
            row("memory while all were sent", mib(peak_kib()), "MiB", 64.0)
                + &format!("{:<44} {rate:>10} records/s\n", "read and removed")
                + &format!(
                    "{:<44} {:>10.1} MiB\n",
                    "room when all were sent",
                    mib(room_kib(directory))
                )
        }
        interval => {
            let interval: u64 = interval.parse().expect("an interval");
            let each = RATE * interval;
            let mut journal = open(directory);
            let mut shop = Shop::new();
            let mut before = (0, 0.0);
            for commit in 1..=COMMITS + HELD / each {
                if commit == HELD / each {
                    before = (written(), cpu_s());
                }
                for _ in 0..each {
                    journal.append(shop.next(), None).expect("a small record");
                }
                let last = commit * each;
                // The broker has those of the commit before, and the oldest expire.
                for sequence in last.saturating_sub(2 * each)..last.saturating_sub(each) {
                    journal.stand(Sequence(sequence), Standing::Acknowledged).expect("a record");
                }
                for sequence in last.saturating_sub(HELD + each)..last.saturating_sub(HELD) {
                    journal.remove(Sequence(sequence)).expect("a record");
                }
                journal.sync().expect("a working disk");
            }
            let events = COMMITS * each;
            let each = mib((written() - before.0) / events) * 1024.0;
            let cpu = (cpu_s() - before.1) * 1e6 / f64::from(u32::try_from(events).unwrap_or(1));
            row(&format!("written an event, {RATE}/s, commits of {interval} s"), each, "B", 1536.0)
                + &format!("{:<44} {cpu:>10.0} µs\n", "  processor an event")
        }
    }
}

/// The processor time of this process, in seconds.
fn cpu_s() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").expect("a system with /proc");
    // Behind the name, which may have spaces: state is the third field, user and system time the
    // 14th and 15th, in ticks of a hundredth of a second.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<u32>().ok());
    f64::from(ticks.sum::<u32>()) / 100.0
}

fn row(what: &str, found: f64, unit: &str, most: f64) -> String {
    let verdict = if found <= most { "ok" } else { "TOO MUCH" };
    format!("{what:<44} {found:>10.2} {unit:<4} of {most:>8.1}  {verdict}\n")
}

/// What tells a process that it is to measure one row, and where.
const ROW: &str = "OUTBOX_ROW";
const WHERE: &str = "OUTBOX_WHERE";

fn table() {
    let backlog = tempfile::tempdir().expect("a temporary directory");
    let print = |text: &str| {
        std::io::stdout().write_all(text.as_bytes()).expect("somebody reads");
    };
    for what in ["fill", "open", "drain"] {
        print(&in_a_process(what, backlog.path()));
    }
    for interval in INTERVALS {
        let directory: TempDir = tempfile::tempdir().expect("a temporary directory");
        print(&in_a_process(&interval.to_string(), directory.path()));
    }
}

fn in_a_process(what: &str, directory: &Path) -> String {
    let program = env::current_exe().expect("the program's own path");
    let output = Command::new(program).env(ROW, what).env(WHERE, directory).output();
    let output = output.expect("this program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

criterion_group!(benches, append_and_sync, drain);

fn main() {
    // Of this program.
    if let (Some(what), Some(directory)) = (env::var(ROW).ok(), env::var_os(WHERE)) {
        let measured = measure(&what, Path::new(&directory));
        std::io::stdout().write_all(measured.as_bytes()).expect("somebody reads");
        return;
    }
    // `cargo test` runs benches once, to see that they run; a million records are not for that.
    if env::args().any(|argument| argument == "--bench") {
        table();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}

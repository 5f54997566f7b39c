//! Recognising members whose identifiers change, with few and with many of them:
//! `cargo bench --bench identity`.
//!
//! - Keys tried a second, against a bare AES loop over as many keys in the same run. The `aes` crate
//!   chooses its backend when it starts; to measure the one for processors without AES instructions
//!   (a Raspberry Pi 4 is one) on a machine that has them:
//!   `RUSTFLAGS='--cfg aes_force_soft' cargo bench --bench identity --target-dir target/soft`.
//! - Members that were never there: 10,000 keys, 20,000 strangers' addresses a day, with one match
//!   and with two. `DAYS=30` plays more days than two.
//! - 1,000 members and 100,000, each in a process of its own: what is resident, how long it takes to
//!   load them and to begin a new rotation, and what one advertisement costs. Of the members, 70 %
//!   have an Eddystone-EID beacon, 20 % a static address, 10 % an identity resolving key.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set its stage up has failed")]
#![expect(clippy::print_stdout, reason = "the tables are the result")]
#![expect(clippy::cast_precision_loss, reason = "rates for people")]

use std::{
    env, fmt::Write as _, fs, hint::black_box, path::Path, process::Command, time::Duration,
};

use aes::{
    Aes128Enc, Block,
    cipher::{BlockEncrypt, KeyInit},
};
use beacon_gateway::{
    chance::Rng,
    clock::Clock,
    engine::{
        AddressKind, AddressSeed, Advertisement, ClockQuality, DeviceAddress, Engine, Identifier,
        Identity, IdentitySettings, Key, PresenceSettings, Pseudonym, ReceiverId, Registry, Rssi,
        Subject, SubjectKind, UnixTime, Uptime, VisitId, WallClock, Zone, ZoneId,
    },
    registry,
};
use criterion::{Criterion, Throughput};
use nix::time::{ClockId, clock_gettime};

const KEYS: u32 = 10_000;
/// Strangers' addresses a day.
const STRANGERS: u32 = 20_000;
const ROUNDS: usize = 9;
/// Addresses that are looked for together in one round.
const TOGETHER: u32 = 50;
const ROTATION: u8 = 10;
/// The argument with which this program starts itself, before the file of members.
const MEASURE: &str = "--measure-members";
/// 2026-09-21, on the edge of a rotation of 1,024 seconds.
const BEGIN_MS: i64 = 1_790_000_128_000 / 1_024_000 * 1_024_000;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let [_, flag, file] = arguments.as_slice()
        && flag == MEASURE
    {
        return measure_members(Path::new(file));
    }
    // `cargo test --all-targets` starts this as well, and then asks for no measurement.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    group(&mut criterion);
    criterion.final_summary();
    checks_a_second();
    false_recognitions();
    few_and_many_members();
}

// === keys tried a second ===

fn group(criterion: &mut Criterion) {
    let keys = schedules();
    let mut group = criterion.benchmark_group("irk");
    group.sample_size(20);
    group.throughput(Throughput::Elements(u64::from(KEYS)));
    group.bench_function("bare AES, one block a key", |bench| bench.iter(|| bare::<1>(&keys)));
    group.throughput(Throughput::Elements(u64::from(KEYS) * 8));
    group.bench_function("bare AES, eight blocks a key", |bench| bench.iter(|| bare::<8>(&keys)));
    for together in [1, TOGETHER] {
        let (mut engine, mut strangers) =
            (many_keys(IdentitySettings::default()), Strangers(Rng::new(1)));
        group.throughput(Throughput::Elements(u64::from(KEYS * together)));
        group.bench_function(format!("resolver, {together} addresses together"), |bench| {
            bench.iter(|| engine.look_for(together, &mut strangers));
        });
    }
    group.finish();
}

/// The same, interleaved, so that whatever else the machine does meets both alike.
fn checks_a_second() {
    let keys = schedules();
    let (mut engine, mut strangers) =
        (many_keys(IdentitySettings::default()), Strangers(Rng::new(2)));
    let mut rates = [const { Vec::new() }; 4];
    // The processor's time and not the wall's, so that a machine with other work tells the same.
    let spent = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let timed = |work: &mut dyn FnMut() -> u64| {
        let begin = spent();
        let checks = work();
        checks as f64 / spent().saturating_sub(begin).as_secs_f64()
    };
    for _ in 0..ROUNDS {
        let round = [
            timed(&mut || (0..64).map(|_| bare::<1>(&keys)).sum()),
            timed(&mut || (0..64).map(|_| engine.look_for(1, &mut strangers)).sum()),
            timed(&mut || (0..64).map(|_| bare::<8>(&keys)).sum()),
            timed(&mut || (0..8).map(|_| engine.look_for(TOGETHER, &mut strangers)).sum()),
        ];
        for (rates, rate) in rates.iter_mut().zip(round) {
            rates.push(rate);
        }
    }
    let [one, alone, eight, together] = rates.map(median);
    println!("\nchecks a second, {KEYS} keys, AES {}, median of {ROUNDS} rounds", backend());
    println!("                              bare AES    resolver  ratio");
    for (what, bare, ours) in
        [("one address at a time", one, alone), ("eight at a time", eight, together)]
    {
        println!("{what:<24}  {bare:>12.0}  {ours:>10.0}  {:>4.0} %", 100.0 * ours / bare);
    }
}

fn backend() -> &'static str {
    let has_instructions = !cfg!(aes_force_soft) && has_aes();
    if has_instructions { "with instructions" } else { "without instructions" }
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

/// On other processors `aes` 0.8 uses none, unless it is built to.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86")))]
fn has_aes() -> bool {
    cfg!(aes_armv8)
}

fn schedules() -> Vec<Aes128Enc> {
    (0..KEYS).map(|n| Aes128Enc::new(&irk(n).into())).collect()
}

/// Every key once against `N` blocks, as a program would that does nothing else. Tells how many
/// blocks that were.
fn bare<const N: usize>(keys: &[Aes128Enc]) -> u64 {
    let mut sum = 0_u8;
    for key in keys {
        let mut blocks = black_box([Block::default(); N]);
        match blocks.as_mut_slice() {
            [alone] => key.encrypt_block(alone),
            several => key.encrypt_blocks(several),
        }
        sum ^= blocks.iter().fold(0, |sum, block| sum ^ block.as_slice().last().unwrap());
    }
    black_box(sum);
    (keys.len() * N) as u64
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

// === members that were never there ===

fn false_recognitions() {
    let days: u32 = env::var("DAYS").ok().and_then(|days| days.parse().ok()).unwrap_or(2);
    let settings = |irk_max_false_per_day| IdentitySettings {
        irk_max_false_per_day,
        ..IdentitySettings::default()
    };
    let mut engines = [many_keys(settings(1000.0)), many_keys(settings(0.1))];
    let mut strangers = Strangers(Rng::new(3));
    for _ in 0..days * STRANGERS / TOGETHER {
        let crowd: Vec<Advertisement> = (0..TOGETHER).map(|_| strangers.next()).collect();
        // Three advertisements of each, so that one that fits is heard again.
        for engine in &mut engines {
            for _ in 0..3 {
                engine.hear(&crowd);
            }
            engine.now = engine.now + Duration::from_hours(24) * TOGETHER / STRANGERS;
        }
    }
    println!(
        "\nfalse recognitions of {KEYS} members, {STRANGERS} strangers' addresses a day, {days} days"
    );
    let expected = f64::from(KEYS) * f64::from(STRANGERS) / 16_777_216.0;
    // Two strangers that fit one key within an hour.
    let pairs = f64::from(KEYS) * (f64::from(STRANGERS) / 16_777_216.0).powi(2) / 24.0;
    for (engine, (what, a_day)) in
        engines.iter().zip([("one match is enough", expected), ("a second must confirm", pairs)])
    {
        // Each fit is heard at least twice after it was found.
        let counts = engine.engine.counts();
        let visits = engine.visits;
        let expected = a_day * f64::from(days);
        println!(
            "{what:<24}  {visits:>4} visits, {expected:.3} expected  ({} checks)",
            counts.irk_checks
        );
    }
}

// === few members and many ===

fn few_and_many_members() {
    println!("\nmembers: 70 % Eddystone-EID, 20 % static addresses, 10 % identity resolving keys");
    let folder = env::temp_dir().join(format!("beacon-gateway-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for members in [0, 1000, 100_000] {
        let file = folder.join(format!("{members}.jsonl"));
        let text = (0..members).fold(String::new(), |mut text, n| {
            writeln!(text, "{}", line(n)).unwrap();
            text
        });
        fs::write(&file, text).unwrap();
        let program = env::current_exe().unwrap();
        let child = Command::new(program).arg(MEASURE).arg(&file).status().unwrap();
        assert!(child.success());
    }
    fs::remove_dir_all(folder).unwrap();
}

/// A member as the registry file has it.
fn line(n: u32) -> String {
    let identifier = match n % 10 {
        0..7 => format!(
            r#"{{"eddystone_eid":{{"identity_key":"{}","rotation_exponent":{ROTATION}}}}}"#,
            hex::encode(eid_key(n))
        ),
        7..9 => format!(
            r#"{{"address":"{}"}}"#,
            hex::encode_upper(static_address(n))
                .as_bytes()
                .chunks(2)
                .map(|pair| std::str::from_utf8(pair).unwrap())
                .collect::<Vec<_>>()
                .join(":")
        ),
        _ => format!(r#"{{"irk":"{}"}}"#, hex::encode(irk(n))),
    };
    format!(
        r#"{{"subject":"cust_{n:06}","kind":"customer","identifiers":[{identifier}],"consent":{{"purposes":["presence","journey"],"from":"2026-01-01T00:00:00Z","until":"2027-01-01T00:00:00Z","proof":"form-{n:06}"}}}}"#
    )
}

/// Runs in a process of its own: loads the members and prints what they cost.
fn measure_members(file: &Path) {
    let clock = Clock::start();
    let bare = memory("VmRSS");
    let timed = |begin: Uptime| clock.now().since(begin);

    let begin = clock.now();
    let subjects = registry::read(file).unwrap();
    let (members, read) = (subjects.len(), timed(begin));
    let begin = clock.now();
    let registry = Registry::new(subjects, Vec::new()).unwrap();
    let checked = timed(begin);
    let begin = clock.now();
    let mut engine = Shop::new(registry, IdentitySettings::default());
    let built = timed(begin);

    // The first advertisement with a rotating identifier fills the tables, the first after an edge
    // brings them up to date.
    let stranger_eid =
        vec![3, 0x03, 0xaa, 0xfe, 13, 0x16, 0xaa, 0xfe, 0x30, 0xee, 1, 2, 3, 4, 5, 6, 7, 8];
    let eid = |n: u32| heard([0xc9, 0, 0, 0, 0, low(n)], &stranger_eid);
    let roll = |engine: &mut Shop, later: u64| {
        engine.now = engine.now + Duration::from_secs(later);
        let begin = clock.now();
        engine.hear(&[eid(1)]);
        timed(begin)
    };
    let first = roll(&mut engine, 0);
    let rolled = (0..5).map(|_| roll(&mut engine, 1024)).max().unwrap();

    let cost = |engine: &mut Shop, what: &[Advertisement]| {
        engine.hear(what);
        let begin = clock.now();
        for _ in 0..2000 {
            engine.now = engine.now + Duration::from_micros(500);
            for advertisement in what {
                engine.engine.handle_advertisement(engine.now, black_box(advertisement));
            }
            engine.drain();
        }
        timed(begin).as_nanos() as f64 / 2000.0 / what.len() as f64
    };
    let present: Vec<_> = (0..100).map(|n| heard(static_address(n * 10 + 7), &[2, 1, 6])).collect();
    let beacons: Vec<_> =
        (0..100).map(|n| heard([0xc9, 0, 0, 0, 1, low(n)], &ibeacon(n))).collect();
    let eids: Vec<_> = (0..100).map(eid).collect();
    let mut strangers = Strangers(Rng::new(4));
    let phones: Vec<_> = (0..32).map(|_| strangers.next()).collect();
    let costs = [&present, &beacons, &eids, &phones].map(|what| cost(&mut engine, what));

    let subjects = engine.engine.counts().subject;
    let (now, peak) = (memory("VmRSS"), memory("VmHWM"));
    println!("\n{members} members ({subjects} sightings of members)");
    println!(
        "  resident           {:>9.1} MB, {:.1} MB more than before, {:.1} MB at the most",
        now,
        now - bare,
        peak
    );
    println!("  read the file      {:>9.1} ms", millis(read));
    println!("  check it           {:>9.1} ms", millis(checked));
    println!(
        "  build the tables   {:>9.1} ms, and {:.1} ms with the first rotating identifier",
        millis(built),
        millis(first)
    );
    println!("  begin a rotation   {:>9.1} ms", millis(rolled));
    let names = [
        "member, static address",
        "stranger, iBeacon",
        "stranger, Eddystone-EID",
        "stranger, rotating address",
    ];
    for (name, cost) in names.iter().zip(costs) {
        println!("  {name:<26} {cost:>6.0} ns an advertisement");
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A line of `/proc/self/status`, in MB of 1,000,000 octets.
fn memory(what: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024.0 / 1e6
}

// === what is enrolled and what is heard ===

/// An engine and its time.
struct Shop {
    engine: Engine,
    now: Uptime,
    visits: u64,
}

impl Shop {
    fn new(registry: Registry, settings: IdentitySettings) -> Self {
        let identity = Identity::new(registry, settings, AddressSeed::new(1));
        let seconds = Duration::from_secs;
        let presence = PresenceSettings {
            receivers: vec![ReceiverId::default()],
            zones: vec![Zone {
                id: ZoneId::new("shop"),
                enter_rssi: -75.0,
                exit_rssi: -85.0,
                loitering: vec![],
                receivers: vec![],
            }],
            smoothing: seconds(3),
            exit_delay: seconds(10),
            exit_timeout: seconds(30),
            exit_timeout_max: seconds(600),
            exit_after_missed: 6,
            checkpoint_interval: seconds(60),
            resume_within: seconds(300),
            ..PresenceSettings::default()
        };
        let mut engine = Engine::new(identity, presence, VisitId { epoch: 1, run: 0, number: 1 });
        engine.handle_clock(WallClock {
            at: Uptime::ZERO,
            unix: UnixTime::from_millis(BEGIN_MS),
            quality: ClockQuality::Synced,
        });
        engine.handle_recording(Uptime::ZERO);
        Self { engine, now: Uptime::ZERO, visits: 0 }
    }

    /// Takes in advertisements, and does what the engine then asks time for soon.
    fn hear(&mut self, all: &[Advertisement]) {
        for advertisement in all {
            self.engine.handle_advertisement(self.now, black_box(advertisement));
        }
        let until = self.now + Duration::from_secs(2);
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due < until) {
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now);
        }
        self.drain();
    }

    /// Has new addresses looked for. Tells how many checks that were.
    fn look_for(&mut self, together: u32, strangers: &mut Strangers) -> u64 {
        let before = self.engine.counts().irk_checks;
        let crowd: Vec<_> = (0..together).map(|_| strangers.next()).collect();
        self.hear(&crowd);
        self.engine.counts().irk_checks - before
    }

    fn drain(&mut self) {
        while let Some(situation) = self.engine.poll_event() {
            if let beacon_gateway::engine::What::Presence(it) = &situation.what {
                let started = beacon_gateway::engine::TransitionKind::VisitStarted;
                self.visits += u64::from(it.change == started);
            }
        }
        while let Some(checkpoint) = self.engine.poll_checkpoint() {
            black_box(checkpoint);
        }
    }
}

/// A shop of members with identity resolving keys. The allowance is the default's: it is one of the
/// engine's time, which passes here as fast as the work is done.
fn many_keys(settings: IdentitySettings) -> Shop {
    let subjects = (0..KEYS).map(|n| Subject {
        pseudonym: Pseudonym::new(&format!("cust_{n:05}")),
        kind: SubjectKind::Asset,
        identifiers: vec![Identifier::Irk(Key::new(irk(n)))],
        consent: None,
    });
    Shop::new(Registry::new(subjects.collect(), Vec::new()).unwrap(), settings)
}

/// Phones that nobody has enrolled, each with an address that is random all through.
struct Strangers(Rng);

impl Strangers {
    fn next(&mut self) -> Advertisement {
        let [_, _, first, octets @ ..] = self.0.bits().to_be_bytes();
        let [p1, p0, h2, h1, h0] = octets;
        heard([0x40 | first & 0x3f, p1, p0, h2, h1, h0], &[2, 1, 6])
    }
}

fn heard(octets: [u8; 6], data: &[u8]) -> Advertisement {
    let address = DeviceAddress::new(octets, AddressKind::Random);
    let rssi = Some(Rssi(-60));
    Advertisement::new(Uptime::ZERO, ReceiverId::default(), address, rssi, data)
}

fn ibeacon(n: u32) -> Vec<u8> {
    let mut data = vec![2, 1, 6, 26, 0xff, 0x4c, 0x00, 0x02, 0x15];
    data.extend([0xab; 16]);
    data.extend(n.to_be_bytes());
    data.push(0xc5);
    data
}

fn irk(n: u32) -> [u8; 16] {
    (u128::from(Rng::new(u64::from(n)).bits()) << 64 | 1).to_be_bytes()
}

fn eid_key(n: u32) -> [u8; 16] {
    (u128::from(Rng::new(u64::from(n)).bits()) << 64 | 2).to_be_bytes()
}

fn static_address(n: u32) -> [u8; 6] {
    let [high @ .., low] = n.to_be_bytes();
    let [a, b, c] = high;
    [0xc0, 0x11, a, b, c, low]
}

/// The last octet of a number.
fn low(n: u32) -> u8 {
    let [.., low] = n.to_be_bytes();
    low
}

//! The whole engine, per advertisement, with nobody, 1,000 and 10,000 subjects enrolled.
//!
//! The traffic is a shop's: 60 % strangers of many kinds (half of them with rotating addresses that
//! every identity resolving key has to be tried against once), 30 % enrolled subjects, 10 % sensors.
//! Of the subjects, 70 % have an iBeacon, 10 % an Eddystone-UID, 10 % a static address, 10 % an IRK.
//! Reference in the same run: decoding alone.
//!
//! And a second of a shop with a floor plan: 300 subjects, 12 receivers, each hearing everybody five
//! times; a core's share is the time over a second.

#![expect(clippy::print_stdout, reason = "memory is a result of a bench")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up should stop")]
#![allow(missing_docs, reason = "criterion's macros make public items without any")]
#![expect(clippy::many_single_char_names, reason = "the octets of a number have no better names")]

use std::{hint::black_box, time::Duration};

use beacon_gateway::engine::{
    AddressKind, AddressSeed, Advertisement, ClockQuality, DeviceAddress, Engine, Fixture,
    Identifier, Identity, IdentitySettings, Key, PresenceFloor, PresenceSettings, Pseudonym,
    ReceiverId, Registry, ReportPolicy, Rssi, Subject, SubjectKind, UnixTime, Uptime, VisitId,
    WallClock, Zone, ZoneId, frame,
    place::{
        Extent, FloorPlan, FloorReceiver, FloorZone, PathLoss, Point, Polygon, Shape, ZoneKind,
    },
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const ADVERTISEMENTS: u32 = 20_000;

fn shop_zone() -> Zone {
    Zone {
        id: ZoneId::new("shop"),
        enter_rssi: -75.0,
        exit_rssi: -85.0,
        loitering: vec![Duration::from_mins(1), Duration::from_mins(5)],
        receivers: vec![],
    }
}

fn presence() -> PresenceSettings {
    let seconds = Duration::from_secs;
    PresenceSettings {
        receivers: Vec::new(),
        zones: vec![shop_zone()],
        smoothing: seconds(3),
        exit_delay: seconds(10),
        exit_timeout: seconds(30),
        exit_timeout_max: seconds(600),
        exit_after_missed: 6,
        checkpoint_interval: seconds(60),
        resume_within: seconds(300),
        ..PresenceSettings::default()
    }
}

fn engine(subjects: u32) -> Engine {
    engine_with(subjects, presence())
}

fn engine_with(subjects: u32, presence: PresenceSettings) -> Engine {
    let subjects = (0..subjects).map(|n| Subject {
        pseudonym: Pseudonym::new(&format!("cust_{n:05}")),
        kind: SubjectKind::Asset,
        identifiers: vec![identifier(n)],
        consent: None,
    });
    let fixture = Fixture {
        id: "fridge".to_owned(),
        zone: Some(ZoneId::new("shop")),
        hangs: None,
        identifier: Identifier::Address([0xca; 6]).into(),
        key: None,
        canary: false,
        report: ReportPolicy::default(),
    };
    let registry = Registry::new(subjects.collect(), vec![fixture]).unwrap();
    let identity = Identity::new(registry, IdentitySettings::default(), AddressSeed::new(1));
    let mut engine = Engine::new(identity, presence, VisitId { epoch: 1, run: 0, number: 1 });
    engine.handle_clock(WallClock {
        at: Uptime::ZERO,
        unix: UnixTime::from_millis(1_790_000_000_000),
        quality: ClockQuality::Synced,
    });
    engine.handle_recording(Uptime::ZERO);
    engine
}

fn identifier(n: u32) -> Identifier {
    let [a, b, c, d] = n.to_be_bytes();
    match n % 10 {
        0 => Identifier::Irk(Key::new([a, b, c, d, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])),
        1 => Identifier::Address([0xc0, 1, a, b, c, d]),
        2 => Identifier::EddystoneUid { namespace: [7; 10], instance: [0, 0, a, b, c, d] },
        _ => Identifier::IBeacon { proximity_uuid: [0xab; 16], major: 1, minor: low(n) },
    }
}

fn low(n: u32) -> u16 {
    u16::try_from(n & 0xffff).unwrap()
}

/// 20,000 advertisements in about seven seconds of shop time.
fn traffic(subjects: u32) -> Vec<Advertisement> {
    let receiver = ReceiverId::default();
    (0..ADVERTISEMENTS)
        .map(|n| {
            let spread = n.wrapping_mul(2_654_435_761);
            let who = (spread >> 8) % subjects.max(1);
            let (data, octets, kind) = match spread % 10 {
                0 => (ruuvi(), [0xca; 6], AddressKind::Random),
                1..=3 => of_subject(who),
                4..=6 => {
                    // A stranger's phone; each address is heard about ten times.
                    let [_, b, c, d] = (n / 10).to_be_bytes();
                    let address = [0x40 | (b & 0x3f), c, d, d, c, b];
                    (vec![2, 1, 6, 5, 0xff, 0x4c, 0, 0x10, 0x05], address, AddressKind::Random)
                }
                7 => (ibeacon([0xcd; 16], 9), [0xc1; 6], AddressKind::Random),
                8 => (vec![2, 1, 6, 5, 9, b'T', b'V', b'-', b'1'], [0x10; 6], AddressKind::Public),
                _ => (eddystone(99), [0xc2; 6], AddressKind::Random),
            };
            let dbm = -90 + i8::try_from(spread >> 16 & 31).unwrap();
            Advertisement::new(
                Uptime::from_micros(i64::from(n) * 350),
                receiver.clone(),
                DeviceAddress::new(octets, kind),
                Some(Rssi(dbm)),
                &data,
            )
        })
        .collect()
}

fn of_subject(n: u32) -> (Vec<u8>, [u8; 6], AddressKind) {
    let [a, b, c, d] = n.to_be_bytes();
    let random = AddressKind::Random;
    match identifier(n) {
        Identifier::Address(octets) => (vec![2, 1, 6], octets, random),
        Identifier::EddystoneUid { .. } => (eddystone(n), [0xc3, 0, a, b, c, d], random),
        Identifier::IBeacon { .. } => (ibeacon([0xab; 16], low(n)), [0xc4, 0, a, b, c, d], random),
        _ => (vec![2, 1, 6], [0x41, a, b, c, d, 0], random),
    }
}

fn ibeacon(uuid: [u8; 16], minor: u16) -> Vec<u8> {
    let mut data = vec![2, 1, 6, 26, 0xff, 0x4c, 0x00, 0x02, 0x15];
    data.extend(uuid);
    data.extend(1_u16.to_be_bytes());
    data.extend(minor.to_be_bytes());
    data.push(0xc5);
    data
}

fn eddystone(n: u32) -> Vec<u8> {
    let mut data = vec![2, 1, 6, 3, 3, 0xaa, 0xfe, 21, 0x16, 0xaa, 0xfe, 0x00, 0xee];
    data.extend([7; 10]);
    data.extend([0, 0]);
    data.extend(n.to_be_bytes());
    data
}

fn ruuvi() -> Vec<u8> {
    hex::decode("0201061bff99040512fc5394c37c0004fffc040cac364200cdcbb8334c884f").unwrap()
}

/// 30 m by 20 m, twelve zones with a receiver each.
fn plan() -> PresenceSettings {
    let mut plan = FloorPlan::default();
    for number in 0..12_u8 {
        let (row, column) = (number / 4, number % 4);
        let least = Point::new(f32::from(column) * 7.5, f32::from(row) * 20.0 / 3.0);
        let most = Point::new(least.x + 7.5, least.y + 20.0 / 3.0);
        let shape = Shape::Polygon(Polygon::rectangle(Extent { least, most }).unwrap());
        plan.zones.push(FloorZone { kind: ZoneKind::Shelf, shape });
        plan.receivers.push(FloorReceiver {
            id: ReceiverId::new(&format!("r{number}")),
            position: Some(Point::new(least.x + 3.0, least.y + 4.0)),
            height: 2.5,
            offset_db: 0.0,
            offset_error_db: None,
            path_loss: PathLoss::default(),
        });
    }
    // Nobody is more than six metres from a receiver, and all of them are to be followed.
    let zone = |number: usize| Zone {
        id: ZoneId::new(&format!("z{number}")),
        enter_rssi: -85.0,
        exit_rssi: -90.0,
        ..shop_zone()
    };
    PresenceSettings {
        zones: (0..12).map(zone).collect(),
        receivers: plan.receivers.iter().map(|receiver| receiver.id.clone()).collect(),
        floor: Some(PresenceFloor { plan, zones: (0..12).map(Some).collect() }),
        left_behind_after: Duration::from_hours(4),
        merge_gap: Duration::from_mins(2),
        ..presence()
    }
}

/// A second of the shop: everybody is on a round through it, each elsewhere.
fn second_on_plan(engine: &mut Engine, receivers: &[FloorReceiver], second: u32) {
    const SUBJECTS: u32 = 300;
    let real = |number: u32| f32::from(u16::try_from(number % 60_000).unwrap());
    for fifth in 0..5_u32 {
        let at = Uptime::ZERO + Duration::from_millis(u64::from(second * 1000 + fifth * 200));
        if let Some(due) = engine.poll_timeout().filter(|due| *due <= at) {
            engine.handle_timeout(due);
        }
        for subject in 0..SUBJECTS {
            let turn = real(subject) * 0.37 + real(second) * 0.05;
            let place = Point::new(15.0 + 12.0 * turn.cos(), 10.0 + 8.0 * (turn * 0.7).sin());
            // Those that have an iBeacon are three of ten and more.
            let (data, octets, kind) = of_subject(subject * 10 + 3 + subject % 7);
            let address = DeviceAddress::new(octets, kind);
            for (number, receiver) in (0_u32..).zip(receivers) {
                let distance = receiver.position.unwrap().distance(place).hypot(1.3);
                let ripple = real((fifth * 7 + number * 5) % 9);
                #[expect(clippy::cast_possible_truncation, reason = "within what a radio reports")]
                let dbm = (-63.0 - 18.0 * distance.log10() - ripple) as i8;
                let id = receiver.id.clone();
                let heard = Advertisement::new(at, id, address, Some(Rssi(dbm)), &data);
                engine.handle_advertisement(at, black_box(&heard));
            }
        }
        while let Some(situation) = engine.poll_event() {
            black_box(situation);
        }
        while let Some(checkpoint) = engine.poll_checkpoint() {
            black_box(checkpoint);
        }
    }
}

/// The memory that this process has, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn on_plan(criterion: &mut Criterion) {
    let settings = plan();
    let receivers = settings.floor.as_ref().unwrap().plan.receivers.clone();
    let mut engine = engine_with(3000, settings);
    let alone = resident_kib();
    let mut second = 0;
    for _ in 0..60 {
        second_on_plan(&mut engine, &receivers, second);
        second += 1;
    }
    assert_eq!(engine.visits_open(), 300);
    let people = resident_kib().saturating_sub(alone);
    println!(
        "engine/300 subjects on a plan take {} MiB of memory, {} KiB each",
        people / 1024,
        people / 300
    );
    criterion.bench_function("engine/300 subjects on a plan, 12 receivers, 1 s", |bench| {
        bench.iter(|| {
            second_on_plan(&mut engine, &receivers, second);
            second += 1;
        });
    });
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(u64::from(ADVERTISEMENTS)));
    group.sample_size(20);
    let all = traffic(10_000);
    group.bench_function("decode alone", |bench| {
        bench.iter(|| {
            for advertisement in &all {
                drop(black_box(frame::decode(black_box(advertisement.data()))));
            }
        });
    });
    for subjects in [0, 1000, 10_000] {
        let all = traffic(subjects);
        group.bench_function(format!("{subjects} subjects"), |bench| {
            bench.iter_batched_ref(
                || {
                    // A shop that has been open for a while: the first minutes are over.
                    let mut engine = engine(subjects);
                    run(&mut engine, &all, 0);
                    engine
                },
                |engine| run(engine, &all, 8),
                BatchSize::PerIteration,
            );
        });
        let mut engine = engine(subjects);
        run(&mut engine, &all, 0);
        let counts = engine.counts();
        assert_eq!(counts.received, counts.malformed + counts.unknown + counts.decoded);
        assert_eq!(subjects > 0, counts.subject > 0);
    }
    group.finish();
}

fn run(engine: &mut Engine, all: &[Advertisement], later_s: u64) {
    for advertisement in all {
        let now = advertisement.heard + Duration::from_secs(later_s);
        engine.handle_advertisement(now, black_box(advertisement));
        while let Some(situation) = engine.poll_event() {
            black_box(situation);
        }
        while let Some(checkpoint) = engine.poll_checkpoint() {
            black_box(checkpoint);
        }
    }
}

criterion_group!(engine_benches, benches, on_plan);
criterion_main!(engine_benches);

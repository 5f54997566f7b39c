//! The simulated shop through the whole engine: exactly those who opted in are recognised, and
//! their visits are those that happened.

use std::{collections::BTreeMap, time::Duration};

use beacon_gateway::{
    engine::{
        AddressSeed, ClockQuality, Counts, Engine, Fixture, Identifier, Identity, IdentitySettings,
        PresenceSettings, Registry, ReportPolicy, Situation, TransitionKind, UnixTime, Uptime,
        VisitId, WallClock, What, Zone, ZoneId,
    },
    registry,
    scan::simulate::{Origin, Settings, Shop, Visit},
};

/// 2026-11-21T10:15:00Z.
const STARTED: UnixTime = UnixTime::from_millis(1_795_256_100_000);

fn shop(seed: u64) -> Shop {
    let length = Some(Duration::from_mins(2));
    Shop::new(seed, &Settings { started: STARTED, length, ..Settings::default() })
}

/// An engine with the shop's registry and fixtures, one zone for the whole shop, and exits as quick
/// as the simulated visits are short.
fn engine(shop: &Shop) -> Engine {
    let subjects = registry::parse(&shop.registry_jsonl()).unwrap();
    let fixtures = shop.fixtures().iter().map(|fixture| Fixture {
        id: fixture.id.to_string(),
        zone: None, hangs: None,
        identifier: Identifier::Address(fixture.address.octets()).into(),
        key: None,
        canary: false,
        report: ReportPolicy::default(),
    });
    let registry = Registry::new(subjects, fixtures.collect()).unwrap();
    let identity = Identity::new(registry, IdentitySettings::default(), AddressSeed::new(1));
    let zone = Zone {
        id: ZoneId::new("shop"),
        enter_rssi: -84.0,
        exit_rssi: -90.0,
        loitering: vec![],
        receivers: vec![],
    };
    let presence = PresenceSettings {
        receivers: Vec::new(),
        zones: vec![zone],
        smoothing: Duration::from_secs(2),
        exit_delay: Duration::from_secs(3),
        exit_timeout: Duration::from_secs(5),
        exit_timeout_max: Duration::from_secs(30),
        exit_after_missed: 6,
        checkpoint_interval: Duration::from_mins(1),
        resume_within: Duration::from_mins(5),
        ..PresenceSettings::default()
    };
    let mut engine = Engine::new(identity, presence, VisitId { epoch: 1, run: 0, number: 1 });
    let quality = ClockQuality::Synced;
    engine.handle_clock(WallClock { at: Uptime::ZERO, unix: STARTED, quality });
    engine
}

fn drain(engine: &mut Engine, made: &mut Vec<Situation>) {
    made.extend(std::iter::from_fn(|| engine.poll_event()));
}

/// Plays a shop to its end; `judge` sees each reception with what it added to the counts.
fn play(shop: &mut Shop, mut judge: impl FnMut(&Origin, Counts, Counts)) -> Vec<Situation> {
    let mut engine = engine(shop);
    let mut made = Vec::new();
    while let Some(reception) = shop.next_reception() {
        let now = reception.advertisement.heard;
        while let Some(at) = engine.poll_timeout().filter(|at| *at <= now) {
            engine.handle_timeout(at);
            drain(&mut engine, &mut made);
        }
        let before = engine.counts();
        engine.handle_advertisement(now, &reception.advertisement);
        judge(&reception.origin, before, engine.counts());
        drain(&mut engine, &mut made);
    }
    made
}

#[test]
fn every_advertisement_is_recognised_as_whose_it_is_and_no_other() {
    for seed in 0..5 {
        let mut recognised: BTreeMap<String, u64> = BTreeMap::new();
        let judge = |origin: &Origin, before: Counts, after: Counts| {
            let (subjects, fixtures) = match origin {
                // Enrolled, and the consent is over: a stranger.
                Origin::Subject(id) if **id == *"cust_past" => (0, 0),
                Origin::Subject(_) => (1, 0),
                Origin::Fixture(_) => (0, 1),
                Origin::Stranger => (0, 0),
            };
            assert_eq!(after.subject - before.subject, subjects, "seed {seed}: {origin:?}");
            assert_eq!(after.fixture - before.fixture, fixtures, "seed {seed}: {origin:?}");
            if let Origin::Subject(id) | Origin::Fixture(id) = origin {
                *recognised.entry(id.to_string()).or_default() += 1;
            }
        };
        play(&mut shop(seed), judge);
        assert_eq!(recognised.len(), 13, "seed {seed}: all were heard: {recognised:?}");
    }
}

#[test]
fn the_visits_that_are_reported_are_those_that_happened() {
    let mut checked = 0;
    for seed in 0..5 {
        let mut shop = shop(seed);
        let made = play(&mut shop, |_, _, _| {});
        let mut started: Vec<(String, Uptime)> = Vec::new();
        let mut ended: Vec<(String, Uptime)> = Vec::new();
        for situation in &made {
            let What::Presence(presence) = &situation.what else { continue };
            let entry = (presence.subject.to_string(), situation.at);
            match presence.change {
                TransitionKind::VisitStarted => started.push(entry),
                TransitionKind::VisitEnded(_) => ended.push(entry),
                _ => {}
            }
        }
        assert!(started.iter().all(|(subject, _)| subject != "cust_past"));
        let closes = Uptime::ZERO + Duration::from_secs(100);
        let whole = |visit: &&Visit| {
            visit.consented
                && Uptime::ZERO < visit.from
                && visit.until.is_some_and(|until| until < closes)
        };
        for visit in shop.truth().visits.iter().filter(whole) {
            let until = visit.until.unwrap();
            // A customer can be heard on the street, too; the way from its end to the door takes 10 s.
            let around = Duration::from_secs(12);
            let near = |events: &[(String, Uptime)], from: Uptime, until: Uptime| {
                events
                    .iter()
                    .any(|(subject, at)| **subject == *visit.subject && from <= *at && *at <= until)
            };
            let name = &visit.subject;
            let came = near(&started, visit.from - around, visit.from + around);
            assert!(came, "seed {seed}: {name} came at {:?}: {started:?}", visit.from);
            let left = near(&ended, until - around, until + around);
            assert!(left, "seed {seed}: {name} left at {until:?}: {ended:?}");
            checked += 1;
        }
    }
    assert!(30 < checked, "{checked} visits");
}

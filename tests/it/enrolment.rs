//! The registry changes while the shop is open; and recognition that takes more than one call.

use std::time::Duration;

use aes::cipher::{BlockEncrypt, KeyInit};
use beacon_gateway::engine::{
    AddressKind, AddressSeed, Advertisement, AmbiguousRegistry, ClockQuality, DeviceAddress,
    Engine, Enrolment, Fixture, Identifier, Identity, IdentitySettings, Key, PresenceSettings,
    PresenceSituation, Pseudonym, ReceiverId, Registry, ReportPolicy, Rssi, Situation, Subject,
    SubjectKind, TransitionKind, UnixTime, Uptime, VisitId, VisitRecord, WallClock, What, Zone,
    ZoneId,
};

fn s(seconds: u64) -> Uptime {
    Uptime::ZERO + Duration::from_secs(seconds)
}

fn engine(subjects: Vec<Subject>, settings: IdentitySettings) -> Engine {
    let fixture = Fixture {
        id: "fridge".to_owned(),
        zone: Some(ZoneId::new("shop")),
        hangs: None,
        identifier: static_address(0xff).into(),
        key: None,
        canary: false,
        report: ReportPolicy::default(),
    };
    let registry = Registry::new(subjects, vec![fixture]).unwrap();
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
        unix: UnixTime::from_millis(1_700_000_000_000),
        quality: ClockQuality::Synced,
    });
    engine.handle_recording(Uptime::ZERO);
    engine
}

fn shop(subjects: &[(&str, u8)]) -> Engine {
    let subjects = subjects.iter().map(|(name, n)| subject(name, static_address(*n))).collect();
    engine(subjects, IdentitySettings::default())
}

fn static_address(n: u8) -> Identifier {
    Identifier::Address([0xc0, 0, 0, 0, 0, n])
}

fn subject(name: &str, identifier: Identifier) -> Subject {
    // An asset needs no consent; it is counted as a customer only where it is one.
    Subject {
        pseudonym: Pseudonym::new(name),
        kind: SubjectKind::Asset,
        identifiers: vec![identifier],
        consent: None,
    }
}

fn heard(octets: [u8; 6]) -> Advertisement {
    let address = DeviceAddress::new(octets, AddressKind::Random);
    let rssi = Some(Rssi(-50));
    Advertisement::new(Uptime::ZERO, ReceiverId::default(), address, rssi, &[2, 1, 6])
}

fn hear(engine: &mut Engine, now: Uptime, n: u8) {
    engine.handle_advertisement(now, &heard([0xc0, 0, 0, 0, 0, n]));
}

fn events(engine: &mut Engine) -> Vec<PresenceSituation> {
    let all = std::iter::from_fn(|| engine.poll_event());
    let presence = |situation: Situation| match situation.what {
        What::Presence(presence) => Some(*presence),
        _ => None,
    };
    all.filter_map(presence).collect()
}

fn checkpoints(engine: &mut Engine) -> Vec<(String, Option<VisitRecord>)> {
    let all = std::iter::from_fn(|| engine.poll_checkpoint());
    all.map(|checkpoint| (checkpoint.subject.to_string(), checkpoint.visit)).collect()
}

fn withdraw(name: &str) -> Enrolment {
    Enrolment::Withdraw(Pseudonym::new(name))
}

#[test]
fn whoever_withdraws_is_gone_at_once_without_an_event_and_nobody_inherits_the_visit() {
    let mut engine = shop(&[("a", 1), ("b", 2)]);
    for n in [1, 2] {
        hear(&mut engine, s(0), n);
    }
    events(&mut engine);
    checkpoints(&mut engine);
    // The newcomer has the tag of the one who left, and the free place in the registry.
    let newcomer = Enrolment::Upsert(subject("c", static_address(1)));
    let changes = vec![withdraw("a"), withdraw("nobody"), newcomer];
    let report = engine.handle_enrolment(s(1), changes);
    assert_eq!((report.withdrawn, report.unknown, report.visits_closed), (1, 1, 1));
    assert_eq!((report.added, report.changed, report.refused.len()), (1, 0, 0));
    assert_eq!(checkpoints(&mut engine), [("a".to_owned(), None)]);
    assert_eq!((events(&mut engine), engine.visits_open()), (vec![], 1));
    hear(&mut engine, s(2), 1);
    engine.handle_timeout(s(3600));
    let told = events(&mut engine);
    let of = |name: &str| told.iter().filter(|it| it.subject.as_str() == name).collect::<Vec<_>>();
    assert!(of("a").is_empty());
    assert_eq!(of("b").len(), 2, "left the zone and the shop");
    let started = |it: &&&PresenceSituation| it.change == TransitionKind::VisitStarted;
    assert_eq!(of("c").iter().filter(started).count(), 1);
    assert!(of("c").iter().all(|it| it.visit.started == s(2)), "a visit of its own");
    assert_eq!(engine.visits_open(), 0);
}

#[test]
fn a_subject_with_another_tag_goes_on_with_its_visit() {
    let mut engine = shop(&[("a", 1)]);
    hear(&mut engine, s(0), 1);
    let visit = events(&mut engine)[0].visit.id;
    let change = Enrolment::Upsert(subject("a", static_address(2)));
    let report = engine.handle_enrolment(s(10), vec![change]);
    assert_eq!((report.added, report.changed, report.visits_closed), (0, 1, 0));
    let before = engine.counts();
    hear(&mut engine, s(11), 1);
    assert_eq!(engine.counts().subject, before.subject, "the old tag is a stranger's");
    hear(&mut engine, s(25), 2);
    engine.handle_timeout(s(50));
    assert_eq!(engine.visits_open(), 1);
    engine.handle_timeout(s(3600));
    let told = events(&mut engine);
    assert!(told.iter().all(|it| it.visit.id == visit && it.visit.last_seen == s(25)));
    assert_eq!(told.len(), 2);
}

#[test]
fn an_entry_that_collides_is_refused_alone_and_by_name() {
    let mut engine = shop(&[("a", 1), ("b", 2)]);
    hear(&mut engine, s(0), 2);
    events(&mut engine);
    let upsert = |name, n| Enrolment::Upsert(subject(name, static_address(n)));
    let changes = vec![upsert("b", 1), upsert("c", 0xff), upsert("d", 4)];
    let report = engine.handle_enrolment(s(1), changes);
    assert_eq!((report.added, report.changed), (1, 0));
    let refused: Vec<_> = report
        .refused
        .iter()
        .map(|refusal| match &refusal.why {
            AmbiguousRegistry::Identifier { first, second, kind } => {
                assert_eq!((refusal.subject.as_str(), *kind), (second.as_str(), "address"));
                (second.as_str(), first.as_str())
            }
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(refused, [("b", "a"), ("c", "fridge")]);
    let before = engine.counts();
    for n in [1, 2, 4] {
        hear(&mut engine, s(2), n);
    }
    hear(&mut engine, s(2), 0xff);
    let after = engine.counts();
    assert_eq!((after.subject - before.subject, after.fixture - before.fixture), (3, 1));
    let who: Vec<_> = events(&mut engine).iter().map(|it| it.subject.to_string()).collect();
    assert_eq!(who, ["a", "a", "d", "d"], "b is here already, and goes on");
}

#[test]
fn the_others_in_the_zone_are_counted_anew_when_somebody_withdraws() {
    let customer = |name, n| Subject {
        kind: SubjectKind::Customer,
        consent: Some(beacon_gateway::engine::Consent {
            purposes: beacon_gateway::engine::Purposes::ALL,
            from: UnixTime::default(),
            until: None,
            proof: "form-1".into(),
        }),
        ..subject(name, static_address(n))
    };
    let subjects = vec![customer("a", 1), customer("b", 2), customer("c", 3)];
    let mut engine = engine(subjects, IdentitySettings::default());
    hear(&mut engine, s(0), 1);
    hear(&mut engine, s(0), 2);
    engine.handle_enrolment(s(1), vec![withdraw("a")]);
    events(&mut engine);
    hear(&mut engine, s(2), 3);
    let entered = events(&mut engine).pop().unwrap();
    assert!(matches!(entered.change, TransitionKind::ZoneEntered { .. }));
    assert_eq!(entered.context.zone_occupancy, 2);
}

fn nth_key(n: u32) -> [u8; 16] {
    (u128::from(n) << 64 | 0x00d1_5ea5_e000_0000).to_be_bytes()
}

/// A resolvable address of the n-th phone.
fn phone(n: u32, random: u16) -> [u8; 6] {
    let [p1, p0] = random.to_be_bytes();
    let plain = u128::from(u32::from_be_bytes([0, 0x40, p1, p0]));
    let mut block = plain.to_be_bytes().into();
    aes::Aes128Enc::new(&nth_key(n).into()).encrypt_block(&mut block);
    let [.., h2, h1, h0] = <[u8; 16]>::from(block);
    [0x40, p1, p0, h2, h1, h0]
}

fn phones(count: u32, settings: IdentitySettings) -> Engine {
    let phone = |n| subject(&format!("p{n}"), Identifier::Irk(Key::new(nth_key(n))));
    engine((0..count).map(phone).collect(), settings)
}

/// Lets the engine do what it asks time for. Tells when it came to rest.
fn rest(engine: &mut Engine, now: Uptime) -> Uptime {
    let mut now = now;
    for _ in 0..10_000 {
        match engine.poll_timeout().filter(|due| *due <= now + Duration::from_secs(1)) {
            Some(due) => now = now.max(due),
            None => return now,
        }
        engine.handle_timeout(now);
    }
    panic!("the engine never came to rest");
}

#[test]
fn one_of_many_phones_is_recognised_a_moment_later_and_the_engine_asks_to_be_woken_for_it() {
    let trusting = IdentitySettings { irk_max_false_per_day: 1000.0, ..Default::default() };
    let mut engine = phones(5000, trusting);
    assert_eq!(engine.poll_timeout(), None);
    let address = phone(4321, 7);
    engine.handle_advertisement(s(10), &heard(address));
    assert_eq!((engine.counts().subject, engine.counts().irk_checks), (0, 0));
    let found = rest(&mut engine, s(10));
    assert!(found.since(s(10)) < Duration::from_millis(10), "{:?}", found.since(s(10)));
    assert_eq!((engine.counts().irk_checks, engine.counts().irk_untried), (5000, 0));
    engine.handle_advertisement(s(11), &heard(address));
    let told = events(&mut engine);
    assert!(told.len() == 2 && told.iter().all(|it| it.subject.as_str() == "p4321"));
    assert_eq!(engine.counts().irk_checks, 5000, "what is known costs nothing");
}

#[test]
fn a_provisional_recognition_is_silent_and_a_restart_does_not_doubt_whoever_was_there() {
    let mut engine = phones(5000, IdentitySettings::default());
    let hear = |engine: &mut Engine, at, random| {
        engine.handle_advertisement(at, &heard(phone(7, random)));
        let at = rest(engine, at);
        engine.handle_advertisement(at, &heard(phone(7, random)));
    };
    hear(&mut engine, s(0), 1);
    hear(&mut engine, s(60), 1);
    assert_eq!((events(&mut engine).len(), engine.counts().subject), (0, 0));
    assert!(checkpoints(&mut engine).is_empty());
    hear(&mut engine, s(900), 2);
    assert_eq!(events(&mut engine).len(), 2, "two addresses are no chance");
    engine.handle_stop(s(901));
    let (name, visit) = checkpoints(&mut engine).pop().unwrap();

    let mut after = phones(5000, IdentitySettings::default());
    let mut visit = visit.unwrap();
    let shift = Duration::from_secs(910);
    (visit.started, visit.last_seen) = (visit.started - shift, visit.last_seen - shift);
    let id = visit.id;
    after.handle_restored(s(0), vec![(Pseudonym::new(&name), visit)]);
    hear(&mut after, s(1), 2);
    after.handle_timeout(s(3600));
    let told = events(&mut after);
    assert_eq!(told.last().map(|it| (it.visit.id, it.visit.last_seen)), Some((id, s(1))));
}

#[test]
fn a_phone_that_withdraws_is_a_stranger_from_then_on_and_while_it_is_looked_for() {
    let trusting = IdentitySettings { irk_max_false_per_day: 1000.0, ..Default::default() };
    let mut engine = phones(5000, trusting);
    engine.handle_advertisement(s(0), &heard(phone(7, 1)));
    let now = rest(&mut engine, s(0));
    engine.handle_advertisement(now, &heard(phone(7, 1)));
    assert_eq!(engine.visits_open(), 1);
    // Another one is being looked for when both withdraw.
    engine.handle_advertisement(now, &heard(phone(8, 1)));
    let report = engine.handle_enrolment(now, vec![withdraw("p7"), withdraw("p8")]);
    assert_eq!((report.withdrawn, report.visits_closed), (2, 1));
    for address in [phone(7, 1), phone(7, 2), phone(8, 1), phone(8, 2)] {
        let now = rest(&mut engine, s(1));
        engine.handle_advertisement(now, &heard(address));
        rest(&mut engine, now);
        engine.handle_advertisement(now, &heard(address));
    }
    assert_eq!((engine.visits_open(), engine.counts().subject), (0, 1));
    let back = subject("p7", Identifier::Irk(Key::new(nth_key(7))));
    engine.handle_enrolment(s(2), vec![Enrolment::Upsert(back)]);
    engine.handle_advertisement(s(3), &heard(phone(7, 2)));
    let now = rest(&mut engine, s(3));
    engine.handle_advertisement(now, &heard(phone(7, 2)));
    assert_eq!(engine.counts().subject, 2, "whoever comes back is found");
}

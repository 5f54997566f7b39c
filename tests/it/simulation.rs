//! Plays made-up days in a shop against the engine, in virtual time, from a seed.
//!
//! The simulated shell is as unkind as the real one: timers come late, the radio goes deaf.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use beacon_gateway::{
    chance::Rng,
    engine::{
        AddressKind, AddressSeed, Advertisement, ClockQuality, Consent, DeafCause, DeviceAddress,
        Engine, ExitReason, Identifier, Identity, IdentitySettings, PresenceSettings, Pseudonym,
        Purpose, RadioState, ReceiverId, Registry, Rssi, Situation, Subject, SubjectKind,
        TransitionKind, UnixTime, Uptime, VisitId, WallClock, What, Zone, ZoneId,
    },
};

const SECOND: Duration = Duration::from_secs(1);
const EXIT_TIMEOUT: Duration = Duration::from_secs(30);
const LOITERING: [Duration; 2] = [Duration::from_mins(1), Duration::from_mins(5)];
const SUBJECTS: u16 = 4;

#[test]
fn visits_are_well_formed_whatever_the_radio_does() {
    for seed in 0..300 {
        let day = play(seed);
        check_form(seed, &day);
        assert!(day.iter().any(|it| change(it).is_some()), "seed {seed}: nothing happened");
    }
}

#[test]
fn the_same_seed_plays_the_same_day() {
    assert_eq!(play(7), play(7));
    assert_ne!(play(7), play(8));
}

#[test]
fn every_advertisement_is_accounted_for() {
    for seed in 0..50 {
        let mut shop = Shop::new(seed);
        shop.day();
        let counts = shop.engine.counts();
        assert_eq!(counts.received, counts.malformed + counts.unknown + counts.decoded);
        assert_eq!(counts.decoded, counts.subject + counts.fixture + counts.anonymous);
        assert_eq!(counts.received, shop.sent);
        assert_eq!(counts.situations, shop.trace.len() as u64);
        assert!(
            [counts.malformed, counts.unknown, counts.subject, counts.anonymous]
                .iter()
                .all(|&n| n > 0)
        );
    }
}

#[test]
fn a_late_timer_does_not_move_the_exit() {
    for late in [0, 1, 20, 3600] {
        let mut engine = engine();
        engine.handle_recording(Uptime::ZERO);
        engine.handle_advertisement(s(5), &ibeacon(0, -50));
        let deadline = engine.poll_timeout().unwrap();
        assert_eq!(deadline, s(5) + EXIT_TIMEOUT);
        engine.handle_timeout(deadline + SECOND * late);
        let exits: Vec<_> =
            drain(&mut engine).iter().filter(|it| is_exit(it)).map(|it| it.at).collect();
        assert_eq!(exits, [s(5), s(5)], "zone and visit, when last true");
    }
}

#[test]
fn nobody_leaves_while_nothing_at_all_is_heard() {
    let mut engine = engine();
    engine.handle_advertisement(s(0), &ibeacon(0, -50));
    assert_eq!(engine.poll_timeout(), None, "no timer can prove an absence");
    engine.handle_timeout(s(3600));
    assert!(drain(&mut engine).iter().all(|it| !is_exit(it)));
    // A stranger proves that the radio hears.
    engine.handle_advertisement(s(3601), &ibeacon(999, -90));
    assert_eq!(drain(&mut engine).iter().filter(|it| is_exit(it)).count(), 2);
}

#[test]
fn a_deaf_radio_freezes_presence_and_invents_no_exit() {
    let mut engine = engine();
    engine.handle_advertisement(s(0), &ibeacon(0, -50));
    engine.handle_radio(s(20), &local(), RadioState::Suspect { since: s(0) });
    engine.handle_radio(
        s(30),
        &local(),
        RadioState::Deaf { since: s(0), cause: DeafCause::Daemon },
    );
    engine.handle_timeout(s(1000));
    engine.handle_radio(s(1000), &local(), RadioState::Hearing);
    engine.handle_advertisement(s(1005), &ibeacon(999, -50));
    engine.handle_advertisement(s(1010), &ibeacon(0, -50));
    let trace = drain(&mut engine);
    assert!(trace.iter().all(|it| !is_exit(it)));
    let radio: Vec<_> = trace
        .iter()
        .filter_map(|it| match it.what {
            What::RadioDeaf { cause, .. } => Some((it.at, cause, None)),
            What::RadioRecovered { cause, deaf_for, .. } => Some((it.at, cause, Some(deaf_for))),
            _ => None,
        })
        .collect();
    let daemon = DeafCause::Daemon;
    assert_eq!(radio, [(s(0), daemon, None), (s(1000), daemon, Some(SECOND * 1000))]);
}

/// An advertisement as another receiver hears it.
fn by(receiver: &str, advertisement: Advertisement) -> Advertisement {
    let mut elsewhere = advertisement;
    elsewhere.receiver = ReceiverId::new(receiver);
    elsewhere
}

#[test]
fn a_deaf_receiver_holds_those_it_heard_last_and_nobody_else() {
    let mut engine = engine();
    engine.handle_advertisement(s(0), &by("front", ibeacon(0, -50)));
    engine.handle_advertisement(s(1), &by("back", ibeacon(1, -50)));
    let deaf = RadioState::Deaf { since: s(1), cause: DeafCause::NoAdapter };
    engine.handle_radio(s(10), &ReceiverId::new("back"), deaf);
    engine.handle_advertisement(s(100), &by("front", ibeacon(999, -50)));
    let gone = |engine: &mut Engine| -> Vec<_> {
        let exits = drain(engine).into_iter().filter(is_exit);
        exits.map(|it| (presence(&it).unwrap().subject.to_string(), it.at)).collect()
    };
    let zone_and_visit = |subject: &str, at| vec![(subject.to_owned(), at); 2];
    assert_eq!(gone(&mut engine), zone_and_visit("s0", s(0)));
    engine.handle_radio(s(200), &ReceiverId::new("back"), RadioState::Hearing);
    engine.handle_advertisement(s(231), &by("back", ibeacon(999, -50)));
    assert_eq!(gone(&mut engine), zone_and_visit("s1", s(1)));
}

#[test]
fn whoever_walks_between_two_receivers_leaves_when_neither_hears_them() {
    let mut engine = engine();
    for second in 0..60 {
        let receiver = if second % 3 == 0 { "front" } else { "back" };
        engine.handle_advertisement(s(second), &by(receiver, ibeacon(0, -50)));
    }
    engine.handle_advertisement(s(300), &by("front", ibeacon(999, -50)));
    assert_eq!(engine.visits_open(), 1, "the other receiver may be the one that hears");
    engine.handle_advertisement(s(301), &by("back", ibeacon(999, -50)));
    assert_eq!(engine.visits_open(), 0);
    let exits = drain(&mut engine).into_iter().filter(is_exit).map(|it| it.at);
    assert_eq!(exits.collect::<Vec<_>>(), [s(59), s(59)]);
}

#[test]
fn a_receiver_that_broke_long_before_holds_nobody() {
    let mut engine = engine();
    engine.handle_advertisement(s(0), &by("front", ibeacon(0, -50)));
    let deaf = RadioState::Deaf { since: s(0), cause: DeafCause::NoAdapter };
    engine.handle_radio(s(1), &ReceiverId::new("front"), deaf);
    for second in 1..100 {
        engine.handle_advertisement(s(second), &by("back", ibeacon(0, -50)));
    }
    engine.handle_advertisement(s(200), &by("back", ibeacon(999, -50)));
    assert_eq!(engine.visits_open(), 0);
}

#[test]
fn after_deafness_a_tag_has_its_whole_timeout_to_be_heard_again() {
    let mut engine = engine();
    engine.handle_advertisement(s(0), &ibeacon(0, -50));
    engine.handle_radio(s(20), &local(), RadioState::Suspect { since: s(0) });
    engine.handle_radio(s(1000), &local(), RadioState::Hearing);
    engine.handle_advertisement(s(1029), &ibeacon(999, -50));
    assert!(drain(&mut engine).iter().all(|it| !is_exit(it)));
    engine.handle_advertisement(s(1030), &ibeacon(999, -50));
    let exits: Vec<_> =
        drain(&mut engine).iter().filter(|it| is_exit(it)).map(|it| it.at).collect();
    assert_eq!(exits, [s(0), s(0)], "it was last true before the radio went deaf");
}

#[test]
fn a_slow_tag_gets_a_longer_timeout_and_a_fast_one_does_not() {
    let exit_after = |interval: u32| {
        let mut engine = engine();
        engine.handle_recording(Uptime::ZERO);
        let last = interval * 40;
        for n in 0..=40 {
            engine.handle_advertisement(s(0) + SECOND * interval * n, &ibeacon(0, -50));
        }
        let mut now = s(0) + SECOND * last;
        while engine.visits_open() > 0 {
            now = now + SECOND;
            engine.handle_timeout(now);
        }
        now.since(s(0) + SECOND * last)
    };
    assert_eq!(exit_after(1), EXIT_TIMEOUT);
    assert_eq!(exit_after(20), SECOND * 20 * 6);
}

#[test]
fn a_signal_that_fades_leaves_the_zone_and_one_short_dip_does_not() {
    let mut engine = engine();
    engine.handle_recording(Uptime::ZERO);
    let mut second = 0;
    let mut hear = |engine: &mut Engine, seconds: i64, dbm: i8| {
        for _ in 0..seconds {
            engine.handle_advertisement(s(second), &ibeacon(0, dbm));
            second += 1;
        }
    };
    hear(&mut engine, 20, -60);
    hear(&mut engine, 4, -95);
    hear(&mut engine, 20, -60);
    assert!(drain(&mut engine).iter().all(|it| !is_exit(it)), "a dip is no exit");
    hear(&mut engine, 25, -95);
    let trace = drain(&mut engine);
    let exits: Vec<_> = trace.iter().filter(|it| is_exit(it)).collect();
    assert_eq!(exits.len(), 1, "the zone is left; the visit goes on while the tag is heard");
    assert!(matches!(
        change(exits[0]),
        Some(TransitionKind::ZoneExited { reason: ExitReason::Faded, .. })
    ));
    assert!((s(44)..s(54)).contains(&exits[0].at), "{:?}", exits[0].at);
}

#[test]
fn people_who_have_not_opted_in_leave_no_trace() {
    let mut engine = engine();
    engine.handle_recording(Uptime::ZERO);
    for minor in SUBJECTS..1000 {
        engine.handle_advertisement(Uptime::ZERO, &ibeacon(minor, -40));
    }
    assert_eq!(engine.poll_event(), None);
    assert_eq!(engine.poll_checkpoint(), None);
    assert_eq!(engine.poll_timeout(), None);
}

#[test]
fn a_consent_that_has_not_begun_or_has_ended_is_no_consent() {
    for (from, until, recognised) in [(0, 10, true), (5, 10, false), (-10, 0, false)] {
        let subject = subject(0, &[Purpose::Presence], from, until);
        let mut engine = engine_of(vec![subject]);
        engine.handle_advertisement(Uptime::ZERO, &ibeacon(0, -40));
        assert_eq!(engine.poll_event().is_some(), recognised, "{from} {until}");
    }
}

#[test]
fn each_kind_of_event_needs_its_purpose() {
    let told = |purposes: &[Purpose]| {
        let mut engine = engine_of(vec![subject(0, purposes, 0, i64::MAX)]);
        engine.handle_recording(Uptime::ZERO);
        engine.handle_advertisement(Uptime::ZERO, &ibeacon(0, -40));
        engine.handle_timeout(s(3600));
        let trace = drain(&mut engine);
        let paths = trace.iter().filter(|it| match &it.what {
            What::Presence(it) => {
                !it.visit.stays.is_empty() || !it.context.zones_visited.is_empty()
            }
            _ => false,
        });
        (trace.len(), paths.count() > 0)
    };
    assert_eq!(told(&[Purpose::Engagement]), (0, false));
    assert_eq!(told(&[Purpose::Presence]), (4, false));
    assert_eq!(told(&[Purpose::Presence, Purpose::Journey]), (4, true));
}

#[test]
fn whoever_is_struck_from_the_registry_is_forgotten_without_an_event() {
    let mut engine = engine();
    engine.handle_recording(Uptime::ZERO);
    engine.handle_advertisement(s(0), &ibeacon(0, -50));
    engine.handle_advertisement(s(0), &ibeacon(1, -50));
    drain(&mut engine);
    while engine.poll_checkpoint().is_some() {}
    // The remaining subject has another place in the new registry.
    let remaining = vec![subject(1, &[Purpose::Presence], 0, i64::MAX)];
    engine.handle_registry(s(1), Registry::new(remaining, vec![]).unwrap());
    let erased = engine.poll_checkpoint().unwrap();
    assert_eq!((erased.subject.as_str(), erased.visit), ("s0", None));
    engine.handle_timeout(s(3600));
    let who: Vec<_> =
        drain(&mut engine).iter().map(|it| presence(it).unwrap().subject.clone()).collect();
    assert_eq!(who, [Pseudonym::new("s1"), Pseudonym::new("s1")]);
}

#[test]
fn an_open_visit_goes_on_after_a_short_stop_and_ends_at_its_last_moment_after_a_long_one() {
    for (gap, resumed) in [(60, true), (3600, false)] {
        let mut before = engine();
        before.handle_advertisement(s(0), &ibeacon(0, -50));
        before.handle_advertisement(s(20), &ibeacon(0, -50));
        while before.poll_checkpoint().is_some() {}
        before.handle_stop(s(21));
        let checkpoint = before.poll_checkpoint().unwrap();
        let mut visit = checkpoint.visit.unwrap();
        // The next run's clock starts at zero again.
        let shift = SECOND * 21 + SECOND * gap;
        visit.started = visit.started - shift;
        visit.last_seen = visit.last_seen - shift;
        for stay in &mut visit.stays {
            (stay.entered, stay.left) = (stay.entered - shift, stay.left - shift);
        }
        let id = visit.id;

        let mut after = engine();
        after.handle_restored(Uptime::ZERO, vec![(checkpoint.subject, visit)]);
        after.handle_advertisement(s(2), &ibeacon(0, -50));
        let trace = drain(&mut after);
        let kinds: Vec<_> = trace.iter().map(|it| change(it).unwrap()).collect();
        let restarted = ExitReason::GatewayRestart;
        if resumed {
            // It goes on under its name, and was long enough for the first loitering delay.
            assert!(matches!(kinds[..], [TransitionKind::ZoneDwelled { .. }]), "{kinds:?}");
            assert_eq!(presence(&trace[0]).unwrap().visit.id, id);
            assert_eq!(after.visits_open(), 1);
        } else {
            assert!(
                matches!(kinds[0], TransitionKind::ZoneExited { reason, .. } if *reason == restarted)
            );
            assert!(matches!(kinds[1], TransitionKind::VisitEnded(reason) if *reason == restarted));
            assert_eq!(trace[1].at, s(20) - shift);
            assert_eq!(presence(&trace[1]).unwrap().visit.id, id);
            assert!(matches!(kinds[2], TransitionKind::VisitStarted));
        }
    }
}

#[test]
fn spurious_timeouts_change_nothing() {
    let mut engine = engine();
    for _ in 0..10 {
        engine.handle_timeout(Uptime::ZERO);
    }
    assert_eq!(engine.poll_event(), None);
    assert_eq!(engine.poll_timeout(), None);
}

/// The rules that every day must keep, subject by subject.
fn check_form(seed: u64, day: &[Situation]) {
    #[derive(Default)]
    struct Life {
        visit: Option<VisitId>,
        zone: Option<(ZoneId, Uptime, usize)>,
        last: Option<Uptime>,
    }
    let mut lives: BTreeMap<Pseudonym, Life> = BTreeMap::new();
    let mut names = Vec::new();
    for situation in day {
        let Some(about) = presence(situation) else { continue };
        let life = lives.entry(about.subject.clone()).or_default();
        assert!(life.last <= Some(situation.at), "seed {seed}: time ran backwards");
        life.last = Some(situation.at);
        match &about.change {
            TransitionKind::VisitStarted => {
                assert_eq!(life.visit.replace(about.visit.id), None, "seed {seed}: started twice");
                assert!(!names.contains(&about.visit.id), "seed {seed}: a visit's name was reused");
                names.push(about.visit.id);
            }
            TransitionKind::VisitEnded(_) => {
                assert_eq!(
                    life.visit.take(),
                    Some(about.visit.id),
                    "seed {seed}: ended while away"
                );
                assert_eq!(life.zone, None, "seed {seed}: a zone outlived its visit");
                let stays: Duration =
                    about.visit.stays.iter().map(|it| it.left.since(it.entered)).sum();
                let dwell: Duration = about.visit.dwell.values().sum();
                assert_eq!(stays, dwell, "seed {seed}: path and dwell disagree");
            }
            TransitionKind::ZoneEntered { zone, confidence, .. } => {
                assert!(life.visit.is_some(), "seed {seed}: entered before the visit");
                assert_eq!(life.zone.replace((zone.clone(), situation.at, 0)), None);
                assert!((0.5..=1.0).contains(confidence));
                assert!(about.context.zone_occupancy >= 1);
            }
            TransitionKind::ZoneDwelled { zone, delay } => {
                let (inside, entered, dwelled) = life.zone.as_mut().expect("dwelled while absent");
                assert_eq!((&*inside, Some(delay)), (zone, LOITERING.get(*dwelled)));
                assert_eq!(situation.at, *entered + *delay, "seed {seed}: dwelled too soon");
                *dwelled += 1;
            }
            TransitionKind::ZoneExited { zone, stayed, .. } => {
                let (inside, entered, _) = life.zone.take().expect("left while absent");
                assert_eq!((&inside, situation.at.since(entered)), (zone, *stayed));
            }
        }
    }
    assert!(lives.values().all(|life| life.visit.is_none()), "seed {seed}: someone never left");
}

/// A shop with two zones, one inside the other, and a radio that is sometimes deaf.
struct Shop {
    rng: Rng,
    engine: Engine,
    now: Uptime,
    sent: u64,
    trace: Vec<Situation>,
}

impl Shop {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            engine: engine(),
            now: Uptime::ZERO,
            sent: 0,
            trace: Vec::new(),
        }
    }

    /// Two hours with enrolled devices, strangers and noise; then everybody leaves.
    fn day(&mut self) {
        while self.now < s(7200) {
            let step = Duration::from_millis(self.rng.below(2500));
            self.advance(self.now + step);
            match self.rng.below(100) {
                0 => self.radio(RadioState::Suspect { since: self.now }),
                1 => self.radio(RadioState::Deaf { since: self.now, cause: DeafCause::PoweredOff }),
                2 => self.radio(RadioState::Quiet),
                3..=5 => self.radio(RadioState::Hearing),
                6 => self.send(&bytes(&[3, 0xff, 0x4c, 0x00])),
                7 => self.send(&bytes(&[26, 0xff, 0x18, 0x01, 0xbe, 0xac])),
                8 => self.send(&bytes(&[6, 0xff, 0x4c, 0x00, 0x02, 0x15, 0x00])),
                _ => {
                    let minor = u16::try_from(self.rng.below(8)).unwrap();
                    // Each device is near for a while, then far for a while.
                    let near =
                        (self.now.as_micros() / 1_000_000 + i64::from(minor) * 977) / 700 % 2 == 0;
                    let dbm =
                        if near { -80 } else { -105 } + i8::try_from(self.rng.below(35)).unwrap();
                    if near || self.rng.below(3) == 0 {
                        self.send(&ibeacon(minor, dbm));
                    }
                }
            }
        }
        self.radio(RadioState::Quiet);
        self.advance(self.now + SECOND * 7200);
    }

    fn radio(&mut self, state: RadioState) {
        self.engine.handle_radio(self.now, &local(), state);
        self.trace.extend(drain(&mut self.engine));
    }

    fn send(&mut self, advertisement: &Advertisement) {
        self.sent += 1;
        self.engine.handle_advertisement(self.now, advertisement);
        self.trace.extend(drain(&mut self.engine));
    }

    /// Walks virtual time from deadline to deadline, as the shell would: never early, sometimes
    /// late. Bounded, so that a deadline that never moves is a failure and not a hang.
    fn advance(&mut self, to: Uptime) {
        for _ in 0..1000 {
            let Some(deadline) = self.engine.poll_timeout().filter(|&deadline| deadline <= to)
            else {
                self.now = to;
                return;
            };
            let late = deadline + Duration::from_millis(self.rng.below(200));
            self.engine.handle_timeout(late.min(to));
            self.trace.extend(drain(&mut self.engine));
        }
        panic!("the engine never came to rest");
    }
}

fn play(seed: u64) -> Vec<Situation> {
    let mut shop = Shop::new(seed);
    shop.day();
    shop.trace
}

fn engine() -> Engine {
    let everything = [Purpose::Presence, Purpose::Journey];
    engine_of((0..SUBJECTS).map(|minor| subject(minor, &everything, i64::MIN, i64::MAX)).collect())
}

fn engine_of(subjects: Vec<Subject>) -> Engine {
    let registry = Registry::new(subjects, vec![]).unwrap();
    let identity = Identity::new(registry, IdentitySettings::default(), AddressSeed::new(1));
    let zone = |id, enter_rssi: f64| Zone {
        id: ZoneId::new(id),
        enter_rssi,
        exit_rssi: enter_rssi - 10.0,
        loitering: LOITERING.to_vec(),
        receivers: vec![],
    };
    let presence = PresenceSettings {
        receivers: Vec::new(),
        zones: vec![zone("shop", -75.0), zone("counter", -55.0)],
        smoothing: SECOND * 3,
        exit_delay: SECOND * 10,
        exit_timeout: EXIT_TIMEOUT,
        exit_timeout_max: SECOND * 600,
        exit_after_missed: 6,
        checkpoint_interval: SECOND * 60,
        resume_within: SECOND * 300,
        ..PresenceSettings::default()
    };
    let mut engine = Engine::new(identity, presence, VisitId { epoch: 1, run: 0, number: 1 });
    engine.handle_clock(WallClock {
        at: Uptime::ZERO,
        unix: UnixTime::from_millis(0),
        quality: ClockQuality::Synced,
    });
    engine
}

fn subject(minor: u16, purposes: &[Purpose], from: i64, until: i64) -> Subject {
    Subject {
        pseudonym: Pseudonym::new(&format!("s{minor}")),
        kind: SubjectKind::Customer,
        identifiers: vec![Identifier::IBeacon { proximity_uuid: [0xab; 16], major: 1, minor }],
        consent: Some(Consent {
            purposes: purposes.iter().copied().collect(),
            from: UnixTime::from_millis(from),
            until: Some(UnixTime::from_millis(until)),
            proof: Arc::from("form-1"),
        }),
    }
}

fn local() -> ReceiverId {
    ReceiverId::default()
}

fn ibeacon(minor: u16, dbm: i8) -> Advertisement {
    let mut data = vec![26, 0xff, 0x4c, 0x00, 0x02, 0x15];
    data.extend([0xab; 16]);
    data.extend(1_u16.to_be_bytes());
    data.extend(minor.to_be_bytes());
    data.push((-59_i8).cast_unsigned());
    let mut advertisement = bytes(&data);
    advertisement.rssi = Some(Rssi(dbm));
    advertisement
}

fn bytes(data: &[u8]) -> Advertisement {
    let address = DeviceAddress::new([0xc0; 6], AddressKind::Random);
    Advertisement::new(Uptime::ZERO, ReceiverId::default(), address, Some(Rssi(-60)), data)
}

fn drain(engine: &mut Engine) -> Vec<Situation> {
    std::iter::from_fn(|| engine.poll_event()).collect()
}

fn presence(situation: &Situation) -> Option<&beacon_gateway::engine::PresenceSituation> {
    match &situation.what {
        What::Presence(presence) => Some(presence),
        _ => None,
    }
}

fn change(situation: &Situation) -> Option<&TransitionKind> {
    presence(situation).map(|presence| &presence.change)
}

fn is_exit(situation: &Situation) -> bool {
    let exit = |change| {
        matches!(change, &TransitionKind::ZoneExited { .. } | &TransitionKind::VisitEnded(_))
    };
    change(situation).is_some_and(exit)
}

fn s(seconds: i64) -> Uptime {
    Uptime::from_micros(seconds * 1_000_000)
}

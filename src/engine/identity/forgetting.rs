//! Nothing is left in memory of who has withdrawn: not where it lay, and not where it came along.
//!
//! A value is moved with the room that it does not use, and with it goes what lay on the stack. So
//! it is not enough to look where keys are kept: all of the process's memory is read.

use super::{changes::sent_by, *};
use crate::{
    engine::{
        AddressKind, Advertisement, Checkpoint, ClockQuality, Engine, FootfallSeed,
        FootfallSettings, PresenceSettings, ReceiverId, Rssi, Situation, VisitId, Zone, ZoneId,
    },
    forget::{
        self,
        debugger::{self, Debugger, Sought},
    },
};

/// Eight of each kind of identifier, and forty who are recognised by an identity resolving key, of
/// which the most is kept.
const MEMBERS: u8 = 96;

/// The shop's own thermometer.
const SENSOR: [u8; 6] = [0xc0, 9, 8, 7, 6, 5];

/// How often minds are changed.
const ROUNDS: u64 = 24;

fn wall() -> WallClock {
    let unix = UnixTime::from_millis(1_700_000_000_000);
    WallClock { at: Uptime::ZERO, unix, quality: ClockQuality::Synced }
}

/// The n-th member's device, of octets that are nowhere else.
fn device(n: u8) -> Identifier {
    fn drawn<const N: usize>(random: &mut fastrand::Rng) -> [u8; N] {
        std::array::from_fn(|_| random.u8(1..))
    }
    let random = &mut fastrand::Rng::with_seed(0x5eed_0000 + u64::from(n));
    match n % 12 {
        0 => {
            let mut octets = drawn::<6>(random);
            octets[0] |= 0xc0;
            Identifier::Address(octets)
        }
        1 => Identifier::IBeacon { proximity_uuid: drawn(random), major: 1, minor: n.into() },
        2 => Identifier::AltBeacon(drawn(random)),
        3 => Identifier::EddystoneUid { namespace: drawn(random), instance: drawn(random) },
        4 => Identifier::EddystoneEid {
            identity_key: Key::new(drawn(random)),
            rotation_exponent: 10,
            clock_zero: UnixTime::default(),
        },
        5 => Identifier::ServiceToken(MemberKey::new(drawn(random))),
        6 => Identifier::RollingUuid(MemberKey::new(drawn(random))),
        _ => Identifier::Irk(Key::new(drawn(random))),
    }
}

/// What must not be found of somebody.
#[inline(never)]
fn seek(sought: &mut Sought, n: u8) {
    match device(n) {
        Identifier::Address(octets) => sought.add_address(octets),
        Identifier::IBeacon { proximity_uuid, .. } => sought.add(&proximity_uuid),
        Identifier::AltBeacon(id) => sought.add(&id),
        Identifier::EddystoneUid { namespace, .. } => sought.add(&namespace),
        Identifier::EddystoneEid { identity_key: key, .. } | Identifier::Irk(key) => {
            sought.add(&key.0);
        }
        Identifier::ServiceToken(key) | Identifier::RollingUuid(key) => sought.add(&key.0),
    }
}

/// What this test left on the stack is not to come along.
fn member(n: u8) -> Subject {
    forget::burn_stack();
    enrolled(n)
}

#[inline(never)]
fn enrolled(n: u8) -> Subject {
    Subject {
        pseudonym: Pseudonym::new(&format!("s{n}")),
        kind: SubjectKind::Customer,
        identifiers: vec![device(n)],
        consent: Some(Consent {
            purposes: Purposes::ALL,
            from: UnixTime::default(),
            until: None,
            proof: "form-1".into(),
        }),
    }
}

fn fixtures() -> Vec<Fixture> {
    vec![Fixture {
        id: "wine".to_owned(),
        zone: Some(ZoneId::new("shop")),
        hangs: None,
        identifier: Identifier::Address(SENSOR).into(),
        key: None,
        canary: true,
        report: ReportPolicy::default(),
    }]
}

/// The addresses of those who were never enrolled, by their number; made anew where they are needed.
fn strangers_address(number: u64) -> [u8; 6] {
    let random = &mut fastrand::Rng::with_seed(0xface_0000 + number);
    let mut octets = std::array::from_fn(|_| random.u8(1..));
    // Every fourth is resolvable, so that keys are tried.
    octets[0] = octets[0] & 0x3f | if number.is_multiple_of(4) { 0x40 } else { 0xc0 };
    octets
}

fn engine() -> Engine {
    let settings = IdentitySettings { irk_max_false_per_day: 1000.0, ..Default::default() };
    let registry = Registry::new(vec![], fixtures()).unwrap();
    let identity = Identity::new(registry, settings, AddressSeed::new(3));
    let zone = Zone {
        id: ZoneId::new("shop"),
        enter_rssi: -70.0,
        exit_rssi: -80.0,
        loitering: vec![Duration::from_mins(6)],
        receivers: Vec::new(),
    };
    let presence = PresenceSettings {
        zones: vec![zone],
        receivers: vec![ReceiverId::default()],
        smoothing: Duration::from_secs(2),
        exit_delay: Duration::from_secs(5),
        exit_timeout: Duration::from_mins(10),
        exit_timeout_max: Duration::from_mins(20),
        exit_after_missed: 3,
        checkpoint_interval: Duration::from_secs(30),
        resume_within: Duration::from_mins(2),
        ..PresenceSettings::default()
    };
    let footfall = FootfallSettings { bin: Duration::from_mins(15), min_rssi: -100.0, k: 1 };
    let mut engine = Engine::new(identity, presence, VisitId { epoch: 1, run: 0, number: 0 })
        .with_footfall(footfall, FootfallSeed::new([7; 16]));
    engine.handle_clock(wall());
    engine.handle_timeout(Uptime::ZERO);
    engine
}

/// Everybody who is enrolled is heard, and strangers and the sensor among them. Returns what was made
/// of it, which waits in channels and queues for long.
#[inline(never)]
fn hear(
    engine: &mut Engine,
    enrolled: &[bool],
    strangers: &mut u64,
    random: &mut fastrand::Rng,
) -> (Vec<Situation>, Vec<Checkpoint>) {
    let (mut events, mut checkpoints) = (Vec::new(), Vec::new());
    for step in 0..8 {
        // Everybody is gone before the last step.
        let minutes = if step == 7 { 25 } else { 3 };
        let now = engine.now + Duration::from_mins(minutes);
        let unix = wall().unix_at(now);
        engine.handle_clock(WallClock { at: now, unix, quality: ClockQuality::Synced });
        let mut present: Vec<u8> =
            (0..MEMBERS).filter(|n| enrolled[usize::from(*n)] && random.u8(..4) > 0).collect();
        random.shuffle(&mut present);
        for n in present {
            let (address, data) = sent_by(device(n), n, unix);
            let mut say = |address, data: &[u8]| {
                let receiver = ReceiverId::default();
                let one = Advertisement::new(now, receiver, address, Some(Rssi(-50)), data);
                engine.handle_advertisement(now, &one);
            };
            say(address, &data);
            match random.u8(..3) {
                0 => {
                    let octets = strangers_address(*strangers);
                    *strangers += 1;
                    say(DeviceAddress::new(octets, AddressKind::Random), &[2, 1, 6]);
                }
                1 => {
                    let [low, high] = random.u16(1800..2600).to_le_bytes();
                    let data = [2, 1, 6, 7, 0x16, 0xd2, 0xfc, 0x40, 0x02, low, high];
                    say(DeviceAddress::new(SENSOR, AddressKind::Random), &data);
                }
                _ => {}
            }
        }
        engine.handle_timeout(now + Duration::from_secs(5));
        forget::burn_stack();
        events.extend(std::iter::from_fn(|| engine.poll_event()));
        checkpoints.extend(std::iter::from_fn(|| engine.poll_checkpoint()));
    }
    (events, checkpoints)
}

/// Some withdraw and some enrol, in one change, in any order.
#[inline(never)]
fn change(engine: &mut Engine, enrolled: &mut [bool], random: &mut fastrand::Rng, anew: bool) {
    let mut names: Vec<u8> = (0..MEMBERS).collect();
    random.shuffle(&mut names);
    let mut changes = Vec::new();
    for n in names {
        let is_in = &mut enrolled[usize::from(n)];
        if random.u8(..3) == 0 {
            *is_in = !*is_in;
            changes.push(if *is_in {
                Enrolment::Upsert(member(n))
            } else {
                Enrolment::Withdraw(Pseudonym::new(&format!("s{n}")))
            });
        }
    }
    let now = engine.now;
    if anew {
        let all = (0..MEMBERS).filter(|n| enrolled[usize::from(*n)]).map(member).collect();
        engine.handle_registry(now, Registry::new(all, fixtures()).unwrap());
    } else {
        assert!(engine.handle_enrolment(now, changes).refused.is_empty());
    }
}

/// Of who has withdrawn, and of strangers, nothing is there. The stack is to be clear before.
#[inline(never)]
fn look(debugger: &Debugger, enrolled: &[bool], strangers: u64, when: &str) {
    let (mut gone, mut here) = (Sought::default(), Sought::default());
    for (n, is_in) in (0..).zip(enrolled) {
        seek(if *is_in { &mut here } else { &mut gone }, n);
    }
    (0..strangers).for_each(|number| gone.add_address(strangers_address(number)));
    forget::burn_stack();
    assert!(debugger.everywhere(&here) >= 16, "the test looks elsewhere");
    assert_eq!(debugger.everywhere(&gone), 0, "{when}");
}

#[test]
fn nothing_is_left_in_memory_of_who_has_withdrawn() {
    let debugger = Debugger::new();
    let (mut engine, mut random) = (engine(), fastrand::Rng::with_seed(1));
    let mut enrolled = vec![false; usize::from(MEMBERS)];
    let (mut made, mut strangers) = ((Vec::new(), Vec::new()), 0);
    for round in 0..ROUNDS {
        change(&mut engine, &mut enrolled, &mut random, round % 5 == 4);
        forget::burn_stack();
        look(&debugger, &enrolled, strangers, &format!("after the changes of round {round}"));
        made = hear(&mut engine, &enrolled, &mut strangers, &mut random);
        forget::burn_stack();
        look(&debugger, &enrolled, strangers, &format!("after round {round}"));
    }
    let (events, checkpoints) = (made.0.len(), made.1.len());
    assert!(events > 100, "hardly anybody was there: {events} events, {checkpoints} checkpoints");
}

#[test]
fn whoever_looks_at_keys_leaves_a_clean_stack() {
    /// As deep as this goes with optimisation; without, the stack is cleared much deeper.
    const DEEP: usize = 8 * 1024;
    let (debugger, wall) = (Debugger::new(), wall());
    let settings = IdentitySettings { irk_max_false_per_day: 1000.0, ..Default::default() };
    let soiled = |what: &str, work: &mut dyn FnMut()| {
        let begin = debugger::soil();
        assert!(debugger.soil_left::<DEEP>(begin) > DEEP / 8 - 200, "the test looks elsewhere");
        work();
        let left = debugger.soil_left::<DEEP>(begin);
        assert!(left == 0, "{what}: {left} marks");
    };
    let registry = Registry::new((0..MEMBERS).map(member).collect(), vec![]).unwrap();
    let mut registry = Some(registry);
    let mut identity = None;
    soiled("new", &mut || {
        identity = Some(Identity::new(registry.take().unwrap(), settings, AddressSeed::new(3)));
    });
    let mut identity = identity.unwrap();
    soiled("work", &mut || identity.work(Uptime::ZERO, &wall));
    for n in (0..MEMBERS).filter(|n| n % 12 >= 4) {
        let (address, data) = sent_by(device(n), n, wall.unix);
        let frames = crate::engine::frame::decode(&data).unwrap_or_default();
        let mut found = None;
        soiled("resolve", &mut || {
            found = Some(identity.resolve(Uptime::ZERO, &wall, address, &frames, &data).0);
        });
        assert!(matches!(found, Some(Resolution::Subject(_))), "{n}");
    }
    let mut changed = (0..MEMBERS).map(member).collect::<Vec<_>>().into_iter();
    soiled("upsert", &mut || assert!(identity.upsert(changed.nth(7).unwrap()).is_ok()));
    let leaver = Pseudonym::new("s7");
    soiled("withdraw", &mut || assert!(identity.withdraw(&leaver).is_some()));
    soiled("replace", &mut || identity.replace(Registry::new(vec![member(3)], vec![]).unwrap()));
}

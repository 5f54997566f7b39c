use super::*;
use crate::engine::{MemberKey, Pseudonym, Subject, SubjectKind, Tenant, UnixTime};

/// Three subjects of one registry.
pub(in crate::engine::identity) fn subjects() -> [SubjectIndex; 3] {
    let registry = registry((0..3).map(|n| vec![Identifier::Address([n; 6])]));
    let mut found = registry.identifiers().map(|(subject, _)| subject);
    std::array::from_fn(|_| found.next().unwrap())
}

/// A registry of subjects with these identifiers.
pub(in crate::engine::identity) fn registry(
    identifiers: impl Iterator<Item = Vec<Identifier>>,
) -> Registry {
    let subject = |(n, identifiers)| Subject {
        pseudonym: Pseudonym::new(&format!("s{n}")),
        kind: SubjectKind::Asset,
        identifiers,
        consent: None,
    };
    Registry::new((0..).zip(identifiers).map(subject).collect(), vec![]).unwrap()
}

/// A member key of its own for each number.
pub(in crate::engine::identity) fn member_key(n: u32) -> MemberKey {
    let mut octets = [0x5a; 32];
    octets[..4].copy_from_slice(&n.to_be_bytes());
    MemberKey::new(octets)
}

fn settings() -> IdentitySettings {
    IdentitySettings { tenant: Tenant::new("acme").unwrap(), ..IdentitySettings::default() }
}

fn clock(unix: i64) -> WallClock {
    let quality = ClockQuality::Synced;
    WallClock { at: Uptime::ZERO, unix: UnixTime::from_millis(unix * 1000), quality }
}

/// Works until nothing is left, as the shell would. Tells how often and when.
fn finish(rotating: &mut Rotating, mut now: Uptime, wall: &WallClock) -> (usize, Uptime) {
    rotating.work(now, wall);
    for calls in 1..100_000 {
        match rotating.next_work() {
            None => return (calls, now),
            Some(due) => {
                assert!(due > now, "a slice must not come at once: nothing else would be done");
                now = due;
                rotating.work(now, wall);
            }
        }
    }
    panic!("the work never ends");
}

const NOW: i64 = 1_790_000_000;

fn eid(n: u32) -> Identifier {
    let mut key = [7; 16];
    key[..4].copy_from_slice(&n.to_be_bytes());
    Identifier::EddystoneEid {
        identity_key: crate::engine::Key::new(key),
        rotation_exponent: 10,
        clock_zero: UnixTime::default(),
    }
}

#[test]
fn a_small_registry_is_complete_with_the_first_call() {
    let each = |n| vec![Identifier::ServiceToken(member_key(n)), eid(n)];
    let registry = registry((0..20).map(each));
    let mut rotating = Rotating::new(&registry, &settings());
    assert_eq!(finish(&mut rotating, Uptime::ZERO, &clock(NOW)), (1, Uptime::ZERO));
}

#[test]
fn a_large_registry_is_complete_within_a_bounded_number_of_slices() {
    const MEMBERS: u32 = 10_000;
    let registry = registry((0..MEMBERS).map(|n| vec![Identifier::ServiceToken(member_key(n))]));
    let mut rotating = Rotating::new(&registry, &settings());
    let wall = clock(NOW);
    let (calls, end) = finish(&mut rotating, Uptime::ZERO, &wall);
    let slices = (MEMBERS as usize).div_ceil(SLICE);
    assert!((4 * slices - 4..=4 * slices + 4).contains(&calls), "{calls}");
    // Three epochs that are needed now, and one ahead.
    let time = SOON * u32::try_from(3 * slices).unwrap() + LATER * u32::try_from(slices).unwrap();
    assert!(end.since(Uptime::ZERO) <= time + LATER * 4, "{end:?}");

    // An epoch later one table more is due, and only that; it is there long before it is needed.
    let later = Uptime::ZERO + Duration::from_mins(15);
    let (calls, end) = finish(&mut rotating, later, &wall);
    assert!((slices - 1..=slices + 1).contains(&calls), "{calls}");
    assert!(end.since(later) < Duration::from_mins(1));
}

#[test]
fn nothing_is_due_while_nobody_has_anything_that_rotates() {
    let registry = registry([vec![Identifier::Address([1; 6])]].into_iter());
    let mut rotating = Rotating::new(&registry, &settings());
    assert_eq!(finish(&mut rotating, Uptime::ZERO, &clock(NOW)), (1, Uptime::ZERO));
}

#[test]
fn calls_that_come_before_a_slice_is_due_do_nothing() {
    let registry = registry((0..1000).map(|n| vec![Identifier::RollingUuid(member_key(n))]));
    let mut rotating = Rotating::new(&registry, &settings());
    let wall = clock(NOW);
    rotating.work(Uptime::ZERO, &wall);
    let due = rotating.next_work();
    for micros in 1..1000 {
        rotating.work(Uptime::from_micros(micros), &wall);
        assert_eq!(rotating.next_work(), due);
    }
}

#[test]
fn who_is_enrolled_or_withdrawn_is_so_without_anything_being_built_anew() {
    let registry = registry((0..2000).map(|n| vec![Identifier::ServiceToken(member_key(n))]));
    let mut rotating = Rotating::new(&registry, &settings());
    let wall = clock(NOW);
    let (_, now) = finish(&mut rotating, Uptime::ZERO, &wall);
    let [first, second, ..] = subjects();
    let tokens = super::super::rolling::tests::Tokens::new(settings().tenant, wall.unix_at(now));

    let newcomer = Identifier::ServiceToken(member_key(9999));
    rotating.insert(second, &newcomer);
    rotating.remove(first, &Identifier::ServiceToken(member_key(0)));
    assert_eq!(finish(&mut rotating, now, &wall), (1, now));
    let whose = |rotating: &Rotating, n| {
        rotating.by_token(tokens.token(member_key(n))).map(|found| found.subject)
    };
    assert_eq!(whose(&rotating, 0), None);
    assert_eq!(whose(&rotating, 1), Some(second));
    assert_eq!(whose(&rotating, 9999), Some(second));

    rotating.remove(second, &newcomer);
    assert_eq!((whose(&rotating, 9999), whose(&rotating, 1)), (None, Some(second)));
}

#[test]
fn another_registry_keeps_what_is_known_of_beacons_clocks() {
    // Heard seven minutes early, the beacon is looked for where its clock is; a stranger to the
    // table would be looked for ten minutes to either side of where it should be.
    let registry = registry([vec![eid(1)]].into_iter());
    let mut rotating = Rotating::new(&registry, &settings());
    let wall = clock(1024 * 1_700_000 - 420);
    rotating.work(Uptime::ZERO, &wall);
    let ahead = super::super::eid::tests::sent(&eid(1), 1_700_000);
    assert!(rotating.by_eid(Uptime::ZERO, DeviceAddress::UNKNOWN, ahead).is_some());
    let mut rebuilt = rotating.rebuilt(&registry, &settings());
    let later = Uptime::ZERO + Duration::from_secs(10);
    rebuilt.work(later, &wall);
    assert!(rebuilt.by_eid(later, DeviceAddress::UNKNOWN, ahead).is_some());
    let behind = super::super::eid::tests::sent(&eid(1), 1_700_000 - 1);
    assert!(rebuilt.by_eid(later, DeviceAddress::UNKNOWN, behind).is_none());
    let mut fresh = Rotating::new(&registry, &settings());
    fresh.work(later, &wall);
    assert!(fresh.by_eid(later, DeviceAddress::UNKNOWN, behind).is_some());
}

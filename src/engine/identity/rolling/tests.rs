use std::time::Duration;

use super::{super::rotating::tests::*, *};

/// What apps send at a time.
pub(in crate::engine::identity) struct Tokens(Message);

impl Tokens {
    pub(in crate::engine::identity) fn new(tenant: Tenant, unix: UnixTime) -> Self {
        Self(Message::new(RollingForm::ServiceToken, &tenant, epoch_of(unix)))
    }

    pub(in crate::engine::identity) fn token(&self, key: MemberKey) -> [u8; 12] {
        *self.0.value(&key).to_be_bytes().first_chunk().unwrap()
    }
}

const DAY: Duration = Duration::from_hours(24);

/// The beginning of an epoch.
const START: i64 = 1_790_100_000;

fn tenant() -> Tenant {
    Tenant::new("acme").unwrap()
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::from_millis(seconds * 1000)
}

fn rolling(form: RollingForm, keys: u32) -> Rolling {
    let mut rolling = Rolling::new(form, tenant(), DAY);
    let [subject, ..] = subjects();
    (0..keys).for_each(|n| rolling.insert(subject, member_key(n)));
    rolling
}

/// Derives all that there is to derive; tells in how many slices.
fn build(rolling: &mut Rolling) -> usize {
    (1..10_000).find(|_| rolling.build(100) == Pending::Nothing).unwrap()
}

fn value(form: RollingForm, n: u32, seconds: i64) -> u128 {
    Message::new(form, &tenant(), epoch_of(at(seconds))).value(&member_key(n))
}

/// The published vectors: label, key, tenant, Unix time, value. `docs/app-identity.md` repeats them,
/// and they were computed with another implementation of HMAC as well.
const VECTORS: [(RollingForm, u8, &str, i64, &str); 10] = [
    (RollingForm::ServiceToken, 0x00, "acme", 1_790_100_000, "ccd4ff05292f2efb0ab729f4"),
    (RollingForm::ServiceToken, 0x00, "acme", 1_790_100_899, "ccd4ff05292f2efb0ab729f4"),
    (RollingForm::ServiceToken, 0x00, "acme", 1_790_100_900, "76d65cf9e5126f785960e681"),
    (RollingForm::ServiceToken, 0x20, "acme", 1_790_100_000, "60999bb96e3d37c94dbedf26"),
    (RollingForm::ServiceToken, 0x00, "bäckerei", 1_790_100_000, "a8286af0fc30e5dc75ef8132"),
    (RollingForm::ServiceToken, 0x00, "acme", 0, "93df5ce00dde785b1c79f029"),
    (RollingForm::RollingUuid, 0x00, "acme", 1_790_100_000, "b3a4a572-e4e7-822c-9449-636ffc52a244"),
    (RollingForm::RollingUuid, 0x00, "acme", 1_790_100_900, "c7738484-ae5d-88b3-89a8-2f649c5c1f4c"),
    (RollingForm::RollingUuid, 0x20, "acme", 1_790_100_000, "dcf27486-4918-8660-af7e-5317e440674f"),
    (
        RollingForm::RollingUuid,
        0x00,
        "bäckerei",
        1_790_100_000,
        "ce78949f-d794-8ddc-849e-d6632b61a034",
    ),
];

#[test]
fn the_published_vectors_are_what_is_derived() {
    for (form, first, tenant, seconds, expected) in VECTORS {
        let key = MemberKey::new(std::array::from_fn(|n| first + u8::try_from(n).unwrap()));
        let made =
            Message::new(form, &Tenant::new(tenant).unwrap(), epoch_of(at(seconds))).value(&key);
        let shown = match form {
            RollingForm::ServiceToken => hex::encode(&made.to_be_bytes()[..12]),
            RollingForm::RollingUuid => uuid::Uuid::from_u128(made).to_string(),
        };
        assert_eq!(shown, expected, "{form:?} {first} {tenant} {seconds}");
    }
}

#[test]
fn the_published_vectors_stand_in_the_specification() {
    let specification = include_str!("../../../../docs/app-identity.md");
    for (_, _, tenant, seconds, expected) in VECTORS {
        let row = specification.lines().find(|line| line.contains(expected));
        let row = row.unwrap_or_else(|| panic!("{expected} is missing"));
        assert!(row.contains(tenant) && row.contains(&seconds.to_string()), "{row}");
    }
}

#[test]
fn a_rolling_uuid_is_a_uuid_of_version_8() {
    for n in 0..1000 {
        let made = value(RollingForm::RollingUuid, n, START);
        let uuid = uuid::Uuid::from_u128(made);
        assert_eq!(uuid.get_version_num(), 8);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
    }
}

#[test]
fn the_longest_tenant_has_a_place() {
    let longest = "ä".repeat(80);
    let made = |name: &str| {
        let tenant = Tenant::new(name).unwrap();
        Message::new(RollingForm::ServiceToken, &tenant, u32::MAX).value(&member_key(0))
    };
    assert_ne!(made(&longest), made(&"ä".repeat(79)));
    assert_eq!(Tenant::new(&"ä".repeat(81)), None);
    assert_eq!(format!("{:?}", tenant()), "Tenant(acme)");
}

#[test]
fn a_value_counts_in_its_epoch_and_in_the_ones_before_and_after() {
    for form in [RollingForm::ServiceToken, RollingForm::RollingUuid] {
        let mut rolling = rolling(form, 3);
        let sent = value(form, 1, START);
        let mut counts = Vec::new();
        for seconds in (START - 2000..START + 3000).step_by(1) {
            rolling.turn(at(seconds), true);
            build(&mut rolling);
            counts.extend(rolling.resolve(sent).map(|found| (seconds - START, found.wide_window)));
        }
        assert_eq!(counts.first(), Some(&(-900, false)));
        assert_eq!(counts.last(), Some(&(1799, false)));
        assert_eq!(counts.len(), 2700, "and all the time in between");
    }
}

#[test]
fn one_form_is_not_taken_for_the_other() {
    let mut tokens = rolling(RollingForm::ServiceToken, 3);
    tokens.turn(at(START), true);
    build(&mut tokens);
    assert!(tokens.resolve(value(RollingForm::ServiceToken, 0, START)).is_some());
    assert!(tokens.resolve(value(RollingForm::RollingUuid, 0, START)).is_none());
    let nearly = value(RollingForm::ServiceToken, 0, START) ^ 1 << 32;
    assert!(tokens.resolve(nearly).is_none(), "the last bit counts as well");
}

#[test]
fn the_next_epoch_is_complete_before_it_is_needed() {
    let mut rolling = rolling(RollingForm::ServiceToken, 500);
    rolling.turn(at(START), true);
    build(&mut rolling);
    for epoch in 1..50 {
        rolling.turn(at(START + epoch * 900), true);
        // All that counts from now on was there before; only what is ahead is not.
        let sent = value(RollingForm::ServiceToken, 499, START + (epoch + 1) * 900);
        assert!(rolling.resolve(sent).is_some(), "{epoch}");
        assert_eq!(rolling.build(1), Pending::Ahead);
        assert_eq!(build(&mut rolling), 5, "one table in slices of a hundred");
        assert_eq!(rolling.epochs.len(), 4);
    }
}

#[test]
fn what_is_needed_first_is_derived_first() {
    let mut rolling = rolling(RollingForm::ServiceToken, 100);
    rolling.turn(at(START), true);
    let epochs = [0, 900, -900, 1800];
    for n in 0..4 {
        let there = epochs.map(|offset| {
            let sent = value(RollingForm::ServiceToken, 99, START + offset);
            rolling.epochs.iter().any(|it| it.table.find(tag(sent)).next().is_some())
        });
        assert_eq!(there, [n > 0, n > 1, n > 2, n > 3]);
        assert!(rolling.build(100) <= Pending::Needed);
    }
    assert_eq!(rolling.build(100), Pending::Nothing);
}

#[test]
fn while_the_clock_is_not_synced_a_wider_window_is_searched_and_what_it_finds_is_marked() {
    let mut rolling = rolling(RollingForm::RollingUuid, 2);
    let sent = value(RollingForm::RollingUuid, 1, START);
    let mut found = |offset: i64, synced| {
        rolling.turn(at(START + offset), synced);
        build(&mut rolling);
        rolling.resolve(sent).map(|found| found.wide_window)
    };
    assert_eq!(found(0, false), Some(false), "it would have been found anyway");
    assert_eq!(found(1799, false), Some(false));
    assert_eq!(found(1800, false), Some(true));
    assert_eq!(found(-901, false), Some(true));
    assert_eq!(found(96 * 900 + 899, false), Some(true), "a day later");
    assert_eq!(found(97 * 900, false), None);
    assert_eq!(found(-96 * 900, false), Some(true), "a day earlier");
    assert_eq!(found(-96 * 900 - 1, false), None);
    assert_eq!(found(1800, true), None, "once the clock is synced");
    assert_eq!(rolling.epochs.len(), 4, "and the memory is given back");
}

#[test]
fn the_wider_window_is_bounded_by_memory() {
    let mut rolling = rolling(RollingForm::ServiceToken, 70_000);
    rolling.turn(at(START), false);
    assert_eq!(rolling.at, Some((epoch_of(at(START)), 6)), "90 minutes and the current epoch");
    assert!(rolling.epochs.len() * 70_000 <= WIDE_ENTRIES);
}

#[test]
fn a_clock_that_is_set_finds_what_counts_then() {
    let mut rolling = rolling(RollingForm::ServiceToken, 10);
    for seconds in [0, -5, START, 4_000_000_000, START - 86_400, i64::MAX / 1000, 17] {
        rolling.turn(at(seconds), true);
        build(&mut rolling);
        assert!(rolling.resolve(value(RollingForm::ServiceToken, 9, seconds)).is_some());
    }
}

#[test]
fn many_members_take_little_memory_and_are_all_found() {
    const MEMBERS: u32 = 70_000;
    let mut rolling = rolling(RollingForm::ServiceToken, MEMBERS);
    rolling.turn(at(START), true);
    build(&mut rolling);
    let octets = rolling.octets();
    assert!(octets < 8_500_000, "{octets}");
    for n in (0..MEMBERS).step_by(97) {
        assert!(rolling.resolve(value(RollingForm::ServiceToken, n, START)).is_some());
        assert!(rolling.resolve(value(RollingForm::ServiceToken, MEMBERS + n, START)).is_none());
    }
}

//! Identities that rotate, through the whole engine: apps as `docs/app-identity.md` specifies them,
//! with values made here and not by the engine.

use std::time::Duration;

use beacon_gateway::{
    engine::{
        AddressKind, AddressSeed, Advertisement, ClockQuality, DeviceAddress, Engine, Enrolment,
        Identifier, Identity, IdentitySettings, Key, MemberKey, PresenceSettings, Pseudonym,
        ReceiverId, Registry, Rssi, Situation, Subject, SubjectKind, Tenant, UnixTime, Uptime,
        VisitId, WallClock, What, Zone, ZoneId, frame::TokenUuid,
    },
    outbox::record::{Body, Record, RunId},
};
use ring::hmac;

const TENANT: &str = "acme";
const KEY: [u8; 32] = [0x42; 32];

/// The beginning of an epoch, in seconds since 1970.
const START: i64 = 1_790_100_000;

/// A service UUID, least significant octet first.
const TOKEN_SERVICE: u128 = 0x4c71_48cd_69b9_4363_ba4c_b749_90a1_b2dc;

/// The first sixteen octets of what an app derives.
fn derived(label: &str, seconds: i64) -> [u8; 16] {
    derived_from(&KEY, label, seconds)
}

fn derived_from(key: &[u8; 32], label: &str, seconds: i64) -> [u8; 16] {
    let epoch = u32::try_from(seconds / 900).unwrap();
    let message = [label.as_bytes(), TENANT.as_bytes(), &epoch.to_be_bytes()].concat();
    let made = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &message);
    *made.as_ref().first_chunk().unwrap()
}

fn token(seconds: i64) -> Vec<u8> {
    token_of(&KEY, seconds)
}

fn token_of(key: &[u8; 32], seconds: i64) -> Vec<u8> {
    let made = derived_from(key, "beacon-gateway/service-token/1", seconds);
    [&[30, 0x21][..], &TOKEN_SERVICE.to_le_bytes(), &[0x01], &made[..12]].concat()
}

fn rolling_uuid(seconds: i64) -> Vec<u8> {
    let mut uuid = derived("beacon-gateway/rolling-uuid/1", seconds);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid.reverse();
    [&[2, 0x01, 0x06, 17, 0x07][..], &uuid].concat()
}

struct Shop {
    engine: Engine,
    clock: WallClock,
}

impl Shop {
    fn new(identifier: Identifier) -> Self {
        Self::with(vec![identifier], |_| {})
    }

    fn with(identifiers: Vec<Identifier>, change: impl FnOnce(&mut IdentitySettings)) -> Self {
        let mut settings = IdentitySettings {
            tenant: Tenant::new(TENANT).unwrap(),
            ..IdentitySettings::default()
        };
        change(&mut settings);
        let registry = Registry::new(vec![subject("member", identifiers)], vec![]).unwrap();
        let identity = Identity::new(registry, settings, AddressSeed::new(1));
        let zone = Zone {
            id: ZoneId::new("shop"),
            enter_rssi: -75.0,
            exit_rssi: -85.0,
            loitering: vec![],
            receivers: vec![],
        };
        let presence = PresenceSettings {
            receivers: Vec::new(),
            zones: vec![zone],
            smoothing: Duration::from_secs(3),
            exit_delay: Duration::from_secs(10),
            exit_timeout: Duration::from_secs(30),
            exit_timeout_max: Duration::from_mins(10),
            exit_after_missed: 6,
            checkpoint_interval: Duration::from_mins(1),
            resume_within: Duration::from_mins(5),
            ..PresenceSettings::default()
        };
        let visit = VisitId { epoch: 1, run: 0, number: 1 };
        let engine = Engine::new(identity, presence, visit);
        let clock = WallClock::default();
        let mut shop = Self { engine, clock };
        shop.set_clock(0, START, ClockQuality::Synced);
        shop
    }

    /// The wall clock says so at an uptime, in seconds.
    fn set_clock(&mut self, uptime: u64, unix: i64, quality: ClockQuality) {
        let at = Uptime::ZERO + Duration::from_secs(uptime);
        self.clock = WallClock { at, unix: UnixTime::from_millis(unix * 1000), quality };
        self.engine.handle_clock(self.clock);
    }

    /// Hears something; whether it was a subject's.
    fn hear(&mut self, uptime: u64, address: u8, data: &[u8]) -> bool {
        let heard = Uptime::ZERO + Duration::from_secs(uptime);
        let address = DeviceAddress::new([address; 6], AddressKind::Random);
        let rssi = Some(Rssi(-50));
        let advertisement = Advertisement::new(heard, ReceiverId::default(), address, rssi, data);
        let before = self.engine.counts().subject;
        self.engine.handle_advertisement(advertisement.heard, &advertisement);
        let counts = self.engine.counts();
        assert_eq!(counts.received, counts.malformed + counts.unknown + counts.decoded);
        assert_eq!(counts.decoded, counts.subject + counts.fixture + counts.anonymous);
        counts.subject > before
    }

    /// Lets the engine do what it asks time for, and tells in how many calls.
    fn rest(&mut self, uptime: u64) -> usize {
        let mut now = Uptime::ZERO + Duration::from_secs(uptime);
        let soon = now + Duration::from_secs(9);
        for calls in 0..1000 {
            match self.engine.poll_timeout().filter(|due| *due < soon) {
                Some(due) => now = now.max(due),
                None => return calls,
            }
            self.engine.handle_timeout(now);
        }
        panic!("the work never ends");
    }

    fn drain(&mut self) -> Vec<Situation> {
        std::iter::from_fn(|| self.engine.poll_event()).collect()
    }
}

fn subject(name: &str, identifiers: Vec<Identifier>) -> Subject {
    let pseudonym = Pseudonym::new(name);
    Subject { pseudonym, kind: SubjectKind::Asset, identifiers, consent: None }
}

/// The key of the n-th of many members.
fn nth_key(n: u32) -> [u8; 32] {
    let mut key = KEY;
    key[..4].copy_from_slice(&n.to_be_bytes());
    key
}

/// Many who have the app.
fn members() -> impl Iterator<Item = Subject> {
    (0..5000).map(|n| {
        let identifier = Identifier::ServiceToken(MemberKey::new(nth_key(n)));
        subject(&format!("member_{n}"), vec![identifier])
    })
}

fn service_token() -> Identifier {
    Identifier::ServiceToken(MemberKey::new(KEY))
}

#[test]
fn an_app_is_recognised_by_its_token_and_by_its_rolling_uuid_across_epochs() {
    let both = vec![service_token(), Identifier::RollingUuid(MemberKey::new(KEY))];
    let mut shop = Shop::with(both, |_| {});
    for seconds in (0..86_400).step_by(450) {
        let (uptime, now) = (u64::try_from(seconds).unwrap(), START + seconds);
        // The phone's clock may be off by up to an epoch.
        for drift in [-900, -450, 0, 450, 900] {
            assert!(shop.hear(uptime, 1, &token(now + drift)), "token, {seconds} s, {drift} s");
            assert!(
                shop.hear(uptime, 1, &rolling_uuid(now + drift)),
                "UUID, {seconds} s, {drift} s"
            );
        }
        assert!(!shop.hear(uptime, 1, &token(now - 1800)));
        assert!(!shop.hear(uptime, 1, &rolling_uuid(now + 1800)));
    }
}

#[test]
fn somebody_elses_token_is_decoded_and_somebody_elses_uuid_unknown() {
    let mut shop = Shop::new(service_token());
    assert!(!shop.hear(0, 1, &rolling_uuid(START)));
    let counts = shop.engine.counts();
    assert_eq!((counts.unknown, counts.decoded), (1, 0), "nobody here has that key for UUIDs");
    assert!(!shop.hear(1, 1, &token(START - 9000)));
    assert_eq!(shop.engine.counts().anonymous, 1);

    let mut shop = Shop::new(Identifier::RollingUuid(MemberKey::new(KEY)));
    assert!(shop.hear(0, 1, &rolling_uuid(START)));
    let counts = shop.engine.counts();
    assert_eq!((counts.unknown, counts.decoded), (0, 1));
}

#[test]
fn a_rolling_uuid_beside_what_is_never_processed_is_not_looked_at() {
    let mut shop = Shop::new(Identifier::RollingUuid(MemberKey::new(KEY)));
    let exposure = [&rolling_uuid(START)[..], &[3, 0x03, 0x6f, 0xfd]].concat();
    assert!(!shop.hear(0, 1, &exposure));
    assert_eq!(shop.engine.counts().unknown, 1);
}

#[test]
fn another_tenant_makes_other_values() {
    let change = |settings: &mut IdentitySettings| settings.tenant = Tenant::new("acmE").unwrap();
    let mut shop = Shop::with(vec![service_token()], change);
    assert!(!shop.hear(0, 1, &token(START)));
}

#[test]
fn tokens_come_under_the_operators_own_uuid_as_well() {
    let made = derived("beacon-gateway/service-token/1", START);
    let short = [&[17, 0x16, 0x12, 0xfc, 0x01][..], &made[..12], &[0xf9]].concat();
    let mut shop = Shop::new(service_token());
    assert!(!shop.hear(0, 1, &short));
    let change = |settings: &mut IdentitySettings| settings.token_uuid = TokenUuid::new(0xfc12);
    let mut shop = Shop::with(vec![service_token()], change);
    assert!(shop.hear(0, 1, &short));
    assert!(shop.hear(1, 1, &token(START)), "and under the built-in one");
}

#[test]
fn what_an_unsynced_clock_made_necessary_is_marked_in_the_visit() {
    // The clock stands where the power failed, six hours ago.
    let mut shop = Shop::new(service_token());
    shop.set_clock(0, START - 6 * 3600, ClockQuality::Unsynced);
    assert!(shop.hear(1, 1, &token(START)));
    shop.set_clock(2, START, ClockQuality::Synced);
    assert!(shop.hear(3, 1, &token(START)));
    let told = shop.drain();
    let marks: Vec<_> = told
        .iter()
        .filter_map(|it| match &it.what {
            What::Presence(presence) => Some(presence.visit.quality.wide_window),
            _ => None,
        })
        .collect();
    for situation in &told {
        let Body::Presence(presence) = Record::of(situation, RunId(1), &shop.clock).body else {
            panic!("nothing but somebody's presence")
        };
        assert!(presence.wide_window, "the platform is told as well");
    }
    assert!(!marks.is_empty() && marks.iter().all(|marked| *marked), "{marks:?}");

    let mut shop = Shop::new(service_token());
    shop.set_clock(0, START, ClockQuality::Unsynced);
    assert!(shop.hear(1, 1, &token(START)));
    let unmarked = shop.drain().iter().all(|it| match &it.what {
        What::Presence(presence) => !presence.visit.quality.wide_window,
        _ => true,
    });
    assert!(unmarked, "the ordinary window was enough");
}

#[test]
fn a_recording_that_is_played_beside_the_phone_is_counted() {
    let mut shop = Shop::new(service_token());
    for n in 0..60 {
        let address = if n % 3 == 0 { 0xaa } else { 1 };
        assert!(shop.hear(n, address, &token(START)));
    }
    assert_eq!(shop.engine.counts().implausible_doubles, 1);
    // A stranger who changes addresses is nobody's double, and a phone that does is none either.
    let mut shop = Shop::new(service_token());
    for n in 0..600 {
        let epoch = i64::try_from(n * 10).unwrap();
        shop.hear(n * 10, u8::try_from(n / 5).unwrap(), &token(START + epoch));
        shop.hear(n * 10, u8::try_from(n % 7).unwrap(), &token(START - 9000));
    }
    assert_eq!(shop.engine.counts().implausible_doubles, 0);
}

#[test]
fn many_members_are_recognised_soon_after_the_start_and_no_call_does_it_all() {
    let mine = subject("mine", vec![service_token()]);
    let registry = Registry::new(members().chain([mine]).collect(), vec![]).unwrap();
    let mut shop = Shop::new(service_token());
    shop.engine.handle_registry(Uptime::ZERO, registry);
    assert!(!shop.hear(0, 1, &token(START)), "the last to be enrolled is the last to be derived");
    let calls = shop.rest(0);
    assert!(calls > 50, "{calls}");
    assert!(shop.hear(9, 1, &token(START)));
}

#[test]
fn an_app_comes_and_goes_while_the_shop_is_open_and_nobody_else_waits_for_it() {
    let mut shop = Shop::new(service_token());
    shop.engine.handle_registry(Uptime::ZERO, Registry::new(members().collect(), vec![]).unwrap());
    shop.rest(0);
    let last = nth_key(4999);
    assert!(shop.hear(20, 1, &token_of(&last, START)) && !shop.hear(20, 2, &token(START)));

    let at = |seconds| Uptime::ZERO + Duration::from_secs(seconds);
    let both = vec![service_token(), Identifier::RollingUuid(MemberKey::new(KEY))];
    let changes = vec![Enrolment::Upsert(subject("mine", both))];
    assert_eq!(shop.engine.handle_enrolment(at(21), changes).added, 1);
    assert_eq!(shop.rest(21), 1, "the newcomer's values, and nobody else's");
    assert!(shop.hear(22, 2, &token(START)) && shop.hear(22, 2, &rolling_uuid(START)));
    assert!(shop.hear(22, 1, &token_of(&last, START)));

    // Another key in the app, and no UUID any more.
    let other = nth_key(5000);
    let token_alone = vec![Identifier::ServiceToken(MemberKey::new(other))];
    let changes = vec![Enrolment::Upsert(subject("mine", token_alone))];
    assert_eq!(shop.engine.handle_enrolment(at(23), changes).changed, 1);
    assert!(!shop.hear(23, 2, &token(START)) && !shop.hear(23, 2, &rolling_uuid(START)));
    assert!(shop.hear(23, 2, &token_of(&other, START)), "at the next call");
    assert!(shop.hear(23, 1, &token_of(&last, START)));

    let changes = vec![Enrolment::Withdraw(Pseudonym::new("mine"))];
    assert_eq!(shop.engine.handle_enrolment(at(24), changes).visits_closed, 1);
    assert!(!shop.hear(24, 2, &token_of(&other, START)), "withdrawn, and gone at once");
    assert!(shop.hear(24, 1, &token_of(&last, START)));
    assert_eq!(shop.rest(24), 0, "nothing is built anew");
}

#[test]
fn an_eid_beacon_is_followed_across_edges_and_through_weeks_of_silence() {
    let mut identity_key = [0; 16];
    hex::decode_to_slice("0102030405060708090a111213141516", &mut identity_key).unwrap();
    let beacon = Identifier::EddystoneEid {
        identity_key: Key::new(identity_key),
        rotation_exponent: 10,
        // The beacon's clock reads 2000 s, for which there is a published identifier, at the start.
        clock_zero: UnixTime::from_millis((START - 2000) * 1000),
    };
    let mut shop = Shop::new(beacon);
    let mut eid = vec![13, 0x16, 0xaa, 0xfe, 0x30, 0xee];
    eid.extend(hex::decode("4144413e45fefa58").unwrap());
    eid[0] = u8::try_from(eid.len() - 1).unwrap();
    // Its period is from 1024 s to 2048 s, and the window adds ten minutes.
    assert!(shop.hear(0, 1, &eid));
    assert!(shop.hear(47, 1, &eid));
    assert!(shop.hear(600, 1, &eid), "it may be ten minutes slow");
    assert!(!shop.hear(700, 1, &eid), "and no slower");
}

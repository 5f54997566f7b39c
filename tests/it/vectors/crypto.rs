//! The vectors of identities that are made with a key: what a device sends and when, through the
//! whole engine.

use std::time::Duration;

use aes::{
    Aes128Enc,
    cipher::{BlockEncrypt, KeyInit},
};
use beacon_gateway::{
    engine::{
        AddressKind, AddressSeed, Advertisement, ClockQuality, DeviceAddress, Engine, Identifier,
        Identity, IdentitySettings, Key, PresenceSettings, Pseudonym, ReceiverId, Registry,
        Subject, SubjectKind, UnixTime, Uptime, VisitId, WallClock, ephemeral_id,
    },
    registry,
};
use serde_json::{Value, json};

use super::Outcome;

/// The wall time at which a beacon's clock read zero, in seconds since 1970.
const CLOCK_ZERO: i64 = 1_700_000_000;

/// Checks one case.
pub(super) fn check(case: &Value) -> (&'static str, Outcome) {
    match case["kind"].as_str().unwrap_or_default() {
        "rpa_ah" | "rpa_resolve" => ("resolvable private addresses", resolvable(case)),
        "eddystone_eid" => ("Eddystone-EID", eid(case)),
        "eddystone_eid_tempkey" => ("Eddystone-EID, temporary key", temporary_key(case)),
        "eddystone_eid_identity_key" => ("Eddystone-EID, key agreement", registration(case)),
        _ => ("", Outcome::Failed("a kind that nobody knows".to_owned())),
    }
}

fn resolvable(case: &Value) -> Outcome {
    let identifier = Identifier::Irk(Key::new(octets(&case["irk_hex"])));
    let address = case["address"].as_str().expect("an address").parse().expect("an address");
    let heard = recognises(identifier, 0, address, &[]);
    judge(heard, case["resolves"] == true)
}

fn eid(case: &Value) -> Outcome {
    let exponent = case["rotation_exponent"].as_u64().and_then(|n| u8::try_from(n).ok());
    let time = case["beacon_time_s"].as_i64().expect("a time");
    let identifier = Identifier::EddystoneEid {
        identity_key: Key::new(octets(&case["identity_key"])),
        rotation_exponent: exponent.expect("an exponent"),
        clock_zero: UnixTime::from_millis(CLOCK_ZERO * 1000),
    };
    let eid: [u8; 8] = octets(&case["eid"]);
    let data = [&[13, 0x16, 0xaa, 0xfe, 0x30, 0xee][..], &eid].concat();
    let stranger = DeviceAddress::new([0x21; 6], AddressKind::Random);
    let mut outcome = judge(recognises(identifier, time, stranger, &data), true);
    // In another period, beyond the window, it is nobody's.
    for later in [2 * 3600, 7 * 86_400] {
        if recognises(identifier, time + later, stranger, &data) {
            outcome = Outcome::Failed(format!("recognised {later} s later"));
        }
    }
    outcome
}

/// The temporary key never leaves the engine: what is made with the expected one must be what the
/// engine makes.
fn temporary_key(case: &Value) -> Outcome {
    let identity_key = Key::new(octets(&case["identity_key"]));
    let counter = case["beacon_time_s"].as_u64().and_then(|time| u32::try_from(time).ok());
    let counter = counter.expect("a time");
    let cipher = Aes128Enc::new(&octets::<16>(&case["temporary_key"]).into());
    for exponent in 0..=15_u8 {
        let time = counter >> exponent << exponent;
        let mut block = (u128::from(exponent) << 32 | u128::from(time)).to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        if ephemeral_id(&identity_key, exponent, counter)[..] != block[..8] {
            return Outcome::Failed(format!("another identifier at exponent {exponent}"));
        }
    }
    Outcome::Passed
}

/// What a registration left, as a line of the registry: the identity key comes of it, and the proof
/// that goes with it is checked.
fn registration(case: &Value) -> Outcome {
    let expected = Key::new(octets(&case["identity_key"]));
    let line = |eid: &str| {
        let registration = json!({
            "service_private": case["service_private"],
            "beacon_public": case["beacon_public"],
            "counter": 0,
            "eid": eid,
        });
        let eid = json!({ "registration": registration, "rotation_exponent": 10 });
        let identifiers = json!([{ "eddystone_eid": eid }]);
        json!({ "subject": "s", "kind": "asset", "identifiers": identifiers }).to_string()
    };
    if registry::parse(&line("0000000000000000")).is_ok() {
        return Outcome::Failed("a wrong proof was believed".to_owned());
    }
    let sent = hex::encode(ephemeral_id(&expected, 10, 0));
    let subjects = registry::parse(&line(&sent)).expect("the proof is right");
    let made = subjects.first().and_then(|subject| subject.identifiers.first());
    let expected = Identifier::EddystoneEid {
        identity_key: expected,
        rotation_exponent: 10,
        clock_zero: UnixTime::default(),
    };
    judge(made == Some(&expected), true)
}

fn judge(heard: bool, expected: bool) -> Outcome {
    if heard == expected {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("recognised: {heard}"))
    }
}

/// Whether an engine that knows one identifier recognises what is sent.
fn recognises(identifier: Identifier, time: i64, address: DeviceAddress, data: &[u8]) -> bool {
    let subject = Subject {
        pseudonym: Pseudonym::new("subject"),
        kind: SubjectKind::Asset,
        identifiers: vec![identifier],
        consent: None,
    };
    let registry = Registry::new(vec![subject], vec![]).unwrap();
    let identity = Identity::new(registry, IdentitySettings::default(), AddressSeed::new(1));
    let presence = PresenceSettings {
        receivers: Vec::new(),
        zones: Vec::new(),
        smoothing: Duration::from_secs(3),
        exit_delay: Duration::from_secs(10),
        exit_timeout: Duration::from_secs(30),
        exit_timeout_max: Duration::from_mins(10),
        exit_after_missed: 6,
        checkpoint_interval: Duration::from_mins(1),
        resume_within: Duration::from_mins(5),
        ..PresenceSettings::default()
    };
    let mut engine = Engine::new(identity, presence, VisitId { epoch: 1, run: 0, number: 1 });
    let unix = UnixTime::from_millis((CLOCK_ZERO + time) * 1000);
    let quality = ClockQuality::Synced;
    engine.handle_clock(WallClock { at: Uptime::ZERO, unix, quality });
    let receiver = ReceiverId::default();
    let heard = Uptime::ZERO;
    let advertisement = Advertisement::new(heard, receiver, address, None, data);
    engine.handle_advertisement(heard, &advertisement);
    engine.counts().subject == 1
}

fn octets<const N: usize>(value: &Value) -> [u8; N] {
    let mut octets = [0; N];
    hex::decode_to_slice(value.as_str().expect("hexadecimal digits"), &mut octets)
        .expect("hexadecimal digits");
    octets
}

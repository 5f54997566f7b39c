//! The vectors of identities that are made with a key: what a device sends and when, through the
//! whole engine.

use std::time::Duration;

use beacon_gateway::engine::{
    AddressKind, AddressSeed, Advertisement, ClockQuality, DeviceAddress, Engine, Identifier,
    Identity, IdentitySettings, Key, PresenceSettings, Pseudonym, ReceiverId, Registry, Subject,
    SubjectKind, UnixTime, Uptime, VisitId, WallClock,
};
use serde_json::Value;

use super::Outcome;

/// The wall time at which a beacon's clock read zero, in seconds since 1970.
const CLOCK_ZERO: i64 = 1_700_000_000;

/// Checks one case.
pub(super) fn check(case: &Value) -> (&'static str, Outcome) {
    match case["kind"].as_str().unwrap_or_default() {
        "rpa_ah" | "rpa_resolve" => ("resolvable private addresses", resolvable(case)),
        "eddystone_eid" => ("Eddystone-EID", eid(case)),
        "eddystone_eid_tempkey" => (
            "",
            Outcome::NotCovered(
                "Eddystone-EID, temporary key (never leaves the engine; a test beside the code has it)",
            ),
        ),
        "eddystone_eid_identity_key" => (
            "",
            Outcome::NotCovered(
                "Eddystone-EID, key agreement (happens where a beacon is registered, not in a shop)",
            ),
        ),
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

//! Who is in the shop: customers that opted in, one whose consent has ended, a sensor, and
//! strangers whose addresses and payloads change all the time.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use aes::{
    Aes128,
    cipher::{BlockEncrypt as _, KeyInit as _},
};
use beacon_gateway::engine::UnixTime;

use crate::{
    air::{Air, Speech},
    controller::{Kind, Phy, Report},
    needles::Needle,
};

/// The customers who opted in, by pseudonym.
pub(crate) const CUSTOMERS: [&str; 4] = ["cust_ib", "cust_uid", "cust_eid", "cust_rpa"];

/// The address of the shop's sensor.
pub(crate) const SENSOR: &str = "A4:C1:38:5B:0E:DF";

const IBEACON_UUID: &str = "5f2dd896-b886-4549-ae01-e41acd7a354a";
const GONE_UUID: &str = "0d8a1f3c-94b7-4e5d-8c26-b15f70ae2d91";
const NAMESPACE: &str = "9d3c5be1a07f42c8e6b1";
const INSTANCE: &str = "47f0a2d9c35e";
const IRK: u128 = 0xec02_34a3_57c8_ad05_3410_10a6_0a39_7d9b;
const IDENTITY_KEY: u128 = 0x7c91_330e_61df_ea46_06b5_b3ec_b445_7d76;
/// 2^7 s: the identifier changes while the customer is in the shop.
const ROTATION_EXPONENT: u8 = 7;

/// How long a stranger keeps an address. Phones take 15 minutes; the test has less.
const STRANGER_PERIOD: i64 = 60_000;
/// How long the customer's phone keeps an address.
const PHONE_PERIOD: i64 = 45_000;

/// What strangers sent, and so must not be found.
pub(crate) type Traces = Arc<Mutex<BTreeSet<Needle>>>;

/// The registry file. The identity key's clock read 0 at `clock_zero`, RFC 3339.
pub(crate) fn registry(clock_zero: &str) -> String {
    let consent = |subject: &str, until: &str| {
        format!(
            r#""consent":{{"purposes":["presence","journey"],"from":"2000-01-01T00:00:00Z","until":"{until}","proof":"form-{subject}"}}"#
        )
    };
    let line = |subject: &str, identifier: &str, until: &str| {
        let consent = consent(subject, until);
        format!(
            r#"{{"subject":"{subject}","kind":"customer","identifiers":[{identifier}],{consent}}}"#
        )
    };
    let lasting = "2200-01-01T00:00:00Z";
    let ibeacon =
        |uuid: &str| format!(r#"{{"ibeacon":{{"uuid":"{uuid}","major":513,"minor":40961}}}}"#);
    let uid =
        format!(r#"{{"eddystone_uid":{{"namespace":"{NAMESPACE}","instance":"{INSTANCE}"}}}}"#);
    let eid = format!(
        r#"{{"eddystone_eid":{{"identity_key":"{IDENTITY_KEY:032x}","rotation_exponent":{ROTATION_EXPONENT},"clock_zero":"{clock_zero}"}}}}"#
    );
    let irk = format!(r#"{{"irk":"{IRK:032x}"}}"#);
    [
        line("cust_ib", &ibeacon(IBEACON_UUID), lasting),
        line("cust_uid", &uid, lasting),
        line("cust_eid", &eid, lasting),
        line("cust_rpa", &irk, lasting),
        // Withdrawn long ago: to the gateway, a stranger.
        line("cust_gone", &ibeacon(GONE_UUID), "2001-01-01T00:00:00Z"),
    ]
    .map(|line| line + "\n")
    .concat()
}

/// Puts everybody into the air, switched off: `customer …`, `sensor`, `stranger …`.
pub(crate) fn enter(air: &Air, strangers: u32, zero: UnixTime) -> Traces {
    let traces = Traces::default();
    let second = Duration::from_secs(1);
    let tag = |last: u8| [0xe8, 0x3d, 0x17, 0xb2, 0x5c, last];
    air.add("cust_ib", second, speech(tag(0xa1), -58, ibeacon(IBEACON_UUID)));
    air.add("cust_gone", second, {
        note(&traces, "the address of one who withdrew", &tag(0xf9));
        note(&traces, "the identifier of one who withdrew", &unhex(GONE_UUID));
        speech(tag(0xf9), -50, ibeacon(GONE_UUID))
    });
    let uid = format!("0201060303aafe1516aafe00ee{NAMESPACE}{INSTANCE}");
    air.add("cust_uid", second, speech(tag(0xa2), -62, unhex(&uid)));
    air.add(
        "cust_eid",
        second,
        Box::new(move |now| {
            let age = now.as_millis().saturating_sub(zero.as_millis()) / 1000;
            let eid = ephemeral_identifier(u32::try_from(age).unwrap_or(0));
            let data = [&unhex("0201060303aafe0d16aafe30ee")[..], &eid].concat();
            vec![report(tag(0xa3), -60, data)]
        }),
    );
    air.add(
        "cust_rpa",
        second,
        Box::new(|now| {
            let turn = u32::try_from(now.as_millis() / PHONE_PERIOD).unwrap_or(0);
            // What a phone says besides: an Apple message that names nobody.
            let data = unhex("02011a020a0c0aff4c001005031ce29d4a");
            vec![report(resolvable_address(turn), -56, data)]
        }),
    );
    let mut said = 0_u32;
    air.add(
        "sensor",
        Duration::from_secs(5),
        Box::new(move |_| {
            said += 1;
            // BTHome v2: 21.4 °C at first, then 24.0 °C.
            let celsius: i16 = if said <= 12 { 2140 } else { 2400 };
            let data = [&unhex("0201060716d2fc4002")[..], &celsius.to_le_bytes()].concat();
            let address = [0xa4, 0xc1, 0x38, 0x5b, 0x0e, 0xdf];
            vec![Report { random: false, ..report(address, -65, data) }]
        }),
    );
    for number in 0..strangers {
        let traces = Arc::clone(&traces);
        let mut turn = None;
        let mut reports = Vec::new();
        air.add(
            &format!("stranger {number}"),
            Duration::from_secs(4),
            Box::new(move |now| {
                let now = now.as_millis() / STRANGER_PERIOD;
                if turn.replace(now) != Some(now) {
                    reports = stranger(number, now, &traces);
                }
                reports.clone()
            }),
        );
    }
    traces
}

/// What must not leave the gateway although its owner opted in: events name the pseudonym alone.
pub(crate) fn members() -> BTreeSet<Needle> {
    let tag = |last: u8| vec![0xe8, 0x3d, 0x17, 0xb2, 0x5c, last];
    let needles = [
        ("the address of cust_ib", tag(0xa1)),
        ("the address of cust_uid", tag(0xa2)),
        ("the address of cust_eid", tag(0xa3)),
        ("the UUID of cust_ib", unhex(IBEACON_UUID)),
        ("the namespace of cust_uid", unhex(NAMESPACE)),
        ("the instance of cust_uid", unhex(INSTANCE)),
        ("the key of cust_eid", IDENTITY_KEY.to_be_bytes().to_vec()),
        ("the key of cust_rpa", IRK.to_be_bytes().to_vec()),
    ];
    needles.map(|(what, octets)| Needle { what: what.to_owned(), octets }).into()
}

/// One stranger for as long as it keeps its address, one of thirteen sorts.
fn stranger(number: u32, turn: i64, traces: &Traces) -> Vec<Report> {
    let seed = u64::from(number) << 32 | turn.unsigned_abs() & 0xffff_ffff;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut octets = |length: usize| -> Vec<u8> { (0..length).map(|_| random.u8(..)).collect() };
    let mut address = <[u8; 6]>::try_from(octets(6).as_slice()).unwrap_or_default();
    let sort = number % 13;
    // Resolvable, static, and twice neither; every fourth is public.
    let top = [0x40, 0xc0, 0x00, 0x00].get(number as usize % 4).copied().unwrap_or(0);
    address[0] = address[0] & 0x3f | top;
    // iBeacon, name, Find My, Nearby, Eddystone-UID, a service, exposure notification, Swift Pair,
    // BTHome, Ruuvi; what is the stranger's own stands between head and tail.
    let (own, head, tail): (Vec<u8>, &str, &str) = match sort {
        0 => (octets(20), "02011a1aff4c000215", "c5"),
        1 => (format!("Ana {:08x}'s phone", seed >> 8).into_bytes(), "02011a", ""),
        2 => (octets(22), "1eff4c001219", "00a1b2"),
        3 => (octets(6), "02011a020a0c0dff4c001008391c", ""),
        4 => (octets(16), "0201060303aafe1516aafe00e7", ""),
        5 => (octets(16), "0201061107", ""),
        6 => (octets(20), "17166ffd", ""),
        7 => (octets(10), "02010610ff0600011f20", ""),
        8 => (octets(8), "0201060e16d2fc405408", ""),
        9 => (octets(23), "0201061bff990405", ""),
        // Malformed: a structure that claims more octets than there are; one that claims none.
        10 => (octets(12), "020106ffff5900", ""),
        11 => (octets(12), "00000fff5900", ""),
        // An iBeacon cut short.
        _ => (octets(12), "02010611ff4c000215", ""),
    };
    note(traces, &format!("the address of a stranger of sort {sort}"), &address);
    note(traces, &format!("the payload of a stranger of sort {sort}"), &own);
    let mut data = [unhex(head), own.clone(), unhex(tail)].concat();
    if sort == 1 {
        // A name: its length first.
        let length = u8::try_from(own.len() + 1).unwrap_or(0);
        data = [unhex("02011a"), vec![length, 0x09], own].concat();
    }
    let rssi = -40 - i8::try_from(number % 50).unwrap_or(0);
    let random = number % 4 != 3;
    let report = Report { random, ..report(address, rssi, data) };
    if number % 5 != 4 {
        return vec![report];
    }
    // A connectable one that answers when it is asked for more.
    let more = octets_of(seed, 10);
    note(traces, "the scan response of a stranger", &more);
    let more = [unhex("0dff5900"), more].concat();
    let response = Report { kind: Kind::ScanResponse, data: more, ..report.clone() };
    vec![Report { kind: Kind::Connectable, ..report }, response]
}

fn octets_of(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(!seed);
    (0..length).map(|_| random.u8(..)).collect()
}

fn note(traces: &Traces, what: &str, octets: &[u8]) {
    if let Ok(mut traces) = traces.lock() {
        traces.insert(Needle { what: what.to_owned(), octets: octets.to_vec() });
    }
}

fn speech(address: [u8; 6], rssi: i8, data: Vec<u8>) -> Speech {
    Box::new(move |_| vec![report(address, rssi, data.clone())])
}

fn report(address: [u8; 6], rssi: i8, data: Vec<u8>) -> Report {
    Report { address, random: true, rssi, kind: Kind::NonConnectable, phy: Phy::OneMegabit, data }
}

fn ibeacon(uuid: &str) -> Vec<u8> {
    unhex(&format!("0201061aff4c000215{uuid}0201a001c5"))
}

/// Hexadecimal with anything between.
fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    hex::decode(digits).unwrap_or_default()
}

/// The phone's address in its n-th turn: random bits marked `01`, and their hash under its key
/// (Core Specification 5.4, Vol 6 Part B 1.3.2.2 and Vol 3 Part H 2.2.2).
fn resolvable_address(turn: u32) -> [u8; 6] {
    let random = u128::from(turn.wrapping_mul(2_654_435_761)) & 0x3f_ffff | 0x40_0000;
    let hash = encrypted(IRK, random) & 0xff_ffff;
    last_octets(random << 24 | hash)
}

/// The identifier that the beacon sends when its clock reads so many seconds (Eddystone-EID,
/// "EID computation").
fn ephemeral_identifier(seconds: u32) -> [u8; 8] {
    let temporary = encrypted(IDENTITY_KEY, 0xff << 32 | u128::from(seconds >> 16));
    let turn = u128::from(seconds >> ROTATION_EXPONENT << ROTATION_EXPONENT);
    let identifier = encrypted(temporary, u128::from(ROTATION_EXPONENT) << 32 | turn);
    last_octets(identifier >> 64)
}

/// AES-128 on numbers, most significant octet first.
fn encrypted(key: u128, block: u128) -> u128 {
    let mut block = block.to_be_bytes().into();
    Aes128::new(&key.to_be_bytes().into()).encrypt_block(&mut block);
    u128::from_be_bytes(block.into())
}

fn last_octets<const N: usize>(number: u128) -> [u8; N] {
    number.to_be_bytes().last_chunk().copied().unwrap_or([0; N])
}

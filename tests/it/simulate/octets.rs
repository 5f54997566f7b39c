//! Octets against the formats and the keys, read back by parsers and ciphers of this file's own.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    io::Write as _,
    path::PathBuf,
};

use aes::{
    Aes128,
    cipher::{BlockEncrypt, KeyInit},
};
use beacon_gateway::scan::simulate::{Origin, Settings, Shop};
use ruuvi_sensor_protocol::{BatteryPotential, Humidity, Pressure, Temperature};
use serde_json::Value;

use super::{STARTED, clear_air, of, receptions, settings};

/// Splits advertising data into type and content; `None` where a length leads astray.
fn structures(data: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut rest = data;
    let mut found = Vec::new();
    while let [length, tail @ ..] = rest {
        let (structure, tail) = tail.split_at_checked(usize::from(*length))?;
        let (kind, content) = structure.split_first()?;
        found.push((*kind, content));
        rest = tail;
    }
    Some(found)
}

/// The service data (0x16) or manufacturer data (0xFF) that begins with these two octets.
fn content(data: &[u8], kind: u8, prefix: [u8; 2]) -> Option<Vec<u8>> {
    structures(data)?
        .into_iter()
        .find_map(|(found, content)| (found == kind).then(|| content.strip_prefix(&prefix))?)
        .map(<[u8]>::to_vec)
}

fn encrypt(key: &[u8; 16], block: [u8; 16]) -> [u8; 16] {
    let mut block = block.into();
    Aes128::new(key.into()).encrypt_block(&mut block);
    block.into()
}

/// Core Specification, Vol 3 Part H 2.2.2.
fn resolves(irk: &[u8; 16], address: [u8; 6]) -> bool {
    let [a, b, c, hash @ ..] = address;
    let block = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c];
    a >> 6 == 1 && encrypt(irk, block)[13..] == hash
}

/// Eddystone-EID, "EID computation".
fn ephemeral_id(key: &[u8; 16], exponent: u8, time: u32) -> [u8; 8] {
    let mut block = [0; 16];
    block[11] = 0xff;
    block[14..].copy_from_slice(&time.to_be_bytes()[..2]);
    let temporary = encrypt(key, block);
    let mut block = [0; 16];
    block[11] = exponent;
    block[12..].copy_from_slice(&(time >> exponent << exponent).to_be_bytes());
    encrypt(&temporary, block)[..8].try_into().unwrap()
}

fn octets<const N: usize>(text: &Value) -> [u8; N] {
    let text = text.as_str().expect("hexadecimal digits").replace(':', "");
    hex::decode(text).expect("hexadecimal digits").try_into().expect("the right length")
}

/// The registry's identifiers by subject and kind.
fn registry(shop: &Shop) -> BTreeMap<(String, String), Value> {
    let mut identifiers = BTreeMap::new();
    for line in shop.registry_jsonl().lines() {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        for identifier in line["identifiers"].as_array().expect("a list") {
            for (kind, value) in identifier.as_object().expect("one kind each") {
                let subject = line["subject"].as_str().expect("a name").to_owned();
                identifiers.insert((subject, kind.clone()), value.clone());
            }
        }
    }
    identifiers
}

fn identifier(shop: &Shop, subject: &str, kind: &str) -> Value {
    registry(shop)[&(subject.to_owned(), kind.to_owned())].clone()
}

#[test]
fn the_ciphers_of_this_file_answer_the_published_vectors() {
    let irk = 0xec02_34a3_57c8_ad05_3410_10a6_0a39_7d9b_u128.to_be_bytes();
    assert!(resolves(&irk, [0x70, 0x81, 0x94, 0x0d, 0xfb, 0xaa]));
    assert!(!resolves(&irk, [0x70, 0x81, 0x94, 0x0d, 0xfb, 0xab]));

    let folder = std::env::var_os("BEACON_GATEWAY_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let path = folder.join("vectors/crypto_vectors.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        let absent =
            format!("{} is absent: its address and EID cases did not run\n", path.display());
        std::io::stderr().write_all(absent.as_bytes()).unwrap();
        return;
    };
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let (mut addresses, mut eids) = (0, 0);
    for case in &cases {
        match case["kind"].as_str().unwrap() {
            "rpa_ah" | "rpa_resolve" => {
                let found = resolves(&octets(&case["irk_hex"]), octets(&case["address"]));
                assert_eq!(found, case["resolves"].as_bool().unwrap(), "{case}");
                addresses += 1;
            }
            "eddystone_eid" => {
                let exponent = case["rotation_exponent"].as_u64().unwrap().try_into().unwrap();
                let time = case["beacon_time_s"].as_u64().unwrap().try_into().unwrap();
                let key = octets(&case["identity_key"]);
                assert_eq!(ephemeral_id(&key, exponent, time), octets(&case["eid"]), "{case}");
                eids += 1;
            }
            _ => {}
        }
    }
    assert!(5 <= addresses && 3 <= eids, "{addresses} addresses and {eids} EIDs");
}

#[test]
fn every_kind_of_identifier_and_every_sort_of_stranger_is_heard() {
    let mut shop = Shop::new(7, &settings(120));
    let heard = receptions(&mut shop);
    let mut sorts: BTreeMap<String, usize> = BTreeMap::new();
    for one in &heard {
        let whose = match &one.origin {
            Origin::Subject(_) => "subject",
            Origin::Fixture(_) => "fixture",
            Origin::Stranger => "stranger",
        };
        let sort = format!("{whose} {}", sort_of(one.advertisement.data()));
        *sorts.entry(sort).or_default() += 1;
        assert!(one.advertisement.data().len() <= 31, "longer than a legacy advertisement");
    }
    let mut table = String::new();
    for (sort, count) in &sorts {
        writeln!(table, "{sort}: {count}").unwrap();
    }
    for wanted in [
        "subject iBeacon",
        "subject AltBeacon",
        "subject Eddystone-UID",
        "subject Eddystone-EID",
        "subject phone",
        "subject name",
        "subject other",
        "fixture Ruuvi",
        "fixture BTHome",
        "fixture Eddystone-TLM",
        "fixture Eddystone-UID",
        "stranger phone",
        "stranger Find My",
        "stranger Exposure Notification",
        "stranger name",
        "stranger iBeacon",
        "stranger medical",
        "stranger Eddystone-URL",
        "stranger broken",
    ] {
        assert!(sorts.contains_key(wanted), "no {wanted} among\n{table}");
    }
    let kinds: BTreeSet<String> = registry(&shop).into_keys().map(|(_, kind)| kind).collect();
    let all = ["address", "altbeacon", "eddystone_eid", "eddystone_uid", "ibeacon", "irk"];
    assert!(kinds.iter().eq(all), "{kinds:?}");
}

fn sort_of(data: &[u8]) -> &'static str {
    let apple = content(data, 0xff, [0x4c, 0x00]);
    let eddystone = content(data, 0x16, [0xaa, 0xfe]);
    let structures = structures(data);
    let has = |kind, wanted: &[u8]| {
        structures.iter().flatten().any(|(found, content)| *found == kind && *content == wanted)
    };
    match (apple.as_deref(), eddystone.as_deref()) {
        (Some([0x02, 0x15, rest @ ..]), _) if rest.len() == 21 => "iBeacon",
        (Some([0x10, 0x05, rest @ ..]), _) if rest.len() == 5 => "phone",
        (Some([0x12, 0x19, rest @ ..]), _) if rest.len() == 25 => "Find My",
        (_, Some([0x00, rest @ ..])) if rest.len() == 19 => "Eddystone-UID",
        (_, Some([0x10, ..])) => "Eddystone-URL",
        (_, Some([0x20, 0x00, rest @ ..])) if rest.len() == 12 => "Eddystone-TLM",
        (_, Some([0x30, rest @ ..])) if rest.len() == 9 => "Eddystone-EID",
        _ if content(data, 0xff, [0x18, 0x01])
            .is_some_and(|it| it.starts_with(&[0xbe, 0xac]) && it.len() == 24) =>
        {
            "AltBeacon"
        }
        _ if content(data, 0x16, [0x6f, 0xfd]).is_some_and(|it| it.len() == 20) => {
            "Exposure Notification"
        }
        _ if content(data, 0xff, [0x99, 0x04]).is_some_and(|it| it.len() == 24) => "Ruuvi",
        _ if content(data, 0x16, [0xd2, 0xfc]).is_some_and(|it| 5 < it.len()) => "BTHome",
        _ if has(0x03, &[0x08, 0x18]) => "medical",
        _ if structures.is_none() || apple.is_some() || eddystone.is_some() => "broken",
        _ if structures.iter().flatten().any(|(kind, _)| *kind == 0x09) => "name",
        _ => "other",
    }
}

#[test]
fn a_phone_changes_its_address_and_each_one_resolves_under_the_key_in_the_registry() {
    let mut shop = Shop::new(8, &Settings { radio: clear_air(), ..settings(120) });
    let heard = receptions(&mut shop);
    let key = octets(&identifier(&shop, "cust_phone", "irk"));
    let mut addresses = BTreeSet::new();
    for one in of(&heard, "cust_phone") {
        let address = one.advertisement.address();
        assert!(address.is_resolvable() && resolves(&key, address.octets()));
        addresses.insert(address.octets());
    }
    // 120 s at a rotation of 20 s, without the time away.
    assert!((3..=8).contains(&addresses.len()), "{} addresses", addresses.len());

    let mut strangers = BTreeSet::new();
    for one in heard.iter().filter(|one| one.origin == Origin::Stranger) {
        assert!(!resolves(&key, one.advertisement.address().octets()), "a stranger resolves");
        strangers.insert(one.advertisement.address().octets());
    }
    assert!(100 < strangers.len(), "{} addresses of strangers", strangers.len());
    let own: BTreeSet<_> = shop.fixtures().iter().map(|fixture| fixture.address.octets()).collect();
    assert!(own.is_disjoint(&strangers) && addresses.is_disjoint(&strangers));
}

#[test]
fn an_eddystone_eid_follows_its_key_and_clock_and_changes_its_address_with_it() {
    let mut shop = Shop::new(9, &Settings { radio: clear_air(), ..settings(180) });
    let heard = receptions(&mut shop);
    let entry = identifier(&shop, "cust_eid", "eddystone_eid");
    let key = octets(&entry["identity_key"]);
    let exponent: u8 = entry["rotation_exponent"].as_u64().unwrap().try_into().unwrap();
    let zero: jiff::Timestamp = entry["clock_zero"].as_str().unwrap().parse().unwrap();
    assert_eq!(exponent, 5);

    let mut seen: HashMap<[u8; 8], BTreeSet<[u8; 6]>> = HashMap::new();
    for one in of(&heard, "cust_eid") {
        let frame = content(one.advertisement.data(), 0x16, [0xaa, 0xfe]).expect("service data");
        let eid: [u8; 8] = frame[2..].try_into().expect("eight octets");
        let micros = one.advertisement.heard.as_micros();
        let elapsed_ms = STARTED.as_millis() + micros / 1000 - zero.as_millisecond();
        // The beacon's clock is 2 s fast; half a millisecond passes on the air.
        let now = |late_ms: i64| u32::try_from((elapsed_ms + 2000 - late_ms) / 1000).unwrap();
        let expected = [ephemeral_id(&key, exponent, now(0)), ephemeral_id(&key, exponent, now(3))];
        assert!(expected.contains(&eid), "at {micros} us");
        assert_eq!(one.advertisement.address().octets()[0] >> 6, 0, "non-resolvable private");
        seen.entry(eid).or_default().insert(one.advertisement.address().octets());
    }
    assert!((2..=7).contains(&seen.len()), "{} identifiers in 180 s", seen.len());
    assert!(seen.values().all(|addresses| addresses.len() == 1), "an address outlives its EID");
}

#[test]
fn the_sensors_say_what_other_decoders_read_and_change_slowly() {
    let mut shop = Shop::new(10, &Settings { radio: clear_air(), ..settings(120) });
    let heard = receptions(&mut shop);

    let mut last: Option<f64> = None;
    for one in of(&heard, "climate-1") {
        let value = content(one.advertisement.data(), 0xff, [0x99, 0x04]).unwrap();
        let values =
            ruuvi_sensor_protocol::SensorValues::from_manufacturer_specific_data(0x0499, &value)
                .expect("data format 5");
        let celsius = f64::from(values.temperature_as_millicelsius().unwrap()) / 1000.0;
        assert!((12.5..16.5).contains(&celsius), "{celsius} °C");
        assert!((500_000..750_000).contains(&values.humidity_as_ppm().unwrap()));
        assert!((100_900..101_400).contains(&values.pressure_as_pascals().unwrap()));
        assert_eq!(values.battery_potential_as_millivolts(), Some(2970));
        assert_eq!(value[18..], one.advertisement.address().octets(), "the tag states its address");
        if let Some(last) = last.replace(celsius) {
            assert!((celsius - last).abs() < 0.4, "from {last} to {celsius} °C");
        }
    }

    let (mut coldest, mut warmest, mut running) = (f64::MAX, f64::MIN, BTreeSet::new());
    for one in of(&heard, "fridge-1") {
        let value = content(one.advertisement.data(), 0x16, [0xd2, 0xfc]).unwrap();
        // Device information, packet id, battery, temperature, power: ids ascend.
        let [0x40, 0x00, _, 0x01, 87, 0x02, low, high, 0x0b, a, b, c] = value[..] else {
            panic!("{value:02x?}");
        };
        let celsius = f64::from(i16::from_le_bytes([low, high])) / 100.0;
        let watts = f64::from(u32::from_le_bytes([a, b, c, 0])) / 100.0;
        coldest = coldest.min(celsius);
        warmest = warmest.max(celsius);
        running.insert(10.0 < watts);
    }
    assert!(
        (2.7..3.9).contains(&coldest) && (4.7..5.7).contains(&warmest),
        "{coldest} to {warmest}"
    );
    assert_eq!(running.len(), 2, "the compressor starts and stops");

    let mut doors = BTreeSet::new();
    for one in of(&heard, "fridge-door-1") {
        let value = content(one.advertisement.data(), 0x16, [0xd2, 0xfc]).unwrap();
        let [0x40, 0x00, _, 0x01, 95, 0x1a, open] = value[..] else { panic!("{value:02x?}") };
        doors.insert(open);
    }
    assert!(doors.iter().eq(&[0, 1]), "the door opens and closes: {doors:?}");

    let telemetry: Vec<Vec<u8>> = of(&heard, "beacon-1")
        .into_iter()
        .filter_map(|one| content(one.advertisement.data(), 0x16, [0xaa, 0xfe]))
        .filter(|frame| frame[0] == 0x20)
        .collect();
    assert!((15..30).contains(&telemetry.len()), "{} telemetry frames", telemetry.len());
    for frame in telemetry {
        let celsius = f64::from(i16::from_be_bytes([frame[4], frame[5]])) / 256.0;
        assert!((19.5..22.5).contains(&celsius), "{celsius} °C");
        assert_eq!(u16::from_be_bytes([frame[2], frame[3]]), 3020);
    }
}

//! Changing the registry piece by piece comes to the same as building it anew.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::engine::{AddressKind, ClockQuality, frame};

const NAMES: u8 = 24;
const DEVICES: u8 = 48;

/// The n-th device of those that are enrolled and struck out again: of every kind.
fn device(n: u8) -> Identifier {
    match n % 8 {
        0 => Identifier::Address([0xc0, 0, 0, 0, 0, n]),
        1 => Identifier::IBeacon { proximity_uuid: [0xab; 16], major: 1, minor: u16::from(n) },
        2 => Identifier::AltBeacon([n; 20]),
        3 => Identifier::EddystoneUid { namespace: [7; 10], instance: [n; 6] },
        4 => Identifier::EddystoneEid {
            identity_key: Key::new([n; 16]),
            rotation_exponent: 10,
            clock_zero: UnixTime::default(),
        },
        5 => Identifier::Irk(Key::new([n; 16])),
        6 => Identifier::ServiceToken(MemberKey::new([n; 32])),
        _ => Identifier::RollingUuid(MemberKey::new([n; 32])),
    }
}

/// What the n-th device sends at a time.
fn sent(n: u8, unix: UnixTime) -> (DeviceAddress, Vec<u8>) {
    sent_by(device(n), n, unix)
}

/// What a device sends at a time, the n-th of all.
pub(super) fn sent_by(device: Identifier, n: u8, unix: UnixTime) -> (DeviceAddress, Vec<u8>) {
    let somebody = DeviceAddress::new([0xc1, 0xff, 0, 0, 0, n], AddressKind::Random);
    let service_data = |frame: &[u8]| {
        let mut data = vec![3, 0x03, 0xaa, 0xfe];
        data.push(u8::try_from(frame.len()).unwrap() + 3);
        data.extend([0x16, 0xaa, 0xfe]);
        data.extend(frame);
        data
    };
    match device {
        Identifier::Address(octets) => {
            (DeviceAddress::new(octets, AddressKind::Random), vec![2, 1, 6])
        }
        Identifier::IBeacon { proximity_uuid, major, minor } => {
            let mut data = vec![26, 0xff, 0x4c, 0x00, 0x02, 0x15];
            data.extend(proximity_uuid);
            data.extend(major.to_be_bytes());
            data.extend(minor.to_be_bytes());
            data.push(0xc5);
            (somebody, data)
        }
        Identifier::AltBeacon(id) => {
            let mut data = vec![27, 0xff, 0x18, 0x01, 0xbe, 0xac];
            data.extend(id);
            data.extend([0xc5, 0]);
            (somebody, data)
        }
        Identifier::EddystoneUid { namespace, instance } => {
            let mut frame = vec![0x00, 0xee];
            frame.extend(namespace);
            frame.extend(instance);
            frame.extend([0, 0]);
            (somebody, service_data(&frame))
        }
        Identifier::EddystoneEid { identity_key, .. } => {
            // google/eddystone, eid-computation.md, for a rotation of 1,024 s.
            let seconds = u32::try_from(unix.as_millis() / 1000).unwrap() & !0x3ff;
            let temporary = encrypt(identity_key.0, 0xff << 32 | u128::from(seconds >> 16));
            let whole = encrypt(temporary, 10 << 32 | u128::from(seconds));
            let mut frame = vec![0x30, 0xee];
            frame.extend(&whole[..8]);
            (somebody, service_data(&frame))
        }
        Identifier::ServiceToken(key) => {
            let token = derived("beacon-gateway/service-token/1", key, unix);
            let mut data = vec![30, 0x21];
            data.extend(0x4c71_48cd_69b9_4363_ba4c_b749_90a1_b2dc_u128.to_le_bytes());
            data.push(0x01);
            data.extend(&token[..12]);
            (somebody, data)
        }
        Identifier::RollingUuid(key) => {
            let mut uuid = derived("beacon-gateway/rolling-uuid/1", key, unix);
            uuid[6] = uuid[6] & 0x0f | 0x80;
            uuid[8] = uuid[8] & 0x3f | 0x80;
            let mut data = vec![17, 0x07];
            data.extend(uuid.iter().rev());
            (somebody, data)
        }
        Identifier::Irk(key) => {
            let [.., h2, h1, h0] = encrypt(key.0, 0x40_0000 | u128::from(n));
            (DeviceAddress::new([0x40, 0, n, h2, h1, h0], AddressKind::Random), vec![2, 1, 6])
        }
    }
}

/// What an app derives (`docs/app-identity.md`), for a tenant without a name.
fn derived(label: &str, key: MemberKey, unix: UnixTime) -> [u8; 16] {
    use ring::hmac;
    let epoch = u32::try_from(unix.as_millis() / 900_000).unwrap();
    let message = [label.as_bytes(), &epoch.to_be_bytes()].concat();
    let made = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.0), &message);
    *made.as_ref().first_chunk().unwrap()
}

fn encrypt(key: [u8; 16], block: u128) -> [u8; 16] {
    use aes::cipher::{BlockEncrypt, KeyInit};
    let mut block = block.to_be_bytes().into();
    aes::Aes128::new(&key.into()).encrypt_block(&mut block);
    block.into()
}

fn subject(name: u8, devices: &[u8]) -> Subject {
    Subject {
        pseudonym: Pseudonym::new(&format!("s{name}")),
        kind: SubjectKind::Asset,
        identifiers: devices.iter().map(|n| device(*n)).collect(),
        consent: None,
    }
}

fn fixtures() -> Vec<Fixture> {
    let fixture = |n| Fixture {
        id: format!("f{n}"),
        zone: None,
        hangs: None,
        identifier: device(n).into(),
        key: None,
        canary: false,
        report: ReportPolicy::default(),
    };
    // Of each kind that never changes, one.
    (0..4).map(fixture).collect()
}

fn identity(enrolled: &BTreeMap<u8, Vec<u8>>) -> Identity {
    let subjects = enrolled.iter().map(|(name, devices)| subject(*name, devices)).collect();
    let registry = Registry::new(subjects, fixtures()).unwrap();
    // One match is enough: what was confirmed before is no part of the question.
    let settings = IdentitySettings { irk_max_false_per_day: 1000.0, ..Default::default() };
    Identity::new(registry, settings, AddressSeed::new(3))
}

/// Who each device is taken for.
fn answers(identity: &mut Identity, now: Uptime, wall: &WallClock) -> Vec<String> {
    let unix = wall.unix_at(now);
    identity.work(now, wall);
    for _ in 0..10 {
        let Some(due) = identity.next_work() else { break };
        identity.work(now.max(due), wall);
    }
    let mut ask = |n| {
        let (address, data) = sent(n, unix);
        let frames = frame::decode(&data).unwrap_or_default();
        match identity.resolve(now, wall, address, &frames, &data).0 {
            Resolution::Subject(Recognition { subject, .. }) => {
                identity.registry().subject(subject).unwrap().pseudonym.to_string()
            }
            Resolution::Fixture(index) => identity.registry().fixture(index).unwrap().id.clone(),
            Resolution::Anonymous => String::new(),
        }
    };
    (0..DEVICES).map(&mut ask).collect()
}

#[test]
fn changes_one_by_one_come_to_the_same_as_building_anew() {
    for seed in 0..10 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut enrolled: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        let mut changing = identity(&enrolled);
        let mut refused = 0;
        for step in 0..80 {
            let name = random.u8(..NAMES);
            if random.u8(..3) == 0 {
                let gone = changing.withdraw(&Pseudonym::new(&format!("s{name}"))).is_some();
                assert_eq!(gone, enrolled.remove(&name).is_some());
            } else {
                let devices: Vec<u8> = (0..random.u8(..4)).map(|_| random.u8(..DEVICES)).collect();
                let others = enrolled.iter().filter(|(other, _)| **other != name);
                let taken: BTreeSet<u8> =
                    others.flat_map(|(_, devices)| devices).copied().chain(0..4).collect();
                let own: BTreeSet<u8> = devices.iter().copied().collect();
                let allowed = own.is_disjoint(&taken) && own.len() == devices.len();
                let outcome = changing.upsert(subject(name, &devices));
                assert_eq!(outcome.is_ok(), allowed, "seed {seed}, step {step}: {outcome:?}");
                if allowed {
                    assert_eq!(outcome.unwrap().1, enrolled.insert(name, devices).is_none());
                } else {
                    refused += 1;
                }
            }
            // Seven minutes pass: rotations end, and some strangers are forgotten, others not.
            let now = Uptime::ZERO + Duration::from_mins(7) * step;
            let wall = WallClock {
                at: Uptime::ZERO,
                unix: UnixTime::from_millis(1_700_000_000_000),
                quality: ClockQuality::Synced,
            };
            let mut anew = identity(&enrolled);
            let expected = answers(&mut anew, now, &wall);
            assert_eq!(answers(&mut changing, now, &wall), expected, "seed {seed}, step {step}");
            let known = enrolled.values().map(Vec::len).sum::<usize>() + 4;
            assert_eq!(expected.iter().filter(|who| !who.is_empty()).count(), known);
            assert_eq!(changing.registry().subject_count(), enrolled.len());
        }
        assert!(refused > 5, "seed {seed}: hardly anything collided");
    }
}

#[test]
fn of_each_subject_it_is_told_which_of_its_devices_was_heard() {
    let devices: Vec<u8> = (8..16).collect();
    let mut identity = identity(&BTreeMap::from([(0, devices.clone()), (1, vec![20])]));
    let wall = WallClock {
        at: Uptime::ZERO,
        unix: UnixTime::from_millis(1_700_000_000_000),
        quality: ClockQuality::Synced,
    };
    // What rotates is derived first.
    answers(&mut identity, Uptime::ZERO, &wall);
    let mut tag = |n| {
        let (address, data) = sent(n, wall.unix);
        let frames = frame::decode(&data).unwrap_or_default();
        match identity.resolve(Uptime::ZERO, &wall, address, &frames, &data).0 {
            Resolution::Subject(Recognition { tag, .. }) => Some(tag),
            _ => None,
        }
    };
    let tags: Vec<Option<u8>> = devices.into_iter().map(&mut tag).collect();
    assert_eq!(tags, (0..8).map(Some).collect::<Vec<_>>());
    assert_eq!(tag(20), Some(0));
}

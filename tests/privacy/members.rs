//! Those who opted in: how their devices are recognised, what they agreed to, and what became of it.

use aes::{
    Aes128,
    cipher::{BlockEncrypt as _, KeyInit as _},
};
use beacon_gateway::{engine::UnixTime, uplink::payload::utc};
use ring::hmac;

use crate::{
    air::{Data, Sent, altbeacon, eddystone, ibeacon, rolling_uuid, service_token},
    needles::{Needles, What},
};

/// One member.
pub(crate) struct Member {
    pub(crate) number: usize,
    /// Letters, different from the first one on: where names are sorted and share beginnings, what
    /// is left of each can still be told.
    pub(crate) name: String,
    /// Whether the platform enrols it by commands; the others stand in the registry file.
    pub(crate) by_command: bool,
    pub(crate) device: Device,
    /// What was agreed to, over time; the last one holds.
    pub(crate) versions: Vec<Version>,
    /// When the member comes and goes, in the order of time.
    pub(crate) visits: Vec<(i64, i64)>,
    /// When the device is heard next.
    pub(crate) next: i64,
}

/// What a member agreed to from some moment on.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// When the gateway was told, and when it had certainly understood; milliseconds since 1970.
    pub(crate) told: i64,
    pub(crate) in_force: i64,
    /// `None` once it was withdrawn.
    pub(crate) grant: Option<Grant>,
}

/// A consent.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    /// Some of [`PURPOSES`].
    pub(crate) purposes: Vec<&'static str>,
    pub(crate) from: i64,
    pub(crate) until: Option<i64>,
}

pub(crate) const PURPOSES: [&str; 3] = ["presence", "journey", "engagement"];

/// How a device is recognised.
pub(crate) enum Device {
    Address([u8; 6]),
    IBeacon([u8; 16]),
    AltBeacon([u8; 20]),
    EddystoneUid([u8; 16]),
    EddystoneEid([u8; 16]),
    Irk([u8; 16]),
    ServiceToken([u8; 32]),
    RollingUuid([u8; 32]),
}

/// So many ways [`Member::new`] knows, some of them twice.
pub(crate) const KINDS: usize = 12;

/// The way of those who are recognised by an identity resolving key.
pub(crate) const BY_IRK: usize = 11;

/// How many letters of a name may be lost where names share their beginnings.
const SHARED: usize = 6;

/// How long a value of an app lasts: 15 minutes.
const EPOCH: i64 = 900_000;

/// Of the gateway under test; app identities are made for one.
pub(crate) const TENANT: &str = "tenant";

/// Of an Eddystone-EID beacon: an identifier lasts 2^10 s.
const EXPONENT: u8 = 10;

/// How long a device keeps a resolvable address: 15 minutes.
const ROTATION: i64 = 900_000;

impl Member {
    /// Makes one up; `way` says how it is recognised, up to [`KINDS`].
    pub(crate) fn new(number: usize, way: usize, grant: Grant, random: &mut fastrand::Rng) -> Self {
        let mut mark = [0; 20];
        mark.fill_with(|| random.u8(1..));
        let mut long = [0; 32];
        long.fill_with(|| random.u8(1..));
        let [key @ .., _, _, _, _] = mark;
        let [mut address @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _] = mark;
        address[0] |= 0xc0;
        let device = match way {
            0 | 1 => Device::Address(address),
            2 => Device::IBeacon(key),
            3 => Device::AltBeacon(mark),
            4 => Device::EddystoneUid(key),
            5 | 6 => Device::EddystoneEid(key),
            7 | 8 => Device::ServiceToken(long),
            9 => Device::RollingUuid(long),
            _ => Device::Irk(key),
        };
        let version = Version { told: i64::MIN, in_force: i64::MIN, grant: Some(grant) };
        let name = std::iter::repeat_with(|| random.lowercase()).take(20).collect();
        let by_command = (number / KINDS).is_multiple_of(2);
        let (versions, visits) = (vec![version], Vec::new());
        Self { number, name, by_command, device, versions, visits, next: i64::MIN }
    }

    pub(crate) fn grant(&self) -> Option<&Grant> {
        self.versions.last().and_then(|version| version.grant.as_ref())
    }

    /// Whether the member is in the shop.
    pub(crate) fn is_here(&self, now: i64) -> bool {
        self.visits.iter().any(|(came, left)| (*came..*left).contains(&now))
    }

    /// The member's line in the registry file, if there is to be one.
    pub(crate) fn line(&self) -> Option<String> {
        self.grant().map(|grant| self.line_with(grant))
    }

    /// The line for another consent than the member's.
    pub(crate) fn line_with(&self, grant: &Grant) -> String {
        let Self { name, device, .. } = self;
        let hex = |octets: &[u8]| hex::encode(octets);
        let identifier = match device {
            Device::Address(octets) => {
                let octets = octets.map(|octet| format!("{octet:02X}")).join(":");
                format!(r#"{{"address":"{octets}"}}"#)
            }
            Device::IBeacon(uuid) => {
                format!(r#"{{"ibeacon":{{"uuid":"{}","major":1,"minor":2}}}}"#, hex(uuid))
            }
            Device::AltBeacon(id) => format!(r#"{{"altbeacon":"{}"}}"#, hex(id)),
            Device::EddystoneUid(id) => {
                let (namespace, instance) = id.split_at(10);
                format!(
                    r#"{{"eddystone_uid":{{"namespace":"{}","instance":"{}"}}}}"#,
                    hex(namespace),
                    hex(instance)
                )
            }
            Device::EddystoneEid(key) => format!(
                r#"{{"eddystone_eid":{{"identity_key":"{}","rotation_exponent":{EXPONENT}}}}}"#,
                hex(key)
            ),
            Device::Irk(key) => format!(r#"{{"irk":"{}"}}"#, hex(key)),
            Device::ServiceToken(key) => format!(r#"{{"service_token":"{}"}}"#, hex(key)),
            Device::RollingUuid(key) => format!(r#"{{"rolling_uuid":"{}"}}"#, hex(key)),
        };
        let purposes = grant.purposes.iter().map(|purpose| format!("\"{purpose}\""));
        let purposes = purposes.collect::<Vec<_>>().join(",");
        let from = utc(UnixTime::from_millis(grant.from));
        let until = grant.until.map(|until| utc(UnixTime::from_millis(until)));
        let until = until.map_or(String::new(), |until| format!(r#""until":"{until}","#));
        format!(
            "{{\"subject\":\"{name}\",\"kind\":\"customer\",\"identifiers\":[{identifier}],\
             \"consent\":{{\"purposes\":[{purposes}],\"from\":\"{from}\",{until}\
             \"proof\":\"form-{name}\"}}}}\n"
        )
    }

    /// What the member's device sends.
    pub(crate) fn sent(&self, now: i64, random: &mut fastrand::Rng) -> Sent {
        let plain = || Data::default().flags().finish();
        let mut address = [0x33; 6];
        address.fill_with(|| random.u8(1..));
        address[0] = address[0] & 0x3f | 0xc0;
        let data = match &self.device {
            Device::Address(octets) => {
                address = *octets;
                plain()
            }
            Device::IBeacon(uuid) => ibeacon(uuid, [0, 1, 0, 2]),
            Device::AltBeacon(id) => altbeacon(id),
            Device::EddystoneUid(id) => eddystone(&[&[0x00, 0xee], &id[..], &[0, 0]].concat()),
            Device::EddystoneEid(key) => {
                let clock = u32::try_from(now / 1000).unwrap_or(u32::MAX);
                eddystone(&[&[0x30, 0xee], &ephemeral(key, clock)[..]].concat())
            }
            Device::Irk(key) => {
                address = resolvable(key, now / ROTATION);
                plain()
            }
            Device::ServiceToken(key) => {
                let value = derive(key, "beacon-gateway/service-token/1", now);
                address = turned(&value);
                service_token(&value[..12])
            }
            Device::RollingUuid(key) => {
                let value = derive(key, "beacon-gateway/rolling-uuid/1", now);
                address = turned(&value);
                rolling_uuid(&value[..16])
            }
        };
        Sent { address, random: true, rssi: random.i8(-60..-50), data }
    }

    /// What must not be found of a member outside memory: keys, and what identifies the device.
    pub(crate) fn hide_in(&self, needles: &mut Needles) {
        let number = self.number;
        let (octets, what): (&[u8], _) = match &self.device {
            Device::Address(octets) => {
                let mut backwards = *octets;
                backwards.reverse();
                needles.add(&backwards, What::Identifier, number);
                (octets, What::Identifier)
            }
            Device::IBeacon(id) | Device::EddystoneUid(id) => (id, What::Identifier),
            Device::AltBeacon(id) => (id, What::Identifier),
            Device::EddystoneEid(key) | Device::Irk(key) => (key, What::Key),
            Device::ServiceToken(key) | Device::RollingUuid(key) => (key, What::Key),
        };
        if let Device::Address(_) = self.device {
            needles.add(octets, what, number);
        }
        for half in octets.as_chunks::<8>().0 {
            needles.add(half, what, number);
        }
    }
}

impl Member {
    /// What must not be found on the disk of a member who has withdrawn: the name, but for what it
    /// may share with its neighbours.
    pub(crate) fn hide_name_in(&self, needles: &mut Needles) {
        needles.add(&self.name.as_bytes()[SHARED..], What::Pseudonym, self.number);
    }

    /// The member's identity resolving key, ready for use, if that is how it is recognised.
    pub(crate) fn resolver(&self) -> Option<Aes128> {
        match &self.device {
            Device::Irk(key) => Some(Aes128::new(key.into())),
            _ => None,
        }
    }
}

impl Grant {
    /// Whether something that needs these purposes is covered at a moment.
    pub(crate) fn covers(&self, needs: &[&str], at: i64) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until) && self.permits(needs)
    }

    pub(crate) fn permits(&self, needs: &[&str]) -> bool {
        needs.iter().all(|need| self.purposes.contains(need))
    }
}

/// A resolvable private address (Core Specification 5.4, Vol 6 Part B 1.3.2.2) of the given turn.
fn resolvable(irk: &[u8; 16], turn: i64) -> [u8; 6] {
    let [.., low, lower, lowest] = turn.to_be_bytes();
    let prand = [0x40 | low & 0x3f, lower, lowest | 1];
    let mut block = [0; 16];
    block[13..].copy_from_slice(&prand);
    encrypt(irk, &mut block);
    let mut address = [0; 6];
    address[..3].copy_from_slice(&prand);
    address[3..].copy_from_slice(&block[13..]);
    address
}

/// Whether an address was made with a key, which one in 2^24 strangers' is by chance.
pub(crate) fn resolves(key: &Aes128, address: [u8; 6]) -> bool {
    let [a, b, c, hash @ ..] = address;
    let mut block = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c];
    key.encrypt_block((&mut block).into());
    a >> 6 == 1 && block.ends_with(&hash)
}

/// The value that an app's identity is cut from (`docs/app-identity.md`).
fn derive(key: &[u8; 32], label: &str, now: i64) -> [u8; 32] {
    let epoch = u32::try_from(now / EPOCH).unwrap_or(u32::MAX).to_be_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, &[label.as_bytes(), TENANT.as_bytes(), &epoch].concat());
    let mut value = [0; 32];
    value.copy_from_slice(tag.as_ref());
    value
}

/// An address that changes together with the value: a private one that nobody can resolve.
fn turned(value: &[u8; 32]) -> [u8; 6] {
    let mut address = [0; 6];
    address.copy_from_slice(&value[26..]);
    address[0] = address[0] & 0x3f | 1;
    address
}

/// The identifier of an Eddystone-EID beacon whose clock shows so many seconds.
fn ephemeral(key: &[u8; 16], clock: u32) -> [u8; 8] {
    let [high, low, ..] = clock.to_be_bytes();
    let mut temporary = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, high, low];
    encrypt(key, &mut temporary);
    let [a, b, c, d] = (clock >> EXPONENT << EXPONENT).to_be_bytes();
    let mut block = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, EXPONENT, a, b, c, d];
    encrypt(&temporary, &mut block);
    let [eid @ .., _, _, _, _, _, _, _, _] = block;
    eid
}

fn encrypt(key: &[u8; 16], block: &mut [u8; 16]) {
    Aes128::new(key.into()).encrypt_block(block.into());
}

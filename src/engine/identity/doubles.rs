//! Two devices that say they are one: what was recognised and from which address in, a count out.
//!
//! Whoever records what a member's device sends can send it again. One sign of it is sound enough
//! to count: a device changes its address and never returns to a former one (a resolvable or
//! non-resolvable private address is drawn at random, Core Specification 5.4, Vol 6 Part B 1.3.2.2),
//! and one with a fixed address has no other. So an identifier that comes from one address, then
//! from another, then from the first again, within the time in which nothing is forgotten, comes
//! from two devices.
//!
//! What is not looked at: identities that are the address itself, and those by IRK, because a phone
//! may send from several addresses of one key at once, one for each of its advertising sets.
//!
//! Only of what was recognised as a subject's, in memory only, as keyed hashes; bounded, and nothing
//! is kept for longer than half an hour after it was last heard.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

use rustc_hash::FxBuildHasher;

use super::{AddressSeed, DeviceAddress, Frame, Identifier, SubjectIndex, Uptime};
use crate::forget;

/// What was not heard for this long is forgotten, at the latest after twice as long. A rotating
/// value lives as long.
const LIFE: Duration = Duration::from_mins(15);

/// Reports of several receivers arrive in another order than they were sent in, by their queues'
/// lengths: the former address may still come in for so long after the present one. As much as a
/// packet from the kernel may be late.
const LATE: Duration = Duration::from_secs(10);

/// How many identifiers are remembered in each half: 8,192 people in the shop within half an hour,
/// and 600 kB. Beyond, the older half is forgotten early.
const HALF: usize = 4096;

/// The count, and what it needs to remember.
pub(super) struct Doubles {
    seed: AddressSeed,
    /// What was heard since `turned`, and what was heard in the time before.
    young: HashMap<u64, Seen, FxBuildHasher>,
    old: HashMap<u64, Seen, FxBuildHasher>,
    turned: Uptime,
    count: u64,
}

/// From where an identifier was heard, as keyed hashes.
#[derive(Clone, Copy)]
struct Seen {
    present: u64,
    former: Option<u64>,
    /// When it changed from the former to the present.
    changed: Uptime,
    /// When it was counted last.
    counted: Option<Uptime>,
}

impl Doubles {
    pub(super) fn new(seed: AddressSeed) -> Self {
        Self {
            seed,
            young: HashMap::default(),
            old: HashMap::default(),
            turned: Uptime::ZERO,
            count: 0,
        }
    }

    /// How many identifiers came back to an address that they had left; each at most once in a
    /// quarter of an hour.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// A subject was recognised by what it sent, from this address.
    pub(super) fn observe(
        &mut self,
        now: Uptime,
        subject: SubjectIndex,
        sent: Sent,
        address: DeviceAddress,
    ) {
        self.forget(now);
        let identifier = self.hash(|hasher| (subject, sent).hash(hasher));
        let address = self.hash(|hasher| address.hash(hasher));
        if self.young.get(&identifier).is_some_and(|seen| seen.present == address) {
            return;
        }
        // What was looked at before may be a stranger's, and this lasts.
        forget::burn_stack();
        self.note(now, identifier, address);
    }

    /// Remembers from where an identifier was heard. Not part of its caller, so that what was left on
    /// the stack can be cleared from there.
    #[inline(never)]
    fn note(&mut self, now: Uptime, identifier: u64, address: u64) {
        let known = self.young.get(&identifier).or_else(|| self.old.get(&identifier)).copied();
        let fresh = Seen { present: address, former: None, changed: now, counted: None };
        let mut seen = known.unwrap_or(fresh);
        if seen.present != address {
            if seen.former != Some(address) {
                seen = Seen { present: address, former: Some(seen.present), changed: now, ..seen };
            } else if now.since(seen.changed) >= LATE {
                if seen.counted.is_none_or(|counted| now.since(counted) >= LIFE) {
                    self.count += 1;
                    seen.counted = Some(now);
                }
                seen = Seen { present: address, former: Some(seen.present), changed: now, ..seen };
            }
        }
        self.young.insert(identifier, seen);
    }

    fn forget(&mut self, now: Uptime) {
        let aged = now.since(self.turned);
        if aged < LIFE && self.young.len() < HALF {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        if aged >= LIFE * 2 {
            self.old = HashMap::default();
        }
        self.turned = now;
    }

    fn hash(&self, what: impl FnOnce(&mut DefaultHasher)) -> u64 {
        let mut hasher = self.seed.hasher();
        what(&mut hasher);
        hasher.finish()
    }
}

/// What made a subject known, as it was sent: never an address.
#[derive(Clone, Copy, Hash)]
pub(super) enum Sent {
    IBeacon([u8; 16], u16, u16),
    AltBeacon([u8; 20]),
    EddystoneUid([u8; 10], [u8; 6]),
    EddystoneEid([u8; 8]),
    ServiceToken([u8; 12]),
    RollingUuid([u8; 16]),
}

impl Sent {
    /// The identifier in a frame; nothing for one that identifies nobody.
    pub(super) fn of(frame: &Frame<'_>) -> Option<Self> {
        match frame {
            Frame::IBeacon(it) => Some(Self::IBeacon(it.proximity_uuid, it.major, it.minor)),
            Frame::AltBeacon(it) => Some(Self::AltBeacon(it.id)),
            Frame::EddystoneUid(it) => Some(Self::EddystoneUid(it.namespace, it.instance)),
            Frame::EddystoneEid(it) => Some(Self::EddystoneEid(it.eid)),
            Frame::ServiceToken(it) => Some(Self::ServiceToken(it.token)),
            _ => None,
        }
    }

    /// Whether it is an identifier's; of those that rotate only the kind is looked at.
    pub(super) fn is_of(&self, identifier: &Identifier) -> bool {
        match (self, identifier) {
            (
                Self::IBeacon(uuid, major, minor),
                Identifier::IBeacon { proximity_uuid, major: its_major, minor: its_minor },
            ) => uuid == proximity_uuid && major == its_major && minor == its_minor,
            (Self::AltBeacon(id), Identifier::AltBeacon(its)) => id == its,
            (
                Self::EddystoneUid(namespace, instance),
                Identifier::EddystoneUid { namespace: its_namespace, instance: its_instance },
            ) => namespace == its_namespace && instance == its_instance,
            (Self::EddystoneEid(_), Identifier::EddystoneEid { .. })
            | (Self::ServiceToken(_), Identifier::ServiceToken(_))
            | (Self::RollingUuid(_), Identifier::RollingUuid(_)) => true,
            _ => false,
        }
    }
}

impl std::fmt::Debug for Doubles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doubles").field("count", &self.count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{AddressKind, identity::rotating::tests::subjects};

    const A: u8 = 1;
    const B: u8 = 2;

    fn doubles() -> Doubles {
        Doubles::new(AddressSeed::new(7))
    }

    fn at(seconds: u64) -> Uptime {
        Uptime::ZERO + Duration::from_secs(seconds)
    }

    fn hear(doubles: &mut Doubles, seconds: u64, address: u8) -> u64 {
        hear_as(doubles, seconds, address, 1)
    }

    fn hear_as(doubles: &mut Doubles, seconds: u64, address: u8, token: u32) -> u64 {
        let [subject, ..] = subjects();
        let address = DeviceAddress::new([address; 6], AddressKind::Random);
        let mut sent = [0; 12];
        sent[..4].copy_from_slice(&token.to_be_bytes());
        doubles.observe(at(seconds), subject, Sent::ServiceToken(sent), address);
        doubles.count()
    }

    #[test]
    fn a_device_that_changes_its_address_is_one_device() {
        let mut doubles = doubles();
        for n in 0..200 {
            assert_eq!(hear(&mut doubles, n * 60, u8::try_from(n).unwrap()), 0);
        }
    }

    #[test]
    fn an_address_that_comes_back_is_counted_once_a_quarter_of_an_hour() {
        let mut doubles = doubles();
        let counts: Vec<_> =
            (0..1300).map(|n| hear(&mut doubles, n, if n / 20 % 2 == 0 { A } else { B })).collect();
        assert_eq!(counts[39], 0, "A, then B");
        assert_eq!(counts[40], 1, "and A again");
        assert_eq!(counts[939], 1);
        assert_eq!(counts[1299], 2);
    }

    #[test]
    fn two_devices_that_send_by_turns_are_counted() {
        let mut doubles = doubles();
        let counts: Vec<_> =
            (0..20).map(|n| hear(&mut doubles, n, if n % 2 == 0 { A } else { B })).collect();
        assert_eq!((counts[10], counts[12]), (0, 1));
    }

    #[test]
    fn a_report_that_comes_late_is_no_double() {
        let mut doubles = doubles();
        for (seconds, address) in [(0, A), (100, B), (101, A), (109, A), (110, B), (300, B)] {
            assert_eq!(hear(&mut doubles, seconds, address), 0, "{seconds}");
        }
    }

    #[test]
    fn several_identifiers_of_one_subject_may_come_from_several_devices() {
        let mut doubles = doubles();
        for n in 0..100 {
            hear_as(&mut doubles, n * 20, A, 1);
            assert_eq!(hear_as(&mut doubles, n * 20 + 10, B, 2), 0);
        }
    }

    #[test]
    fn nothing_is_remembered_for_longer_than_half_an_hour_and_never_more_than_fits() {
        let mut doubles = doubles();
        hear(&mut doubles, 0, A);
        hear(&mut doubles, 20, B);
        assert_eq!(hear(&mut doubles, 1900, A), 0);
        for n in 0..20_000_u32 {
            hear_as(&mut doubles, 2000, A, n);
            assert!(doubles.young.len() <= HALF && doubles.old.len() <= HALF);
        }
        hear(&mut doubles, 10_000, A);
        assert_eq!(doubles.young.len() + doubles.old.len(), 1);
    }

    #[test]
    fn nothing_shows_whom_it_heard() {
        let mut doubles = doubles();
        hear(&mut doubles, 0, A);
        assert_eq!(format!("{doubles:?}"), "Doubles { count: 0, .. }");
    }
}

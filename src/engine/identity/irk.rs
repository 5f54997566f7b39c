//! Resolvable private addresses: which enrolled key, if any, made this address.
//!
//! Source: Core Specification 5.4, Vol 3 Part H 2.2.2 (`ah`) and Vol 6 Part B 1.3.2.2 (layout).
//! The hash has 24 bits, so strangers match by chance: expected false matches a day =
//! keys x strangers' addresses a day / 2^24.

use std::{
    collections::{BTreeMap, VecDeque, hash_map::DefaultHasher},
    hash::Hasher,
    time::Duration,
};

use aes::{
    Aes128,
    cipher::{BlockEncrypt, KeyInit},
};

use super::{DeviceAddress, Identifier, IdentitySettings, Registry, SubjectIndex, Uptime};

/// Makes the resolver's memory of addresses worthless outside this process. Drawn once at start.
#[derive(Clone, Copy, Default)]
pub struct AddressSeed(u64);

impl AddressSeed {
    /// Wraps a number; outside tests it must be random and is never written down.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Begins a keyed hash.
    pub(super) fn hasher(self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

impl std::fmt::Debug for AddressSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AddressSeed(redacted)")
    }
}

/// A resolvable address lives about 15 minutes (Core Specification, Vol 3 Part C, App. A:
/// `T_GAP(private_addr_int)`); nothing is remembered about one for longer.
const ADDRESS_LIFE: Duration = Duration::from_mins(15);

/// A match that needs confirming is kept, and a confirmation holds, this long.
const CONFIRMATION_LIFE: Duration = Duration::from_hours(24);

/// The number of different hashes (24 bits).
const HASHES: f64 = 16_777_216.0;

/// Recognises addresses made with enrolled keys.
pub(super) struct IrkResolver {
    settings: IdentitySettings,
    seed: AddressSeed,
    keys: Vec<(Aes128, SubjectIndex)>,
    /// Addresses that are known to be a subject's, as fingerprints.
    members: BTreeMap<u64, (SubjectIndex, Uptime)>,
    strangers: StrangerCache,
    rate: StrangerRate,
    confirmations: BTreeMap<SubjectIndex, Confirmation>,
}

/// What is known about a subject while single matches are not trusted.
#[derive(Clone, Copy, Debug)]
struct Confirmation {
    /// The fingerprint of the address that matched last.
    address: u64,
    at: Uptime,
    confirmed: bool,
}

// === impl IrkResolver ===

impl IrkResolver {
    pub(super) fn new(registry: &Registry, settings: IdentitySettings, seed: AddressSeed) -> Self {
        let keys: Vec<(Aes128, SubjectIndex)> = registry
            .identifiers()
            .filter_map(|(subject, identifier)| match identifier {
                Identifier::Irk(key) => Some((Aes128::new(&key.0.into()), subject)),
                _ => None,
            })
            .collect();
        Self {
            settings,
            seed,
            strangers: StrangerCache::new(!keys.is_empty()),
            keys,
            members: BTreeMap::new(),
            rate: StrangerRate::default(),
            confirmations: BTreeMap::new(),
        }
    }

    /// The same for another registry. The measured rate of strangers stays true.
    pub(super) fn rebuilt(&self, registry: &Registry) -> Self {
        Self { rate: self.rate.clone(), ..Self::new(registry, self.settings, self.seed) }
    }

    /// Whose address it is. `None` for strangers and for matches that still want confirming.
    pub(super) fn resolve(&mut self, now: Uptime, address: DeviceAddress) -> Option<SubjectIndex> {
        if self.keys.is_empty() || !address.is_resolvable() {
            return None;
        }
        let fingerprint = self.fingerprint(address);
        if let Some((subject, last)) = self.members.get_mut(&fingerprint) {
            *last = now;
            let subject = *subject;
            return self.trusted(subject, fingerprint, now).then_some(subject);
        }
        if self.strangers.contains(now, fingerprint) {
            return None;
        }
        let Some(subject) = self.search(address) else {
            self.strangers.insert(now, fingerprint);
            self.rate.count(now);
            return None;
        };
        self.remember(now, fingerprint, subject);
        self.trusted(subject, fingerprint, now).then_some(subject)
    }

    /// The subject was recognised beyond doubt by another identifier.
    pub(super) fn confirm(&mut self, subject: SubjectIndex, now: Uptime) {
        if let Some(confirmation) = self.confirmations.get_mut(&subject) {
            *confirmation = Confirmation { at: now, confirmed: true, ..*confirmation };
        }
    }

    /// Tries every key. An address that fits two keys fits neither.
    fn search(&self, address: DeviceAddress) -> Option<SubjectIndex> {
        let [p2, p1, p0, h2, h1, h0] = address.octets();
        let random = u32::from_be_bytes([0, p2, p1, p0]);
        let hash = u32::from_be_bytes([0, h2, h1, h0]);
        let plain: aes::Block = u128::from(random).to_be_bytes().into();
        let mut found = None;
        for (cipher, subject) in &self.keys {
            let mut block = plain;
            cipher.encrypt_block(&mut block);
            let made = u128::from_be_bytes(block.into()) & 0xff_ffff;
            if made == u128::from(hash) && found.replace(*subject).is_some() {
                return None;
            }
        }
        found
    }

    /// Whether this match may be believed now.
    fn trusted(&mut self, subject: SubjectIndex, address: u64, now: Uptime) -> bool {
        let strangers = self.rate.per_day(now, self.settings.irk_strangers_per_day);
        #[expect(clippy::cast_precision_loss, reason = "there are far fewer than 2^52 keys")]
        let expected = self.keys.len() as f64 * strangers / HASHES;
        let fresh = Confirmation { address, at: now, confirmed: false };
        let known = self.confirmations.entry(subject).or_insert(fresh);
        if now.since(known.at) > CONFIRMATION_LIFE {
            *known = fresh;
        }
        let confirmed = known.confirmed || known.address != address;
        *known = Confirmation { address, at: now, confirmed };
        confirmed || expected < self.settings.irk_max_false_per_day
    }

    fn remember(&mut self, now: Uptime, fingerprint: u64, subject: SubjectIndex) {
        // A key has one address at a time, so anything beyond a few for each is stale.
        if self.members.len() > self.keys.len().saturating_mul(4) {
            self.members.retain(|_, (_, last)| now.since(*last) < ADDRESS_LIFE);
        }
        self.members.insert(fingerprint, (subject, now));
    }

    fn fingerprint(&self, address: DeviceAddress) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed.0);
        hasher.write(&address.octets());
        hasher.finish()
    }
}

impl std::fmt::Debug for IrkResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IrkResolver").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// Addresses that no key has made, so that the keys need not be tried again.
///
/// Holds 40 bits of a keyed hash of each and no address: neither memory nor a core image gives one
/// back. Bounded: a newcomer takes the place of whoever was there.
#[derive(Debug)]
struct StrangerCache {
    /// 24 bits of hash and 8 bits of era in each; the index is 16 bits more of the hash.
    slots: Box<[u32]>,
    era: u8,
    started: Uptime,
}

impl StrangerCache {
    const SLOTS: usize = 1 << 16;
    /// Entries are forgotten after one or two eras.
    const ERA: Duration = ADDRESS_LIFE;

    fn new(needed: bool) -> Self {
        let slots = if needed { vec![0; Self::SLOTS] } else { Vec::new() };
        Self { slots: slots.into(), era: 1, started: Uptime::ZERO }
    }

    fn contains(&mut self, now: Uptime, fingerprint: u64) -> bool {
        self.age(now);
        let (index, tag) = Self::place(fingerprint);
        self.slots.get(index).is_some_and(|slot| slot >> 8 == tag && slot & 0xff != 0)
    }

    fn insert(&mut self, now: Uptime, fingerprint: u64) {
        self.age(now);
        let (index, tag) = Self::place(fingerprint);
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = tag << 8 | u32::from(self.era);
        }
    }

    /// Forgets what is two eras old.
    fn age(&mut self, now: Uptime) {
        if now.since(self.started) < Self::ERA {
            return;
        }
        let long_gone = now.since(self.started) >= Self::ERA * 2;
        let last = self.era;
        for slot in &mut self.slots {
            if long_gone || *slot & 0xff != u32::from(last) {
                *slot = 0;
            }
        }
        self.era = if last == 1 { 2 } else { 1 };
        self.started = now;
    }

    const fn place(fingerprint: u64) -> (usize, u32) {
        ((fingerprint & 0xffff) as usize, (fingerprint >> 16 & 0xff_ffff) as u32)
    }
}

/// How many different strangers' resolvable addresses a day brings. Counts only.
#[derive(Clone, Debug, Default)]
struct StrangerRate {
    /// Number of the hour since start, and addresses counted in it; at most 24.
    hours: VecDeque<(u64, u32)>,
}

impl StrangerRate {
    const HOUR: u64 = 3600;

    fn count(&mut self, now: Uptime) {
        let hour = Self::hour(now);
        match self.hours.back_mut() {
            Some((last, count)) if *last == hour => *count = count.saturating_add(1),
            _ => self.hours.push_back((hour, 1)),
        }
        while self.hours.front().is_some_and(|(first, _)| first + 24 <= hour) {
            self.hours.pop_front();
        }
    }

    /// The last 24 hours' count; in the first 24 hours at least what was assumed beforehand.
    fn per_day(&self, now: Uptime, assumed: f64) -> f64 {
        let hour = Self::hour(now);
        let counted: u64 = self
            .hours
            .iter()
            .filter(|(at, _)| at + 24 > hour)
            .map(|&(_, count)| u64::from(count))
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "24 counts of 32 bits fit exactly")]
        let counted = counted as f64;
        if hour < 24 { counted.max(assumed) } else { counted }
    }

    fn hour(now: Uptime) -> u64 {
        now.since(Uptime::ZERO).as_secs() / Self::HOUR
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{AddressKind, Key, Pseudonym, Subject, SubjectKind};

    fn subject(n: usize, irk: [u8; 16]) -> Subject {
        Subject {
            pseudonym: Pseudonym::new(&format!("s{n}")),
            kind: SubjectKind::Asset,
            identifiers: vec![Identifier::Irk(Key::new(irk))],
            consent: None,
        }
    }

    fn resolver(irks: &[[u8; 16]], settings: IdentitySettings) -> IrkResolver {
        let subjects = irks.iter().enumerate().map(|(n, irk)| subject(n, *irk)).collect();
        IrkResolver::new(&Registry::new(subjects, vec![]).unwrap(), settings, AddressSeed::new(7))
    }

    fn address(text: &str) -> DeviceAddress {
        DeviceAddress::new(crate::engine::parse_octets(text).unwrap(), AddressKind::Random)
    }

    fn key(text: &str) -> [u8; 16] {
        let mut octets = [0; 16];
        hex::decode_to_slice(text, &mut octets).unwrap();
        octets
    }

    /// Core Specification, Vol 3 Part H, Appendix D.7.
    const SAMPLE: (&str, &str) = ("ec0234a357c8ad05341010a60a397d9b", "70:81:94:0d:fb:aa");
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_specifications_sample_resolves_and_its_neighbours_do_not() {
        let mut resolver = resolver(&[key(SAMPLE.0)], IdentitySettings::default());
        assert!(resolver.resolve(Uptime::ZERO, address(SAMPLE.1)).is_some());
        for other in ["70:81:94:0d:fb:ab", "70:81:95:0d:fb:aa", "f0:81:94:0d:fb:aa"] {
            assert!(resolver.resolve(Uptime::ZERO, address(other)).is_none(), "{other}");
        }
    }

    #[test]
    fn addresses_of_the_all_zero_key_published_elsewhere_resolve() {
        let mut resolver = resolver(&[[0; 16]], IdentitySettings::default());
        for (text, resolves) in [
            ("40:01:02:0a:c4:a6", true),
            ("40:02:03:d2:74:ce", true),
            ("40:00:00:d2:74:ce", false),
            ("00:01:ff:a0:3a:76", false),
        ] {
            let found = resolver.resolve(Uptime::ZERO, address(text)).is_some();
            assert_eq!(found, resolves, "{text}");
        }
    }

    #[test]
    fn while_false_matches_are_likely_a_second_address_must_confirm_the_first() {
        let strict = IdentitySettings { irk_max_false_per_day: 0.0, ..Default::default() };
        let mut resolver = resolver(&[[0; 16]], strict);
        let (first, second) = (address("40:01:02:0a:c4:a6"), address("40:02:03:d2:74:ce"));
        let at = |n: u32| Uptime::ZERO + SECOND * n;
        assert_eq!(resolver.resolve(at(0), first), None);
        assert_eq!(resolver.resolve(at(1), first), None, "the same address confirms nothing");
        assert!(resolver.resolve(at(2), second).is_some());
        assert!(resolver.resolve(at(3), second).is_some(), "and it stays confirmed");
        let much_later = Uptime::ZERO + CONFIRMATION_LIFE * 2;
        assert_eq!(resolver.resolve(much_later, first), None, "for a day");
    }

    #[test]
    fn another_identifier_confirms_as_well() {
        let strict = IdentitySettings { irk_max_false_per_day: 0.0, ..Default::default() };
        let mut resolver = resolver(&[[0; 16]], strict);
        let first = address("40:01:02:0a:c4:a6");
        assert_eq!(resolver.resolve(Uptime::ZERO, first), None);
        let (_, subject) = resolver.keys[0].clone();
        resolver.confirm(subject, Uptime::ZERO);
        assert_eq!(resolver.resolve(Uptime::ZERO + SECOND, first), Some(subject));
    }

    #[test]
    fn the_bound_compares_keys_and_strangers_with_the_size_of_the_hash() {
        // 84 keys x 20,000 strangers / 2^24 is 0.1001; 83 keys stay below.
        let irks = |n: u8| (0..n).map(|n| [n; 16]).collect::<Vec<_>>();
        let sure = |n| {
            let mut resolver = resolver(&irks(n), IdentitySettings::default());
            resolver.resolve(Uptime::ZERO, address("40:01:02:0a:c4:a6")).is_some()
        };
        assert!(sure(83));
        assert!(!sure(84));
    }

    #[test]
    fn a_stranger_is_tried_once_and_forgotten_within_half_an_hour() {
        let mut resolver = resolver(&[[0; 16]], IdentitySettings::default());
        let stranger = address("40:00:00:d2:74:ce");
        let fingerprint = resolver.fingerprint(stranger);
        assert!(!resolver.strangers.contains(Uptime::ZERO, fingerprint));
        resolver.resolve(Uptime::ZERO, stranger);
        assert!(resolver.strangers.contains(Uptime::ZERO, fingerprint));
        assert!(!resolver.strangers.contains(Uptime::ZERO + ADDRESS_LIFE * 2, fingerprint));
        assert!(resolver.strangers.slots.iter().all(|&slot| slot == 0));
    }

    #[test]
    fn strangers_are_counted_by_the_hour_and_forgotten_after_a_day() {
        let mut rate = StrangerRate::default();
        let hour = |n: u64| Uptime::ZERO + Duration::from_hours(n);
        for n in 0..48 {
            rate.count(hour(n));
            rate.count(hour(n));
        }
        assert!((rate.per_day(hour(47), 0.0) - 48.0).abs() < 1e-9);
        assert!((rate.per_day(hour(60), 0.0) - 22.0).abs() < 1e-9);
        assert!((StrangerRate::default().per_day(hour(2), 20_000.0) - 20_000.0).abs() < 1e-9);
    }
}

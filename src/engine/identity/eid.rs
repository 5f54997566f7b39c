//! Eddystone-EID: a table of the identifiers that enrolled beacons send around now.
//!
//! Source: google/eddystone, `eddystone-eid/eid-computation.md`.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use aes::{
    Aes128,
    cipher::{BlockEncrypt, KeyInit},
};
use rustc_hash::FxBuildHasher;
use zeroize::Zeroize;

use super::{Identifier, Key, Registry, SubjectIndex, UnixTime};
use crate::forget;

/// One enrolled beacon.
#[derive(Clone, Copy, Debug)]
struct Beacon {
    subject: SubjectIndex,
    key: Key,
    rotation_exponent: u8,
    clock_zero: UnixTime,
    /// The rotation periods that are in the table now, first and last.
    periods: Option<(u32, u32)>,
}

/// What every enrolled beacon may be sending, within a window around now.
#[derive(Debug)]
pub(super) struct EidTable {
    window: Duration,
    /// A place is empty once its beacon was taken out.
    beacons: Vec<Option<Beacon>>,
    current: HashMap<[u8; 8], SubjectIndex, FxBuildHasher>,
    /// When each beacon's entries must be looked at again, by Unix milliseconds.
    due: BTreeMap<i64, Vec<usize>>,
    /// The clock reading that the table was last brought up to.
    reached: Option<UnixTime>,
}

impl EidTable {
    pub(super) fn new(registry: &Registry, window: Duration) -> Self {
        let mut table = Self {
            window,
            beacons: Vec::new(),
            current: HashMap::default(),
            due: BTreeMap::new(),
            reached: None,
        };
        for (subject, identifier) in registry.identifiers() {
            table.insert(subject, identifier);
        }
        table
    }

    /// Takes in a subject's beacon; passes over other identifiers.
    pub(super) fn insert(&mut self, subject: SubjectIndex, identifier: &Identifier) {
        if let Identifier::EddystoneEid { identity_key: key, rotation_exponent, clock_zero } =
            *identifier
        {
            let beacon = Beacon { subject, key, rotation_exponent, clock_zero, periods: None };
            self.due.entry(i64::MIN).or_default().push(self.beacons.len());
            self.beacons.push(Some(beacon));
        }
    }

    /// Takes a subject's beacon out, with what it may be sending.
    pub(super) fn remove(&mut self, subject: SubjectIndex, identifier: &Identifier) {
        let Identifier::EddystoneEid { identity_key, .. } = identifier else { return };
        let its = |beacon: &Beacon| beacon.subject == subject && beacon.key == *identity_key;
        for place in &mut self.beacons {
            if let Some(beacon) = place.as_mut().filter(|beacon| its(beacon)) {
                for number in beacon.periods.into_iter().flat_map(|(first, last)| first..=last) {
                    self.current.remove(&beacon.eid(number));
                }
                beacon.key.0.zeroize();
                *place = None;
            }
        }
        // Empty places are not filled again, because `due` still names them; before they are the
        // larger part, all are numbered anew.
        if self.beacons.iter().flatten().count() < self.beacons.len() / 2 {
            self.beacons.retain(Option::is_some);
            self.reached = None;
        }
    }

    pub(super) fn rebuilt(&self, registry: &Registry) -> Self {
        Self::new(registry, self.window)
    }

    /// Whose identifier it is, at this wall time.
    pub(super) fn resolve(&mut self, eid: [u8; 8], unix: UnixTime) -> Option<SubjectIndex> {
        if self.beacons.is_empty() {
            return None;
        }
        self.advance(unix);
        self.current.get(&eid).copied()
    }

    /// Brings the table up to date. Cheap unless a beacon's period has ended. Not part of its caller,
    /// so that what was left on the stack can be cleared from here.
    #[inline(never)]
    fn advance(&mut self, unix: UnixTime) {
        if self.reached.is_none_or(|reached| unix < reached) {
            // The first look, or the wall clock was set back: every beacon is due.
            forget::burn_stack();
            self.due = BTreeMap::from([(i64::MIN, (0..self.beacons.len()).collect())]);
        }
        self.reached = Some(unix);
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= unix.as_millis()
        {
            // What is looked up may be a stranger's, and the table lasts.
            forget::burn_stack();
            for index in entry.remove() {
                self.roll(index, unix);
            }
        }
    }

    /// Replaces one beacon's entries and notes when to come back.
    fn roll(&mut self, index: usize, unix: UnixTime) {
        let Some(Some(beacon)) = self.beacons.get_mut(index) else { return };
        let window = i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX);
        let period = 1000_i64 << beacon.rotation_exponent;
        let elapsed = unix.as_millis().saturating_sub(beacon.clock_zero.as_millis());
        let first = period_number(elapsed.saturating_sub(window), period);
        let last = period_number(elapsed.saturating_add(window), period);
        let before = beacon.periods.replace((first, last));
        let beacon = *beacon;

        let stays = |number: &u32| (first..=last).contains(number);
        if let Some((first, last)) = before {
            for number in (first..=last).filter(|number| !stays(number)) {
                self.current.remove(&beacon.eid(number));
            }
        }
        let known = |number: &u32| before.is_some_and(|(a, b)| (a..=b).contains(number));
        for number in (first..=last).filter(|number| !known(number)) {
            self.current.insert(beacon.eid(number), beacon.subject);
        }
        // The window's front meets a new period, or its back leaves one, whichever comes first.
        let until = |edge: i64| period.saturating_sub(edge.rem_euclid(period));
        let front = until(elapsed.saturating_add(window));
        let next = front.min(until(elapsed.saturating_sub(window)));
        self.due.entry(unix.as_millis().saturating_add(next)).or_default().push(index);
    }
}

/// The rotation period in which a beacon's clock stands; its clock has 32 bits of seconds.
fn period_number(elapsed_millis: i64, period_millis: i64) -> u32 {
    let seconds = elapsed_millis.div_euclid(1000).clamp(0, i64::from(u32::MAX));
    u32::try_from(seconds * 1000 / period_millis).unwrap_or(u32::MAX)
}

impl Beacon {
    /// What the beacon sends in its n-th rotation period.
    fn eid(&self, number: u32) -> [u8; 8] {
        let time = number << self.rotation_exponent;
        // Octet 11 of both blocks is 4 octets, or 32 bits, from the end.
        let temporary = encrypt(self.key.0, 0xff << 32 | u128::from(time >> 16));
        let exponent = u128::from(self.rotation_exponent);
        let whole = encrypt(temporary, exponent << 32 | u128::from(time));
        whole.first_chunk().copied().unwrap_or_default()
    }
}

/// One block of AES-128, most significant octet first.
fn encrypt(key: [u8; 16], block: u128) -> [u8; 16] {
    let mut block = block.to_be_bytes().into();
    Aes128::new(&key.into()).encrypt_block(&mut block);
    block.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Pseudonym, Subject, SubjectKind};

    fn beacon(key: &str, rotation_exponent: u8, clock_zero: UnixTime) -> Identifier {
        let mut octets = [0; 16];
        hex::decode_to_slice(key, &mut octets).unwrap();
        Identifier::EddystoneEid { identity_key: Key::new(octets), rotation_exponent, clock_zero }
    }

    fn table(identifier: Identifier, window: u64) -> EidTable {
        let subject = Subject {
            pseudonym: Pseudonym::new("s"),
            kind: SubjectKind::Asset,
            identifiers: vec![identifier],
            consent: None,
        };
        let registry = Registry::new(vec![subject], vec![]).unwrap();
        EidTable::new(&registry, Duration::from_secs(window))
    }

    fn eid(text: &str) -> [u8; 8] {
        let mut octets = [0; 8];
        hex::decode_to_slice(text, &mut octets).unwrap();
        octets
    }

    const SECOND: i64 = 1000;

    /// Published test vectors: identity key, exponent, beacon time in seconds, identifier.
    const VECTORS: [(&str, u8, i64, &str); 3] = [
        ("7c91330e61dfea4606b5b3ecb4457d76", 0, 0, "436bfe57d5a09505"),
        ("0102030405060708090a111213141516", 10, 0, "a9b76a71c5f89290"),
        ("0102030405060708090a111213141516", 10, 2000, "4144413e45fefa58"),
    ];

    #[test]
    fn published_identifiers_are_recognised_at_their_time() {
        for (key, exponent, time, identifier) in VECTORS {
            let zero = UnixTime::from_millis(1_700_000_000 * SECOND);
            let mut table = table(beacon(key, exponent, zero), 0);
            let now = UnixTime::from_millis(zero.as_millis() + time * SECOND);
            assert!(table.resolve(eid(identifier), now).is_some(), "{identifier}");
        }
    }

    #[test]
    fn an_identifier_counts_for_its_period_and_the_window_around_it_and_no_longer() {
        // The period of beacon time 2000 s is 1024 s to 2048 s; the window adds 60 s each side.
        let zero = UnixTime::from_millis(0);
        let mut table = table(beacon(VECTORS[2].0, 10, zero), 60);
        let seen: Vec<i64> = (900..2200)
            .filter(|s| {
                table.resolve(eid(VECTORS[2].3), UnixTime::from_millis(s * SECOND)).is_some()
            })
            .collect();
        assert_eq!((seen.first(), seen.last()), (Some(&964), Some(&2107)));
        assert_eq!(seen.len(), 2107 - 964 + 1);
    }

    #[test]
    fn a_clock_that_is_set_back_finds_the_older_identifier_again() {
        let mut table = table(beacon(VECTORS[2].0, 10, UnixTime::from_millis(0)), 0);
        let at = |s: i64| UnixTime::from_millis(s * SECOND);
        assert!(table.resolve(eid(VECTORS[2].3), at(90_000)).is_none());
        assert!(table.resolve(eid(VECTORS[2].3), at(2000)).is_some());
        assert!(table.resolve(eid(VECTORS[2].3), at(90_000)).is_none());
    }
}

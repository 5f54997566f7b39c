//! What must be remembered of each device for as long as it is heard: a small memory that forgets a
//! stranger within a minute, whether or not anything more is heard, and never outgrows its bound.
//!
//! Addresses are not kept, only hashes of them under a key that nobody else has.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::engine::{AddressKind, Rssi, Uptime};

/// An address, most significant octet first.
pub(super) type Octets = [u8; 6];

/// What is remembered of one device.
#[derive(Default)]
pub(super) struct Device {
    /// Public or random, once BlueZ has told.
    pub(super) kind: Option<AddressKind>,
    /// How loud it was last: newer BlueZ reports small changes only with the data, or not at all.
    pub(super) rssi: Option<Rssi>,
    /// The services it has named. BlueZ reports them when they grow, not each time they are heard.
    pub(super) services: Vec<Uuid>,
    /// Its properties were asked for.
    pub(super) asked: bool,
    /// Data was heard, in an advertisement that was handed on.
    pub(super) data_heard: bool,
    /// When it last counted as traffic.
    pub(super) counted: Option<Uptime>,
}

/// The memory: two generations. A device that is heard moves to the young one; after each
/// [`GENERATION`], or when the young one is full, the old one is dropped and the young one grows
/// old.
pub(super) struct Devices {
    young: FxHashMap<u64, Device>,
    old: FxHashMap<u64, Device>,
    /// `SipHash` under a random key.
    key: RandomState,
    turned: Uptime,
}

/// Two of these are the longest that anything is remembered: below a minute, and above the 30 s
/// after which BlueZ itself forgets.
const GENERATION: Duration = Duration::from_secs(28);

/// The most devices in one generation. More than this at a time, and new ones push out old ones.
const MOST: usize = 1024;

impl Devices {
    pub(super) fn new(now: Uptime) -> Self {
        let (young, old) = (FxHashMap::default(), FxHashMap::default());
        Self { young, old, key: RandomState::new(), turned: now }
    }

    /// What is remembered of a device that is heard now; empty for a new one.
    pub(super) fn heard(&mut self, now: Uptime, octets: Octets) -> &mut Device {
        self.handle_timeout(now);
        let hash = self.key.hash_one(octets);
        if self.young.len() >= MOST && !self.young.contains_key(&hash) {
            self.turn(now);
        }
        let old = &mut self.old;
        self.young.entry(hash).or_insert_with(|| old.remove(&hash).unwrap_or_default())
    }

    /// Forgets a device: BlueZ says that it is new, so what was known of it was of another one.
    pub(super) fn forget(&mut self, octets: Octets) {
        let hash = self.key.hash_one(octets);
        self.young.remove(&hash);
        self.old.remove(&hash);
    }

    /// Forgets what is due.
    pub(super) fn handle_timeout(&mut self, now: Uptime) {
        if now < self.turned + GENERATION {
            return;
        }
        if now >= self.turned + GENERATION * 2 {
            // Given back, and so cleared by the allocator.
            self.young = FxHashMap::default();
        }
        self.turn(now);
    }

    /// When there is next something to forget.
    pub(super) fn poll_timeout(&self) -> Option<Uptime> {
        let empty = self.young.is_empty() && self.old.is_empty();
        (!empty).then(|| self.turned + GENERATION)
    }

    fn turn(&mut self, now: Uptime) {
        self.old = std::mem::take(&mut self.young);
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Uptime {
        Uptime::ZERO + Duration::from_secs(seconds)
    }

    fn len(devices: &Devices) -> usize {
        devices.young.len() + devices.old.len()
    }

    #[test]
    fn a_device_that_is_heard_is_remembered_and_one_that_is_not_is_forgotten_within_a_minute() {
        let mut devices = Devices::new(at(0));
        for second in 0..200 {
            devices.heard(at(second), [1; 6]).asked = true;
        }
        assert!(devices.heard(at(200), [1; 6]).asked);
        devices.heard(at(200), [2; 6]).asked = true;
        // Nothing more is heard; only the timers run.
        while let Some(due) = devices.poll_timeout() {
            assert!(due <= at(260));
            devices.handle_timeout(due);
        }
        assert_eq!(len(&devices), 0);
        assert!(!devices.heard(at(260), [2; 6]).asked);
    }

    #[test]
    fn ever_new_addresses_do_not_make_the_memory_grow() {
        let mut devices = Devices::new(at(0));
        for address in 0_u32..100_000 {
            let [a, b, c, d] = address.to_be_bytes();
            devices.heard(at(u64::from(address) / 1000), [0xc0, 0, a, b, c, d]).asked = true;
            assert!(len(&devices) <= 2 * MOST);
        }
    }

    #[test]
    fn a_late_shell_forgets_everything_at_once() {
        let mut devices = Devices::new(at(0));
        devices.heard(at(1), [1; 6]).asked = true;
        devices.handle_timeout(at(600));
        assert_eq!(len(&devices), 0);
    }
}

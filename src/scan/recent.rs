//! Which devices were heard lately. Addresses in; whether they are new out. Pure: time is handed in.
//!
//! For [`silence`](super::silence), which wants to know how many devices there are, and for nothing
//! else: nothing of it leaves. Addresses are not kept, only hashes of them under a key that nobody
//! else has, and those no longer than [`GENERATION`] twice.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use rustc_hash::FxHashSet;

use crate::engine::{Advertisement, DeviceAddress, Uptime};

/// The memory: two generations. After each [`GENERATION`], or when the young one is full, the old
/// one is dropped and the young one grows old. Has no `Debug`: it knows strangers.
pub(super) struct Recent {
    young: FxHashSet<u64>,
    old: FxHashSet<u64>,
    /// `SipHash` under a random key.
    key: RandomState,
    turned: Uptime,
}

/// How long a device is remembered at least.
const GENERATION: Duration = Duration::from_secs(10);

/// The most devices in one generation, so that ever new addresses cannot make the memory grow.
const MOST: usize = 2048;

impl Recent {
    pub(super) fn new(now: Uptime) -> Self {
        let empty = || FxHashSet::with_capacity_and_hasher(MOST, rustc_hash::FxBuildHasher);
        Self { young: empty(), old: empty(), key: RandomState::new(), turned: now }
    }

    /// True when the device was not heard lately, or when nobody remembers.
    ///
    /// Not part of its caller, so that what it leaves on the stack can be cleared from there.
    #[inline(never)]
    pub(super) fn is_new(&mut self, now: Uptime, advertisement: &Advertisement) -> bool {
        self.is_new_address(now, advertisement.address())
    }

    fn is_new_address(&mut self, now: Uptime, address: DeviceAddress) -> bool {
        self.forget(now);
        let hash = self.key.hash_one(address);
        if self.young.contains(&hash) {
            return false;
        }
        if self.young.len() >= MOST {
            self.turn(now);
        }
        let new = !self.old.contains(&hash);
        self.young.insert(hash);
        new
    }

    /// Forgets what is due.
    pub(super) fn forget(&mut self, now: Uptime) {
        if now < self.turned + GENERATION {
            return;
        }
        if now >= self.turned + GENERATION * 2 {
            self.young.clear();
        }
        self.turn(now);
    }

    fn turn(&mut self, now: Uptime) {
        std::mem::swap(&mut self.old, &mut self.young);
        self.young.clear();
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::AddressKind;

    fn at(seconds: u64) -> Uptime {
        Uptime::ZERO + Duration::from_secs(seconds)
    }

    fn address(number: u32) -> DeviceAddress {
        let [a, b, c, d] = number.to_be_bytes();
        DeviceAddress::new([0xc0, 0, a, b, c, d], AddressKind::Random)
    }

    #[test]
    fn a_device_is_new_once_and_again_when_it_was_silent_for_long() {
        let mut recent = Recent::new(at(0));
        assert!(recent.is_new_address(at(0), address(1)));
        for second in 1..60 {
            assert!(!recent.is_new_address(at(second), address(1)), "{second}");
        }
        assert!(recent.is_new_address(at(80), address(1)));
    }

    #[test]
    fn ever_new_addresses_do_not_make_the_memory_grow() {
        let mut recent = Recent::new(at(0));
        let room = recent.young.capacity() + recent.old.capacity();
        for number in 0..100_000 {
            assert!(recent.is_new_address(at(u64::from(number) / 5000), address(number)));
        }
        assert!(recent.young.len() <= MOST && recent.old.len() <= MOST);
        assert_eq!(recent.young.capacity() + recent.old.capacity(), room);
    }

    #[test]
    fn whoever_has_gone_is_forgotten() {
        let mut recent = Recent::new(at(0));
        recent.is_new_address(at(1), address(1));
        recent.forget(at(11));
        recent.forget(at(22));
        assert!(recent.young.is_empty() && recent.old.is_empty());
    }
}

//! What a fixture's Eddystone-EID beacon sends beside its identifiers: an address and a time in, whose
//! it is and what the beacon's clock may read out.
//!
//! Eddystone's encrypted telemetry does not say whose it is. It belongs to the identifier that came from
//! the same address near the same time (google/eddystone, `eddystone-tlm/tlm-encrypted.md`, "Decrypting
//! the encrypted TLM data"). So no key is tried to find out: with a proof of two octets each key and time
//! would fit one of 65,536 strangers' frames, so a neighbour's beacon that sends one a second would be taken
//! for one of ours every few hours.
//!
//! One entry a fixture, made by an identifier that was recognised, so nobody else can fill the tables.

use std::{fmt, time::Duration};

use rustc_hash::FxHashMap;

use super::{DeviceAddress, FixtureIndex, Uptime};
use crate::engine::frame::sensor::BeaconClock;

/// For how long an address is the beacon's at least: it changes with the identifier, but telemetry may
/// come once a minute.
const LEAST: Duration = Duration::from_mins(1);

/// What the readings of two clocks in whole seconds, and what takes its time on the way, may differ by,
/// in milliseconds.
const SLACK: i64 = 2000;

/// How fast a beacon's clock may drift: one part in so many (150 ppm).
const DRIFT: i64 = 6667;

/// The addresses of fixtures' beacons.
#[derive(Default)]
pub(super) struct Company {
    seen: FxHashMap<FixtureIndex, Seen>,
    /// From where each was heard last, where a receiver told it.
    from: FxHashMap<FixtureIndex, DeviceAddress>,
    /// Whose an address is, and until when.
    addresses: FxHashMap<DeviceAddress, (FixtureIndex, Uptime)>,
}

/// An identifier of a fixture's beacon that was heard.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) at: Uptime,
    /// Which of the beacon's periods it is of; each takes 2^exponent seconds.
    pub(super) period: u32,
    pub(super) exponent: u8,
}

// === impl Company ===

impl Company {
    /// Takes in that an identifier of a fixture's beacon was heard, from an address that may be unknown.
    pub(super) fn note(&mut self, fixture: FixtureIndex, address: DeviceAddress, seen: Seen) {
        self.seen.insert(fixture, seen);
        if address.is_unknown() {
            return;
        }
        let before = self.from.insert(fixture, address);
        if let Some(before) = before.filter(|before| *before != address) {
            self.addresses.remove(&before);
        }
        self.addresses.insert(address, (fixture, seen.at + seen.lasts()));
    }

    /// The fixture whose beacon sent its last identifier from this address, unless that was long ago.
    pub(super) fn whose(&self, now: Uptime, address: DeviceAddress) -> Option<FixtureIndex> {
        let (fixture, until) = *self.addresses.get(&address)?;
        (now <= until).then_some(fixture)
    }

    /// The last identifier of a fixture's beacon that was heard.
    pub(super) fn seen(&self, fixture: FixtureIndex) -> Option<&Seen> {
        self.seen.get(&fixture)
    }
}

impl fmt::Debug for Company {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Company").field("beacons", &self.seen.len()).finish_non_exhaustive()
    }
}

// === impl Seen ===

impl Seen {
    /// In milliseconds.
    const fn period_ms(self) -> i64 {
        1000 << self.exponent
    }

    /// How long what comes from the same address is the same beacon's.
    fn lasts(self) -> Duration {
        LEAST.max(Duration::from_millis(self.period_ms().unsigned_abs()))
    }

    /// What the beacon's clock may read at a moment: that of the identifier and the time since, and a
    /// period more to either side, because a beacon may change its identifier at any point of a period.
    /// `None` after a time in which its drift would have made that too many.
    pub(super) fn clock(self, now: Uptime) -> Option<BeaconClock> {
        let period = self.period_ms();
        let since = i64::try_from(now.since(self.at).as_millis()).ok()?;
        let margin = period.max(SLACK).saturating_add(since / DRIFT);
        let began = i64::from(self.period).saturating_mul(period).saturating_add(since);
        let number = |millis: i64| u32::try_from(millis.div_euclid(period).max(0)).ok();
        let first = number(began.saturating_sub(margin))?;
        let last = number(began.saturating_add(period - 1).saturating_add(margin))?;
        BeaconClock::new(first..=last, self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::AddressKind;

    const FIXTURE: FixtureIndex = FixtureIndex::FIRST;

    fn at(second: i64) -> Uptime {
        Uptime::from_micros(second * 1_000_000)
    }

    fn address(last: u8) -> DeviceAddress {
        DeviceAddress::new([0x40, 0, 0, 0, 0, last], AddressKind::Random)
    }

    fn seen(second: i64, period: u32, exponent: u8) -> Seen {
        Seen { at: at(second), period, exponent }
    }

    #[test]
    fn an_address_is_the_beacons_until_it_has_another_or_a_period_is_over() {
        let mut company = Company::default();
        company.note(FIXTURE, address(1), seen(0, 7, 10));
        assert_eq!(company.whose(at(1024), address(1)), Some(FIXTURE));
        assert_eq!(company.whose(at(1025), address(1)), None);
        assert_eq!(company.whose(at(1), address(2)), None);
        company.note(FIXTURE, address(2), seen(5, 8, 10));
        assert_eq!(company.whose(at(6), address(1)), None);
        assert_eq!(company.whose(at(6), address(2)), Some(FIXTURE));
        company.note(FIXTURE, DeviceAddress::UNKNOWN, seen(7, 8, 10));
        assert_eq!(company.whose(at(8), DeviceAddress::UNKNOWN), None);
        assert_eq!(company.whose(at(8), address(2)), Some(FIXTURE));
        company.note(FIXTURE, address(3), seen(9, 9, 0));
        assert_eq!(company.whose(at(9 + 60), address(3)), Some(FIXTURE), "at least a minute");
        assert_eq!(company.whose(at(9 + 61), address(3)), None);
        assert_eq!(format!("{company:?}"), "Company { beacons: 1, .. }");
    }

    fn readings(seen: Seen, second: i64) -> Option<Vec<u32>> {
        seen.clock(at(second)).map(|clock| clock.readings().collect())
    }

    #[test]
    fn the_clock_goes_on_from_the_identifier_with_a_period_to_either_side() {
        let heard = seen(100, 7, 10);
        let from = |first: u32, last: u32| Some((first..=last).map(|n| n << 10).collect());
        assert_eq!(readings(heard, 100), from(6, 8));
        assert_eq!(readings(heard, 101), from(6, 9), "the next period may have begun");
        assert_eq!(readings(heard, 100 + 1024), from(6, 10), "it drifts");
        assert_eq!(readings(heard, 100 + 86_400), from(7 + 83, 7 + 86));
        // One in seconds is off by some of them, and after a while by too many.
        assert_eq!(readings(seen(0, 500, 0), 30), Some((527..=533).collect()));
        assert_eq!(readings(seen(0, 500, 0), 86_400), None);
        assert_eq!(readings(seen(0, 0, 15), 0), Some(vec![0, 1 << 15]));
        assert_eq!(readings(seen(0, u32::MAX >> 15, 15), 0).unwrap().len(), 2);
    }
}

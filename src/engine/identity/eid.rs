//! Eddystone-EID: an identifier and the time in, whose beacon sends it out.
//!
//! Source: google/eddystone, `eddystone-eid/eid-computation.md`.
//!
//! A beacon's clock drifts. Each recognition bounds it (`eid/drift.rs`), so a beacon that is heard
//! is searched for in a narrow window, and one that was not heard for long in a wider one.
//!
//! What the beacons may be sending is derived for two minutes of the wall clock at a time, ahead
//! and in slices; whether an identifier counts is decided exactly, when it is heard. A table has 12
//! octets an identifier and a third to spare. At the usual exponent of 10 (17 minutes) and a window
//! of ten minutes a beacon has two or three in each of two tables: 35,000 beacons take 4 MB.
//!
//! Fast rotation is what costs: at exponent 0 the same window is 1,320 identifiers a beacon. All
//! tables together are bounded ([`ENTRIES`]); beyond 790 such beacons, each one's window becomes
//! narrower, what is nearest to where its clock is believed to be first; a beacon that is heard
//! needs about 125. From 8,500 such beacons on there is no room for all of them, and they are recognised
//! for a part of the time only.

mod drift;

use std::{collections::HashMap, ops::RangeInclusive, time::Duration};

use aes::{
    Aes128,
    cipher::{BlockEncrypt, KeyInit},
};
use rustc_hash::FxBuildHasher;
use zeroize::Zeroize;

use super::{
    Identifier, Key, UnixTime, Uptime,
    registry::Target,
    rotating::{Pending, Roster, Table},
};
use drift::{Drift, nanos};

/// How much of the wall clock one table serves, in milliseconds.
const SLOT: i64 = 120_000;

/// How many identifiers a table holds at most: 2^20 of 12 octets and a third are 17 MB.
const ENTRIES: usize = 1 << 20;

/// How many while the clock is not synced, when every beacon is searched for far and wide.
const WIDE_ENTRIES: usize = 1 << 19;

/// Every beacon may have so many in a table, however many beacons there are: the three that a
/// window of ten minutes at exponent 10 touches in two minutes, and one more.
const FEWEST: usize = 4;

/// The wall clock was stepped when it moved this much against the monotonic clock.
const STEP: i64 = 2000;

/// What every enrolled beacon may be sending around now.
#[derive(Debug)]
pub(super) struct EidTables {
    window: i64,
    wide: i64,
    beacons: Roster<Beacon, Target>,
    /// The table of now and the next one.
    slots: [Slot; 2],
    clock: Option<Reading>,
}

/// One enrolled beacon.
#[derive(Clone, Copy, Debug, Default)]
struct Beacon {
    key: Key,
    rotation_exponent: u8,
    clock_zero: UnixTime,
    drift: Drift,
}

/// What all beacons may send within two minutes.
#[derive(Debug, Default)]
struct Slot {
    /// Which two minutes, counted from 1970; none before the first look at the clock.
    number: Option<i64>,
    /// Whether beacons were searched for far and wide.
    wide: bool,
    /// The places before this one are in the table.
    built: usize,
    /// The first period of the next place that is not in the table yet.
    next: Option<u32>,
    table: Table<Sent>,
}

/// What a beacon sends in one of its periods.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    place: u32,
    period: u32,
}

/// A beacon that was heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Beaconed {
    pub(super) whose: Target,
    /// It was only found because more was searched than a synced clock would have allowed.
    pub(super) wide_window: bool,
    /// Which of its periods the identifier is of; each takes 2^exponent seconds.
    pub(super) period: u32,
    pub(super) exponent: u8,
}

/// The last look at the clock.
#[derive(Clone, Copy, Debug)]
struct Reading {
    unix: i64,
    /// What the wall clock said when the monotonic clock read zero, in milliseconds.
    origin: i64,
    synced: bool,
}

// === impl EidTables ===

impl EidTables {
    /// No beacon is enrolled yet. `window` is how far a beacon's clock may be off, `wide` how much
    /// farther ours while it is not synced, both to either side.
    pub(super) fn new(window: Duration, wide: Duration) -> Self {
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4);
        let window = millis(window);
        let wide = window.saturating_add(millis(wide));
        Self { window, wide, beacons: Roster::default(), slots: Default::default(), clock: None }
    }

    /// Enrols somebody's beacon.
    pub(super) fn insert(
        &mut self,
        whose: impl Into<Target>,
        key: Key,
        rotation_exponent: u8,
        clock_zero: UnixTime,
    ) {
        let drift = Drift::new(self.window);
        self.beacons.insert(whose.into(), Beacon { key, rotation_exponent, clock_zero, drift });
    }

    /// Withdraws somebody's beacon. What it may be sending belongs to nobody from now on.
    pub(super) fn remove(&mut self, whose: impl Into<Target>, key: Key) {
        self.beacons.remove(whose.into(), |beacon| beacon.key == key);
        if self.beacons.compact() {
            self.slots = Default::default();
        }
    }

    /// Takes over what another's beacons have shown of their clocks.
    pub(super) fn learn_from(&mut self, other: &Self) {
        let known = other.beacons.iter().filter(|beacon| beacon.drift.is_known());
        let known: HashMap<Key, Beacon, FxBuildHasher> =
            known.map(|beacon| (beacon.key, *beacon)).collect();
        for place in 0..self.beacons.places() {
            if let Some((_, beacon)) = self.beacons.get_mut(place)
                && let Some(known) = known.get(&beacon.key)
                && known.identifier() == beacon.identifier()
            {
                beacon.drift = known.drift;
            }
        }
        self.clock = other.clock;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.beacons.len() == 0
    }

    /// Looks at the clock. True when it has brought something new.
    pub(super) fn turn(&mut self, now: Uptime, unix: UnixTime, synced: bool) -> bool {
        let unix = unix.as_millis();
        let origin = unix.saturating_sub(now.as_micros().div_euclid(1000));
        let before = self.clock.replace(Reading { unix, origin, synced });
        if before.is_some_and(|before| before.origin.abs_diff(origin) > STEP.unsigned_abs()) {
            // What was learned was learned against a clock that was wrong, or against this one.
            for place in 0..self.beacons.places() {
                if let Some((_, beacon)) = self.beacons.get_mut(place) {
                    beacon.drift.doubt(unix, self.window);
                }
            }
            self.slots = Default::default();
        }
        let current = unix.div_euclid(SLOT);
        let mut turned = false;
        // A table that was made for a wide window serves a narrow one as well.
        let serves = |slot: &Slot, number| slot.number == Some(number) && (slot.wide || synced);
        if !serves(&self.slots[0], current) {
            self.slots.swap(0, 1);
            if !serves(&self.slots[0], current) {
                self.slots[0] = Slot::of(current, !synced);
            }
            turned = true;
        }
        if !serves(&self.slots[1], current + 1) {
            self.slots[1] = Slot::of(current + 1, !synced);
            turned = true;
        }
        turned
    }

    /// Derives at most so many identifiers, those of now first. Tells what is left.
    pub(super) fn build(&mut self, budget: usize) -> Pending {
        let mut budget = budget;
        let shares = [ENTRIES, WIDE_ENTRIES]
            .map(|entries| (entries / self.beacons.len().max(1)).max(FEWEST));
        for (slot, left) in self.slots.iter_mut().zip([Pending::Needed, Pending::Ahead]) {
            let [narrow, wide] = shares;
            let (share, window) = if slot.wide { (wide, Some(self.wide)) } else { (narrow, None) };
            budget = slot.build(&self.beacons, window, share, budget);
            if slot.built < self.beacons.places() {
                return left;
            }
        }
        Pending::Nothing
    }

    /// Whose beacon sends this identifier at the time of the last [`EidTables::turn`].
    pub(super) fn resolve(&mut self, eid: [u8; 8]) -> Option<Beaconed> {
        let Reading { unix, synced, .. } = self.clock?;
        let [slot, _] = &self.slots;
        let (sent, wide_window) = slot.table.find(tag(eid)).find_map(|sent| {
            let (_, beacon) = self.beacons.get(sent.place as usize)?;
            let within = |window| beacon.periods(window, unix, unix).contains(&sent.period);
            let narrow = within(None);
            let counts = narrow || (!synced && within(Some(self.wide)));
            (counts && beacon.eid(sent.period) == eid).then_some((sent, !narrow))
        })?;
        let (whose, beacon) = self.beacons.get_mut(sent.place as usize)?;
        if synced {
            let (first, last) = beacon.bounds(sent.period, unix);
            beacon.drift.observe(unix, beacon.age(unix), nanos(first), nanos(last));
        }
        let (period, exponent) = (sent.period, beacon.rotation_exponent);
        Some(Beaconed { whose, wide_window, period, exponent })
    }

    /// The octets it takes.
    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        let tables: usize = self.slots.iter().map(|slot| slot.table.octets()).sum();
        self.beacons.octets() + tables
    }
}

// === impl Slot ===

impl Slot {
    fn of(number: i64, wide: bool) -> Self {
        Self { number: Some(number), wide, ..Self::default() }
    }

    /// Derives at most so many identifiers more, and of no beacon more than its share. Tells what
    /// is left of the budget.
    fn build(
        &mut self,
        beacons: &Roster<Beacon, Target>,
        window: Option<i64>,
        share: usize,
        mut budget: usize,
    ) -> usize {
        let Some(number) = self.number else { return budget };
        let (from, to) = (number.saturating_mul(SLOT), (number + 1).saturating_mul(SLOT));
        while self.built < beacons.places() && budget > 0 {
            let periods = beacons
                .get(self.built)
                .map(|(_, beacon)| (beacon, nearest(beacon.periods(window, from, to), share)));
            if self.built == 0
                && self.next.is_none()
                && let Some((_, periods)) = &periods
            {
                let each = (periods.end() - periods.start()).saturating_add(1) as usize;
                self.table = Table::with_room((each * beacons.places()).min(ENTRIES));
            }
            if let Some((beacon, periods)) = periods
                && let Ok(place) = u32::try_from(self.built)
            {
                let first = self.next.take().unwrap_or(0).max(*periods.start());
                for period in first..=*periods.end() {
                    if budget == 0 {
                        self.next = Some(period);
                        return 0;
                    }
                    self.table.insert(tag(beacon.eid(period)), Sent { place, period });
                    budget -= 1;
                }
            } else {
                budget -= 1;
            }
            self.built += 1;
        }
        budget
    }
}

/// The part of a range that is nearest to its middle.
fn nearest(range: RangeInclusive<u32>, most: usize) -> RangeInclusive<u32> {
    let (first, last) = (*range.start(), *range.end());
    let most = u32::try_from(most).unwrap_or(u32::MAX).max(1);
    let length = last.saturating_sub(first).saturating_add(1);
    let first = first.saturating_add(length.saturating_sub(most) / 2);
    first..=last.min(first.saturating_add(most - 1))
}

// === impl Beacon ===

impl Zeroize for Beacon {
    fn zeroize(&mut self) {
        self.key.zeroize();
        // The rest is only worth something together with the key.
        *self = Self::default();
    }
}

impl Beacon {
    fn identifier(&self) -> Identifier {
        Identifier::EddystoneEid {
            identity_key: self.key,
            rotation_exponent: self.rotation_exponent,
            clock_zero: self.clock_zero,
        }
    }

    /// How long it sends one identifier, in milliseconds.
    const fn period(&self) -> i64 {
        1000 << self.rotation_exponent
    }

    /// What its clock would read if it had never drifted, in milliseconds.
    fn elapsed(&self, unix: i64) -> i64 {
        unix.saturating_sub(self.clock_zero.as_millis())
    }

    /// For how long its clock has been running on its own, in milliseconds; zero when nobody said
    /// when it began.
    fn age(&self, unix: i64) -> i64 {
        if self.clock_zero == UnixTime::default() { 0 } else { self.elapsed(unix).max(0) }
    }

    /// The periods in which it may be at some moment between two, by what is known of its clock, or
    /// by a window given instead.
    fn periods(&self, window: Option<i64>, from: i64, to: i64) -> RangeInclusive<u32> {
        let (first, last) = match window {
            Some(window) => self.drift.around(window),
            // The later it is, the less is known.
            None => self.drift.window(to, self.age(to)),
        };
        let number = |millis: i64| {
            let seconds = millis.div_euclid(1000).clamp(0, i64::from(u32::MAX));
            // The clock has 32 bits of seconds.
            u32::try_from(seconds).unwrap_or(u32::MAX) >> self.rotation_exponent
        };
        number(self.elapsed(from).saturating_add(first))
            ..=number(self.elapsed(to).saturating_add(last))
    }

    /// By how much its clock is ahead at least and at most, in milliseconds, when it is in this
    /// period now.
    fn bounds(&self, period: u32, unix: i64) -> (i64, i64) {
        let began = i64::from(period).saturating_mul(self.period());
        let first = began.saturating_sub(self.elapsed(unix));
        (first, first.saturating_add(self.period() - 1))
    }

    /// What it sends in its n-th rotation period.
    fn eid(&self, period: u32) -> [u8; 8] {
        ephemeral_id(&self.key, self.rotation_exponent, period << self.rotation_exponent)
    }
}

/// What an Eddystone-EID beacon sends when its clock reads so many seconds. It sends the same for
/// 2^exponent seconds; an exponent beyond 31 counts as 31.
pub fn ephemeral_id(identity_key: &Key, rotation_exponent: u8, counter: u32) -> [u8; 8] {
    let exponent = rotation_exponent.min(31);
    let time = counter >> exponent << exponent;
    // Octet 11 is 4 octets, or 32 bits, from the end.
    let block = u128::from(exponent) << 32 | u128::from(time);
    let whole = encrypt(temporary_key(identity_key, time), block);
    whole.first_chunk().copied().unwrap_or_default()
}

/// The key that a beacon uses for 18 hours, by its clock in seconds.
fn temporary_key(identity_key: &Key, time: u32) -> [u8; 16] {
    encrypt(identity_key.0, 0xff << 32 | u128::from(time >> 16))
}

/// One block of AES-128, most significant octet first.
fn encrypt(key: [u8; 16], block: u128) -> [u8; 16] {
    let mut block = block.to_be_bytes().into();
    Aes128::new(&key.into()).encrypt_block(&mut block);
    block.into()
}

/// The first 32 bits of an identifier.
fn tag(eid: [u8; 8]) -> u32 {
    let [a, b, c, d, ..] = eid;
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
pub(super) mod tests;

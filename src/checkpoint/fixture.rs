//! What is remembered of fixtures, on disk: beside the open visits, in the same commit as the events.
//!
//! Serialisable counterparts of [`FixtureRecord`] and [`BatteryRecord`]: one byte, the form (1), and the rest in
//! postcard's encoding (wire format 1.0). Times are uptimes of the run that wrote them, with a reading of both its
//! clocks. The slot's name is the fixture's.

use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Clocks, MAX_BYTES};
use crate::{
    engine::{
        BatteryDays, BatteryRecord, ClockQuality, DeviceMark, FixtureCheckpoint, FixtureRecord,
        ReceiverId, Remembered, RhythmRecord, StandingAlert, Uptime, WallClock, frame::Quantity,
    },
    outbox::{
        Kept, Write,
        record::{RunId, millis},
    },
    timeline::{Mark, Timeline, Told},
};

/// The form that this program writes, of both kinds.
const VERSION: u8 = 1;

/// Slots of what stands and what counts begin with this.
const STATE: &str = "fixture/";

/// Slots of batteries begin with this.
const BATTERY: &str = "fixture-battery/";

/// What was found of fixtures when the gateway started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fixtures {
    /// What is remembered, in uptimes of this run.
    pub remembered: Vec<(String, Remembered)>,
    /// How many are of a later form, and stay as they are until the fixture is written down anew.
    pub later: usize,
    /// The slots of those that make no sense; they are to be forgotten.
    pub damaged: Vec<Vec<u8>>,
}

#[derive(Deserialize, Serialize)]
struct StoredState {
    clocks: Clocks,
    device: [u8; 8],
    alerts: Vec<StoredAlert>,
    counter: Option<u32>,
    rhythm: Option<StoredRhythm>,
}

#[derive(Deserialize, Serialize)]
struct StoredAlert {
    rule: String,
    condition: String,
    quantity: Option<(String, u8)>,
    told_ms: i64,
}

#[derive(Deserialize, Serialize)]
struct StoredRhythm {
    receiver: String,
    heard_ms: i64,
    first_ms: i64,
    longest_ms: u64,
    gaps: u32,
    measures: bool,
}

#[derive(Deserialize, Serialize)]
struct StoredBattery {
    clocks: Clocks,
    device: [u8; 8],
    batteries: [StoredDays; 2],
}

#[derive(Deserialize, Serialize)]
struct StoredDays {
    /// When each began, in seconds, and its mean.
    days: Vec<(i64, f64)>,
    /// When it began, in seconds, sum and count.
    today: Option<(i64, f64, f64)>,
}

/// Why a value is not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unread {
    Later,
    Damaged,
}

/// Whether a kept value is about a fixture.
pub fn is_slot(slot: &[u8]) -> bool {
    name(slot).is_some()
}

/// What the outbox is asked to keep or to forget.
pub fn write(checkpoint: &FixtureCheckpoint, wall: &WallClock, run: RunId) -> Vec<Write> {
    let FixtureCheckpoint { fixture, remembered } = checkpoint;
    let clocks = Clocks::of(wall, run);
    let keep = |prefix: &str, value| Write::Keep { slot: slot(prefix, fixture), value };
    match remembered {
        Some(Remembered::State(record)) => {
            vec![keep(STATE, Some(StoredState::encode(record, clocks)))]
        }
        Some(Remembered::Battery(record)) => {
            vec![keep(BATTERY, Some(StoredBattery::encode(record, clocks)))]
        }
        None => vec![keep(STATE, None), keep(BATTERY, None)],
    }
}

/// Reads back what was kept. Where it lies in the present run is found by uptime within one boot of the machine,
/// else by wall clocks, if both were right. Where neither is known no time is taken to have passed: what is
/// remembered is at least as old.
pub fn restore(kept: &[Kept], known: (&Timeline, RunId), now: &WallClock) -> Fixtures {
    let mut fixtures = Fixtures::default();
    for kept in kept {
        let Some((fixture, is_battery)) = name(&kept.slot) else { continue };
        match read(is_battery, &kept.value, |clocks| shift_us(clocks, known, now), now.at) {
            Ok(remembered) => fixtures.remembered.push((fixture.to_owned(), remembered)),
            Err(Unread::Later) => fixtures.later += 1,
            Err(Unread::Damaged) => fixtures.damaged.push(kept.slot.clone()),
        }
    }
    fixtures
}

/// Reads what another gateway has just handed over: `here` tells from its uptimes which uptimes those are
/// here, whatever either wall clock says.
pub fn carried(
    slot: &[u8],
    value: &[u8],
    here: impl Fn(Uptime) -> Uptime,
) -> Option<(String, Remembered)> {
    let (fixture, is_battery) = name(slot)?;
    let end = Uptime::from_micros(i64::MAX);
    let shift_us = |clocks: &Clocks| {
        let at = clocks.wall().at;
        here(at).as_micros().saturating_sub(at.as_micros())
    };
    Some((fixture.to_owned(), read(is_battery, value, shift_us, end).ok()?))
}

fn slot(prefix: &str, fixture: &str) -> Vec<u8> {
    [prefix.as_bytes(), fixture.as_bytes()].concat()
}

/// Of which fixture a slot is, and whether of its battery.
fn name(slot: &[u8]) -> Option<(&str, bool)> {
    let slot = std::str::from_utf8(slot).ok()?;
    let battery = slot.strip_prefix(BATTERY).map(|fixture| (fixture, true));
    battery.or_else(|| slot.strip_prefix(STATE).map(|fixture| (fixture, false)))
}

/// What is to be added to uptimes of the run that wrote something down, in microseconds.
fn shift_us(clocks: &Clocks, (timeline, present): (&Timeline, RunId), now: &WallClock) -> i64 {
    let (run, wall) = (RunId(clocks.run), clocks.wall());
    let synced = wall.quality == ClockQuality::Synced;
    let stamp = timeline.stamp(present, Told { run, at: wall.at, unix: wall.unix, synced }, now);
    let here = match timeline.uptime_here(run, wall.at) {
        Some(here) => here,
        None if stamp.mark != Mark::Unsynced && now.quality == ClockQuality::Synced => {
            now.uptime_of(stamp.unix)
        }
        None => now.at,
    };
    here.as_micros().saturating_sub(wall.at.as_micros())
}

fn read(
    is_battery: bool,
    value: &[u8],
    shift_us: impl Fn(&Clocks) -> i64,
    now: Uptime,
) -> Result<Remembered, Unread> {
    fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, Unread> {
        match value.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| Unread::Damaged),
            Some((&form, _)) if form > VERSION => Err(Unread::Later),
            _ => Err(Unread::Damaged),
        }
    }
    let here =
        |shift_us: i64| move |us: i64| Uptime::from_micros(us.saturating_add(shift_us)).min(now);
    if is_battery {
        let stored: StoredBattery = decode(value)?;
        let here = here(shift_us(&stored.clocks));
        return Ok(Remembered::Battery(stored.restore(here)));
    }
    let stored: StoredState = decode(value)?;
    let here = here(shift_us(&stored.clocks));
    Ok(Remembered::State(stored.restore(here)))
}

impl StoredState {
    fn encode(record: &FixtureRecord, clocks: Clocks) -> Vec<u8> {
        let ms = |at: Uptime| at.as_micros().div_euclid(1000);
        let alert = |alert: &StandingAlert| StoredAlert {
            rule: alert.rule.clone(),
            condition: alert.condition.to_owned(),
            quantity: alert
                .quantity
                .map(|(quantity, instance)| (quantity.name().to_owned(), instance)),
            told_ms: ms(alert.told),
        };
        let rhythm = record.rhythm.as_ref().map(|rhythm| StoredRhythm {
            receiver: rhythm.receiver.as_str().to_owned(),
            heard_ms: ms(rhythm.heard),
            first_ms: ms(rhythm.first),
            longest_ms: millis(rhythm.longest),
            gaps: rhythm.gaps,
            measures: rhythm.measures,
        });
        let mut stored = Self {
            clocks,
            device: record.device.octets(),
            alerts: record.alerts.iter().map(alert).collect(),
            counter: record.counter,
            rhythm,
        };
        loop {
            let bytes = postcard::to_extend(&stored, vec![VERSION]).unwrap_or_default();
            if bytes.len() <= MAX_BYTES || stored.alerts.pop().is_none() {
                return bytes;
            }
        }
    }

    fn restore(self, here: impl Fn(i64) -> Uptime) -> FixtureRecord {
        let at = |ms: i64| here(ms.saturating_mul(1000));
        // What this version does not know it cannot watch for either.
        let alert = |alert: StoredAlert| {
            let quantity = match alert.quantity {
                Some((name, instance)) => Some((Quantity::from_name(&name)?, instance)),
                None => None,
            };
            let condition = StandingAlert::word(&alert.condition)?;
            Some(StandingAlert { rule: alert.rule, condition, quantity, told: at(alert.told_ms) })
        };
        FixtureRecord {
            device: DeviceMark::new(self.device),
            alerts: self.alerts.into_iter().filter_map(alert).collect(),
            counter: self.counter,
            rhythm: self.rhythm.map(|rhythm| RhythmRecord {
                receiver: ReceiverId::new(&rhythm.receiver),
                heard: at(rhythm.heard_ms),
                first: at(rhythm.first_ms),
                longest: Duration::from_millis(rhythm.longest_ms),
                gaps: rhythm.gaps,
                measures: rhythm.measures,
            }),
        }
    }
}

impl StoredBattery {
    fn encode(record: &BatteryRecord, clocks: Clocks) -> Vec<u8> {
        let second = |at: Uptime| at.as_micros().div_euclid(1_000_000);
        let days = |battery: &BatteryDays| StoredDays {
            days: battery.days.iter().map(|&(begun, mean)| (second(begun), mean)).collect(),
            today: battery.today.map(|(begun, sum, count)| (second(begun), sum, count)),
        };
        let batteries = record.batteries.each_ref().map(days);
        let mut stored = Self { clocks, device: record.device.octets(), batteries };
        loop {
            let bytes = postcard::to_extend(&stored, vec![VERSION]).unwrap_or_default();
            let longest = stored.batteries.iter_mut().max_by_key(|battery| battery.days.len());
            match longest.filter(|battery| bytes.len() > MAX_BYTES && !battery.days.is_empty()) {
                // The oldest says the least.
                Some(battery) => drop(battery.days.remove(0)),
                None => return bytes,
            }
        }
    }

    fn restore(self, here: impl Fn(i64) -> Uptime) -> BatteryRecord {
        let at = |second: i64| here(second.saturating_mul(1_000_000));
        let days = |stored: StoredDays| BatteryDays {
            days: stored.days.into_iter().map(|(begun, mean)| (at(begun), mean)).collect(),
            today: stored.today.map(|(begun, sum, count)| (at(begun), sum, count)),
        };
        BatteryRecord { device: DeviceMark::new(self.device), batteries: self.batteries.map(days) }
    }
}

#[cfg(test)]
mod tests;

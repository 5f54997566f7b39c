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
mod tests {
    use super::*;
    use crate::{clock::Boot, engine::UnixTime};

    const NOW: i64 = 1_795_255_200_000;

    fn s(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    fn wall(at: Uptime, unix_ms: i64, quality: ClockQuality) -> WallClock {
        WallClock { at, unix: UnixTime::from_millis(unix_ms), quality }
    }

    fn mark() -> DeviceMark {
        DeviceMark::new([1, 2, 3, 4, 5, 6, 7, 8])
    }

    /// As of second 1000 of its run.
    fn state() -> FixtureRecord {
        let alert = |rule: &str, condition, quantity| StandingAlert {
            rule: rule.to_owned(),
            condition,
            quantity,
            told: s(900),
        };
        FixtureRecord {
            device: mark(),
            alerts: vec![
                alert("too_warm", "above", Some((Quantity::TemperatureC, 1))),
                alert("silent", "never_heard", None),
                alert("refused", "replayed", None),
                alert("battery", "low", None),
            ],
            counter: Some(u32::MAX),
            rhythm: Some(RhythmRecord {
                receiver: ReceiverId::new("local"),
                heard: s(990),
                first: s(-100),
                longest: Duration::from_millis(61_500),
                gaps: 300,
                measures: true,
            }),
        }
    }

    fn battery(days: i64) -> BatteryRecord {
        let day = |day: i64| (s(day * 86_400), 2.9876);
        let battery =
            BatteryDays { days: (-days..0).map(day).collect(), today: Some((s(100), 300.25, 7.0)) };
        BatteryRecord { device: mark(), batteries: [battery, BatteryDays::default()] }
    }

    fn kept(remembered: Remembered, then: &WallClock) -> Vec<Kept> {
        let checkpoint =
            FixtureCheckpoint { fixture: "fridge".to_owned(), remembered: Some(remembered) };
        let writes = write(&checkpoint, then, RunId(1)).into_iter();
        let kept = writes.map(|write| match write {
            Write::Keep { slot, value } => Kept { slot, value: value.unwrap() },
            other => panic!("{other:?}"),
        });
        kept.collect()
    }

    /// What run 2 finds of what run 1 has written down.
    fn found(kept: &[Kept], now: &WallClock) -> Fixtures {
        let mut timeline = Timeline::default();
        timeline.begin(RunId(1), Some(Boot(5)), s(-100));
        timeline.begin(RunId(2), Some(Boot(6)), s(-20));
        restore(kept, (&timeline, RunId(2)), now)
    }

    #[test]
    fn what_is_written_down_comes_back() {
        let then = wall(s(1000), NOW, ClockQuality::Synced);
        for remembered in [Remembered::State(state()), Remembered::Battery(battery(59))] {
            let kept = kept(remembered.clone(), &then);
            assert!(is_slot(&kept[0].slot));
            let back = found(&kept, &then);
            let expected = vec![("fridge".to_owned(), remembered)];
            assert_eq!(back, Fixtures { remembered: expected, ..Fixtures::default() });
        }
    }

    #[test]
    fn times_lie_where_clocks_that_are_right_say_and_else_no_time_has_passed() {
        use ClockQuality::{Synced, Unsynced};
        let heard = |kept: &[Kept], now: &WallClock| match &found(kept, now).remembered[0].1 {
            Remembered::State(record) => record.rhythm.as_ref().unwrap().heard,
            Remembered::Battery(_) => panic!("a state was kept"),
        };
        let written = kept(Remembered::State(state()), &wall(s(1000), NOW, Synced));
        assert_eq!(heard(&written, &wall(s(5), NOW + 60_000, Synced)), s(5 - 60 - 10));
        assert_eq!(heard(&written, &wall(s(5), 60_000, Unsynced)), s(5 - 10));
        // A clock that went backwards makes nothing lie in the future.
        assert_eq!(heard(&written, &wall(s(5), NOW - 60_000, Synced)), s(5));
        let unsynced = kept(Remembered::State(state()), &wall(s(1000), 77, Unsynced));
        assert_eq!(heard(&unsynced, &wall(s(5), NOW, Synced)), s(5 - 10));
        // Within one boot it is the uptimes that count.
        let mut timeline = Timeline::default();
        timeline.begin(RunId(1), Some(Boot(5)), s(-100));
        timeline.begin(RunId(2), Some(Boot(5)), s(-1200));
        let back = restore(&unsynced, (&timeline, RunId(2)), &wall(s(5), NOW, Synced));
        let Remembered::State(record) = &back.remembered[0].1 else { panic!("a state was kept") };
        assert_eq!(record.rhythm.as_ref().unwrap().heard, s(990 - 1100));
    }

    #[test]
    fn a_later_form_is_left_alone_and_what_makes_no_sense_is_counted() {
        let then = wall(s(1000), NOW, ClockQuality::Synced);
        for remembered in [Remembered::State(state()), Remembered::Battery(battery(3))] {
            let mut kept = kept(remembered, &then);
            let (slot, whole) = (kept[0].slot.clone(), kept[0].value.clone());
            kept[0].value[0] = VERSION + 1;
            assert_eq!(found(&kept, &then), Fixtures { later: 1, ..Fixtures::default() });
            let damaged = Fixtures { damaged: vec![slot], ..Fixtures::default() };
            for length in 0..whole.len() {
                kept[0].value = whole[..length].to_vec();
                assert_eq!(found(&kept, &then), damaged, "{length}");
            }
        }
        let others = [Kept { slot: b"visit/fixture/".to_vec(), value: vec![9] }];
        assert_eq!(found(&others, &then), Fixtures::default());
    }

    #[test]
    fn whatever_is_on_the_disk_is_read_or_refused() {
        let then = wall(s(1000), NOW, ClockQuality::Synced);
        for remembered in [Remembered::State(state()), Remembered::Battery(battery(9))] {
            let mut kept = kept(remembered, &then);
            for place in 0..kept[0].value.len() {
                for bit in 0..8 {
                    kept[0].value[place] ^= 1 << bit;
                    let Fixtures { remembered, later, damaged } = found(&kept, &then);
                    assert_eq!(remembered.len() + later + damaged.len(), 1, "{place} {bit}");
                    kept[0].value[place] ^= 1 << bit;
                }
            }
        }
    }

    #[test]
    fn an_alert_of_a_word_that_this_version_does_not_know_is_left_out() {
        let stored = StoredAlert {
            rule: "x".to_owned(),
            condition: "sideways".to_owned(),
            quantity: None,
            told_ms: 0,
        };
        let mut stored_state: StoredState =
            postcard::from_bytes(&StoredState::encode(&state(), Clocks::default())[1..]).unwrap();
        stored_state.alerts.insert(0, stored);
        assert_eq!(stored_state.restore(Uptime::from_micros), state());
    }

    #[test]
    fn however_much_there_is_a_value_is_small() {
        let name = "a".repeat(64);
        let alert = StandingAlert {
            rule: name.clone(),
            condition: "rises_by",
            quantity: Some((Quantity::TemperatureC, 255)),
            told: Uptime::from_micros(i64::MIN),
        };
        let record = FixtureRecord { alerts: vec![alert; 32], ..state() };
        let clocks = Clocks { run: u64::MAX, uptime_us: i64::MIN, unix_ms: i64::MIN, synced: true };
        assert!((MAX_BYTES / 2..=MAX_BYTES).contains(&StoredState::encode(&record, clocks).len()));
        let mut record = battery(60);
        record.batteries[1] = record.batteries[0].clone();
        assert!(StoredBattery::encode(&record, clocks).len() <= MAX_BYTES);
        let stored: StoredBattery =
            postcard::from_bytes(&StoredBattery::encode(&record, clocks)[1..]).unwrap();
        assert_eq!(stored.batteries.map(|it| it.days.len()), [60, 60]);
        assert!(slot(BATTERY, &name).len() <= crate::outbox::MAX_SLOT);
    }

    #[test]
    fn what_is_forgotten_is_forgotten_of_both_kinds() {
        let gone = FixtureCheckpoint { fixture: "fridge".to_owned(), remembered: None };
        let writes = write(&gone, &WallClock::default(), RunId(1));
        assert_eq!(writes.len(), 2);
        let forgets = |write: &Write| matches!(write, Write::Keep { value: None, .. });
        assert!(writes.iter().all(forgets));
    }
}

//! A made-up cold chain in virtual time, from a seed: 40 fridges with compressors that come and go, defrosting,
//! doors, sensors that are heard badly or die, and a few fridges that truly fail. What is alerted and
//! cleared is held against what truly was.
//!
//! The same with the gateway's power cut, or the gateway stopped, a few times a day: no alert may be told twice
//! or be left standing.
//!
//! `COLD_CHAIN_HOURS` says how long (24), `COLD_CHAIN_SEEDS` how often (2).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use beacon_gateway::{
    checkpoint,
    engine::{
        AddressKind, AddressSeed, Advertisement, AlertRule, ClockQuality, Condition, DeafCause,
        DeviceAddress, Engine, Fixture, Identifier, Identity, IdentitySettings, PresenceSettings,
        RadioState, ReceiverId, Registry, ReportPolicy, Rssi, Said, UnixTime, Uptime, VisitId,
        WallClock, What, ZoneId, frame::Quantity,
    },
    outbox::{Kept, Write, record::RunId},
    timeline::Timeline,
};

const FRIDGES: u8 = 40;

/// A sensor sends this often, in seconds; more than one in five is not heard.
const INTERVAL_S: u32 = 30;

/// Above this for so long somebody has to come.
const TOO_WARM_C: f64 = 8.0;
const COLD_AGAIN_C: f64 = 7.5;
const FOR: Duration = Duration::from_mins(10);
const DOOR_FOR: Duration = Duration::from_mins(5);

/// How late an alert may come: noise, and advertisements that were not heard.
const LATE: Duration = Duration::from_mins(6);

/// From one second to another.
type Range = std::ops::Range<u32>;

fn number(name: &str, or: u32) -> u32 {
    std::env::var(name).map_or(or, |text| text.parse().expect("a number"))
}

fn s(second: u32) -> Uptime {
    Uptime::ZERO + Duration::from_secs(u64::from(second))
}

/// One fridge and its sensor.
struct Fridge {
    air_c: f64,
    cools: bool,
    /// Until when, in seconds.
    door_until: u32,
    defrosts_at: u32,
    /// When its compressor stands still although it should run.
    fails: std::ops::Range<u32>,
    /// When somebody leaves the door open, for a quarter of an hour.
    forgotten: Option<u32>,
    dies: Option<u32>,
    sent_door: bool,
    packet: u8,
    /// From when it truly was too warm for long enough, and from when cold enough again.
    warm: Vec<(u32, u32)>,
    wrong_since: Option<u32>,
    right_since: Option<u32>,
    alerted: Option<u32>,
}

impl Fridge {
    fn new(number: u8, rng: &mut fastrand::Rng, end: u32) -> Self {
        let fails = match number {
            // Three hours, not in the first one, and early enough to be repaired.
            n if n % 8 == 3 => {
                let from = rng.u32(3600..end - 7 * 3600);
                from..from + 3 * 3600
            }
            _ => 0..0,
        };
        Self {
            air_c: 4.0 + rng.f64(),
            cools: rng.bool(),
            door_until: 0,
            defrosts_at: rng.u32(0..12 * 3600),
            fails,
            // While the radio hears.
            forgotten: (number % 10 == 5).then(|| rng.u32(3600..end / 3 - 1800)),
            dies: (number % 20 == 9).then(|| rng.u32(end / 2..end - 4 * 3600)),
            sent_door: false,
            packet: 0,
            warm: Vec::new(),
            wrong_since: None,
            right_since: None,
            alerted: None,
        }
    }

    /// Lives for ten seconds.
    fn live(&mut self, now: u32, rng: &mut fastrand::Rng) {
        let failed = self.fails.contains(&now);
        self.cools = !failed && if self.cools { self.air_c > 3.0 } else { self.air_c > 5.0 };
        // What a sensor said last stands until its silence is noticed.
        let dying = self.dies.is_some_and(|dies| now + 120 > dies);
        if self.forgotten.is_some_and(|at| at / 10 == now / 10) {
            self.door_until = now + 15 * 60;
        } else if self.forgotten.is_none() && rng.f64() < 0.005 && !dying {
            self.door_until = self.door_until.max(now + rng.u32(10..60));
        }
        let defrosts = (now + self.defrosts_at) % (12 * 3600) < 12 * 60;
        let per_minute = if defrosts && !failed {
            0.2
        } else if self.cools {
            -0.25
        } else {
            0.06
        };
        // Those that fail have their doors kept shut, so that it is known when they are too warm.
        let open = if self.is_open(now) && self.fails.is_empty() { 0.1 } else { 0.0 };
        let warmer: f64 = (per_minute + open) / 6.0;
        self.air_c = (self.air_c + warmer).min(20.0);
        // What should be told of the air, if nobody had to hear it from a sensor.
        let lasts = |since: Option<u32>| since.is_some_and(|since| s(since) + FOR <= s(now));
        let (wrong, right) = (self.air_c > TOO_WARM_C, self.air_c < COLD_AGAIN_C);
        self.wrong_since = wrong.then(|| self.wrong_since.unwrap_or(now));
        self.right_since = right.then(|| self.right_since.unwrap_or(now));
        match self.alerted {
            None if lasts(self.wrong_since) => self.alerted = self.wrong_since,
            Some(from) if lasts(self.right_since) => {
                self.warm.extend(self.right_since.map(|to| (from, to)));
                self.alerted = None;
            }
            _ => {}
        }
    }

    fn is_open(&self, now: u32) -> bool {
        now < self.door_until
    }

    /// BTHome 2: packet, charge, temperature, door.
    fn send(&mut self, now: u32, rng: &mut fastrand::Rng) -> Vec<u8> {
        self.packet = self.packet.wrapping_add(1);
        let noise = (rng.f64() + rng.f64() + rng.f64() - 1.5) * 0.2;
        #[expect(clippy::cast_possible_truncation, reason = "between -3000 and 3000")]
        let centi = ((self.air_c + noise) * 100.0).round() as i16;
        self.sent_door = self.is_open(now);
        let mut data = vec![2, 1, 6, 13, 0x16, 0xd2, 0xfc, 0x40, 0x00, self.packet, 0x01, 80, 0x02];
        data.extend(centi.to_le_bytes());
        data.extend([0x1a, u8::from(self.sent_door)]);
        data
    }
}

fn address(fridge: u8) -> [u8; 6] {
    [0xc0, 0, 0, 0, 0, fridge]
}

fn fixture(fridge: u8) -> Fixture {
    let rule = |id, quantity, condition, hold| AlertRule {
        id: Arc::from(id),
        quantity,
        condition,
        hold,
        clear_after: hold,
    };
    let warm = Condition::Above { limit: TOO_WARM_C, hysteresis: TOO_WARM_C - COLD_AGAIN_C };
    let alerts = vec![
        rule("too_warm", Quantity::TemperatureC, warm, FOR),
        rule("door_open", Quantity::DoorOpen, Condition::Is(true), DOOR_FOR),
    ];
    Fixture {
        id: format!("fridge-{fridge}"),
        zone: Some(ZoneId::new("dairy")),
        hangs: None,
        identifier: Identifier::Address(address(fridge)).into(),
        key: None,
        canary: false,
        report: ReportPolicy { alerts, ..ReportPolicy::default() },
    }
}

/// What was said: when, by which rule, about which fixture.
#[derive(Default)]
struct Told {
    alerted: BTreeMap<(String, String), Vec<Uptime>>,
    cleared: BTreeMap<(String, String), Vec<Uptime>>,
    silent: Vec<(String, Uptime)>,
    measured: u32,
}

impl Told {
    fn take(&mut self, engine: &mut Engine) {
        while let Some(situation) = engine.poll_event() {
            let What::Sensor { fixture, said, .. } = situation.what else { continue };
            match said {
                Said::Measured(_) => self.measured += 1,
                Said::Alerted(alarm) => {
                    self.alerted.entry((fixture, alarm.rule)).or_default().push(situation.at);
                }
                Said::Cleared { alarm, .. } => {
                    self.cleared.entry((fixture, alarm.rule)).or_default().push(situation.at);
                }
                Said::Silent { .. } => self.silent.push((fixture, situation.at)),
                Said::Pressed { .. } => panic!("fridges have no buttons"),
            }
        }
    }
}

/// For half an hour of the night the radio hears nothing.
fn deaf(hours: u32) -> std::ops::Range<u32> {
    hours * 1200..hours * 1200 + 1800
}

/// When something that began at a second has lasted long enough, at the earliest and at the latest:
/// nobody vouches for it before a radio that was deaf hears again, or the gateway runs.
fn known_after(from: u32, unheard: &[Range]) -> (Uptime, Uptime) {
    let due = s(from) + FOR;
    let passed_over = |gap: &&Range| from < gap.end && due + LATE > s(gap.start);
    let gap = unheard.iter().rfind(passed_over);
    (due, gap.map_or(due, |gap| s(gap.end) + FOR) + LATE)
}

/// When the gateway is off: once in four hours, for ten seconds to three minutes.
fn stops(seed: u64, hours: u32) -> Vec<Range> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let deaf = deaf(hours);
    let off = (0..hours / 4).map(|turn| {
        let from = turn * 4 * 3600 + rng.u32(600..4 * 3600 - 600) / 10 * 10;
        from..from + rng.u32(1..19) * 10
    });
    off.filter(|off| off.end + 600 < deaf.start || deaf.end + 600 < off.start).collect()
}

/// What is left on the disk.
#[derive(Default)]
struct Disk {
    kept: BTreeMap<Vec<u8>, Vec<u8>>,
    writes: u32,
}

impl Disk {
    fn take(&mut self, now: u32, engine: &mut Engine) {
        while let Some(change) = engine.poll_fixture() {
            for write in checkpoint::fixture::write(&change, &wall(now), RunId(1)) {
                let Write::Keep { slot, value: Some(value) } = write else { panic!("{write:?}") };
                self.writes += 1;
                self.kept.insert(slot, value);
            }
        }
    }

    fn restore(&self, now: u32, engine: &mut Engine) {
        let kept = self.kept.iter();
        let kept: Vec<_> =
            kept.map(|(slot, value)| Kept { slot: slot.clone(), value: value.clone() }).collect();
        let known = (&Timeline::default(), RunId(2));
        let found = checkpoint::fixture::restore(&kept, known, &wall(now));
        assert_eq!((found.later, found.damaged.len()), (0, 0));
        engine.handle_remembered(s(now), found.remembered);
    }
}

fn wall(now: u32) -> WallClock {
    let unix = UnixTime::from_millis(1_795_255_200_000 + i64::from(now) * 1000);
    WallClock { at: s(now), unix, quality: ClockQuality::Synced }
}

fn engine() -> Engine {
    let registry = Registry::new(vec![], (0..FRIDGES).map(fixture).collect()).unwrap();
    let identity = Identity::new(registry, IdentitySettings::default(), AddressSeed::new(1));
    let first = VisitId { epoch: 1, run: 0, number: 1 };
    Engine::new(identity, PresenceSettings::default(), first)
}

fn play(seed: u64, hours: u32, stops: &[Range]) -> (Vec<Fridge>, Told, Disk) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let end = hours * 3600;
    let mut fridges: Vec<_> = (0..FRIDGES).map(|n| Fridge::new(n, &mut rng, end)).collect();
    let mut engine = engine();
    let local = ReceiverId::new("local");
    engine.handle_radio(Uptime::ZERO, &local, RadioState::Hearing);
    // It knows it after a minute.
    let deaf = deaf(hours);
    let (mut told, mut disk) = (Told::default(), Disk::default());
    for now in (0..end).step_by(10) {
        if now == deaf.start / 10 * 10 + 60 {
            let state = RadioState::Deaf { since: s(deaf.start), cause: DeafCause::Silence };
            engine.handle_radio(s(now), &local, state);
        } else if now == deaf.end / 10 * 10 + 10 {
            engine.handle_radio(s(now), &local, RadioState::Hearing);
        }
        let off = stops.iter().any(|off| off.contains(&now));
        // Every other time it stops in good order; else the power is cut.
        if stops.iter().step_by(2).any(|off| off.start == now) {
            engine.handle_stop(s(now));
            told.take(&mut engine);
            disk.take(now, &mut engine);
        }
        if stops.iter().any(|off| off.end == now) {
            engine = self::engine();
            engine.handle_clock(wall(now));
            disk.restore(now, &mut engine);
            engine.handle_radio(s(now), &local, RadioState::Hearing);
        }
        while !off && let Some(due) = engine.poll_timeout().filter(|due| *due <= s(now)) {
            engine.handle_timeout(due);
        }
        for (n, fridge) in (0..).zip(&mut fridges) {
            fridge.live(now, &mut rng);
            let turn = (now + u32::from(n) * 10) % INTERVAL_S == 0;
            let door = fridge.is_open(now) != fridge.sent_door;
            let lost = rng.f64() < 0.2 && !door;
            if !(turn || door) || lost || deaf.contains(&now) || off {
                continue;
            }
            if fridge.dies.is_some_and(|at| now >= at) {
                continue;
            }
            let data = fridge.send(now, &mut rng);
            let address = DeviceAddress::new(address(n), AddressKind::Random);
            let heard = Advertisement::new(s(now), local.clone(), address, Some(Rssi(-70)), &data);
            engine.handle_advertisement(s(now), &heard);
        }
        told.take(&mut engine);
        disk.take(now, &mut engine);
    }
    (fridges, told, disk)
}

#[test]
fn a_cold_chain_is_alerted_when_it_fails_cleared_when_it_is_cold_again_and_else_let_be() {
    check(|_, _| Vec::new());
}

#[test]
fn a_gateway_that_is_stopped_or_loses_its_power_a_few_times_a_day_alerts_and_clears_the_same() {
    check(stops);
}

/// Holds what is told against what was, with the gateway off at times.
fn check(stops: impl Fn(u64, u32) -> Vec<Range>) {
    let hours = number("COLD_CHAIN_HOURS", 24).max(10);
    for seed in 0..u64::from(number("COLD_CHAIN_SEEDS", 2)) {
        let stops = stops(seed, hours);
        let (fridges, told, disk) = play(seed, hours, &stops);
        let mut unheard = [&stops[..], &[deaf(hours)]].concat();
        unheard.sort_by_key(|gap| gap.start);
        let mut expected = (0, 0);
        for (n, fridge) in fridges.iter().enumerate() {
            let id = format!("fridge-{n}");
            let of = |all: &BTreeMap<_, Vec<Uptime>>, rule: &str| {
                all.get(&(id.clone(), rule.to_owned())).cloned().unwrap_or_default()
            };
            let warm = &fridge.warm;
            assert_eq!(warm.len(), usize::from(!fridge.fails.is_empty()), "seed {seed}: {id}");
            let (alerted, cleared) = (of(&told.alerted, "too_warm"), of(&told.cleared, "too_warm"));
            let counts = (alerted.len(), cleared.len());
            assert_eq!(counts, (warm.len(), warm.len()), "seed {seed}: {id}");
            for (((from, to), alert), clear) in warm.iter().zip(alerted).zip(cleared) {
                let (due, latest) = known_after(*from, &unheard);
                // Noise may pass the limit a little before the air does.
                assert!(
                    alert + LATE >= due && alert <= latest,
                    "seed {seed}: {id}, warm {from} to {to} s: {alert:?}"
                );
                let (over, latest) = known_after(*to, &unheard);
                assert!(
                    clear + LATE >= over && clear <= latest,
                    "seed {seed}: {id}, warm {from} to {to} s: {clear:?}"
                );
                expected.0 += 1;
            }
            let doors = (of(&told.alerted, "door_open"), of(&told.cleared, "door_open"));
            let forgotten = usize::from(fridge.forgotten.is_some());
            assert_eq!((doors.0.len(), doors.1.len()), (forgotten, forgotten), "seed {seed}: {id}");
            expected.1 += forgotten;
            let silent = told.silent.iter().filter(|(fixture, _)| *fixture == id);
            let silent: Vec<_> = silent.map(|(_, at)| *at).collect();
            assert_eq!(silent.len(), usize::from(fridge.dies.is_some()), "seed {seed}: {id}");
            for (dies, at) in fridge.dies.iter().zip(silent) {
                let quarter = Duration::from_mins(15);
                let off = |off: &&Range| off.end > *dies && s(off.start) < s(*dies) + quarter;
                let from = stops.iter().rfind(off).map_or(*dies, |off| off.end.max(*dies));
                assert!(at > s(*dies) && at < s(from) + quarter, "seed {seed}: {id}");
            }
            let low = of(&told.alerted, "battery").len();
            assert_eq!(low, 0, "seed {seed}: {id} has a good battery");
        }
        assert_eq!(expected.0, 5, "as many as fail");
        assert!(told.measured > 0);
        // Every hour, at every stop, and what was told.
        let most = u32::from(FRIDGES) * (hours + 1 + 2 * hours / 4) + 40;
        assert!(disk.writes <= most, "{} writes, {most} at most", disk.writes);
    }
}

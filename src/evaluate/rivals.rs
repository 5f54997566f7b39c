//! What open systems do to say which receiver somebody is near, written from their published rules:
//! readings in, a receiver out. What grows with the signal is compared as the signal; where a rule
//! speaks of metres, it is taken in metres.

use std::{collections::VecDeque, time::Duration};

use crate::engine::Uptime;

/// Whoever's newest reading is the loudest, of those of the last 5 s.
#[derive(Debug)]
pub struct Strongest(Vec<Option<(Uptime, f32)>>);

/// Whoever heard it loudest, on the mean of the last 5 s.
#[derive(Debug)]
pub struct Windowed(Vec<VecDeque<(Uptime, f32)>>);

/// Exponential smoothing, and a receiver only wins when it is louder by some dB: the textbook way.
#[derive(Debug)]
pub struct Smoothed {
    levels: Vec<Option<f32>>,
    current: Option<usize>,
}

/// `ESPresense` nodes with Home Assistant's `mqtt_room`. A node smooths over 15 s, leaves out what
/// lies outside of Tukey's fences (1.5 interquartile ranges), and takes the mean
/// (`AdaptivePercentileRSSI`); its distance grows as the signal falls (absorption 3.5). The room
/// follows a report that is nearer, or any when the last one is 5 s old (`mqtt_room`, `timeout`).
#[derive(Debug)]
pub struct Espresense {
    nodes: Vec<VecDeque<(Uptime, f32)>>,
    room: Option<(usize, f32, Uptime)>,
}

/// Bermuda's area by least distance: cycles of 1.05 s, attenuation 3 and -55 dBm at a metre,
/// retreats above 3 m/s are ignored, the mean of 20 cycles that only ever hugs the nearer values, at
/// most 20 m; a challenger wins by 18 % (as it counts them), or by 15 % when its worst of five cycles
/// beats the incumbent's best; readings older than 10 s win nothing, and none lasts 30 s.
#[derive(Debug)]
pub struct Bermuda {
    scanners: Vec<Scanner>,
    next_cycle: Option<Uptime>,
    current: Option<usize>,
}

/// A receiver, as Bermuda keeps it.
#[derive(Clone, Debug, Default)]
struct Scanner {
    newest: Option<(Uptime, f32)>,
    is_new: bool,
    /// Readings, newest first.
    readings: VecDeque<(Uptime, f32)>,
    /// Cycles, newest first.
    cycles: VecDeque<f32>,
    distance: Option<f32>,
}

/// room-assistant: a Kalman filter for each receiver (process noise 0.8, measurement noise 15, which
/// its source calls determined experimentally), and the nearest of those heard in the last 5 s.
#[derive(Debug)]
pub struct RoomAssistant(Vec<Option<Filtered>>);

#[derive(Clone, Copy, Debug)]
struct Filtered {
    level: f32,
    variance: f32,
    at: Uptime,
}

/// How long a window is.
const WINDOW: Duration = Duration::from_secs(5);

/// What a new reading weighs in exponential smoothing.
const WEIGHT: f32 = 0.3;

/// By how much another receiver must be louder, in dB.
const HYSTERESIS_DB: f32 = 5.0;

const NODE_WINDOW: Duration = Duration::from_secs(15);
const FENCES: f32 = 1.5;
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);

const CYCLE: Duration = Duration::from_millis(1050);
const ATTENUATION: f32 = 3.0;
const ONE_METRE_DBM: f32 = -55.0;
const FASTEST: f32 = 3.0;
const READINGS: usize = 10;
const CYCLES: usize = 20;
const FARTHEST: f32 = 20.0;
const CONTEST: Duration = Duration::from_secs(10);
const AWAY: Duration = Duration::from_secs(30);

const PROCESS_NOISE: f32 = 0.8;
const MEASUREMENT_NOISE: f32 = 15.0;
const INSTANCE_TIMEOUT: Duration = Duration::from_secs(5);

impl Strongest {
    pub(super) fn new(receivers: usize) -> Self {
        Self(vec![None; receivers])
    }

    pub(super) fn observe(&mut self, at: Uptime, receiver: usize, rssi: f32) {
        if let Some(newest) = self.0.get_mut(receiver) {
            *newest = Some((at, rssi));
        }
    }

    pub(super) fn nearest(&self, now: Uptime) -> Option<usize> {
        let fresh = |(at, _): &(Uptime, f32)| now.since(*at) <= WINDOW;
        loudest(self.0.iter().map(|newest| newest.filter(fresh).map(|(_, rssi)| rssi)))
    }
}

impl Windowed {
    pub(super) fn new(receivers: usize) -> Self {
        Self(vec![VecDeque::new(); receivers])
    }

    pub(super) fn observe(&mut self, at: Uptime, receiver: usize, rssi: f32) {
        if let Some(window) = self.0.get_mut(receiver) {
            window.push_back((at, rssi));
        }
    }

    pub(super) fn nearest(&mut self, now: Uptime) -> Option<usize> {
        let means = self.0.iter_mut().map(|window| {
            keep(window, now, WINDOW);
            mean(window.iter().map(|(_, rssi)| *rssi))
        });
        loudest(means)
    }
}

impl Smoothed {
    pub(super) fn new(receivers: usize) -> Self {
        Self { levels: vec![None; receivers], current: None }
    }

    pub(super) fn observe(&mut self, receiver: usize, rssi: f32) {
        if let Some(level) = self.levels.get_mut(receiver) {
            let before = level.unwrap_or(rssi);
            *level = Some(before + WEIGHT * (rssi - before));
        }
    }

    pub(super) fn nearest(&mut self) -> Option<usize> {
        let level = |receiver: usize| self.levels.get(receiver).copied().flatten();
        let best = loudest(self.levels.iter().copied())?;
        let beaten = self
            .current
            .and_then(level)
            .is_none_or(|own| level(best).is_some_and(|other| other > own + HYSTERESIS_DB));
        if beaten {
            self.current = Some(best);
        }
        self.current
    }
}

impl Espresense {
    pub(super) fn new(receivers: usize) -> Self {
        Self { nodes: vec![VecDeque::new(); receivers], room: None }
    }

    pub(super) fn observe(&mut self, at: Uptime, receiver: usize, rssi: f32) {
        let Some(window) = self.nodes.get_mut(receiver) else { return };
        window.push_back((at, rssi));
        keep(window, at, NODE_WINDOW);
        let Some(level) = fenced_mean(window) else { return };
        let follows = self.room.is_none_or(|(room, nearest, updated)| {
            room == receiver || level > nearest || at.since(updated) >= ROOM_TIMEOUT
        });
        if follows {
            self.room = Some((receiver, level, at));
        }
    }

    pub(super) fn nearest(&self) -> Option<usize> {
        self.room.map(|(room, ..)| room)
    }
}

impl Bermuda {
    pub(super) fn new(receivers: usize) -> Self {
        Self { scanners: vec![Scanner::default(); receivers], next_cycle: None, current: None }
    }

    pub(super) fn observe(&mut self, at: Uptime, receiver: usize, rssi: f32) {
        self.next_cycle.get_or_insert(at + CYCLE);
        if let Some(scanner) = self.scanners.get_mut(receiver) {
            let metres = 10.0_f32.powf((ONE_METRE_DBM - rssi) / (10.0 * ATTENUATION));
            scanner.newest = Some((at, metres));
            scanner.is_new = true;
            scanner.readings.push_front((at, metres));
            scanner.readings.truncate(READINGS);
        }
    }

    pub(super) fn nearest(&mut self, now: Uptime) -> Option<usize> {
        while let Some(cycle) = self.next_cycle.filter(|cycle| *cycle <= now) {
            for scanner in &mut self.scanners {
                scanner.cycle(cycle);
            }
            self.contest(cycle);
            self.next_cycle = Some(cycle + CYCLE);
        }
        self.current
    }

    fn contest(&mut self, now: Uptime) {
        let mut best = self.current;
        for (index, scanner) in self.scanners.iter().enumerate() {
            if best == Some(index) {
                continue;
            }
            let Some((heard, _)) = scanner.newest else { continue };
            if now.since(heard) > CONTEST {
                continue;
            }
            let incumbent = best.and_then(|best| self.scanners.get(best));
            let Some((own, incumbent)) = incumbent.and_then(|it| Some((it.distance?, it))) else {
                best = Some(index);
                continue;
            };
            let Some(other) = scanner.distance.filter(|metres| *metres <= FARTHEST) else {
                continue;
            };
            if own < other {
                continue;
            }
            // Half of what it is called: Bermuda divides by the sum and by two again.
            let lead = (own - other) / (own + other) / 2.0;
            let worst = scanner.cycles.iter().take(5).copied().fold(0.0, f32::max);
            let nearest = incumbent.cycles.iter().take(5).copied().fold(f32::INFINITY, f32::min);
            let by_history = scanner.cycles.len() > 3 && worst < nearest && lead > 0.15;
            if by_history || lead >= 0.18 {
                best = Some(index);
            }
        }
        self.current = best;
    }
}

impl Scanner {
    fn cycle(&mut self, now: Uptime) {
        let is_new = std::mem::take(&mut self.is_new);
        let Some((heard, metres)) = self.newest else { return };
        if self.distance.is_none() && is_new {
            self.distance = Some(metres);
            self.cycles = VecDeque::from([metres]);
            return;
        }
        if !is_new && now.since(heard) > AWAY {
            self.distance = None;
            self.cycles.clear();
            return;
        }
        let too_fast = self.retreat() > FASTEST;
        let next = if too_fast { self.cycles.front().copied().unwrap_or(metres) } else { metres };
        self.cycles.push_front(next);
        self.cycles.truncate(CYCLES);
        let hugged = self.cycles.iter().scan(metres, |least, metres| {
            *least = least.min(*metres);
            Some(*least)
        });
        self.distance = mean(hugged).map(|mean| mean.min(metres));
    }

    /// The fastest that the newest reading may be a retreat from the ones before, in metres a second.
    fn retreat(&self) -> f32 {
        let Some((at, metres)) = self.readings.front() else { return 0.0 };
        let mut speeds = self.readings.iter().skip(1).filter_map(|(before, was)| {
            let seconds = at.since(*before).as_secs_f32();
            (seconds > 0.0).then(|| (metres - was) / seconds)
        });
        match speeds.next() {
            Some(newest) if newest >= 0.0 => speeds.fold(newest, f32::max),
            Some(approach) => approach,
            None => 0.0,
        }
    }
}

impl RoomAssistant {
    pub(super) fn new(receivers: usize) -> Self {
        Self(vec![None; receivers])
    }

    pub(super) fn observe(&mut self, at: Uptime, receiver: usize, rssi: f32) {
        let Some(instance) = self.0.get_mut(receiver) else { return };
        *instance = Some(match *instance {
            None => Filtered { level: rssi, variance: MEASUREMENT_NOISE, at },
            Some(before) => {
                let predicted = before.variance + PROCESS_NOISE;
                let gain = predicted / (predicted + MEASUREMENT_NOISE);
                let level = before.level + gain * (rssi - before.level);
                Filtered { level, variance: predicted * (1.0 - gain), at }
            }
        });
    }

    pub(super) fn nearest(&self, now: Uptime) -> Option<usize> {
        let fresh = |it: &Filtered| now.since(it.at) < INSTANCE_TIMEOUT;
        loudest(self.0.iter().map(|instance| instance.filter(fresh).map(|it| it.level)))
    }
}

fn keep(window: &mut VecDeque<(Uptime, f32)>, now: Uptime, span: Duration) {
    while window.front().is_some_and(|(at, _)| now.since(*at) > span) {
        window.pop_front();
    }
}

fn mean(values: impl Iterator<Item = f32>) -> Option<f32> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// The mean of what lies within Tukey's fences.
fn fenced_mean(window: &VecDeque<(Uptime, f32)>) -> Option<f32> {
    let mut levels: Vec<f32> = window.iter().map(|(_, rssi)| *rssi).collect();
    levels.sort_by(f32::total_cmp);
    let quartile = |quarter: usize| {
        // Between two ranks it lies in proportion.
        let rank = quarter * (levels.len().checked_sub(1)?);
        let (whole, rest) = (rank / 4, rank % 4);
        let low = *levels.get(whole)?;
        let high = levels.get(whole + 1).copied().unwrap_or(low);
        let part = [0.0, 0.25, 0.5, 0.75].get(rest).copied()?;
        Some(low + part * (high - low))
    };
    let (first, third) = (quartile(1)?, quartile(3)?);
    let reach = FENCES * (third - first);
    let within = first - reach..=third + reach;
    mean(levels.iter().copied().filter(|level| within.contains(level)))
}

fn loudest(levels: impl Iterator<Item = Option<f32>>) -> Option<usize> {
    let heard = levels.enumerate().filter_map(|(index, level)| Some((index, level?)));
    heard.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Uptime {
        Uptime::ZERO + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_kalman_filter_settles_where_room_assistants_does() {
        // In the long run its gain solves v = (v + q) r / (v + q + r): 0.8 and 15 give 0.206.
        let mut filter = RoomAssistant::new(1);
        for n in 0..200 {
            filter.observe(at(f64::from(n)), 0, -60.0);
        }
        filter.observe(at(200.0), 0, -50.0);
        let level = filter.0[0].unwrap().level;
        assert!((level + 60.0 - 2.06).abs() < 0.01, "{level}");
        assert_eq!(filter.nearest(at(204.9)), Some(0));
        assert_eq!(filter.nearest(at(205.1)), None, "it forgets after five seconds");
    }

    #[test]
    fn hysteresis_waits_for_five_decibels() {
        let mut smoothed = Smoothed::new(2);
        smoothed.observe(0, -60.0);
        smoothed.observe(1, -57.0);
        smoothed.nearest();
        smoothed.observe(0, -61.0);
        assert_eq!(smoothed.nearest(), Some(1));
        for _ in 0..20 {
            smoothed.observe(0, -53.0);
        }
        assert_eq!(smoothed.nearest(), Some(1), "four decibels are not enough");
        for _ in 0..20 {
            smoothed.observe(0, -50.0);
        }
        assert_eq!(smoothed.nearest(), Some(0));
    }

    #[test]
    fn bermuda_holds_on_to_the_nearer_values_and_lets_a_much_nearer_scanner_win() {
        let mut bermuda = Bermuda::new(2);
        for n in 0..30 {
            bermuda.observe(at(f64::from(n)), 0, -70.0);
            bermuda.observe(at(f64::from(n) + 0.1), 1, -90.0);
            bermuda.nearest(at(f64::from(n) + 0.2));
        }
        assert_eq!(bermuda.current, Some(0));
        for n in 30..60 {
            bermuda.observe(at(f64::from(n)), 0, -85.0);
            bermuda.observe(at(f64::from(n) + 0.1), 1, -60.0);
            bermuda.nearest(at(f64::from(n) + 0.2));
        }
        assert_eq!(bermuda.current, Some(1));
    }

    #[test]
    fn outliers_lie_outside_of_tukeys_fences() {
        let readings = [-60.0, -61.0, -59.0, -60.0, -95.0].map(|rssi| (at(0.0), rssi));
        assert_eq!(fenced_mean(&VecDeque::from(readings)), Some(-60.0));
        assert_eq!(fenced_mean(&VecDeque::new()), None);
    }
}

//! The shop in virtual time: carriers in, receptions in time order out.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    Settings,
    air::{Air, Packet, Receiver, Reception},
    cast::{self, Cast, Habit},
    device::{Device, Surroundings},
    enrolment::{self, Enrolment, Fixture},
    journey::{Journey, Place},
    plan::Point,
    radio::{Link, Sent},
    rng::Rng,
    truth::{Truth, Visit},
};
use crate::engine::{Advertisement, Rssi, Uptime, WallClock};

/// The way along the street to the door takes about so long.
const TO_THE_DOOR: Duration = Duration::from_secs(10);

/// A small shop, its people and its radio.
pub struct Shop {
    settings: Settings,
    rng: Rng,
    carriers: Vec<Carrier>,
    receivers: Vec<Receiver>,
    enrolments: Vec<Enrolment>,
    fixtures: Vec<Fixture>,
    truth: Truth,
    /// Which device sends next: time, carrier, device.
    queue: BinaryHeap<Reverse<(Uptime, usize, usize)>>,
    air: Air,
    heard: VecDeque<Reception>,
}

struct Carrier {
    habit: Habit,
    devices: Vec<Device>,
    journey: Journey,
    rng: Rng,
    /// The entry in the truth for what is always there.
    visit: Option<usize>,
}

// === impl Shop ===

impl Shop {
    /// Opens a shop. The same seed and settings give the same octets at the same times.
    pub fn new(seed: u64, settings: &Settings) -> Self {
        let mut rng = Rng::new(seed);
        let Cast { carriers, enrolments, fixtures, .. } = Cast::new(settings, rng.fork());
        let distance = settings.radio.shelf_shadow_m;
        let receivers = settings
            .plan
            .receivers
            .iter()
            .map(|listener| Receiver::new(listener, distance, rng.fork()))
            .collect();
        let carriers = carriers.into_iter().map(|(habit, devices)| Carrier {
            habit,
            devices,
            journey: Journey::default(),
            rng: rng.fork(),
            visit: None,
        });
        let mut shop = Self {
            settings: settings.clone(),
            carriers: carriers.collect(),
            rng,
            receivers,
            enrolments,
            fixtures,
            truth: Truth::default(),
            queue: BinaryHeap::new(),
            air: Air::default(),
            heard: VecDeque::new(),
        };
        shop.open();
        shop
    }

    /// The registry of those who opted in, as JSON Lines.
    pub fn registry_jsonl(&self) -> String {
        enrolment::registry_jsonl(&self.enrolments)
    }

    /// The shop's own sensors.
    pub fn fixtures(&self) -> &[Fixture] {
        &self.fixtures
    }

    /// The same as `[[fixture]]` tables of a configuration file.
    pub fn fixtures_toml(&self) -> String {
        enrolment::fixtures_toml(&self.fixtures)
    }

    /// Who was where when, up to what was heard last and a little beyond.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The next advertisement that a receiver hears, with whose it was and where it came from.
    pub fn next_reception(&mut self) -> Option<Reception> {
        loop {
            if let Some(reception) = self.heard.pop_front() {
                return Some(reception);
            }
            if !self.step() {
                return None;
            }
        }
    }

    /// Sets everybody on their way, as if the shop had been open for a while: the first customers
    /// are about to come in.
    fn open(&mut self) {
        let mut customers = 0;
        for index in 0..self.carriers.len() {
            let Some(carrier) = self.carriers.get_mut(index) else { continue };
            let begins = match carrier.habit {
                Habit::Stands(_) => None,
                Habit::Stays { .. } => Some(Uptime::ZERO),
                Habit::Shops { .. } => {
                    let turn = self.settings.apart.saturating_mul(customers);
                    customers += 1;
                    Some(Uptime::ZERO + turn - TO_THE_DOOR)
                }
                Habit::Strolls => {
                    let early = Duration::from_secs(30).mul_f64(carrier.rng.unit());
                    Some(Uptime::ZERO - early)
                }
            };
            if let Some(begins) = begins {
                self.depart(index, begins);
            }
            let devices = self.carriers.get(index).map_or(0, |carrier| carrier.devices.len());
            for device in 0..devices {
                self.enqueue(index, device, Uptime::ZERO);
            }
        }
    }

    /// Lets a device send somewhere within its interval from `from` on.
    fn enqueue(&mut self, carrier: usize, device: usize, from: Uptime) {
        let Some(state) = self.carriers.get_mut(carrier) else { return };
        let Some(state) = state.devices.get_mut(device) else { return };
        let first = from + state.interval.mul_f64(state.rng.unit());
        self.queue.push(Reverse((first, carrier, device)));
    }

    /// One advertising event of the device whose turn it is. False when the shop has closed.
    fn step(&mut self) -> bool {
        // Without a receiver nothing would ever be heard, and the caller would wait for ever.
        if self.receivers.is_empty() {
            return false;
        }
        let next = self.queue.pop().map(|Reverse(next)| next);
        let closes = self.settings.length.map(|length| Uptime::ZERO + length);
        let Some((now, carrier, device)) =
            next.filter(|(now, ..)| closes.is_none_or(|closes| *now < closes))
        else {
            self.queue.clear();
            self.heard.extend(self.air.settle(None));
            return !self.heard.is_empty();
        };
        self.heard.extend(self.air.settle(Some(now)));
        match self.place(carrier, now) {
            Ok(place) => {
                self.send(carrier, device, now, place);
                let pause = self
                    .carriers
                    .get_mut(carrier)
                    .and_then(|state| state.devices.get_mut(device))
                    .map_or(Duration::from_secs(1), Device::pause);
                self.queue.push(Reverse((now + pause, carrier, device)));
            }
            // Away: it sends again where the next journey begins.
            Err(begins) => self.enqueue(carrier, device, begins),
        }
        true
    }

    /// Where a carrier is, or when its next journey begins.
    fn place(&mut self, carrier: usize, now: Uptime) -> Result<Place, Uptime> {
        let state = self.carriers.get(carrier);
        if let Some(Habit::Stands(at)) = state.map(|state| &state.habit) {
            return Ok(Place { at: *at, facing: 0.0 });
        }
        if state.is_some_and(|state| state.journey.ends() <= now) {
            let away = self.settings.away.clone();
            let begins = match self.carriers.get_mut(carrier) {
                Some(Carrier { habit: Habit::Stays { .. }, journey, .. }) => journey.ends(),
                Some(state) => now + state.rng.duration(&away),
                None => now,
            };
            self.depart(carrier, begins);
        }
        match self.carriers.get(carrier) {
            Some(state) => state.journey.place(now).ok_or_else(|| state.journey.begins().max(now)),
            None => Err(now),
        }
    }

    /// Begins a carrier's next journey, and writes it down.
    fn depart(&mut self, carrier: usize, begins: Uptime) {
        let Self { settings, carriers, truth, rng, .. } = self;
        let Some(state) = carriers.get_mut(carrier) else { return };
        let plan = &settings.plan;
        match &state.habit {
            Habit::Stands(_) => {}
            Habit::Shops { subject, consented } => {
                let stay = state.rng.duration(&settings.stay);
                state.journey = Journey::visit(plan, &mut state.rng, begins, stay);
                if let Some((from, until)) = state.journey.inside {
                    let (subject, consented) = (Arc::clone(subject), *consented);
                    let until = Some(until);
                    let mut visit = Visit { subject, consented, from, until, stays: Vec::new() };
                    visit.follow(plan, &state.journey);
                    truth.visits.push(visit);
                }
            }
            Habit::Stays { subject, for_seconds: (shortest, longest) } => {
                let stay = state.rng.between(*shortest, *longest);
                let stay = Duration::try_from_secs_f64(stay).unwrap_or_default();
                let from = state.journey.destination();
                state.journey = Journey::round(plan, &mut state.rng, begins, from, stay);
                let known = *state.visit.get_or_insert(truth.visits.len());
                if known == truth.visits.len() {
                    let subject = Arc::clone(subject);
                    let (from, stays) = (Uptime::ZERO, Vec::new());
                    truth.visits.push(Visit { subject, consented: true, from, until: None, stays });
                }
                if let Some(visit) = truth.visits.get_mut(known) {
                    visit.follow(plan, &state.journey);
                }
            }
            Habit::Strolls => {
                state.devices = vec![cast::stranger(truth.strangers, settings.rotation, rng)];
                truth.strangers = truth.strangers.saturating_add(1);
                state.journey = if state.rng.chance(0.5) {
                    let stay = state.rng.duration(&settings.stay);
                    Journey::visit(plan, &mut state.rng, begins, stay)
                } else {
                    Journey::passing(plan, &mut state.rng, begins)
                };
            }
        }
    }

    /// Whether somebody stands at arm's length.
    fn is_visited(&self, at: Point, now: Uptime) -> bool {
        const REACH_M: f64 = 1.0;
        let near = |place: Place| place.at.distance(Point { z: place.at.z, ..at }) < REACH_M;
        self.carriers.iter().any(|carrier| carrier.journey.place(now).is_some_and(near))
    }

    /// Puts one advertising event on the air of every receiver.
    fn send(&mut self, carrier: usize, device: usize, now: Uptime, place: Place) {
        let watches = self
            .carriers
            .get(carrier)
            .and_then(|state| state.devices.get(device))
            .is_some_and(Device::watches);
        let visited = watches && self.is_visited(place.at, now);
        let Self { settings, carriers, receivers, air, .. } = self;
        let unix = settings.wall_at_start().unix_at(now);
        let Some(state) = carriers.get_mut(carrier) else { return };
        let Some(device) = state.devices.get_mut(device) else { return };
        let (address, data) = device.advertise(now, Surroundings { unix, visited });
        while device.links.len() < receivers.len() {
            device.links.push(Link::new(device.rng.fork(), now, place.at));
        }
        for (receiver, link) in receivers.iter().zip(&mut device.links) {
            link.advance(&settings.radio, now, place.at);
            let Some(slot) = receiver.overhears(now, &data) else { continue };
            let sent = Sent {
                power: device.power,
                from: place,
                carried: device.carried,
                channel: slot.channel,
            };
            let dbm = settings.radio.rssi(sent, receiver.at, &receiver.shadows, link);
            let heard_by = receiver.id.clone();
            let advertisement =
                Advertisement::new(slot.end, heard_by, address, Some(report(dbm)), &data);
            let origin = device.origin.clone();
            let reception = Reception { origin, from: place.at, advertisement };
            let lost = !settings.radio.is_received(dbm, &mut device.rng);
            air.put(Packet { slot, dbm, lost, reception });
        }
    }
}

impl Iterator for Shop {
    type Item = Advertisement;

    /// The next advertisement that a receiver hears, in the order of time; `None` when the shop has
    /// closed.
    fn next(&mut self) -> Option<Advertisement> {
        self.next_reception().map(|reception| reception.advertisement)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to the range of an RSSI before")]
fn report(dbm: f64) -> Rssi {
    Rssi(dbm.round().clamp(-127.0, 20.0) as i8)
}

// === impl Settings ===

impl Settings {
    fn wall_at_start(&self) -> WallClock {
        WallClock { at: Uptime::ZERO, unix: self.started, ..WallClock::default() }
    }
}

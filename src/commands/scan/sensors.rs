//! `scan --sensors`: every sensor that is heard, listed and new, the loudest first, and the lines to
//! list a new one by.
//!
//! A technician asks for this at a terminal. What is shown of those who are not listed, address and
//! name, goes to standard output and nowhere else, and is cleared with the [`Finder`].

mod fixture;
mod view;

use std::collections::BTreeMap;

use super::strengths::Strengths;
use crate::{
    engine::{
        Advertisement, DeviceAddress, HeardSensor, ReceiverId, Rssi, Unveiled, Uptime,
        frame::{Quantity, Reading, sensor::Refusal},
    },
    settings::Settings,
};

/// The sensors heard so far.
pub(super) struct Finder {
    sensors: BTreeMap<Key, Found>,
    received: u64,
    /// Advertisements of everything else.
    others: u64,
    /// Advertisements of sensors that there was no room for.
    crowded: u64,
    shop: Shop,
}

/// What the configuration says already.
struct Shop {
    /// Ids that are taken.
    ids: Vec<String>,
    zones: Vec<String>,
}

/// What tells one sensor from another.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
enum Key {
    Fixture(String),
    /// By its address, which does not show itself.
    Address(DeviceAddress),
    /// By its family and the number that its frames tell, where the address changes or was not told.
    Numbered(&'static str, String),
    /// By its family and name, where its frames tell no number either.
    Named(&'static str, String),
}

/// One sensor.
struct Found {
    families: Vec<&'static str>,
    model: Option<&'static str>,
    name: Option<String>,
    /// The name was heard whole: a fixture can be known by it.
    name_is_complete: bool,
    address: Option<Unveiled>,
    encrypted: Option<Refusal>,
    readings: BTreeMap<(Quantity, u8), Reading>,
    heard: u64,
    last: Uptime,
    receivers: BTreeMap<ReceiverId, At>,
}

/// One sensor at one receiver.
struct At {
    first: Uptime,
    last: Uptime,
    heard: u32,
    loudest: Option<Rssi>,
    strengths: Strengths,
}

/// How many sensors are kept: a shopping centre's. Further ones are counted.
const MOST_SENSORS: usize = 512;

/// How many readings of one sensor are kept.
const MOST_READINGS: usize = 32;

/// How many families: makers put a common format beside their own.
const MOST_FAMILIES: usize = 4;

impl Finder {
    pub(super) fn new(settings: &Settings) -> Self {
        let ids = settings.fixture.iter().map(|fixture| fixture.id.clone()).collect();
        let zones = settings.zone.iter().map(|zone| zone.id.clone()).collect();
        let (sensors, shop) = (BTreeMap::new(), Shop { ids, zones });
        Self { sensors, received: 0, others: 0, crowded: 0, shop }
    }

    /// Takes in one advertisement, and the sensor it comes from with the id that it is listed under.
    pub(super) fn hear(
        &mut self,
        advertisement: &Advertisement,
        sensor: Option<(HeardSensor<'_>, Option<String>)>,
    ) {
        self.received += 1;
        let Some((sensor, id)) = sensor else {
            self.others += 1;
            return;
        };
        let (address, name) = (sensor.unveil_address(), shown(sensor.name));
        let is_lasting = address.as_ref().is_some_and(|address| address.lasting().is_lasting());
        let serial = sensor.unveil_serial();
        let key = match (id, &serial, &name) {
            (Some(id), ..) => Key::Fixture(id),
            _ if is_lasting => Key::Address(sensor.sender()),
            (None, Some((family, serial)), _) => Key::Numbered(family, serial.to_string()),
            (None, None, Some(name)) => Key::Named(sensor.family, name.clone()),
            (None, None, None) => Key::Address(sensor.sender()),
        };
        if !self.sensors.contains_key(&key) && self.sensors.len() >= MOST_SENSORS {
            self.crowded += 1;
            return;
        }
        let found = self.sensors.entry(key).or_insert_with(|| Found::new(advertisement.heard));
        // A shortened name does not take the place of a whole one.
        if name.is_some() && (sensor.name_is_complete || !found.name_is_complete) {
            (found.name, found.name_is_complete) = (name, sensor.name_is_complete);
        }
        found.address = address.or(found.address.take());
        found.hear(advertisement, sensor);
    }

    /// The loudest first: whoever holds a sensor to an antenna finds it at the top.
    fn by_loudness(&self) -> Vec<(&Key, &Found)> {
        let mut sensors: Vec<_> = self.sensors.iter().collect();
        sensors.sort_by_key(|(_, found)| {
            let near = found.nearest().map(|(_, at)| (at.loudest, at.strengths.median()));
            std::cmp::Reverse(near)
        });
        sensors
    }
}

impl Found {
    fn new(now: Uptime) -> Self {
        Self {
            families: Vec::new(),
            model: None,
            name: None,
            name_is_complete: false,
            address: None,
            encrypted: None,
            readings: BTreeMap::new(),
            heard: 0,
            last: now,
            receivers: BTreeMap::new(),
        }
    }

    fn hear(&mut self, advertisement: &Advertisement, sensor: HeardSensor<'_>) {
        let now = advertisement.heard;
        self.heard += 1;
        self.last = self.last.max(now);
        self.model = sensor.model.or(self.model);
        if !self.families.contains(&sensor.family) && self.families.len() < MOST_FAMILIES {
            self.families.push(sensor.family);
        }
        match sensor.told {
            Err(why) => self.encrypted = Some(why),
            Ok(readings) => {
                for reading in readings {
                    let place = (reading.quantity, reading.instance);
                    if self.readings.len() < MOST_READINGS || self.readings.contains_key(&place) {
                        self.readings.insert(place, reading);
                    }
                }
            }
        }
        let at = self.receivers.entry(advertisement.receiver.clone());
        at.or_insert_with(|| At::new(now)).hear(now, advertisement.rssi);
    }

    /// The receiver that heard it loudest.
    fn nearest(&self) -> Option<(&ReceiverId, &At)> {
        self.receivers.iter().max_by_key(|(_, at)| at.loudest)
    }

    /// What to call it: family and model.
    fn kind(&self) -> String {
        let families = self.families.join("+");
        self.model.map_or_else(|| families.clone(), |model| format!("{families} {model}"))
    }

    /// What is wrong with frames that are encrypted.
    fn sealed(&self) -> Option<&'static str> {
        self.encrypted.map(|why| match why {
            Refusal::NoKey => "encrypted: needs its key",
            Refusal::WrongKey => "encrypted: its key does not open it",
            Refusal::Truncated => "encrypted: cut off",
        })
    }
}

impl At {
    fn new(now: Uptime) -> Self {
        let strengths = Strengths::default();
        Self { first: now, last: now, heard: 0, loudest: None, strengths }
    }

    fn hear(&mut self, now: Uptime, rssi: Option<Rssi>) {
        self.heard = self.heard.saturating_add(1);
        self.last = self.last.max(now);
        if let Some(rssi) = rssi {
            self.loudest = self.loudest.max(Some(rssi));
            self.strengths.push(rssi);
        }
    }

    /// The mean time between two of its advertisements, in seconds.
    fn every_s(&self) -> Option<f64> {
        let gaps = self.heard.checked_sub(1).filter(|gaps| *gaps > 0)?;
        Some(self.last.since(self.first).as_secs_f64() / f64::from(gaps))
    }
}

/// A name as sent, if it is text that a terminal and a configuration can show.
fn shown(name: &[u8]) -> Option<String> {
    let name = str::from_utf8(name).ok()?.trim_end_matches('\0');
    let sound = !name.trim().is_empty() && !name.chars().any(is_hidden);
    sound.then(|| name.to_owned())
}

/// Controls, and what turns the direction of writing or hides itself.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || c == '\u{feff}'
}

#[cfg(test)]
mod tests;

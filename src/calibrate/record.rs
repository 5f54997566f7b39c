//! What a technician's tag says where they stand: advertisements in, a walk out. Pure: time is handed
//! in.
//!
//! Of everybody else's advertisements one thing is kept, at most once a second: that the receiver
//! heard something then. Nothing that could tell one tag from another is in a recording, the
//! technician's included.

use std::{collections::BTreeMap, fmt};

use crate::engine::{ReceiverId, Uptime, ZoneId};

/// A recording under way.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    began: Option<Uptime>,
    lines: Vec<Line>,
    /// The last second in which each receiver was known to hear.
    works: BTreeMap<ReceiverId, i64>,
    stay: Levels,
}

/// What was heard in the present stay, receiver by receiver: how many readings, and their sum in dBm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Levels(BTreeMap<ReceiverId, (u32, i64)>);

#[derive(Clone, Debug)]
struct Line {
    at: Uptime,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// From now on in this zone; none on the way to the next.
    Zone(Option<ZoneId>),
    Heard(ReceiverId, i8),
    Works(ReceiverId),
}

impl Recording {
    /// The technician is in a zone from now on, or on the way.
    pub fn mark(&mut self, now: Uptime, zone: Option<ZoneId>) {
        self.stay = Levels::default();
        self.push(now, What::Zone(zone));
    }

    /// A receiver heard the technician's tag.
    pub fn hear(&mut self, at: Uptime, receiver: &ReceiverId, rssi_dbm: i8) {
        self.works.insert(receiver.clone(), second(at));
        let (count, sum) = self.stay.0.entry(receiver.clone()).or_default();
        *count = count.saturating_add(1);
        *sum += i64::from(rssi_dbm);
        self.push(at, What::Heard(receiver.clone(), rssi_dbm));
    }

    /// A receiver heard something else.
    pub fn works(&mut self, at: Uptime, receiver: &ReceiverId) {
        let second = second(at);
        if self.works.get(receiver) != Some(&second) {
            self.works.insert(receiver.clone(), second);
            self.push(at, What::Works(receiver.clone()));
        }
    }

    /// What was heard since the last mark.
    pub fn stay(&self) -> &Levels {
        &self.stay
    }

    /// How many readings of the tag there are.
    pub fn readings(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line.what, What::Heard(..))).count()
    }

    /// It as a walk file: times count from its beginning, because nobody's day is in it.
    pub fn walk(&self) -> String {
        let began = self.began.unwrap_or_default();
        let line = |Line { at, what }: &Line| {
            let t = at.since(began).as_secs_f64();
            let says = match what {
                What::Zone(Some(zone)) => format!("\"zone\":{}", quoted(zone.as_str())),
                What::Zone(None) => "\"zone\":null".to_owned(),
                What::Heard(receiver, rssi) => {
                    format!("\"receiver\":{},\"rssi\":{rssi}", quoted(receiver.as_str()))
                }
                What::Works(receiver) => format!("\"receiver\":{}", quoted(receiver.as_str())),
            };
            format!("{{\"t\":{t:.2},{says}}}\n")
        };
        let head = "{\"beacon_gateway_walk\":1}\n".to_owned();
        std::iter::once(head).chain(self.lines.iter().map(line)).collect()
    }

    fn push(&mut self, at: Uptime, what: What) {
        self.began.get_or_insert(at);
        self.lines.push(Line { at, what });
    }
}

impl Levels {
    /// How many readings all receivers have together.
    pub fn count(&self) -> u32 {
        self.0.values().fold(0, |sum, (count, _)| sum.saturating_add(*count))
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no reading yet");
        }
        for (n, (receiver, (count, sum))) in self.0.iter().enumerate() {
            let mean = sum / i64::from(*count).max(1);
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{} {count} ({mean} dBm)", receiver.as_str())?;
        }
        Ok(())
    }
}

fn second(at: Uptime) -> i64 {
    at.as_micros().div_euclid(1_000_000)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

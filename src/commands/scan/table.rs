//! What `scan` shows: a row for each known tag and receiver, a line for each receiver. Strangers are
//! a number.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Write},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use serde_json::{Value, json};

use super::strengths::Strengths;
use crate::{
    commands::{Failure, broken_pipe},
    engine::{Advertisement, RadioState, ReceiverId, Rssi, Uptime},
    scan::{Plane, ReceiverCounters, ScanCounters},
};

/// What is shown.
pub(super) struct Table {
    rows: BTreeMap<(String, ReceiverId), Row>,
    strangers: u64,
    received: u64,
    radios: BTreeMap<ReceiverId, RadioState>,
    counters: Arc<ScanCounters>,
    /// How many each receiver had heard at each of the last turns.
    heard: VecDeque<(Uptime, Vec<u64>)>,
}

/// One known tag, as one receiver hears it.
struct Row {
    kind: &'static str,
    heard: u64,
    last: Uptime,
    rssi: Option<Rssi>,
    strengths: Strengths,
    /// When it was heard in the last seconds, oldest first, for the rate.
    times: VecDeque<Uptime>,
}

/// Rates are of the last ten seconds.
const SPAN_S: u64 = 10;

/// Times that are kept for a rate; a tag that is heard more often counts as heard so often.
const MOST_TIMES: usize = 1000;

impl Table {
    pub(super) fn new(counters: Arc<ScanCounters>) -> Self {
        Self {
            rows: BTreeMap::new(),
            strangers: 0,
            received: 0,
            radios: BTreeMap::new(),
            counters,
            heard: VecDeque::new(),
        }
    }

    /// Takes in one advertisement, and whose it is.
    pub(super) fn hear(
        &mut self,
        advertisement: &Advertisement,
        known: Option<(String, &'static str)>,
    ) {
        self.received += 1;
        let Some((name, kind)) = known else {
            self.strangers += 1;
            return;
        };
        let last = advertisement.heard;
        let row = self.rows.entry((name, advertisement.receiver.clone()));
        row.or_insert_with(|| Row::new(kind, last)).hear(last, advertisement.rssi);
    }

    /// A receiver's state changed.
    pub(super) fn radio(&mut self, receiver: ReceiverId, state: RadioState) {
        self.radios.insert(receiver, state);
    }

    /// A second has passed.
    pub(super) fn turn(&mut self, now: Uptime) {
        for row in self.rows.values_mut() {
            row.forget(now);
        }
        let heard = self.counters.receivers.iter().map(|it| it.heard.load(Relaxed)).collect();
        self.heard.push_back((now, heard));
        while self.heard.front().is_some_and(|(then, _)| now.since(*then).as_secs() > SPAN_S) {
            self.heard.pop_front();
        }
    }

    pub(super) fn print(&self, now: Uptime, clear: bool) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        self.write(&mut out, now, clear).or_else(broken_pipe)
    }

    fn write(&self, out: &mut impl Write, now: Uptime, clear: bool) -> io::Result<()> {
        if clear {
            // Home, and clear to the end of the screen (ECMA-48 8.3.21 and 8.3.39).
            write!(out, "\x1b[H\x1b[J")?;
        }
        writeln!(
            out,
            "{:<24} {:<9} {:<12} {:>5} {:>6} {:>6} {:>8} {:>7}",
            "name", "kind", "receiver", "dBm", "median", "per s", "heard", "ago"
        )?;
        let dbm = |rssi: Option<Rssi>| rssi.map_or_else(|| "-".to_owned(), |it| it.0.to_string());
        for ((name, receiver), row) in &self.rows {
            let (kind, receiver, ago) = (row.kind, receiver.as_str(), now.since(row.last));
            writeln!(
                out,
                "{name:<24} {kind:<9} {receiver:<12} {:>5} {:>6} {:>6.1} {:>8} {:>5} s",
                dbm(row.rssi),
                dbm(row.strengths.median()),
                row.rate(),
                row.heard,
                ago.as_secs()
            )?;
        }
        writeln!(
            out,
            "{} advertisements heard, {} of strangers, forgotten",
            self.received, self.strangers
        )?;
        for (place, counters) in self.counters.receivers.iter().enumerate() {
            writeln!(
                out,
                "{}: {}, plane {}, {:.0} a second, {} dropped, {} bytes and {} ms behind",
                counters.id.as_str(),
                radio(self.state(counters)),
                counters.plane().map_or("none", Plane::name),
                self.rate(place),
                counters.dropped.load(Relaxed),
                counters.queue_bytes.load(Relaxed),
                counters.age_us.load(Relaxed) / 1000,
            )?;
        }
        out.flush()
    }

    pub(super) fn print_json(&self, now: Uptime) -> Result<(), Failure> {
        let known = self.rows.iter().map(|((name, receiver), row)| {
            json!({
                "name": name,
                "kind": row.kind,
                "receiver": receiver.as_str(),
                "rssi": row.rssi.map(|Rssi(dbm)| dbm),
                "rssi_median": row.strengths.median().map(|Rssi(dbm)| dbm),
                "per_s": row.rate(),
                "heard": row.heard,
                "ago_s": now.since(row.last).as_secs(),
            })
        });
        let receivers = self.counters.receivers.iter().enumerate().map(|(place, counters)| {
            json!({
                "receiver": counters.id.as_str(),
                "radio": self.state(counters).name(),
                "plane": counters.plane().map(Plane::name),
                "heard": counters.heard.load(Relaxed),
                "per_s": self.rate(place),
                "dropped": counters.dropped.load(Relaxed),
                "queue_bytes": counters.queue_bytes.load(Relaxed),
                "age_ms": counters.age_us.load(Relaxed) / 1000,
            })
        });
        let document = json!({
            "received": self.received,
            "strangers": self.strangers,
            "dropped": self.counters.totals().dropped,
            "receivers": receivers.collect::<Value>(),
            "known": known.collect::<Value>(),
        });
        writeln!(anstream::stdout(), "{document}").or_else(broken_pipe)
    }

    fn state(&self, counters: &ReceiverCounters) -> RadioState {
        self.radios.get(&counters.id).copied().unwrap_or_default()
    }

    /// How many advertisements a second a receiver heard lately.
    fn rate(&self, place: usize) -> f64 {
        let at = |turn: Option<&(Uptime, Vec<u64>)>| {
            turn.and_then(|(then, heard)| Some((*then, *heard.get(place)?)))
        };
        let (Some((from, before)), Some((to, after))) =
            (at(self.heard.front()), at(self.heard.back()))
        else {
            return 0.0;
        };
        let seconds = to.since(from).as_secs_f64();
        let more = u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX);
        if seconds > 0.0 { f64::from(more) / seconds } else { 0.0 }
    }
}

impl Row {
    fn new(kind: &'static str, now: Uptime) -> Self {
        let (strengths, times) = (Strengths::default(), VecDeque::new());
        Self { kind, heard: 0, last: now, rssi: None, strengths, times }
    }

    fn hear(&mut self, now: Uptime, rssi: Option<Rssi>) {
        self.heard += 1;
        self.last = self.last.max(now);
        if let Some(rssi) = rssi {
            self.rssi = Some(rssi);
            self.strengths.push(rssi);
        }
        self.times.push_back(now);
        while self.times.len() > MOST_TIMES {
            self.times.pop_front();
        }
    }

    fn forget(&mut self, now: Uptime) {
        while self.times.front().is_some_and(|then| now.since(*then).as_secs() >= SPAN_S) {
            self.times.pop_front();
        }
    }

    /// How often a second it was heard lately.
    fn rate(&self) -> f64 {
        f64::from(u32::try_from(self.times.len()).unwrap_or(u32::MAX)) / 10.0
    }
}

fn radio(state: RadioState) -> String {
    match state {
        RadioState::Hearing => "hears".to_owned(),
        RadioState::Quiet => "hears, and the air is quiet".to_owned(),
        RadioState::Suspect { .. } => "has not heard anything for a while".to_owned(),
        RadioState::Deaf { cause, .. } => format!("is deaf: {cause}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{AddressKind, DeviceAddress};

    fn at(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    fn advertisement(seconds: i64, dbm: i8) -> Advertisement {
        let address = DeviceAddress::new([0xc0, 0, 0, 0, 0, 0xaf], AddressKind::Random);
        Advertisement::new(at(seconds), ReceiverId::default(), address, Some(Rssi(dbm)), &[])
    }

    fn shown(table: &Table, now: Uptime) -> String {
        let mut out = Vec::new();
        table.write(&mut out, now, false).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_tag_has_a_row_and_a_stranger_is_a_number() {
        let counters = Arc::new(ScanCounters::for_receivers([ReceiverId::default()]));
        let mut table = Table::new(Arc::clone(&counters));
        for (second, dbm) in (0..20).zip([-60, -62, -90, -61].into_iter().cycle()) {
            table.hear(&advertisement(second, dbm), Some(("door".to_owned(), "fixture")));
            table.hear(&advertisement(second, -40), None);
            counters.receivers[0].heard.fetch_add(2, Relaxed);
            table.turn(at(second));
        }
        let shown = shown(&table, at(22));
        let row = shown.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(row, ["door", "fixture", "local", "-61", "-61", "1.0", "20", "3", "s"]);
        assert!(shown.contains("40 advertisements heard, 20 of strangers"), "{shown}");
        assert!(shown.contains("local: hears, plane none, 2 a second, 0 dropped"), "{shown}");
        assert!(!shown.to_lowercase().contains("af"), "{shown}");
    }

    #[test]
    fn the_same_tag_at_two_receivers_has_two_rows() {
        let mut table = Table::new(Arc::default());
        let known = || Some(("door".to_owned(), "fixture"));
        table.hear(&advertisement(0, -60), known());
        let mut other = advertisement(0, -80);
        other.receiver = ReceiverId::new("b");
        table.hear(&other, known());
        assert_eq!(table.rows.len(), 2);
    }
}

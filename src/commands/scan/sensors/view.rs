//! The sensors as a table, as lines to paste, and as JSON.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Finder, Found, Key, fixture};
use crate::{
    commands::{Failure, broken_pipe},
    engine::{ReceiverId, Rssi, Unveiled, Uptime, frame::Reading},
};

/// How many rows fit a screen while it is renewed; all are told at the end.
const SCREENFUL: usize = 18;

impl Finder {
    /// The table, renewed in its place.
    pub(in crate::commands::scan) fn print_live(&self) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        // Home, and clear to the end of the screen (ECMA-48 8.3.21 and 8.3.39).
        let written = write!(out, "\x1b[H\x1b[J").and_then(|()| self.table(&mut out, SCREENFUL));
        written.and_then(|()| out.flush()).or_else(broken_pipe)
    }

    /// The whole table, and what to paste.
    pub(in crate::commands::scan) fn print_end(&self) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        let written = self.table(&mut out, usize::MAX).and_then(|()| self.blocks(&mut out));
        written.and_then(|()| out.flush()).or_else(broken_pipe)
    }

    pub(in crate::commands::scan) fn print_json(&self, now: Uptime) -> Result<(), Failure> {
        writeln!(anstream::stdout(), "{}", self.json(now)).or_else(broken_pipe)
    }

    pub(super) fn table(&self, out: &mut impl Write, most: usize) -> io::Result<()> {
        writeln!(
            out,
            "{:>5} {:>6} {:>9}  {:<20} {:<26} {:<20} tells",
            "dBm", "median", "every", "fixture", "sensor", "name"
        )?;
        let sensors = self.by_loudness();
        for (key, found) in sensors.iter().take(most) {
            let (loudest, median, every) = found.nearest().map_or((None, None, None), |(_, at)| {
                (at.loudest, at.strengths.median(), at.every_s())
            });
            let dbm = |it: Option<Rssi>| it.map_or_else(|| "-".to_owned(), |it| it.0.to_string());
            let every = every.map_or_else(|| "once".to_owned(), |every| format!("{every:.1} s"));
            let fixture = match key {
                Key::Fixture(id) => id,
                Key::Address(_) | Key::Named(..) | Key::Numbered(..) => "new",
            };
            writeln!(
                out,
                "{:>5} {:>6} {every:>9}  {fixture:<20} {:<26} {:<20} {}",
                dbm(loudest),
                dbm(median),
                found.kind(),
                found.name.as_deref().unwrap_or("-"),
                tells(found),
            )?;
        }
        if sensors.len() > most {
            writeln!(out, "and {} that are less loud", sensors.len() - most)?;
        }
        writeln!(
            out,
            "{} advertisements heard, {} of anything else, forgotten",
            self.received, self.others
        )?;
        if self.crowded > 0 {
            writeln!(out, "{} of more sensors than are kept, forgotten", self.crowded)?;
        }
        Ok(())
    }

    pub(super) fn blocks(&self, out: &mut impl Write) -> io::Result<()> {
        let (blocks, farther) = self.to_paste();
        if !blocks.is_empty() {
            writeln!(
                out,
                "\nTo list what is new, paste into the configuration, and say where it is:"
            )?;
        }
        for (_, lines) in &blocks {
            write!(out, "\n{lines}")?;
        }
        if farther > 0 {
            writeln!(
                out,
                "\n{farther} more are new and farther away: hold the one you look for to the antenna."
            )?;
        }
        Ok(())
    }

    /// The lines of those that are new: all of them when they are few, else of those that are near.
    /// And how many are new besides.
    fn to_paste(&self) -> (Vec<(&Key, String)>, usize) {
        let sensors = self.by_loudness();
        let is_new = |(key, _): &&(&Key, &Found)| !matches!(key, Key::Fixture(_));
        let new: Vec<_> = sensors.iter().filter(is_new).copied().collect();
        let is_near = |found: &Found| {
            let loudest = found.nearest().and_then(|(_, at)| at.loudest);
            loudest.is_some_and(|Rssi(dbm)| dbm >= fixture::NEAR)
        };
        let are_few = new.len() <= fixture::FEW;
        let told: Vec<_> =
            new.iter().filter(|(_, found)| are_few || is_near(found)).copied().collect();
        let (mut taken, farther) = (Vec::new(), new.len() - told.len());
        let lines = told.into_iter().filter_map(|it| {
            let lines = fixture::lines(it, &self.shop, &mut taken)?;
            Some((it.0, lines))
        });
        (lines.collect(), farther)
    }

    pub(super) fn json(&self, now: Uptime) -> Value {
        let (blocks, _) = self.to_paste();
        let sensors = self.by_loudness();
        let sensors = sensors.into_iter().map(|(key, found)| {
            let (receiver, at) = found.nearest().unzip();
            let id = match key {
                Key::Fixture(id) => Some(id),
                Key::Address(_) | Key::Named(..) | Key::Numbered(..) => None,
            };
            let lines = blocks.iter().find(|(of, _)| *of == key).map(|(_, lines)| lines);
            json!({
                "fixture": id,
                "family": found.families.first(),
                "families": found.families,
                "model": found.model,
                "name": found.name,
                "address": found.address.as_ref().map(Unveiled::as_str),
                "address_lasts": found.address.as_ref().map(|it| it.lasting().name()),
                "receiver": receiver.map(ReceiverId::as_str),
                "rssi_loudest": at.and_then(|at| at.loudest).map(|Rssi(dbm)| dbm),
                "rssi_median": at.and_then(|at| at.strengths.median()).map(|Rssi(dbm)| dbm),
                "every_s": at.and_then(super::At::every_s),
                "heard": found.heard,
                "ago_s": now.since(found.last).as_secs(),
                "encrypted": found.encrypted.is_some(),
                "readings": found.readings.values().map(reading_json).collect::<Value>(),
                "toml": lines,
            })
        });
        json!({
            "received": self.received,
            "others": self.others,
            "not_kept": self.crowded,
            "sensors": sensors.collect::<Value>(),
        })
    }
}

/// The latest readings, as people write them; or why there are none.
fn tells(found: &Found) -> String {
    let told: Vec<String> = found.readings.values().map(text).collect();
    let told = told.join(", ");
    match found.sealed() {
        Some(why) if told.is_empty() => why.to_owned(),
        Some(_) => format!("{told}; some frames are encrypted"),
        None if told.is_empty() => "-".to_owned(),
        None => told,
    }
}

fn text(reading: &Reading) -> String {
    let Reading { quantity, value, instance } = *reading;
    let number = if instance > 0 { format!("[{instance}]") } else { String::new() };
    let (name, unit) = (quantity.name(), quantity.unit());
    match reading.action() {
        Some(action) => format!("{name}{number} {}", action.name()),
        None if unit.is_empty() => format!("{name}{number} {value}"),
        None => format!("{name}{number} {value} {unit}"),
    }
}

fn reading_json(reading: &Reading) -> Value {
    json!({
        "quantity": reading.quantity.name(),
        "instance": reading.instance,
        "value": reading.value,
        "unit": reading.quantity.unit(),
        "event": reading.action().map(crate::engine::frame::Action::name),
    })
}

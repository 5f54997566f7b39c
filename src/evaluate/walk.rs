//! Walks: a file in, readings with true positions out.
//!
//! Our own form is JSON Lines: a header, then what was heard and where the tag truly was, in any order.
//!
//! ```text
//! {"beacon_gateway_walk":1}
//! {"t":0.00,"x":3.10,"y":4.20}
//! {"t":0.31,"receiver":"door","rssi":-67}
//! {"t":0.44,"receiver":"till","rssi":-71,"x":3.12,"y":4.25}
//! {"t":0.90,"receiver":"wine"}
//! ```
//!
//! `t` is in seconds; `x` and `y` are metres on the floor plan; between two true positions the tag
//! moved straight. A line with a receiver and no `rssi` says that it heard something else then: its
//! silence about the tag means something. `tag` tells several tags in one file apart.
//!
//! The other form is that of the Position-Annotated-BLE-RSSI-Dataset (`.mbd`; Daniş et al., Pervasive
//! and Mobile Computing 81, 2022): `unix_time,receiver,tag,rssi,x,y,z,…`, one reading a line, and a
//! `.dev` file with the receivers' positions, beside which a `.par` file may name the area's limits.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::engine::{
    ReceiverId, Uptime,
    place::{Extent, FloorReceiver, PathLoss, Point},
};

/// What one receiver heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// When, since the walk's first line.
    pub at: Uptime,
    /// Which receiver: an index into the plan's.
    pub receiver: usize,
    /// How loud the tag was, in dBm; none when it heard something else.
    pub rssi: Option<f32>,
}

/// One tag on its way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Walk {
    /// The file, and the tag where there are several.
    pub name: String,
    /// What was heard, oldest first.
    pub readings: Vec<Reading>,
    /// Where it truly was, oldest first, never empty.
    pub truth: Vec<(Uptime, Point)>,
    /// Readings of receivers that the plan does not know; they are left out.
    pub strange: usize,
}

/// Why a walk cannot be used.
#[derive(Debug, Error)]
pub enum WalkError {
    /// The file cannot be read.
    #[error("failed to read `{}`; check its name and permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is of neither form.
    #[error("failed to understand `{}`:{line}; {expected}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What was expected there.
        expected: &'static str,
    },
    /// There is nothing to compare.
    #[error("failed to find a walk in `{}`; {missing}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is missing.
        missing: &'static str,
    },
}

#[derive(Deserialize)]
struct Header {
    beacon_gateway_walk: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    t: f64,
    #[serde(default)]
    tag: String,
    receiver: Option<String>,
    rssi: Option<f32>,
    x: Option<f32>,
    y: Option<f32>,
}

#[derive(Deserialize)]
struct Par {
    limits: [f32; 4],
}

/// What both forms say, line by line.
struct Raw {
    seconds: f64,
    tag: String,
    receiver: Option<String>,
    rssi: Option<f32>,
    at: Option<Point>,
}

const MBD_LINE: &str =
    "expected `unix_time,receiver,tag,rssi,x,y,…`, all numbers but for the two names";
const JSON_LINE: &str = "expected an object like {\"t\":0.31,\"receiver\":\"door\",\"rssi\":-67,\"x\":3.1,\"y\":4.2}, \
                         with a receiver, a position, or both";
const JSON_HEADER: &str =
    "expected the header {\"beacon_gateway_walk\":1}; another version needs a newer beacon-gateway";
const DEV_FORM: &str = "expected `Dongles:{\"id\": [[x, y, z], …], …}`";

const PAR_FORM: &str = "expected `{\"limits\": [x, y, x, y], …}` with the smaller corner first";

/// Signals that radios report, in dBm; controllers say 127 for one that they could not measure.
const SIGNALS: std::ops::RangeInclusive<f32> = -127.0..=20.0;

/// Reads the walks of a file, one for each tag.
pub fn read_walks(path: &Path, receivers: &[FloorReceiver]) -> Result<Vec<Walk>, WalkError> {
    let text = read(path)?;
    let raw = if text.trim_start().starts_with('{') { json(path, &text) } else { mbd(path, &text) };
    walks(path, raw?, receivers)
}

/// Reads the receivers of a `.dev` file.
pub fn read_dev(path: &Path) -> Result<Vec<FloorReceiver>, WalkError> {
    let text = read(path)?;
    let wrong = || WalkError::Line { path: path.to_owned(), line: 1, expected: DEV_FORM };
    let (_, dongles) = text.split_once("Dongles:").ok_or_else(wrong)?;
    let mut values =
        serde_json::Deserializer::from_str(dongles).into_iter::<BTreeMap<String, Value>>();
    let dongles = values.next().and_then(Result::ok).ok_or_else(wrong)?;
    let number = |position: &Value, n: usize| {
        #[expect(clippy::cast_possible_truncation, reason = "metres in a building")]
        let metres = position.get(n)?.as_f64()? as f32;
        Some(metres).filter(|metres| metres.abs() < 10_000.0)
    };
    let mut receivers = Vec::new();
    for (id, device) in &dongles {
        let at = device.get(0).ok_or_else(wrong)?;
        let position = number(at, 0).zip(number(at, 1)).ok_or_else(wrong)?;
        receivers.push(FloorReceiver {
            id: ReceiverId::new(id),
            position: Some(Point::new(position.0, position.1)),
            height: number(at, 2).ok_or_else(wrong)?,
            offset_db: 0.0,
            path_loss: PathLoss::default(),
        });
    }
    Ok(receivers)
}

/// Reads how far the area reaches from the `.par` file beside a `.dev` file; none without that file.
pub fn read_par(dev: &Path) -> Result<Option<Extent>, WalkError> {
    let path = dev.with_extension("par");
    if !path.exists() {
        return Ok(None);
    }
    let text = read(&path)?;
    let par: Option<Par> = serde_json::from_str(&text).ok();
    let extent = par.and_then(|Par { limits: [left, low, right, high] }| {
        let (least, most) = (Point::new(left, low), Point::new(right, high));
        let sound = least.is_sound() && most.is_sound() && left < right && low < high;
        sound.then_some(Extent { least, most })
    });
    extent.map(Some).ok_or(WalkError::Line { path, line: 1, expected: PAR_FORM })
}

fn read(path: &Path) -> Result<String, WalkError> {
    fs::read_to_string(path).map_err(|source| WalkError::Read { path: path.to_owned(), source })
}

fn mbd(path: &Path, text: &str) -> Result<Vec<Raw>, WalkError> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let parse = |line: &str| {
        let mut fields = line.split(',').map(str::trim);
        let seconds: f64 = fields.next()?.parse().ok()?;
        let receiver = fields.next()?.to_owned();
        let tag = fields.next()?.to_owned();
        let mut number = || fields.next()?.parse::<f32>().ok();
        let (rssi, x, y) = (number()?, number()?, number()?);
        let at = Some(Point::new(x, y)).filter(|at| at.is_sound())?;
        let raw = Raw { seconds, tag, receiver: Some(receiver), rssi: Some(rssi), at: Some(at) };
        (raw.seconds.is_finite() && SIGNALS.contains(&rssi)).then_some(raw)
    };
    lines
        .map(|(line, found)| {
            let wrong = WalkError::Line { path: path.to_owned(), line, expected: MBD_LINE };
            parse(found).ok_or(wrong)
        })
        .collect()
}

fn json(path: &Path, text: &str) -> Result<Vec<Raw>, WalkError> {
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let wrong = |line, expected| WalkError::Line { path: path.to_owned(), line, expected };
    let header = lines.next().and_then(|(_, line)| serde_json::from_str::<Header>(line).ok());
    if header.map(|header| header.beacon_gateway_walk) != Some(1) {
        return Err(wrong(1, JSON_HEADER));
    }
    let parse = |line: &str| {
        let Line { t, tag, receiver, rssi, x, y } = serde_json::from_str(line).ok()?;
        let at = match (x, y) {
            (Some(x), Some(y)) => Some(Point::new(x, y)).filter(|at| at.is_sound())?.into(),
            (None, None) => None,
            _ => return None,
        };
        let says = receiver.is_some() || (at.is_some() && rssi.is_none());
        let sound = t.is_finite() && rssi.is_none_or(|rssi| SIGNALS.contains(&rssi));
        (says && sound).then_some(Raw { seconds: t, tag, receiver, rssi, at })
    };
    lines.map(|(line, found)| parse(found).ok_or_else(|| wrong(line, JSON_LINE))).collect()
}

fn walks(
    path: &Path,
    mut raw: Vec<Raw>,
    receivers: &[FloorReceiver],
) -> Result<Vec<Walk>, WalkError> {
    let empty = |missing| WalkError::Empty { path: path.to_owned(), missing };
    raw.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let started = raw.first().ok_or_else(|| empty("it has no lines"))?.seconds;
    let file =
        path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut tags: Vec<&str> =
        raw.iter().filter(|it| it.rssi.is_some()).map(|it| it.tag.as_str()).collect();
    tags.sort_unstable();
    tags.dedup();
    let mut walks = Vec::new();
    for tag in &tags {
        let mut walk = Walk { name: file.clone(), ..Walk::default() };
        if tags.len() > 1 {
            walk.name = format!("{file}/{tag}");
        }
        for line in &raw {
            let own = line.tag == *tag;
            let at = uptime(line.seconds - started);
            if own && let Some(point) = line.at {
                walk.truth.push((at, point));
            }
            let Some(id) = &line.receiver else { continue };
            match receivers.iter().position(|receiver| receiver.id.as_str() == id) {
                // What another tag sent is no reading of this one, but shows that the receiver hears.
                Some(receiver) => {
                    let rssi = line.rssi.filter(|_| own);
                    walk.readings.push(Reading { at, receiver, rssi });
                }
                None => walk.strange += 1,
            }
        }
        if walk.truth.is_empty() {
            return Err(empty("it has no true positions"));
        }
        if !walk.readings.iter().any(|reading| reading.rssi.is_some()) {
            return Err(empty("none of its receivers stands on the floor plan"));
        }
        walks.push(walk);
    }
    if walks.is_empty() { Err(empty("it has no readings")) } else { Ok(walks) }
}

fn uptime(seconds: f64) -> Uptime {
    #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
    let micros = (seconds * 1e6) as i64;
    Uptime::from_micros(micros)
}

impl Walk {
    /// Where the tag truly was; before the first and after the last known place it stood there.
    pub fn truth_at(&self, at: Uptime) -> Point {
        let next = self.truth.partition_point(|(when, _)| *when <= at);
        let before = next.checked_sub(1).and_then(|n| self.truth.get(n));
        match (before, self.truth.get(next)) {
            (Some((from, a)), Some((to, b))) => {
                let part = at.since(*from).as_secs_f32() / to.since(*from).as_secs_f32().max(1e-6);
                Point::new(a.x + part * (b.x - a.x), a.y + part * (b.y - a.y))
            }
            (Some((_, only)), None) | (None, Some((_, only))) => *only,
            (None, None) => Point::default(),
        }
    }

    /// When the tag was heard first and last.
    pub fn span(&self) -> (Uptime, Uptime) {
        let heard = || self.readings.iter().filter(|it| it.rssi.is_some()).map(|it| it.at);
        (heard().next().unwrap_or_default(), heard().next_back().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receivers() -> Vec<FloorReceiver> {
        ["door", "till"]
            .map(|id| FloorReceiver {
                id: ReceiverId::new(id),
                position: None,
                height: 2.0,
                offset_db: 0.0,
                path_loss: PathLoss::default(),
            })
            .to_vec()
    }

    fn parse(text: &str) -> Result<Vec<Walk>, WalkError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("walk.jsonl");
        fs::write(&path, text).unwrap();
        read_walks(&path, &receivers())
    }

    #[test]
    fn both_forms_of_a_walk_mean_the_same() {
        let json = "{\"beacon_gateway_walk\":1}\n\
                    {\"t\":10.5,\"receiver\":\"till\",\"rssi\":-71}\n\
                    {\"t\":10,\"receiver\":\"door\",\"rssi\":-60,\"x\":1,\"y\":2}\n\
                    {\"t\":10.5,\"x\":2,\"y\":2}\n";
        let mbd =
            "10.5,till,tag,-71,2,2,1.8,0\n10,door,tag,-60,1,2,1.8,0\n11,cellar,tag,-60,2,2,1.8\n";
        let (json, mbd) = (parse(json).unwrap().remove(0), parse(mbd).unwrap().remove(0));
        assert_eq!(json.readings, mbd.readings);
        assert_eq!(mbd.strange, 1);
        let at = |seconds| json.truth_at(uptime(seconds));
        assert_eq!((at(0.25), at(9.0)), (Point::new(1.5, 2.0), Point::new(2.0, 2.0)));
    }

    #[test]
    fn what_a_receiver_hears_of_others_shows_that_it_hears() {
        let text = "{\"beacon_gateway_walk\":1}\n\
                    {\"t\":0,\"tag\":\"a\",\"receiver\":\"door\",\"rssi\":-60,\"x\":1,\"y\":2}\n\
                    {\"t\":1,\"tag\":\"b\",\"receiver\":\"till\",\"rssi\":-60,\"x\":1,\"y\":2}\n";
        let walks = parse(text).unwrap();
        let rssi: Vec<Vec<Option<f32>>> =
            walks.iter().map(|it| it.readings.iter().map(|it| it.rssi).collect()).collect();
        assert_eq!(rssi, [[Some(-60.0), None], [None, Some(-60.0)]]);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let header = "{\"beacon_gateway_walk\":1}\n";
        for (text, expected) in [
            (String::new(), "no lines"),
            ("1,door,tag,-60,1\n".to_owned(), ":1; expected `unix_time"),
            ("1,door,tag,nan,1,2,3\n".to_owned(), ":1; expected `unix_time"),
            ("1,attic,tag,-60,1,2,3\n".to_owned(), "stands on the floor plan"),
            ("{\"beacon_gateway_walk\":2}\n".to_owned(), "newer"),
            (format!("{header}{{\"t\":1,\"x\":2}}\n"), ":2; expected an object"),
            (
                format!("{header}{{\"t\":1,\"rssi\":-60,\"x\":2,\"y\":2}}\n"),
                ":2; expected an object",
            ),
            (
                format!("{header}{{\"t\":1,\"receiver\":\"door\",\"rssi\":-60}}\n"),
                "no true positions",
            ),
        ] {
            let said = parse(&text).unwrap_err().to_string();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}

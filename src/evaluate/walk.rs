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
//! {"t":5.00,"zone":"dairy"}
//! {"t":65.0,"zone":null}
//! ```
//!
//! `t` is in seconds; `x` and `y` are metres on the floor plan; between two true positions the tag
//! moved straight. A line with a receiver and no `rssi` says that it heard something else then: its
//! silence about the tag means something. `tag` tells several tags in one file apart. `zone` says in
//! which zone of the plan the tag was from then on, where nobody measured its place; `null` that it was
//! on its way, where nothing is judged.
//!
//! The other form is that of the Position-Annotated-BLE-RSSI-Dataset (`.mbd`; Daniş et al., Pervasive
//! and Mobile Computing 81, 2022): `unix_time,receiver,tag,rssi,x,y,z,…`, one reading a line, and a
//! `.dev` file with the receivers' positions, beside which a `.par` file may name the area's limits.

mod area;
mod lines;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

pub use self::area::{read_dev, read_par};
use self::lines::{Mark, Raw, json, mbd};
use crate::engine::{
    Uptime, ZoneId,
    place::{FloorPlan, FloorReceiver, Point},
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
    /// Where it truly was, oldest first; empty when only its zones are known.
    pub truth: Vec<(Uptime, Point)>,
    /// In which zone of the plan it was from when on, oldest first; none on the way to another.
    pub marks: Vec<(Uptime, Option<usize>)>,
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
    /// It names a zone that is not on the plan.
    #[error(
        "failed to find the zone `{zone}` of `{}`:{line} on the floor plan, which has {known}", path.display()
    )]
    Zone {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        zone: String,
        /// The zones there are.
        known: String,
    },
    /// It lasts longer than anybody walks.
    #[error(
        "failed to take `{}` for one walk; from its first to its last `t` it lasts {hours:.0} hours, allowed are \
         {MOST_HOURS}", path.display()
    )]
    Long {
        /// The file.
        path: PathBuf,
        /// How long, in hours.
        hours: f64,
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

/// No walk lasts longer, in hours: a day is judged second by second, years would never end.
const MOST_HOURS: u8 = 24;

/// Reads the walks of a file, one for each tag. `zones` are the names of the plan's zones.
pub fn read_walks(
    path: &Path,
    receivers: &[FloorReceiver],
    zones: &[ZoneId],
) -> Result<Vec<Walk>, WalkError> {
    parse_walks(path, &read(path)?, receivers, zones)
}

/// Reads the walks of a text; `path` is what messages call it.
pub fn parse_walks(
    path: &Path,
    text: &str,
    receivers: &[FloorReceiver],
    zones: &[ZoneId],
) -> Result<Vec<Walk>, WalkError> {
    let is_json = text.trim_start().starts_with('{');
    let raw = if is_json { json(path, text, zones) } else { mbd(path, text) };
    walks(path, raw?, receivers)
}

fn read(path: &Path) -> Result<String, WalkError> {
    fs::read_to_string(path).map_err(|source| WalkError::Read { path: path.to_owned(), source })
}

fn walks(
    path: &Path,
    mut raw: Vec<Raw>,
    receivers: &[FloorReceiver],
) -> Result<Vec<Walk>, WalkError> {
    let empty = |missing| WalkError::Empty { path: path.to_owned(), missing };
    raw.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let started = raw.first().ok_or_else(|| empty("it has no lines"))?.seconds;
    let hours = raw.last().map_or(0.0, |last| (last.seconds - started) / 3600.0);
    if hours > f64::from(MOST_HOURS) {
        return Err(WalkError::Long { path: path.to_owned(), hours });
    }
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
            match line.zone {
                Mark::In(zone) if own => walk.marks.push((at, Some(zone))),
                Mark::Away if own => walk.marks.push((at, None)),
                Mark::In(_) | Mark::Away | Mark::Silent => {}
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
        if walk.truth.is_empty() && walk.marks.is_empty() {
            return Err(empty("it has neither true positions nor zones"));
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

    /// The same; none when only its zones are known.
    pub fn point_at(&self, at: Uptime) -> Option<Point> {
        (!self.truth.is_empty()).then(|| self.truth_at(at))
    }

    /// In which zone of the plan the tag truly was, if in one; none when that is not known, as on the
    /// way from one zone to another.
    pub fn zone_at(&self, plan: &FloorPlan, at: Uptime) -> Option<Option<usize>> {
        if self.marks.is_empty() {
            return self.point_at(at).map(|point| plan.zone_at(point));
        }
        let next = self.marks.partition_point(|(when, _)| *when <= at);
        let (_, zone) = self.marks.get(next.checked_sub(1)?)?;
        zone.map(Some)
    }

    /// What was heard of it from one time on, and before another.
    #[must_use]
    pub fn cut(&self, from: Uptime, to: Uptime) -> Self {
        let within = self.readings.iter().filter(|it| from <= it.at && it.at < to);
        Self { readings: within.copied().collect(), ..self.clone() }
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
    use crate::engine::{ReceiverId, place::PathLoss};

    fn receivers() -> Vec<FloorReceiver> {
        ["door", "till"]
            .map(|id| FloorReceiver {
                id: ReceiverId::new(id),
                position: None,
                height: 2.0,
                offset_db: 0.0,
                offset_error_db: None,
                path_loss: PathLoss::default(),
            })
            .to_vec()
    }

    fn parse(text: &str) -> Result<Vec<Walk>, WalkError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("walk.jsonl");
        fs::write(&path, text).unwrap();
        read_walks(&path, &receivers(), &["wine", "dairy"].map(ZoneId::new))
    }

    #[test]
    fn zones_hold_from_their_mark_to_the_next_and_nothing_is_known_on_the_way() {
        let text = "{\"beacon_gateway_walk\":1}\n\
                    {\"t\":0,\"receiver\":\"door\",\"rssi\":-60}\n\
                    {\"t\":5,\"zone\":\"dairy\"}\n\
                    {\"t\":9,\"zone\":null}\n\
                    {\"t\":12,\"zone\":\"wine\"}\n";
        let walk = parse(text).unwrap().remove(0);
        let plan = FloorPlan::default();
        let zones = [1.0, 5.0, 8.9, 9.0, 12.0, 99.0].map(|at| walk.zone_at(&plan, uptime(at)));
        assert_eq!(zones, [None, Some(Some(1)), Some(Some(1)), None, Some(Some(0)), Some(Some(0))]);
        assert_eq!(walk.point_at(uptime(6.0)), None);
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
            ("1,door,tag,-60,1,2\n100000,door,tag,-60,1,2\n".to_owned(), "lasts 28 hours"),
            (format!("{header}{{\"t\":1,\"x\":2}}\n"), ":2; expected an object"),
            (
                format!("{header}{{\"t\":1,\"rssi\":-60,\"x\":2,\"y\":2}}\n"),
                ":2; expected an object",
            ),
            (
                format!("{header}{{\"t\":1,\"receiver\":\"door\",\"rssi\":-60}}\n"),
                "neither true positions nor zones",
            ),
            (
                format!("{header}{{\"t\":1,\"zone\":\"attic\"}}\n"),
                ":2 on the floor plan, which has wine, dairy",
            ),
            (format!("{header}{{\"t\":1,\"zone\":7}}\n"), ":2; expected an object"),
        ] {
            let said = parse(&text).unwrap_err().to_string();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}

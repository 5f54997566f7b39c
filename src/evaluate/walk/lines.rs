//! A walk's text in, what each of its lines says out: our own form and that of the
//! Position-Annotated-BLE-RSSI-Dataset. A line that says nothing sensible is an error with its number.

use std::path::Path;

use serde::Deserialize;

use super::WalkError;
use crate::engine::{ZoneId, place::Point};

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
    #[serde(default, deserialize_with = "mark")]
    zone: Mark<String>,
}

/// What a line says of the zone.
#[derive(Debug, Default)]
pub(super) enum Mark<T> {
    /// Nothing.
    #[default]
    Silent,
    /// The tag is on its way from now on.
    Away,
    /// It is there from now on.
    In(T),
}

fn mark<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Mark<String>, D::Error> {
    Ok(Option::deserialize(from)?.map_or(Mark::Away, Mark::In))
}

/// What both forms say, line by line.
pub(super) struct Raw {
    pub(super) seconds: f64,
    pub(super) tag: String,
    pub(super) receiver: Option<String>,
    pub(super) rssi: Option<f32>,
    pub(super) at: Option<Point>,
    pub(super) zone: Mark<usize>,
}

const MBD_LINE: &str =
    "expected `unix_time,receiver,tag,rssi,x,y,…`, all numbers but for the two names";
const JSON_LINE: &str = "expected an object like {\"t\":0.31,\"receiver\":\"door\",\"rssi\":-67,\"x\":3.1,\"y\":4.2}, \
                         with a receiver, a position, a zone, or several of them";
const JSON_HEADER: &str =
    "expected the header {\"beacon_gateway_walk\":1}; another version needs a newer beacon-gateway";
/// Signals that radios report, in dBm; controllers say 127 for one that they could not measure.
const SIGNALS: std::ops::RangeInclusive<f32> = -127.0..=20.0;

pub(super) fn mbd(path: &Path, text: &str) -> Result<Vec<Raw>, WalkError> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let parse = |line: &str| {
        let mut fields = line.split(',').map(str::trim);
        let seconds: f64 = fields.next()?.parse().ok()?;
        let receiver = fields.next()?.to_owned();
        let tag = fields.next()?.to_owned();
        let mut number = || fields.next()?.parse::<f32>().ok();
        let (rssi, x, y) = (number()?, number()?, number()?);
        let at = Some(Point::new(x, y)).filter(|at| at.is_sound())?;
        let (receiver, rssi, at) = (Some(receiver), Some(rssi), Some(at));
        let raw = Raw { seconds, tag, receiver, rssi, at, zone: Mark::Silent };
        let sound = raw.seconds.is_finite() && rssi.is_some_and(|it| SIGNALS.contains(&it));
        sound.then_some(raw)
    };
    lines
        .map(|(line, found)| {
            let wrong = WalkError::Line { path: path.to_owned(), line, expected: MBD_LINE };
            parse(found).ok_or(wrong)
        })
        .collect()
}

pub(super) fn json(path: &Path, text: &str, zones: &[ZoneId]) -> Result<Vec<Raw>, WalkError> {
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let wrong = |line, expected| WalkError::Line { path: path.to_owned(), line, expected };
    let header = lines.next().and_then(|(_, line)| serde_json::from_str::<Header>(line).ok());
    if header.map(|header| header.beacon_gateway_walk) != Some(1) {
        return Err(wrong(1, JSON_HEADER));
    }
    let parse = |line: &str| {
        let Line { t, tag, receiver, rssi, x, y, zone } = serde_json::from_str(line).ok()?;
        let at = match (x, y) {
            (Some(x), Some(y)) => Some(Point::new(x, y)).filter(|at| at.is_sound())?.into(),
            (None, None) => None,
            _ => return None,
        };
        let placed = at.is_some() || !matches!(zone, Mark::Silent);
        let says = receiver.is_some() || (placed && rssi.is_none());
        let sound = t.is_finite() && rssi.is_none_or(|rssi| SIGNALS.contains(&rssi));
        let raw = Raw { seconds: t, tag, receiver, rssi, at, zone: Mark::Silent };
        (says && sound).then_some((raw, zone))
    };
    let mut raw = Vec::new();
    for (line, found) in lines {
        let (mut one, zone) = parse(found).ok_or_else(|| wrong(line, JSON_LINE))?;
        one.zone = match zone {
            Mark::Silent => Mark::Silent,
            Mark::Away => Mark::Away,
            Mark::In(name) => {
                let known = zones.iter().position(|zone| zone.as_str() == name);
                Mark::In(known.ok_or_else(|| strange_zone(path, line, name, zones))?)
            }
        };
        raw.push(one);
    }
    Ok(raw)
}

fn strange_zone(path: &Path, line: usize, zone: String, zones: &[ZoneId]) -> WalkError {
    let names: Vec<&str> = zones.iter().map(ZoneId::as_str).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    WalkError::Zone { path: path.to_owned(), line, zone, known }
}

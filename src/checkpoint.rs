//! Open visits on disk: what a restart needs to know, in the same commit as the events.
//!
//! A serialisable counterpart of [`VisitRecord`]. Times are wall time, because uptime starts anew
//! with every run; the slot's name is the subject's pseudonym.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    engine::{
        Checkpoint, Pseudonym, Quality, ReceiverId, Stay, UnixTime, Uptime, VisitId, VisitRecord,
        WallClock, ZoneId,
    },
    outbox::{
        Write,
        record::{millis, place_of},
    },
};

/// The form that this program writes.
const VERSION: u8 = 2;

/// The form before, which it reads as well: without the last field.
const WITHOUT_WIDE_WINDOW: u8 = 1;

/// Slots of open visits begin with this.
const PREFIX: &[u8] = b"visit/";

/// The largest value the outbox keeps, in bytes.
const MAX_BYTES: usize = crate::outbox::record::MAX_BYTES;

#[derive(Deserialize, Serialize)]
struct OpenVisit {
    id: (u32, u64, u64),
    started_ms: i64,
    last_seen_ms: i64,
    first_receiver: String,
    last_receiver: String,
    zones: Vec<String>,
    /// Zone, entered and left.
    stays: Vec<(u16, i64, i64)>,
    stays_cut: bool,
    in_zone: bool,
    dwelled: u16,
    dwell_ms: Vec<(u16, u64)>,
    sightings: u32,
    mean_rssi: Option<f64>,
    longest_gap_ms: u64,
    wide_window: bool,
}

/// What the outbox is asked to keep or to forget.
pub fn write(checkpoint: &Checkpoint, wall: &WallClock) -> Write {
    let slot = [PREFIX, checkpoint.subject.as_str().as_bytes()].concat();
    let value = checkpoint.visit.as_ref().map(|visit| encode(visit, wall));
    Write::Keep { slot, value }
}

/// Reads back what was kept; `None` for what is no open visit or no longer understood.
pub fn read(slot: &[u8], value: &[u8], wall: &WallClock) -> Option<(Pseudonym, VisitRecord)> {
    let subject = std::str::from_utf8(slot.strip_prefix(PREFIX)?).ok()?;
    let visit: OpenVisit = match value.split_first()? {
        (&VERSION, rest) => postcard::from_bytes(rest).ok()?,
        (&WITHOUT_WIDE_WINDOW, rest) => {
            const FALSE: u8 = 0;
            postcard::from_bytes(&[rest, &[FALSE]].concat()).ok()?
        }
        _ => return None,
    };
    Some((Pseudonym::new(subject), visit.restore(wall)?))
}

fn encode(visit: &VisitRecord, wall: &WallClock) -> Vec<u8> {
    let mut open = OpenVisit::of(visit, wall);
    loop {
        let bytes = postcard::to_extend(&open, vec![VERSION]).unwrap_or_default();
        // A path that is too long loses its middle; the present stay is its last.
        if bytes.len() <= MAX_BYTES || open.stays.len() <= 1 {
            return bytes;
        }
        let middle = (open.stays.len() - 1) / 2;
        open.stays.remove(middle);
        open.stays_cut = true;
    }
}

impl OpenVisit {
    fn of(visit: &VisitRecord, wall: &WallClock) -> Self {
        let mut zones: Vec<String> = Vec::new();
        let mut place = |zone: &ZoneId| place_of(&mut zones, zone);
        let unix = |at: Uptime| wall.unix_at(at).as_millis();
        let stay = |stay: &Stay| (place(&stay.zone), unix(stay.entered), unix(stay.left));
        let stays = visit.stays.iter().map(stay).collect();
        let dwell_ms =
            visit.dwell.iter().map(|(zone, time)| (place(zone), millis(*time))).collect();
        Self {
            id: (visit.id.epoch, visit.id.run, visit.id.number),
            started_ms: unix(visit.started),
            last_seen_ms: unix(visit.last_seen),
            first_receiver: visit.first_receiver.as_str().to_owned(),
            last_receiver: visit.last_receiver.as_str().to_owned(),
            zones,
            stays,
            stays_cut: visit.stays_cut,
            in_zone: visit.in_zone,
            dwelled: u16::try_from(visit.dwelled).unwrap_or(u16::MAX),
            dwell_ms,
            sightings: visit.quality.sightings,
            mean_rssi: visit.quality.mean_rssi,
            longest_gap_ms: millis(visit.quality.longest_gap),
            wide_window: visit.quality.wide_window,
        }
    }

    fn restore(self, wall: &WallClock) -> Option<VisitRecord> {
        let (epoch, run, number) = self.id;
        // The clock may have been set back since: nothing restored lies in the future.
        let uptime = |ms: i64| wall.uptime_of(UnixTime::from_millis(ms)).min(wall.at);
        let zone = |index: u16| self.zones.get(usize::from(index)).map(|zone| ZoneId::new(zone));
        let mut stays = Vec::new();
        for &(index, entered, left) in &self.stays {
            let (entered, left) = (uptime(entered), uptime(left));
            stays.push(Stay { zone: zone(index)?, entered, left });
        }
        let mut dwell = BTreeMap::new();
        for &(index, ms) in &self.dwell_ms {
            dwell.insert(zone(index)?, Duration::from_millis(ms));
        }
        Some(VisitRecord {
            id: VisitId { epoch, run, number },
            started: uptime(self.started_ms),
            last_seen: uptime(self.last_seen_ms),
            first_receiver: ReceiverId::new(&self.first_receiver),
            last_receiver: ReceiverId::new(&self.last_receiver),
            in_zone: self.in_zone && !stays.is_empty(),
            stays,
            stays_cut: self.stays_cut,
            dwelled: usize::from(self.dwelled),
            dwell,
            quality: Quality {
                sightings: self.sightings,
                mean_rssi: self.mean_rssi,
                longest_gap: Duration::from_millis(self.longest_gap_ms),
                wide_window: self.wide_window,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit() -> VisitRecord {
        VisitRecord {
            id: VisitId { epoch: 1, run: 2, number: 3 },
            started: Uptime::ZERO,
            last_seen: Uptime::from_micros(5_000_000),
            first_receiver: ReceiverId::default(),
            last_receiver: ReceiverId::default(),
            stays: Vec::new(),
            stays_cut: false,
            in_zone: false,
            dwelled: 0,
            dwell: BTreeMap::new(),
            quality: Quality { sightings: 7, wide_window: true, ..Quality::default() },
        }
    }

    fn restored(value: &[u8]) -> Option<Quality> {
        let wall = WallClock { at: Uptime::from_micros(9_000_000), ..WallClock::default() };
        read(b"visit/s", value, &wall).map(|(_, visit)| visit.quality)
    }

    #[test]
    fn a_visit_comes_back_with_its_mark() {
        let value = encode(&visit(), &WallClock::default());
        assert_eq!(restored(&value), Some(visit().quality));
    }

    #[test]
    fn a_visit_that_the_version_before_wrote_comes_back_without_a_mark() {
        let mut value = encode(&visit(), &WallClock::default());
        value[0] = WITHOUT_WIDE_WINDOW;
        value.pop();
        let unmarked = Quality { wide_window: false, ..visit().quality };
        assert_eq!(restored(&value), Some(unmarked));
        value[0] = 77;
        assert_eq!(restored(&value), None);
    }
}

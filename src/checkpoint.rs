//! Open visits on disk: what a restart needs to know, in the same commit as the events.
//!
//! A serialisable counterpart of [`VisitRecord`]. Times are wall time, because uptime starts anew
//! with every run, with a reading of both clocks of the run that wrote them: wall time may have
//! been wrong. The slot's name is the subject's pseudonym.

pub mod fixture;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    engine::{
        Checkpoint, ClockQuality, ExitReason, Pseudonym, Quality, ReceiverId, Stay, UnixTime,
        Uptime, VisitId, VisitRecord, WallClock, ZoneId,
    },
    outbox::{
        Write,
        record::{RunId, millis, place_of},
    },
    timeline::{Mark, Timeline, Told},
};

/// The form that this program writes.
const VERSION: u8 = 5;

/// The form before, which it reads as well: without where the visit began.
const WITHOUT_BEGUN_AT: u8 = 4;

/// The form before that: without why the subject has left, too.
const WITHOUT_LEFT: u8 = 3;

/// The form before that: without what is known of the clocks, too.
const WITHOUT_CLOCKS: u8 = 2;

/// The form before that: without the mark of the wide window, too.
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
    clocks: Clocks,
    left: Left,
    /// The gateway that named the visit, if that was another one.
    begun_at: Option<String>,
}

/// Why a subject has left whose visit's end is held back, as [`ExitReason`].
#[derive(Clone, Copy, Deserialize, Serialize)]
enum Left {
    /// It has not.
    Not,
    Silent,
    Faded,
}

/// Both clocks of the run that wrote the visit down, read at that moment.
#[derive(Clone, Copy, Default, Deserialize, Serialize)]
struct Clocks {
    run: u64,
    uptime_us: i64,
    unix_ms: i64,
    synced: bool,
}

/// A visit that was open when another run of the program ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// Whose.
    pub subject: Pseudonym,
    /// The visit, in uptimes of this run.
    pub visit: VisitRecord,
    /// What dates the visit, where its uptimes do not.
    pub earlier: Option<Earlier>,
}

/// A run from which nothing leads to this one: the machine was switched off in between, and one of
/// their wall clocks is wrong. How long ago its visits were nobody knows, but that run knows when,
/// or will be found out to have known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Earlier {
    run: RunId,
    wall: WallClock,
    /// What was added to its uptimes, in microseconds.
    shift_us: i64,
}

/// Whether a kept value is an open visit.
pub fn is_slot(slot: &[u8]) -> bool {
    slot.starts_with(PREFIX)
}

/// Where a subject's open visit is kept.
pub fn slot(subject: &Pseudonym) -> Vec<u8> {
    [PREFIX, subject.as_str().as_bytes()].concat()
}

/// What the outbox is asked to keep or to forget.
pub fn write(checkpoint: &Checkpoint, wall: &WallClock, run: RunId) -> Write {
    let slot = slot(&checkpoint.subject);
    let value = checkpoint.visit.as_ref().map(|visit| encode(visit, wall, run));
    Write::Keep { slot, value }
}

/// Reads back what was kept, by the wall clock of the time; `None` for what is no open visit or no
/// longer understood.
pub fn read(slot: &[u8], value: &[u8], wall: &WallClock) -> Option<(Pseudonym, VisitRecord)> {
    let (subject, visit) = decode(slot, value)?;
    // The clock may have been set back since: nothing restored lies in the future.
    let uptime = |ms: i64| wall.uptime_of(UnixTime::from_millis(ms)).min(wall.at);
    Some((subject, visit.restore(uptime)?))
}

/// Reads back what was kept, for the visit to go on: where it lies in the present run is found by
/// uptime within one boot of the machine, else by wall clocks, if both were right. Where neither is
/// known it was too long ago to be `resumed within` so much.
pub fn restore(
    slot: &[u8],
    value: &[u8],
    (timeline, present): (&Timeline, RunId),
    now: &WallClock,
    resumed_within: Duration,
) -> Option<Restored> {
    let (subject, open) = decode(slot, value)?;
    let (run, wall) = (RunId(open.clocks.run), open.clocks.wall());
    let synced = wall.quality == ClockQuality::Synced;
    let theirs = |ms: i64| wall.uptime_of(UnixTime::from_millis(ms));
    if timeline.uptime_here(run, Uptime::ZERO).is_some() {
        let here = |ms: i64| timeline.uptime_here(run, theirs(ms)).unwrap_or_default().min(now.at);
        return Some(Restored { subject, visit: open.restore(here)?, earlier: None });
    }
    let last_seen = theirs(open.last_seen_ms);
    let told = UnixTime::from_millis(open.last_seen_ms);
    let stamp = timeline.stamp(present, Told { run, at: last_seen, unix: told, synced }, now);
    if stamp.mark != Mark::Unsynced && now.quality == ClockQuality::Synced {
        let by_ms = stamp.unix.as_millis().saturating_sub(told.as_millis());
        let here =
            |ms: i64| now.uptime_of(UnixTime::from_millis(ms.saturating_add(by_ms))).min(now.at);
        return Some(Restored { subject, visit: open.restore(here)?, earlier: None });
    }
    let long_ago = now.at - resumed_within - Duration::from_secs(1);
    let shift_us = long_ago.as_micros().saturating_sub(last_seen.as_micros());
    let here = |ms: i64| Uptime::from_micros(theirs(ms).as_micros().saturating_add(shift_us));
    let visit = open.restore(here)?;
    Some(Restored { subject, visit, earlier: Some(Earlier { run, wall, shift_us }) })
}

/// Reads what another gateway has just handed over: `here` tells from its uptimes which uptimes those
/// are here, whatever either wall clock says.
pub fn carried(
    slot: &[u8],
    value: &[u8],
    here: impl Fn(Uptime) -> Uptime,
) -> Option<(Pseudonym, VisitRecord)> {
    let (subject, open) = decode(slot, value)?;
    let Clocks { uptime_us, unix_ms, .. } = open.clocks;
    let at = Uptime::from_micros(uptime_us);
    let theirs =
        WallClock { at, unix: UnixTime::from_millis(unix_ms), quality: ClockQuality::Unsynced };
    let uptime = |ms: i64| here(theirs.uptime_of(UnixTime::from_millis(ms)));
    Some((subject, open.restore(uptime)?))
}

fn decode(slot: &[u8], value: &[u8]) -> Option<(Pseudonym, OpenVisit)> {
    let subject = std::str::from_utf8(slot.strip_prefix(PREFIX)?).ok()?;
    let unknown = postcard::to_stdvec(&Clocks::default()).ok()?;
    let here = postcard::to_stdvec(&(Left::Not, None::<String>)).ok()?;
    let by_us = postcard::to_stdvec(&None::<String>).ok()?;
    let visit: OpenVisit = match value.split_first()? {
        (&VERSION, rest) => postcard::from_bytes(rest).ok()?,
        (&WITHOUT_BEGUN_AT, rest) => postcard::from_bytes(&[rest, &by_us].concat()).ok()?,
        (&WITHOUT_LEFT, rest) => postcard::from_bytes(&[rest, &here].concat()).ok()?,
        (&WITHOUT_CLOCKS, rest) => postcard::from_bytes(&[rest, &unknown, &here].concat()).ok()?,
        (&WITHOUT_WIDE_WINDOW, rest) => {
            const FALSE: u8 = 0;
            postcard::from_bytes(&[rest, &[FALSE], &unknown, &here].concat()).ok()?
        }
        _ => return None,
    };
    Some((Pseudonym::new(subject), visit))
}

fn encode(visit: &VisitRecord, wall: &WallClock, run: RunId) -> Vec<u8> {
    let mut open = OpenVisit::of(visit, wall, run);
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

impl Clocks {
    fn of(wall: &WallClock, run: RunId) -> Self {
        Self {
            run: run.0,
            uptime_us: wall.at.as_micros(),
            unix_ms: wall.unix.as_millis(),
            synced: wall.quality == ClockQuality::Synced,
        }
    }

    fn wall(&self) -> WallClock {
        WallClock {
            at: Uptime::from_micros(self.uptime_us),
            unix: UnixTime::from_millis(self.unix_ms),
            quality: if self.synced { ClockQuality::Synced } else { ClockQuality::Unsynced },
        }
    }
}

impl Earlier {
    /// When something happened that lies at this uptime here.
    pub fn told(&self, at: Uptime) -> Told {
        let at = Uptime::from_micros(at.as_micros().saturating_sub(self.shift_us));
        let synced = self.wall.quality == ClockQuality::Synced;
        Told { run: self.run, at, unix: self.wall.unix_at(at), synced }
    }
}

impl OpenVisit {
    fn of(visit: &VisitRecord, wall: &WallClock, run: RunId) -> Self {
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
            clocks: Clocks::of(wall, run),
            left: match visit.left {
                None => Left::Not,
                Some(ExitReason::Faded) => Left::Faded,
                Some(_) => Left::Silent,
            },
            begun_at: visit.begun_at.as_deref().map(str::to_owned),
        }
    }

    fn restore(self, uptime: impl Fn(i64) -> Uptime) -> Option<VisitRecord> {
        let (epoch, run, number) = self.id;
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
            begun_at: self.begun_at.as_deref().map(Arc::from),
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
            left: match self.left {
                Left::Not => None,
                Left::Silent => Some(ExitReason::Silent),
                Left::Faded => Some(ExitReason::Faded),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Boot;

    fn visit() -> VisitRecord {
        VisitRecord {
            id: VisitId { epoch: 1, run: 2, number: 3 },
            begun_at: None,
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
            left: None,
        }
    }

    fn restored(value: &[u8]) -> Option<Quality> {
        let wall = WallClock { at: Uptime::from_micros(9_000_000), ..WallClock::default() };
        read(b"visit/s", value, &wall).map(|(_, visit)| visit.quality)
    }

    #[test]
    fn a_visit_comes_back_with_its_mark() {
        let value = encode(&visit(), &WallClock::default(), RunId(1));
        assert_eq!(restored(&value), Some(visit().quality));
    }

    const NOW: i64 = 1_795_255_200_000;

    fn wall(at: Uptime, unix_ms: i64, quality: ClockQuality) -> WallClock {
        WallClock { at, unix: UnixTime::from_millis(unix_ms), quality }
    }

    /// Run 1 wrote the visit 9 s after it began, 4 s after the visit was last true.
    fn restored_by(timeline: &Timeline, then: &WallClock, now: &WallClock) -> Restored {
        let value = encode(&visit(), then, RunId(1));
        let within = Duration::from_mins(5);
        restore(b"visit/s", &value, (timeline, RunId(2)), now, within).unwrap()
    }

    #[test]
    fn within_one_boot_a_visit_is_where_it_was_whatever_the_wall_clock_says() {
        use ClockQuality::{Synced, Unsynced};
        let s = |seconds: i64| Uptime::from_micros(seconds * 1_000_000);
        let mut timeline = Timeline::default();
        timeline.begin(RunId(1), Some(Boot(5)), s(-100));
        timeline.begin(RunId(2), Some(Boot(5)), s(-130));
        for now in [wall(s(1), 31_000, Unsynced), wall(s(1), NOW, Synced)] {
            let back = restored_by(&timeline, &wall(s(9), 9_000, Unsynced), &now);
            assert_eq!((back.visit.started, back.visit.last_seen), (s(-30), s(-25)));
            assert_eq!(back.earlier, None);
        }
    }

    #[test]
    fn after_a_power_cut_two_clocks_that_are_right_place_a_visit() {
        use ClockQuality::{Synced, Unsynced};
        let s = |seconds: i64| Uptime::from_micros(seconds * 1_000_000);
        let mut timeline = Timeline::default();
        timeline.begin(RunId(1), Some(Boot(5)), s(-100));
        timeline.begin(RunId(2), Some(Boot(6)), s(-20));
        let then = wall(s(9), NOW, Synced);
        let back = restored_by(&timeline, &then, &wall(s(1), NOW + 60_000, Synced));
        assert_eq!((back.visit.last_seen, back.earlier), (s(1 - 60 - 4), None));
        // Where one is not, the visit was too long ago to go on, and it is the run before that says
        // when it was.
        for (then, now) in [
            (then, wall(s(1), NOW - 999_000, Unsynced)),
            (wall(s(9), 9_000, Unsynced), wall(s(1), NOW, Synced)),
        ] {
            let back = restored_by(&timeline, &then, &now);
            assert_eq!(back.visit.last_seen, s(1 - 301));
            assert_eq!(back.visit.last_seen.since(back.visit.started), Duration::from_secs(5));
            let told = back.earlier.unwrap().told(back.visit.last_seen);
            let synced = then.quality == Synced;
            assert_eq!(told, Told { run: RunId(1), at: s(5), unix: then.unix_at(s(5)), synced });
        }
    }

    #[test]
    fn a_visit_whose_end_is_held_back_comes_back_so() {
        let wall = WallClock { at: Uptime::from_micros(9_000_000), ..WallClock::default() };
        for left in [None, Some(ExitReason::Silent), Some(ExitReason::Faded)] {
            let value = encode(&VisitRecord { left, ..visit() }, &WallClock::default(), RunId(1));
            assert_eq!(read(b"visit/s", &value, &wall).map(|(_, visit)| visit.left), Some(left));
        }
        // The version before told every end at once.
        let mut value = encode(&visit(), &WallClock::default(), RunId(1));
        value[0] = WITHOUT_LEFT;
        value.truncate(value.len() - 2);
        let back = read(b"visit/s", &value, &wall).map(|(_, visit)| (visit.quality, visit.left));
        assert_eq!(back, Some((visit().quality, None)));
    }

    #[test]
    fn where_a_visit_began_comes_back_and_the_version_before_knew_of_no_other_gateway() {
        let wall = WallClock { at: Uptime::from_micros(9_000_000), ..WallClock::default() };
        let elsewhere = VisitRecord { begun_at: Some(Arc::from("gw2")), ..visit() };
        let value = encode(&elsewhere, &WallClock::default(), RunId(1));
        let back = read(b"visit/s", &value, &wall).map(|(_, visit)| visit.begun_at);
        assert_eq!(back, Some(Some(Arc::from("gw2"))));
        let mut value = encode(&visit(), &WallClock::default(), RunId(1));
        value[0] = WITHOUT_BEGUN_AT;
        value.truncate(value.len() - 1);
        let back = read(b"visit/s", &value, &wall).map(|(_, visit)| visit.begun_at);
        assert_eq!(back, Some(None));
    }

    #[test]
    fn what_is_handed_over_lies_where_the_uptimes_of_both_say() {
        let s = |seconds: i64| Uptime::from_micros(seconds * 1_000_000);
        // Their wall clock is years off, and their uptime a hundred seconds behind ours.
        let then = wall(s(9), 77_000, ClockQuality::Unsynced);
        let value = encode(&visit(), &then, RunId(1));
        let here = |at: Uptime| at + Duration::from_secs(100);
        let (_, back) = carried(b"visit/s", &value, here).unwrap();
        assert_eq!((back.started, back.last_seen), (s(100), s(105)));
        assert!(carried(b"other/s", &value, here).is_none());
    }

    #[test]
    fn a_visit_that_a_version_without_clocks_wrote_is_over() {
        let mut value = encode(&visit(), &WallClock::default(), RunId(0));
        value[0] = WITHOUT_CLOCKS;
        value.truncate(value.len() - 6);
        assert_eq!(restored(&value), Some(visit().quality));
        let now = wall(Uptime::ZERO, NOW, ClockQuality::Synced);
        let known = (&Timeline::default(), RunId(2));
        let back = restore(b"visit/s", &value, known, &now, Duration::from_mins(5)).unwrap();
        assert!(back.earlier.is_some());
    }

    #[test]
    fn a_visit_that_a_version_without_marks_wrote_comes_back_without_one() {
        let mut value = encode(&visit(), &WallClock::default(), RunId(0));
        value[0] = WITHOUT_WIDE_WINDOW;
        value.truncate(value.len() - 7);
        let unmarked = Quality { wide_window: false, ..visit().quality };
        assert_eq!(restored(&value), Some(unmarked));
        value[0] = 77;
        assert_eq!(restored(&value), None);
    }
}

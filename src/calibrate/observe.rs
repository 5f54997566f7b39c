//! Walks in, what each receiver heard from each spot out.
//!
//! Readings from one spot share their shadow, so they count as one observation: a minute in one place
//! is no more than a look at one place. A spot is a tile of the floor, or a stay in a zone whose
//! inside is not known better.

use std::collections::BTreeMap;

use super::{Fingerprint, Level};
use crate::{
    engine::{
        Uptime, ZoneId,
        place::{FloorPlan, Method, Point, walls_between},
    },
    evaluate::Walk,
};

/// A part of a walk, from one time to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) walk: &'a Walk,
    /// Which walk it is of: parts of one walk have the same tag.
    pub(super) source: usize,
    pub(super) from: Uptime,
    /// The first time that is not part of it.
    pub(super) to: Uptime,
}

/// What one receiver heard from one spot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spot {
    pub(super) source: usize,
    pub(super) receiver: usize,
    /// Ten times the decimal logarithm of the distance in metres, on average.
    pub(super) tens: f64,
    /// How far that may be off, as a variance.
    pub(super) blur: f64,
    /// What walls take on the way, in dB.
    pub(super) walls_db: f64,
    /// The mean of the readings, in dBm.
    pub(super) mean_dbm: f64,
    /// How many there were.
    pub(super) count: f64,
}

/// What was heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// Spot by spot.
    pub(super) spots: Vec<Spot>,
    /// Second by second.
    pub(super) seconds: Vec<Spot>,
    /// How many readings each receiver gave.
    pub(super) readings: Vec<u32>,
}

/// The way from a place to a receiver.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    pub(super) tens: f64,
    pub(super) blur: f64,
    pub(super) walls_db: f64,
}

/// Shadows are 1 to 4 m wide: two spots as far apart as this have little in common, in metres.
const TILE_M: f32 = 2.0;

/// How far off the place of somebody who carries a tag may be, in metres: an arm, a mark on a plan.
const PLACE_M: f64 = 0.3;

/// Nothing is taken to be nearer to a receiver than this, in metres, as in the estimator.
const NEAREST_M: f64 = 0.5;

/// How finely a zone is looked through, in parts of its extent.
const FINENESS: u8 = 24;

/// Without positions: how different the distances are at which people stand from the receiver of
/// their zone, as a variance of `tens`: between 1.5 and 5 m.
const SURROUNDINGS_BLUR: f64 = 6.0;

/// Without positions: so many seconds of somebody who walks about in a zone are one look at it.
const LOOK_S: i64 = 15;

/// Where something was heard.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Place {
    Tile(i32, i32),
    /// The zone, and which look at it this is.
    Zone(usize, i64),
}

#[derive(Default)]
struct Sum {
    spot: Spot,
}

impl<'a> Part<'a> {
    /// All walks, each as a whole.
    pub(super) fn whole(walks: &'a [Walk]) -> Vec<Self> {
        let whole = |(source, walk): (usize, &'a Walk)| {
            let (from, last) = walk.span();
            Self { walk, source, from, to: last + std::time::Duration::from_micros(1) }
        };
        walks.iter().enumerate().map(whole).collect()
    }

    pub(super) fn holds(&self, at: Uptime) -> bool {
        self.from <= at && at < self.to
    }
}

impl Way {
    /// From a point.
    pub(super) fn from(
        plan: &FloorPlan,
        receiver: usize,
        point: Point,
        height: f32,
    ) -> Option<Self> {
        let receiver = plan.receivers.get(receiver)?;
        let at = receiver.position?;
        let distance = f64::from(point.distance(at).hypot(receiver.height - height)).max(NEAREST_M);
        // The derivative of ten times the logarithm, times how far the place may be off.
        let slope = 10.0 / std::f64::consts::LN_10 / distance;
        let blur = (slope * PLACE_M).powi(2);
        let walls_db = f64::from(walls_between(&plan.walls, at, point));
        Some(Self { tens: 10.0 * distance.log10(), blur, walls_db })
    }

    /// From anywhere in a zone.
    fn within(plan: &FloorPlan, receiver: usize, points: &[Point], height: f32) -> Option<Self> {
        let ways: Vec<Self> =
            points.iter().filter_map(|it| Self::from(plan, receiver, *it, height)).collect();
        let count = real(ways.len());
        if ways.is_empty() {
            return None;
        }
        let tens = ways.iter().map(|way| way.tens).sum::<f64>() / count;
        let square = ways.iter().map(|way| (way.tens - tens).powi(2) + way.blur).sum::<f64>();
        let walls_db = ways.iter().map(|way| way.walls_db).sum::<f64>() / count;
        Some(Self { tens, blur: square / count, walls_db })
    }
}

/// Gathers what was heard in some parts. `height` is that of a carried tag above the floor.
pub(super) fn observe(plan: &FloorPlan, parts: &[Part<'_>], height: f32) -> Observed {
    let mut observed = Observed { readings: vec![0; plan.receivers.len()], ..Observed::default() };
    let on_plan = plan.method() == Method::Plan;
    let zones: Vec<Vec<Point>> = (0..plan.zones.len()).map(|zone| inside(plan, zone)).collect();
    let mut within: BTreeMap<(usize, usize), Option<Way>> = BTreeMap::new();
    let mut spots: BTreeMap<(usize, usize, Place), Sum> = BTreeMap::new();
    let mut seconds: BTreeMap<(usize, usize, i64), Sum> = BTreeMap::new();
    for part in parts {
        for reading in part.walk.readings.iter().filter(|it| part.holds(it.at)) {
            let Some(rssi) = reading.rssi else { continue };
            let receiver = reading.receiver;
            let zone = || part.walk.zone_at(plan, reading.at).flatten();
            let found = match part.walk.point_at(reading.at).filter(|_| on_plan) {
                Some(point) => Way::from(plan, receiver, point, height)
                    .map(|way| (Place::Tile(tile(point.x), tile(point.y)), way)),
                None if on_plan => zone().and_then(|zone| {
                    let points = zones.get(zone).map(Vec::as_slice).unwrap_or_default();
                    let way = within
                        .entry((zone, receiver))
                        .or_insert_with(|| Way::within(plan, receiver, points, height));
                    way.map(|way| (Place::Zone(zone, 0), way))
                }),
                // Without positions a receiver is only known to be near in its own zone.
                None => {
                    zone().filter(|zone| plan.zone_heard_by(receiver) == Some(*zone)).map(|zone| {
                        let look = reading.at.as_micros().div_euclid(LOOK_S * 1_000_000);
                        let way = Way { blur: SURROUNDINGS_BLUR, ..Way::default() };
                        (Place::Zone(zone, look), way)
                    })
                }
            };
            let Some((place, way)) = found else { continue };
            if let Some(readings) = observed.readings.get_mut(receiver) {
                *readings = readings.saturating_add(1);
            }
            let second = reading.at.as_micros().div_euclid(1_000_000);
            let source = part.source;
            let rssi = f64::from(rssi);
            spots.entry((source, receiver, place)).or_default().take(way, rssi);
            seconds.entry((source, receiver, second)).or_default().take(way, rssi);
        }
    }
    let spot = |((source, receiver, _), sum)| Sum::mean(sum, source, receiver);
    observed.spots = spots.into_iter().map(spot).collect();
    let second = |((source, receiver, _), sum)| Sum::mean(sum, source, receiver);
    observed.seconds = seconds.into_iter().map(second).collect();
    observed
}

impl Sum {
    fn take(&mut self, way: Way, rssi: f64) {
        self.spot.tens += way.tens;
        self.spot.blur += way.blur;
        self.spot.walls_db += way.walls_db;
        self.spot.mean_dbm += rssi;
        self.spot.count += 1.0;
    }

    fn mean(self, source: usize, receiver: usize) -> Spot {
        let Spot { tens, blur, walls_db, mean_dbm, count, .. } = self.spot;
        let part = 1.0 / count.max(1.0);
        Spot {
            source,
            receiver,
            tens: tens * part,
            blur: blur * part,
            walls_db: walls_db * part,
            mean_dbm: mean_dbm * part,
            count,
        }
    }
}

/// Points that lie evenly in a zone.
pub(super) fn inside(plan: &FloorPlan, zone: usize) -> Vec<Point> {
    let Some(extent) = plan.extent() else { return Vec::new() };
    let (width, depth) = extent.size();
    let part = |n: u8| (f32::from(n) + 0.5) / f32::from(FINENESS);
    let points = (0..FINENESS).flat_map(|row| {
        (0..FINENESS).map(move |column| {
            Point::new(extent.least.x + width * part(column), extent.least.y + depth * part(row))
        })
    });
    points.filter(|point| plan.zone_at(*point) == Some(zone)).collect()
}

/// What was heard in each zone, in the order of the plan.
pub(super) fn fingerprints(plan: &FloorPlan, zones: &[ZoneId], walks: &[Walk]) -> Vec<Fingerprint> {
    let mut readings: BTreeMap<(usize, usize), Vec<f32>> = BTreeMap::new();
    let mut seconds: Vec<u32> = vec![0; zones.len()];
    for walk in walks {
        let mut last = None;
        for reading in &walk.readings {
            let Some(Some(zone)) = walk.zone_at(plan, reading.at) else { continue };
            let second = reading.at.as_micros().div_euclid(1_000_000);
            if last.replace(second) != Some(second)
                && let Some(seconds) = seconds.get_mut(zone)
            {
                *seconds = seconds.saturating_add(1);
            }
            if let Some(rssi) = reading.rssi {
                readings.entry((zone, reading.receiver)).or_default().push(rssi);
            }
        }
    }
    let level = |zone: usize, receiver: usize| {
        let found = readings.get(&(zone, receiver))?;
        let count = real(found.len());
        let mean = found.iter().copied().map(f64::from).sum::<f64>() / count;
        let square = found.iter().map(|it| (f64::from(*it) - mean).powi(2)).sum::<f64>() / count;
        Some(Level {
            receiver: plan.receivers.get(receiver)?.id.clone(),
            mean_dbm: single(mean),
            spread_db: single(square.sqrt()),
            readings: u32::try_from(found.len()).unwrap_or(u32::MAX),
        })
    };
    let zone = |((zone, name), seconds): ((usize, &ZoneId), u32)| Fingerprint {
        zone: name.clone(),
        seconds,
        heard: (0..plan.receivers.len()).filter_map(|receiver| level(zone, receiver)).collect(),
    };
    zones.iter().enumerate().zip(seconds).map(zone).collect()
}

fn tile(metres: f32) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "a plan is at most 20 km wide")]
    let tile = (metres / TILE_M).floor() as i32;
    tile
}

/// A number of readings or cells as a real one.
pub(super) fn real(number: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "there are far fewer than 2^52")]
    let real = number as f64;
    real
}

/// Decibels and metres need no more places.
pub(super) fn single(number: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "decibels and metres need no more")]
    let single = number as f32;
    single
}

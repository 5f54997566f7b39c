//! A plan with its law in; dead spots, and where one more receiver would help most, out.
//!
//! How near somebody can be placed at best follows from how steeply each receiver's signal falls
//! there (Cramér and Rao's bound): a receiver tells much about places near it, in its own direction,
//! and nothing where it does not hear. That bound, with what is known of people and tags before
//! anything is heard, is worked out over a grid.

use super::observe::{Way, real, single};
use crate::engine::place::{FloorPlan, Model, Point, ZoneKind};

/// What a plan promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// The mean of the expected error over all zones that may be named, in metres.
    pub error_m: f32,
    /// Where it is bad, the largest first.
    pub dead: Vec<DeadSpot>,
    /// Where one more receiver would help most; none when none would help much.
    pub suggestion: Option<Suggestion>,
    /// The middles of the cells of all dead spots, for a picture.
    pub cells: Vec<(Point, Weakness)>,
    /// Width and depth of a cell, in metres.
    pub cell: (f32, f32),
}

/// Why a place is bad.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Weakness {
    /// Fewer than two receivers hear well there.
    Deaf,
    /// The expected error is larger than the zone.
    Vague,
}

/// A place where people are heard by too few, or cannot be placed well.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadSpot {
    /// Its middle.
    pub at: Point,
    /// How large it is, in square metres.
    pub area_m2: f32,
    /// In which zone it is: an index into the plan's.
    pub zone: usize,
    /// What is wrong there.
    pub weakness: Weakness,
    /// The expected error there, in metres.
    pub error_m: f32,
}

/// Where one more receiver would help most.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// Where to hang it, on a wall.
    pub at: Point,
    /// The mean of the expected error with it, in metres.
    pub error_m: f32,
    /// How large all dead spots together are with it, in square metres.
    pub dead_m2: f32,
}

/// A cell of the grid.
struct Cell {
    middle: Point,
    zone: usize,
    /// Which column and row.
    place: (u8, u8),
    known: Information,
    hear_well: u8,
    weakness: Option<Weakness>,
    error_m: f64,
}

/// What is known about a place: the inverse of the covariance of x, y and the tag's strength.
#[derive(Clone, Copy, Debug, Default)]
struct Information {
    xx: f64,
    xy: f64,
    yy: f64,
    xt: f64,
    yt: f64,
    tt: f64,
}

/// The grid has at most so many cells along its longer side.
const FINENESS: u8 = 48;

/// The finest cell, in metres.
const FINEST_M: f32 = 0.5;

/// A signal is heard well this far above the radio's limit, in dB: nine of ten advertisements.
const WELL_DB: f64 = 10.0;

/// How soft the limit is, in dB: as in the estimator.
const EDGE_DB: f64 = 5.0;

/// The estimator reckons with about so many seconds, because people go on: what it remembers.
const SECONDS: f64 = 5.0;

/// How far from the wall a receiver hangs, in metres, and how high.
const FROM_WALL_M: f32 = 0.2;
const HEIGHT_M: f32 = 2.5;

/// Places along the walls are tried this far apart, in metres, or wider in a very large shop.
const APART_M: f32 = 1.0;
const MOST_PLACES: f32 = 120.0;

/// One more receiver is worth its price when it makes the mean error smaller by this part…
const WORTH: f64 = 0.1;

/// … or the dead spots smaller by as much of the floor.
const WORTH_DEAD: f64 = 0.03;

/// Spots smaller than this are nothing to go and look at, in square metres.
const LEAST_M2: f32 = 1.0;

/// Surveys a plan; none when nothing has a place.
pub(super) fn survey(plan: &FloorPlan, model: &Model) -> Option<Survey> {
    let extent = plan.extent()?;
    let (width, depth) = extent.size();
    let side = (width.max(depth) / f32::from(FINENESS)).max(FINEST_M);
    let (columns, rows) = (count(width / side), count(depth / side));
    let cell = (width / f32::from(columns), depth / f32::from(rows));
    let mut cells = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            let middle = Point::new(
                extent.least.x + (f32::from(column) + 0.5) * cell.0,
                extent.least.y + (f32::from(row) + 0.5) * cell.1,
            );
            let named = |zone: &usize| {
                plan.zones.get(*zone).is_some_and(|zone| zone.kind != ZoneKind::Private)
            };
            if let Some(zone) = plan.zone_at(middle).filter(named) {
                cells.push(Cell::new(middle, zone, (column, row), (width, depth), model));
            }
        }
    }
    if cells.is_empty() {
        return None;
    }
    for receiver in 0..plan.receivers.len() {
        for cell in &mut cells {
            cell.hear(plan, receiver, model);
        }
    }
    let area = cell.0 * cell.1;
    let radii = radii(plan, &cells, area);
    for cell in &mut cells {
        cell.judge(&radii);
    }
    let error_m = mean_error(&cells);
    let dead_m2 = dead_area(&cells, area);
    let whole = f64::from(area) * real(cells.len());
    let suggestion = suggest(plan, &cells, (&radii, area), model).filter(|it| {
        let nearer = f64::from(it.error_m) <= error_m * (1.0 - WORTH);
        nearer || f64::from(dead_m2 - it.dead_m2) >= WORTH_DEAD * whole
    });
    let dead = regions(&cells, area);
    let weak = cells.iter().filter_map(|it| Some((it.middle, it.weakness?))).collect();
    Some(Survey { error_m: single(error_m), dead, suggestion, cells: weak, cell })
}

impl Cell {
    fn new(
        middle: Point,
        zone: usize,
        place: (u8, u8),
        (width, depth): (f32, f32),
        model: &Model,
    ) -> Self {
        // Before anything is heard, somebody is anywhere in the shop: a uniform distribution's variance
        // is a twelfth of the square.
        let anywhere = |length: f32| 12.0 / f64::from(length.max(1.0)).powi(2);
        let tag = f64::from(model.tag_db).powi(-2);
        let known = Information {
            xx: anywhere(width),
            yy: anywhere(depth),
            tt: tag,
            ..Information::default()
        };
        Self { middle, zone, place, known, hear_well: 0, weakness: None, error_m: 0.0 }
    }

    /// Adds what a receiver of the plan tells.
    fn hear(&mut self, plan: &FloorPlan, receiver: usize, model: &Model) {
        let Some(way) = Way::from(plan, receiver, self.middle, model.height) else { return };
        let Some(receiver) = plan.receivers.get(receiver) else { return };
        let Some(at) = receiver.position else { return };
        let law = receiver.path_loss.or(plan.path_loss);
        let exponent = f64::from(law.exponent.unwrap_or(model.exponent));
        let reference = f64::from(law.reference_dbm.unwrap_or(model.one_metre_dbm));
        let spread = f64::from(law.spread_db.unwrap_or(model.shadowing_db));
        let own = f64::from(receiver.offset_db) - way.walls_db;
        let level = reference + own - exponent * way.tens;
        let limit = f64::from(model.sensitivity_dbm);
        self.hear_well += u8::from(level >= limit + WELL_DB);
        let audible = 1.0 / (1.0 + ((limit - level) / EDGE_DB).exp());
        // Readings of successive seconds share their shadow, so they weigh as the estimator lets them.
        let weight = audible * SECONDS * f64::from(model.temper) / (spread * spread);
        let (x, y) = (f64::from(self.middle.x - at.x), f64::from(self.middle.y - at.y));
        let square = 10.0_f64.powf(way.tens / 5.0);
        let slope = -10.0 * exponent / std::f64::consts::LN_10 / square;
        self.known.add(slope * x, slope * y, weight);
    }

    fn judge(&mut self, radii: &[f64]) {
        self.error_m = self.known.error();
        let radius = radii.get(self.zone).copied().unwrap_or(f64::INFINITY);
        self.weakness = if self.hear_well < 2 {
            Some(Weakness::Deaf)
        } else if self.error_m > radius {
            Some(Weakness::Vague)
        } else {
            None
        };
    }
}

impl Information {
    /// A reading whose expectation changes so much with x and y, and by one with the tag's strength.
    fn add(&mut self, x: f64, y: f64, weight: f64) {
        self.xx += weight * x * x;
        self.xy += weight * x * y;
        self.yy += weight * y * y;
        self.xt += weight * x;
        self.yt += weight * y;
        self.tt += weight;
    }

    /// The least error of a place, as the root of the mean square, in metres: the tag's strength is
    /// found out along with it.
    fn error(&self) -> f64 {
        let xx = self.xx - self.xt * self.xt / self.tt;
        let xy = self.xy - self.xt * self.yt / self.tt;
        let yy = self.yy - self.yt * self.yt / self.tt;
        let determinant = xx * yy - xy * xy;
        ((xx + yy) / determinant.max(f64::MIN_POSITIVE)).max(0.0).sqrt()
    }
}

/// The radius of a circle as large as each zone, in metres: farther off, a place says nothing of it.
fn radii(plan: &FloorPlan, cells: &[Cell], area: f32) -> Vec<f64> {
    let count = |zone| real(cells.iter().filter(|cell| cell.zone == zone).count());
    let radius = |zone| (count(zone) * f64::from(area) / std::f64::consts::PI).sqrt();
    (0..plan.zones.len()).map(radius).collect()
}

fn mean_error(cells: &[Cell]) -> f64 {
    cells.iter().map(|cell| cell.error_m).sum::<f64>() / real(cells.len().max(1))
}

fn dead_area(cells: &[Cell], area: f32) -> f32 {
    area * single(real(cells.iter().filter(|cell| cell.weakness.is_some()).count()))
}

/// Tries one more receiver everywhere along the walls.
fn suggest(
    plan: &FloorPlan,
    cells: &[Cell],
    (radii, area): (&[f64], f32),
    model: &Model,
) -> Option<Suggestion> {
    let extent = plan.extent()?;
    let mut more = plan.clone();
    let mut added = more.receivers.first()?.clone();
    (added.height, added.offset_db) = (HEIGHT_M, 0.0);
    more.receivers.push(added);
    let new = plan.receivers.len();
    let tried = walls(extent.widened(-FROM_WALL_M)).into_iter().map(|at| {
        if let Some(added) = more.receivers.get_mut(new) {
            added.position = Some(at);
        }
        let (mut error, mut dead) = (0.0, 0_usize);
        for cell in cells {
            let mut cell = Cell { weakness: None, ..*cell };
            cell.hear(&more, new, model);
            cell.judge(radii);
            error += cell.error_m;
            dead += usize::from(cell.weakness.is_some());
        }
        let error_m = single(error / real(cells.len().max(1)));
        Suggestion { at, error_m, dead_m2: area * single(real(dead)) }
    });
    tried.min_by(|a, b| a.error_m.total_cmp(&b.error_m))
}

/// Places along the outer walls.
fn walls(extent: crate::engine::place::Extent) -> Vec<Point> {
    let (width, depth) = extent.size();
    let apart = APART_M.max(2.0 * (width + depth) / MOST_PLACES);
    let steps = |length: f32| count(length / apart);
    let mut places = Vec::new();
    let (least, most) = (extent.least, extent.most);
    let along = |from: f32, length: f32| {
        let steps = steps(length);
        (0..=steps).map(move |n| from + length * f32::from(n) / f32::from(steps))
    };
    for x in along(least.x, width) {
        places.extend([Point::new(x, least.y), Point::new(x, most.y)]);
    }
    for y in along(least.y, depth) {
        places.extend([Point::new(least.x, y), Point::new(most.x, y)]);
    }
    places
}

/// Cells that touch and have the same zone and weakness, together.
fn regions(cells: &[Cell], area: f32) -> Vec<DeadSpot> {
    let mut left: Vec<&Cell> = cells.iter().filter(|cell| cell.weakness.is_some()).collect();
    let mut found = Vec::new();
    while let Some(first) = left.pop() {
        let mut region = vec![first];
        let mut next = 0;
        while let Some(from) = region.get(next).copied() {
            next += 1;
            let touches = |cell: &&Cell| {
                let (a, b) = (cell.place, from.place);
                a.0.abs_diff(b.0) + a.1.abs_diff(b.1) == 1
                    && (cell.zone, cell.weakness) == (from.zone, from.weakness)
            };
            let (near, far): (Vec<&Cell>, Vec<&Cell>) = left.into_iter().partition(touches);
            region.extend(near);
            left = far;
        }
        let count = single(real(region.len()));
        let mean = |of: fn(&Cell) -> f32| region.iter().map(|cell| of(cell)).sum::<f32>() / count;
        let Some(weakness) = first.weakness else { continue };
        found.push(DeadSpot {
            at: Point::new(mean(|it| it.middle.x), mean(|it| it.middle.y)),
            area_m2: area * count,
            zone: first.zone,
            weakness,
            error_m: mean(|it| single(it.error_m)),
        });
    }
    found.retain(|spot| spot.area_m2 >= LEAST_M2);
    found.sort_by(|a, b| b.area_m2.total_cmp(&a.area_m2));
    found
}

fn count(cells: f32) -> u8 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the number is clamped to what fits"
    )]
    let count = cells.round().clamp(1.0, 250.0) as u8;
    count
}

//! A floor plan, cut into cells: what each receiver should hear from each, and which zone it is.

use super::{
    floor::{FloorPlan, FloorReceiver, Method, Wall},
    model::Model,
    polygon::{Extent, Point},
};

/// What all subjects of a shop share.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) method: Method,
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// Width and depth of a cell, in metres.
    pub(super) cell: (f32, f32),
    origin: Point,
    /// For each receiver, for each cell: the loss on the way, as an index into a table.
    levels: Vec<u8>,
    /// For each receiver what is known of it.
    laws: Vec<Law>,
    /// For each receiver where it hangs, and how high.
    hang: Vec<(Option<Point>, f32)>,
    walls: Vec<Wall>,
    /// Which receivers tell anything about where somebody is.
    useful: Vec<bool>,
    /// How many zones the plan has.
    pub(super) zones: usize,
    /// How much of each cell belongs to which zone; cells that belong to none have no part.
    parts: Vec<Part>,
}

/// A part of a cell that belongs to a zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) cell: usize,
    pub(super) zone: usize,
    pub(super) share: f32,
}

/// What a receiver hears, as far as it is known before anybody is followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Law {
    /// What it hears more than others, in dB.
    pub(super) offset_db: f32,
    /// How far off that may well be, in dB.
    pub(super) offset_error_db: f32,
    /// What it hears of a tag one metre away, in dBm, its offset included.
    pub(super) one_metre_dbm: f32,
    /// Spread of readings about the law, in dB.
    pub(super) spread_db: f32,
    exponent: f32,
}

/// However well a receiver's offset was measured, it is not known better than this, in dB: where
/// nobody walked to measure it, something else stands in the way.
const CALIBRATED_DB: f32 = 1.0;

/// The mean of one side of a normal distribution, in its standard deviations: the root of 2/π.
const MEAN_OF_HALF_NORMAL: f32 = 0.797_885;

/// How many losses are told apart.
pub(super) const LEVELS: usize = 256;

/// The distance between two of them, in dB: far below what a reading's spread lets anyone see.
const LEVEL_DB: f32 = 0.35;

/// The least of them, in dB against one metre: half a metre away at an exponent of 3.3. The largest
/// is 79 dB: 100 m at an exponent of 3, with a wall and a half between.
const LEAST_DB: f32 = -10.0;

/// However many walls stand between, no more is lost to them, in dB: the signal finds a way around.
const MOST_WALLS_DB: f32 = 25.0;

/// Nothing is taken to be nearer to a receiver than this, in metres: the law ends there.
const NEAREST_M: f32 = 0.5;

/// A cell is asked at this many places along each side to which zone it belongs.
const PROBES: u8 = 3;

impl Ground {
    pub(super) fn new(plan: &FloorPlan, model: &Model) -> Self {
        let (method, extent) = (plan.method(), plan.extent());
        match (method, extent) {
            (Method::Plan, Some(extent)) => Self::grid(plan, extent, model),
            (Method::Plan | Method::Nearest, _) => Self::surroundings(plan, model),
            (Method::Threshold, _) => Self {
                method,
                columns: 0,
                rows: 0,
                cell: (model.finest_m, model.finest_m),
                origin: Point::default(),
                levels: Vec::new(),
                laws: Law::all(plan, model),
                hang: hang(plan),
                walls: plan.walls.clone(),
                useful: vec![false; plan.receivers.len()],
                zones: plan.zones.len(),
                parts: Vec::new(),
            },
        }
    }

    fn grid(plan: &FloorPlan, extent: Extent, model: &Model) -> Self {
        let (width, depth) = extent.size();
        let side = cell_size(width, depth, model);
        let (columns, rows) = (count(width / side), count(depth / side));
        let mut ground = Self {
            method: Method::Plan,
            columns,
            rows,
            cell: (width / real(columns), depth / real(rows)),
            origin: extent.least,
            levels: Vec::with_capacity(plan.receivers.len() * columns * rows),
            laws: Law::all(plan, model),
            hang: hang(plan),
            walls: plan.walls.clone(),
            useful: plan.receivers.iter().map(|receiver| receiver.position.is_some()).collect(),
            zones: plan.zones.len(),
            parts: Vec::new(),
        };
        for (index, receiver) in plan.receivers.iter().enumerate() {
            let at = receiver.position.unwrap_or_default();
            let above = receiver.height - model.height;
            let law = ground.law(index);
            for cell in 0..ground.cells() {
                let from = ground.middle_of(cell);
                let distance = from.distance(at).hypot(above);
                let loss = law.loss(distance) + walls_between(&plan.walls, from, at);
                ground.levels.push(level(loss));
            }
        }
        for cell in 0..ground.cells() {
            ground.divide(cell, plan);
        }
        ground
    }

    /// Without positions: a cell for the surroundings of each receiver.
    fn surroundings(plan: &FloorPlan, model: &Model) -> Self {
        let receivers = plan.receivers.len();
        let parts = (0..receivers)
            .filter_map(|cell| {
                let zone = plan.zone_heard_by(cell)?;
                Some(Part { cell, zone, share: 1.0 })
            })
            .collect();
        Self {
            method: Method::Nearest,
            columns: receivers,
            rows: 1,
            cell: (model.finest_m, model.finest_m),
            origin: Point::default(),
            levels: Vec::new(),
            laws: Law::all(plan, model),
            hang: hang(plan),
            walls: plan.walls.clone(),
            useful: vec![false; receivers],
            zones: plan.zones.len(),
            parts,
        }
    }

    /// Finds out to which zones a cell belongs.
    fn divide(&mut self, cell: usize, plan: &FloorPlan) {
        let middle = self.middle_of(cell);
        let first = self.parts.len();
        let share = 1.0 / f32::from(PROBES * PROBES);
        let offset = |n: u8, side: f32| side * ((f32::from(n) + 0.5) / f32::from(PROBES) - 0.5);
        let (width, depth) = self.cell;
        let mut found = Vec::with_capacity(usize::from(PROBES * PROBES));
        for n in 0..PROBES {
            for m in 0..PROBES {
                let probe = Point::new(middle.x + offset(n, width), middle.y + offset(m, depth));
                found.extend(plan.zone_at(probe));
            }
        }
        for zone in found {
            let known = self.parts.iter_mut().skip(first).find(|part| part.zone == zone);
            match known {
                Some(part) => part.share += share,
                None => self.parts.push(Part { cell, zone, share }),
            }
        }
    }

    pub(super) fn cells(&self) -> usize {
        self.columns * self.rows
    }

    pub(super) fn receivers(&self) -> usize {
        self.useful.len()
    }

    pub(super) fn is_useful(&self, receiver: usize) -> bool {
        self.useful.get(receiver).copied().unwrap_or(false)
    }

    /// What is known of a receiver.
    pub(super) fn law(&self, receiver: usize) -> Law {
        self.laws.get(receiver).copied().unwrap_or(Law {
            offset_db: 0.0,
            offset_error_db: 0.0,
            one_metre_dbm: 0.0,
            spread_db: 1.0,
            exponent: 2.0,
        })
    }

    /// What should be lost from a place to a receiver, in dB against one metre; none when nobody
    /// knows where it hangs.
    pub(super) fn loss_from(&self, receiver: usize, at: Point, height: f32) -> Option<f32> {
        let (hangs, above) = *self.hang.get(receiver)?;
        let hangs = hangs?;
        let distance = hangs.distance(at).hypot(above - height);
        Some(self.law(receiver).loss(distance) + walls_between(&self.walls, at, hangs))
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// A receiver's losses, cell by cell, as indices into a table of [`LEVELS`] entries.
    pub(super) fn levels(&self, receiver: usize) -> &[u8] {
        let cells = self.cells();
        let first = receiver.saturating_mul(cells);
        self.levels.get(first..first + cells).unwrap_or_default()
    }

    pub(super) fn middle_of(&self, cell: usize) -> Point {
        let columns = self.columns.max(1);
        Point::new(
            self.origin.x + (real(cell % columns) + 0.5) * self.cell.0,
            self.origin.y + (real(cell / columns) + 0.5) * self.cell.1,
        )
    }
}

impl Law {
    fn all(plan: &FloorPlan, model: &Model) -> Vec<Self> {
        plan.receivers.iter().map(|receiver| Self::new(receiver, plan, model)).collect()
    }

    fn new(receiver: &FloorReceiver, plan: &FloorPlan, model: &Model) -> Self {
        let known = receiver.path_loss.or(plan.path_loss);
        Self {
            offset_db: receiver.offset_db,
            offset_error_db: receiver.offset_error_db.map_or(model.receiver_db, |error| {
                error.hypot(CALIBRATED_DB).min(model.receiver_db)
            }),
            one_metre_dbm: known.reference_dbm.unwrap_or(model.one_metre_dbm) + receiver.offset_db,
            spread_db: known.spread_db.unwrap_or(model.shadowing_db),
            exponent: known.exponent.unwrap_or(model.exponent),
        }
    }

    /// By how much the mean of readings lies below the law, in dB, because bodies and shelves only
    /// take: the mean of a normal distribution whose two sides differ. Only what is known of a
    /// receiver is taken to be so. While receivers may be off by as much as shadows, a level that is
    /// learned from the mean, and so too low, is what keeps level and distance from driving each other
    /// outwards (on recorded walks the error is 1.6 m so, and 2.5 m by the law).
    pub(super) fn skew_db(&self, model: &Model) -> f32 {
        let unknown = self.offset_error_db / model.receiver_db;
        let known = (1.0 - unknown * unknown).max(0.0);
        MEAN_OF_HALF_NORMAL * self.spread_db * (model.below - model.above) * known
    }

    /// Fading with distance, in dB against one metre.
    fn loss(self, distance: f32) -> f32 {
        10.0 * self.exponent * distance.max(NEAREST_M).log10()
    }
}

fn hang(plan: &FloorPlan) -> Vec<(Option<Point>, f32)> {
    plan.receivers.iter().map(|receiver| (receiver.position, receiver.height)).collect()
}

/// What walls take between two places, in dB.
pub fn walls_between(walls: &[Wall], one: Point, other: Point) -> f32 {
    let between = walls.iter().filter(|wall| wall.parts(one, other));
    between.map(|wall| wall.loss_db).sum::<f32>().min(MOST_WALLS_DB)
}

fn level(loss_db: f32) -> u8 {
    let index = (loss_db - LEAST_DB) / LEVEL_DB;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the number is clamped to what fits"
    )]
    let level = index.round().clamp(0.0, 255.0) as u8;
    level
}

/// The loss that an entry of a table stands for, in dB.
pub(super) fn loss_of_level(level: usize) -> f32 {
    LEAST_DB + real(level) * LEVEL_DB
}

/// As fine as wanted, but not more cells than allowed.
fn cell_size(width: f32, depth: f32, model: &Model) -> f32 {
    let mut size = model.finest_m.max(0.1);
    let most = model.most_cells.max(1);
    // A long corridor is cut along its length first: each turn makes cells a tenth larger.
    while count(width / size).saturating_mul(count(depth / size)) > most {
        size *= 1.1;
    }
    size
}

fn count(cells: f32) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a plan is at most 20 km wide, and a cell at least 10 cm"
    )]
    let count = cells.ceil().clamp(1.0, 200_000.0) as usize;
    count
}

/// A small whole number as a real one.
pub(super) fn real(number: usize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "cells and levels are far below 2^24")]
    let real = number as f32;
    real
}

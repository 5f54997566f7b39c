//! A shop that is made up from a seed, with physics that the estimator does not know: its exponent,
//! its receivers' and tags' strengths, shadows that stand still, bodies, fading, and lost packets.

use std::f32::consts::TAU;

use crate::{
    chance::Rng,
    engine::{
        ReceiverId,
        place::{
            Extent, FloorPlan, FloorReceiver, FloorZone, PathLoss, Point, Polygon, Shape, ZoneKind,
        },
    },
};

/// What a shop is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) width: f32,
    pub(super) depth: f32,
    pub(super) receivers: usize,
    pub(super) zone_columns: u16,
    pub(super) zone_rows: u16,
}

/// A shop with its hidden physics.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) plan: FloorPlan,
    size: Point,
    exponent: f32,
    /// What each receiver hears more than it should, in dB.
    pub(super) gains: Vec<f32>,
    waves: Vec<[Wave; WAVES]>,
    /// What people who pass take from each receiver, in dB, and for how many seconds still.
    passers: Vec<(f32, f32)>,
    /// Receivers that hear nothing.
    pub(super) dead: Vec<bool>,
}

/// A part of a shadow: `(strength, wave number x, y, phase)`.
type Wave = (f32, f32, f32, f32);

const WAVES: usize = 8;

/// A tag that is carried about.
#[derive(Debug)]
pub(super) struct Walker {
    pub(super) at: Point,
    facing: f32,
    goal: Point,
    speed: f32,
    stands_s: f32,
    strength: f32,
    /// Never sets off.
    pub(super) stays: bool,
}

impl Shop {
    pub(super) fn new(layout: Layout, rng: &mut Rng) -> Self {
        let Layout { width, depth, receivers, zone_columns, zone_rows } = layout;
        let mut plan = FloorPlan::default();
        for row in 0..zone_rows {
            for column in 0..zone_columns {
                let corner = |column: u16, row: u16| {
                    let x = width * f32::from(column) / f32::from(zone_columns);
                    Point::new(x, depth * f32::from(row) / f32::from(zone_rows))
                };
                let (least, most) = (corner(column, row), corner(column + 1, row + 1));
                let polygon = Polygon::rectangle(Extent { least, most }).unwrap();
                let shape = Shape::Polygon(polygon);
                plan.zones.push(FloorZone { kind: ZoneKind::Shelf, shape });
            }
        }
        // A lattice that covers the shop, each receiver a little off its place.
        let across = (receivers as f32 * width / depth).sqrt().ceil().max(1.0) as usize;
        let down = receivers.div_ceil(across);
        for n in 0..receivers {
            let in_row =
                if n / across == down - 1 { receivers - (down - 1) * across } else { across };
            let x = width * ((n % across) as f32 + 0.5) / in_row as f32 + rng.normal_f32() * 0.5;
            let y = depth * ((n / across) as f32 + 0.5) / down as f32 + rng.normal_f32() * 0.5;
            plan.receivers.push(FloorReceiver {
                id: ReceiverId::new(&format!("r{n}")),
                position: Some(Point::new(x.clamp(0.0, width), y.clamp(0.0, depth))),
                height: 2.5,
                offset_db: 0.0,
                offset_error_db: None,
                path_loss: PathLoss::default(),
            });
        }
        let wave = |rng: &mut Rng| {
            // Shadows are 1 to 4 m wide; the eight of them together have a spread of 3 dB.
            let (length, angle) = (rng.between_f32(2.0, 8.0), rng.between_f32(0.0, TAU));
            let number = TAU / length;
            (1.5, number * angle.cos(), number * angle.sin(), rng.between_f32(0.0, TAU))
        };
        Self {
            plan,
            size: Point::new(width, depth),
            exponent: rng.between_f32(1.6, 2.4),
            gains: (0..receivers).map(|_| rng.normal_f32() * 3.0).collect(),
            waves: (0..receivers).map(|_| std::array::from_fn(|_| wave(rng))).collect(),
            passers: vec![(0.0, 0.0); receivers],
            dead: vec![false; receivers],
        }
    }

    pub(super) fn somewhere(&self, rng: &mut Rng) -> Point {
        let Point { x, y } = self.size;
        Point::new(rng.between_f32(0.3, x - 0.3), rng.between_f32(0.3, y - 0.3))
    }

    pub(super) fn walker(&self, rng: &mut Rng) -> Walker {
        Walker {
            at: self.somewhere(rng),
            facing: rng.between_f32(0.0, TAU),
            goal: self.somewhere(rng),
            speed: rng.between_f32(0.3, 1.3),
            stands_s: 0.0,
            strength: -60.0 + rng.normal_f32() * 4.0,
            stays: false,
        }
    }

    /// Lets people pass between the tag and the receivers: one in a minute each, for some seconds.
    pub(super) fn pass(&mut self, seconds: f32, rng: &mut Rng) {
        for (db, left) in &mut self.passers {
            *left -= seconds;
            if *left <= 0.0 {
                *db = 0.0;
                if rng.unit_f32() < seconds / 60.0 {
                    (*db, *left) = (rng.between_f32(4.0, 12.0), rng.between_f32(2.0, 8.0));
                }
            }
        }
    }

    /// What each receiver hears of one advertisement.
    pub(super) fn hear(&self, walker: &Walker, rng: &mut Rng) -> Vec<(usize, f32)> {
        let mut heard = Vec::new();
        for (n, receiver) in self.plan.receivers.iter().enumerate() {
            let at = receiver.position.unwrap();
            let distance = at.distance(walker.at).hypot(receiver.height - 1.1).max(0.3);
            let towards = (at.y - walker.at.y).atan2(at.x - walker.at.x);
            // A body takes up to 8 dB from what it stands before.
            let body = 4.0 * (1.0 - (towards - walker.facing).cos());
            let shadow: f32 = self.waves[n]
                .iter()
                .map(|(db, x, y, phase)| db * (x * walker.at.x + y * walker.at.y + phase).sin())
                .sum();
            let fading = rng.normal_f32() * 4.0 - if rng.unit_f32() < 0.05 { 8.0 } else { 0.0 };
            let rssi = walker.strength + self.gains[n] + shadow + fading
                - body
                - self.passers[n].0
                - 10.0 * self.exponent * distance.log10();
            let audible = 1.0 / (1.0 + ((-95.0 - rssi) / 2.0).exp());
            if rng.unit_f32() < 0.7 * audible && !self.dead[n] {
                heard.push((n, rssi.round()));
            }
        }
        heard
    }
}

impl Walker {
    pub(super) fn walk(&mut self, seconds: f32, shop: &Shop, rng: &mut Rng) {
        if self.stays {
            return;
        }
        if self.stands_s > 0.0 {
            self.stands_s -= seconds;
            self.facing += rng.normal_f32() * 0.5 * seconds.sqrt();
            return;
        }
        let left = self.at.distance(self.goal);
        let step = (self.speed * seconds).min(left);
        if left > 0.0 {
            self.facing = (self.goal.y - self.at.y).atan2(self.goal.x - self.at.x);
            self.at.x += step * self.facing.cos();
            self.at.y += step * self.facing.sin();
        }
        if left < 0.05 {
            self.goal = shop.somewhere(rng);
            self.speed = rng.between_f32(0.3, 1.3);
            self.stands_s = rng.between_f32(0.0, 60.0);
        }
    }
}

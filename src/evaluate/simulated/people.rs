//! How made-up people walk: along aisles, at their own pace, with stops. Not as the estimator
//! thinks: they have a goal, and shelves stand in their way.

use std::f32::consts::{PI, TAU};

use super::shop::Layout;
use crate::{chance::Rng, engine::place::Point};

/// Somebody in the shop.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) at: Point,
    /// Where the face points, in radians.
    pub(super) facing: f32,
    /// How far they walked in the last moment, in metres.
    pub(super) moved: f32,
    speed: f32,
    /// Corners still to be reached, the next one last.
    way: Vec<Point>,
    stands_s: f32,
    /// Never sets off.
    stays: bool,
}

/// Nobody stops for longer, in seconds.
const LONGEST_STOP: f32 = 60.0;

impl Person {
    pub(super) fn new(layout: &Layout, rng: &mut Rng) -> Self {
        Self {
            at: somewhere(layout, rng),
            facing: rng.between_f32(0.0, TAU),
            moved: 0.0,
            speed: rng.between_f32(0.4, 1.4),
            way: Vec::new(),
            stands_s: 0.0,
            stays: false,
        }
    }

    /// A tag that lies where it is.
    pub(super) fn lying(at: Point) -> Self {
        Self {
            at,
            facing: 0.0,
            moved: 0.0,
            speed: 0.0,
            way: Vec::new(),
            stands_s: 0.0,
            stays: true,
        }
    }

    /// Whether it is carried, so that a body stands beside it.
    pub(super) fn is_carried(&self) -> bool {
        !self.stays
    }

    /// Lets some time pass, in seconds.
    pub(super) fn pass(&mut self, seconds: f32, layout: &Layout, rng: &mut Rng) {
        self.moved = 0.0;
        if self.stays {
            return;
        }
        if self.stands_s > 0.0 {
            self.stands_s -= seconds;
            // Now and then they look at something else, and shift their weight.
            self.facing += rng.normal_f32() * 0.3 * seconds.sqrt();
            self.moved = 0.02 * rng.unit_f32();
            return;
        }
        let Some(corner) = self.way.last().copied() else {
            self.speed = rng.between_f32(0.4, 1.4);
            self.way = way(self.at, somewhere(layout, rng), layout);
            return;
        };
        let left = self.at.distance(corner);
        let step = (self.speed * seconds).min(left);
        if left > 0.0 {
            self.facing = (corner.y - self.at.y).atan2(corner.x - self.at.x);
            self.at.x += step * self.facing.cos();
            self.at.y += step * self.facing.sin();
        }
        self.moved = step;
        if left <= step + 0.01 {
            self.way.pop();
            if self.way.is_empty() {
                self.stands_s = LONGEST_STOP * rng.unit_f32() * rng.unit_f32();
                self.facing = PI * rng.between_f32(-1.0, 1.0);
            }
        }
    }
}

/// A place where somebody can stand: not within a shelf.
pub(super) fn somewhere(layout: &Layout, rng: &mut Rng) -> Point {
    let Point { x, y } = layout.size();
    let mut at = Point::new(rng.between_f32(0.4, x - 0.4), rng.between_f32(0.4, y - 0.4));
    for shelf in layout.shelves() {
        if (at.y - shelf).abs() < 0.5 {
            at.y = if at.y < shelf { shelf - 0.5 } else { shelf + 0.5 };
        }
    }
    at
}

/// The corners of the way from one place to another, the first one last: around shelves by the end
/// that makes less of a detour.
fn way(from: Point, to: Point, layout: &Layout) -> Vec<Point> {
    let between = layout.shelves().any(|y| (from.y - y) * (to.y - y) < 0.0);
    if !between {
        return vec![to];
    }
    let (left, right) = layout.shelf_ends();
    let (left, right) = (left / 2.0, right + left / 2.0);
    let detour = |x: f32| (from.x - x).abs() + (to.x - x).abs();
    let x = if detour(left) <= detour(right) { left } else { right };
    vec![to, Point::new(x, to.y), Point::new(x, from.y)]
}

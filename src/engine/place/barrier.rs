//! What nobody walks through: walls in, for each way of walking the cells that it cannot leave, out.
//!
//! Cells are joined by lines between their middles, and whoever's line crosses a wall stays. Doors
//! are gaps between walls, and often narrower than a cell: where a wall ends at no other wall, half a
//! cell of it is left out, so that every gap lets the middle of some cell through.

use super::{
    floor::{FloorPlan, Wall},
    ground::{Ground, real},
    polygon::Point,
};

/// Of those who would walk through a wall, so many do: a door that the plan forgot costs seconds and
/// not a zone.
const FORGOTTEN_DOOR: f32 = 0.001;

/// Walls end at each other within this, in metres.
const JOINT_M: f32 = 0.1;

/// Walls stand this far beside where they are drawn, in metres, lest one goes through the middles of
/// cells and shuts them in.
const ASIDE: Point = Point::new(0.0137, 0.0071);

/// The cells that one way of walking cannot leave, in ascending order.
#[derive(Clone, Debug, Default)]
pub(super) struct Barrier(Vec<usize>);

/// The walls as far as people are concerned.
#[derive(Debug)]
pub(super) struct Walls(Vec<Wall>);

impl Walls {
    pub(super) fn new(plan: &FloorPlan, ground: &Ground) -> Self {
        let half = ground.cell.0.max(ground.cell.1) / 2.0;
        let ends = |own: usize, at: Point| {
            let joined = plan.walls.iter().enumerate();
            let joined = joined.filter(|(other, _)| *other != own);
            let joins = joined.map(|(_, wall)| distance(at, wall)).any(|it| it <= JOINT_M);
            let outside = plan.extent().is_none_or(|extent| {
                let inner = extent.widened(-half);
                at.x <= inner.least.x
                    || at.x >= inner.most.x
                    || at.y <= inner.least.y
                    || at.y >= inner.most.y
            });
            !joins && !outside
        };
        let shortened = plan.walls.iter().enumerate().filter_map(|(own, wall)| {
            let length = wall.from.distance(wall.to);
            let first = if ends(own, wall.from) { half } else { 0.0 };
            let last = if ends(own, wall.to) { half } else { 0.0 };
            let along = |metres: f32| {
                let part = metres / length;
                Point::new(
                    wall.from.x + part * (wall.to.x - wall.from.x) + ASIDE.x,
                    wall.from.y + part * (wall.to.y - wall.from.y) + ASIDE.y,
                )
            };
            let stands = length > first + last;
            stands.then(|| Wall { from: along(first), to: along(length - last), ..*wall })
        });
        Self(shortened.collect())
    }

    /// The cells from which moving by some of these numbers of columns and rows crosses a wall.
    pub(super) fn barrier(&self, ground: &Ground, moves: &[(isize, isize)]) -> Barrier {
        if self.0.is_empty() {
            return Barrier::default();
        }
        let blocked = |cell: &usize| {
            let from = ground.middle_of(*cell);
            moves.iter().any(|(columns, rows)| {
                let to = Point::new(
                    from.x + signed(*columns) * ground.cell.0,
                    from.y + signed(*rows) * ground.cell.1,
                );
                (*columns, *rows) != (0, 0) && self.0.iter().any(|wall| wall.parts(from, to))
            })
        };
        Barrier((0..ground.cells()).filter(blocked).collect())
    }
}

impl Barrier {
    /// Takes out of a part of a row what stops at walls, and lets it stand there.
    pub(super) fn stop(&self, first: usize, line: &mut [f32], stays: &mut [f32]) {
        let from = self.0.partition_point(|cell| *cell < first);
        let end = first + line.len();
        for cell in self.0.iter().skip(from).take_while(|cell| **cell < end) {
            let (Some(moving), Some(stays)) = (line.get_mut(cell - first), stays.get_mut(*cell))
            else {
                continue;
            };
            *stays += *moving * (1.0 - FORGOTTEN_DOOR);
            *moving *= FORGOTTEN_DOOR;
        }
    }
}

/// Without positions: for each receiver's surroundings those to which people go directly, itself
/// included; none when everywhere borders on everywhere.
pub(super) fn doors(plan: &FloorPlan, receivers: usize) -> Option<Vec<Vec<usize>>> {
    let zones: Vec<Option<usize>> = (0..receivers).map(|it| plan.zone_heard_by(it)).collect();
    let open = |one: &Option<usize>, other: &Option<usize>| {
        one.zip(*other).is_none_or(|(one, other)| plan.borders(one, other))
    };
    let doors = zones.iter().map(|zone| {
        let borders = zones.iter().enumerate().filter(|(_, other)| open(zone, other));
        borders.map(|(receiver, _)| receiver).collect()
    });
    let doors: Vec<Vec<usize>> = doors.collect();
    doors.iter().any(|borders| borders.len() < receivers).then_some(doors)
}

/// Moves a belief on where people come through doors only.
pub(super) fn wander(part: f32, doors: &[Vec<usize>], belief: &[f32], next: &mut [f32]) {
    let all: f32 = belief.iter().sum();
    let forgotten = part * FORGOTTEN_DOOR;
    let from_elsewhere = all * forgotten / real(belief.len().max(1));
    for (next, before) in next.iter_mut().zip(belief) {
        *next = before * (1.0 - part) + from_elsewhere;
    }
    for (before, doors) in belief.iter().zip(doors) {
        // Who goes anywhere goes to each neighbour alike, or comes back.
        let each = before * (part - forgotten) / real(doors.len().max(1));
        for door in doors {
            if let Some(next) = next.get_mut(*door) {
                *next += each;
            }
        }
    }
}

fn distance(at: Point, wall: &Wall) -> f32 {
    let (x, y) = (wall.to.x - wall.from.x, wall.to.y - wall.from.y);
    let square = x * x + y * y;
    let part = if square > 0.0 {
        ((at.x - wall.from.x) * x + (at.y - wall.from.y) * y) / square
    } else {
        0.0
    };
    let part = part.clamp(0.0, 1.0);
    at.distance(Point::new(wall.from.x + part * x, wall.from.y + part * y))
}

fn signed(number: isize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a step is a few cells long")]
    let signed = number as f32;
    signed
}

//! How people walk: a belief in, the belief a step later out.
//!
//! A belief is a probability for each mode (standing, or one of two speeds in one of eight
//! directions) and each cell. That somebody who walks goes on in the same direction is what keeps an
//! estimate from jumping back and forth with the noise.

use std::f32::consts::FRAC_PI_4;

use super::{
    barrier::{Barrier, Walls, doors, wander},
    floor::{FloorPlan, Method},
    ground::{Ground, real},
    model::Model,
};

/// Directions that are told apart.
const DIRECTIONS: usize = 8;

/// Standing, and each speed in each direction.
pub(super) const MODES: usize = 1 + 2 * DIRECTIONS;

/// What all cells together that are left out of a step may hold at most.
const LEAST: f32 = 1e-6;

/// The walk of all subjects of a shop.
#[derive(Debug)]
pub(super) struct Motion {
    cells: usize,
    columns: usize,
    rows: usize,
    kind: Kind,
    set_off: f32,
    stop: f32,
    turn: f32,
    change_pace: f32,
    about_face: f32,
}

#[derive(Debug)]
enum Kind {
    /// Over the cells of a plan.
    Walk(Vec<(Shift, Barrier)>),
    /// From one receiver's surroundings to any other's, or through these doors: the part that goes
    /// in a step.
    Wander(f32, Option<Vec<Vec<usize>>>),
}

/// By how many cells a mode moves in a step, spread over the four cells it falls on.
#[derive(Clone, Copy, Debug)]
struct Shift {
    columns: isize,
    rows: isize,
    right: f32,
    up: f32,
}

/// Room to work in, shared by all subjects.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) next: Vec<f32>,
    walking: Vec<f32>,
    mixed: Vec<f32>,
    /// Where anything is worth moving: rows, and in each of them these columns.
    rows: Vec<(usize, usize)>,
}

impl Motion {
    pub(super) fn new(plan: &FloorPlan, ground: &Ground, model: &Model) -> Self {
        let seconds = model.step.as_secs_f32();
        let kind = match ground.method {
            Method::Plan => {
                let paces = model.speeds.map(|speed| speed * seconds);
                let (width, depth) = ground.cell;
                let walls = Walls::new(plan, ground);
                let shifts = paces.iter().flat_map(|pace| {
                    (0..DIRECTIONS).map({
                        let walls = &walls;
                        move |direction| {
                            let (sin, cos) = (real(direction) * FRAC_PI_4).sin_cos();
                            let shift = Shift::new(pace * cos / width, pace * sin / depth);
                            (shift, walls.barrier(ground, &shift.targets()))
                        }
                    })
                });
                Kind::Walk(shifts.collect())
            }
            Method::Nearest | Method::Threshold => {
                Kind::Wander(part(model.wander, seconds), doors(plan, ground.cells()))
            }
        };
        Self {
            cells: ground.cells(),
            columns: ground.columns,
            rows: ground.rows,
            kind,
            set_off: part(model.set_off, seconds),
            stop: part(model.stop, seconds),
            turn: part(model.turn, seconds),
            change_pace: part(model.change_pace, seconds),
            about_face: part(model.about_face, seconds),
        }
    }

    pub(super) fn modes(&self) -> usize {
        match self.kind {
            Kind::Walk(_) => MODES,
            Kind::Wander(..) => 1,
        }
    }

    /// Somebody may be anywhere, and every second one walks.
    pub(super) fn anywhere(&self) -> Vec<f32> {
        let modes = self.modes();
        let mut belief = vec![0.0; modes * self.cells];
        self.spread(&mut belief);
        belief
    }

    /// Makes a belief know nothing any more.
    pub(super) fn spread(&self, belief: &mut [f32]) {
        let each = 1.0 / real(self.cells.max(1));
        let walks = real(self.modes().saturating_sub(1));
        for (mode, cells) in belief.chunks_exact_mut(self.cells.max(1)).enumerate() {
            let share = match mode {
                0 if walks == 0.0 => 1.0,
                0 => 0.5,
                _ => 0.5 / walks,
            };
            cells.fill(each * share);
        }
    }

    /// Moves a belief on by a step; the result is in `scratch.next`. `settled` says how sure it is, 0
    /// to 1, that who stands stays.
    pub(super) fn step(&self, belief: &[f32], settled: f32, scratch: &mut Scratch) {
        scratch.next.clear();
        scratch.next.resize(belief.len(), 0.0);
        match &self.kind {
            Kind::Walk(shifts) => self.walk(shifts, belief, settled, scratch),
            Kind::Wander(part, Some(doors)) => wander(*part, doors, belief, &mut scratch.next),
            Kind::Wander(part, None) => {
                let all: f32 = belief.iter().sum();
                let from_elsewhere = all * part / real(self.cells.max(1));
                for (next, before) in scratch.next.iter_mut().zip(belief) {
                    *next = before * (1.0 - part) + from_elsewhere;
                }
            }
        }
    }

    fn walk(
        &self,
        shifts: &[(Shift, Barrier)],
        belief: &[f32],
        settled: f32,
        scratch: &mut Scratch,
    ) {
        let set_off = self.set_off * (1.0 - settled);
        let Scratch { next, walking, mixed, rows } = scratch;
        let (standing, moving) = belief.split_at(self.cells.min(belief.len()));
        let (stays, moves) = next.split_at_mut(self.cells.min(belief.len()));
        walking.clear();
        walking.resize(self.cells, 0.0);
        for mode in moving.chunks_exact(self.cells) {
            for (all, one) in walking.iter_mut().zip(mode) {
                *all += one;
            }
        }
        self.find_worth(standing, walking, rows);
        for ((next, stood), walked) in stays.iter_mut().zip(standing).zip(walking.iter()) {
            *next = stood * (1.0 - set_off) + walked * self.stop;
        }
        let go_on = 1.0 - self.stop;
        let keep = go_on * (1.0 - 2.0 * self.turn - self.change_pace - self.about_face);
        let (veered, hurried) = (go_on * self.turn, go_on * self.change_pace);
        let anywhere = go_on * self.about_face / real(shifts.len());
        let started = set_off / real(shifts.len());
        for ((mode, (shift, barrier)), moved) in
            shifts.iter().enumerate().zip(moves.chunks_exact_mut(self.cells))
        {
            let (pace, direction) = (mode - mode % DIRECTIONS, mode % DIRECTIONS);
            let left = pace + (direction + 1) % DIRECTIONS;
            let right = pace + (direction + DIRECTIONS - 1) % DIRECTIONS;
            let other = (mode + DIRECTIONS) % shifts.len();
            for (row, &(from, to)) in rows.iter().enumerate().filter(|(_, (from, to))| from < to) {
                let start = row * self.columns;
                let part = start + from..start + to;
                let of = |mode: usize| {
                    let first = mode * self.cells;
                    moving.get(first + part.start..first + part.end).unwrap_or_default()
                };
                let stood = standing.get(part.clone()).unwrap_or_default();
                let walked = walking.get(part.clone()).unwrap_or_default();
                mixed.clear();
                let own = of(mode).iter().zip(of(left)).zip(of(right)).zip(of(other));
                mixed.extend(own.zip(stood.iter().zip(walked)).map(
                    |((((own, left), right), other), (stood, walked))| {
                        own * keep
                            + (left + right) * veered
                            + other * hurried
                            + walked * anywhere
                            + stood * started
                    },
                ));
                barrier.stop(part.start, mixed, stays);
                self.shift(*shift, (row, from), mixed, moved, stays);
            }
        }
    }

    /// Finds in each row the columns that are worth moving. What is left out is a millionth.
    fn find_worth(&self, standing: &[f32], walking: &[f32], rows: &mut Vec<(usize, usize)>) {
        let least = LEAST / real(self.cells.max(1));
        rows.clear();
        let both = standing.chunks_exact(self.columns).zip(walking.chunks_exact(self.columns));
        rows.extend(both.map(|(stood, walked)| {
            let worth = |(stood, walked): (&f32, &f32)| stood + walked > least;
            let from = stood.iter().zip(walked).position(worth);
            let to = stood.iter().zip(walked).rposition(worth);
            from.zip(to).map_or((0, 0), |(from, to)| (from, to + 1))
        }));
    }

    /// Adds what a mode moved out of a part of a row. Who would walk into a wall stops before it.
    fn shift(
        &self,
        shift: Shift,
        (row, from): (usize, usize),
        line: &[f32],
        to: &mut [f32],
        stays: &mut [f32],
    ) {
        let columns = self.columns;
        let here = row * columns + from;
        let stays = stays.get_mut(here..here + line.len()).unwrap_or_default();
        for (up, weight) in [(0, 1.0 - shift.up), (1, shift.up)] {
            let target = row.checked_add_signed(shift.rows + up).filter(|row| *row < self.rows);
            let target = target.and_then(|row| to.get_mut(row * columns..(row + 1) * columns));
            let Some(target) = target else {
                add(stays, line, weight);
                continue;
            };
            for (right, share) in [(0, 1.0 - shift.right), (1, shift.right)] {
                let weight = weight * share;
                let by = shift.columns + right;
                let distance = by.unsigned_abs();
                if by >= 0 {
                    // The last of them may be stopped by the wall on the right.
                    let go = line.len().min(columns.saturating_sub(from + distance));
                    let (go, stop) = line.split_at(go);
                    add(target.get_mut(from + distance..).unwrap_or_default(), go, weight);
                    add(stays.get_mut(go.len()..).unwrap_or_default(), stop, weight);
                } else {
                    let stop = line.len().min(distance.saturating_sub(from));
                    let (stop, go) = line.split_at(stop);
                    let first = (from + stop.len()).saturating_sub(distance);
                    add(target.get_mut(first..).unwrap_or_default(), go, weight);
                    add(stays, stop, weight);
                }
            }
        }
    }
}

impl Shift {
    fn new(columns: f32, rows: f32) -> Self {
        let whole = |cells: f32| {
            #[expect(clippy::cast_possible_truncation, reason = "a step is a few cells long")]
            let whole = cells.floor().clamp(-1000.0, 1000.0) as isize;
            whole
        };
        Self {
            columns: whole(columns),
            rows: whole(rows),
            right: columns - columns.floor(),
            up: rows - rows.floor(),
        }
    }

    /// The cells it falls on, by how many columns and rows they are away.
    fn targets(self) -> Vec<(isize, isize)> {
        let ups = [(0, 1.0 - self.up), (1, self.up)];
        let rights = [(0, 1.0 - self.right), (1, self.right)];
        let all = ups.iter().flat_map(|(up, a)| rights.map(|(right, b)| (*up, right, a * b)));
        // What rounding leaves of a straight step falls on nothing.
        all.filter(|(.., weight)| *weight > 1e-3)
            .map(|(up, right, _)| (self.columns + right, self.rows + up))
            .collect()
    }
}

fn add(to: &mut [f32], from: &[f32], weight: f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += weight * from;
    }
}

/// What a part that changes in a second is in a step.
fn part(of_a_second: f32, seconds: f32) -> f32 {
    1.0 - (1.0 - of_a_second.clamp(0.0, 1.0)).powf(seconds)
}

//! Where somebody is: sightings of one subject by several receivers in, zones out, with how sure it is.
//!
//! A recursive Bayes filter: a belief over the cells of the floor plan walks on by itself, step by
//! step, as people walk; each step's readings then weigh it. Promises: same inputs, same outputs; it
//! cannot fail; a sighting costs constant time and no allocation; a receiver that falls silent makes
//! the belief wider and moves nobody; nothing ever names a zone of the kind `private`.
//! `design/0004-where-in-the-shop.md` says why it is built so.

mod announce;
mod barrier;
mod evidence;
mod floor;
mod ground;
mod guess;
mod home;
mod model;
mod motion;
mod polygon;
mod reference;
#[cfg(test)]
mod tests;

pub use floor::{FloorPlan, FloorReceiver, FloorZone, Method, PathLoss, Shape, Wall, ZoneKind};
pub use ground::walls_between;
pub use model::Model;
pub use polygon::{Extent, NotAPolygon, Point, Polygon};
pub use reference::Reference;

use super::Uptime;
use announce::{Announcement, Announcer};
use evidence::{Evidence, Tables};
use ground::Ground;
use motion::{Motion, Scratch};
use reference::Receivers;

/// A shop: what is the same for everybody in it.
#[derive(Debug)]
pub struct Places {
    model: Model,
    ground: Ground,
    motion: Motion,
    /// For each zone of the plan, whether it may be named.
    named: Vec<bool>,
    /// What each receiver is known to hear more by now than the plan says, in dB.
    corrections: Vec<f32>,
    receivers: Receivers,
    /// When each receiver was last known to hear.
    hears: Vec<Option<Uptime>>,
    scratch: Scratch,
    tables: Tables,
    cells: Vec<f32>,
    probabilities: Vec<f32>,
}

/// One subject: what is believed of it.
#[derive(Clone, Debug)]
pub struct Track {
    /// For each mode, for each cell.
    belief: Vec<f32>,
    evidence: Evidence,
    announcer: Announcer,
    /// The end of the present step; none before the first sighting and after it has faded.
    step_ends: Option<Uptime>,
    heard: Uptime,
    standing: f32,
    estimate: Estimate,
}

/// Where somebody is, as far as it may be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whereabouts {
    /// In a zone: an index into [`FloorPlan::zones`].
    Zone(usize),
    /// In the shop, but in no zone that may be named.
    Elsewhere,
    /// Nobody can tell: there is too little evidence.
    Unknown,
}

/// A change of zone that is worth announcing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Where they were.
    pub from: Whereabouts,
    /// Where they are.
    pub to: Whereabouts,
    /// When it happened, not when it was noticed.
    pub since: Uptime,
    /// When it was noticed.
    pub noticed: Uptime,
    /// How sure it is, 0 to 1.
    pub confidence: f64,
}

/// What is believed of one subject at the end of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean of all places, on the plan; none without one.
    pub position: Option<Point>,
    /// How far from it they may well be: the root of the mean square, in metres.
    pub spread_m: f32,
    /// What was announced last.
    pub announced: Whereabouts,
    /// How probable that is now, 0 to 1.
    pub confidence: f64,
}

/// A step that is not walked through: so much time may pass at most before beliefs begin anew.
const MOST_STEPS: u32 = 600;

/// A receiver hears as long as it has heard anything in this many steps.
const HEARS_FOR_STEPS: u32 = 2;

// === impl Places ===

impl Places {
    /// Prepares a shop.
    pub fn new(plan: &FloorPlan, model: Model) -> Self {
        let ground = Ground::new(plan, &model);
        Self {
            motion: Motion::new(plan, &ground, &model),
            named: plan.zones.iter().map(|zone| zone.kind != ZoneKind::Private).collect(),
            corrections: vec![0.0; ground.receivers()],
            receivers: Receivers::new(ground.receivers(), &model),
            hears: vec![None; ground.receivers()],
            scratch: Scratch::default(),
            tables: Tables::new(),
            cells: Vec::new(),
            probabilities: Vec::new(),
            ground,
            model,
        }
    }

    /// How well somebody can be placed. With [`Method::Threshold`] nothing is ever announced.
    pub fn method(&self) -> Method {
        self.ground.method
    }

    /// How many cells the floor is cut into, and how wide and deep each is, in metres.
    pub fn grid(&self) -> (usize, (f32, f32)) {
        (self.ground.cells(), self.ground.cell)
    }

    /// Begins to follow somebody of whom nothing is known.
    pub fn track(&self) -> Track {
        Track {
            belief: self.motion.anywhere(),
            evidence: Evidence::new(&self.ground, &self.model),
            announcer: Announcer::new(self.ground.zones),
            step_ends: None,
            heard: Uptime::ZERO,
            standing: 0.5,
            estimate: Estimate {
                position: None,
                spread_m: f32::INFINITY,
                announced: Whereabouts::Unknown,
                confidence: 0.0,
            },
        }
    }

    /// A receiver heard anything at all: its silence about somebody means something.
    pub fn heard(&mut self, now: Uptime, receiver: usize) {
        if let Some(hears) = self.hears.get_mut(receiver) {
            *hears = Some(now);
        }
    }

    /// Begins to listen to a beacon that hangs at a known place of the plan, so many metres above the
    /// floor.
    pub fn reference(&self, at: Point, height: f32) -> Reference {
        Reference::new(&self.ground, at, height)
    }

    /// A receiver heard a beacon at a known place: learns how well the receiver hears by now, slowly
    /// and within bounds. Everybody's next steps reckon with it.
    pub fn calibrate(
        &mut self,
        reference: &mut Reference,
        now: Uptime,
        receiver: usize,
        rssi_dbm: f32,
    ) {
        self.heard(now, receiver);
        if !rssi_dbm.is_finite() {
            return;
        }
        let known = (&self.ground, &self.model);
        let reading = (receiver, rssi_dbm.clamp(-127.0, 20.0));
        let learned = self.receivers.learn(known, reference, now, reading);
        if let Some((correction, learned)) = self.corrections.get_mut(receiver).zip(learned) {
            *correction = learned;
        }
    }

    /// What a receiver is known to hear more by now than the plan says, in dB, -15 to 15.
    pub fn correction(&self, receiver: usize) -> f32 {
        self.corrections.get(receiver).copied().unwrap_or(0.0)
    }

    /// Takes in a sighting. Steps that ended before it must have been taken: see [`Places::step`].
    pub fn observe(&mut self, track: &mut Track, now: Uptime, receiver: usize, rssi_dbm: f32) {
        self.heard(now, receiver);
        if self.ground.method == Method::Threshold || !rssi_dbm.is_finite() {
            return;
        }
        if track.step_ends.is_none() {
            track.step_ends = Some(now + self.model.step);
            track.announcer.forget(now);
        }
        track.heard = track.heard.max(now);
        track.evidence.hear(receiver, rssi_dbm);
    }

    /// Takes the next step that has ended by `now`, if there is one. Call it until it says `None`:
    /// at the latest before the next sighting.
    pub fn step(&mut self, track: &mut Track, now: Uptime) -> Option<Step> {
        let at = track.step_ends.filter(|ends| *ends <= now)?;
        if at.since(track.heard) >= self.model.fades_after
            || now.since(at) >= self.model.step * MOST_STEPS
        {
            let from = track.announcer.told();
            self.motion.spread(&mut track.belief);
            track.evidence.home.forget();
            track.announcer.forget(at);
            track.step_ends = None;
            let change = Self::change(
                at,
                from,
                Announcement { to: Whereabouts::Unknown, since: track.heard, confidence: 1.0 },
            );
            track.estimate.announced = Whereabouts::Unknown;
            track.estimate.confidence = 0.0;
            return Some(Step { at, change });
        }
        track.step_ends = Some(at + self.model.step);
        let settled = track.evidence.home.settled();
        self.motion.step(&track.belief, settled, &mut self.scratch);
        std::mem::swap(&mut track.belief, &mut self.scratch.next);
        self.weigh(track, at);
        let from = track.announcer.told();
        let stays = (track.standing, track.evidence.home.stays());
        let announced = track.announcer.step(at, &self.probabilities, stays, &self.model);
        let change = announced.and_then(|announced| Self::change(at, from, announced));
        self.describe(track);
        Some(Step { at, change })
    }

    /// What is believed of somebody at the end of the last step.
    pub fn estimate(&self, track: &Track) -> Estimate {
        track.estimate
    }

    /// Lets the step's readings weigh the belief, and works out what they say of the zones.
    fn weigh(&mut self, track: &mut Track, at: Uptime) {
        let Self { ground, model, hears, corrections, tables, cells, .. } = self;
        let any = track.evidence.is_any();
        let count = ground.cells().max(1);
        let modes = self.motion.modes();
        if any
            && let Some(place) = track.evidence.settle()
            && place.len() == count
        {
            track.belief.fill(0.0);
            track.belief.iter_mut().zip(place).for_each(|(belief, known)| *belief = *known);
        }
        let patience = model.step * HEARS_FOR_STEPS;
        let works = |receiver: usize| {
            let heard = hears.get(receiver).copied().flatten();
            heard.is_some_and(|heard| at.since(heard) <= patience)
        };
        track.evidence.weigh(ground, model, works, corrections, tables);
        let settled = track.evidence.home.settled();
        let standing_temper = model.standing_temper * track.evidence.home.news();
        let stance = track.evidence.stands(model) + model.settled_stance * settled;
        let stance = if any { stance } else { 0.0 };
        tables.temper(&track.belief, stance, standing_temper / model.temper);
        cells.clear();
        cells.resize(count, 0.0);
        for (mode, part) in track.belief.chunks_exact_mut(count).enumerate() {
            let stands = mode == 0 && modes > 1;
            let weights = if stands { &tables.standing } else { &tables.likelihood };
            for ((belief, weight), sum) in part.iter_mut().zip(weights).zip(&mut *cells) {
                *belief *= weight;
                *sum += *belief;
            }
        }
        let all: f32 = cells.iter().sum();
        let mut stood = track.standing;
        if all.is_normal() {
            let scale = 1.0 / all;
            track.belief.iter_mut().chain(cells.iter_mut()).for_each(|it| *it *= scale);
            // Without positions nobody can tell walking from standing.
            stood = if modes > 1 { track.belief.iter().take(count).sum() } else { 0.0 };
        } else {
            // What was heard was impossible: begin again.
            self.motion.spread(&mut track.belief);
            cells.fill(1.0 / ground::real(count));
        }
        if any {
            let weight = model.temper * (1.0 - stood) + standing_temper * stood;
            track.evidence.learn(ground, model, (cells, weight), corrections);
        }
        track.standing = stood;
        track.evidence.home.remember(cells);
        self.probabilities.clear();
        self.probabilities.resize(ground.zones + 1, 0.0);
        let mut elsewhere = 1.0;
        for part in ground.parts() {
            let probability = cells.get(part.cell).copied().unwrap_or(0.0) * part.share;
            if self.named.get(part.zone) == Some(&true)
                && let Some(sum) = self.probabilities.get_mut(part.zone)
            {
                *sum += probability;
                elsewhere -= probability;
            }
        }
        if let Some(last) = self.probabilities.last_mut() {
            *last = f32::max(elsewhere, 0.0);
        }
    }

    fn change(at: Uptime, from: Whereabouts, announced: Announcement) -> Option<Change> {
        let Announcement { to, since, confidence } = announced;
        (from != to).then_some(Change {
            from,
            to,
            since: since.min(at),
            noticed: at,
            confidence: f64::from(confidence.clamp(0.0, 1.0)),
        })
    }

    fn describe(&self, track: &mut Track) {
        let announced = track.announcer.told();
        let confidence = match announced {
            Whereabouts::Zone(zone) => self.probabilities.get(zone),
            Whereabouts::Elsewhere => self.probabilities.last(),
            Whereabouts::Unknown => None,
        };
        let confidence = confidence.copied().unwrap_or(0.0).clamp(0.0, 1.0);
        let (mut position, mut spread_m) = (None, f32::INFINITY);
        if self.ground.method == Method::Plan {
            let (mut x, mut y, mut square) = (0.0, 0.0, 0.0);
            for (cell, probability) in self.cells.iter().enumerate() {
                let middle = self.ground.middle_of(cell);
                x += probability * middle.x;
                y += probability * middle.y;
                square += probability * (middle.x * middle.x + middle.y * middle.y);
            }
            position = Some(Point::new(x, y));
            spread_m = (square - x * x - y * y).max(0.0).sqrt();
        }
        track.estimate =
            Estimate { position, spread_m, announced, confidence: f64::from(confidence) };
    }
}

/// A step that was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// When it ended.
    pub at: Uptime,
    /// What it brought.
    pub change: Option<Change>,
}

// === impl Track ===

impl Track {
    /// When its present step ends: call [`Places::step`] then.
    pub fn next_step(&self) -> Option<Uptime> {
        self.step_ends
    }

    /// How probable it is that they stand, 0 to 1.
    pub fn standing(&self) -> f32 {
        self.standing
    }

    /// When it was last heard.
    pub fn last_heard(&self) -> Uptime {
        self.heard
    }
}

//! Made-up shops: seeds in, walks with known positions out, and how well every method follows them.
//!
//! What is known to the estimator is what an operator would write down: zones and receivers. How
//! signals fall, what bodies, shelves and passers-by take, how strong tag and receivers are, and how
//! people walk is made up anew from each seed, and of another form than the estimator's
//! (`simulated/air.rs`, `simulated/people.rs`).

mod air;
mod people;
mod shop;
mod still;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use shop::{Layout, SHOPS};
pub use still::{Spot, Still, still};

use super::{Contender, Cost, FAULTS, METHODS, MethodName, Reading, Score, Walk, faults};
use crate::{
    chance::Rng,
    engine::{
        Uptime,
        place::{FloorPlan, Model, Point},
    },
};
use air::{Air, Tag};
use people::Person;

/// What one method made of one seed's shops, and of each shop over all seeds.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which method.
    pub method: MethodName,
    /// Seed by seed, all shops together.
    pub seeds: Vec<Score>,
    /// Shop by shop in the order of [`SHOPS`], all seeds together.
    pub shops: Vec<Score>,
}

/// A shop with everything in it, as time goes by.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) plan: FloorPlan,
    layout: Layout,
    air: Air,
    crowd: Vec<Person>,
    person: Person,
    tag: Tag,
    /// How often the tag advertises.
    interval: Duration,
    now: Uptime,
    rng: Rng,
}

/// People are moved this often at least.
const MOMENT: Duration = Duration::from_millis(500);

/// Lets every method follow one walk of so many seconds in each of the twelve shops for each seed
/// from 0. `done` is told of each walk that is finished.
pub fn simulate(seeds: u32, seconds: u32, mut done: impl FnMut()) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = METHODS
        .into_iter()
        .map(|method| Outcome {
            method,
            seeds: Vec::new(),
            shops: vec![Score::default(); SHOPS.len()],
        })
        .collect();
    for seed in 0..seeds {
        for outcome in &mut outcomes {
            outcome.seeds.push(Score::default());
        }
        for (n, layout) in (0_u64..).zip(&SHOPS) {
            let mut scene = Scene::new(*layout, u64::from(seed) * 1000 + n);
            let walk = scene.walk(seconds);
            for outcome in &mut outcomes {
                let method = Contender::new(outcome.method, &scene.plan, &Model::default());
                let score = Score::of(&method.run(&scene.plan, &walk), &scene.plan, &walk);
                let shop = usize::try_from(n).ok().and_then(|n| outcome.shops.get_mut(n));
                for all in outcome.seeds.last_mut().into_iter().chain(shop) {
                    *all = std::mem::take(all).and(&score);
                }
            }
            done();
        }
    }
    outcomes
}

/// Lets a receiver fail in each way on one walk of so many seconds in each of the twelve shops for
/// each seed from 0, another receiver with each seed. `done` is told of each walk that was looked at.
pub fn simulate_faults(seeds: u32, seconds: u32, mut done: impl FnMut()) -> Vec<Cost> {
    let mut costs = FAULTS.map(|fault| Cost { fault, all: Score::default(), worst: None });
    for seed in 0..seeds {
        for (n, layout) in (0_u64..).zip(&SHOPS) {
            let mut scene = Scene::new(*layout, u64::from(seed) * 1000 + n);
            let walk = scene.walk(seconds);
            let receivers = scene.plan.receivers.len().max(1);
            let receiver = usize::try_from(seed).unwrap_or(0) % receivers;
            for cost in &mut costs {
                let score = faults::own(&scene.plan, &cost.fault.befall(&walk, receiver));
                cost.all = std::mem::take(&mut cost.all).and(&score);
            }
            done();
        }
    }
    costs.into()
}

impl Scene {
    pub(super) fn new(layout: Layout, seed: u64) -> Self {
        let mut rng = Rng::scattered(seed);
        let plan = layout.plan(&mut rng);
        let air = Air::new(&plan, &mut rng);
        let crowd = (0..layout.crowd).map(|_| Person::new(&layout, &mut rng)).collect();
        let person = Person::new(&layout, &mut rng);
        let tag = Tag::new(&mut rng);
        let interval = Duration::from_secs_f32(rng.between_f32(0.2, 1.0));
        Self { plan, layout, air, crowd, person, tag, interval, now: Uptime::ZERO, rng }
    }

    /// A tag that lies somewhere instead of one that is carried.
    pub(super) fn lay_down(&mut self, at: Point) {
        self.person = Person::lying(at);
    }

    pub(super) fn now(&self) -> Uptime {
        self.now
    }

    pub(super) fn at(&self) -> Point {
        self.person.at
    }

    /// Goes on to the next advertisement: what was heard of it, and by whom.
    pub(super) fn next(&mut self) -> Vec<(usize, f32)> {
        let Self { layout, air, crowd, person, tag, interval, now, rng, .. } = self;
        // Advertisements are up to 10 ms late at random (Core Specification, Vol 6 Part B 4.4.2.2).
        let wait = *interval + Duration::from_secs_f32(rng.between_f32(0.0, 0.01));
        let mut left = wait;
        let mut moved = 0.0;
        while !left.is_zero() {
            let part = left.min(MOMENT);
            for person in &mut *crowd {
                person.pass(part.as_secs_f32(), layout, rng);
            }
            person.pass(part.as_secs_f32(), layout, rng);
            moved += person.moved;
            left -= part;
        }
        person.moved = moved;
        *now = *now + wait;
        air.hear(person, *tag, wait.as_secs_f32(), (layout, crowd), rng)
    }

    /// Records a walk.
    pub(super) fn walk(&mut self, seconds: u32) -> Walk {
        let mut walk = Walk { name: self.layout.name.to_owned(), ..Walk::default() };
        let end = self.now + Duration::from_secs(u64::from(seconds));
        while self.now < end {
            let heard = self.next();
            let at = self.now;
            walk.truth.push((at, self.at()));
            // Receivers hear others all the time.
            let silent = (0..self.plan.receivers.len())
                .filter(|receiver| !heard.iter().any(|(it, _)| it == receiver))
                .map(|receiver| Reading { at, receiver, rssi: None });
            walk.readings.extend(silent);
            let heard = heard.into_iter();
            walk.readings.extend(heard.map(|(receiver, rssi)| Reading {
                at,
                receiver,
                rssi: Some(rssi),
            }));
        }
        walk
    }
}

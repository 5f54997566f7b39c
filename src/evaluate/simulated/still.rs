//! A tag that lies still among people who pass: how often is it announced to move?

use std::time::Duration;

use super::{SHOPS, Scene, people::somewhere};
use crate::{
    chance::Rng,
    engine::{
        Uptime,
        place::{Model, Places, Point, Whereabouts},
    },
};

/// Where a tag lay, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spot {
    /// In which shop.
    pub shop: &'static str,
    /// Where in it.
    pub at: Point,
    /// How far away the nearest other zone is, in metres.
    pub border_m: f32,
    /// Announced changes from zone to zone, after the first two minutes.
    pub changes: u32,
    /// Seconds announced to be in the right zone, after the first two minutes.
    pub right: u32,
}

/// What came of all spots.
#[derive(Clone, Debug, PartialEq)]
pub struct Still {
    /// How long each tag lay there.
    pub hours: f32,
    /// Spot by spot.
    pub spots: Vec<Spot>,
}

/// What is announced in this time is not looked at: the strengths of tag and receivers are unknown.
const SETTLES: Duration = Duration::from_mins(2);

/// Nearer to another zone than this, in metres, is on a border: no radio tells it apart.
const ON_BORDER_M: f32 = 1.0;

/// Lets a tag lie at so many spots for so many hours each, every fourth of them on a border. `done`
/// is told of each spot that is finished.
pub fn still(spots: u32, hours: f32, mut done: impl FnMut()) -> Still {
    let mut all = Vec::new();
    for spot in 0..spots {
        let seed = u64::from(spot);
        let nth = usize::try_from(spot).unwrap_or(0) % SHOPS.len();
        let Some(layout) = SHOPS.get(nth) else { break };
        let mut scene = Scene::new(*layout, 7_000_000 + seed);
        let mut rng = Rng::scattered(8_000_000 + seed);
        let mut at = somewhere(layout, &mut rng);
        if spot % 4 == 3 {
            let columns = f32::from(layout.zones.0);
            let column = (at.x / layout.size().x * columns).round().clamp(1.0, columns - 1.0);
            at.x = layout.size().x * column / columns;
        }
        scene.lay_down(at);
        let (changes, right) = lie(&mut scene, Duration::from_secs_f32(hours * 3600.0));
        let border_m = border(&scene, at);
        all.push(Spot { shop: layout.name, at, border_m, changes, right });
        done();
    }
    Still { hours, spots: all }
}

fn lie(scene: &mut Scene, time: Duration) -> (u32, u32) {
    let mut places = Places::new(&scene.plan, Model::default());
    let mut track = places.track();
    let (mut changes, mut right) = (0, 0);
    let zone = scene.plan.zone_at(scene.at()).map(Whereabouts::Zone);
    while scene.now() < Uptime::ZERO + time {
        let heard = scene.next();
        let now = scene.now();
        while let Some(step) = places.step(&mut track, now) {
            let settled = step.at > Uptime::ZERO + SETTLES;
            let moved = step
                .change
                .filter(|it| it.from != Whereabouts::Unknown && it.to != Whereabouts::Unknown);
            changes += u32::from(settled && moved.is_some());
            right += u32::from(settled && Some(places.estimate(&track).announced) == zone);
        }
        for receiver in 0..scene.plan.receivers.len() {
            places.heard(now, receiver);
        }
        for (receiver, rssi) in heard {
            places.observe(&mut track, now, receiver, rssi);
        }
    }
    (changes, right)
}

/// How far away another zone is, looked for in circles.
fn border(scene: &Scene, at: Point) -> f32 {
    let own = scene.plan.zone_at(at);
    let mut radius = 0.05;
    while radius < 20.0 {
        let mut turn: f32 = 0.0;
        while turn < std::f32::consts::TAU {
            let there = Point::new(at.x + radius * turn.cos(), at.y + radius * turn.sin());
            let zone = scene.plan.zone_at(there);
            if zone.is_some() && zone != own {
                return radius;
            }
            turn += 0.2;
        }
        radius += 0.05;
    }
    radius
}

impl Spot {
    /// Whether it lies so near another zone that no radio tells them apart.
    pub fn is_on_border(&self) -> bool {
        self.border_m < ON_BORDER_M
    }
}

impl Still {
    /// Announced changes an hour, and how many spots, on borders or away from them.
    pub fn changes_an_hour(&self, on_border: bool) -> (f64, usize) {
        let spots = || self.spots.iter().filter(|spot| spot.is_on_border() == on_border);
        let changes: u32 = spots().map(|spot| spot.changes).sum();
        let count = spots().count();
        let hours = f64::from(self.hours) * f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        (f64::from(changes) / hours.max(1e-9), count)
    }
}

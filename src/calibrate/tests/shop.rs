//! A shop that is made up from a seed, with offsets, exponent, reference and tags that are known to
//! the test alone, and shadows, bodies, fading and losses that nobody corrects.

use std::{f32::consts::TAU, time::Duration};

use fastrand::Rng;

use crate::{
    engine::{
        ReceiverId, Uptime, ZoneId,
        place::{
            Extent, FloorPlan, FloorReceiver, FloorZone, PathLoss, Point, Polygon, Shape, ZoneKind,
        },
    },
    evaluate::{Reading, Walk},
};

/// A shop with what is hidden of it.
pub(super) struct Shop {
    pub(super) plan: FloorPlan,
    pub(super) zones: Vec<ZoneId>,
    pub(super) exponent: f32,
    pub(super) reference: f32,
    pub(super) offsets: Vec<f32>,
    waves: Vec<[(f32, f32, f32); 8]>,
    size: Point,
}

pub(super) fn receiver(id: &str, x: f32, y: f32) -> FloorReceiver {
    FloorReceiver {
        id: ReceiverId::new(id),
        position: Some(Point::new(x, y)),
        height: 2.5,
        offset_db: 0.0,
        offset_error_db: None,
        path_loss: PathLoss::default(),
    }
}

/// A zone from one corner to another.
pub(super) fn zone(least: Point, most: Point) -> FloorZone {
    let polygon = Polygon::rectangle(Extent { least, most }).unwrap();
    FloorZone { kind: ZoneKind::Shelf, shape: Shape::Polygon(polygon) }
}

fn normal(rng: &mut Rng) -> f32 {
    (-2.0 * (1.0 - rng.f32()).ln()).sqrt() * (TAU * rng.f32()).cos()
}

pub(super) fn at(seconds: f32) -> Uptime {
    Uptime::ZERO + Duration::from_secs_f32(seconds)
}

impl Shop {
    /// 16 x 12 m with 8 receivers and 6 zones; offsets have a spread of `offsets_db`.
    pub(super) fn new(seed: u64, offsets_db: f32) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (width, depth) = (16.0, 12.0);
        let places = [
            (0.3, 2.0),
            (0.3, 9.0),
            (5.0, 11.7),
            (11.0, 11.7),
            (15.7, 9.5),
            (15.7, 3.0),
            (10.0, 0.3),
            (6.0, 5.5),
        ];
        let receivers = places.iter().enumerate();
        let receivers = receivers.map(|(n, (x, y))| receiver(&format!("r{n}"), *x, *y)).collect();
        let mut plan = FloorPlan { receivers, ..FloorPlan::default() };
        let mut zones = Vec::new();
        for row in [0.0, 1.0] {
            for column in [0.0, 1.0, 2.0] {
                let least = Point::new(column * width / 3.0, row * depth / 2.0);
                let most = Point::new(least.x + width / 3.0, least.y + depth / 2.0);
                plan.zones.push(zone(least, most));
                zones.push(ZoneId::new(&format!("z{}", zones.len())));
            }
        }
        let wave = |rng: &mut Rng| {
            let (number, angle) = (TAU / (2.0 + 6.0 * rng.f32()), TAU * rng.f32());
            (number * angle.cos(), number * angle.sin(), TAU * rng.f32())
        };
        Self {
            offsets: places.iter().map(|_| normal(&mut rng) * offsets_db).collect(),
            waves: places.iter().map(|_| std::array::from_fn(|_| wave(&mut rng))).collect(),
            exponent: 1.6 + 0.8 * rng.f32(),
            reference: -59.0 + 2.0 * normal(&mut rng),
            size: Point::new(width, depth),
            plan,
            zones,
        }
    }

    /// What the receivers hear of a tag at one time, which faces somewhere.
    fn hear(&self, rng: &mut Rng, place: Point, facing: f32, tag: f32) -> Vec<(usize, f32)> {
        let mut heard = Vec::new();
        let all = self.plan.receivers.iter().zip(&self.offsets).zip(&self.waves).enumerate();
        for (n, ((receiver, offset), waves)) in all {
            let at = receiver.position.unwrap();
            let distance = at.distance(place).hypot(1.3);
            let towards = (at.y - place.y).atan2(at.x - place.x);
            let body = 3.0 * (1.0 - (towards - facing).cos());
            // Eight waves of 1.5 dB: a spread of 3 dB.
            let wave = |(x, y, phase): &(f32, f32, f32)| (x * place.x + y * place.y + phase).sin();
            let shadow: f32 = 1.5 * waves.iter().map(wave).sum::<f32>();
            let level = self.reference + tag + offset - 10.0 * self.exponent * distance.log10();
            let rssi = level + shadow - body + 4.0 * normal(rng);
            if rng.f32() < 0.7 / (1.0 + (-95.0 - rssi).exp()) {
                heard.push((n, rssi.round()));
            }
        }
        heard
    }

    /// Somebody walks about for so long.
    pub(super) fn walk(&self, seed: u64, seconds: u16) -> Walk {
        let mut rng = Rng::with_seed(seed);
        let tag = 3.0 * normal(&mut rng);
        let somewhere = |rng: &mut Rng| {
            Point::new(0.5 + rng.f32() * (self.size.x - 1.0), 0.5 + rng.f32() * (self.size.y - 1.0))
        };
        let (mut place, mut goal) = (somewhere(&mut rng), somewhere(&mut rng));
        let mut walk = Walk { name: format!("walk {seed}"), ..Walk::default() };
        for half in 0..seconds * 2 {
            let now = at(f32::from(half) * 0.5);
            if place.distance(goal) < 0.6 {
                goal = somewhere(&mut rng);
            }
            let facing = (goal.y - place.y).atan2(goal.x - place.x);
            place = Point::new(place.x + 0.5 * facing.cos(), place.y + 0.5 * facing.sin());
            walk.truth.push((now, place));
            for (receiver, rssi) in self.hear(&mut rng, place, facing, tag) {
                walk.readings.push(Reading { at: now, receiver, rssi: Some(rssi) });
            }
        }
        walk
    }

    /// A technician walks about in each zone for a minute, and nobody measures where.
    pub(super) fn stays(&self, seed: u64) -> Walk {
        let mut rng = Rng::with_seed(seed);
        let tag = 3.0 * normal(&mut rng);
        let mut walk = Walk { name: format!("stays {seed}"), ..Walk::default() };
        let mut now = 0.0;
        for (zone, shape) in self.plan.zones.iter().enumerate() {
            let Shape::Polygon(polygon) = &shape.shape else { panic!("all zones are drawn") };
            let extent = Extent::around(polygon.corners().iter().copied()).unwrap().widened(-0.5);
            let (width, depth) = extent.size();
            walk.marks.push((at(now), Some(zone)));
            let mut place = extent.middle();
            for _ in 0..120 {
                let facing = TAU * rng.f32();
                let x = place.x + facing.cos() * 0.5;
                let y = place.y + facing.sin() * 0.5;
                place = Point::new(
                    x.clamp(extent.least.x, extent.least.x + width),
                    y.clamp(extent.least.y, extent.least.y + depth),
                );
                for (receiver, rssi) in self.hear(&mut rng, place, facing, tag) {
                    walk.readings.push(Reading { at: at(now), receiver, rssi: Some(rssi) });
                }
                now += 0.5;
            }
            walk.marks.push((at(now), None));
            now += 10.0;
        }
        walk
    }

    /// The offsets relative to each other, as a calibration tells them.
    pub(super) fn relative(&self) -> Vec<f32> {
        let mean = self.offsets.iter().sum::<f32>() / 8.0;
        self.offsets.iter().map(|offset| offset - mean).collect()
    }
}

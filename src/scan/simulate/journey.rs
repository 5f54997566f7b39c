//! Walking: a floor plan and randomness in, a path through time out.

use std::{f64::consts::TAU, time::Duration};

use super::{
    plan::{Area, Plan, Point},
    rng::Rng,
};
use crate::engine::Uptime;

/// Tags are carried at about the height of a pocket.
pub(super) const POCKET_Z: f64 = 1.0;

/// Nobody stops for less than this.
const SHORTEST_STOP_S: f64 = 1.5;

/// Where somebody is, and which way they face, in radians, 0 along `x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) at: Point,
    pub(super) facing: f64,
}

/// A path through time, without gaps.
#[derive(Clone, Debug, Default)]
pub(super) struct Journey {
    legs: Vec<Leg>,
    /// Between the first and the last step over the threshold.
    pub(super) inside: Option<(Uptime, Uptime)>,
}

/// A straight walk, or a stop where `start` and `end` are the same.
#[derive(Clone, Debug)]
struct Leg {
    from: Uptime,
    until: Uptime,
    start: Point,
    end: Point,
    facing: f64,
}

/// A journey being laid out.
struct Path {
    now: Uptime,
    here: Point,
    speed: f64,
    legs: Vec<Leg>,
}

// === impl Journey ===

impl Journey {
    /// Somebody comes along the street, visits some zones, pays, and leaves. They are in the shop
    /// for about `stay`, longer when the way alone takes longer.
    pub(super) fn visit(plan: &Plan, rng: &mut Rng, begins: Uptime, stay: Duration) -> Self {
        let speed = rng.between(1.1, 1.6);
        let mut shelves: Vec<&Area> = plan.shelves().collect();
        rng.shuffle(&mut shelves);
        let wanted = 1 + rng.below(shelves.len());
        let mut stops: Vec<Point> =
            plan.zone(&plan.checkout).map(|zone| spot(zone, rng)).into_iter().collect();

        // The way takes its time; what is left is spent in front of the shelves. Whoever is in too
        // much of a hurry for one leaves it out. The last stop is to pay.
        for shelf in shelves {
            let mut longer = stops.clone();
            longer.insert(stops.len().saturating_sub(1), spot(shelf, rng));
            if stops.len() <= wanted && pause(plan, &longer, speed, stay) >= SHORTEST_STOP_S {
                stops = longer;
            }
        }
        let pause = pause(plan, &stops, speed, stay).max(SHORTEST_STOP_S);

        let mut path = Path::new(begins, street(plan, rng), speed);
        path.walk(plan.door(POCKET_Z));
        let entered = path.now;
        for stop in stops {
            path.walk_along(plan, stop);
            path.look_around(rng, pause);
        }
        path.walk_along(plan, plan.door(POCKET_Z));
        let left = path.now;
        path.walk(street(plan, rng));
        Self { legs: path.legs, inside: Some((entered, left)) }
    }

    /// Somebody walks past on the street and does not come in.
    pub(super) fn passing(plan: &Plan, rng: &mut Rng, begins: Uptime) -> Self {
        let mut path = Path::new(begins, street(plan, rng), rng.between(1.0, 1.6));
        let window = Point::new(rng.between(0.0, plan.width), rng.between(-3.0, -1.5), POCKET_Z);
        path.walk(window);
        if rng.chance(0.3) {
            path.look_around(rng, 4.0);
        }
        let far_end = plan.width - path.legs.first().map_or(0.0, |leg| leg.start.x);
        path.walk(Point::new(far_end, -6.0, POCKET_Z));
        Self { legs: path.legs, inside: None }
    }

    /// Somebody or something that stays in the shop: goes to a zone and remains there for a while.
    pub(super) fn round(
        plan: &Plan,
        rng: &mut Rng,
        begins: Uptime,
        from: Option<Point>,
        stay: Duration,
    ) -> Self {
        let target = match plan.zones.get(rng.below(plan.zones.len())) {
            Some(zone) => spot(zone, rng),
            None => Point::new(plan.width / 2.0, plan.corridor_y, POCKET_Z),
        };
        let mut path = Path::new(begins, from.unwrap_or(target), 1.2);
        path.walk_along(plan, target);
        path.look_around(rng, stay.as_secs_f64().max(SHORTEST_STOP_S));
        let inside = Some((begins, path.now));
        Self { legs: path.legs, inside }
    }

    /// When it begins, on the street.
    pub(super) fn begins(&self) -> Uptime {
        self.legs.first().map_or(Uptime::ZERO, |leg| leg.from)
    }

    /// When it ends.
    pub(super) fn ends(&self) -> Uptime {
        self.legs.last().map_or(Uptime::ZERO, |leg| leg.until)
    }

    /// Where it ends.
    pub(super) fn destination(&self) -> Option<Point> {
        self.legs.last().map(|leg| leg.end)
    }

    /// Where the journey is at a time; `None` before its begin and from its end on.
    pub(super) fn place(&self, at: Uptime) -> Option<Place> {
        let next = self.legs.partition_point(|leg| leg.until <= at);
        let leg = self.legs.get(next).filter(|leg| leg.from <= at)?;
        let whole = leg.until.since(leg.from).as_secs_f64();
        let done = at.since(leg.from).as_secs_f64();
        let share = if whole <= 0.0 { 1.0 } else { done / whole };
        Some(Place { at: leg.start.towards(leg.end, share), facing: leg.facing })
    }
}

fn spot(zone: &Area, rng: &mut Rng) -> Point {
    // Half a metre from the edge, so that "in front of the shelf" is well inside the zone.
    let within = |range: &std::ops::Range<f64>, rng: &mut Rng| {
        let margin = 0.5_f64.min((range.end - range.start) / 2.0);
        rng.between(range.start + margin, range.end - margin)
    };
    let (x, y) = (within(&zone.x, rng), within(&zone.y, rng));
    Point::new(x, y, POCKET_Z)
}

/// A place on the street, so far to one side that the receiver in the shop hears little of it.
fn street(plan: &Plan, rng: &mut Rng) -> Point {
    let side = if rng.chance(0.5) { -9.0 } else { plan.width + 9.0 };
    Point::new(side, rng.between(-8.0, -4.0), POCKET_Z)
}

/// Seconds at each stop that the way through all of them leaves of a stay.
fn pause(plan: &Plan, stops: &[Point], speed: f64, stay: Duration) -> f64 {
    let mut path = Path::new(Uptime::ZERO, plan.door(POCKET_Z), speed);
    for stop in stops {
        path.walk_along(plan, *stop);
    }
    path.walk_along(plan, plan.door(POCKET_Z));
    let spare = stay.as_secs_f64() - path.now.since(Uptime::ZERO).as_secs_f64();
    spare / f64::from(u32::try_from(stops.len()).unwrap_or(u32::MAX)).max(1.0)
}

// === impl Path ===

impl Path {
    fn new(now: Uptime, here: Point, speed: f64) -> Self {
        Self { now, here, speed, legs: Vec::new() }
    }

    fn walk(&mut self, to: Point) {
        let takes = Duration::try_from_secs_f64(self.here.distance(to) / self.speed);
        self.leg(takes.unwrap_or_default(), to, self.here.bearing(to));
    }

    /// Walks to a place by way of the corridor, unless it lies on the same side and near.
    fn walk_along(&mut self, plan: &Plan, to: Point) {
        let corridor = plan.corridor_y;
        let same_side = (self.here.y < corridor) == (to.y < corridor);
        if !same_side || 3.0 < (self.here.x - to.x).abs() {
            self.walk(Point::new(self.here.x, corridor, self.here.z));
            self.walk(Point::new(to.x, corridor, to.z));
        }
        self.walk(to);
    }

    /// Stands for some seconds, turning round now and then.
    fn look_around(&mut self, rng: &mut Rng, seconds: f64) {
        let mut left = seconds;
        while 0.0 < left {
            let turn = rng.between(2.0, 6.0).min(left);
            left -= turn;
            let here = self.here;
            self.leg(Duration::try_from_secs_f64(turn).unwrap_or_default(), here, rng.unit() * TAU);
        }
    }

    fn leg(&mut self, takes: Duration, to: Point, facing: f64) {
        let (from, start) = (self.now, self.here);
        if !takes.is_zero() {
            self.now = from + takes;
            self.legs.push(Leg { from, until: self.now, start, end: to, facing });
        }
        self.here = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journey_has_no_gaps_and_nobody_runs() {
        let (plan, step) = (Plan::default(), Duration::from_millis(50));
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let begins = Uptime::ZERO + Duration::from_secs(3);
            let journey = Journey::visit(&plan, &mut rng, begins, Duration::from_secs(25));
            assert_eq!(journey.place(begins - step), None);
            assert_eq!(journey.place(journey.ends()), None);
            let mut now = begins;
            let mut here = journey.place(now).expect("the journey begins here").at;
            while now + step < journey.ends() {
                now = now + step;
                let next = journey.place(now).expect("a journey has no gaps").at;
                assert!(here.distance(next) < 1.7 * 0.05, "seed {seed}: too fast at {now:?}");
                here = next;
            }
        }
    }

    #[test]
    fn a_visit_lasts_about_as_long_as_it_was_meant_to() {
        let plan = Plan::default();
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let stay = Duration::from_secs(30);
            let journey = Journey::visit(&plan, &mut rng, Uptime::ZERO, stay);
            let (entered, left) = journey.inside.expect("a visit is inside");
            let stayed = left.since(entered).as_secs_f64();
            assert!((28.0..34.0).contains(&stayed), "seed {seed}: {stayed} s");
            let middle = entered + (left.since(entered) / 2);
            assert!(!journey.place(middle).expect("in the shop").at.is_outside());
        }
    }
}

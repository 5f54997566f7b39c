//! The floor plan: where the walls, the zones, the door and the receivers are. Metres throughout.

use std::ops::Range;

use crate::engine::ReceiverId;

/// A place in the shop: `x` along the street, `y` into the shop (the street is `y < 0`), `z` up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Along the shop front, in metres from its left end.
    pub x: f64,
    /// Into the shop, in metres from the front; negative on the street.
    pub y: f64,
    /// Above the floor, in metres.
    pub z: f64,
}

/// A named rectangle of the floor.
#[derive(Clone, Debug, PartialEq)]
pub struct Area {
    /// The zone's name, as in the configuration.
    pub name: String,
    /// From left to right.
    pub x: Range<f64>,
    /// From the front to the back.
    pub y: Range<f64>,
}

/// A radio that listens.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name in every advertisement it hears.
    pub id: ReceiverId,
    /// Where it hangs.
    pub at: Point,
}

/// A small shop: one front with a door, one corridor from side to side, zones on both sides of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Length of the front.
    pub width: f64,
    /// From the front to the back wall.
    pub depth: f64,
    /// Where the door is, on the front.
    pub door_x: f64,
    /// Where the corridor is; whoever goes from zone to zone walks along it.
    pub corridor_y: f64,
    /// The zones. Where two overlap the first one counts.
    pub zones: Vec<Area>,
    /// The zone in which a visit ends before the way out; nobody pays when there is no such zone.
    pub checkout: String,
    /// The radios. The demo has one; more make the same walk heard from several places.
    pub receivers: Vec<Listener>,
}

// === impl Point ===

impl Point {
    /// Wraps coordinates in metres.
    pub const fn new(x: f64, y: f64, z: f64) -> Self {
        Self { x, y, z }
    }

    /// The straight-line distance in metres.
    pub fn distance(self, other: Self) -> f64 {
        let (x, y, z) = (self.x - other.x, self.y - other.y, self.z - other.z);
        (x * x + y * y + z * z).sqrt()
    }

    /// The point that lies the given share of the way towards another one.
    pub(super) fn towards(self, other: Self, share: f64) -> Self {
        let mix = |from: f64, to: f64| from + (to - from) * share;
        Self::new(mix(self.x, other.x), mix(self.y, other.y), mix(self.z, other.z))
    }

    /// The direction to another point on the floor, in radians, 0 along `x`.
    pub(super) fn bearing(self, other: Self) -> f64 {
        (other.y - self.y).atan2(other.x - self.x)
    }

    pub(super) fn is_outside(self) -> bool {
        self.y < 0.0
    }
}

// === impl Area ===

impl Area {
    fn new(name: &str, x: Range<f64>, y: Range<f64>) -> Self {
        Self { name: name.to_owned(), x, y }
    }

    fn contains(&self, point: Point) -> bool {
        self.x.contains(&point.x) && self.y.contains(&point.y)
    }

    /// The middle of the zone, at the given height.
    pub(super) fn middle(&self, z: f64) -> Point {
        Point::new(
            f64::midpoint(self.x.start, self.x.end),
            f64::midpoint(self.y.start, self.y.end),
            z,
        )
    }
}

// === impl Plan ===

impl Plan {
    /// The zone in which a point lies.
    pub fn zone_at(&self, point: Point) -> Option<&str> {
        self.zones.iter().find(|zone| zone.contains(point)).map(|zone| zone.name.as_str())
    }

    /// The same shop with a receiver under the ceiling in the middle of each zone, named after it.
    #[must_use]
    pub fn with_a_receiver_in_each_zone(mut self) -> Self {
        const CEILING_M: f64 = 2.6;
        let listener =
            |zone: &Area| Listener { id: ReceiverId::new(&zone.name), at: zone.middle(CEILING_M) };
        self.receivers = self.zones.iter().map(listener).collect();
        self
    }

    /// A zone by its name.
    pub(super) fn zone(&self, name: &str) -> Option<&Area> {
        self.zones.iter().find(|zone| zone.name == name)
    }

    /// The zones in which somebody may want something: neither the checkout nor that of the door.
    pub(super) fn shelves(&self) -> impl Iterator<Item = &Area> {
        let inside = Point::new(self.door_x, 0.1, 0.0);
        self.zones.iter().filter(move |it| it.name != self.checkout && !it.contains(inside))
    }

    /// The threshold of the door.
    pub(super) fn door(&self, z: f64) -> Point {
        Point::new(self.door_x, 0.0, z)
    }
}

impl Default for Plan {
    /// A shop of 12 m by 8 m with its gateway on the wall behind the checkout, near the door.
    fn default() -> Self {
        Self {
            width: 12.0,
            depth: 8.0,
            door_x: 1.5,
            corridor_y: 4.0,
            zones: vec![
                Area::new("entrance", 0.0..3.0, 0.0..4.5),
                Area::new("checkout", 3.0..6.0, 0.0..3.5),
                Area::new("wine", 7.0..12.0, 0.0..3.5),
                Area::new("dairy", 0.0..5.0, 4.5..8.0),
                Area::new("snacks", 6.0..12.0, 4.5..8.0),
            ],
            checkout: "checkout".to_owned(),
            receivers: vec![Listener { id: ReceiverId::default(), at: Point::new(4.5, 0.5, 2.2) }],
        }
    }
}

//! Shapes on the floor, in metres.

/// A place on the floor, in metres from the plan's corner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f32,
    /// Upwards on the plan.
    pub y: f32,
}

/// A rectangle along the axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// The corner with the smallest coordinates.
    pub least: Point,
    /// The corner with the largest.
    pub most: Point,
}

/// A closed shape without holes whose sides do not cross.
#[derive(Clone, Debug, PartialEq)]
pub struct Polygon(Vec<Point>);

/// Why corners make no polygon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotAPolygon {
    /// Fewer than three corners.
    TooFew,
    /// A coordinate that is no number, or farther than 10 km away.
    NotANumber,
    /// Its sides cross or touch.
    Crossing,
    /// It has no area.
    Flat,
}

/// Less than this is no area, in square metres.
const LEAST_AREA: f32 = 0.01;

/// No plan reaches farther, in metres.
const FARTHEST: f32 = 10_000.0;

// === impl Point ===

impl Point {
    /// Wraps coordinates in metres.
    pub const fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }

    /// Distance in metres.
    pub fn distance(self, other: Self) -> f32 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    /// Whether it can stand on a plan.
    pub fn is_sound(self) -> bool {
        self.x.abs() <= FARTHEST && self.y.abs() <= FARTHEST
    }
}

// === impl Extent ===

impl Extent {
    /// The smallest rectangle around points; none without points.
    pub fn around(points: impl IntoIterator<Item = Point>) -> Option<Self> {
        points.into_iter().fold(None, |around, point| {
            let Self { least, most } = around.unwrap_or(Self { least: point, most: point });
            Some(Self {
                least: Point::new(least.x.min(point.x), least.y.min(point.y)),
                most: Point::new(most.x.max(point.x), most.y.max(point.y)),
            })
        })
    }

    /// Wider by a margin on every side, in metres.
    #[must_use]
    pub fn widened(self, margin: f32) -> Self {
        let Self { least, most } = self;
        Self {
            least: Point::new(least.x - margin, least.y - margin),
            most: Point::new(most.x + margin, most.y + margin),
        }
    }

    /// Width and height in metres.
    pub fn size(self) -> (f32, f32) {
        (self.most.x - self.least.x, self.most.y - self.least.y)
    }

    /// The middle.
    pub fn middle(self) -> Point {
        let Self { least, most } = self;
        Point::new(f32::midpoint(least.x, most.x), f32::midpoint(least.y, most.y))
    }
}

// === impl Polygon ===

impl Polygon {
    /// Joins corners, in either direction; the last is joined to the first.
    pub fn new(corners: Vec<Point>) -> Result<Self, NotAPolygon> {
        if corners.len() < 3 {
            return Err(NotAPolygon::TooFew);
        }
        if !corners.iter().all(|corner| corner.is_sound()) {
            return Err(NotAPolygon::NotANumber);
        }
        let polygon = Self(corners);
        if polygon.crosses_itself() {
            return Err(NotAPolygon::Crossing);
        }
        if polygon.area() < LEAST_AREA {
            return Err(NotAPolygon::Flat);
        }
        Ok(polygon)
    }

    /// A rectangle along the axes; `None` when it has no area.
    pub fn rectangle(extent: Extent) -> Option<Self> {
        let Extent { least, most } = extent;
        let corners = vec![least, Point::new(most.x, least.y), most, Point::new(least.x, most.y)];
        Self::new(corners).ok()
    }

    /// Its corners, in order.
    pub fn corners(&self) -> &[Point] {
        &self.0
    }

    /// Its area in square metres (the shoelace formula).
    pub fn area(&self) -> f32 {
        (self.sides().map(|(a, b)| a.x * b.y - b.x * a.y).sum::<f32>() / 2.0).abs()
    }

    /// Whether a point lies in it: a ray from there crosses its sides an odd number of times.
    pub fn contains(&self, point: Point) -> bool {
        let crossings = self.sides().filter(|(a, b)| {
            (a.y > point.y) != (b.y > point.y)
                && point.x < a.x + (point.y - a.y) / (b.y - a.y) * (b.x - a.x)
        });
        crossings.count() % 2 == 1
    }

    fn sides(&self) -> impl Iterator<Item = (Point, Point)> + Clone {
        self.0.iter().copied().zip(self.0.iter().copied().cycle().skip(1))
    }

    fn crosses_itself(&self) -> bool {
        let count = self.0.len();
        let sides = || self.sides().enumerate();
        sides().any(|(i, one)| {
            sides().skip(i + 1).any(|(j, other)| {
                let neighbours = j == i + 1 || (i == 0 && j + 1 == count);
                !neighbours && touch(one, other)
            })
        })
    }
}

/// Whether two straight lines between points have a point in common.
pub(super) fn touch((a, b): (Point, Point), (c, d): (Point, Point)) -> bool {
    let side = |p: Point, q: Point, r: Point| (q.x - p.x) * (r.y - p.y) - (q.y - p.y) * (r.x - p.x);
    let between = |p: Point, q: Point, r: Point| {
        r.x >= p.x.min(q.x) && r.x <= p.x.max(q.x) && r.y >= p.y.min(q.y) && r.y <= p.y.max(q.y)
    };
    let (s1, s2) = (side(a, b, c), side(a, b, d));
    let (s3, s4) = (side(c, d, a), side(c, d, b));
    if s1 * s2 < 0.0 && s3 * s4 < 0.0 {
        return true;
    }
    (s1 == 0.0 && between(a, b, c))
        || (s2 == 0.0 && between(a, b, d))
        || (s3 == 0.0 && between(c, d, a))
        || (s4 == 0.0 && between(c, d, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polygon(corners: &[(f32, f32)]) -> Result<Polygon, NotAPolygon> {
        Polygon::new(corners.iter().map(|&(x, y)| Point::new(x, y)).collect())
    }

    #[test]
    fn a_polygon_knows_what_lies_in_it_whichever_way_it_is_drawn() {
        let hook = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (3.0, 4.0), (3.0, 1.0), (0.0, 1.0)];
        let mut reversed = hook;
        reversed.reverse();
        for corners in [hook, reversed] {
            let hook = polygon(&corners).unwrap();
            assert!((hook.area() - 7.0).abs() < 1e-4);
            assert!(hook.contains(Point::new(0.5, 0.5)) && hook.contains(Point::new(3.5, 3.5)));
            assert!(!hook.contains(Point::new(1.0, 2.0)) && !hook.contains(Point::new(-1.0, 0.5)));
        }
    }

    #[test]
    fn what_is_no_area_is_refused_with_its_reason() {
        let refused = |corners: &[(f32, f32)]| polygon(corners).unwrap_err();
        assert_eq!(refused(&[(0.0, 0.0), (1.0, 1.0)]), NotAPolygon::TooFew);
        assert_eq!(refused(&[(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]), NotAPolygon::Flat);
        let bow_tie = [(0.0, 0.0), (2.0, 2.0), (2.0, 0.0), (0.0, 2.0)];
        assert_eq!(refused(&bow_tie), NotAPolygon::Crossing);
        let lost = [(0.0, 0.0), (f32::NAN, 1.0), (2.0, 0.0)];
        assert_eq!(refused(&lost), NotAPolygon::NotANumber);
    }
}

//! Made-up shops: how large they are, where zones, shelves and receivers are.

use crate::{
    chance::Rng,
    engine::{
        ReceiverId,
        place::{
            Extent, FloorPlan, FloorReceiver, FloorZone, PathLoss, Point, Polygon, Shape, ZoneKind,
        },
    },
};

/// What a shop is like, as its operator would describe it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    /// What it is called in the table.
    pub name: &'static str,
    /// Width and depth in metres.
    pub size: (u16, u16),
    /// How many receivers hang in it.
    pub receivers: u16,
    /// Whether they hang on the walls, or in a lattice under the ceiling.
    pub on_walls: bool,
    /// Columns and rows of zones.
    pub zones: (u16, u16),
    /// Rows of shelves, across the shop, with a way around at both ends.
    pub shelves: u16,
    /// How many others walk about.
    pub crowd: u16,
}

/// The twelve: 2 to 12 receivers, 3 to 15 zones.
pub const SHOPS: [Layout; 12] = [
    shop("kiosk", (8, 6), 2, true, (3, 1), 0, 2),
    shop("boutique", (10, 8), 3, true, (3, 1), 0, 4),
    shop("pharmacy", (12, 8), 4, true, (2, 2), 2, 6),
    shop("bakery", (9, 9), 4, false, (3, 1), 0, 8),
    shop("shoes", (15, 10), 5, true, (3, 2), 3, 6),
    shop("books", (16, 12), 6, false, (3, 2), 4, 8),
    shop("electronics", (20, 15), 6, true, (2, 2), 4, 12),
    shop("grocery", (24, 16), 8, false, (4, 2), 6, 20),
    shop("toys", (20, 18), 9, false, (3, 3), 5, 12),
    shop("fashion", (30, 20), 10, false, (4, 3), 0, 20),
    shop("supermarket", (40, 25), 12, false, (5, 3), 8, 30),
    shop("hardware", (60, 30), 12, false, (4, 3), 10, 30),
];

const fn shop(
    name: &'static str,
    size: (u16, u16),
    receivers: u16,
    on_walls: bool,
    zones: (u16, u16),
    shelves: u16,
    crowd: u16,
) -> Layout {
    Layout { name, size, receivers, on_walls, zones, shelves, crowd }
}

/// Shelves leave this much free at both ends, in metres.
const CROSS_AISLE: f32 = 1.5;

impl Layout {
    pub(super) fn size(&self) -> Point {
        Point::new(f32::from(self.size.0), f32::from(self.size.1))
    }

    /// Shelves as lines along x, each with its y; they begin and end at a cross aisle.
    pub(super) fn shelves(&self) -> impl Iterator<Item = f32> + Clone {
        let (depth, count) = (self.size().y, self.shelves);
        (1..=count).map(move |n| depth * f32::from(n) / f32::from(count + 1))
    }

    /// From where to where shelves reach, in metres.
    pub(super) fn shelf_ends(&self) -> (f32, f32) {
        (CROSS_AISLE, self.size().x - CROSS_AISLE)
    }

    /// The plan that the operator draws: zones and receivers, measured to some decimetres.
    pub(super) fn plan(&self, rng: &mut Rng) -> FloorPlan {
        let mut plan = FloorPlan::default();
        let Point { x: width, y: depth } = self.size();
        let (columns, rows) = self.zones;
        for row in 0..rows {
            for column in 0..columns {
                let corner = |column: u16, row: u16| {
                    let x = width * f32::from(column) / f32::from(columns);
                    Point::new(x, depth * f32::from(row) / f32::from(rows))
                };
                let (least, most) = (corner(column, row), corner(column + 1, row + 1));
                let rectangle = Polygon::rectangle(Extent { least, most });
                let Some(polygon) = rectangle else { continue };
                plan.zones
                    .push(FloorZone { kind: ZoneKind::Shelf, shape: Shape::Polygon(polygon) });
            }
        }
        for (n, at) in self.receivers().into_iter().enumerate() {
            let at = Point::new(at.x + rng.normal_f32() * 0.3, at.y + rng.normal_f32() * 0.3);
            plan.receivers.push(FloorReceiver {
                id: ReceiverId::new(&format!("receiver-{}", n + 1)),
                position: Some(Point::new(at.x.clamp(0.0, width), at.y.clamp(0.0, depth))),
                height: 2.5,
                offset_db: 0.0,
                offset_error_db: None,
                path_loss: PathLoss::default(),
            });
        }
        plan
    }

    fn receivers(&self) -> Vec<Point> {
        let Point { x: width, y: depth } = self.size();
        let count = self.receivers.max(1);
        if self.on_walls {
            // Alternately along the two long walls.
            let on_wall = |n: u16| {
                let x = width * (f32::from(n) + 0.5) / f32::from(count);
                Point::new(x, if n.is_multiple_of(2) { 0.1 } else { depth - 0.1 })
            };
            return (0..count).map(on_wall).collect();
        }
        let mut across = 1;
        while f32::from(across) * f32::from(across) * depth < f32::from(count) * width {
            across += 1;
        }
        let down = count.div_ceil(across);
        let place = |n: u16| {
            let row = n / across;
            let in_row = if row + 1 == down { count - row * across } else { across };
            let x = width * (f32::from(n % across) + 0.5) / f32::from(in_row);
            Point::new(x, depth * (f32::from(row) + 0.5) / f32::from(down))
        };
        (0..count).map(place).collect()
    }
}

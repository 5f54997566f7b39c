//! `[[receiver]]` and what `[[zone]]` says of places: the floor plan, as its operator measured it, and
//! whether it decides in which zone somebody is.

mod law;
mod wall;

pub use law::FloorSection;
pub use wall::WallSettings;

use serde::{Deserialize, Serialize};

use super::{Invalid, Settings, ZoneSettings, ZonesBy, one_of, shop::check_id};
use crate::engine::{
    PresenceFloor, Private, ReceiverId, Zone, ZoneId,
    place::{
        self, FloorPlan, FloorReceiver, FloorZone, Method, NotAPolygon, Point, Polygon, Shape,
    },
};

/// `[[receiver]]`: where a receiver hangs, and how well it hears.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiverSettings {
    /// Its name: one of `[scan]`, of `[[scan.adapters]]`, or of another gateway or radio.
    pub id: String,
    /// Where it hangs, in metres: across and up the plan, and above the floor.
    pub position: Option<Vec<f64>>,
    /// What it hears more than others, in dB; negative for one that hears everything fainter.
    pub rssi_offset: f64,
    /// How fast signals fall with distance from it, where that differs from `floor.exponent`.
    pub exponent: Option<f64>,
    /// What it hears of a tag one metre away, in dBm, where that differs from
    /// `floor.reference_dbm`.
    pub reference_dbm: Option<f64>,
    /// Spread of its readings about that, in dB, where that differs from `floor.spread_db`.
    pub spread_db: Option<f64>,
}

/// `kind` of a `[[zone]]`: what it is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum ZoneKind {
    /// Where people come in and go out.
    Entrance,
    /// Where they pay.
    Checkout,
    /// Where they try on.
    FittingRoom,
    /// Where goods are.
    #[default]
    Shelf,
    /// Where only staff go.
    Staff,
    /// Where nobody's presence is anybody's business.
    Private,
}

/// The floor plan, with the zones' names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Floor {
    /// The plan, as the engine takes it.
    pub plan: FloorPlan,
    /// The names of its zones, in its order.
    pub zones: Vec<ZoneId>,
}

/// How high receivers hang where nothing is said, in metres: above what stands in the shop.
const USUAL_HEIGHT: f64 = 2.5;

/// No receiver hangs higher above the floor, or lower under it, in metres.
const HIGHEST: f64 = 50.0;

/// No receiver hears so much more or less than others, in dB.
const MOST_OFFSET: f64 = 40.0;

/// No zone has more corners.
const MOST_CORNERS: usize = 256;

impl TryFrom<String> for ZoneKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let all = [
            ("entrance", Self::Entrance),
            ("checkout", Self::Checkout),
            ("fitting_room", Self::FittingRoom),
            ("shelf", Self::Shelf),
            ("staff", Self::Staff),
            ("private", Self::Private),
        ];
        one_of(&text, &all)
    }
}

impl ZoneKind {
    fn build(self) -> place::ZoneKind {
        match self {
            Self::Entrance => place::ZoneKind::Entrance,
            Self::Checkout => place::ZoneKind::Checkout,
            Self::FittingRoom => place::ZoneKind::FittingRoom,
            Self::Shelf => place::ZoneKind::Shelf,
            Self::Staff => place::ZoneKind::Staff,
            Self::Private => place::ZoneKind::Private,
        }
    }
}

impl ReceiverSettings {
    fn build(&self, n: usize) -> Result<FloorReceiver, Invalid> {
        let key = |key: &str| format!("receiver[{n}].{key}");
        check_id(&key("id"), &self.id)?;
        let position = self.position.as_deref();
        let (position, height) = place_of(&key("position"), position, USUAL_HEIGHT)?;
        if !(-MOST_OFFSET..=MOST_OFFSET).contains(&self.rssi_offset) {
            let found = self.rssi_offset.to_string();
            return Err(Invalid::new(&key("rssi_offset"), found, "allowed are -40 to 40 dB"));
        }
        Ok(FloorReceiver {
            id: ReceiverId::new(&self.id),
            position,
            height: single(height),
            offset_db: single(self.rssi_offset),
            offset_error_db: None,
            path_loss: law::build(
                &format!("receiver[{n}]"),
                self.exponent,
                self.reference_dbm,
                self.spread_db,
            )?,
        })
    }
}

/// Where something hangs, if that is said, and how high, in metres.
pub(super) fn place_of(
    key: &str,
    position: Option<&[f64]>,
    usual_height: f64,
) -> Result<(Option<Point>, f64), Invalid> {
    let (place, height) = match position {
        None => (None, usual_height),
        Some([x, y]) => (Some(point(*x, *y)), usual_height),
        Some([x, y, z]) => (Some(point(*x, *y)), *z),
        Some(other) => {
            let found = format!("{} numbers", other.len());
            return Err(Invalid::new(key, found, "write `[x, y]` or `[x, y, height]` in metres"));
        }
    };
    if place.is_some_and(|place| !place.is_sound()) || !(-HIGHEST..=HIGHEST).contains(&height) {
        let found = format!("{:?}", position.unwrap_or_default());
        let allowed = "allowed are metres: at most 10000 to each side, and at most 50 up or down";
        return Err(Invalid::new(key, found, allowed));
    }
    Ok((place, height))
}

impl Settings {
    /// The floor plan: receivers with and without positions, and the zones that have a place, with
    /// what was found out about the receivers.
    pub fn floor(&self) -> Result<Floor, Invalid> {
        let mut floor = self.measured_floor()?;
        self.calibrate(&mut floor);
        Ok(floor)
    }

    /// The same without a calibration.
    pub fn measured_floor(&self) -> Result<Floor, Invalid> {
        let mut floor = Floor::default();
        let FloorSection { exponent, reference_dbm, spread_db } = self.floor;
        floor.plan.path_loss = law::build("floor", exponent, reference_dbm, spread_db)?;
        floor.plan.walls = wall::build(&self.wall)?;
        for (n, receiver) in self.receiver.iter().enumerate() {
            let built = receiver.build(n)?;
            if floor.plan.receivers.iter().any(|known| known.id == built.id) {
                let found = format!("`{}`", receiver.id);
                let allowed = "which stands above; describe each receiver once";
                return Err(Invalid::new(&format!("receiver[{n}].id"), found, allowed));
            }
            floor.plan.receivers.push(built);
        }
        for id in self.receiver_ids() {
            if !floor.plan.receivers.iter().any(|known| known.id == id) {
                let height = single(USUAL_HEIGHT);
                let path_loss = place::PathLoss::default();
                let receiver = FloorReceiver {
                    id,
                    position: None,
                    height,
                    offset_db: 0.0,
                    offset_error_db: None,
                    path_loss,
                };
                floor.plan.receivers.push(receiver);
            }
        }
        for (n, zone) in self.zone.iter().enumerate() {
            if let Some(shape) = shape(n, zone, &floor.plan.receivers)? {
                floor.plan.zones.push(FloorZone { kind: zone.kind.build(), shape });
                floor.zones.push(ZoneId::new(&zone.id));
            }
        }
        floor.plan.neighbours = self.neighbours(&floor.zones)?;
        Ok(floor)
    }

    /// Checks the floor plan. Where it decides, every zone needs a place on it.
    pub(super) fn check_floor(&self) -> Result<(), Invalid> {
        let floor = self.floor()?;
        let decides = self.presence.zones_by == ZonesBy::Auto
            && floor.plan.method() == Method::Plan
            && !floor.zones.is_empty();
        let nowhere = |zone: &ZoneSettings| zone.polygon.is_empty() && zone.receivers.is_empty();
        match self.zone.iter().position(nowhere).filter(|_| decides) {
            None => Ok(()),
            Some(n) => {
                let allowed = "on a floor plan each zone needs corners, or `receivers`, or nobody \
                               would ever enter it; or say `presence.zones_by = \"thresholds\"`";
                Err(Invalid::new(&format!("zone[{n}].polygon"), "not given", allowed))
            }
        }
    }

    /// The plan by which zones are decided, and what its zones are among `zones`; none where
    /// thresholds decide.
    ///
    /// Without positions it takes zones that say nothing but which receivers they are around: who
    /// gave one a threshold of its own, or left one without receivers, has told them apart by
    /// loudness.
    pub(super) fn presence_floor(&self, zones: &[Zone]) -> Option<PresenceFloor> {
        let Floor { plan, zones: names } = self.floor().ok()?;
        let around = |zone: &ZoneSettings| {
            let thresholds = zone.enter_rssi.is_some() || zone.exit_rssi.is_some();
            zone.polygon.is_empty() && !zone.receivers.is_empty() && !thresholds
        };
        let good_enough = match plan.method() {
            Method::Plan => true,
            Method::Nearest => self.zone.iter().all(around),
            Method::Threshold => false,
        };
        let meant = plan.zones.iter().zip(&names).map(|(placed, name)| {
            let public = placed.kind != place::ZoneKind::Private;
            zones.iter().position(|zone| zone.id == *name).filter(|_| public)
        });
        let meant: Vec<Option<usize>> = meant.collect();
        let decides = self.presence.zones_by == ZonesBy::Auto
            && good_enough
            && meant.iter().any(Option::is_some);
        decides.then_some(PresenceFloor { plan, zones: meant })
    }

    /// What no event may name: private zones, and the receivers that hang there.
    pub(super) fn private(&self) -> Private {
        let private = || self.zone.iter().filter(|zone| zone.kind == ZoneKind::Private);
        let plan = self.floor().unwrap_or_default().plan;
        let hangs_there = |receiver: &&FloorReceiver| {
            let zone = receiver.position.and_then(|position| plan.zone_at(position));
            let zone = zone.and_then(|zone| plan.zones.get(zone));
            zone.is_some_and(|zone| zone.kind == place::ZoneKind::Private)
        };
        let around = private().flat_map(|zone| &zone.receivers).map(|name| ReceiverId::new(name));
        let inside = plan.receivers.iter().filter(hangs_there).map(|receiver| receiver.id.clone());
        Private {
            zones: private().map(|zone| ZoneId::new(&zone.id)).collect(),
            receivers: around.chain(inside).collect(),
        }
    }

    /// Which zones border on which: a zone that is named as a neighbour has the other as its own.
    fn neighbours(&self, placed: &[ZoneId]) -> Result<Vec<(usize, usize)>, Invalid> {
        let mut pairs = Vec::new();
        for (n, zone) in self.zone.iter().enumerate() {
            for neighbour in &zone.neighbours {
                let is_zone = self.zone.iter().any(|other| other.id == *neighbour);
                if !is_zone || *neighbour == zone.id {
                    let allowed = "name the `id` of another [[zone]]";
                    let key = format!("zone[{n}].neighbours");
                    return Err(Invalid::new(&key, format!("`{neighbour}`"), allowed));
                }
                let index = |id: &str| placed.iter().position(|placed| placed.as_str() == id);
                pairs.extend(index(&zone.id).zip(index(neighbour)));
            }
        }
        Ok(pairs)
    }

    /// The receivers that zones may name.
    pub(super) fn known_receivers(&self) -> Vec<ReceiverId> {
        let mut known = self.receiver_ids();
        for receiver in &self.receiver {
            let id = ReceiverId::new(&receiver.id);
            if !known.contains(&id) {
                known.push(id);
            }
        }
        known
    }
}

fn shape(
    n: usize,
    zone: &ZoneSettings,
    receivers: &[FloorReceiver],
) -> Result<Option<Shape>, Invalid> {
    let key = format!("zone[{n}].polygon");
    if zone.polygon.is_empty() {
        let named =
            |receiver: &FloorReceiver| zone.receivers.iter().any(|id| id == receiver.id.as_str());
        let around: Vec<usize> = receivers
            .iter()
            .enumerate()
            .filter(|(_, receiver)| named(receiver))
            .map(|(index, _)| index)
            .collect();
        return Ok((!around.is_empty()).then_some(Shape::Around(around)));
    }
    if zone.polygon.len() > MOST_CORNERS {
        let found = format!("{} corners", zone.polygon.len());
        return Err(Invalid::new(&key, found, "allowed are 3 to 256"));
    }
    let corners = zone.polygon.iter().map(|[x, y]| point(*x, *y)).collect();
    Polygon::new(corners).map(|polygon| Some(Shape::Polygon(polygon))).map_err(|why| {
        let (found, allowed) = match why {
            NotAPolygon::TooFew => (
                "fewer than three corners",
                "write at least three, like `[[0, 0], [4, 0], [4, 3]]`",
            ),
            NotAPolygon::NotANumber => {
                ("a corner that is off the map", "allowed are -10000 to 10000 metres")
            }
            NotAPolygon::Crossing => (
                "a line that crosses itself",
                "write the corners in the order in which one walks around the zone",
            ),
            NotAPolygon::Flat => ("without area", "write corners that are not in one line"),
        };
        Invalid::new(&key, found, allowed)
    })
}

fn point(x: f64, y: f64) -> Point {
    Point::new(single(x), single(y))
}

pub(super) fn single(number: f64) -> f32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "millimetres are more than anyone measures"
    )]
    let single = number as f32;
    single
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Settings {
        let source = config::File::from_str(toml, config::FileFormat::Toml);
        config::Config::builder().add_source(source).build().unwrap().try_deserialize().unwrap()
    }

    #[test]
    fn a_plan_has_receivers_with_and_without_a_place_and_zones_of_both_shapes() {
        let settings = read(
            r#"
            scan.receiver = "counter"
            [[receiver]]
            id = "door"
            position = [0.5, 2]
            rssi_offset = -3
            [[zone]]
            id = "entrance"
            kind = "entrance"
            polygon = [[0, 0], [4, 0], [4, 3], [0, 3]]
            [[zone]]
            id = "till"
            kind = "checkout"
            receivers = ["counter"]
            [[zone]]
            id = "anywhere"
            "#,
        );
        settings.check().unwrap();
        let Floor { plan, zones } = settings.floor().unwrap();
        let names: Vec<&str> = plan.receivers.iter().map(|it| it.id.as_str()).collect();
        assert_eq!(names, ["door", "counter"]);
        let door = plan.receivers.first().unwrap();
        assert_eq!((door.position, door.offset_db), (Some(Point::new(0.5, 2.0)), -3.0));
        assert_eq!(zones, [ZoneId::new("entrance"), ZoneId::new("till")]);
        assert_eq!(plan.zones[1].shape, Shape::Around(vec![1]));
        assert_eq!(plan.zones[0].kind, place::ZoneKind::Entrance);
    }

    /// A plan with a zone that is nowhere on it.
    const PLACELESS: &str = r#"
        receiver = [{ id = "a", position = [0, 0] }, { id = "b", position = [9, 0] }]
        zone = [{ id = "till", receivers = ["b"] }, { id = "nowhere" }]"#;

    fn decided_by_plan(toml: &str) -> Option<Vec<Option<usize>>> {
        let settings = read(toml);
        settings.check().unwrap();
        settings.presence().floor.map(|floor| floor.zones)
    }

    #[test]
    fn a_plan_decides_where_it_can_tell_zones_apart_and_thresholds_elsewhere() {
        let placed = |zones: &str| {
            let receivers = r#"[{ id = "a", position = [0, 0] }, { id = "b", position = [9, 0] }]"#;
            decided_by_plan(&format!("receiver = {receivers}\nzone = [{zones}]"))
        };
        let polygon = r#"{ id = "wine", polygon = [[0, 0], [4, 0], [4, 4]] }"#;
        let toilet = r#"{ id = "toilet", kind = "private", receivers = ["b"] }"#;
        assert_eq!(placed(&format!("{toilet}, {polygon}")), Some(vec![None, Some(0)]));
        assert_eq!(placed(toilet), None, "nothing could be named");
        assert_eq!(placed(r#"{ id = "anywhere" }"#), None);
        let unwanted = PLACELESS.replacen('\n', "\npresence.zones_by = \"thresholds\"\n", 1);
        assert_eq!(decided_by_plan(&unwanted), None);

        let heard = |zones: &str| {
            let receivers = r#"receiver = [{ id = "a" }, { id = "b" }]"#;
            decided_by_plan(&format!("scan.receiver = \"a\"\n{receivers}\nzone = [{zones}]"))
        };
        let (a, b) = (r#"{ id = "x", receivers = ["a"] }"#, r#"{ id = "y", receivers = ["b"] }"#);
        assert_eq!(heard(&format!("{a}, {b}")), Some(vec![Some(0), Some(1)]));
        let louder = r#"{ id = "till", receivers = ["b"], enter_rssi = -55 }"#;
        assert_eq!(heard(&format!("{a}, {b}, {louder}")), None);
        assert_eq!(heard(&format!("{a}, {b}, {{ id = \"shop\" }}")), None);
        assert_eq!(decided_by_plan("zone = [{ id = \"x\", receivers = [\"local\"] }]"), None);
    }

    #[test]
    fn a_receiver_in_a_private_place_is_as_private() {
        let private = read(
            r#"
            scan.receiver = "till"
            receiver = [{ id = "a", position = [1, 1] }, { id = "b", position = [9, 0] }, { id = "c" }]
            [[zone]]
            id = "toilet"
            kind = "private"
            polygon = [[0, 0], [4, 0], [4, 4], [0, 4]]
            [[zone]]
            id = "prayer"
            kind = "private"
            receivers = ["c"]
            [[zone]]
            id = "rest"
            receivers = ["b", "till"]
            "#,
        );
        private.check().unwrap();
        let Private { mut receivers, zones } = private.presence().private;
        receivers.sort_unstable();
        assert_eq!(receivers, [ReceiverId::new("a"), ReceiverId::new("c")]);
        assert_eq!(zones, [ZoneId::new("toilet"), ZoneId::new("prayer")]);
    }

    #[test]
    fn what_was_measured_of_a_shop_and_its_walls_and_doors_reach_the_plan() {
        let settings = read(
            r#"
            floor.exponent = 2.1
            [[receiver]]
            id = "door"
            exponent = 1.7
            spread_db = 4
            [[receiver]]
            id = "till"
            [[wall]]
            line = [[0, 3], [4, 3], [4, 8]]
            loss_db = 8
            [[zone]]
            id = "sales"
            receivers = ["door"]
            neighbours = ["tills", "undrawn"]
            [[zone]]
            id = "tills"
            receivers = ["till"]
            [[zone]]
            id = "undrawn"
            "#,
        );
        settings.check().unwrap();
        let plan = settings.floor().unwrap().plan;
        assert_eq!(plan.path_loss.exponent, Some(2.1));
        let door = plan.receivers[0].path_loss;
        assert_eq!((door.exponent, door.spread_db), (Some(1.7), Some(4.0)));
        assert_eq!(plan.receivers[1].path_loss, place::PathLoss::default());
        let (from, corner) = (Point::new(0.0, 3.0), Point::new(4.0, 3.0));
        let walls = [(from, corner), (corner, Point::new(4.0, 8.0))];
        assert_eq!(plan.walls, walls.map(|(from, to)| place::Wall { from, to, loss_db: 8.0 }));
        assert_eq!(plan.neighbours, [(0, 1)], "a zone without a place borders on nothing");
    }

    #[test]
    fn what_makes_no_plan_is_refused_with_its_key() {
        for (toml, key) in [
            ("[[receiver]]\nid = \"a b\"", "receiver[0].id"),
            ("[[receiver]]\nid = \"a\"\n[[receiver]]\nid = \"a\"", "receiver[1].id"),
            ("[[receiver]]\nid = \"a\"\nposition = [1]", "receiver[0].position"),
            ("[[receiver]]\nid = \"a\"\nposition = [1, 2, 99]", "receiver[0].position"),
            ("[[receiver]]\nid = \"a\"\nposition = [1, nan]", "receiver[0].position"),
            ("[[receiver]]\nid = \"a\"\nrssi_offset = 99", "receiver[0].rssi_offset"),
            ("[[receiver]]\nid = \"a\"\nexponent = 0.5", "receiver[0].exponent"),
            ("floor.exponent = 7", "floor.exponent"),
            ("floor.reference_dbm = 10", "floor.reference_dbm"),
            ("floor.spread_db = nan", "floor.spread_db"),
            ("[[wall]]\nline = [[0, 0]]", "wall[0].line"),
            ("[[wall]]\nline = [[0, 0], [1, inf]]", "wall[0].line"),
            ("[[wall]]\nline = [[0, 0], [1, 0]]\nloss_db = -1", "wall[0].loss_db"),
            ("[[zone]]\nid = \"z\"\nneighbours = [\"z\"]", "zone[0].neighbours"),
            ("[[zone]]\nid = \"z\"\nneighbours = [\"attic\"]", "zone[0].neighbours"),
            ("[[zone]]\nid = \"z\"\npolygon = [[0, 0], [1, 0]]", "zone[0].polygon"),
            (PLACELESS, "zone[1].polygon"),
            ("[[zone]]\nid = \"z\"\npolygon = [[0, 0], [1, 1], [1, 0], [0, 1]]", "zone[0].polygon"),
        ] {
            let refused = read(toml).check().unwrap_err();
            assert_eq!(refused.key, key, "{toml}");
        }
    }

    #[test]
    fn a_private_zone_is_no_zone_of_any_event() {
        let settings =
            read("[[zone]]\nid = \"toilet\"\nkind = \"private\"\n[[zone]]\nid = \"wine\"");
        settings.check().unwrap();
        let zones: Vec<ZoneId> = settings.presence().zones.into_iter().map(|it| it.id).collect();
        assert_eq!(zones, [ZoneId::new("wine")]);
        let alone = read("[[zone]]\nid = \"toilet\"\nkind = \"private\"").presence().zones;
        assert_eq!(alone.first().map(|it| it.id.as_str()), Some("shop"));
    }
}

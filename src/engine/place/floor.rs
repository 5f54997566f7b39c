//! The floor plan: what zones there are, and where the receivers hang.

use super::polygon::{Extent, Point, Polygon, touch};
use crate::engine::ReceiverId;

/// What a zone is for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ZoneKind {
    /// Where people come in and go out.
    Entrance,
    /// Where they pay.
    Checkout,
    /// Where they try on.
    FittingRoom,
    /// Where goods are: every zone that is nothing else.
    #[default]
    Shelf,
    /// Where only staff go.
    Staff,
    /// Where nobody's presence is anybody's business: it never appears in anything.
    Private,
}

/// Where a zone is.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Within lines.
    Polygon(Polygon),
    /// Wherever one of these receivers is the nearest: indices into [`FloorPlan::receivers`].
    Around(Vec<usize>),
}

/// A zone of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct FloorZone {
    /// What it is for.
    pub kind: ZoneKind,
    /// Where it is.
    pub shape: Shape,
}

/// A receiver of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct FloorReceiver {
    /// Its name.
    pub id: ReceiverId,
    /// Where it hangs on the plan; `None` when that is not known.
    pub position: Option<Point>,
    /// How high above the floor, in metres.
    pub height: f32,
    /// What it hears more than others, in dB: -6 for one that hears everything 6 dB fainter.
    pub offset_db: f32,
    /// How far off that may well be, in dB, one standard deviation, where it was measured.
    pub offset_error_db: Option<f32>,
    /// The law of distance as it was measured for this receiver; the plan's where it says nothing.
    pub path_loss: PathLoss,
}

/// How a signal falls with distance, as far as that was measured: what is `None` is the next wider
/// one's, in the end the [`Model`](super::Model)'s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathLoss {
    /// 10 times this many dB are lost for each tenfold of the distance.
    pub exponent: Option<f32>,
    /// Signal strength one metre from a tag that a person carries, in dBm.
    pub reference_dbm: Option<f32>,
    /// Spread of readings about the law, in dB.
    pub spread_db: Option<f32>,
}

/// A straight wall, or anything else that nobody walks through: shelves, a counter, glass. Doors are
/// gaps between walls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wall {
    /// One end.
    pub from: Point,
    /// The other.
    pub to: Point,
    /// What it takes from a signal, in dB; 0 for a counter, over which signals go.
    pub loss_db: f32,
}

/// The plan of a shop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloorPlan {
    /// The zones. Where two overlap, the first one is meant.
    pub zones: Vec<FloorZone>,
    /// The receivers.
    pub receivers: Vec<FloorReceiver>,
    /// Where people can be at all; otherwise around all zones and receivers.
    pub extent: Option<Extent>,
    /// The law of distance as it was measured in this shop.
    pub path_loss: PathLoss,
    /// What stands in the way of people and signals.
    pub walls: Vec<Wall>,
    /// Zones between which people can go directly, as indices into [`FloorPlan::zones`]. A zone that
    /// no pair names borders on all. Only [`Method::Nearest`] asks: on a plan, walls say it.
    pub neighbours: Vec<(usize, usize)>,
}

/// How well somebody can be placed with a plan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// On the plan: two receivers or more have a position.
    Plan,
    /// By who hears best, over time: no two positions are known, but two receivers are.
    Nearest,
    /// Not at all: a single receiver tells near from far and no more.
    Threshold,
}

/// Where no lines are drawn, people are at most this far outside of the receivers, in metres:
/// receivers hang on walls, or near them.
const MARGIN: f32 = 1.0;

impl ZoneKind {
    /// Every kind with its name in the configuration.
    pub const ALL: [(&'static str, Self); 6] = [
        ("entrance", Self::Entrance),
        ("checkout", Self::Checkout),
        ("fitting_room", Self::FittingRoom),
        ("shelf", Self::Shelf),
        ("staff", Self::Staff),
        ("private", Self::Private),
    ];
}

impl PathLoss {
    /// What is known here, else what is known there.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            exponent: self.exponent.or(other.exponent),
            reference_dbm: self.reference_dbm.or(other.reference_dbm),
            spread_db: self.spread_db.or(other.spread_db),
        }
    }
}

impl Wall {
    /// Whether it stands between two places, or ends at the line between them.
    pub fn parts(&self, one: Point, other: Point) -> bool {
        touch((self.from, self.to), (one, other))
    }
}

impl FloorPlan {
    /// How well somebody can be placed with it.
    pub fn method(&self) -> Method {
        let placed = self.receivers.iter().filter(|receiver| receiver.position.is_some()).count();
        match (placed, self.receivers.len()) {
            (2.., _) => Method::Plan,
            (_, 2..) => Method::Nearest,
            _ => Method::Threshold,
        }
    }

    /// Where people can be; none when nothing has a place.
    pub fn extent(&self) -> Option<Extent> {
        self.extent.or_else(|| {
            let corners = self.zones.iter().flat_map(|zone| match &zone.shape {
                Shape::Polygon(polygon) => polygon.corners(),
                Shape::Around(_) => &[],
            });
            let receivers = self.receivers.iter().filter_map(|receiver| receiver.position);
            let around = self.zones.iter().any(|zone| matches!(zone.shape, Shape::Around(_)));
            let margin = if around || self.zones.is_empty() { MARGIN } else { 0.0 };
            let receivers = Extent::around(receivers).map(|it| it.widened(margin));
            let ends = receivers.into_iter().flat_map(|it| [it.least, it.most]);
            Extent::around(corners.copied().chain(ends))
        })
    }

    /// The zone of a place: the first one drawn around it, else the first one whose receiver is the
    /// nearest; an index into [`FloorPlan::zones`].
    pub fn zone_at(&self, point: Point) -> Option<usize> {
        let drawn = self.zones.iter().position(|zone| match &zone.shape {
            Shape::Polygon(polygon) => polygon.contains(point),
            Shape::Around(_) => false,
        });
        drawn.or_else(|| self.zone_of_receiver(self.nearest(point)?))
    }

    /// The zone that a receiver stands for: the first that names it, else the one that it hangs in.
    pub fn zone_heard_by(&self, receiver: usize) -> Option<usize> {
        self.zone_of_receiver(receiver)
            .or_else(|| self.zone_at(self.receivers.get(receiver)?.position?))
    }

    /// Whether people can go from one zone to the other without crossing a third.
    pub fn borders(&self, one: usize, other: usize) -> bool {
        let named = |zone| self.neighbours.iter().any(|&(a, b)| a == zone || b == zone);
        let pair = |&(a, b): &(usize, usize)| (a, b) == (one, other) || (b, a) == (one, other);
        one == other || !named(one) || !named(other) || self.neighbours.iter().any(pair)
    }

    fn zone_of_receiver(&self, receiver: usize) -> Option<usize> {
        self.zones.iter().position(|zone| match &zone.shape {
            Shape::Polygon(_) => false,
            Shape::Around(receivers) => receivers.contains(&receiver),
        })
    }

    fn nearest(&self, point: Point) -> Option<usize> {
        let placed = self.receivers.iter().enumerate();
        let placed = placed.filter_map(|(index, receiver)| Some((index, receiver.position?)));
        placed
            .min_by(|(_, a), (_, b)| point.distance(*a).total_cmp(&point.distance(*b)))
            .map(|(index, _)| index)
    }
}

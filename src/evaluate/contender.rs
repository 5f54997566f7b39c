//! Who competes: readings in, stays in zones out.

use super::{
    rivals::{Bermuda, Espresense, RoomAssistant, Smoothed, Strongest, Windowed},
    walk::{Reading, Walk},
};
use crate::engine::{
    Uptime,
    place::{FloorPlan, Model, Places, Point, Track, Whereabouts},
};

/// A method by name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MethodName {
    /// The gateway's own estimator.
    Gateway,
    /// Whoever's newest reading is the loudest.
    Strongest,
    /// Whoever heard it loudest, on the mean of 5 s.
    Loudest,
    /// Exponential smoothing with hysteresis.
    Smoothing,
    /// `ESPresense`.
    Espresense,
    /// Bermuda.
    Bermuda,
    /// room-assistant.
    RoomAssistant,
}

/// All of them, the gateway's own first.
pub const METHODS: [MethodName; 7] = [
    MethodName::Gateway,
    MethodName::Strongest,
    MethodName::Loudest,
    MethodName::Smoothing,
    MethodName::Espresense,
    MethodName::Bermuda,
    MethodName::RoomAssistant,
];

/// One method at work.
#[derive(Debug)]
pub enum Contender {
    /// The gateway's own estimator.
    Gateway(Box<Places>, Box<Track>),
    /// Any that names a receiver.
    Rival(Rival),
}

/// A method that knows receivers, not places: the zone is that of the receiver that it names.
#[derive(Debug)]
pub enum Rival {
    /// Whoever's newest reading is the loudest.
    Strongest(Strongest),
    /// The loudest on the mean of some seconds.
    Loudest(Windowed),
    /// Exponential smoothing with hysteresis.
    Smoothing(Smoothed),
    /// `ESPresense`.
    Espresense(Espresense),
    /// Bermuda.
    Bermuda(Bermuda),
    /// room-assistant.
    RoomAssistant(RoomAssistant),
}

/// A stay in a zone, as a method announced it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stay {
    /// Where; none outside of all zones.
    pub zone: Option<usize>,
    /// Nobody could tell.
    pub unknown: bool,
    /// From when, as the announcement dates it.
    pub since: Uptime,
    /// When it was announced.
    pub noticed: Uptime,
}

/// What a method said at the end of a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// When.
    pub at: Uptime,
    /// Where the tag is taken to be.
    pub position: Option<Point>,
    /// How sure it is of the announced zone.
    pub confidence: Option<f64>,
}

/// What a method made of a walk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Stays, oldest first.
    pub stays: Vec<Stay>,
    /// Second by second.
    pub moments: Vec<Moment>,
}

impl MethodName {
    /// What it is called in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "beacon-gateway",
            Self::Strongest => "strongest signal",
            Self::Loudest => "loudest over 5 s",
            Self::Smoothing => "smoothing, hysteresis",
            Self::Espresense => "ESPresense",
            Self::Bermuda => "Bermuda",
            Self::RoomAssistant => "room-assistant",
        }
    }
}

impl Contender {
    /// Gets a method ready.
    pub fn new(method: MethodName, plan: &FloorPlan, model: &Model) -> Self {
        let receivers = plan.receivers.len();
        Self::Rival(match method {
            MethodName::Gateway => {
                let places = Places::new(plan, model.clone());
                let track = places.track();
                return Self::Gateway(Box::new(places), Box::new(track));
            }
            MethodName::Strongest => Rival::Strongest(Strongest::new(receivers)),
            MethodName::Loudest => Rival::Loudest(Windowed::new(receivers)),
            MethodName::Smoothing => Rival::Smoothing(Smoothed::new(receivers)),
            MethodName::Espresense => Rival::Espresense(Espresense::new(receivers)),
            MethodName::Bermuda => Rival::Bermuda(Bermuda::new(receivers)),
            MethodName::RoomAssistant => Rival::RoomAssistant(RoomAssistant::new(receivers)),
        })
    }

    /// Lets it follow a walk.
    pub fn run(mut self, plan: &FloorPlan, walk: &Walk) -> Run {
        let mut run = Run::default();
        let (first, last) = walk.span();
        let mut second = first + SECOND;
        for reading in &walk.readings {
            while second <= reading.at && second <= last {
                self.pass(second, plan, &mut run);
                second = second + SECOND;
            }
            self.observe(reading, plan, &mut run);
        }
        while second <= last + SECOND {
            self.pass(second, plan, &mut run);
            second = second + SECOND;
        }
        run
    }

    fn observe(&mut self, reading: &Reading, plan: &FloorPlan, run: &mut Run) {
        match self {
            Self::Gateway(places, track) => {
                let Reading { at, receiver, rssi } = *reading;
                steps(places, track, at, run);
                match rssi {
                    Some(rssi) => places.observe(track, at, receiver, rssi),
                    None => places.heard(at, receiver),
                }
            }
            Self::Rival(rival) => {
                if let Some(rssi) = reading.rssi {
                    rival.observe(reading.at, reading.receiver, rssi);
                    rival.tell(reading.at, plan, run);
                }
            }
        }
    }

    /// A second has passed.
    fn pass(&mut self, at: Uptime, plan: &FloorPlan, run: &mut Run) {
        let (position, confidence) = match self {
            Self::Gateway(places, track) => {
                steps(places, track, at, run);
                let estimate = places.estimate(track);
                let known = estimate.announced != Whereabouts::Unknown;
                (estimate.position, known.then_some(estimate.confidence))
            }
            Self::Rival(rival) => {
                rival.tell(at, plan, run);
                (None, None)
            }
        };
        run.moments.push(Moment { at, position, confidence });
    }
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

fn steps(places: &mut Places, track: &mut Track, now: Uptime, run: &mut Run) {
    while let Some(step) = places.step(track, now) {
        if let Some(change) = step.change {
            let zone = match change.to {
                Whereabouts::Zone(zone) => Some(zone),
                Whereabouts::Elsewhere | Whereabouts::Unknown => None,
            };
            let unknown = change.to == Whereabouts::Unknown;
            run.stays.push(Stay { zone, unknown, since: change.since, noticed: change.noticed });
        }
    }
}

impl Rival {
    fn observe(&mut self, at: Uptime, receiver: usize, rssi: f32) {
        match self {
            Self::Strongest(it) => it.observe(at, receiver, rssi),
            Self::Loudest(it) => it.observe(at, receiver, rssi),
            Self::Smoothing(it) => it.observe(receiver, rssi),
            Self::Espresense(it) => it.observe(at, receiver, rssi),
            Self::Bermuda(it) => it.observe(at, receiver, rssi),
            Self::RoomAssistant(it) => it.observe(at, receiver, rssi),
        }
    }

    fn tell(&mut self, at: Uptime, plan: &FloorPlan, run: &mut Run) {
        let receiver = match self {
            Self::Strongest(it) => it.nearest(at),
            Self::Loudest(it) => it.nearest(at),
            Self::Smoothing(it) => it.nearest(),
            Self::Espresense(it) => it.nearest(),
            Self::Bermuda(it) => it.nearest(at),
            Self::RoomAssistant(it) => it.nearest(at),
        };
        let zone = receiver.and_then(|receiver| plan.zone_heard_by(receiver));
        let unknown = receiver.is_none();
        if run.stays.last().is_none_or(|stay| (stay.zone, stay.unknown) != (zone, unknown)) {
            run.stays.push(Stay { zone, unknown, since: at, noticed: at });
        }
    }
}

//! A shop with a floor plan, people who walk through it and six receivers, in virtual time, from a
//! seed. Whoever plays it knows where everybody truly is.

use std::{
    collections::{BTreeMap, VecDeque},
    f32::consts::TAU,
    sync::Arc,
    time::Duration,
};

use beacon_gateway::{
    chance::Rng,
    engine::{
        AddressKind, AddressSeed, Advertisement, ClockQuality, Consent, DeviceAddress, Engine,
        Identifier, Identity, IdentitySettings, PresenceFloor, PresenceSettings, Private,
        Pseudonym, Purpose, RadioState, ReceiverId, Registry, Rssi, Situation, Subject,
        SubjectKind, UnixTime, Uptime, VisitId, WallClock, Zone, ZoneId,
        place::{
            Extent, FloorPlan, FloorReceiver, FloorZone, PathLoss, Point, Polygon, Shape, ZoneKind,
        },
    },
};

pub(super) const EXIT_TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const MERGE_GAP: Duration = Duration::from_mins(2);
pub(super) const LOITERING: [Duration; 2] = [Duration::from_secs(20), Duration::from_mins(1)];

/// The door, in the entrance.
pub(super) const DOOR: Point = Point::new(0.3, 2.5);

/// Name, kind, and two corners, in metres. The first that contains a place is meant.
pub(super) const ZONES: [(&str, ZoneKind, [f32; 4]); 6] = [
    ("entrance", ZoneKind::Entrance, [0.0, 0.0, 5.0, 5.0]),
    ("wine", ZoneKind::Shelf, [5.0, 0.0, 11.0, 5.0]),
    ("till", ZoneKind::Checkout, [11.0, 0.0, 16.0, 5.0]),
    ("dairy", ZoneKind::Shelf, [0.0, 5.0, 7.0, 10.0]),
    ("toilet", ZoneKind::Private, [7.0, 5.0, 10.0, 10.0]),
    ("store", ZoneKind::Staff, [10.0, 5.0, 16.0, 10.0]),
];

/// Where the receivers hang, in metres.
const RECEIVERS: [(f32, f32); 6] =
    [(2.0, 1.0), (8.0, 0.5), (14.0, 1.0), (2.0, 9.0), (8.0, 9.5), (14.0, 9.0)];

pub(super) fn s(seconds: f64) -> Uptime {
    Uptime::ZERO + Duration::from_secs_f64(seconds)
}

pub(super) fn receiver(number: usize) -> ReceiverId {
    ReceiverId::new(&format!("r{number}"))
}

pub(super) fn plan() -> FloorPlan {
    let zones = ZONES.iter().map(|(_, kind, [x, y, to_x, to_y])| {
        let extent = Extent { least: Point::new(*x, *y), most: Point::new(*to_x, *to_y) };
        FloorZone { kind: *kind, shape: Shape::Polygon(Polygon::rectangle(extent).unwrap()) }
    });
    let receivers = RECEIVERS.iter().enumerate().map(|(number, (x, y))| FloorReceiver {
        id: receiver(number),
        position: Some(Point::new(*x, *y)),
        height: 2.5,
        offset_db: 0.0,
        offset_error_db: None,
        path_loss: PathLoss::default(),
    });
    FloorPlan { zones: zones.collect(), receivers: receivers.collect(), ..FloorPlan::default() }
}

/// What an operator with that plan would have configured; without the plan, thresholds decide.
pub(super) fn settings(with_plan: bool) -> PresenceSettings {
    let public = |kind: ZoneKind| kind != ZoneKind::Private;
    let mut zones = Vec::new();
    let mut meant = Vec::new();
    for (name, kind, _) in ZONES {
        meant.push(public(kind).then_some(zones.len()));
        if public(kind) {
            zones.push(Zone {
                id: ZoneId::new(name),
                enter_rssi: -82.0,
                exit_rssi: -87.0,
                loitering: LOITERING.to_vec(),
                receivers: vec![],
            });
        }
    }
    PresenceSettings {
        zones,
        receivers: (0..RECEIVERS.len()).map(receiver).collect(),
        exit_timeout: EXIT_TIMEOUT,
        merge_gap: MERGE_GAP,
        floor: with_plan.then(|| PresenceFloor { plan: plan(), zones: meant }),
        // The one that hangs over the toilet.
        private: Private { zones: vec![ZoneId::new("toilet")], receivers: vec![receiver(4)] },
        ..PresenceSettings::default()
    }
}

/// Subjects by the minor numbers of their iBeacons.
pub(super) fn subject(kind: SubjectKind, minors: &[u16]) -> Subject {
    let ibeacon = |&minor| Identifier::IBeacon { proximity_uuid: [0xab; 16], major: 1, minor };
    Subject {
        pseudonym: Pseudonym::new(&format!("s{}", minors.first().unwrap())),
        kind,
        identifiers: minors.iter().map(ibeacon).collect(),
        consent: Some(Consent {
            purposes: [Purpose::Presence, Purpose::Journey].into_iter().collect(),
            from: UnixTime::from_millis(i64::MIN),
            until: None,
            proof: Arc::from("form-1"),
        }),
    }
}

pub(super) fn engine(subjects: Vec<Subject>, presence: PresenceSettings) -> Engine {
    let registry = Registry::new(subjects, vec![]).unwrap();
    let identity = Identity::new(registry, IdentitySettings::default(), AddressSeed::new(1));
    let mut engine = Engine::new(identity, presence, VisitId { epoch: 1, run: 0, number: 1 });
    let quality = ClockQuality::Synced;
    engine.handle_clock(WallClock { at: Uptime::ZERO, unix: UnixTime::from_millis(0), quality });
    for number in 0..RECEIVERS.len() {
        engine.handle_radio(Uptime::ZERO, &receiver(number), RadioState::Quiet);
    }
    engine
}

pub(super) fn ibeacon(minor: u16, heard_by: usize, dbm: f32) -> Advertisement {
    let mut data = vec![26, 0xff, 0x4c, 0x00, 0x02, 0x15];
    data.extend([0xab; 16]);
    data.extend(1_u16.to_be_bytes());
    data.extend(minor.to_be_bytes());
    data.push((-59_i8).cast_unsigned());
    let address = DeviceAddress::new([0xc0; 6], AddressKind::Random);
    #[expect(clippy::cast_possible_truncation, reason = "within what a radio reports")]
    let rssi = Rssi(dbm.clamp(-127.0, 20.0).round() as i8);
    Advertisement::new(Uptime::ZERO, receiver(heard_by), address, Some(rssi), &data)
}

/// The name of the zone that a place is truly in, a private one included.
pub(super) fn zone_at(at: Point) -> Option<&'static str> {
    let inside =
        |[x, y, to_x, to_y]: [f32; 4]| (x..to_x).contains(&at.x) && (y..to_y).contains(&at.y);
    ZONES.iter().find(|(_, _, corners)| inside(*corners)).map(|(name, ..)| *name)
}

/// Somebody with a tag.
pub(super) struct Walker {
    pub(super) minor: u16,
    pub(super) at: Point,
    /// When it is in the shop, in seconds.
    pub(super) inside: Vec<(f64, f64)>,
    /// How much weaker its tag is than others, in dB.
    pub(super) weaker: f32,
    goal: Point,
    pause: f32,
    heading: f32,
    /// Part of a second after which its tag sends.
    phase: f64,
    /// For each whole second where it truly was; none outside.
    pub(super) truth: Vec<Option<Point>>,
}

/// What is wrong with one of the receivers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Fault {
    pub(super) receiver: usize,
    /// From when until when it hears nothing, in seconds.
    pub(super) silent: (f64, f64),
    /// Whether the engine is told.
    pub(super) told: bool,
    /// How late everything comes that it hears.
    pub(super) late: Duration,
    /// How much fainter it hears, in dB.
    pub(super) fainter: f32,
}

/// The shop in which they walk.
pub(super) struct Shop {
    pub(super) rng: Rng,
    pub(super) engine: Engine,
    pub(super) walkers: Vec<Walker>,
    pub(super) fault: Fault,
    pub(super) trace: Vec<Situation>,
    pub(super) zones_on_disk: BTreeMap<ZoneId, u32>,
    /// How often a timer woke the engine.
    pub(super) wakes: u64,
    late: VecDeque<(Uptime, Advertisement)>,
    now: Uptime,
}

impl Walker {
    pub(super) fn new(minor: u16, inside: Vec<(f64, f64)>, rng: &mut Rng) -> Self {
        Self {
            minor,
            at: DOOR,
            inside,
            weaker: 0.0,
            goal: DOOR,
            pause: 0.0,
            heading: 0.0,
            phase: f64::from(rng.unit_f32()) * 0.9,
            truth: Vec::new(),
        }
    }

    /// One that lies where it is.
    pub(super) fn lying(minor: u16, at: Point, inside: Vec<(f64, f64)>, rng: &mut Rng) -> Self {
        Self { at, goal: at, pause: f32::INFINITY, ..Self::new(minor, inside, rng) }
    }

    /// A second of its life.
    fn live(&mut self, second: f64, rng: &mut Rng) {
        let span = self.inside.iter().find(|(from, to)| (*from..*to).contains(&second));
        let Some((_, to)) = span else {
            if self.pause.is_finite() {
                (self.at, self.goal, self.pause) = (DOOR, DOOR, 0.0);
            }
            return self.truth.push(None);
        };
        self.truth.push(Some(self.at));
        // The way to the door takes up to 17 s.
        if to - second < 20.0 && self.pause.is_finite() {
            (self.goal, self.pause) = (DOOR, 0.0);
        }
        if self.pause >= 1.0 {
            self.pause -= 1.0;
            return;
        }
        let way = self.at.distance(self.goal);
        if way < 1.0 {
            self.at = self.goal;
            if self.goal != DOOR || to - second >= 20.0 {
                self.pause = 5.0 + rng.unit_f32() * 40.0;
                self.goal = Point::new(0.5 + rng.unit_f32() * 15.0, 0.5 + rng.unit_f32() * 9.0);
            }
            return;
        }
        let (x, y) = ((self.goal.x - self.at.x) / way, (self.goal.y - self.at.y) / way);
        self.heading = y.atan2(x);
        self.at = Point::new(self.at.x + x, self.at.y + y);
    }

    /// How loud one receiver hears it; none when it does not.
    fn heard_at(&self, number: usize, rng: &mut Rng) -> Option<f32> {
        let (x, y) = *RECEIVERS.get(number)?;
        let to = Point::new(x, y);
        let distance = self.at.distance(to).hypot(1.3);
        // Shelves shadow the same places again and again; bodies those behind them.
        let furniture = 3.0 * (self.at.x * 1.3 + self.at.y * 0.7 + x * 3.0 + y * 5.0).sin();
        let turned = (y - self.at.y).atan2(x - self.at.x) - self.heading;
        let body = 4.0 * (1.0 - turned.cos());
        let dbm = -59.0 - 18.0 * distance.log10() - furniture - body + 3.0 * normal(rng);
        (rng.unit_f32() > 0.15).then_some(dbm - self.weaker).filter(|dbm| *dbm > -94.0)
    }
}

impl Shop {
    pub(super) fn new(seed: u64, engine: Engine) -> Self {
        Self {
            rng: Rng::new(seed),
            engine,
            walkers: Vec::new(),
            fault: Fault { receiver: usize::MAX, ..Fault::default() },
            trace: Vec::new(),
            zones_on_disk: BTreeMap::new(),
            wakes: 0,
            late: VecDeque::new(),
            now: Uptime::ZERO,
        }
    }

    /// Plays the seconds up to one.
    pub(super) fn play(&mut self, from: u32, to: u32) {
        for second in from..to {
            let second = f64::from(second);
            self.radio(second);
            let mut order: Vec<usize> = (0..self.walkers.len()).collect();
            order.sort_by(|a, b| self.walkers[*a].phase.total_cmp(&self.walkers[*b].phase));
            // Somebody who is nobody's customer is heard everywhere, so that receivers show they work.
            for number in 0..RECEIVERS.len() {
                self.air(second, ibeacon(999, number, -80.0), number);
            }
            for walker in order {
                let Some(walker) = self.walkers.get_mut(walker) else { continue };
                walker.live(second, &mut self.rng);
                if walker.truth.last().is_none_or(Option::is_none) {
                    continue;
                }
                let (minor, at) = (walker.minor, second + walker.phase);
                let heard: Vec<Option<f32>> = (0..RECEIVERS.len())
                    .map(|number| walker.heard_at(number, &mut self.rng))
                    .collect();
                for (number, dbm) in heard.into_iter().enumerate() {
                    let Some(dbm) = dbm else { continue };
                    let off = if number == self.fault.receiver { self.fault.fainter } else { 0.0 };
                    self.air(at, ibeacon(minor, number, dbm - off), number);
                }
            }
        }
        self.advance(s(f64::from(to)));
    }

    /// Lets time pass in which nothing is heard.
    pub(super) fn rest(&mut self, length: Duration) {
        let late: Vec<_> = self.late.drain(..).collect();
        for (due, advertisement) in late {
            self.hear(due, &advertisement);
        }
        self.advance(self.now + length);
        self.drain();
    }

    /// Tells what is told of the receiver that hears nothing.
    fn radio(&mut self, second: f64) {
        let (from, to) = self.fault.silent;
        let id = receiver(self.fault.receiver);
        if !self.fault.told {
            return;
        }
        let at = s(second);
        if at == s(from) {
            let cause = beacon_gateway::engine::DeafCause::Daemon;
            self.advance(at);
            self.engine.handle_radio(at, &id, RadioState::Deaf { since: at, cause });
        } else if at == s(to) {
            self.advance(at);
            self.engine.handle_radio(at, &id, RadioState::Quiet);
        }
        self.drain();
    }

    /// A receiver hears something, unless it is the one that hears nothing, or late.
    fn air(&mut self, at: f64, advertisement: Advertisement, number: usize) {
        let fault = self.fault;
        let now = s(at);
        while let Some((due, _)) = self.late.front().filter(|(due, _)| *due <= now) {
            let due = *due;
            if let Some((_, advertisement)) = self.late.pop_front() {
                self.hear(due, &advertisement);
            }
        }
        if number != fault.receiver {
            return self.hear(now, &advertisement);
        }
        if (fault.silent.0..fault.silent.1).contains(&at) {
            return;
        }
        if fault.late.is_zero() {
            self.hear(now, &advertisement);
        } else {
            self.late.push_back((now + fault.late, advertisement));
        }
    }

    pub(super) fn hear(&mut self, now: Uptime, advertisement: &Advertisement) {
        self.advance(now);
        self.engine.handle_advertisement(self.now, advertisement);
        self.drain();
    }

    /// Walks from deadline to deadline, as the shell does: never early, sometimes late.
    pub(super) fn advance(&mut self, to: Uptime) {
        for _ in 0..100_000 {
            let due = self.engine.poll_timeout().filter(|due| *due <= to);
            let Some(due) = due else {
                self.now = self.now.max(to);
                return;
            };
            self.wakes += 1;
            let late = due + Duration::from_millis(self.rng.bits() % 200);
            self.now = self.now.max(late.min(to));
            self.engine.handle_timeout(self.now);
            self.drain();
        }
        panic!("the engine never came to rest");
    }

    fn drain(&mut self) {
        self.trace.extend(std::iter::from_fn(|| self.engine.poll_event()));
        while let Some(checkpoint) = self.engine.poll_checkpoint() {
            for stay in checkpoint.visit.iter().flat_map(|visit| &visit.stays) {
                *self.zones_on_disk.entry(stay.zone.clone()).or_default() += 1;
            }
        }
    }
}

/// Box and Muller, "A note on the generation of random normal deviates", 1958.
fn normal(rng: &mut Rng) -> f32 {
    let radius = (-2.0 * rng.unit_f32().max(1e-5).ln()).sqrt();
    radius * (TAU * rng.unit_f32()).cos()
}

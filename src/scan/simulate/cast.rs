//! Who and what is in the shop: a seed and settings in, carriers with their devices out, together
//! with what the registry says about them.

use std::{sync::Arc, time::Duration};

use super::{
    Settings,
    bytes::{self, Data},
    device::{Device, Naming, Origin, Signal},
    enrolment::{self, Consent, Enrolment, Fixture, Identifier},
    plan::{Area, Plan, Point},
    rng::Rng,
    sensor::{Beacon, Climate, Door, Drift, Fridge},
};
use crate::engine::UnixTime;

/// Received power at 0 m that goes with -59 dBm at 1 m: 41 dB more, as Eddystone states it.
const POWER_AT_0_M: i8 = -18;
const POWER_AT_1_M: i8 = -59;

/// How something moves.
#[derive(Clone, Debug)]
pub(super) enum Habit {
    /// Not at all.
    Stands(Point),
    /// Comes, visits some zones, leaves, and comes back after a while.
    Shops { subject: Arc<str>, consented: bool },
    /// Is always in the shop and goes from zone to zone, remaining this long in each.
    Stays { subject: Arc<str>, for_seconds: (f64, f64) },
    /// Comes or passes by once; then somebody else does.
    Strolls,
}

/// Everybody and everything, and the papers about them.
pub(super) struct Cast {
    pub(super) carriers: Vec<(Habit, Vec<Device>)>,
    pub(super) enrolments: Vec<Enrolment>,
    pub(super) fixtures: Vec<Fixture>,
    rng: Rng,
    started: UnixTime,
    rotation: Duration,
}

/// The sorts of strangers; each one that comes is the next sort in turn, phones most often.
const STRANGERS: [Stranger; 10] = [
    Stranger::Phone,
    Stranger::FindMy,
    Stranger::Phone,
    Stranger::Named,
    Stranger::Exposure,
    Stranger::Phone,
    Stranger::Beacon,
    Stranger::Phone,
    Stranger::Medical,
    Stranger::Phone,
];

#[derive(Clone, Copy, Debug)]
enum Stranger {
    Phone,
    FindMy,
    Named,
    Exposure,
    Beacon,
    Medical,
}

// === impl Cast ===

impl Cast {
    pub(super) fn new(settings: &Settings, mut rng: Rng) -> Self {
        let mut cast = Self {
            carriers: Vec::new(),
            enrolments: Vec::new(),
            fixtures: Vec::new(),
            rng: rng.fork(),
            started: settings.started,
            rotation: settings.rotation,
        };
        cast.customers(settings);
        cast.belongings();
        cast.sensors(settings);
        cast.neighbours(&settings.plan);
        for _ in 0..settings.strangers {
            cast.carriers.push((Habit::Strolls, Vec::new()));
        }
        cast
    }

    /// One customer for each way to be recognised, one with two, and one whose consent is over.
    fn customers(&mut self, settings: &Settings) {
        const BOTH: &[&str] = &["presence", "journey"];
        let fleet: [u8; 16] = self.rng.bytes();

        let tag = self.ibeacon(fleet, 1, 1);
        self.customer("cust_ibeacon", BOTH, vec![tag]);

        let id: [u8; 20] = self.rng.bytes();
        let signal = Signal::Constant(bytes::altbeacon(id, POWER_AT_1_M));
        let naming = Naming::random_static(&mut self.rng);
        let tag = (Identifier::Altbeacon(hex::encode(id)), signal, naming, 300, None);
        self.customer("cust_altbeacon", BOTH, vec![tag]);

        let (namespace, instance): ([u8; 10], [u8; 6]) = (self.rng.bytes(), self.rng.bytes());
        let identifier = Identifier::EddystoneUid {
            namespace: hex::encode(namespace),
            instance: hex::encode(instance),
        };
        let signal = Signal::Constant(bytes::eddystone_uid(POWER_AT_0_M, namespace, instance));
        let naming = Naming::random_static(&mut self.rng);
        let tag = (identifier, signal, naming, 400, None);
        self.customer("cust_uid", &["presence"], vec![tag]);

        let tag = self.ephemeral(settings);
        self.customer("cust_eid", BOTH, vec![tag]);

        let tag = self.phone();
        self.customer("cust_phone", BOTH, vec![tag]);

        let tags = vec![self.phone(), self.ibeacon(fleet, 1, 2)];
        self.customer("cust_both", BOTH, tags);

        let tag = self.ibeacon(fleet, 1, 3);
        self.customer("cust_past", BOTH, vec![tag]);
    }

    /// A badge and a trolley, which never leave.
    fn belongings(&mut self) {
        let naming = Naming::random_static(&mut self.rng);
        let signal = Signal::Constant(Data::default().flags().name("Badge 12").finish());
        self.always_there("staff_badge", "staff", (signal, naming, 500), (6.0, 20.0));

        let naming = Naming::public(&mut self.rng);
        let content = [0x01, 0x64, 0x00, 0x2a];
        let signal =
            Signal::Constant(Data::default().flags().manufacturer(0xffff, &content).finish());
        self.always_there("asset_trolley", "asset", (signal, naming, 1022), (20.0, 60.0));
    }

    fn sensors(&mut self, settings: &Settings) {
        let plan = &settings.plan;

        let naming = Naming::random_static(&mut self.rng);
        let address = match &naming {
            Naming::Fixed(address) => address.octets(),
            _ => [0; 6],
        };
        let climate = Climate {
            address,
            temperature_c: self.drift(14.5, 0.4),
            humidity_pct: self.drift(62.0, 1.5),
            pressure_pa: self.drift(101_150.0, 40.0),
            sequence: 0,
        };
        // Ruuvi's firmware sends every 1285 ms.
        self.fixture("climate-1", plan, "wine", 1.6, (Signal::Climate(climate), naming, 1285));

        let fridge = Fridge::new(self.drift(0.0, 1.0), settings.fridge_cycle);
        let naming = Naming::public(&mut self.rng);
        self.fixture("fridge-1", plan, "dairy", 0.8, (Signal::Fridge(fridge), naming, 1000));

        let naming = Naming::random_static(&mut self.rng);
        let door = Signal::Door(Door::default());
        self.fixture("fridge-door-1", plan, "dairy", 1.2, (door, naming, 500));

        let (namespace, instance) = (self.rng.bytes(), self.rng.bytes());
        let beacon = Beacon {
            uid: bytes::eddystone_uid(POWER_AT_0_M, namespace, instance),
            temperature_c: self.drift(21.0, 0.3),
            age_s: 864_000.0,
            sent: 0,
        };
        let naming = Naming::random_static(&mut self.rng);
        let signal = Signal::Beacon(beacon);
        self.fixture("beacon-1", plan, &plan.checkout, 2.4, (signal, naming, 1000));
    }

    /// What can be heard day and night from next door, and something broken.
    fn neighbours(&mut self, plan: &Plan) {
        let fleet = self.rng.bytes();
        let beacon = bytes::ibeacon(fleet, 40, 7, POWER_AT_1_M);
        let poster = bytes::eddystone_url(POWER_AT_0_M, b"example\x07");
        let soundbar = Data::default().flags().name("Soundbar").finish();
        let (right, back) = (plan.width + 2.0, plan.depth + 2.0);
        for (signal, public, interval, at) in [
            (Signal::Constant(beacon), false, 350, Point::new(right, 2.0, 2.0)),
            (Signal::Constant(poster), false, 700, Point::new(3.0, -4.0, 1.5)),
            (Signal::Constant(soundbar), true, 1280, Point::new(5.0, back, 1.0)),
            (Signal::Broken(0), true, 900, Point::new(right, plan.corridor_y, 1.0)),
        ] {
            let naming = if public {
                Naming::public(&mut self.rng)
            } else {
                Naming::random_static(&mut self.rng)
            };
            let (rng, interval) = (self.rng.fork(), Duration::from_millis(interval));
            let device = Device::new(Origin::Stranger, rng, signal, naming, interval, None);
            self.carriers.push((Habit::Stands(at), vec![device]));
        }
    }

    fn ibeacon(&mut self, fleet: [u8; 16], major: u16, minor: u16) -> Tag {
        let uuid = uuid::Uuid::from_bytes(fleet).to_string();
        let signal = Signal::Constant(bytes::ibeacon(fleet, major, minor, POWER_AT_1_M));
        let naming = Naming::random_static(&mut self.rng);
        (Identifier::Ibeacon { uuid, major, minor }, signal, naming, 200, None)
    }

    fn phone(&mut self) -> Tag {
        let irk: [u8; 16] = self.rng.bytes();
        let signal = Signal::Phone(self.rng.bytes());
        let naming = Naming::Resolvable(irk);
        (Identifier::Irk(hex::encode(irk)), signal, naming, 250, Some(self.rotation))
    }

    fn ephemeral(&mut self, settings: &Settings) -> Tag {
        let key: [u8; 16] = self.rng.bytes();
        // The battery went in some days ago, at a whole second.
        let age = Duration::from_hours(240).mul_f64(1.0 + self.rng.unit()).as_secs();
        let zero = self.started.as_millis().div_euclid(1000) - i64::try_from(age).unwrap_or(0);
        let identifier = Identifier::EddystoneEid {
            identity_key: hex::encode(key),
            rotation_exponent: settings.eid_exponent(),
            clock_zero: enrolment::rfc3339(zero.saturating_mul(1000)),
        };
        let fast = i64::try_from(settings.eid_clock_error.as_millis()).unwrap_or(0);
        let clock_zero = UnixTime::from_millis(zero.saturating_mul(1000).saturating_sub(fast));
        let exponent = settings.eid_exponent();
        let signal = Signal::Ephemeral { key, exponent, clock_zero, power: POWER_AT_0_M };
        (identifier, signal, Naming::Unresolvable, 400, None)
    }

    fn customer(&mut self, subject: &str, purposes: &'static [&'static str], tags: Vec<Tag>) {
        let subject: Arc<str> = Arc::from(subject);
        let consented = &*subject != "cust_past";
        let mut identifiers = Vec::new();
        let mut devices = Vec::new();
        for (identifier, signal, naming, interval, rotation) in tags {
            identifiers.push(identifier);
            let (origin, rng) = (Origin::Subject(subject.clone()), self.rng.fork());
            let interval = Duration::from_millis(interval);
            let device = Device::new(origin, rng, signal, naming, interval, rotation);
            devices.push(device.carried());
        }
        self.enrol(subject.clone(), "customer", identifiers, purposes, consented);
        self.carriers.push((Habit::Shops { subject, consented }, devices));
    }

    fn always_there(
        &mut self,
        subject: &str,
        kind: &'static str,
        (signal, naming, interval): Plain,
        for_seconds: (f64, f64),
    ) {
        let subject: Arc<str> = Arc::from(subject);
        let (origin, rng) = (Origin::Subject(subject.clone()), self.rng.fork());
        let interval = Duration::from_millis(interval);
        let mut device = Device::new(origin, rng, signal, naming, interval, None);
        if kind == "staff" {
            device = device.carried();
        }
        let identifiers = vec![Identifier::Address(enrolment::written(device.address()))];
        self.enrol(subject.clone(), kind, identifiers, &["presence", "journey"], true);
        self.carriers.push((Habit::Stays { subject, for_seconds }, vec![device]));
    }

    fn enrol(
        &mut self,
        subject: Arc<str>,
        kind: &'static str,
        identifiers: Vec<Identifier>,
        purposes: &'static [&'static str],
        live: bool,
    ) {
        let proof = format!("form-{}", self.enrolments.len() + 1);
        let (from, until) = if live { (-30, 365) } else { (-400, -35) };
        let consent = Consent::days(purposes, self.started, from, until, proof);
        self.enrolments.push(Enrolment { subject, kind, identifiers, consent });
    }

    /// Puts a sensor in a zone; in the first one when the plan has no zone of that name.
    fn fixture(
        &mut self,
        id: &str,
        plan: &Plan,
        zone: &str,
        z: f64,
        (signal, naming, interval): Plain,
    ) {
        let zone = plan.zone(zone).or_else(|| plan.zones.first());
        let at = zone
            .map_or(Point::new(plan.width / 2.0, plan.corridor_y, z), |zone: &Area| zone.middle(z));
        let zone = zone.map_or_else(String::new, |zone| zone.name.clone());
        let id: Arc<str> = Arc::from(id);
        let (origin, rng) = (Origin::Fixture(id.clone()), self.rng.fork());
        let interval = Duration::from_millis(interval);
        let device = Device::new(origin, rng, signal, naming, interval, None);
        self.fixtures.push(Fixture { id, address: device.address(), zone });
        self.carriers.push((Habit::Stands(at), vec![device]));
    }

    fn drift(&mut self, mean: f64, deviation: f64) -> Drift {
        Drift::new(self.rng.fork(), mean, deviation, Duration::from_mins(5))
    }
}

/// An identifier and the signal that shows it, address, interval in milliseconds, rotation.
type Tag = (Identifier, Signal, Naming, u64, Option<Duration>);

/// A signal from a fixed address, with its interval in milliseconds.
type Plain = (Signal, Naming, u64);

/// What the stranger carries who is the `number`-th to come.
pub(super) fn stranger(number: u64, rotation: Duration, rng: &mut Rng) -> Device {
    let turn = usize::try_from(number).unwrap_or(0) % STRANGERS.len();
    let sort = STRANGERS.get(turn).copied().unwrap_or(Stranger::Phone);
    let (signal, naming, interval, rotates) = match sort {
        Stranger::Phone => (Signal::Phone(rng.bytes()), Naming::Resolvable(rng.bytes()), 280, true),
        Stranger::FindMy => (Signal::FindMy(rng.bytes()), Naming::random_static(rng), 2000, true),
        Stranger::Exposure => (Signal::Exposure(rng.bytes()), Naming::Unresolvable, 250, true),
        Stranger::Named => {
            let names = ["Headphones", "Watch", "Fitness Band", "Earbuds", "Keyboard"];
            let name = names.get(rng.below(names.len())).copied().unwrap_or("Gadget");
            let data = Data::default().flags().name(name).finish();
            (Signal::Constant(data), Naming::random_static(rng), 1000, false)
        }
        Stranger::Beacon => {
            let data = bytes::ibeacon(rng.bytes(), 9, 9, POWER_AT_1_M);
            (Signal::Constant(data), Naming::random_static(rng), 500, false)
        }
        Stranger::Medical => {
            // A glucose meter: Glucose service, name.
            let data = Data::default().flags().service(0x1808).name("Meter").finish();
            (Signal::Constant(data), Naming::random_static(rng), 700, false)
        }
    };
    // Phones differ in how strong they send.
    let power = rng.between(-66.0, -56.0);
    let (rotation, interval) = (rotates.then_some(rotation), Duration::from_millis(interval));
    Device::new(Origin::Stranger, rng.fork(), signal, naming, interval, rotation)
        .carried()
        .with_power(power)
}

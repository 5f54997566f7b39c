//! One thing that advertises: time in, an address and advertising data out.

use std::{sync::Arc, time::Duration};

use super::{
    bytes::{self, Data},
    crypto,
    radio::Link,
    rng::Rng,
    sensor::{Beacon, Climate, Door, Fridge},
};
use crate::engine::{AddressKind, DeviceAddress, UnixTime, Uptime};

/// Whose device it is. For tests and evaluation; no advertisement carries it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// A subject's, by pseudonym.
    Subject(Arc<str>),
    /// The shop's own, by its id.
    Fixture(Arc<str>),
    /// Anybody else's.
    Stranger,
}

/// What it sends.
#[derive(Debug)]
pub(super) enum Signal {
    /// Always the same.
    Constant(Vec<u8>),
    /// Eddystone-EID: a new identifier, and a new address, every 2^`exponent` s.
    Ephemeral { key: [u8; 16], exponent: u8, clock_zero: UnixTime, power: i8 },
    /// A phone's status message, renewed with its address.
    Phone([u8; 5]),
    /// A separated Find My tag, renewed with its address.
    FindMy([u8; 24]),
    /// Exposure Notification, renewed with its address.
    Exposure([u8; 20]),
    /// A Ruuvi tag.
    Climate(Climate),
    /// A `BTHome` fridge sensor.
    Fridge(Fridge),
    /// A `BTHome` door contact.
    Door(Door),
    /// An Eddystone beacon with telemetry.
    Beacon(Beacon),
    /// Something broken in one of several ways in turn.
    Broken(usize),
}

/// Which address it sends from.
#[derive(Debug)]
pub(super) enum Naming {
    /// One for life.
    Fixed(DeviceAddress),
    /// A resolvable private address under this key.
    Resolvable([u8; 16]),
    /// A non-resolvable private address.
    Unresolvable,
}

/// What a device may need to know about the world.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    pub(super) unix: UnixTime,
    pub(super) visited: bool,
}

/// One thing that advertises.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) origin: Origin,
    /// What is left of its signal at 1 m, in dBm.
    pub(super) power: f64,
    /// Time between two advertising events, without the random delay.
    pub(super) interval: Duration,
    /// How far it is turned from the way its carrier faces; `None` when its carrier has no body.
    pub(super) carried: Option<f64>,
    /// The way to each receiver, once it has sent for the first time.
    pub(super) links: Vec<Link>,
    pub(super) rng: Rng,
    signal: Signal,
    naming: Naming,
    address: DeviceAddress,
    rotation: Option<Duration>,
    rotates: Uptime,
    period: Option<u32>,
}

// === impl Signal ===

impl Signal {
    /// New contents for a new address, so that the one cannot be followed through the other.
    fn renew(&mut self, rng: &mut Rng) {
        match self {
            Self::Phone(random) => *random = rng.bytes(),
            Self::FindMy(random) => *random = rng.bytes(),
            Self::Exposure(random) => *random = rng.bytes(),
            _ => {}
        }
    }
}

// === impl Naming ===

impl Naming {
    /// A random address for life (Core Specification 5.4, Vol 6 Part B 1.3.2.1).
    pub(super) fn random_static(rng: &mut Rng) -> Self {
        Self::Fixed(marked(rng, 0b1100_0000))
    }

    /// An address that a manufacturer assigned.
    pub(super) fn public(rng: &mut Rng) -> Self {
        let [_, _, _, x, y, z] = rng.bytes();
        // The first half names a manufacturer; this one has the bit set that says "made up".
        Self::Fixed(DeviceAddress::new([0x0a, 0x5d, 0x0c, x, y, z], AddressKind::Public))
    }

    fn draw(&self, rng: &mut Rng) -> DeviceAddress {
        match self {
            Self::Fixed(address) => *address,
            Self::Resolvable(irk) => {
                let octets = crypto::resolvable_address(irk, rng.bytes());
                DeviceAddress::new(octets, AddressKind::Random)
            }
            Self::Unresolvable => marked(rng, 0b0000_0000),
        }
    }
}

/// A random address whose two most significant bits say of what sort it is.
fn marked(rng: &mut Rng, marker: u8) -> DeviceAddress {
    let mut octets: [u8; 6] = rng.bytes();
    octets[0] = octets[0] & 0x3f | marker;
    DeviceAddress::new(octets, AddressKind::Random)
}

// === impl Device ===

impl Device {
    /// A device nobody carries, with one address for life unless `naming` says otherwise; addresses
    /// that change do so every `rotation`.
    pub(super) fn new(
        origin: Origin,
        mut rng: Rng,
        signal: Signal,
        naming: Naming,
        interval: Duration,
        rotation: Option<Duration>,
    ) -> Self {
        let address = naming.draw(&mut rng);
        // Nobody started all devices in the same second: the first change comes somewhere within.
        let rotates = Uptime::ZERO + rotation.unwrap_or_default().mul_f64(rng.unit());
        Self {
            origin,
            power: -59.0,
            interval: interval.max(Duration::from_millis(20)),
            carried: None,
            links: Vec::new(),
            rng,
            signal,
            naming,
            address,
            rotation,
            rotates,
            period: None,
        }
    }

    /// The same device in a pocket, turned by some angle from the way its carrier faces.
    pub(super) fn carried(mut self) -> Self {
        self.carried = Some(self.rng.between(-1.5, 1.5));
        self
    }

    /// The same device with another power at 1 m, in dBm.
    pub(super) fn with_power(mut self, power: f64) -> Self {
        self.power = power;
        self
    }

    pub(super) fn address(&self) -> DeviceAddress {
        self.address
    }

    /// Whether it must be told if somebody stands before it.
    pub(super) fn watches(&self) -> bool {
        matches!(self.signal, Signal::Door(_))
    }

    /// The time from one advertising event to the next: the interval and a random delay of 0 to
    /// 10 ms (Core Specification 5.4, Vol 6 Part B 4.4.2.2.1).
    pub(super) fn pause(&mut self) -> Duration {
        self.interval + Duration::from_millis(10).mul_f64(self.rng.unit())
    }

    /// One advertising event.
    pub(super) fn advertise(
        &mut self,
        now: Uptime,
        surroundings: Surroundings,
    ) -> (DeviceAddress, Vec<u8>) {
        if let Some(rotation) = self.rotation.filter(|_| self.rotates <= now) {
            self.rotate();
            self.rotates = now + rotation.max(Duration::from_secs(1));
        }
        let data = match &mut self.signal {
            Signal::Constant(data) => data.clone(),
            Signal::Ephemeral { key, exponent, clock_zero, power } => {
                let (key, exponent, power) = (*key, *exponent, *power);
                let elapsed = surroundings.unix.as_millis().saturating_sub(clock_zero.as_millis());
                let beacon_time = u32::try_from(elapsed.div_euclid(1000)).unwrap_or(0);
                let period = beacon_time.checked_shr(exponent.into()).unwrap_or(0);
                if self.period.is_some_and(|last| last != period) {
                    self.rotate();
                }
                self.period = Some(period);
                bytes::eddystone_eid(power, crypto::ephemeral_id(&key, exponent, beacon_time))
            }
            Signal::Phone(random) => bytes::phone(*random),
            Signal::FindMy(random) => bytes::find_my(*random),
            Signal::Exposure(random) => bytes::exposure(*random),
            Signal::Climate(climate) => climate.data(now),
            Signal::Fridge(fridge) => fridge.data(now),
            Signal::Door(door) => door.data(surroundings.visited),
            Signal::Beacon(beacon) => beacon.data(now),
            Signal::Broken(count) => {
                *count = count.wrapping_add(1);
                broken(*count)
            }
        };
        (self.address, data)
    }

    fn rotate(&mut self) {
        self.address = self.naming.draw(&mut self.rng);
        self.signal.renew(&mut self.rng);
    }
}

/// Data that announces something and breaks its promise.
fn broken(turn: usize) -> Vec<u8> {
    let data = Data::default().flags();
    match turn % 5 {
        // A structure that claims to be longer than the advertisement.
        0 => data.raw(&[0x1a, 0xff, 0x4c, 0x00, 0x02, 0x15, 0x01]),
        // An iBeacon that stops in the middle of its UUID.
        1 => data.manufacturer(0x004c, &[0x02, 0x15, 1, 2, 3, 4, 5]),
        // An Eddystone-UID without its instance.
        2 => data.service(0xfeaa).service_data(0xfeaa, &[0x00, 0xee, 1, 2, 3, 4, 5, 6, 7, 8]),
        // BTHome with a temperature of one octet.
        3 => data.service_data(0xfcd2, &[0x40, 0x02, 0xc4]),
        // Ruuvi format 5 without its second half.
        _ => data.manufacturer(0x0499, &[0x05, 0x12, 0xfc, 0x53, 0x94, 0xc3, 0x7c]),
    }
    .finish()
}

//! A shop with two zones, and everybody who may be heard in it.

use std::{sync::Arc, time::Duration};

use beacon_gateway::engine::{
    AddressKind, AddressSeed, Advertisement, Consent, Count, DeviceAddress, Engine, Fixture,
    FootfallSeed, FootfallSettings, Identifier, Identity, IdentitySettings, PresenceSettings,
    Pseudonym, Purposes, ReceiverId, Registry, ReportPolicy, Rssi, Subject, SubjectKind, UnixTime,
    Uptime, VisitId, WallClock, What, Zone, ZoneId,
};

use super::{TEN, settings, wall};

/// How many of each kind are enrolled.
const ENROLLED: u16 = 20;

/// Somebody who is not merely an address.
#[derive(Clone, Copy)]
pub(super) enum Heard {
    Customer(u16),
    Staff(u16),
    Asset(u16),
    Fixture(u16),
    /// A lost tag of Apple's network.
    FindMy(u16),
    /// A phone that notifies of exposures.
    Exposure(u16),
    /// A customer's own frame with an exposure notification beside it.
    CustomerWithExposure(u16),
}

pub(super) struct Shop {
    pub(super) engine: Engine,
}

/// Bins of so many minutes, from ten o'clock.
pub(super) fn shop(minutes: u64) -> Shop {
    Shop::new(FootfallSettings { bin: Duration::from_mins(minutes), ..settings() }, wall(TEN))
}

/// The address of a device that has only that.
pub(super) fn device(n: u32) -> DeviceAddress {
    let mut octets = [0x40, 0x01, 0, 0, 0, 0];
    octets[2..].copy_from_slice(&n.to_be_bytes());
    DeviceAddress::new(octets, AddressKind::Random)
}

pub(super) fn advertisement(
    address: DeviceAddress,
    receiver: &str,
    dbm: Option<i8>,
) -> Advertisement {
    with_data(address, receiver, dbm, &[2, 0x01, 0x06])
}

fn with_data(
    address: DeviceAddress,
    receiver: &str,
    dbm: Option<i8>,
    data: &[u8],
) -> Advertisement {
    let receiver = ReceiverId::new(receiver);
    Advertisement::new(Uptime::ZERO, receiver, address, dbm.map(Rssi), data)
}

impl Shop {
    pub(super) fn new(settings: FootfallSettings, wall: WallClock) -> Self {
        Self::with_seed(settings, wall, FootfallSeed::new([7; 16]))
    }

    pub(super) fn with_seed(
        settings: FootfallSettings,
        wall: WallClock,
        seed: FootfallSeed,
    ) -> Self {
        let mut engine = engine().with_footfall(settings, seed);
        engine.handle_clock(wall);
        Self { engine }
    }

    pub(super) fn clock(&mut self, wall: WallClock) {
        self.engine.handle_clock(wall);
    }

    pub(super) fn hear(&mut self, at: Uptime, address: DeviceAddress, receiver: &str, dbm: i8) {
        self.engine.handle_advertisement(at, &advertisement(address, receiver, Some(dbm)));
    }

    pub(super) fn hear_without_rssi(&mut self, at: Uptime, address: DeviceAddress, receiver: &str) {
        self.engine.handle_advertisement(at, &advertisement(address, receiver, None));
    }

    pub(super) fn hear_as(&mut self, at: Uptime, who: Heard, dbm: i8) {
        let (kind, n, data) = match who {
            Heard::Customer(n) => (1, n, ibeacon(1, n)),
            Heard::Staff(n) => (2, n, ibeacon(2, n)),
            Heard::Asset(n) => (3, n, ibeacon(3, n)),
            Heard::Fixture(n) => (4, n, ibeacon(4, n)),
            Heard::FindMy(n) => (5, n, vec![6, 0xff, 0x4c, 0x00, 0x12, 0x02, 0x00]),
            Heard::Exposure(n) => (6, n, vec![3, 0x03, 0x6f, 0xfd]),
            Heard::CustomerWithExposure(n) => {
                (1, n, [ibeacon(1, n), vec![3, 0x03, 0x6f, 0xfd]].concat())
            }
        };
        let address = device(0x1000_0000 + kind * 0x1_0000 + u32::from(n));
        let advertisement = with_data(address, "local", Some(dbm), &data);
        self.engine.handle_advertisement(at, &advertisement);
    }

    /// What was counted up to a moment, by a shell that is never late.
    pub(super) fn until(&mut self, at: Uptime) -> Vec<Count> {
        self.until_with_times(at).into_iter().map(|(_, count)| count).collect()
    }

    /// The same with the times at which bins ended.
    pub(super) fn until_with_times(&mut self, at: Uptime) -> Vec<(Uptime, Count)> {
        for _ in 0..10_000 {
            match self.engine.poll_timeout().filter(|deadline| *deadline <= at) {
                Some(deadline) => self.engine.handle_timeout(deadline),
                None => return self.told(),
            }
        }
        panic!("the engine never came to rest");
    }

    /// Counts told since the last call.
    pub(super) fn told(&mut self) -> Vec<(Uptime, Count)> {
        std::iter::from_fn(|| self.engine.poll_event())
            .filter_map(|situation| match situation.what {
                What::Counted(count) => Some((situation.at, count)),
                _ => None,
            })
            .collect()
    }
}

/// An engine that counts nobody yet.
pub(super) fn engine() -> Engine {
    let kinds = [(1, SubjectKind::Customer), (2, SubjectKind::Staff), (3, SubjectKind::Asset)];
    let subjects = kinds.into_iter().flat_map(|(major, kind)| {
        (0..ENROLLED).map(move |minor| Subject {
            pseudonym: Pseudonym::new(&format!("s{major}-{minor}")),
            kind,
            identifiers: vec![identifier(major, minor)],
            consent: (kind != SubjectKind::Asset).then(|| Consent {
                purposes: Purposes::ALL,
                from: UnixTime::from_millis(0),
                until: None,
                proof: Arc::from("form"),
            }),
        })
    });
    let fixtures = (0..ENROLLED).map(|minor| Fixture {
        id: format!("f{minor}"),
        zone: None,
        hangs: None,
        key: None,
        canary: false,
        identifier: identifier(4, minor).into(),
        report: ReportPolicy::default(),
    });
    let registry = Registry::new(subjects.collect(), fixtures.collect()).unwrap();
    let identity = Identity::new(registry, IdentitySettings::default(), AddressSeed::new(1));
    let zone = |id, enter_rssi: f64, receivers: &[&str]| Zone {
        id: ZoneId::new(id),
        enter_rssi,
        exit_rssi: enter_rssi - 10.0,
        loitering: vec![],
        receivers: receivers.iter().map(|name| ReceiverId::new(name)).collect(),
    };
    let presence = PresenceSettings {
        zones: vec![zone("shop", -75.0, &[]), zone("counter", -55.0, &["local"])],
        receivers: vec![ReceiverId::new("local"), ReceiverId::new("other")],
        smoothing: Duration::from_secs(3),
        exit_delay: Duration::from_secs(10),
        exit_timeout: Duration::from_secs(30),
        exit_timeout_max: Duration::from_mins(10),
        exit_after_missed: 6,
        checkpoint_interval: Duration::from_mins(1),
        resume_within: Duration::from_mins(5),
        ..PresenceSettings::default()
    };
    Engine::new(identity, presence, VisitId { epoch: 1, run: 0, number: 1 })
}

fn identifier(major: u16, minor: u16) -> Identifier {
    Identifier::IBeacon { proximity_uuid: [0xab; 16], major, minor }
}

fn ibeacon(major: u16, minor: u16) -> Vec<u8> {
    let mut data = vec![26, 0xff, 0x4c, 0x00, 0x02, 0x15];
    data.extend([0xab; 16]);
    data.extend(major.to_be_bytes());
    data.extend(minor.to_be_bytes());
    data.push(0xc5);
    data
}

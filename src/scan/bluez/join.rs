//! Pieces of advertisements in, whole advertisements out. Pure: time is handed in.
//!
//! One signal of BlueZ becomes several events of btleplug, without a mark of where one signal ends
//! and the next begins: first the RSSI, then manufacturer data, then service data, then services,
//! each at most once. Here they are joined again. What each piece proves (read in BlueZ 5.66,
//! `src/adapter.c`, `btd_adapter_update_found_device`):
//! - an RSSI: an advertisement was heard, whatever else it held;
//! - manufacturer or service data: an advertisement with just this data was heard. While a client
//!   asks for duplicates, as btleplug does, BlueZ drops the data it had before it stores new data
//!   of the same sort; without that it would pile up;
//! - services: only that the list grew. It never shrinks, so it goes with the device's next
//!   advertisements, and is no advertisement by itself;
//! - properties: all of the above, of any age. They count as heard only when asked for because the
//!   device was discovered, and only if they have an RSSI, which BlueZ clears when a scan ends.
//!
//! Promises that no piece is held longer than [`HOLD`], that times never run backwards, and that an
//! advertisement holds no data but that of the pieces it was joined from.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use uuid::Uuid;

use super::{
    ad::AdvertisingData,
    devices::{Device, Devices, Octets},
};
use crate::engine::{AddressKind, DeviceAddress, Rssi, Uptime};

/// Manufacturer data by company.
pub(super) type ManufacturerData = BTreeMap<u16, Vec<u8>>;
/// Service data by service.
pub(super) type ServiceData = BTreeMap<Uuid, Vec<u8>>;

/// What one event of btleplug says of a device. Has no `Debug`: it may be a stranger's.
pub(super) enum Piece {
    /// How loud it was, in dBm; 127 when the controller could not tell.
    Rssi(i16),
    /// All manufacturer data.
    Manufacturer(ManufacturerData),
    /// All service data.
    ServiceData(ServiceData),
    /// All services it ever named.
    Services(Vec<Uuid>),
}

/// What BlueZ knows of a device altogether. Has no `Debug`: it may be a stranger's.
#[derive(Default)]
pub(super) struct Properties {
    pub(super) kind: Option<AddressKind>,
    pub(super) rssi: Option<i16>,
    pub(super) manufacturer: ManufacturerData,
    pub(super) service_data: ServiceData,
    pub(super) services: Vec<Uuid>,
    pub(super) name: Option<String>,
    pub(super) tx_power: Option<i16>,
}

/// A wish for a device's properties, to be handed back with them. In a box: it is passed on, and
/// moving it must not leave copies of an address behind.
pub(super) struct Ask(Box<Asked>);

struct Asked {
    octets: Octets,
    /// When it was discovered, if that is why.
    discovered: Option<Uptime>,
}

/// One advertisement, as far as BlueZ tells it. Has no `Debug`: it may be a stranger's.
pub(super) struct Whole {
    /// When it was heard.
    pub(super) heard: Uptime,
    /// From whom.
    pub(super) address: DeviceAddress,
    /// How loud.
    pub(super) rssi: Option<Rssi>,
    /// Its data; empty when only its loudness is known.
    pub(super) data: Vec<u8>,
    /// The device did not count as traffic in the ten seconds before.
    pub(super) fresh: bool,
}

/// Joins pieces.
pub(super) struct Join {
    devices: Devices,
    /// In a box, as what is ready: what is dropped is cleared where it was, and nowhere else.
    open: Option<Box<Open>>,
    ready: VecDeque<Box<Whole>>,
    /// When the last advertisement handed on was heard.
    latest: Uptime,
}

/// An advertisement to which more pieces may come.
struct Open {
    octets: Octets,
    heard: Uptime,
    /// The place of its last piece in a signal.
    place: u8,
    manufacturer: ManufacturerData,
    service_data: ServiceData,
}

/// The events of one signal follow one another by a round trip over the bus, a few milliseconds;
/// under load tens of them. Longer, and presence would feel it.
pub(super) const HOLD: Duration = Duration::from_millis(100);

/// More services than one device names; an attacker's list is cut.
const MOST_SERVICES: usize = 16;

/// How often a device counts as traffic; see [`crate::scan::silence::Silence::heard`].
const COUNTS_AGAIN: Duration = Duration::from_secs(10);

// === impl Piece ===

impl Piece {
    /// The order of the events of one signal, in bluez-async 0.9, `events.rs`.
    const fn place(&self) -> u8 {
        match self {
            Self::Rssi(_) => 0,
            Self::Manufacturer(_) => 1,
            Self::ServiceData(_) => 2,
            Self::Services(_) => 3,
        }
    }
}

// === impl Ask ===

impl Ask {
    fn new(octets: Octets, discovered: Option<Uptime>) -> Self {
        Self(Box::new(Asked { octets, discovered }))
    }

    /// True when an advertisement is lost if nobody answers.
    pub(super) const fn is_discovery(&self) -> bool {
        self.0.discovered.is_some()
    }
}

// === impl Join ===

impl Join {
    pub(super) fn new(now: Uptime) -> Self {
        Self { devices: Devices::new(now), open: None, ready: VecDeque::new(), latest: now }
    }

    /// Takes one piece. The answer is a wish for the properties of a device that was not known.
    pub(super) fn piece(&mut self, now: Uptime, octets: Octets, piece: Piece) -> Option<Ask> {
        let place = piece.place();
        let continues = self.open.as_ref().is_some_and(|open| {
            open.octets == octets && open.place < place && now < open.heard + HOLD
        });
        if !continues {
            self.close();
        }
        let device = self.devices.heard(now, octets);
        if let Piece::Services(services) = piece {
            device.services = services;
            device.services.truncate(MOST_SERVICES);
        } else {
            let open = self.open.get_or_insert_with(|| Box::new(Open::new(now, octets)));
            open.place = place;
            match piece {
                Piece::Rssi(rssi) => device.rssi = reported(rssi),
                Piece::Manufacturer(data) => open.manufacturer = data,
                Piece::ServiceData(data) => open.service_data = data,
                Piece::Services(_) => {}
            }
        }
        let unknown = !std::mem::replace(&mut device.asked, true);
        unknown.then(|| Ask::new(octets, None))
    }

    /// A device was discovered: what it was discovered by is only in its properties.
    pub(super) fn discovered(&mut self, now: Uptime, octets: Octets) -> Ask {
        self.close();
        self.devices.forget(octets);
        self.devices.heard(now, octets).asked = true;
        Ask::new(octets, Some(now))
    }

    /// The properties that were wished for.
    pub(super) fn properties(&mut self, now: Uptime, ask: &Ask, properties: Properties) {
        let Asked { octets, discovered } = *ask.0;
        let device = self.devices.heard(now, octets);
        device.kind = properties.kind;
        device.services = properties.services;
        device.services.truncate(MOST_SERVICES);
        let (Some(discovered), Some(rssi)) = (discovered, properties.rssi) else { return };
        // What came while the bus answered is newer than these properties, or the same.
        if device.data_heard {
            return;
        }
        device.rssi = reported(rssi);
        let mut data = Self::data(device, &properties.manufacturer, &properties.service_data);
        if let Some(name) = &properties.name {
            data.name(name);
        }
        if let Some(power) = properties.tx_power.and_then(reported) {
            data.tx_power(power);
        }
        let data = data.finish();
        self.hand_on(octets, discovered, data);
    }

    /// Does what is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Uptime) {
        self.devices.handle_timeout(now);
        if self.open.as_ref().is_some_and(|open| now >= open.heard + HOLD) {
            self.close();
        }
    }

    /// When [`Self::handle_timeout`] is next due.
    pub(super) fn poll_timeout(&self) -> Option<Uptime> {
        let open = self.open.as_ref().map(|open| open.heard + HOLD);
        [open, self.devices.poll_timeout()].into_iter().flatten().min()
    }

    /// The next advertisement, once.
    pub(super) fn poll(&mut self) -> Option<Box<Whole>> {
        self.ready.pop_front()
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let device = self.devices.heard(open.heard, open.octets);
        device.data_heard |= !open.manufacturer.is_empty() || !open.service_data.is_empty();
        let data = Self::data(device, &open.manufacturer, &open.service_data).finish();
        self.hand_on(open.octets, open.heard, data);
    }

    fn hand_on(&mut self, octets: Octets, heard: Uptime, data: Vec<u8>) {
        let device = self.devices.heard(heard, octets);
        let fresh = device.counted.is_none_or(|counted| heard.since(counted) >= COUNTS_AGAIN);
        if fresh {
            device.counted = Some(heard);
        }
        let address =
            DeviceAddress::new(octets, device.kind.unwrap_or_else(|| likely_kind(octets)));
        self.latest = self.latest.max(heard);
        let (heard, rssi) = (self.latest, device.rssi);
        self.ready.push_back(Box::new(Whole { heard, address, rssi, data, fresh }));
    }

    fn data(
        device: &Device,
        manufacturer: &ManufacturerData,
        service_data: &ServiceData,
    ) -> AdvertisingData {
        let mut data = AdvertisingData::default();
        data.services(&device.services);
        for (company, bytes) in manufacturer {
            data.manufacturer(*company, bytes);
        }
        for (service, bytes) in service_data {
            data.service_data(*service, bytes);
        }
        data
    }
}

impl Open {
    fn new(heard: Uptime, octets: Octets) -> Self {
        Self {
            octets,
            heard,
            place: 0,
            manufacturer: ManufacturerData::new(),
            service_data: ServiceData::new(),
        }
    }
}

/// BlueZ keeps the octet of the report in a wider number.
fn reported(rssi: i16) -> Option<Rssi> {
    i8::try_from(rssi).ok().and_then(Rssi::from_report)
}

/// Nearly everything that advertises has a random address, and the top bits of those that mean
/// something are 11 or 01; a public one may have them too, until BlueZ tells.
fn likely_kind(octets: Octets) -> AddressKind {
    let [first, ..] = octets;
    match first >> 6 {
        0b11 | 0b01 => AddressKind::Random,
        _ => AddressKind::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Octets = [0xc0, 1, 2, 3, 4, 5];
    const PHONE: Octets = [0x5a, 9, 9, 9, 9, 9];
    const IBEACON: &str = "06ff4c00021501";
    const UID: &str = "0516aafe00ee";

    fn at(millis: u64) -> Uptime {
        Uptime::ZERO + Duration::from_millis(millis)
    }

    fn manufacturer(company: u16, data: &[u8]) -> Piece {
        Piece::Manufacturer(BTreeMap::from([(company, data.to_vec())]))
    }

    fn ibeacon() -> Piece {
        manufacturer(0x004c, &[0x02, 0x15, 0x01])
    }

    fn eddystone() -> Uuid {
        Uuid::from_u128(0x0000_feaa_0000_1000_8000_0080_5f9b_34fb)
    }

    fn uid() -> Piece {
        Piece::ServiceData(BTreeMap::from([(eddystone(), vec![0x00, 0xee])]))
    }

    /// What came out, as `milliseconds first-octet dBm data`.
    fn out(join: &mut Join) -> Vec<String> {
        std::iter::from_fn(|| join.poll())
            .map(|whole| {
                let [first, ..] = whole.address.octets();
                let rssi = whole.rssi.map_or("?".to_owned(), |rssi| rssi.0.to_string());
                let millis = whole.heard.as_micros() / 1000;
                format!("{millis} {first:02x} {rssi} {}", hex::encode(&whole.data))
            })
            .collect()
    }

    /// Lets the timers run dry and says what came out.
    fn rest(join: &mut Join) -> Vec<String> {
        let mut lines = out(join);
        while let Some(due) = join.poll_timeout() {
            join.handle_timeout(due);
            lines.extend(out(join));
        }
        lines
    }

    fn fed<const N: usize>(pieces: [(u64, Octets, Piece); N]) -> Join {
        let mut join = Join::new(at(0));
        for (millis, octets, piece) in pieces {
            join.handle_timeout(at(millis));
            join.piece(at(millis), octets, piece);
        }
        join
    }

    #[test]
    fn the_pieces_of_one_signal_are_one_advertisement() {
        let mut join = fed([
            (10, TAG, Piece::Rssi(-60)),
            (12, TAG, ibeacon()),
            (14, TAG, uid()),
            (16, TAG, Piece::Services(vec![eddystone()])),
        ]);
        assert_eq!(rest(&mut join), [format!("10 c0 -60 0302aafe{IBEACON}{UID}")]);
    }

    #[test]
    fn loudness_alone_is_an_advertisement_without_data() {
        let mut join = fed([(10, TAG, Piece::Rssi(-60)), (20, TAG, Piece::Rssi(-61))]);
        assert_eq!(rest(&mut join), ["10 c0 -60 ", "20 c0 -61 "]);
    }

    #[test]
    fn a_loudness_that_the_controller_could_not_tell_is_none() {
        let mut join = fed([(10, TAG, Piece::Rssi(127)), (12, TAG, ibeacon())]);
        assert_eq!(rest(&mut join), [format!("10 c0 ? {IBEACON}")]);
        let mut join = fed([(10, TAG, Piece::Rssi(-3000)), (12, TAG, ibeacon())]);
        assert_eq!(rest(&mut join), [format!("10 c0 ? {IBEACON}")]);
    }

    #[test]
    fn data_alone_is_as_loud_as_the_device_was_last() {
        let mut join = fed([(10, TAG, ibeacon())]);
        assert_eq!(rest(&mut join), [format!("10 c0 ? {IBEACON}")]);
        let mut join =
            fed([(10, TAG, Piece::Rssi(-60)), (1000, TAG, ibeacon()), (2000, TAG, uid())]);
        assert_eq!(
            rest(&mut join),
            [
                "10 c0 -60 ".to_owned(),
                format!("1000 c0 -60 {IBEACON}"),
                format!("2000 c0 -60 {UID}")
            ]
        );
    }

    #[test]
    fn devices_that_alternate_are_kept_apart() {
        let mut join = fed([
            (10, TAG, Piece::Rssi(-60)),
            (11, TAG, ibeacon()),
            (12, PHONE, Piece::Rssi(-80)),
            (13, PHONE, manufacturer(0x0075, &[1])),
            (14, TAG, uid()),
        ]);
        assert_eq!(
            rest(&mut join),
            [
                format!("10 c0 -60 {IBEACON}"),
                "12 5a -80 04ff750001".to_owned(),
                format!("14 c0 -60 {UID}")
            ]
        );
    }

    #[test]
    fn data_of_an_earlier_advertisement_is_never_heard_again() {
        let mut join = fed([
            (10, TAG, Piece::Rssi(-60)),
            (11, TAG, ibeacon()),
            (20, TAG, Piece::Rssi(-61)),
            (21, TAG, uid()),
            (30, TAG, Piece::Rssi(-62)),
            (40, TAG, Piece::Rssi(-63)),
            (41, TAG, manufacturer(0x0499, &[5])),
        ]);
        assert_eq!(
            rest(&mut join),
            [
                format!("10 c0 -60 {IBEACON}"),
                format!("20 c0 -61 {UID}"),
                "30 c0 -62 ".to_owned(),
                "40 c0 -63 04ff990405".to_owned()
            ]
        );
    }

    #[test]
    fn no_piece_is_held_longer_than_the_bound() {
        let mut join = fed([(10, TAG, Piece::Rssi(-60))]);
        assert_eq!(join.poll_timeout(), Some(at(10) + HOLD));
        join.handle_timeout(at(109));
        assert_eq!(out(&mut join), Vec::<String>::new());
        join.handle_timeout(at(110));
        assert_eq!(out(&mut join), ["10 c0 -60 "]);
        // What belonged to it and comes late stands alone.
        join.piece(at(111), TAG, ibeacon());
        assert_eq!(rest(&mut join), [format!("111 c0 -60 {IBEACON}")]);
    }

    #[test]
    fn a_late_timer_does_not_join_what_is_far_apart() {
        let mut join = Join::new(at(0));
        join.piece(at(10), TAG, Piece::Rssi(-60));
        join.piece(at(500), TAG, ibeacon());
        assert_eq!(rest(&mut join), ["10 c0 -60 ".to_owned(), format!("500 c0 -60 {IBEACON}")]);
    }

    fn properties() -> Properties {
        Properties {
            kind: Some(AddressKind::Random),
            rssi: Some(-70),
            manufacturer: BTreeMap::from([(0x004c, vec![0x02, 0x15, 0x01])]),
            name: Some("Tag".to_owned()),
            tx_power: Some(-12),
            ..Properties::default()
        }
    }

    #[test]
    fn the_first_advertisement_counts_from_the_moment_of_discovery() {
        let mut join = Join::new(at(0));
        let ask = join.discovered(at(10), TAG);
        assert!(ask.is_discovery());
        // btleplug names the services of a discovered device at once; that is no advertisement.
        assert!(join.piece(at(11), TAG, Piece::Services(vec![eddystone()])).is_none());
        assert_eq!(out(&mut join), Vec::<String>::new());
        let known = Properties { services: vec![eddystone()], ..properties() };
        join.properties(at(15), &ask, known);
        assert_eq!(rest(&mut join), [format!("10 c0 -70 0302aafe{IBEACON}0409546167020af4")]);
    }

    #[test]
    fn properties_that_are_older_than_what_was_heard_since_are_not_told() {
        let mut join = Join::new(at(0));
        let ask = join.discovered(at(10), TAG);
        join.piece(at(20), TAG, Piece::Rssi(-60));
        join.piece(at(21), TAG, uid());
        join.handle_timeout(at(130));
        join.properties(at(140), &ask, properties());
        assert_eq!(rest(&mut join), [format!("20 c0 -60 {UID}")]);
    }

    #[test]
    fn a_late_answer_does_not_turn_time_back() {
        let mut join = Join::new(at(0));
        let ask = join.discovered(at(10), TAG);
        join.piece(at(50), PHONE, Piece::Rssi(-80));
        join.handle_timeout(at(160));
        join.properties(at(170), &ask, properties());
        let told = rest(&mut join);
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with("50 5a") && told[1].starts_with("50 c0"), "{told:?}");
    }

    #[test]
    fn properties_without_loudness_are_left_over_from_an_earlier_scan() {
        let mut join = Join::new(at(0));
        let ask = join.discovered(at(10), TAG);
        join.properties(at(15), &ask, Properties { rssi: None, ..properties() });
        assert_eq!(rest(&mut join), Vec::<String>::new());
    }

    #[test]
    fn an_unknown_device_is_asked_about_once_and_its_properties_are_no_advertisement() {
        let mut join = Join::new(at(0));
        let ask = join.piece(at(10), TAG, Piece::Rssi(-60)).unwrap();
        assert!(!ask.is_discovery());
        assert!(join.piece(at(11), TAG, ibeacon()).is_none());
        join.properties(at(15), &ask, properties());
        assert_eq!(rest(&mut join), [format!("10 c0 -60 {IBEACON}")]);
    }

    #[test]
    fn the_kind_of_an_address_is_guessed_until_it_is_known() {
        // A public address with the top bits of a static random one.
        let mut join = Join::new(at(0));
        let ask = join.piece(at(10), TAG, Piece::Rssi(-60)).unwrap();
        join.piece(at(20), TAG, Piece::Rssi(-61));
        join.properties(
            at(21),
            &ask,
            Properties { kind: Some(AddressKind::Public), ..Properties::default() },
        );
        join.piece(at(30), TAG, Piece::Rssi(-62));
        join.handle_timeout(at(200));
        let kinds: Vec<_> =
            std::iter::from_fn(|| join.poll()).map(|whole| whole.address.kind()).collect();
        assert_eq!(kinds, [AddressKind::Random, AddressKind::Public, AddressKind::Public]);
        assert_eq!(likely_kind([0x00, 0x1b, 0xdc, 0, 0, 5]), AddressKind::Public);
    }

    #[test]
    fn a_rediscovered_device_starts_anew() {
        let mut join = Join::new(at(0));
        for millis in [10, 40_010] {
            join.handle_timeout(at(millis));
            let ask = join.discovered(at(millis), TAG);
            join.properties(at(millis + 5), &ask, properties());
        }
        let told = rest(&mut join);
        assert_eq!(told.len(), 2);
        assert!(told[1].starts_with("40010 c0 -70"), "{told:?}");
    }

    #[test]
    fn a_device_counts_as_traffic_once_in_ten_seconds() {
        let mut join = Join::new(at(0));
        let mut fresh = 0;
        for second in 0..60 {
            for repeat in 0..10 {
                let now = at(second * 1000 + repeat * 100);
                join.handle_timeout(now);
                join.piece(now, TAG, Piece::Rssi(-60));
                fresh += std::iter::from_fn(|| join.poll()).filter(|whole| whole.fresh).count();
            }
        }
        assert_eq!(fresh, 6);
    }

    #[test]
    fn whatever_is_interleaved_every_piece_of_data_is_told_once_and_of_its_own_device() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut join = Join::new(at(0));
            let mut sent = Vec::new();
            let mut told = Vec::new();
            let mut latest = at(0);
            let mut millis = 0;
            for number in 0..500_u16 {
                millis += random.u64(0..150);
                let device = random.u8(0..4);
                let octets = [0xc0, 0, 0, 0, 0, device];
                join.handle_timeout(at(millis));
                let [high, low] = number.to_be_bytes();
                if random.bool() {
                    join.piece(at(millis), octets, Piece::Rssi(-60));
                }
                if random.bool() {
                    join.piece(at(millis), octets, manufacturer(0x0059, &[device, high, low]));
                    sent.push(format!("{device}: 06ff5900{device:02x}{number:04x}"));
                }
                while let Some(whole) = join.poll() {
                    assert!(whole.heard >= latest, "seed {seed}: time ran backwards");
                    latest = whole.heard;
                    let [.., device] = whole.address.octets();
                    if !whole.data.is_empty() {
                        told.push(format!("{device}: {}", hex::encode(&whole.data)));
                    }
                }
            }
            join.handle_timeout(at(millis) + HOLD);
            while let Some(whole) = join.poll() {
                let [.., device] = whole.address.octets();
                if !whole.data.is_empty() {
                    told.push(format!("{device}: {}", hex::encode(&whole.data)));
                }
            }
            assert_eq!(told, sent, "seed {seed}");
        }
    }
}

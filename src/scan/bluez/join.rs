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

#[cfg(test)]
mod tests;

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

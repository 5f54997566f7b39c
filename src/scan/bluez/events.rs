//! The D-Bus plane. Events of btleplug in, advertisements out. The doer for [`Join`].
//!
//! Promises to drain the stream whatever else is slow: btleplug queues without bound what is not
//! taken from it.

use std::{
    collections::VecDeque, fmt::Write as _, pin::Pin, sync::atomic::Ordering, time::Duration,
};

use btleplug::{
    api::{AddressType, Central as _, CentralEvent, Peripheral as _, PeripheralProperties},
    platform::PeripheralId,
};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use super::{
    adapter::{Named, answered},
    devices::Octets,
    error::BluezError,
    join::{Ask, Join, Piece, Properties, Whole},
    session::Watch,
};
use crate::{
    engine::{AddressKind, Advertisement, Uptime, parse_octets},
    forget,
    scan::live::{Fresh, Order, Report},
};

/// What btleplug tells about one adapter.
pub(super) struct Events {
    stream: Pin<Box<dyn Stream<Item = CentralEvent> + Send>>,
    join: Join,
    /// Devices whose properties are wished for, and those that are being asked about.
    wishes: VecDeque<(PeripheralId, Ask)>,
    asking: JoinSet<Option<(Ask, Properties)>>,
    /// When the stack is cleared next.
    burn_at: Uptime,
}

/// How often the stack is cleared of what strangers left there.
const BURN_EVERY: Duration = Duration::from_secs(1);

/// Devices that may wait to be asked about; at 400 advertisements a second, what btleplug can
/// deliver, some seconds' worth even if all were new.
const MOST_WISHES: usize = 1024;

/// Questions under way at a time; bluetoothd answers them one after the other.
const MOST_ASKED: usize = 4;

impl Events {
    pub(super) async fn open(order: &Order, named: &Named) -> Result<Self, BluezError> {
        let mut stream = answered(order.call_timeout, named.adapter.events())
            .await
            .map_err(BluezError::Daemon)?;
        // First come the devices that BlueZ knows already. Nobody heard them now.
        while let Some(Some(_)) = stream.next().now_or_never() {}
        Ok(Self {
            stream,
            join: Join::new(order.clock.now()),
            wishes: VecDeque::new(),
            asking: JoinSet::new(),
            burn_at: order.clock.now(),
        })
    }

    /// Hears until the scan is lost; the answer is why. Loses nothing when dropped.
    pub(super) async fn hear(
        &mut self,
        order: &Order,
        named: &Named,
        watch: &mut Watch,
        reports: &mpsc::Sender<Report>,
    ) -> &'static str {
        let clock = order.clock;
        loop {
            let now = clock.now();
            self.join.handle_timeout(now);
            self.hand_on(order, reports);
            self.ask(order, named);
            watch.look(now, named, order.call_timeout);
            if now >= self.burn_at {
                forget::burn_stack();
                self.burn_at = now + BURN_EVERY;
            }
            let due = [watch.due(), self.join.poll_timeout(), Some(self.burn_at)];
            let due = due.into_iter().flatten().min();
            let due = due.map(|due| due.since(now));
            tokio::select! {
                event = self.stream.next() => {
                    watch.heard(clock.now());
                    match event {
                        Some(CentralEvent::StateUpdate(_)) => return "the adapter was switched",
                        Some(event) => self.event(order, event),
                        None => return "the stream of events ended",
                    }
                }
                Some(answer) = self.asking.join_next() => {
                    if let Ok(Some((ask, properties))) = answer {
                        self.join.properties(clock.now(), &ask, properties);
                    }
                }
                Some(why) = watch.lost(|| clock.now()) => return why,
                () = sleep(due.unwrap_or_default()), if due.is_some() => {}
            }
        }
    }

    #[inline(never)]
    fn event(&mut self, order: &Order, event: CentralEvent) {
        let now = order.clock.now();
        let (id, piece) = match event {
            CentralEvent::DeviceDiscovered(id) => (id, None),
            CentralEvent::RssiUpdate { id, rssi } => (id, Some(Piece::Rssi(rssi))),
            CentralEvent::ManufacturerDataAdvertisement { id, manufacturer_data } => {
                (id, Some(Piece::Manufacturer(manufacturer_data.into_iter().collect())))
            }
            CentralEvent::ServiceDataAdvertisement { id, service_data } => {
                (id, Some(Piece::ServiceData(service_data.into_iter().collect())))
            }
            CentralEvent::ServicesAdvertisement { id, services } => {
                (id, Some(Piece::Services(services)))
            }
            _ => return,
        };
        let Some(octets) = octets(&id) else {
            order.counters.unusable.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let ask = match piece {
            None => Some(self.join.discovered(now, octets)),
            Some(piece) => self.join.piece(now, octets, piece),
        };
        if let Some(ask) = ask {
            if self.wishes.len() < MOST_WISHES {
                self.wishes.push_back((id, ask));
            } else if ask.is_discovery() {
                order.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Asks about the next devices.
    fn ask(&mut self, order: &Order, named: &Named) {
        let call_timeout = order.call_timeout;
        while self.asking.len() < MOST_ASKED
            && let Some((id, ask)) = self.wishes.pop_front()
        {
            let adapter = named.adapter.clone();
            self.asking.spawn(async move {
                let device = answered(call_timeout, adapter.peripheral(&id)).await.ok()?;
                let properties = answered(call_timeout, device.properties()).await.ok()??;
                Some((ask, Properties::from(properties)))
            });
        }
    }

    /// Gives the supervisor what was heard; when it is behind, the newest is dropped and counted.
    ///
    /// Not part of its caller, so that what it leaves on the stack can be cleared from there; so is
    /// it with [`Self::event`].
    #[inline(never)]
    fn hand_on(&mut self, order: &Order, reports: &mpsc::Sender<Report>) {
        let mut batch = Vec::new();
        while let Some(whole) = self.join.poll() {
            let Whole { heard, address, rssi, data, fresh } = *whole;
            let receiver = order.receiver.id.clone();
            let advertisement = Advertisement::new(heard, receiver, address, rssi, &data);
            batch.push(Fresh { advertisement, fresh });
        }
        if batch.is_empty() {
            return;
        }
        let many = batch.len();
        if let Err(mpsc::error::TrySendError::Full(_)) = reports.try_send(Report::Heard(batch)) {
            let many = u64::try_from(many).unwrap_or(u64::MAX);
            order.counters.dropped.fetch_add(many, Ordering::Relaxed);
        }
    }
}

// === impl Properties ===

impl From<PeripheralProperties> for Properties {
    fn from(properties: PeripheralProperties) -> Self {
        Self {
            kind: properties.address_type.map(|kind| match kind {
                AddressType::Public => AddressKind::Public,
                AddressType::Random => AddressKind::Random,
            }),
            rssi: properties.rssi,
            manufacturer: properties.manufacturer_data.into_iter().collect(),
            service_data: properties.service_data.into_iter().collect(),
            services: properties.services,
            // `local_name` falls back to the address.
            name: properties.advertisement_name,
            tx_power: properties.tx_power_level,
        }
    }
}

/// The address in a device's name on the bus, like `hci0/dev_C0_11_22_33_44_55`.
fn octets(id: &PeripheralId) -> Option<Octets> {
    let mut name = String::new();
    // Writing fails for an object outside of BlueZ's tree.
    write!(name, "{id}").ok()?;
    let (_, address) = name.rsplit_once("dev_")?;
    parse_octets(&address.replace('_', ":")).ok()
}

//! One scan, from connecting to the bus to giving up. Events of btleplug in, advertisements and how
//! the scan fares out. The doer for [`Join`].
//!
//! Every session has a thread and an event loop of its own, and the end of the session is the end
//! of both, because of what is under btleplug:
//! - connecting to the bus blocks;
//! - a connection is never closed, its task stays in the event loop it was spawned in; ending that
//!   loop closes it, and so a scan can be rebuilt for years without running out of connections;
//! - a stream of events that is dropped after its bus died makes a background task panic some
//!   seconds later (bluez-async 0.9, `messagestream.rs`); that task ends before, unpolled.
//!
//! Promises to drain the stream whatever else is slow: btleplug queues without bound what is not
//! taken from it.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    future::pending,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use btleplug::{
    api::{
        AddressType, Central as _, CentralEvent, Peripheral as _, PeripheralProperties, ScanFilter,
    },
    platform::{Adapter, PeripheralId},
};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    STOP_TIMEOUT, Settings,
    adapter::{Named, answered, find, is_powered, probe, runtime},
    devices::Octets,
    error::{BluezError, ThreadError},
    join::{Ask, Join, Piece, Properties},
};
use crate::{
    clock::Clock,
    engine::{AddressKind, Advertisement, ReceiverId, Uptime, parse_octets},
    scan::ScanCounters,
};

/// What a session needs to know.
pub(super) struct Order {
    pub(super) settings: Settings,
    pub(super) receiver: ReceiverId,
    pub(super) clock: Clock,
    pub(super) counters: Arc<ScanCounters>,
}

/// What a session tells. The first is how building went; after `Failed` or `Lost` nothing follows.
pub(super) enum Report {
    Built { adapter: String },
    Failed(BluezError),
    Heard { advertisement: Advertisement, fresh: bool },
    Lost(&'static str),
}

/// The supervisor's end of a session.
pub(super) struct Session {
    reports: Option<mpsc::Receiver<Report>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    failure: Option<BluezError>,
}

type Events = Pin<Box<dyn Stream<Item = CentralEvent> + Send>>;

/// One scan that runs.
struct Scan {
    order: Order,
    name: String,
    adapter: Adapter,
    events: Events,
    join: Join,
    /// Devices whose properties are wished for, and those that are being asked about.
    wishes: VecDeque<(PeripheralId, Ask)>,
    asking: JoinSet<Option<(Ask, Properties)>>,
    probing: JoinSet<Result<(), BluezError>>,
    /// When something last came from the stream, or a probe was answered.
    alive: Uptime,
    reports: mpsc::Sender<Report>,
}

/// Reports on their way to the supervisor, who does nothing but pass them on.
const REPORTS: usize = 64;

/// Devices that may wait to be asked about; at 400 advertisements a second, what btleplug can
/// deliver, some seconds' worth even if all were new.
const MOST_WISHES: usize = 1024;

/// Questions under way at a time; bluetoothd answers them one after the other.
const MOST_ASKED: usize = 4;

/// After so much silence the adapter is asked whether it is still there. A daemon that was killed
/// and a bus that died say nothing.
const PROBE_AFTER: Duration = Duration::from_secs(5);

// === impl Session ===

impl Session {
    /// Before the first one.
    pub(super) const fn none() -> Self {
        Self { reports: None, stop: None, thread: None, failure: None }
    }

    /// False before the first one.
    pub(super) const fn was_started(&self) -> bool {
        self.stop.is_some() || self.thread.is_some()
    }

    /// Ends this session and starts another, which waits until this one is gone.
    pub(super) fn replace(mut self, order: Order) -> Self {
        drop(self.stop.take());
        self.reports = None;
        let before = self.thread.take();
        let (sender, reports) = mpsc::channel(REPORTS);
        let (stop, stopped) = oneshot::channel();
        let spawned = thread::Builder::new().name("bluetooth".to_owned()).spawn(move || {
            // How it ended does not matter, as long as it did.
            drop(before.map(JoinHandle::join));
            live(order, &sender, stopped);
        });
        let (thread, failure) = match spawned {
            Ok(thread) => (Some(thread), None),
            Err(error) => (None, Some(BluezError::Thread(ThreadError(error.kind())))),
        };
        Self { reports: Some(reports), stop: Some(stop), thread, failure }
    }

    /// The next report. A session that ends without a word was lost.
    pub(super) async fn next(&mut self) -> Report {
        if let Some(failure) = self.failure.take() {
            self.reports = None;
            return Report::Failed(failure);
        }
        let Some(reports) = &mut self.reports else { return pending().await };
        let report = reports.recv().await.unwrap_or(Report::Lost("its thread ended"));
        if matches!(report, Report::Failed(_) | Report::Lost(_)) {
            self.reports = None;
        }
        report
    }

    /// Ends this session and waits until it is gone.
    pub(super) async fn stop(mut self) {
        drop(self.stop.take());
        if let Some(mut reports) = self.reports.take() {
            while reports.recv().await.is_some() {}
        }
    }
}

/// The life of a session's thread.
fn live(order: Order, reports: &mpsc::Sender<Report>, stop: oneshot::Receiver<()>) {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody listens any more only if the supervisor has gone on.
            return drop(reports.blocking_send(Report::Failed(error)));
        }
    };
    runtime.block_on(async {
        // Dropping `stop`'s sender is the signal.
        let mut stop = stop.map(|_| ());
        let scan = tokio::select! {
            scan = Scan::build(order, reports.clone()) => scan,
            () = &mut stop => return,
        };
        let end = match scan {
            Ok(mut scan) => {
                let built = Report::Built { adapter: scan.name.clone() };
                tokio::select! {
                    sent = reports.send(built) => if sent.is_err() { return },
                    () = &mut stop => return scan.stop().await,
                }
                tokio::select! {
                    why = scan.run() => Report::Lost(why),
                    () = &mut stop => return scan.stop().await,
                }
            }
            Err(error) => Report::Failed(error),
        };
        tokio::select! {
            // Nobody listens any more only if the supervisor has gone on.
            sent = reports.send(end) => drop(sent),
            () = &mut stop => {}
        }
    });
    runtime.shutdown_background();
}

// === impl Scan ===

impl Scan {
    async fn build(order: Order, reports: mpsc::Sender<Report>) -> Result<Self, BluezError> {
        let call_timeout = order.settings.call_timeout.0;
        let Named { name, adapter } = find(&order.settings.adapter, call_timeout).await?;
        let mut events =
            answered(call_timeout, adapter.events()).await.map_err(BluezError::Daemon)?;
        // First come the devices that BlueZ knows already. Nobody heard them now.
        while let Some(Some(_)) = events.next().now_or_never() {}
        // Starting a scan switches the adapter on, which is not for us to do.
        if !is_powered(&adapter, &name, call_timeout).await? {
            return Err(BluezError::PoweredOff(name));
        }
        let started = answered(call_timeout, adapter.start_scan(ScanFilter::default())).await;
        started.map_err(|answer| match answer.kind() {
            "NotReady" | "Blocked" => BluezError::PoweredOff(name.clone()),
            "ServiceUnknown" | "NameHasNoOwner" | "NoReply" | "Disconnected" => {
                BluezError::Daemon(answer)
            }
            "UnknownObject" | "UnknownMethod" => BluezError::NoAdapter(name.clone()),
            _ => BluezError::Refused(answer),
        })?;
        let now = order.clock.now();
        Ok(Self {
            order,
            name,
            adapter,
            events,
            join: Join::new(now),
            wishes: VecDeque::new(),
            asking: JoinSet::new(),
            probing: JoinSet::new(),
            alive: now,
            reports,
        })
    }

    /// Hears until the scan is lost; the answer is why.
    async fn run(&mut self) -> &'static str {
        loop {
            let now = self.order.clock.now();
            self.join.handle_timeout(now);
            self.hand_on();
            self.ask();
            if now >= self.alive + PROBE_AFTER && self.probing.is_empty() {
                self.probe();
            }
            let probe = self.probing.is_empty().then(|| self.alive + PROBE_AFTER);
            let due = [probe, self.join.poll_timeout()].into_iter().flatten().min();
            let due = due.map(|due| due.since(now));
            tokio::select! {
                event = self.events.next() => {
                    self.alive = self.order.clock.now();
                    match event {
                        Some(CentralEvent::StateUpdate(_)) => return "the adapter was switched",
                        Some(event) => self.event(event),
                        None => return "the stream of events ended",
                    }
                }
                Some(answer) = self.asking.join_next() => {
                    if let Ok(Some((ask, properties))) = answer {
                        self.join.properties(self.order.clock.now(), &ask, properties);
                    }
                }
                Some(answer) = self.probing.join_next() => match answer {
                    Ok(Ok(())) => self.alive = self.order.clock.now(),
                    Ok(Err(_)) | Err(_) => return "the adapter does not answer",
                },
                () = sleep(due.unwrap_or_default()), if due.is_some() => {}
            }
        }
    }

    /// Ends the scan as a good client does. bluetoothd would notice anyway, a little later, and
    /// refuse a scan that is started meanwhile.
    async fn stop(self) {
        // Whether it answers makes no difference any more.
        drop(timeout(STOP_TIMEOUT / 2, self.adapter.stop_scan()).await);
    }

    fn event(&mut self, event: CentralEvent) {
        let now = self.order.clock.now();
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
            self.order.counters.unusable.fetch_add(1, Ordering::Relaxed);
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
                self.order.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Asks about the next devices.
    fn ask(&mut self) {
        let call_timeout = self.order.settings.call_timeout.0;
        while self.asking.len() < MOST_ASKED
            && let Some((id, ask)) = self.wishes.pop_front()
        {
            let adapter = self.adapter.clone();
            self.asking.spawn(async move {
                let device = answered(call_timeout, adapter.peripheral(&id)).await.ok()?;
                let properties = answered(call_timeout, device.properties()).await.ok()??;
                Some((ask, Properties::from(properties)))
            });
        }
    }

    fn probe(&mut self) {
        let adapter = self.adapter.clone();
        let name = self.name.clone();
        let call_timeout = self.order.settings.call_timeout.0;
        self.probing.spawn(async move { probe(&adapter, &name, call_timeout).await });
    }

    /// Gives the supervisor what was heard; when it is behind, the newest is dropped and counted.
    fn hand_on(&mut self) {
        while let Some(whole) = self.join.poll() {
            let advertisement = Advertisement {
                heard: whole.heard,
                receiver: self.order.receiver.clone(),
                address: whole.address,
                rssi: whole.rssi,
                data: whole.data,
            };
            let report = Report::Heard { advertisement, fresh: whole.fresh };
            if let Err(mpsc::error::TrySendError::Full(_)) = self.reports.try_send(report) {
                self.order.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
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

//! One scan by way of bluetoothd, from connecting to the bus to giving up. How the scan fares and
//! what it hears out.

use std::time::Duration;

use btleplug::api::{Central as _, ScanFilter};
use futures_util::FutureExt as _;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use uuid::Uuid;

use super::{
    adapter::{Named, answered, find, is_powered, probe},
    error::BluezError,
    events::Events,
    monitored::Monitored,
    power,
};
use crate::{
    engine::Uptime,
    scan::{
        DataPlane, Plane,
        hci::{self, HciError},
        live::{Backend, Ends, LiveError, Order, Report, STOP_TIMEOUT},
        silence::Step,
    },
};

/// One scan that runs.
struct Scan {
    order: Order,
    named: Named,
    ear: Ear,
    watch: Watch,
}

/// Where what is heard comes from.
enum Ear {
    Events(Box<Events>),
    Monitor(Box<Monitored>),
}

/// Watches whether the adapter is still there and bluetoothd still answers, while nothing is heard.
/// A daemon that was killed and a bus that died say nothing.
pub(super) struct Watch {
    /// When something was last heard, or a probe was answered.
    alive: Uptime,
    probing: JoinSet<Result<(), BluezError>>,
}

/// A service that nobody offers: a random UUID (RFC 9562 5.4), made for this purpose.
const NOBODY: Uuid = Uuid::from_u128(0x7c0e_31d2_95f4_4b6a_a3d8_1e5f_0b92_c647);

/// After so much silence the adapter is asked whether it is still there.
const PROBE_AFTER: Duration = Duration::from_secs(5);

/// The life of a session, on a thread and an event loop of its own.
pub(in crate::scan) async fn live(order: Order, ends: Ends) {
    let Ends { reports, mut restarts, stop } = ends;
    // Dropping `stop`'s sender is the signal.
    let mut stop = stop.map(|_| ());
    let scan = tokio::select! {
        scan = Scan::build(order) => scan,
        () = &mut stop => return,
    };
    let mut scan = match scan {
        Ok(scan) => scan,
        // Nobody listens any more only if the supervisor has gone on.
        Err(error) => return drop(reports.send(Report::Failed(error)).await),
    };
    loop {
        let running = Report::Running { adapter: scan.named.name.clone(), plane: scan.ear.plane() };
        tokio::select! {
            sent = reports.send(running) => if sent.is_err() { return },
            () = &mut stop => return scan.end().await,
        }
        let end = tokio::select! {
            why = scan.hear(&reports) => Report::Lost(why),
            Some(()) = restarts.recv() => match scan.restart().await {
                Ok(()) => continue,
                Err(error) => Report::Failed(error.into()),
            },
            () = &mut stop => return scan.end().await,
        };
        tokio::select! {
            // Nobody listens any more only if the supervisor has gone on.
            sent = reports.send(end) => drop(sent),
            () = &mut stop => {}
        }
        return;
    }
}

// === impl Scan ===

impl Scan {
    async fn build(order: Order) -> Result<Self, LiveError> {
        let call_timeout = order.call_timeout;
        if order.step == Some(Step::Reset) {
            hci::reset_for(&order).await;
        }
        let named = find(&order.receiver.adapter, call_timeout).await?;
        if order.step == Some(Step::PowerCycle) {
            power::cycle(&named, call_timeout, &order.owes_power).await?;
        }
        // Starting a scan switches the adapter on, which is not for us to do.
        if !is_powered(&named.adapter, &named.name, call_timeout).await?
            && !power::settle(&named, call_timeout, &order.owes_power).await
        {
            return Err(BluezError::PoweredOff(named.name).into());
        }
        let ear = Ear::open(&order, &named).await?;
        start(&named, ear.filter(), call_timeout).await?;
        let watch = Watch { alive: order.clock.now(), probing: JoinSet::new() };
        Ok(Self { order, named, ear, watch })
    }

    /// Hears until the scan is lost; the answer is why. Loses nothing when dropped.
    async fn hear(&mut self, reports: &mpsc::Sender<Report>) -> &'static str {
        let Self { order, named, ear, watch } = self;
        match ear {
            Ear::Events(events) => events.hear(order, named, watch, reports).await,
            Ear::Monitor(monitored) => monitored.hear(order, named, watch, reports).await,
        }
    }

    /// Stops the scan and starts it again.
    async fn restart(&mut self) -> Result<(), BluezError> {
        let call_timeout = self.order.call_timeout;
        // bluetoothd may have forgotten the scan; starting it is what counts.
        drop(answered(call_timeout, self.named.adapter.stop_scan()).await);
        start(&self.named, self.ear.filter(), call_timeout).await?;
        self.watch.alive = self.order.clock.now();
        Ok(())
    }

    /// Ends the scan as a good client does. bluetoothd would notice anyway, a little later, and
    /// refuse a scan that is started meanwhile.
    async fn end(self) {
        // Whether it answers makes no difference any more.
        drop(timeout(STOP_TIMEOUT / 2, self.named.adapter.stop_scan()).await);
    }
}

/// Starts a scan.
async fn start(
    named: &Named,
    filter: ScanFilter,
    call_timeout: Duration,
) -> Result<(), BluezError> {
    let started = answered(call_timeout, named.adapter.start_scan(filter)).await;
    started.map_err(|answer| match answer.kind() {
        "NotReady" | "Blocked" => BluezError::PoweredOff(named.name.clone()),
        "ServiceUnknown" | "NameHasNoOwner" | "NoReply" | "Disconnected" => {
            BluezError::Daemon(answer)
        }
        "UnknownObject" | "UnknownMethod" => BluezError::NoAdapter(named.name.clone()),
        _ => BluezError::Refused(answer),
    })
}

// === impl Ear ===

impl Ear {
    /// Opens the plane that was asked for; it hears as soon as a scan is started.
    async fn open(order: &Order, named: &Named) -> Result<Self, LiveError> {
        let Backend::Bluez { data } = order.receiver.backend else {
            return Err(LiveError::NotBuilt);
        };
        if data != DataPlane::Dbus {
            match Monitored::open(order, named).await {
                Ok(monitored) => return Ok(Self::Monitor(Box::new(monitored))),
                Err(HciError::Forbidden { .. } | HciError::NoBluetooth)
                    if data == DataPlane::Auto => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self::Events(Box::new(Events::open(order, named).await?)))
    }

    /// What bluetoothd is to be told of. When the data comes from the monitor: of nobody, and the
    /// kernel keeps it all from the daemon and the bus, which would otherwise work hard for nothing.
    /// The filter of each client is its own: what others look for is found.
    fn filter(&self) -> ScanFilter {
        match self {
            Self::Events(_) => ScanFilter::default(),
            Self::Monitor(_) => ScanFilter { services: vec![NOBODY] },
        }
    }

    const fn plane(&self) -> Plane {
        match self {
            Self::Events(_) => Plane::Dbus,
            Self::Monitor(_) => Plane::Monitor,
        }
    }
}

// === impl Watch ===

impl Watch {
    /// Something was heard.
    pub(super) fn heard(&mut self, now: Uptime) {
        self.alive = now;
    }

    /// When to look again.
    pub(super) fn due(&self) -> Option<Uptime> {
        self.probing.is_empty().then(|| self.alive + PROBE_AFTER)
    }

    /// Asks, if it is time.
    pub(super) fn look(&mut self, now: Uptime, named: &Named, call_timeout: Duration) {
        if self.due().is_some_and(|due| now >= due) {
            let named = named.clone();
            self.probing
                .spawn(async move { probe(&named.adapter, &named.name, call_timeout).await });
        }
    }

    /// Waits until an answer shows that the scan is lost, if it does. For ever when nothing was
    /// asked.
    pub(super) async fn lost(&mut self, now: impl Fn() -> Uptime) -> Option<&'static str> {
        match self.probing.join_next().await {
            None => std::future::pending().await,
            Some(Ok(Ok(()))) => {
                self.alive = now();
                None
            }
            // What was heard since the question says more than its answer.
            Some(_) if now() < self.alive + PROBE_AFTER => None,
            Some(_) => Some("the adapter does not answer"),
        }
    }
}

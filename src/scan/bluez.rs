//! Room 1, the live source. A local Bluetooth adapter in, [`Advertisement`]s and the radio's state
//! out, by btleplug over BlueZ.
//!
//! The decider is [`Silence`]; here is its doer. A session is one scan, from connecting to the bus
//! to giving up, on a thread of its own; this supervisor starts them, one at a time, for as long as
//! it runs. Promises never to end by itself, never to wait for the bus or for a full edge before it
//! hears the next advertisement, never to power an adapter on, and never to log an address or data.

mod ad;
mod adapter;
mod devices;
mod error;
mod join;
mod session;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tracing::{debug, error, info, warn};

use self::session::{Order, Report, Session};
pub use self::{
    adapter::{AdapterInfo, adapters},
    error::BluezError,
};
use super::{
    Heard, ScanCounters,
    silence::{Limits, Silence},
};
use crate::{
    clock::Clock,
    engine::{Advertisement, DeafCause, RadioState, ReceiverId},
    settings::Span,
};

/// What this source goes by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The adapter's name, like `hci0`; empty for the first one.
    pub adapter: String,
    /// Silence after which the scan is rebuilt, from 2 s. A rebuild costs some milliseconds of air
    /// time and a few calls over the bus.
    pub silence_timeout: Span,
    /// How long bluetoothd may take for one answer.
    pub call_timeout: Span,
    /// The first pause after an attempt that failed; doubled with each further one, up to 10 s.
    pub retry_delay: Span,
    /// The longest silence on which presence may go on: two thirds of its exit timeout. Without it,
    /// `silence_timeout`.
    pub suspect_after: Option<Span>,
}

/// The edge to the engine, with the changes of state that wait for room.
struct Outlet {
    heard: mpsc::Sender<Heard>,
    counters: Arc<ScanCounters>,
    waiting: VecDeque<RadioState>,
}

/// The engine has stopped listening.
struct Closed;

/// What a technician is told.
#[derive(Default)]
struct Log {
    /// Why the last attempt failed.
    trouble: Option<BluezError>,
    /// The last state told was deaf.
    deaf: bool,
    /// A scan has been started before.
    started: bool,
}

/// How long a session may take to stop its scan before it is left to itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Changes of state that may wait for room. They follow one another at seconds; if the engine
/// stands still for longer than these take, the newest replaces the last.
const MOST_WAITING: usize = 32;

/// Scans until told to stop, or until nobody listens.
///
/// What happens when `heard` is full: the newest advertisement is dropped and counted; a change of
/// the radio's state waits, and what is heard meanwhile is dropped, so that the order holds.
pub async fn run(
    settings: &Settings,
    receiver: ReceiverId,
    clock: Clock,
    heard: mpsc::Sender<Heard>,
    counters: Arc<ScanCounters>,
    mut stop: watch::Receiver<bool>,
) {
    let mut silence = Silence::new(settings.limits(), clock.now());
    let mut outlet = Outlet { heard, counters: Arc::clone(&counters), waiting: VecDeque::new() };
    let mut session = Session::none();
    let mut log = Log::default();
    loop {
        silence.handle_timeout(clock.now());
        while let Some(state) = silence.poll_change() {
            log.state(state);
            outlet.state(state);
        }
        if silence.poll_rebuild() {
            if session.was_started() {
                counters.rebuilds.fetch_add(1, Ordering::Relaxed);
            }
            let order = Order {
                settings: settings.clone(),
                receiver: receiver.clone(),
                clock,
                counters: Arc::clone(&counters),
            };
            session = session.replace(order);
        }
        let due = silence.poll_timeout().map(|due| due.since(clock.now()));
        tokio::select! {
            report = session.next() => match report {
                Report::Built { adapter } => {
                    log.built(&adapter);
                    silence.built(clock.now());
                }
                Report::Heard { advertisement, fresh } => {
                    silence.heard(clock.now(), fresh);
                    while let Some(state) = silence.poll_change() {
                        log.state(state);
                        outlet.state(state);
                    }
                    if let Err(Closed) = outlet.advertisement(advertisement) {
                        break;
                    }
                }
                Report::Failed(error) => {
                    debug!(%error, "An attempt to scan failed.");
                    silence.failed(clock.now(), error.cause());
                    log.trouble = Some(error);
                }
                Report::Lost(why) => {
                    debug!(why, "The scan was lost.");
                    silence.lost(clock.now());
                }
            },
            result = outlet.relieve(), if !outlet.waiting.is_empty() => {
                if let Err(Closed) = result {
                    break;
                }
            }
            () = sleep(due.unwrap_or_default()), if due.is_some() => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    if timeout(STOP_TIMEOUT, session.stop()).await.is_err() {
        debug!("The scan did not stop in time and is left to itself.");
    }
}

// === impl Log ===

impl Log {
    fn built(&mut self, adapter: &str) {
        if std::mem::replace(&mut self.started, true) {
            debug!(adapter, "Scanning started anew.");
        } else {
            info!(adapter, "Scanning started.");
        }
    }

    fn state(&mut self, state: RadioState) {
        let was_deaf = std::mem::replace(&mut self.deaf, false);
        match state {
            RadioState::Hearing if was_deaf => info!("The radio hears again."),
            RadioState::Hearing => debug!("The radio hears."),
            RadioState::Quiet if was_deaf => info!("The radio works again; nobody is here."),
            RadioState::Quiet => debug!("The silence was checked; nobody is here."),
            RadioState::Suspect { .. } => debug!("Nothing is heard; presence waits."),
            RadioState::Deaf { cause, .. } => {
                self.deaf = true;
                let trouble = self.trouble.as_ref().filter(|trouble| trouble.cause() == cause);
                let trouble = trouble.map(ToString::to_string).unwrap_or_default();
                let needs_hands = matches!(cause, DeafCause::NoAdapter | DeafCause::PoweredOff);
                let cause = cause.name();
                if needs_hands {
                    error!(cause, trouble, "The radio is deaf until somebody sees to the adapter.");
                } else {
                    warn!(cause, trouble, "The radio is deaf; trying again until it hears.");
                }
            }
        }
    }
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            adapter: String::new(),
            silence_timeout: Span::secs(20),
            call_timeout: Span::secs(5),
            retry_delay: Span::secs(1),
            suspect_after: None,
        }
    }
}

impl Settings {
    fn limits(&self) -> Limits {
        let silence_timeout = self.silence_timeout.0;
        Limits {
            suspect_after: self
                .suspect_after
                .map_or(silence_timeout, |Span(bound)| bound.min(silence_timeout)),
            silence_timeout,
            retry_delay: self.retry_delay.0,
            // Long enough for a slow answer, and for another one after it.
            patience: self.call_timeout.0 * 2,
        }
    }
}

// === impl Outlet ===

impl Outlet {
    /// Hands an advertisement on, or drops it when there is no room.
    fn advertisement(&self, advertisement: Advertisement) -> Result<(), Closed> {
        let counter = if self.waiting.is_empty() {
            match self.heard.try_send(Heard::Advertisement(advertisement)) {
                Ok(()) => &self.counters.heard,
                Err(mpsc::error::TrySendError::Full(_)) => &self.counters.dropped,
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(Closed),
            }
        } else {
            &self.counters.dropped
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Hands a change of state on as soon as there is room.
    fn state(&mut self, state: RadioState) {
        if self.waiting.is_empty() && self.heard.try_send(Heard::Radio(state)).is_ok() {
            return;
        }
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_back();
        }
        self.waiting.push_back(state);
    }

    /// Waits for room and hands on the oldest waiting change. Loses nothing when dropped.
    async fn relieve(&mut self) -> Result<(), Closed> {
        let room = self.heard.reserve().await.map_err(|_| Closed)?;
        if let Some(state) = self.waiting.pop_front() {
            room.send(Heard::Radio(state));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{AddressKind, DeviceAddress, Uptime};

    const SUSPECT: RadioState = RadioState::Suspect { since: Uptime::ZERO };

    fn outlet(room: usize) -> (Outlet, mpsc::Receiver<Heard>) {
        let (heard, engine) = mpsc::channel(room);
        (Outlet { heard, counters: Arc::default(), waiting: VecDeque::new() }, engine)
    }

    fn advertisement() -> Advertisement {
        Advertisement {
            heard: Uptime::ZERO,
            receiver: ReceiverId::default(),
            address: DeviceAddress::new([0; 6], AddressKind::Random),
            rssi: None,
            data: Vec::new(),
        }
    }

    fn states(engine: &mut mpsc::Receiver<Heard>) -> Vec<Option<RadioState>> {
        let heard = std::iter::from_fn(|| engine.try_recv().ok());
        let state = |heard| match heard {
            Heard::Radio(state) => Some(state),
            Heard::Advertisement(_) => None,
        };
        heard.map(state).collect()
    }

    #[test]
    fn a_full_edge_drops_the_newest_advertisement_and_counts_it() {
        let (outlet, mut engine) = outlet(2);
        for _ in 0..5 {
            assert!(outlet.advertisement(advertisement()).is_ok());
        }
        assert_eq!(outlet.counters.heard.load(Ordering::Relaxed), 2);
        assert_eq!(outlet.counters.dropped.load(Ordering::Relaxed), 3);
        assert_eq!(states(&mut engine), [None, None]);
    }

    #[tokio::test]
    async fn a_change_of_state_waits_for_room_and_nothing_overtakes_it() {
        let (mut outlet, mut engine) = outlet(1);
        assert!(outlet.advertisement(advertisement()).is_ok());
        outlet.state(SUSPECT);
        outlet.state(RadioState::Hearing);
        assert_eq!(states(&mut engine), [None]);
        // There is room now, but what was heard after the change must not come before it.
        assert!(outlet.advertisement(advertisement()).is_ok());
        assert_eq!(states(&mut engine), []);
        let mut told = Vec::new();
        while !outlet.waiting.is_empty() {
            assert!(outlet.relieve().await.is_ok());
            told.extend(states(&mut engine));
        }
        assert!(outlet.advertisement(advertisement()).is_ok());
        told.extend(states(&mut engine));
        assert_eq!(told, [Some(SUSPECT), Some(RadioState::Hearing), None]);
    }

    #[test]
    fn waiting_changes_are_bounded_and_the_last_one_is_the_truth() {
        let (mut outlet, _engine) = outlet(1);
        for _ in 0..100 {
            outlet.state(SUSPECT);
            outlet.state(RadioState::Quiet);
        }
        assert!(outlet.waiting.len() <= MOST_WAITING);
        assert_eq!(outlet.waiting.back(), Some(&RadioState::Quiet));
    }

    #[tokio::test]
    async fn a_deaf_engine_is_noticed() {
        let (mut outlet, engine) = outlet(1);
        drop(engine);
        assert!(outlet.advertisement(advertisement()).is_err());
        outlet.state(SUSPECT);
        assert!(outlet.relieve().await.is_err());
    }
}

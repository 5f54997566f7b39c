//! Room 7. Durable records in, MQTT publishes out; acknowledgements back to the outbox.
//!
//! # What it promises
//! - Only records the outbox calls durable are published, oldest first, and one leaves the outbox
//!   only when the broker has acknowledged it: at least once, in order, nothing lost. What breaks
//!   with a connection is sent again, so a consumer needs the events' ids.
//! - A record that cannot be sent yet, because it depends on something not known, is passed over:
//!   others go on, and what is about one person stays in order.
//! - It never blocks the outbox or the engine: requests go into a bounded channel when there is
//!   room, and the answer comes by a channel of its own.
//! - It never gives up on a broker: every fault but an unusable configuration is cured by trying
//!   again, after a while.
//!
//! # Layout, in reading order
//! | file | what it holds |
//! |---|---|
//! | `settings`, `broker` | section `[uplink]`, the broker's address |
//! | `access`, `tls`, `error` | the files the settings name, and what can be wrong with them |
//! | `topic` | how topics are spelled |
//! | `courier` | who decides what is published for a record |
//! | `in_flight`, `backoff`, `suspects`, `pump` | the decisions, pure |
//! | `wire` | rumqttc, both versions of the protocol |
//! | `session` | one connection's life |
//! | `account` | link state and counters |

mod access;
mod account;
mod backoff;
mod broker;
mod courier;
mod error;
mod in_flight;
pub mod payload;
mod pump;
mod replay;
mod session;
mod settings;
mod suspects;
mod tls;
mod topic;
mod wire;

use std::{collections::BTreeSet, fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

/// Why a connection ended: the room of the commands has connections of its own.
pub(crate) use self::wire::Fault;
pub use self::{
    access::{Access, check_broker_name},
    account::{Counters, LinkState, Totals},
    backoff::Backoff,
    broker::{Broker, BrokerUrl},
    courier::{Courier, Dispatch},
    error::{Advisory, UplinkError},
    in_flight::{InFlight, PacketId, Parcel},
    replay::{REPLAYS_BOUND, Replay},
    settings::{Protocol, Settings, SettingsError},
    topic::{Name, NotAName, NotATopic, RegistryTopic, Topic, Topics},
};
use self::{
    session::{End, Ended, Session},
    suspects::Suspects,
};
use crate::{
    clock::Clock,
    engine::Uptime,
    outbox::{Read, Sequence},
};

/// The same reason is told again only after this, so that a broker that is away for a week does
/// not fill the journal.
const SAY_AGAIN: Duration = Duration::from_mins(10);

/// Everything the room needs.
pub struct Uplink<C> {
    /// Section `[uplink]`.
    pub settings: Settings,
    /// What [`Access::load`] made of the settings.
    pub access: Access,
    /// The directory of systemd's credentials (`CREDENTIALS_DIRECTORY`), to load the access anew
    /// before each further connection.
    pub credentials: Option<PathBuf>,
    /// The MQTT client identifier: unique at the broker, and always the same.
    pub client_id: String,
    /// The topics of this gateway.
    pub topics: Topics,
    /// Who turns records into publishes.
    pub courier: C,
    /// The outbox's ear.
    pub outbox: mpsc::Sender<Read>,
    /// Up to which record everything is durable.
    pub durable: watch::Receiver<Option<Sequence>>,
    /// Changes when the courier should [reconsider](Courier::reconsider) what it passed over. A
    /// change that it does not care about costs next to nothing.
    pub reconsider: watch::Receiver<()>,
    /// What the platform wants sent again.
    pub replays: mpsc::Receiver<Replay>,
    /// What is published beside the records.
    pub documents: Documents,
    /// Where the state of the link is published.
    pub link: watch::Sender<LinkState>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// What time it is.
    pub clock: Clock,
    /// Chance, 0 to 1, for the jitter of delays.
    pub chance: Box<dyn FnMut() -> f64 + Send>,
}

/// What is published beside the records, all of it JSON. An empty document is not published.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The state: published (retained, `QoS` 1) on connecting and when it changes, at most once a
    /// second.
    pub state: watch::Receiver<Vec<u8>>,
    /// The state that the broker publishes for us when we vanish: the last will.
    pub vanished: Vec<u8>,
    /// The state that is published when we stop in good order.
    pub stopped: Vec<u8>,
    /// The metrics: published (not retained, `QoS` 0) when they change while there is a connection.
    pub metrics: watch::Receiver<Vec<u8>>,
}

/// What outlives a connection.
#[derive(Debug)]
struct Carried {
    /// Records that were written to a connection, or put off by the broker, and not acknowledged.
    unanswered: BTreeSet<Sequence>,
    /// Everything up to here was passed over, or is gone.
    floor: Option<Sequence>,
    /// The next connection begins with one record at a time.
    careful: bool,
    /// Delays while the broker puts records off.
    put_off: Backoff,
    /// Records that may be what connections break of.
    suspects: Suspects,
}

/// So many unanswered records are remembered; beyond that the oldest is forgotten, and not counted
/// as redelivered.
const UNANSWERED: usize = 16_384;

/// The order to stop.
#[derive(Debug)]
struct Stop {
    receiver: oneshot::Receiver<()>,
    told: bool,
}

/// Connects, delivers, and connects again, until told to stop by `stop` (a value, or its sender
/// dropped). Then delivers what is durable for at most `drain_timeout`, publishes the stopped
/// state, disconnects, and returns what was counted, at most two seconds later than that. Without
/// a connection it returns at once. If the outbox ends first it returns as well, and the last will
/// speaks.
pub async fn run<C: Courier>(mut uplink: Uplink<C>, stop: oneshot::Receiver<()>) -> Totals {
    let mut stop = Stop { receiver: stop, told: false };
    let settings = &uplink.settings;
    let (min, max) = (settings.backoff_min.0, settings.backoff_max.0);
    let mut backoff = Backoff::new(min, max);
    let mut carried = Carried {
        unanswered: BTreeSet::new(),
        floor: None,
        careful: false,
        put_off: Backoff::new(min, max),
        suspects: Suspects::default(),
    };
    let mut repeats = Repeats::default();
    loop {
        let Ended { why, proved, was_online } =
            Session::new(&mut uplink, &mut carried).live(&mut stop).await;
        let End::Broke(fault) = why else { break };
        uplink.counters.faulted();
        if proved {
            backoff.proved();
        }
        let delay = backoff.failed((uplink.chance)());
        uplink.go_offline(&fault, was_online);
        repeats.tell(&fault, delay, uplink.clock.now());
        if stop.is_told() {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.told() => break,
        }
        uplink.reload_access().await;
    }
    let now = uplink.clock.now();
    let why = "stopped".to_owned();
    uplink.link.send_replace(LinkState::Offline { since: now, why });
    let totals = uplink.counters.totals();
    info!(
        published = totals.published,
        acknowledged = totals.acknowledged,
        "The uplink has stopped."
    );
    totals
}

impl<C> Uplink<C> {
    /// An outage lasts from the end of the last connection, however often it is tried since.
    fn go_offline(&self, fault: &Fault, was_online: bool) {
        let now = self.clock.now();
        let why = fault.to_string();
        self.link.send_modify(|link| {
            let since = match link {
                LinkState::Offline { since, .. } if !was_online => *since,
                _ => now,
            };
            *link = LinkState::Offline { since, why };
        });
    }

    /// Reads certificates and password again: they may have been renewed. Not in this thread,
    /// because it reads files.
    async fn reload_access(&mut self) {
        let (settings, credentials) = (self.settings.clone(), self.credentials.clone());
        let load = move || Access::load(&settings, credentials.as_deref());
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok(access)) => self.access = access,
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                warn!(error, "Failed to load the credentials anew; the old ones are used.");
            }
            Err(_) => debug!("The runtime is shutting down."),
        }
    }
}

impl<C> fmt::Debug for Uplink<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uplink")
            .field("client_id", &self.client_id)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

// === impl Carried ===

impl Carried {
    /// What has been written and not acknowledged is sent again, and counted as that.
    fn remember_unanswered(&mut self, records: impl IntoIterator<Item = Sequence>) {
        self.unanswered.extend(records);
        // The oldest may be long gone: the outbox does not say whom it erased.
        while self.unanswered.len() > UNANSWERED {
            self.unanswered.pop_first();
        }
    }
}

// === impl Stop ===

impl Stop {
    /// Returns once we have been told.
    async fn told(&mut self) {
        if !self.told {
            // A dropped sender means the same as an order: whoever could give it is gone.
            (&mut self.receiver).await.ok();
            self.told = true;
        }
    }

    fn is_told(&self) -> bool {
        self.told
    }
}

/// Keeps the log from repeating itself.
#[derive(Debug, Default)]
struct Repeats {
    last: Option<(String, Uptime)>,
    untold: u64,
}

impl Repeats {
    fn tell(&mut self, fault: &Fault, delay: Duration, now: Uptime) {
        let why = fault.to_string();
        let retry_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        if let Some((last, at)) = &self.last
            && *last == why
            && now.since(*at) < SAY_AGAIN
        {
            self.untold += 1;
            debug!(why, retry_ms, "No connection to the broker, as before.");
            return;
        }
        let untold = std::mem::take(&mut self.untold);
        if fault.wants_human() {
            error!(why, retry_ms, untold, "No connection to the broker; somebody must look.");
        } else {
            warn!(why, retry_ms, untold, "No connection to the broker; trying again.");
        }
        self.last = Some((why, now));
    }
}

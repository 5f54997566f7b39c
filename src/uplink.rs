//! Room 7. Durable records in, MQTT publishes out; acknowledgements back to the outbox.
//!
//! # What it promises
//! - Only records the outbox calls durable are published, and one leaves the line only when the
//!   broker has acknowledged it: at least once, nothing lost. What breaks with a connection is sent
//!   again, so a consumer needs the events' ids.
//! - What is about one subject, fixture or zone is sent in order: the next one only when the one
//!   before has been answered. Between different ones what is new goes first.
//! - A record that cannot be sent yet, because it depends on something not known, is passed over:
//!   others go on. One that the broker refuses for good is set aside, and kept.
//! - It never blocks the outbox or the engine: requests go into a bounded channel when there is
//!   room, and the answer comes by a channel of its own.
//! - It never gives up on a broker: every fault but an unusable configuration is cured by trying
//!   again, after a while.
//!
//! # Layout, in reading order
//! | file | what it holds |
//! |---|---|
//! | `settings`, `broker` | section `[uplink]`, a broker's address |
//! | `access`, `tls`, `error` | the files the settings name, and what can be wrong with them |
//! | `line` | how a connection is made, for this room and for the commands' |
//! | `route`, `backoff` | which broker is tried next, and when, pure |
//! | `lookout` | what may be a reason to make a connection anew |
//! | `topic` | how topics are spelled |
//! | `courier` | who decides what is published for a record |
//! | `in_flight`, `suspects`, `oversize`, `replay`, `pump` | the decisions, pure |
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
mod line;
mod lookout;
mod oversize;
pub mod payload;
mod pump;
mod repeats;
mod replay;
mod route;
mod session;
mod settings;
mod suspects;
mod tls;
mod topic;
mod wire;

use std::{collections::BTreeSet, fmt, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::info;

pub use self::{
    access::{Access, check_broker_name, check_broker_names},
    account::{Counters, DeadLetter, LineStatus, LinkState, Totals},
    backoff::Backoff,
    broker::{Broker, BrokerUrl},
    courier::{Courier, Dispatch},
    error::{Advisory, UplinkError},
    in_flight::{InFlight, PacketId, Parcel},
    line::ProxyUrl,
    replay::{REPLAYS_BOUND, Replay, Replayed},
    settings::{Protocol, Settings, SettingsError},
    tls::{Expiries, ExpiryWarning},
    topic::{Name, NotAName, NotATopic, RegistryTopic, Topic, Topics},
};
/// How connections are made, which the room of the commands makes, too.
pub(crate) use self::{
    line::{Broken, Door, Fault, Lesson, Line, unpublished, unsubscribed},
    lookout::{Leave, Lookout},
    repeats::Repeats,
    route::{Ending, Route},
};
use self::{
    oversize::Oversize,
    pump::{Apart, Marks},
    replay::Replaying,
    session::{End, Ended, Session},
    suspects::Suspects,
};
use crate::{
    clock::Clock,
    outbox::{Read, Sequence},
};

/// What is said about the moment between a connection and the next one that replaces it.
const AGAIN: &str = "the connection is made anew";

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
    /// Changes when dead letters were brought back into the line, or records were found again: they
    /// are older than what was looked at last.
    pub brought_back: watch::Receiver<u64>,
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
    /// Records that were too large for a broker.
    oversize: Oversize,
    /// What is new.
    marks: Marks,
    /// Whom the broker puts off while it takes others.
    apart: Apart,
    /// What is being sent again.
    replaying: Option<Replaying>,
    /// Which of the brokers is tried.
    place: usize,
    /// Topics may be sent as numbers, until a broker grants some and then does not know them.
    aliases: bool,
    /// Why the connection is to be made anew, once there is a reason.
    leave: watch::Receiver<Option<Leave>>,
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
    let mut route = Route::new(uplink.access.brokers(), settings);
    let credentials = uplink.credentials.as_deref();
    let mut lookout = Lookout::new(settings, credentials, &uplink.access, uplink.clock, true);
    let (leave, leave_receiver) = watch::channel(None);
    let mut carried = Carried {
        unanswered: BTreeSet::new(),
        floor: None,
        careful: false,
        put_off: Backoff::new(settings.backoff_min.0, settings.backoff_max.0),
        suspects: Suspects::default(),
        oversize: Oversize::default(),
        marks: Marks::default(),
        apart: Apart::default(),
        replaying: None,
        place: route.place(),
        aliases: true,
        leave: leave_receiver,
    };
    let mut repeats = Repeats::of("No connection to the broker");
    loop {
        let began = uplink.clock.now();
        carried.place = route.place();
        leave.send_replace(None);
        uplink.counters.trying(&uplink.access, carried.place);
        let chance = (uplink.chance)();
        let Ended { why, proved, was_online } = {
            let beside = lookout.beside(carried.place, chance);
            let live = Session::new(&mut uplink, &mut carried).live(&mut stop);
            Box::pin(accompanied(live, beside, &leave)).await
        };
        let delay = match why {
            End::Stopped => break,
            End::Again(why) => {
                if why == Leave::Return {
                    route.return_to_first();
                }
                uplink.go_offline(AGAIN.to_owned(), was_online);
                Duration::ZERO
            }
            End::Broke(fault) => {
                uplink.counters.faulted();
                carried.aliases &= !fault.blames_alias();
                let stood = uplink.clock.now().since(began);
                let ending = Ending { lesson: fault.lesson(), proved, stood };
                let delay = route.ended(&ending, (uplink.chance)());
                uplink.go_offline(fault.to_string(), was_online);
                repeats.tell(&fault, delay, uplink.clock.now());
                delay
            }
        };
        if stop.is_told() {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.told() => break,
        }
        uplink.access = lookout.reload().await;
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

/// Lives a connection, and lets it know when it should be made anew.
pub(crate) async fn accompanied<T>(
    live: impl Future<Output = T>,
    beside: impl Future<Output = Leave>,
    leave: &watch::Sender<Option<Leave>>,
) -> T {
    let (mut live, mut beside) = (pin!(live), pin!(beside));
    let mut told = false;
    loop {
        tokio::select! {
            ended = &mut live => return ended,
            why = &mut beside, if !told => {
                told = true;
                leave.send_replace(Some(why));
            }
        }
    }
}

impl<C> Uplink<C> {
    /// An outage lasts from the end of the last connection, however often it is tried since.
    fn go_offline(&self, why: String, was_online: bool) {
        let now = self.clock.now();
        self.link.send_modify(|link| {
            let since = match link {
                LinkState::Offline { since, .. } if !was_online => *since,
                _ => now,
            };
            *link = LinkState::Offline { since, why };
        });
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

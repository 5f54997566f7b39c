//! The platform's commands in, by a connection of their own; orders for the corridor out, and what
//! became of them back to the platform. `docs/commands.md` is the contract.
//!
//! # What it promises
//! - Nothing is done that nobody trusted has signed, for this gateway, in time and in order; what
//!   is refused is counted and reported by a word, and changes nothing.
//! - A command is acknowledged to the broker only when it was carried out, or refused: a crash
//!   before that brings it again. The broker keeps what comes while the gateway is off.
//! - [`Command::caught_up`] is true only while the line stands, and everything that was said up to
//!   now has been carried out.
//! - No message, however large or wrong, wedges the line for ever.
//!
//! # Layout, in reading order
//! | file | what it holds |
//! |---|---|
//! | `settings`, `keyring` | section `[command]`, the trusted keys |
//! | `token`, `reason` | a JWS, and why it is refused |
//! | `change`, `snapshot`, `standing` | what commands to a store are about, and how far we have come |
//! | `errand` | what commands to one gateway are about |
//! | `desk` | the decider, pure |
//! | `gate`, `rarely` | whether all is carried out; what is worth telling; pure |
//! | `report`, `account` | what is told and counted |
//! | `wire` | rumqttc, both versions of the protocol |
//! | `session` | one connection's life |

mod account;
mod change;
mod desk;
mod errand;
mod gate;
mod keyring;
mod rarely;
mod reason;
mod report;
mod session;
mod settings;
mod snapshot;
mod standing;
mod token;
mod wire;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

pub use self::{
    account::{Counters, Totals},
    change::{Change, RefusedEntry, Withdrawn},
    desk::{Accepted, Decision, Desk, Moment, Noted, Refusal, Task, Wanted},
    errand::{Answer, CommandName, Errand, ErrandName, Numbers},
    keyring::Keyring,
    reason::Reason,
    settings::{Settings, SettingsError, TrustedKey},
    standing::Standing,
    token::LARGEST_COMMAND,
};
use self::{
    rarely::{Quota, Rarely},
    session::{End, Session, Why},
};
use crate::{
    clock::Clock,
    engine::{Uptime, WallClock},
    uplink::{self, Access, Ending, Leave, Lookout, Route, Topics, accompanied},
};

/// What is put behind the uplink's client identifier: two connections need two.
const CLIENT_SUFFIX: &str = "-commands";

/// Everything the room needs.
pub struct Command {
    /// Section `[command]`.
    pub settings: Settings,
    /// Section `[uplink]`: the broker is the same.
    pub uplink: uplink::Settings,
    /// What [`Access::load`] made of it.
    pub access: Access,
    /// The directory of systemd's credentials, to load the access anew before each further
    /// connection.
    pub credentials: Option<PathBuf>,
    /// The uplink's client identifier; `-commands` is put behind it.
    pub client_id: String,
    /// The topics of this gateway.
    pub topics: Topics,
    /// How far the last run came.
    pub standing: Standing,
    /// Where orders go. One at a time is under way, so room for one is enough.
    pub orders: mpsc::Sender<Order>,
    /// Where it is told whether everything said up to now was carried out.
    pub caught_up: watch::Sender<bool>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Monotonic time.
    pub clock: Clock,
    /// The time by the wall, and how far to trust it.
    pub wall: Box<dyn Fn() -> WallClock + Send + Sync>,
    /// Chance, 0 to 1, for the jitter of delays and for the fences.
    pub chance: Box<dyn FnMut() -> f64 + Send>,
}

/// What the corridor is to do.
#[derive(Debug)]
pub struct Order {
    /// With the registry, or with the outbox.
    pub task: Task,
    /// The number of the command.
    pub number: u64,
    /// What is to be kept in the same write as the change.
    pub standing: Standing,
    /// Where what became of it is to be said, once it is durable everywhere. A sender that is
    /// dropped means that it could not be carried out.
    pub reply: oneshot::Sender<Result<Done, NotCarried>>,
}

/// What became of an order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Done {
    /// The registry is changed.
    Changed(Carried),
    /// The outbox was asked.
    Answered(Answer),
    /// It cannot be done as things are. Nothing was done, nothing was kept, and whoever wants it
    /// asks again.
    Refused(Reason),
}

/// What became of a change of the registry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Carried {
    /// Subjects that are new.
    pub added: u64,
    /// Subjects that are enrolled differently now.
    pub changed: u64,
    /// Subjects that were forgotten.
    pub withdrawn: u64,
    /// Open visits that were closed for it, silently.
    pub visits_closed: u64,
    /// Records erased from the outbox.
    pub records_erased: u64,
    /// Records of which a part was erased.
    pub records_narrowed: u64,
    /// Entries that could not be carried out, and why.
    pub refused: Vec<RefusedEntry>,
}

/// An order could not be carried out, and may be if it is given again.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an order could not be carried out: {0}")]
pub struct NotCarried(pub String);

/// What outlives a connection.
struct Kept {
    /// The order that is under way.
    under_way: Option<UnderWay>,
    /// What is still to be told the platform: the last level of the topic, and the document.
    reports: VecDeque<(&'static str, Vec<u8>)>,
    /// When a snapshot was asked for last, for which gap, and whether a part has come since.
    asked: Option<Asked>,
    /// The session at the broker is to be forgotten, because something in it cannot be read.
    purge: bool,
    /// Filters are subscribed one by one, to find the one behind which something unreadable waits.
    careful: bool,
    /// Filters that are not subscribed for now, and since when.
    left_out: BTreeMap<usize, Uptime>,
    /// How often in a row the broker sent something that could not be understood.
    garbled: u32,
    /// Which of the brokers is tried.
    place: usize,
    /// For how many seconds the broker keeps a session, as was told when that is too short.
    short_memory: Option<u32>,
    /// Why the connection is to be made anew, once there is a reason.
    leave: watch::Receiver<Option<Leave>>,
    refusals: Rarely<Reason>,
    quota: Quota,
    unpublished: Rarely<&'static str>,
}

/// An order that is under way.
struct UnderWay {
    reply: oneshot::Receiver<Result<Done, NotCarried>>,
    command: CommandName,
    number: u64,
    standing: Standing,
    refused: Vec<RefusedEntry>,
    /// To be acknowledged; only over the connection it came by.
    receipt: Option<wire::Receipt>,
}

/// A snapshot was asked for.
struct Asked {
    at: Uptime,
    /// A part has come since.
    answered: bool,
}

/// The order to stop.
struct Stop {
    receiver: oneshot::Receiver<()>,
    told: bool,
}

/// Connects, obeys, and connects again, until told to stop by `stop` (a value, or its sender
/// dropped), or until nobody takes orders any more. Without a trusted key there are no commands:
/// it says so by opening the gate, and returns at once.
pub async fn run(mut command: Command, stop: oneshot::Receiver<()>) -> Totals {
    let keyring = match command.settings.validate() {
        Ok(keyring) => keyring,
        Err(error) => {
            // The corridor has checked; whoever did not gets no commands, and a closed gate.
            let error: &dyn std::error::Error = &error;
            error!(error, "There are no commands with these settings.");
            return command.counters.totals();
        }
    };
    if keyring.is_empty() {
        command.caught_up.send_replace(true);
        return command.counters.totals();
    }
    command.client_id.push_str(CLIENT_SUFFIX);
    let mut desk = Desk::new(keyring, command.topics.clone(), command.standing);
    let mut stop = Stop { receiver: stop, told: false };
    let mut route = Route::new(command.access.brokers(), &command.uplink);
    let credentials = command.credentials.as_deref();
    let mut lookout =
        Lookout::new(&command.uplink, credentials, &command.access, command.clock, false);
    let (leave, leave_receiver) = watch::channel(None);
    let mut kept = Kept::new(leave_receiver);
    let mut faults = Rarely::new();
    loop {
        let began = command.clock.now();
        kept.place = route.place();
        leave.send_replace(None);
        let beside = lookout.beside(kept.place, (command.chance)());
        let live = Session::new(&mut command, &mut desk, &mut kept).live(&mut stop);
        let ended = Box::pin(accompanied(live, beside, &leave)).await;
        command.close_gate();
        command.counters.disconnected();
        if let Some(under_way) = &mut kept.under_way {
            under_way.receipt = None;
        }
        let delay = match ended.why {
            End::Stopped => break,
            End::Forgotten => Duration::ZERO,
            End::Cleared => {
                debug!("The connection for commands is made anew, so that no keys stay with it.");
                Duration::ZERO
            }
            End::Again(why) => {
                if why == Leave::Return {
                    route.return_to_first();
                }
                Duration::ZERO
            }
            End::Broke(why) => {
                command.counters.faulted();
                let stood = command.clock.now().since(began);
                let ending = Ending { lesson: why.lesson(), proved: ended.proved, stood };
                let delay = route.ended(&ending, (command.chance)());
                tell(&mut faults, &why, delay, command.clock.now());
                delay
            }
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.told() => break,
        }
        command.access = lookout.reload().await;
    }
    let totals = command.counters.totals();
    info!(
        carried = totals.carried,
        refused = totals.refused_in_all(),
        "Commands are no longer taken."
    );
    totals
}

fn tell(faults: &mut Rarely<String>, why: &Why, delay: Duration, now: Uptime) {
    let retry_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    let text = why.to_string();
    let Some(untold) = faults.tell(text.clone(), now) else {
        debug!(why = text, retry_ms, "No line for commands, as before.");
        return;
    };
    if why.wants_human() {
        error!(why = text, retry_ms, untold, "No line for commands; somebody must look.");
    } else {
        warn!(why = text, retry_ms, untold, "No line for commands; trying again.");
    }
}

// === impl Command ===

impl Command {
    fn close_gate(&self) {
        self.caught_up.send_if_modified(|open| std::mem::replace(open, false));
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("client_id", &self.client_id)
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}

// === impl Kept ===

impl Kept {
    fn new(leave: watch::Receiver<Option<Leave>>) -> Self {
        Self {
            under_way: None,
            reports: VecDeque::new(),
            asked: None,
            purge: false,
            careful: false,
            left_out: BTreeMap::new(),
            garbled: 0,
            place: 0,
            short_memory: None,
            leave,
            refusals: Rarely::new(),
            quota: Quota::default(),
            unpublished: Rarely::new(),
        }
    }
}

// === impl UnderWay ===

impl UnderWay {
    fn changes_the_registry(&self) -> bool {
        matches!(self.command, CommandName::Registry(_))
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
}

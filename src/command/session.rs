//! One connection's life: made, subscribed, fenced, obeyed, parted from. `desk.rs` decides what
//! is obeyed; this carries it out.
//!
//! One message is dealt with at a time, in the order they came: a message is acknowledged before
//! the next is looked at, so that nothing overtakes. The line is polled meanwhile, for the sake of
//! its pings, until so much waits that the broker has to wait, too.

mod act;
mod joining;

use std::{collections::VecDeque, fmt, pin::pin, time::Duration};

use tokio::{sync::oneshot, time::MissedTickBehavior};
use tracing::{error, info, warn};

use self::joining::Joining;
use super::{
    Command, Done, Kept, NotCarried, Stop, UnderWay,
    desk::Desk,
    gate::Gate,
    token::LARGEST_COMMAND,
    wire::{self, Break, Line, Message, Plan, Sender, Signal},
};
use crate::{
    engine::Uptime,
    uplink::{Door, Fault, Leave, Lesson, RegistryTopic, Topic, Topics},
};

/// How many messages, and how many bytes of them, may wait in our own queue before nothing more is
/// read: what one order takes is short, and what the broker holds is safe there.
const MOST_WAITING: usize = 64;
const MOST_BYTES: usize = 8 * LARGEST_COMMAND;

/// How many requests may be unwritten before nothing more is dealt with.
const MOST_UNWRITTEN: usize = 64;

/// How often is looked at what only time changes.
const TICK: Duration = Duration::from_secs(1);

/// For how long what somebody was enrolled by may lie in the buffers of the connection that it came
/// over. They are rumqttc's, which writes over them only when something else comes; they are cleared
/// when they are given up, with the connection. Not at once: who enrols many does so in one go, and
/// the gate is closed for a moment.
const KEYS_STAY: Duration = Duration::from_mins(5);

/// How long a DISCONNECT may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// So often in a row something incomprehensible may come before what waits at the broker is
/// discarded.
const MOST_GARBLED: u32 = 3;

/// How a connection ended.
pub(super) struct Ended {
    /// Why.
    pub(super) why: End,
    /// It has shown that the next one may be tried soon.
    pub(super) proved: bool,
}

/// Why a connection ended.
pub(super) enum End {
    /// We were told to stop, or nobody takes orders any more.
    Stopped,
    /// The session at the broker is forgotten, as it was meant to be.
    Forgotten,
    /// It was parted from in good order, to be made anew.
    Again(Leave),
    /// The same, because keys came over it, and lie in its buffers.
    Cleared,
    /// It was not made, or it broke.
    Broke(Why),
}

/// Why a connection broke.
#[derive(Debug)]
pub(super) enum Why {
    /// The line did.
    Fault(Fault),
    /// Something waits at the broker that is too large to be read.
    Oversize,
    /// An order could not be carried out; with the next connection it comes again.
    NotCarried(NotCarried),
}

/// One connection.
pub(super) struct Session<'a> {
    command: &'a mut Command,
    desk: &'a mut Desk,
    kept: &'a mut Kept,
    joining: Joining,
    gate: Gate,
    /// When the broker accepted it.
    since: Option<Uptime>,
    /// When the first keys came over it.
    keys_since: Option<Uptime>,
    /// Messages that came and were not dealt with.
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
    /// The first of them is held until the clock is set.
    held: bool,
    /// Requests that were made and not written.
    unwritten: usize,
    /// It was said that the withdrawal list does not come.
    list_missed: bool,
}

/// What woke the session.
enum Wake {
    Signal(Result<Signal, Break>),
    Reply(Result<Result<Done, NotCarried>, oneshot::error::RecvError>),
    Tick,
    Stop,
}

impl<'a> Session<'a> {
    pub(super) fn new(command: &'a mut Command, desk: &'a mut Desk, kept: &'a mut Kept) -> Self {
        let now = command.clock.now();
        let joining = Joining::new(&command.topics, kept.careful, &mut kept.left_out, now);
        let gate = Gate::new(desk.standing().list.is_some());
        Self {
            command,
            desk,
            kept,
            joining,
            gate,
            since: None,
            keys_since: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            held: false,
            unwritten: 0,
            list_missed: false,
        }
    }

    /// Lives it to its end.
    pub(super) async fn live(mut self, stop: &mut Stop) -> Ended {
        let expiry = self.command.settings.session_expiry.0.as_secs();
        let (sender, mut line) = wire::open(&Plan {
            door: Door {
                access: &self.command.access,
                settings: &self.command.uplink,
                place: self.kept.place,
            },
            client_id: &self.command.client_id,
            session_expiry: u32::try_from(expiry).unwrap_or(u32::MAX),
            forget: self.kept.purge,
        });
        let why = match self.converse(&sender, &mut line, stop).await {
            Ok(()) => End::Stopped,
            Err(end) => end,
        };
        if matches!(why, End::Broke(Why::Fault(_) | Why::Oversize)) {
            for signal in line.rest() {
                if let Signal::Answered(Some(why)) = signal {
                    self.unpublished(why);
                }
            }
        } else if self.since.is_some() {
            part(&sender, &mut line).await;
        }
        let proved = self.learn(&why);
        Ended { why, proved }
    }

    /// Returns when told to stop.
    async fn converse(
        &mut self,
        sender: &Sender,
        line: &mut Line,
        stop: &mut Stop,
    ) -> Result<(), End> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut next = pin!(line.next());
            loop {
                self.act(sender)?;
                self.show();
                let reading = self.waiting.len() < MOST_WAITING && self.waiting_bytes < MOST_BYTES;
                let wake = tokio::select! {
                    signal = &mut next, if reading => Wake::Signal(signal),
                    reply = reply(&mut self.kept.under_way) => Wake::Reply(reply),
                    _ = ticks.tick() => Wake::Tick,
                    () = stop.told() => Wake::Stop,
                };
                match wake {
                    Wake::Signal(Err(Break::Oversize)) => return Err(End::Broke(Why::Oversize)),
                    Wake::Signal(Err(Break::Fault(fault))) => {
                        return Err(End::Broke(Why::Fault(fault)));
                    }
                    Wake::Signal(Ok(signal)) => {
                        self.note(signal, sender)?;
                        break;
                    }
                    Wake::Reply(reply) => self.replied(reply, sender)?,
                    Wake::Tick => {
                        self.tick();
                        if let Some(end) = self.may_leave() {
                            return Err(end);
                        }
                    }
                    Wake::Stop => return Ok(()),
                }
            }
        }
    }

    fn note(&mut self, signal: Signal, sender: &Sender) -> Result<(), End> {
        match signal {
            Signal::Welcome { session_present, kept_for } => {
                self.since = Some(self.now());
                if self.kept.purge {
                    return Err(End::Forgotten);
                }
                self.command.counters.connected();
                let broker = self.command.access.broker_at(self.kept.place);
                info!(%broker, session_present, "Connected to the broker for commands.");
                self.warn_of_short_memory(kept_for);
            }
            Signal::Subscribed(answers) => {
                if let Some(fence) = self.joining.subscribed(&answers, self.command.clock.now()) {
                    let topic = self.joining.fence_topic().to_owned();
                    self.publish(sender, topic, fence)?;
                }
            }
            Signal::Arrived(message) => {
                if message.topic == self.joining.fence_topic() {
                    // What waited before it is here. As long as something of that may change the
                    // registry the gate is closed for it, so a question that takes its time does
                    // not have to be waited for. An old one, or somebody else's, means nothing.
                    self.joining.came_back(&message.payload);
                }
                if self.may_enrol(&message) {
                    self.keys_since.get_or_insert(self.command.clock.now());
                }
                self.waiting_bytes += message.payload.len();
                self.waiting.push_back(message);
            }
            Signal::Written => self.unwritten = self.unwritten.saturating_sub(1),
            Signal::Answered(Some(why)) => self.unpublished(why),
            Signal::Answered(None) | Signal::Disconnected => {}
        }
        Ok(())
    }

    /// Why the connection is to be made anew, if this is the moment: nothing is under way, so that
    /// no message comes twice for it. There is such a moment between any two commands.
    fn may_leave(&self) -> Option<End> {
        let why = self.kept.leave.borrow().map(End::Again);
        let overdue = self.keys_since.is_some_and(|since| self.now().since(since) >= KEYS_STAY);
        let why = why.or_else(|| overdue.then_some(End::Cleared));
        let busy = self.since.is_none()
            || !self.joining.is_done()
            || !self.waiting.is_empty()
            || self.kept.under_way.is_some()
            || self.unwritten > 0;
        why.filter(|_| !busy)
    }

    /// Whether keys may be in it.
    fn may_enrol(&self, message: &Message) -> bool {
        let topic = self.command.topics.read_registry(&message.topic);
        matches!(topic, Some(RegistryTopic::Upsert | RegistryTopic::Snapshot))
    }

    /// A broker may keep the session for a shorter time than it was asked for (MQTT 5).
    fn warn_of_short_memory(&mut self, kept_for: Option<u32>) {
        let wanted = self.command.settings.session_expiry.0.as_secs();
        let Some(kept_for) = kept_for.filter(|kept_for| u64::from(*kept_for) < wanted) else {
            return;
        };
        if self.kept.short_memory.replace(kept_for) != Some(kept_for) {
            warn!(
                kept_for_s = kept_for,
                wanted_s = wanted,
                "The broker forgets commands for a gateway that is off for longer than it says \
                 here; raise its limit, or lower `command.session_expiry`."
            );
        }
    }

    /// Draws the lessons for the next connection, and says whether this one proved itself.
    fn learn(&mut self, end: &End) -> bool {
        let now = self.now();
        match end {
            End::Forgotten => {
                self.kept.purge = false;
                self.command.counters.discarded();
                error!(
                    "What waited at the broker for this gateway cannot be read, and was \
                     discarded; a snapshot will be asked for if commands were among it."
                );
            }
            End::Broke(Why::Oversize) => {
                self.kept.purge = true;
                self.kept.careful = true;
                if let Some(culprit) = self.joining.culprit() {
                    let filter = self.joining.filter(culprit);
                    error!(
                        filter,
                        "The broker holds a retained message there that is larger than 16 MiB; \
                         replace it. Until then this gateway does without, and sends nothing \
                         about anybody."
                    );
                    self.kept.left_out.insert(culprit, now);
                }
            }
            End::Broke(Why::Fault(Fault::Protocol(_))) => {
                self.kept.garbled += 1;
                if self.kept.garbled >= MOST_GARBLED {
                    self.kept.garbled = 0;
                    self.kept.purge = true;
                }
            }
            End::Broke(_) | End::Stopped | End::Again(_) | End::Cleared => {}
        }
        // What ends each connection anew must not make us try as fast as we can.
        let lasting = matches!(
            end,
            End::Broke(Why::Oversize | Why::NotCarried(_) | Why::Fault(Fault::TakenOver))
        );
        self.joining.is_done() && !lasting
    }

    /// Tells the corridor whether everything was carried out.
    fn show(&mut self) {
        let joined = self.since.is_some() && self.joining.is_done();
        if joined && !self.gate.fenced {
            self.kept.careful = false;
            self.kept.garbled = 0;
        }
        self.gate.fenced = joined;
        self.gate.without = self.joining.without();
        // While only the outbox is asked something, nothing about anybody changes.
        let changing = self.kept.under_way.as_ref().is_some_and(UnderWay::changes_the_registry);
        self.gate.busy = changing || self.waiting.iter().any(may_change_the_registry);
        let open = self.gate.is_open();
        let changed =
            self.command.caught_up.send_if_modified(|was| std::mem::replace(was, open) != open);
        if changed && open {
            let last = self.desk.standing().last;
            tracing::debug!(last, "All that the platform has said was carried out.");
        }
    }

    fn now(&self) -> Uptime {
        self.command.clock.now()
    }
}

/// Whoever withdraws does so on a topic of the store's, not of one gateway.
fn may_change_the_registry(message: &Message) -> bool {
    !matches!(Topics::read(&message.topic), Ok((_, Topic::Command(_))))
}

/// Takes leave, so that the broker knows at once; it keeps the session.
async fn part(sender: &Sender, line: &mut Line) {
    if sender.disconnect().is_err() {
        return;
    }
    let written =
        async { while !matches!(line.next().await, Ok(Signal::Disconnected) | Err(_)) {} };
    // Whoever does not answer in time hears nothing, and notices by itself.
    tokio::time::timeout(FAREWELL, written).await.ok();
}

/// Waits for what became of the order; for ever when none is under way.
async fn reply(
    under_way: &mut Option<UnderWay>,
) -> Result<Result<Done, NotCarried>, oneshot::error::RecvError> {
    match under_way {
        Some(under_way) => (&mut under_way.reply).await,
        None => std::future::pending().await,
    }
}

// === impl Why ===

impl Why {
    /// What it says about where the next connection is to be tried, and when.
    pub(super) fn lesson(&self) -> Lesson {
        match self {
            Self::Fault(fault) => fault.lesson(),
            // It waits at this broker, and at those that share its sessions.
            Self::Oversize | Self::NotCarried(_) => Lesson::Failed,
        }
    }

    /// Trying again will not help until somebody changes something.
    pub(super) fn wants_human(&self) -> bool {
        match self {
            Self::Fault(fault) => fault.wants_human(),
            Self::Oversize | Self::NotCarried(_) => true,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Oversize => {
                f.write_str("a message waits at the broker that is larger than 16 MiB")
            }
            Self::NotCarried(why) => why.fmt(f),
        }
    }
}

//! What a connection for commands needs from rumqttc, the same for both versions of the protocol:
//! subscriptions, messages, acknowledgements by hand. rumqttc's types do not leave this module.
//!
//! As in the uplink a value belongs to one connection: nobody polls after an error. The session
//! outlives it at the broker, not here: what was not acknowledged is brought again.

mod v4;
mod v5;

use super::token::LARGEST_COMMAND;
use crate::uplink::{Broken, Door, Fault, Protocol};

/// The largest packet that is read, in bytes. A command of ten million bytes is read and refused;
/// whatever is larger than this an MQTT 5 broker keeps to itself, because we say so when we
/// connect, and with 3.1.1 it breaks the connection: see [`Break::Oversize`]. rumqttc reserves what
/// its peer announces at once, so this is also what one message can take of memory.
pub(super) const LARGEST_PACKET: u32 = 16 * 1024 * 1024;

/// How many messages may be unacknowledged (MQTT 5; brokers of 3.1.1 choose 10 to 32 themselves).
const RECEIVE_MAXIMUM: u16 = 20;

/// How many publishes of ours may be unacknowledged; a result is small and seldom.
const IN_FLIGHT: u16 = 64;

/// How many requests may wait inside rumqttc. A message leads to at most three, and no more than
/// [`IN_FLIGHT`] of them are made before some were written.
const REQUESTS: usize = 256;

/// How one connection is to be made.
pub(super) struct Plan<'a> {
    pub(super) door: Door<'a>,
    pub(super) client_id: &'a str,
    /// For how many seconds the broker keeps the session (MQTT 5).
    pub(super) session_expiry: u32,
    /// The session is to be forgotten, with all that waits in it.
    pub(super) forget: bool,
}

/// What a connection reports.
pub(super) enum Signal {
    /// The broker has accepted the connection, and perhaps kept the session. `kept_for` says for
    /// how many seconds it will keep it, if that is not what was asked.
    Welcome { session_present: bool, kept_for: Option<u32> },
    /// The answer to a subscription, one for each filter: why not, or nothing.
    Subscribed(Vec<Option<&'static str>>),
    /// A message.
    Arrived(Message),
    /// A request was written.
    Written,
    /// The broker answered a publish of ours: why not, or nothing.
    Answered(Option<&'static str>),
    /// Our DISCONNECT was written.
    Disconnected,
}

/// A message of the broker.
pub(super) struct Message {
    pub(super) topic: String,
    /// Cut one byte behind what a command may be: that it is larger is all that matters then.
    pub(super) payload: Vec<u8>,
    /// The broker brings it again.
    pub(super) again: bool,
    pub(super) receipt: Receipt,
}

/// What an acknowledgement needs.
#[derive(Clone, Copy)]
pub(super) struct Receipt {
    packet_id: u16,
    /// Whether an acknowledgement is expected at all: not for `QoS` 0.
    expected: bool,
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Break {
    /// A message was too large to be read, of so many bytes. It waits at the broker and would break
    /// each further connection.
    Oversize,
    /// For another reason.
    Fault(Fault),
}

/// A request that rumqttc's queue would not take.
#[derive(Debug)]
pub(super) struct NotTaken;

/// The half that takes requests.
pub(super) enum Sender {
    V4(v4::Sender),
    V5(v5::Sender),
}

/// The half that is polled.
pub(super) enum Line {
    V4(Box<v4::Line>),
    V5(Box<v5::Line>),
}

/// Prepares a connection; it is made by the first poll of the line.
pub(super) fn open(plan: &Plan<'_>) -> (Sender, Line) {
    match plan.door.settings.protocol {
        Protocol::V311 => {
            let (sender, line) = v4::open(plan);
            (Sender::V4(sender), Line::V4(Box::new(line)))
        }
        Protocol::V5 => {
            let (sender, line) = v5::open(plan);
            (Sender::V5(sender), Line::V5(Box::new(line)))
        }
    }
}

impl Sender {
    /// Subscribes with `QoS` 1.
    pub(super) fn subscribe(&self, filters: &[String]) -> Result<(), NotTaken> {
        match self {
            Self::V4(sender) => sender.subscribe(filters),
            Self::V5(sender) => sender.subscribe(filters),
        }
    }

    /// Publishes with `QoS` 1, not retained.
    pub(super) fn publish(&self, topic: String, payload: Vec<u8>) -> Result<(), NotTaken> {
        match self {
            Self::V4(sender) => sender.publish(topic, payload),
            Self::V5(sender) => sender.publish(topic, payload),
        }
    }

    /// Acknowledges a message. Returns whether there is anything to be written for it.
    pub(super) fn acknowledge(&self, receipt: Receipt) -> Result<bool, NotTaken> {
        if !receipt.expected {
            return Ok(false);
        }
        match self {
            Self::V4(sender) => sender.acknowledge(receipt.packet_id)?,
            Self::V5(sender) => sender.acknowledge(receipt.packet_id)?,
        }
        Ok(true)
    }

    /// Asks for a DISCONNECT.
    pub(super) fn disconnect(&self) -> Result<(), NotTaken> {
        match self {
            Self::V4(sender) => sender.disconnect(),
            Self::V5(sender) => sender.disconnect(),
        }
    }
}

impl Line {
    /// Waits for the next signal. After an error nothing but [`Line::rest`] may be called.
    pub(super) async fn next(&mut self) -> Result<Signal, Break> {
        match self {
            Self::V4(line) => line.next().await,
            Self::V5(line) => line.next().await,
        }
    }

    /// What was read and not yet taken when the connection ended: mosquitto refuses a publish and
    /// then hangs up, so that the reason comes together with the end.
    pub(super) fn rest(&mut self) -> Vec<Signal> {
        match self {
            Self::V4(line) => line.rest(),
            Self::V5(line) => line.rest(),
        }
    }
}

/// Sorts out what a message that is too large does.
fn broken<E: Into<Fault>>(broken: Broken<E>, is_oversize: impl FnOnce(&E) -> bool) -> Break {
    match broken {
        Broken::Loop(error, _) if is_oversize(&error) => Break::Oversize,
        broken => Break::Fault(broken.into()),
    }
}

/// The part of a payload that is looked at.
fn cut(payload: &[u8]) -> Vec<u8> {
    payload.get(..=LARGEST_COMMAND).unwrap_or(payload).to_vec()
}

//! What a line to a remote receiver's broker, a receiver's line to its lead, or that for discovery needs from
//! rumqttc, the same for both versions of the protocol: one subscription, messages. rumqttc's types do not
//! leave this module.
//!
//! The session is clean. QoS is 0, because what was not heard now is of no use later, but for what a broker
//! is to keep.

mod lasting;
pub(crate) use lasting::{Cease, Lasting, On, Over, Proof, Work};

mod v4;
mod v5;

use std::time::Duration;

use super::format::LARGEST_MESSAGE;
use crate::uplink::{Door, Fault, Protocol};

/// The largest packet that is read, in bytes. What is larger than a message may be is read and
/// refused up to this; an MQTT 5 broker keeps what is larger to itself, because we say so when we
/// connect, and with 3.1.1 it breaks the connection.
const LARGEST_PACKET: u32 = 4 * 1024 * 1024;

/// How many requests may wait inside rumqttc: a subscription and a farewell, or two seconds of what a
/// receiver tells its lead in a crowd.
const REQUESTS: usize = 64;

/// How long our last words may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a line reports.
pub(crate) enum Signal {
    /// The broker has accepted the connection.
    Welcome,
    /// The answer to the subscription, one for each filter: why not, or nothing.
    Subscribed(Vec<Option<&'static str>>),
    /// The answer to a publish of `QoS` 1: why not, or nothing.
    Answered(Option<&'static str>),
    /// A message.
    Arrived(Publication),
    /// Our DISCONNECT was written.
    Disconnected,
}

/// A message of the broker. No `Debug`: it is about strangers.
pub(crate) struct Publication {
    pub(crate) topic: String,
    /// Cut one byte behind what a message may be: that it is larger is all that matters then.
    pub(crate) payload: Vec<u8>,
    /// The broker had kept it.
    pub(crate) retained: bool,
}

/// A request that rumqttc's queue would not take.
#[derive(Debug)]
pub(crate) struct NotTaken;

/// The half that takes requests.
pub(crate) enum Sender {
    V4(v4::Sender),
    V5(v5::Sender),
}

/// The half that is polled.
enum Line {
    V4(Box<v4::Line>),
    V5(Box<v5::Line>),
}

/// Prepares a connection; it is made by the first poll of the line.
fn open(door: Door<'_>, client_id: &str) -> (Sender, Line) {
    match door.settings.protocol {
        Protocol::V311 => {
            let (sender, line) = v4::open(door, client_id);
            (Sender::V4(sender), Line::V4(Box::new(line)))
        }
        Protocol::V5 => {
            let (sender, line) = v5::open(door, client_id);
            (Sender::V5(sender), Line::V5(Box::new(line)))
        }
    }
}

/// Takes leave, so that what was said last is written and the broker knows at once. A broker that does
/// not answer in time hears nothing, and notices by itself.
async fn part(sender: &Sender, line: &mut Line) {
    if sender.disconnect().is_err() {
        return;
    }
    let written =
        async { while !matches!(line.next().await, Ok(Signal::Disconnected) | Err(_)) {} };
    tokio::time::timeout(FAREWELL, written).await.ok();
}

impl Sender {
    /// Subscribes with `QoS` 0.
    pub(crate) fn subscribe(&self, filters: &[String]) -> Result<(), NotTaken> {
        match self {
            Self::V4(sender) => sender.subscribe(filters),
            Self::V5(sender) => sender.subscribe(filters),
        }
    }

    /// Publishes with `QoS` 0.
    pub(crate) fn publish(&self, topic: &str, payload: Vec<u8>) -> Result<(), NotTaken> {
        match self {
            Self::V4(sender) => sender.publish(topic, payload),
            Self::V5(sender) => sender.publish(topic, payload),
        }
    }

    /// Publishes with `QoS` 1 what the broker is to keep; an empty payload ends that.
    pub(crate) fn retain(&self, topic: &str, payload: Vec<u8>) -> Result<(), NotTaken> {
        match self {
            Self::V4(sender) => sender.retain(topic, payload),
            Self::V5(sender) => sender.retain(topic, payload),
        }
    }

    /// Asks for a DISCONNECT.
    fn disconnect(&self) -> Result<(), NotTaken> {
        match self {
            Self::V4(sender) => sender.disconnect(),
            Self::V5(sender) => sender.disconnect(),
        }
    }
}

impl Line {
    /// Waits for the next signal. Not to be called after an error.
    async fn next(&mut self) -> Result<Signal, Fault> {
        match self {
            Self::V4(line) => line.next().await,
            Self::V5(line) => line.next().await,
        }
    }
}

/// The part of a payload that is looked at.
fn cut(payload: &[u8]) -> Vec<u8> {
    payload.get(..=LARGEST_MESSAGE).unwrap_or(payload).to_vec()
}

//! What a connection needs from rumqttc, the same for both versions of the protocol: requests in,
//! signals out. rumqttc's types do not leave this module.
//!
//! What is designed around here, in rumqttc 0.25.1:
//! - A value belongs to one connection. rumqttc reconnects by itself when it is polled after an
//!   error, hands out acknowledgements of the old connection after the new `CONNACK` (3.1.1), and
//!   clears what was in flight; so nobody polls after an error, and both halves are dropped.
//! - `poll` must not be cancelled while the connection is to live on: the caller keeps its future.
//! - Requests are handed over with `try_publish`; `publish().await` in the task that polls would
//!   wait for itself.

mod aliases;
mod v4;
mod v5;

use std::time::Duration;

pub(crate) use super::line::Fault;
use super::{
    in_flight::PacketId,
    line::Door,
    settings::{Protocol, Settings},
};

/// The largest packet of the protocol: 4 bytes encode at most 268,435,455 bytes behind the fixed
/// header of 5 (MQTT 5.0 and 3.1.1, 2.1.4 and 2.2.3). rumqttc's own limit is 10 KiB.
const LARGEST_PACKET: usize = 268_435_460;

/// The largest packet read from a 3.1.1 broker: nothing is subscribed to, so only short answers
/// come, and what its peer announces rumqttc reserves at once. For MQTT 5 its default, 10 KiB, is
/// as good.
const LARGEST_ANSWER: usize = 64 * 1024;

/// The longest topic: a string has a 16-bit length (MQTT 5.0, 1.5.4).
const LONGEST_TOPIC: usize = 65_535;

/// How many requests may wait inside rumqttc beside the window: the state document, one document
/// of metrics, the disconnect, and some more for comfort.
const SPARE_REQUESTS: usize = 8;

/// How one connection is to be made.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// Where, and with what.
    pub(super) door: Door<'a>,
    /// Topics may be sent as numbers (MQTT 5), if the broker grants any.
    pub(super) aliases: bool,
    /// The client identifier.
    pub(super) client_id: &'a str,
    /// The topic of the last will.
    pub(super) will_topic: &'a str,
    /// What the broker says when we vanish.
    pub(super) will: &'a [u8],
}

/// One publish.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    /// Where to.
    pub(super) topic: String,
    /// What.
    pub(super) payload: Vec<u8>,
    /// `QoS` 1 rather than 0.
    pub(super) acknowledged: bool,
    /// The broker keeps it for who subscribes later.
    pub(super) retain: bool,
    /// The media type of the payload (MQTT 5 only).
    pub(super) content_type: &'static str,
    /// Names and values for routing (MQTT 5 only).
    pub(super) user_properties: Vec<(String, String)>,
    /// After this the broker need not deliver it any more (MQTT 5 only).
    pub(super) expiry: Option<Duration>,
}

/// What a connection reports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Signal {
    /// The broker has accepted the connection.
    Welcome(Welcome),
    /// A publish of `QoS` 1 was written.
    Sent(PacketId),
    /// A publish of `QoS` 0 was written; nobody will answer it.
    SentUnacknowledged,
    /// The broker answered a publish of `QoS` 1.
    Answered(PacketId, Answer),
    /// Our DISCONNECT was written.
    Disconnected,
}

/// What the broker asks of us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Welcome {
    /// How many publishes of `QoS` 1 may await its acknowledgement.
    pub(super) receive_maximum: u16,
    /// The largest packet it takes, in bytes.
    pub(super) largest_packet: usize,
}

/// What the broker says to a publish of `QoS` 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// It has it.
    Accepted,
    /// Not now: it may take the same publish later, so it must be kept.
    NotNow(&'static str),
    /// Never: the same publish would be refused again.
    Never(&'static str),
}

/// The half that takes requests.
#[derive(Debug)]
pub(super) enum Sender {
    V4(v4::Sender),
    V5(v5::Sender),
}

/// The half that is polled.
pub(super) enum Line {
    V4(Box<v4::Line>),
    V5(Box<v5::Line>),
}

/// A request that rumqttc's queue would not take: more was requested than the window allows, which
/// is a mistake of ours, or the other half is gone.
#[derive(Debug)]
pub(super) struct NotTaken;

/// Prepares a connection; it is made by the first poll of the line.
pub(super) fn open(plan: &Plan<'_>) -> (Sender, Line) {
    match plan.settings().protocol {
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

impl Plan<'_> {
    fn settings(&self) -> &Settings {
        self.door.settings
    }

    /// rumqttc numbers publishes up to its own limit and stops at the first number that is still
    /// unanswered, so that limit is four times the window: a broker may answer out of order.
    fn packet_ids(&self) -> u16 {
        self.settings().window.saturating_mul(4)
    }

    /// Room for the whole window and what goes beside it.
    fn requests(&self) -> usize {
        usize::from(self.settings().window) + SPARE_REQUESTS
    }
}

impl Publication {
    /// The size of the packet on the wire, or up to six bytes more.
    pub(super) fn size(&self) -> usize {
        // Fixed header 5, length of the topic 2, packet identifier 2, length of the properties 4,
        // payload format 2, expiry 5, content type 3 and its text; 5 and both texts for each pair.
        let pairs: usize =
            self.user_properties.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
        23 + self.topic.len() + self.content_type.len() + pairs + self.payload.len()
    }

    /// Why no broker, or not this one, could ever take it. To be asked before it is requested:
    /// rumqttc answers an impossible publish by breaking the connection, over and over.
    pub(super) fn flaw(&self, welcome: Welcome) -> Option<&'static str> {
        let text_fits = |text: &str| text.len() <= LONGEST_TOPIC;
        let pairs_fit =
            self.user_properties.iter().all(|(name, value)| text_fits(name) && text_fits(value));
        let wrong = |c: char| matches!(c, '+' | '#') || c.is_control();
        if self.topic.is_empty() || self.topic.chars().any(wrong) || !text_fits(&self.topic) {
            Some("its topic is not one to publish to")
        } else if !pairs_fit {
            Some("one of its properties is too long")
        } else if self.size() > welcome.largest_packet {
            Some("it is larger than the broker takes")
        } else {
            None
        }
    }

    /// The expiry in whole seconds, at least one.
    fn expiry_seconds(&self) -> Option<u32> {
        self.expiry.map(|expiry| u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX).max(1))
    }
}

impl Sender {
    /// Hands a publish over.
    pub(super) fn publish(&self, publication: Publication) -> Result<(), NotTaken> {
        match self {
            Self::V4(sender) => sender.publish(publication),
            Self::V5(sender) => sender.publish(publication),
        }
    }

    /// Asks for a DISCONNECT, with which the broker forgets the last will.
    pub(super) fn disconnect(&self) -> Result<(), NotTaken> {
        match self {
            Self::V4(sender) => sender.disconnect(),
            Self::V5(sender) => sender.disconnect(),
        }
    }
}

impl Line {
    /// Waits for the next signal. After an error nothing but [`Line::rest`] may be called.
    pub(super) async fn next(&mut self) -> Result<Signal, Fault> {
        match self {
            Self::V4(line) => line.next().await,
            Self::V5(line) => line.next().await,
        }
    }

    /// What was reported and not yet taken when the connection ended. It was read from this very
    /// connection, so an acknowledgement in it still counts.
    pub(super) fn rest(&mut self) -> Vec<Signal> {
        match self {
            Self::V4(line) => line.rest(),
            Self::V5(line) => line.rest(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication() -> Publication {
        Publication {
            topic: "beacon/v1/acme/berlin-03/gw1/event/zone/entered".to_owned(),
            payload: vec![b'x'; 400],
            acknowledged: true,
            retain: false,
            content_type: "application/cloudevents+json",
            user_properties: vec![("tenant".to_owned(), "acme".to_owned())],
            expiry: Some(Duration::from_millis(1500)),
        }
    }

    const ANY: Welcome = Welcome { receive_maximum: 1, largest_packet: LARGEST_PACKET };

    #[test]
    fn the_size_is_never_underestimated_and_hardly_overestimated() {
        for payload in [0, 1, 100, 127, 128, 16_383, 16_384, 2_097_152] {
            let publication = Publication { payload: vec![0; payload], ..publication() };
            let exact = v5::packet_size(&publication);
            let ours = publication.size();
            assert!((exact..=exact + 6).contains(&ours), "{ours} for {exact}");
        }
    }

    #[test]
    fn what_no_broker_takes_is_found_before_it_is_requested() {
        let flawed = |change: fn(&mut Publication)| {
            let mut publication = publication();
            change(&mut publication);
            publication.flaw(ANY).is_some()
        };
        assert!(!flawed(|_| ()));
        assert!(flawed(|p| p.topic = String::new()));
        assert!(flawed(|p| p.topic = "a/+/b".to_owned()));
        assert!(flawed(|p| p.topic = "a/#".to_owned()));
        assert!(flawed(|p| p.topic = "a\0".to_owned()));
        assert!(flawed(|p| p.topic = "x".repeat(65_536)));
        assert!(flawed(|p| p.user_properties = vec![("x".repeat(65_536), String::new())]));
        assert!(flawed(|p| p.payload = vec![0; LARGEST_PACKET]));
        let small = Welcome { largest_packet: 400, ..ANY };
        assert!(publication().flaw(small).is_some(), "this broker takes less");
    }

    #[test]
    fn an_expiry_is_at_least_a_second_and_at_most_what_fits() {
        let expiry = |expiry| Publication { expiry, ..publication() }.expiry_seconds();
        assert_eq!(expiry(None), None);
        assert_eq!(expiry(Some(Duration::ZERO)), Some(1));
        assert_eq!(expiry(Some(Duration::from_millis(2900))), Some(2));
        assert_eq!(expiry(Some(Duration::MAX)), Some(u32::MAX));
    }
}

//! Names in, topics out, and back. The one place that knows how the platform's topics are spelled.
//!
//! No person and nobody's device is in a topic, ever: only what the operator named, places and the shop's
//! own fixtures, and the kinds of message this program knows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The first two levels: what this is, and which version of the contract.
const PREFIX: &str = "beacon/v1";

/// The level of the store's registry, beside its gateways: no gateway may have this name.
const REGISTRY: &str = "registry";

/// The longest name. Three names, a family and a kind then stay far under the 65,535 bytes of a
/// topic (MQTT 5.0, 1.5.4) and under the 256 to 512 bytes that hosted brokers allow.
const LONGEST_NAME: usize = 64;

/// One level of a topic: a tenant, a store, a gateway, a command.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that cannot be one level of a topic.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "{found:?} cannot be a level of an MQTT topic; write 1 to {LONGEST_NAME} characters, none of \
     them `/`, `+`, `#`, a space or a control character, and no `$` in front"
)]
pub struct NotAName {
    found: String,
}

/// The topics of one gateway.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topics {
    tenant: Name,
    store: Name,
    gateway: Name,
}

/// Which of a gateway's topics. Families, kinds and names are words without `/`, `+` and `#`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Topic<'a> {
    /// Situational events, `QoS` 1, never retained.
    Event {
        /// The first part of an event's kind: `zone`.
        family: &'a str,
        /// The second part: `entered`.
        kind: &'a str,
    },
    /// Whether the gateway is online, and how it is; retained, and the topic of the last will.
    State,
    /// The latest of one of the shop's fixtures, by its id; retained. Only for Home Assistant.
    Fixture(&'a str),
    /// Numbers, now and then.
    Metrics,
    /// The description of all this for machines; retained.
    Contract,
    /// What a receiver has heard of members, sealed for the lead: by the name of its radio.
    Sighting(&'a str),
    /// What one gateway of a pair tells the other, sealed.
    Handover,
    /// In: what the platform asks of this gateway.
    Command(&'a str),
    /// Out: what became of it.
    CommandResult(&'a str),
}

/// Which of a store's topics about its registry, all of them inbound:
/// `beacon/v1/{tenant}/{store}/registry/…`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RegistryTopic {
    /// Subjects to enrol, or to enrol differently.
    Upsert,
    /// Subjects to forget.
    Withdraw,
    /// The whole registry, in parts.
    Snapshot,
    /// Who has withdrawn; retained.
    Withdrawn,
    /// The number of the last change; retained.
    Version,
}

/// A topic that is none of ours.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{found:?} is not one of the topics under `{PREFIX}/{{tenant}}/{{store}}/{{gateway}}/`")]
pub struct NotATopic {
    found: String,
}

// === impl Name ===

impl Name {
    /// The name as it stands in a topic.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_valid(text: &str) -> bool {
        let forbidden = |c: char| matches!(c, '/' | '+' | '#') || c.is_whitespace();
        let harmful = |c: char| c.is_control() || is_noncharacter(c);
        (1..=LONGEST_NAME).contains(&text.chars().count())
            && !text.starts_with('$')
            && !text.chars().any(|c| forbidden(c) || harmful(c))
    }
}

/// Code points that a broker may answer by closing the connection (MQTT 5.0, 1.5.4): the Unicode
/// non-characters; and the byte order mark, which nobody types on purpose.
fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE || c == '\u{FEFF}'
}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if Self::is_valid(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAName { found: text.chars().take(2 * LONGEST_NAME).collect() })
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Topics ===

impl Topics {
    /// The topics of the gateway with these names.
    pub fn new(tenant: Name, store: Name, gateway: Name) -> Self {
        Self { tenant, store, gateway }
    }

    /// Spells a topic.
    ///
    /// ```
    /// use beacon_gateway::uplink::{Topic, Topics};
    ///
    /// let topics = Topics::new("acme".parse()?, "berlin-03".parse()?, "gw1".parse()?);
    /// let entered = Topic::Event { family: "zone", kind: "entered" };
    /// assert_eq!(topics.spell(entered), "beacon/v1/acme/berlin-03/gw1/event/zone/entered");
    /// assert_eq!(topics.spell(Topic::State), "beacon/v1/acme/berlin-03/gw1/state");
    /// # Ok::<(), beacon_gateway::uplink::NotAName>(())
    /// ```
    pub fn spell(&self, topic: Topic<'_>) -> String {
        let Self { tenant, store, gateway } = self;
        format!("{PREFIX}/{tenant}/{store}/{gateway}/{topic}")
    }

    /// Spells a topic of the store's registry.
    ///
    /// ```
    /// use beacon_gateway::uplink::{RegistryTopic, Topics};
    ///
    /// let topics = Topics::new("acme".parse()?, "berlin-03".parse()?, "gw1".parse()?);
    /// let upsert = topics.spell_registry(RegistryTopic::Upsert);
    /// assert_eq!(upsert, "beacon/v1/acme/berlin-03/registry/upsert");
    /// # Ok::<(), beacon_gateway::uplink::NotAName>(())
    /// ```
    pub fn spell_registry(&self, topic: RegistryTopic) -> String {
        format!("{PREFIX}/{}/{}/{REGISTRY}/{}", self.tenant, self.store, topic.word())
    }

    /// Reads a topic of this store's registry back.
    pub fn read_registry(&self, text: &str) -> Option<RegistryTopic> {
        RegistryTopic::ALL.into_iter().find(|topic| self.spell_registry(*topic) == text)
    }

    /// The filter for everything the platform asks of this gateway.
    pub fn command_filter(&self) -> String {
        let Self { tenant, store, gateway } = self;
        format!("{PREFIX}/{tenant}/{store}/{gateway}/command/+")
    }

    /// The store, as a command is addressed to it: `tenant/store`.
    pub fn store_address(&self) -> String {
        format!("{}/{}", self.tenant, self.store)
    }

    /// The gateway, as a command is addressed to it: `tenant/store/gateway`.
    pub fn gateway_address(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.store, self.gateway)
    }

    /// Reads a topic back: whose it is, and which.
    pub fn read(text: &str) -> Result<(Self, Topic<'_>), NotATopic> {
        Self::parse(text)
            .ok_or_else(|| NotATopic { found: text.chars().take(4 * LONGEST_NAME).collect() })
    }

    fn parse(text: &str) -> Option<(Self, Topic<'_>)> {
        let mut levels = text.strip_prefix(PREFIX)?.strip_prefix('/')?.splitn(4, '/');
        let mut name = || levels.next()?.parse::<Name>().ok();
        let topics = Self { tenant: name()?, store: name()?, gateway: name()? };
        let rest: Vec<&str> = levels.next()?.split('/').collect();
        let word = |text: &'_ str| Name::is_valid(text);
        let topic = match *rest.as_slice() {
            ["event", family, kind] if word(family) && word(kind) => Topic::Event { family, kind },
            ["state"] => Topic::State,
            ["state", "sensor", fixture] if word(fixture) => Topic::Fixture(fixture),
            ["metrics"] => Topic::Metrics,
            ["contract"] => Topic::Contract,
            ["handover"] => Topic::Handover,
            ["sighting", receiver] if word(receiver) => Topic::Sighting(receiver),
            ["command", name] if word(name) => Topic::Command(name),
            ["command-result", name] if word(name) => Topic::CommandResult(name),
            _ => return None,
        };
        Some((topics, topic))
    }
}

// === impl RegistryTopic ===

impl RegistryTopic {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Upsert, Self::Withdraw, Self::Snapshot, Self::Withdrawn, Self::Version];

    /// The last level of the topic.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Withdraw => "withdraw",
            Self::Snapshot => "snapshot",
            Self::Withdrawn => "withdrawn",
            Self::Version => "version",
        }
    }
}

// === impl Topic ===

impl fmt::Display for Topic<'_> {
    /// The levels behind the gateway's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event { family, kind } => write!(f, "event/{family}/{kind}"),
            Self::State => f.write_str("state"),
            Self::Fixture(id) => write!(f, "state/sensor/{id}"),
            Self::Metrics => f.write_str("metrics"),
            Self::Contract => f.write_str("contract"),
            Self::Handover => f.write_str("handover"),
            Self::Sighting(receiver) => write!(f, "sighting/{receiver}"),
            Self::Command(name) => write!(f, "command/{name}"),
            Self::CommandResult(name) => write!(f, "command-result/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        Topics::new("acme".parse().unwrap(), "berlin-03".parse().unwrap(), "gw1".parse().unwrap())
    }

    #[test]
    fn every_topic_is_read_back_as_it_was_spelled() {
        for (topic, spelled) in [
            (Topic::Event { family: "zone", kind: "entered" }, "event/zone/entered"),
            (Topic::Event { family: "gateway", kind: "radio_deaf" }, "event/gateway/radio_deaf"),
            (Topic::State, "state"),
            (Topic::Fixture("fridge-1"), "state/sensor/fridge-1"),
            (Topic::Metrics, "metrics"),
            (Topic::Contract, "contract"),
            (Topic::Sighting("shelf-3"), "sighting/shelf-3"),
            (Topic::Handover, "handover"),
            (Topic::Command("withdraw"), "command/withdraw"),
            (Topic::CommandResult("withdraw"), "command-result/withdraw"),
        ] {
            let text = topics().spell(topic);
            assert_eq!(text, format!("beacon/v1/acme/berlin-03/gw1/{spelled}"));
            assert_eq!(Topics::read(&text), Ok((topics(), topic)));
        }
    }

    #[test]
    fn every_topic_of_the_registry_is_read_back_and_no_other() {
        for topic in RegistryTopic::ALL {
            let text = topics().spell_registry(topic);
            assert_eq!(text, format!("beacon/v1/acme/berlin-03/registry/{}", topic.word()));
            assert_eq!(topics().read_registry(&text), Some(topic));
            let elsewhere = text.replace("berlin-03", "berlin-04");
            assert_eq!(topics().read_registry(&elsewhere), None);
            assert!(Topics::read(&text).is_err(), "it is no topic of a gateway");
        }
        assert_eq!(topics().read_registry("beacon/v1/acme/berlin-03/registry/all"), None);
        assert_eq!(topics().command_filter(), "beacon/v1/acme/berlin-03/gw1/command/+");
        assert_eq!(topics().store_address(), "acme/berlin-03");
        assert_eq!(topics().gateway_address(), "acme/berlin-03/gw1");
    }

    #[test]
    fn other_topics_are_refused() {
        for text in [
            "",
            "beacon/v1",
            "beacon/v1/acme/berlin-03/gw1",
            "beacon/v1/acme/berlin-03/gw1/",
            "beacon/v2/acme/berlin-03/gw1/state",
            "beacon/v1/acme//gw1/state",
            "beacon/v1/acme/+/gw1/state",
            "beacon/v1/acme/berlin-03/gw1/state/more",
            "beacon/v1/acme/berlin-03/gw1/event/zone",
            "beacon/v1/acme/berlin-03/gw1/event/zone/entered/again",
            "beacon/v1/acme/berlin-03/gw1/event//entered",
            "beacon/v1/acme/berlin-03/gw1/command/",
            "beacon/v1/acme/berlin-03/gw1/secrets",
            "xbeacon/v1/acme/berlin-03/gw1/state",
            "beacon/v1x/acme/berlin-03/gw1/state",
        ] {
            assert!(Topics::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_that_would_break_a_topic_is_refused_with_what_is_allowed() {
        for text in [
            "",
            "a/b",
            "a+b",
            "#",
            "two words",
            "tab\there",
            "nul\0",
            "line\n",
            "$SYS",
            "\u{FEFF}bom",
            "\u{FFFF}",
            "\u{FDD0}",
            "\u{7F}",
            &"x".repeat(65),
        ] {
            let message = text.parse::<Name>().unwrap_err().to_string();
            assert!(message.contains("write 1 to 64 characters, none of them `/`"), "{message}");
            assert!(!message.contains('\n') && !message.contains('\0'), "{message}");
        }
        for text in ["acme", "berlin-03", "Gw_1", "münchen", "店舗", &"x".repeat(64), "a.b:c"] {
            assert_eq!(text.parse::<Name>().unwrap().as_str(), text);
        }
    }
}

//! What the platform asks of one gateway's outbox: the commands' names and bodies in, errands out;
//! and what can be answered.
//!
//! An errand changes nothing about anybody. What it has sent again is judged anew before it is
//! sent, like everything else.

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::{
    outbox::{Ranges, Sequence},
    uplink::RegistryTopic,
};

/// A command that exists.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum CommandName {
    /// To all gateways of a store, about its registry.
    Registry(RegistryTopic),
    /// To one gateway, about its outbox.
    Gateway(ErrandName),
}

/// A command to one gateway.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ErrandName {
    /// Send again what is still held.
    Replay,
    /// Say where every number is.
    Resync,
    /// Try again to deliver what the broker refused for good.
    RetryDeadLetters,
}

/// What is asked of the outbox. Numbers are of the gateway's present epoch; a span has both its ends
/// in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Errand {
    /// What is to be done.
    pub name: ErrandName,
    /// The epoch whose numbers are meant; `None` for the present one, whichever it is.
    pub epoch: Option<u32>,
    /// The first number.
    pub from: Sequence,
    /// The last number; there may not be so many.
    pub to: Sequence,
}

/// What became of an errand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The present epoch.
    pub epoch: u32,
    /// The first number of it.
    pub first: Sequence,
    /// The last number that was given in it; 0 before the first.
    pub last: Sequence,
    /// The first number that was looked at.
    pub from: Sequence,
    /// The last number that was looked at, not above `last`.
    pub to: Sequence,
    /// What was found or done, by name, in the order in which it is told.
    pub numbers: Vec<(&'static str, Numbers)>,
}

/// Numbers in an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Numbers {
    /// How many.
    Count(u64),
    /// How many, and which.
    Which(Ranges),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    epoch: Option<u32>,
    #[serde(default, deserialize_with = "number")]
    from: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    to: Option<u64>,
}

// === impl CommandName ===

impl CommandName {
    /// The last level of the topic.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Registry(topic) => topic.word(),
            Self::Gateway(name) => name.word(),
        }
    }
}

impl From<RegistryTopic> for CommandName {
    fn from(topic: RegistryTopic) -> Self {
        Self::Registry(topic)
    }
}

impl From<ErrandName> for CommandName {
    fn from(name: ErrandName) -> Self {
        Self::Gateway(name)
    }
}

// === impl ErrandName ===

impl ErrandName {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Replay, Self::Resync, Self::RetryDeadLetters];

    /// The last level of the topic.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Resync => "resync",
            Self::RetryDeadLetters => "retry_dead_letters",
        }
    }

    /// The command of this name.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.word() == word)
    }

    /// Reads a body. Whoever wants something sent again says what; the others may leave it open.
    pub(super) fn read(self, body: Value) -> Option<Errand> {
        let Body { epoch, from, to } = serde_json::from_value(body).ok()?;
        let open = self != Self::Replay;
        let from = from.or(open.then_some(1))?;
        let to = to.or(open.then_some(u64::MAX))?;
        let errand = Errand { name: self, epoch, from: Sequence(from), to: Sequence(to) };
        (from <= to).then_some(errand)
    }
}

/// A number, or the text of one: events write theirs as text, because some languages' numbers end
/// at 2^53.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(u64),
        Text(String),
    }
    match Option::<Number>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Number::Number(number)) => Ok(Some(number)),
        Some(Number::Text(text)) => text.parse().map(Some).map_err(de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span(name: ErrandName, body: Value) -> Option<(Option<u32>, u64, u64)> {
        name.read(body).map(|errand| (errand.epoch, errand.from.0, errand.to.0))
    }

    #[test]
    fn numbers_are_read_as_numbers_and_as_texts() {
        use ErrandName::{Replay, Resync, RetryDeadLetters};
        let body = json!({"epoch": 3, "from": 5, "to": "18446744073709551615"});
        assert_eq!(span(Replay, body), Some((Some(3), 5, u64::MAX)));
        assert_eq!(span(Replay, json!({"from": "5", "to": 5})), Some((None, 5, 5)));
        for open in [Resync, RetryDeadLetters] {
            assert_eq!(span(open, json!({})), Some((None, 1, u64::MAX)));
            assert_eq!(span(open, json!({"from": null, "to": 9})), Some((None, 1, 9)));
        }
    }

    #[test]
    fn a_body_that_cannot_be_meant_is_refused() {
        for body in [
            json!({}),
            json!({"from": 1}),
            json!({"to": 1}),
            json!({"from": 2, "to": 1}),
            json!({"from": -1, "to": 1}),
            json!({"from": 1.5, "to": 2}),
            json!({"from": "", "to": 2}),
            json!({"from": 1, "to": 2, "ranges": []}),
            json!({"epoch": -1, "from": 1, "to": 2}),
            json!([1, 2]),
            json!(null),
        ] {
            assert_eq!(span(ErrandName::Replay, body.clone()), None, "{body}");
        }
    }

    #[test]
    fn every_errand_is_found_by_its_word() {
        for name in ErrandName::ALL {
            assert_eq!(ErrandName::from_word(name.word()), Some(name));
        }
        assert_eq!(ErrandName::from_word("fence"), None);
    }
}

//! A value that makes no sense: where it stands, what was found, what is allowed.

use thiserror::Error;

use super::Span;
use crate::{command, outbox, uplink};

/// A value that makes no sense.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{key}` is {found}; {allowed}")]
pub struct Invalid {
    /// The key, with its section.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

impl Invalid {
    pub(crate) fn new(key: &str, found: impl Into<String>, allowed: &str) -> Self {
        Self { key: key.to_owned(), found: found.into(), allowed: allowed.to_owned() }
    }
}

impl From<outbox::InvalidSetting> for Invalid {
    fn from(invalid: outbox::InvalidSetting) -> Self {
        let outbox::InvalidSetting { key, found, allowed } = invalid;
        Self::new(&format!("outbox.{key}"), found, &format!("allowed is {allowed}"))
    }
}

impl From<uplink::SettingsError> for Invalid {
    fn from(invalid: uplink::SettingsError) -> Self {
        let uplink::SettingsError { key, found, allowed } = invalid;
        Self::new(key, found, &format!("allowed: {allowed}"))
    }
}

impl From<command::SettingsError> for Invalid {
    fn from(invalid: command::SettingsError) -> Self {
        let command::SettingsError { key, found, allowed } = invalid;
        Self::new(&key, found, &format!("allowed: {allowed}"))
    }
}

/// Checks that a span lies between two others, both inclusive.
pub(crate) fn between(key: &str, found: Span, least: Span, most: Span) -> Result<(), Invalid> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(Invalid::new(key, found.to_string(), &format!("allowed are {least} to {most}")))
}

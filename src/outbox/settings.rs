//! The `[outbox]` section of the configuration.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::settings::{ByteSize, Span};

use super::MAX_RECORD;

/// How much the outbox holds and how often it commits.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long a record may wait for others to share a commit with; `1ms` to `10s`.
    ///
    /// `100ms`: every commit costs the card a flush and several times the record's size, whether
    /// it holds one record or hundreds. Ten commits a second leave a card years to live, and
    /// nobody notices a tenth of a second.
    pub commit_interval: Span,
    /// How many records are committed at once without waiting any longer; 1 to 4096.
    ///
    /// `256`: beyond that, larger commits no longer make it faster.
    pub commit_records: usize,
    /// How many records are held before the oldest are dropped; at least twice `commit_records`.
    ///
    /// `1000000`: about a month of a busy shop (30,000 events a day) without a network.
    pub max_records: u64,
    /// How many bytes of records are held before the oldest are dropped; at least 2 KiB for each
    /// of twice `commit_records`, at most `64GiB`. On disk they take two to three times as much.
    ///
    /// `256MiB`: room for a million records of the usual size, and less than a tenth of the
    /// smallest card.
    pub max_bytes: ByteSize,
    /// How old a record may become before it is dropped unsent; at least `1m`. Counts only for
    /// records made, and only while, the clock is synced.
    ///
    /// `30d`: what the platform would do with an older event is of no use to the shop, and the
    /// people it is about have not been asked for longer.
    pub max_age: Span,
    /// How much memory the store may use for pages; `256KiB` to `1GiB`.
    ///
    /// `2MiB`: the outbox is written at its end and read at its beginning, so a larger cache does
    /// not make it faster.
    pub cache: ByteSize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            commit_interval: Span::millis(100),
            commit_records: 256,
            max_records: 1_000_000,
            max_bytes: ByteSize(256 << 20),
            max_age: Span::secs(30 * 86_400),
            cache: ByteSize(2 << 20),
        }
    }
}

/// A setting of the outbox that lies outside of what is allowed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`outbox.{key}` is {found}; allowed is {allowed}")]
pub struct InvalidSetting {
    /// The key, within its section.
    pub key: &'static str,
    /// What it is set to.
    pub found: String,
    /// What it may be set to.
    pub allowed: String,
}

impl Settings {
    /// Checks what the types do not: ranges, and that a commit fits into the store.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let commit = u64::try_from(self.commit_records).unwrap_or(u64::MAX);
        let records = commit.saturating_mul(2);
        let bytes = ByteSize(records.saturating_mul(MAX_RECORD as u64));
        check("commit_interval", &self.commit_interval, &Span::millis(1), Some(&Span::secs(10)))?;
        check("commit_records", &self.commit_records, &1, Some(&4096))?;
        check("max_records", &self.max_records, &records, None)?;
        check("max_bytes", &self.max_bytes, &bytes, Some(&ByteSize(64 << 30)))?;
        check("max_age", &self.max_age, &Span::secs(60), None)?;
        check("cache", &self.cache, &ByteSize(256 << 10), Some(&ByteSize(1 << 30)))
    }
}

fn check<T: Ord + ToString>(
    key: &'static str,
    found: &T,
    least: &T,
    most: Option<&T>,
) -> Result<(), InvalidSetting> {
    if found >= least && most.is_none_or(|most| found <= most) {
        return Ok(());
    }
    let allowed = match most {
        Some(most) => format!("{} to {}", least.to_string(), most.to_string()),
        None => format!("{} or more", least.to_string()),
    };
    Err(InvalidSetting { key, found: found.to_string(), allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_an_empty_section_means_them() {
        let settings: Settings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.validate(), Ok(()));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(serde_json::from_str::<Settings>(r#"{"max_record": 5}"#).is_err());
    }

    #[test]
    fn a_store_too_small_for_its_commits_is_refused_with_what_is_allowed() {
        let settings = Settings { max_records: 511, ..Settings::default() };
        assert_eq!(
            settings.validate().unwrap_err().to_string(),
            "`outbox.max_records` is 511; allowed is 512 or more"
        );
        let settings = Settings { max_bytes: ByteSize(1 << 19), ..Settings::default() };
        assert_eq!(
            settings.validate().unwrap_err().to_string(),
            "`outbox.max_bytes` is 512KiB; allowed is 1MiB to 64GiB"
        );
        let settings = Settings { commit_records: 0, ..Settings::default() };
        assert_eq!(
            settings.validate().unwrap_err().to_string(),
            "`outbox.commit_records` is 0; allowed is 1 to 4096"
        );
    }
}

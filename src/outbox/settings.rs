//! The `[outbox]` section of the configuration.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::settings::{ByteSize, Span};

use super::{Class, MAX_RECORD};

/// How long what was acknowledged can be held at most, in seconds.
const MONTH: u64 = 30 * 86_400;

/// How much the outbox holds and how often it commits.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long a record may wait for others to share a commit with; `1ms` to `10s`. Records of the
    /// classes `gateway` and `moment` do not wait, nor what waits already when one of them comes.
    ///
    /// `1s`: every commit costs the card a flush and several times the record's size, whether it
    /// holds one record or hundreds. It is also what a power cut takes at most: the records of this
    /// long, none of which was published, nor a number of theirs told to anybody.
    pub commit_interval: Span,
    /// How many records are committed at once without waiting any longer; 1 to 4096.
    ///
    /// `256`: beyond that, larger commits no longer make it faster.
    pub commit_records: usize,
    /// How many records are held before the oldest are dropped; at least twice `commit_records`.
    ///
    /// `1500000`: eight days of a large shop (two events a second) without a network, and seven weeks of
    /// a busy one (30,000 events a day).
    pub max_records: u64,
    /// How many bytes of records are held before the oldest are dropped; at least 2 KiB for each
    /// of twice `commit_records`, at most `64GiB`. On disk they take about as much.
    ///
    /// `384MiB`: room for as many records of the usual size, and less than a tenth of the
    /// smallest card.
    pub max_bytes: ByteSize,
    /// How old a record may become before it is dropped unsent; at least `1m`. Counts only for
    /// records made, and only while, the clock is synced.
    ///
    /// `30d`: what the platform would do with an older event is of no use to the shop, and the
    /// people it is about have not been asked for longer.
    pub max_age: Span,
    /// How long a record is held after it was acknowledged, so that the platform can have it sent
    /// again; `0s` (not at all) to `30d`.
    ///
    /// `24h`: whoever lost a day's work finds it here. It takes no room from what waits: when room
    /// is needed these go first.
    pub keep_acknowledged: Span,
    /// How many records wait in memory while the disk is away; 16 to 1000000.
    ///
    /// `4096`: over an hour of a busy shop, at one event a second.
    pub memory_records: u64,
    /// How many bytes wait in memory while the disk is away; `512KiB` to `1GiB`.
    ///
    /// `4MiB`: as many records with what belongs to them, on a computer that has 512 MiB.
    pub memory_bytes: ByteSize,
    /// How many bytes can be written to the card before it wears out, by its data sheet; at least
    /// `1GiB`. Only the projection in the metrics makes use of it.
    ///
    /// `10240GiB`: what is left of the 20 TB and more of a card of 16 GB made for this, when its
    /// own housekeeping doubles what is written.
    pub card_endurance: ByteSize,
    /// What each class of records is sure of when the outbox is full.
    pub shares: Shares,
    /// How much memory the store may use for pages; `256KiB` to `1GiB`.
    ///
    /// `2MiB`: the outbox is written at its end and read at its beginning, so a larger cache does
    /// not make it faster.
    pub cache: ByteSize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            commit_interval: Span::secs(1),
            commit_records: 256,
            max_records: 1_500_000,
            max_bytes: ByteSize(384 << 20),
            max_age: Span::secs(30 * 86_400),
            keep_acknowledged: Span::secs(86_400),
            memory_records: 4096,
            memory_bytes: ByteSize(4 << 20),
            card_endurance: ByteSize(10_240 << 30),
            shares: Shares::default(),
            cache: ByteSize(2 << 20),
        }
    }
}

/// The share of `max_records` and `max_bytes` that each class of records is sure of, in percent;
/// together at most 100. Whatever is free may be used by all, and beyond its share a class gives
/// way, the least valuable first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shares {
    /// Receipts of consent, and what the gateway says about itself. `10`: they are few, and the
    /// rest cannot be accounted for without them.
    pub gateway: u8,
    /// Rules that fired. `20`: each was asked for, and there are caps on them already.
    pub moment: u8,
    /// Visits and zones. `40`: what the gateway is there for, and most of what it makes.
    pub presence: u8,
    /// What sensors measured. `20`: a value every few minutes is soon replaced by the next.
    pub sensor: u8,
    /// Anonymous counts. `10`: small, and statistics bear gaps.
    pub count: u8,
}

impl Default for Shares {
    fn default() -> Self {
        Self { gateway: 10, moment: 20, presence: 40, sensor: 20, count: 10 }
    }
}

impl Shares {
    /// The share of one class, in percent.
    pub fn of(self, class: Class) -> u8 {
        match class {
            Class::Gateway => self.gateway,
            Class::Moment => self.moment,
            Class::Presence => self.presence,
            Class::Sensor => self.sensor,
            Class::Count => self.count,
        }
    }

    fn sum(self) -> u32 {
        Class::ALL.iter().map(|class| u32::from(self.of(*class))).sum()
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
        check(
            "keep_acknowledged",
            &self.keep_acknowledged,
            &Span::secs(0),
            Some(&Span::secs(MONTH)),
        )?;
        check("memory_records", &self.memory_records, &16, Some(&1_000_000))?;
        let memory = ByteSize(512 << 10);
        check("memory_bytes", &self.memory_bytes, &memory, Some(&ByteSize(1 << 30)))?;
        check("card_endurance", &self.card_endurance, &ByteSize(1 << 30), None)?;
        if self.shares.sum() > 100 {
            let found = format!("{} in all", self.shares.sum());
            return Err(InvalidSetting {
                key: "shares",
                found,
                allowed: "percentages that together make 100 at most".to_owned(),
            });
        }
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
        let shares = Shares { moment: 60, ..Shares::default() };
        let settings = Settings { shares, ..Settings::default() };
        assert_eq!(
            settings.validate().unwrap_err().to_string(),
            "`outbox.shares` is 140 in all; allowed is percentages that together make 100 at most"
        );
        let settings = Settings { commit_records: 0, ..Settings::default() };
        assert_eq!(
            settings.validate().unwrap_err().to_string(),
            "`outbox.commit_records` is 0; allowed is 1 to 4096"
        );
    }
}

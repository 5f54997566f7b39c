//! `[health]` and `[log]`: what the gateway tells about itself, and how often.

use serde::{Deserialize, Serialize};

use super::{Invalid, Span, one_of};

/// `[health]`: what the gateway tells about itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSettings {
    /// How often the counters are published on the metrics topic.
    pub metrics_interval: Span,
    /// How often the retained state document is refreshed.
    pub state_interval: Span,
}

/// `[log]`: what is written to standard error, where systemd's journal takes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: LogLevel,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogLevel {
    /// Data was lost or a human is needed.
    Error,
    /// Something was unexpected, nothing was lost.
    Warn,
    /// An action was completed.
    #[default]
    Info,
    /// What leads to a decision.
    Debug,
    /// Everything, still without a stranger's address.
    Trace,
}

impl TryFrom<String> for LogLevel {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let levels = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
        let words = ["error", "warn", "info", "debug", "trace"];
        let words: Vec<(&str, Self)> = words.into_iter().zip(levels).collect();
        one_of(&text, &words)
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { metrics_interval: Span::secs(60), state_interval: Span::secs(300) }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: LogLevel::Info }
    }
}

impl HealthSettings {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let intervals = [
            ("health.metrics_interval", self.metrics_interval),
            ("health.state_interval", self.state_interval),
        ];
        for (key, found) in intervals {
            if found < Span::millis(100) {
                return Err(Invalid::new(key, found.to_string(), "allowed is `100ms` or more"));
            }
        }
        Ok(())
    }
}

//! What the scan room vouches for: whether silence means an empty shop or a deaf radio.

use std::fmt;

use super::Uptime;

/// Whether the radio can be trusted to hear.
///
/// Presence runs on *hearing time*: nobody leaves while nothing can be heard.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RadioState {
    /// Advertisements arrive. Silence is not yet explained: an exit waits until anything at all,
    /// a stranger included, was heard at or after its deadline.
    #[default]
    Hearing,
    /// Nothing arrives and the scan was checked or is a recording: silence means absence.
    Quiet,
    /// Nothing has arrived since `since` and nobody knows why yet. Presence is frozen from then on.
    Suspect {
        /// When something was last heard.
        since: Uptime,
    },
    /// The radio cannot hear. Presence is frozen from `since` on.
    Deaf {
        /// When something was last heard.
        since: Uptime,
        /// What is wrong.
        cause: DeafCause,
    },
}

/// Why the radio cannot hear.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeafCause {
    /// The air went silent all at once although it had been busy.
    Silence,
    /// The message bus or the Bluetooth daemon does not answer.
    Daemon,
    /// There is no Bluetooth adapter.
    NoAdapter,
    /// The adapter is switched off.
    PoweredOff,
    /// Scanning could not be started.
    ScanRefused,
    /// The machine slept.
    Suspended,
    /// A remote receiver, or the broker by way of which it is heard, cannot be reached.
    Unreachable,
}

impl RadioState {
    /// The name used in the state document.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hearing => "hearing",
            Self::Quiet => "quiet",
            Self::Suspect { .. } => "suspect",
            Self::Deaf { .. } => "deaf",
        }
    }
}

impl DeafCause {
    /// The name used in payloads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Daemon => "daemon",
            Self::NoAdapter => "no_adapter",
            Self::PoweredOff => "powered_off",
            Self::ScanRefused => "scan_refused",
            Self::Suspended => "suspended",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for DeafCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silence => "the air went silent all at once",
            Self::Daemon => "the Bluetooth daemon or the message bus does not answer",
            Self::NoAdapter => "there is no Bluetooth adapter",
            Self::PoweredOff => "the Bluetooth adapter is switched off",
            Self::ScanRefused => "scanning could not be started",
            Self::Suspended => "the machine was suspended",
            Self::Unreachable => "the receiver, or the broker between, cannot be reached",
        })
    }
}

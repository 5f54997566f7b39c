//! Why the gateway did not start or did not go on, and what the supervisor should do about it.

use thiserror::Error;

use super::StewardError;
use crate::{
    engine::AmbiguousRegistry,
    outbox::{DiskState, OutboxError},
    registry::{RegistryError, store::RegistryStoreError},
    relay::{KeyError, RelayError},
    settings::Invalid,
    standby::{SharedKeyError, StandbyError},
    uplink::UplinkError,
};

/// Why the gateway did not start or did not go on.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Settings(#[from] Invalid),
    /// The registry cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry's store cannot be read or written.
    #[error(transparent)]
    RegistryStore(#[from] RegistryStoreError),
    /// The process that opens the registry's store did not do what it was asked for.
    #[error(transparent)]
    Steward(#[from] StewardError),
    /// Two entries cannot be told apart.
    #[error("{0}")]
    Ambiguous(#[from] AmbiguousRegistry),
    /// The uplink cannot start.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// The line to the lead cannot start.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The line to the other gateway of a pair cannot start.
    #[error(transparent)]
    Standby(#[from] StandbyError),
    /// What the two of a pair tell each other cannot be sealed.
    #[error(transparent)]
    SharedKey(#[from] SharedKeyError),
    /// What another gateway seals cannot be opened.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The outbox could not be opened, or the disk failed.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// A part of the program panicked.
    #[error("the {0} room panicked; this is an error in the program")]
    Panicked(&'static str),
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Start again after a while.
    Retry,
    /// Somebody must change the configuration first.
    Reconfigure,
    /// It is an error in the program; systemd restarts it.
    Bug,
}

impl GatewayError {
    /// What the supervisor should do.
    pub fn fate(&self) -> Fate {
        if DiskState::of(self).is_some() {
            return Fate::Retry;
        }
        match self {
            Self::Settings(_)
            | Self::Registry(_)
            | Self::Ambiguous(_)
            | Self::Uplink(_)
            | Self::Relay(_)
            | Self::Standby(_)
            | Self::SharedKey(_)
            | Self::Key(_) => Fate::Reconfigure,
            Self::RegistryStore(error) => match error {
                RegistryStoreError::Directory { .. }
                | RegistryStoreError::Forbidden { .. }
                | RegistryStoreError::Keys(_) => Fate::Reconfigure,
                _ => Fate::Retry,
            },
            Self::Steward(error) => error.fate(),
            Self::Outbox(error) => match error {
                OutboxError::Foreign { .. }
                | OutboxError::Forbidden { .. }
                | OutboxError::Directory { .. }
                | OutboxError::NewerLayout { .. }
                | OutboxError::Key { .. }
                | OutboxError::KeyMissing { .. } => Fate::Reconfigure,
                OutboxError::Blob { .. } | OutboxError::Died | OutboxError::Unusable => Fate::Bug,
                _ => Fate::Retry,
            },
            Self::Panicked(_) => Fate::Bug,
        }
    }
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

//! Why there is no scan, whichever way it was tried.

use thiserror::Error;

#[cfg(feature = "bluetooth")]
use crate::scan::bluez::BluezError;
use crate::{engine::DeafCause, scan::hci::HciError};

/// Why there is no scan.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum LiveError {
    /// By way of bluetoothd.
    #[cfg(feature = "bluetooth")]
    #[error(transparent)]
    Bluez(#[from] BluezError),
    /// By way of the kernel.
    #[error(transparent)]
    Hci(#[from] HciError),
    /// The operating system gave no thread or no event loop.
    #[error("failed to start a thread for scanning: {}", std::io::Error::from(*.0))]
    Thread(std::io::ErrorKind),
    /// This build cannot scan that way.
    #[error(
        "this build cannot scan by way of bluetoothd; set `scan.backend = \"hci\"`, or build it \
         with `--features bluetooth`"
    )]
    NotBuilt,
}

impl LiveError {
    /// What this means for hearing.
    pub const fn cause(&self) -> DeafCause {
        match self {
            #[cfg(feature = "bluetooth")]
            Self::Bluez(error) => error.cause(),
            Self::Hci(error) => error.cause(),
            Self::Thread(_) | Self::NotBuilt => DeafCause::ScanRefused,
        }
    }
}

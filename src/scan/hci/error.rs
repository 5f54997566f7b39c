//! What can go wrong with the kernel's Bluetooth, in words for a technician.
//!
//! No error holds an address: an adapter is named by its number, or as "the configured adapter".

use std::io;

use thiserror::Error;

use crate::engine::DeafCause;

/// Why the kernel's Bluetooth does not serve.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum HciError {
    /// The kernel knows no Bluetooth, or hides it from this process.
    #[error(
        "failed to open a Bluetooth socket: the kernel has no Bluetooth, or hides it from this \
         process; try `modprobe bluetooth`, allow AF_BLUETOOTH in the service's \
         `RestrictAddressFamilies=`, and use the host's network in a container"
    )]
    NoBluetooth,
    /// A capability is missing.
    #[error(
        "failed to {doing}: it takes the capability {capability}; give it to the service with \
         `AmbientCapabilities={capability}`, and leave `PrivateUsers=` off"
    )]
    Forbidden {
        /// What was not permitted.
        doing: &'static str,
        /// What would have permitted it.
        capability: &'static str,
    },
    /// No adapter, or not the one configured.
    #[error("failed to find {0}; see `btmgmt info` and `rfkill list bluetooth`")]
    NoAdapter(String),
    /// Another program has the adapter.
    #[error(
        "failed to take {0} for this program alone: it is being started, or another program uses \
         it; see `btmgmt info`, and keep bluetoothd away from a dedicated adapter"
    )]
    InUse(String),
    /// A switch or a setting keeps the adapter from being powered.
    #[error("failed to power {0}: it is blocked; `rfkill unblock bluetooth` releases it")]
    Blocked(String),
    /// The controller cannot do what is asked of it.
    #[error(
        "failed to scan with {0}: its controller has no Bluetooth LE; choose another adapter with \
         `scan.adapter`"
    )]
    Unfit(String),
    /// The controller refused a command.
    #[error(
        "failed to {doing}: the controller answered with error 0x{status:02x}; unplug the adapter \
         and plug it in again, and see `journalctl -k`"
    )]
    Refused {
        /// What the command should have done.
        doing: &'static str,
        /// The controller's error code (Core Specification 5.4, Vol 1 Part F).
        status: u8,
    },
    /// The kernel refused a request of the management protocol.
    #[error(
        "failed to {doing}: the kernel answered with management status 0x{status:02x}; see \
         `btmgmt info` and `journalctl -k`"
    )]
    Declined {
        /// What the request should have done.
        doing: &'static str,
        /// The status (BlueZ, `doc/mgmt-api.txt`, "Error Codes").
        status: u8,
    },
    /// No answer in time.
    #[error(
        "failed to {doing}: there was no answer in time; unplug the adapter and plug it in again, \
         and see `journalctl -k`"
    )]
    Silent {
        /// What should have been answered.
        doing: &'static str,
    },
    /// The adapter went away while it was in use.
    #[error("failed to go on listening: the adapter is gone; see `btmgmt info`")]
    Lost,
    /// The hardware could not be reset.
    #[error(
        "failed to {doing}; it takes the right to write to `/sys`: root or a udev rule, and no \
         `ProtectKernelTunables=` in the service"
    )]
    Reset {
        /// Which step did not succeed.
        doing: &'static str,
        /// What the operating system said.
        #[source]
        cause: OsError,
    },
    /// Anything else that the operating system would not do.
    #[error("failed to {doing}; see `journalctl -k`")]
    System {
        /// What it would not do.
        doing: &'static str,
        /// What it said.
        #[source]
        cause: OsError,
    },
}

/// What the operating system said, as its error number; 0 when it gave none.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{}", io::Error::from_raw_os_error(*.0))]
pub struct OsError(pub i32);

// === impl HciError ===

impl HciError {
    /// What this means for hearing.
    pub const fn cause(&self) -> DeafCause {
        match self {
            Self::NoBluetooth | Self::NoAdapter(_) | Self::Lost => DeafCause::NoAdapter,
            Self::Blocked(_) => DeafCause::PoweredOff,
            Self::Forbidden { .. }
            | Self::InUse(_)
            | Self::Unfit(_)
            | Self::Refused { .. }
            | Self::Declined { .. }
            | Self::Silent { .. }
            | Self::Reset { .. }
            | Self::System { .. } => DeafCause::ScanRefused,
        }
    }

    /// Tells the errors of a socket apart. `adapter` is how the adapter is called in a sentence;
    /// `capability` is what the kernel asks for there.
    pub(super) fn of_socket(
        doing: &'static str,
        adapter: &str,
        capability: &'static str,
        error: &io::Error,
    ) -> Self {
        match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => Self::NoBluetooth,
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden { doing, capability },
            Some(libc::EBUSY | libc::EUSERS) => Self::InUse(adapter.to_owned()),
            Some(libc::ENODEV) => Self::NoAdapter(adapter.to_owned()),
            Some(libc::ERFKILL) => Self::Blocked(adapter.to_owned()),
            Some(libc::EPIPE | libc::EBADFD | libc::ENETDOWN) => Self::Lost,
            Some(libc::ETIMEDOUT) => Self::Silent { doing },
            _ => Self::System { doing, cause: OsError::of(error) },
        }
    }
}

// === impl OsError ===

impl OsError {
    pub(super) fn of(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: i32) -> HciError {
        let error = io::Error::from_raw_os_error(number);
        HciError::of_socket("take hci3", "hci3", "CAP_NET_ADMIN", &error)
    }

    #[test]
    fn what_a_technician_must_do_differs_from_error_to_error() {
        let told: Vec<_> = [
            libc::EAFNOSUPPORT,
            libc::EPERM,
            libc::EBUSY,
            libc::ENODEV,
            libc::ERFKILL,
            libc::EPIPE,
            libc::ETIMEDOUT,
            libc::EIO,
        ]
        .into_iter()
        .map(|number| of(number).to_string())
        .collect();
        for (place, text) in told.iter().enumerate() {
            assert!(text.starts_with("failed to ") && text.contains('`'), "{text}");
            assert!(told.iter().skip(place + 1).all(|other| other != text), "twice: {text}");
        }
    }

    #[test]
    fn a_missing_capability_is_named() {
        let text = of(libc::EPERM).to_string();
        assert!(text.contains("AmbientCapabilities=CAP_NET_ADMIN"), "{text}");
    }

    #[test]
    fn the_cause_is_told_once() {
        let error = of(libc::EIO);
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(!source.is_empty() && !error.to_string().contains(&source));
    }

    #[test]
    fn what_is_gone_blocked_or_refused_makes_deaf_for_different_reasons() {
        assert_eq!(of(libc::ENODEV).cause(), DeafCause::NoAdapter);
        assert_eq!(of(libc::ERFKILL).cause(), DeafCause::PoweredOff);
        assert_eq!(of(libc::EBUSY).cause(), DeafCause::ScanRefused);
    }
}

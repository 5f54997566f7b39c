//! What can go wrong with the Bluetooth stack, in words for a technician.
//!
//! Errors of btleplug are not kept and not shown: their texts may contain a device's path on the
//! bus, and so its address. Of such a text only the name of the bus error survives, which is made
//! of letters and dots.

use std::fmt;

use thiserror::Error;

use crate::engine::DeafCause;

/// Why there is no scan.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum BluezError {
    /// There is no system bus to talk to.
    #[error("failed to connect to the system bus{0}; see `systemctl status dbus`")]
    Bus(Answer),
    /// bluetoothd is not there, or does not answer.
    #[error("failed to get an answer from bluetoothd{0}; see `systemctl status bluetooth`")]
    Daemon(Answer),
    /// No adapter, or not the one configured.
    #[error("failed to find {0}; see `bluetoothctl list` and `rfkill list bluetooth`")]
    NoAdapter(String),
    /// The administrator switched the adapter off, or nobody switched it on.
    #[error(
        "failed to scan because {0} is switched off; `bluetoothctl power on`, or \
         `rfkill unblock bluetooth`, switches it on"
    )]
    PoweredOff(String),
    /// bluetoothd refused to scan.
    #[error("failed to start scanning{0}; see `journalctl -u bluetooth`")]
    Refused(Answer),
    /// The operating system gave no thread or no event loop.
    #[error("failed to start a thread for scanning")]
    Thread(#[source] ThreadError),
}

/// What the operating system said.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{}", std::io::Error::from(*.0))]
pub struct ThreadError(pub std::io::ErrorKind);

/// How the bus answered: the name of its error, if it has one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer(Option<String>);

// === impl BluezError ===

impl BluezError {
    /// What this means for hearing.
    pub const fn cause(&self) -> DeafCause {
        match self {
            Self::Bus(_) | Self::Daemon(_) => DeafCause::Daemon,
            Self::NoAdapter(_) => DeafCause::NoAdapter,
            Self::PoweredOff(_) => DeafCause::PoweredOff,
            Self::Refused(_) | Self::Thread(_) => DeafCause::ScanRefused,
        }
    }
}

// === impl Answer ===

impl Answer {
    /// Nobody answered in time.
    pub(super) fn none() -> Self {
        Self(Some("no answer in time".to_owned()))
    }

    /// Takes the name out of an error of btleplug: the last words in parentheses of its `Debug`,
    /// like `Other(DbusError(D-Bus error: … (org.bluez.Error.NotReady)))`.
    pub(super) fn of(error: &btleplug::Error) -> Self {
        let text = format!("{error:?}");
        let name = text.rsplit('(').next().map(|last| last.trim_end_matches(')'));
        let letters =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphabetic());
        Self(
            name.filter(|name| name.contains('.') && name.split('.').all(letters))
                .map(ToOwned::to_owned),
        )
    }

    /// Takes the name of an error of the bus.
    pub(super) fn of_bus(error: &dbus::Error) -> Self {
        Self(error.name().map(ToOwned::to_owned))
    }

    /// The name's last part, like `NotReady`.
    pub(super) fn kind(&self) -> &str {
        self.0.as_deref().and_then(|name| name.rsplit('.').next()).unwrap_or_default()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, message: &str) -> Answer {
        let error = dbus::Error::new_custom(name, message);
        Answer::of(&btleplug::Error::Other(Box::new(error)))
    }

    #[test]
    fn of_an_error_only_its_name_is_shown() {
        let answer = of(
            "org.freedesktop.DBus.Error.UnknownObject",
            "No such object '/org/bluez/hci0/dev_C0_FF_EE_00_00_01'",
        );
        assert_eq!(answer.kind(), "UnknownObject");
        let shown = format!("{} {answer:?}", BluezError::Daemon(answer.clone()));
        assert!(shown.contains("(org.freedesktop.DBus.Error.UnknownObject)"), "{shown}");
        assert!(!shown.contains("C0") && !shown.contains("dev"), "{shown}");
    }

    #[test]
    fn a_name_that_could_hold_anything_else_is_not_shown() {
        for error in [
            btleplug::Error::RuntimeError("dev_C0_FF_EE_00_00_01".to_owned()),
            btleplug::Error::Other("hci0/dev_C0_FF_EE_00_00_01".into()),
            btleplug::Error::Other("(C0.FF.EE.00.00.01)".into()),
            btleplug::Error::DeviceNotFound,
        ] {
            assert_eq!(Answer::of(&error), Answer(None), "{error}");
        }
    }

    #[test]
    fn every_error_says_what_to_do() {
        for error in [
            BluezError::Bus(Answer::none()),
            BluezError::Daemon(Answer::none()),
            BluezError::NoAdapter(String::new()),
            BluezError::NoAdapter("hci7".to_owned()),
            BluezError::PoweredOff("hci0".to_owned()),
            BluezError::Refused(Answer::default()),
        ] {
            let text = error.to_string();
            assert!(text.starts_with("failed to ") && text.contains('`'), "{text}");
        }
    }
}

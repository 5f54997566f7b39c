//! Which way the advertisements take into the daemon, as the operator chooses it.

use std::fmt;

/// A data plane.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Plane {
    /// btleplug's events.
    Dbus,
    /// The HCI monitor socket, while btleplug keeps the scan going.
    Monitor,
    /// The HCI user channel: the adapter is the daemon's alone.
    Hci,
}

impl Plane {
    /// Those to be tried: all, or those that `RADIO_PLANES` names.
    pub(crate) fn chosen() -> Vec<Self> {
        let names = std::env::var("RADIO_PLANES").unwrap_or_default();
        let mut planes = vec![Self::Dbus, Self::Monitor, Self::Hci];
        planes
            .retain(|plane| names.is_empty() || names.split(',').any(|name| name == plane.name()));
        planes
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dbus => "dbus",
            Self::Monitor => "monitor",
            Self::Hci => "hci",
        }
    }

    /// The keys of `[scan]` that choose it.
    pub(crate) fn keys(self) -> &'static str {
        match self {
            Self::Dbus => "backend = \"bluez\"\ndata = \"dbus\"",
            Self::Monitor => "backend = \"bluez\"\ndata = \"monitor\"",
            Self::Hci => "backend = \"hci\"",
        }
    }

    /// The key `backend` alone.
    pub(crate) fn backend(self) -> &'static str {
        match self {
            Self::Dbus | Self::Monitor => "bluez",
            Self::Hci => "hci",
        }
    }

    /// Whether bluetoothd takes part.
    pub(crate) fn needs_bluetoothd(self) -> bool {
        self != Self::Hci
    }

    /// Whether it is to hear all that the controller hears, each packet as it was. What BlueZ tells
    /// is put together from several packets, and late when there are many.
    pub(crate) fn is_exact(self) -> bool {
        self != Self::Dbus
    }
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

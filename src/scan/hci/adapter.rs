//! Adapters as the kernel lists them. What the configuration says in, the adapter that it means out.
//!
//! An adapter's number changes when it is pulled out and plugged in; its address does not.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::error::HciError;
use crate::engine::{AddressKind, DeviceAddress, parse_octets};

/// Which adapter is wanted, as `scan.adapter` says it.
///
/// `Display` and `Debug` do not show an address.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Wanted {
    /// The one with the lowest number.
    #[default]
    First,
    /// The one with this number: `hci0`.
    Index(u16),
    /// The one with this address, whatever its number.
    Address(DeviceAddress),
}

/// A text that names no adapter.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not an adapter; leave it empty, or write `hci0` or an address like `00:11:22:33:44:55`")]
pub struct NotAnAdapter;

/// One adapter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Adapter {
    /// Its number: 0 for `hci0`.
    pub index: u16,
    /// Its public address; all zero while the kernel does not know it.
    pub address: DeviceAddress,
    /// Whether it is switched on.
    pub powered: bool,
    /// Whether its controller can do Bluetooth LE.
    pub le: bool,
    /// What it does of classic Bluetooth.
    pub classic: Classic,
    /// The version of its HCI (Assigned Numbers, "Core version"): 9 is 5.0.
    pub version: u8,
    /// Who made the controller (Assigned Numbers, "Company identifiers").
    pub manufacturer: u16,
    /// What it is attached by, where the kernel tells.
    pub bus: Option<Bus>,
}

/// What an adapter does of classic Bluetooth, BR/EDR.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Classic {
    /// Its controller has none.
    Absent,
    /// It is switched off, as by `ControllerMode = le`.
    Off,
    /// It is switched on: a scan may have to share the air time with inquiries.
    On,
}

/// What an adapter is attached by (`include/net/bluetooth/hci.h`, `HCI_VIRTUAL` and following).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bus {
    /// Software.
    Virtual,
    /// USB.
    Usb,
    /// A serial line, as in a Raspberry Pi.
    Uart,
    /// Anything else, by the kernel's number.
    Other(u8),
}

// === impl Wanted ===

impl Wanted {
    /// Chooses among the adapters there are.
    pub fn choose<'a>(&self, adapters: &'a [Adapter]) -> Result<&'a Adapter, HciError> {
        let chosen = match self {
            Self::First => adapters.iter().min_by_key(|adapter| adapter.index),
            Self::Index(index) => adapters.iter().find(|adapter| adapter.index == *index),
            // The kernel lists public addresses only, whatever kind a person's looks like.
            Self::Address(address) => {
                adapters.iter().find(|adapter| adapter.address.octets() == address.octets())
            }
        };
        chosen.ok_or_else(|| HciError::NoAdapter(self.to_string()))
    }
}

impl FromStr for Wanted {
    type Err = NotAnAdapter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::First);
        }
        if let Some(number) = text.strip_prefix("hci") {
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            return match number.parse() {
                Ok(index) if digits => Ok(Self::Index(index)),
                _ => Err(NotAnAdapter),
            };
        }
        let octets = parse_octets(text).map_err(|_| NotAnAdapter)?;
        Ok(Self::Address(DeviceAddress::new(octets, AddressKind::Public)))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("a Bluetooth adapter"),
            Self::Index(index) => write!(f, "the Bluetooth adapter hci{index}"),
            Self::Address(_) => f.write_str("the Bluetooth adapter of the configured address"),
        }
    }
}

// === impl Adapter ===

impl Adapter {
    /// How the system calls it: `hci0`.
    pub fn name(&self) -> String {
        format!("hci{}", self.index)
    }
}

// === impl Bus ===

impl Bus {
    pub(super) const fn of(number: u8) -> Self {
        match number {
            0 => Self::Virtual,
            1 => Self::Usb,
            3 => Self::Uart,
            other => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: u16, last: u8) -> Adapter {
        Adapter {
            index,
            address: DeviceAddress::new([0, 0x11, 0x22, 0x33, 0x44, last], AddressKind::Public),
            powered: false,
            le: true,
            classic: Classic::Absent,
            version: 9,
            manufacturer: 15,
            bus: Some(Bus::Usb),
        }
    }

    #[test]
    fn an_adapter_is_chosen_as_it_is_written() {
        let adapters = [adapter(3, 0xaa), adapter(1, 0xbb)];
        for (text, index) in [("", 1), ("hci3", 3), ("00:11:22:33:44:aa", 3), ("0011223344bb", 1)] {
            let wanted: Wanted = text.parse().unwrap();
            assert_eq!(wanted.choose(&adapters).map(|adapter| adapter.index), Ok(index), "{text}");
        }
    }

    #[test]
    fn what_names_no_adapter_is_refused() {
        for text in ["hci", "hci-1", "hci+1", "hci70000", "usb0", "00:11:22:33:44", "hci0 x"] {
            assert_eq!(text.parse::<Wanted>(), Err(NotAnAdapter), "{text}");
        }
    }

    #[test]
    fn an_adapter_that_is_not_there_is_told_without_its_address() {
        let wanted: Wanted = "C0:11:22:33:44:55".parse().unwrap();
        let told = format!("{} {wanted:?}", wanted.choose(&[adapter(0, 1)]).unwrap_err());
        assert!(told.contains("configured address"), "{told}");
        assert!(!told.contains("11") && !told.contains("C0"), "{told}");
    }
}

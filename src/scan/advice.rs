//! What stands in a radio's way. Facts about this machine in, findings out, each one line with its
//! remedy.
//!
//! Pure: [`facts`] gathers, [`judge()`] decides. A fact that could not be learnt is `None` or empty, and
//! never becomes a finding that claims to know. Texts name the file, line or command that cures.

pub mod facts;
mod judge;
mod parse;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use self::judge::judge;
pub use super::DataPlane;

/// What the configuration asks of the radio.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// The data plane of the receivers that scan through BlueZ; `None` when there are none.
    pub bluez: Option<DataPlane>,
    /// Whether a receiver has an adapter of its own, without BlueZ (`backend = "hci"`).
    pub hci: bool,
    /// Whether a controller that stays silent shall be reset (`scan.recovery.reset`).
    pub reset: bool,
}

/// What is known about this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// What the configuration asks.
    pub wanted: Wanted,
    /// The controllers that are used.
    pub radios: Vec<Radio>,
    /// Addresses in the configuration that no adapter has.
    pub absent: Vec<String>,
    /// The installed bluetoothd.
    pub bluez: Option<BluezVersion>,
    /// What bluetoothd was told about controllers.
    pub bluez_config: Option<BluezConfig>,
    /// Wi-Fi interfaces that are up.
    pub wifi: Vec<Wifi>,
    /// What this process may do.
    pub capabilities: Capabilities,
    /// Switches that keep Bluetooth off.
    pub blocks: Vec<Block>,
    /// The board, like `Raspberry Pi 4 Model B Rev 1.4`.
    pub board: Option<String>,
}

/// A Bluetooth controller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Radio {
    /// Its present name, like `hci0`.
    pub name: String,
    /// How it is connected to the computer.
    pub attachment: Attachment,
    /// Whether Bluetooth Classic is enabled on it; the kernel's management socket knows.
    pub classic: Option<bool>,
}

/// How a controller is connected to the computer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attachment {
    /// Soldered on: a serial port or SDIO. It shares chip and antenna with the Wi-Fi.
    Onboard,
    /// A USB device.
    Usb,
    /// Something else, like a virtual controller.
    Other,
}

/// The version of BlueZ, like 5.66.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct BluezVersion {
    /// 5 since 2012.
    pub major: u32,
    /// The number of the release.
    pub minor: u32,
}

/// The configuration that bluetoothd reads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BluezConfig {
    /// The file.
    pub file: PathBuf,
    /// Its `ControllerMode`.
    pub mode: ControllerMode,
}

/// `ControllerMode` in bluetoothd's configuration.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ControllerMode {
    /// Classic and Low Energy, where the controller has both. The default.
    #[default]
    Dual,
    /// Low Energy alone.
    LowEnergy,
    /// Classic alone.
    Classic,
}

/// A Wi-Fi interface that is up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wifi {
    /// Its name, like `wlan0`.
    pub name: String,
    /// Its frequency in MHz. Only netlink tells it, so it is asked from `iw`, where that is installed.
    pub mhz: Option<u32>,
}

/// The capabilities of this process, as far as a radio asks for them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// `CAP_NET_RAW`: the HCI monitor socket.
    pub net_raw: bool,
    /// `CAP_NET_ADMIN`: the HCI user channel, power and reset of a controller.
    pub net_admin: bool,
    /// Whether it runs in a user namespace of its own, where capabilities do not reach the radio.
    pub namespaced: bool,
}

/// A switch of the kernel's rfkill that keeps Bluetooth off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Block {
    /// Its name, like `hci0`.
    pub name: String,
    /// Whether a switch on the case or in the firmware does it, which no software can undo.
    pub hard: bool,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Weight {
    /// Something is lost; the gateway runs.
    Advice,
    /// What the configuration demands cannot work.
    Wrong,
}

/// One thing that stands in the way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What it is about, in one word.
    pub what: &'static str,
    /// How much it matters.
    pub weight: Weight,
    /// What was found, what it costs and what cures it, in one line.
    pub text: String,
}

// === impl Capabilities ===

impl Capabilities {
    /// Whether the HCI monitor socket can be opened.
    pub fn monitor(self) -> bool {
        self.net_raw && !self.namespaced
    }

    /// Whether a controller can be taken over, switched and reset.
    pub fn control(self) -> bool {
        self.net_admin && !self.namespaced
    }
}

//! What stands in a radio's way. Facts about this machine in, findings out, each one line with its
//! remedy.
//!
//! Pure: [`facts`] gathers, this decides. A fact that could not be learnt is `None` or empty, and
//! never becomes a finding that claims to know. Texts name the file, line or command that cures.

pub mod facts;
mod parse;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

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

/// Where advertisements come from while BlueZ scans (`scan.data`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DataPlane {
    /// The monitor socket when it is allowed, else the bus.
    Auto,
    /// The kernel's HCI monitor socket.
    Monitor,
    /// bluetoothd's signals on the bus.
    Dbus,
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

/// Older ones free memory twice when a device disconnects at a bad moment (CVE-2020-27153). It is
/// also what Debian 11 has, the oldest that still gets repairs.
const OLDEST_BLUEZ: BluezVersion = BluezVersion { major: 5, minor: 55 };

/// Newer ones announce a changed RSSI only in steps of 8 dB, unless the discovery filter asks for
/// an RSSI, which btleplug cannot.
const NEWEST_EXACT_BLUEZ: BluezVersion = BluezVersion { major: 5, minor: 87 };

/// The upper end of the 2.4 GHz band with all its channels, in MHz (IEEE 802.11: channel 14 is
/// centred on 2484).
const BAND_2_4_GHZ_MAX: u32 = 2500;

/// Where the longer explanation stands.
const GUIDE: &str = "docs/radio-setup.md";

/// Says what stands in the way, the most certain causes of silence first.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(facts.blocks.iter().map(block));
    found.extend(facts.absent.iter().map(|address| absent(address)));
    capabilities(facts, &mut found);
    if facts.wanted.bluez.is_some() {
        found.extend(air_time(facts));
        found.extend(version(facts));
    }
    found.extend(beside_wifi(facts));
    found
}

fn block(block: &Block) -> Finding {
    let name = &block.name;
    if block.hard {
        let cure =
            "turn it on where it was turned off: a switch on the case or a setting of the firmware";
        advice("rfkill", format!("{name} is switched off by hardware and hears nothing; {cure}"))
    } else {
        let cure = "`rfkill unblock bluetooth`";
        advice("rfkill", format!("{name} is switched off by software and hears nothing; {cure}"))
    }
}

fn absent(address: &str) -> Finding {
    let cure =
        "plug it in, or correct `scan.adapter` or `[[scan.adapters]]`; the gateway waits for it";
    advice(
        "adapter",
        format!("no adapter has the address {address}, so that receiver is deaf; {cure}"),
    )
}

fn capabilities(facts: &Facts, found: &mut Vec<Finding>) {
    let Facts { wanted, capabilities, .. } = facts;
    if !capabilities.monitor() {
        let cure = capabilities
            .cure("CAP_NET_RAW", "systemd/beacon-gateway.service.d/monitor.conf grants it");
        match wanted.bluez {
            Some(DataPlane::Monitor) => found.push(wrong(
                "capabilities",
                format!("`scan.data = \"monitor\"` cannot work: {cure}, or set `scan.data = \"auto\"`"),
            )),
            Some(DataPlane::Auto) => found.push(advice(
                "capabilities",
                format!(
                    "advertisements come over the bus, about 450 a second at most and without the first \
                     of each device: {cure}"
                ),
            )),
            Some(DataPlane::Dbus) | None => {}
        }
    }
    if !capabilities.control() {
        let drop_in = "systemd/beacon-gateway.service.d/dedicated-adapter.conf grants it";
        let cure = capabilities.cure("CAP_NET_ADMIN", drop_in);
        if wanted.hci {
            found.push(wrong(
                "capabilities",
                format!(
                    "`backend = \"hci\"` cannot work: {cure}, or set `scan.backend = \"bluez\"`"
                ),
            ));
        } else if wanted.reset {
            found.push(advice(
                "capabilities",
                format!(
                    "a controller that hangs cannot be reset and stays deaf until somebody unplugs it: \
                     {cure}, or set `scan.recovery.reset = \"0s\"`"
                ),
            ));
        }
    }
}

/// Whether scans share the air time with Bluetooth Classic.
fn air_time(facts: &Facts) -> Option<Finding> {
    let config = facts.bluez_config.as_ref();
    let mode = config.map(|config| config.mode);
    let file = config
        .map_or("/etc/bluetooth/main.conf".into(), |config| config.file.display().to_string());
    let names = |classic| {
        let radios = facts.radios.iter().filter(move |radio| radio.classic == classic);
        radios.map(|radio| radio.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let restart = "`systemctl restart bluetooth`";
    let cure = format!(
        "write `ControllerMode = le` under `[General]` in `{file}`, then {restart} (not with Classic \
         keyboards or speakers on this machine: {GUIDE})"
    );
    let (dual, unknown) = (names(Some(true)), names(None));
    if mode == Some(ControllerMode::Classic) && !facts.radios.is_empty() {
        return Some(advice(
            "controller",
            format!("`{file}` allows Bluetooth Classic alone, so no beacon is heard; {cure}"),
        ));
    }
    if !dual.is_empty() {
        let found = format!(
            "{dual} scans for Bluetooth Classic half of the time and misses what beacons send then"
        );
        return Some(advice(
            "controller",
            if mode == Some(ControllerMode::LowEnergy) {
                format!("{found}, although `{file}` says `ControllerMode = le`; {restart}")
            } else {
                format!("{found}; {cure}")
            },
        ));
    }
    if !unknown.is_empty() && mode == Some(ControllerMode::Dual) {
        let found = "if it speaks Bluetooth Classic, as on every Raspberry Pi, half of the air time is lost to that";
        return Some(advice("controller", format!("{unknown}: {found}; {cure}")));
    }
    None
}

/// Whether this BlueZ is known to do badly.
fn version(facts: &Facts) -> Option<Finding> {
    let version = facts.bluez?;
    let BluezVersion { major, minor } = version;
    if version < OLDEST_BLUEZ {
        return Some(advice(
            "bluez",
            format!(
                "BlueZ {major}.{minor} is older than 5.55 and has a known memory error that a device in range \
                 can set off (CVE-2020-27153); `apt full-upgrade`, or install Debian 12 or newer"
            ),
        ));
    }
    let on_the_bus = match facts.wanted.bluez? {
        DataPlane::Dbus => true,
        DataPlane::Auto => !facts.capabilities.monitor(),
        DataPlane::Monitor => false,
    };
    if version > NEWEST_EXACT_BLUEZ && on_the_bus {
        return Some(advice(
            "bluez",
            format!(
                "BlueZ {major}.{minor} tells the signal strength in steps of 8 dB on the bus, so zones blur; set \
                 `scan.data = \"monitor\"`, which needs CAP_NET_RAW"
            ),
        ));
    }
    None
}

/// Whether an onboard radio shares its antenna with Wi-Fi on the same band.
fn beside_wifi(facts: &Facts) -> Option<Finding> {
    let onboard = facts.radios.iter().find(|radio| radio.attachment == Attachment::Onboard)?;
    let near = |wifi: &&Wifi| wifi.mhz.is_none_or(|mhz| mhz <= BAND_2_4_GHZ_MAX);
    // One that is known to be on the band says more than one that may be.
    let mut near: Vec<&Wifi> = facts.wifi.iter().filter(near).collect();
    near.sort_by_key(|wifi| wifi.mhz.is_none());
    let wifi = near.first()?;
    let board = facts.board.as_deref().map_or(String::new(), |board| format!(" of this {board}"));
    let costs = match wifi.mhz {
        Some(mhz) => format!("is on 2.4 GHz ({mhz} MHz): its traffic costs advertisements"),
        None => "is up: if it uses 2.4 GHz, its traffic costs advertisements".to_owned(),
    };
    Some(advice(
        "wifi",
        format!(
            "{} is the onboard radio{board}, and {} beside it {costs}; use a cable (`nmcli radio wifi off`), a \
             5 GHz network, or a USB Bluetooth adapter on an extension lead (`scan.adapter`)",
            onboard.name, wifi.name
        ),
    ))
}

fn advice(what: &'static str, text: String) -> Finding {
    Finding { what, weight: Weight::Advice, text }
}

fn wrong(what: &'static str, text: String) -> Finding {
    Finding { what, weight: Weight::Wrong, text }
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

    fn cure(self, name: &str, granted_by: &str) -> String {
        if self.namespaced {
            let cure = "set `PrivateUsers=no` in the unit, or run it outside the container's user namespace";
            format!("{name} does not reach the radio from a user namespace; {cure}")
        } else {
            format!("{name} is missing; {granted_by} (in a shell: `sudo beacon-gateway check`)")
        }
    }
}

//! Texts of this machine in, what they say out. Total: a text in another form says nothing.

use std::path::{Path, PathBuf};

use super::{Attachment, BluezVersion, Capabilities, ControllerMode};

/// Bits of a capability set (`capability.h` of Linux).
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;

/// `/proc/self/status` and `/proc/self/uid_map`.
pub(super) fn capabilities(status: &str, uid_map: &str) -> Capabilities {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let has = |bit: u32| effective & (1 << bit) != 0;
    // The first namespace maps every number to itself: user_namespaces(7).
    let everything = ["0", "0", "4294967295"];
    let namespaced = !uid_map.is_empty() && !uid_map.split_whitespace().eq(everything);
    Capabilities { net_raw: has(CAP_NET_RAW), net_admin: has(CAP_NET_ADMIN), namespaced }
}

/// What `bluetoothd --version` prints: `5.66`.
pub(super) fn bluez_version(text: &str) -> Option<BluezVersion> {
    let word = text.split_whitespace().next_back()?;
    let (major, minor) = word.split_once('.')?;
    // Distributions may add something, like `5.66-1`.
    let digits = minor.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(BluezVersion { major: major.parse().ok()?, minor: digits.parse().ok()? })
}

/// The `ControllerMode` that a configuration file of bluetoothd sets, if it does. The form is
/// `GLib`'s key file: the last of several counts, values are compared letter by letter, and one that
/// is unknown leaves the default.
pub(super) fn controller_mode(text: &str) -> Option<ControllerMode> {
    let mut in_general = false;
    let mut mode = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_general = line == "[General]";
        } else if let Some((key, value)) = line.split_once('=')
            && in_general
            && key.trim_end() == "ControllerMode"
        {
            mode = Some(match value.trim() {
                "le" => ControllerMode::LowEnergy,
                "bredr" => ControllerMode::Classic,
                _ => ControllerMode::Dual,
            });
        }
    }
    mode
}

/// Whether bluetoothd reads a file of its folder of fragments: `50-some_name.conf`.
pub(super) fn is_fragment(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(([a, b, b'-'], rest)) = name.as_bytes().split_first_chunk() else { return false };
    let Some(stem) = rest.strip_suffix(b".conf") else { return false };
    [a, b].iter().all(|digit| digit.is_ascii_digit())
        && stem.iter().all(|byte| byte.is_ascii_alphanumeric() || [b'-', b'_'].contains(byte))
}

/// The configuration file that a command line of bluetoothd names, by `-f FILE` or
/// `--configfile=FILE`.
pub(super) fn config_file<'a>(mut arguments: impl Iterator<Item = &'a str>) -> Option<PathBuf> {
    let mut file = None;
    while let Some(argument) = arguments.next() {
        if argument == "-f" || argument == "--configfile" {
            file = arguments.next();
        } else if let Some(path) = argument.strip_prefix("--configfile=") {
            file = Some(path);
        } else if let Some(path) = argument.strip_prefix("-f") {
            file = Some(path);
        }
    }
    file.map(PathBuf::from)
}

/// The last command line that a unit and its drop-ins, in the order in which systemd reads them,
/// give in `ExecStart=`. An empty one forgets those before it.
pub(super) fn exec_start<'a>(units: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut command = None;
    for line in units.flat_map(str::lines) {
        if let Some(value) = line.trim().strip_prefix("ExecStart=") {
            command = Some(value.trim()).filter(|value| !value.is_empty());
        }
    }
    command
}

/// How a controller is connected, by the path of its device in sysfs.
pub(super) fn attachment(device: &Path) -> Attachment {
    let mut onboard = false;
    for part in device.components().filter_map(|part| part.as_os_str().to_str()) {
        // `usb1` is a bus. A serial port may hang on one, too, and is then a dongle.
        if part.strip_prefix("usb").is_some_and(|bus| bus.parse::<u8>().is_ok()) {
            return Attachment::Usb;
        }
        // `ttyAMA0`, `serial0-0` (a serdev), `mmc1:0001` (a function of an SDIO card).
        onboard |= ["tty", "serial", "mmc"].iter().any(|kind| part.starts_with(kind));
    }
    if onboard { Attachment::Onboard } else { Attachment::Other }
}

/// The frequency in MHz of an interface in what `iw dev` prints.
pub(super) fn frequency(iw: &str, interface: &str) -> Option<u32> {
    let mut lines = iw.lines().map(str::trim);
    lines.find(|line| line.strip_prefix("Interface ") == Some(interface))?;
    // `channel 6 (2437 MHz), width: 20 MHz, center1: 2437 MHz`
    let channel = lines
        .take_while(|line| !line.starts_with("Interface "))
        .find(|line| line.starts_with("channel "))?;
    channel.split_once('(')?.1.split_once(" MHz")?.0.parse().ok()
}

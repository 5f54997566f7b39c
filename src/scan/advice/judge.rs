//! Facts in, findings out: what each fact costs, and the file, line or command that cures it.
//!
//! Decides only; [`super::facts`] is what looks.

use super::{
    Attachment, Block, BluezVersion, Capabilities, ControllerMode, DataPlane, Facts, Finding,
    Weight, Wifi,
};

/// Older ones free memory twice when a device disconnects at a bad moment (CVE-2020-27153).
/// This one is Debian 11's.
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
        let drop_in = "systemd/beacon-gateway.service.d/monitor.conf grants it";
        let cure = cure(*capabilities, "CAP_NET_RAW", drop_in);
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
        let cure = cure(*capabilities, "CAP_NET_ADMIN", drop_in);
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

/// Why a capability is not at hand, and who grants it.
fn cure(capabilities: Capabilities, name: &str, granted_by: &str) -> String {
    if capabilities.namespaced {
        let cure =
            "set `PrivateUsers=no` in the unit, or run it outside the container's user namespace";
        format!("{name} does not reach the radio from a user namespace; {cure}")
    } else {
        format!(
            "{name} is missing; {granted_by} ({GUIDE}; in a shell: `sudo beacon-gateway check`)"
        )
    }
}

fn advice(what: &'static str, text: String) -> Finding {
    Finding { what, weight: Weight::Advice, text }
}

fn wrong(what: &'static str, text: String) -> Finding {
    Finding { what, weight: Weight::Wrong, text }
}

//! `[scan]`: how the gateway listens.

use serde::{Deserialize, Serialize};

use super::{
    hci::{self, Wanted},
    live::{Backend, LiveSettings, ReceiverSettings},
};
use crate::{
    engine::{ReceiverId, parse_octets},
    settings::{Invalid, Span, between, check_id, one_of},
};

/// `[scan]`: how the gateway listens.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name of this radio in the events.
    pub receiver: String,
    /// Which adapter to listen with: empty for the first one, a name like `hci0`, or an address.
    pub adapter: String,
    /// By way of bluetoothd, or alone with the adapter.
    pub backend: BackendName,
    /// Where the data comes from when bluetoothd owns the scan.
    pub data: DataPlane,
    /// Nothing heard for this long: the recovery ladder is climbed.
    pub silence_timeout: Span,
    /// How long a canary, a reference beacon that must be heard, may be silent.
    pub canary_timeout: Span,
    /// How long one call to the Bluetooth daemon or a controller may take.
    pub call_timeout: Span,
    /// The pause between two attempts to get a scan.
    pub retry_delay: Span,
    /// How long the effect of each step against silence is awaited.
    pub recovery: Recovery,
    /// How a dedicated adapter scans.
    pub hci: hci::Settings,
    /// Several adapters, each a receiver; `adapter` and `receiver` are not used then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<AdapterSettings>,
}

/// `[[scan.adapters]]`: one of several adapters.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterSettings {
    /// Its Bluetooth address: numbers like `hci0` move when adapters come and go.
    pub address: String,
    /// The name of its receiver in the events.
    pub receiver: String,
    /// How it listens, if not as `scan.backend` says.
    pub backend: Option<BackendName>,
}

/// `scan.backend`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum BackendName {
    /// By way of bluetoothd, which others may use, too.
    #[default]
    Bluez,
    /// A dedicated adapter, without bluetoothd.
    Hci,
    /// Not at all: this gateway has remote receivers only.
    None,
}

/// `scan.data`: where the data comes from when bluetoothd owns the scan.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum DataPlane {
    /// The monitor if this process may listen to it, else the message bus.
    #[default]
    Auto,
    /// The kernel's monitor; needs `CAP_NET_RAW`.
    Monitor,
    /// Events over the message bus.
    Dbus,
}

/// `[scan.recovery]`: how long the effect of each step against silence is awaited before the next,
/// stronger one; `0s` leaves a step out.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recovery {
    /// Stop the scan and start it again.
    pub restart_scan: Span,
    /// Switch the adapter off and on again.
    pub power_cycle: Span,
    /// Drop the session with the Bluetooth daemon and start from nothing.
    pub rebuild: Span,
    /// Reset the controller, as if it had been pulled out and plugged in.
    pub reset: Span,
}

impl TryFrom<String> for BackendName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("bluez", Self::Bluez), ("hci", Self::Hci), ("none", Self::None)])
    }
}

impl TryFrom<String> for DataPlane {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("auto", Self::Auto), ("monitor", Self::Monitor), ("dbus", Self::Dbus)])
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            receiver: "local".to_owned(),
            adapter: String::new(),
            backend: BackendName::default(),
            data: DataPlane::default(),
            silence_timeout: Span::secs(20),
            canary_timeout: Span::secs(30),
            call_timeout: Span::secs(5),
            retry_delay: Span::secs(1),
            recovery: Recovery::default(),
            hci: hci::Settings::default(),
            adapters: Vec::new(),
        }
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            restart_scan: Span::secs(10),
            power_cycle: Span::secs(15),
            rebuild: Span::secs(15),
            reset: Span::secs(30),
        }
    }
}

impl std::fmt::Debug for AdapterSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdapterSettings")
            .field("receiver", &self.receiver)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), Invalid> {
        check_id("scan.receiver", &self.receiver)?;
        wanted("scan.adapter", &self.adapter)?;
        between("scan.silence_timeout", self.silence_timeout, Span::secs(2), Span::secs(3600))?;
        between("scan.canary_timeout", self.canary_timeout, Span::secs(2), Span::secs(3600))?;
        between("scan.call_timeout", self.call_timeout, Span::millis(100), Span::secs(60))?;
        between("scan.retry_delay", self.retry_delay, Span::millis(10), Span::secs(600))?;
        let recovery = &self.recovery;
        for (key, effect) in [
            ("scan.recovery.restart_scan", recovery.restart_scan),
            ("scan.recovery.power_cycle", recovery.power_cycle),
            ("scan.recovery.rebuild", recovery.rebuild),
            ("scan.recovery.reset", recovery.reset),
        ] {
            if !effect.0.is_zero() {
                between(key, effect, Span::secs(1), Span::secs(3600))?;
            }
        }
        self.hci.check()?;
        if self.backend == BackendName::None && !self.adapters.is_empty() {
            let allowed = "leave `scan.adapters` out, or say \"bluez\" or \"hci\"";
            return Err(Invalid::new("scan.backend", "`none` beside adapters", allowed));
        }
        let mut seen: Vec<([u8; 6], &str)> = Vec::new();
        for (n, adapter) in self.adapters.iter().enumerate() {
            let key = |key: &str| format!("scan.adapters[{n}].{key}");
            check_id(&key("receiver"), &adapter.receiver)?;
            if adapter.backend == Some(BackendName::None) {
                let allowed = "leave the adapter out, or say `bluez` or `hci`";
                return Err(Invalid::new(&key("backend"), "`none`", allowed));
            }
            let Ok(address) = parse_octets(&adapter.address) else {
                let found = "something else".to_owned();
                let allowed = "write the adapter's address, like \"00:1A:7D:00:00:01\"; \
                               `beacon-gateway check` and `bluetoothctl list` tell it";
                return Err(Invalid::new(&key("address"), found, allowed));
            };
            if seen.iter().any(|(other, _)| *other == address) {
                let found = "an address that stands above".to_owned();
                let allowed = "name each adapter once";
                return Err(Invalid::new(&key("address"), found, allowed));
            }
            if seen.iter().any(|(_, other)| *other == adapter.receiver) {
                let found = format!("`{}`", adapter.receiver);
                let allowed = "which is taken; give each receiver a name of its own";
                return Err(Invalid::new(&key("receiver"), found, allowed));
            }
            seen.push((address, &adapter.receiver));
        }
        Ok(())
    }

    /// The names of the receivers.
    pub fn receiver_ids(&self) -> Vec<ReceiverId> {
        if self.backend == BackendName::None {
            return Vec::new();
        }
        if self.adapters.is_empty() {
            return vec![ReceiverId::new(&self.receiver)];
        }
        self.adapters.iter().map(|adapter| ReceiverId::new(&adapter.receiver)).collect()
    }

    /// What the live source goes by. `suspect_after` is the longest silence on which presence may
    /// go on.
    pub fn live(&self, suspect_after: Span) -> LiveSettings {
        let recovery = &self.recovery;
        let only = || {
            Some(ReceiverSettings {
                id: ReceiverId::new(&self.receiver),
                adapter: wanted("", &self.adapter).unwrap_or_default(),
                backend: self.backend(self.backend)?,
            })
        };
        let one_of_several = |adapter: &AdapterSettings| {
            Some(ReceiverSettings {
                id: ReceiverId::new(&adapter.receiver),
                adapter: adapter.address.parse().ok()?,
                backend: self.backend(adapter.backend.unwrap_or(self.backend))?,
            })
        };
        LiveSettings {
            receivers: if self.adapters.is_empty() {
                only().into_iter().collect()
            } else {
                self.adapters.iter().filter_map(one_of_several).collect()
            },
            silence_timeout: self.silence_timeout.0,
            call_timeout: self.call_timeout.0,
            retry_delay: self.retry_delay.0,
            suspect_after: suspect_after.0,
            effects: [
                recovery.restart_scan.0,
                recovery.power_cycle.0,
                recovery.rebuild.0,
                recovery.reset.0,
            ],
            canary_timeout: self.canary_timeout.0,
        }
    }

    fn backend(&self, name: BackendName) -> Option<Backend> {
        match name {
            BackendName::Bluez => Some(Backend::Bluez { data: self.data }),
            BackendName::Hci => Some(Backend::Hci(self.hci.clone())),
            BackendName::None => None,
        }
    }
}

/// Which adapter a text means.
fn wanted(key: &str, text: &str) -> Result<Wanted, Invalid> {
    text.parse().map_err(|_| {
        let allowed = "write a name like \"hci0\", an address like \"00:1A:7D:00:00:01\", or \
                       nothing for the first adapter";
        Invalid::new(key, "something else".to_owned(), allowed)
    })
}

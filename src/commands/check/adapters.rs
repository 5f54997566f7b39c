//! The Bluetooth adapters that there are, whether each receiver has one, and what stands in the way of
//! its radio.

use std::time::Duration;

use super::{Finding, advice, good};
#[cfg(feature = "bluetooth")]
use crate::gateway::chain;
use crate::{
    clock::Clock,
    engine::DeviceAddress,
    scan::{
        hci::{self, Classic, mgmt::Management},
        live::{Backend, LiveSettings, ReceiverSettings},
    },
    settings::Settings,
};

/// The adapters that there are: by bluetoothd for those that it shares, else by the kernel, which
/// alone tells whether Bluetooth Classic is on.
pub(super) struct Adapters {
    shared: Result<Vec<Known>, String>,
    all: Vec<Known>,
}

/// One adapter.
struct Known {
    name: String,
    address: Option<DeviceAddress>,
    powered: bool,
    classic: Option<bool>,
}

pub(super) async fn adapters(settings: &Settings) -> Adapters {
    let call_timeout = settings.scan.call_timeout.0;
    let kernel = async {
        let mut management = Management::open(Clock::start(), call_timeout).ok()?;
        management.adapters().await.ok()
    };
    let all = kernel.await.unwrap_or_default().into_iter().map(|adapter| Known {
        name: adapter.name(),
        address: Some(adapter.address),
        powered: adapter.powered,
        classic: Some(adapter.classic == Classic::On),
    });
    Adapters { all: all.collect(), shared: shared(call_timeout).await }
}

#[cfg(feature = "bluetooth")]
async fn shared(call_timeout: Duration) -> Result<Vec<Known>, String> {
    let adapters =
        crate::scan::bluez::adapters(call_timeout).await.map_err(|error| chain(&error))?;
    let known = adapters.into_iter().map(|adapter| Known {
        name: adapter.name,
        address: adapter.address,
        powered: adapter.powered,
        classic: None,
    });
    Ok(known.collect())
}

#[cfg(not(feature = "bluetooth"))]
#[expect(clippy::unused_async, reason = "the build with Bluetooth has to ask")]
async fn shared(_: Duration) -> Result<Vec<Known>, String> {
    Err("this build cannot ask bluetoothd; build it with `--features bluetooth`".to_owned())
}

/// What is to be said about the adapter of one receiver.
pub(super) fn adapter(receiver: &ReceiverSettings, adapters: &Adapters) -> Finding {
    let (known, dedicated) = match (&receiver.backend, &adapters.shared) {
        (Backend::Hci(_), _) => (&adapters.all, true),
        (Backend::Bluez { .. }, Ok(shared)) => (shared, false),
        (Backend::Bluez { .. }, Err(why)) => {
            let cure = "start bluetooth.service; the gateway waits for it";
            return advice("adapter", format!("{why}; {cure}"));
        }
    };
    let id = receiver.id.as_str();
    match known.iter().find(|known| known.is(receiver.adapter)) {
        Some(known) if dedicated => {
            good("adapter", &format!("{} for the receiver `{id}` alone", known.described()))
        }
        Some(known) if known.powered => {
            good("adapter", &format!("{} is on, for the receiver `{id}`", known.described()))
        }
        Some(known) => advice(
            "adapter",
            format!(
                "{} is switched off; `bluetoothctl power on`, and see `rfkill`",
                known.described()
            ),
        ),
        None if known.is_empty() => {
            advice("adapter", "there is none; plug one in, the gateway waits for it".to_owned())
        }
        None => {
            let names: Vec<String> = known.iter().map(Known::described).collect();
            let wanted = &receiver.adapter;
            advice(
                "adapter",
                format!(
                    "{wanted}, of the receiver `{id}`, is not there; there is only {}",
                    names.join(", ")
                ),
            )
        }
    }
}

/// What stands in the radio's way.
pub(super) fn radio(settings: &LiveSettings, adapters: &Adapters) -> Vec<Finding> {
    use crate::scan::advice::{self, Wanted};
    let plane = settings.receivers.iter().find_map(|receiver| match receiver.backend {
        Backend::Bluez { data } => Some(data),
        Backend::Hci(_) => None,
    });
    let hci = settings.receivers.iter().any(|it| matches!(it.backend, Backend::Hci(_)));
    // Whoever shares an adapter need not be able to reset it; a rebuild serves then.
    let mut facts = advice::facts::gather(Wanted { bluez: plane, hci, reset: hci });
    let known = |name: &str| adapters.all.iter().find(|known| known.name == name);
    for radio in &mut facts.radios {
        radio.classic = known(&radio.name).and_then(|known| known.classic);
    }
    facts.radios.retain(|radio| {
        settings.receivers.iter().any(|receiver| match known(&radio.name) {
            Some(known) => known.is(receiver.adapter),
            None => true,
        })
    });
    advice::judge(&facts).into_iter().map(Finding::from).collect()
}

// === impl Known ===

impl Known {
    fn is(&self, wanted: hci::Wanted) -> bool {
        match wanted {
            hci::Wanted::First => true,
            hci::Wanted::Index(index) => self.name == format!("hci{index}"),
            hci::Wanted::Address(address) => {
                self.address.is_some_and(|it| it.octets() == address.octets())
            }
        }
    }

    /// Its name, and its address as `[[scan.adapters]]` wants it. It is the shop's own.
    fn described(&self) -> String {
        match self.address {
            Some(address) => {
                let octets = address.octets().map(|octet| format!("{octet:02X}"));
                format!("{} ({})", self.name, octets.join(":"))
            }
            None => self.name.clone(),
        }
    }
}

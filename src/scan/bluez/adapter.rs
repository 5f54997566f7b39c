//! From nothing to an adapter: the bus, bluetoothd, the adapter by name, and whether it is on.
//! Every call has a timeout.

use std::{future::Future, thread, time::Duration};

use btleplug::{
    api::{Central as _, CentralState, Manager as _},
    platform::{Adapter, Manager},
};
use tokio::{sync::oneshot, time::timeout};

use super::error::{Answer, BluezError, ThreadError};
use crate::{
    engine::{AddressKind, DeviceAddress},
    scan::hci::Wanted,
};

/// One Bluetooth adapter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdapterInfo {
    /// Its name, like `hci0`.
    pub name: String,
    /// Its address; none when bluetoothd does not tell.
    pub address: Option<DeviceAddress>,
    /// Whether it is switched on.
    pub powered: bool,
}

/// An adapter by its name.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) adapter: Adapter,
}

/// Lists the machine's adapters by name, lowest number first. `call_timeout` bounds each call.
pub async fn adapters(call_timeout: Duration) -> Result<Vec<AdapterInfo>, BluezError> {
    // A connection to the bus lives as long as the runtime that it was made in, and connecting
    // blocks: both are kept away from the caller's runtime.
    let (reply, answer) = oneshot::channel();
    thread::Builder::new()
        .name("bluetooth".to_owned())
        .spawn(move || {
            let listed = runtime().and_then(|runtime| {
                runtime.block_on(async {
                    let mut list = Vec::new();
                    for Named { name, adapter } in found(call_timeout).await? {
                        let powered = is_powered(&adapter, &name, call_timeout).await?;
                        let told = answered(call_timeout, adapter.adapter_address()).await;
                        let address = told
                            .ok()
                            .flatten()
                            .map(|told| DeviceAddress::new(told.into_inner(), AddressKind::Public));
                        list.push(AdapterInfo { name, address, powered });
                    }
                    Ok(list)
                })
            });
            // A caller that gave up needs no answer.
            drop(reply.send(listed));
        })
        .map_err(|error| BluezError::Thread(ThreadError(error.kind())))?;
    match timeout(call_timeout * 4, answer).await {
        Ok(Ok(listed)) => listed,
        Ok(Err(_)) | Err(_) => Err(BluezError::Bus(Answer::none())),
    }
}

/// An event loop of its own, for one connection to the bus.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, BluezError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| BluezError::Thread(ThreadError(error.kind())))
}

/// Connects to the bus and finds the adapter that is wanted.
pub(super) async fn find(wanted: &Wanted, call_timeout: Duration) -> Result<Named, BluezError> {
    for named in found(call_timeout).await? {
        let fits = match wanted {
            Wanted::First => true,
            Wanted::Index(index) => named.name == format!("hci{index}"),
            Wanted::Address(address) => {
                let told = answered(call_timeout, named.adapter.adapter_address()).await;
                told.is_ok_and(|told| {
                    told.is_some_and(|told| told.into_inner() == address.octets())
                })
            }
        };
        if fits {
            return Ok(named);
        }
    }
    Err(BluezError::NoAdapter(wanted.to_string()))
}

/// Asks whether the adapter is on. Whether the answer is an answer shows first: btleplug calls an
/// adapter that does not answer switched off.
pub(super) async fn is_powered(
    adapter: &Adapter,
    name: &str,
    call_timeout: Duration,
) -> Result<bool, BluezError> {
    let state = match answered(call_timeout, adapter.adapter_state()).await {
        Ok(state) => state,
        Err(answer) => return Err(gone(answer, name)),
    };
    if matches!(state, CentralState::PoweredOn) {
        return Ok(true);
    }
    probe(adapter, name, call_timeout).await.map(|()| false)
}

/// Asks whether the adapter is still there and bluetoothd still answers.
pub(super) async fn probe(
    adapter: &Adapter,
    name: &str,
    call_timeout: Duration,
) -> Result<(), BluezError> {
    match answered(call_timeout, adapter.adapter_info()).await {
        Ok(_) => Ok(()),
        Err(answer) => Err(gone(answer, name)),
    }
}

/// Waits for an answer, but not for ever.
pub(super) async fn answered<T>(
    call_timeout: Duration,
    call: impl Future<Output = btleplug::Result<T>>,
) -> Result<T, Answer> {
    match timeout(call_timeout, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Answer::of(&error)),
        Err(_) => Err(Answer::none()),
    }
}

/// Why an adapter that was there does not answer.
fn gone(answer: Answer, name: &str) -> BluezError {
    match answer.kind() {
        "UnknownObject" | "UnknownMethod" | "UnknownInterface" => {
            BluezError::NoAdapter(name.to_owned())
        }
        _ => BluezError::Daemon(answer),
    }
}

async fn found(call_timeout: Duration) -> Result<Vec<Named>, BluezError> {
    let manager = answered(call_timeout, Manager::new()).await.map_err(BluezError::Bus)?;
    let adapters = answered(call_timeout, manager.adapters()).await.map_err(BluezError::Daemon)?;
    let mut found = Vec::new();
    for adapter in adapters {
        // btleplug names an adapter only here, as `hci0 (usb:v1D6Bp0246d0542)`. One that is gone by
        // now is not listed.
        if let Ok(info) = answered(call_timeout, adapter.adapter_info()).await
            && let Some((number, name)) = numbered(&info)
        {
            found.push((number, Named { name, adapter }));
        }
    }
    found.sort_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, named)| named).collect())
}

/// The number and the name in a description like `hci0 (usb:v1D6Bp0246d0542)`.
fn numbered(info: &str) -> Option<(u16, String)> {
    let name = info.split_whitespace().next()?;
    let number = name.strip_prefix("hci")?.parse().ok()?;
    Some((number, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_known_by_its_name_and_nothing_else() {
        assert_eq!(numbered("hci0 (usb:v1D6Bp0246d0542)"), Some((0, "hci0".to_owned())));
        assert_eq!(numbered("hci12 (usb:v1D6Bp0246d0542)"), Some((12, "hci12".to_owned())));
        for other in ["", "hci", "hci-1 ()", "hci0/dev_C0_FF_EE_00_00_01", "C0:FF:EE:00:00:01"] {
            assert_eq!(numbered(other), None, "{other}");
        }
    }
}

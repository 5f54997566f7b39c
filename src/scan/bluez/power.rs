//! Switching an adapter off and on again, over the message bus.
//!
//! Promises to remember what it switched off: an adapter that is off by another's hand stays off.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use dbus::blocking::{Connection, stdintf::org_freedesktop_dbus::Properties as _};
use tracing::debug;

use super::{
    adapter::{Named, is_powered},
    error::{Answer, BluezError},
};

/// How often an adapter that we switched off is switched on before it is left to the next attempt.
const ATTEMPTS: u32 = 3;

/// bluetoothd refuses while the controller is still busy with being switched off.
const PAUSE: Duration = Duration::from_millis(500);

/// Switches an adapter off and on again, if it is on.
pub(super) async fn cycle(
    named: &Named,
    call_timeout: Duration,
    owes_power: &AtomicBool,
) -> Result<(), BluezError> {
    if !is_powered(&named.adapter, &named.name, call_timeout).await? {
        return Ok(());
    }
    owes_power.store(true, Ordering::Relaxed);
    set(named, false, call_timeout).await.map_err(BluezError::Refused)?;
    settle(named, call_timeout, owes_power).await;
    Ok(())
}

/// Switches an adapter on that we switched off; says whether it is on now.
pub(super) async fn settle(named: &Named, call_timeout: Duration, owes_power: &AtomicBool) -> bool {
    if !owes_power.load(Ordering::Relaxed) {
        return false;
    }
    for _ in 0..ATTEMPTS {
        match set(named, true, call_timeout).await {
            Ok(()) => {
                owes_power.store(false, Ordering::Relaxed);
                return true;
            }
            Err(answer) => debug!(%answer, "The adapter could not be switched on yet."),
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

async fn set(named: &Named, on: bool, call_timeout: Duration) -> Result<(), Answer> {
    let path = format!("/org/bluez/{}", named.name);
    let call = tokio::task::spawn_blocking(move || {
        let connection = Connection::new_system()?;
        let adapter = connection.with_proxy("org.bluez", path, call_timeout);
        adapter.set("org.bluez.Adapter1", "Powered", on)
    });
    match call.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Answer::of_bus(&error)),
        Err(_) => Err(Answer::none()),
    }
}

//! What systemd is told: that the gateway is ready, how it is, that it still works.
//!
//! The watchdog is fed only while the engine and the disk make progress; the network is not asked.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// The gateway is up.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    notify(&[NotifyState::Status(line)]);
}

/// The gateway still works.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// The gateway is about to stop.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// How often [`alive`] must be called: half of what systemd waits for; `None` without a watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn notify(state: &[NotifyState<'_>]) {
    // Outside systemd there is nobody to tell, which is no error.
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "systemd could not be told.");
    }
}

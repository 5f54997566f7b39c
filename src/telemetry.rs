//! The log: to standard error, one line an event, as systemd's journal likes it.
//!
//! Only this program's own events are written, at any level: libraries below would put addresses
//! and payloads into theirs, and whoever sets the level to `trace` must not become a collector.

use std::{io::IsTerminal, panic};

use tracing::{Level, error};
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::settings::LogLevel;

/// The only events that are written begin with this.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// Starts the log, and lets a panic say where it happened and nothing else: what it says may
/// contain what was being worked on.
pub fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    // journald stamps every line itself and sets this variable.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_target(false);
    let filter = Targets::new().with_target(OWN, level);
    let registry = tracing_subscriber::registry().with(filter);
    let started = if journal {
        registry.with(lines.without_time()).try_init()
    } else {
        registry.with(lines).try_init()
    };
    if started.is_err() {
        tracing::debug!("The log was started already.");
    }
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        error!(place, thread, "A part of the program panicked.");
    }));
}

//! Room 1. Radios and recordings in, [`Advertisement`]s out.
//!
//! No btleplug type leaves this module.

pub mod advice;
#[cfg(feature = "bluetooth")]
pub mod bluez;
pub mod hci;
pub mod record;
pub mod replay;
#[cfg(feature = "bluetooth")]
pub mod silence;
pub mod simulate;

use std::sync::{Arc, atomic::AtomicU64};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::{
    clock::Clock,
    engine::{Advertisement, RadioState},
    settings::{Invalid, Span, between},
};

/// What a source of advertisements tells the corridor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// One advertising report. When the edge is full the newest is dropped and counted: the air
    /// cannot be told to wait, and another one comes in a second.
    Advertisement(Advertisement),
    /// The radio's state changed. Never dropped; the source waits for room.
    Radio(RadioState),
}

/// What a source counts, for the metrics and the closing table.
#[derive(Debug, Default)]
pub struct ScanCounters {
    /// Advertisements handed on.
    pub heard: AtomicU64,
    /// Advertisements dropped because the engine was behind.
    pub dropped: AtomicU64,
    /// Times the whole scan was rebuilt.
    pub rebuilds: AtomicU64,
    /// Reports that carried no usable advertisement (a recording's broken packet, a missing RSSI
    /// does not count).
    pub unusable: AtomicU64,
}

/// What a live source of advertisements is given.
#[derive(Debug)]
pub struct SourceEnds {
    /// The gateway's clock.
    pub clock: Clock,
    /// Where what is heard goes.
    pub heard: mpsc::Sender<Heard>,
    /// What the source counts.
    pub counters: Arc<ScanCounters>,
    /// Becomes true when the source should end.
    pub stop: watch::Receiver<bool>,
}

/// `[scan]`: how the gateway listens.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name of this radio in the events.
    pub receiver: String,
    /// Which adapter to listen with, like `hci0`; empty takes the first one.
    pub adapter: String,
    /// Nothing heard for this long: the whole Bluetooth session is built anew.
    pub silence_timeout: Span,
    /// How long one call to the Bluetooth daemon may take.
    pub call_timeout: Span,
    /// The pause between two attempts to build the session.
    pub retry_delay: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            receiver: "local".to_owned(),
            adapter: String::new(),
            silence_timeout: Span::secs(20),
            call_timeout: Span::secs(5),
            retry_delay: Span::secs(1),
        }
    }
}

impl Settings {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), Invalid> {
        crate::settings::check_id("scan.receiver", &self.receiver)?;
        between("scan.silence_timeout", self.silence_timeout, Span::secs(2), Span::secs(3600))?;
        between("scan.call_timeout", self.call_timeout, Span::millis(100), Span::secs(60))?;
        between("scan.retry_delay", self.retry_delay, Span::millis(10), Span::secs(600))
    }
}

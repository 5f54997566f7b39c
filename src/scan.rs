//! Room 1. Radios and recordings in, [`Advertisement`]s out.
//!
//! No btleplug type leaves this module.

#[cfg(feature = "bluetooth")]
pub mod bluez;
pub mod silence;

use std::sync::atomic::AtomicU64;

use crate::engine::{Advertisement, RadioState};

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

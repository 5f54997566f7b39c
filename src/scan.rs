//! Room 1. Radios and recordings in, [`Advertisement`]s out.
//!
//! No btleplug type leaves this module.

pub mod advice;
#[cfg(feature = "bluetooth")]
pub mod bluez;
mod counters;
pub mod hci;
pub mod live;
mod recent;
pub mod record;
pub mod replay;
mod settings;
pub mod silence;
pub mod simulate;

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{mpsc, watch};

pub use self::{
    counters::{Plane, ReceiverCounters, ScanCounters},
    settings::{AdapterSettings, BackendName, DataPlane, Recovery, Settings},
};
use crate::{
    clock::Clock,
    engine::{Advertisement, RadioState, ReceiverId, Relayed, Uptime},
};

/// What a source of advertisements tells the corridor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// One advertising report. When the edge is full the newest is dropped and counted: the air
    /// cannot be told to wait, and another one comes in a second.
    Advertisement(Advertisement),
    /// What another gateway heard and resolved. Dropped like an advertisement when the edge is full.
    Relayed(Relayed),
    /// A receiver's state changed. Never dropped; the source waits for room.
    Radio(ReceiverId, RadioState),
    /// What follows is a recording, or nothing follows: silence means absence from now on.
    Recording,
}

/// When each receiver last heard a canary, a reference beacon that must be heard.
pub type CanarySightings = BTreeMap<ReceiverId, Uptime>;

/// What a live source of advertisements is given.
#[derive(Debug)]
pub struct SourceEnds {
    /// The gateway's clock.
    pub clock: Clock,
    /// Where what is heard goes.
    pub heard: mpsc::Sender<Heard>,
    /// What the source counts.
    pub counters: Arc<ScanCounters>,
    /// When each receiver last heard a canary.
    pub canaries: watch::Receiver<CanarySightings>,
    /// Becomes true when the source should end.
    pub stop: watch::Receiver<bool>,
}

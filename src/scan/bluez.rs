//! Room 1 by way of bluetoothd. A local Bluetooth adapter in, [`Advertisement`]s out.
//!
//! bluetoothd, through btleplug, is asked to scan and to stop. What is heard comes over one of two
//! planes: from the kernel's monitor, report by report as the controller made it, if this process
//! may listen there; else from btleplug's events, joined.
//!
//! Promises never to wait for the bus before it hears the next advertisement, never to power an
//! adapter on that somebody else switched off, and never to log an address or data.
//!
//! [`Advertisement`]: crate::engine::Advertisement

mod ad;
mod adapter;
mod devices;
mod error;
mod events;
mod join;
mod monitored;
mod power;
mod session;

pub(super) use self::session::live;
pub use self::{
    adapter::{AdapterInfo, adapters},
    error::BluezError,
};

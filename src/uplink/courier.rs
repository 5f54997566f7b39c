//! What stands between a record and its publish: whoever can read records decides. The uplink
//! itself moves bytes.

use std::time::Duration;

use crate::outbox::Stored;

/// Turns a record into what is published. Asked again when the record has to be sent again, so
/// that a consent that has ended since is noticed.
pub trait Courier: Send {
    /// Decides about one record. Called from the task that polls the network: must not block.
    fn dispatch(&mut self, stored: &Stored) -> Dispatch;
}

/// What becomes of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Dispatch {
    /// It is published with `QoS` 1, not retained, and deleted once acknowledged.
    Publish {
        /// Where to.
        topic: String,
        /// The encoded event.
        payload: Vec<u8>,
        /// Its media type; only MQTT 5 carries it.
        content_type: &'static str,
        /// Names and values a broker can route by; only MQTT 5 carries them.
        user_properties: Vec<(String, String)>,
        /// How long the broker may hold it for a subscriber, in whole seconds; only MQTT 5 carries
        /// it. `None` is for ever.
        expiry: Option<Duration>,
    },
    /// It may no longer be sent: it is deleted.
    Erase,
    /// It cannot be read: it is counted, reported and deleted.
    Unreadable,
}

impl<F: FnMut(&Stored) -> Dispatch + Send> Courier for F {
    fn dispatch(&mut self, stored: &Stored) -> Dispatch {
        self(stored)
    }
}

//! What stands between a record and its publish: whoever can read records decides. The uplink
//! itself moves bytes.

use std::time::Duration;

use crate::outbox::Stored;

/// Turns a record into what is published. Asked again when the record has to be sent again, so
/// that a consent that has ended since is noticed.
///
/// All methods are called from the task that polls the network, and must not block.
pub trait Courier: Send {
    /// Looks anew at what decides whether a record is passed over ([`Dispatch::Later`]): the clock,
    /// the line on which withdrawals arrive, the consents. Returns whether a record that was passed
    /// over might be sent now; then all of them are asked about again, from the oldest.
    ///
    /// Called before records are sent, at least once a batch, and when
    /// [`Uplink::reconsider`](super::Uplink::reconsider) changes. The courier must not come to
    /// another view by itself in between: for whom a record was passed over, later ones are passed
    /// over too until this has said `true`. That keeps what is about one person in order. Becoming
    /// stricter is allowed at any time.
    fn reconsider(&mut self) -> bool {
        false
    }

    /// Decides about one record.
    fn dispatch(&mut self, stored: &Stored) -> Dispatch;

    /// Decides about a record that was delivered once and is to be sent again on order. The event is
    /// to be marked as that.
    fn replay(&mut self, stored: &Stored) -> Dispatch {
        self.dispatch(stored)
    }

    /// Whether what a record says must not stay behind in the outbox's files once the broker has it.
    /// Asked when it is published.
    fn leaves_no_trace(&self, _stored: &Stored) -> bool {
        false
    }
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
    /// It cannot be sent yet, and others need not wait for it: it stays in the outbox and is asked
    /// about again once the courier has [reconsidered](Courier::reconsider).
    Later,
    /// It may no longer be sent: it is deleted.
    Erase,
    /// It cannot be read: it is counted, reported and leaves the line.
    Unreadable,
}

impl<F: FnMut(&Stored) -> Dispatch + Send> Courier for F {
    fn dispatch(&mut self, stored: &Stored) -> Dispatch {
        self(stored)
    }
}

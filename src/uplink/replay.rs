//! What the platform wants sent again in; on its way to the pump.
//!
//! Whoever asks has looked at the outbox and knows what is held there. The uplink promises to send,
//! for each range in the order in which they came, what stands [`Acknowledged`] in it: under the
//! same id, marked as replayed, behind what waits for the first time, and only what may still be
//! sent. A connection that breaks in between does not end a replay; a stop of the gateway does.
//!
//! [`Acknowledged`]: crate::outbox::Standing::Acknowledged

use crate::outbox::Sequence;

/// So many ranges may wait to be sent again; more are refused, and may be asked for later.
pub const REPLAYS_BOUND: usize = 16;

/// Records that are to be sent again, although the broker has had them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Replay {
    /// The first number.
    pub from: Sequence,
    /// The last number, inclusive.
    pub to: Sequence,
}

//! What the live source goes by.

use std::time::Duration;

use crate::{
    engine::ReceiverId,
    scan::{
        DataPlane, hci,
        silence::{Limits, Step},
    },
};

/// What the live source goes by.
#[derive(Clone, Debug)]
pub struct LiveSettings {
    /// The receivers, each a local adapter.
    pub receivers: Vec<ReceiverSettings>,
    /// Silence after which the recovery ladder is climbed, from 2 s.
    pub silence_timeout: Duration,
    /// How long bluetoothd or a controller may take for one answer.
    pub call_timeout: Duration,
    /// The first pause after an attempt that failed; doubled with each further one, up to 3 s.
    pub retry_delay: Duration,
    /// The longest silence on which presence may go on: two thirds of its exit timeout.
    pub suspect_after: Duration,
    /// How long the effect of each step is awaited, in the order of [`Step::ALL`]; zero leaves the
    /// step out.
    pub effects: [Duration; Step::ALL.len()],
    /// How long a canary that was heard may be silent.
    pub canary_timeout: Duration,
}

/// One receiver.
#[derive(Clone, Debug)]
pub struct ReceiverSettings {
    /// Its name in the events.
    pub id: ReceiverId,
    /// The adapter it listens with.
    pub adapter: hci::Wanted,
    /// How it listens.
    pub backend: Backend,
}

/// How a receiver listens.
#[derive(Clone, Debug)]
pub enum Backend {
    /// By way of bluetoothd, which others may use, too.
    Bluez {
        /// Where the data comes from.
        data: DataPlane,
    },
    /// Alone, through the kernel's user channel.
    Hci(hci::Settings),
}

impl LiveSettings {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            suspect_after: self.suspect_after.min(self.silence_timeout),
            silence_timeout: self.silence_timeout,
            retry_delay: self.retry_delay,
            // Long enough for a slow answer, and for another one after it.
            patience: self.call_timeout * 2,
            effects: self.effects,
            canary_timeout: self.canary_timeout,
        }
    }
}

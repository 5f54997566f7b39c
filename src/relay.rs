//! The receiver's way to the lead: who was heard here, resolved, in; sealed messages over MQTT out. Only in
//! a gateway whose `role` is `"receiver"`.
//!
//! # What it promises
//! - No type in here could hold a stranger's address; what leaves is sealed, and bound to its place.
//! - What is not sent within a quarter of a second is of no use later: without a line, or with one that
//!   is behind, it is dropped and counted. Nothing is kept.
//! - A radio that hears nobody enrolled says once a second that it hears, and only if it does.
//! - It says goodbye when it stops.
//!
//! # Layout, in reading order
//! | file | what it holds |
//! |---|---|
//! | `settings`, `key` | section `[relay]`, the key that both ends share |
//! | `form` | how a message looks, sealed and open; the lead reads it by the same file |
//! | `proofs` | what shows that a radio hears |
//! | `batcher` | what is sent when, pure |
//! | `session` | one connection's life |
//! | `account` | counters |

mod account;
mod batcher;
mod form;
mod key;
mod proofs;
mod session;
mod settings;

#[cfg(test)]
mod totality;

use std::{path::Path, sync::Arc};

use thiserror::Error;
use tokio::sync::{mpsc, watch};

use self::session::Session;
pub use self::{
    account::{RelayCounters, RelayTotals},
    batcher::{Batcher, Parcel},
    form::{Batch, Bond, LARGEST_BATCH, MOST_SIGHTINGS, Run, Seen, Unread},
    key::{KeyError, load as load_key, path as key_path},
    proofs::{Proof, Proofs},
    settings::{CREDENTIAL, Settings},
};
use crate::{
    clock::Clock,
    engine::{ReceiverId, Spotted},
    outbox::Sequence,
    remote::wire::Lasting,
    seal::Sealer,
    uplink::{self, Repeats, Topics, UplinkError},
};

/// How many sightings may wait for the room: as many as advertisements may wait for the engine.
pub const ITEMS_BOUND: usize = 256;

/// What is put behind the uplink's client identifier: each connection needs its own.
const CLIENT_SUFFIX: &str = "-relay";

/// What the engine's task tells the room: a radio heard somebody.
#[derive(Debug)]
pub struct Item {
    /// Which radio.
    pub receiver: ReceiverId,
    /// Whom.
    pub spotted: Spotted,
    /// By which registry, as [`Proofs::registry`] counts them.
    pub registry: u64,
}

/// Everything the room needs of its own.
#[derive(Debug)]
pub struct Relay {
    line: Lasting,
    sealer: Sealer,
    topics: Topics,
    clock: Clock,
    counters: Arc<RelayCounters>,
}

/// What ties the room to the others.
#[derive(Debug)]
pub struct Ends {
    /// What was heard. The room ends when this is closed.
    pub items: mpsc::Receiver<Item>,
    /// What the radios have shown.
    pub proofs: Arc<Proofs>,
    /// Up to where the store is durable.
    pub durable: watch::Receiver<Option<Sequence>>,
    /// This start of the program. Nothing is sent before the store is durable beyond its sequence,
    /// so that no later start has the same.
    pub run: Run,
}

/// The room cannot start.
#[derive(Debug, Error)]
pub enum RelayError {
    /// It would not be let in by the broker.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Relay {
    /// Reads the key, and what it takes to be let in by the broker.
    pub fn load(
        settings: &Settings,
        uplink: &uplink::Settings,
        credentials: Option<&Path>,
        (client_id, topics): (&str, Topics),
        clock: Clock,
        counters: Arc<RelayCounters>,
    ) -> Result<Self, RelayError> {
        let sealer = load_key(&settings.key_path(credentials))?;
        let own_broker = !settings.broker.is_empty();
        let line = settings.line(uplink, credentials);
        // The credential that has no name of its own is the platform's.
        let credentials = credentials.filter(|_| !own_broker);
        let client_id = format!("{client_id}{CLIENT_SUFFIX}");
        let repeats = Repeats::of("No line to the lead")
            .meaning(", which hears nothing from here")
            .with_keys_in(own_broker.then_some("relay"));
        let line = Lasting::load(line, credentials, client_id, clock, repeats)?;
        Ok(Self { line, sealer, topics, clock, counters })
    }
}

/// Sends what is heard until nothing more is, then says goodbye.
pub async fn run(relay: Relay, mut ends: Ends) {
    // A store that ended can promise nothing; whoever feeds us ends with it.
    let begun = ends.run.sequence;
    let beyond = |reached: &Option<Sequence>| reached.is_some_and(|it| it.0 > begun);
    if ends.durable.wait_for(beyond).await.is_err() {
        return;
    }
    let Relay { line, sealer, topics, clock, counters } = relay;
    let batcher = Batcher::new(ends.run, ends.proofs.receivers(), clock.now());
    let Ends { items, proofs, .. } = ends;
    let session =
        Session { sealer, topics, clock, counters, batcher, items, proofs, online: false };
    line.run(session).await;
}

//! What Home Assistant has to know to show the shop's sensors: the latest of every fixture in, retained
//! messages over MQTT out. Only where `[discovery]` says so.
//!
//! # What it promises
//! - Nothing but fixtures is in it: no subject, no stranger, no address.
//! - It has a line of its own. Whatever a broker makes of it, events go on, and the engine never waits.
//! - What it has a broker keep is written down before. Who takes a fixture out of the configuration, or
//!   switches it off, finds no trace of it at the broker once the gateway has been online again.
//!
//! # Layout, in reading order
//! | file | what it holds |
//! |---|---|
//! | `settings` | section `[discovery]` |
//! | `board` | the latest of every fixture, as the engine tells it |
//! | `entity` | what each quantity is to Home Assistant, pure |
//! | `message` | topics and payloads, pure |
//! | `memory` | what brokers keep of ours, on disk |
//! | `desk` | what is to be sent next, pure |
//! | `session` | one connection's life |
//! | `account` | counters |
//!
//! Formats: home-assistant.io, "MQTT" (discovery), "MQTT sensor", "MQTT binary sensor", "MQTT event".

mod account;
mod board;
mod desk;
mod entity;
mod memory;
mod message;
mod session;
mod settings;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use tokio::sync::watch;

pub use self::{
    account::{DiscoveryCounters, DiscoveryTotals},
    board::{Board, Latest, Product, Told},
    desk::Place,
    entity::Entity,
    message::Names,
    settings::Settings,
};
use self::{desk::Desk, memory::MemoryFile, session::Session};
use crate::{
    clock::Clock,
    remote::wire::Lasting,
    uplink::{self, Repeats, UplinkError},
};

/// What is put behind the uplink's client identifier: each connection needs its own.
const CLIENT_SUFFIX: &str = "-discovery";

/// Everything the room needs of its own.
#[derive(Debug)]
pub struct Discovery {
    line: Lasting,
    /// How long a broker may take for an answer.
    patience: Duration,
    desk: Desk,
    file: MemoryFile,
    clock: Clock,
    counters: Arc<DiscoveryCounters>,
}

/// Whose messages, and of what.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Whether there are to be any, or those that there were are to be taken back.
    pub on: bool,
    /// How topics are spelled.
    pub names: Names,
    /// The fixtures of the configuration.
    pub places: Vec<Place>,
    /// Where to remember what brokers keep.
    pub state_dir: &'a Path,
}

impl Discovery {
    /// Reads what brokers keep of ours, and what it takes to be let in. `None` when there is nothing to
    /// tell, and nothing to take back.
    pub fn load(
        subject: Subject<'_>,
        uplink: &uplink::Settings,
        credentials: Option<&Path>,
        client_id: &str,
        clock: Clock,
        counters: Arc<DiscoveryCounters>,
    ) -> Result<Option<Self>, UplinkError> {
        let Subject { on, names, places, state_dir } = subject;
        let file = MemoryFile::new(state_dir);
        let memory = file.read();
        if !on && memory.topics.is_empty() {
            return Ok(None);
        }
        let places: BTreeMap<_, _> =
            places.into_iter().map(|place| (place.id.clone(), place)).collect();
        let client_id = format!("{client_id}{CLIENT_SUFFIX}");
        let repeats = Repeats::of("No line for Home Assistant's discovery")
            .meaning("; events are not concerned");
        let line = Lasting::load(uplink.clone(), credentials, client_id, clock, repeats)?;
        let patience = uplink.ack_timeout.0;
        let desk = Desk::new(on, names, places, memory);
        Ok(Some(Self { line, patience, desk, file, clock, counters }))
    }
}

/// Tells what there is until the board is gone.
pub async fn run(discovery: Discovery, latest: watch::Receiver<Latest>) {
    let Discovery { line, patience, desk, file, clock, counters } = discovery;
    let session = Session {
        desk,
        file,
        latest,
        clock,
        counters,
        patience,
        online: false,
        proved: false,
        asked: None,
    };
    // What was answered last is not to be taken back once more at the next start.
    line.run(session).await.remember().await;
}

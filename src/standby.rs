//! Two gateways of a shop, of which one makes events and the other stands by: what either has to tell the other
//! in, sealed messages out, and back; and who makes events. Only where `[standby]` names the other one.
//!
//! # What it promises
//! - While both hear each other, at most one makes events, and one does but for the moment of a change.
//! - A visit that one opened goes on at the other under the name that it has.
//! - Nothing is kept, or sent, about a visit that the other one does not know, unless it takes longer than half
//!   a second to tell it (that is counted).
//! - What leaves is sealed, and bound to its place; there is no type in here for a stranger.
//! - Whoever is not enrolled here is forgotten, whatever the other one tells.
//!
//! # Layout, in reading order
//! | file | what it holds |
//! |---|---|
//! | `settings` | section `[standby]` |
//! | `duty` | who makes events, pure |
//! | `form` | how a message looks, sealed and open |
//! | `inbox` | which messages are taken, pure |
//! | `book` | what the other one has told, pure |
//! | `ledger`, `gate` | what was told the other one, and what waits for that, pure |
//! | `gap` | what was heard since the other one's last word, pure |
//! | `partner` | all of these together, pure; the engine's task obeys it |
//! | `session` | the line |
//! | `account` | counters |

mod account;
mod book;
mod duty;
mod form;
mod gap;
mod gate;
mod inbox;
mod ledger;
mod partner;
mod session;
mod settings;

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use thiserror::Error;
use tokio::sync::{mpsc, watch};

use self::session::Session;
pub use self::{
    account::{StandbyCounters, StandbyTotals},
    book::Echo,
    duty::{Duty, Order, Part, PeerState, Terms, Why},
    form::{Bond, FORM, Key, LARGEST, Message, Stamp, Unread},
    inbox::{Inbox, Refusal},
    partner::{Names, Note, Partner, Tallies},
    settings::{CREDENTIAL, Settings},
};
use crate::{
    clock::Clock,
    outbox::Sequence,
    relay::{KeyError, Run, load_key},
    remote::wire::Lasting,
    seal::Sealer,
    uplink::{self, Repeats, Topics, UplinkError},
};

/// How many messages may wait, in either direction: a whole picture of a busy shop.
pub const WORDS_BOUND: usize = 256;

/// What is put behind the uplink's client identifier: each connection needs its own.
const CLIENT_SUFFIX: &str = "-standby";

/// What the line tells the engine's task.
#[derive(Debug)]
pub enum Word {
    /// The line to the broker stands and listens, or no longer does.
    Linked(bool),
    /// What the broker holds as the other gateway's state.
    State(PeerState),
    /// The other gateway has told something.
    Told(Box<Message>),
    /// The platform has an event of the other gateway.
    Echo(Echo),
}

/// Everything the room needs of its own.
#[derive(Debug)]
pub struct Standby {
    line: Lasting,
    sealer: Sealer,
    ours: Topics,
    theirs: Topics,
    clock: Clock,
    counters: Arc<StandbyCounters>,
}

/// What ties the room to the others.
#[derive(Debug)]
pub struct Ends {
    /// What is to be told. The room ends when this is closed.
    pub out: mpsc::Receiver<Message>,
    /// Whom to tell what came.
    pub words: mpsc::Sender<Word>,
    /// Up to where the store is durable.
    pub durable: watch::Receiver<Option<Sequence>>,
    /// This start of the program. Nothing is sent before the store is durable beyond its sequence.
    pub run: Run,
}

/// The room cannot start.
#[derive(Debug, Error)]
pub enum StandbyError {
    /// It would not be let in by the broker.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] SharedKeyError),
}

/// The key that both gateways have cannot be had.
#[derive(Debug, Error)]
pub enum SharedKeyError {
    /// No file is named.
    #[error(
        "failed to find the key that both gateways share: name its file in `standby.seal_key_file`, or \
         give systemd's credential `standby-key` (docs/several-gateways.md)"
    )]
    Unnamed,
    /// It cannot be used.
    #[error(transparent)]
    Unusable(#[from] KeyError),
}

/// Reads the key that both gateways share. `credentials` is systemd's directory of them.
pub fn load_shared_key(
    settings: &Settings,
    credentials: Option<&Path>,
) -> Result<Sealer, SharedKeyError> {
    let path = settings.key_path(credentials);
    if path.as_os_str().is_empty() {
        return Err(SharedKeyError::Unnamed);
    }
    Ok(load_key(&path)?)
}

impl Standby {
    /// Reads the key, and what it takes to be let in by the broker. `theirs` are the topics of the other
    /// gateway.
    pub fn load(
        settings: &Settings,
        line: &uplink::Settings,
        credentials: Option<&Path>,
        (client_id, ours, theirs): (&str, Topics, Topics),
        clock: Clock,
        counters: Arc<StandbyCounters>,
    ) -> Result<Self, StandbyError> {
        let sealer = load_shared_key(settings, credentials)?;
        let client_id = format!("{client_id}{CLIENT_SUFFIX}");
        let repeats = Repeats::of("No line to the other gateway");
        let line = Lasting::load(line.clone(), credentials, client_id, clock, repeats)?;
        Ok(Self { line, sealer, ours, theirs, clock, counters })
    }
}

/// Tells the other gateway what is to be told, and hands on what it tells, until nothing more is to be told.
pub async fn run(standby: Standby, mut ends: Ends) {
    // A store that ended can promise nothing; whoever feeds us ends with it.
    let begun = ends.run.sequence;
    let beyond = |reached: &Option<Sequence>| reached.is_some_and(|it| it.0 > begun);
    if ends.durable.wait_for(beyond).await.is_err() {
        return;
    }
    let (line, session) = Session::new(standby, ends.out, ends.words);
    line.run(session).await;
}

//! Puts the outbox on a thread of its own.
//!
//! sled blocks, wants to be called from one thread (concurrent use can deadlock it), and is kept
//! honest about durability by a filter on the thread that opens it. So one thread opens the
//! journal, serves it and closes it.

use std::{io, path::PathBuf, thread};

use tokio::sync::oneshot;
use tracing::info;

use crate::clock::Clock;

use super::{
    Ends, Journal, Kept, OutboxError, Pending, Sequence, Settings, losses::RESERVED, serve,
};

/// A journal that was just opened.
#[derive(Debug)]
pub struct Opened<J> {
    /// The journal.
    pub journal: J,
    /// The store that had to be set aside for it, if one had to.
    pub quarantined: Option<Quarantined>,
    /// Records that the store says it has and that cannot be found in it.
    pub missing: u64,
}

/// A store that could not be read and was set aside. What it held has not been sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quarantined {
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub why: String,
}

/// What the gateway has to know before it starts the rooms on either side.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opening {
    /// Which life of the store this is.
    pub epoch: u32,
    /// The last sequence that was ever given; `None` in a store that is new.
    pub last: Option<Sequence>,
    /// What waited in the store.
    pub pending: Pending,
    /// The kept values, without the outbox's own.
    pub kept: Vec<Kept>,
    /// The store that had to be set aside, if one had to: a human should be told.
    pub quarantined: Option<Quarantined>,
    /// Records that the store should have and has not: the disk has lost them, silently. A human
    /// should be told.
    pub missing: u64,
}

impl<J> From<J> for Opened<J> {
    fn from(journal: J) -> Self {
        Self { journal, quarantined: None, missing: 0 }
    }
}

/// Starts a thread named `outbox` that opens a journal and serves it, and opens it again whenever
/// it fails.
///
/// Returns once the journal is open for the first time, with what was found and a receiver of how it
/// ended: `Ok` after the ends were closed and everything is durable. When the receiver itself fails,
/// the thread has panicked. An error is that of the first opening; then nothing was started.
pub async fn start<J: Journal>(
    mut open: impl FnMut() -> Result<Opened<J>, OutboxError> + Send + 'static,
    settings: Settings,
    clock: Clock,
    ends: Ends,
) -> Result<(Opening, oneshot::Receiver<Result<(), OutboxError>>), OutboxError> {
    let (opening_tx, opening_rx) = oneshot::channel();
    let (end_tx, end_rx) = oneshot::channel();
    let thread = move || {
        let (opened, opening) = match open().and_then(describe) {
            Ok(opened) => opened,
            Err(error) => return drop(opening_tx.send(Err(error))),
        };
        if opening_tx.send(Ok(opening)).is_err() {
            return;
        }
        let served = runtime()
            .map_err(OutboxError::Thread)
            .and_then(|runtime| runtime.block_on(serve(opened, open, settings, clock, ends)));
        // The journal is closed here, before anybody is told that the outbox has ended.
        drop(end_tx.send(served.map(drop)));
    };
    thread::Builder::new().name("outbox".to_owned()).spawn(thread).map_err(OutboxError::Thread)?;
    let opening = opening_rx.await.map_err(|_| OutboxError::Died)??;
    info!(
        epoch = opening.epoch,
        records = opening.pending.records,
        bytes = opening.pending.bytes,
        "The outbox is open."
    );
    Ok((opening, end_rx))
}

fn describe<J: Journal>(mut opened: Opened<J>) -> Result<(Opened<J>, Opening), OutboxError> {
    let mut kept = opened.journal.kept()?;
    kept.retain(|kept| !kept.slot.starts_with(RESERVED));
    let opening = Opening {
        epoch: opened.journal.epoch(),
        last: opened.journal.sync()?,
        pending: opened.journal.pending(),
        kept,
        quarantined: opened.quarantined.clone(),
        missing: opened.missing,
    };
    Ok((opened, opening))
}

/// A runtime that only keeps time: the room's channels need none, and it does no input or output.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().build()
}

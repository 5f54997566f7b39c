//! What keeps the room going: with a journal it serves, without one it waits for the disk, keeps
//! what comes in memory, and opens the journal again.
//!
//! Writes and reads in, a status out. Promises: it ends only when both ends are closed, or when the
//! store had to be begun anew and counts from one again; what was handed in is durable, or in memory in
//! its order, or was lost for want of memory and is told; no answer is given that is not durable,
//! and whoever asks while there is no journal waits.

use std::{
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tracing::{debug, error, info};

use crate::{clock::Clock, engine::Uptime};

use super::{
    DiskState, Journal, Notice, Opened, OutboxError, Patience, Pending, Read, Settings, Status,
    Write, backlog::Backlog, books::Books, room::Room,
};

/// How many requests are taken in at once.
const REQUESTS: usize = 64;

/// How many readers may wait while there is no journal; more of them wait in front of the door.
const WAITING_READS: usize = 64;

/// How often it is looked, while there is no journal, whether the ends were closed.
const LOOK: Duration = Duration::from_secs(1);

/// How long a journal that was opened again has to last for the next failure to count as the first.
const PROVED: Duration = Duration::from_mins(2);

/// What ties the room to the others.
pub struct Ends {
    /// What is to be kept.
    pub writes: mpsc::Receiver<Write>,
    /// What readers ask.
    pub reads: mpsc::Receiver<Read>,
    /// How things stand.
    pub status: watch::Sender<Status>,
    /// Words what was lost.
    pub notice: Notice,
    /// A number from 0 to 1, anew each time: spreads the attempts to open the journal again.
    pub chance: Box<dyn FnMut() -> f64 + Send>,
}

/// What comes in.
struct Inlet {
    writes: mpsc::Receiver<Write>,
    reads: mpsc::Receiver<Read>,
    writing: bool,
    reading: bool,
    incoming: Vec<Write>,
    arrived: Vec<Read>,
    /// What readers ask and was not answered yet.
    asked: VecDeque<Read>,
}

/// While there is no journal.
#[derive(Default)]
struct Outage {
    patience: Patience,
    /// When a journal was last opened.
    opened: Option<Uptime>,
}

/// Runs the outbox until both writes and reads are closed, commits what is left, and gives the
/// journal back.
///
/// A journal that fails is dropped, and `open` is called for another, again and again. An error is
/// returned when there is none when both ends are closed ([`Settings::memory_records`] at most are
/// lost then), or when the fresh one counts from the beginning ([`OutboxError::Renewed`]). Every call of the
/// journal blocks the thread that drives this future.
pub async fn serve<J: Journal>(
    opened: Opened<J>,
    mut open: impl FnMut() -> Result<Opened<J>, OutboxError>,
    settings: Settings,
    clock: Clock,
    ends: Ends,
) -> Result<J, OutboxError> {
    let Ends { writes, reads, status, notice, mut chance } = ends;
    let mut inlet = Inlet::new(writes, reads);
    let mut backlog = Backlog::new(&settings);
    let mut books = Books::new(&settings, clock, status, notice);
    let mut outage = Outage::default();
    let mut opened = opened;
    loop {
        outage.opened = Some(clock.now());
        let mut room = Room { journal: opened.journal, books };
        let Err(error) = live(&mut room, opened.missing, &mut inlet, &mut backlog).await else {
            return Ok(room.journal);
        };
        let written = &mut room.books.totals.written;
        *written = written.saturating_add(room.journal.written());
        let Room { journal, books: kept } = room;
        books = kept;
        close(journal);
        if matches!(error, OutboxError::Renewed) {
            return Err(error);
        }
        outage.begin(&error, &mut books, clock.now());
        opened =
            wait(&mut open, &mut inlet, &mut backlog, &mut books, &mut outage, &mut chance).await?;
    }
}

/// Serves with an open journal until both ends are closed or it fails.
async fn live<J: Journal>(
    room: &mut Room<J>,
    missing: u64,
    inlet: &mut Inlet,
    backlog: &mut Backlog,
) -> Result<(), OutboxError> {
    let goes_on = room.enter(missing)?;
    let queued = backlog.held().records;
    let mut is_behind = room.books.disk != DiskState::Ok;
    loop {
        while let Some(task) = backlog.next() {
            room.task(task)?;
            room.commit_if_enough()?;
        }
        if std::mem::take(&mut is_behind) {
            room.commit()?;
            room.books.disk = DiskState::Ok;
            room.publish_again()?;
            info!(records = queued, "The disk is back; what waited in memory is on it.");
        }
        if !goes_on {
            room.commit()?;
            return Err(OutboxError::Renewed);
        }
        while let Some(read) = inlet.asked.pop_front() {
            if let Err((error, again)) = room.answer(read) {
                if let Some(read) = again {
                    inlet.asked.push_front(read);
                }
                return Err(error);
            }
        }
        room.keep_time()?;
        room.work()?;
        if inlet.is_closed() {
            break;
        }
        let clock = room.books.clock;
        inlet.take_in(clock.instant(clock.now() + room.wait()), room.is_busy()).await;
        inlet.incoming.drain(..).for_each(|write| backlog.put(write));
    }
    while room.is_asked() {
        room.work()?;
    }
    room.commit()
}

/// Lets go of a journal that failed: before another is opened its files must be free. What it held
/// in memory may panic when it finds that it cannot be written.
fn close<J>(journal: J) {
    if panic::catch_unwind(AssertUnwindSafe(|| drop(journal))).is_err() {
        debug!("The journal that failed could not be closed in order.");
    }
}

/// Waits until a journal can be opened, and takes in what memory has room for meanwhile.
async fn wait<J>(
    open: &mut impl FnMut() -> Result<Opened<J>, OutboxError>,
    inlet: &mut Inlet,
    backlog: &mut Backlog,
    books: &mut Books,
    outage: &mut Outage,
    chance: &mut (impl FnMut() -> f64 + ?Sized),
) -> Result<Opened<J>, OutboxError> {
    let clock = books.clock;
    let mut again = clock.now() + outage.patience.failed(chance());
    loop {
        // What was staged waits in memory as well.
        let staged = u64::try_from(books.unsettled.len()).unwrap_or(u64::MAX);
        let Pending { records, bytes } = backlog.held();
        let queued = Pending { records: records.saturating_add(staged), bytes };
        books.publish_outage(queued);
        let closed = inlet.is_closed();
        if closed || again <= clock.now() {
            match open() {
                Ok(opened) => return Ok(opened),
                Err(error) if closed => {
                    let records = queued.records;
                    error!(records, "The disk is away; what waited for it in memory is lost.");
                    return Err(error);
                }
                Err(error) => {
                    books.disk = DiskState::of(&error).unwrap_or(DiskState::Failing);
                    debug!(%error, state = %books.disk, "The outbox could not be opened.");
                    again = clock.now() + outage.patience.failed(chance());
                }
            }
            continue;
        }
        let look = again.min(clock.now() + LOOK);
        inlet.take_in(clock.instant(look), false).await;
        inlet.incoming.drain(..).for_each(|write| backlog.put(write));
        books.totals.lost = books.totals.lost.saturating_add(backlog.trim());
    }
}

// === impl Inlet ===

impl Inlet {
    fn new(writes: mpsc::Receiver<Write>, reads: mpsc::Receiver<Read>) -> Self {
        Self {
            writes,
            reads,
            writing: true,
            reading: true,
            incoming: Vec::with_capacity(REQUESTS),
            arrived: Vec::with_capacity(REQUESTS),
            asked: VecDeque::new(),
        }
    }

    fn is_closed(&self) -> bool {
        !self.writing && !self.reading
    }

    /// Waits for requests for so long, or only looks whether there are any when there is work to do.
    async fn take_in(&mut self, until: Instant, busy: bool) {
        let Self { writes, reads, writing, reading, incoming, arrived, asked } = self;
        let (is_writing, is_reading) = (*writing, *reading && asked.len() < WAITING_READS);
        tokio::select! {
            count = writes.recv_many(incoming, REQUESTS), if is_writing => *writing = count > 0,
            count = reads.recv_many(arrived, REQUESTS), if is_reading => *reading = count > 0,
            () = tokio::task::yield_now(), if busy => {}
            () = tokio::time::sleep_until(until), if !busy => {}
        }
        if *reading && !is_reading && reads.is_closed() && reads.is_empty() {
            *reading = false;
        }
        asked.extend(arrived.drain(..));
    }
}

// === impl Outage ===

impl Outage {
    /// The journal was lost.
    fn begin(&mut self, error: &OutboxError, books: &mut Books, now: Uptime) {
        if self.opened.is_some_and(|opened| now.since(opened) >= PROVED) {
            self.patience.proved();
        }
        let is_new = books.disk == DiskState::Ok;
        books.disk = DiskState::of(error).unwrap_or(DiskState::Failing);
        books.totals.outages += 1;
        if is_new {
            error!(
                error = chain(error),
                state = %books.disk,
                "The outbox has lost its disk. Events are kept in memory until it is back."
            );
        }
    }
}

/// An error and its causes, in one line.
fn chain(error: &OutboxError) -> String {
    let mut line = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

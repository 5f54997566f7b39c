//! The room itself: takes requests in, commits in groups, says after each commit how things stand.

use std::{collections::VecDeque, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info};

use crate::{
    clock::Clock,
    engine::{UnixTime, Uptime},
};

use super::{
    Account, Entry, Held, Journal, MAX_RECORD, Notice, OutboxError, Read, Removal, Scrub, Sequence,
    Settings, Standing, Status, Stored, Totals, Write,
    caps::{Caps, Loss},
    erase::{Change, Erasure},
    scrub::Schedule,
};

/// How much sled may have to write before a commit waits no longer, in bytes: half of one of its
/// segments.
///
/// A commit that stays within one segment is safe even where only our own sync after the flush
/// makes it durable: sled uses a segment again when what replaced its contents lies at least a
/// whole segment back, so that was durable before this commit began.
const COMMIT_WRITES: u64 = 256 << 10;

/// What sled writes for each byte that is appended (measured: 4.0 to 4.4) or removed (1.1 to 1.7,
/// because the leaves touched are written again).
const APPENDING: u64 = 4;
const REMOVING: u64 = 2;

/// What a key and a header add to a record, roughly, in bytes.
const KEY: u64 = 32;

/// How often records are looked at for their age.
const LOOK_AT_AGE: Duration = Duration::from_mins(1);

/// How many requests are taken in at once.
const REQUESTS: usize = 64;

/// Runs the outbox until both `writes` and `reads` are closed, commits what is left, and gives the
/// journal back.
///
/// An error is final: what the journal holds is no longer known, and the room must be opened
/// again. Every call of the journal blocks the thread that drives this future.
pub async fn serve<J: Journal>(
    journal: J,
    settings: Settings,
    clock: Clock,
    mut writes: mpsc::Receiver<Write>,
    mut reads: mpsc::Receiver<Read>,
    status: watch::Sender<Status>,
    notice: Notice,
) -> Result<J, OutboxError> {
    let mut room = Room::enter(journal, &settings, clock, status, notice)?;
    let (mut writing, mut reading) = (true, true);
    let mut incoming = Vec::with_capacity(REQUESTS);
    let mut asked = Vec::with_capacity(REQUESTS);
    while writing || reading {
        let wait = room.wait();
        let busy = room.is_busy();
        tokio::select! {
            count = writes.recv_many(&mut incoming, REQUESTS), if writing => writing = count > 0,
            count = reads.recv_many(&mut asked, REQUESTS), if reading => reading = count > 0,
            () = tokio::task::yield_now(), if busy => {}
            () = tokio::time::sleep(wait), if !busy => {}
        }
        for write in incoming.drain(..) {
            room.write(write)?;
            room.commit_if_enough()?;
        }
        for read in asked.drain(..) {
            room.read(read)?;
        }
        room.keep_time()?;
        room.work()?;
    }
    while !room.erasures.is_empty() {
        room.erase_a_part()?;
    }
    room.commit()?;
    Ok(room.journal)
}

struct Room<J> {
    journal: J,
    clock: Clock,
    caps: Caps,
    commit_records: usize,
    commit_interval: Duration,
    status: watch::Sender<Status>,
    /// The last sequence given, durable or not.
    last: u64,
    /// The accounts, including what is staged.
    totals: Totals,
    staged: Staged,
    next_look_at_age: Uptime,
    /// Under way is the first.
    erasures: VecDeque<Erasure>,
    scrubs: Schedule,
}

/// What waits for the next commit.
#[derive(Default)]
struct Staged {
    records: usize,
    /// What sled will have to write, roughly, in bytes.
    writes: u64,
    /// When it has to be committed; `None` when nothing waits.
    due: Option<Uptime>,
}

impl<J: Journal> Room<J> {
    fn enter(
        mut journal: J,
        settings: &Settings,
        clock: Clock,
        status: watch::Sender<Status>,
        notice: Notice,
    ) -> Result<Self, OutboxError> {
        let last = journal.sync()?;
        let mut room = Self {
            clock,
            caps: Caps::new(settings, notice),
            commit_records: settings.commit_records,
            commit_interval: settings.commit_interval.0,
            status,
            last: last.map_or(0, |last| last.0),
            totals: Totals { recovered: journal.pending().records, ..Totals::default() },
            staged: Staged::default(),
            next_look_at_age: clock.now(),
            erasures: VecDeque::new(),
            scrubs: Schedule::default(),
            journal,
        };
        room.publish(last, Duration::ZERO)?;
        if room.caps.exceeded(&room.journal) {
            room.commit()?;
        }
        Ok(room)
    }

    /// How long nothing has to be done if nobody asks.
    fn wait(&self) -> Duration {
        let due = [self.staged.due, self.scrubs.due()].into_iter().flatten().min();
        let next = due.map_or(self.next_look_at_age, |due| due.min(self.next_look_at_age));
        next.since(self.clock.now())
    }

    /// Whether there is work that nobody has to ask for again.
    fn is_busy(&self) -> bool {
        let scrub = self.scrubs.due().is_some_and(|due| due <= self.clock.now());
        scrub || !self.erasures.is_empty()
    }

    fn keep_time(&mut self) -> Result<(), OutboxError> {
        let now = self.clock.now();
        if self.staged.due.is_some_and(|due| due <= now) {
            self.commit()?;
        }
        if self.next_look_at_age <= now {
            self.next_look_at_age = now + LOOK_AT_AGE;
            self.drop_too_old()?;
        }
        Ok(())
    }

    // --- requests ---

    fn write(&mut self, write: Write) -> Result<(), OutboxError> {
        match write {
            Write::Append(entry) => self.append(entry),
            Write::Keep { slot, value } => self.keep(slot, value),
            Write::Together(writes) => writes.into_iter().try_for_each(|write| self.write(write)),
            Write::Erase { who, judge, reply } => {
                self.erasures.push_back(Erasure::new(who, judge, reply, Sequence(self.last)));
                Ok(())
            }
        }
    }

    fn append(&mut self, entry: Entry) -> Result<(), OutboxError> {
        if entry.bytes.len() > MAX_RECORD {
            let place = Sequence(self.last.saturating_add(1));
            let loss = self.caps.refuse(&mut self.journal, self.clock.wall(), place, &entry)?;
            self.totals.appended += 1;
            self.account_for(loss);
            return Ok(());
        }
        self.commit_soon(APPENDING, entry.bytes.len());
        self.last = self.journal.append(entry, None)?.0;
        self.totals.appended += 1;
        self.staged.records += 1;
        Ok(())
    }

    fn keep(&mut self, slot: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), OutboxError> {
        let bytes = slot.len() + value.as_ref().map_or(0, Vec::len);
        match self.journal.keep(slot.clone(), value) {
            Err(OutboxError::TooBig { found, most }) => {
                // What was kept before is out of date now, and worse than nothing.
                error!(bytes = found, most, "A value is too big to be kept; it is forgotten.");
                match self.journal.keep(slot, None) {
                    Err(OutboxError::TooBig { .. }) => return Ok(()),
                    result => result?,
                }
            }
            result => result?,
        }
        self.commit_soon(APPENDING, bytes);
        Ok(())
    }

    fn read(&mut self, read: Read) -> Result<(), OutboxError> {
        match read {
            Read::Oldest { after, limit, reply } => {
                let records = self.journal.oldest(after, limit)?;
                // Whoever asked may have gone; then nobody needs the answer.
                drop(reply.send(records.into_iter().map(Stored::from).collect()));
                Ok(())
            }
            Read::OldestAbout { who, after, before, limit, reply } => {
                let who = who.into_iter().collect();
                let mut records = self.journal.oldest_about(&who, after, limit)?;
                records.retain(|held| before.is_none_or(|before| held.sequence < before));
                drop(reply.send(records.into_iter().map(Stored::from).collect()));
                Ok(())
            }
            Read::Range { from, to, limit, reply } => {
                let records = self.journal.range(from, to, limit)?.into_iter();
                let records = records.map(|held| (held.standing, Stored::from(held)));
                drop(reply.send(records.map(|(standing, stored)| (stored, standing)).collect()));
                Ok(())
            }
            Read::BringBack { from, to, reply } => self.bring_back(from, to, reply),
            Read::Account { reply } => {
                let account = self.account()?;
                drop(reply.send(account));
                Ok(())
            }
            Read::Remove { sequences, why } => {
                sequences.into_iter().try_for_each(|sequence| self.remove(sequence, why))
            }
        }
    }

    fn bring_back(
        &mut self,
        from: Sequence,
        to: Sequence,
        reply: oneshot::Sender<u64>,
    ) -> Result<(), OutboxError> {
        let mut count = 0;
        for held in self.journal.range(from, to, usize::MAX)? {
            if held.standing == Standing::SetAside
                && self.journal.stand(held.sequence, Standing::Pending)?
            {
                count += 1;
                self.totals.rejected = self.totals.rejected.saturating_sub(1);
                self.totals.brought_back += 1;
                self.commit_soon(APPENDING, held.bytes.len());
            }
        }
        self.commit()?;
        reply.send(count).ok();
        Ok(())
    }

    fn account(&mut self) -> Result<Account, OutboxError> {
        let mut account = Account {
            epoch: self.journal.epoch(),
            last: self.status.borrow().durable_up_to,
            ..Account::default()
        };
        for (standing, ranges) in [
            (Standing::Pending, &mut account.pending),
            (Standing::Acknowledged, &mut account.acknowledged),
            (Standing::SetAside, &mut account.set_aside),
        ] {
            let held = self.journal.oldest_standing(standing, usize::MAX)?;
            ranges.extend(held.into_iter().map(|held| held.sequence));
        }
        Ok(account)
    }

    fn remove(&mut self, sequence: Sequence, why: Removal) -> Result<(), OutboxError> {
        let before = self.journal.pending().bytes;
        let gone = match why {
            Removal::Rejected => self.journal.stand(sequence, Standing::SetAside)?,
            _ => self.journal.remove(sequence)?,
        };
        if !gone {
            return Ok(());
        }
        let bytes = before.saturating_sub(self.journal.pending().bytes);
        match why {
            Removal::Acknowledged => self.totals.acknowledged += 1,
            Removal::AcknowledgedForGood => {
                self.totals.acknowledged += 1;
                self.journal.owe_scrub();
            }
            Removal::Erased => {
                self.totals.erased += 1;
                self.journal.owe_scrub();
            }
            Removal::Rejected | Removal::Unreadable => self.totals.rejected += 1,
        }
        self.commit_soon(REMOVING, usize::try_from(bytes).unwrap_or(usize::MAX));
        self.commit_if_enough()
    }

    /// Books what a change will cost, and sees to it that it is committed within the interval.
    fn commit_soon(&mut self, factor: u64, bytes: usize) {
        self.staged.book(factor, bytes, self.clock.now() + self.commit_interval);
    }

    fn commit_if_enough(&mut self) -> Result<(), OutboxError> {
        if self.staged.records >= self.commit_records || self.staged.writes >= COMMIT_WRITES {
            self.commit()?;
        }
        Ok(())
    }

    // --- work that takes a while, a part at a time ---

    fn work(&mut self) -> Result<(), OutboxError> {
        if !self.is_busy() {
            return Ok(());
        }
        // Erasures first: one scrub does for all of them.
        if self.erasures.is_empty() { self.scrub_a_part() } else { self.erase_a_part() }
    }

    fn erase_a_part(&mut self) -> Result<(), OutboxError> {
        let Some(mut erasure) = self.erasures.pop_front() else { return Ok(()) };
        if !erasure.has_begun() {
            // What waits for its commit becomes durable now, so that it is found.
            self.commit()?;
        }
        let Self { journal, staged, totals, .. } = self;
        let due = self.clock.now() + self.commit_interval;
        let mut changed = false;
        let complete = erasure.stage_a_part(journal, |change| {
            let (factor, bytes) = match change {
                Change::Erased(bytes) => {
                    totals.erased += 1;
                    (REMOVING, bytes)
                }
                Change::Narrowed(bytes) => {
                    totals.narrowed += 1;
                    (APPENDING, bytes)
                }
            };
            changed = true;
            staged.book(factor, bytes, due);
            staged.writes < COMMIT_WRITES
        })?;
        if changed || (complete && erasure.names_somebody()) {
            self.journal.owe_scrub();
            self.staged.book(APPENDING, 0, due);
        }
        if complete {
            self.commit()?;
            erasure.tell();
            return Ok(());
        }
        self.erasures.push_front(erasure);
        self.commit_if_enough()
    }

    fn scrub_a_part(&mut self) -> Result<(), OutboxError> {
        self.scrubs.begin(self.clock.now());
        let scrub = self.journal.scrub()?;
        let now = self.clock.now();
        match scrub {
            Scrub::Underway => return Ok(()),
            Scrub::Failed => self.scrubs.failed(now),
            Scrub::Done => {
                self.totals.scrubs += 1;
                let took_ms = u64::try_from(self.scrubs.done(now).as_millis()).unwrap_or(u64::MAX);
                let records = self.journal.pending().records;
                info!(took_ms, records, "The outbox was freed of what had been erased.");
            }
        }
        if self.staged.due.is_some() {
            // The next commit says it.
            return Ok(());
        }
        let (durable_up_to, took) = {
            let status = self.status.borrow();
            (status.durable_up_to, status.commit_took)
        };
        self.publish(durable_up_to, took)
    }

    // --- commits ---

    /// Makes everything durable, after dropping what is more than may be held.
    fn commit(&mut self) -> Result<(), OutboxError> {
        loop {
            let mut loss = Loss::default();
            if self.caps.exceeded(&self.journal) {
                loss = self.caps.make_room(&mut self.journal, self.clock.wall())?;
                self.account_for(loss);
            }
            self.sync()?;
            if loss.dropped == 0 || !self.caps.exceeded(&self.journal) {
                return Ok(());
            }
        }
    }

    fn drop_too_old(&mut self) -> Result<(), OutboxError> {
        loop {
            let loss = self.caps.drop_too_old(&mut self.journal, self.clock.wall())?;
            if loss.dropped == 0 {
                return Ok(());
            }
            self.account_for(loss);
            self.sync()?;
        }
    }

    fn account_for(&mut self, loss: Loss) {
        self.totals.dropped += loss.dropped;
        self.totals.appended += loss.notices;
        self.last = self.last.saturating_add(loss.notices);
        self.commit_soon(APPENDING, MAX_RECORD);
    }

    fn sync(&mut self) -> Result<(), OutboxError> {
        if self.staged.due.is_none() {
            return Ok(());
        }
        let begun = self.clock.now();
        let durable_up_to = self.journal.sync()?;
        self.totals.commits += 1;
        self.staged = Staged::default();
        self.publish(durable_up_to, self.clock.now().since(begun))
    }

    fn publish(
        &mut self,
        durable_up_to: Option<Sequence>,
        commit_took: Duration,
    ) -> Result<(), OutboxError> {
        let owes_scrub = self.journal.owes_scrub();
        self.scrubs.note(owes_scrub, self.clock.now());
        let status = Status {
            epoch: self.journal.epoch(),
            durable_up_to,
            pending: self.journal.pending(),
            oldest_made: self.oldest_made()?,
            commit_took,
            owes_scrub,
            totals: self.totals,
        };
        debug_assert!(status.conserves(), "records are unaccounted for: {status:?}");
        self.status.send_replace(status);
        Ok(())
    }

    fn oldest_made(&mut self) -> Result<Option<UnixTime>, OutboxError> {
        Ok(self.journal.oldest(None, 1)?.first().and_then(|held| held.made))
    }
}

impl Staged {
    /// Books what a change will make sled write.
    fn book(&mut self, factor: u64, bytes: usize, due: Uptime) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(KEY);
        self.writes = self.writes.saturating_add(bytes.saturating_mul(factor));
        self.due.get_or_insert(due);
    }
}

impl From<Held> for Stored {
    fn from(held: Held) -> Self {
        let Held { sequence, about, class, bytes, .. } = held;
        Self { sequence, about: about.tag(), class, bytes }
    }
}

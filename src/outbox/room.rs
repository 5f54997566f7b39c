//! The room with an open journal: makes changes, commits them in groups, says how things stand.
//!
//! Tasks in, commits and a status out. An error of the journal is handed to `serve`, which lets the
//! journal go; the books stay, and with them everything that was not durable yet.

use std::time::Duration;

use tracing::{error, warn};

use crate::engine::{UnixTime, Uptime};

use super::{
    Class, DropReason, Dropped, Entry, Held, Journal, MAX_RECORD, OutboxError, Pending, Removal,
    Sequence, Standing, Status,
    backlog::{Change, Task},
    books::Books,
    caps::{self, Mark},
    erase::Erasure,
    losses::RESERVED,
};

mod ask;
mod work;

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

/// How long what nobody waits for is put off, in case that something else has to be committed: an
/// acknowledgement that a power cut takes means that a record is sent again, no more.
const PUT_OFF: Duration = Duration::from_secs(5);

/// How many records one commit drops at most, and how many bytes of them: a store whose limits
/// were lowered is brought down in steps that stay well within one of sled's segments.
const CHUNK: usize = 256;
const CHUNK_BYTES: u64 = 128 << 10;

/// How often records are looked at for their age.
const LOOK_AT_AGE: Duration = Duration::from_mins(1);

/// The room with an open journal.
pub(super) struct Room<J> {
    pub(super) journal: J,
    pub(super) books: Books,
}

impl<J: Journal> Room<J> {
    // --- opening ---

    /// Takes possession of a journal that was just opened. `missing` records should be in it and
    /// are not. Returns whether it goes on where the one before ended, if there was one.
    pub(super) fn enter(&mut self, missing: u64) -> Result<bool, OutboxError> {
        let durable_up_to = self.journal.sync()?;
        let now = self.books.clock.now();
        let kept = self.journal.kept()?;
        self.books.losses.take_over(&kept, now);
        self.books.retained.reopened(now);
        let found = Mark::of(&self.journal, durable_up_to.map_or(0, |last| last.0));
        let (lost, goes_on) = match self.books.durable {
            None => {
                let totals = &mut self.books.totals;
                totals.recovered = found.pending().records.saturating_add(missing);
                totals.dropped = missing;
                totals.dead_recovered = found.set_aside.records;
                (missing, true)
            }
            Some(durable) => self.resume(durable.mark, found)?,
        };
        self.books.epoch.get_or_insert(found.epoch);
        self.books.begin_at(found);
        let ranges = self.journal.damaged()?;
        let unnumbered = lost.saturating_sub(ranges.count());
        let lost = Dropped { ranges, unnumbered, ..Dropped::none(DropReason::Damaged) };
        if lost.count() > 0 {
            self.books.unsettled.push(Change::Lost(lost));
        }
        if !goes_on {
            // These are numbers of another epoch.
            self.books.unsettled.retain(|change| !matches!(change, Change::Remove(..)));
        }
        self.publish(durable_up_to, Duration::ZERO)?;
        let again = std::mem::take(&mut self.books.unsettled);
        self.task(Task::Change(again))?;
        self.commit()?;
        Ok(goes_on)
    }

    /// Compares what is found with what was left. Returns how many pending records are missing, and
    /// whether the numbers go on: in the same store, or in a fresh one that counts on where the
    /// damaged one ended.
    fn resume(&mut self, left: Mark, found: Mark) -> Result<(u64, bool), OutboxError> {
        let is_same = found.epoch == left.epoch;
        let goes_on = found.last >= left.last;
        if found.epoch < left.epoch || (is_same && !goes_on) {
            return Err(OutboxError::Older { epoch: found.epoch, found: found.last });
        }
        if self.books.expected == Some(found) {
            // The commit that failed has reached the disk, whole.
            self.books.totals.commits += 1;
            self.books.settle(found);
            return Ok((0, goes_on));
        }
        self.books.undo();
        if !goes_on {
            self.books.retained.forget();
            self.books.erasures.iter_mut().for_each(|erasure| erasure.begin_again(found.last));
        }
        let totals = &mut self.books.totals;
        let (before, now) = (left.pending().records, found.pending().records);
        let lost = before.saturating_sub(now);
        totals.dropped += lost;
        totals.recovered += now.saturating_sub(before);
        let (before, now) = (left.set_aside.records, found.set_aside.records);
        totals.dead_gone += before.saturating_sub(now);
        totals.dead_recovered += now.saturating_sub(before);
        Ok((lost, goes_on))
    }

    // --- changes ---

    /// Does what is to be done next.
    pub(super) fn task(&mut self, task: Task) -> Result<(), OutboxError> {
        match task {
            Task::Change(changes) => {
                // Noted first, so that none is forgotten when the journal fails in between.
                let begin = self.books.unsettled.len();
                self.books.unsettled.extend(changes);
                for at in begin..self.books.unsettled.len() {
                    let Some(change) = self.books.unsettled.get(at).cloned() else { break };
                    self.change(change)?;
                }
                Ok(())
            }
            Task::Erase(order) => {
                self.books.erasures.push_back(Erasure::new(order));
                // What was written before it becomes durable now, so that it is found.
                self.commit()
            }
        }
    }

    fn change(&mut self, change: Change) -> Result<(), OutboxError> {
        match change {
            Change::Append(entry) => self.append(entry),
            Change::TooBig(made) => self.refuse(made),
            Change::Keep(slot, value) => self.keep(slot, value),
            Change::Remove(sequence, why) => self.remove(sequence, why),
            Change::Lost(dropped) => {
                let now = self.books.clock.now();
                self.books.losses.book(&dropped, now);
                self.commit_soon(APPENDING, MAX_RECORD);
                Ok(())
            }
        }
    }

    fn append(&mut self, entry: Entry) -> Result<(), OutboxError> {
        let now = self.books.clock.now();
        let urgent = matches!(entry.class, Class::Gateway | Class::Moment);
        let due = if urgent { now } else { now + self.books.commit_interval };
        self.books.staged.book(APPENDING, entry.bytes.len(), due);
        self.books.last = self.journal.append(entry, None)?.0;
        self.books.totals.appended += 1;
        self.books.staged.records += 1;
        Ok(())
    }

    /// A record too big to be stored gets its sequence and leaves at once.
    fn refuse(&mut self, made: Option<UnixTime>) -> Result<(), OutboxError> {
        let place = Entry { bytes: Vec::new(), made, about: None, class: Class::Count };
        let sequence = self.journal.append(place, None)?;
        self.journal.remove(sequence)?;
        self.books.last = sequence.0;
        self.books.totals.appended += 1;
        self.books.totals.dropped += 1;
        let dropped = Dropped::one(DropReason::TooBig, sequence, made);
        self.books.losses.book(&dropped, self.books.clock.now());
        self.commit_soon(APPENDING, MAX_RECORD);
        Ok(())
    }

    fn keep(&mut self, slot: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), OutboxError> {
        if slot.starts_with(RESERVED) {
            error!("A value was to be kept under a name that the outbox reserves; it is not.");
            return Ok(());
        }
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

    fn remove(&mut self, sequence: Sequence, why: Removal) -> Result<(), OutboxError> {
        let now = self.books.clock.now();
        match why {
            Removal::Acknowledged | Removal::AcknowledgedForGood => {
                return self.acknowledge(sequence, why == Removal::AcknowledgedForGood);
            }
            Removal::Erased | Removal::Rejected | Removal::Unreadable => {}
        }
        let Some(held) = caps::one(&mut self.journal, sequence)? else { return Ok(()) };
        if why == Removal::Rejected {
            if held.standing != Standing::Pending
                || !self.journal.stand(sequence, Standing::SetAside)?
            {
                return Ok(());
            }
            self.books.totals.set_aside += 1;
            self.books.losses.book_held(&held, DropReason::SetAside, now);
        } else {
            let why = match why {
                Removal::Unreadable => DropReason::Unreadable,
                _ => DropReason::Erased,
            };
            if why == DropReason::Erased {
                self.journal.owe_scrub();
            }
            self.lose(&held, why)?;
        }
        self.commit_soon(REMOVING, held.bytes.len());
        Ok(())
    }

    /// The broker has a record. It is held a while longer, unless no trace of it may stay.
    fn acknowledge(&mut self, sequence: Sequence, for_good: bool) -> Result<(), OutboxError> {
        let now = self.books.clock.now();
        let before = Mark::of(&self.journal, 0);
        let gone = if for_good || !self.books.retained.holds() {
            if for_good {
                self.journal.owe_scrub();
            }
            self.journal.remove(sequence)?
        } else {
            self.journal.stand(sequence, Standing::Acknowledged)?
        };
        if !gone {
            return Ok(());
        }
        let after = Mark::of(&self.journal, 0);
        let totals = &mut self.books.totals;
        totals.acknowledged += before.pending().records.saturating_sub(after.pending().records);
        totals.dead_gone += before.set_aside.records.saturating_sub(after.set_aside.records);
        totals.expired += before.acknowledged.records.saturating_sub(after.acknowledged.records);
        if after.acknowledged.records > before.acknowledged.records {
            self.books.retained.note(sequence, now);
        }
        let bytes = before.pending().bytes.saturating_sub(after.pending().bytes);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let due = if for_good { self.books.commit_interval } else { PUT_OFF };
        self.books.staged.book(REMOVING, bytes, now + due);
        Ok(())
    }

    /// Removes a record that nobody will get, and books it, unless somebody has it already.
    pub(super) fn lose(&mut self, held: &Held, why: DropReason) -> Result<(), OutboxError> {
        if self.journal.remove(held.sequence)? {
            self.book_loss(held, why);
        }
        Ok(())
    }

    fn book_loss(&mut self, held: &Held, why: DropReason) {
        let totals = &mut self.books.totals;
        match (held.standing, why) {
            (Standing::Acknowledged, _) => {
                totals.expired += 1;
                return;
            }
            (Standing::SetAside, _) => totals.dead_gone += 1,
            (Standing::Pending, DropReason::Erased) => totals.erased += 1,
            (Standing::Pending, DropReason::Unreadable) => totals.unreadable += 1,
            (Standing::Pending, _) => totals.dropped += 1,
        }
        self.books.losses.book_held(held, why, self.books.clock.now());
    }

    /// Books the records that the journal has found to be damaged since it was asked last.
    fn book_damaged(&mut self) -> Result<(), OutboxError> {
        let before = self.mark();
        let ranges = self.journal.damaged()?;
        if ranges.is_empty() {
            return Ok(());
        }
        let after = self.mark();
        let totals = &mut self.books.totals;
        totals.dropped += before.pending().records.saturating_sub(after.pending().records);
        totals.dead_gone += before.set_aside.records.saturating_sub(after.set_aside.records);
        totals.expired += before.acknowledged.records.saturating_sub(after.acknowledged.records);
        let dropped = Dropped { ranges, ..Dropped::none(DropReason::Damaged) };
        self.books.losses.book(&dropped, self.books.clock.now());
        self.commit_soon(APPENDING, MAX_RECORD);
        Ok(())
    }

    /// Books what a change will cost, and sees to it that it is committed within the interval.
    fn commit_soon(&mut self, factor: u64, bytes: usize) {
        let due = self.books.clock.now() + self.books.commit_interval;
        self.books.staged.book(factor, bytes, due);
    }

    pub(super) fn commit_if_enough(&mut self) -> Result<(), OutboxError> {
        let staged = &self.books.staged;
        if staged.records >= self.books.commit_records || staged.writes >= COMMIT_WRITES {
            self.commit()?;
        }
        Ok(())
    }

    // --- commits ---

    /// Makes everything durable, after dropping what is more than may be held.
    pub(super) fn commit(&mut self) -> Result<(), OutboxError> {
        let mut in_vain = 0;
        loop {
            let before = self.mark().held();
            if self.books.caps.exceeded(&self.mark()) {
                self.make_room()?;
            }
            self.let_expired_go()?;
            self.tell_losses()?;
            self.sync()?;
            let after = self.mark();
            if !self.books.caps.exceeded(&after) {
                return Ok(());
            }
            // What was only staged can be dropped the next time; when that frees nothing either,
            // there is nothing but notices.
            let held = after.held();
            in_vain += u32::from(held.records >= before.records && held.bytes >= before.bytes);
            if in_vain > 1 {
                warn!(records = held.records, bytes = held.bytes, "The outbox holds too much.");
                return Ok(());
            }
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark::of(&self.journal, self.books.last)
    }

    /// Stages the dropping of records, at most a chunk of them, until there is room again.
    fn make_room(&mut self) -> Result<(), OutboxError> {
        let (mut records, begin) = (0, self.mark().held().bytes);
        while let Some(victim) = self.books.caps.victim(&self.mark())
            && records < CHUNK
        {
            let oldest = caps::oldest(&mut self.journal, victim, CHUNK - records)?;
            if oldest.is_empty() {
                // All of it is new.
                return Ok(());
            }
            for held in oldest {
                self.lose(&held, DropReason::Full)?;
                self.commit_soon(REMOVING, held.bytes.len());
                records += 1;
                let mark = self.mark();
                if begin.saturating_sub(mark.held().bytes) >= CHUNK_BYTES {
                    return Ok(());
                }
                if self.books.caps.victim(&mark) != Some(victim) {
                    break;
                }
            }
        }
        Ok(())
    }

    fn tell_losses(&mut self) -> Result<(), OutboxError> {
        let told = self.books.losses.stage(&mut self.journal, self.books.clock.wall())?;
        self.books.totals.appended += told.notices;
        self.books.last = self.books.last.saturating_add(told.notices);
        if told.staged {
            self.commit_soon(APPENDING, told.bytes);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), OutboxError> {
        let begun = self.books.clock.now();
        let mark = self.mark();
        if self.books.staged.due.is_none() {
            self.books.erasures.iter_mut().for_each(|erasure| erasure.settle(mark.last));
            return Ok(());
        }
        self.books.expected = Some(mark);
        let durable_up_to = self.journal.sync()?;
        self.books.totals.commits += 1;
        self.books.settle(mark);
        let took = self.books.clock.now().since(begun);
        self.publish(durable_up_to, took)
    }

    pub(super) fn publish(
        &mut self,
        durable_up_to: Option<Sequence>,
        commit_took: Duration,
    ) -> Result<(), OutboxError> {
        let owes_scrub = self.journal.owes_scrub();
        self.books.scrubs.note(owes_scrub, self.books.clock.now());
        let oldest = self.journal.oldest(None, 1)?;
        let mark = self.mark();
        let mut totals = self.books.totals;
        totals.written = totals.written.saturating_add(self.journal.written());
        let status = Status {
            epoch: mark.epoch,
            first: Some(self.journal.first()),
            disk: self.books.disk,
            durable_up_to,
            pending: mark.pending(),
            acknowledged: mark.acknowledged,
            set_aside: mark.set_aside,
            queued: Pending::default(),
            oldest_made: oldest.first().and_then(|held| held.made),
            commit_took,
            owes_scrub,
            untold: self.books.losses.untold(),
            totals,
        };
        debug_assert!(status.conserves(), "records are unaccounted for: {status:?}");
        self.books.status.send_replace(status);
        Ok(())
    }

    /// Says how things stand although nothing was committed.
    pub(super) fn publish_again(&mut self) -> Result<(), OutboxError> {
        let (durable_up_to, took) = {
            let status = self.books.status.borrow();
            (status.durable_up_to, status.commit_took)
        };
        self.publish(durable_up_to, took)
    }

    // --- time ---

    /// How long nothing has to be done if nobody asks.
    pub(super) fn wait(&self) -> Duration {
        let books = &self.books;
        let now = books.clock.now();
        let expired = books.retained.due(now).map(|due| due.max(now) + PUT_OFF);
        let dues = [books.staged.due, books.scrubs.due(), books.losses.due(), expired];
        let due = dues.into_iter().flatten().min();
        let next = due.map_or(books.next_look_at_age, |due| due.min(books.next_look_at_age));
        next.since(now)
    }

    pub(super) fn keep_time(&mut self) -> Result<(), OutboxError> {
        self.book_damaged()?;
        let now = self.books.clock.now();
        let due = |due: Option<Uptime>| due.is_some_and(|due| due <= now);
        if due(self.books.staged.due) || due(self.books.losses.due()) {
            self.commit()?;
        }
        if self.books.next_look_at_age <= now {
            self.books.next_look_at_age = now + LOOK_AT_AGE;
            self.drop_too_old()?;
        }
        if due(self.books.retained.due(now)) && self.books.staged.due.is_none() {
            // Nothing else is being written; it has a commit of its own, but not at once.
            self.books.staged.book(REMOVING, 0, now + PUT_OFF);
        }
        Ok(())
    }
}

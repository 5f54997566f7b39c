//! Work that takes a while, done a part at a time so that the room goes on serving meanwhile.

use tracing::info;

use super::{APPENDING, CHUNK, CHUNK_BYTES, COMMIT_WRITES, REMOVING, Room};
use crate::outbox::{DropReason, Journal, OutboxError, Scrub, Sequence, Standing, erase::Change};

/// How many records are looked at in one part of an account, or of a return.
const PART: usize = 1024;

impl<J: Journal> Room<J> {
    /// Whether there is work that nobody has to ask for again.
    pub(in crate::outbox) fn is_busy(&self) -> bool {
        let scrub = self.books.scrubs.due().is_some_and(|due| due <= self.books.clock.now());
        scrub || self.is_asked()
    }

    /// Whether somebody waits for work to be done.
    pub(in crate::outbox) fn is_asked(&self) -> bool {
        let books = &self.books;
        !(books.erasures.is_empty() && books.returns.is_empty() && books.accounts.is_empty())
    }

    /// Does a part of it.
    pub(in crate::outbox) fn work(&mut self) -> Result<(), OutboxError> {
        // Erasures first: one scrub does for all of them.
        if !self.books.erasures.is_empty() {
            self.erase_a_part()
        } else if !self.books.returns.is_empty() {
            self.return_a_part()
        } else if !self.books.accounts.is_empty() {
            self.account_for_a_part()
        } else if self.is_busy() {
            self.scrub_a_part()
        } else {
            Ok(())
        }
    }

    fn erase_a_part(&mut self) -> Result<(), OutboxError> {
        let due = self.books.clock.now() + self.books.commit_interval;
        let mut erased = Vec::new();
        let (staged, totals) = (&mut self.books.staged, &mut self.books.totals);
        let Some(erasure) = self.books.erasures.front_mut() else { return Ok(()) };
        let mut changed = false;
        let staging = erasure.stage_a_part(&mut self.journal, |change| {
            changed = true;
            match change {
                Change::Erased(held) => {
                    staged.book(REMOVING, held.bytes.len(), due);
                    erased.push(held);
                }
                Change::Narrowed(bytes) => {
                    totals.narrowed += 1;
                    staged.book(APPENDING, bytes, due);
                }
            }
            staged.writes < COMMIT_WRITES
        });
        let names_somebody = erasure.names_somebody();
        for held in &erased {
            self.book_loss(held, DropReason::Erased);
        }
        let complete = staging?;
        if changed || (complete && names_somebody) {
            self.journal.owe_scrub();
            self.books.staged.book(APPENDING, 0, due);
        }
        if !complete {
            return self.commit_if_enough();
        }
        self.commit()?;
        if let Some(erasure) = self.books.erasures.pop_front() {
            erasure.tell();
        }
        Ok(())
    }

    /// Puts dead letters back into the line.
    fn return_a_part(&mut self) -> Result<(), OutboxError> {
        let Some(asked) = self.books.returns.front() else { return Ok(()) };
        let (next, to) = (asked.now.next, asked.to);
        let records = self.journal.range(next, to, PART)?;
        for held in records.iter().filter(|held| held.standing == Standing::SetAside) {
            if self.journal.stand(held.sequence, Standing::Pending)? {
                self.books.totals.brought_back += 1;
                self.commit_soon(APPENDING, held.bytes.len());
                if let Some(asked) = self.books.returns.front_mut() {
                    asked.now.count += 1;
                }
            }
        }
        if records.len() >= PART
            && let (Some(last), Some(asked)) = (records.last(), self.books.returns.front_mut())
        {
            asked.now.next = Sequence(last.sequence.0.saturating_add(1));
            return self.commit();
        }
        self.commit()?;
        if let Some(asked) = self.books.returns.pop_front() {
            // Whoever asked may have gone; it is done all the same.
            asked.reply.send(asked.now.count).ok();
        }
        Ok(())
    }

    /// Looks where the next numbers are. What moves meanwhile is told from where it is seen.
    fn account_for_a_part(&mut self) -> Result<(), OutboxError> {
        let Some(accounting) = self.books.accounts.front_mut() else { return Ok(()) };
        let records = self.journal.range(accounting.next, Sequence(u64::MAX), PART)?;
        let account = &mut accounting.account;
        for held in &records {
            let ranges = match held.standing {
                Standing::Pending => &mut account.pending,
                Standing::Acknowledged => &mut account.acknowledged,
                Standing::SetAside => &mut account.set_aside,
            };
            ranges.add(held.sequence);
            if let Some(dropped) = &held.notice {
                account.told.extend_from(&dropped.ranges);
            }
        }
        if records.len() >= PART
            && let Some(last) = records.last()
        {
            accounting.next = Sequence(last.sequence.0.saturating_add(1));
            return Ok(());
        }
        for dropped in self.books.losses.accounts() {
            account.untold.extend_from(&dropped.ranges);
        }
        account.epoch = self.journal.epoch();
        account.first = Some(self.journal.first());
        account.last = self.books.status.borrow().durable_up_to;
        if let Some(accounting) = self.books.accounts.pop_front() {
            accounting.reply.send(accounting.account).ok();
        }
        Ok(())
    }

    fn scrub_a_part(&mut self) -> Result<(), OutboxError> {
        self.books.scrubs.begin(self.books.clock.now());
        let scrub = self.journal.scrub()?;
        let now = self.books.clock.now();
        match scrub {
            Scrub::Underway => return Ok(()),
            Scrub::Failed => self.books.scrubs.failed(now),
            Scrub::Done => {
                self.books.totals.scrubs += 1;
                let took = self.books.scrubs.done(now).as_millis();
                let took_ms = u64::try_from(took).unwrap_or(u64::MAX);
                let records = self.mark().held().records;
                info!(took_ms, records, "The outbox was freed of what had been erased.");
            }
        }
        if self.books.staged.due.is_some() {
            // The next commit says it.
            return Ok(());
        }
        if let Some(durable) = &mut self.books.durable {
            durable.totals.scrubs = self.books.totals.scrubs;
        }
        self.publish_again()
    }

    /// Drops what is provably too old among the oldest: records whose making and the present are
    /// both known. Those of unknown age stay where they are, and a whole chunk of them shields what
    /// lies behind.
    pub(super) fn drop_too_old(&mut self) -> Result<(), OutboxError> {
        for standing in [Standing::Pending, Standing::SetAside] {
            loop {
                let wall = self.books.clock.settled();
                let (mut dropped, begin) = (0, self.mark().held().bytes);
                for held in self.journal.oldest_standing(standing, CHUNK)? {
                    if begin.saturating_sub(self.mark().held().bytes) >= CHUNK_BYTES {
                        break;
                    }
                    if self.books.caps.is_too_old(&held, &wall) {
                        self.lose(&held, DropReason::TooOld)?;
                        self.commit_soon(REMOVING, held.bytes.len());
                        dropped += 1;
                    }
                }
                if dropped == 0 {
                    break;
                }
                self.commit()?;
            }
        }
        Ok(())
    }

    /// Stages the removal of what was acknowledged long enough ago, at most a chunk of it, if
    /// something is committed anyway.
    pub(super) fn let_expired_go(&mut self) -> Result<(), OutboxError> {
        if self.books.staged.due.is_none() {
            return Ok(());
        }
        let now = self.books.clock.now();
        for sequence in self.books.retained.expired(now, CHUNK) {
            if self.journal.remove(sequence)? {
                self.books.totals.expired += 1;
            }
        }
        if !self.books.retained.must_search(now) {
            return Ok(());
        }
        let mut removed = 0;
        let found = self.journal.oldest_standing(Standing::Acknowledged, CHUNK)?;
        for held in &found {
            if !self.books.retained.is_recent(held.sequence)
                && self.journal.remove(held.sequence)?
            {
                self.books.totals.expired += 1;
                removed += 1;
            }
        }
        if removed == 0 {
            self.books.retained.searched();
        }
        Ok(())
    }
}

//! A disk in memory that outlives the rooms that use it, can fail at any call, and stays away for as
//! long as it is told to.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use std::{cell::RefCell, collections::BTreeSet, io, rc::Rc};

use beacon_gateway::outbox::{
    Class, Dropped, Entry, Held, Journal, Kept, MemoryJournal, Opened, OutboxError, Pending, Scrub,
    Sequence, Standing, Tag,
};

/// The disk. What is cloned is the way to it.
#[derive(Clone)]
pub(super) struct Disk(Rc<RefCell<Inner>>);

struct Inner {
    journal: MemoryJournal,
    /// How many calls, or syncs, succeed before one fails.
    calls_left: Option<u32>,
    syncs_left: Option<u32>,
    /// What the system says then.
    errno: i32,
    /// Whether a commit that fails has reached the disk all the same.
    keeps: bool,
    /// It has failed and was not opened again.
    failed: bool,
    /// How many more times it cannot be opened.
    away: u32,
    opened: u32,
}

impl Default for Disk {
    fn default() -> Self {
        Self::of(MemoryJournal::default())
    }
}

impl Disk {
    pub(super) fn of(journal: MemoryJournal) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            journal,
            calls_left: None,
            syncs_left: None,
            errno: 5,
            keeps: false,
            failed: false,
            away: 0,
            opened: 0,
        })))
    }

    /// Fails after so many calls, with this error; `keeps` when a commit that fails has happened.
    pub(super) fn fail_after(&self, calls: u32, errno: i32, keeps: bool) {
        let mut inner = self.0.borrow_mut();
        (inner.calls_left, inner.errno, inner.keeps) = (Some(calls), errno, keeps);
    }

    pub(super) fn fail_after_syncs(&self, syncs: u32) {
        self.0.borrow_mut().syncs_left = Some(syncs);
    }

    /// Whether it is still going to fail.
    pub(super) fn is_to_fail(&self) -> bool {
        self.0.borrow().calls_left.is_some()
    }

    /// Cannot be opened so many times.
    pub(super) fn stay_away(&self, times: u32) {
        self.0.borrow_mut().away = times;
    }

    /// How often it was opened again.
    pub(super) fn opened(&self) -> u32 {
        self.0.borrow().opened
    }

    /// Puts another journal in its place.
    pub(super) fn replace(&self, journal: MemoryJournal) {
        self.0.borrow_mut().journal = journal;
    }

    /// Loses what was not synced, and works again.
    pub(super) fn cut_power(&self) {
        let mut inner = self.0.borrow_mut();
        inner.journal.cut_power();
        (inner.calls_left, inner.syncs_left, inner.failed) = (None, None, false);
    }

    /// Opens it again for a room that has lost it.
    pub(super) fn opener(&self) -> impl FnMut() -> Result<Opened<Self>, OutboxError> + use<> {
        let disk = self.clone();
        move || {
            let error = {
                let mut inner = disk.0.borrow_mut();
                let error = (inner.away > 0).then(|| inner.error());
                inner.away = inner.away.saturating_sub(1);
                inner.opened += u32::from(error.is_none());
                error
            };
            if let Some(error) = error {
                return Err(error);
            }
            disk.cut_power();
            Ok(disk.clone().into())
        }
    }

    /// It is not going to fail, unless it has.
    pub(super) fn cut_short(&self) {
        self.0.borrow_mut().calls_left = None;
    }

    pub(super) fn clone_journal(&self) -> MemoryJournal {
        self.0.borrow().journal.clone()
    }

    pub(super) fn pending(&self) -> Pending {
        self.0.borrow().journal.pending()
    }

    /// Everything that is held and durable.
    pub(super) fn held(&self) -> Vec<Held> {
        let (from, to) = (Sequence(0), Sequence(u64::MAX));
        self.0.borrow_mut().journal.range(from, to, usize::MAX).unwrap()
    }

    pub(super) fn kept(&self) -> Vec<Kept> {
        self.0.borrow().journal.kept().unwrap()
    }

    /// How many records there are that are no notices.
    pub(super) fn sensors_and_others(&self) -> u64 {
        self.held().iter().filter(|held| held.notice.is_none()).count() as u64
    }

    fn call<T>(
        &self,
        call: impl FnOnce(&mut MemoryJournal) -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
        let mut inner = self.0.borrow_mut();
        if inner.is_hit() {
            return Err(inner.error());
        }
        call(&mut inner.journal)
    }
}

impl Inner {
    /// Whether this call fails.
    fn is_hit(&mut self) -> bool {
        match &mut self.calls_left {
            Some(0) => {
                self.calls_left = None;
                self.failed = true;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.failed
    }

    fn error(&self) -> OutboxError {
        OutboxError::Commit(io::Error::from_raw_os_error(self.errno).into())
    }
}

impl Journal for Disk {
    fn epoch(&self) -> u32 {
        self.0.borrow().journal.epoch()
    }
    fn append(&mut self, entry: Entry, notice: Option<Dropped>) -> Result<Sequence, OutboxError> {
        self.call(|journal| journal.append(entry, notice))
    }
    fn sync(&mut self) -> Result<Option<Sequence>, OutboxError> {
        let mut inner = self.0.borrow_mut();
        let was_failed = inner.failed;
        match &mut inner.syncs_left {
            Some(0) => {
                inner.syncs_left = None;
                inner.failed = true;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        if inner.is_hit() {
            if inner.keeps && !was_failed {
                inner.journal.sync()?;
            }
            return Err(inner.error());
        }
        inner.journal.sync()
    }
    fn oldest(&mut self, after: Option<Sequence>, limit: usize) -> Result<Vec<Held>, OutboxError> {
        self.call(|journal| journal.oldest(after, limit))
    }
    fn oldest_about(
        &mut self,
        who: &BTreeSet<Tag>,
        after: Option<Sequence>,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        self.call(|journal| journal.oldest_about(who, after, limit))
    }
    fn replace(&mut self, sequence: Sequence, bytes: Vec<u8>) -> Result<bool, OutboxError> {
        self.call(|journal| journal.replace(sequence, bytes))
    }
    fn stand(&mut self, sequence: Sequence, standing: Standing) -> Result<bool, OutboxError> {
        self.call(|journal| journal.stand(sequence, standing))
    }
    fn oldest_of(&mut self, class: Class, limit: usize) -> Result<Vec<Held>, OutboxError> {
        self.call(|journal| journal.oldest_of(class, limit))
    }
    fn oldest_standing(
        &mut self,
        standing: Standing,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        self.call(|journal| journal.oldest_standing(standing, limit))
    }
    fn range(
        &mut self,
        from: Sequence,
        to: Sequence,
        limit: usize,
    ) -> Result<Vec<Held>, OutboxError> {
        self.call(|journal| journal.range(from, to, limit))
    }
    fn remove(&mut self, sequence: Sequence) -> Result<bool, OutboxError> {
        self.call(|journal| journal.remove(sequence))
    }
    fn keep(&mut self, slot: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), OutboxError> {
        self.call(|journal| journal.keep(slot, value))
    }
    fn kept(&self) -> Result<Vec<Kept>, OutboxError> {
        self.call(|journal| journal.kept())
    }
    fn pending_of(&self, class: Class) -> Pending {
        self.0.borrow().journal.pending_of(class)
    }
    fn standing(&self, standing: Standing) -> Pending {
        self.0.borrow().journal.standing(standing)
    }
    fn owe_scrub(&mut self) {
        self.0.borrow_mut().journal.owe_scrub();
    }
    fn owes_scrub(&self) -> bool {
        self.0.borrow().journal.owes_scrub()
    }
    fn scrub(&mut self) -> Result<Scrub, OutboxError> {
        self.call(Journal::scrub)
    }
}

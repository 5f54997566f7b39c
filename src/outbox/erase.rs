//! Erases what is about somebody, part by part, so that the room goes on serving meanwhile.
//!
//! Who is to be erased, and what of a record is still covered, is for a judge to say: the outbox
//! does not know what a record means.

use std::{collections::BTreeSet, fmt};

use tokio::sync::oneshot;
use tracing::{debug, error};

use super::{Held, Journal, MAX_RECORD, OutboxError, Sequence, Tag, backlog::Order};

/// How many records are looked at in one part.
const PART: usize = 256;

/// Decides about one record after the other.
pub struct Judge(Decide);

type Decide = Box<dyn FnMut(&[u8]) -> Verdict + Send>;

/// What becomes of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It stays as it is.
    Keep,
    /// It stays, with less in it: these bytes take the place of its own. When there are more than
    /// [`MAX_RECORD`] of them it is erased.
    Replace(Vec<u8>),
    /// It goes.
    Erase,
}

/// What an erasure did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Erased {
    /// Records that the judge was asked about.
    pub examined: u64,
    /// Records erased.
    pub erased: u64,
    /// Records of which a part was taken out.
    pub narrowed: u64,
    /// The first sequence of the erased.
    pub first: Option<Sequence>,
    /// The last sequence of the erased.
    pub last: Option<Sequence>,
    /// How many bytes of records went, whole records and parts of them.
    pub bytes: u64,
}

/// An erasure that is under way.
#[derive(Debug)]
pub(super) struct Erasure {
    who: Option<BTreeSet<Tag>>,
    judge: Judge,
    reply: oneshot::Sender<Erased>,
    /// The last record to look at; `None` until everything before the order is durable.
    until: Option<Sequence>,
    now: Progress,
    /// As of the last commit.
    durable: Progress,
}

/// How far an erasure has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The last record that was looked at.
    after: Option<Sequence>,
    done: Erased,
}

/// One change that an erasure has staged.
pub(super) enum Change {
    /// A record is to go.
    Erased(Held),
    /// A record is to have so many bytes.
    Narrowed(usize),
}

// === impl Judge ===

impl Judge {
    /// Whoever reads records decides. Asked in the outbox's thread, which must not be blocked;
    /// asked again about a record when a power cut undid what it had said.
    pub fn new(judge: impl FnMut(&[u8]) -> Verdict + Send + 'static) -> Self {
        Self(Box::new(judge))
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").finish_non_exhaustive()
    }
}

// === impl Erasure ===

impl Erasure {
    /// One that has looked at nothing yet.
    pub(super) fn new(order: Order) -> Self {
        let who = order.who.map(|who| who.into_iter().collect());
        let (now, durable) = (Progress::default(), Progress::default());
        Self { who, judge: order.judge, reply: order.reply, until: None, now, durable }
    }

    /// Whether it is about certain people. Then traces of them may be in the files even if no
    /// record is left.
    pub(super) fn names_somebody(&self) -> bool {
        self.who.as_ref().is_some_and(|who| !who.is_empty())
    }

    /// Everything that was changed so far is durable, up to this sequence.
    pub(super) fn settle(&mut self, last: u64) {
        self.until.get_or_insert(Sequence(last));
        self.durable = self.now;
    }

    /// What was changed since the last commit is not.
    pub(super) fn undo(&mut self) {
        self.now = self.durable;
    }

    /// The store is another one: all of it has to be looked at.
    pub(super) fn begin_again(&mut self, last: u64) {
        self.now.after = None;
        self.durable.after = None;
        self.until = self.until.map(|_| Sequence(last));
    }

    /// Stages the next part. `book` is told of each change and says whether there may be another
    /// before the next sync. Returns whether everything has been looked at.
    pub(super) fn stage_a_part(
        &mut self,
        journal: &mut impl Journal,
        mut book: impl FnMut(Change) -> bool,
    ) -> Result<bool, OutboxError> {
        let Some(until) = self.until else { return Ok(false) };
        let after = self.now.after;
        let records = if let Some(who) = &self.who {
            journal.oldest_about(who, after, PART)?
        } else {
            let from = Sequence(after.map_or(0, |after| after.0.saturating_add(1)));
            journal.range(from, until, PART)?
        };
        let more = records.len() >= PART;
        for held in records {
            if held.sequence > until {
                return Ok(true);
            }
            self.now.after = Some(held.sequence);
            if let Some(change) = self.judge_one(journal, held)?
                && !book(change)
            {
                return Ok(false);
            }
        }
        Ok(!more)
    }

    fn judge_one(
        &mut self,
        journal: &mut impl Journal,
        held: Held,
    ) -> Result<Option<Change>, OutboxError> {
        if held.notice.is_some() {
            return Ok(None);
        }
        let (sequence, before) = (held.sequence, held.bytes.len());
        let done = &mut self.now.done;
        done.examined += 1;
        match (self.judge.0)(&held.bytes) {
            Verdict::Keep => return Ok(None),
            Verdict::Replace(after) if after == held.bytes => return Ok(None),
            Verdict::Replace(after) if after.len() <= MAX_RECORD => {
                let length = after.len();
                if !journal.replace(sequence, after)? {
                    return Ok(None);
                }
                done.narrowed += 1;
                done.bytes += u64::try_from(before.saturating_sub(length)).unwrap_or(0);
                return Ok(Some(Change::Narrowed(length)));
            }
            Verdict::Replace(after) => {
                error!(
                    sequence = sequence.0,
                    bytes = after.len(),
                    "A record is too big without what was to be taken out of it; it is erased."
                );
            }
            Verdict::Erase => {}
        }
        if !journal.remove(sequence)? {
            return Ok(None);
        }
        done.erased += 1;
        done.bytes += u64::try_from(before).unwrap_or(0);
        done.first = done.first.or(Some(sequence));
        done.last = Some(sequence);
        Ok(Some(Change::Erased(held)))
    }

    /// Tells whoever ordered it, once all of it is durable.
    pub(super) fn tell(self) {
        let done = self.durable.done;
        debug!(
            examined = done.examined,
            erased = done.erased,
            narrowed = done.narrowed,
            "Records were erased on order."
        );
        // Whoever ordered it may have gone; it is done all the same.
        self.reply.send(done).ok();
    }
}

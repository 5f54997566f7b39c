//! What the outbox holds in; in which order it is fetched and sent out. Pure.
//!
//! | lane | fetches | goes |
//! |---|---|---|
//! | live | what is [new](super::marks), in order | first |
//! | older | what is older about the same as something new | next, each before the new one |
//! | backlog | everything else, oldest first | last |
//!
//! Why: an event in the moment is worth most in the moment, and no consumer needs a total order over
//! a shop; what is about one subject, fixture or zone is sent in its order all the same. Once the
//! backlog has come to where the live lane began, there is one lane.
//!
//! However much waits, some thousand records are in memory at most.

use rustc_hash::FxHashSet;
use tokio::sync::oneshot;

use super::{
    pulls::{Fate, Pulls},
    shelf::{Rank, Shelf},
};
use crate::outbox::{Read, Sequence, Stored, Tag};

/// So many subjects with something to pull, and the live lane waits for them.
const MOST_PULLED: usize = 2048;

/// So many subjects are remembered whose records cannot be sent now. Of others the courier is asked
/// each time, which costs more and comes to the same.
const MOST_WAITING: usize = 4096;

/// What is passed over is gone through in steps of so many, to come to what can be sent.
const LARGE_STEP: usize = 512;

/// Where a record was fetched for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lane {
    Live,
    Older,
    Backlog,
}

/// Fetches records, and says which is next.
#[derive(Debug)]
pub(super) struct Lanes {
    shelf: Shelf,
    /// How many records a fetch of a lane asks for.
    size: usize,
    /// The backlog has fetched everything up to here.
    behind: Sequence,
    /// The backlog ends here, and the live lane begins.
    border: Sequence,
    /// The live lane has looked at everything up to here.
    head: Sequence,
    /// Up to here a fetch of the live lane has found everything there was.
    searched: Sequence,
    pulls: Pulls,
    /// About these nothing can be sent now.
    waiting: FxHashSet<Tag>,
    /// Records were passed over. They are still in the outbox; nothing is kept of them here, for
    /// there may be a million.
    passed_over: bool,
    /// How many, since somebody asked.
    passed: u64,
    /// Something that came of the last fetch of the backlog was sent.
    fruitful: bool,
    live: Option<Fetch>,
    older: Option<Fetch>,
    backlog: Option<Fetch>,
    /// What has left while something was being fetched: it may be in the answer.
    left: FxHashSet<Sequence>,
}

#[derive(Debug)]
struct Fetch {
    reply: oneshot::Receiver<Vec<Stored>>,
    /// What was durable when it was asked.
    durable: Sequence,
    /// How many were asked for.
    limit: usize,
}

/// What was fetched; nothing when the outbox has no answer.
#[derive(Debug)]
pub(in crate::uplink) struct Fetched {
    lane: Lane,
    records: Option<Vec<Stored>>,
}

impl Fetched {
    /// Whether the outbox has answered.
    pub(in crate::uplink) fn is_answer(&self) -> bool {
        self.records.is_some()
    }
}

impl Lanes {
    /// Begins behind `floor`; what is behind `border` goes before the rest.
    pub(super) fn new(each: usize, floor: Sequence, border: Sequence) -> Self {
        let mut lanes = Self {
            shelf: Shelf::new(each),
            size: 0,
            behind: floor,
            border,
            head: border,
            searched: border,
            pulls: Pulls::default(),
            waiting: FxHashSet::default(),
            passed_over: floor > Sequence(0),
            passed: 0,
            fruitful: false,
            live: None,
            older: None,
            backlog: None,
            left: FxHashSet::default(),
        };
        lanes.restart(floor, border, std::iter::empty());
        lanes
    }

    /// Fetches so many at a time from now on.
    pub(super) fn open(&mut self, size: usize) {
        self.size = size;
    }

    /// Forgets what was fetched, and begins again behind `floor`. What is about these is passed over.
    pub(super) fn restart(
        &mut self,
        floor: Sequence,
        border: Sequence,
        passed_over: impl Iterator<Item = Tag>,
    ) {
        let border = border.max(floor);
        (self.behind, self.border, self.head, self.searched) = (floor, border, border, border);
        self.shelf.clear();
        self.pulls.clear();
        self.waiting = passed_over.collect();
        self.passed_over = floor > Sequence(0);
        self.fruitful = false;
        (self.live, self.older, self.backlog) = (None, None, None);
        self.left.clear();
    }

    // --- what is sent ---

    /// The next record. It is under way until it is settled or passed over.
    pub(super) fn next(&mut self) -> Option<Stored> {
        self.shelf.next()
    }

    /// Whether there is one.
    pub(super) fn has_next(&self) -> bool {
        self.shelf.has_next()
    }

    /// Something was sent.
    pub(super) fn sent(&mut self) {
        self.fruitful = true;
    }

    /// A record has left the outbox, or will.
    pub(super) fn settle(&mut self, sequence: Sequence) {
        self.shelf.settle(sequence);
        if self.live.is_some() || self.older.is_some() || self.backlog.is_some() {
            self.left.insert(sequence);
        }
    }

    /// A record that was under way will be fetched again.
    pub(super) fn put_back(&mut self, sequence: Sequence) {
        self.shelf.settle(sequence);
    }

    /// A record that was to be sent is passed over, and with it all about the same.
    pub(super) fn pass_over(&mut self, sequence: Sequence) {
        let about = self.shelf.whose(sequence);
        self.shelf.settle(sequence);
        self.passed_over = true;
        self.passed += 1;
        if let Some(tag) = about
            && self.waiting.len() < MOST_WAITING
        {
            self.waiting.insert(tag);
            self.passed += u64::try_from(self.shelf.drop_line(tag)).unwrap_or(u64::MAX);
            self.pulls.forget(tag);
        }
    }

    /// How many records were passed over since this was last asked.
    pub(super) fn take_passed(&mut self) -> u64 {
        std::mem::take(&mut self.passed)
    }

    /// Whether any were since the last start.
    pub(super) fn has_passed_over(&self) -> bool {
        self.passed_over
    }

    /// How many records are in memory.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shelf.len()
    }

    /// Whom something under way is about.
    pub(super) fn whose(&self, sequence: Sequence) -> Option<Tag> {
        self.shelf.whose(sequence)
    }

    // --- what is fetched ---

    /// All up to here is settled, or was passed over.
    pub(super) fn floor(&self) -> Sequence {
        let reached = if self.is_one_lane() { self.head } else { self.behind };
        let reached = self.pulls.complete_to().map_or(reached, |complete| complete.min(reached));
        let before = |sequence: Sequence| Sequence(sequence.0.saturating_sub(1));
        self.shelf.oldest().map_or(reached, |oldest| before(oldest).min(reached))
    }

    /// How far the live lane has come.
    pub(super) fn head(&self) -> Sequence {
        self.head
    }

    /// Everything durable was fetched and taken from the shelf.
    pub(super) fn is_done(&self, durable: Sequence) -> bool {
        self.is_one_lane()
            && durable <= self.head.max(self.searched)
            && self.shelf.len() == 0
            && self.live.is_none()
    }

    /// Where to fetch from next, if anywhere.
    pub(super) fn wants(&self, durable: Sequence) -> Option<Lane> {
        let few = |rank| self.shelf.len_as(rank) <= self.size / 2;
        if self.size == 0 {
            None
        } else if self.pulls.has_question(self.has_room(), |tag| self.shelf.len_of(tag)) {
            Some(Lane::Older)
        } else if self.live.is_none()
            && durable > self.head.max(self.searched)
            && few(Rank::Live)
            && self.pulls.open() < MOST_PULLED
            && !self.pulls.is_full()
        {
            Some(Lane::Live)
        } else if self.backlog.is_none() && self.behind < self.border && few(Rank::Backlog) {
            Some(Lane::Backlog)
        } else {
            None
        }
    }

    /// Whether there may be more about those who are new. Those with a long history do not count: they
    /// must not make others wait.
    fn has_room(&self) -> bool {
        let most = self.size / 2;
        let pulled = self.shelf.len_as(Rank::Older);
        let long = || self.pulls.long().map(|tag| self.shelf.len_of(tag)).sum();
        pulled <= most || pulled.saturating_sub(long()) <= most
    }

    /// The request for a lane.
    pub(super) fn ask(&mut self, lane: Lane, durable: Sequence) -> Option<Read> {
        let (sender, reply) = oneshot::channel();
        // Through what is passed over it goes in large steps.
        let fruitless = self.passed_over && !self.fruitful;
        let step = if fruitless { LARGE_STEP } else { self.size };
        match lane {
            Lane::Older => {
                let (room, at_hand) = (self.has_room(), &self.shelf);
                let question = self.pulls.ask(room, |tag| at_hand.len_of(tag))?;
                self.older = Some(Fetch { reply, durable, limit: question.limit });
                Some(Read::OldestAbout {
                    who: question.who,
                    after: Some(question.after),
                    before: None,
                    limit: question.limit,
                    reply: sender,
                })
            }
            Lane::Live => {
                self.live = Some(Fetch { reply, durable, limit: step });
                Some(Read::Oldest { after: Some(self.head), limit: step, reply: sender })
            }
            Lane::Backlog => {
                // No more than there can be on this side of the border.
                let rest = self.border.0.saturating_sub(self.behind.0);
                let limit = usize::try_from(rest).map_or(step, |rest| rest.min(step));
                self.backlog = Some(Fetch { reply, durable, limit });
                Some(Read::Oldest { after: Some(self.behind), limit, reply: sender })
            }
        }
    }

    /// Waits for the answer to a fetch; for ever when there is none.
    pub(super) async fn fetched(&mut self) -> Fetched {
        let (lane, records) = tokio::select! {
            records = answer(&mut self.older) => (Lane::Older, records),
            records = answer(&mut self.live) => (Lane::Live, records),
            records = answer(&mut self.backlog) => (Lane::Backlog, records),
        };
        Fetched { lane, records }
    }

    /// Takes what was fetched.
    pub(super) fn shelve(&mut self, Fetched { lane, records }: Fetched) {
        let fetch = match lane {
            Lane::Live => self.live.take(),
            Lane::Older => self.older.take(),
            Lane::Backlog => self.backlog.take(),
        };
        match (lane, fetch.zip(records)) {
            (Lane::Live, Some((fetch, records))) => self.shelve_live(&fetch, records),
            (Lane::Older, Some((fetch, records))) => self.shelve_older(&fetch, records),
            (Lane::Backlog, Some((fetch, records))) => self.shelve_backlog(&fetch, records),
            (Lane::Older, None) => self.pulls.unanswered(),
            (Lane::Live | Lane::Backlog, None) => {}
        }
        if self.live.is_none() && self.older.is_none() && self.backlog.is_none() {
            self.left.clear();
        }
        if self.is_one_lane() {
            self.pulls.clear();
        }
    }

    fn shelve_live(&mut self, fetch: &Fetch, records: Vec<Stored>) {
        if records.len() < fetch.limit {
            self.searched = self.searched.max(fetch.durable);
        }
        let is_done = self.behind >= self.border;
        for stored in records {
            self.head = self.head.max(stored.sequence);
            let fate = match stored.about {
                Some(tag) if self.waiting.contains(&tag) => {
                    self.pass_over_unsent(stored.sequence);
                    continue;
                }
                Some(tag) => self.pulls.news(tag, stored.sequence, self.behind, is_done),
                None => Fate::Take,
            };
            if fate == Fate::Take {
                self.put(stored, Rank::Live);
            }
        }
    }

    fn shelve_older(&mut self, fetch: &Fetch, records: Vec<Stored>) {
        let is_all = records.len() < fetch.limit;
        let last = records.last().map(|stored| stored.sequence);
        let reached = if is_all { last.max(Some(fetch.durable)) } else { last };
        for stored in records {
            // Of what it is not known whom it is about, nobody knows whose order to keep.
            let wanted = stored.about.is_some_and(|tag| self.pulls.answer(tag, stored.sequence));
            if wanted {
                self.put(stored, Rank::Older);
            }
        }
        let lines = &mut self.shelf;
        self.pulls.answered(reached.unwrap_or(fetch.durable), |tag, complete| {
            lines.rank(tag, if complete { Rank::Live } else { Rank::Older });
        });
    }

    fn shelve_backlog(&mut self, fetch: &Fetch, records: Vec<Stored>) {
        let is_all = records.len() < fetch.limit;
        let reached = records.last().map_or(self.behind, |last| last.sequence);
        let border = self.border;
        for stored in records.into_iter().take_while(|stored| stored.sequence <= border) {
            let fate = match stored.about {
                Some(tag) if self.waiting.contains(&tag) => {
                    self.pass_over_unsent(stored.sequence);
                    continue;
                }
                Some(tag) => self.pulls.backlog(tag, stored.sequence),
                None => Fate::Take,
            };
            if fate == Fate::Take {
                self.put(stored, Rank::Backlog);
            }
        }
        self.behind = if is_all { border } else { reached.min(border) };
        self.fruitful = false;
    }

    fn put(&mut self, stored: Stored, rank: Rank) {
        if !self.left.contains(&stored.sequence) {
            self.shelf.put(stored, rank);
        }
    }

    fn pass_over_unsent(&mut self, sequence: Sequence) {
        if !self.left.contains(&sequence) {
            self.passed_over = true;
            self.passed += 1;
        }
    }

    /// The backlog has come to where the live lane began, and nothing is pulled.
    fn is_one_lane(&self) -> bool {
        self.behind >= self.border && self.backlog.is_none() && self.pulls.open() == 0
    }
}

/// The answer to a fetch, or nothing if there will be none; for ever when nothing is fetched.
async fn answer(fetch: &mut Option<Fetch>) -> Option<Vec<Stored>> {
    match fetch {
        Some(fetch) => (&mut fetch.reply).await.ok(),
        None => std::future::pending().await,
    }
}

//! Who has something new, and may have something older, in; whom to ask the outbox about out. Pure.
//!
//! A new record may go before the backlog, but not before what is older about the same. So the first
//! new record about somebody is not kept: its subject is *pulled* out of the outbox, all that is
//! about it in order, the new record at the end. Nearly always there is only that one.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::outbox::{Sequence, Tag};

/// So many subjects are asked about together when they are new.
const TOGETHER: usize = 64;

/// So many subjects with a long history are pulled at the same time; the others wait, and the
/// backlog passes by them in its own order. Each has at most [`PART`] and a few records on the shelf.
const AT_ONCE: usize = 8;

/// So many records of a subject are left on the shelf when more are asked for.
const FEW: usize = 8;

/// So many subjects are remembered as complete at the most; one that is forgotten is asked about
/// once more.
const REMEMBERED: usize = 4096;

/// How many records a question about new subjects, or about one with a history, asks for.
pub(super) const NEW: usize = 256;
const PART: usize = 32;

/// Whom there is news about, and how much of what is older about them was fetched.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    all: FxHashMap<Tag, Pull>,
    /// Not asked about yet.
    new: VecDeque<Tag>,
    /// Asked about, and there is more.
    long: VecDeque<Tag>,
    /// The question that is out.
    asked: Vec<Tag>,
}

#[derive(Clone, Copy, Debug)]
struct Pull {
    /// All about it up to here was fetched.
    behind: Sequence,
    /// The newest that is known of.
    newest: Sequence,
    /// The backlog has passed by records up to here without taking them.
    missed: Sequence,
}

/// A question about subjects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Question {
    pub(super) who: Vec<Tag>,
    pub(super) after: Sequence,
    pub(super) limit: usize,
}

/// What becomes of a record that another lane has fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It is taken.
    Take,
    /// The pull brings it, or has brought it.
    Leave,
}

impl Pull {
    fn is_open(&self) -> bool {
        self.behind < self.newest
    }
}

impl Pulls {
    /// There is a new record about somebody, in order. All up to `behind` was fetched by the backlog,
    /// which `is_done` when that is all there is.
    pub(super) fn news(
        &mut self,
        tag: Tag,
        sequence: Sequence,
        behind: Sequence,
        is_done: bool,
    ) -> Fate {
        match self.all.get_mut(&tag) {
            Some(pull) if sequence <= pull.behind => Fate::Leave,
            Some(pull) => {
                let open = pull.is_open();
                pull.newest = pull.newest.max(sequence);
                if open {
                    return Fate::Leave;
                }
                pull.behind = sequence;
                Fate::Take
            }
            None if is_done => Fate::Take,
            None => {
                if self.all.len() >= REMEMBERED {
                    self.all.retain(|_, pull| pull.is_open());
                }
                self.all.insert(tag, Pull { behind, newest: sequence, missed: Sequence(0) });
                self.new.push_back(tag);
                Fate::Leave
            }
        }
    }

    /// The backlog has come to a record about somebody, in order.
    pub(super) fn backlog(&mut self, tag: Tag, sequence: Sequence) -> Fate {
        let asked = self.asked.contains(&tag);
        let Some(pull) = self.all.get_mut(&tag) else { return Fate::Take };
        if sequence <= pull.behind {
            return Fate::Leave;
        }
        if asked || pull.behind < pull.missed {
            pull.missed = pull.missed.max(sequence);
            return Fate::Leave;
        }
        pull.behind = sequence;
        Fate::Take
    }

    /// Whether there is somebody to ask about; `len_of` says how many records are at hand, and
    /// `room` whether there may be more about those who are new.
    pub(super) fn has_question(&self, room: bool, len_of: impl Fn(Tag) -> usize) -> bool {
        let new = room && !self.new.is_empty();
        self.asked.is_empty() && (new || self.runs_dry(len_of).is_some())
    }

    /// The next question. Who is new goes first: a long history must not make others wait.
    pub(super) fn ask(&mut self, room: bool, len_of: impl Fn(Tag) -> usize) -> Option<Question> {
        if !self.asked.is_empty() {
            return None;
        }
        let (who, limit) = if self.new.is_empty() || !room {
            (vec![self.runs_dry(len_of)?], PART)
        } else {
            (self.new.drain(..self.new.len().min(TOGETHER)).collect(), NEW)
        };
        let behind = who.iter().filter_map(|tag| self.all.get(tag)).map(|pull| pull.behind);
        let after = behind.min().unwrap_or(Sequence(0));
        self.asked.clone_from(&who);
        Some(Question { who, after, limit })
    }

    /// Whether this record of an answer is one to take.
    pub(super) fn answer(&self, tag: Tag, sequence: Sequence) -> bool {
        self.all.get(&tag).is_some_and(|pull| sequence > pull.behind)
    }

    /// An answer has been taken: it had all up to `reached` about those asked about. `rank` is told
    /// of each whether that was all there is.
    pub(super) fn answered(&mut self, reached: Sequence, mut rank: impl FnMut(Tag, bool)) {
        for tag in std::mem::take(&mut self.asked) {
            let Some(pull) = self.all.get_mut(&tag) else { continue };
            pull.behind = pull.behind.max(reached);
            let open = pull.is_open();
            let at = self.long.iter().position(|long| *long == tag);
            match (open, at) {
                (true, None) => self.long.push_back(tag),
                (false, Some(at)) => drop(self.long.remove(at)),
                _ => {}
            }
            rank(tag, !open);
        }
    }

    /// The question will not be answered; it is asked again.
    pub(super) fn unanswered(&mut self) {
        for tag in std::mem::take(&mut self.asked) {
            if self.all.contains_key(&tag) && !self.long.contains(&tag) {
                self.new.push_back(tag);
            }
        }
    }

    /// There is no need to fetch anything about this one.
    pub(super) fn forget(&mut self, tag: Tag) {
        if self.all.remove(&tag).is_some_and(|pull| pull.is_open()) {
            self.new.retain(|other| *other != tag);
            self.long.retain(|other| *other != tag);
        }
    }

    /// Whether so many are waiting to be asked about that it is enough for one question.
    pub(super) fn is_full(&self) -> bool {
        self.new.len() >= TOGETHER
    }

    /// Those with a long history.
    pub(super) fn long(&self) -> impl Iterator<Item = Tag> {
        self.long.iter().copied()
    }

    /// How many subjects there is more to fetch about.
    pub(super) fn open(&self) -> usize {
        let asked = self.asked.iter().filter(|tag| !self.long.contains(tag)).count();
        self.new.len() + self.long.len() + asked
    }

    /// Up to here everything about all of them was fetched, if anything is missing.
    pub(super) fn complete_to(&self) -> Option<Sequence> {
        self.all.values().filter(|pull| pull.is_open()).map(|pull| pull.behind).min()
    }

    /// Forgets everybody.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn runs_dry(&self, len_of: impl Fn(Tag) -> usize) -> Option<Tag> {
        self.long.iter().take(AT_ONCE).find(|tag| len_of(**tag) <= FEW).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Tag = Tag(1);
    const B: Tag = Tag(2);

    fn nothing(_: Tag) -> usize {
        0
    }

    fn question(who: &[Tag], after: u64, limit: usize) -> Question {
        Question { who: who.to_vec(), after: Sequence(after), limit }
    }

    #[test]
    fn the_first_news_is_asked_about_and_later_news_is_taken() {
        let mut pulls = Pulls::default();
        assert_eq!(pulls.news(A, Sequence(101), Sequence(10), false), Fate::Leave);
        assert_eq!(pulls.news(B, Sequence(102), Sequence(20), false), Fate::Leave);
        assert_eq!(pulls.news(A, Sequence(103), Sequence(20), false), Fate::Leave);
        assert_eq!(
            pulls.ask(true, nothing),
            Some(question(&[A, B], 10, NEW)),
            "from where the first began"
        );
        assert_eq!((pulls.ask(true, nothing), pulls.open()), (None, 2));
        let mut ranks = Vec::new();
        pulls.answered(Sequence(103), |tag, complete| ranks.push((tag, complete)));
        assert_eq!((ranks, pulls.open()), (vec![(A, true), (B, true)], 0));
        assert_eq!(pulls.news(A, Sequence(103), Sequence(20), false), Fate::Leave, "it was pulled");
        assert_eq!(pulls.news(A, Sequence(104), Sequence(20), false), Fate::Take);
    }

    #[test]
    fn once_there_is_no_backlog_news_is_taken_at_once() {
        let mut pulls = Pulls::default();
        assert_eq!(pulls.news(A, Sequence(101), Sequence(100), true), Fate::Take);
        assert_eq!((pulls.open(), pulls.has_question(true, nothing)), (0, false));
    }

    #[test]
    fn a_long_history_is_pulled_in_parts_behind_those_who_are_new() {
        let mut pulls = Pulls::default();
        pulls.news(A, Sequence(101), Sequence(10), false);
        pulls.ask(true, nothing);
        pulls.answered(Sequence(50), |_, complete| assert!(!complete));
        assert!(!pulls.has_question(true, |_| FEW + 1), "there is enough at hand");
        pulls.news(B, Sequence(102), Sequence(60), false);
        assert!(!pulls.has_question(false, |_| FEW + 1), "there is no room for more");
        assert_eq!(pulls.ask(true, nothing), Some(question(&[B], 60, NEW)));
        pulls.answered(Sequence(102), |_, _| ());
        assert_eq!(pulls.ask(true, nothing), Some(question(&[A], 50, PART)));
        assert_eq!(pulls.complete_to(), Some(Sequence(50)));
        pulls.answered(Sequence(101), |_, complete| assert!(complete));
        assert_eq!((pulls.open(), pulls.complete_to()), (0, None));
    }

    #[test]
    fn what_the_backlog_passes_by_while_a_question_is_out_only_the_pull_may_bring() {
        let mut pulls = Pulls::default();
        assert_eq!(pulls.backlog(A, Sequence(5)), Fate::Take);
        pulls.news(A, Sequence(101), Sequence(10), false);
        assert_eq!(pulls.backlog(A, Sequence(12)), Fate::Take, "not yet asked");
        pulls.ask(true, nothing);
        assert_eq!(pulls.backlog(A, Sequence(30)), Fate::Leave);
        pulls.answered(Sequence(20), |_, _| ());
        assert_eq!(pulls.backlog(A, Sequence(31)), Fate::Leave, "30 comes first");
        assert_eq!(pulls.ask(true, nothing), Some(question(&[A], 20, PART)));
        pulls.answered(Sequence(40), |_, _| ());
        assert_eq!(pulls.backlog(A, Sequence(41)), Fate::Take);
        assert_eq!(pulls.backlog(A, Sequence(40)), Fate::Leave, "it was pulled");
    }

    #[test]
    fn an_unanswered_question_is_asked_again_and_nobody_is_asked_about_for_nothing() {
        let mut pulls = Pulls::default();
        pulls.news(A, Sequence(101), Sequence(10), false);
        pulls.news(B, Sequence(102), Sequence(10), false);
        let first = pulls.ask(true, nothing);
        pulls.unanswered();
        assert_eq!((pulls.open(), pulls.ask(true, nothing)), (2, first));
        pulls.forget(B);
        pulls.unanswered();
        assert_eq!((pulls.open(), pulls.ask(true, nothing)), (1, Some(question(&[A], 10, NEW))));
    }
}

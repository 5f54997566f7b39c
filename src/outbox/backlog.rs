//! What waits for the journal, in order: for a moment as a rule, and while the disk is away, as much
//! as memory has room for.
//!
//! Writes in, tasks out. When there is too much of it the least valuable records go, the oldest
//! first, and are counted: they never had a sequence.

use std::collections::{BTreeSet, VecDeque};

use tokio::sync::oneshot;

use crate::engine::UnixTime;

use super::{
    Class, DropReason, Dropped, Entry, Erased, Judge, MAX_RECORD, Pending, Removal, Sequence,
    Settings, Tag, Write,
};

/// What a change weighs besides its bytes, roughly.
const WEIGHT: usize = 128;

/// One thing to do with the journal.
#[derive(Debug)]
pub(super) enum Task {
    /// Changes that belong into one commit.
    Change(Vec<Change>),
    /// Looks at records and erases some.
    Erase(Order),
}

/// One change, in a form that can be made again when a commit was lost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// A record comes in.
    Append(Entry),
    /// A record came in that is too big to be stored.
    TooBig(Option<UnixTime>),
    /// A value is kept, or with `None` forgotten.
    Keep(Vec<u8>, Option<Vec<u8>>),
    /// A record leaves the line.
    Remove(Sequence, Removal),
    /// Records were lost that are not in the journal.
    Lost(Dropped),
}

/// An erasure that was ordered.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) who: Option<Vec<Tag>>,
    pub(super) judge: Judge,
    pub(super) reply: oneshot::Sender<Erased>,
}

/// What waits for the journal.
#[derive(Debug)]
pub(super) struct Backlog {
    tasks: VecDeque<Task>,
    most: Pending,
    /// Records that wait, by class.
    classes: [u64; Class::ALL.len()],
    /// Bytes of everything that waits.
    bytes: u64,
    /// What was lost for want of room, and not handed on yet.
    lost: Dropped,
}

// === impl Backlog ===

impl Backlog {
    pub(super) fn new(settings: &Settings) -> Self {
        let most = Pending { records: settings.memory_records, bytes: settings.memory_bytes.0 };
        let lost = Dropped::none(DropReason::Disk);
        Self { tasks: VecDeque::new(), most, classes: Default::default(), bytes: 0, lost }
    }

    /// Takes in what was asked for.
    pub(super) fn put(&mut self, write: Write) {
        let mut together = Vec::new();
        self.take_apart(write, &mut together);
        self.push(Task::Change(together));
    }

    /// The next thing to do. What was lost meanwhile is told first.
    pub(super) fn next(&mut self) -> Option<Task> {
        if self.lost.count() > 0 {
            let lost = std::mem::replace(&mut self.lost, Dropped::none(DropReason::Disk));
            return Some(Task::Change(vec![Change::Lost(lost)]));
        }
        let task = self.tasks.pop_front()?;
        if let Task::Change(changes) = &task {
            for change in changes {
                self.weigh(change, false);
            }
        }
        Some(task)
    }

    /// How many records wait, and how many bytes all that waits has.
    pub(super) fn held(&self) -> Pending {
        Pending { records: self.classes.iter().sum(), bytes: self.bytes }
    }

    /// Lets go of what is more than memory has room for. Returns how many records were lost.
    pub(super) fn trim(&mut self) -> u64 {
        if !self.is_too_much() {
            return 0;
        }
        self.forget_what_is_out_of_date();
        let before = self.lost.count();
        while self.is_too_much()
            && let Some(class) = self.lowest()
        {
            self.lose_oldest(class);
        }
        self.lost.count() - before
    }

    fn take_apart(&mut self, write: Write, together: &mut Vec<Change>) {
        match write {
            Write::Append(Entry { bytes, made, .. }) if bytes.len() > MAX_RECORD => {
                together.push(Change::TooBig(made));
            }
            Write::Append(entry) => together.push(Change::Append(entry)),
            Write::Keep { slot, value } => together.push(Change::Keep(slot, value)),
            Write::Together(writes) => {
                for write in writes {
                    self.take_apart(write, together);
                }
            }
            Write::Erase { who, judge, reply } => {
                self.push(Task::Change(std::mem::take(together)));
                self.push(Task::Erase(Order { who, judge, reply }));
            }
        }
    }

    fn push(&mut self, task: Task) {
        if let Task::Change(changes) = &task {
            if changes.is_empty() {
                return;
            }
            for change in changes {
                self.weigh(change, true);
            }
        }
        self.tasks.push_back(task);
    }

    fn weigh(&mut self, change: &Change, comes: bool) {
        let class = match change {
            Change::Append(entry) => entry.class as usize,
            // Nothing is known of it any more; it weighs as the least.
            Change::TooBig(_) => Class::Count as usize,
            Change::Keep(..) | Change::Remove(..) | Change::Lost(_) => usize::MAX,
        };
        let bytes = u64::try_from(weight(change)).unwrap_or(u64::MAX);
        let mut nobody = 0;
        let records = self.classes.get_mut(class).unwrap_or(&mut nobody);
        if comes {
            *records = records.saturating_add(1);
            self.bytes = self.bytes.saturating_add(bytes);
        } else {
            *records = records.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    fn is_too_much(&self) -> bool {
        let held = self.held();
        held.records > self.most.records || held.bytes > self.most.bytes
    }

    /// The least valuable class of which there is any.
    fn lowest(&self) -> Option<Class> {
        let classes = Class::ALL.into_iter().zip(self.classes).rev();
        classes.filter(|(_, records)| *records > 0).map(|(class, _)| class).next()
    }

    /// Lets go of values that a later one replaces. What is kept is never ahead of the records that
    /// it speaks of; should the power fail while all this is written, it may be behind them.
    fn forget_what_is_out_of_date(&mut self) {
        let mut later = BTreeSet::new();
        let mut freed = Vec::new();
        for task in self.tasks.iter_mut().rev() {
            let Task::Change(changes) = task else { continue };
            let mut kept: Vec<Change> = Vec::with_capacity(changes.len());
            for change in changes.drain(..).rev() {
                match &change {
                    Change::Keep(slot, _) if !later.insert(slot.clone()) => freed.push(change),
                    _ => kept.push(change),
                }
            }
            kept.reverse();
            *changes = kept;
        }
        for change in &freed {
            self.weigh(change, false);
        }
    }

    fn lose_oldest(&mut self, class: Class) {
        let is_one = |change: &Change| match change {
            Change::Append(entry) => entry.class == class,
            Change::TooBig(_) => class == Class::Count,
            _ => false,
        };
        let found = self.tasks.iter_mut().find_map(|task| match task {
            Task::Change(changes) => {
                let at = changes.iter().position(is_one)?;
                Some(changes.remove(at))
            }
            Task::Erase(_) => None,
        });
        let made = match &found {
            Some(Change::Append(entry)) => entry.made,
            Some(Change::TooBig(made)) => *made,
            _ => {
                // It was counted and is not there, which cannot be; counting anew ends it.
                if let Some(records) = self.classes.get_mut(class as usize) {
                    *records = 0;
                }
                return;
            }
        };
        if let Some(change) = &found {
            self.weigh(change, false);
        }
        let lost = Dropped::unnumbered(DropReason::Disk, 1);
        self.lost.absorb(&Dropped { first_made: made, last_made: made, ..lost });
    }
}

/// How many bytes a change has.
fn weight(change: &Change) -> usize {
    let bytes = match change {
        Change::Append(entry) => entry.bytes.len(),
        Change::Keep(slot, value) => slot.len() + value.as_ref().map_or(0, Vec::len),
        Change::TooBig(_) | Change::Remove(..) | Change::Lost(_) => 0,
    };
    bytes.saturating_add(WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ByteSize;

    fn backlog(records: u64) -> Backlog {
        let memory_bytes = ByteSize(100_000);
        Backlog::new(&Settings { memory_records: records, memory_bytes, ..Settings::default() })
    }

    fn entry(text: &str, class: Class) -> Entry {
        Entry { bytes: text.as_bytes().to_vec(), made: None, about: None, class }
    }

    fn append(text: &str, class: Class) -> Write {
        Write::Append(entry(text, class))
    }

    fn keep(slot: &str, value: u8) -> Write {
        Write::Keep { slot: slot.into(), value: Some(vec![value; 1000]) }
    }

    /// All that is left, record by record.
    fn left(backlog: &mut Backlog) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(task) = backlog.next() {
            let Task::Change(changes) = task else {
                all.push("erase".to_owned());
                continue;
            };
            for change in changes {
                all.push(match change {
                    Change::Append(entry) => String::from_utf8(entry.bytes).unwrap(),
                    Change::Keep(slot, value) => {
                        format!("{}={}", String::from_utf8(slot).unwrap(), value.unwrap()[0])
                    }
                    Change::Lost(dropped) => format!("{} lost", dropped.count()),
                    other => format!("{other:?}"),
                });
            }
        }
        assert_eq!(backlog.held(), Pending::default());
        all
    }

    #[test]
    fn what_waits_comes_out_as_it_came_in_and_erasures_in_their_turn() {
        let mut backlog = backlog(100);
        backlog.put(append("a", Class::Presence));
        let (reply, _answer) = oneshot::channel();
        let judge = Judge::new(|_: &[u8]| crate::outbox::Verdict::Keep);
        let erase = Write::Erase { who: None, judge, reply };
        backlog.put(Write::Together(vec![
            append("b", Class::Presence),
            keep("x", 1),
            erase,
            append("c", Class::Count),
        ]));
        assert_eq!(backlog.held().records, 3);
        assert_eq!(left(&mut backlog), ["a", "b", "x=1", "erase", "c"]);
    }

    #[test]
    fn the_oldest_of_the_lowest_class_goes_first_and_is_counted() {
        let mut backlog = backlog(3);
        for (text, class) in [
            ("a", Class::Count),
            ("b", Class::Gateway),
            ("c", Class::Presence),
            ("d", Class::Count),
            ("e", Class::Presence),
            ("f", Class::Presence),
        ] {
            backlog.put(append(text, class));
            backlog.trim();
        }
        assert_eq!(left(&mut backlog), ["3 lost", "b", "e", "f"]);
    }

    #[test]
    fn values_that_were_replaced_go_before_any_record_does() {
        let mut backlog = backlog(100);
        for n in 0..100 {
            backlog.put(Write::Together(vec![
                append(&n.to_string(), Class::Presence),
                keep("x", n),
                keep(if n % 2 == 0 { "y" } else { "z" }, n),
            ]));
            assert_eq!(backlog.trim(), 0);
            assert!(backlog.held().bytes <= 100_000);
        }
        let left = left(&mut backlog);
        let records = left.iter().filter(|text| !text.contains('=')).count();
        assert_eq!((records, left.last().unwrap().as_str()), (100, "z=99"));
    }

    #[test]
    fn however_much_comes_in_memory_stays_bounded() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut backlog = backlog(1000);
        let (mut given, mut lost) = (0, 0);
        for n in 0..5000 {
            let class = *random.choice(&Class::ALL).unwrap();
            backlog.put(append(&"x".repeat(random.usize(0..3000)), class));
            given += 1;
            lost += backlog.trim();
            let held = backlog.held();
            assert!(held.records <= 1000 && held.bytes <= 100_000, "after {n}: {held:?}");
            assert_eq!(held.records + lost, given);
        }
    }
}

//! Parts of snapshots in, in any order; whole snapshots out. Bounded in number and in subjects.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::change::{Part, RefusedEntry, twice};
use crate::engine::Subject;

/// How many snapshots may be incomplete at once: that many gateways of a shop may have asked.
const MOST_AT_ONCE: usize = 4;

/// How many subjects may wait in incomplete snapshots: more than twice what a chain's programme
/// has, so that two can be under way.
const MOST_SUBJECTS: usize = 250_000;

/// Snapshots that are not complete yet.
#[derive(Default)]
pub(super) struct Collector {
    collections: Vec<Collection>,
}

/// What is there of one snapshot.
struct Collection {
    snapshot: String,
    number: u64,
    parts: u32,
    /// By the number of the part, from 1.
    here: BTreeMap<u32, Vec<Subject>>,
    refused: Vec<RefusedEntry>,
}

/// What a part led to.
pub(super) enum Collected {
    /// The snapshot is complete: who is enrolled, and which entries were wrong.
    Whole(Vec<Subject>, Vec<RefusedEntry>),
    /// So many parts are still missing.
    Missing(u32),
    /// It is more than any registry, or its parts contradict each other. It is forgotten.
    Impossible,
}

impl Collector {
    /// Takes a part of the snapshot of a number.
    pub(super) fn collect(&mut self, number: u64, part: Part) -> Collected {
        let Part { snapshot, index: part, of: parts, subjects, refused } = part;
        let same = |it: &Collection| it.number == number && it.snapshot == snapshot;
        let index = self.collections.iter().position(same).unwrap_or_else(|| {
            if self.collections.len() >= MOST_AT_ONCE {
                // The oldest is the least likely to be completed.
                self.collections.remove(0);
            }
            let (here, refused) = (BTreeMap::new(), Vec::new());
            let snapshot = snapshot.clone();
            self.collections.push(Collection { snapshot, number, parts, here, refused });
            self.collections.len() - 1
        });
        let Some(collection) = self.collections.get_mut(index) else {
            return Collected::Impossible;
        };
        if collection.parts != parts {
            self.collections.remove(index);
            return Collected::Impossible;
        }
        if let Entry::Vacant(place) = collection.here.entry(part) {
            place.insert(subjects);
            collection.refused.extend(refused);
        }
        let here = u32::try_from(collection.here.len()).unwrap_or(u32::MAX);
        if here < parts {
            return self.bounded(number, &snapshot, parts - here);
        }
        let Collection { here, refused, .. } = self.collections.remove(index);
        let (subjects, refused) = join(here, refused);
        if subjects.len() > MOST_SUBJECTS {
            return Collected::Impossible;
        }
        Collected::Whole(subjects, refused)
    }

    /// Forgets what has become older than what is in force.
    pub(super) fn forget_up_to(&mut self, number: u64) {
        self.collections.retain(|collection| collection.number > number);
    }

    /// Forgets everything: what is missing is not coming.
    pub(super) fn clear(&mut self) {
        self.collections.clear();
    }

    /// Makes room by forgetting the other snapshots, oldest first; if even that is not enough, it
    /// is this one that is too large.
    fn bounded(&mut self, number: u64, snapshot: &str, missing: u32) -> Collected {
        while self.subjects() > MOST_SUBJECTS {
            let other = |it: &Collection| it.number != number || it.snapshot != snapshot;
            let Some(index) = self.collections.iter().position(other) else {
                self.collections.clear();
                return Collected::Impossible;
            };
            self.collections.remove(index);
        }
        Collected::Missing(missing)
    }

    fn subjects(&self) -> usize {
        self.collections.iter().flat_map(|it| it.here.values()).map(Vec::len).sum()
    }
}

/// Joins the parts. Who is in two of them counts once, by the first.
fn join(
    here: BTreeMap<u32, Vec<Subject>>,
    mut refused: Vec<RefusedEntry>,
) -> (Vec<Subject>, Vec<RefusedEntry>) {
    let mut seen = BTreeSet::new();
    let mut subjects = Vec::with_capacity(here.values().map(Vec::len).sum());
    for subject in here.into_values().flatten() {
        if seen.insert(subject.pseudonym.clone()) {
            subjects.push(subject);
        } else {
            refused.push(twice(subject.pseudonym));
        }
    }
    (subjects, refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Identifier, Pseudonym, SubjectKind};

    fn part(snapshot: &str, index: u32, of: u32, subjects: &[&str]) -> Part {
        let subjects = subjects.iter().map(|name| Subject {
            pseudonym: Pseudonym::new(name),
            kind: SubjectKind::Asset,
            identifiers: vec![Identifier::Address([0; 6])],
            consent: None,
        });
        let (snapshot, subjects) = (snapshot.to_owned(), subjects.collect());
        Part { snapshot, index, of, subjects, refused: Vec::new() }
    }

    fn names(collected: Collected) -> Vec<String> {
        match collected {
            Collected::Whole(subjects, _) => {
                subjects.iter().map(|it| it.pseudonym.to_string()).collect()
            }
            Collected::Missing(parts) => vec![format!("{parts} missing")],
            Collected::Impossible => vec!["impossible".to_owned()],
        }
    }

    #[test]
    fn parts_come_in_any_order_and_twice_and_make_one_whole() {
        let mut collector = Collector::default();
        assert_eq!(names(collector.collect(7, part("s", 3, 3, &["c"]))), ["2 missing"]);
        assert_eq!(names(collector.collect(7, part("s", 3, 3, &["x"]))), ["2 missing"]);
        assert_eq!(names(collector.collect(7, part("s", 1, 3, &["a"]))), ["1 missing"]);
        assert_eq!(names(collector.collect(7, part("s", 2, 3, &["b"]))), ["a", "b", "c"]);
        assert_eq!(names(collector.collect(7, part("s", 2, 3, &["b"]))), ["2 missing"]);
    }

    #[test]
    fn snapshots_that_come_mixed_do_not_disturb_each_other() {
        let mut collector = Collector::default();
        collector.collect(7, part("s", 1, 2, &["a"]));
        collector.collect(7, part("t", 1, 2, &["a"]));
        collector.collect(8, part("s", 1, 2, &["a"]));
        assert_eq!(names(collector.collect(7, part("t", 2, 2, &["b"]))), ["a", "b"]);
        assert_eq!(names(collector.collect(8, part("s", 2, 2, &["c"]))), ["a", "c"]);
        collector.forget_up_to(7);
        assert_eq!(names(collector.collect(7, part("s", 2, 2, &["b"]))), ["1 missing"]);
    }

    #[test]
    fn who_stands_in_two_parts_counts_once() {
        let mut collector = Collector::default();
        collector.collect(7, part("s", 1, 2, &["a", "b"]));
        let Collected::Whole(subjects, refused) = collector.collect(7, part("s", 2, 2, &["b"]))
        else {
            panic!("it is complete");
        };
        assert_eq!(subjects.len(), 2);
        assert_eq!(refused, [twice(Pseudonym::new("b"))]);
    }

    #[test]
    fn what_contradicts_itself_or_never_ends_is_forgotten() {
        let mut collector = Collector::default();
        collector.collect(7, part("s", 1, 2, &["a"]));
        assert_eq!(names(collector.collect(7, part("s", 2, 3, &["b"]))), ["impossible"]);
        assert_eq!(collector.subjects(), 0);
        for number in 0..100 {
            collector.collect(number, part("s", 1, 2, &["a"]));
        }
        assert_eq!(collector.collections.len(), MOST_AT_ONCE);
        let many: Vec<&str> = vec!["a"; MOST_SUBJECTS];
        assert_eq!(names(collector.collect(200, part("s", 1, 3, &many))), ["2 missing"]);
        assert_eq!(collector.collections.len(), 1, "the others made room");
        assert_eq!(names(collector.collect(200, part("s", 2, 3, &["b"]))), ["impossible"]);
        assert_eq!(collector.subjects(), 0);
    }
}

//! Both journals against a model that is two maps: what is, and what a power cut would leave.

use std::collections::{BTreeMap, BTreeSet};

use beacon_gateway::{
    clock::Clock,
    engine::UnixTime,
    outbox::{
        Class, DropReason, Dropped, Durability, Entry, Held, Journal, Kept, MemoryJournal, Pending,
        Scrub, Sequence, SledJournal, Standing, StoreOptions, Tag,
    },
};

#[test]
fn the_journal_in_memory_is_what_the_model_says_at_every_step() {
    for seed in 0..100 {
        compare(MemoryJournal::default(), 400, seed, |mut journal| {
            journal.cut_power();
            journal
        });
    }
}

#[test]
fn the_journal_on_disk_is_what_the_model_says_at_every_step() {
    for seed in 0..12 {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            let mut options = StoreOptions::with_cache(1 << 20);
            // So small that every emptied store is replaced.
            options.shrink_above = 1;
            options.durability = Durability::AfterFlush;
            SledJournal::open(directory.path(), options, Clock::start()).unwrap().journal
        };
        compare(open(), 250, seed, |journal| {
            // What was not synced is only in memory.
            drop(journal);
            open()
        });
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    last: u64,
    records: BTreeMap<u64, Held>,
    kept: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Debug, Default)]
struct Model {
    is: State,
    durable: State,
}

impl Model {
    fn oldest(&self, after: u64, limit: usize) -> Vec<Held> {
        let records = self.durable.records.range(after + 1..);
        // Without what is about to go, and with the bytes that it is about to have.
        let shown = records.filter_map(|(sequence, _)| self.is.records.get(sequence));
        shown.take(limit).cloned().collect()
    }

    fn oldest_about(&self, who: &BTreeSet<Tag>, after: u64, limit: usize) -> Vec<Held> {
        let about = |held: &Held| who.iter().any(|tag| held.about == Some(*tag).into());
        let mut records = self.oldest(after, usize::MAX);
        records.retain(about);
        records.truncate(limit);
        records
    }

    fn kept(&self) -> Vec<Kept> {
        let kept = self.durable.kept.clone().into_iter();
        kept.map(|(slot, value)| Kept { slot, value }).collect()
    }

    fn pending(&self) -> Pending {
        let bytes = self.is.records.values().map(|held| held.bytes.len() as u64).sum();
        Pending { records: self.is.records.len() as u64, bytes }
    }
}

/// Makes the same random steps on both and compares all that can be seen after each.
fn compare<J: Journal>(journal: J, steps: u32, seed: u64, mut cut_power: impl FnMut(J) -> J) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model = Model::default();
    let mut journal = journal;
    for step in 0..steps {
        let at = format!("seed {seed}, step {step}");
        match random.u8(0..24) {
            0..8 => append(&mut journal, &mut model, &mut random, &at),
            8..13 => {
                // Also ones that are gone, or were never there.
                let sequence = random.u64(0..model.is.last + 3);
                let removed = journal.remove(Sequence(sequence)).unwrap();
                assert_eq!(removed, model.is.records.remove(&sequence).is_some(), "{at}");
            }
            13..15 => {
                let slot = vec![random.u8(0..5)];
                let value = random.bool().then(|| vec![random.u8(..); random.usize(0..50)]);
                journal.keep(slot.clone(), value.clone()).unwrap();
                match value {
                    Some(value) => model.is.kept.insert(slot, value),
                    None => model.is.kept.remove(&slot),
                };
            }
            15..18 => {
                let last = journal.sync().unwrap();
                model.durable = model.is.clone();
                assert_eq!(last.map_or(0, |last| last.0), model.durable.last, "{at}");
            }
            18 => {
                for sequence in model.is.records.keys() {
                    assert!(journal.remove(Sequence(*sequence)).unwrap(), "{at}");
                }
                model.is.records.clear();
            }
            19..21 => {
                let sequence = random.u64(0..model.is.last + 3);
                let bytes = vec![random.u8(..); random.usize(0..200)];
                let replaced = journal.replace(Sequence(sequence), bytes.clone()).unwrap();
                let held = model.is.records.get_mut(&sequence);
                assert_eq!(replaced, held.is_some(), "{at}");
                if let Some(held) = held {
                    held.bytes = bytes;
                }
            }
            21 => journal.owe_scrub(),
            22 => {
                // So few records are one part.
                assert_eq!(journal.scrub().unwrap(), Scrub::Done, "{at}");
                assert!(!journal.owes_scrub(), "{at}");
            }
            _ => {
                journal = cut_power(journal);
                model.is = model.durable.clone();
            }
        }
        let (after, limit) = (random.u64(0..=model.is.last), random.usize(0..40));
        let oldest = journal.oldest(Some(Sequence(after)), limit).unwrap();
        assert_eq!(oldest, model.oldest(after, limit), "{at}");
        assert_eq!(journal.oldest(None, usize::MAX).unwrap(), model.oldest(0, usize::MAX), "{at}");
        let who = (0..random.u64(0..3)).map(|_| Tag(random.u64(0..4) << 40)).collect();
        let about = journal.oldest_about(&who, Some(Sequence(after)), limit).unwrap();
        assert_eq!(about, model.oldest_about(&who, after, limit), "{at}");
        assert_eq!(journal.kept().unwrap(), model.kept(), "{at}");
        assert_eq!(journal.pending(), model.pending(), "{at}");
        assert_eq!(journal.epoch(), 1, "{at}");
    }
}

fn append<J: Journal>(journal: &mut J, model: &mut Model, random: &mut fastrand::Rng, at: &str) {
    let bytes = vec![random.u8(..); random.usize(0..200)];
    let made = random.bool().then(|| UnixTime::from_millis(random.i64(-5..5)));
    let notice = (random.u8(..) < 30).then(|| {
        let mut dropped = Dropped::none(*random.choice(&DropReason::ALL).unwrap());
        for _ in 0..random.usize(0..64) {
            let first = random.u64(..1 << 50);
            dropped.ranges.add_range(Sequence(first), Sequence(first + random.u64(..1 << 20)));
        }
        dropped.unnumbered = random.u64(..1 << 50);
        dropped.first_made = made;
        dropped
    });
    let about = random.bool().then(|| Tag(random.u64(0..4) << 40));
    let entry = Entry { bytes: bytes.clone(), made, about, class: Class::Presence };
    let sequence = journal.append(entry, notice.clone()).unwrap();
    model.is.last += 1;
    assert_eq!(sequence.0, model.is.last, "{at}");
    let held = Held {
        sequence,
        made,
        notice,
        about: about.into(),
        class: Class::Presence,
        standing: Standing::Pending,
        bytes,
    };
    model.is.records.insert(sequence.0, held);
}

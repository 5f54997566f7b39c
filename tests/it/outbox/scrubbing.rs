//! What is left in the files of a store of what was in it once: after a scrub, nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use beacon_gateway::{
    clock::Clock,
    outbox::{Class, Durability, Entry, Journal, Scrub, Sequence, SledJournal, StoreOptions, Tag},
};

const OPTIONS: StoreOptions = StoreOptions {
    cache: 1 << 20,
    durability: Durability::AfterFlush,
    shrink_above: 64 << 20,
    first_epoch: 1,
};

fn open(dir: &Path) -> SledJournal {
    SledJournal::open(dir, OPTIONS, Clock::start()).unwrap().journal
}

fn entry(who: &str, n: usize) -> Entry {
    let text = format!("about {who}, number {n} {}", ".".repeat(300));
    Entry {
        bytes: text.into_bytes(),
        made: None,
        about: Some(Tag::of(who)),
        class: Class::Presence,
    }
}

/// Appends records about four people in turn.
fn fill(journal: &mut SledJournal, records: usize) {
    for (n, who) in (0..records).zip(["ada", "bob", "eve", "kim"].into_iter().cycle()) {
        journal.append(entry(who, n), None).unwrap();
        if n % 100 == 99 {
            journal.sync().unwrap();
        }
    }
    journal.sync().unwrap();
}

fn about(journal: &mut SledJournal, who: &str) -> Vec<Sequence> {
    let who = BTreeSet::from([Tag::of(who)]);
    let held = journal.oldest_about(&who, None, usize::MAX).unwrap();
    held.into_iter().map(|held| held.sequence).collect()
}

/// Removes what is about somebody for good.
fn erase(journal: &mut SledJournal, who: &str) {
    for sequence in about(journal, who) {
        assert!(journal.remove(sequence).unwrap());
    }
    journal.owe_scrub();
    journal.sync().unwrap();
}

/// Scrubs to the end, and says in how many parts.
fn scrub(journal: &mut SledJournal) -> usize {
    let parts = std::iter::repeat_with(|| journal.scrub().unwrap());
    parts.take_while(|part| *part == Scrub::Underway).count() + 1
}

/// In how many files below a directory a text is found.
pub(super) fn files_with(dir: &Path, text: &str) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        found += if path.is_dir() {
            files_with(&path, text)
        } else {
            let bytes = fs::read(&path).unwrap();
            usize::from(String::from_utf8_lossy(&bytes).contains(text))
        };
    }
    found
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn nothing_that_is_said_about_anybody_lies_in_the_files_in_clear() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let mut journal = open(dir);
    fill(&mut journal, 300);
    let customer = b"visit/customer-7f".to_vec();
    journal.keep(customer.clone(), Some(b"about customer-7f".to_vec())).unwrap();
    journal.sync().unwrap();
    // Words so long that what is sealed does not spell them by chance.
    for word in ["customer-7f", "about ada", "about", "number", "visit", "......"] {
        assert_eq!(files_with(dir, word), 0, "{word}");
    }
    let tag = Tag::of("ada").0.to_be_bytes();
    let log = fs::read(dir.join("store-1/db")).unwrap();
    assert!(!log.windows(8).any(|bytes| bytes == tag), "nor a hash that others can compute");
    // The same name has another place in every store.
    assert_eq!(journal.kept().unwrap()[0].slot, customer);
}

#[test]
fn what_was_removed_is_in_the_files_until_they_are_scrubbed_and_then_nothing_opens_it() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let mut journal = open(dir);
    fill(&mut journal, 2000);
    journal.keep(b"visit/ada".to_vec(), Some(b"about ada".to_vec())).unwrap();
    journal.keep(b"visit/bob".to_vec(), Some(b"about bob".to_vec())).unwrap();
    journal.sync().unwrap();
    // Some of it was sent long ago.
    for sequence in 1..=400 {
        journal.remove(Sequence(sequence)).unwrap();
    }
    journal.keep(b"visit/ada".to_vec(), None).unwrap();
    journal.sync().unwrap();
    erase(&mut journal, "ada");
    assert!(journal.owes_scrub());
    let thief = tempfile::tempdir().unwrap();
    copy_tree(dir, thief.path());

    let parts = scrub(&mut journal);
    assert!(parts >= 2, "1,200 records in {parts} parts");
    assert!(!journal.owes_scrub());
    // Whoever brings the old store back, as cards keep copies of what was deleted, has no use for
    // it: neither the key of the gateway nor that of the present store opens it.
    assert_eq!(open(thief.path()).pending().records, 1200, "as long as its key is there it opens");
    fs::copy(dir.join("store-2.sealed-key"), thief.path().join("store-1.sealed-key")).unwrap();
    let opened = SledJournal::open(thief.path(), OPTIONS, Clock::start()).unwrap();
    assert!(opened.quarantined.is_some());
    assert_eq!((opened.journal.pending().records, opened.missing), (0, 0));
    assert!(!dir.join("store-1").exists() && dir.join("store-2").exists());
    let expected: Vec<Sequence> =
        (401..=2000).filter(|sequence| sequence % 4 != 1).map(Sequence).collect();
    for _ in 0..2 {
        let held = journal.oldest(None, usize::MAX).unwrap();
        assert_eq!(held.iter().map(|held| held.sequence).collect::<Vec<_>>(), expected);
        assert_eq!(journal.sync().unwrap(), Some(Sequence(2000)));
        assert_eq!(journal.kept().unwrap().len(), 1);
        assert_eq!(about(&mut journal, "bob").len(), 400);
        assert_eq!(journal.pending().records, 1200);
        drop(journal);
        journal = open(dir);
    }
}

#[test]
fn what_is_committed_between_two_parts_is_in_the_new_store_too() {
    for seed in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = open(directory.path());
        fill(&mut journal, 3000);
        erase(&mut journal, "eve");
        let held = journal.oldest(None, usize::MAX).unwrap();
        let mut model: BTreeMap<Sequence, Vec<u8>> =
            held.into_iter().map(|held| (held.sequence, held.bytes)).collect();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut last = 3000;
        while journal.scrub().unwrap() == Scrub::Underway {
            for _ in 0..random.usize(1..200) {
                let sequence = Sequence(random.u64(1..=last));
                match random.u8(0..4) {
                    0 => {
                        let entry = entry("kim", 1);
                        model.insert(Sequence(last + 1), entry.bytes.clone());
                        last = journal.append(entry, None).unwrap().0;
                    }
                    1 => {
                        let replaced = journal.replace(sequence, vec![b'r'; 50]).unwrap();
                        let known = model.get_mut(&sequence);
                        assert_eq!(replaced, known.is_some());
                        if let Some(bytes) = known {
                            *bytes = vec![b'r'; 50];
                        }
                    }
                    2 => {
                        let removed = journal.remove(sequence).unwrap();
                        assert_eq!(removed, model.remove(&sequence).is_some());
                    }
                    _ => journal.keep(vec![random.u8(0..3)], Some(vec![7])).unwrap(),
                }
            }
            journal.sync().unwrap();
            assert!(journal.owes_scrub());
        }
        let kept = journal.kept().unwrap();
        assert!(directory.path().join("store-2").exists() && !kept.is_empty());
        for _ in 0..2 {
            let held = journal.oldest(None, usize::MAX).unwrap();
            let held: BTreeMap<_, _> =
                held.into_iter().map(|held| (held.sequence, held.bytes)).collect();
            assert!(held == model, "seed {seed}");
            assert_eq!(journal.pending().records, model.len() as u64);
            assert_eq!((journal.kept().unwrap(), journal.owes_scrub()), (kept.clone(), false));
            assert_eq!(journal.sync().unwrap(), Some(Sequence(last)));
            drop(journal);
            journal = open(directory.path());
        }
    }
}

#[test]
fn what_is_erased_while_a_scrub_is_under_way_is_owed_again_and_gone_after_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let mut journal = open(dir);
    fill(&mut journal, 3000);
    erase(&mut journal, "ada");
    assert_eq!(journal.scrub().unwrap(), Scrub::Underway);
    erase(&mut journal, "bob");
    scrub(&mut journal);
    assert!(journal.owes_scrub(), "some had been copied");
    scrub(&mut journal);
    assert!(!journal.owes_scrub());
    assert!(dir.join("store-3").exists() && !dir.join("store-2.sealed-key").exists());
}

#[test]
fn the_debt_outlives_the_process_and_an_unfinished_scrub_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let mut journal = open(dir);
    fill(&mut journal, 2000);
    erase(&mut journal, "ada");
    assert_eq!(journal.scrub().unwrap(), Scrub::Underway);
    assert!(dir.join("new").exists());
    drop(journal);
    let mut journal = open(dir);
    assert!(journal.owes_scrub() && !dir.join("new").exists());
    scrub(&mut journal);
    drop(journal);
    let journal = open(dir);
    assert!(!journal.owes_scrub());
    assert_eq!(journal.pending().records, 1500);
    assert!(!dir.join("store-1.sealed-key").exists());
}

#[test]
fn a_store_from_which_nothing_was_ever_removed_owes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    fill(&mut journal, 10);
    erase(&mut journal, "ada");
    scrub(&mut journal);
    // The same order once more: nothing is erased, and nothing was left of it.
    erase(&mut journal, "ada");
    assert!(!journal.owes_scrub());
    erase(&mut journal, "bob");
    assert!(journal.owes_scrub());
}

#[test]
fn stores_that_were_set_aside_go_with_a_scrub_because_nobody_knows_whom_they_are_about() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let mut journal = open(dir);
    fill(&mut journal, 10);
    fs::create_dir(dir.join("corrupt-17")).unwrap();
    fs::write(dir.join("corrupt-17/db"), b"about ada").unwrap();
    fs::write(dir.join("corrupt-17.sealed-key"), b"its key").unwrap();
    erase(&mut journal, "ada");
    scrub(&mut journal);
    assert!(!dir.join("corrupt-17").exists() && !dir.join("corrupt-17.sealed-key").exists());
    assert_eq!(files_with(dir, "about ada"), 0);
}

//! What lies in the log of a store, seen with its key and past all that says what counts.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
};

use crate::{
    clock::Clock,
    outbox::{
        Class, Durability, Entry, Journal, OutboxError, Scrub, Sequence, SledJournal, StoreOptions,
    },
    seal::KeySource,
};

use super::{frame::Spot, salvage};

const OPTIONS: StoreOptions = StoreOptions {
    cache: 1 << 20,
    durability: Durability::AfterFlush,
    shrink_above: 64 << 20,
    first_epoch: 1,
};

fn open(dir: &Path) -> SledJournal {
    SledJournal::open(dir, OPTIONS, Clock::start()).unwrap().journal
}

fn append(journal: &mut SledJournal, count: usize) {
    for n in 0..count {
        let bytes = format!("number {n} {}", ".".repeat(n % 300)).into_bytes();
        let entry = Entry { bytes, made: None, about: None, class: Class::Presence };
        journal.append(entry, None).unwrap();
        if n % 50 == 49 {
            journal.sync().unwrap();
        }
    }
    journal.sync().unwrap();
}

/// The sequences of all records that can be found in the log of a store, whether they still count
/// or not.
fn in_log(dir: &Path, number: u64) -> Vec<u64> {
    let keys = KeySource::new(dir, None);
    let key = keys.unwrap(&dir.join(format!("store-{number}.sealed-key"))).unwrap().unwrap();
    let log = dir.join(format!("store-{number}/db"));
    let carved = salvage::carve(&log, key).unwrap();
    carved.sequences().map(|sequence| sequence.0).collect()
}

#[test]
fn a_removed_record_is_in_the_log_until_it_is_scrubbed_and_then_it_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let mut journal = open(dir);
    append(&mut journal, 1000);
    for sequence in (1..=1000).filter(|sequence| sequence % 3 == 0) {
        journal.remove(Sequence(sequence)).unwrap();
    }
    journal.owe_scrub();
    journal.sync().unwrap();
    assert_eq!(in_log(dir, 1), (1..=1000).collect::<Vec<_>>(), "they are all there");
    while journal.scrub().unwrap() == Scrub::Underway {}
    let left: Vec<u64> = (1..=1000).filter(|sequence| sequence % 3 > 0).collect();
    assert_eq!(in_log(dir, 2), left);
}

#[test]
fn slots_of_what_was_sent_are_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    append(&mut journal, 500);
    let slots = journal.volume.slots();
    for round in 0..20 {
        append(&mut journal, 500);
        for sequence in round * 500 + 1..=(round + 1) * 500 {
            assert!(journal.remove(Sequence(sequence)).unwrap());
        }
        journal.sync().unwrap();
    }
    assert_eq!(journal.pending().records, 500);
    assert!(
        journal.volume.slots() <= slots * 2 + 2,
        "{} slots, first {slots}",
        journal.volume.slots()
    );
    let held = journal.oldest(None, usize::MAX).unwrap();
    let sequences: Vec<u64> = held.iter().map(|held| held.sequence.0).collect();
    assert_eq!(sequences, (10_001..=10_500).collect::<Vec<_>>());
    drop(journal);
    assert_eq!(open(directory.path()).oldest(None, usize::MAX).unwrap(), held);
}

#[test]
fn a_block_that_does_not_open_costs_its_records_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let mut journal = open(dir);
    append(&mut journal, 300);
    // Not as sled would have it, which checks sums of its own: as somebody who writes with sled.
    let victim = journal.volume.index.get(Sequence(120)).unwrap().slot;
    let lost: Vec<Sequence> = journal.volume.index.in_slot(victim).collect();
    journal.volume.spoil(victim);
    let found = journal.oldest(None, usize::MAX).unwrap();
    assert_eq!(found.len() + lost.len(), 300);
    assert!(!found.iter().any(|held| lost.contains(&held.sequence)));
    assert_eq!(journal.pending().records, 300, "they count until they were told of");
    let damaged = journal.damaged().unwrap();
    assert_eq!(damaged, lost.iter().copied().collect());
    assert!(journal.damaged().unwrap().is_empty(), "it is told once");
    assert_eq!(journal.pending().records, found.len() as u64);
    // A power cut before the commit, and it is told again; after it, no more.
    drop(journal);
    for (told, commits) in [(lost.len(), false), (lost.len(), true), (0, true)] {
        let opened = SledJournal::open(dir, OPTIONS, Clock::start()).unwrap();
        assert_eq!((opened.quarantined, opened.missing), (None, told as u64));
        let mut journal = opened.journal;
        assert_eq!(journal.oldest(None, usize::MAX).unwrap(), found);
        assert_eq!(journal.damaged().unwrap().count(), told as u64);
        if commits {
            journal.sync().unwrap();
        }
    }
}

#[test]
fn damaged_records_do_not_stop_a_scrub_and_are_still_told_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    append(&mut journal, 300);
    let victim = journal.volume.index.get(Sequence(120)).unwrap().slot;
    let lost = journal.volume.index.in_slot(victim).count();
    journal.volume.spoil(victim);
    journal.remove(Sequence(1)).unwrap();
    journal.owe_scrub();
    journal.sync().unwrap();
    while journal.scrub().unwrap() == Scrub::Underway {}
    assert_eq!(journal.oldest(None, usize::MAX).unwrap().len() + lost, 299);
    assert_eq!(journal.pending().records + lost as u64, 299);
    assert_eq!(journal.damaged().unwrap().count(), lost as u64);
}

/// A store of a few hundred records in which some are removed and something is kept.
fn fill(dir: &Path) -> Vec<u64> {
    let mut journal = open(dir);
    append(&mut journal, 300);
    journal.keep(b"visit".to_vec(), Some(vec![7])).unwrap();
    for sequence in 1..=40 {
        journal.remove(Sequence(sequence)).unwrap();
    }
    journal.sync().unwrap();
    held(&mut journal)
}

fn held(journal: &mut SledJournal) -> Vec<u64> {
    journal.oldest(None, usize::MAX).unwrap().iter().map(|held| held.sequence.0).collect()
}

#[test]
fn what_a_power_cut_left_behind_the_end_is_neither_an_alarm_nor_a_loss() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let expected = fill(dir);
    // A segment that was being freed: its beginning is gone, some of it is not.
    let log = OpenOptions::new().write(true).open(dir.join("store-1/db")).unwrap();
    log.write_all_at(&[0x5a; 4096], 3 << 20).unwrap();
    let looked = SledJournal::open_existing(dir, KeySource::new(dir, None), OPTIONS);
    assert!(matches!(looked, Err(OutboxError::Damaged { .. })), "whoever looks changes nothing");
    for number in [2, 2] {
        let opened = SledJournal::open(dir, OPTIONS, Clock::start()).unwrap();
        assert_eq!((opened.quarantined, opened.missing), (None, 0));
        let mut journal = opened.journal;
        assert_eq!((journal.number, journal.epoch()), (number, 1));
        assert_eq!((held(&mut journal), journal.kept().unwrap().len()), (expected.clone(), 1));
    }
    assert!(!dir.join("store-1").exists() && !dir.join("store-1.sealed-key").exists());
}

#[test]
fn a_store_in_which_something_is_older_than_its_last_commit_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    fill(dir);
    let mut journal = open(dir);
    let before = journal.volume.raw(Spot::Standings(0));
    for sequence in 41..=200 {
        journal.remove(Sequence(sequence)).unwrap();
    }
    journal.sync().unwrap();
    let expected = held(&mut journal);
    // As if sled had forgotten the page.
    journal.volume.put_raw(Spot::Standings(0), before);
    drop(journal);
    let opened = SledJournal::open(dir, OPTIONS, Clock::start()).unwrap();
    assert!(opened.quarantined.is_some_and(|aside| aside.why.contains("last commit")));
    let mut journal = opened.journal;
    assert_eq!((held(&mut journal), journal.epoch()), (expected, 2));
    assert!(journal.damaged().unwrap().is_empty());
}

#[test]
fn a_salvage_that_a_power_cut_ended_is_done_again_or_was_done() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let expected = fill(dir);
    let log = dir.join("store-1/db");
    let file = OpenOptions::new().read(true).write(true).open(&log).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 3000).unwrap();
    // In the middle of a segment, with nearly everything behind it.
    file.write_all_at(&[!byte[0]], 3000).unwrap();
    let damaged = fs::read(&log).unwrap();
    let key = fs::read(dir.join("store-1.sealed-key")).unwrap();
    // Cut off before the fresh store had its name: what there is of it is worth nothing.
    fs::create_dir(dir.join("new")).unwrap();
    fs::write(dir.join("new/db"), b"half a store").unwrap();
    fs::write(dir.join("store-2.sealed-key"), b"half a key").unwrap();
    let opened = SledJournal::open(dir, OPTIONS, Clock::start()).unwrap();
    assert!(opened.quarantined.is_some());
    let (missing, mut journal) = (opened.missing, opened.journal);
    let saved = held(&mut journal);
    assert_eq!(saved.len() as u64 + missing, expected.len() as u64);
    assert!(missing < 60, "{missing} of one block");
    drop(journal);
    // Cut off before the old one was set aside.
    fs::create_dir(dir.join("store-1")).unwrap();
    fs::write(&log, damaged).unwrap();
    fs::write(dir.join("store-1.sealed-key"), key).unwrap();
    let opened = SledJournal::open(dir, OPTIONS, Clock::start()).unwrap();
    assert_eq!((opened.quarantined, opened.missing), (None, missing), "not told yet");
    assert_eq!(held(&mut { opened.journal }), saved);
    assert!(!dir.join("store-1").exists());
}

//! A byte of the log is changed, here and there: what is there is what was put in, and what is not is
//! told by its number.
//!
//! `DAMAGE_EVERY` (700000) says how many bytes lie between two places; 4096 takes an hour.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
};

use beacon_gateway::{
    clock::Clock,
    outbox::{
        Class, Durability, Entry, Journal, Opened, Sequence, SledJournal, Standing, StoreOptions,
    },
};

/// Fills about 5 MiB of log.
const RECORDS: u64 = 6_000;
const COMMIT: u64 = 60;

/// The first of these were delivered, and are gone.
const GONE: u64 = 1000;

fn open(dir: &Path) -> Opened<SledJournal> {
    let options =
        StoreOptions { durability: Durability::AfterFlush, ..StoreOptions::with_cache(1 << 20) };
    SledJournal::open(dir, options, Clock::start()).unwrap()
}

/// A record that follows from its number and cannot be squeezed.
fn bytes(sequence: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(sequence);
    (0..300).map(|_| random.u8(..)).collect()
}

fn fill(dir: &Path) {
    let mut journal = open(dir).journal;
    for sequence in 1..=RECORDS {
        let entry =
            Entry { bytes: bytes(sequence), made: None, about: None, class: Class::Presence };
        journal.append(entry, None).unwrap();
        if sequence > RECORDS - GONE {
            journal.remove(Sequence(sequence + GONE - RECORDS)).unwrap();
        }
        if sequence % COMMIT == 0 {
            journal.sync().unwrap();
        }
    }
    journal.sync().unwrap();
}

#[test]
fn a_changed_byte_anywhere_costs_what_it_hits_and_that_is_told() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path());
    let length = fs::metadata(directory.path().join("store-1/db")).unwrap().len();
    let every = std::env::var("DAMAGE_EVERY").ok().and_then(|text| text.parse().ok());
    let every: u64 = every.unwrap_or(700_000);
    let (mut aside, mut lost_most) = (0, 0);
    for place in (every / 2..length).step_by(usize::try_from(every).unwrap()) {
        let copy = tempfile::tempdir().unwrap();
        let dir = copy.path();
        copy_tree(directory.path(), dir);
        let log = OpenOptions::new().read(true).write(true).open(dir.join("store-1/db")).unwrap();
        let mut byte = [0];
        log.read_exact_at(&mut byte, place).unwrap();
        log.write_all_at(&[byte[0] ^ 0x40], place).unwrap();
        drop(log);

        let Opened { mut journal, quarantined, missing } = open(dir);
        let held = journal.oldest(None, usize::MAX).unwrap();
        for held in &held {
            assert_eq!(held.bytes, bytes(held.sequence.0), "at {place}");
            assert_eq!(held.standing, Standing::Pending, "at {place}");
            assert_eq!(journal.epoch_of(held.sequence), 1, "at {place}");
        }
        let mut known: BTreeSet<u64> = held.iter().map(|held| held.sequence.0).collect();
        let lost = journal.damaged().unwrap();
        assert_eq!(lost.count(), missing, "at {place}");
        for (first, last) in lost.iter() {
            known.extend(first.0..=last.0);
        }
        // The last commit may be the one that never was; and where the newest word about what is
        // gone was hit, something is there again.
        let unknown = (GONE + 1..=RECORDS - COMMIT).filter(|sequence| !known.contains(sequence));
        assert_eq!(unknown.count(), 0, "at {place}: nobody knows where they are");
        assert!(known.first() > Some(&(GONE - COMMIT)), "at {place}: {:?}", known.first());
        aside += u64::from(quarantined.is_some());
        lost_most = lost_most.max(missing);
    }
    assert!(lost_most < 200, "one byte cost {lost_most} records");
    // The test is of use: some bytes do stop sled.
    assert!(aside > 0);
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

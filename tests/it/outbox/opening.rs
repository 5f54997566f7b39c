//! Stores that are damaged, foreign, too new, in use or full of old snapshots.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use beacon_gateway::{
    clock::Clock,
    outbox::{
        About, Class, Durability, Entry, Journal, Opened, OutboxError, Sequence, SledJournal,
        Standing, StoreOptions, Tag,
    },
};

const OPTIONS: StoreOptions = StoreOptions {
    cache: 1 << 20,
    durability: Durability::AfterFlush,
    shrink_above: 64 << 20,
    first_epoch: 1,
};

fn open(dir: &Path) -> Result<Opened<SledJournal>, OutboxError> {
    SledJournal::open(dir, OPTIONS, Clock::start())
}

/// Appends `count` records and closes the store.
fn fill(dir: &Path, count: usize) {
    let mut journal = open(dir).unwrap().journal;
    for n in 0..count {
        // What cannot be squeezed, so that there is something to damage.
        let mut random = fastrand::Rng::with_seed(n as u64);
        let rest: String = (0..400).map(|_| random.alphanumeric()).collect();
        let bytes = format!("record {n} x{rest}").into_bytes();
        journal
            .append(Entry { bytes, made: None, about: None, class: Class::Presence }, None)
            .unwrap();
        if n % 100 == 99 {
            journal.sync().unwrap();
        }
    }
    journal.sync().unwrap();
}

fn held(journal: &mut SledJournal) -> Vec<u64> {
    journal.oldest(None, usize::MAX).unwrap().iter().map(|held| held.sequence.0).collect()
}

fn log(dir: &Path) -> PathBuf {
    dir.join("store-1/db")
}

/// Overwrites a part of the log with rubbish.
fn damage(dir: &Path, from: u64, length: usize) {
    let log = OpenOptions::new().write(true).open(log(dir)).unwrap();
    log.write_all_at(&vec![0x5a; length], from).unwrap();
}

fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("store-1")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("/snap.")).collect()
}

fn aside(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("corrupt-") && !name.ends_with("-key")).count()
}

#[test]
fn a_store_is_as_it_was_left() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("state/outbox");
    fill(&dir, 250);
    let Opened { mut journal, quarantined, .. } = open(&dir).unwrap();
    assert_eq!(quarantined, None);
    assert_eq!(held(&mut journal), (1..=250).collect::<Vec<_>>());
    assert_eq!((journal.epoch(), journal.sync().unwrap()), (1, Some(Sequence(250))));
}

#[test]
fn an_emptied_store_goes_on_counting() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 20);
    let mut journal = open(directory.path()).unwrap().journal;
    for sequence in held(&mut journal) {
        assert!(journal.remove(Sequence(sequence)).unwrap());
    }
    journal.sync().unwrap();
    drop(journal);
    let mut journal = open(directory.path()).unwrap().journal;
    let next = journal
        .append(Entry { bytes: vec![1], made: None, about: None, class: Class::Presence }, None)
        .unwrap();
    assert_eq!(next, Sequence(21));
}

#[test]
fn a_store_that_cannot_be_read_is_set_aside_and_a_fresh_epoch_begun() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    fill(dir, 5000);
    let length = fs::metadata(log(dir)).unwrap().len();
    damage(dir, 0, usize::try_from(length / 2).unwrap());
    let Opened { mut journal, quarantined, missing } = open(dir).unwrap();
    let quarantined = quarantined.unwrap();
    assert!(quarantined.path.join("db").exists() && !quarantined.why.is_empty());
    assert_eq!(journal.epoch(), 2);
    let saved = held(&mut journal);
    assert!(!saved.is_empty(), "half of it was whole");
    // sled writes where there is room, so the newest part of the log may lie anywhere.
    let newest = journal.sync().unwrap().unwrap().0;
    assert_eq!(saved.len() as u64 + missing, newest);
    assert!((2500..=5000).contains(&newest), "{newest}");
    let lost = journal.damaged().unwrap();
    assert_eq!(lost.count(), missing);
    assert!(saved.iter().all(|sequence| !lost.contains(Sequence(*sequence))));
    // What was saved is what it was, under its old numbers; new ones lie behind them.
    for held in journal.oldest(None, usize::MAX).unwrap() {
        let begin = format!("record {} x", held.sequence.0 - 1);
        assert!(held.bytes.starts_with(begin.as_bytes()));
        assert_eq!(journal.epoch_of(held.sequence), 1);
    }
    let first = journal
        .append(Entry { bytes: vec![1], made: None, about: None, class: Class::Presence }, None)
        .unwrap();
    assert_eq!((first, journal.epoch_of(first)), (Sequence(newest + 1), 2));
    journal.sync().unwrap();
    drop(journal);
    let Opened { mut journal, quarantined, missing } = open(dir).unwrap();
    assert_eq!((journal.epoch(), quarantined, missing), (2, None, 0), "that was all");
    assert_eq!(held(&mut journal).len(), saved.len() + 1);
    assert_eq!((journal.epoch_of(Sequence(newest)), journal.epoch_of(first)), (1, 2));
}

#[test]
fn what_was_acknowledged_set_aside_or_removed_is_saved_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    fill(dir, 2000);
    let mut journal = open(dir).unwrap().journal;
    for sequence in 1..=500 {
        let standing = match sequence % 4 {
            0 => Standing::Acknowledged,
            1 => Standing::SetAside,
            _ => Standing::Pending,
        };
        journal.stand(Sequence(sequence), standing).unwrap();
    }
    for sequence in 501..=900 {
        journal.remove(Sequence(sequence)).unwrap();
    }
    assert!(journal.replace(Sequence(1000), b"narrowed".to_vec()).unwrap());
    journal.keep(b"visit".to_vec(), Some(vec![7])).unwrap();
    journal.keep(b"\0outbox/x".to_vec(), Some(vec![8])).unwrap();
    journal.sync().unwrap();
    drop(journal);
    // Nothing of sled's own is left to read it with.
    for snapshot in snapshots(dir) {
        fs::remove_file(snapshot).unwrap();
    }
    let log = OpenOptions::new().write(true).open(log(dir)).unwrap();
    for segment in 0..fs::metadata(dir.join("store-1/db")).unwrap().len() / (512 << 10) {
        log.write_all_at(&[0x5a; 20], segment * (512 << 10)).unwrap();
    }
    let Opened { mut journal, quarantined, missing } = open(dir).unwrap();
    assert!(quarantined.is_some());
    assert_eq!((missing, journal.damaged().unwrap().count()), (0, 0));
    assert_eq!(journal.standing(Standing::Acknowledged).records, 125);
    assert_eq!(journal.standing(Standing::SetAside).records, 125);
    assert_eq!(journal.pending().records, 2000 - 400 - 250);
    let range = journal.range(Sequence(500), Sequence(1000), usize::MAX).unwrap();
    let sequences: Vec<u64> = range.iter().map(|held| held.sequence.0).collect();
    assert_eq!(sequences, [500].into_iter().chain(901..=1000).collect::<Vec<_>>());
    assert_eq!(range.last().unwrap().bytes, b"narrowed");
    let kept = journal.kept().unwrap();
    assert_eq!(kept.len(), 1, "whether a visit is still open is not known");
    assert_eq!(kept[0].slot, b"\0outbox/x");
}

#[test]
fn rubbish_anywhere_in_the_log_never_stops_the_outbox_from_opening() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 4000);
    let length = fs::metadata(log(directory.path())).unwrap().len();
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..8 {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(directory.path(), copy.path());
        damage(copy.path(), random.u64(0..length), random.usize(1..60_000));
        let Opened { mut journal, quarantined, missing } = open(copy.path()).unwrap();
        let found = held(&mut journal).len() as u64;
        assert_eq!(journal.pending().records, found, "round {round}: what is counted is there");
        assert_eq!(journal.damaged().unwrap().count(), missing, "round {round}");
        // Nothing was acknowledged: each is there or told of by its number. A commit at the very end
        // may be the one that was never durable.
        let committed = found + missing;
        assert!((3900..=4000).contains(&committed), "round {round}: {committed}");
        assert_eq!(journal.epoch(), if quarantined.is_some() { 2 } else { 1 }, "round {round}");
        assert_eq!(journal.sync().unwrap().unwrap().0, committed, "round {round}");
    }
}

#[test]
fn of_the_stores_set_aside_only_the_latest_three_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    for epoch in 1..=5 {
        let journal = open(directory.path()).unwrap().journal;
        assert_eq!(journal.epoch(), epoch);
        drop(journal);
        for entry in fs::read_dir(directory.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.join("db").exists() && path.to_string_lossy().contains("store-") {
                let log = OpenOptions::new().write(true).open(path.join("db")).unwrap();
                log.set_len(0).unwrap();
            }
        }
    }
    open(directory.path()).unwrap();
    assert_eq!(aside(directory.path()), 3);
}

#[test]
fn an_unfinished_snapshot_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    fill(dir, 300);
    fs::write(dir.join("store-1/snap.FFFFFFFFFFFFFFFF.generating"), b"half a snap").unwrap();
    let Opened { mut journal, quarantined, .. } = open(dir).unwrap();
    assert_eq!((held(&mut journal).len(), quarantined), (300, None));
}

#[test]
fn a_damaged_snapshot_or_configuration_of_sled_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    fill(dir, 300);
    drop(open(dir).unwrap());
    for snapshot in snapshots(dir) {
        File::create(snapshot).unwrap();
    }
    fs::write(dir.join("store-1/conf"), b"segment_size: 524288\nuse_comp").unwrap();
    let Opened { mut journal, quarantined, .. } = open(dir).unwrap();
    assert_eq!((held(&mut journal).len(), quarantined), (300, None));
}

#[test]
fn a_second_user_is_told_that_the_outbox_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, OutboxError::InUse { .. }), "{error}");
    drop(first);
    assert!(open(directory.path()).is_ok());
}

#[test]
fn somebody_elses_directory_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("holiday.jpg"), b"...").unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("`holiday.jpg`"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    let file = directory.path().join("holiday.jpg");
    assert!(matches!(open(&file), Err(OutboxError::Directory { .. })));
    assert!(matches!(open(Path::new("/proc/outbox")), Err(OutboxError::Directory { .. })));
}

#[test]
fn a_store_of_a_later_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 3);
    let sled = sled::Config::new().path(directory.path().join("store-1")).open().unwrap();
    // Version of the head, layout, and whatever comes behind.
    sled.insert(b"h", &[1, 0, 5, 9, 9]).unwrap();
    sled.flush().unwrap();
    drop(sled);
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, OutboxError::NewerLayout { found: 5, .. }), "{error}");
    assert_eq!(aside(directory.path()), 0);
}

#[test]
fn a_store_of_the_first_layout_is_read_and_what_is_in_it_may_be_about_anybody() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let sled = sled::Config::new().path(dir.join("store-1")).open().unwrap();
    // Version, layout 1, epoch 7, last sequence 3, two records.
    let head = [[1, 0, 1].as_slice(), &[0, 0, 0, 7], &[0; 7], &[3], &[0; 7], &[2]].concat();
    sled.insert(b"h", head).unwrap();
    for sequence in [2, 3] {
        let key = [b"r".as_slice(), &[0; 7], &[sequence]].concat();
        // Version, made at an unknown time, no notice, the record.
        let value = [[1].as_slice(), &i64::MIN.to_be_bytes(), &[0], b"old ", &[sequence]].concat();
        sled.insert(key, value).unwrap();
    }
    sled.insert(b"kvisit", b"\x01value").unwrap();
    sled.flush().unwrap();
    drop(sled);

    let Opened { mut journal, quarantined, missing } = open(dir).unwrap();
    assert_eq!((journal.epoch(), quarantined, missing), (7, None, 0));
    assert_eq!(journal.kept().unwrap()[0].value, b"value");
    let (ada, bob) = (Tag::of("ada"), Tag::of("bob"));
    for about in [Some(ada), Some(bob), None] {
        let entry = Entry { bytes: b"new".to_vec(), made: None, about, class: Class::Presence };
        journal.append(entry, None).unwrap();
    }
    journal.sync().unwrap();
    assert!(journal.replace(Sequence(3), b"narrowed".to_vec()).unwrap());
    journal.sync().unwrap();
    drop(journal);
    let mut journal = open(dir).unwrap().journal;
    let about = journal.oldest_about(&BTreeSet::from([ada]), None, usize::MAX).unwrap();
    let found: Vec<_> = about.iter().map(|held| (held.sequence.0, held.about)).collect();
    let expected = [(2, About::Unknown), (3, About::Unknown), (4, About::Subject(ada))];
    assert_eq!(found, expected);
    let bytes: Vec<&[u8]> = about.iter().map(|held| held.bytes.as_slice()).collect();
    assert_eq!(bytes, [b"old \x02".as_slice(), b"narrowed", b"new"]);
    assert_eq!(held(&mut journal), [2, 3, 4, 5, 6]);
}

#[test]
fn the_epoch_is_never_used_twice_whatever_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    fill(dir, 1);
    // The number beside the store is gone: the store knows it.
    fs::remove_file(dir.join("epoch")).unwrap();
    assert_eq!(open(dir).unwrap().journal.epoch(), 1);
    assert_eq!(fs::read_to_string(dir.join("epoch")).unwrap(), "1\n");
    // The store is gone: the number beside it is known.
    fs::remove_dir_all(dir.join("store-1")).unwrap();
    assert_eq!(open(dir).unwrap().journal.epoch(), 2);
    // Both are unreadable: the time serves as the number.
    fs::write(dir.join("epoch"), b"?").unwrap();
    fs::remove_dir_all(dir.join("store-1")).unwrap();
    assert!(open(dir).unwrap().journal.epoch() > 1_000_000_000);
}

#[test]
fn an_emptied_store_is_replaced_by_a_small_one_that_knows_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let options = StoreOptions { shrink_above: 1 << 20, ..OPTIONS };
    fill(dir, 5000);
    let mut journal = SledJournal::open(dir, options, Clock::start()).unwrap().journal;
    journal.keep(b"visit".to_vec(), Some(vec![7])).unwrap();
    let before = journal.size_on_disk().unwrap();
    for sequence in held(&mut journal) {
        journal.remove(Sequence(sequence)).unwrap();
    }
    assert_eq!(journal.sync().unwrap(), Some(Sequence(5000)));
    let after = journal.size_on_disk().unwrap();
    assert!(after < 1 << 20 && before > 3 << 20, "{before} to {after} bytes");
    assert!(!dir.join("store-1").exists() && dir.join("store-2").exists());
    let next = journal
        .append(Entry { bytes: vec![1], made: None, about: None, class: Class::Presence }, None)
        .unwrap();
    assert_eq!((next, journal.epoch()), (Sequence(5001), 1));
    journal.sync().unwrap();
    drop(journal);
    let mut journal = open(dir).unwrap().journal;
    assert_eq!((held(&mut journal), journal.kept().unwrap()[0].value[0]), (vec![5001], 7));
}

#[test]
fn what_a_crash_left_in_the_workshop_is_cleared_away() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    fill(dir, 5);
    copy_tree(&dir.join("store-1"), &dir.join("new"));
    fs::write(dir.join("epoch.new"), b"half").unwrap();
    let mut journal = open(dir).unwrap().journal;
    assert_eq!(held(&mut journal).len(), 5);
    assert!(!dir.join("new").exists() && !dir.join("epoch.new").exists());
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

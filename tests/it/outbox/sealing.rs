//! The keys of a sealed store: lost, wrong, changed.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
};

use beacon_gateway::{
    clock::Clock,
    outbox::{
        Class, Durability, Entry, Journal, Opened, OutboxError, Scrub, SledJournal, StoreOptions,
        inspect,
    },
    seal::{KEY_FILE, KeySource},
};

fn open(dir: &Path) -> Result<Opened<SledJournal>, OutboxError> {
    let options =
        StoreOptions { durability: Durability::AfterFlush, ..StoreOptions::with_cache(1 << 20) };
    SledJournal::open(dir, options, Clock::start())
}

fn append(journal: &mut SledJournal, count: usize) {
    for n in 0..count {
        let bytes = format!("record {n}").into_bytes();
        let entry = Entry { bytes, made: None, about: None, class: Class::Sensor };
        journal.append(entry, None).unwrap();
    }
    journal.sync().unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Opening fails, says that, and leaves everything as it is.
fn is_refused(dir: &Path, says: &str) {
    let before = names(dir);
    for _ in 0..2 {
        let error = open(dir).unwrap_err();
        let mut message = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            message = format!("{message}: {cause}");
        }
        assert!(message.contains(says), "{message}");
        assert!(inspect(dir).is_err());
    }
    assert_eq!(names(dir), before);
}

#[test]
fn without_the_gateways_key_the_outbox_stays_closed_and_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    append(&mut open(dir).unwrap().journal, 40);
    let key = dir.join(KEY_FILE);
    let ours = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    is_refused(dir, "put the key file `registry.key`");
    // Another key of the same number.
    KeySource::new(dir, None).load_or_make().unwrap();
    is_refused(dir, "another key of number 1");
    fs::write(&key, ours).unwrap();
    let opened = open(dir).unwrap();
    assert_eq!((opened.journal.pending().records, opened.missing), (40, 0));
}

#[test]
fn without_its_own_key_the_outbox_stays_closed_and_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    append(&mut open(dir).unwrap().journal, 40);
    let key = dir.join("store-1.sealed-key");
    let ours = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    is_refused(dir, "store-1.sealed-key is missing");
    fs::write(&key, &ours[..50]).unwrap();
    is_refused(dir, "it is damaged");
    fs::write(&key, ours).unwrap();
    assert_eq!(open(dir).unwrap().journal.pending().records, 40);
}

#[test]
fn a_broken_store_without_its_key_is_not_set_aside_because_much_can_be_saved_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    append(&mut open(dir).unwrap().journal, 400);
    let log = OpenOptions::new().write(true).open(dir.join("store-1/db")).unwrap();
    log.write_all_at(&[0x5a; 64], 0).unwrap();
    let key = dir.join("store-1.sealed-key");
    let ours = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    is_refused(dir, "is missing");
    fs::write(&key, ours).unwrap();
    let opened = open(dir).unwrap();
    let saved = opened.journal.pending().records;
    assert_eq!((opened.quarantined.is_some(), saved), (true, 400));
}

#[test]
fn keys_are_changed_while_the_outbox_is_in_use_and_it_opens_with_the_new_one_alone() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let keys = KeySource::new(dir, None);
    let mut journal = open(dir).unwrap().journal;
    append(&mut journal, 40);
    // As `registry rotate-key` does, in another process.
    keys.add_key().unwrap();
    keys.drop_older().unwrap();
    append(&mut journal, 2);
    drop(journal);
    let mut journal = open(dir).unwrap().journal;
    assert_eq!(journal.pending().records, 42);
    // In the middle of a scrub, which makes a store with a key of its own.
    journal.owe_scrub();
    journal.sync().unwrap();
    keys.add_key().unwrap();
    while journal.scrub().unwrap() == Scrub::Underway {}
    keys.drop_older().unwrap();
    drop(journal);
    assert_eq!(open(dir).unwrap().journal.pending().records, 42);
    let numbers: Vec<u32> = keys.load().unwrap().unwrap().sealer.numbers().collect();
    assert_eq!(numbers, [3]);
}

#[test]
fn a_gateway_whose_key_becomes_a_credential_keeps_its_outbox() {
    let directory = tempfile::tempdir().unwrap();
    let (dir, credentials) = (directory.path(), tempfile::tempdir().unwrap());
    append(&mut open(dir).unwrap().journal, 5);
    let keys = KeySource::new(dir, Some(credentials.path()));
    let credential = credentials.path().join(beacon_gateway::seal::CREDENTIAL);
    fs::write(&credential, format!("2:{}\n", "b".repeat(64))).unwrap();
    fs::set_permissions(&credential, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    keys.remove_file().unwrap();
    let options =
        StoreOptions { durability: Durability::AfterFlush, ..StoreOptions::with_cache(1 << 20) };
    let opened = SledJournal::open_with(dir, keys, options, Clock::start()).unwrap();
    assert_eq!(opened.journal.pending().records, 5);
    assert!(!dir.join(KEY_FILE).exists());
}

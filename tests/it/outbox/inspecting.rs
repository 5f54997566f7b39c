//! Looking into an outbox from outside.

use beacon_gateway::{
    clock::Clock,
    engine::UnixTime,
    outbox::{
        Class, Durability, Entry, Journal, OutboxError, Pending, Sequence, SledJournal,
        StoreOptions, inspect,
    },
};

fn options() -> StoreOptions {
    StoreOptions { durability: Durability::AfterFlush, ..StoreOptions::with_cache(1 << 20) }
}

#[test]
fn whoever_looks_sees_everything_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let made = Some(UnixTime::from_millis(1_700_000_000_000));
    let mut journal =
        SledJournal::open(directory.path(), options(), Clock::start()).unwrap().journal;
    for n in 0..600_u32 {
        journal
            .append(
                Entry {
                    bytes: n.to_be_bytes().to_vec(),
                    made,
                    about: None,
                    class: Class::Presence,
                },
                None,
            )
            .unwrap();
    }
    journal.keep(b"visit".to_vec(), Some(vec![1])).unwrap();
    journal.sync().unwrap();
    journal.remove(Sequence(1)).unwrap();
    journal.sync().unwrap();
    drop(journal);
    for _ in 0..2 {
        let mut inspection = inspect(directory.path()).unwrap();
        let stats = inspection.stats();
        assert_eq!((stats.epoch, stats.last, stats.kept), (1, Some(Sequence(600)), 1));
        assert_eq!(stats.pending, Pending { records: 599, bytes: 599 * 4 });
        assert_eq!((stats.oldest, stats.oldest_made), (Some(Sequence(2)), made));
        assert!(stats.disk_bytes > 0);
        let sequences: Vec<u64> =
            inspection.records().map(|held| held.unwrap().sequence.0).collect();
        assert_eq!(sequences, (2..=600).collect::<Vec<_>>());
    }
}

#[test]
fn whoever_looks_is_told_when_there_is_nothing_or_somebody_is_using_it() {
    let directory = tempfile::tempdir().unwrap();
    let nothing = directory.path().join("nothing");
    assert!(matches!(inspect(&nothing), Err(OutboxError::Absent { .. })));
    assert!(!nothing.exists(), "looking makes nothing");
    assert!(matches!(inspect(directory.path()), Err(OutboxError::Absent { .. })));
    let _journal = SledJournal::open(directory.path(), options(), Clock::start()).unwrap();
    assert!(matches!(inspect(directory.path()), Err(OutboxError::InUse { .. })));
}

#[test]
fn a_damaged_store_is_not_set_aside_by_looking_at_it() {
    let directory = tempfile::tempdir().unwrap();
    drop(SledJournal::open(directory.path(), options(), Clock::start()).unwrap());
    std::fs::write(directory.path().join("store-1/db"), vec![0x5a; 600_000]).unwrap();
    let error = inspect(directory.path()).unwrap_err();
    assert!(matches!(error, OutboxError::Damaged { .. }), "{error}");
    assert!(directory.path().join("store-1").exists());
}

//! How fast the outbox takes records in durably, and gives them out again.

use std::hint::black_box;

use beacon_gateway::{
    clock::Clock,
    outbox::{Class, Entry, Journal, Sequence, SledJournal, StoreOptions},
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

/// The size of an ordinary record, in bytes.
const RECORD: usize = 400;

/// How many records the drain starts with.
const BACKLOG: u64 = 20_000;

/// How many records the uplink fetches, and removes, together.
const CHUNK: usize = 512;

fn open(directory: &TempDir) -> SledJournal {
    let options = StoreOptions::with_cache(2 << 20);
    SledJournal::open(directory.path(), options, Clock::start()).expect("a temporary store").journal
}

fn append(journal: &mut SledJournal, records: u64) {
    for n in 0..records {
        let mut bytes = vec![b'x'; RECORD];
        bytes.truncate(RECORD - usize::try_from(n % 100).unwrap_or(0));
        journal
            .append(Entry { bytes, made: None, about: None, class: Class::Presence }, None)
            .expect("a small record");
    }
    journal.sync().expect("a working disk");
}

fn append_and_sync(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append+sync");
    for batch in [1, 16, 256] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut journal = open(&directory);
        group.throughput(Throughput::Elements(batch));
        group.bench_with_input(BenchmarkId::from_parameter(batch), &batch, |bencher, &batch| {
            bencher.iter(|| append(&mut journal, batch));
        });
    }
    group.finish();
}

fn drain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("drain");
    group.throughput(Throughput::Elements(BACKLOG)).sample_size(10);
    let filled = || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut journal = open(&directory);
        for _ in 0..BACKLOG / 250 {
            append(&mut journal, 250);
        }
        (journal, directory)
    };
    group.bench_function("oldest", |bencher| {
        let (mut journal, _directory) = filled();
        bencher.iter(|| {
            let mut after = None;
            while let Some(last) = fetch(&mut journal, after).pop() {
                after = Some(last);
            }
        });
    });
    group.bench_function("oldest+remove+sync", |bencher| {
        bencher.iter_batched_ref(
            filled,
            |(journal, _directory)| loop {
                let sequences = fetch(journal, None);
                if sequences.is_empty() {
                    break;
                }
                for sequence in sequences {
                    journal.remove(sequence).expect("a readable record");
                }
                journal.sync().expect("a working disk");
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn fetch(journal: &mut SledJournal, after: Option<Sequence>) -> Vec<Sequence> {
    let records = journal.oldest(after, CHUNK).expect("readable records");
    black_box(&records).iter().map(|held| held.sequence).collect()
}

criterion_group!(benches, append_and_sync, drain);
criterion_main!(benches);

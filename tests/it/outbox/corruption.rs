//! A damaged byte anywhere in a store: it opens or is set aside, nothing panics, nothing hangs, and
//! every record is there as it was made, but for the few whose block was hit, which are told as lost.
//! What was erased does not come back.
//!
//! `CORRUPTION_BYTES` (1 MiB) is how large the store is at least, `CORRUPTION_STEP` (128 KiB) how far
//! apart the damage is; 10485760 and 4096 are 5,000 places, most of which make the store be written
//! anew: hours, unless the tests are built with `--release`. `CORRUPTION_SEED` (1) makes it another one.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    outbox::{
        Class, Durability, Entry, Journal, Opened, OutboxError, Scrub, Sequence, SledJournal,
        StoreOptions, Tag,
    },
};

const OPTIONS: StoreOptions = StoreOptions {
    cache: 1 << 20,
    durability: Durability::AfterFlush,
    shrink_above: 64 << 20,
    first_epoch: 1,
};

/// How many records are committed together.
const COMMIT: u64 = 64;

/// How many records one damaged place may cost: those of the blocks it lies in, of which a sector has
/// three at most, each of 3 KiB and so of 30 of the shortest records.
const COST: usize = 100;

/// What opens longer than this hangs; the slowest takes a second or two, on a busy machine longer.
const PATIENCE: Duration = Duration::from_mins(5);

/// How a byte is damaged.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// One of its bits.
    Flip,
    /// A sector of the disk, around it, came back as zeros.
    Zero,
}

/// What there was before anything was damaged.
struct Original {
    dir: PathBuf,
    last: u64,
    /// The sequences that wait.
    held: Vec<u64>,
}

/// What became of the stores.
#[derive(Debug, Default)]
struct Tally {
    whole: usize,
    parts: usize,
    set_aside: usize,
    saved: usize,
    /// How many records each place cost.
    costs: Vec<usize>,
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn open(dir: &Path) -> Result<Opened<SledJournal>, OutboxError> {
    SledJournal::open(dir, OPTIONS, Clock::start())
}

/// The bytes of a record, which say which one it is.
fn bytes_of(sequence: u64) -> Vec<u8> {
    let length = 100 + sequence.wrapping_mul(37) % 500;
    let filler = (0..length).map(|at| (sequence.wrapping_mul(31) ^ at).to_le_bytes()[0]);
    sequence.to_be_bytes().into_iter().chain(filler).collect()
}

fn append(journal: &mut SledJournal, sequence: u64) -> Sequence {
    let class = match sequence % 3 {
        0 => Class::Moment,
        1 => Class::Presence,
        _ => Class::Sensor,
    };
    let entry = Entry { bytes: bytes_of(sequence), made: None, about: None, class };
    journal.append(entry, None).unwrap()
}

impl Original {
    /// Fills a store until its files are so large; some of it is sent meanwhile, as it would be.
    fn make(dir: PathBuf, size: u64) -> Self {
        let mut journal = open(&dir).unwrap().journal;
        let (mut last, mut held) = (0, Vec::new());
        while files(&dir).iter().map(|(_, length)| length).sum::<u64>() < size {
            for _ in 0..COMMIT {
                last += 1;
                assert_eq!(append(&mut journal, last), Sequence(last));
                held.push(last);
            }
            journal.keep(b"at".to_vec(), Some(last.to_be_bytes().to_vec())).unwrap();
            for sequence in held.drain(..20) {
                journal.remove(Sequence(sequence)).unwrap();
            }
            journal.sync().unwrap();
        }
        Self { dir, last, held }
    }

    /// Damages a copy in one place, opens it, and looks at what there is.
    fn damage(&self, file: &Path, at: u64, damage: Damage, tally: &mut Tally) {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("outbox");
        copy(&self.dir, &dir);
        spoil(&dir.join(file.strip_prefix(&self.dir).unwrap()), at, damage);
        let opened = open_in_time(&dir).unwrap_or_else(|error| panic!("it does not open: {error}"));
        let found = self.check(opened, tally);
        // The repaired store is one like any other.
        let again = open_in_time(&dir).unwrap();
        assert_eq!((again.quarantined, again.missing), (None, 0), "it is damaged again");
        let mut journal = again.journal;
        assert_eq!(held(&mut journal), found);
    }

    /// Damages a key: nothing opens, nothing is set aside, and with the key as it was all is there.
    fn damage_key(&self, file: &Path, at: u64, damage: Damage) {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("outbox");
        copy(&self.dir, &dir);
        let key = dir.join(file.strip_prefix(&self.dir).unwrap());
        spoil(&key, at, damage);
        let error = open_in_time(&dir).unwrap_err();
        assert!(matches!(error, OutboxError::Key { .. }), "{error}");
        fs::copy(file, &key).unwrap();
        let opened = open_in_time(&dir).unwrap();
        assert_eq!((opened.quarantined, opened.missing), (None, 0));
    }

    /// Every record is there as it was made, under its old number, or is told as lost by that number;
    /// also when the store was set aside and what it held was saved. Returns what the store has then.
    fn check(&self, opened: Opened<SledJournal>, tally: &mut Tally) -> Vec<u64> {
        let Opened { mut journal, quarantined, missing } = opened;
        let mut found = BTreeSet::new();
        for record in journal.oldest(None, usize::MAX).unwrap() {
            assert_eq!(record.bytes, bytes_of(record.sequence.0), "{:?}", record.sequence);
            assert_eq!(journal.epoch_of(record.sequence), OPTIONS.first_epoch);
            found.insert(record.sequence.0);
        }
        let told = journal.damaged().unwrap();
        assert_eq!(told.count(), missing, "each is known by its number");
        // The store was closed in order, so a later commit proves the last one.
        let durable = self.last;
        let accounted = |it: &u64| found.contains(it) || told.contains(Sequence(*it));
        let nowhere: Vec<_> = self.held.iter().filter(|it| !accounted(it)).collect();
        assert!(nowhere.iter().all(|it| **it > durable), "neither there nor told: {nowhere:?}");
        let saved = self.held.iter().filter(|it| found.contains(it)).count();
        match quarantined {
            Some(_) => tally.set_aside += 1,
            None if saved == self.held.len() => tally.whole += 1,
            None => tally.parts += 1,
        }
        tally.saved += saved;
        let cost = self.held.len() - saved;
        assert!(cost <= COST, "one place cost {cost} records");
        tally.costs.push(cost);
        // It goes on, and gives no sequence a second time.
        let next = journal
            .append(Entry { bytes: vec![1], made: None, about: None, class: Class::Gateway }, None);
        let next = next.unwrap().0;
        assert!(next > durable, "{next} was given already");
        journal.sync().unwrap();
        found.insert(next);
        found.into_iter().collect()
    }
}

fn held(journal: &mut SledJournal) -> Vec<u64> {
    journal.oldest(None, usize::MAX).unwrap().iter().map(|held| held.sequence.0).collect()
}

/// Opens a store in a thread of its own, so that one that hangs is a failed test.
fn open_in_time(dir: &Path) -> Result<Opened<SledJournal>, OutboxError> {
    let (opened, result) = mpsc::sync_channel(1);
    let dir = dir.to_owned();
    thread::spawn(move || drop(opened.send(open(&dir))));
    result.recv_timeout(PATIENCE).expect("opening it neither hangs nor panics")
}

/// The files of a store with their lengths.
fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path(), entry.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn spoil(file: &Path, at: u64, damage: Damage) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    match damage {
        Damage::Flip => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        }
        Damage::Zero => {
            let start = at / 512 * 512;
            let end = (start + 512).min(file.metadata().unwrap().len());
            file.write_all_at(&vec![0; usize::try_from(end - start).unwrap()], start).unwrap();
        }
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the numbers are for whoever asks")]
fn a_damaged_byte_anywhere_costs_at_most_what_is_told_as_lost() {
    let (size, step) = (number("CORRUPTION_BYTES", 1 << 20), number("CORRUPTION_STEP", 128 << 10));
    let mut random = fastrand::Rng::with_seed(number("CORRUPTION_SEED", 1));
    let directory = tempfile::tempdir().unwrap();
    let original = Original::make(directory.path().join("outbox"), size);
    for damage in [Damage::Flip, Damage::Zero] {
        let (mut tally, mut places) = (Tally::default(), 0);
        for (file, length) in files(&original.dir) {
            if file.to_string_lossy().ends_with("key") {
                original.damage_key(&file, random.u64(0..length), damage);
                continue;
            }
            for start in (0..length).step_by(usize::try_from(step).unwrap()) {
                // Somewhere in it, so that not only the beginnings of pages are tried.
                let at = start + random.u64(0..step.min(length - start));
                let place = format!("{damage:?} of byte {at} in {}", file.display());
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    original.damage(&file, at, damage, &mut tally);
                }));
                assert!(done.is_ok(), "{place}: see above");
                places += 1;
            }
        }
        tally.costs.sort_unstable();
        let costs = std::mem::take(&mut tally.costs);
        println!(
            "{damage:?}: {places} places in {} records; a place cost {} at the median, {} at most, \
             {} together; {tally:?}",
            original.held.len(),
            costs[costs.len() / 2],
            costs[costs.len() - 1],
            costs.iter().sum::<usize>(),
        );
        assert!(places > 0 && tally.whole + tally.parts + tally.set_aside == places);
    }
}

/// What every value of a store begins with when it says where records stand.
const STANDINGS: [u8; 5] = [0xbe, b'G', 0xa3, 3, 2];

/// A store from which everything about somebody was erased, and nothing scrubbed yet.
fn with_an_erasure(dir: &Path) -> Vec<u64> {
    let mut journal = open(dir).unwrap().journal;
    for n in 1..=3000_u64 {
        let who = if n % 5 == 0 { "ada" } else { "bob" };
        let bytes = format!("{who} {n} {}", ".".repeat(usize::try_from(n % 90).unwrap()));
        let (bytes, about) = (bytes.into_bytes(), Some(Tag::of(who)));
        let entry = Entry { bytes, made: None, about, class: Class::Presence };
        journal.append(entry, None).unwrap();
        if n % COMMIT == 0 {
            journal.sync().unwrap();
        }
    }
    for sequence in 1..=400 {
        journal.remove(Sequence(sequence)).unwrap();
    }
    journal.sync().unwrap();
    for sequence in (405..=3000).step_by(5) {
        journal.remove(Sequence(sequence)).unwrap();
    }
    journal.owe_scrub();
    journal.sync().unwrap();
    held(&mut journal)
}

/// Opens it; nothing of what was erased is there. Returns how much else is missing.
fn nobody_came_back(dir: &Path, expected: &[u64], place: &str) -> usize {
    let Opened { mut journal, quarantined, .. } = open_in_time(dir).unwrap();
    let all = journal.range(Sequence(0), Sequence(u64::MAX), usize::MAX).unwrap();
    let back: Vec<_> = all.iter().filter(|held| held.bytes.starts_with(b"ada")).collect();
    assert!(back.is_empty(), "{} came back: {place}", back.len());
    let found: BTreeSet<u64> = held(&mut journal).into_iter().collect();
    assert!(journal.owes_scrub(), "the debt is forgotten: {place}");
    while journal.scrub().unwrap() == Scrub::Underway {}
    let aside = quarantined.is_some_and(|aside| aside.path.exists());
    assert!(!aside && !journal.owes_scrub(), "what was set aside has what was erased: {place}");
    expected.iter().filter(|it| !found.contains(it)).count()
}

#[test]
fn what_was_erased_does_not_come_back_whichever_byte_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("outbox");
    let expected = with_an_erasure(&dir);
    let log = fs::read(dir.join("store-1/db")).unwrap();
    let standings = log.windows(5).enumerate().filter(|(_, bytes)| *bytes == STANDINGS);
    let standings: Vec<u64> = standings.map(|(at, _)| at as u64).collect();
    assert!(standings.len() > 3, "{standings:?}");
    let mut random = fastrand::Rng::with_seed(5);
    let anywhere = (0..12).map(|_| random.u64(0..log.len() as u64));
    // In the first byte, in what it says in clear, and in what is sealed.
    let there = standings.iter().flat_map(|at| [*at, at + 10, at + 50]);
    for at in anywhere.chain(there) {
        let copied = tempfile::tempdir().unwrap();
        let damaged = copied.path().join("outbox");
        copy(&dir, &damaged);
        spoil(&damaged.join("store-1/db"), at, Damage::Flip);
        let cost = nobody_came_back(&damaged, &expected, &format!("byte {at}"));
        // A chunk of which nobody knows any more what was erased goes as a whole.
        assert!(cost <= 1024, "byte {at} cost {cost}");
    }
    // Nothing at all is left of where they stood.
    for at in standings {
        spoil(&dir.join("store-1/db"), at + 50, Damage::Flip);
    }
    nobody_came_back(&dir, &expected, "everywhere");
}

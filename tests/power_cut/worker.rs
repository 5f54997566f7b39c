//! The process that is killed: it uses a real outbox, and says on its standard output what it is
//! about to do and what has been done, a line each, so that nothing it says is ahead of the disk.

use std::{
    collections::VecDeque,
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use beacon_gateway::{
    clock::Clock,
    outbox::{
        Class, Durability, Entry, Journal, MAX_RECORD, OutboxError, Scrub, Sequence, SledJournal,
        StoreOptions,
    },
};

const DIRECTORY: &str = "OUTBOX_WORKER_DIRECTORY";
const SEED: &str = "OUTBOX_WORKER_SEED";
const DURABILITY: &str = "OUTBOX_WORKER_DURABILITY";

/// The slot that says which commit the store is at.
const COMMIT: &[u8] = b"commit";

/// Beyond that the worker removes more than it appends: enough for sled to use its segments again
/// and again.
const BACKLOG: usize = 3000;

/// Small, so that emptied stores are replaced in the course of the test.
const SHRINK_ABOVE: u64 = 4 << 20;

/// Who makes flushes durable, as it is passed to the worker.
pub(crate) const BY_SLED: &str = "by-sled";
pub(crate) const AFTER_FLUSH: &str = "after-flush";
pub(crate) const NOBODY: &str = "nobody";

/// The command that starts this program as a worker.
pub(crate) fn command(directory: &Path, seed: u64, durability: &str) -> std::io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.env(DIRECTORY, directory).env(SEED, seed.to_string()).env(DURABILITY, durability);
    Ok(command)
}

/// Works until killed, if this process was started to. Returns only with what went wrong.
pub(crate) fn run_if_asked() -> Option<String> {
    let directory = PathBuf::from(env::var_os(DIRECTORY)?);
    let seed = env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let mut options = StoreOptions::with_cache(1 << 20);
    options.shrink_above = SHRINK_ABOVE;
    options.durability = match env::var(DURABILITY).as_deref() {
        Ok(AFTER_FLUSH) => Durability::AfterFlush,
        Ok(NOBODY) => Durability::Nobody,
        _ => Durability::BySled,
    };
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let commits = random.usize(20..200);
        if let Err(error) = work(&directory, options, commits, &mut random) {
            return Some(crate::harness::describe(&error));
        }
    }
}

/// Opens the outbox, says what is in it, makes some commits and closes it.
fn work(
    directory: &Path,
    options: StoreOptions,
    commits: usize,
    random: &mut fastrand::Rng,
) -> Result<(), OutboxError> {
    let opened = SledJournal::open(directory, options, Clock::start())?;
    let mut journal = opened.journal;
    if let Some(aside) = &opened.quarantined {
        say(&format!("bad store: it was set aside: {aside:?}"));
    }
    say(&format!("opened {}", journal.epoch()));
    let mut held: VecDeque<u64> = VecDeque::new();
    for record in journal.oldest(None, usize::MAX)? {
        let sequence = record.sequence.0;
        match unpack(&record.bytes) {
            Some((commit, named)) if named == sequence => say(&format!("held {sequence} {commit}")),
            _ => say(&format!("bad record {sequence} is not what was stored")),
        }
        held.push_back(sequence);
    }
    let kept = journal.kept()?.into_iter().find(|kept| kept.slot == COMMIT);
    let kept = kept.and_then(|kept| kept.value.try_into().ok()).map_or(0, u64::from_be_bytes);
    let mut last = journal.sync()?.map_or(0, |last| last.0);
    let pending = journal.pending();
    say(&format!("ready {kept} {last} {} {}", pending.records, pending.bytes));

    let mut scrubbing = false;
    for commit in (kept + 1..).take(commits) {
        let appended = *random.choice(&[0, 1, 1, 2, 7, 16, 64, 200]).unwrap_or(&1);
        for _ in 0..appended {
            let most = *random.choice(&[40, 400, MAX_RECORD]).unwrap_or(&400);
            let bytes = pack(commit, last + 1, random.usize(16..=most));
            last = journal
                .append(Entry { bytes, made: None, about: None, class: Class::Presence }, None)?
                .0;
            held.push_back(last);
            say(&format!("append {last} {commit}"));
        }
        let most = match random.u8(..) {
            0..3 => held.len(),
            _ if held.len() > BACKLOG => 500,
            3..100 => 0,
            _ => *random.choice(&[1, 4, 20, 100]).unwrap_or(&1),
        };
        // Not what was appended just now: the uplink cannot have seen it.
        let durable = held.len() - appended;
        for sequence in held.drain(..most.min(durable)) {
            journal.remove(Sequence(sequence))?;
            say(&format!("remove {sequence}"));
        }
        // As when a consent is narrowed.
        for _ in 0..random.usize(0..3) {
            let Some(&sequence) = random.choice(held.iter()) else { break };
            journal.replace(Sequence(sequence), pack(commit, sequence, random.usize(16..400)))?;
            say(&format!("replace {sequence} {commit}"));
        }
        if random.u8(..) < 20 {
            journal.owe_scrub();
        }
        journal.keep(COMMIT.to_vec(), Some(commit.to_be_bytes().to_vec()))?;
        say(&format!("commit {commit}"));
        journal.sync()?;
        say(&format!("done {commit}"));
        // A part of it between any two commits. On a full disk it fails, and nothing is lost.
        if (journal.owes_scrub() || scrubbing) && random.bool() {
            scrubbing = journal.scrub()? == Scrub::Underway;
        }
    }
    Ok(())
}

/// A record that says which commit and which sequence it belongs to, and whose other bytes follow
/// from that.
fn pack(commit: u64, sequence: u64, length: usize) -> Vec<u8> {
    let mut bytes = [commit.to_be_bytes(), sequence.to_be_bytes()].concat();
    bytes.extend((16..length).map(|at| filler(sequence, at)));
    bytes
}

fn unpack(bytes: &[u8]) -> Option<(u64, u64)> {
    let (commit, rest) = bytes.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (commit, sequence) = (u64::from_be_bytes(*commit), u64::from_be_bytes(*sequence));
    let whole = rest.iter().zip(16..).all(|(&byte, at)| byte == filler(sequence, at));
    whole.then_some((commit, sequence))
}

fn filler(sequence: u64, at: usize) -> u8 {
    // Only has to differ from record to record and from place to place.
    (sequence.wrapping_mul(31) ^ at as u64).to_le_bytes()[0]
}

fn say(line: &str) {
    let written = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
    written.expect("the test reads what its worker says");
}

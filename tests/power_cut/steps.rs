//! Cuts the power after every single step of making a store, filling it, scrubbing it, emptying it,
//! replacing it and opening it again.

use std::path::Path;

use beacon_gateway::{
    clock::Clock,
    outbox::{
        Class, Durability, Entry, Journal, Opened, OutboxError, Scrub, Sequence, SledJournal,
        StoreOptions,
    },
};

use crate::{
    disk::Cut,
    fuse::Mounted,
    harness::{describe, number, say},
};

const OPTIONS: StoreOptions = StoreOptions {
    cache: 1 << 20,
    durability: Durability::BySled,
    // Every emptied store is replaced.
    shrink_above: 1,
    first_epoch: 1,
};

/// What can be seen of a store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct State {
    last: u64,
    held: Vec<u64>,
    kept: Vec<u8>,
}

/// What a store was at each commit, and after how many steps of the disk that was certain.
type History = Vec<(u64, State)>;

pub(crate) fn survives_a_cut_after_any_step() -> Result<(), String> {
    // Opening a journal takes a system call from the thread that does it, and from every process
    // that it starts; the other tests need theirs.
    let test = std::thread::spawn(cut_after_each_step);
    test.join().unwrap_or_else(|_| Err("the test panicked".to_owned()))
}

fn cut_after_each_step() -> Result<(), String> {
    let seed = number("POWER_CUT_SEED", 1);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut cuts, mut after) = (0, 0);
    loop {
        let mut lived_through = false;
        for cut in [Cut::KeepsNothing, Cut::KeepsSome] {
            let total = try_once(cut, after, &mut random)
                .map_err(|why| format!("{cut:?} after step {after} of seed {seed}: {why}"))?;
            lived_through = after >= total;
            cuts += 1;
        }
        if lived_through {
            say(&format!("{cuts} power cuts, one after each of {after} steps, nothing lost"));
            return Ok(());
        }
        after += 1;
    }
}

/// Cuts the power after so many steps, and returns how many there would have been.
fn try_once(cut: Cut, after: u64, random: &mut fastrand::Rng) -> Result<u64, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let disk = Mounted::at(directory.path())?;
    let outbox = directory.path().join("outbox");
    disk.die_after(after);
    let history = live(&disk, &outbox).map_err(|error| describe(&error))?;
    let total = disk.steps();
    disk.cut_power(cut, random);
    let (found, whole) = look(&outbox).map_err(|error| describe(&error))?;
    if !whole {
        return Err("the store was set aside, or misses records".to_owned());
    }
    let certain = history.iter().rposition(|(steps, _)| *steps <= after);
    let allowed = match certain {
        Some(certain) => &history[certain..history.len().min(certain + 2)],
        None => &history[..1],
    };
    if allowed.iter().any(|(_, state)| *state == found) {
        Ok(total)
    } else {
        Err(format!("found {found:?} where {allowed:?} was expected"))
    }
}

fn live(disk: &Mounted, outbox: &Path) -> Result<History, OutboxError> {
    let mut history = vec![(0, State::default())];
    let mut journal = SledJournal::open(outbox, OPTIONS, Clock::start())?.journal;
    let mut commit = |journal: &mut SledJournal, append: u64, remove: usize| {
        let mut state = history.last().map(|(_, state)| state.clone()).unwrap_or_default();
        for _ in 0..append {
            state.last = journal
                .append(
                    Entry { bytes: vec![7; 400], made: None, about: None, class: Class::Presence },
                    None,
                )?
                .0;
            state.held.push(state.last);
        }
        for sequence in state.held.drain(..remove) {
            journal.remove(Sequence(sequence))?;
        }
        state.kept = state.last.to_be_bytes().to_vec();
        journal.keep(b"at".to_vec(), Some(state.kept.clone()))?;
        journal.sync()?;
        history.push((disk.steps(), state));
        Ok(())
    };
    commit(&mut journal, 40, 0)?;
    commit(&mut journal, 5, 20)?;
    scrub(&mut journal)?;
    commit(&mut journal, 0, 25)?;
    commit(&mut journal, 3, 0)?;
    drop(journal);
    let mut journal = SledJournal::open(outbox, OPTIONS, Clock::start())?.journal;
    commit(&mut journal, 2, 1)?;
    scrub(&mut journal)?;
    Ok(history)
}

/// Frees the files of what was removed, which is more of a commit and changes nothing that can be
/// seen.
fn scrub(journal: &mut SledJournal) -> Result<(), OutboxError> {
    journal.owe_scrub();
    journal.sync()?;
    while journal.scrub()? == Scrub::Underway {}
    Ok(())
}

/// What is there, and whether nothing is missing and nothing was set aside.
fn look(outbox: &Path) -> Result<(State, bool), OutboxError> {
    let Opened { mut journal, quarantined, missing } =
        SledJournal::open(outbox, OPTIONS, Clock::start())?;
    let held = journal.oldest(None, usize::MAX)?.iter().map(|held| held.sequence.0).collect();
    let kept = journal.kept()?.pop().map(|kept| kept.value).unwrap_or_default();
    let last = journal.sync()?.map_or(0, |last| last.0);
    Ok((State { last, held, kept }, quarantined.is_none() && missing == 0))
}

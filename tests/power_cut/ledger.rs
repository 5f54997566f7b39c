//! What the outbox must hold, from what its user said: exactly the last commit that was done, or
//! the one it was killed in, whole. Nothing else, and never a sequence twice.

use std::collections::BTreeMap;

/// What one commit leaves in the store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct State {
    /// The kept value: the number of the commit.
    commit: u64,
    /// The last sequence ever given.
    last: u64,
    /// Records by sequence, each with the commit it came in.
    held: BTreeMap<u64, u64>,
}

/// The accounts of a worker, and of those that continued its work.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    epoch: Option<u32>,
    /// The last commit known to be durable.
    durable: State,
    /// The commit being put together.
    next: State,
    /// Whether it was being made durable, so that it may be there or not.
    in_doubt: bool,
    /// What an opened store is saying of itself.
    found: Option<State>,
    /// Commits done.
    pub(crate) commits: u64,
    /// Times the store was opened and found right.
    pub(crate) opened: u64,
    /// Times the worker was killed before it had opened the store.
    pub(crate) killed_early: u64,
    /// Commits that left nothing in a store that had something in it.
    pub(crate) drains: u64,
    /// Whether the worker that runs has opened the store.
    ready: bool,
}

impl Ledger {
    /// Takes in a line of the worker.
    pub(crate) fn read(&mut self, line: &str) -> Result<(), String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let numbers: Vec<u64> = rest.split(' ').filter_map(|word| word.parse().ok()).collect();
        match (verb, numbers.as_slice()) {
            ("opened", &[epoch]) => self.opened(epoch),
            ("held", &[sequence, commit]) => self.held(sequence, commit),
            ("ready", &[commit, last, records, _]) => self.ready(commit, last, records),
            ("append", &[sequence, commit]) => self.append(sequence, commit),
            ("remove", &[sequence]) => {
                self.next.held.remove(&sequence);
                Ok(())
            }
            ("replace", &[sequence, commit]) => {
                let known = self.next.held.get_mut(&sequence);
                *known.ok_or("a record was replaced that is not there")? = commit;
                Ok(())
            }
            ("commit", &[commit]) => {
                self.next.commit = commit;
                self.in_doubt = true;
                Ok(())
            }
            ("done", &[commit]) => self.done(commit),
            _ => Err(format!("the worker said `{line}`")),
        }
    }

    /// The worker is gone; whatever it had not begun to make durable never was.
    pub(crate) fn killed(&mut self) {
        self.found = None;
        self.killed_early += u64::from(!std::mem::take(&mut self.ready));
        if !self.in_doubt {
            self.next = self.durable.clone();
        }
    }

    fn opened(&mut self, epoch: u64) -> Result<(), String> {
        let epoch = u32::try_from(epoch).map_err(|_| "no epoch")?;
        if *self.epoch.get_or_insert(epoch) != epoch {
            return Err(format!("the epoch became {epoch}"));
        }
        self.found = Some(State::default());
        Ok(())
    }

    fn held(&mut self, sequence: u64, commit: u64) -> Result<(), String> {
        let found = self.found.as_mut().ok_or("a record outside of an opening")?;
        found.held.insert(sequence, commit);
        Ok(())
    }

    fn ready(&mut self, commit: u64, last: u64, records: u64) -> Result<(), String> {
        let mut found = self.found.take().ok_or("ready without having been opened")?;
        (found.commit, found.last) = (commit, last);
        if u64::try_from(found.held.len()) != Ok(records) {
            return Err(format!("{} records, but counted are {records}", found.held.len()));
        }
        if found != self.durable && !(self.in_doubt && found == self.next) {
            return Err(self.explain(&found));
        }
        self.opened += 1;
        self.ready = true;
        self.in_doubt = false;
        self.durable.clone_from(&found);
        self.next = found;
        Ok(())
    }

    fn append(&mut self, sequence: u64, commit: u64) -> Result<(), String> {
        if sequence != self.next.last + 1 {
            return Err(format!("sequence {sequence} was given after {}", self.next.last));
        }
        self.next.last = sequence;
        self.next.held.insert(sequence, commit);
        Ok(())
    }

    fn done(&mut self, commit: u64) -> Result<(), String> {
        if commit != self.next.commit || !self.in_doubt {
            return Err(format!("commit {commit} was done without having been begun"));
        }
        self.in_doubt = false;
        self.commits += 1;
        self.drains += u64::from(self.next.held.is_empty() && !self.durable.held.is_empty());
        self.durable.clone_from(&self.next);
        Ok(())
    }

    /// Says how a store differs from the last commit that was done.
    fn explain(&self, found: &State) -> String {
        let missing = |from: &State, of: &State| {
            of.held.iter().filter(|(sequence, _)| !from.held.contains_key(sequence)).count()
        };
        let lost = missing(found, &self.durable);
        let more = missing(&self.durable, found);
        format!(
            "the store is neither at commit {} nor, whole, at the next{}: it says commit {} (last \
             sequence {} instead of {}), {lost} records are missing, {more} are there again or too \
             early",
            self.durable.commit,
            if self.in_doubt { "" } else { " (which had not begun)" },
            found.commit,
            found.last,
            self.durable.last,
        )
    }
}

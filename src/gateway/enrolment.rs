//! Who is enrolled: the sealed store, which the platform and the command line keep, and beside it
//! the registry file of the configuration, for shops that keep one by hand.
//!
//! The store wins: over a file's entry about the same subject, and by what it remembers of
//! withdrawals over a file that still has somebody who withdrew.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use ring::digest;
use rustc_hash::FxBuildHasher;
use tracing::{error, warn};

use super::GatewayError;
use crate::{
    clock::Clock,
    command::Standing,
    engine::{ClockQuality, Consent, ConsentLedger, Fixture, Pseudonym, Registry, Subject},
    forget,
    registry::{
        self,
        store::{self, Change, Order, RegistryStore, RegistryStoreError, Source, Withdrawal},
    },
    seal::KeySource,
    settings::{Invalid, Settings},
};

/// Where the registry lies.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    state_dir: PathBuf,
    credentials: Option<PathBuf>,
    /// The registry file; empty when there is none.
    file: PathBuf,
    fixtures: Vec<Fixture>,
    clock: Clock,
    /// What the store's stamp said when it was last read or changed from here.
    seen: Option<u64>,
    prints: Prints,
}

/// Who was enrolled how, as hashes of names and of whole entries: enough to see what has changed,
/// without a second copy of a chain's registry.
type Prints = HashMap<u64, u64, FxBuildHasher>;

/// Everyone who is enrolled.
#[derive(Debug)]
pub(super) struct Enrolled {
    pub(super) registry: Registry,
    /// How far the platform's commands were followed.
    pub(super) standing: Standing,
    /// Whether a registry was lost, and nobody knows who is enrolled.
    pub(super) lost: bool,
}

// === impl Enrolled ===

impl Enrolled {
    /// Who agreed to what.
    pub(super) fn ledger(&self) -> ConsentLedger {
        if self.lost { ConsentLedger::lost() } else { self.registry.ledger() }
    }
}

// === impl Keeper ===

impl Keeper {
    pub(super) fn new(
        settings: &Settings,
        credentials: Option<&Path>,
        clock: Clock,
    ) -> Result<Self, Invalid> {
        Ok(Self {
            state_dir: settings.gateway.state_dir.clone(),
            credentials: credentials.map(Path::to_owned),
            file: settings.identity.registry.clone(),
            fixtures: settings.fixtures()?,
            clock,
            seen: None,
            prints: Prints::default(),
        })
    }

    /// Reads everything. Blocks.
    pub(super) fn read(&mut self) -> Result<Enrolled, GatewayError> {
        let mut subjects = Vec::new();
        let mut prints = Prints::default();
        let standing = self.each(|subject| {
            let (name, print) = print(&subject);
            prints.insert(name, print);
            subjects.push(subject);
        })?;
        let lost = standing.is_none();
        let registry = Registry::new(subjects, self.fixtures.clone())?;
        self.prints = prints;
        // Reading leaves room behind, several times as large as what was read.
        forget::give_back();
        Ok(Enrolled { registry, standing: standing.unwrap_or_default(), lost })
    }

    /// Reads everything, and keeps what is not as it was: those who are enrolled newly or otherwise.
    /// Who is not [known](Self::knows) any more has gone. `None` when the registry is lost. Blocks.
    pub(super) fn read_changes(&mut self) -> Result<Option<Vec<Subject>>, GatewayError> {
        let mut changed = Vec::new();
        let mut prints = Prints::default();
        let before = std::mem::take(&mut self.prints);
        let read = self.each(|subject| {
            let (name, print) = print(&subject);
            prints.insert(name, print);
            if before.get(&name) != Some(&print) {
                changed.push(subject);
            }
        });
        let is_read = matches!(read, Ok(Some(_)));
        self.prints = if is_read { prints } else { before };
        forget::give_back();
        Ok(read?.map(|_| changed))
    }

    /// Whether somebody was enrolled when it was last read or changed from here.
    pub(super) fn knows(&self, name: &Pseudonym) -> bool {
        self.prints.contains_key(&hash(name.as_str().as_bytes()))
    }

    /// Somebody could not be enrolled after all: to be tried again with the next reading.
    pub(super) fn doubt(&mut self, name: &Pseudonym) {
        self.prints.insert(hash(name.as_str().as_bytes()), 0);
    }

    /// Goes through everyone in the store and in the file. Returns how far the platform's commands
    /// were followed; `None` when the registry is lost.
    fn each(&mut self, mut take: impl FnMut(Subject)) -> Result<Option<Standing>, GatewayError> {
        self.seen = store::stamp(&self.state_dir);
        let has_file = !self.file.as_os_str().is_empty();
        let file = if has_file { registry::read(&self.file)? } else { Vec::new() };
        // What sled, opening and parsing leave behind is as much as what stays, and would lie between
        // it. A thread has memory of its own (an arena), so what stays, copied out of it, lies
        // together: 43 MB for 100,000 subjects. The arena itself, 46 MB, is not given back.
        let (subjects, arrived) = mpsc::sync_channel(WAY);
        let (state_dir, keys, clock) = (&self.state_dir, self.keys(), self.clock);
        let read = move || {
            let done = from_store(state_dir, &keys, clock, file, &subjects);
            // This thread ends, and keys were on its stack.
            forget::burn_stack();
            done
        };
        thread::scope(|scope| {
            let reader = scope.spawn(read);
            for subject in arrived {
                take(copied(&subject));
            }
            // Whoever panicked there has said why.
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Where the store stands, if there is one. Blocks.
    pub(super) fn version(&self) -> Result<Option<store::Version>, RegistryStoreError> {
        let store = RegistryStore::open_existing(&self.state_dir, &self.keys(), self.clock)?;
        Ok(store.map(|store| store.version()))
    }

    /// Whether the store was changed since, from elsewhere.
    pub(super) fn changed_by_others(&self) -> bool {
        store::stamp(&self.state_dir) != self.seen
    }

    /// Keeps changes of the platform's. Blocks until they are durable.
    pub(super) fn apply(
        &mut self,
        changes: &[Change],
        command: u64,
        standing: Standing,
    ) -> Result<(), RegistryStoreError> {
        let mut store = RegistryStore::open(&self.state_dir, &self.keys(), self.clock)?;
        store.apply(changes, &order(command, standing))?;
        self.seen = store::stamp(&self.state_dir);
        for change in changes {
            match change {
                Change::Upsert(subject) => {
                    let (name, print) = print(subject);
                    self.prints.insert(name, print);
                }
                Change::Withdraw(name) => {
                    self.prints.remove(&hash(name.as_str().as_bytes()));
                }
            }
        }
        Ok(())
    }

    /// Keeps how far the platform was followed, where nobody is enrolled or withdraws. Blocks until
    /// that is durable.
    pub(super) fn remember(&mut self, standing: Standing) -> Result<(), RegistryStoreError> {
        self.apply(&[], standing.last, standing)
    }

    /// Keeps the platform's snapshot in place of all that it had enrolled. Blocks. Returns how many
    /// of it had withdrawn and were passed over.
    pub(super) fn replace(
        &mut self,
        subjects: &[Subject],
        command: u64,
        standing: Standing,
    ) -> Result<usize, RegistryStoreError> {
        let mut store = RegistryStore::open_after_loss(&self.state_dir, &self.keys(), self.clock)?;
        let replaced = store.replace(subjects, &[], &order(command, standing), &mut |_| {})?;
        self.seen = store::stamp(&self.state_dir);
        Ok(replaced.passed_over.len())
    }

    fn keys(&self) -> KeySource {
        KeySource::new(&self.state_dir, self.credentials.as_deref())
    }
}

/// How many subjects may be on their way out of the thread that reads.
const WAY: usize = 64;

/// Reads the store, and adds those of the registry file that it leaves.
fn from_store(
    state_dir: &Path,
    keys: &KeySource,
    clock: Clock,
    file: Vec<Subject>,
    subjects: &mpsc::SyncSender<Subject>,
) -> Result<Option<Standing>, GatewayError> {
    // Nobody takes them only if whoever asked has panicked.
    let give = |subject| drop(subjects.send(subject));
    match RegistryStore::open_existing(state_dir, keys, clock) {
        Ok(None) => {
            file.into_iter().for_each(give);
            Ok(Some(Standing::default()))
        }
        Ok(Some(store)) => {
            let unreadable = store.for_each(&mut |subject, _| give(subject))?;
            if unreadable > 0 {
                error!(unreadable, "Some of the registry cannot be read; enrol them again.");
            }
            join(&store, file, give)?;
            Ok(Some(serde_json::from_slice(store.platform()).unwrap_or_default()))
        }
        Err(error @ RegistryStoreError::Lost { .. }) => {
            let error: &dyn std::error::Error = &error;
            error!(error, "Nobody is recognised, and nothing about anybody is sent.");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The same subject in memory of this thread's own; nothing is shared with the original.
fn copied(subject: &Subject) -> Subject {
    let consent = subject
        .consent
        .as_ref()
        .map(|consent| Consent { proof: Arc::from(&*consent.proof), ..consent.clone() });
    Subject {
        pseudonym: Pseudonym::new(subject.pseudonym.as_str()),
        kind: subject.kind,
        identifiers: subject.identifiers.clone(),
        consent,
    }
}

/// Adds those of the registry file whom the store knows neither as enrolled nor as withdrawn.
fn join(
    store: &RegistryStore,
    file: Vec<Subject>,
    mut take: impl FnMut(Subject),
) -> Result<(), RegistryStoreError> {
    for subject in file {
        let name = subject.pseudonym.as_str();
        if store.get(name)?.is_some() {
            continue;
        }
        if let Some(withdrawal) = store.withdrawal(name)?
            && !is_newer(&subject, &withdrawal)
        {
            warn!("The registry file still has somebody who withdrew; they stay withdrawn.");
            continue;
        }
        take(subject);
    }
    Ok(())
}

/// The hashes of a subject's name and of all that is known about it.
fn print(subject: &Subject) -> (u64, u64) {
    let mut line = Vec::new();
    registry::form::write(subject, &mut line);
    (hash(subject.pseudonym.as_str().as_bytes()), hash(&line))
}

fn hash(bytes: &[u8]) -> u64 {
    let hash = digest::digest(&digest::SHA256, bytes);
    u64::from_be_bytes(hash.as_ref().first_chunk().copied().unwrap_or_default())
}

/// Whether somebody gave a consent after they withdrew. Not when nobody knows when they withdrew: a
/// clock that is not set is late as a rule, and a withdrawal would count as older than it is.
fn is_newer(subject: &Subject, withdrawal: &Withdrawal) -> bool {
    let from = subject.consent.as_ref().map(|consent| consent.from);
    let is_known = withdrawal.clock == ClockQuality::Synced;
    matches!((from, withdrawal.when), (Some(from), Some(when)) if is_known && from > when)
}

fn order(command: u64, standing: Standing) -> Order {
    // A few numbers by name: this cannot fail.
    let platform = serde_json::to_vec(&standing).ok();
    Order { source: Source::Platform, command: Some(command), platform, again: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::UnixTime;

    #[test]
    fn only_a_withdrawal_whose_time_is_known_gives_way_to_a_later_consent() {
        let subjects = registry::parse(
            r#"{"subject":"s","kind":"customer","identifiers":[{"address":"C0:11:22:33:44:55"}],"consent":{"purposes":["presence"],"from":"1970-01-01T00:00:10Z","proof":"form-1"}}"#,
        );
        let subject = &subjects.unwrap()[0];
        let newer = |seconds: Option<i64>, clock| {
            let when = seconds.map(|seconds| UnixTime::from_millis(seconds * 1000));
            is_newer(subject, &Withdrawal { when, clock, command: None })
        };
        assert!(newer(Some(9), ClockQuality::Synced));
        assert!(!newer(Some(10), ClockQuality::Synced));
        assert!(!newer(Some(9), ClockQuality::Unsynced), "the clock may have been late");
        assert!(!newer(None, ClockQuality::Synced));
    }
}

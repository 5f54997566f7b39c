//! Who is enrolled: the sealed store, which the platform and the command line keep, and beside it
//! the registry file of the configuration, for shops that keep one by hand.
//!
//! The store is opened by a process of its own where that can be (see `steward`), else here.

pub(super) mod steward;
mod vault;

use std::{collections::HashMap, path::Path, sync::mpsc, thread};

use ring::digest;
use rustc_hash::FxBuildHasher;
use tracing::error;
use zeroize::Zeroizing;

use super::GatewayError;
use crate::{
    clock::Clock,
    command::Standing,
    engine::{ConsentLedger, Fixture, Pseudonym, Registry, RegistryBuilder, Subject},
    forget,
    registry::{
        self,
        store::{self, Change, Order, RegistryStoreError, Source},
    },
    settings::{Invalid, Settings},
};
use steward::Stewards;
use vault::{Found, Kept, Vault};

/// Who opens the registry's store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreWork {
    /// This process. Part of the memory that this takes is kept.
    Here,
    /// A process of its own each time: this program once more, with [`steward::STEWARD`] as its only
    /// argument, which must lead to [`steward::serve`].
    Apart,
}

/// Keeps the registry.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    vault: Vault,
    /// Who opens the store, if it is not this process.
    stewards: Option<Stewards>,
    fixtures: Vec<Fixture>,
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
        work: StoreWork,
    ) -> Result<Self, Invalid> {
        Ok(Self {
            vault: Vault {
                state_dir: settings.gateway.state_dir.clone(),
                credentials: credentials.map(Path::to_owned),
                file: settings.identity.registry.clone(),
                clock,
            },
            stewards: (work == StoreWork::Apart).then_some(Stewards { log: settings.log.level }),
            fixtures: settings.fixtures_with_keys(credentials)?,
            seen: None,
            prints: Prints::default(),
        })
    }

    /// Reads everything. Blocks.
    pub(super) fn read(&mut self) -> Result<Enrolled, GatewayError> {
        let (mut builder, mut enrolled) = (RegistryBuilder::default(), Ok(()));
        let mut prints = Prints::default();
        let standing = self.each(|subject| {
            let (name, print) = print(&subject);
            prints.insert(name, print);
            if enrolled.is_ok() {
                enrolled = builder.enrol(subject);
            }
        })?;
        enrolled?;
        let lost = standing.is_none();
        let registry = builder.finish(self.fixtures.clone())?;
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
        self.seen = store::stamp(&self.vault.state_dir);
        let mut unreadable = 0;
        let found = self.lines(&mut |line| match registry::subject_from_line(line) {
            Some(subject) => take(subject),
            None => unreadable += 1,
        })?;
        unreadable += found.unreadable;
        if unreadable > 0 {
            error!(unreadable, "Some of the registry cannot be read; enrol them again.");
        }
        let standing = |platform: Vec<u8>| serde_json::from_slice(&platform).unwrap_or_default();
        Ok(found.platform.map(standing))
    }

    fn lines(&self, give: &mut dyn FnMut(&[u8])) -> Result<Found, GatewayError> {
        if let Some(stewards) = self.stewards
            && let Some(found) = stewards.lines(&self.vault, give)?
        {
            return Ok(found);
        }
        // What sled, opening and parsing leave behind is as much as what stays, and would lie between
        // it. A thread has memory of its own (an arena), so what is made here of each line lies
        // together.
        let (lines, arrived) = mpsc::sync_channel(WAY);
        let vault = &self.vault;
        let read = move || {
            // Nobody takes them only if whoever asked has panicked.
            let done = vault.lines(&mut |line| drop(lines.send(Zeroizing::new(line.to_vec()))));
            // This thread ends, and keys were on its stack.
            forget::burn_stack();
            done
        };
        thread::scope(|scope| {
            let reader = scope.spawn(read);
            for line in arrived {
                give(&line);
            }
            // Whoever panicked there has said why.
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Where the store stands, if there is one. Blocks.
    pub(super) fn version(&self) -> Result<Option<store::Version>, RegistryStoreError> {
        self.vault.version()
    }

    /// Whether the store was changed since, from elsewhere.
    pub(super) fn changed_by_others(&self) -> bool {
        store::stamp(&self.vault.state_dir) != self.seen
    }

    /// Keeps changes of the platform's. Blocks until they are durable.
    pub(super) fn apply(
        &mut self,
        changes: &[Change],
        command: u64,
        standing: Standing,
    ) -> Result<(), GatewayError> {
        let order = order(command, standing);
        let apart = match self.stewards {
            Some(stewards) => stewards.apply(&self.vault, changes, &order)?,
            None => None,
        };
        let kept = match apart {
            Some(kept) => kept,
            None => self.vault.apply(changes, &order)?,
        };
        self.seen = kept.stamp;
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
    pub(super) fn remember(&mut self, standing: Standing) -> Result<(), GatewayError> {
        self.apply(&[], standing.last, standing)
    }

    /// Keeps the platform's snapshot in place of all that it had enrolled. Blocks. Returns how many
    /// of it had withdrawn and were passed over.
    pub(super) fn replace(
        &mut self,
        subjects: &[Subject],
        command: u64,
        standing: Standing,
    ) -> Result<u64, GatewayError> {
        let order = order(command, standing);
        let apart = match self.stewards {
            Some(stewards) => stewards.replace(&self.vault, subjects, &order)?,
            None => None,
        };
        let Kept { stamp, passed_over } = match apart {
            Some(kept) => kept,
            None => self.vault.replace(subjects, &order)?,
        };
        self.seen = stamp;
        Ok(passed_over)
    }
}

/// How many lines may be on their way out of the thread that reads.
const WAY: usize = 64;

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

fn order(command: u64, standing: Standing) -> Order {
    // A few numbers by name: this cannot fail.
    let platform = serde_json::to_vec(&standing).ok();
    Order { source: Source::Platform, command: Some(command), platform, again: false }
}

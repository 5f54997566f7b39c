//! Who is enrolled: the sealed store, which the platform and the command line keep, and beside it
//! the registry file of the configuration, for shops that keep one by hand.
//!
//! The store wins: over a file's entry about the same subject, and by what it remembers of
//! withdrawals over a file that still has somebody who withdrew.

use std::path::{Path, PathBuf};

use tracing::{error, warn};

use super::GatewayError;
use crate::{
    clock::Clock,
    command::Standing,
    engine::{ClockQuality, ConsentLedger, Fixture, Registry, Subject},
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
}

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
        })
    }

    /// Reads everything. Blocks.
    pub(super) fn read(&mut self) -> Result<Enrolled, GatewayError> {
        self.seen = store::stamp(&self.state_dir);
        let has_file = !self.file.as_os_str().is_empty();
        let file = if has_file { registry::read(&self.file)? } else { Vec::new() };
        match RegistryStore::open_existing(&self.state_dir, &self.keys(), self.clock) {
            Ok(None) => {
                let registry = Registry::new(file, self.fixtures.clone())?;
                Ok(Enrolled { registry, standing: Standing::default(), lost: false })
            }
            Ok(Some(store)) => self.join(&store, file),
            Err(error @ RegistryStoreError::Lost { .. }) => {
                let error: &dyn std::error::Error = &error;
                error!(error, "Nobody is recognised, and nothing about anybody is sent.");
                let registry = Registry::new(Vec::new(), self.fixtures.clone())?;
                Ok(Enrolled { registry, standing: Standing::default(), lost: true })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn join(&self, store: &RegistryStore, file: Vec<Subject>) -> Result<Enrolled, GatewayError> {
        let loaded = store.load(&mut |_| {})?;
        if loaded.unreadable > 0 {
            let unreadable = loaded.unreadable;
            error!(unreadable, "Some of the registry cannot be read; enrol them again.");
        }
        let mut subjects = loaded.subjects;
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
            subjects.push(subject);
        }
        let standing = serde_json::from_slice(store.platform()).unwrap_or_default();
        let registry = Registry::new(subjects, self.fixtures.clone())?;
        Ok(Enrolled { registry, standing, lost: false })
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
        Ok(())
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

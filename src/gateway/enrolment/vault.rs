//! Where the registry lies, and the work on it: everyone who is enrolled out, as lines of the
//! registry file; changes of the platform's in. Done by the gateway itself or by its steward.
//!
//! The store wins: over a file's entry about the same subject, and by what it remembers of
//! withdrawals over a file that still has somebody who withdrew.

use std::path::PathBuf;

use tracing::{error, warn};

use crate::{
    clock::Clock,
    engine::{ClockQuality, Subject},
    gateway::GatewayError,
    registry::{
        self, form,
        store::{self, Change, Order, RegistryStore, RegistryStoreError, Withdrawal},
    },
    seal::KeySource,
};

/// Where the registry lies.
#[derive(Clone, Debug)]
pub(super) struct Vault {
    pub(super) state_dir: PathBuf,
    /// Where systemd puts credentials, if it does.
    pub(super) credentials: Option<PathBuf>,
    /// The registry file; empty when there is none.
    pub(super) file: PathBuf,
    pub(super) clock: Clock,
}

/// What was found besides those who are enrolled.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Found {
    /// What was remembered for whoever takes the platform's commands; `None` when the registry is
    /// lost.
    pub(super) platform: Option<Vec<u8>>,
    /// How many entries cannot be unsealed.
    pub(super) unreadable: u64,
}

/// What a change left behind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Kept {
    /// What the store's stamp says now.
    pub(super) stamp: Option<u64>,
    /// How many were passed over because they had withdrawn.
    pub(super) passed_over: u64,
}

// === impl Vault ===

impl Vault {
    /// Hands over the line of everyone in the store, and of those in the registry file whom the
    /// store leaves. Blocks.
    pub(super) fn lines(&self, give: &mut dyn FnMut(&[u8])) -> Result<Found, GatewayError> {
        let has_file = !self.file.as_os_str().is_empty();
        let file = if has_file { registry::read(&self.file)? } else { Vec::new() };
        let mut line = Vec::new();
        let mut give_subject = |subject: &Subject, give: &mut dyn FnMut(&[u8])| {
            line.clear();
            form::write(subject, &mut line);
            give(&line);
        };
        match RegistryStore::open_existing(&self.state_dir, &self.keys(), self.clock) {
            Ok(None) => {
                for subject in &file {
                    give_subject(subject, give);
                }
                Ok(Found { platform: Some(Vec::new()), unreadable: 0 })
            }
            Ok(Some(store)) => {
                let unreadable = store.for_each_line(give)?;
                join(&store, &file, |subject| give_subject(subject, give))?;
                Ok(Found { platform: Some(store.platform().to_vec()), unreadable })
            }
            Err(error @ RegistryStoreError::Lost { .. }) => {
                let error: &dyn std::error::Error = &error;
                error!(error, "Nobody is recognised, and nothing about anybody is sent.");
                Ok(Found::default())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes changes, all of them or none. Blocks until they are durable.
    pub(super) fn apply(&self, changes: &[Change], order: &Order) -> Result<Kept, GatewayError> {
        let mut store = RegistryStore::open(&self.state_dir, &self.keys(), self.clock)?;
        store.apply(changes, order)?;
        // While nobody else can change it.
        Ok(Kept { stamp: store::stamp(&self.state_dir), passed_over: 0 })
    }

    /// Puts these in place of all that the platform had enrolled. Blocks until that is durable.
    pub(super) fn replace(
        &self,
        subjects: &[Subject],
        order: &Order,
    ) -> Result<Kept, GatewayError> {
        let mut store = RegistryStore::open_after_loss(&self.state_dir, &self.keys(), self.clock)?;
        let replaced = store.replace(subjects, &[], order, &mut |_| {})?;
        let passed_over = u64::try_from(replaced.passed_over.len()).unwrap_or(u64::MAX);
        Ok(Kept { stamp: store::stamp(&self.state_dir), passed_over })
    }

    /// Where the store stands, if there is one. Blocks.
    pub(super) fn version(&self) -> Result<Option<store::Version>, RegistryStoreError> {
        let store = RegistryStore::open_existing(&self.state_dir, &self.keys(), self.clock)?;
        Ok(store.map(|store| store.version()))
    }

    fn keys(&self) -> KeySource {
        KeySource::new(&self.state_dir, self.credentials.as_deref())
    }
}

/// Hands over those of the registry file whom the store knows neither as enrolled nor as withdrawn.
fn join(
    store: &RegistryStore,
    file: &[Subject],
    mut take: impl FnMut(&Subject),
) -> Result<(), RegistryStoreError> {
    for subject in file {
        let name = subject.pseudonym.as_str();
        if store.get(name)?.is_some() {
            continue;
        }
        if let Some(withdrawal) = store.withdrawal(name)?
            && !is_newer(subject, &withdrawal)
        {
            warn!("The registry file still has somebody who withdrew; they stay withdrawn.");
            continue;
        }
        take(subject);
    }
    Ok(())
}

/// Whether somebody gave a consent after they withdrew. Not when nobody knows when they withdrew: a
/// clock that is not set is late as a rule, and a withdrawal would count as older than it is.
fn is_newer(subject: &Subject, withdrawal: &Withdrawal) -> bool {
    let from = subject.consent.as_ref().map(|consent| consent.from);
    let is_known = withdrawal.clock == ClockQuality::Synced;
    matches!((from, withdrawal.when), (Some(from), Some(when)) if is_known && from > when)
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

//! `registry`: who is enrolled at this gateway, looked at and changed on the machine itself.
//!
//! The store is opened for a moment, also while the gateway runs, which notices changes by itself.

mod change;
mod export;
mod findings;
mod import;
mod look;

pub(super) use findings::findings;

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Common, Failure};
use crate::{
    clock::Clock,
    gateway::chain,
    registry::store::{RegistryStore, RegistryStoreError},
    seal::KeySource,
    settings::Settings,
};

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Enrol those in a file, all of them or, if anything is wrong with it, nobody.
    Import(import::Options),
    /// List who is enrolled.
    List(look::ListOptions),
    /// Show what one subject agreed to and how it is recognised, without identifiers and keys.
    Show(look::ShowOptions),
    /// Withdraw subjects: they are no longer recognised, and what is buffered about them is erased.
    Withdraw(change::WithdrawOptions),
    /// Print all that this gateway holds about one subject, as JSON, for a subject access request.
    Export(export::Options),
    /// Open every value of the registry and count.
    Verify(look::VerifyOptions),
    /// Seal the registry with a new key, and forget the old one.
    RotateKey(change::RotateOptions),
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    match &options.action {
        Action::Import(options) => import::run(options),
        Action::List(options) => look::list(options),
        Action::Show(options) => look::show(options),
        Action::Withdraw(options) => change::withdraw(options),
        Action::Export(options) => export::run(options),
        Action::Verify(options) => look::verify(options),
        Action::RotateKey(options) => change::rotate_key(options),
    }
}

/// Where the registry is, and what opens it.
struct Desk {
    settings: Settings,
    keys: KeySource,
    clock: Clock,
}

impl Desk {
    fn new(common: &Common) -> Result<Self, Failure> {
        let settings = common.load()?;
        let keys = keys(&settings);
        let clock = Clock::start().trusting(settings.gateway.clock);
        Ok(Self { settings, keys, clock })
    }

    fn state_dir(&self) -> &Path {
        &self.settings.gateway.state_dir
    }

    /// The registry; an empty one is begun if there was none.
    fn open(&self) -> Result<RegistryStore, Failure> {
        Ok(RegistryStore::open(self.state_dir(), &self.keys, self.clock)?)
    }

    /// The registry, if there is one.
    fn open_existing(&self) -> Result<Option<RegistryStore>, Failure> {
        Ok(RegistryStore::open_existing(self.state_dir(), &self.keys, self.clock)?)
    }

    /// The registry, or the word that there is none.
    fn existing(&self) -> Result<RegistryStore, Failure> {
        self.open_existing()?.ok_or_else(|| {
            Failure::Failed(format!(
                "there is no registry in {}; `beacon-gateway registry import FILE` makes one{}",
                self.state_dir().display(),
                self.besides()
            ))
        })
    }

    /// A reminder of the registry file that the configuration names: it enrols people as well, and
    /// what looks into the sealed registry does not see them. Empty where there is none.
    fn besides(&self) -> String {
        let file = &self.settings.identity.registry;
        if file.as_os_str().is_empty() {
            return String::new();
        }
        format!(
            "; {} (`identity.registry`) enrols besides, and is not looked at here",
            file.display()
        )
    }
}

/// Where the keys of a gateway's registry come from.
pub(super) fn keys(settings: &Settings) -> KeySource {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    KeySource::new(&settings.gateway.state_dir, credentials.as_deref())
}

/// A progress bar on a terminal; nothing elsewhere.
fn bar(total: usize, what: &str, quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let form = match what {
        "bytes" => "reading  {bar:40} {bytes}/{total_bytes} ({eta})",
        _ => "writing  {bar:40} {pos}/{len} ({eta})",
    };
    let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX)).with_style(style)
}

impl From<RegistryStoreError> for Failure {
    fn from(error: RegistryStoreError) -> Self {
        Self::Failed(chain(&error))
    }
}

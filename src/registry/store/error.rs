//! What the registry's store fails to do, each variant with what a technician can do about it.

use std::{error::Error, io, path::PathBuf};

use thiserror::Error;

use super::layout::LAYOUT;
use crate::seal::{KeyError, SealError};

/// What anything below the store says.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// A registry store that cannot be opened, read or changed.
#[derive(Debug, Error)]
pub enum RegistryStoreError {
    /// The directory is missing and cannot be made, or is not a directory.
    #[error(
        "failed to use the registry's directory {}: check that the path is right and its disk is \
         mounted and writable", dir.display()
    )]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory belongs to somebody else.
    #[error(
        "failed to use the registry's directory {}: this user may not read and write there; run \
         this as the service's user (`sudo -u beacon-gateway …`) or as root", dir.display()
    )]
    Forbidden {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No room is left.
    #[error(
        "failed to write to the registry in {}: the disk is full; free some space and try again, \
         what was enrolled before still is", dir.display()
    )]
    DiskFull {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: Cause,
    },
    /// Another process has the store open, and did not close it in time.
    #[error(
        "failed to open the registry in {}: another process is changing it for longer than \
         expected; try again in a minute", dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The keys cannot be had.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The store was sealed with a key that is not here.
    #[error(
        "failed to unseal the registry in {}: it was sealed with {}, and {}. {WHERE_KEYS_ARE}",
        dir.display(), wanted(*number), found(*other)
    )]
    WrongKey {
        /// The directory.
        dir: PathBuf,
        /// The number of the key that it needs.
        number: u32,
        /// Whether there is another key of that number.
        other: bool,
    },
    /// The store was made by a later version of this program.
    #[error(
        "failed to open the registry in {}: it has layout {found}, and this version knows layout \
         {LAYOUT}; install the version that made it, or move the directory away and import again",
        dir.display()
    )]
    NewerLayout {
        /// The directory.
        dir: PathBuf,
        /// Its layout.
        found: u16,
    },
    /// The store could not be read and was set aside just now.
    #[error(
        "failed to read the registry: it is damaged, and was set aside as {}. {AFTER_LOSS}",
        aside.display()
    )]
    Damaged {
        /// Where it is now.
        aside: PathBuf,
        /// What is wrong with it.
        source: Cause,
    },
    /// The store cannot be read, and whoever asked only wanted to look.
    #[error(
        "failed to read the registry in {}: it is damaged; the gateway, or whoever changes the \
         registry next, sets it aside. {AFTER_LOSS}", dir.display()
    )]
    Unreadable {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        source: Cause,
    },
    /// A damaged store was set aside earlier, and nothing has taken its place yet.
    #[error("failed to find a registry in {}: {}. {AFTER_LOSS}", dir.display(), why.trim())]
    Lost {
        /// The directory.
        dir: PathBuf,
        /// What was noted when it was set aside.
        why: String,
    },
    /// A value could not be sealed.
    #[error("failed to seal the registry")]
    Seal(#[source] SealError),
    /// Something is too large to be kept.
    #[error("failed to keep {what}: it takes {found} bytes, at most {most} are allowed")]
    TooBig {
        /// What it is; a subject by its pseudonym.
        what: String,
        /// How long it is, in bytes.
        found: usize,
        /// How long it may be.
        most: usize,
    },
    /// A change did not reach the disk; nobody knows how much of it did.
    #[error(
        "failed to make a change of the registry durable; check the disk (`dmesg`, `df`), then \
         make it again: the registry was left as it was before, or has all of it"
    )]
    Write(#[source] Cause),
    /// The store could not be read.
    #[error("failed to read the registry; check the disk (`dmesg`)")]
    Read(#[source] Cause),
    /// An earlier failure left the store unusable.
    #[error("failed to use the registry after an earlier failure; it has to be opened again")]
    Unusable,
}

const WHERE_KEYS_ARE: &str = "Where the service gets its key as a credential, commands need it, \
    too: CREDENTIALS_DIRECTORY=/run/credentials/beacon-gateway.service while it runs. If the key \
    is lost for good, move the directory away and import the registry again, from a file without \
    those who withdrew";

const AFTER_LOSS: &str = "Nobody is recognised until the registry is there again: by a snapshot \
    from the platform, or by `beacon-gateway registry import --replace --after-loss FILE`. The \
    withdrawals kept in it are lost with it, so the file must not have those who withdrew since";

fn wanted(number: u32) -> String {
    format!("key number {number}")
}

fn found(other: bool) -> &'static str {
    if other { "the key of that number here is another one" } else { "that key is not here" }
}

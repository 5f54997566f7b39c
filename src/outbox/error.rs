//! What the outbox fails to do, each variant with what a technician can do about it.

use std::{error::Error, io, path::PathBuf};

use thiserror::Error;

use crate::seal::KeyError;

use super::sled_journal::LAYOUT;

/// An outbox that cannot be opened, or can no longer be trusted.
#[derive(Debug, Error)]
pub enum OutboxError {
    /// The directory is missing and cannot be made, or is not a directory.
    #[error(
        "failed to use the outbox directory {}: check that the path is right and its disk is \
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
        "failed to use the outbox directory {}: this user may not read and write there; run as \
         the service's user, or give the directory to it with `chown -R`", dir.display()
    )]
    Forbidden {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No room is left. The store was not touched.
    #[error(
        "failed to open the outbox in {}: the disk is full; free some space and start again, \
         nothing in the outbox is lost", dir.display()
    )]
    DiskFull {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another process has the outbox open.
    #[error(
        "failed to open the outbox in {}: another process is using it; while the service runs, \
         ask it through its state topic, or stop it first with `systemctl stop beacon-gateway`",
        dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds something else.
    #[error(
        "failed to open the outbox in {}: this is not an outbox, it contains `{found}`; give the \
         outbox a directory of its own", dir.display()
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Something in it that no outbox has.
        found: String,
    },
    /// There is nothing to look into.
    #[error(
        "failed to find an outbox in {}: check the path; the gateway makes one when it first runs",
        dir.display()
    )]
    Absent {
        /// The directory.
        dir: PathBuf,
    },
    /// The store was made by a later version of this program.
    #[error(
        "failed to open the outbox in {}: it has layout {found}, and this version knows layouts up \
         to {LAYOUT}; install the version that made it, or move the directory away to start afresh",
        dir.display()
    )]
    NewerLayout {
        /// The directory.
        dir: PathBuf,
        /// Its layout.
        found: u16,
    },
    /// The store was made by an earlier version, and whoever asked only wanted to look at it.
    #[error(
        "failed to read the outbox in {}: an earlier version made it; start the service once, which \
         brings it into the form of this one", dir.display()
    )]
    OlderLayout {
        /// The directory.
        dir: PathBuf,
    },
    /// The key of the store cannot be opened. The store was not touched.
    #[error(
        "failed to open the sealed outbox in {}; nothing in it is lost as long as its key can be \
         brought back", dir.display()
    )]
    Key {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with the key, and what to do.
        source: KeyError,
    },
    /// The key of the store is not there. The store was not touched.
    #[error(
        "failed to open the outbox: its key {} is missing; put it back from a copy, or move the \
         store beside it away to start afresh", path.display()
    )]
    KeyMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The store cannot be read, and whoever asked did not want it set aside.
    #[error(
        "failed to read the outbox in {}: it is damaged; when the service starts it sets such a \
         store aside as `corrupt-<time>` and begins a fresh one", dir.display()
    )]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A fresh store cannot be made.
    #[error(
        "failed to make a fresh outbox in {}: check the disk (`dmesg`, `df`) and the rights of the \
         directory", dir.display()
    )]
    Create {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A commit did not reach the disk. Nobody knows how much of it did.
    #[error(
        "failed to make records durable; check the disk (`dmesg`, `df`): what was not yet \
         committed is lost with this process, the rest is read again at the next start"
    )]
    Commit(#[source] Box<dyn Error + Send + Sync>),
    /// The store could not be read.
    #[error("failed to read records back; check the disk (`dmesg`)")]
    Read(#[source] Box<dyn Error + Send + Sync>),
    /// An earlier failure left the journal unusable.
    #[error("failed to use the outbox after an earlier failure; it has to be opened again")]
    Unusable,
    /// The store in the directory is not the one that was there before.
    #[error(
        "failed to go on with the outbox: the store that is there now ends at sequence {found} of \
         epoch {epoch}, but more had been made durable; check that the right disk is mounted, and \
         that nobody has put an old copy in its place"
    )]
    Older {
        /// Its epoch.
        epoch: u32,
        /// The last sequence it knows.
        found: u64,
    },
    /// The store could not be read any more while the gateway ran, and a fresh one was begun that
    /// knows nothing of it.
    #[error(
        "failed to go on with the same numbers: the outbox was damaged, a fresh one was begun, and \
         everything that was in memory is in it; the gateway has to start anew, which systemd does"
    )]
    Renewed,
    /// A record, a name or a value is too long.
    #[error("failed to take in {found} bytes; at most {most} are allowed")]
    TooBig {
        /// How long it is, in bytes.
        found: usize,
        /// How long it may be, in bytes.
        most: usize,
    },
    /// sled moved a record into a file of its own, which it never syncs.
    #[error(
        "failed to keep every record in the store's log: sled put one into {}, where a power cut \
         would lose it; this is a bug in this program", dir.display()
    )]
    Blob {
        /// Where such files are.
        dir: PathBuf,
    },
    /// The thread could not be started.
    #[error("failed to start the outbox thread; the system is out of memory or threads")]
    Thread(#[source] io::Error),
    /// The thread ended without saying why, which is a panic.
    #[error("failed to keep the outbox running: its thread ended unexpectedly; this is a bug")]
    Died,
}

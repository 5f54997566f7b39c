//! The clerk: a process of its own that has the registry's store open, and ends with the errand.
//! An errand in; lines of the registry, or word that a change is durable, out.
//!
//! sled reads a store into memory whole, in pieces that lie between whatever else is made
//! meanwhile. A process that ends gives all of that back; a thread keeps half of it. So the gateway
//! starts its own program once more, and they talk over the clerk's standard input and output (see
//! `pipe`). It promises that
//!
//! - it is the same program, also when a package has replaced the file meanwhile;
//! - no key, identifier or pseudonym is an argument, in the environment or in the log;
//! - the clerk does not outlive the gateway: it ends when its standard input does;
//! - signals for the gateway are not for the clerk: a change that is under way is made.

mod pipe;
mod serve;

use std::{
    io::{self, BufReader, BufWriter, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use thiserror::Error;
use tracing::warn;

use super::vault::{Found, Kept, Vault};
use crate::{
    engine::Subject,
    gateway::Fate,
    registry::{
        form,
        store::{Change, Order},
    },
    settings::{ClockTrust, LogLevel},
};
use pipe::{Errand, FromClerk, ToClerk, Work};
pub use serve::serve;

/// The argument with which the program starts itself as a clerk.
pub const CLERK: &str = "registry-clerk";

/// This program, as it was when it was started.
const PROGRAM: &str = "/proc/self/exe";

/// Why a clerk did not do what it was asked for.
#[derive(Debug, Error)]
pub enum ClerkError {
    /// The work failed; the clerk said why.
    #[error("{why}")]
    Failed {
        /// The error and all its causes.
        why: String,
        /// What to do about it.
        fate: Fate,
    },
    /// It ended before it was done.
    #[error(
        "failed to work with the registry: the process that does it ended early ({how}); look for \
         its own words in the log, and at the machine's memory"
    )]
    Ended {
        /// How it ended, as far as that is known.
        how: String,
    },
    /// The pipe to it broke.
    #[error("failed to talk to the process that works with the registry")]
    Pipe(#[source] io::Error),
    /// It was not understood.
    #[error(
        "failed to understand the other end of the pipe between the gateway and its clerk; the \
         gateway alone starts `{CLERK}`, and to it this is an error in the program"
    )]
    Form,
}

/// Starts clerks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clerks {
    /// What they log.
    pub(super) log: LogLevel,
    /// When they believe the wall clock.
    pub(super) trust: ClockTrust,
}

/// A clerk at work.
struct Clerk {
    child: Child,
    /// Closed last: a clerk whose standard input ends goes.
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
    buffer: Vec<u8>,
}

// === impl ClerkError ===

impl ClerkError {
    /// What the supervisor should do.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Failed { fate, .. } => *fate,
            Self::Ended { .. } | Self::Pipe(_) => Fate::Retry,
            Self::Form => Fate::Bug,
        }
    }
}

// === impl Clerks ===

impl Clerks {
    /// As [`Vault::lines`]; `None` when no clerk can be started.
    pub(super) fn lines(
        self,
        vault: &Vault,
        give: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Found>, ClerkError> {
        let Some(mut clerk) = Clerk::start() else { return Ok(None) };
        clerk.send(&ToClerk::Errand(self.errand(vault, Work::Lines)))?;
        clerk.finish(give).map(|done| Some(done.found()))
    }

    /// As [`Vault::apply`]; `None` when no clerk can be started.
    pub(super) fn apply(
        self,
        vault: &Vault,
        changes: &[Change],
        order: &Order,
    ) -> Result<Option<Kept>, ClerkError> {
        let Some(mut clerk) = Clerk::start() else { return Ok(None) };
        clerk.send(&ToClerk::Errand(self.errand(vault, Work::apply(order))))?;
        let mut line = Vec::new();
        for change in changes {
            match change {
                Change::Upsert(subject) => clerk.send_subject(subject, &mut line)?,
                Change::Withdraw(name) => clerk.send(&ToClerk::Withdraw(name.as_str()))?,
            }
        }
        clerk.finish(&mut |_| ()).map(|done| Some(done.kept()))
    }

    /// As [`Vault::replace`]; `None` when no clerk can be started.
    pub(super) fn replace(
        self,
        vault: &Vault,
        subjects: &[Subject],
        order: &Order,
    ) -> Result<Option<Kept>, ClerkError> {
        let Some(mut clerk) = Clerk::start() else { return Ok(None) };
        clerk.send(&ToClerk::Errand(self.errand(vault, Work::replace(order))))?;
        let mut line = Vec::new();
        for subject in subjects {
            clerk.send_subject(subject, &mut line)?;
        }
        clerk.finish(&mut |_| ()).map(|done| Some(done.kept()))
    }

    fn errand(self, vault: &Vault, work: Work) -> Errand {
        Errand::new(vault, self, work)
    }
}

// === impl Clerk ===

impl Clerk {
    /// Starts a clerk. Where that is not possible the gateway does the work itself: it then takes
    /// more memory, and everything else is as it should be.
    fn start() -> Option<Self> {
        let mut command = Command::new(PROGRAM);
        command.arg0(env!("CARGO_PKG_NAME")).arg(CLERK);
        // In a group of its own: an interrupt from the keyboard is meant for the gateway.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        match command.spawn().and_then(Self::new) {
            Ok(clerk) => Some(clerk),
            Err(error) => {
                warn!(%error, "No process can be started for the registry; the gateway itself reads it, and keeps more memory.");
                None
            }
        }
    }

    fn new(mut child: Child) -> io::Result<Self> {
        let ends = child.stdin.take().zip(child.stdout.take());
        let (to, from) = ends.ok_or(io::ErrorKind::BrokenPipe)?;
        let (to, from) = (BufWriter::new(to), BufReader::with_capacity(PIECE, from));
        Ok(Self { child, to, from, buffer: Vec::new() })
    }

    fn send(&mut self, word: &ToClerk<'_>) -> Result<(), ClerkError> {
        let sent = pipe::write(&mut self.to, word, &mut self.buffer);
        sent.map_err(|error| self.broken(error))
    }

    fn send_subject(&mut self, subject: &Subject, line: &mut Vec<u8>) -> Result<(), ClerkError> {
        line.clear();
        form::write(subject, line);
        self.send(&ToClerk::Enrol(line))
    }

    /// That was all; takes what comes until the clerk is done.
    fn finish(mut self, give: &mut dyn FnMut(&[u8])) -> Result<pipe::Done, ClerkError> {
        self.send(&ToClerk::End)?;
        self.to.flush().map_err(|error| self.broken(error))?;
        loop {
            if !pipe::read(&mut self.from, &mut self.buffer).map_err(ClerkError::Pipe)? {
                return Err(self.ended());
            }
            match postcard::from_bytes(&self.buffer).map_err(|_| ClerkError::Form)? {
                FromClerk::Line(line) => give(line),
                FromClerk::Done(done) => return Ok(done),
                FromClerk::Failed { why, fate } => {
                    return Err(ClerkError::Failed { why, fate: fate.into() });
                }
            }
        }
    }

    /// A pipe that breaks is the last thing one hears of a process that died.
    fn broken(&mut self, error: io::Error) -> ClerkError {
        if error.kind() == io::ErrorKind::BrokenPipe {
            self.ended()
        } else {
            ClerkError::Pipe(error)
        }
    }

    fn ended(&mut self) -> ClerkError {
        let how = match self.child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "nobody knows how".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        ClerkError::Ended { how }
    }
}

impl Drop for Clerk {
    /// Done, or nobody waits for it any more. It has said so, and there is nothing left to keep.
    fn drop(&mut self) {
        // Both fail only for one that has ended and was waited for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How much is read from the pipe at once, in bytes: as much as it holds.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests;

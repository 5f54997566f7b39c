//! The steward: a process of its own that has the registry's store open, and ends with the task.
//! A task in; lines of the registry, or word that a change is durable, out.
//!
//! sled reads a store into memory whole, in pieces that lie between whatever else is made
//! meanwhile. A process that ends gives all of that back; a thread keeps half of it. So the gateway
//! starts its own program once more, and they talk over the steward's standard input and output (see
//! `pipe`). It promises that
//!
//! - it is the same program, also when a package has replaced the file meanwhile;
//! - no key, identifier or pseudonym is an argument, in the environment or in the log;
//! - the steward does not outlive the gateway: it ends when its standard input does;
//! - signals for the gateway are not for the steward: a change that is under way is made.

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
    settings::LogLevel,
};
use pipe::{FromSteward, Task, ToSteward, Work};
pub use serve::serve;

/// The argument with which the program starts itself as a steward.
pub const STEWARD: &str = "registry-steward";

/// This program, as it was when it was started.
const PROGRAM: &str = "/proc/self/exe";

/// Why a steward did not do what it was asked for.
#[derive(Debug, Error)]
pub enum StewardError {
    /// The work failed; the steward said why.
    #[error("{why}")]
    Failed {
        /// The error and its causes, but what the disk answered.
        why: String,
        /// What to do about it.
        fate: Fate,
        /// What the disk answered, if it is the disk that failed.
        source: Option<io::Error>,
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
        "failed to understand the other end of the pipe between the gateway and its steward; the \
         gateway alone starts `{STEWARD}`, and to it this is an error in the program"
    )]
    Form,
}

/// Starts stewards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stewards {
    /// What they log.
    pub(super) log: LogLevel,
}

/// A steward at work.
struct Steward {
    child: Child,
    /// Closed last: a steward whose standard input ends goes.
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
    buffer: Vec<u8>,
}

// === impl StewardError ===

impl StewardError {
    /// What the supervisor should do.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Failed { fate, .. } => *fate,
            Self::Ended { .. } | Self::Pipe(_) => Fate::Retry,
            Self::Form => Fate::Bug,
        }
    }
}

// === impl Stewards ===

impl Stewards {
    /// As [`Vault::lines`]; `None` when no steward can be started.
    pub(super) fn lines(
        self,
        vault: &Vault,
        give: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Found>, StewardError> {
        let Some(mut steward) = Steward::start() else { return Ok(None) };
        steward.send(&ToSteward::Task(self.task(vault, Work::Lines)))?;
        steward.finish(give).map(|done| Some(done.found()))
    }

    /// As [`Vault::apply`]; `None` when no steward can be started.
    pub(super) fn apply(
        self,
        vault: &Vault,
        changes: &[Change],
        order: &Order,
    ) -> Result<Option<Kept>, StewardError> {
        let Some(mut steward) = Steward::start() else { return Ok(None) };
        steward.send(&ToSteward::Task(self.task(vault, Work::apply(order))))?;
        let mut line = Vec::new();
        for change in changes {
            match change {
                Change::Upsert(subject) => steward.send_subject(subject, &mut line)?,
                Change::Withdraw(name) => steward.send(&ToSteward::Withdraw(name.as_str()))?,
            }
        }
        steward.finish(&mut |_| ()).map(|done| Some(done.kept()))
    }

    /// As [`Vault::replace`]; `None` when no steward can be started.
    pub(super) fn replace(
        self,
        vault: &Vault,
        subjects: &[Subject],
        order: &Order,
    ) -> Result<Option<Kept>, StewardError> {
        let Some(mut steward) = Steward::start() else { return Ok(None) };
        steward.send(&ToSteward::Task(self.task(vault, Work::replace(order))))?;
        let mut line = Vec::new();
        for subject in subjects {
            steward.send_subject(subject, &mut line)?;
        }
        steward.finish(&mut |_| ()).map(|done| Some(done.kept()))
    }

    fn task(self, vault: &Vault, work: Work) -> Task {
        Task::new(vault, self, work)
    }
}

// === impl Steward ===

impl Steward {
    /// Starts a steward. Where that is not possible the gateway does the work itself: it then takes
    /// more memory, and everything else is as it should be.
    fn start() -> Option<Self> {
        let mut command = Command::new(PROGRAM);
        command.arg0(env!("CARGO_PKG_NAME")).arg(STEWARD);
        // In a group of its own: an interrupt from the keyboard is meant for the gateway.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        match command.spawn().and_then(Self::new) {
            Ok(steward) => Some(steward),
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

    fn send(&mut self, word: &ToSteward<'_>) -> Result<(), StewardError> {
        let sent = pipe::write(&mut self.to, word, &mut self.buffer);
        sent.map_err(|error| self.broken(error))
    }

    fn send_subject(&mut self, subject: &Subject, line: &mut Vec<u8>) -> Result<(), StewardError> {
        line.clear();
        form::write(subject, line);
        self.send(&ToSteward::Enrol(line))
    }

    /// That was all; takes what comes until the steward is done.
    fn finish(mut self, give: &mut dyn FnMut(&[u8])) -> Result<pipe::Done, StewardError> {
        self.send(&ToSteward::End)?;
        self.to.flush().map_err(|error| self.broken(error))?;
        loop {
            if !pipe::read(&mut self.from, &mut self.buffer).map_err(StewardError::Pipe)? {
                return Err(self.ended());
            }
            match postcard::from_bytes(&self.buffer).map_err(|_| StewardError::Form)? {
                FromSteward::Line(line) => give(line),
                FromSteward::Done(done) => return Ok(done),
                FromSteward::Failed(failure) => return Err(failure.into()),
            }
        }
    }

    /// A pipe that breaks is the last thing one hears of a process that died.
    fn broken(&mut self, error: io::Error) -> StewardError {
        if error.kind() == io::ErrorKind::BrokenPipe {
            self.ended()
        } else {
            StewardError::Pipe(error)
        }
    }

    fn ended(&mut self) -> StewardError {
        let how = match self.child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "nobody knows how".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        StewardError::Ended { how }
    }
}

impl Drop for Steward {
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

//! What goes over the pipes between the gateway and its steward, in both directions.
//!
//! A frame is its length (u32, little-endian) and one postcard value. Both ends are the same
//! program, so there is no version.

use std::{
    error::Error,
    ffi::OsString,
    io::{self, Read, Write},
    mem,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{StewardError, Stewards};
use crate::{
    clock::Clock,
    engine::ClockQuality,
    gateway::{
        Fate, GatewayError,
        enrolment::vault::{Found, Kept, Vault},
    },
    outbox::DiskState,
    registry::store::{Order, Source},
    settings::{ClockTrust, LogLevel},
};

/// The largest frame, in bytes. A line of the registry file is the largest thing in one, and may
/// have as many identifiers as anybody likes; this is a hundred thousand.
const MOST: usize = 16 << 20;

/// What a steward is told: a task, then those whom it is about, then the end.
#[derive(Deserialize, Serialize)]
pub(super) enum ToSteward<'a> {
    Task(Task),
    /// The line of somebody who is to be enrolled.
    Enrol(&'a [u8]),
    /// The pseudonym of somebody who withdrew.
    Withdraw(&'a str),
    End,
}

/// What a steward says: lines, if it was asked for them, then how it went.
#[derive(Deserialize, Serialize)]
pub(super) enum FromSteward<'a> {
    Line(&'a [u8]),
    Done(Done),
    Failed(Failure),
}

/// What is to be done, and where.
#[derive(Deserialize, Serialize)]
pub(super) struct Task {
    state_dir: Vec<u8>,
    credentials: Option<Vec<u8>>,
    file: Vec<u8>,
    /// Whether the gateway believes the wall clock.
    believed: bool,
    log: LogForm,
    pub(super) work: Work,
}

/// What is to be done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Work {
    /// Hand over the lines of all who are enrolled.
    Lines,
    /// Make the changes that follow, by a command of the platform's.
    Apply { command: Option<u64>, platform: Option<Vec<u8>> },
    /// Put those who follow in place of all that the platform had enrolled.
    Replace { command: Option<u64>, platform: Option<Vec<u8>> },
}

/// What was done: of [`Found`] and [`Kept`] whatever the work was for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Done {
    platform: Option<Vec<u8>>,
    unreadable: u64,
    stamp: Option<u64>,
    passed_over: u64,
}

/// Why nothing, or not all, was done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Failure {
    why: String,
    fate: FateForm,
    /// What the disk answered, by the system's number.
    disk: Option<i32>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum FateForm {
    Retry,
    Reconfigure,
    Bug,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
enum LogForm {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Writes a frame. `buffer` is room to work in.
pub(super) fn write(
    to: &mut impl Write,
    word: &impl Serialize,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    buffer.clear();
    let written = postcard::to_extend(word, mem::take(buffer));
    *buffer = written.map_err(|_| io::ErrorKind::InvalidInput)?;
    let length = u32::try_from(buffer.len()).ok().filter(|&length| length as usize <= MOST);
    let length = length.ok_or(io::ErrorKind::FileTooLarge)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(buffer)
}

/// Reads a frame into `buffer`; false when there is none any more.
pub(super) fn read(from: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    buffer.clear();
    buffer.resize(length, 0);
    match from.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

// === impl Task ===

impl Task {
    pub(super) fn new(vault: &Vault, Stewards { log }: Stewards, work: Work) -> Self {
        let octets = |path: &Path| path.as_os_str().as_bytes().to_vec();
        Self {
            state_dir: octets(&vault.state_dir),
            credentials: vault.credentials.as_deref().map(octets),
            file: octets(&vault.file),
            believed: vault.clock.wall().quality == ClockQuality::Synced,
            log: match log {
                LogLevel::Error => LogForm::Error,
                LogLevel::Warn => LogForm::Warn,
                LogLevel::Info => LogForm::Info,
                LogLevel::Debug => LogForm::Debug,
                LogLevel::Trace => LogForm::Trace,
            },
            work,
        }
    }

    pub(super) fn log(&self) -> LogLevel {
        match self.log {
            LogForm::Error => LogLevel::Error,
            LogForm::Warn => LogLevel::Warn,
            LogForm::Info => LogLevel::Info,
            LogForm::Debug => LogLevel::Debug,
            LogForm::Trace => LogLevel::Trace,
        }
    }

    pub(super) fn vault(&self) -> Vault {
        let path = |octets: &Vec<u8>| PathBuf::from(OsString::from_vec(octets.clone()));
        // The gateway has watched the clock for longer than a process that has just begun.
        let trust = if self.believed { ClockTrust::Always } else { ClockTrust::Synced };
        Vault {
            state_dir: path(&self.state_dir),
            credentials: self.credentials.as_ref().map(path),
            file: path(&self.file),
            clock: Clock::start().trusting(trust),
        }
    }
}

// === impl Work ===

impl Work {
    pub(super) fn apply(order: &Order) -> Self {
        Self::Apply { command: order.command, platform: order.platform.clone() }
    }

    pub(super) fn replace(order: &Order) -> Self {
        Self::Replace { command: order.command, platform: order.platform.clone() }
    }

    /// On whose behalf; only the platform sends the gateway anywhere.
    pub(super) fn order(command: Option<u64>, platform: Option<Vec<u8>>) -> Order {
        Order { source: Source::Platform, command, platform, again: false }
    }
}

// === impl Done ===

impl Done {
    pub(super) fn found(self) -> Found {
        Found { platform: self.platform, unreadable: self.unreadable }
    }

    pub(super) fn kept(self) -> Kept {
        Kept { stamp: self.stamp, passed_over: self.passed_over }
    }
}

impl From<Found> for Done {
    fn from(Found { platform, unreadable }: Found) -> Self {
        Self { platform, unreadable, ..Self::default() }
    }
}

impl From<Kept> for Done {
    fn from(Kept { stamp, passed_over }: Kept) -> Self {
        Self { stamp, passed_over, ..Self::default() }
    }
}

// === impl Failure ===

impl Failure {
    pub(super) fn of(error: &GatewayError) -> Self {
        let fate = match error.fate() {
            Fate::Retry => FateForm::Retry,
            Fate::Reconfigure => FateForm::Reconfigure,
            Fate::Bug => FateForm::Bug,
        };
        let (mut why, mut disk) = (Vec::new(), None);
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            cause = error.source();
            // The disk's own answer has none below it that speaks of the disk.
            disk = match DiskState::of(error) {
                state if cause.is_none_or(|below| DiskState::of(below).is_none()) => state,
                _ => None,
            };
            if disk.is_some() {
                break;
            }
            why.push(error.to_string());
        }
        let number = |state| match state {
            DiskState::Ok => None,
            DiskState::Full => Some(libc::ENOSPC),
            DiskState::ReadOnly => Some(libc::EROFS),
            DiskState::Failing => Some(libc::EIO),
        };
        Self { why: why.join(": "), fate, disk: disk.and_then(number) }
    }
}

impl From<Failure> for StewardError {
    fn from(Failure { why, fate, disk }: Failure) -> Self {
        let fate = match fate {
            FateForm::Retry => Fate::Retry,
            FateForm::Reconfigure => Fate::Reconfigure,
            FateForm::Bug => Fate::Bug,
        };
        Self::Failed { why, fate, source: disk.map(io::Error::from_raw_os_error) }
    }
}

//! How the disk is, as far as errors tell; and when it is tried again. Errors in, a word out.

use std::{
    error::Error,
    fmt,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use super::OutboxError;

/// How soon a journal that was lost is opened again for the first time.
const SOONEST: Duration = Duration::from_secs(1);

/// How long it is waited at most between two attempts: whoever has freed the disk waits no longer.
const LONGEST: Duration = Duration::from_mins(1);

/// What is written to find out whether anything can be, and how much of it, in bytes.
const PROBE: &str = "probe";
const PROBED: usize = 1 << 20;

/// How the disk under the outbox is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DiskState {
    /// Everything that was promised is on it.
    #[default]
    Ok,
    /// No room is left on it, or none for this user.
    Full,
    /// Nothing can be written to it.
    ReadOnly,
    /// It answers with errors, or is not there.
    Failing,
}

/// The moments at which something that failed is tried again.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    failures: u32,
}

// === impl DiskState ===

impl DiskState {
    /// As it stands in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Failing => "failing",
        }
    }

    /// What an error says about the disk; `None` when the disk is not what it is about.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(state) = io_error(error).and_then(Self::of_io) {
                return Some(state);
            }
            cause = error.source();
        }
        None
    }

    fn of_io(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Self::Full),
            io::ErrorKind::ReadOnlyFilesystem => Some(Self::ReadOnly),
            _ => match error.raw_os_error().or_else(|| told(error))? {
                // A broken device, one that was pulled out, and a damaged file system.
                libc::EIO | libc::ENXIO | libc::ENODEV | libc::ESTALE | libc::EUCLEAN => {
                    Some(Self::Failing)
                }
                _ => None,
            },
        }
    }
}

impl fmt::Display for DiskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Finds out whether something can be written in a directory, before a store is opened there that
/// would only fail again: two of its segments.
pub(crate) fn probe(dir: &Path) -> Result<(), OutboxError> {
    let path = dir.join(PROBE);
    let written = File::create(&path).and_then(|mut file| {
        let block = [0x55; 4096];
        for _ in 0..PROBED / block.len() {
            file.write_all(&block)?;
        }
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    written.and(removed).map_err(|source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            OutboxError::DiskFull { dir: dir.to_owned(), source: source.into() }
        }
        _ => OutboxError::Commit(source.into()),
    })
}

/// How many bytes this process has written to disks, by `proc(5)`: what its pages cost, once they
/// are written. `None` where the system does not tell.
pub(crate) fn written() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    let figure =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    figure("write_bytes:")
}

/// The system's error, also where the store wraps it without naming it as its cause.
fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    match error.downcast_ref::<sled::Error>() {
        Some(sled::Error::Io(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}

/// The number of an error that sled has copied: it copies the text only, which is how Rust shows an
/// error of the system to developers (`Os { code: 5, kind: …`).
fn told(error: &io::Error) -> Option<i32> {
    let text = error.get_ref()?.to_string();
    let (_, rest) = text.split_once("Os { code: ")?;
    rest.split_once(',')?.0.parse().ok()
}

// === impl Patience ===

impl Patience {
    /// It failed; says how long to wait: from one second doubling to a minute, up to half of it
    /// less as `chance` (0 to 1) has it.
    pub(crate) fn failed(&mut self, chance: f64) -> Duration {
        let factor = 2_u32.checked_pow(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let longest = SOONEST.saturating_mul(factor).min(LONGEST);
        let chance = if chance.is_nan() { 0.0 } else { chance.clamp(0.0, 1.0) };
        longest.saturating_sub((longest / 2).mul_f64(chance))
    }

    /// It works, and has for a while.
    pub(crate) fn proved(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_how_the_disk_is_however_deep_it_lies() {
        let raw = io::Error::from_raw_os_error;
        let deep = |code| OutboxError::Commit(sled::Error::Io(raw(code)).into());
        assert_eq!(DiskState::of(&deep(libc::ENOSPC)), Some(DiskState::Full));
        assert_eq!(DiskState::of(&deep(libc::EDQUOT)), Some(DiskState::Full));
        assert_eq!(DiskState::of(&deep(libc::EROFS)), Some(DiskState::ReadOnly));
        assert_eq!(DiskState::of(&deep(libc::EIO)), Some(DiskState::Failing));
        // As sled keeps it for all who come after.
        let copied = sled::Error::Io(raw(libc::EIO)).clone();
        assert_eq!(DiskState::of(&OutboxError::Commit(copied.into())), Some(DiskState::Failing));
        assert_eq!(
            DiskState::of(&OutboxError::Read(raw(libc::ENODEV).into())),
            Some(DiskState::Failing)
        );
        assert_eq!(DiskState::of(&raw(libc::EACCES)), None, "rights are not the disk's");
        assert_eq!(DiskState::of(&OutboxError::Unusable), None);
        let bug = sled::Error::ReportableBug("a bug".to_owned());
        assert_eq!(DiskState::of(&OutboxError::Commit(bug.into())), None);
    }

    #[test]
    fn a_disk_that_can_be_written_to_is_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        probe(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let error = probe(&directory.path().join("gone")).unwrap_err();
        assert!(matches!(error, OutboxError::Commit(_)), "{error}");
        assert!(written().is_some(), "this system does not tell what is written");
    }

    #[test]
    fn patience_grows_to_a_minute_and_chance_takes_up_to_half_of_it() {
        let mut patience = Patience::default();
        let seconds: Vec<u64> = (0..8).map(|_| patience.failed(0.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..100 {
            assert_eq!(patience.failed(1.0), Duration::from_secs(30));
        }
        patience.proved();
        assert_eq!(patience.failed(f64::NAN), Duration::from_secs(1));
    }
}

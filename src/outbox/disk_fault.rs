//! What is wrong with the disk, as far as an error tells.

use std::{error::Error, io};

use super::OutboxError;

/// Why the disk does not take what it is given.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DiskFault {
    /// There is no room left, or no quota.
    Full,
    /// It cannot be written to. Linux remounts a disk like this when it found errors on it.
    ReadOnly,
    /// It does not answer, or answers with errors.
    Failing,
}

impl OutboxError {
    /// What is wrong with the disk, if that is why this failed. `None` where opening the outbox
    /// again on the same disk could not be expected to help, and for errors that say nothing of it.
    pub fn disk_fault(&self) -> Option<DiskFault> {
        let mut next: Option<&(dyn Error + 'static)> = Some(self);
        let mut unclear = false;
        while let Some(error) = next {
            let found = error.downcast_ref::<io::Error>().or_else(|| in_sled(error));
            if let Some(fault) = found.and_then(of) {
                return Some(fault);
            }
            unclear |= found.is_some();
            next = error.source();
        }
        match self {
            Self::DiskFull { .. } => Some(DiskFault::Full),
            // Whatever it is that the system said of files that were open and in use.
            Self::Commit(_) | Self::Read(_) if unclear => Some(DiskFault::Failing),
            _ => None,
        }
    }
}

/// sled's error does not name its cause in the usual way.
fn in_sled<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    match error.downcast_ref::<sled::Error>() {
        Some(sled::Error::Io(error)) => Some(error),
        _ => None,
    }
}

/// What an error of the system says about the disk.
pub(super) fn of(error: &io::Error) -> Option<DiskFault> {
    use io::ErrorKind::{
        FileTooLarge, NotSeekable, QuotaExceeded, ReadOnlyFilesystem, StaleNetworkFileHandle,
        StorageFull, TimedOut,
    };
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => return Some(DiskFault::Full),
        ReadOnlyFilesystem => return Some(DiskFault::ReadOnly),
        TimedOut | StaleNetworkFileHandle | NotSeekable => return Some(DiskFault::Failing),
        _ => {}
    }
    // A broken card or a pulled one: an error of input or output, no such device or address, of
    // the remote side, of the transport, or a file system that found itself broken.
    let failing = [
        libc::EIO,
        libc::ENXIO,
        libc::ENODEV,
        libc::EREMOTEIO,
        libc::ENOTCONN,
        libc::EUCLEAN,
        libc::EBADMSG,
    ];
    let code = error.raw_os_error().or_else(|| told(error));
    code.filter(|code| failing.contains(code)).map(|_| DiskFault::Failing)
}

/// The number of an error that sled has copied: it copies the text only, which is how Rust shows an
/// error of the system to developers (`Os { code: 5, kind: …`).
fn told(error: &io::Error) -> Option<i32> {
    let text = error.get_ref()?.to_string();
    let (_, rest) = text.split_once("Os { code: ")?;
    rest.split_once(',')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(code: i32) -> [Option<DiskFault>; 4] {
        let error = || io::Error::from_raw_os_error(code);
        // As sled keeps it for all who come after.
        let copied = sled::Error::Io(error()).clone();
        [
            OutboxError::Commit(error().into()).disk_fault(),
            OutboxError::Read(sled::Error::Io(error()).into()).disk_fault(),
            OutboxError::Commit(copied.into()).disk_fault(),
            OutboxError::Directory { dir: "outbox".into(), source: error() }.disk_fault(),
        ]
    }

    #[test]
    fn what_the_system_says_is_found_however_deep_it_lies() {
        assert_eq!(faults(libc::ENOSPC), [Some(DiskFault::Full); 4]);
        assert_eq!(faults(libc::EDQUOT), [Some(DiskFault::Full); 4]);
        assert_eq!(faults(libc::EROFS), [Some(DiskFault::ReadOnly); 4]);
        assert_eq!(faults(libc::EIO), [Some(DiskFault::Failing); 4]);
    }

    #[test]
    fn what_is_not_the_disks_fault_is_not_said_to_be() {
        assert_eq!(OutboxError::Unusable.disk_fault(), None);
        assert_eq!(OutboxError::Commit("the journal was told to fail".into()).disk_fault(), None);
        let corrupt = sled::Error::ReportableBug("a bug".to_owned());
        assert_eq!(OutboxError::Read(corrupt.into()).disk_fault(), None);
        let dir = || "outbox".into();
        let gone = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(OutboxError::Directory { dir: dir(), source: gone }.disk_fault(), None);
        let forbidden = io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(OutboxError::Forbidden { dir: dir(), source: forbidden }.disk_fault(), None);
        let full = OutboxError::DiskFull { dir: dir(), source: "no room".into() };
        assert_eq!(full.disk_fault(), Some(DiskFault::Full));
    }
}

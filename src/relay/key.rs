//! The key that a receiver and its lead share: a file in, what seals and opens with it out.
//!
//! The file is a ring as of the registry's keys: lines of `number:64 hexadecimal digits`. The highest
//! number seals, all of them open, so a new key is put to the lead first, then to the receiver, and
//! then the old one is taken out.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::seal::{KeyRing, RingProblem, Sealer};

/// The longest file that is read, in bytes: hundreds of keys.
const LONGEST: u64 = 64 * 1024;

/// A shared key that cannot be had. Never repeats what is in the file.
#[derive(Debug, Error)]
pub enum KeyError {
    /// No file is named.
    #[error(
        "failed to find the shared key: name its file in `relay.seal_key_file`, at the lead in \
         `seal_key_file` of its [[remote]], or give systemd's credential (docs/several-gateways.md)"
    )]
    Unnamed,
    /// It cannot be read.
    #[error("failed to read the shared key in {}: check the path and its owner", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error(
        "failed to trust the shared key in {}: other users may read it; run `chmod 600` on the file, \
         and make a new key if anybody may have", path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It holds no key.
    #[error("failed to understand the shared key in {}: {problem}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: RingProblem,
    },
}

/// Where a shared key is: in the file that the configuration names, else in a credential of systemd's,
/// in the directory of them; empty when nothing says so.
pub fn path(named: &Path, credentials: Option<&Path>, credential: &str) -> PathBuf {
    if !named.as_os_str().is_empty() {
        return named.to_owned();
    }
    let credential = credentials.map(|dir| dir.join(credential));
    credential.filter(|path| path.exists()).unwrap_or_default()
}

/// Reads a shared key.
pub fn load(path: &Path) -> Result<Sealer, KeyError> {
    if path.as_os_str().is_empty() {
        return Err(KeyError::Unnamed);
    }
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    // systemd gives credentials the mode 0400, or 0440 with an access list.
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned() });
    }
    let length = usize::try_from(metadata.len().min(LONGEST)).unwrap_or_default();
    // As long as it gets, so that no piece of it is left behind in memory.
    let mut text = Zeroizing::new(Vec::with_capacity(length.saturating_add(2)));
    file.take(LONGEST + 1).read_to_end(&mut text).map_err(failed)?;
    let ring = KeyRing::parse(&text);
    ring.map(Sealer::new).map_err(|problem| KeyError::Form { path: path.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_key_is_read_and_one_that_others_may_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let put = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        assert!(matches!(load(&path), Err(KeyError::Read { .. })));
        assert!(matches!(load(Path::new("")), Err(KeyError::Unnamed)));
        let (old, new) = ("5e".repeat(32), "7f".repeat(32));
        put(&format!("1:{old}\n2:{new}\n"), 0o600);
        let sealer = load(&path).unwrap();
        assert_eq!((sealer.current(), sealer.numbers().count()), (2, 2));
        put(&format!("1:{old}\n"), 0o644);
        assert!(matches!(load(&path), Err(KeyError::Exposed { .. })));
        put(&old, 0o600);
        let error = load(&path).unwrap_err();
        assert!(matches!(error, KeyError::Form { .. }));
        assert!(!format!("{error} {error:?}").contains("5e5e"));
    }
}

//! What decrypts a fixture's frames: a file in, a [`BindKey`] out.
//!
//! The file holds the key as 32 hexadecimal digits, or 24 for early Xiaomi sensors, and white space
//! around them. What is in it is never repeated.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::Invalid;
use crate::{engine::frame::sensor::BindKey, relay::key_path};

/// The longest file that is read, in bytes: a key, and generous white space.
const LONGEST: u64 = 1024;

/// The longest key, in octets.
const OCTETS: usize = 16;

/// Where a fixture's key is: in the file that is named, else in systemd's credential
/// `fixture-key-ID`; `None` when nothing says so.
pub(super) fn path(named: &Path, credentials: Option<&Path>, id: &str) -> Option<PathBuf> {
    let path = key_path(named, credentials, &format!("fixture-key-{id}"));
    (!path.as_os_str().is_empty()).then_some(path)
}

/// Reads the key of the fixture whose setting is `key`.
pub(super) fn load(key: &str, path: &Path) -> Result<BindKey, Invalid> {
    let wrong = |why: &str, allowed: &str| {
        Invalid::new(key, format!("`{}`, which {why}", path.display()), allowed)
    };
    let text = read(path).map_err(|problem| match problem {
        Problem::Io(error) => {
            wrong(&format!("cannot be read ({error})"), "check the path and its owner")
        }
        Problem::Exposed => wrong(
            "other users may read",
            "run `chmod 600` on the file, and give the sensor a new key if anybody may have it",
        ),
    })?;
    parse(&text).ok_or_else(|| {
        let allowed = "write the sensor's bind key into it as 32 hexadecimal digits, 24 for early \
                       Xiaomi sensors, and nothing else";
        wrong("holds no key", allowed)
    })
}

enum Problem {
    Io(io::Error),
    Exposed,
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // systemd gives credentials the mode 0400, or 0440 with an access list.
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(Problem::Exposed);
    }
    let length = usize::try_from(metadata.len().min(LONGEST)).unwrap_or_default();
    // As long as it gets, so that no piece of it is left behind in memory.
    let mut text = Zeroizing::new(Vec::with_capacity(length.saturating_add(2)));
    file.take(LONGEST + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn parse(text: &[u8]) -> Option<BindKey> {
    let text = text.trim_ascii();
    let mut octets = Zeroizing::new([0; OCTETS]);
    let octets = octets.get_mut(..text.len() / 2)?;
    hex::decode_to_slice(text, octets).ok()?;
    BindKey::new(octets)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_key_is_read_with_white_space_around_it_and_one_that_is_none_is_refused_without_a_word_of_it()
     {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let put = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            load("fixture[0].bind_key_file", &path)
        };
        assert_eq!(put(&format!(" {}\n", "5E".repeat(16)), 0o600).unwrap().octets(), [0x5e; 16]);
        assert_eq!(put(&"5e".repeat(12), 0o400).unwrap().octets(), [0x5e; 12]);
        for text in ["", "5e5e", &"5e".repeat(13), &"5e".repeat(17), &"5g".repeat(16)] {
            let error = put(text, 0o600).unwrap_err().to_string();
            assert!(error.contains("holds no key") && !error.contains("5e5e"), "{error}");
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        let error = put(&"5e".repeat(16), 0o604).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains("5e5e"), "{error}");
        fs::remove_file(&path).unwrap();
        let error = load("fixture[0].bind_key_file", &path).unwrap_err().to_string();
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn a_key_that_is_not_named_is_looked_for_among_the_credentials() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(path(Path::new(""), None, "fridge-1"), None);
        assert_eq!(path(Path::new(""), Some(dir.path()), "fridge-1"), None);
        let credential = dir.path().join("fixture-key-fridge-1");
        fs::write(&credential, "").unwrap();
        assert_eq!(path(Path::new(""), Some(dir.path()), "fridge-1"), Some(credential));
        assert_eq!(path(Path::new(""), Some(dir.path()), "fridge-2"), None);
        assert_eq!(path(Path::new("/k"), Some(dir.path()), "fridge-1"), Some(PathBuf::from("/k")));
    }
}

//! What a running gateway leaves for other programs on the same machine to read: its counters.
//!
//! Counters in, one small JSON file in the state directory out, replaced whole once each metrics
//! interval and when the gateway stops. Promises: nothing personal in it, only numbers and times; the
//! runtime never waits for the disk; a file that cannot be written changes nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// The file in the state directory.
const FILE: &str = "privacy.json";

/// The form that this program writes and reads.
const FORM: u32 = 1;

/// A run of the gateway, as far as it can be told from numbers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// The form of this document.
    pub form: u32,
    /// Whether the gateway had stopped when it wrote this.
    pub stopped: bool,
    /// When this was true, RFC 3339.
    pub written: String,
    /// Since when was counted, RFC 3339.
    pub started: String,
    /// The program's version.
    pub version: String,
    /// Every counter, as in the metrics document.
    pub counters: Value,
}

/// Why the file could not be read.
#[derive(Debug, Error)]
pub enum StatusError {
    /// The file could not be read at all.
    #[error("cannot read `{}`; run this as root or as the gateway's user", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not in the form that this version writes.
    #[error("`{}` is not in the form of this version; it is renewed when the gateway runs", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Writes the file, one at a time.
#[derive(Debug)]
pub(super) struct StatusFile {
    path: PathBuf,
    writing: Option<JoinHandle<io::Result<()>>>,
    failing: bool,
}

impl Status {
    pub(super) fn new(stopped: bool, written: String, started: String, counters: Value) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { form: FORM, stopped, written, started, version, counters }
    }

    /// Reads what a gateway left in its state directory; `None` when none ever did.
    pub fn read(state_dir: &Path) -> Result<Option<Self>, StatusError> {
        let path = state_dir.join(FILE);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|source| StatusError::Form { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StatusError::Read { path, source }),
        }
    }
}

impl StatusFile {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE), writing: None, failing: false }
    }

    /// Replaces the file, unless the last time has not come to its end: the next one will do.
    pub(super) async fn write(&mut self, status: &Status) {
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        self.settle().await;
        let (path, text) = (self.path.clone(), serde_json::to_vec(status).unwrap_or_default());
        self.writing = Some(tokio::task::spawn_blocking(move || replace(&path, &text)));
    }

    /// Replaces the file for the last time, and waits until that is done.
    pub(super) async fn finish(mut self, status: &Status) {
        self.settle().await;
        self.write(status).await;
        self.settle().await;
    }

    /// Waits for what is being written; says once when it begins and when it ceases to fail.
    async fn settle(&mut self) {
        let Some(writing) = self.writing.take() else { return };
        let path = self.path.display();
        match writing.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
            Ok(()) if self.failing => {
                self.failing = false;
                info!(%path, "The counters for `privacy report` are written again.");
            }
            Err(error) if !self.failing => {
                self.failing = true;
                warn!(%error, %path, "The counters for `privacy report` cannot be written.");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Whoever reads finds the old content or the new, never a part. Not synced: after a power cut there
/// is no gateway whose counters these would be.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(stopped: bool) -> Status {
        let time = "2026-01-31T00:00:00.000Z".to_owned();
        Status::new(stopped, time.clone(), time, serde_json::json!({"engine": {"received": 7}}))
    }

    #[tokio::test]
    async fn what_is_left_can_be_read_and_the_last_word_is_that_it_stopped() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Status::read(directory.path()).unwrap().is_none());
        let mut file = StatusFile::new(directory.path());
        file.write(&status(false)).await;
        file.settle().await;
        assert_eq!(Status::read(directory.path()).unwrap(), Some(status(false)));
        file.write(&status(false)).await;
        file.finish(&status(true)).await;
        assert_eq!(Status::read(directory.path()).unwrap(), Some(status(true)));
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 1, "nothing else is left");
    }

    #[tokio::test]
    async fn a_directory_that_is_gone_is_survived_and_a_foreign_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = StatusFile::new(&directory.path().join("gone"));
        file.write(&status(false)).await;
        file.settle().await;
        assert!(file.failing);
        fs::write(directory.path().join(FILE), "{\"form\":").unwrap();
        let error = Status::read(directory.path()).unwrap_err();
        assert!(error.to_string().contains("renewed when the gateway runs"), "{error}");
    }
}

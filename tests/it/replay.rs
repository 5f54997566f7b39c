//! Recordings: what is read from every format, from real files, from damaged ones, and in time.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail it; the lints' exceptions are for test functions alone"
)]

mod captures;
mod damage;
mod formats;
mod pace;
mod record;
mod write;

use std::io::Cursor;

use beacon_gateway::{
    engine::Advertisement,
    scan::replay::{self, Recording, ReplayError},
};

/// Opens a recording that is in memory.
fn open(bytes: &[u8]) -> Result<Recording, ReplayError> {
    replay::read("memory", Cursor::new(bytes.to_vec()), u64::try_from(bytes.len()).ok())
}

/// Reads a recording to its end: the advertisements, and the error if one came.
fn read(bytes: &[u8]) -> (Vec<Advertisement>, Option<ReplayError>) {
    match open(bytes) {
        Ok(recording) => drain(recording),
        Err(error) => (Vec::new(), Some(error)),
    }
}

fn drain(recording: Recording) -> (Vec<Advertisement>, Option<ReplayError>) {
    let mut advertisements = Vec::new();
    let mut error = None;
    for item in recording {
        assert!(error.is_none(), "something came after the error");
        match item {
            Ok(advertisement) => advertisements.push(advertisement),
            Err(first) => error = Some(first),
        }
    }
    (advertisements, error)
}

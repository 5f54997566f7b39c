//! What can go wrong with a recording, as sentences for the person who chose the file.
//!
//! No message repeats a byte of the recording: it may be a stranger's.

use std::{io, sync::Arc};

use thiserror::Error;

/// Why a recording could not be replayed, or not to its end.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The file could not be opened.
    #[error("failed to open the recording {name}; check the path and who may read it")]
    Open {
        /// The file.
        name: Arc<str>,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The operating system could not read on.
    #[error("failed to read the recording {name} at byte {offset}")]
    Read {
        /// The file.
        name: Arc<str>,
        /// How far it was read.
        offset: u64,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("the recording {name} is empty")]
    Empty {
        /// The file.
        name: Arc<str>,
    },
    /// Its content is none of the formats we read.
    #[error(
        "{name} is no recording that can be replayed: expected btsnoop, pcap, pcapng, the text of \
         `hcidump --raw`, or JSON Lines that begin with `{{\"beacon_gateway_recording\":1`"
    )]
    Unrecognised {
        /// The file.
        name: Arc<str>,
    },
    /// It is compressed.
    #[error("{name} is compressed with gzip; unpack it first, for example with `gunzip`")]
    Compressed {
        /// The file.
        name: Arc<str>,
    },
    /// It is in a known format, but what was recorded is nothing we decode.
    #[error("{name} holds {found}, which cannot be replayed; expected {expected}")]
    Unsupported {
        /// The file.
        name: Arc<str>,
        /// What it says that it holds.
        found: String,
        /// What could be replayed.
        expected: &'static str,
    },
    /// It ends in the middle of something. Everything before was replayed.
    #[error(
        "the recording {name} ends at byte {end} in the middle of the {what} that begins at byte \
         {begin}; everything before that was read"
    )]
    Truncated {
        /// The file.
        name: Arc<str>,
        /// What is incomplete.
        what: &'static str,
        /// Where it begins.
        begin: u64,
        /// Where the file ends.
        end: u64,
    },
    /// It contradicts its own format. Everything before was replayed.
    #[error(
        "the recording {name} is damaged at byte {offset}: expected {expected}; everything before \
         that was read"
    )]
    Damaged {
        /// The file.
        name: Arc<str>,
        /// Where.
        offset: u64,
        /// What should have stood there.
        expected: &'static str,
    },
    /// The thread that reads recordings could not be started.
    #[error("failed to start the thread that reads recordings")]
    Thread {
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

//! Recording. Advertisements in, a file of JSON Lines out that [`replay`](super::replay) reads.
//!
//! What of a passer-by is in such a file, in the terms of PRIVACY.md:
//!
//! - **Address**: never. A fake stands in its place, the same one throughout the file, public or
//!   random as the address was and, if random, with its two bits that say of which sort. Fakes come
//!   from a key that is random for each recording and never written, so they cannot be reversed,
//!   nor compared between recordings, once the recording has ended.
//! - **Advertising data**: its shape. Kinds and lengths of the AD structures, flags, transmit power,
//!   appearance, 16-bit service UUIDs, the company, and the few bytes that tell an iBeacon, an
//!   AltBeacon or an Eddystone frame are kept; all other bytes are replaced by made-up ones that
//!   depend on the address and not on what stood there. Where the data repeated the address, in
//!   either byte order, it repeats the fake.
//! - **Time, receiver, signal strength**: as they were. The file is pseudonymous, not anonymous:
//!   somebody who knows when a person was there can guess which lines are theirs. Delete it when
//!   it has served.
//! - **Health**: nothing. What is never processed (Exposure Notification, Find My, medical
//!   services) is not recorded either, whoever sent it.
//!
//! What the caller calls known is written as it is: the shop's own fixtures, to debug a sensor.

mod fake;

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use thiserror::Error;

use self::fake::Faker;
use super::replay::JSON_LINES_VERSION;
use crate::engine::{AddressKind, Advertisement, ClockQuality, Uptime, WallClock, frame};

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    out: BufWriter<File>,
    started: Uptime,
    faker: Faker,
    written: Written,
}

/// Whose advertisement it is, which decides how much of it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whose {
    /// A device that may be written as it is: a listed fixture.
    Known,
    /// Anybody else's.
    Stranger,
}

/// What has been written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Written {
    /// Advertisements as they were.
    pub known: u64,
    /// Advertisements behind fakes.
    pub strangers: u64,
    /// Advertisements that are never processed and so were not written.
    pub left_out: u64,
}

/// Why a recording could not be written.
#[derive(Debug, Error)]
pub enum RecordError {
    /// There is no randomness for the key of the fakes.
    #[error("failed to read random bytes from {RANDOM}")]
    Randomness(#[source] io::Error),
    /// The file could not be created.
    #[error(
        "failed to create the recording {}; choose a name that is not taken, in a folder where \
         this user may write", path.display()
    )]
    Create {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The file could not be written.
    #[error("failed to write the recording {}; is the disk full?", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// Where Linux gives random bytes.
const RANDOM: &str = "/dev/urandom";

/// Only the user who records may read the file.
const MODE: u32 = 0o600;

impl Recorder {
    /// Creates the file, which must not exist yet, and begins the recording at the time of `wall`.
    /// If nobody vouches for the wall clock, the recording does not say when it began.
    pub fn create(path: &Path, wall: WallClock) -> Result<Self, RecordError> {
        let key = random_key().map_err(RecordError::Randomness)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(path)
            .map_err(|source| RecordError::Create { path: path.to_owned(), source })?;
        let mut recorder = Self {
            path: path.to_owned(),
            out: BufWriter::new(file),
            started: wall.at,
            faker: Faker::new(key),
            written: Written::default(),
        };
        recorder.write_header(wall).map_err(|source| recorder.failed(source))?;
        Ok(recorder)
    }

    /// Writes one advertisement.
    pub fn write(
        &mut self,
        advertisement: &Advertisement,
        whose: Whose,
    ) -> Result<(), RecordError> {
        if frame::never_processed(advertisement.data()) {
            self.written.left_out += 1;
            return Ok(());
        }
        let result = match whose {
            Whose::Known => {
                self.written.known += 1;
                self.write_line(advertisement)
            }
            Whose::Stranger => {
                self.written.strangers += 1;
                self.write_line(&self.faker.fake(advertisement))
            }
        };
        result.map_err(|source| self.failed(source))
    }

    /// What has been written so far.
    pub fn written(&self) -> Written {
        self.written
    }

    /// Writes what is still in memory and closes the file.
    pub fn finish(mut self) -> Result<Written, RecordError> {
        let result = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        result.map_err(|source| self.failed(source))?;
        Ok(self.written)
    }

    fn write_header(&mut self, wall: WallClock) -> io::Result<()> {
        let started = match wall.quality {
            ClockQuality::Synced => Timestamp::from_millisecond(wall.unix.as_millis()).ok(),
            ClockQuality::Unsynced => None,
        };
        match started {
            Some(started) => writeln!(
                self.out,
                r#"{{"beacon_gateway_recording":{JSON_LINES_VERSION},"started":"{started}"}}"#
            ),
            None => writeln!(self.out, r#"{{"beacon_gateway_recording":{JSON_LINES_VERSION}}}"#),
        }
    }

    fn write_line(&mut self, advertisement: &Advertisement) -> io::Result<()> {
        let micros = advertisement.heard.since(self.started).as_micros();
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        write!(self.out, r#"{{"t":{seconds}.{micros:06},"receiver":"#)?;
        serde_json::to_writer(&mut self.out, advertisement.receiver.as_str())?;
        self.out.write_all(br#","address":""#)?;
        for (octet, separator) in
            advertisement.address().octets().iter().zip(["", ":", ":", ":", ":", ":"])
        {
            write!(self.out, "{separator}{octet:02X}")?;
        }
        let kind = match advertisement.address().kind() {
            AddressKind::Public => "public",
            AddressKind::Random => "random",
        };
        write!(self.out, r#"","kind":"{kind}","rssi":"#)?;
        match advertisement.rssi {
            Some(rssi) => write!(self.out, "{}", rssi.0)?,
            None => self.out.write_all(b"null")?,
        }
        writeln!(self.out, r#","adv":"{}"}}"#, hex::encode(advertisement.data()))
    }

    fn failed(&self, source: io::Error) -> RecordError {
        RecordError::Write { path: self.path.clone(), source }
    }
}

fn random_key() -> io::Result<[u8; 16]> {
    let mut key = [0; 16];
    File::open(RANDOM)?.read_exact(&mut key)?;
    Ok(key)
}

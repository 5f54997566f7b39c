//! A calibration as a small TOML file that people can read: written whole or not at all, and read
//! with every number checked.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use config::FileFormat;
use serde::Deserialize;
use thiserror::Error;

use super::{Basis, CalibratedReceiver, Calibration, Fingerprint, Law, Level};
use crate::{
    engine::{ReceiverId, ZoneId},
    settings::{Invalid, check_id},
};

/// Why a calibration cannot be used.
#[derive(Debug, Error)]
pub enum CalibrationError {
    /// The file cannot be read.
    #[error("failed to read the calibration `{}`; check its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has not the form of one.
    #[error(
        "failed to understand the calibration `{}`: {problem}; make it anew with `beacon-gateway \
         zones calibrate`, or take it away", path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// Where and why.
        problem: String,
    },
    /// A value makes no sense.
    #[error("failed to use the calibration `{}`: {invalid}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The value.
        invalid: Invalid,
    },
    /// It cannot be written.
    #[error(
        "failed to write the calibration `{}`; choose a folder where this user may write", path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The form of the file that this version writes and reads.
const VERSION: u32 = 1;

/// The file as it is read. The header of the file says what the keys mean.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    made: String,
    walks: u32,
    readings: u32,
    seconds: u32,
    right_without: f64,
    right_with: f64,
    law: Option<LawEntry>,
    receiver: Vec<ReceiverEntry>,
    #[serde(default)]
    zone: Vec<ZoneEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LawEntry {
    reference_dbm: f32,
    exponent: f32,
    spread_db: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiverEntry {
    id: String,
    offset_db: f32,
    error_db: f32,
    readings: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ZoneEntry {
    id: String,
    seconds: u32,
    #[serde(default)]
    heard: Vec<LevelEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelEntry {
    receiver: String,
    mean_dbm: f32,
    spread_db: f32,
    readings: u32,
}

/// Reads a calibration; none where there is no file.
pub fn read(path: &Path) -> Result<Option<Calibration>, CalibrationError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CalibrationError::Read { path: path.to_owned(), source }),
    };
    let form = |problem: String| CalibrationError::Form { path: path.to_owned(), problem };
    let document = parse(&text).map_err(form)?;
    if document.version != VERSION {
        let found = document.version;
        return Err(form(format!("`version` is {found}, which another beacon-gateway wrote")));
    }
    let calibration = document
        .check()
        .map_err(|invalid| CalibrationError::Value { path: path.to_owned(), invalid })?;
    Ok(Some(calibration))
}

fn parse(text: &str) -> Result<Document, String> {
    let source = config::File::from_str(text, FileFormat::Toml);
    let table = config::Config::builder().add_source(source).build();
    let table = table.map_err(|error| format!("it is not TOML: {error}"))?;
    serde_path_to_error::deserialize(table).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.inner().to_string());
        if path == "." { inner } else { format!("`{path}`: {inner}") }
    })
}

impl Document {
    fn check(self) -> Result<Calibration, Invalid> {
        let law = match self.law {
            None => None,
            Some(LawEntry { reference_dbm, exponent, spread_db }) => {
                within("law.reference_dbm", reference_dbm, -100.0, -20.0, "dBm")?;
                within("law.exponent", exponent, 1.0, 6.0, "")?;
                within("law.spread_db", spread_db, 1.0, 15.0, "dB")?;
                Some(Law { reference_dbm, exponent, spread_db })
            }
        };
        for (key, share) in [("right_without", self.right_without), ("right_with", self.right_with)]
        {
            within(key, super::observe::single(share), 0.0, 1.0, "")?;
        }
        let mut seen = BTreeSet::new();
        let mut receivers = Vec::new();
        for (n, entry) in self.receiver.into_iter().enumerate() {
            let key = |key: &str| format!("receiver[{n}].{key}");
            check_id(&key("id"), &entry.id)?;
            within(&key("offset_db"), entry.offset_db, -40.0, 40.0, "dB")?;
            within(&key("error_db"), entry.error_db, 0.0, 40.0, "dB")?;
            let id = ReceiverId::new(&entry.id);
            once(&mut seen, &key("id"), &entry.id)?;
            receivers.push(CalibratedReceiver {
                id,
                offset_db: entry.offset_db,
                error_db: entry.error_db,
                readings: entry.readings,
            });
        }
        let mut seen = BTreeSet::new();
        let mut zones = Vec::new();
        for (n, entry) in self.zone.into_iter().enumerate() {
            let key = |key: &str| format!("zone[{n}].{key}");
            check_id(&key("id"), &entry.id)?;
            once(&mut seen, &key("id"), &entry.id)?;
            let mut heard = Vec::new();
            for (m, level) in entry.heard.into_iter().enumerate() {
                let key = |name: &str| format!("{}[{m}].{name}", key("heard"));
                check_id(&key("receiver"), &level.receiver)?;
                within(&key("mean_dbm"), level.mean_dbm, -127.0, 20.0, "dBm")?;
                within(&key("spread_db"), level.spread_db, 0.0, 80.0, "dB")?;
                heard.push(Level {
                    receiver: ReceiverId::new(&level.receiver),
                    mean_dbm: level.mean_dbm,
                    spread_db: level.spread_db,
                    readings: level.readings,
                });
            }
            zones.push(Fingerprint { zone: ZoneId::new(&entry.id), seconds: entry.seconds, heard });
        }
        let basis = Basis {
            made: self.made,
            readings: self.readings,
            seconds: self.seconds,
            walks: self.walks,
            right_without: self.right_without,
            right_with: self.right_with,
        };
        Ok(Calibration { basis, law, receivers, zones })
    }
}

fn within(key: &str, found: f32, least: f32, most: f32, unit: &str) -> Result<(), Invalid> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    let allowed = format!("allowed are {least} to {most} {unit}");
    Err(Invalid::new(key, found.to_string(), allowed.trim_end()))
}

fn once(seen: &mut BTreeSet<String>, key: &str, id: &str) -> Result<(), Invalid> {
    if seen.insert(id.to_owned()) {
        return Ok(());
    }
    Err(Invalid::new(key, format!("`{id}`"), "which stands above; write each once"))
}

/// Writes a calibration: whoever reads finds the old one or the new one, also after a power cut.
pub fn write(path: &Path, calibration: &Calibration) -> Result<(), CalibrationError> {
    let failed = |source| CalibrationError::Write { path: path.to_owned(), source };
    replace(path, &calibration.to_string()).map_err(failed)
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    let mut unfinished = name.to_owned();
    unfinished.push(".unfinished");
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let new = folder.join(unfinished);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.and_then(|()| fs::rename(&new, path)).inspect_err(|_| drop(fs::remove_file(&new)))?;
    File::open(folder)?.sync_all()
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Basis { made, readings, seconds, walks, right_without, right_with } = &self.basis;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let day = made.split('T').next().unwrap_or_default();
        writeln!(
            f,
            "# How the receivers of this shop hear, found out by `beacon-gateway zones calibrate` on {day}\n\
             # from {readings} readings in {walks} walks. In parts of them that were left out, the zone was right in\n\
             # {} of the seconds without this file, and in {} with it.\n\
             #\n\
             # `offset_db` stands in the place of `rssi_offset` of [[receiver]], [law] in the place of [floor];\n\
             # [[zone]] is for comparing with later. Numbers may be changed by hand. Without this file the configuration\n\
             # holds.\n",
            percent(*right_without),
            percent(*right_with)
        )?;
        writeln!(f, "version = {VERSION}\nmade = \"{made}\"\nwalks = {walks}")?;
        writeln!(f, "readings = {readings}\nseconds = {seconds}")?;
        writeln!(f, "right_without = {right_without:.4}\nright_with = {right_with:.4}")?;
        if let Some(Law { reference_dbm, exponent, spread_db }) = &self.law {
            writeln!(f, "\n[law]")?;
            writeln!(f, "reference_dbm = {reference_dbm:.1}  # one metre from a carried tag")?;
            writeln!(f, "exponent = {exponent:.2}")?;
            writeln!(f, "spread_db = {spread_db:.1}")?;
        }
        if self.receivers.is_empty() {
            writeln!(f, "\nreceiver = []")?;
        }
        for receiver in &self.receivers {
            let CalibratedReceiver { id, offset_db, error_db, readings } = receiver;
            writeln!(f, "\n[[receiver]]\nid = {}", quoted(id.as_str()))?;
            writeln!(f, "offset_db = {:.1}", unsigned(*offset_db))?;
            writeln!(f, "error_db = {error_db:.1}\nreadings = {readings}")?;
        }
        for Fingerprint { zone, seconds, heard } in &self.zones {
            writeln!(f, "\n[[zone]]\nid = {}\nseconds = {seconds}", quoted(zone.as_str()))?;
            let mut lines = String::new();
            for Level { receiver, mean_dbm, spread_db, readings } in heard {
                let receiver = quoted(receiver.as_str());
                writeln!(
                    lines,
                    "  {{ receiver = {receiver}, mean_dbm = {mean_dbm:.1}, spread_db = {spread_db:.1}, \
                     readings = {readings} }},"
                )?;
            }
            writeln!(f, "heard = [\n{lines}]")?;
        }
        Ok(())
    }
}

/// No `-0.0`, which would only puzzle.
fn unsigned(number: f32) -> f32 {
    if number.abs() < 0.05 { 0.0 } else { number }
}

/// Names are letters, digits and three signs: nothing in them needs more than quotes.
fn quoted(name: &str) -> String {
    format!("{name:?}")
}

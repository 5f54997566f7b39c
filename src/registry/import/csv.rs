//! CSV (RFC 4180): what a spreadsheet or a database exports.
//!
//! The first line names the columns, in any order; every further line is one subject. Empty cells
//! count as not given. A cell may hold several values, separated by spaces; a value of several parts
//! has them separated by `/`.
//!
//! | column | what it holds |
//! |---|---|
//! | `subject` | the pseudonym |
//! | `kind` | `customer`, `staff` or `asset`; `customer` where the column is missing |
//! | `purposes` | of the consent: some of `presence journey engagement` |
//! | `from`, `until` | of the consent: times like `2026-01-31T00:00:00Z`; `until` may be empty |
//! | `proof` | where the grant can be found |
//! | `address` | `C0:11:22:33:44:55` |
//! | `ibeacon` | `uuid/major/minor` |
//! | `altbeacon` | 40 hexadecimal digits |
//! | `eddystone_uid` | `namespace/instance` |
//! | `eddystone_eid` | `identity key/rotation exponent`, or with `/clock zero` as a time |
//! | `irk` | 32 hexadecimal digits |
//! | `service_token`, `rolling_uuid` | a member key, 64 hexadecimal digits |
//!
//! A subject has a consent when one of its four cells is filled. Each line becomes the object that
//! JSON Lines would have had, so that both forms allow and refuse the same.

use ::csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value, json};

use super::{LONGEST_LINE, PROGRESS_STEP, Parsed, harmless, subject};

/// Every column there is.
const COLUMNS: [&str; 14] = [
    "subject",
    "kind",
    "purposes",
    "from",
    "until",
    "proof",
    "address",
    "ibeacon",
    "altbeacon",
    "eddystone_uid",
    "eddystone_eid",
    "irk",
    "service_token",
    "rolling_uuid",
];

/// Where the ways to be recognised begin.
const IDENTIFIERS: usize = 6;

/// Reads a file without its byte order mark.
pub(super) fn parse(text: &[u8], progress: &mut dyn FnMut(usize)) -> Parsed {
    let mut parsed = Parsed::default();
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .from_reader(text);
    let mut record = ByteRecord::new();
    let mut columns: Option<Vec<&'static str>> = None;
    let mut lines = Lines { text, at: 0, line: 1 };
    let mut told = 0;
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => (),
            Ok(false) => break,
            Err(_) => {
                // Bytes cannot fail to be read, and records may differ in length: this is for a
                // reader that some day finds another reason.
                parsed.problems.add(lines.line, "the rest of the file is not CSV".to_owned());
                break;
            }
        }
        let line = lines.of(record.position().map_or(0, |position| offset(position.byte())));
        let read = offset(reader.position().byte());
        if read / PROGRESS_STEP != told / PROGRESS_STEP {
            told = read;
            progress(read);
        }
        let Some(known) = &columns else {
            match header(&record) {
                Ok(found) => columns = Some(found),
                Err(problem) => {
                    parsed.problems.add(line, problem);
                    return parsed;
                }
            }
            continue;
        };
        if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
            continue;
        }
        match row(known, &record) {
            Ok(subject) => parsed.entries.push((line, subject)),
            Err(problem) => parsed.problems.add(line, problem),
        }
    }
    if columns.is_none() {
        parsed.problems.add(1, format!("there is no header line; {ALLOWED}"));
    }
    parsed
}

const ALLOWED: &str = "the first line names the columns: `subject`, `kind`, `purposes`, `from`, \
    `until`, `proof`, `address`, `ibeacon`, `altbeacon`, `eddystone_uid`, `eddystone_eid`, `irk`, \
    `service_token`, `rolling_uuid`";

fn header(record: &ByteRecord) -> Result<Vec<&'static str>, String> {
    let mut columns = Vec::new();
    for cell in record {
        let name = String::from_utf8_lossy(cell.trim_ascii());
        let known = COLUMNS.into_iter().find(|column| column.eq_ignore_ascii_case(&name));
        let Some(known) = known else {
            // What spreadsheets write where the comma is the decimal point.
            let hint = if name.contains([';', '\t']) { "separate columns by commas; " } else { "" };
            let name: String = harmless(&name).chars().take(40).collect();
            return Err(format!("there is no column `{}`; {hint}{ALLOWED}", name.escape_debug()));
        };
        if columns.contains(&known) {
            return Err(format!("the column `{known}` stands twice"));
        }
        columns.push(known);
    }
    if columns.contains(&"subject") {
        Ok(columns)
    } else {
        Err(format!("the column `subject` is missing; {ALLOWED}"))
    }
}

fn row(columns: &[&'static str], record: &ByteRecord) -> Result<crate::engine::Subject, String> {
    if record.len() != columns.len() {
        let (found, wanted) = (record.len(), columns.len());
        return Err(format!(
            "there are {found} cells and {wanted} columns; put a cell with a comma in quotes"
        ));
    }
    if record.as_slice().len() > LONGEST_LINE {
        return Err(format!("the line is longer than {LONGEST_LINE} bytes"));
    }
    let cell = |name: &str| {
        let at = columns.iter().position(|column| *column == name);
        let cell = at.and_then(|at| record.get(at)).unwrap_or_default().trim_ascii();
        std::str::from_utf8(cell)
            .map_err(|_| format!("`{name}` is not UTF-8; save the file as such"))
    };
    let mut identifiers = Vec::new();
    for kind in COLUMNS.into_iter().skip(IDENTIFIERS) {
        for value in cell(kind)?.split_ascii_whitespace() {
            let value = identifier(kind, value)?;
            identifiers.push(Value::Object(Map::from_iter([(kind.to_owned(), value)])));
        }
    }
    let kind = match cell("kind")? {
        "" => "customer",
        kind => kind,
    };
    let mut line = json!({ "subject": cell("subject")?, "kind": kind, "identifiers": identifiers });
    if let (Some(consent), Some(line)) = (consent(&cell)?, line.as_object_mut()) {
        line.insert("consent".to_owned(), consent);
    }
    subject(&line.to_string())
}

fn consent<'a>(cell: &impl Fn(&str) -> Result<&'a str, String>) -> Result<Option<Value>, String> {
    let (purposes, proof) = (cell("purposes")?, cell("proof")?);
    let (from, until) = (cell("from")?, cell("until")?);
    if [purposes, proof, from, until].iter().all(|cell| cell.is_empty()) {
        return Ok(None);
    }
    let purposes: Vec<&str> = purposes.split_ascii_whitespace().collect();
    let mut consent = json!({ "purposes": purposes, "from": from, "proof": proof });
    if let (false, Some(consent)) = (until.is_empty(), consent.as_object_mut()) {
        consent.insert("until".to_owned(), until.into());
    }
    Ok(Some(consent))
}

/// A value as JSON Lines would have it. Its parts are checked where those of JSON are.
fn identifier(kind: &'static str, value: &str) -> Result<Value, String> {
    let parts: Vec<&str> = value.split('/').collect();
    let number = |text: &str, most: u64, name: &str| {
        let number = text.parse().ok().filter(|&number: &u64| number <= most);
        number.ok_or_else(|| format!("`{kind}`: the {name} must be a number from 0 to {most}"))
    };
    match (kind, parts.as_slice()) {
        ("ibeacon", [uuid, major, minor]) => Ok(json!({
            "uuid": uuid,
            "major": number(major, u16::MAX.into(), "major")?,
            "minor": number(minor, u16::MAX.into(), "minor")?,
        })),
        ("ibeacon", _) => Err("`ibeacon`: write `uuid/major/minor`".to_owned()),
        ("eddystone_uid", [namespace, instance]) => {
            Ok(json!({ "namespace": namespace, "instance": instance }))
        }
        ("eddystone_uid", _) => Err("`eddystone_uid`: write `namespace/instance`".to_owned()),
        ("eddystone_eid", [key, exponent]) => Ok(json!({
            "identity_key": key,
            "rotation_exponent": number(exponent, 15, "rotation exponent")?,
        })),
        ("eddystone_eid", [key, exponent, zero]) => Ok(json!({
            "identity_key": key,
            "rotation_exponent": number(exponent, 15, "rotation exponent")?,
            "clock_zero": zero,
        })),
        ("eddystone_eid", _) => Err("`eddystone_eid`: write `identity key/rotation exponent` or \
             `identity key/rotation exponent/clock zero`"
            .to_owned()),
        _ => Ok(value.into()),
    }
}

fn offset(byte: u64) -> usize {
    usize::try_from(byte).unwrap_or(usize::MAX)
}

/// Counts lines. The reader's own count is that of where it was before it passed over empty lines
/// and comments.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line in which the record begins that the reader looked for from `start` on.
    fn of(&mut self, start: usize) -> usize {
        while self.at < start.min(self.text.len()) {
            self.step();
        }
        loop {
            match self.text.get(self.at) {
                Some(b'\r' | b'\n') => self.step(),
                Some(b'#') => {
                    while !matches!(self.text.get(self.at), None | Some(b'\n')) {
                        self.step();
                    }
                }
                _ => return self.line,
            }
        }
    }

    fn step(&mut self) {
        self.line += usize::from(self.text.get(self.at) == Some(&b'\n'));
        self.at += 1;
    }
}

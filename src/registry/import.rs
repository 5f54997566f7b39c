//! A file from the enrolment system in; subjects with their lines, or everything that is wrong with
//! it, out.
//!
//! Two forms: JSON Lines, as `config/registry.example.jsonl` shows, and CSV (see [`csv`]). All
//! problems are found in one go, as far as [`MOST_PROBLEMS`] are told, and none repeats what could
//! be an identifier or a key. Total: any bytes are read to their end.

pub mod csv;

use std::{borrow::Cow, collections::HashMap, fmt};

use crate::engine::{Fixture, FixtureIdentifier, Identifier, Pseudonym, Subject, UnixTime};

/// How many problems are told; the others are counted.
pub const MOST_PROBLEMS: usize = 20;

/// The longest line, in bytes. Ten times what the store takes for one subject.
const LONGEST_LINE: usize = 64 << 10;

/// How a file is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// One JSON object a line.
    JsonLines,
    /// A header line, then one subject a line.
    Csv,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The subjects, with the line each begins in, from 1.
    pub entries: Vec<(usize, Subject)>,
    /// What is wrong.
    pub problems: Problems,
}

/// What is wrong with a file: the first [`MOST_PROBLEMS`] with their lines, and how many in all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Problems {
    told: Vec<(usize, String)>,
    count: usize,
}

/// Reads a file. `progress` is told how many bytes were read so far.
pub fn parse(format: Format, bytes: &[u8], progress: &mut dyn FnMut(usize)) -> Parsed {
    // Spreadsheets put a byte order mark in front.
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut parsed = match format {
        Format::JsonLines => json_lines(text, progress),
        Format::Csv => csv::parse(text, progress),
    };
    find_doubles(&mut parsed);
    parsed
}

fn json_lines(text: &[u8], progress: &mut dyn FnMut(usize)) -> Parsed {
    let mut parsed = Parsed::default();
    let mut read = 0;
    for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        let (start, content) = (read, line.trim_ascii());
        read += line.len() + 1;
        if start / PROGRESS_STEP != read / PROGRESS_STEP {
            progress(read);
        }
        if content.is_empty() || content.starts_with(b"#") {
            continue;
        }
        match line_of(content).and_then(subject) {
            Ok(subject) => parsed.entries.push((number, subject)),
            Err(problem) => parsed.problems.add(number, problem),
        }
    }
    parsed
}

/// How often progress is told, in bytes.
const PROGRESS_STEP: usize = 64 << 10;

fn line_of(line: &[u8]) -> Result<&str, String> {
    if line.len() > LONGEST_LINE {
        return Err(format!("the line is longer than {LONGEST_LINE} bytes"));
    }
    std::str::from_utf8(line).map_err(|_| "the line is not UTF-8; save the file as such".to_owned())
}

/// One subject; the problem repeats nothing that could be a key.
fn subject(line: &str) -> Result<Subject, String> {
    super::subject(line).map_err(|problem| problem.to_string())
}

/// Notes who is in the file twice, by name or by identifier.
fn find_doubles(parsed: &mut Parsed) {
    let mut names: HashMap<&Pseudonym, usize> = HashMap::new();
    let mut owners: HashMap<Identifier, (usize, &Pseudonym)> = HashMap::new();
    let mut problems = Vec::new();
    for (line, subject) in &parsed.entries {
        let name = &subject.pseudonym;
        if let Some(first) = names.insert(name, *line) {
            problems.push((*line, twice(name, first)));
            continue;
        }
        for identifier in &subject.identifiers {
            if let Some((first, owner)) = owners.insert(device(identifier), (*line, name)) {
                let kind = identifier.kind();
                problems.push((*line, shared(kind, owner, Some(first))));
            }
        }
    }
    for (line, problem) in problems {
        parsed.problems.add(line, problem);
    }
    parsed.problems.sort();
}

/// Notes which of the file's identifiers belong to somebody who is not in it: those `others` who
/// stay enrolled, and the shop's fixtures.
pub fn find_conflicts(parsed: &mut Parsed, others: &[Subject], fixtures: &[Fixture]) {
    let mut owners: HashMap<Identifier, Cow<'_, str>> = HashMap::new();
    for other in others {
        for identifier in &other.identifiers {
            owners.insert(device(identifier), other.pseudonym.as_str().into());
        }
    }
    for fixture in fixtures {
        if let FixtureIdentifier::Device(identifier) = &fixture.identifier {
            owners.insert(device(identifier), format!("fixture {}", fixture.id).into());
        }
    }
    let mut problems = Vec::new();
    for (line, subject) in &parsed.entries {
        for identifier in &subject.identifiers {
            if let Some(owner) = owners.get(&device(identifier)) {
                problems.push((*line, shared(identifier.kind(), owner, None)));
            }
        }
    }
    for (line, problem) in problems {
        parsed.problems.add(line, problem);
    }
    parsed.problems.sort();
}

fn twice(name: &Pseudonym, first: usize) -> String {
    format!(
        "subject `{}` is in line {first} already; give each subject one entry with all its \
         identifiers",
        harmless(name.as_str())
    )
}

fn shared(kind: &str, owner: impl fmt::Display, line: Option<usize>) -> String {
    let owner = owner.to_string();
    let at = line.map_or_else(String::new, |line| format!(" in line {line}"));
    format!(
        "its {kind} belongs to `{}`{at}; an identifier can belong to one only",
        harmless(&owner)
    )
}

/// What tells a device from others: the same key is the same device, whatever else is said of it.
fn device(identifier: &Identifier) -> Identifier {
    match *identifier {
        Identifier::EddystoneEid { identity_key, .. } => Identifier::EddystoneEid {
            identity_key,
            rotation_exponent: 0,
            clock_zero: UnixTime::default(),
        },
        other => other,
    }
}

/// A text without what could be an address, an identifier or a key: eight hexadecimal digits or
/// more, with what people put between them. A value in the wrong place would be told otherwise.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut copied = 0;
    let mut run: Option<(usize, usize, usize)> = None;
    let end = [(text.len(), '\n')];
    for (at, letter) in text.char_indices().chain(end) {
        match (&mut run, letter) {
            (Some((_, last, digits)), letter) if letter.is_ascii_hexdigit() => {
                (*last, *digits) = (at + 1, *digits + 1);
            }
            (None, letter) if letter.is_ascii_hexdigit() => run = Some((at, at + 1, 1)),
            (Some(_), ':' | '-' | ' ') | (None, _) => (),
            (Some((first, last, digits)), _) => {
                if *digits >= 8 {
                    clean.push_str(text.get(copied..*first).unwrap_or_default());
                    clean.push('…');
                    copied = *last;
                }
                run = None;
            }
        }
    }
    if copied == 0 && clean.is_empty() {
        return text.into();
    }
    clean.push_str(text.get(copied..).unwrap_or_default());
    clean.into()
}

// === impl Format, Problems ===

impl Format {
    /// The form that a file's name promises: CSV for `.csv`, else JSON Lines.
    pub fn of(path: &std::path::Path) -> Self {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("csv") => Self::Csv,
            _ => Self::JsonLines,
        }
    }
}

impl Problems {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first of them, in the order of their lines.
    pub fn told(&self) -> &[(usize, String)] {
        &self.told
    }

    fn add(&mut self, line: usize, problem: String) {
        self.count += 1;
        // More than are told, so that those of the first lines are told, whoever finds them.
        if self.told.len() < MOST_PROBLEMS * 4 {
            self.told.push((line, problem));
        }
    }

    fn sort(&mut self) {
        self.told.sort();
        self.told.truncate(MOST_PROBLEMS);
    }
}

#[cfg(test)]
mod tests;

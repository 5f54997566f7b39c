//! The bodies of the registry's commands in, changes of the registry out.
//!
//! One entry that is wrong does not spoil its neighbours: it is passed over and told by its
//! pseudonym, with a word for what is wrong. A body that is wrong as a whole is refused as a whole.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    engine::{Pseudonym, Subject, UnixTime},
    forget,
    registry::{self, LineProblem},
};

/// The longest pseudonym, in bytes, as in the registry.
const LONGEST_PSEUDONYM: usize = 64;

/// The longest name of a snapshot, in bytes.
const LONGEST_SNAPSHOT: usize = 64;

/// The most parts of a snapshot.
pub(super) const MOST_PARTS: u32 = 10_000;

/// What is to become of the registry.
#[derive(Debug)]
pub enum Change {
    /// These are enrolled, or enrolled differently; nobody else changes.
    Upsert(Vec<Subject>),
    /// These are forgotten, now.
    Withdraw(Vec<Pseudonym>),
    /// Exactly these are enrolled, as of a number; everybody else is forgotten.
    Replace {
        /// Who is enrolled.
        subjects: Vec<Subject>,
        /// The number of the last change that is in it.
        number: u64,
    },
    /// These had withdrawn: whoever of them is enrolled by a consent that is not newer is
    /// forgotten, now.
    Withdrawn(Vec<Withdrawn>),
}

/// Somebody who has withdrawn, as the withdrawal list says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Withdrawn {
    /// Who.
    pub subject: Pseudonym,
    /// When. A consent given after it stands.
    pub since: UnixTime,
}

/// An entry of a command that was not carried out.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RefusedEntry {
    /// Whom it is about, if that much could be read.
    pub subject: Option<Pseudonym>,
    /// A word for what is wrong with it.
    pub reason: &'static str,
}

/// A part of a snapshot.
pub(super) struct Part {
    pub(super) snapshot: String,
    /// Which it is, from 1.
    pub(super) index: u32,
    /// Of how many.
    pub(super) of: u32,
    pub(super) subjects: Vec<Subject>,
    pub(super) refused: Vec<RefusedEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpsertBody {
    subjects: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithdrawBody {
    subjects: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotBody {
    snapshot: String,
    part: u32,
    parts: u32,
    subjects: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithdrawnBody {
    withdrawn: Vec<WithdrawnEntry>,
    number: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithdrawnEntry {
    subject: String,
    since: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionBody {
    number: u64,
}

/// Reads the body of `upsert`.
pub(super) fn upsert(body: Value) -> Option<(Vec<Subject>, Vec<RefusedEntry>)> {
    let UpsertBody { subjects } = serde_json::from_value(body).ok()?;
    Some(entries(subjects))
}

/// Reads the body of `withdraw`. A name that nobody can have is passed over.
pub(super) fn withdraw(body: Value) -> Option<(Vec<Pseudonym>, Vec<RefusedEntry>)> {
    let WithdrawBody { subjects } = serde_json::from_value(body).ok()?;
    let names: Vec<_> = subjects.iter().map(|name| pseudonym(name)).collect();
    let refused = names.iter().filter(|name| name.is_none()).map(|_| nameless()).collect();
    Some((names.into_iter().flatten().collect(), refused))
}

/// Reads the body of `snapshot`.
pub(super) fn part(body: Value) -> Option<Part> {
    let SnapshotBody { snapshot, part, parts, subjects } = serde_json::from_value(body).ok()?;
    let sound = (1..=LONGEST_SNAPSHOT).contains(&snapshot.len())
        && (1..=MOST_PARTS).contains(&parts)
        && (1..=parts).contains(&part);
    if !sound {
        return None;
    }
    let (subjects, refused) = entries(subjects);
    Some(Part { snapshot, index: part, of: parts, subjects, refused })
}

/// Reads the body of `withdrawn`: whom it lists, and as of which number. An entry whose time cannot
/// be read counts as withdrawn for good: that does no harm that cannot be undone.
pub(super) fn withdrawn(body: Value) -> Option<(Vec<Withdrawn>, Vec<RefusedEntry>, u64)> {
    let WithdrawnBody { withdrawn, number } = serde_json::from_value(body).ok()?;
    let mut refused = Vec::new();
    let mut list = Vec::with_capacity(withdrawn.len());
    for entry in withdrawn {
        let Some(subject) = pseudonym(&entry.subject) else {
            refused.push(nameless());
            continue;
        };
        let since = entry.since.parse::<jiff::Timestamp>().ok();
        if since.is_none() {
            refused.push(RefusedEntry { subject: Some(subject.clone()), reason: "time" });
        }
        let since = since.map_or(i64::MAX, jiff::Timestamp::as_millisecond);
        let since = UnixTime::from_millis(since);
        list.push(Withdrawn { subject, since });
    }
    Some((list, refused, number))
}

/// Reads the body of `version`.
pub(super) fn version(body: Value) -> Option<u64> {
    serde_json::from_value(body).ok().map(|VersionBody { number }| number)
}

/// Reads the subjects, each for itself. Who is named twice counts once, by the first entry.
fn entries(values: Vec<Value>) -> (Vec<Subject>, Vec<RefusedEntry>) {
    let (mut subjects, mut refused) = (Vec::with_capacity(values.len()), Vec::new());
    let mut seen = BTreeSet::new();
    for value in values {
        let named = value.get("subject").and_then(Value::as_str).and_then(pseudonym);
        match registry::subject_from_value(&value) {
            Ok(subject) if seen.insert(subject.pseudonym.clone()) => subjects.push(subject),
            Ok(subject) => refused.push(twice(subject.pseudonym)),
            Err(problem) => {
                refused.push(RefusedEntry { subject: named, reason: word(&problem) });
            }
        }
    }
    // Keys were on the stack. What is made of this waits in a channel, whose places are kept.
    forget::burn_stack();
    (subjects, refused)
}

/// An entry about somebody who was named before.
pub(super) fn twice(subject: Pseudonym) -> RefusedEntry {
    RefusedEntry { subject: Some(subject), reason: "named_twice" }
}

fn nameless() -> RefusedEntry {
    RefusedEntry { subject: None, reason: "name" }
}

fn pseudonym(text: &str) -> Option<Pseudonym> {
    let sound = (1..=LONGEST_PSEUDONYM).contains(&text.len())
        && text.chars().all(|c| !c.is_control() && c != ' ');
    sound.then(|| Pseudonym::new(text))
}

/// A word for what is wrong with an entry: the problem's own words may repeat what was written.
fn word(problem: &LineProblem) -> &'static str {
    match problem {
        LineProblem::Name { .. } => "name",
        LineProblem::Identifier { .. } => "identifier",
        LineProblem::NoIdentifier => "no_identifier",
        LineProblem::NoConsent => "no_consent",
        LineProblem::NoPurpose => "no_purpose",
        LineProblem::UnknownPurpose(_) => "unknown_purpose",
        LineProblem::Time { .. } => "time",
        LineProblem::EndsBeforeItBegins => "ends_before_it_begins",
        LineProblem::Form(_) => "form",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::forget::debugger::{self, Debugger};

    #[test]
    fn a_command_that_was_read_leaves_nothing_on_the_stack() {
        let debugger = Debugger::new();
        let entry = |name: &str, irk: &str| json!({"subject": name, "kind": "asset", "identifiers": [{"irk": irk}]});
        let entries = [
            entry("a", "ec0234a357c8ad05341010a60a397d9b"),
            entry("b", "not a key"),
            entry("a", "00112233445566778899aabbccddeeff"),
        ];
        let begin = debugger::soil();
        assert!(debugger.soil_left::<8192>(begin) > 900, "the test looks elsewhere");
        let (subjects, refused) = super::entries(entries.to_vec());
        assert_eq!(debugger.soil_left::<8192>(begin), 0);
        assert_eq!(subjects.len(), 1);
        let reasons: Vec<_> = refused.iter().map(|entry| entry.reason).collect();
        assert_eq!(reasons, ["identifier", "named_twice"]);
    }
}

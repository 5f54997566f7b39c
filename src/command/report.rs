//! What became of a command, as JSON for the platform: `…/command-result/{name}`. It repeats
//! nothing of the command but its name, its number if that was signed, and pseudonyms.

use serde_json::{Value, json};

use super::{
    Carried,
    change::RefusedEntry,
    desk::{Refusal, Wanted},
    standing::Standing,
};
use crate::uplink::RegistryTopic;

/// The name under which is told what became of commands that do not exist.
pub(super) const UNKNOWN: &str = "unknown";

/// The most refused entries that are told one by one; the rest is counted.
const MOST_ENTRIES: usize = 200;

/// The name of a command in the topic of its result.
pub(super) fn name(command: Option<RegistryTopic>) -> &'static str {
    command.map_or(UNKNOWN, RegistryTopic::word)
}

/// It was carried out.
pub(super) fn done(
    command: RegistryTopic,
    number: u64,
    refused: &[RefusedEntry],
    carried: &Carried,
    standing: Standing,
) -> Vec<u8> {
    let entries: Vec<Value> = refused
        .iter()
        .chain(&carried.refused)
        .take(MOST_ENTRIES)
        .map(|entry| {
            let subject = entry.subject.as_ref().map(crate::engine::Pseudonym::as_str);
            json!({ "subject": subject, "reason": entry.reason })
        })
        .collect();
    document(&json!({
        "command": command.word(),
        "number": number,
        "outcome": "done",
        "added": carried.added,
        "changed": carried.changed,
        "withdrawn": carried.withdrawn,
        "visits_closed": carried.visits_closed,
        "records_erased": carried.records_erased,
        "records_narrowed": carried.records_narrowed,
        "refused_count": refused.len() + carried.refused.len(),
        "refused": entries,
        "have": standing.last,
    }))
}

/// It had been carried out before, and the broker brought it again because it never heard so.
pub(super) fn done_before(command: RegistryTopic, number: u64, standing: Standing) -> Vec<u8> {
    document(&json!({
        "command": command.word(),
        "number": number,
        "outcome": "done",
        "again": true,
        "have": standing.last,
    }))
}

/// It was refused. `untold` more were refused before and not told, because there were too many.
pub(super) fn refused(refusal: Refusal, untold: u64, standing: Standing) -> Vec<u8> {
    document(&json!({
        "command": name(refusal.command),
        "number": refusal.number,
        "outcome": "refused",
        "reason": refusal.reason.word(),
        "untold": untold,
        "have": standing.last,
    }))
}

/// It could not be carried out, and will be tried again.
pub(super) fn failed(command: RegistryTopic, number: u64, standing: Standing) -> Vec<u8> {
    document(&json!({
        "command": command.word(),
        "number": number,
        "outcome": "failed",
        "have": standing.last,
    }))
}

/// A snapshot is asked for.
pub(super) fn wanted(wanted: Wanted) -> Vec<u8> {
    document(&json!({
        "command": RegistryTopic::Snapshot.word(),
        "outcome": "wanted",
        "have": wanted.have,
        "need": wanted.need,
    }))
}

fn document(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

//! What became of a command, as JSON for the platform: `…/command-result/{name}`. It repeats
//! nothing of the command but its name, its number if that was signed, and pseudonyms.

use serde_json::{Value, json};

use super::{
    Carried,
    change::RefusedEntry,
    desk::{Refusal, Wanted},
    errand::{Answer, CommandName, Numbers},
    standing::Standing,
};
use crate::{
    outbox::{Ranges, Sequence},
    uplink::RegistryTopic,
};

/// The name under which is told what became of commands that do not exist.
pub(super) const UNKNOWN: &str = "unknown";

/// The most refused entries that are told one by one; the rest is counted.
const MOST_ENTRIES: usize = 200;

/// The most ranges of a kind that are told; the lowest ones, and all of them are counted. With four
/// kinds an answer stays within 64 KiB.
const MOST_RANGES: usize = 250;

/// The name of a command in the topic of its result.
pub(super) fn name(command: Option<CommandName>) -> &'static str {
    command.map_or(UNKNOWN, CommandName::word)
}

/// Up to which number the commands of this one's kind were carried out.
fn have(command: Option<CommandName>, standing: Standing) -> u64 {
    match command {
        Some(CommandName::Gateway(_)) => standing.gateway,
        Some(CommandName::Registry(_)) | None => standing.last,
    }
}

/// It was carried out: the registry is changed.
pub(super) fn changed(
    command: CommandName,
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

/// It was carried out: this is what the outbox says.
pub(super) fn answered(
    command: CommandName,
    number: u64,
    answer: &Answer,
    standing: Standing,
) -> Vec<u8> {
    let Answer { epoch, first, last, from, to, numbers } = answer;
    let mut told = json!({
        "command": command.word(),
        "number": number,
        "outcome": "done",
        "epoch": epoch,
        "first": first.0.to_string(),
        "last": last.0.to_string(),
        "from": from.0.to_string(),
        "to": to.0.to_string(),
        "have": have(Some(command), standing),
    });
    if let Value::Object(told) = &mut told {
        for (name, numbers) in numbers {
            let numbers = match numbers {
                Numbers::Count(count) => (*count).into(),
                Numbers::Which(ranges) => which(ranges),
            };
            told.insert((*name).to_owned(), numbers);
        }
    }
    document(&told)
}

/// How many, and which: not all of them where there are very many.
fn which(ranges: &Ranges) -> Value {
    let pair = |(first, last): (Sequence, Sequence)| [first.0.to_string(), last.0.to_string()];
    json!({
        "count": ranges.count(),
        "ranges": ranges.iter().take(MOST_RANGES).map(pair).collect::<Vec<_>>(),
        "cut": ranges.len() > MOST_RANGES,
    })
}

/// It had been carried out before, and the broker brought it again because it never heard so.
pub(super) fn done_before(command: CommandName, number: u64, standing: Standing) -> Vec<u8> {
    document(&json!({
        "command": command.word(),
        "number": number,
        "outcome": "done",
        "again": true,
        "have": have(Some(command), standing),
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
        "have": have(refusal.command, standing),
    }))
}

/// It could not be carried out, and will be tried again.
pub(super) fn failed(command: CommandName, number: u64, standing: Standing) -> Vec<u8> {
    document(&json!({
        "command": command.word(),
        "number": number,
        "outcome": "failed",
        "have": have(Some(command), standing),
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

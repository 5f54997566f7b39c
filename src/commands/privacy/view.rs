//! The report as a table for people.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{self, Write},
};

use anstyle::Style;
use serde_json::Value;

use super::report::{Counters, Report};

const BOLD: Style = Style::new().bold();

/// Writes the report, section by section.
pub(super) fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let gateway = &report.gateway;
    let names = [&gateway.tenant, &gateway.store, &gateway.name].map(String::as_str).join("/");
    writeln!(out, "Privacy report of {names}, {} (clock {})", report.time, report.clock)?;
    section(out, "Gateway")?;
    writeln!(out, "  {}", report.state.sentence())?;
    if let Some(counters) = &report.counters {
        counted(out, counters)?;
    }
    for law in &report.laws {
        let verdict = match law.holds {
            Some(true) => "holds",
            Some(false) => "BROKEN",
            None => "not known",
        };
        row(out, law.law, verdict)?;
    }
    enrolled(out, report)?;
    section(out, "Recognition by resolvable addresses")?;
    let irk = &report.irk;
    row(out, "keys", irk.keys)?;
    row(out, "strangers' addresses a day, reckoned", irk.strangers_per_day)?;
    let expected = irk.expected_false_matches_per_day;
    row(out, "false matches a day, expected", format!("{expected:.4}"))?;
    let enough = if irk.one_match_is_enough { "yes" } else { "no, two" };
    row(out, "one match is enough", enough)?;
    section(out, "Footfall")?;
    let footfall = &report.footfall;
    row(out, "counting everybody", if footfall.enabled { "on" } else { "off" })?;
    row(out, "bin, each with a salt of its own", &footfall.bin)?;
    row(out, "not told below", footfall.k)?;
    row(out, "rounded to", footfall.rounded_to)?;
    row(out, "not counted below", format!("{} dBm", footfall.min_rssi))?;
    section(out, "Never processed, whoever sends it")?;
    for never in &report.never_processed {
        row(out, never.what, &never.recognised_by)?;
    }
    section(out, "Kept at the most")?;
    let retention = &report.retention;
    row(out, "events that could not be sent", &retention.outbox_max_age)?;
    let records = format!("{} or {}", retention.outbox_max_records, retention.outbox_max_bytes);
    row(out, "  and no more of them than", records)?;
    row(out, "open visits on disk, renewed every", &retention.checkpoint_interval)?;
    row(out, "  taken up after a restart within", &retention.resume_within)?;
    row(out, "  held open for who may come back", &retention.merge_gap)?;
    row(out, "log level", format!("{:?}", report.log_level).to_lowercase())
}

fn counted(out: &mut impl Write, counters: &Counters) -> io::Result<()> {
    row(out, "counters written", format!("{} ({} s ago)", counters.written, counters.age_s))?;
    row(out, "counted since", &counters.since)?;
    row(out, "by version", &counters.version)?;
    for (name, what) in [
        ("received", "advertisements received"),
        ("unknown", "  in no known format, forgotten"),
        ("refused", "    of these never processed"),
        ("malformed", "  malformed, forgotten"),
        ("anonymous", "  of strangers, forgotten"),
        ("subject", "  of subjects with a live consent"),
        ("fixture", "  of the shop's own sensors"),
        ("implausible_doubles", "identifiers from two devices in turn"),
    ] {
        row(out, what, value(counters.values.pointer(&format!("/engine/{name}"))))?;
    }
    for (path, what) in [
        ("/outbox/acknowledged", "events the broker has"),
        ("/outbox/pending", "events waiting on disk"),
        ("/outbox/erased", "events erased, consent over"),
        ("/outbox/narrowed", "  and cut to what is still agreed to"),
        ("/outbox/scrubs", "  and the files freed of that, times"),
        ("/outbox/dropped", "events dropped"),
    ] {
        row(out, what, value(counters.values.pointer(path)))?;
    }
    // Whatever else the gateway counts that this view has no words for.
    for (section, known) in [("engine", ENGINE), ("outbox", OUTBOX)] {
        let all = counters.values.get(section).and_then(Value::as_object);
        for (name, number) in all.into_iter().flatten() {
            if !known.contains(&name.as_str()) && number.is_number() {
                row(out, &format!("{section}.{name}"), value(Some(number)))?;
            }
        }
    }
    Ok(())
}

/// What has words of its own above, or says nothing about people.
const ENGINE: &[&str] = &[
    "received",
    "unknown",
    "refused",
    "malformed",
    "anonymous",
    "subject",
    "fixture",
    "decoded",
    "situations",
    "implausible_doubles",
];
const OUTBOX: &[&str] = &[
    "acknowledged",
    "pending",
    "erased",
    "dropped",
    "recovered",
    "appended",
    "commits",
    "commit_ms",
    "narrowed",
    "scrubs",
];

fn enrolled(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let registry = &report.registry;
    let enrolled = &registry.enrolled;
    section(out, "Registry")?;
    let file = if registry.file.is_empty() { "none" } else { &registry.file };
    row(out, "registry file", file)?;
    let sealed = if registry.sealed { "yes" } else { "no: the registry file lies in clear" };
    row(out, "sealed on disk", sealed)?;
    row(out, "in the sealed store", registry.in_store)?;
    row(out, "withdrawals remembered", registry.withdrawals_remembered)?;
    let command = registry.platform_command;
    let command = command.map_or_else(|| "none".to_owned(), |command| command.to_string());
    row(out, "last command carried out", command)?;
    row(out, "subjects", format!("{}{}", enrolled.subjects, by_kind(&enrolled.kinds)))?;
    for (purpose, kinds) in &enrolled.live {
        let live: usize = kinds.values().sum();
        row(out, &format!("  live for {purpose}"), format!("{live}{}", by_kind(kinds)))?;
    }
    let consents = &enrolled.consents;
    for (what, count) in [
        ("consents that have not begun", consents.not_yet),
        ("  that are over", consents.over),
        ("  that end within 30 days", consents.ends_within_30_days),
        ("  that end within 90 days", consents.ends_within_90_days),
        ("  that end within 365 days", consents.ends_within_365_days),
        ("  that end later", consents.ends_later),
        ("  without an end", consents.without_end),
        ("things that need none", consents.none_needed),
    ] {
        row(out, what, count)?;
    }
    for (kind, count) in &enrolled.identifiers {
        row(out, &format!("recognised by {kind}"), count)?;
    }
    row(out, "fixtures", enrolled.fixtures)
}

fn by_kind(kinds: &BTreeMap<&'static str, usize>) -> String {
    if kinds.is_empty() {
        return String::new();
    }
    let each: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    format!(" ({})", each.join(", "))
}

fn value(number: Option<&Value>) -> String {
    number.map_or_else(|| "-".to_owned(), Value::to_string)
}

fn section(out: &mut impl Write, title: &str) -> io::Result<()> {
    writeln!(out, "\n{BOLD}{title}{BOLD:#}")
}

fn row(out: &mut impl Write, what: &str, value: impl Display) -> io::Result<()> {
    writeln!(out, "  {what:<40} {value}")
}

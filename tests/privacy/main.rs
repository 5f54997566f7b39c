//! The proof of the product's promise: who did not opt in is forgotten at once, and who did is told
//! about only as far as was agreed.
//!
//! A week in a shop, in minutes: members whose devices are recognised in every way there is, tens of
//! thousands of strangers a day, changed minds, ends of consents, restarts, kills and outages. A
//! recorder takes everything that leaves the gateway (what is said to the broker, the log at
//! `trace`, every file of the state directory) and, at night, all of its memory. Nothing of a
//! stranger may be in any of them. The same recorder is shown gateways whose gate was opened on
//! purpose, in every way that comes to mind: it must find each of them out.
//!
//! `PRIVACY_DAYS` (7) and `PRIVACY_SEED` (1) make the week longer, shorter, or another one.

#![expect(clippy::expect_used, reason = "a helper of a test that panics is a failed test")]
#![expect(clippy::indexing_slicing, reason = "a helper of a test that panics is a failed test")]

mod air;
mod gate;
#[path = "../power_cut/harness.rs"]
mod harness;
mod judge;
mod listener;
mod members;
mod memory;
mod needles;
mod platform;
mod relay;
mod stage;
mod strangers;
mod support;
mod week;

use std::process::ExitCode;

use gate::Gate;
use harness::{number, say};
use judge::Wrong;
use members::BY_IRK;
use support::{Outcome, text};
use week::{A_DAY_IN_5_S, A_DAY_IN_20_S, Plan, Tally, Week};

const TESTS: &[harness::Test] = &[
    ("needles_are_found_however_they_are_written", needles::are_found_however_they_are_written),
    ("the_recorder_finds_an_address_in_the_log", || found(Gate::Logs, "log")),
    ("the_recorder_finds_listed_octets_in_the_log", || found(Gate::Debugs, "log")),
    ("the_recorder_finds_a_key_in_the_log", || found(Gate::Keys, "log")),
    ("the_recorder_finds_an_address_on_disk", || found(Gate::Keeps, "file")),
    ("the_recorder_finds_the_names_of_who_withdrew", || found(Gate::Names, "file")),
    ("the_recorder_finds_an_address_on_the_line", || found(Gate::Tells, "broker traffic")),
    ("the_recorder_finds_what_is_kept_in_memory", || found(Gate::Leaks, "memory")),
    ("the_recorder_finds_what_is_freed_without_being_cleared", || found(Gate::Drops, "memory")),
    ("the_recorder_finds_what_is_left_on_a_stack", || found(Gate::Stacks, "memory")),
    ("the_judge_finds_a_ledger_that_always_says_yes", the_ledger_says_yes),
    ("of_a_key_that_was_withdrawn_nothing_is_left_in_memory", nothing_of_a_key),
    ("in_a_week_nothing_of_a_stranger_is_anywhere_and_every_event_was_agreed_to", a_week),
];

/// How many change their minds at a time, in the long run: two, two and one.
const A_FEW: [u32; 3] = [2, 2, 1];

fn main() -> ExitCode {
    gate::run_if_asked().unwrap_or_else(|| harness::run(TESTS))
}

fn play(plan: Plan) -> Outcome<Week> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(text)?.block_on(Week::run(plan))
}

/// A day in a small shop, with a gate that is shut.
fn a_day() -> Plan {
    Plan {
        seed: number("PRIVACY_SEED", 1),
        rate: A_DAY_IN_20_S,
        days: 1,
        members: 200,
        strangers_a_day: 500,
        way: None,
        minds: A_FEW,
        gate: Gate::Shut,
        says_yes: false,
        cores: false,
    }
}

/// A short day with an open gate: it is noticed where it shows.
fn found(gate: Gate, place: &str) -> Outcome<()> {
    let cores = place == "memory";
    let week = play(Plan { rate: A_DAY_IN_5_S, members: 20, gate, cores, ..a_day() })?;
    let findings = &week.record().findings;
    let there = findings.iter().filter(|finding| finding.place.starts_with(place)).count();
    say(&format!("  {gate:?}: {} findings, {there} of them in {place}", findings.len()));
    if there == 0 { Err(format!("{gate:?} was not noticed in {place}")) } else { Ok(()) }
}

/// A day with a gateway that believes everybody agreed to everything: every way in which that is
/// wrong is noticed.
fn the_ledger_says_yes() -> Outcome<()> {
    let week = play(Plan { says_yes: true, ..a_day() })?;
    let wrongs = week.judge.wrongs();
    say(&format!("  events that should not be: {wrongs:?}"));
    let all = [Wrong::Withdrawn, Wrong::Purpose, Wrong::Expired, Wrong::Early];
    match all.iter().find(|wrong| !wrongs.contains_key(wrong)) {
        None => Ok(()),
        Some(wrong) => Err(format!("no event was noticed as {wrong:?}")),
    }
}

/// A day on which many withdraw and many enrol, all of them recognised by keys of which the gateway
/// keeps more than the key: what one leaves behind must not lie among the others'.
fn nothing_of_a_key() -> Outcome<()> {
    let week = play(Plan { way: Some(BY_IRK), minds: [8, 2, 4], cores: true, ..a_day() })?;
    let Tally { withdrawals, renewed, .. } = week.tally;
    let findings = &week.record().findings;
    say(&format!("  {withdrawals} withdrew, {renewed} agreed again: {} findings", findings.len()));
    if withdrawals < 20 || renewed < 10 {
        return Err("hardly anybody changed their minds".to_owned());
    }
    let examples: Vec<String> = findings.iter().take(10).map(ToString::to_string).collect();
    if examples.is_empty() { Ok(()) } else { Err(examples.join("\n    ")) }
}

fn a_week() -> Outcome<()> {
    let days = number("PRIVACY_DAYS", 7).max(1);
    let (members, strangers_a_day) = (200, 20_000);
    let week = play(Plan { days, members, strangers_a_day, cores: true, ..a_day() })?;
    let (tally, record, judge) = (week.tally, week.record(), &week.judge);
    for (what, many) in [
        ("days", days),
        ("members", members as u64),
        ("strangers", tally.strangers as u64),
        ("advertisements sent", tally.advertisements),
        ("  of these counted by gateways that were stopped", tally.received),
        ("  of these of members", tally.of_subjects),
        ("withdrawals", tally.withdrawals),
        ("  of these by the platform's command", tally.commanded),
        ("  of these while the line was broken", tally.while_offline),
        ("consents narrowed", tally.narrowed),
        ("consents given anew", tally.renewed),
        ("consents that ended", tally.expired as u64),
        ("gateways stopped", tally.stops),
        ("gateways killed", tally.kills),
        ("outages of the line", tally.outages),
        ("records erased, as stopped gateways counted", tally.erased),
        ("records erased or narrowed, as receipts say", judge.cleared),
        ("images of memory", record.cores as u64),
    ] {
        say(&format!("  {what:<50} {many:>12}"));
    }
    for (kind, many) in &judge.kinds {
        say(&format!("  event {kind:<44} {many:>12}"));
    }
    for (place, octets) in &record.searched {
        say(&format!("  octets of {place:<40} {octets:>12}"));
    }
    say(&format!("  {:<50} {:>12.3}", "findings that chance explains, at most", record.chance));
    say(&format!("  {:<50} {:>12}", "findings", record.findings.len()));
    say(&format!("  {:<50} {:>12}", "events that should not be", judge.violations.len()));
    let examples = record.findings.iter().take(10).map(ToString::to_string);
    let examples = examples.chain(judge.violations.iter().take(10).map(ToString::to_string));
    let examples: Vec<String> = examples.collect();
    if !examples.is_empty() {
        return Err(examples.join("\n    "));
    }
    let places =
        ["memory", "broker traffic", "log", "state directory", "state directory, for names"];
    for place in places {
        if record.searched.get(place).is_none_or(|octets| *octets == 0) {
            return Err(format!("nothing was looked at of {place}"));
        }
    }
    // Silence proves nothing: everything that is judged must have happened.
    for kind in ["visit/started", "visit/ended", "zone/entered", "zone/dwelled", "zone/exited"] {
        if judge.kinds.get(kind).is_none_or(|many| *many < 10 * days) {
            return Err(format!("there was hardly any {kind}"));
        }
    }
    for kind in ["occupancy/counted", "gateway/consent_withdrawn"] {
        if judge.kinds.get(kind).is_none_or(|many| *many < days) {
            return Err(format!("there was hardly any {kind}"));
        }
    }
    let happened =
        [tally.withdrawals, tally.commanded, tally.narrowed, tally.expired as u64, tally.stops];
    if happened.contains(&0) || tally.strangers < strangers_a_day {
        return Err(format!("too little happened: {tally:?}"));
    }
    Ok(())
}

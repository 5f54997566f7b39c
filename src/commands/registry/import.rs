//! `registry import`: a file of the enrolment system into the registry.

use std::{collections::HashSet, fs, io::Write, path::PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Common, Desk, Failure, bar};
use crate::{
    commands::{broken_pipe, say},
    engine::{Pseudonym, Subject},
    gateway::GatewayError,
    registry::{
        import::{self, Format, Parsed},
        store::{Change, Order, RegistryStore, Source},
    },
};

/// How many names of those who were passed over are told.
const MOST_NAMES: usize = 20;

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(after_help = "CSV: the first line names the columns, in any order. subject, kind \
(customer, staff or asset), purposes (of presence journey engagement), from, until, proof; and the \
ways to be recognised: address, ibeacon (uuid/major/minor), altbeacon, eddystone_uid \
(namespace/instance), eddystone_eid (key/exponent[/clock zero]), irk, service_token, rolling_uuid. \
Several values in a cell are separated by spaces. JSON Lines: see registry.example.jsonl.")]
pub(super) struct Options {
    /// The file: CSV if its name ends with `.csv`, else JSON Lines.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How it is written, whatever its name.
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// Leave enrolled who is not in the file (this is what happens anyway).
    #[arg(long, conflicts_with = "replace")]
    merge: bool,
    /// Remove who came from a file before and is not in this one. Those whom the platform enrolled
    /// stay.
    #[arg(long)]
    replace: bool,
    /// Enrol also those who withdrew. Only if they agreed anew!
    #[arg(long)]
    again: bool,
    /// Take the place of a registry that was damaged. The withdrawals in it are lost: the file must
    /// not have those who withdrew since.
    #[arg(long, requires = "replace")]
    after_loss: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Jsonl,
    Csv,
}

/// What an import does, or would do.
#[derive(Default)]
struct Outcome {
    read: usize,
    added: usize,
    updated: usize,
    removed: usize,
    withdrawn: Vec<Pseudonym>,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let desk = Desk::new(&options.common)?;
    let mut parsed = read(options)?;
    refuse_problems(options, &parsed)?;
    if parsed.entries.is_empty() {
        let file = options.file.display();
        return Err(Failure::Failed(format!("there is no subject in {file}; nothing was changed")));
    }
    let store = match (options.dry_run, options.after_loss) {
        (false, false) => Some(desk.open()?),
        (false, true) => {
            Some(RegistryStore::open_after_loss(desk.state_dir(), &desk.keys, desk.clock)?)
        }
        (true, false) => desk.open_existing()?,
        // What was lost is as good as empty; nothing is made to find that out.
        (true, true) => None,
    };
    let mut outcome = Outcome { read: parsed.entries.len(), ..Outcome::default() };
    let others = if let Some(store) = &store {
        compare(store, options, &mut parsed, &mut outcome)?
    } else {
        outcome.added = parsed.entries.len();
        Vec::new()
    };
    let fixtures = desk.settings.fixtures().map_err(GatewayError::Settings)?;
    import::find_conflicts(&mut parsed, &others, &fixtures);
    drop(others);
    refuse_problems(options, &parsed)?;
    if let (Some(mut store), false) = (store, options.dry_run) {
        apply(&mut store, options, parsed)?;
    }
    report(options, &outcome).or_else(broken_pipe)
}

fn read(options: &Options) -> Result<Parsed, Failure> {
    let file = &options.file;
    let bytes = fs::read(file)
        .map(Zeroizing::new)
        .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", file.display())))?;
    let format = match options.format {
        Some(Form::Jsonl) => Format::JsonLines,
        Some(Form::Csv) => Format::Csv,
        None => Format::of(file),
    };
    let bar = bar(bytes.len(), "bytes", options.json);
    let parsed = import::parse(format, &bytes, &mut |read| {
        bar.set_position(u64::try_from(read).unwrap_or(u64::MAX));
    });
    bar.finish_and_clear();
    Ok(parsed)
}

fn refuse_problems(options: &Options, parsed: &Parsed) -> Result<(), Failure> {
    let (file, problems) = (options.file.display(), &parsed.problems);
    if problems.count() == 0 {
        return Ok(());
    }
    if options.json {
        let told = problems.told().iter();
        let told = told.map(|(line, problem)| json!({"line": line, "problem": problem}));
        let told: Vec<_> = told.collect();
        let document = json!({"problems": problems.count(), "told": told});
        writeln!(anstream::stdout(), "{document}").or_else(broken_pipe)?;
    } else {
        for (line, problem) in problems.told() {
            say(&format!("{file}:{line}: {problem}"));
        }
        let more = problems.count() - problems.told().len();
        if more > 0 {
            say(&format!("… and {more} more"));
        }
    }
    let count = count(problems.count(), "problem was", "problems were");
    Err(Failure::Failed(format!("{count} found in {file}; nothing was changed")))
}

/// Compares the file with who is enrolled, takes those who withdrew out of it, and returns who will
/// stay besides.
fn compare(
    store: &RegistryStore,
    options: &Options,
    parsed: &mut Parsed,
    outcome: &mut Outcome,
) -> Result<Vec<Subject>, Failure> {
    if !options.again {
        let mut kept = Vec::with_capacity(parsed.entries.len());
        for (line, subject) in parsed.entries.drain(..) {
            if store.withdrawal(subject.pseudonym.as_str())?.is_some() {
                outcome.withdrawn.push(subject.pseudonym);
            } else {
                kept.push((line, subject));
            }
        }
        parsed.entries = kept;
    }
    let names: HashSet<&Pseudonym> = parsed.entries.iter().map(|(_, it)| &it.pseudonym).collect();
    let mut others = Vec::new();
    store.for_each(&mut |subject, source| {
        if names.contains(&subject.pseudonym) {
            outcome.updated += 1;
        } else if options.replace && source == Source::File {
            outcome.removed += 1;
        } else {
            others.push(subject);
        }
    })?;
    outcome.added = parsed.entries.len().saturating_sub(outcome.updated);
    Ok(others)
}

fn apply(store: &mut RegistryStore, options: &Options, parsed: Parsed) -> Result<(), Failure> {
    let bar = bar(parsed.entries.len(), "subjects", options.json);
    let mut progress = |written| bar.set_position(written);
    let subjects = parsed.entries.into_iter().map(|(_, subject)| subject);
    let order = Order { again: options.again, ..Order::local() };
    if options.replace {
        let subjects: Vec<Subject> = subjects.collect();
        store.replace(&subjects, &[], &order, &mut progress)?;
    } else {
        let changes: Vec<Change> = subjects.map(Change::Upsert).collect();
        store.apply_with(&changes, &order, &mut progress)?;
    }
    bar.finish_and_clear();
    Ok(())
}

fn report(options: &Options, outcome: &Outcome) -> std::io::Result<()> {
    let Outcome { read, added, updated, removed, withdrawn } = outcome;
    let mut out = anstream::stdout();
    if options.json {
        let withdrawn: Vec<&str> = withdrawn.iter().map(Pseudonym::as_str).collect();
        let document = json!({
            "read": read,
            "added": added,
            "updated": updated,
            "removed": removed,
            "withdrew": withdrawn,
            "dry_run": options.dry_run,
        });
        return writeln!(out, "{document}");
    }
    for name in withdrawn.iter().take(MOST_NAMES) {
        say(&format!("{name} withdrew, and is passed over; `--again` would enrol them"));
    }
    if withdrawn.len() > MOST_NAMES {
        say(&format!("… and {} more", withdrawn.len() - MOST_NAMES));
    }
    let (file, subjects) = (options.file.display(), count(*read, "subject", "subjects"));
    writeln!(
        out,
        "{subjects} in {file}: {added} new, {updated} enrolled before, {} passed over because they \
         withdrew; {removed} others removed.",
        withdrawn.len()
    )?;
    if options.dry_run {
        writeln!(out, "This was a dry run: nothing was changed.")
    } else {
        writeln!(out, "A running gateway notices by itself.")
    }
}

fn count(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

//! `registry list`, `show` and `verify`: what is there, without identifiers and keys.

use std::io::{BufWriter, Write};

use clap::Args;
use serde_json::{Value, json};

use super::{Common, Desk, Failure, bar};
use crate::{
    commands::broken_pipe,
    engine::{ClockQuality, Consent, Purpose, Subject, UnixTime},
    registry::{
        form,
        store::{RegistryStore, Source, Verified, Withdrawal},
    },
};

#[derive(Args, Debug)]
pub(super) struct ListOptions {
    /// Print one JSON object a subject.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
pub(super) struct ShowOptions {
    /// The subject, by its pseudonym.
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
pub(super) struct VerifyOptions {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) fn list(options: &ListOptions) -> Result<(), Failure> {
    let desk = Desk::new(&options.common)?;
    let store = desk.existing()?;
    let mut rows = Vec::new();
    let unreadable = store.for_each(&mut |subject, source| rows.push((subject, source)))?;
    let version = store.version();
    // Others may open it while this is printed.
    drop(store);
    rows.sort_by(|(a, _), (b, _)| a.pseudonym.cmp(&b.pseudonym));
    let now = desk.clock.wall().unix;
    let mut out = BufWriter::new(anstream::stdout());
    let printed = (|| {
        if options.json {
            for (subject, source) in &rows {
                writeln!(out, "{}", described(subject, *source, now))?;
            }
            return out.flush();
        }
        for (subject, source) in &rows {
            let until = subject.consent.as_ref().map_or_else(|| "-".to_owned(), until);
            let purposes = purposes(subject);
            let purposes = if purposes.is_empty() { "-".to_owned() } else { purposes.join(",") };
            let (name, kind) = (subject.pseudonym.as_str(), subject.kind.name());
            writeln!(
                out,
                "{name:<24}  {kind:<8}  {:<24}  {purposes:<27}  until {until:<20}  {}{}",
                ways(subject).join(","),
                source.name(),
                if subject.purposes_at(now).is_empty() { "  (not now)" } else { "" }
            )?;
        }
        let (subjects, withdrawn) = (version.subjects, version.withdrawn);
        writeln!(out, "{subjects} subjects, {withdrawn} withdrawals{}", desk.besides())?;
        if unreadable > 0 {
            writeln!(out, "{unreadable} entries cannot be read: see `registry verify`")?;
        }
        out.flush()
    })();
    printed.or_else(broken_pipe)
}

pub(super) fn show(options: &ShowOptions) -> Result<(), Failure> {
    let desk = Desk::new(&options.common)?;
    let store = desk.existing()?;
    let name = &options.subject;
    let Some((subject, source)) = store.get(name)? else {
        return Err(Failure::Failed(not_enrolled(&store, name)? + &desk.besides()));
    };
    drop(store);
    let now = desk.clock.wall().unix;
    let mut out = anstream::stdout();
    let document = described(&subject, source, now);
    let printed = if options.json {
        writeln!(out, "{document}")
    } else {
        let consent = subject.consent.as_ref();
        let none = || "-".to_owned();
        let rows = [
            ("subject", name.clone()),
            ("kind", subject.kind.name().to_owned()),
            ("recognised by", ways(&subject).join(", ")),
            ("agreed to", consent.map_or_else(none, |_| purposes(&subject).join(", "))),
            ("from", consent.map_or_else(none, |it| form::time(it.from))),
            ("until", consent.map_or_else(none, until)),
            ("proof", consent.map_or_else(none, |it| it.proof.to_string())),
            ("live now", subject.purposes_at(now).to_string()),
            ("enrolled by", source.name().to_owned()),
        ];
        rows.iter().try_for_each(|(key, value)| writeln!(out, "{key:<14} {value}"))
    };
    printed.or_else(broken_pipe)
}

pub(super) fn verify(options: &VerifyOptions) -> Result<(), Failure> {
    let desk = Desk::new(&options.common)?;
    let store = desk.existing()?;
    let version = store.version();
    let bar = bar(usize::try_from(version.subjects).unwrap_or_default(), "subjects", options.json);
    let found = store.verify(&mut |read| bar.set_position(read))?;
    bar.finish_and_clear();
    drop(store);
    let Verified { subjects, withdrawn, unreadable, missing } = found;
    let mut out = anstream::stdout();
    let printed = if options.json {
        let document = json!({
            "generation": version.generation,
            "changes": version.changes,
            "command": version.command,
            "key": version.key,
            "subjects": subjects,
            "withdrawn": withdrawn,
            "unreadable": unreadable,
            "missing": missing,
        });
        writeln!(out, "{document}")
    } else {
        writeln!(
            out,
            "{subjects} subjects and {withdrawn} withdrawals can be read; {unreadable} values \
             cannot, {missing} are missing. Generation {}, key number {}.",
            version.generation, version.key
        )
    };
    printed.or_else(broken_pipe)?;
    if unreadable + missing > 0 {
        return Err(Failure::Failed(
            "the registry is damaged; enrol those subjects again with `registry import`, and check \
             the disk (`dmesg`)"
                .to_owned(),
        ));
    }
    Ok(())
}

/// When a consent ends.
fn until(consent: &Consent) -> String {
    consent.until.map_or_else(|| "withdrawn".to_owned(), form::time)
}

/// Why somebody is not found.
pub(super) fn not_enrolled(store: &RegistryStore, name: &str) -> Result<String, Failure> {
    Ok(match store.withdrawal(name)? {
        Some(Withdrawal { when: Some(when), .. }) => {
            format!("`{name}` is not enrolled here: they withdrew at {}", form::time(when))
        }
        Some(_) => format!("`{name}` is not enrolled here: they withdrew"),
        None => format!("`{name}` is not enrolled here; `registry list` shows who is"),
    })
}

/// A subject without anything by which its device could be recognised.
fn described(subject: &Subject, source: Source, now: UnixTime) -> Value {
    let consent = subject.consent.as_ref();
    let names = subject.purposes_at(now);
    json!({
        "subject": subject.pseudonym.as_str(),
        "kind": subject.kind.name(),
        "identifiers": ways(subject),
        "purposes": purposes(subject),
        "from": consent.map(|it| form::time(it.from)),
        "until": consent.and_then(|it| it.until).map(form::time),
        "proof": consent.map(|it| it.proof.to_string()),
        "live": names.iter().map(Purpose::name).collect::<Vec<_>>(),
        "source": source.name(),
    })
}

fn ways(subject: &Subject) -> Vec<&'static str> {
    subject.identifiers.iter().map(crate::engine::Identifier::kind).collect()
}

fn purposes(subject: &Subject) -> Vec<&'static str> {
    let purposes = subject.consent.as_ref().map(|consent| consent.purposes);
    purposes.into_iter().flat_map(|it| it.iter().map(Purpose::name).collect::<Vec<_>>()).collect()
}

/// A withdrawal as JSON.
pub(super) fn withdrawal_json(withdrawal: &Withdrawal) -> Value {
    json!({
        "when": withdrawal.when.map(form::time),
        "clock": match withdrawal.clock {
            ClockQuality::Synced => "synced",
            ClockQuality::Unsynced => "unsynced",
        },
        "command": withdrawal.command,
    })
}

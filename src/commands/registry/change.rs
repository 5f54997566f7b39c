//! `registry withdraw` and `rotate-key`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::{Common, Desk, Failure, bar};
use crate::{
    commands::broken_pipe,
    engine::Pseudonym,
    registry::store::{Change, Order, Rotation},
    seal::{CREDENTIAL, KeyOrigin},
};

#[derive(Args, Debug)]
pub(super) struct WithdrawOptions {
    /// Whom, by their pseudonyms.
    #[arg(required = true, value_name = "SUBJECT")]
    subjects: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
pub(super) struct RotateOptions {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) fn withdraw(options: &WithdrawOptions) -> Result<(), Failure> {
    let desk = Desk::new(&options.common)?;
    let mut store = desk.open()?;
    let mut unknown = Vec::new();
    let mut changes = Vec::new();
    for name in &options.subjects {
        if store.get(name)?.is_none() {
            unknown.push(name.as_str());
        }
        changes.push(Change::Withdraw(Pseudonym::new(name)));
    }
    let applied = store.apply(&changes, &Order::local())?;
    drop(store);
    let mut out = anstream::stdout();
    let printed = if options.json {
        let document = json!({
            "withdrawn": applied.withdrawn,
            "not_enrolled": unknown,
        });
        writeln!(out, "{document}")
    } else {
        let unknown = unknown.iter().try_for_each(|name| {
            writeln!(
                out,
                "`{name}` was not enrolled in the sealed registry; the withdrawal is remembered all \
                 the same, so that no older file enrols them."
            )
        });
        unknown.and_then(|()| {
            writeln!(
                out,
                "{} withdrawn. A running gateway notices by itself, stops recognising them and \
                 erases what it has buffered about them; one that is not running does so at its \
                 next start. Tell the platform, too.",
                applied.withdrawn
            )
        })
    };
    printed.or_else(broken_pipe)
}

pub(super) fn rotate_key(options: &RotateOptions) -> Result<(), Failure> {
    let desk = Desk::new(&options.common)?;
    let mut store = desk.existing()?;
    let subjects = usize::try_from(store.version().subjects).unwrap_or_default();
    let bar = bar(subjects, "subjects", options.json);
    let rotation = store.rotate(&desk.keys, &mut |written| bar.set_position(written))?;
    bar.finish_and_clear();
    drop(store);
    let (key, resealed, unreadable, completed, now) = match rotation {
        Rotation::Done { key, resealed, unreadable, completed, now } => {
            (key, resealed, unreadable, completed, now)
        }
        Rotation::NewKeyNeeded { number } => return Err(Failure::Failed(instructions(number))),
    };
    let mut out = anstream::stdout();
    let printed = if options.json {
        let document = json!({
            "key": key,
            "resealed": resealed,
            "unreadable": unreadable,
            "completed": completed,
        });
        writeln!(out, "{document}")
    } else {
        let what = if completed { "What was begun is complete: the" } else { "The" };
        let next = match now {
            KeyOrigin::File => "The old key is gone from the key file; copies of it are void",
            KeyOrigin::Credential | KeyOrigin::Both { .. } => {
                "Nothing needs other keys: their lines in the credential can go, and there is no \
                 key file any more"
            }
        };
        writeln!(
            out,
            "{what} registry is sealed with key number {key}, {resealed} subjects. {next}."
        )
    };
    printed.or_else(broken_pipe)?;
    if unreadable > 0 {
        return Err(Failure::Failed(format!(
            "{unreadable} entries could not be read and are gone; enrol those subjects again"
        )));
    }
    Ok(())
}

/// What only root can do, because the credential is sealed by systemd. In words that can be pasted.
fn instructions(number: u32) -> String {
    format!(
        "the key is systemd's credential `{CREDENTIAL}`, which this program cannot change. Add a \
         line with key number {number}, as root:\n\
         \n    \
         cd /etc/credstore.encrypted\n    \
         {{ systemd-creds decrypt --name={CREDENTIAL} beacon-gateway.{CREDENTIAL} -\n      \
         echo \"{number}:$(openssl rand -hex 32)\"; }} |\n      \
         systemd-creds encrypt --name={CREDENTIAL} - new &&\n      \
         mv new beacon-gateway.{CREDENTIAL}\n    \
         systemctl restart beacon-gateway\n\
         \nthen run this command again, with \
         CREDENTIALS_DIRECTORY=/run/credentials/beacon-gateway.service; nothing was changed so far"
    )
}

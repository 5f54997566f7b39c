//! The clerk's own side: an errand from standard input; the work; its result to standard output.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    os::fd::AsFd as _,
    process, thread,
};

use super::{
    ClerkError, PIECE,
    pipe::{self, Errand, FromClerk, ToClerk, Work},
};
use crate::{
    engine::{Pseudonym, Subject},
    gateway::{GatewayError, chain, enrolment::vault::Vault},
    registry::{self, store::Change},
    telemetry,
};

/// Does one errand. The error is for whoever started this by hand: the gateway is told over the
/// pipe.
pub fn serve() -> Result<(), ClerkError> {
    // Not through the handles of the standard library, which look for ends of lines.
    let to = io::stdout().as_fd().try_clone_to_owned().map_err(ClerkError::Pipe)?;
    let from = io::stdin().as_fd().try_clone_to_owned().map_err(ClerkError::Pipe)?;
    let mut from = BufReader::with_capacity(PIECE, File::from(from));
    let mut to = BufWriter::with_capacity(PIECE, File::from(to));
    let (errand, changes) = listen(&mut from)?;
    telemetry::start(errand.log());
    thread::spawn(move || go_with_the_gateway(from));
    answer(&errand, changes, &mut to)
}

/// Reads an errand to its end.
pub(super) fn listen(from: &mut impl Read) -> Result<(Errand, Vec<Change>), ClerkError> {
    let mut buffer = Vec::new();
    let (mut errand, mut changes) = (None, Vec::new());
    while pipe::read(from, &mut buffer).map_err(ClerkError::Pipe)? {
        match postcard::from_bytes(&buffer).map_err(|_| ClerkError::Form)? {
            ToClerk::Errand(what) => errand = Some(what),
            ToClerk::Enrol(line) => changes.push(Change::Upsert(subject(line)?)),
            ToClerk::Withdraw(name) => changes.push(Change::Withdraw(Pseudonym::new(name))),
            ToClerk::End => return Ok((errand.ok_or(ClerkError::Form)?, changes)),
        }
    }
    Err(ClerkError::Form)
}

fn subject(line: &[u8]) -> Result<Subject, ClerkError> {
    registry::subject_from_line(line).ok_or(ClerkError::Form)
}

/// Does what was asked for, and says how it went.
pub(super) fn answer(
    errand: &Errand,
    changes: Vec<Change>,
    to: &mut impl Write,
) -> Result<(), ClerkError> {
    let mut buffer = Vec::new();
    let mut broken = None;
    let mut say = |word: &FromClerk<'_>| {
        if broken.is_none() {
            broken = pipe::write(to, word, &mut buffer).err();
        }
    };
    let done =
        work(&errand.vault(), &errand.work, changes, &mut |line| say(&FromClerk::Line(line)));
    say(&match done {
        Ok(done) => FromClerk::Done(done),
        Err(error) => FromClerk::Failed { why: chain(&error), fate: error.fate().into() },
    });
    match broken {
        Some(error) => Err(ClerkError::Pipe(error)),
        None => to.flush().map_err(ClerkError::Pipe),
    }
}

fn work(
    vault: &Vault,
    work: &Work,
    changes: Vec<Change>,
    give: &mut dyn FnMut(&[u8]),
) -> Result<pipe::Done, GatewayError> {
    match work.clone() {
        Work::Lines => vault.lines(give).map(Into::into),
        Work::Apply { command, platform } => {
            vault.apply(&changes, &Work::order(command, platform)).map(Into::into)
        }
        Work::Replace { command, platform } => {
            let enrolled = changes.into_iter().filter_map(|change| match change {
                Change::Upsert(subject) => Some(subject),
                Change::Withdraw(_) => None,
            });
            let enrolled: Vec<Subject> = enrolled.collect();
            vault.replace(&enrolled, &Work::order(command, platform)).map(Into::into)
        }
    }
}

/// Ends this process when its standard input ends: the gateway holds the other end as long as it
/// waits. Whatever is being written then is written whole or not at all, as after a power cut.
fn go_with_the_gateway(mut from: impl Read) {
    let mut rest = [0; 64];
    while from.read(&mut rest).is_ok_and(|read| read > 0) {}
    process::exit(1);
}

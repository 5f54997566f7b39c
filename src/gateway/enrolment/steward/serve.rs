//! The steward's own side: a task from standard input; the work; its result to standard output.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    os::fd::AsFd as _,
    process, thread,
};

use super::{
    PIECE, StewardError,
    pipe::{self, Failure, FromSteward, Task, ToSteward, Work},
};
use crate::{
    engine::{Pseudonym, Subject},
    gateway::{GatewayError, enrolment::vault::Vault},
    registry::{self, store::Change},
    telemetry,
};

/// Does one task. The error is for whoever started this by hand: the gateway is told over the
/// pipe.
pub fn serve() -> Result<(), StewardError> {
    // Not through the handles of the standard library, which look for ends of lines.
    let to = io::stdout().as_fd().try_clone_to_owned().map_err(StewardError::Pipe)?;
    let from = io::stdin().as_fd().try_clone_to_owned().map_err(StewardError::Pipe)?;
    let mut from = BufReader::with_capacity(PIECE, File::from(from));
    let mut to = BufWriter::with_capacity(PIECE, File::from(to));
    let (task, changes) = listen(&mut from)?;
    telemetry::start(task.log());
    thread::spawn(move || go_with_the_gateway(from));
    answer(&task, changes, &mut to)
}

/// Reads a task to its end.
pub(super) fn listen(from: &mut impl Read) -> Result<(Task, Vec<Change>), StewardError> {
    let mut buffer = Vec::new();
    let (mut task, mut changes) = (None, Vec::new());
    while pipe::read(from, &mut buffer).map_err(StewardError::Pipe)? {
        match postcard::from_bytes(&buffer).map_err(|_| StewardError::Form)? {
            ToSteward::Task(what) => task = Some(what),
            ToSteward::Enrol(line) => changes.push(Change::Upsert(subject(line)?)),
            ToSteward::Withdraw(name) => changes.push(Change::Withdraw(Pseudonym::new(name))),
            ToSteward::End => return Ok((task.ok_or(StewardError::Form)?, changes)),
        }
    }
    Err(StewardError::Form)
}

fn subject(line: &[u8]) -> Result<Subject, StewardError> {
    registry::subject_from_line(line).ok_or(StewardError::Form)
}

/// Does what was asked for, and says how it went.
pub(super) fn answer(
    task: &Task,
    changes: Vec<Change>,
    to: &mut impl Write,
) -> Result<(), StewardError> {
    let mut buffer = Vec::new();
    let mut broken = None;
    let mut say = |word: &FromSteward<'_>| {
        if broken.is_none() {
            broken = pipe::write(to, word, &mut buffer).err();
        }
    };
    let done = work(&task.vault(), &task.work, changes, &mut |line| say(&FromSteward::Line(line)));
    say(&match done {
        Ok(done) => FromSteward::Done(done),
        Err(error) => FromSteward::Failed(Failure::of(&error)),
    });
    match broken {
        Some(error) => Err(StewardError::Pipe(error)),
        None => to.flush().map_err(StewardError::Pipe),
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

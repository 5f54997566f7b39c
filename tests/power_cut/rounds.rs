//! Starts workers and kills them.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use crate::{ledger::Ledger, worker};

/// A worker that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_mins(1);

/// What is said of a worker that was not killed, before what it complained of.
pub(crate) const ENDED: &str = "the worker ended by itself:";

/// When to kill a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kill {
    /// So long after it was started, which is while it opens the store.
    After(Duration),
    /// So long after it has said this many lines about its work.
    Working(usize, Duration),
}

impl Kill {
    /// While opening in one of `early` rounds, else at work.
    pub(crate) fn at_random(early: u64, random: &mut fastrand::Rng) -> Self {
        let moment = Duration::from_micros(random.u64(0..3000));
        if random.u64(0..early) == 0 {
            Self::After(Duration::from_micros(random.u64(0..40_000)))
        } else {
            let most = *random.choice(&[50, 4000, 12_000]).unwrap_or(&50);
            Self::Working(random.usize(1..most), moment)
        }
    }
}

/// Runs a worker until it is killed, and enters what it said into the ledger.
pub(crate) fn round(
    directory: &Path,
    seed: u64,
    durability: &str,
    kill: Kill,
    ledger: &mut Ledger,
) -> Result<(), String> {
    let mut command = worker::command(directory, seed, durability).map_err(|e| e.to_string())?;
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let lines = listen(&mut child)?;
    let read = watch(&lines, kill, ledger);
    // It may have ended by itself, which `watch` has noticed.
    drop(child.kill());
    let rest = read.and_then(|()| lines.iter().try_for_each(|line| ledger.read(&line)));
    drop(lines);
    let mut errors = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        drop(stderr.read_to_string(&mut errors));
    }
    child.wait().map_err(|error| error.to_string())?;
    ledger.killed();
    rest.map_err(|why| format!("{why} {}", errors.trim()).trim_end().to_owned())
}

/// Reads the worker's lines until the moment has come to kill it.
fn watch(lines: &Receiver<String>, kill: Kill, ledger: &mut Ledger) -> Result<(), String> {
    let ended = || ENDED.to_owned();
    let moment = match kill {
        Kill::After(moment) => moment,
        Kill::Working(count, moment) => {
            let mut working = 0;
            while working < count {
                let line = lines.recv_timeout(SILENCE).map_err(|error| match error {
                    RecvTimeoutError::Timeout => "the worker hangs".to_owned(),
                    RecvTimeoutError::Disconnected => ended(),
                })?;
                let opening = ["opened", "held"].iter().any(|verb| line.starts_with(verb));
                working += usize::from(!opening);
                ledger.read(&line)?;
            }
            moment
        }
    };
    let mut left = moment;
    while !left.is_zero() {
        let step = left.min(Duration::from_micros(500));
        match lines.recv_timeout(step) {
            // A line is not waited for long; count it as a fraction of a step.
            Ok(line) => {
                ledger.read(&line)?;
                left = left.saturating_sub(step / 20);
            }
            Err(RecvTimeoutError::Timeout) => left -= step,
            Err(RecvTimeoutError::Disconnected) => return Err(ended()),
        }
    }
    Ok(())
}

/// Passes on the worker's lines, but not a last one that it did not finish.
fn listen(child: &mut Child) -> Result<Receiver<String>, String> {
    let stdout = child.stdout.take().ok_or("no standard output")?;
    let (lines_tx, lines_rx) = sync_channel(256);
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
            if lines_tx.send(line.trim_end().to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    Ok(lines_rx)
}

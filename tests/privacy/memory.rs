//! A core image: what the kernel would write into a core file of a running process, which is all of
//! its memory but the unchanged pages of files. The process stands still while it is read.

use std::{fs, fs::File, os::unix::fs::FileExt};

use beacon_gateway::clock::Clock;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    needles::{Finding, Needles, OVERLAP},
    support::{Outcome, text},
};

/// What came of looking through a process.
#[derive(Default)]
pub(crate) struct Look {
    /// Octets that were looked at: those of all pages that are not zero throughout.
    pub(crate) octets: usize,
    pub(crate) findings: Vec<Finding>,
}

/// One mapping.
struct Mapping {
    start: u64,
    end: u64,
    name: String,
}

const PIECE: usize = 1 << 20;
const PAGE: usize = 4096;

/// Reads all of a child's memory and looks for needles. The kernel lets a parent do so, unless
/// `kernel.yama.ptrace_scope` is 2 or more and the parent is not root.
pub(crate) fn look(process: Pid, needles: &[&Needles]) -> Outcome<Look> {
    let memory = stopped(process, || copy(process))?;
    // On two processors, every second piece on each.
    let search = |first: usize| {
        let mut look = Look::default();
        for (name, start, bytes) in memory.iter().skip(first).step_by(2) {
            look.octets += bytes.len();
            for needles in needles {
                let place = format!("memory, {name}");
                look.findings.extend(needles.search(bytes, &place, *start));
                look.findings.extend(needles.search_base64(bytes, &place, *start));
            }
        }
        look
    };
    let search = &search;
    let halves = std::thread::scope(|scope| {
        [0, 1]
            .map(|first| scope.spawn(move || search(first)))
            .map(std::thread::ScopedJoinHandle::join)
    });
    let mut all = Look::default();
    for half in halves {
        let half = half.map_err(|_| "a search of memory panicked")?;
        all.octets += half.octets;
        all.findings.extend(half.findings);
    }
    Ok(all)
}

/// Lets a process stand still meanwhile.
fn stopped<T>(process: Pid, look: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    kill(process, Signal::SIGSTOP).map_err(text)?;
    let clock = Clock::start();
    loop {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).map_err(text)?;
        // The state follows the name, which stands in parentheses and may hold some itself.
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        match state {
            Some('T' | 't') => break,
            Some('Z' | 'X') | None => return Err("the gateway has ended".to_owned()),
            Some(_) if clock.now().as_micros() > 10_000_000 => {
                return Err("the gateway does not stand still".to_owned());
            }
            Some(_) => std::thread::yield_now(),
        }
    }
    let looked = look();
    kill(process, Signal::SIGCONT).map_err(text)?;
    looked
}

/// The pages that are not zero, in pieces, with their mappings and addresses. Pieces that follow
/// each other overlap; no needle has a zero in it, so none reaches into a page of zeros.
fn copy(process: Pid) -> Outcome<Vec<(String, usize, Vec<u8>)>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).map_err(text)?;
    let memory = File::open(format!("/proc/{process}/mem")).map_err(|error| {
        format!(
            "a child's memory cannot be read ({error}); run the test as root, or set the sysctl \
             kernel.yama.ptrace_scope to 1 or 0"
        )
    })?;
    let mut pieces = Vec::new();
    for Mapping { start, end, name } in maps.lines().filter_map(mapping) {
        let mut at = start;
        let mut tail: Vec<u8> = Vec::new();
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let mut piece = vec![0; length];
            if memory.read_exact_at(&mut piece, at).is_err() {
                // A guard page, or one that has gone: pages one by one.
                for (page, place) in piece.chunks_mut(PAGE).zip((at..).step_by(PAGE)) {
                    if memory.read_exact_at(page, place).is_err() {
                        page.fill(0);
                    }
                }
            }
            let begin = usize::try_from(at).map_err(text)?;
            let mut run = std::mem::take(&mut tail);
            for (page, place) in piece.chunks(PAGE).zip((begin..).step_by(PAGE)) {
                if page != &[0; PAGE][..page.len()] {
                    run.extend_from_slice(page);
                } else if !run.is_empty() {
                    let run = std::mem::take(&mut run);
                    pieces.push((name.clone(), place - run.len(), run));
                }
            }
            if !run.is_empty() {
                tail = run[run.len().saturating_sub(OVERLAP)..].to_vec();
                pieces.push((name.clone(), begin + length - run.len(), run));
            }
            at += u64::try_from(length).map_err(text)?;
        }
    }
    Ok(pieces)
}

/// Reads a line of `/proc/PID/maps`: `start-end perms offset device inode name`. Only what a core
/// file would hold: what can be read, and was or may be written.
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (range, permissions) = (words.next()?, words.next()?);
    let (start, end) = range.split_once('-')?;
    let file = words.nth(2)? != "0";
    let name = words.next().unwrap_or("nameless").to_owned();
    let kernels = ["[vvar]", "[vvar_vclock]", "[vsyscall]", "[vdso]"].contains(&name.as_str());
    let core = permissions.starts_with('r') && !kernels && (!file || permissions.contains('w'));
    let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).ok());
    core.then_some(Mapping { start: start?, end: end?, name })
}

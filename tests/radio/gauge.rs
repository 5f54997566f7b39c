//! What a process costs: CPU time and memory.

use std::fs;

use nix::{time::ClockId, unistd::Pid};

use crate::process::Outcome;

/// What a process has cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// CPU time of all its threads, in seconds, by the process's own clock: the kernel switches it
    /// with the tasks, where `utime` and `stime` of `/proc` are guessed at each tick.
    pub(crate) cpu: f64,
    /// Resident memory, in KiB.
    pub(crate) resident: u64,
    /// The most resident memory so far, in KiB.
    pub(crate) peak: u64,
}

/// Reads what a process has cost.
pub(crate) fn cost(pid: u32) -> Outcome<Cost> {
    let failed = |why: String| format!("failed to measure process {pid}: {why}");
    let number = i32::try_from(pid).map_err(|error| failed(error.to_string()))?;
    let time = ClockId::pid_cpu_clock_id(Pid::from_raw(number))
        .and_then(ClockId::now)
        .map_err(|error| failed(error.to_string()))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|error| failed(error.to_string()))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    let missing = || failed("the kernel does not tell its memory".to_owned());
    Ok(Cost {
        cpu: std::time::Duration::from(time).as_secs_f64(),
        resident: field("VmRSS:").ok_or_else(missing)?,
        peak: field("VmHWM:").ok_or_else(missing)?,
    })
}

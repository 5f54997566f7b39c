//! Programs: started, run to their end, ended; and waiting for what they do.

use std::{
    fmt::Display,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use beacon_gateway::clock::Clock;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::guest::SHARE;

/// The reason why something did not work out.
pub(crate) type Outcome<T> = Result<T, String>;

/// Waits for a condition; the error names it. Looks at it often enough to be at most a little late,
/// at the scale of what is waited for.
pub(crate) async fn until<T>(
    what: impl Display,
    within: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Outcome<T> {
    let clock = Clock::start();
    let pause = (within / 500).clamp(Duration::from_millis(20), Duration::from_secs(1));
    loop {
        if let Some(seen) = look().await {
            return Ok(seen);
        }
        if clock.now().as_micros() >= i64::try_from(within.as_micros()).unwrap_or(i64::MAX) {
            return Err(format!("after {} s still not: {what}", within.as_secs()));
        }
        sleep(pause).await;
    }
}

/// Starts a program whose output goes to a file that the host can read.
pub(crate) fn start(program: &str, arguments: &[&str]) -> Outcome<Child> {
    start_with(program, arguments, Stdio::null())
}

/// The same, for a program that is spoken to.
pub(crate) fn start_with(program: &str, arguments: &[&str], input: Stdio) -> Outcome<Child> {
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let log = log_of(&name);
    let open = || File::options().create(true).append(true).open(&log);
    let (output, errors) = open()
        .and_then(|output| open().map(|errors| (output, errors)))
        .map_err(|error| format!("failed to open {}: {error}", log.display()))?;
    Command::new(program)
        .args(arguments)
        .stdin(input)
        .stdout(output)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("failed to start {program}: {error}"))
}

/// Where the output of a program is.
pub(crate) fn log_of(program: &str) -> PathBuf {
    Path::new(SHARE).join(format!("{program}.log"))
}

/// Ends a program as a power cut would.
pub(crate) async fn kill(child: &mut Option<Child>) -> Outcome<()> {
    match child.take() {
        Some(mut child) => child.kill().await.map_err(|error| format!("failed to kill: {error}")),
        None => Err("there is nothing to kill".to_owned()),
    }
}

/// Runs a program to its end.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> Outcome<()> {
    output(program, arguments).await.map(drop)
}

/// Runs a program to its end; gives what it said.
pub(crate) async fn output(program: &str, arguments: &[&str]) -> Outcome<String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(Duration::from_secs(30), output)
        .await
        .map_err(|_| format!("{program} did not end within 30 s"))?
        .map_err(|error| format!("failed to start {program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} ended with {}: {}", output.status, errors.trim()))
}

//! The two reference subscribers as processes, and the last account that each of them has given.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    task::JoinHandle,
};

use crate::process::pid;

/// Names the Python that has paho; `tests/run` makes one and says so.
const PYTHON: &str = "SUBSCRIBER_PYTHON";

/// Which of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Rust,
    Python,
}

/// A subscriber: its process comes and goes, its state file stays.
pub(crate) struct Reader {
    kind: Kind,
    protocol: &'static str,
    directory: PathBuf,
    port: u16,
    running: Option<(Child, JoinHandle<()>)>,
    last: Arc<Mutex<Option<Value>>>,
}

/// Builds the example, as whoever tries it out does, where this test was built.
pub(crate) fn build() -> Result<(), String> {
    let profile = profile()?;
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--locked", "--example", "subscriber", "--target-dir"]);
    command.arg(profile.parent().ok_or("no target directory")?);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("the example subscriber was not built".to_owned()) }
}

/// Where this profile's programs are: `target/debug`, from `target/debug/deps/accounts-…`.
fn profile() -> Result<PathBuf, String> {
    let executable = env::current_exe().map_err(|error| error.to_string())?;
    executable
        .ancestors()
        .nth(2)
        .map(Path::to_owned)
        .ok_or_else(|| "no target directory".to_owned())
}

impl Reader {
    /// One that is not running yet. In the directory is the key it asks gateways with, `key`.
    pub(crate) fn new(kind: Kind, protocol: &'static str, directory: &Path, port: u16) -> Self {
        let (directory, last) = (directory.to_owned(), Arc::default());
        Self { kind, protocol, directory, port, running: None, last }
    }

    pub(crate) fn name(&self) -> String {
        format!("{:?} over MQTT {}", self.kind, self.protocol)
    }

    /// Starts it, where it left off.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        let mut command = self.command()?;
        let name = format!("{:?}", self.kind).to_lowercase();
        command.args(["--broker", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--protocol", self.protocol, "--client-id", &name, "--key-id", "k"]);
        command.arg("--state").arg(self.directory.join(format!("{name}.json")));
        command.arg("--key").arg(self.directory.join("key"));
        command.args(["--json", "--show-every", "0.2", "--ask-every", "1", "--retry", "0.1"]);
        let log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.directory.join(format!("{name}.log")))
            .map_err(|error| error.to_string())?;
        let mut child = tokio::process::Command::from(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.name()))?;
        let lines = child.stdout.take().map(BufReader::new).ok_or("no output")?;
        let last = Arc::clone(&self.last);
        let reading = tokio::spawn(async move {
            let mut lines = lines.lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // A line that was cut by a kill is none.
                if let Ok(account) = serde_json::from_str(&line) {
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(account);
                }
            }
        });
        self.running = Some((child, reading));
        Ok(())
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn kill(&mut self) -> Result<(), String> {
        self.end(Signal::SIGKILL).await.map(drop)
    }

    /// Ends it in good order; its last word is its account.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        if self.end(Signal::SIGTERM).await? {
            Ok(())
        } else {
            Err(format!("{} did not end in good order; see its log", self.name()))
        }
    }

    /// Its last account.
    pub(crate) fn last(&self) -> Option<Value> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has ended by itself, which it must not.
    pub(crate) fn has_ended(&mut self) -> bool {
        let Some((child, _)) = &mut self.running else { return false };
        !matches!(child.try_wait(), Ok(None))
    }

    async fn end(&mut self, signal: Signal) -> Result<bool, String> {
        let Some((mut child, reading)) = self.running.take() else { return Ok(true) };
        if let Some(id) = child.id() {
            kill(pid(id), signal).map_err(|error| error.to_string())?;
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
        reading.await.map_err(|error| error.to_string())?;
        Ok(status.success())
    }

    fn command(&self) -> Result<Command, String> {
        let profile = profile()?;
        match self.kind {
            Kind::Rust => Ok(Command::new(profile.join("examples/subscriber"))),
            Kind::Python => {
                let python = env::var_os(PYTHON).map_or_else(
                    || profile.join("../subscriber-python/bin/python3"),
                    PathBuf::from,
                );
                if !python.exists() {
                    return Err(format!(
                        "there is no {}; `tests/run accounts` makes a Python with paho there, or \
                         {PYTHON} names one",
                        python.display()
                    ));
                }
                let mut command = Command::new(python);
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/subscriber.py"));
                Ok(command)
            }
        }
    }
}

//! The daemon under test, with its configuration, its log and its state directory.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{process::Child, time::timeout};

use crate::{
    cast,
    guest::SHARE,
    world::{Outcome, log_of, run, start},
};

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
}

const STATE: &str = "/var/lib/beacon-gateway";
const CONFIGURATION: &str = "/run/gateway.toml";
const REGISTRY: &str = "/run/registry.jsonl";

impl Daemon {
    /// Starts a daemon with an empty state directory; its broker listens on `port`.
    pub(crate) fn start(port: u16, clock_zero: &str) -> Outcome<Self> {
        let failed = |what: &str, error: std::io::Error| format!("failed to {what}: {error}");
        if Path::new(STATE).exists() {
            fs::remove_dir_all(STATE)
                .map_err(|error| failed("empty the state directory", error))?;
        }
        fs::write(REGISTRY, cast::registry(clock_zero))
            .map_err(|error| failed("write the registry", error))?;
        fs::write(CONFIGURATION, configuration(port))
            .map_err(|error| failed("write the configuration", error))?;
        let program = format!("{SHARE}/beacon-gateway");
        let child = start(&program, &["run", "--config", CONFIGURATION])?;
        Ok(Self { child })
    }

    /// Asks it to stop, as systemd does, and waits; it must end in time and without complaint.
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        let pid = self.child.id().ok_or("the daemon has ended by itself")?.to_string();
        run("kill", &["-TERM", &pid]).await?;
        let status = timeout(Duration::from_secs(20), self.child.wait())
            .await
            .map_err(|_| "the daemon did not stop within 20 s".to_owned())?
            .map_err(|error| format!("failed to wait for the daemon: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("the daemon ended with {status}")) }
    }

    /// Everything that it wrote to its log.
    pub(crate) fn log() -> Outcome<Vec<u8>> {
        fs::read(log_of("beacon-gateway"))
            .map_err(|error| format!("failed to read its log: {error}"))
    }

    /// Every file in its state directory: what it is, and what is in it.
    pub(crate) fn state() -> Outcome<Vec<(PathBuf, Vec<u8>)>> {
        let mut files = Vec::new();
        let mut directories = vec![PathBuf::from(STATE)];
        while let Some(directory) = directories.pop() {
            let failed = |error| format!("failed to read {}: {error}", directory.display());
            for entry in fs::read_dir(&directory).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let content = fs::read(&path).map_err(failed)?;
                    files.push((path, content));
                }
            }
        }
        Ok(files)
    }
}

/// What differs from the defaults: who it is, what it listens to, and a log that hides nothing.
fn configuration(port: u16) -> String {
    let sensor = cast::SENSOR;
    format!(
        r#"
[gateway]
tenant = "acme"
store = "berlin-03"
name = "gw1"
state_dir = "{STATE}"

[identity]
registry = "{REGISTRY}"

[presence]
loitering = ["1m"]

[[fixture]]
id = "fridge"
address = "{sensor}"

[uplink]
broker = "mqtt://127.0.0.1:{port}"

[health]
metrics_interval = "10s"

[log]
level = "trace"
"#
    )
}

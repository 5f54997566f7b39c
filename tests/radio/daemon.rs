//! The daemon under test, with its configuration, its log and its state directory; and its command
//! `scan`, which records what it hears.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::{process::Child, time::timeout};

use crate::{
    guest::SHARE,
    plane::Plane,
    process::{Outcome, log_of, run, start},
};

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
}

/// What a daemon is told; the rest is as it comes.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    /// The registry file's content.
    pub(crate) registry: String,
    /// The keys of `[scan]`, and the sections below it.
    pub(crate) scan: String,
    pub(crate) fixtures: Vec<Fixture>,
    pub(crate) metrics_interval: &'static str,
    /// When the wall clock is believed. Nothing sets the guest's, and some consents have an end.
    pub(crate) clock: &'static str,
    pub(crate) log: &'static str,
}

/// One of the shop's own devices.
#[derive(Clone, Debug)]
pub(crate) struct Fixture {
    pub(crate) id: String,
    /// As people write it.
    pub(crate) address: String,
    /// Whether its silence means that the radio is deaf.
    pub(crate) canary: bool,
}

/// The command `scan --record` at work.
pub(crate) struct Listener {
    child: Child,
    /// How long its log was before.
    skip: usize,
}

/// One line of a recording.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) receiver: String,
    /// As it is written: `AA:BB:CC:DD:EE:FF`.
    pub(crate) address: String,
    pub(crate) rssi: Option<i64>,
    /// Hexadecimal.
    pub(crate) data: String,
}

const STATE: &str = "/var/lib/beacon-gateway";
const CONFIGURATION: &str = "/run/gateway.toml";
const REGISTRY: &str = "/run/registry.jsonl";
const RECORDING: &str = "/run/recording.jsonl";

/// How long a stop may take.
const PATIENCE: Duration = Duration::from_secs(20);

impl Daemon {
    /// Starts a daemon with an empty state directory; its broker listens on `port`.
    pub(crate) fn start(port: u16, configuration: &Configuration) -> Outcome<Self> {
        if Path::new(STATE).exists() {
            fs::remove_dir_all(STATE)
                .map_err(|error| format!("failed to empty the state directory: {error}"))?;
        }
        Self::again(port, configuration)
    }

    /// Starts a daemon with the state directory that another one has left.
    pub(crate) fn again(port: u16, configuration: &Configuration) -> Outcome<Self> {
        configuration.write(port)?;
        let child = start(&program(), &["run", "--config", CONFIGURATION])?;
        Ok(Self { child })
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(&mut self) -> Outcome<()> {
        self.child.kill().await.map_err(|error| format!("failed to kill the daemon: {error}"))
    }

    pub(crate) fn pid(&self) -> Outcome<u32> {
        self.child.id().ok_or_else(|| "the daemon has ended by itself".to_owned())
    }

    /// Asks it to stop, as systemd does, and waits; it must end in time and without complaint.
    pub(crate) async fn stop(self) -> Outcome<()> {
        ended(self.child, "-TERM").await
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

impl Fixture {
    pub(crate) fn new(id: impl Into<String>, address: impl Into<String>) -> Self {
        Self { id: id.into(), address: address.into(), canary: false }
    }
}

impl Configuration {
    /// Whom the registry names, with the defaults for everything else and a log that hides nothing.
    pub(crate) fn of(registry: String) -> Self {
        Self {
            registry,
            scan: String::new(),
            fixtures: Vec::new(),
            metrics_interval: "10s",
            clock: "always",
            log: "trace",
        }
    }

    /// The same, where it hears by this plane with the adapter of this address.
    pub(crate) fn hearing(self, plane: Plane, adapter: &str) -> Self {
        let scan = format!("{}\nadapter = \"{adapter}\"\n", plane.keys());
        Self { scan, ..self }
    }

    fn write(&self, port: u16) -> Outcome<()> {
        let failed = |error: std::io::Error| format!("failed to configure the daemon: {error}");
        fs::write(REGISTRY, &self.registry).map_err(failed)?;
        let Self { scan, metrics_interval, clock, log, .. } = self;
        let mut text = format!(
            r#"
[gateway]
tenant = "acme"
clock = "{clock}"
store = "berlin-03"
name = "gw1"
state_dir = "{STATE}"

[scan]
{scan}

[identity]
registry = "{REGISTRY}"

[presence]
loitering = ["1m"]
merge_gap = "0s"

[uplink]
broker = "mqtt://127.0.0.1:{port}"

[health]
metrics_interval = "{metrics_interval}"

[log]
level = "{log}"
"#
        );
        for Fixture { id, address, canary } in &self.fixtures {
            write!(text, "\n[[fixture]]\nid = \"{id}\"\naddress = \"{address}\"\n")
                .map_err(|error| error.to_string())?;
            text += if *canary { "canary = true\n" } else { "" };
            // Whatever is new is reported: a probe counts.
            text += "report = { at_most_every = \"0s\" }\n";
        }
        fs::write(CONFIGURATION, text).map_err(failed)
    }
}

impl Listener {
    /// Starts the command; the broker that the configuration names is not asked.
    pub(crate) fn start(configuration: &Configuration) -> Outcome<Self> {
        configuration.write(1883)?;
        match fs::remove_file(RECORDING) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("failed to remove an old recording: {error}"));
            }
            _ => {}
        }
        let skip = Daemon::log().map(|log| log.len()).unwrap_or_default();
        let words = ["scan", "--json", "--record", RECORDING, "--config", CONFIGURATION];
        Ok(Self { child: start(&program(), &words)?, skip })
    }

    /// How many advertisements it has received by its own count, renewed each second.
    pub(crate) fn received(&self) -> u64 {
        let log = Daemon::log().unwrap_or_default();
        let text = String::from_utf8_lossy(log.get(self.skip..).unwrap_or_default());
        let count = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            line.pointer("/received")?.as_u64()
        };
        text.lines().rev().find_map(count).unwrap_or(0)
    }

    /// Stops it, as Ctrl-C does; gives what it recorded.
    pub(crate) async fn finish(self) -> Outcome<Vec<Recorded>> {
        ended(self.child, "-INT").await?;
        let text = fs::read_to_string(RECORDING)
            .map_err(|error| format!("failed to read the recording: {error}"))?;
        // The first line says what kind of file it is.
        text.lines().skip(1).map(Recorded::parse).collect()
    }
}

impl Recorded {
    fn parse(line: &str) -> Outcome<Self> {
        let value: Value = serde_json::from_str(line)
            .map_err(|error| format!("`{line}` is no line of a recording: {error}"))?;
        let text = |name: &str| {
            let field = value.get(name).and_then(Value::as_str);
            field.map(str::to_owned).ok_or_else(|| format!("`{line}` has no {name}"))
        };
        let rssi = value.get("rssi").and_then(Value::as_i64);
        Ok(Self {
            receiver: text("receiver")?,
            address: text("address")?,
            rssi,
            data: text("adv")?,
        })
    }
}

fn program() -> String {
    format!("{SHARE}/beacon-gateway")
}

/// Sends a program a signal, and waits until it has ended well.
async fn ended(mut child: Child, signal: &str) -> Outcome<()> {
    let pid = child.id().ok_or("the gateway has ended by itself")?.to_string();
    run("kill", &[signal, &pid]).await?;
    let status = timeout(PATIENCE, child.wait())
        .await
        .map_err(|_| "the gateway did not stop within 20 s".to_owned())?
        .map_err(|error| format!("failed to wait for the gateway: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("the gateway ended with {status}")) }
}

//! A whole gateway in a process of its own, which can be killed: it hears a shop full of restless
//! people, for as long as nobody says pause.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    engine::{AddressKind, Advertisement, DeviceAddress, ReceiverId, Rssi, Uptime},
    gateway::{self, Request, Source},
    scan::{Heard, SourceEnds},
    settings::Loader,
};
use nix::sys::signal::{Signal, kill};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::process::pid;

const DIRECTORY: &str = "ACCOUNTS_GATEWAY";

/// How many people come to the shop, and how often one of them is heard.
pub(crate) const SUBJECTS: u16 = 20;
const PACE: Duration = Duration::from_millis(10);

/// Everybody is heard so many times in a row, going to the counter and back between each two of
/// them, and is then away for so many turns, which is longer than `exit_timeout`.
const TURNS_HERE: u64 = 20;
const TURNS_AWAY: u64 = 14;

/// A running gateway.
pub(crate) struct Gateway(Child);

/// What one is made of.
pub(crate) struct Plan<'a> {
    /// Where everything of it is.
    pub(crate) directory: &'a Path,
    /// Where it thinks the broker is.
    pub(crate) port: u16,
    /// The version of MQTT it speaks.
    pub(crate) protocol: &'a str,
    /// How many records it may hold.
    pub(crate) max_records: u64,
    /// Whose commands it obeys: a line for `trusted_keys`.
    pub(crate) key: &'a str,
}

impl Plan<'_> {
    /// Starts it.
    pub(crate) fn start(&self) -> Result<Gateway, String> {
        let Self { directory, port, protocol, max_records, key } = self;
        let at = |name: &str| directory.join(name).display().to_string();
        let config = format!(
            r#"
            [gateway]
            tenant = "acme"
            store = "berlin-03"
            name = "gw1"
            state_dir = "{state}"
            clock = "always"
            [presence]
            smoothing = "0s"
            exit_delay = "0s"
            exit_timeout = "2s"
            exit_timeout_max = "2s"
            merge_gap = "0s"
            [[zone]]
            id = "shop"
            [[zone]]
            id = "counter"
            enter_rssi = -55.0
            exit_rssi = -60.0
            [identity]
            registry = "{registry}"
            [outbox]
            commit_interval = "5ms"
            commit_records = 64
            max_records = {max_records}
            keep_acknowledged = "1h"
            [health]
            state_interval = "1s"
            metrics_interval = "100ms"
            [uplink]
            broker = "mqtt://127.0.0.1:{port}"
            protocol = "{protocol}"
            backoff_min = "10ms"
            backoff_max = "100ms"
            [command]
            trusted_keys = [{key}]
            "#,
            state = at("state"),
            registry = at("registry.jsonl"),
        );
        let write = |name: &str, text: &str| {
            fs::write(directory.join(name), text).map_err(|error| error.to_string())
        };
        write("gateway.toml", &config)?;
        write("registry.jsonl", &(0..SUBJECTS).map(|n| subject(n) + "\n").collect::<String>())?;
        let executable = env::current_exe().map_err(|error| error.to_string())?;
        let log = fs::OpenOptions::new().append(true).create(true).open(directory.join("log"));
        let child = Command::new(executable)
            .env(DIRECTORY, directory)
            .stdin(Stdio::null())
            .stdout(log.map_err(|error| error.to_string())?)
            .spawn()
            .map_err(|error| error.to_string())?;
        Ok(Gateway(child))
    }
}

impl Gateway {
    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Ends it in good order.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        match self.end(Signal::SIGTERM) {
            Some(true) => Ok(()),
            _ => Err("the gateway did not end in good order; see its log".to_owned()),
        }
    }

    /// Whether it has ended by itself, which it must not.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    fn end(&mut self, signal: Signal) -> Option<bool> {
        kill(pid(self.0.id()), signal).ok()?;
        Some(self.0.wait().ok()?.success())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // One that was ended already has no such process any more.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Somebody who comes to the shop, as a line of the registry.
pub(crate) fn subject(minor: u16) -> String {
    let uuid = "ab".repeat(16);
    format!(
        r#"{{"subject":"s{minor}","kind":"customer","identifiers":[{{"ibeacon":{{"uuid":"{uuid}","major":1,"minor":{minor}}}}}],"consent":{{"purposes":["presence","journey"],"from":"2020-01-01T00:00:00Z","proof":"p"}}}}"#
    )
}

/// Is the gateway, if this process was started to be it. Returns what went wrong.
pub(crate) fn run_if_asked() -> Option<Result<(), String>> {
    let directory = PathBuf::from(env::var_os(DIRECTORY)?);
    let log = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::INFO);
    log.init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let run = |runtime: tokio::runtime::Runtime| runtime.block_on(run(directory));
    Some(runtime.map_err(|error| error.to_string()).and_then(run))
}

async fn run(directory: PathBuf) -> Result<(), String> {
    let loader = Loader::files([directory.join("gateway.toml")]);
    let settings = loader.load().map_err(|error| error.to_string())?;
    let (requests, receiver) = mpsc::channel(1);
    let mut told = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        told.recv().await;
        requests.send(Request::Stop).await.ok();
    });
    let clock = Clock::start();
    let source: Source = Box::new(move |ends| Box::pin(play(directory, clock, ends)));
    let ended = gateway::run(settings, clock, source, receiver, || ()).await;
    ended.map(drop).map_err(|error| gateway::chain(&error))
}

/// The air of the shop.
async fn play(directory: PathBuf, clock: Clock, ends: SourceEnds) {
    let SourceEnds { heard, mut stop, .. } = ends;
    let pause = directory.join("pause");
    let mut ticks = tokio::time::interval(PACE);
    for turn in 0.. {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        let minor = u16::try_from(turn % u64::from(SUBJECTS)).unwrap_or(0);
        let lap = turn / u64::from(SUBJECTS);
        let is_here = (lap + u64::from(minor)) % (TURNS_HERE + TURNS_AWAY) < TURNS_HERE;
        if pause.exists() || !is_here {
            continue;
        }
        let rssi = if lap.is_multiple_of(2) { Rssi(-50) } else { Rssi(-70) };
        let advertisement = ibeacon(minor, rssi, clock.now());
        if heard.send(Heard::Advertisement(advertisement)).await.is_err() {
            return;
        }
    }
}

fn ibeacon(minor: u16, rssi: Rssi, heard: Uptime) -> Advertisement {
    let mut data = vec![26, 0xff, 0x4c, 0x00, 0x02, 0x15];
    data.extend([0xab; 16]);
    data.extend([0, 1]);
    data.extend(minor.to_be_bytes());
    data.push(0xc5);
    let address = DeviceAddress::new([0xc0; 6], AddressKind::Random);
    Advertisement::new(heard, ReceiverId::default(), address, Some(rssi), &data)
}

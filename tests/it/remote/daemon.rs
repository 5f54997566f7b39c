//! The gateway as a process of its own, with its configuration, its log, and what it says at the
//! platform's broker.
#![expect(clippy::indexing_slicing, reason = "a JSON value has a null wherever it has nothing")]

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use beacon_gateway::{gateway::Status, uplink::Protocol};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::foreign::{FOREIGN, UUID};
use crate::support::{eventually, subscriber::Subscriber};

/// A directory with the files of one gateway.
pub(super) struct Shop {
    dir: tempfile::TempDir,
    platform: u16,
}

/// A gateway that runs.
pub(super) struct Daemon {
    process: Child,
    log: PathBuf,
    platform: Subscriber,
}

impl Shop {
    /// One with a receiver and a zone for each foreign gateway, and a member for each to hear.
    pub(super) fn new(platform: u16, broker: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = format!(
            "[gateway]\ntenant = \"t\"\nstore = \"s\"\nname = \"g\"\nstate_dir = {:?}\n\
             [scan]\nbackend = \"none\"\n[identity]\nregistry = {:?}\n\
             [outbox]\ncommit_interval = \"5ms\"\n[log]\nlevel = \"trace\"\n\
             [health]\nmetrics_interval = \"100ms\"\nstate_interval = \"100ms\"\n\
             [uplink]\nbroker = \"mqtt://127.0.0.1:{platform}\"\nbackoff_min = \"10ms\"\n\
             backoff_max = \"50ms\"\n",
            path("state"),
            path("registry.jsonl"),
        );
        let mut registry = String::new();
        for foreign in FOREIGN {
            let (name, minor) = (foreign.name, foreign.minor());
            write!(
                config,
                "[[remote]]\nid = \"{name}\"\nformat = \"{}\"\ntopics = [\"{}\"]\n",
                foreign.format, foreign.filter
            )
            .unwrap();
            if foreign.own_broker {
                let protocol = foreign.protocol;
                let own =
                    format!("broker = \"mqtt://127.0.0.1:{broker}\"\nprotocol = \"{protocol}\"\n");
                config.push_str(&own);
            }
            write!(config, "[[zone]]\nid = \"zone-{name}\"\nreceivers = [\"{name}\"]\n").unwrap();
            let identifier =
                format!(r#"{{"ibeacon":{{"uuid":"{UUID}","major":1,"minor":{minor}}}}}"#);
            writeln!(
                registry,
                r#"{{"subject":"member-{name}","kind":"customer","identifiers":[{identifier}],"consent":{{"purposes":["presence","journey"],"from":"2020-01-01T00:00:00Z","proof":"p"}}}}"#
            )
            .unwrap();
        }
        fs::write(path("gateway.toml"), config).unwrap();
        fs::write(path("registry.jsonl"), registry).unwrap();
        Self { dir, platform }
    }

    pub(super) async fn start(&self) -> Daemon {
        let platform = Subscriber::start(Protocol::V5, self.platform, "beacon/#").await;
        let log = self.dir.path().join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
        command.arg("run").arg("--config").arg(self.dir.path().join("gateway.toml"));
        command.env_remove("STATE_DIRECTORY").env_remove("CREDENTIALS_DIRECTORY");
        let command = command.stdin(Stdio::null()).stderr(File::create(&log).unwrap());
        Daemon { process: command.spawn().unwrap(), log, platform }
    }

    /// What the gateway counted until it stopped.
    pub(super) fn counters(&self) -> Value {
        Status::read(&self.dir.path().join("state")).unwrap().unwrap().counters
    }
}

impl Daemon {
    /// Waits until the brokers let it hear every receiver.
    pub(super) async fn linked(&self) {
        let online = |name: &str| self.standing(name).is_some_and(|it| it["broker"] == "online");
        let what = "the brokers let it hear every receiver";
        eventually(what, || FOREIGN.iter().all(|foreign| online(foreign.name))).await;
    }

    /// What the state document says of a receiver now.
    pub(super) fn standing(&self, receiver: &str) -> Option<Value> {
        of(&self.last("/state")?["receivers"], receiver)
    }

    /// What the metrics say of a remote receiver now.
    pub(super) fn remote(&self, receiver: &str) -> Option<Value> {
        of(&self.last("/metrics")?["scan"]["remotes"], receiver)
    }

    /// Waits for an event about somebody.
    pub(super) async fn until_event(&self, kind: &str, subject: &str, is: impl Fn(&Value) -> bool) {
        let come = || {
            self.platform.on(kind).iter().any(|message| {
                let event: Value = serde_json::from_str(&message.payload).unwrap();
                event["subject"] == *subject && is(&event)
            })
        };
        eventually(&format!("{kind} about {subject}"), come).await;
    }

    /// Stops it; returns its log, and all that it said at the platform's broker.
    pub(super) async fn stop(mut self) -> (String, String) {
        let pid = Pid::from_raw(self.process.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let mut ended = None;
        eventually("its end", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        let log = fs::read_to_string(&self.log).unwrap();
        assert!(ended.unwrap().success(), "{log}");
        let mut said = String::new();
        for message in self.platform.messages() {
            writeln!(said, "{} {}", message.topic, message.payload).unwrap();
        }
        (log, said)
    }

    fn last(&self, suffix: &str) -> Option<Value> {
        self.platform.look(|all| {
            let last = all.iter().rev().find(|message| message.topic.ends_with(suffix))?;
            serde_json::from_str(&last.payload).ok()
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that was stopped is gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn of(list: &Value, receiver: &str) -> Option<Value> {
    list.as_array()?.iter().find(|it| it["receiver"] == *receiver).cloned()
}

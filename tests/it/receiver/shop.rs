//! Two gateways of one shop as processes of their own, and who is heard in the receiver's corner: by way of a
//! Ruuvi gateway there, as neither has a radio.
#![expect(clippy::indexing_slicing, reason = "a JSON value has a null wherever it has nothing")]

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use beacon_gateway::clock::Clock;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::recorder::Recorder;
use crate::support::{eventually, publisher::Publisher};

/// Where the receiver tells what it hears.
pub(super) const TOPIC: &str = "beacon/v1/t/s/gw2/sighting/ruuvi";
/// The lead's name for that.
pub(super) const CORNER: &str = "corner";

pub(crate) const UUID: &str = "abababababababababababababababab";

/// Parts of addresses and of the stranger's data, in lower case.
pub(crate) const NEEDLES: [&str; 6] =
    ["d4:3a:2c", "d43a2c", "9e517b", "c0ffee00", "c0:11:22:33:44:55", "c01122334455"];

/// The same, and as octets in either order.
pub(crate) fn needles() -> Vec<Vec<u8>> {
    let octets = |text: &str| hex::decode(text).unwrap();
    let mut needles: Vec<Vec<u8>> = NEEDLES.iter().map(|it| it.as_bytes().to_vec()).collect();
    for text in ["d43a2c9e517b", "c0ffee0011", "c01122334455"] {
        needles.push(octets(text));
        needles.push(octets(text).into_iter().rev().collect());
    }
    needles
}

/// A directory with the files of both.
pub(super) struct Shop {
    dir: tempfile::TempDir,
}

/// A gateway that runs.
pub(crate) struct Daemon {
    process: Child,
    log: PathBuf,
}

impl Shop {
    /// `corner` is the broker of the receiver's Ruuvi gateway.
    pub(super) fn new(platform: u16, corner: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let common = |role: &str, name: &str| {
            format!(
                "[gateway]\ntenant = \"t\"\nstore = \"s\"\nname = \"{name}\"\nrole = \"{}\"\n\
                 state_dir = {:?}\nclock = \"always\"\n[scan]\nbackend = \"none\"\n\
                 [identity]\nregistry = {:?}\n[presence]\nexit_timeout = \"5s\"\n\
                 exit_timeout_max = \"5s\"\nmerge_gap = \"0s\"\n[outbox]\ncommit_interval = \"5ms\"\n\
                 [log]\nlevel = \"trace\"\n\
                 [health]\nmetrics_interval = \"100ms\"\nstate_interval = \"100ms\"\n\
                 [uplink]\nbroker = \"mqtt://127.0.0.1:{platform}\"\nbackoff_min = \"10ms\"\n\
                 backoff_max = \"50ms\"\n",
                if role == "lead" { "gateway" } else { "receiver" },
                path(&format!("{role}-state")),
                path(&format!("{role}.jsonl")),
            )
        };
        let lead = common("lead", "gw1")
            + &format!(
                "[[remote]]\nid = \"{CORNER}\"\nformat = \"beacon-gateway\"\ntopics = [\"{TOPIC}\"]\n\
                 max_age = \"60s\"\nseal_key_file = {:?}\n[[zone]]\nid = \"wine\"\nreceivers = [\"{CORNER}\"]\n",
                path("key"),
            );
        let receiver = common("receiver", "gw2")
            + &format!(
                "[relay]\nseal_key_file = {:?}\n[[remote]]\nid = \"ruuvi\"\nformat = \"ruuvi\"\n\
                 topics = [\"ruuvi/gw/+\"]\nbroker = \"mqtt://127.0.0.1:{corner}\"\n",
                path("key"),
            );
        fs::write(path("lead.toml"), lead).unwrap();
        fs::write(path("receiver.toml"), receiver).unwrap();
        fs::write(path("key"), format!("1:{}\n", "5a".repeat(32))).unwrap();
        fs::set_permissions(path("key"), fs::Permissions::from_mode(0o600)).unwrap();
        let shop = Self { dir };
        shop.enrol("lead", &["member"]);
        shop.enrol("receiver", &["member"]);
        shop
    }

    /// Who is enrolled at one of the ends.
    pub(super) fn enrol(&self, role: &str, subjects: &[&str]) {
        let line = |subject: &&str| {
            format!(
                "{{\"subject\":\"{subject}\",\"kind\":\"customer\",\"identifiers\":[{{\"ibeacon\":\
                 {{\"uuid\":\"{UUID}\",\"major\":1,\"minor\":2}}}}],\"consent\":{{\"purposes\":\
                 [\"presence\",\"journey\"],\"from\":\"2020-01-01T00:00:00Z\",\"proof\":\"p\"}}}}\n"
            )
        };
        let lines: String = subjects.iter().map(line).collect();
        fs::write(self.dir.path().join(format!("{role}.jsonl")), lines).unwrap();
    }

    pub(super) fn key(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    pub(super) fn lead(&self) -> Daemon {
        self.start("lead")
    }

    pub(super) fn receiver(&self) -> Daemon {
        self.start("receiver")
    }

    /// Waits until the lead hears the receiver, and the receiver its corner.
    pub(super) async fn linked(&self, recorder: &Recorder) {
        let hears = || {
            let online = |gateway, receiver| {
                let standing = recorder.receiver(gateway, receiver);
                standing.is_some_and(|it| it["broker"] == "online")
            };
            online("gw1", CORNER) && online("gw2", "ruuvi") && recorder.count(TOPIC) > 0
        };
        eventually("both listen, and the receiver tells", hears).await;
    }

    fn start(&self, role: &str) -> Daemon {
        Daemon::start(self.dir.path(), role)
    }
}

impl Daemon {
    /// Starts a gateway with the configuration of that name.
    pub(crate) fn start(dir: &Path, name: &str) -> Self {
        let log = dir.join(format!("{name}.log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
        command.arg("run").arg("--config").arg(dir.join(format!("{name}.toml")));
        command.env_remove("STATE_DIRECTORY").env_remove("CREDENTIALS_DIRECTORY");
        let command = command.stdin(Stdio::null()).stderr(File::create(&log).unwrap());
        Self { process: command.spawn().unwrap(), log }
    }

    /// Has it read its registry again.
    pub(super) fn reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Ends it without a word.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Stops it; returns its log.
    pub(crate) async fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        let mut ended = None;
        eventually("its end", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        let log = fs::read_to_string(&self.log).unwrap();
        assert!(ended.unwrap().success(), "{log}");
        log
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that was stopped is gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The member's beacon is heard in the corner.
pub(crate) async fn member(air: &mut Publisher) {
    let data = format!("0201061AFF4C000215{UUID}00010002C5");
    publish(air, "C0:11:22:33:44:55", &data).await;
}

/// A stranger is.
pub(crate) async fn stranger(air: &mut Publisher) {
    publish(air, "D4:3A:2C:9E:51:7B", "0201060AFFFFFFC0FFEE00112233").await;
}

/// Microseconds since 1970.
pub(super) fn now_us() -> i64 {
    Clock::start().wall().unix.as_millis() * 1000
}

async fn publish(air: &mut Publisher, address: &str, data: &str) {
    let seconds = now_us() / 1_000_000;
    let payload = format!(
        "{{\"gw_mac\":\"C8:25:2D:8E:9C:2C\",\"rssi\":-50,\"gwts\":\"{seconds}\",\"ts\":\"{seconds}\",\
         \"data\":\"{data}\"}}"
    );
    air.publish(&format!("ruuvi/gw/{address}"), payload.as_bytes()).await;
}

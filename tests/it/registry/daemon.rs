//! The daemon and a registry of some size: how much memory stays, and that whoever reads the store
//! for it goes with it.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use beacon_gateway::clock::Clock;

use super::{Shop, person};

/// How many are enrolled: a tenth of a chain's programme, so that the test is short.
const MEMBERS: usize = 10_000;

/// What may stay in memory of them after some reloads, in KiB. They take 15 to 18 MiB, most of it
/// tables of a gateway whose clock is not synced; a daemon that opens their store itself has 25.
const MOST: u64 = 21 << 10;

/// Longer than anything here takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(2);
const STEP: Duration = Duration::from_millis(20);

/// A gateway that runs as a process of its own.
struct Daemon {
    process: Child,
    log: PathBuf,
    clock: Clock,
}

impl Daemon {
    fn start(shop: &Shop) -> Self {
        let log = shop.path("daemon.log");
        let mut command: Command = shop.command(&["run"]);
        let command = command.stdin(Stdio::null()).stderr(File::create(&log).unwrap());
        let daemon = Self { process: command.spawn().unwrap(), log, clock: Clock::start() };
        daemon.until("it is up", |log| log.contains("The gateway is up."));
        daemon
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().try_into().unwrap())
    }

    /// Waits until the log says something.
    fn until(&self, what: &str, said: impl Fn(&str) -> bool) {
        let begun = self.clock.now();
        let log = || fs::read_to_string(&self.log).unwrap();
        while !said(&log()) {
            assert!(self.clock.now().since(begun) < PATIENCE, "never {what}: {}", log());
            std::thread::park_timeout(STEP);
        }
    }

    /// Asks for the registry to be read again, and waits until it was.
    fn reload(&self) {
        let read = |log: &str| log.matches("The registry was read again.").count();
        let before = read(&fs::read_to_string(&self.log).unwrap());
        kill(self.pid(), Signal::SIGHUP).unwrap();
        self.until("is the registry read again", |log| read(log) > before);
    }

    /// What is resident, in KiB.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn stop(mut self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that was stopped is gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn members() -> String {
    let member = |n: usize| {
        let identifier = match n % 10 {
            0 => format!(r#"{{"irk":"{n:032x}"}}"#),
            1 | 2 => format!(r#"{{"address":"C0:11:22:33:{:02X}:{:02X}"}}"#, n >> 8, n & 255),
            3..6 => format!(r#"{{"service_token":"{n:064x}"}}"#),
            _ => format!(
                r#"{{"eddystone_eid":{{"identity_key":"{n:032x}","rotation_exponent":10}}}}"#
            ),
        };
        person(&format!("member_{n:06}"), &identifier)
    };
    (0..MEMBERS).map(member).collect()
}

#[test]
fn what_reading_the_registry_takes_is_given_back() {
    let (empty, full) = (Shop::new(), Shop::new());
    full.import("members.jsonl", &members(), &[]);
    let daemon = Daemon::start(&empty);
    daemon.reload();
    let bare = daemon.resident();
    daemon.stop();
    let daemon = Daemon::start(&full);
    for reading in 0..4 {
        let more = daemon.resident().saturating_sub(bare);
        assert!(more < MOST, "{more} KiB more than without members after {reading} reloads");
        daemon.reload();
    }
    daemon.stop();
}

#[test]
fn a_steward_is_told_nothing_on_its_command_line_and_refuses_to_work_for_others() {
    let shop = Shop::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
    let command = command.arg("registry-steward").stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(70), "{output:?}");
    assert!(!shop.state().exists());
    // Nobody who looks for help is sent there.
    let help = Command::new(env!("CARGO_BIN_EXE_beacon-gateway")).arg("--help").output().unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains("registry-steward"));
}

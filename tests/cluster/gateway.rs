//! A gateway in the shop: this program again, as a process of its own on the shop's host.
//!
//! It is the daemon's own `gateway::run`, with its files, its store and its settings; only the radio
//! is missing. In its place subjects come and go every few seconds, as their tags would be heard.

use std::{
    env, fs,
    io::Write as _,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    engine::{AddressKind, Advertisement, DeviceAddress, ReceiverId, Rssi, Uptime},
    gateway::{self, Request, Source, Status},
    scan::{Heard, SourceEnds},
    settings::Loader,
    telemetry,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::timeout,
};

use crate::{
    balancer::Balancer,
    network::{self, Hosts, NODES},
    node::{PORT, USER},
    support::{Outcome, PATIENCE, text},
};

/// The directory with the gateway's files; its presence says that this process is one.
const DIRECTORY: &str = "CLUSTER_GATEWAY";

/// Subjects. Each is there for a second in four, and makes four events of it: a visit and a stay in
/// the one zone, their begin and their end.
const SUBJECTS: u16 = 60;
const PERIOD: u64 = 4000;

/// How often the source looks whose tag sends, in milliseconds, and when in its second a tag does.
const TICK: u64 = 50;
const SENDS_AT: [u64; 4] = [0, 250, 500, 750];

/// How a gateway finds the broker.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Way {
    /// One address, and a load balancer behind it.
    Balancer,
    /// The nodes' own addresses, in order of preference.
    List,
}

/// A gateway that runs.
pub(crate) struct Gateway {
    pub(crate) way: Way,
    directory: PathBuf,
    child: Child,
}

/// What a gateway says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Records that were ever appended: the last sequence.
    pub(crate) appended: u64,
    pub(crate) acknowledged: u64,
    pub(crate) pending: u64,
    pub(crate) dropped: u64,
    pub(crate) redelivered: u64,
    pub(crate) reconnects: u64,
}

// === impl Way ===

impl Way {
    pub(crate) const ALL: [Self; 2] = [Self::Balancer, Self::List];

    /// Also the gateway's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Balancer => "balancer",
            Self::List => "list",
        }
    }

    /// The settings that say where the broker is.
    fn settings(self) -> String {
        match self {
            Self::Balancer => format!("broker = \"mqtt://{}\"", Balancer::address()),
            Self::List => {
                let [first, second, third] =
                    NODES.map(|node| format!("\"mqtt://{}:{PORT}\"", network::front(node)));
                format!("broker = {first}\nfallback_brokers = [{second}, {third}]")
            }
        }
    }
}

// === impl Gateway ===

impl Gateway {
    /// Writes a gateway's files and starts it.
    pub(crate) fn start(hosts: &Hosts, way: Way, directory: &Path) -> Outcome<Self> {
        let directory = directory.join(way.name());
        fs::create_dir_all(&directory).map_err(text)?;
        let password = directory.join("password");
        fs::write(&password, USER).map_err(text)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).map_err(text)?;
        fs::write(directory.join("registry.jsonl"), registry()).map_err(text)?;
        let configuration = configuration(way, &directory);
        fs::write(directory.join("gateway.toml"), configuration).map_err(text)?;
        let log = fs::File::create(directory.join("log")).map_err(text)?;
        let mut command = network::on(&hosts.shop());
        command
            .arg(env::current_exe().map_err(text)?)
            .env(DIRECTORY, &directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let child = Command::from(command).kill_on_drop(true).spawn().map_err(text)?;
        Ok(Self { way, directory, child })
    }

    /// What it last said of itself, at most 100 ms ago; nothing when it has said nothing yet.
    pub(crate) fn counters(&self) -> Counters {
        // It is replaced as a whole, and may not be there yet.
        let Ok(Some(status)) = Status::read(&self.directory.join("state")) else {
            return Counters::default();
        };
        let count =
            |room: &str, name: &str| status.counters[room][name].as_u64().unwrap_or_default();
        Counters {
            appended: count("outbox", "appended"),
            acknowledged: count("outbox", "acknowledged"),
            pending: count("outbox", "pending"),
            dropped: count("outbox", "dropped"),
            redelivered: count("uplink", "redelivered"),
            reconnects: count("uplink", "reconnects"),
        }
    }

    /// Stops it as systemd does: it delivers what it has. Returns its last counters.
    pub(crate) async fn stop(mut self) -> Outcome<Counters> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| format!("a gateway has ended: {}", self.last_words()))?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(text)?;
        let mut said = String::new();
        let end = async {
            if let Some(out) = &mut self.child.stdout {
                out.read_to_string(&mut said).await.map_err(text)?;
            }
            self.child.wait().await.map_err(text)
        };
        let ended =
            timeout(PATIENCE, end).await.map_err(|_| "a gateway does not stop".to_owned())?;
        if !ended?.success() {
            return Err(format!("a gateway failed: {}", self.last_words()));
        }
        let numbers: Vec<u64> =
            said.split(' ').filter_map(|word| word.trim().parse().ok()).collect();
        let &[appended, acknowledged, pending, dropped, redelivered, reconnects] = &numbers[..]
        else {
            return Err(format!("a gateway said {said:?} at its end"));
        };
        Ok(Counters { appended, acknowledged, pending, dropped, redelivered, reconnects })
    }

    /// Which node it is connected to, if it connects to nodes itself, as its host's kernel tells:
    /// no other gateway there does.
    pub(crate) fn node(&self) -> Option<u8> {
        let pid = self.child.id()?;
        let connections = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
        let port = format!(":{PORT:04X}");
        // `sl local_address rem_address st`: addresses in the byte order of the machine, state 01 is
        // an established connection (proc_net_tcp in the kernel's documentation).
        let mut to = connections.lines().skip(1).filter_map(|line| {
            let mut words = line.split_whitespace().skip(2);
            let (remote, state) = (words.next()?, words.next()?);
            let address = remote.strip_suffix(port.as_str()).filter(|_| state == "01")?;
            Some(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes()))
        });
        to.find_map(|to| NODES.into_iter().find(|node| network::front(*node) == to))
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default();
        format!("gateway {}:\n{}", self.way.name(), end.join("\n"))
    }
}

fn configuration(way: Way, directory: &Path) -> String {
    let (name, broker, directory) = (way.name(), way.settings(), directory.display());
    format!(
        r#"
[gateway]
tenant = "example"
store = "shop"
name = "{name}"
state_dir = "{directory}/state"
# The machine's clock is believed: whether it follows a time source is another test's affair.
clock = "always"
shutdown_grace = "1m"

[identity]
registry = "{directory}/registry.jsonl"

# Visits are short here, so that there are many.
[presence]
smoothing = "0s"
exit_delay = "0s"
exit_timeout = "2s"
exit_timeout_max = "2s"
merge_gap = "0s"
loitering = []

# A dead node is noticed within seconds rather than within the half minute that suits a mobile line.
[uplink]
{broker}
protocol = "3.1.1"
username = "{USER}"
password_file = "{directory}/password"
keep_alive = "5s"
connect_timeout = "3s"
ack_timeout = "5s"
backoff_min = "250ms"
backoff_max = "2s"
# Two gateways need not take turns.
spread = "0s"
drain_timeout = "1m"

[health]
metrics_interval = "100ms"
state_interval = "1s"
"#
    )
}

/// Everybody has agreed to everything, with no end.
fn registry() -> String {
    let uuid = "ab".repeat(16);
    let line = |minor: u16| {
        format!(
            r#"{{"subject":"s{minor}","kind":"customer","identifiers":[{{"ibeacon":{{"uuid":"{uuid}","major":1,"minor":{minor}}}}}],"consent":{{"purposes":["presence","journey"],"from":"2020-01-01T00:00:00Z","proof":"p"}}}}"#
        ) + "\n"
    };
    (0..SUBJECTS).map(line).collect()
}

// === the process itself ===

/// Runs the gateway, if this process was started to.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let directory = PathBuf::from(env::var_os(DIRECTORY)?);
    Some(match run(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            drop(std::io::stderr().write_all(why.as_bytes()));
            ExitCode::FAILURE
        }
    })
}

fn run(directory: &Path) -> Outcome<()> {
    let settings = Loader::files([directory.join("gateway.toml")]).load().map_err(text)?;
    telemetry::start(settings.log.level);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(text)?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(text)?;
        let (requests, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            terminate.recv().await;
            // Whoever would hear it has stopped already.
            requests.send(Request::Stop).await.ok();
        });
        gateway::run(settings, Clock::start(), source(), receiver, || ()).await.map_err(text)
    })?;
    let (outbox, uplink) = (outcome.outbox.totals, outcome.uplink);
    let said = format!(
        "{} {} {} {} {} {}",
        outbox.appended,
        outbox.acknowledged,
        outcome.outbox.pending.records,
        outbox.dropped,
        uplink.redelivered,
        uplink.reconnects
    );
    std::io::stdout().write_all(said.as_bytes()).map_err(text)
}

/// Everybody comes and goes, evenly spread, until the gateway stops.
fn source() -> Source {
    Box::new(move |ends| {
        let SourceEnds { clock, heard, mut stop, .. } = ends;
        Box::pin(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(TICK));
            let mut tick = 0;
            loop {
                tokio::select! {
                    _ = ticks.tick() => tick += 1,
                    // An error means that nobody is left who could say it.
                    _ = stop.wait_for(|stop| *stop) => return,
                }
                for subject in (0..SUBJECTS).filter(|subject| sends(*subject, tick)) {
                    let advertisement = ibeacon(subject, clock.now());
                    if heard.send(Heard::Advertisement(advertisement)).await.is_err() {
                        return;
                    }
                }
            }
        })
    })
}

/// Whether a subject's tag sends at this tick.
fn sends(subject: u16, tick: u64) -> bool {
    let spread = u64::from(subject) * (PERIOD / TICK) / u64::from(SUBJECTS);
    SENDS_AT.contains(&((tick + spread) * TICK % PERIOD))
}

fn ibeacon(minor: u16, heard: Uptime) -> Advertisement {
    // Apple's manufacturer data of an iBeacon: UUID, major, minor, power at one metre.
    let mut data = vec![26, 0xff, 0x4c, 0x00, 0x02, 0x15];
    data.extend([0xab; 16]);
    data.extend([0, 1]);
    data.extend(minor.to_be_bytes());
    data.push(0xc5);
    let address = DeviceAddress::new([0xc0; 6], AddressKind::Random);
    Advertisement::new(heard, ReceiverId::default(), address, Some(Rssi(-60)), &data)
}

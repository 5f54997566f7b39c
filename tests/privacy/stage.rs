//! The stage: a gateway in a process of its own, a broker, the line between them, and the recorder,
//! which takes everything that leaves the gateway.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::Duration,
};

use beacon_gateway::{clock::Clock, command::TrustedKey, engine::UnixTime};
use jiff::Timestamp;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    air,
    gate::{DIRECTORY, GATE, Gate, NAMES, RATE},
    listener::Listener,
    members::TENANT,
    memory,
    needles::{Finding, Needles, OVERLAP},
    relay::Relay,
    support::{Outcome, mosquitto::Mosquitto, text},
};

/// Everything around one gateway.
pub(crate) struct Stage {
    directory: TempDir,
    rate: u32,
    pub(crate) clock: Clock,
    /// Ends with the stage.
    _mosquitto: Mosquitto,
    pub(crate) relay: Relay,
    pub(crate) listener: Listener,
    gate: Gate,
    running: Option<Running>,
    log: Arc<Log>,
    pub(crate) record: Record,
    /// The end of what was searched of each stream, to be searched again with what follows.
    tails: BTreeMap<&'static str, (Vec<u8>, usize)>,
    /// The longest time by which a gateway's clock was behind the test's, in its milliseconds.
    pub(crate) behind: i64,
}

/// A gateway that runs.
struct Running {
    child: Child,
    air: ChildStdin,
    said: Receiver<String>,
    /// Advertisements that were sent to it.
    sent: u64,
}

/// What the gateway's log says.
#[derive(Default)]
struct Log {
    /// What was not searched yet.
    text: Mutex<Vec<u8>>,
    /// How often the registry was read again.
    reloads: AtomicU64,
}

/// What has been searched, and what was found.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) findings: Vec<Finding>,
    /// Octets by place.
    pub(crate) searched: BTreeMap<&'static str, usize>,
    pub(crate) cores: usize,
    /// How many findings chance alone would cause, if all of memory was random.
    pub(crate) chance: f64,
}

/// What a gateway says of itself when it has stopped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stopped {
    pub(crate) received: u64,
    pub(crate) of_subjects: u64,
    pub(crate) situations: u64,
    pub(crate) erased: u64,
}

/// How long the gateway may take for anything.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the gateway logs when it was told to read the registry again, and has.
const READ_AGAIN: &[u8] = b"The registry was read again.";

impl Stage {
    /// Sets the stage; time passes `rate` times as fast and begins at `begin`.
    pub(crate) async fn set(
        rate: u32,
        begin: UnixTime,
        gate: Gate,
        trusted: &TrustedKey,
    ) -> Outcome<Self> {
        let directory = tempfile::tempdir().map_err(text)?;
        let mosquitto = Mosquitto::start("");
        let relay = Relay::start(mosquitto.port())?;
        let configuration = configuration(directory.path(), &relay, trusted);
        fs::write(directory.path().join("gateway.toml"), configuration).map_err(text)?;
        let clock = Clock::accelerated(rate, begin);
        let listener = Listener::start(mosquitto.port(), clock).await?;
        Ok(Self {
            directory,
            rate,
            clock,
            _mosquitto: mosquitto,
            relay,
            listener,
            gate,
            running: None,
            log: Arc::default(),
            record: Record::default(),
            tails: BTreeMap::new(),
            behind: 0,
        })
    }

    /// What the clock on the wall shows, in milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.clock.wall().unix.as_millis()
    }

    /// So much real time, on the test's clock.
    pub(crate) fn real(&self, milliseconds: i64) -> i64 {
        milliseconds.saturating_mul(self.rate.into())
    }

    /// Writes the registry file, as one piece.
    pub(crate) fn enrol(&self, lines: &str) -> Outcome<()> {
        let new = self.path("registry.new");
        fs::write(&new, lines).map_err(text)?;
        fs::rename(&new, self.path("registry.jsonl")).map_err(text)
    }

    /// Writes down all members' names, for a gateway that is to keep them.
    pub(crate) fn name(&self, names: &str) -> Outcome<()> {
        fs::write(self.path(NAMES), names).map_err(text)
    }

    /// Starts the gateway and waits until it is up.
    pub(crate) fn start(&mut self) -> Outcome<()> {
        let mut child = Command::new(std::env::current_exe().map_err(text)?)
            .env(DIRECTORY, self.directory.path())
            .env(RATE, self.rate.to_string())
            .env(GATE, self.gate.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(text)?;
        let (Some(air), Some(out), Some(log)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("the gateway's streams are missing".to_owned());
        };
        let kept = Arc::clone(&self.log);
        thread::spawn(move || kept.keep(log));
        let running = self.running.insert(Running { child, air, said: lines(out), sent: 0 });

        // From here on whatever goes wrong is the gateway's, and it is ended with the stage.
        let mut greet = || {
            running.hear("what is the time?")?;
            let told = self.clock.wall().unix.as_millis();
            running.air.write_all(&told.to_be_bytes()).map_err(text)?;
            running.hear("thank you")?;
            let behind = self.clock.wall().unix.as_millis() - told;
            running.air.write_all(&air::preamble()).map_err(text)?;
            running.hear("up")?;
            Ok(behind)
        };
        let greeted: Outcome<i64> = greet();
        self.behind = self.behind.max(greeted.map_err(|why| self.died(&why))?);
        Ok(())
    }

    /// Lets the gateway hear something. If it does not run, nobody does.
    pub(crate) fn send(&mut self, stream: &[u8], advertisements: u64) -> Outcome<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        running.sent += advertisements;
        running.air.write_all(stream).map_err(|error| self.died(&text(error)))
    }

    /// Lets the gateway read the registry again, and returns when it has taken it over: on the way
    /// there is room for one, so that the first has arrived when the third leaves.
    pub(crate) async fn reload(&self) -> Outcome<()> {
        let mut look = tokio::time::interval(Duration::from_millis(1));
        for _ in 0..3 {
            let before = self.log.reloads.load(Ordering::SeqCst);
            self.signal(Signal::SIGHUP)?;
            let waiting = async {
                while self.log.reloads.load(Ordering::SeqCst) == before {
                    look.tick().await;
                }
            };
            if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
                return Err(self.died("it does not read the registry again"));
            }
        }
        Ok(())
    }

    /// Stops the gateway as systemd does, and asks what it did. In silence everything that was sent
    /// must have been heard before, or the test would show nothing.
    pub(crate) fn stop(&mut self, in_silence: bool) -> Outcome<Stopped> {
        self.signal(Signal::SIGTERM)?;
        let Some(mut running) = self.running.take() else { return Ok(Stopped::default()) };
        let line =
            running.said.recv_timeout(PATIENCE).map_err(|_| self.died("it does not stop"))?;
        let numbers: Vec<u64> =
            line.split(' ').skip(1).filter_map(|word| word.parse().ok()).collect();
        let &[received, of_subjects, situations, erased, dropped] = numbers.as_slice() else {
            return Err(self.died(&format!("it said: {line}")));
        };
        let ended = running.child.wait().map_err(text)?;
        if !ended.success() {
            return Err(self.died(&format!("it ended with {ended}")));
        }
        let sent = running.sent;
        if received + dropped > sent || (in_silence && received != sent) {
            return Err(format!("{sent} advertisements were sent, {received} received"));
        }
        Ok(Stopped { received, of_subjects, situations, erased })
    }

    /// Ends the gateway as a power cut would.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        if let Some(mut running) = self.running.take() {
            running.child.kill().map_err(text)?;
            running.child.wait().map_err(text)?;
        }
        Ok(())
    }

    /// The line to the broker fails. The broker goes on, and keeps what it gets for the gateway.
    pub(crate) fn break_line(&self) {
        self.relay.cut();
    }

    /// It works again.
    pub(crate) fn mend_line(&self) {
        self.relay.open();
    }

    /// Waits, in the shop's silence, until the gateway has heard all that was sent, told all that it
    /// made of it, and freed its files of what it had erased by `since`.
    pub(crate) async fn settle(&self, since: i64) -> Outcome<()> {
        let Some(running) = &self.running else { return Ok(()) };
        let mut last = String::new();
        let settling = async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            loop {
                look.tick().await;
                // It is replaced as a whole, and may not be there yet.
                let Ok(text) = fs::read_to_string(self.path("state/privacy.json")) else {
                    continue;
                };
                let Ok(status) = serde_json::from_str::<Value>(&text) else { continue };
                let written = status["written"].as_str().and_then(|at| at.parse().ok());
                let written = written.map_or(i64::MIN, |at: Timestamp| at.as_millisecond());
                let counters = &status["counters"];
                let heard = |name: &str| counters["engine"][name].as_u64().unwrap_or(0);
                let outbox = &counters["outbox"];
                let through = heard("received") + counters["scan"]["dropped"].as_u64().unwrap_or(0);
                if written > since
                    && through == running.sent
                    && outbox["pending"] == 0
                    && outbox["scrub_owed"] == false
                {
                    return;
                }
                last = text;
            }
        };
        let settled = tokio::time::timeout(PATIENCE, settling).await;
        settled.map_err(|_| self.died(&format!("it does not come to rest: {last}")))
    }

    /// Looks through all of the gateway's memory.
    pub(crate) fn look_into_memory(&mut self, needles: &[&Needles]) -> Outcome<()> {
        let Some(running) = &self.running else { return Ok(()) };
        let looked = memory::look(running.pid()?, needles)?;
        self.record.cores += 1;
        *self.record.searched.entry("memory").or_default() += looked.octets;
        let many: usize = needles.iter().map(|needles| needles.len()).sum();
        // An address has 48 bits; the other needles are longer.
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let chance = looked.octets as f64 * many as f64 / (1_u64 << 48) as f64;
        self.record.chance += chance;
        self.record.findings.extend(looked.findings);
        Ok(())
    }

    /// Looks for what must not be in the files of the state directory after something was erased.
    pub(crate) fn look_into_files(&mut self, needles: &Needles) {
        self.look_into_state(&[needles], "state directory, for names");
    }

    /// Looks through what the gateway has said and written since the last time: the line to the
    /// broker, the log, and every file of the state directory.
    pub(crate) fn look_outside(&mut self, needles: &[&Needles]) {
        let line = self.relay.take();
        self.search_stream(needles, "broker traffic", &line);
        let log = std::mem::take(&mut *self.log.text.lock().expect("nobody panics holding it"));
        self.search_stream(needles, "log", &log);
        self.look_into_state(needles, "state directory");
    }

    fn look_into_state(&mut self, needles: &[&Needles], searched: &'static str) {
        let mut folders = vec![self.path("state")];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                // A file may go while it is looked for.
                let Ok(bytes) = fs::read(&path) else { continue };
                *self.record.searched.entry(searched).or_default() += bytes.len();
                let place = format!("file {}", path.display());
                let name = path.as_os_str().as_encoded_bytes();
                for needles in needles {
                    self.record.findings.extend(needles.search(&bytes, &place, 0));
                    self.record.findings.extend(needles.search_base64(&bytes, &place, 0));
                    self.record.findings.extend(needles.search(name, "a file's name", 0));
                }
            }
        }
    }

    fn search_stream(&mut self, needles: &[&Needles], place: &'static str, new: &[u8]) {
        let (mut tail, begin) = self.tails.remove(place).unwrap_or_default();
        tail.extend_from_slice(new);
        *self.record.searched.entry(place).or_default() += new.len();
        for needles in needles {
            self.record.findings.extend(needles.search(&tail, place, begin));
        }
        let kept = tail.len().saturating_sub(OVERLAP);
        self.tails.insert(place, (tail.split_off(kept), begin + kept));
    }

    fn signal(&self, signal: Signal) -> Outcome<()> {
        let Some(running) = &self.running else { return Err("no gateway runs".to_owned()) };
        kill(running.pid()?, signal).map_err(text)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A message about a gateway that does not do what it should, with the end of its log.
    fn died(&self, what: &str) -> String {
        let log = self.log.text.lock().expect("nobody panics holding it");
        let end = &log[log.len().saturating_sub(2000)..];
        format!("the gateway: {what}; its log ends with:\n{}", String::from_utf8_lossy(end))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

impl Running {
    fn pid(&self) -> Outcome<Pid> {
        i32::try_from(self.child.id()).map(Pid::from_raw).map_err(text)
    }

    /// Waits for a line.
    fn hear(&self, expected: &str) -> Outcome<()> {
        match self.said.recv_timeout(PATIENCE) {
            Ok(line) if line == expected => Ok(()),
            Ok(line) => Err(format!("it said `{line}`, not `{expected}`")),
            Err(RecvTimeoutError::Timeout) => Err(format!("it does not say `{expected}`")),
            Err(RecvTimeoutError::Disconnected) => Err("it ended".to_owned()),
        }
    }
}

impl Log {
    /// Keeps what is logged until it ends.
    fn keep(&self, mut log: impl std::io::Read) {
        let mut buffer = vec![0; 1 << 16];
        let mut line = Vec::new();
        while let Ok(length @ 1..) = log.read(&mut buffer) {
            let new = &buffer[..length];
            self.text.lock().expect("nobody panics holding it").extend_from_slice(new);
            for part in new.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    let told = line.windows(READ_AGAIN.len()).any(|words| words == READ_AGAIN);
                    self.reloads.fetch_add(u64::from(told), Ordering::SeqCst);
                    line.clear();
                }
            }
        }
    }
}

/// The lines that a process says, as they come.
fn lines(out: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, said) = sync_channel(64);
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    said
}

/// A shop with one receiver, two zones' worth of one, and a sensor. A device counts as gone after ten
/// minutes, and the broker may take an hour: time runs fast here, and the machine may be busy for a
/// moment.
fn configuration(directory: &Path, relay: &Relay, trusted: &TrustedKey) -> String {
    let TrustedKey { id, key } = trusted;
    let (directory, port) = (directory.display(), relay.port());
    format!(
        r#"
[gateway]
tenant = "{TENANT}"
store = "store"
name = "gateway"
state_dir = "{directory}/state"
shutdown_grace = "20s"

[identity]
registry = "{directory}/registry.jsonl"

[command]
trusted_keys = [{{ id = "{id}", key = "{key}" }}]

[footfall]
enabled = true

[presence]
exit_timeout = "10m"
exit_timeout_max = "20m"
loitering = ["10m"]
checkpoint_interval = "5m"
resume_within = "30m"
merge_gap = "0s"
left_behind_after = "0s"

[outbox]
commit_interval = "20ms"

[uplink]
broker = "mqtt://127.0.0.1:{port}"
backoff_min = "20ms"
backoff_max = "100ms"
ack_timeout = "1h"
drain_timeout = "1s"

[health]
metrics_interval = "1s"
state_interval = "1s"

[log]
level = "trace"

[[fixture]]
id = "door"
address = "C1:0A:0B:0C:0D:0E"
"#
    )
}

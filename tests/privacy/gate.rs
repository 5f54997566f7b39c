//! The gateway under test: this program again, as a child. The gateway is the library's; the source
//! of its advertisements is here, and so is every way in which the test opens the gate on purpose.

use std::{
    alloc::{GlobalAlloc as _, Layout, System},
    env,
    fs::{self, OpenOptions},
    hint::black_box,
    io::{Read as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, mpsc as std_mpsc},
    thread,
};

use beacon_gateway::{
    clock::Clock,
    engine::{Advertisement, UnixTime},
    gateway::{self, Request, Source},
    scan::{Heard, SourceEnds, replay},
    settings::Loader,
    telemetry,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::support::{Outcome, text};

/// The directory with the child's configuration; its presence says that this process is the child.
pub(crate) const DIRECTORY: &str = "PRIVACY_GATEWAY";
pub(crate) const RATE: &str = "PRIVACY_RATE";
pub(crate) const GATE: &str = "PRIVACY_GATE";

/// What is wrong with the gateway under test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Gate {
    /// Nothing: it is what is shipped.
    Shut,
    /// Addresses are logged, as text, at `trace`.
    Logs,
    /// Data is logged as `{:?}` shows octets.
    Debugs,
    /// Addresses are written to a file beside the store.
    Keeps,
    /// Addresses are sent to the broker.
    Tells,
    /// Advertisements are kept in a static.
    Leaks,
    /// Advertisements are copied to memory that is given back without being cleared.
    Drops,
    /// Advertisements are copied to the stack of a thread that nobody clears.
    Stacks,
    /// Keys are logged.
    Keys,
    /// The names of all members are written to a file, and stay there.
    Names,
}

/// A file with the names of all members, for a gateway that is to keep them.
pub(crate) const NAMES: &str = "names";

const GATES: [(&str, Gate); 10] = [
    ("shut", Gate::Shut),
    ("logs", Gate::Logs),
    ("debugs", Gate::Debugs),
    ("keeps", Gate::Keeps),
    ("tells", Gate::Tells),
    ("leaks", Gate::Leaks),
    ("drops", Gate::Drops),
    ("stacks", Gate::Stacks),
    ("keys", Gate::Keys),
    ("names", Gate::Names),
];

impl Gate {
    pub(crate) fn name(self) -> &'static str {
        GATES.iter().find(|(_, gate)| *gate == self).map_or("shut", |(name, _)| name)
    }
}

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

fn run(directory: &std::path::Path) -> Outcome<()> {
    let settings = Loader::files([directory.join("gateway.toml")]).load().map_err(text)?;
    telemetry::start(settings.log.level);
    let number = |name| env::var(name).ok().and_then(|text| text.parse().ok());
    let rate: u32 = number(RATE).ok_or("no rate was given")?;
    let asked = env::var(GATE).unwrap_or_default();
    let gate = GATES.iter().find(|(name, _)| *name == asked).map_or(Gate::Shut, |(_, gate)| *gate);

    // The time is asked for and told at once, so that the two clocks differ by a moment only.
    say("what is the time?")?;
    let mut begin = [0; 8];
    std::io::stdin().read_exact(&mut begin).map_err(text)?;
    let clock = Clock::accelerated(rate, UnixTime::from_millis(i64::from_be_bytes(begin)));
    say("thank you")?;

    let leak = Leak::new(gate, directory, &settings.uplink.broker.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(text)?.block_on(async {
        let requests = requests().map_err(text)?;
        gateway::run(settings, clock, source(leak), requests, || drop(say("up")))
            .await
            .map_err(text)
    })?;
    let counts = outcome.counts;
    say(&format!(
        "stopped {} {} {} {} {}",
        counts.received,
        counts.subject,
        counts.situations,
        outcome.outbox.totals.erased,
        outcome.dropped
    ))
}

/// As the daemon does it: SIGTERM stops, SIGHUP reads the registry again.
fn requests() -> std::io::Result<mpsc::Receiver<Request>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (requests, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        loop {
            let request = tokio::select! {
                _ = terminate.recv() => Request::Stop,
                _ = hangup.recv() => Request::Reload,
            };
            if requests.send(request).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Reads a btsnoop stream from standard input, as `replay -` would, for as long as there is one.
fn source(mut leak: Leak) -> Source {
    Box::new(move |ends| {
        let SourceEnds { clock, heard, mut stop, .. } = ends;
        let (sender, mut read) = mpsc::channel(64);
        // A thread, because reading blocks. It ends with the process.
        thread::spawn(move || {
            // Not `stdin()`: its buffer is the standard library's, and it would keep a copy.
            let Ok(air) = fs::File::open("/proc/self/fd/0") else { return };
            let Ok(recording) = replay::read("the air", air, None) else { return };
            for advertisement in recording {
                let Ok(mut advertisement) = advertisement else { return };
                advertisement.heard = clock.now();
                leak.through(&advertisement);
                if sender.blocking_send(Heard::Advertisement(advertisement)).is_err() {
                    return;
                }
            }
        });
        Box::pin(async move {
            loop {
                let one = tokio::select! {
                    one = read.recv() => one,
                    // An error means that nobody is left who could say it.
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                let Some(one) = one else { return };
                if heard.send(one).await.is_err() {
                    return;
                }
            }
        })
    })
}

/// Says a line to the test.
fn say(line: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(text)
}

/// What becomes of an advertisement when the gate is open.
struct Leak {
    gate: Gate,
    state: PathBuf,
    registry: PathBuf,
    line: Option<std::net::TcpStream>,
    thread: Option<std_mpsc::SyncSender<Vec<u8>>>,
    counted: usize,
}

static KEPT: Mutex<Vec<Advertisement>> = Mutex::new(Vec::new());

impl Leak {
    fn new(gate: Gate, directory: &std::path::Path, broker: &str) -> Self {
        let line = (gate == Gate::Tells).then(|| {
            let address = broker.trim_start_matches("mqtt://");
            let line = std::net::TcpStream::connect(address).ok();
            line.inspect(|mut line| drop(line.write_all(CONNECT)))
        });
        let registry = directory.join("registry.jsonl");
        let thread = (gate == Gate::Stacks).then(stacking);
        let state = directory.join("state");
        Self { gate, state, registry, line: line.flatten(), thread, counted: 0 }
    }

    #[inline(never)]
    fn through(&mut self, advertisement: &Advertisement) {
        if self.gate == Gate::Shut {
            return;
        }
        self.counted += 1;
        let address = advertisement.address().octets();
        let text = address.map(|octet| format!("{octet:02X}")).join(":");
        match self.gate {
            Gate::Logs => tracing::trace!(target: "beacon_gateway", text, "Heard somebody."),
            Gate::Debugs => {
                let data = advertisement.data();
                tracing::trace!(target: "beacon_gateway", ?data, "Heard something.");
            }
            Gate::Keeps => {
                let file =
                    OpenOptions::new().create(true).append(true).open(self.state.join("heard"));
                drop(file.and_then(|mut file| file.write_all(&address)));
            }
            Gate::Tells => {
                if let Some(line) = &mut self.line {
                    drop(line.write_all(&publish(text.as_bytes())));
                }
            }
            Gate::Leaks => KEPT.lock().expect("nobody panics here").push(advertisement.clone()),
            Gate::Drops => drop_uncleared(advertisement.data(), 200 + self.counted % 800),
            Gate::Stacks => {
                if let Some(thread) = &self.thread {
                    drop(thread.send(advertisement.data().to_vec()));
                }
            }
            Gate::Keys if self.counted == 1 => {
                let registry = fs::read_to_string(&self.registry).unwrap_or_default();
                tracing::trace!(target: "beacon_gateway", registry, "Enrolled.");
            }
            Gate::Names if self.counted == 1 => {
                drop(fs::copy(self.registry.with_file_name(NAMES), self.state.join(NAMES)));
            }
            Gate::Shut | Gate::Keys | Gate::Names => {}
        }
    }
}

/// Copies octets to a block of the system's allocator, and gives it back as it is.
#[expect(unsafe_code, reason = "the program's own allocator would clear it")]
fn drop_uncleared(data: &[u8], size: usize) {
    let layout = Layout::from_size_align(size.max(data.len()), 8).expect("a small layout");
    // SAFETY: the block is at least as long as what is copied into it, and is not used afterwards.
    unsafe {
        let block = System.alloc(layout);
        if !block.is_null() {
            block
                .add(layout.size() - data.len())
                .copy_from_nonoverlapping(data.as_ptr(), data.len());
            System.dealloc(black_box(block), layout);
        }
    }
}

/// A thread that copies what it is given to its stack, and waits for more.
fn stacking() -> std_mpsc::SyncSender<Vec<u8>> {
    #[inline(never)]
    fn copy(data: &[u8]) {
        // The beginning lies deeper than whatever the thread calls while it waits, which would cover it.
        let mut copied = [0_u8; 16 << 10];
        for (to, from) in copied.iter_mut().zip(data) {
            *to = *from;
        }
        black_box(&mut copied);
    }
    let (sender, receiver) = std_mpsc::sync_channel::<Vec<u8>>(64);
    thread::spawn(move || {
        while let Ok(data) = receiver.recv() {
            copy(&data);
        }
    });
    sender
}

/// MQTT 3.1.1: CONNECT with a clean session, without a keep-alive, as `leak`.
const CONNECT: &[u8] = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04leak";

/// MQTT 3.1.1: PUBLISH at QoS 0 to `leak`.
fn publish(payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(6 + payload.len()).expect("an address is short");
    [&[0x30, length, 0, 4], &b"leak"[..], payload].concat()
}

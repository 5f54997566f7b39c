//! The platform's side: a real mosquitto, a subscriber that is not ours, and a line between the
//! daemon and the broker on which every octet is written down.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Child,
};

use crate::process::{Outcome, log_of, start, until};

/// The broker, the subscriber and the line.
pub(crate) struct Broker {
    /// Where the daemon is to connect.
    pub(crate) port: u16,
    wire: Arc<Mutex<Vec<u8>>>,
    received: Mutex<Received>,
    server: Child,
    subscriber: Child,
}

/// What the subscriber wrote down, as far as it was read.
struct Received {
    log: PathBuf,
    read: u64,
    messages: Vec<Message>,
}

/// One message as the subscriber got it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Value,
    /// When it got it, in seconds since 1970.
    pub(crate) arrived: f64,
}

/// The guest's network is its own, so that the port is free.
const BROKER: &str = "127.0.0.1:1883";

const PATIENCE: Duration = Duration::from_secs(10);

impl Broker {
    /// Starts all three; the subscriber gets everything that is published from now on.
    pub(crate) async fn start() -> Outcome<Self> {
        let failed = |what: &str, error: std::io::Error| format!("failed to {what}: {error}");
        for program in ["mosquitto", "mosquitto_sub"] {
            match fs::remove_file(log_of(program)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("clear a log", error));
                }
                _ => {}
            }
        }
        let configuration = "/run/mosquitto.conf";
        let lines =
            "listener 1883 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type all\n";
        fs::write(configuration, lines)
            .map_err(|error| failed("write the broker's configuration", error))?;
        let server = start("mosquitto", &["-c", configuration])?;
        until("the broker listens", PATIENCE, async || TcpStream::connect(BROKER).await.ok())
            .await?;
        let words = ["-h", "127.0.0.1", "-q", "1", "-t", "#", "-F", "MESSAGE %U %t %p"];
        let subscriber = start("mosquitto_sub", &words)?;
        until("the subscription is confirmed", PATIENCE, async || {
            let log = fs::read_to_string(log_of("mosquitto")).ok()?;
            log.contains("Sending SUBACK").then_some(())
        })
        .await?;

        let line = TcpListener::bind("127.0.0.1:0").await;
        let line = line.map_err(|error| failed("open the line", error))?;
        let port = line.local_addr().map_err(|error| failed("open the line", error))?.port();
        let wire = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&wire);
        tokio::spawn(async move {
            while let Ok((daemon, _)) = line.accept().await {
                let Ok(broker) = TcpStream::connect(BROKER).await else { continue };
                let (from_daemon, to_daemon) = daemon.into_split();
                let (from_broker, to_broker) = broker.into_split();
                tokio::spawn(carry(from_daemon, to_broker, Arc::clone(&record)));
                tokio::spawn(carry(from_broker, to_daemon, Arc::clone(&record)));
            }
        });
        let received = Received { log: log_of("mosquitto_sub"), read: 0, messages: Vec::new() };
        Ok(Self { port, wire, received: Mutex::new(received), server, subscriber })
    }

    /// Ends both programs, so that others can take their places.
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        for child in [&mut self.subscriber, &mut self.server] {
            child.kill().await.map_err(|error| format!("failed to end the broker: {error}"))?;
        }
        Ok(())
    }

    /// Every octet that went over the line.
    pub(crate) fn wire(&self) -> Vec<u8> {
        self.wire.lock().map(|wire| wire.clone()).unwrap_or_default()
    }

    /// What of everything that the subscriber got is wanted, in its order.
    pub(crate) fn select<T>(&self, wanted: impl FnMut(&Message) -> Option<T>) -> Vec<T> {
        let Ok(mut received) = self.received.lock() else { return Vec::new() };
        received.catch_up();
        received.messages.iter().filter_map(wanted).collect()
    }

    /// The events among them.
    pub(crate) fn events(&self) -> Vec<Message> {
        self.select(|message| message.is_event().then(|| message.clone()))
    }

    /// How often each kind of event came, by `family.kind subject`.
    pub(crate) fn tally(&self) -> BTreeMap<String, u32> {
        let mut tally = BTreeMap::new();
        for name in self.select(|message| message.is_event().then(|| message.name())) {
            *tally.entry(name).or_default() += 1;
        }
        tally
    }

    /// Waits until so many events of a name came; gives the last one.
    pub(crate) async fn event(
        &self,
        name: &str,
        times: usize,
        within: Duration,
    ) -> Outcome<Message> {
        let what = format!("`{name}` arrives for the {times}. time");
        until(&what, within, async || {
            let is_it = |event: &Message| event.is_event() && event.name() == name;
            let mut found = self.select(|event| is_it(event).then(|| event.clone()));
            if found.len() >= times { found.pop() } else { None }
        })
        .await
        .map_err(|why| format!("{why}; there were {:?}", self.tally()))
    }

    /// The last message of a topic that ends like this.
    pub(crate) fn latest(&self, suffix: &str) -> Option<Value> {
        let Ok(mut received) = self.received.lock() else { return None };
        received.catch_up();
        let last = received.messages.iter().rev().find(|it| it.topic.ends_with(suffix));
        last.map(|message| message.payload.clone())
    }
}

impl Received {
    /// Reads what was written since.
    fn catch_up(&mut self) {
        let mut fresh = String::new();
        let read = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(self.read))?;
            log.read_to_string(&mut fresh)
        });
        // The last line may not be whole yet.
        let (true, Some(end)) = (read.is_ok(), fresh.rfind('\n')) else { return };
        let whole = fresh.get(..=end).unwrap_or_default();
        self.read += whole.len() as u64;
        self.messages.extend(whole.lines().filter_map(|line| {
            let (arrived, rest) = line.strip_prefix("MESSAGE ")?.split_once(' ')?;
            let (topic, payload) = rest.split_once(' ')?;
            let payload = serde_json::from_str(payload).unwrap_or(Value::Null);
            Some(Message { topic: topic.to_owned(), payload, arrived: arrived.parse().ok()? })
        }));
    }
}

impl Message {
    fn is_event(&self) -> bool {
        self.topic.contains("/event/")
    }

    /// What it is and of whom: `zone.entered cust_ib`, or `gateway.started`.
    pub(crate) fn name(&self) -> String {
        let kind = self.payload.get("type").and_then(Value::as_str).unwrap_or("?");
        let kind = kind.trim_start_matches("io.beacon-gateway.").trim_end_matches(".v1");
        match self.payload.get("subject").and_then(Value::as_str) {
            Some(subject) => format!("{kind} {subject}"),
            None => kind.to_owned(),
        }
    }

    /// When it happened, in milliseconds since 1970.
    pub(crate) fn time(&self) -> Outcome<i64> {
        let time = self.payload.get("time").and_then(Value::as_str).unwrap_or_default();
        let time: jiff::Timestamp =
            time.parse().map_err(|error| format!("`{time}` is no time: {error}"))?;
        Ok(time.as_millisecond())
    }

    /// What is in its `data`.
    pub(crate) fn data(&self, pointer: &str) -> Value {
        let data = self.payload.get("data").and_then(|data| data.pointer(pointer));
        data.cloned().unwrap_or(Value::Null)
    }
}

/// Carries octets one way and writes them down, until either side hangs up.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    record: Arc<Mutex<Vec<u8>>>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer).await {
        let Some(octets) = buffer.get(..length).filter(|octets| !octets.is_empty()) else { return };
        if let Ok(mut record) = record.lock() {
            record.extend_from_slice(octets);
        }
        if to.write_all(octets).await.is_err() {
            return;
        }
    }
}

//! A reference subscriber: takes every event once, and accounts for every number.
//!
//! Events of all gateways of a broker in; on standard output, for each gateway and epoch, how many
//! were delivered, came again, were lost and why, and which numbers are missing.
//! `docs/subscribing.md` explains the algorithm; `examples/subscriber.py` is the same in Python,
//! with the same options, the same state file and the same output.
//!
//! ```sh
//! cargo run --example subscriber -- --broker localhost:1883 --state account.json
//! ```
//!
//! An event is acknowledged to the broker only when the account that has it is on the disk: whoever
//! stops or crashes gets the rest again, and knows it again. With a key that the gateways trust
//! (`sign_command` makes one) it asks them about what is missing, and has sent again what they
//! still hold.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its result")]

mod account;
mod ask;
mod line;
mod ranges;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use beacon_gateway::{clock::Clock, engine::Uptime};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use self::{
    account::{Account, Book},
    ask::Asker,
    line::{Address, Line, Message, Receipt, Signal},
    ranges::Ranges,
};

/// The account is saved, and then acknowledged, after so many events or so long a time.
const SAVE_AFTER: usize = 200;
const SAVE_WITHIN: Duration = Duration::from_millis(20);

/// So many ranges are asked for at a time; those that lie closer than this, as one.
const MOST_REPLAYS: usize = 8;
const CLOSE: u64 = 100;

/// A question that was not answered is put again after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes every event once, and accounts for every number.
#[derive(Parser)]
struct Options {
    /// The broker: host:port.
    #[arg(long, default_value = "localhost:1883")]
    broker: String,
    /// Which gateways: tenant/store/gateway, each may be `+`.
    #[arg(long, default_value = "+/+/+")]
    gateways: String,
    /// The version of MQTT.
    #[arg(long, default_value = "5")]
    protocol: Protocol,
    /// Fixed and unique: the broker's session hangs on it.
    #[arg(long, default_value = "subscriber-rs")]
    client_id: String,
    /// The file that keeps the account.
    #[arg(long)]
    state: PathBuf,
    /// Numbers before the first one heard are not missed.
    #[arg(long)]
    from_now: bool,
    /// Print one JSON document a line.
    #[arg(long)]
    json: bool,
    /// Seconds between two prints.
    #[arg(long, default_value = "10")]
    show_every: f64,
    /// Seconds between two attempts to connect.
    #[arg(long, default_value = "1")]
    retry: f64,
    /// The private key: ask gateways about what is missing, and for it.
    #[arg(long)]
    key: Option<PathBuf>,
    /// Its name in the gateways' `trusted_keys`.
    #[arg(long, default_value = "platform")]
    key_id: String,
    /// Seconds between two questions to a gateway.
    #[arg(long, default_value = "30")]
    ask_every: f64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Protocol {
    #[value(name = "5")]
    V5,
    #[value(name = "3.1.1")]
    V311,
}

struct Subscriber {
    options: Options,
    clock: Clock,
    book: Book,
    asker: Option<Asker>,
    /// Messages that could not be understood.
    ignored: u64,
    /// Messages whose account is not on the disk yet.
    unacknowledged: Vec<Receipt>,
    /// From when on a gateway may be asked (again).
    may_ask: BTreeMap<String, Uptime>,
    /// What was missing when it was last looked, and what already was the time before.
    missed: BTreeMap<String, (Ranges, Ranges)>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let kept = match fs::read(&options.state) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("`{}` is no account", options.state.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).context("failed to read the account"),
    };
    let asker = options.key.as_deref().map(|file| Asker::new(file, &options.key_id)).transpose()?;
    let subscriber = Subscriber {
        book: Book::new(kept, options.from_now),
        asker,
        options,
        clock: Clock::start(),
        ignored: 0,
        unacknowledged: Vec::new(),
        may_ask: BTreeMap::new(),
        missed: BTreeMap::new(),
    };
    subscriber.run().await
}

impl Subscriber {
    /// Listens until told to stop.
    async fn run(mut self) -> anyhow::Result<()> {
        let (host, port) = self.options.broker.rsplit_once(':').context("--broker is host:port")?;
        let address = Address {
            host: host.to_owned(),
            port: port.parse().context("--broker is host:port")?,
            client_id: self.options.client_id.clone(),
            v5: self.options.protocol == Protocol::V5,
        };
        let mut stop = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut show = every(self.options.show_every)?;
        let mut ask = every(self.options.ask_every)?;
        let mut save = interval(SAVE_WITHIN);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let retry = Duration::try_from_secs_f64(self.options.retry)?;
        let mut line = Line::open(&address);
        let mut online = false;
        loop {
            tokio::select! {
                signal = line.next() => match signal {
                    Signal::Welcome => {
                        online = true;
                        self.subscribe(&line)?;
                    }
                    Signal::Message(message) => self.message(&line, message)?,
                    Signal::Broken(error) => {
                        eprintln!("{error:#}");
                        online = false;
                        // What was not acknowledged on this connection comes again on the next one.
                        self.unacknowledged.clear();
                        tokio::time::sleep(retry).await;
                        line = Line::open(&address);
                    }
                },
                _ = save.tick() => self.save(&line)?,
                _ = ask.tick(), if online => self.ask_about_gaps(&line)?,
                _ = show.tick() => self.show(),
                _ = stop.recv() => break,
                _ = interrupt.recv() => break,
            }
            if self.unacknowledged.len() >= SAVE_AFTER {
                self.save(&line)?;
            }
        }
        self.save(&line)?;
        line.close().await;
        self.show();
        Ok(())
    }

    /// Each time: the broker may have lost the session.
    fn subscribe(&self, line: &Line) -> anyhow::Result<()> {
        let gateways = &self.options.gateways;
        let topics = ["event/#", "state", "command-result/+"];
        line.subscribe(&topics.map(|topic| format!("beacon/v1/{gateways}/{topic}")))
    }

    fn message(&mut self, line: &Line, message: Message) -> anyhow::Result<()> {
        let Message { topic, payload, receipt } = message;
        match self.understand(&topic, &payload) {
            Ok(Some((source, wanted))) => self.replay(line, &source, &wanted)?,
            Ok(None) => {}
            Err(error) => {
                // One that cannot be read must not stop those behind it.
                self.ignored += 1;
                eprintln!("not understood, on {topic}: {error:#}");
            }
        }
        self.unacknowledged.extend(receipt);
        Ok(())
    }

    /// Enters a message in the accounts. After an answer, which commands would bring what is
    /// missing, and of which gateway.
    fn understand(
        &mut self,
        topic: &str,
        payload: &[u8],
    ) -> anyhow::Result<Option<(String, Vec<Value>)>> {
        let mut levels = topic.splitn(7, '/').skip(2);
        let mut level = || levels.next().context("a topic of seven levels is expected");
        let source = format!("/{}/{}/{}", level()?, level()?, level()?);
        let kind = level()?;
        let document: Value = serde_json::from_slice(payload)?;
        match (kind, levels.next()) {
            // Where it says `true`, a consumer's own work with a new event belongs.
            ("event", Some(_)) => drop(self.book.event(&document)?),
            ("state", None) => self.book.state(&source, &document)?,
            ("command-result", Some("resync")) if is_done(&document) => {
                let account = self.book.answer(&source, &document)?;
                return Ok(Some((source, replays(account))));
            }
            // Refused, or told before: another question may be asked when the time has come.
            ("command-result", Some("resync")) => return Ok(Some((source, Vec::new()))),
            _ => {}
        }
        Ok(None)
    }

    /// Asks each gateway where the numbers are that have been missing for a while.
    fn ask_about_gaps(&mut self, line: &Line) -> anyhow::Result<()> {
        let now = self.clock.now();
        let mut questions = Vec::new();
        for account in self.book.newest() {
            let missing = account.missing();
            // What was not missing when it was last looked may just be on its way; and while what was
            // missing for longer is coming in, there is nothing to ask.
            let (before, long) = self.missed.remove(&account.source).unwrap_or_default();
            let still = missing.within(&before);
            let coming = !long.minus(&missing).is_empty();
            self.missed.insert(account.source.clone(), (missing, still.clone()));
            if coming {
                continue;
            }
            let (Some((first, _)), Some((_, last))) =
                (still.iter().next(), still.iter().next_back())
            else {
                continue;
            };
            if self.may_ask.get(&account.source).is_none_or(|at| *at <= now) {
                let body = json!({"from": first.to_string(), "to": last.to_string()});
                questions.push((account.source.clone(), body));
            }
        }
        for (source, body) in questions {
            self.ask(line, &source, "resync", &body)?;
            self.may_ask.insert(source, now + PATIENCE);
        }
        Ok(())
    }

    /// Has sent again what a gateway still holds.
    fn replay(&mut self, line: &Line, source: &str, wanted: &[Value]) -> anyhow::Result<()> {
        self.may_ask.remove(source);
        for body in wanted {
            self.ask(line, source, "replay", body)?;
            // Time for them to come, before it is asked again.
            let pause = Duration::try_from_secs_f64(self.options.ask_every)?;
            self.may_ask.insert(source.to_owned(), self.clock.now() + pause);
        }
        Ok(())
    }

    fn ask(
        &mut self,
        line: &Line,
        source: &str,
        command: &str,
        body: &Value,
    ) -> anyhow::Result<()> {
        let Some(asker) = &mut self.asker else { return Ok(()) };
        let topic = format!("beacon/v1{source}/command/{command}");
        line.publish(&topic, asker.sign(source, command, body))
    }

    /// Keeps the accounts, then acknowledges what is in them. A database's commit does the same,
    /// with the consumer's work in it.
    fn save(&mut self, line: &Line) -> anyhow::Result<()> {
        if self.unacknowledged.is_empty() {
            return Ok(());
        }
        let accounts: Vec<&Account> = self.book.accounts().collect();
        keep(&self.options.state, &serde_json::to_vec(&accounts)?)
            .with_context(|| format!("failed to write `{}`", self.options.state.display()))?;
        for receipt in self.unacknowledged.drain(..) {
            // Over a connection that has just broken nothing can be said; the message comes again.
            line.acknowledge(receipt).ok();
        }
        Ok(())
    }

    fn show(&self) {
        if self.options.json {
            let accounts: Vec<Value> = self.book.accounts().map(Account::summary).collect();
            println!("{}", json!({"ignored": self.ignored, "accounts": accounts}));
        } else {
            for account in self.book.accounts() {
                println!("{}", account.sentence());
            }
        }
    }
}

fn is_done(result: &Value) -> bool {
    result.get("outcome").is_some_and(|outcome| outcome == "done") && result.get("again").is_none()
}

/// The commands that bring what is missing and still held.
fn replays(account: &Account) -> Vec<Value> {
    let held = account.in_state("held");
    let body = |(first, last): (u64, u64)| json!({"epoch": account.epoch, "from": first.to_string(), "to": last.to_string()});
    held.bridged(CLOSE).iter().take(MOST_REPLAYS).map(body).collect()
}

fn every(seconds: f64) -> anyhow::Result<tokio::time::Interval> {
    let mut ticks = interval(Duration::try_from_secs_f64(seconds)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Ok(ticks)
}

/// On the disk, whole or not at all.
fn keep(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

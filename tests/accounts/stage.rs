//! The stage: what is broken, when, and what must be true afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Duration,
};

use beacon_gateway::clock::Clock;
use serde_json::{Value, json};

use crate::{
    broker::Broker,
    gateway::{Gateway, Plan, subject},
    harness::say,
    link::{Link, Mode},
    platform::{Platform, SEED},
    readers::{Kind, Reader},
};

/// Long enough for a busy machine; only a failing test waits for it.
const DEADLINE: Duration = Duration::from_mins(3);

/// More than a day of the shop makes in this test.
const ROOM: u64 = 1_000_000;

/// So little that a short outage is too long.
const LITTLE_ROOM: u64 = 200;

/// In bytes: events at the end of a longer visit are larger, questions and answers about the outbox
/// are not.
const SMALL_PACKET: u32 = 1000;

/// Everything.
pub(crate) struct Stage {
    directory: PathBuf,
    /// Removes the directory, unless somebody wants to look into it.
    _cleaner: Option<tempfile::TempDir>,
    random: fastrand::Rng,
    clock: Clock,
    broker: Broker,
    link: Link,
    platform: Platform,
    gateway: Option<Gateway>,
    readers: [Reader; 2],
}

impl Stage {
    /// Starts everything.
    pub(crate) async fn set(seed: u64) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let (directory, cleaner) = if let Some(directory) = std::env::var_os("ACCOUNTS_KEEP") {
            (PathBuf::from(directory), None)
        } else {
            let cleaner = tempfile::tempdir().map_err(text)?;
            (cleaner.path().to_owned(), Some(cleaner))
        };
        fs::create_dir_all(&directory).map_err(text)?;
        fs::write(directory.join("key"), hex::encode(SEED)).map_err(text)?;
        let broker = Broker::start(directory.join("broker"))?;
        let link = Link::start(broker.port, seed).await.map_err(text)?;
        let platform = Platform::start(broker.port)?;
        // Each of them has to do with each version of the protocol, in one seed or another.
        let protocols = if seed % 2 == 1 { ["5", "3.1.1"] } else { ["3.1.1", "5"] };
        let [rust, python] = protocols;
        let readers = [
            Reader::new(Kind::Rust, rust, &directory, broker.port),
            Reader::new(Kind::Python, python, &directory, broker.port),
        ];
        let mut stage = Self {
            directory,
            _cleaner: cleaner,
            random: fastrand::Rng::with_seed(seed),
            clock: Clock::start(),
            broker,
            link,
            platform,
            gateway: None,
            readers,
        };
        for reader in &mut stage.readers {
            reader.start()?;
        }
        stage.start_gateway(ROOM)?;
        Ok(stage)
    }

    /// One after the other, everything that may happen.
    pub(crate) async fn round(&mut self) -> Result<(), String> {
        self.play()?;
        self.grow("events", 200).await?;
        self.cut_and_kill().await?;
        self.lose_the_broker().await?;
        self.overflow().await?;
        self.withdraw().await?;
        self.refuse_for_good().await
    }

    /// Stops everything, and looks at the last words.
    pub(crate) async fn close(&mut self) -> Result<(), String> {
        let highest = self.settle().await?;
        for reader in &mut self.readers {
            reader.stop().await?;
        }
        self.gateway.take().map_or(Ok(()), Gateway::stop)?;
        self.compare(highest)?;
        let heard = self.platform.heard();
        let count = |why: &str| heard.told.get(why).map_or(0, BTreeSet::len);
        for why in ["full", "erased", "set_aside"] {
            if count(why) == 0 {
                return Err(format!("nothing was ever lost because of `{why}`"));
            }
        }
        if heard.again == 0 || heard.replayed == 0 {
            return Err("nothing ever came again, or nothing was ever replayed".to_owned());
        }
        if !heard.disordered.is_empty() || !heard.strange.is_empty() {
            return Err(format!("{:?}, {:?}", heard.disordered, heard.strange));
        }
        drop(heard);
        for reader in &self.readers {
            let account = account(reader)?;
            say(&format!("  {}: {account}", reader.name()));
        }
        Ok(())
    }

    /// What happened so far, in a line.
    pub(crate) fn figures(&self) -> String {
        let heard = self.platform.heard();
        let told = heard.told.iter().map(|(why, numbers)| format!("{} {why}", numbers.len()));
        format!(
            "{} events, {} came again, {} of those on demand, told as lost: {}",
            heard.seen.len(),
            heard.again,
            heard.replayed,
            told.collect::<Vec<_>>().join(", ")
        )
    }

    // --- what happens ---

    /// The line breaks and breaks, the gateway is killed, a subscriber is killed.
    async fn cut_and_kill(&mut self) -> Result<(), String> {
        self.link.set(Mode::Cutting);
        for _ in 0..3 {
            self.grow("events over a line that is cut", 50).await?;
            if let Some(gateway) = self.gateway.take() {
                gateway.kill();
            }
            self.start_gateway(ROOM)?;
            let which = self.random.usize(0..2);
            for reader in self.readers.iter_mut().skip(which).take(1) {
                reader.kill().await?;
                reader.start()?;
            }
        }
        self.link.set(Mode::Up);
        self.settle().await.map(drop)
    }

    /// The broker is killed while it holds events for a subscriber that is off. They are lost, and
    /// only the gateway has them.
    async fn lose_the_broker(&mut self) -> Result<(), String> {
        self.play()?;
        let which = self.random.usize(0..2);
        for reader in self.readers.iter_mut().skip(which).take(1) {
            reader.kill().await?;
        }
        self.grow("events for a subscriber that is off", 150).await?;
        self.broker.kill();
        self.broker.start_with("")?;
        self.grow("events after the broker's return", 50).await?;
        for reader in self.readers.iter_mut().skip(which).take(1) {
            reader.start()?;
        }
        self.settle().await.map(drop)
    }

    /// The line is down until there is no more room.
    async fn overflow(&mut self) -> Result<(), String> {
        self.gateway.take().map_or(Ok(()), Gateway::stop)?;
        self.link.set(Mode::Down);
        self.start_gateway(LITTLE_ROOM)?;
        self.play()?;
        self.until("records that are dropped", |stage| counter(stage, "dropped") > 100).await?;
        self.link.set(Mode::Up);
        self.grow("events after the outage", 50).await?;
        self.settle().await?;
        self.gateway.take().map_or(Ok(()), Gateway::stop)?;
        self.start_gateway(ROOM)
    }

    /// Somebody withdraws while events about them wait, and comes back.
    async fn withdraw(&mut self) -> Result<(), String> {
        self.play()?;
        self.grow("events", 20).await?;
        self.link.set(Mode::Down);
        self.until("records that wait", |stage| counter(stage, "pending") > 100).await?;
        let gone: Vec<u16> = (0..4).collect();
        let names: Vec<String> = gone.iter().map(|n| format!("s{n}")).collect();
        let done = self.platform.change("withdraw", &json!({ "subjects": names }))?;
        self.link.set(Mode::Up);
        self.until("the withdrawal", |stage| stage.platform.result(&done).is_some()).await?;
        let subjects = gone.iter().map(|n| serde_json::from_str::<Value>(&subject(*n)));
        let subjects: Vec<_> = subjects.collect::<Result<_, _>>().map_err(|it| it.to_string())?;
        let done = self.platform.change("upsert", &json!({ "subjects": subjects }))?;
        self.until("the return", |stage| stage.platform.result(&done).is_some()).await?;
        self.settle().await.map(drop)
    }

    /// The broker takes no event about anybody any more, for good as it says; then it does, and
    /// the dead letters are sent.
    async fn refuse_for_good(&mut self) -> Result<(), String> {
        // Only MQTT 5 says beforehand what is too large.
        self.gateway.take().map_or(Ok(()), Gateway::stop)?;
        self.start_gateway_with(ROOM, "5")?;
        self.broker.stop();
        self.broker.start_with(&format!("max_packet_size {SMALL_PACKET}"))?;
        self.play()?;
        self.until("dead letters", |stage| set_aside(stage) > 30).await?;
        self.pause()?;
        // A gateway that goes on tries again by itself once a broker takes larger ones; one that is
        // killed has forgotten what they were refused for.
        if let Some(gateway) = self.gateway.take() {
            gateway.kill();
        }
        self.broker.stop();
        self.broker.start_with("")?;
        self.platform.heard().order_matters = false;
        self.start_gateway(ROOM)?;
        let done = self.ask("retry_dead_letters", &json!({})).await?;
        if done.get("brought_back").and_then(Value::as_u64).is_none_or(|count| count == 0) {
            return Err(format!("no dead letter was brought back: {done}"));
        }
        self.settle().await?;
        self.platform.heard().order_matters = true;
        Ok(())
    }

    // --- what must be true ---

    /// Waits until nothing happens any more and both subscribers know of it. Returns the last
    /// number.
    async fn settle(&mut self) -> Result<u64, String> {
        self.pause()?;
        let began = self.clock.now();
        loop {
            let answer = self.ask("resync", &json!({})).await?;
            let count = |name: &str| answer.get(name)?.get("count")?.as_u64();
            let open = ["pending", "set_aside", "untold"].map(|name| count(name).unwrap_or(1));
            let last = answer.get("last").and_then(Value::as_str).and_then(|it| it.parse().ok());
            let last: u64 = last.ok_or_else(|| format!("no last number: {answer}"))?;
            let agreed = open == [0, 0, 0] && self.compare(last).is_ok();
            if agreed {
                return Ok(last);
            }
            // The subscribers ask every second, and say what they know five times.
            let again = self.clock.now() + Duration::from_millis(200);
            self.until("a moment", |stage| stage.clock.now() >= again).await?;
            if self.clock.now().since(began) >= DEADLINE {
                let why = self.compare(last).err().unwrap_or_default();
                return Err(format!("there is no agreement: {why}; {answer}"));
            }
        }
    }

    /// Whether both subscribers have the account that the platform has.
    fn compare(&self, last: u64) -> Result<(), String> {
        let heard = self.platform.heard();
        let told: BTreeMap<&String, usize> =
            heard.told.iter().map(|(why, numbers)| (why, numbers.len())).collect();
        let known: BTreeSet<u64> =
            heard.told.values().flatten().chain(&heard.seen).copied().collect();
        if known != (1..=last).collect() {
            let lacking: Vec<u64> = (1..=last).filter(|n| !known.contains(n)).take(10).collect();
            return Err(format!("the platform itself lacks {lacking:?} of {last}"));
        }
        let gone = known.len() - heard.seen.len();
        let expected = json!({
            "source": "/acme/berlin-03/gw1", "epoch": 1, "first": "1", "last": last.to_string(),
            "delivered": heard.seen.len(), "told": told, "nameless": 0, "lost": gone,
            "missing": 0, "gaps": [], "pending": 0, "held": 0, "set_aside": 0, "untold": 0,
            "unexplained": 0, "forgotten": 0,
        });
        drop(heard);
        for reader in &self.readers {
            let mut account = account(reader)?;
            if let Value::Object(account) = &mut account {
                // Of these each has its own.
                account.remove("duplicates");
                account.remove("replayed");
            }
            if account != expected {
                return Err(format!("{}: {account}; expected: {expected}", reader.name()));
            }
        }
        Ok(())
    }

    // --- how it is done ---

    fn start_gateway(&mut self, max_records: u64) -> Result<(), String> {
        let protocol = if self.random.bool() { "5" } else { "3.1.1" };
        self.start_gateway_with(max_records, protocol)
    }

    fn start_gateway_with(&mut self, max_records: u64, protocol: &str) -> Result<(), String> {
        let key = self.platform.trusted();
        let plan = Plan {
            directory: &self.directory,
            port: self.link.port,
            protocol,
            max_records,
            key: &key,
        };
        self.gateway = Some(plan.start()?);
        Ok(())
    }

    /// The shop's time goes on.
    fn play(&self) -> Result<(), String> {
        match fs::remove_file(self.directory.join("pause")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// The shop's time stands still.
    fn pause(&self) -> Result<(), String> {
        fs::write(self.directory.join("pause"), "").map_err(|error| error.to_string())
    }

    /// Waits for so many more events.
    async fn grow(&mut self, what: &str, more: usize) -> Result<(), String> {
        self.play()?;
        let before = self.platform.heard().seen.len();
        self.until(what, |stage| stage.platform.heard().seen.len() >= before + more).await
    }

    /// Asks the gateway until it answers: a question may be overtaken by a subscriber's, or lost
    /// with the broker.
    async fn ask(&mut self, name: &str, body: &Value) -> Result<Value, String> {
        let began = self.clock.now();
        while self.clock.now().since(began) < DEADLINE {
            let like = self.platform.ask(name, body)?;
            let again = self.clock.now() + Duration::from_secs(1);
            let mut result = None;
            self.until(name, |stage| {
                result = stage.platform.result(&like);
                result.is_some() || stage.clock.now() >= again
            })
            .await?;
            let done = |result: &Value| result.get("outcome").is_some_and(|it| it == "done");
            if let Some(result) = result.filter(done) {
                return Ok(result);
            }
        }
        Err(format!("`{name}` was never answered"))
    }

    /// Looks at a condition until it holds.
    async fn until(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<(), String> {
        let mut interval = tokio::time::interval(Duration::from_millis(10));
        let began = self.clock.now();
        while !condition(self) {
            if self.gateway.as_mut().is_some_and(Gateway::has_ended) {
                return Err("the gateway has ended by itself; see its log".to_owned());
            }
            if let Some(reader) =
                self.readers.iter_mut().find_map(|it| it.has_ended().then_some(it))
            {
                return Err(format!("{} has ended by itself; see its log", reader.name()));
            }
            if self.clock.now().since(began) >= DEADLINE {
                return Err(format!("waited for {DEADLINE:?} in vain: {what}"));
            }
            interval.tick().await;
        }
        Ok(())
    }
}

/// The account of the only gateway.
fn account(reader: &Reader) -> Result<Value, String> {
    let last = reader.last().ok_or_else(|| format!("{} has said nothing", reader.name()))?;
    let accounts = last.get("accounts").and_then(Value::as_array);
    match accounts.map(Vec::as_slice) {
        Some([account]) if last.get("ignored").is_some_and(|ignored| *ignored == 0) => {
            Ok(account.clone())
        }
        _ => Err(format!("{}: {last}", reader.name())),
    }
}

/// A counter of the running gateway's outbox, as its status file has it.
fn counter(stage: &Stage, name: &str) -> u64 {
    let status = beacon_gateway::gateway::Status::read(&stage.directory.join("state"));
    let counters = status.ok().flatten().map(|status| status.counters);
    counters.and_then(|it| it.get("outbox")?.get(name)?.as_u64()).unwrap_or(0)
}

/// Records that the running gateway's uplink has given up.
fn set_aside(stage: &Stage) -> u64 {
    let status = beacon_gateway::gateway::Status::read(&stage.directory.join("state"));
    let counters = status.ok().flatten().map(|status| status.counters);
    counters.and_then(|it| it.get("uplink")?.get("rejected")?.as_u64()).unwrap_or(0)
}

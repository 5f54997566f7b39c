//! The whole gateway on a machine whose clocks are in the test's hand: a boot in 1970, a time source
//! that comes after ten minutes and is an hour off, restarts before and after it, an operator who
//! sets the clock, a machine that sleeps, a boot that is never synced. Prints what each event says.
#![expect(clippy::indexing_slicing, reason = "a JSON value has a null wherever it has nothing")]
#![expect(clippy::print_stdout, reason = "the table is what this is about")]

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use beacon_gateway::{
    clock::{Clock, Machine},
    engine::{AddressKind, Advertisement, DeviceAddress, ReceiverId, Rssi, UnixTime, parse_octets},
    gateway::{self, GatewayError, Outcome, Request, Source, Status},
    scan::{Heard, SourceEnds},
    settings::{Loader, Settings},
    uplink::{Protocol, payload::utc},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::support::{eventually, free_port, mosquitto::Mosquitto, subscriber::Subscriber};

/// 2026-11-21T08:00:00Z, when the machine is really switched on, in milliseconds.
const DAWN: i64 = 1_795_248_000_000;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

const FIXTURE: &str = "C2:50:52:4F:42:45";
const TAG: &str = "C2:00:00:00:00:01";
const STRANGER: &str = "C2:00:00:00:00:02";

/// What is told of an event must be true to this many milliseconds: programs take time to start.
const EXACT: i64 = 1500;

#[tokio::test]
async fn what_is_sent_in_the_end_is_dated_right_or_honestly_marked() {
    let mosquitto = Mosquitto::start("");
    let mut scene = Scene::open(&mosquitto).await;
    scene.play(free_port(), mosquitto.port()).await;
    scene.print("sent at the end, when all is known");
    scene.check(&[
        // One is from before the sync, two from another run before it; then the source is an hour off
        // until it is put right; ten is from a boot that nobody ever set, eleven is from before the
        // sync of the last.
        (1, "corrected", 0),
        (2, "corrected", 0),
        (3, "corrected", 0),
        (4, "corrected", 0),
        (5, "corrected", 0),
        (6, "synced", 0),
        (7, "synced", 0),
        (8, "synced", 0),
        (9, "synced", 0),
        (10, "unsynced", i64::MAX),
        (11, "corrected", 0),
        (12, "synced", 0),
    ]);
    // The first visit lasted from the first run into the second. The other was cut short by the
    // power cut, and ended when it was last true, not when it was found.
    let visits = scene.visits();
    let expected = [
        ("visit.started", "corrected", scene.truth(1)),
        ("visit.ended", "corrected", scene.truth(2)),
        ("visit.started", "synced", scene.truth(9)),
        ("visit.ended", "synced", scene.truth(9)),
    ];
    assert_eq!(visits.len(), expected.len(), "{visits:?}");
    for ((kind, mark, time), (expected_kind, expected_mark, truth)) in visits.iter().zip(expected) {
        assert_eq!((kind.as_str(), mark.as_str()), (expected_kind, expected_mark), "{visits:?}");
        assert!((time - truth).abs() < EXACT, "{kind}: {} is not {}", said(*time), said(truth));
    }
    // While the machine slept the radio was deaf, and it says so.
    let deaf = scene.events("gateway.radio_recovered");
    let deaf: Vec<_> =
        deaf.iter().map(|it| (&it["data"]["cause"], &it["data"]["deaf_s"])).collect();
    assert_eq!(deaf.len(), 1, "{deaf:?}");
    assert_eq!(deaf[0].0, "suspended");
    assert!((7200.0..7205.0).contains(&deaf[0].1.as_f64().unwrap()), "{deaf:?}");
}

#[tokio::test]
async fn what_is_sent_at_once_says_what_was_known_then_and_of_whom_nothing_may_be_sent_waits() {
    let mosquitto = Mosquitto::start("");
    let mut scene = Scene::open(&mosquitto).await;
    scene.play(mosquitto.port(), mosquitto.port()).await;
    scene.print("sent at once");
    let hour = 3_600_000;
    scene.check(&[
        (1, "unsynced", i64::MAX),
        (2, "unsynced", i64::MAX),
        // Nobody could know that the source was wrong.
        (3, "synced", hour),
        (4, "synced", hour),
        (5, "synced", hour),
        (6, "synced", 0),
        (7, "synced", 0),
        (8, "synced", 0),
        (9, "synced", 0),
        (10, "unsynced", i64::MAX),
        (11, "unsynced", -2_400_000),
        (12, "synced", 0),
    ]);
    // The consent has an end: what was made before the sync waited for it.
    let first = &scene.visits()[0];
    assert_eq!((first.0.as_str(), first.1.as_str()), ("visit.started", "corrected"));
    let order: Vec<String> = scene.names();
    let place = |name: &str| order.iter().position(|it| it == name).unwrap();
    assert!(place("visit.started") > place("probe 2"), "{order:?}");
    assert!(scene.bases.contains(&"before_build".to_owned()), "{:?}", scene.bases);
    assert!(scene.bases.contains(&"held".to_owned()), "{:?}", scene.bases);
}

/// A shop, its machine and what the platform got.
struct Scene {
    directory: tempfile::TempDir,
    machine: Machine,
    /// A watch that is right: its uptime zero is the machine's last boot, which really was then.
    watch: Clock,
    booted: i64,
    subscriber: Subscriber,
    /// What was seen in the shop: number, what happened, true time.
    seen: Vec<(u32, &'static str, i64)>,
    /// What the gateway said its clock was believed for, when it was asked.
    bases: Vec<String>,
}

/// A gateway that runs on the machine.
struct Running {
    task: JoinHandle<Result<Outcome, GatewayError>>,
    requests: mpsc::Sender<Request>,
    air: mpsc::Sender<(DeviceAddress, Vec<u8>)>,
    state: PathBuf,
    received: u64,
}

impl Scene {
    async fn open(mosquitto: &Mosquitto) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = json!({
            "subject": "tag", "kind": "customer", "identifiers": [{"address": TAG}],
            "consent": {"purposes": ["presence"], "from": "2026-01-01T00:00:00Z",
                        "until": "2027-01-01T00:00:00Z", "proof": "form-1"},
        });
        std::fs::write(directory.path().join("registry.jsonl"), format!("{registry}\n")).unwrap();
        let fixture = format!(
            "[[fixture]]\nid = \"probe\"\naddress = \"{FIXTURE}\"\nreport = {{ at_most_every = \"0s\" }}\n"
        );
        std::fs::write(directory.path().join("gateway.toml"), fixture).unwrap();
        let machine = Machine::new(UnixTime::from_millis(0));
        let watch = machine.clock();
        let subscriber = Subscriber::start(Protocol::V5, mosquitto.port(), "beacon/v1/#").await;
        let (seen, bases) = (Vec::new(), Vec::new());
        Self { directory, machine, watch, booted: DAWN, subscriber, seen, bases }
    }

    /// What happens. The last run has its broker at `last`, the others at `broker`.
    async fn play(&mut self, broker: u16, last: u16) {
        let online = broker == last;
        let machine = self.machine.clone();
        let pass = |time| machine.pass(time);

        let mut running = self.start(broker);
        pass(MINUTE);
        self.hear(&mut running, 1, "boot in 1970", true, online).await;
        running.stop().await;

        pass(SECOND);
        let mut running = self.start(broker);
        pass(10 * SECOND);
        self.hear(&mut running, 2, "restarted before the sync", true, online).await;
        pass(8 * MINUTE);
        // The source is an hour ahead.
        machine.sync(UnixTime::from_millis(self.now() + 3_600_000));
        self.hear(&mut running, 3, "synced after 10 minutes, an hour off", false, online).await;
        pass(HOUR);
        self.hear(&mut running, 4, "an hour later", false, online).await;
        running.stop().await;

        let mut running = self.start(broker);
        self.hear(&mut running, 5, "restarted after the sync", false, online).await;
        machine.sync(UnixTime::from_millis(self.now()));
        self.hear(&mut running, 6, "jumped back an hour, synced", false, online).await;
        pass(MINUTE);
        machine.step(10 * 365 * 86_400_000);
        self.hear(&mut running, 7, "set 10 years ahead by hand", false, online).await;
        pass(MINUTE);
        machine.sync(UnixTime::from_millis(self.now()));
        machine.suspend(2 * HOUR);
        self.hear(&mut running, 8, "slept for 2 hours", false, online).await;
        pass(MINUTE);
        self.hear(&mut running, 9, "a visit begins, and the power fails", true, online).await;
        running.stop().await;

        self.reboot(30 * MINUTE, UnixTime::from_millis(0));
        let mut running = self.start(broker);
        pass(MINUTE);
        self.hear(&mut running, 10, "second boot, never synced", false, online).await;
        running.stop().await;

        // As fake-hwclock does it: the clock begins where it was saved, forty minutes ago.
        let saved = UnixTime::from_millis(self.now() - 600_000);
        self.reboot(30 * MINUTE, saved);
        let mut running = self.start(broker);
        pass(MINUTE);
        self.hear(&mut running, 11, "third boot, from a saved clock", false, online).await;
        pass(MINUTE);
        machine.sync(UnixTime::from_millis(self.now()));
        self.hear(&mut running, 12, "synced", false, online).await;
        if !online {
            running.stop().await;
            running = self.start(last);
        }
        let all = || self.events("sensor.measured").len() >= 12 && self.visits().len() >= 4;
        eventually("everything at the platform", all).await;
        running.stop().await;
    }

    /// The true time.
    fn now(&self) -> i64 {
        self.booted + self.watch.now().as_micros() / 1000
    }

    fn reboot(&mut self, off: Duration, unix: UnixTime) {
        let now = self.now();
        self.machine.reboot();
        self.machine.set(unix);
        self.watch = self.machine.clock();
        self.booted = now + i64::try_from(off.as_millis()).unwrap();
    }

    /// The fixture is heard, and says this number; with it the tag, or a stranger.
    async fn hear(
        &mut self,
        running: &mut Running,
        number: u32,
        what: &'static str,
        tag: bool,
        online: bool,
    ) {
        let mut data = vec![2, 1, 6, 9, 0x16, 0xd2, 0xfc, 0x40, 0x3e];
        data.extend(number.to_le_bytes());
        self.seen.push((number, what, self.now()));
        running.say(FIXTURE, data).await;
        running.say(if tag { TAG } else { STRANGER }, vec![2, 1, 6]).await;
        eventually("what was said to be stamped", || running.air.capacity() == 1).await;
        // The engine shows its counts once a second, when something is heard.
        self.machine.pass(SECOND);
        running.say(STRANGER, vec![2, 1, 6]).await;
        running.heard().await;
        self.bases.push(running.basis());
        if online {
            let sent = || self.events("sensor.measured").iter().any(|it| probe(it) == Some(number));
            eventually("the event", sent).await;
        }
    }

    fn settings(&self, broker: u16) -> Settings {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        Loader::files([self.directory.path().join("gateway.toml")])
            .set("gateway.tenant", "t")
            .set("gateway.store", "s")
            .set("gateway.name", "g")
            .set("gateway.state_dir", &path("state"))
            .set("identity.registry", &path("registry.jsonl"))
            .set("outbox.commit_interval", "5ms")
            .set("health.metrics_interval", "100ms")
            .set("uplink.broker", &format!("mqtt://127.0.0.1:{broker}"))
            .set("uplink.backoff_min", "10ms")
            .set("uplink.backoff_max", "50ms")
            .load()
            .unwrap()
    }

    fn start(&self, broker: u16) -> Running {
        let (air, mut said) = mpsc::channel::<(DeviceAddress, Vec<u8>)>(1);
        let source: Source = Box::new(move |ends| {
            let SourceEnds { clock, heard, mut stop, .. } = ends;
            Box::pin(async move {
                loop {
                    let (address, data) = tokio::select! {
                        _ = stop.wait_for(|&stop| stop) => return,
                        Some(said) = said.recv() => said,
                    };
                    let (receiver, rssi) = (ReceiverId::default(), Some(Rssi(-50)));
                    let advertisement =
                        Advertisement::new(clock.now(), receiver, address, rssi, &data);
                    heard.send(Heard::Advertisement(advertisement)).await.unwrap();
                }
            })
        });
        let (requests, receiver) = mpsc::channel(1);
        let (settings, clock) = (self.settings(broker), self.machine.clock());
        let state = self.directory.path().join("state");
        // What the run before has left behind says nothing of this one.
        std::fs::remove_file(state.join("privacy.json")).ok();
        let task = tokio::spawn(gateway::run(settings, clock, source, receiver, || ()));
        Running { task, requests, air, state, received: 0 }
    }

    // --- what the platform got ---

    fn events(&self, kind: &str) -> Vec<Value> {
        let suffix = format!("/event/{}", kind.replace('.', "/"));
        let messages = self.subscriber.on(&suffix);
        messages.iter().map(|it| serde_json::from_str(&it.payload).unwrap()).collect()
    }

    /// Every event's name, in the order in which they came.
    fn names(&self) -> Vec<String> {
        let messages = self.subscriber.messages();
        let events = messages.iter().filter(|it| it.topic.contains("/event/"));
        let events = events.map(|it| serde_json::from_str(&it.payload).unwrap());
        events
            .map(|event: Value| match probe(&event) {
                Some(number) => format!("probe {number}"),
                None => kind(&event),
            })
            .collect()
    }

    /// Kind, mark and time of what was told of the tag's visits.
    fn visits(&self) -> Vec<(String, String, i64)> {
        let mut all = [self.events("visit.started"), self.events("visit.ended")].concat();
        all.sort_by_key(|it| it["sequence"].as_str().unwrap().parse::<u64>().unwrap());
        all.iter().map(|it| (kind(it), text(&it["data"]["clock"]), time(it))).collect()
    }

    fn truth(&self, number: u32) -> i64 {
        self.seen.iter().find(|seen| seen.0 == number).unwrap().2
    }

    fn print(&self, when: &str) {
        let mut table = format!(
            "\n{when}:\n| | what happened | when it was | what the event says | clock |\n|---|---|---|---|---|\n"
        );
        let events = self.events("sensor.measured");
        for (number, what, truth) in &self.seen {
            let event = events.iter().find(|it| probe(it) == Some(*number)).unwrap();
            let (time, mark) = (said(time(event)), text(&event["data"]["clock"]));
            writeln!(table, "| {number} | {what} | {} | {time} | {mark} |", said(*truth)).unwrap();
        }
        for (kind, mark, time) in self.visits() {
            writeln!(table, "| | {kind} | | {} | {mark} |", said(time)).unwrap();
        }
        println!("{table}");
    }

    /// Compares with what each event should say: its mark, and how far off it is.
    fn check(&self, expected: &[(u32, &str, i64)]) {
        let events = self.events("sensor.measured");
        assert_eq!(events.len(), expected.len(), "each once");
        let mut last = 0;
        for (event, (number, mark, off)) in events.iter().zip(expected) {
            assert_eq!(probe(event), Some(*number), "in order");
            assert_eq!(event["data"]["clock"], *mark, "{event}");
            if *off != i64::MAX {
                let wrong = time(event) - self.truth(*number) - off;
                assert!(wrong.abs() < EXACT, "{number} is off by {wrong} ms");
            }
            let sequence = event["sequence"].as_str().unwrap().parse::<u64>().unwrap();
            assert!(sequence > last, "sequences never go back, whatever times do");
            last = sequence;
        }
    }
}

impl Running {
    async fn say(&mut self, address: &str, data: Vec<u8>) {
        let octets = parse_octets(address).unwrap();
        let address = DeviceAddress::new(octets, AddressKind::Random);
        self.received += 1;
        self.air.send((address, data)).await.unwrap();
    }

    /// Waits until the engine has heard all that was said.
    async fn heard(&self) {
        let received = || self.counter("engine", "received").as_u64() == Some(self.received);
        eventually("what was said to be heard", received).await;
    }

    fn basis(&self) -> String {
        text(&self.counter("clock", "basis"))
    }

    fn counter(&self, room: &str, name: &str) -> Value {
        let status = Status::read(&self.state).unwrap();
        status.map_or(Value::Null, |it| it.counters[room][name].clone())
    }

    async fn stop(self) {
        self.requests.send(Request::Stop).await.unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn kind(event: &Value) -> String {
    let kind = event["type"].as_str().unwrap();
    kind.trim_start_matches("io.beacon-gateway.").trim_end_matches(".v1").to_owned()
}

/// The number that the fixture said.
fn probe(event: &Value) -> Option<u32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a u32")]
    event["data"]["readings"][0]["value"].as_f64().map(|value| value as u32)
}

fn time(event: &Value) -> i64 {
    let time: jiff::Timestamp = event["time"].as_str().unwrap().parse().unwrap();
    time.as_millisecond()
}

fn said(millis: i64) -> String {
    utc(UnixTime::from_millis(millis))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

//! The room with everything around it: a corridor that keeps what it is told, and a platform.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use std::sync::{Arc, Mutex};

use beacon_gateway::{
    clock::Clock,
    command::{
        Answer, Carried, Change, Command, Counters, Done, Errand, NotCarried, Numbers, Order,
        Reason, Settings, Standing, Task, Totals,
    },
    engine::{ClockQuality, Pseudonym, Subject, WallClock},
    outbox::Sequence,
    uplink::{Access, Protocol, RegistryTopic, Topic},
};
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::support::{
    DEADLINE, eventually,
    publisher::Publisher,
    rig::{settings, topics},
    signer::Signer,
    subscriber::{Message, Subscriber},
};

/// What the corridor saw, and what outlives the room: a restart is a new rig with the same one.
#[derive(Clone, Default)]
pub(crate) struct Corridor(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    standing: Standing,
    happened: Vec<Happened>,
}

/// What happened, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Happened {
    /// An order came: its number, and what is to be done.
    Ordered(u64, String),
    /// The gate was opened or closed.
    Gate(bool),
}

/// What the corridor does with orders.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mood {
    /// Carries them out.
    Willing,
    /// Takes its time, until it is in another mood.
    Slow,
    /// Cannot.
    Failing,
}

/// A running room.
pub(crate) struct Rig {
    pub(crate) corridor: Corridor,
    pub(crate) mood: watch::Sender<Mood>,
    pub(crate) synced: watch::Sender<bool>,
    counters: Arc<Counters>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Totals>,
    tasks: Vec<JoinHandle<()>>,
}

/// The platform: a key, a connection that publishes, and one that listens to results.
pub(crate) struct Platform {
    pub(crate) signer: Signer,
    pub(crate) publisher: Publisher,
    results: Subscriber,
}

// === impl Corridor ===

impl Corridor {
    pub(crate) fn with(standing: Standing) -> Self {
        let corridor = Self::default();
        corridor.0.lock().unwrap().standing = standing;
        corridor
    }

    pub(crate) fn standing(&self) -> Standing {
        self.0.lock().unwrap().standing
    }

    pub(crate) fn happened(&self) -> Vec<Happened> {
        self.0.lock().unwrap().happened.clone()
    }

    /// The orders so far, without their numbers.
    pub(crate) fn orders(&self) -> Vec<String> {
        let ordered = |it| match it {
            Happened::Ordered(_, what) => Some(what),
            Happened::Gate(_) => None,
        };
        self.happened().into_iter().filter_map(ordered).collect()
    }

    fn note(&self, happened: Happened) {
        self.0.lock().unwrap().happened.push(happened);
    }

    async fn serve(self, mut orders: mpsc::Receiver<Order>, mut mood: watch::Receiver<Mood>) {
        while let Some(order) = orders.recv().await {
            self.note(Happened::Ordered(order.number, describe(&order.task)));
            let Ok(mood) = mood.wait_for(|mood| *mood != Mood::Slow).await.map(|mood| *mood) else {
                return;
            };
            let reply = match (mood, order.task) {
                (Mood::Failing, Task::Change(_)) => Err(NotCarried("the disk is full".to_owned())),
                (Mood::Failing, Task::Errand(_)) => Ok(Done::Refused(Reason::Unavailable)),
                (Mood::Willing | Mood::Slow, task) => {
                    self.0.lock().unwrap().standing = order.standing;
                    Ok(match task {
                        Task::Change(_) => {
                            Done::Changed(Carried { added: 1, ..Carried::default() })
                        }
                        Task::Errand(errand) => Done::Answered(answer(errand)),
                    })
                }
            };
            // A room that was stopped meanwhile does not listen any more.
            order.reply.send(reply).ok();
        }
    }
}

/// Says that it found the even numbers below a thousand.
fn answer(errand: Errand) -> Answer {
    let Errand { from, to, .. } = errand;
    let even = (0..500).map(|n| Sequence(2 * n)).collect();
    let numbers = vec![("held", Numbers::Which(even)), ("brought_back", Numbers::Count(7))];
    Answer { epoch: 3, first: Sequence(1), last: Sequence(998), from, to, numbers }
}

fn describe(task: &Task) -> String {
    let names = |names: Vec<&Pseudonym>| {
        names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let subjects = |subjects: &[Subject]| names(subjects.iter().map(|it| &it.pseudonym).collect());
    let change = match task {
        Task::Change(change) => change,
        Task::Errand(Errand { name, from, to, .. }) => {
            return format!("{} {} {}", name.word(), from.0, to.0);
        }
    };
    match change {
        Change::Upsert(new) => format!("upsert {}", subjects(new)),
        Change::Withdraw(gone) => format!("withdraw {}", names(gone.iter().collect())),
        Change::Replace { subjects: all, .. } => format!("replace {}", subjects(all)),
        Change::Withdrawn(list) => {
            format!("withdrawn {}", names(list.iter().map(|it| &it.subject).collect()))
        }
    }
}

// === impl Rig ===

impl Rig {
    /// Starts a room that trusts this key.
    pub(crate) fn start(
        protocol: Protocol,
        port: u16,
        signer: &Signer,
        corridor: &Corridor,
    ) -> Self {
        let trusted_keys = vec![signer.trusted()];
        Self::start_with(protocol, port, Settings { trusted_keys, ..Settings::default() }, corridor)
    }

    pub(crate) fn start_with(
        protocol: Protocol,
        port: u16,
        command: Settings,
        corridor: &Corridor,
    ) -> Self {
        Self::start_over(settings(protocol, port), command, corridor)
    }

    /// Starts a room that goes to the broker in this way.
    pub(crate) fn start_over(
        uplink: beacon_gateway::uplink::Settings,
        command: Settings,
        corridor: &Corridor,
    ) -> Self {
        Self::start_by(Clock::start(), uplink, command, corridor)
    }

    /// Starts a room that goes by this clock.
    pub(crate) fn start_by(
        clock: Clock,
        uplink: beacon_gateway::uplink::Settings,
        command: Settings,
        corridor: &Corridor,
    ) -> Self {
        let (orders, orders_rx) = mpsc::channel(1);
        let (mood, mood_rx) = watch::channel(Mood::Willing);
        let (caught_up, mut gate) = watch::channel(false);
        let (synced, synced_rx) = watch::channel(true);
        let (stop, stop_rx) = oneshot::channel();
        let counters = Arc::<Counters>::default();
        let mut random = fastrand::Rng::with_seed(7);
        let room = Command {
            settings: command,
            access: Access::load(&uplink, None).unwrap(),
            uplink,
            credentials: None,
            client_id: "beacon-gateway-acme-berlin-03-gw1".to_owned(),
            topics: topics(),
            standing: corridor.standing(),
            orders,
            caught_up,
            counters: Arc::clone(&counters),
            clock,
            wall: Box::new(move || {
                let synced = *synced_rx.borrow();
                let quality = if synced { ClockQuality::Synced } else { ClockQuality::Unsynced };
                WallClock { quality, ..clock.wall() }
            }),
            chance: Box::new(move || random.f64()),
        };
        let watcher = corridor.clone();
        let watching = tokio::spawn(async move {
            while gate.changed().await.is_ok() {
                let open = *gate.borrow_and_update();
                watcher.note(Happened::Gate(open));
            }
        });
        let serving = tokio::spawn(corridor.clone().serve(orders_rx, mood_rx));
        let task = tokio::spawn(beacon_gateway::command::run(room, stop_rx));
        let tasks = vec![watching, serving];
        Self { corridor: corridor.clone(), mood, synced, counters, stop, task, tasks }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.counters.totals()
    }

    /// Waits until the gate is open.
    pub(crate) async fn caught_up(&self) {
        eventually("an open gate", || self.gate()).await;
    }

    /// Whether the gate is open.
    pub(crate) fn gate(&self) -> bool {
        let last = self.corridor.happened().into_iter().rev();
        last.into_iter().find_map(|it| match it {
            Happened::Gate(open) => Some(open),
            Happened::Ordered(..) => None,
        }) == Some(true)
    }

    /// Waits until so many orders came.
    pub(crate) async fn ordered(&self, count: usize) {
        eventually("orders", || self.corridor.orders().len() >= count).await;
    }

    /// Tells it to stop and waits for its totals, and until everything was seen of it.
    pub(crate) async fn stop(self) -> Totals {
        drop((self.stop, self.mood));
        let totals = tokio::time::timeout(DEADLINE, self.task).await.unwrap().unwrap();
        for task in self.tasks {
            tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
        }
        totals
    }

    /// Drops it in the middle of whatever it does, as a crash would.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        for task in self.tasks {
            task.abort();
            task.await.ok();
        }
    }
}

// === impl Platform ===

impl Platform {
    pub(crate) async fn at(port: u16) -> Self {
        let filter = "beacon/v1/acme/berlin-03/gw1/command-result/+";
        Self {
            signer: Signer::new("platform-1", 1),
            publisher: Publisher::new(port),
            results: Subscriber::start(Protocol::V5, port, filter).await,
        }
    }

    /// Publishes on a topic of the registry.
    pub(crate) async fn tell(&mut self, topic: RegistryTopic, payload: &[u8]) {
        self.publisher.publish(&topics().spell_registry(topic), payload).await;
    }

    /// Publishes a command to the gateway, of this number.
    pub(crate) async fn ask(&mut self, name: &str, number: u64, body: &Value) {
        let mut claims = Signer::claims(name, number, body);
        let aud = topics().gateway_address().into();
        claims.as_object_mut().unwrap().insert("aud".to_owned(), aud);
        let payload = self.signer.sign(&claims);
        self.publisher.publish(&topics().spell(Topic::Command(name)), &payload).await;
    }

    /// Publishes there, retained.
    pub(crate) async fn retain(&mut self, topic: RegistryTopic, payload: &[u8]) {
        self.publisher.retain(&topics().spell_registry(topic), payload).await;
    }

    /// What was said about commands so far, as JSON.
    pub(crate) fn results(&self) -> Vec<Value> {
        let parse = |message: &Message| serde_json::from_str(&message.payload).unwrap();
        self.results.look(|messages| messages.iter().map(parse).collect())
    }

    /// Waits for a result with these values, and returns it.
    pub(crate) async fn result(&self, expected: &[(&str, Value)]) -> Value {
        let fits =
            |result: &Value| expected.iter().all(|(key, value)| result.get(key) == Some(value));
        let mut found = None;
        eventually(&format!("{expected:?}"), || {
            found = self.results().into_iter().find(fits);
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// The topics on which something was said.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.results.look(|messages| messages.iter().map(|it| it.topic.clone()).collect())
    }
}

/// The topic of a result.
pub(crate) fn result_topic(name: &str) -> String {
    topics().spell(Topic::CommandResult(name))
}

/// Both versions of the protocol.
pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::V5, Protocol::V311];

//! An uplink with everything around it, between a memory outbox and whatever listens on a port.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use std::{sync::Arc, time::Duration};

use beacon_gateway::{
    clock::Clock,
    outbox::{Stored, Tag},
    settings::Span,
    uplink::{
        self, Access, BrokerUrl, Counters, Courier, Dispatch, Documents, LinkState, Protocol,
        Replay, Settings, Topic, Topics, Totals, Uplink,
    },
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    eventually,
    memory_outbox::{Ends, MemoryOutbox},
};

pub(crate) const ONLINE: &str = r#"{"state":"online"}"#;
pub(crate) const VANISHED: &str = r#"{"state":"offline","clean":false}"#;
pub(crate) const STOPPED: &str = r#"{"state":"offline","clean":true}"#;

/// A running uplink, seen from outside.
pub(crate) struct Rig {
    pub(crate) outbox: MemoryOutbox,
    pub(crate) state: watch::Sender<Vec<u8>>,
    pub(crate) metrics: watch::Sender<Vec<u8>>,
    /// Changes when the courier should look anew.
    pub(crate) reconsider: watch::Sender<()>,
    /// Takes what is to be sent again.
    pub(crate) replay: mpsc::Sender<Replay>,
    /// Changes when dead letters were brought back.
    pub(crate) brought_back: watch::Sender<u64>,
    pub(crate) link: watch::Receiver<LinkState>,
    pub(crate) counters: Arc<Counters>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Totals>,
}

/// Settings for a broker on a port of this machine, with delays a test can wait for.
pub(crate) fn settings(protocol: Protocol, port: u16) -> Settings {
    Settings {
        broker: BrokerUrl::new(format!("mqtt://127.0.0.1:{port}")),
        protocol,
        backoff_min: Span::millis(10),
        backoff_max: Span::millis(50),
        ..Settings::default()
    }
}

pub(crate) fn topics() -> Topics {
    Topics::new("acme".parse().unwrap(), "berlin-03".parse().unwrap(), "gw1".parse().unwrap())
}

/// Publishes a record's bytes as they are.
pub(crate) fn verbatim() -> impl Courier + 'static {
    let topic = topics().spell(Topic::Event { family: "zone", kind: "entered" });
    move |stored: &Stored| Dispatch::Publish {
        topic: topic.clone(),
        payload: stored.bytes.clone(),
        content_type: "application/cloudevents+json",
        user_properties: vec![("tenant".to_owned(), "acme".to_owned())],
        expiry: Some(Duration::from_hours(1)),
    }
}

/// Numbered records of 400 bytes, beginning with their number.
pub(crate) fn numbered(numbers: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = Vec<u8>> {
    numbers.map(|number| {
        let mut record = format!("{number} ").into_bytes();
        record.resize(400, b'.');
        record
    })
}

/// The same about so many subjects in turn.
pub(crate) fn about(
    subjects: u64,
    numbers: std::ops::RangeInclusive<u64>,
) -> impl Iterator<Item = (Option<Tag>, Vec<u8>)> {
    let tags = numbers.clone().map(move |number| Some(Tag(number % subjects)));
    tags.zip(numbered(numbers))
}

/// The number a record begins with.
pub(crate) fn number(payload: &str) -> u64 {
    payload.split(' ').next().unwrap().parse().unwrap()
}

impl Rig {
    /// Starts an uplink that publishes records as they are.
    pub(crate) fn start(settings: Settings) -> Self {
        Self::start_with(settings, verbatim())
    }

    /// Starts an uplink with this courier.
    pub(crate) fn start_with(settings: Settings, courier: impl Courier + 'static) -> Self {
        let (outbox, Ends { requests, durable }) = MemoryOutbox::start();
        let (state, state_receiver) = watch::channel(ONLINE.into());
        let (metrics, metrics_receiver) = watch::channel(Vec::new());
        let (link_sender, link) = watch::channel(LinkState::default());
        let (reconsider, reconsider_receiver) = watch::channel(());
        let (replay, replays) = mpsc::channel(4);
        let (brought_back, brought_back_receiver) = watch::channel(0);
        let (stop, stop_receiver) = oneshot::channel();
        let counters = Arc::<Counters>::default();
        let mut random = fastrand::Rng::with_seed(7);
        let uplink = Uplink {
            access: Access::load(&settings, None).unwrap(),
            settings,
            credentials: None,
            client_id: "beacon-gateway-acme-berlin-03-gw1".to_owned(),
            topics: topics(),
            courier,
            outbox: requests,
            durable,
            reconsider: reconsider_receiver,
            replays,
            brought_back: brought_back_receiver,
            documents: Documents {
                state: state_receiver,
                vanished: VANISHED.into(),
                stopped: STOPPED.into(),
                metrics: metrics_receiver,
            },
            link: link_sender,
            counters: Arc::clone(&counters),
            clock: Clock::start(),
            chance: Box::new(move || random.f64()),
        };
        let task = tokio::spawn(uplink::run(uplink, stop_receiver));
        Self {
            outbox,
            state,
            metrics,
            reconsider,
            replay,
            brought_back,
            link,
            counters,
            stop,
            task,
        }
    }

    pub(crate) async fn online(&mut self) {
        self.until_link("online", LinkState::is_online).await;
    }

    /// Waits until the link is down, and says why it is.
    pub(crate) async fn offline(&mut self) -> String {
        self.until_link("offline", |link| matches!(link, LinkState::Offline { .. })).await;
        match &*self.link.borrow() {
            LinkState::Offline { why, .. } => why.clone(),
            link => panic!("{link:?}"),
        }
    }

    async fn until_link(&mut self, what: &str, mut is: impl FnMut(&LinkState) -> bool) {
        let wait = self.link.wait_for(|link| is(link));
        let reached = tokio::time::timeout(super::DEADLINE, wait).await;
        assert!(matches!(reached, Ok(Ok(_))), "the link is not {what}");
    }

    pub(crate) async fn delivered(&self) {
        eventually("an empty outbox", || self.outbox.pending() == 0).await;
    }

    pub(crate) fn totals(&self) -> Totals {
        self.counters.totals()
    }

    /// Tells it to stop and waits for its totals. What is seen of it is given back with them.
    pub(crate) async fn stop(self) -> (Totals, MemoryOutbox) {
        let Self { outbox, stop, task, state, metrics, reconsider, replay, brought_back, .. } =
            self;
        drop(stop);
        let totals = tokio::time::timeout(super::DEADLINE, task).await.unwrap().unwrap();
        drop((state, metrics, reconsider, replay, brought_back));
        (totals, outbox)
    }

    /// Drops it in the middle of whatever it does, as a crash would.
    pub(crate) async fn crash(self) -> MemoryOutbox {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        self.outbox
    }
}

/// Waits until the link is down for a reason that contains this.
pub(crate) async fn offline_because(rig: &mut Rig, reason: &str) {
    let is_it =
        |link: &LinkState| matches!(link, LinkState::Offline { why, .. } if why.contains(reason));
    rig.until_link(reason, is_it).await;
}

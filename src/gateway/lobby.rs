//! Where the gateway waits when the disk is away as it starts: it cannot know who is enrolled, nor
//! under which numbers to speak, so nothing is heard; but it says why, to the platform and to
//! systemd, and goes in by itself once the disk is there.

use std::{path::PathBuf, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::{debug, error, info};

use super::{
    GatewayError, Request, Store, chain,
    enrolment::{Enrolled, Keeper, StoreWork},
    house, open_store, report,
};
use crate::{
    clock::Clock,
    forget, health,
    outbox::{DiskState, Patience, Read, Stored, record::RunId},
    settings::Settings,
    uplink::{self, Access, Dispatch, Documents, LinkState, Replay, Uplink},
};

/// What everything else is built on.
pub(super) struct Stage {
    pub(super) keeper: Keeper,
    pub(super) enrolled: Enrolled,
    pub(super) store: Store,
}

/// Where the gateway waits for its disk.
pub(super) struct Lobby<'a> {
    settings: &'a Settings,
    clock: Clock,
    run: RunId,
    access: Access,
    credentials: Option<PathBuf>,
    store_work: StoreWork,
    started: String,
}

/// An uplink that says why nothing else is said.
struct Herald {
    state: watch::Sender<Vec<u8>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<uplink::Totals>,
    /// Nobody asks anything, as there is nothing to read, nor to send again.
    _reads: mpsc::Receiver<Read>,
    _replays: mpsc::Sender<Replay>,
}

impl<'a> Lobby<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        clock: Clock,
        run: RunId,
        (access, credentials): (Access, Option<PathBuf>),
        store_work: StoreWork,
    ) -> Self {
        let started = uplink::payload::utc(clock.wall().unix);
        Self { settings, clock, run, access, credentials, store_work, started }
    }

    /// Goes in at once, as a rule; waits as long as the disk is away. `None` when asked to stop.
    pub(super) async fn enter(
        &self,
        requests: &mut mpsc::Receiver<Request>,
        ready: &mut Option<impl FnOnce()>,
    ) -> Result<Option<Stage>, GatewayError> {
        let mut disk = match self.look().await {
            Ok(stage) => return Ok(Some(stage)),
            Err(error) => away(error)?,
        };
        // It runs, if only to wait: systemd need not start it again and again.
        if let Some(ready) = ready.take() {
            ready();
        }
        let herald = self.herald(disk)?;
        let mut patience = Patience::default();
        let watched = health::watchdog_interval().unwrap_or(super::office::UNWATCHED);
        let mut watchdog = tokio::time::interval(watched);
        let mut again = self.clock.now() + patience.failed(fastrand::f64());
        let stage = loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(Request::Reload) => {}
                    Some(Request::Stop) | None => break None,
                },
                _ = watchdog.tick() => {
                    health::alive();
                    health::status(&format!("Waiting for the disk: {disk}."));
                }
                () = tokio::time::sleep_until(self.clock.instant(again)) => {
                    match self.look().await {
                        Ok(stage) => break Some(stage),
                        Err(error) => disk = away_still(error)?,
                    }
                    herald.state.send_replace(self.state(disk));
                    again = self.clock.now() + patience.failed(fastrand::f64());
                }
            }
        };
        // The same client will connect again.
        drop(herald.stop);
        drop(herald.task.await);
        if stage.is_some() {
            info!("The disk is there; the gateway starts.");
        }
        Ok(stage)
    }

    /// Opens all that lies on the disk.
    async fn look(&self) -> Result<Stage, GatewayError> {
        let credentials = self.credentials.as_deref();
        let mut keeper = Keeper::new(self.settings, credentials, self.clock, self.store_work)?;
        let enrolled = keeper.read()?;
        forget::burn_stack();
        let store = open_store(self.settings, self.clock, self.run).await?;
        Ok(Stage { keeper, enrolled, store })
    }

    fn state(&self, disk: DiskState) -> Vec<u8> {
        let (wall, account) = (self.clock.wall(), self.clock.account());
        report::waiting((&wall, &account), &self.started, disk)
    }

    fn herald(&self, disk: DiskState) -> Result<Herald, GatewayError> {
        let (state, state_rx) = watch::channel(self.state(disk));
        let (_metrics, metrics) = watch::channel(Vec::new());
        let (_durable, durable) = watch::channel(None);
        let (_reconsider, reconsider) = watch::channel(());
        let (link, _link) = watch::channel(LinkState::default());
        let (outbox, reads) = mpsc::channel(1);
        let (replays_tx, replays) = mpsc::channel(1);
        let (_brought_back, brought_back) = watch::channel(0);
        let (stop, stop_rx) = oneshot::channel();
        let uplink = Uplink {
            settings: self.settings.uplink.clone(),
            access: self.access.clone(),
            credentials: self.credentials.clone(),
            client_id: house::client_id(self.settings),
            topics: self.settings.topics()?,
            courier: |_: &Stored| Dispatch::Later,
            outbox,
            replays,
            brought_back,
            durable,
            reconsider,
            documents: Documents {
                state: state_rx,
                vanished: report::offline(false),
                stopped: report::offline(true),
                metrics,
            },
            link,
            counters: Arc::default(),
            clock: self.clock,
            chance: Box::new(fastrand::f64),
        };
        let task = tokio::spawn(uplink::run(uplink, stop_rx));
        Ok(Herald { state, stop, task, _reads: reads, _replays: replays_tx })
    }
}

/// What an error says of the disk; any other error ends it all.
fn away(error: GatewayError) -> Result<DiskState, GatewayError> {
    let Some(disk) = DiskState::of(&error) else { return Err(error) };
    let why = chain(&error);
    error!(why, %disk, "The disk is away; the gateway waits for it, and hears nothing meanwhile.");
    Ok(disk)
}

fn away_still(error: GatewayError) -> Result<DiskState, GatewayError> {
    let Some(disk) = DiskState::of(&error) else { return Err(error) };
    debug!(why = chain(&error), %disk, "The disk is still away.");
    Ok(disk)
}

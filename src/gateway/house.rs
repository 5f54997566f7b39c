//! What is known about the gateway as a whole: what it is made of, and what it says about itself.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use super::{
    GatewayError, Pulse,
    consent::Ledger,
    courier::ConsentingCourier,
    enrolment::Enrolled,
    identity,
    pair::Pair,
    report::{self, Report, Wear},
    with_footfall,
};
use crate::{
    checkpoint::{self, Restored, fixture::Fixtures},
    clock::Clock,
    command::{self, Command},
    discovery::{self, Discovery, DiscoveryCounters},
    engine::{Engine, Fixture, Registry, VisitId, WallClock},
    outbox::{
        self, Opening, Read, Sequence,
        record::{Body, Record, RunId, Started},
    },
    relay::{Relay, RelayCounters, Run},
    remote::{Remote, RemoteCounters},
    scan::ScanCounters,
    settings::{GatewaySettings, Invalid, Role, Settings},
    standby::{Message, Names, Part, Partner, Standby, StandbyCounters, Terms, Word},
    timeline::Timeline,
    uplink::{self, Access, Documents, LinkState, Replay, Uplink, payload::Origin},
};

/// What is known about the gateway as a whole.
pub(super) struct House {
    pub(super) clock: Clock,
    pub(super) run: RunId,
    /// What is known of this run's clocks, and of those of earlier runs.
    pub(super) timeline: Timeline,
    /// The wall clock when the gateway started.
    pub(super) wall: WallClock,
    /// The last sequence that was in the store when it was opened.
    pub(super) first_sequence: u64,
    /// Who is enrolled now.
    pub(super) ledger: Ledger,
    pub(super) fixtures: usize,
    pub(super) settings: Settings,
    pub(super) opening: Opening,
    pub(super) status: watch::Receiver<outbox::Status>,
    pub(super) scan: Arc<ScanCounters>,
    pub(super) uplink: Arc<uplink::Counters>,
    pub(super) command: Arc<command::Counters>,
    pub(super) relay: Arc<RelayCounters>,
    pub(super) standby: Arc<StandbyCounters>,
    pub(super) discovery: Arc<DiscoveryCounters>,
    pub(super) caught_up: watch::Receiver<bool>,
}

/// What ties the uplink to the other rooms.
pub(super) struct UplinkEnds {
    pub(super) outbox: mpsc::Sender<Read>,
    pub(super) durable: watch::Receiver<Option<Sequence>>,
    pub(super) reconsider: watch::Receiver<()>,
    pub(super) replays: mpsc::Receiver<Replay>,
    pub(super) brought_back: watch::Receiver<u64>,
    pub(super) state: watch::Receiver<Vec<u8>>,
    pub(super) metrics: watch::Receiver<Vec<u8>>,
    pub(super) link: watch::Sender<LinkState>,
}

/// What it takes to be let in by the broker, and where to look for it anew.
type Entry = (Access, Option<PathBuf>);

// === impl House ===

impl House {
    pub(super) fn new(
        (clock, run): (Clock, RunId),
        settings: Settings,
        enrolled: &Enrolled,
        caught_up: watch::Receiver<bool>,
        (opening, status): (Opening, watch::Receiver<outbox::Status>),
    ) -> Self {
        let mut timeline = Timeline::of(&opening.kept);
        if let Some(newest) = timeline.newest() {
            clock.not_before(newest);
        }
        timeline.begin(run, clock.boot(), clock.booted());
        if let Some(anchor) = timeline.recalled() {
            clock.recall(anchor);
        }
        timeline.note(&clock.account());
        Self {
            clock,
            run,
            timeline,
            wall: clock.wall(),
            first_sequence: opening.last.map_or(0, |sequence| sequence.0),
            ledger: Ledger::new(enrolled.ledger()),
            fixtures: enrolled.registry.fixture_count(),
            scan: Arc::new(scan_counters(&settings)),
            settings,
            opening,
            status,
            uplink: Arc::default(),
            command: Arc::default(),
            relay: Arc::default(),
            standby: Arc::default(),
            discovery: Arc::default(),
            caught_up,
        }
    }

    /// The engine, with the visits that were open when the gateway last stopped.
    pub(super) fn engine(&self, registry: Registry, restored: Vec<Restored>) -> Engine {
        let next_visit = VisitId { epoch: self.opening.epoch, run: self.first_sequence, number: 1 };
        let identity = identity(&self.settings, registry);
        let mut presence = self.settings.presence();
        let is_receiver = self.settings.gateway.role == Role::Receiver;
        if is_receiver {
            // It makes no visits, so what it had open when it was no receiver is over.
            presence.resume_within = Duration::ZERO;
        }
        let engine = Engine::new(identity, presence, next_visit);
        let mut engine = with_footfall(&self.settings, engine);
        engine.handle_clock(self.wall);
        let visits = restored.into_iter().map(|Restored { subject, visit, .. }| (subject, visit));
        engine.handle_restored(self.clock.now(), visits.collect());
        if !is_receiver {
            engine.handle_remembered(self.clock.now(), self.remembered().remembered);
        }
        engine
    }

    /// The visits that were open when the gateway last stopped.
    pub(super) fn restored(&self) -> Vec<Restored> {
        let known = (&self.timeline, self.run);
        let within = self.settings.presence.resume_within.0;
        let kept = self.opening.kept.iter();
        kept.filter_map(|kept| {
            checkpoint::restore(&kept.slot, &kept.value, known, &self.wall, within)
        })
        .collect()
    }

    /// What is remembered of fixtures.
    pub(super) fn remembered(&self) -> Fixtures {
        let known = (&self.timeline, self.run);
        checkpoint::fixture::restore(&self.opening.kept, known, &self.wall)
    }

    /// What the gateway says first.
    pub(super) fn first_records(&self, restored: &[Restored]) -> Vec<Record> {
        let started = Started {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: match (&self.opening.quarantined, self.first_sequence) {
                (Some(_), _) => "quarantined",
                (None, 0) => "new",
                (None, _) => "resumed",
            }
            .to_owned(),
            pending: self.opening.pending.records,
            visits_restored: u32::try_from(restored.len()).unwrap_or(u32::MAX),
        };
        vec![Record::new(Body::Started(started), self.clock.now(), self.run, &self.wall)]
    }

    /// Who is speaking.
    pub(super) fn origin(&self) -> Result<Origin, Invalid> {
        let gateway = &self.settings.gateway;
        let historical_after = self.settings.uplink.historical_after.0.as_millis();
        Ok(Origin {
            tenant: gateway.tenant.clone(),
            store: gateway.store.clone(),
            gateway: gateway.name.clone(),
            epoch: self.opening.epoch,
            run: self.run,
            timeline: self.timeline.clone(),
            time_zone: self.settings.time_zone()?,
            opening_hours: self.settings.opening_hours()?,
            historical_after_ms: i64::try_from(historical_after).unwrap_or(i64::MAX),
        })
    }

    /// The room that hears by way of brokers.
    pub(super) fn remote(&self, credentials: Option<&Path>) -> Result<Remote, GatewayError> {
        let groups = self.settings.remote_groups(credentials);
        let client_id = client_id(&self.settings);
        let remote = Remote::load(groups, credentials, &client_id, &self.scan.remotes, self.clock)?;
        Ok(remote.unsealing(&self.settings.remote, credentials)?)
    }

    /// The room that tells the lead, in a receiver.
    pub(super) fn relay(&self, credentials: Option<&Path>) -> Result<Option<Relay>, GatewayError> {
        if self.settings.gateway.role != Role::Receiver {
            return Ok(None);
        }
        let (settings, uplink) = (&self.settings.relay, &self.settings.uplink);
        let client_id = client_id(&self.settings);
        let names = (client_id.as_str(), self.settings.topics()?);
        let counters = Arc::clone(&self.relay);
        Ok(Some(Relay::load(settings, uplink, credentials, names, self.clock, counters)?))
    }

    /// The room that hears and tells the other gateway of a pair, where there is one.
    pub(super) fn standby(
        &self,
        credentials: Option<&Path>,
    ) -> Result<Option<Standby>, GatewayError> {
        let (settings, uplink) = (&self.settings.standby, &self.settings.uplink);
        if !settings.is_on() {
            return Ok(None);
        }
        let client_id = client_id(&self.settings);
        let names = (client_id.as_str(), self.settings.topics()?, self.settings.peer_topics()?);
        let counters = Arc::clone(&self.standby);
        Ok(Some(Standby::load(settings, uplink, credentials, names, self.clock, counters)?))
    }

    /// The room that tells Home Assistant of the fixtures, or takes back what it told.
    pub(super) fn discovery(
        &self,
        credentials: Option<&Path>,
    ) -> Result<Option<Discovery>, GatewayError> {
        let settings = &self.settings;
        let place = |fixture: Fixture| discovery::Place {
            zone: fixture.zone.map(|zone| zone.as_str().to_owned()),
            rules: fixture.report.alerts.iter().map(|rule| rule.id.to_string()).collect(),
            id: fixture.id,
        };
        let subject = discovery::Subject {
            on: settings.discovery.home_assistant,
            names: settings.discovery_names()?,
            places: settings.fixtures()?.into_iter().map(place).collect(),
            state_dir: &settings.gateway.state_dir,
        };
        let (client_id, counters) = (client_id(settings), Arc::clone(&self.discovery));
        let uplink = &settings.uplink;
        Ok(Discovery::load(subject, uplink, credentials, &client_id, self.clock, counters)?)
    }

    /// The engine's end of the way there.
    pub(super) fn pair(
        &self,
        left_over: Vec<Restored>,
        (words, out): (mpsc::Receiver<Word>, mpsc::Sender<Message>),
    ) -> Pair {
        let (gateway, standby) = (&self.settings.gateway, &self.settings.standby);
        let part = if gateway.role == Role::Standby { Part::Standby } else { Part::Lead };
        let terms = Terms {
            takeover_after: standby.takeover_after.0,
            return_after: standby.return_after.0,
        };
        let names = Names {
            store: gateway.store.clone(),
            me: Arc::from(gateway.name.as_str()),
            peer: Arc::from(standby.peer.as_str()),
            private: self.settings.presence().private.zones,
        };
        let left_over = left_over.into_iter().map(|it| (it.subject, it.visit)).collect();
        let (now, runs) = (self.clock.now(), (self.run, self.mark()));
        let partner = Partner::new((part, terms), names, runs, left_over, now);
        let (clock, outbox) = (self.clock, self.status.clone());
        Pair { partner, clock, words, out, outbox, looked: now }
    }

    /// This start, as other gateways tell it from earlier ones.
    pub(super) fn mark(&self) -> Run {
        Run { epoch: self.opening.epoch, sequence: self.first_sequence, mark: self.run.0 }
    }

    /// The room that takes the platform's commands.
    pub(super) fn command(
        &self,
        (access, credentials): Entry,
        standing: command::Standing,
        orders: mpsc::Sender<command::Order>,
        caught_up: watch::Sender<bool>,
    ) -> Result<Command, Invalid> {
        let clock = self.clock;
        Ok(Command {
            settings: self.settings.command.clone(),
            uplink: self.settings.uplink.clone(),
            access,
            credentials,
            client_id: client_id(&self.settings),
            topics: self.settings.topics()?,
            standing,
            orders,
            caught_up,
            counters: Arc::clone(&self.command),
            clock,
            wall: Box::new(move || clock.wall()),
            chance: Box::new(fastrand::f64),
        })
    }

    /// The room that forwards.
    pub(super) fn uplink(
        &self,
        (access, credentials): Entry,
        ends: UplinkEnds,
    ) -> Result<Uplink<ConsentingCourier>, Invalid> {
        Ok(Uplink {
            settings: self.settings.uplink.clone(),
            access,
            credentials,
            client_id: client_id(&self.settings),
            topics: self.settings.topics()?,
            courier: self.courier()?,
            outbox: ends.outbox,
            durable: ends.durable,
            reconsider: ends.reconsider,
            replays: ends.replays,
            brought_back: ends.brought_back,
            documents: Documents {
                state: ends.state,
                vanished: report::offline(false),
                stopped: report::offline(true),
                metrics: ends.metrics,
            },
            link: ends.link,
            counters: Arc::clone(&self.uplink),
            clock: self.clock,
            chance: Box::new(fastrand::f64),
        })
    }

    fn courier(&self) -> Result<ConsentingCourier, Invalid> {
        let caught_up = self.caught_up.clone();
        let names = (self.origin()?, self.settings.topics()?);
        let expiry = Some(self.settings.uplink.moment_expiry.0).filter(|expiry| !expiry.is_zero());
        Ok(ConsentingCourier::new(names, self.ledger.clone(), self.clock, caught_up, expiry))
    }

    /// When the gateway was started, by what is known of the clock now.
    fn started(&self) -> String {
        let wall = self.clock.wall();
        uplink::payload::utc(wall.unix_at(self.wall.at))
    }

    pub(super) fn report(&self, pulse: Pulse) -> Report<'_> {
        Report {
            wall: self.clock.wall(),
            clock: self.clock.account(),
            started: self.started(),
            pulse,
            outbox: *self.status.borrow(),
            uplink: self.uplink.totals(),
            uplink_line: self.uplink.line(),
            scan: &self.scan,
            role: self.settings.gateway.role,
            relay: self.relay.totals(),
            standby: self.standby.totals(),
            discovery: self.discovery.totals(),
            peer: &self.settings.standby.peer,
            enrolled: self.ledger.read().count(),
            registry_lost: self.ledger.read().is_lost(),
            command: self.command.totals(),
            caught_up: (!self.settings.command.is_off()).then(|| *self.caught_up.borrow()),
            fixtures: self.fixtures,
            quarantined: self.opening.quarantined.as_ref().map(|old| old.why.as_str()),
            wear: Wear { endurance: self.settings.outbox.card_endurance.0 },
        }
    }
}

/// Counters for every receiver.
pub(crate) fn scan_counters(settings: &Settings) -> ScanCounters {
    let remotes = settings.remote.iter().filter_map(|remote| {
        // One without a format was refused when the configuration was read.
        Some(RemoteCounters::new(remote.receiver_id(), remote.format?))
    });
    ScanCounters::for_receivers(settings.scan.receiver_ids()).with_remotes(remotes)
}

/// The client identifier at the broker: unique there, and always the same. Only dashes of ours,
/// because some brokers refuse other characters; a dash in a name is doubled, so that no two gateways
/// get the same.
pub(crate) fn client_id(settings: &Settings) -> String {
    let GatewaySettings { tenant, store, name, .. } = &settings.gateway;
    match settings.uplink.client_id.as_str() {
        "" => {
            let names = [tenant, store, name].map(|name| name.replace('-', "--"));
            format!("beacon-gateway-{}", names.join("-"))
        }
        given => given.to_owned(),
    }
}

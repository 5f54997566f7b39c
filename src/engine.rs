//! Rooms 2 to 5. The deterministic heart: advertisements and time in, [`Situation`]s out.
//!
//! Nothing here reads a clock, touches a socket or a file, spawns a task, or draws a random number;
//! `tests/it/tidy.rs` holds that line. The protocol for driving it is quinn-proto's: call a
//! `handle_*` method, then drain [`Engine::poll_event`] and [`Engine::poll_checkpoint`], then sleep
//! until [`Engine::poll_timeout`].

mod advertisement;
pub use advertisement::{
    AddressKind, Advertisement, DeviceAddress, NotAnAddress, ReceiverId, Rssi, parse_octets,
};

pub mod frame;

mod identity;
pub use identity::{
    AddressSeed, AmbiguousRegistry, Consent, ConsentLedger, EPOCH_SECONDS, Fixture, FixtureIndex,
    Identifier, Identity, IdentitySettings, Key, MemberKey, Pseudonym, Purpose, Purposes,
    Recognition, Registry, ReportPolicy, Resolution, RollingForm, Subject, SubjectIndex,
    SubjectKind, Tenant,
};

mod presence;
pub use presence::{
    EnterReason, ExitReason, MAX_STAYS, PresenceSettings, Quality, Sighting, Stay, Transition,
    TransitionKind, VisitId, VisitRecord, Zone, ZoneId,
};

mod radio;
pub use radio::{DeafCause, RadioState};

mod sensor;
pub use sensor::Readings;

mod situation;
pub use situation::{Context, PresenceSituation, Situation, What};

mod time;
pub use time::{ClockQuality, UnixTime, Uptime, WallClock};

use std::collections::{BTreeMap, VecDeque};

use frame::Undecoded;
use presence::PresenceTracker;
use sensor::Sensors;
use situation::SituationRoom;

/// What the engine has seen. `received = malformed + unknown + decoded` and
/// `decoded = subject + fixture + anonymous`, always.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Advertisements taken in.
    pub received: u64,
    /// Those that announced a known format and broke its rules.
    pub malformed: u64,
    /// Those in no known format, or in one that is never processed.
    pub unknown: u64,
    /// Those in a known format, or from a device that its address alone made known.
    pub decoded: u64,
    /// Those of a subject with a live consent.
    pub subject: u64,
    /// Those of a fixture.
    pub fixture: u64,
    /// Those of anyone else.
    pub anonymous: u64,
    /// Situations made.
    pub situations: u64,
    /// How often what makes a subject known came back to an address that it had left: what one
    /// device does not do. Each identifier counts at most once in a quarter of an hour.
    pub implausible_doubles: u64,
}

/// A change in what must be remembered of an open visit across a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Whose visit.
    pub subject: Pseudonym,
    /// The visit; `None` when it is over.
    pub visit: Option<VisitRecord>,
}

/// The whole core as one value.
#[derive(Debug)]
pub struct Engine {
    identity: Identity,
    presence: PresenceTracker,
    sensors: Sensors,
    situations: SituationRoom,
    checkpoints: VecDeque<Checkpoint>,
    wall: WallClock,
    now: Uptime,
    counts: Counts,
    canaries: BTreeMap<ReceiverId, Uptime>,
}

impl Engine {
    /// Builds an engine that knows nobody to be present. `next_visit` names the first visit.
    pub fn new(identity: Identity, presence: PresenceSettings, next_visit: VisitId) -> Self {
        Self {
            identity,
            presence: PresenceTracker::new(presence, next_visit),
            sensors: Sensors::default(),
            situations: SituationRoom::default(),
            checkpoints: VecDeque::new(),
            wall: WallClock::default(),
            now: Uptime::from_micros(i64::MIN),
            counts: Counts::default(),
            canaries: BTreeMap::new(),
        }
    }

    /// Takes one advertisement through every room. What ended before `now` is reported first.
    pub fn handle_advertisement(&mut self, now: Uptime, advertisement: &Advertisement) {
        let now = self.advance(now);
        self.presence.heard(now, &advertisement.receiver);
        self.counts.received += 1;
        let decoded = frame::decode_with(&advertisement.data, self.identity.token_uuid());
        let frames = decoded.as_deref().unwrap_or_default();
        let resolution = if frames.is_empty() && frame::never_processed(&advertisement.data) {
            Resolution::Anonymous
        } else {
            let uuids = frame::rolling_uuids(&advertisement.data);
            self.identity.resolve(now, &self.wall, advertisement.address, frames, uuids)
        };
        match resolution {
            Resolution::Subject(Recognition { subject, wide_window }) => {
                self.counts.decoded += 1;
                self.counts.subject += 1;
                let receiver = &advertisement.receiver;
                let rssi = advertisement.rssi;
                let sighting = Sighting { subject, receiver, rssi, wide_window };
                self.presence.observe(now, &sighting);
            }
            Resolution::Fixture(index) => {
                self.counts.decoded += 1;
                self.counts.fixture += 1;
                if let Some(fixture) = self.identity.registry().fixture(index) {
                    if fixture.canary {
                        match self.canaries.get_mut(&advertisement.receiver) {
                            Some(heard) => *heard = now,
                            None => drop(self.canaries.insert(advertisement.receiver.clone(), now)),
                        }
                    }
                    let readings = frames.iter().flat_map(frame::Frame::readings);
                    if let Some(worth) = self.sensors.observe(now, index, fixture, readings) {
                        let (id, zone) = (fixture.id.clone(), fixture.zone.clone());
                        self.situations.measured(now, id, zone, worth);
                    }
                }
            }
            Resolution::Anonymous => match decoded {
                Ok(_) => {
                    self.counts.decoded += 1;
                    self.counts.anonymous += 1;
                }
                Err(Undecoded::Unknown) => self.counts.unknown += 1,
                Err(Undecoded::Malformed { .. }) => self.counts.malformed += 1,
            },
        }
        self.settle();
    }

    /// Lets time pass. Spurious calls are no-ops and therefore safe.
    pub fn handle_timeout(&mut self, now: Uptime) {
        let now = self.advance(now);
        self.identity.work(now, &self.wall);
        self.presence.expire(now);
        self.settle();
    }

    /// A receiver's state changed.
    pub fn handle_radio(&mut self, now: Uptime, receiver: &ReceiverId, state: RadioState) {
        let now = self.advance(now);
        match self.presence.set_radio(now, receiver, state) {
            RadioState::Deaf { since, cause } => {
                self.situations.radio_deaf(receiver, since, cause);
            }
            RadioState::Hearing | RadioState::Quiet => self.situations.radio_hears(receiver, now),
            RadioState::Suspect { .. } => {}
        }
        self.settle();
    }

    /// What follows is a recording, or nothing follows: silence means absence from now on, whichever
    /// receiver is silent.
    pub fn handle_recording(&mut self, now: Uptime) {
        let now = self.advance(now);
        self.presence.trust_silence(now);
        self.settle();
    }

    /// The wall clock was read.
    pub fn handle_clock(&mut self, wall: WallClock) {
        self.wall = wall;
        // Uptimes of advertisements are a little older than those of clock readings.
        self.identity.work(self.now.max(wall.at), &self.wall);
    }

    /// The registry was replaced. Who is no longer enrolled is forgotten at once: their open
    /// visits close without an event.
    pub fn handle_registry(&mut self, now: Uptime, registry: Registry) {
        let now = self.advance(now);
        self.presence.expire(now);
        self.settle();
        let new_places = registry.by_pseudonym();
        let old = self.identity.registry();
        let new_place = |index: SubjectIndex| {
            let subject = old.subject(index)?;
            new_places.get(&subject.pseudonym).copied()
        };
        let gone = self.presence.present().filter(|&(index, _)| new_place(index).is_none());
        for (index, _) in gone {
            if let Some(subject) = old.subject(index) {
                let subject = subject.pseudonym.clone();
                self.checkpoints.push_back(Checkpoint { subject, visit: None });
            }
        }
        self.presence.reindex(new_place);
        self.identity.replace(registry);
        self.sensors = Sensors::default();
        self.situations.recount(&self.presence, &self.identity);
    }

    /// Visits were open when the gateway last stopped. Those seen recently go on; the others end
    /// when they were last true, with the reason `gateway_restart`.
    pub fn handle_restored(&mut self, now: Uptime, visits: Vec<(Pseudonym, VisitRecord)>) {
        if visits.is_empty() {
            return;
        }
        let now = self.advance(now);
        let places = self.identity.registry().by_pseudonym();
        for (subject, visit) in visits {
            match places.get(&subject) {
                Some(&index) => self.presence.restore(now, index, visit),
                None => self.checkpoints.push_back(Checkpoint { subject, visit: None }),
            }
        }
        self.situations.recount(&self.presence, &self.identity);
        self.settle();
    }

    /// The gateway is about to stop: what is known of every open visit should be remembered.
    pub fn handle_stop(&mut self, now: Uptime) {
        self.advance(now);
        let open: Vec<SubjectIndex> = self.presence.present().map(|(index, _)| index).collect();
        for index in open {
            self.checkpoint(index);
        }
    }

    /// When [`Engine::handle_timeout`] should next be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Uptime> {
        [self.presence.next_deadline(), self.identity.next_work()].into_iter().flatten().min()
    }

    /// The next situation to deliver, oldest first.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Situation> {
        self.situations.pop()
    }

    /// The next change to remember across a restart.
    #[must_use]
    pub fn poll_checkpoint(&mut self) -> Option<Checkpoint> {
        self.checkpoints.pop_front()
    }

    /// When each receiver last heard a fixture that must be heard.
    pub fn canaries(&self) -> &BTreeMap<ReceiverId, Uptime> {
        &self.canaries
    }

    /// What was seen so far.
    pub fn counts(&self) -> Counts {
        let implausible_doubles = self.identity.implausible_doubles();
        Counts { situations: self.situations.total(), implausible_doubles, ..self.counts }
    }

    /// The registry and its tables.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How many visits are open.
    pub fn visits_open(&self) -> usize {
        self.presence.present().count()
    }

    /// Says whose advertisement it is, and nothing else: what `scan` shows a technician.
    pub fn recognise(&mut self, advertisement: &Advertisement) -> Resolution {
        if frame::never_processed(&advertisement.data) {
            return Resolution::Anonymous;
        }
        let Advertisement { data, heard, address, .. } = advertisement;
        let frames = frame::decode_with(data, self.identity.token_uuid()).unwrap_or_default();
        let uuids = frame::rolling_uuids(data);
        self.identity.resolve(*heard, &self.wall, *address, &frames, uuids)
    }

    /// Time never runs backwards in here, whatever the shell says.
    fn advance(&mut self, now: Uptime) -> Uptime {
        self.now = self.now.max(now);
        self.now
    }

    /// Carries what presence found on to the next room.
    fn settle(&mut self) {
        for transition in self.presence.take_transitions() {
            let clock = (self.now, &self.wall);
            self.situations.observe(transition, &self.identity, &self.sensors, clock);
        }
        for index in self.presence.take_checkpoints() {
            self.checkpoint(index);
        }
    }

    fn checkpoint(&mut self, index: SubjectIndex) {
        if let Some(subject) = self.identity.registry().subject(index) {
            let subject = subject.pseudonym.clone();
            let visit = self.presence.visit(index).cloned();
            self.checkpoints.push_back(Checkpoint { subject, visit });
        }
    }
}

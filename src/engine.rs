//! Rooms 2 to 5. The deterministic heart: advertisements and time in, [`Situation`]s out.
//!
//! Nothing here reads a clock, touches a socket or a file, spawns a task, or draws a random number;
//! `tests/it/tidy.rs` holds that line. The protocol for driving it is quinn-proto's: call a
//! `handle_*` method, then drain [`Engine::poll_event`], [`Engine::poll_checkpoint`] and
//! [`Engine::poll_fixture`], then sleep until [`Engine::poll_timeout`].

mod advertisement;
pub use advertisement::{
    AddressKind, Advertisement, DeviceAddress, NotAnAddress, ReceiverId, Rssi, parse_octets,
};

mod find;
pub use find::{HeardSensor, Lasting, Unveiled};

mod footfall;
pub use footfall::{Count, FootfallSeed, FootfallSettings, ROUNDED_TO};

mod fixture;

pub mod frame;

mod handover;
pub use handover::{Overheard, Takeover};

mod identity;
pub use identity::{
    AddressSeed, AmbiguousRegistry, Consent, ConsentLedger, DeviceMark, EPOCH_SECONDS, Enrolment,
    EnrolmentReport, Fixture, FixtureIdentifier, FixtureIndex, Grant, Hangs, Identifier, Identity,
    IdentitySettings, Key, MemberKey, Pseudonym, Purpose, Purposes, Recognition, Refusal, Registry,
    RegistryBuilder, ReportPolicy, Resolution, RollingForm, Standing, Subject, SubjectIndex,
    SubjectKind, Tenant, ephemeral_id,
};

mod memory;
pub use memory::FixtureCheckpoint;

pub mod place;

mod presence;
pub use presence::{
    EnterReason, ExitReason, MAX_STAYS, PresenceFloor, PresenceSettings, Private, Quality,
    Sighting, Stay, Transition, TransitionKind, VisitId, VisitRecord, Zone, ZoneId,
};

mod radio;
pub use radio::{DeafCause, RadioState};

mod relayed;
pub use relayed::{LONGEST_FIXTURE_DATA, Relayed, Spotted, Whose};

mod sensor;
pub use sensor::{
    Alarm, AlertRule, BatteryDays, BatteryRecord, Condition, FixtureRecord, FixtureTally, Readings,
    Rejection, Rejections, Remembered, RhythmRecord, Said, StandingAlert,
};

mod situation;
pub use situation::{Context, PresenceSituation, Situation, What};

mod time;
pub use time::{ClockQuality, UnixTime, Uptime, WallClock};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fixture::{Sent, known};
use footfall::Footfall;
use frame::{Frames, Undecoded};
use identity::Effort;
use presence::PresenceTracker;
use sensor::Sensors;
use situation::SituationRoom;

use crate::forget;

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
    /// Those of `unknown` that are never processed: one number, whatever they were.
    pub refused: u64,
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
    /// Identity resolving keys tried, each against one address.
    pub irk_checks: u64,
    /// Of those of anyone else: with an address that was not tried against the keys, because the
    /// allowance was spent.
    pub irk_untried: u64,
    /// How often what makes a subject known came back to an address that it had left: what one
    /// device does not do. Each identifier counts at most once in a quarter of an hour.
    pub implausible_doubles: u64,
    /// What fixtures seemed to send and was not believed, by reason.
    pub fixtures_refused: Rejections,
    /// Values of fixtures that were out of their quantity's bounds.
    pub fixture_values_dropped: u64,
}

/// What one look at an advertisement has shown.
struct Looked<'a> {
    decoded: Result<Frames<'a>, Undecoded>,
    /// Something in it is encrypted, even where frames were read.
    is_encrypted: bool,
    resolution: Resolution,
    /// It comes from somebody who is enrolled, with a consent that is live or without one.
    is_subjects: bool,
}

/// A change in what must be remembered of an open visit across a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Whose visit.
    pub subject: Pseudonym,
    /// The visit; `None` when it is over.
    pub visit: Option<VisitRecord>,
}

impl Checkpoint {
    /// Nothing is remembered of a subject any more.
    fn erased(subject: &Pseudonym) -> Self {
        Self { subject: subject.clone(), visit: None }
    }
}

/// The family of a sensor, and its model where that is told.
pub type Product = (&'static str, Option<&'static str>);

/// The whole core as one value.
#[derive(Debug)]
pub struct Engine {
    identity: Identity,
    presence: PresenceTracker,
    sensors: Sensors,
    situations: SituationRoom,
    footfall: Option<Footfall>,
    checkpoints: VecDeque<Checkpoint>,
    /// Of which nothing is to be remembered any more.
    fixtures_gone: BTreeSet<String>,
    wall: WallClock,
    now: Uptime,
    counts: Counts,
    canaries: BTreeMap<ReceiverId, Uptime>,
    /// What each fixture is: family and model.
    products: BTreeMap<String, Product>,
    /// An advertisement was looked at since the stack was last cleared: a stranger's, or that of
    /// somebody who may withdraw.
    soiled: bool,
}

impl Engine {
    /// Builds an engine that knows nobody to be present. `next_visit` names the first visit.
    pub fn new(identity: Identity, presence: PresenceSettings, next_visit: VisitId) -> Self {
        Self {
            identity,
            presence: PresenceTracker::new(presence, next_visit),
            sensors: Sensors::default(),
            situations: SituationRoom::default(),
            footfall: None,
            checkpoints: VecDeque::new(),
            fixtures_gone: BTreeSet::new(),
            wall: WallClock::default(),
            now: Uptime::from_micros(i64::MIN),
            counts: Counts::default(),
            canaries: BTreeMap::new(),
            products: BTreeMap::new(),
            soiled: false,
        }
    }

    /// The same engine, which besides counts everybody, anonymously.
    #[must_use]
    pub fn with_footfall(mut self, settings: FootfallSettings, seed: FootfallSeed) -> Self {
        self.footfall = Some(Footfall::new(settings, self.presence.zones(), seed));
        self
    }

    /// Takes one advertisement through every room. What ended before `now` is reported first.
    pub fn handle_advertisement(&mut self, now: Uptime, advertisement: &Advertisement) {
        let now = self.advance(now);
        self.identity.work(now, &self.wall);
        self.presence.heard(now, &advertisement.receiver);
        self.sensors.listen(now, self.identity.registry());
        let Looked { decoded, resolution, .. } = self.look(now, advertisement);
        self.tally(&decoded, resolution);
        match resolution {
            Resolution::Subject(Recognition { subject, tag, wide_window }) => {
                if let Some(kind) = self.identity.registry().subject(subject).map(|it| it.kind) {
                    let Advertisement { receiver, rssi, .. } = advertisement;
                    let rssi = *rssi;
                    let sighting = Sighting { subject, kind, tag, receiver, rssi, wide_window };
                    self.presence.observe(now, &sighting);
                    // A customer is one of everybody; a badge or a trolley is the shop's own.
                    if kind == SubjectKind::Customer {
                        self.count(advertisement);
                    }
                }
            }
            Resolution::Fixture(index) => {
                self.hear_canary(now, index, &advertisement.receiver);
                let Advertisement { receiver, rssi, .. } = advertisement;
                let address = known(advertisement.address());
                let sent = Sent { data: advertisement.data(), address, decoded };
                self.hear_fixture(now, index, (receiver, *rssi), sent);
            }
            Resolution::Anonymous => {
                if decoded != Err(Undecoded::Refused) {
                    self.count(advertisement);
                }
            }
        }
        self.settle();
    }

    /// What an advertisement says, and whose it is. What is never processed is nobody's.
    fn look<'a>(&mut self, now: Uptime, advertisement: &'a Advertisement) -> Looked<'a> {
        self.soiled = true;
        let (data, address) = (advertisement.data(), advertisement.address());
        let (decoded, encrypted) = frame::open(data, self.identity.context());
        let (resolution, is_subjects) = if decoded == Err(Undecoded::Refused) {
            (Resolution::Anonymous, false)
        } else {
            let frames = decoded.as_deref().unwrap_or_default();
            self.identity.resolve(now, &self.wall, address, frames, data)
        };
        Looked { decoded, is_encrypted: encrypted.is_some(), resolution, is_subjects }
    }

    /// Counts an advertisement, and sees to what looking at it left on the stack.
    fn tally(&mut self, decoded: &Result<Frames<'_>, Undecoded>, resolution: Resolution) {
        if resolution != Resolution::Anonymous {
            self.clean();
        }
        let counts = &mut self.counts;
        counts.received += 1;
        match (resolution, decoded) {
            (Resolution::Subject(_), _) => {
                counts.decoded += 1;
                counts.subject += 1;
            }
            (Resolution::Fixture(_), _) => {
                counts.decoded += 1;
                counts.fixture += 1;
            }
            (Resolution::Anonymous, Ok(_)) => {
                counts.decoded += 1;
                counts.anonymous += 1;
            }
            (Resolution::Anonymous, Err(Undecoded::Unknown | Undecoded::Encrypted { .. })) => {
                counts.unknown += 1;
            }
            (Resolution::Anonymous, Err(Undecoded::Refused)) => {
                counts.unknown += 1;
                counts.refused += 1;
            }
            (Resolution::Anonymous, Err(Undecoded::Malformed { .. })) => counts.malformed += 1,
        }
    }

    /// Counts a device among everybody. Its address goes no further than the salt.
    fn count(&mut self, advertisement: &Advertisement) {
        self.soiled = true;
        let told = !advertisement.address().is_unknown();
        if let Some(footfall) = self.footfall.as_mut().filter(|_| told) {
            let Advertisement { receiver, rssi, .. } = advertisement;
            footfall.count(receiver, *rssi, |salt| salt.mark(&advertisement.address()));
        }
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
        let state = self.presence.set_radio(now, receiver, state);
        if let Some(footfall) = &mut self.footfall {
            footfall.radio(now, receiver, state);
        }
        match state {
            RadioState::Deaf { since, cause } => {
                self.situations.radio_deaf(receiver, since, cause);
                self.sensors.deaf(receiver);
            }
            RadioState::Hearing | RadioState::Quiet => {
                self.situations.radio_hears(receiver, now);
                self.sensors.hears(now, receiver);
            }
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

    /// The wall clock was read. Visits of those whose consent has run out close without an event.
    pub fn handle_clock(&mut self, wall: WallClock) {
        if let Some(footfall) = &mut self.footfall {
            let counts = footfall.clock(&wall, &self.wall);
            self.situations.counted(counts);
        }
        self.wall = wall;
        if self.lapse(wall.at) > 0 {
            self.situations.recount(&self.presence, &self.identity);
        }
        // Uptimes of advertisements are a little older than those of clock readings.
        self.identity.work(self.now.max(wall.at), &self.wall);
    }

    /// The registry was replaced. Who is no longer enrolled is forgotten at once: their open
    /// visits close without an event.
    pub fn handle_registry(&mut self, now: Uptime, registry: Registry) -> EnrolmentReport {
        let now = self.advance(now);
        self.presence.expire(now);
        self.settle();
        let old = self.identity.registry();
        let new_place = |index| registry.by_pseudonym(old.subject(index)?.pseudonym.as_str());
        let enrolled =
            |subject: &&Subject| registry.by_pseudonym(subject.pseudonym.as_str()).is_some();
        let stay = old.subjects().filter(enrolled).count();
        let mut report = EnrolmentReport {
            added: count(registry.subject_count().saturating_sub(stay)),
            withdrawn: count(old.subject_count().saturating_sub(stay)),
            ..EnrolmentReport::default()
        };
        let gone = self.presence.present().filter(|&(index, _)| new_place(index).is_none());
        for (index, _) in gone {
            report.visits_closed += 1;
            if let Some(subject) = old.subject(index) {
                self.checkpoints.push_back(Checkpoint::erased(&subject.pseudonym));
            }
        }
        self.presence.reindex(new_place);
        let same = |(one, other): (&Fixture, &Fixture)| one.is_same_device(other);
        let (before, now_there) = (old.fixtures(), registry.fixtures());
        // Fixtures are the configuration's, so they hardly ever change with who is enrolled.
        let other_fixtures =
            before.len() != now_there.len() || !before.iter().zip(now_there).all(same);
        let remembered = if other_fixtures { self.remember_fixtures() } else { Vec::new() };
        self.identity.replace(registry);
        if other_fixtures {
            self.sensors.replace();
            self.handle_remembered(now, remembered);
            self.products.clear();
            self.presence.forget_beacons();
        }
        report.visits_closed += self.lapse(now);
        self.situations.recount(&self.presence, &self.identity);
        report
    }

    /// Subjects were enrolled, changed or withdrawn: applied one after the other, each as a whole
    /// or not at all, without building anything anew. Whoever is withdrawn is forgotten at once,
    /// an open visit closes without an event; a visit of somebody who is recognised by something
    /// else from now on goes on.
    pub fn handle_enrolment(&mut self, now: Uptime, changes: Vec<Enrolment>) -> EnrolmentReport {
        let now = self.advance(now);
        self.presence.expire(now);
        self.settle();
        let mut report = EnrolmentReport::default();
        let mut gone = BTreeSet::new();
        for change in changes {
            match change {
                Enrolment::Upsert(subject) => {
                    let name = subject.pseudonym.clone();
                    match self.identity.upsert(subject) {
                        Ok((_, true)) => report.added += 1,
                        Ok((_, false)) => report.changed += 1,
                        Err(why) => report.refused.push(Refusal { subject: name, why }),
                    }
                }
                Enrolment::Withdraw(name) => match self.identity.withdraw(&name) {
                    Some(index) => {
                        report.withdrawn += 1;
                        // The place may be another's before the end; the visit there is this one's.
                        if gone.insert(index) && self.presence.visit(index).is_some() {
                            report.visits_closed += 1;
                            self.checkpoints.push_back(Checkpoint::erased(&name));
                        }
                    }
                    None => report.unknown += 1,
                },
            }
        }
        if !gone.is_empty() {
            self.presence.reindex(|index| (!gone.contains(&index)).then_some(index));
        }
        report.visits_closed += self.lapse(now);
        self.situations.recount(&self.presence, &self.identity);
        report
    }

    /// Visits were open when the gateway last stopped. Those seen recently go on; the others end
    /// when they were last true, with the reason `gateway_restart`.
    pub fn handle_restored(&mut self, now: Uptime, visits: Vec<(Pseudonym, VisitRecord)>) {
        if visits.is_empty() {
            return;
        }
        let now = self.advance(now);
        for (subject, visit) in visits {
            match self.identity.registry().by_pseudonym(subject.as_str()) {
                Some(index) => {
                    self.presence.restore(now, index, visit);
                    if self.presence.visit(index).is_some() {
                        // Who was here before the stop was recognised beyond doubt then.
                        self.identity.vouch(now, index);
                    }
                }
                None => self.checkpoints.push_back(Checkpoint::erased(&subject)),
            }
        }
        self.situations.recount(&self.presence, &self.identity);
        self.settle();
    }

    /// The gateway is about to stop: what is known of every open visit and of fixtures should be remembered, and
    /// what was counted of everybody is told, because it cannot be.
    pub fn handle_stop(&mut self, now: Uptime) {
        let now = self.advance(now);
        if let Some(footfall) = &mut self.footfall {
            self.situations.counted(footfall.stop(now, &self.wall));
        }
        let open: Vec<SubjectIndex> = self.presence.present().map(|(index, _)| index).collect();
        for index in open {
            self.checkpoint(index);
        }
        self.sensors.write_last();
    }

    /// When [`Engine::handle_timeout`] should next be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Uptime> {
        let footfall = self.footfall.as_ref().and_then(Footfall::next_deadline);
        let sensors = self.sensors.next_deadline();
        [self.presence.next_deadline(), self.identity.next_work(), footfall, sensors]
            .into_iter()
            .flatten()
            .min()
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
        let Effort { checks: irk_checks, untried: irk_untried } = self.identity.effort();
        let (fixtures_refused, fixture_values_dropped) = self.sensors.refused();
        Counts {
            situations: self.situations.total(),
            irk_checks,
            irk_untried,
            implausible_doubles: self.identity.implausible_doubles(),
            fixtures_refused,
            fixture_values_dropped,
            ..self.counts
        }
    }

    /// The family and, where its frames tell it, the model of a fixture that has told something.
    pub fn product(&self, fixture: &str) -> Option<Product> {
        self.products.get(fixture).copied()
    }

    /// The registry and its tables.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What receivers were found to hear more than the floor plan says, by beacons at known places, in
    /// dB, -15 to 15; empty without such beacons.
    pub fn corrections(&self) -> impl Iterator<Item = (&ReceiverId, f32)> {
        self.presence.corrections()
    }

    /// How many visits are open.
    pub fn visits_open(&self) -> usize {
        self.presence.present().count()
    }

    /// Says whose advertisement it is, and nothing else: what `scan` shows a technician.
    pub fn recognise(&mut self, advertisement: &Advertisement) -> Resolution {
        let now = advertisement.heard;
        self.identity.work(now, &self.wall);
        self.look(now, advertisement).resolution
    }

    /// Forgets what consents do not cover any more: visits of those who agree to nothing close
    /// without an event, and paths of those who do not agree to that go. Says how many visits closed.
    fn lapse(&mut self, now: Uptime) -> u64 {
        let mut closed = 0;
        let present: Vec<SubjectIndex> = self.presence.present().map(|(index, _)| index).collect();
        for index in present {
            let subject = self.identity.registry().subject(index);
            let purposes =
                subject.map_or(Purposes::NONE, |it| it.purposes_made_at(&self.wall, now));
            if purposes.is_empty() {
                closed += 1;
                self.presence.forget(index);
                self.checkpoint(index);
            } else if !purposes.contains(Purpose::Journey) && self.presence.forget_path(index) {
                self.checkpoint(index);
            }
        }
        closed
    }

    /// Time never runs backwards in here, whatever the shell says.
    fn advance(&mut self, now: Uptime) -> Uptime {
        self.now = self.now.max(now);
        if self.poll_timeout().is_some_and(|due| due <= self.now) {
            self.clean();
        }
        if let Some(footfall) = &mut self.footfall {
            self.situations.counted(footfall.turn(self.now, &self.wall));
        }
        let news = self.sensors.handle_timeout(self.now, self.identity.registry());
        self.tell_of_sensors(news);
        self.now
    }

    /// Clears what an advertisement left on the stack, before anything is made that lasts.
    fn clean(&mut self) {
        if std::mem::take(&mut self.soiled) {
            forget::burn_stack();
        }
    }

    /// Carries what presence found on to the next room.
    fn settle(&mut self) {
        let transitions = self.presence.take_transitions();
        let checkpoints = self.presence.take_checkpoints();
        if !transitions.is_empty() || !checkpoints.is_empty() {
            self.clean();
        }
        for transition in transitions {
            let clock = (self.now, &self.wall);
            self.situations.observe(transition, &self.identity, &self.sensors, clock);
        }
        for index in checkpoints {
            self.checkpoint(index);
        }
    }

    fn checkpoint(&mut self, index: SubjectIndex) {
        if let Some(subject) = self.identity.registry().subject(index) {
            let purposes = subject.purposes_made_at(&self.wall, self.now);
            let subject = subject.pseudonym.clone();
            let mut visit = self.presence.visit(index).cloned();
            if let Some(visit) = &mut visit
                && !purposes.contains(Purpose::Journey)
            {
                // Where somebody is now belongs to presence; where they have been does not.
                visit.forget_path();
            }
            self.checkpoints.push_back(Checkpoint { subject, visit });
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

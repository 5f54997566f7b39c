//! Two gateways, a broker and a platform, in virtual milliseconds.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    checkpoint,
    engine::{
        AddressKind, AddressSeed, Advertisement, AlertRule, ClockQuality, Condition, Consent,
        DeviceAddress, Engine, Enrolment, Fixture, Identifier, Identity, IdentitySettings,
        PresenceSettings, Pseudonym, Purposes, RadioState, ReceiverId, Registry, Relayed,
        ReportPolicy, Rssi, Spotted, Subject, SubjectKind, UnixTime, Uptime, VisitId, WallClock,
        Whose, Zone, ZoneId, frame::Quantity,
    },
    outbox::{
        Kept, Write,
        record::{Body, Record, RunId},
    },
    relay::Run,
    standby::{Echo, Message, Names, Note, Part, Partner, PeerState, Terms, Why},
    timeline::Timeline,
    uplink::payload::{kind_of, visit_name},
};

/// Two gateways of the shop, by their places.
pub(super) const LEAD: usize = 0;
pub(super) const STANDBY: usize = 1;

const NAMES: [&str; 2] = ["gw1", "gw2"];
const FRIDGE: [u8; 6] = [0xc0, 0, 0, 0, 0, 0xfe];
const START_MS: i64 = 1_790_000_000_000;
pub(super) const TAKEOVER_AFTER: i64 = 5000;

/// An event as the platform has it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) gateway: usize,
    pub(super) sequence: u64,
    pub(super) subject: String,
    pub(super) visit: String,
    pub(super) kind: String,
    /// When it happened, as it says.
    pub(super) at: i64,
    /// When it came.
    pub(super) came: i64,
}

/// What happens at some time. What a process does is of one incarnation of it.
enum Happening {
    Arrives(usize, Message),
    Commits(usize, u32, Vec<Write>),
    Delivers(usize, u32, u64),
    Echoes(usize, Echo),
    Wills(PeerState),
    Looks(usize, u32),
}

/// One gateway.
pub(super) struct Node {
    /// Nothing while it is dead.
    pub(super) alive: Option<Alive>,
    /// It has a line.
    linked: bool,
    incarnation: u32,
    /// Its disk.
    slots: BTreeMap<Vec<u8>, Vec<u8>>,
    pending: BTreeMap<u64, Vec<u8>>,
    sequence: u64,
    epoch: u32,
    /// The last time of each of its ways, which all keep their order.
    sent: i64,
    committed: i64,
    delivered: i64,
    uncommitted: usize,
    pub(super) enrolled: Vec<String>,
    pub(super) notes: Vec<(i64, Note)>,
}

pub(super) struct Alive {
    began: i64,
    pub(super) engine: Engine,
    pub(super) partner: Partner,
    run: RunId,
}

pub(super) struct Shop {
    pub(super) now: i64,
    pub(super) nodes: [Node; 2],
    queue: BTreeMap<(i64, u64), Happening>,
    number: u64,
    pub(super) platform: Vec<Event>,
    /// Alerts and their ends at the platform, with the gateway that told each.
    pub(super) alerts: Vec<(usize, String)>,
    taken: BTreeSet<(usize, u64)>,
    pub(super) rng: fastrand::Rng,
    /// Whether the broker lets either hear the other one's events.
    pub(super) echoes: bool,
    /// Messages between the two that are lost, of a thousand.
    pub(super) lossy: u32,
    lead_state: PeerState,
    /// How long the broker takes to tell a last will.
    pub(super) will_after: i64,
    pub(super) private: Vec<ZoneId>,
}

// === impl Alive ===

impl Alive {
    fn uptime(&self, now: i64) -> Uptime {
        Uptime::from_micros((now - self.began) * 1000)
    }

    fn wall(&self, now: i64) -> WallClock {
        let unix = UnixTime::from_millis(START_MS + now);
        WallClock { at: self.uptime(now), unix, quality: ClockQuality::Synced }
    }
}

// === impl Shop ===

impl Shop {
    /// Both are switched on at zero.
    pub(super) fn new(seed: u64, enrolled: &[&str]) -> Self {
        let mut shop = Self::empty(seed, enrolled);
        shop.start(LEAD);
        shop.start(STANDBY);
        shop
    }

    /// Neither is.
    pub(super) fn empty(seed: u64, enrolled: &[&str]) -> Self {
        let node = || Node {
            alive: None,
            linked: true,
            incarnation: 0,
            slots: BTreeMap::new(),
            pending: BTreeMap::new(),
            sequence: 0,
            epoch: 1,
            sent: 0,
            committed: 0,
            delivered: 0,
            uncommitted: 0,
            enrolled: enrolled.iter().map(|name| (*name).to_owned()).collect(),
            notes: Vec::new(),
        };
        Self {
            now: 0,
            nodes: [node(), node()],
            queue: BTreeMap::new(),
            number: 0,
            platform: Vec::new(),
            alerts: Vec::new(),
            taken: BTreeSet::new(),
            rng: fastrand::Rng::with_seed(seed),
            echoes: true,
            lossy: 0,
            lead_state: PeerState::Unknown,
            will_after: 5,
            private: Vec::new(),
        }
    }

    /// Switches a gateway on.
    pub(super) fn start(&mut self, which: usize) {
        let (now, mark) = (self.now, self.rng.u64(..));
        let private = if which == STANDBY { self.private.clone() } else { Vec::new() };
        let node = &mut self.nodes[which];
        node.incarnation += 1;
        // It says that it was started, and that is durable before anything is told.
        node.sequence += 1;
        let run = RunId(mark);
        let start = Run { epoch: node.epoch, sequence: node.sequence, mark };
        let wall = WallClock {
            at: Uptime::ZERO,
            unix: UnixTime::from_millis(START_MS + now),
            quality: ClockQuality::Synced,
        };
        let left_over = node.slots.iter();
        let left_over =
            left_over.filter_map(|(slot, value)| checkpoint::read(slot, value, &wall)).collect();
        let names = Names {
            store: "s".to_owned(),
            me: Arc::from(NAMES[which]),
            peer: Arc::from(NAMES[1 - which]),
            private: private.clone(),
        };
        let terms = Terms {
            takeover_after: Duration::from_millis(TAKEOVER_AFTER.unsigned_abs()),
            return_after: Duration::from_secs(10),
        };
        let part = if which == LEAD { Part::Lead } else { Part::Standby };
        let partner = Partner::new((part, terms), names, (run, start), left_over, Uptime::ZERO);
        let next = VisitId { epoch: node.epoch, run: node.sequence, number: 1 };
        let mut engine = engine(&node.enrolled, private, next);
        engine.handle_clock(wall);
        let kept = node.slots.iter();
        let kept: Vec<_> =
            kept.map(|(slot, value)| Kept { slot: slot.clone(), value: value.clone() }).collect();
        let found = checkpoint::fixture::restore(&kept, (&Timeline::default(), run), &wall);
        engine.handle_remembered(Uptime::ZERO, found.remembered);
        for receiver in ["local", "shelf"] {
            engine.handle_radio(Uptime::ZERO, &ReceiverId::new(receiver), RadioState::Quiet);
        }
        node.alive = Some(Alive { began: now, engine, partner, run });
        let incarnation = node.incarnation;
        let waiting: Vec<u64> = node.pending.keys().copied().collect();
        for sequence in waiting {
            self.deliver_later(which, sequence);
        }
        self.put(now + 1000, Happening::Looks(which, incarnation));
        if self.nodes[which].linked {
            self.link(which, true);
        }
    }

    /// Ends a process at once. What it has sent in its last moments may not have left.
    pub(super) fn kill(&mut self, which: usize) {
        self.nodes[which].alive = None;
        self.nodes[which].uncommitted = 0;
        let now = self.now;
        let (told, published) = (now + self.rng.i64(0..60), now + self.rng.i64(0..60));
        let incarnation = self.nodes[which].incarnation;
        self.queue.retain(|(at, _), it| match it {
            Happening::Arrives(to, _) => *to == which || *at <= told,
            Happening::Commits(of, ..) | Happening::Looks(of, _) => *of != which,
            Happening::Delivers(of, it, _) => {
                *of != which || *it != incarnation || *at <= published
            }
            Happening::Echoes(to, _) => *to != which,
            Happening::Wills(_) => true,
        });
        if which == LEAD {
            self.put(now + self.will_after, Happening::Wills(PeerState::Offline));
        }
        // Whatever comes next is behind what was sent.
        self.nodes[which].sent = now + 60;
        self.nodes[which].delivered = now + 60;
    }

    /// Cuts a gateway's line, or mends it.
    pub(super) fn link(&mut self, which: usize, linked: bool) {
        self.nodes[which].linked = linked;
        let (now, state) = (self.now, self.lead_state);
        if !linked {
            self.queue.retain(|_, it| match it {
                Happening::Delivers(of, ..) => *of != which,
                Happening::Arrives(..) => false,
                _ => true,
            });
        }
        if self.nodes[which].alive.is_some() {
            self.with(which, |alive, at| {
                alive.partner.handle_link(at, &mut alive.engine, linked);
                if linked && which == STANDBY {
                    alive.partner.handle_state(at, &mut alive.engine, state);
                }
            });
        }
        if which == LEAD {
            let state = if linked { PeerState::Online } else { PeerState::Offline };
            self.put(now + 5, Happening::Wills(state));
        }
        if linked {
            let waiting: Vec<u64> = self.nodes[which].pending.keys().copied().collect();
            for sequence in waiting {
                self.deliver_later(which, sequence);
            }
        }
    }

    /// Changes who is enrolled at one of them.
    pub(super) fn withdraw(&mut self, which: usize, name: &str) {
        self.nodes[which].enrolled.retain(|it| it != name);
        self.with(which, |alive, at| {
            let withdraw = Enrolment::Withdraw(Pseudonym::new(name));
            alive.engine.handle_enrolment(at, vec![withdraw]);
            alive.partner.handle_registry(&mut alive.engine);
        });
    }

    /// A subject's tag is heard, by each gateway's own radio so loud, and by the receiver in the corner.
    pub(super) fn heard(&mut self, name: &str, own: [Option<i8>; 2], corner: Option<i8>) {
        let address = address(name);
        for (which, rssi) in own.into_iter().enumerate() {
            if self.nodes[which].alive.is_none() {
                continue;
            }
            self.with(which, |alive, at| {
                if let Some(dbm) = rssi {
                    let address = DeviceAddress::new(address, AddressKind::Random);
                    let receiver = ReceiverId::new("local");
                    let advertisement =
                        Advertisement::new(at, receiver, address, Some(Rssi(dbm)), &[2, 1, 6]);
                    alive.partner.hear(&mut alive.engine, &advertisement);
                }
                if let Some(dbm) = corner {
                    let whose = Whose::Subject(Pseudonym::new(name));
                    let rssi = Some(Rssi(dbm));
                    let spotted = Spotted { whose, tag: 0, rssi, heard: at, wide_window: false };
                    let receiver = ReceiverId::new("shelf");
                    let sightings = vec![spotted];
                    let relayed = Relayed { receiver, sightings, heard_until: Some(at) };
                    alive.partner.hear_relayed(&mut alive.engine, relayed);
                }
            });
        }
    }

    /// The fridge tells how warm it is, heard by both.
    pub(super) fn fridge(&mut self, celsius: i16) {
        let mut data = vec![2, 1, 6, 7, 0x16, 0xd2, 0xfc, 0x40, 0x02];
        data.extend((celsius * 100).to_le_bytes());
        for which in [LEAD, STANDBY] {
            if self.nodes[which].alive.is_none() {
                continue;
            }
            self.with(which, |alive, at| {
                let address = DeviceAddress::new(FRIDGE, AddressKind::Random);
                let receiver = ReceiverId::new("local");
                let heard = Advertisement::new(at, receiver, address, Some(Rssi(-60)), &data);
                alive.partner.hear(&mut alive.engine, &heard);
            });
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, until: i64) {
        loop {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timers = [LEAD, STANDBY].map(|which| self.timer(which));
            let next = queued.into_iter().chain(timers.into_iter().flatten()).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if queued == Some(next) {
                if let Some((_, happening)) = self.queue.pop_first() {
                    self.happen(happening);
                }
                continue;
            }
            for which in [LEAD, STANDBY] {
                if self.timer(which).is_some_and(|due| due <= next) {
                    self.with(which, |alive, at| {
                        alive.engine.handle_timeout(at);
                        alive.partner.handle_timeout(at, &mut alive.engine);
                    });
                }
            }
        }
        self.now = self.now.max(until);
    }

    /// The subject's events at the platform, each once, as a consumer that goes by their ids has them.
    pub(super) fn events(&self, subject: &str, kind: &str) -> Vec<&Event> {
        let is_it = |it: &&Event| it.subject == subject && it.kind == kind;
        self.platform.iter().filter(is_it).collect()
    }

    /// When a gateway last began to make events.
    pub(super) fn acts_since(&self, which: usize) -> Option<(i64, Why)> {
        let acts = |(at, note): &(i64, Note)| match note {
            Note::Acts { why, .. } => Some((*at, *why)),
            Note::StandsDown { .. } => None,
        };
        self.nodes[which].notes.iter().rev().find_map(acts)
    }

    /// Who makes events.
    pub(super) fn acting(&self) -> [bool; 2] {
        let acts = |node: &Node| node.alive.as_ref().is_some_and(|it| it.partner.is_acting());
        [acts(&self.nodes[LEAD]), acts(&self.nodes[STANDBY])]
    }

    /// Whether a gateway believes that the other one makes events, and that whichever is silent follows.
    pub(super) fn believes(&self, which: usize) -> (bool, bool) {
        let believes = |alive: &Alive| {
            let now = alive.uptime(self.now);
            (alive.partner.peer_acts(now), alive.partner.is_followed(now))
        };
        self.nodes[which].alive.as_ref().map(believes).unwrap_or_default()
    }

    fn timer(&self, which: usize) -> Option<i64> {
        let alive = self.nodes[which].alive.as_ref()?;
        let due = [alive.engine.poll_timeout(), alive.partner.poll_timeout()];
        let due = due.into_iter().flatten().min()?;
        // A timer is never early, and a millisecond late at the most.
        Some((due.as_micros() + 999).div_euclid(1000) + alive.began)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives(to, message) => {
                if self.nodes[to].linked {
                    let now = self.now;
                    self.with(to, |alive, at| {
                        let wall = alive.wall(now);
                        alive.partner.handle_message(at, &wall, &mut alive.engine, &message);
                    });
                }
            }
            Happening::Commits(of, incarnation, writes) => {
                if self.nodes[of].incarnation == incarnation {
                    self.nodes[of].uncommitted -= 1;
                    for write in writes {
                        self.commit(of, write);
                    }
                }
            }
            Happening::Delivers(of, _, sequence) => self.deliver(of, sequence),
            Happening::Echoes(to, echo) => {
                if self.nodes[to].linked {
                    self.with(to, |alive, _| alive.partner.handle_echo(&echo));
                }
            }
            Happening::Wills(state) => {
                self.lead_state = state;
                if self.nodes[STANDBY].linked {
                    self.with(STANDBY, |alive, at| {
                        alive.partner.handle_state(at, &mut alive.engine, state);
                    });
                }
            }
            Happening::Looks(of, incarnation) => {
                let node = &self.nodes[of];
                if node.incarnation != incarnation {
                    return;
                }
                if node.pending.is_empty() && node.uncommitted == 0 {
                    self.with(of, |alive, at| alive.partner.handle_delivered(at));
                }
                self.put(self.now + 1000, Happening::Looks(of, incarnation));
            }
        }
    }

    /// Has a live gateway do something, and carries on whatever that leads to.
    pub(super) fn with(&mut self, which: usize, act: impl FnOnce(&mut Alive, Uptime)) {
        let now = self.now;
        let Some(mut alive) = self.nodes[which].alive.take() else { return };
        let at = alive.uptime(now);
        let wall = alive.wall(now);
        alive.engine.handle_clock(wall);
        act(&mut alive, at);
        let mut records = Vec::new();
        while let Some(situation) = alive.engine.poll_event() {
            records.push(Record::of(&situation, alive.run, &wall));
        }
        let changes = std::iter::from_fn(|| alive.engine.poll_checkpoint()).collect();
        let fixtures = std::iter::from_fn(|| alive.engine.poll_fixture());
        let fixtures = fixtures.flat_map(|it| checkpoint::fixture::write(&it, &wall, alive.run));
        let fixtures = fixtures.collect();
        alive.partner.keep(at, &wall, records, (changes, fixtures));
        while let Some(writes) = alive.partner.poll_writes() {
            let incarnation = self.nodes[which].incarnation;
            let due = self.nodes[which].committed.max(now + self.rng.i64(1..30));
            self.nodes[which].committed = due;
            self.nodes[which].uncommitted += 1;
            self.put(due, Happening::Commits(which, incarnation, writes));
        }
        while let Some(message) = alive.partner.poll_message() {
            let lost = self.rng.u32(0..1000) < self.lossy;
            if self.nodes[which].linked && !lost {
                let due = self.nodes[which].sent.max(now + self.rng.i64(2..60));
                self.nodes[which].sent = due;
                self.put(due, Happening::Arrives(1 - which, message));
            }
        }
        while let Some(note) = alive.partner.poll_note() {
            self.nodes[which].notes.push((now, note));
        }
        self.nodes[which].alive = Some(alive);
    }

    fn commit(&mut self, of: usize, write: Write) {
        match write {
            Write::Append(entry) => {
                self.nodes[of].sequence += 1;
                let sequence = self.nodes[of].sequence;
                self.nodes[of].pending.insert(sequence, entry.bytes);
                self.deliver_later(of, sequence);
            }
            Write::Keep { slot, value: Some(value) } => {
                self.nodes[of].slots.insert(slot, value);
            }
            Write::Keep { slot, value: None } => drop(self.nodes[of].slots.remove(&slot)),
            _ => {}
        }
    }

    fn deliver_later(&mut self, of: usize, sequence: u64) {
        if self.nodes[of].linked {
            let due = self.nodes[of].delivered.max(self.now + self.rng.i64(5..80));
            self.nodes[of].delivered = due;
            let incarnation = self.nodes[of].incarnation;
            self.put(due, Happening::Delivers(of, incarnation, sequence));
        }
    }

    fn deliver(&mut self, of: usize, sequence: u64) {
        // Whoever was killed does not learn that the platform has it.
        let dead = self.nodes[of].alive.is_none();
        let bytes = self.nodes[of].pending.get(&sequence).cloned();
        if !dead {
            self.nodes[of].pending.remove(&sequence);
        }
        let Some(record) = bytes.and_then(|bytes| Record::decode(&bytes).ok()) else { return };
        if !self.taken.insert((of, sequence)) {
            return;
        }
        let presence = match &record.body {
            Body::Presence(presence) => presence,
            Body::Alerted(alert) => return self.alerts.push((of, alert.rule.clone())),
            Body::Cleared { alert, .. } => {
                return self.alerts.push((of, format!("{} is over", alert.rule)));
            }
            _ => return,
        };
        let (family, kind) = kind_of(&record.body);
        let named_by = presence.begun_at.as_deref().unwrap_or(NAMES[of]);
        let visit = visit_name("s", named_by, presence.visit);
        let kind = format!("{family}.{kind}");
        let json = serde_json::json!({
            "type": format!("io.beacon-gateway.{kind}.v1"),
            "data": match &presence.change {
                crate::outbox::record::Change::ZoneEntered { zone, .. }
                | crate::outbox::record::Change::ZoneExited { zone, .. } => {
                    serde_json::json!({"visit": visit, "zone": zone})
                }
                crate::outbox::record::Change::ZoneDwelled { zone, delay_ms } => {
                    let delay_s = *delay_ms / 1000;
                    serde_json::json!({"visit": visit, "zone": zone, "delay_s": delay_s})
                }
                _ => serde_json::json!({"visit": visit}),
            },
        });
        if let Some(echo) = Echo::of_event(json.to_string().as_bytes()).filter(|_| self.echoes) {
            self.put(self.now + 3, Happening::Echoes(1 - of, echo));
        }
        self.platform.push(Event {
            gateway: of,
            sequence,
            subject: presence.subject.clone(),
            visit,
            kind,
            at: record.unix_ms - START_MS,
            came: self.now,
        });
    }

    fn put(&mut self, at: i64, happening: Happening) {
        self.number += 1;
        self.queue.insert((at.max(self.now), self.number), happening);
    }

    /// All about a visit, for a message.
    pub(super) fn story(&self, subject: &str) -> String {
        let of = self.platform.iter().filter(|it| it.subject == subject);
        let line = |it: &Event| {
            let Event { gateway, sequence, visit, kind, at, came, .. } = it;
            format!("{gateway}/{sequence} {visit} {kind} at {at} came {came}")
        };
        let notes = [LEAD, STANDBY].map(|which| format!("{:?}", self.nodes[which].notes));
        format!("{}\n{}", of.map(line).collect::<Vec<_>>().join("\n"), notes.join("\n"))
    }
}

/// What tells the subject's tag.
fn address(name: &str) -> [u8; 6] {
    let sum = name.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let [a, b, c, d] = sum.to_be_bytes();
    [0xC0, 1, a, b, c, d]
}

/// Above 8 °C for ten seconds is too warm.
fn fridge() -> Fixture {
    let hold = Duration::from_secs(10);
    let rule = AlertRule {
        id: Arc::from("too_warm"),
        quantity: Quantity::TemperatureC,
        condition: Condition::Above { limit: 8.0, hysteresis: 0.5 },
        hold,
        clear_after: hold,
    };
    Fixture {
        id: "fridge".to_owned(),
        zone: None,
        hangs: None,
        identifier: Identifier::Address(FRIDGE).into(),
        key: None,
        canary: false,
        report: ReportPolicy { alerts: vec![rule], ..ReportPolicy::default() },
    }
}

fn engine(enrolled: &[String], private: Vec<ZoneId>, next: VisitId) -> Engine {
    let subject = |name: &String| Subject {
        pseudonym: Pseudonym::new(name),
        kind: SubjectKind::Customer,
        identifiers: vec![Identifier::Address(address(name))],
        consent: Some(Consent {
            purposes: Purposes::ALL,
            from: UnixTime::from_millis(0),
            until: None,
            proof: "p".into(),
        }),
    };
    let subjects = enrolled.iter().map(subject).collect();
    let registry = Registry::new(subjects, vec![fridge()]).unwrap();
    let identity = Identity::new(registry, IdentitySettings::default(), AddressSeed::new(1));
    let zone = |id: &str, receiver: &str| Zone {
        id: ZoneId::new(id),
        enter_rssi: if receiver == "shelf" { -70.0 } else { -75.0 },
        exit_rssi: -85.0,
        loitering: vec![Duration::from_mins(1)],
        receivers: vec![ReceiverId::new(receiver)],
    };
    let mut presence = PresenceSettings {
        zones: vec![zone("door", "local"), zone("wine", "shelf")],
        receivers: vec![ReceiverId::new("local"), ReceiverId::new("shelf")],
        exit_timeout: Duration::from_secs(30),
        exit_timeout_max: Duration::from_secs(30),
        merge_gap: Duration::ZERO,
        resume_within: Duration::from_mins(5),
        ..PresenceSettings::default()
    };
    // As the settings have it: a private zone is none, and its receivers are not named.
    presence.zones.retain(|zone| !private.contains(&zone.id));
    if !private.is_empty() {
        presence.private.receivers = vec![ReceiverId::new("shelf")];
    }
    presence.private.zones = private;
    Engine::new(identity, presence, next)
}

/// Walks that go on, a step of every one a second.
pub(super) type Steps = VecDeque<(i64, String, [Option<i8>; 2], Option<i8>)>;

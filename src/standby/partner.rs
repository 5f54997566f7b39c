//! One of two gateways, as far as the other one matters: what is heard, what the engine makes and what the other
//! one tells in; what the engine is to do, what goes to the outbox, and what is told the other one, out.
//!
//! Pure: `gateway/drive.rs` and the tests' simulation drive it alike. Call a `handle_*` method or
//! [`Partner::hear`], then drain the engine into [`Partner::keep`], then drain [`Partner::poll_writes`],
//! [`Partner::poll_message`] and [`Partner::poll_note`]; sleep until [`Partner::poll_timeout`].

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    book::{Book, Echo, Ours, Pages},
    duty::{Duty, Order, Part, PeerState, Terms, Why},
    form::{Key, Message},
    gap::Gap,
    gate::Gate,
    ledger::{Change, Ledger},
};
use crate::{
    checkpoint,
    engine::{
        Advertisement, Checkpoint, Engine, Overheard, Pseudonym, Registry, Relayed, Takeover,
        Uptime, VisitRecord, WallClock, ZoneId,
    },
    outbox::{
        Write,
        record::{Body, Change as Told, Record, RunId},
    },
    relay::Run,
};

/// How often a gateway says that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// How often it says when open visits were last true.
const SEEN_EVERY: Duration = Duration::from_secs(5);

/// A whole picture is not told more often than this, however often it is asked for.
const PICTURE_EVERY: Duration = Duration::from_secs(2);

/// What was heard so shortly before the other one's last word it may not have heard yet.
const SLACK: Duration = Duration::from_secs(1);

/// Who the two are, and what this one must not name.
#[derive(Clone, Debug)]
pub struct Names {
    /// The shop.
    pub store: String,
    /// This gateway.
    pub me: Arc<str>,
    /// The other one.
    pub peer: Arc<str>,
    /// Zones that are private here.
    pub private: Vec<ZoneId>,
}

/// What is worth a word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Note {
    /// It makes events from now on.
    Acts {
        /// Why.
        why: Why,
        /// Visits that go on here.
        visits: usize,
        /// Events of the other one that are told in its place.
        records: usize,
        /// Sightings that were heard meanwhile.
        heard: usize,
        /// Sightings that were heard meanwhile, and dropped for want of room.
        dropped: u64,
    },
    /// It makes none from now on.
    StandsDown {
        /// Why.
        why: Why,
        /// Visits that go on at the other one, or end.
        visits: usize,
    },
}

/// What is counted of the pair.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tallies {
    /// How often this one began to make events.
    pub takeovers: u64,
    /// Visits that went on here.
    pub adopted: u64,
    /// Events of the other one that were told in its place.
    pub retold: u64,
    /// What was kept before the other one had it.
    pub late: u64,
    /// Things in messages that made no sense.
    pub unread: u64,
}

/// One of two gateways.
#[derive(Debug)]
pub struct Partner {
    ours: Ours,
    private: Vec<ZoneId>,
    run: Run,
    began: Uptime,
    duty: Duty,
    book: Book,
    ledger: Ledger,
    gap: Gap,
    gate: Gate,
    /// Visits of an earlier time on duty, with which the other one may have gone on.
    left_over: Vec<(Pseudonym, VisitRecord)>,
    /// Events of the other one that are to be told.
    retold: Vec<Record>,
    counter: u64,
    /// The last message that said anything about visits.
    content: u64,
    next_beat: Uptime,
    seen_told: Uptime,
    picture_told: Option<Uptime>,
    /// The other one was told the picture, and is told each change of it.
    pictured: bool,
    /// How far the other one has followed.
    followed: Option<u64>,
    peer_acts: bool,
    out: VecDeque<Message>,
    notes: VecDeque<Note>,
    tallies: Tallies,
}

impl Partner {
    /// Starts at `now`, listening. `left_over` are the visits that were open when this gateway last stopped.
    pub fn new(
        (part, terms): (Part, Terms),
        names: Names,
        (run, mark): (RunId, Run),
        left_over: Vec<(Pseudonym, VisitRecord)>,
        now: Uptime,
    ) -> Self {
        let Names { store, me, peer, private } = names;
        Self {
            ours: Ours { store, me, peer, run },
            private,
            run: mark,
            began: now,
            duty: Duty::new(part, terms, now),
            book: Book::default(),
            ledger: Ledger::default(),
            gap: Gap::default(),
            gate: Gate::default(),
            left_over,
            retold: Vec::new(),
            counter: 0,
            content: 0,
            next_beat: now,
            seen_told: now,
            picture_told: None,
            pictured: false,
            followed: None,
            peer_acts: false,
            out: VecDeque::new(),
            notes: VecDeque::new(),
            tallies: Tallies::default(),
        }
    }

    /// Whether this gateway makes events.
    pub fn is_acting(&self) -> bool {
        self.duty.is_acting()
    }

    /// Whether the other one makes events, as far as is known.
    pub fn peer_acts(&self, now: Uptime) -> bool {
        self.peer_acts && self.duty.hears(now)
    }

    /// Whether the other one is heard of.
    pub fn hears_peer(&self, now: Uptime) -> bool {
        self.duty.hears(now)
    }

    /// Whether this one could go on with the other one's visits, or the other one with this one's.
    pub fn is_followed(&self, now: Uptime) -> bool {
        self.duty.hears(now)
            && if self.is_acting() { self.followed.is_some() } else { self.book.is_whole() }
    }

    /// Whether visits of an earlier time are still to be dealt with.
    pub fn has_left_over(&self) -> bool {
        !self.left_over.is_empty()
    }

    /// What was counted so far.
    pub fn tallies(&self) -> Tallies {
        Tallies { late: self.gate.late(), unread: self.book.unread(), ..self.tallies }
    }

    /// An advertisement was heard.
    pub fn hear(&mut self, engine: &mut Engine, advertisement: &Advertisement) {
        if self.is_acting() {
            return engine.handle_advertisement(advertisement.heard, advertisement);
        }
        if let Some(spotted) = engine.spot(advertisement) {
            self.gap.push(Overheard { receiver: advertisement.receiver.clone(), spotted });
        }
    }

    /// A receiver has told what it heard.
    pub fn hear_relayed(&mut self, engine: &mut Engine, relayed: Relayed) {
        if self.is_acting() {
            return engine.handle_relayed(&relayed);
        }
        engine.overhear(&relayed);
        for spotted in relayed.sightings {
            self.gap.push(Overheard { receiver: relayed.receiver.clone(), spotted });
        }
    }

    /// The line to the broker stands, or no longer does.
    pub fn handle_link(&mut self, now: Uptime, engine: &mut Engine, linked: bool) {
        self.duty.handle_link(now, linked);
        if linked {
            // The other one is to hear of this start at once.
            self.next_beat = now;
        } else {
            self.let_go();
        }
        self.obey(now, engine);
    }

    /// What the broker holds as the other one's state.
    pub fn handle_state(&mut self, now: Uptime, engine: &mut Engine, state: PeerState) {
        self.duty.handle_state(now, state);
        self.obey(now, engine);
    }

    /// The other one has told something.
    pub fn handle_message(
        &mut self,
        now: Uptime,
        wall: &WallClock,
        engine: &mut Engine,
        message: &Message,
    ) {
        let start = message.start();
        let is_new = self.book.run().is_some_and(|known| known != start);
        if is_new && !message.acting && self.book.pages().is_some() {
            // Before anything is trimmed: nobody else knows what was heard since it died.
            self.duty.handle_restart();
            self.obey(now, engine);
        }
        let changed = self.book.enter(now, wall, message, &self.ours);
        if message.acting {
            self.gap.trim(now - SLACK);
        }
        let acted = std::mem::replace(&mut self.peer_acts, message.acting);
        let begins = message.acting && !acted;
        let applied = message.applied.filter(|(run, _)| *run == self.mark());
        self.followed = applied.map(|(_, counter)| counter);
        if let Some(counter) = self.followed {
            self.gate.applied(now, counter);
        }
        let ready = if self.is_acting() {
            self.followed.is_some_and(|followed| followed >= self.content)
        } else {
            message.hears == Some(self.mark())
        };
        // A picture that is asked for is told when there is one: not before what a takeover has led to was kept.
        let asked = message.wants && self.is_acting();
        self.duty.handle_peer(now, message.acting, ready);
        self.obey(now, engine);
        let asked = asked && self.is_acting();
        let lately = |told: Uptime| now.since(told) < PICTURE_EVERY;
        if asked && !self.picture_told.is_some_and(lately) {
            (self.picture_told, self.pictured) = (Some(now), true);
            for part in self.ledger.picture() {
                self.tell(now, part);
            }
        }
        if !self.is_acting()
            && message.acting
            && self.has_left_over()
            && let Some(known) = self.book.pages().filter(|_| self.book.is_whole()).map(known)
        {
            self.judge_left_over(now, engine, &known);
        }
        if changed || begins || is_new {
            // Somebody may wait for the answer, or has not told the picture yet.
            self.tell(now, Message::default());
        }
    }

    /// The platform has an event of the other one.
    pub fn handle_echo(&mut self, echo: &Echo) {
        self.book.echo(echo, &self.ours);
    }

    /// Everything that this one has handed to the outbox is with the platform.
    pub fn handle_delivered(&mut self, now: Uptime) {
        self.ledger.all_delivered(now);
    }

    /// Who is enrolled has changed: nothing waits behind it, and whoever is not any more is forgotten.
    pub fn handle_registry(&mut self, engine: &mut Engine) {
        self.gate.open();
        let registry = engine.identity().registry();
        let is_enrolled = |registry: &Registry, name: &str| registry.by_pseudonym(name).is_some();
        self.book.retain(|name| is_enrolled(registry, name));
        self.gap.retain(|name| is_enrolled(registry, name));
        let keep =
            |(subject, _): &(Pseudonym, VisitRecord)| is_enrolled(registry, subject.as_str());
        let (stay, gone) = std::mem::take(&mut self.left_over).into_iter().partition(keep);
        self.left_over = stay;
        let gone: Vec<(Pseudonym, VisitRecord)> = gone;
        engine.disown(gone.into_iter().map(|(subject, _)| subject));
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Uptime, engine: &mut Engine) {
        self.duty.handle_timeout(now);
        self.obey(now, engine);
        self.gate.handle_timeout(now);
        if now < self.next_beat {
            return;
        }
        self.next_beat = now + BEAT;
        if self.is_acting() && self.pictured && now.since(self.seen_told) >= SEEN_EVERY {
            self.seen_told = now;
            let visits = engine.open_visits().map(|(subject, visit)| (subject, visit.last_seen));
            for part in Ledger::seen(visits) {
                self.tell(now, part);
            }
        }
        self.tell(now, Message::default());
    }

    /// When [`Self::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Uptime> {
        let due = [self.duty.poll_timeout(), self.gate.poll_timeout(), Some(self.next_beat)];
        due.into_iter().flatten().min()
    }

    /// What the engine has made is to be kept together, once the other one has it.
    pub fn keep(
        &mut self,
        now: Uptime,
        wall: &WallClock,
        records: Vec<Record>,
        (changes, fixtures): (Vec<Checkpoint>, Vec<Write>),
    ) {
        let mut change = Change::default();
        let mut writes = Vec::new();
        for record in std::mem::take(&mut self.retold).into_iter().chain(records) {
            let about_a_subject = record.subject().is_some();
            let write = Write::Append(record.into_entry());
            if let Write::Append(entry) = &write
                && about_a_subject
            {
                change.records.push(entry.bytes.clone());
            }
            writes.push(write);
        }
        for checkpoint in changes {
            let write = checkpoint::write(&checkpoint, wall, self.ours.run);
            let key = checkpoint.visit.as_ref().map(|visit| self.ours.key(visit));
            if let Write::Keep { value, .. } = &write {
                change.visits.push((checkpoint.subject, key.zip(value.clone())));
            }
            writes.push(write);
        }
        for write in fixtures {
            if let Write::Keep { slot, value } = &write {
                change.fixtures.push((slot.clone(), value.clone()));
            }
            writes.push(write);
        }
        if writes.is_empty() {
            return;
        }
        let mut mark = None;
        if self.is_acting() && !change.is_empty() {
            let parts = self.ledger.enter(now, change);
            if self.pictured {
                for part in parts {
                    self.tell(now, part);
                }
                mark = Some(self.content).filter(|_| self.duty.hears(now));
            }
        }
        self.gate.put(now, mark, writes);
    }

    /// What is to be kept next, in one commit.
    pub fn poll_writes(&mut self) -> Option<Vec<Write>> {
        self.gate.poll()
    }

    /// Lets everything through to be kept, as the gateway stops.
    pub fn open_gate(&mut self) {
        self.gate.open();
    }

    /// What is to be told next.
    pub fn poll_message(&mut self) -> Option<Message> {
        self.out.pop_front()
    }

    /// What is worth a word next.
    pub fn poll_note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    /// Changes are not told any more until the other one asks for the picture; that it must, it sees by a number
    /// that is missing.
    fn let_go(&mut self) {
        (self.followed, self.pictured) = (None, false);
        self.counter += 1;
    }

    fn mark(&self) -> (u32, u64, u64) {
        (self.run.epoch, self.run.sequence, self.run.mark)
    }

    fn tell(&mut self, now: Uptime, content: Message) {
        self.counter += 1;
        if content.has_content() {
            self.content = self.counter;
        }
        let applied = self.book.applied();
        let hears = self.book.run();
        let acting = self.is_acting();
        self.out.push_back(Message {
            run: self.mark(),
            counter: self.counter,
            uptime_us: now.as_micros(),
            hears: hears.map(|it| (it.epoch, it.sequence, it.mark)),
            acting,
            applied: applied.map(|(it, last)| ((it.epoch, it.sequence, it.mark), last)),
            wants: !acting && self.peer_acts && !self.book.is_whole(),
            delivered: self.ledger.delivered(),
            ..content
        });
    }

    fn obey(&mut self, now: Uptime, engine: &mut Engine) {
        while let Some(order) = self.duty.poll() {
            match order {
                Order::Act(why) => self.act(now, engine, why),
                Order::StandDown(why) => {
                    self.left_over.extend(engine.give_up(now));
                    self.gate.open();
                    self.ledger.clear();
                    self.let_go();
                    self.book.clear();
                    let visits = self.left_over.len();
                    self.notes.push_back(Note::StandsDown { why, visits });
                }
            }
            // The other one waits for it, or need not wait for it.
            self.tell(now, Message::default());
        }
    }

    /// Goes on with what the other one has told, or else with what is left over.
    fn act(&mut self, now: Uptime, engine: &mut Engine, why: Why) {
        self.tallies.takeovers += 1;
        let mut fixtures = Vec::new();
        let (open, since, records) = if let Some((pages, told)) = self.book.take() {
            self.judge_left_over(now, engine, &known(&pages));
            self.ledger.known = known(&pages);
            // Who lives sends what it has made by itself.
            let records = if why == Why::Gone { pages.records } else { VecDeque::new() };
            let records = records.into_iter().filter_map(|(_, it)| self.nameable(it)).collect();
            fixtures.extend(pages.fixtures.into_values());
            let open = pages.visits.into_iter().map(|(name, (_, visit))| (name, visit));
            (open.collect(), told, records)
        } else {
            let since = self.gap.since().unwrap_or(now).max(self.began);
            (std::mem::take(&mut self.left_over), since, Vec::new())
        };
        let (heard, dropped) = self.gap.take();
        let (visits, told, meanwhile) = (open.len(), records.len(), heard.len());
        self.tallies.adopted += u64::try_from(visits).unwrap_or(u64::MAX);
        self.tallies.retold += u64::try_from(told).unwrap_or(u64::MAX);
        self.retold = records;
        engine.take_over(now, Takeover { since, open, fixtures, heard });
        let note = Note::Acts { why, visits, records: told, heard: meanwhile, dropped };
        self.notes.push_back(note);
    }

    /// What is left over and known to the other one goes on there, or is over there. Of the others, whoever named
    /// a visit ends it.
    fn judge_left_over(&mut self, now: Uptime, engine: &mut Engine, known: &BTreeSet<Key>) {
        let (mut ends, mut others) = (Vec::new(), Vec::new());
        for (subject, visit) in std::mem::take(&mut self.left_over) {
            if visit.begun_at.is_none() && !known.contains(&self.ours.key(&visit)) {
                ends.push((subject, visit));
            } else {
                others.push(subject);
            }
        }
        engine.conclude(now, ends);
        engine.disown(others);
    }

    /// The event without what must not be named here; `None` when nothing is left of it.
    fn nameable(&self, mut record: Record) -> Option<Record> {
        if let Body::Presence(presence) = &mut record.body {
            let is_private = |zone: &String| self.private.iter().any(|it| it.as_str() == zone);
            match &mut presence.change {
                Told::ZoneEntered { zone, .. }
                | Told::ZoneExited { zone, .. }
                | Told::ZoneDwelled { zone, .. }
                    if is_private(zone) =>
                {
                    return None;
                }
                Told::VisitEnded(summary) if summary.zones.iter().any(is_private) => {
                    summary.path.clear();
                    summary.dwell.clear();
                    summary.zones.clear();
                }
                _ => {}
            }
            presence.context.zones_visited.retain(|zone| !is_private(zone));
        }
        Some(record)
    }
}

/// All visits of which a picture tells, over or not.
fn known(pages: &Pages) -> BTreeSet<Key> {
    let open = pages.visits.values().map(|(key, _)| key);
    open.chain(&pages.closed).cloned().collect()
}

//! What the other gateway has told while it makes events: messages in; its open visits, and the events that the
//! platform may not have, out, in times of this gateway. Pure.
//!
//! Promises to know when its picture is not whole, and never to mix two pictures.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde::Deserialize;

use super::form::{Key, Message};
use crate::{
    checkpoint,
    engine::{ClockQuality, Pseudonym, Remembered, Uptime, VisitRecord, WallClock},
    outbox::record::{Body, Change, Record, RunId},
    relay::Run,
    timeline::Told,
    uplink::payload::{kind_of, visit_name},
};

/// How many visits that are over are remembered: more than are open in a busy hour.
const MOST_CLOSED: usize = 1024;

/// How many events are kept: twice what the other one remembers.
const MOST_RECORDS: usize = 2048;

/// How much the difference of the two uptimes may grow from one message to the next, in microseconds: clocks
/// of quartz differ by less than a thousandth.
const DRIFT_US: i64 = 1000;

/// Who the two are, and in which run.
#[derive(Clone, Debug)]
pub(super) struct Ours {
    /// The shop.
    pub(super) store: String,
    /// This gateway.
    pub(super) me: Arc<str>,
    /// The other one.
    pub(super) peer: Arc<str>,
    /// This run of the program.
    pub(super) run: RunId,
}

/// What the picture shows.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pub(super) visits: BTreeMap<Pseudonym, (Key, VisitRecord)>,
    pub(super) closed: VecDeque<Key>,
    /// What is remembered of fixtures, by slot.
    pub(super) fixtures: BTreeMap<Vec<u8>, (String, Remembered)>,
    /// Numbered, in order, dated by this gateway's clocks.
    pub(super) records: VecDeque<(u64, Record)>,
}

/// What tells an event from the others of its visit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Echo {
    visit: String,
    /// Family and kind.
    kind: String,
    zone: Option<String>,
    delay_ms: Option<u64>,
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct Book {
    run: Option<Run>,
    last: u64,
    /// What is added to its uptimes, in microseconds.
    shift_us: Option<i64>,
    building: Option<Pages>,
    pages: Option<Pages>,
    /// The pages lack nothing of what was told.
    whole: bool,
    /// When the other one last said that it makes events.
    told: Option<Uptime>,
    /// Things that made no sense.
    unread: u64,
}

// === impl Ours ===

impl Ours {
    /// Names a visit as both know it.
    pub(super) fn key(&self, visit: &VisitRecord) -> Key {
        let gateway = visit.begun_at.as_ref().unwrap_or(&self.me).to_string();
        Key { gateway, visit: (visit.id.epoch, visit.id.run, visit.id.number) }
    }

    /// Where a visit began, told by the other one, as it is told here.
    fn begun_at(&self, theirs: Option<&str>) -> Option<Arc<str>> {
        match theirs {
            None => Some(Arc::clone(&self.peer)),
            Some(gateway) if *gateway == *self.me => None,
            Some(gateway) => Some(Arc::from(gateway)),
        }
    }
}

// === impl Echo ===

impl Echo {
    /// Of an event as the platform has it; `None` for what is no event about a subject.
    pub fn of_event(json: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Event {
            r#type: String,
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            visit: String,
            zone: Option<String>,
            delay_s: Option<f64>,
        }
        let Event { r#type, data } = serde_json::from_slice(json).ok()?;
        let kind = r#type.strip_prefix("io.beacon-gateway.")?.strip_suffix(".v1")?.to_owned();
        let delay_ms = data.delay_s.filter(|it| (0.0..1e9).contains(it)).map(|delay| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it was just found to be from 0 to 10^9"
            )]
            let millis = (delay * 1000.0).round() as u64;
            millis
        });
        Some(Self { visit: data.visit, kind, zone: data.zone, delay_ms })
    }

    fn of_record(record: &Record, ours: &Ours) -> Option<Self> {
        let Body::Presence(presence) = &record.body else { return None };
        let (family, kind) = kind_of(&record.body);
        let named_by = presence.begun_at.as_deref().unwrap_or(&ours.me);
        let (zone, delay_ms) = match &presence.change {
            Change::VisitStarted { .. } | Change::VisitEnded(_) => (None, None),
            Change::ZoneEntered { zone, .. } | Change::ZoneExited { zone, .. } => {
                (Some(zone.clone()), None)
            }
            Change::ZoneDwelled { zone, delay_ms } => (Some(zone.clone()), Some(*delay_ms)),
        };
        let visit = visit_name(&ours.store, named_by, presence.visit);
        Some(Self { visit, kind: format!("{family}.{kind}"), zone, delay_ms })
    }
}

// === impl Book ===

impl Book {
    /// Enters what was told. Says whether it changed the picture.
    pub(super) fn enter(
        &mut self,
        now: Uptime,
        wall: &WallClock,
        message: &Message,
        ours: &Ours,
    ) -> bool {
        let run = message.start();
        let follows = self.run == Some(run) && message.counter == self.last.saturating_add(1);
        if self.run.replace(run) != Some(run) {
            self.shift_us = None;
        }
        self.last = message.counter;
        let shift_us = now.as_micros().saturating_sub(message.uptime_us);
        // The least delay is nearest to the truth.
        let known = self.shift_us.map(|known| known.saturating_add(DRIFT_US));
        let shift_us = known.map_or(shift_us, |known| known.min(shift_us));
        self.shift_us = Some(shift_us);
        if !follows {
            (self.building, self.whole) = (None, false);
        }
        if !message.acting {
            // What it says then is about nothing; what it said before still holds.
            return false;
        }
        self.told = Some(now);
        if message.base {
            self.building = Some(Pages::default());
        }
        let here =
            |at: Uptime| Uptime::from_micros(at.as_micros().saturating_add(shift_us)).min(now);
        let pages = match (&mut self.building, &mut self.pages) {
            (Some(building), _) => building,
            (None, Some(pages)) if self.whole => pages,
            _ => return false,
        };
        self.unread += pages.enter(message, ours, wall, here);
        if message.whole && self.building.is_some() {
            (self.pages, self.whole) = (self.building.take(), true);
        }
        message.has_content()
    }

    /// The platform has an event of the other one.
    pub(super) fn echo(&mut self, echo: &Echo, ours: &Ours) {
        for pages in [&mut self.pages, &mut self.building].into_iter().flatten() {
            let is_it = |(_, record): &(u64, Record)| {
                Echo::of_record(record, ours).is_some_and(|it| it == *echo)
            };
            if let Some(place) = pages.records.iter().position(is_it) {
                pages.records.remove(place);
            }
        }
    }

    /// Up to where everything was followed.
    pub(super) fn applied(&self) -> Option<(Run, u64)> {
        self.run.filter(|_| self.whole).map(|run| (run, self.last))
    }

    /// Whether the picture lacks nothing.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The picture, such as it is.
    pub(super) fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    /// Takes the picture, and when it was last true.
    pub(super) fn take(&mut self) -> Option<(Pages, Uptime)> {
        (self.building, self.whole) = (None, false);
        self.pages.take().zip(self.told)
    }

    /// Of which start of the other one was heard last.
    pub(super) fn run(&self) -> Option<Run> {
        self.run
    }

    /// Forgets the picture.
    pub(super) fn clear(&mut self) {
        (self.building, self.pages, self.whole, self.told) = (None, None, false, None);
    }

    /// Things in messages that made no sense.
    pub(super) fn unread(&self) -> u64 {
        self.unread
    }

    /// Forgets whoever is not one of these any more.
    pub(super) fn retain(&mut self, is_enrolled: impl Fn(&str) -> bool) {
        for pages in [&mut self.pages, &mut self.building].into_iter().flatten() {
            pages.visits.retain(|subject, _| is_enrolled(subject.as_str()));
            let is_about =
                |record: &Record| record.subject().is_some_and(|(it, _)| is_enrolled(it));
            pages.records.retain(|(_, record)| is_about(record));
        }
    }
}

// === impl Pages ===

impl Pages {
    /// Enters a message; says how much of it made no sense.
    fn enter(
        &mut self,
        message: &Message,
        ours: &Ours,
        wall: &WallClock,
        here: impl Fn(Uptime) -> Uptime,
    ) -> u64 {
        let mut unread = 0;
        let mut spoken_of = BTreeSet::new();
        for (number, bytes) in &message.records {
            let record = Record::decode(bytes).ok();
            let Some(record) = record.and_then(|it| redated(it, ours, wall, &here)) else {
                unread += 1;
                continue;
            };
            spoken_of.extend(record.subject().map(|(subject, _)| subject.to_owned()));
            self.records.push_back((*number, record));
            if self.records.len() > MOST_RECORDS {
                self.records.pop_front();
            }
        }
        for (subject, value) in &message.visits {
            let name = Pseudonym::new(subject);
            let Some(value) = value else {
                let gone = self.visits.remove(&name);
                self.close(gone.map(|(key, _)| key));
                if !spoken_of.contains(subject) {
                    // It ended without a word: the consent did.
                    let other =
                        |it: &Record| it.subject().is_none_or(|(about, _)| about != subject);
                    self.records.retain(|(_, record)| other(record));
                }
                continue;
            };
            let slot = checkpoint::slot(&name);
            let Some((_, mut visit)) = checkpoint::carried(&slot, value, &here) else {
                unread += 1;
                continue;
            };
            visit.begun_at = ours.begun_at(visit.begun_at.as_deref());
            let key = ours.key(&visit);
            let before = self.visits.insert(name, (key.clone(), visit));
            self.close(before.map(|(before, _)| before).filter(|before| *before != key));
        }
        for (slot, value) in &message.fixtures {
            let Some(value) = value else {
                self.fixtures.remove(slot);
                continue;
            };
            match checkpoint::fixture::carried(slot, value, &here) {
                Some(it) => drop(self.fixtures.insert(slot.clone(), it)),
                None => unread += 1,
            }
        }
        for (subject, at_us) in &message.seen {
            let at = here(Uptime::from_micros(*at_us));
            if let Some((_, visit)) = self.visits.get_mut(&Pseudonym::new(subject)) {
                visit.last_seen = visit.last_seen.max(at);
                if let Some(stay) = visit.stays.last_mut().filter(|_| visit.in_zone) {
                    stay.left = stay.left.max(at);
                }
            }
        }
        while self.records.pop_front_if(|(number, _)| *number <= message.delivered).is_some() {}
        message.closed.iter().for_each(|key| self.close(Some(key.clone())));
        unread
    }

    fn close(&mut self, key: Option<Key>) {
        self.closed.extend(key);
        if self.closed.len() > MOST_CLOSED {
            self.closed.pop_front();
        }
    }
}

/// The same event, dated by this gateway's clocks; `None` for what is about no subject.
fn redated(
    record: Record,
    ours: &Ours,
    wall: &WallClock,
    here: impl Fn(Uptime) -> Uptime,
) -> Option<Record> {
    let at = here(Uptime::from_micros(record.uptime_us));
    let synced = wall.quality == ClockQuality::Synced;
    let mut record = record.told_as(Told { run: ours.run, at, unix: wall.unix_at(at), synced });
    let Body::Presence(presence) = &mut record.body else { return None };
    presence.begun_at = ours.begun_at(presence.begun_at.as_deref()).map(|it| it.to_string());
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{Checkpoint, Quality, ReceiverId, UnixTime, VisitId},
        outbox::{
            Write,
            record::{Context, Presence},
        },
    };

    fn ours() -> Ours {
        Ours { store: "s".to_owned(), me: Arc::from("gw2"), peer: Arc::from("gw1"), run: RunId(7) }
    }

    fn s(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    fn wall(seconds: i64) -> WallClock {
        let unix = UnixTime::from_millis(1_790_000_000_000 + seconds * 1000);
        WallClock { at: s(seconds), unix, quality: ClockQuality::Synced }
    }

    /// The lead's uptime is a hundred seconds ahead of ours.
    fn visit(subject: &str, number: u64, begun_at: Option<&str>) -> (String, Option<Vec<u8>>) {
        let visit = VisitRecord {
            id: VisitId { epoch: 1, run: 1, number },
            begun_at: begun_at.map(Arc::from),
            started: s(110),
            last_seen: s(110),
            first_receiver: ReceiverId::default(),
            last_receiver: ReceiverId::default(),
            stays: Vec::new(),
            stays_cut: false,
            in_zone: false,
            dwelled: 0,
            dwell: BTreeMap::new(),
            quality: Quality::default(),
            left: None,
        };
        let checkpoint = Checkpoint { subject: Pseudonym::new(subject), visit: Some(visit) };
        match checkpoint::write(&checkpoint, &wall(111), RunId(1)) {
            Write::Keep { value, .. } => (subject.to_owned(), value),
            _ => (subject.to_owned(), None),
        }
    }

    fn started(subject: &str, number: u64) -> Vec<u8> {
        let presence = Presence {
            subject: subject.to_owned(),
            kind: "customer".to_owned(),
            purpose: "presence".to_owned(),
            proof: "p".to_owned(),
            purposes: vec!["presence".to_owned()],
            wide_window: false,
            visit: (1, 1, number),
            begun_at: None,
            change: Change::VisitStarted { receiver: "r".to_owned() },
            context: Context::default(),
        };
        Record::new(Body::Presence(Box::new(presence)), s(110), RunId(1), &wall(110)).encode()
    }

    fn message(counter: u64) -> Message {
        let uptime_us = s(115).as_micros();
        Message { run: (1, 1, 1), counter, uptime_us, acting: true, ..Message::default() }
    }

    fn picture(counter: u64, visits: Vec<(String, Option<Vec<u8>>)>) -> Message {
        Message { base: true, whole: true, visits, ..message(counter) }
    }

    fn enter(book: &mut Book, message: &Message) -> bool {
        book.enter(s(15), &wall(15), message, &ours())
    }

    fn open(book: &Book) -> Vec<&str> {
        book.pages().map(|it| it.visits.keys().map(Pseudonym::as_str).collect()).unwrap_or_default()
    }

    #[test]
    fn a_picture_is_whole_until_a_message_is_missing_and_again_when_it_was_told_anew() {
        let mut book = Book::default();
        assert!(!enter(&mut book, &message(1)));
        let change =
            |counter, name| Message { visits: vec![visit(name, 2, None)], ..message(counter) };
        assert!(!enter(&mut book, &change(2, "n")), "there is nothing that it could change");
        assert!(enter(&mut book, &picture(3, vec![visit("m", 1, None)])));
        assert!(enter(&mut book, &change(4, "n")));
        assert_eq!((open(&book), book.applied().map(|it| it.1)), (vec!["m", "n"], Some(4)));
        assert!(!enter(&mut book, &change(6, "o")), "the fifth is missing");
        assert_eq!((open(&book), book.is_whole()), (vec!["m", "n"], false));
        // The old picture stays until the new one is there.
        let first = Message { base: true, visits: vec![visit("p", 3, None)], ..message(7) };
        assert!(enter(&mut book, &first));
        assert_eq!((open(&book), book.is_whole()), (vec!["m", "n"], false));
        enter(&mut book, &Message { whole: true, ..message(8) });
        assert_eq!((open(&book), book.is_whole()), (vec!["p"], true));
        // One whose middle is missing is none.
        enter(&mut book, &Message { base: true, ..message(9) });
        enter(&mut book, &Message { whole: true, ..message(11) });
        assert_eq!((open(&book), book.is_whole()), (vec!["p"], false));
        // A new start that does not act says nothing about visits.
        enter(&mut book, &Message { run: (1, 9, 9), acting: false, ..message(1) });
        assert_eq!(open(&book), ["p"]);
    }

    #[test]
    fn times_are_ours_and_a_visit_keeps_the_name_of_the_gateway_that_began_it() {
        let mut book = Book::default();
        let visits =
            vec![visit("m", 1, None), visit("n", 2, Some("gw2")), visit("o", 3, Some("gw3"))];
        let seen = vec![("m".to_owned(), s(113).as_micros())];
        enter(
            &mut book,
            &Message { seen, records: vec![(1, started("m", 1))], ..picture(1, visits) },
        );
        let (pages, told) = book.take().unwrap();
        assert_eq!(told, s(15));
        let of = |name: &str| &pages.visits[&Pseudonym::new(name)];
        assert_eq!((of("m").1.started, of("m").1.last_seen), (s(10), s(13)));
        let begun = ["m", "n", "o"].map(|name| of(name).1.begun_at.as_deref());
        assert_eq!(begun, [Some("gw1"), None, Some("gw3")]);
        let keys = ["m", "n", "o"].map(|name| of(name).0.gateway.as_str());
        assert_eq!(keys, ["gw1", "gw2", "gw3"]);
        let record = &pages.records[0].1;
        assert_eq!((record.run, record.uptime_us), (RunId(7), s(10).as_micros()));
        assert_eq!(record.unix_ms, wall(10).unix.as_millis());
        assert!(book.take().is_none());
    }

    #[test]
    fn what_the_platform_has_or_a_withdrawal_covers_is_not_kept() {
        let mut book = Book::default();
        let visits = vec![visit("m", 1, None), visit("n", 2, None)];
        let records = vec![(1, started("m", 1)), (2, started("n", 2)), (3, started("n", 2))];
        enter(&mut book, &Message { records, ..picture(1, visits) });
        let numbers = |book: &Book| -> Vec<u64> {
            book.pages().unwrap().records.iter().map(|(number, _)| *number).collect()
        };
        let event = |visit: &str, kind: &str| {
            let json = format!(
                "{{\"type\":\"io.beacon-gateway.{kind}.v1\",\"data\":{{\"visit\":\"{visit}\"}}}}"
            );
            Echo::of_event(json.as_bytes()).unwrap()
        };
        book.echo(&event("s-gw1-1-v1-2", "visit.ended"), &ours());
        book.echo(&event("s-gw2-1-v1-2", "visit.started"), &ours());
        assert_eq!(numbers(&book), [1, 2, 3]);
        book.echo(&event("s-gw1-1-v1-2", "visit.started"), &ours());
        assert_eq!(numbers(&book), [1, 3], "one event is one");
        enter(&mut book, &Message { delivered: 1, ..message(2) });
        assert_eq!(numbers(&book), [3]);
        // An end that is told leaves what was told before; one without a word does not.
        let last = Message {
            visits: vec![("n".to_owned(), None)],
            records: vec![(4, started("n", 2))],
            ..message(3)
        };
        enter(&mut book, &last);
        assert_eq!((numbers(&book), open(&book)), (vec![3, 4], vec!["m"]));
        enter(&mut book, &Message { visits: vec![("n".to_owned(), None)], ..message(4) });
        assert!(numbers(&book).is_empty());
        assert_eq!(book.pages().unwrap().closed[0].visit, (1, 1, 2));
        book.retain(|name| name != "m");
        assert!(open(&book).is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_counted_and_the_rest_is_taken() {
        let mut book = Book::default();
        let visits = vec![("x".to_owned(), Some(vec![99, 1])), visit("m", 1, None)];
        enter(&mut book, &Message { records: vec![(1, vec![0; 7])], ..picture(1, visits) });
        assert_eq!((open(&book), book.unread()), (vec!["m"], 2));
        for json in ["", "{}", "[1]", "{\"type\":\"a\",\"data\":{\"visit\":\"v\"}}"] {
            assert_eq!(Echo::of_event(json.as_bytes()), None);
        }
    }
}

//! The pump, played against an outbox and a broker in memory: by seed, arrivals, cuts, refusals,
//! subjects about whom nothing can be sent yet, dead letters. `BEACON_GATEWAY_PUMP_SEEDS` says how
//! many plays (default 12).

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::*;
use crate::{outbox::Class, uplink::in_flight::PacketId};

/// A moment of the play.
const TICK: Duration = Duration::from_millis(50);

/// Where a record stands in the model's outbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    Pending,
    Delivered,
    SetAside,
}

struct Play {
    random: fastrand::Rng,
    now: Uptime,
    subjects: u64,
    window: u16,
    // The outbox.
    records: BTreeMap<Sequence, (Option<Tag>, At)>,
    pending: BTreeSet<Sequence>,
    pending_about: BTreeMap<Tag, BTreeSet<Sequence>>,
    /// What the broker has never had, nor refused for good.
    unseen_about: BTreeMap<Tag, BTreeSet<Sequence>>,
    arrived: BTreeMap<Sequence, Uptime>,
    last: u64,
    /// Requests that the outbox has not looked at yet, in order.
    asked: VecDeque<Read>,
    // The uplink.
    pump: Pump,
    marks: Marks,
    apart: Apart,
    careful: bool,
    online: bool,
    // The courier.
    withheld: BTreeSet<Tag>,
    view: BTreeSet<Tag>,
    // The broker, and what it has of whom.
    line: VecDeque<(PacketId, Sequence, Option<Tag>)>,
    packet_id: u16,
    refuses: BTreeSet<Tag>,
    quota: bool,
    latencies: Vec<Duration>,
}

impl Play {
    fn new(seed: u64, subjects: u64, window: u16) -> Self {
        let mut play = Self {
            random: fastrand::Rng::with_seed(seed),
            now: Uptime::ZERO,
            subjects,
            window,
            records: BTreeMap::new(),
            pending: BTreeSet::new(),
            pending_about: BTreeMap::new(),
            unseen_about: BTreeMap::new(),
            arrived: BTreeMap::new(),
            last: 0,
            asked: VecDeque::new(),
            pump: Pump::new(
                Start { careful: false, each: 1, floor: None, old: Sequence(0) },
                &mut Apart::default(),
            ),
            marks: Marks::default(),
            apart: Apart::default(),
            careful: false,
            online: false,
            withheld: BTreeSet::new(),
            view: BTreeSet::new(),
            line: VecDeque::new(),
            packet_id: 0,
            refuses: BTreeSet::new(),
            quota: false,
            latencies: Vec::new(),
        };
        play.cut();
        play
    }

    fn durable(&self) -> Option<Sequence> {
        Some(Sequence(self.last)).filter(|last| last.0 > 0)
    }

    /// Something happens in the shop. One in ten is about nobody.
    fn arrive(&mut self) {
        let subject = self.random.u64(0..self.subjects + self.subjects.div_ceil(9));
        self.arrive_about((subject < self.subjects).then_some(Tag(subject)));
    }

    fn arrive_about(&mut self, about: Option<Tag>) {
        self.last += 1;
        let sequence = Sequence(self.last);
        self.records.insert(sequence, (about, At::Pending));
        self.pend(sequence, about);
        self.arrived.insert(sequence, self.now);
    }

    fn pend(&mut self, sequence: Sequence, about: Option<Tag>) {
        self.pending.insert(sequence);
        if let Some(tag) = about {
            self.pending_about.entry(tag).or_default().insert(sequence);
            self.unseen_about.entry(tag).or_default().insert(sequence);
        }
    }

    /// The connection breaks; all that is left of it is what the session carries over.
    fn cut(&mut self) {
        let floor = self.pump.floor();
        while let Some(removal) = self.pump.last_removal() {
            self.asked.push_back(removal);
        }
        self.serve(usize::MAX);
        // Of what was written the broker may have taken some, in order.
        let taken = self.random.usize(0..=self.line.len());
        for _ in 0..taken {
            if let Some((_, sequence, about)) = self.line.pop_front() {
                self.take(sequence, about);
            }
        }
        self.line.clear();
        let start = Start { careful: self.careful, each: 1, floor, old: self.marks.old() };
        self.pump = Pump::new(start, &mut self.apart);
        self.online = false;
    }

    fn connect(&mut self) {
        let welcome = Welcome { receive_maximum: self.window + 1, largest_packet: usize::MAX };
        self.pump.open(self.window, welcome);
        self.online = true;
    }

    /// The broker has a record, perhaps again. The first time there must be nothing older about the
    /// same that it has not had.
    fn take(&mut self, sequence: Sequence, about: Option<Tag>) {
        let Some(unseen) = about.and_then(|tag| self.unseen_about.get_mut(&tag)) else { return };
        let oldest = unseen.first().copied();
        if unseen.remove(&sequence) {
            assert_eq!(oldest, Some(sequence), "{sequence:?} overtook it");
        }
    }

    /// The outbox answers so many requests.
    fn serve(&mut self, most: usize) {
        for _ in 0..most {
            let Some(read) = self.asked.pop_front() else { return };
            match read {
                Read::Oldest { after, limit, reply } => {
                    let from = Sequence(after.map_or(0, |after| after.0 + 1));
                    let pending = self.pending.range(from..).take(limit).copied();
                    reply.send(self.stored(pending)).ok();
                }
                Read::OldestAbout { who, after, limit, reply, .. } => {
                    let from = Sequence(after.map_or(0, |after| after.0 + 1));
                    let about = who.iter().filter_map(|tag| self.pending_about.get(tag));
                    let about: BTreeSet<_> = about.flat_map(|about| about.range(from..)).collect();
                    reply.send(self.stored(about.into_iter().take(limit).copied())).ok();
                }
                Read::Remove { sequences, why } => {
                    for sequence in sequences {
                        self.remove(sequence, why);
                    }
                }
                Read::BringBack { from, to, .. } => {
                    let aside = self.records.range_mut(from..=to);
                    let aside = aside.filter(|(_, (_, at))| *at == At::SetAside);
                    let back: Vec<_> = aside
                        .map(|(sequence, (about, at))| {
                            *at = At::Pending;
                            (*sequence, *about)
                        })
                        .collect();
                    for (sequence, about) in back {
                        self.pend(sequence, about);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn stored(&self, sequences: impl Iterator<Item = Sequence>) -> Vec<Stored> {
        let stored = |sequence| {
            let (about, _) = self.records.get(&sequence)?;
            let (about, class) = (*about, Class::Presence);
            Some(Stored { sequence, about, class, epoch: None, bytes: Vec::new() })
        };
        sequences.filter_map(stored).collect()
    }

    fn remove(&mut self, sequence: Sequence, why: Removal) {
        let Some((about, at)) = self.records.get_mut(&sequence) else { panic!("{sequence:?}?") };
        assert_eq!(*at, At::Pending, "{sequence:?} leaves twice");
        *at = if why == Removal::Rejected { At::SetAside } else { At::Delivered };
        self.pending.remove(&sequence);
        if let Some(about) = about.and_then(|tag| self.pending_about.get_mut(&tag)) {
            about.remove(&sequence);
        }
    }

    /// What the session does when it acts.
    fn act(&mut self) {
        if !self.online {
            return;
        }
        let durable = self.durable();
        if let Some(durable) = durable {
            self.marks.note(self.now, durable);
            self.pump.look(durable, self.marks.old(), &mut self.apart, self.now);
        }
        self.pump.resume(self.now);
        if self.pump.held_until().is_none() && self.pump.is_idle(durable) {
            self.apart.nobody_else();
        }
        self.apart.release(self.now);
        if self.apart.has_freed() {
            self.pump.begin_again(&mut self.apart, self.now);
        }
        if self.view != self.withheld {
            let milder = self.view.difference(&self.withheld).next().is_some();
            self.view.clone_from(&self.withheld);
            if milder {
                self.pump.reconsider(&mut self.apart, self.now);
            }
        }
        loop {
            let mut moved = false;
            while let Some(stored) = self.pump.next_record() {
                moved = true;
                self.send(&stored);
            }
            while self.pump.has_request(durable) {
                moved = true;
                self.asked.extend(self.pump.next_request(durable));
            }
            let served = self.random.usize(0..4);
            self.serve(served);
            let mut context = Context::from_waker(Waker::noop());
            let fetched = match pin!(self.pump.fetched()).poll(&mut context) {
                Poll::Ready(fetched) => Some(fetched),
                Poll::Pending => None,
            };
            if let Some(fetched) = fetched {
                self.pump.shelve(fetched, self.now);
                moved = true;
            }
            if !moved {
                return;
            }
            let lanes = &self.pump.lanes;
            assert!(lanes.len() <= 4096, "{} records are in memory", lanes.len());
        }
    }

    fn send(&mut self, stored: &Stored) {
        let sequence = stored.sequence;
        if stored.about.is_some_and(|tag| self.view.contains(&tag)) {
            self.pump.pass_over(sequence);
            return;
        }
        assert!(
            !self.line.iter().any(|(_, other, _)| *other == sequence),
            "{sequence:?} is in flight twice"
        );
        assert!(self.line.len() < usize::from(self.window));
        self.pump.requested(sequence, self.now);
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        assert!(self.pump.in_flight.sent(PacketId(self.packet_id)).is_some());
        self.line.push_back((PacketId(self.packet_id), sequence, stored.about));
    }

    /// The broker looks at so many of the records under way, and answers.
    fn answer(&mut self, most: usize) {
        for _ in 0..most {
            let Some((packet_id, sequence, about)) = self.line.pop_front() else { return };
            let now = self.now;
            assert!(self.pump.in_flight.answered(packet_id, now).is_some());
            let refuses = about.is_some_and(|tag| self.refuses.contains(&tag));
            if self.quota || refuses {
                if self.pump.held_until().is_some() {
                    self.pump.put_back(sequence);
                } else {
                    self.apart.refused(about);
                    self.pump.hold(now + Duration::from_secs(1), Some(sequence), &mut self.apart);
                }
                continue;
            }
            // One in so many it will never take.
            if self.random.u32(0..500) == 0 {
                if let Some(unseen) = about.and_then(|tag| self.unseen_about.get_mut(&tag)) {
                    unseen.remove(&sequence);
                }
                self.pump.leave(sequence, Removal::Rejected);
                continue;
            }
            self.take(sequence, about);
            let arrived = self.arrived.get(&sequence).copied().unwrap_or_default();
            self.latencies.push(now.since(arrived));
            if self.pump.accepted(sequence) {
                self.careful = false;
                self.apart.accepted(about, now);
            }
        }
    }

    fn tick(&mut self) {
        self.now = self.now + TICK;
    }

    /// Until everything was delivered that can be.
    fn drain(&mut self) {
        self.refuses.clear();
        self.withheld.clear();
        self.quota = false;
        for _ in 0..200_000 {
            if !self.online {
                self.connect();
            }
            self.act();
            self.answer(usize::MAX);
            self.now = self.now + 10 * TICK;
            if self.pending.is_empty() {
                return;
            }
        }
        panic!("{} are left: {:?}", self.pending.len(), self.pending.first());
    }
}

#[test]
fn whatever_happens_nothing_is_lost_or_in_flight_twice_and_everybodys_order_is_kept() {
    let seeds = std::env::var("BEACON_GATEWAY_PUMP_SEEDS");
    let seeds = seeds.map_or(12, |seeds| seeds.parse().expect("a number of plays"));
    for seed in 0..seeds {
        let mut random = fastrand::Rng::with_seed(seed);
        let (subjects, window) = (random.u64(1..60), random.u16(1..40));
        let mut play = Play::new(seed, subjects, window);
        (0..random.usize(0..3000)).for_each(|_| play.arrive());
        for _ in 0..800 {
            match play.random.u32(0..100) {
                0..3 => play.cut(),
                3..12 if !play.online => play.connect(),
                12..40 => play.arrive(),
                40 => (0..play.random.u32(0..40)).for_each(|_| play.arrive()),
                41..43 => play.quota = play.random.bool(),
                43..45 => {
                    let tag = Tag(play.random.u64(0..subjects));
                    if !play.refuses.remove(&tag) {
                        play.refuses.insert(tag);
                    }
                }
                45..48 => {
                    let tag = Tag(play.random.u64(0..subjects));
                    if !play.withheld.remove(&tag) {
                        play.withheld.insert(tag);
                    }
                }
                48 => {
                    // What an operator brings back is older than what was sent since.
                    let mut aside = play.records.iter().filter(|(_, (_, at))| *at == At::SetAside);
                    if let Some((sequence, (about, _))) = aside.next()
                        && play.online
                        && !play.line.iter().any(|(_, _, other)| other == about)
                    {
                        let sequence = *sequence;
                        play.pump.bring_back(sequence, sequence);
                        play.pump.begin_again(&mut play.apart, play.now);
                    }
                }
                _ => {}
            }
            play.act();
            let most = play.random.usize(0..=usize::from(window));
            play.answer(most);
            play.tick();
        }
        play.drain();
        let lost = play.records.values().filter(|(_, at)| *at == At::Pending).count();
        assert_eq!(lost, 0, "seed {seed}");
    }
}

#[test]
fn what_is_new_does_not_wait_for_a_backlog_of_others() {
    let mut play = Play::new(7, 1, 16);
    // A week's backlog of a thousand people, and nobody answers faster than 320 a second.
    for n in 0..30_000 {
        play.arrive_about(Some(Tag(1000 + n % 1000)));
    }
    play.now = play.now + Duration::from_hours(1);
    play.marks.note(play.now, Sequence(30_000));
    play.cut();
    play.connect();
    let mut news = Vec::new();
    for moment in 0..1000 {
        if moment % 10 == 0 {
            // Somebody new, somebody seen again, and, at times, one who has waited for a week.
            let who = match moment % 100 {
                0 => 1000 + moment,
                50 => 5,
                _ => 100_000 + moment,
            };
            play.arrive_about(Some(Tag(who)));
            news.push((Sequence(play.last), play.now, who));
        }
        play.act();
        play.answer(16);
        play.act();
        play.tick();
        for (sequence, since, who) in &news {
            let waits = play.pending.contains(sequence) && *who >= 100_000 || *who == 5;
            let late = play.now.since(*since) > Duration::from_secs(1);
            assert!(!waits || !late || !play.pending.contains(sequence), "{sequence:?}, {who}");
        }
    }
    assert!(play.pending.len() > 5000, "there is a backlog to the end: {}", play.pending.len());
    let weeks = news.iter().filter(|(_, _, who)| (1000..2000).contains(who));
    let (mut all, mut waiting) = (0, 0);
    for (sequence, ..) in weeks {
        all += 1;
        waiting += usize::from(play.pending.contains(sequence));
    }
    // Each has thirty older ones, which go one after the other.
    assert!(waiting <= 1, "{waiting} of {all} wait behind what is older about them");
    play.drain();
}

#[test]
fn one_whom_the_broker_refuses_waits_apart_and_the_line_goes_on() {
    let mut play = Play::new(3, 9, 8);
    play.refuses.insert(Tag(4));
    (0..500).for_each(|_| play.arrive());
    play.connect();
    for _ in 0..20 * 30 {
        play.act();
        play.answer(8);
        play.tick();
    }
    let left: BTreeSet<_> = play
        .pending
        .iter()
        .filter_map(|left| play.records.get(left))
        .map(|(who, _)| *who)
        .collect();
    assert_eq!(left, BTreeSet::from([Some(Tag(4))]), "after thirty seconds");
    play.refuses.clear();
    for _ in 0..20 * 100 {
        play.act();
        play.answer(8);
        play.tick();
    }
    assert!(play.pending.is_empty(), "they are tried again, and in order");
}

#[test]
fn a_line_slower_than_the_shop_still_tells_the_news() {
    let mut play = Play::new(11, 1, 4);
    play.connect();
    // Four answers a second, eight arrivals.
    for moment in 0..20_u64 * 600 {
        if moment % 20 < 8 {
            play.arrive_about(Some(Tag(play.last)));
        }
        play.act();
        if moment % 5 == 0 {
            play.answer(1);
        }
        play.tick();
    }
    // In order of arrival they would have waited for five minutes by now.
    let latest = play.latencies.iter().rev().take(400).max().copied();
    assert!(latest < Some(Duration::from_mins(3)), "{latest:?}");
    play.drain();
}

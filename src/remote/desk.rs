//! The decider of one line to a broker: messages and how the line stands in; advertisements, receivers'
//! states and what is worth a word in the log out. Pure: `session.rs` does what it decides.
//!
//! Promises: an advertisement is dated to when it was heard, never to the future; what is older than
//! `max_age`, or was kept by the broker, is not taken; a receiver's state comes before what proves it;
//! one message belongs to one receiver, the first of the configuration whose topics it fits.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    account::RemoteCounters,
    ear::{Ear, Patience},
    filter::Filter,
    format::{Format, Message, Refusal, Sighting, Sign},
    json::Stamp,
    sealed::{Opened, Opener},
    sender_clock::SenderClock,
};
use crate::{
    engine::{Advertisement, RadioState, ReceiverId, Relayed, Rssi, Spotted, Uptime, WallClock},
    scan::Heard,
};

/// What is configured of one remote receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its name.
    pub id: ReceiverId,
    /// Whose form its messages have.
    pub format: Format,
    /// Where it publishes.
    pub topics: Vec<Filter>,
    /// What is added to every loudness, in dB.
    pub rssi_offset: f64,
    /// What was heard longer ago is not taken.
    pub max_age: Duration,
    /// How long it may be silent.
    pub patience: Patience,
}

/// What is worth a word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Note {
    /// A receiver's state changed.
    State(ReceiverId, RadioState),
    /// For the first time in this run, something of a receiver was refused for this reason.
    Refused(ReceiverId, Refusal),
}

/// The receivers of one line.
#[derive(Debug)]
pub struct Desk {
    places: Vec<Place>,
    heard: VecDeque<Heard>,
    notes: VecDeque<Note>,
    told: BTreeSet<(ReceiverId, Refusal)>,
    wall: WallClock,
}

#[derive(Debug)]
struct Place {
    receiver: Receiver,
    /// What opens its messages, if they are sealed.
    opener: Option<Opener>,
    clock: SenderClock,
    ear: Ear,
    counters: Arc<RemoteCounters>,
}

impl Desk {
    /// Starts at `now`, without a line.
    pub fn new(receivers: Vec<(Receiver, Arc<RemoteCounters>)>, now: Uptime) -> Self {
        let places = receivers.into_iter().map(|(receiver, counters)| {
            let ear = Ear::new(receiver.patience, now);
            let clock = SenderClock::default();
            Place { receiver, opener: None, clock, ear, counters }
        });
        Self {
            places: places.collect(),
            heard: VecDeque::new(),
            notes: VecDeque::new(),
            told: BTreeSet::new(),
            wall: WallClock::default(),
        }
    }

    /// The same, which opens what a receiver seals.
    #[must_use]
    pub fn opening(mut self, receiver: &ReceiverId, opener: Opener) -> Self {
        let place = self.places.iter_mut().find(|place| place.receiver.id == *receiver);
        if let Some(place) = place {
            place.opener = Some(opener);
        }
        self
    }

    /// The wall clock was read. Before that, none is believed.
    pub fn handle_clock(&mut self, wall: WallClock) {
        self.wall = wall;
    }

    /// What is to be subscribed to, in the order of [`Self::handle_subscribed`].
    pub fn topics(&self) -> impl Iterator<Item = &Filter> {
        self.places.iter().flat_map(|place| &place.receiver.topics)
    }

    /// The broker answered the subscription: for each topic, whether it lets us.
    pub fn handle_subscribed(&mut self, now: Uptime, granted: &[bool]) {
        let mut granted = granted.iter().copied();
        for place in &mut self.places {
            // All of its answers, so that the next receiver gets its own.
            let answers: Vec<bool> = granted.by_ref().take(place.receiver.topics.len()).collect();
            place.link(now, answers.contains(&true));
        }
        self.settle();
    }

    /// The line broke.
    pub fn handle_break(&mut self, now: Uptime) {
        for place in &mut self.places {
            place.link(now, false);
        }
        self.settle();
    }

    /// A message came; `retained` says that the broker had kept it.
    pub fn handle_message(&mut self, now: Uptime, topic: &str, payload: &[u8], retained: bool) {
        let fits = |place: &&mut Place| place.receiver.topics.iter().any(|it| it.fits(topic));
        let Some(place) = self.places.iter_mut().find(fits) else { return };
        place.counters.messages.fetch_add(1, Relaxed);
        let (taken, refused) = match &mut place.opener {
            Some(_) if retained => (Vec::new(), vec![Refusal::Retained]),
            Some(seal) => match seal.open(now, &self.wall, topic, payload) {
                Ok(opened) => place.take_opened(now, opened),
                Err(refusal) => (Vec::new(), vec![refusal]),
            },
            None => match place.receiver.format.read(topic, payload) {
                Ok(message) if retained => (Vec::new(), place.take_kept(now, &message)),
                Ok(message) => place.take(now, message),
                Err(refusal) => (Vec::new(), vec![refusal]),
            },
        };
        let id = place.receiver.id.clone();
        for refusal in refused {
            place.counters.refuse(refusal);
            if self.told.insert((id.clone(), refusal)) {
                self.notes.push_back(Note::Refused(id.clone(), refusal));
            }
        }
        self.settle();
        self.heard.extend(taken);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Uptime) {
        for place in &mut self.places {
            place.ear.handle_timeout(now);
        }
        self.settle();
    }

    /// When [`Self::handle_timeout`] is next due.
    pub fn poll_timeout(&self, now: Uptime) -> Option<Uptime> {
        self.places.iter().filter_map(|place| place.ear.poll_timeout(now)).min()
    }

    /// What the engine is to be told next.
    pub fn poll_heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    /// What is worth a word next.
    pub fn poll_note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    /// Counts advertisements, or sightings, that were handed on, or could not be.
    pub fn count(&self, receiver: &ReceiverId, count: u64, handed_on: bool) {
        if let Some(place) = self.places.iter().find(|place| place.receiver.id == *receiver) {
            let counters = &place.counters;
            let counter = if handed_on { &counters.heard } else { &counters.dropped };
            counter.fetch_add(count, Relaxed);
        }
    }

    /// Passes on how the receivers' states changed.
    fn settle(&mut self) {
        for place in &mut self.places {
            place.counters.set_last_heard(place.ear.last_heard());
            while let Some(state) = place.ear.poll_change() {
                let id = place.receiver.id.clone();
                self.notes.push_back(Note::State(id.clone(), state));
                self.heard.push_back(Heard::Radio(id, state));
            }
        }
    }
}

impl Place {
    fn link(&mut self, now: Uptime, linked: bool) {
        self.counters.set_linked(linked);
        self.ear.link(now, linked);
    }

    /// Of what the broker had kept only a goodbye is worth something: nobody knows how old it is.
    fn take_kept(&mut self, now: Uptime, message: &Message) -> Vec<Refusal> {
        if message.sign == Some(Sign::Offline) {
            self.ear.sign(now, Sign::Offline);
        }
        if message.sightings.is_empty() { Vec::new() } else { vec![Refusal::Retained] }
    }

    fn take(&mut self, now: Uptime, message: Message) -> (Vec<Heard>, Vec<Refusal>) {
        let Message { sightings, sign, sent, mut refused } = message;
        let newest = sightings.iter().filter_map(|sighting| sighting.stamp).max();
        // What was sent was heard before. A device that rounds the one and cuts the other may say
        // otherwise.
        if let Some(sent) = sent.max(newest) {
            self.clock.observe(now, sent);
            self.counters.set_offset(self.clock.offset());
        }
        let mut taken = Vec::with_capacity(sightings.len());
        for sighting in sightings {
            let heard = sighting.stamp.map_or(now, |stamp| self.clock.date(now, stamp));
            if now.since(heard) > self.receiver.max_age {
                refused.push(Refusal::TooOld);
            } else {
                taken.push(self.advertisement(heard, &sighting));
            }
        }
        taken.sort_by_key(|advertisement| advertisement.heard);
        if !taken.is_empty() {
            self.ear.heard(now);
        }
        if let Some(sign) = sign {
            self.ear.sign(now, sign);
        }
        (taken.into_iter().map(Heard::Advertisement).collect(), refused)
    }

    /// What was resolved elsewhere. Only a message that vouches for its radio shows that it hears.
    fn take_opened(&mut self, now: Uptime, opened: Opened) -> (Vec<Heard>, Vec<Refusal>) {
        let Opened { batch, missed } = opened;
        self.counters.missed.fetch_add(missed, Relaxed);
        let stamp = Stamp::from_micros(batch.sent_us);
        self.clock.observe(now, stamp);
        self.counters.set_offset(self.clock.offset());
        let sent = self.clock.date(now, stamp);
        let mut refused = Vec::new();
        let mut sightings = Vec::with_capacity(batch.sightings.len());
        for seen in batch.sightings {
            let heard = sent - seen.age;
            if now.since(heard) > self.receiver.max_age {
                refused.push(Refusal::TooOld);
                continue;
            }
            let rssi = seen.rssi.map(|Rssi(dbm)| louder(f64::from(dbm), self.receiver.rssi_offset));
            let (whose, tag, wide_window) = (seen.whose, seen.tag, seen.wide_window);
            sightings.push(Spotted { whose, tag, rssi, heard, wide_window });
        }
        let is_late = now.since(sent) > self.receiver.max_age;
        if is_late && refused.is_empty() {
            refused.push(Refusal::TooOld);
        }
        let vouches = batch.vouches && !is_late;
        if vouches || !sightings.is_empty() {
            self.ear.heard(now);
        }
        if batch.leaving {
            self.ear.sign(now, Sign::Offline);
        }
        sightings.sort_by_key(|spotted| spotted.heard);
        let heard_until = vouches.then_some(sent);
        if sightings.is_empty() && heard_until.is_none() {
            return (Vec::new(), refused);
        }
        let receiver = self.receiver.id.clone();
        (vec![Heard::Relayed(Relayed { receiver, sightings, heard_until })], refused)
    }

    fn advertisement(&self, heard: Uptime, sighting: &Sighting) -> Advertisement {
        let rssi = sighting.rssi.map(|dbm| louder(dbm, self.receiver.rssi_offset));
        let receiver = self.receiver.id.clone();
        Advertisement::new(heard, receiver, sighting.address, rssi, &sighting.data)
    }
}

/// The loudness with what is added to it, within what there is.
#[expect(clippy::cast_possible_truncation, reason = "it is clamped to what fits")]
fn louder(dbm: f64, offset: f64) -> Rssi {
    Rssi((dbm + offset).round().clamp(-127.0, 20.0) as i8)
}

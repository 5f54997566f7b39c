//! The decider of one line to a broker: messages and how the line stands in; advertisements, receivers'
//! states and what is worth a word in the log out. Pure: `session.rs` does what it decides.
//!
//! Promises: an advertisement is dated to when it was heard, never to the future; what is older than
//! `max_age`, or was kept by the broker, is not taken; a receiver's state comes before what proves it;
//! one message belongs to one receiver, the first of the configuration whose topics it fits.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::DeafCause;

    const PATIENCE: Patience =
        Patience { suspect_after: Duration::from_secs(20), silent_after: Duration::from_mins(5) };

    fn ms(millis: i64) -> Uptime {
        Uptime::from_micros(millis * 1000)
    }

    fn receiver(id: &str, format: Format, topic: &str) -> (Receiver, Arc<RemoteCounters>) {
        let id = ReceiverId::new(id);
        let counters = Arc::new(RemoteCounters::new(id.clone(), format));
        let receiver = Receiver {
            id,
            format,
            topics: vec![Filter::new(topic).unwrap()],
            rssi_offset: 4.0,
            max_age: Duration::from_secs(10),
            patience: PATIENCE,
        };
        (receiver, counters)
    }

    fn ruuvi(ts: i64, rssi: i64) -> String {
        format!(r#"{{"rssi":{rssi},"ts":{ts},"gwts":{ts},"data":"020106"}}"#)
    }

    const TAG: &str = "ruuvi/gw/F4:1F:0C:28:CB:D6";

    fn desk() -> (Desk, Arc<RemoteCounters>) {
        let (receiver, counters) = receiver("shelf", Format::Ruuvi, "ruuvi/gw/+");
        let mut desk = Desk::new(vec![(receiver, Arc::clone(&counters))], ms(0));
        desk.handle_subscribed(ms(0), &[true]);
        drain(&mut desk);
        (desk, counters)
    }

    fn drain(desk: &mut Desk) -> Vec<Heard> {
        while desk.poll_note().is_some() {}
        std::iter::from_fn(|| desk.poll_heard()).collect()
    }

    fn advertisements(heard: &[Heard]) -> Vec<&Advertisement> {
        fn one(heard: &Heard) -> Option<&Advertisement> {
            match heard {
                Heard::Advertisement(advertisement) => Some(advertisement),
                Heard::Radio(..) | Heard::Relayed(_) | Heard::Recording => None,
            }
        }
        heard.iter().filter_map(one).collect()
    }

    #[test]
    fn an_advertisement_comes_with_its_receiver_and_offset_behind_the_state_that_it_proves() {
        let (mut desk, counters) = desk();
        desk.handle_message(ms(1000), TAG, ruuvi(1_700_000_000, -70).as_bytes(), false);
        let heard = drain(&mut desk);
        assert_eq!(heard[0], Heard::Radio(ReceiverId::new("shelf"), RadioState::Hearing));
        let [it] = advertisements(&heard)[..] else { panic!("{heard:?}") };
        assert_eq!((it.receiver.as_str(), it.rssi), ("shelf", Some(Rssi(-66))));
        assert_eq!((it.heard, it.data()), (ms(1000), &[2, 1, 6][..]));
        assert_eq!((counters.messages.load(Relaxed), counters.last_heard()), (1, Some(ms(1000))));
    }

    #[test]
    fn a_loudness_stays_within_what_there_is() {
        assert_eq!(louder(-120.0, -40.0), Rssi(-127));
        assert_eq!(louder(10.0, 40.0), Rssi(20));
        assert_eq!(louder(-72.35, 0.0), Rssi(-72));
    }

    #[test]
    fn what_is_late_is_dated_right_and_what_is_too_late_is_not_taken() {
        let (mut desk, counters) = desk();
        for second in 0..5 {
            let payload = ruuvi(1_700_000_000 + second, -70);
            desk.handle_message(ms(second * 1000 + 3), TAG, payload.as_bytes(), false);
        }
        drain(&mut desk);
        desk.handle_message(ms(12_000), TAG, ruuvi(1_700_000_005, -70).as_bytes(), false);
        let heard = drain(&mut desk);
        assert_eq!(advertisements(&heard)[0].heard, ms(5003));
        desk.handle_message(ms(20_000), TAG, ruuvi(1_700_000_006, -70).as_bytes(), false);
        assert_eq!(
            desk.poll_note(),
            Some(Note::Refused(ReceiverId::new("shelf"), Refusal::TooOld))
        );
        assert_eq!(drain(&mut desk), []);
        assert_eq!(counters.refused(Refusal::TooOld), 1);
        assert_eq!(counters.last_heard(), Some(ms(12_000)), "what is too old proves nothing");
    }

    #[test]
    fn a_list_is_handed_on_in_the_order_in_which_it_was_heard() {
        let (receiver, counters) = receiver("till", Format::Minew, "/gw/#");
        let mut desk = Desk::new(vec![(receiver, counters)], ms(0));
        desk.handle_subscribed(ms(0), &[true]);
        let entry = |second: i64| {
            let time = 1_700_000_000 + second;
            format!(r#"{{"timestamp":{time},"mac":"AC233FA018E7","rssi":-50,"rawData":"020106"}}"#)
        };
        let list = format!("[{},{},{}]", entry(3), entry(1), entry(2));
        desk.handle_message(ms(3000), "/gw/x/status", list.as_bytes(), false);
        let heard = drain(&mut desk);
        let times: Vec<Uptime> = advertisements(&heard).iter().map(|it| it.heard).collect();
        assert_eq!(times, [ms(1000), ms(2000), ms(3000)]);
    }

    #[test]
    fn what_the_broker_had_kept_is_not_taken_but_a_goodbye() {
        let (mut desk, counters) = desk();
        desk.handle_message(ms(5), TAG, ruuvi(1_700_000_000, -70).as_bytes(), true);
        assert_eq!(advertisements(&drain(&mut desk)).len(), 0);
        assert_eq!(counters.refused(Refusal::Retained), 1);
        desk.handle_message(ms(6), "ruuvi/gw/gw_status", br#"{"state":"offline"}"#, true);
        let deaf = RadioState::Deaf { since: ms(0), cause: DeafCause::Unreachable };
        assert_eq!(drain(&mut desk), [Heard::Radio(ReceiverId::new("shelf"), deaf)]);
    }

    #[test]
    fn what_is_refused_is_counted_each_time_and_told_once_without_what_it_was() {
        let (mut desk, counters) = desk();
        for _ in 0..3 {
            desk.handle_message(ms(5), TAG, b"F4:1F:0C:28:CB:D6", false);
        }
        let shelf = ReceiverId::new("shelf");
        assert_eq!(desk.poll_note(), Some(Note::Refused(shelf, Refusal::NotJson)));
        assert_eq!(desk.poll_note(), None);
        assert_eq!(counters.refused(Refusal::NotJson), 3);
        for refusal in Refusal::ALL {
            assert!(!refusal.to_string().contains(':'), "{refusal}");
        }
    }

    #[test]
    fn a_message_belongs_to_the_first_whose_topics_it_fits_and_to_nobody_else() {
        let first = receiver("first", Format::Ruuvi, "ruuvi/gw/#");
        let second = receiver("second", Format::Ruuvi, "ruuvi/#");
        let counts = [Arc::clone(&first.1), Arc::clone(&second.1)];
        let mut desk = Desk::new(vec![first, second], ms(0));
        assert_eq!(desk.topics().count(), 2);
        desk.handle_subscribed(ms(0), &[true, true]);
        for topic in [TAG, "ruuvi/other/F4:1F:0C:28:CB:D6", "elsewhere"] {
            desk.handle_message(ms(1), topic, ruuvi(1_700_000_000, -70).as_bytes(), false);
        }
        assert_eq!(counts.map(|it| it.messages.load(Relaxed)), [1, 1]);
    }

    #[test]
    fn a_receiver_whose_topics_are_denied_is_not_linked_and_the_others_are() {
        let receivers = ["first", "second"].map(|id| receiver(id, Format::Minew, id));
        let counters = receivers.each_ref().map(|(_, counters)| Arc::clone(counters));
        let mut desk = Desk::new(receivers.into(), ms(0));
        desk.handle_subscribed(ms(0), &[false, true]);
        assert_eq!(counters.each_ref().map(|it| it.is_linked()), [false, true]);
        desk.handle_break(ms(1));
        assert_eq!(counters.map(|it| it.is_linked()), [false, false]);
        // An answer that is too short, or too long, is no reason to panic.
        desk.handle_subscribed(ms(2), &[]);
        desk.handle_subscribed(ms(2), &[true; 9]);
    }

    #[test]
    fn a_silent_receiver_is_told_once() {
        let (mut desk, _) = desk();
        desk.handle_message(ms(0), TAG, ruuvi(1_700_000_000, -70).as_bytes(), false);
        drain(&mut desk);
        let mut states = Vec::new();
        let mut now = ms(0);
        while let Some(due) = desk.poll_timeout(now).filter(|due| *due < ms(10_000_000)) {
            now = due;
            desk.handle_timeout(now);
            states.extend(std::iter::from_fn(|| desk.poll_note()));
        }
        assert_eq!(states.len(), 2, "{states:?}");
        assert!(matches!(states[1], Note::State(_, RadioState::Deaf { .. })));
    }

    mod sealed {
        use super::*;
        use crate::{
            engine::{Pseudonym, Whose},
            relay::{Batch, Run, Seen},
            remote::sealed::tests::{TOPIC, batch, bond, sealer},
        };

        fn relaying() -> (Desk, Arc<RemoteCounters>) {
            let (receiver, counters) = receiver("shelf", Format::BeaconGateway, TOPIC);
            let opener = Opener::new(sealer(), bond(), receiver.max_age);
            let id = receiver.id.clone();
            let desk = Desk::new(vec![(receiver, Arc::clone(&counters))], ms(0));
            let mut desk = desk.opening(&id, opener);
            desk.handle_subscribed(ms(0), &[true]);
            drain(&mut desk);
            (desk, counters)
        }

        /// A message made so many milliseconds after the first.
        fn message(counter: u64, millis: i64, ages: &[u64]) -> Batch {
            let seen = |age: &u64| Seen {
                whose: Whose::Subject(Pseudonym::new("m")),
                tag: 0,
                rssi: Some(Rssi(-70)),
                age: Duration::from_millis(*age),
                wide_window: false,
            };
            let batch = batch(Run { epoch: 1, sequence: 1, mark: 1 }, counter);
            let sent_us = batch.sent_us + millis * 1000;
            Batch { sent_us, sightings: ages.iter().map(seen).collect(), ..batch }
        }

        fn put(desk: &mut Desk, now: Uptime, batch: &Batch) -> Vec<Heard> {
            let sealed = batch.seal(&sealer(), &bond()).unwrap();
            desk.handle_message(now, TOPIC, &sealed, false);
            drain(desk)
        }

        fn relayed(heard: &[Heard]) -> Vec<&Relayed> {
            fn one(heard: &Heard) -> Option<&Relayed> {
                if let Heard::Relayed(relayed) = heard { Some(relayed) } else { None }
            }
            heard.iter().filter_map(one).collect()
        }

        #[test]
        fn sightings_come_dated_in_order_with_the_offset_and_the_word_that_it_hears() {
            let (mut desk, counters) = relaying();
            put(&mut desk, ms(1000), &message(1, 0, &[]));
            let heard = put(&mut desk, ms(1400), &message(2, 250, &[40, 200]));
            let [it] = relayed(&heard)[..] else { panic!("{heard:?}") };
            let told: Vec<_> = it.sightings.iter().map(|one| (one.heard, one.rssi)).collect();
            let rssi = Some(Rssi(-66));
            assert_eq!(told, [(ms(1050), rssi), (ms(1210), rssi)], "150 ms on the way");
            assert_eq!((it.receiver.as_str(), it.heard_until), ("shelf", Some(ms(1250))));
            put(&mut desk, ms(2000), &message(5, 1000, &[]));
            assert_eq!(counters.missed.load(Relaxed), 2);
        }

        #[test]
        fn a_receiver_that_does_not_vouch_is_doubted_and_one_that_says_goodbye_is_gone() {
            let (mut desk, _) = relaying();
            put(&mut desk, ms(0), &message(1, 0, &[]));
            for second in 1..=20 {
                let deaf = Batch {
                    vouches: false,
                    ..message(1 + u64::try_from(second).unwrap(), second * 1000, &[])
                };
                assert_eq!(relayed(&put(&mut desk, ms(second * 1000), &deaf)).len(), 0);
            }
            desk.handle_timeout(ms(20_000));
            let id = ReceiverId::new("shelf");
            let suspect = Heard::Radio(id.clone(), RadioState::Suspect { since: ms(0) });
            assert_eq!(drain(&mut desk), [suspect]);
            let heard = put(&mut desk, ms(21_000), &message(50, 21_000, &[]));
            assert_eq!(heard[0], Heard::Radio(id.clone(), RadioState::Hearing));
            let bye = Batch { leaving: true, ..message(51, 21_500, &[]) };
            let gone = RadioState::Deaf { since: ms(21_500), cause: DeafCause::Unreachable };
            assert!(put(&mut desk, ms(21_500), &bye).contains(&Heard::Radio(id, gone)));
        }

        #[test]
        fn what_was_held_up_is_refused_and_proves_nothing() {
            let (mut desk, counters) = relaying();
            put(&mut desk, ms(0), &message(1, 0, &[]));
            let heard = put(&mut desk, ms(15_000), &message(2, 1000, &[0, 100]));
            assert_eq!(relayed(&heard).len(), 0);
            assert_eq!(counters.refused(Refusal::TooOld), 2);
            put(&mut desk, ms(15_100), &message(3, 1500, &[]));
            assert_eq!(counters.refused(Refusal::TooOld), 3);
            // Of a fresh message only what is too old in it is left out.
            let heard = put(&mut desk, ms(16_000), &message(4, 16_000, &[11_000, 5]));
            let [it] = relayed(&heard)[..] else { panic!("{heard:?}") };
            assert_eq!(it.sightings.len(), 1);
        }

        #[test]
        fn what_is_altered_replayed_retained_or_not_sealed_is_refused_and_counted() {
            let (mut desk, counters) = relaying();
            let sealed = message(1, 0, &[0]).seal(&sealer(), &bond()).unwrap();
            let mut altered = sealed.clone();
            *altered.last_mut().unwrap() ^= 1;
            let mut other_key = sealed.clone();
            other_key[4] = 9;
            for (payload, retained) in [
                (&altered, false),
                (&other_key, false),
                (&sealed, true),
                (&b"online".to_vec(), false),
                (&sealed, false),
                (&sealed, false),
            ] {
                desk.handle_message(ms(1), TOPIC, payload, retained);
            }
            let heard = drain(&mut desk);
            assert_eq!(relayed(&heard).len(), 1, "one of them was taken");
            for refusal in [
                Refusal::Sealed,
                Refusal::NoKey,
                Refusal::Retained,
                Refusal::NotSealed,
                Refusal::Replayed,
            ] {
                assert_eq!(counters.refused(refusal), 1, "{refusal}");
            }
            assert_eq!(counters.messages.load(Relaxed), 6);
        }
    }
}

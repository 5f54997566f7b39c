//! What one connection still has to send, may send, and has got rid of: decisions without a
//! network. `session.rs` carries them out.

use std::collections::{BTreeSet, VecDeque};

use tokio::sync::oneshot;

use super::{
    in_flight::{InFlight, Parcel},
    wire::Welcome,
};
use crate::{
    engine::Uptime,
    outbox::{Class, Read, Removal, Sequence, Stored},
};

/// So many records leave the outbox in one request at most, while others are still in flight: one
/// request per record would make the disk's thread the bottleneck.
const REMOVAL_BATCH: usize = 64;

/// Twice the window is fetched at once, and fetched again when half of that is used up, so that a
/// window's worth is always at hand while the request is on its way.
const FETCH_WINDOWS: usize = 2;

/// Bounds of a fetch: few enough for memory (512 records of 2 KiB are 1 MiB), enough to be worth
/// the request.
const FETCH: std::ops::RangeInclusive<usize> = 32..=512;

/// One connection's deliveries.
#[derive(Debug)]
pub(super) struct Pump {
    /// Joins answers to records.
    pub(super) in_flight: InFlight,
    /// Records that may be in flight. Zero until the broker has said welcome.
    records_at_once: usize,
    /// Everything of `QoS` 1 that may be in flight.
    parcels_at_once: usize,
    /// Only one record at a time until one is accepted: the last connection broke without an
    /// acknowledgement, or the broker puts records off.
    careful: bool,
    /// Nothing is sent before this.
    held_until: Option<Uptime>,
    /// Fetched and not yet sent, oldest first.
    shelf: VecDeque<Stored>,
    /// A fetch on its way.
    fetch: Option<Fetch>,
    /// The last record fetched; the next fetch begins behind it.
    behind: Option<Sequence>,
    /// Up to here a fetch has found everything there was.
    searched: Option<Sequence>,
    /// How many records a fetch asks for.
    fetch_size: usize,
    /// Records were passed over in the courier's present view of things. They are still in the
    /// outbox; nothing is kept of them here, for there may be a million.
    passed_over: bool,
    /// Of all records up to here it is known that they were passed over in that view or are gone:
    /// whoever starts again need not ask about them again.
    floor: Option<Sequence>,
    /// Something that came of the last fetch was sent.
    fruitful: bool,
    /// What is in flight and must not stay behind in the outbox's files.
    traceless: BTreeSet<Sequence>,
    /// What has to leave the outbox.
    leaving: Leaving,
}

#[derive(Debug)]
struct Fetch {
    reply: oneshot::Receiver<Vec<Stored>>,
    /// What was durable when it was asked.
    durable: Option<Sequence>,
    /// How many were asked for.
    limit: usize,
    /// What was in flight when it was asked: it may be in the answer, and must not be sent twice.
    in_flight: BTreeSet<Sequence>,
}

#[derive(Debug, Default)]
struct Leaving {
    acknowledged: Vec<Sequence>,
    for_good: Vec<Sequence>,
    erased: Vec<Sequence>,
    rejected: Vec<Sequence>,
}

/// The outbox has ended without an answer.
#[derive(Debug)]
pub(super) struct OutboxGone;

impl Pump {
    /// Starts a connection's deliveries at the oldest record, or behind those that an earlier
    /// connection [passed over](Self::floor).
    pub(super) fn new(careful: bool, floor: Option<Sequence>) -> Self {
        Self {
            in_flight: InFlight::default(),
            records_at_once: 0,
            parcels_at_once: 0,
            careful,
            held_until: None,
            shelf: VecDeque::new(),
            fetch: None,
            behind: floor,
            searched: None,
            fetch_size: *FETCH.start(),
            passed_over: floor.is_some(),
            floor,
            fruitful: false,
            traceless: BTreeSet::new(),
            leaving: Leaving::default(),
        }
    }

    /// The broker said welcome: sending may begin. Records leave one of the places the broker
    /// grants free, so that the state document never waits behind them.
    pub(super) fn open(&mut self, window: u16, welcome: Welcome) {
        let window = usize::from(window);
        let granted = usize::from(welcome.receive_maximum);
        self.records_at_once = window.min(granted.saturating_sub(1)).max(1);
        self.parcels_at_once = (window + 1).min(granted).max(1);
        self.fetch_size =
            (FETCH_WINDOWS * self.records_at_once).clamp(*FETCH.start(), *FETCH.end());
    }

    /// How many records may be in flight now.
    pub(super) fn limit(&self) -> usize {
        if self.careful { self.records_at_once.min(1) } else { self.records_at_once }
    }

    /// The next record to send, if one may be sent now.
    pub(super) fn next_record(&mut self) -> Option<Stored> {
        let room = self.in_flight.records() < self.limit() && self.has_room();
        if room && self.held_until.is_none() { self.shelf.pop_front() } else { None }
    }

    /// The broker's limit leaves room for one more publish of `QoS` 1.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < self.parcels_at_once
    }

    /// A record was handed to the client.
    pub(super) fn requested(&mut self, sequence: Sequence, now: Uptime) {
        self.in_flight.requested(Parcel::Record(sequence), now);
        self.fruitful = true;
    }

    /// What a record in flight says must not stay behind in the outbox's files.
    pub(super) fn leaves_no_trace(&mut self, sequence: Sequence) {
        self.traceless.insert(sequence);
    }

    /// The courier passes the record over that was last to be sent.
    pub(super) fn pass_over(&mut self) {
        self.passed_over = true;
    }

    /// Begins again at the oldest record: those that were passed over might be sent now. What is
    /// in flight stays there and is not sent again.
    pub(super) fn reconsider(&mut self) {
        if self.passed_over {
            self.begin_again();
        }
    }

    /// Begins again at the oldest record.
    pub(super) fn begin_again(&mut self) {
        self.passed_over = false;
        self.restart(None);
    }

    /// Up to where another connection need not look, as long as the courier does not
    /// [reconsider](Self::reconsider): there is nothing that was not passed over or settled.
    pub(super) fn floor(&self) -> Option<Sequence> {
        if !self.passed_over {
            return None;
        }
        let next = self.shelf.front().map(|stored| stored.sequence);
        let unsettled = self.in_flight.sequences().chain(next).min();
        match unsettled {
            Some(unsettled) => unsettled.0.checked_sub(1).map(Sequence),
            None => self.behind,
        }
    }

    /// The broker has a record. Returns whether sending goes on as usual: what was in flight when
    /// the broker put another record off proves nothing.
    pub(super) fn accepted(&mut self, sequence: Sequence) -> bool {
        let leaving = if self.traceless.remove(&sequence) {
            &mut self.leaving.for_good
        } else {
            &mut self.leaving.acknowledged
        };
        leaving.push(sequence);
        if self.held_until.is_none() {
            self.careful = false;
        }
        self.held_until.is_none()
    }

    /// A record may no longer be sent.
    pub(super) fn erased(&mut self, sequence: Sequence) {
        self.leaving.erased.push(sequence);
    }

    /// A record can never be delivered.
    pub(super) fn rejected(&mut self, sequence: Sequence) {
        self.leaving.rejected.push(sequence);
    }

    /// The broker puts records off, this one first: nothing is sent before `until`, then the oldest
    /// alone.
    pub(super) fn hold(&mut self, until: Uptime, put_off: Option<Sequence>) {
        self.held_until = Some(until);
        self.careful = true;
        let before = put_off.and_then(|put_off| put_off.0.checked_sub(1)).map(Sequence);
        let floor = self.floor();
        self.restart(if put_off.is_some() { floor.min(before) } else { floor });
    }

    /// Sending is suspended.
    pub(super) fn held_until(&self) -> Option<Uptime> {
        self.held_until
    }

    /// Ends a hold whose time has come. What was in flight is waited for, so that nothing is in
    /// flight twice.
    pub(super) fn resume(&mut self, now: Uptime) {
        if self.held_until.is_some_and(|until| until <= now) && self.in_flight.records() == 0 {
            self.held_until = None;
        }
    }

    /// Forgets what was fetched; the next fetch begins behind the floor.
    fn restart(&mut self, floor: Option<Sequence>) {
        self.shelf.clear();
        self.fetch = None;
        self.floor = floor;
        self.behind = floor;
        self.searched = None;
        self.fruitful = false;
    }

    /// The outbox is to be asked for something.
    pub(super) fn has_request(&self, durable: Option<Sequence>) -> bool {
        self.wants_records(durable) || self.wants_removal()
    }

    /// The next request to the outbox. Removals go first: what is acknowledged must not be found
    /// by the next fetch.
    pub(super) fn next_request(&mut self, durable: Option<Sequence>) -> Option<Read> {
        let wants_records = self.wants_records(durable);
        if (wants_records || self.wants_removal())
            && let Some(removal) = self.leaving.take()
        {
            return Some(removal);
        }
        if !wants_records {
            return None;
        }
        let (sender, reply) = oneshot::channel();
        // Through what is passed over it goes in large steps, to come to what can be sent.
        let fruitless = self.passed_over && !self.fruitful;
        let limit = if fruitless { *FETCH.end() } else { self.fetch_size };
        let in_flight = self.in_flight.sequences().collect();
        self.fetch = Some(Fetch { reply, durable, limit, in_flight });
        Some(Read::Oldest { after: self.behind, limit, reply: sender })
    }

    /// The next removal, however small, for when the connection ends.
    pub(super) fn last_removal(&mut self) -> Option<Read> {
        self.leaving.take()
    }

    /// Waits for the answer to a fetch; for ever when there is none.
    pub(super) async fn fetched(&mut self) -> Result<Vec<Stored>, OutboxGone> {
        match &mut self.fetch {
            Some(fetch) => (&mut fetch.reply).await.map_err(|_| OutboxGone),
            None => std::future::pending().await,
        }
    }

    /// Takes what was fetched, without the records that are to be left out.
    pub(super) fn shelve(&mut self, batch: Vec<Stored>, left_out: impl Fn(Sequence) -> bool) {
        let Some(fetch) = self.fetch.take() else { return };
        if batch.len() < fetch.limit {
            self.searched = self.searched.max(fetch.durable);
        }
        self.behind = batch.last().map_or(self.behind, |last| Some(last.sequence));
        let in_flight = fetch.in_flight;
        let new =
            |stored: &Stored| !left_out(stored.sequence) && !in_flight.contains(&stored.sequence);
        self.shelf.extend(batch.into_iter().filter(new));
        self.fruitful = false;
    }

    /// Everything durable has been sent and answered, or cannot be sent now.
    pub(super) fn is_idle(&self, durable: Option<Sequence>) -> bool {
        let nothing_left = self.shelf.is_empty() && self.fetch.is_none() && !self.has_more(durable);
        self.in_flight.records() == 0 && (nothing_left || self.held_until.is_some())
    }

    fn has_more(&self, durable: Option<Sequence>) -> bool {
        durable > self.behind.max(self.searched)
    }

    fn wants_records(&self, durable: Option<Sequence>) -> bool {
        self.records_at_once > 0
            && self.held_until.is_none()
            && self.fetch.is_none()
            && self.shelf.len() <= self.fetch_size / 2
            && self.has_more(durable)
    }

    fn wants_removal(&self) -> bool {
        let leaving = self.leaving.len();
        leaving >= REMOVAL_BATCH || (leaving > 0 && self.in_flight.records() == 0)
    }
}

impl Leaving {
    fn len(&self) -> usize {
        let all = [&self.acknowledged, &self.for_good, &self.erased, &self.rejected];
        all.into_iter().map(Vec::len).sum()
    }

    fn take(&mut self) -> Option<Read> {
        for (sequences, why) in [
            (&mut self.acknowledged, Removal::Acknowledged),
            (&mut self.for_good, Removal::AcknowledgedForGood),
            (&mut self.erased, Removal::Erased),
            (&mut self.rejected, Removal::Rejected),
        ] {
            if !sequences.is_empty() {
                return Some(Read::Remove { sequences: std::mem::take(sequences), why });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::in_flight::PacketId;

    fn welcome(receive_maximum: u16) -> Welcome {
        Welcome { receive_maximum, largest_packet: usize::MAX }
    }

    fn opened(window: u16) -> Pump {
        let mut pump = Pump::new(false, None);
        pump.open(window, welcome(u16::MAX));
        pump
    }

    fn stored(sequences: impl IntoIterator<Item = u64>) -> Vec<Stored> {
        let stored = |sequence| Stored {
            sequence: Sequence(sequence),
            about: None,
            class: Class::Presence,
            epoch: None,
            bytes: Vec::new(),
        };
        sequences.into_iter().map(stored).collect()
    }

    fn everything(_: Sequence) -> bool {
        false
    }

    /// Asks for records and says behind which (0: from the oldest), or nothing when none are
    /// wanted.
    fn asks(pump: &mut Pump, durable: u64) -> Option<u64> {
        match pump.next_request(Some(Sequence(durable))) {
            Some(Read::Oldest { after, .. }) => Some(after.map_or(0, |after| after.0)),
            Some(removal) => panic!("asked for {removal:?}"),
            None => None,
        }
    }

    fn send(pump: &mut Pump) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(stored) = pump.next_record() {
            pump.requested(stored.sequence, Uptime::ZERO);
            sent.push(stored.sequence.0);
        }
        sent
    }

    fn answer(pump: &mut Pump, packet_id: u16) {
        pump.in_flight.sent(PacketId(packet_id));
        match pump.in_flight.answered(PacketId(packet_id), Uptime::ZERO) {
            Some((Parcel::Record(sequence), _)) => {
                pump.accepted(sequence);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_fetched_or_sent_before_the_broker_says_welcome() {
        let mut pump = Pump::new(false, None);
        assert_eq!(asks(&mut pump, 9), None);
        pump.open(64, welcome(20));
        assert_eq!(asks(&mut pump, 9), Some(0), "the oldest");
    }

    #[test]
    fn the_window_is_the_smaller_of_ours_and_the_brokers_less_a_place_for_the_state() {
        for (window, granted, records) in [(64, 20, 19), (64, 65_535, 64), (64, 2, 1), (64, 1, 1)] {
            let mut pump = Pump::new(false, None);
            pump.open(window, welcome(granted));
            assert_eq!(pump.limit(), records);
            asks(&mut pump, 500);
            pump.shelve(stored(1..=100), everything);
            let sent = send(&mut pump).len();
            assert_eq!(sent, records);
            assert_eq!(pump.has_room(), granted > 1, "for the state, of {granted}");
        }
    }

    #[test]
    fn the_next_records_are_fetched_while_the_window_is_busy() {
        let mut pump = opened(16);
        assert_eq!(asks(&mut pump, 1000), Some(0));
        assert_eq!(asks(&mut pump, 1000), None, "one fetch at a time");
        pump.shelve(stored(1..=32), everything);
        assert_eq!(asks(&mut pump, 1000), None, "enough is at hand");
        assert_eq!(send(&mut pump).len(), 16);
        assert_eq!(asks(&mut pump, 1000), Some(32), "half is used up");
    }

    #[test]
    fn an_outbox_that_has_no_more_is_asked_again_only_when_something_new_is_durable() {
        let mut pump = opened(16);
        asks(&mut pump, 40);
        pump.shelve(stored([38]), everything);
        assert_eq!(asks(&mut pump, 40), None, "40 was dropped or erased");
        asks(&mut pump, 41);
        pump.shelve(stored([]), everything);
        assert_eq!(asks(&mut pump, 41), None);
        assert_eq!(asks(&mut pump, 42), Some(38));
        assert!(pump.next_request(None).is_none());
    }

    #[test]
    fn removals_are_batched_and_go_before_the_next_fetch() {
        let mut pump = opened(16);
        asks(&mut pump, 1000);
        pump.shelve(stored(1..=32), everything);
        send(&mut pump);
        asks(&mut pump, 1000);
        pump.shelve(stored(33..=64), everything);
        answer(&mut pump, 1);
        answer(&mut pump, 2);
        assert!(!pump.has_request(Some(Sequence(1000))), "two are not worth a request");
        for packet_id in 3..=16 {
            answer(&mut pump, packet_id);
        }
        let Some(Read::Remove { sequences, why }) = pump.next_request(Some(Sequence(1000))) else {
            panic!("nothing is in flight: what is acknowledged must leave");
        };
        assert_eq!((sequences.len(), why), (16, Removal::Acknowledged));
        send(&mut pump);
        for packet_id in 17..=20 {
            answer(&mut pump, packet_id);
        }
        pump.rejected(Sequence(21));
        pump.begin_again();
        let kinds: Vec<_> = std::iter::from_fn(|| pump.next_request(Some(Sequence(1000))))
            .map(|read| match read {
                Read::Remove { why, .. } => Some(why),
                _ => None,
            })
            .collect();
        assert_eq!(kinds, [Some(Removal::Acknowledged), Some(Removal::Rejected), None]);
    }

    #[test]
    fn a_hold_waits_for_its_time_and_for_what_is_in_flight_and_then_tries_the_oldest_alone() {
        let until = Uptime::from_micros(1_000_000);
        let mut pump = opened(16);
        asks(&mut pump, 100);
        pump.shelve(stored(1..=32), everything);
        assert_eq!(send(&mut pump).len(), 16);
        pump.hold(until, None);
        assert_eq!((pump.next_record(), asks(&mut pump, 100)), (None, None));
        pump.resume(until);
        assert_eq!(pump.held_until(), Some(until), "sixteen are still in flight");
        for packet_id in 1..=16 {
            answer(&mut pump, packet_id);
        }
        pump.resume(Uptime::ZERO);
        assert_eq!(pump.held_until(), Some(until), "it is not yet time");
        pump.resume(until);
        assert!(matches!(pump.next_request(Some(Sequence(100))), Some(Read::Remove { .. })));
        assert_eq!(asks(&mut pump, 100), Some(0), "from the oldest");
        pump.shelve(stored(17..=48), everything);
        assert_eq!(send(&mut pump), [17]);
        answer(&mut pump, 17);
        assert_eq!(send(&mut pump).len(), 16, "the broker takes records again");
    }

    #[test]
    fn a_careful_connection_sends_one_record_until_it_is_accepted() {
        let mut pump = Pump::new(true, None);
        pump.open(16, welcome(u16::MAX));
        asks(&mut pump, 100);
        pump.shelve(stored(1..=32), |sequence| sequence == Sequence(1));
        assert_eq!(send(&mut pump), [2], "1 is left out");
        answer(&mut pump, 1);
        assert_eq!(send(&mut pump).len(), 16);
    }

    #[test]
    fn a_pump_is_idle_when_nothing_durable_is_left_or_the_broker_puts_it_off() {
        let mut pump = opened(16);
        let durable = Some(Sequence(2));
        assert!(pump.is_idle(None));
        assert!(!pump.is_idle(durable));
        asks(&mut pump, 2);
        assert!(!pump.is_idle(durable));
        pump.shelve(stored(1..=2), everything);
        assert!(!pump.is_idle(durable));
        send(&mut pump);
        answer(&mut pump, 1);
        assert!(!pump.is_idle(durable));
        answer(&mut pump, 2);
        assert!(pump.is_idle(durable));
        assert!(!pump.is_idle(Some(Sequence(3))));
        pump.hold(Uptime::ZERO, None);
        assert!(pump.is_idle(Some(Sequence(3))));
    }

    /// Fetches behind `after` (0: from the oldest), and sends what this courier does not pass over.
    fn go_through(
        pump: &mut Pump,
        after: u64,
        batch: Vec<Stored>,
        passes: fn(u64) -> bool,
    ) -> Vec<u64> {
        assert_eq!(asks(pump, 10_000), Some(after));
        pump.shelve(batch, everything);
        let mut sent = Vec::new();
        while let Some(stored) = pump.next_record() {
            if passes(stored.sequence.0) {
                pump.pass_over();
            } else {
                pump.requested(stored.sequence, Uptime::ZERO);
                sent.push(stored.sequence.0);
            }
        }
        sent
    }

    fn odd(sequence: u64) -> bool {
        sequence % 2 == 1
    }

    #[test]
    fn what_is_passed_over_stays_where_it_is_and_is_sent_from_the_oldest_when_all_is_reconsidered()
    {
        let mut pump = opened(16);
        assert_eq!(go_through(&mut pump, 0, stored(1..=32), odd).len(), 16);
        for packet_id in 1..=16 {
            answer(&mut pump, packet_id);
        }
        assert!(matches!(pump.next_request(None), Some(Read::Remove { .. })));
        pump.shelve(vec![], everything);
        assert_eq!(go_through(&mut pump, 32, stored(33..=40), odd), [34, 36, 38, 40]);
        pump.reconsider();
        // The four are still in flight, and still in the outbox.
        let left = stored((1..=31).step_by(2).chain([33, 34, 35, 36, 37, 38, 39, 40]));
        let sent = go_through(&mut pump, 0, left, |_| false);
        assert_eq!(sent, (1..=23).step_by(2).collect::<Vec<_>>(), "a window less four");
        pump.reconsider();
        assert_eq!(pump.shelf.len(), 8, "nothing was passed over since");
    }

    #[test]
    fn what_was_acknowledged_while_a_fetch_from_the_oldest_was_on_its_way_is_not_sent_again() {
        let mut pump = opened(16);
        assert_eq!(go_through(&mut pump, 0, stored(1..=4), odd), [2, 4]);
        pump.reconsider();
        assert_eq!(asks(&mut pump, 4), Some(0));
        answer(&mut pump, 1);
        pump.shelve(stored(1..=4), everything);
        assert_eq!(send(&mut pump), [1, 3]);
    }

    #[test]
    fn a_pump_that_has_passed_over_everything_is_idle_and_asks_only_for_what_is_new() {
        let mut pump = opened(16);
        assert_eq!(go_through(&mut pump, 0, stored(1..=5), |_| true), [0; 0]);
        pump.searched = Some(Sequence(5));
        assert!(pump.is_idle(Some(Sequence(5))));
        assert_eq!(asks(&mut pump, 5), None);
        assert_eq!(asks(&mut pump, 6), Some(5));
    }

    #[test]
    fn another_connection_begins_behind_what_was_passed_over_and_not_behind_what_was_in_flight() {
        let mut pump = opened(16);
        assert_eq!(go_through(&mut pump, 0, stored(1..=32), |sequence| sequence < 10).len(), 16);
        assert_eq!(pump.floor(), Some(Sequence(9)));
        for packet_id in 1..=16 {
            answer(&mut pump, packet_id);
        }
        assert_eq!(pump.floor(), Some(Sequence(25)), "7 are fetched and not yet sent");
        let floor = pump.floor();
        let mut pump = Pump::new(false, floor);
        pump.open(16, welcome(u16::MAX));
        assert_eq!(send(&mut pump), [0; 0]);
        assert_eq!(go_through(&mut pump, 25, stored(26..=32), |_| false).len(), 7);
        pump.hold(Uptime::ZERO, Some(Sequence(24)));
        assert_eq!(pump.floor, Some(Sequence(23)), "behind what the broker puts off");
        pump.begin_again();
        assert_eq!(pump.floor(), None);
    }

    #[test]
    fn what_is_passed_over_is_gone_through_in_large_steps() {
        let mut pump = opened(16);
        go_through(&mut pump, 0, stored(1..=32), |_| true);
        match pump.next_request(Some(Sequence(9999))) {
            Some(Read::Oldest { limit, .. }) => assert_eq!(limit, *FETCH.end()),
            other => panic!("{other:?}"),
        }
        pump.shelve(stored(33..=544), everything);
        assert_eq!(send(&mut pump).len(), 16);
        assert!(!pump.has_request(Some(Sequence(9999))), "there is enough on the shelf");
    }
}

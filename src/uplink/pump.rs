//! What one connection still has to send, may send, and has got rid of: decisions without a
//! network. `session.rs` carries them out.
//!
//! | part | what it decides |
//! |---|---|
//! | `lanes` | what is fetched, and in which order it goes |
//! | `shelf` | the next of what was fetched, in order by subject |
//! | `pulls` | who has something new, and may have something older |
//! | `marks` | what is new |
//! | `apart` | whom the broker puts off while it takes others |
//! | `leaving` | what the outbox is told, many at a time |

mod apart;
mod lanes;
mod leaving;
mod marks;
#[cfg(test)]
mod model;
mod pulls;
mod shelf;

use std::collections::{BTreeSet, VecDeque};

use tokio::sync::oneshot;

pub(super) use self::{apart::Apart, lanes::Fetched, marks::Marks};
use self::{lanes::Lanes, leaving::Leaving};
use super::{
    in_flight::{InFlight, Parcel},
    wire::Welcome,
};
use crate::{
    engine::Uptime,
    outbox::{Read, Removal, Sequence, Stored, Tag},
};

/// So many records leave the outbox in one request at most, while others are still in flight: one
/// request per record would make the disk's thread the bottleneck.
const REMOVAL_BATCH: usize = 64;

/// Four windows are fetched at once, and fetched again when half of that is used up: a window's
/// worth is at hand while the request is on its way, and enough different subjects to fill it.
const FETCH_WINDOWS: usize = 4;

/// Bounds of a fetch: few enough for memory (512 records of 2 KiB are 1 MiB), enough to be worth
/// the request.
const FETCH: std::ops::RangeInclusive<usize> = 64..=512;

/// A live lane that has fallen behind begins anew at what is new, at most this often. It only
/// happens on a line that is slower than the shop.
const AGAIN_AFTER: std::time::Duration = std::time::Duration::from_secs(30);

/// An outbox that gives no answer is asked again after this.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

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
    /// Nothing is fetched before this.
    ask_from: Option<Uptime>,
    /// When the lanes last began; nothing before the first look.
    begun: Option<Uptime>,
    /// Fetches records, and says which is next.
    lanes: Lanes,
    /// Whatever was durable up to here is old.
    old: Sequence,
    /// What is in flight and must not stay behind in the outbox's files.
    traceless: BTreeSet<Sequence>,
    /// What has to leave the line.
    leaving: Leaving,
    /// What is to be brought back into it.
    back: VecDeque<(Sequence, Sequence)>,
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// With one record at a time.
    pub(super) careful: bool,
    /// How many records about the same may be in flight, at least one.
    pub(super) each: usize,
    /// What an earlier connection [passed over](Pump::floor) or got rid of.
    pub(super) floor: Option<Sequence>,
    /// What is [old](Marks::old).
    pub(super) old: Sequence,
}

impl Pump {
    /// Starts a connection's deliveries at the oldest record, or behind the floor.
    pub(super) fn new(start: Start, apart: &mut Apart) -> Self {
        let floor = start.floor.filter(|_| !apart.take_freed()).unwrap_or(Sequence(0));
        let mut lanes = Lanes::new(start.each, floor, start.old);
        lanes.restart(floor, start.old, apart.passed_over());
        Self {
            in_flight: InFlight::default(),
            records_at_once: 0,
            parcels_at_once: 0,
            careful: start.careful,
            held_until: None,
            ask_from: None,
            begun: None,
            lanes,
            old: start.old,
            traceless: BTreeSet::new(),
            leaving: Leaving::default(),
            back: VecDeque::new(),
        }
    }

    /// The broker said welcome: sending may begin. Records leave one of the places the broker
    /// grants free, so that the state document never waits behind them.
    pub(super) fn open(&mut self, window: u16, welcome: Welcome) {
        let window = usize::from(window);
        let granted = usize::from(welcome.receive_maximum);
        self.records_at_once = window.min(granted.saturating_sub(1)).max(1);
        self.parcels_at_once = (window + 1).min(granted).max(1);
        self.lanes.open((FETCH_WINDOWS * self.records_at_once).clamp(*FETCH.start(), *FETCH.end()));
    }

    /// How many records may be in flight now.
    pub(super) fn limit(&self) -> usize {
        if self.careful { self.records_at_once.min(1) } else { self.records_at_once }
    }

    /// The next record to send, if one may be sent now. What becomes of it is to be told.
    pub(super) fn next_record(&mut self) -> Option<Stored> {
        if self.may_send() { self.lanes.next() } else { None }
    }

    /// Whether what has been delivered once may be sent again: nothing else waits, and half of the
    /// window stays free for what is new.
    pub(super) fn may_repeat(&self) -> bool {
        self.may_send()
            && !self.careful
            && !self.lanes.has_next()
            && self.in_flight.records() < self.limit().div_ceil(2)
    }

    fn may_send(&self) -> bool {
        self.in_flight.records() < self.limit() && self.has_room() && self.held_until.is_none()
    }

    /// The broker's limit leaves room for one more publish of `QoS` 1.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < self.parcels_at_once
    }

    /// A record was handed to the client.
    pub(super) fn requested(&mut self, sequence: Sequence, now: Uptime) {
        self.in_flight.requested(Parcel::Record(sequence), now);
        self.lanes.sent();
    }

    /// What a record in flight says must not stay behind in the outbox's files.
    pub(super) fn leaves_no_trace(&mut self, sequence: Sequence) {
        self.traceless.insert(sequence);
    }

    /// The courier passes the record over that was next, and with it all about the same.
    pub(super) fn pass_over(&mut self, sequence: Sequence) {
        self.lanes.pass_over(sequence);
    }

    /// How many records were passed over since this was last asked.
    pub(super) fn take_passed(&mut self) -> u64 {
        self.lanes.take_passed()
    }

    /// Whom something in flight is about.
    pub(super) fn whose(&self, sequence: Sequence) -> Option<Tag> {
        self.lanes.whose(sequence)
    }

    /// The outbox has come so far, and all up to `old` is old. A live lane that has fallen behind
    /// what is new begins there again.
    pub(super) fn look(
        &mut self,
        durable: Sequence,
        old: Sequence,
        apart: &mut Apart,
        now: Uptime,
    ) {
        self.old = old;
        let first = self.begun.is_none();
        let due = self.begun.is_some_and(|begun| now.since(begun) >= AGAIN_AFTER);
        if durable < self.lanes.head() {
            self.restart(Sequence(0), apart, now);
        } else if first || (due && old > self.lanes.head() && self.held_until.is_none()) {
            self.restart(self.floor().unwrap_or(Sequence(0)), apart, now);
        }
        if self.ask_from.is_some_and(|from| from <= now) {
            self.ask_from = None;
        }
    }

    /// Begins again at the oldest record: those that were passed over might be sent now. What is
    /// in flight stays there and is not sent again.
    pub(super) fn reconsider(&mut self, apart: &mut Apart, now: Uptime) {
        if self.lanes.has_passed_over() {
            self.begin_again(apart, now);
        }
    }

    /// Begins again at the oldest record.
    pub(super) fn begin_again(&mut self, apart: &mut Apart, now: Uptime) {
        self.restart(Sequence(0), apart, now);
    }

    /// Up to where another connection need not look, as long as the courier does not
    /// [reconsider](Self::reconsider): there is nothing that was not passed over or settled.
    pub(super) fn floor(&self) -> Option<Sequence> {
        self.lanes.has_passed_over().then(|| self.lanes.floor())
    }

    /// The broker has a record. Returns whether sending goes on as usual: what was in flight when
    /// the broker put another record off proves nothing.
    pub(super) fn accepted(&mut self, sequence: Sequence) -> bool {
        let traceless = self.traceless.remove(&sequence);
        let why = if traceless { Removal::AcknowledgedForGood } else { Removal::Acknowledged };
        self.leave(sequence, why);
        if self.held_until.is_none() {
            self.careful = false;
        }
        self.held_until.is_none()
    }

    /// A record leaves the line.
    pub(super) fn leave(&mut self, sequence: Sequence, why: Removal) {
        self.lanes.settle(sequence);
        self.leaving.add(sequence, why);
    }

    /// Dead letters may be taken by now.
    pub(super) fn bring_back(&mut self, from: Sequence, to: Sequence) {
        self.back.push_back((from, to));
    }

    /// The broker puts records off, this one first: nothing is sent before `until`, then one alone,
    /// and not one about those who are `apart`.
    pub(super) fn hold(&mut self, until: Uptime, put_off: Option<Sequence>, apart: &mut Apart) {
        // With what is in flight, also the one put off, so that all of it is fetched again.
        let floor = self.floor().unwrap_or(Sequence(0));
        if let Some(put_off) = put_off {
            self.put_back(put_off);
        }
        self.held_until = Some(until);
        self.careful = true;
        self.restart(floor, apart, until);
    }

    /// A record that was in flight is sent again when the line is held no longer.
    pub(super) fn put_back(&mut self, sequence: Sequence) {
        self.traceless.remove(&sequence);
        self.lanes.put_back(sequence);
    }

    /// Sending is suspended.
    pub(super) fn held_until(&self) -> Option<Uptime> {
        self.held_until
    }

    /// When to look again at an outbox that gave no answer.
    pub(super) fn ask_from(&self) -> Option<Uptime> {
        self.ask_from
    }

    /// Ends a hold whose time has come. What was in flight is waited for, so that nothing is in
    /// flight twice.
    pub(super) fn resume(&mut self, now: Uptime) {
        if self.held_until.is_some_and(|until| until <= now) && self.in_flight.records() == 0 {
            self.held_until = None;
        }
    }

    /// Forgets what was fetched; the next fetch begins behind the floor.
    fn restart(&mut self, floor: Sequence, apart: &mut Apart, now: Uptime) {
        let floor = if apart.take_freed() { Sequence(0) } else { floor };
        self.lanes.restart(floor, self.old, apart.passed_over());
        self.begun = Some(now);
    }

    /// The outbox is to be asked for something.
    pub(super) fn has_request(&self, durable: Option<Sequence>) -> bool {
        !self.back.is_empty() || self.wants_records(durable) || self.wants_removal()
    }

    /// The next request to the outbox. Removals go first: what is acknowledged must not be found
    /// by the next fetch.
    pub(super) fn next_request(&mut self, durable: Option<Sequence>) -> Option<Read> {
        if let Some((from, to)) = self.back.pop_front() {
            // How many there were is known from the accounts; they come with the next fetch.
            let (reply, _) = oneshot::channel();
            return Some(Read::BringBack { from, to, reply });
        }
        let wants_records = self.wants_records(durable);
        if (wants_records || self.wants_removal())
            && let Some(removal) = self.leaving.take()
        {
            return Some(removal);
        }
        let durable = durable.filter(|_| wants_records)?;
        self.lanes.wants(durable).and_then(|lane| self.lanes.ask(lane, durable))
    }

    /// The next removal, however small, for when the connection ends.
    pub(super) fn last_removal(&mut self) -> Option<Read> {
        self.leaving.take()
    }

    /// Waits for the answer to a fetch; for ever when there is none.
    pub(super) async fn fetched(&mut self) -> Fetched {
        self.lanes.fetched().await
    }

    /// Takes what was fetched. Where the outbox gave no answer it is asked again after a while.
    pub(super) fn shelve(&mut self, fetched: Fetched, now: Uptime) {
        if !fetched.is_answer() {
            self.ask_from = Some(now + ASK_AGAIN);
        }
        self.lanes.shelve(fetched);
    }

    /// Everything durable has been sent and answered, or cannot be sent now.
    pub(super) fn is_idle(&self, durable: Option<Sequence>) -> bool {
        let nothing_left = durable.is_none_or(|durable| self.lanes.is_done(durable));
        self.in_flight.records() == 0 && (nothing_left || self.held_until.is_some())
    }

    fn wants_records(&self, durable: Option<Sequence>) -> bool {
        self.records_at_once > 0
            && self.held_until.is_none()
            && self.ask_from.is_none()
            && durable.is_some_and(|durable| self.lanes.wants(durable).is_some())
    }

    fn wants_removal(&self) -> bool {
        let leaving = self.leaving.len();
        leaving >= REMOVAL_BATCH || (leaving > 0 && self.in_flight.records() == 0)
    }
}

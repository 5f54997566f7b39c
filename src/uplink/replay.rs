//! What the platform wants sent again in; what of it to send next out, and at the end what became
//! of it. Pure.
//!
//! Whoever asks has looked at the outbox and knows what is held there. The uplink promises to send,
//! for each range in the order in which they came, what stands [`Acknowledged`](Standing) in it:
//! under the same id, marked as replayed, behind what waits for the first time, at a bounded rate,
//! and only what may still be sent. A connection that breaks in between does not end a replay; a
//! stop of the gateway does.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    engine::Uptime,
    outbox::{Read, Sequence, Standing, Stored},
};

/// So many records are fetched at a time, one fetch every [`PACE`]: 256 records a second at the
/// most, so that nobody downstream drowns in what it has seen before.
const BATCH: usize = 64;

/// See [`BATCH`].
const PACE: Duration = Duration::from_millis(250);

/// So many are under way at once.
const AT_ONCE: usize = 16;

/// So many connections may break with a record on them before it is given up: it may be what they
/// break of, and it was delivered once.
const TRIES: u32 = 8;

/// So many ranges may wait to be sent again; more are refused, and may be asked for later.
pub const REPLAYS_BOUND: usize = 16;

/// Records that are to be sent again, although the broker has had them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Replay {
    /// The first number.
    pub from: Sequence,
    /// The last number, inclusive.
    pub to: Sequence,
}

/// What became of each number of a [`Replay`], up to the newest there was when it began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Replayed {
    /// Sent again, and acknowledged again.
    pub sent: u64,
    /// Still on their way to be sent for the first time: nothing was done about them.
    pub pending: u64,
    /// Dead letters: they are brought back by an order of their own.
    pub set_aside: u64,
    /// Held, and not sent: the consent they were made under has ended.
    pub erased: u64,
    /// Held, and not sent: it is not known yet whether they may be.
    pub withheld: u64,
    /// Held, and not sent: the broker does not take them, or they cannot be read.
    pub refused: u64,
    /// No longer held.
    pub missing: u64,
}

/// A replay that is under way.
#[derive(Debug)]
pub(super) struct Replaying {
    /// What is to be fetched next.
    next: u64,
    to: u64,
    fetch: Option<oneshot::Receiver<Vec<(Stored, Standing)>>>,
    /// The next fetch waits until then.
    due: Uptime,
    queue: VecDeque<Again>,
    under_way: BTreeMap<Sequence, Again>,
    done: Replayed,
}

#[derive(Debug)]
struct Again {
    stored: Stored,
    tries: u32,
}

impl Replaying {
    /// Begins one. `last` is the newest number there is.
    pub(super) fn begin(order: Replay, last: Option<Sequence>) -> Self {
        let Replay { from, to } = order;
        let to = last.map_or(0, |last| last.0.min(to.0));
        Self {
            next: from.0.max(1),
            to,
            fetch: None,
            due: Uptime::ZERO,
            queue: VecDeque::new(),
            under_way: BTreeMap::new(),
            done: Replayed::default(),
        }
    }

    /// Whether something is to be fetched now.
    pub(super) fn wants_fetch(&self, now: Uptime) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// When something is to be fetched, if anything.
    pub(super) fn due(&self) -> Option<Uptime> {
        (self.fetch.is_none() && self.queue.is_empty() && self.next <= self.to).then_some(self.due)
    }

    /// The request for the next records.
    pub(super) fn fetch(&mut self, now: Uptime) -> Read {
        let (sender, receiver) = oneshot::channel();
        self.fetch = Some(receiver);
        self.due = now + PACE;
        let (from, to) = (Sequence(self.next), Sequence(self.to));
        Read::Range { from, to, limit: BATCH, reply: sender }
    }

    /// Waits for the answer; for ever when nothing was asked.
    pub(super) async fn fetched(&mut self) -> Option<Vec<(Stored, Standing)>> {
        match &mut self.fetch {
            Some(fetch) => fetch.await.ok(),
            None => std::future::pending().await,
        }
    }

    /// Takes what was fetched; where there is no answer it is asked again.
    pub(super) fn take(&mut self, fetched: Option<Vec<(Stored, Standing)>>) {
        self.fetch = None;
        let Some(batch) = fetched else { return };
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let reached = match batch.last() {
            Some((last, _)) if batch.len() >= BATCH => last.sequence.0,
            _ => self.to,
        };
        let span = (reached.saturating_add(1)).saturating_sub(self.next);
        self.done.missing += span.saturating_sub(count);
        self.next = reached.saturating_add(1);
        for (stored, standing) in batch {
            match standing {
                Standing::Pending => self.done.pending += 1,
                Standing::SetAside => self.done.set_aside += 1,
                Standing::Acknowledged => self.queue.push_back(Again { stored, tries: 0 }),
            }
        }
    }

    /// Whether there is a record to send.
    pub(super) fn has_next(&self) -> bool {
        self.under_way.len() < AT_ONCE && !self.queue.is_empty()
    }

    /// The next record to send, which what `dispatch` makes of it is sent for, or counted.
    pub(super) fn next(&mut self) -> Option<Stored> {
        let again = if self.has_next() { self.queue.pop_front() } else { None }?;
        let stored = again.stored.clone();
        self.under_way.insert(stored.sequence, again);
        Some(stored)
    }

    /// The broker has a record again.
    pub(super) fn accepted(&mut self, sequence: Sequence) {
        if self.under_way.remove(&sequence).is_some() {
            self.done.sent += 1;
        }
    }

    /// A record may no longer be sent.
    pub(super) fn erased(&mut self, sequence: Sequence) {
        if self.under_way.remove(&sequence).is_some() {
            self.done.erased += 1;
        }
    }

    /// It is not known whether a record may be sent.
    pub(super) fn withheld(&mut self, sequence: Sequence) {
        if self.under_way.remove(&sequence).is_some() {
            self.done.withheld += 1;
        }
    }

    /// A record cannot be sent.
    pub(super) fn refused(&mut self, sequence: Sequence) {
        if self.under_way.remove(&sequence).is_some() {
            self.done.refused += 1;
        }
    }

    /// The broker puts a record off: it is the next again.
    pub(super) fn put_back(&mut self, sequence: Sequence) {
        self.queue.extend(self.under_way.remove(&sequence));
        self.queue.make_contiguous().sort_by_key(|again| again.stored.sequence);
    }

    /// The connection has ended: what was under way is sent again over the next.
    pub(super) fn broke(&mut self) {
        self.fetch = None;
        for (_, again) in std::mem::take(&mut self.under_way).into_iter().rev() {
            let tries = again.tries + 1;
            if tries < TRIES {
                self.queue.push_front(Again { tries, ..again });
            } else {
                self.done.refused += 1;
            }
        }
    }

    /// Everything was answered.
    pub(super) fn is_done(&self) -> bool {
        self.next > self.to
            && self.fetch.is_none()
            && self.queue.is_empty()
            && self.under_way.is_empty()
    }

    /// What became of it so far.
    pub(super) fn done(&self) -> Replayed {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Class;

    fn begin(from: u64, to: u64, last: u64) -> Replaying {
        let order = Replay { from: Sequence(from), to: Sequence(to) };
        Replaying::begin(order, Some(Sequence(last)))
    }

    fn held(numbers: impl IntoIterator<Item = u64>) -> Vec<(Stored, Standing)> {
        let stored = |sequence| Stored {
            sequence: Sequence(sequence),
            about: None,
            class: Class::Presence,
            epoch: None,
            bytes: Vec::new(),
        };
        let held = numbers.into_iter().map(|number| {
            let standing = match number % 10 {
                8 => Standing::Pending,
                9 => Standing::SetAside,
                _ => Standing::Acknowledged,
            };
            (stored(number), standing)
        });
        held.collect()
    }

    fn asks(replaying: &mut Replaying, now: Uptime) -> Option<(u64, u64)> {
        if !replaying.wants_fetch(now) {
            return None;
        }
        match replaying.fetch(now) {
            Read::Range { from, to, .. } => Some((from.0, to.0)),
            other => panic!("{other:?}"),
        }
    }

    fn send(replaying: &mut Replaying) -> Vec<u64> {
        std::iter::from_fn(|| replaying.next()).map(|stored| stored.sequence.0).collect()
    }

    #[test]
    fn every_number_is_counted_once() {
        let mut replaying = begin(5, 1000, 20);
        assert_eq!(asks(&mut replaying, Uptime::ZERO), Some((5, 20)), "there is no more");
        replaying.take(Some(held([6, 8, 9, 10, 11, 12, 13])));
        assert_eq!(send(&mut replaying), [6, 10, 11, 12, 13]);
        replaying.erased(Sequence(6));
        replaying.withheld(Sequence(10));
        replaying.refused(Sequence(11));
        replaying.accepted(Sequence(12));
        replaying.accepted(Sequence(12));
        assert!(!replaying.is_done());
        replaying.accepted(Sequence(13));
        assert!(replaying.is_done());
        let done = Replayed {
            sent: 2,
            pending: 1,
            set_aside: 1,
            erased: 1,
            withheld: 1,
            refused: 1,
            missing: 9,
        };
        assert_eq!(replaying.done(), done);
    }

    #[test]
    fn it_goes_in_parts_at_a_bounded_rate_and_never_more_than_a_few_at_once() {
        let mut replaying = begin(1, 200, 200);
        let mut now = Uptime::ZERO;
        let mut sent = Vec::new();
        let mut fetches = 0;
        while !replaying.is_done() {
            if let Some((from, _)) = asks(&mut replaying, now) {
                replaying.take(Some(held((from..=200).take(BATCH))));
                fetches += 1;
            }
            let batch = send(&mut replaying);
            assert!(batch.len() <= AT_ONCE);
            for number in batch {
                sent.push(number);
                replaying.accepted(Sequence(number));
            }
            now = replaying.due().unwrap_or(now).max(now);
        }
        assert_eq!(sent, (1..=200).filter(|number| number % 10 < 8).collect::<Vec<_>>());
        assert_eq!((fetches, now), (4, Uptime::ZERO + 3 * PACE));
    }

    #[test]
    fn what_was_under_way_when_a_connection_broke_is_sent_again_and_given_up_in_the_end() {
        let mut replaying = begin(1, 3, 3);
        asks(&mut replaying, Uptime::ZERO);
        replaying.take(Some(held([1, 2, 3])));
        for _ in 0..TRIES - 1 {
            assert_eq!(send(&mut replaying), [1, 2, 3]);
            replaying.broke();
        }
        assert_eq!(send(&mut replaying), [1, 2, 3]);
        replaying.accepted(Sequence(1));
        replaying.put_back(Sequence(2));
        replaying.broke();
        assert_eq!(send(&mut replaying), [2], "3 is given up; 2 was only put off");
        replaying.accepted(Sequence(2));
        assert_eq!(replaying.done(), Replayed { sent: 2, refused: 1, ..Replayed::default() });
    }

    #[test]
    fn an_order_about_what_never_was_is_done_at_once() {
        for (from, to) in [(30, 40), (9, 3), (0, 0)] {
            assert!(begin(from, to, 20).is_done(), "{from} to {to}");
        }
        let order = Replay { from: Sequence(0), to: Sequence(u64::MAX) };
        assert!(Replaying::begin(order, None).is_done());
    }

    #[test]
    fn an_outbox_without_an_answer_is_asked_again_later() {
        let mut replaying = begin(1, 3, 3);
        assert!(asks(&mut replaying, Uptime::ZERO).is_some());
        replaying.take(None);
        assert_eq!(asks(&mut replaying, Uptime::ZERO), None);
        assert_eq!(asks(&mut replaying, Uptime::ZERO + PACE), Some((1, 3)));
    }
}

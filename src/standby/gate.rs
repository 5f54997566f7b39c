//! What the engine made, on its way to the outbox: it waits until the other gateway has it, or for half a
//! second. Pure; in and out in the same order.

use std::{collections::VecDeque, time::Duration};

use crate::{engine::Uptime, outbox::Write};

/// How long something waits for the other gateway at the most: ten times a round trip by way of a broker far
/// away.
pub(super) const HOLD: Duration = Duration::from_millis(500);

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Gate {
    held: VecDeque<Held>,
    open: VecDeque<Vec<Write>>,
    late: u64,
}

#[derive(Debug)]
struct Held {
    /// What the other one has to have applied; `None` when nothing was told it.
    mark: Option<u64>,
    due: Uptime,
    writes: Vec<Write>,
}

impl Gate {
    /// Lets something wait until the other one has applied `mark`.
    pub(super) fn put(&mut self, now: Uptime, mark: Option<u64>, writes: Vec<Write>) {
        self.held.push_back(Held { mark, due: now + HOLD, writes });
        self.pass(now, None);
    }

    /// The other one has applied everything up to here.
    pub(super) fn applied(&mut self, now: Uptime, mark: u64) {
        self.pass(now, Some(mark));
    }

    /// Lets through what has waited for long enough.
    pub(super) fn handle_timeout(&mut self, now: Uptime) {
        self.pass(now, None);
    }

    /// Lets everything through: nobody is waited for.
    pub(super) fn open(&mut self) {
        self.open.extend(self.held.drain(..).map(|held| held.writes));
    }

    /// When [`Self::handle_timeout`] is next due.
    pub(super) fn poll_timeout(&self) -> Option<Uptime> {
        Some(self.held.front()?.due)
    }

    /// What is to be kept next, in one commit.
    pub(super) fn poll(&mut self) -> Option<Vec<Write>> {
        self.open.pop_front()
    }

    /// How many went through before the other one had them.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    fn pass(&mut self, now: Uptime, applied: Option<u64>) {
        while let Some(held) = self.held.front() {
            let told = held.mark.is_none_or(|mark| applied.is_some_and(|it| it >= mark));
            if !told && now < held.due {
                return;
            }
            self.late += u64::from(!told);
            self.open.extend(self.held.pop_front().map(|held| held.writes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: i64) -> Uptime {
        Uptime::from_micros(millis * 1000)
    }

    fn write(slot: u8) -> Vec<Write> {
        vec![Write::Keep { slot: vec![slot], value: None }]
    }

    fn out(gate: &mut Gate) -> Vec<u8> {
        let slot = |writes: Vec<Write>| match writes.into_iter().next() {
            Some(Write::Keep { slot, .. }) => slot[0],
            _ => 0,
        };
        std::iter::from_fn(|| gate.poll()).map(slot).collect()
    }

    #[test]
    fn what_the_other_one_has_goes_through_and_what_comes_behind_waits_for_its_turn() {
        let mut gate = Gate::default();
        gate.put(ms(0), None, write(1));
        assert_eq!(out(&mut gate), [1], "nobody was told, nobody is waited for");
        gate.put(ms(0), Some(7), write(2));
        gate.put(ms(1), None, write(3));
        gate.put(ms(2), Some(9), write(4));
        gate.applied(ms(3), 6);
        assert!(out(&mut gate).is_empty());
        gate.applied(ms(4), 8);
        assert_eq!(out(&mut gate), [2, 3]);
        gate.applied(ms(5), 9);
        assert_eq!((out(&mut gate), gate.late(), gate.poll_timeout()), (vec![4], 0, None));
    }

    #[test]
    fn nothing_waits_longer_than_half_a_second_and_what_went_before_it_was_told_is_counted() {
        let mut gate = Gate::default();
        gate.put(ms(0), Some(1), write(1));
        gate.put(ms(100), Some(2), write(2));
        assert_eq!(gate.poll_timeout(), Some(ms(500)));
        gate.handle_timeout(ms(499));
        assert!(out(&mut gate).is_empty());
        gate.handle_timeout(ms(500));
        assert_eq!((out(&mut gate), gate.late()), (vec![1], 1));
        gate.open();
        assert_eq!((out(&mut gate), gate.late()), (vec![2], 1));
    }
}

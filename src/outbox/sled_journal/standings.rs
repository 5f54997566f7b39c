//! Where the records of a chunk stand, written apart from the records: what was delivered in order
//! takes a few bytes for a thousand of them, and no record is written again because it was.
//!
//! A chunk is 1024 sequences. Its value is a row of runs, each a byte with the state in the upper
//! two bits and the length less one in the others; 63 there means that the length less 64 follows.
//! What lies behind the last run is pending: so a chunk has no value until one of its records is
//! anything else.

use crate::outbox::Standing;

use super::octets::{Rest, put};

/// How many low bits of a sequence say its place in the chunk.
pub(super) const BITS: u32 = 10;

/// How many sequences a chunk has.
pub(super) const CHUNK: usize = 1 << BITS;

/// The length from which on a run has it in a number of its own.
const LONG: u64 = 64;

/// A value that says nothing: the first is pending, as are all that follow.
pub(super) const NOTHING: [u8; 1] = [0];

/// What is the case with a sequence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// There is a record.
    Held(Standing),
    /// There is none any more, or never was.
    Gone,
}

/// The value for these states, at most [`CHUNK`] of them; empty when all are pending.
pub(super) fn encode(states: impl Iterator<Item = State>) -> Vec<u8> {
    let mut runs: Vec<(State, u64)> = Vec::new();
    for state in states {
        match runs.last_mut() {
            Some((last, length)) if *last == state => *length += 1,
            _ => runs.push((state, 1)),
        }
    }
    if runs.last().is_some_and(|(state, _)| *state == State::Held(Standing::Pending)) {
        runs.pop();
    }
    let mut bytes = Vec::new();
    for (state, length) in runs {
        let short = u8::try_from(length.min(LONG) - 1).unwrap_or(u8::MAX);
        bytes.push(number(state) << 6 | short);
        if let Some(more) = length.checked_sub(LONG) {
            put(&mut bytes, more);
        }
    }
    bytes
}

/// All states of a chunk, exactly [`CHUNK`]; `None` when the value is none.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<State>> {
    let mut rest = Rest(bytes);
    let mut states = Vec::with_capacity(CHUNK);
    while !rest.0.is_empty() {
        let byte = rest.u8()?;
        let mut length = u64::from(byte & 0x3f) + 1;
        if length == LONG {
            length = length.checked_add(rest.number()?)?;
        }
        let length = states.len().checked_add(usize::try_from(length).ok()?)?;
        if length > CHUNK {
            return None;
        }
        states.resize(length, state(byte >> 6));
    }
    states.resize(CHUNK, State::Held(Standing::Pending));
    Some(states)
}

fn number(state: State) -> u8 {
    match state {
        State::Held(Standing::Pending) => 0,
        State::Held(Standing::Acknowledged) => 1,
        State::Held(Standing::SetAside) => 2,
        State::Gone => 3,
    }
}

fn state(number: u8) -> State {
    match number {
        0 => State::Held(Standing::Pending),
        1 => State::Held(Standing::Acknowledged),
        2 => State::Held(Standing::SetAside),
        _ => State::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_back_as_they_were_written() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..300 {
            let length = random.usize(0..=CHUNK);
            let most = *random.choice(&[1, 5, 100, 2000]).unwrap();
            let mut states = Vec::new();
            while states.len() < length {
                let run = random.usize(1..=most).min(length - states.len());
                states.resize(states.len() + run, state(random.u8(0..4)));
            }
            let bytes = encode(states.iter().copied());
            let read = decode(&bytes).unwrap();
            assert_eq!((read.len(), &read[..length]), (CHUNK, states.as_slice()));
            assert!(read[length..].iter().all(|state| number(*state) == 0));
        }
    }

    #[test]
    fn what_was_delivered_in_order_takes_a_few_bytes_and_what_waits_none() {
        let delivered = State::Held(Standing::Acknowledged);
        let states = [State::Gone; 300].into_iter().chain([delivered; 500]);
        assert!(encode(states).len() <= 8);
        let waits = [State::Held(Standing::Pending); CHUNK];
        assert!(encode(waits.into_iter()).is_empty());
        assert_eq!(decode(&NOTHING).unwrap(), waits);
    }

    #[test]
    fn strange_bytes_are_refused_and_never_panic() {
        let mut random = fastrand::Rng::with_seed(2);
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decode(&[0xff]), None);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
            assert!(decode(&bytes).is_none_or(|states| states.len() == CHUNK));
        }
    }
}

//! What the outbox says when it loses a record: how many, which, and why.

use crate::engine::UnixTime;

use super::Sequence;

/// Records that left the outbox without having been sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dropped {
    /// How many records were lost. When a notice was among them, those it told of are included, so
    /// that no loss becomes unreported.
    pub count: u64,
    /// The first of them.
    pub first: Sequence,
    /// The last of them.
    pub last: Sequence,
    /// When the first of them was made, if the clock was synced then.
    pub first_made: Option<UnixTime>,
    /// When the last of them was made, if the clock was synced then.
    pub last_made: Option<UnixTime>,
    /// Why these were dropped. Losses carried over from a dropped notice had reasons of their own.
    pub why: DropReason,
}

/// Why a record was dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DropReason {
    /// The outbox held `max_records` records or `max_bytes` bytes; the oldest made room.
    Full,
    /// The record had this many bytes, more than [`MAX_RECORD`](super::MAX_RECORD). Its notice took
    /// its place, under the sequence the record would have had.
    TooBig(usize),
    /// The record was older than `max_age`.
    TooOld,
}

/// Makes the record that tells the platform of a loss. The outbox stores bytes and does not know
/// what a record looks like, so whoever starts it says how to word this one.
pub type Notice = Box<dyn FnMut(&Dropped) -> Vec<u8> + Send>;

impl Dropped {
    /// A loss of one record.
    pub(super) fn one(sequence: Sequence, made: Option<UnixTime>, why: DropReason) -> Self {
        Self { count: 1, first: sequence, last: sequence, first_made: made, last_made: made, why }
    }

    /// Takes over what another account tells of, keeping this one's reason.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        if other.first < self.first {
            self.first = other.first;
            self.first_made = other.first_made;
        }
        if other.last > self.last {
            self.last = other.last;
            self.last_made = other.last_made;
        }
    }
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::TooBig(bytes) => write!(f, "too big ({bytes} bytes)"),
            Self::TooOld => f.write_str("too old"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_absorbs_an_earlier_one_spans_both() {
        let at = |millis| Some(UnixTime::from_millis(millis));
        let mut later = Dropped::one(Sequence(90), at(900), DropReason::TooOld);
        later.absorb(&Dropped {
            count: 7,
            first: Sequence(3),
            last: Sequence(12),
            first_made: at(30),
            last_made: None,
            why: DropReason::Full,
        });
        assert_eq!(
            later,
            Dropped {
                count: 8,
                first: Sequence(3),
                last: Sequence(90),
                first_made: at(30),
                last_made: at(900),
                why: DropReason::TooOld,
            }
        );
    }
}

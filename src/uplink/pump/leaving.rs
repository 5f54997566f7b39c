//! What is to leave the line: collected, so that one request serves for many.

use crate::outbox::{Read, Removal, Sequence};

/// What the outbox is to be told, by reason.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    acknowledged: Vec<Sequence>,
    for_good: Vec<Sequence>,
    erased: Vec<Sequence>,
    rejected: Vec<Sequence>,
    unreadable: Vec<Sequence>,
}

impl Leaving {
    /// Adds one.
    pub(super) fn add(&mut self, sequence: Sequence, why: Removal) {
        let sequences = match why {
            Removal::Acknowledged => &mut self.acknowledged,
            Removal::AcknowledgedForGood => &mut self.for_good,
            Removal::Erased => &mut self.erased,
            Removal::Rejected => &mut self.rejected,
            Removal::Unreadable => &mut self.unreadable,
        };
        sequences.push(sequence);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.acknowledged.len()
            + self.for_good.len()
            + self.erased.len()
            + self.rejected.len()
            + self.unreadable.len()
    }

    /// Takes all there are for one reason.
    pub(super) fn take(&mut self) -> Option<Read> {
        for (sequences, why) in [
            (&mut self.acknowledged, Removal::Acknowledged),
            (&mut self.for_good, Removal::AcknowledgedForGood),
            (&mut self.erased, Removal::Erased),
            (&mut self.rejected, Removal::Rejected),
            (&mut self.unreadable, Removal::Unreadable),
        ] {
            if !sequences.is_empty() {
                return Some(Read::Remove { sequences: std::mem::take(sequences), why });
            }
        }
        None
    }
}

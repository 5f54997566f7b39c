//! Records too large for a broker in; which of them another would take out. Pure.

use std::collections::BTreeMap;

use crate::outbox::Sequence;

/// So many are remembered; of older ones an operator has to think.
const MOST: usize = 1024;

/// What was set aside for its size since the start.
#[derive(Debug, Default)]
pub(super) struct Oversize {
    /// How large a packet each of them needs, in bytes.
    needs: BTreeMap<Sequence, usize>,
}

impl Oversize {
    /// A record was set aside: it needs a packet of so many bytes.
    pub(super) fn refused(&mut self, record: Sequence, needs: usize) {
        self.needs.insert(record, needs);
        while self.needs.len() > MOST {
            self.needs.pop_first();
        }
    }

    /// Takes those that fit into packets of so many bytes.
    pub(super) fn take_fitting(&mut self, largest: usize) -> Vec<Sequence> {
        self.needs.extract_if(.., |_, needs| *needs <= largest).map(|(record, _)| record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_taken_once_and_the_rest_stays() {
        let mut oversize = Oversize::default();
        for (record, needs) in [(1, 700), (2, 900), (3, 500)] {
            oversize.refused(Sequence(record), needs);
        }
        assert_eq!(oversize.take_fitting(499), []);
        assert_eq!(oversize.take_fitting(800), [Sequence(1), Sequence(3)]);
        assert_eq!(oversize.take_fitting(900), [Sequence(2)]);
    }

    #[test]
    fn no_more_than_a_thousand_are_remembered() {
        let mut oversize = Oversize::default();
        (0..5000).for_each(|record| oversize.refused(Sequence(record), 1));
        assert_eq!(oversize.take_fitting(1).len(), MOST);
    }
}

//! The last strengths of one sender at one receiver.

use std::collections::VecDeque;

use crate::engine::Rssi;

/// The last strengths, oldest first.
#[derive(Debug, Default)]
pub(super) struct Strengths(VecDeque<Rssi>);

/// How many are kept: some seconds of a common tag.
const KEPT: usize = 31;

impl Strengths {
    pub(super) fn push(&mut self, rssi: Rssi) {
        self.0.push_back(rssi);
        while self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// The middle one.
    pub(super) fn median(&self) -> Option<Rssi> {
        let mut sorted: Vec<Rssi> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

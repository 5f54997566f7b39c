//! Joins the fragments of extended advertisements. Fragments in, whole advertising data out.
//!
//! Keeps at most [`OPEN_MAX`] unfinished advertisements of at most [`DATA_MAX`] bytes each.

use std::fmt;

use super::DATA_MAX;
use crate::engine::DeviceAddress;

/// How many advertisements may be unfinished at once. A controller finishes one before it reports
/// fragments of the next, apart from a scan response or a second set that comes between.
const OPEN_MAX: usize = 16;

/// What tells the fragments of one advertisement from those of another.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct Key {
    pub(super) address: DeviceAddress,
    pub(super) set: u8,
    pub(super) scan_response: bool,
}

/// The advertisements that are not complete yet, oldest first.
#[derive(Default)]
pub(super) struct Fragments {
    open: Vec<Unfinished>,
}

struct Unfinished {
    key: Key,
    /// The data so far; `None` once it grew longer than any advertisement may be.
    data: Option<Vec<u8>>,
}

/// What the last fragment completed.
pub(super) enum Joined {
    /// It was the only one.
    Whole,
    /// All fragments together.
    Fragments(Vec<u8>),
    /// All fragments together are longer than any advertisement may be.
    TooLong,
}

impl fmt::Debug for Fragments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragments").field("open", &self.open.len()).finish()
    }
}

impl Fragments {
    /// Keeps a fragment after which more follow, and says how many older advertisements had to be
    /// given up for it.
    pub(super) fn begin_or_extend(&mut self, key: Key, fragment: &[u8]) -> usize {
        if let Some(unfinished) = self.open.iter_mut().find(|unfinished| unfinished.key == key) {
            unfinished.extend(fragment);
            return 0;
        }
        let given_up = (self.open.len() + 1).saturating_sub(OPEN_MAX);
        self.open.drain(..given_up);
        self.open.push(Unfinished { key, data: Some(fragment.to_vec()) });
        given_up
    }

    /// Takes the fragment after which no more follow.
    pub(super) fn end(&mut self, key: Key, fragment: &[u8]) -> Joined {
        let Some(place) = self.open.iter().position(|unfinished| unfinished.key == key) else {
            return Joined::Whole;
        };
        let mut unfinished = self.open.remove(place);
        unfinished.extend(fragment);
        unfinished.data.map_or(Joined::TooLong, Joined::Fragments)
    }

    /// Forgets everything unfinished and says how many advertisements that were.
    pub(super) fn abandon(&mut self) -> u64 {
        std::mem::take(&mut self.open).iter().map(|_| 1).sum()
    }
}

impl Unfinished {
    fn extend(&mut self, fragment: &[u8]) {
        match &mut self.data {
            Some(data) if data.len() + fragment.len() <= DATA_MAX => data.extend(fragment),
            _ => self.data = None,
        }
    }
}

//! Joins the fragments of extended advertisements. Fragments in, whole advertising data out.
//!
//! Keeps at most [`OPEN_MAX`] unfinished advertisements of at most [`DATA_MAX`] bytes each, and
//! those no longer than their reader wants.

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
    /// In boxes: a list that moves its items leaves copies of them behind.
    #[expect(clippy::vec_box, reason = "the address in an item must not be copied")]
    open: Vec<Box<Unfinished>>,
}

struct Unfinished {
    key: Key,
    /// It was there when forgetting was last asked for, and nothing of it has come since.
    stale: bool,
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
        let data = Some(fragment.to_vec());
        self.open.push(Box::new(Unfinished { key, stale: false, data }));
        given_up
    }

    /// Takes the fragment after which no more follow.
    pub(super) fn end(&mut self, key: Key, fragment: &[u8]) -> Joined {
        let Some(place) = self.open.iter().position(|unfinished| unfinished.key == key) else {
            return Joined::Whole;
        };
        let mut unfinished = self.open.remove(place);
        unfinished.extend(fragment);
        unfinished.data.take().map_or(Joined::TooLong, Joined::Fragments)
    }

    /// Forgets what nothing was added to since the last call, and says how many advertisements that
    /// were.
    pub(super) fn forget(&mut self) -> u64 {
        let mut forgotten = 0;
        self.open.retain_mut(|unfinished| {
            let stale = std::mem::replace(&mut unfinished.stale, true);
            forgotten += u64::from(stale);
            !stale
        });
        forgotten
    }

    /// Forgets everything unfinished and says how many advertisements that were.
    pub(super) fn abandon(&mut self) -> u64 {
        std::mem::take(&mut self.open).iter().map(|_| 1).sum()
    }
}

impl Unfinished {
    fn extend(&mut self, fragment: &[u8]) {
        self.stale = false;
        match &mut self.data {
            Some(data) if data.len() + fragment.len() <= DATA_MAX => data.extend(fragment),
            _ => self.data = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::AddressKind;

    fn key(first: u8) -> Key {
        let address = DeviceAddress::new([first; 6], AddressKind::Random);
        Key { address, set: 1, scan_response: false }
    }

    #[test]
    fn what_is_not_continued_is_forgotten_and_the_rest_is_joined() {
        let mut fragments = Fragments::default();
        fragments.begin_or_extend(key(1), b"one");
        fragments.begin_or_extend(key(2), b"two");
        assert_eq!(fragments.forget(), 0);
        fragments.begin_or_extend(key(2), b" goes");
        assert_eq!(fragments.forget(), 1);
        assert!(matches!(fragments.end(key(1), b"?"), Joined::Whole));
        let Joined::Fragments(whole) = fragments.end(key(2), b" on") else { panic!("lost") };
        assert_eq!(whole, b"two goes on");
        assert_eq!((fragments.forget(), fragments.abandon()), (0, 0));
    }
}

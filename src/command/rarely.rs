//! What happens over and over in; what is worth telling again out. Pure.

use std::{collections::BTreeMap, time::Duration};

use crate::engine::Uptime;

/// The same is told again only after this.
const SAY_AGAIN: Duration = Duration::from_mins(10);

/// How many different things are remembered; what is not is told.
const MOST_KEYS: usize = 64;

/// The window in which refusals are told to the platform, and how many of them: a broken or a
/// hostile publisher must not make us answer as fast as it speaks.
const WINDOW: Duration = Duration::from_mins(1);
const MOST_IN_WINDOW: u32 = 20;

/// Keeps the log from repeating itself.
#[derive(Debug)]
pub(super) struct Rarely<K> {
    told: BTreeMap<K, (Uptime, u64)>,
}

/// Keeps answers from becoming a flood.
#[derive(Debug, Default)]
pub(super) struct Quota {
    began: Option<Uptime>,
    told: u32,
    untold: u64,
}

// === impl Rarely ===

impl<K: Ord> Rarely<K> {
    pub(super) fn new() -> Self {
        Self { told: BTreeMap::new() }
    }

    /// Whether to tell it now, and then how often it was not told since the last time.
    pub(super) fn tell(&mut self, key: K, now: Uptime) -> Option<u64> {
        if let Some((at, untold)) = self.told.get_mut(&key)
            && now.since(*at) < SAY_AGAIN
        {
            *untold += 1;
            return None;
        }
        if self.told.len() >= MOST_KEYS {
            self.told.clear();
        }
        let before = self.told.insert(key, (now, 0));
        Some(before.map_or(0, |(_, untold)| untold))
    }
}

// === impl Quota ===

impl Quota {
    /// Whether to tell one more now, and then how many were not told before it.
    pub(super) fn tell(&mut self, now: Uptime) -> Option<u64> {
        if self.began.is_none_or(|began| now.since(began) >= WINDOW) {
            self.began = Some(now);
            self.told = 0;
        }
        if self.told >= MOST_IN_WINDOW {
            self.untold += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Uptime = Uptime::ZERO;

    #[test]
    fn the_same_is_told_once_in_a_while_with_what_was_not_told() {
        let mut rarely = Rarely::new();
        assert_eq!(rarely.tell("a", NOW), Some(0));
        assert_eq!(rarely.tell("b", NOW), Some(0));
        for _ in 0..3 {
            assert_eq!(rarely.tell("a", NOW), None);
        }
        assert_eq!(rarely.tell("a", NOW + SAY_AGAIN), Some(3));
        assert_eq!(rarely.tell("a", NOW + SAY_AGAIN * 2), Some(0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut rarely = Rarely::new();
        for key in 0..10 * MOST_KEYS {
            rarely.tell(key, NOW);
            assert!(rarely.told.len() <= MOST_KEYS);
        }
    }

    #[test]
    fn a_flood_is_answered_so_many_times_a_minute() {
        let mut quota = Quota::default();
        let told = (0..1000).filter(|_| quota.tell(NOW).is_some()).count();
        assert_eq!(told, 20);
        assert_eq!(quota.tell(NOW + WINDOW), Some(980));
        assert_eq!(quota.tell(NOW + WINDOW), Some(0));
    }
}

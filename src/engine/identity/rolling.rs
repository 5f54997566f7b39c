//! What enrolled apps may be sending around now: a value and the time in, whose app it is out.
//!
//! Promises: finding a value costs the same however many are enrolled; the values of the epochs
//! around now are derived in slices, ahead of their time; who is enrolled or withdrawn is so without
//! anything being built anew.
//!
//! One of these holds the keys of one form. For each epoch it has a table of 8 octets a key and a
//! third to spare: 70,000 keys take 0.8 MB an epoch, four epochs (previous, current, next, and the
//! one being built ahead) 3.4 MB, and the keys themselves 4.7 MB more.
//!
//! Of a key that is withdrawn nothing is left but 32 bits in each table, which lead to nobody and go
//! with the table, within three quarters of an hour.

mod derive;
pub use derive::{EPOCH_SECONDS, RollingForm, Tenant};

use super::{
    MemberKey, SubjectIndex, UnixTime,
    rotating::{Pending, Roster, Table},
};
use derive::{Message, epoch_of};

/// How many values at most are held of the epochs around now while the clock is not synced.
///
/// The first bound is memory: 2^20 entries of 8 octets and a third take 11 MB. 1,000 keys can be
/// searched for five days to either side, 5,000 a day, 70,000 an hour and a half.
const WIDE_ENTRIES: usize = 1 << 20;

/// The previous, the current and the next epoch's values are accepted: a phone's clock may be off,
/// and one that sleeps changes its value late.
const REACH: u32 = 1;

/// The apps of one form.
#[derive(Debug)]
pub(super) struct Rolling {
    form: RollingForm,
    tenant: Tenant,
    /// How far to search while the clock is not synced, in epochs to either side.
    wide: u32,
    keys: Roster<MemberKey>,
    /// Nearest first: in the order in which they are needed.
    epochs: Vec<Epoch>,
    /// The current epoch and how many to either side count, as of the last look at the clock.
    at: Option<(u32, u32)>,
}

/// What all keys make of one epoch.
#[derive(Debug)]
struct Epoch {
    number: u32,
    /// The places before this one are in the table.
    built: usize,
    table: Table<u32>,
}

/// Who was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) subject: SubjectIndex,
    /// It was only found because more was searched than a synced clock would have allowed.
    pub(super) wide_window: bool,
}

// === impl Rolling ===

impl Rolling {
    /// Nobody is enrolled yet. `wide` is how far to search, to either side, while the clock is not
    /// synced.
    pub(super) fn new(form: RollingForm, tenant: Tenant, wide: std::time::Duration) -> Self {
        let wide = wide.as_secs() / EPOCH_SECONDS.unsigned_abs();
        let wide = u32::try_from(wide).unwrap_or(u32::MAX).max(REACH);
        let (keys, epochs) = (Roster::default(), Vec::new());
        Self { form, tenant, wide, keys, epochs, at: None }
    }

    /// Enrols a subject's key. Its values are derived when their turn comes.
    pub(super) fn insert(&mut self, subject: SubjectIndex, key: MemberKey) {
        self.keys.insert(subject, key);
    }

    /// Withdraws a subject's key. What was derived from it belongs to nobody from now on.
    pub(super) fn remove(&mut self, subject: SubjectIndex, key: MemberKey) {
        self.keys.remove(subject, |its| *its == key);
        if self.keys.compact() {
            self.epochs.clear();
            self.at = None;
        }
    }

    /// True while nobody is enrolled.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.len() == 0
    }

    /// Looks at the clock: tables that are no longer needed go, those that will be are begun. True
    /// when the clock has brought something new.
    pub(super) fn turn(&mut self, unix: UnixTime, synced: bool) -> bool {
        let current = epoch_of(unix);
        let reach = if synced { REACH } else { self.wide_reach() };
        if self.at.replace((current, reach)) == Some((current, reach)) {
            return false;
        }
        // The one after the last that counts is built ahead.
        let wanted = current.saturating_sub(reach)..=current.saturating_add(reach + 1);
        self.epochs.retain(|epoch| wanted.contains(&epoch.number));
        for number in wanted {
            if !self.epochs.iter().any(|epoch| epoch.number == number) {
                self.epochs.push(Epoch { number, built: 0, table: Table::default() });
            }
        }
        self.epochs
            .sort_unstable_by_key(|epoch| (epoch.number.abs_diff(current), epoch.number < current));
        true
    }

    /// Derives at most so many values, those first that are needed first. Tells what is left.
    pub(super) fn build(&mut self, budget: usize) -> Pending {
        let Some((current, reach)) = self.at else { return Pending::Nothing };
        let places = self.keys.places();
        let mut budget = budget;
        for epoch in &mut self.epochs {
            if epoch.built >= places {
                continue;
            }
            if budget == 0 {
                break;
            }
            if epoch.built == 0 {
                // Room for an eighth more, so that a day's newcomers do not make it grow.
                epoch.table = Table::with_room(places + places / 8);
            }
            let message = Message::new(self.form, &self.tenant, epoch.number);
            let until = epoch.built.saturating_add(budget).min(places);
            for place in epoch.built..until {
                if let Some((_, key)) = self.keys.get(place)
                    && let Ok(place) = u32::try_from(place)
                {
                    epoch.table.insert(tag(message.value(key)), place);
                }
            }
            budget -= until - epoch.built;
            epoch.built = until;
        }
        let left = self.epochs.iter().find(|epoch| epoch.built < places);
        match left {
            None => Pending::Nothing,
            Some(epoch) if epoch.number.abs_diff(current) <= reach => Pending::Needed,
            Some(_) => Pending::Ahead,
        }
    }

    /// Whose app sends this value at the time of the last [`Rolling::turn`].
    pub(super) fn resolve(&self, value: u128) -> Option<Found> {
        let (current, reach) = self.at?;
        for epoch in &self.epochs {
            let distance = epoch.number.abs_diff(current);
            if distance > reach {
                continue;
            }
            for place in epoch.table.find(tag(value)) {
                let Some((subject, key)) = self.keys.get(place as usize) else { continue };
                if Message::new(self.form, &self.tenant, epoch.number).value(key) == value {
                    return Some(Found { subject, wide_window: distance > REACH });
                }
            }
        }
        None
    }

    /// How many epochs to either side can be searched, by the setting and the bound on memory.
    fn wide_reach(&self) -> u32 {
        let epochs = WIDE_ENTRIES / self.keys.places().max(1);
        // The current one and the one built ahead are not to either side.
        let most = u32::try_from(epochs.saturating_sub(2) / 2).unwrap_or(u32::MAX);
        self.wide.min(most).max(REACH)
    }

    /// The octets it takes.
    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        self.keys.octets() + self.epochs.iter().map(|epoch| epoch.table.octets()).sum::<usize>()
    }
}

/// The first 32 bits of a value: none of them is given by the form.
fn tag(value: u128) -> u32 {
    u32::try_from(value >> 96).unwrap_or(0)
}

#[cfg(test)]
pub(super) mod tests;

//! The ledger of losses: what was lost and not told yet. It is durable in the commit that makes the
//! loss, and told by notices soon after.
//!
//! Losses in, by reason; notices and small values for the journal out. Promises: what was booked is
//! told exactly once however often the power is cut, in notices that each fit into a record.

use std::{collections::BTreeMap, time::Duration};

use tracing::error;

use crate::engine::{ClockQuality, Uptime, WallClock};

use super::{
    Class, DropReason, Dropped, Entry, Held, Journal, Kept, MAX_RECORD, Notice, OutboxError,
};

/// Names of kept values that begin with this are the outbox's own.
pub(super) const RESERVED: &[u8] = b"\0outbox/";

/// What follows it in the names of losses, before the reason's number.
const LOSS: &[u8] = b"loss/";

/// How long losses are collected before they are told: what one moment loses shares a notice.
const DELAY: Duration = Duration::from_secs(1);

/// How long a notice that was lost or refused waits for company. It is told with the next loss for
/// the same reason, but does not lead to a notice at once, which would be lost as well, and so on.
const PATIENCE: Duration = Duration::from_hours(1);

/// How many ranges one notice tells of. Twenty bytes each at the most, so that a notice, and a value
/// in the ledger, fit into a record; on the wire it makes 3 KiB.
const RANGES: usize = 64;

/// How often a lasting loss is logged.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// What was lost and not told yet.
pub(super) struct Losses {
    notice: Notice,
    untold: BTreeMap<DropReason, Untold>,
    log: BTreeMap<DropReason, Logged>,
}

struct Untold {
    dropped: Dropped,
    /// When it is to be told.
    due: Uptime,
    /// Whether the journal has another value, or none.
    changed: bool,
}

/// What was logged last.
#[derive(Default)]
struct Logged {
    last: Option<Uptime>,
    records: u64,
}

/// Notices that were appended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Told {
    /// How many.
    pub(super) notices: u64,
    /// Bytes of them and of the values that were kept.
    pub(super) bytes: usize,
    /// Whether anything was staged.
    pub(super) staged: bool,
}

impl Losses {
    pub(super) fn new(notice: Notice) -> Self {
        Self { notice, untold: BTreeMap::new(), log: BTreeMap::new() }
    }

    /// Forgets what it knows: this is what the journal has.
    pub(super) fn take_over(&mut self, kept: &[Kept], now: Uptime) {
        let prefix = [RESERVED, LOSS].concat();
        let found = kept.iter().filter(|kept| kept.slot.starts_with(&prefix));
        let found = found.filter_map(|kept| {
            let dropped = Dropped::decode(&kept.value);
            if dropped.is_none() {
                error!("What was kept of lost records cannot be read; they are told by nobody.");
            }
            dropped
        });
        self.untold = found
            .map(|dropped| (dropped.why, Untold { dropped, due: now + DELAY, changed: false }))
            .collect();
    }

    /// Books records that never were in the journal, or of which nothing else is known.
    pub(super) fn book(&mut self, dropped: &Dropped, now: Uptime) {
        self.add(dropped, now, DELAY);
    }

    /// Books a record that leaves; if it was a notice, with all that it told of.
    pub(super) fn book_held(&mut self, held: &Held, why: DropReason, now: Uptime) {
        let delay = if held.notice.is_some() { PATIENCE } else { DELAY };
        self.add(&Dropped::one(why, held.sequence, held.made), now, delay);
        if let Some(carried) = &held.notice
            // As long as it is held it can be brought back.
            && why != DropReason::SetAside
        {
            self.add(carried, now, delay);
        }
    }

    fn add(&mut self, dropped: &Dropped, now: Uptime, delay: Duration) {
        let due = now + delay;
        let untold = self.untold.entry(dropped.why).or_insert_with(|| Untold {
            dropped: Dropped::none(dropped.why),
            due,
            changed: true,
        });
        untold.dropped.absorb(dropped);
        untold.due = untold.due.min(due);
        untold.changed = true;
        self.log(dropped, now);
    }

    /// When something is to be told; `None` when there is nothing.
    pub(super) fn due(&self) -> Option<Uptime> {
        self.untold.values().map(|untold| untold.due).min()
    }

    /// How many lost records are not told yet.
    pub(super) fn untold(&self) -> u64 {
        self.untold.values().map(|untold| untold.dropped.count()).fold(0, u64::saturating_add)
    }

    /// What is not told yet.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &Dropped> {
        self.untold.values().map(|untold| &untold.dropped)
    }

    /// Stages what belongs into the commit that is about to be made: notices of what is due and of
    /// what is too much for one, and the values of all that is still to be told.
    pub(super) fn stage(
        &mut self,
        journal: &mut impl Journal,
        wall: WallClock,
    ) -> Result<Told, OutboxError> {
        let mut told = Told::default();
        for (why, untold) in &mut self.untold {
            while untold.due <= wall.at || untold.dropped.ranges.len() > RANGES {
                let part = untold.dropped.split_off(RANGES);
                untold.changed = true;
                if part.count() == 0 {
                    break;
                }
                let bytes = (self.notice)(&part);
                if bytes.len() > MAX_RECORD {
                    let bytes = bytes.len();
                    error!(bytes, "A notice of lost records is too big; it is tried again later.");
                    untold.dropped.absorb(&part);
                    untold.due = wall.at + PATIENCE;
                    break;
                }
                told.notices += 1;
                told.bytes += bytes.len();
                let made = (wall.quality == ClockQuality::Synced).then_some(wall.unix);
                let entry = Entry { bytes, made, about: None, class: Class::Gateway };
                journal.append(entry, Some(part))?;
            }
            if std::mem::take(&mut untold.changed) {
                let value = (untold.dropped.count() > 0).then(|| untold.dropped.encode());
                told.staged = true;
                told.bytes += value.as_ref().map_or(0, Vec::len);
                match journal.keep(slot(*why), value) {
                    Err(OutboxError::TooBig { .. }) => {
                        error!("What was lost cannot be kept until it is told; it is in memory.");
                    }
                    result => result?,
                }
            }
        }
        self.untold.retain(|_, untold| untold.dropped.count() > 0);
        Ok(told)
    }

    /// Logs losses, but not each of them while they go on. What was erased was meant to be, and
    /// what was set aside is told by the uplink.
    fn log(&mut self, dropped: &Dropped, now: Uptime) {
        if matches!(dropped.why, DropReason::Erased | DropReason::SetAside) {
            return;
        }
        let logged = self.log.entry(dropped.why).or_default();
        logged.records = logged.records.saturating_add(dropped.count());
        if logged.last.is_some_and(|last| now.since(last) < LOG_EVERY) {
            return;
        }
        error!(
            records = logged.records,
            first = dropped.ranges.first().map(|first| first.0),
            last = dropped.ranges.last().map(|last| last.0),
            why = %dropped.why,
            "Records were lost unsent."
        );
        *logged = Logged { last: Some(now), records: 0 };
    }
}

fn slot(why: DropReason) -> Vec<u8> {
    [RESERVED, LOSS, &[why.number()]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::UnixTime,
        outbox::{MemoryJournal, Sequence},
    };

    fn losses() -> Losses {
        Losses::new(Box::new(Dropped::encode))
    }

    fn at(seconds: i64) -> WallClock {
        let at = Uptime::from_micros(seconds * 1_000_000);
        let unix = UnixTime::from_millis(1_790_000_000_000);
        WallClock { at, unix, quality: ClockQuality::Synced }
    }

    fn one(why: DropReason, sequence: u64) -> Dropped {
        Dropped::one(why, Sequence(sequence), None)
    }

    /// What the notices in a journal tell of, after a power cut.
    fn told(journal: &mut MemoryJournal) -> Vec<Dropped> {
        let held = journal.oldest(None, usize::MAX).unwrap().into_iter();
        held.map(|held| {
            let dropped = Dropped::decode(&held.bytes).unwrap();
            assert_eq!(held.notice.as_ref(), Some(&dropped));
            assert_eq!(held.class, Class::Gateway);
            dropped
        })
        .collect()
    }

    #[test]
    fn losses_of_a_second_share_a_notice_a_reason_and_are_kept_until_then() {
        let (mut losses, mut journal) = (losses(), MemoryJournal::default());
        losses.book(&one(DropReason::Full, 1), at(0).at);
        losses.book(&one(DropReason::Full, 2), at(0).at);
        losses.book(&one(DropReason::TooOld, 3), at(0).at);
        assert_eq!(losses.stage(&mut journal, at(0)).unwrap().notices, 0);
        journal.sync().unwrap();
        assert_eq!((journal.kept().unwrap().len(), losses.untold()), (2, 3));
        assert_eq!(losses.due(), Some(at(1).at));
        assert_eq!(losses.stage(&mut journal, at(0)).unwrap(), Told::default(), "nothing new");
        assert_eq!(losses.stage(&mut journal, at(1)).unwrap().notices, 2);
        journal.sync().unwrap();
        let mut both = one(DropReason::Full, 1);
        both.ranges.add(Sequence(2));
        assert_eq!(told(&mut journal), [both, one(DropReason::TooOld, 3)]);
        assert_eq!((journal.kept().unwrap().len(), losses.due()), (0, None));
    }

    #[test]
    fn what_was_not_told_before_a_power_cut_is_told_after_it_once() {
        let (mut before, mut journal) = (losses(), MemoryJournal::default());
        before.book(&one(DropReason::Erased, 7), at(0).at);
        before.stage(&mut journal, at(0)).unwrap();
        journal.sync().unwrap();
        // The notice is written, and does not become durable.
        before.stage(&mut journal, at(2)).unwrap();
        journal.cut_power();
        let mut after = losses();
        after.take_over(&journal.kept().unwrap(), at(0).at);
        assert_eq!(after.stage(&mut journal, at(0)).unwrap(), Told::default());
        after.stage(&mut journal, at(1)).unwrap();
        journal.sync().unwrap();
        journal.cut_power();
        assert_eq!(told(&mut journal), [one(DropReason::Erased, 7)]);
        after.take_over(&journal.kept().unwrap(), at(1).at);
        assert_eq!(after.due(), None);
    }

    #[test]
    fn more_than_one_notice_can_tell_is_told_at_once_in_several_that_fit() {
        let (mut losses, mut journal) = (losses(), MemoryJournal::default());
        let far = u64::MAX / 400;
        let mut scattered = Dropped::none(DropReason::Erased);
        scattered.ranges.extend((1..=200).map(|n| Sequence(n * far)));
        losses.book(&scattered, at(0).at);
        assert_eq!(losses.stage(&mut journal, at(0)).unwrap().notices, 3);
        journal.sync().unwrap();
        assert_eq!(losses.untold(), 200 - 3 * 64);
        losses.stage(&mut journal, at(1)).unwrap();
        journal.sync().unwrap();
        let mut all = Dropped::none(DropReason::Erased);
        for part in told(&mut journal) {
            assert!(part.ranges.len() <= 64 && part.encode().len() < MAX_RECORD);
            all.absorb(&part);
        }
        assert_eq!(all, scattered);
    }

    #[test]
    fn a_notice_that_is_lost_hands_over_its_losses_and_waits_for_company() {
        let (mut losses, mut journal) = (losses(), MemoryJournal::default());
        losses.book(&one(DropReason::Full, 1), at(0).at);
        losses.stage(&mut journal, at(1)).unwrap();
        journal.sync().unwrap();
        let notice = journal.oldest(None, 1).unwrap().remove(0);
        losses.book_held(&notice, DropReason::TooOld, at(5).at);
        let untold: Vec<_> = losses.accounts().cloned().collect();
        let made = Some(at(1).unix);
        let own = Dropped::one(DropReason::TooOld, Sequence(1), made);
        assert_eq!(untold, [one(DropReason::Full, 1), own]);
        assert_eq!(losses.due(), Some(at(3605).at), "the next would be lost as well");
        losses.take_over(&[], at(5).at);
        losses.book_held(&notice, DropReason::SetAside, at(5).at);
        assert_eq!(losses.untold(), 1, "it is held, with what it tells");
        assert_eq!(losses.due(), Some(at(3605).at));
        losses.book(&one(DropReason::SetAside, 9), at(6).at);
        assert_eq!(losses.due(), Some(at(7).at));
    }

    #[test]
    fn a_notice_that_cannot_be_stored_is_told_later() {
        let mut too_big = true;
        let notice: Notice = Box::new(move |dropped| {
            if std::mem::take(&mut too_big) { vec![0; MAX_RECORD + 1] } else { dropped.encode() }
        });
        let (mut losses, mut journal) = (Losses::new(notice), MemoryJournal::default());
        losses.book(&one(DropReason::Full, 1), at(0).at);
        assert_eq!(losses.stage(&mut journal, at(1)).unwrap().notices, 0);
        assert_eq!(losses.stage(&mut journal, at(3601)).unwrap().notices, 1);
        journal.sync().unwrap();
        assert_eq!(told(&mut journal), [one(DropReason::Full, 1)]);
    }
}

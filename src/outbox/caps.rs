//! Drops the oldest records when the outbox is full or they are too old, and says so in a notice
//! that becomes durable in the same commit as the loss.

use std::time::Duration;

use tracing::error;

use crate::engine::{ClockQuality, UnixTime, Uptime, WallClock};

use super::{
    Class, DropReason, Dropped, Entry, Held, Journal, MAX_RECORD, Notice, OutboxError, Sequence,
    Settings,
};

/// How many records one commit drops at most, and how many bytes of them: a store whose limits
/// were lowered is brought down in steps that stay well within one of sled's segments.
const CHUNK: usize = 256;
const CHUNK_BYTES: u64 = 128 << 10;

/// A full store makes room for more than the next record: one in so many of what it may hold, so
/// that it does not write a notice for each record.
const ROOM: u64 = 64;

/// How often a lasting loss is logged.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// Enforces the limits of the outbox.
pub(super) struct Caps {
    max_records: u64,
    max_bytes: u64,
    max_age: Duration,
    notice: Notice,
    /// Losses no notice could be written for. They are told with the next.
    untold: Option<Dropped>,
    log: LossLog,
}

/// What was staged to keep within the limits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Loss {
    /// Records dropped.
    pub(super) dropped: u64,
    /// Notices appended.
    pub(super) notices: u64,
}

/// What is being dropped in one commit.
#[derive(Default)]
struct Account {
    /// Records dropped.
    records: u64,
    /// What the notice will say: these records, and what was told by the notices among them.
    dropped: Option<Dropped>,
}

/// Logs losses, but not each of them while they go on.
#[derive(Default)]
struct LossLog {
    last: Option<Uptime>,
    records: u64,
}

// === impl Caps ===

impl Caps {
    pub(super) fn new(settings: &Settings, notice: Notice) -> Self {
        Self {
            max_records: settings.max_records,
            max_bytes: settings.max_bytes.0,
            max_age: settings.max_age.0,
            notice,
            untold: None,
            log: LossLog::default(),
        }
    }

    /// Whether the store, with what is staged, holds more than it may.
    pub(super) fn exceeded(&self, journal: &impl Journal) -> bool {
        let pending = journal.pending();
        pending.records > self.max_records || pending.bytes > self.max_bytes
    }

    /// Stages the dropping of the oldest records, at most a chunk of them, until there is room
    /// again: for the notice, and for a while to come.
    pub(super) fn make_room(
        &mut self,
        journal: &mut impl Journal,
        now: WallClock,
    ) -> Result<Loss, OutboxError> {
        let records = self.max_records.saturating_sub((self.max_records / ROOM).max(1));
        let bytes = self.max_bytes.saturating_sub((self.max_bytes / ROOM).max(MAX_RECORD as u64));
        let before = journal.pending().bytes;
        let mut account = Account::default();
        for held in journal.oldest(None, CHUNK)? {
            let pending = journal.pending();
            let there_is_room = pending.records <= records && pending.bytes <= bytes;
            if there_is_room || before.saturating_sub(pending.bytes) >= CHUNK_BYTES {
                break;
            }
            account.drop_one(journal, &held, DropReason::Full)?;
        }
        self.tell(journal, now, account)
    }

    /// Stages the dropping of what is provably too old in the oldest chunk: records whose making
    /// and the present are both known. Those of unknown age stay where they are, and a whole chunk
    /// of them shields what lies behind.
    pub(super) fn drop_too_old(
        &mut self,
        journal: &mut impl Journal,
        now: WallClock,
    ) -> Result<Loss, OutboxError> {
        if now.quality != ClockQuality::Synced {
            return Ok(Loss::default());
        }
        let before = journal.pending().bytes;
        let mut account = Account::default();
        for held in journal.oldest(None, CHUNK)? {
            if before.saturating_sub(journal.pending().bytes) >= CHUNK_BYTES {
                break;
            }
            if self.is_too_old(&held, now.unix) {
                account.drop_one(journal, &held, DropReason::TooOld)?;
            }
        }
        self.tell(journal, now, account)
    }

    /// Stages the notice that takes the place of a record too big to be stored.
    pub(super) fn refuse(
        &mut self,
        journal: &mut impl Journal,
        now: WallClock,
        sequence: Sequence,
        entry: &Entry,
    ) -> Result<Loss, OutboxError> {
        let why = DropReason::TooBig;
        let dropped = Some(Dropped::one(why, sequence, entry.made));
        self.tell(journal, now, Account { records: 1, dropped })
    }

    fn is_too_old(&self, held: &Held, now: UnixTime) -> bool {
        held.made.is_some_and(|made| {
            let age = now.as_millis().saturating_sub(made.as_millis());
            u128::try_from(age).is_ok_and(|age| age > self.max_age.as_millis())
        })
    }

    fn tell(
        &mut self,
        journal: &mut impl Journal,
        now: WallClock,
        account: Account,
    ) -> Result<Loss, OutboxError> {
        let Some(mut dropped) = account.dropped else { return Ok(Loss::default()) };
        self.log.note(now.at, account.records, &dropped);
        if let Some(untold) = self.untold.take() {
            dropped.absorb(&untold);
        }
        let bytes = (self.notice)(&dropped);
        if bytes.len() > MAX_RECORD {
            error!(bytes = bytes.len(), "A notice of lost records is too big to be stored.");
            self.untold = Some(dropped);
            return Ok(Loss { dropped: account.records, notices: 0 });
        }
        let made = (now.quality == ClockQuality::Synced).then_some(now.unix);
        journal.append(Entry { bytes, made, about: None, class: Class::Gateway }, Some(dropped))?;
        Ok(Loss { dropped: account.records, notices: 1 })
    }
}

// === impl Account ===

impl Account {
    /// Drops a record and writes it down; if it was a notice, with all that it told of.
    fn drop_one(
        &mut self,
        journal: &mut impl Journal,
        held: &Held,
        why: DropReason,
    ) -> Result<(), OutboxError> {
        if !journal.remove(held.sequence)? {
            return Ok(());
        }
        self.records += 1;
        let dropped = self.dropped.get_or_insert_with(|| Dropped::none(why));
        dropped.absorb(&Dropped::one(why, held.sequence, held.made));
        if let Some(carried) = &held.notice {
            dropped.absorb(carried);
        }
        Ok(())
    }
}

// === impl LossLog ===

impl LossLog {
    fn note(&mut self, now: Uptime, records: u64, dropped: &Dropped) {
        self.records = self.records.saturating_add(records);
        if self.last.is_some_and(|last| now.since(last) < LOG_EVERY) {
            return;
        }
        error!(
            records = self.records,
            first = dropped.ranges.first().map(|first| first.0),
            last = dropped.ranges.last().map(|last| last.0),
            why = %dropped.why,
            "Records were dropped unsent."
        );
        self.last = Some(now);
        self.records = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{outbox::MemoryJournal, settings::Span};

    const DAY: i64 = 86_400_000;

    fn caps(settings: &Settings) -> Caps {
        Caps::new(settings, Box::new(|dropped: &Dropped| dropped.count().to_string().into_bytes()))
    }

    fn journal(made: &[Option<i64>]) -> MemoryJournal {
        let mut journal = MemoryJournal::default();
        for made in made {
            let made = made.map(UnixTime::from_millis);
            journal
                .append(
                    Entry { bytes: b"record".to_vec(), made, about: None, class: Class::Presence },
                    None,
                )
                .unwrap();
        }
        journal.sync().unwrap();
        journal
    }

    fn on_day(day: i64, quality: ClockQuality) -> WallClock {
        WallClock { at: Uptime::ZERO, unix: UnixTime::from_millis(day * DAY), quality }
    }

    fn left(journal: &mut MemoryJournal) -> Vec<u64> {
        journal.sync().unwrap();
        journal.oldest(None, usize::MAX).unwrap().iter().map(|held| held.sequence.0).collect()
    }

    #[test]
    fn only_what_is_provably_too_old_goes_and_a_notice_tells_when_it_was_made() {
        let settings = Settings { max_age: Span::secs(86_400), ..Settings::default() };
        let mut journal =
            journal(&[Some(DAY), None, Some(2 * DAY), Some(8 * DAY), Some(9 * DAY + 1)]);
        let loss =
            caps(&settings).drop_too_old(&mut journal, on_day(10, ClockQuality::Synced)).unwrap();
        assert_eq!(loss, Loss { dropped: 3, notices: 1 });
        assert_eq!(left(&mut journal), [2, 5, 6]);
        let notice = journal.oldest(Some(Sequence(5)), 1).unwrap().pop().unwrap();
        assert_eq!(notice.made, Some(UnixTime::from_millis(10 * DAY)));
        let dropped = notice.notice.unwrap();
        assert_eq!(dropped.ranges, [1, 3, 4].into_iter().map(Sequence).collect());
        assert_eq!(dropped.first_made, Some(UnixTime::from_millis(DAY)));
        assert_eq!(dropped.last_made, Some(UnixTime::from_millis(8 * DAY)));
        assert_eq!(dropped.why, DropReason::TooOld);
    }

    #[test]
    fn without_a_synced_clock_nothing_is_too_old() {
        let mut journal = journal(&[Some(DAY)]);
        let now = on_day(20_000, ClockQuality::Unsynced);
        let loss = caps(&Settings::default()).drop_too_old(&mut journal, now).unwrap();
        assert_eq!((loss, left(&mut journal)), (Loss::default(), vec![1]));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_too_old() {
        let mut journal = journal(&[Some(500 * DAY)]);
        let now = on_day(3, ClockQuality::Synced);
        let loss = caps(&Settings::default()).drop_too_old(&mut journal, now).unwrap();
        assert_eq!(loss, Loss::default());
    }

    #[test]
    fn a_notice_that_is_dropped_hands_its_losses_to_the_next() {
        let settings = Settings { max_records: 10, ..Settings::default() };
        let mut caps = caps(&settings);
        let mut journal = journal(&[None; 12]);
        let now = on_day(0, ClockQuality::Unsynced);
        let mut told = 0;
        for round in 0..5 {
            let loss = caps.make_room(&mut journal, now).unwrap();
            journal.sync().unwrap();
            let notices: Vec<Dropped> = journal
                .oldest(None, usize::MAX)
                .unwrap()
                .into_iter()
                .filter_map(|held| held.notice)
                .collect();
            told += loss.dropped;
            assert_eq!(notices.iter().map(Dropped::count).sum::<u64>(), told);
            assert_eq!(
                notices.iter().filter_map(|notice| notice.ranges.first()).min(),
                Some(Sequence(1)),
                "{round}"
            );
            for _ in 0..8 {
                let entry = Entry {
                    bytes: b"record".to_vec(),
                    made: None,
                    about: None,
                    class: Class::Presence,
                };
                journal.append(entry, None).unwrap();
            }
            journal.sync().unwrap();
        }
    }

    #[test]
    fn a_notice_that_cannot_be_stored_is_told_with_the_next() {
        let mut too_big = true;
        let notice: Notice = Box::new(move |_: &Dropped| {
            vec![b'!'; if std::mem::take(&mut too_big) { MAX_RECORD + 1 } else { 1 }]
        });
        let settings = Settings { max_records: 4, ..Settings::default() };
        let mut caps = Caps::new(&settings, notice);
        let mut journal = journal(&[None; 6]);
        let now = on_day(0, ClockQuality::Unsynced);
        let first = caps.make_room(&mut journal, now).unwrap();
        assert_eq!(first, Loss { dropped: 3, notices: 0 });
        for _ in 0..2 {
            journal
                .append(
                    Entry { bytes: vec![1], made: None, about: None, class: Class::Presence },
                    None,
                )
                .unwrap();
        }
        journal.sync().unwrap();
        let second = caps.make_room(&mut journal, now).unwrap();
        journal.sync().unwrap();
        let notice = journal.oldest(None, 9).unwrap().pop().unwrap().notice.unwrap();
        assert_eq!(notice.count(), 3 + second.dropped);
    }
}

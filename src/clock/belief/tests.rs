use super::*;
use ClockQuality::{Synced, Unsynced};

/// 2026-11-21T10:00:00Z, in seconds.
const NOW: i64 = 1_795_255_200;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A clock that is looked at second by second.
struct Watch {
    belief: Belief,
    /// What the wall clock says at uptime zero, in seconds.
    origin: i64,
    followed: bool,
}

impl Watch {
    fn new(trust: ClockTrust, origin: i64) -> Self {
        let terms = Terms { trust, ..Terms::default() };
        Self { belief: Belief::new(terms), origin, followed: false }
    }

    /// Looks at it at an uptime, in seconds: what is believed, in seconds since 1970, how far, why.
    fn at(&mut self, uptime: i64) -> (i64, ClockQuality, Basis) {
        let unix_us = (self.origin + uptime) * 1_000_000;
        let max_error_us = if self.followed { 1000 } else { 16_000_000 };
        let discipline = Discipline { followed: self.followed, max_error_us };
        let wall = self.belief.read(&Reading { at: s(uptime), unix_us, discipline });
        assert_eq!(wall.at, s(uptime));
        (wall.unix.as_millis() / 1000, wall.quality, self.belief.account().basis)
    }
}

fn s(seconds: i64) -> Uptime {
    Uptime::from_micros(seconds * 1_000_000)
}

#[test]
fn a_clock_that_nobody_sets_is_not_believed_and_its_time_is_told_as_it_is() {
    let mut watch = Watch::new(ClockTrust::Synced, NOW);
    assert_eq!(watch.at(5), (NOW + 5, Unsynced, Basis::Unfollowed));
    let account = watch.belief.account();
    assert_eq!((account.anchor, account.error_us, account.jumps), (None, None, 0));
}

#[test]
fn the_first_sync_is_a_jump_of_the_clock_and_no_change_of_belief() {
    let mut watch = Watch::new(ClockTrust::Synced, 0);
    assert_eq!(watch.at(5), (5, Unsynced, Basis::BeforeBuild));
    (watch.origin, watch.followed) = (NOW, true);
    assert_eq!(watch.at(600), (NOW + 600, Synced, Basis::Followed));
    let account = watch.belief.account();
    assert_eq!((account.jumps, account.steps), (1, vec![]));
    assert_eq!(account.last_jump, Some(Jump { at: s(600), by_us: NOW * 1_000_000 }));
    assert_eq!(account.error_us, Some(1000));
}

#[test]
fn a_believed_clock_that_steps_takes_along_what_was_before() {
    let mut watch = Watch::new(ClockTrust::Synced, NOW);
    watch.followed = true;
    watch.at(0);
    watch.at(100);
    // NTP steps: for a moment nobody follows, and the time is held.
    (watch.origin, watch.followed) = (NOW - HOUR, false);
    assert_eq!(watch.at(101), (NOW + 101, Synced, Basis::Held));
    watch.followed = true;
    assert_eq!(watch.at(102), (NOW - HOUR + 102, Synced, Basis::Followed));
    let (by_us, origin_us) = (-HOUR * 1_000_000, (NOW - HOUR) * 1_000_000);
    let step = Step { since: None, at: s(102), by_us, origin_us };
    assert_eq!(watch.belief.account().steps, [step]);
    assert_eq!(watch.belief.account().jumps, 1);
}

#[test]
fn whoever_sets_a_clock_by_hand_is_not_believed_over_a_source_that_was_heard() {
    let mut watch = Watch::new(ClockTrust::Synced, NOW);
    watch.followed = true;
    watch.at(0);
    (watch.origin, watch.followed) = (NOW + 10 * 365 * DAY, false);
    assert_eq!(watch.at(DAY), (NOW + DAY, Synced, Basis::Held));
    // Unless it is told to be.
    watch.belief.terms.trust = ClockTrust::Always;
    assert_eq!(watch.at(DAY + 1).2, Basis::Trusted);
}

#[test]
fn a_source_that_is_lost_is_missed_after_the_holdover_and_the_error_grows_until_then() {
    let mut watch = Watch::new(ClockTrust::Synced, NOW);
    watch.followed = true;
    watch.at(0);
    watch.followed = false;
    assert_eq!(watch.at(7 * DAY).2, Basis::Held);
    let error = 1000 + u64::try_from(7 * DAY).unwrap() * DRIFT_PPM;
    assert_eq!(watch.belief.account().error_us, Some(error), "five minutes at the worst");
    assert_eq!(watch.at(7 * DAY + 1), (NOW + 7 * DAY + 1, Unsynced, Basis::Unfollowed));
}

#[test]
fn what_a_clock_has_drifted_concerns_only_what_was_made_since_its_source_was_lost() {
    let mut watch = Watch::new(ClockTrust::Synced, NOW);
    watch.followed = true;
    watch.at(100);
    watch.followed = false;
    watch.at(2 * DAY);
    (watch.origin, watch.followed) = (NOW + 3, true);
    watch.at(3 * DAY);
    let origin_us = (NOW + 3) * 1_000_000;
    let drifted = Step { since: Some(s(100)), at: s(3 * DAY), by_us: 3_000_000, origin_us };
    assert_eq!(watch.belief.account().steps, [drifted]);
}

#[test]
fn steps_of_a_second_are_followed_and_change_nothing_that_was_said() {
    let mut watch = Watch::new(ClockTrust::Synced, NOW);
    watch.followed = true;
    for second in 0..100 {
        watch.origin -= 1;
        watch.at(second);
    }
    assert_eq!(watch.at(100), (NOW, Synced, Basis::Followed));
    assert_eq!((watch.belief.account().jumps, watch.belief.account().steps), (0, vec![]));
}

#[test]
fn no_clock_is_believed_that_says_a_time_before_this_program_was_built() {
    for trust in [ClockTrust::Synced, ClockTrust::Always] {
        let mut watch = Watch::new(trust, OLDEST_COMPILER - DAY);
        watch.followed = true;
        assert_eq!(watch.at(HOUR).1, Unsynced);
        assert_eq!(watch.at(HOUR).2, Basis::BeforeBuild, "whatever the kernel says");
    }
}

#[test]
fn a_battery_that_is_empty_shows_when_the_clock_has_been_there_before() {
    let mut watch = Watch::new(ClockTrust::Always, NOW - 30 * DAY);
    watch.belief.not_before(UnixTime::from_millis(NOW * 1000));
    assert_eq!(watch.at(5).2, Basis::BeforeRecords);
    assert_eq!(watch.at(DAY).2, Basis::BeforeRecords, "time alone does not help");
    // Somebody sets it while we look on, and may know better.
    watch.origin = NOW - 10 * DAY;
    assert_eq!(watch.at(DAY + 1).2, Basis::Trusted);
}

#[test]
fn a_time_source_that_insists_is_believed_over_what_was_written() {
    let mut watch = Watch::new(ClockTrust::Synced, NOW);
    watch.belief.not_before(UnixTime::from_millis((NOW + 10 * 365 * DAY) * 1000));
    watch.followed = true;
    assert_eq!(watch.at(5).2, Basis::BeforeRecords);
    assert_eq!(watch.at(604).2, Basis::BeforeRecords);
    assert_eq!(watch.at(605).2, Basis::Followed);
    assert_eq!(watch.at(606), (NOW + 606, Synced, Basis::Followed));
}

#[test]
fn an_earlier_run_of_the_same_boot_vouches_for_the_time() {
    let mut watch = Watch::new(ClockTrust::Synced, 0);
    let anchor = Anchor { origin_us: NOW * 1_000_000, at: s(-HOUR), max_error_us: 5 };
    watch.belief.recall(anchor);
    assert_eq!(watch.at(3), (NOW + 3, Synced, Basis::Held));
    // While nobody ran the clock was set; the source says so.
    (watch.origin, watch.followed) = (NOW + HOUR, true);
    assert_eq!(watch.at(4), (NOW + HOUR + 4, Synced, Basis::Followed));
    assert_eq!(watch.belief.account().steps.len(), 1);
}

#[test]
fn steps_without_end_are_not_remembered_without_end_and_no_reading_panics() {
    let mut watch = Watch::new(ClockTrust::Always, NOW);
    for second in 0..100 {
        watch.origin = NOW + second % 2 * HOUR;
        watch.at(second);
    }
    assert_eq!(watch.belief.account().steps.len(), MOST_STEPS);
    for unix_us in [i64::MIN, -1, 0, i64::MAX] {
        for at in [i64::MIN, 0, i64::MAX] {
            let discipline = Discipline { followed: true, max_error_us: u64::MAX };
            watch.belief.read(&Reading { at: Uptime::from_micros(at), unix_us, discipline });
        }
    }
}

use super::*;

/// 2026-11-21T10:00:00Z, in seconds.
const NOW: i64 = 1_795_255_200;

fn s(seconds: i64) -> Uptime {
    Uptime::from_micros(seconds * 1_000_000)
}

fn seconds(seconds: i64) -> UnixTime {
    UnixTime::from_millis(seconds * 1000)
}

/// A run that began `up` seconds after the machine did, and what it knows.
fn begin(timeline: &mut Timeline, run: u64, boot: u128, up: i64, origin: Option<i64>) {
    timeline.begin(RunId(run), Some(Boot(boot)), s(-up));
    learn(timeline, origin, vec![]);
}

/// The present run learns what time it was at its start, in seconds.
fn learn(timeline: &mut Timeline, origin: Option<i64>, steps: Vec<Step>) {
    let anchor = |origin| Anchor { origin_us: origin * 1_000_000, at: s(50), max_error_us: 3 };
    timeline.note(&Account { anchor: origin.map(anchor), steps, ..Account::default() });
}

fn unset(run: u64, at: i64) -> Told {
    Told { run: RunId(run), at: s(at), unix: seconds(at), synced: false }
}

fn wall(at: i64, unix: i64, quality: ClockQuality) -> WallClock {
    WallClock { at: s(at), unix: seconds(unix), quality }
}

/// A step of the belief; all in seconds.
fn step(since: Option<i64>, at: i64, by: i64, origin: i64) -> Step {
    let (by_us, origin_us) = (by * 1_000_000, origin * 1_000_000);
    Step { since: since.map(s), at: s(at), by_us, origin_us }
}

/// What is known of it in run 9, whose clock is not set.
fn stamp(timeline: &Timeline, told: Told) -> (i64, Mark) {
    let now = wall(100, 100, ClockQuality::Unsynced);
    let Stamp { unix, mark } = timeline.stamp(RunId(9), told, &now);
    (unix.as_millis() / 1000, mark)
}

/// Writes it down and reads it again, as a restart does.
fn restarted(timeline: &mut Timeline) -> Timeline {
    let Write::Keep { slot, value: Some(value) } = timeline.write() else { panic!("nothing") };
    assert!(Timeline::is_slot(&slot) && value.len() <= MAX_RECORD);
    Timeline::of(&[Kept { slot, value }])
}

#[test]
fn a_run_in_the_same_boot_is_dated_by_what_a_later_one_learns() {
    let mut timeline = Timeline::default();
    begin(&mut timeline, 1, 7, 10, None);
    let mut timeline = restarted(&mut timeline);
    begin(&mut timeline, 9, 7, 310, None);
    assert_eq!(stamp(&timeline, unset(1, 20)), (20, Mark::Unsynced), "not known yet");
    assert_eq!(timeline.recalled(), None);
    // Run 9 began 300 s after run 1, at NOW.
    let now = wall(60, NOW + 60, ClockQuality::Synced);
    let Stamp { unix, mark } = timeline.stamp(RunId(9), unset(1, 20), &now);
    assert_eq!((unix, mark), (seconds(NOW - 300 + 20), Mark::Corrected));
    // And for good, also when nobody is synced any more.
    learn(&mut timeline, Some(NOW), vec![]);
    assert_eq!(stamp(&timeline, unset(1, 20)), (NOW - 280, Mark::Corrected));
    assert_eq!(stamp(&timeline, unset(9, 20)), (NOW + 20, Mark::Corrected));
}

#[test]
fn another_boot_is_dated_by_what_it_had_learned_itself_and_by_nothing_else() {
    let mut timeline = Timeline::default();
    begin(&mut timeline, 1, 7, 10, None);
    begin(&mut timeline, 2, 7, 110, Some(NOW));
    begin(&mut timeline, 3, 8, 10, None);
    let mut timeline = restarted(&mut timeline);
    begin(&mut timeline, 9, 9, 10, Some(2 * NOW));
    assert_eq!(stamp(&timeline, unset(1, 20)), (NOW - 100 + 20, Mark::Corrected));
    assert_eq!(stamp(&timeline, unset(3, 20)), (20, Mark::Unsynced));
    assert_eq!(stamp(&timeline, unset(4, 20)), (20, Mark::Unsynced), "never heard of it");
    let now = wall(60, NOW, ClockQuality::Synced);
    let another = timeline.stamp(RunId(9), unset(3, 20), &now);
    assert_eq!(another.mark, Mark::Unsynced, "another boot's uptime");
}

#[test]
fn a_machine_that_names_no_boots_dates_its_own_run_alone() {
    let mut timeline = Timeline::default();
    timeline.begin(RunId(1), None, s(-10));
    timeline.begin(RunId(9), None, s(-20));
    learn(&mut timeline, Some(NOW), vec![]);
    assert_eq!(stamp(&timeline, unset(1, 20)), (20, Mark::Unsynced));
    assert_eq!(stamp(&timeline, unset(9, 20)), (NOW + 20, Mark::Corrected));
}

#[test]
fn what_was_believed_is_corrected_by_the_steps_that_came_after_it() {
    let told =
        |run, at, unix| Told { run: RunId(run), at: s(at), unix: seconds(unix), synced: true };
    let back = step(None, 50, -3600, NOW - 3600);
    let mut timeline = Timeline::default();
    begin(&mut timeline, 1, 7, 10, Some(NOW));
    begin(&mut timeline, 9, 7, 110, Some(NOW));
    learn(&mut timeline, Some(NOW - 3600), vec![back]);
    let mut timeline = restarted(&mut timeline);
    timeline.begin(RunId(10), Some(Boot(8)), s(-1));
    assert_eq!(stamp(&timeline, told(9, 49, NOW + 49)), (NOW - 3600 + 49, Mark::Corrected));
    assert_eq!(stamp(&timeline, told(9, 50, NOW - 3550)), (NOW - 3550, Mark::Synced));
    assert_eq!(stamp(&timeline, told(1, 5, NOW - 95)), (NOW - 3695, Mark::Corrected));
    assert_eq!(stamp(&timeline, told(3, 5, NOW)), (NOW, Mark::Synced), "never heard of it");
    // Found out after the step, and dated by what was believed then.
    assert_eq!(stamp(&timeline, told(9, 20, NOW - 3580)), (NOW - 3580, Mark::Synced));
    // There and back again is nothing.
    let mut timeline = Timeline::default();
    begin(&mut timeline, 9, 7, 110, Some(NOW));
    learn(&mut timeline, Some(NOW), vec![back, step(None, 60, 3600, NOW)]);
    assert_eq!(stamp(&timeline, told(9, 39, NOW + 39)), (NOW + 39, Mark::Synced));
    assert_eq!(stamp(&timeline, told(9, 55, NOW - 3545)), (NOW + 55, Mark::Corrected));
    assert_eq!(stamp(&timeline, told(9, 45, NOW - 3555)), (NOW + 45, Mark::Corrected));
}

#[test]
fn what_a_clock_has_drifted_concerns_nothing_that_was_said_before() {
    let told = |at| Told { run: RunId(9), at: s(at), unix: seconds(NOW + at), synced: true };
    let mut timeline = Timeline::default();
    begin(&mut timeline, 9, 7, 110, Some(NOW));
    learn(&mut timeline, Some(NOW + 2), vec![step(Some(40), 50, 2, NOW + 2)]);
    assert_eq!(stamp(&timeline, told(39)), (NOW + 39, Mark::Synced));
    assert_eq!(stamp(&timeline, told(45)), (NOW + 47, Mark::Corrected));
}

#[test]
fn a_restart_in_the_same_boot_takes_over_what_was_believed() {
    let mut timeline = Timeline::default();
    begin(&mut timeline, 1, 7, 10, Some(NOW));
    let mut timeline = restarted(&mut timeline);
    timeline.begin(RunId(2), Some(Boot(7)), s(-310));
    let recalled = timeline.recalled().unwrap();
    assert_eq!((recalled.origin_us, recalled.at), ((NOW + 300) * 1_000_000, s(-250)));
    assert_eq!(timeline.newest(), Some(seconds(NOW + 50)));
    assert_eq!(timeline.uptime_here(RunId(1), s(310)), Some(s(10)));
    timeline.begin(RunId(3), Some(Boot(8)), s(-310));
    assert_eq!((timeline.recalled(), timeline.uptime_here(RunId(1), s(310))), (None, None));
}

#[test]
fn it_is_written_when_something_is_new_and_else_once_an_hour() {
    let account = |origin_us, at, steps| Account {
        anchor: Some(Anchor { origin_us, at: s(at), max_error_us: 3 }),
        steps,
        ..Account::default()
    };
    let mut timeline = Timeline::default();
    timeline.begin(RunId(1), None, s(-1));
    assert!(timeline.note(&Account::default()), "a run has begun");
    timeline.write();
    assert!(!timeline.note(&Account::default()));
    assert!(timeline.note(&account(5, 1, vec![])), "it is synced");
    timeline.write();
    assert!(!timeline.note(&account(900_005, 3599, vec![])));
    assert!(timeline.note(&account(5, 3601, vec![])), "an hour later");
    assert!(timeline.note(&account(1_000_005, 2, vec![])), "it was set");
    assert!(timeline.note(&account(5, 2, vec![step(None, 2, 0, 0)])));
}

#[test]
fn however_often_it_is_started_and_set_what_is_kept_fits_and_the_newest_stays() {
    let mut timeline = Timeline::default();
    for run in 0..200 {
        let at = Uptime::from_micros(i64::MAX);
        let since = Some(Uptime::from_micros(i64::MIN));
        let step = Step { since, at, by_us: i64::MIN, origin_us: i64::MAX };
        timeline.begin(RunId(u64::MAX - run), Some(Boot(u128::MAX)), Uptime::from_micros(i64::MIN));
        learn(&mut timeline, Some(NOW), vec![step; 8]);
    }
    let read = restarted(&mut timeline);
    assert!(read.runs.len() > 3 && read.runs.len() <= MOST_RUNS, "{}", read.runs.len());
    assert_eq!(read.runs.last(), timeline.runs.last());
    // Whatever is read, nothing panics.
    for at in [i64::MIN, 0, i64::MAX] {
        stamp(
            &read,
            Told {
                run: RunId(u64::MAX),
                at: Uptime::from_micros(at),
                unix: UnixTime::from_millis(at),
                synced: at == 0,
            },
        );
        stamp(
            &read,
            Told {
                run: RunId(u64::MAX - 199),
                at: Uptime::from_micros(at),
                unix: UnixTime::from_millis(at),
                synced: at != 0,
            },
        );
    }
}

#[test]
fn what_nobody_understands_is_as_if_nothing_were_kept() {
    for value in [&b""[..], &[VERSION], &[VERSION + 1, 0], &[VERSION, 9, 9]] {
        let kept = [Kept { slot: SLOT.to_vec(), value: value.to_vec() }];
        assert_eq!(Timeline::of(&kept), Timeline::default());
    }
    assert_eq!(Timeline::of(&[]), Timeline::default());
}

//! What a visit is: who comes back goes on with it, a tag that lies ends it, two tags are one person,
//! and a restart changes nothing.

use std::time::Duration;

use beacon_gateway::engine::{
    DeafCause, Engine, Enrolment, ExitReason, PresenceSettings, Pseudonym, RadioState, Stay,
    SubjectKind, TransitionKind, Uptime, VisitRecord, Zone, ZoneId, place::Point,
};

use super::{
    check_form, presence,
    shop::{self, EXIT_TIMEOUT, LOITERING, MERGE_GAP, Shop, Walker, ibeacon, s},
    told,
};

/// One zone, by thresholds.
fn thresholds() -> PresenceSettings {
    PresenceSettings {
        zones: vec![Zone {
            id: ZoneId::new("shop"),
            enter_rssi: -75.0,
            exit_rssi: -85.0,
            loitering: LOITERING.to_vec(),
            receivers: vec![],
        }],
        // No tag here is a slow one: each has the same timeout, whatever was heard of it.
        exit_timeout_max: EXIT_TIMEOUT,
        merge_gap: MERGE_GAP,
        left_behind_after: Duration::from_mins(10),
        ..PresenceSettings::default()
    }
}

fn by_thresholds(kind: SubjectKind) -> Shop {
    Shop::new(1, shop::engine(vec![shop::subject(kind, &[0])], thresholds()))
}

/// The tag is heard once a second, by one receiver; `dbm` says how loud.
fn hear(shop: &mut Shop, from: u32, to: u32, dbm: impl Fn(u32) -> f32) {
    for second in from..to {
        shop.hear(s(f64::from(second)), &ibeacon(0, 0, dbm(second)));
    }
}

fn loud(_: u32) -> f32 {
    -60.0
}

fn events(shop: &Shop) -> Vec<(f64, String)> {
    told(&shop.trace, "s0")
}

fn all(events: &[(f64, &str)]) -> Vec<(f64, String)> {
    events.iter().map(|(at, what)| (*at, (*what).to_owned())).collect()
}

#[test]
fn who_comes_back_within_the_gap_goes_on_with_the_visit() {
    let mut shop = by_thresholds(SubjectKind::Customer);
    hear(&mut shop, 0, 11, loud);
    shop.advance(s(99.0));
    let out = [(0.0, "visit"), (0.0, "in shop"), (10.0, "out shop silent")];
    assert_eq!(events(&shop), all(&out), "the exit is not held back");
    assert_eq!(shop.engine.visits_open(), 1);
    hear(&mut shop, 159, 161, loud);
    // Left again at once, it has the whole timeout and the whole gap again, and not the first one's rest.
    shop.advance(s(160.0 + 29.0));
    let back = [out.as_slice(), &[(159.0, "in shop")]].concat();
    assert_eq!(events(&shop), all(&back));
    shop.advance(s(160.0 + 31.0));
    let gone = [back.as_slice(), &[(160.0, "out shop silent")]].concat();
    assert_eq!(events(&shop), all(&gone));
    shop.advance(s(160.0 + 30.0 + 119.0));
    assert_eq!(events(&shop), all(&gone));
    shop.rest(Duration::from_secs(2));
    let ended = [gone.as_slice(), &[(160.0, "end silent")]].concat();
    assert_eq!(events(&shop), all(&ended), "and the end is dated to when it was last true");
    assert_eq!(shop.engine.poll_timeout(), None);
}

#[test]
fn who_comes_back_after_the_gap_begins_a_visit() {
    let mut shop = by_thresholds(SubjectKind::Customer);
    hear(&mut shop, 0, 1, loud);
    hear(&mut shop, 151, 152, loud);
    let expected = [
        (0.0, "visit"),
        (0.0, "in shop"),
        (0.0, "out shop silent"),
        (0.0, "end silent"),
        (151.0, "visit"),
        (151.0, "in shop"),
    ];
    assert_eq!(events(&shop), all(&expected));
}

#[test]
fn without_a_gap_a_visit_ends_with_its_exit() {
    let presence = PresenceSettings { merge_gap: Duration::ZERO, ..thresholds() };
    let subjects = vec![shop::subject(SubjectKind::Customer, &[0])];
    let mut shop = Shop::new(1, shop::engine(subjects, presence));
    hear(&mut shop, 0, 6, loud);
    shop.advance(s(36.0));
    assert_eq!(events(&shop)[2..], all(&[(5.0, "out shop silent"), (5.0, "end silent")]));
}

#[test]
fn a_withdrawal_while_the_end_is_held_back_closes_the_visit_without_an_event() {
    let mut shop = by_thresholds(SubjectKind::Customer);
    hear(&mut shop, 0, 6, loud);
    shop.advance(s(60.0));
    let before = events(&shop);
    let withdrawn = vec![Enrolment::Withdraw(Pseudonym::new("s0"))];
    let report = shop.engine.handle_enrolment(s(60.0), withdrawn);
    assert_eq!((report.withdrawn, report.visits_closed), (1, 1));
    let erased = shop.engine.poll_checkpoint().unwrap();
    assert_eq!((erased.subject.as_str(), erased.visit), ("s0", None));
    shop.rest(Duration::from_mins(10));
    assert_eq!(events(&shop), before);
}

#[test]
fn while_the_receiver_is_deaf_the_gap_does_not_pass() {
    let mut shop = by_thresholds(SubjectKind::Customer);
    hear(&mut shop, 0, 6, loud);
    shop.advance(s(60.0));
    let deaf = RadioState::Deaf { since: s(60.0), cause: DeafCause::Daemon };
    shop.engine.handle_radio(s(60.0), &shop::receiver(0), deaf);
    shop.advance(s(1000.0));
    shop.engine.handle_radio(s(1000.0), &shop::receiver(0), RadioState::Quiet);
    hear(&mut shop, 1050, 1051, loud);
    assert_eq!(events(&shop)[2..], all(&[(5.0, "out shop silent"), (1050.0, "in shop")]));
}

/// The open visit as the next run finds it, `gap` seconds after the stop.
fn across_a_stop(shop: &mut Shop, at: f64, gap: f64) -> VisitRecord {
    while shop.engine.poll_checkpoint().is_some() {}
    shop.engine.handle_stop(s(at));
    let mut visit = shop.engine.poll_checkpoint().unwrap().visit.unwrap();
    let shift = Duration::from_secs_f64(at + gap);
    visit.started = visit.started - shift;
    visit.last_seen = visit.last_seen - shift;
    for stay in &mut visit.stays {
        (stay.entered, stay.left) = (stay.entered - shift, stay.left - shift);
    }
    visit
}

#[test]
fn a_restart_while_the_end_is_held_back_neither_ends_the_visit_nor_changes_why() {
    for (gap, heard) in [(20.0, true), (20.0, false), (3600.0, false)] {
        let mut before = by_thresholds(SubjectKind::Customer);
        hear(&mut before, 0, 6, loud);
        before.advance(s(60.0));
        let visit = across_a_stop(&mut before, 60.0, gap);
        assert_eq!((visit.left, visit.in_zone), (Some(ExitReason::Silent), false));
        let (id, last_seen) = (visit.id, visit.last_seen);

        let mut after = by_thresholds(SubjectKind::Customer);
        after.engine.handle_restored(Uptime::ZERO, vec![(Pseudonym::new("s0"), visit)]);
        if heard {
            hear(&mut after, 5, 6, loud);
            assert_eq!(events(&after), all(&[(5.0, "in shop")]));
            assert_eq!(presence(&after.trace[0]).unwrap().visit.id, id);
            continue;
        }
        after.rest(Duration::from_mins(10));
        let [end] = after.trace.as_slice() else { panic!("{:?}", events(&after)) };
        let silent = TransitionKind::VisitEnded(ExitReason::Silent);
        assert_eq!((&presence(end).unwrap().change, end.at), (&silent, last_seen));
    }
}

/// As loud as a tag that lies: fading and passers-by.
fn lying(second: u32) -> f32 {
    let passes = if second % 97 < 4 { 12.0 } else { 0.0 };
    -60.0 - f32::from(u8::try_from(second * 7 % 9).unwrap()) + 4.0 - passes
}

#[test]
fn a_tag_that_lies_for_long_was_left_behind_until_it_moves() {
    let mut shop = by_thresholds(SubjectKind::Staff);
    hear(&mut shop, 0, 3600, lying);
    // The last that was told before is the second loitering delay.
    let end = [(60.0, "out shop tag_left_behind"), (60.0, "end tag_left_behind")];
    assert_eq!(events(&shop)[2..], all(&end), "and nothing began for it in fifty minutes");
    assert_eq!(shop.engine.visits_open(), 0);
    assert_eq!(shop.engine.poll_timeout(), None);
    hear(&mut shop, 3600, 3800, |second| lying(second) - 10.0);
    let (began, what) = events(&shop)[4].clone();
    assert_eq!(what, "visit");
    assert!((3600.0..3725.0).contains(&began), "{began}");
}

#[test]
fn a_tag_that_was_away_for_long_has_moved_wherever_it_lies_now() {
    let mut shop = by_thresholds(SubjectKind::Customer);
    hear(&mut shop, 0, 1200, lying);
    assert_eq!(events(&shop).len(), 4);
    hear(&mut shop, 2000, 2010, lying);
    assert_eq!(events(&shop)[4..], all(&[(2000.0, "visit"), (2000.0, "in shop")]));
}

#[test]
fn a_tag_that_is_carried_and_a_thing_are_not_left_behind() {
    let mut shop = by_thresholds(SubjectKind::Customer);
    // Every eight minutes its owner turns round.
    let turning = |second: u32| lying(second) - if second / 480 % 2 == 0 { 0.0 } else { 9.0 };
    hear(&mut shop, 0, 7200, turning);
    assert_eq!(events(&shop), all(&[(0.0, "visit"), (0.0, "in shop")]));
    let mut shop = by_thresholds(SubjectKind::Asset);
    hear(&mut shop, 0, 7200, lying);
    assert_eq!(events(&shop), all(&[(0.0, "visit"), (0.0, "in shop")]));
}

#[test]
fn time_in_which_a_receiver_was_deaf_says_nothing_about_lying() {
    let mut shop = by_thresholds(SubjectKind::Customer);
    hear(&mut shop, 0, 400, lying);
    let deaf = RadioState::Deaf { since: s(400.0), cause: DeafCause::Daemon };
    shop.engine.handle_radio(s(400.0), &shop::receiver(0), deaf);
    shop.engine.handle_radio(s(4000.0), &shop::receiver(0), RadioState::Quiet);
    hear(&mut shop, 4000, 4150, lying);
    assert_eq!(shop.engine.visits_open(), 1);
    hear(&mut shop, 4150, 4250, lying);
    assert_eq!(shop.engine.visits_open(), 0, "ten minutes, all together");
}

/// A shop with a plan and one subject, whose tags walk or lie.
fn on_plan(seed: u64, minors: &[u16], presence: PresenceSettings) -> Shop {
    Shop::new(seed, shop::engine(vec![shop::subject(SubjectKind::Customer, minors)], presence))
}

fn settings() -> PresenceSettings {
    shop::settings(true)
}

/// Changes of zone, without those of the beginning.
fn moves_after(shop: &Shop, second: f64) -> usize {
    let entered = |(at, what): &&(f64, String)| *at > second && what.starts_with("in ");
    events(shop).iter().filter(entered).count()
}

#[test]
fn a_tag_that_lies_still_on_a_plan_is_not_told_to_move() {
    for (seed, at) in [(1, Point::new(8.0, 2.5)), (2, Point::new(4.6, 2.0))] {
        let mut shop = on_plan(seed, &[0], settings());
        let walker = Walker::lying(0, at, vec![(2.0, f64::INFINITY)], &mut shop.rng);
        shop.walkers.push(walker);
        shop.play(0, 1200);
        let moves = moves_after(&shop, 60.0);
        assert!(moves <= 2, "{moves} moves in 20 minutes at {} m", at.x);
        assert_eq!(shop.engine.visits_open(), 1);
    }
}

#[test]
fn two_tags_at_two_places_are_one_person_who_is_where_the_moving_one_is() {
    let two = |both: bool| {
        let mut shop = on_plan(3, &[0, 1], settings());
        let walker = Walker::new(0, vec![(2.0, 600.0)], &mut shop.rng);
        let keys = Point::new(13.5, 2.5);
        let lying = Walker::lying(1, keys, vec![(2.0, 600.0)], &mut shop.rng);
        shop.walkers.push(walker);
        if both {
            shop.walkers.push(lying);
        }
        shop.play(0, 600);
        shop.rest(Duration::from_mins(10));
        check_form("two tags", &shop.trace);
        let started = events(&shop).iter().filter(|(_, what)| what == "visit").count();
        assert_eq!(started, 1);
        shop
    };
    let (both, alone) = (two(true), two(false));
    let (both_moves, moves) = (moves_after(&both, 180.0), moves_after(&alone, 180.0));
    assert!(moves > 0 && both_moves <= moves + 2, "{both_moves} moves instead of {moves}");
    // Where the keys lie it is told to be about as often as it truly is.
    let at_the_till = |shop: &Shop| {
        let stays = events(shop).into_iter().filter(|(at, _)| *at > 180.0);
        let (mut since, mut sum) = (None, 0.0);
        for (at, what) in stays {
            if what == "in till" {
                since = Some(at);
            } else if let Some(since) = since.take().filter(|_| what.starts_with("out till")) {
                sum += at - since;
            }
        }
        sum
    };
    let (told, told_alone) = (at_the_till(&both), at_the_till(&alone));
    assert!(told <= told_alone + 60.0, "{told} s at the till instead of {told_alone} s");
}

#[test]
fn a_private_zone_is_told_as_no_zone_and_its_receiver_starts_no_visit() {
    for with_plan in [true, false] {
        let mut shop = on_plan(4, &[0], shop::settings(with_plan));
        for second in 0..20 {
            shop.hear(s(f64::from(second)), &ibeacon(0, 4, -50.0));
        }
        assert_eq!(events(&shop), [], "with a plan: {with_plan}");
    }
    let mut shop = on_plan(4, &[0], settings());
    let at = Point::new(8.5, 8.5);
    let walker = Walker::lying(0, at, vec![(20.0, 200.0)], &mut shop.rng);
    shop.walkers.push(walker);
    shop.play(20, 200);
    shop.rest(Duration::from_mins(10));
    check_form("private", &shop.trace);
    assert!(!shop.zones_on_disk.contains_key(&ZoneId::new("toilet")));
    assert_eq!(events(&shop).first().map(|(_, what)| what.as_str()), Some("visit"));
}

/// Who was last in a zone a minute ago, and was written down then.
fn record(zone: &str) -> VisitRecord {
    let mut shop = by_thresholds(SubjectKind::Customer);
    hear(&mut shop, 0, 6, loud);
    let mut visit = across_a_stop(&mut shop, 6.0, 60.0);
    let (entered, left) = (visit.started, visit.last_seen);
    visit.stays = vec![Stay { zone: ZoneId::new(zone), entered, left }];
    visit
}

fn restored(engine: &mut Engine, zone: &str) {
    let visits = vec![(Pseudonym::new("s0"), record(zone))];
    engine.handle_restored(Uptime::ZERO, visits);
}

#[test]
fn a_restored_visit_keeps_its_stay_until_the_first_change() {
    for (at, expected) in [
        (Point::new(2.0, 8.0), vec![]),
        (Point::new(14.0, 2.0), vec!["out dairy moved", "in till"]),
    ] {
        let mut shop = on_plan(5, &[0], settings());
        restored(&mut shop.engine, "dairy");
        let walker = Walker::lying(0, at, vec![(0.0, 60.0)], &mut shop.rng);
        shop.walkers.push(walker);
        shop.play(0, 60);
        let told: Vec<String> = events(&shop).into_iter().map(|(_, what)| what).collect();
        assert_eq!(told, expected);
    }
}

#[test]
fn a_zone_that_has_become_private_is_forgotten_without_an_event() {
    let mut shop = on_plan(6, &[0], settings());
    restored(&mut shop.engine, "toilet");
    assert_eq!(shop.engine.poll_event(), None);
    shop.rest(Duration::from_mins(10));
    let [end] = shop.trace.as_slice() else { panic!("{:?}", events(&shop)) };
    let end = presence(end).unwrap();
    assert!(matches!(end.change, TransitionKind::VisitEnded(_)));
    assert!(end.visit.stays.is_empty() && end.context.zones_visited.is_empty());
}

#[test]
fn while_all_receivers_are_deaf_nobody_leaves_anything() {
    let mut shop = on_plan(7, &[0], settings());
    let walker = Walker::lying(0, Point::new(8.0, 2.5), vec![(0.0, 1e9)], &mut shop.rng);
    shop.walkers.push(walker);
    shop.play(0, 60);
    let before = events(&shop);
    for number in 0..6 {
        let deaf = RadioState::Deaf { since: s(60.0), cause: DeafCause::Daemon };
        shop.engine.handle_radio(s(60.0), &shop::receiver(number), deaf);
    }
    shop.advance(s(660.0));
    assert_eq!(events(&shop), before);
    assert_eq!(shop.engine.poll_timeout(), None, "and nobody is woken for it");
    for number in 0..6 {
        shop.engine.handle_radio(s(660.0), &shop::receiver(number), RadioState::Quiet);
    }
    shop.play(660, 720);
    assert_eq!(events(&shop), before);
}

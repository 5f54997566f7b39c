//! One turn at a time: what two gateways do when one of them comes, goes, or does not hear the other.

use super::shop::{LEAD, STANDBY, Shop};
use crate::{
    engine::ZoneId,
    standby::{Note, Why},
};

/// Somebody is at the door for so many seconds, heard by both.
fn stay(shop: &mut Shop, who: &str, seconds: i64) {
    for _ in 0..seconds {
        shop.heard(who, [Some(-60); 2], None);
        let next = shop.now + 1000;
        shop.pass(next);
    }
}

fn pass(shop: &mut Shop, seconds: i64) {
    let until = shop.now + seconds * 1000;
    shop.pass(until);
}

/// The kinds of a subject's events, with the gateway that sent each.
fn told(shop: &Shop, who: &str) -> Vec<(usize, String)> {
    let of = shop.platform.iter().filter(|it| it.subject == who);
    of.map(|it| (it.gateway, it.kind.clone())).collect()
}

fn visits(shop: &Shop, who: &str) -> usize {
    let of = shop.platform.iter().filter(|it| it.subject == who);
    of.map(|it| it.visit.as_str()).collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn while_the_lead_lives_the_standby_tells_and_keeps_nothing() {
    let mut shop = Shop::new(1, &["m"]);
    pass(&mut shop, 5);
    assert_eq!(shop.acting(), [true, false]);
    stay(&mut shop, "m", 90);
    pass(&mut shop, 40);
    let lead = |kind: &str| (LEAD, kind.to_owned());
    let expected =
        ["visit.started", "zone.entered", "zone.dwelled", "zone.exited", "visit.ended"].map(lead);
    assert_eq!(told(&shop, "m"), expected);
    assert!(shop.nodes[STANDBY].notes.is_empty());
    let standby = shop.nodes[STANDBY].alive.as_ref().unwrap();
    assert_eq!(standby.engine.visits_open(), 0);
    assert!(standby.engine.counts().subject > 80, "it hears and recognises all the same");
}

#[test]
fn a_visit_goes_on_under_its_name_and_is_handed_back_under_it() {
    let mut shop = Shop::new(2, &["m"]);
    pass(&mut shop, 5);
    stay(&mut shop, "m", 30);
    shop.kill(LEAD);
    stay(&mut shop, "m", 60);
    assert_eq!(shop.acting(), [false, true]);
    shop.start(LEAD);
    stay(&mut shop, "m", 30);
    assert_eq!(shop.acting(), [true, false], "{}", shop.story("m"));
    assert_eq!(shop.acts_since(LEAD).unwrap().1, Why::HandedOver);
    assert_eq!([LEAD, STANDBY].map(|it| shop.believes(it)), [(false, true), (true, true)]);
    pass(&mut shop, 60);
    let expected = [
        (LEAD, "visit.started"),
        (LEAD, "zone.entered"),
        (STANDBY, "zone.dwelled"),
        (LEAD, "zone.exited"),
        (LEAD, "visit.ended"),
    ];
    assert_eq!(told(&shop, "m"), expected.map(|(at, kind)| (at, kind.to_owned())));
    assert_eq!(visits(&shop, "m"), 1);
    // It ended when it was last true, to the second.
    let end = shop.events("m", "visit.ended")[0].at;
    assert!((end - 124_000).abs() < 1500, "{end}");
}

#[test]
fn a_visit_that_began_at_the_standby_goes_on_at_the_lead_and_again_at_the_standby() {
    let mut shop = Shop::new(3, &["m"]);
    pass(&mut shop, 5);
    shop.kill(LEAD);
    pass(&mut shop, 10);
    stay(&mut shop, "m", 20);
    shop.start(LEAD);
    stay(&mut shop, "m", 30);
    assert_eq!(shop.acting(), [true, false]);
    shop.kill(LEAD);
    stay(&mut shop, "m", 30);
    assert_eq!(shop.acting(), [false, true]);
    pass(&mut shop, 60);
    assert_eq!(visits(&shop, "m"), 1, "{}", shop.story("m"));
    assert!(shop.events("m", "visit.started")[0].visit.starts_with("s-gw2-"));
    assert_eq!(shop.events("m", "visit.ended").len(), 1);
}

#[test]
fn who_came_and_left_while_nobody_made_events_is_told_late_and_dated_right() {
    let mut shop = Shop::new(4, &["m", "n"]);
    pass(&mut shop, 5);
    stay(&mut shop, "n", 5);
    shop.kill(LEAD);
    let killed = shop.now;
    stay(&mut shop, "m", 2);
    pass(&mut shop, 60);
    let (started, ended) =
        (shop.events("m", "visit.started")[0], shop.events("m", "visit.ended")[0]);
    assert!((started.at - killed).abs() < 100, "{started:?}");
    assert!((ended.at - killed - 1000).abs() < 100, "{ended:?}");
    let acts = shop.acts_since(STANDBY).unwrap().0;
    assert!(started.came >= acts && acts - killed >= 4000);
    // Who had left just before is not there any more, and not for longer than they were.
    let end = shop.events("n", "visit.ended")[0].at;
    assert!((killed - 2000..=killed).contains(&end), "{end} {killed}");
}

#[test]
fn a_standby_that_starts_later_catches_up_and_one_that_starts_too_late_begins_anew() {
    let mut shop = Shop::empty(5, &["m"]);
    shop.start(LEAD);
    pass(&mut shop, 5);
    stay(&mut shop, "m", 20);
    shop.start(STANDBY);
    stay(&mut shop, "m", 5);
    shop.kill(LEAD);
    stay(&mut shop, "m", 20);
    assert_eq!((shop.acting(), visits(&shop, "m")), ([false, true], 1));

    let mut shop = Shop::empty(6, &["m"]);
    shop.start(LEAD);
    pass(&mut shop, 5);
    stay(&mut shop, "m", 20);
    shop.kill(LEAD);
    shop.start(STANDBY);
    stay(&mut shop, "m", 20);
    assert_eq!((shop.acting(), visits(&shop, "m")), ([false, true], 2));
    // The lead ends what it began, and goes on with what the standby did.
    shop.start(LEAD);
    stay(&mut shop, "m", 20);
    pass(&mut shop, 60);
    assert_eq!((visits(&shop, "m"), shop.events("m", "visit.ended").len()), (2, 2));
    assert_eq!(shop.events("m", "visit.started").len(), 2, "{}", shop.story("m"));
}

#[test]
fn a_lead_that_is_back_at_once_gets_its_visits_and_what_was_heard_meanwhile() {
    let mut shop = Shop::new(7, &["m", "brief"]);
    pass(&mut shop, 5);
    stay(&mut shop, "m", 20);
    shop.kill(LEAD);
    stay(&mut shop, "m", 1);
    stay(&mut shop, "brief", 2);
    shop.start(LEAD);
    stay(&mut shop, "m", 60);
    assert_eq!((shop.acting(), visits(&shop, "m")), ([true, false], 1));
    assert_eq!(shop.events("m", "visit.started").len(), 1);
    // Nobody but the standby knows of this one.
    assert_eq!(visits(&shop, "brief"), 1, "{}", shop.story("brief"));
    assert_eq!(shop.events("brief", "visit.ended").len(), 1);
}

#[test]
fn where_each_believes_the_other_dead_open_visits_keep_one_name_and_the_standby_yields() {
    let mut shop = Shop::new(8, &["m", "late"]);
    pass(&mut shop, 5);
    stay(&mut shop, "m", 20);
    shop.link(LEAD, false);
    stay(&mut shop, "m", 10);
    assert_eq!(shop.acting(), [true, true], "a lead without a line goes on");
    stay(&mut shop, "late", 10);
    stay(&mut shop, "m", 10);
    shop.link(LEAD, true);
    stay(&mut shop, "m", 5);
    assert_eq!(shop.acting(), [true, false]);
    let why = shop.nodes[STANDBY].notes.last().map(|(_, note)| note.clone());
    assert!(matches!(why, Some(Note::StandsDown { why: Why::Both, .. })), "{why:?}");
    pass(&mut shop, 90);
    assert_eq!(visits(&shop, "m"), 1, "{}", shop.story("m"));
    assert_eq!(shop.events("m", "visit.ended").len(), 1);
    // Who came meanwhile is told by both, by two names, each with its end.
    assert_eq!((visits(&shop, "late"), shop.events("late", "visit.ended").len()), (2, 2));
}

#[test]
fn a_standby_that_is_restarted_on_duty_hands_over_what_it_had() {
    let mut shop = Shop::new(9, &["m", "n"]);
    pass(&mut shop, 5);
    stay(&mut shop, "m", 20);
    shop.kill(LEAD);
    stay(&mut shop, "m", 10);
    stay(&mut shop, "n", 10);
    assert_eq!(shop.acting(), [false, true]);
    shop.kill(STANDBY);
    shop.start(STANDBY);
    for _ in 0..10 {
        stay(&mut shop, "m", 1);
        stay(&mut shop, "n", 1);
    }
    assert_eq!(shop.acting(), [false, true]);
    shop.start(LEAD);
    for _ in 0..10 {
        stay(&mut shop, "m", 1);
        stay(&mut shop, "n", 1);
    }
    assert_eq!(shop.acting(), [true, false]);
    pass(&mut shop, 60);
    for who in ["m", "n"] {
        assert_eq!(visits(&shop, who), 1, "{}", shop.story(who));
        assert_eq!(shop.events(who, "visit.ended").len(), 1, "{}", shop.story(who));
    }
}

#[test]
fn a_withdrawal_at_either_ends_it_and_nothing_of_the_subject_is_told_any_more() {
    // At the lead, a moment before it dies.
    let mut shop = Shop::new(10, &["m"]);
    pass(&mut shop, 5);
    stay(&mut shop, "m", 20);
    shop.withdraw(LEAD, "m");
    shop.withdraw(STANDBY, "m");
    pass(&mut shop, 1);
    let before = told(&shop, "m").len();
    shop.kill(LEAD);
    stay(&mut shop, "m", 60);
    assert_eq!((shop.acting(), told(&shop, "m").len()), ([false, true], before));
    // At the standby alone: it has nobody to go on with, and recognises nobody.
    let mut shop = Shop::new(11, &["m"]);
    pass(&mut shop, 5);
    stay(&mut shop, "m", 20);
    shop.withdraw(STANDBY, "m");
    let before = told(&shop, "m").len();
    shop.kill(LEAD);
    stay(&mut shop, "m", 60);
    assert_eq!((shop.acting(), told(&shop, "m").len()), ([false, true], before));
    let standby = shop.nodes[STANDBY].alive.as_ref().unwrap();
    assert_eq!(standby.engine.visits_open(), 0);
}

#[test]
fn a_zone_that_is_private_at_the_standby_is_not_named_by_it() {
    let mut shop = Shop::empty(12, &["m"]);
    shop.private = vec![ZoneId::new("wine")];
    shop.start(LEAD);
    shop.start(STANDBY);
    pass(&mut shop, 5);
    for second in 0..90 {
        let (own, corner) = ([None; 2], Some(-50));
        shop.heard("m", own, corner);
        if second == 40 {
            shop.kill(LEAD);
        }
        pass(&mut shop, 1);
    }
    assert_eq!(shop.acting(), [false, true]);
    pass(&mut shop, 60);
    let of_standby = shop.platform.iter().filter(|it| it.gateway == STANDBY);
    let kinds: Vec<&str> = of_standby.map(|it| it.kind.as_str()).collect();
    assert!(!kinds.iter().any(|kind| kind.starts_with("zone.")), "{kinds:?}");
    assert!(kinds.contains(&"visit.ended"), "{kinds:?}");
    assert_eq!(visits(&shop, "m"), 1);
}

#[test]
fn in_whichever_moment_of_a_visits_first_the_lead_is_killed_its_start_and_its_end_are_told_once() {
    for millis in 0..250_i64 {
        let mut shop = Shop::new(1000 + millis.unsigned_abs(), &["m"]);
        pass(&mut shop, 5);
        shop.heard("m", [Some(-60); 2], None);
        let killed = shop.now + millis;
        shop.pass(killed);
        shop.kill(LEAD);
        stay(&mut shop, "m", 20);
        pass(&mut shop, 60);
        for kind in ["visit.started", "zone.entered", "zone.exited", "visit.ended"] {
            let told = shop.events("m", kind).len();
            assert_eq!((visits(&shop, "m"), told), (1, 1), "{millis} {kind} {}", shop.story("m"));
        }
    }
}

/// The fridge is so warm for so many seconds.
fn fridge(shop: &mut Shop, celsius: i16, seconds: i64) {
    for _ in 0..seconds {
        shop.fridge(celsius);
        let next = shop.now + 1000;
        shop.pass(next);
    }
}

#[test]
fn an_alert_goes_on_at_whichever_makes_events_and_is_told_and_cleared_once() {
    let mut shop = Shop::new(21, &[]);
    let mut expected = Vec::new();
    let mut told = |shop: &Shop, more: &[(usize, &str)]| {
        expected.extend(more.iter().map(|(of, what)| (*of, (*what).to_owned())));
        assert_eq!(shop.alerts, expected);
    };
    pass(&mut shop, 5);
    fridge(&mut shop, 9, 30);
    told(&shop, &[(LEAD, "too_warm")]);
    shop.kill(LEAD);
    fridge(&mut shop, 9, 60);
    assert_eq!(shop.acting(), [false, true]);
    told(&shop, &[]);
    fridge(&mut shop, 4, 30);
    told(&shop, &[(STANDBY, "too_warm is over")]);
    // What stood when the lead died is over, and does not stand at the lead again.
    shop.start(LEAD);
    fridge(&mut shop, 4, 60);
    assert_eq!(shop.acting(), [true, false]);
    told(&shop, &[]);
    fridge(&mut shop, 9, 30);
    told(&shop, &[(LEAD, "too_warm")]);
    shop.kill(LEAD);
    fridge(&mut shop, 9, 60);
    shop.start(LEAD);
    fridge(&mut shop, 9, 60);
    assert_eq!(shop.acting(), [true, false]);
    told(&shop, &[]);
    fridge(&mut shop, 4, 30);
    told(&shop, &[(LEAD, "too_warm is over")]);
}

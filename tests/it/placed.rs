//! Zones on a floor plan, through the whole engine: a made-up day with 20 people and with everything
//! that can be wrong with a receiver, and what visits make of who returns, lies still or carries two.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail it; the lints' exceptions are for test functions alone"
)]

mod beacons;
mod replayed;
mod shop;
mod visits;

use std::{collections::BTreeMap, time::Duration};

use beacon_gateway::engine::{
    EnterReason, ExitReason, PresenceSituation, Pseudonym, Situation, SubjectKind, TransitionKind,
    Uptime, VisitId, What, ZoneId,
};
use shop::{EXIT_TIMEOUT, Fault, LOITERING, MERGE_GAP, Shop, Walker, s};

/// So many customers; then come as many badges of staff, and trolleys, as the others make 20.
const CUSTOMERS: u16 = 16;
const STAFF: u16 = 2;
const SUBJECTS: u16 = 20;

/// How long the day is, in minutes: `PLACED_MINUTES`, 6 unless it says otherwise.
fn minutes() -> u32 {
    let told = std::env::var("PLACED_MINUTES").ok();
    told.and_then(|minutes| minutes.parse().ok()).unwrap_or(6).clamp(6, 24 * 60)
}

fn kind(minor: u16) -> SubjectKind {
    match minor {
        0..CUSTOMERS => SubjectKind::Customer,
        _ if minor < CUSTOMERS + STAFF => SubjectKind::Staff,
        _ => SubjectKind::Asset,
    }
}

/// Who comes and goes: a while in the shop, then outside, mostly for less than the gap.
fn day(seed: u64, fault: Fault) -> Shop {
    let subjects = (0..SUBJECTS).map(|minor| shop::subject(kind(minor), &[minor]));
    let mut shop = Shop::new(seed, shop::engine(subjects.collect(), shop::settings(true)));
    shop.fault = fault;
    let end = f64::from(minutes() * 60);
    for minor in 0..SUBJECTS {
        let mut inside = Vec::new();
        let mut from = f64::from(shop.rng.unit_f32()).mul_add(60.0, 2.0).round();
        while from < end - 60.0 {
            let to = (from + f64::from(shop.rng.unit_f32()).mul_add(200.0, 60.0).round()).min(end);
            inside.push((from, to));
            let long = shop.rng.unit_f32() < 0.4;
            from = to
                + if long { 200.0 } else { f64::from(shop.rng.unit_f32()).mul_add(30.0, 35.0) }
                    .round();
        }
        let mut walker = Walker::new(minor, inside, &mut shop.rng);
        // Tags and pockets differ.
        walker.weaker = f32::from(minor % 4) * 1.5;
        shop.walkers.push(walker);
    }
    shop.play(0, minutes() * 60);
    shop.rest(Duration::from_mins(10));
    shop
}

/// Half of the day nothing is wrong, and then a receiver is silent for a third of it.
fn silent(told: bool) -> Fault {
    let second = f64::from(minutes() * 60);
    let silent = ((second / 4.0).round(), (second * 7.0 / 12.0).round());
    Fault { receiver: 1, silent, told, ..Fault::default() }
}

#[test]
fn a_day_on_a_floor_plan_is_well_formed_and_mostly_right() {
    let shop = day(1, Fault { receiver: usize::MAX, ..Fault::default() });
    judge(&shop, "healthy", 0.55);
    assert_eq!(shop.engine.poll_timeout(), None, "an empty shop wakes nobody");
}

#[test]
fn a_deaf_receiver_invents_no_exit() {
    judge(&day(2, silent(true)), "deaf", 0.5);
}

#[test]
fn a_receiver_that_dies_and_returns_invents_no_exit() {
    judge(&day(3, silent(false)), "dead", 0.5);
}

#[test]
fn a_receiver_that_is_three_seconds_late_invents_no_exit() {
    let late = Duration::from_secs(3);
    judge(&day(4, Fault { receiver: 0, late, ..Fault::default() }), "late", 0.5);
}

#[test]
fn a_receiver_that_is_eight_decibels_off_invents_no_exit() {
    judge(&day(5, Fault { receiver: 2, fainter: 8.0, ..Fault::default() }), "faint", 0.5);
}

#[test]
fn the_same_seed_plays_the_same_day() {
    let play = |seed| {
        let mut shop = day_of_one(seed);
        shop.play(0, 120);
        shop.trace
    };
    assert_eq!(play(7), play(7));
    assert_ne!(play(7), play(8));
}

#[test]
fn steps_wake_the_gateway_on_whole_seconds_and_only_while_somebody_is_followed() {
    let mut shop = day_of_one(9);
    assert_eq!(shop.engine.poll_timeout(), None);
    shop.play(0, 30);
    let due = shop.engine.poll_timeout().unwrap();
    assert_eq!(due.as_micros() % 1_000_000, 0);
    let before = shop.wakes;
    // The estimator follows for 30 s after it was last heard; then only exit and end are waited for.
    shop.rest(Duration::from_mins(10));
    assert!(shop.wakes - before < 45, "{} wakes", shop.wakes - before);
    assert_eq!(shop.engine.poll_timeout(), None);
}

/// One person who is in the shop from second 2 on.
fn day_of_one(seed: u64) -> Shop {
    let subjects = vec![shop::subject(SubjectKind::Customer, &[0])];
    let mut shop = Shop::new(seed, shop::engine(subjects, shop::settings(true)));
    let walker = Walker::new(0, vec![(2.0, f64::INFINITY)], &mut shop.rng);
    shop.walkers.push(walker);
    shop
}

/// What may never happen, and how much of the time must be right at least.
fn judge(shop: &Shop, name: &str, least: f64) {
    check_form(name, &shop.trace);
    let private = |zone: &ZoneId| zone.as_str() == "toilet";
    assert!(!shop.zones_on_disk.keys().any(private), "{name}: a private zone on the disk");
    let (mut right, mut all) = (0_u32, 0_u32);
    for walker in &shop.walkers {
        let who = Pseudonym::new(&format!("s{}", walker.minor));
        let mine: Vec<(&Situation, &PresenceSituation)> = shop
            .trace
            .iter()
            .filter_map(|it| Some((it, presence(it)?)))
            .filter(|(_, about)| about.subject == who)
            .collect();
        let at = |wanted: fn(&TransitionKind) -> bool| -> Vec<f64> {
            let times = mine.iter().filter(|(_, about)| wanted(&about.change));
            times.map(|(it, _)| it.at.since(Uptime::ZERO).as_secs_f64()).collect()
        };
        let started = at(|change| matches!(change, TransitionKind::VisitStarted));
        let ended = at(|change| matches!(change, TransitionKind::VisitEnded(_)));
        let visits = true_visits(walker, shop.fault, started.len());
        assert_eq!((started.len(), ended.len()), (visits.len(), visits.len()), "{name}: {who}");
        for ((started, ended), (from, to)) in started.iter().zip(&ended).zip(&visits) {
            assert!((-1.0..20.0).contains(&(started - from)), "{name}: {who} began at {started}");
            assert!(
                (-15.0..6.0).contains(&(ended - to)),
                "{name}: {who} ended at {ended}, not {to}"
            );
        }
        // In which zone it was, by the times that events name.
        let mut stays: Vec<(f64, f64, ZoneId)> = Vec::new();
        for (it, about) in &mine {
            let at = it.at.since(Uptime::ZERO).as_secs_f64();
            match &about.change {
                TransitionKind::ZoneEntered { zone, .. } => {
                    stays.push((at, f64::INFINITY, zone.clone()));
                }
                TransitionKind::ZoneExited { .. } => stays.last_mut().unwrap().1 = at,
                _ => {}
            }
        }
        for (second, truth) in (0_u32..).zip(&walker.truth) {
            let Some(truth) = truth.and_then(shop::zone_at) else { continue };
            let second = f64::from(second) + 0.5;
            let told = stays.iter().find(|(from, to, _)| (*from..*to).contains(&second));
            let told = told.map(|(_, _, zone)| zone.as_str());
            all += 1;
            right += u32::from(told == Some(truth).filter(|zone| *zone != "toilet"));
        }
    }
    let share = f64::from(right) / f64::from(all);
    assert!(share >= least, "{name}: {share:.3} of {all} s are in the right zone");
}

/// The visits that were, with returns within the gap in them. While a receiver is known to be deaf the
/// gap stands still for those whom it had just heard: then these are in them as well, if `count` says
/// that so few were told.
fn true_visits(walker: &Walker, fault: Fault, count: usize) -> Vec<(f64, f64)> {
    let patience = (EXIT_TIMEOUT + MERGE_GAP).as_secs_f64();
    let merged = |deaf: (f64, f64)| {
        let mut visits: Vec<(f64, f64)> = Vec::new();
        for &(from, to) in &walker.inside {
            match visits.last_mut() {
                Some((_, end))
                    if from - *end - (from.min(deaf.1) - end.max(deaf.0)).max(0.0) < patience =>
                {
                    *end = to;
                }
                _ => visits.push((from, to)),
            }
        }
        visits
    };
    let visits = merged((0.0, 0.0));
    if fault.told && visits.len() > count { merged(fault.silent) } else { visits }
}

/// The rules that every day must keep, subject by subject.
fn check_form(name: &str, trace: &[Situation]) {
    #[derive(Default)]
    struct Life {
        visit: Option<VisitId>,
        zone: Option<(ZoneId, Uptime, usize)>,
        last: Option<Uptime>,
    }
    let mut lives: BTreeMap<Pseudonym, Life> = BTreeMap::new();
    let mut inside: BTreeMap<ZoneId, [u32; 3]> = BTreeMap::new();
    let column = |kind| match kind {
        SubjectKind::Customer => 0,
        SubjectKind::Staff => 1,
        SubjectKind::Asset => 2,
    };
    for situation in trace {
        let Some(about) = presence(situation) else { continue };
        let life = lives.entry(about.subject.clone()).or_default();
        assert!(life.last <= Some(situation.at), "{name}: time ran backwards");
        life.last = Some(situation.at);
        let zones = about.visit.stays.iter().map(|stay| &stay.zone);
        let zones = zones.chain(about.visit.dwell.keys()).chain(&about.context.zones_visited);
        for zone in zones.chain(about.zone()) {
            assert_ne!(zone.as_str(), "toilet", "{name}: a private zone was named");
        }
        assert_ne!(about.visit.first_receiver, shop::receiver(4), "{name}: a private receiver");
        assert_ne!(about.visit.last_receiver, shop::receiver(4), "{name}: a private receiver");
        match &about.change {
            TransitionKind::VisitStarted => {
                assert_eq!(life.visit.replace(about.visit.id), None, "{name}: started twice");
            }
            TransitionKind::VisitEnded(reason) => {
                assert_eq!(life.visit.take(), Some(about.visit.id), "{name}: ended while away");
                assert_eq!(life.zone, None, "{name}: a zone outlived its visit");
                assert!(matches!(reason, ExitReason::Silent | ExitReason::Faded));
                let stays = about.visit.stays.iter();
                let stays: Duration = stays.map(|it| it.left.since(it.entered)).sum();
                let dwell: Duration = about.visit.dwell.values().sum();
                if !about.visit.stays_cut {
                    assert_eq!(stays, dwell, "{name}: path and dwell disagree");
                }
            }
            TransitionKind::ZoneEntered { zone, reason, confidence } => {
                assert!(life.visit.is_some(), "{name}: entered before the visit");
                assert_eq!(*reason, EnterReason::Placed, "{name}");
                assert!((0.0..=1.0).contains(confidence), "{name}: {confidence}");
                assert_eq!(life.zone.replace((zone.clone(), situation.at, 0)), None);
                inside.entry(zone.clone()).or_default()[column(about.kind)] += 1;
            }
            TransitionKind::ZoneDwelled { zone, delay } => {
                let (inside, entered, dwelled) = life.zone.as_mut().expect("dwelled while absent");
                assert_eq!((&*inside, Some(delay)), (zone, LOITERING.get(*dwelled)));
                assert_eq!(situation.at, *entered + *delay, "{name}: dwelled too soon");
                *dwelled += 1;
            }
            TransitionKind::ZoneExited { zone, stayed, .. } => {
                let (left, entered, _) = life.zone.take().expect("left while absent");
                assert_eq!((&left, situation.at.since(entered)), (zone, *stayed));
                inside.entry(zone.clone()).or_default()[column(about.kind)] -= 1;
            }
        }
        // Staff are no customers, and trolleys are neither.
        if let Some(zone) = about.zone() {
            let [customers, staff, _] = inside.get(zone).copied().unwrap_or_default();
            let told = (about.context.zone_occupancy, about.context.staff_in_zone);
            assert_eq!(told, (customers, staff), "{name}: who is in {zone}");
        }
    }
    assert!(lives.values().all(|life| life.visit.is_none()), "{name}: someone never left");
}

fn presence(situation: &Situation) -> Option<&PresenceSituation> {
    match &situation.what {
        What::Presence(presence) => Some(presence),
        _ => None,
    }
}

/// What was told of one subject, in short.
fn told(trace: &[Situation], who: &str) -> Vec<(f64, String)> {
    let mine = trace.iter().filter_map(|it| Some((it.at, presence(it)?)));
    let mine = mine.filter(|(_, about)| about.subject.as_str() == who);
    let short = |change: &TransitionKind| match change {
        TransitionKind::VisitStarted => "visit".to_owned(),
        TransitionKind::VisitEnded(reason) => format!("end {}", reason.name()),
        TransitionKind::ZoneEntered { zone, .. } => format!("in {zone}"),
        TransitionKind::ZoneExited { zone, reason, .. } => format!("out {zone} {}", reason.name()),
        TransitionKind::ZoneDwelled { .. } => "dwelled".to_owned(),
    };
    let seconds = |at: Uptime| at.since(s(0.0)).as_secs_f64();
    mine.map(|(at, about)| (seconds(at), short(&about.change)))
        .filter(|(_, what)| what != "dwelled")
        .collect()
}

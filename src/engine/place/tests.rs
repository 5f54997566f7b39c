//! The estimator in made-up shops: sentences with bounds. The bounds leave room below what was seen
//! on other seeds, so that they hold for what the estimator is and not for one shop.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "small numbers of a made-up shop"
)]

mod shop;
mod walls;

use std::time::Duration;

use shop::{Layout, Shop, Walker};

use super::*;
use crate::{chance::Rng, engine::ReceiverId};

/// What came of following one walker.
#[derive(Debug, Default)]
struct Outcome {
    seconds: u32,
    right: u32,
    /// The same for whoever was loudest in the last second, or before when nobody heard anything.
    loudest_right: u32,
    changes: Vec<Change>,
    loudest_changes: u32,
    true_changes: u32,
    error_m: f32,
    last: Option<Estimate>,
}

const SMALL: Layout =
    Layout { width: 10.0, depth: 8.0, receivers: 4, zone_columns: 2, zone_rows: 2 };

fn at(seconds: f32) -> Uptime {
    Uptime::ZERO + Duration::from_secs_f32(seconds)
}

/// Lets a walker walk, heard twice a second, and the estimator follow.
fn follow(
    shop: &mut Shop,
    walker: &mut Walker,
    seconds: u32,
    rng: &mut Rng,
    mut each_second: impl FnMut(u32, &mut Shop),
) -> Outcome {
    let mut places = Places::new(&shop.plan, Model::default());
    let mut track = places.track();
    let mut outcome = Outcome::default();
    let (mut loudest, mut truth) = (None, None);
    for second in 0..seconds {
        each_second(second, shop);
        let mut means = vec![(0.0, 0.0); shop.plan.receivers.len()];
        for half in [0.0, 0.5] {
            let now = at(second as f32 + half);
            shop.pass(0.5, rng);
            walker.walk(0.5, shop, rng);
            while let Some(step) = places.step(&mut track, now) {
                outcome.changes.extend(step.change);
            }
            for (receiver, rssi) in shop.hear(walker, rng) {
                places.observe(&mut track, now, receiver, rssi);
                means[receiver].0 += rssi;
                means[receiver].1 += 1.0;
            }
        }
        let zone = shop.plan.zone_at(walker.at);
        outcome.true_changes += u32::from(truth.is_some() && truth != zone);
        truth = zone;
        let means = means.iter().map(|(sum, count)| sum / count).enumerate();
        let best =
            means.filter(|(_, mean)| mean.is_finite()).max_by(|(_, a), (_, b)| a.total_cmp(b));
        let before = loudest;
        loudest = best.map_or(loudest, |(receiver, _)| shop.plan.zone_heard_by(receiver));
        outcome.loudest_changes += u32::from(before.is_some() && before != loudest);
        let estimate = places.estimate(&track);
        outcome.seconds += 1;
        outcome.right += u32::from(Some(estimate.announced) == zone.map(Whereabouts::Zone));
        outcome.loudest_right += u32::from(loudest == zone);
        outcome.error_m += estimate.position.map_or(0.0, |it| it.distance(walker.at));
        outcome.last = Some(estimate);
    }
    outcome
}

fn moves(outcome: &Outcome) -> u32 {
    let known =
        |change: &&Change| change.from != Whereabouts::Unknown && change.to != Whereabouts::Unknown;
    outcome.changes.iter().filter(known).count() as u32
}

#[test]
fn people_are_placed_better_than_by_the_loudest_receiver_and_without_flapping() {
    let (mut right, mut loudest, mut all) = (0, 0, 0);
    let (mut changes, mut loudest_changes, mut true_changes) = (0, 0, 0);
    for seed in 0..4 {
        for layout in [
            SMALL,
            Layout { width: 15.0, depth: 10.0, receivers: 6, zone_columns: 3, zone_rows: 2 },
        ] {
            let mut rng = Rng::scattered(seed);
            let mut shop = Shop::new(layout, &mut rng);
            let mut walker = shop.walker(&mut rng);
            let outcome = follow(&mut shop, &mut walker, 150, &mut rng, |_, _| {});
            right += outcome.right;
            loudest += outcome.loudest_right;
            all += outcome.seconds;
            changes += moves(&outcome);
            loudest_changes += outcome.loudest_changes;
            true_changes += outcome.true_changes;
        }
    }
    assert!(right > loudest, "{right} of {all} s right, by the loudest receiver {loudest}");
    assert!(right * 10 > all * 5, "{right} of {all} s right");
    assert!(changes * 2 <= true_changes * 4, "{changes} changes announced, {true_changes} true");
    assert!(changes * 3 < loudest_changes, "{changes} changes, by the loudest {loudest_changes}");
}

#[test]
fn a_tag_that_lies_still_is_not_announced_to_move() {
    for (seed, x) in [(1, 2.5), (2, 4.9)] {
        let mut rng = Rng::scattered(seed);
        let mut shop = Shop::new(SMALL, &mut rng);
        let mut walker = shop.walker(&mut rng);
        walker.stays = true;
        walker.at = Point::new(x, 2.0);
        let outcome = follow(&mut shop, &mut walker, 1800, &mut rng, |_, _| {});
        let late = outcome.changes.iter().filter(|change| change.noticed > at(120.0)).count();
        assert!(late <= 1, "{late} changes in half an hour at {x} m");
    }
}

#[test]
fn a_receiver_that_falls_silent_moves_nobody() {
    for seed in 0..3 {
        let mut rng = Rng::scattered(seed);
        let mut shop = Shop::new(Layout { receivers: 5, ..SMALL }, &mut rng);
        let mut walker = shop.walker(&mut rng);
        walker.stays = true;
        let nearest = (0..5).min_by(|a, b| {
            let distance =
                |n: &usize| shop.plan.receivers[*n].position.unwrap().distance(walker.at);
            distance(a).total_cmp(&distance(b))
        });
        let outcome = follow(&mut shop, &mut walker, 300, &mut rng, |second, shop| {
            if second == 150 {
                shop.dead[nearest.unwrap()] = true;
            }
        });
        let after = |change: &&Change| change.noticed > at(150.0);
        let unknown = outcome.changes.iter().filter(after).any(|it| it.to == Whereabouts::Unknown);
        assert!(!unknown, "the others still hear it");
        let moved = outcome.changes.iter().filter(after).count();
        assert!(moved <= 1, "{moved} changes after its nearest receiver died");
    }
}

#[test]
fn a_receiver_that_hears_8_db_too_little_or_too_much_costs_little() {
    let right = |db: f32| -> u32 {
        let follow_one = |seed| {
            let mut rng = Rng::scattered(seed);
            let mut shop = Shop::new(Layout { receivers: 6, ..SMALL }, &mut rng);
            shop.gains[0] += db;
            let mut walker = shop.walker(&mut rng);
            follow(&mut shop, &mut walker, 120, &mut rng, |_, _| {}).right
        };
        (0..12).map(follow_one).sum()
    };
    let (clean, deaf, loud) = (right(0.0), right(-8.0), right(8.0));
    let all = 12 * 120;
    assert!((clean - deaf.min(clean)) * 100 < all * 15, "{deaf} of {all} s, without it {clean}");
    assert!((clean - loud.min(clean)) * 100 < all * 15, "{loud} of {all} s, without it {clean}");
}

#[test]
fn a_private_zone_is_never_named() {
    let mut rng = Rng::scattered(5);
    let mut shop = Shop::new(SMALL, &mut rng);
    for zone in &mut shop.plan.zones {
        zone.kind = ZoneKind::Private;
    }
    let mut walker = shop.walker(&mut rng);
    let outcome = follow(&mut shop, &mut walker, 120, &mut rng, |_, _| {});
    assert!(!outcome.changes.is_empty());
    assert!(outcome.changes.iter().all(|change| change.to == Whereabouts::Elsewhere));
}

#[test]
fn who_is_not_heard_any_more_is_unknown_from_when_it_was_heard_last() {
    let mut rng = Rng::scattered(6);
    let shop = Shop::new(SMALL, &mut rng);
    let walker = shop.walker(&mut rng);
    let mut places = Places::new(&shop.plan, Model::default());
    let mut track = places.track();
    let mut changes = Vec::new();
    let mut last = 0.0;
    for n in 0..40_u8 {
        let now = at(f32::from(n) * 0.5);
        while let Some(step) = places.step(&mut track, now) {
            changes.extend(step.change);
        }
        for (receiver, rssi) in shop.hear(&walker, &mut rng) {
            places.observe(&mut track, now, receiver, rssi);
            last = f32::from(n) * 0.5;
        }
    }
    while let Some(step) = places.step(&mut track, at(3600.0)) {
        changes.extend(step.change);
    }
    let change = changes.last().unwrap();
    assert_eq!((change.to, change.since), (Whereabouts::Unknown, at(last)));
    assert_eq!(track.next_step(), None, "nothing is to be done until it is heard again");
    assert!(changes.iter().all(|change| change.since <= change.noticed));
}

/// Three receivers, each its own zone, of which one is loud.
fn without_positions(receivers: usize) -> FloorPlan {
    let receiver = |n: usize| FloorReceiver {
        id: ReceiverId::new(&format!("r{n}")),
        position: None,
        height: 2.5,
        offset_db: 0.0,
        offset_error_db: None,
        path_loss: PathLoss::default(),
    };
    let zone = |n| FloorZone { kind: ZoneKind::Shelf, shape: Shape::Around(vec![n]) };
    FloorPlan {
        zones: (0..receivers).map(zone).collect(),
        receivers: (0..receivers).map(receiver).collect(),
        ..FloorPlan::default()
    }
}

#[test]
fn without_positions_the_loudest_receiver_wins_and_an_outlier_does_not() {
    let plan = without_positions(3);
    let mut places = Places::new(&plan, Model::default());
    assert_eq!(places.method(), Method::Nearest);
    let mut track = places.track();
    let mut changes = Vec::new();
    for second in 0..60_u8 {
        let now = at(f32::from(second));
        while let Some(step) = places.step(&mut track, now) {
            changes.extend(step.change.map(|change| change.to));
        }
        let near = usize::from(second >= 30);
        for receiver in 0..3 {
            let outlier = second % 10 == 5 && receiver == 2;
            let rssi = if receiver == near || outlier { -62.0 } else { -78.0 };
            places.observe(&mut track, now, receiver, rssi);
        }
    }
    assert_eq!(changes, [Whereabouts::Zone(0), Whereabouts::Zone(1)]);
    assert!(places.estimate(&track).confidence > 0.8);
}

#[test]
fn a_single_receiver_places_nobody() {
    let mut places = Places::new(&without_positions(1), Model::default());
    let mut track = places.track();
    for second in 0..60_u8 {
        let now = at(f32::from(second));
        assert_eq!(places.step(&mut track, now), None);
        places.observe(&mut track, now, 0, -60.0);
    }
    assert_eq!(places.method(), Method::Threshold);
    assert_eq!(places.estimate(&track).announced, Whereabouts::Unknown);
}

#[test]
fn nothing_that_is_heard_breaks_a_belief() {
    let mut rng = Rng::scattered(7);
    let shop = Shop::new(SMALL, &mut rng);
    let mut places = Places::new(&shop.plan, Model::default());
    let mut track = places.track();
    for n in 0..400_u16 {
        let odd = [f32::NAN, f32::INFINITY, -1e30, 1e30, 0.0, -127.0, 20.0, -60.0];
        let rssi = odd[(rng.unit_f32() * 8.0) as usize % 8];
        let receiver = (rng.unit_f32() * 12.0) as usize;
        // Time stands still, jumps, and once goes back.
        let now = at(f32::from(n) * rng.unit_f32() * 2.0);
        while places.step(&mut track, now).is_some() {}
        places.observe(&mut track, now, receiver, rssi);
        let sum: f32 = track.belief.iter().sum();
        assert!((sum - 1.0).abs() < 1e-3 && track.belief.iter().all(|it| *it >= 0.0), "{sum}");
    }
}

#[test]
fn a_large_shop_gets_larger_cells_and_not_more_of_them() {
    let mut rng = Rng::scattered(8);
    let model = Model::default();
    for (width, depth) in [(3.0, 2.0), (20.0, 15.0), (300.0, 8.0), (500.0, 400.0)] {
        let shop = Shop::new(Layout { width, depth, ..SMALL }, &mut rng);
        let places = Places::new(&shop.plan, model.clone());
        let (cells, (across, along)) = places.grid();
        assert!(cells <= model.most_cells && cells > 0, "{cells}");
        let covered = across * along * cells as f32;
        assert!((covered / (width * depth) - 1.0).abs() < 0.01, "{covered} of {width} x {depth}");
    }
}

#[test]
fn the_same_inputs_lead_to_the_same_outputs() {
    let once = || {
        let mut rng = Rng::scattered(9);
        let mut shop = Shop::new(SMALL, &mut rng);
        let mut walker = shop.walker(&mut rng);
        let Outcome { changes, last, .. } = follow(&mut shop, &mut walker, 60, &mut rng, |_, _| {});
        (changes, last)
    };
    assert_eq!(once(), once());
}

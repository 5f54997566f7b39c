//! What faults of receivers cost in made-up shops, and that the simulation itself is sound. Bounds
//! leave room above what was seen (`design/0004-where-in-the-shop.md`).

use super::*;
use crate::evaluate::Fault;

/// Four shops, three seeds each, a minute and a half each: what the estimator makes of them, cold,
/// when something is wrong with the first receiver.
fn right_with(fault: Fault) -> f64 {
    let mut all = Score::default();
    for (n, layout) in SHOPS.iter().enumerate().filter(|(n, _)| [2, 3, 5, 6].contains(n)) {
        for seed in 0..3 {
            let mut scene = Scene::new(*layout, seed * 100 + n as u64);
            let walk = fault.befall(&scene.walk(90), 0);
            all = all.and(&faults::own(&scene.plan, &walk));
        }
    }
    all.share_right()
}

#[test]
fn what_befalls_a_receiver_costs_little() {
    let clean = right_with(Fault::None);
    assert!(clean > 0.55, "{clean} of the seconds are right without a fault");
    for fault in FAULTS {
        let right = right_with(fault);
        let name = fault.name();
        assert!(clean - right < 0.15, "a receiver that {name}: {right} instead of {clean}");
    }
}

#[test]
fn the_same_seed_makes_the_same_shop_and_another_one_another() {
    let [shop, ..] = SHOPS;
    let walk = |seed| Scene::new(shop, seed).walk(20);
    assert_eq!(walk(1), walk(1));
    assert_ne!(walk(1), walk(2));
}

#[test]
fn nobody_walks_through_shelves() {
    for layout in SHOPS {
        let mut rng = Rng::scattered(3);
        let mut person = Person::new(&layout, &mut rng);
        let (left, right) = layout.shelf_ends();
        for _ in 0..2000 {
            let before = person.at;
            person.pass(0.5, &layout, &mut rng);
            let through = layout.shelves().any(|y| {
                (before.y - y) * (person.at.y - y) < 0.0 && (left..right).contains(&person.at.x)
            });
            assert!(!through, "{}: from {before:?} to {:?}", layout.name, person.at);
        }
    }
}

/// Hours from the environment, for a long look; a few minutes by default.
fn hours() -> f32 {
    let hours = std::env::var("BEACON_GATEWAY_STILL_HOURS").ok();
    hours.and_then(|hours| hours.parse().ok()).unwrap_or(0.1)
}

#[test]
fn a_tag_that_lies_still_in_a_crowd_is_seldom_announced_to_move() {
    let hours = hours();
    let spots = if hours < 1.0 { 6 } else { 20 };
    let mut finished = 0;
    let lain = still(spots, hours, || finished += 1);
    assert_eq!((finished, lain.spots.len()), (spots, spots as usize));
    let (open, spots) = lain.changes_an_hour(false);
    assert!(open < 0.1, "{open} changes an hour at {spots} spots in the open");
    // A few minutes on a single border say nothing yet.
    let (border, spots) = lain.changes_an_hour(true);
    assert!(border < 1.0 || spots < 4, "{border} changes an hour at {spots} spots on a border");
}

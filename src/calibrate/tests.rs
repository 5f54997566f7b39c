//! Calibration in made-up shops whose truth is known: sentences with bounds.

mod shop;

use shop::{Shop, at, receiver, zone};

use super::{
    fit::fit,
    observe::{Part, real},
    *,
};
use crate::{engine::place::Point, evaluate::Score};

fn fitted(shop: &Shop, walks: &[Walk]) -> Fit {
    fit(&shop.plan, &Part::whole(walks), &Model::default(), Scope::Full)
}

/// How far off every offset is, as a multiple of the error that is stated for it; and those errors.
fn misses(shops: impl Iterator<Item = (Shop, Vec<Walk>)>) -> (Vec<f64>, Vec<f64>) {
    let (mut misses, mut errors) = (Vec::new(), Vec::new());
    for (shop, walks) in shops {
        let fit = fitted(&shop, &walks);
        for (offset, truth) in fit.offsets.iter().zip(shop.relative()) {
            misses.push(f64::from((offset.db - truth) / offset.error_db));
            errors.push(f64::from(offset.error_db));
        }
    }
    (misses, errors)
}

fn root_mean_square(values: &[f64]) -> f64 {
    (values.iter().map(|it| it * it).sum::<f64>() / real(values.len())).sqrt()
}

#[test]
fn offsets_are_found_on_walks_to_within_the_error_that_is_stated() {
    let shops = (0..12).map(|seed| {
        let shop = Shop::new(seed, 4.0);
        let walks = (0..3).map(|n| shop.walk(100 * seed + n, 90)).collect();
        (shop, walks)
    });
    let (misses, errors) = misses(shops);
    let (miss, error) = (root_mean_square(&misses), root_mean_square(&errors));
    assert!(error < 1.5, "the stated error is {error} dB");
    assert!(miss < 1.4, "the offsets are off by {miss} times the stated error");
    let far = misses.iter().filter(|miss| miss.abs() > 3.0).count();
    assert!(far <= 4, "{far} of 96 offsets are off by more than three times the stated error");
}

#[test]
fn offsets_are_found_from_a_minute_in_each_zone_though_nobody_measured_where() {
    let shops = (0..12).map(|seed| (Shop::new(seed, 4.0), seed));
    let (misses, errors) = misses(shops.map(|(shop, seed)| {
        let stays = shop.stays(seed + 1000);
        (shop, vec![stays])
    }));
    let (miss, error) = (root_mean_square(&misses), root_mean_square(&errors));
    assert!(error < 2.5, "the stated error is {error} dB");
    assert!(miss < 1.4, "the offsets are off by {miss} times the stated error");
}

#[test]
fn the_law_of_distance_is_found_to_within_the_error_that_is_stated() {
    let (mut exponents, mut stated) = (Vec::new(), Vec::new());
    for seed in 0..12 {
        let shop = Shop::new(seed, 3.0);
        let walks: Vec<Walk> = (0..3).map(|n| shop.walk(100 * seed + n, 120)).collect();
        let fit = fitted(&shop, &walks);
        exponents.push(f64::from((fit.law.exponent - shop.exponent) / fit.exponent_error));
        stated.push(f64::from(fit.exponent_error));
        assert!((3.0..8.0).contains(&fit.law.spread_db), "{:?}", fit.law);
        // Bodies take 3 dB on average, and three tags do not say what the next one sends.
        let reference = fit.law.reference_dbm - shop.reference;
        assert!(reference.abs() < 9.0, "{:?}, truly {}", fit.law, shop.reference);
    }
    let (miss, error) = (root_mean_square(&exponents), root_mean_square(&stated));
    assert!(error < 0.2, "the stated error is {error}");
    assert!(miss < 1.8, "the exponents are off by {miss} times the stated error");
}

#[test]
fn a_few_readings_make_nothing_worse_and_are_known_to_be_few() {
    let (mut misses, mut before) = (Vec::new(), Vec::new());
    for seed in 0..16 {
        let shop = Shop::new(seed, 3.0);
        let fit = fitted(&shop, &[shop.walk(seed, 2)]);
        for (offset, truth) in fit.offsets.iter().zip(shop.relative()) {
            misses.push(f64::from(offset.db - truth));
            before.push(f64::from(truth));
            assert!(offset.error_db > 1.5, "{offset:?}");
        }
        assert!((fit.law.exponent - 1.8).abs() < 0.6, "{:?}", fit.law);
    }
    let (miss, before) = (root_mean_square(&misses), root_mean_square(&before));
    assert!(miss < before * 1.1, "off by {miss} dB after two seconds, by {before} dB before");
}

#[test]
fn a_receiver_that_heard_nothing_keeps_what_is_configured() {
    let mut shop = Shop::new(3, 2.0);
    let mut walk = shop.walk(3, 60);
    walk.readings.retain(|reading| reading.receiver != 4);
    shop.plan.receivers[4].offset_db = -7.0;
    let fit = fitted(&shop, &[walk]);
    assert_eq!((fit.offsets[4].db, fit.offsets[4].readings), (-7.0, 0));
}

#[test]
fn one_deaf_receiver_is_found_and_people_are_placed_better_for_it() {
    let (mut without, mut with) = (Score::default(), Score::default());
    for seed in 0..3 {
        let mut shop = Shop::new(seed, 1.0);
        shop.offsets[7] -= 14.0;
        shop.offsets[2] += 8.0;
        let walks: Vec<Walk> = (0..3).map(|n| shop.walk(50 + 10 * seed + n, 60)).collect();
        let proof = prove::prove(&shop.plan, &walks, &Model::default());
        assert_eq!((proof.folds, proof.by_walk), (3, true));
        without = without.and(&proof.nothing.score);
        with = with.and(&proof.offsets.score);
    }
    let (right, before) = (with.share_right(), without.share_right());
    let (error, wide) = (with.error_mean().unwrap(), without.error_mean().unwrap());
    assert!(right > before, "right in {right} with offsets, {before} without");
    assert!(error < wide, "{error} m with offsets, {wide} m without");
}

#[test]
fn what_does_not_help_is_not_recommended_and_the_simpler_one_wins_a_draw() {
    let trial = |right: u32, error: f32| {
        let score = Score { seconds: 1000, right, errors: vec![error], ..Score::default() };
        Trial { score, confusion: Confusion::new(2) }
    };
    let proof = |nothing, offsets, full| Proof { folds: 3, by_walk: true, nothing, offsets, full };
    let same = proof(trial(800, 2.0), trial(800, 2.0), trial(799, 1.0));
    assert_eq!(same.recommended(), None, "fewer seconds are right, however near the places are");
    let luck = proof(trial(800, 2.0), trial(803, 2.0), trial(700, 2.0));
    assert_eq!(luck.recommended(), None, "three seconds of a thousand are luck");
    let both = proof(trial(800, 2.0), trial(850, 2.0), trial(852, 2.0));
    assert_eq!(both.recommended(), Some(Scope::Offsets));
    let law = proof(trial(800, 2.0), trial(790, 2.0), trial(900, 2.0));
    assert_eq!(law.recommended(), Some(Scope::Full));
    let nearer = proof(trial(800, 2.0), trial(800, 1.9), trial(700, 2.0));
    assert_eq!(nearer.recommended(), Some(Scope::Offsets));
}

#[test]
fn a_single_short_walk_proves_nothing_and_a_longer_one_is_cut_into_pieces() {
    let shop = Shop::new(1, 3.0);
    let short = study(&shop.plan, &shop.zones, &[shop.walk(1, 40)]);
    assert_eq!((short.proof.folds, short.proof.recommended()), (0, None));
    assert_eq!(short.calibration(&shop.plan, String::new()), None);
    let long = prove::prove(&shop.plan, &[shop.stays(2)], &Model::default());
    assert_eq!((long.folds, long.by_walk), (2, false));
    // On the way from zone to zone nobody is judged.
    let seconds = long.nothing.score.seconds;
    assert!((350..=380).contains(&seconds), "{seconds} s of six minutes were judged");
    let rows = (0..6).map(|zone| long.nothing.confusion.seconds(zone));
    assert_eq!(rows.sum::<u32>(), seconds);
}

#[test]
fn without_positions_offsets_come_from_what_receivers_hear_in_their_own_zones() {
    let mut shop = Shop::new(5, 0.0);
    shop.offsets[0] = -10.0;
    for (n, receiver) in shop.plan.receivers.iter_mut().enumerate() {
        receiver.position = None;
        assert!(n < 8);
    }
    let around = |n| crate::engine::place::Shape::Around(vec![n]);
    // The zones that the first six receivers hang in or next to.
    for (zone, near) in shop.plan.zones.iter_mut().zip([0, 7, 5, 1, 2, 4]) {
        zone.shape = around(near);
    }
    let drawn = Shop::new(5, 0.0);
    let mut hidden = drawn;
    hidden.offsets[0] = -10.0;
    let stays = hidden.stays(8);
    let fit = fitted(&shop, &[stays]);
    assert_eq!(fit.scope, Scope::Offsets);
    let others = [7, 5, 1, 2, 4].map(|n: usize| fit.offsets[n].db);
    assert!(others.iter().all(|other| fit.offsets[0].db < other - 2.0), "{:?}", fit.offsets);
}

/// A long shop with two receivers at one end.
fn long_shop() -> FloorPlan {
    let receivers = vec![receiver("a", 0.5, 0.5), receiver("b", 0.5, 7.5)];
    let zones = vec![
        zone(Point::new(0.0, 0.0), Point::new(15.0, 8.0)),
        zone(Point::new(15.0, 0.0), Point::new(150.0, 8.0)),
    ];
    FloorPlan { zones, receivers, ..FloorPlan::default() }
}

#[test]
fn where_too_few_receivers_hear_is_a_dead_spot_and_one_more_is_suggested_there() {
    let plan = long_shop();
    let found = survey::survey(&plan, &Model::default()).unwrap();
    let deaf: Vec<&DeadSpot> =
        found.dead.iter().filter(|spot| spot.weakness == Weakness::Deaf).collect();
    assert!(deaf.iter().all(|spot| spot.zone == 1 && spot.at.x > 20.0), "{deaf:?}");
    assert!(!deaf.is_empty());
    let suggestion = found.suggestion.unwrap();
    assert!(suggestion.at.x > 20.0, "{suggestion:?}");
    assert!(suggestion.error_m < found.error_m);
    let mut more = plan;
    let Point { x, y } = suggestion.at;
    more.receivers.push(receiver("c", x, y));
    let after = survey::survey(&more, &Model::default()).unwrap();
    assert!((after.error_m - suggestion.error_m).abs() < 0.5, "{after:?}, {suggestion:?}");
}

#[test]
fn a_shop_that_is_covered_has_at_most_a_vague_corner_and_needs_no_receiver() {
    let shop = Shop::new(1, 0.0);
    let found = survey::survey(&shop.plan, &Model::default()).unwrap();
    assert_eq!(found.suggestion, None);
    assert!(found.dead.iter().all(|spot| spot.weakness == Weakness::Vague), "{:?}", found.dead);
    let dead: f32 = found.dead.iter().map(|spot| spot.area_m2).sum();
    assert!(dead < 0.03 * 16.0 * 12.0, "{:?}", found.dead);
    assert!((0.5..4.0).contains(&found.error_m), "{}", found.error_m);
}

#[test]
fn a_private_zone_is_neither_surveyed_nor_counted_as_itself() {
    let mut shop = Shop::new(1, 0.0);
    for zone in &mut shop.plan.zones {
        zone.kind = crate::engine::place::ZoneKind::Private;
    }
    assert_eq!(survey::survey(&shop.plan, &Model::default()), None);
    let proof = prove::prove(&shop.plan, &[shop.walk(1, 30), shop.walk(2, 30)], &Model::default());
    assert!((0..6).all(|zone| proof.nothing.confusion.seconds(zone) == 0));
}

#[test]
fn what_was_heard_in_a_zone_is_told_with_mean_spread_and_count() {
    let plan = long_shop();
    let heard = [(0.0, -60.0), (0.5, -64.0), (1.2, -62.0)];
    let readings = heard.map(|(seconds, rssi)| crate::evaluate::Reading {
        at: at(seconds),
        receiver: 1,
        rssi: Some(rssi),
    });
    let marks = vec![(at(0.0), Some(0))];
    let walk = Walk { readings: readings.to_vec(), marks, ..Walk::default() };
    let zones = ["near", "far"].map(ZoneId::new);
    let found = observe::fingerprints(&plan, &zones, &[walk]);
    let [near, far] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((near.seconds, far.seconds, far.heard.len()), (2, 0, 0));
    let [level] = near.heard.as_slice() else { panic!("{near:?}") };
    assert_eq!((level.receiver.as_str(), level.mean_dbm, level.readings), ("b", -62.0, 3));
    assert!((level.spread_db - 1.633).abs() < 0.01, "{level:?}");
}

fn made_up() -> Calibration {
    let level =
        Level { receiver: ReceiverId::new("door"), mean_dbm: -61.5, spread_db: 3.5, readings: 80 };
    Calibration {
        basis: Basis {
            made: "2026-03-01T10:00:00Z".to_owned(),
            readings: 80,
            seconds: 60,
            walks: 2,
            right_without: 0.75,
            right_with: 0.875,
        },
        law: Some(Law { reference_dbm: -57.5, exponent: 2.25, spread_db: 4.5 }),
        receivers: vec![CalibratedReceiver {
            id: ReceiverId::new("door"),
            offset_db: -2.5,
            error_db: 0.5,
            readings: 80,
        }],
        zones: vec![Fingerprint { zone: ZoneId::new("wine"), seconds: 60, heard: vec![level] }],
    }
}

#[test]
fn a_calibration_is_read_as_it_was_written_and_its_head_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calibration.toml");
    assert_eq!(read(&path).unwrap(), None, "there is none yet");
    for calibration in [made_up(), Calibration { law: None, zones: Vec::new(), ..made_up() }] {
        write_file(&path, &calibration).unwrap();
        assert_eq!(read(&path).unwrap(), Some(calibration));
    }
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1, "nothing unfinished is left");
    let text = made_up().to_string();
    for part in ["2026-03-01\n", "80 readings", "75.0 %", "87.5 %", "rssi_offset"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_calibration_that_makes_no_sense_is_refused_with_file_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calibration.toml");
    let good = made_up().to_string();
    for (from, to, expected) in [
        ("version = 1", "version = 2", "`version` is 2"),
        ("offset_db = -2.5", "offset_db = -99", "`receiver[0].offset_db` is -99"),
        ("offset_db = -2.5", "offset_db = nan", "`receiver[0].offset_db` is NaN"),
        ("offset_db = -2.5", "offset_db = \"loud\"", "receiver[0].offset_db"),
        ("exponent = 2.25", "exponent = 0.5", "`law.exponent` is 0.5; allowed are 1 to 6"),
        ("exponent = 2.25", "exponents = 2.25", "law"),
        ("spread_db = 4.5", "spread_db = 0", "law.spread_db"),
        ("id = \"door\"", "id = \"the door\"", "`receiver[0].id`"),
        ("right_with = 0.8750", "right_with = 87.5", "`right_with`"),
        ("mean_dbm = -61.5", "mean_dbm = 61.5", "`zone[0].heard[0].mean_dbm`"),
        (
            "\n[[zone]]",
            "\n[[receiver]]\nid = \"door\"\noffset_db = 1\nerror_db = 1\nreadings = 1\n[[zone]]",
            "`receiver[1].id`",
        ),
        ("version = 1", "version = ", "not TOML"),
    ] {
        assert!(good.contains(from), "{from}: {good}");
        std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let error = read(&path).unwrap_err();
        let said = crate::gateway::chain(&error);
        assert!(said.contains("calibration.toml") && said.contains(expected), "{to}: {said}");
    }
}

#[test]
fn a_calibration_takes_the_place_of_what_the_plan_says_and_names_strangers() {
    let mut plan = long_shop();
    plan.receivers[0].id = ReceiverId::new("door");
    plan.receivers[0].offset_db = 5.0;
    let mut calibration = made_up();
    calibration.receivers.push(CalibratedReceiver {
        id: ReceiverId::new("gone"),
        ..calibration.receivers[0].clone()
    });
    calibration.apply(&mut plan);
    assert_eq!((plan.receivers[0].offset_db, plan.receivers[1].offset_db), (-2.5, 0.0));
    assert_eq!(plan.path_loss.exponent, Some(2.25));
    assert_eq!(calibration.strangers(&plan).collect::<Vec<_>>(), ["gone"]);
}

#[test]
fn the_picture_and_the_tables_tell_what_was_found_out() {
    let shop = Shop::new(2, 4.0);
    let walks: Vec<Walk> = (0..2).map(|n| shop.walk(n, 45)).collect();
    let study = study(&shop.plan, &shop.zones, &walks);
    let picture = draw(&study, &shop.plan).unwrap();
    for part in ["<svg", ">z0<", "right ", ">r7 ", "held-out", "</svg>"] {
        assert!(picture.contains(part), "{part}");
    }
    let mut table = Vec::new();
    write_table(&mut table, &study, &shop.plan).unwrap();
    let table = String::from_utf8(table).unwrap();
    for part in ["as configured", "with offsets and law", "receiver", "taken for", "z5", " dB"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let document = document(&study, &shop.plan);
    assert_eq!(document["held_out"]["folds"], 2);
    assert_eq!(document["receivers"].as_array().unwrap().len(), 8);
    assert_eq!(document["zones"].as_array().unwrap().len(), 6);
}

//! Walls, doors and neighbours: where a belief does not go, and what a signal loses.

use super::*;
use crate::engine::place::{ground::Ground, motion::Motion};

/// From one end to the other, in metres.
type Line = ((f32, f32), (f32, f32));

/// Two rooms of 6 m by 6 m with a receiver each, and what stands between them.
fn rooms(walls: &[Line]) -> FloorPlan {
    let corner = |(x, y): (f32, f32)| Point::new(x, y);
    let zone = |x: f32| {
        let extent = Extent { least: Point::new(x, 0.0), most: Point::new(x + 6.0, 6.0) };
        let shape = Shape::Polygon(Polygon::rectangle(extent).unwrap());
        FloorZone { kind: ZoneKind::Shelf, shape }
    };
    let receiver = |n: usize, x| FloorReceiver {
        position: Some(Point::new(x, 3.0)),
        ..without_positions(3).receivers[n].clone()
    };
    let walls =
        walls.iter().map(|&(from, to)| Wall { from: corner(from), to: corner(to), loss_db: 8.0 });
    FloorPlan {
        zones: vec![zone(0.0), zone(6.0)],
        receivers: vec![receiver(0, 3.0), receiver(1, 9.0)],
        walls: walls.collect(),
        ..FloorPlan::default()
    }
}

/// How much of a belief that begins in the middle of the left room is in the right one after a
/// minute without any reading.
fn across(walls: &[Line]) -> f32 {
    let plan = rooms(walls);
    let model = Model::default();
    let ground = Ground::new(&plan, &model);
    let motion = Motion::new(&plan, &ground, &model);
    let mut scratch = Scratch::default();
    let mut belief = vec![0.0; motion.anywhere().len()];
    let middle = (0..ground.cells()).min_by(|a, b| {
        let far = |cell: &usize| ground.middle_of(*cell).distance(Point::new(3.0, 3.0));
        far(a).total_cmp(&far(b))
    });
    belief[middle.unwrap()] = 1.0;
    for _ in 0..60 {
        motion.step(&belief, 0.0, &mut scratch);
        std::mem::swap(&mut belief, &mut scratch.next);
    }
    let sum: f32 = belief.iter().sum();
    assert!((sum - 1.0).abs() < 0.01, "nobody is lost: {sum}");
    let right = |(cell, _): &(usize, &f32)| ground.middle_of(cell % ground.cells()).x > 6.0;
    belief.iter().enumerate().filter(right).map(|(_, part)| part).sum()
}

#[test]
fn people_go_through_doors_and_not_through_walls() {
    let open = across(&[]);
    let door = across(&[((6.0, 0.0), (6.0, 2.5)), ((6.0, 3.4), (6.0, 6.0))]);
    let closed = across(&[((6.0, 0.0), (6.0, 6.0))]);
    assert!(open > door && door > 5.0 * closed, "{open} open, {door} by a door, {closed} closed");
    assert!((1e-5..0.02).contains(&closed), "a door that was forgotten: {closed}");
    // Drawn through the middles of cells, as a hook, and a narrow door in a wall along them.
    let hook = across(&[((5.6, 0.0), (5.6, 5.6)), ((5.6, 5.6), (5.9, 6.0))]);
    assert!(hook < 0.02, "{hook} around a corner that is closed");
}

#[test]
fn a_wall_takes_from_the_signals_that_go_through_it() {
    let closed = [((6.0, 0.0), (6.0, 6.0))];
    let [open, closed] =
        [&[][..], &closed[..]].map(|walls| Ground::new(&rooms(walls), &Model::default()));
    let there = Point::new(9.0, 3.0);
    let loss = |ground: &Ground, receiver| ground.loss_from(receiver, there, 1.2).unwrap();
    assert!((loss(&closed, 0) - loss(&open, 0) - 8.0).abs() < 1e-3);
    assert!((loss(&closed, 1) - loss(&open, 1)).abs() < 1e-3, "none stands between");
    let levels =
        |ground: &Ground| ground.levels(0).iter().map(|level| u32::from(*level)).sum::<u32>();
    assert!(levels(&closed) > levels(&open));
}

#[test]
fn a_law_of_its_own_is_the_receivers_before_the_plans_and_the_models() {
    let mut plan = rooms(&[]);
    plan.path_loss.exponent = Some(3.0);
    plan.receivers[1].path_loss.exponent = Some(2.0);
    plan.receivers[1].path_loss.reference_dbm = Some(-50.0);
    let model = Model::default();
    let ground = Ground::new(&plan, &model);
    let ten_metres_off = |x| ground.loss_from(usize::from(x > 6.0), Point::new(x, 13.0), 2.5);
    assert!((ten_metres_off(3.0).unwrap() - 30.0).abs() < 0.01);
    assert!((ten_metres_off(9.0).unwrap() - 20.0).abs() < 0.01);
    assert!((ground.law(0).one_metre_dbm - model.one_metre_dbm).abs() < 1e-6);
    assert!((ground.law(1).one_metre_dbm + 50.0).abs() < 1e-6);
}

#[test]
fn without_positions_people_go_from_neighbour_to_neighbour() {
    let mut plan = without_positions(3);
    plan.neighbours = vec![(0, 1), (2, 1)];
    let model = Model::default();
    let ground = Ground::new(&plan, &model);
    let motion = Motion::new(&plan, &ground, &model);
    let mut scratch = Scratch::default();
    motion.step(&[1.0, 0.0, 0.0], 0.0, &mut scratch);
    let [stays, next, far] = scratch.next[..] else { panic!("three cells") };
    assert!((stays + next + far - 1.0).abs() < 1e-5);
    assert!(next > 0.01 && far < next / 100.0, "{next} next door, {far} two doors on");
}

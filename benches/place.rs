//! What it costs to know where 300 people are: 12 receivers, each hearing everybody five times a
//! second. One second of the shop an iteration; a core's share is the time over a second.

#![expect(clippy::unwrap_used, reason = "a bench that panics is a failed bench")]

use std::{hint::black_box, time::Duration};

use beacon_gateway::engine::{
    ReceiverId, Uptime,
    place::{
        Extent, FloorPlan, FloorReceiver, FloorZone, Model, PathLoss, Places, Point, Polygon,
        Shape, Track, ZoneKind,
    },
};
use criterion::{Criterion, criterion_group, criterion_main};

const SUBJECTS: usize = 300;
const SIGHTINGS: u8 = 5;

/// 30 m by 20 m, twelve zones with a receiver each.
fn plan() -> FloorPlan {
    let mut plan = FloorPlan::default();
    for row in 0..3_u8 {
        for column in 0..4_u8 {
            let least = Point::new(f32::from(column) * 7.5, f32::from(row) * 20.0 / 3.0);
            let most = Point::new(least.x + 7.5, least.y + 20.0 / 3.0);
            let shape = Shape::Polygon(Polygon::rectangle(Extent { least, most }).unwrap());
            plan.zones.push(FloorZone { kind: ZoneKind::Shelf, shape });
            plan.receivers.push(FloorReceiver {
                id: ReceiverId::new(&format!("r{row}{column}")),
                position: Some(Point::new(least.x + 3.0, least.y + 4.0)),
                height: 2.5,
                offset_db: 0.0,
                offset_error_db: None,
                path_loss: PathLoss::default(),
            });
        }
    }
    plan
}

/// Where the n-th subject is: on a round through the shop, each elsewhere.
fn whereabouts(n: usize, second: u32) -> Point {
    let real = |number: u32| f32::from(u16::try_from(number % 60_000).unwrap());
    let turn = real(u32::try_from(n).unwrap()) * 0.37 + real(second) * 0.05;
    Point::new(15.0 + 12.0 * turn.cos(), 10.0 + 8.0 * (turn * 0.7).sin())
}

fn place(criterion: &mut Criterion) {
    let plan = plan();
    let mut places = Places::new(&plan, Model::default());
    let mut tracks: Vec<Track> = (0..SUBJECTS).map(|_| places.track()).collect();
    let positions: Vec<Point> = plan.receivers.iter().map(|it| it.position.unwrap()).collect();
    let mut second = 0_u32;
    criterion.bench_function(
        "place/300 subjects, 12 receivers, 5 sightings/s each, 1 s",
        |bench| {
            bench.iter(|| {
                for (n, track) in tracks.iter_mut().enumerate() {
                    let at = whereabouts(n, second);
                    for k in 0..SIGHTINGS {
                        let millis = u64::from(second) * 1000 + u64::from(k) * 200;
                        let now = Uptime::ZERO + Duration::from_millis(millis);
                        while let Some(step) = places.step(track, now) {
                            black_box(step);
                        }
                        for (receiver, position) in positions.iter().enumerate() {
                            let distance = position.distance(at).hypot(1.3);
                            let ripple =
                                f32::from((k * 7 + u8::try_from(receiver).unwrap() * 5) % 9);
                            let rssi = -63.0 - 18.0 * distance.log10() - ripple;
                            places.observe(track, now, receiver, rssi);
                        }
                    }
                }
                second += 1;
            });
        },
    );
}

criterion_group!(benches, place);
criterion_main!(benches);

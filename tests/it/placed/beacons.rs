//! Beacons at known places of the plan tell when a receiver's hearing changes.

use std::{collections::BTreeMap, time::Duration};

use beacon_gateway::engine::{
    AddressSeed, Engine, Fixture, Hangs, Identifier, Identity, IdentitySettings, ReceiverId,
    Registry, ReportPolicy, VisitId, place::Point,
};

use super::shop::{ibeacon, plan, s, settings};

/// What each beacon loses on its way besides distance, in dB: shelves stand where they stand.
const SHELVES_DB: [f32; 2] = [6.0, 1.0];

fn beacon(number: u16, at: Point) -> Fixture {
    Fixture {
        id: format!("beacon-{number}"),
        zone: None,
        hangs: Some(Hangs { at, height: 1.2 }),
        identifier: Identifier::IBeacon { proximity_uuid: [0xab; 16], major: 1, minor: number }
            .into(),
        key: None,
        canary: false,
        report: ReportPolicy::default(),
    }
}

/// What all receivers hear of both beacons, second by second; the first one is off by so many dB.
fn hear(engine: &mut Engine, beacons: &[Point], seconds: std::ops::Range<u32>, off_db: f32) {
    for second in seconds {
        let now = s(f64::from(second));
        for ((number, at), shelf) in (0..).zip(beacons).zip(SHELVES_DB) {
            for (heard_by, receiver) in plan().receivers.iter().enumerate() {
                let distance = receiver.position.unwrap().distance(*at).hypot(1.3);
                let fading = f32::from(u8::try_from(second * 7 % 11).unwrap()) - 5.0;
                let off = if heard_by == 0 { off_db } else { 0.0 };
                let dbm = -59.0 - 18.0 * distance.log10() - shelf + fading + off;
                engine.handle_advertisement(now, &ibeacon(number, heard_by, dbm));
            }
        }
    }
}

fn corrections(engine: &Engine) -> BTreeMap<ReceiverId, f32> {
    engine.corrections().map(|(id, db)| (id.clone(), db)).collect()
}

#[test]
fn a_receiver_that_hears_less_than_it_did_is_found_by_beacons_at_known_places() {
    let beacons = [Point::new(4.0, 4.0), Point::new(12.0, 6.0)];
    let fixtures = (0..).zip(beacons).map(|(number, at)| beacon(number, at)).collect();
    let registry = Registry::new(vec![], fixtures).unwrap();
    let identity = Identity::new(registry, IdentitySettings::default(), AddressSeed::new(1));
    let first = VisitId { epoch: 1, run: 0, number: 1 };
    let mut engine = Engine::new(identity, settings(true), first);
    assert_eq!(engine.corrections().count(), 0, "nothing is known before a beacon is heard");

    hear(&mut engine, &beacons, 0..5400, 0.0);
    let before = corrections(&engine);
    assert_eq!(before.len(), plan().receivers.len());
    hear(&mut engine, &beacons, 5400..5400 + 2400, -8.0);
    for (id, db) in corrections(&engine) {
        let change = db - before[&id];
        let expected = if id == super::shop::receiver(0) { -9.0..-6.0 } else { -2.0..2.0 };
        assert!(expected.contains(&change), "{id:?} is said to hear {change} dB more");
    }
    assert_eq!(engine.counts().fixture, engine.counts().received);
    engine.handle_timeout(s(7800.0) + Duration::from_mins(1));
    assert!(engine.poll_event().is_none(), "beacons that measure nothing tell nothing");
}

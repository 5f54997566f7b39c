//! The simulated shop against what it claims.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod air;
mod octets;
mod people;
mod real_time;

use std::{collections::BTreeSet, time::Duration};

use beacon_gateway::{
    engine::{UnixTime, Uptime},
    scan::simulate::{Origin, Plan, Propagation, Reception, Settings, Shop},
};

/// 2026-11-21T10:15:00Z.
const STARTED: UnixTime = UnixTime::from_millis(1_795_256_100_000);

fn settings(seconds: u64) -> Settings {
    Settings { started: STARTED, length: Some(Duration::from_secs(seconds)), ..Settings::default() }
}

/// Only distance weakens a signal, and nothing is lost but to collisions.
fn clear_air() -> Propagation {
    Propagation {
        wall_db: 0.0,
        shelf_shadow_db: 0.0,
        crowd_shadow_db: 0.0,
        body_db: 0.0,
        rice_db: None,
        report_error_db: 0.0,
        sensitivity_dbm: -200.0,
        interference: 0.0,
        ..Propagation::default()
    }
}

fn receptions(shop: &mut Shop) -> Vec<Reception> {
    std::iter::from_fn(|| shop.next_reception()).collect()
}

fn of<'a>(receptions: &'a [Reception], name: &str) -> Vec<&'a Reception> {
    let belongs = |reception: &&Reception| match &reception.origin {
        Origin::Subject(id) | Origin::Fixture(id) => **id == *name,
        Origin::Stranger => false,
    };
    let found: Vec<_> = receptions.iter().filter(belongs).collect();
    assert!(!found.is_empty(), "{name} was never heard");
    found
}

fn rssi(reception: &Reception) -> f64 {
    f64::from(reception.advertisement.rssi.expect("the simulation always tells").0)
}

fn heard_s(reception: &Reception) -> f64 {
    reception.advertisement.heard.since(Uptime::ZERO).as_secs_f64()
}

#[test]
fn the_same_seed_gives_the_same_octets_and_another_seed_gives_others() {
    let play = |seed| receptions(&mut Shop::new(seed, &settings(30)));
    let (one, two) = (play(1), play(1));
    assert!(1000 < one.len(), "{} receptions in 30 s", one.len());
    assert_eq!(one, two);
    assert_ne!(one, play(2));
    assert_eq!(
        Shop::new(1, &settings(30)).registry_jsonl(),
        Shop::new(1, &settings(60)).registry_jsonl()
    );
    assert_ne!(
        Shop::new(1, &settings(30)).registry_jsonl(),
        Shop::new(2, &settings(30)).registry_jsonl()
    );
}

#[test]
fn advertisements_come_in_the_order_of_time_and_end_when_the_shop_closes() {
    let plan = Plan::default().with_a_receiver_in_each_zone();
    let heard = receptions(&mut Shop::new(3, &Settings { plan, ..settings(60) }));
    assert!(
        heard.windows(2).all(|pair| pair[0].advertisement.heard <= pair[1].advertisement.heard)
    );
    let last = heard.last().map(heard_s).unwrap();
    assert!((59.0..60.1).contains(&last), "{last}");
    let receivers: BTreeSet<_> =
        heard.iter().map(|one| one.advertisement.receiver.as_str().to_owned()).collect();
    assert_eq!(receivers.len(), 5, "{receivers:?}");
}

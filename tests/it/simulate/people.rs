//! Who is where, and what is written about them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use beacon_gateway::{
    engine::{AddressKind, Uptime},
    scan::simulate::{Origin, Plan, Settings, Shop},
};
use serde_json::Value;

use super::{STARTED, clear_air, receptions, settings};

#[test]
fn the_truth_agrees_with_where_everybody_is() {
    let mut shop = Shop::new(11, &Settings { radio: clear_air(), ..settings(180) });
    let heard = receptions(&mut shop);
    let truth = shop.truth().clone();
    let plan = Plan::default();
    for visit in &truth.visits {
        let until = visit.until.unwrap_or(Uptime::ZERO + Duration::from_hours(1));
        assert!(visit.from < until, "{visit:?}");
        assert!(!visit.stays.is_empty(), "{visit:?}");
        assert!(visit.stays.iter().all(|stay| stay.from < stay.until), "{visit:?}");
        assert!(visit.stays.windows(2).all(|pair| pair[0].until <= pair[1].from), "{visit:?}");
        assert!(visit.stays.first().is_some_and(|stay| visit.from <= stay.from));
        assert!(visit.stays.last().is_some_and(|stay| stay.until <= until));
        assert_eq!(visit.consented, &*visit.subject != "cust_past");
        if visit.until.is_some() {
            let stayed = until.since(visit.from).as_secs_f64();
            assert!((12.0..46.0).contains(&stayed), "{} stayed {stayed} s", visit.subject);
            assert_eq!(visit.stays.first().map(|stay| &*stay.zone), Some("entrance"));
            assert!(visit.stays.iter().any(|stay| &*stay.zone == "checkout"), "{visit:?}");
        }
    }
    // The tenth of a second by which the truth is written down, and the time on the air.
    let about = Duration::from_millis(150);
    for one in &heard {
        let Origin::Subject(subject) = &one.origin else { continue };
        let at = one.advertisement.heard;
        let mut visits = truth.visits.iter().filter(|visit| visit.subject == *subject);
        let visit = visits
            .find(|visit| visit.from <= at && visit.until.is_none_or(|until| at < until + about));
        match visit {
            None => assert!(one.from.y < 0.3, "{subject} is inside at {at:?} without a visit"),
            Some(visit) => {
                assert!(-0.3 < one.from.y, "{subject} is outside at {at:?} in a visit");
                let zone = plan.zone_at(one.from);
                let written =
                    [visit.zone_at(at - about), visit.zone_at(at), visit.zone_at(at + about)];
                assert!(written.contains(&zone), "{subject} at {at:?}: {zone:?}, not {written:?}");
            }
        }
    }
    assert!(20 < truth.strangers, "{} strangers", truth.strangers);
}

#[test]
fn a_minute_of_the_default_schedule_sees_several_visits_begin_and_end() {
    for seed in 0..20 {
        let mut shop = Shop::new(seed, &settings(60));
        receptions(&mut shop);
        let minute = Uptime::ZERO + Duration::from_mins(1);
        let visits: Vec<_> = shop.truth().visits.iter().filter(|visit| visit.consented).collect();
        let begun = visits.iter().filter(|visit| Uptime::ZERO < visit.from && visit.from < minute);
        let ended = visits.iter().filter(|visit| visit.until.is_some_and(|until| until < minute));
        let (begun, ended) = (begun.count(), ended.count());
        assert!(4 <= begun && 4 <= ended, "seed {seed}: {begun} began, {ended} ended");
    }
}

#[test]
fn the_registry_and_the_fixtures_are_in_their_file_formats() {
    let shop = Shop::new(12, &settings(1));
    let mut kinds = BTreeSet::new();
    for line in shop.registry_jsonl().lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        kinds.insert(entry["kind"].as_str().unwrap().to_owned());
        let time = |key: &str| -> jiff::Timestamp {
            entry["consent"][key].as_str().unwrap().parse().unwrap()
        };
        let live = (time("from")..time("until"))
            .contains(&jiff::Timestamp::from_millisecond(STARTED.as_millis()).unwrap());
        assert_eq!(live, entry["subject"] != "cust_past", "{}", entry["consent"]);
        assert!(entry["consent"]["purposes"].as_array().unwrap().contains(&"presence".into()));
        assert!(entry["consent"]["proof"].as_str().unwrap().starts_with("form-"));
    }
    assert!(kinds.iter().eq(["asset", "customer", "staff"]), "{kinds:?}");

    let toml = shop.fixtures_toml();
    let file = config::File::from_str(&toml, config::FileFormat::Toml);
    let parsed = config::Config::builder().add_source(file).build().expect("TOML");
    let written: Vec<BTreeMap<String, String>> = parsed.get("fixture").expect("tables");
    assert_eq!(written.len(), 4, "{toml}");
    for (table, fixture) in written.iter().zip(shop.fixtures()) {
        assert_eq!((&*table["id"], &table["zone"]), (&*fixture.id, &fixture.zone));
        let address: beacon_gateway::engine::DeviceAddress = table["address"].parse().unwrap();
        assert_eq!(address, fixture.address, "kind and octets of {}", fixture.id);
    }
    let public = shop.fixtures().iter().filter(|it| it.address.kind() == AddressKind::Public);
    assert_eq!(public.count(), 1, "both kinds of address occur");
}

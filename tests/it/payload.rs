//! Every payload, whole: the contract with the platform. A change here is a change of the contract.

use beacon_gateway::{
    engine::{ClockQuality, UnixTime, Uptime, WallClock},
    outbox::{
        Sequence,
        record::{
            Alerted, Body, Change, Context, Counted, DroppedRecords, MAX_BYTES, Presence, Receipt,
            Record, RunId, Started, VisitSummary,
        },
    },
    timeline::Timeline,
    uplink::payload::{KINDS, OpeningHours, Origin, kind_of},
};
use jiff::{civil::Weekday, tz::TimeZone};

/// 2026-11-21T10:15:02.417Z, a Saturday.
const THEN: i64 = 1_795_256_102_417;

#[test]
fn every_kind_of_event_has_the_form_that_was_agreed() {
    let mut told = Vec::new();
    for body in bodies() {
        let (family, kind) = kind_of(&body);
        told.push((family, kind));
        let record = record(body);
        let bytes = record.clone().encode();
        assert!(bytes.len() <= MAX_BYTES);
        assert_eq!(Record::decode(&bytes).unwrap(), record, "what is kept is what was made");
        let event = origin().render(Sequence(42), &record, &wall(THEN + 1000));
        let json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
        insta::assert_json_snapshot!(format!("{family}_{kind}"), json);
    }
    assert_eq!(told, KINDS, "every kind, once");
}

#[test]
fn a_redelivery_has_the_same_id() {
    let record = record(bodies().remove(0));
    let id = |wall: &WallClock| {
        let event = origin().render(Sequence(7), &record, wall);
        let json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
        json["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(id(&wall(THEN)), "store-1-gw1-1-000000000007");
    assert_eq!(id(&wall(THEN + 86_400_000)), id(&wall(THEN)));
}

#[test]
fn what_is_late_is_called_historical() {
    let record = record(bodies().remove(0));
    let historical = |age_ms| {
        let event = origin().render(Sequence(7), &record, &wall(THEN + age_ms));
        let json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
        json["data"]["historical"].as_bool().unwrap()
    };
    assert_eq!([0, 60_000, 60_001, 36_000_000].map(historical), [false, false, true, true]);
}

#[test]
fn an_event_made_before_the_clock_was_set_is_corrected_by_the_run_that_made_it() {
    // Made ten seconds after the start by a clock that said 1970; set right at 60 s.
    let unset =
        WallClock { at: s(0), unix: UnixTime::from_millis(0), quality: ClockQuality::Unsynced };
    let made = |run| Record::new(bodies().remove(9), s(10), RunId(run), &unset);
    let set =
        WallClock { at: s(60), unix: UnixTime::from_millis(THEN), quality: ClockQuality::Synced };
    let stamp = |run, wall: &WallClock| origin().stamp(&made(run), wall);
    assert_eq!(stamp(1, &unset), (UnixTime::from_millis(10_000), "unsynced"));
    assert_eq!(stamp(1, &set), (UnixTime::from_millis(THEN - 50_000), "corrected"));
    assert_eq!(stamp(2, &set), (UnixTime::from_millis(10_000), "unsynced"), "another run's uptime");
}

#[test]
fn a_visit_that_another_gateway_began_keeps_its_name_and_the_event_is_ours() {
    let change = Change::VisitStarted { receiver: "r".to_owned() };
    let elsewhere = Presence { begun_at: Some("gw9".to_owned()), ..presence(change.clone()) };
    let made = record(Body::Presence(Box::new(elsewhere)));
    let bytes = made.clone().encode();
    assert_eq!(Record::decode(&bytes).unwrap(), made);
    for end in 0..bytes.len() {
        assert!(Record::decode(&bytes[..end]).is_err());
    }
    let visit = |record: &Record| {
        let event = origin().render(Sequence(42), record, &wall(THEN));
        let json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
        (json["data"]["visit"].as_str().unwrap().to_owned(), json["id"].clone())
    };
    let ours = record(Body::Presence(Box::new(presence(change))));
    let ((theirs, id), (ours, same)) = (visit(&made), visit(&ours));
    assert_eq!(id, same);
    assert!(theirs.contains("-gw9-1-v12-3") && !ours.contains("gw9"), "{theirs} {ours}");
}

#[test]
fn a_path_that_is_too_long_for_a_record_loses_its_middle_and_says_so() {
    let zones = (0..200).map(|n| format!("a-zone-with-a-rather-long-name-{n}")).collect();
    let path = (0..200).map(|n| (n, 1000, 500)).collect();
    let summary = VisitSummary { zones, path, ..summary() };
    let long = record(Body::Presence(Box::new(presence(Change::VisitEnded(Box::new(summary))))));
    let bytes = long.encode();
    // The names alone are too long; nothing sensible can be kept, but nothing breaks either.
    assert!(Record::decode(&bytes).is_ok());

    let path = (0..600).map(|n| (n % 3, 1000 * u64::from(n), 500)).collect();
    let summary = VisitSummary { path, ..summary_of(&["a", "b", "c"]) };
    let long = record(Body::Presence(Box::new(presence(Change::VisitEnded(Box::new(summary))))));
    let bytes = long.encode();
    assert!(bytes.len() <= MAX_BYTES, "{}", bytes.len());
    let Body::Presence(presence) = Record::decode(&bytes).unwrap().body else { panic!() };
    let Change::VisitEnded(summary) = presence.change else { panic!() };
    assert!(summary.path_cut);
    assert_eq!(summary.path.first(), Some(&(0, 0, 500)));
    assert_eq!(summary.path.last(), Some(&(2, 599_000, 500)));
}

#[test]
fn bytes_that_are_no_record_are_an_error_and_never_a_panic() {
    let good = record(bodies().remove(1)).encode();
    for end in 0..good.len() {
        assert!(Record::decode(&good[..end]).is_err());
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(record) = Record::decode(&bytes) {
                origin().render(Sequence(1), &record, &wall(THEN));
            }
        }
    }
}

#[test]
fn a_figure_that_is_not_told_is_absent_and_never_zero() {
    let quiet = Counted { addresses: None, ..counted() };
    let event = origin().render(Sequence(1), &record(Body::Counted(quiet)), &wall(THEN));
    let json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
    for figure in ["addresses", "busiest_minute"] {
        assert_eq!(json["data"][figure], serde_json::json!({"suppressed": true}), "{figure}");
    }
    assert_eq!(json["subject"], serde_json::Value::Null, "it is about nobody");
}

#[test]
fn opening_hours_follow_the_shops_clock() {
    // THEN is Saturday 11:15 in Berlin.
    let open = |from_day, to_day, opens, closes| {
        let hours = OpeningHours { from_day, to_day, opens, closes };
        let origin = Origin { opening_hours: vec![hours], ..origin() };
        let event = origin.render(Sequence(1), &record(bodies().remove(2)), &wall(THEN));
        let json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
        json["data"]["context"]["open"].as_bool().unwrap()
    };
    assert!(open(Weekday::Monday, Weekday::Saturday, 675, 676));
    assert!(!open(Weekday::Monday, Weekday::Saturday, 676, 1440));
    assert!(!open(Weekday::Monday, Weekday::Friday, 0, 1440));
    assert!(open(Weekday::Friday, Weekday::Monday, 0, 1440), "a week-end span goes round the week");
}

fn origin() -> Origin {
    Origin {
        tenant: "example".to_owned(),
        store: "store-1".to_owned(),
        gateway: "gw1".to_owned(),
        epoch: 1,
        run: RunId(1),
        timeline: Timeline::default(),
        time_zone: TimeZone::fixed(jiff::tz::offset(1)),
        opening_hours: vec![],
        historical_after_ms: 60_000,
    }
}

fn wall(unix_ms: i64) -> WallClock {
    WallClock { at: s(100), unix: UnixTime::from_millis(unix_ms), quality: ClockQuality::Synced }
}

fn record(body: Body) -> Record {
    Record::new(body, s(100), RunId(1), &wall(THEN))
}

fn presence(change: Change) -> Presence {
    Presence {
        subject: "cust_7f3a".to_owned(),
        kind: "customer".to_owned(),
        purpose: "presence".to_owned(),
        proof: "form-1".to_owned(),
        purposes: vec!["presence".to_owned(), "journey".to_owned()],
        wide_window: false,
        visit: (1, 12, 3),
        begun_at: None,
        change,
        context: Context {
            dwell_ms: 60_000,
            visit_ms: 312_500,
            zones_visited: vec!["entrance".to_owned(), "dairy".to_owned()],
            zone_occupancy: 3,
            staff_in_zone: 1,
            sensors: vec![("temperature_c".to_owned(), 21.4, 12_345)],
        },
    }
}

fn summary() -> VisitSummary {
    summary_of(&["entrance", "dairy"])
}

fn summary_of(zones: &[&str]) -> VisitSummary {
    VisitSummary {
        reason: "silent".to_owned(),
        zones: zones.iter().map(|&zone| zone.to_owned()).collect(),
        path: vec![(0, 312_500, 200_000), (1, 200_000, 0)],
        dwell: vec![(0, 112_500), (1, 200_000)],
        path_cut: false,
        first_receiver: "local".to_owned(),
        last_receiver: "local".to_owned(),
        sightings: 310,
        mean_rssi: Some(-66.25),
        longest_gap_ms: 4200,
    }
}

/// One body of each kind, in the order of [`KINDS`].
fn bodies() -> Vec<Body> {
    let zone = || "dairy".to_owned();
    let about = |change| Body::Presence(Box::new(presence(change)));
    vec![
        about(Change::VisitStarted { receiver: "local".to_owned() }),
        about(Change::VisitEnded(Box::new(summary()))),
        about(Change::ZoneEntered { zone: zone(), reason: "louder".to_owned(), confidence: 0.93 }),
        about(Change::ZoneDwelled { zone: zone(), delay_ms: 60_000 }),
        about(Change::ZoneExited { zone: zone(), reason: "silent".to_owned() }),
        Body::Measured {
            fixture: "fridge-1".to_owned(),
            zone: Some(zone()),
            readings: vec![
                ("temperature_c".to_owned(), 0, 4.25),
                ("temperature_c".to_owned(), 1, 21.5),
                ("door_open".to_owned(), 0, 1.0),
            ],
        },
        Body::Started(Started {
            version: "0.1.0".to_owned(),
            store: "resumed".to_owned(),
            pending: 17,
            visits_restored: 2,
        }),
        Body::RadioDeaf { receiver: "local".to_owned(), cause: "daemon".to_owned() },
        Body::RadioRecovered {
            receiver: "local".to_owned(),
            cause: "daemon".to_owned(),
            deaf_ms: 12_345,
        },
        Body::RecordsDropped(DroppedRecords {
            why: "full".to_owned(),
            count: 9_995,
            ranges: vec![(1, 9_990), (9_996, 10_000)],
            first_made_ms: Some(THEN - 86_400_000),
            last_made_ms: None,
        }),
        Body::ConsentWithdrawn(Receipt {
            subjects: vec!["cust_7f3a".to_owned()],
            cause: "withdrawn".to_owned(),
            command: Some(17),
            visits_closed: 1,
            records_erased: 12,
            records_narrowed: 0,
        }),
        Body::Counted(counted()),
        Body::Pressed {
            fixture: "bell-1".to_owned(),
            zone: Some(zone()),
            button: 1,
            action: "long_press".to_owned(),
            steps: None,
        },
        Body::Alerted(too_warm(600_000)),
        Body::Cleared { alert: too_warm(120_000), lasted_ms: 1_800_000 },
        Body::Silent {
            fixture: "fridge-1".to_owned(),
            zone: Some(zone()),
            silent_ms: 360_000,
            usual_ms: Some(90_000),
        },
    ]
}

/// A fridge that has been too warm, or right again, for so long.
fn too_warm(for_ms: u64) -> Alerted {
    Alerted {
        fixture: "fridge-1".to_owned(),
        zone: Some("dairy".to_owned()),
        rule: "too_warm".to_owned(),
        condition: "above".to_owned(),
        quantity: Some(("temperature_c".to_owned(), 0)),
        value: Some(9.25),
        limit: Some(8.0),
        for_ms,
        days_left: None,
    }
}

/// A quarter of an hour of which the radio was deaf for one minute.
fn counted() -> Counted {
    Counted {
        zone: "dairy".to_owned(),
        length_ms: 900_000,
        covered_ms: 840_000,
        addresses: Some(85),
        busiest_minute: None,
        k: 10,
        rounded_to: 5,
    }
}

fn s(seconds: i64) -> Uptime {
    Uptime::from_micros(seconds * 1_000_000)
}

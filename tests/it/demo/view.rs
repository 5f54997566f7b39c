//! Lines and tables as people see them.

use std::{collections::BTreeMap, time::Duration};

use anstream::AutoStream;
use beacon_gateway::demo::{
    screen::{Form, Screen},
    subscriber::Received,
    summary::DemoSummary,
    tally::Tally,
    view::View,
};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// One message of each kind, in the published form, and some that are not.
fn messages() -> Vec<Received> {
    let mut messages = vec![message("state", &json!({"status": "online", "version": "0.1.0"}))];
    for (family, kind, subject, data) in [
        (
            "gateway",
            "started",
            None,
            json!({"version": "0.1.0", "store": "new", "pending": 0, "visits_restored": 0}),
        ),
        (
            "visit",
            "started",
            Some("cust_7f3a"),
            json!({"receiver": "local", "visit": "b-gw1-1-v7", "context": context(0, 0, 0)}),
        ),
        (
            "zone",
            "entered",
            Some("cust_7f3a"),
            json!({"zone": "wine", "reason": "louder", "confidence": 0.93, "visit": "b-gw1-1-v7",
                   "context": context(0, 312, 3)}),
        ),
        (
            "zone",
            "dwelled",
            Some("cust_7f3a"),
            json!({"zone": "wine", "delay_s": 30, "context": context(30, 342, 2)}),
        ),
        (
            "zone",
            "exited",
            Some("cust_7f3a"),
            json!({"zone": "wine", "reason": "moved", "context": context(41, 353, 1)}),
        ),
        (
            "visit",
            "ended",
            Some("cust_7f3a"),
            json!({
                "reason": "silent",
                "path": [{"zone": "entrance"}, {"zone": "wine"}, {"zone": "checkout"}],
                "dwell_s": {"entrance": 12, "wine": 41, "checkout": 20},
                "context": context(0, 391.5, 0),
            }),
        ),
        (
            "sensor",
            "measured",
            Some("fridge-1"),
            json!({"fixture": "fridge-1", "zone": "dairy", "readings": [
                {"quantity": "temperature_c", "value": 4.26, "unit": "°C"},
                {"quantity": "power_w", "value": 84.0, "unit": "W"},
                {"quantity": "battery_percent", "value": 87.0, "unit": "%"},
                {"quantity": "door_open", "value": 0.0, "unit": ""},
                {"quantity": "voltage_v", "value": 2.97, "unit": "V"},
            ]}),
        ),
        (
            "sensor",
            "alerted",
            Some("fridge-1"),
            json!({"fixture": "fridge-1", "zone": "dairy", "rule": "too_warm", "value": 9.5}),
        ),
        (
            "moment",
            "occurred",
            Some("cust_7f3a"),
            json!({"zone": "wine", "rule": "regular_at_the_shelf", "context": context(60, 372, 1)}),
        ),
        ("occupancy", "counted", None, counted()),
        ("gateway", "radio_deaf", None, json!({"cause": "powered_off"})),
        ("gateway", "radio_recovered", None, json!({"cause": "powered_off", "deaf_s": 7500})),
        (
            "gateway",
            "records_dropped",
            None,
            json!({"count": 1200, "first": "3", "last": "1202", "why": "max_records",
                   "historical": true, "clock": "unsynced"}),
        ),
        (
            "parking",
            "space_freed",
            Some("bay-4"),
            json!({"minutes": 12.5, "paid": true, "nested": {}}),
        ),
        ("zone", "entered", None, Value::Null),
    ] {
        messages.push(event(family, kind, subject, data));
    }
    let raw = |topic: &str, payload: &str| Received {
        topic: topic.to_owned(),
        payload: payload.into(),
        retain: false,
    };
    messages.push(raw("beacon/v1/acme/b/gw1/event/zone/entered", "\u{1b}[2J not JSON"));
    messages.push(raw("beacon/v1/acme/b/gw1/event", "[]"));
    messages.push(message("contract", &json!({"asyncapi": "3.0.0"})));
    messages.push(raw("something/else", "1"));
    messages
}

fn counted() -> Value {
    json!({
        "zone": "wine",
        "addresses": {"suppressed": false, "count": 85},
        "busiest_minute": {"suppressed": true},
        "k": 10,
        "rounded_to": 5,
    })
}

fn context(dwell_s: u32, visit_s: impl Into<Value>, here: u32) -> Value {
    json!({
        "dwell_s": dwell_s,
        "visit_s": visit_s.into(),
        "zones_visited": ["entrance"],
        "zone_occupancy": here,
        "staff_in_zone": here / 3,
        "sensors": {"temperature_c": {"value": 21.4, "age_s": 12}},
        "open": true,
    })
}

fn event(family: &str, kind: &str, subject: Option<&str>, mut data: Value) -> Received {
    if let Some(data) = data.as_object_mut() {
        data.insert("local_time".to_owned(), "2026-11-21T11:15:02+01:00".into());
    }
    message(
        &format!("event/{family}/{kind}"),
        &json!({
            "specversion": "1.0",
            "id": "b-gw1-1-000000000042",
            "source": "/acme/b/gw1",
            "type": format!("io.beacon-gateway.{family}.{kind}.v1"),
            "subject": subject,
            "time": "2026-11-21T10:15:02.417Z",
            "data": data,
        }),
    )
}

fn message(part: &str, payload: &Value) -> Received {
    Received {
        topic: format!("beacon/v1/acme/b/gw1/{part}"),
        payload: payload.to_string().into_bytes(),
        retain: part == "state",
    }
}

fn shown(width: Option<usize>) -> String {
    let mut written = Vec::new();
    let view = View::new(TimeZone::UTC, width);
    let mut screen = Screen::new(AutoStream::never(&mut written), Form::Lines(view));
    for message in messages() {
        screen.show(&message).unwrap();
    }
    drop(screen);
    String::from_utf8(written).unwrap()
}

fn summary() -> DemoSummary {
    let mut tally = Tally::default();
    for (number, (family, kind)) in [("zone", "entered"); 14]
        .into_iter()
        .chain([("zone", "exited"); 12])
        .chain([("visit", "started"); 7])
        .chain([("visit", "ended"); 5])
        .chain([("sensor", "measured"); 21])
        .chain([("gateway", "started")])
        .enumerate()
    {
        let id = format!("b-gw1-1-{number:012}");
        let topic = format!("event/{family}/{kind}");
        tally.count(&message(&topic, &json!({ "id": id })));
    }
    DemoSummary {
        length: Duration::from_mins(1),
        advertisements: 6214,
        decoded: 3120,
        subjects: 1502,
        fixtures: 338,
        forgotten: 4374,
        situations: 60,
        acknowledged: 60,
        ..DemoSummary::default()
    }
    .with(&tally)
}

fn plain(styled: &str) -> String {
    anstream::adapter::strip_str(styled).to_string()
}

#[test]
fn each_kind_has_a_line_that_says_what_matters() {
    insta::assert_snapshot!(shown(None));
}

#[test]
fn a_narrow_terminal_gets_shorter_lines_of_the_same() {
    for (width, name) in [(80, "80_columns"), (50, "50_columns")] {
        let shown = shown(Some(width));
        assert!(shown.lines().all(|line| line.chars().count() <= width), "{shown}");
        insta::assert_snapshot!(name, shown);
    }
    for width in 0..30 {
        let shown = shown(Some(width));
        assert!(shown.lines().all(|line| line.chars().count() <= width), "{width}: {shown}");
    }
}

#[test]
fn each_family_has_its_colour_on_a_terminal() {
    let view = View::new(TimeZone::UTC, None);
    let lines: BTreeMap<String, String> = messages()
        .iter()
        .filter_map(|message| Some((message.topic.clone(), view.line(message)?)))
        .map(|(topic, line)| (topic, line.escape_debug().to_string()))
        .collect();
    insta::assert_snapshot!(lines.values().cloned().collect::<Vec<_>>().join("\n"));
}

#[test]
fn no_line_of_a_message_holds_more_than_its_styles() {
    let view = View::new(TimeZone::UTC, None);
    for message in messages() {
        let Some(line) = view.line(&message) else { continue };
        // Colour, bold, dimmed and reset only: nothing that moves a cursor or sets a title.
        let styles = line.split('\u{1b}').skip(1);
        for sequence in styles {
            let (codes, _) = sequence.split_once('m').expect("a style");
            let digits = codes.strip_prefix('[').expect("a style");
            assert!(digits.chars().all(|c| c.is_ascii_digit() || c == ';'), "{line:?}");
        }
        assert!(!plain(&line).chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn the_time_of_an_event_without_local_time_is_shown_in_the_time_zone_of_the_view() {
    let zone = TimeZone::fixed(jiff::tz::offset(-5));
    let view = View::new(zone, None);
    let event = json!({"time": "2026-11-21T10:15:02.417Z", "data": {"zone": "wine"}});
    let line = view.line(&message("event/zone/entered", &event)).unwrap();
    assert!(plain(&line).starts_with("05:15:02  zone.entered"), "{line}");
}

#[test]
fn the_closing_table_is_aligned_and_ends_with_what_was_received() {
    insta::assert_snapshot!(plain(&summary().render(None)));
}

#[test]
fn a_narrow_closing_table_keeps_its_figures() {
    let table = plain(&summary().render(Some(32)));
    assert!(
        table.lines().filter(|line| line.starts_with("  ")).all(|line| line.chars().count() <= 32)
    );
    insta::assert_snapshot!(table);
}

#[test]
fn what_is_pending_or_lost_is_red_and_nothing_of_it_green() {
    let colours = |summary: DemoSummary| {
        let table = summary.render(None);
        let rows = table.lines().filter(|row| row.contains("pending") || row.contains("lost"));
        rows.map(|row| (row.contains("[32m"), row.contains("[31m"))).collect::<Vec<_>>()
    };
    assert_eq!(colours(summary()), [(true, false); 2]);
    assert_eq!(colours(DemoSummary { pending: 1, lost: 2, ..summary() }), [(false, true); 2]);
}

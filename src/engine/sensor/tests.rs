//! What fixtures say is worth an event, when.

use super::*;
use crate::engine::{Identifier, ReportPolicy};

fn fixture() -> Fixture {
    Fixture {
        id: "fridge".to_owned(),
        zone: Some(ZoneId::new("dairy")),
        hangs: None,
        identifier: Identifier::Address([0; 6]).into(),
        key: None,
        canary: false,
        report: ReportPolicy::default(),
    }
}

fn receiver() -> ReceiverId {
    ReceiverId::new("local")
}

/// What a fixture with such a policy says of readings at seconds: when, and what.
fn said(report: ReportPolicy, told: &[(u64, Option<u32>, Quantity, f64)]) -> Vec<(u64, Said)> {
    let fixture = Fixture { report, ..fixture() };
    let index = crate::engine::identity::first_fixture();
    let mut sensors = Sensors::default();
    let mut all = Vec::new();
    for &(second, number, quantity, value) in told {
        let now = Uptime::ZERO + Duration::from_secs(second);
        let reading = [Reading { quantity, value, instance: 0 }].into_iter();
        let news = sensors.observe(now, (index, &fixture), &receiver(), number, reading);
        all.extend(news.into_iter().map(|(at, _, it)| (at.since(Uptime::ZERO).as_secs(), it)));
    }
    all
}

#[test]
fn a_press_is_told_once_however_often_it_is_sent() {
    let button = Quantity::Button;
    let press = |second, number| (second, number, button, 1.0);
    let pressed = |told: &[_]| -> Vec<u64> {
        said(ReportPolicy::default(), told).into_iter().map(|(second, _)| second).collect()
    };
    let numbered = [press(0, Some(7)), press(1, Some(7)), press(9, Some(7)), press(10, Some(8))];
    assert_eq!(pressed(&numbered), [0, 10]);
    let bare = [press(0, None), press(1, None), press(2, None), press(9, None)];
    assert_eq!(pressed(&bare), [0, 9]);
    let another = [press(0, None), (1, None, button, 2.0)];
    assert_eq!(pressed(&another), [0, 1], "pressed, and then pressed twice");
}

#[test]
fn a_low_battery_is_told_once_and_cleared_by_a_new_one() {
    let percent = Quantity::BatteryPercent;
    let told = [(0, None, percent, 12.0), (60, None, percent, 9.0), (120, None, percent, 11.0)];
    let told = told.into_iter().chain([(180, None, percent, 8.0)]);
    let day = 24 * 3600;
    let told = told.chain([(day, None, percent, 8.0), (day + 60, None, percent, 100.0)]);
    let all = said(ReportPolicy::default(), &told.collect::<Vec<_>>());
    let alarms: Vec<_> = all
        .iter()
        .filter_map(|(second, said)| match said {
            Said::Alerted(alarm) => Some((*second, "alerted", alarm.rule.as_str())),
            Said::Cleared { alarm, .. } => Some((*second, "cleared", alarm.rule.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(alarms, [(60, "alerted", "battery"), (day + 60, "cleared", "battery")]);
}

/// Readings at seconds; which of them are worth an event?
fn worth(readings: &[(u64, Quantity, f64)]) -> Vec<u64> {
    let (mut sensors, fixture) = (Sensors::default(), fixture());
    let index = crate::engine::identity::first_fixture();
    let told = |&(second, quantity, value): &(u64, Quantity, f64)| {
        let now = Uptime::ZERO + Duration::from_secs(second);
        let reading = Reading { quantity, value, instance: 0 };
        let readings = [reading].into_iter();
        let said = sensors.observe(now, (index, &fixture), &receiver(), None, readings);
        said.iter().any(|(.., said)| matches!(said, Said::Measured(_))).then_some(second)
    };
    readings.iter().filter_map(told).collect()
}

#[test]
fn a_measurement_is_told_when_it_moved_far_enough_and_not_too_often() {
    let t = Quantity::TemperatureC;
    let readings = [
        (0, t, 5.0),
        (5, t, 9.0),
        (15, t, 5.1),
        (20, t, 5.2),
        (25, t, 5.3),
        (31, t, 5.3),
        (40, t, 5.5),
    ];
    assert_eq!(worth(&readings), [0, 20, 40]);
}

#[test]
fn an_unchanged_measurement_is_told_every_ten_minutes() {
    let readings: Vec<_> = (0..30).map(|n| (n * 60, Quantity::TemperatureC, 5.0)).collect();
    assert_eq!(worth(&readings), [0, 600, 1200]);
}

#[test]
fn a_switch_does_not_wait() {
    let door = Quantity::DoorOpen;
    assert_eq!(worth(&[(0, door, 0.0), (1, door, 1.0), (2, door, 1.0), (3, door, 0.0)]), [0, 1, 3]);
}

#[test]
fn what_counts_by_itself_is_no_news() {
    let readings: Vec<_> =
        (0..500_u32).map(|n| (u64::from(n), Quantity::AdvertisementCount, f64::from(n))).collect();
    assert_eq!(worth(&readings), [0]);
}

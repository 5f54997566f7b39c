//! What a restart changes about fixtures: the same advertisements, with the engine built anew in between.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::engine::{
    frame::{
        Quantity,
        sensor::{BindKey, Bits, Decoder, Field, Heard, Measured, OwnDecoders, Refusal, Stop},
    },
    *,
};

/// A family that counts: kind, counter, temperature; sealed, as if the key had opened it.
static COUNTS: [Decoder; 2] = [
    Decoder::company("counts", 0xfffe).length(3).code(counts),
    Decoder::company("tells", 0xfffd).fields(&[
        Field::octet(Quantity::TemperatureC, 0),
        Field::octet(Quantity::BatteryPercent, 1),
    ]),
];

fn counts(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    if heard.key.is_none() {
        return Err(Stop::Encrypted(Refusal::NoKey));
    }
    measured.sealed = true;
    measured.freshness = Bits::le(1, 1).number(data).and_then(|it| u32::try_from(it).ok());
    Field::octet(Quantity::TemperatureC, 2).read(data, measured);
    Ok(())
}

const ADDRESS: [u8; 6] = [0xc0, 1, 2, 3, 4, 5];
const HOUR: i64 = 3600;

fn s(second: i64) -> Uptime {
    Uptime::from_micros(second * 1_000_000)
}

fn counted(counter: u8, celsius: u8) -> Vec<u8> {
    vec![6, 0xff, 0xfe, 0xff, 1, counter, celsius]
}

fn told(celsius: u8, percent: u8) -> Vec<u8> {
    vec![5, 0xff, 0xfd, 0xff, celsius, percent]
}

/// Above 8 °C for a minute is wrong.
fn fixture(key: Option<u8>) -> Fixture {
    let minute = Duration::from_mins(1);
    let rule = AlertRule {
        id: Arc::from("too_warm"),
        quantity: Quantity::TemperatureC,
        condition: Condition::Above { limit: 8.0, hysteresis: 0.5 },
        hold: minute,
        clear_after: minute,
    };
    Fixture {
        id: "fridge".to_owned(),
        zone: Some(ZoneId::new("dairy")),
        hangs: None,
        identifier: Identifier::Address(ADDRESS).into(),
        key: key.and_then(|key| BindKey::new(&[key; 16])),
        canary: false,
        report: ReportPolicy { alerts: vec![rule], ..ReportPolicy::default() },
    }
}

fn of_interval(seconds: u64) -> Fixture {
    let mut fixture = fixture(None);
    fixture.report.expected_interval = Some(Duration::from_secs(seconds));
    fixture
}

/// Engines one after the other, and what they leave behind.
struct Shop {
    engine: Engine,
    kept: BTreeMap<(String, bool), Remembered>,
    writes: usize,
    /// What came of it before the last start.
    before: Vec<String>,
}

impl Shop {
    fn new(fixture: Fixture) -> Self {
        Self { engine: engine(vec![fixture]), kept: BTreeMap::new(), writes: 0, before: Vec::new() }
    }

    fn keep(&mut self) {
        while let Some(FixtureCheckpoint { fixture, remembered }) = self.engine.poll_fixture() {
            self.writes += 1;
            let Some(remembered) = remembered else {
                self.kept.retain(|(id, _), _| *id != fixture);
                continue;
            };
            let is_battery = matches!(remembered, Remembered::Battery(_));
            self.kept.insert((fixture, is_battery), remembered);
        }
    }

    /// At a second, what is heard.
    fn hear(&mut self, second: i64, data: &[u8]) {
        let address = DeviceAddress::new(ADDRESS, AddressKind::Random);
        let advertisement =
            Advertisement::new(s(second), ReceiverId::new("local"), address, Some(Rssi(-60)), data);
        self.engine.handle_advertisement(s(second), &advertisement);
        self.keep();
    }

    /// Somebody else is heard.
    fn hear_others(&mut self, second: i64) {
        let address = DeviceAddress::new([0xc0, 9, 9, 9, 9, 9], AddressKind::Random);
        let data = [2, 1, 6];
        let advertisement = Advertisement::new(
            s(second),
            ReceiverId::new("local"),
            address,
            Some(Rssi(-60)),
            &data,
        );
        self.engine.handle_advertisement(s(second), &advertisement);
        self.keep();
    }

    fn wait(&mut self, until: i64) {
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due <= s(until)) {
            self.engine.handle_timeout(due);
        }
        self.engine.handle_timeout(s(until));
        self.keep();
    }

    /// The power is cut, and is back at a second; the configuration has these fixtures then.
    fn restart_with(&mut self, second: i64, fixtures: Vec<Fixture>) {
        self.before = self.said();
        self.engine = engine(fixtures);
        let kept = self.kept.iter().map(|((id, _), remembered)| (id.clone(), remembered.clone()));
        self.engine.handle_remembered(s(second), kept.collect());
        self.keep();
    }

    fn restart(&mut self, second: i64) {
        let fixtures = self.engine.identity().registry().fixtures().to_vec();
        self.restart_with(second, fixtures);
    }

    /// What came of it, without what was measured.
    fn said(&mut self) -> Vec<String> {
        let mut all = std::mem::take(&mut self.before);
        while let Some(situation) = self.engine.poll_event() {
            let What::Sensor { said, .. } = situation.what else { continue };
            match said {
                Said::Measured(_) => {}
                Said::Alerted(alarm) => all.push(format!("{} {}", alarm.rule, alarm.condition)),
                Said::Cleared { alarm, lasted } => {
                    all.push(format!("cleared {} after {}", alarm.rule, lasted.as_secs()));
                }
                Said::Silent { heard, .. } => {
                    all.push(format!("silent since {}", heard.since(Uptime::ZERO).as_secs()));
                }
                Said::Pressed { .. } => all.push("pressed".to_owned()),
            }
        }
        all
    }
}

fn engine(fixtures: Vec<Fixture>) -> Engine {
    let registry = Registry::new(Vec::new(), fixtures).unwrap();
    let decoders = OwnDecoders::new(&COUNTS);
    let settings = IdentitySettings { decoders, ..IdentitySettings::default() };
    let identity = Identity::new(registry, settings, AddressSeed::new(1));
    Engine::new(identity, PresenceSettings::default(), VisitId { epoch: 1, run: 0, number: 1 })
}

/// A fridge that is too warm, told at 60.
fn too_warm(fixture: Fixture) -> Shop {
    let mut shop = Shop::new(fixture);
    for second in [0, 30, 60, 90] {
        shop.hear(second, &told(9, 80));
    }
    assert_eq!(shop.said(), ["too_warm above"]);
    shop
}

#[test]
fn an_alert_that_stood_goes_on_and_is_not_told_again() {
    let mut shop = too_warm(fixture(None));
    shop.restart(200);
    let standing: Vec<_> = shop.engine.standing_alerts().collect();
    assert_eq!((standing[0].0, standing[0].1[0].rule.as_str()), ("fridge", "too_warm"));
    for second in [200, 300, 400, 500] {
        shop.hear(second, &told(9, 80));
    }
    assert_eq!(shop.said(), [""; 0]);
}

#[test]
fn an_alert_that_is_over_after_a_restart_is_cleared_once_and_forgotten() {
    let mut shop = too_warm(fixture(None));
    shop.restart(200);
    for second in [210, 240, 270, 300] {
        shop.hear(second, &told(4, 80));
    }
    assert_eq!(shop.said(), ["cleared too_warm after 210"]);
    shop.restart(400);
    for second in [410, 470, 530] {
        shop.hear(second, &told(4, 80));
    }
    assert_eq!(shop.said(), [""; 0]);
}

#[test]
fn an_alert_whose_rule_is_gone_is_over() {
    let mut shop = too_warm(fixture(None));
    let mut unwatched = fixture(None);
    unwatched.report.alerts.clear();
    shop.restart_with(200, vec![unwatched]);
    assert_eq!(shop.said(), ["cleared too_warm after 140"]);
    shop.restart(300);
    assert_eq!(shop.said(), [""; 0]);
}

#[test]
fn of_another_device_under_the_name_or_of_none_nothing_is_remembered_and_its_alerts_are_over() {
    let other =
        Fixture { identifier: Identifier::Address([0xc0, 8, 8, 8, 8, 8]).into(), ..fixture(None) };
    for fixtures in [vec![other], vec![]] {
        let mut shop = too_warm(fixture(None));
        assert!(!shop.kept.is_empty());
        shop.restart_with(200, fixtures);
        assert_eq!(shop.said(), ["cleared too_warm after 140"]);
        assert!(shop.kept.is_empty());
    }
}

#[test]
fn when_the_fixtures_change_while_the_gateway_runs_those_that_stay_go_on() {
    let mut shop = too_warm(fixture(None));
    let second = Fixture {
        id: "freezer".to_owned(),
        identifier: Identifier::Address([0xc0, 8, 8, 8, 8, 8]).into(),
        ..fixture(None)
    };
    shop.engine.handle_registry(
        s(100),
        Registry::new(vec![], vec![second.clone(), fixture(None)]).unwrap(),
    );
    shop.hear(110, &told(9, 80));
    assert_eq!(shop.said(), [""; 0]);
    shop.engine.handle_registry(s(120), Registry::new(vec![], vec![second]).unwrap());
    shop.keep();
    assert_eq!(shop.said(), ["cleared too_warm after 60"]);
    assert!(shop.kept.is_empty());
}

#[test]
fn a_counter_that_was_believed_is_refused_after_a_restart_and_a_greater_one_is_not() {
    let mut shop = Shop::new(fixture(Some(7)));
    shop.hear(0, &counted(150, 4));
    shop.hear(30, &counted(151, 4));
    // Only a quarter of an hour later would the second be written down.
    assert_eq!(shop.writes, 1);
    shop.hear(15 * 60, &counted(180, 4));
    assert_eq!(shop.writes, 2);
    shop.restart(10 * HOUR);
    shop.hear(10 * HOUR + 50, &counted(170, 4));
    assert_eq!(
        shop.said(),
        [""; 0],
        "so shortly after the start it may be another receiver's, told late"
    );
    shop.hear(10 * HOUR + 90, &counted(151, 4));
    assert_eq!(shop.said(), ["refused replayed"]);
    shop.hear(10 * HOUR + 91, &counted(180, 4));
    assert_eq!(shop.engine.counts().fixtures_refused.total(), 1, "the same once more");
    shop.hear(10 * HOUR + 1000, &counted(181, 4));
    assert_eq!(shop.said(), ["cleared refused after 910"]);
}

#[test]
fn a_counter_begins_anew_after_silence_that_was_listened_to() {
    let anew = |after| {
        let mut shop = Shop::new(fixture(Some(7)));
        shop.hear(0, &counted(150, 4));
        shop.restart(10 * HOUR);
        shop.hear_others(10 * HOUR);
        shop.hear(10 * HOUR + after, &counted(3, 4));
        shop.said().is_empty()
    };
    // Nobody knows how often it is heard, so an hour counts; that the gateway was off does not.
    assert!(!anew(HOUR - 1));
    assert!(anew(HOUR));
}

#[test]
fn a_refusal_that_stood_is_not_told_again_and_is_over_after_ten_quiet_minutes() {
    let mut shop = Shop::new(fixture(Some(7)));
    shop.hear(0, &counted(150, 4));
    shop.hear(100, &counted(2, 4));
    assert_eq!(shop.said(), ["refused replayed"]);
    shop.restart(300);
    shop.hear(400, &counted(2, 4));
    shop.hear(401, &counted(151, 4));
    assert_eq!(shop.said(), [""; 0]);
    shop.hear(1000, &counted(152, 4));
    assert_eq!(shop.said(), ["cleared refused after 900"]);
}

#[test]
fn the_forecast_of_a_battery_goes_on() {
    let mut fixture = fixture(None);
    fixture.report.silent_after = Some(Duration::ZERO);
    let mut shop = Shop::new(fixture);
    let day = 24 * HOUR;
    for hour in 0..24 * 22 {
        let percent = 60 - u8::try_from(hour / 12).unwrap();
        shop.hear(hour * HOUR, &told(4, percent));
        if hour % 60 == 59 {
            shop.restart(hour * HOUR + 600);
        }
    }
    // Two percent a day: after 22 days it has eight more, and there is a forecast of them.
    assert_eq!(shop.said(), ["battery low"]);
    shop.restart(22 * day);
    shop.hear(22 * day, &told(4, 16));
    shop.hear(23 * day, &told(4, 14));
    assert_eq!(shop.said(), [""; 0], "it stands");
    shop.hear(24 * day, &told(4, 100));
    assert_eq!(shop.said().len(), 1);
}

#[test]
fn the_learned_interval_is_known_at_once_and_silence_counts_from_when_somebody_listens() {
    let mut shop = Shop::new(fixture(None));
    for second in (0..2 * HOUR).step_by(60) {
        shop.hear(second, &told(4, 80));
    }
    shop.engine.handle_stop(s(2 * HOUR));
    shop.keep();
    shop.restart(20 * HOUR);
    shop.wait(21 * HOUR);
    assert_eq!(shop.said(), [""; 0], "nobody listens yet");
    shop.hear_others(21 * HOUR);
    shop.wait(21 * HOUR + 239);
    assert_eq!(shop.said(), [""; 0]);
    shop.wait(21 * HOUR + 240);
    assert_eq!(shop.said(), [format!("silent since {}", 2 * HOUR - 60)]);
}

#[test]
fn silence_that_stood_is_not_told_again_and_ends_with_the_first_frame() {
    let mut shop = Shop::new(of_interval(60));
    shop.hear(0, &told(4, 80));
    shop.wait(300);
    assert_eq!(shop.said(), ["silent since 0"]);
    shop.restart(400);
    shop.hear_others(400);
    shop.wait(2 * HOUR);
    assert_eq!(shop.said(), [""; 0]);
    shop.hear(2 * HOUR, &told(4, 80));
    assert_eq!(shop.said(), [format!("cleared silent after {}", 2 * HOUR - 240)]);
}

#[test]
fn one_that_was_never_heard_is_told_once_however_often_the_gateway_starts() {
    let mut shop = Shop::new(of_interval(60));
    shop.hear_others(0);
    shop.wait(300);
    assert_eq!(shop.said(), ["silent never_heard"]);
    shop.restart(400);
    shop.hear_others(400);
    shop.wait(1000);
    shop.restart(1000);
    assert_eq!(shop.said(), [""; 0]);
    shop.hear(1100, &told(4, 80));
    assert_eq!(shop.said(), ["cleared silent after 860"]);
    shop.restart(1200);
    shop.hear_others(1200);
    shop.wait(1300);
    assert_eq!(shop.said(), [""; 0]);
}

#[test]
fn while_the_receiver_that_heard_it_is_deaf_after_the_start_nothing_is_made_of_silence() {
    let mut shop = Shop::new(of_interval(60));
    shop.hear(0, &told(4, 80));
    shop.restart(100);
    let state = RadioState::Deaf { since: s(100), cause: DeafCause::NoAdapter };
    shop.engine.handle_radio(s(100), &ReceiverId::new("local"), state);
    shop.hear_others(110);
    shop.wait(HOUR);
    assert_eq!(shop.said(), [""; 0]);
    shop.engine.handle_radio(s(HOUR), &ReceiverId::new("local"), RadioState::Hearing);
    shop.wait(HOUR + 240);
    assert_eq!(shop.said(), ["silent since 0"]);
}

#[test]
fn nothing_is_made_of_silence_while_another_gateway_makes_the_events() {
    let mut shop = Shop::new(of_interval(60));
    shop.hear(0, &told(4, 80));
    shop.engine.give_up(s(10));
    let radio = ReceiverId::new("local");
    let cause = DeafCause::Silence;
    shop.engine.handle_radio(s(100), &radio, RadioState::Deaf { since: s(90), cause });
    shop.engine.handle_radio(s(200), &radio, RadioState::Hearing);
    shop.wait(2 * HOUR);
    assert_eq!(shop.said(), [""; 0]);
    shop.hear_others(2 * HOUR);
    shop.wait(2 * HOUR + 240);
    assert_eq!(shop.said(), ["silent since 0"]);
}

#[test]
fn a_sensor_that_is_heard_all_day_is_written_down_a_few_times_an_hour_at_most() {
    let day = |fixture, data: fn(i64) -> Vec<u8>| {
        let mut shop = Shop::new(fixture);
        for second in (0..24 * HOUR).step_by(10) {
            shop.hear(second, &data(second));
        }
        shop.writes
    };
    assert!(day(fixture(None), |_| told(4, 80)) <= 25);
    // Counters of one octet: the test is of a quarter of them.
    let counting = |second: i64| counted(u8::try_from(second / 400).unwrap_or(255), 4);
    assert!(day(fixture(Some(7)), counting) <= 4 * 24 + 2);
}

#[test]
fn at_a_stop_everything_is_written_down() {
    let mut shop = Shop::new(fixture(Some(7)));
    shop.hear(0, &counted(150, 4));
    shop.hear(60, &counted(160, 4));
    shop.engine.handle_stop(s(70));
    shop.keep();
    shop.restart(100);
    shop.hear(400, &counted(155, 4));
    assert_eq!(shop.said(), ["refused replayed"]);
}

//! The latest of every fixture: what the engine tells in, one value that can be watched out.
//!
//! Nobody waits for anybody: whoever looks late sees the latest, and what lay between is of no use to a
//! dashboard.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::watch;

use crate::engine::{
    self, Alarm, Said, StandingAlert,
    frame::{Quantity, sensor::families},
};

/// The latest of every fixture, by its id.
pub type Latest = BTreeMap<String, Arc<Told>>;

/// What a fixture has told since the gateway started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// The last value of each quantity, by its instance.
    pub readings: BTreeMap<(Quantity, u8), f64>,
    /// The buttons that were pressed.
    pub buttons: BTreeSet<u8>,
    /// Its alerts by their rules, and of which readings they stand: of none when all is right.
    pub alerts: BTreeMap<String, BTreeSet<Option<(Quantity, u8)>>>,
    /// It is not heard any more.
    pub silent: bool,
    /// What it is.
    pub product: Option<Product>,
}

/// What is known of a fixture as a product.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Product {
    /// Who makes it, as far as its frames tell.
    pub maker: Option<String>,
    /// Which it is, or of which family.
    pub model: String,
}

/// The engine's end.
#[derive(Debug)]
pub struct Board(watch::Sender<Latest>);

impl Board {
    /// An empty board, and the end from which it is watched.
    pub fn new() -> (Self, watch::Receiver<Latest>) {
        let (sender, receiver) = watch::channel(Latest::new());
        (Self(sender), receiver)
    }

    /// There is news of a fixture, which is of a family and a model if that is known.
    pub fn note(&self, fixture: &str, said: &Said, product: Option<engine::Product>) {
        self.0.send_modify(|latest| {
            let told = latest.entry(fixture.to_owned()).or_default();
            Arc::make_mut(told).take(said, product);
        });
    }

    /// Alerts of an earlier run stand about a fixture, which was not heard yet.
    pub fn recall(&self, fixture: &str, alerts: &[StandingAlert]) {
        self.0.send_modify(|latest| {
            let told = Arc::make_mut(latest.entry(fixture.to_owned()).or_default());
            told.silent = true;
            for alert in alerts.iter().filter(|alert| alert.rule != SILENT) {
                told.alerts.entry(alert.rule.clone()).or_default().insert(alert.quantity);
            }
        });
    }
}

impl Told {
    fn take(&mut self, said: &Said, product: Option<engine::Product>) {
        if self.product.is_none() {
            self.product = product.map(|(family, model)| Product::new(family, model));
        }
        // Whatever it says, it is heard; that it is silent is said by the gateway.
        self.silent = matches!(said, Said::Silent { .. });
        match said {
            Said::Measured(readings) => self.readings.extend(readings),
            Said::Pressed { button, .. } => drop(self.buttons.insert(*button)),
            Said::Alerted(alarm) => drop(self.alert(alarm).insert(alarm.quantity)),
            Said::Cleared { alarm, .. } if alarm.rule == SILENT => {}
            // The quantity of a battery's alarm may be another at its end.
            Said::Cleared { alarm, .. } if alarm.rule == BATTERY => self.alert(alarm).clear(),
            Said::Cleared { alarm, .. } => drop(self.alert(alarm).remove(&alarm.quantity)),
            Said::Silent { .. } => {}
        }
    }

    fn alert(&mut self, alarm: &Alarm) -> &mut BTreeSet<Option<(Quantity, u8)>> {
        self.alerts.entry(alarm.rule.clone()).or_default()
    }
}

/// The names of the alarms that are built in.
pub(super) const SILENT: &str = "silent";
pub(super) const BATTERY: &str = "battery";

impl Product {
    fn new(family: &'static str, model: Option<&'static str>) -> Self {
        let about = families().into_iter().find(|about| about.family == family);
        // `Ruuvi (formats 3, 5, 6 and E1)`: what is behind the name is for people who read tables.
        let name = about.map_or(family, |about| about.name);
        let name = name.split_once(" (").map_or(name, |(name, _)| name).to_owned();
        match model {
            Some(model) => Self { maker: Some(name), model: model.to_owned() },
            None => Self { maker: None, model: name },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::{Uptime, frame::Action};

    fn alarm(rule: &str, quantity: Option<(Quantity, u8)>) -> Alarm {
        Alarm {
            rule: rule.to_owned(),
            condition: "above",
            quantity,
            value: None,
            limit: None,
            since: Uptime::ZERO,
            days_left: None,
        }
    }

    #[test]
    fn an_alert_of_an_earlier_run_stands_from_the_start_of_a_fixture_that_is_yet_to_be_heard() {
        let (board, receiver) = Board::new();
        let standing = |rule: &str, quantity| StandingAlert {
            rule: rule.to_owned(),
            condition: "above",
            quantity,
            told: Uptime::ZERO,
        };
        let warm = Some((Quantity::TemperatureC, 0));
        board.recall("fridge", &[standing("warm", warm), standing("silent", None)]);
        let told = || Told::clone(&receiver.borrow()["fridge"]);
        assert_eq!(told().alerts, [("warm".to_owned(), [warm].into())].into());
        assert!(told().silent);
        let cleared = Said::Cleared { alarm: alarm("warm", warm), lasted: Duration::ZERO };
        board.note("fridge", &cleared, None);
        assert!(told().alerts["warm"].is_empty() && !told().silent);
    }

    #[test]
    fn the_latest_of_each_reading_is_kept_and_alerts_end_with_the_last_of_their_readings() {
        let (board, receiver) = Board::new();
        let warm = |instance| alarm("warm", Some((Quantity::TemperatureC, instance)));
        let measured = |value| Said::Measured([((Quantity::TemperatureC, 0), value)].into());
        let cleared = |alarm| Said::Cleared { alarm, lasted: Duration::ZERO };
        let told = || Told::clone(&receiver.borrow()["fridge"]);
        board.note("fridge", &measured(4.0), Some(("ruuvi", Some("RuuviTag"))));
        board.note("fridge", &measured(5.0), None);
        assert_eq!(told().readings, [((Quantity::TemperatureC, 0), 5.0)].into());
        let product = Product { maker: Some("Ruuvi".to_owned()), model: "RuuviTag".to_owned() };
        assert_eq!(told().product, Some(product));

        for instance in [0, 1] {
            board.note("fridge", &Said::Alerted(warm(instance)), None);
        }
        board.note("fridge", &cleared(warm(0)), None);
        assert!(!told().alerts["warm"].is_empty());
        board.note("fridge", &cleared(warm(1)), None);
        assert!(told().alerts["warm"].is_empty());

        board.note("fridge", &Said::Pressed { button: 2, action: Action::Press }, None);
        board.note("fridge", &Said::Silent { heard: Uptime::ZERO, usual: None }, None);
        assert!(told().silent && told().buttons.contains(&2));
        board.note("fridge", &cleared(alarm("silent", None)), None);
        assert!(!told().silent && !told().alerts.contains_key("silent"));
    }
}

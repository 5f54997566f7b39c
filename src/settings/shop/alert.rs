//! `[[fixture.alert]]`: what is wrong with a fixture's readings, as its operator says it.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc, time::Duration};

use serde::Deserialize;

use super::{
    super::{Invalid, Span},
    check_id,
};
use crate::engine::{
    AlertRule, Condition,
    frame::{Kind, Quantity},
};

/// `[[fixture.alert]]`: one of `above`, `below`, `is`, `rises_by` and `falls_by`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertSettings {
    /// Its name in the events.
    pub id: String,
    /// What must be measured, like `temperature_c`.
    pub quantity: String,
    /// Wrong above this, in the quantity's unit.
    pub above: Option<f64>,
    /// Wrong below this, in the quantity's unit.
    pub below: Option<f64>,
    /// Wrong while a switch is so.
    pub is: Option<bool>,
    /// Wrong when it has risen by so much.
    pub rises_by: Option<f64>,
    /// Wrong when it has fallen by so much.
    pub falls_by: Option<f64>,
    /// The span in which it rose or fell: 1 minute to a day.
    pub within: Option<Span>,
    /// For how long it must be wrong; at once when left out.
    pub r#for: Option<Span>,
    /// For how long it must be right again; as long as `for` when left out.
    pub clear_after: Option<Span>,
    /// How far from the limit it is right again, in the quantity's unit.
    pub hysteresis: Option<f64>,
}

/// Names that alerts of the gateway's own have.
const TAKEN: [&str; 3] = ["silent", "battery", "refused"];

/// So long may an alert wait at most.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// In how much time a rise or fall counts when nobody says.
const WITHIN: Duration = Duration::from_mins(10);

/// All rules of a fixture.
pub(super) fn build_all(key: &str, rules: &[AlertSettings]) -> Result<Vec<AlertRule>, Invalid> {
    let mut names = BTreeSet::new();
    let mut built = Vec::with_capacity(rules.len());
    for (n, rule) in rules.iter().enumerate() {
        let key = format!("{key}[{n}]");
        if !names.insert(rule.id.as_str()) || TAKEN.contains(&rule.id.as_str()) {
            let allowed = "give each alert of a fixture a name of its own; `silent`, `battery` and \
                           `refused` are the gateway's";
            return Err(Invalid::new(&format!("{key}.id"), format!("`{}`", rule.id), allowed));
        }
        built.push(rule.build(&key)?);
    }
    Ok(built)
}

/// A number within a range; zero when there is none.
pub(super) fn number(
    key: &str,
    found: Option<f64>,
    allowed: RangeInclusive<f64>,
    unit: &str,
) -> Result<f64, Invalid> {
    let found = found.unwrap_or(0.0);
    if allowed.contains(&found) {
        return Ok(found);
    }
    let allowed = format!("allowed are {} to {} {unit}", allowed.start(), allowed.end());
    Err(Invalid::new(key, found.to_string(), allowed.trim_end()))
}

impl AlertSettings {
    fn build(&self, key: &str) -> Result<AlertRule, Invalid> {
        let of = |name: &str| format!("{key}.{name}");
        check_id(&of("id"), &self.id)?;
        let Some(quantity) = Quantity::from_name(&self.quantity) else {
            let allowed = "write a quantity, like `temperature_c` or `door_open`";
            return Err(Invalid::new(&of("quantity"), format!("`{}`", self.quantity), allowed));
        };
        let condition = self.condition(key, quantity)?;
        let hold = span(&of("for"), self.r#for, Duration::ZERO)?;
        let clear_after = span(&of("clear_after"), self.clear_after, hold)?;
        Ok(AlertRule { id: Arc::from(self.id.as_str()), quantity, condition, hold, clear_after })
    }

    fn condition(&self, key: &str, quantity: Quantity) -> Result<Condition, Invalid> {
        let of = |name: &str| format!("{key}.{name}");
        let limit = |name: &str, limit| number(&of(name), Some(limit), -1e9..=1e9, quantity.unit());
        let by = |name: &str, by| number(&of(name), Some(by), 1e-9..=1e9, quantity.unit());
        let slack = self.hysteresis.unwrap_or_else(|| usual_hysteresis(quantity));
        let hysteresis = number(&of("hysteresis"), Some(slack), 0.0..=1e9, quantity.unit())?;
        let within = self.within.map_or(WITHIN, |span| span.0);
        let given = [
            self.above.is_some(),
            self.below.is_some(),
            self.is.is_some(),
            self.rises_by.is_some(),
        ];
        let given = given.iter().filter(|it| **it).count() + usize::from(self.falls_by.is_some());
        let (kind, about) = (quantity.kind(), format!("`{}`", quantity.name()));
        if given != 1 {
            let allowed = "write exactly one of `above`, `below`, `is`, `rises_by`, `falls_by`";
            return Err(Invalid::new(key, format!("given {given} conditions"), allowed));
        }
        if kind == Kind::Event {
            let allowed = "a press is an event of its own, `sensor.pressed`, and needs no alert";
            return Err(Invalid::new(&of("quantity"), about, allowed));
        }
        if (kind == Kind::Switch) != self.is.is_some() {
            let allowed = "write `is = true` or `is = false` for a switch, and for nothing else";
            return Err(Invalid::new(&of("quantity"), about, allowed));
        }
        if !(Duration::from_mins(1)..=Duration::from_hours(24)).contains(&within) {
            let found = self.within.map_or_else(String::new, |span| span.to_string());
            return Err(Invalid::new(&of("within"), found, "allowed are 1m to 24h"));
        }
        if self.within.is_some() && self.rises_by.is_none() && self.falls_by.is_none() {
            let allowed = "only `rises_by` and `falls_by` have a `within`; say how long a limit must be \
                           passed with `for`";
            return Err(Invalid::new(&of("within"), "without them".to_owned(), allowed));
        }
        Ok(match (self.above, self.below, self.is, self.rises_by, self.falls_by) {
            (Some(above), ..) => Condition::Above { limit: limit("above", above)?, hysteresis },
            (_, Some(below), ..) => Condition::Below { limit: limit("below", below)?, hysteresis },
            (_, _, Some(is), ..) => Condition::Is(is),
            (.., Some(rise), _) => Condition::RisesBy { by: by("rises_by", rise)?, within },
            (.., fall) => {
                Condition::FallsBy { by: by("falls_by", fall.unwrap_or_default())?, within }
            }
        })
    }
}

/// A span of a rule, or what holds without it.
fn span(key: &str, span: Option<Span>, or: Duration) -> Result<Duration, Invalid> {
    let found = span.map_or(or, |span| span.0);
    if found > LONGEST {
        return Err(Invalid::new(key, Span(found).to_string(), "allowed is a week at most"));
    }
    Ok(found)
}

/// How far from its limit a value is right again where the operator says nothing: above the noise of
/// common sensors, in the quantity's unit.
fn usual_hysteresis(quantity: Quantity) -> f64 {
    match (quantity.kind(), quantity.unit()) {
        (Kind::Measurement, "°C") => 0.5,
        (Kind::Measurement, "Pa") => 100.0,
        (Kind::Measurement, "V") => 0.05,
        (Kind::Measurement, "ppm") => 50.0,
        (Kind::Measurement, "lx") => 20.0,
        (Kind::Measurement, "%" | "µg/m³") => 3.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<AlertRule, String> {
        let source = config::File::from_str(text, config::FileFormat::Toml);
        let table = config::Config::builder().add_source(source).build().unwrap();
        let settings: AlertSettings = table.try_deserialize().map_err(|error| error.to_string())?;
        build_all("fixture[0].alert", &[settings])
            .map(|mut rules| rules.remove(0))
            .map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn a_limit_has_the_hysteresis_of_its_unit_and_clears_after_as_long_as_it_waits() {
        let text = "id = 'too_warm'\nquantity = 'temperature_c'\nabove = 8\nfor = '10m'";
        let rule = rule(text).unwrap();
        assert_eq!(rule.condition, Condition::Above { limit: 8.0, hysteresis: 0.5 });
        let ten = Duration::from_mins(10);
        assert_eq!((rule.hold, rule.clear_after), (ten, ten));
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused_with_its_key() {
        for (rest, key) in [
            ("quantity = 'temperature'\nabove = 8", "quantity"),
            ("quantity = 'temperature_c'", "fixture[0].alert[0]"),
            ("quantity = 'temperature_c'\nabove = 8\nbelow = 2", "fixture[0].alert[0]"),
            ("quantity = 'temperature_c'\nis = true", "quantity"),
            ("quantity = 'door_open'\nabove = 0.5", "quantity"),
            ("quantity = 'button'\nabove = 0.5", "quantity"),
            ("quantity = 'temperature_c'\nabove = 8\nwithin = '5m'", "within"),
            ("quantity = 'temperature_c'\nrises_by = 3\nwithin = '2s'", "within"),
            ("quantity = 'temperature_c'\nrises_by = -3", "rises_by"),
            ("quantity = 'temperature_c'\nabove = 8\nhysteresis = -1", "hysteresis"),
            ("quantity = 'temperature_c'\nabove = 8\nfor = '8d'", "for"),
            ("quantity = 'temperature_c'\nabove = inf", "above"),
        ] {
            let refused = rule(&format!("id = 'a'\n{rest}")).unwrap_err();
            assert!(refused.contains(key), "{rest}: {refused}");
        }
        let refused = rule("id = 'silent'\nquantity = 'door_open'\nis = true").unwrap_err();
        assert!(refused.contains("alert[0].id"), "{refused}");
    }
}

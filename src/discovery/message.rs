//! How topics and payloads are spelled. Pure.
//!
//! A fixture has one retained document of its own, `…/state/sensor/{fixture}`, from which all its entities
//! pick what is theirs: who comes later has the latest at once. A press is an event that has no state, and
//! is picked out of `…/event/sensor/pressed`. What a template leaves empty Home Assistant ignores, and the
//! entity keeps what it had.

use serde_json::{Map, Value, json};

use super::{
    board::{BATTERY, Product, Told},
    desk::Place,
    entity::{Entity, Shown, capital, is_diagnostic, name_of},
};
use crate::{
    engine::frame::{Action, Quantity},
    uplink::{Name, Topic, Topics},
};

/// The names that stand in topics.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names {
    topics: Topics,
    tenant: Name,
    store: Name,
    gateway: Name,
    prefix: String,
}

impl Names {
    /// Of a gateway; discovery topics begin with the prefix.
    pub fn new((tenant, store, gateway): (Name, Name, Name), prefix: &str) -> Self {
        let topics = Topics::new(tenant.clone(), store.clone(), gateway.clone());
        Self { topics, tenant, store, gateway, prefix: prefix.to_owned() }
    }

    /// Where a fixture's latest is.
    pub(super) fn state_topic(&self, fixture: &str) -> String {
        self.topics.spell(Topic::Fixture(fixture))
    }

    /// Where an entity of a fixture is described.
    pub(super) fn config_topic(&self, fixture: &str, entity: &Entity) -> String {
        let node = node(&[self.store.as_str(), self.gateway.as_str(), fixture]);
        let (component, object) = (component(entity), object_id(entity));
        format!("{}/{component}/{node}/{object}/config", self.prefix)
    }

    /// Where the gateway itself is described.
    pub(super) fn gateway_topic(&self) -> String {
        let node = node(&[self.store.as_str(), self.gateway.as_str()]);
        format!("{}/binary_sensor/{node}/connection/config", self.prefix)
    }

    /// The gateway as a device: that of all fixtures is connected through it.
    pub(super) fn gateway_config(&self) -> Vec<u8> {
        let state = self.topics.spell(Topic::State);
        bytes(&json!({
            "name": "Connection",
            "unique_id": format!("{}/connection", self.gateway_id()),
            "device": {
                "identifiers": [self.gateway_id()],
                "name": format!("{} {}", self.store, self.gateway),
                "model": "beacon-gateway",
                "sw_version": env!("CARGO_PKG_VERSION"),
            },
            "origin": origin(),
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": state,
            "value_template": "{{ 'ON' if value_json.state == 'online' else 'OFF' }}",
        }))
    }

    /// The description of an entity.
    pub(super) fn config(
        &self,
        place: &Place,
        product: Option<&Product>,
        entity: &Entity,
    ) -> Vec<u8> {
        let fixture = place.id.as_str();
        let (id, state_topic) = (self.fixture_id(fixture), self.state_topic(fixture));
        let mut device = object(json!({
            "identifiers": [id],
            "name": fixture,
            "via_device": self.gateway_id(),
        }));
        if let Some(product) = product {
            device.insert("model".into(), product.model.clone().into());
            if let Some(maker) = &product.maker {
                device.insert("manufacturer".into(), maker.clone().into());
            }
        }
        if let Some(zone) = &place.zone {
            device.insert("suggested_area".into(), zone.clone().into());
        }
        let mut config = object(json!({
            "unique_id": format!("{id}/{}", object_id(entity)),
            "device": device,
            "origin": origin(),
            "availability": [
                {
                    "topic": self.topics.spell(Topic::State),
                    "value_template": "{{ value_json.state }}",
                },
                {
                    "topic": state_topic,
                    "value_template": "{{ 'online' if value_json.heard else 'offline' }}",
                },
            ],
            "availability_mode": "all",
        }));
        let own = match entity {
            Entity::Reading(quantity, instance) => reading(*quantity, *instance),
            Entity::Alert(rule) => alert(rule),
            Entity::Button(button) => self.button(fixture, *button),
        };
        config.extend(own);
        config.entry("state_topic").or_insert_with(|| state_topic.into());
        bytes(&Value::Object(config))
    }

    /// What an entity for a button has of its own. One that was pressed long ago, and is told late, is
    /// not pressed now.
    fn button(&self, fixture: &str, button: u8) -> Map<String, Value> {
        let pressed = Topic::Event { family: "sensor", kind: "pressed" };
        let name = if button == 0 {
            "Button".to_owned()
        } else {
            format!("Button {}", u16::from(button) + 1)
        };
        object(json!({
            "name": name,
            "device_class": "button",
            "event_types": Action::names().collect::<Vec<_>>(),
            "state_topic": self.topics.spell(pressed),
            "value_template": format!(
                "{{% if value_json.subject == '{fixture}' and value_json.data.button == {button} \
                 and not value_json.data.historical %}}{{\"event_type\":\"{{{{ value_json.data.action \
                 }}}}\"{{% if value_json.data.steps is defined %}},\"steps\":{{{{ \
                 value_json.data.steps }}}}{{% endif %}}}}{{% endif %}}"
            ),
        }))
    }

    fn gateway_id(&self) -> String {
        format!("beacon-gateway/{}", self.topics.gateway_address())
    }

    fn fixture_id(&self, fixture: &str) -> String {
        format!("{}/{fixture}", self.gateway_id())
    }
}

/// A fixture's latest. Of one that has told nothing yet nothing is known, so that what a dashboard has of
/// it is not available until it does.
pub(super) fn state(place: &Place, told: Option<&Told>) -> Vec<u8> {
    let readings = told.into_iter().flat_map(|told| &told.readings);
    let readings: Map<String, Value> = readings
        .map(|(&(quantity, instance), &value)| (key(quantity, instance), value.into()))
        .collect();
    let stands = |rule: &str| {
        let standing = told.and_then(|told| told.alerts.get(rule));
        standing.is_some_and(|of| !of.is_empty())
    };
    let built_in = told.into_iter().flat_map(|told| told.alerts.keys().map(String::as_str));
    let rules = place.rules.iter().map(String::as_str).chain(built_in);
    let alerts: Map<String, Value> =
        rules.map(|rule| (rule.to_owned(), stands(rule).into())).collect();
    bytes(&json!({
        "fixture": place.id,
        "zone": place.zone,
        "heard": told.is_some_and(|told| !told.silent),
        "readings": readings,
        "alerts": if told.is_some() { alerts } else { Map::new() },
    }))
}

/// What an entity for a reading has of its own.
fn reading(quantity: Quantity, instance: u8) -> Map<String, Value> {
    let (key, shown) = (key(quantity, instance), Shown::of(quantity));
    let mut own = object(json!({"name": name_of(quantity, instance)}));
    if is_diagnostic(quantity) {
        own.insert("entity_category".into(), "diagnostic".into());
    }
    let class = match shown {
        Shown::Sensor { class, state } => {
            let template = format!("{{{{ value_json.readings['{key}'] | default('') }}}}");
            own.insert("value_template".into(), template.into());
            if let Some(state) = state {
                own.insert("state_class".into(), state.into());
            }
            if !quantity.unit().is_empty() {
                own.insert("unit_of_measurement".into(), quantity.unit().into());
            }
            class
        }
        Shown::Binary { class, on } => {
            let template = format!(
                "{{% if '{key}' in value_json.readings %}}{{{{ 'ON' if value_json.readings['{key}'] \
                 == {on} else 'OFF' }}}}{{% endif %}}"
            );
            own.insert("value_template".into(), template.into());
            class
        }
        // Events are no readings.
        Shown::Event => None,
    };
    if let Some(class) = class {
        own.insert("device_class".into(), class.into());
    }
    own
}

/// What an entity for an alert has of its own.
fn alert(rule: &str) -> Map<String, Value> {
    let (name, class) = match rule {
        BATTERY => ("Battery runs out".to_owned(), "battery"),
        rule => (capital(&rule.replace(['_', '-'], " ")), "problem"),
    };
    object(json!({
        "name": name,
        "device_class": class,
        "value_template": format!(
            "{{% if '{rule}' in value_json.alerts %}}{{{{ 'ON' if value_json.alerts['{rule}'] else \
             'OFF' }}}}{{% endif %}}"
        ),
    }))
}

fn component(entity: &Entity) -> &'static str {
    match entity {
        Entity::Reading(quantity, _) => Shown::of(*quantity).component(),
        Entity::Alert(_) => "binary_sensor",
        Entity::Button(_) => "event",
    }
}

fn object_id(entity: &Entity) -> String {
    match entity {
        Entity::Reading(quantity, instance) => key(*quantity, *instance),
        Entity::Alert(rule) => format!("alert_{}", node(&[rule])),
        Entity::Button(button) => format!("button_{button}"),
    }
}

fn key(quantity: Quantity, instance: u8) -> String {
    format!("{}_{instance}", quantity.name())
}

/// Names as one level of a discovery topic, which has letters, digits, `_` and `-` alone (home-assistant.io,
/// "MQTT", discovery topic). Where something had to be replaced, or could be taken for what joins them, a
/// sum of all of them keeps it apart from others.
fn node(names: &[&str]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let joined = names.join("_");
    // Alone, a name has nothing to be joined with.
    let is_plain_alone = |c: char| is_plain(c) || (c == '_' && names.len() == 1);
    if names.iter().all(|name| name.chars().all(is_plain_alone)) {
        return joined;
    }
    let level: String =
        joined.chars().map(|c| if is_plain(c) || c == '_' { c } else { '_' }).collect();
    format!("{level}_{:08x}", crc32fast::hash(names.join("/").as_bytes()))
}

fn origin() -> Value {
    json!({"name": "beacon-gateway", "sw_version": env!("CARGO_PKG_VERSION")})
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn bytes(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let name = |text: &str| text.parse().unwrap();
        Names::new((name("acme"), name("berlin-03"), name("gw1")), "homeassistant")
    }

    fn place(id: &str) -> Place {
        Place { id: id.to_owned(), zone: Some("dairy".to_owned()), rules: vec!["warm".to_owned()] }
    }

    fn config(entity: &Entity) -> Value {
        let product = Product { maker: Some("Ruuvi".to_owned()), model: "RuuviTag".to_owned() };
        let config = names().config(&place("fridge-1"), Some(&product), entity);
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["origin"]["sw_version"].take(), env!("CARGO_PKG_VERSION"));
        config
    }

    #[test]
    fn a_temperature_is_described_as_home_assistant_wants_it() {
        let entity = Entity::Reading(Quantity::TemperatureC, 0);
        assert_eq!(
            names().config_topic("fridge-1", &entity),
            "homeassistant/sensor/berlin-03_gw1_fridge-1/temperature_c_0/config"
        );
        insta::assert_json_snapshot!(config(&entity));
    }

    #[test]
    fn a_door_an_alert_and_a_button_are_described_as_what_they_are() {
        insta::assert_json_snapshot!([
            config(&Entity::Reading(Quantity::DoorOpen, 0)),
            config(&Entity::Alert("warm".to_owned())),
            config(&Entity::Button(1)),
        ]);
    }

    #[test]
    fn every_description_is_small_and_names_what_its_document_has() {
        for quantity in Quantity::ALL {
            let entity = match Shown::of(quantity) {
                Shown::Event => Entity::Button(0),
                Shown::Sensor { .. } | Shown::Binary { .. } => Entity::Reading(quantity, 3),
            };
            let longest = "x".repeat(64);
            let payload = names().config(&place(&longest), None, &entity);
            assert!(payload.len() < 2048, "{}: {}", quantity.name(), payload.len());
            let config: Value = serde_json::from_slice(&payload).unwrap();
            for key in ["name", "unique_id", "state_topic", "value_template", "device", "origin"] {
                assert!(!config[key].is_null(), "{} has no {key}", quantity.name());
            }
        }
    }

    #[test]
    fn a_document_has_the_latest_and_an_unheard_fixture_has_none() {
        let mut told = Told::default();
        told.readings.insert((Quantity::TemperatureC, 0), 4.25);
        told.readings.insert((Quantity::DoorOpen, 0), 1.0);
        told.alerts.entry("battery".to_owned()).or_default().insert(None);
        let read = |told| -> Value { serde_json::from_slice(&state(&place("f"), told)).unwrap() };
        let document = read(Some(&told));
        assert_eq!(document["readings"]["temperature_c_0"], 4.25);
        assert_eq!(document["alerts"], json!({"battery": true, "warm": false}));
        assert_eq!(document["heard"], true);
        assert_eq!(read(None)["heard"], false);
        assert_eq!(read(None)["readings"], json!({}));
    }

    #[test]
    fn an_alert_keeps_the_name_that_its_operator_gave_it() {
        for (rule, topic) in
            [("too_warm", "alert_too_warm"), ("too.warm", "alert_too_warm_26626f46")]
        {
            assert_eq!(object_id(&Entity::Alert(rule.to_owned())), topic);
        }
    }

    #[test]
    fn levels_have_only_what_home_assistant_allows_and_different_names_stay_apart() {
        assert_eq!(node(&["berlin-03", "gw1", "fridge-1"]), "berlin-03_gw1_fridge-1");
        let odd: Vec<String> = [["a_b", "c"], ["a", "b_c"], ["a.b", "c"], ["kühl", "c"]]
            .iter()
            .map(|names| node(names))
            .chain([node(&["a", "b", "c"])])
            .collect();
        for (n, one) in odd.iter().enumerate() {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            assert!(one.chars().all(allowed), "{one}");
            assert!(odd.iter().skip(n + 1).all(|other| other != one), "{one}");
        }
    }
}

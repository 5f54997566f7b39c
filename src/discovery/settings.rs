//! `[discovery]`: whether Home Assistant is told of the shop's sensors.

use serde::{Deserialize, Serialize};

use crate::{
    settings::{Invalid, Role},
    uplink::Name,
};

/// `[discovery]`: what is published for programs that show sensors.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether Home Assistant is told of the fixtures.
    pub home_assistant: bool,
    /// What its discovery topics begin with.
    pub home_assistant_prefix: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { home_assistant: false, home_assistant_prefix: "homeassistant".to_owned() }
    }
}

impl Settings {
    /// Checks the section, for a gateway of that role.
    pub fn check(&self, role: Role) -> Result<(), Invalid> {
        let prefix = &self.home_assistant_prefix;
        if !prefix.split('/').all(|level| level.parse::<Name>().is_ok()) {
            let allowed = "write one or more levels of a topic, like `homeassistant`, without `+`, `#` \
                           and spaces, and no `/` at either end";
            let key = "discovery.home_assistant_prefix";
            return Err(Invalid::new(key, format!("`{prefix}`"), allowed));
        }
        if self.home_assistant && role != Role::Gateway {
            let allowed = "let the lead tell: two gateways would show each sensor twice";
            let found = format!("`true` in a {}", role.name());
            return Err(Invalid::new("discovery.home_assistant", found, allowed));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_levels_of_a_topic_and_only_a_gateway_tells() {
        let settings = |prefix: &str, home_assistant| Settings {
            home_assistant_prefix: prefix.to_owned(),
            home_assistant,
        };
        for prefix in ["homeassistant", "shops/ha"] {
            assert!(settings(prefix, true).check(Role::Gateway).is_ok());
        }
        for prefix in ["", "/ha", "ha/", "ha/#", "h a", "$SYS"] {
            let message = settings(prefix, false).check(Role::Gateway).unwrap_err().to_string();
            assert!(message.contains("discovery.home_assistant_prefix"), "{message}");
        }
        for role in [Role::Receiver, Role::Standby] {
            assert!(settings("ha", false).check(role).is_ok());
            let message = settings("ha", true).check(role).unwrap_err().to_string();
            assert!(message.contains("`discovery.home_assistant`"), "{message}");
        }
    }
}

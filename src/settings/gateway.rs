//! `[gateway]`: who this gateway is, what it is beside others, and what follows for its topics. Only a
//! few of the settings go with each role.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Invalid, OpeningHoursText, Settings, Span, one_of};
use crate::{discovery, engine::Tenant, remote, uplink};

/// `[gateway]`: who this gateway is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// The chain or company, as it stands in the topics. No default: two gateways with one name
    /// would speak over each other.
    pub tenant: String,
    /// The shop.
    pub store: String,
    /// The gateway in the shop.
    pub name: String,
    /// What it is beside other gateways of the shop.
    pub role: Role,
    /// Where events, open visits and the epoch are kept. Under systemd its `StateDirectory` wins
    /// over the default.
    pub state_dir: PathBuf,
    /// The shop's time zone, for `local_time` and opening hours: a name of the tz database.
    pub time_zone: String,
    /// When the shop is open, like `["mon-sat 08:00-20:00", "sun 10:00-16:00"]`; empty leaves
    /// `open` out of the events.
    pub opening_hours: Vec<OpeningHoursText>,
    /// When the wall clock is believed.
    pub clock: ClockTrust,
    /// For how long the time is believed after the time source was last heard, at most `30d`.
    pub clock_holdover: Span,
    /// How long a clean stop may take in all before what remains is left to the next start.
    pub shutdown_grace: Span,
}

/// What a gateway is beside other gateways of its shop.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum Role {
    /// It makes events of what it hears, and of what others hear for it.
    #[default]
    Gateway,
    /// It tells another gateway which members it hears, and makes no events of them.
    Receiver,
    /// It makes events while another gateway, which otherwise does, is dead.
    Standby,
}

/// When the wall clock is believed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum ClockTrust {
    /// While the kernel says that it follows a time source.
    #[default]
    Synced,
    /// Always: the machine has a clock of its own that runs without power.
    Always,
}

impl Role {
    const ALL: [(&'static str, Self); 3] =
        [("gateway", Self::Gateway), ("receiver", Self::Receiver), ("standby", Self::Standby)];

    /// The name used in the configuration and in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Receiver => "receiver",
            Self::Standby => "standby",
        }
    }
}

impl TryFrom<String> for Role {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &Self::ALL)
    }
}

impl TryFrom<String> for ClockTrust {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("synced", Self::Synced), ("always", Self::Always)])
    }
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            tenant: String::new(),
            store: String::new(),
            name: String::new(),
            role: Role::Gateway,
            state_dir: PathBuf::from("/var/lib/beacon-gateway"),
            time_zone: "UTC".to_owned(),
            opening_hours: Vec::new(),
            clock: ClockTrust::Synced,
            clock_holdover: Span::secs(7 * 86_400),
            shutdown_grace: Span::secs(10),
        }
    }
}

impl Settings {
    /// Checks what only some roles may have.
    pub(super) fn check_role(&self) -> Result<(), Invalid> {
        let relay = &self.relay;
        if self.gateway.role != Role::Receiver {
            let is_set = !relay.seal_key_file.as_os_str().is_empty() || !relay.broker.is_empty();
            let allowed = "leave it out, or say `gateway.role = \"receiver\"`";
            return if is_set { Err(Invalid::new("relay", "set", allowed)) } else { Ok(()) };
        }
        relay.check(&self.uplink)?;
        if self.footfall.enabled {
            let allowed = "switch it off: a receiver tells nobody of strangers, not even how many";
            return Err(Invalid::new("footfall.enabled", "`true` in a receiver", allowed));
        }
        for (n, remote) in self.remote.iter().enumerate() {
            if remote.format == Some(remote::Format::BeaconGateway) {
                let allowed = "let it tell the lead by itself; a receiver passes nothing on";
                let key = format!("remote[{n}].format");
                return Err(Invalid::new(&key, "`beacon-gateway` in a receiver", allowed));
            }
        }
        Ok(())
    }

    /// Checks what belongs to a pair of gateways.
    pub(super) fn check_standby(&self) -> Result<(), Invalid> {
        let role = self.gateway.role;
        if !self.standby.is_on() {
            let allowed = "name the gateway that it stands by for (docs/several-gateways.md)";
            return match role {
                Role::Standby => Err(Invalid::new("standby.peer", "empty in a standby", allowed)),
                Role::Gateway | Role::Receiver => Ok(()),
            };
        }
        self.peer_topics()?;
        self.standby.check(&self.gateway.name)?;
        if role == Role::Receiver {
            let allowed = "leave it out: a receiver makes no events; a second one hears as well";
            return Err(Invalid::new("standby.peer", "set in a receiver", allowed));
        }
        if role == Role::Standby && self.footfall.enabled {
            let allowed = "switch it off: the lead counts, and what two count cannot be added up";
            return Err(Invalid::new("footfall.enabled", "`true` in a standby", allowed));
        }
        Ok(())
    }

    /// The names in what Home Assistant is told.
    pub fn discovery_names(&self) -> Result<discovery::Names, Invalid> {
        let gateway = &self.gateway;
        let names = (
            name("gateway.tenant", &gateway.tenant)?,
            name("gateway.store", &gateway.store)?,
            name("gateway.name", &gateway.name)?,
        );
        Ok(discovery::Names::new(names, &self.discovery.home_assistant_prefix))
    }

    /// The topics of the other gateway of a pair.
    pub fn peer_topics(&self) -> Result<uplink::Topics, Invalid> {
        let gateway = &self.gateway;
        Ok(uplink::Topics::new(
            name("gateway.tenant", &gateway.tenant)?,
            name("gateway.store", &gateway.store)?,
            name("standby.peer", &self.standby.peer)?,
        ))
    }

    /// The tenant as apps know it.
    pub(super) fn tenant(&self) -> Result<Tenant, Invalid> {
        let name = self.gateway.tenant.as_str();
        Tenant::new(name).ok_or_else(|| {
            let most = Tenant::LONGEST;
            let allowed = format!("at most {most} octets in UTF-8 fit what apps derive from it");
            Invalid::new("gateway.tenant", format!("{} octets", name.len()), &allowed)
        })
    }

    /// The topics of this gateway.
    pub fn topics(&self) -> Result<uplink::Topics, Invalid> {
        let gateway = &self.gateway;
        Ok(uplink::Topics::new(
            name("gateway.tenant", &gateway.tenant)?,
            name("gateway.store", &gateway.store)?,
            name("gateway.name", &gateway.name)?,
        ))
    }

    /// The shop's time zone.
    pub fn time_zone(&self) -> Result<jiff::tz::TimeZone, Invalid> {
        let name = &self.gateway.time_zone;
        if name == "UTC" {
            return Ok(jiff::tz::TimeZone::UTC);
        }
        jiff::tz::TimeZone::get(name).map_err(|_| {
            let allowed =
                "write a name of the tz database, like `Europe/Berlin` (package `tzdata`)";
            Invalid::new("gateway.time_zone", format!("`{name}`"), allowed)
        })
    }

    /// When the shop is open.
    pub fn opening_hours(&self) -> Result<Vec<uplink::payload::OpeningHours>, Invalid> {
        let parse = |text: &OpeningHoursText| {
            text.parse().ok_or_else(|| {
                let allowed =
                    "write days and times, like `mon-sat 08:00-20:00` or `sun 10:00-16:00`";
                Invalid::new("gateway.opening_hours", format!("`{}`", text.0), allowed)
            })
        };
        self.gateway.opening_hours.iter().map(parse).collect()
    }
}

/// A level of the gateway's topics.
pub(super) fn name(key: &str, text: &str) -> Result<uplink::Name, Invalid> {
    text.parse().map_err(|_| {
        let allowed = "write 1 to 64 characters without spaces, `/`, `+` and `#`, and no `$` in front; \
                       it becomes a level of every topic";
        let found = if text.is_empty() { "empty".to_owned() } else { format!("`{text}`") };
        Invalid::new(key, found, allowed)
    })
}

//! The configuration: layered, checked, and handed room by room to those who own it.
//!
//! Built-in defaults, then each file in the order given, then `BEACON_GATEWAY__SECTION__KEY` from
//! the environment, then flags. A key that does not exist is an error, as is a value that makes no
//! sense; each error names where it stands, what was found and what is allowed.

mod bind_key;
mod calibration;
mod decoders;
mod floor;
mod footfall;
mod load;
mod shop;
mod units;

pub use calibration::{Calibrated, ZonesSection};
pub use decoders::{DecoderError, read_decoders};
pub use floor::{Floor, FloorSection, ReceiverSettings, WallSettings, ZoneKind};
pub use footfall::FootfallSection;
pub use load::{LoadError, Loader};
pub(crate) use shop::check_id;
pub use shop::{FixtureSettings, OpeningHoursText, ReportSettings, ZoneSettings};
pub(crate) use units::one_of;
pub use units::{ByteSize, NotAQuantity, Span};

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    command, discovery,
    engine::{
        Fixture, IdentitySettings, PresenceSettings as EnginePresence, ReceiverId, Tenant, Zone,
        ZoneId,
        frame::{TokenUuid, sensor::OwnDecoders},
    },
    forget, outbox, relay, remote, scan, standby, uplink,
};

/// Everything that can be configured.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who this gateway is.
    pub gateway: GatewaySettings,
    /// How it listens.
    pub scan: scan::Settings,
    /// The receivers that it hears by way of a broker.
    pub remote: Vec<remote::Settings>,
    /// Where a receiver sends what it hears.
    pub relay: relay::Settings,
    /// The other gateway of a pair.
    pub standby: standby::Settings,
    /// Whom it recognises.
    pub identity: IdentitySection,
    /// When somebody counts as present.
    pub presence: PresenceSection,
    /// The areas of the shop.
    pub zone: Vec<ZoneSettings>,
    /// What was found out about them.
    pub zones: ZonesSection,
    /// What the file says that `zones.calibration` names.
    #[serde(skip)]
    pub calibrated: Option<Calibrated>,
    /// What the files say that `identity.decoders` names.
    #[serde(skip)]
    pub own_decoders: OwnDecoders,
    /// Where the receivers hang.
    pub receiver: Vec<ReceiverSettings>,
    /// How signals fall with distance.
    pub floor: FloorSection,
    /// What stands in the way of people and signals.
    pub wall: Vec<WallSettings>,
    /// The shop's own sensors and reference beacons.
    pub fixture: Vec<FixtureSettings>,
    /// Counting everybody, anonymously.
    pub footfall: FootfallSection,
    /// How events are kept.
    pub outbox: outbox::Settings,
    /// Where events go.
    pub uplink: uplink::Settings,
    /// What is published for programs that show sensors.
    pub discovery: discovery::Settings,
    /// Whose commands are obeyed.
    pub command: command::Settings,
    /// What it tells about itself.
    pub health: HealthSettings,
    /// What it writes to the log.
    pub log: LogSettings,
}

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

/// `[identity]`: whom the gateway recognises.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentitySection {
    /// The registry file, JSON Lines; empty means that nobody is enrolled. Read again on SIGHUP.
    pub registry: PathBuf,
    /// How many false recognitions a day a single matching resolvable address may be expected to
    /// cause, 0 to 1000. While more are expected, a second address must confirm the first.
    pub irk_max_false_per_day: f64,
    /// How many strangers' resolvable addresses a day to reckon with until a day was measured.
    pub irk_strangers_per_day: f64,
    /// How many keys may be tried against strangers' rotating addresses a second, 10000 to
    /// 1000000000.
    pub irk_checks_per_second: u32,
    /// How far an Eddystone-EID beacon's clock may be off, to either side, at most `24h`.
    pub eid_window: Span,
    /// How far to search for identities that rotate, to either side, while the clock is not synced,
    /// at most `7d`.
    pub wide_window: Span,
    /// The 16-bit service UUID that the operator owns and apps send their tokens under, like
    /// `"fc12"`; empty means the built-in 128-bit one alone.
    pub service_token_uuid: String,
    /// A folder of decoders for sensors that are not built in (docs/sensors.md); empty for none. A
    /// relative name counts from the folder of the configuration that says it.
    pub decoders: PathBuf,
}

/// `[presence]`: when somebody counts as present.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PresenceSection {
    /// At least this loud to enter a zone, in dBm, unless the zone says otherwise.
    pub enter_rssi: f64,
    /// Below this to leave a zone, in dBm, unless the zone says otherwise.
    pub exit_rssi: f64,
    /// Time constant of the signal's smoothing.
    pub smoothing: Span,
    /// How long a signal must stay below `exit_rssi`.
    pub exit_delay: Span,
    /// Unseen for this long, somebody has left, unless the tag is a slow one.
    pub exit_timeout: Span,
    /// Unseen for this long, even a slow tag has left.
    pub exit_timeout_max: Span,
    /// How many of its own advertising intervals a tag may be silent, 2 to 100.
    pub exit_after_missed: u32,
    /// After how long a stay in a zone is reported as dwelling, unless the zone says otherwise.
    pub loitering: Vec<Span>,
    /// How often the checkpoint of an open visit is refreshed on disk.
    pub checkpoint_interval: Span,
    /// After a restart, a visit seen at most this long ago goes on.
    pub resume_within: Span,
    /// Who comes back within this of having been found to have left goes on with the visit, at most
    /// `1h`; `0s` ends visits at once.
    pub merge_gap: Span,
    /// A tag that was heard for this long without moving was left behind, `10m` to `7d`; `0s`: never.
    pub left_behind_after: Span,
    /// What decides in which zone somebody is.
    pub zones_by: ZonesBy,
}

/// `zones_by` of `[presence]`: what decides in which zone somebody is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum ZonesBy {
    /// The floor plan where it is good enough, thresholds otherwise.
    #[default]
    Auto,
    /// Thresholds, whatever is known of the floor.
    Thresholds,
}

/// `[health]`: what the gateway tells about itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSettings {
    /// How often the counters are published on the metrics topic.
    pub metrics_interval: Span,
    /// How often the retained state document is refreshed.
    pub state_interval: Span,
}

/// `[log]`: what is written to standard error, where systemd's journal takes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: LogLevel,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogLevel {
    /// Data was lost or a human is needed.
    Error,
    /// Something was unexpected, nothing was lost.
    Warn,
    /// An action was completed.
    #[default]
    Info,
    /// What leads to a decision.
    Debug,
    /// Everything, still without a stranger's address.
    Trace,
}

/// A value that makes no sense.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{key}` is {found}; {allowed}")]
pub struct Invalid {
    /// The key, with its section.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

impl Invalid {
    pub(crate) fn new(key: &str, found: impl Into<String>, allowed: &str) -> Self {
        Self { key: key.to_owned(), found: found.into(), allowed: allowed.to_owned() }
    }
}

// === defaults ===

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

impl TryFrom<String> for ZonesBy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("auto", Self::Auto), ("thresholds", Self::Thresholds)])
    }
}

impl TryFrom<String> for LogLevel {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let levels = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
        let words = ["error", "warn", "info", "debug", "trace"];
        let words: Vec<(&str, Self)> = words.into_iter().zip(levels).collect();
        one_of(&text, &words)
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

impl Default for IdentitySection {
    fn default() -> Self {
        let engine = IdentitySettings::default();
        Self {
            registry: PathBuf::new(),
            irk_max_false_per_day: engine.irk_max_false_per_day,
            irk_strangers_per_day: engine.irk_strangers_per_day,
            irk_checks_per_second: engine.irk_checks_per_second,
            eid_window: Span(engine.eid_window),
            wide_window: Span(engine.wide_window),
            service_token_uuid: String::new(),
            decoders: PathBuf::new(),
        }
    }
}

impl Default for PresenceSection {
    fn default() -> Self {
        Self {
            enter_rssi: -75.0,
            exit_rssi: -85.0,
            smoothing: Span::secs(3),
            exit_delay: Span::secs(10),
            exit_timeout: Span::secs(30),
            exit_timeout_max: Span::secs(600),
            exit_after_missed: 6,
            loitering: vec![Span::secs(60), Span::secs(300)],
            checkpoint_interval: Span::secs(60),
            resume_within: Span::secs(300),
            merge_gap: Span::secs(120),
            left_behind_after: Span::secs(4 * 3600),
            zones_by: ZonesBy::Auto,
        }
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { metrics_interval: Span::secs(60), state_interval: Span::secs(300) }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: LogLevel::Info }
    }
}

// === checks ===

/// The zone there is when none is configured.
const WHOLE_SHOP: &str = "shop";

const RSSI: &str = "allowed are -127 to 20 dBm";

impl Settings {
    /// Checks what every command relies on; the first thing that makes no sense is the error.
    pub fn check(&self) -> Result<(), Invalid> {
        let (holdover, month) = (self.gateway.clock_holdover, Span::secs(30 * 86_400));
        between("gateway.clock_holdover", holdover, Span::secs(0), month)?;
        self.presence.check()?;
        self.identity.check()?;
        self.footfall.check()?;
        self.tenant()?;
        self.scan.check()?;
        remote::check(&self.remote, &self.uplink, &self.scan.receiver_ids())?;
        self.outbox.validate()?;
        self.command.validate()?;
        self.discovery.check(self.gateway.role)?;
        self.health.check()?;
        self.check_zones()?;
        self.check_floor()?;
        self.fixtures()?;
        Ok(())
    }

    /// Checks what only a gateway that delivers events needs besides.
    pub fn check_gateway(&self) -> Result<(), Invalid> {
        let names = [
            ("gateway.tenant", &self.gateway.tenant),
            ("gateway.store", &self.gateway.store),
            ("gateway.name", &self.gateway.name),
        ];
        for (key, name) in names {
            self::name(key, name)?;
        }
        if self.gateway.name == "registry" {
            let allowed = "choose another name; this level of the topics is the store's registry";
            return Err(Invalid::new("gateway.name", "`registry`", allowed));
        }
        self.time_zone()?;
        self.opening_hours()?;
        self.uplink.validate()?;
        let topics = self.topics()?;
        for (n, remote) in self.remote.iter().enumerate() {
            remote.check_bond(n, &topics)?;
        }
        self.check_role()?;
        self.check_standby()?;
        if self.receiver_ids().is_empty() {
            let allowed = "which hears nothing; say \"bluez\" or \"hci\", or add a [[remote]]";
            return Err(Invalid::new("scan.backend", "`none` without a [[remote]]", allowed));
        }
        Ok(())
    }

    /// Checks what only some roles may have.
    fn check_role(&self) -> Result<(), Invalid> {
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
    fn check_standby(&self) -> Result<(), Invalid> {
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

    /// The names of all receivers, the local ones first.
    pub fn receiver_ids(&self) -> Vec<ReceiverId> {
        let remote = self.remote.iter().map(remote::Settings::receiver_id);
        self.scan.receiver_ids().into_iter().chain(remote).collect()
    }

    /// The lines to the brokers of remote receivers. `credentials` is systemd's directory of them.
    pub fn remote_groups(&self, credentials: Option<&Path>) -> Vec<remote::Group> {
        remote::groups(&self.remote, &self.uplink, credentials, self.suspect_after().0)
    }

    /// The tenant as apps know it.
    fn tenant(&self) -> Result<Tenant, Invalid> {
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

    /// The fixtures, without their keys.
    pub fn fixtures(&self) -> Result<Vec<Fixture>, Invalid> {
        let zones = self.zones();
        (0..).zip(&self.fixture).map(|(n, fixture)| fixture.build(n, &zones)).collect()
    }

    /// The fixtures, as the engine takes them. `credentials` is systemd's directory of them, where keys
    /// may be. Blocks.
    pub fn fixtures_with_keys(&self, credentials: Option<&Path>) -> Result<Vec<Fixture>, Invalid> {
        let mut fixtures = self.fixtures()?;
        for (n, (built, said)) in fixtures.iter_mut().zip(&self.fixture).enumerate() {
            said.give_key(n, credentials, built)?;
        }
        forget::burn_stack();
        Ok(fixtures)
    }

    /// The settings of the presence room, zones included.
    pub fn presence(&self) -> EnginePresence {
        let presence = &self.presence;
        let zones = self.zones();
        EnginePresence {
            floor: self.presence_floor(&zones),
            private: self.private(),
            zones,
            receivers: self.receiver_ids(),
            smoothing: presence.smoothing.0,
            exit_delay: presence.exit_delay.0,
            exit_timeout: presence.exit_timeout.0,
            exit_timeout_max: presence.exit_timeout_max.0.max(presence.exit_timeout.0),
            exit_after_missed: presence.exit_after_missed,
            checkpoint_interval: presence.checkpoint_interval.0,
            resume_within: presence.resume_within.0,
            merge_gap: presence.merge_gap.0,
            left_behind_after: presence.left_behind_after.0,
        }
    }

    /// The settings of the live source.
    pub fn live(&self) -> scan::live::LiveSettings {
        self.scan.live(self.suspect_after())
    }

    /// Presence may go on for two thirds of its exit timeout without anything being heard.
    fn suspect_after(&self) -> Span {
        Span(self.presence.exit_timeout.0 * 2 / 3)
    }

    /// The settings of the identity room.
    pub fn identity(&self) -> IdentitySettings {
        IdentitySettings {
            irk_max_false_per_day: self.identity.irk_max_false_per_day,
            irk_strangers_per_day: self.identity.irk_strangers_per_day,
            irk_checks_per_second: self.identity.irk_checks_per_second,
            eid_window: self.identity.eid_window.0,
            wide_window: self.identity.wide_window.0,
            tenant: self.tenant().unwrap_or_default(),
            token_uuid: self.identity.token_uuid().unwrap_or_default(),
            decoders: self.own_decoders,
        }
    }

    /// The zones that may be named; the whole shop when there are none.
    fn zones(&self) -> Vec<Zone> {
        let named = self.zone.iter().filter(|zone| zone.kind != ZoneKind::Private);
        let mut zones: Vec<Zone> = named.map(|zone| self.zone(zone)).collect();
        if zones.is_empty() {
            let whole_shop = ZoneSettings { id: WHOLE_SHOP.to_owned(), ..ZoneSettings::default() };
            zones.push(self.zone(&whole_shop));
        }
        zones
    }

    fn zone(&self, zone: &ZoneSettings) -> Zone {
        let presence = &self.presence;
        let loitering = zone.loitering.as_ref().unwrap_or(&presence.loitering);
        let mut loitering: Vec<_> = loitering.iter().map(|span| span.0).collect();
        loitering.sort_unstable();
        loitering.dedup();
        Zone {
            id: ZoneId::new(&zone.id),
            enter_rssi: zone.enter_rssi.unwrap_or(presence.enter_rssi),
            exit_rssi: zone.exit_rssi.unwrap_or_else(|| {
                // Who moves one threshold keeps the distance between the two.
                zone.enter_rssi.map_or(presence.exit_rssi, |enter| {
                    enter - (presence.enter_rssi - presence.exit_rssi)
                })
            }),
            loitering,
            receivers: zone.receivers.iter().map(|name| ReceiverId::new(name)).collect(),
        }
    }

    fn check_zones(&self) -> Result<(), Invalid> {
        let mut seen: Vec<&str> = Vec::new();
        for (n, zone) in self.zone.iter().enumerate() {
            let key = |key: &str| format!("zone[{n}].{key}");
            shop::check_id(&key("id"), &zone.id)?;
            if seen.contains(&zone.id.as_str()) {
                let found = format!("`{}`", zone.id);
                return Err(Invalid::new(
                    &key("id"),
                    found,
                    "which is taken; give each zone an id of its own",
                ));
            }
            seen.push(&zone.id);
            for receiver in &zone.receivers {
                let known = self.known_receivers();
                if !known.iter().any(|it| it.as_str() == receiver) {
                    let names: Vec<&str> = known.iter().map(ReceiverId::as_str).collect();
                    let allowed = format!("the receivers are: {}", names.join(", "));
                    return Err(Invalid::new(&key("receivers"), format!("`{receiver}`"), &allowed));
                }
            }
        }
        for (n, zone) in self.zone.iter().map(|zone| self.zone(zone)).enumerate() {
            let key = |key: &str| format!("zone[{n}].{key}");
            rssi(&key("enter_rssi"), zone.enter_rssi)?;
            rssi(&key("exit_rssi"), zone.exit_rssi)?;
            below(&key("exit_rssi"), zone.exit_rssi, zone.enter_rssi)?;
        }
        Ok(())
    }
}

impl HealthSettings {
    fn check(&self) -> Result<(), Invalid> {
        let intervals = [
            ("health.metrics_interval", self.metrics_interval),
            ("health.state_interval", self.state_interval),
        ];
        for (key, found) in intervals {
            if found < Span::millis(100) {
                return Err(Invalid::new(key, found.to_string(), "allowed is `100ms` or more"));
            }
        }
        Ok(())
    }
}

impl PresenceSection {
    fn check(&self) -> Result<(), Invalid> {
        rssi("presence.enter_rssi", self.enter_rssi)?;
        rssi("presence.exit_rssi", self.exit_rssi)?;
        below("presence.exit_rssi", self.exit_rssi, self.enter_rssi)?;
        let spans = [
            ("presence.smoothing", self.smoothing, Span::millis(0), Span::secs(60)),
            ("presence.exit_delay", self.exit_delay, Span::millis(0), Span::secs(600)),
            ("presence.exit_timeout", self.exit_timeout, Span::secs(2), Span::secs(3600)),
            ("presence.exit_timeout_max", self.exit_timeout_max, Span::secs(2), Span::secs(86_400)),
            (
                "presence.checkpoint_interval",
                self.checkpoint_interval,
                Span::secs(1),
                Span::secs(3600),
            ),
            ("presence.resume_within", self.resume_within, Span::secs(0), Span::secs(86_400)),
            ("presence.merge_gap", self.merge_gap, Span::secs(0), Span::secs(3600)),
        ];
        for (key, found, least, most) in spans {
            between(key, found, least, most)?;
        }
        let (least, most) = (Span::secs(600), Span::secs(7 * 86_400));
        if self.left_behind_after != Span::secs(0)
            && !(least..=most).contains(&self.left_behind_after)
        {
            let found = self.left_behind_after.to_string();
            let allowed = "allowed are 10m to 7d, and 0s for never";
            return Err(Invalid::new("presence.left_behind_after", found, allowed));
        }
        if !(2..=100).contains(&self.exit_after_missed) {
            return Err(Invalid::new(
                "presence.exit_after_missed",
                self.exit_after_missed.to_string(),
                "allowed are 2 to 100",
            ));
        }
        Ok(())
    }
}

impl IdentitySection {
    fn check(&self) -> Result<(), Invalid> {
        let bounds = [
            ("identity.irk_max_false_per_day", self.irk_max_false_per_day, 1000.0),
            ("identity.irk_strangers_per_day", self.irk_strangers_per_day, 1e9),
        ];
        for (key, found, most) in bounds {
            if !(0.0..=most).contains(&found) {
                return Err(Invalid::new(
                    key,
                    found.to_string(),
                    &format!("allowed are 0 to {most}"),
                ));
            }
        }
        if !(10_000..=1_000_000_000).contains(&self.irk_checks_per_second) {
            return Err(Invalid::new(
                "identity.irk_checks_per_second",
                self.irk_checks_per_second.to_string(),
                "allowed are 10000 to 1000000000",
            ));
        }
        between("identity.eid_window", self.eid_window, Span::secs(0), Span::secs(86_400))?;
        between("identity.wide_window", self.wide_window, Span::secs(0), Span::secs(7 * 86_400))?;
        self.token_uuid().map(drop)
    }

    /// The operator's own UUID for service tokens, if one is set.
    fn token_uuid(&self) -> Result<Option<TokenUuid>, Invalid> {
        let text = self.service_token_uuid.as_str();
        if text.is_empty() {
            return Ok(None);
        }
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let is_hex = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let uuid = u16::from_str_radix(digits, 16).ok().filter(|_| is_hex);
        uuid.and_then(TokenUuid::new).map(Some).ok_or_else(|| {
            Invalid::new(
                "identity.service_token_uuid",
                format!("`{text}`"),
                "write the four hexadecimal digits of a 16-bit UUID that you own, like `fc12`, and \
                 none that has another meaning here; or leave it empty",
            )
        })
    }
}

/// A level of the gateway's topics.
fn name(key: &str, text: &str) -> Result<uplink::Name, Invalid> {
    text.parse().map_err(|_| {
        let allowed = "write 1 to 64 characters without spaces, `/`, `+` and `#`, and no `$` in front; \
                       it becomes a level of every topic";
        let found = if text.is_empty() { "empty".to_owned() } else { format!("`{text}`") };
        Invalid::new(key, found, allowed)
    })
}

impl From<outbox::InvalidSetting> for Invalid {
    fn from(invalid: outbox::InvalidSetting) -> Self {
        let outbox::InvalidSetting { key, found, allowed } = invalid;
        Self::new(&format!("outbox.{key}"), found, &format!("allowed is {allowed}"))
    }
}

impl From<uplink::SettingsError> for Invalid {
    fn from(invalid: uplink::SettingsError) -> Self {
        let uplink::SettingsError { key, found, allowed } = invalid;
        Self::new(key, found, &format!("allowed: {allowed}"))
    }
}

impl From<command::SettingsError> for Invalid {
    fn from(invalid: command::SettingsError) -> Self {
        let command::SettingsError { key, found, allowed } = invalid;
        Self::new(&key, found, &format!("allowed: {allowed}"))
    }
}

fn rssi(key: &str, dbm: f64) -> Result<(), Invalid> {
    if (-127.0..=20.0).contains(&dbm) {
        Ok(())
    } else {
        Err(Invalid::new(key, dbm.to_string(), RSSI))
    }
}

fn below(key: &str, exit: f64, enter: f64) -> Result<(), Invalid> {
    if exit < enter {
        return Ok(());
    }
    let allowed = format!("it must be lower than `enter_rssi`, which is {enter} dBm");
    Err(Invalid::new(key, exit.to_string(), &allowed))
}

/// Checks that a span lies between two others, both inclusive.
pub(crate) fn between(key: &str, found: Span, least: Span, most: Span) -> Result<(), Invalid> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(Invalid::new(key, found.to_string(), &format!("allowed are {least} to {most}")))
}

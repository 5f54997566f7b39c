//! The configuration: layered, checked, and handed room by room to those who own it.
//!
//! Built-in defaults, then each file in the order given, then `BEACON_GATEWAY__SECTION__KEY` from
//! the environment, then flags. A key that does not exist is an error, as is a value that makes no
//! sense; each error names where it stands, what was found and what is allowed.
//!
//! What a section means to its room stands in a file of its name, here or in the room; this file has
//! the list of them, and the checks that concern all of it.

mod bind_key;
mod calibration;
mod decoders;
mod floor;
mod footfall;
mod gateway;
mod health;
mod identity;
mod invalid;
mod load;
mod presence;
mod shop;
mod units;

pub use calibration::{Calibrated, ZonesSection};
pub use decoders::{DecoderError, read_decoders};
pub use floor::{Floor, FloorSection, ReceiverSettings, WallSettings, ZoneKind};
pub use footfall::FootfallSection;
pub use gateway::{ClockTrust, GatewaySettings, Role};
pub use health::{HealthSettings, LogLevel, LogSettings};
pub use identity::IdentitySection;
pub use invalid::Invalid;
pub(crate) use invalid::between;
pub use load::{LoadError, Loader};
pub use presence::{PresenceSection, ZonesBy};
pub(crate) use shop::check_id;
pub use shop::{FixtureSettings, OpeningHoursText, ReportSettings, ZoneSettings};
pub(crate) use units::one_of;
pub use units::{ByteSize, NotAQuantity, Span};

use std::path::Path;

use serde::Deserialize;

use crate::{
    command, discovery,
    engine::{Fixture, ReceiverId, frame::sensor::OwnDecoders},
    forget, outbox, relay, remote, scan, standby, uplink,
};
use gateway::name;

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

    /// The names of all receivers, the local ones first.
    pub fn receiver_ids(&self) -> Vec<ReceiverId> {
        let remote = self.remote.iter().map(remote::Settings::receiver_id);
        self.scan.receiver_ids().into_iter().chain(remote).collect()
    }

    /// The lines to the brokers of remote receivers. `credentials` is systemd's directory of them.
    pub fn remote_groups(&self, credentials: Option<&Path>) -> Vec<remote::Group> {
        remote::groups(&self.remote, &self.uplink, credentials, self.suspect_after().0)
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

    /// The settings of the live source.
    pub fn live(&self) -> scan::live::LiveSettings {
        self.scan.live(self.suspect_after())
    }

    /// Presence may go on for two thirds of its exit timeout without anything being heard.
    fn suspect_after(&self) -> Span {
        Span(self.presence.exit_timeout.0 * 2 / 3)
    }
}

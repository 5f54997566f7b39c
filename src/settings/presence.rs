//! `[presence]` and the thresholds of `[[zone]]`: when somebody counts as present, and where, as the
//! engine takes it.

use serde::{Deserialize, Serialize};

use super::{Invalid, Settings, Span, ZoneKind, ZoneSettings, between, one_of, shop::check_id};
use crate::engine::{PresenceSettings, ReceiverId, Zone, ZoneId};

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

impl TryFrom<String> for ZonesBy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("auto", Self::Auto), ("thresholds", Self::Thresholds)])
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

/// The zone there is when none is configured.
const WHOLE_SHOP: &str = "shop";

const RSSI: &str = "allowed are -127 to 20 dBm";

impl Settings {
    /// The settings of the presence room, zones included.
    pub fn presence(&self) -> PresenceSettings {
        let presence = &self.presence;
        let zones = self.zones();
        PresenceSettings {
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

    /// The zones that may be named; the whole shop when there are none.
    pub(super) fn zones(&self) -> Vec<Zone> {
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

    pub(super) fn check_zones(&self) -> Result<(), Invalid> {
        let mut seen: Vec<&str> = Vec::new();
        for (n, zone) in self.zone.iter().enumerate() {
            let key = |key: &str| format!("zone[{n}].{key}");
            check_id(&key("id"), &zone.id)?;
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

impl PresenceSection {
    pub(super) fn check(&self) -> Result<(), Invalid> {
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

/// Checks that a loudness is one, in dBm.
pub(super) fn rssi(key: &str, dbm: f64) -> Result<(), Invalid> {
    if (-127.0..=20.0).contains(&dbm) {
        Ok(())
    } else {
        Err(Invalid::new(key, dbm.to_string(), RSSI))
    }
}

/// Checks that a zone is left at less than it is entered at.
fn below(key: &str, exit: f64, enter: f64) -> Result<(), Invalid> {
    if exit < enter {
        return Ok(());
    }
    let allowed = format!("it must be lower than `enter_rssi`, which is {enter} dBm");
    Err(Invalid::new(key, exit.to_string(), &allowed))
}

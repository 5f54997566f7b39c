//! What the gateway says about itself: the retained state document and the metrics.

mod pair;
mod receivers;
mod wear;

pub(super) use wear::Wear;

use serde_json::{Map, Value, json};

use receivers::receiver;

use super::{Pulse, status::Status};
use crate::{
    clock::{Account, Basis},
    command,
    discovery::DiscoveryTotals,
    engine::{ClockQuality, Counts, FixtureTally, Rejections, Uptime, WallClock},
    outbox::{self, DiskState},
    relay::RelayTotals,
    scan::ScanCounters,
    settings::Role,
    standby::StandbyTotals,
    uplink::{self, payload::utc},
};

/// Everything that is known about the gateway at one moment.
pub(super) struct Report<'a> {
    pub(super) wall: WallClock,
    pub(super) clock: Account,
    pub(super) started: String,
    pub(super) pulse: Pulse,
    pub(super) outbox: outbox::Status,
    pub(super) uplink: uplink::Totals,
    /// Which broker is used, and what that depends on.
    pub(super) uplink_line: uplink::LineStatus,
    pub(super) scan: &'a ScanCounters,
    /// What it is in its shop.
    pub(super) role: Role,
    /// What a receiver told its lead.
    pub(super) relay: RelayTotals,
    /// What passes between the gateways of a pair.
    pub(super) standby: StandbyTotals,
    /// What Home Assistant was told.
    pub(super) discovery: DiscoveryTotals,
    /// The other gateway of a pair; empty without one.
    pub(super) peer: &'a str,
    /// Who is enrolled, and whether that is known at all.
    pub(super) enrolled: usize,
    pub(super) registry_lost: bool,
    pub(super) command: command::Totals,
    /// Whether everything that the platform has said was carried out; `None` when it is not heard.
    pub(super) caught_up: Option<bool>,
    pub(super) fixtures: usize,
    pub(super) quarantined: Option<&'a str>,
    pub(super) wear: Wear,
}

impl Report<'_> {
    /// The retained document while the gateway is online.
    pub(super) fn state(&self) -> Vec<u8> {
        bytes(&json!({
            "state": "online",
            "time": utc(self.wall.unix_at(self.wall.at)),
            "started": self.started,
            "version": env!("CARGO_PKG_VERSION"),
            "role": self.role.name(),
            "clock": clock(&self.clock),
            "radio": self.radio(),
            "receivers": self.receivers(),
            "visits_open": self.pulse.visits_open,
            "subjects_enrolled": self.enrolled,
            "registry": if self.registry_lost { "lost" } else { "known" },
            "commands": match self.caught_up {
                None => "off",
                Some(true) => "caught_up",
                Some(false) => "behind",
            },
            "fixtures": self.fixtures,
            "fixtures_alerted": self.distrusted(),
            "uplink": {
                "broker": self.broker(),
                "preferred": self.uplink_line.place == 0,
            },
            "relay": (self.role == Role::Receiver)
                .then(|| json!({"broker": if self.relay.online { "online" } else { "offline" }})),
            "standby": self.pair(),
            "tls": self.tls(),
            "outbox": {
                "disk": self.outbox.disk.name(),
                "epoch": self.outbox.epoch,
                "first_sequence": self.outbox.first.map(|sequence| sequence.0.to_string()),
                "last_sequence": self.outbox.durable_up_to.map(|sequence| sequence.0.to_string()),
                "pending": self.outbox.pending.records,
                "pending_bytes": self.outbox.pending.bytes,
                "oldest": self.outbox.oldest_made.map(utc),
                "in_memory": self.outbox.queued.records,
                "dead_letters": self.outbox.set_aside.records,
                "held_for_replay": self.outbox.acknowledged.records,
                "dropped": self.outbox.totals.dropped,
                "lost": self.outbox.totals.lost,
                "quarantined": self.quarantined,
            },
        }))
    }

    /// All counters, by their names. Counted since the start.
    pub(super) fn metrics(&self) -> Vec<u8> {
        bytes(&self.counters())
    }

    /// The same for other programs on this machine; `stopped` when it is the last word.
    pub(super) fn status(&self, stopped: bool) -> Status {
        let written = utc(self.wall.unix_at(self.wall.at));
        Status::new(stopped, written, self.started.clone(), self.counters())
    }

    fn counters(&self) -> Value {
        let (counts, outbox, uplink) = (self.pulse.counts, self.outbox.totals, self.uplink);
        let scan = self.scan.totals();
        let refused = self.command.refused.iter();
        let refused: Map<_, _> =
            refused.map(|(reason, count)| (reason.word().to_owned(), (*count).into())).collect();
        json!({
            "time": utc(self.wall.unix_at(self.wall.at)),
            "clock": clock(&self.clock),
            "scan": {
                "heard": scan.heard,
                "dropped": scan.dropped,
                "unusable": scan.unusable,
                "receivers": self.scan.receivers.iter().map(|it| receiver(it)).collect::<Value>(),
                "remotes": self.scan.remotes.iter().map(|it| self.remote(it)).collect::<Value>(),
            },
            "relay": {
                "messages": self.relay.messages,
                "sightings": self.relay.sightings,
                "dropped": self.relay.dropped,
                "faults": self.relay.faults,
            },
            "standby": self.pair_counters(),
            "discovery": discovery(self.discovery),
            "engine": engine(&counts),
            "fixtures": self.pulse.fixtures.iter().map(fixture).collect::<Value>(),
            "outbox": {
                "recovered": outbox.recovered,
                "appended": outbox.appended,
                "acknowledged": outbox.acknowledged,
                "pending": self.outbox.pending.records,
                "set_aside": outbox.set_aside,
                "brought_back": outbox.brought_back,
                "dead_letters": self.outbox.set_aside.records,
                "held_for_replay": self.outbox.acknowledged.records,
                "expired": outbox.expired,
                "dropped": outbox.dropped,
                "unreadable": outbox.unreadable,
                "lost": outbox.lost,
                "untold": self.outbox.untold,
                "disk": self.outbox.disk.name(),
                "outages": outbox.outages,
                "in_memory": self.outbox.queued.records,
                "in_memory_bytes": self.outbox.queued.bytes,
                "erased": outbox.erased,
                "narrowed": outbox.narrowed,
                "scrubs": outbox.scrubs,
                "scrub_owed": self.outbox.owes_scrub,
                "commits": outbox.commits,
                "commit_ms": self.outbox.commit_took.as_millis(),
                "flash": self.flash(),
            },
            "uplink": {
                "published": uplink.published,
                "acknowledged": uplink.acknowledged,
                "redelivered": uplink.redelivered,
                "passed_over": uplink.passed_over,
                "rejected": uplink.rejected,
                "unreadable": uplink.unreadable,
                "refused": uplink.refused,
                "replayed": uplink.replayed,
                "last_dead_letter": uplink.dead_letter.map(|letter| json!({
                    "sequence": letter.sequence.0.to_string(),
                    "why": letter.why,
                })),
                "reconnects": uplink.reconnects,
                "faults": uplink.faults,
                "moves": uplink.moves,
                "broker": self.broker(),
                "broker_place": self.uplink_line.place,
                "round_trip_ms": uplink.last_round_trip.as_millis(),
            },
            "command": {
                "received": self.command.received,
                "carried": self.command.carried,
                "noted": self.command.noted,
                "failed": self.command.failed,
                "refused": refused,
                "snapshots_asked": self.command.asked,
                "connections": self.command.connections,
                "faults": self.command.faults,
                "discarded": self.command.discarded,
            },
        })
    }

    /// The broker that is used, or tried.
    fn broker(&self) -> Option<String> {
        self.uplink_line.broker.as_ref().map(ToString::to_string)
    }

    /// When the certificates end, and whether that is soon; nothing without TLS.
    fn tls(&self) -> Value {
        let expiries = self.uplink_line.expiries;
        if expiries == uplink::Expiries::default() {
            return Value::Null;
        }
        // A clock that nobody has set would warn of nothing, or of everything.
        let warnings = match self.wall.quality {
            ClockQuality::Synced => expiries.warnings(self.wall.unix_at(self.wall.at)),
            ClockQuality::Unsynced => Vec::new(),
        };
        json!({
            "client_expires": expiries.client.map(utc),
            "authority_expires": expiries.authority.map(utc),
            "broker_expires": expiries.broker.map(utc),
            "warning": warnings.first().map(ToString::to_string),
        })
    }

    /// The fixtures of which something is refused, and why.
    fn distrusted(&self) -> Value {
        let fixtures = self.pulse.fixtures.iter().filter(|(_, tally)| !tally.alerted.is_empty());
        let told = |(id, tally): &(String, FixtureTally)| {
            let reasons: Vec<&str> = tally.alerted.iter().map(|reason| reason.word()).collect();
            json!({"fixture": id, "refused": reasons})
        };
        fixtures.map(told).collect()
    }

    /// One line for `systemctl status`.
    pub(super) fn line(&self, link: &uplink::LinkState) -> String {
        let link = match link {
            uplink::LinkState::Connecting => "connecting".to_owned(),
            uplink::LinkState::Online { .. } => "online".to_owned(),
            uplink::LinkState::Offline { why, .. } => format!("offline ({why})"),
        };
        let disk = match self.outbox.disk {
            DiskState::Ok => String::new(),
            disk => format!(" Disk {disk}: {} events in memory.", self.outbox.queued.records),
        };
        format!(
            "Radio {}, uplink {link}; {} visits open, {} events pending, {} dropped.{disk}",
            self.radio(),
            self.pulse.visits_open,
            self.outbox.pending.records,
            self.outbox.totals.dropped,
        )
    }
}

/// The retained document once the gateway is gone; `clean` when it said goodbye.
pub(super) fn offline(clean: bool) -> Vec<u8> {
    bytes(&json!({"state": "offline", "clean": clean, "version": env!("CARGO_PKG_VERSION")}))
}

/// The retained document while the gateway waits for its disk, and can say nothing else.
pub(super) fn waiting(
    (wall, account): (&WallClock, &Account),
    started: &str,
    disk: DiskState,
) -> Vec<u8> {
    bytes(&json!({
        "state": "online",
        "time": utc(wall.unix_at(wall.at)),
        "started": started,
        "version": env!("CARGO_PKG_VERSION"),
        "clock": clock(account),
        "outbox": {"disk": disk.name()},
    }))
}

/// All that is counted of what Home Assistant was told.
fn discovery(totals: DiscoveryTotals) -> Value {
    json!({
        "published": totals.published,
        "removed": totals.removed,
        "refused": totals.refused,
        "left_out": totals.left_out,
        "faults": totals.faults,
        "online": totals.online,
    })
}

/// How far the wall clock is to be trusted, and why.
fn clock(account: &Account) -> Value {
    let Account { at, basis, anchor, jumps, last_jump, error_us, .. } = account;
    let seconds_since = |then: Uptime| at.since(then).as_secs();
    // A clock that is believed without a source was never confirmed by one.
    let confirmed = anchor.filter(|_| *basis != Basis::Trusted);
    json!({
        "quality": basis.quality().to_string(),
        "basis": basis.name(),
        "since_sync_s": confirmed.map(|anchor| seconds_since(anchor.at)),
        "error_us": error_us,
        "jumps": jumps,
        "last_jump": last_jump.map(|jump| json!({
            "by_ms": jump.by_us / 1000,
            "age_s": seconds_since(jump.at),
        })),
    })
}

/// What became of one fixture's frames.
fn fixture((id, tally): &(String, FixtureTally)) -> Value {
    json!({
        "fixture": id,
        "refused": by_reason(&tally.refused),
        "values_dropped": tally.implausible,
    })
}

/// All that the engine counts, by its names.
pub(crate) fn engine(counts: &Counts) -> Map<String, Value> {
    let counted = [
        ("received", counts.received),
        ("malformed", counts.malformed),
        ("unknown", counts.unknown),
        ("refused", counts.refused),
        ("decoded", counts.decoded),
        ("subject", counts.subject),
        ("fixture", counts.fixture),
        ("anonymous", counts.anonymous),
        ("situations", counts.situations),
        ("irk_checks", counts.irk_checks),
        ("irk_untried", counts.irk_untried),
        ("implausible_doubles", counts.implausible_doubles),
        ("fixture_values_dropped", counts.fixture_values_dropped),
    ];
    let counted = counted.into_iter().map(|(name, count)| (name.to_owned(), count.into()));
    let refused = ("fixtures_refused".to_owned(), by_reason(&counts.fixtures_refused));
    counted.chain([refused]).collect()
}

/// How much was refused, by the words for why.
fn by_reason(refused: &Rejections) -> Value {
    refused.iter().map(|(reason, count)| (reason.word().to_owned(), Value::from(count))).collect()
}

fn bytes(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_of_a_fixture_is_told_by_every_reason() {
        let told = fixture(&("fridge-1".to_owned(), FixtureTally::default()));
        let refused =
            json!({"no_key": 0, "wrong_key": 0, "truncated": 0, "replayed": 0, "plain": 0});
        let expected = json!({"fixture": "fridge-1", "refused": refused, "values_dropped": 0});
        assert_eq!(told, expected);
    }
}

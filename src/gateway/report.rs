//! What the gateway says about itself: the retained state document and the metrics.

use serde_json::{Value, json};

use super::Pulse;
use crate::{
    engine::{RadioState, WallClock},
    outbox,
    uplink::{self, payload::utc},
};

/// Everything that is known about the gateway at one moment.
pub(super) struct Report<'a> {
    pub(super) wall: WallClock,
    pub(super) started: String,
    pub(super) pulse: Pulse,
    pub(super) outbox: outbox::Status,
    pub(super) uplink: uplink::Totals,
    pub(super) scan: ScanTotals,
    pub(super) enrolled: usize,
    pub(super) fixtures: usize,
    pub(super) quarantined: Option<&'a str>,
}

/// One reading of the scan room's counters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ScanTotals {
    pub(super) heard: u64,
    pub(super) dropped: u64,
    pub(super) rebuilds: u64,
    pub(super) unusable: u64,
}

impl Report<'_> {
    /// The retained document while the gateway is online.
    pub(super) fn state(&self) -> Vec<u8> {
        bytes(&json!({
            "state": "online",
            "time": utc(self.wall.unix_at(self.wall.at)),
            "started": self.started,
            "version": env!("CARGO_PKG_VERSION"),
            "clock": self.wall.quality.to_string(),
            "radio": radio(self.pulse.radio),
            "visits_open": self.pulse.visits_open,
            "subjects_enrolled": self.enrolled,
            "fixtures": self.fixtures,
            "outbox": {
                "epoch": self.outbox.epoch,
                "last_sequence": self.outbox.durable_up_to.map(|sequence| sequence.0.to_string()),
                "pending": self.outbox.pending.records,
                "pending_bytes": self.outbox.pending.bytes,
                "oldest": self.outbox.oldest_made.map(utc),
                "dropped": self.outbox.totals.dropped,
                "quarantined": self.quarantined,
            },
        }))
    }

    /// All counters, by their names. Counted since the start.
    pub(super) fn metrics(&self) -> Vec<u8> {
        let (counts, outbox, uplink) = (self.pulse.counts, self.outbox.totals, self.uplink);
        bytes(&json!({
            "time": utc(self.wall.unix_at(self.wall.at)),
            "scan": {
                "heard": self.scan.heard,
                "dropped": self.scan.dropped,
                "rebuilds": self.scan.rebuilds,
                "unusable": self.scan.unusable,
            },
            "engine": {
                "received": counts.received,
                "malformed": counts.malformed,
                "unknown": counts.unknown,
                "decoded": counts.decoded,
                "subject": counts.subject,
                "fixture": counts.fixture,
                "anonymous": counts.anonymous,
                "situations": counts.situations,
            },
            "outbox": {
                "recovered": outbox.recovered,
                "appended": outbox.appended,
                "acknowledged": outbox.acknowledged,
                "pending": self.outbox.pending.records,
                "dropped": outbox.dropped,
                "erased": outbox.erased,
                "commits": outbox.commits,
                "commit_ms": self.outbox.commit_took.as_millis(),
            },
            "uplink": {
                "published": uplink.published,
                "acknowledged": uplink.acknowledged,
                "redelivered": uplink.redelivered,
                "rejected": uplink.rejected,
                "unreadable": uplink.unreadable,
                "refused": uplink.refused,
                "reconnects": uplink.reconnects,
                "round_trip_ms": uplink.last_round_trip.as_millis(),
            },
        }))
    }

    /// One line for `systemctl status`.
    pub(super) fn line(&self, link: &uplink::LinkState) -> String {
        let link = match link {
            uplink::LinkState::Connecting => "connecting".to_owned(),
            uplink::LinkState::Online { .. } => "online".to_owned(),
            uplink::LinkState::Offline { why, .. } => format!("offline ({why})"),
        };
        format!(
            "Radio {}, uplink {link}; {} visits open, {} events pending, {} dropped.",
            radio(self.pulse.radio),
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

fn radio(state: RadioState) -> &'static str {
    match state {
        RadioState::Hearing => "hearing",
        RadioState::Quiet => "quiet",
        RadioState::Suspect { .. } => "suspect",
        RadioState::Deaf { .. } => "deaf",
    }
}

fn bytes(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

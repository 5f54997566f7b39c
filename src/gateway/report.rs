//! What the gateway says about itself: the retained state document and the metrics.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Map, Value, json};

use super::{Pulse, status::Status};
use crate::{
    command,
    engine::{RadioState, WallClock},
    outbox,
    scan::{Plane, ReceiverCounters, ScanCounters, silence::Step},
    uplink::{self, payload::utc},
};

/// Everything that is known about the gateway at one moment.
pub(super) struct Report<'a> {
    pub(super) wall: WallClock,
    pub(super) started: String,
    pub(super) pulse: Pulse,
    pub(super) outbox: outbox::Status,
    pub(super) uplink: uplink::Totals,
    pub(super) scan: &'a ScanCounters,
    /// Who is enrolled, and whether that is known at all.
    pub(super) enrolled: usize,
    pub(super) registry_lost: bool,
    pub(super) command: command::Totals,
    /// Whether everything that the platform has said was carried out; `None` when it is not heard.
    pub(super) caught_up: Option<bool>,
    pub(super) fixtures: usize,
    pub(super) quarantined: Option<&'a str>,
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
            "scan": {
                "heard": scan.heard,
                "dropped": scan.dropped,
                "unusable": scan.unusable,
                "receivers": self.scan.receivers.iter().map(|it| receiver(it)).collect::<Value>(),
            },
            "engine": {
                "received": counts.received,
                "malformed": counts.malformed,
                "unknown": counts.unknown,
                "refused": counts.refused,
                "decoded": counts.decoded,
                "subject": counts.subject,
                "fixture": counts.fixture,
                "anonymous": counts.anonymous,
                "situations": counts.situations,
                "irk_checks": counts.irk_checks,
                "irk_untried": counts.irk_untried,
                "implausible_doubles": counts.implausible_doubles,
            },
            "outbox": {
                "recovered": outbox.recovered,
                "appended": outbox.appended,
                "acknowledged": outbox.acknowledged,
                "pending": self.outbox.pending.records,
                "dropped": outbox.dropped,
                "erased": outbox.erased,
                "narrowed": outbox.narrowed,
                "scrubs": outbox.scrubs,
                "scrub_owed": self.outbox.owes_scrub,
                "commits": outbox.commits,
                "commit_ms": self.outbox.commit_took.as_millis(),
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

    /// How the receivers are, in a word: as the worst of them, or `partly_deaf` when some are deaf
    /// and others are not.
    fn radio(&self) -> &'static str {
        let radios = &self.pulse.radios;
        let is_deaf = |state: &&RadioState| matches!(state, RadioState::Deaf { .. });
        let deaf = radios.values().filter(is_deaf).count();
        if deaf > 0 && deaf < radios.len() {
            return "partly_deaf";
        }
        let rank = |state: &&RadioState| match state {
            RadioState::Hearing => 0,
            RadioState::Quiet => 1,
            RadioState::Suspect { .. } => 2,
            RadioState::Deaf { .. } => 3,
        };
        radios.values().max_by_key(rank).unwrap_or(&RadioState::Hearing).name()
    }

    /// Each receiver's state and plane.
    fn receivers(&self) -> Value {
        let receivers = self.scan.receivers.iter().map(|counters| {
            let state = self.pulse.radios.get(&counters.id).copied().unwrap_or_default();
            let cause = match state {
                RadioState::Deaf { cause, .. } => Some(cause.name()),
                _ => None,
            };
            json!({
                "receiver": counters.id.as_str(),
                "radio": state.name(),
                "cause": cause,
                "plane": counters.plane().map(Plane::name),
            })
        });
        receivers.collect()
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

/// All that one receiver counts, by its names.
fn receiver(counters: &ReceiverCounters) -> Value {
    let steps: Map<String, Value> = Step::ALL
        .iter()
        .map(|step| (step.name().to_owned(), counters.tried(*step).into()))
        .collect();
    json!({
        "receiver": counters.id.as_str(),
        "plane": counters.plane().map(Plane::name),
        "heard": counters.heard.load(Relaxed),
        "dropped": counters.dropped.load(Relaxed),
        "unusable": counters.unusable.load(Relaxed),
        "queue_bytes": counters.queue_bytes.load(Relaxed),
        "age_ms": counters.age_us.load(Relaxed) / 1000,
        "recovery": steps,
    })
}

fn bytes(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

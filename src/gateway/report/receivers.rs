//! How the receivers are, those at this machine and remote ones: their states in a word, and all that
//! each of them counts.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Map, Value, json};

use super::Report;
use crate::{
    engine::{RadioState, ReceiverId},
    remote::{Refusal, RemoteCounters},
    scan::{Plane, ReceiverCounters, silence::Step},
};

impl Report<'_> {
    /// How the receivers are, in a word: as the worst of them, or `partly_deaf` when some are deaf
    /// and others are not.
    pub(super) fn radio(&self) -> &'static str {
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

    /// Each receiver's state, and its plane or what a remote one says of itself.
    pub(super) fn receivers(&self) -> Value {
        let standing = |id: &ReceiverId| {
            let state = self.pulse.radios.get(id).copied().unwrap_or_default();
            let cause = match state {
                RadioState::Deaf { cause, .. } => Some(cause.name()),
                _ => None,
            };
            (state, cause)
        };
        let remotes = self.scan.remotes.iter().map(|counters| {
            let (state, cause) = standing(&counters.id);
            let age = |heard| self.wall.at.since(heard).as_secs();
            json!({
                "receiver": counters.id.as_str(),
                "radio": state.name(),
                "cause": cause,
                "plane": "remote",
                "format": counters.format.name(),
                "broker": if counters.is_linked() { "online" } else { "offline" },
                "heard": counters.heard.load(Relaxed),
                "refused": counters.refused_in_all(),
                "last_heard_s": counters.last_heard().map(age),
                "clock_ahead_ms": counters.ahead_ms(&self.wall),
                "correction_db": self.correction(&counters.id),
            })
        });
        let receivers = self.scan.receivers.iter().map(|counters| {
            let (state, cause) = standing(&counters.id);
            json!({
                "receiver": counters.id.as_str(),
                "radio": state.name(),
                "cause": cause,
                "plane": counters.plane().map(Plane::name),
                "correction_db": self.correction(&counters.id),
            })
        });
        receivers.chain(remotes).collect()
    }

    /// What a receiver was found to hear more than its plan says, in whole decibels: tenths only say
    /// who has just walked by.
    fn correction(&self, id: &ReceiverId) -> Option<f32> {
        self.pulse.corrections.get(id).map(|db| db.round() + 0.0)
    }

    /// All that one remote receiver counts, by its names.
    pub(super) fn remote(&self, counters: &RemoteCounters) -> Value {
        let refused = Refusal::ALL.into_iter();
        let refused: Map<String, Value> = refused
            .map(|refusal| (refusal.word().to_owned(), counters.refused(refusal).into()))
            .collect();
        json!({
            "receiver": counters.id.as_str(),
            "format": counters.format.name(),
            "messages": counters.messages.load(Relaxed),
            "heard": counters.heard.load(Relaxed),
            "dropped": counters.dropped.load(Relaxed),
            "missed": counters.missed.load(Relaxed),
            "refused": refused,
            "clock_ahead_ms": counters.ahead_ms(&self.wall),
        })
    }
}

/// All that one receiver counts, by its names.
pub(super) fn receiver(counters: &ReceiverCounters) -> Value {
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

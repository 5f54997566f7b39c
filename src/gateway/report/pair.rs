//! How the two gateways of a pair stand, and what they have told each other.

use serde_json::{Map, Value, json};

use super::Report;
use crate::standby::Refusal as Untaken;

impl Report<'_> {
    /// How the two gateways of a pair stand; nothing without another one.
    pub(super) fn pair(&self) -> Option<Value> {
        let view = self.pulse.pair.filter(|_| !self.peer.is_empty())?;
        let on_duty = match (view.acting, view.peer_acts) {
            (true, true) => "both",
            (true, false) => "this",
            (false, true) => "peer",
            (false, false) => "nobody",
        };
        Some(json!({
            "peer": self.peer,
            "on_duty": on_duty,
            "peer_heard": view.hears_peer,
            "followed": view.followed,
            "broker": if self.standby.online { "online" } else { "offline" },
        }))
    }

    pub(super) fn pair_counters(&self) -> Value {
        let (totals, tallies) =
            (self.standby, self.pulse.pair.map(|it| it.tallies).unwrap_or_default());
        let refused = Untaken::ALL.into_iter().zip(totals.refused);
        let refused: Map<_, _> =
            refused.map(|(reason, count)| (reason.word().to_owned(), count.into())).collect();
        json!({
            "sent": totals.sent,
            "unsent": totals.unsent,
            "received": totals.received,
            "refused": refused,
            "faults": totals.faults,
            "unread": tallies.unread,
            "takeovers": tallies.takeovers,
            "adopted": tallies.adopted,
            "retold": tallies.retold,
            "late": tallies.late,
        })
    }
}

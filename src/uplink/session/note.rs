//! What a session makes of the signals of its connection.

use tracing::{debug, info, warn};

use super::{Open, Session, Stage};
use crate::{
    engine::Uptime,
    outbox::Sequence,
    uplink::{
        account::LinkState,
        courier::Courier,
        in_flight::Parcel,
        wire::{Answer, Signal, Welcome},
    },
};

impl<C: Courier> Session<'_, C> {
    /// Takes note of a signal. Returns whether the connection has been parted from.
    pub(super) fn note(&mut self, signal: Signal) -> bool {
        let now = self.uplink.clock.now();
        match signal {
            Signal::Welcome(welcome) => self.welcomed(welcome, now),
            Signal::Sent(packet_id) => {
                if let Some(Parcel::Record(sequence)) = self.pump.in_flight.sent(packet_id) {
                    let again = self.carried.unanswered.remove(&sequence);
                    self.uplink.counters.published(again);
                }
            }
            Signal::SentUnacknowledged => self.documents.metrics_requested = false,
            Signal::Answered(packet_id, answer) => {
                match self.pump.in_flight.answered(packet_id, now) {
                    Some((Parcel::Record(sequence), took)) => match answer {
                        Answer::Accepted => {
                            self.accepted = true;
                            self.carried.suspects.forget(sequence);
                            self.uplink.counters.acknowledged(took);
                            if self.pump.accepted(sequence) {
                                self.carried.careful = false;
                                self.carried.put_off.proved();
                            }
                        }
                        Answer::NotNow(why) => self.put_off(sequence, why, now),
                        Answer::Never(why) => self.reject(sequence, why),
                    },
                    Some((Parcel::State, _)) => {
                        if let Answer::NotNow(why) | Answer::Never(why) = answer {
                            warn!(why, "The broker does not take the state document.");
                            // Without the farewell, the last will must speak: no DISCONNECT.
                            return matches!(self.stage, Stage::Parting { .. });
                        }
                    }
                    None => debug!(packet_id = packet_id.0, "Ignored an unknown answer."),
                }
            }
            Signal::Disconnected => return true,
        }
        false
    }

    fn welcomed(&mut self, welcome: Welcome, now: Uptime) {
        self.stage = Stage::Open(Open { since: now, welcome });
        self.look_at = now + self.uplink.settings.ack_timeout.0 / 2;
        self.pump.open(self.uplink.settings.window, welcome);
        self.uplink.counters.connected();
        self.uplink.link.send_replace(LinkState::Online { since: now });
        info!(
            broker = %self.uplink.access.broker_at(self.carried.place),
            protocol = %self.uplink.settings.protocol,
            window = self.pump.limit(),
            "Connected to the broker."
        );
    }

    fn put_off(&mut self, sequence: Sequence, why: &'static str, now: Uptime) {
        self.uplink.counters.refused();
        self.carried.remember_unanswered([sequence]);
        if self.pump.held_until().is_some() {
            return;
        }
        let delay = self.carried.put_off.failed((self.uplink.chance)());
        self.pump.hold(now + delay, Some(sequence));
        self.carried.careful = true;
        warn!(
            sequence = sequence.0,
            why,
            delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "The broker does not take a record for now; it is kept and sent again later."
        );
    }
}

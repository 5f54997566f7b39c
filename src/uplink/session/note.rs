//! What a session makes of the signals of its connection.
//!
//! # What follows from each answer to a publish (PUBACK, MQTT 5.0, 3.4.2.1)
//! Only what is said about the publish itself is final. Whatever time or an administrator can change
//! is kept, and tried again over the same connection.
//!
//! | reason | sent, for example, by | what follows |
//! |---|---|---|
//! | 0x00 success | all; there is no other in MQTT 3.1.1 | the record leaves the line |
//! | 0x10 no matching subscribers | EMQX, when nobody is subscribed | the same: the broker has done its part |
//! | 0x80 unspecified error | | put off |
//! | 0x83 implementation specific error | brokers whose queue or extension rejects | put off |
//! | 0x87 not authorised | mosquitto and EMQX, by their access rules | put off: rules are changed without telling us |
//! | 0x90 topic name invalid | brokers that restrict topics | set aside |
//! | 0x91 packet identifier in use | nobody should: each is used once at a time | put off |
//! | 0x97 quota exceeded | EMQX's limiter | put off, without connecting anew |
//! | 0x99 payload format invalid | brokers that validate payloads | set aside |
//! | 0x95 packet too large | mosquitto, though the specification has it for DISCONNECT alone | rumqttc breaks the connection for it; the record is found by sending one at a time, and set aside |
//! | any other | | the same, once eight connections broke with this record alone |
//! | no answer | brokers that cannot say no in MQTT 3.1.1 (3.3.5) | a new connection after `uplink.ack_timeout`; the record is sent again |
//!
//! *Put off*: nothing is sent for a while, which doubles each time up to `uplink.backoff_max`; what is
//! in flight is waited for; then one record is sent alone. If the same is put off again and others
//! are taken, what is about the same subject waits [apart](crate::uplink::pump::Apart), and the line
//! goes on.
//!
//! *Set aside*: the record is a dead letter: kept, counted, told with its reason, brought back by
//! command. One that is too large comes back by itself over a connection that grants more.

use std::time::Duration;

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
                        Answer::Accepted => self.record_accepted(sequence, took, now),
                        Answer::NotNow(why) => self.put_off(sequence, why, now),
                        Answer::Never(why) => self.reject(sequence, why),
                    },
                    Some((Parcel::Again(sequence), _)) => {
                        self.answered_again(sequence, answer, now);
                    }
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
        let fitting = self.carried.oversize.take_fitting(welcome.largest_packet);
        if !fitting.is_empty() {
            info!(records = fitting.len(), "The broker takes larger records than the last one.");
            for record in fitting {
                self.pump.bring_back(record, record);
            }
            self.pump.begin_again(&mut self.carried.apart, now);
        }
        self.uplink.counters.connected();
        self.uplink.link.send_replace(LinkState::Online { since: now });
        info!(
            broker = %self.uplink.access.broker_at(self.carried.place),
            protocol = %self.uplink.settings.protocol,
            window = self.pump.limit(),
            "Connected to the broker."
        );
    }

    fn record_accepted(&mut self, sequence: Sequence, took: Duration, now: Uptime) {
        self.accepted = true;
        self.carried.suspects.forget(sequence);
        self.uplink.counters.acknowledged(took);
        let about = self.pump.whose(sequence);
        if self.pump.accepted(sequence) {
            self.carried.careful = false;
            self.carried.put_off.proved();
            self.carried.apart.accepted(about, now);
        }
    }

    fn put_off(&mut self, sequence: Sequence, why: &'static str, now: Uptime) {
        self.uplink.counters.refused();
        self.carried.remember_unanswered([sequence]);
        if self.pump.held_until().is_some() {
            self.pump.put_back(sequence);
            return;
        }
        self.carried.apart.refused(self.pump.whose(sequence));
        self.hold(Some(sequence), why, now);
    }

    fn answered_again(&mut self, sequence: Sequence, answer: Answer, now: Uptime) {
        let Some(replaying) = &mut self.carried.replaying else { return };
        match answer {
            Answer::Accepted => {
                self.accepted = true;
                replaying.accepted(sequence);
                self.uplink.counters.replayed();
            }
            Answer::Never(_) => replaying.refused(sequence),
            Answer::NotNow(why) => {
                replaying.put_back(sequence);
                if self.pump.held_until().is_none() {
                    self.hold(None, why, now);
                }
            }
        }
    }

    /// Sends nothing for a while.
    fn hold(&mut self, put_off: Option<Sequence>, why: &'static str, now: Uptime) {
        let delay = self.carried.put_off.failed((self.uplink.chance)());
        self.pump.hold(now + delay, put_off, &mut self.carried.apart);
        self.carried.careful = true;
        warn!(
            sequence = put_off.map(|sequence| sequence.0),
            why,
            delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "The broker does not take a record for now; it is kept and sent again later."
        );
    }
}

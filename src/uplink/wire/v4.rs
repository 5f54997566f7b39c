//! MQTT 3.1.1 through rumqttc.

use std::fmt;

use rumqttc::{AsyncClient, Event, EventLoop, LastWill, Outgoing, Packet, QoS};

use super::{
    Answer, Fault, LARGEST_ANSWER, LARGEST_PACKET, NotTaken, Plan, Publication, Signal, Welcome,
};
use crate::uplink::{in_flight::PacketId, line};

/// The half that takes requests.
#[derive(Debug)]
pub(in crate::uplink) struct Sender(AsyncClient);

/// The half that is polled.
pub(in crate::uplink) struct Line(line::Line<EventLoop>);

pub(super) fn open(plan: &Plan<'_>) -> (Sender, Line) {
    let (mut options, approach) = plan.door.v4(plan.client_id);
    options
        .set_clean_session(true)
        .set_inflight(plan.packet_ids())
        .set_max_packet_size(LARGEST_ANSWER, LARGEST_PACKET)
        .set_last_will(LastWill::new(plan.will_topic, plan.will, QoS::AtLeastOnce, true));
    let (client, event_loop) = AsyncClient::new(options, plan.requests());
    (Sender(client), Line(approach.v4(event_loop, plan.settings())))
}

impl Sender {
    pub(super) fn publish(&self, publication: Publication) -> Result<(), NotTaken> {
        let qos = if publication.acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        self.0
            .try_publish(publication.topic, qos, publication.retain, publication.payload)
            .map_err(|_| NotTaken)
    }

    pub(super) fn disconnect(&self) -> Result<(), NotTaken> {
        self.0.try_disconnect().map_err(|_| NotTaken)
    }
}

impl Line {
    pub(super) async fn next(&mut self) -> Result<Signal, Fault> {
        loop {
            let event = self.0.event().await?;
            if let Some(signal) = signal(&event) {
                return Ok(signal);
            }
        }
    }

    pub(super) fn rest(&mut self) -> Vec<Signal> {
        self.0.rest().iter().filter_map(signal).collect()
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line(3.1.1)")
    }
}

fn signal(event: &Event) -> Option<Signal> {
    match event {
        Event::Incoming(Packet::ConnAck(_)) => {
            // 3.1.1 knows neither limit.
            let (receive_maximum, largest_packet) = (u16::MAX, LARGEST_PACKET);
            Some(Signal::Welcome(Welcome { receive_maximum, largest_packet }))
        }
        Event::Incoming(Packet::PubAck(ack)) => {
            Some(Signal::Answered(PacketId(ack.pkid), Answer::Accepted))
        }
        Event::Outgoing(Outgoing::Publish(0)) => Some(Signal::SentUnacknowledged),
        Event::Outgoing(Outgoing::Publish(packet_id)) => Some(Signal::Sent(PacketId(*packet_id))),
        Event::Outgoing(Outgoing::Disconnect) => Some(Signal::Disconnected),
        _ => None,
    }
}

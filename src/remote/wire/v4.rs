//! MQTT 3.1.1 through rumqttc.

use rumqttc::{
    AsyncClient, Event, EventLoop, Outgoing, Packet, QoS, SubscribeFilter, SubscribeReasonCode,
};

use super::{LARGEST_PACKET, NotTaken, Publication, REQUESTS, Signal, cut};
use crate::uplink::{self, Door, Fault};

/// The half that takes requests.
pub(crate) struct Sender(AsyncClient);

/// The half that is polled.
pub(crate) struct Line(uplink::Line<EventLoop>);

pub(super) fn open(door: Door<'_>, client_id: &str) -> (Sender, Line) {
    let largest = usize::try_from(LARGEST_PACKET).unwrap_or(usize::MAX);
    let (mut options, approach) = door.v4(client_id);
    options.set_clean_session(true).set_max_packet_size(largest, largest);
    let (client, event_loop) = AsyncClient::new(options, REQUESTS);
    (Sender(client), Line(approach.v4(event_loop, door.settings)))
}

impl Sender {
    pub(super) fn subscribe(&self, filters: &[String]) -> Result<(), NotTaken> {
        let filters =
            filters.iter().map(|path| SubscribeFilter::new(path.clone(), QoS::AtMostOnce));
        self.0.try_subscribe_many(filters).map_err(|_| NotTaken)
    }

    pub(super) fn publish(&self, topic: &str, payload: Vec<u8>) -> Result<(), NotTaken> {
        self.0.try_publish(topic, QoS::AtMostOnce, false, payload).map_err(|_| NotTaken)
    }

    pub(super) fn retain(&self, topic: &str, payload: Vec<u8>) -> Result<(), NotTaken> {
        self.0.try_publish(topic, QoS::AtLeastOnce, true, payload).map_err(|_| NotTaken)
    }

    pub(super) fn disconnect(&self) -> Result<(), NotTaken> {
        self.0.try_disconnect().map_err(|_| NotTaken)
    }
}

impl Line {
    pub(super) async fn next(&mut self) -> Result<Signal, Fault> {
        loop {
            let event = self.0.event().await.map_err(Fault::from)?;
            if let Some(signal) = signal(event) {
                return Ok(signal);
            }
        }
    }
}

fn signal(event: Event) -> Option<Signal> {
    match event {
        Event::Incoming(Packet::ConnAck(_)) => Some(Signal::Welcome),
        Event::Incoming(Packet::SubAck(ack)) => {
            // The one reason of MQTT 3.1.1, 3.9.3.
            let why = |code| match code {
                SubscribeReasonCode::Success(_) => None,
                SubscribeReasonCode::Failure => Some("0x80 failure"),
            };
            Some(Signal::Subscribed(ack.return_codes.into_iter().map(why).collect()))
        }
        // There is no other answer in MQTT 3.1.1, 3.4.
        Event::Incoming(Packet::PubAck(_)) => Some(Signal::Answered(None)),
        Event::Incoming(Packet::Publish(publish)) => Some(Signal::Arrived(Publication {
            payload: cut(&publish.payload),
            retained: publish.retain,
            topic: publish.topic,
        })),
        Event::Outgoing(Outgoing::Disconnect) => Some(Signal::Disconnected),
        _ => None,
    }
}

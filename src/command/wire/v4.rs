//! MQTT 3.1.1 through rumqttc.

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Outgoing, Packet, Publish, QoS, StateError,
    SubscribeFilter, SubscribeReasonCode, mqttbytes,
};

use super::{
    Break, IN_FLIGHT, LARGEST_PACKET, Message, NotTaken, Plan, REQUESTS, Receipt, Signal, broken,
    cut,
};
use crate::uplink;

/// The half that takes requests.
pub(in crate::command) struct Sender(AsyncClient);

/// The half that is polled.
pub(in crate::command) struct Line(uplink::Line<EventLoop>);

pub(super) fn open(plan: &Plan<'_>) -> (Sender, Line) {
    let largest = usize::try_from(LARGEST_PACKET).unwrap_or(usize::MAX);
    let (mut options, approach) = plan.door.v4(plan.client_id);
    options
        .set_clean_session(plan.forget)
        .set_manual_acks(true)
        .set_inflight(IN_FLIGHT)
        .set_max_packet_size(largest, largest);
    let (client, event_loop) = AsyncClient::new(options, REQUESTS);
    (Sender(client), Line(approach.v4(event_loop, plan.door.settings)))
}

impl Sender {
    pub(super) fn subscribe(&self, filters: &[String]) -> Result<(), NotTaken> {
        let filters =
            filters.iter().map(|path| SubscribeFilter::new(path.clone(), QoS::AtLeastOnce));
        self.0.try_subscribe_many(filters).map_err(|_| NotTaken)
    }

    pub(super) fn publish(&self, topic: String, payload: Vec<u8>) -> Result<(), NotTaken> {
        self.0.try_publish(topic, QoS::AtLeastOnce, false, payload).map_err(|_| NotTaken)
    }

    pub(super) fn acknowledge(&self, packet_id: u16) -> Result<(), NotTaken> {
        let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new());
        publish.pkid = packet_id;
        self.0.try_ack(&publish).map_err(|_| NotTaken)
    }

    pub(super) fn disconnect(&self) -> Result<(), NotTaken> {
        self.0.try_disconnect().map_err(|_| NotTaken)
    }
}

impl Line {
    pub(super) async fn next(&mut self) -> Result<Signal, Break> {
        loop {
            let event = self.0.event().await.map_err(|it| broken(it, is_oversize))?;
            if let Some(signal) = signal(event) {
                return Ok(signal);
            }
        }
    }

    pub(super) fn rest(&mut self) -> Vec<Signal> {
        self.0.rest().into_iter().filter_map(signal).collect()
    }
}

fn is_oversize(error: &ConnectionError) -> bool {
    use mqttbytes::Error as E;
    let ConnectionError::MqttState(StateError::Deserialization(error)) = error else {
        return false;
    };
    matches!(error, E::PayloadSizeLimitExceeded(_))
}

fn signal(event: Event) -> Option<Signal> {
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => {
            Some(Signal::Welcome { session_present: ack.session_present, kept_for: None })
        }
        Event::Incoming(Packet::SubAck(ack)) => {
            // The one reason of MQTT 3.1.1, 3.9.3.
            let why = |code| match code {
                SubscribeReasonCode::Success(_) => None,
                SubscribeReasonCode::Failure => Some("0x80 failure"),
            };
            Some(Signal::Subscribed(ack.return_codes.into_iter().map(why).collect()))
        }
        Event::Incoming(Packet::Publish(publish)) => Some(Signal::Arrived(Message {
            payload: cut(&publish.payload),
            again: publish.dup,
            receipt: Receipt { packet_id: publish.pkid, expected: publish.qos != QoS::AtMostOnce },
            topic: publish.topic,
        })),
        Event::Incoming(Packet::PubAck(_)) => Some(Signal::Answered(None)),
        Event::Outgoing(Outgoing::Publish(_) | Outgoing::PubAck(_) | Outgoing::Subscribe(_)) => {
            Some(Signal::Written)
        }
        Event::Outgoing(Outgoing::Disconnect) => Some(Signal::Disconnected),
        _ => None,
    }
}

//! MQTT 5 through rumqttc.

use std::time::Duration;

use rumqttc::{
    Outgoing,
    v5::{
        AsyncClient, ConnectionError, Event, EventLoop, StateError,
        mqttbytes::{
            self, QoS,
            v5::{ConnAck, Filter, Packet, Publish, PublishProperties},
        },
    },
};

use super::{
    Break, IN_FLIGHT, LARGEST_PACKET, Message, NotTaken, Plan, RECEIVE_MAXIMUM, REQUESTS, Receipt,
    Signal, broken, cut,
};
use crate::uplink::{self, Fault};

/// The half that takes requests.
pub(in crate::command) struct Sender(AsyncClient);

/// The half that is polled.
pub(in crate::command) struct Line {
    inner: uplink::Line<EventLoop>,
    keep_alive: Duration,
}

pub(super) fn open(plan: &Plan<'_>) -> (Sender, Line) {
    let (mut options, approach) = plan.door.v5(plan.client_id);
    let session_expiry = if plan.forget { 0 } else { plan.session_expiry };
    options
        .set_clean_start(plan.forget)
        .set_manual_acks(true)
        .set_outgoing_inflight_upper_limit(IN_FLIGHT)
        .set_session_expiry_interval(Some(session_expiry))
        .set_receive_maximum(Some(RECEIVE_MAXIMUM))
        .set_max_packet_size(Some(LARGEST_PACKET));
    let (client, event_loop) = AsyncClient::new(options, REQUESTS);
    let inner = approach.v5(event_loop, plan.door.settings);
    (Sender(client), Line { inner, keep_alive: plan.door.settings.keep_alive.0 })
}

impl Sender {
    pub(super) fn subscribe(&self, filters: &[String]) -> Result<(), NotTaken> {
        let filters = filters.iter().map(|path| Filter::new(path.clone(), QoS::AtLeastOnce));
        self.0.try_subscribe_many(filters).map_err(|_| NotTaken)
    }

    pub(super) fn publish(&self, topic: String, payload: Vec<u8>) -> Result<(), NotTaken> {
        let properties = PublishProperties {
            // UTF-8 text (MQTT 5.0, 3.3.2.3.2).
            payload_format_indicator: Some(1),
            content_type: Some("application/json".to_owned()),
            ..PublishProperties::default()
        };
        self.0
            .try_publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties)
            .map_err(|_| NotTaken)
    }

    pub(super) fn acknowledge(&self, packet_id: u16) -> Result<(), NotTaken> {
        let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new(), None);
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
            let event = self.inner.event().await.map_err(|it| broken(it, is_oversize))?;
            if let Event::Incoming(Packet::ConnAck(ack)) = &event {
                self.respect(ack)?;
            }
            if let Some(signal) = signal(event) {
                return Ok(signal);
            }
        }
    }

    pub(super) fn rest(&mut self) -> Vec<Signal> {
        self.inner.rest().into_iter().filter_map(signal).collect()
    }

    /// Looks at what the broker cannot do, and at its keep-alive.
    fn respect(&mut self, ack: &ConnAck) -> Result<(), Break> {
        let Some(properties) = &ack.properties else { return Ok(()) };
        if properties.max_qos == Some(0) {
            return Err(Break::Fault(Fault::Unsuitable("QoS 1")));
        }
        if properties.wildcard_subscription_available == Some(0) {
            return Err(Break::Fault(Fault::Unsuitable("subscriptions with `+`")));
        }
        self.inner.respect_keep_alive(properties, self.keep_alive);
        Ok(())
    }
}

fn is_oversize(error: &ConnectionError) -> bool {
    use mqttbytes::Error as E;
    let ConnectionError::MqttState(StateError::Deserialization(error)) = error else {
        return false;
    };
    matches!(error, E::PayloadSizeLimitExceeded { .. })
}

fn signal(event: Event) -> Option<Signal> {
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => {
            let kept_for = ack.properties.as_ref().and_then(|it| it.session_expiry_interval);
            Some(Signal::Welcome { session_present: ack.session_present, kept_for })
        }
        Event::Incoming(Packet::SubAck(ack)) => Some(Signal::Subscribed(
            ack.return_codes.into_iter().map(uplink::unsubscribed).collect(),
        )),
        Event::Incoming(Packet::Publish(publish)) => Some(Signal::Arrived(Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: cut(&publish.payload),
            again: publish.dup,
            receipt: Receipt { packet_id: publish.pkid, expected: publish.qos != QoS::AtMostOnce },
        })),
        Event::Incoming(Packet::PubAck(ack)) => {
            Some(Signal::Answered(uplink::unpublished(ack.reason)))
        }
        Event::Outgoing(Outgoing::Publish(_) | Outgoing::PubAck(_) | Outgoing::Subscribe(_)) => {
            Some(Signal::Written)
        }
        Event::Outgoing(Outgoing::Disconnect) => Some(Signal::Disconnected),
        _ => None,
    }
}

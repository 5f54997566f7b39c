//! MQTT 5 through rumqttc.

use std::time::Duration;

use rumqttc::{
    Outgoing,
    v5::{
        AsyncClient, Event, EventLoop,
        mqttbytes::{
            QoS,
            v5::{ConnAck, Filter, Packet, PublishProperties},
        },
    },
};

use super::{LARGEST_PACKET, NotTaken, Publication, REQUESTS, Signal, cut};
use crate::uplink::{self, Door, Fault};

/// The half that takes requests.
pub(crate) struct Sender(AsyncClient);

/// The half that is polled.
pub(crate) struct Line {
    inner: uplink::Line<EventLoop>,
    keep_alive: Duration,
}

pub(super) fn open(door: Door<'_>, client_id: &str) -> (Sender, Line) {
    let (mut options, approach) = door.v5(client_id);
    options.set_clean_start(true).set_max_packet_size(Some(LARGEST_PACKET));
    let (client, event_loop) = AsyncClient::new(options, REQUESTS);
    let inner = approach.v5(event_loop, door.settings);
    (Sender(client), Line { inner, keep_alive: door.settings.keep_alive.0 })
}

impl Sender {
    pub(super) fn subscribe(&self, filters: &[String]) -> Result<(), NotTaken> {
        let filters = filters.iter().map(|path| Filter::new(path.clone(), QoS::AtMostOnce));
        self.0.try_subscribe_many(filters).map_err(|_| NotTaken)
    }

    pub(super) fn publish(&self, topic: &str, payload: Vec<u8>) -> Result<(), NotTaken> {
        self.0.try_publish(topic, QoS::AtMostOnce, false, payload).map_err(|_| NotTaken)
    }

    pub(super) fn retain(&self, topic: &str, payload: Vec<u8>) -> Result<(), NotTaken> {
        let properties = PublishProperties {
            // UTF-8 text (MQTT 5.0, 3.3.2.3.2).
            payload_format_indicator: Some(1),
            content_type: Some("application/json".to_owned()),
            ..PublishProperties::default()
        };
        let (qos, retain) = (QoS::AtLeastOnce, true);
        self.0
            .try_publish_with_properties(topic, qos, retain, payload, properties)
            .map_err(|_| NotTaken)
    }

    pub(super) fn disconnect(&self) -> Result<(), NotTaken> {
        self.0.try_disconnect().map_err(|_| NotTaken)
    }
}

impl Line {
    pub(super) async fn next(&mut self) -> Result<Signal, Fault> {
        loop {
            let event = self.inner.event().await.map_err(Fault::from)?;
            if let Event::Incoming(Packet::ConnAck(ack)) = &event {
                self.respect(ack);
            }
            if let Some(signal) = signal(event) {
                return Ok(signal);
            }
        }
    }

    fn respect(&mut self, ack: &ConnAck) {
        if let Some(properties) = &ack.properties {
            self.inner.respect_keep_alive(properties, self.keep_alive);
        }
    }
}

fn signal(event: Event) -> Option<Signal> {
    match event {
        Event::Incoming(Packet::ConnAck(_)) => Some(Signal::Welcome),
        Event::Incoming(Packet::SubAck(ack)) => Some(Signal::Subscribed(
            ack.return_codes.into_iter().map(uplink::unsubscribed).collect(),
        )),
        Event::Incoming(Packet::PubAck(ack)) => {
            Some(Signal::Answered(uplink::unpublished(ack.reason)))
        }
        Event::Incoming(Packet::Publish(publish)) => Some(Signal::Arrived(Publication {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: cut(&publish.payload),
            retained: publish.retain,
        })),
        Event::Outgoing(Outgoing::Disconnect) => Some(Signal::Disconnected),
        _ => None,
    }
}

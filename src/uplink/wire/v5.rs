//! MQTT 5 through rumqttc.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rumqttc::{
    Outgoing,
    v5::{
        AsyncClient, Event, EventLoop,
        mqttbytes::{
            QoS,
            v5::{ConnAck, LastWill, LastWillProperties, Packet, PubAckReason, PublishProperties},
        },
    },
};

use super::{
    Answer, Fault, LARGEST_PACKET, NotTaken, Plan, Publication, Signal, Welcome, aliases::Aliases,
};
use crate::uplink::{in_flight::PacketId, line};

/// The payload is UTF-8 text (MQTT 5.0, 3.3.2.3.2).
const TEXT: Option<u8> = Some(1);

/// The half that takes requests.
#[derive(Debug)]
pub(in crate::uplink) struct Sender {
    client: AsyncClient,
    /// Shared with the line, which hears how many there may be.
    aliases: Arc<Mutex<Aliases>>,
}

/// The half that is polled.
pub(in crate::uplink) struct Line {
    inner: line::Line<EventLoop>,
    keep_alive: Duration,
    /// Topics may be sent as numbers.
    wants_aliases: bool,
    aliases: Arc<Mutex<Aliases>>,
}

pub(super) fn open(plan: &Plan<'_>) -> (Sender, Line) {
    let will = LastWill::new(
        plan.will_topic,
        plan.will,
        QoS::AtLeastOnce,
        true,
        Some(LastWillProperties {
            delay_interval: None,
            payload_format_indicator: TEXT,
            message_expiry_interval: None,
            content_type: Some("application/json".to_owned()),
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        }),
    );
    let (mut options, approach) = plan.door.v5(plan.client_id);
    options
        .set_clean_start(true)
        .set_outgoing_inflight_upper_limit(plan.packet_ids())
        .set_last_will(will);
    let (client, event_loop) = AsyncClient::new(options, plan.requests());
    let aliases = Arc::<Mutex<Aliases>>::default();
    let line = Line {
        inner: approach.v5(event_loop, plan.settings()),
        keep_alive: plan.settings().keep_alive.0,
        wants_aliases: plan.aliases,
        aliases: Arc::clone(&aliases),
    };
    (Sender { client, aliases }, line)
}

impl Sender {
    pub(super) fn publish(&self, publication: Publication) -> Result<(), NotTaken> {
        let expiry = publication.expiry_seconds();
        let Publication { topic, payload, acknowledged, retain, content_type, .. } = publication;
        let mut properties = properties(content_type, publication.user_properties, expiry);
        // Requests are written in the order in which they are taken, so the broker learns what a
        // number means before it meets it alone. What is retained is seldom, and keeps its name.
        let mut aliases = self.aliases.lock().unwrap_or_else(PoisonError::into_inner);
        let (topic, alias) = if retain { (topic, None) } else { aliases.shorten(topic) };
        properties.topic_alias = alias;
        drop(aliases);
        let qos = if acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        self.client
            .try_publish_with_properties(topic, qos, retain, payload, properties)
            .map_err(|_| NotTaken)
    }

    pub(super) fn disconnect(&self) -> Result<(), NotTaken> {
        self.client.try_disconnect().map_err(|_| NotTaken)
    }
}

fn properties(
    content_type: &str,
    user_properties: Vec<(String, String)>,
    message_expiry_interval: Option<u32>,
) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: TEXT,
        message_expiry_interval,
        user_properties,
        content_type: Some(content_type.to_owned()),
        ..PublishProperties::default()
    }
}

impl Line {
    pub(super) async fn next(&mut self) -> Result<Signal, Fault> {
        loop {
            let event = self.inner.event().await?;
            if let Event::Incoming(Packet::ConnAck(ack)) = &event {
                self.respect(ack)?;
            }
            if let Some(signal) = signal(&event) {
                return Ok(signal);
            }
        }
    }

    pub(super) fn rest(&mut self) -> Vec<Signal> {
        self.inner.rest().iter().filter_map(signal).collect()
    }

    /// Looks at what the broker can do, and what it cannot.
    fn respect(&mut self, ack: &ConnAck) -> Result<(), Fault> {
        let Some(properties) = &ack.properties else { return Ok(()) };
        if properties.max_qos == Some(0) {
            return Err(Fault::Unsuitable("QoS 1"));
        }
        if properties.retain_available == Some(0) {
            return Err(Fault::Unsuitable("retained messages"));
        }
        if properties.receive_max == Some(0) {
            return Err(Fault::Protocol("it takes nothing at all".to_owned()));
        }
        self.inner.respect_keep_alive(properties, self.keep_alive);
        if self.wants_aliases {
            let mut aliases = self.aliases.lock().unwrap_or_else(PoisonError::into_inner);
            aliases.grant(properties.topic_alias_max.unwrap_or(0));
        }
        Ok(())
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line(5)")
    }
}

fn signal(event: &Event) -> Option<Signal> {
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => {
            let properties = ack.properties.as_ref();
            // Without the property: 65,535 (MQTT 5.0, 3.2.2.3.3) and no limit (3.2.2.3.6).
            let receive_maximum = properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX);
            let largest_packet = properties
                .and_then(|p| p.max_packet_size)
                .and_then(|size| usize::try_from(size).ok())
                .map_or(LARGEST_PACKET, |size| size.min(LARGEST_PACKET));
            Some(Signal::Welcome(Welcome { receive_maximum, largest_packet }))
        }
        Event::Incoming(Packet::PubAck(ack)) => {
            Some(Signal::Answered(PacketId(ack.pkid), answer(ack.reason)))
        }
        Event::Outgoing(Outgoing::Publish(0)) => Some(Signal::SentUnacknowledged),
        Event::Outgoing(Outgoing::Publish(packet_id)) => Some(Signal::Sent(PacketId(*packet_id))),
        Event::Outgoing(Outgoing::Disconnect) => Some(Signal::Disconnected),
        _ => None,
    }
}

/// The reasons of MQTT 5.0, 3.4.2.1. Only what is said about the publish itself is final; whatever
/// an administrator or time can change is kept.
fn answer(reason: PubAckReason) -> Answer {
    use PubAckReason as R;
    match reason {
        R::Success | R::NoMatchingSubscribers => Answer::Accepted,
        R::UnspecifiedError => Answer::NotNow("0x80 unspecified error"),
        R::ImplementationSpecificError => Answer::NotNow("0x83 implementation specific error"),
        R::NotAuthorized => Answer::NotNow("0x87 not authorised; check the broker's access rules"),
        R::PacketIdentifierInUse => Answer::NotNow("0x91 packet identifier in use"),
        R::QuotaExceeded => Answer::NotNow("0x97 quota exceeded"),
        R::TopicNameInvalid => Answer::Never("0x90 topic name invalid"),
        R::PayloadFormatInvalid => Answer::Never("0x99 payload format invalid"),
    }
}

/// What rumqttc will make of a publication, for the test of our estimate.
#[cfg(test)]
pub(super) fn packet_size(publication: &Publication) -> usize {
    let Publication { topic, payload, content_type, user_properties, .. } = publication.clone();
    let properties = properties(content_type, user_properties, publication.expiry_seconds());
    let mut publish = rumqttc::v5::mqttbytes::v5::Publish::new(
        topic,
        QoS::AtLeastOnce,
        payload,
        Some(properties),
    );
    publish.pkid = 1;
    publish.size()
}

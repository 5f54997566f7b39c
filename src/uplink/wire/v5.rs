//! MQTT 5 through rumqttc.

use std::fmt;

use rumqttc::{
    NetworkOptions, Outgoing, TlsConfiguration, Transport,
    v5::{
        AsyncClient, Event, EventLoop, MqttOptions,
        mqttbytes::{
            QoS,
            v5::{
                ConnAck, ConnectReturnCode, LastWill, LastWillProperties, Packet, PubAckReason,
                PublishProperties,
            },
        },
    },
};

use super::{
    Answer, Fault, LARGEST_PACKET, NotTaken, Plan, Publication, Signal, Welcome, fault::Refusal,
};
use crate::{settings::Span, uplink::in_flight::PacketId};

/// The payload is UTF-8 text (MQTT 5.0, 3.3.2.3.2).
const TEXT: Option<u8> = Some(1);

/// The half that takes requests.
#[derive(Debug)]
pub(in crate::uplink) struct Sender(AsyncClient);

/// The half that is polled.
pub(in crate::uplink) struct Line {
    event_loop: EventLoop,
    keep_alive: Span,
}

pub(super) fn open(plan: &Plan<'_>) -> (Sender, Line) {
    let broker = plan.access.broker();
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
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
    let mut options = MqttOptions::new(plan.client_id, &broker.host, broker.port);
    options
        .set_clean_start(true)
        .set_keep_alive(plan.settings.keep_alive.0)
        .set_outgoing_inflight_upper_limit(plan.packet_ids())
        .set_connection_timeout(plan.connect_seconds())
        .set_last_will(will);
    options.set_network_options(network);
    if let Some(login) = &plan.access.login {
        options.set_credentials(&login.username, login.password.expose());
    }
    if let Some(tls) = plan.tls() {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls)));
    }
    let (client, event_loop) = AsyncClient::new(options, plan.requests());
    (Sender(client), Line { event_loop, keep_alive: plan.settings.keep_alive })
}

impl Sender {
    pub(super) fn publish(&self, publication: Publication) -> Result<(), NotTaken> {
        let expiry = publication.expiry_seconds();
        let Publication { topic, payload, acknowledged, retain, content_type, .. } = publication;
        let properties = properties(content_type, publication.user_properties, expiry);
        let qos = if acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        self.0
            .try_publish_with_properties(topic, qos, retain, payload, properties)
            .map_err(|_| NotTaken)
    }

    pub(super) fn disconnect(&self) -> Result<(), NotTaken> {
        self.0.try_disconnect().map_err(|_| NotTaken)
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
            let event = self.event_loop.poll().await?;
            if let Event::Incoming(Packet::ConnAck(ack)) = &event {
                self.respect(ack)?;
            }
            if let Some(signal) = signal(&event) {
                return Ok(signal);
            }
        }
    }

    pub(super) fn rest(&mut self) -> Vec<Signal> {
        self.event_loop.state.events.drain(..).filter_map(|event| signal(&event)).collect()
    }

    /// Looks at what the broker cannot do, and at its keep-alive: with 0 (off), rumqttc would ping
    /// without pause and then complain that no answer came in time. The ordinary ping does no harm.
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
        if self.event_loop.options.keep_alive().is_zero() {
            self.event_loop.options.set_keep_alive(self.keep_alive.0);
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

/// The reasons of MQTT 5.0, 3.2.2.2, and the codes of 3.1.1, which an old broker may answer with.
pub(super) fn refusal(code: ConnectReturnCode) -> Refusal {
    use ConnectReturnCode as C;
    match code {
        C::RefusedProtocolVersion | C::UnsupportedProtocolVersion => Refusal::lasting(
            "it does not speak this version of MQTT; check `uplink.protocol` (0x84)",
        ),
        C::BadClientId | C::ClientIdentifierNotValid => {
            Refusal::lasting("it does not take `uplink.client_id` (0x85)")
        }
        C::BadUserNamePassword => {
            Refusal::lasting("check `uplink.username` and its password (0x86)")
        }
        C::NotAuthorized => Refusal::lasting(
            "we are not authorised; check `uplink.username`, its password and the broker's access \
             rules (0x87)",
        ),
        C::Banned => Refusal::lasting("we are banned (0x8A)"),
        C::BadAuthenticationMethod => {
            Refusal::lasting("it wants another way of authentication (0x8C)")
        }
        C::TopicNameInvalid => {
            Refusal::lasting("it does not take the topic of the last will (0x90)")
        }
        C::PacketTooLarge => Refusal::lasting("our CONNECT is too large for it (0x95)"),
        C::RetainNotSupported => Refusal::lasting("it keeps no retained messages (0x9A)"),
        C::QoSNotSupported => Refusal::lasting("it does not support QoS 1 (0x9B)"),
        C::ServerMoved | C::UseAnotherServer => {
            Refusal::lasting("it wants us at another server; check `uplink.broker` (0x9C, 0x9D)")
        }
        C::ServerBusy => Refusal::passing("it is busy (0x89)"),
        C::ServiceUnavailable | C::ServerUnavailable => {
            Refusal::passing("it is not available (0x88)")
        }
        C::QuotaExceeded => Refusal::passing("a quota is exhausted (0x97)"),
        C::ConnectionRateExceeded => Refusal::passing("we connect too often (0x9F)"),
        _ => Refusal::passing("for a reason of its own"),
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

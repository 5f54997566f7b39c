//! MQTT 5 through rumqttc.

use rumqttc::{
    NetworkOptions, Outgoing, TlsConfiguration, Transport,
    v5::{
        AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError,
        mqttbytes::{
            self, QoS,
            v5::{
                ConnAck, Filter, Packet, PubAckReason, Publish, PublishProperties,
                SubscribeReasonCode,
            },
        },
    },
};

use super::{
    Break, IN_FLIGHT, LARGEST_PACKET, Message, NotTaken, Plan, RECEIVE_MAXIMUM, REQUESTS, Receipt,
    Signal, cut,
};
use crate::{settings::Span, uplink::Fault};

/// The half that takes requests.
pub(in crate::command) struct Sender(AsyncClient);

/// The half that is polled.
pub(in crate::command) struct Line {
    event_loop: EventLoop,
    keep_alive: Span,
}

pub(super) fn open(plan: &Plan<'_>) -> (Sender, Line) {
    let broker = plan.access.broker();
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    let mut options = MqttOptions::new(plan.client_id, &broker.host, broker.port);
    let session_expiry = if plan.forget { 0 } else { plan.session_expiry };
    options
        .set_clean_start(plan.forget)
        .set_manual_acks(true)
        .set_keep_alive(plan.settings.keep_alive.0)
        .set_outgoing_inflight_upper_limit(IN_FLIGHT)
        .set_connection_timeout(plan.connect_seconds())
        .set_session_expiry_interval(Some(session_expiry))
        .set_receive_maximum(Some(RECEIVE_MAXIMUM))
        .set_max_packet_size(Some(LARGEST_PACKET));
    options.set_network_options(network);
    if let Some((username, password)) = plan.access.login() {
        options.set_credentials(username, password);
    }
    if let Some(tls) = plan.access.tls() {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls)));
    }
    let (client, event_loop) = AsyncClient::new(options, REQUESTS);
    (Sender(client), Line { event_loop, keep_alive: plan.settings.keep_alive })
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
            let event = self.event_loop.poll().await.map_err(broken)?;
            if let Event::Incoming(Packet::ConnAck(ack)) = &event {
                self.respect(ack)?;
            }
            if let Some(signal) = signal(event) {
                return Ok(signal);
            }
        }
    }

    pub(super) fn rest(&mut self) -> Vec<Signal> {
        self.event_loop.state.events.drain(..).filter_map(signal).collect()
    }

    /// Looks at what the broker cannot do, and at its keep-alive: with 0 (off), rumqttc would ping
    /// without pause.
    fn respect(&mut self, ack: &ConnAck) -> Result<(), Break> {
        let Some(properties) = &ack.properties else { return Ok(()) };
        if properties.max_qos == Some(0) {
            return Err(Break::Fault(Fault::Unsuitable("QoS 1")));
        }
        if properties.wildcard_subscription_available == Some(0) {
            return Err(Break::Fault(Fault::Unsuitable("subscriptions with `+`")));
        }
        if self.event_loop.options.keep_alive().is_zero() {
            self.event_loop.options.set_keep_alive(self.keep_alive.0);
        }
        Ok(())
    }
}

fn broken(error: ConnectionError) -> Break {
    match error {
        ConnectionError::MqttState(StateError::Deserialization(
            mqttbytes::Error::PayloadSizeLimitExceeded { .. },
        )) => Break::Oversize,
        error => Break::Fault(error.into()),
    }
}

fn signal(event: Event) -> Option<Signal> {
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => {
            Some(Signal::Welcome { session_present: ack.session_present })
        }
        Event::Incoming(Packet::SubAck(ack)) => {
            Some(Signal::Subscribed(ack.return_codes.into_iter().map(denial).collect()))
        }
        Event::Incoming(Packet::Publish(publish)) => Some(Signal::Arrived(Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: cut(&publish.payload),
            again: publish.dup,
            receipt: Receipt { packet_id: publish.pkid, expected: publish.qos != QoS::AtMostOnce },
        })),
        Event::Incoming(Packet::PubAck(ack)) => Some(Signal::Answered(answer(ack.reason))),
        Event::Outgoing(Outgoing::Publish(_) | Outgoing::PubAck(_) | Outgoing::Subscribe(_)) => {
            Some(Signal::Written)
        }
        Event::Outgoing(Outgoing::Disconnect) => Some(Signal::Disconnected),
        _ => None,
    }
}

/// The reasons of MQTT 5.0, 3.9.3.
fn denial(code: SubscribeReasonCode) -> Option<&'static str> {
    use SubscribeReasonCode as C;
    match code {
        C::Success(_) => None,
        C::NotAuthorized => Some("0x87 not authorised"),
        C::TopicFilterInvalid => Some("0x8F topic filter invalid"),
        C::QuotaExceeded => Some("0x97 quota exceeded"),
        C::WildcardSubscriptionsNotSupported => Some("0xA2 no subscriptions with `+`"),
        C::ImplementationSpecific => Some("0x83 implementation specific error"),
        _ => Some("0x80 unspecified error"),
    }
}

/// The reasons of MQTT 5.0, 3.4.2.1.
fn answer(reason: PubAckReason) -> Option<&'static str> {
    use PubAckReason as R;
    match reason {
        R::Success | R::NoMatchingSubscribers => None,
        R::NotAuthorized => Some("0x87 not authorised"),
        R::QuotaExceeded => Some("0x97 quota exceeded"),
        R::TopicNameInvalid => Some("0x90 topic name invalid"),
        _ => Some("0x80 unspecified error"),
    }
}

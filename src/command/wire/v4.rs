//! MQTT 3.1.1 through rumqttc.

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Outgoing, Packet,
    Publish, QoS, StateError, SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
    mqttbytes,
};

use super::{
    Break, IN_FLIGHT, LARGEST_PACKET, Message, NotTaken, Plan, REQUESTS, Receipt, Signal, cut,
};

/// The half that takes requests.
pub(in crate::command) struct Sender(AsyncClient);

/// The half that is polled.
pub(in crate::command) struct Line(EventLoop);

pub(super) fn open(plan: &Plan<'_>) -> (Sender, Line) {
    let broker = plan.access.broker();
    let largest = usize::try_from(LARGEST_PACKET).unwrap_or(usize::MAX);
    let mut options = MqttOptions::new(plan.client_id, &broker.host, broker.port);
    options
        .set_clean_session(plan.forget)
        .set_manual_acks(true)
        .set_keep_alive(plan.settings.keep_alive.0)
        .set_inflight(IN_FLIGHT)
        .set_max_packet_size(largest, largest);
    if let Some((username, password)) = plan.access.login() {
        options.set_credentials(username, password);
    }
    if let Some(tls) = plan.access.tls() {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls)));
    }
    let (client, mut event_loop) = AsyncClient::new(options, REQUESTS);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(plan.connect_seconds());
    network.set_tcp_nodelay(true);
    event_loop.set_network_options(network);
    (Sender(client), Line(event_loop))
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
            let event = self.0.poll().await.map_err(broken)?;
            if let Some(signal) = signal(event) {
                return Ok(signal);
            }
        }
    }

    pub(super) fn rest(&mut self) -> Vec<Signal> {
        self.0.state.events.drain(..).filter_map(signal).collect()
    }
}

fn broken(error: ConnectionError) -> Break {
    match error {
        ConnectionError::MqttState(StateError::Deserialization(
            mqttbytes::Error::PayloadSizeLimitExceeded(_),
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

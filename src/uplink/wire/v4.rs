//! MQTT 3.1.1 through rumqttc.

use std::fmt;

use rumqttc::{
    AsyncClient, ConnectReturnCode, Event, EventLoop, LastWill, MqttOptions, NetworkOptions,
    Outgoing, Packet, QoS, TlsConfiguration, Transport,
};

use super::{
    Answer, Fault, LARGEST_ANSWER, LARGEST_PACKET, NotTaken, Plan, Publication, Signal, Welcome,
    fault::Refusal,
};
use crate::uplink::in_flight::PacketId;

/// The half that takes requests.
#[derive(Debug)]
pub(in crate::uplink) struct Sender(AsyncClient);

/// The half that is polled.
pub(in crate::uplink) struct Line(EventLoop);

pub(super) fn open(plan: &Plan<'_>) -> (Sender, Line) {
    let broker = plan.access.broker();
    let mut options = MqttOptions::new(plan.client_id, &broker.host, broker.port);
    options
        .set_clean_session(true)
        .set_keep_alive(plan.settings.keep_alive.0)
        .set_inflight(plan.packet_ids())
        .set_max_packet_size(LARGEST_ANSWER, LARGEST_PACKET)
        .set_last_will(LastWill::new(plan.will_topic, plan.will, QoS::AtLeastOnce, true));
    if let Some(login) = &plan.access.login {
        options.set_credentials(&login.username, login.password.expose());
    }
    if let Some(tls) = plan.tls() {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls)));
    }
    let (client, mut event_loop) = AsyncClient::new(options, plan.requests());
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(plan.connect_seconds());
    network.set_tcp_nodelay(true);
    event_loop.set_network_options(network);
    (Sender(client), Line(event_loop))
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
            let event = self.0.poll().await?;
            if let Some(signal) = signal(&event) {
                return Ok(signal);
            }
        }
    }

    pub(super) fn rest(&mut self) -> Vec<Signal> {
        self.0.state.events.drain(..).filter_map(|event| signal(&event)).collect()
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

/// The return codes of MQTT 3.1.1, 3.2.2.3.
pub(super) fn refusal(code: ConnectReturnCode) -> Refusal {
    use ConnectReturnCode as C;
    match code {
        C::RefusedProtocolVersion => Refusal::lasting(
            "it does not speak this version of MQTT; check `uplink.protocol` (code 1)",
        ),
        C::BadClientId => Refusal::lasting("it does not take `uplink.client_id` (code 2)"),
        C::BadUserNamePassword => {
            Refusal::lasting("check `uplink.username` and its password (code 4)")
        }
        C::NotAuthorized => Refusal::lasting(
            "we are not authorised; check `uplink.username`, its password and the broker's access \
             rules (code 5)",
        ),
        C::ServiceUnavailable | C::Success => Refusal::passing("it is not available (code 3)"),
    }
}

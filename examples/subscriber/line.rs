//! One connection to the broker: messages out, acknowledgements in, the same for both versions of
//! the protocol. A connection that breaks is not mended: the next one is a new value.

use std::time::Duration;

use anyhow::{Context, anyhow};
use rumqttc::{QoS, v5};
use tokio::{sync::mpsc, task::JoinHandle};

/// The broker keeps what comes while we are away for a week, in seconds (MQTT 5; with 3.1.1 it
/// decides itself).
const SESSION_EXPIRY: u32 = 7 * 86_400;

/// So many messages may be unacknowledged (MQTT 5; brokers of 3.1.1 decide themselves).
const RECEIVE_MAXIMUM: u16 = 1000;

/// So many requests may be unwritten: an acknowledgement for each message, and some questions.
const REQUESTS: usize = 4096;

/// The largest packet. An event has a few kilobytes; so has the answer to a question.
const LARGEST_PACKET: u32 = 1024 * 1024;

/// Where to connect, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The broker's session hangs on it.
    pub(crate) client_id: String,
    /// MQTT 5 rather than 3.1.1.
    pub(crate) v5: bool,
}

/// What comes over a connection. After it ends there is nothing more.
#[derive(Debug)]
pub(crate) enum Signal {
    /// The broker has let us in.
    Welcome,
    /// A message.
    Message(Message),
    /// The connection has ended.
    Broken(anyhow::Error),
}

/// A message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// To be handed back once the message was dealt with; nothing for `QoS` 0.
    pub(crate) receipt: Option<Receipt>,
}

/// What an acknowledgement needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt(u16);

/// A connection.
pub(crate) struct Line {
    client: Client,
    signals: mpsc::Receiver<Signal>,
    polling: JoinHandle<()>,
}

enum Client {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

impl Line {
    /// Connects, to the session that the broker has kept for us if it has.
    pub(crate) fn open(address: &Address) -> Self {
        let (signals_tx, signals) = mpsc::channel(1);
        let Address { host, port, client_id, v5 } = address;
        let (client, polling) = if *v5 {
            let mut options = v5::MqttOptions::new(client_id, host, *port);
            options
                .set_clean_start(false)
                .set_session_expiry_interval(Some(SESSION_EXPIRY))
                .set_receive_maximum(Some(RECEIVE_MAXIMUM))
                .set_max_packet_size(Some(LARGEST_PACKET))
                .set_keep_alive(Duration::from_secs(30))
                .set_manual_acks(true);
            let (client, event_loop) = v5::AsyncClient::new(options, REQUESTS);
            (Client::V5(client), tokio::spawn(poll_v5(event_loop, signals_tx)))
        } else {
            let mut options = rumqttc::MqttOptions::new(client_id, host, *port);
            options
                .set_clean_session(false)
                .set_max_packet_size(LARGEST_PACKET as usize, LARGEST_PACKET as usize)
                .set_keep_alive(Duration::from_secs(30))
                .set_manual_acks(true);
            let (client, event_loop) = rumqttc::AsyncClient::new(options, REQUESTS);
            (Client::V4(client), tokio::spawn(poll_v4(event_loop, signals_tx)))
        };
        Self { client, signals, polling }
    }

    /// Waits for what comes next.
    pub(crate) async fn next(&mut self) -> Signal {
        let ended = || Signal::Broken(anyhow!("the connection has ended"));
        self.signals.recv().await.unwrap_or_else(ended)
    }

    /// Subscribes with `QoS` 1.
    pub(crate) fn subscribe(&self, filters: &[String]) -> anyhow::Result<()> {
        for filter in filters {
            match &self.client {
                Client::V4(client) => client.try_subscribe(filter, QoS::AtLeastOnce)?,
                Client::V5(client) => {
                    client.try_subscribe(filter, v5::mqttbytes::QoS::AtLeastOnce)?;
                }
            }
        }
        Ok(())
    }

    /// Publishes with `QoS` 1, not retained.
    pub(crate) fn publish(&self, topic: &str, payload: Vec<u8>) -> anyhow::Result<()> {
        match &self.client {
            Client::V4(client) => client.try_publish(topic, QoS::AtLeastOnce, false, payload)?,
            Client::V5(client) => {
                let qos = v5::mqttbytes::QoS::AtLeastOnce;
                client.try_publish(topic, qos, false, payload)?;
            }
        }
        Ok(())
    }

    /// Acknowledges a message that came over this connection.
    pub(crate) fn acknowledge(&self, Receipt(packet_id): Receipt) -> anyhow::Result<()> {
        // Of the publish rumqttc looks at its packet identifier and quality of service only.
        match &self.client {
            Client::V4(client) => {
                let mut publish = rumqttc::Publish::new("", QoS::AtLeastOnce, Vec::new());
                publish.pkid = packet_id;
                client.try_ack(&publish)?;
            }
            Client::V5(client) => {
                let qos = v5::mqttbytes::QoS::AtLeastOnce;
                let mut publish = v5::mqttbytes::v5::Publish::new("", qos, Vec::new(), None);
                publish.pkid = packet_id;
                client.try_ack(&publish)?;
            }
        }
        Ok(())
    }

    /// Takes leave; the broker keeps the session. What had been requested is written first.
    pub(crate) async fn close(mut self) {
        let asked = match &self.client {
            Client::V4(client) => client.try_disconnect().is_ok(),
            Client::V5(client) => client.try_disconnect().is_ok(),
        };
        while asked && !matches!(self.next().await, Signal::Broken(_)) {}
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

async fn poll_v4(mut event_loop: rumqttc::EventLoop, signals: mpsc::Sender<Signal>) {
    use rumqttc::{Event, Outgoing, Packet};
    loop {
        let signal = match event_loop.poll().await.context("MQTT 3.1.1") {
            Ok(Event::Incoming(Packet::ConnAck(_))) => Signal::Welcome,
            Ok(Event::Incoming(Packet::Publish(publish))) => Signal::Message(Message {
                topic: publish.topic,
                payload: publish.payload.to_vec(),
                receipt: (publish.qos != QoS::AtMostOnce).then_some(Receipt(publish.pkid)),
            }),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            Ok(_) => continue,
            Err(error) => Signal::Broken(error),
        };
        let broken = matches!(signal, Signal::Broken(_));
        if signals.send(signal).await.is_err() || broken {
            return;
        }
    }
}

async fn poll_v5(mut event_loop: v5::EventLoop, signals: mpsc::Sender<Signal>) {
    use rumqttc::Outgoing;
    use v5::{Event, mqttbytes::v5::Packet};
    loop {
        let signal = match event_loop.poll().await.context("MQTT 5") {
            Ok(Event::Incoming(Packet::ConnAck(_))) => Signal::Welcome,
            Ok(Event::Incoming(Packet::Publish(publish))) => Signal::Message(Message {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: publish.payload.to_vec(),
                receipt: (publish.qos != v5::mqttbytes::QoS::AtMostOnce)
                    .then_some(Receipt(publish.pkid)),
            }),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            Ok(_) => continue,
            Err(error) => Signal::Broken(error),
        };
        let broken = matches!(signal, Signal::Broken(_));
        if signals.send(signal).await.is_err() || broken {
            return;
        }
    }
}

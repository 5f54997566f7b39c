//! A broker that says what its script tells it to, however wrong.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]
#![expect(
    clippy::indexing_slicing,
    reason = "what the uplink sends is well-formed, or a test fails"
)]

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A packet the uplink sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Packet {
    Connect {
        version: u8,
    },
    Publish {
        packet_id: u16,
        topic: String,
        payload: String,
    },
    /// An acknowledgement of what the broker has published.
    Acknowledge {
        packet_id: u16,
    },
    Subscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect,
}

/// What a script answers.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing more: the connection is closed.
    HangUp,
    /// Nothing, and nothing is read, until this becomes true.
    Stall(watch::Receiver<bool>),
}

/// A running fake.
pub(crate) struct FakeBroker {
    port: u16,
    heard: Arc<Mutex<Vec<(usize, Packet)>>>,
    task: JoinHandle<()>,
}

type Script = Box<dyn FnMut(usize, &Packet) -> Vec<Say> + Send>;

impl FakeBroker {
    /// Starts one. The script is given the number of the connection, from 1, and the packet.
    pub(crate) async fn start(
        script: impl FnMut(usize, &Packet) -> Vec<Say> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::<Mutex<Vec<(usize, Packet)>>>::default();
        let log = Arc::clone(&heard);
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let task = tokio::spawn(async move {
            for connection in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, connection, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self { port, heard, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The packets so far, with the number of their connection.
    pub(crate) fn heard(&self) -> Vec<(usize, Packet)> {
        self.heard.lock().unwrap().clone()
    }

    /// The payloads of the events so far, with the number of their connection.
    pub(crate) fn events(&self) -> Vec<(usize, String)> {
        let events = self.heard().into_iter().filter_map(|(connection, packet)| match packet {
            Packet::Publish { topic, payload, .. } if topic.contains("/event/") => {
                Some((connection, payload))
            }
            _ => None,
        });
        events.collect()
    }

    /// How often it was connected to.
    pub(crate) fn connections(&self) -> usize {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|(_, packet)| matches!(packet, Packet::Connect { .. })).count()
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Packet {
    /// It carries an event, rather than the state.
    pub(crate) fn is_event(&self) -> bool {
        matches!(self, Self::Publish { topic, .. } if topic.contains("/event/"))
    }
}

/// The answer of a broker that has nothing to say of its own: accepts, acknowledges, answers pings.
pub(crate) fn well_behaved(packet: &Packet) -> Vec<Say> {
    match packet {
        Packet::Connect { version: 5 } => vec![connack(&[])],
        Packet::Connect { .. } => vec![Say::Bytes(vec![0x20, 2, 0, 0])],
        Packet::Publish { packet_id: 0, .. } | Packet::Acknowledge { .. } => vec![],
        Packet::Publish { packet_id, .. } => vec![puback(*packet_id)],
        Packet::Subscribe { packet_id, filters } => {
            vec![suback(*packet_id, &vec![1; filters.len()])]
        }
        Packet::Ping => vec![Say::Bytes(vec![0xD0, 0])],
        Packet::Disconnect => vec![Say::HangUp],
    }
}

/// A CONNACK of MQTT 5 with these properties.
pub(crate) fn connack(properties: &[u8]) -> Say {
    let length = u8::try_from(properties.len()).unwrap();
    Say::Bytes([&[0x20, 3 + length, 0, 0, length], properties].concat())
}

/// A CONNACK that refuses.
pub(crate) fn refuse(version: u8, reason: u8) -> Vec<Say> {
    let bytes = if version == 5 { vec![0x20, 3, 0, reason, 0] } else { vec![0x20, 2, 0, reason] };
    vec![Say::Bytes(bytes), Say::HangUp]
}

/// A PUBACK of success, the same in both versions.
pub(crate) fn puback(packet_id: u16) -> Say {
    let [high, low] = packet_id.to_be_bytes();
    Say::Bytes(vec![0x40, 2, high, low])
}

/// A PUBACK of MQTT 5 with a reason.
pub(crate) fn puback_with(packet_id: u16, reason: u8) -> Say {
    let [high, low] = packet_id.to_be_bytes();
    Say::Bytes(vec![0x40, 3, high, low, reason])
}

/// A SUBACK of MQTT 5 with these reasons.
pub(crate) fn suback(packet_id: u16, reasons: &[u8]) -> Say {
    let length = u8::try_from(3 + reasons.len()).unwrap();
    let [high, low] = packet_id.to_be_bytes();
    Say::Bytes([&[0x90, length, high, low, 0], reasons].concat())
}

/// A PUBLISH of MQTT 5 with `QoS` 1.
pub(crate) fn publish(packet_id: u16, topic: &str, payload: &[u8]) -> Say {
    let topic_length = u16::try_from(topic.len()).unwrap();
    let mut length = 2 + topic.len() + 2 + 1 + payload.len();
    let mut bytes = vec![0x32];
    // The length, seven bits a byte (MQTT 5.0, 1.5.5).
    while length >= 128 {
        bytes.push(u8::try_from(length % 128).unwrap() | 128);
        length /= 128;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend(topic_length.to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend(packet_id.to_be_bytes());
    bytes.push(0);
    bytes.extend(payload);
    Say::Bytes(bytes)
}

/// A DISCONNECT of MQTT 5 with a reason.
pub(crate) fn disconnect(reason: u8) -> Vec<Say> {
    vec![Say::Bytes(vec![0xE0, 2, reason, 0]), Say::HangUp]
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    script: Arc<Mutex<Script>>,
    log: Arc<Mutex<Vec<(usize, Packet)>>>,
) {
    stream.set_nodelay(true).unwrap();
    let mut version = 0;
    while let Some(packet) = read(&mut stream, &mut version).await {
        log.lock().unwrap().push((connection, packet.clone()));
        let answers = (script.lock().unwrap())(connection, &packet);
        for answer in answers {
            match answer {
                Say::Bytes(bytes) if stream.write_all(&bytes).await.is_ok() => {}
                Say::Bytes(_) => return,
                Say::Stall(mut until) => {
                    until.wait_for(|over| *over).await.unwrap();
                }
                Say::HangUp => {
                    // Whatever was said must arrive: a socket closed with something unread resets.
                    stream.shutdown().await.ok();
                    let mut rest = Vec::new();
                    stream.read_to_end(&mut rest).await.ok();
                    return;
                }
            }
        }
    }
}

/// Reads one packet (MQTT 5.0 and 3.1.1, chapter 3), or nothing at the end.
async fn read(stream: &mut TcpStream, version: &mut u8) -> Option<Packet> {
    let first = stream.read_u8().await.ok()?;
    let mut length = 0_usize;
    for shift in [0, 7, 14, 21] {
        let byte = stream.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    match first >> 4 {
        1 => {
            // The length of the name, `MQTT`, and the version.
            *version = body[6];
            Some(Packet::Connect { version: *version })
        }
        3 => {
            let take = |at: &mut usize, count: usize| {
                let part = body[*at..*at + count].to_vec();
                *at += count;
                part
            };
            let number = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
            let mut at = 0;
            let length = number(&take(&mut at, 2));
            let topic = String::from_utf8(take(&mut at, length.into())).unwrap();
            let acknowledged = first & 0b0110 != 0;
            let packet_id = if acknowledged { number(&take(&mut at, 2)) } else { 0 };
            if *version == 5 {
                let properties = take(&mut at, 1)[0];
                assert!(properties < 128, "one byte of length is enough for these tests");
                take(&mut at, properties.into());
            }
            let payload = String::from_utf8(body[at..].to_vec()).unwrap();
            Some(Packet::Publish { packet_id, topic, payload })
        }
        4 => Some(Packet::Acknowledge { packet_id: u16::from_be_bytes([body[0], body[1]]) }),
        8 => {
            // The packet identifier, the properties of MQTT 5 (none), then filters and options.
            let packet_id = u16::from_be_bytes([body[0], body[1]]);
            let mut rest = &body[if *version == 5 { 3 } else { 2 }..];
            let mut filters = Vec::new();
            while let [high, low, tail @ ..] = rest {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                filters.push(String::from_utf8(tail[..length].to_vec()).unwrap());
                rest = &tail[length + 1..];
            }
            Some(Packet::Subscribe { packet_id, filters })
        }
        12 => Some(Packet::Ping),
        14 => Some(Packet::Disconnect),
        kind => panic!("the uplink sent a packet of kind {kind}"),
    }
}

//! The broker of the demo, inside the test's process. It cannot be stopped.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use std::{
    collections::HashMap,
    net::{Ipv4Addr, TcpStream},
};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use super::free_port;

/// Starts a broker. Returns its ports for MQTT 3.1.1 and MQTT 5.
pub(crate) fn start() -> (u16, u16) {
    let (v4, v5) = (free_port(), free_port());
    let listener = |name: &str, port| {
        let settings = ServerSettings {
            name: name.to_owned(),
            listen: (Ipv4Addr::LOCALHOST, port).into(),
            tls: None,
            next_connection_delay_ms: 1,
            connections: ConnectionSettings {
                connection_timeout_ms: 5000,
                max_payload_size: 262_144,
                max_inflight_count: 200,
                auth: None,
                external_auth: None,
                dynamic_filters: true,
            },
        };
        Some(HashMap::from([(name.to_owned(), settings)]))
    };
    let config = Config {
        router: RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 200,
            max_segment_size: 10 << 20,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v4: listener("v4", v4),
        v5: listener("v5", v5),
        ..Config::default()
    };
    let mut broker = Broker::new(config);
    std::thread::spawn(move || broker.start().unwrap());
    for port in [v4, v5] {
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            std::thread::yield_now();
        }
    }
    (v4, v5)
}

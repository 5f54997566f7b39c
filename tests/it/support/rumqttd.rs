//! The broker of the demo, inside the test's process. It cannot be stopped.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use std::{
    collections::HashMap,
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use beacon_gateway::{clock::Clock, engine::Uptime};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use super::free_port;

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a broker. Returns its ports for MQTT 3.1.1 and MQTT 5.
pub(crate) fn start() -> (u16, u16) {
    // Another process may take a port between the choice and the start.
    for _ in 0..10 {
        let (v4, v5) = (free_port(), free_port());
        if listens_on(v4, v5) {
            return (v4, v5);
        }
    }
    panic!("the embedded broker did not start ten times over");
}

fn listens_on(v4: u16, v5: u16) -> bool {
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
    // It does not say when a port is taken; it just does not listen.
    let clock = Clock::start();
    let listens = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    while !(listens(v4) && listens(v5)) {
        if clock.now() > Uptime::ZERO + PATIENCE {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

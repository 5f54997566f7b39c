//! Roundabout ways to the broker: a WebSocket, with and without TLS, and HTTP proxies.

use std::fs;

use beacon_gateway::{
    command,
    settings::Span,
    uplink::{BrokerUrl, Protocol, ProxyUrl, Settings},
};

use crate::{
    command::rig::{Corridor, Platform, Rig as CommandRig},
    support::{
        authority::Authority,
        eventually,
        mosquitto::Mosquitto,
        rig::{ONLINE, Rig, STOPPED, VANISHED, number, numbered, offline_because, settings},
        subscriber::Subscriber,
        tunnel::{Manner, Tunnel},
        web::Web,
    },
};

const BOTH: [Protocol; 2] = [Protocol::V311, Protocol::V5];

/// Every event once and in order, and the retained state: online, then off in good order.
async fn everything_arrives(settings: Settings, mosquitto: &Mosquitto) {
    let subscriber = Subscriber::start(Protocol::V5, mosquitto.port(), "beacon/v1/#").await;
    let before = subscriber.messages().len();
    let rig = Rig::start(settings);
    rig.outbox.append(numbered(1..=500));
    rig.delivered().await;
    let (totals, _) = rig.stop().await;
    assert_eq!((totals.acknowledged, totals.redelivered, totals.faults), (500, 0, 0));
    eventually("the farewell", || {
        subscriber.on("/state").last().is_some_and(|state| state.payload == STOPPED)
    })
    .await;
    let events: Vec<u64> =
        subscriber.on("/entered").iter().map(|event| number(&event.payload)).collect();
    assert_eq!(events, (1..=500).collect::<Vec<_>>());
    let states: Vec<_> = subscriber.on("/state").into_iter().map(|state| state.payload).collect();
    assert!(states.contains(&ONLINE.to_owned()) && !states.contains(&VANISHED.to_owned()));
    assert!(subscriber.messages().len() > before);
}

#[tokio::test]
async fn records_travel_through_a_websocket_in_both_versions_of_the_protocol() {
    for protocol in BOTH {
        let mosquitto = Mosquitto::start("");
        let web = Web::start(mosquitto.port(), None).await;
        let broker = BrokerUrl::new(format!("ws://127.0.0.1:{}", web.port()));
        everything_arrives(Settings { broker, ..settings(protocol, 1) }, &mosquitto).await;
        let seen = web.seen();
        assert!(seen.pongs > 0, "{seen:?}");
        eventually("a goodbye", || web.seen().closes == 1).await;
        assert!(seen.requests[0].contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{seen:?}");
    }
}

#[tokio::test]
async fn records_travel_through_a_websocket_in_tls_and_an_authority_is_asked_about_it() {
    let authority = Authority::new();
    let mosquitto = Mosquitto::start("");
    let web = Web::start(mosquitto.port(), Some(authority.server())).await;
    let broker = BrokerUrl::new(format!("wss://127.0.0.1:{}", web.port()));
    let good = Settings {
        broker,
        ca_file: authority.path("ca.pem"),
        // For MQTT by itself; a WebSocket begins with HTTP.
        alpn: vec!["mqtt".to_owned()],
        ..settings(Protocol::V5, 1)
    };
    everything_arrives(good.clone(), &mosquitto).await;
    let stranger = Authority::new();
    let mut rig = Rig::start(Settings { ca_file: stranger.path("ca.pem"), ..good });
    offline_because(&mut rig, "TLS with the broker failed (invalid peer certificate").await;
    rig.stop().await;
}

#[tokio::test]
async fn a_websocket_that_is_refused_is_told_with_what_to_look_at() {
    let mosquitto = Mosquitto::start("");
    let web = Web::start(mosquitto.port(), None).await;
    let at = |path: &str| BrokerUrl::new(format!("ws://127.0.0.1:{}{path}", web.port()));
    let mut rig = Rig::start(Settings { broker: at("/elsewhere"), ..settings(Protocol::V5, 1) });
    offline_because(&mut rig, "check the path in `uplink.broker` (404)").await;
    rig.stop().await;
    // The port of a broker without a web server: mosquitto hangs up on what is no MQTT.
    let broker = BrokerUrl::new(format!("ws://127.0.0.1:{}", mosquitto.port()));
    let mut rig = Rig::start(Settings { broker, ..settings(Protocol::V5, 1) });
    let why = rig.offline().await;
    assert!(why.contains("closed") || why.contains("broke"), "{why}");
    rig.stop().await;
}

#[tokio::test]
async fn a_proxy_carries_plain_mqtt_and_tls_for_whoever_has_its_password() {
    let authority = Authority::new();
    let mosquitto = authority.mosquitto("");
    // `joe:s3cret`
    let proxy = Tunnel::start(Manner::Serve(Some("am9lOnMzY3JldA=="))).await;
    let password = authority.path("proxy-password");
    fs::write(&password, "s3cret\n").unwrap();
    let good = Settings {
        proxy: ProxyUrl::new(proxy.url()),
        proxy_username: "joe".to_owned(),
        proxy_password_file: password.clone(),
        ..authority.settings(&mosquitto)
    };
    for protocol in BOTH {
        let rig = Rig::start(Settings { protocol, ..good.clone() });
        rig.outbox.append(numbered(1..=500));
        rig.delivered().await;
        let (totals, _) = rig.stop().await;
        assert_eq!((totals.acknowledged, totals.faults), (500, 0));
    }
    let asked = proxy.asked();
    let target = format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n", mosquitto.port());
    assert!(asked.len() == 2 && asked.iter().all(|it| it.starts_with(&target)), "{asked:?}");
    fs::write(&password, "guess\n").unwrap();
    let mut rig = Rig::start(good);
    offline_because(&mut rig, "check `uplink.proxy_username`").await;
    // Another password is used as soon as there is one.
    fs::write(&password, "s3cret\n").unwrap();
    rig.online().await;
    rig.stop().await;
}

#[tokio::test]
async fn what_a_proxy_refuses_is_told_and_tried_again() {
    let mosquitto = Mosquitto::start("");
    let proxy = Tunnel::start(Manner::Serve(Some("nobody"))).await;
    let settings = Settings {
        proxy: ProxyUrl::new(proxy.url()),
        connect_timeout: Span::secs(1),
        ..settings(Protocol::V5, mosquitto.port())
    };
    let mut rig = Rig::start(settings.clone());
    rig.outbox.append(numbered(1..=1));
    for (manner, says) in [
        (Manner::Serve(Some("nobody")), "wants a user name and a password"),
        (Manner::Answer("HTTP/1.1 403 Forbidden\r\n\r\n"), "allows no tunnel to the broker"),
        (Manner::Answer("HTTP/1.1 503 Later\r\n\r\n"), "it cannot reach the broker (503)"),
        (Manner::Answer("\u{20}\u{2}\0\0"), "does not answer like an HTTP proxy"),
        (Manner::Answer(""), "the proxy cannot be reached"),
        (Manner::Silent, "the proxy did not answer within `uplink.connect_timeout`"),
    ] {
        proxy.behave(manner);
        offline_because(&mut rig, says).await;
    }
    proxy.behave(Manner::Serve(None));
    rig.delivered().await;
    // A tunnel that is cut is dug again.
    proxy.cut();
    eventually("another tunnel", || rig.totals().connections == 2).await;
    rig.outbox.append(numbered(2..=2));
    rig.delivered().await;
    rig.stop().await;
    drop(proxy);
    let mut rig = Rig::start(settings);
    offline_because(&mut rig, "the proxy cannot be reached").await;
    rig.stop().await;
}

#[tokio::test]
async fn a_websocket_in_tls_goes_through_a_proxy_and_commands_go_the_same_way() {
    let authority = Authority::new();
    let mosquitto = Mosquitto::start("");
    let web = Web::start(mosquitto.port(), Some(authority.server())).await;
    let proxy = Tunnel::start(Manner::Serve(None)).await;
    let way = Settings {
        broker: BrokerUrl::new(format!("wss://127.0.0.1:{}/mqtt", web.port())),
        ca_file: authority.path("ca.pem"),
        proxy: ProxyUrl::new(proxy.url()),
        ..settings(Protocol::V5, 1)
    };
    everything_arrives(way.clone(), &mosquitto).await;
    for protocol in BOTH {
        let platform = Platform::at(mosquitto.port()).await;
        let corridor = Corridor::default();
        let trusted_keys = vec![platform.signer.trusted()];
        let settings = command::Settings { trusted_keys, ..command::Settings::default() };
        let way = Settings { protocol, ..way.clone() };
        let rig = CommandRig::start_over(way, settings, &corridor);
        rig.caught_up().await;
        let totals = rig.stop().await;
        assert_eq!((totals.connections, totals.faults), (1, 0));
    }
    assert_eq!(web.seen().requests.len(), 3);
    assert_eq!(proxy.asked().len(), 3);
}

/// How many bytes 2,000 events are on the way to a broker that takes so many topic aliases.
async fn bytes_sent(aliases: u16) -> u64 {
    let mosquitto = Mosquitto::start(&format!("max_topic_alias {aliases}"));
    let proxy = Tunnel::start(Manner::Serve(None)).await;
    let proxied = ProxyUrl::new(proxy.url());
    let subscriber = Subscriber::start(Protocol::V5, mosquitto.port(), "beacon/v1/#").await;
    let rig = Rig::start(Settings { proxy: proxied, ..settings(Protocol::V5, mosquitto.port()) });
    rig.outbox.append(numbered(1..=2000));
    rig.delivered().await;
    rig.stop().await;
    let topic = "beacon/v1/acme/berlin-03/gw1/event/zone/entered";
    eventually("every event under its topic", || subscriber.on(topic).len() == 2000).await;
    proxy.sent()
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures of docs/uplink.md")]
async fn a_topic_that_the_broker_knows_by_a_number_is_not_spelled_again() {
    let (spelled, numbered) = (bytes_sent(0).await, bytes_sent(10).await);
    let saved = spelled.saturating_sub(numbered) / 2000;
    println!("{spelled} bytes for 2,000 events of 400 bytes, {numbered} with a topic alias");
    // The topic of 47 bytes, less three for the number.
    assert!((43..=44).contains(&saved), "{spelled} and {numbered}: {saved} bytes each");
}

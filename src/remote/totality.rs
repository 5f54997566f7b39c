//! Whatever is published, every format reads it or refuses it: no panic, within its bounds, and what it
//! gives can be handed to the engine.

use super::{
    desk::{Desk, Receiver},
    ear::Patience,
    *,
};
use crate::engine::{ReceiverId, Uptime, frame};
use std::{sync::atomic::Ordering::Relaxed, time::Duration};

const TOPICS: [&str; 9] = [
    "home/OMG/BTtoMQTT/C01122334455",
    "espresense/devices/iBeacon:1d4b2e16-481e-4579-8b35-ffc32e4a1758-100-1/kitchen",
    "espresense/rooms/kitchen/telemetry",
    "ruuvi/C8:25:2D:8E:9C:2C/F4:1F:0C:28:CB:D6",
    "ruuvi/C8:25:2D:8E:9C:2C/gw_status",
    "shellyblugwg3-aacdb0784278/events/rpc",
    "shellyblugwg3-aacdb0784278/online",
    "/gw/ac233fc00001/status",
    "",
];

const PAYLOADS: [&str; 9] = [
    r#"{"id":"AC:23:3F:A0:31:FA","mac_type":0,"name":"é","manufacturerdata":"4c000215fda50693a4e24fb1afcfc6eb0764782527124200c5","servicedata":"4002ca09","servicedatauuid":"0xfcd2","rssi":-74,"unixtime":1679015107}"#,
    r#"{"id":"60:87:57:4C:9B:C2","mac_type":1,"rssi":-78,"model_id":"IBEACON","uuid":"1de4b189115e45f6b44e509352269977","major":0,"minor":65535,"txpower":-66,"mac":"60:87:57:4C:9B:C2"}"#,
    r#"{"mac":"5a3f1c9d0e42","id":"iBeacon:1d4b2e16-481e-4579-8b35-ffc32e4a1758-100-1","rssi@1m":-59,"rssi":-72.35,"adverts":12}"#,
    r#"{"mac":"5a3f1c9d0e42","id":"eddy:010203040505060708090a-0b0c0d0e0f10","rssi@1m":-59,"rssi":-72.35}"#,
    r#"{"gw_mac":"C8:25:2D:8E:9C:2C","rssi":-26,"aoa":[],"gwts":"1653668028","ts":"1653668027","data":"0201061BFF99040515AE4C6DC6D7000CFFF803F4ADB6AD697FF41F0C28CBD6","coords":""}"#,
    r#"{"method":"NotifyEvent","params":{"ts":1736605194.11,"events":[{"event":"ble.scan_result","data":[2,[["C0:11:22:33:44:55",-50,"AgEG","AwP6/g=="]]],"ts":1736605194.10}]}}"#,
    r#"[{"timestamp":"2019-08-13T06:06:21Z","type":"Gateway","mac":"AC233FC001EA"},{"timestamp":"2019-08-13T06:06:20Z","type":"Unknown","mac":"AC233FA031FA","rssi":-63,"rawData":"0201060303E1FF0D16E1FFA1026401FA31A03F23AC"},{"timestamp":1674000000123,"mac":"1918FC051F5B","ibeaconUuid":"FDA50693A4E24FB1AFCFC6EB07647825","ibeaconMajor":1,"ibeaconMinor":2,"rssi":-74}]"#,
    "online",
    "",
];

/// How many random payloads; more with `BEACON_GATEWAY_FUZZ_ROUNDS`.
fn rounds() -> usize {
    let wanted = std::env::var("BEACON_GATEWAY_FUZZ_ROUNDS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(4_000)
}

fn desk(format: Format) -> Desk {
    let id = ReceiverId::new("shelf");
    let receiver = Receiver {
        id: id.clone(),
        format,
        topics: vec![Filter::new("#").unwrap()],
        rssi_offset: -3.0,
        max_age: Duration::from_secs(10),
        patience: Patience {
            suspect_after: Duration::from_secs(20),
            silent_after: Duration::from_mins(5),
        },
    };
    let mut desk =
        Desk::new(vec![(receiver, Arc::new(RemoteCounters::new(id, format)))], Uptime::ZERO);
    desk.handle_subscribed(Uptime::ZERO, &[true]);
    desk
}

/// Reads it in every format, and has the desk do so as well.
fn every_format(topic: &str, payload: &[u8], now: Uptime) {
    for (_, format) in Format::ALL {
        if let Ok(message) = format.read(topic, payload) {
            assert!(message.sightings.len() + message.refused.len() <= MOST_ENTRIES + 1);
            for sighting in &message.sightings {
                assert!(sighting.data.len() <= 1650);
                assert!(sighting.rssi.is_none_or(|dbm| (-127.0..=20.0).contains(&dbm)));
                // What comes of it may be malformed, which is the next room's to say.
                frame::decode(&sighting.data).ok();
            }
        }
        let mut desk = desk(format);
        for retained in [false, true] {
            desk.handle_message(now, topic, payload, retained);
        }
        while let Some(heard) = desk.poll_heard() {
            if let Heard::Advertisement(advertisement) = heard {
                assert!(advertisement.heard <= now);
            }
        }
    }
}

#[test]
fn random_bytes_are_read_or_refused() {
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..rounds() {
        let length = rng.usize(..200);
        let alphabet = b"{}[]\",:0123456789abcdefACF-+. eE\\unulltrefs/id mac rssi data";
        let payload: Vec<u8> = (0..length)
            .map(
                |_| if round % 2 == 0 { rng.u8(..) } else { alphabet[rng.usize(..alphabet.len())] },
            )
            .collect();
        every_format(TOPICS[rng.usize(..TOPICS.len())], &payload, Uptime::from_micros(rng.i64(..)));
    }
}

#[test]
fn what_was_documented_is_read_or_refused_however_it_is_cut_and_changed() {
    let mut rng = fastrand::Rng::with_seed(2);
    let now = Uptime::from_micros(60_000_000);
    for payload in PAYLOADS {
        for topic in TOPICS {
            every_format(topic, payload.as_bytes(), now);
        }
        for length in 0..payload.len() {
            let cut = &payload.as_bytes()[..length];
            every_format(TOPICS[length % TOPICS.len()], cut, now);
        }
    }
    for _ in 0..rounds() {
        let mut payload = PAYLOADS[rng.usize(..PAYLOADS.len())].as_bytes().to_vec();
        for _ in 0..rng.usize(1..6) {
            if payload.is_empty() {
                break;
            }
            let at = rng.usize(..payload.len());
            match rng.u8(..4) {
                0 => payload[at] = rng.u8(..),
                1 => drop(payload.remove(at)),
                2 => payload.insert(at, rng.u8(b' '..=b'~')),
                _ => {
                    let to = rng.usize(at..payload.len());
                    let again = payload[at..=to].to_vec();
                    payload.splice(at..at, again);
                }
            }
        }
        let topic: String = {
            let topic = TOPICS[rng.usize(..TOPICS.len())];
            let keep = rng.usize(..=topic.len());
            topic.chars().take(keep).collect()
        };
        every_format(&topic, &payload, now);
    }
}

#[test]
fn each_documented_payload_is_understood_by_the_format_that_it_is_of() {
    let of = [
        (Format::OpenMqttGateway, 0, 0),
        (Format::Theengs, 0, 1),
        (Format::Espresense, 1, 2),
        (Format::Espresense, 1, 3),
        (Format::Ruuvi, 3, 4),
        (Format::Shelly, 5, 5),
        (Format::Minew, 7, 6),
    ];
    for (format, topic, payload) in of {
        let message = format.read(TOPICS[topic], PAYLOADS[payload].as_bytes()).unwrap();
        assert!(!message.sightings.is_empty() && message.refused.is_empty(), "{payload}");
    }
}

#[test]
fn no_refusal_and_nothing_that_is_shown_tells_who_it_was() {
    let needles =
        ["AC:23:3F", "ac233f", "AC233F", "60:87:57", "5a3f1c", "F4:1F", "fda506", "1de4b1"];
    for (_, format) in Format::ALL {
        for topic in TOPICS {
            for payload in PAYLOADS {
                let shown = format!("{:?}", format.read(topic, payload.as_bytes()));
                let mut desk = desk(format);
                desk.handle_message(Uptime::ZERO, topic, payload.as_bytes(), false);
                let notes: Vec<Note> = std::iter::from_fn(|| desk.poll_note()).collect();
                let shown = format!("{shown} {notes:?} {desk:?}");
                for needle in needles {
                    assert!(!shown.contains(needle), "{needle}: {shown}");
                }
            }
        }
    }
}

#[test]
fn a_message_of_the_largest_size_is_read_in_a_moment() {
    let entry = r#"{"mac":"AC233FA018E7","rssi":-50,"rawData":"020106"},"#;
    let list = format!("[{}{{}}]", entry.repeat(MOST_ENTRIES));
    let mut desk = desk(Format::Minew);
    desk.handle_message(Uptime::ZERO, "/gw/x/status", list.as_bytes(), false);
    let heard = std::iter::from_fn(|| desk.poll_heard());
    let count = heard.filter(|it| matches!(it, Heard::Advertisement(_))).count();
    assert_eq!(count, MOST_ENTRIES);
    // A list of nothing, as long as a message may be.
    let empty = format!("[{}]", vec!["{}"; LARGEST_MESSAGE / 3].join(","));
    let refused = Format::Minew.read("", &empty.as_bytes()[..LARGEST_MESSAGE]);
    assert_eq!(refused.unwrap_err(), Refusal::TooMany);
    let counters = RemoteCounters::new(ReceiverId::new("shelf"), Format::Minew);
    assert_eq!(counters.messages.load(Relaxed), 0);
}

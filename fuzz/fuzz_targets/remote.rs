//! Whatever is published on whatever topic is read or refused: within bounds, and what comes of it is
//! never from the future.
#![no_main]

use std::{sync::Arc, time::Duration};

use beacon_gateway::{
    engine::{ReceiverId, Uptime, frame},
    remote::{Desk, Filter, Format, MOST_ENTRIES, Patience, Receiver, RemoteCounters},
    scan::Heard,
};
use libfuzzer_sys::fuzz_target;

const PATIENCE: Patience =
    Patience { suspect_after: Duration::from_secs(20), silent_after: Duration::from_secs(300) };

fn desk(format: Format) -> Desk {
    let id = ReceiverId::new("r");
    let receiver = Receiver {
        id: id.clone(),
        format,
        topics: vec![Filter::new("#").unwrap()],
        rssi_offset: -3.0,
        max_age: Duration::from_secs(10),
        patience: PATIENCE,
    };
    let counters = Arc::new(RemoteCounters::new(id, format));
    let mut desk = Desk::new(vec![(receiver, counters)], Uptime::ZERO);
    desk.handle_subscribed(Uptime::ZERO, &[true]);
    desk
}

// The first byte chooses the format (lowest three bits) and how fast time passes; then lines, a topic
// and its payload in turn.
fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let (_, format) = Format::ALL[usize::from(choice & 7) % Format::ALL.len()];
    let step = Duration::from_millis(u64::from(choice >> 3) * 500);
    let (mut desk, mut now) = (desk(format), Uptime::ZERO);
    let mut lines = rest.split(|byte| *byte == b'\n');
    while let (Some(topic), Some(payload)) = (lines.next(), lines.next()) {
        now = now + step;
        let topic = String::from_utf8_lossy(topic);
        if let Ok(message) = format.read(&topic, payload) {
            assert!(message.sightings.len() + message.refused.len() <= MOST_ENTRIES + 1);
            for sighting in &message.sightings {
                assert!(sighting.data.len() <= 1650);
                frame::decode(&sighting.data).ok();
            }
        }
        desk.handle_message(now, &topic, payload, topic.len() % 7 == 6);
        desk.handle_timeout(now);
        while let Some(heard) = desk.poll_heard() {
            if let Heard::Advertisement(advertisement) = heard {
                assert!(advertisement.heard <= now);
            }
        }
        while desk.poll_note().is_some() {}
        assert!(desk.poll_timeout(now).is_none_or(|due| due > now));
    }
});

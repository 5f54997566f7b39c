//! Records over a link that is cut every 30 to 400 ms, swallows acknowledgements, and delivers late
//! what a lost connection had under way: nothing is lost, and what is about one subject arrives in
//! order.
//!
//! `BEACON_GATEWAY_CUT_EVENTS` says how many at least (default 4,000 each; the long proof takes 1,000,000).
//! Half of them wait when it begins, the others come while it goes on.
#![expect(clippy::print_stderr, reason = "the share of repetitions is a result of the test")]

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use beacon_gateway::{clock::Clock, engine::Uptime, outbox::Removal, uplink::Protocol};

#[cfg(feature = "demo")]
use crate::support::rumqttd;
use crate::support::{
    DEADLINE,
    cutter::Cutter,
    mosquitto::Mosquitto,
    rig::{Rig, about, number, settings},
    subscriber::Subscriber,
};

const EVENTS: &str = "BEACON_GATEWAY_CUT_EVENTS";

/// A shop's worth of people and sensors.
const SUBJECTS: u64 = 50;

/// So many cuts are a link that is cut all the time: more events come until there were as many.
const CUTS: u64 = 5;

/// How many are appended together while it goes on, and how few are left then.
const BURST: u64 = 500;
const FEW: usize = 2000;

fn events() -> u64 {
    let events = std::env::var(EVENTS).map(|events| events.replace('_', "").parse());
    events.map_or(4000, |events| events.expect("a number of events"))
}

/// What has arrived.
#[derive(Default)]
struct Tally {
    seen: HashSet<u64>,
    newest: BTreeMap<u64, u64>,
    out_of_order: u64,
    repeated: u64,
}

impl Tally {
    fn arrived(&mut self, number: u64) {
        if !self.seen.insert(number) {
            self.repeated += 1;
            return;
        }
        let newest = self.newest.entry(number % SUBJECTS).or_default();
        self.out_of_order += u64::from(number < *newest);
        *newest = number.max(*newest);
    }
}

/// Waits for a condition; fails when the number it gives no longer grows.
async fn until(what: &str, mut progress: impl FnMut() -> (u64, bool)) {
    let clock = Clock::start();
    let mut interval = tokio::time::interval(Duration::from_millis(5));
    let (mut most, mut since) = (0, Uptime::ZERO);
    loop {
        interval.tick().await;
        let (now, done) = progress();
        if done {
            return;
        }
        if now > most {
            (most, since) = (now, clock.now());
        }
        assert!(clock.now().since(since) < DEADLINE, "{what}: nothing moves after {most}");
    }
}

async fn nothing_is_lost_and_the_order_kept(
    (name, protocol): (&str, Protocol),
    port: u16,
    delay: Duration,
    seed: u64,
) {
    let mut events = events();
    let tally = Arc::<Mutex<Tally>>::default();
    let counted = Arc::clone(&tally);
    let _subscriber =
        Subscriber::listen(protocol, port, "beacon/v1/+/+/+/event/#", move |message| {
            counted.lock().unwrap().arrived(number(&message.payload));
        })
        .await;
    let cutter = Cutter::start(port, delay, seed).await;
    let clock = Clock::start();
    let rig = Rig::start(settings(protocol, cutter.port()));
    let mut appended = events / 2;
    rig.outbox.append_about(about(SUBJECTS, 1..=appended));
    until("the outbox", || {
        if appended == events && cutter.cuts() < CUTS {
            events += BURST;
        }
        if appended < events && rig.outbox.pending() < FEW {
            let next = (appended + BURST).min(events);
            rig.outbox.append_about(about(SUBJECTS, appended + 1..=next));
            appended = next;
        }
        (rig.totals().acknowledged, rig.outbox.pending() == 0 && appended == events)
    })
    .await;
    let took = clock.now().since(Uptime::ZERO);
    until("the subscriber", || {
        let arrived = tally.lock().unwrap().seen.len() as u64;
        (arrived, arrived == events)
    })
    .await;
    let totals = rig.totals();
    let Tally { seen, out_of_order, repeated, .. } = std::mem::take(&mut *tally.lock().unwrap());
    let lost = (1..=events).filter(|number| !seen.contains(number)).count();
    eprintln!(
        "{name}, MQTT {protocol}: {events} events in {:.1} s, {} cuts, {} connections: lost {lost}, \
         out of order {out_of_order}, sent again {} ({:.2} %), arrived twice {repeated} ({:.2} %), \
         gaps {lost}",
        took.as_secs_f64(),
        cutter.cuts(),
        totals.connections,
        totals.redelivered,
        percent(totals.redelivered, events),
        percent(repeated, events),
    );
    assert_eq!((lost, out_of_order), (0, 0));
    assert!(repeated <= totals.redelivered, "{repeated} arrived twice, {totals:?}");
    assert!(cutter.cuts() >= CUTS, "the link was cut only {} times", cutter.cuts());
    assert_eq!(rig.outbox.removed(Removal::Acknowledged).len() as u64, events);
}

#[expect(clippy::cast_precision_loss, reason = "counts of events are far below 2^52")]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_all_the_time_loses_nothing_over_mqtt_5() {
    // mosquitto grants 20 in flight.
    let mosquitto = Mosquitto::start("");
    let line = ("mosquitto", Protocol::V5);
    nothing_is_lost_and_the_order_kept(line, mosquitto.port(), Duration::from_millis(2), 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_all_the_time_loses_nothing_over_mqtt_3() {
    let mosquitto = Mosquitto::start("");
    let line = ("mosquitto", Protocol::V311);
    nothing_is_lost_and_the_order_kept(line, mosquitto.port(), Duration::from_millis(4), 3).await;
}

#[cfg(feature = "demo")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_all_the_time_loses_nothing_at_the_embedded_broker_over_mqtt_5() {
    let (_, port) = rumqttd::start();
    let line = ("rumqttd", Protocol::V5);
    nothing_is_lost_and_the_order_kept(line, port, Duration::from_millis(2), 7).await;
}

#[cfg(feature = "demo")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_all_the_time_loses_nothing_at_the_embedded_broker_over_mqtt_3() {
    let (port, _) = rumqttd::start();
    let line = ("rumqttd", Protocol::V311);
    nothing_is_lost_and_the_order_kept(line, port, Duration::from_millis(4), 9).await;
}

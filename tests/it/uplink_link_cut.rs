//! 20,000 records over a link that is cut every 30 to 400 ms and swallows acknowledgements.
#![expect(clippy::print_stderr, reason = "the share of repetitions is a result of the test")]

use std::{collections::HashSet, time::Duration};

use beacon_gateway::{outbox::Removal, uplink::Protocol};

use crate::support::{
    cutter::Cutter,
    eventually,
    mosquitto::Mosquitto,
    rig::{Rig, number, numbered, settings},
    subscriber::Subscriber,
};

const RECORDS: u64 = 20_000;

async fn nothing_is_lost_and_the_order_kept(protocol: Protocol, delay: Duration, seed: u64) {
    let mosquitto = Mosquitto::start("");
    let subscriber = Subscriber::start(protocol, mosquitto.port(), "beacon/v1/+/+/+/event/#").await;
    let cutter = Cutter::start(mosquitto.port(), delay, seed).await;
    let rig = Rig::start(settings(protocol, cutter.port()));
    rig.outbox.append(numbered(1..=RECORDS));
    rig.delivered().await;
    let totals = rig.totals();
    let all_arrived = || {
        subscriber.look(|messages| {
            let numbers = messages.iter().map(|message| number(&message.payload));
            messages.len() as u64 >= RECORDS
                && numbers.collect::<HashSet<_>>().len() as u64 == RECORDS
        })
    };
    eventually("every event", all_arrived).await;

    let mut first_seen = HashSet::new();
    let (mut newest, mut out_of_order, mut repeated) = (0, 0, 0_u32);
    for message in subscriber.messages() {
        let number = number(&message.payload);
        if first_seen.insert(number) {
            out_of_order += u32::from(number < newest);
            newest = newest.max(number);
        } else {
            repeated += 1;
        }
    }
    let lost = RECORDS - first_seen.len() as u64;
    let percent = 100.0 * f64::from(repeated) / 20_000.0;
    eprintln!(
        "MQTT {protocol}: {RECORDS} records, {} cuts, {} connections, lost {lost}, out of order \
         {out_of_order}, redelivered {repeated} ({percent:.2} %)",
        cutter.cuts(),
        totals.connections,
    );
    assert_eq!((lost, out_of_order), (0, 0));
    assert!(u64::from(repeated) <= totals.redelivered, "{repeated} repeated, {totals:?}");
    assert!(cutter.cuts() >= 10, "the link was cut only {} times", cutter.cuts());
    let removed = rig.outbox.removed(Removal::Acknowledged);
    assert_eq!(removed.len() as u64, RECORDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_all_the_time_loses_nothing_over_mqtt_5() {
    // mosquitto grants 20 in flight.
    nothing_is_lost_and_the_order_kept(Protocol::V5, Duration::from_millis(2), 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_all_the_time_loses_nothing_over_mqtt_3() {
    nothing_is_lost_and_the_order_kept(Protocol::V311, Duration::from_millis(8), 3).await;
}

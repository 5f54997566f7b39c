//! Commands that are carried out: in order, once, and none is lost.

use beacon_gateway::{
    clock::Clock,
    command::{Settings, Standing},
    uplink::RegistryTopic::{Snapshot, Upsert, Withdraw},
};
use serde_json::json;

use super::rig::{Corridor, Happened, Mood, PROTOCOLS, Platform, Rig, result_topic};
use crate::support::{eventually, mosquitto::Mosquitto, rig::settings};

#[tokio::test]
async fn what_the_platform_commands_is_carried_out_and_answered() {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start("");
        let mut platform = Platform::at(mosquitto.port()).await;
        let corridor = Corridor::default();
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        rig.caught_up().await;
        platform.tell(Upsert, &platform.signer.upsert(1, &["ann", "bob"])).await;
        platform.tell(Withdraw, &platform.signer.withdraw(2, &["ann"])).await;
        let done = platform.result(&[("number", json!(2))]).await;
        assert_eq!(done["command"], "withdraw");
        assert_eq!((&done["outcome"], &done["have"]), (&json!("done"), &json!(2)));
        assert_eq!(corridor.orders(), ["upsert ann bob", "withdraw ann"]);
        assert_eq!(corridor.standing(), Standing { last: 2, ..Standing::default() });
        assert_eq!(platform.topics(), [result_topic("upsert"), result_topic("withdraw")]);
        rig.caught_up().await;
        let totals = rig.stop().await;
        assert_eq!((totals.received, totals.carried, totals.connections), (2, 2, 1));
        assert!(corridor.happened().ends_with(&[Happened::Gate(false)]), "{protocol}");
    }
}

#[tokio::test]
async fn a_connection_over_which_keys_came_is_given_up_with_its_buffers() {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start("");
        let mut platform = Platform::at(mosquitto.port()).await;
        let corridor = Corridor::default();
        // Five minutes in five seconds.
        let clock = Clock::accelerated(60, Clock::start().wall().unix);
        let trusted_keys = vec![platform.signer.trusted()];
        let command = Settings { trusted_keys, ..Settings::default() };
        let uplink = settings(protocol, mosquitto.port());
        let rig = Rig::start_by(clock, uplink, command, &corridor);
        rig.caught_up().await;
        platform.tell(Upsert, &platform.signer.upsert(1, &["ann"])).await;
        platform.result(&[("number", json!(1))]).await;
        eventually("another connection", || rig.totals().connections == 2).await;
        rig.caught_up().await;
        // Nobody's keys come with a withdrawal, so over this one none have.
        platform.tell(Withdraw, &platform.signer.withdraw(2, &["ann"])).await;
        platform.result(&[("number", json!(2))]).await;
        assert_eq!(corridor.orders(), ["upsert ann", "withdraw ann"], "once each");
        let totals = rig.stop().await;
        assert_eq!((totals.carried, totals.faults), (2, 0), "{totals:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_was_off_catches_up_before_the_gate_opens() {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start("");
        let mut platform = Platform::at(mosquitto.port()).await;
        let corridor = Corridor::default();
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        rig.caught_up().await;
        rig.stop().await;
        // More than any broker has in flight at once.
        for number in 1..=60 {
            let command = match number {
                60 => platform.signer.withdraw(60, &["m1"]),
                _ => platform.signer.upsert(number, &[&format!("m{number}")]),
            };
            let topic = if number == 60 { Withdraw } else { Upsert };
            platform.tell(topic, &command).await;
        }
        let before = corridor.happened().len();
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        rig.caught_up().await;
        let happened = &corridor.happened()[before..];
        let numbers: Vec<u64> = happened
            .iter()
            .filter_map(|it| match it {
                Happened::Ordered(number, _) => Some(*number),
                Happened::Gate(_) => None,
            })
            .collect();
        assert_eq!(numbers, (1..=60).collect::<Vec<_>>(), "MQTT {protocol}");
        let opened = happened.iter().position(|it| *it == Happened::Gate(true)).unwrap();
        assert_eq!(opened, 60, "only after the last of them");
        assert_eq!(rig.stop().await.refused_in_all(), 0);
    }
}

#[tokio::test]
async fn a_crash_before_the_order_was_carried_out_brings_it_again() {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start("");
        let mut platform = Platform::at(mosquitto.port()).await;
        let corridor = Corridor::default();
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        rig.caught_up().await;
        rig.mood.send_replace(Mood::Slow);
        platform.tell(Upsert, &platform.signer.upsert(1, &["ann"])).await;
        rig.ordered(1).await;
        rig.crash().await;
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        platform.result(&[("number", json!(1)), ("outcome", json!("done"))]).await;
        assert_eq!(corridor.orders(), ["upsert ann", "upsert ann"]);
        assert_eq!(corridor.standing().last, 1);
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_crash_before_the_acknowledgement_is_answered_as_done() {
    let mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    let corridor = Corridor::default();
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    rig.caught_up().await;
    rig.mood.send_replace(Mood::Slow);
    platform.tell(Upsert, &platform.signer.upsert(1, &["ann"])).await;
    rig.ordered(1).await;
    rig.crash().await;
    // It was durable, and nobody could say so any more.
    let corridor = Corridor::with(Standing { last: 1, ..Standing::default() });
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    let done = platform.result(&[("number", json!(1)), ("outcome", json!("done"))]).await;
    assert_eq!(done["again"], true);
    assert!(corridor.orders().is_empty());
    assert_eq!(rig.stop().await.refused_in_all(), 0);
}

#[tokio::test]
async fn an_order_that_could_not_be_carried_out_comes_again() {
    let mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    let corridor = Corridor::default();
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    rig.caught_up().await;
    rig.mood.send_replace(Mood::Failing);
    platform.tell(Upsert, &platform.signer.upsert(1, &["ann"])).await;
    platform.result(&[("number", json!(1)), ("outcome", json!("failed"))]).await;
    rig.ordered(3).await;
    assert_eq!(corridor.standing().last, 0);
    rig.mood.send_replace(Mood::Willing);
    platform.result(&[("number", json!(1)), ("outcome", json!("done"))]).await;
    rig.caught_up().await;
    assert_eq!(corridor.standing().last, 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_gap_asks_for_a_snapshot_and_withdrawals_are_carried_out_all_the_same() {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start("");
        let mut platform = Platform::at(mosquitto.port()).await;
        let corridor = Corridor::with(Standing { last: 3, ..Standing::default() });
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        rig.caught_up().await;
        platform.tell(Upsert, &platform.signer.upsert(6, &["bob"])).await;
        let wanted = platform.result(&[("outcome", json!("wanted"))]).await;
        assert_eq!((&wanted["have"], &wanted["need"]), (&json!(3), &json!(6)));
        platform.tell(Withdraw, &platform.signer.withdraw(7, &["ann"])).await;
        platform.result(&[("number", json!(7)), ("outcome", json!("done"))]).await;
        for (part, name) in [(3, "cid"), (1, "bob"), (2, "dan")] {
            platform.tell(Snapshot, &platform.signer.part(7, (part, 3), &[name])).await;
        }
        platform.tell(Upsert, &platform.signer.upsert(8, &["eve"])).await;
        platform.result(&[("number", json!(8)), ("outcome", json!("done"))]).await;
        assert_eq!(corridor.orders(), ["withdraw ann", "replace bob dan cid", "upsert eve"]);
        assert_eq!(corridor.standing(), Standing { last: 8, floor: 7, ..Standing::default() });
        let totals = rig.stop().await;
        assert_eq!((totals.asked, totals.noted), (1, 2));
    }
}

#[tokio::test]
async fn a_restarted_broker_that_forgot_everything_is_joined_again() {
    let mut mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    let corridor = Corridor::default();
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    rig.caught_up().await;
    platform.tell(Upsert, &platform.signer.upsert(1, &["ann"])).await;
    rig.ordered(1).await;
    mosquitto.kill();
    eventually("a closed gate", || !rig.gate()).await;
    assert!(mosquitto.start_again());
    rig.caught_up().await;
    let mut platform = Platform::at(mosquitto.port()).await;
    platform.tell(Upsert, &platform.signer.upsert(2, &["bob"])).await;
    platform.result(&[("number", json!(2)), ("outcome", json!("done"))]).await;
    assert!(rig.stop().await.faults >= 1);
}

#[tokio::test]
async fn without_a_trusted_key_there_is_no_connection_and_an_open_gate() {
    let mosquitto = Mosquitto::start("");
    let corridor = Corridor::default();
    let rig = Rig::start_with(PROTOCOLS[0], mosquitto.port(), Settings::default(), &corridor);
    rig.caught_up().await;
    assert_eq!(rig.stop().await.connections, 0);
}
